//! The program's arguments.

use std::{net::IpAddr, path::PathBuf};

use certs::{is_dns_name, is_trust_domain};
use clap::{
    Parser, Subcommand,
    builder::{RangedI64ValueParser, RangedU64ValueParser},
};
use shared::{
    identity::{TRUST_DOMAIN_DEFAULT, is_coordinator_name},
    ids::{AgentId, TenantId},
};

/// Most agents that one call makes: each takes two files and two syncs.
const AGENTS_MAX: i64 = 10_000;

const ABOUT: &str = "Makes the certificates that Signalbox's programs trust each other by.";

const LONG_ABOUT: &str = "\
Makes the certificates that Signalbox's programs trust each other by.

One root for all, kept offline; one intermediate that issues; a certificate for each
coordinator and each agent. A certificate names its holder by a URI, and that name is all
that a coordinator goes by: which tenant an agent belongs to is decided here, when its
certificate is issued.

Files that exist are never overwritten. All files are readable by their owner only.";

const EXAMPLES: &str = "\
Examples:
  certs init
      a root and an intermediate in ./certs-store; then take root.key offline
  certs init --passphrase-file /root/passphrase
      the same, with intermediate.key encrypted: issuing then asks for the file, too
  certs coordinator box1.mssp.example --ip 203.0.113.7
      certs-store/coordinator-box1.mssp.example.pem and .key, for QUIC and HTTPS
  certs agent acme
      certs-store/agents/acme-<uuid>.pem and .key for a new agent of tenant acme
  certs agent acme --count 50
      fifty of them
  certs agent acme --out ./to-host
      to-host/certificate.pem, key.pem and root.pem: all that one host needs
  certs policy-key --dir ./policy --passphrase-file /root/policy-passphrase
      policy/policy.key and policy.pub: the key that signs what agents hold back and fold
  certs trust-bundle --policy-key policy/policy.key --sequence 1 \
    --root certs-store/root.pem --root next/root.pem --out 1.trust
      both roots, signed, for all agents to believe: signalbox authority push 1.trust
  certs show certs-store/coordinator-box1.mssp.example.pem
      who it is for, how long it is good, and the digest of its key; also of a trust bundle

Exit codes: 0 done, 1 failed, 64 bad usage.";

/// What the program is asked to do.
#[derive(Debug, Parser)]
#[command(name = "certs", version, about = ABOUT, long_about = LONG_ABOUT, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Directory of the authority's files
    #[arg(long, global = true, value_name = "DIR", default_value = "certs-store")]
    pub(crate) dir: PathBuf,
    /// File whose first line encrypts intermediate.key or policy.key when it is made, and opens it
    #[arg(long, global = true, value_name = "FILE", env = "CERTS_PASSPHRASE_FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Which of the authority's works.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The authority's works.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a new authority: a root (10 years) and an intermediate
    ///
    /// Writes root.pem, root.key, intermediate.pem and intermediate.key. Every host gets root.pem.
    /// Issuing needs intermediate.key only: keep root.key offline, it is needed again for `certs
    /// intermediate`.
    Init {
        /// Name space of all identities: 1-255 of a-z, 0-9, '.', '-' and '_'
        #[arg(long, value_name = "NAME", default_value = TRUST_DOMAIN_DEFAULT)]
        #[arg(value_parser = trust_domain)]
        trust_domain: String,
        /// Days that the intermediate is valid
        #[arg(long, value_name = "N", default_value_t = 730, value_parser = days())]
        days: u32,
    },
    /// Make the next intermediate, before the present one ends
    ///
    /// Move intermediate.pem and intermediate.key away first. What the old one issued stays good
    /// until it ends: each certificate brings its own intermediate along.
    Intermediate {
        /// The root's key, where it is kept [default: root.key in --dir]
        #[arg(long, value_name = "FILE")]
        root_key: Option<PathBuf>,
        /// Days that the intermediate is valid; cut to the root's end
        #[arg(long, value_name = "N", default_value_t = 730, value_parser = days())]
        days: u32,
    },
    /// Issue a coordinator's certificate, for QUIC and HTTPS
    Coordinator {
        /// Its name, which is also its first DNS name: 1-63 of a-z, 0-9, '.' and '-'
        #[arg(value_parser = coordinator_name)]
        name: String,
        /// Another DNS name that it is reached by; may be repeated
        #[arg(long = "dns", value_name = "NAME", value_parser = dns_name)]
        dns_names: Vec<String>,
        /// An address that it is reached by; may be repeated
        #[arg(long = "ip", value_name = "ADDRESS")]
        ip_addresses: Vec<IpAddr>,
        /// Days that it is valid; cut to the intermediate's end
        #[arg(long, value_name = "N", default_value_t = 90, value_parser = days())]
        days: u32,
        /// Write certificate.pem, key.pem and root.pem into this directory instead
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Issue certificates for agents of a tenant
    Agent {
        /// The tenant: 1-32 of a-z, 0-9 and inner '-'
        tenant: TenantId,
        /// The agent, to issue again for one that exists [default: a new one]
        #[arg(long, value_name = "UUID", conflicts_with = "count")]
        agent: Option<AgentId>,
        /// How many new agents
        #[arg(long, value_name = "N", default_value_t = 1)]
        #[arg(value_parser = RangedI64ValueParser::<u32>::new().range(1..=AGENTS_MAX))]
        count: u32,
        /// Days that each is valid; cut to the intermediate's end
        #[arg(long, value_name = "N", default_value_t = 30, value_parser = days())]
        days: u32,
        /// Write certificate.pem, key.pem and root.pem into this directory instead
        #[arg(long, value_name = "DIR", conflicts_with = "count")]
        out: Option<PathBuf>,
    },
    /// Make a key that signs policies
    ///
    /// Writes policy.key, which `signalbox policy push` signs with, and policy.pub, its public half, which coordinators
    /// and agents are told. It is no key of the authority's: keep it where policies are decided about, encrypted, and
    /// not on a coordinator. To replace it, have agents trust both for a while: policy.pub is a line of a file.
    PolicyKey,
    /// Sign which roots agents are to believe, and which intermediates no more
    ///
    /// Each bundle stands for itself: it names all roots that are to be believed and all intermediates that were
    /// stolen, also those that the one before named. Agents take it over the signed channel: bring it to the
    /// coordinator with `signalbox authority push`.
    TrustBundle {
        /// The key that signs, as `certs policy-key` makes it; --passphrase-file opens it
        #[arg(long, value_name = "FILE")]
        policy_key: PathBuf,
        /// Number of the bundle: above the newest, which `signalbox authority show` says; the first is 1
        #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
        sequence: u64,
        /// File with roots to be believed (PEM); may be repeated, 1 to 4 in all
        #[arg(long = "root", value_name = "FILE", required = true)]
        roots: Vec<PathBuf>,
        /// File with the certificate of a stolen intermediate (PEM); may be repeated, up to 16 in all
        #[arg(long = "distrust", value_name = "FILE")]
        distrusted: Vec<PathBuf>,
        /// Where the signed bundle is written
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Show what the certificates in a PEM file say, or a signed trust bundle
    Show {
        /// The file
        file: PathBuf,
    },
}

fn days() -> RangedI64ValueParser<u32> {
    RangedI64ValueParser::new().range(1..=3650)
}

fn trust_domain(text: &str) -> Result<String, &'static str> {
    if is_trust_domain(text) {
        Ok(text.to_owned())
    } else {
        Err("a trust domain is 1-255 of a-z, 0-9, '.', '-' and '_'")
    }
}

