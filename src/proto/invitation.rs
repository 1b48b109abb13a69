//! Invitations: one line of text with all that a client needs to know of a hub and a room (PROTOCOL.md, "Invitations").
//!
//! The text survives chat programs and being typed: letters in either case and digits, with a length and a checksum.

use std::cmp::Ordering;
use std::fmt;

/// What the text begins with, in any case.
pub const SCHEME: &str = "gambi:";
/// The form that this program writes and reads.
const VERSION: u8 = 1;
/// Digits of 5 bits: without I, L, O and U, which are mistaken for others.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// The version and the length of the fields, in bytes; and the checksum.
const HEADER: usize = 3;
const CHECKSUM: usize = 4;
/// The longest value of a field, in bytes.
pub const MAX_VALUE: usize = 255;
/// The most characters after the scheme: more than the longest values of all fields take.
const MAX_TEXT: usize = 2048;

const HUB: u8 = 1;
const ROOM: u8 = 2;
const FINGERPRINT: u8 = 3;
const PASSWORD: u8 = 4;
const KEY: u8 = 5;

/// An invitation to a room. `Debug` does not print its secrets.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Invitation {
    /// The hub's URL.
    pub hub: String,
    /// The room's code.
    pub room: String,
    /// The fingerprint that the hub's certificate must have.
    pub fingerprint: Option<[u8; 32]>,
    /// The room's password.
    pub password: Option<String>,
    /// The hub's key.
    pub key: Option<String>,
}

/// Why a text is no invitation, or why an invitation cannot be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvitationError {
    /// It does not begin with `gambi:`.
    OtherText,
    /// It holds a character that no invitation has.
    Character(char),
    /// Its end is missing.
    Cut {
        /// Characters after `gambi:`.
        found: usize,
        /// Those that belong there.
        expected: usize,
    },
    /// It is longer than it says.
    TooLong,
    /// The checksum does not match.
    Mistyped,
    /// Its form is one that this program does not know.
    Newer,
    /// This part is missing, or cannot be in an invitation.
    Field(&'static str),
}

impl fmt::Display for InvitationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvitationError::OtherText => write!(f, "an invitation begins with {SCHEME}"),
            InvitationError::Character(c) => write!(f, "the invitation holds a character that none has: {c:?}"),
            InvitationError::Cut { found, expected } => {
                write!(f, "the invitation is cut: {found} of the {expected} characters after {SCHEME} are there")
            }
            InvitationError::TooLong => f.write_str("the invitation goes on after its end"),
            InvitationError::Mistyped => f.write_str("the invitation is mistyped: its checksum does not match"),
            InvitationError::Newer => f.write_str("the invitation was made by a newer gambi"),
            InvitationError::Field(name) => write!(f, "the invitation's {name} is missing or cannot be used"),
        }
    }
}

impl std::error::Error for InvitationError {}

impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invitation").field("hub", &self.hub).field("room", &self.room).finish_non_exhaustive()
    }
}

impl Invitation {
    /// Whether a text is meant to be an invitation.
    pub fn is_meant(text: &str) -> bool {
        text.trim_start().get(..SCHEME.len()).is_some_and(|start| start.eq_ignore_ascii_case(SCHEME))
    }

