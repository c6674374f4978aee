//! The queue: which case comes next, and why.
//!
//! A view over all cases that are not closed, built from the store and kept up from the journal. It may be a moment
//! behind: a claim is a transaction on the case itself, so that costs a retry and never a double claim.
//!
//! [`next`] is the dispatcher: a pure function of (view, who asks, now). Its order is deadline, then risk, then id.
//!
//! # Cost
//! A change or a pick costs the logarithm of the number of cases, and a pick one look per tenant
//! that the analyst may see.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap},
};

use serde::Serialize;
use shared::{alert::Severity, ids::TenantId, time::Timestamp};

use crate::triage::case::{Case, CaseId, CaseState, is_live};

/// Place of an open case: the smaller, the sooner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    deadline: Timestamp,
    risk: Reverse<u16>,
    case: CaseId,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    tenant: TenantId,
    place: Place,
    severity: Severity,
    revision: u64,
    /// Until when somebody has it; `None` while it waits.
    until: Option<Timestamp>,
}

/// The waiting cases of one tenant.
#[derive(Debug, Default)]
struct Waiting {
    places: BTreeSet<Place>,
    by_severity: BySeverity,
}

/// Numbers of cases, by [`Severity::id`].
type BySeverity = [usize; Severity::ALL.len()];

/// All cases that are not closed.
#[derive(Debug, Default)]
pub struct QueueView {
    waiting: BTreeMap<TenantId, Waiting>,
    leases: BTreeSet<(Timestamp, CaseId)>,
    entries: HashMap<CaseId, Entry>,
}

/// Whose cases somebody may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TenantScope {
    /// Every tenant's.
    All,
    /// These tenants' only.
    Only(BTreeSet<TenantId>),
}

impl TenantScope {
    /// Returns whether `tenant` is in the scope (L5).
    #[must_use]
    pub fn allows(&self, tenant: TenantId) -> bool {
        match self {
            Self::All => true,
            Self::Only(tenants) => tenants.contains(&tenant),
        }
    }
}

/// Why the dispatcher chose a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum Reason {
    /// No waiting case that this analyst may see has an earlier deadline.
    EarliestDeadline {
        /// The deadline.
        deadline: Timestamp,
        /// Minutes left; negative once it has passed.
        minutes_left: i64,
    },
    /// Among cases of one deadline it looks worst.
    HighestRisk {
        /// From 0 to 999.
        risk: u16,
    },
    /// How many cases wait that this analyst may see, this one included.
    Waiting {
        /// The number.
        cases: usize,
    },
}

/// How many cases there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// Waiting for somebody.
    pub waiting: usize,
    /// With an analyst.
    pub claimed: usize,
}

impl QueueView {
    /// Returns an empty view.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a case as it is stored now. An older revision than the one known changes nothing,
    /// so the order in which
    /// changes are heard of does not matter.
    pub fn apply(&mut self, case: &Case) {
        if self.entries.get(&case.id).is_some_and(|entry| entry.revision >= case.revision) {
            return;
        }
        self.remove(case.id);
        let until = match &case.state {
            CaseState::Open => None,
            CaseState::Claimed { until, .. } => Some(*until),
            CaseState::Closed(_) => return,
        };
        let place = Place { deadline: case.deadline, risk: Reverse(case.risk), case: case.id };
        match until {
            None => {
                let waiting = self.waiting.entry(case.tenant).or_default();
                waiting.places.insert(place);
                waiting.by_severity[usize::from(case.severity.id())] += 1;
            }
            Some(until) => drop(self.leases.insert((until, case.id))),
        }
        let (tenant, severity, revision) = (case.tenant, case.severity, case.revision);
        self.entries.insert(case.id, Entry { tenant, place, severity, revision, until });
    }

    /// Forgets a case, because it is gone from the store or closed.
    pub fn remove(&mut self, case: CaseId) {
        let Some(entry) = self.entries.remove(&case) else { return };
        match entry.until {
            Some(until) => drop(self.leases.remove(&(until, case))),
            None => {
                if let Some(waiting) = self.waiting.get_mut(&entry.tenant) {
                    waiting.places.remove(&entry.place);
                    waiting.by_severity[usize::from(entry.severity.id())] -= 1;
                    if waiting.places.is_empty() {
                        self.waiting.remove(&entry.tenant);
                    }
                }
            }
        }
    }

