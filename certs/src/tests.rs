//! What TLS makes of the certificates: rustls verifies the good ones and refuses the others.

use std::{sync::Arc, time::Duration};

use rustls::{
    CertificateError as TlsCertificateError, Error as TlsError, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::WebPkiClientVerifier,
};
use shared::{
    identity::{Identity, Role},
    ids::{AgentId, TenantId},
    time::Timestamp,
};

use crate::{
    testing::{RawLeaf, impostor_of, issue_raw},
    *,
};

const NOW: Timestamp = Timestamp::from_ms(1_790_000_000_000);
const DAY: Duration = Duration::from_secs(86_400);
const DOMAIN: &str = "signalbox.internal";

#[test]
fn an_agent_is_verified_as_a_client_and_named_by_its_certificate() {
    let authority = authority();
    let leaf = agent_leaf(&authority);
    assert_eq!(as_client(&leaf.chain_pem, &authority, NOW), Ok(()));
    let der = leaf_der(&leaf.chain_pem);
    assert_eq!(identity_of_der(&der), Ok(agent_identity()));
    assert_eq!(serial_of_der(&der), Ok(leaf.serial));
    assert_eq!(not_after_of_der(&der), Ok(leaf.not_after));
    assert_eq!(leaf.not_after, NOW.saturating_add(AGENT_VALIDITY));
}

#[test]
fn an_agent_is_no_server() {
    let authority = authority();
    let mut raw = RawLeaf::of(&agent_identity(), NOW);
    raw.dns_names = vec!["box1".to_owned()];
    raw.server_auth = false;
    let leaf = issue_raw(&authority, &raw).unwrap();
    assert!(as_server(&leaf.chain_pem, &authority, "box1", NOW).is_err());
    raw.server_auth = true;
    let leaf = issue_raw(&authority, &raw).unwrap();
    assert_eq!(as_server(&leaf.chain_pem, &authority, "box1", NOW), Ok(()));
    let info = CertificateInfo::from_der(&leaf_der(&agent_leaf(&authority).chain_pem)).unwrap();
    assert!(info.dns_names.is_empty() && info.ip_addresses.is_empty() && !info.is_authority);
}

#[test]
fn a_coordinator_is_verified_as_server_and_client_under_each_of_its_names_only() {
    let authority = authority();
    let names = AlternativeNames {
        dns_names: vec!["*.mssp.example".to_owned()],
        ip_addresses: vec!["127.0.0.1".parse().unwrap(), "2001:db8::7".parse().unwrap()],
    };
    let key = PrivateKey::generate().unwrap();
    let issued = authority.issue_coordinator("box1.lan", &names, NOW, COORDINATOR_VALIDITY, &key);
    let chain = issued.unwrap().chain_pem;
    for name in ["box1.lan", "box2.mssp.example", "127.0.0.1", "2001:db8::7"] {
        assert_eq!(as_server(&chain, &authority, name, NOW), Ok(()), "{name}");
    }
    for name in ["box2.lan", "mssp.example", "127.0.0.2"] {
        assert!(as_server(&chain, &authority, name, NOW).is_err(), "{name}");
    }
    assert_eq!(as_client(&chain, &authority, NOW), Ok(()));
    let role = Role::Coordinator { name: "box1.lan".to_owned() };
    let identity = Identity { trust_domain: DOMAIN.to_owned(), role };
    assert_eq!(identity_of_der(&leaf_der(&chain)), Ok(identity));
}

#[test]
fn a_certificate_is_good_from_five_minutes_back_until_its_end() {
    let root = Root::create(DOMAIN, Timestamp::from_ms(NOW.as_ms() - 86_400_000)).unwrap();
    let earlier = NOW.saturating_sub(DAY);
    let authority = root.issue_intermediate(earlier, INTERMEDIATE_VALIDITY).unwrap();
    let leaf = agent_leaf(&authority);
    let second = Duration::from_secs(1);
    assert_eq!(as_client(&leaf.chain_pem, &authority, NOW.saturating_sub(SKEW)), Ok(()));
    let too_early = NOW.saturating_sub(SKEW + second);
    assert_eq!(as_client(&leaf.chain_pem, &authority, too_early), Err(Refusal::NotYetValid));
    let last = leaf.not_after;
    assert_eq!(as_client(&leaf.chain_pem, &authority, last), Ok(()));
    let late = last.saturating_add(second);
    assert_eq!(as_client(&leaf.chain_pem, &authority, late), Err(Refusal::Expired));
}

