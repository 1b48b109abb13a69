//! What both management planes ask of rooms and participants before they let them in. In which words they refuse is each
//! plane's own business.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Map, Value, json};

use super::answer::Refused;
use super::auth::HashFailed;
use super::shared::{Shared, random};
use crate::http::Exchange;
use crate::proto::management::{ErrorCode, MAX_CONCURRENCY, RoomSummary, RuntimeConfig};
use crate::state::config::{Fields, MAX_PASSWORD, MAX_TEXT};
use crate::state::registry::{Missing, NewRoom, NotDeleted, NotRegistered};
use crate::state::room::Profile;

/// Makes a room out of a request's fields.
pub fn new_room(shared: &Shared, fields: &Fields<'_>) -> Result<RoomSummary, Refused> {
    let name = fields.text("name", MAX_TEXT)?.filter(|name| !name.trim().is_empty());
    let name = name.ok_or_else(|| Refused::invalid("Name is required").details(json!({ "required": ["name"] })))?;
    let defaults = fields.config("defaults")?;
    let password = fields.text("password", MAX_PASSWORD)?.filter(|password| !password.is_empty());
    let failed = |e: HashFailed| Refused::new(ErrorCode::InternalError, e.to_string());
    let password_hash = password.map(|password| shared.hash(&password)).transpose().map_err(failed)?;
    let new = NewRoom { name, password_hash, defaults, code: None };
    Ok(shared.change(|registry, now| registry.create_room(new, now, &mut random)))
}

/// What a participant says of itself. `required` is what the plane's clients are told to send.
pub fn profile(fields: &Fields<'_>, required: &[&str]) -> Result<Profile, Refused> {
    let mut texts = Vec::with_capacity(3);
    for field in ["nickname", "model", "endpoint"] {
        texts.extend(fields.text(field, MAX_TEXT)?.filter(|text| !text.trim().is_empty()));
    }
    let Ok([nickname, model, endpoint]) = <[String; 3]>::try_from(texts) else {
        let message = format!("Missing required fields: {}", required.join(", "));
        return Err(Refused::invalid(message).details(json!({ "required": required })));
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

/// Checks the password that a request gives, if the room has one. Who has guessed wrong too often waits.
pub fn check_password(
    shared: &Shared,
    exchange: &Exchange<'_>,
    fields: &Fields<'_>,
    room: &str,
    hash: Option<&str>,
) -> Result<(), Refused> {
    let Some(hash) = hash else { return Ok(()) };
    // Of a client that is gone already the address does not matter.
    let peer = exchange.peer().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let (room, now) = (room.to_ascii_uppercase(), shared.clock.now().mono);
    if let Some(seconds) = shared.throttle.wait(peer, &room, now) {
        let message = format!("Too many wrong passwords: try again in {seconds} s");
        return Err(Refused::new(ErrorCode::InvalidPassword, message).status(429).retry_after(seconds));
    }
    let wrong = || {
        Refused::new(ErrorCode::InvalidPassword, "Invalid password")
            .hint("Ask the room's host for its password, and give it with --password.")
    };
    let password = fields.text("password", MAX_PASSWORD)?.ok_or_else(wrong)?;
    if shared.passwords.verify(&password, hash) {
        shared.throttle.right(peer, &room);
        return Ok(());
    }
    shared.throttle.wrong(peer, &room, now);
    Err(wrong())
}

/// A participant id that is none.
pub fn bad_id() -> Refused {
    Refused::invalid("The participant id must be 1 to 128 bytes of printable text without \"/\"")
}

impl From<NotRegistered> for Refused {
    fn from(error: NotRegistered) -> Self {
        match error {
            NotRegistered::Missing(missing) => missing.into(),
            NotRegistered::Taken => {
                let message = "Another participant that is up has this id already";
                Refused::new(ErrorCode::ParticipantConflict, message)
                    .hint("Choose another id, or wait until it is gone.")
            }
        }
    }
}

/// Takes a participant out of its room.
pub fn remove(shared: &Shared, code: &str, id: &str) -> Result<(), Missing> {
    let removed = shared.try_change(|registry, now| registry.remove(code, id, now))?;
    shared.forget(removed.serial, "The participant was removed");
    Ok(())
}

/// Deletes a room for its host, who is named in a header or in the body.
pub fn delete_room(shared: &Shared, exchange: &mut Exchange<'_>, code: &str) -> Result<(), Refused> {
    let mut host_id = exchange.header("x-gambi-host-id").map(str::to_owned);
    let body = exchange.body()?;
    if host_id.is_none()
        && let Ok(Value::Object(body)) = serde_json::from_slice(&body)
    {
        host_id = body.get("hostId").and_then(Value::as_str).map(str::to_owned);
    }
    let host_id = host_id.unwrap_or_default();
    match shared.try_change(|registry, now| registry.delete_room(code, &host_id, now)) {
        Ok(deleted) => {
            shared.clear_away(&deleted);
            Ok(())
        }
        Err(NotDeleted::Missing) => Err(Missing::Room.into()),
        Err(NotDeleted::NotHost) => {
            let message = "Only the room's host may delete it";
            let hint = "Send the hostId that making the room returned, in X-Gambi-Host-Id or in the body.";
            Err(Refused::new(ErrorCode::InvalidPassword, message).status(403).hint(hint))
        }
    }
}

/// Reads a body that must be a JSON object.
pub fn read_object(exchange: &mut Exchange<'_>) -> Result<Map<String, Value>, Refused> {
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
