//! What is shipped: for each arm, a model of the response over the same features, and its calibration.
//!
//! A decision at the edge knows linear models and trees and nothing of learners, so whatever was learned leaves as one plain
//! model per arm. The arithmetic here is the edge's own: `raw` in `f32` in the order of features (or by the booster, whose
//! sums are those of the edge), `p = sigmoid(a raw + b)` with the engine's sigmoid, and within a ladder of rising face value
//! no arm below the one before it. A policy that is chosen on these numbers is chosen on what the edge will compute.

use hessboost::model::{BoostedModel, ModelFormat};
use hessboost::prelude::Iterations;
use selvedge_engine::math::sigmoid;
use selvedge_train::learn::LinearWeights;
use thiserror::Error;

/// A model of one arm.
#[derive(Clone, Debug)]
pub enum Scorer {
    /// `bias + sum weight * x`; a missing x is its centre.
    Linear(LinearWeights),
    /// Boosted trees.
    Trees(Box<Trees>),
}

/// Boosted trees in both forms: the text that is compiled, and what scores here.
#[derive(Clone, Debug)]
pub struct Trees {
    json: Vec<u8>,
    booster: BoostedModel,
}

impl Trees {
    /// Reads XGBoost JSON.
    ///
    /// # Errors
    /// The booster cannot read it.
    pub fn new(json: Vec<u8>) -> Result<Self, hessboost::error::HessboostError> {
        let booster = BoostedModel::decode(&json, ModelFormat::XgboostJson)?;
        Ok(Self { json, booster })
    }

    /// The model as XGBoost JSON.
    #[must_use]
    pub fn json(&self) -> &[u8] {
        &self.json
    }
}

impl Scorer {
    /// Raw scores (log odds before calibration) of rows, `[row][feature]`.
    ///
    /// # Errors
    /// The rows do not fit the trees.
    pub fn raw(&self, rows: &[f32]) -> Result<Vec<f32>, hessboost::error::HessboostError> {
        match self {
            Self::Linear(model) => {
                Ok(rows.chunks_exact(model.weights.len().max(1)).map(|row| linear(model, row)).collect())
            }
            Self::Trees(trees) => Ok(trees.booster.predict_margin_rows(rows, Iterations::Best)?.into_vec()),
        }
    }
}

fn linear(model: &LinearWeights, row: &[f32]) -> f32 {
    row.iter().zip(&model.weights).zip(&model.centres).fold(model.bias, |sum, ((x, weight), centre)| {
        let x = if x.is_nan() { *centre } else { *x };
        sum + weight * x
    })
}

/// `p = sigmoid(a raw + b)` (Platt 1999).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration {
    /// Slope, never below 0: calibration does not turn an order around.
    pub a: f32,
    /// Offset.
    pub b: f32,
}

impl Calibration {
    /// Leaves log odds as they are.
    pub const NONE: Self = Self { a: 1.0, b: 0.0 };

    /// The probability of a raw score.
    #[must_use]
    pub fn probability(self, raw: f32) -> f32 {
        sigmoid(self.a * raw + self.b)
    }
}

/// One arm.
#[derive(Clone, Debug)]
pub struct ArmModel {
    /// Its model.
    pub scorer: Scorer,
    /// From raw scores to probabilities.
    pub calibration: Calibration,
    /// Standard error of a probability, as root of its mean square over the trial's rows.
    pub error: f32,
}

/// Arms of one kind in rising face value: each is at least as welcome as the one before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ladders(Vec<Vec<usize>>);

/// Why ladders are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LadderError {
    /// No such arm.
    #[error("a ladder names arm {arm}; there are arms 0 to {last}")]
    UnknownArm {
        /// The arm.
        arm: usize,
        /// The last one.
        last: usize,
    },
    /// An arm on two rungs.
    #[error("arm {0} stands on two rungs: an offer has one face value")]
    Twice(usize),
}

