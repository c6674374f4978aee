//! The way to the coordinator: dials, keeps a session going over the connection, and dials again.
//!
//! The session's rules are those of [`shared::session::Sender`]; when to dial again is
//! [`shared::backoff`]'s. Here stands only what touches the network.
//!
//! # States
//! ```text
//! connecting ──▶ connected ──▶ waiting ──▶ connecting ...     the usual life
//!                    ├───────▶ set_back ──▶ connecting ...    an older spool: a person must act
//!                    └───────▶ quarantined ─▶ connecting ...  two hosts with one identity: a person decides which
//! ```
//! All addresses are tried one after the other before a wait, in an order that is the agent's own
//! (`route`), over UDP and, where that is not answered, over TCP (`dial`). From TCP it goes back to
//! UDP as soon as that is answered. A session that the coordinator ends for its age is followed by
//! the next at once. What is final from a configured coordinator is not from one that only a
//! policy names: then the next address is tried.
//!
//! # Limits
//! One connection at a time. It holds at most the session's send window for resending, and receives
//! into 64 KiB a stream: a coordinator has nothing longer to say.

mod ask;
mod dial;
mod join;
mod renewal;
mod route;
mod session;
mod stream;
#[cfg(test)]
pub(crate) mod testing;
mod tunnel;

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use quinn::{
    ConnectError, Connection, ConnectionError, VarInt, crypto::rustls::NoInitialCipherSuite,
};
use rustls::pki_types::CertificateDer;
use shared::{
    backoff::Backoff,
    context::HostContext,
    ids::{BootId, Lane, Seq},
    ledger::Interval,
    limits::{BACKOFF_MAX, BACKOFF_MIN, GREETING_TIMEOUT},
    policy::{PolicyAck, PolicyOffer},
    renewal::RenewRequest,
    session::ProtocolError,
    time::Timestamp,
    wire::{
        CLOSE_ENDED, CLOSE_QUARANTINED, CLOSE_REVOKED, CLOSE_SUPERSEDED, Gap, GapReason,
        GoodbyeReason,
    },
};
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use self::join::{JoinError, join};
use self::{
    ask::{AskError, ask},
    dial::{Dialled, Ways, dial, udp_is_back},
    renewal::Identity,
    route::Routes,
    session::{End, SessionError, is_all_acked},
};
use crate::{
    clock,
    config::{Address, CoordinatorConfig, IdentityConfig},
    held::HeldReader,
    limits::UDP_LASTING,
    spool::{LostReason, ReadBlock, ReadError, SpoolReader},
    status::{LinkState, QUARANTINED_ADVICE, REVOKED_ADVICE, SUPERSEDED_ADVICE, Status},
    tls::{Credentials, PeerError},
};

/// A session that lasted this long did its work: the next failure is the first again, and a
/// coordinator that ends connections for their age is not dialled in a loop.
const SETTLED_AFTER: Duration = Duration::from_secs(5);
/// What a host does whose certificate cannot be renewed any more.
const TOO_LATE: &str =
    "ask your provider for a join token: signalbox-agent join --again TOKEN says the rest";
/// Code with which a coordinator closes the connection of whoever is no agent of its own by the certificate, or has one
/// of a distrusted issuer that it did not issue.
const CLOSE_UNAUTHORISED: u32 = 3;
/// Code with which a coordinator closes a connection that it has no room for now, or cannot serve now: dial again.
const CLOSE_UNAVAILABLE: u32 = 2;
/// How long the last packets may take to leave after a connection was closed.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(250);

/// What the uplink reads.
#[derive(Debug)]
pub struct Inputs {
    /// The blocks.
    pub spool: SpoolReader,
    /// The rings of what is not sent; none where nothing is kept.
    pub held: Vec<HeldReader>,
    /// Changes whenever the spool has synced.
    pub synced: watch::Receiver<()>,
    /// The ledger's oldest intervals, as they are stored.
    pub ledger: watch::Receiver<Arc<Vec<Interval>>>,
    /// Where it is said up to which interval the coordinator has them.
    pub ledger_acked: watch::Sender<u64>,
    /// The host as it is now.
    pub context: watch::Receiver<Arc<HostContext>>,
    /// Where a policy is put that the coordinator offers.
    pub policy_offer: watch::Sender<Option<PolicyOffer>>,
    /// What the coordinator is told of policies.
    pub policy_word: watch::Receiver<PolicyWord>,
    /// Where the link's state is shown.
    pub status: Arc<Status>,
}

