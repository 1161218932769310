//! What the engine of this machine makes of a case.

use selvedge_engine::{Engine, Limits};
use selvedge_format::AlignedBytes;
use selvedge_format::decision::floats;

use crate::file::put;
use crate::{Case, cases};

/// What a case must come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Number of the error with which the load of the bundle ends; 0 for none.
    pub refusal: u32,
    /// The decision; empty without a request.
    pub decision: Vec<u8>,
    /// The features as modules answer them; empty where the request is refused.
    pub features: Vec<u8>,
    /// The scores as modules answer them; empty where the request is refused.
    pub scores: Vec<u8>,
}

/// Runs a case natively.
#[must_use]
pub fn outcome(case: &Case) -> Outcome {
    let mut engine = Engine::new(Limits::default());
    let mut load = |bytes: &Option<Vec<u8>>| {
        let loaded = bytes.as_ref().map(|bytes| engine.load(AlignedBytes::copy_of(bytes)));
        loaded.and_then(Result::err).map_or(0, |error| error.code() as u32)
    };
    let refusal = load(&case.bundle);
    load(&case.shared);
    let (mut decision, mut features, mut scores) = (Vec::new(), Vec::new(), Vec::new());
    if !case.request.is_empty() {
        if let Ok(matrix) = engine.features(&case.request) {
            matrix.write(&mut features);
        }
        floats(&mut scores, engine.score(&case.request).unwrap_or_default());
        decision.extend_from_slice(engine.decide(&case.request));
    }
    Outcome { refusal, decision, features, scores }
}

/// For each case in the order of the corpus: its features and its scores, each a length `u32` and its bytes; then the
/// names of the operations of its features, separated by newlines, likewise.
#[must_use]
pub fn trace() -> Vec<u8> {
    let mut out = Vec::new();
    for case in cases() {
        let outcome = outcome(&case);
        put(&mut out, &outcome.features);
        put(&mut out, &outcome.scores);
        put(&mut out, case.operations.join("\n").as_bytes());
    }
    out
}
