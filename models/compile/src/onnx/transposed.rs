//! ConvTranspose as this compiler reads it: its lengths are settled here, and tract is given the operator that it computes.
//!
//! tract's own reading knows no batch of unknown size, and ends where a padding is longer than what it cuts. So the node is
//! read again: attributes are checked before anything is subtracted, and automatic padding or a given length becomes a number
//! of places that are cut at both ends, as onnxruntime has it: of an odd number the larger half is cut at the start, with
//! `SAME_UPPER` at the end. The operator is <https://onnx.ai/onnx/operators/onnx__ConvTranspose.html>.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::AxisOp;
use tract_onnx::tract_core::ops::cnn::{Deconv, KernelFormat, PaddingSpec, PoolSpec, deconv};
use tract_onnx::tract_core::ops::nn::DataFormat;
use tract_onnx::tract_hir::internal::{
    DimLike, Expansion, InferenceOp, InferenceResult, Solver, StaticName, TensorProxy, ToDim, bail, check_input_arity,
    check_output_arity, expand, format_err,
};

use super::rewrite::{attribute, is_text};

/// Longest axis, kernel, stride, dilation or padding: above, lengths could not be added up.
const MAX_LENGTH: i64 = 1 << 20;

/// The node's attributes.
#[derive(Clone, Debug, Default)]
struct ConvTranspose {
    strides: Vec<usize>,
    dilations: Vec<usize>,
    /// Places that are cut, at the starts and then at the ends.
    pads: Vec<usize>,
    /// Places that are appended.
    more: Vec<usize>,
    /// Lengths of the output, where they are given.
    lengths: Vec<usize>,
    /// Cut so that the output is as long as the input times the stride.
    is_same: bool,
    /// The larger half of an odd number is cut at the end.
    is_upper: bool,
    groups: usize,
}

/// One axis: what is cut at its start and its end, and what is appended.
struct Ends {
    before: usize,
    after: usize,
    more: usize,
}

/// Reads a node; what cannot be is refused by its name.
pub(super) fn read(_: &ParsingContext<'_>, node: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let lengths = |name: &str, least: i64| -> TractResult<Vec<usize>> {
        let values = attribute(node, name).map_or(&[][..], |attribute| &attribute.ints);
        match values.iter().find(|value| !(least..=MAX_LENGTH).contains(*value)) {
            Some(value) => bail!("{value} is among its {name}, which are {least} to {MAX_LENGTH}"),
            None => Ok(values.iter().map(|value| *value as usize).collect()),
        }
    };
    let groups = attribute(node, "group").map_or(1, |group| group.i);
    let Some(groups) = usize::try_from(groups).ok().filter(|groups| *groups > 0) else {
        bail!("{groups} groups");
    };
    let (is_upper, is_lower) = (is_text(node, "auto_pad", b"SAME_UPPER"), is_text(node, "auto_pad", b"SAME_LOWER"));
    let (strides, dilations) = (lengths("strides", 1)?, lengths("dilations", 1)?);
    let (pads, more, lengths) = (lengths("pads", 0)?, lengths("output_padding", 0)?, lengths("output_shape", 1)?);
    let op = ConvTranspose { strides, dilations, pads, more, lengths, is_same: is_upper || is_lower, is_upper, groups };
    Ok((expand(op), Vec::new()))
}

impl ConvTranspose {
    /// What happens at the ends of every axis of a value with a kernel.
    fn ends(&self, x: &[TDim], kernel: &[usize]) -> TractResult<Vec<Ends>> {
        let axes = kernel.len();
        let lists = [(&self.strides, axes), (&self.dilations, axes), (&self.more, axes), (&self.pads, 2 * axes)];
        // A given length may begin with the batch and the channels.
        let is_given = [0, axes, axes + 2].contains(&self.lengths.len());
        if x.len() != axes + 2 || !is_given || lists.iter().any(|(list, size)| ![0, *size].contains(&list.len())) {
            bail!("an attribute has another number of axes than the kernel");
        }
        (0..axes).map(|axis| self.ends_of(&x[axis + 2], kernel[axis], axis, axes)).collect()
    }

