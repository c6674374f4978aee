//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, builder::PossibleValuesParser};
use clap_complete::Shell;

use crate::config::{DEFAULT_PATH, product_kinds};

/// Reads detectors' alerts on this host and carries them to the coordinator.
#[derive(Debug, Parser)]
#[command(
    name = "signalbox-agent",
    version,
    after_help = "A first start:\n  \
        1. signalbox-agent join TOKEN    makes this host an agent and starts it\n  \
        2. signalbox-agent check         says what works and what to do about the rest\n  \
        3. signalbox-agent status        shows what it does\n\n\
        What is read stands in /etc/signalbox/agent.toml; every key is in agent.example.toml.\n\n\
        Exit codes: 0 well, 1 failed, 3 stopped before all was acknowledged (it is sent later), \
        64 bad usage or configuration"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make this host an agent of the provider who gave you the token, and start it.
    ///
    /// Makes the private key here, which never leaves the host, asks the coordinator for a certificate, keeps both
    /// where the configuration says, and starts the service where systemd runs it. The coordinator is
    /// known by what stands in the token. Broken off, it goes on with the same token within the hour.
    #[command(after_help = "Examples:\n  \
        signalbox-agent join sbjoin1_...\n  \
        signalbox-agent join --no-start sbjoin1_...\n  \
        signalbox-agent join -     from standard input: no list of processes shows it")]
    Join(JoinArgs),
    /// Read and send until SIGTERM or SIGINT.
    ///
    /// On the first signal the agent reads no more, stores what it has read, and waits for the
    /// coordinator's acknowledgements as long as shutdown.grace says. On a second signal it ends at
    /// once. What is stored and not acknowledged is sent after the next start, and files are read on
    /// from where that ends. What came by network or standard input and could not be stored is lost.
    Run(Common),
    /// Say of each part whether it would work, and what to do if not.
    ///
    /// Checks the configuration, the certificate and its key, the sources, the spool's folder and
    /// the coordinator's name. It connects to nobody and changes nothing.
    Check(Common),
    /// Show what a running agent does, what is not well, and what to do about it.
    ///
    /// The exit code is for monitoring: 0 well, 1 a person should look, 2 not running.
    Status(StatusArgs),
    /// Show what the records of files become: what is found in them under OCSF's names and how
    /// often, what they hold that is not read, and what is not understood.
    ///
    /// Reads the files as a running agent would, and sends and remembers nothing. What rotation
    /// compressed with gzip is unpacked, and Windows event logs (.evtx) are read. Of records that
    /// no known product writes it names the places, from which a field map can be written.
    #[command(after_help = "Examples:\n  \
        signalbox-agent normalise /var/log/suricata/eve.json      the kind is guessed\n  \
        signalbox-agent normalise --kind syslog --each messages   each alert, too\n  \
        signalbox-agent normalise --source honeypot alerts.json   with its field map\n  \
        signalbox-agent normalise --json events.json | jq .severity")]
    Normalise(NormaliseArgs),
    /// Write the events of a Windows event log file (.evtx) as JSON lines.
    ///
    /// The agent has itself read such files so, and so do normalise and try-policy, as the kind windows_event. The exit
    /// code is 3 where events could not be read.
    #[command(after_help = "Examples:\n  \
        signalbox-agent events Security.evtx > security.jsonl\n  \
        signalbox-agent normalise Security.evtx")]
    Events(EventsArgs),
    /// Make the agent a service of systemd, where it was not installed by a package.
    ///
    /// Writes the unit, the description of the service's user, and a first configuration unless there
    /// is one; then says what is left to do. Starts nothing.
    #[command(after_help = "Examples:\n  \
        signalbox-agent install-service --dry-run     what would be written\n  \
        /usr/local/bin/signalbox-agent install-service")]
    InstallService(ServiceArgs),
    /// Take away what install-service wrote, and say what is left.
    ///
    /// The configuration, the certificate and the spool stay.
    UninstallService(ServiceArgs),
    /// Print completions for a shell.
    #[command(after_help = "Examples:\n  \
        signalbox-agent completions bash > /etc/bash_completion.d/signalbox-agent")]
    Completions {
        /// For which shell.
        shell: Shell,
    },
    /// Show what a policy would do with the records of files, before it is enabled.
    ///
    /// Says what would be sent, held and folded, for each rule how often it would decide, and
    /// examples. Files that rotation compressed with gzip are unpacked, and Windows event logs are
    /// read. Rates and periods are those of the records' own times. Nothing is sent, held or
    /// remembered.
    #[command(after_help = "Examples:\n  \
        signalbox-agent try-policy --kind suricata_eve policy.yml /var/log/suricata/eve.json*\n  \
        signalbox-agent try-policy --source honeypot policy.yml alerts.json\n  \
        signalbox-agent try-policy --kind wazuh --json policy.yml alerts.json | jq .became")]
    TryPolicy(TryPolicyArgs),
}

