//! Which web origins may use this hub. Any page open in a browser can send requests to any hub that the browser reaches
//! (cross-site requests), also under the page's own host name (DNS rebinding). A hub without a key therefore checks the
//! `Host` of a request and the origin that the browser sends with it. A hub with a key needs none of this: only pages that
//! were given the key can use it.
//!
//! Local names cannot belong to a site of the internet: addresses, names without a dot, and names under domains that the
//! public DNS never delegates. A hub that listens on loopback only is unreachable from the network, so it accepts pages of
//! its own machine only.

use std::fs;
use std::net::IpAddr;

use crate::hub::respond::Rejection;
use crate::proto::management::ErrorCode;
use crate::proto::web::{host_of, is_loopback_name, without_scheme};

/// Domains for local use (RFC 6761, RFC 6762, RFC 8375, ICANN's `internal`), and the usual ones of home routers.
const LOCAL_DOMAINS: [&str; 7] = [".localhost", ".local", ".home.arpa", ".internal", ".lan", ".home", ".localdomain"];

/// An error repeats an origin or host up to this length, in characters.
const MAX_ECHOED_CHARS: usize = 200;

/// The host names of a hub, and the origins that may use it.
#[derive(Debug, Default)]
pub struct OriginPolicy {
    /// Lower case.
    hosts: Vec<String>,
    /// The origin that the operator allows with `--cors`; `*` allows all.
    allowed_origin: Option<String>,
    /// Whether the hub listens on loopback only.
    loopback: bool,
}

/// The headers of a request that identify the page that sent it.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestOrigin<'r> {
    /// The host that the request addresses.
    pub host: Option<&'r str>,
    /// The `Origin` header (RFC 6454). Absent in requests of most programs.
    pub origin: Option<&'r str>,
    /// The `Sec-Fetch-Site` header (Fetch Metadata): how the page's site relates to the hub's. Scripts cannot set it.
    pub fetch_site: Option<&'r str>,
    /// Whether the method may change state: any but `GET`, `HEAD` and `OPTIONS`.
    pub mutating: bool,
}

impl OriginPolicy {
    /// The policy of a hub with these host names, public URL and allowed origin. `loopback`: it listens on loopback only.
    pub fn new(allowed_hosts: &[String], public_url: Option<&str>, allowed: Option<&str>, loopback: bool) -> Self {
        let hostname = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let urls = [public_url, allowed].into_iter().flatten().filter_map(host_of);
        let hosts = allowed_hosts.iter().map(String::as_str).chain(urls).chain([hostname.trim()]);
        let hosts = hosts.filter(|host| !host.is_empty()).map(str::to_ascii_lowercase).collect();
        let allowed_origin = allowed.map(|origin| origin.trim_end_matches('/').to_owned());
        OriginPolicy { hosts, allowed_origin, loopback }
    }

    /// Checks the origin and the host of a request.
    ///
    /// # Errors
    /// 403, with the flag that would allow the request.
    pub fn check(&self, request: RequestOrigin<'_>) -> Result<(), Rejection> {
        let RequestOrigin { host, origin, fetch_site, mutating } = request;
        if origin.is_some_and(|origin| self.is_allowed_origin(origin) || is_same_origin_by_tls(origin, fetch_site)) {
            return if self.loopback { Ok(()) } else { self.check_host(host) };
        }
        // Programs and local proxies may address a loopback hub by any name. A browser sends the name in its address bar,
        // which any site can resolve to this hub.
        if origin.is_some() || (mutating && !self.loopback) {
            self.check_host(host)?;
        }
        match origin {
            Some(origin) if !self.is_own_or_local(origin, host) => Err(origin_not_allowed(origin)),
            None if fetch_site.is_some_and(|site| site.eq_ignore_ascii_case("cross-site")) && !self.allows_all() => {
                Err(origin_not_allowed("another site"))
            }
            _ => Ok(()),
        }
    }

    fn check_host(&self, host: Option<&str>) -> Result<(), Rejection> {
        let Some(host) = host.map(without_port).filter(|host| !is_address(host) && !self.is_known_host(host)) else {
            return Ok(());
        };
        let host = truncate(host);
        Err(forbidden(format!(
            "\"{host}\" is not a known host name of this hub: start it with --known-as {host} or --public-url to allow it"
        )))
    }

