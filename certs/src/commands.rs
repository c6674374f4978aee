//! What each command does, with its output and its clock as arguments.

mod trust;

use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use certs::{
    AlternativeNames, Authority, CertificateError, CertificateInfo, CreateError, IssueError,
    KeyError, Leaf, LeafPaths, OpenError, PolicyKey, PrivateKey, Root, SignError, Store,
    WriteError, certificates_of_pem,
};
use shared::{
    ids::{AgentId, TenantId},
    time::Timestamp,
};
use thiserror::Error;
use uuid::Builder;

use crate::args::{Args, Command};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Longest file that a passphrase is read from, in bytes.
const PASSPHRASE_BYTES_MAX: u64 = 4 << 10;

/// Longest file that `show` reads, in bytes: a thousand certificates.
const SHOWN_BYTES_MAX: u64 = 1 << 20;

/// Does what `args` ask, at the instant `now`, and tells on `out` what was done.
///
/// # Errors
/// Each [`CommandError`]; its text and causes say what, where, and what to do next.
pub(crate) fn run(args: &Args, now: Timestamp, out: &mut dyn Write) -> Result<(), CommandError> {
    let passphrase = args.passphrase_file.as_deref().map(first_line).transpose()?;
    let store = Store::new(&args.dir).with_passphrase(passphrase.clone());
    match &args.command {
        Command::Init { trust_domain, days } => init(&store, trust_domain, *days, now, out),
        Command::Intermediate { root_key, days } => {
            intermediate(&store, root_key.as_deref(), *days, now, out)
        }
        Command::Coordinator { name, dns_names, ip_addresses, days, out: bundle } => {
            let (dns_names, ip_addresses) = (dns_names.clone(), ip_addresses.clone());
            let names = AlternativeNames { dns_names, ip_addresses };
            let issuing = Issuing::open(&store, bundle.as_deref(), *days, now)?;
            issuing.coordinator(name, &names, out)
        }
        Command::Agent { tenant, agent, count, days, out: bundle } => {
            let issuing = Issuing::open(&store, bundle.as_deref(), *days, now)?;
            for number in 0..*count {
                if number > 0 {
                    writeln!(out)?;
                }
                issuing.agent(*tenant, agent.unwrap_or_else(random_agent), out)?;
            }
            Ok(())
        }
        Command::PolicyKey => policy_key(&store, out),
        Command::TrustBundle { policy_key, sequence, roots, distrusted, out: file } => {
            let key = PolicyKey::parse(&text_of(policy_key)?, passphrase.as_deref())?;
            trust::sign(&key, (*sequence, roots, distrusted), file, now, out)
        }
        Command::Show { file } => show(file, now, out),
    }
}

fn policy_key(store: &Store, out: &mut dyn Write) -> Result<(), CommandError> {
    let key = PolicyKey::generate()?;
    let written = store.write_policy_key(&key)?;
    writeln!(out, "policy key {}", key.public_key().id())?;
    list(&written, out)?;
    writeln!(out, "  {}", key.public_key())?;
    writeln!(out)?;
    writeln!(
        out,
        "Tell it to coordinators ([policy] keys) and agents; the private half stays with"
    )?;
    writeln!(out, "whoever decides about policies, and off every coordinator.")?;
    Ok(())
}

/// Reads a passphrase: a file's first line.
fn first_line(path: &Path) -> Result<String, CommandError> {
    let unreadable = |source| CommandError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(PASSPHRASE_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
    match text.lines().next().map(str::trim) {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        Some(_) | None => Err(CommandError::NoPassphrase(path.to_owned())),
    }
}

fn init(
    store: &Store,
    trust_domain: &str,
    days: u32,
    now: Timestamp,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let root = Root::create(trust_domain, now)?;
    let authority = root.issue_intermediate(now, DAY * days)?;
    let written = store.write_authority(&root, &authority)?;
    writeln!(out, "authority of {trust_domain}")?;
    list(&written, out)?;
    writeln!(out, "  root until {}", root.info().not_after)?;
    writeln!(out, "  intermediate until {}", authority.info().not_after)?;
    writeln!(out)?;
    writeln!(out, "Now take {} offline. Issuing does", store.root_key_path().display())?;
    writeln!(out, "not need it; whoever has it can be anyone. Give root.pem to every host.")?;
    Ok(())
}

fn intermediate(
    store: &Store,
    root_key: Option<&Path>,
    days: u32,
    now: Timestamp,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let default = store.root_key_path();
    let root = store.load_root(root_key.unwrap_or(&default))?;
    let authority = root.issue_intermediate(now, DAY * days)?;
    let written = store.write_intermediate(&authority)?;
    writeln!(out, "intermediate of {}", authority.trust_domain())?;
    list(&written, out)?;
    writeln!(out, "  until {}", authority.info().not_after)?;
    Ok(())
}

fn list(paths: &[PathBuf], out: &mut dyn Write) -> io::Result<()> {
    paths.iter().try_for_each(|path| writeln!(out, "  {}", path.display()))
}

/// An authority at work.
struct Issuing<'a> {
    authority: Authority,
    store: &'a Store,
    bundle: Option<Store>,
    validity: Duration,
    now: Timestamp,
}

