//! From the text of `model.toml` to a [`ModelSpec`].

use super::{
    AtMost, Diversity, Exclude, Explore, ExploreKind, Learner, LinearTraining, ModelOutput, ModelSpec, Quantise,
    SimilarityTerm, SlateSpec, StageSpec, TreeTraining,
};
use crate::document;
use crate::error::{ProblemKind, Problems, Source, SpecError};
use crate::reader::{FRACTION, NON_NEGATIVE, POSITIVE, Table, UNIT, Value, all};
use crate::vocabulary::{LearnerKind, Objective};

/// The largest slate, and so the largest limit within one.
const MAX_SLATE: u16 = 1_000;
const DEFAULT_SLATE: u16 = 20;
/// Stages before the model.
const MAX_STAGES: usize = 3;
/// Candidates that an engine ranks, and so the most that a stage keeps.
const MAX_KEEP: u32 = 2_000;
/// A loss that nobody measures in production.
const MAX_LOSS: f64 = 0.001;
/// More classes than any library's model should rank by.
const MAX_CLASSES: u32 = 1_024;
/// Fields that may make two items alike.
const MAX_SIMILARITY_TERMS: usize = 8;

impl ModelSpec {
    /// Reads the text of a `model.toml`; `name` is what messages call it.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the text.
    ///
    /// ```
    /// use selvedge_spec::{Learner, ModelSpec};
    /// let model = ModelSpec::parse("model.toml", r#"
    ///     version = 1
    ///     [model]
    ///     name = "flyer"
    ///     kind = "trees"
    ///     objective = "lambdarank"
    ///     features = "features.toml"
    ///     [train]
    ///     rounds = 120
    /// "#)?;
    /// assert!(matches!(&model.learner, Learner::Trees(training) if training.rounds == 120));
    /// # Ok::<(), selvedge_spec::SpecError>(())
    /// ```
    pub fn parse(name: &str, text: &str) -> Result<Self, SpecError> {
        let source = Source::new(name, text);
        document::parse(source.clone(), |root, problems| read(root, problems, source))
    }
}

fn read(root: Table<'_>, problems: &Problems, source: Source) -> Option<ModelSpec> {
    document::version(&root);
    let model = root.required_section("model");
    let train = root.section("train");
    let slate = root.section("slate");
    let stages = root.optional_or("stage", Vec::new(), stages);
    let quantise = root.section("quantise").map(quantise);
    root.finish();
    let identity = model.and_then(identity);
    let learner = match (&identity, train) {
        (Some(identity), Some(train)) => learner(identity.kind, train),
        (Some(identity), None) => Some(identity.kind.defaults()),
        (None, _) => None,
    };
    let slate = slate.map_or_else(|| Some(SlateSpec::default()), |table| read_slate(table, problems));
    let Identity { name, objective, features, output, .. } = identity?;
    let quantise = quantise.map_or(Some(None), |read| read.map(Some))?;
    let (learner, stages, slate) = (learner?, stages?, slate?);
    Some(ModelSpec { name, features, objective, learner, output, stages, slate, quantise, source })
}

/// What `[model]` says.
struct Identity {
    name: String,
    kind: LearnerKind,
    objective: Objective,
    features: String,
    output: Option<ModelOutput>,
}

fn identity(table: Table<'_>) -> Option<Identity> {
    let name = table.required("name").and_then(Value::name);
    let kind = table.required("kind").and_then(Value::word);
    let objective = table.required("objective").and_then(Value::word);
    let features = table.required("features").and_then(Value::text);
    let output = output(&table);
    table.finish();
    let features = features?.to_owned();
    Some(Identity { name: name?.text, kind: kind?, objective: objective?, features, output: output? })
}

fn output(table: &Table<'_>) -> Option<Option<ModelOutput>> {
    table.optional_or("output", None, |value| value.output().map(Some))
}

impl Value<'_> {
    /// `class:2`.
    fn output(self) -> Option<ModelOutput> {
        let text = self.text()?;
        let class =
            text.strip_prefix("class:").and_then(|class| class.parse().ok()).filter(|class| *class < MAX_CLASSES);
        if let Some(class) = class {
            return Some(ModelOutput::Class(class));
        }
        let help = if text.starts_with("probability") {
            "a probability needs the scores of all classes, and a bundle has one score: write `class:2` to rank by the raw \
             score of class 2"
        } else {
            "write `class:2` to rank by the raw score of class 2, counted from 0"
        };
        self.unknown(ProblemKind::UnknownValue, "output", text, help.to_owned())
    }
}

