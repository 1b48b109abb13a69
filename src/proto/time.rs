//! Times as texts, and as whole milliseconds.

use std::time::Duration;

/// Whole milliseconds; `u64::MAX` where the duration does not fit.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A time in UTC, in milliseconds since the epoch, as RFC 3339 writes it.
pub fn rfc3339(wall: u64) -> String {
    let (days, of_day) = (wall / 86_400_000, wall % 86_400_000);
    let (year, month, day) = date(days);
    let (seconds, millis) = (of_day / 1000, of_day % 1000);
    let time = [(seconds / 3600, 2, ':'), (seconds / 60 % 60, 2, ':'), (seconds % 60, 2, '.'), (millis, 3, 'Z')];
    let mut text = String::with_capacity(24);
    for (number, width, after) in [(year, 4, '-'), (month, 2, '-'), (day, 2, 'T')].into_iter().chain(time) {
        push_padded(&mut text, number, width);
        text.push(after);
    }
    text
}

/// Appends the last `width` digits of a number, padded with zeros.
fn push_padded(text: &mut String, number: u64, width: u32) {
    for digit in (0..width).rev() {
        let digit = number / 10_u64.pow(digit) % 10;
        text.extend(char::from_digit(digit as u32, 10));
    }
}

/// Year, month and day of a day since the epoch. Years are counted from March here, so that a leap day is the last day of
/// its year.
fn date(days: u64) -> (u64, u64, u64) {
    // 719 468 days lie between the first of March of the year 0 and the epoch; an era has 400 years.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_a_date_in_utc() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(951_782_399_999), "2000-02-28T23:59:59.999Z");
        assert_eq!(rfc3339(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(rfc3339(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(rfc3339(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_798_761_599_000), "2026-12-31T23:59:59.000Z");
    }
}
