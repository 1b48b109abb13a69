//! `gambi demo`: runs a hub, the echo provider and a participant in one process, and sends one chat through them. Without
//! `--once` a second participant joins, and all of it stays up for the user's own requests.

use std::io::Read;
use std::time::Duration;

use serde_json::{Value, json};

use gambi::client::{Client, EventStream};
use gambi::hub::{Hub, HubOptions};
use gambi::participant::Session;
use gambi::proto::management::CreateRoom;
use gambi::proto::sse::Decoder;
use gambi::provider::{Provider, ProviderOptions};

use super::context::Context;
use super::failure::Failure;
use super::hub::DRAIN_TIMEOUT;
use super::output::{line, pairs};
use super::provider::delay;
use super::style;
use super::urls::Urls;
use crate::monitor::clean::one_line;
use crate::monitor::text::brief;

const PROMPT: &str = "Hello from the other end of the tunnel!";
const PARTICIPANT: &str = "demo";
/// Joins where the demo keeps running, so that there are two to see.
const SECOND_PARTICIPANT: &str = "demo-2";
/// The port of the hub if none is given: a free one.
pub const PORT: u16 = 0;
/// The pause before each piece of an answer if none is given: slow enough that the streaming is visible.
pub const DELAY: Duration = Duration::from_millis(60);

/// Runs the demo. Ends on a signal, or after one chat with `--once`.
pub fn run(context: &Context<'_>) -> Result<(), Failure> {
    let out = context.out;
    let host = context.value("host").map_or(ProviderOptions::default().host, str::to_owned);
    let port = context.port()?.unwrap_or(PORT);
    let delay = delay(context)?.unwrap_or(DELAY);
    let signals = context.signals.listen();

    let hub = Hub::bind(HubOptions { host, port, ..HubOptions::default() })?;
    let hub_url = Urls::new("http", hub.addr(), None).hub;
    let client = Client::new(&hub_url)?;
    let room = client.rooms().create(&CreateRoom { name: "Demo".into(), ..CreateRoom::default() })?.room;
    let mut events = client.events(Some(&room.code))?;
    let member = Member::start(&hub_url, &room.code, PARTICIPANT, delay)?;
    let base = format!("{hub_url}/rooms/{}/v1", room.code);
    let data = json!({ "hubUrl": hub_url, "providerUrl": member.provider_url, "room": room.code, "openaiUrl": base });
    out.event("started", &data, &introduction(&hub_url, &member.provider_url, &room.code))?;

    let answer = chat(context, &base)?;
    let metrics = completed(&mut events)?;
    if !answer.contains(PROMPT) {
        return Err(Failure::Lost(format!("the answer is not what the provider echoes: {answer}")));
    }
    let data = json!({ "answer": answer, "metrics": metrics });
    out.event("completed", &data, &format!("\n{}\n", measured(&metrics)))?;
    let mut members = vec![member];
    if context.has("once") {
        if out.is_text() {
            line(&what_next())?;
        }
    } else {
        members.push(Member::start(&hub_url, &room.code, SECOND_PARTICIPANT, delay)?);
        let text = to_paste(&hub_url, &room.code, &base);
        out.event("waiting", &json!({}), &text)?;
        if let Ok(signal) = signals.recv() {
            out.event("signal_received", &json!({ "signal": signal.to_string() }), "")?;
        }
    }
    hub.drain(DRAIN_TIMEOUT);
    for member in &members {
        member.session.close();
        member.provider.shutdown();
    }
    out.event("stopped", &json!({}), "Stopped.")
}

/// A participant, and the echo provider beside it.
struct Member {
    provider: Provider,
    provider_url: String,
    session: Session,
}

impl Member {
    fn start(hub_url: &str, room: &str, id: &str, delay: Duration) -> Result<Self, Failure> {
        let provider = Provider::bind(ProviderOptions { port: 0, delay, ..ProviderOptions::default() })?;
        let provider_url = format!("http://{}", provider.addr());
        let builder = Session::builder(hub_url, room).participant_id(id).model(ProviderOptions::default().model);
        let session = builder.endpoint(&provider_url).start()?;
        Ok(Member { provider, provider_url, session })
    }
}

fn introduction(hub: &str, provider: &str, room: &str) -> String {
    let (paint, what) = (style::out(), "which stands in for a model and repeats what it is told");
    let lines = [
        ("Hub:", paint.cyan(hub)),
        ("Room:", paint.bold(room)),
        ("Provider:", format!("{}   {what}", paint.cyan(provider))),
        ("Prompt:", PROMPT.to_owned()),
    ];
    format!("{}\n{}", pairs(&lines), paint.dim("Answer, through the tunnel, as it arrives:"))
}

