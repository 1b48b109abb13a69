//! `gambi discover`: lists the hubs that announce themselves by mDNS, and their rooms.

use super::context::Context;
use super::failure::Failure;

/// Lists the hubs that answer within `--timeout`. A hub whose rooms cannot be listed is shown without rooms.
#[cfg(feature = "mdns")]
pub fn discover(context: &Context<'_>) -> Result<(), Failure> {
    use gambi::client::Client;
    use gambi::discovery::discover_hubs;
    use serde_json::json;

    use super::find_hub::LISTEN;
    use super::output::table;

    let listen = context.time("timeout")?.unwrap_or(LISTEN);
    let hubs = context.out.while_waiting("Looking for hubs...", || discover_hubs(listen))?;
    let rooms = |url: &str| Client::new(url).and_then(|client| client.rooms().list()).unwrap_or_default();
    let hubs: Vec<_> = hubs.into_iter().map(|hub| (rooms(&hub.url), hub)).collect();
    let values: Vec<_> = hubs
        .iter()
        .map(|(rooms, hub)| json!({ "name": hub.name, "hubUrl": hub.url, "addresses": hub.addresses, "rooms": rooms }))
        .collect();
    context.out.result(&values, None, || {
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

#[cfg(not(feature = "mdns"))]
pub fn discover(_: &Context<'_>) -> Result<(), Failure> {
    Err(super::find_hub::built_without_mdns())
}
