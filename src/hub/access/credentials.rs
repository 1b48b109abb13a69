//! Checks of the secrets in a request: the hub's key, a person's key, a room's password, a participant's token. Wrong secrets are
//! throttled. Which secret a route requires is decided by [`super::authorize`] and the handlers.

use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;

use crate::http::{Exchange, Method, network_of};
use crate::hub::access::auth::HashFailed;
use crate::hub::access::client_info::client_address;
use crate::hub::access::keys::KeyHolder;
use crate::hub::context::HubContext;
use crate::hub::respond::Rejection;
use crate::proto::management::{ErrorCode, PARTICIPANT_TOKEN, ROOM_PASSWORD};
use crate::state::registry::Proof;
use crate::state::room::Password;

/// The throttle's scope for the hub's key. Differs from every room code, which is in upper case.
const KEY_SCOPE: &str = "key";

/// The API key of a request: a bearer token (OpenAI's clients) or `x-api-key` (Anthropic's).
fn api_key<'r>(exchange: &'r Exchange<'_>) -> Option<&'r str> {
    let bearer = exchange.header("authorization").and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    bearer.or_else(|| exchange.header("x-api-key"))
}

/// Whose key a request shows, if it is a person's. It is never throttled: a key is too long to be guessed, and otherwise any
/// client could block the people behind its address.
pub fn key_holder(hub: &HubContext, exchange: &Exchange<'_>) -> Option<Arc<KeyHolder>> {
    if hub.keys.is_set() { hub.keys.holder(api_key(exchange)?) } else { None }
}

/// Whether a person's key opens a room; the whole hub without one.
fn is_let_in(holder: &KeyHolder, room: Option<&str>) -> bool {
    room.map_or(holder.admin, |code| holder.opens(code))
}

/// Whether a secret is the key of a person for whom it opens a room; the whole hub without one.
fn is_key_for(hub: &HubContext, secret: &str, room: Option<&str>) -> bool {
    hub.keys.holder(secret).is_some_and(|holder| is_let_in(&holder, room))
}

/// Whether the person's key by which a request was let in to a room, or to the whole hub, still does so. Always true for a
/// request that needed none. For responses that may outlive the key.
pub fn key_watch<'h>(hub: &'h HubContext, exchange: &Exchange<'_>, room: Option<&str>) -> impl Fn() -> bool + use<'h> {
    let key = api_key(exchange).filter(|secret| is_key_for(hub, secret, room)).map(str::to_owned);
    let room = room.map(str::to_owned);
    move || key.as_ref().is_none_or(|secret| is_key_for(hub, secret, room.as_deref()))
}

/// The room password in a request: its own header, or the API key unless that is the hub's or a person's.
fn room_password<'r>(hub: &HubContext, exchange: &'r Exchange<'_>) -> Option<&'r str> {
    let is_key =
        |secret: &str| hub.key.as_ref().is_some_and(|key| key.matches(secret)) || hub.keys.holder(secret).is_some();
    exchange.header(ROOM_PASSWORD).or_else(|| api_key(exchange).filter(|secret| !is_key(secret)))
}

/// Whether a request holds something that may be a room's password.
pub fn has_room_password(hub: &HubContext, exchange: &Exchange<'_>) -> bool {
    room_password(hub, exchange).is_some()
}

/// One text for a missing or wrong key and for a missing or wrong room password: strangers must not learn which rooms
/// exist and which are private.
fn key_required() -> Rejection {
    let message = "This hub requires its key, or in a private room the room's password, and it is missing or wrong";
    Rejection::new(ErrorCode::InvalidPassword, message).hint(
        "Pass the key with --key-file or GAMBI_HUB_KEY, a room's password with --password-file or GAMBI_ROOM_PASSWORD; \
         other clients send either as their API key.",
    )
}

/// The rejection of a request to a private room without its password. On a hub with a key it does not reveal that the
/// room is private, or that it exists: people whose key does not open it are told the same of any other room.
pub fn password_required(hub: &HubContext, exchange: &Exchange<'_>, code: &str) -> Rejection {
    if let Some(holder) = key_holder(hub, exchange).filter(|holder| !holder.opens(code)) {
        return not_opened(&holder);
    }
    if hub.requires_key() {
        return key_required();
    }
    Rejection::new(ErrorCode::InvalidPassword, "This room is private: its password is missing or wrong").hint(
        "Pass the room's password with --password-file or GAMBI_ROOM_PASSWORD; other clients send it as their API key.",
    )
}

/// The rejection of a person's key. The same for rooms that are not there.
fn not_opened(holder: &KeyHolder) -> Rejection {
    Rejection::invalid(format!("The key of {} does not allow this", holder.name))
        .status(403)
        .hint("The hub's operator decides which rooms a key opens, and whether it is an administrator's.")
}

/// Checks the key in a request, if the hub requires one: its own, or a person's that opens the room.
pub fn check_key(hub: &HubContext, exchange: &Exchange<'_>, room: Option<&str>) -> Result<(), Rejection> {
    if !hub.requires_key() {
        return Ok(());
    }
    let Some(given) = api_key(exchange) else { return Err(key_required()) };
    if let Some(holder) = hub.keys.holder(given) {
        return if is_let_in(&holder, room) { Ok(()) } else { Err(not_opened(&holder)) };
    }
    let is_right = |_: &dyn Fn() -> bool| Ok(hub.key.as_ref().is_some_and(|key| key.matches(given)));
    check_secret(hub, client_address(exchange, &hub.trusted_proxies), KEY_SCOPE, given, is_right, key_required)
}

