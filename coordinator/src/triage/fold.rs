//! Which case an alert belongs to.
//!
//! Alerts of a block are first put into groups of one fingerprint and one stretch of event time; a
//! group then joins the
//! case of its host whose event time lies within [`CASE_GAP`], or opens one. Event time counts, not
//! arrival, so that a
//! replayed backlog groups as it would have live.
//!
//! # Cost
//! Per alert one look-up by numbers of the block's dictionary; texts are touched once a group.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use shared::{
    alert::{Field, Severity},
    block::Fields,
    ids::{Seq, StreamId, TenantId},
    time::Timestamp,
};

use crate::{
    limits::{CASE_GAP, CASE_SPAN_MAX, HOST_CASES_MAX},
    triage::{
        case::CaseId,
        entity::{InsideCache, digest, subject},
        evidence::Finding,
    },
};

/// Alerts of one block that are the same thing again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Digest of (tenant, product, rule, host).
    pub fingerprint: [u8; 16],
    /// Host that the alerts are about; empty where they name none.
    pub host: String,
    /// Product that raised them.
    pub product: String,
    /// The rule's id in that product; empty where it has none.
    pub rule_uid: String,
    /// What they say.
    pub title: String,
    /// ATT&CK technique ids, joined by `,`.
    pub techniques: String,
    /// The worst severity among them.
    pub severity: Severity,
    /// Event time of the earliest.
    pub first_at: Timestamp,
    /// Event time of the latest.
    pub last_at: Timestamp,
    /// Where they stand in the block, ascending.
    pub positions: Vec<u16>,
    /// How many alerts their agent folded into them, which are in no block.
    pub further: u64,
}

impl Group {
    /// Returns how many alerts it stands for: those in the block, and those that were folded into them.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.further.saturating_add(self.positions.len() as u64)
    }

    /// Returns the finding that this group begins.
    #[must_use]
    pub fn finding(&self) -> Finding {
        Finding {
            fingerprint: self.fingerprint,
            product: self.product.clone(),
            rule_uid: self.rule_uid.clone(),
            title: self.title.clone(),
            techniques: self.techniques.clone(),
            severity: self.severity,
            count: self.count(),
            first_at: self.first_at,
            last_at: self.last_at,
        }
    }
}

/// Puts the alerts of a block into groups, in order of their first alert.
#[must_use]
pub fn group(tenant: TenantId, fields: &Fields<'_>) -> Vec<Group> {
    let mut inside = InsideCache::default();
    let mut newest: HashMap<[u32; 4], usize> = HashMap::new();
    let mut groups: Vec<Group> = Vec::new();
    for position in 0..fields.len() {
        let number = |field| fields.number(position, field);
        let host_field = subject(fields, position, &mut inside);
        // The rule is its uid where it has one, else its title.
        let rule_field = if number(Field::RuleUid) == 0 { Field::Title } else { Field::RuleUid };
        let host = host_field.map_or(0, number);
        let key = [number(Field::Product), number(rule_field), rule_field as u32, host];
        let at = fields.time(position).unwrap_or_else(|| fields.observed_at(position));
        let severity = fields.severity(position);
        let further = fields.count(position).saturating_sub(1);
        let place = u16::try_from(position).expect("a block's positions fit 16 bits");
        if let Some(index) = newest.get(&key)
            && let Some(group) = groups.get_mut(*index).filter(|group| is_near(group, at))
        {
            group.positions.push(place);
            group.further = group.further.saturating_add(further);
            group.severity = group.severity.max(severity);
            group.first_at = group.first_at.min(at);
            group.last_at = group.last_at.max(at);
            continue;
        }
        newest.insert(key, groups.len());
        let text = |field| fields.text(position, field).unwrap_or_default();
        let host = host_field.map(text).unwrap_or_default().to_lowercase();
        let rule = text(rule_field);
        let parts = [tenant.as_str(), text(Field::Product), rule, &host].map(str::as_bytes);
        groups.push(Group {
            fingerprint: digest(parts),
            host,
            product: text(Field::Product).to_owned(),
            rule_uid: text(Field::RuleUid).to_owned(),
            title: text(Field::Title).to_owned(),
            techniques: text(Field::Techniques).to_owned(),
            severity,
            first_at: at,
            last_at: at,
            positions: vec![place],
            further,
        });
    }
    groups
}