/// What is said of policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyWord {
    /// How it stands with the one that the agent has: said first in each session, and when it changes.
    pub standing: PolicyAck,
    /// What the last offer was answered.
    pub answer: Option<PolicyAck>,
    /// Where the policy in force says that coordinators are, as `host:port`.
    pub coordinators: Vec<String>,
}

impl Default for PolicyWord {
    /// There is no policy.
    fn default() -> Self {
        Self { standing: PolicyAck::nothing(), answer: None, coordinators: Vec::new() }
    }
}

/// The two steps of stopping.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// No more blocks will be made: end once everything is acked.
    pub drain: CancellationToken,
    /// End now.
    pub abort: CancellationToken,
}

/// How the uplink ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything in the spool is acked.
    Drained,
    /// It was told to end before that; the spool keeps what is not acked.
    Aborted,
}

/// Why the uplink cannot even start.
#[derive(Debug, Error)]
pub enum StartError {
    /// TLS has no cipher for QUIC's first packets.
    #[error("TLS settings do not fit QUIC: {0}")]
    Cipher(#[from] NoInitialCipherSuite),
}

/// Why there is no connection.
#[derive(Debug, Error)]
enum LinkError {
    #[error("name cannot be resolved: {0}")]
    Resolve(io::Error),
    #[error("name has no address")]
    NoAddress,
    #[error("no socket: {0}")]
    Socket(io::Error),
    #[error("no connection: {0}")]
    Tcp(io::Error),
    #[error("over UDP: {udp}; over TCP: {tcp}")]
    BothWays { udp: String, tcp: String },
    #[error("address cannot be dialled: {0}")]
    Dial(#[from] ConnectError),
    #[error("no answer: {0}")]
    Handshake(ConnectionError),
    #[error("no answer within {GREETING_TIMEOUT:?}")]
    HandshakeTimeout,
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error("certificate ended {until}, and was not renewed: {error}")]
    Renewal { until: Timestamp, error: String },
}

/// The driver of the way to the coordinator.
#[derive(Debug)]
pub struct Uplink {
    routes: Routes,
    server_name: String,
    identity: Identity,
    ways: Ways,
    /// A connection over UDP that was made while there was one over TCP.
    ready: Option<(Address, Dialled)>,
    inputs: Inputs,
    boot: BootId,
    backoff: Backoff,
    /// Whether the certificate has ended by the coordinator's clock.
    is_ended: bool,
    last_error: Option<String>,
}

impl Inputs {
    /// Reads a block, or says as a gap that it will never come.
    fn read(&self, lane: Lane, seq: Seq) -> Result<Result<Bytes, Gap>, ReadError> {
        match self.spool.read(lane, seq) {
            Ok(ReadBlock::Block(block)) => Ok(Ok(block)),
            Ok(ReadBlock::Lost { last, reason, .. }) => {
                let reason = match reason {
                    LostReason::Damaged => GapReason::Damaged,
                    LostReason::Missing => GapReason::Missing,
                    LostReason::Skipped => GapReason::Skipped,
                };
                Ok(Err(Gap { first: seq, last, reason }))
            }
            // The coordinator asks for what it has acked before: it was set back, and the spool has
            // let go of it.
            Err(ReadError::Acked { .. }) => {
                let first = self.spool.heads()[lane.index()].first;
                let last = Seq::new(first.as_u64() - 1).filter(|last| *last >= seq);
                Ok(Err(Gap { first: seq, last: last.unwrap_or(seq), reason: GapReason::Missing }))
            }
            Err(error @ (ReadError::NotDurable { .. } | ReadError::Io { .. })) => Err(error),
        }
    }
}

impl Uplink {
    /// Returns an uplink that is not connected yet.
    ///
    /// # Errors
    /// [`StartError`], if the TLS settings do not fit QUIC.
    pub fn new(
        coordinator: CoordinatorConfig,
        (files, credentials): (IdentityConfig, Credentials),
        inputs: Inputs,
        boot: BootId,
    ) -> Result<Self, StartError> {
        let ways = Ways::new(Arc::clone(&credentials.client))?;
        let routes = Routes::new(credentials.agent, &coordinator.addresses);
        let identity = Identity::new(files, credentials, rand::random());
        let backoff = Backoff::new(BACKOFF_MIN, BACKOFF_MAX);
        Ok(Self {
            routes,
            server_name: coordinator.server_name,
            identity,
            ways,
            ready: None,
            inputs,
            boot,
            backoff,
            is_ended: false,
            last_error: None,
        })
    }

