//! Branches and loops that are decided before a model runs: an `If` whose condition follows from shapes and constants, as
//! scripted models have them, is replaced by the branch that is taken, and a `Loop` by its turns.
//!
//! A program has no jumps. tract decides too, but only after it has typed both branches, and the one that is not taken is
//! often not typable; loops it does not read. So conditions and counts are evaluated alone: tract folds the part of the graph
//! that they are made of.

use std::collections::BTreeSet;

use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, ValueInfoProto};

use super::lower::unsupported;
use super::rewrite::input;
use super::unroll::unroll;
use super::{Known, rewrite};
use crate::error::CompileError;

/// Most branches that are taken and loops that are written out, those in others counted.
const MAX_BRANCHES: usize = 256;

/// Whether an operator is decided here.
pub(super) fn is_decided(node: &NodeProto) -> bool {
    matches!(node.op_type.as_str(), "If" | "Loop")
}

/// The model without branches and loops.
pub(super) fn decide(model: &ModelProto, known: &[Known]) -> Result<ModelProto, CompileError> {
    let mut model = model.clone();
    for _ in 0..MAX_BRANCHES {
        let graph = model.graph.get_or_insert_default();
        let Some(at) = graph.node.iter().position(is_decided) else { return Ok(model) };
        let node = graph.node[at].clone();
        if node.op_type == "Loop" {
            write_out(&mut model, at, &node, known).map_err(|error| error.within(&format!("graph.node[{at}]")))?;
        } else {
            let condition = node.input.first().and_then(|condition| known_value(&model, at, condition, known));
            let Some(condition) = condition else {
                return Err(unsupported("an If whose condition is computed", "use Where, which takes both")
                    .within(&format!("graph.node[{at}]")));
            };
            take(&mut model, at, &node, if condition == 0.0 { "else_branch" } else { "then_branch" });
        }
        rewrite::rewrite(&mut model)?;
    }
    Err(unsupported(format!("more than {MAX_BRANCHES} branches and loops"), "export one way through the model"))
}

/// The first number of a value, if it is known from what stands before a node.
fn known_value(model: &ModelProto, at: usize, name: &str, known: &[Known]) -> Option<f32> {
    let graph = model.graph.as_ref()?;
    let mut needed = BTreeSet::from([name]);
    let mut nodes: Vec<&NodeProto> = Vec::new();
    for node in graph.node[..at].iter().rev() {
        if node.output.iter().any(|output| needed.contains(output.as_str())) {
            needed.extend(node.input.iter().map(String::as_str));
            nodes.push(node);
        }
    }
    let input = |value: &&ValueInfoProto| needed.contains(value.name.as_str());
    let part = GraphProto {
        node: nodes.into_iter().rev().cloned().collect(),
        input: graph.input.iter().filter(input).cloned().collect(),
        initializer: graph.initializer.iter().filter(|held| needed.contains(held.name.as_str())).cloned().collect(),
        output: vec![ValueInfoProto { name: name.to_owned(), ..ValueInfoProto::default() }],
        ..GraphProto::default()
    };
    let (ir_version, opset_import) = (model.ir_version, model.opset_import.clone());
    let part = ModelProto { ir_version, opset_import, graph: Some(part), ..ModelProto::default() };
    let parsed = super::reader().with_ignore_output_shapes(true).parse(&part, None).ok()?;
    let typed = Known::typed(parsed.model, known).ok()?.0.into_decluttered().ok()?;
    let output = *typed.output_outlets().ok()?.first()?;
    let value = typed.outlet_fact(output).ok()?.konst.clone()?;
    value.cast_to::<f32>().ok()?.to_plain_array_view::<f32>().ok()?.iter().next().copied()
}

/// Puts the turns of a loop in its place.
fn write_out(model: &mut ModelProto, at: usize, node: &NodeProto, known: &[Known]) -> Result<(), CompileError> {
    let value = |slot: usize| input(node, slot).map(|name| known_value(model, at, name, known));
    // Without a condition it is true.
    let (turns, starts) = (value(0).flatten(), value(1).unwrap_or(Some(1.0)).map(|starts| starts != 0.0));
    let unrolled = unroll(node, turns, starts, rewrite::version(model))?;
    if let Some(graph) = model.graph.as_mut() {
        graph.node.splice(at..=at, unrolled.nodes);
        graph.initializer.extend(unrolled.constants);
    }
    Ok(())
}

/// Puts a branch in the place of its node: names are unique over a file, so nothing is renamed.
fn take(model: &mut ModelProto, at: usize, node: &NodeProto, name: &str) {
    let Some(graph) = model.graph.as_mut() else { return };
    let branch = node.attribute.iter().find(|attribute| attribute.name == name).and_then(|branch| branch.g.clone());
    let branch = branch.unwrap_or_default();
    let outputs = branch.output.iter().zip(&node.output).map(|(from, to)| NodeProto {
        op_type: "Identity".to_owned(),
        input: vec![from.name.clone()],
        output: vec![to.clone()],
        ..NodeProto::default()
    });
    let nodes: Vec<NodeProto> = branch.node.iter().cloned().chain(outputs).collect();
    graph.node.splice(at..=at, nodes);
    graph.initializer.extend(branch.initializer);
}
