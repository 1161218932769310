//! Two earlier features in one.

use selvedge_format::program::CombineOp;

/// `combine`: a function of two columns; missing where an operand is.
pub(super) fn combine(op: CombineOp, earlier: &[f32], stride: usize, left: u16, right: u16, out: &mut [f32]) {
    let column = |feature: u16| &earlier[usize::from(feature) * stride..];
    let operands = column(left).iter().zip(column(right));
    for (out, (a, b)) in out.iter_mut().zip(operands) {
        *out = match op {
            CombineOp::Ratio if *b == 0.0 => f32::NAN,
            CombineOp::Ratio => a / b,
            CombineOp::Product => a * b,
            CombineOp::Difference => a - b,
            // f32::min ignores NaN; a missing operand must not vanish.
            _ if a.is_nan() || b.is_nan() => f32::NAN,
            CombineOp::Min => {
                if b < a {
                    *b
                } else {
                    *a
                }
            }
            CombineOp::Max => {
                if b > a {
                    *b
                } else {
                    *a
                }
            }
        };
    }
}
