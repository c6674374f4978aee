//! Options of the commands about policies.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use shared::ids::TenantId;

use super::{Paging, help, values};

/// What to do with a tenant's policy.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Sign a policy with your key, and have it rolled out: to 1 % of the tenant's agents, unless you say more.
    ///
    /// Signed is here, on your machine: the coordinator has no key that could. Its version is the one above the
    /// newest. Without --key FILE is what `policy sign` wrote.
    #[command(after_help = help::POLICY_PUSH)]
    Push(PushArgs),
    /// Sign a policy into a file, without a coordinator: for a key that is kept on a machine of its own.
    #[command(after_help = help::POLICY_SIGN)]
    Sign(SignArgs),
    /// Show a version of a tenant's policy, with its rules.
    Show {
        /// Whose.
        tenant: String,
        /// Number of the version; the newest where absent.
        #[arg(long, value_name = "N")]
        version: Option<u64>,
    },
    /// List the versions that are kept, the newest first.
    List {
        /// Whose.
        tenant: String,
        /// How much.
        #[command(flatten)]
        paging: Paging,
    },
    /// Show how far the newest version is rolled out, and where it stands at each agent.
    #[command(after_help = help::POLICY_STATUS)]
    Status {
        /// Whose.
        tenant: String,
        /// How many agents.
        #[command(flatten)]
        paging: Paging,
    },
    /// Take the roll-out to its next stage: 10 %, then all.
    ///
    /// It does not go on from a stage of which no agent has answered, nor while something is found that would halt it.
    Advance {
        /// Whose.
        tenant: String,
        /// Go on although no agent of the stage has answered yet. It is watched as before.
        #[arg(long)]
        anyway: bool,
        /// What it changes is meant: one that was halted goes on, and does not stop by itself any more.
        #[arg(long)]
        meant: bool,
    },
    /// Stop the roll-out: nobody further gets the newest version. Agents that have it keep it.
    Halt {
        /// Whose.
        tenant: String,
        /// Why, for whoever reads it next year.
        #[arg(long, short, value_name = "TEXT", value_parser = values::reason)]
        reason: String,
    },
    /// Take the newest version back: sign a new one with the content of an earlier one, for all agents at once.
    ///
    /// The earlier one comes from the coordinator, and is signed anew only if your key, or one of --trust, signed it
    /// before, for this tenant and under that number.
    #[command(after_help = help::POLICY_ROLLBACK)]
    Rollback(RollbackArgs),
}

/// Whose key signs.
#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    /// File with the key, as `certs policy-key` makes it.
    #[arg(long, value_name = "FILE", env = "SIGNALBOX_POLICY_KEY")]
    pub(crate) key: Option<PathBuf>,
    /// File whose first line opens the key, if it is encrypted.
    #[arg(long, value_name = "FILE", env = "SIGNALBOX_POLICY_PASSPHRASE_FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

/// Which number is signed, and whose signatures are believed on the way to it.
#[derive(Debug, Args)]
pub(crate) struct NumberArgs {
    /// Number of the version; where absent, the one above the newest that the coordinator names.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) version: Option<u64>,
    /// File with public keys, one a line, whose signatures are believed besides the signing key's own.
    #[arg(long, value_name = "FILE")]
    pub(crate) trust: Vec<PathBuf>,
}

/// What is signed besides the rules.
#[derive(Debug, Args)]
pub(crate) struct TermsArgs {
    /// How long agents go by it, such as 30d, at most 400d; 90d where absent. After that they suppress nothing.
    #[arg(long, value_name = "LENGTH", value_parser = values::hours)]
    pub(crate) expires: Option<u32>,
    /// Most of one processor that agents' sources may take, in percent, 5 to 400; hosts that allow less keep to that.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u16).range(5..=400))]
    pub(crate) cpu: Option<u16>,
    /// Address of a coordinator, host:port, which agents try before those that they know; may be given several times.
    #[arg(long = "address", value_name = "HOST:PORT")]
    pub(crate) addresses: Vec<String>,
}

/// Options of `policy push`.
#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// Whose agents.
    pub(crate) tenant: TenantId,
    /// The policy's file; with a key it is signed, without one it is what `policy sign` wrote.
    pub(crate) file: PathBuf,
    /// Whose key signs.
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    /// Which number is signed.
    #[command(flatten)]
    pub(crate) number: NumberArgs,
    /// What is signed besides.
    #[command(flatten)]
    pub(crate) terms: TermsArgs,
    /// Percent of the agents that get it first: 1, 10 or 100.
    #[arg(long, value_name = "PERCENT", default_value = "1", value_parser = stage)]
    pub(crate) stage: u8,
}

/// Options of `policy sign`.
#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// Whose agents.
    pub(crate) tenant: TenantId,
    /// The policy's file.
    pub(crate) file: PathBuf,
    /// Whose key signs.
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    /// What is signed besides.
    #[command(flatten)]
    pub(crate) terms: TermsArgs,
    /// Number of the version: above the newest, which `policy list` shows.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) version: u64,
    /// New file for what is signed.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

/// Options of `policy rollback`.
#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// Whose agents.
    pub(crate) tenant: TenantId,
    /// The version whose content comes back; where absent, the one that all had before the newest.
    #[arg(long, value_name = "N")]
    pub(crate) to: Option<u64>,
    /// Whose key signs.
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    /// Which number is signed.
    #[command(flatten)]
    pub(crate) number: NumberArgs,
    /// How long agents go by it, such as 30d; 90d where absent.
    #[arg(long, value_name = "LENGTH", value_parser = values::hours)]
    pub(crate) expires: Option<u32>,
    /// Percent of the agents that get it first: 1, 10 or 100.
    #[arg(long, value_name = "PERCENT", default_value = "100", value_parser = stage)]
    pub(crate) stage: u8,
}

/// Parses a stage.
fn stage(text: &str) -> Result<u8, &'static str> {
    match text {
        "1" => Ok(1),
        "10" => Ok(10),
        "100" => Ok(100),
        _ => Err("must be 1, 10 or 100"),
    }
}
