//! A coordinator's folder, its authority, and what is read of its store.

use std::{
    fs,
    io::Write as _,
    net::Ipv4Addr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::mpsc,
    time::Duration,
};

use certs::{
    AGENT_VALIDITY, AlternativeNames, Authority, COORDINATOR_VALIDITY, INTERMEDIATE_VALIDITY, Leaf,
    PrivateKey, Root, Store, certificates_of_pem, spki_digest_of_der,
    testing::{RawLeaf, issue_raw},
};
use shared::{
    identity::{Identity, Role},
    ids::{AgentId, Seq, TenantId},
    time::Timestamp,
    trust::SpkiDigest,
};

use crate::{
    app::{Running, start},
    clock::Clock,
    command::CommandError,
    config::{AuthorityConfig, AuthorityKey, Config, GroupConfig, OidcConfig},
    store::{
        engine::{Direction, Space},
        schema::{BlockKey, Key as _, range_of},
        tables::Source as _,
        writer::Priority,
    },
    triage::{case::CaseId, queue::TenantScope},
};

pub(in crate::app) const DOMAIN: &str = "box.test";

const AUTHORITY_AGE: Duration = Duration::from_secs(3 * 86_400);

/// How long anything may take before the test gives up; nothing here takes a second of it.
const DEADLINE: Duration = Duration::from_secs(60);

/// An authority, and a configured coordinator that listens where the system chooses.
pub(in crate::app) struct House {
    root: Root,
    pub(in crate::app) authority: Authority,
    pub(in crate::app) config: Config,
    dir: tempfile::TempDir,
}

impl House {
    pub(in crate::app) fn new() -> Self {
        let now = Clock::wall().now();
        // Old enough to have issued what ended lately.
        let made_at = now.saturating_sub(AUTHORITY_AGE);
        let root = Root::create(DOMAIN, made_at).unwrap();
        let authority = root.issue_intermediate(made_at, INTERMEDIATE_VALIDITY).unwrap();
        let dir = tempfile::tempdir().unwrap();
        certify(dir.path(), &authority, now);
        fs::write(dir.path().join("root.pem"), authority.root_pem()).unwrap();
        let listen = "listen = \"127.0.0.1:0\"";
        let text = format!(
            "trust_domain = {DOMAIN:?}\n[store]\npath = \"store\"\n[ingest]\n{listen}\n\
             certificate = \"box.pem\"\nkey = \"box.key\"\nroots = \"root.pem\"\n\
             [api]\n{listen}\n[metrics]\n{listen}\n"
        );
        let config = Config::parse(&text, dir.path()).unwrap();
        Self { root, authority, config, dir }
    }

    pub(in crate::app) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(in crate::app) fn now(&self) -> Timestamp {
        Clock::wall().now()
    }

    /// Lets the coordinator issue certificates, from its next start on.
    pub(in crate::app) fn let_hosts_join(&mut self) {
        let folder = self.path("authority");
        Store::new(&folder).write_intermediate(&self.authority).unwrap();
        self.config.authority = Some(AuthorityConfig {
            certificate: folder.join("intermediate.pem"),
            key: AuthorityKey::File {
                path: folder.join("intermediate.key"),
                passphrase_file: None,
            },
            validity: AGENT_VALIDITY,
            grace: Duration::from_secs(86_400),
            addresses: vec!["box.test:4433".to_owned()],
            distrusted: Vec::new(),
        });
    }

    /// Lets people sign in, from its next start on.
    pub(in crate::app) fn let_people_sign_in(&mut self, issuer: &str) {
        let secret = self.path("oidc.secret");
        if !secret.exists() {
            write_key(&secret, "a secret\n");
        } else {
            fs::write(&secret, "a secret\n").unwrap();
        }
        self.config.api.oidc = Some(OidcConfig {
            issuer: issuer.to_owned(),
            client_id: "signalbox".to_owned(),
            client_secret_file: Some(secret),
            public_url: "https://box.test:8443".to_owned(),
            roots: None,
            scopes: Vec::new(),
            groups_claim: "groups".to_owned(),
            name_claim: None,
            life: Duration::from_secs(60 * 60),
            groups: vec![GroupConfig {
                name: "soc".to_owned(),
                role: crate::store::values::Role::Analyst,
                tenants: Vec::new(),
            }],
        });
    }

    /// Replaces the intermediate, from the next start on, in what the coordinator shows and in what it issues; returns
    /// the one before.
    pub(super) fn replace_intermediate(&mut self) -> Authority {
        let next = self.root.issue_intermediate(self.now(), INTERMEDIATE_VALIDITY).unwrap();
        let before = std::mem::replace(&mut self.authority, next);
        fs::remove_file(self.path("box.key")).unwrap();
        fs::remove_dir_all(self.path("authority")).unwrap();
        certify(self.dir.path(), &self.authority, self.now());
        self.let_hosts_join();
        before
    }

