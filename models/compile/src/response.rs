//! Trained response models: the chance of a response under each offer of a campaign, and without any.

use selvedge_engine::math::sigmoid;
use selvedge_format::model::LEAF;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::bind::Bound;
use crate::error::{CompileError, CompileErrorKind};
use crate::import::{import, parse};
use crate::model::{TrainedModel, TreeEnsemble};

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

    /// Names of the features that any arm's model has a weight or a split for, ascending.
    ///
    /// # Errors
    /// Trees whose inputs have no names.
    pub fn features(&self) -> Result<Vec<String>, CompileError> {
        let mut names = Vec::new();
        for arm in &self.arms {
            match &arm.model {
                TrainedModel::Linear(model) => {
                    names.extend(
                        model.weights.iter().filter(|(_, weight)| **weight != 0.0).map(|(name, _)| name.clone()),
                    );
                }
                TrainedModel::Trees(trees) => {
                    let inputs = trees.names().ok_or_else(|| nameless(&arm.offer))?;
                    names.extend(trees.splits().filter_map(|node| inputs.get(usize::from(node.feature)).cloned()));
                }
                #[cfg(feature = "onnx")]
                TrainedModel::Onnx(_) => return Err(no_graph(&arm.offer)),
            }
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// The chance of a response under each of `offers`, [`NO_OFFER`] among them, for rows of the features `names`:
    /// `[row][offer]`. A missing value is NaN. Ladders are the campaign's and not applied.
    ///
    /// # Errors
    /// The model has no arm for an offer, a model reads another feature, or trees whose inputs have no names.
    pub fn chances(&self, offers: &[&str], names: &[String], rows: &[f32]) -> Result<Vec<f32>, CompileError> {
        let arms = offers.iter().map(|offer| {
            let arm = self.arm(offer).ok_or_else(|| no_arm(offer))?;
            Ok((arm, Reader::new(arm, names)?))
        });
        let arms = arms.collect::<Result<Vec<_>, CompileError>>()?;
        let rows = rows.chunks_exact(names.len().max(1));
        Ok(rows
            .flat_map(|row| arms.iter().map(|(arm, reader)| sigmoid(arm.scale * reader.raw(row) + arm.shift)))
            .collect())
    }

    /// The arm of this name.
    pub(crate) fn arm(&self, offer: &str) -> Option<&TrainedArm> {
        self.arms.iter().find(|arm| arm.offer == offer)
    }
}

fn no_arm(offer: &str) -> CompileError {
    let message = format!("the response model has no arm for the offer `{offer}`");
    CompileError::new(CompileErrorKind::Response, "arms", message, "train it on a trial with this offer")
}

fn nameless(offer: &str) -> CompileError {
    let message = format!("the trees of `{offer}` have no names for their inputs");
    CompileError::new(CompileErrorKind::Response, "arms", message, "save the model with `feature_names`")
}

#[cfg(feature = "onnx")]
fn no_graph(offer: &str) -> CompileError {
    let message = format!("the model of `{offer}` is an ONNX graph");
    CompileError::new(CompileErrorKind::Response, "arms", message, "response models are linear or trees")
}

/// A model over rows whose columns stand in another order.
enum Reader<'m> {
    /// Bias; position, weight and centre of each feature.
    Linear(f32, Vec<(usize, f32, f32)>),
    /// The trees, and for each input its position if it is there.
    Trees(&'m TreeEnsemble, Vec<Option<usize>>),
}

impl<'m> Reader<'m> {
    fn new(arm: &'m TrainedArm, names: &[String]) -> Result<Self, CompileError> {
        let find = |name: &str| names.iter().position(|other| other == name);
        let missing = |name: &str| {
            let message = format!("the model of `{}` reads `{name}`, which is not there", arm.offer);
            CompileError::new(CompileErrorKind::UnknownFeature, "arms", message, "give a column of this name")
        };
        match &arm.model {
            TrainedModel::Linear(model) => {
                let terms = model.weights.iter().filter(|(_, weight)| **weight != 0.0).map(|(name, weight)| {
                    let centre = model.centres.get(name).copied().unwrap_or(0.0);
                    Ok((find(name).ok_or_else(|| missing(name))?, *weight, centre))
                });
                Ok(Self::Linear(model.bias, terms.collect::<Result<_, CompileError>>()?))
            }
            TrainedModel::Trees(trees) => {
                let inputs = trees.names().ok_or_else(|| nameless(&arm.offer))?;
                let unread = |name: &String| find(name).is_none();
                let split = trees.splits().filter_map(|node| inputs.get(usize::from(node.feature)));
                if let Some(name) = split.into_iter().find(|name| unread(name)) {
                    return Err(missing(name));
                }
                Ok(Self::Trees(trees, inputs.iter().map(|name| find(name)).collect()))
            }
            #[cfg(feature = "onnx")]
            TrainedModel::Onnx(_) => Err(no_graph(&arm.offer)),
        }
    }

    fn raw(&self, row: &[f32]) -> f32 {
        match self {
            Self::Linear(bias, terms) => terms.iter().fold(*bias, |sum, (at, weight, centre)| {
                let x = row[*at];
                sum + weight * if x.is_nan() { *centre } else { x }
            }),
            Self::Trees(trees, inputs) => {
                let inputs: Vec<f32> = inputs.iter().map(|at| at.map_or(f32::NAN, |at| row[at])).collect();
                trees.raw_score(&inputs)
            }
        }
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
        // Refused before: a response model is linear or trees.
        #[cfg(feature = "onnx")]
        Bound::Graph(_) => Vec::new(),
    }
}
