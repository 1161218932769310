//! Products: dense layers with packed weights where one operand is learnt, and a step that multiplies and adds otherwise.

use selvedge_format::graph::{Combination, Function, PANEL};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::AxesMapping;
use tract_onnx::tract_core::ops::einsum::EinSum;

use super::super::emit::{Rows, View, contiguous, count};
use super::linear::{Linear, Term, one_stride};
use super::{Lowered, Lowering, Value, permuted, refuse};

/// What the axes of a product with learnt weights are.
#[derive(Default)]
struct Roles {
    /// Of the value and of the result; one of length 1 the result may have alone.
    kept: Vec<(Option<usize>, usize)>,
    /// Of the value and of the weights.
    summed: Vec<(usize, usize)>,
    /// Of the weights and of the result.
    made: Vec<(usize, usize)>,
    /// The result's axis of the outputs, if they have one.
    axis: Option<usize>,
}

impl Roles {
    /// Axes of the weights as a layer has them: inputs, then outputs.
    fn order_of_weights(&self) -> Vec<usize> {
        self.summed.iter().map(|(_, by)| *by).chain(self.made.iter().map(|(by, _)| *by)).collect()
    }
}

/// The first axes as one and the others as one, if each have one step.
fn flat(view: &View, first: usize) -> Option<View> {
    let parts = [view.axes(0..first), view.axes(first..view.shape.len())];
    let [Some(outer), Some(inner)] = parts.each_ref().map(|part| one_stride(part, part.shape.len())) else {
        return None;
    };
    let shape = parts.iter().map(|part| count(&part.shape)).collect();
    Some(View { shape, strides: vec![outer, inner], ..parts[0].clone() })
}

