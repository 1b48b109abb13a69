//! One table: method, path, handler. And what every request goes through on its way there.

use std::io;

use super::{dashboard, events, inference, legacy, management, metrics, openapi, responses};
use crate::http::{Exchange, Method};
use crate::hub::access::credentials::check_key;
use crate::hub::access::{Access, pass};
use crate::hub::context::HubContext;
use crate::hub::handler::{Handled, Params};
use crate::hub::respond::{Plane, Rejection};
use crate::hub::tunnels::attach;
use crate::proto::web::percent_decode;

type Handler = fn(&HubContext, &mut Exchange<'_>, &Params) -> Handled;

const OPEN: Access = Access::Open;
const PAGE: Access = Access::Page;
const TOKEN: Access = Access::Token;
const HUB: Access = Access::Hub;
const ROOM: Access = Access::Room;
const PARTICIPANT: Access = Access::Participant;

/// `{}` stands for one part of the path. The first, where there is one, is a room's code.
const TABLE: &[(Method, &str, Access, Handler)] = &[
    (Method::Get, "/", PAGE, dashboard::page),
    (Method::Get, "/dashboard.css", PAGE, dashboard::style),
    (Method::Get, "/dashboard.js", PAGE, dashboard::script),
    (Method::Get, "/openapi.json", HUB, openapi::document),
    (Method::Get, "/v1/health", OPEN, management::health),
    (Method::Get, "/v1/events", HUB, events::watch_hub),
    (Method::Get, "/v1/rooms", HUB, management::list_rooms),
    (Method::Post, "/v1/rooms", HUB, management::create_room),
    (Method::Get, "/v1/rooms/{}", HUB, management::get_room),
    (Method::Delete, "/v1/rooms/{}", HUB, management::delete_room),
    (Method::Get, "/v1/rooms/{}/events", ROOM, events::watch_room),
    (Method::Get, "/v1/rooms/{}/metrics", ROOM, metrics::room_metrics),
    (Method::Get, "/v1/rooms/{}/participants", ROOM, management::list_participants),
    (Method::Put, "/v1/rooms/{}/participants/{}", HUB, management::upsert),
    (Method::Delete, "/v1/rooms/{}/participants/{}", PARTICIPANT, management::remove),
    (Method::Post, "/v1/rooms/{}/participants/{}/heartbeat", PARTICIPANT, management::heartbeat),
    (Method::Get, "/v1/rooms/{}/participants/{}/tunnel", TOKEN, attach::attach),
    (Method::Get, "/metrics", HUB, metrics::scrape),
    (Method::Get, "/health", HUB, legacy::health),
    (Method::Get, "/rooms", HUB, legacy::list_rooms),
    (Method::Post, "/rooms", HUB, legacy::create_room),
    (Method::Delete, "/rooms/{}", HUB, legacy::delete_room),
    (Method::Get, "/rooms/{}/participants", ROOM, legacy::list_participants),
    (Method::Post, "/rooms/{}/join", HUB, legacy::join),
    (Method::Post, "/rooms/{}/health", PARTICIPANT, legacy::heartbeat),
    (Method::Delete, "/rooms/{}/leave/{}", PARTICIPANT, legacy::leave),
    (Method::Get, "/rooms/{}/events", ROOM, events::watch_room_legacy),
    (Method::Get, "/rooms/{}/v1/models", ROOM, inference::models),
    (Method::Get, "/rooms/{}/v1/models/{}", ROOM, inference::model),
    (Method::Post, "/rooms/{}/v1/chat/completions", ROOM, inference::ask),
    (Method::Post, "/rooms/{}/v1/responses", ROOM, inference::ask),
    (Method::Get, "/rooms/{}/v1/responses/{}", ROOM, responses::get),
    (Method::Delete, "/rooms/{}/v1/responses/{}", ROOM, responses::delete),
    (Method::Post, "/rooms/{}/v1/responses/{}/cancel", ROOM, responses::cancel),
    (Method::Get, "/rooms/{}/v1/responses/{}/input_items", ROOM, responses::input_items),
    (Method::Post, "/rooms/{}/v1/embeddings", ROOM, inference::ask),
    (Method::Post, "/rooms/{}/v1/completions", ROOM, inference::ask),
    (Method::Post, "/rooms/{}/v1/rerank", ROOM, inference::ask),
    (Method::Post, "/rooms/{}/v1/messages", ROOM, inference::ask),
    (Method::Post, "/rooms/{}/v1/messages/count_tokens", ROOM, inference::ask),
];

/// The contract's two, and what this project adds: Anthropic's clients send theirs with every request.
const ALLOWED_HEADERS: &str = "Content-Type, Authorization, anthropic-version, anthropic-beta, x-api-key, X-Gambi-Host-Id, \
     X-Gambi-Room-Password, X-Gambi-Participant-Token";

/// With every answer that is no page of the hub's: participants choose what stands in many of them, and a browser that
/// is led to one must not run it, least of all as the dashboard's origin.
pub const NO_PAGE: [(&str, &str); 2] =
    [("X-Content-Type-Options", "nosniff"), ("Content-Security-Policy", "sandbox; default-src 'none'")];

/// Answers a request.
///
/// # Errors
/// When the connection is broken.
pub fn serve(hub: &HubContext, exchange: &mut Exchange<'_>) -> io::Result<()> {
    let plane = Plane::of(exchange.path());
    exchange.add_header("Access-Control-Allow-Origin", &hub.cors);
    if hub.cors != "*" {
        exchange.add_header("Vary", "Origin");
    }
    if *exchange.method() == Method::Options {
        return preflight(exchange);
    }
    let method = if exchange.is_head() { Method::Get } else { exchange.method().clone() };
    let found = find(&method, exchange.path());
    if !matches!(found, Found::Handler(PAGE, ..)) {
        NO_PAGE.iter().for_each(|(name, value)| exchange.add_header(name, value));
    }
    let handled = match found {
        Found::Handler(access, handler, params) => {
            let room = params.first().map(String::as_str);
            pass(hub, exchange, access, room).and_then(|()| handler(hub, exchange, &params))
        }
        found => check_key(hub, exchange).and_then(|()| Err(unserved(exchange, found))),
    };
    match handled {
        Ok(sent) => sent,
        Err(refused) => refused.send(exchange, plane),
    }
}

fn unserved(exchange: &mut Exchange<'_>, found: Found) -> Rejection {
    match found {
        Found::OtherMethods(methods) => {
            exchange.add_header("Allow", &methods);
            Rejection::invalid(format!("Method not allowed here. This path takes {methods}.")).status(405)
        }
        Found::BadPath => Rejection::invalid("The path is not valid percent-encoded UTF-8"),
        Found::Nothing | Found::Handler(..) => Rejection::invalid("Not found").status(404),
    }
}

fn preflight(exchange: &mut Exchange<'_>) -> io::Result<()> {
    let headers = [
        ("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE, OPTIONS"),
        ("Access-Control-Allow-Headers", ALLOWED_HEADERS),
        ("Access-Control-Max-Age", "86400"),
    ];
    exchange.respond(204, &headers, b"")
}

enum Found {
    Handler(Access, Handler, Params),
    OtherMethods(String),
    Nothing,
    BadPath,
}

fn find(method: &Method, path: &str) -> Found {
    let mut others: Vec<&str> = Vec::new();
    for (takes, pattern, access, handler) in TABLE {
        if !fits(pattern, path) {
            continue;
        }
        if takes != method {
            others.push(takes.as_str());
            continue;
        }
        return match params(pattern, path).map(percent_decode).collect() {
            Some(params) => Found::Handler(*access, *handler, params),
            None => Found::BadPath,
        };
    }
    if others.is_empty() {
        return Found::Nothing;
    }
    if others.contains(&"GET") {
        others.push("HEAD");
    }
    others.push("OPTIONS");
    Found::OtherMethods(others.join(", "))
}

/// Whether a path has a pattern's form. A placeholder is never empty.
fn fits(pattern: &str, path: &str) -> bool {
    // Most are told apart by what they end with.
    if !pattern.ends_with('}') && pattern.as_bytes().last() != path.as_bytes().last() {
        return false;
    }
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some("{}"), Some(part)) if !part.is_empty() => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

/// The parts that the placeholders of a pattern stand for which fits.
fn params<'p>(pattern: &str, path: &'p str) -> impl Iterator<Item = &'p str> {
    pattern.split('/').zip(path.split('/')).filter(|(wanted, _)| *wanted == "{}").map(|(_, part)| part)
}

