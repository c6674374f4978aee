//! Authorities: whom agents believe, how many of them do, and whose certificates they have.

use std::{fmt, sync::Arc};

use axum::{extract::State, http::StatusCode, response::Response};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use certs::CertificateInfo;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use shared::{
    time::Timestamp,
    trust::{self, SpkiDigest},
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    auth::{ADMINS, Caller, JOURNAL_READERS},
    extract::{Asked, Sent},
    idempotency::{self, Answer},
    json,
    page::{self, Filter, Page},
    problem::{Kind, Problem},
    read,
    types::{
        AgentTrustState, Authority, IssuerAgents, Time, TrustBundle, TrustPush, TrustRefusals,
        TrustRefusedBy, TrustRoot,
    },
};
use crate::{
    command::{CommandError, trust as commands},
    limits::PAGE_ITEMS_MAX,
    store::{
        reader::trust::{self as reader, Newest, TrustCounts, TrustStanding},
        schema::{AgentKey, Key as _, TrustKey},
        tables::{LoadError, Source},
        values::{TrustRecord, ValueError},
    },
    triage::queue::TenantScope,
};

/// What the API has to know of the authorities.
#[derive(Clone, Debug, Default)]
pub struct AuthorityTerms {
    /// Name space of all identities.
    pub trust_domain: String,
    /// The key that issues agents' certificates, where one does.
    pub issuer: Option<SpkiDigest>,
    /// The keys of intermediates that were stolen.
    pub distrusted: Vec<SpkiDigest>,
    /// What says whether a bundle would lock agents out.
    pub check: BundleCheck,
}

type Check = dyn Fn(&trust::TrustBundle, Timestamp) -> Result<(), String> + Send + Sync;

/// Says whether agents that go by a bundle would go on believing this coordinator, and if not, why.
#[derive(Clone)]
pub struct BundleCheck(Arc<Check>);

impl BundleCheck {
    /// Returns a check that does this.
    pub fn new<C>(check: C) -> Self
    where
        C: Fn(&trust::TrustBundle, Timestamp) -> Result<(), String> + Send + Sync + 'static,
    {
        Self(Arc::new(check))
    }
}

impl Default for BundleCheck {
    /// Returns one that lets no bundle through.
    fn default() -> Self {
        Self::new(|_, _| Err("nothing is known of this coordinator's certificates".to_owned()))
    }
}

impl fmt::Debug for BundleCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BundleCheck(..)")
    }
}

/// Returns the routes of this module.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(show)).routes(routes!(list_agents)).routes(routes!(push))
}

/// Which agents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum TrustState {
    /// All.
    #[default]
    Any,
    /// Those that have an earlier trust bundle than the newest, or none.
    Behind,
    /// Those that have another one of the newest's sequence, or one above it.
    Other,
}

impl TrustState {
    fn is_of(self, row: &TrustStanding, newest: Newest) -> bool {
        match self {
            Self::Any => true,
            Self::Behind => row.is_behind(newest),
            Self::Other => row.is_other(newest),
        }
    }
}

/// Which agents, and how many.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
struct AgentsQuery {
    /// Which agents; all where absent.
    #[param(inline)]
    state: TrustState,
    /// Most items of the page.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// Where the page before ended.
    #[param(max_length = 512)]
    cursor: Option<String>,
}

/// The authorities, and how the agents that the caller may see stand to them.
#[utoipa::path(
    get, path = "/v1/authority", operation_id = "show_authority", tag = "authority",
    responses((status = 200, description = "The authorities", body = Authority))
)]
async fn show(State(api): State<Api>, caller: Caller) -> Result<Response, Problem> {
    caller.require(JOURNAL_READERS)?;
    json(&read_authority(&api, caller.scope).await?)
}

