//! What is in a container, for people and for scripts.
//!
//! Everything is validated on the way, the SHA-256 included, so what is shown is what an engine would load. Names come
//! from the optional section of names; without it, identities are shown as hexadecimal numbers.

mod graph;
mod offers;
mod text;

use selvedge_format::campaign::CampaignsV1;
use selvedge_format::container::{Container, HEADER_LEN, Kind, MAGIC, verify_id};
use selvedge_format::explore::{ExploreKindV1, ExploreV1};
use selvedge_format::graph::Graph;
use selvedge_format::meta::MetaV1;
use selvedge_format::model::{
    Finish, LEAF, LinearWeights, Link, ModelKindV1, ModelV1, ModelsV1, StageV1, TreeNodes, WEIGHTS_TAG,
};
use selvedge_format::policy::PolicyV1;
use selvedge_format::program::{By, ColumnV1, Decay, FieldType, Measure, ProgramV1, Scope, TableV1, TransformV1};
use selvedge_format::shared::SharedState;
use selvedge_format::terms::TermsV1;
use selvedge_format::{AlignedBytes, DecodeError, campaign, explore, key, meta, model, policy, program, terms};
use serde::Serialize;

use crate::bundle::{self, SectionSize};
use crate::cost::{self, CostInspection};
use crate::error::{CompileError, CompileErrorKind};
use crate::lower::kind_name;

pub use offers::{ArmInspection, BudgetInspection, CampaignInspection};

pub(crate) use graph::step_text;
pub use graph::{GraphInspection, StepInspection};

/// Contents of a container. [`Display`](std::fmt::Display) shows it to people, serde to scripts.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Inspection {
    /// A bundle.
    Bundle(Box<BundleInspection>),
    /// A shared state.
    SharedState(SharedInspection),
}

/// Contents of a bundle.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BundleInspection {
    /// SHA-256 of the content, in hexadecimal.
    pub id: String,
    /// Size in bytes.
    pub bytes: usize,
    /// Name of the model, if the bundle has names.
    pub name: Option<String>,
    /// What wrote it, if the bundle has names.
    pub producer: Option<String>,
    /// Declared seconds between refreshes of the shared state, if the bundle has names.
    pub shared_refresh_s: Option<u32>,
    /// Its sections, in order.
    pub sections: Vec<SectionSize>,
    /// Fields that a request may carry.
    pub fields: Vec<FieldInspection>,
    /// Length of the recent-event history.
    pub history_events: u16,
    /// Counters kept per user.
    pub user_tables: Vec<TableInspection>,
    /// Counters over all users.
    pub global_tables: Vec<TableInspection>,
    /// Features, in the order of the model's inputs.
    pub features: Vec<FeatureInspection>,
    /// The models.
    pub models: Vec<ModelInspection>,
    /// The stages that rank, in order.
    pub stages: Vec<StageInspection>,
    /// What a decision costs.
    pub cost: CostInspection,
    /// From scores to slate.
    pub policy: PolicyInspection,
    /// What campaigns spend from; none without campaigns.
    pub budgets: Vec<BudgetInspection>,
    /// Campaigns, in the order in which they are tried.
    pub campaigns: Vec<CampaignInspection>,
}

/// A field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldInspection {
    /// `scope.name`, or the identity.
    pub name: String,
    /// Its identity, in hexadecimal.
    pub id: String,
    /// `item`, `user`, `context`; none in a shared state, where all are of the item.
    pub scope: Option<&'static str>,
    /// `number`, `string`, `tokens`, `time`.
    #[serde(rename = "type")]
    pub ty: &'static str,
}

/// A counter table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableInspection {
    /// Its identity, in hexadecimal.
    pub id: String,
    /// Name of the event, or its key.
    pub event: String,
    /// `all`, `item` or the name of a field.
    pub by: String,
    /// Most keys per device; none in a global table.
    pub capacity: Option<u16>,
    /// Its counters, such as `count, half-life 30d`; the first decides eviction.
    pub columns: Vec<String>,
}

/// A feature.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FeatureInspection {
    /// Its name, or `#` and its position.
    pub name: String,
    /// The kind of extractor, as declared.
    pub kind: String,
    /// What it means; may be empty.
    pub doc: String,
    /// Value when missing; none is NaN, which leaves it to the model.
    pub default: Option<f32>,
    /// Transforms, in order.
    pub transforms: Vec<String>,
}

