//! What both management planes ask of rooms and participants before they let them in. In which words they refuse is each
//! plane's own business.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use crate::http::{Exchange, network_of};
use crate::hub::access::client_info::origin;
use crate::hub::access::credentials::{check_joining, check_room, proof, room_is_private, shows_password, wrong_token};
use crate::hub::access::private;
use crate::hub::context::HubContext;
use crate::hub::random::random;
use crate::hub::respond::{Rejection, not_theirs};
use crate::proto::management::{ErrorCode, Heartbeat, MAX_CONCURRENCY, RoomSummary, RuntimeConfig};
use crate::proto::web::fits_a_header;
use crate::state::Now;
use crate::state::config::{Fields, MAX_PASSWORD, MAX_TEXT};
use crate::state::event::Event;
use crate::state::id::ParticipantId;
use crate::state::registry::{Denied, Missing, NewRoom, NotDeleted, NotRegistered, Registering, Registry, Upserted};
use crate::state::room::{Password, Profile, Reach};

/// Makes a room out of a request's fields.
pub fn new_room(hub: &HubContext, exchange: &Exchange<'_>, fields: &Fields<'_>) -> Result<RoomSummary, Rejection> {
    let name = fields.text("name", MAX_TEXT)?.filter(|name| !name.trim().is_empty());
    let name = name.ok_or_else(|| Rejection::invalid("Name is required").details(json!({ "required": ["name"] })))?;
    let defaults = fields.config("defaults")?;
    let password = fields.text("password", MAX_PASSWORD)?.filter(|password| !password.is_empty());
    let private = fields.flag("private")?;
    check_private(private, password.as_deref())?;
    let owner = Some(owner(hub, exchange));
    let password = password.map(|password| hub.passwords.keep(owner, &password)).transpose()?;
    let new = NewRoom { name, password, private, defaults, code: None, owner };
    hub.try_change(|registry, now| {
        let fits = registry.has_space(new.owner, new.weight());
        if fits { Ok(registry.create_room(new, now, &mut random)) } else { Err(full()) }
    })
}

/// On whose account rooms and participants are.
fn owner(hub: &HubContext, exchange: &Exchange<'_>) -> IpAddr {
    network_of(origin(exchange, &hub.trusted_proxies).client)
}

fn full() -> Rejection {
    Rejection::new(
        ErrorCode::InternalError,
        "The hub has as many rooms and participants as it can hold, or as many of your address",
    )
    .status(503)
    .retry_after(60)
    .hint("Those that nobody uses are removed in time. The hub's operator can allow more: --registry-memory.")
}

fn check_private(private: bool, password: Option<&str>) -> Result<(), Rejection> {
    let problem = match password {
        None => "must be given for a private room",
        Some(password) if !fits_a_header(password) => {
            "must be printable ASCII for a private room, since clients send it in a header"
        }
        Some(_) => return Ok(()),
    };
    let refused = || {
        Rejection::invalid(format!("\"password\" {problem}"))
            .details(json!({ "field": "password", "problem": problem }))
    };
    if private { Err(refused()) } else { Ok(()) }
}

