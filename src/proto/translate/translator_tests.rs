//! What a client of the Responses API sees of a chat, event by event.

use serde_json::{Value, json};

use super::super::super::{members::Members, sse};
use super::super::limits::{MAX_HELD, MAX_PARTS};
use super::*;

fn template() -> ResponseTemplate {
    let request = br#"{"model":"any","input":"Hi","temperature":0.50,"metadata":{"b":1,"a":2}}"#;
    ResponseTemplate::new(&Members::parse(request).unwrap(), "k", 1_700_000_000)
}

fn chunk(delta: &Value) -> String {
    json!({ "id": "c", "model": "m", "choices": [{ "index": 0, "delta": delta, "finish_reason": null }] }).to_string()
}

fn finish(reason: &str) -> String {
    json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": reason }] }).to_string()
}

const USAGE: &str = r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8,
    "completion_tokens_details":{"reasoning_tokens":2}}}"#;

/// Every event of a stream, after checking what holds for all of them.
fn events(data: &[String]) -> Vec<Value> {
    let mut answer = ChatTranslator::responses(template(), "m", true);
    for data in data {
        answer.push(data);
    }
    answer.end();
    read(&answer.take_events())
}

fn read(text: &str) -> Vec<Value> {
    let mut decoder = sse::Decoder::new();
    decoder.push(text.as_bytes());
    let mut events = Vec::new();
    while let Some(event) = decoder.next_event() {
        if event.data == "[DONE]" {
            break;
        }
        let data: Value = serde_json::from_str(&event.data).unwrap();
        assert_eq!(data["type"], event.event.unwrap());
        assert_eq!(data["sequence_number"], events.len());
        events.push(data);
    }
    assert_eq!(decoder.next_event().map(|e| e.data), None, "nothing comes after [DONE]");
    events
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|e| e["type"].as_str().unwrap().strip_prefix("response.").unwrap()).collect()
}

#[test]
fn text_arrives_in_the_order_of_the_contract() {
    let events = events(&[
        chunk(&json!({ "role": "assistant", "content": "" })),
        chunk(&json!({ "content": "Hel" })),
        chunk(&json!({ "content": "lo" })),
        finish("stop"),
        USAGE.into(),
        "[DONE]".into(),
    ]);
    assert_eq!(
        kinds(&events),
        [
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "completed",
        ]
    );
    assert_eq!(events[0]["response"]["status"], "in_progress");
    assert_eq!(events[5]["delta"], "lo");
    assert_eq!(events[6]["text"], "Hello");
    let response = &events.last().unwrap()["response"];
    assert_eq!(
        (&response["id"], &response["object"], &response["created_at"]),
        (&json!("resp_k"), &json!("response"), &json!(1_700_000_000))
    );
    assert_eq!(
        (&response["status"], &response["output_text"], &response["model"]),
        (&json!("completed"), &json!("Hello"), &json!("m"))
    );
    assert_eq!(response["temperature"].to_string(), "0.5");
    assert_eq!(response["output"][0], events[8]["item"]);
    assert_eq!(
        response["usage"],
        json!({ "input_tokens": 3, "input_tokens_details": { "cached_tokens": 0 }, "output_tokens": 5,
            "output_tokens_details": { "reasoning_tokens": 2 }, "total_tokens": 8 })
    );
}

#[test]
fn reasoning_text_and_calls_are_separate_items() {
    let call = |index: u64, id: &str, name: &str, arguments: &str| {
        chunk(
            &json!({ "tool_calls": [{ "index": index, "id": id, "function": { "name": name, "arguments": arguments } }] }),
        )
    };
    let events = events(&[
        chunk(&json!({ "reasoning_content": "Hm." })),
        chunk(&json!({ "content": "Let me see." })),
        call(0, "c0", "f", ""),
        call(0, "", "", "{\"a\""),
        call(1, "c1", "g", "{}"),
        call(0, "", "", ":1}"),
        finish("tool_calls"),
        "[DONE]".into(),
    ]);
    let response = &events.last().unwrap()["response"];
    let output = response["output"].as_array().unwrap();
    let types: Vec<_> = output.iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["reasoning", "message", "function_call", "function_call"]);
    assert_eq!(output[0]["content"], json!([{ "type": "reasoning_text", "text": "Hm." }]));
    assert_eq!(output[2]["arguments"], "{\"a\":1}");
    assert_eq!(
        (&output[3]["call_id"], &output[3]["name"], &output[3]["status"]),
        (&json!("c1"), &json!("g"), &json!("completed"))
    );
    assert_eq!(response["output_text"], "Let me see.");
    assert_eq!(kinds(&events).iter().filter(|kind| **kind == "function_call_arguments.done").count(), 2);
    // Each item is done once, and at the place where it was begun.
    for (place, item) in output.iter().enumerate() {
        let of = |kind: &str| {
            events.iter().filter(|e| e["type"] == kind && e["item"]["id"] == item["id"]).collect::<Vec<_>>()
        };
        let (added, done) = (of("response.output_item.added"), of("response.output_item.done"));
        assert_eq!((added.len(), done.len()), (1, 1));
        assert_eq!((&added[0]["output_index"], &done[0]["output_index"]), (&json!(place), &json!(place)));
    }
}

