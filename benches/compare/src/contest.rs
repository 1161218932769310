//! The contest: checks, warm-up, rounds, checks again.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use crate::chart::ROWS;
use crate::engines::{ENGINES, Engine, Installed, Part, REFERENCE};
use crate::process::{Checked, GUEST, ONCE, Process, Ready};
use crate::size::{self, Size};
use crate::workload::{self, Workload};
use crate::{peak, say};

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Turns of each engine.
    rounds: usize,
    /// A turn of an engine, for one number of rows.
    turn: Duration,
    /// Before the first: engines compile what is called often while it is called.
    warm_up: Duration,
    /// Fresh processes per engine.
    starts: usize,
    /// How long a workload is profiled.
    profile: Duration,
    /// How many times ten seconds to wait for other programs to end.
    patience: usize,
}

impl Pace {
    /// For figures.
    pub(crate) const FULL: Self = Self {
        rounds: 15,
        turn: Duration::from_millis(40),
        warm_up: Duration::from_millis(300),
        starts: 5,
        profile: Duration::from_secs(3),
        patience: 18,
    };
    /// For a look at whether everything runs.
    pub(crate) const QUICK: Self = Self {
        rounds: 3,
        turn: Duration::from_millis(10),
        warm_up: Duration::from_millis(50),
        starts: 1,
        profile: Duration::from_millis(300),
        patience: 0,
    };
}

/// Ours, as it is profiled.
const OURS: &str = "selvedge-node";

/// Load of a machine on which nothing else is at work.
pub(crate) const QUIET: f64 = 0.5;

/// One line of the JSON.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) workload: String,
    pub(crate) rows: usize,
    pub(crate) engine: &'static str,
    /// Of a call, over the rounds.
    pub(crate) median_us: f64,
    pub(crate) p10_us: f64,
    pub(crate) p90_us: f64,
    /// How many times as fast as the reference; none where the reference has no figure.
    pub(crate) ratio_to_ort_web: Option<f64>,
    pub(crate) version: String,
}

/// An engine that has no figure, and why.
#[derive(Clone, Debug)]
pub(crate) struct Absent {
    pub(crate) workload: String,
    /// None for all of the workload's.
    pub(crate) rows: Option<usize>,
    pub(crate) engine: &'static str,
    pub(crate) reason: String,
}

/// A process that scores once.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) engine: &'static str,
    pub(crate) version: String,
    pub(crate) settings: String,
    /// From the start of the program to the first scores; the median.
    pub(crate) first_ms: f64,
    /// What that added to memory; the median.
    pub(crate) memory_bytes: u64,
    pub(crate) size: Size,
}

/// What came out.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) figures: Vec<Figure>,
    pub(crate) absent: Vec<Absent>,
    pub(crate) starts: Vec<Start>,
    /// Multiplications and additions of a row, by workload with networks.
    pub(crate) flops: Vec<(String, u64)>,
    /// 10^9 additions and multiplications a second of four f32 at a time, in Node.
    pub(crate) peak_gflops: Option<f64>,
    /// By workload, which share of the time each function of our module takes in Node, the largest first.
    pub(crate) profiles: Vec<(String, Vec<(String, f64)>)>,
    /// Programs that wanted a processor in the minute before, where the system says.
    pub(crate) load: Option<f64>,
}

impl Outcome {
    /// The figure of an engine.
    pub(crate) fn figure(&self, workload: &str, rows: usize, engine: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.workload == workload && figure.rows == rows && figure.engine == engine)
    }
}

/// What is measured, and with what.
#[derive(Debug)]
pub(crate) struct Contest<'a> {
    pub(crate) directory: &'a Path,
    /// Folder of the drivers.
    pub(crate) scripts: &'a Path,
    pub(crate) installed: &'a Installed,
    pub(crate) pace: Pace,
    /// Empty for all.
    pub(crate) only_engines: &'a [String],
    /// Empty for all.
    pub(crate) only_workloads: &'a [String],
}

struct Runner {
    engine: &'static Engine,
    process: Process,
}

