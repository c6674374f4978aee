//! How often one address may knock, and how many handshakes it may have at once: each costs its signatures, and a place
//! until it is done, whoever asks for it.
//!
//! Only addresses that were proved knock here: one that was not may be forged, and nobody is refused for what came from
//! it. Of IPv6 a network counts (64 bits): whoever has one address there has all.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::meter::Meter;
use crate::{
    limits::{HANDSHAKES_MAX, KNOCK_BURST, SITES_MAX, SWEEP_PAUSE},
    rate::site,
};

/// The addresses that knocked of late.
#[derive(Debug)]
pub struct Doors {
    cost: Duration,
    /// Most handshakes of one address at once.
    open_max: u32,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    sites: HashMap<IpAddr, Site>,
    /// When those that rest were forgotten.
    swept_at: Option<Instant>,
}

#[derive(Debug, Default)]
struct Site {
    meter: Meter,
    open: u32,
}

/// A handshake that goes on, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    doors: Arc<Doors>,
    /// `None` where too many knock for each to be known.
    network: Option<IpAddr>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut known = self.doors.known();
        if let Some(site) = self.network.and_then(|network| known.sites.get_mut(&network)) {
            site.open = site.open.saturating_sub(1);
        }
    }
}

impl Doors {
    /// Returns doors at which each address may knock so often in a second, and be at as many handshakes at once.
    #[must_use]
    pub fn new(knocks_per_second: u32) -> Self {
        let cost = Duration::from_secs(1) / knocks_per_second.max(1);
        let open_max = knocks_per_second.clamp(1, HANDSHAKES_MAX as u32);
        Self { cost, open_max, known: Mutex::default() }
    }

    /// Lets one in that knocks from this address, which it has proved; `None` if it is to come later.
    pub(super) fn knock(self: &Arc<Self>, from: IpAddr, now: Instant) -> Option<Place> {
        let network = site(from);
        let place = |network| Some(Place { doors: Arc::clone(self), network });
        let mut known = self.known();
        if !known.has_room_for(&network, now) {
            return place(None); // those that are new are not held to a rate
        }
        let site = known.sites.entry(network).or_default();
        if site.open >= self.open_max || site.meter.due(now, KNOCK_BURST) > now {
            return None;
        }
        site.meter.take(now, self.cost);
        site.open += 1;
        place(Some(network))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        // Every change is a few assignments: a panic leaves nothing broken.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Returns whether an address is known, or can be; forgets others for that, and not at each knock.
    fn has_room_for(&mut self, network: &IpAddr, now: Instant) -> bool {
        if self.sites.len() < SITES_MAX || self.sites.contains_key(network) {
            return true;
        }
        if self.swept_at.is_some_and(|at| now.saturating_duration_since(at) < SWEEP_PAUSE) {
            return false;
        }
        self.swept_at = Some(now);
        self.sites.retain(|_, site| site.open > 0 || !site.meter.is_at_rest(now));
        self.sites.len() < SITES_MAX
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;
    use crate::clock;

    const ATTACKER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn doors(rate: u32) -> Arc<Doors> {
        Arc::new(Doors::new(rate))
    }

    #[test]
    fn an_address_is_refused_beyond_its_rate_and_nobody_else_is() {
        let (doors, now) = (doors(100), clock::instant());
        let knocks = std::iter::repeat_with(|| doors.knock(ATTACKER, now)).take(100_000);
        let entered = knocks.filter(Option::is_some).count() as u64;
        assert_eq!(entered, 100 * KNOCK_BURST.as_secs() + 1);
        assert!(doors.knock(OTHER, now).is_some());
        assert!(doors.knock(ATTACKER, now + Duration::from_millis(20)).is_some());
    }

    #[test]
    fn an_address_has_so_many_handshakes_at_once_and_no_more_until_one_is_done() {
        let (doors, now) = (doors(100), clock::instant());
        let mut places: Vec<_> = (0..100).map(|_| doors.knock(ATTACKER, now).unwrap()).collect();
        assert!(doors.knock(ATTACKER, now).is_none() && doors.knock(OTHER, now).is_some());
        places.pop();
        assert!(doors.knock(ATTACKER, now).is_some());
    }

    #[test]
    fn however_many_addresses_knock_the_table_is_bounded_and_known_ones_are_kept_apart() {
        let (doors, now) = (doors(100), clock::instant());
        while doors.knock(ATTACKER, now).is_some() {}
        for number in 0..SITES_MAX as u128 * 2 {
            let from = Ipv6Addr::from_bits((0x2001_0db8 << 96) | (number << 64));
            assert!(doors.knock(from.into(), now).is_some());
        }
        assert_eq!(doors.known().sites.len(), SITES_MAX);
        assert!(doors.knock(ATTACKER, now).is_none());
        assert!(doors.knock(OTHER, now).is_some());
        let later = now + Duration::from_secs(3_600);
        assert!(doors.knock(OTHER, later).is_some());
        assert_eq!(doors.known().sites.len(), 1);
    }
}
