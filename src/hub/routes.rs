//! One table: method, path, handler. And what every request goes through on its way there.

use std::io;

use super::answer::{Plane, Refused};
use super::shared::Shared;
use super::{attach, events, inference, legacy, management, responses};
use crate::http::{Exchange, Method};
use crate::proto::management::ErrorCode;
use crate::proto::web::percent_decode;

/// What a path's placeholders stood for, percent-decoded, in their order.
pub type Params = Vec<String>;

/// What a handler gives back: the answer has been sent, or this is why not.
pub type Handled = Result<io::Result<()>, Refused>;

type Handler = fn(&Shared, &mut Exchange<'_>, &Params) -> Handled;

/// `{}` stands for one part of the path.
const TABLE: &[(Method, &str, Handler)] = &[
    (Method::Get, "/v1/health", management::health),
    (Method::Get, "/v1/events", events::watch_hub),
    (Method::Get, "/v1/rooms", management::list_rooms),
    (Method::Post, "/v1/rooms", management::create_room),
    (Method::Get, "/v1/rooms/{}", management::get_room),
    (Method::Delete, "/v1/rooms/{}", management::delete_room),
    (Method::Get, "/v1/rooms/{}/events", events::watch_room),
    (Method::Get, "/v1/rooms/{}/participants", management::list_participants),
    (Method::Put, "/v1/rooms/{}/participants/{}", management::upsert),
    (Method::Delete, "/v1/rooms/{}/participants/{}", management::remove),
    (Method::Post, "/v1/rooms/{}/participants/{}/heartbeat", management::heartbeat),
    (Method::Get, "/v1/rooms/{}/participants/{}/tunnel", attach::attach),
    (Method::Get, "/health", legacy::health),
    (Method::Get, "/rooms", legacy::list_rooms),
    (Method::Post, "/rooms", legacy::create_room),
    (Method::Delete, "/rooms/{}", legacy::delete_room),
    (Method::Get, "/rooms/{}/participants", legacy::list_participants),
    (Method::Post, "/rooms/{}/join", legacy::join),
    (Method::Post, "/rooms/{}/health", legacy::heartbeat),
    (Method::Delete, "/rooms/{}/leave/{}", legacy::leave),
    (Method::Get, "/rooms/{}/events", events::watch_room_legacy),
    (Method::Get, "/rooms/{}/v1/models", inference::models),
    (Method::Get, "/rooms/{}/v1/models/{}", inference::model),
    (Method::Post, "/rooms/{}/v1/chat/completions", inference::ask),
    (Method::Post, "/rooms/{}/v1/responses", inference::ask),
    (Method::Get, "/rooms/{}/v1/responses/{}", responses::get),
    (Method::Delete, "/rooms/{}/v1/responses/{}", responses::delete),
    (Method::Post, "/rooms/{}/v1/responses/{}/cancel", responses::cancel),
    (Method::Get, "/rooms/{}/v1/responses/{}/input_items", responses::input_items),
    (Method::Post, "/rooms/{}/v1/embeddings", inference::ask),
    (Method::Post, "/rooms/{}/v1/completions", inference::ask),
    (Method::Post, "/rooms/{}/v1/rerank", inference::ask),
    (Method::Post, "/rooms/{}/v1/messages", inference::ask),
    (Method::Post, "/rooms/{}/v1/messages/count_tokens", inference::ask),
];

/// The contract's two, and what this project adds: Anthropic's clients send theirs with every request.
const ALLOWED_HEADERS: &str =
    "Content-Type, Authorization, anthropic-version, anthropic-beta, x-api-key, X-Gambi-Host-Id";

/// Answers a request.
///
/// # Errors
/// When the connection is broken.
pub fn serve(shared: &Shared, exchange: &mut Exchange<'_>) -> io::Result<()> {
    let plane = Plane::of(exchange.path());
    exchange.add_header("Access-Control-Allow-Origin", &shared.cors);
    if shared.cors != "*" {
        exchange.add_header("Vary", "Origin");
    }
    if *exchange.method() == Method::Options {
        return preflight(exchange);
    }
    let method = if exchange.is_head() { Method::Get } else { exchange.method().clone() };
    let handled = match find(&method, exchange.path()) {
        _ if !may_pass(shared, exchange) => {
            exchange.add_header("WWW-Authenticate", "Bearer");
            let hint = "Give it as the API key, with --key-file, or as GAMBI_HUB_KEY.";
            Err(Refused::new(ErrorCode::InvalidPassword, "This hub asks for its key").hint(hint))
        }
        Found::Handler(handler, params) => handler(shared, exchange, &params),
        Found::OtherMethods(methods) => {
            exchange.add_header("Allow", &methods);
            Err(Refused::invalid(format!("Method not allowed here. This path takes {methods}.")).status(405))
        }
        Found::Nothing => Err(Refused::invalid("Not found").status(404)),
        Found::BadPath => Err(Refused::invalid("The path is not valid percent-encoded UTF-8")),
    };
    match handled {
        Ok(sent) => sent,
        Err(refused) => refused.send(exchange, plane),
    }
}

/// Whether a request shows the hub's key, or needs none: health checks tell nothing, and tunnels have their own tokens.
fn may_pass(shared: &Shared, exchange: &Exchange<'_>) -> bool {
    let Some(key) = &shared.key else { return true };
    let path = exchange.path();
    let open = path == "/v1/health" || matches("/v1/rooms/{}/participants/{}/tunnel", path).is_some();
    open || key.is_shown(exchange)
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
    Handler(Handler, Params),
    OtherMethods(String),
    Nothing,
    BadPath,
}

fn find(method: &Method, path: &str) -> Found {
    let mut others: Vec<&str> = Vec::new();
    for (takes, pattern, handler) in TABLE {
        let Some(raw) = matches(pattern, path) else { continue };
        if takes != method {
            others.push(takes.as_str());
            continue;
        }
        return match raw.into_iter().map(percent_decode).collect() {
            Some(params) => Found::Handler(*handler, params),
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

/// The parts that a pattern's placeholders stand for, if it fits. A placeholder is never empty.
fn matches<'p>(pattern: &str, path: &'p str) -> Option<Vec<&'p str>> {
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    let mut params = Vec::new();
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(params),
            (Some("{}"), Some(part)) if !part.is_empty() => params.push(part),
            (Some(a), Some(b)) if a == b => {}
            _ => return None,
        }
    }
}

