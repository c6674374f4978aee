//! How often one address may knock: a handshake costs its signatures, whoever asks for it.
//!
//! An address that was not proved may be forged, so nobody is refused for what came from it: who knocks too often is
//! asked to prove it (a Retry, RFC 9000, section 8.1.2), which costs a round trip. What was proved has a rate of its
//! own, and beyond that is refused. Of IPv6 a network counts (64 bits): whoever has one address there has all.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::meter::Meter;
use crate::limits::{KNOCK_BURST, SITES_MAX};

/// What becomes of one that knocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It may come in.
    Enter,
    /// It is to prove its address first.
    Prove,
    /// It is to come later.
    Refuse,
}

/// The addresses that knocked of late.
#[derive(Debug)]
pub struct Doors {
    cost: Duration,
    sites: Mutex<HashMap<IpAddr, Site>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Site {
    unproven: Meter,
    proven: Meter,
}

impl Doors {
    /// Returns doors at which each address may knock so often in a second.
    #[must_use]
    pub fn new(knocks_per_second: u32) -> Self {
        let cost = Duration::from_secs(1) / knocks_per_second.max(1);
        Self { cost, sites: Mutex::default() }
    }

    /// Answers one that knocks from this address.
    pub(super) fn knock(&self, from: IpAddr, is_proven: bool, now: Instant) -> Answer {
        // Every change is a few assignments: a panic leaves nothing broken.
        let mut sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        let from = network(from);
        if sites.len() >= SITES_MAX && !sites.contains_key(&from) {
            sites.retain(|_, site| !(site.unproven.is_at_rest(now) && site.proven.is_at_rest(now)));
            if sites.len() >= SITES_MAX {
                // Too many knock for each to be known: then each has to prove where it is.
                return if is_proven { Answer::Enter } else { Answer::Prove };
            }
        }
        let site = sites.entry(from).or_default();
        let meter = if is_proven { &mut site.proven } else { &mut site.unproven };
        if meter.due(now, KNOCK_BURST) > now {
            return if is_proven { Answer::Refuse } else { Answer::Prove };
        }
        meter.take(now, self.cost);
        Answer::Enter
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
    fn forged_addresses_cost_their_owner_a_round_trip_and_never_the_service() {
        let (doors, now) = (Doors::new(100), clock::instant());
        let knocks = || doors.knock(ATTACKER, false, now);
        let entered =
            std::iter::repeat_with(knocks).take(100_000).filter(|it| *it == Answer::Enter);
        assert_eq!(entered.count() as u64, 100 * KNOCK_BURST.as_secs() + 1);
        assert_eq!(doors.knock(ATTACKER, false, now), Answer::Prove);
        assert_eq!(doors.knock(ATTACKER, true, now), Answer::Enter);
    }

    #[test]
    fn who_proved_its_address_is_refused_beyond_its_rate_and_nobody_else_is() {
        let (doors, now) = (Doors::new(100), clock::instant());
        while doors.knock(ATTACKER, true, now) == Answer::Enter {}
        assert_eq!(doors.knock(ATTACKER, true, now), Answer::Refuse);
        assert_eq!(doors.knock(OTHER, true, now), Answer::Enter);
        assert_eq!(doors.knock(ATTACKER, true, now + Duration::from_millis(20)), Answer::Enter);
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
        while doors.knock(ATTACKER, true, now) == Answer::Enter {}
        for number in 0..SITES_MAX as u128 * 2 {
            let from = Ipv6Addr::from_bits((0x2001_0db8 << 96) | (number << 64));
            doors.knock(from.into(), false, now);
        }
        assert_eq!(doors.sites.lock().unwrap().len(), SITES_MAX);
        assert_eq!(doors.knock(ATTACKER, true, now), Answer::Refuse);
        assert_eq!(doors.knock(OTHER, false, now), Answer::Prove);
        assert_eq!(doors.knock(OTHER, true, now), Answer::Enter);
        let later = now + Duration::from_secs(3_600);
        assert_eq!(doors.knock(OTHER, false, later), Answer::Enter);
        assert_eq!(doors.sites.lock().unwrap().len(), 1);
    }
}
