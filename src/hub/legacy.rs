//! The legacy plane (seeds 001 and 002): bare JSON, and participants that the hub calls over HTTP.

use std::net::{IpAddr, ToSocketAddrs};

use serde_json::{Value, json};

use super::admission::{self, bad_id, check_password, new_room, profile, read_object, register};
use super::answer::{Refused, send_json};
use super::forwarded::origin;
use super::list::{Around, Items, send_members, send_rooms};
use super::routes::{Handled, Params};
use super::shared::Shared;
use crate::http::Exchange;
use crate::proto::legacy;
use crate::proto::management::{ErrorCode, Health};
use crate::state::config::{Fields, MAX_TEXT};
use crate::state::id::ParticipantId;
use crate::state::room::{Member, Reach};

const REQUIRED: [&str; 4] = ["id", "nickname", "model", "endpoint"];

/// `GET /health`.
pub fn health(shared: &Shared, exchange: &mut Exchange<'_>, _: &Params) -> Handled {
    let health = Health { status: "ok".into(), timestamp: shared.clock.now().wall };
    Ok(send_json(exchange, 200, &health))
}

/// `GET /rooms`.
pub fn list_rooms(shared: &Shared, exchange: &mut Exchange<'_>, _: &Params) -> Handled {
    let around = Around::object(r#"{"rooms":["#, "]}");
    send_rooms(shared, exchange, &around, |items, room| items.add(&legacy::Room::listed(&room.summary())))
}

/// `POST /rooms`.
pub fn create_room(shared: &Shared, exchange: &mut Exchange<'_>, _: &Params) -> Handled {
    let body = read_object(exchange)?;
    let room = new_room(shared, exchange, &Fields::of(&body))?;
    Ok(send_json(exchange, 201, &json!({ "room": legacy::Room::new(&room), "hostId": room.host_id })))
}

/// `DELETE /rooms/{code}`.
pub fn delete_room(shared: &Shared, exchange: &mut Exchange<'_>, params: &Params) -> Handled {
    admission::delete_room(shared, exchange, &params[0])?;
    success(exchange)
}

/// `GET /rooms/{code}/participants`.
pub fn list_participants(shared: &Shared, exchange: &mut Exchange<'_>, params: &Params) -> Handled {
    let around = Around::object(r#"{"participants":["#, "]}");
    let add = |items: &mut Items, member: &Member| items.add(&legacy::Member::new(&member.shown()));
    send_members(shared, exchange, &params[0], &around, add)
}

/// `POST /rooms/{code}/join`.
pub fn join(shared: &Shared, exchange: &mut Exchange<'_>, params: &Params) -> Handled {
    let code = &params[0];
    let password = shared.registry().room(code)?.password.clone();
    let body = read_object(exchange)?;
    let fields = Fields::of(&body);
    let profile = profile(&fields, &REQUIRED)?;
    let id = id(&fields, "Missing required fields: id, nickname, model, endpoint")?;
    check_password(shared, exchange, &fields, code, password.as_ref())?;
    let from_loopback = origin(exchange, &shared.trusted).local;
    check_endpoint(shared, &profile.endpoint, from_loopback)?;
    let reach = Reach::Direct { from_loopback };
    let joined = register(shared, exchange, code, (id, profile, reach))?;
    let participant = legacy::Member::new(&joined.participant);
    let mut answer = json!({ "participant": participant, "roomId": joined.room_id });
    // Older clients know of none; where it is demanded they have to.
    if let Some(token) = joined.participant_token.filter(|_| shared.strict) {
        answer["participantToken"] = json!(token.reveal());
    }
    Ok(send_json(exchange, 201, &answer))
}

fn id(fields: &Fields<'_>, missing: &str) -> Result<ParticipantId, Refused> {
    let id = fields.text("id", MAX_TEXT)?.filter(|id| !id.is_empty()).ok_or_else(|| Refused::invalid(missing))?;
    ParticipantId::parse(&id).ok_or_else(bad_id)
}

/// Refuses an endpoint early that would be refused on every call. What counts is what is connected to later: a name may
/// lead elsewhere by then.
fn check_endpoint(shared: &Shared, endpoint: &str, from_loopback: bool) -> Result<(), Refused> {
    let refused = |why: &dyn std::fmt::Display| {
        let message = format!("{why}. Join through a tunnel instead: gambi participant join");
        Refused::new(ErrorCode::EndpointNotReachable, message).status(403)
    };
    let policy = shared.direct.policy();
    for address in addresses(endpoint).map_err(|why| refused(&why))? {
        policy.check(address, from_loopback).map_err(|why| refused(&why))?;
    }
    Ok(())
}

fn addresses(endpoint: &str) -> Result<Vec<IpAddr>, String> {
    let uri: ureq::http::Uri = endpoint.parse().map_err(|_| "The endpoint is not a URL".to_owned())?;
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let found = (host, 0).to_socket_addrs().map_err(|_| format!("The hub does not know the host {host}"))?;
    Ok(found.map(|address| address.ip()).collect())
}

/// `POST /rooms/{code}/health`.
pub fn heartbeat(shared: &Shared, exchange: &mut Exchange<'_>, params: &Params) -> Handled {
    shared.registry().room(&params[0])?;
    let body = read_object(exchange)?;
    let id = id(&Fields::of(&body), "Participant ID is required")?;
    admission::heartbeat(shared, exchange, &params[0], id.as_str())?;
    success(exchange)
}

/// `DELETE /rooms/{code}/leave/{id}`.
pub fn leave(shared: &Shared, exchange: &mut Exchange<'_>, params: &Params) -> Handled {
    admission::remove(shared, exchange, &params[0], &params[1])?;
    success(exchange)
}

fn success(exchange: &mut Exchange<'_>) -> Handled {
    let success: Value = json!({ "success": true });
    Ok(send_json(exchange, 200, &success))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoints_addresses_are_found() {
        let one = |endpoint| addresses(endpoint).unwrap()[0].to_string();
        assert_eq!(one("http://192.168.1.50:11434"), "192.168.1.50");
        assert_eq!(one("http://[fd00::1]:80/x"), "fd00::1");
        assert!(addresses("http://no-such-host.invalid").is_err());
    }
}
