//! Quantisation: a tensor program with its weights in halves or bytes, and the proof that it still ranks.
//!
//! It is a pass over a finished program, from section to section, so it knows nothing of where the program comes from. Layers get
//! bytes with a scale per output (Jacob et al., 1712.05877; per channel as in 1806.08342), tables bytes with a scale per row. The
//! inputs of a layer are rounded to 12 bits by one multiplier, which a sample of requests decides: 16-bit products cost the same with
//! 8 bits of input as with 12, and 12 lose less.
//!
//! How much is lost is not estimated but measured, on the sample, by the engine that will serve it, and what loses more than was
//! declared is not compiled. What the quantised program computes is not a matter of opinion: the engine must agree bit for bit with
//! a plain evaluation.

mod calibrate;
mod judge;
mod reference;
mod rewrite;

use selvedge_engine::feature::stride;
use selvedge_engine::model::{Model, ModelScratch};
use selvedge_engine::{Engine, Limits};
use selvedge_format::graph::Graph;
use selvedge_format::model::{Link, ModelKindV1, ModelV1};
use selvedge_format::{AlignedBytes, DecodeError};
use selvedge_spec::{Quantise, Width, Word};
use serde::Serialize;

use crate::bind::Bound;
use crate::error::{CompileError, CompileErrorKind};
use calibrate::Calibration;
use judge::Compared;
use reference::Reference;
use rewrite::rewrite;

pub use judge::Loss;

/// Candidates of the sample that are looked at: more requests than hold so many are left out.
const MAX_CANDIDATES: usize = 1 << 14;
/// Candidates whose inputs of layers are seen, and candidates whose scores are compared bit for bit.
const CALIBRATED: usize = 1 << 11;
const PROVEN: usize = 1 << 9;

/// Requests as they will come, to calibrate and to judge by.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// The requests.
    pub requests: Vec<SampleRequest>,
    /// The shared state in which they were made, if there was one.
    pub shared: Option<Vec<u8>>,
}

/// A request of a sample.
#[derive(Clone, Debug, Default)]
pub struct SampleRequest {
    /// The request's bytes.
    pub bytes: Vec<u8>,
    /// What showing each candidate was worth, 0 or more; empty where nobody knows.
    pub gains: Vec<f32>,
}

/// What quantising a model has done to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QuantiseReport {
    /// What its weights are: `int8` or `f16`.
    pub weights: &'static str,
    /// Dense layers that are narrow now.
    pub layers: usize,
    /// Lookups in tables that are narrow now.
    pub tables: usize,
    /// Bytes of the weight section before and after.
    pub bytes: [usize; 2],
    /// Candidates by which it was judged.
    pub candidates: usize,
    /// What is lost.
    pub loss: Loss,
    /// What was allowed to be lost.
    pub max_loss: f64,
}

/// Features and gains of a request: `[candidate][feature]`.
struct Row {
    features: Vec<Vec<f32>>,
    gains: Vec<f32>,
}

/// A quantised section, and what became of it.
pub(crate) struct Quantised {
    pub(crate) section: Vec<u8>,
    pub(crate) report: QuantiseReport,
}

/// Quantises the program of a bundle that computes the features of the sample.
pub(crate) fn quantise(
    bundle: &[u8],
    bound: &Bound,
    declared: &Quantise,
    sample: Option<&Sample>,
) -> Result<Quantised, CompileError> {
    let Some(section) = bound.program() else {
        let message = "only the weights of networks can be quantised: trees and linear models are small, and exact";
        return Err(refused(message, "leave `[quantise]` out"));
    };
    let Some(sample) = sample else {
        let help = "give logged requests, as many as one can spare: `selvedge compile --sample requests.jsonl`";
        return Err(refused("weights are quantised by a sample of requests, and there is none", help));
    };
    let rows = read(bundle, sample)?;
    let Some(features) = rows.iter().flat_map(|row| &row.features).map(Vec::len).next() else {
        return Err(no_order());
    };
    let graph = Graph::parse(section, features).map_err(|error| bug(&error))?;
    let calibration = calibrate(&graph, &rows);
    let width = match declared.weights {
        Width::Int8 => rewrite::Width::Byte,
        Width::F16 => rewrite::Width::Half,
    };
    let rewritten = rewrite(&graph, width, |step| calibration.reach(step));
    prove(&rewritten.section, features, &rows)?;
    let before = scores(section, features, &rows).map_err(|error| bug(&error))?;
    let after = scores(&rewritten.section, features, &rows).map_err(|error| bug(&error))?;
    let loss = Loss::new(rows.iter().zip(before.iter().zip(&after)).map(|(row, (before, after))| Compared {
        before,
        after,
        gains: &row.gains,
    }));
    let report = QuantiseReport {
        weights: declared.weights.as_str(),
        layers: rewritten.layers,
        tables: rewritten.tables,
        bytes: [section.len(), rewritten.section.len()],
        candidates: rows.iter().map(|row| row.features.len()).sum(),
        loss,
        max_loss: declared.max_loss,
    };
    judge(&report)?;
    Ok(Quantised { section: rewritten.section, report })
}

