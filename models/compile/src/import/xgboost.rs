//! XGBoost's JSON models, as `save_model("model.json")` writes them since version 1.0.
//!
//! What makes the scores equal bit for bit: thresholds and leaves are read from their decimals straight to f32, x goes
//! left when `x < threshold` and by `default_left` when missing, and leaves are added in f32, tree after tree, to the
//! base margin. XGBoost stores that base as a prediction (`base_score`) and turns it into a margin when it loads a
//! model: so do we, with the same f32 expression.
//!
//! The schema is <https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html>. Whatever would change a score
//! and is not understood here is refused by name.

use std::fmt;

use selvedge_format::model::{LEAF, Link, MAX_DEPTH, MAX_LEAVES, MAX_NODES, MAX_TREES, MISSING_LEFT, TreeNode};
use selvedge_format::program::MAX_FEATURES;
use serde::de::{IgnoredAny, Visitor};
use serde::{Deserialize, Deserializer};

use crate::error::{CompileError, CompileErrorKind};
use crate::model::{self, TrainedModel, TreeEnsemble};

const SAVE_AGAIN: &str = "save the model again with `save_model(\"model.json\")`; do not edit it by hand";
const MODEL: &str = "learner.gradient_booster.model";
const PARAM: &str = "learner.learner_model_param";

/// Objectives whose raw score is one number, how they turn `base_score` into a margin, and what they make of the score.
const OBJECTIVES: [(&str, Margin, Link); 7] = [
    ("binary:logistic", Margin::Logit, Link::Logistic),
    ("binary:logitraw", Margin::Same, Link::Identity),
    ("reg:logistic", Margin::Logit, Link::Logistic),
    ("reg:squarederror", Margin::Same, Link::Identity),
    ("rank:ndcg", Margin::Same, Link::Identity),
    ("rank:pairwise", Margin::Same, Link::Identity),
    ("rank:map", Margin::Same, Link::Identity),
];

