//! The loops of a tensor program: a dense layer's panel, and functions of a column.
//!
//! A layer of whole numbers multiplies pairs of 16 bits and adds them up in 32, which every vector unit does in one instruction
//! (`pmaddwd`, `i32x4.dot_i16x8_s`). The sum of integers is the same in any order.
//!
//! Functions are of vectors of four by name: of eight numbers in a row the compiler makes eight instructions.

use alloc::vec::Vec;

use bytemuck::cast;
use selvedge_format::graph::{Combination, Function, INPUT_MOST, PANEL};
use wide::{f32x4, i16x8, i32x4};

use crate::each::each;
use crate::math;

/// Rows that a loop treats together.
pub(super) const ROWS: usize = 8;
/// Outputs that a layer computes at once, times their rows: as many as eight vectors hold. They are 4 outputs of 8 rows, or, of a
/// row alone, 32 outputs.
pub(super) const UNIT: usize = 32;

/// Values that a function is called for at once.
pub(super) const RUN: usize = 256;
/// Values of a vector.
pub(super) const VECTOR: usize = 4;

/// What weights and inputs of a layer are: floats, or pairs of 16-bit whole numbers that are multiplied and added at once.
pub(super) trait Number: Copy {
    type Vector: Copy;

    fn vector(numbers: [Self; 4]) -> Self::Vector;
    fn array(vector: Self::Vector) -> [Self; 4];
    fn add_product(sum: Self::Vector, weight: Self::Vector, x: Self::Vector) -> Self::Vector;
}

impl Number for f32 {
    type Vector = f32x4;

    #[inline]
    fn vector(numbers: [Self; 4]) -> f32x4 {
        f32x4::new(numbers)
    }

    #[inline]
    fn array(vector: f32x4) -> [Self; 4] {
        vector.to_array()
    }

    #[inline]
    fn add_product(sum: f32x4, weight: f32x4, x: f32x4) -> f32x4 {
        sum + weight * x
    }
}

/// Two numbers of 16 bits, the first in the lower half; of sums, one of 32.
impl Number for i32 {
    type Vector = i32x4;

    #[inline]
    fn vector(numbers: [Self; 4]) -> i32x4 {
        i32x4::new(numbers)
    }

    #[inline]
    fn array(vector: i32x4) -> [Self; 4] {
        vector.to_array()
    }

    #[inline]
    fn add_product(sum: i32x4, weight: i32x4, x: i32x4) -> i32x4 {
        sum + cast::<_, i16x8>(weight).dot(cast(x))
    }
}

/// Adds `weights * inputs` to the sums of all panels' outputs, for eight rows: eight accumulators of four. Outputs for which there is
/// a start begin with that instead.
// Long, and called from layers and from attention.
#[inline(never)]
pub(super) fn add_products<N: Number>(weights: &[[N; PANEL]], inputs: &[N], starts: &[N], sums: &mut [[[N; 4]; 8]]) {
    let (inputs, _) = inputs.as_chunks::<4>();
    let (inputs, _) = inputs.as_chunks::<2>();
    let (starts, _) = starts.as_chunks::<PANEL>();
    for (panel, (weights, sums)) in weights.chunks_exact(inputs.len()).zip(sums).enumerate() {
        let mut held = [N::vector(sums[0]); 8];
        match starts.get(panel) {
            Some(start) => each::<8>(|at| held[at] = N::vector([start[at / 2]; 4])),
            None => each::<8>(|at| held[at] = N::vector(sums[at])),
        }
        for (weights, [low, high]) in weights.iter().zip(inputs) {
            let (low, high) = (N::vector(*low), N::vector(*high));
            each::<PANEL>(|at| {
                let weight = N::vector([weights[at]; 4]);
                held[2 * at] = N::add_product(held[2 * at], weight, low);
                held[2 * at + 1] = N::add_product(held[2 * at + 1], weight, high);
            });
        }
        each::<8>(|at| sums[at] = N::array(held[at]));
    }
}

