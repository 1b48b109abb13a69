//! The event log: bounded, filtered, and summarized when events come too fast to read. Pure.

use std::collections::VecDeque;

use serde_json::Value;

use gambi::proto::management::EventEnvelope;

use crate::monitor::state::{Link, MonitorState, Update};
use crate::monitor::text::{brief, clean, fit, speed, width};

/// The most lines kept; older ones are dropped.
const MAX_LINES: usize = 5000;
/// The most lines added per second; events beyond are counted in one summary line.
const MAX_PER_SECOND: u32 = 30;
/// The widest name in a line, in columns.
const MAX_NAME: usize = 30;

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The hub, its rooms, and actions of this monitor.
    Hub,
    /// A participant joined, changed or left.
    Participant,
    /// A request started or completed.
    Request,
    /// A request or something else failed.
    Failure,
}

impl Kind {
    /// The word that the filter's title shows.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Hub => "rooms",
            Kind::Participant => "participants",
            Kind::Request => "requests",
            Kind::Failure => "failures",
        }
    }
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct LogLine {
    /// Increases from line to line; identifies the scroll position.
    pub number: u64,
    /// Milliseconds since the epoch, by the local clock.
    pub at: u64,
    /// What it is about.
    pub kind: Kind,
    /// The room's code; empty if it concerns no room.
    pub room: String,
    /// What happened, safe to print.
    pub text: String,
}

/// The event log, and what is shown of it.
#[derive(Debug, Default)]
pub struct Log {
    lines: VecDeque<LogLine>,
    next: u64,
    /// The current second (since the epoch), the lines added in it, and the events beyond `MAX_PER_SECOND`.
    second: (u64, u32, Overflow),
    /// Shows only lines of that kind.
    pub only_kind: Option<Kind>,
    /// Shows only lines that contain this text, in any case.
    pub filter: String,
    /// The number of the last line shown; `None` follows the latest.
    anchor: Option<u64>,
}

/// Events in one second beyond `MAX_PER_SECOND`.
#[derive(Debug, Default, Clone, Copy)]
struct Overflow {
    requests: u64,
    failures: u64,
    others: u64,
}

impl Log {
    /// Logs an update. Called before `state` applies it, since a removed participant's name is still known then.
    pub fn on_update(&mut self, update: &Update, state: &MonitorState, now: u64) {
        match update {
            // Each attempt to reach a lost hub fails: that is logged once.
            Update::Lost { .. } if matches!(state.link, Link::Lost { .. }) => {}
            Update::Linked => self.add(now, Kind::Hub, "", || "connected to the hub's events".into()),
            Update::Lost { reason, .. } => {
                self.add(now, Kind::Failure, "", || clean(&format!("connection to the hub lost: {reason}")))
            }
            Update::Limited(limits) => {
                if let Some(limits) = limits {
                    self.add(now, Kind::Hub, "", || (*limits).to_owned());
                }
            }
            Update::Skipped(events) => {
                self.add(now, Kind::Failure, "", || format!("{events} events came faster than they could be read"));
            }
            Update::Refused(room, why) => {
                let known = state.rooms.get(room).is_some_and(|room| room.refused.is_some());
                if !known {
                    self.add(now, Kind::Hub, room, || clean(why));
                }
            }
            Update::Event(event) => {
                let kind = kind_of(&event.kind);
                self.add(now, kind, &event.room_code, || sentence(event, state));
            }
            Update::Rooms(..) | Update::Members(..) | Update::Measured(_) | Update::Queue(_) | Update::History(_) => {}
        }
    }

    /// Logs an action of this monitor.
    pub fn record(&mut self, now: u64, failed: bool, room: &str, text: &str) {
        let kind = if failed { Kind::Failure } else { Kind::Hub };
        self.add(now, kind, room, || clean(text));
    }

