//! What `GET /v1/rooms/{code}/metrics` answers: a room's figures over the last minutes, and what goes on in it now.

use serde::{Deserialize, Serialize};

use super::management::Status;

/// A room's figures.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomMetrics {
    /// The room's code, in upper case.
    pub room_code: String,
    /// When the figures were taken, milliseconds since the epoch.
    pub timestamp: u64,
    /// Requests that participants are working on now.
    pub in_flight: u64,
    /// Requests that wait in line for a participant now.
    pub queued: u64,
    /// All participants together.
    pub windows: Windows,
    /// Each participant, first come first.
    pub participants: Vec<ParticipantMetrics>,
    /// Each model that participants have, by name.
    pub models: Vec<ModelMetrics>,
}

/// A participant's figures. They begin anew when it registers with another model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParticipantMetrics {
    /// Unique in its room.
    pub participant_id: String,
    /// For people.
    pub nickname: String,
    /// The name its provider knows the model by.
    pub model: String,
    /// Online, busy or offline.
    pub status: Status,
    /// Requests that it is working on now.
    pub in_flight: u64,
    /// Its figures.
    pub windows: Windows,
}

/// The figures of all participants with one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelMetrics {
    /// Its name, as the participants gave it.
    pub model: String,
    /// How many have it.
    pub participants: u64,
    /// Requests that they are working on now.
    pub in_flight: u64,
    /// Their figures.
    pub windows: Windows,
}

/// The same figures over three times, each up to now.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Windows {
    /// The last minute.
    #[serde(rename = "1m")]
    pub one_minute: Figures,
    /// The last five minutes.
    #[serde(rename = "5m")]
    pub five_minutes: Figures,
    /// The last fifteen minutes.
    #[serde(rename = "15m")]
    pub fifteen_minutes: Figures,
}

/// Figures over some time. What nothing was measured for is left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Requests that ended, each try at a participant for itself.
    pub requests: u64,
    /// Those that failed: the events call them `llm.error`, with another stage than `cancelled`.
    pub errors: u64,
    /// Those whose client hung up.
    pub cancelled: u64,
    /// `errors` over `requests`, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<f64>,
    /// From dispatch to the first byte of a good answer, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_ms: Option<Quantiles>,
    /// From dispatch to the last byte of a good answer, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<Quantiles>,
    /// Output tokens over the durations of the answers that told them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<f64>,
    /// Tokens of prompts, as far as providers told them.
    pub input_tokens: u64,
    /// Tokens of answers, as far as providers told them.
    pub output_tokens: u64,
}

/// How times are spread, to within 7 %.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Half took no longer.
    pub p50: f64,
    /// Nineteen in twenty took no longer.
    pub p95: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_is_left_out() {
        let none = serde_json::to_string(&Figures::default()).unwrap();
        assert_eq!(none, r#"{"requests":0,"errors":0,"cancelled":0,"inputTokens":0,"outputTokens":0}"#);
        let windows: Windows = serde_json::from_str(&format!(r#"{{"1m":{none},"5m":{none},"15m":{none}}}"#)).unwrap();
        assert_eq!(windows, Windows::default());
    }
}
