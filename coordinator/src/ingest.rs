//! Where agents connect: meets them over QUIC, knows whose they are by their certificate (L5), and runs one session
//! over each connection.
//!
//! # Tasks
//! ```text
//! Ingest::run           accepts, over UDP and out of tunnels; never awaits a handshake
//!  ├ Gate::run          accepts tunnels over TCP, each a task that carries datagrams
//!  └ one a connection   handshake, identity, then session::run: owns the pure Receiver and all its streams
//!     └ one a lane      lane::commit_lane: prepares blocks on the blocking pool, hands them to the writer in order
//! ```
//!
//! # Limits
//! Connections, handshakes, streams, frames and what is in flight are bounded by [`crate::limits`] and
//! [`shared::limits`]. What is over a bound is refused and counted; what was acked was durable before (L1).
//!
//! Not here: certificates (see [`crate::tls`]), and what a block means (see [`crate::command::block`]).

mod doors;
mod ending;
mod join;
mod lane;
mod meter;
mod policy;
mod quota;
mod recall;
mod registry;
mod renewal;
mod room;
mod session;
mod standing;
mod streams;
mod trust;
mod tunnel;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use certs::CertificateInfo;
use quinn::{Connection, ConnectionError, Endpoint, EndpointConfig, Incoming, VarInt};
use rand::RngExt as _;
use shared::{policy::PolicyPublicKey, trust::SpkiDigest, tunnel::DATAGRAM_BYTES_MAX};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::{
    doors::Doors, join::Sites, quota::Quotas, renewal::Renewals, room::Room, trust::Authorities,
};
use self::{
    ending::{Close, Ending, Failure},
    registry::Registry,
    tunnel::{Gate, Tunnels},
};
use crate::{
    bell::{Bells, Listener},
    clock::{self, Clock},
    command::{identities::Certificate, issued::Proof},
    counters::{Counters, HandshakeRefused},
    limits::{CONNECTIONS_MAX, HANDSHAKE_TIMEOUT, HANDSHAKES_MAX},
    store::{schema::AgentKey, writer::Store},
    tls::{self, Issuer, PeerError, Purpose},
};

/// What every session needs.
#[derive(Debug)]
pub struct Shared {
    /// Where blocks go.
    pub store: Store,
    /// What the wall says.
    pub clock: Clock,
    /// What is counted.
    pub counters: Arc<Counters>,
    /// Ring when sessions are to look into the store.
    pub bells: Bells,
    /// Whose agents are let in.
    pub trust_domain: String,
    /// What issues certificates for hosts that join; without it none can.
    pub issuer: Option<Issuer>,
    /// Hosts that join now, and guesses of late.
    pub sites: Sites,
    /// Agents that were late with their renewal, of late.
    pub renewals: Renewals,
    /// Issuers that are distrusted, and how fast agents of earlier ones are re-keyed.
    pub authorities: Authorities,
    /// Places for certificates that are being signed.
    pub signings: Arc<Semaphore>,
    /// Places for policies that are on their way to agents.
    pub policy_offers: Arc<Semaphore>,
    /// The keys that sign policies, which hosts that join are told.
    pub policy_keys: Arc<[PolicyPublicKey]>,
    /// Greatest age of a connection.
    pub connection_age: Duration,
    /// For what came and is not stored yet.
    pub room: Room,
    /// How fast tenants and agents may send.
    pub quotas: Arc<Quotas>,
    /// How often addresses knocked over UDP, and who is at the door.
    pub doors: Arc<Doors>,
    /// The same over TCP: whoever fills one leaves the other.
    pub tunnel_doors: Arc<Doors>,
    /// The tasks of connections and lanes.
    pub tasks: TaskTracker,
    /// Cancelled to end all sessions in order.
    pub shutdown: CancellationToken,
}

/// The endpoint's settings, as [`crate::tls`] makes them.
#[derive(Debug)]
pub struct QuicSettings {
    /// Of the socket.
    pub endpoint: EndpointConfig,
    /// Of each connection.
    pub server: quinn::ServerConfig,
    /// Of what comes through tunnels, if any may.
    pub tunnels: Option<TunnelSettings>,
}

/// The settings of tunnels over TCP.
#[derive(Debug)]
pub struct TunnelSettings {
    /// Where they are taken; of port 0 the one of UDP.
    pub listen: SocketAddr,
    /// Of the TLS around.
    pub tls: Arc<rustls::ServerConfig>,
    /// Of each connection within.
    pub server: quinn::ServerConfig,
}

