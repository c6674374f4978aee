//! Options of the commands about recalls.

use clap::Args;

use super::{Paging, help, values};
use crate::args::values::Moment;

/// Options of `recall`.
#[derive(Debug, Args)]
#[command(after_help = help::RECALL)]
pub(crate) struct RecallArgs {
    /// Show this recall, with the records that came; its id, 32 hex digits. Without it, ask for something.
    #[arg(conflicts_with_all = ["tenant", "rule", "since", "until", "agent", "max_bytes"])]
    #[arg(required_unless_present_all = ["tenant", "rule"])]
    pub(crate) recall: Option<String>,
    /// Whose agents are asked.
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: Option<String>,
    /// Id of the policy rule that held the records back.
    #[arg(long, value_name = "ID")]
    pub(crate) rule: Option<String>,
    /// Happened since: an instant, a day, or how long ago, such as 24h or 7d; all that is held where absent.
    #[arg(long, value_name = "WHEN", value_parser = values::moment)]
    pub(crate) since: Option<Moment>,
    /// Happened until; now where absent.
    #[arg(long, value_name = "WHEN", value_parser = values::moment)]
    pub(crate) until: Option<Moment>,
    /// Only of this agent; of all the tenant's where absent.
    #[arg(long, value_name = "AGENT")]
    pub(crate) agent: Option<String>,
    /// Most bytes, compressed, from one agent; the coordinator's default is 16 MiB.
    #[arg(long, value_name = "BYTES")]
    pub(crate) max_bytes: Option<u64>,
    /// Wait until all agents have answered, then show the records.
    #[arg(long)]
    pub(crate) follow: bool,
    /// How many records.
    #[command(flatten)]
    pub(crate) paging: Paging,
}

/// Options of `recalls`.
#[derive(Debug, Args)]
#[command(after_help = help::RECALLS)]
pub(crate) struct RecallsArgs {
    /// Of this tenant.
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: String,
    /// How much.
    #[command(flatten)]
    pub(crate) paging: Paging,
}
