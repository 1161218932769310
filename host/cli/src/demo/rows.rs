//! The rows that the ranker learned from and was judged on, for other trainers to be compared with on equal terms.
//!
//! `values.f32` holds `[row][feature]`, `labels.u8` one byte per row, `queries.json` the names of the features and the
//! queries in the order of their rows: fold, whether it is a test flyer, number of rows and, for a test flyer, the
//! NDCG@10 of the decision. `benches/lightgbm/compare.py` reads them.

use std::path::Path;

use selvedge_train::learn::TrainingSet;
use serde::Serialize;

use super::write;
use crate::error::{CliError, Exit};

/// What `queries.json` holds.
#[derive(Serialize)]
pub(super) struct Described<'a> {
    pub(super) features: Vec<&'a str>,
    pub(super) queries: Vec<DescribedQuery>,
}

/// One query.
#[derive(Serialize)]
pub(super) struct DescribedQuery {
    pub(super) fold: u8,
    pub(super) test: bool,
    pub(super) rows: usize,
    pub(super) ndcg: Option<f64>,
}

/// Writes the three files into `directory`.
pub(super) fn export(directory: &Path, set: &TrainingSet, described: &Described<'_>) -> Result<(), CliError> {
    let values: Vec<u8> = set.values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let labels: Vec<u8> = set.labels.iter().map(|label| u8::from(*label > 0.0)).collect();
    let json = serde_json::to_vec(described).map_err(|error| CliError::new(Exit::Io, error))?;
    write(&directory.join("values.f32"), &values)?;
    write(&directory.join("labels.u8"), &labels)?;
    write(&directory.join("queries.json"), &json)
}
