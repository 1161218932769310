//! A trained model, whoever trained it, before it is bound to declared features.

use std::collections::BTreeMap;

use selvedge_format::model::{Finish, LEAF, Link, MISSING_LEFT, ModelKindV1, TreeNode};
use serde::{Deserialize, Serialize};

/// A trained model.
#[derive(Clone, Debug, PartialEq)]
pub enum TrainedModel {
    /// A sum of regression trees.
    Trees(TreeEnsemble),
    /// A weighted sum.
    Linear(LinearModel),
    /// A graph of operators.
    #[cfg(feature = "onnx")]
    Onnx(crate::onnx::OnnxModel),
}

/// A sum of regression trees over numbered inputs. Only importers make one, so it holds what they have proven: every
/// tree is a tree, every number is finite, every feature is below [`features`](Self::features).
#[derive(Clone, Debug, PartialEq)]
pub struct TreeEnsemble {
    pub(crate) names: Option<Vec<String>>,
    pub(crate) features: usize,
    pub(crate) sum: Sum,
    pub(crate) link: Link,
    pub(crate) trees: Vec<Tree>,
    /// Sum of the training loss that the splits of each input saved.
    pub(crate) gains: Vec<f64>,
    pub(crate) trainer: String,
}

/// How a library adds up leaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Sum {
    /// In `f32`, from here on.
    Single { base: f32 },
    /// In `f64`.
    Double(Finish),
}

/// One regression tree.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tree {
    /// In breadth-first order, as [`selvedge_format::model`] has it.
    pub(crate) nodes: Vec<TreeNode>,
    /// For each inner node the position of its left child, which the right one follows; 0 for a leaf.
    pub(crate) left: Vec<u32>,
    /// For each leaf its value as the sum takes it; 0 for an inner node.
    pub(crate) leaf: Vec<f64>,
}

/// A weighted sum of named features. Its [file](Self::to_json) is
/// `{"kind": "linear", "bias": 0.5, "link": "identity", "weights": {"price": -0.25}, "centres": {"price": 3.0}}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinearModel {
    /// The constant term.
    pub bias: f32,
    /// From the sum to the score; the sum itself unless given.
    #[serde(default = "link::unless_given", with = "link")]
    pub link: Link,
    /// Weight by name of feature; a feature without one weighs nothing.
    pub weights: BTreeMap<String, f32>,
    /// Stands for a missing value of the feature, and is where its contribution is zero; 0 unless given.
    #[serde(default)]
    pub centres: BTreeMap<String, f32>,
}

impl TrainedModel {
    /// Who trained it: program and version.
    #[must_use]
    pub fn trainer(&self) -> &str {
        match self {
            Self::Trees(ensemble) => &ensemble.trainer,
            Self::Linear(_) => "linear",
            #[cfg(feature = "onnx")]
            Self::Onnx(model) => model.trainer(),
        }
    }
}

impl TreeEnsemble {
    /// Names of the inputs, if the model file has them.
    #[must_use]
    pub fn names(&self) -> Option<&[String]> {
        self.names.as_deref()
    }

    /// Number of inputs.
    #[must_use]
    pub const fn features(&self) -> usize {
        self.features
    }

    /// Number of trees.
    #[must_use]
    pub const fn trees(&self) -> usize {
        self.trees.len()
    }

    /// The raw score of one row of inputs, in the order of the model, where NaN is missing: leaves added up tree after
    /// tree, in the precision of the trainer, and rounded to f32. This walks one row down one tree at a time; it is what the engine is measured against.
    ///
    /// # Panics
    /// If `row` has fewer than [`features`](Self::features) values.
    #[must_use]
    pub fn raw_score(&self, row: &[f32]) -> f32 {
        let leaves = self.trees.iter().map(|tree| tree.leaf(row));
        match self.sum {
            Sum::Single { base } => leaves.fold(base, |sum, leaf| sum + leaf as f32),
            Sum::Double(finish) => finish.of(leaves.fold(0.0, |sum, leaf| sum + leaf)),
        }
    }

    /// All nodes of all trees.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &TreeNode> {
        self.trees.iter().flat_map(|tree| &tree.nodes)
    }

    /// All nodes that split.
    pub(crate) fn splits(&self) -> impl Iterator<Item = &TreeNode> {
        self.nodes().filter(|node| node.feature != LEAF)
    }
}

impl Tree {
    /// Value of the leaf that `row` ends in.
    fn leaf(&self, row: &[f32]) -> f64 {
        let mut at = 0;
        while self.nodes[at].feature != LEAF {
            let node = &self.nodes[at];
            let x = row[usize::from(node.feature)];
            let left = if x.is_nan() { node.flags & MISSING_LEFT != 0 } else { x < node.value };
            at = self.left[at] as usize + usize::from(!left);
        }
        self.leaf[at]
    }

    /// Values of the leaves alone, in the order of the nodes.
    pub(crate) fn leaves(&self) -> impl Iterator<Item = f64> {
        self.nodes.iter().zip(&self.leaf).filter(|(node, _)| node.feature == LEAF).map(|(_, leaf)| *leaf)
    }
}

impl Sum {
    /// The kind of the model that adds so.
    pub(crate) const fn kind(self) -> ModelKindV1 {
        match self {
            Self::Single { base } => ModelKindV1::Trees { base },
            Self::Double(finish) => ModelKindV1::DoubleTrees(finish),
        }
    }
}

/// `Link` as a word in JSON.
mod link {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Link;

    pub(super) const fn unless_given() -> Link {
        Link::Identity
    }

    pub(super) fn serialize<S: Serializer>(link: &Link, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match link {
            Link::Identity => "identity",
            Link::Logistic => "logistic",
        })
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Link, D::Error> {
        match &*String::deserialize(deserializer)? {
            "identity" => Ok(Link::Identity),
            "logistic" => Ok(Link::Logistic),
            other => Err(D::Error::unknown_variant(other, &["identity", "logistic"])),
        }
    }
}