    /// The text of an invitation.
    ///
    /// # Errors
    /// [`InvitationError::Field`] if a part is longer than [`MAX_VALUE`], or holds control characters.
    pub fn encode(&self) -> Result<String, InvitationError> {
        let mut fields = Vec::new();
        let mut field = |tag: u8, name: &'static str, value: &[u8]| {
            let length = u8::try_from(value.len()).map_err(|_| InvitationError::Field(name))?;
            fields.extend([tag, length]);
            fields.extend_from_slice(value);
            Ok(())
        };
        field(HUB, "hub", check("hub", &self.hub)?.as_bytes())?;
        field(ROOM, "room", check("room", &self.room)?.as_bytes())?;
        if let Some(fingerprint) = &self.fingerprint {
            field(FINGERPRINT, "fingerprint", fingerprint)?;
        }
        for (tag, name, secret) in [(PASSWORD, "password", &self.password), (KEY, "key", &self.key)] {
            if let Some(secret) = secret {
                field(tag, name, check(name, secret)?.as_bytes())?;
            }
        }
        // Five fields of at most 257 bytes.
        let [high, low] = (fields.len() as u16).to_be_bytes();
        let mut bytes = [&[VERSION, high, low], fields.as_slice()].concat();
        bytes.extend(crc32(&bytes).to_be_bytes());
        Ok(SCHEME.to_owned() + &encode_digits(&bytes))
    }

    /// Reads the text of an invitation. White space and hyphens between its characters are ignored.
    ///
    /// # Errors
    /// [`InvitationError`].
    pub fn parse(text: &str) -> Result<Self, InvitationError> {
        if !Self::is_meant(text) {
            return Err(InvitationError::OtherText);
        }
        let digits = text.trim_start()[SCHEME.len()..].chars().filter(|c| !c.is_whitespace() && *c != '-');
        let digits: Vec<u8> = digits.take(MAX_TEXT + 1).map(digit).collect::<Result<_, _>>()?;
        let bytes = decode_digits(&digits);
        let Some(&[_, high, low]) = bytes.first_chunk::<HEADER>() else {
            return Err(InvitationError::Cut { found: digits.len(), expected: digits_of(HEADER + CHECKSUM) });
        };
        let length = HEADER + usize::from(u16::from_be_bytes([high, low])) + CHECKSUM;
        let (found, expected) = (digits.len(), digits_of(length));
        // No invitation is that long, so its length is mistyped.
        if expected > MAX_TEXT {
            return Err(InvitationError::Mistyped);
        }
        match found.cmp(&expected) {
            Ordering::Less => return Err(InvitationError::Cut { found, expected }),
            Ordering::Greater => return Err(InvitationError::TooLong),
            Ordering::Equal => {}
        }
        let (content, checksum) = bytes[..length].split_at(length - CHECKSUM);
        if crc32(content).to_be_bytes() != checksum {
            return Err(InvitationError::Mistyped);
        }
        if content[0] != VERSION {
            return Err(InvitationError::Newer);
        }
        Self::of_fields(&content[HEADER..])
    }

    /// Fields of unknown tags are for newer programs, which can do with less.
    fn of_fields(mut fields: &[u8]) -> Result<Self, InvitationError> {
        let mut invitation = Invitation::default();
        while let [tag, length, rest @ ..] = fields {
            let (value, rest) = rest.split_at_checked((*length).into()).ok_or(InvitationError::Field("end"))?;
            fields = rest;
            let text = |name| {
                let text = std::str::from_utf8(value).map_err(|_| InvitationError::Field(name))?;
                check(name, text).map(str::to_owned)
            };
            match *tag {
                HUB => invitation.hub = text("hub")?,
                ROOM => invitation.room = text("room")?,
                FINGERPRINT => {
                    invitation.fingerprint = Some(value.try_into().map_err(|_| InvitationError::Field("fingerprint"))?);
                }
                PASSWORD => invitation.password = Some(text("password")?),
                KEY => invitation.key = Some(text("key")?),
                _ => {}
            }
        }
        check("hub", &invitation.hub)?;
        check("room", &invitation.room)?;
        Ok(invitation)
    }
}

/// Control characters would steer the terminal that an invitation is shown on, or end a header that it is sent in.
fn check<'t>(name: &'static str, text: &'t str) -> Result<&'t str, InvitationError> {
    let fits = !text.is_empty() && text.len() <= MAX_VALUE && !text.chars().any(char::is_control);
    if fits { Ok(text) } else { Err(InvitationError::Field(name)) }
}

/// The value of a digit. Letters that are mistaken for a digit stand for it.
fn digit(c: char) -> Result<u8, InvitationError> {
    let upper = match c.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let value = DIGITS.iter().position(|digit| char::from(*digit) == upper);
    value.map(|value| value as u8).ok_or(InvitationError::Character(c))
}

/// How many digits that many bytes take.
fn digits_of(bytes: usize) -> usize {
    (bytes * 8).div_ceil(5)
}

fn encode_digits(bytes: &[u8]) -> String {
    let bit = |at: usize| bytes.get(at / 8).map_or(0, |byte| byte >> (7 - at % 8) & 1);
    let value = |at: usize| (0..5).fold(0, |value, offset| value << 1 | bit(at * 5 + offset));
    (0..digits_of(bytes.len())).map(|at| char::from(DIGITS[usize::from(value(at))])).collect()
}

/// Whole bytes; the bits that remain are dropped.
fn decode_digits(digits: &[u8]) -> Vec<u8> {
    let bit = |at: usize| digits[at / 5] >> (4 - at % 5) & 1;
    (0..digits.len() * 5 / 8).map(|at| (0..8).fold(0, |byte, offset| byte << 1 | bit(at * 8 + offset))).collect()
}

