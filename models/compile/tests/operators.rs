//! Operators that are composed of the engine's three steps compute what ONNX says. The models are made here, of one operator
//! each, over candidates; compiling proves them against tract, and their scores are compared with plain formulas.
#![cfg(feature = "onnx")]

mod declared;

use prost::Message;
use selvedge_compile::{CompileError, compile, import};
use selvedge_engine::feature::stride;
use selvedge_engine::model::ModelScratch;
use selvedge_engine::{Limits, Snapshot};
use selvedge_format::AlignedBytes;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, type_proto,
};

/// Features of every model: seen as `[batch, 2, 3]`.
const FEATURES: usize = 6;
/// Version of the operators.
const VERSION: i64 = 24;

/// Nodes that are collected.
#[derive(Default)]
struct Net {
    nodes: Vec<NodeProto>,
    weights: Vec<TensorProto>,
}

impl Net {
    fn op(&mut self, op_type: &str, inputs: &[&str], attributes: &[AttributeProto]) -> String {
        self.ops(op_type, inputs, attributes, 1).remove(0)
    }

    fn ops(&mut self, op_type: &str, inputs: &[&str], attributes: &[AttributeProto], outputs: usize) -> Vec<String> {
        let names: Vec<String> = (0..outputs).map(|at| format!("v{}_{at}", self.nodes.len())).collect();
        self.nodes.push(NodeProto {
            op_type: op_type.to_owned(),
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: names.clone(),
            attribute: attributes.to_vec(),
            ..NodeProto::default()
        });
        names
    }

    fn weight(&mut self, tensor: TensorProto) -> String {
        let name = format!("w{}", self.weights.len());
        self.weights.push(TensorProto { name: name.clone(), ..tensor });
        name
    }

    fn floats(&mut self, dims: &[i64], values: &[f32]) -> String {
        let data_type = DataType::Float as i32;
        self.weight(TensorProto {
            dims: dims.to_vec(),
            data_type,
            float_data: values.to_vec(),
            ..TensorProto::default()
        })
    }

    fn integers(&mut self, dims: &[i64], values: &[i64]) -> String {
        let data_type = DataType::Int64 as i32;
        self.weight(TensorProto {
            dims: dims.to_vec(),
            data_type,
            int64_data: values.to_vec(),
            ..TensorProto::default()
        })
    }

    fn cast(&mut self, x: &str, to: DataType) -> String {
        self.op("Cast", &[x], &[integer("to", to as i64)])
    }

    /// `x` in another shape, with the batch in front.
    fn reshaped(&mut self, x: &str, dims: &[i64]) -> String {
        let dims: Vec<i64> = [0].iter().chain(dims).copied().collect();
        let shape = self.integers(&[dims.len() as i64], &dims);
        self.op("Reshape", &[x, &shape], &[])
    }
}

fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: AttributeType::Int as i32, i: value, ..AttributeProto::default() }
}

