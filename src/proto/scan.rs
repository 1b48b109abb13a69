//! Finds the members of a JSON object and the items of a list in one fast pass, which checks the grammar (RFC 8259) and decodes
//! nothing. It accepts no more than serde_json's `RawValue` does, but cannot tell what is wrong with a text.

use memchr::memchr2;

/// Calls `member` with each key, as a JSON string, and each value of an object, which it must read. `None` if the text is no JSON
/// object, or where `member` returns `None`.
pub fn members<'a>(text: &'a str, mut member: impl FnMut(&'a str, Value<'_, 'a>) -> Option<()>) -> Option<()> {
    Scanner { text, at: 0 }.alone(|scanner| scanner.object(&mut |key, scanner| member(key, Value(scanner))))
}

/// The value of a key of an object, the last one where there are several; the key is given as a JSON string. `None` if the text is no
/// JSON object, or has no such key.
pub fn member<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut found = None;
    members(text, |name, value| {
        let value = value.text()?;
        if name == key {
            found = Some(value);
        }
        Some(())
    })?;
    found
}

/// A value of an object that is being scanned.
pub struct Value<'s, 'a>(&'s mut Scanner<'a>);

impl<'a> Value<'_, 'a> {
    /// Its text. `None` if it is no JSON.
    pub fn text(self) -> Option<&'a str> {
        self.0.value()
    }

    /// Its text, and where it is a list that [`objects`] accepts, these.
    pub fn objects(
        self,
        most: usize,
        member: impl FnMut(usize, &'a str, &'a str) -> Option<()>,
    ) -> Option<(&'a str, Option<Vec<&'a str>>)> {
        let Value(scanner) = self;
        scanner.peek_token()?;
        let start = scanner.at;
        let Some(objects) = scanner.objects(most, member) else {
            scanner.at = start;
            return Some((scanner.value()?, None));
        };
        Some((scanner.text.get(start..scanner.at)?, Some(objects)))
    }
}

/// The items of a list. `None` if the text is no JSON list, or one of more than `most` items.
pub fn items(text: &str, most: usize) -> Option<Vec<&str>> {
    let mut items = Vec::new();
    Scanner { text, at: 0 }.alone(|scanner| {
        scanner.list(b'[', b']', |scanner| {
            items.push(scanner.value()?);
            (items.len() <= most).then_some(())
        })
    })?;
    Some(items)
}

