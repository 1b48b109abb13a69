//! `gambi room create`, `list` and `get`.

use std::cmp::Ordering;

use serde_json::json;

use gambi::proto::management::{CreateRoom, MAX_TEXT, RoomSummary};

use super::context::Context;
use super::failure::Failure;
use super::output::{line, pairs, table};
use super::style;
use crate::monitor::clean::one_line;

/// The order of a list if `--sort` is not given.
pub const SORT: &str = "participant-count";

/// Creates a room.
pub fn create(context: &Context<'_>) -> Result<(), Failure> {
    let name = context.required("name")?;
    if name.len() > MAX_TEXT {
        return Err(Failure::usage(format!("--name must be at most {MAX_TEXT} bytes long")));
    }
    let room = CreateRoom {
        name,
        password: context.password(false)?,
        private: context.has("private"),
        defaults: context.config()?,
    };
    let client = context.client()?;
    if context.has("dry-run") {
        let mut shown = json!(room);
        redact(&mut shown, "/password");
        redact(&mut shown, "/defaults/instructions");
        let plan = json!({ "dryRun": true, "hubUrl": client.hub_url(), "payload": shown });
        let text = || format!("Would create the room \"{}\" on {}.", room.name, client.hub_url());
        return context.out.result(&plan, None, text);
    }
    let created = client.rooms().create(&room)?;
    context.out.result(&created, client.last_request_id(), || {
        let (code, host) = (one_line(&created.room.code), one_line(&created.host_id));
        let (paint, hub) = (style::out(), client.hub_url());
        let to = format!("--hub {hub}{}", repeated_flags(context));
        let command = |text: String| paint.cyan(&text);
        let lines = [
            ("Join it:", command(format!("gambi join {to} -r {code}"))),
            ("Chat:", command(format!("gambi chat {to} -r {code}"))),
            ("Programs:", format!("{}   base URL for OpenAI's API", paint.cyan(&format!("{hub}/rooms/{code}/v1")))),
            ("Delete it:", command(format!("gambi room delete {to} -c {code} --host-id {host}"))),
        ];
        let name = one_line(&created.room.name);
        format!("Created the room {} with the code {}.\n{}", paint.bold(&name), paint.bold(&code), pairs(&lines))
    })
}

/// The flags with which this command reaches the hub, for commands that it shows. Variables need no flags.
fn repeated_flags(context: &Context<'_>) -> String {
    let given = ["key-file", "hub-fingerprint"].into_iter();
    given.filter_map(|flag| Some(format!(" --{flag} {}", one_line(context.value(flag)?)))).collect()
}

/// Replaces the secret at a JSON pointer (RFC 6901) in a value that is about to be printed.
pub fn redact(value: &mut serde_json::Value, pointer: &str) {
    if let Some(secret) = value.pointer_mut(pointer) {
        *secret = json!("[redacted]");
    }
}

/// Lists the rooms.
pub fn list(context: &Context<'_>) -> Result<(), Failure> {
    let order = order(context.value("sort").unwrap_or(SORT))?;
    let client = context.client()?;
    let mut rooms = client.rooms().list()?;
    rooms.sort_by(order);
    if context.has("reverse") {
        rooms.reverse();
    }
    if context.has("json") {
        // The flat command's own flag, with the output that it was released with.
        return line(&serde_json::to_string_pretty(&rooms).map_err(std::io::Error::from)?);
    }
    context.out.result(&rooms, client.last_request_id(), || {
        if rooms.is_empty() {
            return "The hub has no rooms. `gambi room create --name NAME` creates one.".to_owned();
        }
        let rows: Vec<_> = rooms.iter().map(row).collect();
        table(&["CODE", "PARTICIPANTS", "PASSWORD", "NAME"], &rows)
    })
}

fn row(room: &RoomSummary) -> Vec<String> {
    vec![room.code.clone(), room.participant_count.to_string(), protected(room).into(), room.name.clone()]
}

/// The PASSWORD column: `yes` where joining needs it, `private` where every request does.
fn protected(room: &RoomSummary) -> &'static str {
    match (room.private, room.password_protected) {
        (true, _) => "private",
        (false, true) => "yes",
        (false, false) => "no",
    }
}

type Order = fn(&RoomSummary, &RoomSummary) -> Ordering;

/// Sorts counts and times in descending order and names in ascending order; on a tie, the newest room first.
fn order(name: &str) -> Result<Order, Failure> {
    let newest: Order = |a, b| b.created_at.cmp(&a.created_at);
    match name {
        "participant-count" => {
            Ok(|a, b| b.participant_count.cmp(&a.participant_count).then_with(|| b.created_at.cmp(&a.created_at)))
        }
        "created-at" => Ok(newest),
        "name" => Ok(|a, b| a.name.cmp(&b.name).then_with(|| b.created_at.cmp(&a.created_at))),
        _ => Err(Failure::usage(format!("--sort must be participant-count, created-at or name, not \"{name}\""))),
    }
}

/// Shows one room.
pub fn get(context: &Context<'_>) -> Result<(), Failure> {
    let code = context.required("code")?;
    let client = context.client()?;
    let room = client.rooms().get(&code)?;
    context.out.result(&room, client.last_request_id(), || {
        let defaults = room.defaults.as_ref().map_or("none".into(), |defaults| one_line(&json!(defaults).to_string()));
        let (paint, code) = (style::out(), one_line(&room.code));
        pairs(&[
            ("Name:", paint.bold(&one_line(&room.name))),
            ("Code:", paint.bold(&code)),
            ("Participants:", room.participant_count.to_string()),
            ("Password:", protected(&room).to_owned()),
            ("Defaults:", defaults),
            ("Address:", paint.cyan(&format!("{}/rooms/{code}/v1", client.hub_url()))),
        ])
    })
}

/// Deletes a room.
pub fn delete(context: &Context<'_>) -> Result<(), Failure> {
    let (code, host_id) = (context.required("code")?, context.required("host-id")?);
    let client = context.client()?;
    client.rooms().delete(&code, &host_id)?;
    context.out.result(&json!({ "success": true }), client.last_request_id(), || format!("Deleted the room {code}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(name: &str, created_at: u64, participant_count: usize) -> RoomSummary {
        RoomSummary {
            id: String::new(),
            code: String::new(),
            name: name.into(),
            host_id: String::new(),
            created_at,
            password_protected: false,
            private: false,
            participant_count,
            defaults: None,
        }
    }

    #[test]
    fn rooms_are_sorted_as_asked() {
        let sorted = |by: &str| {
            let mut rooms = [room("b", 1, 2), room("a", 2, 2), room("c", 3, 0)];
            rooms.sort_by(order(by).unwrap());
            rooms.map(|room| room.name).concat()
        };
        assert_eq!(sorted("participant-count"), "abc");
        assert_eq!(sorted("created-at"), "cab");
        assert_eq!(sorted("name"), "abc");
        let mut same = [room("first", 1, 0), room("second", 1, 0), room("third", 1, 0)];
        same.sort_by(order("created-at").unwrap());
        assert_eq!(same.map(|room| room.name).concat(), "firstsecondthird", "the hub's order stays on a tie");
        assert_eq!(order("size").unwrap_err().exit_code(), 2);
    }
}