#[test]
fn refusals_and_early_ends_are_reported() {
    let refused = events(&[chunk(&json!({ "refusal": "No." })), finish("stop")]);
    let response = &refused.last().unwrap()["response"];
    assert_eq!(response["output"][0]["content"], json!([{ "type": "refusal", "refusal": "No." }]));
    assert!(kinds(&refused).contains(&"refusal.delta") && kinds(&refused).contains(&"refusal.done"));

    for (reason, told) in [("length", "max_output_tokens"), ("content_filter", "content_filter")] {
        let events = events(&[chunk(&json!({ "content": "x" })), finish(reason)]);
        let last = events.last().unwrap();
        assert_eq!(last["type"], "response.incomplete");
        assert_eq!(
            (&last["response"]["status"], &last["response"]["incomplete_details"]["reason"]),
            (&json!("incomplete"), &json!(told))
        );
    }
}

#[test]
fn a_failure_in_mid_stream_is_reported_once() {
    for end in [vec![r#"{"error":{"message":"out of memory"}}"#.to_owned(), finish("stop"), "[DONE]".into()], vec![]] {
        let mut data = vec![chunk(&json!({ "content": "x" }))];
        data.extend(end);
        let events = events(&data);
        let last = events.last().unwrap();
        assert_eq!((&last["type"], &last["response"]["status"]), (&json!("response.failed"), &json!("failed")));
        assert!(last["response"]["error"]["message"].is_string());
        assert_eq!(kinds(&events).iter().filter(|kind| **kind == "failed").count(), 1);
    }
}

#[test]
fn a_whole_answer_is_the_last_snapshot_of_its_stream() {
    let chat = json!({ "model": "m", "usage": { "prompt_tokens": 1, "completion_tokens": 2 }, "choices": [{ "finish_reason": "tool_calls",
        "message": { "role": "assistant", "content": "Hi", "tool_calls": [
            { "id": "a", "type": "function", "function": { "name": "f", "arguments": "{}" } },
            { "id": "b", "type": "function", "function": { "name": "g", "arguments": "{}" } }] } }] });
    let mut answer = ChatTranslator::responses(template(), "m", true);
    assert!(answer.push_whole(chat.to_string().as_bytes()));
    let whole = answer.into_body();
    assert!(
        whole.starts_with(r#"{"id":"resp_k","object":"response","created_at":1700000000,"completed_at":1700000000,"#),
        "{whole}"
    );
    assert!(whole.contains(r#""metadata":{"b":1,"a":2}"#), "what was asked is repeated as it was written");
    let whole: Value = serde_json::from_str(&whole).unwrap();
    assert_eq!(whole["output"].as_array().unwrap().len(), 3);
    assert_eq!((&whole["output_text"], &whole["usage"]["total_tokens"]), (&json!("Hi"), &json!(3)));
    for bad in ["", "[]", "{}", r#"{"choices":[]}"#, r#"{"choices":[{}]}"#, "<html>"] {
        assert!(!ChatTranslator::responses(template(), "m", true).push_whole(bad.as_bytes()), "{bad}");
    }
}

#[test]
fn a_recorded_stream_reads_the_same_wherever_it_is_cut() {
    let recorded = format!(
        ": hello\r\n\r\ndata: {}\n\ndata: {}\r\n\r\ndata: {}\n\ndata: {}\n\ndata: [DONE]\n\n",
        chunk(&json!({ "reasoning": "Grübel" })),
        chunk(&json!({ "content": "Grüße 😀" })),
        finish("stop"),
        USAGE.replace('\n', " ")
    );
    let run = |cut: usize| {
        let (mut answer, mut decoder) = (ChatTranslator::responses(template(), "m", true), sse::Decoder::new());
        for piece in [&recorded.as_bytes()[..cut], &recorded.as_bytes()[cut..]] {
            decoder.push(piece);
            while let Some(event) = decoder.next_event() {
                answer.push(&event.data);
            }
        }
        answer.end();
        answer.take_events()
    };
    let uncut = run(0);
    assert!(uncut.contains("response.completed") && uncut.ends_with("data: [DONE]\n\n"));
    for cut in 1..recorded.len() {
        assert_eq!(run(cut), uncut, "cut at {cut}");
    }
}

#[test]
fn malformed_chunks_are_ignored() {
    let odd = [
        "",
        "null",
        "[]",
        "5",
        "{}",
        r#"{"choices":5}"#,
        r#"{"choices":[{"delta":5}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[5,{}]}}]}"#,
        "no json",
    ];
    let events = events(&odd.iter().map(|&s| s.to_owned()).chain([finish("stop")]).collect::<Vec<_>>());
    assert_eq!(events.last().unwrap()["type"], "response.completed");
}

#[test]
fn a_response_has_every_member_that_open_responses_asks_for() {
    let request =
        br#"{"input":"Hi","tools":[{"type":"function","name":"f"},{"type":"function","name":"g","strict":true}]}"#;
    let mut answer =
        ChatTranslator::responses(ResponseTemplate::new(&Members::parse(request).unwrap(), "k", 5), "m", true);
    answer.set_time(Duration::from_millis(9_999));
    answer.push("[DONE]");
    let events = read(&answer.take_events());
    let tool = |name: &str, strict: bool| json!({ "type": "function", "name": name, "description": null, "parameters": null, "strict": strict });
    let mut whole = json!({
        "id": "resp_k", "object": "response", "created_at": 5, "completed_at": null, "status": "in_progress",
        "error": null, "incomplete_details": null, "model": "m", "output": [], "output_text": "", "usage": null,
        "background": false, "frequency_penalty": 0, "instructions": null, "max_output_tokens": null,
        "max_tool_calls": null, "metadata": {}, "parallel_tool_calls": true, "presence_penalty": 0,
        "previous_response_id": null, "prompt_cache_key": null, "reasoning": { "effort": null, "summary": null },
        "safety_identifier": null, "service_tier": "auto", "store": false, "temperature": 1,
        "text": { "format": { "type": "text" } }, "tool_choice": "auto", "tools": [tool("f", false), tool("g", true)],
        "top_logprobs": 0, "top_p": 1, "truncation": "disabled",
    });
    assert_eq!(events[0]["response"], whole);
    whole["status"] = json!("completed");
    whole["completed_at"] = json!(9);
    assert_eq!(events.last().unwrap()["response"], whole);
}

#[test]
fn an_answer_over_its_limits_fails_and_frees_its_memory() {
    let text = "x".repeat(1 << 20);
    let failed = (true, "response.failed".to_owned(), 0);
    let call = |n: usize, arguments: &str| json!({ "tool_calls": [{ "index": n, "id": n.to_string(), "function": { "name": "f", "arguments": arguments } }] });
    let last = |piece: &dyn Fn(usize) -> Value, fits: usize| {
        let mut answer = ChatTranslator::responses(template(), "m", true);
        (0..fits).for_each(|n| answer.push(&chunk(&piece(n))));
        assert!(answer.failure().is_none());
        (fits..fits + 2).for_each(|n| answer.push(&chunk(&piece(n))));
        let all = answer.take_events();
        let kind = all.rsplit("event: ").next().unwrap().lines().next().unwrap().to_owned();
        (answer.failure().is_some(), kind, answer.writer.state().held)
    };
    assert_eq!(last(&|_| json!({ "content": text }), MAX_HELD >> 20), failed);
    assert_eq!(last(&|_| call(0, &text), (MAX_HELD >> 20) - 1), failed);
    assert_eq!(last(&|n| call(n, ""), MAX_PARTS), failed);
    let whole = json!({ "choices": [{ "message": { "content": "x".repeat(MAX_HELD + 1) } }] }).to_string();
    assert!(!ChatTranslator::responses(template(), "m", true).push_whole(whole.as_bytes()));
}

#[test]
fn an_answers_texts_are_weighed_as_json_has_them() {
    let weight = |text: &str, start: fn() -> ChatTranslator| {
        let mut answer = start();
        answer.push(&chunk(&json!({ "content": text.repeat(1000) })));
        answer.take_events();
        answer.weight()
    };
    let whole: [fn() -> ChatTranslator; 3] = [
        || ChatTranslator::responses(template(), "m", true),
        || ChatTranslator::messages("k", "m", false),
        || ChatTranslator::ollama(AnswerForm::Chat, "m", Duration::ZERO, false),
    ];
    for start in whole {
        let (plain, escaped) = (weight("x", start), weight("\u{1}", start));
        assert_eq!(escaped - plain, 5000 * COPIES);
    }
}

#[test]
fn calls_are_told_apart_with_or_without_numbers_and_ids() {
    let call = |head: Value, name: &str, arguments: &str| {
        let mut call = head;
        call["function"] = json!({ "name": name, "arguments": arguments });
        call
    };
    let whole = json!({ "choices": [{ "message": { "tool_calls": [
        call(json!({}), "f", "{}"), call(json!({}), "g", "[]"), call(json!({ "id": "c" }), "h", "{}"), call(json!({ "id": "c" }), "i", "{}"),
    ] } }] });
    let mut answer = ChatTranslator::responses(template(), "m", true);
    assert!(answer.push_whole(whole.to_string().as_bytes()));
    let response: Value = serde_json::from_str(&answer.into_body()).unwrap();
    let names: Vec<_> = response["output"].as_array().unwrap().iter().map(|item| item["name"].clone()).collect();
    assert_eq!(names, ["f", "g", "h", "i"]);

    let piece = |call: Value| chunk(&json!({ "tool_calls": [call] }));
    let events = events(&[
        piece(call(json!({ "id": "a" }), "f", "")),
        piece(call(json!({ "id": "b" }), "g", "{")),
        piece(json!({ "function": { "arguments": "}" } })),
        piece(json!({ "id": "a", "function": { "arguments": "[]" } })),
        finish("tool_calls"),
    ]);
    let output = &events.last().unwrap()["response"]["output"];
    assert_eq!((&output[0]["arguments"], &output[1]["arguments"]), (&json!("[]"), &json!("{}")));
}

/// A template for a request with a custom tool, a namespace and a tool that is dropped.
fn with_tools() -> ResponseTemplate {
    let request = br#"{"input":"Hi","tools":[{"type":"function","name":"f"},{"type":"web_search"},
        {"type":"custom","name":"apply_patch"},{"type":"namespace","name":"n","tools":[{"type":"function","name":"f"}]}]}"#;
    ResponseTemplate::new(&Members::parse(request).unwrap(), "k", 5)
}

fn call(index: u64, id: &str, name: &str, arguments: &str) -> Value {
    json!({ "index": index, "id": id, "type": "function", "function": { "name": name, "arguments": arguments } })
}

#[test]
fn custom_tools_are_called_with_text_and_events_of_their_own() {
    let mut answer = ChatTranslator::responses(with_tools(), "m", true);
    answer.push(&chunk(&json!({ "tool_calls": [call(0, "a", "apply_patch", "")] })));
    for piece in ["{\"input\": \"*** Be", "gin\\", "nx\"}"] {
        answer.push(&chunk(&json!({ "tool_calls": [{ "index": 0, "function": { "arguments": piece } }] })));
    }
    answer.push(&finish("tool_calls"));
    answer.push("[DONE]");
    let events = read(&answer.take_events());
    let expected = [
        "created",
        "in_progress",
        "output_item.added",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "output_item.done",
        "completed",
    ];
    assert_eq!(kinds(&events), expected);
    let item = |status: &str, input: &str| json!({ "id": "ctc_k_0", "type": "custom_tool_call", "status": status, "call_id": "a", "name": "apply_patch", "input": input });
    assert_eq!(events[2]["item"], item("in_progress", ""));
    assert_eq!([3, 4, 5].map(|at| events[at]["delta"].as_str().unwrap()), ["*** Be", "gin", "\nx"]);
    assert_eq!((&events[6]["input"], &events[6]["item_id"]), (&json!("*** Begin\nx"), &json!("ctc_k_0")));
    let response = &events[8]["response"];
    assert_eq!(response["output"], json!([item("completed", "*** Begin\nx")]));
    let tools: Vec<_> =
        response["tools"].as_array().unwrap().iter().map(|tool| tool["type"].as_str().unwrap()).collect();
    assert_eq!(tools, ["function", "custom", "namespace"], "what was kept");

    let message =
        json!({ "tool_calls": [call(0, "a", "apply_patch", "ls"), call(0, "b", "n__f", ""), call(0, "b", "f", "{}")] });
    let mut answer = ChatTranslator::responses(with_tools(), "m", true);
    assert!(answer.push_whole(json!({ "choices": [{ "message": message }] }).to_string().as_bytes()));
    let response: Value = serde_json::from_str(&answer.into_body()).unwrap();
    let output = &response["output"];
    assert_eq!((&output[0]["type"], &output[0]["input"]), (&json!("custom_tool_call"), &json!("ls")));
    assert_eq!(
        (&output[1]["name"], &output[1]["namespace"], &output[1]["arguments"]),
        (&json!("f"), &json!("n"), &json!("{}"))
    );
    assert!(output[2].get("namespace").is_none());
    assert_eq!((&output[1]["call_id"], &output[2]["call_id"]), (&json!("b"), &json!("call_k_2")), "ids are told apart");
}

#[test]
fn parallel_calls_of_one_number_are_calls_of_their_own() {
    let calls = [call(0, "a", "f", "{}"), call(0, "b", "g", "{\"x\":1}"), call(0, "c", "f", "{}")];
    let data: Vec<_> = calls.iter().map(|call| chunk(&json!({ "tool_calls": [call] }))).collect();
    let events = events(&[data, vec![finish("tool_calls")]].concat());
    let output = events.last().unwrap()["response"]["output"].as_array().unwrap().clone();
    let calls: Vec<_> =
        output.iter().map(|c| ["call_id", "name", "arguments"].map(|key| c[key].as_str().unwrap())).collect();
    assert_eq!(calls, [["a", "f", "{}"], ["b", "g", "{\"x\":1}"], ["c", "f", "{}"]]);
}

#[test]
fn thinking_and_images_in_a_list_of_parts_are_items() {
    let content = json!([{ "type": "thinking", "thinking": "Hm." }, { "type": "text", "text": "See" },
        { "type": "image_url", "image_url": { "url": "data:image/png;base64,eA==" } },
        { "type": "image_url", "image_url": { "url": "https://h/x.png" } }]);
    let streamed = events(&[chunk(&json!({ "content": content })), finish("stop")]);
    let streamed = &streamed.last().unwrap()["response"]["output"];
    let mut answer = ChatTranslator::responses(template(), "m", true);
    assert!(answer.push_whole(json!({ "choices": [{ "message": { "content": content } }] }).to_string().as_bytes()));
    let whole: Value = serde_json::from_str(&answer.into_body()).unwrap();
    assert_eq!(&whole["output"], streamed);
    let types: Vec<_> = streamed.as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["reasoning", "message", "image_generation_call", "message"]);
    assert_eq!(
        streamed[2],
        json!({ "id": "ig_k_2", "type": "image_generation_call", "status": "completed", "result": "eA==" })
    );
    assert_eq!(whole["output_text"], "See![image](https://h/x.png)");
}

#[test]
fn a_stream_that_was_cut_fails_and_one_without_its_last_event_does_not() {
    let text = chunk(&json!({ "content": "x" }));
    for (data, expected) in [
        (vec![text.clone()], "response.failed"),
        (vec![text.clone(), finish("")], "response.failed"),
        (vec![text.clone(), finish(""), "[DONE]".into()], "response.completed"),
        (vec![text.clone(), finish("some_day"), USAGE.into()], "response.completed"),
        (vec![text, "[DONE]".into()], "response.completed"),
    ] {
        assert_eq!(events(&data).last().unwrap()["type"], expected, "{data:?}");
    }
}

#[test]
fn a_response_that_is_no_stream_writes_no_events() {
    let mut answer = ChatTranslator::responses(template(), "m", false);
    (0..1000).for_each(|_| answer.push(&chunk(&json!({ "content": "x" }))));
    answer.push(&chunk(&json!({ "tool_calls": [{ "id": "a", "function": { "name": "f", "arguments": "{}" } }] })));
    answer.push("[DONE]");
    assert_eq!(answer.take_events(), "");
    let response: Value = serde_json::from_str(&answer.into_body()).unwrap();
    assert_eq!((&response["output_text"], &response["output"][1]["name"]), (&json!("x".repeat(1000)), &json!("f")));
}
