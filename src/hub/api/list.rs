//! Lists as answers: a short one goes out whole, with its length; a long one in pieces, so that whoever reads it slowly, or
//! not at all, makes the hub hold one piece and not the list.

use serde::Serialize;
use serde_json::json;

use crate::http::{BodyError, Exchange};
use crate::hub::context::HubContext;
use crate::hub::handler::Handled;
use crate::hub::respond::{JSON, Rejection};
use crate::state::room::{Member, Room};

/// A list is sent on once there is so much of it, in bytes.
const PIECE: usize = 16 << 10;
/// Items that are looked up at a time, while the registry is locked.
const PAGE: usize = 64;

/// What stands around the items of a list.
pub struct Around {
    before: &'static str,
    after: String,
}

impl Around {
    /// A v1 envelope.
    pub fn envelope(exchange: &Exchange<'_>) -> Self {
        Around { before: r#"{"data":["#, after: format!(r#"],"meta":{}}}"#, json!({ "requestId": exchange.id() })) }
    }

    /// The members of an object.
    pub fn object(before: &'static str, after: &str) -> Self {
        Around { before, after: after.to_owned() }
    }
}

/// The part of a list that is not sent yet.
pub struct Items {
    out: Vec<u8>,
    /// Whether the next one is the first.
    first: bool,
    /// The number of the last one that was looked at.
    last: Option<u64>,
}

impl Items {
    /// Adds an item.
    pub fn add(&mut self, item: &impl Serialize) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        // Writing to memory does not fail, and the keys of our own types are texts.
        let _ = serde_json::to_writer(&mut self.out, item);
    }

    /// Adds what `add` makes of a page's items, as long as the piece is not full. False at the list's end.
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
        self.out.len() >= PIECE
    }
}

/// Answers with all rooms, oldest first.
pub fn send_rooms(
    hub: &HubContext,
    exchange: &mut Exchange<'_>,
    around: &Around,
    add: impl Fn(&mut Items, &Room),
) -> Handled {
    send(exchange, around, |items| {
        let registry = hub.registry();
        items.add_page(&registry.rooms_after(items.last, PAGE), |room| room.number, &add)
    })
}

/// Answers with a room's participants, first come first. Those of a room that is deleted meanwhile end there.
pub fn send_members(
    hub: &HubContext,
    exchange: &mut Exchange<'_>,
    code: &str,
    around: &Around,
    add: impl Fn(&mut Items, &Member),
) -> Handled {
    hub.registry().room(code)?;
    send(exchange, around, |items| {
        let registry = hub.registry();
        let Ok(room) = registry.room(code) else { return false };
        items.add_page(&room.members_after(items.last, PAGE), |member| member.serial, &add)
    })
}

/// Sends a list, of which `more` adds one page after the other until it says that there is no more.
fn send(exchange: &mut Exchange<'_>, around: &Around, mut more: impl FnMut(&mut Items) -> bool) -> Handled {
    let mut items = Items { out: around.before.as_bytes().to_vec(), first: true, last: None };
    let mut share = exchange.share();
    let mut fill = |items: &mut Items| {
        let mut over = false;
        while !items.is_full() && !over {
            over = !more(items);
        }
        if over {
            items.out.extend_from_slice(around.after.as_bytes());
        }
        // A single item may be far longer than a piece.
        if share.grow_to(items.out.capacity() as u64) { Ok(over) } else { Err(Rejection::from(BodyError::NoMemory)) }
    };
    let mut over = fill(&mut items)?;
    if over {
        return Ok(exchange.respond(200, &[JSON], &items.out));
    }
    let is_head = exchange.is_head();
    let mut stream = match exchange.stream(200, &[JSON]) {
        Ok(stream) => stream,
        Err(error) => return Ok(Err(error)),
    };
    if is_head {
        return Ok(stream.finish());
    }
    loop {
        if let Err(error) = stream.write(&items.out) {
            return Ok(Err(error));
        }
        if over {
            return Ok(stream.finish());
        }
        items.out.clear();
        match fill(&mut items) {
            Ok(is_over) => over = is_over,
            // The status has been sent: that it breaks off is all that can be told.
            Err(_) => return Ok(Err(crate::hub::relay::client_response::cut_short())),
        }
    }
}