impl<'a> Issuing<'a> {
    fn open(
        store: &'a Store,
        bundle: Option<&Path>,
        days: u32,
        now: Timestamp,
    ) -> Result<Self, CommandError> {
        let (authority, bundle) = (store.load()?, bundle.map(Store::new));
        Ok(Self { authority, store, bundle, validity: DAY * days, now })
    }

    fn coordinator(
        &self,
        name: &str,
        names: &AlternativeNames,
        out: &mut dyn Write,
    ) -> Result<(), CommandError> {
        let key = PrivateKey::generate()?;
        let leaf = self.authority.issue_coordinator(name, names, self.now, self.validity, &key)?;
        let paths = match &self.bundle {
            Some(bundle) => bundle.write_bundle(&leaf, self.authority.root_pem())?,
            None => self.store.write_coordinator(name, &leaf)?,
        };
        self.tell(&leaf, &paths, out)
    }

    fn agent(
        &self,
        tenant: TenantId,
        agent: AgentId,
        out: &mut dyn Write,
    ) -> Result<(), CommandError> {
        let key = PrivateKey::generate()?;
        let leaf = self.authority.issue_agent(tenant, agent, self.now, self.validity, &key)?;
        let paths = match &self.bundle {
            Some(bundle) => bundle.write_bundle(&leaf, self.authority.root_pem())?,
            None => self.store.write_agent(tenant, agent, &leaf)?,
        };
        self.tell(&leaf, &paths, out)
    }

    fn tell(
        &self,
        leaf: &Leaf,
        paths: &LeafPaths,
        out: &mut dyn Write,
    ) -> Result<(), CommandError> {
        let asked_until = self.now.saturating_add(self.validity);
        // Certificates count in seconds.
        let is_cut = asked_until.since(leaf.not_after) >= Duration::from_secs(1);
        let cut = if is_cut { " (cut to the intermediate's end)" } else { "" };
        let certificates = certificates_of_pem(&leaf.chain_pem)?;
        let identity = CertificateInfo::from_der(&certificates[0])?.identity()?;
        writeln!(out, "identity     {identity}")?;
        writeln!(out, "certificate  {}", paths.certificate.display())?;
        writeln!(out, "key          {}", paths.key.display())?;
        writeln!(out, "serial       {}", leaf.serial)?;
        writeln!(out, "until        {}{cut}", leaf.not_after)?;
        Ok(())
    }
}

fn random_agent() -> AgentId {
    AgentId::from_bytes(Builder::from_random_bytes(rand::random()).into_uuid().into_bytes())
}

fn show(file: &Path, now: Timestamp, out: &mut dyn Write) -> Result<(), CommandError> {
    let pem = text_of(file)?;
    if let Some((key, bundle)) = trust::bundle_of(&pem) {
        return trust::show(key, &bundle, now, out);
    }
    let refused = |source| CommandError::Show { path: file.to_owned(), source };
    for (number, der) in certificates_of_pem(&pem).map_err(refused)?.iter().enumerate() {
        if number > 0 {
            writeln!(out)?;
        }
        show_certificate(&CertificateInfo::from_der(der).map_err(refused)?, now, out)?;
    }
    Ok(())
}

