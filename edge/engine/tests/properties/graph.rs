//! A tensor program computes what its steps say, for one candidate as for many, and nothing is left over from before.

use proptest::prelude::*;
use selvedge_engine::feature::stride;
use selvedge_engine::model::{Model, ModelScratch};
use selvedge_format::DecodeError;
use selvedge_format::graph::{
    Combination, Each, Function, Gather, Graph, MAX_DIMS, Meet, Memory, Numbers, Product, Step, View, pack, pack_bytes,
    widen,
};
use selvedge_format::model::{Link, ModelKindV1, ModelV1};

use crate::trees::Draw;

const FEATURES: usize = 5;

fn load(bytes: &[u8]) -> Result<Model, DecodeError> {
    Model::load(&ModelV1 { kind: ModelKindV1::Graph, link: Link::Identity }, bytes, FEATURES)
}

fn scores(model: &Model, rows: &[[f32; FEATURES]], scratch: &mut ModelScratch) -> Vec<f32> {
    let stride = stride(rows.len());
    let mut matrix = vec![0.0; FEATURES * stride];
    for (row, values) in rows.iter().enumerate() {
        for (feature, value) in values.iter().enumerate() {
            matrix[feature * stride + row] = *value;
        }
    }
    let mut scores = vec![f32::NAN; stride];
    model.scores(&matrix, rows.len(), scratch, &mut scores);
    scores.truncate(rows.len());
    scores
}

fn place<const N: usize>(memory: Memory, offset: u32, last: u32) -> View<N> {
    let mut strides = [0; N];
    strides[N - 1] = last;
    View { memory, offset, strides }
}

fn each(function: Function, combination: Combination, size: u32, views: [View<MAX_DIMS>; 3]) -> Step {
    let mut sizes = [1; MAX_DIMS];
    sizes[MAX_DIMS - 1] = size;
    let [out, left, right] = views;
    Step::Each(Each { function, combination, sizes, out, left, right })
}

/// Copies the features from `first` to a memory, at 0.
fn copy(memory: Memory, first: u32, count: u32) -> Step {
    let from = place(Memory::Features, first, 1);
    each(Function::Left, Combination::Store, count, [place(memory, 0, 1), from, from])
}

fn product(memory: Memory, inputs: u32, outputs: u32, out: u32, start: View<1>, weights: u32) -> Product {
    let input = place(memory, 0, 0);
    let out = place(memory, out, 0);
    Product {
        function: Function::Left,
        positions: 1,
        inputs,
        outputs,
        out,
        input,
        start,
        addend: View::NONE,
        weights,
        numbers: Numbers::Single,
    }
}

