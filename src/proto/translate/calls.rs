//! The tool calls of a chat answer while they arrive: which call a piece belongs to, and when a call can be announced.
//!
//! Servers number calls, name them by ids, both or neither, and not all keep to the rules. [`owner`] decides from what is
//! known of the calls so far and of the piece alone.

use std::borrow::Cow;

use serde_json::Value;

/// A piece of a call: one entry of a chunk's `tool_calls`.
#[derive(Debug)]
pub struct CallPiece<'a> {
    pub number: Option<u64>,
    pub id: Option<&'a str>,
    pub name: Option<&'a str>,
    /// JSON text, as much as the piece has; empty where it has none.
    pub arguments: Cow<'a, str>,
}

impl<'a> CallPiece<'a> {
    /// Reads an entry. `None` where it says nothing.
    pub fn read(entry: &'a Value) -> Option<Self> {
        // Some servers leave the inner object out.
        let function = entry.get("function").filter(|function| function.is_object()).unwrap_or(entry);
        let text = |value: &'a Value| value.as_str().filter(|text| !text.is_empty());
        let number = &entry["index"];
        let arguments = match &function["arguments"] {
            Value::String(text) => Cow::Borrowed(text.as_str()),
            // Some servers send the object itself.
            object @ Value::Object(_) => Cow::Owned(object.to_string()),
            _ => Cow::Borrowed(""),
        };
        let piece = CallPiece {
            number: number.as_u64().or_else(|| number.as_str()?.parse().ok()),
            id: text(&entry["id"]),
            name: text(&function["name"]),
            arguments,
        };
        (piece.id.is_some() || piece.name.is_some() || !piece.arguments.is_empty()).then_some(piece)
    }

    fn has_arguments(&self) -> bool {
        !self.arguments.trim_ascii().is_empty()
    }
}

/// How far a call's arguments have come, without their text.
#[derive(Debug, Clone, Default)]
struct Arguments {
    bytes: usize,
    /// FNV-1a of the bytes: tells whether a text is a repetition.
    hash: u64,
    /// Whether there is more than white space.
    begun: bool,
    depth: usize,
    in_text: bool,
    escaped: bool,
    /// Whether an object has been closed.
    complete: bool,
}

impl Arguments {
    fn of(text: &str) -> Self {
        let mut arguments = Arguments::default();
        arguments.push(text);
        arguments
    }

    fn push(&mut self, text: &str) {
        self.bytes += text.len();
        for byte in text.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
            self.begun |= !byte.is_ascii_whitespace();
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_text => self.escaped = true,
                b'"' => self.in_text = !self.in_text,
                b'{' | b'[' if !self.in_text => self.depth += 1,
                b'}' | b']' if !self.in_text => {
                    self.depth = self.depth.saturating_sub(1);
                    self.complete |= self.depth == 0;
                }
                _ => {}
            }
        }
    }

    /// Whether they are complete, and the piece has all of them again.
    fn is_repeated_by(&self, piece: &CallPiece<'_>) -> bool {
        let other = Arguments::of(&piece.arguments);
        self.complete && (self.bytes, self.hash) == (other.bytes, other.hash)
    }
}

/// A call that has begun.
#[derive(Debug, Default)]
pub struct OpenCall {
    number: Option<u64>,
    /// The provider's first id for it.
    pub id: Option<String>,
    pub name: String,
    arguments: Arguments,
    /// The arguments that came before the call was announced.
    pub pending: String,
    /// The chunk whose piece it was given last.
    chunk: u64,
}

impl OpenCall {
    /// Whether no piece can change its name any more. `followed`: whether something else of the answer has come after it.
    pub fn is_named(&self, followed: bool) -> bool {
        !self.name.is_empty() && (followed || self.arguments.begun)
    }

    fn name_is(&self, piece: &CallPiece<'_>) -> bool {
        piece.name == Some(self.name.as_str())
    }

    /// Bytes in memory.
    pub fn held(&self) -> usize {
        self.name.len() + self.id.as_ref().map_or(0, String::len) + self.pending.len()
    }

    /// A new call, without the piece's contents.
    pub fn begin(piece: &CallPiece<'_>) -> Self {
        OpenCall { number: piece.number, ..OpenCall::default() }
    }

