//! `selvedge eval --log`: what a bundle would have earned on the requests that other bundles decided.
//!
//! Every full record is decided again by the bundle that decided it: its draw must come out as recorded, and the whole
//! distribution behind it becomes known. The evaluated bundle decides the same request; estimates weigh what the drawn
//! items earned by how much more probable they are under it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use selvedge_engine::{Engine, Limits};
use selvedge_format::decision::{DecisionView, rule};
use selvedge_format::record::{Outcome, RecordView};
use selvedge_format::request::RequestView;
use selvedge_format::{AlignedBytes, key};
use selvedge_train::bootstrap::{Bootstrap, Interval};
use selvedge_train::ope::{Draw, Estimates, RewardModel, unsupported};
use serde::Serialize;

use crate::bundle::{BundleFile, SharedFile, hex, short};
use crate::error::{CliError, Exit};
use crate::file;
use crate::log::{Stretch, stretches};
use crate::printer::Printer;
use crate::show;
use crate::table::{Side, Table};

/// Resamples of an interval: as many as its second digit needs.
const RESAMPLES: usize = 2_000;
/// Effective sample sizes below this say little.
const FEW: f64 = 100.0;

/// What is asked of a decision log.
#[derive(Debug, Args)]
#[command(next_help_heading = "Off-policy, on decision logs")]
pub(crate) struct LogArgs {
    /// A decision log with full records and outcomes; may be given several times.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["data", "weeks", "fold"])]
    pub(crate) log: Vec<PathBuf>,
    /// A bundle that decided what is in the log, if it is not the one that is judged; may be given several times.
    #[arg(long, value_name = "FILE", requires = "log")]
    logged: Vec<PathBuf>,
    /// A shared state that was in place; may be given several times.
    #[arg(long, value_name = "FILE", requires = "log")]
    shared: Vec<PathBuf>,
    /// The event that counts as a reward; every event if it is left out.
    #[arg(long, value_name = "NAME", requires = "log")]
    event: Option<String>,
    /// What a drawn item earns.
    #[arg(long, value_enum, default_value_t = Reward::Happened, requires = "log")]
    reward: Reward,
    /// Largest weight of the clipped estimator.
    #[arg(long, value_name = "WEIGHT", default_value_t = 10.0, requires = "log")]
    clip: f64,
}

/// What outcomes of the drawn item are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Reward {
    /// 1 if there is any, else 0.
    Happened,
    /// The sum of their values.
    Value,
}

/// Judges a bundle on logs.
pub(crate) fn run(args: &LogArgs, bundle: &Path, json: bool, printer: &Printer) -> Result<(), CliError> {
    if args.clip.is_nan() || args.clip <= 0.0 {
        return Err(CliError::new(Exit::Usage, "--clip must be above 0").hint("10 is usual; `inf` clips nothing"));
    }
    let logs = args.log.iter().map(|path| file::read(path, file::MAX_BYTES)).collect::<Result<Vec<_>, _>>()?;
    let log = Log::read(&logs, args, printer);
    let mut policies = Policies::read(args, bundle)?;
    let replayed = Replayed::new(&log, &mut policies, printer)?;
    replayed.check(&log, args)?;
    let draws = replayed.with_reward_model(&log, &mut policies, printer)?;
    printer.end_progress();
    let bootstrap = Bootstrap { resamples: RESAMPLES, ..Bootstrap::default() };
    let estimates = Estimates::of(&draws, args.clip, &bootstrap)
        .map_err(|error| CliError::new(Exit::No, format_args!("no estimate: {error}")).hint(EXPLORE))?;
    let report = Report::new(&log, &replayed, &policies, estimates, args);
    if json {
        printer.json(&report);
    } else {
        report.print(printer);
    }
    if estimates.effective_sample_size < FEW {
        printer.warn(format_args!(
            "the weights leave an effective sample size of {:.0}: the intervals are too narrow",
            estimates.effective_sample_size
        ));
    }
    Ok(())
}

const EXPLORE: &str = "log with `[slate.explore]` in the bundle, over all candidates that the judged bundle may choose";

/// Logs, cut into what is needed of them.
struct Log<'a> {
    /// Requests and decisions, those that came twice left out.
    decisions: Vec<(&'a [u8], DecisionView<'a>, &'a [u8])>,
    /// What followed each decision, by request id and key of the item.
    rewards: BTreeMap<([u8; 16], u64), f64>,
    counts: Counts,
}

/// Records that are no draw, by why.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Counts {
    /// The same request again: a replayed one must not count twice.
    repeated: usize,
    /// The order that came in was kept.
    not_personalized: usize,
    digests: usize,
    outcomes: usize,
    damaged_bytes: usize,
}

