//! `selvedge inspect`: what is in a file, whatever of ours it is.

use std::path::{Path, PathBuf};

use clap::Args;
use selvedge_compile::inspect;
use selvedge_format::{container, decision, record, request, state};

use crate::bundle::BundleFile;
use crate::error::{CliError, Exit};
use crate::file;
use crate::printer::Printer;
use crate::show;

/// Show what is in a file: a bundle, a shared state, a user state, a request, a decision or a decision log.
///
/// The kind is recognised by the content. Everything is validated on the way, so what is shown is what an engine would
/// accept.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The file; - reads standard input.
    file: PathBuf,
    /// A bundle whose names are shown for the features, fields and counters of the file.
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A kind of file: how it begins, what it is called, and how it is shown.
struct Kind {
    magic: &'static [u8],
    name: &'static str,
    show: fn(&[u8], Option<&BundleFile>) -> show::Shown,
}

const KINDS: [Kind; 4] = [
    Kind { magic: &state::MAGIC, name: "user state", show: show::user_state },
    Kind { magic: &request::KIND.magic, name: "request", show: show::request },
    Kind { magic: &decision::KIND.magic, name: "decision", show: show::decision },
    Kind { magic: &record::MAGIC, name: "decision log", show: show::log },
];

pub(crate) fn run(args: &InspectArgs, printer: &Printer) -> Result<(), CliError> {
    let bytes = file::read(&args.file, file::MAX_BYTES)?;
    let (json, text) = if bytes.starts_with(&container::MAGIC) {
        check(&bytes, &args.file)?;
        if args.bundle.is_some() {
            printer.warn("--bundle gives names to user states, requests and decisions; this file is none of them");
        }
        let inspection = inspect(&bytes).map_err(|error| CliError::from(error).in_file(&args.file))?;
        (serde_json::to_value(&inspection).unwrap_or_default(), inspection.to_string())
    } else {
        let names = args.bundle.as_deref().map(BundleFile::read).transpose()?;
        let kind =
            KINDS.iter().find(|kind| bytes.starts_with(kind.magic)).ok_or_else(|| unknown(&args.file, &bytes))?;
        (kind.show)(&bytes, names.as_ref()).map_err(|error| crate::bundle::refused(kind.name, &args.file, &error))?
    };
    if args.json {
        printer.json(&json);
    } else {
        printer.data(text.trim_end());
    }
    Ok(())
}

/// Refuses a damaged container in the words, and with the hints, that all commands have for it.
fn check(bytes: &[u8], path: &Path) -> Result<(), CliError> {
    let is_shared = bytes.get(10..12) == Some((container::Kind::SharedState as u16).to_le_bytes().as_slice());
    let (kind, name) = match is_shared {
        true => (container::Kind::SharedState, "shared state"),
        false => (container::Kind::Bundle, "bundle"),
    };
    let checked = container::Container::parse(bytes, kind).and_then(|_| container::verify_id(bytes));
    checked.map(|_| ()).map_err(|error| crate::bundle::refused(name, path, &error))
}

fn unknown(path: &Path, bytes: &[u8]) -> CliError {
    let start: String = bytes.iter().take(8).map(|byte| byte.escape_ascii().to_string()).collect();
    let message = match bytes.is_empty() {
        true => format!("{} is empty", path.display()),
        false => format!("{} begins with \"{start}\", like no file of Selvedge", path.display()),
    };
    let hint = "bundles, shared states, user states, requests, decisions and decision logs can be inspected";
    CliError::new(Exit::Refused, message).hint(hint)
}
