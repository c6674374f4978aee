use super::*;
use crate::limits::LEASE_DEFAULT;

pub(crate) fn group(title: &str, severity: Severity, at_ms: u64) -> Group {
    Group {
        fingerprint: crate::triage::entity::digest([title.as_bytes()]),
        host: "srv1".into(),
        product: "test".into(),
        rule_uid: String::new(),
        title: title.into(),
        techniques: "T1110".into(),
        severity,
        first_at: Timestamp::from_ms(at_ms),
        last_at: Timestamp::from_ms(at_ms),
        positions: vec![0],
        further: 0,
    }
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn case() -> Case {
    let tenant = "acme".parse().unwrap();
    let id = CaseId::from_digest([7; 16]);
    Case::open(id, tenant, &group("scan", Severity::Medium, 5), &Sla::default(), at(1_000))
}

fn decide(case: &Case, holder: &str, now: u64) -> Result<Case, Refused> {
    let judgement = judgement(None);
    case.decide(holder, case.fence, judgement, at(now))
}

fn judgement(revision_read: Option<u64>) -> Judgement<'static> {
    Judgement { kind: VerdictKind::BenignExpected, reason: "known scanner", revision_read }
}

#[test]
fn an_id_is_read_back_as_it_was_written() {
    for digest in [[0; 16], [255; 16], [0x5a; 16]] {
        let id = CaseId::from_digest(digest);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().len(), 12);
    }
    for bad in ["", "0", "0123456789ab0", "0123456789aI", "0123456789au"] {
        assert!(bad.parse::<CaseId>().is_err(), "{bad}");
    }
}

#[test]
fn a_claimed_case_cannot_be_claimed_until_its_lease_runs_out() {
    let first = case().claim("ann", LEASE_DEFAULT, at(2_000)).unwrap();
    let CaseState::Claimed { until, .. } = first.state else { panic!("claimed") };
    let before = at(until.as_ms() - 1);
    assert!(matches!(first.claim("bob", LEASE_DEFAULT, before), Err(Refused::Held { .. })));
    let second = first.claim("bob", LEASE_DEFAULT, until).unwrap();
    assert_eq!(second.fence, Fence(2));
}

#[test]
fn a_writer_with_an_old_fence_is_refused_whatever_the_clock_says() {
    let first = case().claim("ann", LEASE_DEFAULT, at(2_000)).unwrap();
    let second =
        first.expire(at(u64::MAX)).unwrap().claim("ann", LEASE_DEFAULT, at(3_000)).unwrap();
    let stale = Err(Refused::StaleFence { given: 1, newest: 2 });
    assert_eq!(second.release("ann", first.fence), stale);
    assert_eq!(second.renew("ann", first.fence, LEASE_DEFAULT, at(0)), stale);
    assert_eq!(second.decide("ann", first.fence, judgement(None), at(0)), stale);
    assert_eq!(decide(&second, "bob", 0), Err(Refused::NotYours("ann".into())));
    assert_eq!(
        case().release("ann", Fence(0)),
        Err(Refused::StaleFence { given: 0, newest: 0 }),
        "a case that nobody claimed is nobody's"
    );
}

#[test]
fn a_verdict_says_what_it_was_based_on() {
    let claimed = case().claim("ann", LEASE_DEFAULT, at(2_000)).unwrap();
    let CaseState::Closed(verdict) = decide(&claimed, "ann", 2_500).unwrap().state else {
        panic!("closed")
    };
    assert_eq!((verdict.alerts_seen, verdict.revision_seen), (1, claimed.revision));
}

#[test]
fn a_verdict_after_the_lease_counts_while_nobody_else_has_the_case() {
    let claimed = case().claim("ann", LEASE_DEFAULT, at(2_000)).unwrap();
    let lapsed = claimed.expire(at(u64::MAX)).unwrap();
    assert_eq!(lapsed.state, CaseState::Open);
    assert!(decide(&lapsed, "ann", 9_000).is_ok());
    assert_eq!(
        lapsed.renew("ann", lapsed.fence, LEASE_DEFAULT, at(9_000)),
        Err(Refused::LeaseExpired)
    );
}

#[test]
fn more_of_the_same_does_not_reopen_a_closed_case_and_news_does() {
    let claimed = case().claim("ann", LEASE_DEFAULT, at(2_000)).unwrap();
    let closed = decide(&claimed, "ann", 2_500).unwrap();
    let absorb = |title: &str, severity| {
        let mut case = closed.clone();
        case.absorb(&group(title, severity, 6), &Sla::default(), at(3_000));
        case
    };
    let same = absorb("scan", Severity::Medium);
    assert!(matches!(same.state, CaseState::Closed(_)));
    assert_eq!((same.alert_count, same.findings[0].count), (2, 2));
    for news in [absorb("exploit", Severity::Low), absorb("scan", Severity::High)] {
        assert_eq!((&news.state, news.reopened_count), (&CaseState::Open, 1));
        assert!(news.deadline > at(3_000), "the clock starts again");
    }
}

