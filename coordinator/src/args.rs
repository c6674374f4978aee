//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::DEFAULT_PATH;

/// Takes agents' alerts, makes cases of them, and hands them to analysts.
#[derive(Debug, Parser)]
#[command(
    name = "signalbox-coordinator",
    version,
    after_help = "A first start:\n  \
        1. certs init                      makes the certificate authority\n  \
        2. certs coordinator NAME          makes this coordinator's certificate and key\n  \
        3. write the configuration         (every key is in coordinator.example.toml)\n  \
        4. signalbox-coordinator check     says what works and what to do about the rest\n  \
        5. signalbox-coordinator run       usually started by the system's service manager\n  \
        6. certs agent TENANT              makes the certificate of a customer's first agent\n\n\
        Exit codes: 0 well, 1 failed, 3 stopped before all was answered (what was acknowledged is \
        kept), 64 bad usage or configuration"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve agents and analysts until SIGTERM or SIGINT.
    ///
    /// On the first signal the coordinator accepts nothing new, makes durable and acknowledges what
    /// it has, and closes its connections; agents send the rest after the next start. On a second
    /// signal it ends at once. What was acknowledged is kept either way.
    Run(Common),
    /// Say of each part whether it would work, and what to do if not.
    ///
    /// Checks the configuration, the certificates and their keys, the roots, the store's folder and
    /// the addresses to listen at. It serves nobody and changes nothing.
    Check(CheckArgs),
}

/// Options of all commands.
#[derive(Debug, Args)]
pub struct Common {
    /// Configuration file.
    #[arg(long, short, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub config: PathBuf,
}

/// Options of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Options of all commands.
    #[command(flatten)]
    pub common: Common,
    /// Print JSON for programs.
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, error::ErrorKind};

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_command_without_a_file_takes_the_usual_one() {
        let cli = Cli::parse_from(["signalbox-coordinator", "check", "--json"]);
        let Command::Check(args) = cli.command else { panic!("{cli:?}") };
        assert!(args.json && args.common.config.to_str() == Some(DEFAULT_PATH));
    }

    #[test]
    fn run_takes_a_file_and_nothing_else() {
        let cli = Cli::parse_from(["signalbox-coordinator", "run", "--config", "box.toml"]);
        let Command::Run(common) = cli.command else { panic!("{cli:?}") };
        assert_eq!(common.config.to_str(), Some("box.toml"));
        let refused = Cli::try_parse_from(["signalbox-coordinator", "run", "--json"]).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::UnknownArgument);
    }
}