fn text(name: &str, value: &str) -> AttributeProto {
    let (r#type, s) = (AttributeType::String as i32, value.as_bytes().to_vec());
    AttributeProto { name: name.to_owned(), r#type, s, ..AttributeProto::default() }
}

fn value(name: &str, dims: &[Option<i64>]) -> ValueInfoProto {
    let dim = |size: &Option<i64>| Dimension {
        value: Some(match size {
            Some(size) => dimension::Value::DimValue(*size),
            None => dimension::Value::DimParam("batch".to_owned()),
        }),
        ..Dimension::default()
    };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape };
    let ty = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: name.to_owned(), r#type: Some(ty), ..ValueInfoProto::default() }
}

/// A model whose score is the sum of what `build` makes of `x`, `[batch, 2, 3]`, each number times its place.
fn model(outputs: usize, build: impl FnOnce(&mut Net, &str) -> String) -> Vec<u8> {
    let mut net = Net::default();
    let x = net.reshaped("x", &[2, 3]);
    let made = build(&mut net, &x);
    let made = net.reshaped(&made, &[outputs as i64]);
    let made = net.cast(&made, DataType::Float);
    let places: Vec<f32> = (1..=outputs).map(|place| place as f32).collect();
    let places = net.floats(&[outputs as i64, 1], &places);
    net.nodes.push(NodeProto {
        op_type: "MatMul".to_owned(),
        input: vec![made, places],
        output: vec!["score".to_owned()],
        ..NodeProto::default()
    });
    let graph = GraphProto {
        name: "model".to_owned(),
        node: net.nodes,
        initializer: net.weights,
        input: vec![value("x", &[None, Some(FEATURES as i64)])],
        output: vec![value("score", &[None, Some(1)])],
        ..GraphProto::default()
    };
    let opset_import = vec![OperatorSetIdProto { version: VERSION, ..OperatorSetIdProto::default() }];
    ModelProto { ir_version: 10, graph: Some(graph), opset_import, ..ModelProto::default() }.encode_to_vec()
}

fn bundle(model: &[u8]) -> Result<Vec<u8>, CompileError> {
    let names: Vec<String> = (0..FEATURES).map(|at| format!("x_{at}")).collect();
    Ok(compile(&declared::features(&names), &declared::model(""), &import(model)?)?.bytes)
}

/// Rows with ties, whole numbers, halves and both signs.
fn rows() -> Vec<[f32; FEATURES]> {
    (0..20_u32)
        .map(|row| std::array::from_fn(|at| ((row * 7 + at as u32 * 5 + row * at as u32) % 25) as f32 / 4.0 - 3.0))
        .collect()
}

/// Compiles a model and compares its scores with `expected`, the outputs for a row.
fn agrees(
    outputs: usize,
    build: impl FnOnce(&mut Net, &str) -> String,
    expected: impl Fn(&[f32; FEATURES]) -> Vec<f32>,
) {
    let bundle = bundle(&model(outputs, build)).unwrap_or_else(|error| panic!("{error}"));
    let snapshot = Snapshot::load(&AlignedBytes::copy_of(&bundle), &Limits::default()).expect("a valid bundle");
    let rows = rows();
    let stride = stride(rows.len());
    let mut matrix = vec![0.0; FEATURES * stride];
    for (row, values) in rows.iter().enumerate() {
        for (feature, value) in values.iter().enumerate() {
            matrix[feature * stride + row] = *value;
        }
    }
    let mut scores = vec![0.0; stride];
    snapshot.model().raw_scores(&matrix, stride, &mut ModelScratch::default(), &mut scores);
    for (row, score) in rows.iter().zip(scores) {
        let wanted: f32 = expected(row).iter().zip(1_u16..).map(|(value, place)| value * f32::from(place)).sum();
        let is_equal = score == wanted
            || (score - wanted).abs() <= 1e-5 * wanted.abs().max(1.0)
            || (score.is_nan() && wanted.is_nan());
        assert!(is_equal, "{row:?}: {score} where {wanted} is expected");
    }
}

/// An id in `0..size` out of a feature.
fn id(value: f32, size: f32) -> usize {
    (value.abs().floor() % size) as usize
}

/// The same as operators: whole numbers of type int64.
fn ids(net: &mut Net, x: &str, size: i64) -> String {
    let x = net.op("Abs", &[x], &[]);
    let x = net.op("Floor", &[&x], &[]);
    let x = net.cast(&x, DataType::Int64);
    let size = net.integers(&[], &[size]);
    net.op("Mod", &[&x, &size], &[])
}

#[test]
fn whole_numbers_are_divided_without_a_rest_and_their_rest_has_the_sign_of_the_divisor() {
    let build = |net: &mut Net, x: &str| {
        let eight = net.floats(&[], &[8.0]);
        let x = net.op("Mul", &[x, &eight], &[]);
        let x = net.cast(&x, DataType::Int64);
        let by = net.integers(&[3], &[3, -4, 7]);
        let quotient = net.op("Div", &[&x, &by], &[]);
        let rest = net.op("Mod", &[&x, &by], &[]);
        let hundred = net.integers(&[], &[100]);
        let quotient = net.op("Mul", &[&quotient, &hundred], &[]);
        net.op("Add", &[&quotient, &rest], &[])
    };
    agrees(6, build, |row| {
        let divided = |(value, by): (&f32, &i64)| {
            let value = (value * 8.0) as i64;
            let rest = value % by;
            let rest = if rest != 0 && (rest < 0) != (*by < 0) { rest + by } else { rest };
            (value / by * 100 + rest) as f32
        };
        row.iter().zip([3, -4, 7].iter().cycle()).map(divided).collect()
    });
}

#[test]
fn a_rest_of_broken_numbers_has_the_sign_of_what_is_divided() {
    let build = |net: &mut Net, x: &str| {
        let by = net.floats(&[3], &[0.75, -1.5, 2.0]);
        net.op("Mod", &[x, &by], &[integer("fmod", 1)])
    };
    agrees(6, build, |row| row.iter().zip([0.75, -1.5, 2.0].iter().cycle()).map(|(value, by)| value % by).collect());
}

#[test]
fn a_broken_power_of_a_negative_number_is_none_and_a_whole_one_keeps_its_sign() {
    for exponent in [2.5, -1.0, -2.0, 0.0, 3.0, 4.0, 0.25] {
        let build = |net: &mut Net, x: &str| {
            let by = net.floats(&[], &[exponent]);
            net.op("Pow", &[x, &by], &[])
        };
        agrees(6, build, |row| row.iter().map(|value| value.powf(exponent)).collect());
    }
    // A power that is computed.
    let build = |net: &mut Net, x: &str| {
        let exponent = net.op("Round", &[x], &[]);
        let x = net.op("Abs", &[x], &[]);
        let one = net.floats(&[], &[1.0]);
        let x = net.op("Add", &[&x, &one], &[]);
        net.op("Pow", &[&x, &exponent], &[])
    };
    agrees(6, build, |row| row.iter().map(|value| (value.abs() + 1.0).powf(value.round_ties_even())).collect());
}

#[test]
fn powers_of_whole_numbers_are_whole() {
    let build = |net: &mut Net, x: &str| {
        let exponent = ids(net, x, 5);
        let [x, exponent] = [x, &exponent].map(|value| net.cast(value, DataType::Int32));
        net.op("Pow", &[&x, &exponent], &[])
    };
    agrees(6, build, |row| row.iter().map(|value| value.trunc().powi(id(*value, 5.0) as i32)).collect());
}

#[test]
fn sine_and_cosine_hold_over_many_turns() {
    for name in ["Sin", "Cos"] {
        let build = |net: &mut Net, x: &str| {
            let far = net.floats(&[], &[11.0]);
            let x = net.op("Mul", &[x, &far], &[]);
            net.op(name, &[&x], &[])
        };
        let function = |angle: f64| if name == "Sin" { angle.sin() } else { angle.cos() };
        agrees(6, build, |row| row.iter().map(|value| function(f64::from(*value * 11.0)) as f32).collect());
    }
}

#[test]
fn what_is_no_number_and_what_is_infinite_is_found() {
    let build = |net: &mut Net, x: &str| {
        let zero = net.floats(&[], &[0.0]);
        let ratio = net.op("Div", &[x, &zero], &[]);
        let is_nan = net.op("IsNaN", &[&ratio], &[]);
        let is_infinite = net.op("IsInf", &[&ratio], &[integer("detect_negative", 0)]);
        let [is_nan, is_infinite] = [is_nan, is_infinite].map(|truth| net.cast(&truth, DataType::Float));
        net.op("Concat", &[&is_nan, &is_infinite], &[integer("axis", 2)])
    };
    agrees(12, build, |row| {
        let truth = |holds: bool| if holds { 1.0 } else { 0.0 };
        let found = |part: &[f32]| -> Vec<f32> {
            let is_nan = part.iter().map(|value| truth(*value == 0.0));
            is_nan.chain(part.iter().map(|value| truth(*value > 0.0))).collect()
        };
        [found(&row[..3]), found(&row[3..])].concat()
    });
}

#[test]
fn of_equal_extremes_the_first_or_the_last_is_named() {
    for (name, is_last) in [("ArgMax", 0), ("ArgMax", 1), ("ArgMin", 0), ("ArgMin", 1)] {
        let build = |net: &mut Net, x: &str| {
            let x = net.op("Round", &[x], &[]);
            let attributes = [integer("axis", 2), integer("keepdims", 0), integer("select_last_index", is_last)];
            net.op(name, &[&x], &attributes)
        };
        agrees(2, build, |row| {
            let place = |part: &[f32]| {
                let part: Vec<f32> = part.iter().map(|value| value.round_ties_even()).collect();
                let is_better = |value: f32, best: f32| if name == "ArgMax" { value > best } else { value < best };
                (1..part.len()).fold(0, |best, at| {
                    let takes = is_better(part[at], part[best]) || (is_last == 1 && part[at] == part[best]);
                    if takes { at } else { best }
                })
            };
            vec![place(&row[..3]) as f32, place(&row[3..]) as f32]
        });
    }
}

#[test]
fn the_largest_few_come_in_their_order_and_of_equal_ones_the_first() {
    for largest in [1, 0] {
        let build = |net: &mut Net, x: &str| {
            let x = net.op("Round", &[x], &[]);
            let few = net.integers(&[1], &[2]);
            let attributes = [integer("axis", 2), integer("largest", largest)];
            let found = net.ops("TopK", &[&x, &few], &attributes, 2);
            let places = net.cast(&found[1], DataType::Float);
            net.op("Concat", &[&found[0], &places], &[integer("axis", 2)])
        };
        agrees(8, build, |row| {
            let found = |part: &[f32]| -> Vec<f32> {
                let mut order: Vec<usize> = (0..3).collect();
                let key = |at: &usize| part[*at].round_ties_even() * if largest == 1 { -1.0 } else { 1.0 };
                order.sort_by(|left, right| key(left).total_cmp(&key(right)));
                let values = order[..2].iter().map(|at| part[*at].round_ties_even());
                values.chain(order[..2].iter().map(|at| *at as f32)).collect()
            };
            [found(&row[..3]), found(&row[3..])].concat()
        });
    }
}

#[test]
fn computed_ids_pick_among_computed_values() {
    let build = |net: &mut Net, x: &str| {
        let ids = ids(net, x, 3);
        net.op("GatherElements", &[x, &ids], &[integer("axis", 2)])
    };
    agrees(6, build, |row| (0..6).map(|at| row[at / 3 * 3 + id(row[at], 3.0)]).collect());
    // Rows of [3, 2], by the first three numbers.
    let build = |net: &mut Net, x: &str| {
        let data = net.reshaped(x, &[3, 2]);
        let (start, end, axis) = (net.integers(&[1], &[0]), net.integers(&[1], &[1]), net.integers(&[1], &[1]));
        let first = net.op("Slice", &[x, &start, &end, &axis], &[]);
        let first = net.reshaped(&first, &[3, 1]);
        let ids = ids(net, &first, 3);
        net.op("GatherND", &[&data, &ids], &[integer("batch_dims", 1)])
    };
    agrees(6, build, |row| (0..3).flat_map(|at| [0, 1].map(|inner| row[id(row[at], 3.0) * 2 + inner])).collect());
    // Rows of a computed table that all candidates share.
    let build = |net: &mut Net, x: &str| {
        let ids = ids(net, x, 4);
        let table = net.floats(&[4], &[1.0, 2.0, 4.0, 8.0]);
        net.op("Gather", &[&table, &ids], &[])
    };
    agrees(6, build, |row| row.iter().map(|value| f32::powi(2.0, id(*value, 4.0) as i32)).collect());
}

#[test]
fn one_hot_counts_negative_ids_from_the_end() {
    let build = |net: &mut Net, x: &str| {
        let ids = ids(net, x, 3);
        let three = net.integers(&[], &[3]);
        let ids = net.op("Sub", &[&ids, &three], &[]);
        let (depth, values) = (net.integers(&[], &[3]), net.floats(&[2], &[0.5, 2.0]));
        net.op("OneHot", &[&ids, &depth, &values], &[integer("axis", 1)])
    };
    agrees(18, build, |row| {
        let hot = |depth: usize| row.iter().map(move |value| if id(*value, 3.0) == depth { 2.0 } else { 0.5 });
        (0..3).flat_map(hot).collect()
    });
}

#[test]
fn triangles_are_cut_at_their_diagonal() {
    for (upper, diagonal) in [(1, 1), (1, 0), (0, -1), (0, 1)] {
        let build = |net: &mut Net, x: &str| {
            // As exporters may write it: a list of one.
            let diagonal = net.integers(&[1], &[diagonal]);
            net.op("Trilu", &[x, &diagonal], &[integer("upper", upper)])
        };
        agrees(6, build, |row| {
            let is_kept = |at: usize| {
                let beyond = (at % 3) as i64 - (at / 3) as i64 - diagonal;
                if upper == 1 { beyond >= 0 } else { beyond <= 0 }
            };
            (0..6).map(|at| if is_kept(at) { row[at] } else { 0.0 }).collect()
        });
    }
}

#[test]
fn running_sums_go_either_way_with_or_without_their_own_value() {
    for (reverse, exclusive) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let build = |net: &mut Net, x: &str| {
            let axis = net.integers(&[], &[2]);
            net.op("CumSum", &[x, &axis], &[integer("reverse", reverse), integer("exclusive", exclusive)])
        };
        agrees(6, build, |row| {
            let counts = |at: usize, other: usize| {
                let before = if reverse == 1 { other > at } else { other < at };
                before || (exclusive == 0 && other == at)
            };
            let sum = |part: &[f32], at: usize| -> f32 { (0..3).filter(|to| counts(at, *to)).map(|to| part[to]).sum() };
            (0..6).map(|at| sum(&row[at / 3 * 3..][..3], at % 3)).collect()
        });
    }
}

