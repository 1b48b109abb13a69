//! This machine's address on its network, by which others reach a server on it.

use std::net::{IpAddr, SocketAddr, UdpSocket};

/// The address by which other machines probably reach a server that listens on `bound`; `None` without a network. Connecting a
/// UDP socket sends no packet: it only selects the source address.
pub fn network_address(bound: SocketAddr) -> Option<IpAddr> {
    let (any, other) = if bound.is_ipv4() { ("0.0.0.0:0", "192.0.2.1:9") } else { ("[::]:0", "[2001:db8::1]:9") };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(other).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}
