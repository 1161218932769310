//! Model files that others wrote and we cannot read, recognised so that the message can name them.

use super::TopLevel;
use crate::error::{CompileError, CompileErrorKind};

/// What a file seems to be, and what to do with it.
pub(super) struct Foreign {
    what: &'static str,
    help: &'static str,
}

const SAVE_JSON: &str = "save it as JSON: `booster.save_model(\"model.json\")`";
const TRAIN_XGBOOST: &str = "train with XGBoost or `selvedge train`, and save the model as JSON";

/// First bytes that give a format away.
const MAGIC: [(&[u8], Foreign); 12] = [
    (b"{L", Foreign { what: "an XGBoost model in UBJSON", help: SAVE_JSON }),
    (b"binf", Foreign { what: "an XGBoost model in the old binary format", help: SAVE_JSON }),
    (b"booster[", Foreign { what: "a text dump of an XGBoost model", help: SAVE_JSON }),
    (b"[", Foreign { what: "a JSON dump of trees (`dump_model`)", help: SAVE_JSON }),
    (b"tree\n", Foreign { what: "a LightGBM text model", help: TRAIN_XGBOOST }),
    (b"tree\r\n", Foreign { what: "a LightGBM text model", help: TRAIN_XGBOOST }),
    (b"CBM1", Foreign { what: "a CatBoost binary model", help: TRAIN_XGBOOST }),
    (b"SELVEDGE", Foreign { what: "a compiled bundle", help: "it needs no compiling: `selvedge inspect` shows it" }),
    (b"\x80", Foreign { what: "a Python pickle", help: SAVE_JSON }),
    (b"PK\x03\x04", Foreign { what: "a zip archive", help: "unpack it first" }),
    (b"\x1f\x8b", Foreign { what: "gzip data", help: "unpack it first" }),
    (b"\x89HDF", Foreign { what: "an HDF5 file", help: TRAIN_XGBOOST }),
];

const ONNX: Foreign = Foreign { what: "an ONNX model", help: "build Selvedge with the feature `onnx`" };
const NOT_JSON: Foreign = Foreign { what: "data that is not JSON", help: TRAIN_XGBOOST };
const EMPTY: Foreign = Foreign { what: "an empty file", help: SAVE_JSON };

impl Foreign {
    pub(super) fn refuse(&self) -> CompileError {
        let message =
            format!("this looks like {}; only XGBoost JSON and linear JSON are supported at present", self.what);
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
        _ => Some(if is_onnx(bytes) { &ONNX } else { &NOT_JSON }),
    })
}

/// ONNX is a protobuf: the version of its format, a small number, then a field of bytes.
pub(super) const fn is_onnx(bytes: &[u8]) -> bool {
    matches!(bytes, [0x08, 1..0x20, 0x12 | 0x1a | 0x22 | 0x2a | 0x32 | 0x3a | 0x42, ..])
}

/// A JSON object that no importer took.
pub(super) fn by_keys(top: &TopLevel) -> &'static Foreign {
    if top.tree_info.is_some() {
        &Foreign { what: "a JSON dump of a LightGBM model", help: TRAIN_XGBOOST }
    } else if top.oblivious_trees.is_some() {
        &Foreign { what: "a CatBoost JSON model", help: TRAIN_XGBOOST }
    } else {
        &Foreign { what: "JSON without a model: it has neither `learner` nor `kind` at the top", help: SAVE_JSON }
    }
}