#[test]
fn values_are_repeated_reversed_and_reflected() {
    let build = |net: &mut Net, x: &str| {
        let repeats = net.integers(&[3], &[1, 2, 2]);
        net.op("Tile", &[x, &repeats], &[])
    };
    agrees(24, build, |row| (0..24).map(|at| row[at / 6 % 2 * 3 + at % 3]).collect());
    let build = |net: &mut Net, x: &str| {
        let bounds = [[-1], [i64::from(i32::MIN)], [2], [-2]].map(|bound| net.integers(&[1], &bound));
        let [start, end, axes, steps] = &bounds;
        let backwards = net.op("Slice", &[x, start, end, axes, steps], &[]);
        net.op("Concat", &[&backwards, x], &[integer("axis", 2)])
    };
    agrees(10, build, |row| [2, 0, 0, 1, 2, 5, 3, 3, 4, 5].map(|at| row[at]).to_vec());
    for (mode, places) in [("reflect", [2, 1, 0, 1, 2, 1]), ("edge", [0, 0, 0, 1, 2, 2])] {
        let build = |net: &mut Net, x: &str| {
            let pads = net.integers(&[6], &[0, 0, 2, 0, 0, 1]);
            net.op("Pad", &[x, &pads], &[text("mode", mode)])
        };
        agrees(12, build, |row| [0, 3].into_iter().flat_map(|part| places.map(|place| row[part + place])).collect());
    }
    let build = |net: &mut Net, x: &str| {
        let (pads, value) = (net.integers(&[6], &[0, 0, 1, 0, 0, 0]), net.floats(&[1], &[0.5]));
        net.op("Pad", &[x, &pads, &value], &[])
    };
    agrees(8, build, |row| [&[0.5], &row[..3], &[0.5], &row[3..]].concat());
}

