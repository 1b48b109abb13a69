//! `gambi discover`, and what `--hub auto` stands for.

#[cfg(feature = "mdns")]
use std::time::Duration;

use super::context::Context;
use super::failure::Failure;

/// How long announcements are listened for.
#[cfg(feature = "mdns")]
const LISTEN: Duration = Duration::from_secs(2);

/// Lists the hubs of the network and their rooms.
#[cfg(feature = "mdns")]
pub fn discover(context: &Context<'_>) -> Result<(), Failure> {
    use gambi::client::Client;
    use gambi::discovery::discover_hubs;
    use serde_json::json;

    use super::output::table;

    let listen = context.time("timeout")?.unwrap_or(LISTEN);
    let hubs = context.out.while_waiting("Looking for hubs...", || discover_hubs(listen))?;
    let rooms = |url: &str| Client::new(url).and_then(|client| client.rooms().list()).unwrap_or_default();
    let hubs: Vec<_> = hubs.into_iter().map(|hub| (rooms(&hub.url), hub)).collect();
    let values: Vec<_> = hubs
        .iter()
        .map(|(rooms, hub)| json!({ "name": hub.name, "hubUrl": hub.url, "addresses": hub.addresses, "rooms": rooms }))
        .collect();
    context.out.list(&values, || {
        if hubs.is_empty() {
            return "No hub announces itself. `gambi hub serve --mdns` starts one that does.".to_owned();
        }
        let mut rows = Vec::new();
        for (rooms, hub) in &hubs {
            if rooms.is_empty() {
                rows.push(vec![hub.url.clone(), "-".into(), "no rooms".into()]);
            }
            rows.extend(rooms.iter().map(|room| vec![hub.url.clone(), room.code.clone(), room.name.clone()]));
        }
        table(&["HUB", "CODE", "ROOM"], &rows)
    })
}

/// The hub of the network: the one that has the room, where a room is named, or the only one.
#[cfg(feature = "mdns")]
pub fn auto(context: &Context<'_>, room: Option<&str>) -> Result<String, Failure> {
    use gambi::discovery::{discover_hubs, resolve_target};

    let out = &context.out;
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
pub fn discover(_: &Context<'_>) -> Result<(), Failure> {
    Err(without())
}

#[cfg(not(feature = "mdns"))]
pub fn auto(_: &Context<'_>, _: Option<&str>) -> Result<String, Failure> {
    Err(without())
}

#[cfg(not(feature = "mdns"))]
fn without() -> Failure {
    Failure::usage("this gambi was built without mDNS").hint("Name the hub with --hub URL.")
}