impl<'a> Log<'a> {
    fn read(logs: &'a [Vec<u8>], args: &LogArgs, printer: &Printer) -> Self {
        let event = args.event.as_ref().map(|name| key(name.as_bytes()));
        let mut log = Self { decisions: Vec::new(), rewards: BTreeMap::new(), counts: Counts::default() };
        let (mut requests, mut events) = (BTreeSet::new(), BTreeSet::new());
        for stretch in logs.iter().flat_map(|log| stretches(log)) {
            match stretch {
                Stretch::Damage { range, .. } => log.counts.damaged_bytes += range.len(),
                Stretch::Record { record: RecordView::Digest(_), .. } => log.counts.digests += 1,
                Stretch::Record { record: RecordView::Outcome(outcome), .. } => {
                    let Outcome { request_id, item, id, value, .. } = outcome;
                    let is_new = id == 0 || events.insert((request_id, id));
                    if is_new && event.is_none_or(|event| event == outcome.event) {
                        log.counts.outcomes += 1;
                        let reward = log.rewards.entry((request_id, item)).or_default();
                        match args.reward {
                            Reward::Happened => *reward = 1.0,
                            Reward::Value => *reward += f64::from(value),
                        }
                    }
                }
                Stretch::Record { record: RecordView::Full { request, decision }, .. } => {
                    match DecisionView::parse(decision) {
                        Err(_) => log.counts.damaged_bytes += request.len() + decision.len(),
                        Ok(view) if !view.status.is_personalized() => log.counts.not_personalized += 1,
                        Ok(view) if !requests.insert(view.request_id) => log.counts.repeated += 1,
                        Ok(view) => log.decisions.push((request, view, decision)),
                    }
                }
            }
        }
        if log.counts.damaged_bytes > 0 {
            printer.warn(format_args!("{} bytes of the logs are no record; see `replay`", log.counts.damaged_bytes));
        }
        log
    }
}

/// The bundles, each in an engine for each shared state that it is asked with.
struct Policies {
    judged: BundleFile,
    logged: Vec<BundleFile>,
    shared: Vec<SharedFile>,
    engines: BTreeMap<([u8; 32], [u8; 32]), Engine>,
}

/// Candidates and their probabilities.
type Distribution = Vec<(u32, f32)>;

impl Policies {
    fn read(paths: &LogArgs, judged: &Path) -> Result<Self, CliError> {
        Ok(Self {
            judged: BundleFile::read(judged)?,
            logged: paths.logged.iter().map(|path| BundleFile::read(path)).collect::<Result<_, _>>()?,
            shared: paths.shared.iter().map(|path| SharedFile::read(path)).collect::<Result<_, _>>()?,
            engines: BTreeMap::new(),
        })
    }

    /// The engine of a bundle with a shared state, or what is not at hand.
    fn engine(&mut self, bundle: [u8; 32], shared: [u8; 32]) -> Result<&mut Engine, String> {
        let vacant = match self.engines.entry((bundle, shared)) {
            Entry::Occupied(engine) => return Ok(engine.into_mut()),
            Entry::Vacant(vacant) => vacant,
        };
        let file = [&self.judged].into_iter().chain(&self.logged).find(|file| file.id == bundle);
        let file = file.ok_or_else(|| format!("bundle {} (--logged)", short(&bundle)))?;
        let mut engine = Engine::new(Limits::default());
        let load = |engine: &mut Engine, bytes: &[u8]| {
            engine.load(AlignedBytes::copy_of(bytes)).map(drop).map_err(|error| error.to_string())
        };
        load(&mut engine, &file.bytes)?;
        if shared != [0; 32] {
            let file = self.shared.iter().find(|file| file.id == shared);
            let file = file.ok_or_else(|| format!("shared state {} (--shared)", short(&shared)))?;
            load(&mut engine, &file.bytes)?;
        }
        Ok(vacant.insert(engine))
    }
}

/// The slot that a policy draws for: the first that no pin holds.
fn drawn_slot(decision: &DecisionView<'_>) -> Option<usize> {
    decision.rules.iter().position(|rules| rules & rule::PINNED == 0)
}

/// What the last decision drew from; a policy that does not explore has one candidate of probability 1.
fn distribution(engine: &Engine, decision: &DecisionView<'_>) -> Distribution {
    let drawn: Distribution = engine.last_draw().collect();
    match drawn_slot(decision) {
        Some(slot) if drawn.is_empty() => vec![(decision.slots.get(slot), 1.0)],
        _ => drawn,
    }
}

/// The log, decided again by both policies.
#[derive(Default)]
struct Replayed {
    draws: Vec<LoggedDraw>,
    features: usize,
    /// `[draw][feature]` of the drawn candidates.
    rows: Vec<f32>,
    /// Records whose bundle or shared state is not at hand, by what is missing.
    not_at_hand: BTreeMap<String, usize>,
    /// Decisions whose bundle decides them differently now.
    different: Vec<[u8; 16]>,
    /// Requests that the judged bundle keeps in the order that came in.
    not_judged: usize,
    /// Decisions with probability that the log has no support for, and how much that is.
    without_support: Vec<([u8; 16], f64)>,
}

