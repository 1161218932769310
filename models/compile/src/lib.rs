//! Declarations and a trained model in, a bundle out.
//!
//! ```text
//! features.toml -> FeatureSpec --+-- lower ---> program, names
//! model.toml ---> ModelSpec -----+-- lower ---> slate policy
//! trained model file -- import --+-- bind ----> directory, weights
//! campaign.toml -> CampaignSpec -+-- lower ---> campaigns, terms
//! response models -- import -----+-- bind ----> directory, weights
//!                                |-- verify --> every score of the engine equals the reference, bit for bit
//! sample of requests ------------'-- quantise -> narrow weights, and what they lose
//! ```
//!
//! This is the one place where names become numbers and where another library's model becomes ours. It refuses to
//! guess: a model it cannot reproduce exactly, a feature it cannot find, a rule it cannot express each end in a
//! [`CompileError`] that says what, where, and what to do. It reads no files and trains nothing.
//!
//! ```
//! use selvedge_compile::{compile, import, inspect};
//! use selvedge_spec::{FeatureSpec, ModelSpec};
//!
//! let features = "version = 1\n[fields.item]\nprice = \"number\"\n
//!     [[feature]]\nname = \"price\"\nkind = \"number\"\nfield = \"item.price\"";
//! let features = FeatureSpec::parse("features.toml", features)?;
//! let model = "version = 1\n[model]\nname = \"cheap\"\nkind = \"linear\"\nobjective = \"logistic\"\n
//!     features = \"features.toml\"";
//! let model = ModelSpec::parse("model.toml", model)?;
//! let trained = import(br#"{"kind": "linear", "bias": 0, "weights": {"price": -1}}"#)?;
//!
//! let bundle = compile(&features, &model, &trained)?;
//! assert!(bundle.report.parity.rows >= 1024);
//! assert!(inspect(&bundle.bytes)?.to_string().starts_with("bundle cheap"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Translating once into a small run-time form, so that the edge ships no importer, is tract's and lleaves' idea.

mod bind;
mod bundle;
pub mod cost;
mod error;
mod import;
pub mod inspect;
mod lower;
mod model;
#[cfg(feature = "onnx")]
mod onnx;
mod quantise;
mod response;
mod verify;

pub use bundle::{
    CompileReport, CompiledBundle, FeatureUse, ModelReport, SectionSize, Trained, compile, compile_stages,
    compile_with_campaigns,
};
pub use error::{CompileError, CompileErrorKind};
pub use import::{MAX_MODEL_BYTES, Siblings, import, import_beside, import_output};
pub use inspect::{Inspection, inspect};
pub use lower::{lower_policy, lower_program};
pub use model::{LinearModel, TrainedModel, TreeEnsemble};
#[cfg(feature = "coverage")]
#[doc(hidden)]
pub use onnx::coverage;
#[cfg(feature = "onnx")]
pub use onnx::{MAX_ONNX_BYTES, OnnxModel};
pub use quantise::{Loss, QuantiseReport, Sample, SampleRequest};
pub use response::{NO_OFFER, TrainedArm, TrainedResponse};
pub use verify::Parity;
