//! Which web sites may use this hub. A page that somebody visits can send requests to any hub that this browser reaches
//! (cross-site requests), and under its own name too (DNS rebinding). So a hub that asks nobody for a key checks who a
//! request says it is for, and on whose behalf a browser sends it. With a key nothing of this is needed: a page that can
//! show it was given it.
//!
//! What counts as local can't be had by a site of the internet: addresses, names without a dot, and names under domains
//! that the public DNS never hands out. A hub that listens on loopback alone is out of the network's reach, and so takes
//! no requests from the network's pages either: only from those of its own machine.

use std::fs;
use std::net::IpAddr;

use crate::hub::respond::Rejection;
use crate::proto::management::ErrorCode;
use crate::proto::web::host_of;

/// Domains for local use (RFC 6761, RFC 6762, RFC 8375, and ICANN's `internal`), and what home routers call theirs.
const LOCAL_DOMAINS: [&str; 7] = [".localhost", ".local", ".home.arpa", ".internal", ".lan", ".home", ".localdomain"];

/// The longest origin or host that an error repeats, in characters.
const SHOWN: usize = 200;

/// By which names a hub is known, and which origins may use it.
#[derive(Debug, Default)]
pub struct OriginPolicy {
    /// In lower case.
    names: Vec<String>,
    /// The one origin that the operator allows, or `*`.
    allowed: Option<String>,
    /// Whether the hub listens on loopback alone.
    loopback: bool,
}

/// What a request says of the page behind it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked<'r> {
    /// Whom it is for.
    pub host: Option<&'r str>,
    /// The page's origin (RFC 6454), where a browser names one.
    pub origin: Option<&'r str>,
    /// `Sec-Fetch-Site` (Fetch Metadata): how the page's site and the hub's are related. No page can set it.
    pub site: Option<&'r str>,
    /// Whether it may change something.
    pub changes: bool,
}

impl OriginPolicy {
    /// Of a hub with these settings: names that it is told it has, its public URL, its allowed origin, and whether it
    /// listens on loopback alone.
    pub fn new(allowed_hosts: &[String], public_url: Option<&str>, allowed: Option<&str>, loopback: bool) -> Self {
        let hostname = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let urls = [public_url, allowed].into_iter().flatten().filter_map(host_of);
        let names = allowed_hosts.iter().map(String::as_str).chain(urls).chain([hostname.trim()]);
        let names = names.filter(|name| !name.is_empty()).map(str::to_ascii_lowercase).collect();
        OriginPolicy { names, allowed: allowed.map(|allowed| allowed.trim_end_matches('/').to_owned()), loopback }
    }

    /// Whether a request may come from where it says it comes from.
    ///
    /// # Errors
    /// 403, which names the flag that opens the hub to it.
    pub fn check(&self, asked: Asked<'_>) -> Result<(), Rejection> {
        let Asked { host, origin, site, changes } = asked;
        if origin.is_some_and(|origin| self.allows(origin) || is_own_by_tls(origin, site)) {
            return if self.loopback { Ok(()) } else { self.check_host(host) };
        }
        // What programs call a hub on loopback is their own and their proxies' affair. A browser goes by the name in its
        // address bar, which any site can have point here.
        if origin.is_some() || (changes && !self.loopback) {
            self.check_host(host)?;
        }
        match origin {
            Some(origin) if !self.takes(origin, host) => Err(foreign(origin)),
            None if site.is_some_and(|site| site.eq_ignore_ascii_case("cross-site")) && !self.allows("") => {
                Err(foreign("another site"))
            }
            _ => Ok(()),
        }
    }

    fn check_host(&self, host: Option<&str>) -> Result<(), Rejection> {
        let Some(host) = host.map(bare_host).filter(|host| !is_address(host) && !self.knows(host)) else {
            return Ok(());
        };
        let host = shown(host);
        Err(refused(format!(
            "This hub is not known as \"{host}\": if that is its name, start it with --known-as {host}, or with --public-url"
        )))
    }

    /// Whether the operator lets an origin in. None is called nothing: that asks whether all are.
    fn allows(&self, origin: &str) -> bool {
        self.allowed.as_deref().is_some_and(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin))
    }

    fn knows(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        !host.contains('.') || LOCAL_DOMAINS.iter().any(|domain| host.ends_with(domain)) || self.names.contains(&host)
    }

    /// Whether an origin is the hub's own, or that of a page from where the hub can be asked anyway.
    fn takes(&self, origin: &str, host: Option<&str>) -> bool {
        // Others are of local files and of programs that show pages, whoever made them.
        let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        let Some(rest) = rest else { return false };
        let name = bare_host(rest);
        if host.is_some_and(|host| host.eq_ignore_ascii_case(rest)) {
            return true;
        }
        if self.loopback { self.is_own_machine(name) } else { is_local_address(name) || self.is_known_name(name) }
    }

    fn is_known_name(&self, name: &str) -> bool {
        !name.is_empty() && !is_address(name) && self.knows(name)
    }

    fn is_own_machine(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        let loopback = name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
        loopback || name == "localhost" || name.ends_with(".localhost") || self.names.contains(&name)
    }
}

/// Whether a browser says that a page and the hub have one origin, reached through TLS. A site that has its name point
/// here has no certificate that a proxy in front of the hub would show for it.
fn is_own_by_tls(origin: &str, site: Option<&str>) -> bool {
    origin.starts_with("https://") && site.is_some_and(|site| site.eq_ignore_ascii_case("same-origin"))
}

