//! CatBoost's JSON models, as `save_model("model.json", format="json")` writes them.
//!
//! What makes the scores equal bit for bit: a value is beyond a border if `x > border`, both `f32`, so it is compared with
//! the least `f32` above the border; a missing value is below all borders or above them, as its feature says; leaves are
//! added in `f64`, tree after tree, then scaled, then the bias is added. An oblivious tree asks one question per level:
//! the first split is the lowest bit of the leaf's number.
//!
//! Categorical features are hashes of strings and statistics of the target by them. Neither is a number that a feature
//! of ours has, so models that split on them are refused by name.

use selvedge_format::model::{Finish, Link};
use selvedge_format::program::MAX_FEATURES;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::grow::{Node, Side, Source, Test, grow_all, limit};
use super::output::Output;
use crate::error::{CompileError, CompileErrorKind};
use crate::model::{Sum, TrainedModel, TreeEnsemble};

const SAVE_AGAIN: &str =
    "save the model again with `model.save_model(\"model.json\", format=\"json\")`; do not edit it by hand";
const ONE_OUTPUT: &str = "train one model with one output, such as one of a class against the rest";
const ENCODE: &str = "train on numbers alone: declare the feature as `string` with `values` and train on its position, or \
    on a rate";
/// Most levels of an oblivious tree: as many as its leaves have a place for.
const MAX_LEVELS: usize = 14;

/// Loss functions whose raw scores are what they add up, and what they make of one.
const LOSSES: [(&str, Link); 23] = [
    ("Logloss", Link::Logistic),
    ("CrossEntropy", Link::Logistic),
    ("RMSE", Link::Identity),
    ("MAE", Link::Identity),
    ("Quantile", Link::Identity),
    ("MAPE", Link::Identity),
    ("Huber", Link::Identity),
    ("Expectile", Link::Identity),
    ("LogLinQuantile", Link::Identity),
    ("Lq", Link::Identity),
    ("LogCosh", Link::Identity),
    ("Poisson", Link::Identity),
    ("Tweedie", Link::Identity),
    ("MultiClass", Link::Identity),
    ("MultiClassOneVsAll", Link::Identity),
    ("QueryRMSE", Link::Identity),
    ("QuerySoftMax", Link::Identity),
    ("QueryCrossEntropy", Link::Identity),
    ("PairLogit", Link::Identity),
    ("PairLogitPairwise", Link::Identity),
    ("YetiRank", Link::Identity),
    ("YetiRankPairwise", Link::Identity),
    ("LambdaMart", Link::Identity),
];

