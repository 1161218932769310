//! Transposed convolutions: every place of the input adds a patch to the output, and patches overlap.
//!
//! The patches of all places are a dense layer, `[places, channels]` times `[channels, kernel.., outputs]`, and one step adds
//! them up: of the output it sees a view with an axis for the places and one for the kernel, which share the memory of one
//! axis of the output. Patches as wide as their distance do not meet, and are stored with their bias. A transposed
//! convolution of single channels, or with computed weights, is multiplied and added in that one step.
//!
//! The output is made at full length; what padding cuts is left out by a view.

use selvedge_format::graph::{Combination, Function};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::cnn::{Deconv, KernelFormat};

use super::super::emit::{View, count};
use super::conv::{formatted, normal};
use super::linear::{Linear, Term, with_axis};
use super::{ACROSS, Lowered, Lowering, permuted, refuse, unsupported};

/// Longest axis with what is cut of it.
const MAX_AXIS: usize = 1 << 20;

/// How patches lie along one axis.
struct Spread {
    places: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    /// What is cut at the start, and what is left of the axis.
    before: usize,
    length: usize,
}

impl Spread {
    /// How far the patches reach.
    fn reached(&self) -> usize {
        (self.places - 1) * self.stride + (self.kernel - 1) * self.dilation + 1
    }

    /// Length of the axis before anything is cut.
    fn whole(&self) -> usize {
        self.reached().max(self.before + self.length)
    }

    /// Whether every index of the whole axis is in exactly one patch.
    fn is_tiled(&self) -> bool {
        self.kernel == self.stride && self.dilation == 1 && self.whole() == self.reached()
    }
}

