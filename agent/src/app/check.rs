//! Says of each part whether it would work, and what to do if not. Connects to nobody and changes
//! nothing.

use std::{
    fmt, fs,
    io::{self, Read},
    net::{TcpListener, ToSocketAddrs, UdpSocket},
    path::Path,
    process::Command,
};

use shared::time::Timestamp;

use super::{
    begin_trust,
    policy::{load, signed::load_keys},
};
use crate::{
    config::{Address, Config, Input, SourceConfig, show_bytes},
    limits::PATTERN_FILES_MAX,
    source::{JOURNALCTL, Matches, Pattern, Veto, load_token},
    status::{EXPIRY_WARNING, TrustStatus},
    tls::{self, Credentials},
};

/// What was found about one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The part.
    pub part: String,
    /// How it is.
    pub verdict: Verdict,
    /// What was found, and what to do about a problem.
    pub text: String,
}

/// How a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It works.
    Ok,
    /// The agent runs, but a person should look.
    Warning,
    /// The agent does not start, or does nothing, like this.
    Problem,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Problem => "PROBLEM",
        };
        write!(f, "{verdict:<8} {:<16} {}", self.part, self.text)
    }
}

/// Checks everything that a checked configuration names.
#[must_use]
pub fn check(config: &Config, now: Timestamp) -> Vec<Finding> {
    let mut findings = vec![identity(config, now)];
    findings.push(folder("spool", &config.spool.dir, config.spool.bytes_max));
    let held = config.held.as_ref();
    findings
        .extend(held.map(|held| folder("held", &held.dir, held.bytes_max + held.folded_bytes_max)));
    findings.extend(config.coordinator.addresses.iter().map(coordinator));
    let veto = config.veto.resolved();
    findings.extend(config.sources.iter().map(|it| source(it, &veto)));
    findings.extend(config.policy.as_ref().map(|path| policy(path, config.held.is_some(), now)));
    findings.extend(policy_keys(&config.policy_keys));
    findings.extend(trust(config));
    findings
}

/// Says which keys may sign policies, if there is a file of them.
fn policy_keys(path: &Path) -> Option<Finding> {
    let part = "policy";
    match load_keys(path) {
        Ok(keys) if keys.is_empty() => None,
        Ok(keys) => {
            let ids = keys.iter().map(|key| key.id().to_string()).collect::<Vec<_>>().join(", ");
            let text = format!("the coordinator may send policies that these keys sign: {ids}");
            Some(finding(part, Verdict::Ok, text))
        }
        Err(error) => {
            let text = format!("{error}: no policy of the coordinator's is taken");
            Some(finding(part, Verdict::Problem, text))
        }
    }
}

/// Says whom the agent believes, if that was said over the signed channel.
fn trust(config: &Config) -> Option<Finding> {
    let part = "trust";
    // What is wrong with the identity is said with it.
    let credentials = Credentials::load(&config.identity).ok()?;
    begin_trust(config, &credentials);
    let TrustStatus { sequence, roots, distrusted, error, is_root_replaced, .. } =
        credentials.trust.status()?;
    match error {
        Some(error) if sequence == 0 => {
            let text = format!(
                "{error}: the configured root counts until the coordinator has sent the bundle \
                 again; where that root does not lead to it any more, join again"
            );
            Some(finding(part, Verdict::Problem, text))
        }
        Some(error) => {
            let text = format!(
                "{error}: bundle {sequence} counts on, and no further one is taken: put the key's \
                 line back into {}",
                config.policy_keys.display()
            );
            Some(finding(part, Verdict::Warning, text))
        }
        None if sequence == 0 => None,
        None => {
            let text = format!("bundle {sequence}: {roots} roots, {distrusted} distrusted");
            if !is_root_replaced {
                return Some(finding(part, Verdict::Ok, text));
            }
            let text = format!(
                "{text}; {} is none of them and does not count, as after a rotation: to change \
                 that file changes nothing, join --again does",
                config.identity.trust_anchor.display()
            );
            Some(finding(part, Verdict::Warning, text))
        }
    }
}