    /// Runs until it is told to stop.
    pub async fn run(mut self, stop: Stop) -> Ending {
        loop {
            self.routes.take_policy(&self.inputs.policy_word.borrow().coordinators);
            let ready = self.ready.as_ref().map(|(address, _)| address.clone());
            for address in ready.into_iter().chain(self.routes.round(clock::now())) {
                if stop.abort.is_cancelled() {
                    return Ending::Aborted;
                }
                if stop.drain.is_cancelled() && is_all_acked(&self.inputs.spool) {
                    return Ending::Drained;
                }
                let linked = self.link(&address, &stop).await;
                let failed_at = linked.is_err().then(clock::now);
                self.routes.note(&address, failed_at);
                match linked {
                    // Whoever a policy sends the agent to has no last word: only a configured coordinator has.
                    Ok(None) if self.is_led_astray(&address) => {}
                    Ok(Some(ending)) => return ending,
                    Ok(None) => break,
                    Err(()) => {}
                }
            }
            if !self.wait(&stop).await {
                return Ending::Aborted;
            }
        }
    }

    /// Returns whether the link to an address ended for good, or for another process, and only a policy names the
    /// address: then the next one is tried. Says so in the link's state, which would else be final.
    fn is_led_astray(&self, address: &Address) -> bool {
        if self.routes.is_own(address) {
            return false;
        }
        let status = &self.inputs.status;
        let state = status.link_state();
        if is_final(state) {
            status.set_link(LinkState::Waiting, Some(&address.to_string()));
        }
        is_final(state) || state == LinkState::Waiting
    }

    /// Waits before the next dial, unless the last session did its work; returns whether to go on.
    async fn wait(&mut self, stop: &Stop) -> bool {
        let state = self.inputs.status.link_state();
        if state == LinkState::Connecting {
            return true; // a session was ended for its age
        }
        let wait = if is_final(state) {
            BACKOFF_MAX // only a person can change it
        } else {
            self.backoff.next_wait(rand::random())
        };
        self.inputs.status.set_retry_at(clock::wall().saturating_add(wait));
        tracing::debug!(wait_ms = wait.as_millis(), "waiting before the next dial");
        let was_draining = stop.drain.is_cancelled();
        tokio::select! {
            biased;
            () = stop.abort.cancelled() => false,
            () = stop.drain.cancelled(), if !was_draining => true,
            () = tokio::time::sleep(wait) => true,
        }
    }

