//! What requests show: the hub's key, a room's password, a participant's token. Checked here, with those who guess made
//! to wait. Which request needs which is `gate`'s and its handler's business.

use std::cell::Cell;
use std::net::IpAddr;

use crate::http::{Exchange, network_of};
use crate::hub::access::auth::HashFailed;
use crate::hub::access::client_info::origin;
use crate::hub::context::HubContext;
use crate::hub::respond::Rejection;
use crate::proto::management::{ErrorCode, PARTICIPANT_TOKEN, ROOM_PASSWORD};
use crate::state::registry::Proof;
use crate::state::room::Password;

/// Where guesses at the hub's key are counted; no room is called so.
const KEY: &str = "key";

/// What a request shows as OpenAI's clients show their API key, or as Anthropic's do.
fn bearer<'r>(exchange: &'r Exchange<'_>) -> Option<&'r str> {
    let bearer = exchange.header("authorization").and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    bearer.or_else(|| exchange.header("x-api-key"))
}

/// What a request shows as a private room's password. The hub's key is none.
fn shown_password<'r>(hub: &HubContext, exchange: &'r Exchange<'_>) -> Option<&'r str> {
    let is_key = |shown: &&str| hub.key.as_ref().is_some_and(|key| key.matches(shown));
    exchange.header(ROOM_PASSWORD).or_else(|| bearer(exchange).filter(|shown| !is_key(shown)))
}

/// Whether a request shows something as a private room's password.
pub fn shows_password(hub: &HubContext, exchange: &Exchange<'_>) -> bool {
    shown_password(hub, exchange).is_some()
}

fn hub_has_a_key() -> Rejection {
    Rejection::new(
        ErrorCode::InvalidPassword,
        "This hub asks for its key, and in private rooms for the room's password",
    )
    .hint("Give it as the API key, with --key-file, or as GAMBI_HUB_KEY; a password with --password-file.")
}

/// The refusal of a request about the inside of a private room. Where the hub has a key it is told to nobody whether a
/// room is private, or there at all.
pub fn room_is_private(hub: &HubContext) -> Rejection {
    if hub.key.is_some() {
        return hub_has_a_key();
    }
    Rejection::new(ErrorCode::InvalidPassword, "This room is private: its password is missing or wrong")
        .hint("Give it as the API key, with --password-file, or as GAMBI_ROOM_PASSWORD.")
}

/// Checks that a request shows the hub's key, if the hub has one.
pub fn check_key(hub: &HubContext, exchange: &Exchange<'_>) -> Result<(), Rejection> {
    let Some(key) = &hub.key else { return Ok(()) };
    let Some(shown) = bearer(exchange) else { return Err(hub_has_a_key()) };
    attempt(hub, client(hub, exchange), KEY, shown, |_| Ok(key.matches(shown)), hub_has_a_key)
}

/// Checks that a request shows the password of a private room.
pub fn check_room(hub: &HubContext, exchange: &Exchange<'_>, code: &str, password: &Password) -> Result<(), Rejection> {
    let refused = || room_is_private(hub);
    let shown = shown_password(hub, exchange).ok_or_else(refused)?;
    let client = client(hub, exchange);
    let right = |in_vain: &dyn Fn() -> bool| hub.passwords.is_right(Some(network_of(client)), shown, password, in_vain);
    attempt(hub, client, &code.to_ascii_uppercase(), shown, right, refused)
}

/// Checks a password that a request holds for joining a room.
pub fn check_joining(
    hub: &HubContext,
    exchange: &Exchange<'_>,
    code: &str,
    password: &Password,
    given: Option<&str>,
) -> Result<(), Rejection> {
    let refused = || {
        Rejection::new(ErrorCode::InvalidPassword, "Invalid password")
            .hint("Ask the room's host for its password, and give it with --password.")
    };
    let given = given.ok_or_else(refused)?;
    let client = client(hub, exchange);
    let right = |in_vain: &dyn Fn() -> bool| hub.passwords.is_right(Some(network_of(client)), given, password, in_vain);
    attempt(hub, client, &code.to_ascii_uppercase(), given, right, refused)
}

/// What a request shows to speak for a participant.
pub fn proof<'r>(hub: &HubContext, exchange: &'r Exchange<'_>) -> Proof<'r> {
    Proof { token: exchange.header(PARTICIPANT_TOKEN), demanded: hub.strict }
}

/// Notes that a request showed a wrong token, and gives back its refusal, or the one that tells it to wait. A token
/// can't be guessed in a lifetime, so a right one never waits: else whoever shares an address with a participant could
/// keep it from its own heartbeats.
pub fn wrong_token(
    hub: &HubContext,
    exchange: &Exchange<'_>,
    code: &str,
    token: &str,
    refused: Rejection,
) -> Rejection {
    let (client, now) = (client(hub, exchange), hub.clock.now().mono);
    let place = format!("{} token", code.to_ascii_uppercase());
    let wait = hub.throttle.wait(client, &place, token, now);
    hub.throttle.wrong(client, &place, token, now);
    wait.map_or(refused, too_many)
}

fn client(hub: &HubContext, exchange: &Exchange<'_>) -> IpAddr {
    origin(exchange, &hub.trusted_proxies).client
}

/// Lets a client try a secret, unless it has to wait: when it comes, and again once it is known whether it is right, for
/// others may have been wrong meanwhile. `is_right` is given a way to find that out before it does what is costly.
fn attempt(
    hub: &HubContext,
    client: IpAddr,
    place: &str,
    given: &str,
    is_right: impl FnOnce(&dyn Fn() -> bool) -> Result<bool, HashFailed>,
    refused: impl FnOnce() -> Rejection,
) -> Result<(), Rejection> {
    let now = || hub.clock.now().mono;
    let wait = || hub.throttle.wait(client, place, given, now());
    if let Some(seconds) = wait() {
        return Err(too_many(seconds));
    }
    let in_vain = Cell::new(None);
    let right = is_right(&|| {
        in_vain.set(wait());
        in_vain.get().is_some()
    })?;
    if let Some(seconds) = in_vain.get() {
        return Err(too_many(seconds));
    }
    match hub.throttle.resolve_client(client, place, given, right, now()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(refused()),
        Err(seconds) => Err(too_many(seconds)),
    }
}

impl From<HashFailed> for Rejection {
    fn from(failed: HashFailed) -> Self {
        Rejection::new(ErrorCode::InternalError, failed.to_string()).status(503).retry_after(1)
    }
}

fn too_many(seconds: u32) -> Rejection {
    let message = format!("Too many wrong guesses: try again in {seconds} s");
    Rejection::new(ErrorCode::InvalidPassword, message).status(429).retry_after(seconds)
}