/// The objects of a list; calls `member` with each object's index, and each of its keys and values. `None` as in [`items`], where
/// an item is no object, or where `member` returns `None`.
pub fn objects<'a>(
    text: &'a str,
    most: usize,
    member: impl FnMut(usize, &'a str, &'a str) -> Option<()>,
) -> Option<Vec<&'a str>> {
    Scanner { text, at: 0 }.alone(|scanner| scanner.objects(most, member))
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn skip_while(&mut self, accepted: impl Fn(u8) -> bool) -> usize {
        let start = self.at;
        while self.peek().is_some_and(&accepted) {
            self.at += 1;
        }
        self.at - start
    }

    /// The next byte that is no white space.
    fn peek_token(&mut self) -> Option<u8> {
        self.skip_while(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t'));
        self.peek()
    }

    fn token(&mut self) -> Option<u8> {
        let byte = self.peek_token()?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, token: u8) -> Option<()> {
        (self.token()? == token).then_some(())
    }

    /// A text that is what `read` reads, and nothing else.
    fn alone<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let found = read(self)?;
        self.peek_token().is_none().then_some(found)
    }

    /// An object; `member` reads the value of each key.
    fn object(&mut self, member: &mut impl FnMut(&'a str, &mut Self) -> Option<()>) -> Option<()> {
        self.list(b'{', b'}', |scanner| {
            let key = scanner.key()?;
            member(key, scanner)
        })
    }

    fn objects(
        &mut self,
        most: usize,
        mut member: impl FnMut(usize, &'a str, &'a str) -> Option<()>,
    ) -> Option<Vec<&'a str>> {
        let mut objects = Vec::new();
        self.list(b'[', b']', |scanner| {
            scanner.peek_token()?;
            let start = scanner.at;
            scanner.object(&mut |key, scanner| member(objects.len(), key, scanner.value()?))?;
            objects.push(scanner.text.get(start..scanner.at)?);
            (objects.len() <= most).then_some(())
        })?;
        Some(objects)
    }

    /// Items between brackets, separated by commas.
    fn list(&mut self, open: u8, close: u8, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.expect(open)?;
        if self.peek_token()? == close {
            self.at += 1;
            return Some(());
        }
        loop {
            item(self)?;
            match self.token()? {
                b',' => {}
                byte if byte == close => return Some(()),
                _ => return None,
            }
        }
    }

    /// A key and the colon behind it.
    fn key(&mut self) -> Option<&'a str> {
        self.peek_token()?;
        let start = self.at;
        self.string()?;
        let key = self.text.get(start..self.at);
        self.expect(b':')?;
        key
    }

    fn value(&mut self) -> Option<&'a str> {
        self.peek_token()?;
        let start = self.at;
        self.skip_value()?;
        self.text.get(start..self.at)
    }

    /// Skips a value. Objects and lists within it are counted on the heap, not on the stack.
    fn skip_value(&mut self) -> Option<()> {
        let mut open = Vec::new();
        loop {
            match self.peek_token()? {
                b'"' => self.string()?,
                b'-' | b'0'..=b'9' => self.number()?,
                b't' => self.word("true")?,
                b'f' => self.word("false")?,
                b'n' => self.word("null")?,
                byte @ (b'{' | b'[') => {
                    self.at += 1;
                    // The closing brackets are two behind the opening ones.
                    let close = byte + 2;
                    if self.peek_token()? != close {
                        if close == b'}' {
                            self.key()?;
                        }
                        open.push(close);
                        continue;
                    }
                    self.at += 1;
                }
                _ => return None,
            }
            loop {
                let Some(close) = open.last() else { return Some(()) };
                match self.token()? {
                    b',' if *close == b'}' => {
                        self.key()?;
                        break;
                    }
                    b',' => break,
                    byte if byte == *close => drop(open.pop()),
                    _ => return None,
                }
            }
        }
    }

    fn string(&mut self) -> Option<()> {
        (self.next()? == b'"').then_some(())?;
        loop {
            self.at += plain_len(self.text.as_bytes().get(self.at..)?)?;
            match self.next()? {
                b'"' => return Some(()),
                b'\\' => match self.next()? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                    b'u' => (0..4).try_for_each(|_| self.next()?.is_ascii_hexdigit().then_some(()))?,
                    _ => return None,
                },
                // A control character.
                _ => return None,
            }
        }
    }

    fn number(&mut self) -> Option<()> {
        let digits = |scanner: &mut Self| (scanner.skip_while(|byte| byte.is_ascii_digit()) > 0).then_some(());
        if self.peek()? == b'-' {
            self.at += 1;
        }
        if self.peek()? == b'0' {
            self.at += 1;
        } else {
            digits(self)?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            digits(self)?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            digits(self)?;
        }
        Some(())
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let rest = self.text.as_bytes().get(self.at..)?;
        rest.starts_with(word.as_bytes()).then(|| self.at += word.len())
    }
}

