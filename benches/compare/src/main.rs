//! Our ranking models beside those of other runtimes: the same models on the same inputs, on this machine, in turn.
//!
//! A contest is only worth its rules, and these are: one process per engine and workload, because two WebAssembly runtimes in
//! one process have run each other's code; rounds in which every engine has its turn, so that whatever the machine does
//! meanwhile is in all figures; inputs that change from call to call; outputs compared with those of the library that the
//! model comes from, before the first call that is timed and after the last, so that a wrong engine is named and not timed.
//!
//! This crate knows how to start an engine and what to ask it ([`process`]), and how ours is called natively
//! ([`drive`]). It does not know how a peer is installed, which is `xtask`'s, nor how one is called: `engines/` has a file for each.
//!
//! ```text
//! selvedge-bench-compare requests DIRECTORY      encode our requests for the workloads that prepare.py wrote
//! selvedge-bench-compare run DIRECTORY ...       measure, and write JSON, tables and charts
//! selvedge-bench-compare drive ENGINE WORKLOAD   be one engine
//! ```
#![forbid(unsafe_code)]

mod chart;
mod contest;
mod drive;
mod engines;
mod page;
mod peak;
mod process;
mod requests;
mod size;
mod workload;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};

use crate::contest::{Contest, Pace};
use crate::engines::Installed;

#[derive(Parser)]
#[command(about = "Our ranking models beside those of other runtimes")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Encode our requests for the workloads of a directory
    Requests {
        /// What prepare.py wrote, with our bundles beside it
        directory: PathBuf,
    },
    /// Measure, and write what came out
    Run(Run),
    /// Be one engine: questions on standard input, answers on standard output
    Drive {
        /// `selvedge-native` or `selvedge-wasmtime`
        engine: String,
        /// The folder of one workload
        workload: PathBuf,
    },
}

#[derive(Args)]
struct Run {
    /// What prepare.py wrote, with our bundles and requests beside it
    directory: PathBuf,
    /// JSON: what is installed where, and what is not, with the reason
    #[arg(long, value_name = "FILE")]
    installed: PathBuf,
    /// The folder of drive.mjs and drive.py
    #[arg(long, value_name = "DIR")]
    engines: PathBuf,
    /// Write the figures: a list of {workload, rows, engine, median_us, ratio_to_ort_web, ...}
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write compare.md and its charts into this folder
    #[arg(long, value_name = "DIR")]
    page: Option<PathBuf>,
    /// A few short rounds: whether everything runs, not how fast
    #[arg(long)]
    quick: bool,
    /// Only these engines
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    engine: Vec<String>,
    /// Only these workloads
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    workload: Vec<String>,
}

fn main() -> ExitCode {
    match perform(&Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn perform(task: &Task) -> Result<()> {
    match task {
        Task::Requests { directory } => requests::write(directory),
        Task::Run(run) => measure(run),
        Task::Drive { engine, workload } => {
            drive::run(engine, workload);
            Ok(())
        }
    }
}

fn measure(run: &Run) -> Result<()> {
    let installed: Installed = serde_json::from_slice(&read(&run.installed)?)
        .with_context(|| format!("{} does not say what is installed", run.installed.display()))?;
    let pace = if run.quick { Pace::QUICK } else { Pace::FULL };
    let contest = Contest {
        directory: &run.directory,
        scripts: &run.engines,
        installed: &installed,
        pace,
        only_engines: &run.engine,
        only_workloads: &run.workload,
    };
    let outcome = contest.run()?;
    for line in page::plain(&outcome) {
        print(&line)?;
    }
    if let Some(json) = &run.json {
        let text = serde_json::to_string_pretty(&outcome.figures).context("the figures do not fit JSON")?;
        write(json, &(text + "\n"))?;
    }
    if let Some(folder) = &run.page {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        chart::write(folder, &outcome)?;
        write(&folder.join("compare.md"), &page::markdown(&outcome))?;
    }
    Ok(())
}

/// A line for people, on standard error.
fn say(text: impl std::fmt::Display) {
    use std::io::Write as _;
    // Nobody is left to be told that standard error is closed.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A line of results.
fn print(text: &str) -> Result<()> {
    use std::io::Write as _;
    writeln!(std::io::stdout(), "{text}").context("cannot write to standard output")
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
