//! The words that the monitor shows and the dashboard (`src/web`) shows too. A test compares the two, so that a person who
//! knows one of them can read the other. Where they differ in case, that is the only difference.

// Some are shown by the terminal interface only.
#![cfg_attr(not(feature = "tui"), allow(dead_code))]

/// The name of a column or of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// As on the dashboard.
    pub full: &'static str,
    /// For columns that have no width for it.
    pub short: &'static str,
}

const fn word(full: &'static str, short: &'static str) -> Word {
    Word { full, short }
}

pub const IN_FLIGHT: Word = word("In flight", "Flight");
pub const QUEUED: Word = word("Queued", "Queued");
pub const REQUESTS: Word = word("Requests", "Reqs");
pub const FAILED: Word = word("Failed", "Failed");
pub const FIRST_TOKEN: Word = word("First token", "First");
pub const P95: Word = word("p95", "p95");
pub const TOKENS_PER_SECOND: Word = word("Tokens/s", "Tok/s");

/// The columns of the queue.
pub const PLACE: &str = "Place";
pub const WHO: &str = "Who";
pub const MODEL: &str = "Model";
pub const WAITS: &str = "Waits";

/// Whether the hub is there.
pub mod link {
    pub const CONNECTING: &str = "connecting";
    pub const UP: &str = "up";
    pub const LOST: &str = "lost";
}

/// The parts of the screen.
pub mod pane {
    pub const ROOMS: &str = "Rooms";
    pub const PARTICIPANTS: &str = "Participants";
    pub const ACTIVITY: &str = "Activity";
    pub const EVENTS: &str = "Events";
    pub const QUEUE: &str = "Queue";
    pub const CHAT: &str = "Chat";
}

/// What one can do.
pub mod action {
    pub const NEW_ROOM: &str = "New room";
    pub const FILTER: &str = "Filter";
    pub const SEND: &str = "Send";
    pub const STOP: &str = "Stop";
    pub const TRY_AGAIN: &str = "Try again";
    pub const NEW_CHAT: &str = "New chat";
}

/// Before the place of a request that waits.
pub const WAITING_IN_LINE: &str = "Waiting in line";

/// Everybody of a room, as who is to answer.
pub const ANY_PARTICIPANT: &str = "Any participant";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::model::Health;

    const PAGE: &str = include_str!("../web/index.html");
    const PARTICIPANTS: &str = include_str!("../web/participants.js");
    const ROOMS: &str = include_str!("../web/rooms.js");
    const CHAT: &str = include_str!("../web/chat.js");
    const TALK: &str = include_str!("../web/talk.js");
    const TIMELINE: &str = include_str!("../web/timeline.js");
    const MAIN: &str = include_str!("../web/main.js");

    /// The part of a script from where `begin` is up to the next line that is `end`.
    fn part<'t>(text: &'t str, begin: &str, end: &str) -> &'t str {
        let from = &text[text.find(begin).unwrap_or_else(|| panic!("the dashboard has no {begin}"))..];
        &from[..from.find(&format!("\n{end}")).unwrap_or(from.len())]
    }

    /// The second strings of the pairs in a part of a script, such as `Busy` of `["busy", "Busy"]`, in lower case.
    fn second_strings(part: &str) -> Vec<String> {
        let pairs = part.split("[\"").skip(1).filter_map(|pair| pair.split(']').next());
        pairs.filter_map(|pair| Some(pair.split('"').nth(2)?.to_lowercase())).collect()
    }

    #[test]
    fn a_participants_status_is_the_same_word_as_on_the_dashboard() {
        let mut theirs = second_strings(part(PARTICIPANTS, "function statusOf", "function specsOf"));
        theirs.extend(second_strings(part(PARTICIPANTS, "function fillParticipant", "}")));
        theirs.sort();
        let mut ours = Health::ALL.map(Health::word).to_vec();
        ours.sort_unstable();
        assert_eq!(theirs, ours);
    }

    #[test]
    fn the_hubs_status_is_the_same_word_as_on_the_dashboard() {
        // The first string of each is that word; the dashboard can be locked and asleep besides.
        let table = part(MAIN, "const CONNECTIONS", "}");
        let theirs: Vec<String> = table
            .split("[\"")
            .skip(1)
            .filter_map(|pair| Some(pair.split('"').next()?.to_lowercase()))
            .filter(|word| !["locked", "asleep"].contains(&word.as_str()))
            .collect();
        assert_eq!(theirs, [link::CONNECTING, link::UP, link::LOST]);
    }

    #[test]
    fn figures_and_columns_have_the_names_of_the_dashboard() {
        let stats = part(ROOMS, "function drawStats", "}");
        for name in [IN_FLIGHT, QUEUED, REQUESTS, FIRST_TOKEN, TOKENS_PER_SECOND] {
            assert!(stats.contains(&format!("[\"{}\"", name.full)), "{}", name.full);
        }
        for name in [REQUESTS, FAILED, TOKENS_PER_SECOND, FIRST_TOKEN, P95] {
            assert!(PAGE.contains(&format!("<th scope=\"col\">{}</th>", name.full)), "{}", name.full);
        }
        for name in [REQUESTS, TOKENS_PER_SECOND, FIRST_TOKEN] {
            assert!(TIMELINE.contains(&format!("title: \"{}\"", name.full)), "{}", name.full);
        }
        let queue = part(PAGE, "id=\"queue-panel\"", "      </section>");
        for name in [PLACE, WHO, MODEL, WAITS] {
            assert!(queue.contains(&format!(">{name}</th>")), "{name}");
        }
    }

    #[test]
    fn a_short_name_has_the_letters_of_the_long_one_in_their_order() {
        for name in [IN_FLIGHT, QUEUED, REQUESTS, FAILED, FIRST_TOKEN, P95, TOKENS_PER_SECOND] {
            let full = name.full.to_lowercase();
            let mut letters = full.chars();
            assert!(name.short.to_lowercase().chars().all(|c| letters.any(|letter| letter == c)), "{}", name.short);
        }
    }

    #[test]
    fn parts_of_the_screen_and_actions_have_the_names_of_the_dashboard() {
        for name in [pane::ROOMS, pane::PARTICIPANTS, pane::EVENTS, pane::QUEUE, pane::CHAT] {
            assert!(["h2", "h3"].iter().any(|tag| PAGE.contains(&format!(">{name}</{tag}>"))), "{name}");
        }
        for name in [pane::CHAT, pane::ACTIVITY, action::NEW_ROOM, action::SEND, action::STOP, action::NEW_CHAT] {
            assert!(PAGE.contains(&format!(">{name}</button>")), "{name}");
        }
        assert!(PAGE.contains(&format!("placeholder=\"{}\"", action::FILTER)));
        assert!(TALK.contains(&format!("\"{}\"", action::TRY_AGAIN)));
        assert!(CHAT.contains(&format!("[\"any\", \"{ANY_PARTICIPANT}\"]")));
        assert!(CHAT.contains(&format!("`{WAITING_IN_LINE}: ${{place[1]}} of ${{place[2]}}`")));
    }
}