/// The same for one row and the outputs of eight panels, each of `inputs.len()` weights; where there are fewer, the last is
/// computed again.
#[inline(never)]
pub(super) fn add_products_of_row<N: Number>(weights: &[[N; PANEL]], inputs: &[N], sums: &mut [[N; 4]; 8]) {
    let last = weights.len() - inputs.len();
    let mut panels = [&weights[..inputs.len()]; 8];
    each::<8>(|at| panels[at] = &weights[(at * inputs.len()).min(last)..][..inputs.len()]);
    let mut held = [N::vector(sums[0]); 8];
    each::<8>(|at| held[at] = N::vector(sums[at]));
    for (at, x) in inputs.iter().enumerate() {
        let x = N::vector([*x; 4]);
        each::<8>(|panel| held[panel] = N::add_product(held[panel], N::vector(panels[panel][at]), x));
    }
    each::<8>(|at| sums[at] = N::array(held[at]));
}

/// Adds whole numbers, each times the scale of its output.
#[inline(never)]
pub(super) fn add_scaled(scales: &[f32], rows: usize, totals: &[i32], sums: &mut [f32]) {
    let ((sums, _), (totals, _)) = (sums.as_chunks_mut(), totals.as_chunks());
    for (at, (sum, total)) in sums.iter_mut().zip(totals).enumerate() {
        let scale = match scales.get(at * VECTOR..).and_then(<[f32]>::first_chunk) {
            Some(scales) if rows == 1 => f32x4::new(*scales),
            _ => f32x4::splat(scales[at * VECTOR / ROWS]),
        };
        *sum = (f32x4::new(*sum) + i32x4::new(*total).round_float() * scale).to_array();
    }
}

/// Makes whole numbers of a layer's inputs and packs them in pairs of neighbouring inputs, row by row.
#[inline(never)]
pub(super) fn quantise(inputs: &[f32], rows: usize, multiplier: f32, pairs: &mut Vec<i32>) {
    pairs.resize(inputs.len().div_ceil(2 * rows) * rows, 0);
    let packed = pairs.as_mut_slice();
    // There is a value of nothing behind an odd number of inputs.
    if rows == 1 {
        for (pair, inputs) in packed.iter_mut().zip(inputs.chunks(2)) {
            let high = inputs.get(1).copied().unwrap_or(0.0);
            *pair = pack(f32x4::splat(inputs[0]), f32x4::splat(high), multiplier)[0];
        }
    } else {
        let ((packed, _), (inputs, _)) = (packed.as_chunks_mut::<4>(), inputs.as_chunks::<4>());
        for (pairs, inputs) in packed.chunks_exact_mut(2).zip(inputs.chunks(4)) {
            for (half, pairs) in pairs.iter_mut().enumerate() {
                let high = inputs.get(2 + half).copied().unwrap_or([0.0; 4]);
                *pairs = pack(f32x4::new(inputs[half]), f32x4::new(high), multiplier);
            }
        }
    }
}

#[inline]
fn pack(low: f32x4, high: f32x4, multiplier: f32) -> [i32; 4] {
    let most = f32x4::splat(f32::from(INPUT_MOST));
    let bits = |x: f32x4| {
        let x = x * f32x4::splat(multiplier);
        let x = x.is_nan().bitselect(f32x4::splat(0.0), x);
        let x = x.simd_gt(most).bitselect(most, x);
        let x = x.simd_lt(-most).bitselect(-most, x);
        // The lowest bits of the sum are the nearest whole number: those of the other number are 0.
        cast::<_, i32x4>(x + f32x4::splat(math::ROUNDS))
    };
    let high: i32x4 = bits(high) << 16;
    (bits(low) & i32x4::splat(0xffff) | high).to_array()
}

