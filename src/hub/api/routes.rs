//! The routing table, and the steps common to all requests: CORS headers, access check, rejections.

use std::io;

use super::path_repair::repaired;
use super::{
    cors, dashboard, default_room, events, inference, invitation, legacy, management, metrics, models, ollama, openapi,
    responses,
};
use crate::http::{Exchange, Method};
use crate::hub::access::credentials::{check_key, key_holder};
use crate::hub::access::own_url::own_url;
use crate::hub::access::{Access, authorize};
use crate::hub::context::HubContext;
use crate::hub::error_shape::is_ollama;
use crate::hub::handler::{HandlerResult, PathParams};
use crate::hub::observe::log::request::RequestLog;
#[cfg(test)]
use crate::hub::relay::operation;
use crate::hub::relay::operation::room_and_route;
use crate::hub::respond::{Plane, Rejection, SANDBOX_HEADERS, no_route};
use crate::hub::tunnels::attach;
use crate::proto::web::percent_decode;

type Handler = fn(&HubContext, &mut Exchange<'_>, &PathParams) -> HandlerResult;

const OPEN: Access = Access::Open;
const PAGE: Access = Access::Page;
const TOKEN: Access = Access::Token;
const HUB: Access = Access::Hub;
const ROOM: Access = Access::Room;
const JOIN: Access = Access::Join;
const LIST: Access = Access::List;
const PARTICIPANT: Access = Access::Participant;

/// The routes beside those of `relay/operation.rs`. `{}` matches one non-empty path segment, `{*}` the rest of the path if it is
/// not empty. The first placeholder of a route is always a room's code.
const ROUTES: &[(Method, &str, Access, Handler)] = &[
    (Method::Get, "/", PAGE, dashboard::page),
    (Method::Get, "/dashboard.css", PAGE, dashboard::style),
    (Method::Get, "/dashboard.js", PAGE, dashboard::script),
    (Method::Get, "/openapi.json", HUB, openapi::document),
    (Method::Get, "/v1/health", OPEN, management::health),
    (Method::Get, "/v1/events", HUB, events::watch_hub),
    (Method::Get, "/v1/rooms", LIST, management::list_rooms),
    (Method::Post, "/v1/rooms", HUB, management::create_room),
    (Method::Get, "/v1/rooms/{}", HUB, management::get_room),
    (Method::Delete, "/v1/rooms/{}", HUB, management::delete_room),
    (Method::Get, "/v1/rooms/{}/events", ROOM, events::watch_room),
    (Method::Get, "/v1/rooms/{}/metrics", ROOM, metrics::room_metrics),
    (Method::Get, "/v1/rooms/{}/history", ROOM, metrics::room_history),
    (Method::Get, "/v1/rooms/{}/queue", ROOM, metrics::room_queue),
    (Method::Get, "/v1/rooms/{}/requests/{}", ROOM, metrics::request_trace),
    (Method::Get, "/v1/rooms/{}/invitation", ROOM, invitation::invitation),
    (Method::Get, "/v1/rooms/{}/participants", ROOM, management::list_participants),
    (Method::Put, "/v1/rooms/{}/participants/{}", JOIN, management::upsert),
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
    (Method::Get, "/rooms/{}", ROOM, inference::base),
    (Method::Get, "/rooms/{}/v1", ROOM, inference::base),
    (Method::Get, "/rooms/{}/v1/models", ROOM, models::list),
    (Method::Get, "/rooms/{}/v1/models/{*}", ROOM, models::get),
    (Method::Get, "/rooms/{}/v1/responses/{}", ROOM, responses::get),
    (Method::Delete, "/rooms/{}/v1/responses/{}", ROOM, responses::delete),
    (Method::Post, "/rooms/{}/v1/responses/{}/cancel", ROOM, responses::cancel),
    (Method::Get, "/rooms/{}/v1/responses/{}/input_items", ROOM, responses::input_items),
    (Method::Get, "/rooms/{}/api", ROOM, ollama::base),
    (Method::Get, "/rooms/{}/api/version", ROOM, ollama::version),
    (Method::Get, "/rooms/{}/api/tags", ROOM, ollama::tags),
    (Method::Get, "/rooms/{}/api/ps", ROOM, ollama::ps),
    (Method::Post, "/rooms/{}/api/pull", ROOM, ollama::unmanaged),
    (Method::Post, "/rooms/{}/api/push", ROOM, ollama::unmanaged),
    (Method::Post, "/rooms/{}/api/create", ROOM, ollama::unmanaged),
    (Method::Post, "/rooms/{}/api/copy", ROOM, ollama::unmanaged),
    (Method::Delete, "/rooms/{}/api/delete", ROOM, ollama::unmanaged),
    (Method::Get, "/rooms/{}/api/blobs/{}", ROOM, ollama::unmanaged),
    (Method::Post, "/rooms/{}/api/blobs/{}", ROOM, ollama::unmanaged),
];

/// The most placeholders of a route.
const MAX_PARAMS: usize = 2;

/// Routes a request, and sends the response.
///
/// # Errors
/// When the connection is broken.
pub fn serve(hub: &HubContext, exchange: &mut Exchange<'_>) -> io::Result<()> {
    cors::add_headers(hub, exchange);
    if *exchange.method() == Method::Options {
        return cors::preflight(hub, exchange);
    }
    let method = if exchange.is_head() { Method::Get } else { exchange.method().clone() };
    let mut found = find_route(&method, exchange.path());
    let mut in_default_room = false;
    if matches!(found, RouteMatch::NotFound) {
        let path = exchange.path();
        let other = find_repaired(&method, path).or_else(|| {
            let path = default_room::path_in_room(hub, path)?;
            in_default_room = true;
            find_exact(&method, &path).or_else(|| find_repaired(&method, &path))
        });
        if let Some((path, meant)) = other {
            found = meant;
            exchange.set_path(path);
        }
    }
    let plane = Plane::of(exchange.path());
    if !matches!(found, RouteMatch::Handler(PAGE, ..)) {
        for (name, value) in SANDBOX_HEADERS {
            exchange.add_header(name, value);
        }
    }
    let handled = match found {
        RouteMatch::Handler(access, handler, params) => {
            let room = params.first().map(String::as_str);
            authorize(hub, exchange, access, room)
                .and_then(|()| if in_default_room { default_room::check(hub) } else { Ok(()) })
                .and_then(|()| {
                    let caller = key_holder(hub, exchange).map(|holder| holder.name.to_string());
                    RequestLog::of(exchange).caller = caller;
                    handler(hub, exchange, &params)
                })
        }
        // Any person's key will do: that there is no such route is no secret.
        found if key_holder(hub, exchange).is_some() => Err(no_handler(hub, exchange, found)),
        found => check_key(hub, exchange, None).and_then(|()| Err(no_handler(hub, exchange, found))),
    };
    match handled {
        Ok(sent) => sent,
        Err(rejection) => rejection.send(exchange, plane),
    }
}

/// The route of a path, if there is one for some method.
fn find_exact(method: &Method, path: &str) -> Option<(String, RouteMatch)> {
    let found = find_route(method, path);
    (!matches!(found, RouteMatch::NotFound)).then(|| (path.to_owned(), found))
}

/// The route that a path with a slip means, and its path.
fn find_repaired(method: &Method, path: &str) -> Option<(String, RouteMatch)> {
    find_exact(method, &repaired(path)?)
}

fn no_handler(hub: &HubContext, exchange: &mut Exchange<'_>, found: RouteMatch) -> Rejection {
    match found {
        RouteMatch::OtherMethods(methods) => {
            exchange.add_header("Allow", &methods);
            Rejection::invalid(format!("Method not allowed: this path supports {methods}")).status(405)
        }
        RouteMatch::BadEncoding => Rejection::invalid("The path is not valid percent-encoded UTF-8"),
        RouteMatch::NotFound | RouteMatch::Handler(..) => not_found(hub, exchange),
    }
}

/// A 404, with the right base URL as the hint for what looks like a client of the inference plane.
fn not_found(hub: &HubContext, exchange: &Exchange<'_>) -> Rejection {
    let path = exchange.path();
    let of_model = ["/chat/completions", "/responses", "/messages", "/models", "/embeddings", "/completions"];
    let is_ollama = is_ollama(path);
    if !is_ollama && !of_model.iter().any(|end| path.ends_with(end)) && !path.starts_with("/rooms/") {
        return no_route();
    }
    let code = path.split('/').skip_while(|part| *part != "rooms").nth(1).filter(|code| !code.is_empty());
    let hub_url = own_url(hub, exchange).unwrap_or_else(|_| "http://HUB".into());
    let base = format!("{hub_url}/rooms/{}{}", code.unwrap_or("CODE"), if is_ollama { "" } else { "/v1" });
    let at_root = if code.is_none() && default_room::is_inference(path) {
        "; a hub that is started with --default-room CODE serves that room at the root too"
    } else {
        ""
    };
    Rejection::invalid(format!(
        "Not found: the base URL of a room is {base}, and \"{path}\" is no route of it{at_root}"
    ))
    .status(404)
    .v1_message("Route not found.")
}

enum RouteMatch {
    Handler(Access, Handler, PathParams),
    OtherMethods(String),
    NotFound,
    BadEncoding,
}

impl RouteMatch {
    /// The handler of a route, with what its placeholders stand for.
    fn to(access: Access, handler: Handler, params: [Option<&str>; MAX_PARAMS]) -> Self {
        match params.into_iter().flatten().map(percent_decode).collect() {
            Some(params) => RouteMatch::Handler(access, handler, params),
            None => RouteMatch::BadEncoding,
        }
    }
}

fn find_route(method: &Method, path: &str) -> RouteMatch {
    let mut others: Vec<&str> = Vec::new();
    // First, since a path is compared with one pattern after the other, and most requests are these.
    if let Some((room, route)) = room_and_route(path) {
        if route.method == method.as_str() {
            return RouteMatch::to(ROOM, inference::create, [Some(room), None]);
        }
        others.push(route.method);
    }
    for (allowed, pattern, access, handler) in ROUTES {
        let Some(params) = matched(pattern, path) else { continue };
        if allowed != method {
            others.push(allowed.as_str());
            continue;
        }
        return RouteMatch::to(*access, *handler, params);
    }
    if others.is_empty() {
        return RouteMatch::NotFound;
    }
    if others.contains(&"GET") {
        others.push("HEAD");
    }
    others.push("OPTIONS");
    RouteMatch::OtherMethods(others.join(", "))
}

/// What the placeholders of a pattern stand for in a path, if the path matches. Compared byte by byte, because each request is
/// compared with many patterns.
fn matched<'p>(pattern: &str, whole: &'p str) -> Option<[Option<&'p str>; MAX_PARAMS]> {
    let (mut pattern, mut path) = (pattern.as_bytes(), whole.as_bytes());
    // Rejects most patterns without walking through them.
    if pattern.last() != Some(&b'}') && pattern.last() != path.last() {
        return None;
    }
    let mut params = [None; MAX_PARAMS];
    let mut free = params.iter_mut();
    loop {
        match (pattern, path) {
            ([], []) => return Some(params),
            ([b'{', b'*', ..], [first, ..]) if *first != b'/' => {
                *free.next()? = whole.get(whole.len() - path.len()..);
                return Some(params);
            }
            ([b'{', b'}', pattern_rest @ ..], [first, ..]) if *first != b'/' => {
                let start = whole.len() - path.len();
                let length = path.iter().position(|&byte| byte == b'/').unwrap_or(path.len());
                *free.next()? = whole.get(start..start + length);
                (pattern, path) = (pattern_rest, &path[length..]);
            }
            ([a, pattern_rest @ ..], [b, path_rest @ ..]) if a == b => (pattern, path) = (pattern_rest, path_rest),
            _ => return None,
        }
    }
}

