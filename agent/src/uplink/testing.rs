//! A coordinator in one process with the agent, for tests: real QUIC and TLS, a list in place of a
//! store.
#![expect(clippy::disallowed_methods, reason = "a test has no task set of its own")]

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use certs::{AGENT_VALIDITY, Authority, Leaf, SigningRequest, certificates_of_pem};
use quinn::{
    Connection, Endpoint, SendStream, ServerConfig,
    crypto::rustls::{HandshakeData, QuicServerConfig},
};
use rustls::{
    RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use shared::{
    alert::{Field, Handling},
    block::Block,
    context::{ContextVersion, HostContext},
    ids::{AgentId, Lane, Seq, TenantId},
    join::encode_frame,
    ledger::Interval,
    limits::FRAME_BYTES_MAX,
    policy::{PolicyAck, PolicyOffer},
    recall::{Recall, RecallEnd},
    renewal::{ALPN_RENEW, RenewRefusal, RenewReply, RenewRequest},
    session::{Receiver, ReceiverConfig, ReceiverEvent, Stream},
    trust::{TrustAck, TrustOffer},
    wire::{
        ALPN, CLOSE_ENDED, CLOSE_REVOKED, Frame, GoodbyeReason, LEN_BYTES, SetBack, checked_len,
        codec,
    },
};
use tokio::sync::mpsc;

use crate::clock;

/// What the coordinator has.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    /// The newest block of each lane; a test may set it.
    pub(crate) committed: [Option<Seq>; Lane::COUNT],
    /// Every record of every block, by lane.
    pub(crate) records: [Vec<String>; Lane::COUNT],
    /// Every interval of the ledger.
    pub(crate) ledger: Vec<Interval>,
    /// How each alert came to be sent, how many it stands for, and by which rule of the policy.
    pub(crate) handled: Vec<(Handling, u64, Option<String>)>,
    /// The newest context.
    pub(crate) context: Option<HostContext>,
    /// Whether agents' certificates have ended by the coordinator's clock, until one is renewed.
    pub(crate) is_ended: bool,
    /// How many late renewals are turned away before one is looked at: there is no room for them.
    pub(crate) turned_away: usize,
    /// Whether another host has the agents' identity: until the first heartbeat of one in quarantine.
    pub(crate) is_contested: bool,
    /// The checksum of each lane's newest block, where a test sets it, and what came of it.
    pub(crate) checks: [Option<u32>; Lane::COUNT],
    pub(crate) set_backs: Vec<SetBack>,
    /// Whether agents are to renew as soon as they have greeted.
    pub(crate) is_renewal_wanted: bool,
    /// The code that a connection is closed with whose certificate was renewed here, or any with `is_refusing_all`.
    pub(crate) refused_with: Option<u32>,
    pub(crate) is_refusing_all: bool,
    /// The certificates that were renewed here.
    pub(crate) renewed: Vec<Vec<u8>>,
    /// Whether agents are refused as revoked.
    pub(crate) is_revoking: bool,
    /// What certifies the next keys of agents, and whose agent that is; without it they are refused.
    pub(crate) issuer: Option<(Arc<Authority>, TenantId, AgentId)>,
    /// How many sessions there were.
    pub(crate) sessions: usize,
    /// How many goodbyes were said.
    pub(crate) goodbyes: usize,
    /// What agents are asked for as soon as they have greeted; a test sets it.
    pub(crate) recall: Option<Recall>,
    /// The records that came, and what was said at the end of each answer.
    pub(crate) recalled: Vec<String>,
    pub(crate) recall_ends: Vec<RecallEnd>,
    /// Policies that are offered one after the other, and what agents said of policies.
    pub(crate) policies: VecDeque<PolicyOffer>,
    pub(crate) policy_acks: Vec<PolicyAck>,
    /// Trust bundles that the agent is offered, one in each session.
    pub(crate) bundles: VecDeque<TrustOffer>,
    pub(crate) trust_acks: Vec<TrustAck>,
}

impl Stored {
    fn has_no_room(&mut self) -> bool {
        let has_none = self.turned_away > 0;
        self.turned_away = self.turned_away.saturating_sub(1);
        has_none
    }

    /// Returns with which code a connection is closed, if it is for its certificate.
    fn refuses(&self, connection: &Connection) -> Option<u32> {
        let code = self.refused_with.filter(|_| !self.renewed.is_empty())?;
        let chain = connection.peer_identity().unwrap();
        let chain = chain.downcast::<Vec<CertificateDer<'static>>>().unwrap();
        let is_renewed = self.renewed.iter().any(|leaf| leaf.as_slice() == &*chain[0]);
        (is_renewed || self.is_refusing_all).then_some(code)
    }

