//! A coordinator that offers an agent whatever the test wants, over real QUIC.

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use quinn::{
    Endpoint, Incoming, RecvStream, SendStream, ServerConfig, crypto::rustls::QuicServerConfig,
};
use rustls::{
    RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use shared::{
    context::ContextVersion,
    ids::Lane,
    limits::CONTROL_FRAME_BYTES_MAX,
    policy::{PolicyAck, PolicyOffer},
    session::{Receiver, ReceiverConfig, ReceiverEvent, Stream},
    trust::{TrustAck, TrustOffer},
    wire::{ALPN, Frame, LEN_BYTES, checked_len},
};

/// What is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lie {
    /// A policy.
    Policy(PolicyOffer),
    /// A trust bundle.
    Trust(TrustOffer),
}

/// What an agent says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Of a policy.
    Policy(PolicyAck),
    /// Of a trust bundle.
    Trust(TrustAck),
}

/// What an agent says in a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Which policy it has.
    pub policy: PolicyAck,
    /// Which trust bundle it has.
    pub trust: TrustAck,
    /// What it answers to each offer.
    pub answers: Vec<Said>,
}

/// Listens at `address` with the identity in `folder`, offers an agent that greets one thing after the other, and
/// returns what it says of each. An agent that breaks off and comes again is offered all once more.
///
/// # Errors
/// No agent comes within `timeout`, or it does not answer.
pub fn lie(address: SocketAddr, folder: &Path, lies: &[Lie], timeout: Duration) -> Result<Heard> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let endpoint = Endpoint::server(server(folder)?, address)?;
        let heard = tokio::time::timeout(timeout, async {
            loop {
                let incoming = endpoint.accept().await.context("the endpoint is open")?;
                // An agent that breaks off comes again.
                if let Ok(heard) = serve(incoming, lies).await {
                    return Ok(heard);
                }
            }
        });
        heard.await.context("the agent answers")?
    })
}

fn server(folder: &Path) -> Result<ServerConfig> {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("root.pem"))?)?;
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let chain = CertificateDer::pem_file_iter(folder.join("certificate.pem"))?;
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem"))?;
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier.build()?)
        .with_single_cert(chain.collect::<Result<_, _>>()?, key)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    Ok(ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?)))
}

#[expect(clippy::disallowed_methods, reason = "the session's machine counts from some instant")]
async fn serve(incoming: Incoming, lies: &[Lie]) -> Result<Heard> {
    let connection = incoming.await?;
    let (mut send, mut recv) = connection.accept_bi().await?;
    let mut receiver = Receiver::new(ReceiverConfig::default(), Instant::now());
    let (mut standing, mut offered, mut answers) = ((None, None), 0, Vec::new());
    loop {
        let frame = read(&mut recv).await?;
        receiver.handle_frame(Stream::Control, frame, Instant::now())?;
        while let Some(event) = receiver.poll_event() {
            match event {
                ReceiverEvent::Greeted(hello) => {
                    // What the spool has is as good as durable: no lane is opened.
                    let committed = hello.heads.map(|head| head.last);
                    let context = ContextVersion::default();
                    receiver.handle_cursors(committed, [None; Lane::COUNT], context);
                }
                ReceiverEvent::PolicyAck(ack) if standing.0.is_none() => standing.0 = Some(ack),
                ReceiverEvent::TrustAck(ack) if standing.1.is_none() => standing.1 = Some(ack),
                ReceiverEvent::PolicyAck(ack) => answers.push(Said::Policy(ack)),
                ReceiverEvent::TrustAck(ack) => answers.push(Said::Trust(ack)),
                ReceiverEvent::Goodbye(reason) => bail!("the agent ends it: {reason:?}"),
                _ => {}
            }
        }
        if let (Some(policy), Some(trust)) = &standing
            && answers.len() == offered
        {
            match lies.get(offered) {
                Some(Lie::Policy(offer)) => receiver.handle_policy(offer.clone()),
                Some(Lie::Trust(offer)) => receiver.handle_trust(offer.clone()),
                None => {
                    let (policy, trust) = (policy.clone(), trust.clone());
                    return Ok(Heard { policy, trust, answers });
                }
            }
            offered += 1;
        }
        while let Some(transmit) = receiver.poll_transmit() {
            write(&mut send, &transmit.frame).await?;
        }
    }
}

async fn write(send: &mut SendStream, frame: &Frame) -> Result<()> {
    let encoded = frame.encode();
    send.write_all(&encoded.head).await?;
    Ok(send.write_all(&encoded.tail).await?)
}

async fn read(recv: &mut RecvStream) -> Result<Frame> {
    let mut len = [0; LEN_BYTES];
    recv.read_exact(&mut len).await?;
    let mut body = vec![0; checked_len(len, CONTROL_FRAME_BYTES_MAX)?];
    recv.read_exact(&mut body).await?;
    Ok(Frame::decode(Bytes::from(body))?)
}
