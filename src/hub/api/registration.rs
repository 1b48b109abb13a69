//! Creation, registration, heartbeat and removal of rooms and participants, shared by the management and the legacy plane.
//! Each plane formats the results itself.

use std::net::IpAddr;

use serde_json::json;

use crate::http::{Exchange, network_of};
use crate::hub::access::client_info::client_address;
use crate::hub::access::credentials::{
    check_joining, check_room_password, has_room_password, participant_proof, password_required, wrong_token,
};
use crate::hub::access::private_password;
use crate::hub::context::HubContext;
use crate::hub::observe::log::settings::LogLevel;
use crate::hub::random::random;
use crate::hub::respond::{Rejection, token_required};
use crate::proto::management::{
    ErrorCode, Heartbeat, HeartbeatBody, MAX_CONCURRENCY, MAX_MODELS, MAX_WEIGHT, RoomSummary, RuntimeConfig,
};
use crate::proto::names::PARTICIPANT_ID;
use crate::proto::openai::Members;
use crate::proto::web::{fits_a_header, without_scheme};
use crate::state::Now;
use crate::state::config::{FieldError, Fields, MAX_PASSWORD, MAX_TEXT, MAX_TEXTS};
use crate::state::event::Event;
use crate::state::id::ParticipantId;
use crate::state::models::Models;
use crate::state::registry::{Denied, Missing, NewRoom, NotDeleted, NotRegistered, Registering, Registry, Upserted};
use crate::state::room::{Password, Profile, Reach};

/// Creates a room from the fields of a request. A hub that drains takes none: it would be gone in a moment.
pub fn create_room(hub: &HubContext, exchange: &Exchange<'_>, fields: &Fields<'_>) -> Result<RoomSummary, Rejection> {
    let _active = hub.drain.admit()?;
    let name = fields.text("name", MAX_TEXT)?.filter(|name| !name.trim().is_empty());
    let name = name.ok_or_else(|| {
        Rejection::invalid("Name is required")
            .hint("Send the room's name in \"name\" (--name on the command line).")
            .details(json!({ "required": ["name"] }))
    })?;
    let bad_defaults = |error| Rejection::from(error).v1_message("Invalid room defaults.");
    let defaults = fields.config("defaults").map_err(bad_defaults)?;
    let password = fields.text("password", MAX_PASSWORD)?.filter(|password| !password.is_empty());
    let private = fields.flag("private")?;
    check_privacy(private, password.as_deref())?;
    let owner = Some(client_network(hub, exchange));
    let password = password.map(|password| hub.passwords.hash(owner, &password)).transpose()?;
    let new = NewRoom { name, password, private, defaults, code: None, owner };
    hub.try_change(|registry, now| {
        let fits = registry.has_space(new.owner, new.weight());
        if fits { Ok(registry.create_room(new, now, &mut random)) } else { Err(registry_full()) }
    })
}

/// The network to whose quota rooms and participants count.
fn client_network(hub: &HubContext, exchange: &Exchange<'_>) -> IpAddr {
    network_of(client_address(exchange, &hub.trusted_proxies))
}

fn registry_full() -> Rejection {
    Rejection::new(
        ErrorCode::InternalError,
        "The hub cannot hold more rooms and participants, in all or from your address",
    )
    .status(503)
    .retry_after(60)
    .hint("Unused rooms and participants are removed after a while. The hub's operator can raise the limit with --registry-memory.")
}

fn check_privacy(private: bool, password: Option<&str>) -> Result<(), Rejection> {
    let problem = match password {
        _ if !private => return Ok(()),
        None => "must be given for a private room",
        Some(password) if !fits_a_header(password) => {
            "must be printable ASCII for a private room, since clients send it in a header"
        }
        Some(_) => return Ok(()),
    };
    let details = json!({ "field": "password", "problem": problem });
    Err(Rejection::invalid(format!("\"password\" {problem}")).details(details))
}

/// Reads the profile of a participant. `required` are the fields that an error lists as required on this plane;
/// `concurrency` is that of a participant that states none.
pub fn read_profile(fields: &Fields<'_>, required: &[&str], concurrency: u32) -> Result<Profile, Rejection> {
    profile(fields, concurrency).map_err(invalid_registration)?.ok_or_else(|| {
        Rejection::invalid(format!("Missing required fields: {}", required.join(", ")))
            .v1_message("Missing required fields.")
            .details(json!({ "required": required }))
    })
}

/// The rejection of a registration for one of its fields.
fn invalid_registration(error: FieldError) -> Rejection {
    Rejection::from(error).v1_message("Invalid participant registration.")
}

