use super::*;
use crate::{limits::LEASE_DEFAULT, triage::evidence::Evidence};

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

fn evidence() -> Evidence {
    let tenant = "acme".parse().unwrap();
    let id = CaseId::from_digest([7; 16]);
    Evidence::open(id, tenant, &group("scan", Severity::Medium, 5), &Sla::default(), at(1_000))
}

fn case() -> Case {
    evidence().case
}

/// Returns `case`, which [`evidence`] opened, after a group of this title came for it.
fn absorbed(case: &Case, title: &str, severity: Severity) -> Case {
    let mut rows = Evidence { case: case.clone(), ..evidence() };
    rows.absorb(&group(title, severity, 6), &Sla::default(), at(3_000));
    rows.case
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
    let same = absorbed(&closed, "scan", Severity::Medium);
    assert!(matches!(same.state, CaseState::Closed(_)));
    assert_eq!(same.alert_count, 2);
    let news = [("exploit", Severity::Low), ("scan", Severity::High)];
    for news in news.map(|(title, severity)| absorbed(&closed, title, severity)) {
        assert_eq!((&news.state, news.reopened_count), (&CaseState::Open, 1));
        assert!(news.deadline > at(3_000), "the clock starts again");
    }
}

#[test]
fn a_claim_that_is_over_for_good_decides_nothing_any_more() {
    let claimed = case().claim("ann", LEASE_DEFAULT, at(2_000)).unwrap();
    let released = claimed.release("ann", claimed.fence).unwrap();
    let closed = decide(&claimed, "ann", 2_500).unwrap();
    let reopened = absorbed(&closed, "exploit", Severity::Low);
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
    let same = decide(&absorbed(&claimed, "scan", Severity::Low), Some(read)).unwrap();
    let CaseState::Closed(verdict) = same.state else { panic!("closed") };
    assert_eq!(verdict.revision_seen, read, "what was read and not what is there");
    let news = [("exploit", Severity::Low), ("scan", Severity::High)];
    for news in news.map(|(title, severity)| absorbed(&claimed, title, severity)) {
        let refused = Refused::NewEvidence { read, news: news.revision };
        assert_eq!(decide(&news, Some(read)), Err(refused));
        assert!(decide(&news, Some(news.revision)).is_ok());
        assert!(decide(&news, None).is_ok(), "who does not say what was read has read it all");
    }
}

#[test]
fn a_lease_that_no_clock_can_have_given_is_none() {
    let ahead = at(2_000).saturating_add(LEASE_MAX * 1_000);
    let claimed = case().claim("ann", LEASE_DEFAULT, ahead).unwrap();
    assert!(claimed.expire(ahead).is_none());
    assert!(claimed.expire(at(2_000)).is_some());
    assert!(claimed.claim("bob", LEASE_DEFAULT, at(2_000)).is_ok());
}
