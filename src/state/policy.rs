//! Which addresses the hub may call on behalf of a participant (WIRE.md, "Legacy plane").
//!
//! A stranger names the address. Without a rule it could point at a router's admin page, at a cloud's metadata service,
//! or at the hub's own machine.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Which addresses the hub may call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DirectPolicy {
    /// None: participants join through tunnels only.
    Off,
    /// Loopback and private ranges.
    #[default]
    Private,
    /// All that are one machine's.
    Any,
}

/// Why an address is not called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forbidden {
    /// The operator has switched direct participants off.
    Off,
    /// It would be the hub's own loopback, not the participant's.
    Loopback,
    /// It lies beyond the ranges that are allowed.
    Beyond,
    /// It is no address of one machine, or only meaningful on one link.
    Never,
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Forbidden::Off => "This hub does not call participants' endpoints",
            Forbidden::Loopback => "The endpoint is a loopback address, which from the hub would be the hub itself",
            Forbidden::Beyond => "The endpoint is not on a private network",
            Forbidden::Never => "The endpoint is an address that the hub never calls",
        })
    }
}

impl DirectPolicy {
    /// Whether the hub may call an address for a participant that registered from loopback or not.
    ///
    /// # Errors
    /// Why it may not.
    pub fn check(self, address: IpAddr, from_loopback: bool) -> Result<(), Forbidden> {
        let address = address.to_canonical();
        match self {
            DirectPolicy::Off => Err(Forbidden::Off),
            _ if is_never_called(address) => Err(Forbidden::Never),
            _ if address.is_loopback() && !from_loopback => Err(Forbidden::Loopback),
            DirectPolicy::Private if !is_private(address) => Err(Forbidden::Beyond),
            _ => Ok(()),
        }
    }
}

fn is_never_called(address: IpAddr) -> bool {
    let v4 = |ip: Ipv4Addr| ip.is_link_local() || ip.is_broadcast() || ip.octets()[0] == 0;
    let v6 = |ip: Ipv6Addr| ip.is_unicast_link_local() || hidden_v4(ip).is_some_and(v4);
    let odd = match address {
        IpAddr::V4(ip) => v4(ip),
        IpAddr::V6(ip) => v6(ip),
    };
    odd || address.is_unspecified() || address.is_multicast()
}

/// The IPv4 address inside one that a translator would turn into it: `::a.b.c.d` (RFC 4291) and NAT64 (RFC 6052).
fn hidden_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, high, low] = ip.segments();
    let compatible = [a, b, c, d, e, f] == [0; 6] && high != 0;
    let nat64 = [a, b, c, d, e, f] == [0x64, 0xff9b, 0, 0, 0, 0];
    (compatible || nat64).then(|| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)))
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: DirectPolicy, address: &str, from_loopback: bool) -> Result<(), Forbidden> {
        policy.check(address.parse().unwrap(), from_loopback)
    }

    #[test]
    fn private_means_loopback_for_loopback_and_private_ranges_for_all() {
        for good in ["10.1.2.3", "172.16.0.1", "192.168.1.50", "fd00::1", "::ffff:10.0.0.1"] {
            assert_eq!(check(DirectPolicy::Private, good, false), Ok(()), "{good}");
        }
        for loopback in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(check(DirectPolicy::Private, loopback, true), Ok(()), "{loopback}");
            assert_eq!(check(DirectPolicy::Private, loopback, false), Err(Forbidden::Loopback), "{loopback}");
            assert_eq!(check(DirectPolicy::Any, loopback, false), Err(Forbidden::Loopback), "{loopback}");
        }
        for beyond in ["8.8.8.8", "172.32.0.1", "2001:db8::1", "100.64.0.1"] {
            assert_eq!(check(DirectPolicy::Private, beyond, true), Err(Forbidden::Beyond), "{beyond}");
            assert_eq!(check(DirectPolicy::Any, beyond, false), Ok(()), "{beyond}");
        }
    }

    #[test]
    fn some_are_never_called() {
        for never in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fe80::1",
            "0.0.0.0",
            "::",
            "0.1.2.3",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "64:ff9b::a9fe:a9fe",
            "::169.254.169.254",
        ] {
            assert_eq!(check(DirectPolicy::Any, never, true), Err(Forbidden::Never), "{never}");
            assert_eq!(check(DirectPolicy::Private, never, true), Err(Forbidden::Never), "{never}");
        }
        assert_eq!(check(DirectPolicy::Off, "10.0.0.1", true), Err(Forbidden::Off));
    }
}