/// Whether what is lost was allowed to be.
fn judge(report: &QuantiseReport) -> Result<(), CompileError> {
    let Loss { requests, spearman, ndcg, auc, .. } = report.loss;
    if requests == 0 {
        return Err(no_order());
    }
    let share = report.loss.share();
    if share <= report.max_loss {
        return Ok(());
    }
    let shown = |name: &str, [before, after]: [f64; 2]| format!("{name} falls from {before:.4} to {after:.4}");
    let measures = [ndcg.map(|pair| shown("NDCG@10", pair)), auc.map(|pair| shown("AUC", pair))];
    let mut measures: Vec<String> = measures.into_iter().flatten().collect();
    if measures.is_empty() {
        measures.push(format!("the correlation of ranks is {spearman:.5}"));
    }
    let message = format!(
        "with {} weights {}: {:.3} % is lost where {:.3} % may be",
        report.weights,
        measures.join(" and "),
        100.0 * share,
        100.0 * report.max_loss,
    );
    let help = if report.weights == Width::Int8.as_str() {
        "quantise to `f16`, or allow more: `[quantise] max_loss`"
    } else {
        "leave `[quantise]` out, or allow more: `max_loss`"
    };
    Err(CompileError::new(CompileErrorKind::Loss, "quantise", message, help))
}

fn refused(message: impl Into<String>, help: &str) -> CompileError {
    CompileError::new(CompileErrorKind::Quantisation, "quantise", message, help)
}

fn no_order() -> CompileError {
    let message = "the model scores all candidates of each request of the sample alike: there is no order to judge by";
    refused(message, "give requests with several candidates, of users and items that are known")
}

fn bug(error: &DecodeError) -> CompileError {
    let help = "this is a bug in Selvedge: please report it with the model file";
    CompileError::new(CompileErrorKind::Parity, "quantise", error.to_string(), help)
}

/// The features of the sample, as the engine computes them.
fn read(bundle: &[u8], sample: &Sample) -> Result<Vec<Row>, CompileError> {
    let mut engine = Engine::new(Limits::default());
    engine.load(AlignedBytes::copy_of(bundle)).map_err(|error| bug(&error))?;
    if let Some(shared) = &sample.shared {
        let help = "give the shared state that was made for these features";
        let wrong = |error: DecodeError| refused(format!("the shared state of the sample is refused: {error}"), help);
        engine.load(AlignedBytes::copy_of(shared)).map_err(wrong)?;
    }
    let (mut rows, mut candidates) = (Vec::new(), 0);
    for (at, request) in sample.requests.iter().enumerate() {
        let help = "give requests that an edge would rank with these features";
        let matrix = engine.features(&request.bytes);
        let matrix =
            matrix.map_err(|error| refused(format!("request {at} of the sample is refused: {error}"), help))?;
        if !request.gains.is_empty() && request.gains.len() != matrix.candidates {
            let (gains, candidates) = (request.gains.len(), matrix.candidates);
            let message = format!("request {at} of the sample has {gains} gains for {candidates} candidates");
            return Err(refused(message, "give a gain for every candidate, 0 where there was none"));
        }
        let columns: Vec<&[f32]> = (0..matrix.features()).map(|feature| matrix.column(feature)).collect();
        let row = |candidate: usize| columns.iter().map(|column| column[candidate]).collect();
        rows.push(Row { features: (0..matrix.candidates).map(row).collect(), gains: request.gains.clone() });
        candidates += matrix.candidates;
        if candidates >= MAX_CANDIDATES {
            break;
        }
    }
    Ok(rows)
}

/// The first requests that hold so many candidates: sums over them are of interest, not they themselves.
fn first(rows: &[Row], candidates: usize) -> impl Iterator<Item = &Row> {
    let mut seen = 0;
    rows.iter().take_while(move |row| {
        let is_enough = seen >= candidates;
        seen += row.features.len();
        !is_enough
    })
}

fn calibrate(graph: &Graph<'_>, rows: &[Row]) -> Calibration {
    let mut calibration = Calibration::default();
    let mut reference = Reference::new(graph);
    for row in first(rows, CALIBRATED) {
        reference.scores(&row.features, &mut |step, inputs| calibration.see(step, inputs));
    }
    calibration
}

/// The engine and the plain evaluation agree to the bit.
fn prove(section: &[u8], features: usize, rows: &[Row]) -> Result<(), CompileError> {
    let graph = Graph::parse(section, features).map_err(|error| bug(&error))?;
    let mut reference = Reference::new(&graph);
    let found = scores(section, features, rows).map_err(|error| bug(&error))?;
    for (row, found) in first(rows, PROVEN).zip(&found) {
        let expected = reference.scores(&row.features, &mut |_, _| ());
        for (found, expected) in found.iter().zip(&expected) {
            if found.to_bits() != expected.to_bits() && !(found.is_nan() && expected.is_nan()) {
                let message = format!("the engine scores {found} where the quantised program scores {expected}");
                let help = "this is a bug in Selvedge: please report it with the model file";
                return Err(CompileError::new(CompileErrorKind::Parity, "quantise", message, help));
            }
        }
    }
    Ok(())
}

/// Scores by the engine.
fn scores(section: &[u8], features: usize, rows: &[Row]) -> Result<Vec<Vec<f32>>, DecodeError> {
    let declared = ModelV1 { kind: ModelKindV1::Graph, link: Link::Identity };
    let model = Model::load(&declared, section, features)?;
    let mut scratch = ModelScratch::default();
    let score = |row: &Row| {
        let count = row.features.len();
        let stride = stride(count);
        let mut matrix = vec![0.0; features * stride];
        for (at, values) in row.features.iter().enumerate() {
            values.iter().enumerate().for_each(|(feature, value)| matrix[feature * stride + at] = *value);
        }
        let mut scores = vec![0.0; stride];
        model.scores(&matrix, count, &mut scratch, &mut scores);
        scores.truncate(count);
        scores
    };
    Ok(rows.iter().map(score).collect())
}
