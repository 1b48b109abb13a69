//! Makes a key, and the certificate by which its owner vouches for itself (RFC 5280), for a hub that no authority knows.
//! Clients recognise it by its fingerprint, so it holds the least that they can parse.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::error::Unspecified;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const UTF8_STRING: u8 = 0x0C;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// The tags of a certificate's version, its extensions, and of a name and an address in an extension.
const VERSION: u8 = 0xA0;
const EXTENSIONS: u8 = 0xA3;
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;

const ECDSA_WITH_SHA256: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02];
const EC_PUBLIC_KEY: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01];
const P256: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1D, 0x11];

/// A new key, and its certificate.
pub struct SelfSigned {
    /// In DER.
    pub certificate: Vec<u8>,
    /// In PKCS #8.
    key: Vec<u8>,
}

impl SelfSigned {
    /// Makes a key on the curve P-256, and its certificate.
    ///
    /// # Errors
    /// If the system has no random bytes.
    pub fn generate() -> Result<Self, Unspecified> {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.as_ref(), &random)
            .map_err(|_| Unspecified)?;
        let serial = ring::rand::generate::<[u8; 16]>(&random)?.expose();
        let unsigned = unsigned(&serial, pair.public_key().as_ref());
        let signature = pair.sign(&random, &unsigned)?;
        let certificate = der(SEQUENCE, &[&unsigned, &signature_algorithm(), &bit_string(signature.as_ref())]);
        Ok(SelfSigned { certificate, key: key.as_ref().to_vec() })
    }

    /// The key and the certificate in PEM.
    pub fn pem(&self) -> String {
        pem("PRIVATE KEY", &self.key) + &pem("CERTIFICATE", &self.certificate)
    }
}

/// The part of a certificate that is signed.
fn unsigned(serial: &[u8; 16], public_key: &[u8]) -> Vec<u8> {
    // Positive, and in the shortest encoding.
    let serial = [&[0x40 | serial[0] & 0x3F], &serial[1..]].concat();
    let name = [oid(COMMON_NAME), der(UTF8_STRING, &[b"gambi hub"])].concat();
    let name = der(SEQUENCE, &[&der(SET, &[&der(SEQUENCE, &[&name])])]);
    // Without an end (RFC 5280, section 4.1.2.5): whoever pins it decides how long it is good.
    let validity = [der(UTC_TIME, &[b"200101000000Z"]), der(GENERALIZED_TIME, &[b"99991231235959Z"])].concat();
    let key_algorithm = der(SEQUENCE, &[&oid(EC_PUBLIC_KEY), &oid(P256)]);
    let names = [der(DNS_NAME, &[b"localhost"]), der(IP_ADDRESS, &[&[127, 0, 0, 1]])].concat();
    let names = der(OCTET_STRING, &[&der(SEQUENCE, &[&names])]);
    let extension = der(SEQUENCE, &[&oid(SUBJECT_ALT_NAME), &names]);
    der(
        SEQUENCE,
        &[
            &der(VERSION, &[&der(INTEGER, &[&[2]])]),
            &der(INTEGER, &[&serial]),
            &signature_algorithm(),
            &name,
            &der(SEQUENCE, &[&validity]),
            &name,
            &der(SEQUENCE, &[&key_algorithm, &bit_string(public_key)]),
            &der(EXTENSIONS, &[&der(SEQUENCE, &[&extension])]),
        ],
    )
}

fn signature_algorithm() -> Vec<u8> {
    der(SEQUENCE, &[&oid(ECDSA_WITH_SHA256)])
}

fn oid(id: &[u8]) -> Vec<u8> {
    der(OBJECT_ID, &[id])
}

/// Whole bytes: no bit of the last one is unused.
fn bit_string(bytes: &[u8]) -> Vec<u8> {
    der(BIT_STRING, &[&[0], bytes])
}

/// A value in DER. `parts` are concatenated; together they are shorter than 64 KiB.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let [high, low] = (content.len() as u16).to_be_bytes();
    let mut value = vec![tag];
    match (high, low) {
        (0, ..0x80) => value.push(low),
        (0, _) => value.extend([0x81, low]),
        _ => value.extend([0x82, high, low]),
    }
    value.extend(content);
    value
}

/// PEM (RFC 7468).
fn pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in STANDARD.encode(der).as_bytes().chunks(64) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}
