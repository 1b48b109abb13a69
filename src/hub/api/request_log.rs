//! The boundary around every request: its id, the panic handler, its line in the log, and the count of rejected requests.
//!
//! The line is built from an allow-list of names. It has the path without the query, no header, and nothing of a body but
//! the model that the request names.

use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Instant;

use crate::http::Exchange;
use crate::hub::access::client_info::client_address;
use crate::hub::api::routes;
use crate::hub::context::HubContext;
use crate::hub::observe::log::LogLine;
use crate::hub::observe::log::request::RequestLog;
use crate::hub::observe::log::settings::LogLevel;
use crate::hub::observe::log::short::ShortRequest;
use crate::hub::random::fresh_uuid;
use crate::proto::management::{ErrorCode, MAX_TEXT};
use crate::proto::text::cut;
use crate::proto::time::millis;
use crate::proto::usage::Tokens;
use crate::proto::usage_record::UsageRecord;
use crate::proto::web::percent_decode;
use crate::state::id::{ParticipantId, RoomCode};

/// The status that is logged where the client disconnected before the answer was complete, the code that nginx uses.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// Serves a request and logs it.
///
/// # Errors
/// When the connection is broken.
pub fn serve(hub: &HubContext, exchange: &mut Exchange<'_>) -> io::Result<()> {
    exchange.set_id(fresh_uuid().into());
    let started = Instant::now();
    // Caught so that the panic is logged; re-raised below.
    let handled = catch_unwind(AssertUnwindSafe(|| routes::serve(hub, exchange)));
    let outcome = std::mem::take(RequestLog::of(exchange));
    let status = match (&handled, exchange.status()) {
        (Err(_), _) | (Ok(Ok(())), None) => 500,
        _ if outcome.is_cancelled() => CLIENT_CLOSED_REQUEST,
        (Ok(Err(_)), None) => CLIENT_CLOSED_REQUEST,
        (Ok(_), Some(status)) => status,
    };
    if let Some(code) = outcome.code {
        hub.metrics.record_rejection(status, code);
    }
    if outcome.is_use && hub.usage.is_on() {
        hub.usage.push(&usage_record(hub, exchange, &outcome, status, millis(started.elapsed())));
    }
    let is_short = hub.log.is_short();
    hub.log_line(level(status, outcome.stage.is_some()), if is_short { "" } else { "request" }, |line| {
        let duration_ms = millis(started.elapsed());
        if is_short {
            return short_request(exchange, status, duration_ms).write_to(line, &outcome);
        }
        write_request(line, exchange, status, duration_ms);
        outcome.write_to(line);
        line.number("bytes", exchange.bytes());
        line.text("peer", &client_address(exchange, &hub.trusted_proxies).to_string());
    });
    handled.unwrap_or_else(|panic| resume_unwind(panic))
}

/// The line of the file of usage for a request.
fn usage_record(
    hub: &HubContext,
    exchange: &Exchange<'_>,
    outcome: &RequestLog,
    status: u16,
    duration_ms: u64,
) -> UsageRecord {
    let Tokens { usage, estimated } = outcome.tokens;
    let model = outcome.served_model.as_ref().or(outcome.model.as_ref());
    let room = segment_after(exchange.path(), "rooms").and_then(|code| RoomCode::parse(&code));
    UsageRecord {
        timestamp: hub.clock.now().wall,
        request_id: exchange.id().to_string(),
        caller: outcome.caller.clone(),
        room: room.map(|room| room.to_string()).unwrap_or_default(),
        participant: outcome.participant.clone(),
        model: cut(model.map_or("", String::as_str), MAX_TEXT).to_owned(),
        protocol: outcome.protocol.unwrap_or_default().to_owned(),
        status,
        input_tokens: usage.input.unwrap_or(0),
        output_tokens: usage.output.unwrap_or(0),
        estimated,
        duration_ms,
    }
}

/// The level of a request's line, by its status and whether an attempt at a participant failed.
fn level(status: u16, failed: bool) -> LogLevel {
    match status {
        500 if !failed => LogLevel::Error,
        501 if !failed => LogLevel::Info,
        500.. => LogLevel::Warn,
        ..400 if failed => LogLevel::Warn,
        _ => LogLevel::Info,
    }
}

/// Appends the method, the path, the status and what the path names.
fn write_request(line: &mut LogLine, exchange: &Exchange<'_>, status: u16, duration_ms: u64) {
    let path = exchange.path();
    line.text("requestId", exchange.id());
    line.text("method", exchange.method().as_str());
    line.text("path", path);
    line.number("status", status.into());
    line.number("durationMs", duration_ms);
    if let Some(code) = segment_after(path, "rooms").and_then(|code| RoomCode::parse(&code)) {
        line.text("room", code.as_str());
    }
    if let Some(id) = segment_after(path, "participants").as_deref().and_then(ParticipantId::parse) {
        line.text("participant", id.as_str());
    }
}

/// What a short line has of the request itself.
fn short_request<'e>(exchange: &'e Exchange<'_>, status: u16, duration_ms: u64) -> ShortRequest<'e> {
    let path = exchange.path();
    ShortRequest {
        status,
        duration_ms,
        method: exchange.method().as_str(),
        path,
        room: segment_after(path, "rooms").and_then(|code| RoomCode::parse(&code)).map(|room| room.to_string()),
        participant: segment_after(path, "participants"),
    }
}

/// The path segment that follows a given one, percent-decoded.
fn segment_after(path: &str, segment: &str) -> Option<String> {
    let mut segments = path.split('/').skip_while(|part| *part != segment);
    segments.nth(1).and_then(percent_decode)
}

/// Logs and counts a request that the HTTP server rejected before it reached a handler.
pub fn record_rejection(hub: &HubContext, status: u16, peer: IpAddr) {
    let code = if status >= 500 { ErrorCode::InternalError } else { ErrorCode::InvalidRequest };
    hub.metrics.record_rejection(status, code);
    hub.log_line(level(status, false), "refused", |line| {
        line.number("status", status.into());
        line.text("code", code.as_str());
        line.text("peer", &peer.to_string());
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_and_participants_are_read_from_paths() {
        assert_eq!(segment_after("/rooms/ABC234/v1/models", "rooms").as_deref(), Some("ABC234"));
        assert_eq!(segment_after("/v1/rooms/x/participants/a%20b/tunnel", "participants").as_deref(), Some("a b"));
        assert_eq!(
            (segment_after("/v1/rooms", "rooms"), segment_after("/", "rooms"), segment_after("/rooms/%zz", "rooms")),
            (None, None, None)
        );
    }

    #[test]
    fn errors_of_the_client_are_not_logged_as_warnings() {
        assert_eq!([404, 429, 499, 501].map(|status| level(status, false)), [LogLevel::Info; 4]);
        assert_eq!([400, 499].map(|status| level(status, true)), [LogLevel::Info; 2]);
        assert_eq!([200, 500, 502, 503, 504].map(|status| level(status, true)), [LogLevel::Warn; 5]);
        assert_eq!(level(500, false), LogLevel::Error);
    }
}
