//! Model files that others wrote and we cannot read, recognised so that the message can name them.

use super::TopLevel;
use crate::error::{CompileError, CompileErrorKind};

/// What a file seems to be, and what to do with it.
pub(super) struct Foreign {
    what: &'static str,
    help: &'static str,
}

/// What is read, for messages.
pub(super) const FORMATS: &str = "XGBoost JSON or UBJSON, LightGBM text, CatBoost JSON, ONNX, or linear JSON";
const SAVE_JSON: &str = "save it as JSON: `booster.save_model(\"model.json\")`";
const SAVE_TEXT: &str = "save it as text: `booster.save_model(\"model.txt\")`";
const SAVE_CATBOOST: &str = "save it as JSON: `model.save_model(\"model.json\", format=\"json\")`";
const TRAIN: &str =
    "train with XGBoost, LightGBM, CatBoost or `selvedge train`, and save the model in one of these forms";

/// First bytes that give a format away.
const MAGIC: [(&[u8], Foreign); 9] = [
    (b"binf", Foreign { what: "an XGBoost model in the old binary format", help: SAVE_JSON }),
    (b"booster[", Foreign { what: "a text dump of an XGBoost model", help: SAVE_JSON }),
    (b"[", Foreign { what: "a JSON dump of trees (`dump_model`)", help: SAVE_JSON }),
    (b"CBM1", Foreign { what: "a CatBoost binary model", help: SAVE_CATBOOST }),
    (b"SELVEDGE", Foreign { what: "a compiled bundle", help: "it needs no compiling: `selvedge inspect` shows it" }),
    (b"\x80", Foreign { what: "a Python pickle", help: SAVE_JSON }),
    (b"PK\x03\x04", Foreign { what: "a zip archive", help: "unpack it first" }),
    (b"\x1f\x8b", Foreign { what: "gzip data", help: "unpack it first" }),
    (b"\x89HDF", Foreign { what: "an HDF5 file", help: TRAIN }),
];

const NOT_JSON: Foreign = Foreign { what: "data that is not JSON", help: TRAIN };
const EMPTY: Foreign = Foreign { what: "an empty file", help: SAVE_JSON };

impl Foreign {
    pub(super) fn refuse(&self) -> CompileError {
        let message = format!("this looks like {}; models are read as {FORMATS}", self.what);
        CompileError::new(CompileErrorKind::OtherFormat, "", message, self.help)
    }
}

/// A format that its first bytes give away, or anything that is not a JSON object.
pub(super) fn by_bytes(bytes: &[u8]) -> Option<&'static Foreign> {
    let text = bytes.trim_ascii_start();
    let known = MAGIC.iter().find(|(magic, _)| text.starts_with(magic)).map(|(_, foreign)| foreign);
    known.or(match text {
        [] => Some(&EMPTY),
        [b'{', ..] => None,
        _ => Some(&NOT_JSON),
    })
}

/// A JSON object that no importer took.
pub(super) fn by_keys(top: &TopLevel) -> &'static Foreign {
    if top.tree_info.is_some() {
        &Foreign { what: "a JSON dump of a LightGBM model", help: SAVE_TEXT }
    } else {
        &Foreign {
            what: "JSON without a model: it has neither `learner`, `features_info` nor `kind` at the top",
            help: SAVE_JSON,
        }
    }
}
