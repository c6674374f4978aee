//! How agents stand to the authorities.

use std::collections::BTreeMap;

use shared::trust::{SpkiDigest, TrustRefusal};

use crate::{
    limits::{AUTHORITY_AGENTS_MAX, PAGE_ITEMS_MAX},
    store::{
        engine::Direction,
        schema::{AgentKey, AgentTrustKey, Key, RevokedKey, range_of},
        tables::{LoadError, Rows, Source},
        values::{Agent, AgentTrust},
    },
    triage::queue::TenantScope,
};

/// An agent with how it stands to the authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustStanding {
    /// Whose and which.
    pub key: AgentKey,
    /// What it said of itself.
    pub agent: Agent,
    /// What it says of trust bundles, and whose its certificate is, as far as it was met since that is noted.
    pub trust: Option<AgentTrust>,
    /// Whether it was revoked: then it need not take anything.
    pub is_revoked: bool,
}

impl TrustStanding {
    /// Returns whether the agent is to take a bundle of this sequence and has not yet.
    #[must_use]
    pub fn is_behind(&self, sequence: u64) -> bool {
        let has = self.trust.as_ref().map_or(0, |trust| trust.sequence);
        !self.is_revoked && has < sequence
    }
}

/// How many agents stand where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustCounts {
    /// Agents that may connect; at most [`AUTHORITY_AGENTS_MAX`] are looked at.
    pub agents: u64,
    /// Of those, how many have the newest bundle.
    pub trusting: u64,
    /// How many have an earlier one or none.
    pub behind: u64,
    /// Of those that are behind, how many have refused the newest, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Agents that were revoked, and are counted nowhere else.
    pub revoked: u64,
    /// How many greeted last with a certificate of which key; without one, those not met since that is noted.
    pub issuers: BTreeMap<Option<SpkiDigest>, u64>,
}

impl TrustCounts {
    fn add(&mut self, it: &TrustStanding, sequence: u64) {
        if it.is_revoked {
            self.revoked += 1;
            return;
        }
        self.agents += 1;
        let issuer = it.trust.as_ref().and_then(|trust| trust.issuer);
        *self.issuers.entry(issuer).or_default() += 1;
        if !it.is_behind(sequence) {
            self.trusting += 1;
            return;
        }
        self.behind += 1;
        let refused = it.trust.as_ref().and_then(|trust| trust.refused.as_ref());
        if let Some(refused) = refused.filter(|refused| refused.sequence == sequence) {
            *self.refused.entry(TrustRefusal::as_str(refused.reason)).or_default() += 1;
        }
    }
}

/// Counts the agents of the tenants in `scope`; `sequence` is the newest bundle's, zero where there is none.
///
/// # Errors
/// The store cannot be read, or something in it is damaged.
pub fn counts<S: Source + ?Sized>(
    source: &S,
    scope: &TenantScope,
    sequence: u64,
) -> Result<TrustCounts, LoadError> {
    let mut counts = TrustCounts::default();
    let mut after = None;
    for _ in 0..AUTHORITY_AGENTS_MAX.div_ceil(PAGE_ITEMS_MAX) {
        let rows = page(source, scope, after, PAGE_ITEMS_MAX)?;
        rows.iter().for_each(|row| counts.add(row, sequence));
        match rows.last() {
            Some(last) if rows.len() == PAGE_ITEMS_MAX => after = Some(last.key),
            Some(_) | None => break,
        }
    }
    Ok(counts)
}

/// Reads at most `limit` agents of the tenants in `scope` behind `after`, in order of tenant and id.
///
/// # Errors
/// The store cannot be read, or something in it is damaged.
pub fn page<S: Source + ?Sized>(
    source: &S,
    scope: &TenantScope,
    after: Option<AgentKey>,
    limit: usize,
) -> Result<Vec<TrustStanding>, LoadError> {
    let ranges: Vec<(Vec<u8>, Vec<u8>)> = match scope {
        TenantScope::All => vec![range_of::<AgentKey>(&[])],
        TenantScope::Only(tenants) => {
            tenants.iter().map(|tenant| range_of::<AgentKey>(tenant.as_bytes())).collect()
        }
    };
    let mut rows: Rows<AgentKey> = Vec::new();
    for (mut from, to) in ranges {
        if let Some(after) = after {
            let mut start = after.encode();
            start.push(0); // the first key behind it
            from = from.max(start);
        }
        if rows.len() < limit && from < to {
            let left = limit - rows.len();
            rows.extend(source.load_range::<AgentKey>(&from..&to, Direction::Forward, left)?);
        }
    }
    let keys: Vec<AgentTrustKey> = rows.iter().map(|(key, _)| AgentTrustKey(*key)).collect();
    let revoked: Vec<RevokedKey> = rows.iter().map(|(key, _)| RevokedKey(*key)).collect();
    let (trust, revoked) = (source.load_many(&keys)?, source.load_many(&revoked)?);
    let standing = rows.into_iter().zip(trust).zip(revoked);
    let standing = standing.map(|(((key, agent), trust), revoked)| TrustStanding {
        key,
        agent,
        trust,
        is_revoked: revoked.is_some(),
    });
    Ok(standing.collect())
}