    /// Returns the cases whose lease is not live at `now`, those that ran out the longest ago first, at most `limit`.
    #[must_use]
    pub fn expired(&self, now: Timestamp, limit: usize) -> Vec<CaseId> {
        let ran_out = self.leases.iter().take_while(|(until, _)| *until <= now);
        let beyond = self.leases.iter().rev().take_while(|(until, _)| *until > now);
        let impossible = beyond.take_while(|(until, _)| !is_live(*until, now));
        ran_out.chain(impossible).take(limit).map(|(_, case)| *case).collect()
    }

    /// Returns the first `limit` waiting cases that `scope` allows, in the order in which they will be given out.
    #[must_use]
    pub fn head(&self, scope: &TenantScope, limit: usize) -> Vec<CaseId> {
        let mut runs: Vec<_> = self.allowed(scope).map(|waiting| waiting.places.iter()).collect();
        let mut heads: BinaryHeap<Reverse<(Place, usize)>> = runs
            .iter_mut()
            .enumerate()
            .filter_map(|(run, places)| Some(Reverse((*places.next()?, run))))
            .collect();
        let mut head = Vec::new();
        while head.len() < limit {
            let Some(Reverse((place, run))) = heads.pop() else { break };
            head.push(place.case);
            heads.extend(runs[run].next().map(|place| Reverse((*place, run))));
        }
        head
    }

    /// Returns how many cases of the scope wait and are claimed.
    #[must_use]
    pub fn counts(&self, scope: &TenantScope) -> QueueCounts {
        let claimed = self.leases.iter().filter(|(_, case)| {
            self.entries.get(case).is_some_and(|entry| scope.allows(entry.tenant))
        });
        let waiting = self.allowed(scope).map(|waiting| waiting.places.len()).sum();
        QueueCounts { waiting, claimed: claimed.count() }
    }

    /// Returns how many waiting cases are past their deadline. Costs as many steps.
    #[must_use]
    pub fn late(&self, now: Timestamp) -> usize {
        self.waiting.values().map(|waiting| waiting.late(now)).sum()
    }

    /// Returns how many waiting cases there are by severity, and how many of all are past their deadline. Costs a step
    /// for each tenant and each late case.
    #[must_use]
    pub fn totals(&self, now: Timestamp) -> (BySeverity, usize) {
        self.totals_of(&TenantScope::All, now)
    }

    /// Returns what [`Self::totals`] does, of the cases that `scope` allows.
    #[must_use]
    pub fn totals_of(&self, scope: &TenantScope, now: Timestamp) -> (BySeverity, usize) {
        let mut by_severity = BySeverity::default();
        let mut late = 0;
        for waiting in self.allowed(scope) {
            by_severity.iter_mut().zip(waiting.by_severity).for_each(|(sum, here)| *sum += here);
            late += waiting.late(now);
        }
        (by_severity, late)
    }

    fn allowed(&self, scope: &TenantScope) -> impl Iterator<Item = &Waiting> {
        let allowed = self.waiting.iter().filter(|(tenant, _)| scope.allows(**tenant));
        allowed.map(|(_, waiting)| waiting)
    }
}

impl Waiting {
    fn late(&self, now: Timestamp) -> usize {
        self.places.iter().take_while(|place| place.deadline < now).count()
    }
}

