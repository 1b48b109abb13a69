//! Being found on the local network by mDNS (RFC 6762, RFC 6763). The only user of mdns-sd.

use std::net::IpAddr;
use std::time::Duration;

use mdns_sd::{ServiceDaemon, ServiceInfo};

use crate::error::Error;

/// The type that hubs are announced as (WIRE.md, "Constants").
pub const SERVICE_TYPE: &str = "_gambi._tcp.local.";
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// A hub that is being announced. Dropping it says goodbye.
pub struct Announcement {
    daemon: ServiceDaemon,
    fullname: String,
    name: String,
}

/// Announces a hub that listens on `address` and `port`: on all interfaces where the address is unspecified.
///
/// # Errors
/// When the system lets nobody send to the multicast group.
pub fn announce(address: IpAddr, port: u16) -> Result<Announcement, Error> {
    let failed = |e: mdns_sd::Error| Error::System { what: "announcing the hub by mDNS", reason: e.to_string() };
    let name = format!("gambi-hub-{port}");
    // The host name is ours alone: a machine's own name may be announced by another responder already.
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(|e| Error::System { what: "reading randomness", reason: e.to_string() })?;
    let host = format!("{name}-{:08x}.local.", u32::from_ne_bytes(random));
    let properties = [("version", "1.0"), ("protocol", "http")];
    let info = if address.is_unspecified() {
        ServiceInfo::new(SERVICE_TYPE, &name, &host, "", port, &properties[..]).map(ServiceInfo::enable_addr_auto)
    } else {
        ServiceInfo::new(SERVICE_TYPE, &name, &host, address, port, &properties[..])
    };
    let info = info.map_err(failed)?;
    let fullname = info.get_fullname().to_owned();
    let daemon = ServiceDaemon::new().map_err(failed)?;
    daemon.register(info).map_err(failed)?;
    Ok(Announcement { daemon, fullname, name })
}

impl Announcement {
    /// The instance's name, such as `gambi-hub-3000`.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        if let Ok(done) = self.daemon.unregister(&self.fullname) {
            let _ = done.recv_timeout(GOODBYE);
        }
        if let Ok(done) = self.daemon.shutdown() {
            let _ = done.recv_timeout(GOODBYE);
        }
    }
}
