//! How each update changes the state.

use serde_json::json;

use gambi::proto::management::Status;

use super::fixtures::{NOW, answered, began, event, failed, lab, participant, room};
use super::model::{Health, Member};
use super::state::{Link, MonitorState, Tally, Update};

fn ann(state: &MonitorState) -> &Member {
    &state.rooms["LAB001"].members["ann"]
}

#[test]
fn requests_make_a_participant_busy_and_are_measured() {
    let mut state = lab(&[participant("ann", "Ann")]);
    state.on_update(began("LAB001", "ann", "r1"), NOW);
    assert_eq!((ann(&state).health(NOW), ann(&state).in_flight()), (Health::Busy, 1));
    state.on_update(answered("LAB001", "ann", "r1"), NOW);
    assert_eq!((ann(&state).health(NOW), ann(&state).in_flight()), (Health::Online, 0));
    assert_eq!(ann(&state).stats.ttft(NOW), Some(210));
    assert_eq!(state.rooms["LAB001"].stats.tokens_per_second(NOW), Some(40.0));
}

#[test]
fn requests_without_ids_leave_no_participant_busy() {
    let mut state = lab(&[participant("ann", "Ann"), participant("bob", "Bob")]);
    for (kind, id) in [("request", "ann"), ("request", "bob"), ("error", "bob"), ("error", "ann")] {
        state.on_update(event(&format!("llm.{kind}"), "LAB001", json!({ "participantId": id, "model": "m" })), NOW);
    }
    for member in state.rooms["LAB001"].members.values() {
        assert_eq!((member.stats.requests, member.stats.errors, member.in_flight()), (1, 1, 0));
    }
}

#[test]
fn failures_are_counted_and_cancellations_are_not() {
    let mut state = lab(&[participant("ann", "Ann")]);
    for (request, stage) in [("r1", "cancelled"), ("r2", "stream")] {
        assert_eq!(ann(&state).health(NOW), Health::Online);
        state.on_update(began("LAB001", "ann", request), NOW);
        state.on_update(failed("LAB001", "ann", request, stage), NOW);
    }
    assert_eq!((ann(&state).stats.requests, ann(&state).stats.errors), (2, 1));
    assert_eq!(ann(&state).health(NOW), Health::Degraded);
    assert_eq!(ann(&state).health(NOW + 19_000), Health::Degraded);
}

#[test]
fn participants_join_change_and_leave() {
    let mut state = lab(&[]);
    let mut info = participant("ann", "Ann");
    info.connection.connected = false;
    state.on_update(event("participant.joined", "LAB001", json!(info)), NOW);
    assert_eq!(ann(&state).health(NOW), Health::NoTunnel);
    state.on_update(event("participant.updated", "LAB001", json!(participant("ann", "Anna"))), NOW);
    assert_eq!((ann(&state).name.as_str(), ann(&state).health(NOW)), ("Anna", Health::Online));
    // Time without a poll is not silence; silence up to the last poll is.
    assert_eq!(ann(&state).health(NOW + 25_000), Health::Online);
    state.on_update(Update::Members("LAB001".into(), vec![participant("ann", "Anna")]), NOW + 25_000);
    assert_eq!(ann(&state).health(NOW + 25_000), Health::Degraded);
    state.on_update(event("participant.offline", "LAB001", json!({ "participantId": "ann" })), NOW);
    assert_eq!((ann(&state).health(NOW), ann(&state).info.status), (Health::Offline, Status::Offline));
    assert_eq!(state.tally(NOW), Tally { offline: 1, ..Tally::default() });
    state.on_update(event("participant.left", "LAB001", json!({ "participantId": "ann" })), NOW);
    assert_eq!(state.rooms["LAB001"].count(), 0);
}

#[test]
fn polls_keep_the_counts_of_events() {
    let mut state = lab(&[participant("ann", "Ann"), participant("bob", "Bob")]);
    state.on_update(began("LAB001", "ann", "r1"), NOW);
    state.on_update(Update::Members("LAB001".into(), vec![participant("ann", "Ann")]), NOW);
    assert_eq!((ann(&state).stats.requests, state.rooms["LAB001"].count()), (1, 1));
}

#[test]
fn a_broken_stream_resets_the_requests_in_flight() {
    let mut state = lab(&[participant("ann", "Ann")]);
    state.on_update(began("LAB001", "ann", "r1"), NOW);
    state.on_update(Update::Lost { reason: "cannot reach it".into(), retry_in: Some(500) }, NOW);
    assert_eq!(state.link, Link::Lost { reason: "cannot reach it".into(), retry_at: Some(NOW + 500) });
    state.on_update(Update::Linked, NOW);
    assert_eq!((ann(&state).stats.in_flight(), &state.link), (0, &Link::Up));
    // A late end is not counted twice, and no count becomes negative.
    state.on_update(answered("LAB001", "ann", "r1"), NOW);
    assert_eq!((ann(&state).stats.requests, ann(&state).stats.in_flight()), (1, 0));
}