#[test]
fn a_claim_that_is_over_for_good_decides_nothing_any_more() {
    let claimed = case().claim("ann", LEASE_DEFAULT, at(2_000)).unwrap();
    let released = claimed.release("ann", claimed.fence).unwrap();
    let mut reopened = decide(&claimed, "ann", 2_500).unwrap();
    reopened.absorb(&group("exploit", Severity::Low, 6), &Sla::default(), at(3_000));
    for over in [released, reopened] {
        assert_eq!(over.state, CaseState::Open);
        let again = over.decide("ann", claimed.fence, judgement(None), at(3_000));
        assert_eq!(again, Err(Refused::StaleFence { given: 1, newest: 2 }), "L6");
        let guessed = over.decide("ann", over.fence, judgement(None), at(3_000));
        assert_eq!(guessed, Err(Refused::LeaseExpired), "L6: a number that nobody was given");
        assert!(over.claim("bob", LEASE_DEFAULT, at(3_000)).unwrap().fence > over.fence);
    }
}

#[test]
fn a_verdict_on_less_than_the_case_holds_is_refused_and_more_of_the_same_is_no_reason() {
    let claimed = case().claim("ann", LEASE_DEFAULT, at(2_000)).unwrap();
    let decide = |case: &Case, read| case.decide("ann", case.fence, judgement(read), at(4_000));
    let read = claimed.revision;
    let absorb = |title: &str, severity| {
        let mut case = claimed.clone();
        case.absorb(&group(title, severity, 6), &Sla::default(), at(3_000));
        case
    };
    let same = decide(&absorb("scan", Severity::Low), Some(read)).unwrap();
    let CaseState::Closed(verdict) = same.state else { panic!("closed") };
    assert_eq!(verdict.revision_seen, read, "what was read and not what is there");
    for news in [absorb("exploit", Severity::Low), absorb("scan", Severity::High)] {
        let refused = Refused::NewEvidence { read, news: news.revision };
        assert_eq!(decide(&news, Some(read)), Err(refused));
        assert!(decide(&news, Some(news.revision)).is_ok());
        assert!(decide(&news, None).is_ok(), "who does not say what was read has read it all");
    }
}

#[test]
fn a_finding_beyond_the_named_ones_reopens_a_closed_case_once() {
    let mut case = case();
    let absorb = |case: &mut Case, n: usize| {
        case.absorb(&group(&format!("rule {n}"), Severity::Low, 6), &Sla::default(), at(2_000));
    };
    (0..FINDINGS_MAX + 5).for_each(|n| absorb(&mut case, n));
    for (n, reopens) in [(FINDINGS_MAX + 4, false), (FINDINGS_MAX + 5, true)] {
        let claimed = case.claim("ann", LEASE_DEFAULT, at(2_000)).unwrap();
        let mut closed = decide(&claimed, "ann", 2_500).unwrap();
        absorb(&mut closed, n);
        assert_eq!(closed.state == CaseState::Open, reopens, "rule {n}");
        absorb(&mut case, n);
    }
    (0..2 * (FINDINGS_MAX + OTHERS_MAX)).for_each(|n| absorb(&mut case, n));
    assert_eq!(case.others.len(), OTHERS_MAX, "L7");
}

#[test]
fn a_lease_that_no_clock_can_have_given_is_none() {
    let ahead = at(2_000).saturating_add(LEASE_MAX * 1_000);
    let claimed = case().claim("ann", LEASE_DEFAULT, ahead).unwrap();
    assert!(claimed.expire(ahead).is_none());
    assert!(claimed.expire(at(2_000)).is_some());
    assert!(claimed.claim("bob", LEASE_DEFAULT, at(2_000)).is_ok());
}

#[test]
fn a_worse_alert_brings_the_deadline_forward_and_a_milder_one_does_not_push_it_back() {
    let mut case = case();
    let before = case.deadline;
    case.absorb(&group("noise", Severity::Low, 6), &Sla::default(), at(2_000));
    assert_eq!(case.deadline, before);
    case.absorb(&group("exploit", Severity::Critical, 7), &Sla::default(), at(2_000));
    assert_eq!(case.deadline.since(at(2_000)), Duration::from_secs(900));
}

#[test]
fn findings_have_a_bound_and_what_is_beyond_it_is_counted() {
    let mut case = case();
    for n in 0..FINDINGS_MAX + 5 {
        case.absorb(&group(&format!("rule {n}"), Severity::Low, 6), &Sla::default(), at(2_000));
    }
    assert_eq!(case.findings.len(), FINDINGS_MAX);
    let named: u64 = case.findings.iter().map(|finding| finding.count).sum();
    assert_eq!(named + case.other_count, case.alert_count);
}

#[test]
fn the_risk_is_always_that_of_what_the_case_holds() {
    let mut case = case();
    let titles: Vec<String> =
        (0..FINDINGS_MAX + 4).map(|n| format!("finding {}", n % 70)).collect();
    for (n, title) in titles.iter().chain(&titles).enumerate() {
        let severity = Severity::ALL[n * 5 % Severity::ALL.len()];
        let technique = format!("T{:04}", n % 12);
        let group = Group { techniques: technique, ..group(title, severity, 5) };
        case.absorb(&group, &Sla::default(), at(2_000));
        assert_eq!(case.risk, case.assess(), "after {n} groups");
    }
}
