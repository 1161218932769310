//! What tract does not read, in operators that it does: nodes are replaced in the file's graph before tract sees it.
//!
//! An operator that ONNX defines by a function body (<https://onnx.ai/onnx/operators>) is replaced by that body, as far as
//! exports of ranking models need it; the rest are two nodes whose scalars exporters write as lists of one number. Names of
//! new values begin with the name of the first output, so that a refusal names what the file has.

use std::collections::BTreeSet;

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dimension;
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, type_proto};

use super::lower::unsupported;
use super::recurrent;
use crate::error::CompileError;

/// From here on reductions take their axes as an input.
const AXES_ARE_INPUTS: i64 = 18;
/// Operators whose answer is a truth value.
const TRUTHS: [&str; 11] =
    ["And", "Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual", "Not", "Or", "Xor"];

/// Operators that are replaced, of which tract may know none.
pub(super) const REPLACED: [&str; 3] = ["Attention", "Loop", "LpNormalization"];

/// Replaces what tract does not read.
pub(super) fn rewrite(model: &mut ModelProto) -> Result<(), CompileError> {
    let version = version(model);
    let Some(graph) = model.graph.as_mut() else { return Ok(()) };
    let nodes = std::mem::take(&mut graph.node);
    let mut names = BTreeSet::new();
    for (at, mut node) in nodes.into_iter().enumerate() {
        // Names of nodes mean nothing, and some files have one twice.
        if !node.name.is_empty() && !names.insert(node.name.clone()) {
            node.name.clear();
        }
        let mut body = Body::new(&node);
        let is_standard = node.domain.is_empty();
        match node.op_type.as_str() {
            "Attention" if is_standard => {
                let is_truth = node.input.get(3).is_some_and(|mask| is_truth(graph, mask));
                let heads = [0, 1].map(|at| node.input.get(at).and_then(|name| declared_heads(graph, name)));
                attention(&mut body, &node, is_truth, heads)
                    .map_err(|error| error.within(&format!("graph.node[{at}]")))?;
            }
            "Dropout" if is_standard && is_kept(graph, &node) => kept(&mut body, &node),
            "LpNormalization" if is_standard => normalization(&mut body, &node, version),
            "Mod" if is_standard && attribute(&node, "fmod").is_none_or(|fmod| fmod.i == 0) => modulo(&mut body, &node),
            "Pad" if is_standard => with_scalar(&mut body, node, 2),
            "Trilu" if is_standard => with_scalar(&mut body, node, 1),
            "GRU" | "LSTM" | "RNN" if is_standard => recurrent::complete(&mut body, node),
            _ => {
                let mut node = node;
                recurrent::unname(&mut node);
                body.nodes.push(node);
            }
        }
        graph.node.extend(body.nodes);
    }
    Ok(())
}

/// The version of the standard operators.
pub(super) fn version(model: &ModelProto) -> i64 {
    model.opset_import.iter().find(|opset| opset.domain.is_empty()).map_or(1, |opset| opset.version)
}

/// Nodes that take the place of one.
pub(super) struct Body {
    prefix: String,
    pub(super) nodes: Vec<NodeProto>,
}

impl Body {
    pub(super) fn new(node: &NodeProto) -> Self {
        let named = node.output.iter().find(|name| !name.is_empty());
        Self { prefix: named.cloned().unwrap_or_default(), nodes: Vec::new() }
    }

    /// What names of new values begin with.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A node with one output, whose name is returned.
    pub(super) fn op(&mut self, op_type: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        let output = format!("{}.{}.{op_type}", self.prefix, self.nodes.len());
        self.named(op_type, inputs, attributes, &output);
        output
    }

    pub(super) fn named(&mut self, op_type: &str, inputs: &[&str], attribute: Vec<AttributeProto>, output: &str) {
        self.nodes.push(NodeProto {
            op_type: op_type.to_owned(),
            name: output.to_owned(),
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![output.to_owned()],
            attribute,
            ..NodeProto::default()
        });
    }

    fn constant(&mut self, tensor: TensorProto) -> String {
        self.op("Constant", &[], vec![self::tensor("value", tensor)])
    }

    pub(super) fn integers(&mut self, values: &[i64]) -> String {
        self.constant(TensorProto {
            dims: vec![values.len() as i64],
            data_type: DataType::Int64 as i32,
            int64_data: values.to_vec(),
            ..TensorProto::default()
        })
    }

    /// A scalar.
    fn number(&mut self, value: f32) -> String {
        let data_type = DataType::Float as i32;
        self.constant(TensorProto { data_type, float_data: vec![value], ..TensorProto::default() })
    }