/// Candidates have the features 2 to 4, the request 0 and 1; their shares of a layer are added, and its outputs added up.
pub(crate) fn layer(outputs: usize, draw: &mut Draw) -> (Vec<u8>, Vec<f32>) {
    let weights: Vec<f32> = (0..FEATURES * outputs).map(|_| draw.unit()).collect();
    let mut constants = pack(&weights[..2 * outputs], 2, outputs);
    let second = constants.len() as u32;
    constants.extend(pack(&weights[2 * outputs..], 3, outputs));
    let bias = constants.len() as u32;
    constants.extend(std::iter::repeat_n(0.25, outputs));
    let outputs = outputs as u32;
    let share = product(Memory::Request, 2, outputs, 2, place(Memory::Constants, bias, 0), 0);
    let rest = product(Memory::Candidates, 3, outputs, 3, place(Memory::Request, 2, 0), second);
    let (sum, from) = (place(Memory::Candidates, 3 + outputs, 0), place(Memory::Candidates, 3, 1));
    let steps = [
        copy(Memory::Candidates, 2, 3),
        copy(Memory::Request, 0, 2),
        Step::Product(share),
        Step::Product(Product { function: Function::Max, ..rest }),
        each(Function::Left, Combination::Add, outputs, [sum, from, from]),
    ];
    (Graph::encode(2 + outputs, 4 + outputs, 3 + outputs, &steps, &constants, &[]), weights)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_layer_is_its_weighted_sums(seed in any::<u64>(), outputs in 1_usize..12, count in 1_usize..80) {
        let mut draw = Draw::new(seed);
        let (bytes, weights) = layer(outputs, &mut draw);
        let model = load(&bytes).unwrap();
        let shared = [draw.unit(), draw.unit()];
        let rows: Vec<[f32; FEATURES]> =
            (0..count).map(|_| [shared[0], shared[1], draw.unit(), draw.unit(), draw.unit()]).collect();
        let found = scores(&model, &rows, &mut ModelScratch::default());
        for (row, found) in rows.iter().zip(&found) {
            let output = |at: usize| {
                let terms = row.iter().enumerate().map(|(input, x)| f64::from(x * weights[input * outputs + at]));
                (0.25 + terms.sum::<f64>()).max(0.0)
            };
            let expected: f64 = (0..outputs).map(output).sum();
            prop_assert!((f64::from(*found) - expected).abs() < 1e-5, "{found}, not {expected}");
        }
    }

    #[test]
    fn where_candidates_do_not_meet_a_score_depends_on_its_candidate_alone(seed in any::<u64>(), count in 2_usize..70) {
        let mut draw = Draw::new(seed);
        let model = load(&layer(7, &mut draw).0).unwrap();
        let rows: Vec<[f32; FEATURES]> =
            (0..count).map(|_| [0.5, -0.5, draw.unit(), draw.unit(), draw.unit()]).collect();
        let mut scratch = ModelScratch::default();
        let together = scores(&model, &rows, &mut scratch);
        let last = scores(&model, &rows[count - 1..], &mut scratch);
        prop_assert_eq!(last[0].to_bits(), together[count - 1].to_bits());
    }

    #[test]
    fn bytes_that_are_no_program_are_refused_or_run(seed in any::<u64>()) {
        let mut draw = Draw::new(seed);
        let (mut bytes, _) = layer(3, &mut draw);
        for _ in 0..1 + draw.below(3) {
            let at = draw.below(bytes.len());
            bytes[at] = draw.below(256) as u8;
        }
        if let Ok(model) = load(&bytes)
            && model.cost() < 1 << 20
            && model.request_cost(3) < 1 << 20
        {
            scores(&model, &[[1.0; FEATURES]; 3], &mut ModelScratch::default());
        }
    }
}

/// Attention whose queries, keys and values are layers over the features, and the sum of all that its heads give.
pub(crate) struct Attention {
    meet: Meet,
    /// Of queries, keys and values.
    weights: Vec<f32>,
}

impl Attention {
    pub(crate) fn new(heads: u32, width: u32, value_width: u32, draw: &mut Draw) -> Self {
        let (query, key) = (FEATURES as u32, FEATURES as u32 + heads * width);
        let (value, out) = (key + heads * width, key + heads * (width + value_width));
        let function = Function::Left;
        let meet = Meet { function, heads, width, value_width, out, query, key, value };
        let weights = (0..FEATURES as u32 * (out - query)).map(|_| 2.0 * draw.unit()).collect();
        Self { meet, weights }
    }

    fn projected(&self) -> usize {
        self.weights.len() / FEATURES
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let Meet { heads, value_width, out, query, .. } = self.meet;
        let projected = self.projected() as u32;
        let mut constants = pack(&self.weights, FEATURES, self.projected());
        let bias = constants.len() as u32;
        constants.extend(std::iter::repeat_n(0.0, self.projected()));
        let project =
            product(Memory::Candidates, FEATURES as u32, projected, query, place(Memory::Constants, bias, 0), 0);
        let score = out + heads * value_width;
        let (sum, from) = (place(Memory::Candidates, score, 0), place(Memory::Candidates, out, 1));
        let steps = [
            copy(Memory::Candidates, 0, FEATURES as u32),
            Step::Product(project),
            Step::Meet(self.meet),
            each(Function::Left, Combination::Add, heads * value_width, [sum, from, from]),
        ];
        Graph::encode(0, score + 1, score, &steps, &constants, &[])
    }

