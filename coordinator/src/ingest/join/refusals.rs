//! Counts who was not let in, so that nobody guesses at speed.
//!
//! # Limits
//! At most [`JOIN_SITES_MAX`] addresses are remembered, for [`JOIN_REFUSALS_WINDOW`] each; of IPv6 the first 64
//! bits, which is what one site has. Where there are more, addresses that are not remembered are not listened to.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
};

use shared::time::Timestamp;

use crate::limits::{
    JOIN_REFUSALS_MAX, JOIN_REFUSALS_NOTED_MAX, JOIN_REFUSALS_WINDOW, JOIN_SITES_MAX,
};

/// How often hosts were not let in lately.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    addresses: HashMap<IpAddr, Window>,
    /// Of all addresses: how many were told to the journal.
    noted: Window,
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    began_at: Timestamp,
    count: u32,
}

impl Window {
    fn is_over(&self, now: Timestamp) -> bool {
        // A clock that was set back ends it, too.
        now < self.began_at || now.since(self.began_at) >= JOIN_REFUSALS_WINDOW
    }

    fn count(&mut self, now: Timestamp) {
        if self.is_over(now) {
            *self = Self { began_at: now, count: 0 };
        }
        self.count = self.count.saturating_add(1);
    }

    fn value(&self, now: Timestamp) -> u32 {
        if self.is_over(now) { 0 } else { self.count }
    }
}

impl Refusals {
    /// Returns whether a refusal of this address is to be told to the journal; `None` if it is not listened to now.
    pub(super) fn ask(&self, from: IpAddr, now: Timestamp) -> Option<bool> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let from = site(from);
        if !state.addresses.contains_key(&from) && state.addresses.len() >= JOIN_SITES_MAX {
            state.addresses.retain(|_, window| !window.is_over(now));
            if state.addresses.len() >= JOIN_SITES_MAX {
                return None;
            }
        }
        let count = state.addresses.get(&from).map_or(0, |window| window.value(now));
        (count < JOIN_REFUSALS_MAX).then(|| state.noted.value(now) < JOIN_REFUSALS_NOTED_MAX)
    }

    /// Notes that one of this address was refused.
    pub(super) fn count(&self, from: IpAddr, now: Timestamp) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.addresses.entry(site(from)).or_default().count(now);
        state.noted.count(now);
    }
}

/// Returns what of an address tells one site from another.
fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_ms(1_790_000_000_000 + seconds * 1_000)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn whoever_was_refused_too_often_is_not_listened_to_until_the_window_is_over() {
        let refusals = Refusals::default();
        let guesser = address("203.0.113.9");
        for _ in 0..JOIN_REFUSALS_MAX {
            assert_eq!(refusals.ask(guesser, at(0)), Some(true));
            refusals.count(guesser, at(0));
        }
        assert_eq!(refusals.ask(guesser, at(1)), None);
        assert_eq!(refusals.ask(address("::ffff:203.0.113.9"), at(1)), None, "the same address");
        assert_eq!(refusals.ask(address("203.0.113.10"), at(1)), Some(true), "another is heard");
        let later = at(0).saturating_add(JOIN_REFUSALS_WINDOW);
        assert_eq!(refusals.ask(guesser, later), Some(true));
    }

    #[test]
    fn one_site_of_ipv6_is_one_address() {
        let refusals = Refusals::default();
        for host in 0..u16::try_from(JOIN_REFUSALS_MAX).unwrap() {
            refusals.count(Ipv6Addr::new(0x2001, 0xdb8, 0, 7, 0, 0, 0, host).into(), at(0));
        }
        assert_eq!(refusals.ask(address("2001:db8:0:7::ffff"), at(0)), None);
        assert_eq!(refusals.ask(address("2001:db8:0:8::1"), at(0)), Some(true));
    }

    #[test]
    fn neither_memory_nor_the_journal_grows_with_the_guessers() {
        let refusals = Refusals::default();
        for number in 0..u32::try_from(JOIN_SITES_MAX).unwrap() {
            refusals.count(IpAddr::V4(number.into()), at(0));
        }
        let known = IpAddr::V4(7.into());
        assert_eq!(refusals.ask(known, at(1)), Some(false), "it is counted, and not told any more");
        let new = IpAddr::V4(u32::MAX.into());
        assert_eq!(refusals.ask(new, at(1)), None, "L7");
        let later = at(0).saturating_add(JOIN_REFUSALS_WINDOW);
        assert_eq!(refusals.ask(new, later), Some(true));
    }
}