impl LearnerKind {
    fn defaults(self) -> Learner {
        match self {
            Self::Trees => Learner::Trees(TreeTraining::default()),
            Self::Linear => Learner::Linear(LinearTraining::default()),
            Self::Graph => Learner::Graph,
        }
    }
}

fn learner(kind: LearnerKind, table: Table<'_>) -> Option<Learner> {
    let learner = match kind {
        LearnerKind::Trees => trees(&table).map(Learner::Trees),
        LearnerKind::Linear => linear(&table).map(Learner::Linear),
        // Nothing is trained here, so no key says how.
        LearnerKind::Graph => Some(Learner::Graph),
    };
    table.finish();
    learner
}

fn trees(table: &Table<'_>) -> Option<TreeTraining> {
    let default = TreeTraining::default();
    let number = |key, default, bounds| table.optional_or(key, default, |value| value.number(bounds));
    let rounds = table.optional_or("rounds", default.rounds, |value| value.integer(1..=2_000));
    let max_depth = table.optional_or("max_depth", default.max_depth, |value| value.integer(1..=12));
    let eta = number("eta", default.eta, FRACTION);
    let min_child_weight = number("min_child_weight", default.min_child_weight, NON_NEGATIVE);
    let gamma = number("gamma", default.gamma, NON_NEGATIVE);
    let lambda = number("lambda", default.lambda, NON_NEGATIVE);
    let alpha = number("alpha", default.alpha, NON_NEGATIVE);
    let subsample = number("subsample", default.subsample, FRACTION);
    let colsample = number("colsample", default.colsample, FRACTION);
    let colsample_node = number("colsample_node", default.colsample_node, FRACTION);
    let max_bin = table.optional_or("max_bin", default.max_bin, |value| value.integer(2..=1_024));
    let pairs = table.optional_or("pairs", default.pairs, |value| value.integer(1..=1_000));
    let negatives = table.optional_or("negatives", default.negatives, |value| value.number(FRACTION));
    let seed = table.optional_or("seed", default.seed, |value| value.integer(0..=u64::MAX));
    Some(TreeTraining {
        rounds: rounds?,
        max_depth: max_depth?,
        eta: eta?,
        min_child_weight: min_child_weight?,
        gamma: gamma?,
        lambda: lambda?,
        alpha: alpha?,
        subsample: subsample?,
        colsample: colsample?,
        colsample_node: colsample_node?,
        max_bin: max_bin?,
        pairs: pairs?,
        negatives: negatives?,
        seed: seed?,
    })
}

fn linear(table: &Table<'_>) -> Option<LinearTraining> {
    let default = LinearTraining::default();
    let rounds = table.optional_or("rounds", default.rounds, |value| value.integer(1..=10_000));
    let eta = table.optional_or("eta", default.eta, |value| value.number(FRACTION));
    let lambda = table.optional_or("lambda", default.lambda, |value| value.number(NON_NEGATIVE));
    let negatives = table.optional_or("negatives", default.negatives, |value| value.number(FRACTION));
    let seed = table.optional_or("seed", default.seed, |value| value.integer(0..=u64::MAX));
    Some(LinearTraining { rounds: rounds?, eta: eta?, lambda: lambda?, negatives: negatives?, seed: seed? })
}

fn stages(value: Value<'_>) -> Option<Vec<StageSpec>> {
    let mut most = MAX_KEEP;
    all(value.list_of(1..=MAX_STAGES)?.into_iter().map(|stage| {
        let table = stage.table("[[stage]]".to_owned())?;
        let trained = table.required("trained").and_then(Value::text);
        let output = output(&table);
        let keep = table.required("keep").and_then(|value| value.integer(1..=most));
        table.finish();
        // The next stage cannot keep more than it is given.
        most = keep.unwrap_or(most);
        Some(StageSpec { trained: trained?.to_owned(), output: output?, keep: keep? })
    }))
}

fn quantise(table: Table<'_>) -> Option<Quantise> {
    let weights = table.required("weights").and_then(Value::word);
    let max_loss = table.optional_or("max_loss", MAX_LOSS, |value| value.number(UNIT));
    table.finish();
    Some(Quantise { weights: weights?, max_loss: max_loss? })
}

