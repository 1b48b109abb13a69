//! Handlers of the legacy plane (PROTOCOL.md, "Legacy plane"): bare JSON, and participants that the hub calls over HTTP.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::http::Exchange;
use crate::hub::access::client_info::client_info;
use crate::hub::api::list::{ListBuffer, ListFrame, send_members, send_rooms};
use crate::hub::api::registration::{
    self, check_password, invalid_participant_id, read_fields, read_profile, register,
};
use crate::hub::context::HubContext;
use crate::hub::handler::{HandlerResult, PathParams};
use crate::hub::respond::{Rejection, send_json};
use crate::net::resolve::Server;
use crate::proto::legacy;
use crate::proto::management::{ErrorCode, Health, HeartbeatBody};
use crate::proto::members::Members;
use crate::state::config::{Fields, MAX_TEXT};
use crate::state::id::ParticipantId;
use crate::state::policy::Forbidden;
use crate::state::room::{Member, Reach};

const REQUIRED: [&str; 4] = ["id", "nickname", "model", "endpoint"];
/// The concurrency of a participant that states none. Older hubs passed on requests without a limit.
const DEFAULT_CONCURRENCY: u32 = 256;

/// `GET /health`.
pub fn health(hub: &HubContext, exchange: &mut Exchange<'_>, _: &PathParams) -> HandlerResult {
    let health = Health { status: "ok".into(), timestamp: hub.clock.now().wall };
    Ok(send_json(exchange, 200, &health))
}

