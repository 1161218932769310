//! Tree ensembles, evaluated for sixteen candidates at a time.
//!
//! QuickScorer (Lucchese et al., SIGIR 2015) turns a walk into set operations: number the leaves from left to right and
//! start with all of them; each test that is true (`x >= threshold`, so the walk would go right) removes the leaves of
//! its left subtree; the leftmost leaf that is left is the exit. Tests are independent of each other, so there is no
//! pointer to chase and no branch to predict.
//!
//! Two changes make it fit 128-bit vectors of bytes:
//! - **Bins.** Each feature value is replaced once by the number of thresholds at or below it, which fits a byte; a test
//!   is then one byte comparison, for sixteen candidates in one instruction. A feature with more than 255 thresholds
//!   becomes several scales, each with its own range. Each scale has two rows of bins: a missing value takes the lowest
//!   bin in the first and the highest in the second, and a test reads the row that sends it where the tree wants it.
//! - **Planes.** Eight leaves make a plane, and a plane of sixteen candidates one vector. A test touches only the planes
//!   that its left subtree reaches, usually one.
//!
//! Only the exit leaves' values are added, in tree order: in `f32` starting from the base, the sum that XGBoost makes, or
//! in `f64`, the sum that LightGBM and CatBoost make; bit for bit.
//!
//! A row alone would leave all lanes but one idle, and trees with more leaves than a byte can number have too many planes.
//! There, each row walks from node to node, through eight trees in step: no walk waits for another's memory, a leaf leads to
//! itself, and so there is one branch for all of them, which asks whether anybody has moved. A row has its values twice, as
//! scales have their bins: a missing one goes left in the first place and is the highest in the second.

use alloc::vec;
use alloc::vec::Vec;

use bytemuck::cast;
use selvedge_format::DecodeError;
use selvedge_format::model::{Finish, LEAF, MISSING_LEFT, TreeNodes};
use wide::{f32x4, i8x16, i32x4};

use crate::buffer::resize;
use crate::each::each;
use crate::feature::{self, LANES};
use crate::math::{ascending_bits, from_ascending_bits};

/// Most thresholds of a scale: bins are 0 to 255.
const MAX_THRESHOLDS: u8 = 255;
/// Leaves in a plane: the bits of a byte.
const PLANE: usize = 8;
/// Most leaves of a tree that is evaluated by planes: exit leaves are numbered by a byte.
const MAX_PLANAR_LEAVES: usize = 256;
/// Bins are stored with their upper bit flipped, because the signed byte comparison is the one that every vector unit
/// has.
const BIAS: u8 = 0x80;
/// Levels of a search whose thresholds are all compared: fifteen vector comparisons are four levels for four values. Without vectors
/// that would be more work, not less.
const TOGETHER: u32 = if cfg!(all(target_family = "wasm", not(target_feature = "simd128"))) { 0 } else { 4 };
/// Walks that are made in step.
const WALKS: usize = 8;
/// Most rows that are walked where planes are possible: a vector of them takes as long as five walks.
const FEW: usize = 4;

/// How leaves become a score.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sum {
    /// Added in `f32`, from here on.
    Single { base: f32 },
    /// Added in `f64`, then finished.
    Double(Finish),
}

impl Sum {
    fn start(self) -> f64 {
        match self {
            Self::Single { base } => base.into(),
            Self::Double(_) => 0.0,
        }
    }

    fn add(self, sum: f64, leaf: f64) -> f64 {
        let sum = sum + leaf;
        match self {
            // Two `f32`s added in `f64` and then rounded are the `f32` sum: `f64` has more than twice its digits and two
            // (Figueroa, 1995).
            Self::Single { .. } => f64::from(sum as f32),
            Self::Double(_) => sum,
        }
    }

    /// Adds to each sum the leaf that `exits` numbers for it. One function for every number of vectors.
    #[inline(never)]
    fn add_leaves(self, leaves: &[f64], exits: &[u8], sums: &mut [f64]) {
        // A leaf is always left, because the rightmost is never removed.
        let leaf = |exit: &u8| leaves.get(usize::from(*exit)).copied().unwrap_or(0.0);
        let pairs = sums.iter_mut().zip(exits);
        match self {
            Self::Single { .. } => pairs.for_each(|(sum, exit)| *sum = self.add(*sum, leaf(exit))),
            Self::Double(_) => pairs.for_each(|(sum, exit)| *sum += leaf(exit)),
        }
    }