/// The endpoint that agents connect to.
#[derive(Debug)]
pub struct Ingest {
    endpoint: Endpoint,
    /// What is met through tunnels, and what takes these.
    tunnels: Option<(Endpoint, Gate, Arc<Tunnels>)>,
    shared: Arc<Shared>,
    registry: Arc<Registry>,
}

/// How long the last packets may take to leave after everything was closed.
const LINGER: Duration = Duration::from_millis(500);

impl Ingest {
    /// Binds the endpoint. The caller is in a runtime, the one that will carry the packets.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn bind(
        settings: QuicSettings,
        listen: SocketAddr,
        shared: Arc<Shared>,
    ) -> io::Result<Self> {
        let QuicSettings { endpoint: config, server, tunnels } = settings;
        let runtime = quinn::default_runtime().ok_or_else(|| io::Error::other("no runtime"))?;
        let (socket, listener) = bind_both(listen, tunnels.as_ref().map(|it| it.listen))?;
        let udp = Endpoint::new(config, Some(server), socket, Arc::clone(&runtime))?;
        let tunnels = match tunnels.zip(listener) {
            None => None,
            Some((settings, listener)) => {
                let counters = Arc::clone(&shared.counters);
                let (gate, socket) = Gate::new(listener, settings.tls, counters)?;
                // Keys of its own: who comes through a tunnel is not to learn how UDP's connections are reset (RFC
                // 9000, section 21.11). Theirs need not outlive the process, for TCP does not.
                let mut config = EndpointConfig::default();
                config.max_udp_payload_size(DATAGRAM_BYTES_MAX).map_err(io::Error::other)?;
                let server = Some(settings.server);
                let endpoint =
                    Endpoint::new_with_abstract_socket(config, server, socket.clone(), runtime)?;
                Some((endpoint, gate, socket))
            }
        };
        Ok(Self { endpoint: udp, tunnels, shared, registry: Arc::default() })
    }

    /// Returns the address that agents connect to.
    ///
    /// # Errors
    /// The system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Meets agents until the shutdown, then lets every session store and ack what it has, and say goodbye.
    pub async fn run(mut self) {
        let (shutdown, carriers) = (self.shared.shutdown.clone(), TaskTracker::new());
        let tunnelled = match self.tunnels.take() {
            None => None,
            Some((endpoint, gate, tunnels)) => {
                let shared = Arc::clone(&self.shared);
                carriers.spawn(gate.run(shared, carriers.clone(), shutdown.clone()));
                Some((endpoint, tunnels))
            }
        };
        let through_tunnels = async {
            match &tunnelled {
                Some((endpoint, tunnels)) => self.accept(endpoint, Some(tunnels)).await,
                None => std::future::pending().await,
            }
        };
        let both = futures_util::future::join(self.accept(&self.endpoint, None), through_tunnels);
        shutdown.run_until_cancelled(both).await;
        let tunnelled = tunnelled.as_ref().map(|(endpoint, _)| endpoint);
        let endpoints = [Some(&self.endpoint), tunnelled].into_iter().flatten();
        endpoints.clone().for_each(|endpoint| endpoint.set_server_config(None));
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        let idle = endpoints.map(|endpoint| {
            endpoint.close(Close::Goodbye.code(), b"coordinator stopped");
            endpoint.wait_idle()
        });
        let idle = futures_util::future::join_all(idle);
        let _late = tokio::time::timeout(LINGER, idle).await.is_err();
    }

    /// Meets all that knock at an endpoint until it is closed.
    async fn accept(&self, endpoint: &Endpoint, tunnels: Option<&Arc<Tunnels>>) {
        while let Some(incoming) = endpoint.accept().await {
            self.meet(incoming, tunnels);
        }
    }

    /// Takes or refuses one that knocks. Nothing here waits.
    fn meet(&self, incoming: Incoming, tunnels: Option<&Arc<Tunnels>>) {
        let counters = &self.shared.counters;
        if counters.connections_open.value() >= CONNECTIONS_MAX as u64 {
            counters.handshakes_refused.add_one(HandshakeRefused::Full);
            return incoming.refuse();
        }
        match tunnels {
            Some(tunnels) => self.meet_in_tunnel(incoming, tunnels),
            None => self.meet_over_udp(incoming),
        }
    }

    fn meet_over_udp(&self, incoming: Incoming) {
        let counters = &self.shared.counters;
        if !incoming.remote_address_validated() {
            // A forged address is sent less than came from it; whoever holds it proves it for a round trip.
            counters.addresses_asked.add_one();
            if incoming.retry().is_err() {
                tracing::debug!("an incoming connection cannot be asked to prove its address");
            }
            return;
        }
        let Some(place) = self.shared.doors.knock(incoming.remote_address().ip(), clock::instant())
        else {
            counters.handshakes_refused.add_one(HandshakeRefused::TooMany);
            return incoming.refuse();
        };
        if !counters.handshakes_open.raise_below(HANDSHAKES_MAX as u64) {
            counters.handshakes_refused.add_one(HandshakeRefused::Full);
            return incoming.refuse();
        }
        let (shared, registry) = (Arc::clone(&self.shared), Arc::clone(&self.registry));
        self.shared.tasks.spawn(async move {
            // From before the agent is looked at: no revocation falls in between.
            let revocations = shared.bells.revocations.listen();
            let met = shake_hands(&shared, incoming).await;
            shared.counters.handshakes_open.lower();
            drop(place);
            if let Some(met) = met {
                receive(&shared, &registry, met, revocations, || {}).await;
            }
        });
    }

    /// Meets the one that comes through a tunnel, which has its place among the handshakes until somebody is let in,
    /// and ends with whoever that is.
    fn meet_in_tunnel(&self, incoming: Incoming, tunnels: &Arc<Tunnels>) {
        let from = incoming.remote_address();
        let Some(way) = tunnels.way_of(from) else {
            self.shared.counters.handshakes_refused.add_one(HandshakeRefused::TooMany);
            return incoming.refuse();
        };
        let (shared, registry) = (Arc::clone(&self.shared), Arc::clone(&self.registry));
        self.shared.tasks.spawn(async move {
            let revocations = shared.bells.revocations.listen();
            if let Some(met) = shake_hands(&shared, incoming).await {
                receive(&shared, &registry, met, revocations, || way.let_in()).await;
            }
        });
    }
}

