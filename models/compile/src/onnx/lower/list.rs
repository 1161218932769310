//! Candidates that meet: attention among them, and what is reduced over them.
//!
//! Attention is a product of queries and keys, perhaps scaled, softened by a softmax over the keys' candidates, and a product
//! with values (Vaswani et al., 2017; over candidates: Pei et al., 2019, and Pang et al., 2020). Between the two products the
//! graph has a number for each pair of candidates. No memory holds such a value: it stays a [`Meeting`], its two operands, until
//! the second product makes one step of it. Factors become factors of the queries or keys, and what is added for a key, as a
//! mask is, one more of their columns. Everything else that has two axes of candidates is refused.

use selvedge_format::graph::Function;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{Axis as GraphAxis, AxisOp};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::identity::Identity;
use tract_onnx::tract_core::ops::nn::{Reducer, Softmax, SoftmaxKind};
use tract_onnx::tract_hir::internal::DimLike;

use super::super::emit::{View, contiguous, count};
use super::select::insert_axis;
use super::{ACROSS, Lowered, Lowering, Value, permuted, unsupported};
use crate::error::CompileError;

/// Numbers of pairs of candidates, as the products of queries and keys.
#[derive(Clone, Debug)]
pub(in crate::onnx) struct Meeting {
    /// By the axes of the graph's value, those of the candidates with one index, and then those that are summed.
    query: View,
    key: View,
    /// The graph's axis of the queries' candidates.
    asking: usize,
    /// That of the keys'.
    asked: usize,
    /// How many axes the graph's value has.
    rank: usize,
    is_softened: bool,
}

/// An axis of a product: where it is in the meeting or the first operand, in the other, and in the result.
type Axis = (Option<usize>, Option<usize>, Option<usize>);

pub(super) fn pairs() -> CompileError {
    unsupported("a number for each pair of candidates that is not attention", ACROSS)
}

impl Meeting {
    /// The first operand with what the axes do to both.
    fn map(self, change: impl Fn(View) -> View) -> Self {
        Self { query: change(self.query), key: change(self.key), ..self }
    }

    /// Who asks is asked, and the other way round: the products are the same.
    fn turned(self) -> Self {
        Self { query: self.key, key: self.query, asking: self.asked, asked: self.asking, ..self }
    }

    /// Axes of the graph's value that are not of candidates.
    fn heads(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.rank).filter(|axis| *axis != self.asking && *axis != self.asked)
    }
}

/// The axes at their sizes and strides in a view; an axis that it has not has one index.
fn with_axes(view: &View, axes: impl Iterator<Item = Option<usize>>) -> View {
    let (shape, strides) = axes.map(|axis| axis.map_or((1, 0), |axis| (view.shape[axis], view.strides[axis]))).unzip();
    View { shape, strides, rows: None, layer: None, ..view.clone() }
}

fn axes_of(op: &EinSum, first: usize) -> Vec<Axis> {
    let axis = |axis: &GraphAxis| {
        let at = |slot: usize| axis.inputs[slot].first().copied();
        (at(first), at(1 - first), axis.outputs[0].first().copied())
    };
    let mut axes: Vec<Axis> = op.axes.iter_all_axes().map(axis).collect();
    axes.sort_by_key(|(_, _, out)| out.unwrap_or(usize::MAX));
    axes
}

