//! `gambi room create`, `list` and `get`.

use std::cmp::Ordering;

use serde_json::json;

use gambi::proto::management::{CreateRoom, RoomSummary};

use super::context::Context;
use super::failure::Failure;
use super::output::table;
use crate::monitor::clean::one_line;

/// Makes a room.
pub fn create(context: &Context<'_>) -> Result<(), Failure> {
    let name = context.required("name")?;
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
        let plan = json!({ "dryRun": true, "hubUrl": client.hub_url(), "room": shown });
        return context.out.result(&plan, || format!("Would make the room \"{}\" on {}.", room.name, client.hub_url()));
    }
    let created = client.rooms().create(&room)?;
    context.out.result(&created, || {
        let (code, host) = (one_line(&created.room.code), one_line(&created.host_id));
        let hub = client.hub_url();
        format!(
            "Room {} is there, with the code {code}.\nDelete it:   gambi room delete --hub {hub} --code {code} --host-id {host}\nJoin it:     gambi participant join --hub {hub} --room {code} --participant-id ID --model MODEL\nTalk to it:  {hub}/rooms/{code}/v1",
            one_line(&created.room.name)
        )
    })
}

/// Replaces a secret in what is printed.
pub fn redact(value: &mut serde_json::Value, place: &str) {
    if let Some(secret) = value.pointer_mut(place) {
        *secret = json!("[redacted]");
    }
}

/// Lists the rooms.
pub fn list(context: &Context<'_>) -> Result<(), Failure> {
    let order = order(context.value("sort").unwrap_or("participant-count"))?;
    let mut rooms = context.client()?.rooms().list()?;
    rooms.sort_by(order);
    if context.has("reverse") {
        rooms.reverse();
    }
    context.out.list(&rooms, || {
        if rooms.is_empty() {
            return "There are no rooms. `gambi room create --name NAME` makes one.".to_owned();
        }
        let rows: Vec<_> = rooms.iter().map(row).collect();
        table(&["CODE", "PARTICIPANTS", "PASSWORD", "NAME"], &rows)
    })
}

fn row(room: &RoomSummary) -> Vec<String> {
    vec![room.code.clone(), room.participant_count.to_string(), protected(room).into(), room.name.clone()]
}

/// What the password is asked for.
fn protected(room: &RoomSummary) -> &'static str {
    match (room.private, room.password_protected) {
        (true, _) => "private",
        (false, true) => "yes",
        (false, false) => "no",
    }
}

type Order = fn(&RoomSummary, &RoomSummary) -> Ordering;

/// Counts and times go down, names go up; on a tie the newest comes first.
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
    context.out.result(&room, || {
        let protected = protected(&room);
        let defaults = room.defaults.as_ref().map_or("none".into(), |defaults| one_line(&json!(defaults).to_string()));
        format!(
            "Name:          {}\nCode:          {}\nParticipants:  {}\nPassword:      {protected}\nDefaults:      {defaults}\nAddress:       {}/rooms/{}/v1",
            one_line(&room.name), one_line(&room.code), room.participant_count, client.hub_url(), one_line(&room.code)
        )
    })
}

/// Deletes a room.
pub fn delete(context: &Context<'_>) -> Result<(), Failure> {
    let (code, host_id) = (context.required("code")?, context.required("host-id")?);
    context.client()?.rooms().delete(&code, &host_id)?;
    context.out.result(&json!({ "success": true }), || format!("The room {code} is gone."))
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
