//! Property tests of the translation of Ollama's API.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::openai::Members;
use super::super::translate::ChatTranslator;
use super::super::translate::ollama::{self, AnswerForm, EmbeddingForm, Translated};
use super::{any_json, chunk, hostile_inputs, key};

proptest! {
    // A failing case becomes a unit test beside the code; no regression files are stored.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_request_of_ollamas_is_translated_or_refused(request in ollama_request()) {
        let text = request.to_string();
        let members = Members::parse(text.as_bytes()).unwrap();
        for form in [AnswerForm::Chat, AnswerForm::Generate] {
            if let Ok(Translated::Request(chat)) = ollama::to_chat(form, &members) {
                let chat: Value = serde_json::from_str(&chat).expect("JSON");
                prop_assert!(chat["messages"].as_array().is_some_and(|messages| !messages.is_empty()), "{}", chat);
            }
        }
        if let Ok(Translated::Request(body)) = ollama::to_embeddings(EmbeddingForm::Embed, &members) {
            let body: Value = serde_json::from_str(&body).expect("JSON");
            prop_assert!(body["input"].is_string() || body["input"].is_array(), "{}", body);
        }
    }

    #[test]
    fn any_chat_becomes_lines_of_ollamas(chunks in proptest::collection::vec(chunk(), 0..12), ends in any::<bool>()) {
        let mut answer = ChatTranslator::ollama(AnswerForm::Chat, "m", Duration::ZERO, true);
        chunks.iter().for_each(|chunk| answer.push(chunk));
        if ends { answer.end() } else { answer.fail("it broke") }
        let lines: Vec<Value> = answer.take_events().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let is_last = |line: &Value| line["error"].is_string() || line["done"] == true;
        prop_assert_eq!(lines.iter().position(is_last), Some(lines.len() - 1), "{:?}", lines);
        for call in lines.iter().filter_map(|line| line["message"]["tool_calls"].as_array()).flatten() {
            prop_assert!(call["function"]["arguments"].is_object(), "{}", call);
        }
    }
}

/// A request of Ollama's API, with members that are seldom of the right type.
fn ollama_request() -> impl Strategy<Value = Value> {
    let text = || prop_oneof![8 => any::<String>().prop_map(Value::from), 1 => any_json()];
    let role = prop_oneof![
        8 => prop::sample::select(vec!["system", "user", "assistant", "tool"]).prop_map(Value::from),
        1 => any_json(),
    ];
    let image = prop_oneof![Just(json!(["iVBORw0KGgo="])), Just(Value::Null), any_json()];
    let calls = prop_oneof![
        Just(Value::Null),
        key().prop_map(|name| json!([{ "function": { "name": name, "arguments": { "a": 1 } } }])),
        any_json(),
    ];
    let message = (role, text(), image, calls).prop_map(|(role, content, images, calls)| {
        json!({ "role": role, "content": content, "images": images, "tool_calls": calls, "tool_name": "f" })
    });
    let optional = || prop_oneof![8 => Just(Value::Null), 1 => any_json()];
    let messages = prop::collection::vec(message, 0..5);
    (messages, text(), text(), optional(), optional(), optional()).prop_map(
        |(messages, prompt, input, format, options, think)| {
            json!({ "model": "m", "messages": messages, "prompt": prompt, "input": input, "format": format,
            "options": options, "think": think })
        },
    )
}

/// Reads hostile text wherever a request of Ollama's API, or the answer to one, may hold it.
fn read_as_ollamas(text: &str) {
    let deep = format!("{}1{}", r#"{"a":["#.repeat(100_000), "]}".repeat(100_000));
    for json in [text, deep.as_str()] {
        for request in [
            format!(r#"{{"messages":{json}}}"#),
            format!(
                r#"{{"messages":[{{"role":"assistant","tool_calls":[{{"function":{{"name":"f","arguments":{json}}}}}]}}]}}"#
            ),
            format!(r#"{{"prompt":"x","format":{json},"tools":[{json}],"options":{json}}}"#),
            format!(r#"{{"input":[{json}]}}"#),
        ] {
            let Ok(members) = Members::parse(request.as_bytes()) else { continue };
            let _ = (ollama::to_chat(AnswerForm::Chat, &members), ollama::to_chat(AnswerForm::Generate, &members));
            let _ = ollama::to_embeddings(EmbeddingForm::Embed, &members);
        }
        let body = format!(r#"{{"data":[{{"embedding":{json},"x":{json}}}],"usage":{json}}}"#);
        assert!(ollama::embeddings_answer(EmbeddingForm::Embed, "m", body.as_bytes(), Duration::ZERO).is_err());
        let mut answer = ChatTranslator::ollama(AnswerForm::Chat, "m", Duration::ZERO, true);
        let arguments =
            json!({ "choices": [{ "delta": { "tool_calls": [{ "function": { "name": "f", "arguments": json } }] } }] });
        answer.push(&arguments.to_string());
        answer.push("[DONE]");
        assert!(answer.take_events().ends_with("}\n"));
    }
}

#[test]
fn hostile_requests_and_answers_are_read_in_the_stack_that_connections_have() {
    let read = || hostile_inputs().into_iter().for_each(|input| read_as_ollamas(&String::from_utf8(input).unwrap()));
    std::thread::Builder::new().stack_size(crate::sync::STACK_SIZE).spawn(read).unwrap().join().unwrap();
}
