//! What reads peers' bytes, one function each, for the property tests below and for the targets in `tests/fuzz`. Each one
//! takes any bytes, and panics where a rule is broken that holds for all of them.

use std::collections::{BTreeMap, HashMap};

use serde_json::value::RawValue;

use crate::http::{Limits, head};
use crate::net::chunked::ChunkedDecoder as Chunks;
use crate::proto::api_answer;
use crate::proto::openai::Members;
use crate::proto::response_id::IdWatch;
use crate::proto::scan;
use crate::proto::sse;
use crate::proto::translate::{ChatTranslator, ResponseTemplate, to_chat};
use crate::proto::tunnel::{self, FromParticipant};
use crate::proto::usage::UsageWatch;
use crate::state::selector::Selector;
use crate::tunnel::body::IncomingBody;
use crate::tunnel::codec::{self, Data, OpCode};

/// The first byte says how long the pieces are that the rest comes in.
fn cut(data: &[u8]) -> (usize, &[u8]) {
    data.split_first().map_or((1, data), |(length, rest)| (usize::from(*length).pow(2) + 1, rest))
}

/// Token counts are the same however an answer was cut.
pub fn usage(data: &[u8]) {
    let (length, data) = cut(data);
    let read = |length: usize| {
        let mut watch = UsageWatch::default();
        data.chunks(length).for_each(|piece| watch.push(piece));
        watch.usage()
    };
    assert_eq!(read(length), read(usize::MAX));
}

/// A response's id is the same however an answer was cut, and within its limit.
pub fn response_id(data: &[u8]) {
    let (length, data) = cut(data);
    for stream in [false, true] {
        let read = |length: usize| {
            let mut watch = IdWatch::new(stream);
            data.chunks(length).find_map(|piece| watch.push(piece))
        };
        let id = read(usize::MAX);
        assert_eq!(read(length), id);
        assert!(id.as_ref().is_none_or(|id| id.len() <= 256));
    }
}

/// Events are the same however a stream was cut.
pub fn events(data: &[u8]) {
    let (length, data) = cut(data);
    let read = |length: usize| {
        let (mut decoder, mut events) = (sse::Decoder::new(), Vec::new());
        for piece in data.chunks(length) {
            decoder.push(piece);
            events.extend(std::iter::from_fn(|| decoder.next_event()));
            assert!(decoder.held_bytes() <= 4 * sse::MAX_EVENT);
        }
        events
    };
    assert_eq!(read(length), read(usize::MAX));
}

/// A request becomes a chat that is JSON, or is refused.
pub fn request(data: &[u8]) {
    let Ok(members) = Members::parse(data) else { return };
    let again = members.to_json();
    assert_eq!(Members::parse(again.as_bytes()).map(|members| members.to_json()).as_ref(), Ok(&again));
    let _ = (members.model(), members.stream(), members.check_chat(), members.check_responses());
    if let Ok(chat) = to_chat(&members) {
        let chat = Members::parse(chat.as_bytes()).expect("a chat is JSON");
        chat.check_chat().expect("a chat has messages");
    }
    drop(ResponseTemplate::new(&members, "k", 1));
}