/// Does what a peer has come for. `let_in` is called once it has a place, and then its time is bounded by what it does.
async fn receive(
    shared: &Arc<Shared>,
    registry: &Arc<Registry>,
    met: Met,
    revocations: Listener,
    let_in: impl FnOnce(),
) {
    let visit = |from, reason| {
        let visit = shared.sites.enter(from);
        if visit.is_none() {
            shared.counters.handshakes_refused.add_one(HandshakeRefused::Full);
        }
        visit.ok_or(reason)
    };
    match met {
        Met::Agent(connection, peer) => {
            let_in();
            serve(shared, registry, connection, peer, revocations).await;
        }
        Met::Host(connection, issuer, from, takes_keys) => {
            let _visit = match visit(from, "too many hosts are joining: try again in a minute") {
                Ok(visit) => visit,
                Err(reason) => return close(&connection, Close::Unavailable, reason),
            };
            let_in();
            let _open = shared.counters.joins_open.hold();
            join::serve(shared, &issuer, &connection, (from, takes_keys)).await;
            close(&connection, Close::Goodbye, "goodbye");
        }
        Met::Late(connection, peer) => {
            let from = connection.remote_address().ip();
            let full = "too many agents renew late: try again in a minute";
            // Of a distrusted issuer only who was issued a certificate here comes this far: no stranger takes their
            // places, and a site may have many of them.
            let places = peer.is_distrusted.then(|| Arc::clone(&shared.authorities.places));
            let place = places.map(Semaphore::try_acquire_owned).transpose();
            let visit = match (place, peer.is_distrusted) {
                (Ok(place), true) => Ok((place, None)),
                (Ok(_), false) => visit(from, full).map(|visit| (None, Some(visit))),
                (Err(_none), _) => {
                    shared.counters.handshakes_refused.add_one(HandshakeRefused::Full);
                    Err(full)
                }
            };
            let _visit = match visit {
                Ok(visit) => visit,
                Err(reason) => return close(&connection, Close::Unavailable, reason),
            };
            let_in();
            let _open = shared.counters.joins_open.hold();
            renewal::serve(shared, &connection, &peer).await;
            close(&connection, Close::Goodbye, "goodbye");
        }
    }
}

