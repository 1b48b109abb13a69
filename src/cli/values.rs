//! Parses sizes and times as people write them. Pure.

use std::time::Duration;

/// A time from 1 ms to a day: `500ms`, `10s`, `2m`, `1h`, or seconds without a unit.
pub fn time(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let millis = match unit {
        "ms" => number,
        "" | "s" => number.checked_mul(1000)?,
        "m" => number.checked_mul(60_000)?,
        "h" => number.checked_mul(3_600_000)?,
        _ => return None,
    };
    // The limit keeps deadline arithmetic from overflowing.
    (1..=86_400_000).contains(&millis).then(|| Duration::from_millis(millis))
}

/// A size of at least one byte: `32KiB`, `32MiB`, `1GiB`, `32K`, `32M`, `1G`, or bytes without a unit. Units are powers
/// of 1024.
pub fn size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let scale: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(scale).filter(|&n| n > 0)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_read_as_people_write_them() {
        assert_eq!(time("10s"), Some(Duration::from_secs(10)));
        assert_eq!(time("10"), Some(Duration::from_secs(10)));
        assert_eq!(time("250 ms"), Some(Duration::from_millis(250)));
        assert_eq!(time("2m"), Some(Duration::from_secs(120)));
        assert_eq!(size("32KiB"), Some(32 << 10));
        assert_eq!(size("32m"), Some(32 << 20));
        assert_eq!(size("100"), Some(100));
        for bad in ["", "s", "-1s", "1.5s", "10d", "0", "99999999999999999999", "18446744073709551615h"] {
            assert_eq!(time(bad), None, "{bad:?}");
        }
        for bad in ["", "MiB", "0", "1TiB", "18446744073709551615G"] {
            assert_eq!(size(bad), None, "{bad:?}");
        }
    }
}
