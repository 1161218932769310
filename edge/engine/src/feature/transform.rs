//! Elementwise functions of a feature.

use selvedge_format::program::TransformV1;

use crate::math;

/// Replaces missing values by `default`, applies the transforms in order, and makes what is not a number missing.
pub(super) fn apply(default: f32, transforms: &[TransformV1], column: &mut [f32]) {
    if !default.is_nan() {
        for value in column.iter_mut().filter(|value| value.is_nan()) {
            *value = default;
        }
    }
    for transform in transforms {
        match *transform {
            TransformV1::Log1p => each(column, |x| if x < -1.0 { f32::NAN } else { math::ln_1p(x) }),
            TransformV1::Sqrt => each(column, math::sqrt),
            TransformV1::Abs => each(column, f32::abs),
            TransformV1::Neg => each(column, |x| -x),
            TransformV1::Square => each(column, |x| x * x),
            // Not `clamp`, which panics on a NaN bound; a missing value stays missing.
            TransformV1::Clip(low, high) => each(column, |x| {
                if x < low {
                    low
                } else if x > high {
                    high
                } else {
                    x
                }
            }),
            TransformV1::Scale(factor) => each(column, |x| x * factor),
            TransformV1::Shift(term) => each(column, |x| x + term),
        }
    }
    // Infinities arise from hostile values only; NaN payloads differ between processors.
    for value in column.iter_mut().filter(|value| !value.is_finite()) {
        *value = f32::from_bits(selvedge_format::decision::CANONICAL_NAN);
    }
}

fn each(column: &mut [f32], function: impl Fn(f32) -> f32) {
    for value in column {
        *value = function(*value);
    }
}
