//! A whole chat completion or text completion as the events of a stream. Some servers answer a request for a stream so, and by
//! then the client may have been sent a stream's head.

use super::members::{Members, json_list, json_text};
use super::scan;

/// The most choices of an answer, and calls of tools in a message.
const MAX_ITEMS: usize = 1024;

/// How many copies of the answer exist at most while its events are made.
pub const COPIES: usize = 6;

/// The events. A chat has one with the messages and one with the reasons why they ended, and the token counts; a text has one,
/// as its chunks have the form of the whole. `None` where the body is neither.
pub fn chat_events(body: &[u8]) -> Option<String> {
    let answer = Members::parse(body).ok()?;
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    for (at, raw) in scan::items(answer.get("choices")?, MAX_ITEMS)?.into_iter().enumerate() {
        let choice = Members::parse(raw.as_bytes()).ok()?;
        let Some(message) = choice.get("message") else {
            choice.get("text")?;
            starts.push(raw.to_owned());
            continue;
        };
        let index = choice.get("index").map_or_else(|| at.to_string(), str::to_owned);
        starts.push(start(&choice, &index, message)?);
        let reason = choice.get("finish_reason").unwrap_or(r#""stop""#);
        ends.push(format!(r#"{{"index":{index},"delta":{{}},"finish_reason":{reason}}}"#));
    }
    let events = match (starts.is_empty(), ends.is_empty()) {
        (true, _) => return None,
        (false, true) => event(&answer),
        (false, false) => {
            let mut last = answer.clone();
            last.set("object", json_text("chat.completion.chunk"));
            let mut first = last.clone();
            first.set("choices", json_list(starts));
            first.set("usage", "null".into());
            last.set("choices", json_list(ends));
            event(&first) + &event(&last)
        }
    };
    Some(events + "data: [DONE]\n\n")
}

/// A choice with its whole message as its delta. `None` where that is no object.
fn start(choice: &Members<'_>, index: &str, message: &str) -> Option<String> {
    let mut delta = Members::parse(message.as_bytes()).ok()?;
    if let Some(calls) = delta.get("tool_calls").map(numbered) {
        let calls = calls?;
        delta.set("tool_calls", calls);
    }
    let mut start = Members::default();
    start.set("index", index.to_owned());
    start.set("delta", delta.to_json());
    for (key, value) in choice.iter().filter(|(key, _)| !["index", "message", "finish_reason"].contains(key)) {
        start.push(key, value);
    }
    start.set("finish_reason", "null".into());
    Some(start.to_json())
}

/// Calls of tools with the numbers that tell them apart in a stream.
fn numbered(calls: &str) -> Option<String> {
    let number = |(at, raw): (usize, &str)| {
        let mut call = Members::parse(raw.as_bytes()).ok()?;
        if call.get("index").is_none() {
            call.set("index", at.to_string());
        }
        Some(call.to_json())
    };
    let calls = scan::items(calls, MAX_ITEMS)?.into_iter().enumerate().map(number).collect::<Option<Vec<_>>>();
    calls.map(json_list)
}

fn event(data: &Members<'_>) -> String {
    // Between its members, JSON may have line ends, which events may not.
    format!("data: {}\n\n", data.to_json().replace(['\n', '\r'], " "))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn events(body: &str) -> Vec<Value> {
        let events = chat_events(body.as_bytes()).unwrap();
        let events = events.strip_suffix("data: [DONE]\n\n").unwrap().split_terminator("\n\n");
        events.map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap()).collect()
    }

    #[test]
    fn a_chat_is_a_message_and_the_reason_why_it_ended() {
        let body = r#"{"id":"c", "object":"chat.completion",
            "model":"m","choices":[{"index":0,"logprobs":null,"finish_reason":"tool_calls","message":{"role":"assistant",
            "content":"a\nb","reasoning_content":"Hm.","tool_calls":[{"id":"1","function":{"name":"f"}},{"index":7}]}},
            {"message":{"role":"assistant","content":null}}],"usage":{"total_tokens":12345678901234567890123}}"#;
        let events = events(body);
        let delta = json!({ "role": "assistant", "content": "a\nb", "reasoning_content": "Hm.",
            "tool_calls": [{ "id": "1", "function": { "name": "f" }, "index": 0 }, { "index": 7 }] });
        let second = json!({ "role": "assistant", "content": null });
        let choices = json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": null },
            { "index": 1, "delta": second, "finish_reason": null }]);
        let chunk = |choices: Value, usage: Value| json!({ "id": "c", "object": "chat.completion.chunk", "model": "m", "choices": choices, "usage": usage });
        let ends = json!([{ "index": 0, "delta": {}, "finish_reason": "tool_calls" },
            { "index": 1, "delta": {}, "finish_reason": "stop" }]);
        let usage = serde_json::from_str(r#"{"total_tokens":12345678901234567890123}"#).unwrap();
        assert_eq!(events, [chunk(choices, Value::Null), chunk(ends, usage)]);
    }

    #[test]
    fn a_text_is_its_own_chunk() {
        let body =
            json!({ "object": "text_completion", "choices": [{ "index": 0, "text": "Hi", "finish_reason": "stop" }] });
        assert_eq!(events(&body.to_string()), [body]);
    }

    #[test]
    fn what_is_neither_has_no_events() {
        for body in [
            "",
            "[]",
            r#"{"error":{"message":"no"}}"#,
            r#"{"choices":[]}"#,
            r#"{"choices":[{}]}"#,
            r#"{"choices":[{"message":"Hi"}]}"#,
            r#"{"choices":[{"message":{"tool_calls":{}}}]}"#,
            r#"{"output":[{"message":{}}]}"#,
        ] {
            assert!(chat_events(body.as_bytes()).is_none(), "{body}");
        }
    }
}