    fn scores(&self, rows: &[[f32; FEATURES]]) -> Vec<f64> {
        let Meet { heads, width, value_width, .. } = self.meet;
        let projected = |row: &[f32; FEATURES], at: u32| -> f64 {
            let at = (at - self.meet.query) as usize;
            row.iter().enumerate().map(|(input, x)| f64::from(x * self.weights[input * self.projected() + at])).sum()
        };
        let of_head = |asking: &[f32; FEATURES], head: u32| -> f64 {
            let of = |first: u32, width: u32, at: u32| first + head * width + at;
            let power = |asked: &[f32; FEATURES]| {
                let products = (0..width).map(|at| {
                    projected(asking, of(self.meet.query, width, at)) * projected(asked, of(self.meet.key, width, at))
                });
                products.sum::<f64>().exp()
            };
            let given = |asked: &[f32; FEATURES]| {
                (0..value_width).map(|at| projected(asked, of(self.meet.value, value_width, at))).sum::<f64>()
            };
            let most = rows.iter().map(power).fold(0.0, f64::max);
            rows.iter().map(|asked| power(asked) / most * given(asked)).sum::<f64>()
        };
        rows.iter().map(|asking| (0..heads).map(|head| of_head(asking, head)).sum()).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn attention_weighs_the_values_of_all_candidates(
        seed in any::<u64>(),
        (heads, width, value_width) in (1_u32..4, 1_u32..7, (1_u32..4).prop_map(|panels| 4 * panels)),
        count in 1_usize..80,
    ) {
        let mut draw = Draw::new(seed);
        let attention = Attention::new(heads, width, value_width, &mut draw);
        let model = load(&attention.encode()).unwrap();
        let rows: Vec<[f32; FEATURES]> = (0..count).map(|_| core::array::from_fn(|_| draw.unit())).collect();
        let mut scratch = ModelScratch::default();
        let found = scores(&model, &rows, &mut scratch);
        for (found, expected) in found.iter().zip(attention.scores(&rows)) {
            prop_assert!((f64::from(*found) - expected).abs() < 1e-3, "{found}, not {expected}");
        }
        // Rows that only fill a vector take no part: neither of this list nor of one before.
        scores(&model, &[[f32::NAN; FEATURES]; 90], &mut scratch);
        prop_assert_eq!(scores(&model, &rows, &mut scratch), found);
    }

    #[test]
    fn what_is_reduced_over_a_list_is_the_same_for_all_its_candidates(
        seed in any::<u64>(),
        column in 0_u32..4,
        count in 1_usize..80,
    ) {
        let mut draw = Draw::new(seed);
        let rows: Vec<[f32; FEATURES]> = (0..count).map(|_| core::array::from_fn(|_| draw.unit())).collect();
        let values = || rows.iter().map(|row| row[column as usize]);
        let expected = [
            (Function::Add, values().fold(-0.0, |sum, x| sum + x)),
            (Function::Multiply, values().product()),
            (Function::Max, values().fold(f32::NEG_INFINITY, f32::max)),
            (Function::Min, values().fold(f32::INFINITY, f32::min)),
        ];
        for (function, expected) in expected {
            let meet = Meet {
                function,
                heads: 1,
                width: 0,
                value_width: 4,
                out: FEATURES as u32,
                query: 0,
                key: 0,
                value: 0,
            };
            let steps = [copy(Memory::Candidates, 0, FEATURES as u32), Step::Meet(meet)];
            let (columns, score) = (FEATURES as u32 + 4, FEATURES as u32 + column);
            let model = load(&Graph::encode(0, columns, score, &steps, &[], &[])).unwrap();
            prop_assert_eq!(scores(&model, &rows, &mut ModelScratch::default()), vec![expected; count]);
        }
    }
}

#[test]
fn pairs_are_paid_for_and_cannot_overflow() {
    let model = load(&Attention::new(2, 8, 8, &mut Draw::new(1)).encode()).expect("a valid program");
    let of_pairs = |candidates: u64| model.request_cost(candidates);
    assert!(of_pairs(1) > 0 && of_pairs(200) > 3 * of_pairs(100));
    assert_eq!(of_pairs(200).div_ceil(of_pairs(100)), 4);
    assert!(of_pairs(u64::MAX) >= of_pairs(u64::from(u32::MAX)));
    let function = Function::Left;
    let wide = Meet { function, heads: 1, width: 512, value_width: 512, out: 1024, query: 0, key: 0, value: 512 };
    let model = load(&Graph::encode(0, 2048, 0, &[Step::Meet(wide); 4], &[], &[])).expect("a valid program");
    assert!(model.request_cost(1 << 40) >= u64::MAX / 64, "a cost that is too large to count is too large");
}

/// A layer of bytes over the five features, at two positions that share weights, whose outputs are added up with their place as
/// weight; and what it is made of.
struct Whole {
    outputs: usize,
    weights: Vec<i8>,
    multiplier: f32,
    scales: Vec<f32>,
}

impl Whole {
    fn new(outputs: usize, draw: &mut Draw) -> Self {
        let byte = |draw: &mut Draw| (draw.below(256) as u8).cast_signed();
        let weights = (0..FEATURES * outputs).map(|_| byte(draw)).collect();
        let scale = |draw: &mut Draw| (draw.unit() + 1.5) / 100.0;
        Self { outputs, weights, multiplier: 900.0, scales: (0..outputs).map(|_| scale(draw)).collect() }
    }

