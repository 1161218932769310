//! Dense layers before they are computed: sums of values times learnt weights, and a bias.
//!
//! A network adds layers up, scales them, cuts their outputs apart and gives them a bias; none of this needs a step as long as
//! the weights are at hand. So a layer stays a sum of terms until something else reads it. Terms that read the same value
//! become one. Each is computed as often as its own value differs: what the request contributes once for all candidates,
//! what an item contributes once and not for every place of a history. The first layer of target attention (Zhou et al.,
//! 2018), `[q, k, q - k, q * k] W`, so becomes `q (W1 + W3) + k (W2 - W3) + (q * k) W4`, of which only the last term is
//! computed per candidate and place.
//!
//! Sums start where the term before ended. Where it has fewer places, they start from it again and again. Where the request has a
//! sum for every place and the candidate one for all, they start from both.

use selvedge_format::graph::Function;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::AxisOp;
use tract_onnx::tract_core::ops::array::Slice;
use tract_onnx::tract_hir::internal::DimLike;

use super::super::emit::{Emitter, Rows, Source, Start, View, contiguous, count};
use super::{Lowered, Lowering, Value, permuted, unsupported};

/// A sum of dense layers with the same outputs.
#[derive(Clone, Debug)]
pub(in crate::onnx) struct Linear {
    terms: Vec<Term>,
    bias: Vec<f32>,
    /// Places: the shape without the axis of the outputs.
    places: Vec<usize>,
    /// Where the graph has the axis of the outputs, and that of the candidates.
    axis: usize,
    rows: Option<usize>,
}

/// A value times weights.
#[derive(Clone, Debug)]
pub(in crate::onnx) struct Term {
    /// `[.., inputs]`, with one index where the sum repeats it.
    pub(super) input: View,
    /// `[inputs][outputs]`.
    pub(super) weights: Vec<f32>,
}

impl Term {
    fn places(&self) -> usize {
        count(&self.input.shape[..self.input.shape.len() - 1])
    }
}

impl Linear {
    /// Of terms whose shape in the graph is `shape`, with the outputs on `axis`.
    pub(super) fn new(terms: Vec<Term>, shape: &[usize], axis: usize, rows: Option<usize>) -> Self {
        let mut places = shape.to_vec();
        let bias = vec![0.0; places.remove(axis)];
        let mut sum = Self { terms: Vec::new(), bias, places, axis, rows };
        terms.into_iter().for_each(|term| sum.add(term));
        sum
    }

    pub(super) fn with_bias(mut self, values: &[f32]) -> Self {
        self.bias.iter_mut().enumerate().for_each(|(at, bias)| *bias += values[at % values.len()]);
        self
    }

    pub(super) fn has_bias(&self) -> bool {
        self.bias.iter().any(|bias| *bias != 0.0)
    }

    fn outputs(&self) -> usize {
        self.bias.len()
    }

    fn add(&mut self, term: Term) {
        match self.terms.iter_mut().find(|other| other.input.is_same(&term.input)) {
            Some(other) => other.weights.iter_mut().zip(&term.weights).for_each(|(sum, weight)| *sum += weight),
            None => self.terms.push(term),
        }
    }

    pub(super) fn plus(mut self, other: Self) -> Self {
        self.places.iter_mut().zip(&other.places).for_each(|(size, other)| *size = (*size).max(*other));
        self.rows = self.rows.or(other.rows);
        other.terms.into_iter().for_each(|term| self.add(term));
        self.with_bias(&other.bias)
    }

    fn times(mut self, values: &[f32]) -> Self {
        let outputs = self.outputs();
        let by = |at: usize| values[at % outputs % values.len()];
        let weights = self.terms.iter_mut().map(|term| &mut term.weights).chain([&mut self.bias]);
        weights.for_each(|all| all.iter_mut().enumerate().for_each(|(at, weight)| *weight *= by(at)));
        self
    }

