//! XGBoost's models, as `save_model("model.json")` writes them since version 1.0, or in UBJSON (`model.ubj`).
//!
//! What makes the scores equal bit for bit: thresholds and leaves are read from their decimals straight to f32, x goes
//! left when `x < threshold` and by `default_left` when missing, and leaves are added in f32, tree after tree, to the
//! base margin. Dropout's weights are multiplied into the leaves, in f32, as XGBoost does for every row. A category in
//! the set of a split goes right, all else left; categories are whole parts, and no number below 0 is one. XGBoost stores that base as a prediction (`base_score`) and turns
//! it into a margin when it loads a model: so do we, with the same f32 expression. Of several classes each has trees and,
//! since version 3, a base of its own.
//!
//! The schema is <https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html>. Whatever would change a score
//! and is not understood here is refused by name.

use std::collections::HashMap;
use std::fmt;

use selvedge_format::model::Link;
use selvedge_format::program::MAX_FEATURES;
use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer};

use super::grow::{Node, Side, Source, Test, grow_all, limit};
use super::output::Output;
use super::ubjson;
use crate::error::{CompileError, CompileErrorKind};
use crate::model::{Sum, TrainedModel, TreeEnsemble};

const SAVE_AGAIN: &str = "save the model again with `save_model(\"model.json\")`; do not edit it by hand";
const ONE_OUTPUT: &str = "train one model with one output, such as one of a class against the rest";
const MODEL: &str = "learner.gradient_booster.model";
const MODEL_OF_DART: &str = "learner.gradient_booster.gbtree.model";
/// Categories are `f32`s, which hold whole numbers up to here.
const MAX_CATEGORY: u32 = 1 << 24;
const PARAM: &str = "learner.learner_model_param";

/// Objectives whose raw scores are what they add up, how they turn `base_score` into a margin, and what they make of the score.
const OBJECTIVES: [(&str, Margin, Link); 17] = [
    ("binary:logistic", Margin::Logit, Link::Logistic),
    ("binary:logitraw", Margin::Same, Link::Identity),
    ("reg:logistic", Margin::Logit, Link::Logistic),
    ("reg:squarederror", Margin::Same, Link::Identity),
    ("rank:ndcg", Margin::Same, Link::Identity),
    ("rank:pairwise", Margin::Same, Link::Identity),
    ("rank:map", Margin::Same, Link::Identity),
    ("reg:squaredlogerror", Margin::Same, Link::Identity),
    ("reg:absoluteerror", Margin::Same, Link::Identity),
    ("reg:pseudohubererror", Margin::Same, Link::Identity),
    ("reg:quantileerror", Margin::Same, Link::Identity),
    ("binary:hinge", Margin::Same, Link::Identity),
    ("count:poisson", Margin::Logarithm, Link::Identity),
    ("reg:gamma", Margin::Logarithm, Link::Identity),
    ("reg:tweedie", Margin::Logarithm, Link::Identity),
    ("multi:softprob", Margin::Same, Link::Identity),
    ("multi:softmax", Margin::Same, Link::Identity),
];

#[derive(Clone, Copy)]
enum Margin {
    Same,
    Logit,
    Logarithm,
}

/// The document without its trees: enough to know whether the trees can be read at all.
#[derive(Deserialize)]
struct Head {
    learner: LearnerHead,
    #[serde(default)]
    version: Vec<u32>,
}

#[derive(Deserialize)]
struct LearnerHead {
    #[serde(default)]
    feature_names: Vec<String>,
    gradient_booster: BoosterHead,
    learner_model_param: Parameters,
    objective: Objective,
}

#[derive(Deserialize)]
struct BoosterHead {
    name: String,
}

#[derive(Deserialize)]
struct Objective {
    name: String,
}

/// XGBoost writes these numbers as text.
#[derive(Deserialize)]
struct Parameters {
    base_score: String,
    num_feature: String,
    #[serde(default)]
    num_class: String,
    #[serde(default)]
    num_target: String,
}

#[derive(Deserialize)]
struct Body {
    learner: LearnerBody,
}

#[derive(Deserialize)]
struct LearnerBody {
    gradient_booster: BoosterBody,
}

/// The trees lie here, or where dropout trained them, in a booster within this one, beside their weights.
#[derive(Deserialize)]
struct BoosterBody {
    model: Option<Forest>,
    gbtree: Option<Inner>,
    weight_drop: Option<Vec<f32>>,
}

#[derive(Deserialize)]
struct Inner {
    model: Forest,
}

