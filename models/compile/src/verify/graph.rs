//! The proof for graphs: their sums run in another order than in any other runtime, so scores are compared with a tolerance.

use selvedge_engine::feature::stride;
use selvedge_engine::model::{Model, ModelScratch};

use super::{Parity, REPORT, SplitMix};
use crate::error::{CompileError, CompileErrorKind};
use crate::onnx::BoundGraph;

/// Difference that is allowed, relative to the larger of the score and 1.
const TOLERANCE: f32 = 1e-5;
/// Candidates of each request: one alone, and more than are computed at once. Each has its own values of what its candidates
/// share.
const REQUESTS: [usize; 8] = [48, 1, 7, 33, 100, 48, 99, 48];

pub(super) fn compare(model: &Model, bound: &BoundGraph, features: usize) -> Result<Parity, CompileError> {
    let mut random = SplitMix(0x6a09_e667);
    let compared: usize = REQUESTS.iter().sum();
    let mut largest = 0.0_f32;
    let mut numbers = 0;
    let mut scratch = ModelScratch::default();
    for rows in REQUESTS {
        let stride = stride(rows);
        let (mut columns, mut matrix) = (Vec::with_capacity(features * rows), Vec::with_capacity(features * stride));
        for feature in 0..features {
            let mut draw = || match bound.ids[feature] {
                Some(rows) => random.below(rows) as f32,
                None => random.below(4001) as f32 / 1000.0 - 2.0,
            };
            let first = draw();
            let column: Vec<f32> = (0..rows).map(|_| if bound.of_request[feature] { first } else { draw() }).collect();
            columns.extend_from_slice(&column);
            matrix.extend(column);
            matrix.resize((feature + 1) * stride, 0.0);
        }
        let mut scores = vec![0.0; stride];
        model.scores(&matrix, rows, &mut scratch, &mut scores);
        let expected = bound.reference(&columns, rows)?;
        for (row, (score, expected)) in scores.iter().zip(&expected).enumerate() {
            let difference = (score - expected).abs() / expected.abs().max(1.0);
            let agrees = difference <= TOLERANCE || score == expected || (score.is_nan() && expected.is_nan());
            if !agrees {
                let values: Vec<f32> = (0..features).map(|feature| columns[feature * rows + row]).collect();
                let message =
                    format!("the engine scores {score} where the model scores {expected}, for the features {values:?}");
                return Err(CompileError::new(CompileErrorKind::Parity, "bundle", message, REPORT));
            }
            if difference.is_finite() {
                largest = largest.max(difference);
                numbers += 1;
            }
        }
    }
    // Two that say NaN to everything agree, and nothing is proven.
    if numbers == 0 {
        let message = format!("the score is no finite number for any of {compared} inputs between -2 and 2");
        let help = "score a few rows with onnxruntime: a logarithm of a negative number, or training that diverged";
        return Err(CompileError::new(CompileErrorKind::Unsupported, "graph", message, help));
    }
    Ok(Parity { rows: compared, thresholds: 0, difference: Some(largest), tolerance: Some(TOLERANCE) })
}