/// Reads a file that is no longer than what `show` shows.
fn text_of(path: &Path) -> Result<String, CommandError> {
    let unreadable = |source| CommandError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    let opened = File::open(path).map_err(unreadable)?;
    opened.take(SHOWN_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

fn show_certificate(info: &CertificateInfo, now: Timestamp, out: &mut dyn Write) -> io::Result<()> {
    // Text in a foreign certificate may be anything: escaped, it cannot drive the terminal.
    writeln!(out, "subject      {}", info.subject.escape_debug())?;
    writeln!(out, "issuer       {}", info.issuer.escape_debug())?;
    writeln!(out, "serial       {}", info.serial)?;
    writeln!(out, "key's sha256 {}", info.spki)?;
    match (info.identity(), info.trust_domain()) {
        (Ok(identity), _) => writeln!(out, "identity     {identity}")?,
        (Err(_), Some(name)) if info.is_authority => {
            writeln!(out, "identity     authority of {name}")?;
        }
        (Err(error), _) => writeln!(out, "identity     none: {error}")?,
    }
    writeln!(out, "from         {}", info.not_before)?;
    writeln!(out, "until        {} ({})", info.not_after, remaining(info, now))?;
    for uri in &info.uris {
        writeln!(out, "uri          {}", uri.escape_debug())?;
    }
    for name in &info.dns_names {
        writeln!(out, "dns          {}", name.escape_debug())?;
    }
    info.ip_addresses.iter().try_for_each(|ip| writeln!(out, "ip           {ip}"))
}

fn remaining(info: &CertificateInfo, now: Timestamp) -> String {
    if now < info.not_before {
        "not valid yet".to_owned()
    } else if now > info.not_after {
        "expired".to_owned()
    } else {
        format!("{} days left", info.not_after.since(now).as_secs() / DAY.as_secs())
    }
}

/// Why a command did not do what was asked.
#[derive(Debug, Error)]
pub(crate) enum CommandError {
    /// No authority could be made.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The authority's directory could not be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// No key could be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The certificate was not issued.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The trust bundle was not signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// What a trust bundle is to name is not what it should be.
    #[error("{}: {problem}", path.display())]
    Trust {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The files were not written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// What was just issued does not read back.
    #[error("the certificate just issued is not readable")]
    ReadBack(#[from] CertificateError),
    /// The file to show cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds no passphrase.
    #[error("the first line of {} is empty: write the passphrase into it", .0.display())]
    NoPassphrase(PathBuf),
    /// The file to show is not what it should be.
    #[error("cannot show {}", path.display())]
    Show {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: CertificateError,
    },
    /// Nobody listens to what was done.
    #[error("cannot write to standard output")]
    Output(#[from] io::Error),
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use shared::identity::{Identity, Role};

    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_790_000_000_000);
    const AGENT: &str = "7d444840-9dc0-41d1-b245-5ffdce74fad2";

    /// A directory and the commands run in it.
    struct Desk {
        dir: tempfile::TempDir,
        now: Timestamp,
    }

    impl Desk {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap(), now: NOW }
        }

        fn initialised() -> Self {
            let desk = Self::new();
            desk.run(&["init"]).unwrap();
            desk
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join("store").join(name)
        }

        fn run(&self, line: &[&str]) -> Result<String, CommandError> {
            let dir = self.path("");
            let head = ["certs", "--dir", dir.to_str().unwrap()];
            let args = Args::try_parse_from(head.iter().chain(line)).unwrap();
            let mut out = Vec::new();
            run(&args, self.now, &mut out)?;
            Ok(String::from_utf8(out).unwrap())
        }

        fn leaf_of(&self, path: &Path) -> CertificateInfo {
            let pem = std::fs::read_to_string(path).unwrap();
            let chain = certificates_of_pem(&pem).unwrap();
            assert_eq!(chain.len(), 2, "leaf and intermediate");
            CertificateInfo::from_der(&chain[0]).unwrap()
        }
    }

    fn field<'a>(told: &'a str, name: &str) -> Vec<&'a str> {
        told.lines().filter_map(|line| line.strip_prefix(name)).map(str::trim).collect()
    }

    #[test]
    fn init_makes_four_files_and_says_to_take_the_root_key_offline() {
        let desk = Desk::new();
        let told = desk.run(&["init", "--trust-domain", "mssp.example"]).unwrap();
        for name in ["root.pem", "root.key", "intermediate.pem", "intermediate.key"] {
            assert!(desk.path(name).is_file(), "{name}");
            assert!(told.contains(desk.path(name).to_str().unwrap()), "{name} in {told}");
        }
        assert!(told.contains("offline"), "{told}");
        let agent = desk.run(&["agent", "acme"]).unwrap();
        assert!(agent.contains("spiffe://mssp.example/tenant/acme/agent/"), "{agent}");
    }

    #[test]
    fn issuing_with_an_encrypted_key_asks_for_its_passphrase() {
        let desk = Desk::new();
        let file = desk.dir.path().join("passphrase");
        std::fs::write(&file, "correct horse\nnot this\n").unwrap();
        let given = ["--passphrase-file", file.to_str().unwrap()];
        desk.run(&[&["init"], &given[..]].concat()).unwrap();
        desk.run(&[&["agent", "acme"], &given[..]].concat()).unwrap();
        assert!(matches!(desk.run(&["agent", "acme"]), Err(CommandError::Open(_))));
        std::fs::write(&file, "\n").unwrap();
        let refused = desk.run(&[&["agent", "acme"], &given[..]].concat()).unwrap_err();
        assert!(matches!(refused, CommandError::NoPassphrase(path) if path == file));
    }

    #[test]
    fn a_policy_key_is_made_once_encrypted_if_asked_and_its_public_half_is_told() {
        let desk = Desk::new();
        let file = desk.dir.path().join("passphrase");
        std::fs::write(&file, "correct horse\n").unwrap();
        let line = ["policy-key", "--passphrase-file", file.to_str().unwrap()];
        let told = desk.run(&line).unwrap();
        let pem = std::fs::read_to_string(desk.path("policy.key")).unwrap();
        let key = PolicyKey::parse(&pem, Some("correct horse")).unwrap();
        let public = std::fs::read_to_string(desk.path("policy.pub")).unwrap();
        assert_eq!(public.trim().parse(), Ok(key.public_key()));
        assert!(told.contains(public.trim()), "{told}");
        assert!(desk.run(&line).is_err(), "never overwritten");
    }

    #[test]
    fn init_refuses_to_run_twice_and_changes_nothing() {
        let desk = Desk::initialised();
        let before = std::fs::read(desk.path("root.key")).unwrap();
        let refused = desk.run(&["init"]).unwrap_err();
        assert!(matches!(refused, CommandError::Write(WriteError::Exists { .. })));
        assert!(refused.to_string().contains("root.key"), "{refused}");
        assert_eq!(std::fs::read(desk.path("root.key")).unwrap(), before);
    }

    #[test]
    fn a_coordinator_is_reached_by_its_name_and_all_that_was_added() {
        let desk = Desk::initialised();
        let added = ["--dns", "localhost", "--dns", "box1", "--ip", "127.0.0.1", "--ip", "::1"];
        desk.run(&[&["coordinator", "box1"], &added[..]].concat()).unwrap();
        let info = desk.leaf_of(&desk.path("coordinator-box1.pem"));
        assert_eq!(info.dns_names, ["box1", "localhost"]);
        let addresses: Vec<_> = info.ip_addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["127.0.0.1", "::1"]);
        assert_eq!(info.identity().unwrap().role, Role::Coordinator { name: "box1".to_owned() });
        assert_eq!(info.not_after, NOW.saturating_add(DAY * 90));
        assert!(desk.path("coordinator-box1.key").is_file());
        assert!(desk.run(&["coordinator", "box1"]).is_err(), "never overwritten");
    }

    #[test]
    fn agents_get_new_ids_and_their_paths_are_told() {
        let desk = Desk::initialised();
        let told = desk.run(&["agent", "acme", "--count", "3"]).unwrap();
        let identities = field(&told, "identity");
        let paths = field(&told, "certificate");
        assert_eq!((identities.len(), paths.len()), (3, 3));
        for (identity, path) in identities.iter().zip(&paths) {
            let info = desk.leaf_of(Path::new(path));
            assert_eq!(info.identity().unwrap().to_string(), *identity);
            let Role::Agent { agent, .. } = identity.parse::<Identity>().unwrap().role else {
                panic!("{identity} is no agent");
            };
            let version = agent.as_bytes()[6] >> 4;
            assert_eq!(version, 4, "random UUID");
            assert_eq!(Path::new(path), desk.path(&format!("agents/acme-{agent}.pem")));
            assert!(Path::new(path).with_extension("key").is_file());
            assert_eq!(info.not_after, NOW.saturating_add(DAY * 30));
        }
        let mut unique = identities.clone();
        unique.dedup();
        assert_eq!(unique.len(), 3);
    }

    #[test]
    fn an_agent_that_exists_is_issued_again_elsewhere_but_never_over_its_files() {
        let desk = Desk::initialised();
        desk.run(&["agent", "acme", "--agent", AGENT]).unwrap();
        assert!(desk.run(&["agent", "acme", "--agent", AGENT]).is_err());
        let out = desk.path("host");
        let line = ["agent", "acme", "--agent", AGENT, "--out", out.to_str().unwrap()];
        desk.run(&line).unwrap();
        let identity = desk.leaf_of(&out.join("certificate.pem")).identity().unwrap().to_string();
        assert_eq!(identity, format!("spiffe://signalbox.internal/tenant/acme/agent/{AGENT}"));
        let root = std::fs::read(out.join("root.pem")).unwrap();
        assert_eq!(root, std::fs::read(desk.path("root.pem")).unwrap());
        assert!(desk.run(&line).is_err());
    }

    #[test]
    fn issuing_without_an_authority_says_how_to_make_one() {
        let refused = Desk::new().run(&["agent", "acme"]).unwrap_err();
        assert!(refused.to_string().contains("certs init"), "{refused}");
    }

    #[test]
    fn a_validity_past_the_intermediate_is_cut_and_told() {
        let desk = Desk::new();
        desk.run(&["init", "--days", "10"]).unwrap();
        let told = desk.run(&["agent", "acme"]).unwrap();
        let path = field(&told, "certificate")[0];
        assert_eq!(desk.leaf_of(Path::new(path)).not_after, NOW.saturating_add(DAY * 10));
        assert!(told.contains("cut"), "{told}");
        let told = desk.run(&["agent", "acme", "--days", "9"]).unwrap();
        assert!(!told.contains("cut"), "{told}");
    }

    #[test]
    fn an_ended_intermediate_is_replaced_with_the_root_key_from_where_it_is_kept() {
        let mut desk = Desk::initialised();
        desk.now = NOW.saturating_add(DAY * 730);
        let refused = desk.run(&["agent", "acme"]).unwrap_err();
        assert!(matches!(refused, CommandError::Issue(IssueError::IssuerExpired { .. })));
        assert!(refused.to_string().contains("certs intermediate"), "{refused}");

        let offline = desk.dir.path().join("root.key");
        std::fs::rename(desk.path("root.key"), &offline).unwrap();
        let line = ["intermediate", "--root-key", offline.to_str().unwrap()];
        assert!(desk.run(&line).is_err(), "the old one is still there");
        std::fs::remove_file(desk.path("intermediate.pem")).unwrap();
        std::fs::remove_file(desk.path("intermediate.key")).unwrap();
        desk.run(&line).unwrap();
        desk.run(&["agent", "acme"]).unwrap();
    }

    #[test]
    fn show_tells_what_a_chain_says() {
        let mut desk = Desk::initialised();
        desk.run(&["coordinator", "box1", "--ip", "203.0.113.7"]).unwrap();
        let path = desk.path("coordinator-box1.pem");
        let told = desk.run(&["show", path.to_str().unwrap()]).unwrap();
        let uri = "spiffe://signalbox.internal/coordinator/box1";
        assert_eq!(field(&told, "identity"), [uri, "authority of signalbox.internal"]);
        assert_eq!(field(&told, "uri"), [uri, "spiffe://signalbox.internal"]);
        assert_eq!(field(&told, "dns"), ["box1"]);
        assert_eq!(field(&told, "ip"), ["203.0.113.7"]);
        assert_eq!(field(&told, "serial").len(), 2);
        assert!(field(&told, "subject")[0].contains("CN=box1"), "{told}");
        assert!(field(&told, "until")[0].ends_with("(90 days left)"), "{told}");

        desk.now = NOW.saturating_add(DAY * 91);
        let told = desk.run(&["show", path.to_str().unwrap()]).unwrap();
        assert!(field(&told, "until")[0].ends_with("(expired)"), "{told}");
        desk.now = Timestamp::ZERO;
        let told = desk.run(&["show", path.to_str().unwrap()]).unwrap();
        assert!(field(&told, "until")[0].ends_with("(not valid yet)"), "{told}");
    }

    #[test]
    fn show_refuses_what_is_no_certificate_by_name() {
        let desk = Desk::initialised();
        let refused = desk.run(&["show", desk.path("root.key").to_str().unwrap()]).unwrap_err();
        assert!(matches!(refused, CommandError::Show { source: CertificateError::NotPem, .. }));
        let refused = desk.run(&["show", "/no/such/file"]).unwrap_err();
        assert!(matches!(refused, CommandError::Read { .. }));
        assert!(refused.to_string().contains("/no/such/file"), "{refused}");
    }
}
