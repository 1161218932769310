//! Values that are found by comparing: rows by computed ids, places of extremes, the largest few, triangles, running sums.
//!
//! The engine has no jumps and needs none: an id is compared with every index at once, which gives a mask with the index as
//! its innermost axis, and one step selects along it. That costs as much as the axis is long, which in what ranks is a
//! history, a list of experts or a few buckets. The largest few are those with the fewest larger ones (a rank by counting).

use selvedge_format::graph::{Combination, Function};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::array::{CumSum, GatherElements, GatherNd, OneHot, Topk, Trilu};
use tract_onnx::tract_core::ops::nn::Reducer;

use super::super::emit::{View, contiguous, count};
use super::{ACROSS, Lowered, Lowering, Value, permuted, refuse, unsupported};

/// Puts an axis in before `at`.
pub(super) fn insert_axis(view: &mut View, at: usize, size: usize, stride: usize) {
    view.shape.insert(at, size);
    view.strides.insert(at, stride);
}

/// The view with a new innermost axis.
fn deeper(view: &View, size: usize, stride: usize) -> View {
    let mut deeper = View { layer: None, ..view.clone() };
    insert_axis(&mut deeper, view.shape.len(), size, stride);
    deeper
}

/// The view with `from` as its innermost axis, and an axis of one index where it was.
fn innermost(view: &View, axis: usize) -> View {
    let mut turned = deeper(view, view.shape[axis], view.strides[axis]);
    (turned.shape[axis], turned.strides[axis]) = (1, 0);
    turned
}

fn indices(number: usize) -> Vec<f32> {
    (0..number).map(|index| index as f32).collect()
}

