//! Trees as other libraries write them, made into trees of thresholds.
//!
//! A library's split is a partition of the numbers, with missing values on one side: below a threshold, in a set of
//! categories, zero or not. All of them are *cuts*: ascending numbers at which the side changes. A split with one cut is
//! a node of ours. One with more becomes a small balanced tree of nodes, and what hangs below it is repeated for every
//! stretch of the line. What a path has decided already about a feature is not asked again, which keeps the repetition
//! small; where it does not, the tree is refused by its number of leaves.
//!
//! It does not know any library: importers make [`Source`]s.

use std::rc::Rc;

use selvedge_format::model::{LEAF, MAX_DEPTH, MAX_LEAVES, MAX_NODES, MAX_TREES, MISSING_LEFT, TreeNode};

use crate::error::{CompileError, CompileErrorKind};
use crate::model::Tree;

/// A tree: nodes by number, the root first. Nodes that no path from the root reaches were pruned.
#[derive(Debug, Default)]
pub(super) struct Source {
    pub(super) nodes: Vec<Node>,
    /// How much of the training data each node saw; used for explanations, if those of all leaves are above 0.
    pub(super) weights: Vec<f64>,
    /// What each split saved of the training loss; 0 where it is not there.
    pub(super) gains: Vec<f64>,
}

/// A node of it.
#[derive(Debug)]
pub(super) enum Node {
    /// Ends here, with this value.
    Leaf(f64),
    /// Goes to the first child or to the second.
    Split { test: Test, children: [i64; 2] },
}

/// Which way a value goes.
#[derive(Debug)]
pub(super) struct Test {
    pub(super) feature: u64,
    /// Where the side changes: a value is beyond a cut if it is at or above it. Ascending strictly, not NaN.
    pub(super) cuts: Vec<f32>,
    /// The side of what is below all cuts.
    pub(super) first: Side,
    /// The side of a missing value.
    pub(super) missing: Side,
}

/// Left or right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

impl Side {
    /// Left if `condition` holds.
    pub(super) const fn left_if(condition: bool) -> Self {
        if condition { Self::Left } else { Self::Right }
    }

    pub(super) const fn other(self) -> Self {
        Self::left_if(matches!(self, Self::Right))
    }

    /// This side after `changes`.
    const fn after(self, changes: usize) -> Self {
        if changes.is_multiple_of(2) { self } else { self.other() }
    }
}

/// The least `f32` that is above `value`: what is at most `value` is below it. Nothing is above infinity.
pub(super) fn above(value: f64) -> Option<f32> {
    (value < f64::INFINITY).then(|| at_most(value).next_up())
}

/// The largest `f32` that is at most `value`.
fn at_most(value: f64) -> f32 {
    let nearest = value as f32;
    if f64::from(nearest) > value { nearest.next_down() } else { nearest }
}

/// The least `f32` that is at least `value`.
pub(super) fn at_least(value: f64) -> f32 {
    -at_most(-value)
}

impl Test {
    /// Values below `cut` go left.
    pub(super) fn below(feature: u64, cut: f32, missing: Side) -> Self {
        Self { feature, cuts: vec![cut], first: Side::Left, missing }
    }

    /// Values of at most `threshold` go left.
    pub(super) fn at_most(feature: u64, threshold: f64, missing: Side) -> Self {
        Self { feature, cuts: above(threshold).into_iter().collect(), first: Side::Left, missing }
    }

    /// Values whose whole part is one of `categories`, ascending, go to `chosen`, all others to the other side. Category 0
    /// begins at `first_of_zero`: libraries differ in what they make of numbers between -1 and 0.
    pub(super) fn among(feature: u64, categories: &[u32], chosen: Side, first_of_zero: f32, missing: Side) -> Self {
        let mut cuts: Vec<f32> = Vec::new();
        for category in categories {
            let from = if *category == 0 { first_of_zero } else { at_least(f64::from(*category)) };
            let until = at_least(f64::from(*category) + 1.0);
            match cuts.last_mut() {
                // The neighbour, or one that `f32` does not tell apart.
                Some(last) if *last >= from => *last = until,
                _ if from < until => cuts.extend([from, until]),
                _ => {}
            }
        }
        Self { feature, cuts, first: chosen.other(), missing }
    }

