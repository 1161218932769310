//! The loops of a tensor program: a dense layer's panel, and functions of a column.
//!
//! `exp`, `tanh` and `erf` are polynomials without a branch (the last functions of [`math`]), so that the compiler makes vectors
//! of them.

use bytemuck::cast;
use selvedge_format::graph::{Combination, Function, PANEL};
use wide::f32x4;

use crate::math;

/// Candidates that a step is done for at once.
pub(super) const TILE: usize = 32;
/// Rows that a loop treats together.
pub(super) const ROWS: usize = 8;

/// A value of each candidate of a tile.
pub(super) type Column = [f32; TILE];

/// Adds `weights * columns` to the sums of a panel's outputs, for `lanes` candidates: eight accumulators of four.
pub(super) fn add_products(weights: &[[f32; PANEL]], columns: &[Column], lanes: usize, sums: &mut [Column; PANEL]) {
    for block in 0..lanes / ROWS {
        let half = |column: &Column, half: usize| -> f32x4 {
            let (quarters, _) = column.as_chunks::<4>();
            f32x4::new(quarters[2 * block + half])
        };
        let mut held: [[f32x4; 2]; PANEL] = core::array::from_fn(|at| [half(&sums[at], 0), half(&sums[at], 1)]);
        for (weights, column) in weights.iter().zip(columns) {
            let (low, high) = (half(column, 0), half(column, 1));
            for (held, weight) in held.iter_mut().zip(weights) {
                let weight = f32x4::splat(*weight);
                held[0] += weight * low;
                held[1] += weight * high;
            }
        }
        for (sum, held) in sums.iter_mut().zip(held) {
            let (blocks, _) = sum.as_chunks_mut::<ROWS>();
            blocks[block] = cast(held.map(f32x4::to_array));
        }
    }
}

/// The same for the first lane alone: the outputs of a panel are one vector.
pub(super) fn add_products_of_row(weights: &[[f32; PANEL]], row: &[f32], sums: &mut [Column; PANEL]) {
    let mut held = f32x4::new(core::array::from_fn(|at| sums[at][0]));
    for (weights, x) in weights.iter().zip(row) {
        held += f32x4::new(*weights) * f32x4::splat(*x);
    }
    for (sum, held) in sums.iter_mut().zip(held.to_array()) {
        sum[0] = held;
    }
}

/// Replaces each left value by the function of it and the right one.
#[inline(never)]
pub(super) fn apply(function: Function, left: &mut [f32], right: &[f32]) {
    let truth = |holds: bool| if holds { 1.0 } else { 0.0 };
    match function {
        Function::Left => {}
        Function::Add => map(left, right, |l, r| l + r),
        Function::Subtract => map(left, right, |l, r| l - r),
        Function::Multiply => map(left, right, |l, r| l * r),
        Function::Divide => map(left, right, |l, r| l / r),
        Function::Max => map(left, right, max),
        Function::Min => map(left, right, |l, r| -max(-l, -r)),
        Function::Less => map(left, right, |l, r| truth(l < r)),
        Function::Equal => map(left, right, |l, r| truth(l == r)),
        Function::Exp => exp(left),
        Function::Log => one_by_one(left, math::ln),
        Function::Sqrt => one_by_one(left, math::sqrt),
        Function::Abs => map(left, right, |l, _| l.abs()),
        Function::Floor => one_by_one(left, libm::floorf),
        Function::Round => one_by_one(left, libm::rintf),
        Function::Sigmoid => with_power(left, |l| -l, |_, power| 1.0 / (1.0 + power)),
        Function::Tanh => with_power(left, |l| 2.0 * l.abs(), math::tanh_by_power),
        Function::Erf => with_power(left, |l| -l * l, math::erf_by_power),
    }
}

/// Combines what a place holds with a function's value; a selection takes the right operand.
pub(super) fn combine(combination: Combination, held: &mut [f32], value: &[f32], right: &[f32]) {
    let function = match combination {
        Combination::Store => return held.copy_from_slice(value),
        Combination::Add => Function::Add,
        Combination::Multiply => Function::Multiply,
        Combination::Max => Function::Max,
        Combination::Min => Function::Min,
        Combination::Select => {
            for ((held, value), right) in held.iter_mut().zip(value).zip(right) {
                *held = if *value == 0.0 { *held } else { *right };
            }
            return;
        }
    };
    apply(function, held, value);
}

#[inline]
fn map(left: &mut [f32], right: &[f32], function: impl Fn(f32, f32) -> f32) {
    let ((left, _), (right, _)) = (left.as_chunks_mut::<ROWS>(), right.as_chunks::<ROWS>());
    for (left, right) in left.iter_mut().zip(right) {
        *left = core::array::from_fn(|lane| function(left[lane], right[lane]));
    }
}

#[inline(never)]
fn one_by_one(values: &mut [f32], function: fn(f32) -> f32) {
    for value in values {
        *value = function(*value);
    }
}

#[inline]
fn max(left: f32, right: f32) -> f32 {
    // A comparison with NaN is false: the first catches it on the left, the second on the right.
    if left < right || right.is_nan() { right } else { left }
}

/// `function(l, e^exponent(l))` for each value: one loop for all powers, because a polynomial is long.
#[inline]
fn with_power(left: &mut [f32], exponent: impl Fn(f32) -> f32, function: impl Fn(f32, f32) -> f32) {
    let mut powers = [0.0; TILE];
    let powers = &mut powers[..left.len()];
    map(powers, left, |_, l| exponent(l));
    exp(powers);
    map(left, powers, function);
}

#[inline(never)]
fn exp(values: &mut [f32]) {
    let (blocks, _) = values.as_chunks_mut::<ROWS>();
    for block in blocks {
        *block = block.map(math::power);
    }
}
