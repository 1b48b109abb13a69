//! `gambi demo`: runs a hub, the echo provider and a participant in one process, and sends one chat through them.

use std::io::Read;
use std::time::Duration;

use crossbeam_channel::Receiver;
use serde_json::{Value, json};

use gambi::client::{Client, EventStream};
use gambi::hub::{Hub, HubOptions};
use gambi::participant::Session;
use gambi::proto::management::CreateRoom;
use gambi::proto::sse::Decoder;
use gambi::provider::{Provider, ProviderOptions};

use super::context::Context;
use super::failure::Failure;
use super::hub::{DRAIN_TIMEOUT, Urls};
use super::provider::delay;
use super::signals::Signal;

const PROMPT: &str = "Hello from the other end of the tunnel!";
const PARTICIPANT: &str = "demo";
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
    let provider = Provider::bind(ProviderOptions { port: 0, delay, ..ProviderOptions::default() })?;
    let provider_url = format!("http://{}", provider.addr());
    let client = Client::new(&hub_url)?;
    let room = client.rooms().create(&CreateRoom { name: "Demo".into(), ..CreateRoom::default() })?.room;
    let mut events = client.events(Some(&room.code))?;
    let session = Session::builder(&hub_url, &room.code)
        .participant_id(PARTICIPANT)
        .model(ProviderOptions::default().model)
        .endpoint(&provider_url)
        .start()?;
    let base = format!("{hub_url}/rooms/{}/v1", room.code);
    let data = json!({ "hubUrl": hub_url, "providerUrl": provider_url, "room": room.code, "openaiUrl": base });
    out.event("started", &data, &introduction(&hub_url, &provider_url, &room.code, &base))?;

    let answer = chat(context, &base)?;
    let metrics = completed(&mut events)?;
    if !answer.contains(PROMPT) {
        return Err(Failure::Lost(format!("the answer is not what the provider echoes: {answer}")));
    }
    let data = json!({ "answer": answer, "metrics": metrics });
    out.event("completed", &data, &format!("\n\nThe hub measured, for the request through the tunnel: {metrics}"))?;
    if !context.has("once") {
        wait_for_signal(context, &signals)?;
    }
    hub.drain(DRAIN_TIMEOUT);
    session.close();
    provider.shutdown();
    out.event("stopped", &json!({}), "Stopped.")
}

fn wait_for_signal(context: &Context<'_>, signals: &Receiver<Signal>) -> Result<(), Failure> {
    context.out.event("waiting", &json!({}), "\nThe demo keeps running for your own requests. Ctrl-C ends it.")?;
    match signals.recv() {
        Ok(signal) => context.out.event("signal_received", &json!({ "signal": signal.to_string() }), ""),
        Err(_) => Ok(()),
    }
}

fn introduction(hub: &str, provider: &str, room: &str, base: &str) -> String {
    let body = json!({ "model": "any", "stream": true, "messages": [{ "role": "user", "content": "Hello!" }] });
    format!(
        "Hub:       {hub}\nProvider:  {provider} (the echo provider, without a model)\nRoom:      {room}\nOpenAI:    {base}\n\n\
         curl -N {base}/chat/completions -H 'Content-Type: application/json' -d '{body}'\n\nPrompt: {PROMPT}\nAnswer: "
    )
    .trim_end()
    .to_owned()
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