/// Every route's method and path.
#[cfg(test)]
pub fn all() -> impl Iterator<Item = (&'static Method, &'static str)> {
    TABLE.iter().map(|(method, path, _, _)| (method, *path))
}

/// What a path's placeholders stand for, where the path has a handler for the method.
#[cfg(test)]
pub fn params_of(method: &Method, path: &str) -> Option<Params> {
    match find(method, path) {
        Found::Handler(_, _, params) => Some(params),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(path: &str) -> Option<Params> {
        params_of(&Method::Put, path)
    }

    #[test]
    fn placeholders_are_decoded_after_the_path_is_cut() {
        assert_eq!(put("/v1/rooms/abc234/participants/a%20b%2Fc").unwrap(), ["abc234", "a b/c"]);
        assert_eq!(put("/v1/rooms/abc234/participants/gr%C3%B6%C3%9Fe").unwrap()[1], "größe");
        assert!(put("/v1/rooms/abc234/participants/").is_none());
        assert!(put("/v1/rooms/abc234/participants/a/").is_none());
        assert!(matches!(find(&Method::Put, "/v1/rooms/x/participants/%zz"), Found::BadPath));
        assert!(matches!(find(&Method::Put, "/v1/rooms/x/participants/%ff"), Found::BadPath));
        assert!(matches!(find(&Method::Put, "/v1/rooms/x/participants/%4"), Found::BadPath));
    }

    #[test]
    fn a_known_path_says_which_methods_it_takes() {
        let Found::OtherMethods(methods) = find(&Method::Patch, "/v1/rooms") else { panic!() };
        assert_eq!(methods, "GET, POST, HEAD, OPTIONS");
        assert!(matches!(find(&Method::Get, "/v2/rooms"), Found::Nothing));
    }
}
