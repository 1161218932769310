//! Recurrent operators as tract reads them.
//!
//! GRU, LSTM and RNN start from zeros when they are given no state. tract makes these zeros itself and needs to know for how
//! many rows, which is not known of candidates; so a missing state is written into the graph, by the shape of the input. tract
//! reads every single direction as forward; so one backward becomes the second of two, with the same weights in both. The
//! body of a Scan may name the batch otherwise than the graph around it, where both are the candidates; so names of lengths
//! are left out there, and follow from what enters the body.

use tract_onnx::pb::tensor_shape_proto::dimension::Value::DimParam;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto, attribute_proto, tensor_proto, type_proto};

/// Input of the first hidden state; that of the cell's state of an LSTM follows it.
const HIDDEN: usize = 5;

/// Gives every recurrent operator of a graph the states that it lacks, and every body lengths without names.
pub(super) fn complete(graph: &mut GraphProto) {
    let mut nodes = Vec::with_capacity(graph.node.len());
    for mut node in std::mem::take(&mut graph.node) {
        let name = format!("selvedge_{}", nodes.len());
        let states = match node.op_type.as_str() {
            "GRU" | "RNN" => 1,
            "LSTM" => 2,
            _ => 0,
        };
        for input in HIDDEN..HIDDEN + states {
            if node.input.get(input).is_none_or(String::is_empty) {
                let made = zeros(&node, &format!("{name}_state_{input}"));
                let Some(name) = made.last().and_then(|made| made.output.first()).cloned() else { continue };
                nodes.extend(made);
                node.input.resize(node.input.len().max(input + 1), String::new());
                node.input[input] = name;
            }
        }
        let cuts = if states > 0 { both_ways(&mut node, &name, &mut nodes) } else { Vec::new() };
        for body in node.attribute.iter_mut().filter_map(|attribute| attribute.g.as_mut()) {
            unname(body);
            complete(body);
        }
        nodes.push(node);
        nodes.extend(cuts);
    }
    graph.node = nodes;
}

/// Makes a backward operator one of both directions: before it, its inputs are doubled; what is returned cuts its outputs.
fn both_ways(node: &mut NodeProto, name: &str, before: &mut Vec<NodeProto>) -> Vec<NodeProto> {
    if !has_direction(node, b"reverse") {
        return Vec::new();
    }
    let is_batch_first = attribute(node, "layout").is_some_and(|layout| layout.i == 1);
    // By input, the axis of the directions; the sequence has none, and nor have its lengths.
    let axes = [None, Some(0), Some(0), Some(0), None, Some(is_batch_first.into()), Some(is_batch_first.into()), Some(0)];
    for (input, axis) in axes.into_iter().enumerate() {
        let (Some(axis), Some(value)) = (axis, node.input.get_mut(input).filter(|value| !value.is_empty())) else {
            continue;
        };
        let both = format!("{name}_both_{input}");
        before.push(operator("Concat", &[value, value], &both, vec![integer("axis", axis)]));
        *value = both;
    }
    for attribute in &mut node.attribute {
        match attribute.name.as_str() {
            "direction" => attribute.s = b"bidirectional".to_vec(),
            "activations" => attribute.strings.extend(attribute.strings.clone()),
            "activation_alpha" | "activation_beta" => attribute.floats.extend(attribute.floats.clone()),
            _ => {}
        }
    }
    let mut cuts = Vec::new();
    for (output, value) in node.output.iter_mut().enumerate().filter(|(_, value)| !value.is_empty()) {
        let axis = match output {
            0 => i64::from(is_batch_first) + 1,
            _ => is_batch_first.into(),
        };
        let (both, part) = (format!("{name}_out_{output}"), |part: &str| format!("{name}_out_{output}_{part}"));
        let (starts, ends, axes) = (part("starts"), part("ends"), part("axes"));
        cuts.extend([constant(&starts, 1), constant(&ends, 2), constant(&axes, axis)]);
        cuts.push(operator("Slice", &[&both, &starts, &ends, &axes], value, Vec::new()));
        *value = both;
    }
    cuts
}

fn attribute<'n>(node: &'n NodeProto, name: &str) -> Option<&'n AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

fn has_direction(node: &NodeProto, direction: &[u8]) -> bool {
    attribute(node, "direction").is_some_and(|attribute| attribute.s == direction)
}

fn unname(body: &mut GraphProto) {
    for value in body.input.iter_mut().chain(&mut body.output).chain(&mut body.value_info) {
        let Some(type_proto::Value::TensorType(tensor)) = value.r#type.as_mut().and_then(|ty| ty.value.as_mut()) else {
            continue;
        };
        for dim in tensor.shape.iter_mut().flat_map(|shape| &mut shape.dim) {
            if matches!(dim.value, Some(DimParam(_))) {
                dim.value = None;
            }
        }
    }
}

/// Operators that make a state of zeros; none if the operator says too little, which is refused later.
fn zeros(node: &NodeProto, name: &str) -> Vec<NodeProto> {
    let (Some(x), Some(hidden)) = (node.input.first(), attribute(node, "hidden_size")) else { return Vec::new() };
    let directions = if has_direction(node, b"bidirectional") { 2 } else { 1 };
    let is_batch_first = attribute(node, "layout").is_some_and(|layout| layout.i == 1);
    let value = |part: &str| format!("{name}_{part}");
    let sizes = |part: &str, number: i64| constant(&value(part), number);
    let batch = [("starts", i64::from(!is_batch_first)), ("ends", i64::from(!is_batch_first) + 1)];
    let mut made = vec![operator("Shape", &[x], &value("shape"), Vec::new())];
    made.extend(batch.map(|(part, at)| sizes(part, at)));
    made.push(operator("Slice", &[&value("shape"), &value("starts"), &value("ends")], &value("batch"), Vec::new()));
    made.extend([sizes("directions", directions), sizes("hidden", hidden.i)]);
    let order = if is_batch_first { ["batch", "directions", "hidden"] } else { ["directions", "batch", "hidden"] };
    let order = order.map(value);
    let order: Vec<&str> = order.iter().map(String::as_str).collect();
    made.push(operator("Concat", &order, &value("sizes"), vec![integer("axis", 0)]));
    let zero = TensorProto {
        dims: vec![1],
        data_type: tensor_proto::DataType::Float.into(),
        float_data: vec![0.0],
        ..TensorProto::default()
    };
    made.push(operator("ConstantOfShape", &[&value("sizes")], name, vec![tensor("value", zero)]));
    made
}

fn operator(kind: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(|input| (*input).to_owned()).collect(),
        output: vec![output.to_owned()],
        name: output.to_owned(),
        op_type: kind.to_owned(),
        attribute,
        ..NodeProto::default()
    }
}

fn integer(name: &str, value: i64) -> AttributeProto {
    let r#type = attribute_proto::AttributeType::Int.into();
    AttributeProto { name: name.to_owned(), r#type, i: value, ..AttributeProto::default() }
}

/// One number, as a list.
fn constant(name: &str, number: i64) -> NodeProto {
    let data_type = tensor_proto::DataType::Int64.into();
    let tensor = TensorProto { dims: vec![1], data_type, int64_data: vec![number], ..TensorProto::default() };
    operator("Constant", &[], name, vec![self::tensor("value", tensor)])
}

fn tensor(name: &str, value: TensorProto) -> AttributeProto {
    let r#type = attribute_proto::AttributeType::Tensor.into();
    AttributeProto { name: name.to_owned(), r#type, t: Some(value), ..AttributeProto::default() }
}
