//! Looking at agents, letting them in no more, and deciding whose an identity is.

use coordinator::api::types::{Agent, AgentRevocation, Context, Gap, IdentityConflict};

use super::Desk;
use crate::{
    args::{AgentsArgs, Paging},
    client::{
        Ask,
        path::{Query, escape},
    },
    failure::{About, Failure},
    render::agents,
};

/// How many agents are listed where nothing was said: those of a large customer.
const AGENTS_LISTED: usize = 500;
/// How many of a host's contexts are shown; the history is for programs.
const CONTEXTS_SHOWN: usize = 3;
/// How many gaps are shown.
const GAPS_SHOWN: usize = 50;

/// Lists agents.
pub(super) fn list(args: &AgentsArgs, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let query = Query::default().with("tenant", args.tenant.as_ref());
    let about = About::General;
    let list = desk.client.list("/v1/agents", &query, &args.paging, AGENTS_LISTED, &about)?;
    desk.print_list(&list, "There is no agent.", |items: &[Agent], columns| {
        agents::list(items, columns)
    })
}

/// Shows one agent.
pub(super) fn show(agent: &str, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let path = format!("/v1/agents/{}", escape(agent));
    let ask = Ask::read(path.clone()).about(About::Agent);
    let (answer, found) = desk.client.read::<Agent>(&ask)?;
    let part = |what: &str, count| {
        let paging = Paging { limit: Some(count), all: false, cursor: None };
        let path = format!("{path}/{what}");
        desk.client.list(&path, &Query::default(), &paging, count, &About::Agent)
    };
    let contexts = part("contexts", CONTEXTS_SHOWN)?;
    let gaps = part("gaps", GAPS_SHOWN)?;
    if desk.output.is_json() {
        let (contexts, gaps) = (contexts.json()?, gaps.json()?);
        return desk.output.json(&format!(
            "{{\"agent\":{},\"contexts\":{contexts},\"gaps\":{gaps}}}",
            answer.text
        ));
    }
    let contexts: Vec<Context> = contexts.items(&desk.client)?;
    let gaps: Vec<Gap> = gaps.items(&desk.client)?;
    let text = agents::agent(&found, &contexts, &gaps, desk.now, desk.output.columns());
    desk.output.text(&text)
}

/// Lets an agent in no more.
pub(super) fn revoke(
    agent: &str,
    reason: &str,
    tenant: Option<&str>,
    desk: &mut Desk<'_>,
) -> Result<(), Failure> {
    let mut body = serde_json::json!({ "reason": reason });
    if let Some(tenant) = tenant {
        body["tenant"] = tenant.into();
    }
    let path = format!("/v1/agents/{}/revoke", escape(agent));
    let ask = Ask::post(path, &body).about(About::Agent);
    let (answer, revoked) = desk.client.read::<AgentRevocation>(&ask)?;
    desk.print(&answer, |_, _| agents::revoked(&revoked))
}

/// Decides which of several hosts keeps an agent's identity.
pub(super) fn resolve(
    agent: &str,
    keep: &str,
    reason: &str,
    desk: &mut Desk<'_>,
) -> Result<(), Failure> {
    let body = serde_json::json!({ "process": keep, "reason": reason });
    let path = format!("/v1/agents/{}/resolve", escape(agent));
    let ask = Ask::post(path, &body).about(About::Agent);
    let (answer, conflict) = desk.client.read::<IdentityConflict>(&ask)?;
    let now = desk.now;
    desk.print(&answer, |_, columns| agents::resolved(agent, &conflict, now, columns))
}