    fn encode(&self, memory: Memory) -> Vec<u8> {
        let outputs = self.outputs as u32;
        let mut constants = vec![0.5; self.outputs];
        let scales = constants.len() as u32;
        constants.push(self.multiplier);
        constants.extend(&self.scales);
        let numbers = Numbers::Byte { scales };
        let layer = product(memory, FEATURES as u32, outputs, 8, place(Memory::Constants, 0, 0), 0);
        let weighed = constants.len() as u32;
        constants.extend((0..=outputs).map(|at| at as f32));
        let (score, from) = (place(Memory::Candidates, 0, 0), place(memory, 8, 1));
        let zero = place(Memory::Constants, weighed, 1);
        let clear = each(Function::Left, Combination::Store, 1, [score, zero, zero]);
        let sum = each(
            Function::Multiply,
            Combination::Add,
            outputs,
            [score, from, place(Memory::Constants, weighed + 1, 1)],
        );
        // The score's column is an input until the layer is done.
        let steps = [copy(memory, 0, FEATURES as u32), Step::Product(Product { numbers, ..layer }), clear, sum];
        let bytes = pack_bytes(&self.weights, FEATURES, self.outputs);
        Graph::encode(8 + outputs, 8 + outputs, 0, &steps, &constants, &bytes)
    }

