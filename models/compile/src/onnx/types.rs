//! Which element types a file may have: what is held as f32, and what is refused by name before tract sees the file.
//!
//! A tensor program has one type. Integers and truths are exact in it up to 2^24; float64 is rounded to it, and float16 is
//! computed in it, which is more exact than float16 is. Text, narrow floats and packed integers have no place.

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, ValueInfoProto, type_proto};

use super::lower::unsupported;
use crate::error::CompileError;

/// Of tensors in files that are newer than tract's schema.
const NEWER: [(i32, &str); 1] = [(24, "float8e8m0")];

/// Refuses inputs, outputs, weights and casts of other types.
pub(super) fn check(graph: &GraphProto) -> Result<(), CompileError> {
    let declared = graph.input.iter().map(|value| ("input", value)).chain(graph.output.iter().map(|to| ("output", to)));
    for (what, value) in declared {
        of_value(value).map_err(|error| error.within(&format!("graph.{what}.{}", value.name)))?;
    }
    for tensor in &graph.initializer {
        of(tensor.data_type).map_err(|error| error.within(&format!("graph.initializer.{}", tensor.name)))?;
    }
    for (at, node) in graph.node.iter().enumerate() {
        of_node(node).map_err(|error| error.within(&format!("graph.node[{at}]")))?;
    }
    Ok(())
}

fn of_value(value: &ValueInfoProto) -> Result<(), CompileError> {
    match value.r#type.as_ref().map(|ty| &ty.value) {
        None => Ok(()),
        Some(Some(type_proto::Value::TensorType(tensor))) => of(tensor.elem_type),
        Some(None) => Err(unsupported("a sequence, a map or an optional value", "use tensors")),
    }
}

fn of_node(node: &NodeProto) -> Result<(), CompileError> {
    for attribute in &node.attribute {
        let is_cast = node.op_type == "Cast" && attribute.name == "to";
        let ty =
            if is_cast { i32::try_from(attribute.i).ok() } else { attribute.t.as_ref().map(|held| held.data_type) };
        ty.map_or(Ok(()), of)?;
    }
    Ok(())
}

/// Whether it is held as f32.
pub(super) fn of(ty: i32) -> Result<(), CompileError> {
    match DataType::try_from(ty) {
        Ok(
            DataType::Float
            | DataType::Double
            | DataType::Float16
            | DataType::Bool
            | DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Uint8
            | DataType::Uint16
            | DataType::Uint32
            | DataType::Uint64
            // Some exporters leave it open.
            | DataType::Undefined,
        ) => Ok(()),
        _ => Err(unsupported(format!("the type {} is not supported", name(ty)), "use float32, integers or booleans")),
    }
}

/// The name that ONNX gives a type.
fn name(ty: i32) -> String {
    if let Some((_, name)) = NEWER.iter().find(|(newer, _)| *newer == ty) {
        return (*name).to_owned();
    }
    DataType::try_from(ty).map_or_else(|_| format!("number {ty}"), |ty| format!("{ty:?}").to_lowercase())
}
