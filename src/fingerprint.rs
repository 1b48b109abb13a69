//! Fingerprints of certificates, by which a client recognises a hub that no authority vouches for.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::Error;

/// What the text of a fingerprint begins with.
const PREFIX: &str = "sha256:";

/// The SHA-256 of a certificate in DER.
///
/// ```
/// use gambi::Fingerprint;
///
/// let text = "sha256:47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";
/// let fingerprint: Fingerprint = text.parse()?;
/// assert_eq!(fingerprint.to_string(), text);
/// # Ok::<(), gambi::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate in DER.
    pub fn of(certificate: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Fingerprint(bytes)
    }
}

impl From<[u8; 32]> for Fingerprint {
    fn from(bytes: [u8; 32]) -> Self {
        Fingerprint(bytes)
    }
}

impl From<Fingerprint> for [u8; 32] {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = Error;

    /// Reads the text that `hub serve` prints, or the 64 hexadecimal digits that other programs print, with or without
    /// colons.
    ///
    /// # Errors
    /// When it is neither.
    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let rest = text.strip_prefix(PREFIX).unwrap_or(text);
        let bytes = hex(rest).or_else(|| URL_SAFE_NO_PAD.decode(rest).ok()?.try_into().ok());
        let must = || format!("must be {PREFIX} and 43 characters, or 64 hexadecimal digits, not \"{text}\"");
        bytes.map(Fingerprint).ok_or_else(|| Error::Invalid { what: "the fingerprint", reason: must().into() })
    }
}

fn hex(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> =
        text.chars().filter(|c| *c != ':').map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.as_chunks::<2>().0.iter().map(|[high, low]| high << 4 | low).collect();
    bytes.try_into().ok().filter(|_| digits.len() == 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_it_is_printed_here_and_elsewhere() {
        let of_nothing = Fingerprint::of(b"");
        let text = of_nothing.to_string();
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let colons: Vec<_> =
            hex.to_uppercase().as_bytes().chunks(2).map(|b| String::from_utf8(b.to_vec()).unwrap()).collect();
        for good in [&*text, &text[7..], hex, &colons.join(":"), &format!(" sha256:{hex}\n")] {
            assert_eq!(good.parse::<Fingerprint>().unwrap(), of_nothing, "{good}");
        }
        for bad in ["", "sha256:", &text[..49], &hex[1..], &format!("{hex}0"), "sha1:abc", &text.replace('4', "*")] {
            let error = bad.parse::<Fingerprint>().unwrap_err().to_string();
            assert!(error.contains("the fingerprint must be"), "{bad}: {error}");
        }
    }
}