fn coordinator_name(text: &str) -> Result<String, &'static str> {
    if is_coordinator_name(text) && is_dns_name(text) {
        Ok(text.to_owned())
    } else {
        Err("a coordinator's name is a DNS name in lower case of at most 63 bytes")
    }
}

fn dns_name(text: &str) -> Result<String, &'static str> {
    if text.parse::<IpAddr>().is_ok() {
        Err("this is an address: use --ip")
    } else if is_dns_name(text) {
        Ok(text.to_owned())
    } else {
        Err("a DNS name is labels of letters, digits and inner '-', joined by '.'")
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, error::ErrorKind};

    use super::*;

    fn refused(line: &str) -> ErrorKind {
        Args::try_parse_from(line.split(' ')).unwrap_err().kind()
    }

    #[test]
    fn the_arguments_fit_together() {
        Args::command().debug_assert();
    }

    #[test]
    fn help_teaches_by_examples() {
        let help = Args::command().render_long_help().to_string();
        for command in ["init", "intermediate", "coordinator", "agent", "policy-key", "show"] {
            assert!(help.contains(command), "{command}");
        }
        assert!(help.contains("trust-bundle"));
        assert!(help.contains("Examples:") && help.contains("Exit codes:"));
    }

    #[test]
    fn values_that_cannot_be_are_bad_usage() {
        for line in [
            "certs init --trust-domain UPPER",
            "certs init --trust-domain a/b",
            "certs init --days 0",
            "certs coordinator Box1",
            "certs coordinator a..b",
            "certs coordinator ../x",
            "certs coordinator box1 --dns=-x",
            "certs coordinator box1 --dns 127.0.0.1",
            "certs coordinator box1 --ip box1",
            "certs agent ACME",
            "certs agent ../acme",
            "certs agent acme --agent 1",
            "certs agent acme --count 0",
            "certs agent acme --count 10001",
            "certs agent acme --days 3651",
            "certs trust-bundle --policy-key k --sequence 0 --root r --out o",
        ] {
            assert_eq!(refused(line), ErrorKind::ValueValidation, "{line}");
        }
    }

    #[test]
    fn one_agent_or_one_directory_is_not_for_many() {
        let agent = "--agent 7d444840-9dc0-41d1-b245-5ffdce74fad2";
        for line in [
            format!("certs agent acme --count 2 {agent}"),
            "certs agent acme --count 2 --out x".to_owned(),
        ] {
            assert_eq!(refused(&line), ErrorKind::ArgumentConflict, "{line}");
        }
    }
}