#[derive(Deserialize)]
struct Forest {
    trees: Vec<Tree>,
    /// The class that each tree adds to.
    #[serde(default)]
    tree_info: Vec<i64>,
}

/// One tree: a column per property, a row per node, the root first. Rows that no path from the root reaches were pruned.
#[derive(Deserialize)]
struct Tree {
    left_children: Vec<i64>,
    right_children: Vec<i64>,
    split_indices: Vec<u64>,
    /// Threshold of an inner node, value of a leaf.
    split_conditions: Vec<f32>,
    default_left: Vec<Flag>,
    #[serde(default)]
    split_type: Vec<u64>,
    #[serde(default)]
    categories_nodes: Vec<usize>,
    #[serde(default)]
    categories_segments: Vec<usize>,
    #[serde(default)]
    categories_sizes: Vec<usize>,
    /// Sets of all splits on categories, one after the other.
    #[serde(default)]
    categories: Vec<u32>,
    #[serde(default)]
    sum_hessian: Vec<f32>,
    #[serde(default)]
    loss_changes: Vec<f32>,
    #[serde(default)]
    tree_param: TreeParameters,
}

#[derive(Default, Deserialize)]
struct TreeParameters {
    #[serde(default)]
    size_leaf_vector: String,
}

/// `true`, `false`, 1 or 0: versions differ.
struct Flag(bool);

pub(super) fn import(bytes: &[u8], output: Output) -> Result<TrainedModel, CompileError> {
    let head: Head = read(bytes)?;
    let learner = &head.learner;
    refuse_other_boosters(&learner.gradient_booster.name)?;
    let (margin, link) = objective(&learner.objective.name)?;
    let parameters = &learner.learner_model_param;
    refuse_targets(&parameters.num_target)?;
    let classes = class_count(&parameters.num_class)?;
    let class = output.of(classes, &format!("{PARAM}.num_class"))?;
    let features = feature_count(&parameters.num_feature, &learner.feature_names)?;
    let sum = Sum::Single { base: margin.of(base_score(&parameters.base_score, class, classes)?)? };

    let body: Body = read(bytes)?;
    let (model, forest, weights) = body.learner.gradient_booster.forest()?;
    let of_class = forest.of_class(class, classes, model)?;
    let place = |index: usize| format!("{model}.trees[{}]", of_class.get(index).unwrap_or(&index));
    let sources = of_class.iter().enumerate();
    let sources = sources.map(|(index, tree)| forest.trees[*tree].source(&place(index), weights[*tree]));
    let (trees, gains) = grow_all(sources, features, place)?;
    let names = (!head.learner.feature_names.is_empty()).then_some(head.learner.feature_names);
    let version = head.version.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
    let trainer = format!("XGBoost {version}").trim_end().to_owned();
    Ok(TrainedModel::Trees(TreeEnsemble { names, features, sum, link, trees, gains, trainer }))
}

/// Reads JSON or UBJSON.
fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CompileError> {
    if ubjson::is_object(bytes) { ubjson::parse(bytes, SAVE_AGAIN) } else { super::parse(bytes, SAVE_AGAIN) }
}

fn refuse_other_boosters(name: &str) -> Result<(), CompileError> {
    if matches!(name, "gbtree" | "dart") {
        return Ok(());
    }
    let help = match name {
        "gblinear" => {
            "train with booster \"gbtree\", or declare kind = \"linear\" in model.toml and use `selvedge train`"
        }
        _ => "train with booster \"gbtree\"",
    };
    let message = format!("the booster `{name}` is not supported");
    Err(CompileError::new(CompileErrorKind::Unsupported, "learner.gradient_booster.name", message, help))
}

fn objective(name: &str) -> Result<(Margin, Link), CompileError> {
    let known = OBJECTIVES.iter().find(|(known, ..)| *known == name);
    known.map(|(_, margin, link)| (*margin, *link)).ok_or_else(|| {
        let message = format!("the objective `{name}` is not supported");
        let names: Vec<_> = OBJECTIVES.iter().map(|(name, ..)| *name).collect();
        let help = format!("supported are {}", names.join(", "));
        CompileError::new(CompileErrorKind::Unsupported, "learner.objective.name", message, help)
    })
}

/// Old versions write 0 for one target, newer ones 1, and the oldest nothing.
fn refuse_targets(count: &str) -> Result<(), CompileError> {
    if matches!(count, "" | "0" | "1") {
        return Ok(());
    }
    let message = format!("`{count}` makes this a multi-target model, and a ranking needs one score");
    let help = "train one model with one target";
    Err(CompileError::new(CompileErrorKind::Unsupported, format!("{PARAM}.num_target"), message, help))
}

