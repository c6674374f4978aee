//! What the ledgers of a stretch of time cover, by agent and source.

use std::collections::BTreeMap;

use shared::{
    ids::AgentId,
    ledger::{Interval, SourceSums},
    time::Timestamp,
};

/// What is known of one source of one agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Covered {
    /// The sums of all its intervals.
    pub sums: SourceSums,
    /// When the first of them began, by the agent's clock.
    pub from: Timestamp,
    /// When the last of them ended.
    pub until: Timestamp,
    /// How many there were.
    pub intervals: u64,
    /// Version of the policy at the end; zero where there was none.
    pub policy: u64,
}

/// The sums of intervals, by agent and source.
#[derive(Clone, Debug, Default)]
pub struct Coverage(BTreeMap<(AgentId, String), Covered>);

impl Coverage {
    /// Adds an interval of an agent.
    pub fn add(&mut self, agent: AgentId, interval: &Interval) {
        for sums in &interval.sources {
            let covered = self.0.entry((agent, sums.source.clone())).or_insert_with(|| Covered {
                sums: SourceSums::of(&sums.source),
                from: interval.from,
                until: interval.until,
                intervals: 0,
                policy: 0,
            });
            covered.sums.add(sums);
            covered.from = covered.from.min(interval.from);
            covered.until = covered.until.max(interval.until);
            covered.intervals += 1;
            covered.policy = interval.policy;
        }
    }

    /// Returns how many sources there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the sources in order of agent and name.
    pub fn iter(&self) -> impl Iterator<Item = (AgentId, &Covered)> {
        self.0.iter().map(|((agent, _), covered)| (*agent, covered))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_put_together_by_agent_and_source() {
        let at = Timestamp::from_ms;
        let interval = |from, until, source: &str| {
            let sums = SourceSums { read: 3, skipped: 3, ..SourceSums::of(source) };
            let (from, until, policy) = (at(from), at(until), until);
            Interval { from, until, policy, sources: vec![sums], ..Interval::default() }
        };
        let [a, b] = [1, 2].map(|n| AgentId::from_bytes([n; 16]));
        let mut coverage = Coverage::default();
        assert!(coverage.is_empty());
        coverage.add(b, &interval(0, 9, "eve"));
        coverage.add(a, &interval(0, 5, "eve"));
        coverage.add(a, &interval(5, 7, "eve"));
        coverage.add(a, &interval(7, 8, "wazuh"));
        let shown: Vec<_> = coverage
            .iter()
            .map(|(agent, it)| (agent, it.sums.source.as_str(), it.sums.read, it.from, it.until))
            .collect();
        let expected = [
            (a, "eve", 6, at(0), at(7)),
            (a, "wazuh", 3, at(7), at(8)),
            (b, "eve", 3, at(0), at(9)),
        ];
        assert_eq!((shown.as_slice(), coverage.len()), (expected.as_slice(), 3));
        assert_eq!(coverage.iter().next().map(|(_, it)| (it.intervals, it.policy)), Some((2, 7)));
    }
}
