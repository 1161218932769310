//! Models: a directory in postcard, weights in raw little-endian sections.
//!
//! **Linear** (`0x0003_0000 | model`): `weight f32[n], centre f32[n]` for n features. The score is
//! `bias + sum weight * x`, where a missing x is its centre; the contribution of a feature is `weight * (x - centre)`.
//!
//! **Trees** (`0x0003_0000 | model`): `tree_nodes u32[t]`, then for all nodes of all trees, tree after tree and each
//! tree in breadth-first order: `value f32[n], mean f32[n], feature u16[n], flags u8[n]`. A leaf has feature `0xffff`
//! and its value; an inner node sends x to the right child iff `x >= value`, a missing x by flag bit 0 (set: left).
//! Breadth-first order makes children implicit: the k-th inner node of a tree (from 0) has its children at 2k+1 and
//! 2k+2, so there is no pointer that could form a cycle. `mean` is the expected score below a node, for explanations.
//! A threshold may be infinite: it then tells one infinity, or missing values alone, from all else.
//!
//! **Trees with leaves in `f64`**: the same, then `leaf f64[l]`, the values of the leaves in the order of the nodes, from
//! which alone the score is made: added in `f64` and in tree order, then finished as [`Finish`] says. LightGBM and
//! CatBoost add so. What the nodes of leaves hold as a value is not read.
//!
//! **Graphs** (`0x0003_0000 | model`): see [`crate::graph`].

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::DecodeError;
use crate::packed::Packed;
use crate::read::Reader;
use crate::{F32s, F64s, U16s, U32s};

/// Section tag of the model directory in a bundle.
pub const TAG: u32 = 0x03;
/// Version of [`ModelsV1`].
pub const VERSION: u16 = 1;
/// Base of the weight sections' tags: the model's position is added.
pub const WEIGHTS_TAG: u32 = 0x0003_0000;
/// Version of the weight sections.
pub const WEIGHTS_VERSION: u16 = 1;
/// Most models in a bundle.
pub const MAX_MODELS: usize = 64;
/// Most stages of a cascade.
pub const MAX_STAGES: usize = 4;
/// Most nodes of one ensemble.
pub const MAX_NODES: usize = 1 << 22;
/// Most trees of one ensemble.
pub const MAX_TREES: usize = 1 << 16;
/// Most levels of inner nodes in a tree.
pub const MAX_DEPTH: usize = 64;
/// Most leaves of one tree.
pub const MAX_LEAVES: usize = 1 << 14;
/// Marks a leaf in the feature array.
pub const LEAF: u16 = 0xffff;
/// Flag bit: a missing value goes left.
pub const MISSING_LEFT: u8 = 1;

/// Models of a bundle and the stages that run them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelsV1 {
    /// The models.
    pub models: Vec<ModelV1>,
    /// Stages in order, at least one and at most [`MAX_STAGES`]. The first scores all candidates; more make a cascade.
    pub stages: Vec<StageV1>,
}

/// One model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelV1 {
    /// What it is, with its constants.
    pub kind: ModelKindV1,
    /// From its sum to the score.
    pub link: Link,
}

/// Kinds of model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum ModelKindV1 {
    /// A weighted sum.
    Linear {
        /// The constant term.
        bias: f32,
    },
    /// A sum of regression trees.
    Trees {
        /// Where the sum starts.
        base: f32,
    },
    /// A sum of regression trees whose leaves are `f64`.
    DoubleTrees(Finish),
    /// A [tensor program](crate::graph).
    Graph,
}

/// From a sum of leaves in `f64` to the model's sum: `(sum / divisor) * scale + bias`, then rounded to `f32`. The sum
/// starts at 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finish {
    /// How many trees share a score: 1 unless trees are averaged.
    pub divisor: f64,
    /// Factor of the sum.
    pub scale: f64,
    /// Added last.
    pub bias: f64,
}

impl Finish {
    /// The model's sum.
    #[must_use]
    #[inline]
    pub fn of(self, sum: f64) -> f32 {
        (sum / self.divisor * self.scale + self.bias) as f32
    }

    fn is_finite(self) -> bool {
        self.divisor.is_finite() && self.divisor > 0.0 && self.scale.is_finite() && self.bias.is_finite()
    }
}

/// From a model's sum to its score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Link {
    /// The sum itself.
    Identity,
    /// `1 / (1 + exp(-sum))`.
    Logistic,
}

/// One stage of a cascade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageV1 {
    /// Position of the model.
    pub model: u16,
    /// How many of the best candidates go on to the next stage; 0 in the last stage, and there alone.
    pub keep: u32,
}

