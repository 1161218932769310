//! Operators to steps. tract has typed the graph, folded its constants and taken it apart into a few dozen operators; each is
//! a way to view values, or one or a few steps. This file knows values and the order of operators; each family of operators has
//! a file of its own.
//!
//! A value is a view, or a row of parts along its last axis, some of the request and some of the candidates, as the input of
//! most rankers is, or a dense layer that is not computed until something reads it ([`linear`]). A layer over parts is the sum
//! of two: the request's share is computed once. What pairs of candidates have is never there as a value ([`list`]).

mod conv;
mod elementwise;
mod linear;
mod list;
mod movement;
#[cfg(feature = "coverage")]
mod numbers;
mod product;
mod reduce;
mod scan;
mod select;
mod transposed;

use std::collections::HashMap;

use selvedge_format::graph::Function;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::AxisOp;
use tract_onnx::tract_core::ops;
use tract_onnx::tract_core::ops::Downsample;
use tract_onnx::tract_core::ops::array::{Gather, MultiBroadcastTo, Pad, Slice, Tile, TypedConcat};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::cnn::{Conv, Deconv, MaxPool, SumPool};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::gru_cell::GruEpilogue;
use tract_onnx::tract_core::ops::gru_seq::GruSeq;
use tract_onnx::tract_core::ops::lstm_cell::LstmEpilogue;
use tract_onnx::tract_core::ops::nn::rms_norm::{RmsNorm, ScaledRmsNorm};
use tract_onnx::tract_core::ops::nn::{NearestUpsample, Reduce, Softmax};
use tract_onnx::tract_core::ops::scan::Scan;
use tract_onnx::tract_hir::internal::DimLike;

use super::emit::{Emitter, Source, View};
use crate::error::{CompileError, CompileErrorKind};
use linear::Linear;
use list::Meeting;

/// A lowered value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    View(View),
    /// Side by side along the last axis.
    Parts(Vec<View>),
    /// A dense layer that is not computed yet.
    Linear(Linear),
    /// A number for each pair of candidates, which is never computed.
    Meeting(Box<Meeting>),
}

/// Parts of a value, gathered by whom they depend on.
#[derive(Clone)]
struct Groups {
    /// Each with the ranges of the last axis that it holds, in its order.
    of_request: Option<(View, Vec<std::ops::Range<usize>>)>,
    of_candidates: Option<(View, Vec<std::ops::Range<usize>>)>,
}

pub(super) struct Lowering<'m> {
    model: &'m TypedModel,
    rows: Symbol,
    emitter: Emitter,
    values: HashMap<OutletId, Value>,
    groups: HashMap<OutletId, Groups>,
    /// Values that are a sum or a difference of others: these, and whether they are subtracted.
    sums: HashMap<OutletId, [(View, bool); 2]>,
    /// Values that were copied to where dense layers can read them.
    copies: Vec<(View, View)>,
    /// How many candidates there are, once something asks.
    candidates: Option<View>,
}

type Lowered<T> = Result<T, CompileError>;

pub(super) fn unsupported(message: impl Into<String>, help: &str) -> CompileError {
    CompileError::new(CompileErrorKind::Unsupported, "", message, help)
}

const ACROSS: &str = "candidates meet in attention, in products and in reductions over the list; everything else is of one \
    candidate or of the request: mark only the axis of the candidates as dynamic";

impl<'m> Lowering<'m> {
    pub(super) fn new(model: &'m TypedModel, rows: Symbol) -> Self {
        Self {
            model,
            rows,
            emitter: Emitter::default(),
            values: HashMap::new(),
            groups: HashMap::new(),
            sums: HashMap::new(),
            copies: Vec::new(),
            candidates: None,
        }
    }

    /// Lowers everything to the section of the model whose inputs are `inputs` and whose score is `output`.
    pub(super) fn run(mut self, inputs: Vec<(OutletId, Value)>, output: OutletId) -> Lowered<Vec<u8>> {
        self.nodes(inputs)?;
        let score = self.view(output)?;
        self.emitter.finish(&score)
    }

