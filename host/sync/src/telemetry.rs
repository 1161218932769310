//! The log: one line per event on standard error, for people or for machines.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::{Log, LogFormat};

/// Starts the log of this process. A log that was started before goes on.
///
/// # Errors
/// The level is none.
pub fn start(log: &Log) -> Result<(), ParseError> {
    let filter = EnvFilter::try_new(log.level.as_deref().unwrap_or("info"))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Only a second start fails, and then there is a log.
    let _ = match log.format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    Ok(())
}