#[test]
fn an_axis_named_twice_is_the_diagonal() {
    let build = |net: &mut Net, x: &str| {
        let turned = net.op(
            "Transpose",
            &[x],
            &[AttributeProto {
                name: "perm".to_owned(),
                r#type: AttributeType::Ints as i32,
                ints: vec![0, 2, 1],
                ..AttributeProto::default()
            }],
        );
        let square = net.op("MatMul", &[x, &turned], &[]);
        net.op("Einsum", &[&square], &[text("equation", "nii->ni")])
    };
    let square = |part: &[f32]| part.iter().map(|value| value * value).sum();
    agrees(2, build, |row| vec![square(&row[..3]), square(&row[3..])]);
}

#[test]
fn norms_of_nothing_are_no_number() {
    let build = |net: &mut Net, x: &str| {
        let x = net.op("Relu", &[x], &[]);
        net.op("LpNormalization", &[&x], &[integer("axis", 2), integer("p", 1)])
    };
    let part = |part: &[f32]| -> Vec<f32> {
        let all: f32 = part.iter().map(|value| value.max(0.0)).sum();
        part.iter().map(|value| value.max(0.0) / all).collect()
    };
    agrees(6, build, |row| [part(&row[..3]), part(&row[3..])].concat());
}

/// Attention of one head over three places of two numbers.
fn attends(row: &[f32; FEATURES], bias: impl Fn(usize, usize) -> f32) -> Vec<f32> {
    let place = |at: usize| [row[at * 2], row[at * 2 + 1]];
    let weight = |from: usize, to: usize| {
        let product: f32 = place(from).iter().zip(place(to)).map(|(left, right)| left * right).sum();
        (f64::from(product) / f64::sqrt(2.0) + f64::from(bias(from, to))).exp()
    };
    let one = |from: usize| {
        let all: f64 = (0..3).map(|to| weight(from, to)).sum();
        [0, 1].map(|inner| (0..3).map(|to| weight(from, to) / all * f64::from(place(to)[inner])).sum::<f64>() as f32)
    };
    (0..3).flat_map(one).collect()
}

