//! What is read of the answers of servers that differ.

use serde_json::json;

use super::*;

/// A delta in words.
fn shown(delta: ChatDelta<'_>) -> String {
    match delta {
        ChatDelta::Model(text) => format!("model {text}"),
        ChatDelta::Text(text) => format!("text {text}"),
        ChatDelta::Refusal(text) => format!("refusal {text}"),
        ChatDelta::Reasoning(text) => format!("reasoning {text}"),
        ChatDelta::Image(url) => format!("image {url}"),
        ChatDelta::CallStart { call, id, name } => format!("call {call} {} {name}", id.unwrap_or("-")),
        ChatDelta::CallArguments { call, text } => format!("arguments {call} {text}"),
        ChatDelta::Usage(counts) => format!("usage {} {} {}", counts.input, counts.output, counts.total),
        ChatDelta::Finish(finish) => format!("finish {finish:?}"),
        ChatDelta::Error(text) => format!("error {text}"),
    }
}

/// The deltas of a stream with these events.
fn streamed(events: &[String]) -> Vec<String> {
    let (mut decoder, mut deltas) = (ChatDecoder::default(), Vec::new());
    events.iter().for_each(|event| decoder.push(event, &mut |delta| deltas.push(shown(delta))));
    decoder.end(&mut |delta| deltas.push(shown(delta)));
    deltas
}

fn whole(message: &Value) -> Vec<String> {
    let (mut decoder, mut deltas) = (ChatDecoder::default(), Vec::new());
    let answer = json!({ "choices": [{ "message": message }] }).to_string();
    assert!(decoder.push_whole(answer.as_bytes(), &mut |delta| deltas.push(shown(delta))));
    decoder.end(&mut |delta| deltas.push(shown(delta)));
    deltas
}

fn chunk(delta: &Value) -> String {
    json!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": null }] }).to_string()
}

fn finish(reason: &Value) -> String {
    json!({ "choices": [{ "delta": {}, "finish_reason": reason }] }).to_string()
}

const DONE: &str = "[DONE]";

/// The deltas of a message, which must be the same whole and streamed.
fn both(message: &Value) -> Vec<String> {
    let deltas = whole(message);
    assert_eq!(streamed(&[chunk(message), DONE.into()]), deltas);
    deltas
}

#[test]
fn content_may_be_a_list_of_parts() {
    let message = json!({ "content": [
        { "type": "thinking", "thinking": [{ "type": "text", "text": "Hm." }] },
        { "type": "thinking", "thinking": "So." },
        { "type": "reasoning", "text": "And." },
        { "type": "text", "text": "See: " },
        "this",
        { "type": "image_url", "image_url": { "url": "data:image/png;base64,eA==" } },
        { "type": "refusal", "refusal": "No." },
        { "type": "tool_use", "name": "f" },
        5,
    ] });
    let expected = ["reasoning Hm.So.And.", "text See: this", "image data:image/png;base64,eA==", "refusal No."];
    assert_eq!(both(&message), expected);
    assert_eq!(both(&json!({ "content": { "type": "text", "text": "one part" } })), ["text one part"]);
    let images = json!({ "content": "x", "images": [{ "type": "image_url", "image_url": "https://h/x.png" }] });
    assert_eq!(both(&images), ["text x", "image https://h/x.png"]);
}

#[test]
fn reasoning_has_several_names_and_counts_once() {
    for key in ["reasoning_content", "reasoning", "thinking"] {
        assert_eq!(both(&json!({ key: "Hm.", "content": "Hi" })), ["reasoning Hm.", "text Hi"], "{key}");
    }
    let details = json!([{ "type": "reasoning.text", "text": "Hm." }, { "type": "reasoning.encrypted", "data": "x" }]);
    let twice = json!({ "reasoning_content": "", "reasoning": "Hm.", "reasoning_details": details });
    assert_eq!(both(&twice), ["reasoning Hm."]);
    assert_eq!(both(&json!({ "reasoning_details": details })), ["reasoning Hm."]);
    let tags = json!({ "content": "<think>Hm.</think>Hi", "reasoning_content": null });
    assert_eq!(both(&tags), ["text <think>Hm.</think>Hi"]);
}

