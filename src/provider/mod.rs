//! An echo provider for tests and demos: it answers with the prompt and a note that no model is behind it.
//!
//! This file serves the HTTP endpoints, on the crate's own listener; `answers` builds the response bodies.

mod answers;
mod reply;
mod tools;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use answers::{EchoRequest, Refusal};
use reply::Reply;

use crate::error::{Error, Reason};
use crate::http::{BodyError, Exchange, Handler, Limits, Listener, Method, Running};
use crate::proto::read_json::from_bytes;

const JSON: (&str, &str) = ("Content-Type", "application/json; charset=utf-8");
const EVENTS: [(&str, &str); 2] = [("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache")];
/// How long [`Provider::shutdown`] waits for requests in flight.
const GRACE: Duration = Duration::from_secs(1);

/// Options of an echo provider.
#[derive(Debug, Clone)]
pub struct ProviderOptions {
    /// Address to listen on; by default reachable from this machine only.
    pub host: String,
    /// Port to listen on; 0 lets the system choose.
    pub port: u16,
    /// The name of the only model that it offers.
    pub model: String,
    /// The pause before each event of a stream, and before a whole response.
    pub delay: Duration,
}

impl Default for ProviderOptions {
    fn default() -> Self {
        ProviderOptions { host: "127.0.0.1".into(), port: 11435, model: "echo".into(), delay: Duration::ZERO }
    }
}

/// A running provider. Dropping it shuts it down.
///
/// ```
/// use gambi::provider::{Provider, ProviderOptions};
///
/// let provider = Provider::bind(ProviderOptions { port: 0, ..Default::default() })?;
/// println!("http://{}/v1/models", provider.addr());
/// # Ok::<(), gambi::Error>(())
/// ```
pub struct Provider {
    running: Running,
}

impl Provider {
    /// Binds the address and starts the threads that serve it.
    ///
    /// # Errors
    /// When the address can't be listened on, or no thread can be started.
    pub fn bind(options: ProviderOptions) -> Result<Self, Error> {
        let address = format!("{}:{}", options.host, options.port);
        let failed = |e: io::Error| Error::Bind { address: address.clone(), reason: Reason::of(e) };
        let listener = Listener::bind((options.host.as_str(), options.port), Limits::default()).map_err(failed)?;
        let running = listener.start(Arc::new(Echo { model: options.model, delay: options.delay })).map_err(failed)?;
        Ok(Provider { running })
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.running.local_addr()
    }

    /// Stops serving. Safe to call twice.
    pub fn shutdown(&self) {
        self.running.shutdown(GRACE);
    }
}

struct Echo {
    model: String,
    delay: Duration,
}

impl Handler for Echo {
    fn handle(&self, exchange: &mut Exchange<'_>) -> io::Result<()> {
        exchange.add_header("Access-Control-Allow-Origin", "*");
        let method = if exchange.is_head() { Method::Get } else { exchange.method().clone() };
        match (method, exchange.path()) {
            (Method::Get, "/v1/models") => send(exchange, 200, &answers::models(&self.model)),
            (Method::Get, "/api/tags") => send(exchange, 200, &json!({ "models": [{ "name": self.model }] })),
            (Method::Post, "/v1/chat/completions") => self.answer(exchange, answers::chat),
            (Method::Post, "/v1/responses") => self.answer(exchange, answers::response),
            (Method::Post, "/v1/embeddings") => self.answer(exchange, answers::embeddings),
            (Method::Options, _) => preflight(exchange),
            _ => refuse(exchange, &Refusal::new(404, "there is no route with this method and path", "not_found")),
        }
    }
}

impl Echo {
    fn answer(
        &self,
        exchange: &mut Exchange<'_>,
        make: fn(&EchoRequest<'_>) -> Result<Reply, Refusal>,
    ) -> io::Result<()> {
        let made = exchange.body().map_err(Refusal::from).and_then(|body| {
            let body = from_bytes(&body)
                .map_err(|e| Refusal::new(400, &format!("the body is not JSON: {e}"), "invalid_json"))?;
            make(&EchoRequest::new(&body, &self.model)?)
        });
        match made {
            Err(refusal) => refuse(exchange, &refusal),
            Ok(Reply::Whole(value)) => {
                thread::sleep(self.delay);
                send(exchange, 200, &value)
            }
            Ok(Reply::Stream(events)) => self.stream(exchange, &events),
        }
    }

    fn stream(&self, exchange: &mut Exchange<'_>, events: &[String]) -> io::Result<()> {
        let mut stream = exchange.stream(200, &EVENTS);
        stream.flush()?;
        for event in events {
            thread::sleep(self.delay);
            if stream.client_gone() {
                return Ok(());
            }
            stream.write(event.as_bytes())?;
        }
        stream.finish()
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        Refusal::new(error.status(), &error.to_string(), "invalid_body")
    }
}

fn send(exchange: &mut Exchange<'_>, status: u16, value: &Value) -> io::Result<()> {
    exchange.respond(status, &[JSON], value.to_string().as_bytes())
}

fn refuse(exchange: &mut Exchange<'_>, refusal: &Refusal) -> io::Result<()> {
    send(exchange, refusal.status, &refusal.body())
}

fn preflight(exchange: &mut Exchange<'_>) -> io::Result<()> {
    let headers = [
        ("Access-Control-Allow-Methods", "GET, POST, OPTIONS"),
        ("Access-Control-Allow-Headers", "Content-Type, Authorization"),
    ];
    exchange.respond(204, &headers, b"")
}