/// Options of all commands.
#[derive(Debug, Args)]
pub struct Common {
    /// Configuration file.
    #[arg(long, short, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub config: PathBuf,
}

/// Options of `join`.
#[derive(Debug, Args)]
pub struct JoinArgs {
    /// The token, as your provider gave it; - reads it from standard input.
    #[arg(value_name = "TOKEN")]
    pub token: String,
    /// Options of all commands.
    #[command(flatten)]
    pub common: Common,
    /// Become another agent, although this host has joined.
    #[arg(long)]
    pub again: bool,
    /// Only join; start nothing.
    #[arg(long)]
    pub no_start: bool,
}

/// Options of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Options of all commands.
    #[command(flatten)]
    pub common: Common,
    /// Print JSON for programs.
    #[arg(long)]
    pub json: bool,
}

/// Options of `events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// The file; without it, standard input, which must be a file, too.
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Only events behind the one with this id.
    #[arg(long, value_name = "ID", default_value_t = 0)]
    pub after: u64,
    /// Begin each line with the event's id in this log and a tab.
    #[arg(long)]
    pub numbered: bool,
}

/// Options of `install-service` and `uninstall-service`.
#[derive(Debug, Args)]
pub struct ServiceArgs {
    /// Folder that stands for the system's root, for images that are being built.
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
    /// Only say what would be done.
    #[arg(long)]
    pub dry_run: bool,
}

/// Options of `normalise`.
#[derive(Debug, Args)]
pub struct NormaliseArgs {
    /// Options of all commands.
    #[command(flatten)]
    pub common: Common,
    /// Which product's records they are; without it and --source, what the first file's first
    /// records look like.
    #[arg(long, value_name = "KIND",
        value_parser = PossibleValuesParser::new(product_kinds()))]
    pub kind: Option<String>,
    /// A source of the configuration, whose kind and field map are taken.
    #[arg(long, value_name = "NAME", conflicts_with = "kind")]
    pub source: Option<String>,
    /// Show each alert, too, a line a value.
    #[arg(long)]
    pub each: bool,
    /// Print each alert as an OCSF Detection Finding in JSON, one a line; the summary goes to
    /// standard error.
    #[arg(long, conflicts_with = "each")]
    pub json: bool,
    /// Files to read.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// Options of `try-policy`.
#[derive(Debug, Args)]
pub struct TryPolicyArgs {
    /// Options of all commands.
    #[command(flatten)]
    pub common: Common,
    /// Which product's records they are; without it and --source, what the first file's first
    /// records look like.
    #[arg(long, value_name = "KIND",
        value_parser = PossibleValuesParser::new(product_kinds()))]
    pub kind: Option<String>,
    /// A source of the configuration, whose kind, field map and name are taken.
    #[arg(long, value_name = "NAME", conflicts_with = "kind")]
    pub source: Option<String>,
    /// Print JSON for programs, one object.
    #[arg(long)]
    pub json: bool,
    /// How many examples are shown of each rule and of what it did.
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    pub examples: usize,
    /// The policy.
    #[arg(value_name = "POLICY")]
    pub policy: PathBuf,
    /// Files to read.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn completions_name_the_commands() {
        let mut script = Vec::new();
        clap_complete::generate(Shell::Bash, &mut Cli::command(), "signalbox-agent", &mut script);
        let script = String::from_utf8(script).unwrap();
        assert!(script.contains("install-service") && script.contains("status"));
    }

    #[test]
    fn a_command_without_a_file_takes_the_usual_one() {
        let cli = Cli::parse_from(["signalbox-agent", "status", "--json"]);
        let Command::Status(args) = cli.command else { panic!("{cli:?}") };
        assert!(args.json && args.common.config.to_str() == Some(DEFAULT_PATH));
    }
}
