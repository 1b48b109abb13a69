//! Chat deltas as messages and their events.

use super::super::super::chat::TOO_LONG;
use super::*;
use crate::proto::sse::Decoder;

fn written(stream: bool, deltas: Vec<ChatDelta<'_>>) -> MessageWriter {
    let mut writer = MessageWriter::new("k", "m", stream);
    deltas.into_iter().for_each(|delta| writer.apply(delta));
    writer
}

fn events(deltas: Vec<ChatDelta<'_>>) -> Vec<Value> {
    let mut writer = written(true, deltas);
    writer.end();
    let mut decoder = Decoder::new();
    decoder.push(writer.take_events().as_bytes());
    let events = std::iter::from_fn(|| decoder.next_event());
    events
        .map(|event| {
            let data: Value = serde_json::from_str(&event.data).unwrap();
            assert_eq!(event.event.as_deref(), data["type"].as_str());
            data
        })
        .collect()
}

fn whole(deltas: Vec<ChatDelta<'_>>) -> Value {
    serde_json::from_str(&Box::new(written(false, deltas)).into_body()).unwrap()
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[test]
fn text_is_one_block_between_the_messages_events() {
    let counts = TokenCounts { input: 9, cached: 4, output: 2, ..TokenCounts::default() };
    let deltas = || {
        vec![
            ChatDelta::Model("qwen"),
            ChatDelta::Text("Hel"),
            ChatDelta::Text("lo"),
            ChatDelta::Finish(Finish::Stop),
            ChatDelta::Usage(counts),
        ]
    };
    let events = events(deltas());
    assert_eq!(
        kinds(&events),
        [
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop"
        ]
    );
    assert_eq!(events[0]["message"]["model"], "qwen");
    assert_eq!(events[3]["delta"], json!({ "type": "text_delta", "text": "lo" }));
    assert_eq!(events[5]["delta"]["stop_reason"], "end_turn");
    assert_eq!(events[5]["usage"]["input_tokens"], 5);
    assert_eq!(
        whole(deltas()),
        json!({ "id": "msg_k", "type": "message", "role": "assistant", "model": "qwen", "stop_reason": "end_turn",
            "stop_sequence": null, "content": [{ "type": "text", "text": "Hello" }],
            "usage": { "input_tokens": 5, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4, "output_tokens": 2 } })
    );
}

#[test]
fn blocks_never_overlap_although_calls_do() {
    let deltas = || {
        vec![
            ChatDelta::Reasoning("Hm."),
            ChatDelta::CallStart { call: 0, id: Some("a"), name: "f" },
            ChatDelta::CallArguments { call: 0, text: "{\"x\":" },
            ChatDelta::CallStart { call: 1, id: None, name: "g" },
            ChatDelta::CallArguments { call: 1, text: "{}" },
            ChatDelta::CallArguments { call: 0, text: "1}" },
            ChatDelta::Finish(Finish::Stop),
        ]
    };
    let events = events(deltas());
    let mut open = None;
    for event in &events {
        match event["type"].as_str().unwrap() {
            "content_block_start" => assert_eq!(open.replace(event["index"].clone()), None),
            "content_block_delta" => assert_eq!(open.as_ref(), Some(&event["index"])),
            "content_block_stop" => assert_eq!(open.take().as_ref(), Some(&event["index"])),
            _ => assert_eq!(open, None),
        }
    }
    let arguments = |index: u64| {
        let deltas = events.iter().filter(|event| event["index"] == index);
        deltas.filter_map(|event| event["delta"]["partial_json"].as_str()).collect::<String>()
    };
    assert_eq!((arguments(1).as_str(), arguments(2).as_str()), ("{\"x\":1}", "{}"));
    assert_eq!(events[events.len() - 2]["delta"]["stop_reason"], "tool_use");
    let content = &whole(deltas())["content"];
    assert_eq!(content[0], json!({ "type": "thinking", "thinking": "Hm.", "signature": "" }));
    assert_eq!(content[1], json!({ "type": "tool_use", "id": "a", "name": "f", "input": { "x": 1 } }));
    assert_eq!((&content[2]["name"], &content[2]["input"]), (&json!("g"), &json!({})));
}

#[test]
fn reasons_to_stop_have_the_names_of_this_api() {
    for (finish, reason) in [(Finish::Length, "max_tokens"), (Finish::ContentFilter, "refusal")] {
        assert_eq!(whole(vec![ChatDelta::Text("x"), ChatDelta::Finish(finish)])["stop_reason"], reason);
    }
    assert_eq!(whole(vec![])["content"], json!([]));
    let odd = vec![
        ChatDelta::CallStart { call: 0, id: None, name: "f" },
        ChatDelta::CallArguments { call: 0, text: "not JSON" },
    ];
    assert_eq!(whole(odd)["content"][0]["input"], json!({ "arguments": "not JSON" }));
}

#[test]
fn a_failure_is_an_error_event_and_the_last_one() {
    let events = events(vec![ChatDelta::Text("x"), ChatDelta::Error("broke"), ChatDelta::Text("y")]);
    assert_eq!(kinds(&events).last(), Some(&"error"));
    assert_eq!(events.last().unwrap()["error"], json!({ "type": "api_error", "message": "broke" }));
}

#[test]
fn a_stream_holds_no_text_and_a_whole_message_is_limited() {
    let mebibyte = "x".repeat(1 << 20);
    let mut stream = MessageWriter::new("k", "m", true);
    for _ in 0..100 {
        stream.apply(ChatDelta::Text(&mebibyte));
        drop(stream.take_events());
    }
    assert!(stream.state.failure().is_none() && stream.weight() < 1000, "{}", stream.weight());
    let mut whole = MessageWriter::new("k", "m", false);
    for _ in 0..100 {
        whole.apply(ChatDelta::Text(&mebibyte));
    }
    assert_eq!(whole.state.failure(), Some(TOO_LONG));
    assert_eq!(whole.weight(), 0);
}

#[test]
fn a_calls_input_stays_as_the_model_wrote_it() {
    let written_input = |arguments: &str| {
        let call = [
            ChatDelta::CallStart { call: 0, id: Some("a"), name: "f" },
            ChatDelta::CallArguments { call: 0, text: arguments },
        ];
        let body = Box::new(written(false, call.into())).into_body();
        let from = body.find("\"input\":").expect("an input") + 8;
        let to = body.find("}],\"stop_reason\"").expect("the block's end");
        body[from..to].to_owned()
    };
    let deep = format!("{{\"b\":12345678901234567890123,\"a\":{}{}}}", "[".repeat(500), "]".repeat(500));
    assert_eq!(written_input(&format!(" {deep} ")), deep);
    for (arguments, expected) in
        [("", "{}"), (" ", "{}"), ("[1]", r#"{"arguments":"[1]"}"#), ("{", r#"{"arguments":"{"}"#)]
    {
        assert_eq!(written_input(arguments), expected, "{arguments:?}");
    }
}

#[test]
fn arguments_that_waited_are_not_held_once_they_are_sent() {
    let held = |arguments: &str| {
        let (first, second) =
            (ChatDelta::CallStart { call: 0, id: None, name: "f" }, |text| ChatDelta::CallArguments { call: 1, text });
        let mut writer = written(true, vec![first, ChatDelta::CallStart { call: 1, id: None, name: "g" }]);
        writer.apply(second(arguments));
        let waiting = writer.state.held;
        writer.end();
        (waiting, writer.state.held)
    };
    let ((_, plain), (waiting, sent)) = (held(""), held(r#"{"a":"\n"}"#));
    assert!(waiting > plain && sent == plain, "{waiting}, {sent} and {plain}");
}
