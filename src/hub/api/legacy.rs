//! The legacy plane (seeds 001 and 002): bare JSON, and participants that the hub calls over HTTP.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use serde_json::{Value, json};

use crate::http::Exchange;
use crate::hub::access::client_info::origin;
use crate::hub::api::list::{Around, Items, send_members, send_rooms};
use crate::hub::api::registration::{self, bad_id, check_password, new_room, profile, read_object, register};
use crate::hub::context::HubContext;
use crate::hub::handler::{Handled, Params};
use crate::hub::respond::{Rejection, send_json};
use crate::proto::legacy;
use crate::proto::management::{ErrorCode, Health};
use crate::state::config::{Fields, MAX_TEXT};
use crate::state::id::ParticipantId;
use crate::state::policy::Forbidden;
use crate::state::room::{Member, Reach};

const REQUIRED: [&str; 4] = ["id", "nickname", "model", "endpoint"];

/// `GET /health`.
pub fn health(hub: &HubContext, exchange: &mut Exchange<'_>, _: &Params) -> Handled {
    let health = Health { status: "ok".into(), timestamp: hub.clock.now().wall };
    Ok(send_json(exchange, 200, &health))
}

/// `GET /rooms`.
pub fn list_rooms(hub: &HubContext, exchange: &mut Exchange<'_>, _: &Params) -> Handled {
    let around = Around::object(r#"{"rooms":["#, "]}");
    send_rooms(hub, exchange, &around, |items, room| items.add(&legacy::Room::listed(&room.summary())))
}

/// `POST /rooms`.
pub fn create_room(hub: &HubContext, exchange: &mut Exchange<'_>, _: &Params) -> Handled {
    let body = read_object(exchange)?;
    let room = new_room(hub, exchange, &Fields::of(&body))?;
    Ok(send_json(exchange, 201, &json!({ "room": legacy::Room::new(&room), "hostId": room.host_id })))
}

/// `DELETE /rooms/{code}`.
pub fn delete_room(hub: &HubContext, exchange: &mut Exchange<'_>, params: &Params) -> Handled {
    registration::delete_room(hub, exchange, &params[0])?;
    success(exchange)
}

/// `GET /rooms/{code}/participants`.
pub fn list_participants(hub: &HubContext, exchange: &mut Exchange<'_>, params: &Params) -> Handled {
    let around = Around::object(r#"{"participants":["#, "]}");
    let add = |items: &mut Items, member: &Member| items.add(&legacy::Member::new(&member.shown()));
    send_members(hub, exchange, &params[0], &around, add)
}

/// `POST /rooms/{code}/join`.
pub fn join(hub: &HubContext, exchange: &mut Exchange<'_>, params: &Params) -> Handled {
    let code = &params[0];
    let (password, private) = {
        let registry = hub.registry();
        let room = registry.room(code)?;
        (room.password.clone(), room.private)
    };
    let body = read_object(exchange)?;
    let fields = Fields::of(&body);
    let profile = profile(&fields, &REQUIRED)?;
    let id = id(&fields, "Missing required fields: id, nickname, model, endpoint")?;
    check_password(hub, exchange, &fields, code, password.as_ref())?;
    let from_loopback = origin(exchange, &hub.trusted_proxies).local;
    check_plain(&profile.endpoint)?;
    check_endpoint(hub, &profile.endpoint, from_loopback)?;
    let reach = Reach::Direct { from_loopback };
    let joined = register(hub, exchange, code, (id, profile, reach))?;
    let participant = legacy::Member::new(&joined.participant);
    let mut answer = json!({ "participant": participant, "roomId": joined.room_id });
    // Older clients know of none; where it is demanded they have to.
    if let Some(token) = joined.participant_token.filter(|_| hub.strict || private) {
        answer["participantToken"] = json!(token.reveal());
    }
    Ok(send_json(exchange, 201, &answer))
}

fn id(fields: &Fields<'_>, missing: &str) -> Result<ParticipantId, Rejection> {
    let id = fields.text("id", MAX_TEXT)?.filter(|id| !id.is_empty()).ok_or_else(|| Rejection::invalid(missing))?;
    ParticipantId::parse(&id).ok_or_else(bad_id)
}

/// An endpoint is an address with the beginning of a path: what it could say beyond would choose what the hub asks there,
/// and as whom.
fn check_plain(endpoint: &str) -> Result<(), Rejection> {
    let authority =
        endpoint.split_once("://").and_then(|(_, rest)| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    let problem = if authority.contains('@') {
        "must not hold a user name or password (\"@\" before the host)"
    } else if endpoint.contains('?') {
        "must not hold a query (\"?\")"
    } else if endpoint.contains('#') {
        "must not hold a fragment (\"#\")"
    } else if endpoint.contains('\\') {
        "must not hold a backslash"
    } else {
        return Ok(());
    };
    Err(Rejection::invalid(format!("\"endpoint\" {problem}"))
        .hint("For example http://192.168.1.50:11434")
        .details(json!({ "field": "endpoint", "problem": problem })))
}

/// Refuses an endpoint early that would be refused on every call. What counts is what is connected to later: a name may
/// lead elsewhere by then.
fn check_endpoint(hub: &HubContext, endpoint: &str, from_loopback: bool) -> Result<(), Rejection> {
    let refused = |why: &dyn std::fmt::Display| {
        let message = format!("{why}. Join through a tunnel instead: gambi participant join");
        Rejection::new(ErrorCode::EndpointNotReachable, message).status(403)
    };
    let (host, port) = authority(endpoint).map_err(|why| refused(&why))?;
    let public = hub.public_url.as_deref().and_then(|url| authority(url).ok());
    if public.is_some_and(|(own, own_port)| own.eq_ignore_ascii_case(&host) && own_port == port) {
        return Err(refused(&Forbidden::Own));
    }
    for address in addresses(&host, port).map_err(|why| refused(&why))? {
        hub.direct.rule().check(address, from_loopback).map_err(|why| refused(&why))?;
    }
    Ok(())
}

/// The host of a URL, without brackets, and its port.
fn authority(url: &str) -> Result<(String, u16), String> {
    let uri: ureq::http::Uri = url.parse().map_err(|_| "The endpoint is not a URL".to_owned())?;
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    Ok((host.to_owned(), port))
}

fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![(address, port).into()]);
    }
    let found = (host, port).to_socket_addrs().map_err(|_| format!("The hub does not know the host {host}"))?;
    Ok(found.collect())
}