/// `GET /rooms`.
pub fn list_rooms(hub: &HubContext, exchange: &mut Exchange<'_>, _: &PathParams) -> HandlerResult {
    let frame = ListFrame::object(r#"{"rooms":["#, "]}");
    send_rooms(hub, exchange, &frame, |items, room| items.add(&legacy::Room::listed(&room.summary())))
}

/// `POST /rooms`.
pub fn create_room(hub: &HubContext, exchange: &mut Exchange<'_>, _: &PathParams) -> HandlerResult {
    let body = exchange.body()?;
    let room = registration::create_room(hub, exchange, &read_fields(&body)?)?;
    Ok(send_json(exchange, 201, &json!({ "room": legacy::Room::new(&room), "hostId": room.host_id })))
}

/// `DELETE /rooms/{code}`.
pub fn delete_room(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    registration::delete_room(hub, exchange, &params[0])?;
    success(exchange)
}

/// `GET /rooms/{code}/participants`.
pub fn list_participants(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    let frame = ListFrame::object(r#"{"participants":["#, "]}");
    let add = |items: &mut ListBuffer, member: &Member| items.add(&legacy::Member::new(&member.shown()));
    send_members(hub, exchange, &params[0], &frame, add, |_| false)
}

/// `POST /rooms/{code}/join`.
pub fn join(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    let code = &params[0];
    let (password, private) = {
        let registry = hub.registry();
        let room = registry.room(code)?;
        (room.password.clone(), room.private)
    };
    let body = exchange.body()?;
    let fields = read_fields(&body)?;
    check_no_credentials(&fields)?;
    let profile = read_profile(&fields, &REQUIRED, DEFAULT_CONCURRENCY)?;
    let id = read_id(&fields, "Missing required fields: id, nickname, model, endpoint")?;
    check_password(hub, exchange, &fields, code, password.as_ref())?;
    let from_loopback = client_info(exchange, &hub.trusted_proxies).local;
    check_url_parts(&profile.endpoint)?;
    check_endpoint(hub, &profile.endpoint, from_loopback)?;
    let reach = Reach::Direct { from_loopback };
    let joined = register(hub, exchange, code, id, profile, None, reach)?;
    let participant = legacy::Member::new(&joined.participant);
    let mut response = json!({ "participant": participant, "roomId": joined.room_id });
    // Sent only where it is required: older clients do not expect the field.
    if let Some(token) = joined.participant_token.filter(|_| hub.strict || private) {
        response["participantToken"] = json!(token.reveal());
    }
    Ok(send_json(exchange, 201, &response))
}

/// Rejects credentials for the provider, which some older clients send. The hub would call the provider without them,
/// and each request would fail with the provider's 401.
fn check_no_credentials(fields: &Fields<'_>) -> Result<(), Rejection> {
    match fields.get("authHeaders") {
        None => Ok(()),
        Some(raw) if Members::parse(raw.as_bytes()).is_ok_and(|headers| headers.iter().next().is_none()) => Ok(()),
        Some(_) => Err(Rejection::invalid(
            "\"authHeaders\" must be left out: credentials for the provider stay on the participant's machine. Join \
             through a tunnel instead, where they are added on that machine: gambi participant join --header-env \
             Authorization=VARIABLE",
        )),
    }
}

fn read_id(fields: &Fields<'_>, missing: &str) -> Result<ParticipantId, Rejection> {
    let id = fields.text("id", MAX_TEXT)?.filter(|id| !id.is_empty()).ok_or_else(|| Rejection::invalid(missing))?;
    ParticipantId::parse(&id).ok_or_else(invalid_participant_id)
}

/// Rejects an endpoint with more than a host, a port and a path prefix. The rest would let a participant choose the
/// requests that the hub sends there.
fn check_url_parts(endpoint: &str) -> Result<(), Rejection> {
    let problem = if endpoint.contains('?') {
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

/// Rejects an endpoint that the hub would refuse to call. The check is repeated for each connection, since a name may
/// resolve to another address by then.
fn check_endpoint(hub: &HubContext, endpoint: &str, from_loopback: bool) -> Result<(), Rejection> {
    let forbidden = |why: &dyn std::fmt::Display| {
        let message = format!("{why}. Join through a tunnel instead: gambi participant join");
        Rejection::new(ErrorCode::EndpointNotReachable, message).status(403)
    };
    let server = server_of(endpoint).ok_or_else(|| forbidden(&"The endpoint is not a URL"))?;
    let public = hub.public_url.as_deref().and_then(server_of);
    if public.is_some_and(|own| own.host.eq_ignore_ascii_case(&server.host) && own.port == server.port) {
        return Err(forbidden(&Forbidden::Own));
    }
    for address in addresses(&server).map_err(|why| forbidden(&why))? {
        hub.direct.rule().check(address, from_loopback).map_err(|why| forbidden(&why))?;
    }
    Ok(())
}

/// The server of an endpoint.
fn server_of(url: &str) -> Option<Server> {
    Server::of(&url.parse().ok()?)
}

fn addresses(server: &Server) -> Result<Vec<SocketAddr>, String> {
    server.addresses().map_err(|_| format!("The hub cannot resolve the host {}", server.host))
}

/// `POST /rooms/{code}/health`.
pub fn heartbeat(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    let code = &params[0];
    hub.registry().room(code)?;
    let body = exchange.body().map_err(Rejection::from);
    let id = body.and_then(|body| read_id(&read_fields(&body)?, "Participant ID is required"));
    // In a private room the access check comes first: its rejection takes precedence over that of the body.
    let id = id.or_else(|invalid| registration::check_private_access(hub, exchange, code, "").and(Err(invalid)))?;
    registration::heartbeat(hub, exchange, code, id.as_str(), &HeartbeatBody::default())?;
    success(exchange)
}

/// `DELETE /rooms/{code}/leave/{id}`.
pub fn leave(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    registration::remove(hub, exchange, &params[0], &params[1])?;
    success(exchange)
}

fn success(exchange: &mut Exchange<'_>) -> HandlerResult {
    let success: Value = json!({ "success": true });
    Ok(send_json(exchange, 200, &success))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_resolved_to_addresses() {
        let all = |endpoint| addresses(&server_of(endpoint).unwrap());
        let one = |endpoint| all(endpoint).unwrap()[0].to_string();
        assert_eq!(one("http://192.168.1.50:11434"), "192.168.1.50:11434");
        assert_eq!(one("http://[fd00::1]/x"), "[fd00::1]:80");
        assert_eq!(one("https://10.0.0.1"), "10.0.0.1:443");
        assert!(all("http://no-such-host.invalid").is_err());
    }

    #[test]
    fn an_endpoint_has_no_query_or_fragment() {
        for good in ["http://10.0.0.1:80", "http://10.0.0.1/a/v1/", "http://10.0.0.1/@home"] {
            assert!(check_url_parts(good).is_ok(), "{good}");
        }
        for (bad, named) in [
            ("http://10.0.0.1/admin?cmd=1#", "?"),
            ("http://10.0.0.1?x", "?"),
            ("http://10.0.0.1/admin#", "#"),
            ("http://10.0.0.1\\admin", "backslash"),
        ] {
            let message = check_url_parts(bad).unwrap_err().into_message().0;
            assert!(message.contains(named), "{bad}: {message}");
        }
    }
}
