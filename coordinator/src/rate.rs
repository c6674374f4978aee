//! How often something came from where lately: what tells sites apart, and a count that begins anew. Pure.

use std::net::{IpAddr, Ipv6Addr};

use shared::time::Timestamp;

/// A count over `SECONDS` from the first that was counted; then it begins anew.
#[derive(Clone, Copy, Debug, Default)]
pub struct Window<const SECONDS: u64> {
    began_at: Timestamp,
    count: u32,
}

impl<const SECONDS: u64> Window<SECONDS> {
    /// Returns whether its time is over.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        // A clock that was set back ends it, too.
        now < self.began_at || now.since(self.began_at).as_secs() >= SECONDS
    }

    /// Counts one.
    pub fn count(&mut self, now: Timestamp) {
        if self.is_over(now) {
            *self = Self { began_at: now, count: 0 };
        }
        self.count = self.count.saturating_add(1);
    }

    /// Returns how many were counted.
    #[must_use]
    pub fn value(&self, now: Timestamp) -> u32 {
        if self.is_over(now) { 0 } else { self.count }
    }
}

/// Returns what of an address tells one site from another: of IPv6 the first 64 bits, which is what one site has.
#[must_use]
pub fn site(address: IpAddr) -> IpAddr {
    beginning(address, 64)
}

/// Returns what of an address whoever has one site may have of others, too: of IPv6 the first 48 bits.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    beginning(address, 48)
}

/// Returns the first bits of an address of IPv6, and all of one of IPv4.
fn beginning(address: IpAddr, bits: u32) -> IpAddr {
    let rest = u128::BITS - bits;
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> rest << rest).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_begins_anew_when_its_time_is_over_or_the_clock_was_set_back() {
        let at = |seconds: u64| Timestamp::from_ms(1_790_000_000_000 + seconds * 1_000);
        let mut window = Window::<10>::default();
        window.count(at(0));
        window.count(at(9));
        assert_eq!((window.value(at(9)), window.value(at(10))), (2, 0));
        window.count(at(10));
        assert_eq!((window.value(at(10)), window.value(at(3))), (1, 0));
    }

    #[test]
    fn a_site_is_an_address_of_ipv4_however_it_is_written_or_a_network_of_ipv6() {
        let site = |text: &str| site(text.parse().unwrap()).to_string();
        assert_eq!(site("::ffff:203.0.113.9"), "203.0.113.9");
        assert_eq!(site("2001:db8:0:7::1"), "2001:db8:0:7::");
        let network = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(network("203.0.113.9"), "203.0.113.9");
        assert_eq!(network("2001:db8:0:7::1"), "2001:db8::");
    }
}
