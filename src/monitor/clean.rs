//! Makes untrusted text safe to print on a terminal: names, errors, hints, answers. Everything written by a hub, a
//! participant or a provider passes through here before it is shown; JSON for scripts stays unchanged. Pure.

use super::widths::width;

/// The longest name shown, in characters.
const MAX_NAME: usize = 120;
/// The longest line shown, in characters.
const MAX_LINE: usize = 16_384;
/// Combining marks allowed on one character: a long stack would cover the lines above.
const MAX_MARKS: usize = 2;

/// A name: as [`one_line`], but shorter.
pub fn name(text: &str) -> String {
    cut_line(text, MAX_NAME)
}

/// One line: an error, a hint, a cell of a table. It cannot control the terminal, start a new line or reorder the text
/// beside it. Sequences whose width terminals disagree on are removed or split.
pub fn one_line(text: &str) -> String {
    cut_line(text, MAX_LINE)
}

/// One line of any length, for a place that bounds its text itself and breaks it into lines.
#[cfg(feature = "tui")]
pub fn grid_line(text: &str) -> String {
    cut_line(text, usize::MAX)
}

/// Text of several lines, or a piece of it, such as an answer. Line feeds, tabs and joined characters are kept;
/// everything else that controls the terminal or reorders text is removed or replaced.
pub fn multi_line(text: &str) -> String {
    let plain = |c| if matches!(c, '\n' | '\t') { c } else { without_control(c) };
    // Carriage returns are removed without a replacement: some models write one before each line feed.
    text.chars().filter(|&c| c != '\r' && !reorders(c)).map(plain).collect()
}

fn cut_line(text: &str, most: usize) -> String {
    let mut out = String::new();
    // A mark at the start would combine with the text before it, so it counts as one too many.
    let mut marks = MAX_MARKS;
    let mut count = 0;
    for c in text.chars().filter(|&c| !is_invisible(c)) {
        let c = of_known_width(without_control(c));
        marks = if width(c) == 0 { marks + 1 } else { 0 };
        if marks > MAX_MARKS {
            continue;
        }
        count += 1;
        if count > most {
            out.push('…');
            break;
        }
        out.push(c);
    }
    out
}

/// Whether a character reorders text, ends a line or hides text: bidirectional controls, line and paragraph separators,
/// annotations, tags.
fn reorders(c: char) -> bool {
    matches!(c,
        '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// Whether a character is invisible: it [reorders], joins its neighbours, or selects how they are drawn.
fn is_invisible(c: char) -> bool {
    reorders(c)
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2065}' | '\u{20d0}'..='\u{20ff}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{1f3fb}'..='\u{1f3ff}')
}

/// Replaces control characters (C0, DEL and C1) by U+FFFD.
fn without_control(c: char) -> char {
    if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }
}

/// Replaces regional indicators (flags) by their letters, and a character of uncertain width by U+FFFD.
fn of_known_width(c: char) -> char {
    match c {
        '\u{1f1e6}'..='\u{1f1ff}' => {
            char::from_u32(u32::from(c) - 0x1f1e6 + u32::from('A')).unwrap_or(char::REPLACEMENT_CHARACTER)
        }
        // Terminals draw it three columns wide; Unicode's tables have one.
        '\u{17d8}' => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Characters that control a terminal or reorder text.
    const HOSTILE: &str = "\u{1b}\u{7}\u{8}\0\u{7f}\u{85}\u{9b}\u{9d}\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202b}\
        \u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}\u{e0041}";

    #[test]
    fn names_cannot_control_the_terminal() {
        assert_eq!(name("a\u{1b}[2J\u{9b}31mb\r\n\u{7}"), "a\u{fffd}[2J\u{fffd}31mb\u{fffd}\u{fffd}\u{fffd}");
        assert_eq!(name("a\u{202e}b\u{2066}c\u{200f}"), "abc");
        assert_eq!(name("👩\u{200d}👧 🇩🇪 👍🏽 1\u{fe0f}\u{20e3}"), "👩👧 DE 👍 1");
        assert_eq!(name("\u{301}a\u{301}\u{302}\u{303}\u{304}b"), "a\u{301}\u{302}b");
    }

    #[test]
    fn nothing_hostile_is_left_in_either_form() {
        for c in HOSTILE.chars() {
            let text = format!("a{c}b");
            assert!(!one_line(&text).contains(c) && !multi_line(&text).contains(c), "{c:?}");
        }
        assert_eq!(one_line("a\nError: b\tc"), "a\u{fffd}Error: b\u{fffd}c");
    }

    #[test]
    fn answers_keep_their_lines_and_their_signs() {
        let answer = "a\n\tb 👩\u{200d}👧 🇩🇪 1\u{fe0f}\u{20e3} e\u{301}";
        assert_eq!(multi_line(answer), answer);
        assert_eq!(multi_line("a\r\nb"), "a\nb");
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(name(&"a".repeat(200)).chars().count(), MAX_NAME + 1);
        assert_eq!(one_line(&"a".repeat(1 << 20)).chars().count(), MAX_LINE + 1);
    }
}
