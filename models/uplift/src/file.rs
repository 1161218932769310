//! A response model as a file, which `selvedge-compile` reads:
//! `{"kind": "response", "arms": [{"offer": "none", "scale": 1, "shift": 0, "error": 0.01, "model": {...}}]}`.
//!
//! Features and offers have names from here on. A linear model is this project's own JSON, trees are XGBoost's with the names
//! of their inputs, so that the compiler can bind them to declared features whatever their order.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::model::{ArmModel, ResponseModel, Scorer, Trees};

#[derive(Serialize)]
struct File<'a> {
    kind: &'static str,
    arms: Vec<Arm<'a>>,
}

#[derive(Serialize)]
struct Arm<'a> {
    offer: &'a str,
    scale: f32,
    shift: f32,
    error: f32,
    model: Box<RawValue>,
}

#[derive(Serialize)]
struct Linear {
    kind: &'static str,
    bias: f32,
    link: &'static str,
    weights: Named,
    centres: Named,
}

/// Numbers by name, in the order of the trial.
struct Named(Vec<(String, f32)>);

impl Serialize for Named {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, number)| (name, number)))
    }
}

/// The file of a model over `features`, with the names of its arms as the campaign's offers have them; the first, the
/// control, is `none` to the compiler.
///
/// # Errors
/// Trees that are not JSON.
pub fn write(model: &ResponseModel, features: &[String], arms: &[&str]) -> Result<Vec<u8>, serde_json::Error> {
    let arms = model.arms.iter().zip(arms).map(|(arm, offer)| self::arm(arm, offer, features));
    let mut bytes = serde_json::to_vec(&File { kind: "response", arms: arms.collect::<Result<_, _>>()? })?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn arm<'a>(arm: &ArmModel, offer: &'a str, features: &[String]) -> Result<Arm<'a>, serde_json::Error> {
    let named = |numbers: &[f32]| Named(features.iter().cloned().zip(numbers.iter().copied()).collect());
    let model = match &arm.scorer {
        Scorer::Linear(model) => serde_json::value::to_raw_value(&Linear {
            kind: "linear",
            bias: model.bias,
            link: "identity",
            weights: named(&model.weights),
            centres: named(&model.centres),
        })?,
        Scorer::Trees(trees) => with_names(trees, features)?,
    };
    Ok(Arm { offer, scale: arm.calibration.a, shift: arm.calibration.b, error: arm.error, model })
}

/// Trees as XGBoost JSON in which the inputs have these names.
fn with_names(trees: &Trees, features: &[String]) -> Result<Box<RawValue>, serde_json::Error> {
    let mut model: Value = serde_json::from_slice(trees.json())?;
    if let Some(learner) = model.get_mut("learner").and_then(Value::as_object_mut) {
        name_inputs(learner, features);
    }
    serde_json::value::to_raw_value(&model)
}

fn name_inputs(learner: &mut Map<String, Value>, features: &[String]) {
    let repeated = |text: &str| Value::from(vec![text; features.len()]);
    learner.insert("feature_names".into(), Value::from(features.to_vec()));
    learner.insert("feature_types".into(), repeated("float"));
}