/// Binds UDP, and TCP if it is wanted; of port 0 both get the same.
fn bind_both(
    udp: SocketAddr,
    tcp: Option<SocketAddr>,
) -> io::Result<(std::net::UdpSocket, Option<TcpListener>)> {
    const ATTEMPTS: usize = 16;
    let mut attempt = 0;
    loop {
        let socket = std::net::UdpSocket::bind(udp)?;
        let Some(mut tcp) = tcp else { return Ok((socket, None)) };
        let is_drawn = tcp.port() == 0;
        if is_drawn {
            tcp.set_port(socket.local_addr()?.port());
        }
        let bound = std::net::TcpListener::bind(tcp).and_then(|listener| {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        });
        attempt += 1;
        match bound {
            Ok(listener) => return Ok((socket, Some(listener))),
            Err(error) if is_drawn && error.kind() == io::ErrorKind::AddrInUse => {
                if attempt == ATTEMPTS {
                    return Err(error);
                }
            }
            Err(error) => {
                let text = format!("[ingest] tcp_listen: bind TCP {tcp}: {error}");
                return Err(io::Error::new(error.kind(), text));
            }
        }
    }
}

/// An agent, as its handshake has proved it.
#[derive(Clone, Debug)]
struct Peer {
    key: AgentKey,
    certificate: Certificate,
    /// The key that it has proved to have.
    holder: SpkiDigest,
    /// Keys of the issuers that its chain shows, the one that issued the certificate first.
    issuers: Vec<SpkiDigest>,
    /// Whether one of them is distrusted: then it is served nothing but a renewal.
    is_distrusted: bool,
}

impl Peer {
    /// Returns what tells its certificate from all others.
    fn proof(&self) -> Proof {
        proof(&self.certificate, self.holder)
    }
}

/// Who is at the other end.
enum Met {
    /// An agent, by its certificate.
    Agent(Connection, Peer),
    /// A host that wants to become one, from which address, and whether it takes the keys of policies.
    Host(Connection, Issuer, IpAddr, bool),
    /// One whose certificate may have ended, and that wants the next.
    Late(Connection, Peer),
}

/// Finishes the handshake and reads who the peer is.
async fn shake_hands(shared: &Shared, incoming: Incoming) -> Option<Met> {
    let from = incoming.remote_address();
    let refused = |reason, error: &dyn std::fmt::Display| {
        shared.counters.handshakes_refused.add_one(reason);
        tracing::warn!(%from, %error, "agent refused");
    };
    let connecting = match incoming.accept() {
        Ok(connecting) => connecting,
        Err(error) => {
            refused(HandshakeRefused::Tls, &error);
            return None;
        }
    };
    // A handshake that a silent peer holds open does not hold up the shutdown.
    let connecting = tokio::time::timeout(HANDSHAKE_TIMEOUT, connecting);
    let connection = match shared.shutdown.run_until_cancelled(connecting).await? {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            let reason = match error {
                ConnectionError::TimedOut => HandshakeRefused::TimedOut,
                _ => HandshakeRefused::Tls,
            };
            refused(reason, &error);
            return None;
        }
        Err(late) => {
            refused(HandshakeRefused::TimedOut, &late);
            return None;
        }
    };
    let purpose = tls::purpose(&connection);
    if let (Purpose::Join { takes_keys }, Some(issuer)) = (purpose, &shared.issuer) {
        return Some(Met::Host(connection, issuer.clone(), from.ip(), takes_keys));
    }
    match peer_of(shared, &connection) {
        Ok(peer) if peer.is_distrusted => reissue(shared, connection, (peer, purpose)).await,
        Ok(peer) => {
            let AgentKey { tenant, agent } = peer.key;
            let until = peer.certificate.not_after;
            if purpose != Purpose::Renew && until < shared.clock.now() {
                let error = format!("the certificate ended {until}: it may be renewed for a while");
                refused(HandshakeRefused::Expired, &format!("{agent} of {tenant}: {error}"));
                close(&connection, Close::Ended, &error);
                return None;
            }
            if let Err(failure) = standing::check(shared, &peer).await {
                let reason = reason_of(&failure);
                refused(reason, &format!("{agent} of {tenant}: {failure}"));
                close(&connection, failure.close(), &failure.to_string());
                if reason == HandshakeRefused::Superseded {
                    standing::note_superseded(shared, &peer, from).await;
                }
                return None;
            }
            if purpose == Purpose::Renew {
                return Some(Met::Late(connection, peer));
            }
            connection.set_receive_window(tls::RECEIVE_WINDOW);
            Some(Met::Agent(connection, peer))
        }
        Err(error) => {
            refused(HandshakeRefused::Identity, &error);
            close(&connection, Close::Unauthorised, &error.to_string());
            None
        }
    }
}

