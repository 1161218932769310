//! Everything that is wrong with a declaration, reported together and in the order of the text.
//!
//! A [`SpecError`] is a [`miette::Diagnostic`]: whoever prints it gets the offending lines, a label at each token and a
//! line of help. Programs read [`Problem::kind`], whose [codes](ProblemKind::code) never change meaning.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode, SourceSpan};

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $code:literal,)+) => {
        /// What kind of mistake a [`Problem`] is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ProblemKind { $($(#[$doc])* $variant,)+ }

        impl ProblemKind {
            /// The stable code, such as `spec::unknown_field`.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => concat!("spec::", $code),)+ }
            }
        }
    };
}

kinds! {
    /// The text is not TOML.
    Syntax = "syntax",
    /// The grammar's version is missing or not one this crate reads.
    Version = "version",
    /// A key that its table does not have.
    UnknownKey = "unknown_key",
    /// A table lacks a key it needs.
    MissingKey = "missing_key",
    /// A value of another TOML type than its key takes.
    WrongType = "wrong_type",
    /// A name that is not `[a-z0-9_]{1,64}`, or that is reserved.
    BadName = "bad_name",
    /// Something declared or listed twice.
    Duplicate = "duplicate",
    /// A kind of feature that does not exist.
    UnknownKind = "unknown_kind",
    /// A field that is not declared.
    UnknownField = "unknown_field",
    /// A declared field of another type or scope than its place asks for.
    FieldType = "field_type",
    /// An event that is not declared.
    UnknownEvent = "unknown_event",
    /// A feature that is not declared.
    UnknownFeature = "unknown_feature",
    /// A feature that is declared, but not before its use.
    LaterFeature = "later_feature",
    /// A word outside the closed set its key takes: a unit, a transform, a scope.
    UnknownValue = "unknown_value",
    /// A text that is not a span of time.
    BadDuration = "bad_duration",
    /// A number outside its range, or a list of the wrong length.
    OutOfRange = "out_of_range",
    /// A rule about users that does not read as one.
    BadRule = "bad_rule",
    /// Settings that exclude each other.
    Conflict = "conflict",
}

/// One mistake, with its place in the text.
#[derive(Clone, Debug)]
pub struct Problem {
    kind: ProblemKind,
    message: String,
    labels: Vec<LabeledSpan>,
    help: Option<String>,
}

impl Problem {
    /// A mistake at `span`; `label` says what is seen there.
    pub(crate) fn new(
        kind: ProblemKind,
        span: SourceSpan,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> Self {
        let label = LabeledSpan::new_primary_with_span(Some(label.into()), span);
        Self { kind, message: message.into(), labels: vec![label], help: None }
    }

    /// Points at a second place that explains the first.
    pub(crate) fn beside(mut self, span: SourceSpan, label: impl Into<String>) -> Self {
        self.labels.push(LabeledSpan::new_with_span(Some(label.into()), span));
        self
    }

    /// Says what to do about it.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// What kind of mistake this is.
    pub fn kind(&self) -> ProblemKind {
        self.kind
    }

    /// The offending token, in bytes of the text.
    pub fn span(&self) -> SourceSpan {
        *self.labels[0].inner()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

/// The source code comes from the [`SpecError`] that holds the problem.
impl Diagnostic for Problem {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.kind.code()))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().cloned()))
    }
}

/// A declaration that was refused, with every reason found.
#[derive(Clone, Debug)]
pub struct SpecError {
    source: NamedSource<Arc<str>>,
    problems: Vec<Problem>,
}

impl SpecError {
    /// The problems, at least one, in the order of the text.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.source.name();
        match self.problems.len() {
            1 => write!(f, "{name} has a problem"),
            count => write!(f, "{name} has {count} problems"),
        }
    }
}

impl std::error::Error for SpecError {}

impl Diagnostic for SpecError {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.problems.iter().map(|problem| problem as &dyn Diagnostic)))
    }
}

/// A text and what to call it in messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    name: Arc<str>,
    text: Arc<str>,
}

impl Source {
    pub(crate) fn new(name: &str, text: &str) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    pub(crate) fn text(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }
}

/// Collects problems while a text is read. Shared by every reader of the text, hence the cell.
#[derive(Debug, Default)]
pub(crate) struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    pub(crate) fn report(&self, problem: Problem) {
        self.0.borrow_mut().push(problem);
    }

    /// `value` if nothing was reported. A missing value without a report would be a bug in this crate.
    pub(crate) fn into_result<T>(self, source: Source, value: Option<T>) -> Result<T, SpecError> {
        let mut problems = self.0.into_inner();
        match value {
            Some(value) if problems.is_empty() => Ok(value),
            _ => {
                problems.sort_by_key(|problem| problem.span().offset());
                Err(SpecError { source: NamedSource::new(source.name, source.text), problems })
            }
        }
    }
}