/// A stage of the ranking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StageInspection {
    /// Position of its model.
    pub model: u16,
    /// How many of the best candidates go on to the next stage; none in the last.
    pub keep: Option<u32>,
}

/// A model.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ModelInspection {
    /// A weighted sum.
    Linear {
        /// The constant term.
        bias: f32,
        /// `identity` or `logistic`.
        link: &'static str,
        /// The features with a weight, the largest first.
        weights: Vec<WeightInspection>,
    },
    /// A sum of regression trees.
    Trees {
        /// What the sum of leaves is added to.
        base: f64,
        /// Precision of the leaves and of their sum: `f32` or `f64`.
        leaf: &'static str,
        /// What the sum is divided by: the number of trees where they are averaged, else 1.
        divisor: f64,
        /// Factor of the sum.
        scale: f64,
        /// `identity` or `logistic`.
        link: &'static str,
        /// Number of trees.
        trees: usize,
        /// Number of leaves, of all trees.
        leaves: usize,
        /// Leaves of the largest tree.
        most_leaves: usize,
        /// Levels of inner nodes of the deepest tree.
        depth: usize,
        /// The features that are split on, the most frequent first.
        splits: Vec<SplitInspection>,
    },
    /// A tensor program. It has no contributions: a layer mixes its inputs.
    Graph(GraphInspection),
}

/// A feature's part in a linear model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WeightInspection {
    /// Name of the feature.
    pub feature: String,
    /// Its weight.
    pub weight: f32,
    /// Stands for a missing value.
    pub centre: f32,
}

/// A feature's part in an ensemble.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SplitInspection {
    /// Name of the feature.
    pub feature: String,
    /// Number of splits on it.
    pub splits: usize,
}

/// A slate policy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyInspection {
    /// Slots in a slate when the request does not say.
    pub slate_size: u32,
    /// Its rules, in words.
    pub rules: Vec<String>,
}

/// Contents of a shared state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SharedInspection {
    /// SHA-256 of the content, in hexadecimal.
    pub id: String,
    /// Size in bytes.
    pub bytes: usize,
    /// Time of the refresh, milliseconds since 1970-01-01 UTC.
    pub as_of_ms: i64,
    /// Number of items.
    pub items: u32,
    /// Fields of the items. A shared state has identities and no names.
    pub fields: Vec<FieldInspection>,
    /// Counter tables.
    pub tables: Vec<SharedTableInspection>,
}

/// A counter table of a shared state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SharedTableInspection {
    /// Its identity, in hexadecimal.
    pub id: String,
    /// Number of keys.
    pub rows: u32,
    /// How its counters forget.
    pub columns: Vec<String>,
}

/// Shows what `bytes`, a bundle or a shared state, hold.
///
/// # Errors
/// The bytes are neither, or are damaged.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, CompileError> {
    let is_container = bytes.starts_with(&MAGIC) && bytes.len() >= HEADER_LEN;
    if !is_container {
        let help = "give a file that `selvedge compile` or `selvedge train` wrote";
        return Err(CompileError::new(
            CompileErrorKind::BadContainer,
            "",
            "these bytes are no bundle and no shared state",
            help,
        ));
    }
    // The kind decides only which reader is asked; each checks it again.
    let inspection = if bytes[10..12] == (Kind::SharedState as u16).to_le_bytes() {
        shared(bytes).map(Inspection::SharedState)
    } else {
        bundle(bytes).map(|bundle| Inspection::Bundle(Box::new(bundle)))
    };
    inspection.map_err(|error| {
        let help = "the file is damaged or of another version: fetch or compile it again";
        CompileError::new(CompileErrorKind::BadContainer, "", error.to_string(), help)
    })
}

