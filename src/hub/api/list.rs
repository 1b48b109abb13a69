//! Responses that are lists. A short list is sent whole, with its length; a long one is streamed in chunks, so that a slow
//! reader costs the hub the memory of one chunk, not of the list.

use std::io;

use serde::Serialize;
use serde_json::json;

use crate::http::{BodyError, Exchange};
use crate::hub::context::HubContext;
use crate::hub::handler::HandlerResult;
use crate::hub::relay::client_response::cut_short;
use crate::hub::respond::JSON;
use crate::state::room::{Member, Room};

/// Size from which a chunk is sent, bytes.
const CHUNK: usize = 16 << 10;
/// Items that are read at a time, under the lock of the registry.
const PAGE: usize = 64;

/// The JSON text before and after the items of a list.
pub struct ListFrame {
    before: &'static str,
    after: String,
}

impl ListFrame {
    /// The envelope of the management plane.
    pub fn envelope(exchange: &Exchange<'_>) -> Self {
        ListFrame { before: r#"{"data":["#, after: format!(r#"],"meta":{}}}"#, json!({ "requestId": exchange.id() })) }
    }

    /// Any other text; `before` ends with the opening bracket of the list, `after` begins with the closing one.
    pub fn object(before: &'static str, after: &str) -> Self {
        ListFrame { before, after: after.to_owned() }
    }
}

/// The part of a list that has not been sent yet.
pub struct ListBuffer {
    bytes: Vec<u8>,
    /// Whether the next item is the first one of the list.
    first: bool,
    /// The number of the last item that was added: the next page begins after it.
    last: Option<u64>,
}

impl ListBuffer {
    /// Adds an item.
    pub fn add(&mut self, item: &impl Serialize) {
        if !std::mem::take(&mut self.first) {
            self.bytes.push(b',');
        }
        // Cannot fail: writing to memory does not, and our own types have string keys.
        let _ = serde_json::to_writer(&mut self.bytes, item);
    }

    /// Calls `add` for the items of a page until the chunk is full. Returns false for an empty page: the end of the list.
    fn add_page<T>(&mut self, page: &[&T], number: fn(&T) -> u64, add: &impl Fn(&mut Self, &T)) -> bool {
        for item in page {
            add(self, item);
            self.last = Some(number(item));
            if self.is_full() {
                break;
            }
        }
        !page.is_empty()
    }

    fn is_full(&self) -> bool {
        self.bytes.len() >= CHUNK
    }
}

/// Sends all rooms, oldest first.
pub fn send_rooms(
    hub: &HubContext,
    exchange: &mut Exchange<'_>,
    frame: &ListFrame,
    add: impl Fn(&mut ListBuffer, &Room),
) -> HandlerResult {
    send(exchange, frame, |items| {
        let registry = hub.registry();
        items.add_page(&registry.rooms_after(items.last, PAGE), |room| room.number, &add)
    })
}

/// Sends a room's participants in the order in which they joined, and after them what `add_more` adds, one item at a time,
/// until it returns false. If the room is deleted meanwhile, its participants end there.
pub fn send_members(
    hub: &HubContext,
    exchange: &mut Exchange<'_>,
    code: &str,
    frame: &ListFrame,
    add: impl Fn(&mut ListBuffer, &Member),
    mut add_more: impl FnMut(&mut ListBuffer) -> bool,
) -> HandlerResult {
    hub.registry().room(code)?;
    let mut members_left = true;
    send(exchange, frame, |items| {
        if !members_left {
            return add_more(items);
        }
        let registry = hub.registry();
        let page = registry.room(code).map(|room| room.members_after(items.last, PAGE)).unwrap_or_default();
        members_left = items.add_page(&page, |member| member.serial, &add);
        true
    })
}

/// Sends a list. `add_page` adds the next page, and returns false at the end of the list.
pub fn send(
    exchange: &mut Exchange<'_>,
    frame: &ListFrame,
    mut add_page: impl FnMut(&mut ListBuffer) -> bool,
) -> HandlerResult {
    let mut items = ListBuffer { bytes: frame.before.as_bytes().to_vec(), first: true, last: None };
    let mut share = exchange.share();
    // Fills one chunk, and returns whether it is the last one.
    let mut fill = |items: &mut ListBuffer| {
        let mut is_last = false;
        while !items.is_full() && !is_last {
            is_last = !add_page(items);
        }
        if is_last {
            items.bytes.extend_from_slice(frame.after.as_bytes());
        }
        // A single item can be far longer than a chunk.
        if share.grow_to(items.bytes.capacity() as u64) { Ok(is_last) } else { Err(BodyError::NoMemory) }
    };
    if fill(&mut items)? {
        return Ok(exchange.respond(200, &[JSON], &items.bytes));
    }
    Ok(stream(exchange, items, fill))
}

/// Streams a list whose first chunk is in `items`; `fill` refills it and returns whether the chunk is the last one.
fn stream(
    exchange: &mut Exchange<'_>,
    mut items: ListBuffer,
    mut fill: impl FnMut(&mut ListBuffer) -> Result<bool, BodyError>,
) -> io::Result<()> {
    let is_head = exchange.is_head();
    let mut body = exchange.stream(200, &[JSON]);
    if is_head {
        return body.finish();
    }
    body.write(&items.bytes)?;
    let mut is_last = false;
    while !is_last {
        items.bytes.clear();
        // The status has been sent, so an error can be reported only by ending the stream before its last chunk.
        is_last = fill(&mut items).map_err(|_| cut_short())?;
        body.write(&items.bytes)?;
    }
    body.finish()
}
