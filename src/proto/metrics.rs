//! The answer of `GET /v1/rooms/{code}/metrics`: a room's statistics over the last minutes, and its present load.

use serde::{Deserialize, Serialize};

use super::management::Status;

/// A room's statistics.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomMetrics {
    /// The room's code, in upper case.
    pub room_code: String,
    /// Time of measurement, milliseconds since the epoch.
    pub timestamp: u64,
    /// Requests in progress.
    pub in_flight: u64,
    /// Requests in the queue.
    pub queued: u64,
    /// All participants together.
    pub windows: Windows,
    /// Each participant, oldest first.
    pub participants: Vec<ParticipantMetrics>,
    /// Each model of a participant, by name.
    pub models: Vec<ModelMetrics>,
}

/// A participant's statistics. They are reset when it registers with another model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParticipantMetrics {
    /// Unique in its room.
    pub participant_id: String,
    /// The display name.
    pub nickname: String,
    /// The provider's name of the model.
    pub model: String,
    /// Online, busy or offline.
    pub status: Status,
    /// Its requests in progress.
    pub in_flight: u64,
    /// Its statistics.
    pub windows: Windows,
}

/// The statistics of all participants with one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelMetrics {
    /// Its name, as registered.
    pub model: String,
    /// The number of participants with it.
    pub participants: u64,
    /// Their requests in progress.
    pub in_flight: u64,
    /// Their statistics.
    pub windows: Windows,
}

/// The same statistics over three windows that end now.
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

/// Statistics over one window. Values without measurements are omitted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Requests that ended. Each attempt at a participant counts.
    pub requests: u64,
    /// Failed ones: `llm.error` events with another stage than `cancelled`.
    pub errors: u64,
    /// Those whose client disconnected.
    pub cancelled: u64,
    /// `errors` over `requests`, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<f64>,
    /// From dispatch to the first byte of a successful answer, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_ms: Option<Quantiles>,
    /// From dispatch to the last byte of a successful answer, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<Quantiles>,
    /// Output tokens divided by the duration, over the answers that reported them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<f64>,
    /// Tokens of prompts, as far as providers reported them.
    pub input_tokens: u64,
    /// Tokens of answers, as far as providers reported them.
    pub output_tokens: u64,
}

/// Quantiles, milliseconds, accurate to 7 %.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// The median.
    pub p50: f64,
    /// The 95th percentile.
    pub p95: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_without_measurements_are_omitted() {
        let none = serde_json::to_string(&Figures::default()).unwrap();
        assert_eq!(none, r#"{"requests":0,"errors":0,"cancelled":0,"inputTokens":0,"outputTokens":0}"#);
        let windows: Windows = serde_json::from_str(&format!(r#"{{"1m":{none},"5m":{none},"15m":{none}}}"#)).unwrap();
        assert_eq!(windows, Windows::default());
    }
}
