//! Syntax and generation of room codes, participant ids, secrets and random identifiers.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::Random;
use crate::error::Error;
use crate::proto::management::uuid_of;
use crate::proto::names::is_participant_id;

/// Thirty-two characters without look-alikes (no `0 O 1 I`): five random bits each, so all are equally likely.
const ALPHABET: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A room's code: six characters, kept in upper case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomCode([u8; 6]);

impl RoomCode {
    /// Parses a code in any letter case. `None` unless it is six ASCII letters and digits. Codes that the operator
    /// declares may contain the characters that drawn ones avoid.
    pub fn parse(text: &str) -> Option<Self> {
        let code: [u8; 6] = text.as_bytes().try_into().ok()?;
        code.iter().all(u8::is_ascii_alphanumeric).then(|| RoomCode(code.map(|byte| byte.to_ascii_uppercase())))
    }

    /// Draws a code that begins with a prefix.
    pub fn draw(prefix: &CodePrefix, random: Random<'_>) -> Self {
        let mut code = [0; 6];
        let (fixed, drawn) = code.split_at_mut(prefix.0.len());
        fixed.copy_from_slice(prefix.0.as_bytes());
        random(drawn);
        drawn.iter_mut().for_each(|byte| *byte = ALPHABET[usize::from(*byte % 32)]);
        RoomCode(code)
    }

    /// Whether the code begins with a prefix.
    pub fn has_prefix(&self, prefix: &CodePrefix) -> bool {
        self.0.starts_with(prefix.0.as_bytes())
    }

    /// The code, in upper case.
    pub fn as_str(&self) -> &str {
        // Always ASCII.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for RoomCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the codes of all rooms of a hub begin with: up to two letters or digits, none by default. A proxy in front of
/// several hubs finds a room's hub by it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CodePrefix(String);

impl CodePrefix {
    /// The prefix, in upper case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CodePrefix {
    type Err = Error;

    /// Parses a prefix in any letter case.
    ///
    /// # Errors
    /// Unless it is one or two of the letters and digits that drawn codes have.
    fn from_str(text: &str) -> Result<Self, Error> {
        let prefix = text.to_ascii_uppercase();
        // Longer ones would leave too few codes.
        if matches!(prefix.len(), 1 | 2) && prefix.bytes().all(|byte| ALPHABET.contains(&byte)) {
            return Ok(CodePrefix(prefix));
        }
        let must = format!("must be one or two letters or digits other than 0, O, 1 and I, not \"{text}\"");
        Err(Error::Invalid { what: "a prefix of room codes", reason: must.into() })
    }
}

/// A participant's id, as [`is_participant_id`] accepts it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParticipantId(Arc<str>);

impl ParticipantId {
    /// Parses an id that a client chose; `None` where it is invalid.
    pub fn parse(text: &str) -> Option<Self> {
        is_participant_id(text).then(|| ParticipantId(text.into()))
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id's text, shared.
    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }
}

/// Lets a map be searched with text that was not validated: invalid text equals no key.
impl Borrow<str> for ParticipantId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ParticipantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A secret text. It is never printed, and compared in constant time.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Draws a secret of 246 random bits, in URL-safe text.
    pub fn draw(random: Random<'_>) -> Self {
        Secret(url_safe::<41>(random))
    }

    /// A secret that a client chose.
    pub fn from_text(text: &str) -> Self {
        Secret(text.to_owned())
    }

    /// Whether `guess` is the secret. The time depends on the length only.
    pub fn matches(&self, guess: &str) -> bool {
        same_secret(self.0.as_bytes(), guess.as_bytes())
    }

    /// The secret's text, for the one answer that contains it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// Whether two secrets are equal. The time depends on their lengths only.
pub fn same_secret(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |diff, (x, y)| diff | (x ^ y)) == 0
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A room's internal id: 21 URL-safe random characters.
pub fn room_id(random: Random<'_>) -> String {
    url_safe::<21>(random)
}

fn url_safe<const N: usize>(random: Random<'_>) -> String {
    let mut bytes = [0; N];
    random(&mut bytes);
    bytes.iter().map(|b| char::from(URL_SAFE[usize::from(b % 64)])).collect()
}

/// A random UUID.
pub fn uuid(random: Random<'_>) -> String {
    let mut bytes = [0; 16];
    random(&mut bytes);
    uuid_of(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_in_any_case_and_drawn_without_look_alikes() {
        assert_eq!(RoomCode::parse("abC234").unwrap().as_str(), "ABC234");
        for bad in ["", "ABC12", "ABC1234", "ABC 12", "ÄBC12", "../../"] {
            assert!(RoomCode::parse(bad).is_none(), "{bad}");
        }
        for byte in 0..=255u8 {
            let code = RoomCode::draw(&CodePrefix::default(), &mut |bytes| bytes.fill(byte));
            assert!(!code.as_str().contains(['0', 'O', '1', 'I']), "{code}");
        }
    }

    #[test]
    fn drawn_codes_begin_with_the_prefix() {
        let prefix: CodePrefix = "k7".parse().unwrap();
        let code = RoomCode::draw(&prefix, &mut |bytes| bytes.fill(0));
        assert_eq!((code.as_str(), code.has_prefix(&prefix)), ("K72222", true));
        assert!(!RoomCode::parse("K62222").unwrap().has_prefix(&prefix));
        for bad in ["", "O", "ABC", "a-", "Ä"] {
            assert!(bad.parse::<CodePrefix>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_character_of_a_code_is_equally_likely() {
        let mut count = [0; 256];
        for byte in 0..=255u8 {
            let code = RoomCode::draw(&CodePrefix::default(), &mut |bytes| bytes.fill(byte));
            count[usize::from(code.as_str().as_bytes()[0])] += 1;
        }
        assert!(ALPHABET.iter().all(|sign| count[usize::from(*sign)] == 8));
    }

    #[test]
    fn participant_ids_are_short_printable_text() {
        for good in ["worker-1", "a", "...", ".a", "größe 7", "日本", &"x".repeat(128)] {
            assert!(ParticipantId::parse(good).is_some(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a\nb", "a\0", "\u{202e}x", &"x".repeat(129)] {
            assert!(ParticipantId::parse(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn secrets_compare_and_are_not_printed() {
        let secret = Secret::draw(&mut |bytes| bytes.fill(7));
        assert!(secret.matches(secret.reveal()));
        assert!(!secret.matches("") && !secret.matches(&"x".repeat(41)));
        assert!(!format!("{secret:?}").contains(secret.reveal()));
    }

    #[test]
    fn uuids_have_version_4() {
        assert_eq!(uuid(&mut |bytes| bytes.fill(0xff)), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