    fn ends_of(&self, x: &TDim, kernel: usize, axis: usize, axes: usize) -> TractResult<Ends> {
        let of = |list: &[usize], unless_given: usize| list.get(axis).copied().unwrap_or(unless_given);
        let (stride, dilation, more) = (of(&self.strides, 1), of(&self.dilations, 1), of(&self.more, 0));
        let x = x.to_usize().map_err(|_| format_err!("an axis of length {x}"))?;
        let fits = |length: usize| (1..=MAX_LENGTH as usize).contains(&length);
        let whole =
            (x.max(1) - 1).saturating_mul(stride).saturating_add((kernel.max(1) - 1).saturating_mul(dilation)) + 1;
        if !fits(x) || !fits(kernel) || !fits(whole) {
            bail!("{x} places and a kernel of {kernel} become {whole}, of which there may be 1 to {MAX_LENGTH}");
        }
        let given = self.lengths.get(self.lengths.len().wrapping_sub(axes) + axis).copied();
        let (ends, length) = match given.or_else(|| self.is_same.then_some(x * stride)) {
            Some(length) => {
                let cut = (whole + more).saturating_sub(length);
                let more = if given.is_some() { more.max(length.saturating_sub(whole)) } else { more };
                let (less, rest) = (cut / 2, cut - cut / 2);
                let (before, after) = if self.is_upper { (less, rest) } else { (rest, less) };
                (Ends { before, after, more }, given)
            }
            None => {
                let pad = |at: usize| self.pads.get(at).copied().unwrap_or(0);
                (Ends { before: pad(axis), after: pad(axes + axis), more }, None)
            }
        };
        if ends.more >= stride.max(dilation) && ends.more > 0 {
            bail!("{} places are appended, which must be fewer than the stride or the dilation", ends.more);
        }
        let left = (whole + ends.more).checked_sub(ends.before + ends.after).filter(|left| *left > 0);
        match (left, length) {
            (None, _) => bail!("all of {whole} places are cut by the padding"),
            (Some(left), Some(length)) if left != length => bail!("{left} places where the length {length} is given"),
            _ => Ok(ends),
        }
    }

    /// The operator that computes it, for values and weights of known shapes.
    fn operator(&self, x: &[TDim], weights: &[usize]) -> TractResult<Deconv> {
        let kernel = weights.get(2..).unwrap_or_default();
        let ends = self.ends(x, kernel)?;
        let (taken, made) = (weights[0], weights[1] * self.groups);
        if x[1] != taken.to_dim() || !taken.is_multiple_of(self.groups) {
            bail!("{} channels where the weights of {} groups take {taken}", x[1], self.groups);
        }
        let some = |list: &[usize]| (!list.is_empty()).then(|| TVec::from(list));
        let padding = PaddingSpec::Explicit(
            ends.iter().map(|ends| ends.before).collect(),
            ends.iter().map(|ends| ends.after).collect(),
        );
        let pool = PoolSpec::new(
            DataFormat::NCHW,
            kernel.into(),
            padding,
            some(&self.dilations),
            some(&self.strides),
            taken,
            made,
        );
        Ok(Deconv::new(pool, KernelFormat::OIHW, ends.iter().map(|ends| ends.more).collect(), self.groups))
    }
}

impl Expansion for ConvTranspose {
    fn name(&self) -> StaticName {
        "ConvTranspose".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, if inputs.len() == 3 { 3 } else { 2 })?;
        check_output_arity(outputs, 1)?;
        s.equals(&inputs[0].datum_type, &outputs[0].datum_type)?;
        s.equals(&inputs[0].rank, &inputs[1].rank)?;
        s.equals(&inputs[0].rank, &outputs[0].rank)?;
        s.given_2(&inputs[0].shape, &inputs[1].shape, move |s, x, weights| {
            let weights = weights.iter().map(DimLike::to_usize).collect::<Result<Vec<usize>, _>>()?;
            let op = self.operator(&x, &weights)?;
            s.equals(&outputs[0].shape, deconv::output_shape(&op.pool_spec, &x, &op.adjustments)?)
        })
    }

    fn wire(&self, prefix: &str, target: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let x = target.outlet_fact(inputs[0])?.shape.to_tvec();
        let weights = target.outlet_fact(inputs[1])?.shape.as_concrete().map(TVec::from);
        let weights = weights.ok_or_else(|| format_err!("weights of unknown shape"))?;
        let op = self.operator(&x, &weights)?;
        // From `[groups taken, made, ..]` to `[groups made, taken, ..]`.
        let (taken, groups) = (weights[0], self.groups);
        let split = AxisOp::Reshape(0, tvec![taken.to_dim()], tvec![groups.to_dim(), (taken / groups).to_dim()]);
        let join = AxisOp::Reshape(
            0,
            tvec![groups.to_dim(), weights[1].to_dim()],
            tvec![op.pool_spec.output_channels.to_dim()],
        );
        let mut kernel = inputs[1];
        for (at, change) in [split, AxisOp::Move(1, 2), join].into_iter().enumerate() {
            kernel = target.wire_node(format!("{prefix}.kernel.{at}"), change, &[kernel])?[0];
        }
        let bias = match inputs.get(2) {
            Some(bias) => *bias,
            None => {
                let zero = Tensor::zero_scalar_dt(target.outlet_fact(inputs[0])?.datum_type)?;
                target.add_const(format!("{prefix}.bias"), zero)?
            }
        };
        target.wire_node(prefix, op, &[inputs[0], kernel, bias])
    }
}