#[test]
fn an_expired_or_foreign_certificate_is_refused() {
    let authority = authority();
    let expired = RawLeaf::of(&agent_identity(), NOW).expired_at(NOW);
    let leaf = issue_raw(&authority, &expired).unwrap();
    assert_eq!(as_client(&leaf.chain_pem, &authority, NOW), Err(Refusal::Expired));

    let impostor = impostor_of(&authority, NOW).unwrap();
    let leaf = agent_leaf(&impostor);
    assert!(matches!(as_client(&leaf.chain_pem, &authority, NOW), Err(Refusal::Other(_))));
    assert!(as_server(&leaf.chain_pem, &authority, "box1", NOW).is_err());
    let mixed = first_pem(&leaf.chain_pem) + authority.intermediate_pem();
    assert!(as_client(&mixed, &authority, NOW).is_err(), "same names, another key");
}

#[test]
fn a_leaf_signs_nothing() {
    let authority = authority();
    let leaf = agent_leaf(&authority);
    let refused = Authority::from_pem(authority.root_pem(), &leaf.chain_pem, &leaf.key_pem);
    assert!(matches!(refused, Err(LoadError::NotAnAuthority(Part::Intermediate))));
    // Path length 0: what an intermediate signs is the end, though it were an authority by its own
    // word.
    assert!(as_client(authority.intermediate_pem(), &authority, NOW).is_err());
}

#[test]
fn only_exactly_one_identity_is_an_identity() {
    let authority = authority();
    let good = agent_identity().to_string();
    let read = |uris: &[&str]| {
        let raw = RawLeaf::of(&agent_identity(), NOW).with_uris(uris);
        let leaf = issue_raw(&authority, &raw).unwrap();
        assert_eq!(as_client(&leaf.chain_pem, &authority, NOW), Ok(()), "TLS alone is content");
        identity_of_der(&leaf_der(&leaf.chain_pem))
    };
    assert_eq!(read(&[&good]), Ok(agent_identity()));
    assert_eq!(read(&[]), Err(CertificateError::UriCount(0)));
    assert_eq!(read(&[&good, &good]), Err(CertificateError::UriCount(2)));
    assert_eq!(read(&[&good, "https://example.org/"]), Err(CertificateError::UriCount(2)));
    for uri in ["https://example.org/", "spiffe://signalbox.internal", ""] {
        assert!(matches!(read(&[uri]), Err(CertificateError::Identity(_))), "{uri}");
    }
    let authority_der = leaf_der(authority.intermediate_pem());
    assert!(identity_of_der(&authority_der).is_err(), "an authority is nobody");
}

#[test]
fn a_damaged_certificate_never_panics_the_reader() {
    let der = leaf_der(&agent_leaf(&authority()).chain_pem);
    for position in 0..der.len() {
        assert!(identity_of_der(&der[..position]).is_err(), "cut at {position}");
        for bit in 0..8 {
            let mut flipped = der.clone();
            flipped[position] ^= 1 << bit;
            if let Ok(identity) = identity_of_der(&flipped) {
                assert!(identity.to_string().parse::<Identity>().is_ok(), "byte {position}");
            }
        }
    }
    let followed = [der.as_slice(), &[0]].concat();
    let refused = Err(CertificateError::Malformed("bytes after its end"));
    assert_eq!(identity_of_der(&followed), refused);
}

