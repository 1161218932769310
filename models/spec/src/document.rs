//! What every declaration is: a TOML document of a version this crate reads.

use toml::de::DeTable;

use crate::error::{Problem, ProblemKind, Problems, Source, SpecError};
use crate::reader::Table;

/// The version of the grammar.
const VERSION: u32 = 1;

/// Parses `text` and hands its root table to `read`.
pub(crate) fn parse<T>(source: Source, read: impl FnOnce(Table<'_>, &Problems) -> Option<T>) -> Result<T, SpecError> {
    let text = source.text();
    let problems = Problems::default();
    let (root, errors) = DeTable::parse_recoverable(&text);
    if !errors.is_empty() {
        // What could be recovered is not what was meant: reading it would only add noise.
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            problems.report(Problem::new(ProblemKind::Syntax, span.into(), error.message(), "not TOML"));
        }
        return problems.into_result(source, None);
    }
    let value = read(Table::new("the file".to_owned(), (0..0).into(), root.get_ref(), &problems), &problems);
    problems.into_result(source, value)
}

/// Reports a version that is missing or not 1.
pub(crate) fn version(root: &Table<'_>) {
    let Some(version) = root.optional("version") else {
        let problem =
            Problem::new(ProblemKind::Version, root.span(), "the file does not say its version", "no `version`");
        return root.report(problem.help(format!("begin the file with `version = {VERSION}`")));
    };
    if version.as_u32() != Some(VERSION) {
        let message = format!("this version of Selvedge reads version {VERSION} of this file");
        version.report(Problem::new(ProblemKind::Version, version.span, message, "another version"));
    }
}
