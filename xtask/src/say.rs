//! Everything a task says, in one place: short lines on standard error, so that standard output stays data.

use std::time::{Duration, Instant};

use anstream::eprintln;
use anyhow::Result;

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";

/// One fact worth a line: what was found, what is being installed and where, what came out.
pub(crate) fn note(text: impl std::fmt::Display) {
    eprintln!("  {text}");
}

/// The steps of a task with the time each took. `anstream` drops the styling where there is no terminal.
#[derive(Default)]
pub(crate) struct Steps(Vec<(&'static str, Duration)>);

impl Steps {
    /// Announces `name`, does it, and remembers how long it took.
    pub(crate) fn step<T>(&mut self, name: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        eprintln!("{BOLD}==> {name}{RESET}");
        let start = Instant::now();
        let result = work();
        self.0.push((name, start.elapsed()));
        if result.is_err() {
            eprintln!("{BOLD}==> {name} failed{RESET} after {:.1} s", start.elapsed().as_secs_f64());
        }
        result
    }

    /// Prints the time of each step, also of one that failed, and of all of them.
    pub(crate) fn summary(&self) {
        if self.0.is_empty() {
            return;
        }
        let width = self.0.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max("all".len());
        for (name, time) in &self.0 {
            eprintln!("{DIM}  {name:<width$} {:>7.1} s{RESET}", time.as_secs_f64());
        }
        let total: Duration = self.0.iter().map(|(_, time)| *time).sum();
        eprintln!("{BOLD}  {:<width$} {:>7.1} s{RESET}", "all", total.as_secs_f64());
    }
}
