//! A workload as `prepare.py` wrote it: inputs, expected outputs, and what may differ.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::read;

/// Workloads, in the order of the tables.
pub(crate) const NAMES: [&str; 6] = ["mlp", "mlp-int8", "mlp-shared", "din", "lgb100", "lgb500"];

/// `workload.json`.
#[derive(Debug, Deserialize)]
pub(crate) struct About {
    pub(crate) name: String,
    /// Names of the inputs' columns.
    pub(crate) columns: Vec<String>,
    /// How many of them, from the first on, are the same in all rows of a set.
    pub(crate) shared: usize,
    pub(crate) rows: Vec<usize>,
    pub(crate) sets: usize,
    /// Multiplications and additions of a row in the network as it is written; 0 for trees.
    pub(crate) flops: u64,
    /// What an output may differ by.
    pub(crate) tolerance: f32,
}

/// A workload's folder.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) path: PathBuf,
    pub(crate) about: About,
}

impl Workload {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = path.join("workload.json");
        let about =
            serde_json::from_slice(&read(&file)?).with_context(|| format!("{} is not valid", file.display()))?;
        Ok(Self { path: path.to_owned(), about })
    }

    /// `[set][row][column]`.
    pub(crate) fn inputs(&self, rows: usize) -> Result<Vec<f32>> {
        let values = self.floats(&format!("inputs-{rows}.f32"))?;
        ensure!(values.len() == self.about.sets * rows * self.about.columns.len(), "inputs-{rows}.f32 is cut short");
        Ok(values)
    }

    /// `[set][row]`: what `engine` must answer.
    pub(crate) fn expected(&self, rows: usize, engine: &str) -> Result<Vec<f32>> {
        let own = format!("expected-{engine}-{rows}.f32");
        let name = if self.path.join(&own).exists() { own } else { format!("expected-{rows}.f32") };
        let values = self.floats(&name)?;
        ensure!(values.len() == self.about.sets * rows, "{name} is cut short");
        Ok(values)
    }

    /// The file of an encoded request.
    pub(crate) fn request(&self, rows: usize, set: usize) -> PathBuf {
        self.path.join(format!("request-{rows}-{set}.svrq"))
    }

    /// Our bundle.
    pub(crate) fn bundle(&self) -> PathBuf {
        self.path.join("bundle.svb")
    }

    /// What our compiler said, if it refused the model.
    pub(crate) fn refusal(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.path.join("bundle.refused")).ok()?;
        Some(text.trim().to_owned())
    }

    fn floats(&self, name: &str) -> Result<Vec<f32>> {
        let bytes = read(&self.path.join(name))?;
        let (words, rest) = bytes.as_chunks::<4>();
        ensure!(rest.is_empty(), "{name} is cut short");
        Ok(words.iter().map(|word| f32::from_le_bytes(*word)).collect())
    }
}
