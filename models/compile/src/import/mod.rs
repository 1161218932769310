//! Importers: the bytes of a model file become a [`TrainedModel`], or an error that names what the file is.
//!
//! A file is recognised by its content, never by its name. To add an importer, write its module and its line in
//! [`IMPORTERS`].

mod foreign;
mod linear;
mod xgboost;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::error::{CompileError, CompileErrorKind};
use crate::model::TrainedModel;

/// The largest model file that is read: four million nodes, the most of a bundle, are smaller.
pub const MAX_MODEL_BYTES: usize = 1 << 30;

/// A JSON model of ours or of another library, by a key that only it has at the top.
struct Importer {
    recognises: fn(&TopLevel) -> bool,
    import: fn(&[u8]) -> Result<TrainedModel, CompileError>,
}

const IMPORTERS: [Importer; 2] = [
    Importer { recognises: |top| top.learner.is_some(), import: xgboost::import },
    Importer { recognises: |top| top.kind.is_some(), import: linear::import },
];

/// Keys that tell JSON models apart.
#[derive(Deserialize)]
struct TopLevel {
    learner: Option<IgnoredAny>,
    kind: Option<IgnoredAny>,
    tree_info: Option<IgnoredAny>,
    oblivious_trees: Option<IgnoredAny>,
}

/// Reads a model file: XGBoost's JSON (`save_model("model.json")`) or [`LinearModel`](crate::LinearModel)'s.
///
/// Raw scores of an imported model equal the trainer's bit for bit, or the model is refused. Time and memory are
/// proportional to the file.
///
/// # Errors
/// A file above [`MAX_MODEL_BYTES`], of another kind (which is named), cut short, or holding a model whose scores we do
/// not reproduce.
pub fn import(bytes: &[u8]) -> Result<TrainedModel, CompileError> {
    if bytes.len() > MAX_MODEL_BYTES {
        let message = format!("the model file has {} bytes, of which at most {MAX_MODEL_BYTES} are read", bytes.len());
        return Err(CompileError::new(CompileErrorKind::TooLarge, "", message, "train fewer or smaller trees"));
    }
    #[cfg(feature = "onnx")]
    if foreign::is_onnx(bytes) {
        return crate::onnx::OnnxModel::import(bytes).map(TrainedModel::Onnx);
    }
    if let Some(found) = foreign::by_bytes(bytes) {
        return Err(found.refuse());
    }
    let top: TopLevel = parse(bytes, "the file is no valid JSON: save the model again, as JSON")?;
    match IMPORTERS.iter().find(|importer| (importer.recognises)(&top)) {
        Some(importer) => (importer.import)(bytes),
        None => Err(foreign::by_keys(&top).refuse()),
    }
}

/// Parses JSON; an error carries the path of the value at fault, and `help`.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8], help: &str) -> Result<T, CompileError> {
    let malformed = |place: &str, error: &serde_json::Error| {
        let help = if error.is_eof() { "the file was cut short: save or copy the model again" } else { help };
        CompileError::new(CompileErrorKind::Malformed, place, error.to_string(), help)
    };
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        // A path of nothing but a dot is the whole document.
        malformed(path.trim_matches('.'), error.inner())
    })?;
    deserializer.end().map_err(|error| malformed("", &error))?;
    Ok(value)
}
