//! Text for a terminal: display widths, and short forms of numbers and times. Pure.

pub use super::clean::name as clean;
use super::widths::width as width_of;

/// Display width in columns, for text that has passed [`clean`].
pub fn width(text: &str) -> usize {
    text.chars().map(width_of).sum()
}

/// Fits text to exactly `columns`: cut with an ellipsis, or padded with spaces.
pub fn fit(text: &str, columns: usize) -> String {
    let whole = width(text);
    let mut out = if whole <= columns { text.to_owned() } else { truncate(text, columns) };
    let left = columns.saturating_sub(width(&out));
    out.extend(std::iter::repeat_n(' ', left));
    out
}

fn truncate(text: &str, columns: usize) -> String {
    let Some(room) = columns.checked_sub(1) else { return String::new() };
    let (mut out, mut used) = (String::new(), 0);
    for c in text.chars() {
        used += width_of(c);
        if used > room {
            break;
        }
        out.push(c);
    }
    out.push('…');
    out
}

/// Formats milliseconds since the epoch as the time of day, UTC.
pub fn clock(millis: u64) -> String {
    let seconds = millis / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Formats milliseconds in the largest unit that fits: `59s`, `3m`, `2h`, `1d`.
pub fn span(millis: u64) -> String {
    match millis / 1000 {
        s @ 0..60 => format!("{s}s"),
        s @ 60..3600 => format!("{}m", s / 60),
        s @ 3600..86_400 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86_400),
    }
}

/// Formats a short duration, given in milliseconds: `312ms`, `4.2s`, `95s`.
pub fn brief(millis: u64) -> String {
    match millis {
        0..1000 => format!("{millis}ms"),
        1000..10_000 => format!("{}.{}s", millis / 1000, millis % 1000 / 100),
        _ => span(millis),
    }
}

/// Formats a rate, with one decimal below 100.
pub fn speed(rate: f64) -> String {
    if rate < 100.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}

/// Formats a count in at most five characters.
pub fn count(n: u64) -> String {
    match n {
        0..10_000 => n.to_string(),
        10_000..1_000_000 => format!("{}k", n / 1000),
        1_000_000..1_000_000_000 => format!("{}M", n / 1_000_000),
        _ => format!("{}G", (n / 1_000_000_000).min(9999)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut() {
        assert!(clean(&"🎉".repeat(200)).ends_with('…'));
        assert_eq!(fit("🎉🎉🎉", 5), "🎉🎉…");
        assert_eq!(fit("🎉🎉🎉", 4), "🎉… ");
        assert_eq!(fit("ab", 4), "ab  ");
        assert_eq!(fit("ab", 0), "");
        assert_eq!(width("日本e\u{301}"), 5);
    }

    #[test]
    fn times_and_numbers_are_short() {
        assert_eq!(clock(1_700_000_000_000), "22:13:20Z");
        assert_eq!([0, 59_999, 60_000, 7_200_000, 90_000_000].map(span), ["0s", "59s", "1m", "2h", "1d"]);
        assert_eq!([0, 999, 1234, 95_000].map(brief), ["0ms", "999ms", "1.2s", "1m"]);
        assert_eq!([9999, 10_000, 123_456_789, u64::MAX].map(count), ["9999", "10k", "123M", "9999G"]);
        assert_eq!((speed(4.25), speed(1234.5)), ("4.2".into(), "1234".into()));
    }
}
