//! Weights in files beside the model, as exporters write them above a certain size, are put into the model.
//!
//! A model file is data of others, and where it says its weights are is a path. So a location is taken apart before anybody
//! opens it: a file in the model's folder or below, with no way up and none that begins elsewhere. How many bytes there must
//! be follows from the tensor, and all of them together are bounded before the first is read. Who opens files is the caller
//! ([`Siblings`]); of links and folders nothing is known here. The form is
//! <https://onnx.ai/onnx/repo-docs/ExternalData.html>.

use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::{GraphProto, TensorProto};

use super::{MAX_ONNX_BYTES, lower::unsupported, types};
use crate::error::{CompileError, CompileErrorKind};
use crate::import::Siblings;

const COPY_BOTH: &str = "copy the file beside the model again, or save the model with `save_as_external_data=False`";

/// Where the bytes of a tensor are.
struct Elsewhere<'t> {
    location: &'t str,
    offset: u64,
    length: usize,
}

/// Puts the weights of other files into the graph; the model's own file has `bytes`.
pub(super) fn inline(graph: &mut GraphProto, bytes: usize, siblings: &dyn Siblings) -> Result<(), CompileError> {
    let mut total = bytes;
    each(graph, "graph", &mut |tensor, place| {
        let Some(at) = elsewhere(tensor)? else { return Ok(()) };
        total = total.saturating_add(at.length);
        if total > MAX_ONNX_BYTES {
            let message = format!("with this tensor's {} bytes the weights have more than {MAX_ONNX_BYTES}", at.length);
            return Err(CompileError::new(CompileErrorKind::TooLarge, place, message, "train smaller embeddings"));
        }
        Ok(())
    })?;
    each(graph, "graph", &mut |tensor, _| {
        let Some(Elsewhere { location, offset, length }) = elsewhere(tensor)? else { return Ok(()) };
        let refused = |message: String| CompileError::new(CompileErrorKind::Malformed, "", message, COPY_BOTH);
        let read = siblings.read(location, offset, length);
        let read =
            read.map_err(|error| refused(format!("the weights in `{}` cannot be read: {error}", shown(location))))?;
        if read.len() != length {
            let message = format!("`{}` ends {} bytes into weights of {length}", shown(location), read.len());
            return Err(refused(message));
        }
        tensor.raw_data = read;
        tensor.external_data.clear();
        tensor.data_location = None;
        Ok(())
    })
}

/// Every tensor of a graph and of the graphs in it, with its place.
fn each(
    graph: &mut GraphProto,
    place: &str,
    visit: &mut impl FnMut(&mut TensorProto, &str) -> Result<(), CompileError>,
) -> Result<(), CompileError> {
    for tensor in &mut graph.initializer {
        let place = format!("{place}.initializer.{}", shown(&tensor.name));
        visit(tensor, &place).map_err(|error| at(error, &place))?;
    }
    for (number, node) in graph.node.iter_mut().enumerate() {
        for attribute in &mut node.attribute {
            let place = format!("{place}.node[{number}].{}", shown(&attribute.name));
            for tensor in attribute.t.iter_mut().chain(&mut attribute.tensors) {
                visit(tensor, &place).map_err(|error| at(error, &place))?;
            }
            for graph in attribute.g.iter_mut().chain(&mut attribute.graphs) {
                each(graph, &place, visit)?;
            }
        }
    }
    Ok(())
}

fn at(error: CompileError, place: &str) -> CompileError {
    if error.place().is_empty() { error.within(place) } else { error }
}

/// Where a tensor's bytes are, if not in the model.
fn elsewhere(tensor: &TensorProto) -> Result<Option<Elsewhere<'_>>, CompileError> {
    let is_external = tensor.data_location == Some(DataLocation::External as i32);
    if tensor.external_data.is_empty() && !is_external {
        return Ok(None);
    }
    let entry =
        |key: &str| tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str());
    let malformed = |message: String| CompileError::new(CompileErrorKind::Malformed, "", message, COPY_BOTH);
    let location = entry("location").unwrap_or_default();
    if !is_inside(location) {
        let message = format!("the weights are outside the model's folder: `{}`", shown(location));
        return Err(unsupported(message, "save the model again: its weights belong into one folder with it"));
    }
    let number = |key: &str| match entry(key).map(str::parse::<u64>) {
        None => Ok(None),
        Some(Ok(number)) => Ok(Some(number)),
        Some(Err(_)) => Err(malformed(format!("the {key} of the weights in `{}` is no number", shown(location)))),
    };
    let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
    let size = size(tensor)?;
    if let Some(length) = length.filter(|length| *length != size as u64) {
        return Err(malformed(format!("{length} bytes of weights where a shape of {:?} has {size}", tensor.dims)));
    }
    if offset.checked_add(size as u64).is_none() {
        return Err(malformed(format!("the weights in `{}` end beyond any file", shown(location))));
    }
    Ok(Some(Elsewhere { location, offset, length: size }))
}

/// A path of plain names, by slashes: nothing begins elsewhere, and nothing leads up.
fn is_inside(location: &str) -> bool {
    let is_plain = |name: &str| !matches!(name, "" | "." | "..") && !name.contains(['\\', ':', '\0']);
    location.strip_prefix("./").unwrap_or(location).split('/').all(is_plain)
}

/// How many bytes a tensor has.
fn size(tensor: &TensorProto) -> Result<usize, CompileError> {
    types::of(tensor.data_type)?;
    let width = match DataType::try_from(tensor.data_type) {
        Ok(DataType::Bool | DataType::Int8 | DataType::Uint8) => 1,
        Ok(DataType::Float16 | DataType::Int16 | DataType::Uint16) => 2,
        Ok(DataType::Float | DataType::Int32 | DataType::Uint32) => 4,
        Ok(DataType::Double | DataType::Int64 | DataType::Uint64) => 8,
        _ => return Err(unsupported("weights without a type in another file", "save the model again")),
    };
    let dims = tensor.dims.iter().try_fold(width, |size: usize, dim| size.checked_mul(usize::try_from(*dim).ok()?));
    dims.ok_or_else(|| {
        let message = format!("a tensor of shape {:?}", tensor.dims);
        CompileError::new(CompileErrorKind::TooLarge, "", message, "save the model again")
    })
}

/// As much of a name as a message shows.
fn shown(name: &str) -> String {
    name.chars().take(64).collect()
}