/// Agents with how each stands to the authorities, by tenant and id.
#[utoipa::path(
    get, path = "/v1/authority/agents", operation_id = "list_authority_agents",
    tag = "authority", params(AgentsQuery),
    responses((status = 200, description = "A page", body = Page<AgentTrustState>))
)]
async fn list_agents(
    State(api): State<Api>,
    caller: Caller,
    Asked(query): Asked<AgentsQuery>,
) -> Result<Response, Problem> {
    caller.require(JOURNAL_READERS)?;
    let limit = page::limit(query.limit)?;
    let state = query.state;
    let filter = Filter::new("authority agents", &[Some(&format!("{state:?}"))]);
    let after =
        filter.start(query.cursor.as_deref(), |position| AgentKey::decode(position).ok())?;
    let page = read::blocking(&api.store, move |engine| {
        let newest = Newest::of(engine.load(&TrustKey)?.as_ref());
        // A page of some of them may be short: so many are looked at, and the cursor goes on behind them.
        let looked = if state == TrustState::Any { limit } else { PAGE_ITEMS_MAX };
        let mut rows = reader::page(engine, &caller.scope, after, looked + 1)?;
        let mut more = rows.len() > looked;
        rows.truncate(looked);
        let (mut items, mut last) = (Vec::new(), None);
        for row in &rows {
            if items.len() == limit {
                more = true;
                break;
            }
            last = Some(row.key);
            items.extend(state.is_of(row, newest).then(|| agent_state(row, newest)));
        }
        let next = last.filter(|_| more).map(|key| filter.cursor(&key.encode()));
        Ok::<_, LoadError>(Page { items, next })
    });
    json(&page.await?)
}

/// Brings a signed trust bundle: all agents are offered it. One by which agents would believe this coordinator no more,
/// or again what was distrusted, is refused, and one that is not above all that agents have.
#[utoipa::path(
    post, path = "/v1/authority/trust", operation_id = "push_trust", tag = "authority",
    request_body = TrustPush,
    responses((status = 201, description = "The authorities", body = Authority))
)]
async fn push(
    State(api): State<Api>,
    caller: Caller,
    Sent { body, once }: Sent<TrustPush>,
) -> Result<Answer, Problem> {
    caller.require(ADMINS)?;
    let envelope = STANDARD.decode(&body.envelope);
    let envelope = envelope.map_err(|error| Problem::invalid("envelope", error.to_string()))?;
    let peeked = trust::peek(&envelope);
    let (_, bundle) =
        peeked.ok_or_else(|| Problem::invalid("envelope", "it is no trust bundle"))?;
    if matches!(caller.scope, TenantScope::Only(_)) {
        let detail = "a trust bundle is for the agents of all tenants, and your token names some";
        return Err(Problem::new(Kind::Forbidden, detail));
    }
    let TrustPush { trusts_again, anyway, .. } = body;
    let push = commands::Push { envelope, trusts_again, anyway };
    let (actor, keys) = (caller.actor(), Arc::clone(&api.policy_keys));
    let known = Arc::clone(&api.authority);
    // What agents have is read before, beside the writer.
    let counts = read::blocking(&api.store, |engine| {
        let newest = Newest::of(engine.load(&TrustKey)?.as_ref());
        reader::counts(engine, &TenantScope::All, newest)
    });
    let highest = counts.await?.highest;
    let answer = idempotency::write(&api, once, move |staged, now| {
        let AuthorityTerms { trust_domain, distrusted, check, .. } = &*known;
        let terms = commands::Terms { keys: &keys, trust_domain, distrusted, highest };
        // What is wrong with its signature is said first.
        let record = commands::push(staged, push, terms, &actor, now)?;
        let locks_out = (check.0)(&bundle, now);
        locks_out.map_err(|problem| CommandError::Invalid { field: "envelope", problem })?;
        Answer::json(StatusCode::CREATED, &record.sequence)
    });
    let answer = answer.await?;
    api.bells.trust.ring();
    // Agents are counted beside the writer, which is not kept waiting meanwhile.
    answer.showing(&read_authority(&api, TenantScope::All).await?)
}