#[test]
fn calls_of_one_number_are_as_many_as_were_meant() {
    let call = |id: &str, name: &str, arguments: Value| json!({ "index": 0, "id": id, "function": { "name": name, "arguments": arguments } });
    let calls = [call("a", "f", json!("{}")), call("b", "g", json!({ "x": 1 }))];
    let expected = ["call 0 a f", "arguments 0 {}", "call 1 b g", "arguments 1 {\"x\":1}"];
    assert_eq!(both(&json!({ "tool_calls": calls })), expected);
    let events = calls.iter().map(|call| chunk(&json!({ "tool_calls": [call] })));
    assert_eq!(streamed(&events.chain([DONE.into()]).collect::<Vec<_>>()), expected);
    assert_eq!(both(&json!({ "function_call": { "name": "f", "arguments": "{}" } })), ["call 0 - f", "arguments 0 {}"]);
}

#[test]
fn a_call_is_announced_when_its_name_is_whole() {
    let piece = |entry: Value| chunk(&json!({ "tool_calls": [entry] }));
    let events = [
        piece(json!({ "index": 0, "id": "a", "function": { "arguments": "{\"x\"" } })),
        piece(json!({ "index": 0, "function": { "name": "find" } })),
        piece(json!({ "index": 0, "function": { "arguments": ":1}" } })),
        piece(json!({ "index": 1, "id": "b", "function": { "name": "ge", "arguments": "" } })),
        piece(json!({ "index": 1, "function": { "name": "t" } })),
        piece(json!({ "index": 2, "id": "c" })),
        chunk(&json!({ "content": "Hi" })),
        finish(&json!("tool_calls")),
    ];
    let expected =
        ["call 0 a find", "arguments 0 {\"x\"", "arguments 0 :1}", "call 1 b get", "text Hi", "finish ToolCalls"];
    assert_eq!(streamed(&events), expected, "a call without a name and arguments is none");
}

#[test]
fn every_reason_to_finish_is_read() {
    use Finish::{ContentFilter, Length, Stop, ToolCalls};
    for (reason, expected) in [
        ("stop", Stop),
        ("eos_token", Stop),
        ("length", Length),
        ("max_tokens", Length),
        ("content_filter", ContentFilter),
        ("tool_calls", ToolCalls),
        ("function_call", ToolCalls),
    ] {
        let deltas = streamed(&[chunk(&json!({ "content": "x" })), finish(&json!(reason))]);
        assert_eq!(deltas, ["text x".to_owned(), format!("finish {expected:?}")], "{reason}");
    }
    let failed = streamed(&[chunk(&json!({ "content": "x" })), finish(&json!("error")), DONE.into()]);
    assert_eq!(failed, ["text x", "error the provider ended its answer with an error"]);
}

#[test]
fn a_stream_without_a_reason_and_without_its_last_event_was_cut() {
    let text = || chunk(&json!({ "content": "x" }));
    let cut = ["text x".to_owned(), format!("error {CUT_SHORT}")];
    for reason in [json!(null), json!(""), json!(5)] {
        assert_eq!(streamed(&[text(), finish(&reason)]), cut, "{reason}");
        assert_eq!(streamed(&[text(), finish(&reason), DONE.into()]), ["text x"], "{reason}");
    }
    assert_eq!(streamed(&[text(), json!({ "choices": [{ "delta": {} }] }).to_string()]), cut);
    assert_eq!(streamed(&[]), [cut[1].clone()]);
}

