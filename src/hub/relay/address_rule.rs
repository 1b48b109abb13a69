//! Which addresses the hub may connect to for direct participants. The operator's policy is in `state::policy`; here the
//! hub's own listening socket is excluded too.

use std::net::{SocketAddr, UdpSocket};

use crate::state::policy::{DirectPolicy, Forbidden};

/// Which addresses the hub may connect to.
#[derive(Debug, Clone, Copy)]
pub struct AddressRule {
    policy: DirectPolicy,
    /// Where the hub listens.
    own: SocketAddr,
}

impl AddressRule {
    pub(crate) fn new(policy: DirectPolicy, own: SocketAddr) -> Self {
        AddressRule { policy, own }
    }

    /// Whether the hub may connect to an address. `from_loopback`: whether the participant registered from loopback.
    ///
    /// # Errors
    /// Why it may not.
    pub(crate) fn check(self, address: SocketAddr, from_loopback: bool) -> Result<(), Forbidden> {
        self.policy.check(address.ip(), from_loopback)?;
        if self.is_own(address) { Err(Forbidden::Own) } else { Ok(()) }
    }

    /// Whether the hub itself listens on this address. A hub that listens on all interfaces has every address of its
    /// machine: those that a socket can be bound to.
    fn is_own(self, address: SocketAddr) -> bool {
        let (own, ip) = (self.own.ip().to_canonical(), address.ip().to_canonical());
        let on_any = || own.is_unspecified() && (ip.is_loopback() || UdpSocket::bind((address.ip(), 0)).is_ok());
        address.port() == self.own.port() && (ip == own || on_any())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hubs_own_sockets_are_not_called() {
        let check = |own: &str, address: &str| {
            let rule = AddressRule::new(DirectPolicy::Private, own.parse().unwrap());
            rule.check(address.parse().unwrap(), true)
        };
        for (own, address) in [
            ("127.0.0.1:3000", "127.0.0.1:3000"),
            ("127.0.0.1:3000", "[::ffff:127.0.0.1]:3000"),
            ("0.0.0.0:3000", "127.0.0.1:3000"),
            ("0.0.0.0:3000", "127.8.9.1:3000"),
            ("[::]:3000", "[::1]:3000"),
            ("[::]:3000", "127.0.0.1:3000"),
        ] {
            assert_eq!(check(own, address), Err(Forbidden::Own), "{address} on {own}");
        }
        for (own, address) in [
            ("127.0.0.1:3000", "127.0.0.1:3001"),
            ("127.0.0.1:3000", "127.0.0.2:3000"),
            // Of no machine that runs these tests.
            ("0.0.0.0:3000", "10.255.254.253:3000"),
        ] {
            assert_eq!(check(own, address), Ok(()), "{address} on {own}");
        }
    }
}
