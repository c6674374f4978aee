//! A coordinator that offers an agent whatever the test wants: with a good certificate, and over real QUIC.

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
    wire::{ALPN, Frame, LEN_BYTES, checked_len},
};

/// How long the agent may take to find it, and to answer all.
const DEADLINE: Duration = Duration::from_secs(60);

/// Listens at `address` with the identity in `folder`, offers an agent that greets one policy after the other, and
/// returns what it says of each.
///
/// # Errors
/// No agent comes, or it does not answer.
pub(super) fn offer(
    address: SocketAddr,
    folder: &Path,
    offers: Vec<PolicyOffer>,
) -> Result<Vec<PolicyAck>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let endpoint = Endpoint::server(server(folder)?, address)?;
        let said = tokio::time::timeout(DEADLINE, async {
            loop {
                let incoming = endpoint.accept().await.context("the endpoint is open")?;
                // An agent that breaks off comes again.
                if let Ok(said) = serve(incoming, offers.clone()).await {
                    return Ok(said);
                }
            }
        });
        said.await.context("the agent answers")?
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
async fn serve(incoming: Incoming, mut offers: Vec<PolicyOffer>) -> Result<Vec<PolicyAck>> {
    let connection = incoming.await?;
    let (mut send, mut recv) = connection.accept_bi().await?;
    let mut receiver = Receiver::new(ReceiverConfig::default(), Instant::now());
    offers.reverse();
    let mut said = Vec::new();
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
                ReceiverEvent::PolicyAck(ack) => said.push(ack),
                ReceiverEvent::Goodbye(reason) => bail!("the agent ends it: {reason:?}"),
                _ => {}
            }
        }
        if receiver.can_offer_policy() {
            match offers.pop() {
                Some(offer) => receiver.handle_policy(offer),
                None => return Ok(said),
            }
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
