//! Trained response models: the chance of a response under each offer of a campaign, and without any.

use selvedge_format::model::LEAF;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::bind::Bound;
use crate::error::{CompileError, CompileErrorKind};
use crate::import::{import, parse};
use crate::model::TrainedModel;

/// How the arm without an offer is called in a response model.
pub const NO_OFFER: &str = "none";

const HELP: &str = "a response model is {\"kind\": \"response\", \"arms\": [{\"offer\": \"none\", \"scale\": 1, \"shift\": 0, \
                    \"error\": 0.01, \"model\": {...}}, ...]}, with a linear model or XGBoost's JSON as `model`";

/// One model per arm, calibrated.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainedResponse {
    /// At least two; one of them is [`NO_OFFER`].
    pub arms: Vec<TrainedArm>,
}

/// The chance of a response under one arm: `1 / (1 + exp(-(scale * raw score + shift)))`.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainedArm {
    /// Name of the offer, or [`NO_OFFER`].
    pub offer: String,
    /// The model whose raw score is calibrated.
    pub model: TrainedModel,
    /// Factor of the raw score.
    pub scale: f32,
    /// Added to it.
    pub shift: f32,
    /// Standard error of the chance; 0 or more.
    pub error: f32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    kind: String,
    arms: Vec<Arm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arm {
    offer: String,
    scale: f32,
    shift: f32,
    error: f32,
    model: Box<RawValue>,
}

impl TrainedResponse {
    /// Reads the JSON of a response model.
    ///
    /// # Errors
    /// Another kind of file, an arm twice, no arm without an offer, numbers out of range, a model that
    /// [`import`] refuses.
    pub fn import(bytes: &[u8]) -> Result<Self, CompileError> {
        let file: File = parse(bytes, HELP)?;
        if file.kind != "response" {
            let message = format!("the file is of the kind `{}`, not `response`", file.kind);
            return Err(CompileError::new(CompileErrorKind::OtherFormat, "kind", message, HELP));
        }
        let mut arms: Vec<TrainedArm> = Vec::with_capacity(file.arms.len());
        for (index, arm) in file.arms.into_iter().enumerate() {
            let place = format!("arms[{index}]");
            if arms.iter().any(|earlier| earlier.offer == arm.offer) {
                let message = format!("the arm `{}` appears twice", arm.offer);
                return Err(CompileError::new(CompileErrorKind::Malformed, place, message, HELP));
            }
            if !(arm.scale.is_finite() && arm.shift.is_finite() && arm.error.is_finite() && arm.error >= 0.0) {
                let message = "a calibration that is not finite, or a negative error";
                return Err(CompileError::new(CompileErrorKind::Malformed, place, message, HELP));
            }
            let model = import(arm.model.get().as_bytes()).map_err(|error| error.within(&format!("{place}.model")))?;
            let Arm { offer, scale, shift, error, .. } = arm;
            arms.push(TrainedArm { offer, model, scale, shift, error });
        }
        if !arms.iter().any(|arm| arm.offer == NO_OFFER) {
            let message = format!("there is no arm `{NO_OFFER}`: what an offer does cannot be told");
            return Err(CompileError::new(CompileErrorKind::Malformed, "arms", message, HELP));
        }
        Ok(Self { arms })
    }

    /// The arm of this name.
    pub(crate) fn arm(&self, offer: &str) -> Option<&TrainedArm> {
        self.arms.iter().find(|arm| arm.offer == offer)
    }
}

/// Positions of the features that a model reads: those with a weight, or with a split.
pub(crate) fn features_used(bound: &Bound) -> Vec<usize> {
    match bound {
        Bound::Linear { weight, .. } => (0..weight.len()).filter(|at| weight[*at] != 0.0).collect(),
        Bound::Trees(ensemble) => {
            let mut used: Vec<usize> =
                ensemble.splits().filter(|node| node.feature != LEAF).map(|node| usize::from(node.feature)).collect();
            used.sort_unstable();
            used.dedup();
            used
        }
    }
}