/// How many bytes at the start of a string's text are neither its end, nor an escape, nor a control character; `None` where
/// nothing else follows, or a control character does somewhere. Eight bytes are compared at a time: the subtraction borrows from
/// the highest bit of the bytes that are looked for, and of others only behind the first of them.
fn plain_len(bytes: &[u8]) -> Option<usize> {
    let near = &bytes[..bytes.len().min(NEAR)];
    let (blocks, rest) = near.as_chunks::<8>();
    for (number, block) in blocks.iter().enumerate() {
        let block = u64::from_le_bytes(*block);
        let quote_or_escape = (block ^ each(b'"')).wrapping_sub(each(1)) | (block ^ each(b'\\')).wrapping_sub(each(1));
        let found = (quote_or_escape | block.wrapping_sub(each(0x20))) & !block & each(0x80);
        if found != 0 {
            return Some(8 * number + found.trailing_zeros() as usize / 8);
        }
    }
    if near.len() < NEAR {
        let at = rest.iter().position(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\'))?;
        return Some(8 * blocks.len() + at);
    }
    plain_far_len(&bytes[NEAR..]).map(|length| NEAR + length)
}

/// As [`plain_len`], in parts, so that both looks at one find it in the processor's nearest cache.
fn plain_far_len(bytes: &[u8]) -> Option<usize> {
    for (number, part) in bytes.chunks(PART).enumerate() {
        let found = memchr2(b'"', b'\\', part);
        if has_control(&part[..found.unwrap_or(part.len())]) {
            return None;
        }
        if let Some(at) = found {
            return Some(number * PART + at);
        }
    }
    None
}

/// How many bytes are searched block by block before the search for what is far away, which takes longer to begin.
const NEAR: usize = 64;

/// How many bytes are looked at twice in a row.
const PART: usize = 8 << 10;

/// Eight times this byte.
const fn each(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Eight bytes at a time, as in [`plain_len`]: byte by byte is as fast only where the compiler makes vector instructions of it, which it
/// does not in a build for size.
fn has_control(bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks::<8>();
    let found = blocks.iter().fold(0, |found, block| {
        let block = u64::from_le_bytes(*block);
        found | block.wrapping_sub(each(0x20)) & !block
    });
    found & each(0x80) != 0 || rest.iter().any(|byte| *byte < 0x20)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items_of(text: &str) -> Option<Vec<&str>> {
        items(text, 5)
    }

    #[test]
    fn items_and_members_are_found_as_they_are_written() {
        let nested = r#"{"a":[{},[],"x\"]",-0.5e+7],"b":null}"#;
        let list = format!(" [ 1 ,\"\\u00e9\\n\",{nested}\n,true,[ ] ] ");
        assert_eq!(items_of(&list).unwrap(), ["1", "\"\\u00e9\\n\"", nested, "true", "[ ]"]);
        assert_eq!(items_of("[]"), Some(Vec::new()));
        let mut all = Vec::new();
        let object = "{\"k\" : [1] , \"\\u006b\":false,\"k\":{} }";
        members(object, |key, value| {
            all.push((key, value.text()?));
            Some(())
        })
        .unwrap();
        assert_eq!(all, [("\"k\"", "[1]"), ("\"\\u006b\"", "false"), ("\"k\"", "{}")]);
        assert_eq!((items("[1,2]", 2), items("[1,2]", 1)), (Some(vec!["1", "2"]), None));
        assert_eq!(members("{\"a\":1}", |_, _| None), None);
        assert_eq!((member(object, "\"k\""), member(object, "\"x\"")), (Some("{}"), None));
        assert_eq!(member("{\"a\":1,}", "\"a\""), None);
        let mut of_each = Vec::new();
        let list = r#"[{"a":1,"b":2} ,{}, {"c":[{"d":3}]}]"#;
        let found = objects(list, 3, |index, key, value| {
            of_each.push((index, key, value));
            Some(())
        });
        let expected = [(0, "\"a\"", "1"), (0, "\"b\"", "2"), (2, "\"c\"", r#"[{"d":3}]"#)];
        assert_eq!((found, of_each), (items(list, 3), expected.to_vec()));
        assert_eq!(objects(list, 2, |_, _, _| Some(())), None);
        assert_eq!(objects("[1]", 9, |_, _, _| Some(())), None);
    }

    #[test]
    fn what_ends_a_text_is_found_wherever_it_is() {
        let mut text = vec![0xa0; 200];
        text.push(b'"');
        for at in 0..text.len() {
            for (byte, is_control) in [(b'"', false), (b'\\', false), (0, true), (0x1f, true)] {
                let kept = std::mem::replace(&mut text[at], byte);
                let expected = if is_control && at >= NEAR { None } else { Some(at) };
                assert_eq!(plain_len(&text), expected, "{byte} at {at}");
                text[at] = kept;
            }
            for byte in [0x20, 0x21, 0x5b, 0x7f, 0x80, 0xff] {
                let kept = std::mem::replace(&mut text[at], byte);
                assert_eq!(plain_len(&text), Some(200).filter(|_| at < 200), "{byte} at {at}");
                text[at] = kept;
            }
        }
        assert_eq!((plain_len(b""), plain_len(&[b'x'; 300])), (None, None));
        for (length, byte, expected) in
            [(3 * PART, b'"', Some(3 * PART)), (2 * PART + 77, b'\\', Some(2 * PART + 77)), (PART, 9, None)]
        {
            let mut long = vec![b'x'; length];
            long.extend([byte, b'"']);
            assert_eq!(plain_len(&long), expected, "{byte} at {length}");
        }
    }

    #[test]
    fn a_control_character_is_found_wherever_it_is() {
        for length in 0..40 {
            let mut bytes = vec![0x20; length];
            assert!(!has_control(&bytes));
            for at in 0..length {
                for byte in 0..=u8::MAX {
                    bytes[at] = byte;
                    assert_eq!(has_control(&bytes), byte < 0x20, "{byte} at {at} of {length}");
                }
                bytes[at] = 0xff;
            }
            assert!(!has_control(&bytes));
        }
    }

    #[test]
    fn deep_nesting_takes_no_stack() {
        let deep = "[".repeat(1 << 20) + &"]".repeat(1 << 20);
        assert_eq!(items_of(&deep).unwrap().len(), 1);
        assert_eq!(items_of(&deep[1..]), None);
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for bad in [
            "",
            "[",
            "[1",
            "[1,",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[01]",
            "[-]",
            "[1.]",
            "[.5]",
            "[1e]",
            "[+1]",
            "[tru]",
            "[nul",
            "[\"",
            "[\"\\x\"]",
            "[\"\\u12g4\"]",
            "[\"\n\"]",
            "[\"\u{1f}\"]",
            "[}",
            "[{]",
            "[{\"a\"}]",
            "[{\"a\":}]",
            "[{a:1}]",
            "[{\"a\":1,}]",
            "[] 1",
            "{}",
            "1",
            "[1]]",
            "\u{feff}[]",
            "[\u{a0}]",
        ] {
            assert_eq!(items_of(bad), None, "{bad}");
        }
    }
}
