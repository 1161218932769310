//! Programs that give back every number of every output, and not one score: for the measure of operator coverage.

use selvedge_format::graph::{Combination, Function};
use tract_onnx::prelude::*;

use super::super::emit::{View, contiguous, count};
use super::{Lowered, Lowering, Value, features};

impl Lowering<'_> {
    /// Lowers everything to a section whose score is one number of the outputs, in their order: the one that the feature
    /// `index` names.
    pub(in crate::onnx) fn run_each(
        mut self,
        inputs: Vec<(OutletId, Value)>,
        outputs: &[OutletId],
        index: usize,
    ) -> Lowered<Vec<u8>> {
        outputs.iter().try_for_each(|output| self.shape(*output).map(drop))?;
        self.nodes(inputs)?;
        let views = outputs.iter().map(|output| self.view(*output)).collect::<Lowered<Vec<_>>>()?;
        let number = views.iter().map(|view| count(&view.shape)).sum();
        let all = self.emitter.allocate(views.iter().any(View::is_of_candidates), &[number], None);
        let mut at = 0;
        for view in views {
            let strides = contiguous(&view.shape);
            let place = all.slice(0, at, count(&view.shape));
            at += count(&view.shape);
            self.emitter.copy(&View { shape: view.shape.clone(), strides, ..place }, &view)?;
        }
        let index = features(index, vec![1], None, false);
        let numbers = View::constant((0..number).map(|number| number as f32).collect(), vec![number]);
        let is_named = self.apply(Function::Equal, &index, &numbers)?;
        let score = self.emitter.allocate(true, &[1], None);
        self.emitter.each(Function::Left, Combination::Select, &score.broadcast(&[number]), &is_named, &all)?;
        self.emitter.finish(&score)
    }
}