#[test]
fn attention_sees_what_its_mask_and_the_past_allow() {
    let build = |net: &mut Net, x: &str| {
        let x = net.reshaped(x, &[1, 3, 2]);
        net.op("Attention", &[&x, &x, &x], &[integer("is_causal", 1)])
    };
    agrees(6, build, |row| attends(row, |from, to| if to > from { f32::NEG_INFINITY } else { 0.0 }));
    let biases = [0.0, 1.0, -1.0, 0.5, f32::NEG_INFINITY, 0.0, 2.0, 0.0, 0.25];
    let build = |net: &mut Net, x: &str| {
        let x = net.reshaped(x, &[3, 2]);
        let mask = net.floats(&[3, 3], &biases);
        net.op("Attention", &[&x, &x, &x, &mask], &[integer("q_num_heads", 1), integer("kv_num_heads", 1)])
    };
    agrees(6, build, |row| attends(row, |from, to| biases[from * 3 + to]));
}

/// A branch of one node.
fn branch(name: &str, op_type: &str, inputs: &[&str]) -> AttributeProto {
    let output = format!("{name}_out");
    let node = NodeProto {
        op_type: op_type.to_owned(),
        input: inputs.iter().map(|&input| input.to_owned()).collect(),
        output: vec![output.clone()],
        ..NodeProto::default()
    };
    let output = vec![ValueInfoProto { name: output, ..ValueInfoProto::default() }];
    let graph = GraphProto { name: name.to_owned(), node: vec![node], output, ..GraphProto::default() };
    let r#type = AttributeType::Graph as i32;
    AttributeProto { name: name.to_owned(), r#type, g: Some(graph), ..AttributeProto::default() }
}

#[test]
fn the_branch_that_shapes_decide_is_taken_though_the_other_is_not_valid() {
    let build = |net: &mut Net, x: &str| {
        let rank = net.op("Shape", &[x], &[]);
        let rank = net.op("Size", &[&rank], &[]);
        let (three, second) = (net.integers(&[], &[3]), net.integers(&[1], &[1]));
        let has_three = net.op("Equal", &[&rank, &three], &[]);
        // The second axis has two indices, so that it cannot be dropped.
        let branches = [branch("then_branch", "Relu", &[x]), branch("else_branch", "Squeeze", &[x, &second])];
        net.op("If", &[&has_three], &branches)
    };
    agrees(6, build, |row| row.iter().map(|value| value.max(0.0)).collect());
}

#[test]
fn a_branch_that_a_candidate_decides_is_refused() {
    let model = model(6, |net, x| {
        let sum = net.op("ReduceSum", &[x], &[integer("keepdims", 0)]);
        let zero = net.floats(&[], &[0.0]);
        let is_below = net.op("Less", &[&sum, &zero], &[]);
        net.op("If", &[&is_below], &[branch("then_branch", "Relu", &[x]), branch("else_branch", "Abs", &[x])])
    });
    let error = bundle(&model).expect_err("no jumps");
    assert_eq!(error.message(), "an If whose condition is computed");
}

#[test]
fn what_versions_of_onnx_disagree_about_is_refused() {
    let model = model(6, |net, x| {
        let x = net.reshaped(x, &[1, 6]);
        net.op("Attention", &[&x, &x, &x], &[integer("q_num_heads", 6), integer("kv_num_heads", 2)])
    });
    let error = bundle(&model).expect_err("heads are shared");
    assert_eq!(error.message(), "an Attention with fewer heads of keys than of queries, and more than one");
}

#[test]
fn a_type_that_is_not_held_is_refused_by_its_name() {
    let model = model(6, |net, x| net.cast(x, DataType::Bfloat16));
    let error = bundle(&model).expect_err("a type of two bytes");
    assert_eq!(error.message(), "the type bfloat16 is not supported");
}

#[test]
fn what_tract_refuses_is_told_with_the_operator() {
    let model = model(8, |net, x| {
        let pads = net.integers(&[6], &[0, 0, 1, 0, 0, 0]);
        net.op("Pad", &[x, &pads], &[text("mode", "wrap")])
    });
    let error = bundle(&model).expect_err("a mode that is not known");
    assert_eq!(error.message(), "the operator Pad as it is used here: Unsupported mode wrap");
}

#[test]
fn a_score_that_is_never_a_number_proves_nothing() {
    let never = model(FEATURES, |net, x| {
        let size = net.op("Abs", &[x], &[]);
        let least = net.floats(&[1], &[-1.0]);
        let negative = net.op("Sub", &[&least, &size], &[]);
        net.op("Log", &[&negative], &[])
    });
    let error = bundle(&never).expect_err("both say NaN to everything");
    assert!(error.to_string().contains("no finite number for any of 384 inputs"), "{error}");
}
