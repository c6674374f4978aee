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
    /// refused, one that leaves out a stolen intermediate, and one that is not above all that agents have.
    #[command(after_help = help::AUTHORITY_PUSH)]
    Push {
        /// The signed bundle.
        file: PathBuf,
        /// Agents are to believe again the distrusted intermediates that it does not name: they have ended by their own
        /// date, or were not stolen.
        #[arg(long)]
        trust_again: bool,
        /// Bring it although agents say that they have one of its sequence or one above it, which may be a lie.
        #[arg(long)]
        anyway: bool,
    },
    /// List agents with the trust bundle that each has, and whose its certificate is.
    #[command(after_help = help::AUTHORITY_AGENTS)]
    Agents(AuthorityAgentsArgs),
}

/// Options of `authority agents`.
#[derive(Debug, Args)]
pub(crate) struct AuthorityAgentsArgs {
    /// Only those that have an earlier trust bundle than the newest, or none.
    #[arg(long)]
    pub(crate) behind: bool,
    /// Only those that have another trust bundle of the newest one's sequence, or one above it, and would refuse it.
    #[arg(long, conflicts_with = "behind")]
    pub(crate) other: bool,
    /// How many.
    #[command(flatten)]
    pub(crate) paging: Paging,
}
