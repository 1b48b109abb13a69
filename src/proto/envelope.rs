//! The envelope of the v1 plane's answers, and its error codes.
//!
//! `hub` maps failures to codes.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A successful v1 answer: `{"data": ..., "meta": {"requestId": ...}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Envelope<T> {
    /// The requested resource.
    pub data: T,
    /// Metadata of the answer.
    pub meta: Meta,
}

/// A failed v1 answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorEnvelope {
    /// The error.
    pub error: ErrorBody,
    /// Metadata of the answer.
    pub meta: Meta,
}

/// The `meta` of every v1 answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    /// A fresh UUID for every request.
    pub request_id: String,
}

/// The `error` of a failed v1 answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// One of the plane's codes.
    pub code: ErrorCode,
    /// A sentence for people.
    pub message: String,
    /// How to fix it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Machine-readable details, such as the invalid field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}

/// The codes that errors of the v1 and the inference plane carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum ErrorCode {
    /// No room has that code.
    RoomNotFound,
    /// The room has no such participant.
    ParticipantNotFound,
    /// No online participant serves the model.
    ModelNotFound,
    /// The request is invalid.
    InvalidRequest,
    /// The room's password is missing or wrong.
    InvalidPassword,
    /// The participant id belongs to another participant, or to one with another kind of connection.
    ParticipantConflict,
    /// The participant is at its concurrency limit.
    ParticipantBusy,
    /// The participant is registered, but its tunnel is not open.
    ParticipantTunnelNotConnected,
    /// The provider could not be reached.
    EndpointNotReachable,
    /// A person's key allows no more requests now.
    RateLimitExceeded,
    /// The hub itself failed.
    InternalError,
}

impl ErrorCode {
    /// The HTTP status of the code, unless a rule names another one (PROTOCOL.md, "Management plane").
    pub fn status(self) -> u16 {
        match self {
            ErrorCode::RoomNotFound | ErrorCode::ParticipantNotFound | ErrorCode::ModelNotFound => 404,
            ErrorCode::InvalidRequest => 400,
            ErrorCode::InvalidPassword => 401,
            ErrorCode::ParticipantConflict | ErrorCode::ParticipantBusy => 409,
            ErrorCode::RateLimitExceeded => 429,
            ErrorCode::ParticipantTunnelNotConnected | ErrorCode::EndpointNotReachable => 503,
            ErrorCode::InternalError => 500,
        }
    }

    /// The code's name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorCode::RoomNotFound => "ROOM_NOT_FOUND",
            ErrorCode::ParticipantNotFound => "PARTICIPANT_NOT_FOUND",
            ErrorCode::ModelNotFound => "MODEL_NOT_FOUND",
            ErrorCode::InvalidRequest => "INVALID_REQUEST",
            ErrorCode::InvalidPassword => "INVALID_PASSWORD",
            ErrorCode::ParticipantConflict => "PARTICIPANT_CONFLICT",
            ErrorCode::ParticipantBusy => "PARTICIPANT_BUSY",
            ErrorCode::ParticipantTunnelNotConnected => "PARTICIPANT_TUNNEL_NOT_CONNECTED",
            ErrorCode::EndpointNotReachable => "ENDPOINT_NOT_REACHABLE",
            ErrorCode::RateLimitExceeded => "RATE_LIMIT_EXCEEDED",
            ErrorCode::InternalError => "INTERNAL_ERROR",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_codes_are_spelled_the_same_both_ways() {
        for code in [
            ErrorCode::RoomNotFound,
            ErrorCode::ParticipantNotFound,
            ErrorCode::ModelNotFound,
            ErrorCode::InvalidRequest,
            ErrorCode::InvalidPassword,
            ErrorCode::ParticipantConflict,
            ErrorCode::ParticipantBusy,
            ErrorCode::ParticipantTunnelNotConnected,
            ErrorCode::EndpointNotReachable,
            ErrorCode::RateLimitExceeded,
            ErrorCode::InternalError,
        ] {
            assert_eq!(serde_json::to_string(&code).unwrap(), format!("\"{}\"", code.as_str()));
        }
    }
}
