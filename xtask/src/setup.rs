//! What a machine needs before anything is built. Everything that is not there already goes into the cache.

use std::process::Command;

use anyhow::{Result, bail};

use crate::toolchain::WasmToolchain;
use crate::{binaryen, process, say};

/// Programs that must be on PATH, what they are for, and how to get them.
const PROGRAMS: [(&str, &str, &str); 4] = [
    ("cargo", "builds", "https://rustup.rs, or your distribution's cargo"),
    ("node", "runs wasm-opt", "https://nodejs.org, or your distribution's nodejs"),
    ("npm", "installs wasm-opt", "it comes with Node.js; Debian: apt-get install npm"),
    ("python3", "fetches the demo's data set, with pip", "your distribution's python3"),
];

/// Subcommands of cargo that checks need and builds do without: name, component, how to get it.
const COMPONENTS: [(&str, &str, &str); 2] = [
    ("fmt", "rustfmt", "`rustup component add rustfmt`; Debian: apt-get install rustfmt-web"),
    ("clippy", "clippy", "`rustup component add clippy`; Debian: apt-get install rust-web-clippy"),
];

/// Checks the programs, then finds or installs the wasm toolchain and wasm-opt.
pub(crate) fn run() -> Result<WasmToolchain> {
    install(missing_programs())
}

/// The same for a task that also checks format and lints: says what is missing for these before anything is built.
pub(crate) fn run_for_checks() -> Result<WasmToolchain> {
    let mut missing = missing_programs();
    missing.extend(missing_components());
    install(missing)
}

fn missing_programs() -> Vec<String> {
    let mut missing = Vec::new();
    for (program, purpose, source) in PROGRAMS {
        match process::ask(Command::new(program).arg("--version")) {
            Some(version) => say::note(format_args!("{program}: {}", version.trim_start_matches(program).trim())),
            None => missing.push(format!("{program} ({purpose}): {source}")),
        }
    }
    if process::ask(Command::new("python3").args(["-m", "pip", "--version"])).is_none() {
        missing.push(
            "pip (fetches the demo's data set): python3 -m ensurepip, or Debian: apt-get install python3-pip"
                .to_owned(),
        );
    }
    missing
}

fn missing_components() -> impl Iterator<Item = String> {
    let missing = |subcommand: &str| process::ask(process::cargo().args([subcommand, "--version"])).is_none();
    COMPONENTS
        .into_iter()
        .filter(move |(subcommand, ..)| missing(subcommand))
        .map(|(subcommand, component, source)| format!("{component} (`cargo {subcommand}`): {source}"))
}

fn install(missing: Vec<String>) -> Result<WasmToolchain> {
    if !missing.is_empty() {
        bail!("these programs are missing:\n  {}\nhint: install them and run the task again", missing.join("\n  "));
    }
    let toolchain = WasmToolchain::find_or_install()?;
    say::note(toolchain.describe());
    say::note(format_args!("wasm-opt: {}", binaryen::find_or_install()?.display()));
    Ok(toolchain)
}
