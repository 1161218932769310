//! Values in other places: axes moved and split, parts cut out and put together, rows picked. Most are a way to view what is
//! there and write no step.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::AxisOp;
use tract_onnx::tract_core::ops::array::{Pad, PadMode, Slice};
use tract_onnx::tract_hir::internal::DimLike;

use super::super::emit::{View, contiguous, count};
use super::{ACROSS, Lowered, Lowering, Value, refuse, unsupported};

impl Lowering<'_> {
    pub(super) fn concat(&mut self, node: &TypedNode, axis: usize) -> Lowered<Value> {
        let (shape, rows) = self.shape(node.id.into())?;
        if rows == Some(axis) {
            return Err(unsupported("a concatenation of candidates", ACROSS));
        }
        if axis + 1 == shape.len() {
            let parts = node.inputs.iter().map(|input| match &self.values[input] {
                Value::View(view) => vec![view.clone()],
                Value::Parts(parts) => parts.clone(),
                Value::Linear(_) => Vec::new(),
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
            return Err(unsupported("a gather of computed values by computed ids", "gather rows of a constant table"));
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

    pub(super) fn pad(&mut self, node: &TypedNode, op: &Pad) -> Lowered<View> {
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
}
