//! Which web sites may change things here. A page that somebody visits can send requests to any hub that this browser
//! reaches (cross-site requests), and under its own name too (DNS rebinding). So a hub that asks nobody for a key checks
//! who a request says it is for, and on whose behalf a browser sends it.
//!
//! What counts as local can't be had by a site of the internet: addresses, names without a dot, and names under domains
//! that the public DNS never hands out.

use std::fs;
use std::net::IpAddr;

use crate::hub::respond::Refused;
use crate::proto::management::ErrorCode;
use crate::proto::web::host_of;

/// Domains for local use (RFC 6761, RFC 6762, RFC 8375, and ICANN's `internal`), and what home routers call theirs.
const LOCAL_DOMAINS: [&str; 7] = [".localhost", ".local", ".home.arpa", ".internal", ".lan", ".home", ".localdomain"];

/// By which names a hub is known, and which origins it takes changes from.
#[derive(Debug, Default)]
pub struct Sites {
    /// In lower case.
    names: Vec<String>,
    /// The one origin that the operator allows, or `*`.
    allowed: Option<String>,
}

impl Sites {
    /// Of a hub with these settings: names that it is told it has, its public URL, its allowed origin.
    pub fn new(known_as: &[String], public_url: Option<&str>, allowed: Option<&str>) -> Self {
        let hostname = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let urls = [public_url, allowed].into_iter().flatten().filter_map(host_of);
        let names = known_as.iter().map(String::as_str).chain(urls).chain([hostname.trim()]);
        let names = names.filter(|name| !name.is_empty()).map(str::to_ascii_lowercase).collect();
        Sites { names, allowed: allowed.map(str::to_owned) }
    }

    /// Whether a request that changes things may come from where it says it comes from.
    ///
    /// # Errors
    /// 403.
    pub fn check(&self, host: Option<&str>, origin: Option<&str>) -> Result<(), Refused> {
        if let Some(host) = host.map(bare_host).filter(|host| !is_address(host) && !self.knows(host)) {
            let hint = format!("If this is the hub's name, start it with --known-as {host}, or with --public-url.");
            return Err(refused(format!("This hub is not known as \"{host}\"")).hint(hint));
        }
        match origin {
            Some(origin) if !self.takes(origin, host) => {
                let hint = format!("If it may change things here, start the hub with --cors {origin}.");
                Err(refused(format!("Pages of \"{origin}\" may not change things here")).hint(hint))
            }
            _ => Ok(()),
        }
    }

    fn knows(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        !host.contains('.') || LOCAL_DOMAINS.iter().any(|domain| host.ends_with(domain)) || self.names.contains(&host)
    }

    fn takes(&self, origin: &str, host: Option<&str>) -> bool {
        if self.allowed.as_deref().is_some_and(|allowed| allowed == "*" || allowed == origin) {
            return true;
        }
        let Some((scheme, rest)) = origin.split_once("://") else { return false };
        // Of a program that somebody installed, such as a browser's extension.
        if !["http", "https"].contains(&scheme) {
            return true;
        }
        let name = bare_host(rest);
        host == Some(rest) || is_local_address(name) || (!is_address(name) && self.knows(name))
    }
}

fn refused(message: String) -> Refused {
    Refused::new(ErrorCode::InvalidRequest, message).status(403)
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

    fn sites() -> Sites {
        Sites::new(&["Hub.Uni.Example".into()], Some("https://gambi.example/x"), None)
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
            assert!(sites().check(Some(good), None).is_ok(), "{good}");
        }
        for bad in
            ["evil.example", "hub.uni.example.evil.example", "local.evil.com:3000", "x.example", "127.0.0.1.nip.io"]
        {
            assert!(sites().check(Some(bad), None).is_err(), "{bad}");
        }
        assert!(sites().check(None, None).is_ok());
    }

    #[test]
    fn changes_come_from_local_pages_and_allowed_origins() {
        let takes = |origin| sites().check(Some("203.0.113.5:3000"), Some(origin)).is_ok();
        for good in [
            "http://localhost:5173",
            "http://192.168.1.9",
            "http://203.0.113.5:3000",
            "https://gambi.example",
            "http://pi.local:8080",
            "chrome-extension://abcdef",
        ] {
            assert!(takes(good), "{good}");
        }
        for bad in
            ["null", "https://evil.example", "http://203.0.113.9", "http://203.0.113.5:3001", "http://1.2.3.4", ""]
        {
            assert!(!takes(bad), "{bad}");
        }
        let all = Sites::new(&[], None, Some("*"));
        assert!(all.check(Some("localhost"), Some("https://evil.example")).is_ok());
        let one = Sites::new(&[], None, Some("https://app.example"));
        assert!(one.check(Some("localhost"), Some("https://app.example")).is_ok());
        assert!(one.check(Some("localhost"), Some("https://evil.example")).is_err());
    }
}
