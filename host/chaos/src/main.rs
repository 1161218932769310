//! What the thin host and its edges do when things fail, and how fast they are when nothing does.
//!
//! Hosts run as processes of their own, so that they can be killed; this program is one of them when it is told to.
//! `cargo xtask chaos` and `cargo xtask bench sync` build and call it.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal, whose product is a table")]

mod bench;
mod disk;
mod edge;
mod host;
mod kill;
mod overload;
mod proxy;
mod report;
mod shop;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};
use selvedge_sync::config::Config;
use selvedge_sync::serve::run_until_signal;

use crate::report::Outcome;

/// Breaks something so often, with random draws from a number.
type Fault = fn(u32, u64) -> Result<Vec<Outcome>>;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Break things, and say what was lost.
    Chaos {
        /// Rounds of each fault.
        #[arg(long, default_value_t = 100)]
        rounds: u32,
        /// The first number of the random draws; the same number gives the same faults, not the same timing.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Write the outcomes as JSON.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Write the table of faults and outcomes into this page.
        #[arg(long, value_name = "FILE")]
        page: Option<PathBuf>,
    },
    /// Measure the host and its followers.
    Bench {
        /// Users that are stored for the measure of a start.
        #[arg(long, default_value_t = 1_000_000)]
        users: u32,
        /// Seconds of load.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// The script that follows by the npm package; without it all followers are of Rust.
        #[arg(long, value_name = "FILE")]
        node: Option<PathBuf>,
        /// Write the figures as JSON.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Be a host.
    #[command(hide = true)]
    Host {
        /// Its configuration.
        config: PathBuf,
    },
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Host { config } => {
            let text = std::fs::read_to_string(&config)?;
            let config = Config::parse(&text, &config)?;
            run_until_signal(config, |address| println!("{address}")).context("the host ended")
        }
        Command::Bench { users, seconds, node, json } => bench::run(users, seconds, node.as_deref(), json.as_deref()),
        Command::Chaos { rounds, seed, json, page } => {
            let mut outcomes: Vec<Outcome> = Vec::new();
            let faults: [Fault; 5] = [kill::run, disk::run, proxy::run, edge::run, overload::run];
            for fault in faults {
                for outcome in fault(rounds, seed)? {
                    println!("{outcome}");
                    outcomes.push(outcome);
                }
            }
            if let Some(path) = json {
                std::fs::write(&path, format!("{}\n", serde_json::to_string_pretty(&outcomes)?))?;
            }
            if let Some(path) = page {
                report::write_page(&path, &outcomes)?;
            }
            match outcomes.iter().find(|outcome| !outcome.is_good()) {
                Some(bad) => bail!("{}: something was lost, doubled or not held", bad.fault),
                None => Ok(()),
            }
        }
    }
}