fn identity(config: &Config, now: Timestamp) -> Finding {
    let part = "identity";
    let credentials = match Credentials::load(&config.identity) {
        Ok(credentials) => credentials,
        Err(error) => return finding(part, Verdict::Problem, error.to_string()),
    };
    let who = format!("agent {} of tenant {}", credentials.agent, credentials.tenant);
    let until = credentials.not_after;
    if until <= now {
        let text = format!("{who}: certificate has expired {until}: issue a new one");
        finding(part, Verdict::Problem, text)
    } else if until.since(now) < EXPIRY_WARNING {
        let text = format!("{who}: certificate expires {until}: renew it soon");
        finding(part, Verdict::Warning, text)
    } else {
        finding(part, Verdict::Ok, format!("{who}, certificate valid until {until}"))
    }
}

fn folder(part: &str, dir: &Path, bytes_max: u64) -> Finding {
    let max = show_bytes(bytes_max);
    let folder = match fs::metadata(dir) {
        Ok(metadata) if metadata.is_dir() => dir,
        Ok(_) => {
            let text = format!("{} is no folder: set {part}.dir", dir.display());
            return finding(part, Verdict::Problem, text);
        }
        // It will be made inside the nearest folder that there is.
        Err(_) => dir.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("/")),
    };
    match can_write(folder) {
        Ok(()) if folder == dir => {
            finding(part, Verdict::Ok, format!("{} is writable, at most {max}", dir.display()))
        }
        Ok(()) => {
            let text = format!("{} will be made at the first start, at most {max}", dir.display());
            finding(part, Verdict::Ok, text)
        }
        Err(error) => {
            let text = format!(
                "{} is not writable: {error}: give the agent's user the right to write there",
                folder.display()
            );
            finding(part, Verdict::Problem, text)
        }
    }
}

/// Tries to write by making a file that has no name, or one that is gone at once.
fn can_write(folder: &Path) -> io::Result<()> {
    let probe = folder.join(format!(".signalbox-check-{}", std::process::id()));
    fs::OpenOptions::new().write(true).create_new(true).open(&probe)?;
    fs::remove_file(&probe)
}

fn coordinator(address: &Address) -> Finding {
    let part = "coordinator";
    match (address.host.as_str(), address.port).to_socket_addrs() {
        Ok(found) => {
            let found: Vec<String> = found.map(|address| address.ip().to_string()).collect();
            if found.is_empty() {
                let text = format!("{address} has no address: ask who runs the name server");
                finding(part, Verdict::Problem, text)
            } else {
                let text = format!("{address} is {} (UDP)", found.join(", "));
                finding(part, Verdict::Ok, text)
            }
        }
        Err(error) => {
            let text = format!("{address} cannot be resolved: {error}: check the name");
            finding(part, Verdict::Problem, text)
        }
    }
}

