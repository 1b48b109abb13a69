//! Breaks text into lines for a number of columns. Pure.

use crate::monitor::clean::grid_line;
use crate::monitor::text::width;

/// A tab, in spaces.
const TAB: &str = "    ";

/// Text from others in lines of at most `columns`, broken between words where that is possible. Safe to print.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    broken(text, columns, true)
}

/// The same, broken only where a line is full, so that what follows a place never moves what is before it.
pub fn fill(text: &str, columns: usize) -> Vec<String> {
    broken(text, columns, false)
}

fn broken(text: &str, columns: usize, at_words: bool) -> Vec<String> {
    // A wide character needs two.
    let columns = columns.max(2);
    let text = text.replace('\r', "").replace('\t', TAB);
    text.split('\n').flat_map(|line| break_line(&grid_line(line), columns, at_words)).collect()
}

fn break_line(line: &str, columns: usize, at_words: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut start, mut used) = (0, 0);
    // The end of the last space in this line, and the columns up to there.
    let mut space: Option<(usize, usize)> = None;
    for (at, c) in line.char_indices() {
        let next = at + c.len_utf8();
        let wide = width(&line[at..next]);
        if at_words && c == ' ' && used + wide > columns {
            lines.push(line[start..at].trim_end().to_owned());
            (start, used, space) = (next, 0, None);
            continue;
        }
        while used + wide > columns {
            let (end, before) = space.take().unwrap_or((at, used));
            let full = &line[start..end];
            lines.push(if at_words { full.trim_end() } else { full }.to_owned());
            (start, used) = (end, used - before);
        }
        used += wide;
        if at_words && c == ' ' {
            space = Some((next, used));
        }
    }
    lines.push(line[start..].to_owned());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_whole_where_they_fit() {
        assert_eq!(wrap("the sky is blue", 8), ["the sky", "is blue"]);
        assert_eq!(wrap("the sky is blue", 7), ["the sky", "is blue"]);
        assert_eq!(wrap("a incomprehensible b", 6), ["a", "incomp", "rehens", "ible b"]);
        assert_eq!(wrap("one\n\n  two\tthree", 20), ["one", "", "  two    three"]);
        assert_eq!(wrap("", 5), [""]);
    }

    #[test]
    fn wide_characters_and_hostile_ones_fit_too() {
        assert_eq!(wrap("a 日本日本", 5), ["a", "日本", "日本"]);
        assert_eq!(wrap("日日", 0), ["日", "日"]);
        assert_eq!(wrap("a\u{1b}[2J\u{202e}b\r\nc", 80), ["a\u{fffd}[2Jb", "c"]);
        for columns in 0..40 {
            let lines = wrap(&"wörd 日本 e\u{301}\u{301}\u{301} 👩\u{200d}👧  x".repeat(20), columns);
            assert!(lines.iter().all(|line| width(line) <= columns.max(2)), "{columns}: {lines:?}");
        }
    }

    #[test]
    fn filled_lines_do_not_move_when_text_is_added() {
        assert_eq!(fill("ab cd ef", 4), ["ab c", "d ef"]);
        assert_eq!(fill("ab c", 4), ["ab c"]);
        assert_eq!(fill("ab c\n", 4), ["ab c", ""]);
    }
}
