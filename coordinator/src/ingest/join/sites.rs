//! Who joins from where, and who was not let in, so that nobody guesses at speed or takes all places.
//!
//! Only guesses count, requests with a secret that no token has: hosts behind one address shall not keep each other
//! out. Whoever has a token is let in, however often others at the same address have guessed.
//!
//! # Limits
//! At most [`JOIN_SITES_MAX`] addresses are remembered, for [`JOIN_REFUSALS_WINDOW`] each; of IPv6 the first 64 bits,
//! which is what one site has. Where there are more, guesses from further ones are only counted.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use shared::time::Timestamp;

use crate::{
    limits::{
        JOIN_REFUSALS_MAX, JOIN_REFUSALS_NOTED_MAX, JOIN_REFUSALS_WINDOW, JOIN_SITES_MAX,
        JOINS_MAX, JOINS_OF_SITE_MAX,
    },
    rate::{self, site},
};

/// Counts for as long as a guess does.
type Window = rate::Window<{ JOIN_REFUSALS_WINDOW.as_secs() }>;

/// Who joins now, and who has guessed lately.
#[derive(Debug, Default)]
pub struct Sites(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// How many join now, by site.
    open: HashMap<IpAddr, usize>,
    guesses: HashMap<IpAddr, Window>,
    /// Of all sites: how many refusals were told to the journal.
    noted: Window,
}

/// A host that joins; dropping it gives its place up.
#[derive(Debug)]
pub(in crate::ingest) struct Visit<'a> {
    sites: &'a Sites,
    site: IpAddr,
}

/// What is to be done about a guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guess {
    /// It is refused, and the journal is told.
    Noted,
    /// It is refused.
    Counted,
    /// It is not looked at: there were too many.
    TooMany,
}

impl Sites {
    /// Takes a place for a host at this address, if there is one.
    pub(in crate::ingest) fn enter(&self, from: IpAddr) -> Option<Visit<'_>> {
        let (mut state, site) = (self.lock(), site(from));
        if state.open.values().sum::<usize>() >= JOINS_MAX {
            return None;
        }
        let open = state.open.entry(site).or_default();
        if *open >= JOINS_OF_SITE_MAX {
            return None;
        }
        *open += 1;
        Some(Visit { sites: self, site })
    }

    /// Notes a guess from this address.
    pub(super) fn guess(&self, from: IpAddr, now: Timestamp) -> Guess {
        let (mut state, site) = (self.lock(), site(from));
        if !state.guesses.contains_key(&site) && state.guesses.len() >= JOIN_SITES_MAX {
            state.guesses.retain(|_, window| !window.is_over(now));
            if state.guesses.len() >= JOIN_SITES_MAX {
                return Guess::Counted;
            }
        }
        let guesses = state.guesses.entry(site).or_default();
        if guesses.value(now) >= JOIN_REFUSALS_MAX {
            return Guess::TooMany;
        }
        guesses.count(now);
        drop(state);
        if self.may_note(now) { Guess::Noted } else { Guess::Counted }
    }

    /// Returns whether the journal is to be told of one more refusal.
    pub(super) fn may_note(&self, now: Timestamp) -> bool {
        let mut state = self.lock();
        let is_noted = state.noted.value(now) < JOIN_REFUSALS_NOTED_MAX;
        if is_noted {
            state.noted.count(now);
        }
        is_noted
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the maps whole: each change of them is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        let mut state = self.sites.lock();
        if let Some(open) = state.open.get_mut(&self.site) {
            *open -= 1;
            if *open == 0 {
                state.open.remove(&self.site);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_ms(1_790_000_000_000 + seconds * 1_000)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn guesses_are_not_looked_at_after_some_until_the_window_is_over() {
        let sites = Sites::default();
        let guesser = address("203.0.113.9");
        for _ in 0..JOIN_REFUSALS_MAX {
            assert_eq!(sites.guess(guesser, at(0)), Guess::Noted);
        }
        assert_eq!(sites.guess(guesser, at(1)), Guess::TooMany);
        assert_eq!(sites.guess(address("::ffff:203.0.113.9"), at(1)), Guess::TooMany);
        assert_eq!(sites.guess(address("203.0.113.10"), at(1)), Guess::Noted, "another site");
        let later = at(0).saturating_add(JOIN_REFUSALS_WINDOW);
        assert_eq!(sites.guess(guesser, later), Guess::Noted);
    }

    #[test]
    fn one_site_of_ipv6_is_one_address() {
        let sites = Sites::default();
        for host in 0..u16::try_from(JOIN_REFUSALS_MAX).unwrap() {
            sites.guess(Ipv6Addr::new(0x2001, 0xdb8, 0, 7, 0, 0, 0, host).into(), at(0));
        }
        assert_eq!(sites.guess(address("2001:db8:0:7::ffff"), at(0)), Guess::TooMany);
        assert_eq!(sites.guess(address("2001:db8:0:8::1"), at(0)), Guess::Noted);
    }

    #[test]
    fn neither_memory_nor_the_journal_grows_with_the_guessers() {
        let sites = Sites::default();
        let count = u32::try_from(JOIN_SITES_MAX).unwrap();
        let noted =
            (0..count).filter(|n| sites.guess(IpAddr::V4((*n).into()), at(0)) == Guess::Noted);
        assert_eq!(noted.count(), JOIN_REFUSALS_NOTED_MAX as usize);
        let new = IpAddr::V4(u32::MAX.into());
        assert_eq!(sites.guess(new, at(1)), Guess::Counted, "L7: it is not remembered");
        assert_eq!(sites.lock().guesses.len(), JOIN_SITES_MAX);
        let later = at(0).saturating_add(JOIN_REFUSALS_WINDOW);
        assert_eq!(sites.guess(new, later), Guess::Noted);
    }

    #[test]
    fn one_site_cannot_take_all_places_and_gives_up_those_that_it_had() {
        let sites = Sites::default();
        let one = address("203.0.113.9");
        let mut visits: Vec<_> =
            (0..JOINS_OF_SITE_MAX).map(|_| sites.enter(one).unwrap()).collect();
        assert!(sites.enter(one).is_none());
        for number in 1..u8::MAX {
            let from = IpAddr::V4([198, 51, 100, number].into());
            visits.extend(sites.enter(from));
        }
        assert_eq!(visits.len(), JOINS_MAX, "L7");
        assert!(sites.enter(address("192.0.2.1")).is_none());
        drop(visits);
        assert!(sites.enter(one).is_some() && sites.lock().open.is_empty());
    }
}