fn bundle(bytes: &[u8]) -> Result<BundleInspection, DecodeError> {
    let container = Container::parse(bytes, Kind::Bundle)?;
    let id = hex(&verify_id(bytes)?);
    let section =
        |tag, version, place| container.require(tag, version, place).map(|section| &bytes[section.range.clone()]);
    let program = ProgramV1::decode(section(program::TAG, program::VERSION, "feature program")?)?;
    let policy = PolicyV1::decode(section(policy::TAG, policy::VERSION, "slate policy")?, &program)?;
    let explore = match container.find(explore::TAG) {
        Some(_) => Some(ExploreV1::decode(section(explore::TAG, explore::VERSION, "exploration")?)?),
        None => None,
    };
    let declared = ModelsV1::decode(section(model::TAG, model::VERSION, "model directory")?)?;
    let names = match container.find(meta::TAG) {
        Some(_) => Some(MetaV1::decode(section(meta::TAG, meta::VERSION, "names")?)?),
        None => None,
    };
    let names = Names { program: &program, meta: names.as_ref() };
    let tables = |tables: &[TableV1], is_user: bool| tables.iter().map(|table| names.table(table, is_user)).collect();
    let models = declared.models.iter().zip(0..).map(|(declared, index)| {
        let weights = section(WEIGHTS_TAG + index, model::WEIGHTS_VERSION, "model weights")?;
        names.model(declared, weights)
    });
    let terms = match container.find(terms::TAG) {
        Some(_) => Some(TermsV1::decode(section(terms::TAG, terms::VERSION, "terms")?)?),
        None => None,
    };
    let (budgets, campaigns) = match container.find(campaign::TAG) {
        Some(_) => {
            let section = section(campaign::TAG, campaign::VERSION, "campaigns")?;
            let campaigns = CampaignsV1::decode(section, &program, &declared)?;
            (offers::budgets(&campaigns, terms.as_ref()), offers::campaigns(&names, &campaigns, terms.as_ref()))
        }
        None => (Vec::new(), Vec::new()),
    };
    Ok(BundleInspection {
        id,
        bytes: bytes.len(),
        name: names.meta.map(|meta| meta.name.clone()),
        producer: names.meta.map(|meta| meta.producer.clone()),
        shared_refresh_s: names.meta.map(|meta| meta.shared_refresh_s),
        sections: bundle::sections(&container),
        fields: (0..program.fields.len()).map(|at| names.field_inspection(at)).collect(),
        history_events: program.history_events,
        user_tables: tables(&program.user_tables, true),
        global_tables: tables(&program.global_tables, false),
        features: (0..program.features.len()).map(|at| names.feature_inspection(at)).collect(),
        models: models.collect::<Result<_, DecodeError>>()?,
        stages: declared.stages.iter().map(stage).collect(),
        cost: cost::inspect(bytes, &declared, |model| {
            section(WEIGHTS_TAG + u32::from(model), model::WEIGHTS_VERSION, "model weights")
        })?,
        policy: names.policy(&policy, explore),
        budgets,
        campaigns,
    })
}

fn stage(stage: &StageV1) -> StageInspection {
    StageInspection { model: stage.model, keep: Some(stage.keep).filter(|keep| *keep > 0) }
}

fn shared(bytes: &[u8]) -> Result<SharedInspection, DecodeError> {
    let id = hex(&verify_id(bytes)?);
    let state = SharedState::load(AlignedBytes::copy_of(bytes))?;
    let meta = state.meta();
    let field = |(id, ty): &(u64, FieldType)| {
        let id = format!("{id:016x}");
        FieldInspection { name: id.clone(), id, scope: None, ty: type_name(*ty) }
    };
    let tables = meta.tables.iter().map(|table| SharedTableInspection {
        id: format!("{:016x}", table.id),
        rows: table.rows,
        columns: table.columns.iter().map(|(_, decay)| decay_text(*decay)).collect(),
    });
    Ok(SharedInspection {
        id,
        bytes: bytes.len(),
        as_of_ms: meta.as_of_ms,
        items: meta.items,
        fields: meta.fields.iter().map(field).collect(),
        tables: tables.collect(),
    })
}

/// Turns positions and keys back into names.
struct Names<'a> {
    program: &'a ProgramV1,
    meta: Option<&'a MetaV1>,
}

