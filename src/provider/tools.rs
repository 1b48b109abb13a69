//! The tool calls of the echo provider. A chat that offers functions gets one call, so that tools can be tried without a
//! model; the result of a call is answered with text.

use serde_json::{Map, Value, json};

/// The value of required text arguments. A client that runs it as a shell command does no harm.
const TEXT: &str = "echo";

/// The call that answers a chat: of the function that `tool_choice` names, else of the first one. `None` where no function
/// is offered, `tool_choice` is `none`, or the last message is not the user's.
pub fn call(chat: &Value) -> Option<Value> {
    let is_user_turn = chat["messages"].as_array()?.last().is_some_and(|message| message["role"] == "user");
    if !is_user_turn || chat["tool_choice"] == "none" {
        return None;
    }
    let named = chat["tool_choice"]["function"]["name"].as_str();
    let functions = chat["tools"].as_array()?.iter().filter(|tool| tool["type"] == "function");
    let function = functions
        .map(|tool| &tool["function"])
        .find(|function| function["name"].is_string() && named.is_none_or(|name| function["name"] == name))?;
    let arguments = arguments(&function["parameters"]).to_string();
    Some(json!({ "id": "call_echo", "type": "function",
        "function": { "name": function["name"], "arguments": arguments } }))
}

/// An object with a placeholder for each property that the schema requires.
fn arguments(schema: &Value) -> Value {
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let values = required.map(|name| (name.to_owned(), value(&schema["properties"][name])));
    Value::Object(values.collect::<Map<_, _>>())
}

/// A placeholder of the schema's type; the first value of an enumeration.
fn value(schema: &Value) -> Value {
    if let Some(first) = schema["enum"].get(0) {
        return first.clone();
    }
    match schema["type"].as_str() {
        Some("integer" | "number") => json!(1),
        Some("boolean") => json!(true),
        Some("array") => json!([]),
        Some("object") => json!({}),
        Some("null") => Value::Null,
        _ => json!(TEXT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(role: &str, choice: Value) -> Value {
        let parameters = json!({ "type": "object", "required": ["city", "days", "unit"], "properties": {
            "city": { "type": "string" }, "days": { "type": "integer" }, "unit": { "enum": ["C", "F"] }, "note": {} } });
        json!({ "messages": [{ "role": role, "content": "x" }], "tool_choice": choice, "tools": [
            { "type": "function", "function": { "name": "first" } },
            { "type": "function", "function": { "name": "weather", "parameters": parameters } }] })
    }

    #[test]
    fn the_named_function_is_called_with_its_required_arguments() {
        let named = json!({ "type": "function", "function": { "name": "weather" } });
        let call = call(&chat("user", named)).unwrap();
        assert_eq!(call["function"]["name"], "weather");
        let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
        assert_eq!(arguments, json!({ "city": "echo", "days": 1, "unit": "C" }));
    }

    #[test]
    fn the_first_function_is_called_unless_it_has_a_result_or_calls_are_disabled() {
        assert_eq!(
            call(&chat("user", Value::Null)).unwrap()["function"],
            json!({ "name": "first", "arguments": "{}" })
        );
        assert_eq!(call(&chat("tool", Value::Null)), None);
        assert_eq!(call(&chat("user", json!("none"))), None);
        assert_eq!(call(&json!({ "messages": [{ "role": "user" }], "tools": [] })), None);
        assert_eq!(call(&json!({ "messages": "x", "tools": "x" })), None);
    }
}
