//! Tests of the registry's rules, with a clock of their own.

use std::net::IpAddr;

use super::*;
use crate::proto::management::{Capabilities, HeartbeatBody, RuntimeConfig, Specs, Status, Support};
use crate::state::Now;
use crate::state::event::Event;
use crate::state::id::{ParticipantId, RoomCode, Secret};
use crate::state::missing_routes::ReplaceableRoute;
use crate::state::models::Models;
use crate::state::room::{Password, Profile, Reach};
use crate::state::selector::Caller;
use crate::state::selector::{Need, Refusal, Want};

mod conversations;
mod fairness;
mod models;

fn at(seconds: u64) -> Now {
    Now { wall: 1_000_000 + seconds * 1000, mono: seconds * 1000 }
}

fn seeded_random() -> impl FnMut(&mut [u8]) {
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
        models: Models::new(model.into(), Vec::new()),
        endpoint: "http://localhost:1".into(),
        specs: Specs::default(),
        config: RuntimeConfig::default(),
        capabilities: Capabilities::default(),
        aliases: Vec::new(),
        concurrency: 1,
        weight: 1,
        fallback: false,
    }
}

fn registering(id: ParticipantId, profile: Profile, reach: Reach) -> Registering<'static> {
    Registering { id, profile, loaded: None, reach, proof: Proof::default(), owner: None }
}

fn anyone() -> Caller {
    Caller::Network([10, 0, 0, 1].into())
}

type Draw = dyn FnMut(&mut [u8]);

struct Story {
    registry: Registry,
    random: Box<Draw>,
    code: String,
}

impl Story {
    fn new() -> Self {
        Self::with(Registry::default())
    }

    fn with(registry: Registry) -> Self {
        let mut story = Story { registry, random: Box::new(seeded_random()), code: String::new() };
        let new =
            NewRoom { name: "Lab".into(), password: None, private: false, defaults: None, code: None, owner: None };
        story.code = story.registry.create_room(new, at(0), &mut *story.random).0.code;
        story
    }