    fn add(&mut self, now: u64, kind: Kind, room: &str, text: impl FnOnce() -> String) {
        if self.second.0 != now / 1000 {
            self.second = (now / 1000, 0, Overflow::default());
        }
        self.second.1 += 1;
        if self.second.1 <= MAX_PER_SECOND {
            return self.push(now, kind, clean(room), text());
        }
        let beyond = &mut self.second.2;
        match kind {
            Kind::Request => beyond.requests += 1,
            Kind::Failure => beyond.failures += 1,
            Kind::Hub | Kind::Participant => beyond.others += 1,
        }
        let Overflow { requests, failures, others } = *beyond;
        let kind = if failures > 0 { Kind::Failure } else { Kind::Request };
        let counts = [(requests, "requests and answers"), (failures, "failures"), (others, "changes")];
        let counted: Vec<String> =
            counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        let text = format!("... and more in this second: {}", counted.join(", "));
        match self.lines.back_mut().filter(|_| self.second.1 > MAX_PER_SECOND + 1) {
            Some(last) => (last.kind, last.text) = (kind, text),
            None => self.push(now, kind, String::new(), text),
        }
    }

    fn push(&mut self, at: u64, kind: Kind, room: String, text: String) {
        if self.lines.len() == MAX_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(LogLine { number: self.next, at, kind, room, text });
        self.next += 1;
    }

    fn fits(&self, line: &LogLine) -> bool {
        let has = |text: &str| self.filter.is_empty() || text.to_lowercase().contains(&self.filter.to_lowercase());
        self.only_kind.is_none_or(|kind| kind == line.kind) && (has(&line.text) || has(&line.room))
    }

    /// The matching lines that fit into `rows`, the latest last.
    pub fn shown(&self, rows: usize) -> Vec<&LogLine> {
        let until = |line: &&LogLine| self.anchor.is_none_or(|anchor| line.number <= anchor);
        let mut lines: Vec<&LogLine> =
            self.lines.iter().rev().filter(until).filter(|l| self.fits(l)).take(rows).collect();
        lines.reverse();
        lines
    }

    /// Whether new lines are shown as they come.
    pub fn is_following(&self) -> bool {
        self.anchor.is_none()
    }

    /// Scrolls up, at most to the first matching line.
    pub fn scroll_up(&mut self, lines: usize) {
        let shown = self.shown(lines + 1);
        if shown.len() > lines {
            self.anchor = shown.first().map(|line| line.number);
        }
    }

    /// Scrolls down; at the end it follows new lines again.
    pub fn scroll_down(&mut self, lines: usize) {
        let Some(anchor) = self.anchor else { return };
        let mut later = self.lines.iter().filter(|line| line.number > anchor && self.fits(line));
        self.anchor = later.nth(lines.saturating_sub(1)).map(|line| line.number);
    }

    /// Scrolls to the end and follows new lines.
    pub fn follow(&mut self) {
        self.anchor = None;
    }

    /// Switches to the next filter: all kinds, then each kind alone.
    pub fn next_kind(&mut self) {
        self.only_kind = match self.only_kind {
            None => Some(Kind::Participant),
            Some(Kind::Participant) => Some(Kind::Request),
            Some(Kind::Request) => Some(Kind::Failure),
            Some(Kind::Failure) => Some(Kind::Hub),
            Some(Kind::Hub) => None,
        };
        self.anchor = None;
    }
}

fn kind_of(event: &str) -> Kind {
    match event {
        "llm.error" => Kind::Failure,
        _ if event.starts_with("llm.") => Kind::Request,
        _ if event.starts_with("participant.") => Kind::Participant,
        _ => Kind::Hub,
    }
}

/// A name made safe to print and cut to `MAX_NAME` columns.
fn short(name: &str) -> String {
    fit(&clean(name), width(&clean(name)).min(MAX_NAME)).trim_end().to_owned()
}

