//! In which order the coordinators' addresses are tried.
//!
//! By rendezvous hashing (Thaler and Ravishankar, 1998): each agent has an order of its own, the same at each start, so
//! that agents spread over the coordinators, and when one of them is gone, its agents spread over the others, while
//! nobody else moves. Those that the policy in force names come before those of the host's own configuration, which
//! stay in any case, so that no policy can lead an agent away for good. Addresses that failed lately come behind those
//! that did not.
//!
//! Of each it is known, too, whether UDP can be relied on: some firewalls let a handshake through and nothing after it.

use std::time::Instant;

use sha2::{Digest as _, Sha256};
use shared::{backoff::Backoff, ids::AgentId};

use crate::{
    config::Address,
    limits::{ADDRESS_REST, UDP_RETRY_MAX, UDP_RETRY_MIN, UDP_SILENCES_MAX},
};

/// The addresses, and which failed lately.
#[derive(Debug)]
pub(super) struct Routes {
    agent: AgentId,
    /// Those of the host's own configuration.
    own: Vec<Address>,
    /// Those of the policy in force, as it writes them.
    of_policy: Vec<String>,
    /// All of them, the best first.
    addresses: Vec<Route>,
}

#[derive(Debug)]
struct Route {
    address: Address,
    failed_at: Option<Instant>,
    udp: Udp,
}

/// How it went over UDP.
#[derive(Clone, Debug)]
pub(super) struct Udp {
    /// Connections in a row that fell silent before they had lasted.
    silences: u32,
    /// Between two tries while there is a connection over TCP.
    pub(super) waits: Backoff,
}

impl Route {
    fn new(address: Address) -> Self {
        Self { address, failed_at: None, udp: Udp::new() }
    }
}

impl Udp {
    fn new() -> Self {
        Self { silences: 0, waits: Backoff::new(UDP_RETRY_MIN, UDP_RETRY_MAX) }
    }

    /// Returns whether TCP is to be tried first.
    pub(super) const fn is_doubted(&self) -> bool {
        self.silences >= UDP_SILENCES_MAX
    }

    /// Notes a connection that fell silent.
    pub(super) const fn note_silence(&mut self) {
        self.silences = self.silences.saturating_add(1);
    }

    /// Notes a connection that has lasted.
    pub(super) fn note_lasting(&mut self) {
        *self = Self::new();
    }
}

impl Routes {
    /// Returns the addresses of the host's own configuration in this agent's order.
    pub(super) fn new(agent: AgentId, own: &[Address]) -> Self {
        let addresses = rank(agent, own).map(Route::new).collect();
        Self { agent, own: own.to_vec(), of_policy: Vec::new(), addresses }
    }

    /// Takes the addresses of the policy in force in place of those of the one before. What is none is passed over.
    pub(super) fn take_policy(&mut self, of_policy: &[String]) {
        if self.of_policy == of_policy {
            return;
        }
        self.of_policy = of_policy.to_vec();
        let named: Vec<_> = of_policy.iter().filter_map(|text| Address::parse(text).ok()).collect();
        let mut before = std::mem::take(&mut self.addresses);
        for address in rank(self.agent, &named).chain(rank(self.agent, &self.own)) {
            if !self.addresses.iter().any(|known| known.address == address) {
                let at = before.iter().position(|known| known.address == address);
                let known = at.map(|at| before.swap_remove(at));
                self.addresses.push(known.unwrap_or_else(|| Route::new(address)));
            }
        }
    }

    /// Returns the addresses in the order in which they are to be tried at `now`.
    pub(super) fn round(&self, now: Instant) -> Vec<Address> {
        let rests = |route: &&Route| {
            route.failed_at.is_some_and(|at| now.saturating_duration_since(at) < ADDRESS_REST)
        };
        let (resting, well): (Vec<_>, Vec<_>) = self.addresses.iter().partition(rests);
        well.into_iter().chain(resting).map(|route| route.address.clone()).collect()
    }

    /// Returns whether the host's own configuration names an address.
    pub(super) fn is_own(&self, address: &Address) -> bool {
        self.own.contains(address)
    }

    /// Notes how it went with an address.
    pub(super) fn note(&mut self, address: &Address, failed_at: Option<Instant>) {
        if let Some(route) = self.route_mut(address) {
            route.failed_at = failed_at;
        }
    }

    /// Returns how it went over UDP with an address.
    pub(super) fn udp(&self, address: &Address) -> Udp {
        let route = self.addresses.iter().find(|route| route.address == *address);
        route.map_or_else(Udp::new, |route| route.udp.clone())
    }