impl Names<'_> {
    fn field(&self, position: usize) -> String {
        let id = self.program.fields[position].id;
        // A name that does not hash to the identity is not this field's.
        let name = self.meta.and_then(|meta| meta.fields.get(position)).filter(|name| key(name.as_bytes()) == id);
        name.cloned().unwrap_or_else(|| format!("{id:016x}"))
    }

    fn feature(&self, position: usize) -> String {
        let name = self.meta.and_then(|meta| meta.features.get(position)).map(|feature| feature.name.clone());
        name.unwrap_or_else(|| format!("#{position}"))
    }

    fn event(&self, event: u64) -> String {
        let mut events = self.meta.into_iter().flat_map(|meta| &meta.events);
        let name = events.find(|name| key(name.as_bytes()) == event);
        name.cloned().unwrap_or_else(|| format!("{event:016x}"))
    }

    fn field_inspection(&self, position: usize) -> FieldInspection {
        let field = self.program.fields[position];
        let scope = match field.scope {
            Scope::Item => "item",
            Scope::User => "user",
            Scope::Context => "context",
        };
        let id = format!("{:016x}", field.id);
        FieldInspection { name: self.field(position), id, scope: Some(scope), ty: type_name(field.ty) }
    }

    fn feature_inspection(&self, position: usize) -> FeatureInspection {
        let feature = &self.program.features[position];
        let doc = self.meta.and_then(|meta| meta.features.get(position)).map(|feature| feature.doc.clone());
        FeatureInspection {
            name: self.feature(position),
            kind: kind_name(&feature.op, self.program).to_owned(),
            doc: doc.unwrap_or_default(),
            default: Some(feature.default).filter(|default| !default.is_nan()),
            transforms: feature.transforms.iter().map(transform_text).collect(),
        }
    }

    fn table(&self, table: &TableV1, is_user: bool) -> TableInspection {
        TableInspection {
            id: format!("{:016x}", table.id),
            event: self.event(table.event),
            by: match table.by {
                By::All => "all".to_owned(),
                By::Item => "item".to_owned(),
                By::Field(field) => self.field(field.into()),
            },
            capacity: is_user.then_some(table.capacity),
            columns: table.columns.iter().map(column_text).collect(),
        }
    }

    fn model(&self, declared: &ModelV1, weights: &[u8]) -> Result<ModelInspection, DecodeError> {
        let features = self.program.features.len();
        let link = match declared.link {
            Link::Identity => "identity",
            Link::Logistic => "logistic",
        };
        Ok(match declared.kind {
            ModelKindV1::Linear { bias } => {
                let weights = self.weights(LinearWeights::parse(weights, features)?);
                ModelInspection::Linear { bias, link, weights }
            }
            ModelKindV1::Trees { base } => {
                let finish = Finish { divisor: 1.0, scale: 1.0, bias: base.into() };
                self.trees("f32", finish, link, &TreeNodes::parse(weights, features)?)
            }
            ModelKindV1::DoubleTrees(finish) => {
                self.trees("f64", finish, link, &TreeNodes::parse_double(weights, features)?)
            }
            ModelKindV1::Graph => graph::inspect(&Graph::parse(weights, features)?),
        })
    }

    fn weights(&self, parsed: LinearWeights<'_>) -> Vec<WeightInspection> {
        let entries = parsed.weight.iter().zip(parsed.centre.iter()).enumerate();
        let mut weights: Vec<_> = entries
            .filter(|(_, (weight, _))| *weight != 0.0)
            .map(|(at, (weight, centre))| WeightInspection { feature: self.feature(at), weight, centre })
            .collect();
        weights.sort_by(|a, b| b.weight.abs().total_cmp(&a.weight.abs()));
        weights
    }

    fn trees(&self, leaf: &'static str, finish: Finish, link: &'static str, parsed: &TreeNodes<'_>) -> ModelInspection {
        let mut counts = vec![0; self.program.features.len()];
        for feature in parsed.feature.iter().filter(|feature| *feature != LEAF) {
            counts[usize::from(feature)] += 1;
        }
        let named = counts.iter().enumerate().filter(|(_, count)| **count > 0);
        let mut splits: Vec<_> =
            named.map(|(at, count)| SplitInspection { feature: self.feature(at), splits: *count }).collect();
        splits.sort_by_key(|entry| std::cmp::Reverse(entry.splits));
        let leaves = |nodes: u32| nodes as usize / 2 + 1;
        ModelInspection::Trees {
            base: finish.bias,
            leaf,
            divisor: finish.divisor,
            scale: finish.scale,
            link,
            trees: parsed.tree_nodes.len(),
            leaves: parsed.tree_nodes.iter().map(leaves).sum(),
            most_leaves: parsed.tree_nodes.iter().map(leaves).max().unwrap_or(0),
            depth: depth(parsed),
            splits,
        }
    }

    fn policy(&self, policy: &PolicyV1, explore: Option<ExploreV1>) -> PolicyInspection {
        let mut rules = Vec::new();
        for rule in &policy.exclude {
            rules.push(format!("exclude {} = key {:016x}", self.field(rule.field.into()), rule.value));
        }
        for rule in &policy.at_most {
            let field = self.field(rule.field.into());
            rules.push(match rule.window {
                0 => format!("at most {} with equal {field}", rule.count),
                window => format!("at most {} with equal {field} in any {window} slots", rule.count),
            });
        }
        if let Some(diversity) = &policy.diversity {
            let terms =
                diversity.fields.iter().map(|(field, weight)| format!("{weight} {}", self.field((*field).into())));
            let terms = terms.collect::<Vec<_>>().join(" + ");
            rules.push(format!("diversity: relevance {}, likeness {terms}", diversity.lambda));
        }
        if let Some(ExploreV1 { kind, seed }) = explore {
            let kind = match kind {
                ExploreKindV1::EpsilonGreedy { epsilon } => format!("epsilon {epsilon}"),
                ExploreKindV1::Softmax { temperature } => format!("softmax, temperature {temperature}"),
            };
            rules.push(format!("explore in the first free slot: {kind}, seed {seed}"));
        }
        PolicyInspection { slate_size: policy.slate_size, rules }
    }
}