fn read_slate(table: Table<'_>, problems: &Problems) -> Option<SlateSpec> {
    let size = table.optional_or("size", DEFAULT_SLATE, |value| value.integer(1..=MAX_SLATE));
    let at_most = all(table.sections("at_most", "[[slate.at_most]]").into_iter().map(at_most));
    let exclude = all(table.sections("exclude", "[[slate.exclude]]").into_iter().map(exclude));
    let diversity = table.section("diversity").map(|table| diversity(table, problems));
    let explore = table.section("explore").map(explore);
    table.finish();
    Some(SlateSpec {
        size: size?,
        at_most: at_most?,
        exclude: exclude?,
        diversity: diversity.map_or(Some(None), |read| read.map(Some))?,
        explore: explore.map_or(Some(None), |read| read.map(Some))?,
    })
}

fn at_most(table: Table<'_>) -> Option<AtMost> {
    let field = table.required("field").and_then(Value::name);
    let max = table.required("max").and_then(|value| value.integer(1..=MAX_SLATE));
    let window = table.optional("window");
    let places = window.map_or(Some(0), |value| value.integer(0..=MAX_SLATE));
    table.finish();
    let (field, max, places) = (field?, max?, places?);
    if let Some(value) = window
        && (1..=max).contains(&places)
    {
        return value
            .out_of_range(format_args!("0 for the whole slate, or above `max`: {max} of any {places} is no limit"));
    }
    Some(AtMost { field: field.text, max, window: places, span: field.span })
}

fn exclude(table: Table<'_>) -> Option<Exclude> {
    let field = table.required("field").and_then(Value::name);
    let value = table.required("value").and_then(Value::present_text);
    table.finish();
    let field = field?;
    Some(Exclude { field: field.text, value: value?.to_owned(), span: field.span })
}

fn diversity(table: Table<'_>, problems: &Problems) -> Option<Diversity> {
    let lambda = table.required("lambda").and_then(|value| value.single(UNIT));
    let similarity = table.required("similarity").and_then(|value| similarity(value, problems));
    table.finish();
    Some(Diversity { lambda: lambda?, similarity: similarity? })
}

fn explore(table: Table<'_>) -> Option<Explore> {
    let kind = match (table.optional("epsilon"), table.optional("temperature")) {
        (Some(_), Some(temperature)) => {
            temperature.out_of_range("absent beside `epsilon`: a place is drawn in one way")
        }
        (None, Some(temperature)) => temperature.single(POSITIVE).map(ExploreKind::Temperature),
        // Neither is there: the report asks for the usual one.
        _ => table.required("epsilon").and_then(|epsilon| epsilon.single(FRACTION)).map(ExploreKind::Epsilon),
    };
    let seed = table.optional_or("seed", 0, |value| value.integer(0..=u64::MAX));
    table.finish();
    Some(Explore { kind: kind?, seed: seed? })
}

fn similarity(value: Value<'_>, problems: &Problems) -> Option<Vec<SimilarityTerm>> {
    let terms = value.table("`similarity`".to_owned())?.named();
    if !(1..=MAX_SIMILARITY_TERMS).contains(&terms.len()) {
        return value.out_of_range(format_args!("a table of 1 to {MAX_SIMILARITY_TERMS} fields with their weights"));
    }
    all(terms.into_iter().map(|(name, weight)| {
        name.check(problems);
        Some(SimilarityTerm { weight: weight.single(POSITIVE)?, field: name.text, span: name.span })
    }))
}

/// XGBoost's own, but for `rounds`, which it has none for, and `eta`, which is its usual choice with that many.
impl Default for TreeTraining {
    fn default() -> Self {
        Self {
            rounds: 200,
            max_depth: 6,
            eta: 0.1,
            min_child_weight: 1.0,
            gamma: 0.0,
            lambda: 1.0,
            alpha: 0.0,
            subsample: 1.0,
            colsample: 1.0,
            colsample_node: 1.0,
            max_bin: 256,
            pairs: 32,
            negatives: 1.0,
            seed: 0,
        }
    }
}

impl Default for LinearTraining {
    fn default() -> Self {
        Self { rounds: 200, eta: 0.1, lambda: 1e-4, negatives: 1.0, seed: 0 }
    }
}

impl Default for SlateSpec {
    fn default() -> Self {
        Self { size: DEFAULT_SLATE, at_most: Vec::new(), exclude: Vec::new(), diversity: None, explore: None }
    }
}