#[test]
fn nothing_is_known_of_participants_while_the_hub_is_lost() {
    let mut state = lab(&[participant("ann", "Ann")]);
    state.on_update(Update::Lost { reason: "cannot reach it".into(), retry_in: None }, NOW);
    assert_eq!(state.health(ann(&state), NOW), Health::Unknown);
    assert_eq!(state.tally(NOW), Tally { unknown: 1, ..Tally::default() });
    state.on_update(Update::Linked, NOW);
    assert_eq!(state.health(ann(&state), NOW), Health::Online);
}

#[test]
fn a_provider_that_is_down_is_told_from_a_participant_that_is_away() {
    let mut state = lab(&[]);
    let mut info = participant("ann", "Ann");
    (info.status, info.provider_down) = (Status::Offline, true);
    state.on_update(event("participant.updated", "LAB001", json!(info)), NOW);
    assert_eq!((ann(&state).health(NOW), Health::ProviderDown.word()), (Health::ProviderDown, "provider down"));
    info.draining = true;
    state.on_update(event("participant.updated", "LAB001", json!(info)), NOW);
    assert_eq!((ann(&state).health(NOW), Health::Draining.word()), (Health::Draining, "draining"));
    state.on_update(event("participant.offline", "LAB001", json!({ "participantId": "ann" })), NOW);
    assert_eq!(ann(&state).health(NOW), Health::Offline);
}

#[test]
fn the_first_rooms_are_watched_or_those_that_were_named() {
    let rooms = || (0..30).map(|n| room(&format!("ROOM{n:02}"), "Lab")).collect();
    let mut state = MonitorState::new("http://hub:3000", &[]);
    state.on_update(Update::Rooms(rooms(), 0), NOW);
    assert_eq!((state.rooms.len(), state.watched().len()), (30, 20));
    let mut state = MonitorState::new("http://hub:3000", &["room07".into()]);
    state.on_update(Update::Rooms(rooms(), 0), NOW);
    assert_eq!(state.watched().into_iter().collect::<Vec<_>>(), ["ROOM07"]);
    state.on_update(Update::Refused("ROOM07".into(), "Invalid password".into()), NOW);
    assert!(state.watched().is_empty());
    state.on_update(event("room.deleted", "ROOM07", json!(room("ROOM07", "Lab"))), NOW);
    assert_eq!(state.rooms.len(), 29);
}

#[test]
fn a_wrong_clock_makes_no_age_negative() {
    let mut state = lab(&[participant("ann", "Ann")]);
    for ahead in [86_400_000, -86_400_000, i64::MAX, i64::MIN] {
        state.on_update(Update::Rooms(vec![room("LAB001", "Lab")], ahead), NOW);
        assert_eq!(state.tally(NOW), Tally { online: 1, ..Tally::default() });
    }
    // A `lastSeen` in the future counts as just now.
    state.on_update(Update::Rooms(vec![room("LAB001", "Lab")], -86_400_000), NOW);
    assert_eq!(ann(&state).health(state.hub_time(NOW)), Health::Online);
}

#[test]
fn malformed_events_change_nothing() {
    let mut state = lab(&[participant("ann", "Ann")]);
    for kind in ["room.created", "room.deleted", "participant.joined", "participant.left", "llm.complete", "nonsense"] {
        for data in [json!(null), json!([1]), json!({ "participantId": 7, "metrics": "fast", "requestId": {} })] {
            state.on_update(event(kind, "NOROOM", data), NOW);
        }
    }
    assert_eq!((state.rooms.len(), ann(&state).health(NOW)), (1, Health::Online));
}

#[test]
fn a_flood_of_requests_that_never_end_is_bounded() {
    let mut state = lab(&[participant("ann", "Ann")]);
    for n in 0..20_000 {
        state.on_update(began("LAB001", "ann", &format!("r{n}")), NOW);
    }
    assert_eq!((ann(&state).stats.requests, ann(&state).in_flight()), (20_000, 10_000));
}

#[test]
fn the_number_of_rooms_and_participants_is_bounded() {
    let mut state = lab(&[]);
    for n in 0..10_100 {
        let joined = serde_json::to_value(participant(&format!("p{n}"), "Ann")).unwrap();
        state.on_update(event("participant.joined", "LAB001", joined), NOW);
        let made = serde_json::to_value(room(&format!("R{n:05}"), "Lab")).unwrap();
        state.on_update(event("room.created", "", made), NOW);
    }
    assert_eq!((state.rooms.len(), state.rooms["LAB001"].members.len()), (10_000, 10_000));
}

#[test]
fn a_room_whose_code_could_control_the_terminal_is_not_shown() {
    let mut state = lab(&[]);
    state.on_update(
        Update::Rooms(vec![room("\u{1b}[2J", "Lab"), room("a\u{202e}b", "Lab"), room("LAB002", "Lab")], 0),
        NOW,
    );
    assert_eq!(state.rooms.keys().collect::<Vec<_>>(), ["LAB002"]);
}
