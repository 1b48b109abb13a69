//! The event streams: of one room, in either plane's form, and of the whole hub.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;

use crate::http::{Exchange, StreamBody};
use crate::hub::context::HubContext;
use crate::hub::handler::{Handled, Params};
use crate::hub::observe::watchers::{Form, Subscription};
use crate::hub::random::fresh_uuid;
use crate::hub::respond::STREAM_HEADERS;
use crate::proto::sse::KEEP_ALIVE;
use crate::state::event;
use crate::state::id::RoomCode;

/// How long a stream may be silent before it gets a comment line.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);
/// Events that are ready go out together up to so many bytes.
const GATHER: usize = 8 << 10;
/// How often a waiting stream looks whether its client is still there.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// `GET /v1/rooms/{code}/events`.
pub fn watch_room(hub: &HubContext, exchange: &mut Exchange<'_>, params: &Params) -> Handled {
    let code = hub.registry().room(&params[0])?.code.clone();
    let hello = event::connected(&fresh_uuid(), code.as_str(), hub.clock.now().wall);
    Ok(watch(hub, exchange, Some(code), Form::V1, &hello))
}

/// `GET /v1/events`.
pub fn watch_hub(hub: &HubContext, exchange: &mut Exchange<'_>, _: &Params) -> Handled {
    let hello = event::connected(&fresh_uuid(), "", hub.clock.now().wall);
    Ok(watch(hub, exchange, None, Form::V1, &hello))
}

/// `GET /rooms/{code}/events`.
pub fn watch_room_legacy(hub: &HubContext, exchange: &mut Exchange<'_>, params: &Params) -> Handled {
    let code = hub.registry().room(&params[0])?.code.clone();
    let hello = event::connected_legacy(&fresh_uuid());
    Ok(watch(hub, exchange, Some(code), Form::Legacy, &hello))
}

fn watch(
    hub: &HubContext,
    exchange: &mut Exchange<'_>,
    room: Option<RoomCode>,
    form: Form,
    hello: &str,
) -> io::Result<()> {
    if exchange.is_head() {
        return exchange.respond(200, &STREAM_HEADERS, b"");
    }
    let subscription = hub.watchers.subscribe(room, form);
    let mut stream = exchange.stream(200, &STREAM_HEADERS)?;
    stream.write(hello.as_bytes())?;
    let mut last = Instant::now();
    let end = hub.max_stream_duration.and_then(|time| last.checked_add(time));
    loop {
        let left = end.map_or(LOOK_EVERY, |end| end.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return stream.finish();
        }
        match subscription.recv_timeout(left.min(LOOK_EVERY)) {
            Ok(first) => {
                write_ready(&mut stream, first, &subscription)?;
                last = Instant::now();
            }
            Err(RecvTimeoutError::Disconnected) => return stream.finish(),
            Err(RecvTimeoutError::Timeout) if stream.client_gone() => return Ok(()),
            Err(RecvTimeoutError::Timeout) if last.elapsed() >= KEEP_ALIVE_EVERY => {
                stream.write(KEEP_ALIVE.as_bytes())?;
                last = Instant::now();
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Writes what is ready, small events gathered in as few pieces as their size allows. What waits in the queue is shared by
/// all who wait for it: only what is gathered is copied.
fn write_ready(stream: &mut StreamBody<'_>, first: Arc<str>, more: &Subscription<'_>) -> io::Result<()> {
    let mut coalescer = Vec::new();
    let mut next = Some(first);
    while let Some(event) = next {
        if coalescer.len() + event.len() > GATHER {
            stream.write(&coalescer)?;
            coalescer.clear();
        }
        next = more.try_recv();
        let alone = coalescer.is_empty() && next.is_none();
        if alone || event.len() > GATHER {
            stream.write(event.as_bytes())?;
        } else {
            coalescer.extend_from_slice(event.as_bytes());
        }
    }
    stream.write(&coalescer)
}
