//! How agents stand to the authorities.

use std::collections::BTreeMap;

use shared::{
    policy::PolicyDigest,
    trust::{SpkiDigest, TrustRefusal},
};

use crate::{
    limits::{AUTHORITY_AGENTS_MAX, PAGE_ITEMS_MAX},
    store::{
        engine::Direction,
        schema::{AgentKey, AgentTrustKey, Key, RevokedKey, range_of},
        tables::{LoadError, Rows, Source},
        values::{Agent, AgentTrust, TrustRecord},
    },
    triage::queue::TenantScope,
};

/// The newest trust bundle, by what agents say of the one that they have; zeros where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Newest {
    /// Its sequence.
    pub sequence: u64,
    /// Of which envelope: one of the same sequence may be another.
    pub digest: PolicyDigest,
}

impl Newest {
    /// Returns that of what is stored.
    #[must_use]
    pub fn of(record: Option<&TrustRecord>) -> Self {
        record.map_or_else(Self::default, |TrustRecord { sequence, envelope, .. }| Self {
            sequence: *sequence,
            digest: PolicyDigest::of(envelope),
        })
    }
}

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
    /// Returns the bundle that the agent has, as it said last; zeros where it has none.
    fn has(&self) -> Newest {
        let trust = self.trust.as_ref();
        trust.map_or_else(Newest::default, |AgentTrust { sequence, digest, .. }| Newest {
            sequence: *sequence,
            digest: *digest,
        })
    }

    /// Returns whether the agent is to take the newest bundle and has not yet.
    #[must_use]
    pub fn is_behind(&self, newest: Newest) -> bool {
        !self.is_revoked && self.has().sequence < newest.sequence
    }

    /// Returns whether the agent has another bundle of the newest one's sequence, or one above it, and would refuse the
    /// newest: this coordinator was set back since.
    #[must_use]
    pub fn is_other(&self, newest: Newest) -> bool {
        let has = self.has();
        !self.is_revoked && has.sequence >= newest.sequence.max(1) && has != newest
    }
}

/// How many agents stand where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustCounts {
    /// Agents that may connect, of those that were looked at.
    pub agents: u64,
    /// Whether there are more than the first [`AUTHORITY_AGENTS_MAX`], which are all that is looked at.
    pub is_partial: bool,
    /// Of those, how many have the newest bundle.
    pub trusting: u64,
    /// How many have an earlier one or none.
    pub behind: u64,
    /// How many have another one of its sequence, or one above it, and would refuse it.
    pub other: u64,
    /// The highest sequence of a bundle that any of them has.
    pub highest: u64,
    /// Of those that are behind, how many have refused the newest, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// How many greeted last with a certificate that is not of a line that began here, or have not greeted since that
    /// is noted: they could not be re-keyed.
    pub not_of_here: u64,
    /// Agents that were revoked, and are counted nowhere else.
    pub revoked: u64,
    /// How many greeted last with a certificate of which key; without one, those not met since that is noted.
    pub issuers: BTreeMap<Option<SpkiDigest>, u64>,
}

impl TrustCounts {
    fn add(&mut self, it: &TrustStanding, newest: Newest) {
        if it.is_revoked {
            self.revoked += 1;
            return;
        }
        self.agents += 1;
        let issuer = it.trust.as_ref().and_then(|trust| trust.issuer);
        *self.issuers.entry(issuer).or_default() += 1;
        self.not_of_here += u64::from(!it.trust.as_ref().is_some_and(|trust| trust.is_of_here));
        self.highest = self.highest.max(it.has().sequence);
        if it.is_other(newest) {
            self.other += 1;
            return;
        }
        if !it.is_behind(newest) {
            self.trusting += 1;
            return;
        }
        self.behind += 1;
        let refused = it.trust.as_ref().and_then(|trust| trust.refused.as_ref());
        if let Some(refused) = refused.filter(|refused| refused.sequence == newest.sequence) {
            *self.refused.entry(TrustRefusal::as_str(refused.reason)).or_default() += 1;
        }
    }
}

/// Counts how the first [`AUTHORITY_AGENTS_MAX`] agents of the tenants in `scope` stand to the newest bundle.
///
/// # Errors
/// The store cannot be read, or something in it is damaged.
pub fn counts<S: Source + ?Sized>(
    source: &S,
    scope: &TenantScope,
    newest: Newest,
) -> Result<TrustCounts, LoadError> {
    counts_of(source, scope, newest, AUTHORITY_AGENTS_MAX)
}

/// Counts how the first `most` agents stand.
fn counts_of<S: Source + ?Sized>(
    source: &S,
    scope: &TenantScope,
    newest: Newest,
    most: usize,
) -> Result<TrustCounts, LoadError> {
    let mut counts = TrustCounts::default();
    let (mut after, mut left) = (None, most);
    while left > 0 {
        let limit = left.min(PAGE_ITEMS_MAX);
        let rows = page(source, scope, after, limit)?;
        rows.iter().for_each(|row| counts.add(row, newest));
        left -= rows.len();
        match rows.last() {
            Some(last) if rows.len() == limit => after = Some(last.key),
            Some(_) | None => return Ok(counts),
        }
    }
    counts.is_partial = !page(source, scope, after, 1)?.is_empty();
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

#[cfg(test)]
mod tests {
    use shared::{
        context::ContextVersion,
        ids::{AgentId, BootId, Epoch, Lane},
        time::Timestamp,
        wire::AgentStats,
    };

    use super::*;
    use crate::store::{
        engine::{Engine, MemoryEngine, Staged},
        tables::put,
    };

    #[test]
    fn a_count_says_whether_it_is_of_all() {
        let engine = MemoryEngine::new(1);
        let mut staged = Staged::new(&engine);
        for agent in 0..5 {
            let agent = AgentId::from_bytes([agent; 16]);
            let key = AgentKey { tenant: "acme".parse().unwrap(), agent };
            put(&mut staged, &key, seen());
        }
        engine.commit(staged.into_changes()).unwrap();
        let counted = |most| {
            let engine: &dyn Engine = &engine;
            let counts = counts_of(engine, &TenantScope::All, Newest::default(), most).unwrap();
            (counts.agents, counts.is_partial)
        };
        assert_eq!([4, 5, 6].map(counted), [(4, true), (5, false), (5, false)]);
    }

    fn seen() -> Agent {
        Agent {
            first_seen_at: Timestamp::ZERO,
            last_seen_at: Timestamp::ZERO,
            epoch: Epoch(1),
            boot: BootId(1),
            version: "1".into(),
            context: ContextVersion::default(),
            spooled: [None; Lane::COUNT],
            stats: AgentStats::default(),
            clock_ahead_ms: 0,
        }
    }
}
