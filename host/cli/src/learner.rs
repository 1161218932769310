//! From rows to a model file: the learner that model.toml asks for.

use selvedge_compile::LinearModel;
use selvedge_format::model::Link;
use selvedge_spec::{FeatureSpec, Learner, ModelSpec};
use selvedge_train::learn::{self, LearnError, TrainingSet};

use crate::error::{CliError, Exit};
use crate::flyer::progress;
use crate::printer::Printer;

/// Share of the irrelevant candidates that are learned from, and the seed that draws them.
pub(crate) fn sampling(model: &ModelSpec) -> Result<(f64, u64), CliError> {
    match &model.learner {
        Learner::Trees(training) => Ok((training.negatives, training.seed)),
        Learner::Linear(training) => Ok((training.negatives, training.seed)),
        Learner::Graph => Err(not_trained(model)),
    }
}

fn not_trained(model: &ModelSpec) -> CliError {
    let message = format!("the model `{}` is of the kind `graph`, which is not trained here", model.name);
    CliError::new(Exit::Usage, message)
        .hint("train the network elsewhere, export it as ONNX, and give it to `selvedge compile --trained`")
}

/// The trained model as the file that the compiler reads.
pub(crate) fn learn(
    features: &FeatureSpec,
    model: &ModelSpec,
    set: &TrainingSet,
    printer: &Printer,
) -> Result<Vec<u8>, CliError> {
    let mut progress = progress(printer);
    match &model.learner {
        Learner::Trees(training) => Ok(learn::trees(set, model.objective, training, &mut progress)?),
        Learner::Linear(training) => {
            let learned = learn::linear(set, model.objective, training, &mut progress)?;
            let names = || features.features.iter().map(|feature| feature.name.clone());
            let model = LinearModel {
                bias: learned.bias,
                link: Link::Identity,
                weights: names().zip(learned.weights).collect(),
                centres: names().zip(learned.centres).collect(),
            };
            Ok(model.to_json().into_bytes())
        }
        Learner::Graph => Err(not_trained(model)),
    }
}

impl From<LearnError> for CliError {
    fn from(error: LearnError) -> Self {
        let hint = "look at [model] and [train] in model.toml, and at --weeks and --holdout-fold";
        Self::new(Exit::Usage, error).hint(hint)
    }
}
