//! The differences between two states of the monitor, for output that a program reads or a file stores. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::model::{Member, Room};
use super::state::{Link, MonitorState};
use super::stats::Stats;
use super::words::link;

/// One line of output.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// `hub`, `room`, `room_gone`, `participant` or `participant_gone`.
    pub kind: &'static str,
    /// The new values. Names are as the hub sent them, so they are not safe to print on a terminal.
    pub data: Value,
}

/// Remembers what was reported, so that only differences are reported next time.
#[derive(Debug, Default)]
pub struct Changes {
    /// The last reported values. The key is empty for the hub, `[room code]` for a room and `[room code, participant
    /// id]` for a participant.
    reported: BTreeMap<Vec<String>, Value>,
}

impl Changes {
    /// The changes since the previous call; on the first call, everything.
    pub fn since(&mut self, state: &MonitorState, now: u64) -> Vec<Change> {
        let fresh = all(state, state.hub_time(now));
        let gone = self.reported.keys().filter(|key| !fresh.contains_key(*key)).map(|key| gone(key));
        let mut changes: Vec<Change> = gone.collect();
        let is_new = |key: &[String], data: &Value| !self.reported.get(key).is_some_and(|old| is_same(old, data));
        for (key, data) in fresh.iter().filter(|(key, data)| is_new(key, data)) {
            changes.push(Change { kind: ["hub", "room", "participant"][key.len()], data: data.clone() });
        }
        self.reported = fresh;
        changes
    }
}

/// Whether two values of the same key report the same. Each attempt to reach a lost hub may fail in another way: that is no
/// change.
fn is_same(old: &Value, new: &Value) -> bool {
    old == new || [old, new].iter().all(|data| data["status"] == link::LOST)
}

fn gone(key: &[String]) -> Change {
    match key {
        [room, id] => Change { kind: "participant_gone", data: json!({ "room": room, "id": id }) },
        key => Change { kind: "room_gone", data: json!({ "room": key.first() }) },
    }
}

fn all(state: &MonitorState, now: u64) -> BTreeMap<Vec<String>, Value> {
    let mut all = BTreeMap::from([(Vec::new(), hub(state))]);
    for (code, room) in state.rooms.iter().filter(|(_, room)| room.watched) {
        all.insert(vec![code.clone()], room_data(room, now));
        for (id, member) in &room.members {
            let health = state.health(member, now).word();
            all.insert(vec![code.clone(), id.clone()], member_data(code, member, health, now));
        }
    }
    all
}

fn hub(state: &MonitorState) -> Value {
    let mut data = match &state.link {
        Link::Connecting => json!({ "hubUrl": state.url, "status": link::CONNECTING }),
        Link::Up => json!({ "hubUrl": state.url, "status": link::UP, "skippedEvents": state.skipped }),
        Link::Lost { reason, .. } => json!({ "hubUrl": state.url, "status": link::LOST, "message": reason }),
    };
    if let Some(limits) = state.limits {
        data["limits"] = json!(limits);
    }
    data
}

fn room_data(room: &Room, now: u64) -> Value {
    let info = &room.info;
    let mut data = json!({ "room": info.code, "name": info.name, "participants": room.count(), "queued": room.queued });
    if let Some(map) = data.as_object_mut() {
        map.extend(room.refused.as_ref().map(|why| ("refused".to_owned(), json!(why))));
        stats(map, &room.stats, now);
    }
    data
}

fn member_data(code: &str, member: &Member, health: &str, now: u64) -> Value {
    let info = &member.info;
    let mut data = json!({
        "room": code, "id": info.id, "nickname": info.nickname, "model": info.model, "endpoint": info.endpoint,
        "status": info.status, "connected": info.connection.connected, "health": health,
        "inFlight": member.in_flight(),
    });
    if let Some(map) = data.as_object_mut() {
        stats(map, &member.stats, now);
    }
    data
}

fn stats(data: &mut Map<String, Value>, stats: &Stats, now: u64) {
    data.insert("requests".into(), json!(stats.requests));
    data.insert("errors".into(), json!(stats.errors));
    data.extend(stats.ttft(now).map(|millis| ("ttftMs".to_owned(), json!(millis))));
    data.extend(stats.ttft_p95().map(|millis| ("ttftP95Ms".to_owned(), json!(millis))));
    let tenth = |rate: f64| (rate * 10.0).round() / 10.0;
    data.extend(stats.tokens_per_second(now).map(|rate| ("tokensPerSecond".to_owned(), json!(tenth(rate)))));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::fixtures::{NOW, began, lab, participant};
    use crate::monitor::state::Update;

    fn kinds(changes: &[Change]) -> Vec<&str> {
        changes.iter().map(|change| change.kind).collect()
    }

    #[test]
    fn only_changes_are_reported() {
        let mut state = lab(&[participant("ann", "A\u{1b}nn"), participant("bob", "Bob")]);
        let mut changes = Changes::default();
        let first = changes.since(&state, NOW);
        assert_eq!(kinds(&first), ["hub", "room", "participant", "participant"]);
        // Names are passed on unchanged: a program reads them.
        assert_eq!(first[2].data["nickname"], "A\u{1b}nn");
        assert_eq!(changes.since(&state, NOW), []);
        state.on_update(began("LAB001", "ann", "r1"), NOW);
        let next = changes.since(&state, NOW);
        assert_eq!(kinds(&next), ["room", "participant"]);
        assert_eq!((&next[1].data["id"], &next[1].data["inFlight"]), (&json!("ann"), &json!(1)));
        for (reason, kinds_then) in [("broken off", &["hub", "participant", "participant"][..]), ("refused", &[])] {
            state.on_update(Update::Lost { reason: reason.into(), retry_in: Some(2000) }, NOW);
            assert_eq!(kinds(&changes.since(&state, NOW)), kinds_then, "{reason}");
        }
        state.on_update(Update::Rooms(Vec::new(), 0), NOW);
        assert_eq!(kinds(&changes.since(&state, NOW)), ["room_gone", "participant_gone", "participant_gone"]);
    }
}
