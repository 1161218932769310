//! What came of a fault.

use std::fmt;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

/// What came of a fault.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    /// What was done.
    pub(crate) fault: &'static str,
    /// How often.
    pub(crate) rounds: u32,
    /// Acknowledged things that were looked for afterwards.
    pub(crate) checked: u64,
    /// Of those, what was not there.
    pub(crate) lost: u64,
    /// What counted twice.
    pub(crate) doubled: u64,
    /// Whether everything else was as promised, in every round.
    pub(crate) held: bool,
    /// What was promised, in words.
    pub(crate) promise: &'static str,
}

impl Outcome {
    pub(crate) const fn new(fault: &'static str, promise: &'static str) -> Self {
        Self { fault, rounds: 0, checked: 0, lost: 0, doubled: 0, held: true, promise }
    }

    pub(crate) const fn is_good(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.held && self.rounds > 0
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fault, rounds, checked, lost, doubled, held, .. } = self;
        let held = if *held { "held" } else { "NOT HELD" };
        write!(f, "{fault:44} {rounds:4} rounds  {checked:8} checked  {lost} lost  {doubled} doubled  {held}")
    }
}

const BEGIN: &str = "<!-- faults: begin -->";
const END: &str = "<!-- faults: end -->";

/// Replaces the table between the marks of a page.
pub(crate) fn write_page(path: &Path, outcomes: &[Outcome]) -> Result<()> {
    let page = std::fs::read_to_string(path)?;
    let (before, rest) = page.split_once(BEGIN).context("the page has no mark where the table begins")?;
    let (_, after) = rest.split_once(END).context("the page has no mark where the table ends")?;
    let mut table =
        String::from("| Fault | Promise | Rounds | Checked | Lost | Doubled | Held |\n|---|---|---|---|---|---|---|\n");
    for outcome in outcomes {
        let Outcome { fault, rounds, checked, lost, doubled, held, promise } = outcome;
        let held = if *held { "yes" } else { "no" };
        table.push_str(&format!("| {fault} | {promise} | {rounds} | {checked} | {lost} | {doubled} | {held} |\n"));
    }
    std::fs::write(path, format!("{before}{BEGIN}\n{table}{END}{after}"))?;
    Ok(())
}
