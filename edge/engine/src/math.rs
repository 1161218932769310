//! The only transcendental functions of the project.
//!
//! The platform's `exp` and `ln` differ between libc, V8 and processors. These are `libm`'s (a Rust port of musl's) at a
//! pinned version: additions, multiplications and bit operations in a fixed order, so the bits are the same everywhere.
//! Errors are below 1 ulp of the exact value.

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

/// Square root; NaN below 0. Correctly rounded, as IEEE 754 demands.
#[must_use]
pub fn sqrt(x: f32) -> f32 {
    libm::sqrtf(x)
}

/// Square root in double precision; NaN below 0. Correctly rounded likewise.
#[must_use]
pub fn sqrt64(x: f64) -> f64 {
    libm::sqrt(x)
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
