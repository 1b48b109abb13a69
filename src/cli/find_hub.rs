//! Finds the hub that `--hub auto` stands for, by mDNS.

#[cfg(feature = "mdns")]
use std::time::Duration;

use super::failure::Failure;
use super::output::Output;

/// How long to listen for mDNS announcements.
#[cfg(feature = "mdns")]
pub const LISTEN: Duration = Duration::from_secs(2);

/// The URL of the hub that has the room or, if no room is given, of the only hub on the network.
///
/// # Errors
/// When no hub is found, or several are and no room tells them apart.
#[cfg(feature = "mdns")]
pub fn find_hub(out: &Output, room: Option<&str>) -> Result<String, Failure> {
    use gambi::discovery::{discover_hubs, resolve_target};

    if let Some(room) = room {
        return Ok(out.while_waiting("Looking for the room...", || resolve_target(room, LISTEN))?.hub.url);
    }
    let hubs = out.while_waiting("Looking for hubs...", || discover_hubs(LISTEN))?;
    match hubs.as_slice() {
        [] => Err(gambi::Error::NoHub.into()),
        [one] => Ok(one.url.clone()),
        several => {
            let urls: Vec<_> = several.iter().map(|hub| hub.url.as_str()).collect();
            Err(Failure::usage("several hubs were found").hint(format!("Name one with --hub: {}.", urls.join(", "))))
        }
    }
}

#[cfg(not(feature = "mdns"))]
pub fn find_hub(_: &Output, _: Option<&str>) -> Result<String, Failure> {
    Err(built_without_mdns())
}

#[cfg(not(feature = "mdns"))]
pub fn built_without_mdns() -> Failure {
    Failure::usage("this gambi was built without mDNS").hint("Name the hub with --hub URL.")
}