    fn renew(&mut self, request: &[u8]) -> RenewReply {
        let Some((authority, tenant, agent)) = &self.issuer else {
            return RenewReply::Refused(RenewRefusal::Unavailable);
        };
        let request = SigningRequest::from_der(request).unwrap();
        let now = clock::wall();
        let chain = authority.sign_agent(*tenant, *agent, now, AGENT_VALIDITY, &request).unwrap();
        let chain = certificates_of_pem(&chain.pem).unwrap();
        self.renewed.push(chain[0].clone());
        RenewReply::Renewed(chain)
    }
}

/// A running coordinator; dropping it does not end it, closing does.
pub(crate) struct Coordinator {
    pub(crate) address: SocketAddr,
    endpoint: Endpoint,
}

impl Coordinator {
    pub(crate) fn start(authority: &Authority, leaf: &Leaf, stored: Arc<Mutex<Stored>>) -> Self {
        let any = (Ipv4Addr::LOCALHOST, 0).into();
        Self::try_start(authority, leaf, stored, any).unwrap()
    }

    /// Starts at `address`; nothing if it is in use.
    pub(crate) fn try_start(
        authority: &Authority,
        leaf: &Leaf,
        stored: Arc<Mutex<Stored>>,
        address: SocketAddr,
    ) -> Option<Self> {
        let endpoint = Endpoint::server(server_config(authority, leaf), address).ok()?;
        let address = endpoint.local_addr().unwrap();
        let (accepting, store) = (endpoint.clone(), stored);
        tokio::spawn(async move {
            while let Some(incoming) = accepting.accept().await {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    if let Ok(connection) = incoming.await {
                        if store.lock().unwrap().is_revoking {
                            return connection.close(CLOSE_REVOKED.into(), b"revoked");
                        }
                        let code = store.lock().unwrap().refuses(&connection);
                        if let Some(code) = code {
                            return connection.close(code.into(), b"not this one");
                        }
                        if protocol_of(&connection) == ALPN_RENEW {
                            if store.lock().unwrap().has_no_room() {
                                return connection.close(2_u32.into(), b"try again in a minute");
                            }
                            return renew_late(&connection, &store).await;
                        }
                        if store.lock().unwrap().is_ended {
                            return connection.close(CLOSE_ENDED.into(), b"ended");
                        }
                        serve(connection, &store).await;
                    }
                });
            }
        });
        Some(Self { address, endpoint })
    }

    pub(crate) fn close(&self) {
        self.endpoint.close(0_u32.into(), b"closed by the test");
    }
}

fn server_config(authority: &Authority, leaf: &Leaf) -> ServerConfig {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.root_pem().as_bytes()).unwrap();
    roots.add(root).unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let chain = CertificateDer::pem_slice_iter(leaf.chain_pem.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes()).unwrap();
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(chain.collect::<Result<_, _>>().unwrap(), key)
        .unwrap();
    tls.alpn_protocols = vec![ALPN.to_vec(), ALPN_RENEW.to_vec()];
    ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()))
}

fn protocol_of(connection: &Connection) -> Vec<u8> {
    let data = connection.handshake_data().unwrap().downcast::<HandshakeData>().unwrap();
    data.protocol.unwrap()
}

/// Renews over the protocol of renewals.
async fn renew_late(connection: &Connection, stored: &Mutex<Stored>) {
    let (mut send, mut recv) = connection.accept_bi().await.unwrap();
    let bytes = recv.read_to_end(FRAME_BYTES_MAX).await.unwrap();
    let request: RenewRequest = codec::decode(&bytes[LEN_BYTES..]).unwrap();
    let reply = {
        let mut stored = stored.lock().unwrap();
        stored.is_ended = false;
        stored.renew(&request.signing_request)
    };
    send.write_all(&encode_frame(&reply).unwrap()).await.unwrap();
    send.finish().unwrap();
    connection.closed().await;
}

async fn serve(connection: Connection, stored: &Mutex<Stored>) {
    let (frames, mut inbox) = mpsc::channel(8);
    let (accepting, answers) = (connection.clone(), frames.clone());
    tokio::spawn(async move {
        while let Ok((send, recv)) = accepting.accept_bi().await {
            tokio::spawn(read(Some(send), recv, Stream::Control, frames.clone()));
        }
    });
    let accepting = connection.clone();
    tokio::spawn(async move {
        while let Ok(recv) = accepting.accept_uni().await {
            tokio::spawn(read(None, recv, Stream::Recall, answers.clone()));
        }
    });
    let mut receiver = Receiver::new(ReceiverConfig::default(), clock::now());
    let mut sends: Vec<(Stream, SendStream)> = Vec::new();
    while let Some((stream, frame, send)) = inbox.recv().await {
        sends.extend(send.map(|send| (stream, send)));
        receiver.handle_frame(stream, frame, clock::now()).unwrap();
        while let Some(event) = receiver.poll_event() {
            take(&mut receiver, event, stored);
        }
        while let Some(transmit) = receiver.poll_transmit() {
            let of = |(stream, _): &&mut (Stream, SendStream)| *stream == transmit.stream;
            let (_, send) = sends.iter_mut().find(of).unwrap();
            if send.write_all(&transmit.frame.encode().head).await.is_err() {
                return;
            }
        }
    }
}