impl Lowering<'_> {
    /// The value of a node that makes a meeting or reads one; nothing if it does neither.
    pub(super) fn meeting(&mut self, node: &TypedNode) -> Lowered<Option<Value>> {
        let is_read = |outlet: &OutletId| matches!(self.values.get(outlet), Some(Value::Meeting(_)));
        let Some(at) = node.inputs.iter().position(is_read) else { return self.meet(node) };
        let Some(Value::Meeting(meeting)) = self.values.get(&node.inputs[at]).cloned() else { return Ok(None) };
        let made = if let Some(op) = node.op_as::<EinSum>() {
            return self.answer(node, op, at, &meeting).map(Some);
        } else if let Some(op) = node.op_as::<AxisOp>() {
            self.with_axes_moved(*meeting, op)?
        } else if let Some(op) = node.op_as::<Softmax>() {
            softened(*meeting, op)?
        } else if let Some(op) = node.op_as::<TypedBinOp>() {
            self.combined(node, op.0.name(), at, *meeting)?
        } else if node.op_is::<Identity>() {
            *meeting
        } else {
            return Err(pairs());
        };
        Ok(Some(Value::Meeting(Box::new(made))))
    }

    /// A product of candidates with candidates.
    fn meet(&mut self, node: &TypedNode) -> Lowered<Option<Value>> {
        let Some(op) = node.op_as::<EinSum>().filter(|op| op.q_params.is_none() && node.inputs.len() == 2) else {
            return Ok(None);
        };
        let fact = self.model.outlet_fact(node.id.into()).map_err(|error| unsupported(format!("{error}"), ACROSS))?;
        let rows = TDim::from(self.rows.clone());
        if fact.shape.iter().filter(|dim| **dim == rows).count() < 2 {
            return Ok(None);
        }
        let (rank, axes) = (fact.rank(), axes_of(op, 0));
        let (query, key) = (self.view(node.inputs[0])?, self.view(node.inputs[1])?);
        let of = |rows: Option<usize>, side: fn(&Axis) -> Option<usize>| {
            axes.iter().find(|axis| rows.is_some() && side(axis) == rows).and_then(|axis| axis.2)
        };
        let asking = of(query.rows, |axis| axis.0).ok_or_else(pairs)?;
        let asked = of(key.rows, |axis| axis.1).filter(|asked| *asked != asking).ok_or_else(pairs)?;
        let query = with_axes(&query, axes.iter().map(|axis| axis.0));
        let key = with_axes(&key, axes.iter().map(|axis| axis.1));
        let shape: Vec<usize> = query.shape.iter().zip(&key.shape).map(|(query, key)| *query.max(key)).collect();
        // Heads may be broadcast once the values are known; what is summed over must be as long on both sides.
        let wide = |view: &View| {
            let mut sizes = view.shape[..rank].to_vec();
            sizes.extend_from_slice(&shape[rank..]);
            view.broadcast(&sizes)
        };
        let (query, key) = (wide(&query), wide(&key));
        Ok(Some(Value::Meeting(Box::new(Meeting { query, key, asking, asked, rank, is_softened: false }))))
    }

    fn with_axes_moved(&mut self, meeting: Meeting, op: &AxisOp) -> Lowered<Meeting> {
        let Meeting { asking, asked, rank, .. } = meeting;
        let order = |from: usize, to: usize| {
            let mut order: Vec<usize> = (0..rank).collect();
            let axis = order.remove(from);
            order.insert(to, axis);
            order
        };
        match op {
            AxisOp::Add(at) => {
                let after = |axis: usize| axis + usize::from(axis >= *at);
                let made = Meeting { asking: after(asking), asked: after(asked), rank: rank + 1, ..meeting };
                Ok(made.map(|mut view| {
                    insert_axis(&mut view, *at, 1, 0);
                    view
                }))
            }
            AxisOp::Rm(at) => {
                let after = |axis: usize| axis - usize::from(axis > *at);
                let made = Meeting { asking: after(asking), asked: after(asked), rank: rank - 1, ..meeting };
                let kept = |view: &View| (0..view.shape.len()).filter(|axis| axis != at).collect::<Vec<_>>();
                Ok(made.map(|view| permuted(&view, &kept(&view))))
            }
            AxisOp::Move(from, to) => {
                let order = order(*from, *to);
                let after = |axis: usize| order.iter().position(|from| *from == axis).unwrap_or(axis);
                let made = Meeting { asking: after(asking), asked: after(asked), ..meeting };
                let all = |view: &View| order.iter().copied().chain(rank..view.shape.len()).collect::<Vec<_>>();
                Ok(made.map(|view| permuted(&view, &all(&view))))
            }
            AxisOp::Reshape(at, from, to) => {
                let old = *at..at + from.len();
                let sizes: Option<Vec<usize>> = to.iter().map(|size| size.to_usize().ok()).collect();
                let sizes = sizes.filter(|_| !old.contains(&asking) && !old.contains(&asked)).ok_or_else(pairs)?;
                let after = |axis: usize| if axis < *at { axis } else { axis + to.len() - from.len() };
                let made = Meeting {
                    asking: after(asking),
                    asked: after(asked),
                    rank: rank + to.len() - from.len(),
                    query: self.reshaped_heads(&meeting.query, &meeting.key, old.clone(), &sizes)?,
                    key: self.reshaped_heads(&meeting.key, &meeting.query, old, &sizes)?,
                    ..meeting
                };
                Ok(made)
            }
        }
    }

    /// A side of a meeting with other axes of heads, which it has as often as the other side.
    fn reshaped_heads(
        &mut self,
        side: &View,
        other: &View,
        old: std::ops::Range<usize>,
        new: &[usize],
    ) -> Lowered<View> {
        let mut shape = side.shape.clone();
        old.clone().for_each(|axis| shape[axis] = shape[axis].max(other.shape[axis]));
        let mut view = self.emitter.contiguous(&side.broadcast(&shape))?;
        view.shape.splice(old, new.iter().copied());
        view.strides = contiguous(&view.shape);
        Ok(view)
    }

    /// A meeting and another value: a factor, or what is added for a query or a key.
    fn combined(&mut self, node: &TypedNode, name: &str, at: usize, meeting: Meeting) -> Lowered<Meeting> {
        let other = self.view(node.inputs[1 - at])?;
        if meeting.is_softened || !matches!((name, at), ("Mul" | "Add", _) | ("Div" | "Sub", 0)) {
            return Err(pairs());
        }
        let is_of_key = other.rows == Some(meeting.asked);
        let meeting = if is_of_key { meeting.turned() } else { meeting };
        let Meeting { query, key, rank, .. } = &meeting;
        let mut other = View { rows: None, layer: None, ..other };
        let made = match name {
            "Mul" | "Div" => {
                (*rank..query.shape.len()).for_each(|axis| insert_axis(&mut other, axis, 1, 0));
                let function = if name == "Mul" { Function::Multiply } else { Function::Divide };
                Meeting { query: self.apply(function, query, &other)?, ..meeting }
            }
            _ => {
                if name == "Sub" {
                    other = self.with(Function::Multiply, &other, -1.0)?;
                }
                insert_axis(&mut other, *rank, 1, 0);
                let one = View::scalar(1.0, rank + 1);
                Meeting { query: self.longer(query, &other, *rank)?, key: self.longer(key, &one, *rank)?, ..meeting }
            }
        };
        Ok(if is_of_key { made.turned() } else { made })
    }

    /// A side of a meeting with one more number to its sum.
    fn longer(&mut self, side: &View, last: &View, rank: usize) -> Lowered<View> {
        let heads: Vec<usize> =
            side.shape[..rank].iter().zip(&last.shape).map(|(side, last)| *side.max(last)).collect();
        let whole: Vec<usize> = heads.iter().chain(&side.shape[rank..]).copied().collect();
        let mut flat = self.emitter.contiguous(&side.broadcast(&whole))?;
        flat.shape = heads.iter().copied().chain([count(&side.shape[rank..])]).collect();
        flat.strides = contiguous(&flat.shape);
        let last = last.broadcast(&heads.into_iter().chain([1]).collect::<Vec<_>>());
        self.join(&[flat, last])
    }

    /// What candidates get from each other: the product of a softened meeting with values.
    fn answer(&mut self, node: &TypedNode, op: &EinSum, at: usize, meeting: &Meeting) -> Lowered<Value> {
        if !meeting.is_softened || node.inputs.len() != 2 || op.q_params.is_some() {
            return Err(pairs());
        }
        let value = self.view(node.inputs[1 - at])?;
        let axes = axes_of(op, at);
        let is_one = |axis: Option<usize>| axis.is_none_or(|axis| value.shape[axis] == 1 && value.rows != Some(axis));
        let is_attention = axes.iter().all(|(met, of_value, out)| match met {
            Some(axis) if *axis == meeting.asked => of_value.is_some() && *of_value == value.rows && out.is_none(),
            Some(axis) if *axis == meeting.asking => out.is_some() && is_one(*of_value),
            Some(_) => out.is_some() && value.rows.is_none_or(|rows| *of_value != Some(rows)),
            None => out.is_some() || is_one(*of_value),
        });
        if !is_attention {
            return Err(pairs());
        }
        // Heads in the order of the result, and then what a head has.
        let heads: Vec<&Axis> =
            meeting.heads().filter_map(|head| axes.iter().find(|axis| axis.0 == Some(head))).collect();
        let own: Vec<&Axis> = axes.iter().filter(|axis| axis.0.is_none() && axis.2.is_some()).collect();
        let sums = || (meeting.rank..meeting.query.shape.len()).map(Some);
        let [query, key] =
            [&meeting.query, &meeting.key].map(|side| with_axes(side, heads.iter().map(|axis| axis.0).chain(sums())));
        let value = with_axes(&value, heads.iter().chain(&own).map(|axis| axis.1));
        let sizes: Vec<usize> =
            (0..heads.len()).map(|head| query.shape[head].max(key.shape[head]).max(value.shape[head])).collect();
        let [query, key, value] = [query, key, value].map(|side| {
            let shape: Vec<usize> = sizes.iter().chain(&side.shape[heads.len()..]).copied().collect();
            self.emitter.in_columns(&side.broadcast(&shape))
        });
        let (query, key, value) = (query?, key?, value?);
        let own_shape = value.shape.clone();
        let number = count(&sizes);
        let (shape, strides) = (vec![number, count(&value.shape) / number], vec![count(&value.shape) / number, 1]);
        let out = self.emitter.attend(number, [&query, &key, &View { shape, strides, ..value }])?;
        let (shape, rows) = self.shape(node.id.into())?;
        let mut strides = vec![0; shape.len()];
        for (axis, stride) in heads.iter().chain(&own).zip(contiguous(&own_shape)) {
            if let Some(to) = axis.2 {
                strides[to] = stride;
            }
        }
        Ok(Value::View(View { shape, strides, rows, ..out }))
    }

    /// A reduction over the candidates, and over other axes before.
    pub(super) fn reduce_list(&mut self, from: &View, axes: &[usize], rows: usize, reducer: Reducer) -> Lowered<View> {
        let function = match reducer {
            Reducer::Sum | Reducer::MeanOfSquares => Function::Add,
            Reducer::Prod => Function::Multiply,
            Reducer::Max | Reducer::Any => Function::Max,
            Reducer::Min | Reducer::All => Function::Min,
            Reducer::ArgMax(_) | Reducer::ArgMin(_) => {
                return Err(unsupported("the place of an extreme among the candidates", ACROSS));
            }
        };
        let others: Vec<usize> = axes.iter().copied().filter(|axis| *axis != rows).collect();
        let each = if reducer == Reducer::MeanOfSquares && others.is_empty() {
            self.apply(Function::Multiply, from, from)?
        } else if others.is_empty() {
            from.clone()
        } else {
            self.reduce(from, &others, reducer)?
        };
        let whole = self.pool(function, &each)?;
        if reducer == Reducer::MeanOfSquares {
            let number = self.candidates()?;
            let number = View { shape: vec![1; whole.shape.len()], strides: vec![0; whole.shape.len()], ..number };
            return self.apply(Function::Divide, &whole, &number);
        }
        Ok(whole)
    }

    /// A value over all candidates.
    pub(super) fn pool(&mut self, function: Function, view: &View) -> Lowered<View> {
        self.emitter.pool(function, view)
    }

    /// How many candidates there are.
    fn candidates(&mut self) -> Lowered<View> {
        if let Some(number) = &self.candidates {
            return Ok(number.clone());
        }
        let number = self.pool(Function::Add, &View::scalar(1.0, 1))?;
        self.candidates = Some(number.clone());
        Ok(number)
    }

    /// A constant of the graph that is a multiple of the number of candidates, as the divisor of a mean is.
    pub(super) fn number_of_candidates(&mut self, tensor: &Tensor) -> Lowered<Option<View>> {
        let Ok(dims) = tensor.to_plain_array_view::<TDim>() else { return Ok(None) };
        let dims: Vec<TDim> = dims.iter().cloned().collect();
        let times = |number: i64| {
            let values = SymbolValues::default().with(&self.rows, number);
            dims.first().and_then(|dim| dim.eval(&values).to_i64().ok())
        };
        let (Some(one), Some(two)) = (times(1), times(2)) else { return Ok(None) };
        if dims.len() != 1 || one == 0 || two != 2 * one {
            return Ok(None);
        }
        let (number, rank) = (self.candidates()?, tensor.rank());
        let number = View { shape: vec![1; rank], strides: vec![0; rank], ..number };
        Ok(Some(if one == 1 { number } else { self.with(Function::Multiply, &number, one as f32)? }))
    }
}

/// Weights of the candidates on the axis of a softmax.
fn softened(meeting: Meeting, op: &Softmax) -> Lowered<Meeting> {
    let meeting = if *op.axes == [meeting.asking] { meeting.turned() } else { meeting };
    if meeting.is_softened || op.kind != SoftmaxKind::Softmax || *op.axes != [meeting.asked] {
        return Err(pairs());
    }
    Ok(Meeting { is_softened: true, ..meeting })
}
