//! Simulations: worlds of many seeds, in the release build.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Subcommand;

use crate::process;

/// What can be simulated.
#[derive(Subcommand)]
pub(crate) enum What {
    /// Leases, offers and redemptions over lost edges, lost messages, wrong clocks and crashes
    Budget {
        /// Number of worlds
        #[arg(long, value_name = "N", default_value_t = 1000)]
        seeds: u64,
        /// Write the outcome as JSON: {seeds, overspends, worst_utilisation, settled_share, ...}
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
}

/// Runs a simulation; it fails if a rule was broken in any world.
pub(crate) fn run(workspace: &Path, what: &What) -> Result<()> {
    let What::Budget { seeds, json } = what;
    let mut cargo = process::cargo();
    cargo.current_dir(workspace).args(["run", "--release", "--package", "selvedge-simulate", "--"]);
    cargo.args(["budget", "--seeds", &seeds.to_string()]);
    if let Some(json) = json {
        cargo.arg("--json").arg(json);
    }
    process::run(&mut cargo, "the summary names the first seeds in which a rule was broken")
}