/// `POST /rooms/{code}/health`.
pub fn heartbeat(hub: &HubContext, exchange: &mut Exchange<'_>, params: &Params) -> Handled {
    let code = &params[0];
    hub.registry().room(code)?;
    let body = read_object(exchange);
    let id = body.and_then(|body| id(&Fields::of(&body), "Participant ID is required"));
    // What is wrong with a request about the inside of a private room is told to those who may look inside.
    let id = id.or_else(|wrong| registration::check_inside(hub, exchange, code, "").and(Err(wrong)))?;
    registration::heartbeat(hub, exchange, code, id.as_str())?;
    success(exchange)
}

/// `DELETE /rooms/{code}/leave/{id}`.
pub fn leave(hub: &HubContext, exchange: &mut Exchange<'_>, params: &Params) -> Handled {
    registration::remove(hub, exchange, &params[0], &params[1])?;
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
        let all = |endpoint| authority(endpoint).and_then(|(host, port)| addresses(&host, port));
        let one = |endpoint| all(endpoint).unwrap()[0].to_string();
        assert_eq!(one("http://192.168.1.50:11434"), "192.168.1.50:11434");
        assert_eq!(one("http://[fd00::1]/x"), "[fd00::1]:80");
        assert_eq!(one("https://10.0.0.1"), "10.0.0.1:443");
        assert!(all("http://no-such-host.invalid").is_err());
    }

    #[test]
    fn an_endpoint_chooses_no_request() {
        for good in ["http://10.0.0.1:80", "http://10.0.0.1/a/v1/", "http://10.0.0.1/@home"] {
            assert!(check_plain(good).is_ok(), "{good}");
        }
        for (bad, named) in [
            ("http://10.0.0.1/admin?cmd=1#", "?"),
            ("http://10.0.0.1?x", "?"),
            ("http://10.0.0.1/admin#", "#"),
            ("http://user@10.0.0.1", "@"),
            ("http://user:pw@10.0.0.1/", "@"),
            ("http://10.0.0.1\\admin", "backslash"),
        ] {
            let told = check_plain(bad).unwrap_err().told().0;
            assert!(told.contains(named), "{bad}: {told}");
        }
    }
}
