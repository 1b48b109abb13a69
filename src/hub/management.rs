//! The v1 plane's plain routes: health, rooms, participants. Checks what came, asks the registry, answers.

use serde_json::{Map, Value, json};

use super::answer::{Refused, send_data};
use super::routes::{Handled, Params, percent_encode};
use super::shared::{Shared, random};
use crate::http::Exchange;
use crate::proto::management::{
    ErrorCode, Health, MAX_CONCURRENCY, Registered, RoomCreated, RoomSummary, RuntimeConfig, Success, TunnelTicket,
};
use crate::proto::tunnel::CLOSE_NORMAL;
use crate::state::config::{Fields, MAX_PASSWORD, MAX_TEXT};
use crate::state::id::ParticipantId;
use crate::state::registry::{Missing, NewRoom, Upserted};
use crate::state::room::{Profile, Room};
use crate::tunnel::LostReason;

const REQUIRED: [&str; 3] = ["nickname", "model", "endpoint"];

/// `GET /v1/health`.
pub fn health(shared: &Shared, exchange: &mut Exchange<'_>, _: &Params) -> Handled {
    let health = Health { status: "ok".into(), timestamp: shared.clock.now().wall };
    Ok(send_data(exchange, 200, health))
}

/// `GET /v1/rooms`.
pub fn list_rooms(shared: &Shared, exchange: &mut Exchange<'_>, _: &Params) -> Handled {
    let rooms = shared.registry().rooms();
    Ok(send_data(exchange, 200, rooms))
}

/// `POST /v1/rooms`.
pub fn create_room(shared: &Shared, exchange: &mut Exchange<'_>, _: &Params) -> Handled {
    let body = read_object(exchange)?;
    let room = new_room(shared, &Fields::of(&body))?;
    let host_id = room.host_id.clone();
    Ok(send_data(exchange, 201, RoomCreated { room, host_id }))
}

fn new_room(shared: &Shared, fields: &Fields<'_>) -> Result<RoomSummary, Refused> {
    let name = fields.text("name", MAX_TEXT)?.filter(|name| !name.trim().is_empty());
    let name = name.ok_or_else(|| Refused::invalid("Name is required").details(json!({ "required": ["name"] })))?;
    let defaults = fields.config("defaults")?;
    let password = fields.text("password", MAX_PASSWORD)?.filter(|password| !password.is_empty());
    let password_hash = password.map(|password| hash(shared, &password)).transpose()?;
    let new = NewRoom { name, password_hash, defaults };
    Ok(shared.change(|registry, now| registry.create_room(new, now, &mut random)))
}

fn hash(shared: &Shared, password: &str) -> Result<String, Refused> {
    let mut salt = [0; 16];
    random(&mut salt);
    shared.passwords.hash(password, &salt).map_err(|e| Refused::new(ErrorCode::InternalError, e.to_string()))
}

/// `GET /v1/rooms/{code}`.
pub fn get_room(shared: &Shared, exchange: &mut Exchange<'_>, params: &Params) -> Handled {
    let room = shared.registry().room(&params[0]).map(Room::summary)?;
    Ok(send_data(exchange, 200, room))
}

/// `GET /v1/rooms/{code}/participants`.
pub fn list_participants(shared: &Shared, exchange: &mut Exchange<'_>, params: &Params) -> Handled {
    let shown = |room: &Room| room.members_in_order().into_iter().map(|m| m.shown()).collect::<Vec<_>>();
    let participants = shared.registry().room(&params[0]).map(shown)?;
    Ok(send_data(exchange, 200, participants))
}

/// `PUT /v1/rooms/{code}/participants/{id}`.
pub fn upsert(shared: &Shared, exchange: &mut Exchange<'_>, params: &Params) -> Handled {
    let (code, id) = (&params[0], &params[1]);
    let password_hash = shared.registry().room(code)?.password_hash.clone();
    let body = read_object(exchange)?;
    let fields = Fields::of(&body);
    let id = ParticipantId::parse(id).ok_or_else(bad_id)?;
    let profile = profile(&fields)?;
    check_password(shared, &fields, password_hash.as_deref())?;
    let upserted = shared.change(|registry, now| match registry.upsert(code, id, profile, now, &mut random) {
        Ok((upserted, events)) => (Ok(upserted), events),
        Err(missing) => (Err(missing), Vec::new()),
    })?;
    let url = tunnel_url(shared, exchange, &upserted)?;
    let status = if upserted.created { 201 } else { 200 };
    let ticket = TunnelTicket { url, token: upserted.token.reveal().to_owned() };
    let registered = Registered { participant: upserted.participant, room_id: upserted.room_id, tunnel: ticket };
    Ok(send_data(exchange, status, registered))
}

fn bad_id() -> Refused {
    Refused::invalid("The participant id must be 1 to 128 bytes of printable text without \"/\"")
}