    fn nodes(&mut self, inputs: Vec<(OutletId, Value)>) -> Lowered<()> {
        self.values.extend(inputs);
        let order =
            self.model.eval_order().map_err(|error| unsupported(format!("{error}"), "export an acyclic graph"))?;
        for id in order {
            if self.values.contains_key(&id.into()) {
                continue;
            }
            let node = self.model.node(id);
            let values =
                self.node(node).map_err(|error| error.within(&format!("{} ({})", node.name, node.op.name())))?;
            self.values.extend(values.into_iter().enumerate().map(|(slot, value)| (OutletId::new(id, slot), value)));
        }
        Ok(())
    }

    /// Shape with 1 for the candidates' axis, and which that is.
    fn shape(&self, outlet: OutletId) -> Lowered<(Vec<usize>, Option<usize>)> {
        let fact = self.model.outlet_fact(outlet).map_err(|error| unsupported(format!("{error}"), ACROSS))?;
        let mut rows = None;
        let mut shape = Vec::new();
        for (axis, dim) in fact.shape.iter().enumerate() {
            if *dim == TDim::from(self.rows.clone()) {
                if rows.replace(axis).is_some() {
                    return Err(unsupported("a value with the candidates on two axes", ACROSS));
                }
                shape.push(1);
            } else {
                shape.push(dim.to_usize().map_err(|_| unsupported(format!("an axis of length {dim}"), ACROSS))?);
            }
        }
        if shape.iter().try_fold(1_usize, |all, size| all.checked_mul(*size)).is_none_or(|all| all > 1 << 26) {
            return Err(unsupported(format!("a value of shape {shape:?}"), "make the model smaller"));
        }
        if shape.contains(&0) {
            return Err(unsupported("an axis of length 0", "export without empty tensors"));
        }
        Ok((shape, rows))
    }

    /// A value as one view; what was parts is put together.
    fn view(&mut self, outlet: OutletId) -> Lowered<View> {
        let view = match self.values.get(&outlet) {
            Some(Value::View(view)) => return Ok(view.clone()),
            Some(Value::Parts(parts)) => {
                let parts = parts.clone();
                // A layer may read them one by one still; steps that nothing needs are left out.
                self.groups(outlet)?;
                self.join(&parts)?
            }
            Some(Value::Linear(linear)) => self.compute(&linear.clone(), None)?,
            Some(Value::Meeting(_)) => return Err(list::pairs()),
            None => return Err(unsupported("a value that nothing computes", "export the model again")),
        };
        self.values.insert(outlet, Value::View(view.clone()));
        Ok(view)
    }

    fn join(&mut self, parts: &[View]) -> Lowered<View> {
        if let [part] = parts {
            return Ok(part.clone());
        }
        let last = parts[0].shape.len() - 1;
        let mut shape = parts[0].shape.clone();
        shape[last] = parts.iter().map(|part| part.shape[last]).sum();
        let of_candidates = parts.iter().any(View::is_of_candidates);
        let rows = parts.iter().find_map(|part| part.rows);
        let out = self.emitter.allocate(of_candidates, &shape, rows);
        let mut at = 0;
        for part in parts {
            self.emitter.copy(&out.slice(last, at, part.shape[last]), part)?;
            at += part.shape[last];
        }
        Ok(out)
    }

    /// The parts of a value; one if it has none.
    fn parts(&mut self, outlet: OutletId) -> Lowered<Vec<View>> {
        match &self.values[&outlet] {
            Value::Parts(parts) => Ok(parts.clone()),
            _ => Ok(vec![self.view(outlet)?]),
        }
    }

