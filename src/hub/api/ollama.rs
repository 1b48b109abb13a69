//! Ollama's own API, as far as the hub answers it itself: its version, its lists, and its refusals. Requests to models are
//! those of `inference`.

use std::io;

use blake2::{Blake2s256, Digest};
use serde_json::{Value, json};

use crate::http::Exchange;
use crate::hub::api::list::{ListFrame, send};
use crate::hub::api::model_names::{NamePage, NamedModel};
use crate::hub::context::HubContext;
use crate::hub::handler::{HandlerResult, PathParams};
use crate::hub::relay::model_facts::details;
use crate::hub::respond::{Rejection, send_json};
use crate::proto::hex::encode;
use crate::proto::openai::bare_model;
use crate::proto::time::rfc3339;
use crate::state::room::Room;

/// The version of Ollama whose API this is. Clients compare it with the first one that has what they need: tools in streams,
/// `think`, and the capabilities in `show` are all older than this one.
const API_LEVEL: &str = "0.12.0";

/// How long a model is said to stay in memory, in milliseconds: as Ollama keeps one by default. The hub does not know more.
const STAYS_MS: u64 = 300_000;

/// `GET` and `HEAD /rooms/{code}/api`.
pub fn base(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    hub.registry().room(&params[0])?;
    Ok(say_running(exchange))
}

/// What Ollama answers at its root.
pub fn say_running(exchange: &mut Exchange<'_>) -> io::Result<()> {
    exchange.respond(200, &[("Content-Type", "text/plain; charset=utf-8")], b"Ollama is running")
}

/// `GET /rooms/{code}/api/version`.
pub fn version(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    hub.registry().room(&params[0])?;
    Ok(send_json(exchange, 200, &json!({ "version": API_LEVEL })))
}

/// `GET /rooms/{code}/api/tags`.
pub fn tags(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    let all = |room: &Room, name: &str| NamePage::after(room, name, |model| Some(Listed::new(model)));
    list(hub, exchange, &params[0], all, |model| model.tag())
}

/// `GET /rooms/{code}/api/ps`: the models that are known to be in memory.
pub fn ps(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    let loaded =
        |room: &Room, name: &str| NamePage::after(room, name, |model| model.is_loaded.then(|| Listed::new(model)));
    let expires_at = rfc3339(hub.clock.now().wall + STAYS_MS);
    list(hub, exchange, &params[0], loaded, |model| model.process(&expires_at))
}

/// What would change the models of a machine.
pub fn unmanaged(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    hub.registry().room(&params[0])?;
    let route = exchange.path().split("/api/").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    Err(Rejection::invalid(format!(
        "The hub keeps no models, so it does not serve /api/{route}: add and remove models on the machines of the participants, \
         which offer those of their providers"
    ))
    .status(501))
}

/// A model, as it is listed.
struct Listed {
    name: String,
    since: u64,
}

impl Listed {
    fn new(model: &NamedModel<'_>) -> Self {
        let is_tagged = model.spelled.rsplit('/').next().is_some_and(|last| last.contains(':'));
        // A participant may have been given Ollama's name for it without the tag that Ollama lists.
        let tag = if model.is_ollama && !is_tagged { ":latest" } else { "" };
        Listed { name: format!("{}{tag}", model.spelled), since: model.since }
    }

    fn tag(&self) -> Value {
        json!({
            "name": self.name,
            "model": self.name,
            "modified_at": rfc3339(self.since),
            "size": 0,
            "digest": digest(&self.name),
            "details": details(),
        })
    }

    fn process(&self, expires_at: &str) -> Value {
        json!({
            "name": self.name,
            "model": self.name,
            "size": 0,
            "digest": digest(&self.name),
            "details": details(),
            "expires_at": expires_at,
            "size_vram": 0,
        })
    }
}

/// Stands for a model where clients expect the digest of its weights, of which some show the first twelve characters. It
/// depends on the name alone.
fn digest(name: &str) -> String {
    encode(&Blake2s256::digest(bare_model(name).as_bytes()))
}

/// Sends a list of models.
fn list(
    hub: &HubContext,
    exchange: &mut Exchange<'_>,
    code: &str,
    after: impl Fn(&Room, &str) -> NamePage<Listed>,
    entry: impl Fn(&Listed) -> Value,
) -> HandlerResult {
    let mut page = after(hub.registry().room(code)?, "");
    page.reserve(exchange)?;
    send(exchange, &ListFrame::object(r#"{"models":["#, "]}"), |items| {
        page.turn(hub, code, &after);
        let next = page.items.pop_front();
        next.iter().for_each(|model| items.add(&entry(model)));
        next.is_some() || !page.is_last
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_as_long_as_ollamas_and_the_same_for_both_spellings() {
        assert_eq!(digest("llama3").len(), 64);
        assert_eq!(digest("llama3"), digest("llama3:latest"));
        assert_ne!(digest("llama3"), digest("llama3:8b"));
    }
}