/// Levels of inner nodes of the deepest tree.
fn depth(parsed: &TreeNodes<'_>) -> usize {
    let (mut deepest, mut start) = (0, 0);
    for nodes in parsed.tree_nodes.iter().map(|nodes| nodes as usize) {
        // Breadth-first: a level ends where the children of the level before it end.
        let (mut inner, mut level_end, mut depth) = (0, 1, 0);
        for at in 0..nodes {
            if at == level_end {
                (level_end, depth) = (2 * inner + 1, depth + 1);
            }
            inner += usize::from(parsed.feature.get(start + at) != LEAF);
        }
        (deepest, start) = (deepest.max(depth), start + nodes);
    }
    deepest
}

const fn type_name(ty: FieldType) -> &'static str {
    match ty {
        FieldType::Number => "number",
        FieldType::String => "string",
        FieldType::Tokens => "tokens",
        FieldType::Time => "time",
    }
}

fn column_text(column: &ColumnV1) -> String {
    let measure = match column.measure {
        Measure::Count => "count",
        Measure::Value => "value",
    };
    format!("{measure}, {}", decay_text(column.decay))
}

fn decay_text(decay: Decay) -> String {
    match decay {
        Decay::Lifetime => "lifetime".to_owned(),
        Decay::HalfLife { half_life_s } => format!("half-life {}", span(half_life_s.into())),
        Decay::Window { bucket_s, buckets } => {
            format!("window {} in {buckets} buckets", span(u64::from(bucket_s) * u64::from(buckets)))
        }
    }
}

/// Seconds in the largest unit that divides them, as declarations write it.
fn span(seconds: u64) -> String {
    const UNITS: [(u64, &str); 5] = [(604_800, "w"), (86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let unit = UNITS.into_iter().find(|(unit, _)| seconds.is_multiple_of(*unit));
    unit.map_or_else(String::new, |(unit, letter)| format!("{}{letter}", seconds / unit))
}

fn transform_text(transform: &TransformV1) -> String {
    match transform {
        TransformV1::Log1p => "log1p".to_owned(),
        TransformV1::Sqrt => "sqrt".to_owned(),
        TransformV1::Abs => "abs".to_owned(),
        TransformV1::Neg => "neg".to_owned(),
        TransformV1::Square => "square".to_owned(),
        TransformV1::Clip(lo, hi) => format!("clip {lo}..{hi}"),
        TransformV1::Scale(factor) => format!("scale {factor}"),
        TransformV1::Shift(term) => format!("shift {term}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
