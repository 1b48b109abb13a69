//! The registry's rules, told as stories on a clock of their own.

use super::*;
use crate::proto::management::{Capabilities, Specs};

fn at(seconds: u64) -> Now {
    Now { wall: 1_000_000 + seconds * 1000, mono: seconds * 1000 }
}

fn counting() -> impl FnMut(&mut [u8]) {
    let mut state = 1u64;
    move |bytes: &mut [u8]| {
        for byte in bytes {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (state >> 33) as u8;
        }
    }
}

fn profile(model: &str) -> Profile {
    Profile {
        nickname: "n".into(),
        model: model.into(),
        endpoint: "http://localhost:1".into(),
        specs: Specs::default(),
        config: RuntimeConfig::default(),
        capabilities: Capabilities::default(),
    }
}

type Draw = dyn FnMut(&mut [u8]);

struct Story {
    registry: Registry,
    random: Box<Draw>,
    code: String,
}

impl Story {
    fn new() -> Self {
        let mut story = Story { registry: Registry::default(), random: Box::new(counting()), code: String::new() };
        let new = NewRoom { name: "Lab".into(), password_hash: None, defaults: None };
        story.code = story.registry.create_room(new, at(0), &mut *story.random).0.code;
        story
    }

    fn register(&mut self, id: &str, model: &str, now: Now) -> (Upserted, Vec<Event>) {
        let id = ParticipantId::parse(id).unwrap();
        self.registry.upsert(&self.code, id, profile(model), now, &mut *self.random).unwrap()
    }

    fn join(&mut self, id: &str, model: &str, now: Now) -> Opened {
        self.register(id, model, now);
        self.registry.open_tunnel(&self.code, id, now).unwrap().0
    }

    fn status(&self, id: &str) -> Status {
        let room = self.registry.room(&self.code).unwrap();
        room.members[&ParticipantId::parse(id).unwrap()].status()
    }

    fn pick(&mut self, model: &str) -> Result<Picked, PickError> {
        self.registry.pick(&self.code, model, &mut *self.random)
    }
}

fn names(events: &[Event]) -> Vec<String> {
    let name = |e: &Event| e.to_v1().lines().next().unwrap_or_default().replace("event: ", "");
    events.iter().map(name).collect()
}

#[test]
fn a_participant_is_offline_until_its_tunnel_opens() {
    let mut story = Story::new();
    let (first, events) = story.register("w", "m", at(0));
    assert!(first.created);
    assert_eq!(names(&events), ["participant.joined"]);
    assert_eq!(story.status("w"), Status::Offline);
    let (opened, events) = story.registry.open_tunnel(&story.code, "w", at(1)).unwrap();
    assert_eq!(names(&events), ["participant.updated"]);
    assert_eq!(story.status("w"), Status::Online);
    assert_eq!(names(&story.registry.close_tunnel(&story.code, "w", opened.tunnel, at(2))), ["participant.offline"]);
    assert_eq!(story.status("w"), Status::Offline);
}

#[test]
fn a_heartbeat_without_a_tunnel_brings_nobody_online() {
    let mut story = Story::new();
    story.register("w", "m", at(0));
    let (beat, events) = story.registry.heartbeat(&story.code, "w", at(1)).unwrap();
    assert_eq!((beat.status, events.len()), (Status::Offline, 0));
}

#[test]
fn registering_again_keeps_a_working_participant_working() {
    let mut story = Story::new();
    story.join("w", "m", at(0));
    let picked = story.pick("w").unwrap();
    let (again, events) = story.register("w", "m2", at(5));
    assert!(!again.created);
    assert_eq!(names(&events), ["participant.updated"]);
    assert_eq!(again.participant.joined_at, at(0).wall);
    assert_eq!(again.participant.status, Status::Busy);
    assert!(again.participant.connection.connected);
    story.registry.release(&picked);
    assert_eq!(story.status("w"), Status::Online);
}

#[test]
fn a_token_is_good_once_and_for_a_minute() {
    let mut story = Story::new();
    let code = story.code.clone();
    let (first, _) = story.register("w", "m", at(0));
    assert_eq!(story.registry.spend_token(&code, "w", "guess", at(1)), Ok(false));
    assert_eq!(story.registry.spend_token(&code, "w", first.token.reveal(), at(1)), Ok(true));
    assert_eq!(story.registry.spend_token(&code, "w", first.token.reveal(), at(1)), Ok(false));
    let (second, _) = story.register("w", "m", at(2));
    assert_eq!(story.registry.spend_token(&code, "w", second.token.reveal(), at(62)), Ok(false));
    assert_eq!(story.registry.spend_token(&code, "other", "t", at(2)), Err(Missing::Participant));
    assert_eq!(story.registry.spend_token("ZZZZZZ", "w", "t", at(2)), Err(Missing::Room));
}

