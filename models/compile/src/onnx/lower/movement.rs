//! Values in other places: axes moved and split, parts cut out and put together, rows picked. Most are a way to view what is
//! there and write no step.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::AxisOp;
use tract_onnx::tract_core::ops::Downsample;
use tract_onnx::tract_core::ops::array::{Pad, PadMode, Slice, Tile};
use tract_onnx::tract_hir::internal::{DimLike, ToDim};

use super::super::emit::{View, contiguous, count};
use super::select::insert_axis;
use super::{ACROSS, Lowered, Lowering, Value, refuse, unsupported};

impl Lowering<'_> {
    pub(super) fn concat(&mut self, node: &TypedNode, axis: usize) -> Lowered<Value> {
        let (shape, rows) = self.shape(node.id.into())?;
        if rows == Some(axis) {
            return Err(unsupported("a concatenation of candidates", ACROSS));
        }
        if axis + 1 == shape.len() {
            let parts = node.inputs.iter().map(|input| self.parts(*input)).collect::<Lowered<Vec<_>>>()?;
            return Ok(Value::Parts(parts.concat()));
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

    pub(super) fn slice(&mut self, node: &TypedNode, op: &Slice) -> Lowered<Value> {
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

    pub(super) fn axis(&mut self, node: &TypedNode, op: &AxisOp) -> Lowered<View> {
        let mut view = self.view(node.inputs[0])?;
        let (shape, rows) = self.shape(node.id.into())?;
        view.rows = rows;
        view.layer = view.layer.filter(|_| self.is_sole_reader(node, 0));
        match op {
            AxisOp::Add(at) => {
                view.shape.insert(*at, 1);
                view.strides.insert(*at, 0);
            }
            AxisOp::Rm(at) => {
                view.shape.remove(*at);
                view.strides.remove(*at);
            }
            AxisOp::Move(from, to) => {
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
                let strides = contiguous(&shape);
                view = View { shape, strides, rows, ..packed };
            }
        }
        Ok(view)
    }

    pub(super) fn gather(&mut self, node: &TypedNode, axis: usize) -> Lowered<View> {
        let (table, ids) = (self.view(node.inputs[0])?, self.view(node.inputs[1])?);
        let (shape, rows) = self.shape(node.id.into())?;
        if let Some(picked) = ids.values() {
            return self.pick(&table, axis, &ids, &picked, (shape, rows));
        }
        if axis != 0 || !table.is_constant() {
            return self.gather_computed(node, axis);
        }
        let table = View::constant(table.values().unwrap_or_default(), table.shape.clone());
        let packed = if ids.is_contiguous() { ids } else { self.emitter.contiguous(&ids)? };
        let out = self.emitter.gather(&table, count(&table.shape[1..]), &packed);
        Ok(View { strides: contiguous(&shape), shape, rows, ..out })
    }

    /// Known indices of an axis: a view for one, copies for many.
    pub(super) fn pick(
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
        Ok(View { strides: contiguous(&shape), shape, rows, ..out })
    }

    /// A view in a larger shape, which may have more axes before.
    pub(super) fn spread(&mut self, node: &TypedNode) -> Lowered<View> {
        let (shape, rows) = self.shape(node.id.into())?;
        let mut view = self.view(node.inputs[0])?;
        while view.shape.len() < shape.len() {
            insert_axis(&mut view, 0, 1, 0);
        }
        Ok(View { rows, ..view.broadcast(&shape) })
    }

    pub(super) fn tile(&mut self, node: &TypedNode, op: &Tile) -> Lowered<View> {
        let from = self.view(node.inputs[0])?;
        let (shape, rows) = self.shape(node.id.into())?;
        if from.rows.is_some_and(|rows| op.multipliers[rows] != 1.to_dim()) {
            return Err(unsupported("a repetition of the candidates", ACROSS));
        }
        let out = self.emitter.allocate(from.is_of_candidates(), &shape, rows);
        // Each axis as two: how often, and what.
        let axes = (0..shape.len()).flat_map(|axis| {
            let (repeats, size) = (shape[axis] / from.shape[axis], from.shape[axis]);
            [(repeats, size * out.strides[axis], 0), (size, out.strides[axis], from.strides[axis])]
        });
        let axes: Vec<(usize, usize, usize)> = axes.collect();
        let split = |view: &View, strides: Vec<usize>| View {
            shape: axes.iter().map(|axis| axis.0).collect(),
            strides,
            rows: None,
            layer: None,
            ..view.clone()
        };
        let into = split(&out, axes.iter().map(|axis| axis.1).collect());
        let from = split(&from, axes.iter().map(|axis| axis.2).collect());
        self.emitter.copy(&into, &from)?;
        Ok(out)
    }

    /// Each index of an axis a number of times, one after the other.
    pub(super) fn repeated(&mut self, node: &TypedNode, times: &[usize]) -> Lowered<View> {
        let from = self.view(node.inputs[0])?;
        let (shape, rows) = self.shape(node.id.into())?;
        if rows.is_some_and(|rows| times[rows] != 1) {
            return Err(unsupported("a repetition of the candidates", ACROSS));
        }
        let out = self.emitter.allocate(from.is_of_candidates(), &shape, rows);
        let (mut into, mut from) = (out.clone(), from);
        for axis in (0..shape.len()).rev() {
            (into.shape[axis], into.strides[axis]) = (from.shape[axis], out.strides[axis] * times[axis]);
            insert_axis(&mut into, axis + 1, times[axis], out.strides[axis]);
            insert_axis(&mut from, axis + 1, times[axis], 0);
        }
        let bare = |view: View| View { rows: None, layer: None, ..view };
        self.emitter.copy(&bare(into), &bare(from))?;
        Ok(out)
    }

    /// Every n-th of an axis, from its start or, with a negative step, from its end.
    pub(super) fn every(&mut self, node: &TypedNode, op: &Downsample) -> Lowered<View> {
        let mut from = self.view(node.inputs[0])?;
        let (shape, rows) = self.shape(node.id.into())?;
        if rows == Some(op.axis) {
            return Err(unsupported("a slice of the candidates", ACROSS));
        }
        let (step, len) = (op.stride.unsigned_abs(), shape[op.axis]);
        if op.stride > 0 {
            from = from.slice(op.axis, op.modulo, len);
            from.strides[op.axis] *= step;
            return Ok(from);
        }
        // A place has no way back: one copy for each.
        let out = self.emitter.allocate(from.is_of_candidates(), &shape, rows);
        let last = from.shape[op.axis] - 1;
        for at in 0..len {
            self.emitter.copy(&out.slice(op.axis, at, 1), &from.slice(op.axis, last - at * step, 1))?;
        }
        Ok(out)
    }

    pub(super) fn pad(&mut self, node: &TypedNode, op: &Pad) -> Lowered<View> {
        let from = self.view(node.inputs[0])?;
        let (shape, rows) = self.shape(node.id.into())?;
        if rows.is_some_and(|rows| op.pads[rows] != (0, 0)) {
            return Err(unsupported("candidates that are padded", ACROSS));
        }
        let out = self.emitter.allocate(from.is_of_candidates(), &shape, rows);
        if let PadMode::Constant(value) = &op.mode {
            let value = value.cast_to_scalar::<f32>().map_err(|_| refuse(node))?;
            if value != 0.0 {
                self.emitter.copy(&out, &View::scalar(value, shape.len()).broadcast(&shape))?;
            }
        }
        let mut inner = out.clone();
        for (axis, (before, _)) in op.pads.iter().enumerate() {
            inner = inner.slice(axis, *before, from.shape[axis]);
        }
        self.emitter.copy(&inner, &from)?;
        if matches!(op.mode, PadMode::Reflect | PadMode::Edge) {
            self.pad_from_inside(&out, &from.shape, op)?;
        }
        Ok(out)
    }

    /// Fills what is around a value with copies of it, axis by axis.
    fn pad_from_inside(&mut self, out: &View, inner: &[usize], op: &Pad) -> Lowered<()> {
        for (axis, (before, after)) in op.pads.iter().copied().enumerate() {
            let (first, last) = (before, before + inner[axis] - 1);
            let is_edge = matches!(op.mode, PadMode::Edge);
            if !is_edge && before.max(after) >= inner[axis] {
                return Err(unsupported("a padding that reflects more than there is", "pad less"));
            }
            let low = (1..=before).map(|by| (first - by, if is_edge { first } else { first + by }));
            let high = (1..=after).map(|by| (last + by, if is_edge { last } else { last - by }));
            for (to, from) in low.chain(high).collect::<Vec<_>>() {
                self.emitter.copy(&out.slice(axis, to, 1), &out.slice(axis, from, 1))?;
            }
        }
        Ok(())
    }
}
