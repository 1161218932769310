//! Recurrent operators as tract reads them.
//!
//! GRU, LSTM and RNN start from zeros when they are given no state. tract makes these zeros itself and needs to know for how
//! many rows, which is not known of candidates; so a missing state is written into the graph, by the shape of the input. tract
//! reads every single direction as forward; so one backward becomes the second of two, with the same weights in both. The
//! body of a Scan may name the batch otherwise than the graph around it, where both are the candidates; so names of lengths
//! are left out there, and follow from what enters the body.

use tract_onnx::pb::tensor_shape_proto::dimension::Value::DimParam;
use tract_onnx::pb::{NodeProto, TensorProto, tensor_proto, type_proto};

use super::rewrite::{Body, attribute, input, integer, is_text, tensor};

/// Input of the first hidden state; that of the cell's state of an LSTM follows it.
const HIDDEN: usize = 5;

/// A recurrent operator with all its states, and both ways if it was backward.
pub(super) fn complete(body: &mut Body, mut node: NodeProto) {
    let states = if node.op_type == "LSTM" { 2 } else { 1 };
    for at in HIDDEN..HIDDEN + states {
        if input(&node, at).is_none()
            && let Some(zeros) = zeros(body, &node)
        {
            node.input.resize(node.input.len().max(at + 1), String::new());
            node.input[at] = zeros;
        }
    }
    if is_text(&node, "direction", b"reverse") {
        both_ways(body, node);
    } else {
        body.nodes.push(node);
    }
}

/// A state of zeros; none if the operator says too little, which tract then refuses.
fn zeros(body: &mut Body, node: &NodeProto) -> Option<String> {
    let (x, hidden) = (input(node, 0)?, attribute(node, "hidden_size")?.i);
    let directions = if is_text(node, "direction", b"bidirectional") { 2 } else { 1 };
    let (directions, hidden) = (body.integers(&[directions]), body.integers(&[hidden]));
    let batch = body.length(x, i64::from(!is_batch_first(node)));
    let mut sizes = [directions.as_str(), &batch, &hidden];
    if is_batch_first(node) {
        sizes.swap(0, 1);
    }
    let shape = body.op("Concat", &sizes, vec![integer("axis", 0)]);
    let data_type = tensor_proto::DataType::Float.into();
    let zero = TensorProto { dims: vec![1], data_type, float_data: vec![0.0], ..TensorProto::default() };
    Some(body.op("ConstantOfShape", &[&shape], vec![tensor("value", zero)]))
}

/// A backward operator as the second direction of one that has two.
fn both_ways(body: &mut Body, mut node: NodeProto) {
    let of_state = i64::from(is_batch_first(&node));
    // By input, the axis of the directions; the sequence has none, and nor have its lengths.
    let axes = [None, Some(0), Some(0), Some(0), None, Some(of_state), Some(of_state), Some(0)];
    for (at, axis) in axes.into_iter().enumerate() {
        if let (Some(axis), Some(value)) = (axis, input(&node, at)) {
            node.input[at] = body.op("Concat", &[value, value], vec![integer("axis", axis)]);
        }
    }
    for attribute in &mut node.attribute {
        match attribute.name.as_str() {
            "direction" => attribute.s = b"bidirectional".to_vec(),
            "activations" => attribute.strings.extend(attribute.strings.clone()),
            "activation_alpha" | "activation_beta" => attribute.floats.extend(attribute.floats.clone()),
            _ => {}
        }
    }
    let outputs = node.output.clone();
    for value in node.output.iter_mut().filter(|value| !value.is_empty()) {
        value.push_str(".both");
    }
    let both = node.output.clone();
    // What cuts an output has the output's name.
    node.name.push_str(".both");
    body.nodes.push(node);
    let (start, end) = (body.integers(&[1]), body.integers(&[2]));
    for (at, (both, output)) in both.iter().zip(&outputs).enumerate().filter(|(_, (both, _))| !both.is_empty()) {
        let axis = body.integers(&[if at == 0 { of_state + 1 } else { of_state }]);
        body.named("Slice", &[both, &start, &end, &axis], Vec::new(), output);
    }
}

fn is_batch_first(node: &NodeProto) -> bool {
    attribute(node, "layout").is_some_and(|layout| layout.i == 1)
}

/// Leaves out the names that the bodies of a node have for lengths.
pub(super) fn unname(node: &mut NodeProto) {
    for body in node.attribute.iter_mut().filter_map(|attribute| attribute.g.as_mut()) {
        for value in body.input.iter_mut().chain(&mut body.output).chain(&mut body.value_info) {
            let ty = value.r#type.as_mut().and_then(|ty| ty.value.as_mut());
            let Some(type_proto::Value::TensorType(tensor)) = ty else { continue };
            for dim in tensor.shape.iter_mut().flat_map(|shape| &mut shape.dim) {
                if matches!(dim.value, Some(DimParam(_))) {
                    dim.value = None;
                }
            }
        }
    }
}
