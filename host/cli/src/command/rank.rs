//! `selvedge rank`: one request, one decision, in the sandbox.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use selvedge_engine::Limits;
use selvedge_format::DecodeError;
use selvedge_format::decision::{DecisionStatus, DecisionView, FallbackReason};
use selvedge_format::record::RecordView;
use selvedge_format::request as layout;
use selvedge_format::state::StateView;
use selvedge_runner::Instance;
use selvedge_wire::json;
use serde::Serialize;

use crate::bundle::{BundleFile, SharedFile, refused};
use crate::error::{CliError, Exit};
use crate::guest::{GuestArgs, failed};
use crate::printer::Printer;
use crate::request::amend;
use crate::{file, show};

/// Decide one request: which candidates go into which slots, and why
///
/// The request is a JSON document:
///
///   {"time": "2026-11-23T18:30:00+01:00", "candidates": [{"id": "a", "price": 1.2}, {"id": "b"}]}
///
/// The decision is made by the guest module in a sandbox without access to anything, with bounded work and memory. A
/// request that cannot be ranked gets its candidates back in their order, with a warning that says why.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct RankArgs {
    /// The bundle that decides.
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    /// The request as JSON, or as `selvedge` saved it when the guest trapped; - reads standard input.
    #[arg(long, value_name = "FILE")]
    request: PathBuf,
    /// The shared state: item fields and global counters.
    #[arg(long, value_name = "FILE")]
    shared: Option<PathBuf>,
    /// The user's state, unless the request carries it; without one the user is unknown.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Give up to this many reasons per slot.
    #[arg(long, value_name = "N")]
    reasons: Option<u32>,
    /// Append the request and the decision to this log, for `selvedge replay`.
    #[arg(long, value_name = "LOG")]
    record: Option<PathBuf>,
    /// Where the request is saved if the guest traps.
    #[arg(long, value_name = "DIR", default_value = "traps")]
    traps: PathBuf,
    #[command(flatten)]
    guest: GuestArgs,
    /// Print the decision as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Output<'a> {
    #[serde(flatten)]
    decision: &'a json::Decision,
    fuel: u64,
}

pub(crate) fn run(args: &RankArgs, printer: &Printer) -> Result<(), CliError> {
    let bundle = BundleFile::read(&args.bundle)?;
    let shared = args.shared.as_deref().map(SharedFile::read).transpose()?;
    let request = read_request(args, &bundle, printer)?;

    let module = args.guest.module()?;
    let mut instance = Instance::new(&module, args.guest.limits()).save_trapped_requests_in(&args.traps);
    instance.load(bundle.bytes.as_slice()).map_err(|error| failed(&error, &args.bundle))?;
    if let (Some(shared), Some(path)) = (&shared, &args.shared) {
        instance.load_shared(shared.bytes.as_slice()).map_err(|error| failed(&error, path))?;
    }
    let decided = instance.decide(&request.bytes).map_err(|error| failed(&error, &args.request))?;
    if let Some(log) = &args.record {
        append(log, &request.bytes, decided.decision).map_err(|error| CliError::io("append to", log, &error))?;
    }

    let view = DecisionView::parse(decided.decision).map_err(|error| malformed(&error))?;
    let mut decision = json::decision(&view, &request.ids, &bundle.names);
    decision.name_offer(&view, &bundle.terms);
    if args.json {
        printer.json(&Output { decision: &decision, fuel: decided.fuel });
    } else {
        printer.data(show::decision_text(&decision).trim_end());
        printer.say(format_args!("fuel {}", decided.fuel));
    }
    if shared.is_none() && !bundle.program.global_tables.is_empty() {
        printer.warn("the bundle reads counters over all users, and without --shared they count as never seen");
    }
    if decision.status == "fallback" {
        let error = decision.error.map_or_else(String::new, |error| format!(" [{error}]"));
        let reason = decision.reason.unwrap_or("unknown");
        printer.warn(format_args!("the candidates keep their order: {reason}{error}"));
    }
    if let DecisionStatus::Fallback(reason) = view.status {
        printer.hint(hint_for(reason));
    }
    Ok(())
}

/// What to do about a request whose candidates keep their order.
fn hint_for(reason: FallbackReason) -> String {
    let limits = Limits::default();
    match reason {
        FallbackReason::NoCandidates => "a slate is made of candidates: send some".to_owned(),
        FallbackReason::TooManyCandidates => {
            format!("send at most {} candidates: choose them before ranking", limits.candidates)
        }
        FallbackReason::CostLimit => {
            format!("a decision may cost {} units: send fewer candidates, or a smaller model", limits.cost)
        }
        FallbackReason::InvalidState => "`selvedge inspect` shows what is wrong with a user state in a file".to_owned(),
        _ => format!(
            "a request has at most {} bytes, its user state {}; docs/format/request.md has the rest",
            limits.request_bytes, limits.state_bytes
        ),
    }
}

fn read_request(args: &RankArgs, bundle: &BundleFile, printer: &Printer) -> Result<json::Request, CliError> {
    let bytes = file::read(&args.request, file::MAX_BYTES)?;
    let mut request = if bytes.starts_with(&layout::KIND.magic) {
        let view = layout::RequestView::parse(&bytes, show::limits());
        let view = view.map_err(|error| refused("request", &args.request, &error))?;
        json::Request { ids: show::candidates(&view), ignored: Vec::new(), bytes }
    } else {
        json::request(&bytes, &bundle.program).map_err(|error| {
            let refused = CliError::new(Exit::Usage, format_args!("{}: {error}", args.request.display()));
            refused.hint("`selvedge inspect` shows the fields that the bundle reads; `selvedge rank --help` a request")
        })?
    };
    for field in &request.ignored {
        printer.warn(format_args!("the bundle has no field `{field}`: what the request says of it changes nothing"));
    }
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for id in &request.ids {
        *seen.entry(id).or_default() += 1;
    }
    for (id, count) in seen.into_iter().filter(|(_, count)| *count > 1) {
        let id: String = id.chars().take(40).collect();
        printer.warn(format_args!("{count} candidates have the id `{id}`: only the first can enter the slate"));
    }
    if args.state.is_some() || args.reasons.is_some() {
        let state = args.state.as_deref().map(|path| read_state(path, &request.bytes)).transpose()?;
        request.bytes = amend(&request.bytes, state.as_deref(), args.reasons);
    }
    Ok(request)
}

fn read_state(path: &Path, request: &[u8]) -> Result<Vec<u8>, CliError> {
    let has_state = layout::RequestView::parse(request, show::limits()).is_ok_and(|view| !view.state.is_empty());
    if has_state {
        let error = CliError::new(Exit::Usage, "the user's state is given twice: in the request and by --state");
        return Err(error.hint("leave out one of them"));
    }
    let state = file::read(path, file::MAX_BYTES)?;
    StateView::parse(&state).map_err(|error| refused("user state", path, &error))?;
    Ok(state)
}

fn append(log: &Path, request: &[u8], decision: &[u8]) -> std::io::Result<()> {
    let mut record = Vec::new();
    RecordView::Full { request, decision }.write(&mut record);
    OpenOptions::new().create(true).append(true).open(log)?.write_all(&record)
}

/// The guest answered something that is no decision.
pub(super) fn malformed(error: &DecodeError) -> CliError {
    CliError::new(Exit::Trap, format_args!("the guest's answer is no decision: {error}"))
        .hint("this module is none of ours, or a bug: `cargo xtask wasm` builds one")
}