/// CRC-32 (ISO-HDLC), which finds every change within four bytes.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Invitation {
        Invitation {
            hub: "https://192.168.1.5:3000".into(),
            room: "LAB001".into(),
            fingerprint: Some([7; 32]),
            password: Some("pässword".into()),
            key: Some("a-long-secret".into()),
        }
    }

    #[test]
    fn an_invitation_is_read_as_it_was_written_however_it_was_passed_on() {
        let small = Invitation { hub: "http://h".into(), room: "ABC234".into(), ..Invitation::default() };
        for invitation in [whole(), small] {
            let text = invitation.encode().unwrap();
            let wrapped: Vec<_> = text.as_bytes().chunks(20).map(|line| String::from_utf8_lossy(line)).collect();
            for passed_on in
                [&*text, &text.to_lowercase(), &text.to_uppercase(), &format!("  {}\n", wrapped.join("\n "))]
            {
                assert_eq!(Invitation::parse(passed_on).unwrap(), invitation, "{passed_on}");
            }
        }
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926, "the check value of this CRC");
    }

    #[test]
    fn letters_that_look_like_digits_stand_for_them() {
        let text = whole().encode().unwrap();
        let (scheme, digits) = text.split_at(SCHEME.len());
        let typed = format!("{scheme}{}", digits.replace('0', "o").replacen('1', "l", 1).replace('1', "I"));
        assert_eq!(Invitation::parse(&typed).unwrap(), whole());
    }

    #[test]
    fn every_cut_and_every_single_mistake_is_found() {
        let text = whole().encode().unwrap();
        for cut in SCHEME.len()..text.len() {
            let error = Invitation::parse(&text[..cut]).unwrap_err();
            assert!(matches!(error, InvitationError::Cut { .. }), "cut at {cut}: {error}");
        }
        assert_eq!(Invitation::parse(&format!("{text}0")), Err(InvitationError::TooLong));
        for at in SCHEME.len()..text.len() {
            let mut typed = text.clone().into_bytes();
            typed[at] = if typed[at] == b'7' { b'8' } else { b'7' };
            let typed = String::from_utf8(typed).unwrap();
            // The last digit has bits that belong to no byte.
            let read = Invitation::parse(&typed);
            assert!(read.is_err() || (at + 1 == text.len() && read == Ok(whole())), "{at}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let said = |text: &str| Invitation::parse(text).unwrap_err().to_string();
        assert!(said("ABC234").contains("begins with gambi:"));
        assert!(said("gambi:").contains("cut: 0 of"));
        assert!(said("gambi:AB*").contains("'*'"));
        assert!(said(&format!("gambi:{}", "0".repeat(1 << 20))).contains("after its end"));
        assert!(said(&format!("gambi:{}", "Z".repeat(1 << 20))).contains("mistyped"));
    }

    #[test]
    fn what_does_not_fit_is_not_written() {
        for (change, name) in [
            (Invitation { hub: String::new(), ..whole() }, "hub"),
            (Invitation { room: "a\u{1b}[2J".into(), ..whole() }, "room"),
            (Invitation { password: Some("x".repeat(256)), ..whole() }, "password"),
            (Invitation { key: Some("a\nb".into()), ..whole() }, "key"),
        ] {
            assert_eq!(change.encode(), Err(InvitationError::Field(name)));
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        assert!(!format!("{:?}", whole()).contains("secret"));
    }

    #[test]
    fn newer_forms_and_broken_fields_are_refused_and_unknown_fields_ignored() {
        let of = |version: u8, fields: &[u8]| {
            let mut bytes = [&[version, 0, fields.len() as u8], fields].concat();
            bytes.extend(crc32(&bytes).to_be_bytes());
            Invitation::parse(&(SCHEME.to_owned() + &encode_digits(&bytes)))
        };
        assert!(of(VERSION, b"\x01\x08http://h\x02\x01r\x63\x02??").is_ok());
        assert_eq!(of(VERSION + 1, b"\x01\x08http://h\x02\x01r"), Err(InvitationError::Newer));
        for broken in [
            &b""[..],
            b"\x01\x08http://h",
            b"\x01\x09http://h",
            b"\x01\x01\xff\x02\x01r",
            b"\x01\x01h\x02\x01r\x03\x01x",
        ] {
            assert!(matches!(of(VERSION, broken), Err(InvitationError::Field(_))), "{broken:?}");
        }
    }
}