    /// Distrusts an intermediate, from the next start on.
    pub(super) fn distrust(&mut self, stolen: &Authority) {
        let authority = self.config.authority.as_mut().expect("hosts join");
        authority.distrusted.push(spki_of(stolen));
    }

    /// Returns the root that all stands under, in DER.
    pub(super) fn root_der(&self) -> Vec<u8> {
        certificates_of_pem(self.root.root_pem()).unwrap().swap_remove(0)
    }

    pub(super) async fn start(&self) -> Running {
        start(self.config.clone(), Clock::wall()).await.unwrap()
    }

    /// Returns a good certificate of the tenant's agent.
    pub(super) fn agent(&self, tenant: &str, agent: u8) -> Leaf {
        let key = PrivateKey::generate().unwrap();
        let (tenant, agent) = (tenant.parse().unwrap(), agent_id(agent));
        self.authority.issue_agent(tenant, agent, self.now(), AGENT_VALIDITY, &key).unwrap()
    }

    /// Returns a certificate that is as good as [`Self::agent`]'s but for `change`.
    pub(super) fn raw(&self, change: impl FnOnce(RawLeaf) -> RawLeaf) -> Leaf {
        issue_raw(&self.authority, &change(self.raw_agent())).unwrap()
    }

    pub(super) fn raw_agent(&self) -> RawLeaf {
        let role = Role::Agent { tenant: tenant("acme"), agent: agent_id(1) };
        RawLeaf::of(&Identity { trust_domain: DOMAIN.to_owned(), role }, self.now())
    }
}

/// Writes what proves the coordinator.
fn certify(dir: &Path, authority: &Authority, now: Timestamp) {
    let names = AlternativeNames {
        ip_addresses: vec![Ipv4Addr::LOCALHOST.into()],
        ..AlternativeNames::default()
    };
    let key = PrivateKey::generate().unwrap();
    let leaf = authority.issue_coordinator("box", &names, now, COORDINATOR_VALIDITY, &key);
    let leaf = leaf.unwrap();
    fs::write(dir.join("box.pem"), &leaf.chain_pem).unwrap();
    write_key(&dir.join("box.key"), &leaf.key_pem);
}

/// Returns the digest of an intermediate's key.
pub(super) fn spki_of(authority: &Authority) -> SpkiDigest {
    let chain = certificates_of_pem(authority.intermediate_pem()).unwrap();
    spki_digest_of_der(&chain[0]).unwrap()
}

pub(super) fn agent_id(agent: u8) -> AgentId {
    AgentId::from_bytes([agent; 16])
}

pub(super) fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

pub(super) fn seq(number: u64) -> Seq {
    Seq::new(number).unwrap()
}

fn write_key(path: &Path, key: &str) {
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all(key.as_bytes()).unwrap();
}

/// Returns the numbers of the tenant's blocks that can be read from the store, in order of arrival.
pub(super) fn blocks(running: &Running, name: &str) -> Vec<u64> {
    let (from, to) = range_of::<BlockKey>(tenant(name).as_bytes());
    let range = &from[..]..&to[..];
    let rows = running.store.engine().scan_raw(Space::Blocks, range, Direction::Forward, 100);
    let keys = rows.unwrap().into_iter().map(|(key, _)| BlockKey::decode(&key).unwrap());
    keys.map(|key| key.place.seq.as_u64()).collect()
}

/// Returns the tenant's cases that wait in the queue, once the view shows all that is durable now.
pub(super) async fn waiting(running: &Running, name: &str) -> Vec<CaseId> {
    let head = *running.store.journal_head().borrow();
    within(running.view.reached(head)).await;
    let scope = TenantScope::Only([tenant(name)].into());
    running.view.with(|queue| queue.head(&scope, 100))
}

/// Holds the writer at a command until it is dropped: what comes behind waits.
pub(super) struct Gate(
    #[expect(dead_code, reason = "dropping it opens the gate")] mpsc::Sender<()>,
);

impl Gate {
    pub(super) async fn close(running: &Running) -> Self {
        let (opener, gate) = mpsc::channel::<()>();
        let submitted = running.store.submit(Priority::Normal, move |_| {
            let _opened = gate.recv().is_err();
            Ok::<(), CommandError>(())
        });
        drop(submitted.await.unwrap());
        eventually("the writer is held", || running.store.backlog().0 == 0).await;
        Self(opener)
    }
}

/// Waits for `future`, but not for ever.
pub(super) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("it ends long before the deadline")
}

/// Looks again and again until `holds`.
pub(super) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let looking = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(DEADLINE, looking).await.unwrap_or_else(|_| panic!("never: {what}"));
}