    #[inline(never)]
    fn finish_all(self, sums: &[f64], scores: &mut [f32]) {
        scores.iter_mut().zip(sums).for_each(|(score, sum)| *score = self.finish(*sum));
    }

    fn finish(self, sum: f64) -> f32 {
        match self {
            Self::Single { .. } => sum as f32,
            Self::Double(finish) => finish.of(sum),
        }
    }
}

/// A validated ensemble, lowered.
#[derive(Debug)]
pub struct Trees {
    sum: Sum,
    scales: Vec<Scale>,
    trees: Vec<Tree>,
    /// End of each plane's tests, plane after plane, tree after tree.
    plane_ends: Vec<u32>,
    tests: Vec<Test>,
    /// Leaf values from left to right, tree after tree; those of an `f32` sum are `f32`s.
    leaves: Vec<f64>,
    /// A tree has too many leaves for planes: there are no scales and no tests, all trees are walked.
    is_walked: bool,
    /// Values of a row that is walked by: two of each feature.
    sides: usize,
    /// All nodes, for walks and explanations.
    nodes: Vec<Node>,
    /// Expected score at each node.
    means: Vec<f32>,
    /// Sum of the trees' expected scores.
    mean: f32,
}

/// Buffers for rows.
#[derive(Debug, Default)]
pub(super) struct TreesScratch {
    bins: Vec<i8>,
    /// A row's [`sides`].
    row: Vec<f32>,
}

/// Thresholds of a feature, as many as fit.
#[derive(Debug)]
struct Scale {
    feature: u16,
    len: u8,
    /// Ascending, then NaN: no value is at or above it, so what fills the table is never counted.
    table: [f32; 256],
}

impl Scale {
    fn thresholds(&self) -> &[f32] {
        &self.table[..usize::from(self.len)]
    }
}

#[derive(Clone, Copy, Debug)]
struct Tree {
    /// First node in [`Trees::nodes`].
    node: u32,
    leaves: u32,
}

/// Removes the leaves `mask` of a plane where the bin is above `rank`.
#[derive(Clone, Copy, Debug)]
struct Test {
    /// Row of bins: twice the scale's position, and one more where missing values go right.
    bins: u16,
    rank: i8,
    mask: i8,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    /// Threshold; of a leaf NaN, which no value is at or above.
    value: f32,
    /// Left child in [`Trees::nodes`]; the right one follows. Of a leaf, itself.
    left: u32,
    /// Of a leaf, its place in [`Trees::leaves`].
    leaf: u32,
    /// Twice the feature, and one more where missing values go right. Of a leaf 0.
    side: u32,
}

impl Node {
    const fn is_leaf(&self) -> bool {
        self.value.is_nan()
    }

    const fn feature(&self) -> usize {
        (self.side / 2) as usize
    }

    fn child(&self, x: f32) -> u32 {
        self.left + u32::from(x >= self.value)
    }
}

/// A value of a row for nodes where missing ones go left, and for the others: nothing is above infinity, and NaN is at or above
/// nothing.
fn sides(x: f32) -> [f32; 2] {
    [x, if x.is_nan() { f32::INFINITY } else { x }]
}

impl Trees {
    /// Validates nodes and lowers them.
    pub(super) fn load(sum: Sum, weights: &[u8], features: usize) -> Result<Self, DecodeError> {
        let parse = match sum {
            Sum::Single { .. } => TreeNodes::parse,
            Sum::Double(_) => TreeNodes::parse_double,
        };
        Self::new(sum, &parse(weights, features)?, features)
    }

