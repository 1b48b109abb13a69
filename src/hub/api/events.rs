//! Event streams of one room, in the format of either plane, and of the whole hub (PROTOCOL.md, "Events").

use std::io;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;

use crate::http::Exchange;
use crate::hub::access::credentials::key_watch;
use crate::hub::context::HubContext;
use crate::hub::handler::{HandlerResult, PathParams};
use crate::hub::observe::watchers::EventFormat;
use crate::hub::random::fresh_uuid;
use crate::hub::respond::STREAM_HEADERS;
use crate::proto::sse::KEEP_ALIVE;
use crate::state::event;
use crate::state::id::RoomCode;

/// A stream that was silent for this long gets a comment line.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);
/// How often an idle stream checks whether its client has disconnected.
const DISCONNECT_CHECK_EVERY: Duration = Duration::from_secs(1);
/// How often a stream checks whether the key that it was asked for with is still in force.
const KEY_CHECK_EVERY: Duration = Duration::from_secs(1);

/// `GET /v1/rooms/{code}/events`.
pub fn watch_room(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    let code = hub.registry().room(&params[0])?.code.clone();
    let connected = event::connected(&fresh_uuid(), code.as_str(), hub.clock.now().wall);
    Ok(watch(hub, exchange, Some(code), EventFormat::V1, &connected))
}

/// `GET /v1/events`.
pub fn watch_hub(hub: &HubContext, exchange: &mut Exchange<'_>, _: &PathParams) -> HandlerResult {
    let connected = event::connected(&fresh_uuid(), "", hub.clock.now().wall);
    Ok(watch(hub, exchange, None, EventFormat::V1, &connected))
}

/// `GET /rooms/{code}/events`.
pub fn watch_room_legacy(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    let code = hub.registry().room(&params[0])?.code.clone();
    let connected = event::connected_legacy(&fresh_uuid());
    Ok(watch(hub, exchange, Some(code), EventFormat::Legacy, &connected))
}

fn watch(
    hub: &HubContext,
    exchange: &mut Exchange<'_>,
    room: Option<RoomCode>,
    form: EventFormat,
    connected: &str,
) -> io::Result<()> {
    if exchange.is_head() {
        return exchange.respond(200, &STREAM_HEADERS, b"");
    }
    let is_allowed = key_watch(hub, exchange, room.as_ref().map(RoomCode::as_str));
    let mut subscription = hub.watchers.subscribe(room, form);
    let mut stream = exchange.stream(200, &STREAM_HEADERS);
    stream.write(connected.as_bytes())?;
    let mut last_write = Instant::now();
    let mut key_checked = last_write;
    let end = hub.max_stream_duration.and_then(|duration| last_write.checked_add(duration));
    loop {
        let left = end.map_or(DISCONNECT_CHECK_EVERY, |end| end.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return stream.finish();
        }
        if key_checked.elapsed() >= KEY_CHECK_EVERY {
            if !is_allowed() {
                return stream.finish();
            }
            key_checked = Instant::now();
        }
        match subscription.recv_timeout(left.min(DISCONNECT_CHECK_EVERY)) {
            Ok(events) => {
                stream.write(events.as_bytes())?;
                last_write = Instant::now();
            }
            Err(RecvTimeoutError::Disconnected) => return stream.finish(),
            Err(RecvTimeoutError::Timeout) if stream.client_gone() => return Ok(()),
            Err(RecvTimeoutError::Timeout) if last_write.elapsed() >= KEEP_ALIVE_EVERY => {
                stream.write(KEEP_ALIVE.as_bytes())?;
                last_write = Instant::now();
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}