fn take(receiver: &mut Receiver, event: ReceiverEvent, stored: &Mutex<Stored>) {
    let mut stored = stored.lock().unwrap();
    match event {
        ReceiverEvent::Greeted(_) if stored.is_contested => {
            assert!(receiver.handle_quarantine(clock::wall()));
        }
        ReceiverEvent::Heartbeat(_) if stored.is_contested => {
            assert!(stored.context.is_some() && stored.sessions == 0);
            stored.is_contested = false;
            receiver.handle_close(GoodbyeReason::Resolved);
        }
        ReceiverEvent::Greeted(_) => {
            stored.sessions += 1;
            receiver.handle_cursors(stored.committed, stored.checks, ContextVersion::default());
            receiver.handle_ledger_committed(stored.ledger.len() as u64);
            if std::mem::take(&mut stored.is_renewal_wanted) {
                receiver.handle_renew_now();
            }
            if let Some(recall) = stored.recall.clone() {
                receiver.handle_recall(recall);
            }
        }
        ReceiverEvent::Block { lane, seq, block } => {
            let block = Block::parse(block).unwrap();
            let (records, fields) = (block.records().unwrap(), block.decompress_fields().unwrap());
            let alerts = fields.decode().unwrap();
            stored.handled.extend((0..alerts.len()).map(|position| {
                let rule = alerts.text(position, Field::PolicyRule).map(str::to_owned);
                (alerts.handling(position), alerts.count(position), rule)
            }));
            let texts = records.iter().map(|record| String::from_utf8_lossy(record).into_owned());
            stored.records[lane.index()].extend(texts);
            stored.committed[lane.index()] = Some(seq);
            receiver.handle_committed(lane, seq);
        }
        ReceiverEvent::Gap { lane, gap } => {
            stored.committed[lane.index()] = Some(gap.last);
            receiver.handle_committed(lane, gap.last);
        }
        ReceiverEvent::Context(context) => stored.context = Some(*context),
        ReceiverEvent::Ledger(intervals) => {
            let known = stored.ledger.len() as u64;
            stored.ledger.extend(intervals.into_iter().filter(|it| it.number > known));
            receiver.handle_ledger_committed(stored.ledger.len() as u64);
        }
        ReceiverEvent::Heartbeat(_) | ReceiverEvent::RecallOpened(_) | ReceiverEvent::Alive => {}
        ReceiverEvent::SetBack(set_back) => stored.set_backs.push(set_back),
        ReceiverEvent::RecallBlock { block, .. } => {
            let records = Block::parse(block).unwrap().records().unwrap();
            let texts = records.iter().map(|record| String::from_utf8_lossy(record).into_owned());
            stored.recalled.extend(texts);
        }
        ReceiverEvent::RecallEnded(end) => stored.recall_ends.push(end),
        ReceiverEvent::Renew(request) => receiver.handle_renewed(stored.renew(&request)),
        ReceiverEvent::PolicyAck(ack) => {
            stored.policy_acks.push(ack);
            let offer = receiver.can_offer_policy().then(|| stored.policies.pop_front());
            offer.flatten().into_iter().for_each(|offer| receiver.handle_policy(offer));
        }
        ReceiverEvent::TrustAck(ack) => {
            stored.trust_acks.push(ack);
            let offer = receiver.can_offer_trust().then(|| stored.bundles.pop_front());
            offer.flatten().into_iter().for_each(|offer| receiver.handle_trust(offer));
        }
        ReceiverEvent::Goodbye(_) => stored.goodbyes += 1,
    }
}

/// Reads a stream's frames; the first one says which stream it is and brings its other half.
async fn read(
    mut send: Option<SendStream>,
    mut recv: quinn::RecvStream,
    mut stream: Stream,
    frames: mpsc::Sender<(Stream, Frame, Option<SendStream>)>,
) {
    loop {
        let mut len = [0; LEN_BYTES];
        if recv.read_exact(&mut len).await.is_err() {
            return;
        }
        let mut body = vec![0; checked_len(len, FRAME_BYTES_MAX).unwrap()];
        if recv.read_exact(&mut body).await.is_err() {
            return;
        }
        let frame = Frame::decode(Bytes::from(body)).unwrap();
        if let Frame::LaneOpen(lane) = frame {
            stream = Stream::Lane(lane);
        }
        if frames.send((stream, frame, send.take())).await.is_err() {
            return;
        }
    }
}