/// What a participant says of itself. `required` is what the plane's clients are told to send.
pub fn profile(fields: &Fields<'_>, required: &[&str]) -> Result<Profile, Rejection> {
    let mut texts = Vec::with_capacity(3);
    for field in ["nickname", "model", "endpoint"] {
        texts.extend(fields.text(field, MAX_TEXT)?.filter(|text| !text.trim().is_empty()));
    }
    let Ok([nickname, model, endpoint]) = <[String; 3]>::try_from(texts) else {
        let message = format!("Missing required fields: {}", required.join(", "));
        return Err(Rejection::invalid(message).details(json!({ "required": required })));
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
fn check_endpoint(endpoint: &str) -> Result<(), Rejection> {
    let host = endpoint.strip_prefix("http://").or_else(|| endpoint.strip_prefix("https://"));
    let host = host.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    let clean = !endpoint.contains(|c: char| c.is_control() || c.is_whitespace());
    if clean && !host.is_empty() && !host.starts_with(':') {
        return Ok(());
    }
    let problem = "must be an absolute http or https URL";
    Err(Rejection::invalid(format!("\"endpoint\" {problem}"))
        .hint("For example http://localhost:11434")
        .details(json!({ "field": "endpoint", "problem": problem })))
}

/// Registers a participant, or renews its registration.
pub fn register(
    hub: &HubContext,
    exchange: &Exchange<'_>,
    code: &str,
    (id, profile, reach): (ParticipantId, Profile, Reach),
) -> Result<Upserted, Rejection> {
    let proof = proof(hub, exchange);
    let new = Registering { id, profile, reach, proof, owner: Some(owner(hub, exchange)) };
    hub.try_change(|registry, now| registry.upsert(code, new, now, &mut random)).map_err(|error| {
        match (error, proof.token) {
            (NotRegistered::NotTheirs, Some(token)) => wrong_token(hub, exchange, code, token, error.into()),
            _ => error.into(),
        }
    })
}

/// Checks the password that a request gives, if the room has one.
pub fn check_password(
    hub: &HubContext,
    exchange: &Exchange<'_>,
    fields: &Fields<'_>,
    code: &str,
    password: Option<&Password>,
) -> Result<(), Rejection> {
    let given = fields.text("password", MAX_PASSWORD)?;
    let Some(password) = password else { return Ok(()) };
    check_joining(hub, exchange, code, password, given.as_deref())
}

/// A participant id that is none.
pub fn bad_id() -> Rejection {
    Rejection::invalid(
        "The participant id must be 1 to 128 bytes of printable text without \"/\", and not \".\" or \"..\"",
    )
}

impl From<NotRegistered> for Rejection {
    fn from(error: NotRegistered) -> Self {
        match error {
            NotRegistered::Missing(missing) => missing.into(),
            NotRegistered::NotTheirs => not_theirs(),
            NotRegistered::Full => full(),
            NotRegistered::Taken => {
                let message = "Another participant that is up has this id already";
                Rejection::new(ErrorCode::ParticipantConflict, message)
                    .hint("Choose another id, or wait until it is gone.")
            }
        }
    }
}

/// Takes a participant out of its room.
pub fn remove(hub: &HubContext, exchange: &Exchange<'_>, code: &str, id: &str) -> Result<(), Rejection> {
    let removed = speak_for(hub, exchange, code, id, |registry, now| registry.remove(code, id, now))?;
    hub.forget(removed.serial, "The participant was removed");
    Ok(())
}

/// Takes a participant's heartbeat.
pub fn heartbeat(hub: &HubContext, exchange: &Exchange<'_>, code: &str, id: &str) -> Result<Heartbeat, Rejection> {
    speak_for(hub, exchange, code, id, |registry, now| registry.heartbeat(code, id, now))
}

/// Lets a request into a private room that is about one participant: with that participant's token, or the room's
/// password. Whoever has neither is told the same whether or not there is such a participant.
pub fn check_inside(hub: &HubContext, exchange: &Exchange<'_>, code: &str, id: &str) -> Result<(), Rejection> {
    let Some(password) = private(hub, code) else { return Ok(()) };
    let proof = proof(hub, exchange);
    if hub.registry().is_own(code, id, proof) {
        return Ok(());
    }
    match proof.token {
        Some(token) if !shows_password(hub, exchange) => {
            Err(wrong_token(hub, exchange, code, token, room_is_private(hub)))
        }
        _ => check_room(hub, exchange, code, &password),
    }
}

/// Makes a change that only the participant itself may make.
fn speak_for<T>(
    hub: &HubContext,
    exchange: &Exchange<'_>,
    code: &str,
    id: &str,
    change: impl FnOnce(&mut Registry, Now) -> Result<(T, Vec<Event>), Missing>,
) -> Result<T, Rejection> {
    check_inside(hub, exchange, code, id)?;
    let proof = proof(hub, exchange);
    let proven = hub.try_change(|registry, now| {
        registry.prove(code, id, proof)?;
        Ok::<_, Denied>(change(registry, now)?)
    });
    proven.map_err(|denied| match (denied, proof.token) {
        (Denied::NotTheirs, Some(token)) => wrong_token(hub, exchange, code, token, denied.into()),
        _ => denied.into(),
    })
}

/// Deletes a room for its host, who is named in a header or in the body.
pub fn delete_room(hub: &HubContext, exchange: &mut Exchange<'_>, code: &str) -> Result<(), Rejection> {
    let mut host_id = exchange.header("x-gambi-host-id").map(str::to_owned);
    let body = exchange.body()?;
    if host_id.is_none()
        && let Ok(Value::Object(body)) = serde_json::from_slice(&body)
    {
        host_id = body.get("hostId").and_then(Value::as_str).map(str::to_owned);
    }
    let host_id = host_id.unwrap_or_default();
    match hub.try_change(|registry, now| registry.delete_room(code, &host_id, now)) {
        Ok(deleted) => {
            hub.clear_away(&deleted);
            Ok(())
        }
        Err(NotDeleted::Missing) => Err(Missing::Room.into()),
        Err(NotDeleted::NotHost) => {
            let message = "Only the room's host may delete it";
            let hint = "Send the hostId that making the room returned, in X-Gambi-Host-Id or in the body.";
            Err(Rejection::new(ErrorCode::InvalidPassword, message).status(403).hint(hint))
        }
    }
}

/// Reads a body that must be a JSON object.
pub fn read_object(exchange: &mut Exchange<'_>) -> Result<Map<String, Value>, Rejection> {
    let body = exchange.body()?;
    match serde_json::from_slice(&body) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(Rejection::invalid("The request body must be a JSON object")),
        Err(error) => Err(Rejection::invalid(format!("The request body is not valid JSON: {error}"))),
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