#[test]
fn an_agents_request_is_certified_and_its_key_stays_at_home() {
    let authority = authority();
    let key = PrivateKey::generate().unwrap();
    let request = SigningRequest::from_der(&key.signing_request().unwrap()).unwrap();
    let (tenant, agent) = tenant_and_agent();
    let chain = authority.sign_agent(tenant, agent, NOW, AGENT_VALIDITY, &request).unwrap();
    assert_eq!(as_client(&chain.pem, &authority, NOW), Ok(()));
    assert_eq!(identity_of_der(&leaf_der(&chain.pem)), Ok(agent_identity()));
    let provider = ring::default_provider();
    let certificates = chain_der(&chain.pem).into_iter().map(CertificateDer::from).collect();
    let key_der = rustls::pki_types::PrivatePkcs8KeyDer::from(key.pair().serialize_der());
    let pair = rustls::sign::CertifiedKey::from_der(certificates, key_der.into(), &provider);
    assert!(pair.unwrap().keys_match().is_ok(), "certificate and key belong together");
}

#[test]
fn serial_numbers_differ_even_for_one_key() {
    let authority = authority();
    let (tenant, agent) = tenant_and_agent();
    let key = PrivateKey::generate().unwrap();
    let issue = || authority.issue_agent(tenant, agent, NOW, DAY, &key).unwrap().serial;
    let (first, second) = (issue(), issue());
    assert_ne!(first, second);
    assert_eq!((first.as_bytes().len(), second.as_bytes().len()), (16, 16));
}

#[test]
fn no_certificate_outlives_its_issuer() {
    let root = Root::create(DOMAIN, NOW).unwrap();
    let endless = DAY * 100_000;
    let authority = root.issue_intermediate(NOW, endless).unwrap();
    assert_eq!(authority.info().not_after, root.info().not_after);
    let (tenant, agent) = tenant_and_agent();
    let key = PrivateKey::generate().unwrap();
    let leaf = authority.issue_agent(tenant, agent, NOW, endless, &key).unwrap();
    assert_eq!(leaf.not_after, authority.info().not_after);
    let info = CertificateInfo::from_der(&leaf_der(&leaf.chain_pem)).unwrap();
    assert!(info.not_before >= authority.info().not_before);
}

#[test]
fn an_issuer_at_its_end_or_before_its_start_issues_nothing() {
    let root = Root::create(DOMAIN, NOW).unwrap();
    let authority = root.issue_intermediate(NOW, DAY * 10).unwrap();
    let (tenant, agent) = tenant_and_agent();
    let key = PrivateKey::generate().unwrap();
    let issue = |now, validity| authority.issue_agent(tenant, agent, now, validity, &key);
    let day = |count: u32| NOW.saturating_add(DAY * count);
    assert!(issue(day(9), DAY * 30).is_ok(), "a day is left");
    let second = Duration::from_secs(1);
    for late in [day(9).saturating_add(second), day(11)] {
        assert!(matches!(issue(late, DAY), Err(IssueError::IssuerExpired { .. })));
    }
    let early = NOW.saturating_sub(DAY);
    assert!(matches!(issue(early, DAY), Err(IssueError::IssuerNotYetValid { .. })));
    assert!(matches!(issue(NOW, Duration::ZERO), Err(IssueError::ValidityTooShort(_))));
    for now in [early, day(3652)] {
        let refused = root.issue_intermediate(now, DAY);
        assert!(matches!(refused, Err(CreateError::RootExpired { .. })));
    }
}

#[test]
fn names_that_cannot_be_are_refused() {
    for name in ["", "UPPER", "a/b", "a b", &"x".repeat(256)] {
        assert!(!is_trust_domain(name), "{name}");
        assert!(matches!(Root::create(name, NOW), Err(CreateError::TrustDomain(_))), "{name}");
    }
    assert!(is_trust_domain(&"x".repeat(255)));
    assert!(matches!(Root::create(DOMAIN, Timestamp::MAX), Err(CreateError::Time(_))));

    let authority = authority();
    let key = PrivateKey::generate().unwrap();
    let issue = |name: &str, dns_names: Vec<String>| {
        let names = AlternativeNames { dns_names, ip_addresses: Vec::new() };
        authority.issue_coordinator(name, &names, NOW, COORDINATOR_VALIDITY, &key)
    };
    for name in ["", "Box1", "box_1", "../box1"] {
        assert!(matches!(issue(name, vec![]), Err(IssueError::CoordinatorName(_))), "{name}");
    }
    for name in ["", "a..b", "-a", "a-", "*", "a.*", "ä", "a b", &"x".repeat(64)] {
        let issued = issue("box1", vec![name.to_owned()]);
        assert!(matches!(issued, Err(IssueError::DnsName(_))), "{name}");
    }
    let many = (0..NAMES_MAX).map(|number| format!("box{number}")).collect();
    assert!(matches!(issue("box", many), Err(IssueError::TooManyNames { count: 65 })));
}

