//! A process with one engine, and the conversation with it: lines of JSON both ways.
//!
//! Whatever an engine does, the contest goes on: it may fail to start, answer with an error, say nothing for too long, or
//! die. Each of these is a sentence in the result.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Environment variable that names our guest module.
pub(crate) const GUEST: &str = "GUEST";
/// Environment variable that asks for one input only: how long does it take to start?
pub(crate) const ONCE: &str = "ONCE";

/// For one answer. A compiler of trees takes a minute to start; nothing else is near that.
const PATIENCE: Duration = Duration::from_secs(240);

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Question {
    /// The scores of all sets, for this number of rows.
    Check {
        /// The rows.
        check: usize,
    },
    /// How long a call takes.
    Time {
        /// The rows.
        time: usize,
        /// For how long calls are made.
        millis: u64,
    },
}

/// An engine that is ready.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Ready {
    pub(crate) version: String,
    pub(crate) settings: String,
    /// WebAssembly modules that it loaded.
    pub(crate) files: Vec<String>,
    /// From the start of its program to the first scores, milliseconds.
    pub(crate) first_ms: f64,
    /// What that added to the memory of the process.
    pub(crate) memory_bytes: u64,
}

/// Scores, or that a call takes too long.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Checked {
    Outputs { outputs: Vec<Vec<Option<f32>>> },
    Slow { slow_ms: f64 },
}

/// Microseconds of a call.
#[derive(Debug, Deserialize)]
pub(crate) struct Timed {
    pub(crate) us: f64,
}

/// Samples of each function.
#[derive(Debug, Deserialize)]
pub(crate) struct Profiled {
    /// As the module has its name, mangled; `JavaScript` for all that is none of the module's.
    pub(crate) functions: Vec<(String, u64)>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer<T> {
    Error { error: String },
    Good(T),
}

/// A running engine.
pub(crate) struct Process {
    child: Child,
    questions: Option<ChildStdin>,
    answers: Receiver<String>,
    pub(crate) ready: Ready,
}

impl Process {
    /// Starts it and waits until it has scored once.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let program = command.get_program().display().to_string();
        let mut child = command.spawn().with_context(|| format!("cannot start `{program}`"))?;
        let questions = child.stdin.take();
        let output = child.stdout.take().context("no standard output")?;
        let (send, answers) = channel();
        std::thread::spawn(move || {
            // What a library prints by itself is no answer.
            for line in BufReader::new(output).lines().map_while(Result::ok).filter(|line| line.starts_with('{')) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        let placeholder =
            Ready { version: String::new(), settings: String::new(), files: vec![], first_ms: 0.0, memory_bytes: 0 };
        let mut process = Self { child, questions, answers, ready: placeholder };
        process.ready = process.answer()?;
        Ok(process)
    }

    pub(crate) fn check(&mut self, rows: usize) -> Result<Checked> {
        self.ask(&Question::Check { check: rows })
    }

    /// Microseconds of a call, from calls for `span`.
    pub(crate) fn time(&mut self, rows: usize, span: Duration) -> Result<f64> {
        let timed: Timed = self.ask(&Question::Time { time: rows, millis: span.as_millis() as u64 })?;
        Ok(timed.us)
    }

    /// Where calls spend `span`. Only what runs in Node can tell.
    pub(crate) fn profile(&mut self, rows: usize, span: Duration) -> Result<Profiled> {
        self.ask(&json!({ "profile": rows, "millis": span.as_millis() as u64 }))
    }

    fn ask<T: DeserializeOwned>(&mut self, question: &impl Serialize) -> Result<T> {
        let text = serde_json::to_string(question).context("a question that is no JSON")?;
        let questions = self.questions.as_mut().context("it takes no questions")?;
        writeln!(questions, "{text}").and_then(|()| questions.flush()).context("it has ended")?;
        self.answer()
    }

    fn answer<T: DeserializeOwned>(&mut self) -> Result<T> {
        let line = match self.answers.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => bail!("no answer in {} s", PATIENCE.as_secs()),
            Err(RecvTimeoutError::Disconnected) => match self.child.wait() {
                Ok(status) => bail!("it ended without an answer ({status})"),
                Err(error) => bail!("it ended without an answer ({error})"),
            },
        };
        match serde_json::from_str(&line).with_context(|| format!("no answer: {line}"))? {
            Answer::Error { error } => bail!(error),
            Answer::Good(answer) => Ok(answer),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Without questions it ends by itself; one that hangs does not.
        self.questions = None;
        for _ in 0..50 {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Bytes of memory of this process, where the system says; else 0.
pub(crate) fn resident() -> u64 {
    let Ok(text) = std::fs::read_to_string("/proc/self/status") else { return 0 };
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
}

/// `program` with an environment.
pub(crate) fn command<'e>(program: impl AsRef<OsStr>, environment: &'e [(&'e str, String)]) -> Command {
    let mut command = Command::new(program);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(script: &str) -> Result<Process> {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(script);
        Process::start(shell)
    }

    const READY: &str = r#"{"version":"1","settings":"","files":[],"first_ms":1,"memory_bytes":1}"#;

    #[test]
    fn whatever_ends_an_engine_is_a_reason() {
        for (script, reason) in [
            (r#"echo '{"error":"no such model"}'"#, "no such model"),
            ("exit 3", "ended without an answer (exit status: 3)"),
            ("echo '{}'", "no answer: {}"),
        ] {
            let error = format!("{:#}", engine(script).err().expect("it does not start"));
            assert!(error.contains(reason), "{script}: {error}");
        }
    }

    #[test]
    fn what_a_library_prints_is_no_answer() {
        let script =
            format!("echo loading; echo '{READY}'; read question; echo 'epoch 1'; echo '{{\"us\":2.5,\"calls\":1}}'");
        let mut engine = engine(&script).expect("it is ready");
        assert_eq!(engine.time(1, Duration::from_millis(1)).expect("a time"), 2.5);
    }

    #[test]
    fn an_engine_that_dies_between_questions_is_a_reason() {
        let mut engine = engine(&format!("echo '{READY}'; read question; exit 1")).expect("it is ready");
        assert!(engine.check(1).is_err());
    }
}