impl ModelsV1 {
    /// Decodes and validates the directory.
    ///
    /// # Errors
    /// Not canonical postcard, too many models, a stage out of range, a constant that is not finite.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut packed = Packed::new(bytes, "model directory")?;
        let models = Self::read(&mut packed);
        packed.finish()?;
        if models.models.len() > MAX_MODELS {
            return Err(DecodeError::too_large("models", MAX_MODELS as u64, models.models.len() as u64));
        }
        let constants = models.models.iter().all(|model| match model.kind {
            ModelKindV1::Linear { bias } => bias.is_finite(),
            ModelKindV1::Trees { base } => base.is_finite(),
            ModelKindV1::DoubleTrees(finish) => finish.is_finite(),
            ModelKindV1::Graph => true,
        });
        let stages = (1..=MAX_STAGES).contains(&models.stages.len())
            && models.stages.iter().rev().enumerate().all(|(after, stage)| {
                usize::from(stage.model) < models.models.len() && (stage.keep == 0) == (after == 0)
            });
        match (constants, stages) {
            (true, true) => Ok(models),
            (false, _) => Err(DecodeError::invalid("model constant", 0)),
            (_, false) => Err(DecodeError::invalid("model stages", 0)),
        }
    }

    fn read(packed: &mut Packed<'_>) -> Self {
        let kind = |packed: &mut Packed<'_>| match packed.variant(4) {
            0 => ModelKindV1::Linear { bias: packed.f32() },
            1 => ModelKindV1::Trees { base: packed.f32() },
            2 => ModelKindV1::DoubleTrees(Finish { divisor: packed.f64(), scale: packed.f64(), bias: packed.f64() }),
            _ => ModelKindV1::Graph,
        };
        Self {
            models: packed
                .list(|packed| ModelV1 { kind: kind(packed), link: packed.one_of(&[Link::Identity, Link::Logistic]) }),
            stages: packed.list(|packed| StageV1 { model: packed.u16(), keep: packed.u32() }),
        }
    }

    /// The section's bytes.
    #[cfg(feature = "id")]
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        crate::container::encode(self)
    }
}

/// Weights of a linear model.
#[derive(Clone, Copy, Debug)]
pub struct LinearWeights<'a> {
    /// One weight per feature.
    pub weight: F32s<'a>,
    /// One centre per feature.
    pub centre: F32s<'a>,
}

impl<'a> LinearWeights<'a> {
    /// Validates the weights for `features` features.
    ///
    /// # Errors
    /// Another number of features, or a value that is not finite.
    pub fn parse(bytes: &'a [u8], features: usize) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes, "linear weights");
        let weight = F32s::new(reader.array(features, 4)?);
        let centre = F32s::new(reader.array(features, 4)?);
        reader.finish()?;
        if weight.iter().chain(centre.iter()).all(f32::is_finite) {
            Ok(Self { weight, centre })
        } else {
            Err(DecodeError::invalid("linear weight that is not finite", 0))
        }
    }

    /// The section's bytes; the slices have the same length.
    #[must_use]
    pub fn encode(weight: &[f32], centre: &[f32]) -> Vec<u8> {
        weight.iter().chain(centre).flat_map(|value| value.to_le_bytes()).collect()
    }
}

/// A validated tree ensemble.
#[derive(Clone, Copy, Debug)]
pub struct TreeNodes<'a> {
    /// Number of nodes of each tree.
    pub tree_nodes: U32s<'a>,
    /// Threshold of an inner node, value of a leaf.
    pub value: F32s<'a>,
    /// Expected score below the node.
    pub mean: F32s<'a>,
    /// Feature of an inner node, [`LEAF`] for a leaf.
    pub feature: U16s<'a>,
    /// [`MISSING_LEFT`] or 0.
    pub flags: &'a [u8],
    /// Values of the leaves in the order of the nodes, where they are `f64`; else nothing.
    pub leaf: F64s<'a>,
}

/// One node, for writing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TreeNode {
    /// Threshold of an inner node, value of a leaf.
    pub value: f32,
    /// Expected score below the node.
    pub mean: f32,
    /// Feature of an inner node, [`LEAF`] for a leaf.
    pub feature: u16,
    /// [`MISSING_LEFT`] or 0.
    pub flags: u8,
}

impl<'a> TreeNodes<'a> {
    /// Validates an ensemble over `features` features.
    ///
    /// # Errors
    /// Wrong lengths, too many nodes or trees, a feature out of range, a value that is not finite, a node list that is
    /// not a binary tree, or one that is too deep.
    pub fn parse(bytes: &'a [u8], features: usize) -> Result<Self, DecodeError> {
        Self::read(bytes, features, 0)
    }

