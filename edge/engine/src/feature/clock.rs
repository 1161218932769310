//! Time, as the request tells it.

use selvedge_format::program::TimePart;

use super::Columns;

const MINUTE_MS: i64 = 60_000;
const DAY_MIN: i64 = 1_440;

/// `time_difference`: now minus the field, in units; negative for the future.
pub(super) fn difference(columns: &Columns, field: u16, unit_s: u32, out: &mut [f32]) {
    let now = columns.time_ms();
    for (out, time) in out.iter_mut().zip(columns.times(field)) {
        *out = if *time == i64::MIN {
            f32::NAN
        } else {
            (now.saturating_sub(*time) as f64 / (f64::from(unit_s) * 1000.0)) as f32
        };
    }
}

/// `local_time`: a part of the time that the user's clock shows.
pub(super) fn local_part(columns: &Columns, part: TimePart, out: &mut [f32]) {
    let minutes = columns.time_ms().div_euclid(MINUTE_MS) + i64::from(columns.utc_offset_min());
    let (days, minute) = (minutes.div_euclid(DAY_MIN), minutes.rem_euclid(DAY_MIN));
    let (month, day) = civil(days);
    let value = match part {
        TimePart::MinuteOfDay => minute,
        TimePart::Hour => minute / 60,
        // 1970-01-01 was a Thursday.
        TimePart::Weekday => (days + 3).rem_euclid(7),
        TimePart::Day => day,
        TimePart::Month => month,
    };
    out.fill(value as f32);
}

/// Month and day of the month of a day counted from 1970-01-01.
/// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
const fn civil(days: i64) -> (i64, i64) {
    let shifted = days + 719_468;
    let era_day = shifted.rem_euclid(146_097);
    let era_year = (era_day - era_day / 1_460 + era_day / 36_524 - era_day / 146_096) / 365;
    let year_day = era_day - (365 * era_year + era_year / 4 - era_year / 100);
    let month = (5 * year_day + 2) / 153;
    (if month < 10 { month + 3 } else { month - 9 }, year_day - (153 * month + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::civil;

    #[test]
    fn civil_dates_around_leap_days_are_those_of_the_calendar() {
        for (days, date) in
            [(0, (1, 1)), (58, (2, 28)), (59, (3, 1)), (11_016, (2, 29)), (11_017, (3, 1)), (17_531, (12, 31))]
        {
            assert_eq!(civil(days), date, "day {days}");
        }
    }
}