/// What the hub measured, as a sentence.
fn measured(metrics: &Value) -> String {
    let time = |key: &str| metrics[key].as_u64().map(brief);
    match (time("ttftMs"), time("durationMs")) {
        (Some(first), Some(whole)) => format!("The answer began after {first} and was complete after {whole}."),
        _ => "The answer is complete.".to_owned(),
    }
}

/// What to do after a demo that has ended.
fn what_next() -> String {
    let (paint, program) = (style::out(), program());
    pairs(&[
        ("Next:", format!("{}   the same, until Ctrl-C", paint.cyan(&format!("{program} demo --port 3000")))),
        ("Dashboard:", format!("{}   while that runs", paint.cyan("http://localhost:3000"))),
        ("Your own:", format!("{}   a hub for your network", paint.cyan(&format!("{program} hub serve")))),
    ])
}

/// Where a demo that keeps running can be seen, and what to try with it.
fn to_paste(hub: &str, room: &str, base: &str) -> String {
    let (paint, program) = (style::out(), program());
    let body = json!({ "model": "any", "messages": [{ "role": "user", "content": "Hello!" }] });
    let lines = [
        ("Dashboard:", paint.bold(&paint.cyan(hub))),
        ("Chat:", paint.cyan(&format!("{program} chat --hub {hub} -r {room} 'Hello!'"))),
        ("Your model:", paint.cyan(&format!("{program} join --hub {hub} -r {room}"))),
        ("Programs:", paint.cyan(&format!("curl {base}/chat/completions --json '{body}'"))),
        ("Stop it:", "Ctrl-C; until then the hub and two participants stay up".to_owned()),
    ];
    pairs(&lines)
}

/// How this program was called, for commands that can be pasted into the same shell.
fn program() -> String {
    let called = std::env::args().next().filter(|name| name.contains('/') && !name.contains(char::is_whitespace));
    called.map_or_else(|| "gambi".to_owned(), |name| one_line(&name))
}

/// Sends one streamed chat over plain HTTP, as any OpenAI client would, and prints the pieces as they arrive.
fn chat(context: &Context<'_>, base: &str) -> Result<String, Failure> {
    let lost = |what: &dyn std::fmt::Display| Failure::Lost(format!("the chat failed: {what}"));
    let body = json!({ "model": PARTICIPANT, "stream": true, "messages": [{ "role": "user", "content": PROMPT }] });
    let request =
        ureq::post(format!("{base}/chat/completions")).config().http_status_as_error(false).proxy(None).build();
    let answer = request.header("Content-Type", "application/json").send(body.to_string()).map_err(|e| lost(&e))?;
    let status = answer.status();
    let mut body = answer.into_body().into_reader();
    if status != 200 {
        let mut text = String::new();
        let _ = body.take(64 << 10).read_to_string(&mut text);
        return Err(lost(&format!("{status}: {text}")));
    }
    let (mut decoder, mut buffer, mut answer) = (Decoder::new(), [0; 4096], String::new());
    loop {
        let n = body.read(&mut buffer).map_err(|e| lost(&e))?;
        if n == 0 {
            return Ok(answer);
        }
        decoder.push(&buffer[..n]);
        while let Some(event) = decoder.next_event() {
            let Ok(chunk) = serde_json::from_str::<Value>(&event.data) else { continue };
            let Some(piece) = chunk["choices"][0]["delta"]["content"].as_str() else { continue };
            answer.push_str(piece);
            if context.out.is_text() {
                context.out.piece(piece)?;
            } else {
                context.out.event("piece", &json!({ "text": piece }), "")?;
            }
        }
    }
}

/// Waits for the hub's metrics of the chat. The event names the participant, which proves that the response came
/// through the tunnel.
fn completed(events: &mut EventStream) -> Result<Value, Failure> {
    for event in events {
        let event = event?;
        match event.kind.as_str() {
            "llm.complete" if event.data["participantId"] == PARTICIPANT => return Ok(event.data["metrics"].clone()),
            "llm.error" => {
                return Err(Failure::Lost(format!("the hub reports that the request failed: {}", event.data["error"])));
            }
            _ => {}
        }
    }
    Err(Failure::Lost("the hub ended its events before the request was complete".into()))
}