/// 1 where there are no classes: written as 0, and by the oldest versions not at all.
fn class_count(text: &str) -> Result<usize, CompileError> {
    if text.is_empty() {
        return Ok(1);
    }
    text.parse::<usize>().map(|count| count.max(1)).map_err(|_| {
        let message = format!("`{text}` is not a number of classes");
        CompileError::new(CompileErrorKind::Malformed, format!("{PARAM}.num_class"), message, SAVE_AGAIN)
    })
}

fn feature_count(text: &str, names: &[String]) -> Result<usize, CompileError> {
    let place = format!("{PARAM}.num_feature");
    let Ok(count) = text.parse::<usize>() else {
        let message = format!("`{text}` is not a number of features");
        return Err(CompileError::new(CompileErrorKind::Malformed, place, message, SAVE_AGAIN));
    };
    if count > MAX_FEATURES {
        return Err(limit(place, "features", MAX_FEATURES));
    }
    if !names.is_empty() && names.len() != count {
        let message = format!("{} features are named and {count} are counted", names.len());
        return Err(CompileError::new(CompileErrorKind::FeatureCount, "learner.feature_names", message, SAVE_AGAIN));
    }
    Ok(count)
}

/// `5E-1`, which is of all classes, or since version 3 the vector `[5E-1]` with one of each.
fn base_score(text: &str, class: usize, classes: usize) -> Result<f32, CompileError> {
    let list = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let scores: Vec<&str> = list.split(',').map(str::trim).collect();
    let place = format!("{PARAM}.base_score");
    let score = match &scores[..] {
        [all] => all,
        of_each if of_each.len() == classes => of_each[class],
        _ => {
            let message = format!("there are {} base scores for {classes} outputs", scores.len());
            return Err(CompileError::new(CompileErrorKind::Unsupported, place, message, ONE_OUTPUT));
        }
    };
    score.parse::<f32>().ok().filter(|base| base.is_finite()).ok_or_else(|| {
        let shown: String = score.chars().take(64).collect();
        CompileError::new(CompileErrorKind::Malformed, place, format!("`{shown}` is not a finite number"), SAVE_AGAIN)
    })
}

impl Margin {
    /// `ProbToMargin` of XGBoost's objectives, which calls the C library's `logf`; so does [`f32::ln`]. A logarithm in
    /// f64 rounded to f32 differs from it in one case of two hundred.
    fn of(self, base_score: f32) -> Result<f32, CompileError> {
        let wanted = match self {
            Self::Same => return Ok(base_score),
            Self::Logit if base_score > 0.0 && base_score < 1.0 => return Ok(-(1.0 / base_score - 1.0).ln()),
            Self::Logarithm if base_score > 0.0 => return Ok(base_score.ln()),
            Self::Logit => "a probability between 0 and 1",
            Self::Logarithm => "above 0",
        };
        let message = format!("{base_score} is not {wanted}");
        Err(CompileError::new(CompileErrorKind::Malformed, format!("{PARAM}.base_score"), message, SAVE_AGAIN))
    }
}

impl BoosterBody {
    /// The place of the trees, the trees, and the weight of each.
    fn forest(self) -> Result<(&'static str, Forest, Vec<f32>), CompileError> {
        let (place, forest) = match (self.model, self.gbtree) {
            (Some(model), _) => (MODEL, model),
            (None, Some(inner)) => (MODEL_OF_DART, inner.model),
            (None, None) => {
                let message = "there are no trees";
                return Err(CompileError::new(CompileErrorKind::Malformed, MODEL, message, SAVE_AGAIN));
            }
        };
        let weights = self.weight_drop.unwrap_or_else(|| vec![1.0; forest.trees.len()]);
        if weights.len() == forest.trees.len() {
            return Ok((place, forest, weights));
        }
        let message = format!("there are {} weights for {} trees", weights.len(), forest.trees.len());
        let place = "learner.gradient_booster.weight_drop";
        Err(CompileError::new(CompileErrorKind::Malformed, place, message, SAVE_AGAIN))
    }
}

impl Forest {
    /// Positions of the trees that add to `class`; where nothing is said, all add to the first.
    fn of_class(&self, class: usize, classes: usize, place: &str) -> Result<Vec<usize>, CompileError> {
        let class_of = |at: usize| self.tree_info.get(at).map_or(Some(0), |class| usize::try_from(*class).ok());
        let trees = 0..self.trees.len();
        if let Some(at) = trees.clone().find(|at| class_of(*at).is_none_or(|class| class >= classes)) {
            let message = format!("the tree adds to output {}, and there are {classes}", self.tree_info[at]);
            let place = format!("{place}.tree_info[{at}]");
            return Err(CompileError::new(CompileErrorKind::Unsupported, place, message, ONE_OUTPUT));
        }
        Ok(trees.filter(|at| class_of(*at) == Some(class)).collect())
    }
}