impl Ladders {
    /// Checks ladders against the number of arms. The control, arm 0, may be the first rung of at most one.
    ///
    /// # Errors
    /// An arm is unknown, or named twice.
    pub fn new(ladders: Vec<Vec<usize>>, arms: usize) -> Result<Self, LadderError> {
        let mut seen = vec![false; arms];
        for &arm in ladders.iter().flatten() {
            match seen.get_mut(arm) {
                None => return Err(LadderError::UnknownArm { arm, last: arms.saturating_sub(1) }),
                Some(true) => return Err(LadderError::Twice(arm)),
                Some(seen) => *seen = true,
            }
        }
        Ok(Self(ladders))
    }

    /// The arms of each.
    #[must_use]
    pub fn rungs(&self) -> &[Vec<usize>] {
        &self.0
    }

    /// `p_k := max(p_k, p_{k-1})` along each ladder.
    pub fn raise(&self, probabilities: &mut [f32]) {
        for pair in self.0.iter().flat_map(|ladder| ladder.windows(2)) {
            probabilities[pair[1]] = probabilities[pair[1]].max(probabilities[pair[0]]);
        }
    }
}

/// The response to each arm.
#[derive(Clone, Debug)]
pub struct ResponseModel {
    /// By arm; the first is the control.
    pub arms: Vec<ArmModel>,
    /// Which arms rise.
    pub ladders: Ladders,
}

impl ResponseModel {
    /// Probabilities of response, `[row][arm]`, of rows `[row][feature]`.
    ///
    /// # Errors
    /// The rows do not fit a model.
    pub fn probabilities(&self, rows: &[f32]) -> Result<Vec<f32>, hessboost::error::HessboostError> {
        let by_arm = self.arms.iter().map(|arm| {
            let raw = arm.scorer.raw(rows)?;
            Ok(raw.into_iter().map(|raw| arm.calibration.probability(raw)).collect())
        });
        let by_arm: Vec<Vec<f32>> = by_arm.collect::<Result<_, hessboost::error::HessboostError>>()?;
        let count = by_arm.first().map_or(0, Vec::len);
        let mut probabilities: Vec<f32> = (0..count).flat_map(|row| by_arm.iter().map(move |arm| arm[row])).collect();
        for row in probabilities.chunks_exact_mut(self.arms.len().max(1)) {
            self.ladders.raise(row);
        }
        Ok(probabilities)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arm(bias: f32, weight: f32) -> ArmModel {
        let model = LinearWeights { bias, weights: vec![weight], centres: vec![2.0] };
        ArmModel { scorer: Scorer::Linear(model), calibration: Calibration::NONE, error: 0.0 }
    }

    #[test]
    fn a_ladder_never_falls_and_no_other_arm_is_touched() {
        let arms = vec![arm(-1.0, 0.0), arm(0.0, 1.0), arm(0.5, -1.0), arm(-9.0, 0.0)];
        let model = ResponseModel { arms, ladders: Ladders::new(vec![vec![1, 2]], 4).unwrap() };
        let probabilities = model.probabilities(&[1.0, -1.0]).unwrap();
        assert_eq!(probabilities[2], probabilities[1], "the dearer offer is not below the cheaper");
        assert_eq!(probabilities[4 + 2], sigmoid(1.5));
        assert_eq!((probabilities[0], probabilities[3]), (sigmoid(-1.0), sigmoid(-9.0)));
    }

    #[test]
    fn a_missing_feature_is_its_centre() {
        let model = ResponseModel { arms: vec![arm(0.0, 1.0)], ladders: Ladders::default() };
        let probabilities = model.probabilities(&[f32::NAN, 2.0]).unwrap();
        assert_eq!(probabilities[0], probabilities[1]);
    }

    #[test]
    fn ladders_that_contradict_themselves_are_refused() {
        assert_eq!(Ladders::new(vec![vec![1, 3]], 3), Err(LadderError::UnknownArm { arm: 3, last: 2 }));
        assert_eq!(Ladders::new(vec![vec![1, 2], vec![2]], 3), Err(LadderError::Twice(2)));
    }
}
