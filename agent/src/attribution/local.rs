//! Which addresses are this host's.

use std::{collections::HashMap, net::IpAddr};

use shared::context::HostContext;

/// An address of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LocalAddress {
    /// Name of the interface that has it.
    pub(super) interface: String,
    /// The network that it stands in, such as `10.0.0.0/24`.
    pub(super) network: String,
}

/// All addresses of this host.
#[derive(Debug, Default)]
pub(super) struct LocalAddresses {
    by_ip: HashMap<IpAddr, LocalAddress>,
    loopback: Option<LocalAddress>,
}

impl LocalAddresses {
    pub(super) fn of(host: &HostContext) -> Self {
        let mut addresses = Self::default();
        for interface in &host.interfaces {
            for address in &interface.addresses {
                let local = LocalAddress {
                    interface: interface.name.clone(),
                    network: network(address.ip, address.prefix_len),
                };
                if address.ip.is_ipv4() && address.ip.is_loopback() {
                    addresses.loopback = Some(local.clone());
                }
                addresses.by_ip.insert(address.ip.to_canonical(), local);
            }
        }
        addresses
    }

    /// Returns the address, if it is this host's; all of 127.0.0.0/8 is.
    pub(super) fn find(&self, ip: IpAddr) -> Option<&LocalAddress> {
        let ip = ip.to_canonical();
        let loopback = || self.loopback.as_ref().filter(|_| ip.is_ipv4() && ip.is_loopback());
        self.by_ip.get(&ip).or_else(loopback)
    }
}

/// Returns the network of `ip`: the bits behind its prefix are zero.
fn network(ip: IpAddr, prefix_len: u8) -> String {
    let (width, bits) = match ip {
        IpAddr::V4(ip) => (32, u128::from(ip.to_bits())),
        IpAddr::V6(ip) => (128, ip.to_bits()),
    };
    let host_bits = 128_u32.min(width).saturating_sub(u32::from(prefix_len));
    let kept = bits.checked_shr(host_bits).and_then(|bits| bits.checked_shl(host_bits));
    let kept = kept.unwrap_or_default();
    let first = match ip {
        IpAddr::V4(_) => IpAddr::V4(u32::try_from(kept).unwrap_or_default().into()),
        IpAddr::V6(_) => IpAddr::V6(kept.into()),
    };
    format!("{first}/{prefix_len}")
}

#[cfg(test)]
mod tests {
    use shared::context::{Interface, InterfaceAddress};

    use super::*;

    #[test]
    fn an_address_has_the_interface_and_the_network_that_it_stands_in() {
        let address =
            |ip: &str, prefix_len| InterfaceAddress { ip: ip.parse().unwrap(), prefix_len };
        let interface =
            |name: &str, addresses| Interface { name: name.into(), mac: String::new(), addresses };
        let host = HostContext {
            interfaces: vec![
                interface("lo", vec![address("127.0.0.1", 8), address("::1", 128)]),
                interface("eth0", vec![address("10.1.2.3", 20), address("2001:db8:0:77::5", 64)]),
            ],
            ..HostContext::default()
        };
        let addresses = LocalAddresses::of(&host);
        let found = |ip: &str| {
            let local = addresses.find(ip.parse().unwrap())?;
            Some(format!("{} {}", local.interface, local.network))
        };
        assert_eq!(found("10.1.2.3").unwrap(), "eth0 10.1.0.0/20");
        assert_eq!(found("::ffff:10.1.2.3").unwrap(), "eth0 10.1.0.0/20");
        assert_eq!(found("2001:db8:0:77::5").unwrap(), "eth0 2001:db8:0:77::/64");
        assert_eq!(found("127.9.9.9").unwrap(), "lo 127.0.0.0/8");
        assert_eq!(found("::1").unwrap(), "lo ::1/128");
        assert_eq!(found("10.1.2.4"), None);
    }

    #[test]
    fn a_prefix_of_any_length_makes_a_network() {
        assert_eq!(network("10.1.2.3".parse().unwrap(), 0), "0.0.0.0/0");
        assert_eq!(network("10.1.2.3".parse().unwrap(), 32), "10.1.2.3/32");
        assert_eq!(network("10.1.2.3".parse().unwrap(), 255), "10.1.2.3/255");
        assert_eq!(network("::5".parse().unwrap(), 0), "::/0");
    }
}