fn answer() -> ChatTranslator {
    let request = Members::parse(br#"{"model":"any","input":"Hi"}"#).expect("JSON");
    ChatTranslator::responses(ResponseTemplate::new(&request, "k", 1), "m", true)
}

/// A whole chat becomes a response that is JSON, or is refused.
pub fn whole_chat(data: &[u8]) {
    let mut answer = answer();
    if answer.push_whole(data) {
        serde_json::from_str::<serde::de::IgnoredAny>(&answer.into_body()).expect("a response is JSON");
    }
}

/// A streamed chat becomes events that are JSON and end once.
pub fn streamed_chat(data: &[u8]) {
    let (length, data) = cut(data);
    let (mut decoder, mut answer, mut out) = (sse::Decoder::new(), answer(), String::new());
    for piece in data.chunks(length) {
        decoder.push(piece);
        while let Some(event) = decoder.next_event() {
            answer.push(&event.data);
        }
        out.push_str(&answer.take_events());
    }
    answer.end();
    out.push_str(&answer.take_events());
    let mut decoder = sse::Decoder::new();
    decoder.push(out.as_bytes());
    let mut ends = 0;
    while let Some(event) = decoder.next_event() {
        let kind = event.event.unwrap_or_default();
        ends += usize::from(["response.completed", "response.incomplete", "response.failed"].contains(&kind.as_str()));
        if event.data != "[DONE]" {
            serde_json::from_str::<serde::de::IgnoredAny>(&event.data).expect("an event is JSON");
        }
    }
    assert_eq!(ends, 1);
}

/// A tunnel's messages are read within their limits, or dropped.
pub fn message(data: &[u8]) {
    let _ = tunnel::decode_binary(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = tunnel::decode_from_hub(text);
    let read = tunnel::decode_from_participant(text);
    match &read {
        Ok(FromParticipant::Start { request_id, headers, .. }) => {
            assert!(request_id.len() <= 256 && headers.len() <= 100);
            assert!(headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() <= 32 << 10);
        }
        Ok(FromParticipant::Error { request_id, stage, message }) => {
            assert!(request_id.len() <= 256 && stage.len() <= 64 && message.len() <= 2 << 10);
        }
        _ => {}
    }
    if let Some(id) = tunnel::plain_end(text) {
        assert_eq!(read.as_ref().ok(), Some(&FromParticipant::End { request_id: id.into() }));
    }
    let mut bytes = Vec::new();
    if let Some(plain) = tunnel::plain_chunk(text)
        && plain.decode(&mut bytes).is_ok()
    {
        assert_eq!(read.ok(), Some(FromParticipant::Chunk { request_id: plain.request_id.into(), bytes }));
    }
}

/// A head is read within its limits, or refused.
pub fn head(data: &[u8]) {
    let limits = Limits { head_bytes: 4096, headers: 20, ..Limits::default() };
    if let Ok(Some(end)) = head::find_end(data, &limits) {
        assert!(end <= limits.head_bytes);
        if let Ok(head) = head::parse(&data[..end], &limits) {
            assert!(head.headers.iter().count() <= limits.headers);
        }
    }
}

/// An answer's start is looked at, whatever it is.
pub fn answer_start(data: &[u8]) {
    for kind in [None, Some("application/json"), Some("text/plain")] {
        let _ = api_answer::lacks_route(kind, data);
    }
}

/// A chunked body is the same however it was cut.
pub fn chunked(data: &[u8]) {
    let (length, data) = cut(data);
    let read = |length: usize| {
        let (mut decoder, mut out, mut used) = (Chunks::strict(), Vec::new(), 0);
        for piece in data.chunks(length) {
            match decoder.decode(piece, &mut out) {
                Ok(taken) => used += taken,
                Err(_) => return (true, out, 0),
            }
        }
        assert!(out.len() <= used && (used == data.len() || decoder.is_done()));
        (false, out, used)
    };
    assert_eq!(read(length), read(usize::MAX));
}

/// A frame's head is read the same again, and a close frame's text is text.
pub fn frame(data: &[u8]) {
    if let Ok(Some(parsed)) = codec::parse_header(data) {
        assert!(parsed.header_len <= codec::MAX_HEADER && parsed.header_len <= data.len());
        assert!(!parsed.is_control() || (parsed.header.is_final && parsed.payload_len <= 125));
        for cut in 0..parsed.header_len {
            assert_eq!(codec::parse_header(&data[..cut]), Ok(None));
        }
    }
    if let Ok((code, reason)) = codec::parse_close(data) {
        assert!(code.is_some() || reason.is_empty());
    }
}

/// The items of a list and the members of an object are those that serde_json finds, wherever it finds any.
pub fn scan(data: &[u8]) {
    members(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    let items = scan::items(text, usize::MAX);
    let parsed = serde_json::from_str::<Vec<&RawValue>>(text).ok();
    assert_eq!(items, parsed.map(|items| items.into_iter().map(RawValue::get).collect()));
    if let Some(objects) = scan::objects(text, usize::MAX, |_, _, _| Some(())) {
        assert_eq!(items, Some(objects));
    }
    let mut found = HashMap::new();
    let members = scan::members(text, |key, value| {
        found.insert(serde_json::from_str::<String>(key).ok()?, value.text()?);
        Some(())
    });
    let parsed = serde_json::from_str::<HashMap<String, &RawValue>>(text).ok();
    let parsed = parsed.map(|members| members.into_iter().map(|(key, value)| (key, value.get())).collect());
    assert_eq!(members.map(|()| found), parsed);
}

/// The members of a request's body are those that serde_json finds, the last of the same key, and written again they are the
/// same.
fn members(data: &[u8]) {
    let read = |data: &[u8]| {
        let text = std::str::from_utf8(data).ok()?;
        let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
        Some(members.into_iter().map(|(key, value)| (key, value.get().to_owned())).collect::<BTreeMap<_, _>>())
    };
    let found = Members::parse(data).ok();
    chat(data, found.as_ref());
    let own =
        found.as_ref().map(|members| members.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect());
    let expected = read(data.strip_prefix("\u{feff}".as_bytes()).unwrap_or(data));
    assert_eq!(own, expected.filter(|members| members.len() <= 1024));
    assert_eq!(found.and_then(|members| read(members.to_json().as_bytes())), own);
}

/// A chat is parsed as any other request, with the messages that are found in it afterwards.
fn chat(data: &[u8], members: Option<&Members<'_>>) {
    let chat = Members::parse_chat(data).ok();
    assert_eq!(chat.as_ref().map(|(chat, _)| chat.to_json()), members.map(Members::to_json));
    let messages = chat.and_then(|(_, messages)| messages);
    assert_eq!(messages, members.and_then(|members| members.check_chat().ok()));
}

/// A request's body is put together from frames that are what was announced, or is refused.
pub fn body(data: &[u8]) {
    let Some((announced, mut data)) = data.split_first() else { return };
    let (mut body, mut sent) = (IncomingBody::new(usize::from(*announced)), Vec::new());
    while let Some(([kind, length], rest)) = data.split_first_chunk() {
        let opcode = [OpCode::Data(Data::Binary), OpCode::Data(Data::Continue), OpCode::Data(Data::Text)];
        let (payload, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        if body.begin_frame(opcode[usize::from(kind % 3)], kind & 0x80 != 0, u64::from(*length)).is_err() {
            return;
        }
        assert_eq!(body.push(payload), payload.len());
        sent.extend_from_slice(payload);
        if body.missing() > 0 {
            return;
        }
        if body.is_complete() {
            assert_eq!(sent.len(), usize::from(*announced));
            assert_eq!(body.into_bytes(), sent);
            return;
        }
        data = rest;
    }
}

/// Every text is a selector that keeps what it names.
pub fn selector(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Selector::parse(text) {
        Selector::Any => assert!(["*", "any"].contains(&text)),
        Selector::Model(name) => assert_eq!(text.strip_prefix("model:"), Some(name)),
        Selector::Name(name) => assert_eq!(name, text),
    }
}

#[cfg(test)]
mod properties;
