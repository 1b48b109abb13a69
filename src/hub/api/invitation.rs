//! The route of a room's invitation: the addresses under which others reach the room through this hub. It holds no secret.

use std::net::SocketAddr;

use qrcodegen::{QrCode, QrCodeEcc};

use crate::http::Exchange;
use crate::hub::access::own_url::own_url;
use crate::hub::context::HubContext;
use crate::hub::handler::{HandlerResult, PathParams};
use crate::hub::respond::{Rejection, send_data};
use crate::net::network_address::network_address;
use crate::proto::invitation::Invitation;
use crate::proto::room_invitation::{QrImage, RoomInvitation};
use crate::proto::web::{host_of, is_loopback_name};

/// `GET /v1/rooms/{code}/invitation`.
pub fn invitation(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    let room = hub.registry().room(&params[0])?.code.to_string();
    let base = url_for_others(hub, exchange)?;
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

/// The hub's URL for others. In place of this machine's own name it has the address by which others reach it, where the hub
/// serves these.
fn url_for_others(hub: &HubContext, exchange: &Exchange<'_>) -> Result<String, Rejection> {
    let url = own_url(hub, exchange)?;
    let serves_others = hub.public_url.is_none() && hub.bound.ip().is_unspecified();
    if !serves_others || !host_of(&url).is_some_and(is_loopback_name) {
        return Ok(url);
    }
    let scheme = if url.starts_with("https:") { "https" } else { "http" };
    let network = network_address(hub.bound).map(|ip| SocketAddr::new(ip, hub.bound.port()));
    Ok(network.map_or(url, |address| format!("{scheme}://{address}")))
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
