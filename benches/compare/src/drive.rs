//! Ours as an engine of the contest, natively and under wasmtime: the counterpart of `engines/drive.mjs`.
//!
//! Natively it is the engine as any Rust program links it, built for the same processors as everything else. Under wasmtime it
//! is the runner, with fuel and limits on, as hosts have it.

use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use selvedge_engine::{Engine, Limits};
use selvedge_format::AlignedBytes;
use selvedge_runner::{GuestModule, Instance, RunnerLimits};
use serde_json::{Value, json};

use crate::process::{self, GUEST, ONCE, Question};
use crate::read;
use crate::workload::Workload;

/// As in `engines/harness.mjs`.
const SLOWEST: Duration = Duration::from_secs(1);
const GROUP: Duration = Duration::from_millis(1);

/// Answers until standard input ends. A failure is an answer as well.
pub(crate) fn run(engine: &str, folder: &Path) {
    if let Err(error) = answer(engine, folder) {
        tell(&json!({ "error": format!("{error:#}") }));
    }
}

fn tell(answer: &Value) {
    // Whoever asked is gone if this fails, and the loop of questions ends as well.
    let _ = writeln!(std::io::stdout(), "{answer}");
}

fn answer(name: &str, folder: &Path) -> Result<()> {
    let (began, memory) = (Instant::now(), process::resident());
    let workload = Workload::open(folder)?;
    let mut driver = Driver::new(name, &workload)?;
    let rows = workload.about.rows.iter().copied().filter(|rows| *rows <= 100).max().unwrap_or(1);
    driver.call(rows, 0)?;
    tell(&json!({
        "version": env!("CARGO_PKG_VERSION"),
        "settings": driver.settings(),
        "files": [],
        "first_ms": began.elapsed().as_secs_f64() * 1_000.0,
        "memory_bytes": process::resident().saturating_sub(memory),
    }));
    for line in std::io::stdin().lock().lines() {
        let line = line.context("cannot read a question")?;
        tell(&match serde_json::from_str(&line).with_context(|| format!("no question: {line}"))? {
            Question::Check { check } => driver.check(check)?,
            Question::Time { time, millis } => driver.time(time, Duration::from_millis(millis))?,
        });
    }
    Ok(())
}

enum Ours {
    Native(Box<Engine>),
    Wasmtime(Box<Instance>),
}

struct Driver {
    ours: Ours,
    /// Features of a row.
    features: usize,
    /// By number of rows: the values of each set, row by row, and how many calls are timed together.
    groups: Vec<(usize, Vec<Vec<f32>>, u32)>,
}

impl Driver {
    fn new(name: &str, workload: &Workload) -> Result<Self> {
        let bundle = read(&workload.bundle())?;
        let ours = match name {
            "selvedge-native" => {
                let mut engine = Engine::new(Limits::default());
                engine.load(AlignedBytes::copy_of(&bundle)).context("the engine refuses the bundle")?;
                Ours::Native(Box::new(engine))
            }
            "selvedge-wasmtime" => {
                let guest = PathBuf::from(std::env::var_os(GUEST).context("no guest module was named")?);
                let mut instance = Instance::new(&GuestModule::read(guest)?, RunnerLimits::default());
                instance.load(bundle)?;
                Ours::Wasmtime(Box::new(instance))
            }
            _ => bail!("{name} is no engine of this program"),
        };
        let is_once = std::env::var_os(ONCE).is_some();
        let wanted = |rows: &&usize| !is_once || **rows == 100;
        let features = workload.about.columns.len();
        let sets = if is_once { 1 } else { workload.about.sets };
        let values = |&rows: &usize| {
            let all = workload.inputs(rows)?;
            Ok((rows, all.chunks_exact(rows * features).take(sets).map(<[f32]>::to_vec).collect(), 0))
        };
        let groups = workload.about.rows.iter().filter(wanted).map(values).collect::<Result<_>>()?;
        Ok(Self { ours, features, groups })
    }

    fn settings(&self) -> &'static str {
        match self.ours {
            Ours::Native(_) => {
                "the engine as a library, `predict` on rows of features, which lie ready; no flags for this processor"
            }
            Ours::Wasmtime(_) => {
                "the guest module in the runner, `predict` on rows of features, which lie ready; fuel and limits on"
            }
        }
    }

    fn call(&mut self, rows: usize, set: usize) -> Result<Vec<f32>> {
        let group = self.groups.iter().find(|(of, ..)| *of == rows).context("no such number of rows")?;
        let values = group.1.get(set).context("no such set")?;
        Ok(match &mut self.ours {
            Ours::Native(engine) => engine.predict(rows, self.features, values)?.to_vec(),
            Ours::Wasmtime(instance) => instance.predict(rows, self.features, values)?,
        })
    }

    fn sets(&self) -> usize {
        self.groups.first().map_or(0, |(_, requests, _)| requests.len())
    }

    fn check(&mut self, rows: usize) -> Result<Value> {
        let mut outputs = Vec::new();
        for set in 0..self.sets() {
            let began = Instant::now();
            outputs.push(self.call(rows, set)?);
            if began.elapsed() > SLOWEST {
                return Ok(json!({ "slow_ms": began.elapsed().as_secs_f64() * 1_000.0 }));
            }
        }
        Ok(json!({ "outputs": outputs }))
    }

    fn group(&mut self, rows: usize, calls: u32) -> Result<Duration> {
        let sets = self.sets();
        let began = Instant::now();
        for call in 0..calls {
            std::hint::black_box(self.call(rows, call as usize % sets)?);
        }
        Ok(began.elapsed())
    }

    /// How many calls take as long as a group should.
    fn calls(&mut self, rows: usize) -> Result<u32> {
        let at = self.groups.iter().position(|(of, ..)| *of == rows).context("no such number of rows")?;
        if self.groups[at].2 == 0 {
            let mut calls = 1;
            while self.group(rows, calls)? < GROUP {
                calls *= 2;
            }
            self.groups[at].2 = calls;
        }
        Ok(self.groups[at].2)
    }

    fn time(&mut self, rows: usize, span: Duration) -> Result<Value> {
        let calls = self.calls(rows)?;
        let began = Instant::now();
        let mut samples = Vec::new();
        while samples.is_empty() || began.elapsed() < span {
            samples.push(self.group(rows, calls)?.as_secs_f64() * 1e6 / f64::from(calls));
        }
        samples.sort_by(f64::total_cmp);
        Ok(json!({ "us": samples[samples.len() / 2], "calls": samples.len() * calls as usize }))
    }
}