fn source(config: &SourceConfig, veto: &Veto) -> Finding {
    let path = match &config.input {
        Input::File { path, .. } => path,
        Input::Files { pattern, .. } | Input::Evtx { pattern, .. } => {
            return files(config, pattern, veto);
        }
        Input::Stdin => {
            let text = "standard input is read while the agent runs".to_owned();
            return finding(&config.name, Verdict::Ok, text);
        }
        Input::Journal { .. } => return journal(config),
        Input::Udp(address) => return listen(config, UdpSocket::bind(address).err()),
        Input::Tls { address, identity } => {
            return match tls::listener(identity) {
                Ok(_) => listen(config, TcpListener::bind(address).err()),
                Err(error) => finding(&config.name, Verdict::Problem, error.to_string()),
            };
        }
        Input::Http { address, token_file } => {
            return match load_token(token_file) {
                Ok(_) => listen(config, TcpListener::bind(address).err()),
                Err(error) => finding(&config.name, Verdict::Problem, error),
            };
        }
        Input::Tcp(address) => return listen(config, TcpListener::bind(address).err()),
    };
    let opened = veto.open(path).and_then(|mut file| {
        let first_bytes = file.read(&mut [0])?;
        debug_assert!(first_bytes <= 1, "a reader keeps to its buffer");
        file.metadata()
    });
    let path = path.display();
    let (verdict, text) = match opened {
        Ok(metadata) => {
            (Verdict::Ok, format!("{path} is readable, {}", show_bytes(metadata.len())))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => (
            Verdict::Warning,
            format!("{path} is not there yet: the agent waits for it; check the path"),
        ),
        Err(error) => (
            Verdict::Problem,
            format!("{path} cannot be read: {error}: give the agent's user the right to read it"),
        ),
    };
    finding(&config.name, verdict, text)
}

/// Says what a pattern matches. Tries the first file to see whether it can be read.
fn files(config: &SourceConfig, pattern: &Pattern, veto: &Veto) -> Finding {
    let Matches { files, example, unreadable } = pattern.look(PATTERN_FILES_MAX, veto);
    let (verdict, text) = match (files, unreadable) {
        (_, Some(reason)) => (
            Verdict::Problem,
            format!("{pattern}: {reason}: give the agent's user the right to read it"),
        ),
        (0, None) => (
            Verdict::Warning,
            format!("{pattern} matches no file yet: the agent waits for some; check the path"),
        ),
        (files, None) => {
            let example = example.unwrap_or_default();
            let many = if files > PATTERN_FILES_MAX { "more than are read: " } else { "" };
            (Verdict::Ok, format!("{pattern} matches {many}{files}, such as {}", example.display()))
        }
    };
    finding(&config.name, verdict, text)
}

fn policy(path: &Path, can_hold: bool, now: Timestamp) -> Finding {
    let part = "policy";
    let policy = match load(path, can_hold, now) {
        Ok(policy) => policy,
        Err(error) => {
            let text = format!("{error}: until it is right, everything is sent");
            return finding(part, Verdict::Problem, text);
        }
    };
    let (name, version, rules) = (policy.name(), policy.version(), policy.rules());
    let expired = rules.iter().filter(|rule| rule.expires_at <= now);
    let expired: Vec<&str> = expired.map(|rule| &*rule.id).collect();
    let text = format!("{name}, version {version}: {} rules", rules.len());
    if expired.is_empty() {
        return finding(part, Verdict::Ok, text);
    }
    let text = format!("{text}; these have ended and do nothing: {}", expired.join(", "));
    finding(part, Verdict::Warning, text)
}

/// Says whether the program that reads the journal is there.
fn journal(config: &SourceConfig) -> Finding {
    let asked = Command::new(JOURNALCTL).arg("--version").output();
    let (verdict, text) = match asked {
        Ok(said) if said.status.success() => {
            let text = "the journal is read by journalctl: the agent's user must be in the group \
                        systemd-journal to see what others wrote";
            (Verdict::Ok, text.to_owned())
        }
        Ok(said) => (Verdict::Problem, format!("{JOURNALCTL} does not work: {}", said.status)),
        Err(error) => {
            let text = format!("{JOURNALCTL} cannot be run: {error}: the journal is read by it");
            (Verdict::Problem, text)
        }
    };
    finding(&config.name, verdict, text)
}

/// Says whether the source's address can be listened at; a running agent does so itself.
fn listen(config: &SourceConfig, error: Option<io::Error>) -> Finding {
    let input = &config.input;
    let (verdict, text) = match error {
        None => (Verdict::Ok, format!("{input} can be listened at")),
        Some(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let text =
                format!("{input} is in use: by the agent itself if it runs, else by another");
            (Verdict::Warning, text)
        }
        Some(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let text =
                format!("{input}: {error}: take a port from 1024 on, or grant the right to it");
            (Verdict::Problem, text)
        }
        Some(error) => {
            (Verdict::Problem, format!("{input}: {error}: name an address of this host"))
        }
    };
    finding(&config.name, verdict, text)
}

fn finding(part: &str, verdict: Verdict, text: String) -> Finding {
    Finding { part: part.to_owned(), verdict, text }
}