    fn score(&self, row: &[f32; FEATURES]) -> f32 {
        let whole = |x: f32| i64::from((x * self.multiplier).clamp(-2047.0, 2047.0).round_ties_even() as i16);
        let output = |output: usize| {
            let terms =
                row.iter().enumerate().map(|(at, x)| whole(*x) * i64::from(self.weights[at * self.outputs + output]));
            0.5 + terms.sum::<i64>() as f32 * self.scales[output]
        };
        (0..self.outputs).fold(0.0, |sum, at| sum + output(at) * (at + 1) as f32)
    }
}

/// Values that make trouble, among others.
fn troubling(draw: &mut Draw) -> f32 {
    const TROUBLE: [f32; 8] =
        [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.5 / 900.0, 1.5 / 900.0, -2.5 / 900.0, f32::MAX, -0.0];
    let at = draw.below(2 * TROUBLE.len());
    TROUBLE.get(at).copied().unwrap_or_else(|| 4.0 * draw.unit())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_layer_of_bytes_is_its_sums_of_whole_numbers_to_the_bit(
        seed in any::<u64>(),
        outputs in 1_usize..40,
        count in 1_usize..70,
    ) {
        let mut draw = Draw::new(seed);
        let whole = Whole::new(outputs, &mut draw);
        let model = load(&whole.encode(Memory::Candidates)).unwrap();
        let rows: Vec<[f32; FEATURES]> =
            (0..count).map(|_| core::array::from_fn(|_| troubling(&mut draw))).collect();
        let mut scratch = ModelScratch::default();
        let found = scores(&model, &rows, &mut scratch);
        let expected: Vec<f32> = rows.iter().map(|row| whole.score(row)).collect();
        prop_assert_eq!(&found, &expected);
        let alone = scores(&model, &rows[..1], &mut scratch);
        prop_assert_eq!(alone[0].to_bits(), found[0].to_bits());
        let of_request = load(&whole.encode(Memory::Request)).unwrap();
        prop_assert_eq!(scores(&of_request, &rows, &mut scratch), vec![expected[0]; count]);
    }

    #[test]
    fn a_layer_of_halves_is_one_of_the_same_floats(seed in any::<u64>(), outputs in 1_usize..12, count in 1_usize..40) {
        let mut draw = Draw::new(seed);
        let inputs = FEATURES * outputs.next_multiple_of(4);
        // Any finite half, those without a leading 1 included.
        let halves: Vec<u16> = (0..inputs).map(|_| (draw.below(0x5000) | draw.below(2) << 15) as u16).collect();
        let layer = |numbers, constants: &[f32], bytes: &[u8]| {
            let start = place(Memory::Constants, 0, 0);
            let product = product(Memory::Candidates, FEATURES as u32, outputs as u32, 8, start, 12 * u32::from(bytes.is_empty()));
            let steps = [copy(Memory::Candidates, 0, FEATURES as u32), Step::Product(Product { numbers, ..product })];
            load(&Graph::encode(0, 8 + outputs as u32, 7 + outputs as u32, &steps, constants, bytes)).unwrap()
        };
        let starts = [0.25; 12];
        let floats: Vec<f32> = starts.iter().copied().chain(halves.iter().map(|half| widen(*half))).collect();
        let bytes: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
        let rows: Vec<[f32; FEATURES]> = (0..count).map(|_| core::array::from_fn(|_| draw.unit())).collect();
        let mut scratch = ModelScratch::default();
        let found = scores(&layer(Numbers::Half, &starts, &bytes), &rows, &mut scratch);
        prop_assert_eq!(found, scores(&layer(Numbers::Single, &floats, &[]), &rows, &mut scratch));
    }
}

#[test]
fn weights_that_the_request_tells_are_those_of_its_first_candidate() {
    const OUTPUTS: u32 = 70;
    let mut draw = Draw::new(8);
    let rows: Vec<[f32; FEATURES]> = (0..37).map(|_| core::array::from_fn(|_| draw.unit() - 0.5)).collect();
    // Each output has one of the features as weights, one after the other; unpacked `[inputs][outputs]`.
    let weight = |input: usize, output: usize| (input + output) % FEATURES;
    let outputs = OUTPUTS as usize;
    let named: Vec<f32> = (0..FEATURES * outputs).map(|at| weight(at / outputs, at % outputs) as f32).collect();
    let named = pack(&named, FEATURES, outputs);
    let tell = named.iter().enumerate().map(|(at, feature)| {
        let from = place(Memory::Features, *feature as u32, 1);
        each(Function::Left, Combination::Store, 1, [place(Memory::Request, at as u32, 1), from, from])
    });
    let layer =
        |weights| product(Memory::Candidates, FEATURES as u32, OUTPUTS, 8, place(Memory::Constants, 0, 0), weights);
    let (sum, sums) = (place(Memory::Candidates, 7, 0), place(Memory::Candidates, 8, 1));
    let (first, last) = (
        copy(Memory::Candidates, 0, FEATURES as u32),
        each(Function::Left, Combination::Add, OUTPUTS, [sum, sums, sums]),
    );
    let told = Product { numbers: Numbers::Request, ..layer(0) };
    let steps: Vec<Step> = tell.chain([first, Step::Product(told), last]).collect();
    let told = load(&Graph::encode(named.len() as u32, 8 + OUTPUTS, 7, &steps, &vec![0.25; outputs], &[]));
    let mut constants = vec![0.25; outputs];
    constants.extend(named.iter().map(|feature| rows[0][*feature as usize]));
    let learnt = [first, Step::Product(layer(OUTPUTS)), last];
    let learnt = load(&Graph::encode(0, 8 + OUTPUTS, 7, &learnt, &constants, &[]));
    let (told, learnt) = (told.expect("a valid program"), learnt.expect("a valid program"));
    for count in [1, 2, 37] {
        let mut scratch = ModelScratch::default();
        assert_eq!(
            scores(&told, &rows[..count], &mut scratch),
            scores(&learnt, &rows[..count], &mut scratch),
            "{count}"
        );
    }
}

#[test]
fn a_layer_with_a_function_is_the_layer_and_then_the_function() {
    const OUTPUTS: usize = 100;
    let mut draw = Draw::new(3);
    let rows: Vec<[f32; FEATURES]> = (0..9).map(|_| core::array::from_fn(|_| 4.0 * draw.unit() - 2.0)).collect();
    let mut constants: Vec<f32> = (0..OUTPUTS).map(|_| draw.unit()).collect();
    let weights: Vec<f32> = (0..FEATURES * OUTPUTS).map(|_| draw.unit() - 0.5).collect();
    constants.extend(pack(&weights, FEATURES, OUTPUTS));
    let outputs = OUTPUTS as u32;
    let layer = product(Memory::Candidates, FEATURES as u32, outputs, 8, place(Memory::Constants, 0, 0), outputs);
    let (sums, score) = (place(Memory::Candidates, 8, 1), place(Memory::Candidates, 8 + outputs, 0));
    let more = place(Memory::Candidates, 9 + outputs, 1);
    let functions = [
        Function::Left,
        Function::Max,
        Function::Exp,
        Function::Log,
        Function::Sqrt,
        Function::Abs,
        Function::Floor,
        Function::Round,
        Function::Sigmoid,
        Function::Tanh,
        Function::Erf,
    ];
    for function in functions {
        let scored = |steps: &[Step]| {
            let mut all = vec![copy(Memory::Candidates, 0, FEATURES as u32)];
            all.extend_from_slice(steps);
            all.push(each(Function::Left, Combination::Add, outputs, [score, sums, sums]));
            let program = Graph::encode(0, 9 + 2 * outputs, 8 + outputs, &all, &constants, &[]);
            let (model, mut scratch) = (load(&program).expect("valid"), ModelScratch::default());
            let found = scores(&model, &rows, &mut scratch).into_iter().map(f32::to_bits).collect::<Vec<_>>();
            assert_eq!(scores(&model, &rows[..1], &mut scratch)[0].to_bits(), found[0], "alone: {function:?}");
            found
        };
        let fused = scored(&[Step::Product(Product { function, ..layer })]);
        let zero = place(Memory::Candidates, 8 + outputs, 0);
        let apart = [Step::Product(layer), each(function, Combination::Store, outputs, [sums, sums, zero])];
        assert_eq!(fused, scored(&apart), "{function:?}");
        // The same again, of the first one's outputs and another's added.
        let [out, addend] = [8, 9 + outputs].map(|first| place(Memory::Candidates, first, 0));
        let other = Step::Product(Product { out: addend, ..layer });
        let fused = scored(&[other, Step::Product(Product { out, addend, function, ..layer })]);
        let add = each(Function::Add, Combination::Store, outputs, [sums, sums, more]);
        assert_eq!(fused, scored(&[other, apart[0], add, apart[1]]), "{function:?} of a sum");
    }
}

#[test]
fn the_largest_sum_of_bytes_is_exact() {
    const INPUTS: u32 = 1 << 13;
    let copies = (0..INPUTS).step_by(FEATURES - 1).map(|at| {
        let from = place(Memory::Features, 0, 1);
        each(Function::Left, Combination::Store, FEATURES as u32 - 1, [place(Memory::Candidates, at, 1), from, from])
    });
    let layer = product(Memory::Candidates, INPUTS, 1, INPUTS, place(Memory::Constants, 0, 0), 0);
    let layer = Step::Product(Product { numbers: Numbers::Byte { scales: 1 }, ..layer });
    let steps: Vec<Step> = copies.chain([layer]).collect();
    for (weight, x) in [(-128, -9.0), (-128, 9.0), (127, 9.0)] {
        let bytes = pack_bytes(&[weight; INPUTS as usize], INPUTS as usize, 1);
        let model = load(&Graph::encode(0, INPUTS + 1, INPUTS, &steps, &[0.0, 1000.0, 1.0], &bytes)).expect("valid");
        let expected = i64::from(weight) * 2047 * i64::from(INPUTS) * if x > 0.0 { 1 } else { -1 };
        for count in [1, 9] {
            let found = scores(&model, &vec![[x; FEATURES]; count], &mut ModelScratch::default());
            assert_eq!(found, vec![expected as f32; count]);
        }
    }
}

#[test]
fn rows_of_narrow_tables_are_their_numbers_times_the_scale_of_the_row() {
    let table = |numbers, constants: &[f32], bytes: &[u8]| {
        let (out, from) = (place(Memory::Candidates, 0, 2), place(Memory::Features, 0, 1));
        let gather = Gather { ids: 1, table: 0, rows: 3, width: 2, out, from, numbers };
        let model = load(&Graph::encode(0, 2, 1, &[Step::Gather(gather)], constants, bytes)).expect("a valid program");
        scores(&model, &[0.0, 2.0, -2.0, 3.0].map(|id| [id; FEATURES]), &mut ModelScratch::default())
    };
    let found = table(Numbers::Byte { scales: 1 }, &[9.0, 0.5, 0.25, 2.0], &[1, 127, 2, 0x80, 3, 0xff]);
    assert_eq!(found[..3], [63.5, -2.0, -32.0]);
    assert!(found[3].is_nan());
    let halves: Vec<u8> = [0_u16, 0x3c00, 0, 0x0001, 0, 0xfbff].into_iter().flat_map(u16::to_le_bytes).collect();
    assert_eq!(table(Numbers::Half, &[], &halves)[..3], [1.0, -65504.0, f32::from_bits(103 << 23)]);
}

/// A program that applies a function to the feature 0.
fn function(function: Function) -> Model {
    let feature = place(Memory::Features, 0, 1);
    let step = each(function, Combination::Store, 1, [place(Memory::Candidates, 0, 1), feature, feature]);
    load(&Graph::encode(0, 1, 0, &[step], &[], &[])).expect("a valid program")
}

#[test]
fn functions_are_near_the_exact_values() {
    type Exact = fn(f64) -> f64;
    let exact: [(Function, Exact); 5] = [
        (Function::Exp, f64::exp),
        (Function::Tanh, f64::tanh),
        (Function::Sigmoid, |x| 1.0 / (1.0 + (-x).exp())),
        (Function::Sqrt, f64::sqrt),
        (Function::Log, f64::ln),
    ];
    for (which, exact) in exact {
        let model = function(which);
        let mut largest = 0.0_f64;
        for at in 0..4000 {
            let x = (at - 2000) as f32 / 25.0;
            let found = f64::from(scores(&model, &[[x; FEATURES]], &mut ModelScratch::default())[0]);
            let expected = exact(f64::from(x));
            if expected.is_nan() || expected.is_infinite() {
                assert_eq!(found.is_nan(), expected.is_nan(), "{which:?} of {x}");
            } else {
                largest = largest.max((found - expected).abs() / expected.abs().max(1e-30));
            }
        }
        assert!(largest < 4.0 * f64::from(f32::EPSILON), "{which:?} is off by {largest}");
    }
}

#[test]
fn extremes_of_functions_are_what_they_are_in_mathematics() {
    let of = |which, x: f32| scores(&function(which), &[[x; FEATURES]], &mut ModelScratch::default())[0];
    assert_eq!(of(Function::Exp, f32::INFINITY), f32::INFINITY);
    assert_eq!(of(Function::Exp, f32::NEG_INFINITY), 0.0);
    assert_eq!(of(Function::Sigmoid, f32::NEG_INFINITY), 0.0);
    assert_eq!(of(Function::Sigmoid, f32::INFINITY), 1.0);
    assert_eq!(of(Function::Tanh, f32::NEG_INFINITY), -1.0);
    assert_eq!(of(Function::Erf, f32::INFINITY), 1.0);
    for which in [Function::Exp, Function::Tanh, Function::Sigmoid, Function::Erf, Function::Max, Function::Min] {
        assert!(of(which, f32::NAN).is_nan(), "{which:?} hides a missing value");
    }
}

#[test]
fn an_id_that_is_no_row_gives_nan() {
    let gather = Gather {
        ids: 1,
        table: 0,
        numbers: Numbers::Single,
        rows: 3,
        width: 2,
        out: place(Memory::Candidates, 0, 2),
        from: place(Memory::Features, 0, 1),
    };
    let bytes = Graph::encode(0, 2, 1, &[Step::Gather(gather)], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[]);
    let model = load(&bytes).expect("a valid program");
    let rows = [0.0, 2.0, -1.0, 3.0, -4.0, f32::NAN].map(|id| [id; FEATURES]);
    let found = scores(&model, &rows, &mut ModelScratch::default());
    assert_eq!(found[..3], [2.0, 6.0, 6.0]);
    assert!(found[3..].iter().all(|score| score.is_nan()), "{found:?}");
}

#[test]
fn nothing_is_left_from_an_earlier_request() {
    // Adds to a place that no step has written.
    let feature = place(Memory::Features, 0, 1);
    let step = each(Function::Left, Combination::Add, 1, [place(Memory::Candidates, 0, 1), feature, feature]);
    let model = load(&Graph::encode(0, 1, 0, &[step], &[], &[])).expect("a valid program");
    let mut scratch = ModelScratch::default();
    for _ in 0..3 {
        assert_eq!(scores(&model, &[[2.5; FEATURES]; 40], &mut scratch), [2.5; 40]);
    }
}

#[test]
fn a_warm_program_does_not_allocate() {
    let model = load(&layer(7, &mut Draw::new(1)).0).expect("a valid program");
    let (matrix, mut scores, mut scratch) = (vec![0.5; FEATURES * 48], vec![0.0; 48], ModelScratch::default());
    model.scores(&matrix, 48, &mut scratch, &mut scores);
    let counted = allocation_counter::measure(|| model.scores(&matrix, 48, &mut scratch, &mut scores));
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

#[test]
fn a_warm_list_does_not_allocate() {
    let model = load(&Attention::new(2, 3, 8, &mut Draw::new(1)).encode()).expect("a valid program");
    let (matrix, mut scores, mut scratch) = (vec![0.5; FEATURES * 48], vec![0.0; 48], ModelScratch::default());
    model.scores(&matrix, 48, &mut scratch, &mut scores);
    let counted = allocation_counter::measure(|| model.scores(&matrix, 48, &mut scratch, &mut scores));
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

#[test]
fn programs_that_reach_outside_are_refused() {
    let ok = |memory, offset| place::<MAX_DIMS>(memory, offset, 1);
    let step = |out, from| [each(Function::Left, Combination::Store, 2, [out, from, from])];
    let refused = |step: &[Step], constants: &[f32]| load(&Graph::encode(2, 2, 1, step, constants, &[])).is_err();
    let to = ok(Memory::Candidates, 0);
    assert!(!refused(&step(to, ok(Memory::Features, FEATURES as u32 - 2)), &[]));
    assert!(refused(&step(to, ok(Memory::Features, FEATURES as u32 - 1)), &[]), "a feature that is not there");
    assert!(refused(&step(ok(Memory::Candidates, 1), ok(Memory::Features, 0)), &[]), "a column that is not there");
    assert!(refused(&step(ok(Memory::Request, 0), ok(Memory::Candidates, 0)), &[]), "the request asks a candidate");
    assert!(refused(&step(ok(Memory::Constants, 0), ok(Memory::Request, 0)), &[0.0; 2]), "constants are not written");
    assert!(refused(&[], &[f32::NAN]), "a constant that is NaN");
    let Step::Each(each) = step(to, ok(Memory::Features, 0))[0] else { unreachable!("an each") };
    let endless = Each { sizes: [u32::MAX; MAX_DIMS], out: place(Memory::Candidates, 0, 0), ..each };
    let endless = Each { left: place(Memory::Features, 0, 0), right: place(Memory::Features, 0, 0), ..endless };
    assert!(refused(&[Step::Each(endless)], &[]), "work without end");
    let overlapping = product(Memory::Candidates, 2, 1, 1, place(Memory::Constants, 8, 0), 0);
    assert!(refused(&[Step::Product(overlapping)], &[0.0; 9]), "a layer that overwrites its inputs");
}
