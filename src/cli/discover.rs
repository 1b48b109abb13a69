//! `gambi discover`: lists the hubs that announce themselves by mDNS, and their rooms.

use super::context::Context;
use super::failure::Failure;

/// Lists the hubs that answer within `--timeout`. A hub whose rooms cannot be listed is shown with the reason.
#[cfg(feature = "mdns")]
pub fn discover(context: &Context<'_>) -> Result<(), Failure> {
    use gambi::discovery::{HubRooms, discover};
    use serde_json::json;

    use super::find_hub::LISTEN;
    use super::output::table;

    let (listen, key) = (context.time("timeout")?.unwrap_or(LISTEN), context.key()?);
    let hubs = context.out.while_waiting("Looking for hubs...", || discover(listen, key.as_deref()))?;
    let values: Vec<_> = hubs
        .iter()
        .map(|HubRooms { hub, rooms, .. }| {
            let mut value = json!({ "name": hub.name, "hubUrl": hub.url, "addresses": hub.addresses, "rooms": [] });
            if let Some(fingerprint) = hub.fingerprint {
                value["fingerprint"] = json!(fingerprint.to_string());
            }
            match rooms {
                Ok(rooms) => value["rooms"] = json!(rooms),
                Err(error) => value["error"] = json!(error.to_string()),
            }
            value
        })
        .collect();
    context.out.result(&values, None, || {
        if hubs.is_empty() {
            return "No hub announces itself. `gambi hub serve --mdns` starts one that does.".to_owned();
        }
        let mut rows = Vec::new();
        for HubRooms { hub, rooms, .. } in &hubs {
            let note = match rooms {
                Ok(rooms) if rooms.is_empty() => "no rooms".to_owned(),
                Ok(rooms) => {
                    rows.extend(rooms.iter().map(|room| vec![hub.url.clone(), room.code.clone(), room.name.clone()]));
                    continue;
                }
                Err(error) if error.status() == Some(401) => "rooms are listed with the hub's key: --key-file".into(),
                Err(error) => error.to_string(),
            };
            rows.push(vec![hub.url.clone(), "-".into(), note]);
        }
        table(&["HUB", "CODE", "ROOM"], &rows)
    })
}

#[cfg(not(feature = "mdns"))]
pub fn discover(_: &Context<'_>) -> Result<(), Failure> {
    Err(super::find_hub::built_without_mdns())
}
