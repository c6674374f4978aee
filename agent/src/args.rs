//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, builder::PossibleValuesParser};

use crate::config::{DEFAULT_PATH, product_kinds};

/// Reads detectors' alerts on this host and carries them to the coordinator.
#[derive(Debug, Parser)]
#[command(
    name = "signalbox-agent",
    version,
    after_help = "A first start:\n  \
        1. write the configuration (every key is in agent.example.toml)\n  \
        2. signalbox-agent check     says what works and what to do about the rest\n  \
        3. signalbox-agent run       usually started by the system's service manager\n  \
        4. signalbox-agent status    shows what it does\n\n\
        Exit codes: 0 well, 1 failed, 3 stopped before all was acknowledged (nothing is lost), \
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
    /// Read and send until SIGTERM or SIGINT.
    ///
    /// On the first signal the agent reads no more, stores what it has read, and waits for the
    /// coordinator's acknowledgements as long as shutdown.grace says. On a second signal it ends at
    /// once. Nothing is lost either way: what is not acknowledged is sent after the next start.
    Run(Common),
    /// Say of each part whether it would work, and what to do if not.
    ///
    /// Checks the configuration, the certificate and its key, the sources, the spool's folder and
    /// the coordinator's name. It connects to nobody and changes nothing.
    Check(Common),
    /// Show what a running agent does.
    Status(StatusArgs),
    /// Show what the records of files become: each alert by OCSF's names, then the counts.
    ///
    /// Reads the files as a running agent would, and sends and remembers nothing. Other events and
    /// what could not be parsed are counted at the end, on standard error.
    #[command(after_help = "Examples:\n  \
        signalbox-agent normalise --kind suricata_eve /var/log/suricata/eve.json\n  \
        signalbox-agent normalise --source honeypot alerts.json   with its field map\n  \
        signalbox-agent normalise --kind falco --json events.json | jq .time")]
    Normalise(NormaliseArgs),
}

/// Options of all commands.
#[derive(Debug, Args)]
pub struct Common {
    /// Configuration file.
    #[arg(long, short, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub config: PathBuf,
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

/// Options of `normalise`.
#[derive(Debug, Args)]
pub struct NormaliseArgs {
    /// Options of all commands.
    #[command(flatten)]
    pub common: Common,
    /// Which product's records they are; without it, --source.
    #[arg(long, value_name = "KIND", required_unless_present = "source",
        value_parser = PossibleValuesParser::new(product_kinds()))]
    pub kind: Option<String>,
    /// A source of the configuration, whose kind and field map are taken.
    #[arg(long, value_name = "NAME", conflicts_with = "kind")]
    pub source: Option<String>,
    /// Print JSON for programs, an object a line.
    #[arg(long)]
    pub json: bool,
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
    fn a_command_without_a_file_takes_the_usual_one() {
        let cli = Cli::parse_from(["signalbox-agent", "status", "--json"]);
        let Command::Status(args) = cli.command else { panic!("{cli:?}") };
        assert!(args.json && args.common.config.to_str() == Some(DEFAULT_PATH));
    }
}