    fn new(sum: Sum, parsed: &TreeNodes<'_>, features: usize) -> Result<Self, DecodeError> {
        let mut lowered = Self {
            sum,
            scales: Vec::new(),
            trees: Vec::new(),
            plane_ends: Vec::new(),
            tests: Vec::new(),
            leaves: Vec::new(),
            is_walked: false,
            sides: 2 * features,
            nodes: Vec::with_capacity(parsed.value.len()),
            means: parsed.mean.iter().collect(),
            mean: match sum {
                Sum::Single { base } => base,
                Sum::Double(finish) => finish.bias as f32,
            },
        };
        lowered.read_nodes(parsed);
        lowered.make_scales()?;
        let mut leaves = parsed.leaf.iter();
        for tree in 0..lowered.trees.len() {
            lowered.make_tests(tree, parsed, &mut leaves);
        }
        Ok(lowered)
    }

    fn read_nodes(&mut self, parsed: &TreeNodes<'_>) {
        for count in parsed.tree_nodes.iter() {
            let start = self.nodes.len();
            let mut inner = 0;
            for at in start..start + count as usize {
                let feature = parsed.feature.get(at);
                self.nodes.push(if feature == LEAF {
                    Node { value: f32::NAN, left: at as u32, leaf: 0, side: 0 }
                } else {
                    let left = (start + 2 * inner + 1) as u32;
                    inner += 1;
                    let side = 2 * u32::from(feature) + u32::from(parsed.flags[at] & MISSING_LEFT == 0);
                    Node { value: parsed.value.get(at), left, leaf: 0, side }
                });
            }
            self.mean += self.means[start];
            self.trees.push(Tree { node: start as u32, leaves: inner as u32 + 1 });
            self.is_walked |= inner >= MAX_PLANAR_LEAVES;
        }
    }

    fn nodes_of(&self, tree: &Tree) -> &[Node] {
        &self.nodes[tree.node as usize..][..2 * tree.leaves as usize - 1]
    }

    /// Collects the distinct thresholds of each feature.
    fn make_scales(&mut self) -> Result<(), DecodeError> {
        if self.is_walked {
            return Ok(());
        }
        let inner = self.nodes.iter().filter(|node| !node.is_leaf());
        // Sorted as integers, feature above. No threshold is NaN; -0 and 0 are one for every comparison.
        let mut thresholds: Vec<u64> =
            inner.map(|node| (node.feature() as u64) << 32 | u64::from(ascending_bits(node.value + 0.0))).collect();
        crate::order::sort(&mut thresholds);
        thresholds.dedup();
        for threshold in thresholds {
            let (feature, value) = ((threshold >> 32) as u16, from_ascending_bits(threshold as u32));
            match self.scales.last_mut() {
                Some(scale) if scale.feature == feature && scale.len < MAX_THRESHOLDS => {
                    scale.table[usize::from(scale.len)] = value;
                    scale.len += 1;
                }
                _ => {
                    let mut table = [f32::NAN; 256];
                    table[0] = value;
                    self.scales.push(Scale { feature, len: 1, table });
                }
            }
        }
        let limit = usize::from(u16::MAX) / 2;
        if self.scales.len() > limit {
            return Err(DecodeError::too_large("tree thresholds", limit as u64, self.scales.len() as u64));
        }
        Ok(())
    }

    /// Row of bins and rank of an inner node's test.
    fn test_of(&self, node: &Node) -> (u16, i8) {
        let after = self.scales.partition_point(|scale| {
            let feature = usize::from(scale.feature);
            feature < node.feature() || feature == node.feature() && scale.table[0] <= node.value
        });
        let scale = after - 1;
        let rank = self.scales[scale].thresholds().partition_point(|threshold| *threshold < node.value);
        let bins = 2 * scale + (node.side % 2) as usize;
        (bins as u16, (rank as u8 ^ BIAS) as i8)
    }

