//! When a follower asks again.

/// Milliseconds between two questions, if nobody says otherwise.
pub const POLL_MS: u64 = 30_000;
/// The first pause after a failure.
const FIRST_PAUSE_MS: u64 = 1000;
/// The longest pause after failures.
const LONGEST_PAUSE_MS: u64 = 300_000;

/// Milliseconds until the next question: after `failures` in a row, with `random` in [0, 1), and at least what the server
/// asked for.
///
/// Followers that were told the same thing at the same time must not come back at the same time: a pause is spread over a
/// fifth of the period after a success, and over all of itself after a failure ("full jitter", Brooker, *Exponential
/// Backoff And Jitter*, 2015).
#[must_use]
pub fn next_poll_ms(poll_ms: u64, failures: u32, random: f64, retry_after_ms: u64) -> u64 {
    let random = random.clamp(0.0, 1.0);
    let pause = match failures {
        0 => poll_ms as f64 * (0.9 + 0.2 * random),
        failures => {
            let longest = FIRST_PAUSE_MS.saturating_mul(1 << failures.min(20)).min(LONGEST_PAUSE_MS);
            longest as f64 * random
        }
    };
    // Never at once: a source that fails at once would be asked without pause.
    (pause.floor() as u64).max(retry_after_ms).max(100)
}