/// The method and the path pattern of each route.
#[cfg(test)]
pub fn all() -> impl Iterator<Item = (&'static str, String)> {
    let inference = operation::ROUTES.iter().map(|route| (route.method, format!("/rooms/{{}}{}", route.path)));
    ROUTES.iter().map(|(method, path, _, _)| (method.as_str(), path.replace("{*}", "{}"))).chain(inference)
}

/// The path parameters of a request, if a route matches its method and path.
#[cfg(test)]
pub fn params_of(method: &Method, path: &str) -> Option<PathParams> {
    match find_route(method, path) {
        RouteMatch::Handler(_, _, params) => Some(params),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(path: &str) -> Option<PathParams> {
        params_of(&Method::Put, path)
    }

    #[test]
    fn path_parameters_are_decoded_after_the_path_is_split() {
        assert_eq!(put("/v1/rooms/abc234/participants/a%20b%2Fc").unwrap(), ["abc234", "a b/c"]);
        assert_eq!(put("/v1/rooms/abc234/participants/gr%C3%B6%C3%9Fe").unwrap()[1], "größe");
        assert!(put("/v1/rooms/abc234/participants/").is_none());
        assert!(put("/v1/rooms//participants/a").is_none());
        assert!(put("/v1/rooms/{}/participants/{}").is_some(), "a brace in a path is a byte like others");
        assert!(put("/v1/rooms/abc234/participants/a/").is_none());
        assert!(matches!(find_route(&Method::Put, "/v1/rooms/x/participants/%zz"), RouteMatch::BadEncoding));
        assert!(matches!(find_route(&Method::Put, "/v1/rooms/x/participants/%ff"), RouteMatch::BadEncoding));
        assert!(matches!(find_route(&Method::Put, "/v1/rooms/x/participants/%4"), RouteMatch::BadEncoding));
    }

    #[test]
    fn a_known_path_lists_its_methods() {
        let RouteMatch::OtherMethods(methods) = find_route(&Method::Patch, "/v1/rooms") else { panic!() };
        assert_eq!(methods, "GET, POST, HEAD, OPTIONS");
        let RouteMatch::OtherMethods(methods) = find_route(&Method::Get, "/rooms/x/v1/responses") else { panic!() };
        assert_eq!(methods, "POST, OPTIONS");
        assert!(matches!(find_route(&Method::Get, "/v2/rooms"), RouteMatch::NotFound));
        assert!(matches!(find_route(&Method::Post, "/rooms//v1/responses"), RouteMatch::NotFound));
    }
}
