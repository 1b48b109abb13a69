//! The route of a room's invitation: the addresses under which others reach the room through this hub. It holds no secret.

use std::net::{IpAddr, SocketAddr};

use qrcodegen::{QrCode, QrCodeEcc};

use crate::http::Exchange;
use crate::hub::access::client_info::client_info;
use crate::hub::context::HubContext;
use crate::hub::handler::{HandlerResult, PathParams};
use crate::hub::respond::{Rejection, send_data};
use crate::net::network_address::network_address;
use crate::proto::invitation::Invitation;
use crate::proto::room_invitation::{QrImage, RoomInvitation};

/// `GET /v1/rooms/{code}/invitation`.
pub fn invitation(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    let room = hub.registry().room(&params[0])?.code.to_string();
    let base = base_url(hub, exchange)?;
    let page_url = format!("{base}/#{room}");
    let text = Invitation { hub: base.clone(), room: room.clone(), ..Invitation::default() }.encode();
    let told = RoomInvitation {
        base_url: format!("{base}/rooms/{room}/v1"),
        invitation: text.map_err(|error| Rejection::invalid(format!("No invitation can be made: {error}")))?,
        page_qr: qr_image(&page_url),
        page_url,
    };
    Ok(send_data(exchange, 200, told))
}

/// The hub's URL: the configured public one, else that of the host that the client addressed. In place of this machine's own
/// name it has the address by which others reach it, where the hub serves these.
fn base_url(hub: &HubContext, exchange: &Exchange<'_>) -> Result<String, Rejection> {
    if let Some(url) = &hub.public_url {
        return Ok(url.clone());
    }
    let client = client_info(exchange, &hub.trusted_proxies);
    let scheme = if client.secure { "https" } else { "http" };
    let host = client.host.ok_or_else(|| Rejection::invalid("A Host header is required"))?;
    let network = network_address(hub.bound).filter(|_| hub.bound.ip().is_unspecified() && is_own_name(host));
    Ok(match network {
        Some(ip) => format!("{scheme}://{}", SocketAddr::new(ip, hub.bound.port())),
        None => format!("{scheme}://{host}"),
    })
}

/// Whether a host, which may have a port, names the machine of who uses the name.
fn is_own_name(host: &str) -> bool {
    let name = host.strip_prefix('[').map_or_else(|| host.split(':').next(), |rest| rest.split(']').next());
    let name = name.unwrap_or_default();
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The QR code of a text; `None` where the text is too long for one.
fn qr_image(text: &str) -> Option<QrImage> {
    let qr = QrCode::encode_text(text, QrCodeEcc::Medium).ok()?;
    let mut path = String::new();
    for y in 0..qr.size() {
        let mut x = 0;
        while x < qr.size() {
            let length = (x..qr.size()).take_while(|&x| qr.get_module(x, y)).count();
            if length > 0 {
                path.push_str(&format!("M{x} {y}h{length}v1h-{length}z"));
            }
            x += 1 + i32::try_from(length).unwrap_or(0);
        }
    }
    Some(QrImage { size: u32::try_from(qr.size()).ok()?, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_others_to_their_own_machine_are_known() {
        for own in ["localhost", "LOCALHOST:3000", "127.0.0.1:3000", "127.1.2.3", "[::1]:3000", "[::1]"] {
            assert!(is_own_name(own), "{own}");
        }
        for other in ["hub:3000", "10.0.0.1", "localhost.example", "[fe80::1]:3000", "", "["] {
            assert!(!is_own_name(other), "{other}");
        }
    }

    #[test]
    fn a_qr_code_is_a_path_of_its_dark_modules() {
        let image = qr_image("http://hub:3000/#LAB001").unwrap();
        let qr = QrCode::encode_text("http://hub:3000/#LAB001", QrCodeEcc::Medium).unwrap();
        let dark = (0..qr.size()).flat_map(|y| (0..qr.size()).map(move |x| (x, y)));
        let dark = dark.filter(|&(x, y)| qr.get_module(x, y)).count();
        let lengths = image.path.split('h').skip(1).step_by(2).map(|part| part.split('v').next().unwrap());
        assert_eq!(lengths.map(|length| length.parse::<usize>().unwrap()).sum::<usize>(), dark);
        assert!(image.path.starts_with("M0 0h7v1h-7z"), "a corner's mark: {}", image.path);
        assert!(qr_image(&"x".repeat(5_000)).is_none());
    }
}
