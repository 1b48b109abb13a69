//! One request from its first word to its last: its name, its line in the log, and its count where it was refused.
//!
//! What is told of it is told here, by name: the path without its query, no header, nothing of a body but the model that it
//! asks for.

use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Instant;

use crate::http::{Exchange, Note};
use crate::hub::access::client_info::client_info;
use crate::hub::api::routes;
use crate::hub::context::HubContext;
use crate::hub::maintenance::clock::millis;
use crate::hub::observe::log::settings::LogLevel;
use crate::hub::observe::log::{Line, stage};
use crate::hub::random::fresh_uuid;
use crate::proto::management::ErrorCode;
use crate::proto::web::percent_decode;
use crate::state::id::{ParticipantId, RoomCode};

/// What an exchange notes, in the order in which it is told.
const NOTED: [&str; 8] = ["participant", "model", "protocol", "ttftMs", "inputTokens", "outputTokens", "stage", "code"];
/// The status of a request whose client did not wait for the answer.
const HUNG_UP: u16 = 499;

/// Answers a request, and tells of it.
///
/// # Errors
/// When the connection is broken.
pub fn serve(hub: &HubContext, exchange: &mut Exchange<'_>) -> io::Result<()> {
    exchange.set_id(fresh_uuid());
    let started = Instant::now();
    // A bug is the connection's affair, but it is told of.
    let handled = catch_unwind(AssertUnwindSafe(|| routes::serve(hub, exchange)));
    let status = match (&handled, exchange.status()) {
        (Err(_), _) | (Ok(Ok(())), None) => 500,
        _ if exchange.noted("stage") == Some(&Note::from("cancelled")) => HUNG_UP,
        (Ok(Err(_)), None) => HUNG_UP,
        (Ok(_), Some(status)) => status,
    };
    if let Some(Note::Text(code)) = exchange.noted("code") {
        hub.metrics.refused(status, code);
    }
    let level = level(status, exchange.noted("stage").is_some());
    if hub.log.tells(level) {
        let line = hub.log.line(level, hub.clock.now().wall, "request");
        hub.log.tell(told(hub, exchange, line, status, millis(started.elapsed())));
    }
    handled.unwrap_or_else(|bug| resume_unwind(bug))
}

/// How grave it is.
fn level(status: u16, failed: bool) -> LogLevel {
    match status {
        500 if !failed => LogLevel::Error,
        501 if !failed => LogLevel::Info,
        500.. => LogLevel::Warn,
        ..400 if failed => LogLevel::Warn,
        _ => LogLevel::Info,
    }
}

fn told(hub: &HubContext, exchange: &Exchange<'_>, mut line: Line, status: u16, duration_ms: u64) -> Line {
    let path = exchange.path();
    line.text("requestId", exchange.id());
    line.text("method", exchange.method().as_str());
    line.text("path", path);
    line.number("status", status.into());
    line.number("durationMs", duration_ms);
    if let Some(code) = after(path, "rooms").and_then(|code| RoomCode::parse(&code)) {
        line.text("room", code.as_str());
    }
    if let Some(id) = after(path, "participants").as_deref().and_then(ParticipantId::parse) {
        line.text("participant", id.as_str());
    }
    for name in NOTED {
        match exchange.noted(name) {
            Some(Note::Text(text)) if name == "stage" => line.text(name, stage(text)),
            Some(Note::Text(text)) => line.text(name, text),
            Some(Note::Number(number)) => line.number(name, *number),
            None => {}
        }
    }
    line.number("bytes", exchange.bytes());
    line.text("peer", &client_info(exchange, &hub.trusted_proxies).client.to_string());
    line
}

/// What follows a part of a path, decoded.
fn after(path: &str, part: &str) -> Option<String> {
    let mut parts = path.split('/').skip_while(|p| *p != part);
    parts.nth(1).and_then(percent_decode)
}

/// Tells of a request that never became one.
pub fn refused(hub: &HubContext, status: u16, peer: Option<IpAddr>) {
    let code = if status >= 500 { ErrorCode::InternalError } else { ErrorCode::InvalidRequest };
    hub.metrics.refused(status, code.as_str());
    let level = level(status, false);
    if hub.log.tells(level) {
        let mut line = hub.log.line(level, hub.clock.now().wall, "refused");
        line.number("status", status.into());
        line.text("code", code.as_str());
        if let Some(peer) = peer {
            line.text("peer", &peer.to_string());
        }
        hub.log.tell(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_and_participants_are_read_from_paths() {
        assert_eq!(after("/rooms/ABC234/v1/models", "rooms").as_deref(), Some("ABC234"));
        assert_eq!(after("/v1/rooms/x/participants/a%20b/tunnel", "participants").as_deref(), Some("a b"));
        assert_eq!(
            (after("/v1/rooms", "rooms"), after("/", "rooms"), after("/rooms/%zz", "rooms")),
            (None, None, None)
        );
    }

    #[test]
    fn what_the_client_did_is_no_warning() {
        assert_eq!([404, 429, 499, 501].map(|status| level(status, false)), [LogLevel::Info; 4]);
        assert_eq!([400, 499].map(|status| level(status, true)), [LogLevel::Info; 2]);
        assert_eq!([200, 500, 502, 503, 504].map(|status| level(status, true)), [LogLevel::Warn; 5]);
        assert_eq!(level(500, false), LogLevel::Error);
    }
}