#[test]
fn parts_of_different_authorities_are_no_authority() {
    let (mine, theirs) = (authority(), Authority::create("other.example", NOW).unwrap());
    let load = |root: &Authority, certificate: &Authority, key: &Authority| {
        Authority::from_pem(
            root.root_pem(),
            certificate.intermediate_pem(),
            &key.key_pem(None).unwrap(),
        )
    };
    assert_eq!(load(&mine, &mine, &mine).unwrap().info(), mine.info());
    assert!(matches!(load(&mine, &mine, &theirs), Err(LoadError::KeyMismatch(_))));
    assert!(matches!(
        load(&mine, &theirs, &theirs),
        Err(LoadError::TrustDomainMismatch { root, intermediate })
            if root == DOMAIN && intermediate == "other.example"
    ));
    let impostor = impostor_of(&mine, NOW).unwrap();
    assert!(matches!(load(&mine, &impostor, &impostor), Err(LoadError::NotIssuedByRoot)));

    let key = mine.key_pem(None).unwrap();
    let no_root = Authority::from_pem("", mine.intermediate_pem(), &key);
    assert!(matches!(no_root, Err(LoadError::Certificate { part: Part::Root, .. })));
    let no_intermediate = Authority::from_pem(mine.root_pem(), "", &key);
    assert!(matches!(
        no_intermediate,
        Err(LoadError::Certificate { part: Part::Intermediate, .. })
    ));
    let no_key = Authority::from_pem(mine.root_pem(), mine.intermediate_pem(), "");
    assert!(matches!(no_key, Err(LoadError::Key(_))));
}

#[test]
fn debug_shows_no_key() {
    let root = Root::create(DOMAIN, NOW).unwrap();
    let authority = root.issue_intermediate(NOW, INTERMEDIATE_VALIDITY).unwrap();
    let leaf = agent_leaf(&authority);
    let shown = format!("{root:?} {authority:?} {leaf:?}");
    for key in [root.key_pem(), authority.key_pem(None).unwrap(), leaf.key_pem] {
        let secret = key.lines().nth(1).unwrap();
        assert!(!shown.contains(secret) && !shown.contains("PRIVATE"), "{shown}");
    }
}

#[test]
fn an_authority_can_be_shared_by_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Authority>();
    shared::<PrivateKey>();
}

/// What rustls says of a certificate, as far as tests tell it apart.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    Expired,
    NotYetValid,
    Other(String),
}

impl From<TlsError> for Refusal {
    fn from(error: TlsError) -> Self {
        use TlsCertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
        match error {
            TlsError::InvalidCertificate(Expired | ExpiredContext { .. }) => Self::Expired,
            TlsError::InvalidCertificate(NotValidYet | NotValidYetContext { .. }) => {
                Self::NotYetValid
            }
            error => Self::Other(error.to_string()),
        }
    }
}

fn authority() -> Authority {
    Authority::create(DOMAIN, NOW).unwrap()
}

fn tenant_and_agent() -> (TenantId, AgentId) {
    ("acme".parse().unwrap(), AgentId::from_bytes([7; 16]))
}

fn agent_identity() -> Identity {
    let (tenant, agent) = tenant_and_agent();
    Identity { trust_domain: DOMAIN.to_owned(), role: Role::Agent { tenant, agent } }
}

fn agent_leaf(authority: &Authority) -> Leaf {
    let (tenant, agent) = tenant_and_agent();
    let key = PrivateKey::generate().unwrap();
    authority.issue_agent(tenant, agent, NOW, AGENT_VALIDITY, &key).unwrap()
}

fn chain_der(pem: &str) -> Vec<Vec<u8>> {
    certificates_of_pem(pem).unwrap()
}

fn leaf_der(pem: &str) -> Vec<u8> {
    chain_der(pem).swap_remove(0)
}