impl Tree {
    /// The tree with `weight` times its leaves.
    fn source(&self, place: &str, weight: f32) -> Result<Source, CompileError> {
        self.check(place)?;
        let sets = self.sets(place)?;
        let mut nodes = Vec::with_capacity(self.left_children.len());
        for (row, value) in self.split_conditions.iter().enumerate() {
            if self.left_children[row] == -1 {
                nodes.push(Node::Leaf((weight * value).into()));
                continue;
            }
            let feature = self.split_indices[row];
            let missing = Side::left_if(self.default_left[row].0);
            let test = match self.split_type.get(row) {
                Some(1) => {
                    // A negative number is in no set, and what is above -1 is negative.
                    let set = sets.get(&row).copied().unwrap_or_default();
                    Test::among(feature, set, Side::Right, 0.0, missing)
                }
                _ => Test::below(feature, *value, missing),
            };
            nodes.push(Node::Split { test, children: [self.left_children[row], self.right_children[row]] });
        }
        let doubles = |column: &[f32]| column.iter().copied().map(f64::from).collect();
        Ok(Source { nodes, weights: doubles(&self.sum_hessian), gains: doubles(&self.loss_changes) })
    }

    /// The categories that go right, ascending, by row.
    fn sets(&self, place: &str) -> Result<HashMap<usize, &[u32]>, CompileError> {
        let bad = |message: &str| {
            Err(CompileError::new(CompileErrorKind::BadTree, format!("{place}.categories"), message, SAVE_AGAIN))
        };
        if let Some(kind) = self.split_type.iter().find(|kind| **kind > 1) {
            let message = format!("the kind of split {kind} is not supported");
            let place = format!("{place}.split_type");
            return Err(CompileError::new(CompileErrorKind::Unsupported, place, message, "train with numbers alone"));
        }
        let columns = [self.categories_segments.len(), self.categories_sizes.len()];
        if columns != [self.categories_nodes.len(); 2] {
            return bad("sets, their starts and their sizes are not equally many");
        }
        let mut sets = HashMap::new();
        for ((row, start), size) in
            self.categories_nodes.iter().zip(&self.categories_segments).zip(&self.categories_sizes)
        {
            let Some(set) = start.checked_add(*size).and_then(|end| self.categories.get(*start..end)) else {
                return bad("a set reaches beyond the end");
            };
            if !set.is_sorted_by(|a, b| a < b) || set.last().is_some_and(|last| *last >= MAX_CATEGORY) {
                return bad("a set does not ascend, or has a category above 2^24");
            }
            sets.insert(*row, set);
        }
        Ok(sets)
    }

    /// Every column is there, and none says what we do not understand.
    fn check(&self, place: &str) -> Result<(), CompileError> {
        let rows = self.left_children.len();
        let columns = [
            ("right_children", self.right_children.len()),
            ("split_indices", self.split_indices.len()),
            ("split_conditions", self.split_conditions.len()),
            ("default_left", self.default_left.len()),
        ];
        if rows == 0 {
            return Err(CompileError::new(CompileErrorKind::BadTree, place, "the tree has no nodes", SAVE_AGAIN));
        }
        if let Some((column, len)) = columns.into_iter().find(|(_, len)| *len != rows) {
            let message = format!("there are {len} values for {rows} nodes");
            return Err(CompileError::new(CompileErrorKind::BadTree, format!("{place}.{column}"), message, SAVE_AGAIN));
        }
        let unsupported = |column: &str, message: &str, help: &str| {
            Err(CompileError::new(CompileErrorKind::Unsupported, format!("{place}.{column}"), message, help))
        };
        if !matches!(&*self.tree_param.size_leaf_vector, "" | "0" | "1") {
            let help = ONE_OUTPUT;
            return unsupported("tree_param.size_leaf_vector", "leaves with several values are not supported", help);
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FlagVisitor;

        impl Visitor<'_> for FlagVisitor {
            type Value = Flag;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, 1 or 0")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Flag, E> {
                Ok(Flag(value))
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Flag, E> {
                match value {
                    0 | 1 => Ok(Flag(value == 1)),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Unsigned(value), &self)),
                }
            }
        }

        deserializer.deserialize_any(FlagVisitor)
    }
}
