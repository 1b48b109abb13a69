//! The dashboard: one page, its style and its script, embedded in the binary. What it shows it asks
//! of the v1 plane, as any other client; nothing is put into it here.

use crate::http::Exchange;
use crate::hub::access::credentials::check_key;
use crate::hub::api::minify::{length, minify};
use crate::hub::context::HubContext;
use crate::hub::handler::{Handled, Params};
use crate::hub::respond::Rejection;

const PAGE: &str = include_str!("../../web/index.html");
const STYLE: &str = include_str!("../../web/style.css");
/// One module out of files that each have one job; a name that one of them declares is known in all.
const SCRIPT: &str = concat!(
    include_str!("../../web/dom.js"),
    include_str!("../../web/api.js"),
    include_str!("../../web/live.js"),
    include_str!("../../web/rooms.js"),
    include_str!("../../web/participants.js"),
    include_str!("../../web/charts.js"),
    include_str!("../../web/events.js"),
    include_str!("../../web/chat.js"),
    include_str!("../../web/snippets.js"),
    include_str!("../../web/main.js"),
);
static SLIM_PAGE: [u8; length(PAGE)] = minify(PAGE);
static SLIM_STYLE: [u8; length(STYLE)] = minify(STYLE);
static SLIM_SCRIPT: [u8; length(SCRIPT)] = minify(SCRIPT);

/// Nothing comes from elsewhere, nothing written into the page runs, and no other site may frame it. Trusted types forbid
/// the script itself to make markup out of text.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// `GET /`. The page tells nothing, and asks for the hub's key itself: so it is there without one.
pub fn page(hub: &HubContext, exchange: &mut Exchange<'_>, _: &Params) -> Handled {
    send(hub, exchange, "text/html; charset=utf-8", &SLIM_PAGE)
}

/// `GET /dashboard.css`.
pub fn style(hub: &HubContext, exchange: &mut Exchange<'_>, _: &Params) -> Handled {
    send(hub, exchange, "text/css; charset=utf-8", &SLIM_STYLE)
}

/// `GET /dashboard.js`.
pub fn script(hub: &HubContext, exchange: &mut Exchange<'_>, _: &Params) -> Handled {
    send(hub, exchange, "text/javascript; charset=utf-8", &SLIM_SCRIPT)
}

fn send(hub: &HubContext, exchange: &mut Exchange<'_>, kind: &str, text: &[u8]) -> Handled {
    if !hub.dashboard {
        check_key(hub, exchange)?;
        return Err(Rejection::invalid("Not found").status(404));
    }
    let headers = [
        ("Content-Type", kind),
        ("Content-Security-Policy", POLICY),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
        // No other page holds on to this one's window, and nobody else's page gets its parts.
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("Referrer-Policy", "no-referrer"),
        // Another version of the hub has another page: whoever comes back asks again.
        ("Cache-Control", "no-cache"),
    ];
    Ok(exchange.respond(200, &headers, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_it_is_small_and_names_no_other_host() {
        let all = [&SLIM_PAGE[..], &SLIM_STYLE, &SLIM_SCRIPT].concat();
        let all = std::str::from_utf8(&all).unwrap();
        assert!(all.len() < 60_000, "{} bytes", all.len());
        let elsewhere: Vec<&str> = all.split("//").skip(1).filter(|rest| rest.starts_with("www.")).collect();
        // A name space of XML is a name, and fetched from nowhere.
        assert!(elsewhere.iter().all(|rest| rest.starts_with("www.w3.org/2000/svg")), "{elsewhere:?}");
        assert!(!all.contains("https://") && !all.contains("innerHTML"));
    }

    #[test]
    fn secrets_are_in_no_storage_that_other_scripts_could_read() {
        for storage in ["sessionStorage", "localStorage", "indexedDB", "document.cookie", "caches.", "window.secrets"] {
            assert!(!SCRIPT.contains(storage), "{storage}");
        }
        assert!(PAGE.contains(r#"type="module""#), "what a module declares is its own");
    }

    #[test]
    fn no_comment_goes_over_several_lines() {
        let source = [STYLE, SCRIPT].concat();
        assert!(
            source.lines().all(|line| !line.contains("/*") || line.ends_with("*/")),
            "a comment over several lines"
        );
    }
}
