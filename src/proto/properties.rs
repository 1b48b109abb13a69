//! Property tests of tunnel messages, event streams, translations and URLs.

mod ollama;

use std::borrow::Cow;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::invitation::Invitation;
use super::openai::{Members, same_model};
use super::response_id::IdWatch;
use super::sse;
use super::translate::{ChatTranslator, ResponseTemplate, anthropic, to_chat};
use super::tunnel::{self, BodyForm, FromHub, FromParticipant, Request};
use super::usage::UsageWatch;
use super::web;

/// Any JSON that is not too large.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((key(), inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// Keys of known members, and others.
fn key() -> impl Strategy<Value = String> {
    let known = [
        "type",
        "role",
        "content",
        "text",
        "input",
        "tools",
        "name",
        "function",
        "arguments",
        "call_id",
        "output",
        "model",
        "stream",
        "delta",
        "choices",
        "index",
        "tool_calls",
        "finish_reason",
        "usage",
        "refusal",
        "reasoning",
        "id",
        "image_url",
        "format",
        "json_schema",
        "tool_choice",
        "instructions",
        "message",
        "error",
    ];
    prop_oneof![9 => proptest::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => any::<String>()]
}

fn pieces<'b>(bytes: &'b [u8], cuts: &[usize]) -> Vec<&'b [u8]> {
    let (mut rest, mut pieces) = (bytes, Vec::new());
    for cut in cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, more) = rest.split_at((*cut).min(rest.len()));
        pieces.push(piece);
        rest = more;
    }
    pieces
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(1usize..20, 1..8)
}

fn decoded(pieces: &[&[u8]]) -> Vec<sse::SseEvent> {
    let mut decoder = sse::Decoder::new();
    pieces.iter().for_each(|piece| decoder.push(piece));
    std::iter::from_fn(|| decoder.next_event()).collect()
}

/// Lines of event streams, valid and invalid.
fn stream_text() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        Just("data: {\"a\":1}".to_owned()),
        Just("data:x".to_owned()),
        Just("event: e".to_owned()),
        Just("id: 7".to_owned()),
        Just(": comment".to_owned()),
        Just("data".to_owned()),
        Just(String::new()),
        any::<String>(),
    ];
    let end = prop_oneof![Just("\n"), Just("\r\n"), Just("\r")];
    proptest::collection::vec((line, end), 0..20).prop_map(|lines| lines.into_iter().map(|(l, e)| l + e).collect())
}

