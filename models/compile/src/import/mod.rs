//! Importers: the bytes of a model file become a [`TrainedModel`], or an error that names what the file is.
//!
//! A file is recognised by its content, never by its name. To add an importer, write its module and its line in
//! [`IMPORTERS`].

mod catboost;
mod foreign;
mod grow;
mod lightgbm;
mod linear;
mod onnx_ml;
mod output;
mod siblings;
mod ubjson;
mod xgboost;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

pub(crate) use output::Output;
use selvedge_spec::ModelOutput;
pub(crate) use siblings::Alone;
pub use siblings::Siblings;

use crate::error::{CompileError, CompileErrorKind};
use crate::model::TrainedModel;

/// The largest model file that is read: four million nodes, the most of a bundle, are smaller.
pub const MAX_MODEL_BYTES: usize = 1 << 30;

/// A model of ours or of another library.
struct Importer {
    recognises: Sign,
    import: fn(&[u8], &Wanted<'_>) -> Result<TrainedModel, CompileError>,
}

/// What is read of a model, and what else there is of it.
struct Wanted<'a> {
    output: Output,
    #[cfg_attr(not(feature = "onnx"), expect(dead_code, reason = "networks alone have weights elsewhere"))]
    siblings: &'a dyn Siblings,
}

/// What tells a model from others.
enum Sign {
    /// How the file begins.
    Bytes(fn(&[u8]) -> bool),
    /// In JSON, a key that only it has at the top.
    Key(fn(&TopLevel) -> bool),
}

const IMPORTERS: [Importer; 6] = [
    Importer {
        recognises: Sign::Bytes(ubjson::is_object),
        import: |bytes, wanted| xgboost::import(bytes, wanted.output),
    },
    Importer {
        recognises: Sign::Bytes(lightgbm::is_model),
        import: |bytes, wanted| lightgbm::import(bytes, wanted.output),
    },
    Importer { recognises: Sign::Bytes(onnx_ml::is_model), import: onnx },
    Importer {
        recognises: Sign::Key(|top| top.learner.is_some()),
        import: |bytes, wanted| xgboost::import(bytes, wanted.output),
    },
    Importer {
        recognises: Sign::Key(|top| top.features_info.is_some()),
        import: |bytes, wanted| catboost::import(bytes, wanted.output),
    },
    Importer {
        recognises: Sign::Key(|top| top.kind.is_some()),
        import: |bytes, wanted| linear::import(bytes, wanted.output),
    },
];

/// Keys that tell JSON models apart.
#[derive(Deserialize)]
struct TopLevel {
    learner: Option<IgnoredAny>,
    kind: Option<IgnoredAny>,
    tree_info: Option<IgnoredAny>,
    features_info: Option<IgnoredAny>,
}

/// Reads a model file: XGBoost's JSON or UBJSON, LightGBM's text, CatBoost's JSON, trees in ONNX, or
/// [`LinearModel`](crate::LinearModel)'s.
///
/// Raw scores of an imported model equal the trainer's bit for bit (rounded to f32 where the trainer has f64), or the
/// model is refused. Time and memory are proportional to the file and the trees that its splits on sets become, which a
/// bundle bounds.
///
/// # Errors
/// A file above [`MAX_MODEL_BYTES`], of another kind (which is named), cut short, or holding a model whose scores we do
/// not reproduce, or that has several.
pub fn import(bytes: &[u8]) -> Result<TrainedModel, CompileError> {
    import_output(bytes, None)
}

/// Reads a model file as [`import`] does; of a model with several outputs it reads the one that `output` says.
///
/// # Errors
/// Besides: a model with several outputs of which none is chosen, or one that is chosen and not there.
pub fn import_output(bytes: &[u8], output: Option<ModelOutput>) -> Result<TrainedModel, CompileError> {
    import_beside(bytes, output, &Alone)
}

/// Reads a model file as [`import_output`] does; an ONNX model may have its weights in `siblings`, the files beside it.
///
/// # Errors
/// Besides: weights that are missing, cut short, of another size than their shape, outside the model's folder, or with the
/// model larger than the largest ONNX file.
pub fn import_beside(
    bytes: &[u8],
    output: Option<ModelOutput>,
    siblings: &dyn Siblings,
) -> Result<TrainedModel, CompileError> {
    let wanted = Wanted { output: Output(output), siblings };
    if bytes.len() > MAX_MODEL_BYTES {
        let message = format!("the model file has {} bytes, of which at most {MAX_MODEL_BYTES} are read", bytes.len());
        return Err(CompileError::new(CompileErrorKind::TooLarge, "", message, "train fewer or smaller trees"));
    }
    let by_bytes = |importer: &&Importer| matches!(importer.recognises, Sign::Bytes(recognises) if recognises(bytes));
    if let Some(importer) = IMPORTERS.iter().find(by_bytes) {
        return (importer.import)(bytes, &wanted);
    }
    if let Some(found) = foreign::by_bytes(bytes) {
        return Err(found.refuse());
    }
    let top: TopLevel = parse(bytes, "the file is no valid JSON: save the model again, as JSON")?;
    let by_key = |importer: &&Importer| matches!(importer.recognises, Sign::Key(recognises) if recognises(&top));
    match IMPORTERS.iter().find(by_key) {
        Some(importer) => (importer.import)(bytes, &wanted),
        None => Err(foreign::by_keys(&top).refuse()),
    }
}

/// Trees are read by our own reader and score bit for bit; all other graphs become tensor programs.
#[cfg(feature = "onnx")]
fn onnx(bytes: &[u8], wanted: &Wanted<'_>) -> Result<TrainedModel, CompileError> {
    if onnx_ml::is_ours(bytes) {
        return onnx_ml::import(bytes, wanted.output);
    }
    crate::onnx::OnnxModel::import(bytes, wanted.output, wanted.siblings).map(TrainedModel::Onnx)
}

#[cfg(not(feature = "onnx"))]
fn onnx(bytes: &[u8], wanted: &Wanted<'_>) -> Result<TrainedModel, CompileError> {
    if onnx_ml::is_ours(bytes) {
        return onnx_ml::import(bytes, wanted.output);
    }
    let message = "this build reads trees in ONNX, and neither networks nor linear models";
    Err(CompileError::new(CompileErrorKind::Unsupported, "graph", message, "build Selvedge with the feature `onnx`"))
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
