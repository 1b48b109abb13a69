//! Access control: what a request must present before its handler runs. Covers the hub's key and people's own, the password of
//! a private room, and the origin of browser requests. Each check is implemented in its own module.

pub mod auth;
pub mod caller;
pub mod client_info;
pub mod credentials;
mod hash_queue;
pub mod key_ring;
pub mod keys;
pub mod origin_policy;
pub mod own_url;
pub mod throttle;

use crate::http::{Exchange, Method};
use crate::hub::access::client_info::client_info;
use crate::hub::access::credentials::{check_hub, check_key, check_room, key_holder};
use crate::hub::access::origin_policy::RequestOrigin;
use crate::hub::context::HubContext;
use crate::hub::respond::Rejection;
use crate::state::room::Password;

/// The credentials that a route requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// None, from any web page: the response holds nothing confidential.
    Open,
    /// None. The response is a page of the hub itself, with its own security headers.
    Page,
    /// The token that the handler checks.
    Token,
    /// The hub's key, if the hub has one; a person's key where it is an administrator's, or only reads a room that it opens.
    Hub,
    /// The hub's key, if the hub has one, or any person's key. The handler shows only what that key opens.
    List,
    /// The hub's key, if the hub has one, or a person's key that opens the room; in a private room, the room's password or
    /// such a person's key.
    Room,
    /// The hub's key, if the hub has one, or a person's key that opens the room. The handler checks the room's password.
    Join,
    /// As `Join`; in a private room, the room's password or the participant's token instead. The handler checks both.
    Participant,
}

/// Checks a request against the access rule of its route. `room` is the room code in its path.
///
/// # Errors
/// 401 for a missing or wrong secret, 403 for a disallowed origin, 429 for too many wrong secrets.
pub fn authorize(
    hub: &HubContext,
    exchange: &Exchange<'_>,
    access: Access,
    room: Option<&str>,
) -> Result<(), Rejection> {
    if !matches!(access, Access::Open | Access::Page) {
        check_origin(hub, exchange)?;
    }
    match access {
        Access::Open | Access::Page | Access::Token => Ok(()),
        Access::Hub => check_hub(hub, exchange, room),
        Access::Join => check_key(hub, exchange, room),
        Access::List if key_holder(hub, exchange).is_some() => Ok(()),
        Access::List => check_key(hub, exchange, None),
        // A room's password implies access to the hub: only a holder of the key could create the room and share it.
        Access::Room | Access::Participant => match room.and_then(|code| Some((code, private_password(hub, code)?))) {
            Some(_) if access == Access::Participant => Ok(()),
            Some((code, password)) => check_room(hub, exchange, code, &password),
            None => check_key(hub, exchange, room),
        },
    }
}

/// Checks the page that sent a request, if the hub has no key.
fn check_origin(hub: &HubContext, exchange: &Exchange<'_>) -> Result<(), Rejection> {
    let Some(origin_policy) = &hub.origin_policy else { return Ok(()) };
    origin_policy.check(RequestOrigin {
        host: client_info(exchange, &hub.trusted_proxies).host,
        origin: exchange.header("origin"),
        fetch_site: exchange.header("sec-fetch-site"),
        mutating: !matches!(exchange.method(), Method::Get | Method::Head | Method::Options),
    })
}

/// Whether the page that sent a request may use this hub.
pub fn origin_is_allowed(hub: &HubContext, exchange: &Exchange<'_>) -> bool {
    check_origin(hub, exchange).is_ok()
}

/// The password of a private room. `None` for a public or unknown room.
pub fn private_password(hub: &HubContext, code: &str) -> Option<Password> {
    let registry = hub.registry();
    registry.room(code).ok().filter(|room| room.private)?.password.clone()
}