    /// Some of the outputs.
    pub(super) fn slice(&self, start: usize, len: usize) -> Self {
        let outputs = self.outputs();
        let of = |all: &[f32]| all.chunks(outputs).flat_map(|row| &row[start..start + len]).copied().collect();
        let terms = self.terms.iter().map(|term| Term { input: term.input.clone(), weights: of(&term.weights) });
        Self { terms: terms.collect(), bias: of(&self.bias), places: self.places.clone(), ..*self }
    }

    /// The same with its axes otherwise, if that of the outputs stays whole.
    fn with_axes(&self, op: &AxisOp, shape: &[usize], rows: Option<usize>) -> Option<Self> {
        let axis = self.axis_after(op)?;
        let change = |term: &Term| {
            Some(Term { input: self.input_after(&term.input, op, shape)?, weights: term.weights.clone() })
        };
        let terms = self.terms.iter().map(change).collect::<Option<_>>()?;
        let mut places = shape.to_vec();
        places.remove(axis);
        Some(Self { terms, bias: self.bias.clone(), places, axis, rows })
    }

    /// Where the outputs are afterwards.
    fn axis_after(&self, op: &AxisOp) -> Option<usize> {
        match op {
            AxisOp::Add(at) => Some(self.axis + usize::from(*at <= self.axis)),
            AxisOp::Rm(at) if *at != self.axis => Some(self.axis - usize::from(*at < self.axis)),
            AxisOp::Move(..) => self.moved(op).iter().position(|axis| *axis == self.places.len()),
            AxisOp::Reshape(at, from, to) if *at + from.len() <= self.axis => Some(self.axis + to.len() - from.len()),
            AxisOp::Reshape(at, ..) if *at > self.axis => Some(self.axis),
            _ => None,
        }
    }

    /// The places and the outputs, which are the last, in the order of the graph after a move.
    fn moved(&self, op: &AxisOp) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.places.len()).collect();
        order.insert(self.axis, self.places.len());
        if let AxisOp::Move(from, to) = op {
            let axis = order.remove(*from);
            order.insert(*to, axis);
        }
        order
    }

    fn input_after(&self, view: &View, op: &AxisOp, shape: &[usize]) -> Option<View> {
        // Of an axis of the graph, which one it is among the places.
        let among = |at: usize| if at > self.axis { at - 1 } else { at };
        match op {
            AxisOp::Add(at) => Some(with_axis(view, among(*at), 1, 0)),
            AxisOp::Rm(at) => Some(without_axis(view, among(*at))),
            AxisOp::Move(..) => {
                let last = self.places.len();
                let places = self.moved(op).into_iter().filter(|axis| *axis != last);
                Some(permuted(view, &places.chain([last]).collect::<Vec<_>>()))
            }
            AxisOp::Reshape(at, from, to) => {
                let start = among(*at);
                reshaped(view, start, &self.places[start..start + from.len()], &shape[*at..*at + to.len()])
            }
        }
    }
}

/// The view with other sizes for some of its axes, if it has them all and one step.
fn reshaped(view: &View, start: usize, old: &[usize], new: &[usize]) -> Option<View> {
    let axes = start..start + old.len();
    let step = one_stride(&view.axes(axes.clone()), old.len()).filter(|_| view.shape[axes.clone()] == *old)?;
    let mut view = view.clone();
    view.shape.splice(axes.clone(), new.iter().copied());
    view.strides.splice(axes, contiguous(new).iter().map(|by| by * step));
    Some(view)
}

/// The step from one place to the next, if the first axes of a view have one.
pub(super) fn one_stride(view: &View, places: usize) -> Option<usize> {
    let axes: Vec<usize> = (0..places).filter(|axis| view.shape[*axis] > 1).collect();
    let is_one = axes.windows(2).all(|pair| view.strides[pair[0]] == view.strides[pair[1]] * view.shape[pair[1]]);
    is_one.then(|| axes.last().map_or(0, |axis| view.strides[*axis]))
}

pub(super) fn with_axis(view: &View, at: usize, size: usize, stride: usize) -> View {
    let mut wide = View { rows: None, layer: None, ..view.clone() };
    wide.shape.insert(at, size);
    wide.strides.insert(at, stride);
    wide
}