/// Returns whether an alert at `at` continues the group's stretch of time. Half the gap of a case leaves room for the
/// case's own alerts on the other side.
fn is_near(group: &Group, at: Timestamp) -> bool {
    let reach = CASE_GAP / 2;
    let (first, last) = (group.first_at.min(at), group.last_at.max(at));
    at >= group.first_at.saturating_sub(reach)
        && at <= group.last_at.saturating_add(reach)
        && last.since(first) <= CASE_SPAN_MAX
}

/// The newest cases of one host, by event time: what a group may join.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostCases {
    /// The newest last; at most [`HOST_CASES_MAX`].
    pub cases: Vec<HostCase>,
}

/// One case of a host, and the event time that it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostCase {
    /// The case.
    pub case: CaseId,
    /// Event time of its earliest alert.
    pub first_at: Timestamp,
    /// Event time of its latest alert.
    pub last_at: Timestamp,
}

impl HostCases {
    /// Returns the newest case that alerts from `first_at` to `last_at` belong to.
    #[must_use]
    pub fn joining(&self, first_at: Timestamp, last_at: Timestamp) -> Option<CaseId> {
        let joins = |known: &&HostCase| {
            let (start, end) = (known.first_at.min(first_at), known.last_at.max(last_at));
            first_at <= known.last_at.saturating_add(CASE_GAP)
                && last_at >= known.first_at.saturating_sub(CASE_GAP)
                && end.since(start) <= CASE_SPAN_MAX
        };
        self.cases.iter().rev().find(joins).map(|known| known.case)
    }

    /// Notes that `case` covers `first_at` to `last_at`, and forgets the oldest of the others beyond the bound: what
    /// comes next of a late backlog belongs to this one.
    pub fn cover(&mut self, case: CaseId, first_at: Timestamp, last_at: Timestamp) {
        match self.cases.iter_mut().find(|known| known.case == case) {
            Some(known) => {
                known.first_at = known.first_at.min(first_at);
                known.last_at = known.last_at.max(last_at);
            }
            None => self.cases.push(HostCase { case, first_at, last_at }),
        }
        self.cases.sort_by_key(|known| (known.last_at, known.case));
        if self.cases.len() > HOST_CASES_MAX {
            let oldest = usize::from(self.cases[0].case == case);
            self.cases.remove(oldest);
        }
    }

    /// Forgets cases: those that are there no more.
    pub fn forget(&mut self, gone: &BTreeSet<CaseId>) {
        self.cases.retain(|known| !gone.contains(&known.case));
    }
}

/// Returns the id of the case that a group of a block opens. `salt` is how many such ids were found to be another
/// tenant's case's.
#[must_use]
pub fn case_id(tenant: TenantId, stream: StreamId, seq: Seq, group: &Group, salt: u8) -> CaseId {
    let position = group.positions.first().copied().unwrap_or_default();
    let salt = [salt];
    let parts = [
        tenant.as_bytes().as_slice(),
        stream.agent.as_bytes(),
        &stream.epoch.0.to_be_bytes(),
        &[stream.lane as u8],
        &seq.as_u64().to_be_bytes(),
        &position.to_be_bytes(),
    ];
    // The first one is as it always was.
    let salt = (salt[0] > 0).then_some(salt.as_slice());
    CaseId::from_digest(digest(parts.into_iter().chain(salt)))
}

#[cfg(test)]
mod tests {
    use shared::{
        alert::Alert,
        block::{Block, BlockBuilder},
    };

    use super::*;

    const HOUR: u64 = 3_600_000;

