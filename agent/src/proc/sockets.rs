//! Rows of the kernel's tables of sockets: `/proc/net/tcp`, `tcp6`, `udp` and `udp6`.
//!
//! # Format
//! ```text
//! sl: local_address remote_address state tx:rx timer:when retransmits uid timeout inode ...
//! ```
//! An address is written as 32-bit words of the network's bytes, each read as a number of the host's own byte order,
//! in hex, then a colon and the port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::canonical;

/// A kind of socket, and with it the table that it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Transport {
    Tcp4,
    Tcp6,
    Udp4,
    Udp6,
}

/// What a socket does, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketState {
    /// It waits for connections, or takes datagrams from anywhere.
    Open,
    /// It has another end.
    Connected,
    /// The connection is over, and nobody holds it any more.
    Over,
}

/// The two ends of a connection, seen from this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// This host's end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
}

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Its two ends; an IPv4 address within an IPv6 one is written as IPv4. One that has no other end has zeros there.
    pub flow: Flow,
    /// What it does.
    pub state: SocketState,
    /// Number of the user who opened it.
    pub uid: u32,
    /// Its number, by which a process holds it; zero where no process does.
    pub inode: u64,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Tcp4, Self::Tcp6, Self::Udp4, Self::Udp6];

    /// Returns the name of its table in `/proc/net`.
    #[must_use]
    pub const fn table(self) -> &'static str {
        match self {
            Self::Tcp4 => "tcp",
            Self::Tcp6 => "tcp6",
            Self::Udp4 => "udp",
            Self::Udp6 => "udp6",
        }
    }

    /// Returns the protocol's name in alerts.
    #[must_use]
    pub const fn protocol(self) -> &'static str {
        match self {
            Self::Tcp4 | Self::Tcp6 => "tcp",
            Self::Udp4 | Self::Udp6 => "udp",
        }
    }

    /// Returns the kinds among which a socket of `protocol` at the address `local` is; none for a protocol without
    /// ports. A socket for both versions of IP stands in the table of the sixth.
    #[must_use]
    pub fn candidates(protocol: &str, local: IpAddr) -> &'static [Self] {
        match (protocol, local) {
            ("tcp", IpAddr::V4(_)) => &[Self::Tcp4, Self::Tcp6],
            ("tcp", IpAddr::V6(_)) => &[Self::Tcp6],
            ("udp", IpAddr::V4(_)) => &[Self::Udp4, Self::Udp6],
            ("udp", IpAddr::V6(_)) => &[Self::Udp6],
            _ => &[],
        }
    }
}

impl Socket {
    /// Parses a row; the heading and anything else that is no row is nothing.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        words.next()?.strip_suffix(':')?.parse::<u64>().ok()?;
        let flow = Flow { local: address(words.next()?)?, remote: address(words.next()?)? };
        // Numbers of TCP's states serve for UDP, too: 1 is connected, 7 is not.
        let state = match u8::from_str_radix(words.next()?, 16).ok()? {
            7 | 10 => SocketState::Open,
            6 => SocketState::Over,
            _ => SocketState::Connected,
        };
        let mut words = words.skip(3);
        let uid = words.next()?.parse().ok()?;
        let inode = words.nth(1)?.parse().ok()?;
        Some(Self { flow, state, uid, inode })
    }

    /// Returns whether this is a socket that takes what comes for `local` from anywhere.
    #[must_use]
    pub fn listens_at(&self, local: SocketAddr) -> bool {
        let own = self.flow.local;
        self.state == SocketState::Open
            && own.port() == local.port()
            && (own.ip() == local.ip() || own.ip().is_unspecified())
    }
}

fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let word = u32::from_str_radix(ip.get(8 * at..8 * at + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (at, bytes) in bytes.chunks_exact_mut(4).enumerate() {
                bytes.copy_from_slice(&word(at)?);
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(canonical(SocketAddr::new(ip, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    // As a little-endian host writes them.
    const HEADING: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid";
    const LISTENING: &str = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 \
                             00000000  1000        0 623 1 00000000b5973c6c 100 0 0 10 0";
    const CONNECTED: &str = "   1: 020200C0:D452 507100CB:01BB 01 00000000:00000000 00:00000000 \
                             00000000     0        0 4990 1 000000001a670a74 20 4 1 58 -1";
    const MAPPED: &str = "  12: 0000000000000000FFFF00000100000A:0016 \
                          0000000000000000FFFF00000200000A:C001 01 00000000:00000000 \
                          00:00000000 00000000   33        0 77 1 0 20 4 1 58 -1";
    const SIX: &str = "   3: B80D0120000000000000000001000000:0035 \
                       00000000000000000000000000000000:0000 07 00000000:00000000 \
                       00:00000000 00000000   101        0 5 2 0 0";

    #[test]
    #[cfg(target_endian = "little")]
    fn rows_say_both_ends_who_and_what() {
        let listening = Socket::parse(LISTENING).unwrap();
        assert_eq!(listening.flow.local, "127.0.0.1:8080".parse().unwrap());
        assert_eq!((listening.state, listening.uid), (SocketState::Open, 1000));
        assert_eq!(listening.inode, 623);
        let connected = Socket::parse(CONNECTED).unwrap();
        assert_eq!(connected.flow.local, "192.0.2.2:54354".parse().unwrap());
        assert_eq!(connected.flow.remote, "203.0.113.80:443".parse().unwrap());
        assert_eq!((connected.state, connected.inode), (SocketState::Connected, 4990));
        let mapped = Socket::parse(MAPPED).unwrap();
        assert_eq!(mapped.flow.local, "10.0.0.1:22".parse().unwrap(), "written as IPv4");
        let six = Socket::parse(SIX).unwrap();
        assert_eq!(six.flow.local, "[2001:db8::1]:53".parse().unwrap());
        assert_eq!((six.state, six.uid, six.inode), (SocketState::Open, 101, 5));
    }

    #[test]
    fn what_is_no_row_is_nothing() {
        for text in ["", HEADING, "0: 0100007F:1F90", &LISTENING.replace("0100007F", "0100007")] {
            assert_eq!(Socket::parse(text), None, "{text}");
        }
        for end in 0..MAPPED.len() {
            let _any = Socket::parse(&MAPPED[..end]); // no panic, wherever it is cut
        }
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_socket_listens_at_its_own_address_or_at_all() {
        let mut socket = Socket::parse(LISTENING).unwrap();
        assert!(socket.listens_at("127.0.0.1:8080".parse().unwrap()));
        assert!(!socket.listens_at("127.0.0.1:8081".parse().unwrap()));
        assert!(!socket.listens_at("10.0.0.1:8080".parse().unwrap()));
        socket.flow.local = "[::]:8080".parse().unwrap();
        assert!(socket.listens_at("10.0.0.1:8080".parse().unwrap()));
        socket.state = SocketState::Connected;
        assert!(!socket.listens_at("10.0.0.1:8080".parse().unwrap()));
    }
}