#[derive(Deserialize)]
struct File {
    features_info: Features,
    #[serde(default)]
    oblivious_trees: Vec<Oblivious>,
    #[serde(default)]
    trees: Vec<Branch>,
    scale_and_bias: Option<(f64, Vec<f64>)>,
    #[serde(default)]
    model_info: Info,
    ctr_data: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Features {
    #[serde(default)]
    float_features: Vec<FloatFeature>,
    #[serde(default)]
    categorical_features: Vec<IgnoredAny>,
    #[serde(default)]
    text_features: Vec<IgnoredAny>,
    #[serde(default)]
    embedding_features: Vec<IgnoredAny>,
}

#[derive(Deserialize)]
struct FloatFeature {
    #[serde(default)]
    feature_id: String,
    flat_feature_index: u64,
    #[serde(default)]
    nan_value_treatment: String,
}

#[derive(Default, Deserialize)]
struct Info {
    #[serde(default)]
    catboost_version_info: String,
    #[serde(default)]
    params: Parameters,
}

#[derive(Default, Deserialize)]
struct Parameters {
    #[serde(default)]
    loss_function: Loss,
}

#[derive(Default, Deserialize)]
struct Loss {
    #[serde(default, rename = "type")]
    kind: String,
}

/// A tree that asks one question per level.
#[derive(Deserialize)]
struct Oblivious {
    leaf_values: Vec<f64>,
    #[serde(default)]
    leaf_weights: Vec<f64>,
    splits: Option<Vec<Split>>,
}

/// A tree of any shape: an inner node, or a leaf.
#[derive(Deserialize)]
struct Branch {
    left: Option<Box<Branch>>,
    right: Option<Box<Branch>>,
    split: Option<Split>,
    value: Option<Value>,
    #[serde(default)]
    weight: f64,
}

/// Which output is read, of how many.
#[derive(Clone, Copy)]
struct Class {
    at: usize,
    classes: usize,
}

/// A number, or one per output.
#[derive(Deserialize)]
#[serde(untagged)]
enum Value {
    One(f64),
    Many(Vec<f64>),
}

#[derive(Deserialize)]
struct Split {
    split_type: String,
    #[serde(default)]
    float_feature_index: usize,
    border: Option<f64>,
}

pub(super) fn import(bytes: &[u8], output: Output) -> Result<TrainedModel, CompileError> {
    let file: File = super::parse(bytes, SAVE_AGAIN)?;
    file.refuse_unsupported()?;
    let (scale, biases) = file.scale_and_bias.clone().unwrap_or((1.0, Vec::new()));
    let class = Class { classes: biases.len().max(1), at: output.of(biases.len(), "scale_and_bias")? };
    let bias = biases.get(class.at).copied().unwrap_or(0.0);
    if !(scale.is_finite() && bias.is_finite()) {
        let message = "the scale and the bias are not finite";
        return Err(CompileError::new(CompileErrorKind::Malformed, "scale_and_bias", message, SAVE_AGAIN));
    }
    let link = file.link()?;
    let features = file.features_info.float_features.len();
    let (trees, gains) = if file.oblivious_trees.is_empty() {
        let place = |index: usize| format!("trees[{index}]");
        let sources = file.trees.iter().enumerate().map(|(index, tree)| file.branches(tree, class, &place(index)));
        grow_all(sources, features, place)?
    } else {
        let place = |index: usize| format!("oblivious_trees[{index}]");
        let sources =
            file.oblivious_trees.iter().enumerate().map(|(index, tree)| file.levels(tree, class, &place(index)));
        grow_all(sources, features, place)?
    };
    let names = file.features_info.names();
    let sum = Sum::Double(Finish { divisor: 1.0, scale, bias });
    let trainer = file.model_info.trainer();
    Ok(TrainedModel::Trees(TreeEnsemble { names, features, sum, link, trees, gains, trainer }))
}

fn unsupported(place: &str, message: &str, help: &str) -> CompileError {
    CompileError::new(CompileErrorKind::Unsupported, place, message, help)
}

impl Info {
    /// The tag that the build names, such as `tags/v1.2.10`.
    fn trainer(&self) -> String {
        let version = self.catboost_version_info.split_once("tags/v").map_or("", |(_, rest)| rest);
        let version: String = version.chars().take_while(|c| c.is_ascii_digit() || *c == '.').take(16).collect();
        format!("CatBoost {version}").trim_end().to_owned()
    }
}

impl Class {
    /// The value of this output in a leaf.
    fn of(self, value: &Value, place: &str) -> Result<f64, CompileError> {
        let values = match value {
            Value::One(value) => std::slice::from_ref(value),
            Value::Many(values) => values,
        };
        if values.len() == self.classes {
            return Ok(values[self.at]);
        }
        let message = format!("a leaf has {} values for {} outputs", values.len(), self.classes);
        Err(unsupported(place, &message, ONE_OUTPUT))
    }
}

impl Features {
    /// None if no feature has a name.
    fn names(&self) -> Option<Vec<String>> {
        let is_named = self.float_features.iter().any(|feature| !feature.feature_id.is_empty());
        is_named.then(|| self.float_features.iter().map(|feature| feature.feature_id.clone()).collect())
    }
}

impl File {
    fn refuse_unsupported(&self) -> Result<(), CompileError> {
        let features = &self.features_info;
        let kinds = [
            ("categorical_features", !features.categorical_features.is_empty()),
            ("text_features", !features.text_features.is_empty()),
            ("embedding_features", !features.embedding_features.is_empty()),
        ];
        if let Some((kind, _)) = kinds.into_iter().find(|(_, is_used)| *is_used) {
            let message = format!("the model has {}, and only numbers are supported", kind.replace('_', " "));
            return Err(unsupported(&format!("features_info.{kind}"), &message, ENCODE));
        }
        if self.ctr_data.is_some() {
            return Err(unsupported("ctr_data", "statistics of the target by category are not supported", ENCODE));
        }
        if features.float_features.len() > MAX_FEATURES {
            return Err(limit("features_info.float_features", "features", MAX_FEATURES));
        }
        let out_of_order = |(at, feature): (usize, &FloatFeature)| feature.flat_feature_index != at as u64;
        if features.float_features.iter().enumerate().any(out_of_order) {
            let (place, message) = ("features_info.float_features", "the features are not numbered from 0");
            return Err(CompileError::new(CompileErrorKind::Malformed, place, message, SAVE_AGAIN));
        }
        Ok(())
    }

