//! The address of a participant's tunnel: always at the hub that the user named, whatever the hub's response announces.

use ureq::http::Uri;

use crate::net::resolve::port;
use crate::proto::web::percent_encode;

/// The URL of a tunnel, without its query. `hub` is the base URL that the user gave (absolute, http or https), `announced` the
/// URL in the hub's response to the registration.
///
/// The hub's key and the tunnel's token are sent to the user's hub alone, and over TLS where the user's URL is https. An
/// announced URL is used only if it has the same host and port. Another one, such as that of a hub behind a proxy that only
/// knows its public URL, is replaced by the tunnel's route at the user's hub, which has just served the registration.
pub fn tunnel_url(hub: &str, announced: &str, room: &str, id: &str) -> String {
    let (scheme, rest) = match hub.strip_prefix("https://") {
        Some(rest) => ("wss", rest),
        None => ("ws", hub.strip_prefix("http://").unwrap_or(hub)),
    };
    if let (Ok(own), Ok(uri)) = (Uri::try_from(hub), Uri::try_from(announced))
        && server(&own).is_some_and(|own| server(&uri) == Some(own))
        && let Some(authority) = own.authority()
    {
        return format!("{scheme}://{authority}{}", uri.path());
    }
    let (room, id) = (percent_encode(room), percent_encode(id));
    format!("{scheme}://{rest}/v1/rooms/{room}/participants/{id}/tunnel")
}

/// Host, in lower case, and port of a URL.
fn server(uri: &Uri) -> Option<(String, u16)> {
    uri.host().map(|host| (host.to_ascii_lowercase(), port(uri)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(hub: &str, announced: &str) -> String {
        tunnel_url(hub, announced, "ABC234", "a b")
    }

    #[test]
    fn the_tunnel_of_the_users_hub_is_followed() {
        assert_eq!(opened("http://hub:3000", "ws://hub:3000/t/x"), "ws://hub:3000/t/x");
        assert_eq!(opened("http://hub", "ws://HUB:80/t"), "ws://hub/t");
        assert_eq!(opened("https://hub/gambi", "wss://hub:443/gambi/t"), "wss://hub/gambi/t");
        assert_eq!(opened("http://[::1]:8", "ws://[::1]:8/t?token=x"), "ws://[::1]:8/t");
    }

    #[test]
    fn credentials_go_to_no_other_host_and_never_in_the_clear() {
        let own = "wss://hub.example/gambi/v1/rooms/ABC234/participants/a%20b/tunnel";
        for announced in [
            "ws://hub.example/t",
            "ws://evil.example/t",
            "wss://evil.example/t",
            "wss://hub.example:444/t",
            "wss://hub.example@evil.example/t",
            "wss://hub.example.evil.example/t",
            "nonsense",
            "",
        ] {
            assert_eq!(opened("https://hub.example/gambi", announced), own, "{announced}");
        }
        // Same host and port, but in the clear.
        assert_eq!(opened("https://hub.example:443", "ws://hub.example:443/t"), "wss://hub.example:443/t");
    }
}
