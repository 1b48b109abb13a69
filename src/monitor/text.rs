//! Text for a terminal: untrusted names made safe to print, display widths, and short forms of numbers and times. Pure.

use super::widths::width as width_of;

/// The longest name shown, in characters.
const MAX_CHARS: usize = 120;
/// Combining marks allowed on one character: a long stack would cover the lines above.
const MAX_MARKS: usize = 2;

/// Makes untrusted text safe to print: it cannot control the terminal or reorder the text beside it. Sequences whose
/// width terminals disagree on are removed or split.
pub fn clean(text: &str) -> String {
    let mut out = String::new();
    // A mark at the start would combine with the text before it, so it counts as one too many.
    let mut marks = MAX_MARKS;
    let mut count = 0;
    for c in text.chars().filter(|&c| !is_invisible(c)) {
        let c = replace_control(c);
        marks = if width_of(c) == 0 { marks + 1 } else { 0 };
        if marks > MAX_MARKS {
            continue;
        }
        count += 1;
        if count > MAX_CHARS {
            out.push('…');
            break;
        }
        out.push(c);
    }
    out
}

/// Whether a character is invisible but affects order, joining or appearance.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{20d0}'..='\u{20ff}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{1f3fb}'..='\u{1f3ff}' | '\u{e0000}'..='\u{e0fff}')
}

/// Replaces control characters by U+FFFD and regional indicators (flags) by their letters.
fn replace_control(c: char) -> char {
    match c {
        '\u{1f1e6}'..='\u{1f1ff}' => {
            char::from_u32(u32::from(c) - 0x1f1e6 + u32::from('A')).unwrap_or(char::REPLACEMENT_CHARACTER)
        }
        // Terminals and the Unicode tables disagree on the width of this character.
        '\u{17d8}' => char::REPLACEMENT_CHARACTER,
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

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
    fn names_cannot_steer_the_terminal() {
        assert_eq!(clean("a\u{1b}[2J\u{9b}31mb\r\n\u{7}"), "a\u{fffd}[2J\u{fffd}31mb\u{fffd}\u{fffd}\u{fffd}");
        assert_eq!(clean("a\u{202e}b\u{2066}c\u{200f}"), "abc");
        assert_eq!(clean("👩\u{200d}👧 🇩🇪 👍🏽 1\u{fe0f}\u{20e3}"), "👩👧 DE 👍 1");
        assert_eq!(clean("\u{301}a\u{301}\u{302}\u{303}\u{304}b"), "a\u{301}\u{302}b");
    }

    #[test]
    fn long_names_are_cut() {
        let cleaned = clean(&"🎉".repeat(200));
        assert_eq!((cleaned.chars().count(), cleaned.ends_with('…')), (MAX_CHARS + 1, true));
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
