//! Chats as answers of Ollama's API, and their lines.

use serde_json::Value;

use super::*;
use crate::proto::sse::Decoder;
use crate::proto::translate::ChatTranslator;
use crate::proto::translate::chat::TOO_LONG;
use crate::proto::translate::limits::MAX_HELD;
use crate::proto::tunnel::MAX_ERROR_TEXT;

/// When the requests here are sent: 2023-11-14T22:13:20Z.
const SENT: Duration = Duration::from_secs(1_700_000_000);

fn at(millis: u64) -> Duration {
    SENT + Duration::from_millis(millis)
}

fn written(form: AnswerForm, stream: bool, deltas: Vec<ChatDelta<'_>>) -> Box<OllamaWriter> {
    let mut writer = Box::new(OllamaWriter::new(form, "mine", SENT, stream));
    deltas.into_iter().for_each(|delta| writer.apply(delta));
    writer.set_time(at(10));
    writer
}

fn whole(form: AnswerForm, deltas: Vec<ChatDelta<'_>>) -> Value {
    serde_json::from_str(&written(form, false, deltas).into_body()).unwrap()
}

/// The lines of a stream.
fn lines(form: AnswerForm, deltas: Vec<ChatDelta<'_>>) -> Vec<Value> {
    let mut writer = written(form, true, deltas);
    writer.end();
    writer.take_events().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn call(arguments: &str) -> Vec<ChatDelta<'_>> {
    vec![
        ChatDelta::CallStart { call: 0, id: None, name: "f" },
        ChatDelta::CallArguments { call: 0, text: arguments },
        ChatDelta::Finish(Finish::ToolCalls),
    ]
}

#[test]
fn a_streamed_chat_is_lines_of_which_the_last_is_measured() {
    let mut writer = OllamaWriter::new(AnswerForm::Chat, "mine", SENT, true);
    writer.set_time(at(250));
    writer.apply(ChatDelta::Model("theirs"));
    writer.apply(ChatDelta::Reasoning("Hm"));
    assert_eq!(
        writer.take_events(),
        concat!(
            r#"{"model":"mine","created_at":"2023-11-14T22:13:20.250Z","message":{"role":"assistant","content":"","#,
            r#""thinking":"Hm"},"done":false}"#,
            "\n"
        )
    );
    writer.set_time(at(1000));
    writer.apply(ChatDelta::Text("Hi\n"));
    assert_eq!(
        writer.take_events(),
        concat!(
            r#"{"model":"mine","created_at":"2023-11-14T22:13:21.000Z","message":{"role":"assistant","content":"Hi\n"},"#,
            r#""done":false}"#,
            "\n"
        )
    );
    writer.apply(ChatDelta::Finish(Finish::Stop));
    writer.apply(ChatDelta::Usage(TokenCounts { input: 26, output: 298, ..TokenCounts::default() }));
    // A clock that was set back.
    writer.set_time(at(500));
    writer.set_time(at(1250));
    writer.end();
    assert_eq!(
        writer.take_events(),
        concat!(
            r#"{"model":"mine","created_at":"2023-11-14T22:13:21.250Z","message":{"role":"assistant","content":""},"#,
            r#""done":true,"done_reason":"stop","total_duration":1250000000,"prompt_eval_count":26,"#,
            r#""prompt_eval_duration":250000000,"eval_count":298,"eval_duration":1000000000}"#,
            "\n"
        )
    );
    writer.end();
    writer.apply(ChatDelta::Text("late"));
    assert_eq!((writer.take_events(), writer.state.is_over(), writer.state.failure()), (String::new(), true, None));
}