#[test]
fn usage_may_come_in_any_chunk() {
    let usage = json!({ "prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8 });
    let filled = json!({ "choices": [{ "delta": { "content": "x" }, "finish_reason": "stop" }], "usage": usage });
    let none = json!({ "usage": usage });
    let empty = json!({ "choices": [], "usage": usage });
    let groq = json!({ "choices": [], "x_groq": { "usage": usage } });
    for chunk in [none, empty, groq] {
        let events = [finish(&json!("stop")), chunk.to_string(), json!({ "usage": {} }).to_string()];
        assert_eq!(streamed(&events), ["finish Stop", "usage 3 5 8"], "{chunk}");
    }
    assert_eq!(streamed(&[filled.to_string()]), ["usage 3 5 8", "text x", "finish Stop"]);
    let partial = json!({ "usage": { "completion_tokens": 5 } }).to_string();
    assert_eq!(streamed(&[partial, DONE.into()]), ["usage 0 5 5"]);
}

#[test]
fn errors_are_read_in_every_form() {
    for (error, message) in [
        (json!({ "error": { "message": "out of memory" } }), "out of memory"),
        (json!({ "error": "Unexpected endpoint" }), "Unexpected endpoint"),
        (json!({ "object": "error", "message": "too long", "code": 400 }), "too long"),
        (json!({ "error": { "code": 5 } }), "the provider failed"),
        (json!({ "choices": [{ "error": { "message": "upstream" }, "delta": {} }] }), "upstream"),
    ] {
        let expected = [format!("error {message}")];
        assert_eq!(streamed(&[error.to_string(), finish(&json!("stop")), DONE.into()]), expected);
        let (mut decoder, mut deltas) = (ChatDecoder::default(), Vec::new());
        assert!(decoder.push_whole(error.to_string().as_bytes(), &mut |delta| deltas.push(shown(delta))));
        assert_eq!(deltas, expected);
    }
}

#[test]
fn a_stream_may_hold_the_whole_answer_in_one_event() {
    let message =
        json!({ "content": "Hi", "tool_calls": [{ "id": "a", "function": { "name": "f", "arguments": "{}" } }] });
    let event = json!({ "choices": [{ "message": message, "finish_reason": "stop" }] }).to_string();
    let expected = ["text Hi", "call 0 a f", "arguments 0 {}", "finish Stop"];
    assert_eq!(streamed(&[event.clone(), DONE.into()]), expected);
    assert_eq!(streamed(&[chunk(&json!({ "content": "Hi" })), event]), ["text Hi", "finish Stop"]);
}

#[test]
fn calls_without_names_are_held_only_up_to_a_limit() {
    let mut decoder = ChatDecoder::default();
    let mut deltas = Vec::new();
    let piece =
        |n: usize, text: &str| chunk(&json!({ "tool_calls": [{ "index": n, "function": { "arguments": text } }] }));
    let text = "x".repeat(1 << 20);
    for _ in 0..MAX_PENDING >> 20 {
        decoder.push(&piece(0, &text), &mut |delta| deltas.push(shown(delta)));
    }
    assert!(deltas.is_empty() && decoder.held_bytes() >= MAX_PENDING);
    decoder.push(&piece(0, &text), &mut |delta| deltas.push(shown(delta)));
    assert_eq!((deltas.as_slice(), decoder.held_bytes()), ([format!("error {TOO_LONG}")].as_slice(), 0));
    let many: Vec<String> = (0..=MAX_CALLS).map(|n| piece(n, "x")).collect();
    assert_eq!(streamed(&many), [format!("error {TOO_LONG}")]);
}

#[test]
fn one_call_may_stand_in_place_of_a_list() {
    let call = json!({ "index": 0, "id": "a", "function": { "name": "f", "arguments": "{}" } });
    assert_eq!(streamed(&[chunk(&json!({ "tool_calls": call })), DONE.into()]), ["call 0 a f", "arguments 0 {}"]);
}

#[test]
fn an_id_counts_for_one_call_only() {
    let call = |name: &str| json!({ "id": "a", "function": { "name": name, "arguments": "{}" } });
    let deltas = whole(&json!({ "tool_calls": [call("f"), call("g")] }));
    assert_eq!(deltas, ["call 0 a f", "arguments 0 {}", "call 1 - g", "arguments 1 {}"]);
}

#[test]
fn an_error_that_says_there_is_none_is_none() {
    for none in [json!(null), json!(false), json!(""), json!({})] {
        let answer = json!({ "error": none, "choices": [{ "message": { "content": "Hi" } }] }).to_string();
        let mut deltas = Vec::new();
        assert!(ChatDecoder::default().push_whole(answer.as_bytes(), &mut |delta| deltas.push(shown(delta))));
        assert_eq!(deltas, ["text Hi"], "{none}");
    }
}
