//! Looking at agents' ledgers.

use std::time::Duration;

use coordinator::api::types::{Agent, LedgerCoverage, LedgerGap};
use shared::limits::SILENCE_TIMEOUT;

use super::{Desk, moment};
use crate::{
    args::{LedgerArgs, Paging, values::Moment},
    client::path::{Query, escape},
    failure::{About, Failure},
    limits::LIST_ITEMS_MAX,
    render::ledger,
};

/// How far back where nothing was said.
const SINCE: Duration = Duration::from_secs(24 * 60 * 60);

/// Shows what a tenant's ledgers cover, their gaps, and which agents say nothing: what became of everything there is
/// not known either.
pub(super) fn show(args: &LedgerArgs, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let since = args.since.unwrap_or(Moment::Ago(SINCE));
    let query = Query::default()
        .with("agent", args.agent.as_ref())
        .with("from", moment(Some(since), desk.now))
        .with("to", moment(args.until, desk.now));
    let path = format!("/v1/tenants/{}/ledger", escape(&args.tenant));
    let paging = Paging { limit: None, all: true, cursor: None };
    let part =
        |path: &str| desk.client.list(path, &query, &paging, LIST_ITEMS_MAX, &About::General);
    let coverage = part(&path)?;
    let gaps = part(&format!("{path}/gaps"))?;
    let silent = silent(args, desk)?;
    if desk.output.is_json() {
        let (coverage, gaps) = (coverage.json()?, gaps.json()?);
        let silent =
            serde_json::to_string(&silent).map_err(|error| Failure::Output(error.into()))?;
        return desk
            .output
            .json(&format!("{{\"coverage\":{coverage},\"gaps\":{gaps},\"silent\":{silent}}}"));
    }
    let is_more = coverage.next.is_some() || gaps.next.is_some();
    let coverage: Vec<LedgerCoverage> = coverage.items(&desk.client)?;
    let gaps: Vec<LedgerGap> = gaps.items(&desk.client)?;
    if coverage.is_empty() && gaps.is_empty() && silent.is_empty() {
        desk.output.note("No ledger covers that time.");
        return Ok(());
    }
    desk.output.text(&ledger::show(coverage, &gaps, &silent, desk.now, desk.output.columns()))?;
    if is_more {
        desk.output.note("There is more than is shown: name an agent, or a shorter time.");
    }
    Ok(())
}

/// Returns the agents that say nothing now, unless only the past is asked for.
fn silent(args: &LedgerArgs, desk: &Desk<'_>) -> Result<Vec<Agent>, Failure> {
    if args.until.is_some() {
        return Ok(Vec::new());
    }
    let query = Query::default().with("tenant", Some(&args.tenant));
    let paging = Paging { limit: None, all: true, cursor: None };
    let about = About::General;
    let list = desk.client.list("/v1/agents", &query, &paging, LIST_ITEMS_MAX, &about)?;
    let mut agents: Vec<Agent> = list.items(&desk.client)?;
    let is_asked_for = |agent: &Agent| args.agent.as_ref().is_none_or(|it| *it == agent.agent);
    agents.retain(|it| it.silent_seconds > SILENCE_TIMEOUT.as_secs() && is_asked_for(it));
    Ok(agents)
}