    /// Notes how it went over UDP with an address.
    pub(super) fn set_udp(&mut self, address: &Address, udp: Udp) {
        if let Some(route) = self.route_mut(address) {
            route.udp = udp;
        }
    }

    fn route_mut(&mut self, address: &Address) -> Option<&mut Route> {
        self.addresses.iter_mut().find(|route| route.address == *address)
    }
}

/// Returns addresses in an agent's order.
fn rank(agent: AgentId, addresses: &[Address]) -> impl Iterator<Item = Address> {
    let mut ranked = addresses.to_vec();
    ranked.sort_by_cached_key(|address| std::cmp::Reverse(score(agent, address)));
    ranked.into_iter()
}

fn score(agent: AgentId, address: &Address) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(agent.as_bytes());
    digest.update(address.to_string().as_bytes());
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "a driver's time, as a test hands it in")]

    use std::{collections::HashMap, time::Duration};

    use super::*;

    fn addresses(count: u16) -> Vec<Address> {
        (0..count).map(|n| Address::parse(&format!("192.0.2.1:{}", 4433 + n)).unwrap()).collect()
    }

    fn first_of(agent: u16, addresses: &[Address], now: Instant) -> Address {
        let agent = AgentId::from_bytes(std::array::from_fn(|at| agent.to_be_bytes()[at % 2]));
        Routes::new(agent, addresses).round(now).swap_remove(0)
    }

    #[test]
    fn agents_spread_over_the_addresses_and_only_those_of_a_lost_one_move() {
        let (now, all) = (Instant::now(), addresses(4));
        let mut counts: HashMap<String, usize> = HashMap::new();
        for agent in 0..4_000 {
            let (before, after) = (first_of(agent, &all, now), first_of(agent, &all[..3], now));
            *counts.entry(before.to_string()).or_default() += 1;
            assert!(before == all[3] || before == after, "{agent} has moved for nothing");
        }
        assert!(counts.values().all(|count| (800..1_200).contains(count)), "{counts:?}");
    }

    #[test]
    fn udp_that_falls_silent_again_and_again_is_doubted_until_a_connection_lasts() {
        let all = addresses(2);
        let mut routes = Routes::new(AgentId::from_bytes([7; 16]), &all);
        let mut udp = routes.udp(&all[0]);
        udp.note_silence();
        assert!(!udp.is_doubted(), "a coordinator that was switched off is silent, too");
        udp.waits.next_wait(1.0);
        udp.note_silence();
        routes.set_udp(&all[0], udp);
        let mut udp = routes.udp(&all[0]);
        assert!(udp.is_doubted() && !routes.udp(&all[1]).is_doubted());
        assert_eq!(udp.waits.next_wait(1.0), 2 * UDP_RETRY_MIN, "the waits go on growing");
        udp.note_lasting();
        assert!(!udp.is_doubted());
        assert_eq!(udp.waits.next_wait(1.0), UDP_RETRY_MIN);
    }

    #[test]
    fn an_address_that_failed_is_tried_last_for_a_while() {
        let (now, all) = (Instant::now(), addresses(3));
        let mut routes = Routes::new(AgentId::from_bytes([7; 16]), &all);
        let order = routes.round(now);
        routes.note(&order[0], Some(now));
        let [first, second, third] = [1, 2, 0].map(|at| order[at].clone());
        assert_eq!(routes.round(now), [first, second, third]);
        assert_eq!(routes.round(now + ADDRESS_REST), order);
        routes.note(&order[0], None);
        assert_eq!(routes.round(now + Duration::from_millis(1)), order);
    }

    #[test]
    fn what_a_policy_names_is_tried_first_and_the_hosts_own_stay() {
        let (now, all) = (Instant::now(), addresses(4));
        let mut routes = Routes::new(AgentId::from_bytes([7; 16]), &all[..2]);
        let own = routes.round(now);
        let named = [all[2].to_string(), "nowhere".to_owned(), own[1].to_string()];
        routes.take_policy(&named);
        let order = routes.round(now);
        assert!(order[..2].contains(&all[2]) && order[..2].contains(&own[1]), "{order:?}");
        assert_eq!(order[2..], own[..1]);
        // What failed comes behind the host's own, too, also when the next policy names it again.
        routes.note(&all[2], Some(now));
        assert_eq!(routes.round(now), [own[1].clone(), own[0].clone(), all[2].clone()]);
        routes.take_policy(&named[..1]);
        assert_eq!(routes.round(now), [own[0].clone(), own[1].clone(), all[2].clone()]);
        routes.take_policy(&[]);
        assert_eq!(routes.round(now), own);
    }
}
