//! How often one address may knock: a handshake costs its signatures, whoever asks for it.
//!
//! Only addresses that were proved knock here: one that was not may be forged, and nobody is refused for what came from
//! it. Of IPv6 a network counts (64 bits): whoever has one address there has all.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::meter::Meter;
use crate::limits::{KNOCK_BURST, SITES_MAX};

/// The addresses that knocked of late.
#[derive(Debug)]
pub struct Doors {
    cost: Duration,
    sites: Mutex<HashMap<IpAddr, Meter>>,
}

impl Doors {
    /// Returns doors at which each address may knock so often in a second.
    #[must_use]
    pub fn new(knocks_per_second: u32) -> Self {
        let cost = Duration::from_secs(1) / knocks_per_second.max(1);
        Self { cost, sites: Mutex::default() }
    }

    /// Tells whether one that knocks from this address, which it has proved, may come in.
    pub(super) fn knock(&self, from: IpAddr, now: Instant) -> bool {
        // Every change is a few assignments: a panic leaves nothing broken.
        let mut sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        let from = network(from);
        if sites.len() >= SITES_MAX && !sites.contains_key(&from) {
            sites.retain(|_, meter| !meter.is_at_rest(now));
            if sites.len() >= SITES_MAX {
                // Too many knock for each to be known: those that are new are not held to a rate.
                return true;
            }
        }
        let meter = sites.entry(from).or_default();
        let may_enter = meter.due(now, KNOCK_BURST) <= now;
        if may_enter {
            meter.take(now, self.cost);
        }
        may_enter
    }
}

fn network(of: IpAddr) -> IpAddr {
    match of.to_canonical() {
        IpAddr::V6(v6) => {
            let network = v6.to_bits() & (u128::MAX << 64);
            Ipv6Addr::from_bits(network).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const ATTACKER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn an_address_is_refused_beyond_its_rate_and_nobody_else_is() {
        let (doors, now) = (Doors::new(100), clock::instant());
        let knocks = std::iter::repeat_with(|| doors.knock(ATTACKER, now)).take(100_000);
        assert_eq!(knocks.filter(|it| *it).count() as u64, 100 * KNOCK_BURST.as_secs() + 1);
        assert!(doors.knock(OTHER, now));
        assert!(doors.knock(ATTACKER, now + Duration::from_millis(20)));
    }

    #[test]
    fn a_network_of_ipv6_is_one_site_and_a_mapped_address_is_its_own() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::2:3"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), ATTACKER);
    }

    #[test]
    fn however_many_addresses_knock_the_table_is_bounded_and_known_ones_are_kept_apart() {
        let (doors, now) = (Doors::new(100), clock::instant());
        while doors.knock(ATTACKER, now) {}
        for number in 0..SITES_MAX as u128 * 2 {
            let from = Ipv6Addr::from_bits((0x2001_0db8 << 96) | (number << 64));
            doors.knock(from.into(), now);
        }
        assert_eq!(doors.sites.lock().unwrap().len(), SITES_MAX);
        assert!(!doors.knock(ATTACKER, now));
        assert!(doors.knock(OTHER, now));
        let later = now + Duration::from_secs(3_600);
        assert!(doors.knock(OTHER, later));
        assert_eq!(doors.sites.lock().unwrap().len(), 1);
    }
}
