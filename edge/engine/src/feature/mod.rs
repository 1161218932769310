//! The feature program: declared extractors, run column by column over the candidates.
//!
//! [`Columns`] first resolves what extractors read: field values from the request, the user's profile or the shared
//! state; counter values for each candidate's key. Each extractor then fills one column of the feature matrix. Strings
//! were hashed when the request was decoded, so an extractor only compares integers.
//!
//! To add an extractor: an operation in `selvedge_format::program::OpV1`, a function in a file of this folder, its line
//! in `extract`, and its declaration in `models/spec`.

mod category;
mod clock;
mod columns;
mod combine;
mod counters;
mod history;
mod number;
mod tokens;
mod transform;

use alloc::vec::Vec;

use selvedge_format::program::{OpV1, ProgramV1};
use selvedge_format::shared::SharedState;

use crate::buffer::{refill_long, resize};

pub use columns::Columns;

/// Rows of a column are padded to a multiple of this, so that kernels work on whole vectors.
pub const LANES: usize = 16;

/// Rows that a column of `candidates` values occupies. One candidate fills no vector, so its columns are its row.
#[must_use]
pub const fn stride(candidates: usize) -> usize {
    if candidates == 1 { 1 } else { candidates.next_multiple_of(LANES) }
}

/// Fills `matrix` with the columns of rows that lie one behind the other. Padding rows are 0.
pub(crate) fn transpose(values: &[f32], features: usize, stride: usize, matrix: &mut Vec<f32>) {
    resize(matrix, features * stride, 0.0);
    // A few rows at a time: what is read and written meanwhile stays in the cache, whatever the stride.
    for start in (0..stride).step_by(LANES) {
        for (feature, column) in matrix.get_mut(start..).unwrap_or_default().chunks_mut(stride).enumerate() {
            let mut from = start * features + feature;
            for value in column.iter_mut().take(LANES) {
                *value = values.get(from).copied().unwrap_or(0.0);
                from += features;
            }
        }
    }
}

/// Runs the program: fills `matrix` with one column of [`stride`] rows per feature. Padding rows are 0.
pub(crate) fn run(program: &ProgramV1, shared: Option<&SharedState>, columns: &mut Columns, matrix: &mut Vec<f32>) {
    let (rows, stride) = (columns.candidates(), stride(columns.candidates()));
    refill_long(matrix, program.features.len() * stride, 0.0);
    for (index, feature) in program.features.iter().enumerate() {
        let (earlier, rest) = matrix.split_at_mut(index * stride);
        let column = &mut rest[..rows];
        extract(&feature.op, shared, columns, earlier, stride, column);
        transform::apply(feature.default, &feature.transforms, column);
    }
}

/// One line per extractor. A value that is not there is NaN; the feature's default replaces it.
fn extract(
    op: &OpV1,
    shared: Option<&SharedState>,
    columns: &mut Columns,
    earlier: &[f32],
    stride: usize,
    out: &mut [f32],
) {
    match op {
        OpV1::Number { field } => number::value(columns, *field, out),
        OpV1::Category { field, values } => category::position(columns, *field, values, out),
        OpV1::Bucket { fields, buckets } => category::bucket(columns, fields, *buckets, out),
        OpV1::TimeDifference { field, unit_s } => clock::difference(columns, *field, *unit_s, out),
        OpV1::LocalTime { part } => clock::local_part(columns, *part, out),
        OpV1::Position => number::position(out),
        OpV1::Candidates => number::candidates(out),
        OpV1::Recency { table, unit_s } => counters::recency(columns, *table, *unit_s, out),
        OpV1::Counter(counter) => counters::value(columns, *counter, out),
        OpV1::Share(counter) => counters::share(columns, *counter, out),
        OpV1::Rate { numerator, denominator, weight, prior } => {
            counters::rate(columns, *numerator, *denominator, *weight, *prior, out);
        }
        OpV1::InteractedWith { event, by, within_s, last } => {
            history::interacted_with(columns, shared, *event, *by, (*within_s, *last), out);
        }
        OpV1::TokenOverlap { field, with, metric } => tokens::overlap(columns, shared, *field, *with, *metric, out),
        OpV1::Combine { op, left, right } => combine::combine(*op, earlier, stride, *left, *right, out),
        OpV1::ItemId { buckets } => category::item(columns, *buckets, out),
        OpV1::RecentItem { at, event, within_s, buckets } => {
            history::recent_item(columns, *at, (*event, *within_s), *buckets, out);
        }
    }
}
