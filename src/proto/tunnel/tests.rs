//! Tests of the codec: messages round-trip, and malformed ones are errors.

use std::collections::BTreeMap;

use super::*;

#[test]
fn a_request_keeps_its_body_byte_for_byte() {
    let body = r#"{"z":1,"a":12345678901234567890123, "model" : "m"}"#;
    let request = Request {
        request_id: "r1",
        operation: "chat.completions.create",
        method: "POST",
        path: "/v1/chat/completions",
        headers: &[("OpenAI-Beta".to_owned(), "\"1\"".to_owned())],
        hops: "a, b",
        body: BodyForm::Inline,
        stream: true,
    };
    let (head, tail) = encode_request(&request);
    let text = String::from_utf8(head).unwrap() + body + tail;
    assert!(text.starts_with(r#"{"type":"tunnel.request","requestId":"r1","#), "{text}");
    assert!(text.contains(r#","stream":true,"#), "{text}");
    let FromHub::Request(read) = decode_from_hub(&text).unwrap() else { panic!("{text}") };
    assert_eq!(read.body, Some(body));
    let headers = [("Content-Type", "application/json"), ("OpenAI-Beta", "\"1\"")];
    assert_eq!(read.headers, headers.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(read.hops.as_deref(), Some("a, b"));
    let (mut text, tail) = encode_request(&Request { body: BodyForm::Binary(body.len()), ..request });
    text.extend_from_slice(tail.as_bytes());
    let text = String::from_utf8(text).unwrap();
    let FromHub::Request(read) = decode_from_hub(&text).unwrap() else { panic!("{text}") };
    assert_eq!((read.body.is_none(), read.body_bytes), (true, Some(body.len())));
    let both = text.replace(",\"bodyBytes\"", ",\"body\":{},\"bodyBytes\"");
    assert!(decode_from_hub(&both).is_err(), "{both}");
    let other = r#"{"type":"tunnel.request","requestId":"r","method":"GET","path":"/","metadata":{"hops":7}}"#;
    let FromHub::Request(read) = decode_from_hub(other).unwrap() else { panic!("{other}") };
    assert_eq!(read.hops, None, "hops of another type are ignored");
}

#[test]
fn a_request_without_a_body_has_no_content_type_and_only_forwarded_headers_are_read() {
    let request = Request {
        request_id: "r",
        operation: "responses.retrieve",
        method: "GET",
        path: "/v1/responses/1",
        headers: &[],
        hops: "",
        body: BodyForm::None,
        stream: false,
    };
    let (mut text, tail) = encode_request(&request);
    text.extend_from_slice(tail.as_bytes());
    let text = String::from_utf8(text).unwrap();
    assert!(text.ends_with(r#","headers":{},"stream":false}"#), "{text}");
    let others: String = (0..2 * MAX_HEAD_LINES).map(|n| format!(r#""x-{n}":"v","#)).collect();
    let text = text.replace("{}", &format!(r#"{{{others}"traceparent":"1","Cookie":"c","traceparent":"2"}}"#));
    let FromHub::Request(read) = decode_from_hub(&text).unwrap() else { panic!("{text}") };
    assert_eq!(read.headers, [("traceparent".to_owned(), "2".to_owned())]);
}

#[test]
fn the_hubs_other_messages_round_trip() {
    let text = String::from_utf8(encode(&ToParticipant::Cancel { request_id: "r1" })).unwrap();
    assert_eq!(text, r#"{"type":"tunnel.cancel","requestId":"r1"}"#);
    assert!(matches!(decode_from_hub(&text).unwrap(), FromHub::Cancel { request_id } if request_id == "r1"));
    let text = String::from_utf8(encode(&ToParticipant::Pause { request_id: "r1" })).unwrap();
    assert!(matches!(decode_from_hub(&text).unwrap(), FromHub::Pause { request_id } if request_id == "r1"));
    let text = String::from_utf8(encode(&ToParticipant::Resume { request_id: "r1" })).unwrap();
    assert!(matches!(decode_from_hub(&text).unwrap(), FromHub::Resume { request_id } if request_id == "r1"));
    let text = String::from_utf8(encode(&ToParticipant::Pong { timestamp: 7 })).unwrap();
    assert!(matches!(decode_from_hub(&text).unwrap(), FromHub::Pong));
}

#[test]
fn a_participants_messages_round_trip() {
    let headers = BTreeMap::from([("content-type".to_owned(), "text/event-stream".to_owned())]);
    let start = String::from_utf8(encode_start("r", 200, &headers)).unwrap();
    assert_eq!(
        decode_from_participant(&start).unwrap(),
        FromParticipant::Start { request_id: "r".into(), status: 200, headers: headers.into_iter().collect() }
    );
    let bytes: Vec<u8> = (0..=255).collect();
    for (id, is_plain) in [("r-1.2", true), ("r\"1", false)] {
        let mut text = Vec::new();
        encode_chunk(&mut text, id, &bytes);
        let text = String::from_utf8(text).unwrap();
        let read = decode_from_participant(&text).unwrap();
        assert_eq!(read, FromParticipant::Chunk { request_id: id.into(), bytes: bytes.clone() });
        let mut decoded = b"before".to_vec();
        assert_eq!(
            plain_chunk(&text).is_some_and(|chunk| chunk.request_id == id && chunk.decode(&mut decoded).is_ok()),
            is_plain
        );
        assert_eq!(decoded.strip_prefix(b"before"), Some(if is_plain { &*bytes } else { &[] }));
    }
    assert!(
        plain_chunk(r#"{"type":"tunnel.response.chunk","requestId":"r","chunk":"YQ","x":"y"}"#)
            .is_none_or(|chunk| chunk.decode(&mut Vec::new()).is_err())
    );
    for (id, is_plain) in [("r-1.2", true), ("r\"1", false)] {
        let end = encode_end(id);
        assert_eq!(decode_from_participant(&end).unwrap(), FromParticipant::End { request_id: id.into() });
        assert_eq!(plain_end(&end), is_plain.then_some(id));
    }
    assert_eq!(plain_end(r#"{"type":"tunnel.response.end","requestId":"r","x":"y"}"#), None);
    assert_eq!(
        decode_from_participant(&encode_error("r", "connect", "it \"broke\"")).unwrap(),
        FromParticipant::Error { request_id: "r".into(), stage: "connect".into(), message: "it \"broke\"".into() }
    );
    assert_eq!(decode_from_participant(&encode_ping(5)).unwrap(), FromParticipant::Ping);
}

#[test]
fn unknown_types_are_ignored_and_malformed_messages_are_errors() {
    assert_eq!(decode_from_participant(r#"{"type":"tunnel.new","x":[]}"#).unwrap(), FromParticipant::Unknown);
    for bad in [
        "",
        "[]",
        "{}",
        r#"{"type":1}"#,
        r#"{"type":"tunnel.response.end"}"#,
        r#"{"type":"tunnel.response.chunk","chunk":"!!"}"#,
    ] {
        assert!(decode_from_participant(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_part_of_a_response_that_cannot_be_read_ends_its_request() {
    for (bad, says) in [
        (r#"{"type":"tunnel.response.start","requestId":"r","status":99}"#, "status"),
        (r#"{"type":"tunnel.response.start","requestId":"r"}"#, "status"),
        (r#"{"type":"tunnel.response.start","requestId":"r","status":200,"headers":{"a":1}}"#, "headers"),
        (r#"{"type":"tunnel.response.chunk","requestId":"r","chunk":"!!"}"#, "base64"),
        (r#"{"type":"tunnel.response.chunk","requestId":"r","chunk":"_-8="}"#, "base64"),
        (r#"{"type":"tunnel.response.chunk","requestId":"r"}"#, "chunk is missing"),
        (r#"{"type":"tunnel.response.error","requestId":"r"}"#, "message is missing"),
        (r#"{"type":"tunnel.response.start","requestId":"r","status":"200"}"#, "status"),
        (r#"{"type":"tunnel.response.start","status":70000,"requestId":"r"}"#, "status"),
        (r#"{"type":"tunnel.response.chunk","chunk":5,"requestId":"r"}"#, "chunk"),
        (r#"{"type":"tunnel.response.chunk","requestId":"r","chunk":"YQ==","chunk":"YQ=="}"#, "chunk appears twice"),
        (r#"{"type":"tunnel.response.error","requestId":"r","message":"\ud83d"}"#, "message"),
    ] {
        match decode_from_participant(bad).unwrap() {
            FromParticipant::Malformed { request_id, message, .. } => {
                assert!(request_id == "r" && message.contains(says), "{bad}: {message}");
            }
            other => panic!("{bad}: {other:?}"),
        }
    }
}

#[test]
fn a_field_that_is_wrong_or_doubled_is_named_and_null_counts_as_absent() {
    for (bad, says) in [
        ("[1]", "no JSON object"),
        ("{\"type\":", "after \"\\\"type"),
        (r#"{"type":"tunnel.ping","type":"tunnel.ping"}"#, "type"),
        (r#"{"type":"tunnel.ping","status":"200"}"#, "status"),
        (r#"{"type":"tunnel.ping","status":-1}"#, "status"),
        (r#"{"type":"tunnel.ping","stream":0}"#, "stream"),
        (r#"{"type":"tunnel.ping","chunk":"\ud800"}"#, "chunk"),
        (r#"{"type":null}"#, "type is missing"),
        (r#"{"type":"tunnel.response.end","requestId":null}"#, "requestId is missing"),
    ] {
        let told = decode_from_participant(bad).unwrap_err().to_string();
        assert!(told.contains(says), "{bad}: {told}");
    }
    let start = |headers: &str| {
        let text =
            format!(r#"{{"ty\u0070e":"tunnel.response.start","requestId":"r","status":200,"headers":{headers}}}"#);
        match decode_from_participant(&text).unwrap() {
            FromParticipant::Start { headers, .. } => headers,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(start("null"), []);
    let twice = start(r#"{"a":"1","b":"\n","\u0061":"2"}"#);
    assert_eq!(twice, [("a".to_owned(), "2".to_owned()), ("b".to_owned(), "\n".to_owned())]);
}

#[test]
fn base64_is_read_with_and_without_padding_and_with_escaped_slashes() {
    let chunk = |c: &str| {
        let text = format!(r#"{{"type":"tunnel.response.chunk","requestId":"r","chunk":"{c}"}}"#);
        match decode_from_participant(&text) {
            Ok(FromParticipant::Chunk { bytes, .. }) => bytes,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(chunk("YQ=="), b"a");
    assert_eq!(chunk("YQ"), b"a");
    assert_eq!(chunk(r"\/\/8="), [0xff, 0xff]);
}

#[test]
fn long_texts_of_a_participant_are_truncated_or_refused() {
    let start = |headers: BTreeMap<String, String>| {
        let text = String::from_utf8(encode_start("r", 200, &headers)).unwrap();
        matches!(decode_from_participant(&text).unwrap(), FromParticipant::Start { .. })
    };
    let lines = |count: usize| (0..count).map(|n| (format!("x-{n}"), "v".to_owned())).collect();
    assert!(start(lines(MAX_HEAD_LINES)) && !start(lines(MAX_HEAD_LINES + 1)));
    let long = |bytes: usize| BTreeMap::from([("x".to_owned(), "v".repeat(bytes))]);
    assert!(start(long(MAX_HEAD - 10)) && !start(long(MAX_HEAD)));

    let text = encode_error("r", &"s".repeat(1000), &"é".repeat(MAX_ERROR_TEXT));
    let Ok(FromParticipant::Error { stage, message, .. }) = decode_from_participant(&text) else { panic!("{text}") };
    assert_eq!((stage.len(), message.len()), (MAX_STAGE, MAX_ERROR_TEXT));
    let text = encode_error("r", "s", &format!("x{}", "é".repeat(MAX_ERROR_TEXT)));
    assert!(
        matches!(decode_from_participant(&text), Ok(FromParticipant::Error { message, .. }) if message.len() == MAX_ERROR_TEXT - 1)
    );

    let id = |bytes: usize| decode_from_participant(&encode_end(&"i".repeat(bytes))).is_ok();
    assert!(id(MAX_REQUEST_ID) && !id(MAX_REQUEST_ID + 1));
    let mut chunk = Vec::new();
    encode_chunk(&mut chunk, &"i".repeat(MAX_REQUEST_ID + 1), b"x");
    let chunk = String::from_utf8(chunk).unwrap();
    assert!(plain_chunk(&chunk).is_none() && decode_from_participant(&chunk).is_err());
    let wrong = format!(r#"{{"type":"tunnel.ping","status":"{}"}}"#, "x".repeat(1 << 20));
    assert!(decode_from_participant(&wrong).unwrap_err().to_string().len() < 2 * MAX_ERROR_TEXT);
}

#[test]
fn a_hubs_message_with_a_long_id_is_refused() {
    for fields in [
        r#""tunnel.request","method":"GET","path":"/""#,
        r#""tunnel.cancel""#,
        r#""tunnel.pause""#,
        r#""tunnel.resume""#,
    ] {
        let is_read = |bytes: usize| {
            let id = "i".repeat(bytes);
            decode_from_hub(&format!(r#"{{"type":{fields},"requestId":"{id}"}}"#)).is_ok()
        };
        assert!(is_read(MAX_REQUEST_ID) && !is_read(MAX_REQUEST_ID + 1), "{fields}");
    }
}

#[test]
fn binary_chunks_carry_their_id() {
    let mut message = binary_head("r1").unwrap();
    message.extend_from_slice(b"\x00\xff");
    assert_eq!(decode_binary(&message).unwrap(), ("r1", &b"\x00\xff"[..]));
    assert!(decode_binary(b"").is_err());
    assert!(decode_binary(b"\x05abc").is_err());
    assert!(decode_binary(b"\x01\xff").is_err());
    assert!(binary_head(&"x".repeat(256)).is_none());
}
