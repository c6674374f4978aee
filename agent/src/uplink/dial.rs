//! From an address to a connection: over UDP, and where that is not answered, over TCP.
//!
//! UDP has a head start. Where its answer does not come by then, TCP is tried beside it, and whichever is there first
//! is taken (as RFC 8305 does it with two versions of IP). What the coordinator itself says is final: one that refuses
//! this agent over UDP is not asked again over TCP.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, EndpointConfig, IdleTimeout,
    TransportConfig, VarInt, crypto::rustls::QuicClientConfig,
};
use shared::{
    limits::{CONTROL_FRAME_BYTES_MAX, GREETING_TIMEOUT, HEARTBEAT_INTERVAL, SILENCE_TIMEOUT},
    tunnel::DATAGRAM_BYTES_MAX,
};
use tokio::time::{sleep, timeout};

use super::{CLOSE_TIMEOUT, LinkError, StartError, session::SEND_WINDOW, tunnel::Tunnel};
use crate::{
    config::Address,
    limits::{UDP_HEAD_START, UDP_PROOF},
};

/// Most of a name's addresses that are tried: one IPv6 and one IPv4 address of two hosts.
const RESOLVED_MAX: usize = 4;

/// The settings of what is dialled, for both ways.
#[derive(Clone, Debug)]
pub(super) struct Ways {
    udp: ClientConfig,
    tunnelled: ClientConfig,
    tls: Arc<rustls::ClientConfig>,
}

/// A connection, and what carries it.
#[derive(Debug)]
pub(super) struct Dialled {
    pub(super) connection: Connection,
    endpoint: Endpoint,
    pub(super) tunnel: Option<Tunnel>,
    /// Why it is not over UDP, if it is not.
    pub(super) udp_error: Option<String>,
}

impl Ways {
    /// Returns the settings with these of TLS.
    ///
    /// # Errors
    /// They do not fit QUIC.
    pub(super) fn new(tls: Arc<rustls::ClientConfig>) -> Result<Self, StartError> {
        let crypto = Arc::new(QuicClientConfig::try_from(Arc::clone(&tls))?);
        let client = |transport| {
            let mut client = ClientConfig::new(crypto.clone());
            client.transport_config(Arc::new(transport));
            client
        };
        let mut tunnelled = transport();
        tunnelled.initial_mtu(DATAGRAM_BYTES_MAX).min_mtu(DATAGRAM_BYTES_MAX);
        Ok(Self { udp: client(transport()), tunnelled: client(tunnelled), tls })
    }
}

impl Dialled {
    /// Waits until the last packets have left after the connection was closed, and not long.
    pub(super) async fn flush(&self) {
        let _late = timeout(CLOSE_TIMEOUT, self.endpoint.wait_idle()).await.is_err();
    }

    /// Returns whether the coordinator has said that the handshake is whole (RFC 9001, section 4.1.2), and is there.
    fn is_proved(&self) -> bool {
        let is_confirmed = self.connection.stats().frame_rx.handshake_done > 0;
        is_confirmed && self.connection.close_reason().is_none()
    }

    /// Waits until what carries the connection is lost; for ever over UDP, which cannot be.
    pub(super) async fn lost(&self) {
        match &self.tunnel {
            Some(tunnel) => tunnel.lost().await,
            None => std::future::pending().await,
        }
    }
}