fn profile(fields: &Fields<'_>) -> Result<Profile, Refused> {
    if fields.get("authHeaders").is_some() {
        return Err(Refused::invalid("Provider credentials must stay with the participant: leave out authHeaders")
            .hint("Give the credentials to the participant's runtime, which adds them on its own machine.")
            .details(json!({ "forbidden": ["authHeaders"] })));
    }
    let mut texts = Vec::with_capacity(REQUIRED.len());
    for field in REQUIRED {
        texts.extend(fields.text(field, MAX_TEXT)?.filter(|text| !text.trim().is_empty()));
    }
    let Ok([nickname, model, endpoint]) = <[String; 3]>::try_from(texts) else {
        return Err(Refused::invalid("Missing required fields: nickname, model, endpoint")
            .details(json!({ "required": REQUIRED })));
    };
    check_endpoint(&endpoint)?;
    Ok(Profile {
        nickname,
        model,
        endpoint,
        specs: fields.specs("specs")?.unwrap_or_default(),
        config: fields.config("config")?.unwrap_or_else(RuntimeConfig::default),
        capabilities: fields.capabilities("capabilities")?.unwrap_or_default(),
        aliases: fields.texts("aliases")?.unwrap_or_default(),
        concurrency: fields.count("concurrency", 1, MAX_CONCURRENCY)?.unwrap_or(1),
    })
}

/// The hub never calls a tunnel participant's endpoint, but it shows it: so it must at least be what it claims to be.
fn check_endpoint(endpoint: &str) -> Result<(), Refused> {
    let host = endpoint.strip_prefix("http://").or_else(|| endpoint.strip_prefix("https://"));
    let host = host.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    let clean = !endpoint.contains(|c: char| c.is_control() || c.is_whitespace());
    if clean && !host.is_empty() && !host.starts_with(':') {
        return Ok(());
    }
    let problem = "must be an absolute http or https URL";
    Err(Refused::invalid(format!("\"endpoint\" {problem}"))
        .hint("For example http://localhost:11434")
        .details(json!({ "field": "endpoint", "problem": problem })))
}

fn check_password(shared: &Shared, fields: &Fields<'_>, hash: Option<&str>) -> Result<(), Refused> {
    let Some(hash) = hash else { return Ok(()) };
    let wrong = || {
        Refused::new(ErrorCode::InvalidPassword, "Invalid password")
            .hint("Ask the room's host for its password, and give it with --password.")
    };
    let password = fields.text("password", MAX_PASSWORD)?.ok_or_else(wrong)?;
    if shared.passwords.verify(&password, hash) { Ok(()) } else { Err(wrong()) }
}

/// Where the participant opens its tunnel: by the configured public URL, else by the `Host` that it used.
fn tunnel_url(shared: &Shared, exchange: &Exchange<'_>, upserted: &Upserted) -> Result<String, Refused> {
    let base = match &shared.public_url {
        Some(url) => url.replacen("http", "ws", 1),
        None => {
            let secure = exchange.header("x-forwarded-proto").is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
            let host = exchange.header("host").filter(|host| !host.is_empty());
            let host = host.ok_or_else(|| Refused::invalid("A Host header is required"))?;
            format!("{}://{host}", if secure { "wss" } else { "ws" })
        }
    };
    let id = percent_encode(&upserted.participant.id);
    Ok(format!("{base}/v1/rooms/{}/participants/{id}/tunnel", upserted.code))
}

/// `DELETE /v1/rooms/{code}/participants/{id}`.
pub fn remove(shared: &Shared, exchange: &mut Exchange<'_>, params: &Params) -> Handled {
    let removed = shared.change(|registry, now| match registry.remove(&params[0], &params[1], now) {
        Ok((removed, events)) => (Ok(removed), events),
        Err(missing) => (Err(missing), Vec::new()),
    })?;
    shared.makers.forget(removed.serial);
    if let Some(tunnel) = shared.tunnels.take(removed.serial) {
        tunnel.close(CLOSE_NORMAL, "The participant was removed", LostReason::Closed);
    }
    Ok(send_data(exchange, 200, Success { success: true }))
}

/// `POST /v1/rooms/{code}/participants/{id}/heartbeat`.
pub fn heartbeat(shared: &Shared, exchange: &mut Exchange<'_>, params: &Params) -> Handled {
    let beat = shared.change(|registry, now| match registry.heartbeat(&params[0], &params[1], now) {
        Ok((beat, events)) => (Ok(beat), events),
        Err(missing) => (Err::<_, Missing>(missing), Vec::new()),
    })?;
    Ok(send_data(exchange, 200, beat))
}

/// Reads a body that must be a JSON object.
fn read_object(exchange: &mut Exchange<'_>) -> Result<Map<String, Value>, Refused> {
    let body = exchange.body()?;
    match serde_json::from_slice(&body) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(Refused::invalid("The request body must be a JSON object")),
        Err(error) => Err(Refused::invalid(format!("The request body is not valid JSON: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_absolute_urls() {
        for good in ["http://localhost:11434", "https://api.example/v1", "http://[::1]:8000/"] {
            assert!(check_endpoint(good).is_ok(), "{good}");
        }
        for bad in ["localhost:11434", "ftp://x", "http://", "http:///x", "http://:80", "http://a b", "HTTP"] {
            assert!(check_endpoint(bad).is_err(), "{bad}");
        }
    }
}