/// Returns under which reason it is counted that an agent is not served.
fn reason_of(failure: &Failure) -> HandshakeRefused {
    match failure {
        Failure::Revoked => HandshakeRefused::Revoked,
        Failure::Superseded => HandshakeRefused::Superseded,
        Failure::Distrusted => HandshakeRefused::DistrustedIssuer,
        _ => HandshakeRefused::Unknown,
    }
}

/// Returns whom the handshake has proved.
fn peer_of(shared: &Shared, connection: &Connection) -> Result<Peer, PeerError> {
    let ((tenant, agent), info) = tls::peer_identity(connection, &shared.trust_domain)?;
    let issuers = tls::peer_issuers(connection)?;
    let is_distrusted = shared.authorities.distrusts(&issuers);
    let (key, holder, certificate) = (AgentKey { tenant, agent }, info.spki, certificate(&info));
    Ok(Peer { key, certificate, holder, issuers, is_distrusted })
}

/// Meets whoever shows a certificate of a distrusted issuer: the agent to which it was issued here is sent to renew it,
/// and is let in for that; anybody else is refused.
async fn reissue(
    shared: &Shared,
    connection: Connection,
    (peer, purpose): (Peer, Purpose),
) -> Option<Met> {
    let (AgentKey { tenant, agent }, from) = (peer.key, connection.remote_address());
    let Err(failure) = standing::check_reissue(shared, &peer).await else {
        if purpose == Purpose::Renew {
            return Some(Met::Late(connection, peer));
        }
        shared.counters.reissues_forced.add_one();
        tracing::info!(%tenant, %agent, %from, "agent is sent to renew: its issuer is distrusted");
        let reason = "whoever issued this certificate is not believed any more: renew it now";
        close(&connection, Close::Ended, reason);
        return None;
    };
    shared.counters.handshakes_refused.add_one(reason_of(&failure));
    tracing::warn!(%tenant, %agent, %from, error = %failure, "agent refused");
    close(&connection, failure.close(), &failure.to_string());
    match failure {
        Failure::Distrusted => standing::note_forged(shared, &peer, from).await,
        Failure::Superseded => standing::note_superseded(shared, &peer, from).await,
        _ => {}
    }
    None
}

fn proof(certificate: &Certificate, holder: SpkiDigest) -> Proof {
    Proof { serial: certificate.serial.clone(), holder }
}

fn certificate(info: &CertificateInfo) -> Certificate {
    let CertificateInfo { serial, not_before, not_after, .. } = info;
    let serial = serial.as_bytes().to_vec();
    Certificate { serial, not_before: *not_before, not_after: *not_after }
}

/// Runs the connection's session, and says how it ended.
async fn serve(
    shared: &Arc<Shared>,
    registry: &Registry,
    connection: Connection,
    peer: Peer,
    mut revocations: Listener,
) {
    let AgentKey { tenant, agent } = peer.key;
    let counters = Arc::clone(&shared.counters);
    counters.connections_accepted.add_one();
    let _open = counters.connections_open.hold();
    let age = shared.connection_age.mul_f64(rand::rng().random_range(0.9..=1.0));
    let from = connection.remote_address();
    let session = session::Session::new(shared, registry, &connection, peer.clone(), age);
    let ending = tokio::select! {
        ending = session.run() => ending,
        failure = standing::lost(shared, &mut revocations, &peer) => {
            Ending::Failed(failure)
        }
    };
    match ending {
        Ending::Goodbye(why) => {
            tracing::debug!(%tenant, %agent, %from, ?why, "session ended");
            // The peer closes once it has our goodbye; it is not waited for long.
            let _late = tokio::time::timeout(LINGER, connection.closed()).await.is_err();
            close(&connection, Close::Goodbye, "goodbye");
        }
        Ending::Gone(error) => {
            tracing::debug!(%tenant, %agent, %from, %error, "connection lost");
        }
        Ending::Failed(failure) => {
            if failure.close() == Close::Revoked || matches!(failure, Failure::Unknown(_)) {
                counters.sessions_revoked.add_one();
            }
            tracing::warn!(%tenant, %agent, %from, error = %failure, "session failed");
            close(&connection, failure.close(), &failure.to_string());
        }
    }
}

/// Closes with a reason that the agent's log shows; QUIC carries a short one only.
fn close(connection: &Connection, code: Close, reason: &str) {
    const REASON_BYTES_MAX: usize = 256;
    let end = reason.floor_char_boundary(REASON_BYTES_MAX);
    connection.close(code.code(), &reason.as_bytes()[..end]);
}

impl Close {
    /// Returns the code as QUIC carries it.
    const fn code(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }
}
