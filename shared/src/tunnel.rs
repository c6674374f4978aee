//! QUIC's datagrams within a TLS connection over TCP, for networks that let no UDP out.
//!
//! # Format
//! ```text
//! tunnel: ( len u16, big-endian, 1 to DATAGRAM_BYTES_MAX | len bytes )*
//! ```
//! What is carried is the same QUIC, with both certificates, as over UDP: so who the peers are, the streams, the lanes
//! and their windows are the same, too. The TLS around it is one of [`ALPN_TUNNEL`]; in it the coordinator alone
//! shows a certificate. A datagram may be dropped on the way, as UDP may drop it; none is changed, doubled or
//! reordered.

use bytes::{Buf as _, Bytes, BytesMut};
use thiserror::Error;

/// Protocol's name in TLS (ALPN).
pub const ALPN_TUNNEL: &[u8] = b"signalbox-tcp/1";

/// Bytes of a datagram's length.
pub const LEN_BYTES: usize = 2;

/// Most bytes of a datagram: few enough that an urgent packet waits behind little, enough that a block of 256 KiB takes
/// dozens of packets and not hundreds.
pub const DATAGRAM_BYTES_MAX: u16 = 4096;

/// The peer does not speak this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a datagram of {0} bytes in the tunnel, 1 to {DATAGRAM_BYTES_MAX} are allowed")]
pub struct TunnelError(pub u16);

/// Appends a datagram to what is to be sent; one that is empty or too long is none, and not sent.
pub fn put(datagram: &[u8], out: &mut Vec<u8>) {
    let Ok(len) = u16::try_from(datagram.len()) else { return };
    if (1..=DATAGRAM_BYTES_MAX).contains(&len) {
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(datagram);
    }
}

/// Takes the next whole datagram out of what has come; `None` if there is none yet.
///
/// # Errors
/// [`TunnelError`], whatever follows.
pub fn take(come: &mut BytesMut) -> Result<Option<Bytes>, TunnelError> {
    let Some(len) = come.first_chunk::<LEN_BYTES>() else { return Ok(None) };
    let len = u16::from_be_bytes(*len);
    if !(1..=DATAGRAM_BYTES_MAX).contains(&len) {
        return Err(TunnelError(len));
    }
    if come.len() < LEN_BYTES + usize::from(len) {
        return Ok(None);
    }
    come.advance(LEN_BYTES);
    Ok(Some(come.split_to(len.into()).freeze()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn however_the_bytes_are_cut_the_same_datagrams_come(
            lens in proptest::collection::vec(1..=usize::from(DATAGRAM_BYTES_MAX), 0..9),
            pieces in proptest::collection::vec(1_usize..6000, 1..9),
        ) {
            let sent: Vec<Vec<u8>> =
                lens.iter().enumerate().map(|(number, len)| vec![number as u8; *len]).collect();
            let mut bytes = Vec::new();
            sent.iter().for_each(|datagram| put(datagram, &mut bytes));
            let (mut come, mut taken, mut rest) = (BytesMut::new(), Vec::new(), &bytes[..]);
            for piece in pieces.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*piece).min(rest.len()));
                come.extend_from_slice(now);
                while let Some(datagram) = take(&mut come).unwrap() {
                    taken.push(datagram.to_vec());
                }
                rest = later;
            }
            prop_assert_eq!(taken, sent);
            prop_assert!(come.is_empty());
        }

        #[test]
        fn no_bytes_make_it_panic_or_wait_for_more_than_a_datagram(bytes: Vec<u8>) {
            let mut come = BytesMut::from(&bytes[..]);
            while let Ok(Some(datagram)) = take(&mut come) {
                prop_assert!((1..=usize::from(DATAGRAM_BYTES_MAX)).contains(&datagram.len()));
            }
        }
    }

    #[test]
    fn a_length_that_is_not_allowed_is_an_error_before_anything_is_kept_for_it() {
        for len in [0, DATAGRAM_BYTES_MAX + 1, u16::MAX] {
            let mut come = BytesMut::from(&len.to_be_bytes()[..]);
            assert_eq!(take(&mut come), Err(TunnelError(len)));
        }
    }

    #[test]
    fn what_cannot_be_a_datagram_is_not_sent() {
        let mut out = Vec::new();
        put(&[], &mut out);
        put(&vec![7; usize::from(DATAGRAM_BYTES_MAX) + 1], &mut out);
        put(&vec![7; 1 << 17], &mut out);
        assert!(out.is_empty());
    }
}