async fn read_authority(api: &Api, scope: TenantScope) -> Result<Authority, Problem> {
    let terms = Arc::clone(&api.authority);
    read::blocking(&api.store, move |engine| shown(engine, &scope, &terms)).await
}

fn shown<S: Source + ?Sized>(
    source: &S,
    scope: &TenantScope,
    terms: &AuthorityTerms,
) -> Result<Authority, LoadError> {
    let record = source.load(&TrustKey)?;
    let counts = reader::counts(source, scope, Newest::of(record.as_ref()))?;
    let TrustCounts { agents, is_partial, trusting, behind, other, highest, .. } = counts;
    let TrustCounts { refused, not_of_here, revoked, issuers, .. } = counts;
    let refused =
        refused.into_iter().map(|(reason, agents)| TrustRefusals { reason: reason.into(), agents });
    let issuers = issuers.into_iter().map(|(key, agents)| IssuerAgents {
        key: key.map(|key| key.to_string()),
        agents,
        is_present: key.is_some() && key == terms.issuer,
        is_distrusted: key.is_some_and(|key| terms.distrusted.contains(&key)),
    });
    Ok(Authority {
        trust_domain: terms.trust_domain.clone(),
        bundle: record.as_ref().map(bundle).transpose()?,
        issuer: terms.issuer.map(|key| key.to_string()),
        distrusted: terms.distrusted.iter().map(ToString::to_string).collect(),
        agents,
        is_partial,
        trusting: if record.is_some() { trusting } else { 0 },
        behind,
        other,
        highest,
        refused: refused.collect(),
        not_of_here,
        revoked,
        issuers: issuers.collect(),
    })
}

fn bundle(record: &TrustRecord) -> Result<TrustBundle, LoadError> {
    let damaged = |detail: String| ValueError { what: "trust bundle", detail };
    let peeked = trust::peek(&record.envelope);
    let (key, bundle) = peeked.ok_or_else(|| damaged("its envelope is none".to_owned()))?;
    let root = |der: &Vec<u8>| {
        let info = CertificateInfo::from_der(der).map_err(|error| damaged(error.to_string()))?;
        let (subject, not_after) = (info.subject, Time(info.not_after));
        let sha256 = Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok::<_, ValueError>(TrustRoot { subject, sha256, not_after })
    };
    Ok(TrustBundle {
        sequence: bundle.sequence,
        key: key.to_string(),
        sha256: commands::digest(&record.envelope),
        pushed_by: (&record.by).into(),
        pushed_at: Time(record.at),
        roots: bundle.roots.iter().map(root).collect::<Result<_, _>>()?,
        distrusted: bundle.distrusted.iter().map(ToString::to_string).collect(),
    })
}

fn agent_state(row: &TrustStanding, newest: Newest) -> AgentTrustState {
    let trust = row.trust.as_ref();
    let refused = trust.and_then(|trust| trust.refused.as_ref());
    AgentTrustState {
        tenant: row.key.tenant.to_string(),
        agent: row.key.agent.to_string(),
        sequence: trust.map_or(0, |trust| trust.sequence),
        is_behind: row.is_behind(newest),
        is_other: row.is_other(newest),
        refused: refused.map(|refused| TrustRefusedBy {
            sequence: refused.sequence,
            reason: refused.reason.as_str().to_owned(),
            text: if refused.detail.is_empty() {
                refused.reason.to_string()
            } else {
                refused.detail.clone()
            },
            at: Time(refused.at),
        }),
        issuer: trust.and_then(|trust| trust.issuer).map(|key| key.to_string()),
        last_seen_at: Time(row.agent.last_seen_at),
    }
}

impl Api {
    /// Returns the API with what it has to know of the authorities.
    #[must_use]
    pub fn with_authority(mut self, terms: AuthorityTerms) -> Self {
        self.authority = Arc::new(terms);
        self
    }
}

#[cfg(test)]
mod tests;