struct LoggedDraw {
    /// Position in [`Log::decisions`].
    decision: usize,
    candidate: u32,
    logged: f32,
    reward: f64,
}

impl Replayed {
    fn new(log: &Log<'_>, policies: &mut Policies, printer: &Printer) -> Result<Self, CliError> {
        let mut replayed = Self::default();
        let judged_id = policies.judged.id;
        for (at, (request, decision, bytes)) in log.decisions.iter().enumerate() {
            printer.progress("deciding again", at as u64, log.decisions.len() as u64);
            let engine = match policies.engine(decision.bundle_id, decision.shared_id) {
                Ok(engine) => engine,
                Err(missing) => {
                    *replayed.not_at_hand.entry(missing).or_default() += 1;
                    continue;
                }
            };
            if engine.decide(request) != *bytes {
                replayed.different.push(decision.request_id);
                continue;
            }
            let Some(slot) = drawn_slot(decision) else {
                replayed.not_judged += 1;
                continue;
            };
            let logged = distribution(engine, decision);
            let judge = policies.engine(judged_id, decision.shared_id).map_err(|error| {
                CliError::new(Exit::Usage, format_args!("the judged bundle cannot be used: {error}"))
            })?;
            let Some(target) = judged(judge, request) else {
                replayed.not_judged += 1;
                continue;
            };
            let lost = unsupported(&target, &logged);
            if lost > 0.0 {
                replayed.without_support.push((decision.request_id, lost));
            }
            let candidate = decision.slots.get(slot);
            let Ok(features) = judge.features(request) else {
                replayed.not_judged += 1;
                continue;
            };
            replayed.features = features.features();
            replayed.rows.extend((0..features.features()).map(|feature| features.column(feature)[candidate as usize]));
            let item = RequestView::parse(request, show::limits()).map(|view| key(view.ids.get(candidate as usize)));
            let reward = item.ok().and_then(|item| log.rewards.get(&(decision.request_id, item)));
            replayed.draws.push(LoggedDraw {
                decision: at,
                candidate,
                logged: decision.propensities.get(slot),
                reward: reward.copied().unwrap_or(0.0),
            });
        }
        Ok(replayed)
    }

    /// Refuses what would make the estimates wrong.
    fn check(&self, log: &Log<'_>, args: &LogArgs) -> Result<(), CliError> {
        if let Some(id) = self.different.first() {
            let message = format!(
                "{} of {} decisions come out differently now, the first is {}: their probabilities are not to be believed",
                self.different.len(),
                log.decisions.len(),
                hex(id)
            );
            return Err(CliError::new(Exit::No, message).hint("`selvedge replay` shows what differs"));
        }
        if !self.not_at_hand.is_empty() {
            let list: Vec<String> = self.not_at_hand.iter().map(|(what, count)| format!("{what}: {count}")).collect();
            let message = format!("records were decided with what is not at hand: {}", list.join(", "));
            return Err(CliError::new(Exit::Usage, message).hint("name the files with --logged and --shared"));
        }
        if let Some((id, lost)) = self.without_support.first() {
            let message = format!(
                "the log does not support an estimate: in {} of {} decisions the judged bundle may show what the logged one could not, in {} with probability {lost:.3}",
                self.without_support.len(),
                self.draws.len(),
                hex(id)
            );
            return Err(CliError::new(Exit::No, message).hint(EXPLORE));
        }
        if self.draws.is_empty() {
            let message = format!("no decision of the log can be judged ({} digests)", log.counts.digests);
            return Err(CliError::new(Exit::Usage, message)
                .hint("digests have no request to decide again: raise the share of full records (`log.share`)"));
        }
        if self.draws.iter().all(|draw| draw.reward == 0.0) {
            let event = args.event.as_ref().map_or_else(String::new, |event| format!(" of the event `{event}`"));
            let message = format!("none of {} outcomes{event} is about a drawn item", log.counts.outcomes);
            return Err(CliError::new(Exit::Usage, message)
                .hint("outcomes carry the request id of the decision and the id of the item in its first free slot"));
        }
        Ok(())
    }

