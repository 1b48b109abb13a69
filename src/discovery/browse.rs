//! Listening for the announcements of hubs. What is announced is not checked here.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mdns_sd::{ServiceDaemon, ServiceEvent};

use super::service::{FINGERPRINT, GOODBYE_TIMEOUT, HTTPS, PROTOCOL, SERVICE_TYPE};
use crate::error::{Error, Reason};
use crate::fingerprint::Fingerprint;

/// The most hubs, and addresses of one hub, that are checked: anyone on the network can announce any number.
pub const MAX_HUBS: usize = 256;
pub const MAX_ADDRESSES: usize = 8;

/// What a hub announces, not checked yet.
#[derive(Default)]
pub struct AnnouncedHub {
    /// The name of its service.
    pub fullname: String,
    /// In ascending order.
    pub addresses: Vec<SocketAddr>,
    pub tls: bool,
    pub fingerprint: Option<Fingerprint>,
}

/// Listens for announcements during `listen`.
///
/// # Errors
/// When the system does not allow listening to the multicast group.
pub fn browse(listen: Duration) -> Result<Vec<AnnouncedHub>, Error> {
    let failed = |e: mdns_sd::Error| Error::System { what: "looking for hubs by mDNS", reason: Reason::of(e) };
    let daemon = ServiceDaemon::new().map_err(failed)?;
    let events = daemon.browse(SERVICE_TYPE).map_err(failed)?;
    let deadline = Instant::now() + listen;
    let mut announced = Vec::new();
    while let Ok(event) = events.recv_deadline(deadline) {
        match event {
            ServiceEvent::ServiceResolved(service) => {
                let addresses = service.addresses.iter().map(mdns_sd::ScopedIp::to_ip_addr);
                let addresses = addresses.map(|ip| SocketAddr::new(ip, service.port));
                if let Some(hub) = record(&mut announced, &service.fullname, addresses) {
                    hub.tls = service.get_property_val_str(PROTOCOL) == Some(HTTPS);
                    hub.fingerprint = service.get_property_val_str(FINGERPRINT).and_then(|text| text.parse().ok());
                }
            }
            // The announcement was withdrawn.
            ServiceEvent::ServiceRemoved(_, fullname) => {
                announced.retain(|hub: &AnnouncedHub| hub.fullname != fullname);
            }
            _ => {}
        }
    }
    if let Ok(done) = daemon.shutdown() {
        let _ = done.recv_timeout(GOODBYE_TIMEOUT);
    }
    Ok(announced)
}

/// Adds the addresses of a name, up to the limits; `None` if there are too many names.
fn record<'a>(
    announced: &'a mut Vec<AnnouncedHub>,
    fullname: &str,
    addresses: impl Iterator<Item = SocketAddr>,
) -> Option<&'a mut AnnouncedHub> {
    let at = announced.iter().position(|hub| hub.fullname == fullname).unwrap_or(announced.len());
    if at == announced.len() {
        if at >= MAX_HUBS {
            return None;
        }
        announced.push(AnnouncedHub { fullname: fullname.to_owned(), ..AnnouncedHub::default() });
    }
    let known = announced.get_mut(at)?;
    for address in addresses {
        if known.addresses.len() < MAX_ADDRESSES {
            add(&mut known.addresses, address);
        }
    }
    Some(known)
}

/// Adds an address to those in ascending order, unless it is there.
pub fn add(addresses: &mut Vec<SocketAddr>, address: SocketAddr) {
    if let Err(at) = addresses.binary_search(&address) {
        addresses.insert(at, address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_announcements_is_limited() {
        let mut announced = Vec::new();
        for n in 0..10_000_u16 {
            record(&mut announced, &format!("hub-{n}"), std::iter::once(SocketAddr::from(([10, 0, 0, 1], 1))));
            record(&mut announced, "hub-1", std::iter::once(SocketAddr::from(([10, 0, 0, 1], n))));
        }
        assert_eq!((announced.len(), announced[1].addresses.len()), (MAX_HUBS, MAX_ADDRESSES));
        assert!(announced[1].fullname == "hub-1" && announced[1].addresses.is_sorted());
    }
}