    /// Whether the operator allows an origin.
    fn is_allowed_origin(&self, origin: &str) -> bool {
        self.allows_all() || self.allowed_origin.as_deref().is_some_and(|allowed| allowed.eq_ignore_ascii_case(origin))
    }

    fn allows_all(&self) -> bool {
        self.allowed_origin.as_deref() == Some("*")
    }

    fn is_known_host(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        !host.contains('.') || LOCAL_DOMAINS.iter().any(|domain| host.ends_with(domain)) || self.hosts.contains(&host)
    }

    /// Whether an origin is the hub's own, or that of a machine that can reach the hub without a browser.
    fn is_own_or_local(&self, origin: &str, host: Option<&str>) -> bool {
        // Other schemes belong to local files and to applications with an embedded browser, whose pages can be from any author.
        let Some(rest) = without_scheme(origin) else { return false };
        let name = without_port(rest);
        if host.is_some_and(|host| host.eq_ignore_ascii_case(rest)) {
            return true;
        }
        if self.loopback { self.is_own_machine(name) } else { is_local_address(name) || self.is_known_name(name) }
    }

    fn is_known_name(&self, name: &str) -> bool {
        !name.is_empty() && !is_address(name) && self.is_known_host(name)
    }

    fn is_own_machine(&self, name: &str) -> bool {
        is_loopback_name(name) || self.hosts.iter().any(|host| host.eq_ignore_ascii_case(name))
    }
}

/// Whether a browser reports the page and the hub as one origin, reached through TLS. This rules out DNS rebinding: a
/// proxy in front of the hub has no certificate for the name of a foreign site.
fn is_same_origin_by_tls(origin: &str, fetch_site: Option<&str>) -> bool {
    origin.starts_with("https://") && fetch_site.is_some_and(|site| site.eq_ignore_ascii_case("same-origin"))
}

fn origin_not_allowed(origin: &str) -> Rejection {
    let page = truncate(origin);
    let flag = if origin.contains("://") { page.as_str() } else { "'*'" };
    forbidden(format!(
        "Pages of \"{page}\" may not use this hub: start it with --cors {flag} to allow them, or give it a key with --key-file"
    ))
}

fn truncate(text: &str) -> String {
    text.chars().take(MAX_ECHOED_CHARS).collect()
}

fn forbidden(message: String) -> Rejection {
    Rejection::new(ErrorCode::InvalidRequest, message).status(403)
}

/// The host name in a `Host` header or an origin, without its port and brackets.
fn without_port(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        // What does not end in a port is a name as a whole.
        None => match host.split_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        },
    }
}

fn is_address(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok()
}

