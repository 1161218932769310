//! Gates on counted figures: bytes and fuel, which repeat exactly, never time.
//!
//! A producer of figures (the guest build, the demo) writes a JSON list of `{name, value, unit, command}`;
//! `xtask/gates.toml` holds the limits, and of each the source that must come up with the figure: a gate without its
//! figure is a failure, never a pass. A limit moves in a commit that says why.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::say;

/// One measured number.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: String,
    /// What to run to get it again.
    pub(crate) command: String,
}

impl Figure {
    /// A size.
    pub(crate) fn bytes(name: &str, bytes: usize, command: &str) -> Self {
        Self { name: name.to_owned(), value: bytes as f64, unit: "bytes".to_owned(), command: command.to_owned() }
    }
}

/// Who measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
pub(crate) enum Source {
    /// The build of the guest modules.
    #[serde(rename = "guest")]
    Guest,
    /// What ships, after all of it was built.
    #[serde(rename = "size")]
    #[value(name = "size")]
    Size,
    /// The demo on made-up households.
    #[serde(rename = "demo --quick")]
    #[value(name = "demo --quick")]
    QuickDemo,
}

/// One line of `gates.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Gate {
    source: Source,
    max: f64,
    /// Why this limit and not another.
    why: String,
}

/// Limits by figure name.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Gates(BTreeMap<String, Gate>);

impl Gates {
    /// Reads `xtask/gates.toml`.
    pub(crate) fn read(workspace: &Path) -> Result<Self> {
        let path = workspace.join("xtask/gates.toml");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text)
            .with_context(|| format!("{} is not a table of {{ source, max, why }} by figure", path.display()))
    }

    /// Checks every gate of `source`, whose figures these are; says how each stands.
    ///
    /// # Errors
    /// Names every gate without its figure, or every figure above its limit.
    pub(crate) fn check(&self, source: Source, figures: &[Figure]) -> Result<()> {
        let mut above = Vec::new();
        let mut missing = Vec::new();
        for (name, gate) in self.0.iter().filter(|(_, gate)| gate.source == source) {
            let Some(Figure { value, unit, command, .. }) = figures.iter().find(|figure| figure.name == *name) else {
                missing.push(name.as_str());
                continue;
            };
            say::note(format_args!("{name}: {value} {unit}, at most {}", gate.max));
            let within = *value <= gate.max; // false for NaN as well
            if !within {
                above.push(format!(
                    "{name} is {value} {unit}, above {} ({}); measured by `{command}`",
                    gate.max, gate.why
                ));
            }
        }
        if !missing.is_empty() {
            bail!(
                "there is no figure for {}, which xtask/gates.toml limits\nhint: compare the names with the {} figures",
                missing.join(", "),
                figures.len()
            );
        }
        if !above.is_empty() {
            bail!("{}\nhint: make it smaller, or move the limit in xtask/gates.toml and say why", above.join("\n"));
        }
        Ok(())
    }
}

/// Reads a file of figures.
pub(crate) fn read_figures(path: &Path) -> Result<Vec<Figure>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text)
        .with_context(|| format!("{} is not a list of {{name, value, unit, command}}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(figures: &[Figure]) -> Result<()> {
        let gates: Gates = toml::from_str(
            r#"
            "guest.gzip_bytes" = { source = "guest", max = 10, why = "a test" }
            "fuel.decision" = { source = "demo --quick", max = 10, why = "a test" }
            "#,
        )
        .unwrap();
        gates.check(Source::Guest, figures)
    }

    #[test]
    fn a_figure_above_its_limit_fails_and_is_named() {
        assert!(check(&[Figure::bytes("guest.gzip_bytes", 10, "c")]).is_ok());
        let error = check(&[Figure::bytes("guest.gzip_bytes", 11, "c")]).unwrap_err();
        assert!(error.to_string().contains("guest.gzip_bytes is 11"), "{error}");
    }

    #[test]
    fn a_gate_whose_figure_is_missing_fails_and_is_named() {
        // Misspelt, and beside it one that another source answers for.
        let error = check(&[Figure::bytes("guest.gzipbytes", 1, "c"), Figure::bytes("fuel.decision", 1, "c")]);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("no figure for guest.gzip_bytes,"), "{error}");
    }

    #[test]
    fn figures_that_only_another_source_limits_are_not_judged() {
        assert!(check(&[Figure::bytes("guest.gzip_bytes", 1, "c"), Figure::bytes("fuel.decision", 99, "c")]).is_ok());
    }

    #[test]
    fn a_figure_that_is_not_a_number_fails() {
        let figure = Figure { value: f64::NAN, ..Figure::bytes("guest.gzip_bytes", 0, "c") };
        assert!(check(&[figure]).is_err());
    }
}
