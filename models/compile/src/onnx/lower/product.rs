//! Products: dense layers with packed weights where one operand is learnt, and a step that multiplies and adds otherwise.

use selvedge_format::graph::{Combination, Function};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::AxesMapping;
use tract_onnx::tract_core::ops::einsum::EinSum;

use super::super::emit::{View, contiguous, count};
use super::{ACROSS, Lowered, Lowering, Value, permuted, refuse, unsupported};

impl Lowering<'_> {
    pub(super) fn einsum(&mut self, node: &TypedNode, op: &EinSum) -> Lowered<View> {
        if op.q_params.is_some()
            || node.inputs.len() > 2
            || op.axes.iter_all_axes().any(|axis| axis.outputs[0].len() > 1)
        {
            return Err(refuse(node));
        }
        let repeats = op.axes.iter_all_axes().any(|axis| axis.inputs.iter().any(|at| at.len() > 1));
        if repeats || node.inputs.len() == 1 {
            return self.contract(node, &op.axes);
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
    pub(super) fn dense(
        &mut self,
        node: &TypedNode,
        axes: &AxesMapping,
        weights: usize,
        input: usize,
    ) -> Lowered<Option<View>> {
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
        let packed = contiguous(&made_shape.collect::<Vec<_>>());
        let mut strides = vec![0; shape.len()];
        for (to, stride) in made_order.iter().zip(packed) {
            strides[*to] = if is_repeated(*to) { 0 } else { stride };
        }
        let is_last = made.len() == 1 && made[0].1 + 1 == shape.len();
        let layer = out.layer.filter(|_| is_last && repeated.is_empty());
        Ok(Some(View { shape, strides, rows, layer, ..out }))
    }

    /// The layer over parts: what the request contributes is where the candidates' sums start.
    pub(super) fn grouped(&mut self, outlet: OutletId, weights: &[f32], outputs: usize) -> Lowered<View> {
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

    /// Any other contraction: products added up over the axes that are not in the result. An axis that an operand has twice
    /// is its diagonal.
    pub(super) fn contract(&mut self, node: &TypedNode, axes: &AxesMapping) -> Lowered<View> {
        let operands = node.inputs.iter().map(|input| self.view(*input)).collect::<Lowered<Vec<_>>>()?;
        let (shape, rows) = self.shape(node.id.into())?;
        let out = self.emitter.allocate(operands.iter().any(View::is_of_candidates), &shape, rows);
        let originals: Vec<View> = std::iter::once(out.clone()).chain(operands).collect();
        let bare = |view: &View| View { shape: Vec::new(), strides: Vec::new(), ..view.clone() };
        let mut views: Vec<View> = originals.iter().map(bare).collect();
        let mut all: Vec<_> = axes.iter_all_axes().collect();
        all.sort_by_key(|axis| axis.outputs[0].first().map_or(usize::MAX, |at| *at));
        for axis in all {
            let at: Vec<&[usize]> = axis.outputs.iter().chain(&axis.inputs).map(|at| at.as_slice()).collect();
            let has_rows = originals.iter().zip(&at).any(|(view, at)| view.rows.is_some_and(|rows| at.contains(&rows)));
            if has_rows && at[0].is_empty() {
                return Err(unsupported("a product over the candidates", ACROSS));
            }
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
        Ok(out)
    }
}
