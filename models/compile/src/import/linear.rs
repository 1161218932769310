//! Linear models in our own JSON.

use serde::{Deserialize, Serialize};

use super::output::Output;
use crate::error::{CompileError, CompileErrorKind};
use crate::model::{LinearModel, TrainedModel};

const HELP: &str = "a linear model is {\"kind\": \"linear\", \"bias\": b, \"weights\": {\"feature\": w}, \"centres\": {\"feature\": c}}";

/// The file: the model, and the key that tells it from others.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum File<M> {
    Linear(M),
}

pub(super) fn import(bytes: &[u8], output: Output) -> Result<TrainedModel, CompileError> {
    output.of(1, "kind")?;
    let File::Linear(model): File<LinearModel> = super::parse(bytes, HELP)?;
    match model.centres.keys().find(|name| !model.weights.contains_key(*name)) {
        None => Ok(TrainedModel::Linear(model)),
        Some(name) => {
            let message = format!("the feature `{name}` has a centre and no weight");
            Err(CompileError::new(CompileErrorKind::Malformed, format!("centres.{name}"), message, HELP))
        }
    }
}

impl LinearModel {
    /// The model as the JSON that [`import`](crate::import) reads.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Only a map with keys that are not strings could fail.
        serde_json::to_string_pretty(&File::Linear(self)).unwrap_or_default()
    }
}