#[test]
fn a_superseded_tunnels_late_close_changes_nothing() {
    let mut story = Story::new();
    let first = story.join("w", "m", at(0));
    let second = story.registry.open_tunnel(&story.code, "w", at(1)).unwrap().0;
    assert!(second.tunnel > first.tunnel);
    assert!(story.registry.close_tunnel(&story.code, "w", first.tunnel, at(2)).is_empty());
    assert_eq!(story.status("w"), Status::Online);
}

#[test]
fn silence_is_told_once_and_a_heartbeat_brings_back() {
    let mut story = Story::new();
    story.join("w", "m", at(0));
    assert!(story.registry.expire(at(30)).is_empty());
    assert_eq!(names(&story.registry.expire(at(31))), ["participant.offline"]);
    assert!(story.registry.expire(at(32)).is_empty());
    assert_eq!(story.pick("w").unwrap_err(), PickError::Refused(Refusal::Offline));
    let (beat, events) = story.registry.heartbeat(&story.code, "w", at(33)).unwrap();
    assert_eq!((beat.status, names(&events)), (Status::Online, vec!["participant.updated".to_owned()]));
}

#[test]
fn one_that_was_offline_already_is_not_told_again() {
    let mut story = Story::new();
    let opened = story.join("w", "m", at(0));
    assert_eq!(story.registry.close_tunnel(&story.code, "w", opened.tunnel, at(1)).len(), 1);
    assert!(story.registry.expire(at(60)).is_empty());
}

#[test]
fn a_request_needs_a_tunnel_a_heartbeat_and_a_place() {
    let mut story = Story::new();
    story.register("w", "llama3", at(0));
    assert_eq!(story.pick("w").unwrap_err(), PickError::Refused(Refusal::NoTunnel));
    assert_eq!(story.pick("llama3").unwrap_err(), PickError::Refused(Refusal::NoneAvailable));
    story.registry.open_tunnel(&story.code, "w", at(0)).unwrap();
    let picked = story.pick("model:llama3:latest").unwrap();
    assert_eq!(story.status("w"), Status::Busy);
    for model in ["w", "*", "any", "llama3"] {
        assert_eq!(story.pick(model).unwrap_err(), PickError::Refused(Refusal::Busy), "{model}");
    }
    assert_eq!(story.pick("other").unwrap_err(), PickError::Refused(Refusal::NoneAvailable));
    story.registry.release(&picked);
    assert!(story.pick("any").is_ok());
}

#[test]
fn any_goes_to_each_in_turn_of_chance() {
    let mut story = Story::new();
    for id in ["a", "b", "c"] {
        story.join(id, "m", at(0));
    }
    let mut seen = std::collections::HashSet::new();
    for _ in 0..200 {
        let picked = story.pick("*").unwrap();
        seen.insert(picked.id.to_string());
        story.registry.release(&picked);
    }
    assert_eq!(seen.len(), 3);
}

#[test]
fn an_id_goes_before_a_model_of_that_name() {
    let mut story = Story::new();
    story.join("a", "b", at(0));
    story.join("b", "x", at(0));
    assert_eq!(story.pick("b").unwrap().id.as_str(), "b");
    assert_eq!(story.pick("model:b").unwrap().id.as_str(), "a");
}

#[test]
fn a_place_of_one_who_left_and_came_back_is_not_given_back_twice() {
    let mut story = Story::new();
    story.join("w", "m", at(0));
    let old = story.pick("w").unwrap();
    story.registry.remove(&story.code, "w", at(1)).unwrap();
    story.join("w", "m", at(2));
    let _new = story.pick("w").unwrap();
    story.registry.release(&old);
    assert_eq!(story.status("w"), Status::Busy);
}

#[test]
fn rooms_are_found_in_any_case_and_listed_oldest_first() {
    let mut story = Story::new();
    let new = NewRoom { name: "B".into(), password_hash: Some("$argon2id$".into()), defaults: None };
    let (second, events) = story.registry.create_room(new, at(9), &mut *story.random);
    assert_eq!(names(&events), ["room.created"]);
    assert!(second.password_protected);
    assert!(story.registry.room(&second.code.to_lowercase()).is_ok());
    assert_eq!(story.registry.rooms().iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["Lab", "B"]);
    let json = serde_json::to_string(&story.registry.rooms()).unwrap();
    assert!(!json.contains("argon2"), "{json}");
}
