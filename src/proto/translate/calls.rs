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
/// - where they have not begun, and the id is another one, unless the piece repeats the name and begins them; with the same
///   id it is a piece of the name, or the name again.
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
    // Once arguments have begun, the name is whole, or has not come.
    let repeats = call.name.is_empty() || call.name_is(piece);
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
        let same = call.name_is(piece) && piece.has_arguments();
        let extends = name.starts_with(&call.name);
        other_id && !same || !extends && (piece.id.is_some() && call.id.is_none() || piece.id.is_none() && whole)
    }
}

#[cfg(test)]
#[path = "calls_tests.rs"]
mod tests;