fn without_axis(view: &View, at: usize) -> View {
    let order: Vec<usize> = (0..view.shape.len()).filter(|axis| *axis != at).collect();
    permuted(view, &order)
}

impl Lowering<'_> {
    /// A sum that nothing but `node` reads, to change it.
    fn taken(&self, node: &TypedNode, input: usize) -> Option<Linear> {
        match &self.values[&node.inputs[input]] {
            Value::Linear(linear) if self.is_sole_reader(node, input) => Some(linear.clone()),
            _ => None,
        }
    }

    /// A function of a sum and of a constant or another sum, where the answer is a sum.
    pub(super) fn binary_of_sums(
        &mut self,
        node: &TypedNode,
        function: Function,
        (first, second): (usize, usize),
    ) -> Lowered<Option<Linear>> {
        let constant = |value: &Value, sum: &Linear| match value {
            Value::View(view) if view.is_constant() => {
                let mut sizes = view.shape.iter().enumerate();
                let fits = |(axis, size): (usize, &usize)| *size == 1 || (axis == sum.axis && *size == sum.outputs());
                sizes.all(fits).then(|| view.values())?
            }
            _ => None,
        };
        let negative = [-1.0];
        Ok(match (self.taken(node, first), self.taken(node, second), function) {
            (Some(left), Some(right), Function::Add | Function::Subtract)
                if left.outputs() == right.outputs() && left.axis == right.axis =>
            {
                Some(left.plus(if function == Function::Add { right } else { right.times(&negative) }))
            }
            (Some(left), None, _) => {
                let Some(values) = constant(&self.values[&node.inputs[second]], &left) else {
                    return Ok(None);
                };
                match function {
                    Function::Add => Some(left.with_bias(&values)),
                    Function::Subtract => {
                        Some(left.with_bias(&values.iter().map(|value| -value).collect::<Vec<f32>>()))
                    }
                    Function::Multiply => Some(left.times(&values)),
                    Function::Divide => Some(left.times(&values.iter().map(|value| 1.0 / value).collect::<Vec<f32>>())),
                    _ => None,
                }
            }
            (None, Some(right), _) => {
                let Some(values) = constant(&self.values[&node.inputs[first]], &right) else {
                    return Ok(None);
                };
                match function {
                    Function::Add => Some(right.with_bias(&values)),
                    Function::Subtract => Some(right.times(&negative).with_bias(&values)),
                    Function::Multiply => Some(right.times(&values)),
                    _ => None,
                }
            }
            _ => None,
        })
    }

    /// A sum with its axes otherwise.
    pub(super) fn axes_of_sum(&mut self, node: &TypedNode, op: &AxisOp) -> Lowered<Option<Linear>> {
        let (shape, rows) = self.shape(node.id.into())?;
        Ok(self.taken(node, 0).and_then(|linear| linear.with_axes(op, &shape, rows)))
    }

    /// Some outputs of a sum, if that is all that is read of it.
    pub(super) fn slice_of_sum(&self, node: &TypedNode, op: &Slice) -> Option<Linear> {
        let Value::Linear(linear) = &self.values[&node.inputs[0]] else { return None };
        let (start, end) = (op.start.to_usize().ok()?, op.end.to_usize().ok()?);
        let readers = &self.model.node(node.inputs[0].node).outputs[node.inputs[0].slot].successors;
        let is_cut =
            |reader: &InletId| self.model.node(reader.node).op_as::<Slice>().is_some_and(|cut| cut.axis == op.axis);
        (op.axis == linear.axis && readers.iter().all(is_cut) && !self.is_output(node.inputs[0]))
            .then(|| linear.slice(start, end - start))
    }

    /// Computes a sum; from `start`, if it has no bias.
    pub(super) fn compute(&mut self, linear: &Linear, start: Option<View>) -> Lowered<View> {
        let last = linear.places.len();
        let mut terms: Vec<&Term> = linear.terms.iter().collect();
        terms.sort_by_key(|term| (term.input.is_of_candidates(), term.places()));
        let mut bias = Some(linear.bias.clone()).filter(|_| start.is_none());
        // What a term starts from, and what is of the candidates and waits for one that adds it.
        let (mut held, mut beside) = (start, None);
        for term in terms {
            let input = self.readable(&term.input)?;
            let mut shape = input.shape.clone();
            shape[last] = linear.outputs();
            let out = self.emitter.allocate(input.is_of_candidates(), &shape, None);
            let wide = |view: &Option<View>| {
                view.as_ref().filter(|view| starts(view, &out)).map(|view| view.broadcast(&shape))
            };
            if beside.is_some() && (wide(&held).is_none() || wide(&beside).is_none()) {
                held = self.both(held, beside.take())?;
            }
            let (from, addend) = (wide(&held), wide(&beside));
            let rows = |view| Rows { view, stride: one_stride(view, last).unwrap_or(0) };
            let start = match &from {
                Some(view) => Start::Values(rows(view)),
                None => Start::Bias(bias.take().unwrap_or_else(|| vec![0.0; linear.outputs()])),
            };
            let layer = (rows(&input), rows(&out), addend.as_ref().map(rows));
            let product = self.emitter.product(layer, term.places(), term.weights.clone(), start);
            let out = View { layer: Some(Emitter::layer(vec![product])), ..out };
            (held, beside) = match held {
                Some(of_request) if from.is_none() && !of_request.is_of_candidates() => (Some(of_request), Some(out)),
                Some(_) if from.is_none() => (self.both(held, Some(out))?, None),
                _ => (Some(out), None),
            };
        }
        let held = self.both(held, beside)?;
        let held = held.ok_or_else(|| unsupported("a layer without inputs", "export the model again"))?;
        let shape: Vec<usize> = linear.places.iter().copied().chain([linear.outputs()]).collect();
        let wide = if held.shape == shape { held } else { held.broadcast(&shape) };
        let mut order: Vec<usize> = (0..last).collect();
        order.insert(linear.axis, last);
        Ok(View { rows: linear.rows, layer: wide.layer.clone(), ..permuted(&wide, &order) })
    }

    /// Two sums in one, where there are two.
    fn both(&mut self, held: Option<View>, beside: Option<View>) -> Lowered<Option<View>> {
        match (held, beside) {
            (Some(held), Some(beside)) => self.apply(Function::Add, &held, &beside).map(Some),
            (held, beside) => Ok(held.or(beside)),
        }
    }

    /// The input where a dense layer can read it: each place in one run, all at one distance.
    pub(super) fn readable(&mut self, view: &View) -> Lowered<View> {
        let last = view.shape.len() - 1;
        let is_run = view.shape[last] == 1 || view.strides[last] == 1;
        let is_memory = matches!(view.source, Source::Request | Source::Candidates);
        if is_run && is_memory && one_stride(view, last).is_some() {
            return Ok(view.clone());
        }
        if let Some((_, copy)) = self.copies.iter().find(|(original, _)| original.is_same(view)) {
            return Ok(copy.clone());
        }
        let copy = self.emitter.allocate(view.is_of_candidates(), &view.shape, None);
        self.emitter.copy(&copy, view)?;
        self.copies.push((view.clone(), copy.clone()));
        Ok(copy)
    }
}

/// Whether sums of `out` can start from `held`.
fn starts(held: &View, out: &View) -> bool {
    let last = out.shape.len() - 1;
    let is_memory = matches!(held.source, Source::Request) || (out.is_of_candidates() && held.is_of_candidates());
    let is_features = matches!(held.source, Source::Features { .. });
    let is_run = held.shape[last] == out.shape[last] && (held.shape[last] == 1 || held.strides[last] == 1);
    let repeats = held.shape[..last].iter().zip(&out.shape).all(|(held, out)| *held == 1 || held == out);
    is_memory && !is_features && is_run && repeats && one_stride(&held.broadcast(&out.shape), last).is_some()
}
