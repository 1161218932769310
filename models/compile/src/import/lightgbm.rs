//! LightGBM's text models, as `save_model("model.txt")` writes them: lines `key=value`, a block per tree.
//!
//! What makes the scores equal bit for bit. Thresholds are `f64` and inputs `f32`, so `x <= t` is a comparison with the
//! least `f32` above `t`. LightGBM keeps no value within 1e-35 of zero when it reads a row: they are zero to it, and a
//! threshold in that range is moved to its end. Where the missing type is none, a missing value is zero; where it is
//! zero, zero is missing as well; only where it is NaN is NaN alone. Leaves are added in `f64`, tree after tree, and
//! divided by the number of trees where the model says `average_output`.
//!
//! The writer and the decisions are `src/io/tree.cpp` and `include/LightGBM/tree.h` of LightGBM 4. Whatever would change
//! a score and is not understood here is refused by name.

use std::collections::HashMap;
use std::str::FromStr;

use selvedge_format::model::{Finish, Link};
use selvedge_format::program::MAX_FEATURES;

use super::grow::{Node, Side, Source, Test, above, grow_all, limit};
use super::output::Output;
use crate::error::{CompileError, CompileErrorKind};
use crate::model::{Sum, TrainedModel, TreeEnsemble};

const SAVE_AGAIN: &str = "save the model again with `booster.save_model(\"model.txt\")`; do not edit it by hand";
/// Versions of the format whose decisions are these.
const VERSIONS: [&str; 3] = ["v2", "v3", "v4"];
/// What LightGBM takes for zero (`kZeroThreshold`), and the first number beyond.
const ZERO: f32 = 1e-35;
/// Bits of `decision_type`.
const CATEGORICAL: u64 = 1;
const DEFAULT_LEFT: u64 = 2;

/// Objectives whose raw scores are what they add up, and what they make of one. Of several classes none makes anything
/// alone.
const OBJECTIVES: [(&str, Link); 17] = [
    ("binary", Link::Logistic),
    ("cross_entropy", Link::Logistic),
    ("regression", Link::Identity),
    ("regression_l1", Link::Identity),
    ("huber", Link::Identity),
    ("fair", Link::Identity),
    ("quantile", Link::Identity),
    ("mape", Link::Identity),
    ("poisson", Link::Identity),
    ("gamma", Link::Identity),
    ("tweedie", Link::Identity),
    ("multiclass", Link::Identity),
    ("multiclassova", Link::Identity),
    ("lambdarank", Link::Identity),
    ("rank_xendcg", Link::Identity),
    ("custom", Link::Identity),
    ("none", Link::Identity),
];

/// Lines of a part of the file, by key.
struct Block<'a> {
    place: String,
    lines: HashMap<&'a str, &'a str>,
}

/// Whether the bytes begin like such a file.
pub(super) fn is_model(bytes: &[u8]) -> bool {
    bytes.starts_with(b"tree\n") || bytes.starts_with(b"tree\r\n")
}

pub(super) fn import(bytes: &[u8], output: Output) -> Result<TrainedModel, CompileError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let message = format!("the text is not in UTF-8 at byte {}", error.valid_up_to());
        CompileError::new(CompileErrorKind::Malformed, "", message, SAVE_AGAIN)
    })?;
    let (trees, is_complete) = text.split_once("end of trees").map_or((text, false), |(trees, _)| (trees, true));
    if !is_complete {
        let help = "the file was cut short: save or copy the model again";
        return Err(CompileError::new(CompileErrorKind::Malformed, "", "there is no line `end of trees`", help));
    }
    let mut blocks = trees.split("\nTree=");
    let head = Block::read(String::new(), blocks.next().unwrap_or_default());
    head.refuse_other_versions()?;
    let classes: usize = head.number("num_tree_per_iteration", Some(1))?;
    let class = output.of(classes, "num_tree_per_iteration")?;
    if head.number("num_class", Some(1))? != classes {
        let message = format!("there are {classes} trees in a round, and not one for each class");
        return Err(head.malformed("num_class", message));
    }
    let link = head.objective()?;
    let features = head.feature_count()?;
    let names = head.names(features)?;
    // Each round grows a tree of every class in turn.
    let place = |index: usize| format!("Tree={}", index.saturating_mul(classes).saturating_add(class));
    let of_class = blocks.skip(class).step_by(classes.max(1)).enumerate();
    let sources = of_class.map(|(index, block)| Block::read(place(index), block).source());
    let (trees, gains) = grow_all(sources, features, place)?;
    let divisor = if head.has("average_output") { trees.len().max(1) as f64 } else { 1.0 };
    let sum = Sum::Double(Finish { divisor, scale: 1.0, bias: 0.0 });
    let trainer = format!("LightGBM, text format {}", head.text("version").unwrap_or_default());
    Ok(TrainedModel::Trees(TreeEnsemble { names, features, sum, link, trees, gains, trainer }))
}