proptest! {
    // A failing case becomes a unit test beside the code; no regression files are stored.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_invitation_is_read_as_it_was_written_and_other_texts_are_refused(
        hub in "[^\\p{C}]{1,60}", room in "[^\\p{C}]{1,20}", pin in any::<Option<[u8; 32]>>(), text in any::<String>(),
    ) {
        let invitation = Invitation { hub, room, fingerprint: pin, ..Invitation::default() };
        prop_assert_eq!(Invitation::parse(&invitation.encode().unwrap()), Ok(invitation));
        let other = Invitation::parse(&format!("gambi:{text}"));
        prop_assert!(other.is_err());
    }

    #[test]
    fn a_request_through_the_tunnel_is_the_same(id in any::<String>(), path in any::<String>(), body in any_json(), stream in any::<bool>()) {
        let text = body.to_string();
        let request = Request {
            request_id: &id, operation: "o", method: "POST", path: &path, headers: &[("A".to_owned(), "b".to_owned())], hops: &path,
            body: BodyForm::Inline, stream,
        };
        let (head, tail) = tunnel::encode_request(&request);
        let wire = String::from_utf8(head).unwrap() + &text + tail;
        let FromHub::Request(read) = tunnel::decode_from_hub(&wire).unwrap() else { panic!("{wire}") };
        prop_assert_eq!((read.request_id, read.path), (Cow::Borrowed(id.as_str()), Cow::Borrowed(path.as_str())));
        prop_assert_eq!(read.hops.unwrap_or_default(), path);
        // A JSON `null` counts as no body.
        prop_assert_eq!(read.body, Some(text.as_str()).filter(|text| *text != "null"));
    }

    #[test]
    fn an_answer_through_the_tunnel_is_the_same(id in any::<String>(), stage in any::<String>(), bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let request_id = Cow::Borrowed(id.as_str());
        let mut chunk = Vec::new();
        tunnel::encode_chunk(&mut chunk, &id, &bytes);
        let chunk = String::from_utf8(chunk).unwrap();
        if let Some(plain) = tunnel::plain_chunk(&chunk) {
            let mut decoded = Vec::new();
            prop_assert!(plain.decode(&mut decoded).is_ok());
            prop_assert_eq!((plain.request_id, &decoded), (id.as_str(), &bytes));
        }
        prop_assert_eq!(tunnel::decode_from_participant(&chunk).unwrap(), FromParticipant::Chunk { request_id: request_id.clone(), bytes: bytes.clone() });
        let end = tunnel::encode_end(&id);
        prop_assert_eq!(tunnel::decode_from_participant(&end).unwrap(), FromParticipant::End { request_id: request_id.clone() });
        let error = tunnel::encode_error(&id, &stage, &stage);
        let wanted = FromParticipant::Error {
            request_id,
            stage: super::text::cut(&stage, tunnel::MAX_STAGE).to_owned(),
            message: super::text::cut(&stage, tunnel::MAX_ERROR_TEXT).to_owned(),
        };
        prop_assert_eq!(tunnel::decode_from_participant(&error).unwrap(), wanted);
        if let Some(mut head) = tunnel::binary_head(&id) {
            head.extend(&bytes);
            prop_assert_eq!(tunnel::decode_binary(&head).unwrap(), (id.as_str(), bytes.as_slice()));
        }
    }

    #[test]
    fn messages_of_any_kind_are_read_or_dropped(json in any_json(), text in any::<String>(), bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let mut typed = json.clone();
        if let Value::Object(map) = &mut typed {
            map.insert("type".into(), "tunnel.response.start".into());
        }
        for text in [json.to_string(), typed.to_string(), text] {
            let _ = tunnel::decode_from_hub(&text);
            let read = tunnel::decode_from_participant(&text);
            let mut decoded = Vec::new();
            if let Some(plain) = tunnel::plain_chunk(&text) && plain.decode(&mut decoded).is_ok() {
                prop_assert_eq!(read.unwrap(), FromParticipant::Chunk { request_id: plain.request_id.into(), bytes: decoded });
            }
        }
        let _ = tunnel::decode_binary(&bytes);
    }

    #[test]
    fn events_are_the_same_however_the_stream_is_split(text in stream_text(), cuts in cuts()) {
        let whole = decoded(&[text.as_bytes()]);
        prop_assert_eq!(decoded(&pieces(text.as_bytes(), &cuts)), whole);
    }

    #[test]
    fn an_event_is_read_as_it_was_written(name in "[a-z.]{1,20}", data in any_json(), cuts in cuts()) {
        let data = data.to_string();
        let events = decoded(&pieces(sse::encode(&name, &data).as_bytes(), &cuts));
        prop_assert_eq!(events, vec![sse::SseEvent { event: Some(name), data }]);
    }

    #[test]
    fn usage_and_ids_are_the_same_however_the_answer_is_split(text in stream_text(), tokens in 0u64..1_000_000, cuts in cuts()) {
        let usage = format!("{text}\ndata: {{\"usage\":{{\"prompt_tokens\":1,\"completion_tokens\":{tokens}}}}}\n\n");
        let read = |pieces: &[&[u8]]| {
            let (mut watch, mut ids) = (UsageWatch::default(), IdWatch::new(true));
            let found: Vec<_> = pieces.iter().filter_map(|piece| { watch.push(piece); ids.push(piece) }).collect();
            (watch.usage(), found)
        };
        prop_assert_eq!(read(&pieces(usage.as_bytes(), &cuts)), read(&[usage.as_bytes()]));
    }

    #[test]
    fn a_request_is_translated_to_a_chat_or_refused(mut request in any_json(), input in any_json()) {
        if let Value::Object(map) = &mut request {
            map.insert("input".into(), input);
        }
        let text = request.to_string();
        if let Ok(members) = Members::parse(text.as_bytes())
            && let Ok(chat) = to_chat(&members)
        {
            let chat: Value = serde_json::from_str(&chat).expect("JSON");
            prop_assert!(chat["messages"].is_array(), "{}", chat);
            for gone in ["input", "instructions", "max_output_tokens"] {
                prop_assert!(chat.get(gone).is_none(), "{}", chat);
            }
        }
    }

    #[test]
    fn members_that_both_apis_have_are_carried_over(text in any::<String>(), extra in any_json(), temperature in 0.0f64..2.0) {
        let request = json!({ "model": "m", "input": text, "temperature": temperature, "future_field": extra }).to_string();
        let chat = to_chat(&Members::parse(request.as_bytes()).unwrap()).unwrap();
        let chat: Value = serde_json::from_str(&chat).unwrap();
        prop_assert_eq!(&chat["messages"][0]["content"], &json!(text));
        prop_assert_eq!(&chat["temperature"], &json_as_read(&json!(temperature)));
        prop_assert_eq!(chat.get("future_field").cloned().unwrap_or_default(), json_as_read(&extra));
    }

    #[test]
    fn any_chat_becomes_a_well_formed_response(chunks in proptest::collection::vec(chunk(), 0..12), ends in any::<bool>()) {
        let request = Members::parse(br#"{"input":"Hi","tools":[{"type":"custom","name":"patch"}]}"#).unwrap();
        let mut answer = ChatTranslator::responses(ResponseTemplate::new(&request, "k", 1), "m", true);
        chunks.iter().for_each(|chunk| answer.push(chunk));
        if ends { answer.end() } else { answer.fail("it broke") }
        check_response(&answer.take_events())?;
    }

    #[test]
    fn a_whole_answer_of_any_kind_is_read_or_refused(chat in any_json()) {
        let request = Members::parse(br#"{"model":"any","input":"Hi"}"#).unwrap();
        let mut answer = ChatTranslator::responses(ResponseTemplate::new(&request, "k", 1), "m", true);
        if answer.push_whole(chat.to_string().as_bytes()) {
            let response: Value = serde_json::from_str(&answer.into_body()).unwrap();
            prop_assert!(response["output"].is_array());
        }
    }

    #[test]
    fn members_round_trip(pairs in proptest::collection::vec((any::<String>(), any_json()), 0..8)) {
        let map: Map<String, Value> = pairs.into_iter().collect();
        let text = Value::Object(map).to_string();
        let members = Members::parse(text.as_bytes()).unwrap();
        prop_assert_eq!(members.to_json(), text);
    }

    #[test]
    fn path_segments_round_trip(text in any::<String>(), odd in "[%a-f0-9/]{0,20}") {
        prop_assert_eq!(web::percent_decode(&web::percent_encode(&text)), Some(text));
        let _ = web::percent_decode(&odd);
        let _ = web::host_of(&odd);
        prop_assert_eq!(web::host_of(&format!("http://{odd}")).is_some_and(|host| host.contains('/')), false);
    }

    #[test]
    fn every_model_name_equals_itself(a in any::<String>(), b in any::<String>()) {
        let latest = format!("{a}:latest");
        prop_assert!(same_model(&a, &a) && same_model(&a, &latest));
        prop_assert_eq!(same_model(&a, &b), same_model(&b, &a));
    }
}

/// JSON as serde_json parses it: numbers may lose precision beyond that of a double.
fn json_as_read(value: &Value) -> Value {
    serde_json::from_str(&value.to_string()).unwrap()
}

/// A piece of a call with some of its members.
fn odd_call() -> impl Strategy<Value = Value> {
    let texts = prop::sample::select(vec!["", "{", "{}", "{\"a\"", ":1}", "x", "{\"input\":\"\\u00"]);
    let id = prop::sample::select(vec![json!(null), json!(""), json!("a"), json!("b")]);
    let name = prop::sample::select(vec![json!(null), json!("f"), json!("fg"), json!("patch")]);
    (prop::option::of(0u64..3), id, name, texts).prop_map(|(number, id, name, text)| {
        json!({ "index": number, "id": id, "function": { "name": name, "arguments": text } })
    })
}

/// A chat's chunk: valid, unusual, or malformed.
fn chunk() -> impl Strategy<Value = String> {
    let delta = prop_oneof![
        any::<String>().prop_map(|text| json!({ "content": text })),
        any::<String>().prop_map(|text| json!({ "refusal": text })),
        any::<String>().prop_map(|text| json!({ "reasoning_content": text })),
        (0u64..3, any::<String>()).prop_map(|(n, text)| {
            json!({ "tool_calls": [{ "index": n, "id": "c", "function": { "name": "f", "arguments": text } }] })
        }),
        odd_call().prop_map(|call| json!({ "tool_calls": [call] })),
        prop::collection::vec(odd_call(), 0..4).prop_map(|calls| json!({ "tool_calls": calls })),
        any_json(),
    ];
    let finish =
        prop_oneof![3 => Just(Value::Null), 1 => Just(json!("stop")), 1 => Just(json!("length")), 1 => any_json()];
    prop_oneof![
        8 => (delta, finish).prop_map(|(delta, finish)| {
            json!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }] }).to_string()
        }),
        1 => Just("[DONE]".to_owned()),
        1 => any_json().prop_map(|json| json.to_string()),
        1 => any::<String>(),
    ]
}

