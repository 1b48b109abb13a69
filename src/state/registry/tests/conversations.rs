//! Which participant gets the next turn of a conversation.

use super::*;
use crate::state::conversations::Previous;

const ALL: [&str; 4] = ["a", "b", "c", "d"];

impl Story {
    /// Four participants that differ in nothing but what `change` sets.
    fn of_four(change: impl Fn(&str, &mut Profile)) -> Self {
        let mut story = Story::new();
        for id in ALL {
            story.profiled(id, |profile| {
                profile.concurrency = 2;
                change(id, profile);
            });
        }
        story
    }

    /// A participant's entry as the one that answered with the model `m`.
    fn previous(&self, id: &str) -> Previous {
        let room = self.registry.room(&self.code).unwrap();
        Previous::new(room.members[&ParticipantId::parse(id).unwrap()].serial, "m")
    }

    /// Who gets a next turn; the slot stays taken.
    fn turn(&mut self, model: &str, previous: Previous) -> Picked {
        let want = Want { previous: Some(previous), ..self.want(model, Need::Chat) };
        self.registry.pick(&self.code, &want, at(0), &mut *self.random).unwrap()
    }

    /// Whether each of many next turns goes to this participant.
    fn returns_to(&mut self, id: &str, model: &str, previous: Previous) -> bool {
        (0..20).all(|_| {
            let picked = self.turn(model, previous);
            self.registry.release(&picked, at(0));
            picked.id.as_str() == id
        })
    }
}

#[test]
fn a_conversation_returns_to_its_participant_among_four_equal_ones() {
    let mut story = Story::of_four(|_, _| ());
    for id in ALL {
        for model in ["any", "m", "model:m"] {
            let previous = story.previous(id);
            assert!(story.returns_to(id, model, previous), "{id} {model}");
        }
    }
}

#[test]
fn a_conversation_returns_to_a_participant_that_is_busier_and_has_less_weight() {
    let mut story = Story::of_four(|id, profile| profile.weight = if id == "c" { 1 } else { 50 });
    let previous = story.previous("c");
    assert_eq!(story.turn("m", previous).id.as_str(), "c");
    assert!(story.returns_to("c", "m", previous), "it has a free slot");
    assert_eq!(story.turn("m", previous).id.as_str(), "c");
    assert_ne!(story.turn("m", previous).id.as_str(), "c", "all its slots are taken");
}

#[test]
fn a_participant_that_left_or_answered_with_another_model_is_not_preferred() {
    let mut story = Story::of_four(|_, _| ());
    let serial = story.turn("a", story.previous("a")).serial;
    let other_model = Previous::new(serial, "x");
    let gone = story.previous("b");
    story.registry.remove(&story.code, "b", at(0)).unwrap();
    story.join("b", "m", at(0));
    for previous in [other_model, gone] {
        let counted: std::collections::BTreeSet<_> = (0..60)
            .map(|_| {
                let picked = story.turn("m", previous);
                story.registry.release(&picked, at(0));
                picked.id.to_string()
            })
            .collect();
        assert!(counted.iter().eq(["b", "c", "d"]), "those with the fewest requests: {counted:?}");
    }
}

#[test]
fn a_fallback_is_not_preferred_and_neither_is_a_participant_whose_model_is_not_in_memory() {
    let mut story = Story::of_four(|id, profile| profile.fallback = id == "a");
    let previous = story.previous("a");
    assert!(!story.returns_to("a", "m", previous));
    let mut story = Story::of_four(|_, _| ());
    let loaded = |story: &mut Story, id: &str, names: &[String]| {
        let id = ParticipantId::parse(id).unwrap();
        let room = story.registry.room_mut(&story.code).unwrap();
        room.members.get_mut(&id).unwrap().set_loaded(Some(names));
    };
    let previous = story.previous("a");
    loaded(&mut story, "a", &[]);
    assert!(!story.returns_to("a", "m", previous), "others may have it in memory");
    ALL.iter().for_each(|id| loaded(&mut story, id, &[]));
    assert!(story.returns_to("a", "m", previous), "nobody has it in memory");
}

#[test]
fn a_participant_that_was_tried_or_failed_is_not_preferred() {
    let mut story = Story::of_four(|_, _| ());
    let previous = story.previous("a");
    let picked = story.turn("m", previous);
    let want = Want { previous: Some(previous), tried: vec![picked.serial], ..story.want("m", Need::Chat) };
    let other = story.registry.pick(&story.code, &want, at(0), &mut *story.random).unwrap();
    assert_ne!(other.serial, picked.serial);
    for picked in [&picked, &other] {
        story.registry.release(picked, at(0));
    }
    story.registry.record_outcome(&picked, Outcome::Failed, at(0));
    assert!(!story.returns_to("a", "m", previous));
}