    /// Adds what a reward model expects, learned from the same draws across folds.
    fn with_reward_model(
        &self,
        log: &Log<'_>,
        policies: &mut Policies,
        printer: &Printer,
    ) -> Result<Vec<Draw>, CliError> {
        let failed = |error| CliError::new(Exit::No, format_args!("no reward model: {error}"));
        let rewards: Vec<f32> = self.draws.iter().map(|draw| draw.reward as f32).collect();
        let model = RewardModel::learn(self.features, &self.rows, &rewards).map_err(failed)?;
        let judged_id = policies.judged.id;
        let mut rows = Vec::new();
        let mut draws = Vec::with_capacity(self.draws.len());
        for (at, drawn) in self.draws.iter().enumerate() {
            printer.progress("expecting rewards", at as u64, self.draws.len() as u64);
            let (request, decision, _) = &log.decisions[drawn.decision];
            // It judged this request before.
            let Ok(judge) = policies.engine(judged_id, decision.shared_id) else { continue };
            let Some(target) = judged(judge, request) else { continue };
            let Ok(features) = judge.features(request) else { continue };
            rows.clear();
            for candidate in [drawn.candidate].into_iter().chain(target.iter().map(|(candidate, _)| *candidate)) {
                rows.extend((0..self.features).map(|feature| features.column(feature)[candidate as usize]));
            }
            let expected: Vec<f64> = model.predict(at, &rows).map_err(failed)?.into_iter().map(f64::from).collect();
            let probability = target.iter().find(|(candidate, _)| *candidate == drawn.candidate);
            let terms = target
                .iter()
                .zip(&expected[1..])
                .map(|((_, probability), expected)| f64::from(*probability) * expected);
            draws.push(Draw {
                reward: drawn.reward,
                logged: f64::from(drawn.logged),
                target: probability.map_or(0.0, |(_, probability)| f64::from(*probability)),
                predicted: expected[0],
                expected: terms.sum(),
            });
        }
        Ok(draws)
    }
}

/// What the judged bundle would draw from; none where it does not personalize.
fn judged(engine: &mut Engine, request: &[u8]) -> Option<Distribution> {
    let bytes = engine.decide(request).to_vec();
    let decision = DecisionView::parse(&bytes).ok()?;
    let is_drawn = decision.status.is_personalized() && drawn_slot(&decision).is_some();
    is_drawn.then(|| distribution(engine, &decision))
}

/// What came out.
#[derive(Debug, Serialize)]
struct Report {
    bundle_id: String,
    draws: usize,
    rewarded: usize,
    not_judged: usize,
    passed_over: Counts,
    clip: f64,
    /// By estimator.
    estimates: Vec<Estimate>,
    effective_sample_size: f64,
    largest_weight: f64,
    mean_weight: f64,
}

#[derive(Debug, Serialize)]
struct Estimate {
    estimator: &'static str,
    mean: f64,
    low: f64,
    high: f64,
}

impl Report {
    fn new(log: &Log<'_>, replayed: &Replayed, policies: &Policies, of: Estimates, args: &LogArgs) -> Self {
        let estimate = |(estimator, Interval { mean, low, high })| Estimate { estimator, mean, low, high };
        let list = [
            ("logged", of.logged),
            ("ips", of.ips),
            ("clipped_ips", of.clipped_ips),
            ("snips", of.snips),
            ("direct", of.direct),
            ("doubly_robust", of.doubly_robust),
        ];
        Self {
            bundle_id: hex(&policies.judged.id),
            draws: replayed.draws.len(),
            rewarded: replayed.draws.iter().filter(|draw| draw.reward != 0.0).count(),
            not_judged: replayed.not_judged,
            passed_over: log.counts,
            clip: args.clip,
            estimates: list.into_iter().map(estimate).collect(),
            effective_sample_size: of.effective_sample_size,
            largest_weight: of.largest_weight,
            mean_weight: of.mean_weight,
        }
    }

    fn print(&self, printer: &Printer) {
        let Self { draws, rewarded, passed_over: Counts { repeated, not_personalized, digests, .. }, .. } = self;
        printer.data(format_args!("{draws} draws, {rewarded} of them rewarded; bundle {}", &self.bundle_id[..12]));
        printer.data(format_args!(
            "passed over: {digests} digests, {not_personalized} decisions not personalized, {repeated} requests that came again\n"
        ));
        let mut table =
            Table::new([("estimator", Side::Left), ("reward per decision", Side::Right), ("95 %", Side::Left)]);
        for Estimate { estimator, mean, low, high } in &self.estimates {
            let name = match *estimator {
                "logged" => "as logged".to_owned(),
                "ips" => "IPS".to_owned(),
                "clipped_ips" => format!("IPS, weights to {}", self.clip),
                "snips" => "SNIPS".to_owned(),
                "direct" => "direct method".to_owned(),
                _ => "doubly robust".to_owned(),
            };
            table.row([name, format!("{mean:.5}"), format!("[{low:.5}, {high:.5}]")]);
        }
        printer.data(format_args!("{table}"));
        printer.data(format_args!(
            "\neffective sample size {:.0} of {draws}; weights: mean {:.3}, largest {:.1}",
            self.effective_sample_size, self.mean_weight, self.largest_weight
        ));
        printer.say("intervals: 95 %, by bootstrap over decisions");
    }
}