/// Whether a host is an address of loopback, of a private network (RFC 1918, RFC 4193), or link-local.
fn is_local_address(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok_and(|address| match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allowed: Option<&str>, loopback: bool) -> OriginPolicy {
        OriginPolicy::new(&["Hub.Uni.Example".into()], Some("https://gambi.example/x"), allowed, loopback)
    }

    fn post<'r>(host: &'r str, origin: Option<&'r str>) -> RequestOrigin<'r> {
        RequestOrigin { host: Some(host), origin, fetch_site: None, mutating: true }
    }

    #[test]
    fn a_host_may_be_an_address_a_local_name_or_a_configured_one() {
        for good in [
            "192.168.1.5:3000",
            "8.8.8.8",
            "[::1]:3000",
            "localhost:3000",
            "raspberrypi",
            "pi.local:3000",
            "pi.lan",
            "hub.uni.example:3000",
            "GAMBI.example",
            "pi.local.",
        ] {
            assert!(policy(None, false).check(post(good, None)).is_ok(), "{good}");
        }
        for bad in
            ["evil.example", "hub.uni.example.evil.example", "local.evil.com:3000", "x.example", "127.0.0.1.nip.io"]
        {
            assert!(policy(None, false).check(post(bad, None)).is_err(), "{bad}");
            let rebound = format!("http://{bad}");
            assert!(policy(None, true).check(post(bad, Some(&rebound))).is_err(), "{bad} on loopback");
            assert!(policy(None, true).check(post(bad, None)).is_ok(), "{bad} by a proxy, for a program");
        }
        assert!(policy(None, false).check(RequestOrigin { mutating: true, ..RequestOrigin::default() }).is_ok());
    }

    #[test]
    fn accepted_origins_are_the_hubs_own_local_or_configured_ones() {
        let accepts = |origin| policy(None, false).check(post("203.0.113.5:3000", Some(origin))).is_ok();
        for good in [
            "http://localhost:5173",
            "http://192.168.1.9",
            "http://203.0.113.5:3000",
            "https://gambi.example",
            "http://pi.local:8080",
        ] {
            assert!(accepts(good), "{good}");
        }
        for bad in FOREIGN {
            assert!(!accepts(bad), "{bad}");
        }
    }

    const FOREIGN: [&str; 14] = [
        "null",
        "",
        "https://evil.example",
        "http://203.0.113.9",
        "http://203.0.113.5:3001",
        "http://1.2.3.4",
        "file://",
        "http://",
        "vscode-webview://x",
        "chrome-extension://abcdef",
        "app://obsidian.md",
        "ws://localhost",
        "https://localhost.evil.example",
        "http://127.0.0.1:3000.evil",
    ];

    #[test]
    fn a_hub_on_loopback_accepts_pages_of_its_own_machine_only() {
        let accepts = |origin| policy(None, true).check(post("127.0.0.1:3000", Some(origin))).is_ok();
        for good in [
            "http://127.0.0.1:3000",
            "http://localhost:5173",
            "http://[::1]:3000",
            "http://app.localhost",
            "https://gambi.example",
        ] {
            assert!(accepts(good), "{good}");
        }
        for bad in FOREIGN.into_iter().chain(["http://192.168.1.9:3000", "http://pi.local", "http://router"]) {
            assert!(!accepts(bad), "{bad}");
        }
        let own = |host, origin| policy(None, true).check(post(host, Some(origin))).is_ok();
        assert!(own("pi.local", "http://pi.local") && own("10.0.0.1:80", "http://10.0.0.1:80"), "by a proxy");
    }

    #[test]
    fn fetch_metadata_is_checked_where_the_origin_does_not_decide() {
        let get = |site, origin| RequestOrigin {
            host: Some("front.example"),
            origin,
            fetch_site: Some(site),
            mutating: false,
        };
        for loopback in [false, true] {
            let policy = |allowed| policy(allowed, loopback);
            assert!(policy(None).check(get("cross-site", None)).is_err());
            assert!(policy(Some("https://app.example")).check(get("cross-site", None)).is_err());
            assert!(policy(Some("*")).check(get("cross-site", None)).is_ok());
            for near in ["same-origin", "same-site", "none"] {
                assert!(policy(None).check(get(near, None)).is_ok(), "{near}");
            }
        }
        let own = get("same-origin", Some("https://front.example"));
        assert!(policy(None, true).check(own).is_ok(), "a proxy with TLS in front");
        assert!(policy(None, true).check(RequestOrigin { fetch_site: Some("cross-site"), ..own }).is_err());
        assert!(policy(None, true).check(RequestOrigin { origin: Some("http://front.example"), ..own }).is_err());
    }

    #[test]
    fn the_operator_allows_one_origin_or_all() {
        for loopback in [false, true] {
            let check = |allowed, origin| policy(Some(allowed), loopback).check(post("localhost", Some(origin)));
            for origin in ["https://evil.example", "null", "app://x", "file://"] {
                assert!(check("*", origin).is_ok(), "{origin}");
                assert!(check("https://app.example", origin).is_err(), "{origin}");
            }
            assert!(check("https://app.example", "https://app.example").is_ok());
            assert!(check("https://app.example/", "https://app.example").is_ok());
        }
    }

    #[test]
    fn a_rejection_names_the_flag_that_allows_the_request() {
        let message = |request| policy(None, false).check(request).unwrap_err().into_message().0;
        assert!(message(post("localhost", Some("https://a.example"))).contains("--cors https://a.example "));
        assert!(message(post("localhost", Some("null"))).contains("--cors '*'"));
        assert!(message(post("hub.example", None)).contains("--known-as hub.example"));
    }
}
