//! Why nothing was compiled.

use std::fmt;

use miette::Diagnostic;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $code:literal,)+) => {
        /// What kind of obstacle a [`CompileError`] is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum CompileErrorKind { $($(#[$doc])* $variant,)+ }

        impl CompileErrorKind {
            /// The stable code, such as `compile::unknown_feature`.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => concat!("compile::", $code),)+ }
            }
        }
    };
}

kinds! {
    /// The file is larger than any model the formats hold.
    TooLarge = "too_large",
    /// A model file of another library or in another encoding.
    OtherFormat = "other_format",
    /// Not JSON, cut short, or a value missing or of the wrong type.
    Malformed = "malformed",
    /// A valid model of a kind whose scores we do not reproduce.
    Unsupported = "unsupported",
    /// Nodes that do not form trees, or numbers that no model has.
    BadTree = "bad_tree",
    /// The model was trained on a feature that is not declared.
    UnknownFeature = "unknown_feature",
    /// The model was trained on another number of features than are declared.
    FeatureCount = "feature_count",
    /// Another number of trained models than the declared stages need.
    Stages = "stages",
    /// A response model that does not fit its campaign.
    Response = "response",
    /// A slate rule names a field that is not a string field of the item.
    UnknownField = "unknown_field",
    /// More of something than a bundle holds.
    Limit = "limit",
    /// The engine's scores differ from the model's: nothing is written.
    Parity = "parity",
    /// Bytes that are not a valid bundle or shared state.
    BadContainer = "bad_container",
}

/// Compiling, importing or inspecting was refused.
#[derive(Clone, Debug)]
pub struct CompileError(Box<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    kind: CompileErrorKind,
    place: String,
    message: String,
    help: String,
}

impl CompileError {
    /// An obstacle at `place` (a path into the file, the name of a declaration; may be empty), with what to do about it.
    pub(crate) fn new(
        kind: CompileErrorKind,
        place: impl Into<String>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self(Box::new(Parts { kind, place: place.into(), message: message.into(), help: help.into() }))
    }

    /// The same, in a part of a larger file.
    pub(crate) fn within(mut self, place: &str) -> Self {
        let inner = std::mem::take(&mut self.0.place);
        self.0.place = if inner.is_empty() { place.to_owned() } else { format!("{place}.{inner}") };
        self
    }

    /// What kind of obstacle it is.
    #[must_use]
    pub fn kind(&self) -> CompileErrorKind {
        self.0.kind
    }

    /// Where: a path into the model file such as `learner.gradient_booster.model.trees[3]`, or the declaration
    /// concerned; empty when the whole input is meant.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.0.place
    }

    /// What is wrong, without the place.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &str {
        &self.0.help
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.place.is_empty() {
            write!(f, "{}: ", self.0.place)?;
        }
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for CompileError {}

impl Diagnostic for CompileError {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.kind().code()))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.hint()))
    }
}
