//! The only transcendental functions of the project.
//!
//! The platform's `exp` and `ln` differ between libc, V8 and processors. These are `libm`'s (a Rust port of musl's) at a
//! pinned version: additions, multiplications and bit operations in a fixed order, so the bits are the same everywhere.
//! Errors are below 1 ulp of the exact value. Square roots are exact to the last bit wherever they are taken.
//!
//! Tensor programs call `exp`, `tanh` and `erf` millions of times: theirs are polynomials without a branch, over vectors. Cephes's for the first two (Moshier), and formula 7.1.26 of Abramowitz and Stegun; again only
//! additions, multiplications, divisions and bit operations in a fixed order.

use bytemuck::cast;
use wide::{f32x4, f64x2, i32x4};

/// `2^x`.
#[must_use]
pub fn exp2(x: f32) -> f32 {
    libm::exp2f(x)
}

/// `e^x`.
#[must_use]
pub fn exp(x: f32) -> f32 {
    libm::expf(x)
}

/// Natural logarithm; NaN below 0.
#[must_use]
pub fn ln(x: f32) -> f32 {
    libm::logf(x)
}

/// `ln(1 + x)`; NaN below -1.
#[must_use]
pub fn ln_1p(x: f32) -> f32 {
    // Most counters are zero for most candidates.
    if x == 0.0 { x } else { libm::log1pf(x) }
}

/// Square root; NaN below 0. Correctly rounded, as IEEE 754 demands, by the vector unit's instruction where there is one: a
/// lane of a vector, because `core` has no square root and libm's is hundreds of bytes.
#[must_use]
pub fn sqrt(x: f32) -> f32 {
    f32x4::splat(x).sqrt().to_array()[0]
}

/// Square root in double precision; NaN below 0. Correctly rounded likewise.
#[must_use]
pub fn sqrt64(x: f64) -> f64 {
    f64x2::splat(x).sqrt().to_array()[0]
}

/// `1 / (1 + e^-x)`.
#[must_use]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Factor by which a counter with this half-life shrinks in `elapsed_s` seconds.
#[must_use]
pub fn decay(elapsed_s: u32, half_life_s: u32) -> f32 {
    if elapsed_s == 0 { 1.0 } else { exp2(-(elapsed_s as f32 / half_life_s as f32)) }
}

/// Bits that order like the number, from the smallest to the largest; -0 below 0. Not for NaN.
#[must_use]
pub fn ascending_bits(x: f32) -> u32 {
    let bits = x.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

/// The number that has these [`ascending_bits`].
#[must_use]
pub fn from_ascending_bits(bits: u32) -> f32 {
    f32::from_bits(if bits >> 31 == 1 { bits & !(1 << 31) } else { !bits })
}

/// Adding and taking away rounds to a whole number: floats of this size have no fraction.
pub(crate) const ROUNDS: f32 = 12_582_912.0;

/// `e^x` without a branch, within 3 units in the last place.
#[must_use]
#[inline]
pub fn power(x: f32x4) -> f32x4 {
    let all = f32x4::splat;
    // Beyond these the result is 0 or infinite; NaN stays.
    let x = x.simd_gt(all(89.0)).bitselect(all(89.0), x);
    let x = x.simd_lt(all(-104.0)).bitselect(all(-104.0), x);
    let shifted = x * all(core::f32::consts::LOG2_E) + all(ROUNDS);
    let n = shifted - all(ROUNDS);
    let r = (x - n * all(0.693_359_4)) + n * all(2.121_944_4e-4);
    let tail = all(1.987_569_1e-4);
    let tail = tail * r + all(1.398_199_9e-3);
    let tail = tail * r + all(8.333_452e-3);
    let tail = tail * r + all(4.166_579_6e-2);
    let tail = tail * r + all(1.666_666_5e-1);
    let tail = tail * r + all(0.5);
    let mantissa = tail * r * r + r + all(1.0);
    // Two powers, because one would not reach the smallest and the largest numbers.
    let n = cast::<_, i32x4>(shifted) - i32x4::splat(ROUNDS.to_bits() as i32);
    let half = n >> 1;
    let two_to = |n: i32x4| cast::<i32x4, f32x4>((n + i32x4::splat(127)) << 23);
    mantissa * two_to(half) * two_to(n - half)
}

/// `tanh x` where `power` is `e^(2|x|)`, within 4 units in the last place.
#[must_use]
#[inline]
pub fn tanh_by_power(x: f32x4, power: f32x4) -> f32x4 {
    let all = f32x4::splat;
    let z = x * x;
    let small = all(-5.704_988_7e-3) * z + all(2.063_908_8e-2);
    let small = small * z - all(5.373_971_6e-2);
    let small = small * z + all(1.333_144_2e-1);
    let small = small * z - all(3.333_328e-1);
    let small = small * z * x + x;
    let large = all(1.0) - all(2.0) / (power + all(1.0));
    x.abs().simd_lt(all(0.625)).bitselect(small, with_sign(large, x))
}

/// The error function where `power` is `e^(-x^2)`, within 5e-7.
#[must_use]
#[inline]
pub fn erf_by_power(x: f32x4, power: f32x4) -> f32x4 {
    let all = f32x4::splat;
    let a = x.abs();
    let t = all(1.0) / (all(1.0) + all(0.327_591_1) * a);
    let sum = all(1.061_405_4) * t - all(1.453_152);
    let sum = sum * t + all(1.421_413_7);
    let sum = sum * t - all(0.284_496_74);
    let sum = sum * t + all(0.254_829_6);
    with_sign(all(1.0) - sum * t * power, x)
}

fn with_sign(magnitude: f32x4, sign: f32x4) -> f32x4 {
    f32x4::splat(-0.0).bitselect(sign, magnitude)
}

#[cfg(test)]
mod tests {
    // The standard library's square root is the machine's.
    extern crate std;

    use proptest::prelude::*;

    proptest! {
        #[test]
        fn square_roots_are_correctly_rounded(bits in any::<u32>(), more in any::<u64>()) {
            let (x, y) = (f32::from_bits(bits), f64::from_bits(more));
            prop_assert!(super::sqrt(x).to_bits() == x.sqrt().to_bits() || super::sqrt(x).is_nan() && x.sqrt().is_nan());
            prop_assert!(super::sqrt64(y).to_bits() == y.sqrt().to_bits() || super::sqrt64(y).is_nan() && y.sqrt().is_nan());
        }
    }
}
