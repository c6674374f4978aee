//! Where something listens: a host and a port, as both ends write it.

use std::{fmt, net::Ipv6Addr};

/// A host's name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// DNS name, IPv4 or IPv6 address (without brackets).
    pub host: String,
    /// The port, of UDP or TCP, not zero.
    pub port: u16,
}

impl Address {
    /// Parses `host:port`; an IPv6 address stands in brackets.
    ///
    /// # Errors
    /// Says what was expected, as a text that follows the key's name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected =
            || format!("{text:?} is no address: write host:port, and [address]:port for IPv6");
        let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(expected)?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(v6) => v6.parse::<Ipv6Addr>().map_err(|_| expected())?.to_string(),
            None => host.to_owned(),
        };
        let is_v6 = host.contains(':');
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
        let is_name = (1..=253).contains(&host.len()) && host.bytes().all(allowed);
        if is_v6 && text.starts_with('[') || is_name {
            Ok(Self { host, port })
        } else {
            Err(expected())
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_a_host_and_a_port() {
        for good in ["box.example:4433", "127.0.0.1:1", "[::1]:65535"] {
            assert_eq!(Address::parse(good).unwrap().to_string(), good);
        }
        for bad in ["", ":1", "a:", "a:0", "a:65536", "::1:4433", "a b:1", "[box]:1", "a:b:1"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }
}
