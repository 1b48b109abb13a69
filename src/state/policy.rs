//! Which addresses the hub may call on behalf of a participant (PROTOCOL.md, "Legacy plane").
//!
//! The address comes from an untrusted client. Without a check it could be that of a router's admin page, of a cloud's
//! metadata service, or of the hub's own machine (server-side request forgery).

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
    /// All unicast addresses but link-local and metadata ones.
    Any,
}

/// Why an address is not called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forbidden {
    /// The operator has disabled direct participants.
    Off,
    /// It would be the hub's own loopback, not the participant's.
    Loopback,
    /// It is outside the allowed ranges.
    Beyond,
    /// It is not unicast, is link-local, or is a cloud's metadata service.
    Never,
    /// The hub itself listens on it.
    Own,
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Forbidden::Off => "This hub does not call participants' endpoints",
            Forbidden::Loopback => "The endpoint is a loopback address, which from the hub would be the hub itself",
            Forbidden::Beyond => "The endpoint is not on a private network",
            Forbidden::Never => "The endpoint is an address that the hub never calls",
            Forbidden::Own => "The endpoint is this hub itself",
        })
    }
}

impl DirectPolicy {
    /// Checks whether the hub may call an address. `from_loopback`: whether the participant registered from loopback.
    ///
    /// # Errors
    /// Why it may not: `Forbidden`.
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

/// Metadata services of clouds outside link-local space (169.254.169.254): Alibaba's, Azure's, Oracle's.
const METADATA_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(192, 0, 0, 192)];

/// Metadata services in unique local space, by their first 32 bits: Amazon's `fd00:ec2::254`, Google's `fd20:ce::254`.
const METADATA_V6: [[u16; 2]; 2] = [[0xfd00, 0x0ec2], [0xfd20, 0x00ce]];

fn is_never_called(address: IpAddr) -> bool {
    let v4 = |ip: Ipv4Addr| {
        let special = ip.is_link_local() || ip.is_broadcast() || ip.is_multicast() || ip.octets()[0] == 0;
        special || METADATA_V4.contains(&ip)
    };
    let v6 = |ip: Ipv6Addr| {
        let [first, second, ..] = ip.segments();
        // An IPv4 loopback address behind a translator is not the participant's.
        let hidden = embedded_v4(ip).any(|inside| v4(inside) || inside.is_loopback());
        ip.is_unicast_link_local() || ip.is_multicast() || METADATA_V6.contains(&[first, second]) || hidden
    };
    let forbidden = match address {
        IpAddr::V4(ip) => v4(ip),
        IpAddr::V6(ip) => v6(ip),
    };
    forbidden || address.is_unspecified()
}

/// The IPv4 addresses that an IPv6 address may be translated to: `::a.b.c.d` and `::ffff:0:a.b.c.d` (RFC 4291, RFC
/// 2765), 6to4 (RFC 3056), NAT64 with its common prefix (RFC 6052) and with a local one (RFC 8215), which may put the
/// address behind 48, 56, 64 or 96 bits.
fn embedded_v4(ip: Ipv6Addr) -> impl Iterator<Item = Ipv4Addr> {
    let bits = ip.to_bits();
    let at = move |shift: u32| u32::try_from((bits >> shift) & 0xffff_ffff).unwrap_or_default();
    // An embedded address skips bits 64 to 71 (RFC 6052, section 2.2).
    let over = move |before: u32| {
        let high = (bits >> 64) & ((1 << (64 - before)) - 1);
        let rest = 32 - (64 - before);
        u32::try_from((high << rest) | ((bits >> (56 - rest)) & ((1 << rest) - 1))).unwrap_or_default()
    };
    let found: [Option<u32>; 4] = match ip.segments() {
        [0, 0, 0, 0, 0, 0, high, _] if high != 0 => [Some(at(0)), None, None, None],
        [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => [Some(at(0)), None, None, None],
        [0x2002, ..] => [Some(at(80)), None, None, None],
        [0x64, 0xff9b, 1, ..] => [Some(at(0)), Some(over(48)), Some(over(56)), Some(over(64))],
        _ => [None; 4],
    };
    found.into_iter().flatten().map(Ipv4Addr::from)
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
        for good in ["10.1.2.3", "172.16.0.1", "192.168.1.50", "fd00::1", "fd00:ec3::1", "::ffff:10.0.0.1"] {
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
    fn metadata_and_non_unicast_addresses_are_never_called() {
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
            "::127.0.0.1",
            "::ffff:0:169.254.169.254",
            "2002:a9fe:a9fe::1",
            "64:ff9b::127.0.0.1",
            "64:ff9b:1::169.254.169.254",
            "64:ff9b:1:a9fe:a9:fe00::",
            "64:ff9b:1:0:a9:fea9:fe00:0",
            "64:ff9b:1:1:00a9:fea9:fe00:0",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "100.100.100.200",
            "::ffff:100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
        ] {
            assert_eq!(check(DirectPolicy::Any, never, true), Err(Forbidden::Never), "{never}");
            assert_eq!(check(DirectPolicy::Private, never, true), Err(Forbidden::Never), "{never}");
        }
        assert_eq!(check(DirectPolicy::Off, "10.0.0.1", true), Err(Forbidden::Off));
    }
}