impl Contest<'_> {
    pub(crate) fn run(&self) -> Result<Outcome> {
        // What was built just now is still in the load of the last minute.
        for _ in 0..self.pace.patience {
            if load().is_none_or(|load| load <= QUIET) {
                break;
            }
            say("waiting for a quiet machine");
            std::thread::sleep(Duration::from_secs(10));
        }
        let mut outcome = Outcome { load: load(), ..Outcome::default() };
        if let Some(load) = outcome.load.filter(|load| *load > QUIET) {
            say(format_args!("other programs are at work (a load of {load:.1}): figures beside them are noise"));
        }
        for name in workload::NAMES.into_iter().filter(|name| is_wanted(self.only_workloads, name)) {
            let path = self.directory.join(name);
            if !path.join("workload.json").exists() {
                say(format_args!("{name}: skipped, because its models could not be made"));
                continue;
            }
            self.measure(&Workload::open(&path)?, &mut outcome)?;
        }
        self.profile_all(&mut outcome);
        self.start_all(&mut outcome);
        match peak::gflops(self.directory, self.scripts) {
            Ok(gflops) => outcome.peak_gflops = Some(gflops),
            Err(error) => say(format_args!("no peak of the vector unit: {error:#}")),
        }
        Ok(outcome)
    }

    /// Where our module spends its time, by one that still has the names of its functions.
    fn profile_all(&self, outcome: &mut Outcome) {
        for name in workload::NAMES {
            if outcome.figure(name, ROWS, OURS).is_none() {
                continue;
            }
            say(format_args!("{name}: profile"));
            match self.profile(name) {
                Ok(functions) => outcome.profiles.push((name.to_owned(), functions)),
                Err(error) => say(format_args!("{name}: no profile: {error:#}")),
            }
        }
    }

    fn profile(&self, workload: &str) -> Result<Vec<(String, f64)>> {
        let ours = ENGINES.iter().find(|engine| engine.name == OURS).context("ours is no engine")?;
        let mut command = ours.command(self.installed, self.scripts, &self.directory.join(workload))?;
        command.env(GUEST, self.installed.of("guest-named")?.0);
        Ok(shares(Process::start(command)?.profile(ROWS, self.pace.profile)?.functions))
    }

    fn engines(&self) -> impl Iterator<Item = &'static Engine> {
        ENGINES.iter().filter(|engine| is_wanted(self.only_engines, engine.name))
    }

    /// All figures of one workload.
    fn measure(&self, workload: &Workload, outcome: &mut Outcome) -> Result<()> {
        let name = &workload.about.name;
        say(format_args!("{name}: starting engines"));
        if workload.about.flops > 0 {
            outcome.flops.push((name.clone(), workload.about.flops));
        }
        let absent = |engine: &Engine, rows, reason: String| {
            let at = rows_of(rows);
            say(format_args!("{name}{at}: without {}, because {reason}", engine.name));
            Absent { workload: name.clone(), rows, engine: engine.name, reason }
        };
        let mut runners = Vec::new();
        for engine in self.engines() {
            match self.start(engine, workload) {
                Ok(process) => runners.push(Runner { engine, process }),
                Err(error) => outcome.absent.push(absent(engine, None, format!("{error:#}"))),
            }
        }
        for &rows in &workload.about.rows {
            say(format_args!("{name}{}", rows_of(Some(rows))));
            // Who answers wrongly has no place in the rounds; neither has who takes a second for a call.
            let mut fit = Vec::new();
            for runner in &mut runners {
                match runner.checked(workload, rows)? {
                    Ok(()) => fit.push((runner, Vec::new())),
                    Err(reason) => outcome.absent.push(absent(runner.engine, Some(rows), reason)),
                }
            }
            let mut failed = Vec::new();
            self.rounds(rows, &mut fit, &mut failed);
            let mut figures = Vec::new();
            for (runner, times) in fit {
                match runner.checked(workload, rows)? {
                    Ok(()) => figures.push(figure(name, rows, runner, times)),
                    Err(reason) => failed.push((runner.engine, format!("after timing, {reason}"))),
                }
            }
            outcome.absent.extend(failed.into_iter().map(|(engine, reason)| absent(engine, Some(rows), reason)));
            compare(&mut figures);
            outcome.figures.append(&mut figures);
        }
        Ok(())
    }

    fn start(&self, engine: &Engine, workload: &Workload) -> Result<Process> {
        if let Some(refusal) = workload.refusal().filter(|_| engine.part != Part::Peer) {
            bail!("our compiler refuses the model: {refusal}");
        }
        Process::start(engine.command(self.installed, self.scripts, &workload.path)?)
    }

    /// Turns in rounds. An engine that fails leaves.
    fn rounds(&self, rows: usize, fit: &mut Vec<(&mut Runner, Vec<f64>)>, failed: &mut Vec<(&'static Engine, String)>) {
        let warm_up = std::iter::once((self.pace.warm_up, false));
        let turns = std::iter::repeat_n((self.pace.turn, true), self.pace.rounds);
        for (span, is_counted) in warm_up.chain(turns) {
            fit.retain_mut(|(runner, times)| match runner.process.time(rows, span) {
                Ok(us) => {
                    if is_counted {
                        times.push(us);
                    }
                    true
                }
                Err(error) => {
                    failed.push((runner.engine, format!("it failed while it was timed: {error:#}")));
                    false
                }
            });
        }
    }

    /// Fresh processes of every engine, in turn.
    fn start_all(&self, outcome: &mut Outcome) {
        say("starts of fresh processes");
        let mut readies: Vec<(&'static Engine, Vec<Ready>)> = Vec::new();
        for _ in 0..self.pace.starts {
            for engine in self.engines().filter(|engine| engine.part != Part::Aside) {
                let ready = ["lgb100", "mlp"].iter().find_map(|name| self.first(engine, name).ok());
                let Some(ready) = ready else { continue };
                match readies.iter_mut().find(|(of, _)| of.name == engine.name) {
                    Some((_, list)) => list.push(ready),
                    None => readies.push((engine, vec![ready])),
                }
            }
        }
        outcome.starts = readies.into_iter().filter_map(|(engine, list)| self.started(engine, &list)).collect();
    }

    fn first(&self, engine: &Engine, workload: &str) -> Result<Ready> {
        let mut command = engine.command(self.installed, self.scripts, &self.directory.join(workload))?;
        command.env(ONCE, "1");
        Ok(Process::start(command)?.ready.clone())
    }

    fn started(&self, engine: &Engine, readies: &[Ready]) -> Option<Start> {
        let last = readies.last()?;
        let first = quantile(readies.iter().map(|ready| ready.first_ms).collect(), 0.5);
        let memory = quantile(readies.iter().map(|ready| ready.memory_bytes as f64).collect(), 0.5);
        Some(Start {
            engine: engine.name,
            version: last.version.clone(),
            settings: last.settings.clone(),
            first_ms: first,
            memory_bytes: memory as u64,
            size: size::of(engine, self.installed, &last.files),
        })
    }
}

impl Runner {
    /// Whether all scores are as expected, or why it is not to be timed.
    fn checked(&mut self, workload: &Workload, rows: usize) -> Result<Result<(), String>> {
        let expected = workload.expected(rows, self.engine.name)?;
        let outputs = match self.process.check(rows) {
            Err(error) => return Ok(Err(format!("{error:#}"))),
            Ok(Checked::Slow { slow_ms }) => {
                return Ok(Err(format!("a call takes {slow_ms:.0} ms, too long for many of them")));
            }
            Ok(Checked::Outputs { outputs }) => outputs,
        };
        if self.engine.part == Part::Aside {
            return Ok(Ok(()));
        }
        Ok(judged(&outputs.concat(), &expected, workload.about.tolerance))
    }
}

/// Whether scores are as expected; what is wrong if not.
fn judged(found: &[Option<f32>], expected: &[f32], tolerance: f32) -> Result<(), String> {
    if found.len() != expected.len() {
        return Err(format!("it answers {} scores, not {}", found.len(), expected.len()));
    }
    let difference = |(found, expected): (&Option<f32>, &f32)| match found {
        Some(found) if !found.is_nan() => (found - expected).abs(),
        _ => f32::INFINITY,
    };
    let largest = found.iter().zip(expected).map(difference).fold(0.0, f32::max);
    if largest > tolerance {
        return Err(format!("its scores are wrong: one differs by {largest:.1e}, {tolerance:.1e} is allowed"));
    }
    Ok(())
}

/// Samples as shares, the largest first, by the names that functions have in the source.
fn shares(samples: Vec<(String, u64)>) -> Vec<(String, f64)> {
    let all: u64 = samples.iter().map(|(_, count)| count).sum();
    let name = |mangled: &str| {
        let name = format!("{:#}", rustc_demangle::demangle(mangled));
        ["selvedge_engine::", "selvedge_format::", "selvedge_guest::"]
            .iter()
            .fold(name, |name, of| name.replace(of, ""))
    };
    let mut shares: Vec<(String, f64)> =
        samples.iter().map(|(mangled, count)| (name(mangled), *count as f64 / all as f64)).collect();
    shares.sort_by(|left, right| right.1.total_cmp(&left.1));
    shares
}

fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

fn is_wanted(only: &[String], name: &str) -> bool {
    only.is_empty() || only.iter().any(|wanted| wanted == name)
}

fn rows_of(rows: Option<usize>) -> String {
    rows.map_or(String::new(), |rows| format!(", {rows} rows"))
}

fn figure(workload: &str, rows: usize, runner: &Runner, times: Vec<f64>) -> Figure {
    let at = |share| quantile(times.clone(), share);
    Figure {
        workload: workload.to_owned(),
        rows,
        engine: runner.engine.name,
        median_us: rounded(at(0.5)),
        p10_us: rounded(at(0.1)),
        p90_us: rounded(at(0.9)),
        ratio_to_ort_web: None,
        version: runner.process.ready.version.clone(),
    }
}

/// Fills in ratios among figures of one workload and number of rows.
fn compare(figures: &mut [Figure]) {
    let Some(reference) = figures.iter().find(|figure| figure.engine == REFERENCE).map(|figure| figure.median_us)
    else {
        return;
    };
    for figure in figures {
        figure.ratio_to_ort_web = Some(rounded(reference / figure.median_us));
    }
}

/// Three decimals are more than repeat.
fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// The value that a share of the values is below.
fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len() as f64 * share) as usize;
    values.get(at.min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_a_profile_have_their_names_in_the_source() {
        let mangled = "_RINvNtNtNtCs5WV4jDKxHAK_15selvedge_engine5model5graph7kernels12add_productsfEB8_";
        let found = shares(vec![("JavaScript".to_owned(), 1), (mangled.to_owned(), 3)]);
        let expected = [("model::graph::kernels::add_products::<f32>", 0.75), ("JavaScript", 0.25)];
        assert_eq!(found, expected.map(|(name, share)| (name.to_owned(), share)));
    }

    fn figure(engine: &'static str, median_us: f64) -> Figure {
        let (workload, version) = ("mlp".to_owned(), String::new());
        Figure { workload, rows: 1, engine, median_us, p10_us: 0.0, p90_us: 0.0, ratio_to_ort_web: None, version }
    }

    #[test]
    fn a_ratio_is_how_many_times_as_fast_as_the_reference() {
        let mut figures = [figure("selvedge-node", 20.0), figure(REFERENCE, 60.0)];
        compare(&mut figures);
        assert_eq!(figures.map(|figure| figure.ratio_to_ort_web), [Some(3.0), Some(1.0)]);
    }

    #[test]
    fn without_the_reference_there_is_no_ratio() {
        let mut figures = [figure("selvedge-node", 20.0)];
        compare(&mut figures);
        assert_eq!(figures[0].ratio_to_ort_web, None);
    }

    #[test]
    fn a_wrong_engine_is_not_timed() {
        let expected = [1.0, 2.0];
        assert!(judged(&[Some(1.05), Some(1.95)], &expected, 0.1).is_ok());
        for wrong in [&[Some(1.0), Some(2.2)][..], &[Some(1.0), None], &[Some(1.0), Some(f32::NAN)], &[Some(1.0)]] {
            assert!(judged(wrong, &expected, 0.1).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let values = vec![5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!([0.0, 0.5, 0.9].map(|share| quantile(values.clone(), share)), [1.0, 3.0, 5.0]);
    }
}