/// Checks that the sequence numbers have no gap, that the first and last events are right, and that every added item is
/// completed in its position or the response is incomplete or failed.
fn check_response(text: &str) -> Result<(), TestCaseError> {
    let events: Vec<Value> = decoded(&[text.as_bytes()])
        .into_iter()
        .filter(|event| event.data != "[DONE]")
        .map(|event| serde_json::from_str(&event.data).expect("JSON"))
        .collect();
    let kind = |event: &Value| event["type"].as_str().unwrap_or_default().to_owned();
    for (n, event) in events.iter().enumerate() {
        prop_assert_eq!(&event["sequence_number"], &json!(n));
    }
    prop_assert_eq!(events.first().map(kind), Some("response.created".to_owned()));
    let last = events.last().map(kind).unwrap_or_default();
    let ends = ["response.completed", "response.incomplete", "response.failed", "error"];
    prop_assert!(ends.contains(&last.as_str()), "{}", last);
    let count = |name: &str| events.iter().filter(|event| kind(event) == name).count();
    prop_assert_eq!(ends[..3].iter().map(|end| count(end)).sum::<usize>(), 1);
    if last == "response.completed" {
        prop_assert_eq!(count("response.output_item.added"), count("response.output_item.done"));
        let output =
            events.last().and_then(|event| event["response"]["output"].as_array().cloned()).unwrap_or_default();
        prop_assert_eq!(output.len(), count("response.output_item.done"));
    }
    Ok(())
}

