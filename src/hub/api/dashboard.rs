//! The dashboard: a page, a style sheet and a script, embedded in the binary and served as static files. The script gets
//! its data from the management plane, as any other client does.

use crate::http::Exchange;
use crate::hub::access::credentials::check_key;
use crate::hub::api::embedded::{Embedded, embedded};
use crate::hub::api::ollama;
use crate::hub::context::HubContext;
use crate::hub::handler::{HandlerResult, PathParams};
use crate::hub::respond::{SANDBOX_HEADERS, no_route};

static PAGE: Embedded = embedded!("dashboard.html", "text/html; charset=utf-8");
static STYLE: Embedded = embedded!("dashboard.css", "text/css; charset=utf-8");
static SCRIPT: Embedded = embedded!("dashboard.js", "text/javascript; charset=utf-8");

/// Allows no foreign resources, no inline scripts and no framing. `require-trusted-types-for` prevents the script itself
/// from parsing text as markup.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// `GET /`. Served without the hub's key: the page holds no data and prompts for the key itself.
pub fn page(hub: &HubContext, exchange: &mut Exchange<'_>, _: &PathParams) -> HandlerResult {
    // With a default room, clients of Ollama look here whether the server is up. Browsers say that they want a page.
    let wants_page = || exchange.header("accept").is_some_and(|accept| accept.contains("text/html"));
    if hub.default_room.is_some() && !wants_page() {
        SANDBOX_HEADERS.into_iter().for_each(|(name, value)| exchange.add_header(name, value));
        return Ok(ollama::say_running(exchange));
    }
    send_file(hub, exchange, &PAGE)
}

/// `GET /dashboard.css`.
pub fn style(hub: &HubContext, exchange: &mut Exchange<'_>, _: &PathParams) -> HandlerResult {
    send_file(hub, exchange, &STYLE)
}

/// `GET /dashboard.js`.
pub fn script(hub: &HubContext, exchange: &mut Exchange<'_>, _: &PathParams) -> HandlerResult {
    send_file(hub, exchange, &SCRIPT)
}

fn send_file(hub: &HubContext, exchange: &mut Exchange<'_>, file: &Embedded) -> HandlerResult {
    if !hub.dashboard {
        check_key(hub, exchange, None)?;
        return Err(no_route());
    }
    let headers = [
        ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
        // Other pages get neither a reference to the dashboard's window nor its files.
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("Referrer-Policy", "no-referrer"),
    ];
    Ok(file.send(exchange, &headers))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn the_dashboard_is_small_and_refers_to_no_other_host() {
        let all = [&PAGE, &STYLE, &SCRIPT].map(Embedded::text).concat();
        assert!(all.len() < 120_000, "{} bytes", all.len());
        let elsewhere: Vec<&str> = all.split("//").skip(1).filter(|rest| rest.starts_with("www.")).collect();
        // The SVG namespace is an identifier, which browsers do not fetch.
        assert!(elsewhere.iter().all(|rest| rest.starts_with("www.w3.org/2000/svg")), "{elsewhere:?}");
        assert!(!all.contains("https://") && !all.contains("innerHTML"));
    }

    /// The files in `src/web` with this ending, and their texts.
    fn sources(ending: &str) -> Vec<(PathBuf, String)> {
        let files =
            fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/web")).unwrap().map(|file| file.unwrap().path());
        let named = files.filter(|path| path.extension().is_some_and(|extension| extension == ending));
        named.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
    }

    #[test]
    fn it_carries_all_lines_but_those_of_comments() {
        let is_left_out = |line: &str| line.is_empty() || ["//", "/*"].iter().any(|start| line.starts_with(start));
        for (file, ending) in [(&PAGE, "html"), (&STYLE, "css"), (&SCRIPT, "js")] {
            let mut carried: Vec<&str> = file.text().lines().collect();
            assert!(!carried.iter().any(|line| line.starts_with(' ') || is_left_out(line)), "{ending}");
            let sources = sources(ending);
            let lines = sources.iter().flat_map(|(_, text)| text.lines()).map(|line| line.trim_start_matches(' '));
            let mut expected: Vec<&str> = lines.filter(|line| !is_left_out(line.trim_end())).collect();
            carried.sort_unstable();
            expected.sort_unstable();
            assert_eq!(carried, expected, "{ending}");
        }
    }

    #[test]
    fn each_id_of_the_page_is_of_one_element() {
        let page = PAGE.text();
        let mut ids: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert!(count > 50 && ids.len() == count, "{count} ids, {} different ones", ids.len());
    }

    #[test]
    fn secrets_are_never_put_into_storage_that_other_scripts_can_read() {
        for (path, text) in sources("js") {
            // These three store what is not secret.
            let stores = ["kept.js", "history.js", "theme.js"].iter().any(|name| path.ends_with(name));
            let forbidden = if stores {
                &["secrets.get", "secretHeaders"][..]
            } else {
                &["sessionStorage", "localStorage", "indexedDB", "document.cookie", "caches.", "window.secrets"]
            };
            assert!(forbidden.iter().all(|word| !text.contains(word)), "{}", path.display());
        }
        assert!(PAGE.text().contains(r#"type="module""#), "declarations of a module are not global");
    }
}
