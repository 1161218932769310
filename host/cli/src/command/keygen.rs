//! `selvedge keygen`: keys that sign channels, and tokens that open a host.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use selvedge_follow::PublicKey;
use selvedge_sync::key::SigningKey;
use selvedge_sync::token::Token;

use crate::error::{CliError, Exit};
use crate::file;
use crate::printer::Printer;

/// Make a key that signs channels, or a token that opens a host.
///
/// The private key is written as PKCS#8 PEM that only its owner can read; its public half, which edges and hosts are given,
/// is printed. Keep the private key where publishing happens, never at an edge, and make the next one before this one
/// must go: edges take a list of public keys.
#[derive(Debug, Args)]
pub(crate) struct KeygenArgs {
    /// Where the private key goes; a file that is there is never overwritten.
    #[arg(long, value_name = "FILE", required_unless_present_any = ["public", "token"])]
    out: Option<PathBuf>,
    /// Print the public half of the private key in this file, and make nothing.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["out", "token"])]
    public: Option<PathBuf>,
    /// Make a token instead: it is printed once, with the hash of it that selvedge.toml takes.
    #[arg(long, conflicts_with = "out")]
    token: bool,
}

pub(crate) fn run(args: &KeygenArgs, printer: &Printer) -> Result<(), CliError> {
    if args.token {
        let token = Token::generate().map_err(|error| CliError::new(Exit::Io, error))?;
        printer.say("the token, to be kept by its user and shown this once; then its line for selvedge.toml");
        printer.data(token.reveal());
        printer.data(format_args!("sha256 = \"{}\"", token.sha256()));
        return Ok(());
    }
    let public: PublicKey = match (&args.public, &args.out) {
        (Some(path), _) => {
            let key = SigningKey::from_pem(&file::read_text(path)?);
            key.map_err(|error| CliError::new(Exit::Usage, format_args!("{}: {error}", path.display())))?.public()
        }
        (None, Some(out)) => {
            let key = SigningKey::generate().map_err(|error| CliError::new(Exit::Io, error))?;
            let pem = key.to_pem().map_err(|error| CliError::new(Exit::Io, error))?;
            write_secret(out, pem.as_bytes())?;
            printer.say(format_args!("private key in {}; its public half, for edges and hosts:", out.display()));
            key.public()
        }
        (None, None) => return Err(CliError::new(Exit::Usage, "--out is needed")),
    };
    printer.data(public);
    Ok(())
}

/// Writes a new file that only its owner can read.
fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(path).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => CliError::new(
            Exit::Usage,
            format_args!("{} is there already, and keys are not overwritten", path.display()),
        )
        .hint("choose another name, or `--public` to see the public half of the key that is there"),
        _ => CliError::io("write", path, &error),
    })
}
