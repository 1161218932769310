//! What a decision costs, and where: the engine's own count for a usual request, part by part.
//!
//! The engine counts units instead of time, so that a limit is the same on every machine. A unit is taken for
//! [`NANOSECONDS_PER_UNIT`] here, what [`Limits`] says of it: a machine that is half as fast takes twice as long, and the parts
//! keep their shares. What is not counted is what does not grow with the model: reading the request, writing the decision.

use std::fmt::{self, Display, Formatter};

use selvedge_engine::model::step_cost;
use selvedge_engine::{EXPLORE_COST, Limits, Snapshot};
use selvedge_format::graph::{Graph, Per};
use selvedge_format::model::{ModelKindV1, ModelsV1};
use selvedge_format::{AlignedBytes, DecodeError};
use serde::Serialize;

use crate::inspect::step_text;

/// Candidates of the request that is counted.
pub const CANDIDATES: u64 = 100;
/// What a cost unit is taken for: eight tree tests for one candidate.
pub const NANOSECONDS_PER_UNIT: f64 = 2.0;
/// Parts that are shown as text: what dominates.
const SHOWN: usize = 8;

/// Cost of a request of [`CANDIDATES`] with a slate of the bundle's size, by part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CostInspection {
    /// Candidates of the request.
    pub candidates: u64,
    /// Cost units, as a decision has them.
    pub units: u64,
    /// What a unit is taken for.
    pub nanoseconds_per_unit: f64,
    /// The time that follows.
    pub microseconds: f64,
    /// Where it goes, the dearest first. Fractions of a unit are rounded up in each part.
    pub parts: Vec<CostPart>,
}

/// A part of a decision's cost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CostPart {
    /// What is done.
    pub what: String,
    /// Cost units.
    pub units: u64,
    /// Of the whole, 0 to 1.
    pub share: f64,
}

/// Counts the parts of a decision by a bundle. `weights` gives the weight section of a model.
pub(crate) fn inspect<'w>(
    bytes: &[u8],
    models: &ModelsV1,
    weights: impl Fn(u16) -> Result<&'w [u8], DecodeError>,
) -> Result<CostInspection, DecodeError> {
    let limits = Limits { bundle_bytes: usize::MAX, ..Limits::default() };
    let snapshot = Snapshot::load(&AlignedBytes::copy_of(bytes), &limits)?;
    let features = snapshot.program().features.len();
    let mut parts = Parts::default();
    parts.add(format!("features ({features})"), CANDIDATES * snapshot.feature_costs().sum::<u64>());
    let slots = u64::from(snapshot.policy().slate_size).min(CANDIDATES);
    parts.add(format!("slate of {slots}"), CANDIDATES * (slots * snapshot.slot_cost()).div_ceil(8));
    if snapshot.explore().is_some() {
        parts.add("exploration".to_owned(), CANDIDATES * EXPLORE_COST);
    }
    for (at, (stage, keep)) in models.stages.iter().zip(snapshot.keeps()).enumerate() {
        let Some(model) = snapshot.stage(at) else { continue };
        let seen = CANDIDATES.min(keep as u64);
        parts.units += seen * model.cost() + model.request_cost(seen);
        let of_stage = if models.stages.len() > 1 { format!("stage {}: ", at + 1) } else { String::new() };
        if models.models[usize::from(stage.model)].kind != ModelKindV1::Graph {
            parts.note(format!("{of_stage}{} model", model.kind()), seen * model.cost());
            continue;
        }
        for step in &Graph::parse(weights(stage.model)?, features)?.steps {
            let (times, per) = match step.per() {
                Per::Request => (1, ", once per request"),
                Per::Candidate => (seen, ""),
                Per::Pair => (seen * seen, ", per pair of candidates"),
            };
            parts.note(format!("{of_stage}{}{per}", step_text(step)), (step_cost(step) * times).div_ceil(64));
        }
    }
    Ok(parts.inspection())
}

#[derive(Default)]
struct Parts {
    units: u64,
    parts: Vec<CostPart>,
}

impl Parts {
    /// A part that is counted by itself.
    fn add(&mut self, what: String, units: u64) {
        self.units += units;
        self.note(what, units);
    }

    /// A part of what is counted as a whole. Steps that read alike are one.
    fn note(&mut self, what: String, units: u64) {
        match self.parts.iter_mut().find(|part| part.what == what) {
            Some(part) => part.units += units,
            None => self.parts.push(CostPart { what, units, share: 0.0 }),
        }
    }

    fn inspection(mut self) -> CostInspection {
        self.parts.sort_by_key(|part| std::cmp::Reverse(part.units));
        let whole = self.units.max(1) as f64;
        self.parts.iter_mut().for_each(|part| part.share = part.units as f64 / whole);
        CostInspection {
            candidates: CANDIDATES,
            units: self.units,
            nanoseconds_per_unit: NANOSECONDS_PER_UNIT,
            microseconds: self.units as f64 * NANOSECONDS_PER_UNIT / 1000.0,
            parts: self.parts,
        }
    }
}

impl Display for CostInspection {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { candidates, units, nanoseconds_per_unit: unit, microseconds, parts } = self;
        writeln!(f, "predicted cost of a request with {candidates} candidates: {microseconds:.1} us")?;
        writeln!(f, "  {units} units, each taken for {unit} ns: the time of eight tree tests")?;
        parts
            .iter()
            .take(SHOWN)
            .try_for_each(|part| writeln!(f, "  {:>5.1} %  {:>9} units  {}", 100.0 * part.share, part.units, part.what))
    }
}
