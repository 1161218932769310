//! Running other programs so that a failure reads as a sentence.
//!
//! Three ways, by who should see the output: [`run`] shows it as it comes (cargo draws its own progress), [`quiet`]
//! hides it behind a spinner and shows the tail only on failure (package managers, long builds), and [`capture`]
//! returns it. Every error names the command line, how it ended, and what the caller says to do next.

use std::fmt::Write as _;
use std::io::{Read as _, Seek as _};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

/// How much of a hidden program's output an error repeats: enough for a linker or npm message, not a whole log.
const TAIL_LINES: usize = 30;

/// Runs `command` with inherited output; `hint` says what to do when it fails.
pub(crate) fn run(command: &mut Command, hint: &str) -> Result<()> {
    let status = command.status().with_context(|| not_started(command, hint))?;
    if !status.success() {
        bail!("{}", ended(command, status, hint));
    }
    Ok(())
}

/// Runs `command` behind a spinner labelled `doing`; on failure the error carries the last lines it printed.
pub(crate) fn quiet(command: &mut Command, doing: &str, hint: &str) -> Result<()> {
    // One place for both output streams, in order; without a name, it vanishes with its last handle.
    let mut log = tempfile::tempfile().context("cannot make a temporary file for the output of a child process")?;
    let clone = || log.try_clone().context("cannot share the log of a child process");
    command.stdin(Stdio::null()).stdout(clone()?).stderr(clone()?);

    let spinner = ProgressBar::new_spinner().with_message(doing.to_owned());
    spinner.set_style(
        ProgressStyle::with_template("{spinner} {msg} [{elapsed}]")
            .unwrap_or_else(|_| ProgressStyle::default_spinner()),
    );
    spinner.enable_steady_tick(Duration::from_millis(120));
    let status = command.status();
    spinner.finish_and_clear();

    let status = status.with_context(|| not_started(command, hint))?;
    if status.success() {
        return Ok(());
    }
    let mut text = Vec::new();
    log.rewind()
        .and_then(|()| log.read_to_end(&mut text))
        .context("cannot read back the output of a failed command")?;
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let mut message = ended(command, status, hint);
    message.push_str("\nits last lines:");
    for line in &lines[lines.len().saturating_sub(TAIL_LINES)..] {
        let _ = write!(message, "\n  | {line}");
    }
    bail!("{message}")
}

/// Standard output of `command`, trimmed; `hint` says what to do when it fails.
pub(crate) fn capture(command: &mut Command, hint: &str) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output().with_context(|| not_started(command, hint))?;
    if !output.status.success() {
        bail!("{}", ended(command, output.status, hint));
    }
    let text = String::from_utf8(output.stdout)
        .with_context(|| format!("`{}` printed something that is not UTF-8", line(command)))?;
    Ok(text.trim().to_owned())
}

/// Standard output of `command` when it can be started and succeeds: for questions whose "no" is an ordinary answer.
pub(crate) fn ask(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok()?;
    if !output.status.success() {
        return None;
    }
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

/// The cargo that runs this task, so that nested builds use the same one.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn line(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        let _ = write!(text, " {}", argument.to_string_lossy());
    }
    text
}

fn not_started(command: &Command, hint: &str) -> String {
    format!("cannot start `{}`\nhint: {hint}", line(command))
}

fn ended(command: &Command, status: ExitStatus, hint: &str) -> String {
    format!("`{}` failed ({status})\nhint: {hint}", line(command))
}
