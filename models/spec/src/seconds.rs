//! Spans of time in whole seconds, written `"30s"`, `"5m"`, `"12h"`, `"30d"`, `"4w"`.

use std::fmt;

use crate::vocabulary::{TimeUnit, Word};

/// A positive span of time in whole seconds, at most [`Seconds::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seconds(pub(crate) u32);

impl Seconds {
    /// Ten years of 365 days: longer spans are typing mistakes, and milliseconds of it fit every integer used at the edge.
    pub const MAX: Self = Self(3_650 * 86_400);

    /// The number of seconds.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The same span in milliseconds, the unit of times at the edge.
    pub const fn millis(self) -> i64 {
        self.0 as i64 * 1_000
    }

    /// Reads a number followed by a unit; `None` for anything else, for zero, and above [`Seconds::MAX`].
    ///
    /// ```
    /// use selvedge_spec::Seconds;
    /// assert_eq!(Seconds::parse("90d").unwrap().get(), 90 * 86_400);
    /// assert_eq!(Seconds::parse("90 days"), None);
    /// assert_eq!(Seconds::parse("0s"), None);
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let unit = TimeUnit::from_word(&text[digits.len()..])?;
        let seconds = digits.parse::<u32>().ok()?.checked_mul(unit.seconds())?;
        (1..=Self::MAX.0).contains(&seconds).then_some(Self(seconds))
    }
}

/// Writes the span in the largest unit that divides it, so that it parses back to itself.
impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Seconds divide everything, so the fallback is never reached.
        let unit =
            TimeUnit::ALL.iter().rev().find(|unit| self.0.is_multiple_of(unit.seconds())).unwrap_or(&TimeUnit::Second);
        write!(f, "{}{unit}", self.0 / unit.seconds())
    }
}