    /// The side of numbers at or above `value`, and just there.
    pub(super) fn side_at(&self, value: Option<f32>) -> Side {
        self.first.after(value.map_or(0, |value| self.cuts.partition_point(|cut| *cut <= value)))
    }
}

/// What a path knows about one feature, and what it knew before.
struct Known {
    feature: u64,
    bounds: Bounds,
    before: Option<Rc<Known>>,
}

/// Which values can still be there.
#[derive(Clone, Copy)]
struct Bounds {
    /// At least this.
    from: Option<f32>,
    /// Below this.
    until: Option<f32>,
    numbers: bool,
    missing: bool,
}

impl Bounds {
    const ALL: Self = Self { from: None, until: None, numbers: true, missing: true };

    /// Those of ascending cuts that part what can still be there. By halves: a set may have a million cuts, and every
    /// spot asks.
    fn within<'c>(&self, cuts: &'c [f32]) -> &'c [f32] {
        let first = self.from.map_or(0, |from| cuts.partition_point(|cut| *cut <= from));
        let end = self.until.map_or(cuts.len(), |until| cuts.partition_point(|cut| *cut < until));
        cuts.get(first..end).unwrap_or_default()
    }
}

fn bounds(mut known: &Option<Rc<Known>>, feature: u64) -> Bounds {
    while let Some(step) = known {
        if step.feature == feature {
            return step.bounds;
        }
        known = &step.before;
    }
    Bounds::ALL
}

/// A place in the tree that is made: a node of the source, and what is known there.
#[derive(Clone)]
struct Spot {
    node: usize,
    known: Option<Rc<Known>>,
}

/// What becomes of a spot.
enum Grown {
    Leaf { node: usize, value: f64 },
    Split { feature: u64, cut: f32, missing_left: bool, children: [Spot; 2] },
}

impl Source {
    /// A tree that is but a leaf.
    pub(super) fn of_leaf(value: f64) -> Self {
        Self { nodes: vec![Node::Leaf(value)], ..Self::default() }
    }

    /// The tree with its leaves times a weight.
    pub(super) fn times(mut self, weight: f64) -> Self {
        for node in &mut self.nodes {
            if let Node::Leaf(value) = node {
                *value *= weight;
            }
        }
        self
    }

    /// The tree in breadth-first order; adds what each split saved to the gain of its feature, of which there are as many
    /// as inputs.
    pub(super) fn grow(&self, gains: &mut [f64], place: &str) -> Result<Tree, CompileError> {
        self.check(gains, place)?;
        let cuts = |node: &Node| if let Node::Split { test, .. } = node { test.cuts.len() } else { 1 };
        // Without sets nothing is repeated, and the tree stays as it is.
        let is_plain = self.nodes.iter().all(|node| cuts(node) == 1);
        let mut spots = vec![Spot { node: 0, known: None }];
        let mut tree = Tree { nodes: Vec::new(), left: Vec::new(), leaf: Vec::new() };
        let mut sources = Vec::new();
        let (mut level_end, mut depth) = (1, 0);
        while let Some(spot) = spots.get(tree.nodes.len()).cloned() {
            if tree.nodes.len() == level_end {
                (level_end, depth) = (spots.len(), depth + 1);
            }
            if depth > MAX_DEPTH {
                return Err(limit(place, "levels", MAX_DEPTH));
            }
            match self.resolve(spot, is_plain) {
                Grown::Leaf { node, value } => {
                    tree.nodes.push(TreeNode { value: value as f32, mean: 0.0, feature: LEAF, flags: 0 });
                    tree.left.push(0);
                    tree.leaf.push(value);
                    sources.push(node);
                }
                Grown::Split { feature, cut, missing_left, children } => {
                    let flags = if missing_left { MISSING_LEFT } else { 0 };
                    // Checked to be one of the features, of which a bundle has fewer than 2^16.
                    tree.nodes.push(TreeNode { value: cut, mean: 0.0, feature: feature as u16, flags });
                    tree.left.push(spots.len() as u32);
                    tree.leaf.push(0.0);
                    sources.push(0);
                    spots.extend(children);
                }
            }
            // A spot is a node: of two for each leaf but one.
            if spots.len() / 2 + 1 > MAX_LEAVES {
                return Err(self.too_many_leaves(place, is_plain));
            }
        }
        self.fill_means(&sources, &mut tree);
        Ok(tree)
    }

