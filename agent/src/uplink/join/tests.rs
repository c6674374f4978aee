#![expect(clippy::disallowed_methods, reason = "the test ends its tasks with its runtime")]

use std::{net::Ipv4Addr, sync::Arc};

use certs::{AGENT_VALIDITY, AlternativeNames, Authority, COORDINATOR_VALIDITY, Leaf, PrivateKey};
use quinn::{Endpoint, ServerConfig, crypto::rustls::QuicServerConfig};
use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use sha2::{Digest, Sha256};
use shared::{
    ids::AgentId,
    join::{ALPN_JOIN, JoinSecret},
};

use super::*;
use crate::clock;

const BUSY: &[u8] = b"too many hosts are joining: try again in a minute";

fn coordinators(authority: &Authority) -> Leaf {
    let (key, names) = (PrivateKey::generate().unwrap(), AlternativeNames::default());
    let (now, validity) = (clock::wall(), COORDINATOR_VALIDITY);
    authority.issue_coordinator("box", &names, now, validity, &key).unwrap()
}

fn agents(authority: &Authority) -> Leaf {
    let (tenant, agent) = ("acme".parse().unwrap(), AgentId::from_bytes([7; 16]));
    let key = PrivateKey::generate().unwrap();
    authority.issue_agent(tenant, agent, clock::wall(), AGENT_VALIDITY, &key).unwrap()
}

/// Joins at an endpoint that shows `leaf` and the root behind it, and closes each connection.
async fn join_at(leaf: &Leaf, authority: &Authority, pinned: &Authority) -> JoinError {
    let chain = format!("{}{}", leaf.chain_pem, authority.root_pem());
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes()).unwrap();
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.collect::<Result<_, _>>().unwrap(), key)
        .unwrap();
    tls.alpn_protocols = vec![ALPN_JOIN.to_vec()];
    let server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
    let endpoint = Endpoint::server(server, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = endpoint.local_addr().unwrap();
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            if let Ok(connection) = incoming.await {
                connection.close(2_u32.into(), BUSY);
            }
        }
    });
    let root = CertificateDer::from_pem_slice(pinned.root_pem().as_bytes()).unwrap();
    let token = JoinToken {
        addresses: vec![address.to_string()],
        server_name: "box".into(),
        root_sha256: Sha256::digest(&root).into(),
        secret: JoinSecret::from_bytes([9; 16]),
    };
    let request = JoinRequest {
        secret: token.secret,
        signing_request: Vec::new(),
        host_name: String::new(),
        agent_version: String::new(),
    };
    join(&token, &request, &Joining::new(token.root_sha256)).await.unwrap_err()
}

#[tokio::test]
async fn a_coordinator_that_has_no_place_is_not_taken_for_a_firewall() {
    let authority = Authority::create("d", clock::wall()).unwrap();
    let error = join_at(&coordinators(&authority), &authority, &authority).await;
    assert!(matches!(error, JoinError::Later(_)), "{error}");
    assert!(error.to_string().contains("try again in a minute"), "{error}");
}

#[tokio::test]
async fn neither_another_root_nor_an_agent_under_the_right_one_is_believed() {
    let authority = Authority::create("d", clock::wall()).unwrap();
    let other = Authority::create("d", clock::wall()).unwrap();
    for (leaf, shown) in [(coordinators(&other), &other), (agents(&authority), &authority)] {
        let error = join_at(&leaf, shown, &authority).await;
        assert!(matches!(error, JoinError::Unreachable(_)), "{error}");
    }
}
