//! An ensemble's scores are those of walking its trees one by one, bit for bit.

use proptest::prelude::*;
use selvedge_engine::feature::stride;
use selvedge_engine::model::{Model, ModelScratch};
use selvedge_format::model::{
    Finish, LEAF, LinearWeights, Link, MISSING_LEFT, ModelKindV1, ModelV1, TreeNode, TreeNodes,
};

/// Plain pseudo-random numbers: proptest chooses the seed, and thousands of nodes cost it nothing to make.
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// From -1 to 1.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// One of `levels` thresholds of a feature; the middle one is a zero of either sign, few are infinite.
fn threshold(draw: &mut Draw, levels: usize) -> f32 {
    match draw.below(levels) as f32 - (levels / 2) as f32 {
        0.0 if draw.below(2) == 0 => -0.0,
        1.0 if draw.below(8) == 0 => [f32::INFINITY, f32::NEG_INFINITY][draw.below(2)],
        level => level / 8.0,
    }
}

/// A random tree with this many leaves, in breadth-first order; means are those of the leaves below.
pub(crate) fn tree(draw: &mut Draw, leaves: usize, features: usize, levels: usize) -> Vec<TreeNode> {
    let mut sizes = vec![leaves];
    let mut nodes = Vec::new();
    let mut at = 0;
    while at < sizes.len() {
        let size = sizes[at];
        if size == 1 {
            let value = draw.unit();
            nodes.push(TreeNode { value, mean: value, feature: LEAF, flags: 0 });
        } else {
            // At least a quarter on each side keeps 300 leaves within the greatest depth.
            let left = (size / 4).max(1) + draw.below((size / 2).max(1));
            let left = left.min(size - 1);
            sizes.extend([left, size - left]);
            nodes.push(TreeNode {
                value: threshold(draw, levels),
                mean: 0.0,
                feature: draw.below(features) as u16,
                flags: if draw.below(2) == 0 { 0 } else { MISSING_LEFT },
            });
        }
        at += 1;
    }
    let mut children = sizes.len();
    for at in (0..nodes.len()).rev().filter(|at| sizes[*at] > 1).collect::<Vec<_>>() {
        children -= 2;
        let (left, right) = (sizes[children] as f32, sizes[children + 1] as f32);
        nodes[at].mean = (nodes[children].mean * left + nodes[children + 1].mean * right) / (left + right);
    }
    nodes
}

/// The node of the leaf that `row` ends in.
fn exit(nodes: &[TreeNode], row: &[f32]) -> usize {
    let mut at = 0;
    while nodes[at].feature != LEAF {
        let inner = nodes[..at].iter().filter(|node| node.feature != LEAF).count();
        let x = row[usize::from(nodes[at].feature)];
        let goes_right = if x.is_nan() { nodes[at].flags & MISSING_LEFT == 0 } else { x >= nodes[at].value };
        at = 2 * inner + 1 + usize::from(goes_right);
    }
    at
}

fn exit_value(nodes: &[TreeNode], row: &[f32]) -> f32 {
    nodes[exit(nodes, row)].value
}

fn load(kind: ModelKindV1, link: Link, weights: &[u8], features: usize) -> Model {
    Model::load(&ModelV1 { kind, link }, weights, features).expect("a valid model")
}

/// Inputs at, between and beyond the thresholds, and missing ones.
fn input(draw: &mut Draw, levels: usize) -> f32 {
    match draw.below(10) {
        0 => f32::NAN,
        1 => f32::from_bits(0xffc0_1234),
        2 => draw.unit() * 1e30,
        3 => [f32::INFINITY, f32::NEG_INFINITY][draw.below(2)],
        4 => threshold(draw, levels).next_down(),
        5 => draw.unit() * levels as f32 / 16.0,
        _ => threshold(draw, levels),
    }
}