    /// A model that does not name its loss has raw scores alone.
    fn link(&self) -> Result<Link, CompileError> {
        let name = &self.model_info.params.loss_function.kind;
        if name.is_empty() {
            return Ok(Link::Identity);
        }
        LOSSES.iter().find(|(known, _)| known == name).map(|(_, link)| *link).ok_or_else(|| {
            let shown: String = name.chars().take(64).collect();
            let help = LOSSES.map(|(name, _)| name).join(", ");
            let message = format!("the loss function `{shown}` is not supported");
            unsupported("model_info.params.loss_function", &message, &format!("supported are {help}"))
        })
    }

    fn test(&self, split: &Split, place: &str) -> Result<Test, CompileError> {
        if split.split_type != "FloatFeature" {
            let shown: String = split.split_type.chars().take(64).collect();
            return Err(unsupported(place, &format!("splits of the type `{shown}` are not supported"), ENCODE));
        }
        let feature = self.features_info.float_features.get(split.float_feature_index);
        let (Some(feature), Some(border)) = (feature, split.border) else {
            let message = "a split names no feature that is there, or no border";
            return Err(CompileError::new(CompileErrorKind::BadTree, place, message, SAVE_AGAIN));
        };
        // `AsIs` compares NaN with the border, which it is not above.
        let missing = Side::left_if(feature.nan_value_treatment != "AsTrue");
        // Borders are `f32`s, written as decimals of an `f64`.
        Ok(Test::at_most(split.float_feature_index as u64, f64::from(border as f32), missing))
    }

    fn levels(&self, tree: &Oblivious, class: Class, place: &str) -> Result<Source, CompileError> {
        let splits = tree.splits.as_deref().unwrap_or_default();
        if splits.len() > MAX_LEVELS {
            return Err(limit(place, "levels of an oblivious tree", MAX_LEVELS));
        }
        let leaves = 1_usize << splits.len();
        if tree.leaf_values.len() != leaves * class.classes {
            let message = format!("there are {} leaf values for {} splits", tree.leaf_values.len(), splits.len());
            if !tree.leaf_values.is_empty() && tree.leaf_values.len().is_multiple_of(leaves) {
                return Err(unsupported(&format!("{place}.leaf_values"), &message, ONE_OUTPUT));
            }
            let place = format!("{place}.leaf_values");
            return Err(CompileError::new(CompileErrorKind::BadTree, place, message, SAVE_AGAIN));
        }
        // The last split is the highest bit, so it stands at the root.
        let mut nodes = Vec::with_capacity(2 * leaves - 1);
        for (level, split) in splits.iter().rev().enumerate() {
            for _ in 0..1_usize << level {
                let child = 2 * nodes.len() as i64 + 1;
                nodes.push(Node::Split { test: self.test(split, place)?, children: [child, child + 1] });
            }
        }
        let mut weights = vec![0.0; nodes.len()];
        weights.extend(&tree.leaf_weights);
        nodes.extend(tree.leaf_values.iter().skip(class.at).step_by(class.classes).copied().map(Node::Leaf));
        Ok(Source { nodes, weights, gains: Vec::new() })
    }

    fn branches(&self, root: &Branch, class: Class, place: &str) -> Result<Source, CompileError> {
        let mut source = Source::default();
        let mut open = vec![root];
        let mut at = 0;
        while let Some(branch) = open.get(at).copied() {
            at += 1;
            source.weights.push(branch.weight);
            source.nodes.push(match (branch, &branch.split) {
                (Branch { left: Some(left), right: Some(right), .. }, Some(split)) => {
                    let child = open.len() as i64;
                    open.extend([&**left, &**right]);
                    Node::Split { test: self.test(split, place)?, children: [child, child + 1] }
                }
                (Branch { value: Some(value), .. }, None) => Node::Leaf(class.of(value, place)?),
                _ => {
                    let message = "a node is neither a leaf nor a split with two children";
                    return Err(CompileError::new(CompileErrorKind::BadTree, place, message, SAVE_AGAIN));
                }
            });
        }
        Ok(source)
    }
}
