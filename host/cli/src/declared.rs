//! The declarations that a command is given: features.toml and model.toml, parsed and checked against each other.

use std::path::{Path, PathBuf};

use clap::Args;
use selvedge_compile::{CompileError, CompileErrorKind, TrainedModel, import_beside};
use selvedge_spec::{FeatureSpec, ModelOutput, ModelSpec, SpecError};

use crate::error::{CliError, Exit};
use crate::file;
use crate::siblings::Folder;

/// Which declarations.
#[derive(Debug, Args)]
#[command(next_help_heading = "Declarations")]
pub(crate) struct DeclaredArgs {
    /// The model: its kind, its training and the rules of its slates (model.toml).
    #[arg(long, value_name = "TOML")]
    model: PathBuf,
    /// The features; otherwise the file that the model names, beside it.
    #[arg(long, value_name = "TOML")]
    features: Option<PathBuf>,
}

/// Declarations that fit each other.
#[derive(Debug)]
pub(crate) struct Declared {
    pub(crate) features: FeatureSpec,
    pub(crate) model: ModelSpec,
}

impl DeclaredArgs {
    /// Path of model.toml.
    #[cfg(feature = "train")]
    pub(crate) fn model(&self) -> &Path {
        &self.model
    }

    /// A file that model.toml names, which is beside it.
    pub(crate) fn beside_model(&self, name: &str) -> PathBuf {
        self.model.parent().unwrap_or(Path::new("")).join(name)
    }

    /// Reads both files.
    pub(crate) fn read(&self) -> Result<Declared, CliError> {
        let model = ModelSpec::parse(&name(&self.model), &file::read_text(&self.model)?)?;
        let path = self.features.clone().unwrap_or_else(|| self.beside_model(&model.features));
        let features = FeatureSpec::parse(&name(&path), &file::read_text(&path)?)?;
        model.check(&features)?;
        Ok(Declared { features, model })
    }
}

/// Reads a trained model file with what lies beside it; of several outputs the one that model.toml chooses for it.
pub(crate) fn read_trained(path: &Path, output: Option<ModelOutput>) -> Result<TrainedModel, CliError> {
    let bytes = file::read(path, selvedge_compile::MAX_MODEL_BYTES as u64)?;
    import_beside(&bytes, output, &Folder::of(path)).map_err(|error| CliError::from(error).in_file(path))
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

impl From<SpecError> for CliError {
    fn from(error: SpecError) -> Self {
        Self::diagnostic(Exit::Usage, error)
    }
}

impl From<CompileError> for CliError {
    fn from(error: CompileError) -> Self {
        use CompileErrorKind as Kind;
        let exit = match error.kind() {
            Kind::TooLarge | Kind::OtherFormat | Kind::Malformed | Kind::Unsupported | Kind::BadTree => Exit::Refused,
            Kind::BadContainer => Exit::Refused,
            Kind::Parity | Kind::Loss => Exit::No,
            _ => Exit::Usage,
        };
        Self::new(exit, format_args!("{error} [{}]", error.kind().code())).hint(error.hint())
    }
}