    /// Takes a piece's id and name, and gives the part of its arguments that is new. A name comes whole, in pieces, or
    /// again with each piece. Complete arguments that are sent again are not new.
    pub fn take<'a>(&mut self, piece: &'a CallPiece<'_>, chunk: u64) -> &'a str {
        self.chunk = chunk;
        self.number = self.number.or(piece.number);
        if self.id.is_none() {
            self.id = piece.id.map(str::to_owned);
        }
        match piece.name {
            Some(name) if name.starts_with(&self.name) => name.clone_into(&mut self.name),
            Some(name) if !self.arguments.begun => self.name.push_str(name),
            _ => {}
        }
        let arguments = piece.arguments.as_ref();
        if self.arguments.complete && (!piece.has_arguments() || self.arguments.is_repeated_by(piece)) {
            return "";
        }
        self.arguments.push(arguments);
        arguments
    }
}

/// The call that a piece of the chunk with this number belongs to; `None` where it begins another one.
///
/// A piece is compared with the latest call that has its id and its number, else its id, else its number, else, where one
/// of the two has no number, with the latest call. A number that is new and comes with a name begins a call, unless it is a
/// complete call that is sent again. A piece without a name continues the call, whatever its id: some servers change it
/// with each piece. Without a number, another id behind complete arguments begins a call whose name comes later. A piece
/// with a name begins another call
/// - where the same chunk has given the call a piece already: a chunk lists calls;
/// - where the call's arguments are complete, unless the piece repeats the call's name and nothing or all of its arguments;
/// - where they are not, and the name is another one, or the id is another one and the piece's arguments begin an object;
/// - where they have not begun, and the id is another one: otherwise it is a piece of the name, or the name again.
pub fn owner(calls: &[OpenCall], piece: &CallPiece<'_>, chunk: u64) -> Option<usize> {
    let at = candidate(calls, piece)?;
    (!begins_another(&calls[at], piece, chunk)).then_some(at)
}

/// The search begins at the latest call. Its cost is bounded by the most calls that an answer may have.
fn candidate(calls: &[OpenCall], piece: &CallPiece<'_>) -> Option<usize> {
    let same_id = |call: &OpenCall| piece.id.is_some() && call.id.as_deref() == piece.id;
    let same_number = |call: &OpenCall| piece.number.is_some() && call.number == piece.number;
    let numbered = calls.iter().rposition(same_number);
    if piece.number.is_some() && piece.name.is_some() && numbered.is_none() {
        let again = |call: &OpenCall| call.name_is(piece) && call.arguments.is_repeated_by(piece);
        return calls.iter().rposition(same_id).filter(|&at| again(&calls[at]));
    }
    let both = calls.iter().rposition(|call| same_id(call) && same_number(call));
    let last = calls.last().filter(|last| piece.number.is_none() || last.number.is_none());
    both.or_else(|| calls.iter().rposition(same_id)).or(numbered).or(last.map(|_| calls.len() - 1))
}