    /// Validates an ensemble whose leaves are `f64`.
    ///
    /// # Errors
    /// As for [`parse`](Self::parse).
    pub fn parse_double(bytes: &'a [u8], features: usize) -> Result<Self, DecodeError> {
        Self::read(bytes, features, size_of::<f64>())
    }

    /// Reads nodes, and for each leaf so many bytes more.
    #[inline(never)]
    fn read(bytes: &'a [u8], features: usize, leaf_size: usize) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes, "trees");
        let trees = reader.u32()? as usize;
        if trees > MAX_TREES {
            return Err(DecodeError::too_large("trees", MAX_TREES as u64, trees as u64));
        }
        let tree_nodes = U32s::new(reader.array(trees, 4)?);
        let nodes = tree_nodes.iter().map(u64::from).sum::<u64>();
        if nodes > MAX_NODES as u64 {
            return Err(DecodeError::too_large("tree nodes", MAX_NODES as u64, nodes));
        }
        let nodes = nodes as usize;
        let parsed = Self {
            tree_nodes,
            value: F32s::new(reader.array(nodes, 4)?),
            mean: F32s::new(reader.array(nodes, 4)?),
            feature: U16s::new(reader.array(nodes, 2)?),
            flags: reader.take(nodes)?,
            // Half of a tree's nodes and a half are leaves; of what is no tree, the number does not matter.
            leaf: F64s::new(reader.array((nodes + trees) / 2, leaf_size)?),
        };
        reader.finish()?;
        parsed.validate(features)?;
        Ok(parsed)
    }

    fn validate(&self, features: usize) -> Result<(), DecodeError> {
        if !(self.mean.iter().all(f32::is_finite) && self.leaf.iter().all(f64::is_finite)) {
            return Err(DecodeError::invalid("tree value that is not finite", 0));
        }
        if self.flags.iter().any(|flags| *flags & !MISSING_LEFT != 0) {
            return Err(DecodeError::invalid("tree flags", 0));
        }
        let mut start = 0;
        for nodes in self.tree_nodes.iter() {
            let nodes = nodes as usize;
            self.validate_tree(start, nodes, features)?;
            start += nodes;
        }
        Ok(())
    }

    /// Breadth-first order: inner node k owns nodes 2k+1 and 2k+2, so a list of n nodes is one tree exactly when each
    /// inner node comes before its children and n = 2 * inner + 1.
    fn validate_tree(&self, start: usize, nodes: usize, features: usize) -> Result<(), DecodeError> {
        let mut inner = 0;
        let mut level_end = 1;
        let mut depth = 0;
        for node in 0..nodes {
            if node == level_end {
                depth += 1;
                level_end = 2 * inner + 1;
            }
            let feature = self.feature.get(start + node);
            let value = self.value.get(start + node);
            if feature == LEAF && value.is_finite() {
                continue;
            }
            // What is left is a threshold, or a leaf that is not finite, whose feature is out of range.
            if usize::from(feature) >= features || value.is_nan() {
                return Err(DecodeError::invalid("tree feature", start + node));
            }
            if node > 2 * inner {
                return Err(DecodeError::invalid("tree shape", start + node));
            }
            inner += 1;
        }
        if nodes != 2 * inner + 1 {
            return Err(DecodeError::invalid("tree shape", start));
        }
        if depth > MAX_DEPTH {
            return Err(DecodeError::too_large("tree depth", MAX_DEPTH as u64, depth as u64));
        }
        if inner + 1 > MAX_LEAVES {
            return Err(DecodeError::too_large("tree leaves", MAX_LEAVES as u64, inner as u64 + 1));
        }
        Ok(())
    }

    /// The section's bytes: each tree in breadth-first order.
    #[must_use]
    pub fn encode(trees: &[Vec<TreeNode>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&(trees.len() as u32).to_le_bytes());
        bytes.extend(trees.iter().flat_map(|tree| (tree.len() as u32).to_le_bytes()));
        let nodes = || trees.iter().flatten();
        bytes.extend(nodes().flat_map(|node| node.value.to_le_bytes()));
        bytes.extend(nodes().flat_map(|node| node.mean.to_le_bytes()));
        bytes.extend(nodes().flat_map(|node| node.feature.to_le_bytes()));
        bytes.extend(nodes().map(|node| node.flags));
        bytes
    }

    /// The section's bytes with leaves in `f64`, one for each leaf in the order of the nodes.
    #[must_use]
    pub fn encode_double(trees: &[Vec<TreeNode>], leaves: &[f64]) -> Vec<u8> {
        let mut bytes = Self::encode(trees);
        bytes.extend(leaves.iter().flat_map(|leaf| leaf.to_le_bytes()));
        bytes
    }
}