/// The event as a sentence.
fn sentence(event: &EventEnvelope, state: &MonitorState) -> String {
    let data = &event.data;
    let text = |key: &str| data[key].as_str().unwrap_or_default();
    let who = participant_name(event, state);
    let sentence = match event.kind.as_str() {
        "room.created" => format!("the room \"{}\" was created", short(text("name"))),
        "room.deleted" => format!("the room \"{}\" was deleted", short(text("name"))),
        "participant.joined" => format!("{who} joined with {}", text("model")),
        "participant.updated" if data["connection"]["connected"] == false => format!("{who} has no tunnel"),
        "participant.updated" if data["draining"] == true => format!("{who} is draining"),
        "participant.updated" if data["providerDown"] == true => format!("{who}'s provider is down"),
        "participant.updated" => format!("{who} is {}", text("status")),
        "participant.left" => format!("{who} left"),
        "participant.offline" => format!("{who} went offline"),
        "llm.request" => format!("{who} got a request for {}", text("model")),
        "llm.complete" => format!("{who} answered {}", measures(&data["metrics"])),
        "llm.error" if text("stage") == "cancelled" => format!("{who}: request cancelled"),
        "llm.error" => format!("{who} failed ({}): {}", text("stage"), text("error")),
        other => format!("{other} {who}"),
    };
    clean(&sentence)
}

/// The participant's nickname if it is known, else its id.
fn participant_name(event: &EventEnvelope, state: &MonitorState) -> String {
    let data = &event.data;
    if let Some(nickname) = data["nickname"].as_str() {
        return short(nickname);
    }
    let id = data["participantId"].as_str().unwrap_or_default();
    let id = if id.is_empty() { data["id"].as_str().unwrap_or_default() } else { id };
    let known = state.rooms.get(&event.room_code).and_then(|room| room.members.get(id));
    short(known.map_or(id, |member| &member.name))
}