    /// The parts of a value, each group contiguous.
    fn groups(&mut self, outlet: OutletId) -> Lowered<Groups> {
        if let Some(groups) = self.groups.get(&outlet) {
            return Ok(groups.clone());
        }
        let parts = self.parts(outlet)?;
        let mut groups = Groups { of_request: None, of_candidates: None };
        for of_candidates in [false, true] {
            let (mut held, mut ranges, mut at) = (Vec::new(), Vec::new(), 0);
            for part in &parts {
                let size = part.shape.last().copied().unwrap_or(1);
                if part.is_of_candidates() == of_candidates {
                    held.push(part.clone());
                    ranges.push(at..at + size);
                }
                at += size;
            }
            if !held.is_empty() {
                let joined = self.join(&held)?;
                let mut joined = self.emitter.contiguous(&joined)?;
                if joined.is_constant() {
                    let out = self.emitter.allocate(false, &joined.shape, joined.rows);
                    self.emitter.copy(&out, &joined)?;
                    joined = out;
                }
                let group = if of_candidates { &mut groups.of_candidates } else { &mut groups.of_request };
                *group = Some((joined, ranges));
            }
        }
        self.groups.insert(outlet, groups.clone());
        Ok(groups)
    }

    /// The values of a node, by output.
    fn node(&mut self, node: &'m TypedNode) -> Lowered<Vec<Value>> {
        if let Some(op) = node.op_as::<Scan>() {
            return self.scan(node, op);
        }
        if let Some(op) = node.op_as::<GruSeq>() {
            return self.gru(node, op);
        }
        if let Some(op) = node.op_as::<LstmEpilogue>() {
            return self.lstm_cell(node, op.hidden);
        }
        if let Some(value) = self.meeting(node)? {
            return Ok(vec![value]);
        }
        if let Some(values) = self.selection(node)? {
            return Ok(values);
        }
        if node.outputs.len() != 1 {
            return Err(refuse(node));
        }
        Ok(vec![self.single(node)?])
    }

    /// The value of a node with one output.
    fn single(&mut self, node: &TypedNode) -> Lowered<Value> {
        let op: &dyn TypedOp = node.op.as_ref();
        if let Some(constant) = op.downcast_ref::<ops::konst::Const>() {
            return self.constant(constant.val());
        }
        if let Some(constant) = &self.model.outlet_fact(node.id.into()).ok().and_then(|fact| fact.konst.clone()) {
            return self.constant(constant);
        }
        if let Some(value) = self.of_layers(node)? {
            return Ok(value);
        }
        // Everything else reads values.
        for input in &node.inputs {
            if matches!(&self.values[input], Value::Linear(_)) {
                self.view(*input)?;
            }
        }
        if let Some(op) = op.downcast_ref::<TypedConcat>() {
            return self.concat(node, op.axis);
        }
        if let Some(op) = op.downcast_ref::<Slice>() {
            return self.slice(node, op);
        }
        if let Some(op) = op.downcast_ref::<EinSum>() {
            return self.einsum(node, op);
        }
        if op.is::<ops::identity::Identity>() {
            return Ok(self.values[&node.inputs[0]].clone());
        }
        let view = if let Some(op) = op.downcast_ref::<ElementWiseOp>() {
            self.element_wise(node, op)?
        } else if let Some(op) = op.downcast_ref::<AxisOp>() {
            self.axis(node, op)?
        } else if let Some(op) = op.downcast_ref::<Cast>() {
            self.cast(node, op.to)?
        } else if let Some(op) = op.downcast_ref::<Reduce>() {
            let from = self.view(node.inputs[0])?;
            self.reduce(&from, &op.axes, op.reducer)?
        } else if let Some(op) = op.downcast_ref::<Softmax>() {
            self.softmax(node, op)?
        } else if let Some(op) = op.downcast_ref::<RmsNorm>() {
            self.rms_norm(node, op.axis, &op.eps)?
        } else if let Some(op) = op.downcast_ref::<ScaledRmsNorm>().filter(|op| op.out_dt.or(op.scale_dt).is_none()) {
            let x = self.rms_norm(node, op.axis, &op.eps)?;
            let scale = self.view(node.inputs[1])?.values().ok_or_else(|| refuse(node))?;
            let mut shape = vec![1; x.shape.len()];
            shape[op.axis] = scale.len();
            self.apply(Function::Multiply, &x, &View::constant(scale, shape))?
        } else if let Some(op) = op.downcast_ref::<Gather>() {
            self.gather(node, op.axis)?
        } else if op.is::<ops::logic::Iff>() {
            self.choose(node)?
        } else if op.is::<MultiBroadcastTo>() {
            self.spread(node)?
        } else if let Some(op) = op.downcast_ref::<Tile>() {
            self.tile(node, op)?
        } else if let Some(op) = op.downcast_ref::<NearestUpsample>() {
            self.repeated(node, &op.scales)?
        } else if let Some(op) = op.downcast_ref::<Downsample>() {
            self.every(node, op)?
        } else if let Some(op) = op.downcast_ref::<Pad>() {
            self.pad(node, op)?
        } else if let Some(op) = op.downcast_ref::<Conv>() {
            self.convolution(node, op)?
        } else if let Some(op) = op.downcast_ref::<Deconv>() {
            self.transposed(node, op)?
        } else if let Some(op) = op.downcast_ref::<MaxPool>() {
            self.max_pool(node, op)?
        } else if let Some(op) = op.downcast_ref::<SumPool>() {
            self.sum_pool(node, op)?
        } else {
            return Err(refuse(node));
        };
        Ok(Value::View(view))
    }

