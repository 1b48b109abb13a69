//! Property tests of values and config files.

use proptest::prelude::*;

use super::config_file::choose;
use super::values::{size, time};
use crate::monitor::clean::{multi_line, one_line};
use crate::monitor::text::clock;

proptest! {
    // A failure becomes a unit test beside the code, not a file of seeds.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn values_of_any_kind_are_read_or_refused(text in any::<String>(), number in any::<u64>(), unit in "[a-zA-Z]{0,3}") {
        for text in [text, format!("{number}{unit}"), format!(" {number} {unit} ")] {
            prop_assert!(time(&text).is_none_or(|time| time.as_millis() > 0 && time.as_secs() <= 86_400));
            prop_assert!(size(&text).is_none_or(|size| size > 0));
        }
        prop_assert_eq!(clock(number).len(), 9);
        prop_assert_eq!(size(&format!("{}KiB", number >> 10 | 1)), Some((number >> 10 | 1) << 10));
    }

    #[test]
    fn config_files_of_any_kind_are_read_or_refused(text in any::<String>(), name in any::<String>(), port in any::<u32>()) {
        let _ = choose(&text, Some(&name), "f");
        let file = serde_json::json!({ "envs": { name.clone(): { "serve": { "port": port } } } }).to_string();
        let chosen = choose(&file, Some(&name), "f").ok().and_then(|environment| environment.serve.port);
        prop_assert_eq!(chosen, u16::try_from(port).ok());
    }

    #[test]
    fn nothing_that_is_printed_steers_a_terminal(text in any::<String>()) {
        prop_assert!(!one_line(&text).contains(|c: char| c.is_control()));
        prop_assert!(!multi_line(&text).contains(|c: char| c.is_control() && !matches!(c, '\n' | '\t')));
    }
}
