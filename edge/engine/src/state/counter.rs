//! One counter: how an event is added, and what it is worth later.

use selvedge_format::program::Decay;

use crate::math;

/// Adds `amount` at `time` to a counter whose cells are valid as of `last`; afterwards they are as of the later one.
pub(super) fn add(decay: Decay, cells: &mut [f32], last: u32, time: u32, amount: f32) {
    match decay {
        Decay::Lifetime => cells[0] = bounded(cells[0] + amount),
        Decay::HalfLife { half_life_s } => {
            let (old, new) = if time >= last {
                (cells[0] * math::decay(time - last, half_life_s), amount)
            } else {
                (cells[0], amount * math::decay(last - time, half_life_s))
            };
            cells[0] = bounded(old + new);
        }
        Decay::Window { bucket_s, buckets } => {
            let (newest, bucket) = (bucket_of(last, bucket_s), bucket_of(time, bucket_s));
            let buckets = u64::from(buckets);
            if bucket >= newest + buckets {
                cells.fill(0.0);
            }
            for passed in newest + 1..=bucket.min(newest + buckets) {
                cells[(passed % buckets) as usize] = 0.0;
            }
            if bucket + buckets > newest {
                let cell = &mut cells[(bucket % buckets) as usize];
                *cell = bounded(*cell + amount);
            }
        }
    }
}

/// Value at `now` of a counter whose cells are valid as of `last`.
pub(crate) fn value_at(decay: Decay, cell: impl Fn(usize) -> f32, last: u32, now: u32) -> f32 {
    match decay {
        Decay::Lifetime => cell(0),
        Decay::HalfLife { half_life_s } => cell(0) * math::decay(now.saturating_sub(last), half_life_s),
        Decay::Window { bucket_s, buckets } => {
            let newest = bucket_of(last, bucket_s);
            let (now, buckets) = (bucket_of(now, bucket_s).max(newest), u64::from(buckets));
            // From the oldest bucket that still counts to the newest that was written.
            let oldest = (now + 1).saturating_sub(buckets);
            (oldest..=newest).fold(0.0, |sum, bucket| sum + cell((bucket % buckets) as usize))
        }
    }
}

/// Wider than a time, because the last second of a `u32` is a time too.
fn bucket_of(time: u32, bucket_s: u32) -> u64 {
    u64::from(time / bucket_s)
}

/// Hostile amounts must not make a state that its own decoder refuses.
fn bounded(value: f32) -> f32 {
    value.clamp(f32::MIN, f32::MAX)
}