fn foreign(origin: &str) -> Rejection {
    let flag = if origin.contains("://") { shown(origin) } else { "'*'".to_owned() };
    let page = shown(origin);
    refused(format!(
        "Pages of \"{page}\" may not use this hub: start it with --cors {flag} to let them, or give it a key"
    ))
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

fn refused(message: String) -> Rejection {
    Rejection::new(ErrorCode::InvalidRequest, message).status(403)
}

/// A host without its port.
fn bare_host(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    }
}

fn is_address(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok()
}

fn is_local_address(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok_and(|address| match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin_policy(allowed: Option<&str>, loopback: bool) -> OriginPolicy {
        OriginPolicy::new(&["Hub.Uni.Example".into()], Some("https://gambi.example/x"), allowed, loopback)
    }

    fn changing<'r>(host: &'r str, origin: Option<&'r str>) -> Asked<'r> {
        Asked { host: Some(host), origin, site: None, changes: true }
    }

    #[test]
    fn a_hub_is_known_by_addresses_local_names_and_its_own() {
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
            assert!(origin_policy(None, false).check(changing(good, None)).is_ok(), "{good}");
        }
        for bad in
            ["evil.example", "hub.uni.example.evil.example", "local.evil.com:3000", "x.example", "127.0.0.1.nip.io"]
        {
            assert!(origin_policy(None, false).check(changing(bad, None)).is_err(), "{bad}");
            let rebound = format!("http://{bad}");
            assert!(origin_policy(None, true).check(changing(bad, Some(&rebound))).is_err(), "{bad} on loopback");
            assert!(origin_policy(None, true).check(changing(bad, None)).is_ok(), "{bad} by a proxy, for a program");
        }
        assert!(origin_policy(None, false).check(Asked { changes: true, ..Asked::default() }).is_ok());
    }

    #[test]
    fn pages_are_the_hubs_own_local_ones_or_allowed() {
        let takes = |origin| origin_policy(None, false).check(changing("203.0.113.5:3000", Some(origin))).is_ok();
        for good in [
            "http://localhost:5173",
            "http://192.168.1.9",
            "http://203.0.113.5:3000",
            "https://gambi.example",
            "http://pi.local:8080",
        ] {
            assert!(takes(good), "{good}");
        }
        for bad in FOREIGN {
            assert!(!takes(bad), "{bad}");
        }
    }

    const FOREIGN: [&str; 13] = [
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
    ];

    #[test]
    fn a_hub_on_loopback_takes_pages_of_its_own_machine_alone() {
        let takes = |origin| origin_policy(None, true).check(changing("127.0.0.1:3000", Some(origin))).is_ok();
        for good in [
            "http://127.0.0.1:3000",
            "http://localhost:5173",
            "http://[::1]:3000",
            "http://app.localhost",
            "https://gambi.example",
        ] {
            assert!(takes(good), "{good}");
        }
        for bad in FOREIGN.into_iter().chain(["http://192.168.1.9:3000", "http://pi.local", "http://router"]) {
            assert!(!takes(bad), "{bad}");
        }
        let own = |host, origin| origin_policy(None, true).check(changing(host, Some(origin))).is_ok();
        assert!(own("pi.local", "http://pi.local") && own("10.0.0.1:80", "http://10.0.0.1:80"), "by a proxy");
    }

    #[test]
    fn browsers_tell_by_metadata_what_an_origin_does_not() {
        let of = |site, origin| Asked { host: Some("front.example"), origin, site: Some(site), changes: false };
        for loopback in [false, true] {
            let origin_policy = |allowed| origin_policy(allowed, loopback);
            assert!(origin_policy(None).check(of("cross-site", None)).is_err());
            assert!(origin_policy(Some("https://app.example")).check(of("cross-site", None)).is_err());
            assert!(origin_policy(Some("*")).check(of("cross-site", None)).is_ok());
            for near in ["same-origin", "same-site", "none"] {
                assert!(origin_policy(None).check(of(near, None)).is_ok(), "{near}");
            }
        }
        let own = of("same-origin", Some("https://front.example"));
        assert!(origin_policy(None, true).check(own).is_ok(), "a proxy with TLS in front");
        assert!(origin_policy(None, true).check(Asked { site: Some("cross-site"), ..own }).is_err());
        assert!(origin_policy(None, true).check(Asked { origin: Some("http://front.example"), ..own }).is_err());
    }

    #[test]
    fn the_operator_opens_it_to_one_origin_or_to_all() {
        for loopback in [false, true] {
            let check =
                |allowed, origin| origin_policy(Some(allowed), loopback).check(changing("localhost", Some(origin)));
            for origin in ["https://evil.example", "null", "app://x", "file://"] {
                assert!(check("*", origin).is_ok(), "{origin}");
                assert!(check("https://app.example", origin).is_err(), "{origin}");
            }
            assert!(check("https://app.example", "https://app.example").is_ok());
            assert!(check("https://app.example/", "https://app.example").is_ok());
        }
    }

    #[test]
    fn a_refusal_says_which_flag_opens_the_hub() {
        let told = |asked| origin_policy(None, false).check(asked).unwrap_err().told().0;
        assert!(told(changing("localhost", Some("https://a.example"))).contains("--cors https://a.example "));
        assert!(told(changing("localhost", Some("null"))).contains("--cors '*'"));
        assert!(told(changing("hub.example", None)).contains("--known-as hub.example"));
    }
}