#[test]
fn a_whole_answer_is_one_object() {
    let deltas = || {
        vec![
            ChatDelta::Reasoning("H"),
            ChatDelta::Reasoning("m"),
            ChatDelta::Text("Hel"),
            ChatDelta::Refusal("lo"),
            ChatDelta::Image("http://x/y"),
            ChatDelta::Usage(TokenCounts { output: 2, ..TokenCounts::default() }),
            ChatDelta::Finish(Finish::Length),
        ]
    };
    let text = "Hello![image](http://x/y)";
    assert_eq!(
        whole(AnswerForm::Chat, deltas()),
        json!({ "model": "mine", "created_at": "2023-11-14T22:13:20.010Z", "done": true, "done_reason": "length",
            "message": { "role": "assistant", "content": text, "thinking": "Hm" },
            "total_duration": 10_000_000, "eval_count": 2, "eval_duration": 10_000_000 })
    );
    assert_eq!(
        whole(AnswerForm::Generate, deltas()),
        json!({ "model": "mine", "created_at": "2023-11-14T22:13:20.010Z", "done": true, "done_reason": "length",
            "response": text, "thinking": "Hm", "total_duration": 10_000_000, "eval_count": 2, "eval_duration": 10_000_000 })
    );
}

#[test]
fn a_streamed_text_has_responses_in_place_of_messages() {
    let lines = lines(AnswerForm::Generate, vec![ChatDelta::Reasoning("Hm"), ChatDelta::Text("Hi")]);
    let shown: Vec<_> = lines.iter().map(|line| (&line["response"], &line["thinking"], &line["done"])).collect();
    let (no, yes, none) = (json!(false), json!(true), Value::Null);
    assert_eq!(shown, [(&json!(""), &json!("Hm"), &no), (&json!("Hi"), &none, &no), (&json!(""), &none, &yes)]);
    assert!(lines.iter().all(|line| line.get("message").is_none()));
}