fn first_pem(pem: &str) -> String {
    let end = "-----END CERTIFICATE-----\n";
    pem.split_inclusive(end).next().unwrap().to_owned()
}

fn roots(authority: &Authority) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(leaf_der(authority.root_pem()).into()).unwrap();
    roots.into()
}

fn unix_time(at: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_millis(at.as_ms()))
}

fn as_client(pem: &str, trusted: &Authority, now: Timestamp) -> Result<(), Refusal> {
    let provider = Arc::new(ring::default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(roots(trusted), provider);
    let chain: Vec<_> = chain_der(pem).into_iter().map(CertificateDer::from).collect();
    builder.build().unwrap().verify_client_cert(&chain[0], &chain[1..], unix_time(now))?;
    Ok(())
}

fn as_server(pem: &str, trusted: &Authority, name: &str, now: Timestamp) -> Result<(), Refusal> {
    let provider = Arc::new(ring::default_provider());
    let builder = WebPkiServerVerifier::builder_with_provider(roots(trusted), provider);
    let chain: Vec<_> = chain_der(pem).into_iter().map(CertificateDer::from).collect();
    let name = ServerName::try_from(name).unwrap();
    let verifier = builder.build().unwrap();
    verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], unix_time(now))?;
    Ok(())
}

#[cfg(unix)]
mod external {
    //! A signer behind a command: openssl, where it is there.

    use super::*;

    fn has_openssl() -> bool {
        std::process::Command::new("openssl").arg("version").output().is_ok()
    }

    fn command(script: &str) -> Vec<String> {
        ["sh", "-c", script].map(str::to_owned).to_vec()
    }

    fn issue(command: &[String], authority: &Authority) -> Result<Leaf, IssueError> {
        let (root, intermediate) = (authority.root_pem(), authority.intermediate_pem());
        let authority = Authority::from_command(root, intermediate, command).unwrap();
        assert!(authority.key_pem(None).is_err(), "the key is elsewhere");
        let (tenant, agent) = ("acme".parse().unwrap(), AgentId::from_bytes([7; 16]));
        let key = PrivateKey::generate().unwrap();
        authority.issue_agent(tenant, agent, NOW, AGENT_VALIDITY, &key)
    }

    #[test]
    fn a_key_behind_a_command_issues_what_the_root_vouches_for() {
        if !has_openssl() {
            println!("skipped: there is no openssl here");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("there.pem");
        let sign = command(&format!("openssl dgst -sha256 -sign {}", path.display()));
        let authority = Authority::create("signalbox.internal", NOW).unwrap();
        std::fs::write(&path, authority.key_pem(None).unwrap()).unwrap();
        let leaf = issue(&sign, &authority).unwrap();
        assert_eq!(certificates_of_pem(&leaf.chain_pem).unwrap().len(), 2);

        let other = Authority::create("signalbox.internal", NOW).unwrap();
        std::fs::write(&path, other.key_pem(None).unwrap()).unwrap();
        assert!(matches!(issue(&sign, &authority), Err(IssueError::Signature)));
    }

    #[test]
    fn a_signer_that_fails_is_named_with_what_it_did() {
        let authority = Authority::create("signalbox.internal", NOW).unwrap();
        let said = |command: &[String]| issue(command, &authority).unwrap_err().to_string();
        assert!(
            said(&command("exit 3")).contains("exit status: 3"),
            "{}",
            said(&command("exit 3"))
        );
        assert!(said(&["/no/such/signer".to_owned()]).contains("cannot be run"));
        // It closes its output and goes on: nobody waits for it.
        let lingering = command("cat > /dev/null; exec 1>&-; exec sleep 600");
        assert!(said(&lingering).contains("did not answer"), "{}", said(&lingering));
        assert!(matches!(issue(&command("echo hello"), &authority), Err(IssueError::Signature)));
        let (root, intermediate) = (authority.root_pem(), authority.intermediate_pem());
        let empty = Authority::from_command(root, intermediate, &[]).unwrap_err();
        assert!(matches!(empty, LoadError::Signer(SignerError::Empty)));
    }
}
