//! Products: dense layers with packed weights where one operand is learnt, and a step that multiplies and adds otherwise.

use selvedge_format::graph::{Combination, Function};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::AxesMapping;
use tract_onnx::tract_core::ops::einsum::EinSum;

use super::super::emit::{View, contiguous, count};
use super::linear::{Linear, Term, one_stride};
use super::{ACROSS, Lowered, Lowering, Value, permuted, refuse, unsupported};

/// What the axes of a product with learnt weights are.
#[derive(Default)]
struct Roles {
    /// Of the value and of the result.
    kept: Vec<(usize, usize)>,
    /// Of the value and of the weights.
    summed: Vec<(usize, usize)>,
    /// Of the weights and of the result.
    made: Vec<(usize, usize)>,
}

impl Lowering<'_> {
    pub(super) fn einsum(&mut self, node: &TypedNode, op: &EinSum) -> Lowered<Value> {
        let repeats =
            op.axes.iter_all_axes().any(|axis| axis.inputs.iter().chain(&axis.outputs).any(|at| at.len() > 1));
        if repeats || op.q_params.is_some() || node.inputs.len() != 2 {
            return Err(refuse(node));
        }
        for (weights, input) in [(1, 0), (0, 1)] {
            let is_constant = matches!(&self.values[&node.inputs[weights]], Value::View(view) if view.is_constant());
            if is_constant && let Some(roles) = self.roles(node, &op.axes, weights, input)? {
                return self.dense(node, &roles, weights, input);
            }
        }
        self.contract(node, &op.axes).map(Value::View)
    }

    /// What the axes of a product with learnt weights are; none if an axis is in both and in the result, or none is summed.
    fn roles(&mut self, node: &TypedNode, axes: &AxesMapping, weights: usize, input: usize) -> Lowered<Option<Roles>> {
        let (of_input, rows) = self.shape(node.inputs[input])?;
        let (of_weights, _) = self.shape(node.inputs[weights])?;
        let mut roles = Roles::default();
        for axis in axes.iter_all_axes() {
            let at = |slot: usize| axis.inputs[slot].first().copied();
            let (in_input, in_weights, in_out) = (at(input), at(weights), axis.outputs[0].first().copied());
            let is_one = in_input.is_none_or(|from| of_input[from] == 1 && rows != Some(from));
            match (in_input, in_weights, in_out) {
                (Some(from), None, Some(to)) => roles.kept.push((from, to)),
                (Some(from), Some(by), Some(to)) if of_weights[by] == 1 => roles.kept.push((from, to)),
                (Some(from), Some(by), None) if of_input[from] == of_weights[by] => roles.summed.push((from, by)),
                (_, Some(by), Some(to)) if is_one => roles.made.push((by, to)),
                (Some(_), None, None) if is_one => {}
                (None, Some(by), None) if of_weights[by] == 1 => {}
                // An axis of length 1 that the result has alone.
                (None, None, Some(_)) => {}
                _ => return Ok(None),
            }
        }
        roles.kept.sort_by_key(|(_, to)| *to);
        roles.made.sort_by_key(|(_, to)| *to);
        roles.summed.sort_unstable();
        Ok(Some(roles).filter(|roles| !roles.summed.is_empty()))
    }

    /// A product with learnt weights.
    fn dense(&mut self, node: &TypedNode, roles: &Roles, weights: usize, input: usize) -> Lowered<Value> {
        let table = self.view(node.inputs[weights])?;
        let order: Vec<usize> = roles.summed.iter().map(|(_, by)| *by).chain(roles.made.iter().map(|(by, _)| *by)).collect();
        let table = permuted(&table, &order);
        let outputs = count(&table.shape[roles.summed.len()..]);
        let terms = self.terms(node.inputs[input], roles, &table.values().unwrap_or_default(), outputs)?;
        let (shape, rows) = self.shape(node.id.into())?;
        let places: Vec<usize> = roles.kept.iter().map(|(_, to)| shape[*to]).collect();
        let of_sum: Vec<usize> = places.iter().copied().chain([outputs]).collect();
        let is_in_order = roles.kept.iter().map(|(_, to)| *to).chain([places.len()]).eq(0..shape.len());
        let linear = Linear::new(terms, of_sum, if is_in_order { rows } else { None });
        if is_in_order && roles.made.len() <= 1 {
            return Ok(Value::Linear(linear));
        }
        // From [kept.., outputs] to the order of the result; an axis that neither has is of length 1.
        let out = self.compute(&linear, None)?;
        let mut strides = vec![0; shape.len()];
        roles.kept.iter().zip(&out.strides).for_each(|((_, to), stride)| strides[*to] = *stride);
        let made: Vec<usize> = roles.made.iter().map(|(_, to)| shape[*to]).collect();
        roles.made.iter().zip(contiguous(&made)).for_each(|((_, to), stride)| strides[*to] = stride);
        Ok(Value::View(View { shape, strides, rows, ..out }))
    }

    /// The terms of a layer over a value: over its parts, or over what it is the sum of, if each is needed less often.
    fn terms(&mut self, outlet: OutletId, roles: &Roles, weights: &[f32], outputs: usize) -> Lowered<Vec<Term>> {
        let has_parts = matches!(self.values[&outlet], Value::Parts(_)) || self.groups.contains_key(&outlet);
        if let (true, [(last, _)]) = (has_parts, roles.summed.as_slice()) {
            let parts = self.groups(outlet)?;
            if parts.of_request.iter().chain(&parts.of_candidates).all(|(view, _)| view.shape.len() == *last + 1) {
                let groups = [parts.of_request, parts.of_candidates].into_iter().flatten();
                let rows_of = |range: &std::ops::Range<usize>| &weights[range.start * outputs..range.end * outputs];
                let terms = groups.map(|(view, ranges)| {
                    let weights = ranges.iter().flat_map(rows_of).copied().collect();
                    self.term(&view, roles, weights)
                });
                return terms.collect();
            }
        }
        let whole = self.view(outlet)?;
        let whole = self.term(&whole, roles, weights.to_vec())?;
        let Some(parts) = self.sums.get(&outlet).cloned() else { return Ok(vec![whole]) };
        let mut terms = Vec::new();
        for (part, is_less) in parts {
            let weights = weights.iter().map(|weight| if is_less { -weight } else { *weight }).collect();
            terms.push(self.term(&part, roles, weights)?);
        }
        let is_rarer = |term: &Term| {
            !term.input.is_of_candidates() || count(&term.input.shape) < count(&whole.input.shape)
        };
        let is_split = whole.input.is_of_candidates() && terms.iter().all(is_rarer);
        Ok(if is_split { terms } else { vec![whole] })
    }

    /// A value as the input of a layer: `[kept.., inputs]`, once where it repeats.
    fn term(&mut self, view: &View, roles: &Roles, weights: Vec<f32>) -> Lowered<Term> {
        let order: Vec<usize> = roles.kept.iter().chain(&roles.summed).map(|(from, _)| *from).collect();
        let mut input = permuted(view, &order);
        input.rows = None;
        for axis in 0..roles.kept.len() {
            if input.strides[axis] == 0 {
                input = input.slice(axis, 0, 1);
            }
        }
        let kept = input.shape[..roles.kept.len()].to_vec();
        let summed = input.axes(roles.kept.len()..order.len());
        let step = match one_stride(&summed, roles.summed.len()) {
            Some(step) => step,
            None => {
                input = self.emitter.contiguous(&input)?;
                1
            }
        };
        let (mut shape, mut strides) = (kept, input.strides[..roles.kept.len()].to_vec());
        shape.push(count(&summed.shape));
        strides.push(step);
        Ok(Term { input: View { shape, strides, ..input }, weights })
    }

    /// Any other contraction: products added up over the axes that are not in the result.
    pub(super) fn contract(&mut self, node: &TypedNode, axes: &AxesMapping) -> Lowered<View> {
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