    fn too_many_leaves(&self, place: &str, is_plain: bool) -> CompileError {
        if is_plain {
            return limit(place, "leaves", MAX_LEAVES);
        }
        let message = format!("its splits on sets, made thresholds, need more than {MAX_LEAVES} leaves");
        let help = "train with fewer leaves or smaller sets (`max_cat_threshold`), or encode categories by a number \
            that orders them, such as the rate of the target";
        CompileError::new(CompileErrorKind::Limit, place, message, help)
    }

    /// Every node is reached at most once, and every value is one.
    fn check(&self, gains: &mut [f64], place: &str) -> Result<(), CompileError> {
        let bad = |message: String| Err(CompileError::new(CompileErrorKind::BadTree, place, message, SAVE_AGAIN));
        if self.nodes.is_empty() {
            return bad("the tree has no nodes".to_owned());
        }
        let mut reached = vec![false; self.nodes.len()];
        reached[0] = true;
        let mut open = vec![0];
        while let Some(at) = open.pop() {
            match &self.nodes[at] {
                Node::Leaf(value) if value.is_finite() && (*value as f32).is_finite() => {}
                Node::Leaf(value) => return bad(format!("node {at} is a leaf of {value}, which no score holds")),
                Node::Split { test, children } => {
                    let features = gains.len();
                    let Some(gain) = usize::try_from(test.feature).ok().and_then(|feature| gains.get_mut(feature))
                    else {
                        return bad(format!("node {at} splits on feature {}, and there are {features}", test.feature));
                    };
                    *gain += self.gains.get(at).copied().unwrap_or(0.0);
                    if test.cuts.iter().any(|cut| cut.is_nan()) {
                        return bad(format!("node {at} has a threshold that is no number"));
                    }
                    for child in children {
                        let found = usize::try_from(*child).ok();
                        match found.and_then(|child| reached.get_mut(child)) {
                            None => {
                                let nodes = self.nodes.len();
                                return bad(format!("node {at} has the child {child}, and there are {nodes} nodes"));
                            }
                            Some(true) => {
                                return bad(format!("the links form no tree: below node {at} a node is reached twice"));
                            }
                            Some(reached) => *reached = true,
                        }
                        open.extend(found);
                    }
                }
            }
        }
        Ok(())
    }

