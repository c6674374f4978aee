use std::{collections::BTreeSet, time::Duration};

use super::*;
use crate::{
    limits::LEASE_DEFAULT,
    triage::case::{Judgement, VerdictKind, tests::group},
};

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn opened() -> Evidence {
    let tenant = "acme".parse().unwrap();
    let id = CaseId::from_digest([7; 16]);
    Evidence::open(id, tenant, &group("scan", Severity::Medium, 5), &Sla::default(), at(1_000))
}

fn absorb(rows: &mut Evidence, title: &str, severity: Severity) {
    rows.absorb(&group(title, severity, 6), &Sla::default(), at(2_000));
}

#[test]
fn a_finding_beyond_the_named_ones_reopens_a_closed_case_once() {
    let mut rows = opened();
    let rule = |rows: &mut Evidence, n| absorb(rows, &format!("rule {n}"), Severity::Low);
    (0..FINDINGS_MAX + 5).for_each(|n| rule(&mut rows, n));
    for (n, reopens) in [(FINDINGS_MAX + 4, false), (FINDINGS_MAX + 5, true)] {
        let claimed = rows.case.claim("ann", LEASE_DEFAULT, at(2_000)).unwrap();
        let kind = VerdictKind::BenignExpected;
        let judgement = Judgement { kind, reason: "known scanner", revision_read: None };
        let case = claimed.decide("ann", claimed.fence, judgement, at(2_500)).unwrap();
        let mut closed = Evidence { case, ..rows.clone() };
        rule(&mut closed, n);
        assert_eq!(closed.case.state == CaseState::Open, reopens, "rule {n}");
        rule(&mut rows, n);
    }
    (0..2 * (FINDINGS_MAX + OTHERS_MAX)).for_each(|n| rule(&mut rows, n));
    assert_eq!(rows.known.others.len(), OTHERS_MAX, "L7");
}

#[test]
fn a_worse_alert_brings_the_deadline_forward_and_a_milder_one_does_not_push_it_back() {
    let mut rows = opened();
    let before = rows.case.deadline;
    absorb(&mut rows, "noise", Severity::Low);
    assert_eq!(rows.case.deadline, before);
    absorb(&mut rows, "exploit", Severity::Critical);
    assert_eq!(rows.case.deadline.since(at(2_000)), Duration::from_secs(900));
}

#[test]
fn findings_have_a_bound_and_what_is_beyond_it_is_counted() {
    let mut rows = opened();
    for n in 0..FINDINGS_MAX + 5 {
        absorb(&mut rows, &format!("rule {n}"), Severity::Low);
    }
    assert_eq!((rows.known.named.len(), rows.findings.len()), (FINDINGS_MAX, FINDINGS_MAX));
    let named: u64 = rows.findings.values().map(|finding| finding.count).sum();
    assert_eq!(named + rows.case.other_count, rows.case.alert_count);
}

#[test]
fn more_of_the_same_changes_nothing_of_what_is_known() {
    let mut rows = opened();
    assert!(rows.knows_more);
    rows.knows_more = false;
    absorb(&mut rows, "scan", Severity::High);
    assert!(!rows.knows_more);
    assert_eq!((rows.findings[&0].count, rows.findings[&0].severity), (2, Severity::High));
    absorb(&mut rows, "exploit", Severity::Low);
    assert!(rows.knows_more);
}

/// A case of which all findings are at hand: what the rows must amount to.
#[derive(Default)]
struct Whole {
    findings: Vec<Finding>,
    others: BTreeSet<[u8; 8]>,
    severity: Severity,
    risk: u16,
}

impl Whole {
    /// Takes in a group; returns whether that is news.
    fn absorb(&mut self, group: &Group) -> bool {
        let head = *group.fingerprint.first_chunk().unwrap();
        let is_room = self.findings.len() < FINDINGS_MAX;
        let known = self.findings.iter_mut().find(|it| it.fingerprint == group.fingerprint);
        let is_new = match known {
            Some(finding) => {
                finding.absorb(group);
                false
            }
            None if is_room => {
                self.findings.push(group.finding());
                true
            }
            None => self.others.len() < OTHERS_MAX && self.others.insert(head),
        };
        let is_news = is_new || group.severity > self.severity;
        self.severity = self.severity.max(group.severity);
        if is_news {
            self.risk = self.assess();
        }
        is_news
    }

    fn assess(&self) -> u16 {
        let severity = match self.severity {
            Severity::Unknown => Severity::Medium.id(),
            known => known.id(),
        };
        let techniques = self.findings.iter().flat_map(|finding| finding.techniques.split(','));
        let techniques: BTreeSet<&str> = techniques.filter(|it| !it.is_empty()).collect();
        let small = self.findings.len().min(9) * 10 + techniques.len().min(9);
        u16::from(severity) * 100 + u16::try_from(small).unwrap()
    }

    fn title(&self) -> &str {
        let worst = self.findings.iter().map(|finding| finding.severity).max().unwrap();
        &self.findings.iter().find(|finding| finding.severity == worst).unwrap().title
    }
}

/// A little chance that is the same in each run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

/// So many that all that can be named and noted is, and then some.
const GROUPS: usize = 8 * (FINDINGS_MAX + OTHERS_MAX);

#[test]
fn rows_of_which_only_some_are_loaded_amount_to_a_case_that_is_kept_whole() {
    for seed in 1..=8 {
        let mut chance = Chance(seed);
        let mut rows = opened();
        let mut stored = std::mem::take(&mut rows.findings);
        let mut whole = Whole::default();
        whole.absorb(&group("scan", Severity::Medium, 5));
        for n in 0..GROUPS {
            // More and more findings, and worse and worse ones, so that the worst changes often.
            let some = [10, FINDINGS_MAX, 2 * (FINDINGS_MAX + OTHERS_MAX)][chance.below(3)];
            let title = format!("finding {}", chance.below(some));
            let severity = Severity::ALL[chance.below(1 + n * Severity::ALL.len() / GROUPS)];
            let techniques = format!("T{},,T{}", chance.below(12), chance.below(2));
            let group = Group { techniques, ..group(&title, severity, 5) };
            let loaded = rows.known.number_of(&group.fingerprint);
            rows.findings =
                loaded.map(|number| (number, stored[&number].clone())).into_iter().collect();
            rows.absorb(&group, &Sla::default(), at(2_000));
            assert!(rows.findings.len() <= 1, "a group changes one finding");
            stored.append(&mut rows.findings);
            let is_news = whole.absorb(&group);
            let Case { risk, severity, news_revision, revision, ref headline, .. } = rows.case;
            assert_eq!((risk, severity), (whole.risk, whole.severity), "after {n} groups");
            assert_eq!(headline.title, whole.title(), "after {n} groups");
            assert_eq!(news_revision == revision, is_news, "after {n} groups");
        }
        assert!(stored.values().eq(&whole.findings));
        assert_eq!(usize::from(rows.case.headline.finding_count), whole.findings.len());
        assert_eq!((rows.known.others.len(), whole.others.len()), (OTHERS_MAX, OTHERS_MAX));
        let again = Evidence::of_whole(
            Case { headline: Headline::default(), ..rows.case.clone() },
            whole.findings,
            rows.known.others.clone(),
        );
        assert_eq!((again.case, again.known), (rows.case, rows.known), "as an upgrade makes it");
    }
}