    /// Numbers the leaves of a tree, reads their values (from `leaves`, which has those that are `f64`, in the order of the
    /// nodes) and makes its tests.
    fn make_tests(&mut self, tree: usize, parsed: &TreeNodes<'_>, leaves: &mut impl Iterator<Item = f64>) {
        let tree = self.trees[tree];
        let root = tree.node as usize;
        let spans = leaf_spans(self.nodes_of(&tree), root);
        let first = self.leaves.len();
        self.leaves.resize(first + tree.leaves as usize, 0.0);
        for (at, (start, _)) in (root..).zip(&spans) {
            let node = &mut self.nodes[at];
            if node.is_leaf() {
                let leaf = first + *start as usize;
                node.leaf = leaf as u32;
                self.leaves[leaf] = leaves.next().unwrap_or(f64::from(parsed.value.get(at)));
            }
        }
        if self.is_walked {
            return;
        }
        for plane in 0..(tree.leaves as usize).div_ceil(PLANE) {
            for at in 0..spans.len() {
                let node = self.nodes[root + at];
                if node.is_leaf() {
                    continue;
                }
                let (start, end) = spans[node.left as usize - root];
                let bit = |leaf: u32| (leaf as usize).saturating_sub(plane * PLANE).min(PLANE);
                let mask = ones(bit(end)) & !ones(bit(start));
                if mask != 0 {
                    let (bins, rank) = self.test_of(&node);
                    self.tests.push(Test { bins, rank, mask: mask as i8 });
                }
            }
            self.plane_ends.push(self.tests.len() as u32);
        }
    }

    pub(super) fn cost(&self) -> u64 {
        if self.is_walked {
            return self.trees.iter().map(|tree| depth(self.nodes_of(tree))).sum();
        }
        (self.tests.len() as u64).div_ceil(8)
    }

    pub(super) fn scores(&self, matrix: &[f32], rows: usize, scratch: &mut TreesScratch, scores: &mut [f32]) {
        let stride = feature::stride(rows);
        if rows <= FEW || self.is_walked {
            resize(&mut scratch.row, self.sides, 0.0);
            for (row, score) in scores.iter_mut().enumerate().take(rows) {
                let mut from = row;
                for both in scratch.row.as_chunks_mut().0 {
                    *both = sides(matrix.get(from).copied().unwrap_or(0.0));
                    from += stride;
                }
                *score = self.score(&scratch.row);
            }
            return;
        }
        let mut start = 0;
        while start < stride {
            // Three vectors are done with a fourth, which is done again: tests take longer than bins.
            if start > 0 && stride - start == 3 * LANES {
                start -= LANES;
            }
            // Vectors that are evaluated together load each test once for all of them.
            let vectors = match (stride - start) / LANES {
                4.. => self.add_trees::<4>(matrix, stride, &mut scratch.bins, start, scores),
                _ => self.add_trees::<1>(matrix, stride, &mut scratch.bins, start, scores),
            };
            start += vectors * LANES;
        }
    }

    /// Adds all trees, in order, for `N * LANES` rows from `start`; returns `N`.
    fn add_trees<const N: usize>(
        &self,
        matrix: &[f32],
        stride: usize,
        bins: &mut Vec<i8>,
        start: usize,
        scores: &mut [f32],
    ) -> usize {
        let scores = &mut scores[start..start + N * LANES];
        resize(bins, 2 * self.scales.len() * N * LANES, 0);
        for (scale, rows) in self.scales.iter().zip(bins.chunks_exact_mut(2 * N * LANES)) {
            let column = &matrix[usize::from(scale.feature) * stride + start..][..N * LANES];
            fill_bins(scale, column, rows.split_at_mut(N * LANES));
        }
        let (vectors, _) = bins.as_chunks::<LANES>();
        let (bins, _) = vectors.as_chunks::<N>();
        let (mut tests, mut leaves) = (self.tests.as_slice(), self.leaves.as_slice());
        let mut plane_ends = self.plane_ends.as_slice();
        let mut done = 0;
        let mut sums = [[self.sum.start(); LANES]; N];
        let sums = sums.as_flattened_mut();
        for tree in &self.trees {
            let (values, rest) = leaves.split_at(tree.leaves as usize);
            leaves = rest;
            let planes = (tree.leaves as usize).div_ceil(PLANE);
            let (ends, rest) = plane_ends.split_at(planes);
            plane_ends = rest;
            let mut exit = Exit::<N>::default();
            for end in ends {
                let (plane_tests, rest) = tests.split_at((*end - done) as usize);
                (tests, done) = (rest, *end);
                let mut left = [i8x16::splat(-1); N];
                for test in plane_tests {
                    let (rank, mask) = (i8x16::splat(test.rank), i8x16::splat(test.mask));
                    let bins = &bins[usize::from(test.bins)];
                    each::<N>(|at| left[at] &= !(i8x16::new(bins[at]).simd_gt(rank) & mask));
                }
                exit.take(left);
            }
            self.sum.add_leaves(values, exit.leaves().as_flattened(), sums);
        }
        self.sum.finish_all(sums, scores);
        N
    }