    /// Passes the tests whose outcome is known, and cuts at the first one whose outcome is not.
    fn resolve(&self, mut spot: Spot, is_plain: bool) -> Grown {
        loop {
            let (test, [left, right]) = match &self.nodes[spot.node] {
                Node::Leaf(value) => return Grown::Leaf { node: spot.node, value: *value },
                Node::Split { test, children } => (test, *children),
            };
            let child = |side: Side| if side == Side::Left { left as usize } else { right as usize };
            if is_plain {
                let known = None;
                let children =
                    [test.first, test.first.other()].map(|side| Spot { node: child(side), known: known.clone() });
                let missing_left = test.missing == test.first;
                return Grown::Split { feature: test.feature, cut: test.cuts[0], missing_left, children };
            }
            let bounds = bounds(&spot.known, test.feature);
            let cuts = bounds.within(&test.cuts);
            let first = test.side_at(bounds.from);
            let know =
                |bounds: Bounds| Some(Rc::new(Known { feature: test.feature, bounds, before: spot.known.clone() }));
            if bounds.numbers && !cuts.is_empty() {
                let middle = cuts.len() / 2;
                let cut = cuts[middle];
                // Missing values go where a stretch of their side is.
                let missing_left = middle > 0 || test.missing == first;
                let lower = Bounds { until: Some(cut), missing: bounds.missing && missing_left, ..bounds };
                let upper = Bounds { from: Some(cut), missing: bounds.missing && !missing_left, ..bounds };
                let children = [lower, upper].map(|bounds| Spot { node: spot.node, known: know(bounds) });
                return Grown::Split { feature: test.feature, cut, missing_left, children };
            }
            if bounds.numbers && bounds.missing && first != test.missing {
                // Every number that can be there is at or above the lower bound.
                let cut = bounds.from.unwrap_or(f32::NEG_INFINITY);
                let missing = Spot { node: child(test.missing), known: know(Bounds { numbers: false, ..bounds }) };
                let numbers = Spot { node: child(first), known: know(Bounds { missing: false, ..bounds }) };
                return Grown::Split { feature: test.feature, cut, missing_left: true, children: [missing, numbers] };
            }
            spot.node = child(if bounds.numbers { first } else { test.missing });
        }
    }

    /// Expected score below each inner node: the mean of its leaves, weighted by what trained them; all alike where the
    /// file does not say. A leaf that is repeated shares its weight. `sources` has the leaf that each node comes from.
    fn fill_means(&self, sources: &[usize], tree: &mut Tree) {
        let mut copies = vec![0.0_f64; self.nodes.len()];
        let leaves = || sources.iter().zip(&tree.left).filter(|(_, left)| **left == 0).map(|(source, _)| *source);
        leaves().for_each(|source| copies[source] += 1.0);
        let is_weighted = leaves().all(|source| self.weights.get(source).is_some_and(|weight| *weight > 0.0));
        let weight = |source: usize| if is_weighted { self.weights[source] / copies[source] } else { 1.0 };
        // Weight and mean of each node; children come after their parent, so from the back.
        let mut below: Vec<(f64, f64)> =
            sources.iter().zip(&tree.leaf).map(|(source, value)| (weight(*source), *value)).collect();
        for at in (0..tree.nodes.len()).rev() {
            let child = tree.left[at] as usize;
            if child != 0 {
                let [(left, left_mean), (right, right_mean)] = [below[child], below[child + 1]];
                below[at] = (left + right, (left * left_mean + right * right_mean) / (left + right));
            }
            tree.nodes[at].mean = below[at].1 as f32;
        }
    }
}

/// Trees of an ensemble over `features` inputs, within the bounds of a bundle, and the gain of each input.
pub(super) fn grow_all(
    trees: impl Iterator<Item = Result<Source, CompileError>>,
    features: usize,
    place: impl Fn(usize) -> String,
) -> Result<(Vec<Tree>, Vec<f64>), CompileError> {
    let mut grown = Vec::new();
    let mut gains = vec![0.0; features];
    let mut nodes = 0;
    for (index, tree) in trees.enumerate() {
        if index == MAX_TREES {
            return Err(limit(place(index), "trees", MAX_TREES));
        }
        let tree = tree?.grow(&mut gains, &place(index))?;
        nodes += tree.nodes.len();
        if nodes > MAX_NODES {
            return Err(limit(place(index), "nodes", MAX_NODES));
        }
        grown.push(tree);
    }
    Ok((grown, gains))
}

const SAVE_AGAIN: &str = "save the model again, and do not edit it by hand";

