//! Counters of the candidate's key: how much, what share, what rate, how long ago.

use selvedge_format::program::{CounterRef, TableRef};

use super::Columns;

/// `decayed_count`, `window_count`, `lifetime_count`: the counter's value; missing where the key was never counted.
pub(super) fn value(columns: &Columns, counter: CounterRef, out: &mut [f32]) {
    out.copy_from_slice(columns.counter(counter));
}

/// `share`: the counter over its sum over all keys; missing where the key was never counted or the sum is not above 0.
pub(super) fn share(columns: &Columns, counter: CounterRef, out: &mut [f32]) {
    let total = columns.total(counter);
    for (out, value) in out.iter_mut().zip(columns.counter(counter)) {
        *out = if total > 0.0 { value / total } else { f32::NAN };
    }
}

/// `rate`: `(a + weight * prior) / (n + weight)`, the mean of a Beta or Gamma posterior. What was never counted is 0.
pub(super) fn rate(
    columns: &Columns,
    numerator: CounterRef,
    denominator: CounterRef,
    weight: f32,
    prior: f32,
    out: &mut [f32],
) {
    let known = |value: f32| if value.is_nan() { 0.0 } else { value };
    let counts = columns.counter(numerator).iter().zip(columns.counter(denominator));
    for (out, (a, n)) in out.iter_mut().zip(counts) {
        let events = known(*n) + weight;
        *out = if events > 0.0 { (known(*a) + weight * prior) / events } else { f32::NAN };
    }
}

/// `recency`: time since the last event with the candidate's key, in units; missing if there was none.
pub(super) fn recency(columns: &Columns, table: TableRef, unit_s: u32, out: &mut [f32]) {
    let now = columns.now_s();
    for (out, last) in out.iter_mut().zip(columns.last(table)) {
        *out = last.map_or(f32::NAN, |last| now.saturating_sub(last) as f32 / unit_s as f32);
    }
}