    /// Dials one address and runs a session over it. Returns how the uplink ended, if it did; an
    /// error if the next address is to be tried.
    async fn link(&mut self, address: &Address, stop: &Stop) -> Result<Option<Ending>, ()> {
        let shown = address.to_string();
        self.inputs.status.set_link(LinkState::Connecting, Some(&shown));
        let dialled = tokio::select! {
            biased;
            () = stop.abort.cancelled() => return Ok(Some(Ending::Aborted)),
            dialled = self.dial(address) => dialled,
        };
        let dialled = match dialled {
            Ok(dialled) => dialled,
            Err(error) => return self.not_dialled(&shown, error),
        };
        let since = clock::now();
        let mut welcomed = false;
        let end = self.carry(&dialled, stop, address, &mut welcomed).await;
        let connection = &dialled.connection;
        // Whatever the session ran into, the coordinator's own reason says more; it is forgotten once we close, too.
        let lost = connection.close_reason();
        self.is_ended |= lost.as_ref().and_then(close_code) == Some(CLOSE_ENDED);
        let is_too_late = lost.as_ref().is_some_and(|lost| self.is_too_late(lost));
        if dialled.tunnel.is_none() {
            let is_silent = matches!(lost, Some(ConnectionError::TimedOut))
                || matches!(end, Err(SessionError::Protocol(ProtocolError::Timeout(_))));
            self.note_udp(address, is_silent, clock::now().duration_since(since));
        }
        let refused = lost.as_ref().and_then(refusal);
        session::close(connection, &end);
        if dialled.tunnel.is_some() {
            dialled.flush().await;
        }
        if lost.is_some_and(|lost| refuses_certificate(&lost) && self.goes_back(&shown, &lost)) {
            return Ok(None);
        }
        if let Some(state) = refused {
            self.note_final(&shown, state);
            return Ok(None);
        }
        if is_too_late {
            self.failed(&shown, &self.too_late());
            return Err(());
        }
        let settled = welcomed && clock::now().duration_since(since) >= SETTLED_AFTER;
        if settled {
            self.backoff.reset();
        }
        let outcome = self.judge(&shown, end, settled);
        if matches!(outcome, Ok(Some(_))) {
            dialled.flush().await;
        }
        outcome
    }

    /// Says what it means for the link that there is no connection.
    fn not_dialled(&mut self, address: &str, error: LinkError) -> Result<Option<Ending>, ()> {
        let LinkError::Handshake(lost) = &error else {
            self.failed(address, &error);
            return Err(());
        };
        let code = close_code(lost);
        self.is_ended |= code == Some(CLOSE_ENDED);
        // Before the handshake is done, anybody on the way can send an alert; a code cannot come before.
        if code.is_some() && refuses_certificate(lost) && self.goes_back(address, lost) {
            return Ok(None);
        }
        if let Some(state) = refusal(lost) {
            self.note_final(address, state);
            return Ok(None);
        }
        let error = if self.is_too_late(lost) { self.too_late() } else { error };
        self.failed(address, &error);
        Err(())
    }

    /// Runs a session over what was dialled. Over TCP it ends as soon as UDP is answered.
    async fn carry(
        &mut self,
        dialled: &Dialled,
        stop: &Stop,
        address: &Address,
        welcomed: &mut bool,
    ) -> Result<End, SessionError> {
        let shown = address.to_string();
        let (ways, name) = (self.ways.clone(), self.server_name.clone());
        let mut udp = self.routes.udp(address);
        let back = async {
            match dialled.tunnel {
                Some(_) => {
                    let next_wait = || udp.waits.next_wait(rand::random());
                    udp_is_back(address, &name, &ways, next_wait).await
                }
                None => std::future::pending().await,
            }
        };
        let end = tokio::select! {
            biased;
            end = self.session(&dialled.connection, stop, &shown, welcomed) => end,
            () = dialled.lost() => Err(SessionError::TcpLost),
            udp = back => {
                self.ready = Some((address.clone(), udp));
                Ok(End::Moved)
            }
        };
        self.routes.set_udp(address, udp);
        end
    }

    /// Notes how a session over UDP went, for the next dial.
    fn note_udp(&mut self, address: &Address, is_silent: bool, lasted: Duration) {
        let mut udp = self.routes.udp(address);
        if lasted >= UDP_LASTING {
            udp.note_lasting();
        } else if is_silent {
            udp.note_silence();
        }
        self.routes.set_udp(address, udp);
    }

    async fn session(
        &mut self,
        connection: &Connection,
        stop: &Stop,
        address: &str,
        welcomed: &mut bool,
    ) -> Result<End, SessionError> {
        self.identity.meet(&self.server_name, chain_of(connection));
        // It may have been dialled before whom to believe was said otherwise.
        if !self.identity.believes_peer(clock::wall()) {
            return Ok(End::Disbelieved);
        }
        let identity = (&mut self.identity, &mut *welcomed);
        let run = session::run(connection, &mut self.inputs, self.boot, stop, identity);
        let span = tracing::debug_span!("session", address);
        let end = tracing::Instrument::instrument(run, span).await;
        if *welcomed {
            self.last_error = None;
        }
        end
    }

