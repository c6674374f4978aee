//! Authorities: whom agents believe, and how far they have got with it.

use std::path::Path;

use coordinator::api::types::{AgentTrustState, Authority, TrustPush};

use super::Desk;
use crate::{
    args::authority::{AuthorityAgentsArgs, AuthorityCommand},
    client::{Ask, path::Query},
    failure::{About, Failure},
    files,
    render::authority,
};

/// How many agents are listed where nothing was said.
const AGENTS_LISTED: usize = 500;

/// Does what was asked about authorities.
pub(super) fn run(command: &AuthorityCommand, desk: &mut Desk<'_>) -> Result<(), Failure> {
    match command {
        AuthorityCommand::Show => {
            let ask = Ask::read("/v1/authority".to_owned());
            let (answer, shown) = desk.client.read::<Authority>(&ask)?;
            desk.print(&answer, |now, columns| authority::shown(&shown, now, columns))
        }
        AuthorityCommand::Push { file, trust_again, anyway } => {
            push(file, (*trust_again, *anyway), desk)
        }
        AuthorityCommand::Agents(args) => agents(args, desk),
    }
}

fn push(
    file: &Path,
    (trusts_again, anyway): (bool, bool),
    desk: &mut Desk<'_>,
) -> Result<(), Failure> {
    let failed = |error: &std::io::Error| files::failure("cannot read", file, error);
    let bytes = files::load(file).map_err(|error| failed(&error))?;
    let text = String::from_utf8(bytes);
    let text = text.map_err(|_| failed(&std::io::Error::other("it is no signed trust bundle")))?;
    let body = TrustPush { envelope: text.trim().to_owned(), trusts_again, anyway };
    let ask = Ask::post("/v1/authority/trust".to_owned(), &body);
    let (answer, shown) = desk.client.read::<Authority>(&ask)?;
    desk.print(&answer, |now, columns| authority::shown(&shown, now, columns))
}

fn agents(args: &AuthorityAgentsArgs, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let (state, nothing) = match (args.behind, args.other) {
        (true, _) => (Some("behind"), "No agent is behind."),
        (false, true) => (Some("other"), "No agent has another bundle."),
        (false, false) => (None, "There is no agent."),
    };
    let query = Query::default().with("state", state);
    let (path, about) = ("/v1/authority/agents", About::General);
    let list = desk.client.list(path, &query, &args.paging, AGENTS_LISTED, &about)?;
    let now = desk.now;
    desk.print_list(&list, nothing, |items: &[AgentTrustState], columns| {
        authority::agents(items, now, columns)
    })
}
