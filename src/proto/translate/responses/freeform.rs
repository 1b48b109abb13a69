//! The input of a custom tool. A chat has only functions, so a custom tool becomes one with a single argument, `input`;
//! here the text is taken out of that argument's JSON while it arrives.

use super::super::super::members::Members;
use super::super::super::read_json::lenient;

/// The most bytes before the text begins: the brace, the key and white space.
const MAX_HEAD: usize = 256;

/// A custom call's input as far as it has arrived.
#[derive(Debug, Default)]
pub struct FreeformInput {
    /// The arguments, as the model writes them.
    raw: String,
    /// The input, as far as it is known.
    text: String,
    state: FreeformState,
    /// How much of `raw` has been read.
    read: usize,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum FreeformState {
    /// Before the text.
    #[default]
    Head,
    Text,
    /// Behind the text.
    End,
    /// No object that begins with `input`: read as a whole, at the end.
    Other,
}

impl FreeformInput {
    /// Takes more of the arguments, and gives the text that they add.
    pub fn push(&mut self, arguments: &str) -> &str {
        self.raw.push_str(arguments);
        let before = self.text.len();
        if self.state == FreeformState::Head {
            match head(&self.raw) {
                Some(length) => (self.state, self.read) = (FreeformState::Text, length),
                None if self.raw.len() > MAX_HEAD => self.state = FreeformState::Other,
                None => {}
            }
        }
        while self.state == FreeformState::Text && self.read_one() {}
        &self.text[before..]
    }

    /// Ends the input, and gives the text that had not been given. Arguments of another form are the text themselves.
    pub fn finish(&mut self) -> &str {
        let before = self.text.len();
        if self.text.is_empty() && self.state != FreeformState::End {
            let text = serde_json::from_str(&self.raw).ok().or_else(|| argument(&self.raw));
            self.text = match text {
                Some(text) => text,
                None if self.state == FreeformState::Text => String::new(),
                None => self.raw.clone(),
            };
        }
        self.state = FreeformState::End;
        &self.text[before..]
    }

    /// The input so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Reads a character or an escape. False where it has not arrived whole, or the text has ended.
    fn read_one(&mut self) -> bool {
        let rest = &self.raw[self.read..];
        // All up to the next quote or backslash is as it is; line ends too, which models forget to escape.
        let plain = rest.find(['"', '\\']).unwrap_or(rest.len());
        if plain > 0 {
            self.text.push_str(&rest[..plain]);
            self.read += plain;
            return true;
        }
        if rest.starts_with('"') {
            self.state = FreeformState::End;
            return false;
        }
        let Some((character, length)) = escape(rest) else { return false };
        self.text.push(character);
        self.read += length;
        true
    }
}

/// The argument `input`, where it is text. The others are not parsed, however much they hold.
fn argument(raw: &str) -> Option<String> {
    let members = Members::parse(raw.as_bytes()).ok()?;
    lenient(members.get("input")?).ok()
}

/// The length of `{"input":"`, with white space between the tokens. `None` where it has not arrived whole, or is not there.
fn head(raw: &str) -> Option<usize> {
    let mut rest = raw;
    for token in ["{", "\"input\"", ":", "\""] {
        rest = rest.trim_ascii_start().strip_prefix(token)?;
    }
    Some(raw.len() - rest.len())
}

/// The character of an escape at the text's start (RFC 8259, section 7), and the escape's length. `None` where it has not
/// arrived whole. What is no escape is a backslash.
fn escape(text: &str) -> Option<(char, usize)> {
    let simple = match text.as_bytes().get(1)? {
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'u' => return unicode(text),
        &other if b"\"\\/".contains(&other) => char::from(other),
        _ => return Some(('\\', 1)),
    };
    Some((simple, 2))
}

fn unicode(text: &str) -> Option<(char, usize)> {
    let unit = |at: usize| text.get(at..at + 4).and_then(|digits| u16::from_str_radix(digits, 16).ok());
    if text.len() < 6 {
        return None;
    }
    let first = unit(2).unwrap_or(0xfffd);
    let is_high = (0xd800..0xdc00).contains(&first);
    if is_high && "\\u".starts_with(&text.as_bytes()[6..].iter().take(2).map(|&b| char::from(b)).collect::<String>()) {
        // The other half may still come.
        if text.len() < 12 {
            return None;
        }
        if let Some(Ok(character)) = unit(8).and_then(|second| char::decode_utf16([first, second]).next()) {
            return Some((character, 12));
        }
    }
    let length = if text.is_char_boundary(6) { 6 } else { 2 };
    Some((char::from_u32(u32::from(first)).unwrap_or('\u{fffd}'), length))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The input that arguments in these pieces make. What is given piece by piece is the same text.
    fn read<'a>(pieces: impl Iterator<Item = &'a str>) -> String {
        let mut input = FreeformInput::default();
        let mut given = String::new();
        for piece in pieces {
            given.push_str(input.push(piece));
        }
        given.push_str(input.finish());
        assert_eq!(given, input.text());
        given
    }

    #[test]
    fn input_is_the_same_wherever_its_arguments_are_cut() {
        let text = "*** Begin\n\t\"Grüße\" 😀 \\u \u{7}\\";
        let escaped = json!({ "input": text }).to_string();
        let pretty = escaped.replace("{\"input\":", "{ \"input\" :\n ").replace('😀', "\\ud83d\\ude00");
        for arguments in [escaped, pretty] {
            for cut in (0..=arguments.len()).filter(|&cut| arguments.is_char_boundary(cut)) {
                let (start, end) = arguments.split_at(cut);
                assert_eq!(read([start, end].into_iter()), text, "cut at {cut}");
            }
            assert_eq!(read(arguments.split_inclusive(|_| true)), text);
        }
    }

    #[test]
    fn input_is_given_while_it_arrives() {
        let mut input = FreeformInput::default();
        assert_eq!(input.push("{\"input\": \"on"), "on");
        assert_eq!(input.push("e\\"), "e");
        assert_eq!(input.push("ntwo\"}"), "\ntwo");
        assert_eq!(input.finish(), "");
        assert_eq!(input.text(), "one\ntwo");
    }

    #[test]
    fn arguments_of_another_form_are_the_input_as_a_whole() {
        for (arguments, expected) in [
            ("", ""),
            ("ls -l", "ls -l"),
            ("\"ls\"", "ls"),
            (r#"{"why":"so","input":"ls"}"#, "ls"),
            (r#"{"input":5}"#, r#"{"input":5}"#),
            (r#"{"input":"cut "#, "cut "),
            (r#"{"input":"cut\u00"#, "cut"),
            (r#"{"input":""}"#, ""),
            (r#"{"input":"\ud83d x\q"}"#, "\u{fffd} x\\q"),
            ("{\"input\":\"a\nb\"}", "a\nb"),
        ] {
            assert_eq!(read([arguments].into_iter()), expected, "{arguments}");
        }
        let deep = format!("{{\"x\":{}{},\"input\":\"ls\"}}", "[".repeat(500), "]".repeat(500));
        assert_eq!(read([deep.as_str()].into_iter()), "ls", "what is beside the input is not parsed");
        let padded = " ".repeat(MAX_HEAD + 1) + r#"{"input":"ls"}"#;
        assert_eq!(read(padded.split_inclusive(' ')), "ls");
    }
}