/// The profile in the fields of a registration; `None` where a required one is missing.
fn profile(fields: &Fields<'_>, concurrency: u32) -> Result<Option<Profile>, FieldError> {
    let mut texts = Vec::with_capacity(3);
    for field in ["nickname", "model", "endpoint"] {
        texts.extend(fields.text(field, MAX_TEXT)?.filter(|text| !text.trim().is_empty()));
    }
    let Ok([nickname, model, endpoint]) = <[String; 3]>::try_from(texts) else { return Ok(None) };
    check_endpoint(&endpoint)?;
    let models = fields.texts("models", MAX_MODELS)?.unwrap_or_default();
    if models.iter().any(|name| name.trim().is_empty()) {
        return Err(FieldError { field: "models".into(), problem: "must not hold an empty name".into() });
    }
    Ok(Some(Profile {
        nickname,
        models: Models::new(model, models),
        endpoint,
        specs: fields.specs("specs")?.unwrap_or_default(),
        config: fields.config("config")?.unwrap_or_else(RuntimeConfig::default),
        capabilities: fields.capabilities("capabilities")?.unwrap_or_default(),
        aliases: fields.texts("aliases", MAX_TEXTS)?.unwrap_or_default(),
        concurrency: fields.count("concurrency", 1, MAX_CONCURRENCY)?.unwrap_or(concurrency),
        weight: fields.count("weight", 1, MAX_WEIGHT)?.unwrap_or(1),
        fallback: fields.flag("fallback")?,
    }))
}

/// The models in memory, in the fields of a registration or a heartbeat.
pub fn read_loaded(fields: &Fields<'_>) -> Result<Option<Vec<String>>, Rejection> {
    fields.texts("loaded", MAX_MODELS).map_err(invalid_registration)
}

/// Checks that an endpoint is an absolute http or https URL, without credentials: the hub shows the endpoint of every
/// participant, also of tunnelled ones, which it never calls.
fn check_endpoint(endpoint: &str) -> Result<(), FieldError> {
    let host = without_scheme(endpoint).and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    if host.contains('@') {
        let problem = "must not hold a user name or password (\"@\" before the host)".into();
        return Err(FieldError { field: "endpoint".into(), problem });
    }
    let is_printable = !endpoint.contains(|c: char| c.is_control() || c.is_whitespace());
    if is_printable && !host.is_empty() && !host.starts_with(':') {
        return Ok(());
    }
    let problem = "must be an absolute http or https URL, for example http://localhost:11434".into();
    Err(FieldError { field: "endpoint".into(), problem })
}

/// Registers a participant, or renews its registration, unless the hub drains. Counts a wrong participant token.
pub fn register(
    hub: &HubContext,
    exchange: &Exchange<'_>,
    code: &str,
    id: ParticipantId,
    profile: Profile,
    loaded: Option<Vec<String>>,
    reach: Reach,
) -> Result<Upserted, Rejection> {
    let _active = hub.drain.admit()?;
    let proof = participant_proof(hub, exchange);
    let new = Registering { id, profile, loaded, reach, proof, owner: Some(client_network(hub, exchange)) };
    hub.try_change(|registry, now| registry.upsert(code, new, now, &mut random)).map_err(|error| {
        match (error, proof.token) {
            (NotRegistered::NotTheirs, Some(token)) => wrong_token(hub, exchange, code, token, error.into()),
            _ => error.into(),
        }
    })
}

/// Checks the `password` field of a request against the password of the room, if the room has one.
pub fn check_password(
    hub: &HubContext,
    exchange: &Exchange<'_>,
    fields: &Fields<'_>,
    code: &str,
    password: Option<&Password>,
) -> Result<(), Rejection> {
    let given = fields.text("password", MAX_PASSWORD).map_err(invalid_registration)?;
    let Some(password) = password else { return Ok(()) };
    check_joining(hub, exchange, code, password, given.as_deref())
}

/// The rejection of a malformed participant id.
pub fn invalid_participant_id() -> Rejection {
    Rejection::invalid(format!("The participant id {PARTICIPANT_ID}"))
}

impl From<NotRegistered> for Rejection {
    fn from(error: NotRegistered) -> Self {
        match error {
            NotRegistered::Missing(missing) => missing.into(),
            NotRegistered::NotTheirs => token_required(),
            NotRegistered::Full => registry_full(),
            NotRegistered::Taken => {
                let message = "Another participant with this id is online";
                Rejection::new(ErrorCode::ParticipantConflict, message)
                    .hint("Choose another id, or wait until that participant is offline.")
            }
        }
    }
}

/// Removes a participant from its room, and closes its tunnel.
pub fn remove(hub: &HubContext, exchange: &Exchange<'_>, code: &str, id: &str) -> Result<(), Rejection> {
    let removed = change_as_participant(hub, exchange, code, id, |registry, now| registry.remove(code, id, now))?;
    hub.forget(&[removed.serial], "The participant was removed");
    Ok(())
}

/// Reads the body of a heartbeat. Older participants send none, and what is no object says nothing.
pub fn read_report(body: &[u8]) -> Result<HeartbeatBody, Rejection> {
    let Ok(body) = Members::parse(body) else { return Ok(HeartbeatBody::default()) };
    let fields = Fields::of(body);
    let flag = |name: &str| fields.get(name).map(|_| fields.flag(name).map_err(invalid_registration)).transpose();
    Ok(HeartbeatBody {
        loaded: read_loaded(&fields)?,
        provider_down: flag("providerDown")?,
        draining: flag("draining")?,
    })
}

