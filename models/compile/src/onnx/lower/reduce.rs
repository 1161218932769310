//! Many values to one: sums, products and extremes over axes, and what is made of them, softmax and norms. A reduction is a
//! step whose result has a stride of 0 along the axes that it goes over. Over the candidates it is a step of a list.

use selvedge_format::graph::{Combination, Function};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::nn::{Reducer, Softmax, SoftmaxKind};

use super::super::emit::View;
use super::{Lowered, Lowering, permuted, refuse};

impl Lowering<'_> {
    pub(super) fn reduce(&mut self, from: &View, axes: &[usize], reducer: Reducer) -> Lowered<View> {
        if let Some(rows) = from.rows.filter(|rows| axes.contains(rows)) {
            return self.reduce_list(from, axes, rows, reducer);
        }
        let (function, combination, start) = match reducer {
            Reducer::Sum => (Function::Left, Combination::Add, Some(0.0)),
            Reducer::MeanOfSquares => (Function::Multiply, Combination::Add, Some(0.0)),
            Reducer::Prod => (Function::Left, Combination::Multiply, Some(1.0)),
            Reducer::Max | Reducer::Any => (Function::Left, Combination::Max, None),
            Reducer::Min | Reducer::All => (Function::Left, Combination::Min, None),
            Reducer::ArgMax(_) | Reducer::ArgMin(_) => return self.place_of_extreme(from, axes, reducer),
        };
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

    pub(super) fn softmax(&mut self, node: &TypedNode, op: &Softmax) -> Lowered<View> {
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

    /// `x / sqrt(mean of squares + epsilon)`.
    pub(super) fn rms_norm(&mut self, node: &TypedNode, axis: usize, epsilon: &Tensor) -> Lowered<View> {
        let x = self.view(node.inputs[0])?;
        let epsilon = epsilon.cast_to_scalar::<f32>().map_err(|_| refuse(node))?;
        let size = self.reduce(&x, &[axis], Reducer::MeanOfSquares)?;
        let size = self.with(Function::Add, &size, epsilon)?;
        let size = self.unary(Function::Sqrt, &size)?;
        self.apply(Function::Divide, &x, &size)
    }
}
