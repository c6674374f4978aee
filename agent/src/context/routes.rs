//! Where packets go, as `/proc/net/route` and `/proc/net/ipv6_route` say.
//!
//! Both hold one row a route, in hex; only routes that are up and lead somewhere are taken.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use shared::context::{InterfaceAddress, Route};

/// Kernel's flags of a route.
const UP: u32 = 0x1;
const GATEWAY: u32 = 0x2;
const REJECT: u32 = 0x200;
/// An address of the host itself, which IPv6's table has among the others.
const LOCAL: u32 = 0x8000_0000;

/// Parses `iface destination gateway flags refs use metric mask ...`: the network's bytes as a number of the host's own
/// byte order.
pub(super) fn parse_v4(text: &str) -> Vec<Route> {
    let route = |line: &str| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let ip = |at: usize| {
            let word: &str = words.get(at)?;
            Some(Ipv4Addr::from(u32::from_str_radix(word, 16).ok()?.to_ne_bytes()))
        };
        let flags = u32::from_str_radix(words.get(3)?, 16).ok()?;
        let prefix_len = u8::try_from(ip(7)?.to_bits().count_ones()).ok()?;
        let gateway = (flags & GATEWAY != 0).then_some(IpAddr::V4(ip(2)?));
        let network = InterfaceAddress { ip: IpAddr::V4(ip(1)?), prefix_len };
        is_way(flags).then(|| Route { network, gateway, interface: words[0].to_owned() })
    };
    text.lines().skip(1).filter_map(route).collect()
}

/// Parses `destination length source length next_hop metric refs use flags iface`: the network's bytes in their order.
pub(super) fn parse_v6(text: &str) -> Vec<Route> {
    let route = |line: &str| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let ip = |at: usize| {
            let word: &str = words.get(at).filter(|word| word.len() == 32)?;
            Some(Ipv6Addr::from(u128::from_str_radix(word, 16).ok()?))
        };
        let prefix_len = u8::from_str_radix(words.get(1)?, 16).ok()?;
        let flags = u32::from_str_radix(words.get(8)?, 16).ok()?;
        let (destination, next) = (ip(0)?, ip(4)?);
        let gateway = (flags & GATEWAY != 0).then_some(IpAddr::V6(next));
        let network = InterfaceAddress { ip: IpAddr::V6(destination), prefix_len };
        let interface = (*words.get(9)?).to_owned();
        let is_kept = is_way(flags) && !destination.is_multicast() && interface != "lo";
        is_kept.then_some(Route { network, gateway, interface })
    };
    text.lines().filter_map(route).collect()
}

fn is_way(flags: u32) -> bool {
    flags & UP != 0 && flags & (REJECT | LOCAL) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(routes: &[Route]) -> Vec<String> {
        let text = |route: &Route| {
            let via = route.gateway.map_or_else(String::new, |ip| format!(" via {ip}"));
            let InterfaceAddress { ip, prefix_len } = route.network;
            format!("{ip}/{prefix_len}{via} dev {}", route.interface)
        };
        routes.iter().map(text).collect()
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn routes_of_the_fourth_version_have_network_gateway_and_interface() {
        let text = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\n\
                    eth0\t00000000\t0102000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
                    eth0\t0002000A\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n\
                    eth1\t0003000A\t00000000\t0000\t0\t0\t100\t00FFFFFF\t0\t0\t0\n\
                    bad\trow\n";
        let routes = parse_v4(text);
        assert_eq!(shown(&routes), ["0.0.0.0/0 via 10.0.2.1 dev eth0", "10.0.2.0/24 dev eth0"]);
    }

    #[test]
    fn routes_of_the_sixth_version_leave_out_the_hosts_own_and_groups() {
        let zero = "00000000000000000000000000000000";
        let row = |to: &str, len: &str, via: &str, flags: &str, dev: &str| {
            format!("{to} {len} {zero} 00 {via} 00000400 00000001 00000000 {flags} {dev:>8}\n")
        };
        let (net, hop) = ("20010db8000000000000000000000000", "fe800000000000000000000000000001");
        let text = [
            row(net, "40", zero, "00000001", "eth0"),
            row(zero, "00", hop, "00000003", "eth0"),
            row(hop, "80", zero, "80200001", "eth0"),
            row("ff000000000000000000000000000000", "08", zero, "00000001", "eth0"),
            row(zero, "00", zero, "00200200", "lo"),
            "bad row\n".to_owned(),
        ];
        let routes = parse_v6(&text.concat());
        assert_eq!(shown(&routes), ["2001:db8::/64 dev eth0", "::/0 via fe80::1 dev eth0"]);
    }
}
