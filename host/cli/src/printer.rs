//! The one owner of output: data on standard output, everything said about it on standard error.
//!
//! A command never writes to a stream itself. That keeps pipes clean, progress bars untorn, and colour where there is a
//! terminal and nobody objected (`NO_COLOR`, `--color never`). Text must be readable without colour: it only repeats
//! what the words say. The manners are uv's.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;

use clap::builder::styling::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// Titles and what a line is about.
pub(crate) const BOLD: Style = Style::new().bold();
/// What may be skipped.
pub(crate) const DIM: Style = Style::new().dimmed();
/// Better, equal, yes.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// Worse, different, no.
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();

/// `text` in a style; the codes are dropped where the stream has no colour.
pub(crate) fn styled(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Writes what a command has to say. Shared by reference; may be called from any thread.
#[derive(Debug)]
pub(crate) struct Printer {
    quiet: bool,
    animated: bool,
    progress: Mutex<Option<Step>>,
    failure: Mutex<Option<io::Error>>,
}

/// The long step that is under way.
#[derive(Debug)]
struct Step {
    stage: String,
    bar: Option<ProgressBar>,
}

impl Printer {
    /// A printer on the process's streams; a quiet one leaves out progress and remarks, never warnings and errors.
    pub(crate) fn new(quiet: bool) -> Self {
        Self {
            quiet,
            animated: !quiet && io::stderr().is_terminal(),
            progress: Mutex::new(None),
            failure: Mutex::new(None),
        }
    }

    /// A line, or several, of data.
    pub(crate) fn data(&self, text: impl Display) {
        self.above_progress(|| self.keep(writeln!(anstream::stdout(), "{text}")));
    }

    /// A value as a JSON document.
    pub(crate) fn json(&self, value: &impl Serialize) {
        let written = || {
            let mut out = io::stdout().lock();
            serde_json::to_writer_pretty(&mut out, value)?;
            writeln!(out)
        };
        self.above_progress(|| self.keep(written()));
    }

    /// A remark: what was made, where it went.
    pub(crate) fn say(&self, text: impl Display) {
        if !self.quiet {
            self.aside(text);
        }
    }

    /// Something that is probably not what was meant.
    pub(crate) fn warn(&self, text: impl Display) {
        self.aside(format_args!("{WARNING}warning:{WARNING:#} {text}"));
    }

    /// Why the command ends here.
    pub(crate) fn error(&self, text: impl Display) {
        self.aside(format_args!("{ERROR}error:{ERROR:#} {text}"));
    }

    /// Lines that an error points at.
    pub(crate) fn explain(&self, text: impl Display) {
        self.aside(text);
    }

    /// What to do next.
    pub(crate) fn hint(&self, text: impl Display) {
        self.aside(format_args!("{HINT}hint:{HINT:#} {text}"));
    }

    /// How far a long step has come; `total` is 0 where that is not known. A terminal gets a bar, a file one line per
    /// step.
    pub(crate) fn progress(&self, stage: &str, done: u64, total: u64) {
        if self.quiet {
            return;
        }
        let Ok(mut current) = self.progress.lock() else { return };
        if current.as_ref().is_none_or(|step| step.stage != stage) {
            if let Some(bar) = current.take().and_then(|step| step.bar) {
                bar.finish_and_clear();
            }
            let bar = self.animated.then(|| new_bar(stage, total));
            if bar.is_none() {
                self.keep(writeln!(anstream::stderr(), "{stage}"));
            }
            *current = Some(Step { stage: stage.to_owned(), bar });
        }
        if let Some(bar) = current.as_ref().and_then(|step| step.bar.as_ref()) {
            bar.set_length(total.max(done));
            bar.set_position(done);
        }
    }

    /// Takes the bar away: the long steps are over.
    pub(crate) fn end_progress(&self) {
        let Ok(mut current) = self.progress.lock() else { return };
        if let Some(bar) = current.take().and_then(|step| step.bar) {
            bar.finish_and_clear();
        }
    }

    /// The first failure to write to a stream. A reader that left early (`| head`) is no failure.
    pub(crate) fn failure(&self) -> Option<io::Error> {
        let failure = self.failure.lock().ok()?.take();
        failure.filter(|error| error.kind() != io::ErrorKind::BrokenPipe)
    }

    fn aside(&self, text: impl Display) {
        self.above_progress(|| self.keep(writeln!(anstream::stderr(), "{text}")));
    }

    fn above_progress(&self, write: impl FnOnce()) {
        let current = self.progress.lock();
        match current.as_deref() {
            Ok(Some(Step { bar: Some(bar), .. })) => bar.suspend(write),
            _ => write(),
        }
    }

    fn keep(&self, written: io::Result<()>) {
        if let (Err(error), Ok(mut failure)) = (written, self.failure.lock()) {
            failure.get_or_insert(error);
        }
    }
}

fn new_bar(stage: &str, total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total).with_message(stage.to_owned());
    let template = if total > 0 { "{msg} {bar:30} {pos}/{len} {eta}" } else { "{spinner} {msg} {elapsed}" };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
