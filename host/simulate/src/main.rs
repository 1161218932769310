//! Lets worlds of many seeds happen and says what came of them; `cargo xtask simulate budget` builds and calls it.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a program for a terminal, whose product is a summary")]

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};
use selvedge_simulate::{Summary, World, run};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Spend budgets in worlds where everything goes wrong.
    Budget {
        /// Number of worlds.
        #[arg(long, value_name = "N", default_value_t = 1000)]
        seeds: u64,
        /// Seed of the first one; the others follow.
        #[arg(long, value_name = "SEED", default_value_t = 1)]
        first: u64,
        /// Write the summary as JSON.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
}

fn main() -> Result<()> {
    let Command::Budget { seeds, first, json } = Cli::parse().command;
    let summary = simulate(first, seeds);
    let text = serde_json::to_string_pretty(&summary)?;
    println!("{text}");
    if let Some(path) = json {
        std::fs::write(&path, format!("{text}\n")).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if summary.seeds == 0 {
        bail!("no world was run; give --seeds above 0");
    }
    match summary.broken_seeds.first() {
        None => Ok(()),
        Some(seed) => bail!("a rule was broken; look at it with --first {seed} --seeds 1"),
    }
}

/// All seeds, on all cores, summed up in their order.
fn simulate(first: u64, seeds: u64) -> Summary {
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let outcomes = std::thread::scope(|scope| {
        let worker = |thread: u64| {
            move || {
                (thread..seeds).step_by(threads as usize).map(|at| run(&World::draw(first + at))).collect::<Vec<_>>()
            }
        };
        let workers: Vec<_> = (0..threads).map(|thread| scope.spawn(worker(thread))).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a world does not panic")).collect::<Vec<_>>()
    });
    let mut outcomes = outcomes;
    outcomes.sort_by_key(|outcome| outcome.seed);
    let mut summary = Summary::default();
    for outcome in &outcomes {
        summary.add(outcome);
    }
    summary
}
