//! Gates on counted figures: bytes and fuel, which repeat exactly, never time.
//!
//! A producer of figures (the guest build, the demo) writes a JSON list of `{name, value, unit, command}`;
//! `xtask/gates.toml` holds the limits. A limit moves in a commit that says why.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
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

/// One line of `gates.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Gate {
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
        toml::from_str(&text).with_context(|| format!("{} is not a table of {{ max, why }} by figure", path.display()))
    }

    /// Checks every gate that one of `figures` answers to; says how each stands.
    ///
    /// # Errors
    /// Names every figure above its limit, or says that no figure meets any gate.
    pub(crate) fn check(&self, figures: &[Figure]) -> Result<()> {
        let mut above = Vec::new();
        let mut checked = 0;
        for figure in figures {
            let Some(gate) = self.0.get(&figure.name) else { continue };
            checked += 1;
            let Figure { name, value, unit, command } = figure;
            say::note(format_args!("{name}: {value} {unit}, at most {}", gate.max));
            let within = *value <= gate.max; // false for NaN as well
            if !within {
                above.push(format!(
                    "{name} is {value} {unit}, above {} ({}); measured by `{command}`",
                    gate.max, gate.why
                ));
            }
        }
        if checked == 0 {
            bail!("none of the {} figures has a gate in xtask/gates.toml\nhint: compare the names", figures.len());
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

    fn gates() -> Gates {
        toml::from_str("\"guest.gzip_bytes\" = { max = 10, why = \"a test\" }").unwrap()
    }

    #[test]
    fn a_figure_above_its_limit_fails_and_is_named() {
        assert!(gates().check(&[Figure::bytes("guest.gzip_bytes", 10, "c")]).is_ok());
        let error = gates().check(&[Figure::bytes("guest.gzip_bytes", 11, "c")]).unwrap_err();
        assert!(error.to_string().contains("guest.gzip_bytes is 11"), "{error}");
    }

    #[test]
    fn a_misspelt_figure_does_not_pass_for_a_checked_one() {
        assert!(gates().check(&[Figure::bytes("guest.gzipbytes", 1, "c")]).is_err());
    }

    #[test]
    fn a_figure_that_is_not_a_number_fails() {
        let figure = Figure { value: f64::NAN, ..Figure::bytes("guest.gzip_bytes", 0, "c") };
        assert!(gates().check(&[figure]).is_err());
    }
}
