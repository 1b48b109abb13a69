//! The response object: in the events of a stream that carry one, and as the answer to a request without `stream`.

use serde_json::{Value, json};

use super::super::super::members::Members;
use super::super::delta::{Finish, TokenCounts};
use super::template::ResponseTemplate;

/// What changes between the snapshots of one response.
pub struct Snapshot<'a> {
    /// `in_progress`, `completed`, `incomplete` or `failed`.
    pub status: &'static str,
    /// Why it failed, if it did.
    pub error: Option<&'a str>,
    /// Why the chat ended, if it has.
    pub finish: Option<Finish>,
    pub model: &'a str,
    /// In seconds since the epoch; shown only where the status is `completed`.
    pub completed_at: u64,
    /// Completed items.
    pub output: Vec<&'a Value>,
    pub usage: Option<TokenCounts>,
}

impl Snapshot<'_> {
    /// The response object as JSON on one line (Open Responses, `ResponseResource`). `output_text` is an addition of
    /// PROTOCOL.md, "Responses on a chat-only provider".
    pub fn to_json(&self, template: &ResponseTemplate) -> String {
        let error = self.error.map(|message| json!({ "code": "server_error", "message": message }));
        let mut members = Members::default();
        let mut put = |key: &'static str, value: &Value| members.set(key, value.to_string());
        put("id", &json!(template.id()));
        put("object", &json!("response"));
        put("created_at", &json!(template.created_at));
        put("completed_at", &json!((self.status == "completed").then_some(self.completed_at)));
        put("status", &json!(self.status));
        put("error", &json!(error));
        put("incomplete_details", &self.incomplete_details());
        put("model", &json!(self.model));
        put("output", &json!(self.output));
        put("output_text", &json!(output_text(&self.output)));
        put("usage", &self.usage.map_or(Value::Null, usage));
        for (key, value) in &template.asked {
            members.set(key, value.clone());
        }
        members.to_json()
    }

    fn incomplete_details(&self) -> Value {
        match (self.status, self.finish) {
            ("incomplete", Some(Finish::Length)) => json!({ "reason": "max_output_tokens" }),
            ("incomplete", Some(Finish::ContentFilter)) => json!({ "reason": "content_filter" }),
            _ => Value::Null,
        }
    }
}

fn output_text(output: &[&Value]) -> String {
    let parts = output.iter().filter(|item| item["type"] == "message").filter_map(|item| item["content"].as_array());
    parts.flatten().filter_map(|part| part["text"].as_str()).collect()
}

/// Token counts in the names of Responses.
fn usage(counts: TokenCounts) -> Value {
    json!({
        "input_tokens": counts.input,
        "input_tokens_details": { "cached_tokens": counts.cached },
        "output_tokens": counts.output,
        "output_tokens_details": { "reasoning_tokens": counts.reasoning },
        "total_tokens": counts.total,
    })
}
