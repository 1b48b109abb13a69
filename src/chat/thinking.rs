//! Tells a model's thinking from its answer, in a text that arrives in pieces. Pure.

const BEGIN: &str = "<think>";
const END: &str = "</think>";
/// How much white space before `<think>` is held back, in bytes.
const MAX_HELD: usize = 256;

/// What a piece of text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What the model says to itself.
    Thinking,
    /// What it says to the person.
    Answer,
}

/// Splits the text of one answer. Thinking is what `<think>` and `</think>` enclose at the beginning.
#[derive(Debug)]
pub enum ThinkingSplitter {
    /// The text so far is white space and perhaps a part of `<think>`.
    Start(String),
    /// Within the thinking. The text may be a part of `</think>`.
    Inside(String),
    /// After the thinking, before the answer's first character.
    Gap,
    /// Within the answer.
    Answer,
}

impl Default for ThinkingSplitter {
    fn default() -> Self {
        ThinkingSplitter::Start(String::new())
    }
}

impl ThinkingSplitter {
    /// Splits the next piece: the thinking in it, and then what it has of the answer. Either may be empty.
    pub fn push(&mut self, piece: &str) -> (String, String) {
        match self {
            ThinkingSplitter::Answer => (String::new(), piece.to_owned()),
            ThinkingSplitter::Gap => {
                let text = piece.trim_start();
                if !text.is_empty() {
                    *self = ThinkingSplitter::Answer;
                }
                (String::new(), text.to_owned())
            }
            ThinkingSplitter::Start(held) => {
                held.push_str(piece);
                let text = held.trim_start();
                if let Some(inside) = text.strip_prefix(BEGIN) {
                    let inside = inside.to_owned();
                    *self = ThinkingSplitter::Inside(String::new());
                    return self.push(&inside);
                }
                if BEGIN.starts_with(text) && held.len() <= MAX_HELD {
                    return Default::default();
                }
                let text = std::mem::take(held);
                *self = ThinkingSplitter::Answer;
                (String::new(), text)
            }
            ThinkingSplitter::Inside(held) => {
                let text = std::mem::take(held) + piece;
                if let Some((thinking, rest)) = text.split_once(END) {
                    *self = ThinkingSplitter::Gap;
                    return (thinking.to_owned(), self.push(rest).1);
                }
                let tail = (1..END.len()).rev().find(|&length| text.ends_with(&END[..length])).unwrap_or(0);
                let (thinking, tail) = text.split_at(text.len() - tail);
                tail.clone_into(held);
                (thinking.to_owned(), String::new())
            }
        }
    }

    /// What is held back at the end of the text.
    pub fn finish(&mut self) -> (Kind, String) {
        match std::mem::replace(self, ThinkingSplitter::Answer) {
            ThinkingSplitter::Inside(held) => (Kind::Thinking, held),
            ThinkingSplitter::Start(held) => (Kind::Answer, held),
            _ => (Kind::Answer, String::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The thinking and the answer in these pieces.
    fn split<'p>(pieces: impl IntoIterator<Item = &'p str>) -> (String, String) {
        let mut splitter = ThinkingSplitter::default();
        let (mut thinking, mut answer) = (String::new(), String::new());
        for piece in pieces {
            let (thought, said) = splitter.push(piece);
            thinking += &thought;
            answer += &said;
        }
        match splitter.finish() {
            (Kind::Thinking, rest) => thinking += &rest,
            (Kind::Answer, rest) => answer += &rest,
        }
        (thinking, answer)
    }

    #[test]
    fn thinking_is_split_off_wherever_the_pieces_end() {
        for (text, thinking, answer) in [
            ("Plain.", "", "Plain."),
            ("\n<think>\nWell: 1 < 2.\n</think>\n\nYes.\n", "\nWell: 1 < 2.\n", "Yes.\n"),
            ("<think></think>Yes", "", "Yes"),
            ("<think>a</thin</think>b</think>", "a</thin", "b</think>"),
            ("<think>for ever</th", "for ever</th", ""),
            ("<thin", "", "<thin"),
            ("  <thinner>", "", "  <thinner>"),
            ("Say <think> and </think>", "", "Say <think> and </think>"),
            ("", "", ""),
        ] {
            let expected = (thinking.to_owned(), answer.to_owned());
            assert_eq!(split([text]), expected, "{text:?}");
            assert_eq!(split(text.split_inclusive(|_| true)), expected, "{text:?} by letters");
            for at in 0..text.len() {
                assert_eq!(split([&text[..at], &text[at..]]), expected, "{text:?} cut at {at}");
            }
        }
    }

    #[test]
    fn white_space_is_not_held_back_for_ever() {
        let mut splitter = ThinkingSplitter::default();
        let blank = " ".repeat(MAX_HELD + 1);
        assert_eq!(splitter.push(&blank), (String::new(), blank));
    }
}