fn measures(metrics: &Value) -> String {
    let number = |key: &str| metrics[key].as_u64();
    let mut parts = Vec::new();
    parts.extend(number("durationMs").map(|millis| format!("in {}", brief(millis))));
    parts.extend(number("ttftMs").map(|millis| format!("first token after {}", brief(millis))));
    parts.extend(number("outputTokens").map(|tokens| format!("{tokens} tokens")));
    parts.extend(metrics["tokensPerSecond"].as_f64().map(|rate| format!("{} tokens/s", speed(rate))));
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::monitor::fixtures::{NOW, answered, began, failed, lab, participant};

    fn texts(log: &Log, rows: usize) -> Vec<String> {
        log.shown(rows).iter().map(|line| line.text.clone()).collect()
    }

    fn numbered(lines: u64) -> Log {
        let mut log = Log::default();
        (0..lines).for_each(|n| log.record(NOW + n * 1000, false, "", &format!("line {n}")));
        log
    }

    #[test]
    fn events_are_described_in_sentences() {
        let state = lab(&[participant("ann", "An\u{1b}n")]);
        let mut log = Log::default();
        log.on_update(&began("LAB001", "ann", "r1"), &state, NOW);
        log.on_update(&answered("LAB001", "ann", "r1"), &state, NOW);
        log.on_update(&failed("LAB001", "ann", "r2", "cancelled"), &state, NOW);
        log.on_update(&failed("LAB001", "ann", "r2", "stream"), &state, NOW);
        let lines = texts(&log, 10);
        assert_eq!(lines[0], "An\u{fffd}n got a request for any");
        assert_eq!(lines[1], "An\u{fffd}n answered in 1.0s, first token after 210ms, 40 tokens");
        assert_eq!(lines[2..], ["Ann: request cancelled", "Ann failed (stream): it broke"]);
    }

    #[test]
    fn the_dashboard_describes_events_in_the_same_words() {
        let theirs = include_str!("../web/events.js");
        let state = lab(&[participant("ann", "Ann")]);
        let told = |kind: &str, data: Value| {
            sentence(&EventEnvelope { kind: kind.into(), timestamp: NOW, room_code: "LAB001".into(), data }, &state)
        };
        let metrics = json!({ "durationMs": 1000, "ttftMs": 210, "tokensPerSecond": 4.5 });
        for (kind, data, words) in [
            ("room.created", json!({ "name": "Lab" }), " was created"),
            ("room.deleted", json!({ "name": "Lab" }), " was deleted"),
            ("participant.joined", json!({ "id": "ann", "model": "m" }), " joined with "),
            ("participant.updated", json!({ "id": "ann", "providerDown": true }), "'s provider is down"),
            ("participant.left", json!({ "participantId": "ann" }), " left"),
            ("participant.offline", json!({ "participantId": "ann" }), " went offline"),
            ("llm.request", json!({ "participantId": "ann", "model": "m" }), " got a request for "),
            ("llm.complete", json!({ "participantId": "ann", "metrics": metrics }), " answered in "),
            ("llm.complete", json!({ "participantId": "ann", "metrics": metrics }), "first token after "),
            ("llm.complete", json!({ "participantId": "ann", "metrics": metrics }), " tokens/s"),
            ("llm.error", json!({ "participantId": "ann", "stage": "cancelled" }), ": request cancelled"),
            ("llm.error", json!({ "participantId": "ann", "stage": "stream", "error": "x" }), " failed ("),
        ] {
            assert!(told(kind, data).contains(words) && theirs.contains(words), "{kind}: {words}");
        }
        let page = include_str!("../web/index.html").to_lowercase();
        for kind in [Kind::Hub, Kind::Participant, Kind::Request, Kind::Failure] {
            assert!(page.contains(&format!(">{}</option>", kind.word())), "{}", kind.word());
        }
    }

    #[test]
    fn the_log_is_filtered_by_kind_and_by_text() {
        let state = lab(&[participant("ann", "Ann"), participant("bob", "Bob")]);
        let mut log = Log::default();
        for id in ["ann", "bob"] {
            log.on_update(&began("LAB001", id, id), &state, NOW);
            log.on_update(&failed("LAB001", id, id, "stream"), &state, NOW);
        }
        log.filter = "BOB".into();
        assert_eq!(texts(&log, 10), ["Bob got a request for any"]);
        log.filter = "lab0".into();
        assert_eq!(log.shown(10).len(), 4);
        log.filter.clear();
        let mut seen = Vec::new();
        for _ in 0..5 {
            seen.push(log.shown(10).len());
            log.next_kind();
        }
        assert_eq!((seen, log.only_kind), (vec![4, 0, 2, 2, 0], None));
    }

    #[test]
    fn scrolling_stays_in_place_while_lines_arrive() {
        let mut log = numbered(10);
        log.scroll_up(3);
        assert_eq!((texts(&log, 2), log.is_following()), (vec!["line 5".into(), "line 6".into()], false));
        log.record(NOW, false, "", "more");
        assert_eq!(texts(&log, 1), ["line 6"]);
        log.scroll_down(1);
        assert_eq!(texts(&log, 1), ["line 7"]);
        log.scroll_down(10);
        assert_eq!((texts(&log, 1), log.is_following()), (vec!["more".into()], true));
        // It stops at the first line.
        log.scroll_up(10);
        log.scroll_up(10);
        assert_eq!(texts(&log, 5), ["line 0"]);
    }

    #[test]
    fn too_many_events_are_summarized_and_the_log_is_bounded() {
        let state = lab(&[]);
        let mut log = Log::default();
        for n in 0..1000 {
            log.on_update(&began("LAB001", "ann", &n.to_string()), &state, NOW);
        }
        log.record(NOW, true, "", "a failure");
        let lines = texts(&log, 100);
        assert_eq!(lines.len(), 31);
        assert_eq!(lines[30], "... and more in this second: 970 requests and answers, 1 failures");
        log.record(NOW + 1000, false, "", "later");
        assert_eq!(texts(&log, 1), ["later"]);
        assert_eq!(numbered(2 * MAX_LINES as u64).lines.len(), MAX_LINES);
    }
}
