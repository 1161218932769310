//! Development tasks, as `cargo xtask <task>`: what it takes to go from a clean clone to a tested build.
//!
//! No product logic lives here. A task says what it installs and where, does nothing twice, and fails with a sentence
//! that says what to do.

mod binaryen;
mod cache;
mod gates;
mod guest;
mod process;
mod say;
mod setup;
mod toolchain;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::say::Steps;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Development tasks of Selvedge", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Check the machine and install what builds need into the cache ($XDG_CACHE_HOME/selvedge)
    Setup,
    /// Build the guest modules into target/guest
    Wasm,
    /// Set up, build the guest, and run the main job on real data
    Demo {
        /// Passed on to `selvedge demo`: --json FILE, --offline, ... (see `cargo xtask demo -- --help`)
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Check a file of figures against xtask/gates.toml
    Gates {
        /// A JSON list of {name, value, unit, command}
        #[arg(long, value_name = "FILE")]
        figures: PathBuf,
    },
}

fn main() -> ExitCode {
    match perform(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("\x1b[1;31merror\x1b[0m: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> Result<()> {
    let workspace = workspace();
    let mut steps = Steps::default();
    match task {
        Task::Setup => {
            steps.step("setup", setup::run)?;
        }
        Task::Wasm => {
            let toolchain = steps.step("setup", setup::run)?;
            steps.step("guest", || guest::build(workspace, &toolchain))?;
        }
        Task::Demo { arguments } => {
            let toolchain = steps.step("setup", setup::run)?;
            steps.step("guest", || guest::build(workspace, &toolchain))?;
            steps.step("demo", || {
                let mut cargo = process::cargo();
                cargo.current_dir(workspace).args([
                    "run",
                    "--release",
                    "--package",
                    "selvedge-cli",
                    "--",
                    "demo",
                    "--guest",
                ]);
                cargo.arg(guest::module(workspace)).args(&arguments);
                process::run(&mut cargo, "read the message above")
            })?;
        }
        Task::Gates { figures } => {
            gates::Gates::read(workspace)?.check(&gates::read_figures(&figures)?)?;
        }
    }
    steps.summary();
    Ok(())
}

/// The checkout this task was built from.
fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}
