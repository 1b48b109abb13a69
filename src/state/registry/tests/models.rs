//! Participants with several models, and what decides between participants that are alike.

use super::*;

impl Story {
    fn with_models(&mut self, id: &str, models: &[&str]) {
        let others = models.iter().map(|&name| name.to_owned()).collect();
        self.profiled(id, |profile| profile.models = Models::new(models[0].to_owned(), others));
    }

    fn loads(&mut self, id: &str, models: &[&str]) -> Vec<Event> {
        let loaded: Vec<String> = models.iter().map(|&name| name.to_owned()).collect();
        let report = HeartbeatBody { loaded: Some(loaded), ..HeartbeatBody::default() };
        self.registry.heartbeat(&self.code, id, &report, at(1)).unwrap().1
    }

    /// Who gets a request, and the model that it goes out with. The place is given back.
    fn served(&mut self, model: &str) -> Option<(String, String)> {
        let picked = self.pick(model).ok()?;
        self.registry.release(&picked, at(0));
        Some((picked.id.to_string(), picked.model))
    }

    fn served_by(&mut self, model: &str, times: usize) -> Vec<String> {
        (0..times).filter_map(|_| self.served(model)).map(|(id, _)| id).collect()
    }
}

fn pair(id: &str, model: &str) -> Option<(String, String)> {
    Some((id.to_owned(), model.to_owned()))
}

#[test]
fn a_request_goes_out_with_the_model_that_it_names_as_the_provider_spells_it() {
    let mut story = Story::new();
    story.with_models("a", &["llama3:latest", "qwen3:8b", "Qwen3:8b"]);
    for (asked, model) in [
        ("llama3", "llama3:latest"),
        ("model:llama3", "llama3:latest"),
        ("qwen3:8b", "qwen3:8b"),
        ("model:Qwen3:8b", "Qwen3:8b"),
        ("Qwen3:8b:latest", "Qwen3:8b"),
        ("a", "llama3:latest"),
        ("any", "llama3:latest"),
    ] {
        assert_eq!(story.served(asked), pair("a", model), "{asked}");
    }
    assert!(["qwen3", "QWEN3:8B", "llama"].iter().all(|unknown| story.served(unknown).is_none()));
}

#[test]
fn a_request_that_names_no_model_goes_to_the_first_unless_only_another_is_in_memory() {
    let mut story = Story::new();
    story.with_models("a", &["one", "two", "three"]);
    for (loaded, model) in [(&["three", "two"][..], "two"), (&["two", "one"], "one"), (&[], "one")] {
        story.loads("a", loaded);
        assert_eq!((story.served("any"), story.served("a")), (pair("a", model), pair("a", model)), "{loaded:?}");
        assert_eq!(story.served("three"), pair("a", "three"));
    }
}

#[test]
fn an_alias_is_a_name_of_the_first_model() {
    let mut story = Story::new();
    story.profiled("a", |profile| {
        profile.models = Models::new("one".into(), vec!["two".into()]);
        profile.aliases = vec!["gpt-4o".into(), "two".into()];
    });
    assert_eq!(story.served("gpt-4o"), pair("a", "one"));
    assert_eq!(story.served("two"), pair("a", "two"), "a model's own name comes first");
}

#[test]
fn of_participants_that_are_alike_one_with_the_model_in_memory_is_chosen() {
    let mut story = Story::new();
    for id in ["a", "b", "c"] {
        story.with_models(id, &["one", "two"]);
    }
    story.loads("a", &["one"]);
    story.loads("b", &["two"]);
    assert_eq!(story.served_by("one", 9), ["a"; 9]);
    assert_eq!(story.served_by("two", 9), ["b"; 9]);
    let busy = story.pick("two").unwrap();
    assert_eq!((busy.id.as_str(), story.served_by("two", 9)), ("b", vec!["c".to_owned(); 9]), "one that does not tell");
}

#[test]
fn what_is_in_memory_is_shown_and_told_when_it_changes() {
    let mut story = Story::new();
    story.with_models("a", &["one", "two"]);
    assert_eq!(names(&story.loads("a", &["two", "unknown", "two"])), ["participant.updated"]);
    assert!(story.loads("a", &["two"]).is_empty(), "nothing has changed");
    let shown = |story: &Story| story.registry.room(&story.code).unwrap().members_in_order()[0].shown();
    assert_eq!(
        (shown(&story).models, shown(&story).loaded),
        (vec!["one".into(), "two".into()], vec!["two".to_owned()])
    );
    story.registry.heartbeat(&story.code, "a", &HeartbeatBody::default(), at(2)).unwrap();
    assert_eq!(shown(&story).loaded, ["two"], "a heartbeat that says nothing changes nothing");
    story.with_models("a", &["one"]);
    assert!(shown(&story).models.is_empty() && shown(&story).loaded.is_empty());
}

#[test]
fn requests_are_shared_in_proportion_to_the_weights() {
    let mut story = Story::new();
    for (id, weight) in [("a", 3), ("b", 1)] {
        story.profiled(id, |profile| (profile.weight, profile.concurrency) = (weight, 100));
    }
    let share = |ids: &[String]| ids.iter().filter(|id| *id == "a").count();
    let one_by_one = story.served_by("any", 400);
    assert!((260..340).contains(&share(&one_by_one)), "{}", share(&one_by_one));
    let at_once: Vec<_> = (0..40).map(|_| story.pick("any").unwrap().id.to_string()).collect();
    assert_eq!(share(&at_once), 30);
}

#[test]
fn a_fallback_is_used_only_where_no_other_can_take_the_request() {
    let mut story = Story::new();
    story.profiled("spare", |profile| profile.fallback = true);
    story.join("a", "m", at(0));
    assert_eq!(story.served_by("any", 9), ["a"; 9]);
    let a = story.pick("any").unwrap();
    assert_eq!(story.served("any"), pair("spare", "m"), "the other is busy");
    story.registry.release(&a, at(0));
    story.registry.record_outcome(&a, Outcome::Failed, at(0));
    assert_eq!(story.served("any"), pair("spare", "m"), "the other has just failed");
    story.registry.remove(&story.code, "a", at(0)).unwrap();
    assert_eq!(story.served("any"), pair("spare", "m"));
}

#[test]
fn each_model_of_a_participant_takes_space() {
    let several = Profile { models: Models::new("m".into(), vec!["n".into(); 3]), ..profile("m") };
    assert!(several.weight() > profile("m").weight() + 1);
    let more = Profile { models: Models::new("m".into(), (0..300).map(|n| n.to_string()).collect()), ..profile("m") };
    assert!(more.weight() > 300 * 64);
}