/// Columns of a matrix with padding rows, and the same by rows.
fn inputs(draw: &mut Draw, rows: usize, features: usize, levels: usize) -> (Vec<f32>, Vec<Vec<f32>>) {
    let by_row: Vec<Vec<f32>> = (0..rows).map(|_| (0..features).map(|_| input(draw, levels)).collect()).collect();
    let stride = stride(rows);
    let mut matrix = vec![0.0; features * stride];
    for (row, values) in by_row.iter().enumerate() {
        for (feature, value) in values.iter().enumerate() {
            matrix[feature * stride + row] = *value;
        }
    }
    (matrix, by_row)
}

fn scores(model: &Model, matrix: &[f32], rows: usize, scratch: &mut ModelScratch) -> Vec<f32> {
    let mut scores = vec![f32::NAN; stride(rows)];
    model.scores(matrix, rows, scratch, &mut scores);
    scores.truncate(rows);
    scores
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn scores_are_sums_of_walks_and_contributions_explain_them(
        seed: u64,
        rows in 1_usize..200,
        features in 1_usize..6,
        levels in prop::sample::select(vec![3_usize, 20, 255, 257, 600, 2000]),
        sizes in prop::collection::vec(
            prop_oneof![
                3 => 1_usize..40,
                1 => 1_usize..300,
                1 => prop::sample::select(vec![8_usize, 9, 16, 17, 255, 256, 257]),
            ],
            0..24,
        ),
        base in -3.0_f32..3.0,
    ) {
        let mut draw = Draw::new(seed);
        let trees: Vec<_> = sizes.iter().map(|leaves| tree(&mut draw, *leaves, features, levels)).collect();
        let model = load(ModelKindV1::Trees { base }, Link::Identity, &TreeNodes::encode(&trees), features);
        let mut scratch = ModelScratch::default();
        let (matrix, by_row) = inputs(&mut draw, rows, features, levels);
        let expected: Vec<f32> =
            by_row.iter().map(|row| trees.iter().fold(base, |sum, nodes| sum + exit_value(nodes, row))).collect();
        let found = scores(&model, &matrix, rows, &mut scratch);
        prop_assert_eq!(bits(&found), bits(&expected));
        for row in [0, rows / 2, rows - 1] {
            let mut effects = vec![0.0; features];
            let start = model.contributions(features, &by_row[row], &mut effects);
            let explained: f64 = f64::from(start) + effects.iter().copied().map(f64::from).sum::<f64>();
            prop_assert!((explained - f64::from(found[row])).abs() < 1e-4, "{explained} and {}", found[row]);
        }
        // Buffers left from a larger request change nothing.
        let (matrix, _) = inputs(&mut Draw::new(seed), 1, features, levels);
        let fresh = scores(&model, &matrix, 1, &mut ModelScratch::default());
        prop_assert_eq!(bits(&scores(&model, &matrix, 1, &mut scratch)), bits(&fresh));
        for row in by_row.iter().take(3) {
            let alone = scores(&model, row, 1, &mut scratch);
            let expected = trees.iter().fold(base, |sum, nodes| sum + exit_value(nodes, row));
            prop_assert_eq!(alone[0].to_bits(), expected.to_bits(), "alone or among others");
        }
    }

    #[test]
    fn leaves_in_f64_are_added_in_f64_and_rounded_once(
        seed: u64,
        rows in 1_usize..100,
        features in 1_usize..4,
        sizes in prop::collection::vec(prop_oneof![4 => 1_usize..70, 1 => 250_usize..300], 0..12),
        finish in (1_u16..9, prop_oneof![Just(1.0), -2.0..2.0], prop_oneof![Just(0.0), -2.0..2.0]),
    ) {
        let finish = Finish { divisor: finish.0.into(), scale: finish.1, bias: finish.2 };
        let mut draw = Draw::new(seed);
        let trees: Vec<_> = sizes.iter().map(|leaves| tree(&mut draw, *leaves, features, 40)).collect();
        // Of very different sizes, so that the order and the precision of the sum show.
        let mut value = |node: &TreeNode| match node.feature {
            LEAF => f64::from(draw.unit()) / 3.0 * [1e-9, 1.0, 1e7][draw.below(3)],
            _ => f64::NAN,
        };
        let values: Vec<Vec<f64>> = trees.iter().map(|nodes| nodes.iter().map(&mut value).collect()).collect();
        let leaves: Vec<f64> = values.iter().flatten().copied().filter(|value| !value.is_nan()).collect();
        let kind = ModelKindV1::DoubleTrees(finish);
        let model = load(kind, Link::Identity, &TreeNodes::encode_double(&trees, &leaves), features);
        let (matrix, by_row) = inputs(&mut draw, rows, features, 40);
        let expected: Vec<f32> = by_row.iter().map(|row| {
            let leaf = trees.iter().zip(&values).map(|(nodes, values)| values[exit(nodes, row)]);
            let sum = leaf.fold(0.0, |sum, leaf| sum + leaf);
            (sum / finish.divisor * finish.scale + finish.bias) as f32
        }).collect();
        let found = scores(&model, &matrix, rows, &mut ModelScratch::default());
        prop_assert_eq!(bits(&found), bits(&expected));
        let alone = scores(&model, &by_row[0], 1, &mut ModelScratch::default());
        prop_assert_eq!(alone[0].to_bits(), expected[0].to_bits(), "alone or among others");
    }

    #[test]
    fn a_linear_score_adds_its_terms_in_order_and_explains_itself(
        seed: u64,
        rows in 1_usize..100,
        features in 0_usize..20,
        bias in -3.0_f32..3.0,
    ) {
        let mut draw = Draw::new(seed);
        let (weight, centre): (Vec<f32>, Vec<f32>) = (0..features).map(|_| (draw.unit(), draw.unit())).unzip();
        let weights = LinearWeights::encode(&weight, &centre);
        let kind = ModelKindV1::Linear { bias };
        let by_row: Vec<Vec<f32>> = (0..rows)
            .map(|_| (0..features).map(|_| if draw.below(4) == 0 { f32::NAN } else { draw.unit() }).collect())
            .collect();
        let mut matrix = vec![0.0; features * stride(rows)];
        for (at, value) in matrix.iter_mut().enumerate().filter(|(at, _)| at % stride(rows) < rows) {
            *value = by_row[at % stride(rows)][at / stride(rows)];
        }
        let raw: Vec<f32> = by_row.iter().map(|row| {
            let known = |feature: usize| if row[feature].is_nan() { centre[feature] } else { row[feature] };
            (0..features).fold(bias, |sum, feature| sum + weight[feature] * known(feature))
        }).collect();
        let scratch = &mut ModelScratch::default();
        let model = load(kind, Link::Identity, &weights, features);
        prop_assert_eq!(bits(&scores(&model, &matrix, rows, scratch)), bits(&raw));
        let alone = scores(&model, &by_row[0], 1, scratch);
        prop_assert_eq!(alone[0].to_bits(), raw[0].to_bits(), "alone or among others");
        let logistic = scores(&load(kind, Link::Logistic, &weights, features), &matrix, rows, scratch);
        for (found, raw) in logistic.iter().zip(&raw) {
            prop_assert!((f64::from(*found) - 1.0 / (1.0 + (-f64::from(*raw)).exp())).abs() < 1e-6);
        }
        for (row, raw) in raw.iter().enumerate() {
            let mut effects = vec![0.0; features];
            let start = model.contributions(features, &by_row[row], &mut effects);
            let explained: f32 = start + effects.iter().sum::<f32>();
            prop_assert!((explained - raw).abs() < 1e-4);
            let silent = effects.iter().zip(&by_row[row]).all(|(effect, x)| !x.is_nan() || *effect == 0.0);
            prop_assert!(silent, "a missing value is its centre and moves nothing");
        }
    }
}

#[test]
fn an_empty_ensemble_scores_its_base() {
    let model = load(ModelKindV1::Trees { base: 0.5 }, Link::Identity, &TreeNodes::encode(&[]), 1);
    assert_eq!(scores(&model, &[0.0; 16], 3, &mut ModelScratch::default()), [0.5; 3]);
}