#[test]
fn each_call_is_one_line_once_the_answer_is_complete() {
    let mut writer = written(
        AnswerForm::Chat,
        true,
        vec![
            ChatDelta::CallStart { call: 0, id: Some("a"), name: "f" },
            ChatDelta::CallArguments { call: 0, text: "{\"x\":\n" },
            ChatDelta::CallStart { call: 2, id: None, name: "g" },
            ChatDelta::CallArguments { call: 2, text: "{" },
            ChatDelta::CallArguments { call: 0, text: "1e400,\r\n\"y\":\"\\n\"}" },
            ChatDelta::CallArguments { call: 2, text: "}" },
            ChatDelta::Finish(Finish::ToolCalls),
        ],
    );
    assert_eq!((writer.take_events(), writer.weight() > CALL), (String::new(), true));
    writer.end();
    let events = writer.take_events();
    let lines: Vec<&str> = events.lines().collect();
    let head = r#"{"model":"mine","created_at":"2023-11-14T22:13:20.010Z","message":{"role":"assistant","content":"","#;
    let calls = [
        r#"{"id":"a","function":{"index":0,"name":"f","arguments":{"x": 1e400,  "y":"\n"}}}"#,
        r#"{"id":"call_18bcfe56800_2","function":{"index":1,"name":"g","arguments":{}}}"#,
    ];
    assert_eq!(lines[..2], calls.map(|call| format!(r#"{head}"tool_calls":[{call}]}},"done":false}}"#)));
    assert!(lines[2].contains(r#""done":true,"done_reason":"stop""#) && lines.len() == 3, "{}", lines[2]);
    assert_eq!(writer.weight(), 0);
}

#[test]
fn arguments_that_are_no_object_stay_readable() {
    for (text, shown) in [
        ("", json!({})),
        (" \n", json!({})),
        (r#"{"a":{"b":[]}}"#, json!({ "a": { "b": [] } })),
        (r#"{"a":"#, json!({ "arguments": "{\"a\":" })),
        ("[1]\n", json!({ "arguments": "[1]" })),
        ("Oslo \"N\"", json!({ "arguments": "Oslo \"N\"" })),
    ] {
        let answer = whole(AnswerForm::Chat, call(text));
        assert_eq!(answer["message"]["tool_calls"][0]["function"]["arguments"], shown, "{text}");
        assert_eq!(lines(AnswerForm::Chat, call(text))[0]["message"], answer["message"]);
    }
    assert_eq!(whole(AnswerForm::Generate, call("{}"))["tool_calls"][0]["function"]["name"], "f");
}

#[test]
fn a_failure_is_the_last_line() {
    let mut writer = written(AnswerForm::Chat, true, call("{}"));
    writer.apply(ChatDelta::Error("out of \"memory\""));
    writer.apply(ChatDelta::Text("late"));
    writer.fail("again");
    writer.end();
    assert_eq!(writer.take_events(), "{\"error\":\"out of \\\"memory\\\"\"}\n");
    assert_eq!((writer.state.failure(), writer.weight()), (Some("out of \"memory\""), 0));
    let long = "x".repeat(MAX_ERROR_TEXT + 1);
    let mut writer = written(AnswerForm::Chat, false, vec![ChatDelta::Error(&long)]);
    assert_eq!(writer.state.failure().map(str::len), Some(MAX_ERROR_TEXT));
    assert_eq!(writer.take_events(), "");
}

#[test]
fn what_is_held_is_limited() {
    let text = "x".repeat(MAX_HELD / 4);
    let said = |stream: bool, count: usize| {
        let mut writer = OllamaWriter::new(AnswerForm::Chat, "m", SENT, stream);
        (0..count).for_each(|_| writer.apply(ChatDelta::Text(&text)));
        writer.state.failure().map(str::to_owned)
    };
    assert_eq!((said(false, 4), said(false, 5), said(true, 5)), (None, Some(TOO_LONG.into()), None));
    let mut calls = written(AnswerForm::Chat, true, call("{}"));
    (0..4).for_each(|_| calls.apply(ChatDelta::CallArguments { call: 0, text: &text }));
    assert_eq!(calls.state.failure(), Some(TOO_LONG));
}

#[test]
fn a_model_is_said_to_be_loaded_or_unloaded() {
    let answer = |form: AnswerForm, request: &str| {
        load_answer(form, &Members::parse(request.as_bytes()).unwrap(), "mine", at(7))
    };
    assert_eq!(
        answer(AnswerForm::Chat, "{}"),
        concat!(
            r#"{"model":"mine","created_at":"2023-11-14T22:13:20.007Z","message":{"role":"assistant","content":""},"#,
            r#""done":true,"done_reason":"load"}"#
        )
    );
    assert_eq!(
        answer(AnswerForm::Generate, r#"{"keep_alive":0}"#),
        r#"{"model":"mine","created_at":"2023-11-14T22:13:20.007Z","response":"","done":true,"done_reason":"unload"}"#
    );
    for (keep, unloads) in
        [("0.0", true), (r#""0s""#, true), (r#""0""#, true), ("-1", false), (r#""5m""#, false), ("{}", false)]
    {
        let answer = answer(AnswerForm::Chat, &format!(r#"{{"keep_alive":{keep}}}"#));
        assert_eq!(answer.contains(r#""unload""#), unloads, "{keep}");
    }
}

/// A stream of a provider, and the lines that it becomes, with the time that each is made at.
const CHUNKS: &str = "data: {\"model\":\"theirs\",\"choices\":[{\"delta\":{\"role\":\"assistant\",\"reasoning_content\":\"Hm\"}}]}\n\n\
    : a comment\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"Grü\"}}]}\r\n\r\ndata: {\"choices\":[{\"delta\":{\"tool_calls\":[\
    {\"index\":0,\"id\":\"c1\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"city\\\"\"}}]}}]}\n\n\
    data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\":\\\"Oslo\\\"}\"}}]}}]}\n\n\
    data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n\
    data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,\"total_tokens\":7}}\n\ndata: [DONE]\n\n";

#[test]
fn a_providers_stream_becomes_the_same_lines_wherever_it_is_cut() {
    let translated = |pieces: &[&[u8]]| {
        let mut answer = ChatTranslator::ollama(AnswerForm::Chat, "mine", SENT, true);
        let (mut decoder, mut lines) = (Decoder::new(), String::new());
        for piece in pieces {
            decoder.push(piece);
            while let Some(event) = decoder.next_event() {
                answer.push(&event.data);
                lines.push_str(&answer.take_events());
            }
        }
        answer.end();
        lines + &answer.take_events()
    };
    let bytes = CHUNKS.as_bytes();
    let whole = translated(&[bytes]);
    let lines: Vec<Value> = whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said: Vec<_> = lines.iter().map(|line| line["message"].clone()).collect();
    let function = json!({ "index": 0, "name": "f", "arguments": { "city": "Oslo" } });
    assert_eq!(
        said,
        [
            json!({ "role": "assistant", "content": "", "thinking": "Hm" }),
            json!({ "role": "assistant", "content": "Grü" }),
            json!({ "role": "assistant", "content": "", "tool_calls": [{ "id": "c1", "function": function }] }),
            json!({ "role": "assistant", "content": "" }),
        ]
    );
    assert_eq!((&lines[3]["prompt_eval_count"], &lines[3]["eval_count"]), (&json!(3), &json!(4)));
    for cut in 0..bytes.len() {
        assert_eq!(translated(&[&bytes[..cut], &bytes[cut..]]), whole, "cut at {cut}");
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(translated(&single), whole);
}

#[test]
fn a_providers_whole_answer_becomes_one_object() {
    let chat =
        br#"{"model":"theirs","choices":[{"message":{"role":"assistant","content":"Hi"},"finish_reason":"length"}],
        "usage":{"prompt_tokens":3,"completion_tokens":4}}"#;
    let mut answer = ChatTranslator::ollama(AnswerForm::Generate, "mine", SENT, false);
    answer.set_time(at(2));
    assert!(answer.push_whole(chat));
    assert_eq!(
        answer.into_body(),
        concat!(
            r#"{"model":"mine","created_at":"2023-11-14T22:13:20.002Z","response":"Hi","done":true,"done_reason":"length","#,
            r#""total_duration":2000000,"prompt_eval_count":3,"eval_count":4,"eval_duration":2000000}"#
        )
    );
}

#[test]
fn an_error_in_a_providers_stream_and_a_stream_that_was_cut_are_told() {
    for (data, message) in [
        (r#"{"error":{"message":"out of memory"}}"#, "out of memory"),
        (r#"{"choices":[{"delta":{"content":""}}]}"#, "the provider's stream ended before its answer did"),
    ] {
        let mut answer = ChatTranslator::ollama(AnswerForm::Chat, "mine", SENT, true);
        answer.push(data);
        answer.end();
        assert_eq!(answer.take_events(), format!("{}\n", json!({ "error": message })));
        assert_eq!(answer.failure(), Some(message));
    }
}

#[test]
fn what_ollama_always_tells_is_told_where_the_provider_does_not() {
    let deltas = || vec![ChatDelta::Text("a"), ChatDelta::Text("b"), ChatDelta::Finish(Finish::Stop)];
    let last = lines(AnswerForm::Chat, deltas()).pop().unwrap();
    assert_eq!((&last["eval_count"], &last["prompt_eval_count"]), (&json!(2), &Value::Null));
    assert!(last["eval_duration"].as_u64().is_some_and(|time| time > 0), "{last}");
    let mut begun_at_the_end = OllamaWriter::new(AnswerForm::Chat, "mine", SENT, true);
    deltas().into_iter().for_each(|delta| begun_at_the_end.apply(delta));
    begun_at_the_end.end();
    let last: Value = serde_json::from_str(begun_at_the_end.take_events().lines().last().unwrap()).unwrap();
    assert_eq!((&last["eval_duration"], &last["total_duration"]), (&json!(1), &json!(1)));
}
