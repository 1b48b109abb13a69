//! Listening for the announcements of hubs. What is announced is not checked here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mdns_sd::{ServiceDaemon, ServiceEvent};

use super::service::{FINGERPRINT, GOODBYE_TIMEOUT, HTTPS, PROTOCOL, SERVICE_TYPE};
use crate::error::{Error, Reason};
use crate::fingerprint::Fingerprint;

/// The most hubs, and addresses of one hub, that are checked: anyone on the network can announce any number.
pub const MAX_HUBS: usize = 256;
pub const MAX_ADDRESSES: usize = 8;

/// What is announced, by instance name, not checked yet.
pub type Announced = BTreeMap<String, AnnouncedHub>;

/// What a hub announces.
#[derive(Default)]
pub struct AnnouncedHub {
    pub addresses: BTreeSet<SocketAddr>,
    pub tls: bool,
    pub fingerprint: Option<Fingerprint>,
}

/// Listens for announcements during `listen`.
///
/// # Errors
/// When the system does not allow listening to the multicast group.
pub fn browse(listen: Duration) -> Result<Announced, Error> {
    let failed = |e: mdns_sd::Error| Error::System { what: "looking for hubs by mDNS", reason: Reason::of(e) };
    let daemon = ServiceDaemon::new().map_err(failed)?;
    let events = daemon.browse(SERVICE_TYPE).map_err(failed)?;
    let deadline = Instant::now() + listen;
    let mut announced = Announced::new();
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
                announced.remove(&fullname);
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
    announced: &'a mut Announced,
    name: &str,
    addresses: impl Iterator<Item = SocketAddr>,
) -> Option<&'a mut AnnouncedHub> {
    if announced.len() >= MAX_HUBS && !announced.contains_key(name) {
        return None;
    }
    let known = announced.entry(name.to_owned()).or_default();
    for address in addresses {
        if known.addresses.len() < MAX_ADDRESSES {
            known.addresses.insert(address);
        }
    }
    Some(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_announcements_is_limited() {
        let mut announced = Announced::new();
        for n in 0..10_000_u16 {
            record(&mut announced, &format!("hub-{n}"), std::iter::once(SocketAddr::from(([10, 0, 0, 1], 1))));
            record(&mut announced, "hub-1", std::iter::once(SocketAddr::from(([10, 0, 0, 1], n))));
        }
        assert_eq!((announced.len(), announced["hub-1"].addresses.len()), (MAX_HUBS, MAX_ADDRESSES));
    }
}
