//! `gambi events watch`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::Value;

use gambi::proto::management::EventEnvelope;

use super::context::Context;
use super::failure::Failure;
use super::style;
use crate::monitor::clean::one_line;
use crate::monitor::text::clock;

/// The columns of an event's name: those of `participant.offline`.
const KIND_COLUMNS: usize = 19;

/// Prints a room's events until a signal arrives, stdout is closed, or the hub ends the stream.
pub fn watch(context: &Context<'_>) -> Result<(), Failure> {
    let room = context.required("room")?;
    let client = context.room_client()?;
    let mut stream = client.events(Some(&room))?;
    let stopped = Arc::new(AtomicBool::new(false));
    let (signals, stopper, flag) = (context.signals.listen(), stream.stopper(), stopped.clone());
    thread::Builder::new().name("stop".into()).spawn(move || {
        if signals.recv().is_ok() {
            flag.store(true, Ordering::SeqCst);
            stopper.stop();
        }
    })?;
    loop {
        match stream.next_json() {
            Some(Ok(json)) => context.out.foreign_event(&json, || text(&json))?,
            _ if stopped.load(Ordering::SeqCst) => return Ok(()),
            Some(Err(error)) => return Err(error.into()),
            None => return Err(Failure::Lost(format!("the hub at {} ended the stream", client.hub_url()))),
        }
    }
}

/// Formats an event as a line of text; JSON that is not an event is shown as it is.
fn text(json: &str) -> String {
    let Ok(event) = serde_json::from_str::<EventEnvelope>(json) else { return one_line(json) };
    let (data, paint) = (&event.data, style::out());
    let subject =
        ["nickname", "participantId", "id", "clientId"].iter().find_map(|key| data[key].as_str()).unwrap_or("");
    let kind = style::pad(&one_line(&event.kind), KIND_COLUMNS);
    let kind = match event.kind.as_str() {
        "llm.error" => paint.red(&kind),
        "participant.offline" | "participant.left" | "room.deleted" => paint.dim(&kind),
        _ => kind,
    };
    let mut parts = vec![paint.dim(&clock(event.timestamp)), kind, paint.bold(&one_line(subject))];
    let mut add = |text: Option<String>| parts.extend(text.map(|text| one_line(&text)));
    add(data["model"].as_str().map(|model| format!("model {model}")));
    add(metrics(&data["metrics"]));
    parts.extend(data["status"].as_str().map(|status| paint.status(&one_line(status))));
    parts.extend(data["error"].as_str().map(|error| paint.red(&one_line(&format!("failed: {error}")))));
    parts.join("  ").trim_end().to_owned()
}

fn metrics(metrics: &Value) -> Option<String> {
    let (first, whole) = (metrics["ttftMs"].as_u64()?, metrics["durationMs"].as_u64()?);
    let speed = metrics["tokensPerSecond"].as_f64().map(|speed| format!(", {speed:.1} tokens/s")).unwrap_or_default();
    Some(format!("first byte {first} ms, whole {whole} ms{speed}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_formatted_as_one_line() {
        let json = r#"{"type":"llm.complete","timestamp":1700000000000,"roomCode":"ABC234","data":{"participantId":"ann",
            "model":"m","metrics":{"ttftMs":12,"durationMs":340,"tokensPerSecond":41.26}}}"#;
        assert_eq!(
            text(json),
            "22:13:20Z  llm.complete         ann  model m  first byte 12 ms, whole 340 ms, 41.3 tokens/s"
        );
        assert_eq!(text("no json"), "no json");
    }
}
