//! `selvedge serve`: the thin host.

use std::path::PathBuf;

use clap::Args;
use selvedge_sync::config::{Config, ConfigError};
use selvedge_sync::serve::{HostError, run_until_signal};
use selvedge_sync::store::StoreError;
use selvedge_sync::telemetry;

use crate::error::{CliError, Exit};
use crate::file;
use crate::printer::Printer;

/// What is read if no argument says otherwise.
const DEFAULT: &str = "selvedge.toml";

/// Run the host: channels of bundles for edges, users' states from events, shared states.
///
/// Without a configuration it listens on 127.0.0.1:7070, keeps its data in selvedge-data, and lets nobody write. It ends on
/// SIGTERM and SIGINT: what runs may finish, what waits is written.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The configuration; otherwise selvedge.toml, if it is there.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Read the configuration, say what is wrong with it, and start nothing.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &ServeArgs, printer: &Printer) -> Result<(), CliError> {
    let path = args.config.clone().unwrap_or_else(|| PathBuf::from(DEFAULT));
    let config = if args.config.is_some() || path.exists() {
        Config::parse(&file::read_text(&path)?, &path).map_err(|error| refused(&error))?
    } else {
        Config::default_config().map_err(|error| refused(&error))?
    };
    if config.tokens.is_empty() {
        printer.warn("no token is configured: nobody can publish or send events");
        printer.hint("`selvedge keygen --token` makes one; docs/reference/selvedge.toml has every key");
    }
    if args.check {
        printer.say(format_args!("{} can be used", path.display()));
        return Ok(());
    }
    telemetry::start(&config.log)
        .map_err(|error| CliError::new(Exit::Usage, format_args!("{}: log.level: {error}", path.display())))?;
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let started = |address| printer.say(format_args!("listening on {scheme}://{address}"));
    run_until_signal(config, started).map_err(|error| {
        let exit = match &error {
            HostError::File { .. } => Exit::Usage,
            HostError::Store(StoreError::Corrupt(_)) => Exit::Refused,
            _ => Exit::Io,
        };
        CliError::new(exit, error)
    })
}

fn refused(error: &ConfigError) -> CliError {
    let refused = CliError::new(Exit::Usage, error);
    match &error.hint {
        Some(hint) => refused.hint(hint),
        None => refused,
    }
}