/// Records a participant's heartbeat, and what it reports.
pub fn heartbeat(
    hub: &HubContext,
    exchange: &Exchange<'_>,
    code: &str,
    id: &str,
    report: &HeartbeatBody,
) -> Result<Heartbeat, Rejection> {
    let (mut was_down, mut was_draining) = (false, false);
    let beat = change_as_participant(hub, exchange, code, id, |registry, now| {
        (was_down, was_draining) = registry.reported(code, id);
        registry.heartbeat(code, id, report, now)
    })?;
    if let Some(is_down) = report.provider_down.filter(|&is_down| is_down != was_down) {
        let about = if is_down { "provider_down" } else { "provider_up" };
        log_report(hub, code, id, if is_down { LogLevel::Warn } else { LogLevel::Info }, about);
    }
    if report.draining == Some(true) && !was_draining {
        log_report(hub, code, id, LogLevel::Info, "draining");
    }
    Ok(beat)
}

/// Logs what a participant has newly reported.
fn log_report(hub: &HubContext, code: &str, id: &str, level: LogLevel, about: &'static str) {
    hub.log_line(level, about, |line| {
        line.text("participant", id);
        line.text("room", &code.to_uppercase());
    });
}

/// Checks that a request about a participant of a private room holds the participant's token or the room's password. The
/// rejection does not reveal whether the participant exists. Requests to other rooms pass.
pub fn check_private_access(hub: &HubContext, exchange: &Exchange<'_>, code: &str, id: &str) -> Result<(), Rejection> {
    let Some(password) = private_password(hub, code) else { return Ok(()) };
    let proof = participant_proof(hub, exchange);
    if hub.registry().is_own(code, id, proof) {
        return Ok(());
    }
    match proof.token {
        Some(token) if !has_room_password(hub, exchange) => {
            Err(wrong_token(hub, exchange, code, token, password_required(hub, exchange, code)))
        }
        _ => check_room_password(hub, exchange, code, &password),
    }
}

/// Applies a change that only the participant itself may make.
fn change_as_participant<T>(
    hub: &HubContext,
    exchange: &Exchange<'_>,
    code: &str,
    id: &str,
    change: impl FnOnce(&mut Registry, Now) -> Result<(T, Vec<Event>), Missing>,
) -> Result<T, Rejection> {
    check_private_access(hub, exchange, code, id)?;
    let proof = participant_proof(hub, exchange);
    let changed = hub.try_change(|registry, now| {
        registry.prove(code, id, proof)?;
        Ok::<_, Denied>(change(registry, now)?)
    });
    changed.map_err(|denied| match (denied, proof.token) {
        (Denied::NotTheirs, Some(token)) => wrong_token(hub, exchange, code, token, denied.into()),
        _ => denied.into(),
    })
}

/// Deletes a room. The request must hold the room's `hostId` in a header or in its body.
pub fn delete_room(hub: &HubContext, exchange: &mut Exchange<'_>, code: &str) -> Result<(), Rejection> {
    let mut host_id = exchange.header("x-gambi-host-id").map(str::to_owned);
    let body = exchange.body()?;
    if host_id.is_none()
        && let Ok(body) = Members::parse(&body)
    {
        host_id = Fields::of(body).text("hostId", MAX_TEXT).unwrap_or_default();
    }
    let host_id = host_id.unwrap_or_default();
    match hub.try_change(|registry, now| registry.delete_room(code, &host_id, now)) {
        Ok(deleted) => {
            hub.forget_room(&deleted);
            Ok(())
        }
        Err(NotDeleted::Missing) => Err(Missing::Room.into()),
        Err(NotDeleted::NotHost) => {
            let message = "Only the room's host may delete it";
            let hint = "Send the hostId that creating the room returned, in X-Gambi-Host-Id or in the body.";
            Err(Rejection::new(ErrorCode::InvalidPassword, message).status(403).hint(hint))
        }
    }
}

/// Takes a body apart, which must be a JSON object.
pub fn read_fields(body: &[u8]) -> Result<Fields<'_>, Rejection> {
    Members::parse(body).map(Fields::of).map_err(|error| {
        let details = json!({ "cause": error.message });
        Rejection::from(error)
            .v1_message("Invalid JSON body.")
            .hint("Send one JSON object, in UTF-8 and with its keys in double quotes.")
            .details(details)
    })
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
        for bad in ["http://user@10.0.0.1", "http://user:pw@10.0.0.1/"] {
            assert!(check_endpoint(bad).unwrap_err().problem.contains("user name"), "{bad}");
        }
        assert!(check_endpoint("http://10.0.0.1/@home").is_ok());
    }
}
