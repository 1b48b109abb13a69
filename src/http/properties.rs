//! Property tests of heads and chunked bodies.

use proptest::prelude::*;

use super::head::{self, Framing, HeadError, RequestHead};
use super::limits::Limits;
use crate::net::chunked::ChunkedDecoder;

fn read(bytes: &[u8], limits: &Limits) -> Result<Option<(usize, RequestHead)>, HeadError> {
    let Some(end) = head::find_end(bytes, limits)? else { return Ok(None) };
    assert!(end <= bytes.len().min(limits.head_bytes));
    head::parse(&bytes[..end], limits).map(|head| Some((end, head)))
}

fn token() -> impl Strategy<Value = String> {
    "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}"
}

/// Header lines that do not affect the framing.
fn lines() -> impl Strategy<Value = Vec<(String, String)>> {
    let value = "[!-~]([ -~]{0,20}[!-~])?";
    proptest::collection::vec((token().prop_map(|name| format!("X-{name}")), value), 0..10)
}

/// Fragments of heads, valid and invalid, in any order.
fn fragments() -> impl Strategy<Value = Vec<u8>> {
    let known = prop_oneof![
        Just("GET / HTTP/1.1\r\n"),
        Just("POST /a?b HTTP/1.1\r\n"),
        Just("POST / HTTP/1.0\r\n"),
        Just("Host: h\r\n"),
        Just("Content-Length: 5\r\n"),
        Just("Content-Length: 6\r\n"),
        Just("Content-Length"),
        Just("Transfer-Encoding: chunked\r\n"),
        Just("Transfer-Encoding: gzip\r\n"),
        Just("\r\n"),
        Just("\n"),
        Just("\r"),
        Just(" "),
        Just("\t"),
        Just(":"),
        Just("\0"),
        Just("X: y\r\n"),
        Just(" folded\r\n"),
    ];
    let bit = prop_oneof![
        8 => known.prop_map(|text| text.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..8)
    ];
    proptest::collection::vec(bit, 0..12).prop_map(|fragments| fragments.concat())
}

proptest! {
    // A failing case becomes a unit test beside the code; no regression files are stored.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_head_is_read_as_it_was_written(
        method in prop_oneof![Just("GET"), Just("POST"), Just("DELETE"), Just("BREW")],
        path in "/[!$&-;=@-Z_a-z~]{0,30}",
        query in proptest::option::of("[!$&-;=?@-Z_a-z~]{0,30}"),
        lines in lines(),
        length in any::<u64>(),
    ) {
        let target = format!("{path}{}", query.as_ref().map(|q| format!("?{q}")).unwrap_or_default());
        let rendered: String = lines.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let text = format!("{method} {target} HTTP/1.1\r\nHost: h\r\n{rendered}Content-Length: {length}\r\n\r\nrest");
        let (end, head) = read(text.as_bytes(), &Limits::default()).unwrap().unwrap();
        prop_assert_eq!(end, text.len() - 4);
        prop_assert_eq!(head.method.as_str(), method);
        prop_assert_eq!((head.path, head.query), (path, query));
        prop_assert_eq!(head.framing, Framing::Length(length));
        let read_lines = head.headers.iter().skip(1).take(lines.len());
        prop_assert!(read_lines.eq(lines.iter().map(|(name, value)| (name.as_str(), value.as_str()))));
    }

    #[test]
    fn an_accepted_head_is_framed_unambiguously(bytes in fragments()) {
        if let Ok(Some((end, head))) = read(&bytes, &Limits::default()) {
            let text = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let names = |name: &str| head.headers.values(name).count();
            prop_assert!(names("transfer-encoding") + names("content-length").min(1) <= 1);
            prop_assert!(names("host") <= 1);
            prop_assert_eq!(names("transfer-encoding") == 1, head.framing == Framing::Chunked);
            // No line was folded or dropped: each line was read as a header.
            prop_assert_eq!(text.matches("\r\n").count(), head.headers.iter().count() + 2);
            prop_assert!(!text.replace("\r\n", "").contains(['\r', '\n', '\0']));
        }
    }

    #[test]
    fn the_end_of_a_head_does_not_depend_on_how_it_is_split(bytes in fragments(), cut in any::<prop::sample::Index>()) {
        let limits = Limits { head_bytes: 64, ..Limits::default() };
        let cut = cut.index(bytes.len() + 1);
        let (early, whole) = (head::find_end(&bytes[..cut], &limits), head::find_end(&bytes, &limits));
        if let Ok(Some(_)) | Err(_) = early {
            prop_assert_eq!(early, whole);
        }
    }

    #[test]
    fn bytes_of_any_kind_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes, &Limits { head_bytes: 100, headers: 3, ..Limits::default() });
    }

    #[test]
    fn a_chunked_body_is_the_same_however_it_is_split(
        body in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..8),
        extension in prop_oneof![Just(""), Just(";a=b"), Just(" ;x")],
        cuts in proptest::collection::vec(1usize..9, 1..9),
    ) {
        let mut wire = Vec::new();
        for chunk in &body {
            wire.extend(format!("{:X}{}\r\n", chunk.len(), extension.trim_start()).into_bytes());
            wire.extend(chunk);
            wire.extend(b"\r\n");
        }
        wire.extend(b"0\r\nTrailer: t\r\n\r\n");
        let length = wire.len();
        wire.extend(b"GET / HTTP/1.1");
        let (mut decoder, mut out, mut at) = (ChunkedDecoder::strict(), Vec::new(), 0);
        for step in cuts.iter().cycle() {
            let end = (at + step).min(wire.len());
            let used = decoder.decode(&wire[at..end], &mut out).unwrap();
            at += used;
            if decoder.is_done() {
                break;
            }
            prop_assert!(used > 0, "it goes on");
        }
        prop_assert_eq!(at, length, "what follows is left alone");
        prop_assert_eq!(out, body.concat());
    }

    #[test]
    fn a_malformed_chunked_body_is_refused_or_incomplete(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let (mut decoder, mut out) = (ChunkedDecoder::strict(), Vec::new());
        if let Ok(used) = decoder.decode(&bytes, &mut out) {
            prop_assert!(used == bytes.len() || decoder.is_done());
            prop_assert!(out.len() <= bytes.len());
        }
    }
}