#[derive(Clone, Copy)]
enum Margin {
    Same,
    Logit,
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

#[derive(Deserialize)]
struct BoosterBody {
    model: Forest,
}

#[derive(Deserialize)]
struct Forest {
    trees: Vec<Tree>,
    /// The class that each tree adds to.
    #[serde(default)]
    tree_info: Vec<i64>,
    /// Weights of the trees, where dropout trained them.
    weight_drop: Option<IgnoredAny>,
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
    categories_nodes: Vec<u64>,
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

pub(super) fn import(bytes: &[u8]) -> Result<TrainedModel, CompileError> {
    let head: Head = super::parse(bytes, SAVE_AGAIN)?;
    let learner = &head.learner;
    refuse_other_boosters(&learner.gradient_booster.name)?;
    let (margin, link) = objective(&learner.objective.name)?;
    let parameters = &learner.learner_model_param;
    refuse_vectors("num_class", &parameters.num_class, "multi-class")?;
    refuse_vectors("num_target", &parameters.num_target, "multi-target")?;
    let features = feature_count(&parameters.num_feature, &learner.feature_names)?;
    let base = margin.of(base_score(&parameters.base_score)?)?;

    let Body { learner: LearnerBody { gradient_booster: BoosterBody { model: forest } } } =
        super::parse(bytes, SAVE_AGAIN)?;
    forest.refuse_unsupported()?;
    let mut gains = vec![0.0; features];
    let mut trees = Vec::with_capacity(forest.trees.len());
    let mut nodes = 0;
    for (index, tree) in forest.trees.iter().enumerate() {
        let tree = tree.lower(&format!("{MODEL}.trees[{index}]"), &mut gains)?;
        nodes += tree.nodes.len();
        if nodes > MAX_NODES {
            return Err(limit(format!("{MODEL}.trees"), "nodes", MAX_NODES));
        }
        trees.push(tree);
    }
    let names = (!head.learner.feature_names.is_empty()).then_some(head.learner.feature_names);
    let version = head.version.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
    let trainer = format!("XGBoost {version}").trim_end().to_owned();
    Ok(TrainedModel::Trees(TreeEnsemble { names, features, base, link, trees, gains, trainer }))
}

fn refuse_other_boosters(name: &str) -> Result<(), CompileError> {
    if name == "gbtree" {
        return Ok(());
    }
    let help = match name {
        "dart" => "train with booster \"gbtree\": the trees of \"dart\" carry weights, which are not supported",
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
        let message = match name.strip_prefix("multi:") {
            Some(_) => format!("the objective `{name}` gives a score per class, and a ranking needs one score"),
            None => format!("the objective `{name}` is not supported"),
        };
        let names: Vec<_> = OBJECTIVES.iter().map(|(name, ..)| *name).collect();
        let help = format!("supported are {}", names.join(", "));
        CompileError::new(CompileErrorKind::Unsupported, "learner.objective.name", message, help)
    })
}

/// Old versions write 0 for "not a vector", newer ones 1, and the oldest nothing.
fn refuse_vectors(key: &str, value: &str, what: &str) -> Result<(), CompileError> {
    if matches!(value, "" | "0" | "1") {
        return Ok(());
    }
    let message = format!("`{value}` makes this a {what} model, and a ranking needs one score");
    let help = "train one model with one output";
    Err(CompileError::new(CompileErrorKind::Unsupported, format!("{PARAM}.{key}"), message, help))
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

/// `5E-1`, or since version 3 the vector `[5E-1]`.
fn base_score(text: &str) -> Result<f32, CompileError> {
    let scalar = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Some(base) = scalar.trim().parse::<f32>().ok().filter(|base| base.is_finite()) {
        return Ok(base);
    }
    let (kind, message, help) = if scalar.contains(',') {
        let message = format!("`{text}` has a base score per output, and a ranking needs one score");
        (CompileErrorKind::Unsupported, message, "train one model with one output")
    } else {
        (CompileErrorKind::Malformed, format!("`{text}` is not a finite number"), SAVE_AGAIN)
    };
    Err(CompileError::new(kind, format!("{PARAM}.base_score"), message, help))
}

impl Margin {
    /// `ProbToMargin` of XGBoost's objectives, which calls the C library's `logf`; so does [`f32::ln`]. A logarithm in
    /// f64 rounded to f32 differs from it in one case of two hundred.
    fn of(self, base_score: f32) -> Result<f32, CompileError> {
        match self {
            Self::Same => Ok(base_score),
            Self::Logit if base_score > 0.0 && base_score < 1.0 => Ok(-(1.0 / base_score - 1.0).ln()),
            Self::Logit => {
                let message = format!("{base_score} is not a probability between 0 and 1");
                Err(CompileError::new(CompileErrorKind::Malformed, format!("{PARAM}.base_score"), message, SAVE_AGAIN))
            }
        }
    }
}

impl Forest {
    fn refuse_unsupported(&self) -> Result<(), CompileError> {
        let unsupported = |place: &str, message: &str, help: &str| {
            Err(CompileError::new(CompileErrorKind::Unsupported, format!("{MODEL}.{place}"), message, help))
        };
        if self.weight_drop.is_some() {
            return unsupported("weight_drop", "the trees carry weights", "train without dropout (`rate_drop = 0`)");
        }
        if self.tree_info.iter().any(|class| *class != 0) {
            return unsupported("tree_info", "the trees add to several outputs", "train one model with one output");
        }
        if self.trees.len() > MAX_TREES {
            return Err(limit(format!("{MODEL}.trees"), "trees", MAX_TREES));
        }
        Ok(())
    }
}

impl Tree {
    /// The tree in breadth-first order; adds what each split saved to the gain of its feature.
    fn lower(&self, place: &str, gains: &mut [f64]) -> Result<model::Tree, CompileError> {
        self.check(place)?;
        // Row of each node, in breadth-first order.
        let mut order = vec![0];
        let (mut nodes, mut left) = (Vec::new(), Vec::new());
        // For each level, where it ends in `order`.
        let (mut level_end, mut depth) = (1, 0);
        while let Some(row) = order.get(nodes.len()).copied() {
            if nodes.len() == level_end {
                (level_end, depth) = (order.len(), depth + 1);
            }
            let value = self.split_conditions[row];
            if self.left_children[row] == -1 {
                nodes.push(TreeNode { value, mean: value, feature: LEAF, flags: 0 });
                left.push(0);
                continue;
            }
            let feature = self.feature(place, row, gains.len())?;
            gains[usize::from(feature)] += self.loss_changes.get(row).map_or(0.0, |gain| f64::from(*gain));
            let flags = if self.default_left[row].0 { MISSING_LEFT } else { 0 };
            nodes.push(TreeNode { value, mean: 0.0, feature, flags });
            left.push(order.len() as u32);
            for child in [self.left_children[row], self.right_children[row]] {
                order.push(self.row(place, row, child)?);
            }
            // A tree has no more nodes than rows; if this one has, a node is reached twice.
            if order.len() > self.left_children.len() {
                let message = format!("the links form no tree: below node {row} a node is reached twice");
                return Err(CompileError::new(CompileErrorKind::BadTree, place, message, SAVE_AGAIN));
            }
        }
        if depth > MAX_DEPTH {
            return Err(limit(place, "levels", MAX_DEPTH));
        }
        if nodes.len() / 2 + 1 > MAX_LEAVES {
            return Err(limit(place, "leaves", MAX_LEAVES));
        }
        self.fill_means(&order, &left, &mut nodes);
        Ok(model::Tree { nodes, left })
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
        if self.split_type.iter().any(|kind| *kind != 0) || !self.categories_nodes.is_empty() {
            let help = "encode categories as numbers: the feature kind `string` does, as an index or a hash";
            return unsupported("split_type", "splits on categories are not supported", help);
        }
        if !matches!(&*self.tree_param.size_leaf_vector, "" | "0" | "1") {
            let help = "train one model with one output";
            return unsupported("tree_param.size_leaf_vector", "leaves with several values are not supported", help);
        }
        Ok(())
    }

    fn feature(&self, place: &str, row: usize, features: usize) -> Result<u16, CompileError> {
        let index = self.split_indices[row];
        u16::try_from(index).ok().filter(|index| usize::from(*index) < features).ok_or_else(|| {
            let message = format!("feature {index} is split on, and there are {features}");
            CompileError::new(CompileErrorKind::BadTree, format!("{place}.split_indices[{row}]"), message, SAVE_AGAIN)
        })
    }

    fn row(&self, place: &str, row: usize, child: i64) -> Result<usize, CompileError> {
        let rows = self.left_children.len();
        usize::try_from(child).ok().filter(|child| *child < rows).ok_or_else(|| {
            let message = format!("node {row} has the child {child}, and there are {rows} nodes");
            CompileError::new(CompileErrorKind::BadTree, place, message, SAVE_AGAIN)
        })
    }

    /// Expected score below each inner node: the mean of its leaves, weighted by the second derivatives that trained
    /// them; all alike where the file has none. `order` has the row of each node.
    fn fill_means(&self, order: &[usize], left: &[u32], nodes: &mut [TreeNode]) {
        let weighted = order.iter().all(|row| self.sum_hessian.get(*row).is_some_and(|weight| *weight > 0.0));
        let leaf = |(node, row): (&TreeNode, &usize)| {
            (if weighted { f64::from(self.sum_hessian[*row]) } else { 1.0 }, f64::from(node.value))
        };
        // Weight and mean of each node; children come after their parent, so from the back.
        let mut below: Vec<(f64, f64)> = nodes.iter().zip(order).map(leaf).collect();
        for at in (0..nodes.len()).rev().filter(|at| left[*at] != 0) {
            let child = left[at] as usize;
            let [(left, left_mean), (right, right_mean)] = [below[child], below[child + 1]];
            let mean = (left * left_mean + right * right_mean) / (left + right);
            below[at] = (left + right, mean);
            nodes[at].mean = mean as f32;
        }
    }
}

fn limit(place: impl Into<String>, what: &str, most: usize) -> CompileError {
    let message = format!("a bundle holds at most {most} {what}");
    CompileError::new(CompileErrorKind::Limit, place, message, "train fewer or smaller trees, on fewer features")
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
