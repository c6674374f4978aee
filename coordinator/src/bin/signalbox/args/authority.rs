//! Options of the commands about authorities.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Paging, help};

/// What to do about authorities.
#[derive(Debug, Subcommand)]
pub(crate) enum AuthorityCommand {
    /// Show whom agents believe, how many of them do, and whose certificates they have.
    #[command(after_help = help::AUTHORITY_SHOW)]
    Show,
    /// Bring a signed trust bundle: all agents are told whom to believe from here on.
    ///
    /// FILE is what `certs trust-bundle` wrote. One by which agents would not believe this coordinator any more is
    /// refused.
    #[command(after_help = help::AUTHORITY_PUSH)]
    Push {
        /// The signed bundle.
        file: PathBuf,
    },
    /// List agents with the trust bundle that each has, and whose its certificate is.
    #[command(after_help = help::AUTHORITY_AGENTS)]
    Agents(AuthorityAgentsArgs),
}

/// Options of `authority agents`.
#[derive(Debug, Args)]
pub(crate) struct AuthorityAgentsArgs {
    /// Only those that do not have the newest trust bundle.
    #[arg(long)]
    pub(crate) behind: bool,
    /// How many.
    #[command(flatten)]
    pub(crate) paging: Paging,
}