/// Picks the next case for an analyst with this scope, and says why.
#[must_use]
pub fn next(
    view: &QueueView,
    scope: &TenantScope,
    now: Timestamp,
) -> Option<(CaseId, Vec<Reason>)> {
    let mut cases = 0;
    let mut best: Option<Place> = None;
    for waiting in view.allowed(scope) {
        cases += waiting.places.len();
        let first = waiting.places.first().copied();
        best = best.into_iter().chain(first).min();
    }
    let place = best?;
    let left_ms = i128::from(place.deadline.as_ms()) - i128::from(now.as_ms());
    let minutes_left = i64::try_from(left_ms.div_euclid(60_000)).unwrap_or(i64::MAX);
    let reasons = vec![
        Reason::EarliestDeadline { deadline: place.deadline, minutes_left },
        Reason::HighestRisk { risk: place.risk.0 },
        Reason::Waiting { cases },
    ];
    Some((place.case, reasons))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::triage::{case::tests::group, evidence::Evidence, sla::Sla};

    fn case(n: u64, tenant: &str, severity: Severity, opened: u64) -> Case {
        let group = group("scan", severity, 0);
        let opened = Timestamp::from_ms(opened);
        let tenant = tenant.parse().unwrap();
        Evidence::open(CaseId::from_u64(n), tenant, &group, &Sla::default(), opened).case
    }

    fn only(tenant: &str) -> TenantScope {
        TenantScope::Only(BTreeSet::from([tenant.parse().unwrap()]))
    }

    fn view(cases: &[Case]) -> QueueView {
        let mut view = QueueView::new();
        cases.iter().for_each(|case| view.apply(case));
        view
    }

    fn first(view: &QueueView, scope: &TenantScope) -> Option<u64> {
        next(view, scope, Timestamp::ZERO).map(|(case, _)| case.as_u64())
    }

    #[test]
    fn the_earliest_deadline_comes_first_and_then_the_higher_risk() {
        let mut worse = case(3, "acme", Severity::High, 50);
        worse.risk += 50;
        let view = view(&[
            case(1, "acme", Severity::Low, 0),
            case(2, "acme", Severity::High, 50),
            worse,
            case(4, "globex", Severity::High, 40),
        ]);
        let order: Vec<u64> =
            view.head(&TenantScope::All, 10).into_iter().map(CaseId::as_u64).collect();
        assert_eq!(order, [4, 3, 2, 1]);
        assert_eq!(first(&view, &TenantScope::All), Some(4));
        let (_, reasons) = next(&view, &TenantScope::All, Timestamp::ZERO).unwrap();
        assert!(reasons.contains(&Reason::Waiting { cases: 4 }));
    }

    #[test]
    fn nobody_is_given_a_case_of_a_tenant_outside_their_scope() {
        let view =
            view(&[case(1, "acme", Severity::Low, 0), case(4, "globex", Severity::High, 40)]);
        assert_eq!(first(&view, &only("acme")), Some(1));
        assert_eq!(first(&view, &only("initech")), None);
        assert_eq!(view.counts(&only("globex")).waiting, 1);
    }

    #[test]
    fn the_totals_are_those_of_the_cases_that_wait_whatever_happened_before() {
        let (low, high) = (case(1, "acme", Severity::Low, 0), case(2, "globex", Severity::High, 0));
        let lease = std::time::Duration::from_secs(60);
        let claimed = low.claim("ann", lease, Timestamp::ZERO).unwrap();
        let mut view = view(&[low.clone(), high.clone()]);
        let end = high.deadline.saturating_add(std::time::Duration::from_millis(1));
        let severities = |view: &QueueView, scope: &TenantScope| {
            let (by_severity, late) = view.totals_of(scope, end);
            let of = |severity: Severity| by_severity[usize::from(severity.id())];
            (of(Severity::Low), of(Severity::High), late)
        };
        assert_eq!(severities(&view, &TenantScope::All), (1, 1, 1));
        assert_eq!(severities(&view, &only("acme")), (1, 0, 0));
        view.apply(&claimed);
        assert_eq!(severities(&view, &TenantScope::All), (0, 1, 1));
        view.apply(&claimed.expire(Timestamp::from_ms(60_000)).unwrap());
        view.remove(high.id);
        assert_eq!(severities(&view, &TenantScope::All), (1, 0, 0));
    }

    #[test]
    fn a_claimed_case_is_not_offered_and_comes_back_when_its_lease_runs_out() {
        let open = case(1, "acme", Severity::Low, 0);
        let lease = std::time::Duration::from_secs(60);
        let claimed = open.claim("ann", lease, Timestamp::ZERO).unwrap();
        let mut view = view(&[open.clone(), claimed.clone()]);
        assert_eq!(first(&view, &TenantScope::All), None);
        let end = Timestamp::from_ms(60_000);
        assert_eq!(view.expired(Timestamp::from_ms(59_999), 10), []);
        assert_eq!(view.expired(end, 10), [open.id]);
        view.apply(&claimed.expire(end).unwrap());
        assert_eq!(first(&view, &TenantScope::All), Some(1));
        view.apply(&claimed);
        assert_eq!(first(&view, &TenantScope::All), Some(1), "an older revision changes nothing");
        view.remove(open.id);
        assert_eq!(view.counts(&TenantScope::All), QueueCounts::default());
    }
}
