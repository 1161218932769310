//! Operators to steps. tract has typed the graph, folded its constants and taken it apart into a few dozen operators; each is
//! a way to view values, or one or a few steps.
//!
//! A value is either a view or a row of parts along its last axis, some of the request and some of the candidates, as the
//! input of most rankers is. A dense layer over parts is computed as the sum of two: the request's share is computed once.

use std::collections::HashMap;

use selvedge_format::graph::{Combination, Function};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{AxesMapping, AxisOp};
use tract_onnx::tract_core::ops;
use tract_onnx::tract_core::ops::array::{Gather, MultiBroadcastTo, Pad, PadMode, Slice, TypedConcat};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::nn::rms_norm::{RmsNorm, ScaledRmsNorm};
use tract_onnx::tract_core::ops::nn::{LeakyRelu, Reduce, Reducer, Softmax, SoftmaxKind};
use tract_onnx::tract_hir::internal::DimLike;

use super::emit::{Emitter, Source, View, count};
use crate::error::{CompileError, CompileErrorKind};

/// A lowered value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    View(View),
    /// Side by side along the last axis.
    Parts(Vec<View>),
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
}

type Lowered<T> = Result<T, CompileError>;

pub(super) fn unsupported(message: impl Into<String>, help: &str) -> CompileError {
    CompileError::new(CompileErrorKind::Unsupported, "", message, help)
}

const ACROSS: &str =
    "a score may depend on its own candidate and on the request: mark only the first axis as the batch";

impl<'m> Lowering<'m> {
    pub(super) fn new(model: &'m TypedModel, rows: Symbol) -> Self {
        Self { model, rows, emitter: Emitter::default(), values: HashMap::new(), groups: HashMap::new() }
    }