    /// The value of an operator that may take a layer which is not computed.
    fn of_layers(&mut self, node: &TypedNode) -> Lowered<Option<Value>> {
        if let Some(op) = node.op_as::<AxisOp>() {
            return Ok(self.axes_of_sum(node, op)?.map(Value::Linear));
        }
        if let Some(op) = node.op_as::<Slice>() {
            return Ok(self.slice_of_sum(node, op).map(Value::Linear));
        }
        if let Some(op) = node.op_as::<TypedBinOp>() {
            return self.binary(node, op.0.name()).map(Some);
        }
        node.op_as::<GruEpilogue>().map(|op| self.gru_cell(node, op.hidden)).transpose()
    }

    fn constant(&mut self, tensor: &Tensor) -> Lowered<Value> {
        if let Some(view) = self.number_of_candidates(tensor)? {
            return Ok(Value::View(view));
        }
        let cast = tensor.cast_to::<f32>();
        let values = cast.as_ref().ok().and_then(|cast| cast.to_plain_array_view::<f32>().ok());
        let values = values.map(|values| values.iter().copied().collect::<Vec<f32>>());
        let values = values.ok_or_else(|| {
            unsupported(format!("a constant of type {:?}", tensor.datum_type()), "use float32, integers or booleans")
        })?;
        Ok(Value::View(View::constant(values, tensor.shape().to_vec())))
    }

    /// Whether nothing but `node` reads that input.
    fn is_sole_reader(&self, node: &TypedNode, input: usize) -> bool {
        let outlet = node.inputs[input];
        self.model.node(outlet.node).outputs[outlet.slot].successors.len() == 1 && !self.is_output(outlet)
    }

    fn is_output(&self, outlet: OutletId) -> bool {
        self.model.output_outlets().is_ok_and(|outputs| outputs.contains(&outlet))
    }
}

/// The view with its axes in another order.
fn permuted(view: &View, order: &[usize]) -> View {
    View {
        shape: order.iter().map(|axis| view.shape[*axis]).collect(),
        strides: order.iter().map(|axis| view.strides[*axis]).collect(),
        rows: view.rows.and_then(|rows| order.iter().position(|axis| *axis == rows)),
        layer: None,
        ..view.clone()
    }
}

fn refuse(node: &TypedNode) -> CompileError {
    let name = node.op.name();
    // tract has names of its own.
    refused_operator(match &*name {
        "SumPool" => "AveragePool",
        other => other,
    })
}

pub(super) fn refused_operator(name: &str) -> CompileError {
    let help = "docs/reference/onnx.md lists the operators that are; replace it, or compute it as a feature";
    unsupported(format!("the operator {name} is not supported"), help)
}

/// A feature or several, as a value of an input's shape.
pub(super) fn features(offset: usize, shape: Vec<usize>, rows: Option<usize>, of_request: bool) -> View {
    let strides = super::emit::contiguous(&shape);
    View { source: Source::Features { of_request }, offset, shape, strides, rows, layer: None }
}
