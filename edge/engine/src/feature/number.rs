//! Numbers that are there already.

use super::Columns;

/// `number`: the field's value.
pub(super) fn value(columns: &Columns, field: u16, out: &mut [f32]) {
    out.copy_from_slice(columns.numbers(field));
}

/// `position`: the candidate's position in the request, from 0.
pub(super) fn position(out: &mut [f32]) {
    for (candidate, out) in out.iter_mut().enumerate() {
        *out = candidate as f32;
    }
}

/// `candidates`: how many candidates the request has.
pub(super) fn candidates(out: &mut [f32]) {
    out.fill(out.len() as f32);
}