    /// Says what a session's end means for the link.
    fn judge(
        &mut self,
        address: &str,
        end: Result<End, SessionError>,
        settled: bool,
    ) -> Result<Option<Ending>, ()> {
        match end {
            Ok(End::Drained) => {
                tracing::info!(address, "everything is acked, said goodbye");
                Ok(Some(Ending::Drained))
            }
            Ok(End::Aborted) => Ok(Some(Ending::Aborted)),
            Ok(End::Moved) => {
                tracing::info!(address, "UDP is answered again, leaving TCP");
                self.inputs.status.set_link(LinkState::Connecting, Some(address));
                Ok(None)
            }
            Ok(End::Renewed) => {
                self.take_up(address);
                Ok(None)
            }
            Ok(End::Disbelieved) => {
                let text = "the trust bundle that came says not to believe this coordinator";
                self.note_failure(LinkState::Waiting, address, text.to_owned());
                Err(())
            }
            Ok(End::Goodbye(GoodbyeReason::Resolved)) => {
                tracing::info!(address, "it is decided whose this identity is, dialling again");
                self.inputs.status.set_link(LinkState::Connecting, Some(address));
                Ok(None)
            }
            Ok(End::Goodbye(GoodbyeReason::MaxAge)) if settled => {
                tracing::info!(address, "connection has reached its greatest age, dialling again");
                self.inputs.status.set_link(LinkState::Connecting, Some(address));
                Ok(None)
            }
            Ok(End::Goodbye(reason)) => {
                let text = match reason {
                    GoodbyeReason::Shutdown => "coordinator is shutting down",
                    GoodbyeReason::MaxAge | GoodbyeReason::Resolved => {
                        "coordinator ended a connection that had just begun"
                    }
                    GoodbyeReason::Replaced => {
                        "another process connected with this agent's certificate: if that is not \
                         this agent after a restart, two hosts share one identity"
                    }
                };
                self.note_failure(LinkState::Waiting, address, text.to_owned());
                if reason == GoodbyeReason::Shutdown { Err(()) } else { Ok(None) }
            }
            Err(SessionError::Protocol(error @ ProtocolError::SpoolSetBack { .. })) => {
                let text = format!(
                    "{error}; stop the agent, move the folder {} aside and start again: the agent \
                     makes a new one",
                    self.inputs.status.spool_dir().display()
                );
                self.note_failure(LinkState::SetBack, address, text);
                Ok(None)
            }
            Err(error) => {
                self.failed(address, &error.into());
                Err(())
            }
        }
    }

    /// Dials with the next certificate from here on.
    fn take_up(&mut self, address: &str) {
        self.dial_anew(address);
        let until = self.identity.credentials().not_after;
        tracing::info!(%until, "certificate is renewed, dialling with it");
    }

    /// Dials with the certificate before from here on, if this one was not welcomed yet; returns whether it does.
    fn goes_back(&mut self, address: &str, lost: &ConnectionError) -> bool {
        if !self.identity.go_back(rand::random()) {
            return false;
        }
        self.dial_anew(address);
        tracing::warn!(
            address, error = %lost,
            "the certificate that had come is refused: going back to the one before"
        );
        self.inputs.status.set_renewal_error(format!(
            "{address} refused the certificate that had come, and the agent went back to the one \
             before: {lost}"
        ));
        true
    }

    /// Dials with the certificate that the agent has now from here on.
    fn dial_anew(&mut self, address: &str) {
        self.is_ended = false;
        let credentials = self.identity.credentials();
        let (from, until) = (credentials.not_before, credentials.not_after);
        match Ways::new(Arc::clone(&credentials.client)) {
            Ok(ways) => self.ways = ways,
            // It is dialled with the one before, until that is refused or the agent starts anew.
            Err(error) => tracing::error!(%error, "the next certificate cannot be used"),
        }
        self.inputs.status.set_certificate(from, until);
        self.inputs.status.set_link(LinkState::Connecting, Some(address));
    }