impl Lowering<'_> {
    pub(super) fn einsum(&mut self, node: &TypedNode, op: &EinSum) -> Lowered<Value> {
        if op.q_params.is_some()
            || node.inputs.len() > 2
            || op.axes.iter_all_axes().any(|axis| axis.outputs[0].len() > 1)
        {
            return Err(refuse(node));
        }
        let repeats = op.axes.iter_all_axes().any(|axis| axis.inputs.iter().any(|at| at.len() > 1));
        if repeats || node.inputs.len() == 1 {
            return self.contract(node, &op.axes).map(Value::View);
        }
        for (weights, input) in [(1, 0), (0, 1)] {
            let is_constant = matches!(&self.values[&node.inputs[weights]], Value::View(view) if view.is_constant());
            if is_constant && let Some(roles) = self.roles(node, &op.axes, weights, input)? {
                return self.dense(node, &roles, weights, input);
            }
        }
        for (weights, input) in [(1, 0), (0, 1)] {
            if let Some(view) = self.attend(node, &op.axes, weights, input)? {
                return Ok(Value::View(view));
            }
        }
        self.contract(node, &op.axes).map(Value::View)
    }

    /// A product of the candidates with what the request tells: of a query with the keys of a history, of weights with its values.
    /// It is a dense layer whose weights are the request's.
    fn attend(&mut self, node: &TypedNode, axes: &AxesMapping, weights: usize, input: usize) -> Lowered<Option<View>> {
        let (table, value) = (self.view(node.inputs[weights])?, self.view(node.inputs[input])?);
        if table.is_constant() || table.is_of_candidates() || !value.is_of_candidates() {
            return Ok(None);
        }
        let Some(roles) = self.roles(node, axes, weights, input)? else { return Ok(None) };
        let outputs: usize = roles.made.iter().map(|(by, _)| table.shape[*by]).product();
        let is_over_list = roles.summed.iter().any(|(from, _)| value.rows == Some(*from));
        // Fewer outputs than a panel has would leave most of it idle.
        if is_over_list || outputs < PANEL {
            return Ok(None);
        }
        let term = self.term(&value, &roles, Vec::new())?;
        let input = self.readable(&term.input)?;
        let last = input.shape.len() - 1;
        let table = permuted(&table, &roles.order_of_weights());
        let table = match flat(&table, roles.summed.len()) {
            Some(flat) => flat,
            None => {
                let copy = self.emitter.contiguous(&table)?;
                flat(&copy, roles.summed.len()).ok_or_else(|| refuse(node))?
            }
        };
        let mut shape_of_out = input.shape.clone();
        shape_of_out[last] = outputs;
        let out = self.emitter.allocate(true, &shape_of_out, None);
        let rows_of = |view| Rows { view, stride: one_stride(view, last).unwrap_or(0) };
        let positions = count(&input.shape[..last]);
        self.emitter.product_by_request((rows_of(&input), rows_of(&out)), positions, &table)?;
        self.result(node, &roles, &out).map(Some)
    }

    /// What a layer computed as `[kept.., outputs]`, in the order of the node's result.
    fn result(&self, node: &TypedNode, roles: &Roles, out: &View) -> Lowered<View> {
        let (shape, rows) = self.shape(node.id.into())?;
        let mut strides = vec![0; shape.len()];
        for ((_, to), (size, stride)) in roles.kept.iter().zip(out.shape.iter().zip(&out.strides)) {
            strides[*to] = if *size == 1 { 0 } else { *stride };
        }
        let made: Vec<usize> = roles.made.iter().map(|(_, to)| shape[*to]).collect();
        roles.made.iter().zip(contiguous(&made)).for_each(|((_, to), stride)| strides[*to] = stride);
        Ok(View { shape, strides, rows, ..out.clone() })
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
                (Some(from), None, Some(to)) => roles.kept.push((Some(from), to)),
                (Some(from), Some(by), Some(to)) if of_weights[by] == 1 => roles.kept.push((Some(from), to)),
                (Some(from), Some(by), None) if of_input[from] == of_weights[by] => roles.summed.push((from, by)),
                (_, Some(by), Some(to)) if is_one => roles.made.push((by, to)),
                (Some(_), None, None) if is_one => {}
                (None, Some(by), None) if of_weights[by] == 1 => {}
                (None, None, Some(to)) => roles.kept.push((None, to)),
                _ => return Ok(None),
            }
        }
        let alone = roles.kept.iter().position(|(from, _)| from.is_none()).filter(|_| roles.made.is_empty());
        if let Some(at) = alone {
            // One output, on the axis that the result has alone; the weights have none for it.
            roles.axis = Some(roles.kept.remove(at).1);
        }
        if let [(_, to)] = roles.made.as_slice() {
            roles.axis = Some(*to);
        }
        roles.kept.sort_by_key(|(_, to)| *to);
        roles.made.sort_by_key(|(_, to)| *to);
        roles.summed.sort_unstable();
        Ok(Some(roles).filter(|roles| !roles.summed.is_empty()))
    }

    /// A product with learnt weights.
    fn dense(&mut self, node: &TypedNode, roles: &Roles, weights: usize, input: usize) -> Lowered<Value> {
        let table = self.view(node.inputs[weights])?;
        let table = permuted(&table, &roles.order_of_weights());
        let outputs = count(&table.shape[roles.summed.len()..]);
        let terms = self.terms(node.inputs[input], roles, &table.values().unwrap_or_default(), outputs)?;
        let (shape, rows) = self.shape(node.id.into())?;
        let mut of_sum: Vec<usize> = roles.kept.iter().map(|(_, to)| shape[*to]).collect();
        if let Some(axis) = roles.axis {
            of_sum.insert(axis, outputs);
            return Ok(Value::Linear(Linear::new(terms, &of_sum, axis, rows)));
        }
        // From [kept.., outputs] to the order of the result.
        of_sum.push(outputs);
        let out = self.compute(&Linear::new(terms, &of_sum, of_sum.len() - 1, None), None)?;
        self.result(node, roles, &out).map(Value::View)
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
        let is_rarer =
            |term: &Term| !term.input.is_of_candidates() || count(&term.input.shape) < count(&whole.input.shape);
        let is_split = whole.input.is_of_candidates() && terms.iter().all(is_rarer);
        Ok(if is_split { terms } else { vec![whole] })
    }

    /// A value as the input of a layer: `[kept.., inputs]`, once where it repeats.
    fn term(&mut self, view: &View, roles: &Roles, weights: Vec<f32>) -> Lowered<Term> {
        let mut input = View { rows: None, layer: None, ..view.clone() };
        (input.shape, input.strides) = roles
            .kept
            .iter()
            .map(|(from, _)| from.map_or((1, 0), |from| (view.shape[from], view.strides[from])))
            .map(|(size, stride)| (if stride == 0 { 1 } else { size }, stride))
            .chain(roles.summed.iter().map(|(from, _)| (view.shape[*from], view.strides[*from])))
            .unzip();
        let kept = roles.kept.len();
        if one_stride(&input.axes(kept..input.shape.len()), roles.summed.len()).is_none() {
            input = self.emitter.contiguous(&input)?;
        }
        let summed = input.axes(kept..input.shape.len());
        let step = one_stride(&summed, roles.summed.len()).unwrap_or(1);
        input.shape.splice(kept.., [count(&summed.shape)]);
        input.strides.splice(kept.., [step]);
        Ok(Term { input, weights })
    }

    /// Any other contraction: products added up over the axes that are not in the result. An axis that an operand has twice
    /// is its diagonal.
    pub(super) fn contract(&mut self, node: &TypedNode, axes: &AxesMapping) -> Lowered<View> {
        let operands = node.inputs.iter().map(|input| self.view(*input)).collect::<Lowered<Vec<_>>>()?;
        let (shape, rows) = self.shape(node.id.into())?;
        let out = self.emitter.allocate(operands.iter().any(View::is_of_candidates), &shape, rows);
        let originals: Vec<View> = std::iter::once(out.clone()).chain(operands).collect();
        let bare = |view: &View| View { shape: Vec::new(), strides: Vec::new(), ..view.clone() };
        let mut views: Vec<View> = originals.iter().map(bare).collect();
        let (mut all, mut is_over_list): (Vec<_>, bool) = (axes.iter_all_axes().collect(), false);
        all.sort_by_key(|axis| axis.outputs[0].first().map_or(usize::MAX, |at| *at));
        for axis in all {
            let at: Vec<&[usize]> = axis.outputs.iter().chain(&axis.inputs).map(|at| at.as_slice()).collect();
            let has_rows = originals.iter().zip(&at).any(|(view, at)| view.rows.is_some_and(|rows| at.contains(&rows)));
            is_over_list |= has_rows && at[0].is_empty();
            let sizes = originals.iter().zip(&at).flat_map(|(view, at)| at.iter().map(|at| view.shape[*at]));
            let size = sizes.max().unwrap_or(1);
            for ((view, original), at) in views.iter_mut().zip(&originals).zip(&at) {
                let strides = at.iter().filter(|at| original.shape[**at] > 1).map(|at| original.strides[*at]);
                view.strides.push(strides.sum());
                view.shape.push(size);
            }
        }
        let (function, right) = if views.len() == 3 { (Function::Multiply, 2) } else { (Function::Left, 1) };
        self.emitter.each(function, Combination::Add, &views[0], &views[1], &views[right])?;
        if is_over_list { self.pool(Function::Add, &out) } else { Ok(out) }
    }
}