/// Dials the addresses that `address` stands for, one after the other, until a handshake is done. Where UDP is doubted,
/// TCP is tried first.
pub(super) async fn dial(
    address: &Address,
    server_name: &str,
    ways: &Ways,
    is_udp_doubted: bool,
) -> Result<Dialled, LinkError> {
    let mut last = LinkError::NoAddress;
    for remote in resolve(address).await? {
        let dialled = match is_udp_doubted {
            true => tcp_first(remote, server_name, ways).await,
            false => udp_first(remote, server_name, ways).await,
        };
        match dialled {
            Ok(dialled) => return Ok(dialled),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Dials like [`dial`], over UDP alone.
pub(super) async fn dial_udp(
    address: &Address,
    server_name: &str,
    ways: &Ways,
) -> Result<Dialled, LinkError> {
    let mut last = LinkError::NoAddress;
    for remote in resolve(address).await? {
        match over_udp(remote, server_name, ways).await {
            Ok(dialled) => return Ok(dialled),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Dials where UDP cannot be relied on.
async fn tcp_first(
    remote: SocketAddr,
    server_name: &str,
    ways: &Ways,
) -> Result<Dialled, LinkError> {
    match over_tcp(remote, server_name, ways).await {
        Ok(dialled) => {
            let udp_error = Some("connections over UDP fell silent".to_owned());
            Ok(Dialled { udp_error, ..dialled })
        }
        Err(tcp) if tcp.is_of_the_way() => {
            let udp = over_udp(remote, server_name, ways).await;
            udp.map_err(|udp| if udp.is_of_the_way() { both(&udp, &tcp) } else { udp })
        }
        Err(error) => Err(error),
    }
}

async fn udp_first(
    remote: SocketAddr,
    server_name: &str,
    ways: &Ways,
) -> Result<Dialled, LinkError> {
    let mut udp = std::pin::pin!(over_udp(remote, server_name, ways));
    let udp_error = match timeout(UDP_HEAD_START, udp.as_mut()).await {
        Ok(Err(error)) if error.is_of_the_way() => Some(error),
        Ok(outcome) => return outcome,
        Err(_no_answer_yet) => None,
    };
    let mut tcp = std::pin::pin!(over_tcp(remote, server_name, ways));
    let Some(udp_error) = udp_error else {
        return tokio::select! {
            outcome = udp.as_mut() => match outcome {
                Err(error) if error.is_of_the_way() => after_udp(error, tcp.await),
                outcome => outcome,
            },
            outcome = tcp.as_mut() => match outcome {
                Err(error) if error.is_of_the_way() => {
                    udp.await.map_err(|udp| both(&udp, &error))
                }
                outcome => outcome.map(|dialled| {
                    let udp_error = format!("no answer within {} s", UDP_HEAD_START.as_secs());
                    Dialled { udp_error: Some(udp_error), ..dialled }
                }),
            },
        };
    };
    after_udp(udp_error, tcp.await)
}

/// Returns what TCP has brought after UDP failed.
fn after_udp(udp: LinkError, tcp: Result<Dialled, LinkError>) -> Result<Dialled, LinkError> {
    match tcp {
        Ok(dialled) => Ok(Dialled { udp_error: Some(udp.to_string()), ..dialled }),
        Err(error) if error.is_of_the_way() => Err(both(&udp, &error)),
        Err(error) => Err(error),
    }
}

fn both(udp: &LinkError, tcp: &LinkError) -> LinkError {
    LinkError::BothWays { udp: udp.to_string(), tcp: tcp.to_string() }
}

async fn over_udp(
    remote: SocketAddr,
    server_name: &str,
    ways: &Ways,
) -> Result<Dialled, LinkError> {
    let any: IpAddr =
        if remote.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    let endpoint = Endpoint::client((any, 0).into()).map_err(LinkError::Socket)?;
    let connection = shake_hands(&endpoint, ways.udp.clone(), remote, server_name).await?;
    Ok(Dialled { connection, endpoint, tunnel: None, udp_error: None })
}

async fn over_tcp(
    remote: SocketAddr,
    server_name: &str,
    ways: &Ways,
) -> Result<Dialled, LinkError> {
    let opened = Tunnel::open(remote, server_name, &ways.tls).await;
    let (tunnel, socket) = opened.map_err(LinkError::Tcp)?;
    let mut config = EndpointConfig::default();
    // It is within what the protocol allows.
    let _fits = config.max_udp_payload_size(DATAGRAM_BYTES_MAX).is_ok();
    let runtime = quinn::default_runtime().ok_or_else(|| io::Error::other("no runtime"));
    let endpoint = runtime
        .and_then(|runtime| Endpoint::new_with_abstract_socket(config, None, socket, runtime))
        .map_err(LinkError::Socket)?;
    let connection = shake_hands(&endpoint, ways.tunnelled.clone(), remote, server_name).await?;
    Ok(Dialled { connection, endpoint, tunnel: Some(tunnel), udp_error: None })
}

async fn shake_hands(
    endpoint: &Endpoint,
    settings: ClientConfig,
    remote: SocketAddr,
    server_name: &str,
) -> Result<Connection, LinkError> {
    let connecting = endpoint.connect_with(settings, remote, server_name)?;
    timeout(GREETING_TIMEOUT, connecting)
        .await
        .map_err(|_| LinkError::HandshakeTimeout)?
        .map_err(LinkError::Handshake)
}

impl LinkError {
    /// Returns whether the network is at fault, as far as can be told, and not what was reached over it.
    fn is_of_the_way(&self) -> bool {
        matches!(
            self,
            Self::HandshakeTimeout
                | Self::Socket(_)
                | Self::Dial(_)
                | Self::Tcp(_)
                | Self::Handshake(ConnectionError::TimedOut | ConnectionError::Reset)
        )
    }
}

/// Waits until UDP is answered again; returns the connection over it.
pub(super) async fn udp_is_back(
    address: &Address,
    server_name: &str,
    ways: &Ways,
    mut next_wait: impl FnMut() -> Duration,
) -> Dialled {
    loop {
        sleep(next_wait()).await;
        match dial_udp(address, server_name, ways).await {
            Ok(dialled) => {
                sleep(UDP_PROOF).await;
                if dialled.is_proved() {
                    return dialled;
                }
                tracing::debug!(%address, "UDP let a handshake begin, and nothing after it");
            }
            Err(error) => tracing::debug!(%address, %error, "UDP is still not answered"),
        }
    }
}

async fn resolve(address: &Address) -> Result<Vec<SocketAddr>, LinkError> {
    if let Ok(ip) = address.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, address.port)]);
    }
    let found = tokio::net::lookup_host((address.host.as_str(), address.port));
    Ok(found.await.map_err(LinkError::Resolve)?.take(RESOLVED_MAX).collect())
}

/// Returns the transport's settings: small windows, for the agent is a guest on its host.
fn transport() -> TransportConfig {
    let small = |bytes: usize| VarInt::from_u32(u32::try_from(bytes).unwrap_or(u32::MAX));
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(0)) // the agent opens all
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(small(CONTROL_FRAME_BYTES_MAX))
        .receive_window(small(2 * CONTROL_FRAME_BYTES_MAX))
        .send_window(SEND_WINDOW as u64)
        .datagram_receive_buffer_size(None)
        .keep_alive_interval(Some(HEARTBEAT_INTERVAL))
        .max_idle_timeout(IdleTimeout::try_from(SILENCE_TIMEOUT).ok());
    transport
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_in_figures_needs_no_name_server() {
        for (text, ip) in [("127.0.0.1:4433", "127.0.0.1"), ("[::1]:4433", "::1")] {
            let found = resolve(&Address::parse(text).unwrap()).await.unwrap();
            assert_eq!(found, [SocketAddr::new(ip.parse().unwrap(), 4433)]);
        }
    }

    #[test]
    fn an_idle_connection_is_kept_alive_before_it_times_out() {
        assert!(HEARTBEAT_INTERVAL * 3 < SILENCE_TIMEOUT);
        assert!(IdleTimeout::try_from(SILENCE_TIMEOUT).is_ok());
    }
}
