//! Development tasks, as `cargo xtask <task>`: what it takes to go from a clean clone to a tested build.
//!
//! No product logic lives here. A task says what it installs and where, does nothing twice, and fails with a sentence
//! that says what to do.

mod bench;
mod binaryen;
mod bindgen;
mod cache;
mod checks;
mod compare;
mod conformance;
mod coverage;
mod fuzz;
mod gates;
mod guest;
mod module;
mod npm;
mod obp;
mod page;
mod process;
mod python;
mod rules;
mod say;
mod setup;
mod simulate;
mod size;
mod toolchain;
mod tools;
mod uplift;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::say::Steps;
use crate::toolchain::WasmToolchain;

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
    /// Build what runs in JavaScript hosts: the npm package (www/sdk/dist) and the Worker (target/worker)
    Web,
    /// Build all that ships and check its sizes
    Size {
        /// Write the sizes as JSON: a list of {name, gzip_bytes, bytes, files}
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Run the conformance corpus natively, under wasmtime, and in Node, Chromium and workerd
    Conformance {
        /// Write the outcome as JSON: a list of {driver, cases, equal}
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Run ONNX's node tests and published models through the compiler and the engine, and write docs/reference/onnx-coverage.md
    Coverage {
        /// Write the counts as JSON: {equal, refused, wrong, crashed}
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Set up, build the guest, and run the main job on real data
    Demo {
        /// Passed on to `selvedge demo`: --json FILE, --offline, ... (see `cargo xtask demo -- --help`)
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Build the storefront page and serve it on this machine, with a host for its coupons
    Page(page::Arguments),
    /// Set up, build the guest, and check everything; CI runs this
    Test,
    /// Check the dependency rules of ARCHITECTURE.md
    Rules,
    /// Check licences, sources and banned crates with cargo-deny (built from source at the first run)
    Deny,
    /// Check a file of figures against xtask/gates.toml
    Gates {
        /// A JSON list of {name, value, unit, command}
        #[arg(long, value_name = "FILE")]
        figures: PathBuf,
        /// What wrote it: every gate of this source must find its figure there
        #[arg(long, default_value = "demo --quick")]
        source: gates::Source,
    },
    /// Run the fuzz targets (cargo-fuzz is built from source at the first run)
    Fuzz {
        /// One target; without it, all of them in turn
        target: Option<String>,
        /// For how long each
        #[arg(long, value_name = "N", default_value_t = 60)]
        seconds: u64,
    },
    /// Compare the demo's ranker with LightGBM's on the same rows (LightGBM comes from PyPI)
    Lightgbm {
        /// Write the figures as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Compare the off-policy estimators with Open Bandit Pipeline's on its sample logs (both come from PyPI)
    Obp,
    /// Compare the measures of uplift with scikit-uplift's, and values over several arms with Open Bandit Pipeline's (from PyPI)
    UpliftReference,
    /// Break the host and its followers in every way, and write the table of docs/faults.md
    Chaos {
        /// Rounds of each fault
        #[arg(long, value_name = "N", default_value_t = 100)]
        rounds: u32,
        /// Write the outcomes as JSON: a list of {fault, rounds, lost, doubled, held}
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Let budgets be spent in made-up worlds where everything goes wrong, with the real rules
    Simulate {
        /// What is simulated
        #[command(subcommand)]
        what: simulate::What,
    },
    /// Run the benchmarks of the decision; with the word `compare` other runtimes beside ours, with `faces` Worker, browser and Node, with `sync` the host, with `uplift` targeting on a real trial
    Bench {
        /// Passed on to criterion: a filter, --save-baseline NAME, ...; or `compare [--quick] [--engine NAMES] [--workload NAMES] [--json FILE]`, `faces [--quick] [--json FILE]`, `sync [--json FILE]`, `uplift --data PATH [--json FILE]`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

/// What the comparison with LightGBM installs, pinned: figures name the versions that they were measured with.
const LIGHTGBM: [&str; 2] = ["lightgbm==4.6.0", "numpy==2.2.6"];

/// `selvedge demo` with the guest that was built here; arguments are to be added.
fn demo(workspace: &Path) -> Command {
    let mut cargo = process::cargo();
    cargo.current_dir(workspace).args(["run", "--release", "--package", "selvedge-cli", "--", "demo", "--guest"]);
    cargo.arg(guest::module(workspace));
    cargo
}

fn main() -> ExitCode {
    let mut steps = Steps::default();
    let result = perform(Arguments::parse().task, &mut steps);
    steps.summary();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("\x1b[1;31merror\x1b[0m: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Builds the npm package.
fn package(workspace: &Path, toolchain: &WasmToolchain, steps: &mut Steps) -> Result<()> {
    steps.step("node_modules", || npm::install(workspace))?;
    steps.step("browser module", || bindgen::browser(workspace, toolchain))?;
    steps.step("npm package", || npm::package(workspace))
}

/// Builds what runs in JavaScript hosts.
fn web(workspace: &Path, toolchain: &WasmToolchain, steps: &mut Steps) -> Result<()> {
    package(workspace, toolchain, steps)?;
    steps.step("worker module", || bindgen::worker(workspace, toolchain))
}

fn perform(task: Task, steps: &mut Steps) -> Result<()> {
    let workspace = workspace();
    match task {
        Task::Setup => {
            steps.step("setup", setup::run)?;
        }
        Task::Wasm => {
            let toolchain = steps.step("setup", setup::run)?;
            steps.step("guest", || guest::build(workspace, &toolchain))?;
        }
        Task::Web => {
            let toolchain = steps.step("setup", setup::run)?;
            web(workspace, &toolchain, steps)?;
        }
        Task::Size { json } => {
            let toolchain = steps.step("setup", setup::run)?;
            steps.step("guest", || guest::build(workspace, &toolchain))?;
            web(workspace, &toolchain, steps)?;
            steps.step("size", || {
                let figures = size::run(workspace, json.as_deref())?;
                gates::Gates::read(workspace)?.check(gates::Source::Size, &figures)
            })?;
        }
        Task::Conformance { json } => {
            let toolchain = steps.step("setup", setup::run)?;
            steps.step("guest", || guest::build(workspace, &toolchain))?;
            web(workspace, &toolchain, steps)?;
            steps.step("conformance", || conformance::run(workspace, json.as_deref()))?;
        }
        Task::Coverage { json } => coverage::run(workspace, json.as_deref(), steps)?,
        Task::Demo { arguments } => {
            let toolchain = steps.step("setup", setup::run)?;
            steps.step("guest", || guest::build(workspace, &toolchain))?;
            steps.step("demo", || process::run(demo(workspace).args(&arguments), "read the message above"))?;
        }
        Task::Lightgbm { json } => {
            let toolchain = steps.step("setup", setup::run)?;
            steps.step("guest", || guest::build(workspace, &toolchain))?;
            let rows = workspace.join("target/demo/rows");
            steps.step("demo", || process::run(demo(workspace).arg("--rows").arg(&rows), "read the message above"))?;
            let packages =
                steps.step("lightgbm", || python::packages("lightgbm-4.6.0", "LightGBM 4.6.0 from PyPI", &LIGHTGBM))?;
            steps.step("compare", || {
                let mut compare = Command::new("python3");
                compare.env("PYTHONPATH", packages).arg(workspace.join("benches/lightgbm/compare.py")).arg(&rows);
                if let Some(json) = &json {
                    compare.arg("--json").arg(json);
                }
                process::run(&mut compare, "read the message above")
            })?;
        }
        Task::Page(arguments) => {
            let toolchain = steps.step("setup", setup::run)?;
            page::run(workspace, &toolchain, &arguments, steps)?;
        }
        Task::Obp => steps.step("off-policy estimators", || obp::run(workspace))?,
        Task::UpliftReference => steps.step("measures of uplift", || uplift::reference(workspace))?,
        Task::Test => checks::run(workspace, steps)?,
        Task::Rules => steps.step("rules", || rules::check(workspace))?,
        Task::Deny => steps.step("deny", || {
            let mut deny = tools::CARGO_DENY.command(workspace)?;
            // Advisories need a clone of their database; the registries are all that a machine must reach.
            process::run(deny.args(["check", "bans", "licenses", "sources"]), "deny.toml says what is allowed and why")
        })?,
        Task::Fuzz { target, seconds } => {
            steps.step("fuzz", || fuzz::run(workspace, target.as_deref(), seconds))?;
        }
        Task::Chaos { rounds, json } => steps.step("chaos", || {
            let mut chaos = bench::host(workspace);
            chaos.args(["chaos", "--rounds", &rounds.to_string(), "--page", "docs/faults.md"]);
            if let Some(json) = &json {
                chaos.arg("--json").arg(json);
            }
            process::run(&mut chaos, "the page and the file have what came of each fault")
        })?,
        Task::Simulate { what } => steps.step("simulate", || simulate::run(workspace, &what))?,
        Task::Bench { arguments } if arguments.first().is_some_and(|first| first == bench::UPLIFT) => {
            steps.step("bench uplift", || uplift::bench(workspace, &arguments[1..]))?;
        }
        Task::Bench { arguments } => {
            let toolchain = steps.step("setup", setup::run)?;
            bench::run(workspace, &toolchain, &arguments, steps)?;
        }
        Task::Gates { figures, source } => {
            gates::Gates::read(workspace)?.check(source, &gates::read_figures(&figures)?)?;
        }
    }
    Ok(())
}

/// The checkout this task was built from.
fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}
