//! How a command ends when it does not succeed: one message, what to do about it, and an exit code that scripts can rely on.

use std::fmt::Display;
use std::io;
use std::path::Path;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, SourceCode};

use crate::printer::Printer;

/// The exit codes, apart from 0 for success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// The command did its work and the answer is no.
    No = 1,
    /// Wrong arguments, or input that a person wrote and that cannot be used.
    Usage = 2,
    /// Bytes that are damaged, of another format or version, or too large.
    Refused = 3,
    /// The guest module trapped or hit a limit.
    Trap = 4,
    /// Reading, writing or fetching failed.
    Io = 5,
}

/// Exit codes and their meanings, for help and reference.
pub(crate) const EXIT_CODES: [(u8, &str); 6] = [
    (0, "done"),
    (1, "done, and the answer is no: decisions differ, scores differ, a log does not support an estimate"),
    (2, "wrong arguments, or a declaration, request or data set that cannot be used"),
    (3, "bytes were refused: damaged, of another kind or version, or too large"),
    (4, "the guest module trapped, or ran out of fuel or memory"),
    (5, "reading, writing or fetching failed"),
];

/// Why a command ends without success.
#[derive(Debug)]
pub(crate) struct CliError {
    exit: Exit,
    what: What,
    hints: Vec<String>,
}

#[derive(Debug)]
enum What {
    Message(String),
    /// Explained with the source text that it points into.
    Diagnostic(Box<dyn Diagnostic + Send + Sync>),
    /// The output has said it.
    Answer,
}

impl CliError {
    /// An end with a message.
    pub(crate) fn new(exit: Exit, message: impl Display) -> Self {
        Self { exit, what: What::Message(message.to_string()), hints: Vec::new() }
    }

    /// The answer is no, and the output says why.
    pub(crate) const fn answer_is_no() -> Self {
        Self { exit: Exit::No, what: What::Answer, hints: Vec::new() }
    }

    /// An error that points into a source text.
    pub(crate) fn diagnostic(exit: Exit, diagnostic: impl Diagnostic + Send + Sync + 'static) -> Self {
        Self { exit, what: What::Diagnostic(Box::new(diagnostic)), hints: Vec::new() }
    }

    /// A file could not be read or written.
    pub(crate) fn io(doing: &str, path: &Path, error: &io::Error) -> Self {
        Self::new(Exit::Io, format_args!("cannot {doing} {}: {error}", path.display()))
    }

    /// The same with another exit code.
    #[must_use]
    pub(crate) const fn or_exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// Says which file the message is about.
    #[must_use]
    pub(crate) fn in_file(mut self, path: &Path) -> Self {
        if let What::Message(message) = &mut self.what {
            *message = format!("{}: {message}", path.display());
        }
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Display) -> Self {
        self.hints.push(hint.to_string());
        self
    }

    /// The exit code.
    pub(crate) const fn exit(&self) -> Exit {
        self.exit
    }

    /// Says it.
    pub(crate) fn print(&self, printer: &Printer) {
        match &self.what {
            What::Message(message) => printer.error(message),
            What::Diagnostic(diagnostic) => {
                printer.error(diagnostic);
                let report = render(diagnostic.as_ref());
                if !report.is_empty() {
                    printer.explain(format_args!("\n{report}"));
                }
                if let Some(help) = diagnostic.help() {
                    printer.hint(help);
                }
            }
            What::Answer => {}
        }
        for hint in &self.hints {
            printer.hint(hint);
        }
    }
}

/// The problems that a diagnostic consists of, each with the lines that it points at.
fn render(diagnostic: &dyn Diagnostic) -> String {
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode()).with_width(REPORT_WIDTH);
    let related = diagnostic.related().into_iter().flatten();
    let reports = related.map(|problem| {
        let mut report = String::new();
        // Writing to a string does not fail.
        let _ = handler.render_report(&mut report, &Pointed { problem, source: diagnostic.source_code() });
        report.trim_end().to_owned()
    });
    reports.collect::<Vec<_>>().join("\n\n")
}

/// Columns of a report: what a terminal shows without wrapping.
const REPORT_WIDTH: usize = 100;

/// A problem together with the source text of the diagnostic that it belongs to.
struct Pointed<'a> {
    problem: &'a dyn Diagnostic,
    source: Option<&'a dyn SourceCode>,
}

impl std::fmt::Display for Pointed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Display::fmt(self.problem, f)
    }
}

impl std::fmt::Debug for Pointed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self.problem, f)
    }
}

impl std::error::Error for Pointed<'_> {}

impl Diagnostic for Pointed<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn Display + 'a>> {
        self.problem.code()
    }

    fn help<'a>(&'a self) -> Option<Box<dyn Display + 'a>> {
        self.problem.help()
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.problem.labels()
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source
    }
}
