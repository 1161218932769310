//! Convolutions and pooling: a window that slides over axes is a view with more axes.
//!
//! The input is seen as `[batch, channels, outputs.., kernel..]`, where an output and a kernel's axis share the memory of
//! one axis of the input. Pooling reduces the kernel's axes of that view. A convolution is a dense layer over patches: a
//! patch that lies in one run of memory, as embeddings next to each other do, is read where it is, so that positions overlap
//! and nothing is copied; other patches are gathered first (Chellapilla et al., 2006). A convolution of single channels
//! has too few inputs for a dense layer and is multiplied and added.
//!
//! What it makes lies with the channels innermost, whatever the order of its axes, which is how the next one reads it.

use selvedge_format::graph::{Combination, Function};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat, MaxPool, PaddingSpec, PoolSpec, SumPool};
use tract_onnx::tract_core::ops::nn::DataFormat;

use super::super::emit::{Emitter, Layer, Rows, Source, Start, View, contiguous, count};
use super::linear::{one_stride, with_axis};
use super::{ACROSS, Lowered, Lowering, permuted, refuse, unsupported};

/// Most dense layers that a convolution becomes, because its patches do not lie at one distance; above, they are gathered.
const MAX_LAYERS: usize = 32;

/// Longest axis that a window moves along, with its padding.
const MAX_AXIS: usize = 1 << 20;

/// How a window moves along one axis.
struct Slide {
    input: usize,
    outputs: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    /// Padding at the start, and what a mean counts at the end.
    before: usize,
    after: usize,
}

impl Slide {
    /// Length of the axis with what the window reads beside it.
    fn padded(&self) -> usize {
        let moved = (self.outputs - 1).saturating_mul(self.stride);
        let read = moved.saturating_add((self.kernel - 1).saturating_mul(self.dilation)).saturating_add(1);
        read.max(self.before.saturating_add(self.input))
    }

    /// How many places of the window at `output` are in the axis, or in it and its padding.
    fn counted(&self, output: usize, with_padding: bool) -> usize {
        let places = (0..self.kernel).map(|at| output * self.stride + at * self.dilation);
        let (from, to) = if with_padding {
            (0, self.before + self.input + self.after)
        } else {
            (self.before, self.before + self.input)
        };
        places.filter(|place| (from..to).contains(place)).count()
    }
}

/// The view `[batch, channels, outputs.., kernel..]`, and how many outputs there are by axis.
struct Windows {
    view: View,
    slides: Vec<Slide>,
    rows: Option<usize>,
}

impl Windows {
    fn outputs(&self) -> Vec<usize> {
        self.slides.iter().map(|slide| slide.outputs).collect()
    }
}