/// As [`check_key`], where a person who is no administrator may only read.
pub fn check_hub(hub: &HubContext, exchange: &Exchange<'_>, room: Option<&str>) -> Result<(), Rejection> {
    let reads = matches!(exchange.method(), Method::Get | Method::Head);
    check_key(hub, exchange, room.filter(|_| reads))
}

/// Checks the password of a private room in a request, or the key of a person that opens it.
pub fn check_room(hub: &HubContext, exchange: &Exchange<'_>, code: &str, password: &Password) -> Result<(), Rejection> {
    if key_holder(hub, exchange).is_some_and(|holder| holder.opens(code)) {
        return Ok(());
    }
    check_room_password(hub, exchange, code, password)
}

/// Checks the password of a private room in a request that acts for a participant.
pub fn check_room_password(
    hub: &HubContext,
    exchange: &Exchange<'_>,
    code: &str,
    password: &Password,
) -> Result<(), Rejection> {
    if key_holder(hub, exchange).is_some_and(|holder| holder.admin) {
        return Ok(());
    }
    let rejection = || password_required(hub, exchange, code);
    let given = room_password(hub, exchange).ok_or_else(rejection)?;
    check_password(hub, exchange, code, password, given, rejection)
}

/// Checks the password that a request gives for joining a room.
pub fn check_joining(
    hub: &HubContext,
    exchange: &Exchange<'_>,
    code: &str,
    password: &Password,
    given: Option<&str>,
) -> Result<(), Rejection> {
    let rejection = || {
        Rejection::new(ErrorCode::InvalidPassword, "Invalid password")
            .v1_message("Invalid password.")
            .hint("Ask the room's host for the password, and pass it with --password-file or GAMBI_ROOM_PASSWORD.")
    };
    let given = given.ok_or_else(rejection)?;
    check_password(hub, exchange, code, password, given, rejection)
}

fn check_password(
    hub: &HubContext,
    exchange: &Exchange<'_>,
    code: &str,
    password: &Password,
    given: &str,
    rejection: impl FnOnce() -> Rejection,
) -> Result<(), Rejection> {
    let client = client_address(exchange, &hub.trusted_proxies);
    let is_right =
        |is_moot: &dyn Fn() -> bool| hub.passwords.is_right(Some(network_of(client)), given, password, is_moot);
    check_secret(hub, client, &code.to_ascii_uppercase(), given, is_right, rejection)
}

/// The participant token in a request, and whether it is demanded: by a strict hub, and of people who are no administrators,
/// as a room's participants may be those of several people.
pub fn participant_proof<'r>(hub: &HubContext, exchange: &'r Exchange<'_>) -> Proof<'r> {
    let demanded = hub.strict || key_holder(hub, exchange).is_some_and(|holder| !holder.admin);
    Proof { token: exchange.header(PARTICIPANT_TOKEN), demanded }
}

/// Records a wrong token. Returns `rejection`, or a 429 when the client has to wait. Right tokens are never throttled: a
/// token is too long to be guessed, and otherwise any client could block the heartbeats of a participant whose address
/// it shares.
pub fn wrong_token(
    hub: &HubContext,
    exchange: &Exchange<'_>,
    code: &str,
    token: &str,
    rejection: Rejection,
) -> Rejection {
    let (client, now) = (client_address(exchange, &hub.trusted_proxies), hub.clock.now().mono);
    let scope = format!("{} token", code.to_ascii_uppercase());
    let wait = hub.throttle.wait(client, &scope, token, now);
    hub.throttle.record_failure(client, &scope, token, now);
    wait.map_or(rejection, too_many_attempts)
}

/// Checks a secret under the throttle, which is consulted before the check and again with its result, since concurrent
/// requests may have failed in between. `is_right` gets a function that repeats the first consultation, to be called
/// before costly work.
fn check_secret(
    hub: &HubContext,
    client: IpAddr,
    scope: &str,
    given: &str,
    is_right: impl FnOnce(&dyn Fn() -> bool) -> Result<bool, HashFailed>,
    rejection: impl FnOnce() -> Rejection,
) -> Result<(), Rejection> {
    let now = || hub.clock.now().mono;
    let wait = || hub.throttle.wait(client, scope, given, now());
    if let Some(seconds) = wait() {
        return Err(too_many_attempts(seconds));
    }
    let wait_again = Cell::new(None);
    let right = is_right(&|| {
        wait_again.set(wait());
        wait_again.get().is_some()
    })?;
    if let Some(seconds) = wait_again.get() {
        return Err(too_many_attempts(seconds));
    }
    match hub.throttle.record_result(client, scope, given, right, now()) {
        Ok(()) if right => Ok(()),
        Ok(()) => Err(rejection()),
        Err(seconds) => Err(too_many_attempts(seconds)),
    }
}

impl From<HashFailed> for Rejection {
    fn from(failed: HashFailed) -> Self {
        Rejection::new(ErrorCode::InternalError, failed.to_string()).status(503)
    }
}

fn too_many_attempts(seconds: u32) -> Rejection {
    let message = format!("Too many wrong secrets from this address: try again in {seconds} s");
    Rejection::new(ErrorCode::InvalidPassword, message).status(429).retry_after(seconds)
}