    fn note_final(&mut self, address: &str, state: LinkState) {
        let text = match state {
            LinkState::Quarantined => format!(
                "another host uses this agent's identity, the spool keeps all; {QUARANTINED_ADVICE}"
            ),
            LinkState::Superseded => format!(
                "coordinator knows a later certificate of this agent, the spool keeps all; \
                 {SUPERSEDED_ADVICE}"
            ),
            _ => {
                format!("coordinator has revoked this agent, the spool keeps all; {REVOKED_ADVICE}")
            }
        };
        self.note_failure(state, address, text);
    }

    fn failed(&mut self, address: &str, error: &LinkError) {
        self.note_failure(LinkState::Waiting, address, error.to_string());
    }

    /// Notes a failure; one that goes on is logged once.
    fn note_failure(&mut self, state: LinkState, address: &str, error: String) {
        self.inputs.status.set_link(state, Some(address));
        self.inputs.status.set_link_error(&format!("{address}: {error}"));
        let shown = format!("{address}: {error}");
        if self.last_error.as_ref() == Some(&shown) {
            tracing::debug!(address, error, "link still fails");
        } else if state == LinkState::SetBack {
            tracing::error!(address, error, "coordinator refuses this spool");
        } else if matches!(
            state,
            LinkState::Revoked | LinkState::Superseded | LinkState::Quarantined
        ) {
            tracing::error!(address, error, "coordinator refuses this agent");
        } else {
            tracing::warn!(address, error, "no link to the coordinator, the spool keeps all");
        }
        self.last_error = Some(shown);
    }

    async fn dial(&mut self, address: &Address) -> Result<Dialled, LinkError> {
        if let Some((_, dialled)) = self.ready.take_if(|(of, _)| of == address) {
            return self.known(dialled);
        }
        let until = self.identity.credentials().not_after;
        let now = clock::wall();
        // What was just asked for is not asked for again at each dial.
        if (until <= now || self.is_ended) && self.identity.may_ask(now) {
            let renewed = self.renew_late(address).await;
            if let Err(error) = &renewed {
                self.inputs.status.set_renewal_error(error.to_string());
            }
            renewed.map_err(|error| match error {
                // Whoever was revoked or has lost its place is told so as ever.
                AskError::Connection(lost) if refusal(&lost).is_some() => {
                    LinkError::Handshake(lost)
                }
                AskError::Connection(lost) | AskError::Link(LinkError::Handshake(lost))
                    if is_expired(&lost) =>
                {
                    self.too_late()
                }
                error => LinkError::Renewal { until, error: error.to_string() },
            })?;
        }
        let is_udp_doubted = self.routes.udp(address).is_doubted();
        let dialled = dial(address, &self.server_name, &self.ways, is_udp_doubted).await?;
        self.known(dialled)
    }

    /// Takes a connection if its peer is a coordinator.
    fn known(&self, dialled: Dialled) -> Result<Dialled, LinkError> {
        let Dialled { connection, udp_error, .. } = &dialled;
        match self.identity.credentials().coordinator_of(&chain_of(connection)) {
            Ok(coordinator) => {
                let remote = connection.remote_address();
                match udp_error {
                    None => tracing::info!(%remote, coordinator, "connected"),
                    Some(why) => tracing::warn!(
                        %remote, coordinator, why,
                        "connected over TCP, for UDP failed: a firewall may drop UDP to that port"
                    ),
                }
                let status = &self.inputs.status;
                status.set_connected(&remote.to_string(), &coordinator, udp_error.as_deref());
                Ok(dialled)
            }
            Err(error) => {
                connection.close(VarInt::from_u32(3), b"not a coordinator");
                Err(error.into())
            }
        }
    }
}

impl Uplink {
    /// Returns whether the coordinator refused a certificate that has ended, and by its clock too long ago.
    fn is_too_late(&self, lost: &ConnectionError) -> bool {
        is_expired(lost) && self.identity.credentials().not_after <= clock::wall()
    }

    fn too_late(&self) -> LinkError {
        let error = format!("the coordinator does not take it any more; {TOO_LATE}");
        LinkError::Renewal { until: self.identity.credentials().not_after, error }
    }