impl<'a> Block<'a> {
    fn read(place: String, text: &'a str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty());
        Self { place, lines: lines.map(|line| line.split_once('=').unwrap_or((line, ""))).collect() }
    }

    fn has(&self, key: &str) -> bool {
        self.lines.contains_key(key)
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        self.lines.get(key).map(|value| value.trim())
    }

    fn error(&self, kind: CompileErrorKind, key: &str, message: String, help: &str) -> CompileError {
        let place = if self.place.is_empty() { key.to_owned() } else { format!("{}.{key}", self.place) };
        CompileError::new(kind, place, message, help)
    }

    fn malformed(&self, key: &str, message: String) -> CompileError {
        self.error(CompileErrorKind::Malformed, key, message, SAVE_AGAIN)
    }

    /// One number; `unless_given` where there is no such line.
    fn number<T: FromStr>(&self, key: &str, unless_given: Option<T>) -> Result<T, CompileError> {
        match (self.text(key), unless_given) {
            (None, Some(value)) => Ok(value),
            (None, None) => Err(self.malformed(key, "the line is missing".to_owned())),
            (Some(text), _) => {
                text.parse().map_err(|_| self.malformed(key, format!("`{}` is no such number", cut(text))))
            }
        }
    }

    /// As many numbers as `count`.
    fn numbers<T: FromStr>(&self, key: &str, count: usize) -> Result<Vec<T>, CompileError> {
        let text = self.text(key).unwrap_or_default();
        let mut numbers = Vec::new();
        for (at, word) in text.split_ascii_whitespace().enumerate() {
            let number = word.parse();
            numbers.push(
                number.map_err(|_| {
                    self.malformed(&format!("{key}[{at}]"), format!("`{}` is no such number", cut(word)))
                })?,
            );
        }
        if numbers.len() == count {
            return Ok(numbers);
        }
        Err(self.malformed(key, format!("there are {} values, and there should be {count}", numbers.len())))
    }

    fn refuse_other_versions(&self) -> Result<(), CompileError> {
        let version = self.text("version").unwrap_or("v1");
        if !VERSIONS.contains(&version) {
            let message = format!("the text format `{}` is not supported", cut(version));
            let help = "save the model with LightGBM 2.3 to 4";
            return Err(self.error(CompileErrorKind::Unsupported, "version", message, help));
        }
        Ok(())
    }

    /// Its name, then its parameters.
    fn objective(&self) -> Result<Link, CompileError> {
        let mut words = self.text("objective").unwrap_or("none").split_ascii_whitespace();
        let name = words.next().unwrap_or("none");
        let Some((_, link)) = OBJECTIVES.iter().find(|(known, _)| *known == name) else {
            let message = format!("the objective `{}` is not supported", cut(name));
            let names: Vec<_> = OBJECTIVES.iter().map(|(name, _)| *name).collect();
            let help = format!("supported are {}", names.join(", "));
            return Err(self.error(CompileErrorKind::Unsupported, "objective", message, &help));
        };
        let bends = |word: &&str| match word.split_once(':') {
            Some(("sigmoid", factor)) => *link == Link::Logistic && factor.parse() != Ok(1.0),
            _ => *word == "sqrt",
        };
        match words.find(bends) {
            None => Ok(*link),
            Some(word) => {
                let message =
                    format!("the objective has the parameter `{}`, which changes what a score means", cut(word));
                let help = "train with `sigmoid=1` and without `reg_sqrt`";
                Err(self.error(CompileErrorKind::Unsupported, "objective", message, help))
            }
        }
    }

    fn feature_count(&self) -> Result<usize, CompileError> {
        let last: usize = self.number("max_feature_idx", None)?;
        if last >= MAX_FEATURES {
            return Err(limit("max_feature_idx", "features", MAX_FEATURES));
        }
        Ok(last + 1)
    }

    /// None if they are those that LightGBM gives to columns without a name.
    fn names(&self, features: usize) -> Result<Option<Vec<String>>, CompileError> {
        let names: Vec<&str> = self.text("feature_names").unwrap_or_default().split_ascii_whitespace().collect();
        if names.len() != features {
            let message = format!("{} features are named and {features} are counted", names.len());
            return Err(self.error(CompileErrorKind::FeatureCount, "feature_names", message, SAVE_AGAIN));
        }
        let is_given = names.iter().enumerate().any(|(at, name)| *name != format!("Column_{at}"));
        Ok(is_given.then(|| names.into_iter().map(str::to_owned).collect()))
    }

