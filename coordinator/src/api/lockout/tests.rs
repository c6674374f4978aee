use super::*;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_ms(1_790_000_000_000 + seconds * 1_000)
}

fn from(text: &str) -> Origin {
    Origin(Some(text.parse().unwrap()))
}

fn guess(number: impl ToString) -> Failure {
    Failure::new(number.to_string().as_bytes())
}

fn lock_out(lockouts: &Lockouts, from: Origin, now: Timestamp) -> LockedOut {
    for number in 1..LOCKOUT_FAILURES_MAX {
        assert_eq!(lockouts.fail(from, guess(number), now), None);
        assert_eq!(lockouts.left(from, now), None);
    }
    lockouts.fail(from, guess("last"), now).expect("that was one too many")
}

#[test]
fn an_address_is_locked_out_once_for_a_while_and_then_counted_anew() {
    let lockouts = Lockouts::default();
    let guesser = from("203.0.113.9");
    let locked = lock_out(&lockouts, guesser, at(0));
    assert_eq!(locked, LockedOut { until: at(0).saturating_add(LOCKOUT_LENGTH), is_noted: true });
    assert_eq!(lockouts.left(guesser, at(0)), Some(LOCKOUT_LENGTH));
    assert_eq!(lockouts.fail(guesser, guess("more"), at(1)), None, "one lockout is told once");
    assert_eq!(lockouts.left(from("203.0.113.10"), at(1)), None, "another site");
    let over = locked.until;
    assert_eq!(lockouts.left(guesser, over), None);
    lock_out(&lockouts, guesser, over);
}

#[test]
fn failures_that_are_far_apart_lock_nobody_out() {
    let lockouts = Lockouts::default();
    let typist = from("203.0.113.9");
    for number in 0..u64::from(3 * LOCKOUT_FAILURES_MAX) {
        let now = at(number * LOCKOUT_WINDOW.as_secs() / 5);
        assert_eq!(lockouts.fail(typist, guess(number), now), None);
    }
}

#[test]
fn the_same_secret_counts_once_however_often_it_comes() {
    let lockouts = Lockouts::default();
    let office = from("203.0.113.9");
    for second in 0..2 * LOCKOUT_WINDOW.as_secs() {
        assert_eq!(lockouts.fail(office, guess("of long ago"), at(second)), None);
    }
    let now = at(2 * LOCKOUT_WINDOW.as_secs());
    for number in 2..LOCKOUT_FAILURES_MAX {
        assert_eq!(lockouts.fail(office, guess("of long ago"), now), None);
        assert_eq!(lockouts.fail(office, guess(number), now), None);
    }
    assert!(lockouts.fail(office, guess("one more"), now).is_some(), "but different ones do");
}

#[test]
fn a_site_of_ipv6_is_locked_out_as_one_and_a_request_from_nowhere_is_not_counted() {
    let lockouts = Lockouts::default();
    for host in 0..LOCKOUT_FAILURES_MAX {
        lockouts.fail(from(&format!("2001:db8:0:7::{host}")), guess(host), at(0));
    }
    assert!(lockouts.left(from("2001:db8:0:7::ffff"), at(0)).is_some());
    assert!(lockouts.left(from("2001:db8:0:8::1"), at(0)).is_none());
    (0..99).for_each(|it| assert_eq!(lockouts.fail(Origin(None), guess(it), at(0)), None));
    assert_eq!(lockouts.left(Origin(None), at(0)), None);
}

#[test]
fn a_clock_that_is_set_back_lets_everybody_in_again() {
    let lockouts = Lockouts::default();
    let guesser = from("203.0.113.9");
    lock_out(&lockouts, guesser, at(100_000));
    assert_eq!(lockouts.left(guesser, at(0)), None);
}

#[test]
fn neither_memory_nor_the_journal_grows_with_the_guessers() {
    let lockouts = Lockouts::default();
    let count = u32::try_from(LOCKOUT_SITES_MAX).unwrap();
    let mut noted = 0;
    for number in 0..count {
        let guesser = Origin(Some(IpAddr::V4(number.into())));
        noted += u32::from(lock_out(&lockouts, guesser, at(0)).is_noted);
    }
    assert_eq!(noted, LOCKOUTS_NOTED_MAX);
    let new = Origin(Some(IpAddr::V4(u32::MAX.into())));
    for number in 0..99 {
        assert_eq!(lockouts.fail(new, guess(number), at(1)), None, "L7: it is not remembered");
    }
    assert_eq!(lockouts.lock().sites.len(), LOCKOUT_SITES_MAX);
    let over = at(0).saturating_add(LOCKOUT_LENGTH + LOCKOUT_WINDOW);
    lock_out(&lockouts, new, over);
}

#[test]
fn a_table_that_stays_full_is_looked_through_once_a_second_at_most() {
    let mut state = State::default();
    let known = |now| {
        let mut site = Site::default();
        site.failures.count(now);
        site
    };
    for number in 0..u32::try_from(LOCKOUT_SITES_MAX).unwrap() {
        state.sites.insert(IpAddr::V4(number.into()), known(at(0)));
    }
    let over = at(0).saturating_add(LOCKOUT_WINDOW);
    let just_before = Timestamp::from_ms(over.as_ms() - 1);
    assert!(!state.has_room(just_before), "none is over");
    assert!(!state.has_room(over), "all are, but they were looked at just now");
    assert!(state.has_room(just_before.saturating_add(LOCKOUT_SWEEP_INTERVAL)));
    assert!(state.sites.is_empty());
}
