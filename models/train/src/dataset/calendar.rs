//! The retailer's weeks, in Complete Journey's numbering.
//!
//! Weeks begin on Monday at midnight in New York; week 1 is the single day 2017-01-01, a Sunday, so week 2 begins on Monday
//! 2017-01-02. Timestamps in the data are UTC, hence midnight is 05:00 in winter and 04:00 in summer. The data cover one
//! year, so the two changes of the clock in 2017 are written down here and no time-zone database is needed. A test holds
//! this against the `week` column of every transaction.

use super::Week;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const WEEK_MS: i64 = 7 * DAY_MS;

/// 2017-01-01T00:00:00Z.
const NEW_YEAR_MS: i64 = 1_483_228_800_000;
/// Day of 2017, from 0, on which New York's clocks go forward (12 March).
const SUMMER_FROM_DAY: i64 = 70;
/// Day of 2017 on which they go back (5 November).
const SUMMER_TO_DAY: i64 = 308;

/// The first instant of a week, milliseconds since the epoch, UTC. Weeks count from 1; 0 is taken for 1.
///
/// ```
/// use selvedge_train::dataset::calendar::week_start_ms;
/// assert_eq!(week_start_ms(1), 1_483_246_800_000); // 2017-01-01T05:00:00Z
/// assert_eq!(week_start_ms(2) - week_start_ms(1), 24 * 3_600_000);
/// ```
#[must_use]
pub fn week_start_ms(week: u32) -> i64 {
    let day = match week {
        0 | 1 => 0,
        later => 1 + 7 * (i64::from(later) - 2),
    };
    // Both changes happen at 02:00 on a Sunday, never between a Monday's midnight and itself: comparing days is exact.
    let summer = (SUMMER_FROM_DAY..SUMMER_TO_DAY).contains(&day);
    let behind_utc = if summer { 4 } else { 5 };
    NEW_YEAR_MS + day * DAY_MS + behind_utc * HOUR_MS
}

/// The week that an instant lies in; 1 for anything before the first.
#[must_use]
pub fn week_of(time_ms: i64) -> u32 {
    // The clock moves by an hour, so counting from week 2 in UTC is off by one week at most.
    let counted = (time_ms - week_start_ms(2)).div_euclid(WEEK_MS) + 2;
    let guess = u32::try_from(counted).unwrap_or(1).max(1);
    (guess.saturating_sub(1).max(1)..=guess + 1).rev().find(|&week| week_start_ms(week) <= time_ms).unwrap_or(1)
}

/// The weeks `1..=last`.
pub(super) fn weeks_through(last: u32) -> Vec<Week> {
    (1..=last)
        .map(|number| Week { number, start_ms: week_start_ms(number), end_ms: week_start_ms(number + 1) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weeks_start_at_new_york_midnight_on_both_sides_of_the_clock_changes() {
        let hour_utc = |week| week_start_ms(week).rem_euclid(DAY_MS) / HOUR_MS;
        // Week 11 begins on 6 March, week 12 on 13 March; week 45 on 30 October, week 46 on 6 November.
        assert_eq!([11, 12, 45, 46].map(hour_utc), [5, 4, 4, 5]);
        assert_eq!(week_start_ms(12), 1_489_377_600_000);
        assert_eq!(week_start_ms(46), 1_509_944_400_000);
    }

    #[test]
    fn week_of_inverts_week_start_at_both_ends_of_every_week() {
        for week in 1..=60 {
            assert_eq!(week_of(week_start_ms(week)), week);
            assert_eq!(week_of(week_start_ms(week + 1) - 1), week);
        }
        assert_eq!(week_of(i64::MIN / 2), 1);
    }
}