    /// Has a certificate renewed that has ended, over a connection that is good for nothing else.
    async fn renew_late(&mut self, address: &Address) -> Result<(), AskError> {
        let malformed = |error: &dyn std::fmt::Display| AskError::Malformed(error.to_string());
        let ways = Ways::new(self.identity.credentials().renewing());
        let ways = ways.map_err(|error| malformed(&error))?;
        let is_udp_doubted = self.routes.udp(address).is_doubted();
        let dialled = dial(address, &self.server_name, &ways, is_udp_doubted).await?;
        let connection = &dialled.connection;
        let peer = self.identity.credentials().coordinator_of(&chain_of(connection));
        peer.map_err(LinkError::Peer)?;
        let signing_request = self.identity.begin(clock::wall());
        let signing_request = signing_request.map_err(|error| malformed(&error))?;
        let reply = ask(connection, &RenewRequest { signing_request }).await;
        dialled.flush().await;
        if let Err(AskError::Connection(lost)) = &reply
            && close_code(lost) == Some(CLOSE_UNAVAILABLE)
        {
            self.identity.turned_away();
        }
        let taken = self.identity.take(reply?, rand::random(), clock::wall());
        taken.map_err(|error| malformed(&error))?;
        self.take_up(&address.to_string());
        Ok(())
    }
}

/// Returns whether only a person can change how the link stands.
fn is_final(state: LinkState) -> bool {
    match state {
        LinkState::SetBack
        | LinkState::Revoked
        | LinkState::Superseded
        | LinkState::Quarantined => true,
        LinkState::Connecting | LinkState::Connected | LinkState::Waiting | LinkState::Stopped => {
            false
        }
    }
}

/// Returns how the agent stands, if the coordinator ended a connection because it takes nothing from it any more.
fn refusal(lost: &ConnectionError) -> Option<LinkState> {
    match close_code(lost)? {
        CLOSE_REVOKED => Some(LinkState::Revoked),
        CLOSE_SUPERSEDED => Some(LinkState::Superseded),
        CLOSE_QUARANTINED => Some(LinkState::Quarantined),
        _ => None,
    }
}

/// Returns whether the coordinator refused the agent's certificate, and another of the agent's may do.
fn refuses_certificate(lost: &ConnectionError) -> bool {
    /// Bit of a QUIC code that carries an alert of TLS (RFC 9001, section 4.8).
    const ALERT: u64 = 0x100;
    /// `bad_certificate`, `unsupported_certificate`, `certificate_revoked`, `certificate_expired`,
    /// `certificate_unknown`, `unknown_ca`, `access_denied` and `decrypt_error` (RFC 8446, section 6): the last where a
    /// signature is not of the key of the issuer's name.
    const ALERTS: [u64; 8] = [42, 43, 44, 45, 46, 48, 49, 51];
    match lost {
        ConnectionError::ConnectionClosed(close) => {
            let code = u64::from(close.error_code);
            ALERTS.iter().any(|alert| ALERT + alert == code)
        }
        lost => matches!(close_code(lost), Some(CLOSE_UNAUTHORISED | CLOSE_SUPERSEDED)),
    }
}

/// Returns the code with which the coordinator closed a connection, if it did.
fn close_code(lost: &ConnectionError) -> Option<u32> {
    let ConnectionError::ApplicationClosed(closed) = lost else { return None };
    u32::try_from(closed.error_code.into_inner()).ok()
}

/// Returns whether the coordinator's TLS refused a certificate for its age.
fn is_expired(lost: &ConnectionError) -> bool {
    /// `certificate_expired` (RFC 8446, section 6), as QUIC carries it (RFC 9001, section 4.8).
    const EXPIRED: u64 = 0x100 + 45;
    let ConnectionError::ConnectionClosed(close) = lost else { return false };
    u64::from(close.error_code) == EXPIRED
}

/// Returns the peer's verified chain, the leaf first.
fn chain_of(connection: &Connection) -> Vec<CertificateDer<'static>> {
    let chain = connection.peer_identity();
    let chain = chain.and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
    chain.map_or_else(Vec::new, |chain| *chain)
}