/// More of something than a bundle holds.
pub(super) fn limit(place: impl Into<String>, what: &str, most: usize) -> CompileError {
    let message = format!("a bundle holds at most {most} {what}");
    CompileError::new(CompileErrorKind::Limit, place, message, "train fewer or smaller trees, on fewer features")
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use selvedge_format::model::LEAF;

    use super::{Node, Side, Source, Test, above, at_least};
    use crate::model::Tree;

    const NUMBERS: [f32; 9] = [f32::NEG_INFINITY, -2.0, -1e-40, 0.0, 1e-45, 1.0, 1.5, 3.0, f32::INFINITY];

    /// A complete tree of three levels over two features.
    fn source() -> impl Strategy<Value = Source> {
        let cuts = prop::sample::subsequence(NUMBERS.to_vec(), 0..6);
        let side = any::<bool>().prop_map(Side::left_if);
        let test = (0..2_u64, cuts, side.clone(), side).prop_map(|(feature, cuts, first, missing)| Test {
            feature,
            cuts,
            first,
            missing,
        });
        vec(test, 7).prop_map(|tests| {
            let inner = tests.into_iter().zip(0_i64..);
            let inner = inner.map(|(test, at)| Node::Split { test, children: [2 * at + 1, 2 * at + 2] });
            Source { nodes: inner.chain((0..8).map(|leaf| Node::Leaf(f64::from(leaf)))).collect(), ..Source::default() }
        })
    }

    /// The leaf of a row, by the words of the types alone.
    fn exit(source: &Source, row: [f32; 2]) -> f64 {
        let mut at = 0;
        loop {
            match &source.nodes[at] {
                Node::Leaf(value) => return *value,
                Node::Split { test, children: [left, right] } => {
                    let x = row[test.feature as usize];
                    let beyond = test.cuts.iter().filter(|cut| x >= **cut).count();
                    let is_first = beyond % 2 == 0;
                    let side =
                        if x.is_nan() { test.missing } else { Side::left_if(is_first == (test.first == Side::Left)) };
                    at = if side == Side::Left { *left } else { *right } as usize;
                }
            }
        }
    }

    fn exit_of_grown(tree: &Tree, row: [f32; 2]) -> f64 {
        let mut at = 0;
        while tree.nodes[at].feature != LEAF {
            let node = &tree.nodes[at];
            let x = row[usize::from(node.feature)];
            let right = if x.is_nan() { node.flags == 0 } else { x >= node.value };
            at = tree.left[at] as usize + usize::from(right);
        }
        tree.leaf[at]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn a_grown_tree_ends_where_its_source_does(source in source()) {
            let tree = source.grow(&mut [0.0; 2], "").expect("small enough");
            let around = NUMBERS.iter().flat_map(|x| [x.next_down(), *x, x.next_up()]);
            let values: Vec<f32> = around.chain([f32::NAN, -0.0]).collect();
            for a in &values {
                for b in &values {
                    prop_assert_eq!(exit(&source, [*a, *b]), exit_of_grown(&tree, [*a, *b]), "{} {}", a, b);
                }
            }
        }

        #[test]
        fn a_threshold_in_f64_parts_f32s_where_it_did(x: f32, threshold: f64) {
            prop_assume!(!x.is_nan() && !threshold.is_nan());
            for threshold in [threshold, f64::from(x), f64::from(x).next_up(), f64::from(x).next_down()] {
                prop_assert_eq!(f64::from(x) <= threshold, above(threshold).is_none_or(|cut| x < cut));
                prop_assert_eq!(f64::from(x) < threshold, x < at_least(threshold));
            }
        }
    }

    #[test]
    fn categories_are_whole_parts_and_neighbours_are_joined() {
        let cuts = |set: &[u32]| Test::among(0, set, Side::Left, 0.0, Side::Left).cuts;
        assert!(cuts(&[]).is_empty());
        assert_eq!(cuts(&[0, 1, 2, 5]), [0.0, 3.0, 5.0, 6.0]);
        // Above 2^24 an `f32` has but every second whole number.
        assert_eq!(cuts(&[(1 << 24) + 1, (1 << 24) + 2]), [16_777_218.0, 16_777_220.0]);
    }
}
