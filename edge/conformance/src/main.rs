//! Writes the corpus, and the trace that helps to find a difference.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use selvedge_conformance::{Corpus, trace};

#[derive(Parser)]
#[command(name = "selvedge-conformance", about = "The corpus that every face must decide alike")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write the corpus, as this engine decides it
    Corpus { file: PathBuf },
    /// Write the features and scores of every case, for a driver that found a difference
    Trace { file: PathBuf },
}

fn main() -> Result<()> {
    let (file, bytes) = match Arguments::parse().command {
        Command::Corpus { file } => (file, Corpus::of_this_engine().encode()),
        Command::Trace { file } => (file, trace()),
    };
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    }
    fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))
}