fn begins_another(call: &OpenCall, piece: &CallPiece<'_>, chunk: u64) -> bool {
    let other_id = piece.id.is_some() && call.id.is_some() && call.id.as_deref() != piece.id;
    let Some(name) = piece.name else {
        return other_id && piece.number.is_none() && call.arguments.complete;
    };
    let repeats = name.starts_with(&call.name);
    let arguments = piece.arguments.trim_ascii_start();
    if call.chunk == chunk {
        true
    } else if call.arguments.complete {
        let again = !piece.has_arguments() || piece.id.is_some() && call.arguments.is_repeated_by(piece);
        other_id || !repeats || !again
    } else if call.arguments.begun {
        !repeats || other_id && (arguments.is_empty() || arguments.starts_with('{'))
    } else {
        let whole = piece.number.is_none() && Arguments::of(arguments).complete;
        other_id || !repeats && (piece.id.is_some() && call.id.is_none() || piece.id.is_none() && whole)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The calls that a stream's pieces make, one piece a chunk: id, name and arguments of each.
    fn calls(pieces: &[Value]) -> Vec<(String, String, String)> {
        let (mut calls, mut texts): (Vec<OpenCall>, Vec<String>) = (Vec::new(), Vec::new());
        for (entry, chunk) in pieces.iter().zip(1..) {
            let piece = CallPiece::read(entry).unwrap();
            let at = owner(&calls, &piece, chunk).unwrap_or_else(|| {
                calls.push(OpenCall::begin(&piece));
                texts.push(String::new());
                calls.len() - 1
            });
            texts[at].push_str(calls[at].take(&piece, chunk));
        }
        calls.into_iter().zip(texts).map(|(call, text)| (call.id.unwrap_or_default(), call.name, text)).collect()
    }

    /// `None` stands for a member that is left out.
    fn piece(number: Option<u64>, id: Option<&str>, name: Option<&str>, arguments: Option<&str>) -> Value {
        let mut entry = json!({ "type": "function", "function": {} });
        let members = [("index", number.map(|n| json!(n))), ("id", id.map(|id| json!(id)))];
        for (key, value) in members.into_iter().filter_map(|(key, value)| Some((key, value?))) {
            entry[key] = value;
        }
        for (key, value) in [("name", name), ("arguments", arguments)] {
            if let Some(value) = value {
                entry["function"][key] = json!(value);
            }
        }
        entry
    }

    type Call<'a> = (&'a str, &'a str, &'a str);

    #[track_caller]
    fn check(pieces: &[Value], expected: &[Call<'_>]) {
        let calls = calls(pieces);
        let calls: Vec<Call<'_>> = calls.iter().map(|(id, name, text)| (&**id, &**name, &**text)).collect();
        assert_eq!(calls, expected);
    }

    const ARGS: &str = r#"{"a":1}"#;
    const TWO: [Call<'_>; 2] = [("a", "f", ARGS), ("b", "g", ARGS)];
    const TWICE: [Call<'_>; 2] = [("a", "f", r#"{"a":1}"#), ("b", "f", r#"{"a":2}"#)];

    #[test]
    fn numbers_tell_interleaved_calls_apart() {
        let (zero, one) = (Some(0), Some(1));
        check(
            &[
                piece(zero, Some("a"), Some("f"), Some("")),
                piece(one, Some("b"), Some("g"), Some("")),
                piece(zero, None, None, Some(r#"{"a""#)),
                piece(one, Some(""), Some(""), Some(ARGS)),
                piece(zero, None, None, Some(":1}")),
            ],
            &TWO,
        );
        // All calls of the answer have the same id.
        check(
            &[
                piece(zero, Some("x"), Some("f"), Some(r#"{"a""#)),
                piece(one, Some("x"), Some("f"), Some(r#"{"a""#)),
                piece(zero, Some("x"), None, Some(":1}")),
                piece(one, Some("x"), None, Some(":2}")),
            ],
            &[("x", "f", r#"{"a":1}"#), ("x", "f", r#"{"a":2}"#)],
        );
    }

    #[test]
    fn ids_tell_calls_of_one_number_apart() {
        let zero = Some(0);
        check(&[piece(zero, Some("a"), Some("f"), Some(ARGS)), piece(zero, Some("b"), Some("g"), Some(ARGS))], &TWO);
        check(
            &[
                piece(zero, Some("a"), Some("f"), Some("")),
                piece(zero, None, None, Some(ARGS)),
                piece(zero, Some("b"), Some("f"), Some("")),
                piece(zero, None, None, Some(r#"{"a":"#)),
                piece(zero, None, None, Some("2}")),
            ],
            &TWICE,
        );
        // Interleaved, with the id on each piece.
        check(
            &[
                piece(zero, Some("a"), Some("f"), Some(r#"{"a":"#)),
                piece(zero, Some("b"), Some("f"), Some(r#"{"a":"#)),
                piece(zero, Some("a"), None, Some("1}")),
                piece(zero, Some("b"), None, Some("2}")),
            ],
            &TWICE,
        );
    }

    #[test]
    fn calls_without_numbers_are_told_apart() {
        check(&[piece(None, Some("a"), Some("f"), Some(ARGS)), piece(None, Some("b"), Some("g"), Some(ARGS))], &TWO);
        check(
            &[
                piece(None, Some("a"), Some("f"), None),
                piece(None, Some("b"), Some("g"), Some("{")),
                piece(None, None, None, Some("}")),
                piece(None, Some("a"), None, Some(ARGS)),
            ],
            &[("a", "f", ARGS), ("b", "g", "{}")],
        );
    }

    #[test]
    fn calls_without_ids_are_told_apart() {
        for number in [None, Some(0)] {
            check(
                &[
                    piece(number, None, Some("f"), Some(ARGS)),
                    piece(number, None, Some("g"), Some("")),
                    piece(number, None, None, Some(r#"{"a":"#)),
                    piece(number, None, None, Some("1}")),
                    piece(number, None, Some("g"), Some(ARGS)),
                ],
                &[("", "f", ARGS), ("", "g", ARGS), ("", "g", ARGS)],
            );
        }
        let bare = [piece(None, None, Some("f"), Some("")), piece(None, None, Some("g"), Some("{}"))];
        check(&bare, &[("", "f", ""), ("", "g", "{}")]);
    }

    #[test]
    fn an_id_that_changes_with_each_piece_makes_no_new_call() {
        for number in [None, Some(0)] {
            for name in [None, Some("f")] {
                check(
                    &[
                        piece(number, Some("a"), Some("f"), Some(r#"{"a""#)),
                        piece(number, Some("b"), name, Some(":")),
                        piece(number, Some("c"), name, Some("1}")),
                    ],
                    &[("a", "f", ARGS)],
                );
            }
        }
    }

    #[test]
    fn a_name_may_be_late_in_pieces_or_repeated() {
        for number in [None, Some(0)] {
            let rest = [piece(number, None, None, Some(r#"{"a""#)), piece(number, None, None, Some(":1}"))];
            let heads = [
                vec![piece(number, Some("a"), None, None), piece(number, None, Some("find"), None)],
                vec![piece(number, Some("a"), Some("fi"), Some("")), piece(number, None, Some("nd"), Some(""))],
                vec![piece(number, Some("a"), Some("fi"), Some("")), piece(number, None, Some("find"), Some(""))],
                vec![piece(number, None, Some("find"), None), piece(number, Some("a"), None, None)],
                vec![piece(number, Some("a"), Some("find"), Some("")), piece(number, Some("a"), Some("find"), None)],
            ];
            for head in heads {
                check(&[head, rest.to_vec()].concat(), &[("a", "find", ARGS)]);
            }
            let repeated = [r#"{"a""#, ":1", "}", ""].map(|text| piece(number, Some("a"), Some("find"), Some(text)));
            check(&repeated, &[("a", "find", ARGS)]);
        }
        let late = [piece(Some(0), Some("a"), None, Some(ARGS)), piece(Some(0), None, Some("find"), None)];
        check(&late, &[("a", "find", ARGS)]);
    }

    #[test]
    fn a_call_that_is_sent_again_whole_stays_one() {
        check(
            &[
                piece(Some(0), Some("a"), Some("f"), Some("")),
                piece(Some(0), None, None, Some(r#"{"a""#)),
                piece(Some(0), None, None, Some(":1}")),
                piece(Some(0), Some("a"), Some("f"), Some(ARGS)),
                piece(Some(0), None, None, Some("\n")),
            ],
            &[("a", "f", ARGS)],
        );
    }

    #[test]
    fn all_calls_may_be_sent_again_at_the_end_with_numbers_of_their_own() {
        let zero = |id, name| piece(Some(0), Some(id), Some(name), Some(ARGS));
        check(
            &[zero("a", "f"), zero("b", "g"), zero("a", "f"), piece(Some(1), Some("b"), Some("g"), Some(ARGS))],
            &TWO,
        );
    }

    #[test]
    fn a_number_may_be_late() {
        let pieces = [
            piece(None, Some("a"), Some("f"), None),
            piece(Some(0), None, None, Some(r#"{"a""#)),
            piece(Some(0), None, None, Some(":1}")),
            piece(Some(1), Some("b"), Some("g"), Some(ARGS)),
        ];
        check(&pieces, &TWO);
    }

    #[test]
    fn braces_in_texts_complete_nothing() {
        let text = r#"{"a":"}\"}"#;
        assert!(!Arguments::of(text).complete && Arguments::of(&format!(r#"{text}"}}"#)).complete);
        assert!(!Arguments::of("").begun && !Arguments::of(" \n").begun);
    }

    #[test]
    fn an_entry_may_have_an_object_as_arguments_or_no_inner_object() {
        let entry = json!({ "name": "f", "arguments": { "a": 1 }, "index": "2" });
        let piece = CallPiece::read(&entry).unwrap();
        assert_eq!((piece.name, &*piece.arguments, piece.number), (Some("f"), ARGS, Some(2)));
        for nothing in [json!({}), json!(5), json!({ "index": 0, "id": "", "function": { "name": null } })] {
            assert!(CallPiece::read(&nothing).is_none());
        }
    }
}
