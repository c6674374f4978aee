#![expect(clippy::disallowed_methods, reason = "a test's own start of time")]

use proptest::prelude::*;
use std::collections::HashMap;

use super::*;

const PERIOD: Duration = Duration::from_secs(60);

fn terms() -> Terms {
    Terms { period: PERIOD, ..Terms::default() }
}

fn alert(host: &'static str, user: &'static str) -> Alert<'static> {
    let mut alert = Alert::default();
    alert.set(Field::Product, "suricata");
    alert.set(Field::RuleUid, "2010937");
    alert.set(Field::SrcIp, "10.0.0.5");
    alert.set(Field::DeviceHostname, host);
    alert.set(Field::User, user);
    alert.severity = Severity::Medium;
    alert
}

fn take(fold: &mut Fold, alert: &Alert<'_>, now: Instant) -> Taken {
    fold.take(0, &terms(), alert, b"a record", now)
}

#[test]
fn the_first_the_10th_and_the_100th_are_let_through_with_the_exact_count() {
    let (mut fold, now) = (Fold::default(), Instant::now());
    let alert = alert("ws-1", "ada");
    let mut through = Vec::new();
    for number in 1..=1_050 {
        if let Taken::Through(count) = take(&mut fold, &alert, now) {
            through.push((number, count));
        }
    }
    assert_eq!(through, [(1, 1), (10, 9), (100, 90), (1_000, 900)]);
    assert_eq!(fold.uncounted(), 50);
}

#[test]
fn a_continuous_attack_surfaces_once_a_period_with_the_exact_count() {
    let (mut fold, start) = (Fold::default(), Instant::now());
    let alert = alert("ws-1", "ada");
    let (mut last, mut counted) = (start, 0);
    for second in 0..100_000_u32 {
        let now = start + Duration::from_millis(100) * second;
        if let Taken::Through(count) = take(&mut fold, &alert, now) {
            assert!(now - last <= PERIOD, "starved for {:?}", now - last);
            (last, counted) = (now, counted + count);
        }
    }
    assert_eq!(counted + fold.uncounted(), 100_000);
}

#[test]
fn what_is_left_when_the_period_ends_is_handed_out_as_the_last_with_the_count() {
    let (mut fold, start) = (Fold::default(), Instant::now());
    for number in 0..5 {
        let now = start + Duration::from_secs(number);
        let record = format!("record {number}");
        let mut alert = alert("ws-1", "ada");
        alert.observed_at = shared::time::Timestamp::from_ms(number);
        let taken = fold.take(3, &terms(), &alert, record.as_bytes(), now);
        assert_eq!(taken == Taken::Folded, number > 0);
    }
    assert_eq!(fold.due_at(), Some(start + PERIOD), "the folded ones renew nothing");
    assert!(fold.take_due(start + PERIOD - Duration::from_millis(1)).is_empty());
    let out = fold.take_due(start + PERIOD);
    assert_eq!(out.len(), 1);
    assert_eq!((out[0].rule, out[0].count, out[0].kept.record()), (3, 4, b"record 4".as_slice()));
    assert_eq!(out[0].kept.alert().text(Field::User), Some("ada"));
    assert_eq!((fold.uncounted(), fold.due_at()), (0, None));
    // After a period without its like, the next is the first again.
    let later = start + PERIOD * 3;
    assert_eq!(take(&mut fold, &alert("ws-1", "ada"), later), Taken::Through(1));
}

#[test]
fn another_host_destination_or_user_is_let_through_whatever_the_rule_folds_by() {
    let (mut fold, now) = (Fold::default(), Instant::now());
    let terms = Terms { by: Vec::new(), period: PERIOD };
    let base = alert("ws-1", "ada");
    let mut take = |alert: &Alert<'_>| fold.take(0, &terms, alert, b"", now);
    assert_eq!((take(&base), take(&base)), (Taken::Through(1), Taken::Folded));
    for field in ALWAYS {
        let mut other = base.clone();
        other.set(field, "another");
        assert_eq!((take(&other), take(&other)), (Taken::Through(1), Taken::Folded), "{field:?}");
    }
}

#[test]
fn a_higher_severity_is_let_through_with_those_before_it() {
    let (mut fold, now) = (Fold::default(), Instant::now());
    let mut alert = alert("ws-1", "ada");
    let _first = take(&mut fold, &alert, now);
    let _folded = take(&mut fold, &alert, now);
    alert.severity = Severity::High;
    assert_eq!(take(&mut fold, &alert, now), Taken::Through(2));
    assert_eq!(take(&mut fold, &alert, now), Taken::Folded);
    alert.severity = Severity::Low;
    assert_eq!(take(&mut fold, &alert, now), Taken::Folded);
}