    /// Lowers everything to the section of the model whose inputs are `inputs` and whose score is `output`.
    pub(super) fn run(mut self, inputs: Vec<(OutletId, Value)>, output: OutletId) -> Lowered<Vec<u8>> {
        self.values.extend(inputs);
        let order =
            self.model.eval_order().map_err(|error| unsupported(format!("{error}"), "export an acyclic graph"))?;
        for id in order {
            if self.values.contains_key(&id.into()) {
                continue;
            }
            let node = self.model.node(id);
            let value =
                self.node(node).map_err(|error| error.within(&format!("{} ({})", node.name, node.op.name())))?;
            self.values.insert(id.into(), value);
        }
        let score = self.view(output)?;
        self.emitter.finish(&score)
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
            Some(Value::Parts(parts)) => self.join(&parts.clone())?,
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

    /// The parts of a value, each group contiguous.
    fn groups(&mut self, outlet: OutletId) -> Lowered<Groups> {
        if let Some(groups) = self.groups.get(&outlet) {
            return Ok(groups.clone());
        }
        let parts = match &self.values[&outlet] {
            Value::View(view) => vec![view.clone()],
            Value::Parts(parts) => parts.clone(),
        };
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

    fn node(&mut self, node: &TypedNode) -> Lowered<Value> {
        if node.outputs.len() != 1 {
            return Err(refuse(node));
        }
        let op: &dyn TypedOp = node.op.as_ref();
        if let Some(constant) = op.downcast_ref::<ops::konst::Const>() {
            return self.constant(constant.val());
        }
        if let Some(constant) = &self.model.outlet_fact(node.id.into()).ok().and_then(|fact| fact.konst.clone()) {
            return self.constant(constant);
        }
        if let Some(op) = op.downcast_ref::<TypedConcat>() {
            return self.concat(node, op.axis);
        }
        if let Some(op) = op.downcast_ref::<Slice>() {
            return self.slice(node, op);
        }
        if let Some(op) = op.downcast_ref::<TypedBinOp>() {
            return self.binary(node, op.0.name());
        }
        if let Some(op) = op.downcast_ref::<EinSum>() {
            return self.einsum(node, op).map(Value::View);
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
            let (shape, rows) = self.shape(node.id.into())?;
            View { rows, ..self.view(node.inputs[0])?.broadcast(&shape) }
        } else if let Some(op) = op.downcast_ref::<Pad>() {
            self.pad(node, op)?
        } else {
            return Err(refuse(node));
        };
        Ok(Value::View(view))
    }

    fn constant(&self, tensor: &Tensor) -> Lowered<Value> {
        let cast = tensor.cast_to::<f32>();
        let values = cast.as_ref().ok().and_then(|cast| cast.to_plain_array_view::<f32>().ok());
        let values = values.map(|values| values.iter().copied().collect::<Vec<f32>>());
        let values = values.ok_or_else(|| {
            unsupported(format!("a constant of type {:?}", tensor.datum_type()), "use float32, integers or booleans")
        })?;
        Ok(Value::View(View::constant(values, tensor.shape().to_vec())))
    }

    fn concat(&mut self, node: &TypedNode, axis: usize) -> Lowered<Value> {
        let (shape, rows) = self.shape(node.id.into())?;
        if rows == Some(axis) {
            return Err(unsupported("a concatenation of candidates", ACROSS));
        }
        if axis + 1 == shape.len() {
            let parts = node.inputs.iter().map(|input| match &self.values[input] {
                Value::View(view) => vec![view.clone()],
                Value::Parts(parts) => parts.clone(),
            });
            return Ok(Value::Parts(parts.flatten().collect()));
        }
        let views = node.inputs.iter().map(|input| self.view(*input)).collect::<Lowered<Vec<_>>>()?;
        let out = self.emitter.allocate(views.iter().any(View::is_of_candidates), &shape, rows);
        let mut at = 0;
        for view in views {
            self.emitter.copy(&out.slice(axis, at, view.shape[axis]), &view)?;
            at += view.shape[axis];
        }
        Ok(Value::View(out))
    }

    fn slice(&mut self, node: &TypedNode, op: &Slice) -> Lowered<Value> {
        let (shape, rows) = self.shape(node.id.into())?;
        let (Ok(start), false) = (op.start.to_usize(), rows == Some(op.axis)) else {
            return Err(unsupported("a slice of the candidates", ACROSS));
        };
        let len = shape[op.axis];
        if let (Value::Parts(parts), true) = (&self.values[&node.inputs[0]], op.axis + 1 == shape.len()) {
            let (mut held, mut at) = (Vec::new(), 0);
            for part in parts {
                let size = part.shape[op.axis];
                let (from, to) = (start.clamp(at, at + size), (start + len).clamp(at, at + size));
                if from < to {
                    held.push(part.slice(op.axis, from - at, to - from));
                }
                at += size;
            }
            return Ok(match held.as_slice() {
                [part] => Value::View(part.clone()),
                _ => Value::Parts(held),
            });
        }
        Ok(Value::View(self.view(node.inputs[0])?.slice(op.axis, start, len)))
    }

    /// Whether nothing but `node` reads its first input.
    fn is_sole_reader(&self, node: &TypedNode, input: usize) -> bool {
        let outlet = node.inputs[input];
        self.model.node(outlet.node).outputs[outlet.slot].successors.len() == 1
    }

    fn binary(&mut self, node: &TypedNode, name: &str) -> Lowered<Value> {
        // Which function, with the operands in which order, and whether its answer is turned round.
        if name == "Pow" {
            let exponent = self.view(node.inputs[1])?.values().filter(|values| values.len() == 1);
            let x = self.view(node.inputs[0])?;
            let exponent = exponent.and_then(|values| values.first().copied()).ok_or_else(|| refuse(node))?;
            return self.power(&x, exponent).map(Value::View);
        }
        let (function, swapped, negated) = match name {
            "Add" => (Function::Add, false, false),
            "Sub" => (Function::Subtract, false, false),
            "SubF" => (Function::Subtract, true, false),
            "Mul" | "And" => (Function::Multiply, false, false),
            "Div" if self.model.outlet_fact(node.id.into()).is_ok_and(|fact| fact.datum_type.is_float()) => {
                (Function::Divide, false, false)
            }
            "Max" | "Or" => (Function::Max, false, false),
            "Min" => (Function::Min, false, false),
            "LT" => (Function::Less, false, false),
            "GT" => (Function::Less, true, false),
            "Eq" => (Function::Equal, false, false),
            "NE" | "Xor" => (Function::Equal, false, true),
            "LTE" => (Function::Less, true, true),
            "GTE" => (Function::Less, false, true),
            _ => return Err(refuse(node)),
        };
        let (first, second) = if swapped { (1, 0) } else { (0, 1) };
        if let Some(value) = self.by_parts(node, function, (first, second), negated)? {
            return Ok(value);
        }
        let (left, right) = (self.view(node.inputs[first])?, self.view(node.inputs[second])?);
        if !negated && let Some(fused) = self.fuse(node, function, (first, &left), (second, &right)) {
            return Ok(Value::View(fused));
        }
        let view = self.apply(function, &left, &right)?;
        Ok(Value::View(if negated { self.not(&view)? } else { view }))
    }

    /// What is done to parts with a constant is done to each.
    fn by_parts(
        &mut self,
        node: &TypedNode,
        function: Function,
        (first, second): (usize, usize),
        negated: bool,
    ) -> Lowered<Option<Value>> {
        let values = [&self.values[&node.inputs[first]], &self.values[&node.inputs[second]]];
        let (parts, constant, is_first) = match values {
            [Value::Parts(parts), Value::View(view)] if view.is_constant() => (parts.clone(), view.clone(), true),
            [Value::View(view), Value::Parts(parts)] if view.is_constant() => (parts.clone(), view.clone(), false),
            _ => return Ok(None),
        };
        let (shape, _) = self.shape(node.id.into())?;
        let last = shape.len() - 1;
        let mut at = 0;
        let mut lowered = Vec::new();
        for part in &parts {
            let size = part.shape[last];
            let beside = constant.broadcast(&shape).slice(last, at, size);
            let (left, right) = if is_first { (part, &beside) } else { (&beside, part) };
            let view = self.apply(function, left, right)?;
            lowered.push(if negated { self.not(&view)? } else { view });
            at += size;
        }
        Ok(Some(Value::Parts(lowered)))
    }

    /// A bias, a scale or a rectifier becomes a part of the dense layer before it.
    fn fuse(
        &mut self,
        node: &TypedNode,
        function: Function,
        (first, left): (usize, &View),
        (second, right): (usize, &View),
    ) -> Option<View> {
        let (view, constant, input) = match (left.layer, right.layer) {
            (Some(_), None) if right.is_constant() => (left, right, first),
            (None, Some(_)) if left.is_constant() && function != Function::Subtract && function != Function::Divide => {
                (right, left, second)
            }
            _ => return None,
        };
        let layer = view.layer?;
        let last = view.shape.len().checked_sub(1)?;
        let by_output = constant.shape[..last].iter().all(|size| *size == 1)
            && [1, view.shape[last]].contains(&constant.shape[last])
            && view.strides[last] == 1;
        if !by_output || !self.is_sole_reader(node, input) {
            return None;
        }
        let values = constant.values()?;
        let negative: Vec<f32> = values.iter().map(|value| -value).collect();
        let inverse: Vec<f32> = values.iter().map(|value| 1.0 / value).collect();
        let fused = match function {
            Function::Add => self.emitter.add_bias(layer, &values),
            Function::Subtract => self.emitter.add_bias(layer, &negative),
            Function::Multiply => self.emitter.scale(layer, &values),
            Function::Divide => self.emitter.scale(layer, &inverse),
            Function::Max if values.iter().all(|value| *value == 0.0) => self.emitter.activate(layer, Function::Max),
            _ => false,
        };
        fused.then(|| view.clone())
    }

    /// A function of two views of one rank, broadcast to each other.
    fn apply(&mut self, function: Function, left: &View, right: &View) -> Lowered<View> {
        let shape: Vec<usize> = left.shape.iter().zip(&right.shape).map(|(left, right)| *left.max(right)).collect();
        let of_candidates = left.is_of_candidates() || right.is_of_candidates();
        let out = self.emitter.allocate(of_candidates, &shape, left.rows.or(right.rows));
        let (left, right) = (left.broadcast(&shape), right.broadcast(&shape));
        self.emitter.each(function, Combination::Store, &out, &left, &right)?;
        Ok(out)
    }

    fn unary(&mut self, function: Function, view: &View) -> Lowered<View> {
        self.apply(function, view, view)
    }

    fn with(&mut self, function: Function, view: &View, value: f32) -> Lowered<View> {
        self.apply(function, view, &View::scalar(value, view.shape.len()))
    }

    fn not(&mut self, view: &View) -> Lowered<View> {
        let one = View::scalar(1.0, view.shape.len());
        self.apply(Function::Subtract, &one, view)
    }

    fn element_wise(&mut self, node: &TypedNode, op: &ElementWiseOp) -> Lowered<View> {
        let x = self.view(node.inputs[0])?;
        let activation = match op.0.name().as_str() {
            "Sigmoid" => Some(Function::Sigmoid),
            "Tanh" => Some(Function::Tanh),
            "Exp" => Some(Function::Exp),
            "Ln" => Some(Function::Log),
            "Sqrt" => Some(Function::Sqrt),
            "Abs" => Some(Function::Abs),
            "Floor" => Some(Function::Floor),
            "RoundHalfToEven" => Some(Function::Round),
            "Erf" => Some(Function::Erf),
            _ => None,
        };
        if let Some(function) = activation {
            let fuses = x.layer.filter(|_| self.is_sole_reader(node, 0));
            if fuses.is_some_and(|layer| self.emitter.activate(layer, function)) {
                return Ok(x);
            }
            return self.unary(function, &x);
        }
        if let Some(LeakyRelu { alpha }) = op.0.downcast_ref::<LeakyRelu>() {
            let low = self.with(Function::Min, &x, 0.0)?;
            let (low, high) = (self.with(Function::Multiply, &low, *alpha)?, self.with(Function::Max, &x, 0.0)?);
            return self.apply(Function::Add, &high, &low);
        }
        if let Some(power) = op.0.downcast_ref::<ops::math::PowConst>() {
            return self.power(&x, power.exponent);
        }
        if let Some(gelu) = op.0.downcast_ref::<ops::nn::gelu_approximate::GeluApproximate>() {
            return self.gelu(&x, if gelu.fast_impl { 2.0 } else { 3.0 });
        }
        let one = View::scalar(1.0, x.shape.len());
        match op.0.name().as_str() {
            "Neg" => self.with(Function::Multiply, &x, -1.0),
            "Square" => self.apply(Function::Multiply, &x, &x),
            "Recip" => self.apply(Function::Divide, &one, &x),
            "Rsqrt" => {
                let root = self.unary(Function::Sqrt, &x)?;
                self.apply(Function::Divide, &one, &root)
            }
            "Ceil" => {
                let below = self.with(Function::Multiply, &x, -1.0)?;
                let below = self.unary(Function::Floor, &below)?;
                self.with(Function::Multiply, &below, -1.0)
            }
            "Sign" => {
                let (above, below) = (self.with(Function::Max, &x, 0.0)?, self.with(Function::Min, &x, 0.0)?);
                let zero = View::scalar(0.0, x.shape.len());
                let (above, below) =
                    (self.apply(Function::Less, &zero, &above)?, self.apply(Function::Less, &below, &zero)?);
                self.apply(Function::Subtract, &above, &below)
            }
            "HardSwish" => {
                let gate = self.with(Function::Add, &x, 3.0)?;
                let gate = self.with(Function::Max, &gate, 0.0)?;
                let gate = self.with(Function::Min, &gate, 6.0)?;
                let gate = self.with(Function::Multiply, &gate, 1.0 / 6.0)?;
                self.apply(Function::Multiply, &x, &gate)
            }
            "Silu" => {
                let gate = self.unary(Function::Sigmoid, &x)?;
                self.apply(Function::Multiply, &x, &gate)
            }
            "GeluExact" => {
                let gate = self.with(Function::Multiply, &x, std::f32::consts::FRAC_1_SQRT_2)?;
                let gate = self.unary(Function::Erf, &gate)?;
                let gate = self.with(Function::Add, &gate, 1.0)?;
                let gate = self.with(Function::Multiply, &gate, 0.5)?;
                self.apply(Function::Multiply, &x, &gate)
            }
            "Not" => self.not(&x),
            _ => Err(refuse(node)),
        }
    }

    /// A whole power by multiplications, or a square root.
    fn power(&mut self, x: &View, exponent: f32) -> Lowered<View> {
        if exponent == 0.5 {
            return self.unary(Function::Sqrt, x);
        }
        if exponent.fract() != 0.0 || !(1.0..=8.0).contains(&exponent) {
            let help = "powers are whole numbers from 1 to 8, or one half: transform the feature before";
            return Err(unsupported(format!("the power {exponent}"), help));
        }
        let mut power = x.clone();
        for _ in 1..exponent as usize {
            power = self.apply(Function::Multiply, &power, x)?;
        }
        Ok(View { layer: None, ..power })
    }

    /// The Gaussian linear unit in its approximation by the hyperbolic tangent.
    fn gelu(&mut self, x: &View, exponent: f32) -> Lowered<View> {
        let inner = self.power(x, exponent)?;
        let inner = self.with(Function::Multiply, &inner, 0.044_715)?;
        let inner = self.apply(Function::Add, x, &inner)?;
        let inner = self.with(Function::Multiply, &inner, 0.797_884_6)?;
        let inner = self.unary(Function::Tanh, &inner)?;
        let inner = self.with(Function::Add, &inner, 1.0)?;
        let inner = self.with(Function::Multiply, &inner, 0.5)?;
        self.apply(Function::Multiply, x, &inner)
    }

    /// `x / sqrt(mean of squares + epsilon)`.
    fn rms_norm(&mut self, node: &TypedNode, axis: usize, epsilon: &Tensor) -> Lowered<View> {
        let x = self.view(node.inputs[0])?;
        let epsilon = epsilon.cast_to_scalar::<f32>().map_err(|_| refuse(node))?;
        let size = self.reduce(&x, &[axis], Reducer::MeanOfSquares)?;
        let size = self.with(Function::Add, &size, epsilon)?;
        let size = self.unary(Function::Sqrt, &size)?;
        self.apply(Function::Divide, &x, &size)
    }

    fn axis(&mut self, node: &TypedNode, op: &AxisOp) -> Lowered<View> {
        let mut view = self.view(node.inputs[0])?;
        let (shape, rows) = self.shape(node.id.into())?;
        view.rows = rows;
        view.layer = view.layer.filter(|_| self.is_sole_reader(node, 0));
        match op {
            AxisOp::Add(at) => {
                view.shape.insert(*at, 1);
                view.strides.insert(*at, 0);
                // A layer's functions go by the last axis.
                view.layer = view.layer.filter(|_| *at + 1 < view.shape.len());
            }
            AxisOp::Rm(at) => {
                view.layer = view.layer.filter(|_| *at + 1 < view.shape.len());
                view.shape.remove(*at);
                view.strides.remove(*at);
            }
            AxisOp::Move(from, to) => {
                view.layer = None;
                let (size, stride) = (view.shape.remove(*from), view.strides.remove(*from));
                view.shape.insert(*to, size);
                view.strides.insert(*to, stride);
            }
            AxisOp::Reshape(..) => {
                let before = self.shape(node.inputs[0])?;
                let ahead = |shape: &[usize], rows: Option<usize>| rows.map(|rows| count(&shape[..rows]));
                if ahead(&before.0, before.1) != ahead(&shape, rows) {
                    return Err(unsupported("a reshape that mixes the candidates with another axis", ACROSS));
                }
                let packed = self.emitter.contiguous(&view)?;
                let strides = super::emit::contiguous(&shape);
                let layer = packed.layer.filter(|_| packed.shape.last() == shape.last());
                view = View { shape, strides, rows, layer, ..packed };
            }
        }
        Ok(view)
    }

    /// Integers and booleans are floats here: only a float loses its fraction.
    fn cast(&mut self, node: &TypedNode, to: DatumType) -> Lowered<View> {
        let x = self.view(node.inputs[0])?;
        let from = self.model.outlet_fact(node.inputs[0]).map_or(to, |fact| fact.datum_type);
        if to == bool::datum_type() && from != to {
            let is_zero = self.with(Function::Equal, &x, 0.0)?;
            return self.not(&is_zero);
        }
        if !from.is_float() || to.is_float() {
            return Ok(x);
        }
        let size = self.unary(Function::Abs, &x)?;
        let out = self.unary(Function::Floor, &size)?;
        let (is_below, negative) = (self.with(Function::Less, &x, 0.0)?, self.with(Function::Multiply, &out, -1.0)?);
        self.emitter.each(Function::Left, Combination::Select, &out, &is_below, &negative)?;
        Ok(out)
    }

    fn reduce(&mut self, from: &View, axes: &[usize], reducer: Reducer) -> Lowered<View> {
        let (function, combination, start) = match reducer {
            Reducer::Sum => (Function::Left, Combination::Add, Some(0.0)),
            Reducer::MeanOfSquares => (Function::Multiply, Combination::Add, Some(0.0)),
            Reducer::Prod => (Function::Left, Combination::Multiply, Some(1.0)),
            Reducer::Max | Reducer::Any => (Function::Left, Combination::Max, None),
            Reducer::Min | Reducer::All => (Function::Left, Combination::Min, None),
            _ => {
                return Err(unsupported(
                    format!("the reduction {reducer:?}"),
                    "use a sum, mean, product, maximum or minimum",
                ));
            }
        };
        if from.rows.is_some_and(|rows| axes.contains(&rows)) {
            return Err(unsupported("a reduction over the candidates", ACROSS));
        }
        let mut shape = from.shape.clone();
        axes.iter().for_each(|axis| shape[*axis] = 1);
        let out = self.emitter.allocate(from.is_of_candidates(), &shape, from.rows);
        let first = axes.iter().fold(from.clone(), |view, axis| view.slice(*axis, 0, 1));
        match start {
            // Memories start as zeros.
            Some(0.0) => {}
            Some(value) => self.emitter.copy(&out, &View::scalar(value, shape.len()).broadcast(&shape))?,
            None => self.emitter.copy(&out, &first)?,
        }
        let into = out.broadcast(&from.shape);
        // What is reduced over goes innermost, where a sum stays in one place.
        let order: Vec<usize> =
            (0..shape.len()).filter(|axis| !axes.contains(axis)).chain(axes.iter().copied()).collect();
        let (into, from) = (permuted(&into, &order), permuted(from, &order));
        self.emitter.each(function, combination, &into, &from, &from)?;
        if reducer == Reducer::MeanOfSquares {
            let number = axes.iter().map(|axis| from.shape[order.iter().position(|at| at == axis).unwrap_or(0)]);
            let number: usize = number.product();
            return self.with(Function::Multiply, &out, 1.0 / number as f32);
        }
        Ok(out)
    }

    fn softmax(&mut self, node: &TypedNode, op: &Softmax) -> Lowered<View> {
        let x = self.view(node.inputs[0])?;
        let most = self.reduce(&x, &op.axes, Reducer::Max)?;
        let below = self.apply(Function::Subtract, &x, &most)?;
        let powers = self.unary(Function::Exp, &below)?;
        let sum = self.reduce(&powers, &op.axes, Reducer::Sum)?;
        match op.kind {
            SoftmaxKind::LogSoftmax => {
                let sum = self.unary(Function::Log, &sum)?;
                self.apply(Function::Subtract, &below, &sum)
            }
            SoftmaxKind::Softmax => self.apply(Function::Divide, &powers, &sum),
        }
    }

    fn gather(&mut self, node: &TypedNode, axis: usize) -> Lowered<View> {
        let (table, ids) = (self.view(node.inputs[0])?, self.view(node.inputs[1])?);
        let (shape, rows) = self.shape(node.id.into())?;
        if let Some(picked) = ids.values() {
            return self.pick(&table, axis, &ids, &picked, (shape, rows));
        }
        if axis != 0 || !table.is_constant() {
            return Err(unsupported("a gather of computed values by computed ids", "gather rows of a constant table"));
        }
        let table = View::constant(table.values().unwrap_or_default(), table.shape.clone());
        let packed = if ids.is_contiguous() { ids } else { self.emitter.contiguous(&ids)? };
        let out = self.emitter.gather(&table, count(&table.shape[1..]), &packed);
        Ok(View { strides: super::emit::contiguous(&shape), shape, rows, ..out })
    }

    /// Known indices of an axis: a view for one, copies for many.
    fn pick(
        &mut self,
        from: &View,
        axis: usize,
        ids: &View,
        picked: &[f32],
        (shape, rows): (Vec<usize>, Option<usize>),
    ) -> Lowered<View> {
        if from.rows == Some(axis) {
            return Err(unsupported("a gather of candidates", ACROSS));
        }
        let size = from.shape[axis];
        let places = picked.iter().map(|id| (if *id < 0.0 { *id + size as f32 } else { *id }) as usize);
        let places: Vec<usize> = places.collect();
        if places.iter().any(|place| *place >= size) {
            return Err(unsupported("a gather outside its axis", "export the model again"));
        }
        // The ids as one axis in the place of the axis they pick from.
        let mut flat = from.shape.clone();
        flat[axis] = places.len();
        let flat_rows = from.rows;
        let out = self.emitter.allocate(from.is_of_candidates(), &flat, flat_rows);
        for (at, place) in places.iter().enumerate() {
            self.emitter.copy(&out.slice(axis, at, 1), &from.slice(axis, *place, 1))?;
        }
        debug_assert_eq!(count(&ids.shape), places.len());
        Ok(View { strides: super::emit::contiguous(&shape), shape, rows, ..out })
    }

    fn choose(&mut self, node: &TypedNode) -> Lowered<View> {
        let views = node.inputs.iter().map(|input| self.view(*input)).collect::<Lowered<Vec<_>>>()?;
        let (shape, rows) = self.shape(node.id.into())?;
        let [condition, then, other] = views.as_slice() else { return Err(refuse(node)) };
        let out = self.emitter.allocate(views.iter().any(View::is_of_candidates), &shape, rows);
        self.emitter.copy(&out, &other.broadcast(&shape))?;
        let (condition, then) = (condition.broadcast(&shape), then.broadcast(&shape));
        self.emitter.each(Function::Left, Combination::Select, &out, &condition, &then)?;
        Ok(out)
    }

    fn pad(&mut self, node: &TypedNode, op: &Pad) -> Lowered<View> {
        let PadMode::Constant(value) = &op.mode else { return Err(refuse(node)) };
        let from = self.view(node.inputs[0])?;
        let (shape, rows) = self.shape(node.id.into())?;
        let out = self.emitter.allocate(from.is_of_candidates(), &shape, rows);
        let Value::View(value) = self.constant(value)? else { return Err(refuse(node)) };
        let value = value.values().and_then(|values| values.first().copied()).unwrap_or(0.0);
        if value != 0.0 {
            self.emitter.copy(&out, &View::scalar(value, shape.len()).broadcast(&shape))?;
        }
        let mut inner = out.clone();
        for (axis, (before, _)) in op.pads.iter().enumerate() {
            inner = inner.slice(axis, *before, from.shape[axis]);
        }
        self.emitter.copy(&inner, &from)?;
        Ok(out)
    }

    fn einsum(&mut self, node: &TypedNode, op: &EinSum) -> Lowered<View> {
        let repeats =
            op.axes.iter_all_axes().any(|axis| axis.inputs.iter().chain(&axis.outputs).any(|at| at.len() > 1));
        if repeats || op.q_params.is_some() || node.inputs.len() != 2 {
            return Err(refuse(node));
        }
        for (weights, input) in [(1, 0), (0, 1)] {
            let is_constant = matches!(&self.values[&node.inputs[weights]], Value::View(view) if view.is_constant());
            if is_constant && let Some(view) = self.dense(node, &op.axes, weights, input)? {
                return Ok(view);
            }
        }
        self.contract(node, &op.axes)
    }

    /// A product with constant weights, where no axis is in both and in the result.
    fn dense(&mut self, node: &TypedNode, axes: &AxesMapping, weights: usize, input: usize) -> Lowered<Option<View>> {
        let (mut kept, mut summed, mut made) = (Vec::new(), Vec::new(), Vec::new());
        for axis in axes.iter_all_axes() {
            let at = |slot: usize| axis.inputs[slot].first().copied();
            let (in_input, in_weights, in_out) = (at(input), at(weights), axis.outputs[0].first().copied());
            match (in_input, in_weights, in_out) {
                (Some(from), None, Some(to)) => kept.push((from, to)),
                (Some(from), Some(by), None) => summed.push((from, by)),
                (None, Some(by), Some(to)) => made.push((by, to)),
                // An axis that one of them lacks may still be of length 1.
                _ => return Ok(None),
            }
        }
        if summed.is_empty() {
            return Ok(None);
        }
        kept.sort_by_key(|(_, to)| *to);
        made.sort_by_key(|(_, to)| *to);
        summed.sort_unstable();
        let table = self.view(node.inputs[weights])?;
        let order: Vec<usize> = summed.iter().map(|(_, by)| *by).chain(made.iter().map(|(by, _)| *by)).collect();
        let table = permuted(&table, &order);
        let values = table.values().unwrap_or_default();
        let outputs = count(&table.shape[summed.len()..]);
        let (shape, rows) = self.shape(node.id.into())?;
        let rank = kept.len() + summed.len();
        let by_last = matches!(summed.as_slice(), [(from, _)] if from + 1 == rank);
        let in_order = kept.windows(2).all(|pair| pair[0].0 < pair[1].0);
        // What repeats along an axis is computed once and repeated.
        let repeated: Vec<(usize, usize)> = match &self.values[&node.inputs[input]] {
            Value::View(view) => {
                kept.iter().copied().filter(|(from, _)| view.strides[*from] == 0 && view.shape[*from] > 1).collect()
            }
            Value::Parts(_) => Vec::new(),
        };
        let out = if by_last && in_order && repeated.is_empty() {
            self.grouped(node.inputs[input], &values, outputs)?
        } else {
            let view = self.view(node.inputs[input])?;
            let view = repeated.iter().fold(view, |view, (from, _)| view.slice(*from, 0, 1));
            let order: Vec<usize> = kept.iter().chain(&summed).map(|(from, _)| *from).collect();
            let view = self.emitter.contiguous(&permuted(&view, &order))?;
            let positions = count(&view.shape[..kept.len()]);
            self.emitter.dense(&view, positions, values, outputs, None)
        };
        // From [kept, made] to the order of the result.
        let made_order: Vec<usize> = kept.iter().chain(&made).map(|(_, to)| *to).collect();
        let is_repeated = |to: usize| repeated.iter().any(|(_, other)| *other == to);
        let made_shape = made_order.iter().map(|to| if is_repeated(*to) { 1 } else { shape[*to] });
        let packed = super::emit::contiguous(&made_shape.collect::<Vec<_>>());
        let mut strides = vec![0; shape.len()];
        for (to, stride) in made_order.iter().zip(packed) {
            strides[*to] = if is_repeated(*to) { 0 } else { stride };
        }
        let is_last = made.len() == 1 && made[0].1 + 1 == shape.len();
        let layer = out.layer.filter(|_| is_last && repeated.is_empty());
        Ok(Some(View { shape, strides, rows, layer, ..out }))
    }

    /// The layer over parts: what the request contributes is where the candidates' sums start.
    fn grouped(&mut self, outlet: OutletId, weights: &[f32], outputs: usize) -> Lowered<View> {
        let groups = self.groups(outlet)?;
        let rows_of = |ranges: &[std::ops::Range<usize>]| -> Vec<f32> {
            ranges.iter().flat_map(|range| &weights[range.start * outputs..range.end * outputs]).copied().collect()
        };
        let positions = |view: &View| count(&view.shape[..view.shape.len() - 1]);
        let share = groups
            .of_request
            .as_ref()
            .map(|(view, ranges)| self.emitter.dense(view, positions(view), rows_of(ranges), outputs, None));
        let Some((view, ranges)) = &groups.of_candidates else {
            return share.ok_or_else(|| unsupported("a layer without inputs", "export the model again"));
        };
        let share = share.as_ref().and_then(|share| Some((share, share.layer?.product)));
        Ok(self.emitter.dense(view, positions(view), rows_of(ranges), outputs, share))
    }

    /// Any other contraction: products added up over the axes that are not in the result.
    fn contract(&mut self, node: &TypedNode, axes: &AxesMapping) -> Lowered<View> {
        let (left, right) = (self.view(node.inputs[0])?, self.view(node.inputs[1])?);
        let (shape, rows) = self.shape(node.id.into())?;
        let out = self.emitter.allocate(left.is_of_candidates() || right.is_of_candidates(), &shape, rows);
        let mut all: Vec<_> = axes.iter_all_axes().collect();
        all.sort_by_key(|axis| axis.outputs[0].first().map_or(usize::MAX, |at| *at));
        let mut views = [out.clone(), left, right].map(|view| View { shape: Vec::new(), strides: Vec::new(), ..view });
        let originals = [out.clone(), self.view(node.inputs[0])?, self.view(node.inputs[1])?];
        for axis in all {
            let at = [axis.outputs[0].first(), axis.inputs[0].first(), axis.inputs[1].first()];
            let has_rows = originals.iter().zip(at).any(|(view, at)| view.rows.is_some() && view.rows == at.copied());
            if has_rows && at[0].is_none() {
                return Err(unsupported("a product over the candidates", ACROSS));
            }
            let sizes = originals.iter().zip(at).filter_map(|(view, at)| Some(view.shape[*at?]));
            let size = sizes.max().unwrap_or(1);
            for ((view, original), at) in views.iter_mut().zip(&originals).zip(at) {
                let stride = at.filter(|at| original.shape[**at] > 1).map_or(0, |at| original.strides[*at]);
                view.shape.push(size);
                view.strides.push(stride);
            }
        }
        let [into, left, right] = &views;
        self.emitter.each(Function::Multiply, Combination::Add, into, left, right)?;
        Ok(out)
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
    refused_operator(&node.op.name())
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