impl Lowering<'_> {
    /// The values of a node of this family, by output; nothing if it is of another.
    pub(super) fn selection(&mut self, node: &TypedNode) -> Lowered<Option<Vec<Value>>> {
        let op: &dyn TypedOp = node.op.as_ref();
        let view = if let Some(op) = op.downcast_ref::<Topk>() {
            return self.largest(node, op).map(Some);
        } else if let Some(op) = op.downcast_ref::<GatherElements>() {
            self.gather_elements(node, op.axis)?
        } else if let Some(op) = op.downcast_ref::<GatherNd>() {
            self.gather_nd(node, op.batch_dims)?
        } else if let Some(op) = op.downcast_ref::<OneHot>() {
            self.one_hot(node, op)?
        } else if let Some(op) = op.downcast_ref::<Trilu>() {
            self.triangle(node, op.upper)?
        } else if let Some(op) = op.downcast_ref::<CumSum>() {
            self.running_sum(node, op)?
        } else {
            return Ok(None);
        };
        Ok(Some(vec![Value::View(view)]))
    }

    fn whole_axis(&self, view: &View, axis: usize) -> Lowered<()> {
        if view.rows == Some(axis) {
            return Err(unsupported("a selection among the candidates", ACROSS));
        }
        Ok(())
    }

    /// Ids of which the negative ones count from the end.
    fn forward(&mut self, ids: &View, size: usize) -> Lowered<View> {
        let is_negative = self.with(Function::Less, ids, 0.0)?;
        let turn = self.with(Function::Multiply, &is_negative, size as f32)?;
        self.apply(Function::Add, ids, &turn)
    }

    /// 1 where an id is the index of a new innermost axis of `size`.
    fn mask(&mut self, ids: &View, size: usize) -> Lowered<View> {
        let mut shape = vec![1; ids.shape.len()];
        shape.push(size);
        self.apply(Function::Equal, &deeper(ids, 1, 0), &View::constant(indices(size), shape))
    }

    /// Selects along the innermost axis of `mask` and `from`, which are broadcast to each other; NaN where nothing is.
    pub(super) fn selected(&mut self, mask: &View, from: &View) -> Lowered<View> {
        let shape: Vec<usize> = mask.shape.iter().zip(&from.shape).map(|(mask, from)| *mask.max(from)).collect();
        let outer = &shape[..shape.len() - 1];
        let of_candidates = mask.is_of_candidates() || from.is_of_candidates();
        let out = self.emitter.allocate(of_candidates, outer, mask.rows.or(from.rows));
        let zero = View::scalar(0.0, outer.len()).broadcast(outer);
        self.emitter.each(Function::Divide, Combination::Store, &out, &zero, &zero)?;
        let into = deeper(&out, shape[outer.len()], 0);
        self.emitter.each(
            Function::Left,
            Combination::Select,
            &into,
            &mask.broadcast(&shape),
            &from.broadcast(&shape),
        )?;
        Ok(out)
    }

    fn gather_elements(&mut self, node: &TypedNode, axis: usize) -> Lowered<View> {
        let (data, ids) = (self.view(node.inputs[0])?, self.view(node.inputs[1])?);
        self.whole_axis(&data, axis)?;
        let size = data.shape[axis];
        let ids = self.forward(&ids, size)?;
        let mask = self.mask(&ids, size)?;
        let mut from = innermost(&data, axis);
        // The ids may reach over less than the data.
        (0..ids.shape.len()).filter(|at| *at != axis).for_each(|at| from.shape[at] = ids.shape[at]);
        self.selected(&mask, &from)
    }

    /// Rows of computed values by computed ids.
    pub(super) fn gather_computed(&mut self, node: &TypedNode, axis: usize) -> Lowered<View> {
        let (data, ids) = (self.view(node.inputs[0])?, self.view(node.inputs[1])?);
        self.whole_axis(&data, axis)?;
        let (shape, rows) = self.shape(node.id.into())?;
        let size = data.shape[axis];
        let ids = self.forward(&ids, size)?;
        let mut mask = self.mask(&ids, size)?;
        // [before, ids, after, size], of which the mask has the ids and the data the rest.
        let (before, after) = (axis, data.shape.len() - axis - 1);
        for _ in 0..before {
            insert_axis(&mut mask, 0, 1, 0);
        }
        for _ in 0..after {
            let last = mask.shape.len() - 1;
            insert_axis(&mut mask, last, 1, 0);
        }
        let mut from = deeper(&data, size, data.strides[axis]);
        from.shape.remove(axis);
        from.strides.remove(axis);
        for _ in 0..ids.shape.len() {
            insert_axis(&mut from, axis, 1, 0);
        }
        let out = self.selected(&mask, &from)?;
        Ok(View { strides: contiguous(&shape), shape, rows, ..out })
    }

    fn gather_nd(&mut self, node: &TypedNode, batch: usize) -> Lowered<View> {
        let (data, ids) = (self.view(node.inputs[0])?, self.view(node.inputs[1])?);
        let (shape, rows) = self.shape(node.id.into())?;
        let last = ids.shape.len() - 1;
        let depth = ids.shape[last];
        (batch..batch + depth).try_for_each(|axis| self.whole_axis(&data, axis))?;
        let data = self.emitter.contiguous(&data)?;
        let picked = &data.shape[batch..batch + depth];
        let (size, inner) = (count(picked), count(&data.shape[batch + depth..]));
        let mut place: Option<View> = None;
        for (at, axis_size) in picked.iter().enumerate() {
            let mut id = ids.slice(last, at, 1);
            id.shape.pop();
            id.strides.pop();
            let id = self.forward(&id, *axis_size)?;
            let id = self.with(Function::Multiply, &id, count(&picked[at + 1..]) as f32)?;
            place = Some(match place {
                Some(place) => self.apply(Function::Add, &place, &id)?,
                None => id,
            });
        }
        let place = place.ok_or_else(|| refuse(node))?;
        // [batch, ids, inner, size], of which the mask has batch and ids.
        let mut mask = self.mask(&place, size)?;
        let at = mask.shape.len() - 1;
        insert_axis(&mut mask, at, 1, 0);
        let mut from = View { layer: None, ..data.clone() };
        from.shape.truncate(batch);
        from.strides.truncate(batch);
        for _ in batch..last {
            insert_axis(&mut from, batch, 1, 0);
        }
        from.shape.extend([inner, size]);
        from.strides.extend([1, inner]);
        let out = self.selected(&mask, &from)?;
        Ok(View { strides: contiguous(&shape), shape, rows, ..out })
    }

    fn one_hot(&mut self, node: &TypedNode, op: &OneHot) -> Lowered<View> {
        let ids = self.view(node.inputs[0])?;
        let ids = self.forward(&ids, op.dim)?;
        let mask = self.mask(&ids, op.dim)?;
        let value = |tensor: &Tensor| tensor.cast_to_scalar::<f32>().map_err(|_| refuse(node));
        let (on, off) = (value(&op.on)?, value(&op.off)?);
        let out = self.emitter.allocate(mask.is_of_candidates(), &mask.shape, mask.rows);
        self.emitter.copy(&out, &View::scalar(off, mask.shape.len()).broadcast(&mask.shape))?;
        let on = View::scalar(on, mask.shape.len()).broadcast(&mask.shape);
        self.emitter.each(Function::Left, Combination::Select, &out, &mask, &on)?;
        let mut order: Vec<usize> = (0..ids.shape.len()).collect();
        order.insert(op.axis, ids.shape.len());
        Ok(permuted(&out, &order))
    }

    fn triangle(&mut self, node: &TypedNode, is_upper: bool) -> Lowered<View> {
        let x = self.view(node.inputs[0])?;
        let diagonal = self.view(node.inputs[1])?.values().and_then(|values| values.first().copied());
        let diagonal = diagonal.ok_or_else(|| unsupported("a Trilu whose k is computed", "export it as a constant"))?;
        let rank = x.shape.len();
        let (height, width) = (x.shape[rank - 2], x.shape[rank - 1]);
        (rank - 2..rank).try_for_each(|axis| self.whole_axis(&x, axis))?;
        let is_kept = |at: usize| {
            let beyond = (at % width) as f32 - (at / width) as f32 - diagonal;
            if is_upper { beyond >= 0.0 } else { beyond <= 0.0 }
        };
        let mask = (0..height * width).map(|at| f32::from(u8::from(is_kept(at)))).collect();
        let mut shape = vec![1; rank - 2];
        shape.extend([height, width]);
        let mask = View::constant(mask, shape).broadcast(&x.shape);
        let out = self.zeros(&x, &x.shape)?;
        self.emitter.each(Function::Left, Combination::Select, &out, &mask, &x)?;
        Ok(out)
    }

    /// A place for a result that is 0 where nothing is written, with the same dependence as `like`.
    fn zeros(&mut self, like: &View, shape: &[usize]) -> Lowered<View> {
        let out = self.emitter.allocate(like.is_of_candidates(), shape, like.rows);
        self.emitter.copy(&out, &View::scalar(0.0, shape.len()).broadcast(shape))?;
        Ok(out)
    }

    fn running_sum(&mut self, node: &TypedNode, op: &CumSum) -> Lowered<View> {
        let x = self.view(node.inputs[0])?;
        self.whole_axis(&x, op.axis)?;
        let size = x.shape[op.axis];
        let out = self.zeros(&x, &x.shape)?;
        let place = |at: usize| if op.reverse { size - 1 - at } else { at };
        for at in 0..size {
            let Some(added) = at.checked_sub(usize::from(op.exclusive)) else { continue };
            let (to, from) = (out.slice(op.axis, place(at), 1), x.slice(op.axis, place(added), 1));
            match at {
                0 => self.emitter.copy(&to, &from)?,
                _ => {
                    let before = out.slice(op.axis, place(at - 1), 1);
                    self.emitter.each(Function::Add, Combination::Store, &to, &before, &from)?;
                }
            }
        }
        Ok(out)
    }

    /// The index of an extreme along an axis: the first or the last of equal ones.
    pub(super) fn place_of_extreme(&mut self, from: &View, axes: &[usize], reducer: Reducer) -> Lowered<View> {
        let [axis] = axes else { return Err(unsupported("an index over several axes", "reduce one axis")) };
        let (extreme, is_last) = match reducer {
            Reducer::ArgMax(is_last) => (Reducer::Max, is_last),
            Reducer::ArgMin(is_last) => (Reducer::Min, is_last),
            other => return Err(unsupported(format!("the reduction {other:?}"), "use another")),
        };
        let size = from.shape[*axis];
        let extreme = self.reduce(from, axes, extreme)?;
        let is_there = self.apply(Function::Equal, from, &extreme)?;
        let mut shape = vec![1; from.shape.len()];
        shape[*axis] = size;
        let index = View::constant(indices(size), shape);
        let (none, first) = if is_last { (0.0, Reducer::Max) } else { (size as f32 - 1.0, Reducer::Min) };
        let places = self.emitter.allocate(from.is_of_candidates(), &from.shape, from.rows);
        self.emitter.copy(&places, &View::scalar(none, from.shape.len()).broadcast(&from.shape))?;
        let index = index.broadcast(&from.shape);
        self.emitter.each(Function::Left, Combination::Select, &places, &is_there, &index)?;
        self.reduce(&places, axes, first)
    }

    fn largest(&mut self, node: &TypedNode, op: &Topk) -> Lowered<Vec<Value>> {
        let x = self.view(node.inputs[0])?;
        self.whole_axis(&x, op.axis)?;
        let (shape, _) = self.shape(node.id.into())?;
        let (size, kept, rank) = (x.shape[op.axis], shape[op.axis], x.shape.len());
        // [.., size, .., size]: the other one innermost.
        let (this, other) = (deeper(&x, 1, 0), innermost(&x, op.axis));
        let (low, high) = if op.largest { (&this, &other) } else { (&other, &this) };
        let before = self.apply(Function::Less, low, high)?;
        let equal = self.apply(Function::Equal, &this, &other)?;
        let earlier = (0..size * size).map(|at| f32::from(u8::from(at % size < at / size))).collect();
        let mut square = vec![1; rank + 1];
        (square[op.axis], square[rank]) = (size, size);
        let equal = self.apply(Function::Multiply, &equal, &View::constant(earlier, square))?;
        let before = self.apply(Function::Add, &before, &equal)?;
        let place = self.reduce(&before, &[rank], Reducer::Sum)?;
        // [.., kept, .., size]: which of them has the place.
        let place = View { shape: x.shape.clone(), strides: place.strides[..rank].to_vec(), ..place };
        let mut wanted = vec![1; rank + 1];
        wanted[op.axis] = kept;
        let mask =
            self.apply(Function::Equal, &innermost(&place, op.axis), &View::constant(indices(kept), wanted.clone()))?;
        let mut along = vec![1; rank + 1];
        along[rank] = size;
        let values = self.selected(&mask, &other)?;
        let places = self.selected(&mask, &View::constant(indices(size), along))?;
        Ok(vec![Value::View(values), Value::View(places)])
    }
}