    /// A scalar integer.
    fn index(&mut self, value: i64) -> String {
        let data_type = DataType::Int64 as i32;
        self.constant(TensorProto { data_type, int64_data: vec![value], ..TensorProto::default() })
    }

    /// The length of an axis, as a list of one.
    pub(super) fn length(&mut self, of: &str, axis: i64) -> String {
        self.op("Shape", &[of], vec![integer("start", axis), integer("end", axis + 1)])
    }
}

pub(super) fn tensor(name: &str, value: TensorProto) -> AttributeProto {
    let r#type = AttributeType::Tensor as i32;
    AttributeProto { name: name.to_owned(), r#type, t: Some(value), ..AttributeProto::default() }
}

pub(super) fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: AttributeType::Int as i32, i: value, ..AttributeProto::default() }
}

pub(super) fn integers(name: &str, values: &[i64]) -> AttributeProto {
    let (r#type, ints) = (AttributeType::Ints as i32, values.to_vec());
    AttributeProto { name: name.to_owned(), r#type, ints, ..AttributeProto::default() }
}

pub(super) fn attribute<'n>(node: &'n NodeProto, name: &str) -> Option<&'n AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

/// Whether an attribute is there and says this.
pub(super) fn is_text(node: &NodeProto, name: &str, text: &[u8]) -> bool {
    attribute(node, name).is_some_and(|attribute| attribute.s == text)
}

pub(super) fn input(node: &NodeProto, at: usize) -> Option<&str> {
    node.input.get(at).map(String::as_str).filter(|name| !name.is_empty())
}

/// The node, with a scalar where it has a list of one number.
fn with_scalar(body: &mut Body, mut node: NodeProto, at: usize) {
    if let Some(value) = input(&node, at) {
        let scalar = body.integers(&[]);
        node.input[at] = body.op("Reshape", &[value, &scalar], Vec::new());
    }
    body.nodes.push(node);
}

/// The rest with the sign of the divisor: tract has it for all whole numbers but those of 64 bits.
fn modulo(body: &mut Body, node: &NodeProto) {
    let (Some(x), Some(by), Some(out)) = (input(node, 0), input(node, 1), node.output.first()) else { return };
    let fmod = vec![integer("fmod", 1)];
    let rest = body.op("Mod", &[x, by], fmod.clone());
    let rest = body.op("Add", &[&rest, by], Vec::new());
    body.named("Mod", &[&rest, by], fmod, out);
}

/// `x / norm(x)`: a value whose norm is 0 becomes NaN, as it does in ONNX.
fn normalization(body: &mut Body, node: &NodeProto, version: i64) {
    let (Some(x), Some(out)) = (input(node, 0), node.output.first()) else { return };
    let axis = attribute(node, "axis").map_or(-1, |attribute| attribute.i);
    let norm = if attribute(node, "p").is_some_and(|attribute| attribute.i == 1) { "ReduceL1" } else { "ReduceL2" };
    let size = if version < AXES_ARE_INPUTS {
        body.op(norm, &[x], vec![integers("axes", &[axis])])
    } else {
        let axes = body.integers(&[axis]);
        body.op(norm, &[x, &axes], Vec::new())
    };
    body.named("Div", &[x, &size], Vec::new(), out);
}

/// Whether a value is of truths, as far as the graph says it.
fn is_truth(graph: &GraphProto, name: &str) -> bool {
    let is_declared = graph.input.iter().chain(&graph.value_info).filter(|value| value.name == name).any(|value| {
        matches!(value.r#type.as_ref().and_then(|ty| ty.value.as_ref()),
            Some(type_proto::Value::TensorType(tensor)) if tensor.elem_type == DataType::Bool as i32)
    });
    let is_learnt =
        graph.initializer.iter().any(|tensor| tensor.name == name && tensor.data_type == DataType::Bool as i32);
    let is_computed = graph.node.iter().filter(|node| node.output.iter().any(|output| output == name)).any(|node| {
        let casts = attribute(node, "to").is_some_and(|to| to.i == DataType::Bool as i64);
        TRUTHS.contains(&node.op_type.as_str()) || casts
    });
    is_declared || is_learnt || is_computed
}

/// The second of four axes of an input of the graph, which is that of the heads.
fn declared_heads(graph: &GraphProto, name: &str) -> Option<i64> {
    let input = graph.input.iter().find(|input| input.name == name)?;
    let Some(type_proto::Value::TensorType(tensor)) = &input.r#type.as_ref()?.value else { return None };
    let dims = &tensor.shape.as_ref()?.dim;
    match &dims.get(1).filter(|_| dims.len() == 4)?.value {
        Some(Dimension::DimValue(heads)) => Some(*heads),
        _ => None,
    }
}

/// The function body of Attention (versions 23 and 24), without groups of heads.
fn attention(
    body: &mut Body,
    node: &NodeProto,
    mask_is_truth: bool,
    declared: [Option<i64>; 2],
) -> Result<(), CompileError> {
    let [Some(q), Some(k), Some(v)] = [0, 1, 2].map(|at| input(node, at)) else {
        return Err(unsupported("an Attention without queries, keys or values", "export the model again"));
    };
    if let Some(window) = ["left_window_size", "right_window_size"]
        .into_iter()
        .find(|name| attribute(node, name).is_some_and(|size| size.i >= 0))
    {
        return Err(unsupported(format!("an Attention with `{window}`"), "mask what is outside the window"));
    }
    let heads = |name: &str| attribute(node, name).map(|attribute| attribute.i);
    let (of_queries, of_keys) = (heads("q_num_heads"), heads("kv_num_heads"));
    if let (Some(queries), Some(keys)) = (of_queries.or(declared[0]), of_keys.or(declared[1]))
        && queries != keys
        && keys != 1
    {
        let message = "an Attention with fewer heads of keys than of queries, and more than one";
        return Err(unsupported(
            message,
            "versions of ONNX differ in which heads share: repeat the keys and values before",
        ));
    }
    let q = split(body, q, of_queries);
    let (k, v) = (split(body, k, of_keys), split(body, v, of_keys));
    let k = with_past(body, k, input(node, 4), node.output.get(1));
    let v = with_past(body, v, input(node, 5), node.output.get(2));
    let turned = body.op("Transpose", &[&k], vec![integers("perm", &[0, 1, 3, 2])]);
    let scale = scale(body, node, &q);
    let scores = body.op("MatMul", &[&q, &turned], Vec::new());
    let scores = body.op("Mul", &[&scores, &scale], Vec::new());
    let mut stages = vec![scores.clone()];
    let scores = biased(body, node, mask_is_truth, scores, (&q, &k));
    stages.push(scores.clone());
    let scores = match attribute(node, "softcap").filter(|softcap| softcap.f != 0.0) {
        Some(softcap) => {
            let cap = body.number(softcap.f);
            let cap = body.op("CastLike", &[&cap, &scores], Vec::new());
            let scores = body.op("Div", &[&scores, &cap], Vec::new());
            let scores = body.op("Tanh", &[&scores], Vec::new());
            body.op("Mul", &[&scores, &cap], Vec::new())
        }
        None => scores,
    };
    stages.push(scores.clone());
    let weights = body.op("Softmax", &[&scores], vec![integer("axis", -1)]);
    stages.push(weights.clone());
    if let Some(output) = node.output.get(3).filter(|name| !name.is_empty()) {
        let stage = attribute(node, "qk_matmul_output_mode").map_or(0, |mode| mode.i);
        let stage = usize::try_from(stage).ok().and_then(|stage| stages.get(stage));
        let stage =
            stage.ok_or_else(|| unsupported("an Attention with another qk_matmul_output_mode", "use 0 to 3"))?;
        body.named("Identity", &[stage], Vec::new(), output);
    }
    let out = body.op("MatMul", &[&weights, &v], Vec::new());
    let name = node.output.first().map_or("", String::as_str);
    if of_queries.is_some() {
        let out = body.op("Transpose", &[&out], vec![integers("perm", &[0, 2, 1, 3])]);
        let shape = body.integers(&[0, 0, -1]);
        body.named("Reshape", &[&out, &shape], Vec::new(), name);
    } else {
        body.named("Identity", &[&out], Vec::new(), name);
    }
    Ok(())
}

/// Whether a Dropout drops nothing: it is not trained, or its ratio is 0.
fn is_kept(graph: &GraphProto, node: &NodeProto) -> bool {
    let is_zero = |at: usize| {
        let held = input(node, at).and_then(|name| graph.initializer.iter().find(|held| held.name == *name));
        held.is_some_and(|held| {
            let numbers =
                held.int32_data.iter().all(|value| *value == 0) && held.float_data.iter().all(|value| *value == 0.0);
            numbers && held.raw_data.iter().all(|byte| *byte == 0)
        })
    };
    input(node, 2).is_none() || is_zero(2) || (input(node, 1).is_some() && is_zero(1))
}

/// What it is given, and a mask that is true everywhere.
fn kept(body: &mut Body, node: &NodeProto) {
    let (Some(x), Some(y)) = (input(node, 0), node.output.first()) else {
        body.nodes.push(node.clone());
        return;
    };
    body.named("Identity", &[x], Vec::new(), y);
    if let Some(mask) = node.output.get(1).filter(|name| !name.is_empty()) {
        let shape = body.op("Shape", &[x], Vec::new());
        let one = TensorProto {
            dims: vec![1],
            data_type: DataType::Bool as i32,
            int32_data: vec![1],
            ..TensorProto::default()
        };
        body.named("ConstantOfShape", &[&shape], vec![tensor("value", one)], mask);
    }
}

/// `[batch, length, heads * size]` as `[batch, heads, length, size]`; without a number of heads it is that already.
fn split(body: &mut Body, x: &str, heads: Option<i64>) -> String {
    let Some(heads) = heads else { return x.to_owned() };
    let shape = body.integers(&[0, 0, heads, -1]);
    let x = body.op("Reshape", &[x, &shape], Vec::new());
    body.op("Transpose", &[&x], vec![integers("perm", &[0, 2, 1, 3])])
}

/// Keys or values after those of the past, which are an output if it has a name.
fn with_past(body: &mut Body, x: String, past: Option<&str>, present: Option<&String>) -> String {
    let all = match past {
        Some(past) => body.op("Concat", &[past, &x], vec![integer("axis", 2)]),
        None => x,
    };
    if let Some(present) = present.filter(|name| !name.is_empty()) {
        body.named("Identity", &[&all], Vec::new(), present);
    }
    all
}

/// What scores are multiplied by: the attribute, or one by the root of a head's size.
fn scale(body: &mut Body, node: &NodeProto, q: &str) -> String {
    let scale = match attribute(node, "scale") {
        Some(scale) => body.number(scale.f),
        None => {
            let size = body.length(q, 3);
            let size = body.op("Cast", &[&size], vec![integer("to", DataType::Float as i64)]);
            let size = body.op("Sqrt", &[&size], Vec::new());
            body.op("Reciprocal", &[&size], Vec::new())
        }
    };
    body.op("CastLike", &[&scale, q], Vec::new())
}

/// Scores with what masks them: the mask, the future, what is padded.
fn biased(body: &mut Body, node: &NodeProto, mask_is_truth: bool, mut scores: String, (q, k): (&str, &str)) -> String {
    let (zero, never) = (body.number(0.0), body.number(f32::NEG_INFINITY));
    let zero = body.op("CastLike", &[&zero, q], Vec::new());
    let never = body.op("CastLike", &[&never, q], Vec::new());
    let padded = input(node, 6);
    if let Some(mask) = input(node, 3) {
        let mut bias = mask.to_owned();
        if mask_is_truth {
            bias = body.op("Where", &[mask, &zero, &never], Vec::new());
        }
        if padded.is_some() {
            // The mask may be as short as the longest that is not padded.
            let (all, masked) = (body.length(k, 2), body.op("Shape", &[mask], vec![integer("start", -1)]));
            let missing = body.op("Sub", &[&all, &masked], Vec::new());
            let none = body.integers(&[0]);
            let pads = body.op("Concat", &[&none, &missing], vec![integer("axis", 0)]);
            let last = body.integers(&[-1]);
            bias = body.op("Pad", &[&bias, &pads, &never, &last], Vec::new());
        }
        scores = body.op("Add", &[&scores, &bias], Vec::new());
    }
    if attribute(node, "is_causal").is_some_and(|is_causal| is_causal.i != 0) {
        let (rows, columns) = (body.length(q, 2), body.length(k, 2));
        let shape = body.op("Concat", &[&rows, &columns], vec![integer("axis", 0)]);
        let one = body.number(1.0);
        let ones = body.op("Expand", &[&one, &shape], Vec::new());
        let none = body.index(0);
        let past = body.op("Trilu", &[&ones, &none], vec![integer("upper", 0)]);
        let past = body.op("Cast", &[&past], vec![integer("to", DataType::Bool as i64)]);
        let bias = body.op("Where", &[&past, &zero, &never], Vec::new());
        scores = body.op("Add", &[&scores, &bias], Vec::new());
    }
    if let Some(lengths) = padded {
        let (all, none) = (body.length(k, 2), body.integers(&[]));
        let all = body.op("Reshape", &[&all, &none], Vec::new());
        let (zeroth, one) = (body.index(0), body.index(1));
        let places = body.op("Range", &[&zeroth, &all, &one], Vec::new());
        let axes = body.integers(&[1, 2, 3]);
        let lengths = body.op("Unsqueeze", &[lengths, &axes], Vec::new());
        let is_there = body.op("Less", &[&places, &lengths], Vec::new());
        let bias = body.op("Where", &[&is_there, &zero, &never], Vec::new());
        scores = body.op("Add", &[&scores, &bias], Vec::new());
    }
    scores
}