#[test]
fn texts_that_join_alike_are_different_keys() {
    let (mut fold, now) = (Fold::default(), Instant::now());
    for (host, user) in [("ab", "c"), ("a", "bc"), ("abc", ""), ("", "abc")] {
        assert_eq!(take(&mut fold, &alert(host, user), now), Taken::Through(1));
    }
    let mut with_port = alert("ab", "c");
    with_port.dst_port = Some(0);
    let terms = Terms { by: vec![Part::DstPort], period: PERIOD };
    for alert in [alert("ab", "c"), with_port] {
        assert_eq!(fold.take(1, &terms, &alert, b"", now), Taken::Through(1));
    }
}

#[test]
fn names_that_were_asked_for_by_different_protocols_are_told_apart() {
    let (mut fold, now) = (Fold::default(), Instant::now());
    let terms = Terms { by: vec![Part::NamesAskedFor], period: PERIOD };
    for field in Field::NAMES_ASKED_FOR {
        for name in ["a.example", "b.example"] {
            let mut alert = alert("ws-1", "ada");
            alert.set(field, name);
            assert_eq!(fold.take(1, &terms, &alert, b"", now), Taken::Through(1), "{field:?}");
            assert_eq!(fold.take(1, &terms, &alert, b"", now), Taken::Folded, "{field:?}");
        }
    }
}

#[test]
fn where_there_is_no_room_alerts_are_let_through_and_counted() {
    let (mut fold, start) = (Fold::default(), Instant::now());
    for number in 0..FOLD_KEYS_MAX + 10 {
        let mut alert = alert("ws-1", "ada");
        alert.set(Field::SrcIp, number.to_string());
        assert_eq!(take(&mut fold, &alert, start), Taken::Through(1));
    }
    assert_eq!((fold.keys(), fold.no_room()), (FOLD_KEYS_MAX, 10));
    let mut late = alert("ws-1", "ada");
    late.set(Field::SrcIp, "late");
    let after = start + PERIOD;
    assert_eq!(take(&mut fold, &late, after), Taken::Through(1));
    assert_eq!(fold.keys(), 1, "keys of which nothing came give way");
}

#[test]
fn large_records_are_let_through_where_they_cannot_be_kept() {
    let (mut fold, now) = (Fold::default(), Instant::now());
    let record = vec![b'x'; FOLD_BYTES_MAX / 8];
    let (mut counted, mut taken) = (0, 0);
    for number in 0..12 {
        for _ in 0..3 {
            let mut alert = alert("ws-1", "ada");
            alert.set(Field::SrcIp, number.to_string());
            taken += 1;
            if let Taken::Through(count) = fold.take(0, &terms(), &alert, &record, now) {
                counted += count;
            }
            assert!(fold.bytes <= FOLD_BYTES_MAX);
        }
    }
    assert!(fold.no_room() > 0);
    assert_eq!(counted + fold.uncounted(), taken);
}

proptest! {
    /// L8: whatever comes, in whatever order, no key starves and every count is exact.
    #[test]
    fn nothing_vanishes_and_no_key_starves(
        steps in proptest::collection::vec((0_usize..6, 0_u64..90, 0_u8..7, any::<bool>()), 1..600),
    ) {
        let hosts = ["a", "b", "c", "d", "e", "f"];
        let (mut fold, start) = (Fold::default(), Instant::now());
        let (mut seconds, mut taken, mut counted) = (0, 0, 0);
        // When the oldest alert of a host came that no alert which went up stands for.
        let mut waiting: HashMap<&str, Instant> = HashMap::new();
        for (host, step, severity, is_kept_up) in steps {
            seconds += step / 30;
            let now = start + Duration::from_secs(seconds);
            if is_kept_up {
                for out in fold.take_due(now) {
                    counted += out.count;
                    let alert = out.kept.alert();
                    waiting.remove(alert.text(Field::DeviceHostname).unwrap());
                }
                for since in waiting.values() {
                    prop_assert!(now - *since < PERIOD, "starved for {:?}", now - *since);
                }
            }
            let mut alert = alert(hosts[host], "ada");
            alert.severity = Severity::from_id(severity);
            taken += 1;
            match take(&mut fold, &alert, now) {
                Taken::Through(count) => {
                    counted += count;
                    waiting.remove(hosts[host]);
                }
                Taken::Folded => {
                    let since = *waiting.entry(hosts[host]).or_insert(now);
                    prop_assert!(now - since < PERIOD);
                }
            }
            prop_assert_eq!(counted + fold.uncounted(), taken);
        }
        counted += fold.take_all(start).iter().map(|out| out.count).sum::<u64>();
        prop_assert_eq!(counted, taken);
        prop_assert_eq!((fold.uncounted(), fold.keys(), fold.bytes), (0, 0, 0));
    }
}
