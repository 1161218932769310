//! Programs that give back every number of an output, and not one score: for the measure of operator coverage.

use std::ops::Range;

use selvedge_format::graph::{Combination, Function};
use tract_onnx::prelude::*;

use super::super::emit::{View, count};
use super::{Lowered, Lowering, Value, features};

impl Lowering<'_> {
    /// Lowers everything to a section whose score is one number of a part of an output, in their order: the one that the
    /// feature `index` names.
    pub(in crate::onnx) fn run_part(
        mut self,
        inputs: Vec<(OutletId, Value)>,
        output: OutletId,
        range: Range<usize>,
        index: usize,
    ) -> Lowered<Vec<u8>> {
        self.shape(output)?;
        self.nodes(inputs)?;
        let view = self.view(output)?;
        let view = self.emitter.contiguous(&view)?;
        let (shape, strides) = (vec![count(&view.shape)], vec![1]);
        let part = View { shape, strides, rows: None, layer: None, ..view }.slice(0, range.start, range.len());
        let numbers = (0..range.len()).map(|number| number as f32).collect();
        let numbers = View::constant(numbers, vec![range.len()]);
        let is_named = self.apply(Function::Equal, &features(index, vec![1], None, false), &numbers)?;
        let score = self.emitter.allocate(true, &[1], None);
        let into = score.broadcast(&[range.len()]);
        self.emitter.each(Function::Left, Combination::Select, &into, &is_named, &part)?;
        self.emitter.finish(&score)
    }
}