    /// The score of a row of [`sides`]. Leaves are added in the same order as for many rows, so the bits are the same.
    fn score(&self, row: &[f32]) -> f32 {
        let mut sum = self.sum.start();
        for trees in self.trees.chunks(WALKS) {
            // Where there are fewer trees, the first goes along.
            let mut walks = [0; WALKS];
            walks.iter_mut().zip(trees).for_each(|(at, tree)| *at = tree.node);
            let mut moved = 1;
            while moved != 0 {
                moved = 0;
                // What is not there keeps a walk where it is: without features every tree is a leaf.
                each::<WALKS>(|walk| {
                    if let Some(node) = self.nodes.get(walks[walk] as usize)
                        && let Some(x) = row.get(node.side as usize)
                    {
                        let next = node.child(*x);
                        moved |= next ^ walks[walk];
                        walks[walk] = next;
                    }
                });
            }
            for at in &walks[..trees.len()] {
                sum = self.sum.add(sum, self.leaves[self.nodes[*at as usize].leaf as usize]);
            }
        }
        self.sum.finish(sum)
    }

    /// Path attribution (Saabas): each step adds the change of the expected score to its feature's effect.
    pub(super) fn contributions(&self, features: usize, rows: &[f32], effects: &mut [f32]) -> f32 {
        let features = features.max(1);
        // Tree by tree, so that each is read from memory once.
        for tree in &self.trees {
            for (row, effects) in rows.chunks_exact(features).zip(effects.chunks_exact_mut(features)) {
                let mut at = tree.node as usize;
                while !self.nodes[at].is_leaf() {
                    let node = &self.nodes[at];
                    let feature = node.feature();
                    let next = node.child(sides(row[feature])[(node.side % 2) as usize]) as usize;
                    effects[feature] += self.means[next] - self.means[at];
                    at = next;
                }
            }
        }
        self.mean
    }
}

/// The first plane that has a leaf left, by lane.
struct Exit<const N: usize> {
    /// Its leaves; 0 while there is none.
    plane: [i8x16; N],
    /// Number of its first leaf.
    first: [i8x16; N],
}

impl<const N: usize> Default for Exit<N> {
    fn default() -> Self {
        // As if one plane had come before the first.
        Self { plane: [i8x16::splat(0); N], first: [i8x16::splat(-(PLANE as i8)); N] }
    }
}

impl<const N: usize> Exit<N> {
    /// Takes the next plane where no earlier one had a leaf.
    #[inline]
    fn take(&mut self, left: [i8x16; N]) {
        each::<N>(|at| {
            let is_open = self.plane[at].simd_eq(i8x16::splat(0));
            self.first[at] += is_open & i8x16::splat(PLANE as i8);
            self.plane[at] |= is_open & left[at];
        });
    }

    /// The leftmost leaf of each lane.
    #[inline]
    fn leaves(self) -> [[u8; LANES]; N] {
        let zero = i8x16::splat(0);
        let mut leaves = [[0; LANES]; N];
        each::<N>(|at| {
            // The lowest set bit alone; its position in binary, one digit at a time.
            let lowest = self.plane[at] & (zero - self.plane[at]);
            let digit = |bits: u8, value: i8| !(lowest & i8x16::splat(bits as i8)).simd_eq(zero) & i8x16::splat(value);
            let position = digit(0b1010_1010, 1) | digit(0b1100_1100, 2) | digit(0b1111_0000, 4);
            leaves[at] = cast(self.first[at] | position);
        });
        leaves
    }
}