    fn groups(alerts: &[(&'static str, &'static str, u64)]) -> Vec<Group> {
        let mut builder = BlockBuilder::new();
        for (title, host, hours) in alerts {
            let at = Timestamp::from_ms(1_000_000_000_000 + hours * HOUR / 10);
            let mut alert = Alert::default();
            (alert.time, alert.observed_at) = (Some(at), at);
            alert.set(Field::Product, "test");
            alert.set(Field::Title, *title);
            alert.set(Field::DeviceHostname, *host);
            builder.push(&alert, b"record").unwrap();
        }
        let block = Block::parse(builder.finish(1)).unwrap();
        let raw = block.decompress_fields().unwrap();
        group("acme".parse().unwrap(), &raw.decode().unwrap())
    }

    #[test]
    fn alerts_that_an_agent_folded_into_one_are_counted_with_it() {
        let mut builder = BlockBuilder::new();
        for count in [1, 90, u64::MAX] {
            let mut alert = Alert::default();
            alert.count = count;
            builder.push(&alert, b"record").unwrap();
        }
        let block = Block::parse(builder.finish(1)).unwrap();
        let raw = block.decompress_fields().unwrap();
        let groups = group("acme".parse().unwrap(), &raw.decode().unwrap());
        assert_eq!((groups.len(), groups[0].positions.len()), (1, 3));
        assert_eq!(groups[0].count(), u64::MAX, "a liar's count does not wrap around");
    }

    #[test]
    fn alerts_of_one_rule_and_host_are_one_group_and_others_are_their_own() {
        let groups = groups(&[("a", "h1", 0), ("b", "h1", 0), ("a", "h1", 1), ("a", "h2", 1)]);
        let positions: Vec<_> = groups.iter().map(|group| group.positions.clone()).collect();
        assert_eq!(positions, [vec![0, 2], vec![1], vec![3]]);
        assert_eq!(groups.iter().map(|g| g.fingerprint).collect::<BTreeSet<_>>().len(), 3);
    }

    #[test]
    fn a_long_pause_in_event_time_begins_a_new_group() {
        let groups = groups(&[("a", "h1", 0), ("a", "h1", 4), ("a", "h1", 20)]);
        assert_eq!(groups.len(), 2);
        assert_eq!(groups[0].fingerprint, groups[1].fingerprint);
    }

    #[test]
    fn a_group_joins_the_case_that_its_event_time_touches() {
        let at = |hours: u64| Timestamp::from_ms(hours * HOUR);
        let id = |n| CaseId::from_u64(n);
        let mut host = HostCases::default();
        host.cover(id(1), at(100), at(101));
        host.cover(id(2), at(110), at(112));
        assert_eq!(host.joining(at(102), at(102)), Some(id(1)));
        assert_eq!(host.joining(at(109), at(109)), Some(id(2)), "late alerts join in event time");
        assert_eq!(host.joining(at(105), at(105)), None);
        host.cover(id(1), at(100), at(124));
        assert_eq!(host.joining(at(125), at(125)), None, "no case stretches for more than a day");
    }

    #[test]
    fn a_host_remembers_a_bounded_number_of_cases_the_newest() {
        let mut host = HostCases::default();
        for n in 0..HOST_CASES_MAX as u64 + 10 {
            let at = Timestamp::from_ms(n * 10 * HOUR);
            host.cover(CaseId::from_u64(n), at, at);
        }
        assert_eq!(host.cases.len(), HOST_CASES_MAX);
        assert_eq!(host.cases[0].case, CaseId::from_u64(10));
    }

    #[test]
    fn a_late_backlog_of_a_host_with_many_newer_cases_is_one_case() {
        let mut host = HostCases::default();
        for n in 10..10 + HOST_CASES_MAX as u64 {
            let at = Timestamp::from_ms(n * 10 * HOUR);
            host.cover(CaseId::from_u64(n), at, at);
        }
        let late = Timestamp::from_ms(HOUR);
        assert_eq!(host.joining(late, late), None);
        host.cover(CaseId::from_u64(1), late, late);
        assert_eq!(host.joining(late, late), Some(CaseId::from_u64(1)));
        assert_eq!(host.cases.len(), HOST_CASES_MAX);
        host.forget(&BTreeSet::from([CaseId::from_u64(1)]));
        assert_eq!(host.joining(late, late), None);
    }
}