impl Lowering<'_> {
    pub(super) fn convolution(&mut self, node: &TypedNode, op: &Conv) -> Lowered<View> {
        if op.kernel_fmt != KernelFormat::OIHW || op.q_params.is_some() {
            return Err(refuse(node));
        }
        let (weights, bias) = (self.view(node.inputs[1])?, self.view(node.inputs[2])?);
        let windows = self.windows(node, &op.pool_spec, 0.0)?;
        let (channels, groups) = (op.pool_spec.output_channels, op.group);
        let of_candidates = [&windows.view, &weights, &bias].into_iter().any(View::is_of_candidates);
        let out = self.outputs(&windows, channels, of_candidates);
        let layer = match bias.values().filter(|_| weights.is_constant()) {
            Some(bias) if groups == 1 || groups < op.pool_spec.input_channels => {
                let bias: Vec<f32> = (0..channels).map(|at| bias[at % bias.len()]).collect();
                Some(self.by_patch(&windows, &out, &weights, &bias, groups)?)
            }
            _ => {
                self.by_product(&windows, &out, &weights, &bias, groups)?;
                None
            }
        };
        Ok(View { layer, ..formatted(&out, op.pool_spec.data_format, windows.rows) })
    }

    pub(super) fn max_pool(&mut self, node: &TypedNode, op: &MaxPool) -> Lowered<View> {
        let windows = self.windows(node, &op.pool_spec, f32::NEG_INFINITY)?;
        let out = self.outputs(&windows, windows.view.shape[1], windows.view.is_of_candidates());
        let rank = out.shape.len();
        let first = (rank..windows.view.shape.len()).fold(windows.view.clone(), |view, axis| view.slice(axis, 0, 1));
        let into = over_kernel(&out, &windows);
        self.emitter.copy(&View { shape: first.shape.clone(), ..into.clone() }, &first)?;
        self.emitter.each(Function::Left, Combination::Max, &into, &windows.view, &windows.view)?;
        Ok(formatted(&out, op.pool_spec.data_format, windows.rows))
    }

    pub(super) fn sum_pool(&mut self, node: &TypedNode, op: &SumPool) -> Lowered<View> {
        let windows = self.windows(node, &op.pool_spec, 0.0)?;
        let out = self.outputs(&windows, windows.view.shape[1], windows.view.is_of_candidates());
        let into = over_kernel(&out, &windows);
        self.emitter.each(Function::Left, Combination::Add, &into, &windows.view, &windows.view)?;
        if op.normalize {
            let outputs = windows.outputs();
            let numbers: Vec<f32> = (0..count(&outputs))
                .map(|mut at| {
                    let slides = windows.slides.iter().rev();
                    let counted = slides.map(|slide| {
                        let output = at % slide.outputs;
                        at /= slide.outputs;
                        slide.counted(output, op.count_include_pad)
                    });
                    counted.product::<usize>() as f32
                })
                .collect();
            let shape: Vec<usize> = [1, 1].into_iter().chain(outputs).collect();
            let numbers = View::constant(numbers, shape).broadcast(&out.shape);
            self.emitter.each(Function::Divide, Combination::Store, &out, &out, &numbers)?;
        }
        Ok(formatted(&out, op.pool_spec.data_format, windows.rows))
    }

    /// The windows of a node's first input, with `fill` around it.
    fn windows(&mut self, node: &TypedNode, spec: &PoolSpec, fill: f32) -> Lowered<Windows> {
        let format = spec.data_format;
        let (_, rows) = self.shape(node.inputs[0])?;
        if rows.is_some_and(|rows| rows > 0 || !format.has_n()) {
            return Err(unsupported("a window over the candidates", ACROSS));
        }
        let x = normal(&self.view(node.inputs[0])?, format);
        let sizes = &x.shape[2..];
        let slides: Vec<Slide> = spec
            .computed_padding(sizes)
            .iter()
            .enumerate()
            .map(|(axis, padding)| Slide {
                input: sizes[axis],
                outputs: padding.convoluted,
                kernel: spec.kernel_shape[axis],
                stride: spec.stride(axis),
                dilation: spec.dilation(axis),
                before: padding.pad_before,
                after: match &spec.padding {
                    PaddingSpec::ExplicitOnnxPool(_, after, _) => after[axis],
                    _ => padding.pad_after,
                },
            })
            .collect();
        if slides.iter().any(|slide| slide.outputs == 0 || slide.kernel == 0) {
            return Err(unsupported("a window longer than its axis", "pad the input"));
        }
        let longest = slides.iter().map(Slide::padded).max().unwrap_or(0);
        if longest > MAX_AXIS {
            let message = format!("a window over {longest} places of an axis");
            return Err(unsupported(message, "use a smaller kernel, stride or dilation"));
        }
        let padded = self.padded(&x, &slides, fill)?;
        let (mut shape, mut strides) = (padded.shape[..2].to_vec(), padded.strides[..2].to_vec());
        for (axis, slide) in slides.iter().enumerate() {
            shape.push(slide.outputs);
            strides.push(padded.strides[axis + 2] * slide.stride);
        }
        for (axis, slide) in slides.iter().enumerate() {
            shape.push(slide.kernel);
            strides.push(padded.strides[axis + 2] * slide.dilation);
        }
        Ok(Windows { view: View { shape, strides, rows: None, layer: None, ..padded }, slides, rows })
    }

    /// The input where a window finds something wherever it is.
    fn padded(&mut self, x: &View, slides: &[Slide], fill: f32) -> Lowered<View> {
        if slides.iter().all(|slide| slide.padded() == slide.input) {
            return Ok(x.clone());
        }
        let space: Vec<usize> = slides.iter().map(Slide::padded).collect();
        let out = self.channels_last(x.is_of_candidates(), x.shape[0], x.shape[1], &space);
        if fill != 0.0 {
            self.emitter.copy(&out, &View::scalar(fill, out.shape.len()).broadcast(&out.shape))?;
        }
        let places = slides.iter().enumerate();
        let inner = places.fold(out.clone(), |view, (axis, slide)| view.slice(axis + 2, slide.before, slide.input));
        self.emitter.copy(&inner, x)?;
        Ok(out)
    }

    /// A fresh `[batch, channels, space..]` whose channels lie innermost.
    pub(super) fn channels_last(
        &mut self,
        of_candidates: bool,
        batch: usize,
        channels: usize,
        space: &[usize],
    ) -> View {
        let shape: Vec<usize> = [batch].into_iter().chain(space.iter().copied()).chain([channels]).collect();
        let out = self.emitter.allocate(of_candidates, &shape, None);
        let order: Vec<usize> = [0, shape.len() - 1].into_iter().chain(1..shape.len() - 1).collect();
        permuted(&out, &order)
    }

    fn outputs(&mut self, windows: &Windows, channels: usize, of_candidates: bool) -> View {
        self.channels_last(of_candidates, windows.view.shape[0], channels, &windows.outputs())
    }

    /// Products added up, by axes `[batch, group, output of the group, outputs.., channel of the group, kernel..]`.
    fn by_product(&mut self, windows: &Windows, out: &View, weights: &View, bias: &View, groups: usize) -> Lowered<()> {
        let spaces = windows.slides.len();
        let (made, taken) = (out.shape[1] / groups, windows.view.shape[1] / groups);
        let of_outputs = if bias.shape.is_empty() { 0 } else { bias.strides[0] };
        let mut start = View { shape: out.shape.clone(), strides: vec![0; out.shape.len()], ..bias.clone() };
        start.strides[1] = of_outputs;
        self.emitter.copy(out, &start)?;
        let grouped = |view: &View, size: usize| {
            let step = view.strides[1];
            let mut split = with_axis(view, 2, size, step);
            (split.shape[1], split.strides[1]) = (groups, step * size);
            split
        };
        // The channels of a group go where they are summed over.
        let input = grouped(&windows.view, taken);
        let places = [0, 1].into_iter().chain(3..3 + spaces);
        let order: Vec<usize> = places.chain([2]).chain(3 + spaces..3 + 2 * spaces).collect();
        let input = with_axis(&permuted(&input, &order), 2, made, 0);
        let mut into = grouped(out, made);
        into.shape.extend(&input.shape[3 + spaces..]);
        into.strides.resize(input.shape.len(), 0);
        let mut by = View { shape: input.shape.clone(), strides: vec![0; input.shape.len()], ..weights.clone() };
        (by.strides[1], by.strides[2]) = (weights.strides[0] * made, weights.strides[0]);
        by.strides[3 + spaces..].copy_from_slice(&weights.strides[1..]);
        self.emitter.each(Function::Multiply, Combination::Add, &into, &input, &by)
    }

    /// A dense layer for each group, over patches as positions.
    fn by_patch(
        &mut self,
        windows: &Windows,
        out: &View,
        weights: &View,
        bias: &[f32],
        groups: usize,
    ) -> Lowered<Layer> {
        let spaces = windows.slides.len();
        let (taken, made) = (windows.view.shape[1] / groups, out.shape[1] / groups);
        let mut layers = Vec::new();
        for group in 0..groups {
            let view = windows.view.slice(1, group * taken, taken);
            // Axes of a patch from the widest step to the narrowest, so that the innermost comes last.
            let mut patch: Vec<usize> = [1].into_iter().chain(2 + spaces..2 + 2 * spaces).collect();
            patch.sort_by_key(|axis| std::cmp::Reverse(view.strides[*axis]));
            let places: Vec<usize> = [0].into_iter().chain(2..2 + spaces).collect();
            let order: Vec<usize> = places.iter().chain(&patch).copied().collect();
            let patches = self.patches(&permuted(&view, &order), places.len())?;
            // Of the weights, `[outputs, channels, kernel..]`, in the same order.
            let inputs = patch.iter().map(|axis| if *axis == 1 { 1 } else { axis - spaces });
            let by: Vec<usize> = inputs.chain([0]).collect();
            let by = permuted(&weights.slice(0, group * made, made), &by).values().unwrap_or_default();
            let into = out.slice(1, group * made, made);
            let into = permuted(&into, &places.iter().copied().chain([1]).collect::<Vec<_>>());
            let bias = bias[group * made..][..made].to_vec();
            layers.extend(self.layers(&patches, places.len(), &into, &by, &bias));
        }
        Ok(Emitter::layer(layers))
    }

    /// The patches where a dense layer can read them: each in one run of memory.
    fn patches(&mut self, view: &View, places: usize) -> Lowered<View> {
        let packed = contiguous(&view.shape[places..]);
        let is_run =
            (places..view.shape.len()).all(|axis| view.shape[axis] == 1 || view.strides[axis] == packed[axis - places]);
        let is_near = one_stride(view, places).is_some() || count(&view.shape[..places - 1]) <= MAX_LAYERS;
        let runs = if is_run && is_near && matches!(view.source, Source::Request | Source::Candidates) {
            view.clone()
        } else {
            let out = self.emitter.allocate(view.is_of_candidates(), &view.shape, None);
            self.emitter.copy(&out, view)?;
            out
        };
        let mut patches = runs.axes(0..places);
        patches.shape.push(count(&runs.shape[places..]));
        patches.strides.push(1);
        Ok(patches)
    }

    /// One layer where all patches lie at one distance, else one for each line of them.
    fn layers(&mut self, patches: &View, places: usize, out: &View, weights: &[f32], bias: &[f32]) -> Vec<usize> {
        if let (Some(input), Some(output)) = (one_stride(patches, places), one_stride(out, places)) {
            let positions = count(&patches.shape[..places]);
            let (input, out) = (Rows { view: patches, stride: input }, Rows { view: out, stride: output });
            return vec![self.emitter.product(
                (input, out, None),
                positions,
                weights.to_vec(),
                Start::Bias(bias.to_vec()),
            )];
        }
        let axis = (0..places).find(|axis| patches.shape[*axis] > 1).unwrap_or(0);
        let part = |view: &View, at: usize| view.slice(axis, at, 1);
        (0..patches.shape[axis])
            .flat_map(|at| self.layers(&part(patches, at), places, &part(out, at), weights, bias))
            .collect()
    }
}

/// The result's view, repeated over the kernel.
fn over_kernel(out: &View, windows: &Windows) -> View {
    let mut into = out.clone();
    into.shape.extend(windows.slides.iter().map(|slide| slide.kernel));
    into.strides.extend(windows.slides.iter().map(|_| 0));
    into
}

/// `[batch, channels, space..]` of a view in a format.
pub(super) fn normal(view: &View, format: DataFormat) -> View {
    let with_batch = if format.has_n() { view.clone() } else { with_axis(view, 0, 1, 0) };
    if !format.c_is_last() {
        return with_batch;
    }
    let rank = with_batch.shape.len();
    let order: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
    permuted(&with_batch, &order)
}

/// The inverse.
pub(super) fn formatted(view: &View, format: DataFormat, rows: Option<usize>) -> View {
    let channels_at = if format.c_is_last() { view.shape.len() } else { 1 };
    let mut order: Vec<usize> = [0].into_iter().chain(2..view.shape.len()).collect();
    order.insert(channels_at.min(order.len()), 1);
    let order = if format.has_n() { &order[..] } else { &order[1..] };
    View { rows, ..permuted(view, order) }
}
