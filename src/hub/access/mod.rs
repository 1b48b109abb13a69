//! What a request must bring before its handler sees it: the hub's key, a private room's password, and an origin that may
//! change things. How each is checked is told elsewhere.

pub mod auth;
pub mod client_info;
pub mod credentials;
pub mod origin_policy;
pub mod throttle;

use crate::http::{Exchange, Method};
use crate::hub::access::client_info::origin;
use crate::hub::access::credentials::{check_key, check_room};
use crate::hub::context::Shared;
use crate::hub::respond::Refused;
use crate::state::room::Password;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody: it tells nothing, or asks for a token of its own.
    Open,
    /// Whoever has the hub's key, where there is one.
    Hub,
    /// As `Hub`; of a private room, whoever has its password.
    Room,
}

/// Lets a request pass, or says why not. `room` is the code in its path.
///
/// # Errors
/// 401, 403, 429.
pub fn pass(shared: &Shared, exchange: &Exchange<'_>, access: Access, room: Option<&str>) -> Result<(), Refused> {
    if let Some(sites) = &shared.sites
        && !matches!(exchange.method(), Method::Get | Method::Head | Method::Options)
    {
        sites.check(origin(exchange, &shared.trusted).host, exchange.header("origin"))?;
    }
    match access {
        Access::Open => Ok(()),
        Access::Hub => check_key(shared, exchange),
        // Somebody who was told a room's password was let in by somebody who has the key.
        Access::Room => match private(shared, room) {
            Some((code, password)) => check_room(shared, exchange, code, &password),
            None => check_key(shared, exchange),
        },
    }
}

fn private<'c>(shared: &Shared, room: Option<&'c str>) -> Option<(&'c str, Password)> {
    let code = room?;
    let registry = shared.registry();
    let room = registry.room(code).ok().filter(|room| room.private)?;
    room.password.clone().map(|password| (code, password))
}