/// The function of each left value and the right one.
#[inline(never)]
pub(super) fn apply(function: Function, out: &mut [f32], left: &[f32], right: &[f32]) {
    let one = f32x4::splat(1.0);
    match function {
        Function::Left => out.copy_from_slice(left),
        Function::Add => map(out, left, right, |l, r| l + r),
        Function::Subtract => map(out, left, right, |l, r| l - r),
        Function::Multiply => map(out, left, right, |l, r| l * r),
        Function::Divide => map(out, left, right, |l, r| l / r),
        Function::Max => map(out, left, right, max),
        Function::Min => map(out, left, right, |l, r| -max(-l, -r)),
        Function::Less => map(out, left, right, |l, r| l.simd_lt(r) & one),
        Function::Equal => map(out, left, right, |l, r| l.simd_eq(r) & one),
        Function::Exp => exp(out, left),
        Function::Log => one_by_one(out, left, math::ln),
        Function::Sqrt => one_by_one(out, left, math::sqrt),
        Function::Abs => map(out, left, right, |l, _| l.abs()),
        Function::Floor => one_by_one(out, left, libm::floorf),
        Function::Round => one_by_one(out, left, libm::rintf),
        Function::Sigmoid => with_power(out, left, |l| -l, |_, power| one / (one + power)),
        Function::Tanh => with_power(out, left, |l| l.abs() + l.abs(), math::tanh_by_power),
        Function::Erf => with_power(out, left, |l| -l * l, math::erf_by_power),
    }
}

/// [`Function::Max`] of each value and 0, which most layers end with.
pub(super) fn relu(out: &mut [f32], values: &[f32]) {
    let zero = f32x4::splat(0.0);
    map(out, values, values, |value, _| value.simd_lt(zero).bitselect(zero, value));
}

/// Combines what a place holds with a function's value; a selection takes the right operand.
pub(super) fn combine(combination: Combination, out: &mut [f32], held: &[f32], value: &[f32], right: &[f32]) {
    let function = match combination {
        Combination::Store => return out.copy_from_slice(value),
        Combination::Add => Function::Add,
        Combination::Multiply => Function::Multiply,
        Combination::Max => Function::Max,
        Combination::Min => Function::Min,
        Combination::Select => {
            for (((out, held), value), right) in out.iter_mut().zip(held).zip(value).zip(right) {
                *out = if *value == 0.0 { *held } else { *right };
            }
            return;
        }
    };
    apply(function, out, held, value);
}

#[inline]
fn map(out: &mut [f32], left: &[f32], right: &[f32], function: impl Fn(f32x4, f32x4) -> f32x4) {
    let ((out, _), (left, _), (right, _)) = (out.as_chunks_mut(), left.as_chunks(), right.as_chunks());
    for ((out, left), right) in out.iter_mut().zip(left).zip(right) {
        *out = function(f32x4::new(*left), f32x4::new(*right)).to_array();
    }
}

#[inline(never)]
fn one_by_one(out: &mut [f32], values: &[f32], function: fn(f32) -> f32) {
    out.iter_mut().zip(values).for_each(|(out, value)| *out = function(*value));
}

#[inline]
fn max(left: f32x4, right: f32x4) -> f32x4 {
    // A comparison with NaN is false: the first catches it on the left, the second on the right.
    (left.simd_lt(right) | right.is_nan()).bitselect(right, left)
}

/// `function(l, e^exponent(l))` for each value: one loop for all powers, because a polynomial is long.
#[inline]
fn with_power(
    out: &mut [f32],
    left: &[f32],
    exponent: impl Fn(f32x4) -> f32x4,
    function: impl Fn(f32x4, f32x4) -> f32x4,
) {
    let powers = &mut [0.0; RUN][..left.len()];
    map(out, left, left, |l, _| exponent(l));
    exp(powers, out);
    map(out, left, powers, function);
}

#[inline(never)]
fn exp(out: &mut [f32], values: &[f32]) {
    map(out, values, values, |value, _| math::power(value));
}