    /// The tree of this block: inner nodes first, as they are numbered, then leaves.
    fn source(&self) -> Result<Source, CompileError> {
        let leaves: usize = self.number("num_leaves", None)?;
        if self.number("is_linear", Some(0_u8))? != 0 {
            let help = "train with `linear_tree=false`: the leaves of this model are linear models";
            let message = "linear trees are not supported".to_owned();
            return Err(self.error(CompileErrorKind::Unsupported, "is_linear", message, help));
        }
        let values: Vec<f64> = self.numbers("leaf_value", leaves)?;
        if leaves < 2 {
            let nodes = values.into_iter().map(Node::Leaf).collect();
            return Ok(Source { nodes, ..Source::default() });
        }
        let inner = leaves - 1;
        let features: Vec<u64> = self.numbers("split_feature", inner)?;
        let thresholds: Vec<f64> = self.numbers("threshold", inner)?;
        let decisions: Vec<u64> = self.numbers("decision_type", inner)?;
        let left: Vec<i64> = self.numbers("left_child", inner)?;
        let right: Vec<i64> = self.numbers("right_child", inner)?;
        // A child below 0 is a leaf, counted from -1 down.
        let child = |at: i64| if at < 0 { inner as i64 + (-1 - at) } else { at };
        let mut gains = self.numbers("split_gain", inner).unwrap_or_default();
        let mut weights = vec![0.0; inner];
        weights.extend(self.numbers("leaf_weight", leaves).unwrap_or_else(|_| vec![0.0; leaves]));
        gains.resize(2 * leaves - 1, 0.0);
        let sets = self.sets()?;
        let mut nodes = Vec::with_capacity(2 * leaves - 1);
        for at in 0..inner {
            let test = if decisions[at] & CATEGORICAL == 0 {
                self.numerical(at, features[at], thresholds[at], decisions[at])?
            } else {
                let set = sets.get(thresholds[at] as usize).filter(|_| thresholds[at] >= 0.0);
                let set = set.ok_or_else(|| {
                    self.malformed(&format!("threshold[{at}]"), format!("there is no set {}", thresholds[at]))
                })?;
                // The whole part of what is above -1 is 0. A missing value is in no set.
                Test::among(features[at], set, Side::Left, (-1.0_f32).next_up(), Side::Right)
            };
            nodes.push(Node::Split { test, children: [child(left[at]), child(right[at])] });
        }
        nodes.extend(values.into_iter().map(Node::Leaf));
        Ok(Source { nodes, weights, gains })
    }

    fn numerical(&self, at: usize, feature: u64, threshold: f64, decision: u64) -> Result<Test, CompileError> {
        if threshold.is_nan() {
            return Err(self.malformed(&format!("threshold[{at}]"), "the threshold is no number".to_owned()));
        }
        let (zero, beyond) = (-ZERO, ZERO.next_up());
        let mut cuts: Vec<f32> = match threshold {
            // Whatever is zero is at most this.
            t if t >= 0.0 && t <= f64::from(ZERO) => vec![beyond],
            // Whatever is zero is above this.
            t if t < 0.0 && t >= f64::from(zero) => vec![zero],
            t => above(t).into_iter().collect(),
        };
        let natural = Side::left_if(cuts.first().is_none_or(|cut| *cut >= beyond));
        let given = Side::left_if(decision & DEFAULT_LEFT != 0);
        let missing = match decision >> 2 & 3 {
            0 => natural,
            1 => {
                if natural != given {
                    // Zero is missing, and goes the other way than its neighbours. Two changes at one place are none.
                    for change in [zero, beyond] {
                        match cuts.iter().position(|cut| *cut == change) {
                            Some(at) => drop(cuts.remove(at)),
                            None => cuts.push(change),
                        }
                    }
                    cuts.sort_unstable_by(f32::total_cmp);
                }
                given
            }
            2 => given,
            kind => {
                let message = format!("the missing type {kind} is not known");
                return Err(self.malformed(&format!("decision_type[{at}]"), message));
            }
        };
        Ok(Test { feature, cuts, first: Side::Left, missing })
    }

    /// The sets of categories, each ascending: bits of 32-bit words, the lowest first.
    fn sets(&self) -> Result<Vec<Vec<u32>>, CompileError> {
        let count: usize = self.number("num_cat", Some(0))?;
        if count == 0 {
            return Ok(Vec::new());
        }
        let ends = count.checked_add(1).ok_or_else(|| self.malformed("num_cat", "too many sets".to_owned()))?;
        let ends: Vec<usize> = self.numbers("cat_boundaries", ends)?;
        let words: Vec<u32> = self.numbers("cat_threshold", ends.last().copied().unwrap_or(0))?;
        let mut sets = Vec::with_capacity(count);
        for (index, pair) in ends.windows(2).enumerate() {
            let Some(words) = words.get(pair[0]..pair[1]) else {
                return Err(self.malformed(&format!("cat_boundaries[{index}]"), "the sets overlap".to_owned()));
            };
            let bits = words.iter().zip(0_u32..).flat_map(|(word, at)| {
                (0..32)
                    .filter(move |bit| word >> bit & 1 == 1)
                    .map(move |bit| at.saturating_mul(32).saturating_add(bit))
            });
            sets.push(bits.collect());
        }
        Ok(sets)
    }
}

/// The beginning of what a file holds, to be shown.
fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}