/// Worst cases for scanners: their own tokens, repeated, adjacent and nested at least 100,000 deep.
fn hostile_inputs() -> Vec<Vec<u8>> {
    let tokens = [
        "\"usage\"",
        "\"usage\":{",
        "{\"id\":",
        "\"id\":\"",
        "[",
        "{\"response\":",
        "data:",
        "data: {\r\n",
        "\r",
        "\\\"",
    ];
    let mut inputs: Vec<_> = tokens.iter().map(|token| token.repeat(100_000).into_bytes()).collect();
    inputs.push("[".repeat(1 << 20).into_bytes());
    inputs
}

fn closing(open: char) -> Option<char> {
    match open {
        '{' => Some('}'),
        '[' => Some(']'),
        _ => None,
    }
}

#[test]
fn hostile_bytes_are_read_in_the_stack_that_connections_have() {
    let read = || {
        for input in hostile_inputs() {
            let (mut usage, mut whole, mut stream) = (UsageWatch::default(), IdWatch::new(false), IdWatch::new(true));
            for piece in input.chunks(4093) {
                usage.push(piece);
                assert_eq!((whole.push(piece), stream.push(piece)), (None, None));
            }
            let text = String::from_utf8(input).unwrap();
            let nested = format!(r#"{{"type":"tunnel.new","x":{text}}}"#);
            let _ = (tunnel::decode_from_participant(&nested), tunnel::decode_from_hub(&nested));
            let request = format!(r#"{{"input":{text}}}"#);
            let _ = Members::parse(request.as_bytes()).map(|members| to_chat(&members));
            let deep = format!(r#"{{"input":[{}{}]}}"#, "[".repeat(100_000), "]".repeat(100_000));
            assert!(Members::parse(deep.as_bytes()).is_ok_and(|members| to_chat(&members).is_err()));
            ChatTranslator::responses(ResponseTemplate::new(&Members::default(), "k", 0), "m", true).push(&text);
        }
        for block in [
            r#"{"type":"search_result","content":["#,
            r#"{"type":"document","source":{"type":"content","content":["#,
            r#"{"type":"tool_result","tool_use_id":"t","content":["#,
        ] {
            let opened = block.repeat(10_000);
            let closed: String = opened.chars().rev().filter_map(closing).collect();
            let request = format!(r#"{{"messages":[{{"role":"user","content":[{opened}{closed}]}}]}}"#);
            assert!(anthropic::to_chat(&Members::parse(request.as_bytes()).unwrap()).is_err());
        }
    };
    std::thread::Builder::new().stack_size(crate::sync::STACK_SIZE).spawn(read).unwrap().join().unwrap();
}
