//! The line of a request for people at a terminal: the time, the status in a colour, the duration, the method, the path
//! without what is the same everywhere, and then who asked for what. Made of the allow-list of `RequestLog`. No I/O.

use std::fmt::Write;

use super::LogLine;
use super::request::RequestLog;
use crate::proto::management::ErrorCode;

/// SGR parameters (ECMA-48, section 8.3.117).
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";

/// Columns, in characters. A value that is longer is cut.
const METHOD: usize = 6;
const PATH: usize = 18;
const ROOM: usize = 6;
const MODEL: usize = 12;
const PARTICIPANT: usize = 12;
/// The longest name of a caller, which has no column: most hubs know no callers.
const MAX_CALLER: usize = 24;

/// What a line has of the request itself.
pub struct ShortRequest<'e> {
    pub status: u16,
    pub duration_ms: u64,
    pub method: &'e str,
    pub path: &'e str,
    /// The room that the path names.
    pub room: Option<String>,
    /// The participant that the path names.
    pub participant: Option<String>,
}

impl ShortRequest<'_> {
    /// Appends the columns. `line` has the time.
    pub fn write_to(&self, line: &mut LogLine, outcome: &RequestLog) {
        line.coloured(status_colour(self.status), format_args!("{}", self.status));
        line.coloured(DIM, format_args!("{:>5}", Duration(self.duration_ms)));
        line.column(self.method, METHOD);
        line.column(short_path(self.path), PATH);
        let participant = outcome.participant.as_deref().or(self.participant.as_deref());
        line.column(self.room.as_deref().unwrap_or_default(), ROOM);
        line.column(outcome.model.as_deref().unwrap_or_default(), MODEL);
        if let Some(participant) = participant {
            line.column(participant, PARTICIPANT);
        }
        if let Some(caller) = outcome.caller.as_deref() {
            line.column(caller, caller.chars().count().min(MAX_CALLER));
        }
        if let (Some(input), Some(output)) = (outcome.input_tokens, outcome.output_tokens) {
            line.coloured(DIM, format_args!("{input}+{output} tokens"));
        }
        if let Some(hedge) = outcome.hedge {
            line.coloured(DIM, format_args!("hedge {}", hedge.as_str()));
        }
        let failed = outcome.stage_word().filter(|_| !outcome.is_cancelled());
        for reason in failed.into_iter().chain(outcome.code.map(ErrorCode::as_str)) {
            line.coloured(status_colour(self.status.max(400)), format_args!("{reason}"));
        }
    }
}

/// The colour of a status: failures of the hub or behind it, those of the client, and what went well.
fn status_colour(status: u16) -> &'static str {
    match status {
        500.. => RED,
        400.. => YELLOW,
        300.. => DIM,
        _ => GREEN,
    }
}

/// The path without the plane, the room and the participant, which have columns of their own.
fn short_path(path: &str) -> &str {
    let rest = path.strip_prefix("/v1").filter(|rest| rest.starts_with('/')).unwrap_or(path);
    let Some(inside) = rest.strip_prefix("/rooms/") else { return rest };
    let Some(at) = inside.find('/') else { return "/rooms" };
    let inside = &inside[at..];
    let own = inside.strip_prefix("/participants/").and_then(|rest| Some(&rest[rest.find('/')?..]));
    own.or(inside.strip_prefix("/v1").filter(|rest| rest.starts_with('/'))).unwrap_or(inside)
}

/// Milliseconds in the unit that fits, in at most six characters, mostly five.
struct Duration(u64);

impl std::fmt::Display for Duration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::with_capacity(8);
        let _ = match self.0 {
            millis @ 0..1000 => write!(text, "{millis}ms"),
            millis @ 1000..60_000 => write!(text, "{}.{}s", millis / 1000, millis % 1000 / 100),
            millis @ 60_000..3_600_000 => write!(text, "{}m{:02}s", millis / 60_000, millis / 1000 % 60),
            millis => write!(text, "{}h{:02}m", millis / 3_600_000, millis / 60_000 % 60),
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::observe::log::settings::LogFormat;
    use crate::proto::stage::Stage;

    fn written(colours: bool, request: &ShortRequest<'_>, outcome: &RequestLog) -> String {
        let mut line = LogLine::new(LogFormat::Short { colours }, "info", 1_700_000_000_000, "");
        request.write_to(&mut line, outcome);
        line.finish()
    }

    fn chat(status: u16) -> ShortRequest<'static> {
        ShortRequest {
            status,
            duration_ms: 2345,
            method: "POST",
            path: "/rooms/LAB001/v1/chat/completions",
            room: Some("LAB001".into()),
            participant: None,
        }
    }

    #[test]
    fn a_request_is_one_line_in_columns() {
        let outcome = RequestLog {
            caller: Some("bob".into()),
            participant: Some("ann-laptop".into()),
            model: Some("llama3".into()),
            input_tokens: Some(12),
            output_tokens: Some(140),
            ..RequestLog::default()
        };
        assert_eq!(
            written(false, &chat(200), &outcome),
            "22:13:20 200  2.3s POST   /chat/completions  LAB001 llama3       ann-laptop   bob 12+140 tokens\n"
        );
        let plain = ShortRequest { method: "GET", path: "/healthz", room: None, ..chat(200) };
        assert_eq!(written(false, &plain, &RequestLog::default()), "22:13:20 200  2.3s GET    /healthz\n");
    }

    #[test]
    fn a_failure_is_coloured_by_whose_it_is_and_has_its_reason() {
        let outcome = RequestLog {
            stage: Some(Stage::Connect),
            code: Some(ErrorCode::EndpointNotReachable),
            ..RequestLog::default()
        };
        let line = written(true, &chat(503), &outcome);
        assert!(line.starts_with("22:13:20 \u{1b}[31m503\u{1b}[0m "), "{line:?}");
        assert!(line.contains("\u{1b}[31mconnect\u{1b}[0m \u{1b}[31mENDPOINT_NOT_REACHABLE\u{1b}[0m\n"), "{line:?}");
        assert!(written(true, &chat(404), &RequestLog::default()).contains("\u{1b}[33m404"));
    }

    #[test]
    fn what_clients_chose_is_cut_and_controls_no_terminal() {
        let outcome = RequestLog { model: Some("\u{1b}[2J\n\u{202e}".repeat(50)), ..RequestLog::default() };
        let request = ShortRequest { path: "/rooms/\u{9b}/x\u{1b}y", ..chat(200) };
        let line = written(false, &request, &outcome);
        assert!(!line.trim_end().contains(|c: char| c.is_control()) && line.matches('\n').count() == 1, "{line:?}");
        assert!(line.len() < 250, "{line:?}");
    }

    #[test]
    fn a_path_is_shown_without_the_plane_and_the_room() {
        for (path, short) in [
            ("/rooms/LAB001/v1/models", "/models"),
            ("/v1/rooms/LAB001/participants/ann", "/participants/ann"),
            ("/v1/rooms/LAB001/participants/ann/heartbeat", "/heartbeat"),
            ("/v1/rooms/LAB001", "/rooms"),
            ("/v1/rooms", "/rooms"),
            ("/v1x", "/v1x"),
            ("/", "/"),
        ] {
            assert_eq!(short_path(path), short);
        }
    }

    #[test]
    fn durations_fit_their_column() {
        let shown = [5, 2345, 75_000, 7_260_000].map(|millis| Duration(millis).to_string());
        assert_eq!(shown, ["5ms", "2.3s", "1m15s", "2h01m"]);
    }
}