/// The value of a query parameter, decoded; a `+` is a space there.
pub fn query_param(query: Option<&str>, name: &str) -> Option<String> {
    let pair = query?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pair.into_iter().find(|(key, _)| *key == name).and_then(|(_, value)| percent_decode(&value.replace('+', " ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(path: &str) -> Option<Params> {
        match find(&Method::Put, path) {
            Found::Handler(_, params) => Some(params),
            _ => None,
        }
    }

    #[test]
    fn placeholders_are_decoded_after_the_path_is_cut() {
        assert_eq!(params("/v1/rooms/abc234/participants/a%20b%2Fc").unwrap(), ["abc234", "a b/c"]);
        assert_eq!(params("/v1/rooms/abc234/participants/gr%C3%B6%C3%9Fe").unwrap()[1], "größe");
        assert!(params("/v1/rooms/abc234/participants/").is_none());
        assert!(params("/v1/rooms/abc234/participants/a/").is_none());
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

    #[test]
    fn query_parameters_are_found_and_decoded() {
        assert_eq!(query_param(Some("a=1&token=x%2By+z"), "token").as_deref(), Some("x+y z"));
        assert_eq!(query_param(Some("token"), "token").as_deref(), Some(""));
        assert_eq!(query_param(Some("tokens=1"), "token"), None);
        assert_eq!(query_param(None, "token"), None);
    }
}
