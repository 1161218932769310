//! Branches that are decided before a model runs: an `If` whose condition follows from shapes and constants, as scripted models
//! have them, is replaced by the branch that is taken.
//!
//! A program has no jumps. tract decides too, but only after it has typed both branches, and the one that is not taken is
//! often not typable. So the condition is evaluated alone: tract folds the part of the graph that it is made of.

use std::collections::BTreeSet;

use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, ValueInfoProto};

use super::lower::unsupported;
use super::{Known, rewrite};
use crate::error::CompileError;

/// Most branches that are taken, those in branches counted.
const MAX_BRANCHES: usize = 256;

/// The model without branches.
pub(super) fn decide(model: &ModelProto, known: &[Known]) -> Result<ModelProto, CompileError> {
    let mut model = model.clone();
    for _ in 0..MAX_BRANCHES {
        let graph = model.graph.get_or_insert_default();
        let Some(at) = graph.node.iter().position(|node| node.op_type == "If") else { return Ok(model) };
        let node = graph.node[at].clone();
        let Some(is_taken) = node.input.first().and_then(|condition| condition_holds(&model, at, condition, known))
        else {
            return Err(unsupported("an If whose condition is computed", "use Where, which takes both")
                .within(&format!("graph.node[{at}]")));
        };
        take(&mut model, at, &node, if is_taken { "then_branch" } else { "else_branch" });
        rewrite::rewrite(&mut model)?;
    }
    Err(unsupported(format!("more than {MAX_BRANCHES} branches"), "export one way through the model"))
}

/// Whether a condition holds, if that is known from what stands before it.
fn condition_holds(model: &ModelProto, at: usize, condition: &str, known: &[Known]) -> Option<bool> {
    let graph = model.graph.as_ref()?;
    let mut needed = BTreeSet::from([condition]);
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
        output: vec![ValueInfoProto { name: condition.to_owned(), ..ValueInfoProto::default() }],
        ..GraphProto::default()
    };
    let (ir_version, opset_import) = (model.ir_version, model.opset_import.clone());
    let part = ModelProto { ir_version, opset_import, graph: Some(part), ..ModelProto::default() };
    let parsed = super::reader().with_ignore_output_shapes(true).parse(&part, None).ok()?;
    let typed = Known::typed(parsed.model, known).ok()?.0.into_decluttered().ok()?;
    let output = *typed.output_outlets().ok()?.first()?;
    let value = typed.outlet_fact(output).ok()?.konst.clone()?;
    Some(value.cast_to::<f32>().ok()?.to_plain_array_view::<f32>().ok()?.iter().any(|value| *value != 0.0))
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
