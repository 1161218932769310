//! The `selvedge` command: train, compile, look at, run, reproduce, judge, and deploy.
//!
//! A command here reads files and arguments, calls the crate that does the work, and shows what came out. It holds no
//! product logic: what is worth testing without a terminal lives in the crates below. Data go to standard output, talk
//! goes to standard error, and the exit code says how it ended; [`reference()`] is the page about all of it.
#![cfg_attr(
    not(feature = "demo"),
    allow(dead_code, reason = "a build without some commands has parts that only those use")
)]

#[cfg(not(any(feature = "compile", feature = "run", feature = "host")))]
compile_error!("enable one of the features compile, train, run, host, demo: without them there is no command");

mod bundle;
#[cfg(feature = "compile")]
mod campaigns;
mod command;
#[cfg(feature = "compile")]
mod declared;
#[cfg(feature = "demo")]
mod demo;
#[cfg(feature = "run")]
mod difference;
mod error;
mod file;
#[cfg(feature = "train")]
mod flyer;
#[cfg(feature = "run")]
mod guest;
#[cfg(feature = "train")]
mod learner;
mod log;
#[cfg(any(feature = "compile", feature = "run"))]
mod module;
#[cfg(feature = "train")]
mod off_policy;
mod printer;
mod reference;
#[cfg(feature = "host")]
mod registry;
#[cfg(feature = "run")]
mod request;
#[cfg(feature = "compile")]
mod sample;
mod show;
#[cfg(feature = "compile")]
mod siblings;
mod table;
#[cfg(feature = "train")]
mod trial;

use std::process::ExitCode;

use clap::{ColorChoice, Parser};

use crate::command::Command;
use crate::error::{CliError, Exit};
use crate::printer::Printer;
pub use crate::reference::reference;

/// Ranks lists for each user, at the edge: trains rankers, compiles them into bundles, runs and checks their decisions.
#[derive(Debug, Parser)]
#[command(name = "selvedge", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(after_long_help = reference::exit_codes())]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// When to use colour.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
    /// Leave out progress and remarks; warnings, errors and data stay.
    #[arg(long, short, global = true)]
    quiet: bool,
}

/// Parses the process's arguments, runs the command and says how it went.
#[must_use]
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A closed pipe is no reason to complain about `--help`.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(Exit::Usage as u8) } else { ExitCode::SUCCESS };
        }
    };
    match cli.color {
        ColorChoice::Auto => anstream::ColorChoice::Auto,
        ColorChoice::Always => anstream::ColorChoice::Always,
        ColorChoice::Never => anstream::ColorChoice::Never,
    }
    .write_global();
    let printer = Printer::new(cli.quiet);
    let mut ended = cli.command.run(&printer);
    printer.end_progress();
    if let Some(failure) = printer.failure() {
        ended = ended.and(Err(CliError::new(Exit::Io, format_args!("cannot write the output: {failure}"))));
    }
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.print(&printer);
            ExitCode::from(error.exit() as u8)
        }
    }
}
