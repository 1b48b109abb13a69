//! What a request must bring before its handler sees it: the hub's key, a private room's password, and an origin that may
//! use the hub. How each is checked is told elsewhere.

pub mod auth;
pub mod client_info;
pub mod credentials;
pub mod origin_policy;
pub mod throttle;

use crate::http::{Exchange, Method};
use crate::hub::access::client_info::origin;
use crate::hub::access::credentials::{check_key, check_room};
use crate::hub::access::origin_policy::Asked;
use crate::hub::context::HubContext;
use crate::hub::respond::Rejection;
use crate::state::room::Password;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody, from whatever page: it tells nothing.
    Open,
    /// As `Open`; an answer that browsers show as a page of the hub's own, by the rules that it brings along.
    Page,
    /// Whoever has the token that its handler asks for.
    Token,
    /// Whoever has the hub's key, where there is one.
    Hub,
    /// As `Hub`; of a private room, whoever has its password.
    Room,
    /// As `Hub`; of a private room, whoever has its password or the participant's token, which its handler checks.
    Participant,
}

/// Lets a request pass, or says why not. `room` is the code in its path.
///
/// # Errors
/// 401, 403, 429.
pub fn pass(hub: &HubContext, exchange: &Exchange<'_>, access: Access, room: Option<&str>) -> Result<(), Rejection> {
    if let Some(origin_policy) = &hub.origin_policy
        && !matches!(access, Access::Open | Access::Page)
    {
        origin_policy.check(Asked {
            host: origin(exchange, &hub.trusted_proxies).host,
            origin: exchange.header("origin"),
            site: exchange.header("sec-fetch-site"),
            changes: !matches!(exchange.method(), Method::Get | Method::Head | Method::Options),
        })?;
    }
    match access {
        Access::Open | Access::Page | Access::Token => Ok(()),
        Access::Hub => check_key(hub, exchange),
        // Somebody who was told a room's password was let in by somebody who has the key.
        Access::Room | Access::Participant => match room.and_then(|code| Some((code, private(hub, code)?))) {
            Some(_) if access == Access::Participant => Ok(()),
            Some((code, password)) => check_room(hub, exchange, code, &password),
            None => check_key(hub, exchange),
        },
    }
}

/// The password of a room, if it is private.
pub fn private(hub: &HubContext, code: &str) -> Option<Password> {
    let registry = hub.registry();
    registry.room(code).ok().filter(|room| room.private)?.password.clone()
}
