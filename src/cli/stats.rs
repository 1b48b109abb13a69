//! `gambi room stats`: a room's metrics over the last minutes.

use gambi::proto::management::Status;
use gambi::proto::metrics::{Figures, Quantiles, RoomMetrics, Windows};
use gambi::proto::queue::{RoomQueue, WaitingRequest};

use super::context::Context;
use super::failure::Failure;
use super::output::table;
use crate::monitor::clean::one_line;

type Window = fn(&Windows) -> &Figures;

/// The most waiting requests in the text.
const MAX_WAITING: usize = 20;

/// The window if `--over` is not given.
pub const OVER: &str = "5m";

/// Prints a room's metrics over the window that `--over` selects.
pub fn stats(context: &Context<'_>) -> Result<(), Failure> {
    let code = context.required("code")?;
    let over = context.value("over").unwrap_or(OVER);
    let window = window(over)?;
    let client = context.room_client()?;
    let metrics = client.rooms().metrics(&code)?;
    let request_id = client.last_request_id();
    // Older hubs do not tell it.
    let queue = if metrics.queued > 0 && context.out.is_text() { client.rooms().queue(&code).ok() } else { None };
    let waiting = queue.map(|queue| waiting(&queue)).unwrap_or_default();
    context.out.result(&metrics, request_id, || text(&metrics, over, window) + &waiting)
}

/// Who waits, for the end of the text.
fn waiting(queue: &RoomQueue) -> String {
    let shown = &queue.requests[..queue.requests.len().min(MAX_WAITING)];
    let row = |request: &WaitingRequest| {
        let who = match (&request.caller, request.client) {
            (Some(name), _) => one_line(name),
            (None, client) => format!("client {}", client.unwrap_or_default()),
        };
        let since = queue.timestamp.saturating_sub(request.since) as f64;
        [request.place.to_string(), who, one_line(&request.model), time(since)].to_vec()
    };
    let rows: Vec<_> = shown.iter().map(row).collect();
    let more = queue.queued.saturating_sub(shown.len() as u64);
    let more = if more > 0 { format!("\nand {more} more") } else { String::new() };
    format!("\n\nWaiting:\n\n{}{more}", table(&["PLACE", "WHO", "MODEL", "WAITS"], &rows))
}

fn window(over: &str) -> Result<Window, Failure> {
    match over {
        "1m" => Ok(|windows| &windows.one_minute),
        "5m" => Ok(|windows| &windows.five_minutes),
        "15m" => Ok(|windows| &windows.fifteen_minutes),
        _ => Err(Failure::usage(format!("--over must be 1m, 5m or 15m, not \"{over}\""))),
    }
}

fn text(metrics: &RoomMetrics, over: &str, window: Window) -> String {
    let now = format!(
        "Room {}: {} in flight, {} queued. The last {over}:",
        one_line(&metrics.room_code),
        metrics.in_flight,
        metrics.queued
    );
    let row = |name: &str, status: &str, in_flight: u64, windows: &Windows| {
        let mut cells = vec![name.to_owned(), status.to_owned(), in_flight.to_string()];
        cells.extend(metric_cells(window(windows)));
        cells
    };
    let mut rows = vec![row("all", "", metrics.in_flight, &metrics.windows)];
    for model in &metrics.models {
        let count = format!("{} here", model.participants);
        rows.push(row(&format!("model:{}", model.model), &count, model.in_flight, &model.windows));
    }
    for participant in &metrics.participants {
        let status = status(participant.status);
        rows.push(row(&participant.participant_id, status, participant.in_flight, &participant.windows));
    }
    let head = [
        "WHO",
        "STATUS",
        "IN FLIGHT",
        "REQUESTS",
        "ERRORS",
        "TTFT P50/P95",
        "DURATION P50/P95",
        "TOKENS/S",
        "TOKENS IN/OUT",
    ];
    format!("{now}\n\n{}", table(&head, &rows))
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Online => "online",
        Status::Busy => "busy",
        Status::Offline => "offline",
    }
}

fn metric_cells(figures: &Figures) -> [String; 6] {
    let none = || "-".to_owned();
    let errors = match figures.error_rate {
        Some(rate) if figures.errors > 0 => format!("{} ({:.0} %)", figures.errors, rate * 100.0),
        _ => figures.errors.to_string(),
    };
    [
        figures.requests.to_string(),
        errors,
        figures.ttft_ms.map_or_else(none, times),
        figures.duration_ms.map_or_else(none, times),
        figures.tokens_per_second.map_or_else(none, |rate| format!("{rate:.1}")),
        format!("{}/{}", figures.input_tokens, figures.output_tokens),
    ]
}

fn times(quantiles: Quantiles) -> String {
    format!("{} / {}", time(quantiles.p50), time(quantiles.p95))
}

/// Formats milliseconds in the unit that fits.
fn time(millis: f64) -> String {
    match millis {
        ..10.0 => format!("{millis:.1} ms"),
        ..1000.0 => format!("{millis:.0} ms"),
        ..60_000.0 => format!("{:.1} s", millis / 1000.0),
        _ => format!("{:.1} min", millis / 60_000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gambi::proto::metrics::ParticipantMetrics;

    #[test]
    fn a_time_is_formatted_in_the_unit_that_fits() {
        assert_eq!([0.25, 12.4, 1530.0, 90_000.0].map(time), ["0.2 ms", "12 ms", "1.5 s", "1.5 min"]);
    }

    #[test]
    fn a_table_has_all_then_models_then_participants() {
        let one_minute = Figures {
            requests: 4,
            errors: 1,
            error_rate: Some(0.25),
            ttft_ms: Some(Quantiles { p50: 20.0, p95: 200.0 }),
            tokens_per_second: Some(12.34),
            output_tokens: 7,
            ..Figures::default()
        };
        let windows = Windows { one_minute, ..Windows::default() };
        let ann = ParticipantMetrics {
            participant_id: "ann\u{1b}".into(),
            nickname: "Ann".into(),
            model: "m".into(),
            status: Status::Busy,
            in_flight: 1,
            windows: windows.clone(),
        };
        let room = RoomMetrics {
            room_code: "ABC234".into(),
            in_flight: 1,
            windows,
            participants: vec![ann],
            ..RoomMetrics::default()
        };
        let text = text(&room, "1m", window("1m").unwrap());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "Room ABC234: 1 in flight, 0 queued. The last 1m:");
        assert!(lines[3].starts_with("all "), "{text}");
        let expected = "busy            1         4  1 (25 %)  20 ms / 200 ms  -                 12.3      0/7";
        assert!(lines[4].starts_with("ann\u{fffd}") && lines[4].ends_with(expected), "{text}");
        assert_eq!(window("2h").unwrap_err().exit_code(), 2);
    }

    #[test]
    fn who_waits_is_told_in_order_and_a_long_queue_by_its_beginning() {
        let request = |place: u64| WaitingRequest {
            place,
            caller: (place == 1).then(|| "ann".into()),
            client: (place > 1).then_some(1),
            own: false,
            model: "any".into(),
            since: 5_000,
        };
        let requests = (1..=30).map(request).collect();
        let queue = RoomQueue { room_code: "ABC234".into(), timestamp: 17_000, queued: 400, requests };
        let text = waiting(&queue);
        let lines: Vec<_> = text.lines().skip(5).collect();
        assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["1", "ann", "any", "12.0", "s"]);
        assert!(lines[1].contains("client 1"), "{text}");
        assert_eq!((lines.len(), lines[MAX_WAITING]), (MAX_WAITING + 1, "and 380 more"));
    }
}
