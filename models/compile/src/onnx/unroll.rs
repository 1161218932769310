//! Loops whose number of turns is known before a model runs, as scripted models have them, written out in the file's graph.
//!
//! A `Loop` counts its turns and may end by what it computes. Where the count follows from shapes and constants and nothing
//! else ends it, its body is copied for each turn, as a Scan is written out when it is lowered; names of a copy begin with
//! the loop's first output and the turn. What the turns give along a new axis is put together behind them. The operator is
//! <https://onnx.ai/onnx/operators/onnx__Loop.html>.

use std::collections::HashMap;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use super::lower::unsupported;
use super::rewrite::{Body, attribute, input, integer, integers, tensor};
use crate::error::CompileError;

/// Most turns of a loop, and most operators that its turns become.
const MAX_TURNS: usize = 512;
const MAX_COPIES: usize = 20_000;
/// From here on the axes of Unsqueeze are an input.
const AXES_ARE_INPUTS: i64 = 13;

/// What a loop is written out as.
pub(super) struct Unrolled {
    pub(super) nodes: Vec<NodeProto>,
    /// Constants of the body, which the turns share.
    pub(super) constants: Vec<TensorProto>,
}

/// Writes a loop out; `turns` and `starts` are its count and its first condition where they are known. Exports of `version`.
pub(super) fn unroll(
    node: &NodeProto,
    turns: Option<f32>,
    starts: Option<bool>,
    version: i64,
) -> Result<Unrolled, CompileError> {
    let help = "export the model with a fixed number of turns, or with the loop written out";
    let body = attribute(node, "body").and_then(|body| body.g.as_ref());
    let body = body.ok_or_else(|| unsupported("a Loop without a body", "export the model again"))?;
    let Some(turns) = turns.filter(|turns| *turns >= 0.0).map(|turns| turns as usize) else {
        return Err(unsupported("a Loop whose number of turns is computed", help));
    };
    if starts != Some(true) || !stays(body) {
        return Err(unsupported("a Loop that ends by what it computes", help));
    }
    if turns == 0 || turns > MAX_TURNS || turns.saturating_mul(body.node.len()) > MAX_COPIES {
        let size = body.node.len();
        let message = format!(
            "a Loop of {turns} turns of {size} operators, where 1 to {MAX_TURNS} turns and {MAX_COPIES} operators are written out"
        );
        return Err(unsupported(message, "export the model with a shorter sequence"));
    }
    let states = node.input.len().saturating_sub(2);
    if body.input.len() != states + 2 || body.output.len() != node.output.len() + 1 || node.output.len() < states {
        return Err(unsupported("a Loop whose body has other inputs or outputs", "export the model again"));
    }
    let mut written = Body::new(node);
    let mut held: Vec<String> = node.input[2..].to_vec();
    let mut made: Vec<Vec<String>> = vec![Vec::new(); node.output.len() - states];
    let is_true = written.op("Constant", &[], vec![tensor("value", truth())]);
    for turn in 0..turns {
        let count = written.op("Constant", &[], vec![tensor("value", scalar(turn as i64))]);
        let mut names: HashMap<String, String> = HashMap::new();
        let known = [count, is_true.clone()].into_iter().chain(held);
        names.extend(body.input.iter().map(|input| input.name.clone()).zip(known));
        let prefix = format!("{}.turn{turn}", written.prefix());
        written.nodes.extend(copied(&body.node, &prefix, &mut names));
        let outputs = body.output.iter().skip(1).map(|output| renamed(&output.name, &names));
        let outputs: Vec<String> = outputs.collect();
        made.iter_mut().zip(&outputs[states..]).for_each(|(made, output)| made.push(output.clone()));
        held = outputs[..states].to_vec();
    }
    let has_name = |name: &&String| !name.is_empty();
    for (output, last) in node.output.iter().zip(&held).filter(|(output, _)| has_name(output)) {
        written.named("Identity", &[last], Vec::new(), output);
    }
    for (output, made) in node.output[states..].iter().zip(&made).filter(|(output, _)| has_name(output)) {
        let parts: Vec<String> = made.iter().map(|part| unsqueezed(&mut written, part, version)).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        written.named("Concat", &parts, vec![integer("axis", 0)], output);
    }
    Ok(Unrolled { nodes: written.nodes, constants: body.initializer.clone() })
}

/// Whether the condition that a body gives is always the one that it got, or true.
fn stays(body: &GraphProto) -> bool {
    let (Some(given), Some(made)) = (body.input.get(1), body.output.first()) else { return false };
    let mut name = made.name.as_str();
    // Operators are in their order, so a way back ends.
    for node in body.node.iter().rev() {
        if !node.output.iter().any(|output| output == name) {
            continue;
        }
        match node.op_type.as_str() {
            "Identity" | "Cast" => name = input(node, 0).unwrap_or_default(),
            "Constant" => return attribute(node, "value").and_then(|value| value.t.as_ref()).is_some_and(is_true),
            _ => return false,
        }
    }
    name == given.name || body.initializer.iter().any(|held| held.name == name && is_true(held))
}

fn is_true(tensor: &TensorProto) -> bool {
    tensor.raw_data.iter().any(|byte| *byte != 0) || tensor.int32_data.iter().any(|value| *value != 0)
}

/// Nodes with names of their own; `names` are those of values so far.
fn copied(nodes: &[NodeProto], prefix: &str, names: &mut HashMap<String, String>) -> Vec<NodeProto> {
    let mut copies = Vec::with_capacity(nodes.len());
    for node in nodes {
        let mut copy = node.clone();
        copy.name.clear();
        copy.input.iter_mut().for_each(|name| *name = renamed(name, names));
        for graph in copy.attribute.iter_mut().flat_map(|attribute| attribute.g.iter_mut().chain(&mut attribute.graphs))
        {
            own(graph, prefix, names);
        }
        for name in copy.output.iter_mut().filter(|name| !name.is_empty()) {
            *name = fresh(name, prefix, names);
        }
        copies.push(copy);
    }
    copies
}

/// Gives a graph in a node names of its own.
fn own(graph: &mut GraphProto, prefix: &str, names: &mut HashMap<String, String>) {
    for held in &mut graph.initializer {
        held.name = fresh(&held.name, prefix, names);
    }
    for value in &mut graph.input {
        value.name = fresh(&value.name, prefix, names);
    }
    graph.node = copied(&graph.node, prefix, names);
    for value in &mut graph.output {
        value.name = renamed(&value.name, names);
    }
    graph.value_info.clear();
}

fn fresh(name: &str, prefix: &str, names: &mut HashMap<String, String>) -> String {
    let own = format!("{prefix}.{name}");
    names.insert(name.to_owned(), own.clone());
    own
}

fn renamed(name: &str, names: &HashMap<String, String>) -> String {
    names.get(name).map_or(name, String::as_str).to_owned()
}

/// A value with a new axis in front.
fn unsqueezed(written: &mut Body, name: &str, version: i64) -> String {
    if version < AXES_ARE_INPUTS {
        return written.op("Unsqueeze", &[name], vec![integers("axes", &[0])]);
    }
    let axes = written.integers(&[0]);
    written.op("Unsqueeze", &[name, &axes], Vec::new())
}

fn scalar(value: i64) -> TensorProto {
    TensorProto { data_type: DataType::Int64 as i32, int64_data: vec![value], ..TensorProto::default() }
}

fn truth() -> TensorProto {
    TensorProto { data_type: DataType::Bool as i32, int32_data: vec![1], ..TensorProto::default() }
}