    fn register(&mut self, id: &str, model: &str, now: Now) -> (Upserted, Vec<Event>) {
        let id = ParticipantId::parse(id).unwrap();
        self.registry
            .upsert(&self.code, registering(id, profile(model), Reach::Tunnel), now, &mut *self.random)
            .unwrap()
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
        let want = Want {
            model: model.into(),
            need: Need::Chat,
            caller: anyone(),
            priority: 0,
            tried: Vec::new(),
            previous: None,
            owner: None,
        };
        self.registry.pick(&self.code, &want, at(0), &mut *self.random)
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
fn a_heartbeat_without_a_tunnel_brings_no_participant_online() {
    let mut story = Story::new();
    story.register("w", "m", at(0));
    let (beat, events) = story.registry.heartbeat(&story.code, "w", &HeartbeatBody::default(), at(1)).unwrap();
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
    story.registry.release(&picked, at(0));
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
fn a_silent_participant_goes_offline_once_and_a_heartbeat_brings_it_back() {
    let mut story = Story::new();
    story.join("w", "m", at(0));
    assert!(story.registry.expire(at(30)).is_empty());
    assert_eq!(names(&story.registry.expire(at(31))), ["participant.offline"]);
    assert!(story.registry.expire(at(32)).is_empty());
    assert_eq!(story.pick("w").unwrap_err(), PickError::Refused(Refusal::Offline));
    let (beat, events) = story.registry.heartbeat(&story.code, "w", &HeartbeatBody::default(), at(33)).unwrap();
    assert_eq!((beat.status, names(&events)), (Status::Online, vec!["participant.updated".to_owned()]));
}

#[test]
fn older_watchers_are_told_of_a_participant_that_comes_online_and_of_nothing_else_that_it_reports() {
    let mut story = Story::new();
    story.join("w", "m", at(0));
    let none = HeartbeatBody::default;
    for (report, is_told) in [
        (HeartbeatBody { loaded: Some(vec!["m".into()]), ..none() }, false),
        (HeartbeatBody { draining: Some(true), ..none() }, false),
        (HeartbeatBody { draining: Some(false), provider_down: Some(true), ..none() }, false),
        (HeartbeatBody { provider_down: Some(false), ..none() }, true),
    ] {
        let (_, events) = story.registry.heartbeat(&story.code, "w", &report, at(1)).unwrap();
        assert_eq!(names(&events), ["participant.updated"], "{report:?}");
        assert_eq!(events[0].to_legacy().is_some(), is_told, "{report:?}");
    }
}

#[test]
fn an_offline_participant_causes_no_second_offline_event() {
    let mut story = Story::new();
    let opened = story.join("w", "m", at(0));
    assert_eq!(story.registry.close_tunnel(&story.code, "w", opened.tunnel, at(1)).len(), 1);
    assert!(story.registry.expire(at(60)).is_empty());
}

#[test]
fn a_request_needs_a_tunnel_a_heartbeat_and_a_free_slot() {
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
    story.registry.release(&picked, at(0));
    assert!(story.pick("any").is_ok());
}

#[test]
fn any_selects_each_participant_at_random() {
    let mut story = Story::new();
    for id in ["a", "b", "c"] {
        story.join(id, "m", at(0));
    }
    let mut seen = std::collections::HashSet::new();
    for _ in 0..200 {
        let picked = story.pick("*").unwrap();
        seen.insert(picked.id.to_string());
        story.registry.release(&picked, at(0));
    }
    assert_eq!(seen.len(), 3);
}

#[test]
fn an_id_takes_precedence_over_a_model_of_that_name() {
    let mut story = Story::new();
    story.join("a", "b", at(0));
    story.join("b", "x", at(0));
    assert_eq!(story.pick("b").unwrap().id.as_str(), "b");
    assert_eq!(story.pick("model:b").unwrap().id.as_str(), "a");
}

#[test]
fn releasing_a_slot_of_a_removed_participant_does_not_affect_its_successor() {
    let mut story = Story::new();
    story.join("w", "m", at(0));
    let old = story.pick("w").unwrap();
    story.registry.remove(&story.code, "w", at(1)).unwrap();
    story.join("w", "m", at(2));
    let _new = story.pick("w").unwrap();
    story.registry.release(&old, at(0));
    assert_eq!(story.status("w"), Status::Busy);
}

#[test]
fn rooms_are_found_in_any_case_and_listed_oldest_first() {
    let mut story = Story::new();
    let new = NewRoom {
        name: "B".into(),
        password: Some(Password::hashed("$argon2id$")),
        private: false,
        defaults: None,
        code: None,
        owner: None,
    };
    let (second, events) = story.registry.create_room(new, at(9), &mut *story.random);
    assert_eq!(names(&events), ["room.created"]);
    assert!(second.password_protected);
    assert!(story.registry.room(&second.code.to_lowercase()).is_ok());
    let rooms = story.registry.rooms_after(None, 9);
    assert_eq!(rooms.iter().map(|room| room.name.as_str()).collect::<Vec<_>>(), ["Lab", "B"]);
    assert_eq!(story.registry.rooms_after(Some(rooms[0].number), 9)[0].name, "B");
    let json = serde_json::to_string(&rooms.iter().map(|room| room.summary()).collect::<Vec<_>>()).unwrap();
    assert!(!json.contains("argon2"), "{json}");
}

impl Story {
    fn profiled(&mut self, id: &str, change: impl FnOnce(&mut Profile)) {
        let mut profile = profile("m");
        change(&mut profile);
        let parsed = ParticipantId::parse(id).unwrap();
        self.registry
            .upsert(&self.code, registering(parsed, profile, Reach::Tunnel), at(0), &mut *self.random)
            .unwrap();
        self.registry.open_tunnel(&self.code, id, at(0)).unwrap();
    }

    fn want(&self, model: &str, need: Need) -> Want {
        Want {
            model: model.into(),
            need,
            caller: anyone(),
            priority: 0,
            tried: Vec::new(),
            previous: None,
            owner: None,
        }
    }

    fn wait(&mut self, model: &str) -> u64 {
        let want = self.want(model, Need::Chat);
        self.registry.wait(&self.code, want, 3, at(0)).unwrap().number
    }

    fn grants(&mut self) -> Vec<(u64, Result<String, Refusal>)> {
        let grants = self.registry.grant_waiting(at(0), &mut *self.random);
        grants.into_iter().map(|(number, grant)| (number, grant.map(|picked| picked.id.to_string()))).collect()
    }
}

#[test]
fn rooms_and_participants_of_the_same_millisecond_keep_their_creation_order() {
    let mut story = Story::new();
    let mut codes = vec![story.code.clone()];
    for _ in 0..20 {
        codes.push(story.registry.create_room(room("x", None), at(0), &mut *story.random).0.code);
    }
    let ids: Vec<String> = (0..20).map(|n| (n * 37 % 101).to_string()).collect();
    for id in ids.iter().chain(&ids[..1]) {
        story.register(id, "m", at(0));
    }
    let listed: Vec<_> = story.registry.rooms_after(None, 100).iter().map(|room| room.code.to_string()).collect();
    assert_eq!(listed, codes);
    let room = story.registry.room(&story.code).unwrap();
    assert!(room.members_after(None, 100).iter().map(|member| member.id.as_str()).eq(ids.iter().map(String::as_str)));
}

#[test]
fn waiting_requests_are_granted_in_order() {
    let mut story = Story::new();
    story.join("a", "m", at(0));
    let first = story.pick("a").unwrap();
    let (one, two) = (story.wait("any"), story.wait("m"));
    let three = story.wait("a");
    assert!(story.grants().is_empty());
    let want = story.want("any", Need::Chat);
    assert_eq!(story.registry.wait(&story.code, want, 3, at(0)).unwrap_err(), PickError::QueueFull);
    story.registry.release(&first, at(0));
    assert_eq!(story.grants(), [(one, Ok("a".into()))]);
    assert!(story.grants().is_empty(), "a slot is granted once");
    assert!(
        story.registry.leave_queue(&story.code, two, at(0)) && !story.registry.leave_queue(&story.code, two, at(0))
    );
    story.join("b", "m", at(0));
    assert!(story.grants().is_empty(), "the one who waits for a does not take b");
    story.registry.remove(&story.code, "a", at(0)).unwrap();
    assert_eq!(story.grants(), [(three, Err(Refusal::NoneAvailable))]);
}

#[test]
fn a_request_that_failed_over_waits_in_front_and_is_exempt_from_the_limit() {
    let mut story = Story::new();
    story.join("a", "m", at(0));
    let first = story.pick("a").unwrap();
    let new: Vec<u64> = (0..3).map(|_| story.wait("any")).collect();
    let mut tried = |serial| {
        let want = Want { tried: vec![serial], ..story.want("any", Need::Chat) };
        story.registry.wait(&story.code, want, 3, at(0)).unwrap().number
    };
    let returned = [tried(first.serial + 1), tried(first.serial + 2)];
    let mut served = Vec::new();
    for _ in 0..5 {
        story.registry.release(&first, at(0));
        served.extend(story.grants().into_iter().map(|(number, _)| number));
    }
    assert_eq!(served, [&returned[..], &new].concat());
}

#[test]
fn a_participant_accepts_as_many_requests_as_it_registered() {
    let mut story = Story::new();
    story.profiled("a", |profile| profile.concurrency = 3);
    let places: Vec<_> = (0..3).map(|_| story.pick("a").unwrap()).collect();
    assert_eq!(story.pick("any").unwrap_err(), PickError::Refused(Refusal::Busy));
    story.registry.release(&places[0], at(0));
    assert!(story.pick("any").is_ok());
}

#[test]
fn the_least_busy_then_the_quickest_are_chosen_first_and_failing_ones_last() {
    let mut story = Story::new();
    for id in ["a", "b"] {
        story.profiled(id, |profile| profile.concurrency = 9);
    }
    let a = story.pick("a").unwrap();
    let b = story.pick("any").unwrap();
    assert_eq!(b.id.as_str(), "b");
    story.registry.record_outcome(&a, Outcome::Served { ttft_ms: 500, streamed: true }, at(0));
    story.registry.record_outcome(&b, Outcome::Served { ttft_ms: 100, streamed: false }, at(0));
    story.registry.release(&a, at(0));
    story.registry.release(&b, at(0));
    let slowest = [&story.pick("a").unwrap(), &story.pick("b").unwrap()].map(|picked| {
        story.registry.release(picked, at(0));
        (picked.slowest_streamed_ms, picked.slowest_whole_ms)
    });
    assert_eq!(slowest, [(500, 0), (0, 100)]);
    for _ in 0..5 {
        let picked = story.pick("any").unwrap();
        assert_eq!(picked.id.as_str(), "b");
        story.registry.release(&picked, at(0));
    }
    story.registry.record_outcome(&b, Outcome::Failed, at(0));
    let picked = story.pick("any").unwrap();
    assert_eq!(picked.id.as_str(), "a");
    // A failing participant is used while no other is free.
    let tried = Want { tried: vec![a.serial], ..story.want("any", Need::Chat) };
    let picked = story.registry.pick(&story.code, &tried, at(0), &mut *story.random).unwrap();
    assert_eq!(picked.id.as_str(), "b");
}

#[test]
fn aliases_are_names_of_the_model() {
    let mut story = Story::new();
    story.profiled("a", |profile| profile.aliases = vec!["gpt-4o".into()]);
    for model in ["gpt-4o", "model:gpt-4o", "gpt-4o:latest"] {
        let picked = story.pick(model).unwrap();
        story.registry.release(&picked, at(0));
    }
    assert!(story.pick("gpt-4").is_err());
}

#[test]
fn a_participant_without_the_required_api_is_not_chosen() {
    let mut story = Story::new();
    story.profiled("a", |profile| profile.capabilities.chat_completions = Support::Unsupported);
    for model in ["a", "any", "m"] {
        assert_eq!(story.pick(model).unwrap_err(), PickError::Refused(Refusal::Unsupported), "{model}");
    }
    let responses = story.want("a", Need::ChatOr(ReplaceableRoute::Responses));
    let picked = story.registry.pick(&story.code, &responses, at(0), &mut *story.random).unwrap();
    assert!(!picked.missing.contains(ReplaceableRoute::Responses) && picked.named);
    story.registry.release(&picked, at(0));
    story.registry.record_outcome(&picked, Outcome::Lacks(ReplaceableRoute::Responses), at(0));
    let refused = story.registry.pick(&story.code, &responses, at(0), &mut *story.random).unwrap_err();
    assert_eq!(refused, PickError::Refused(Refusal::Unsupported));
    story.join("b", "m", at(0));
    assert_eq!(story.pick("any").unwrap().id.as_str(), "b");
}

#[test]
fn a_direct_participant_is_up_at_once_and_follows_its_health_checks() {
    let mut story = Story::new();
    let direct = |story: &mut Story, id: &str, reach| {
        let id = ParticipantId::parse(id).unwrap();
        story.registry.upsert(&story.code, registering(id, profile("m"), reach), at(0), &mut *story.random)
    };
    let reach = Reach::Direct { from_loopback: true };
    let (joined, _) = direct(&mut story, "d", reach).unwrap();
    assert_eq!(
        json(&joined.participant.connection),
        r#"{"kind":"tunnel","connected":true,"lastTunnelSeenAt":null,"transport":"direct"}"#
    );
    assert_eq!(story.status("d"), Status::Online);
    assert_eq!(direct(&mut story, "d", Reach::Tunnel).unwrap_err(), NotRegistered::Taken);
    assert_eq!(names(&story.registry.expire(at(31))), ["participant.offline"]);
    assert!(story.registry.expire(at(40)).is_empty());
    assert_eq!(story.pick("d").unwrap_err(), PickError::Refused(Refusal::Offline));
    let (_, events) = story.registry.heartbeat(&story.code, "d", &HeartbeatBody::default(), at(41)).unwrap();
    assert_eq!((names(&events), story.status("d")), (vec!["participant.updated".to_owned()], Status::Online));
    story.registry.expire(at(100));
    assert!(direct(&mut story, "d", Reach::Tunnel).is_ok(), "who is away gives its id up");
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

#[test]
fn rooms_are_deleted_by_their_host_or_when_they_expire() {
    let mut story = Story::new();
    story.join("a", "m", at(0));
    let _slot = story.pick("a").unwrap();
    let waiting = story.wait("a");
    let host = story.registry.room(&story.code).unwrap().host_id.clone();
    assert_eq!(story.registry.delete_room(&story.code, "x", at(1)).unwrap_err(), NotDeleted::NotHost);
    let (deleted, events) = story.registry.delete_room(&story.code, &host, at(1)).unwrap();
    assert_eq!((deleted.serials.len(), deleted.waiting, story.registry.waiting()), (1, vec![waiting], 0));
    assert_eq!(names(&events), ["room.deleted"]);
    assert_eq!(story.registry.delete_room(&story.code, &host, at(1)).unwrap_err(), NotDeleted::Missing);

    let mut story = Story::new();
    let none = RoomExpiry::default();
    assert!(story.registry.expire_rooms(none, at(1_000_000)).0.is_empty());
    let empty = RoomExpiry { unused: None, empty: Some(60_000) };
    story.register("a", "m", at(50));
    assert!(story.registry.expire_rooms(empty, at(500)).0.is_empty(), "a participant is registered");
    story.registry.remove(&story.code, "a", at(500)).unwrap();
    assert!(story.registry.expire_rooms(empty, at(559)).0.is_empty());
    assert_eq!(story.registry.expire_rooms(empty, at(560)).0.len(), 1);

    let mut story = Story::new();
    let declared = NewRoom {
        name: "x".into(),
        password: None,
        private: false,
        defaults: None,
        code: RoomCode::parse("lab001"),
        owner: None,
    };
    assert_eq!(story.registry.create_room(declared, at(0), &mut *story.random).0.code, "LAB001");
    let unused = RoomExpiry { unused: Some(60_000), empty: None };
    story.join("a", "m", at(0));
    story.registry.heartbeat(&story.code, "a", &HeartbeatBody::default(), at(30)).unwrap();
    assert!(story.registry.expire_rooms(unused, at(89)).0.is_empty());
    let (gone, _) = story.registry.expire_rooms(unused, at(90));
    assert_eq!((gone.len(), story.registry.rooms_after(None, 9).len()), (1, 1), "what the operator declared stays");
}

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Registers "w" with a token; returns the token of the answer.
fn register_with_token(
    story: &mut Story,
    token: Option<&str>,
    demanded: bool,
    now: Now,
) -> Result<Option<Secret>, NotRegistered> {
    let new = registering(ParticipantId::parse("w").unwrap(), profile("m"), Reach::Tunnel);
    let new = Registering { proof: Proof { token, demanded }, ..new };
    let upserted = story.registry.upsert(&story.code, new, now, &mut *story.random)?;
    Ok(upserted.0.participant_token)
}

#[test]
fn a_strict_hub_requires_the_participant_token_and_every_hub_refuses_a_wrong_one() {
    let mut story = Story::new();
    let token = register_with_token(&mut story, None, true, at(0)).unwrap().unwrap();
    let denied = |story: &mut Story, token, demanded| story.registry.prove(&story.code, "w", Proof { token, demanded });
    for wrong in [None, Some(SECRET)] {
        assert_eq!(register_with_token(&mut story, wrong, true, at(1)).unwrap_err(), NotRegistered::NotTheirs);
        assert_eq!(denied(&mut story, wrong, true), Err(Denied::NotTheirs));
    }
    assert_eq!(denied(&mut story, None, false), Ok(()));
    assert_eq!(denied(&mut story, Some(SECRET), false), Err(Denied::NotTheirs), "a wrong one is refused everywhere");
    for (id, shown, own) in
        [("w", Some(token.reveal()), true), ("w", Some(SECRET), false), ("w", None, false), ("x", Some(SECRET), false)]
    {
        assert_eq!(story.registry.is_own(&story.code, id, Proof { token: shown, demanded: false }), own, "{id}");
    }
    assert_eq!(denied(&mut story, Some(token.reveal()), true), Ok(()));
    let again = register_with_token(&mut story, Some(token.reveal()), true, at(2)).unwrap().unwrap();
    assert!(again.matches(token.reveal()));
    // After five minutes offline the id is free again, and the old token is invalid.
    assert_eq!(register_with_token(&mut story, None, true, at(301)).unwrap_err(), NotRegistered::NotTheirs);
    assert!(!register_with_token(&mut story, None, true, at(302)).unwrap().unwrap().matches(token.reveal()));
    assert_eq!(denied(&mut story, Some(token.reveal()), true), Err(Denied::NotTheirs));
}

#[test]
fn a_participant_may_choose_its_token_and_a_lenient_hub_does_not_require_it() {
    let mut story = Story::new();
    assert_eq!(register_with_token(&mut story, Some(SECRET), true, at(0)).unwrap().unwrap().reveal(), SECRET);
    assert_eq!(register_with_token(&mut story, Some(SECRET), true, at(1)).unwrap().unwrap().reveal(), SECRET);
    assert!(
        register_with_token(&mut story, None, false, at(2)).unwrap().is_none(),
        "a client that has not sent the token does not get it"
    );
    assert!(register_with_token(&mut story, Some(SECRET), true, at(3)).is_ok());
    let mut story = Story::new();
    assert_ne!(register_with_token(&mut story, Some("too short"), true, at(0)).unwrap().unwrap().reveal(), "too short");
}

fn room(name: &str, owner: Option<IpAddr>) -> NewRoom {
    NewRoom { name: name.into(), password: None, private: false, defaults: None, code: None, owner }
}

#[test]
fn the_registrys_size_is_bounded_and_unused_entries_are_removed_first() {
    let (lab, member) = (room("Lab", None).weight(), profile("m").weight());
    let mut story = Story::with(Registry::with_space((lab + 4 * member) as usize));
    for id in ["a", "b", "c", "d"] {
        story.register(id, "m", at(0));
    }
    let more = registering(ParticipantId::parse("e").unwrap(), profile("m"), Reach::Tunnel);
    let refused = story.registry.upsert(&story.code, more, at(0), &mut *story.random).unwrap_err();
    assert_eq!((refused, story.registry.has_space(None, 1)), (NotRegistered::Full, false));
    story.register("a", "m", at(1));
    story.join("b", "m", at(1));
    assert!(story.registry.expire_members(None, at(59)).0.is_empty());
    let (gone, events) = story.registry.expire_members(None, at(60));
    assert_eq!((gone.len(), names(&events)), (2, vec!["participant.left".to_owned(); 2]));
    assert_eq!(story.registry.space.used(), lab + 2 * member);
    assert!(story.registry.expire_members(None, at(100)).0.is_empty(), "there is space again");
    assert_eq!(story.registry.expire_members(Some(3_600_000), at(3601)).0.len(), 1, "b is up");

    for name in ["one", "two"] {
        story.registry.create_room(room(name, None), at(0), &mut *story.random);
    }
    assert!(story.registry.expire_rooms(RoomExpiry::default(), at(599)).0.is_empty());
    assert_eq!(story.registry.expire_rooms(RoomExpiry::default(), at(600)).0.len(), 2);
    story.registry.remove(&story.code, "b", at(600)).unwrap();
    assert_eq!(story.registry.space.used(), lab);
}

#[test]
fn a_network_has_a_quarter_of_the_space_and_its_unused_entries_are_removed_first() {
    let [ann, bob] = [1, 2].map(|n| Some(IpAddr::from([10, 0, 0, n])));
    let name = "\u{1}".repeat(1000);
    let weight = room(&name, ann).weight();
    assert!(weight > 6000, "names are weighed as lists show them");
    let mut story = Story::with(Registry::with_space(16 * weight as usize));
    for _ in 0..4 {
        assert!(story.registry.has_space(ann, weight));
        story.registry.create_room(room(&name, ann), at(0), &mut *story.random);
    }
    assert!(!story.registry.has_space(ann, weight) && story.registry.has_space(bob, weight));
    story.registry.create_room(room(&name, bob), at(0), &mut *story.random);
    assert_eq!(story.registry.expire_rooms(RoomExpiry::default(), at(600)).0.len(), 4, "ann's, who is short of space");
    let mut register = |id: &str, owner| {
        let new =
            registering(ParticipantId::parse(id).unwrap(), profile(&"m".repeat(2 * weight as usize)), Reach::Tunnel);
        story.registry.upsert(&story.code, Registering { owner, ..new }, at(600), &mut *story.random)
    };
    assert!(register("one", ann).is_ok() && register("one", ann).is_ok() && register("two", bob).is_ok());
    assert_eq!(register("three", ann).unwrap_err(), NotRegistered::Full);
}