/// Steps of the longest walk.
fn depth(nodes: &[Node]) -> u64 {
    let (mut depth, mut level) = (0, 0..1);
    // Breadth-first: the children of a level are the next level.
    loop {
        let next = nodes[level.clone()].iter().filter(|node| !node.is_leaf()).count() * 2;
        if next == 0 {
            return depth;
        }
        depth += 1;
        level = level.end..level.end + next;
    }
}

/// The `count` lowest bits.
const fn ones(count: usize) -> u8 {
    if count >= PLANE { u8::MAX } else { (1 << count) - 1 }
}

/// For each node of the tree from `root` on, its leaves from left to right as a range.
fn leaf_spans(nodes: &[Node], root: usize) -> Vec<(u32, u32)> {
    let mut spans = vec![(0, 1); nodes.len()];
    // Children come after their parents: sizes from the back, starts from the front.
    for at in (0..nodes.len()).rev() {
        if !nodes[at].is_leaf() {
            let left = nodes[at].left as usize - root;
            spans[at].1 = spans[left].1 + spans[left + 1].1;
        }
    }
    for at in 0..nodes.len() {
        let (start, size): (u32, u32) = spans[at];
        if !nodes[at].is_leaf() {
            let left = nodes[at].left as usize - root;
            spans[left].0 = start;
            spans[left + 1].0 = start + spans[left].1;
        }
        spans[at].1 = start + size;
    }
    spans
}

/// For each value the number of thresholds at or below it; where it is missing, the lowest bin in the first row and the
/// highest in the second.
fn fill_bins(scale: &Scale, column: &[f32], (low, high): (&mut [i8], &mut [i8])) {
    let levels = u8::BITS - scale.len.leading_zeros();
    let (values, _) = column.as_chunks::<LANES>();
    let ((low, _), (high, _)) = (low.as_chunks_mut::<LANES>(), high.as_chunks_mut::<LANES>());
    for ((values, low), high) in values.iter().zip(low).zip(high) {
        let (fours, first) = (values.as_chunks().0, f32x4::splat(values[0]));
        let (mut is_uniform, mut is_there) = (i32x4::splat(-1), i32x4::splat(-1));
        each::<4>(|four| {
            let x = f32x4::new(fours[four]);
            is_uniform &= cast::<_, i32x4>(x).simd_eq(cast::<_, i32x4>(first));
            is_there &= cast::<_, i32x4>(x.simd_eq(x));
        });
        // Many columns repeat one value for all or most candidates.
        for (low, rank) in low.iter_mut().zip(ranks(&scale.table, levels, values, is_uniform.all())) {
            *low = (rank as u8 ^ BIAS) as i8;
        }
        *high = *low;
        if !is_there.all() {
            for (high, x) in high.iter_mut().zip(values) {
                *high = if x.is_nan() { i8::MAX } else { *high };
            }
        }
    }
}

/// Binary search of several values in step: no branch, and no search waits for another. On its first levels whole vectors are
/// compared with all thresholds that it could meet there. One value for all is searched once.
#[inline]
fn ranks(table: &[f32; 256], levels: u32, values: &[f32; LANES], is_uniform: bool) -> [u32; LANES] {
    let (searched, rest) = if is_uniform { (1, levels) } else { (LANES, levels.saturating_sub(TOGETHER)) };
    let mut ranks = [0; LANES];
    if TOGETHER > 0 && rest < levels {
        let (mut counts, x) = ([i32x4::splat(0); 4], values.as_chunks().0);
        for at in ((1 << rest) - 1..(1 << levels) - 1).step_by(1 << rest) {
            let threshold = f32x4::splat(table[at & 255]);
            each::<4>(|four| counts[four] -= cast::<_, i32x4>(threshold.simd_le(f32x4::new(x[four]))));
        }
        for (four, count) in ranks.as_chunks_mut::<4>().0.iter_mut().zip(counts) {
            *four = cast(count << rest);
        }
    }
    for level in (0..rest).rev() {
        let below = (1_u32 << level) - 1;
        for (rank, x) in ranks.iter_mut().zip(values).take(searched) {
            *rank |= u32::from(table[(*rank | below) as usize & 255] <= *x) << level;
        }
    }
    if is_uniform { [ranks[0]; LANES] } else { ranks }
}