impl Lowering<'_> {
    pub(super) fn transposed(&mut self, node: &TypedNode, op: &Deconv) -> Lowered<View> {
        let spec = &op.pool_spec;
        let (_, rows) = self.shape(node.inputs[0])?;
        if rows.is_some_and(|rows| rows > 0 || !spec.data_format.has_n()) {
            return Err(unsupported("a window over the candidates", ACROSS));
        }
        if op.kernel_format != KernelFormat::OIHW {
            return Err(refuse(node));
        }
        let x = normal(&self.view(node.inputs[0])?, spec.data_format);
        let (weights, bias) = (self.view(node.inputs[1])?, self.view(node.inputs[2])?);
        let spreads = spreads(op, &x.shape[2..]).ok_or_else(|| refuse(node))?;
        if spreads.iter().any(|spread| spread.whole() > MAX_AXIS) {
            return Err(unsupported(
                "a transposed window over too many places",
                "use a smaller kernel, stride or dilation",
            ));
        }
        let of_candidates = [&x, &weights, &bias].into_iter().any(View::is_of_candidates);
        let space: Vec<usize> = spreads.iter().map(Spread::whole).collect();
        let out = self.channels_last(of_candidates, x.shape[0], spec.output_channels, &space);
        let is_layer = weights.is_constant() && (op.group == 1 || op.group < spec.input_channels);
        if is_layer && let (Some(bias), true) = (bias.values(), spreads.iter().all(Spread::is_tiled)) {
            self.by_patches(&x, &out, &weights, Some(&bias), &spreads, op.group)?;
        } else {
            let mut start =
                View { shape: out.shape.clone(), strides: vec![0; out.shape.len()], rows: None, ..bias.clone() };
            start.strides[1] = bias.strides.first().copied().filter(|_| bias.shape != [1]).unwrap_or(0);
            self.emitter.copy(&out, &start)?;
            if is_layer {
                self.by_patches(&x, &out, &weights, None, &spreads, op.group)?;
            } else {
                self.by_weights(&x, &out, &weights, &spreads, op.group)?;
            }
        }
        let cut = spreads.iter().enumerate();
        let cut = cut.fold(out, |view, (axis, spread)| view.slice(axis + 2, spread.before, spread.length));
        Ok(formatted(&cut, spec.data_format, rows))
    }

    /// Patches by a dense layer for each group, stored with a bias or added up.
    fn by_patches(
        &mut self,
        x: &View,
        out: &View,
        weights: &View,
        bias: Option<&[f32]>,
        spreads: &[Spread],
        groups: usize,
    ) -> Lowered<()> {
        let axes = spreads.len();
        let (taken, made) = (x.shape[1] / groups, out.shape[1] / groups);
        let kernel: Vec<usize> = spreads.iter().map(|spread| spread.kernel).collect();
        // Places, then channels; of the weights channels, then the kernel, then outputs.
        let places: Vec<usize> = [0].into_iter().chain(2..2 + axes).collect();
        let of_input: Vec<usize> = places.iter().copied().chain([1]).collect();
        let of_weights: Vec<usize> = (1..2 + axes).chain([0]).collect();
        for group in 0..groups {
            let input = permuted(&x.slice(1, group * taken, taken), &of_input);
            let by = permuted(&weights.slice(0, group * made, made), &of_weights).values().unwrap_or_default();
            let mut shape = input.shape.clone();
            shape[axes + 1] = count(&kernel) * made;
            let term = Term { input: View { rows: None, layer: None, ..input }, weights: by };
            let mut layer = Linear::new(vec![term], &shape, axes + 1, None);
            if let Some(bias) = bias {
                let of_group = if bias.len() == 1 { bias } else { &bias[group * made..][..made] };
                layer = layer.with_bias(of_group);
            }
            let patches = self.compute(&layer, None)?;
            let mut from = View { rows: None, layer: None, ..patches };
            let step = from.strides[axes + 1];
            let inner: Vec<usize> = kernel.iter().copied().chain([made]).collect();
            let steps = super::super::emit::contiguous(&inner).into_iter().map(|by| by * step);
            from.strides.splice(axes + 1.., steps);
            from.shape.splice(axes + 1.., inner);
            let into = spread_over(&out.slice(1, group * made, made), spreads);
            let order: Vec<usize> = places.iter().copied().chain(2 + axes..2 + 2 * axes).chain([1]).collect();
            let how = if bias.is_some() { Combination::Store } else { Combination::Add };
            self.emitter.each(Function::Left, how, &permuted(&into, &order), &from, &from)?;
        }
        Ok(())
    }

    /// Products added up, by axes `[batch, group, output of the group, channel of the group, places.., kernel..]`.
    fn by_weights(&mut self, x: &View, out: &View, weights: &View, spreads: &[Spread], groups: usize) -> Lowered<()> {
        let (taken, made) = (x.shape[1] / groups, out.shape[1] / groups);
        let grouped = |view: &View, axis: usize, size: usize| {
            let step = view.strides[axis];
            let mut split = with_axis(view, axis + 1, size, step);
            (split.shape[axis], split.strides[axis]) = (groups, step * size);
            split
        };
        let mut from = with_axis(&grouped(x, 1, taken), 2, made, 0);
        from.shape.extend(spreads.iter().map(|spread| spread.kernel));
        from.strides.extend(spreads.iter().map(|_| 0));
        let into = with_axis(&grouped(&spread_over(out, spreads), 1, made), 3, taken, 0);
        // Weights are `[groups made, taken, kernel..]`.
        let mut by = with_axis(&grouped(weights, 0, made), 0, x.shape[0], 0);
        for (at, spread) in spreads.iter().enumerate() {
            by = with_axis(&by, 4 + at, spread.places, 0);
        }
        self.emitter.each(Function::Multiply, Combination::Add, &into, &from, &by)
    }
}

/// How patches lie along every axis; none if tract's lengths do not add up.
fn spreads(op: &Deconv, places: &[usize]) -> Option<Vec<Spread>> {
    let spec = &op.pool_spec;
    let (strides, dilations) = (spec.strides(), spec.dilations());
    let ends =
        spec.padding.compute_for_deconv(places, &spec.kernel_shape, &dilations, &strides, &op.adjustments).ok()?;
    let spread = |axis: usize| Spread {
        places: places[axis],
        kernel: spec.kernel_shape[axis],
        stride: strides[axis],
        dilation: dilations[axis],
        before: ends[axis].pad_before,
        length: ends[axis].deconvoluted,
    };
    Some((0..places.len()).map(spread).collect())
}

/// `[batch, channels, space..]` as `[batch, channels, places.., kernel..]`.
fn spread_over(out: &View, spreads: &[Spread]) -> View {
    let mut wide = View { rows: None, layer: None, ..out.clone() };
    for (axis, spread) in spreads.iter().enumerate() {
        wide.shape[axis + 2] = spread.places;
        wide.strides[axis + 2] = out.strides[axis + 2] * spread.stride;
    }
    for (axis, spread) in spreads.iter().enumerate() {
        wide.shape.push(spread.kernel);
        wide.strides.push(out.strides[axis + 2] * spread.dilation);
    }
    wide
}
