//! Property tests of settings and selectors.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::config::{merge, parse_config, shown};
use super::id::{ParticipantId, RoomCode};
use super::selector::Selector;

/// Settings, valid and invalid.
fn settings() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        (-3.0f64..3.0).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        Just(Value::Null),
        any::<String>().prop_map(Value::from),
    ];
    let names = ["temperature", "top_p", "max_tokens", "frequency_penalty", "presence_penalty", "seed"];
    let numbers = proptest::collection::vec((proptest::sample::select(names.to_vec()), number), 0..6);
    let stop = proptest::option::of(proptest::collection::vec(any::<String>(), 0..4));
    (numbers, stop, proptest::option::of(any::<String>())).prop_map(|(numbers, stop, instructions)| {
        let mut settings = json!({});
        for (name, value) in numbers {
            settings[name] = value;
        }
        settings["stop"] = json!(stop);
        settings["instructions"] = json!(instructions);
        settings
    })
}

proptest! {
    // A failing case becomes a unit test beside the code; no regression files are stored.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn accepted_settings_are_in_range_and_round_trip(settings in settings()) {
        if let Ok(config) = parse_config(&settings) {
            let number = |name: &str| settings[name].as_f64();
            prop_assert!(number("temperature").is_none_or(|n| (0.0..=2.0).contains(&n)));
            prop_assert!(number("top_p").is_none_or(|n| (0.0..=1.0).contains(&n)));
            prop_assert!(number("max_tokens").is_none_or(|n| n.fract() == 0.0));
            prop_assert_eq!(parse_config(&json!(config)).unwrap(), config.clone());
            let shown = json!(shown(&config));
            prop_assert_eq!(shown.get("instructions"), None);
        }
    }

    #[test]
    fn the_overriding_settings_win(near in settings(), far in settings()) {
        if let (Ok(near), Ok(far)) = (parse_config(&near), parse_config(&far)) {
            let merged = merge(&near, &far);
            prop_assert_eq!(&merged.sampling.temperature, &near.sampling.temperature.or(far.sampling.temperature));
            prop_assert_eq!(&merged.instructions, &near.instructions.or(far.instructions));
            prop_assert_eq!(merge(&merged, &merged), merged);
        }
    }

    #[test]
    fn every_text_is_a_selector_and_keeps_what_it_names(text in prop_oneof![any::<String>(), "model:.{0,9}", "any|\\*"]) {
        match Selector::parse(&text) {
            Selector::Any => prop_assert!(text == "any" || text == "*"),
            Selector::Model(name) => prop_assert_eq!(&format!("model:{name}"), &text),
            Selector::Name(name) => prop_assert_eq!(name, &text),
        }
    }

    #[test]
    fn codes_and_ids_round_trip(text in any::<String>(), code in "[0-9A-Za-z]{6}") {
        let read = RoomCode::parse(&code).unwrap();
        prop_assert_eq!(read.as_str(), code.to_ascii_uppercase());
        prop_assert!(RoomCode::parse(&text).is_none_or(|code| code.as_str().eq_ignore_ascii_case(&text)));
        if let Some(id) = ParticipantId::parse(&text) {
            let odd = ['/', '\n', '\u{202e}'];
            prop_assert!(id.as_str() == text && !text.contains(odd));
        }
    }
}
