use std::time::Duration;

use certs::PolicyKey;
use shared::policy::PolicyLimits;

use super::*;
use crate::{
    clock,
    limits::{POLICY_TRIALS_MAX, POLICY_TRIED_AFTER},
};

/// A spool's folder, the file of trusted keys, a provider's key, and the coordinator's end of the channel.
struct World {
    dir: tempfile::TempDir,
    key: PolicyKey,
    at: Instant,
    now: Timestamp,
    offers: watch::Sender<Option<PolicyOffer>>,
    words: watch::Receiver<PolicyWord>,
}

fn rules(action: &str, now: Timestamp) -> String {
    let day = now.saturating_add(Duration::from_secs(86_400));
    format!(
        "policy: acme\nversion: 70\nowner: soc\n---\ntitle: the noise\nid: r-1\n\
         logsource: {{product: suricata}}\ndetection: {{s: {{rule_uid: 1}}, condition: s}}\n\
         signalbox: {{action: {action}, expires: '{day}', expected: 9/h}}\n"
    )
}

impl World {
    fn new() -> Self {
        let (offers, _) = watch::channel(None);
        let (_, words) = watch::channel(PolicyWord::default());
        let key = PolicyKey::generate().unwrap();
        let (at, now) = (clock::now(), clock::wall());
        let world = Self { dir: tempfile::tempdir().unwrap(), key, at, now, offers, words };
        fs::write(world.keys(), world.key.public_key().to_string()).unwrap();
        world
    }

    fn keys(&self) -> PathBuf {
        self.dir.path().join("policy.keys")
    }

    /// Starts an agent of `acme`.
    fn begin(&mut self, is_overridden: bool, now: Timestamp) -> (Signed, Option<Policy>) {
        let (word, words) = watch::channel(PolicyWord::default());
        self.words = words;
        let channel = Channel { offered: self.offers.subscribe(), word };
        let keys = self.keys();
        let whose = ("acme".parse().unwrap(), keys.as_path());
        Signed::begin(whose, self.dir.path(), (is_overridden, true), channel, (self.at, now))
    }

    fn policy(&self, version: u64) -> envelope::Policy {
        envelope::Policy {
            tenant: "acme".parse().unwrap(),
            version,
            not_before: self.now,
            expires_at: self.now.saturating_add(Duration::from_secs(3_600)),
            text: rules("hold", self.now),
            limits: PolicyLimits { cpu_percent: Some(30) },
            coordinators: vec!["box2.example:4433".into()],
        }
    }

    fn offer(&self, policy: &envelope::Policy) {
        let envelope = self.key.sign(policy).unwrap();
        let version = policy.version;
        self.offers.send_replace(Some(PolicyOffer { version, envelope }));
    }

    fn answer(&mut self) -> PolicyAck {
        let word = self.words.borrow_and_update().clone();
        bare(word.answer.expect("it is an answer"))
    }

    fn standing(&self) -> PolicyAck {
        bare(self.words.borrow().standing.clone())
    }

    /// Offers a policy that is refused, and returns why.
    fn refused(&mut self, signed: &mut Signed, policy: &envelope::Policy) -> PolicyRefusal {
        self.offer(policy);
        assert!(signed.poll(true, self.at, self.now).is_none());
        let PolicyOutcome::Refused { reason, .. } = self.answer().outcome else {
            panic!("it is refused")
        };
        reason
    }
}

/// Returns what is said without of which envelope, which is said of each.
fn bare(ack: PolicyAck) -> PolicyAck {
    assert_eq!(ack.version == 0, ack.digest == PolicyDigest::default(), "{ack:?}");
    ack.about(PolicyDigest::default())
}

fn in_force(version: u64) -> PolicyAck {
    PolicyAck { version, outcome: PolicyOutcome::InForce, ..PolicyAck::nothing() }
}

#[test]
fn what_is_taken_is_stored_first_answered_once_in_force_and_there_after_a_restart() {
    let mut world = World::new();
    let (mut signed, none) = world.begin(false, world.now);
    assert!(none.is_none() && signed.poll(true, world.at, world.now).is_none());
    world.offer(&world.policy(3));
    let rules = signed.poll(true, world.at, world.now).unwrap();
    assert_eq!(rules.rules().len(), 1);
    assert!(world.dir.path().join(FILE).exists(), "it is durable before it is answered");
    assert!(!world.words.has_changed().unwrap(), "and not answered before it is in force");
    signed.say(true, world.now);
    assert_eq!(world.answer(), in_force(3));
    assert_eq!(signed.cpu_percent(world.now), Some(30));
    assert_eq!(world.words.borrow().coordinators, ["box2.example:4433"]);

    let (mut signed, rules) = world.begin(false, world.now);
    assert!(rules.is_some() && signed.status(world.now).unwrap().version == 3);
    signed.say(true, world.now);
    assert_eq!(world.standing(), in_force(3));
    assert_eq!(world.words.borrow().answer, None, "nobody asked");
}

#[test]
fn an_older_one_anothers_and_a_forged_one_are_refused_before_and_after_a_restart() {
    let mut world = World::new();
    let (mut signed, _) = world.begin(false, world.now);
    world.offer(&world.policy(5));
    assert!(signed.poll(true, world.at, world.now).is_some());
    signed.say(true, world.now);
    for restarts in 0..2 {
        if restarts > 0 {
            (signed, _) = world.begin(false, world.now);
        }
        let other = envelope::Policy { coordinators: Vec::new(), ..world.policy(5) };
        for older in [world.policy(4), other] {
            assert_eq!(world.refused(&mut signed, &older), PolicyRefusal::Rollback);
        }
        let foreign = envelope::Policy { tenant: "globex".parse().unwrap(), ..world.policy(6) };
        assert_eq!(world.refused(&mut signed, &foreign), PolicyRefusal::ForeignTenant, "L5");
        let mut envelope = world.key.sign(&world.policy(6)).unwrap();
        *envelope.last_mut().unwrap() ^= 1;
        world.offers.send_replace(Some(PolicyOffer { version: 6, envelope }));
        assert!(signed.poll(true, world.at, world.now).is_none());
        assert_eq!(world.answer(), PolicyAck::refused(6, PolicyRefusal::BadSignature, ""));
        let shown = signed.status(world.now).unwrap();
        assert_eq!((shown.version, shown.refused), (5, 4));
        assert_eq!(shown.last_refusal.unwrap().reason, "bad_signature");
    }
    world.offer(&world.policy(6));
    assert!(signed.poll(true, world.at, world.now).is_some());
    assert_eq!(signed.status(world.now).unwrap().last_refusal, None, "a later one is taken");
}

#[test]
fn the_same_one_again_is_answered_as_it_stands() {
    let mut world = World::new();
    let (mut signed, _) = world.begin(false, world.now);
    world.offer(&world.policy(5));
    assert!(signed.poll(true, world.at, world.now).is_some());
    signed.say(true, world.now);
    assert_eq!(world.answer(), in_force(5));
    let again = world.offers.borrow().clone();
    world.offers.send_replace(again);
    assert!(signed.poll(true, world.at, world.now).is_none());
    assert_eq!(world.answer(), in_force(5), "its answer may have been lost");
    assert_eq!(signed.status(world.now).unwrap().refused, 0);
}

#[test]
fn what_is_said_of_a_version_says_of_which_envelope() {
    let mut world = World::new();
    let (mut signed, _) = world.begin(false, world.now);
    world.offer(&world.policy(5));
    let taken = PolicyDigest::of(&world.offers.borrow().as_ref().unwrap().envelope);
    assert!(signed.poll(true, world.at, world.now).is_some());
    signed.say(true, world.now);
    assert_eq!(world.words.borrow().standing.digest, taken);
    world.offer(&envelope::Policy { coordinators: Vec::new(), ..world.policy(5) });
    let other = PolicyDigest::of(&world.offers.borrow().as_ref().unwrap().envelope);
    assert!(signed.poll(true, world.at, world.now).is_none());
    let word = world.words.borrow().clone();
    assert_eq!((word.answer.unwrap().digest, word.standing.digest), (other, taken));
    assert_ne!(other, taken, "of the same number");
}

#[test]
fn another_version_than_the_one_that_was_offered_is_refused() {
    let mut world = World::new();
    let (mut signed, _) = world.begin(false, world.now);
    let envelope = world.key.sign(&world.policy(7)).unwrap();
    world.offers.send_replace(Some(PolicyOffer { version: 8, envelope }));
    assert!(signed.poll(true, world.at, world.now).is_none());
    assert_eq!(world.answer(), PolicyAck::refused(8, PolicyRefusal::Malformed, ""));
}

#[test]
fn rules_that_cannot_be_done_here_are_refused_with_the_line_and_change_nothing() {
    let mut world = World::new();
    let (mut signed, _) = world.begin(false, world.now);
    let text = rules("hold", world.now).replace("expected: 9/h", "expected: often");
    world.offer(&envelope::Policy { text, ..world.policy(2) });
    assert!(signed.poll(true, world.at, world.now).is_none());
    let PolicyOutcome::Refused { reason, detail } = world.answer().outcome else {
        panic!("it is refused")
    };
    assert!(reason == PolicyRefusal::Unusable && detail.contains("rule r-1"), "{detail}");
    world.offer(&world.policy(2));
    assert!(
        signed.poll(false, world.at, world.now).is_none(),
        "there is no place for the originals"
    );
    let refused = PolicyAck::refused(2, PolicyRefusal::NowhereToHold, "");
    assert_eq!(world.answer(), refused);
    assert!(!world.dir.path().join(FILE).exists());
    assert!(signed.poll(true, world.at, world.now).is_none(), "an offer is looked at once");
    world.offer(&world.policy(2));
    assert!(signed.poll(true, world.at, world.now).is_some(), "the number was not used up");
}

#[test]
fn what_has_ended_decides_nothing_and_is_said_to_have_ended() {
    let mut world = World::new();
    let (mut signed, _) = world.begin(false, world.now);
    world.offer(&world.policy(3));
    assert!(signed.poll(true, world.at, world.now).is_some());
    let end = world.policy(3).expires_at;
    assert!(signed.is_good(world.now) && !signed.is_good(end));
    assert_eq!(signed.cpu_percent(end), None);
    let (mut signed, rules) = world.begin(false, end);
    assert!(rules.is_none() && signed.status(end).unwrap().has_ended);
    signed.say(false, end);
    let ended = PolicyAck { version: 3, outcome: PolicyOutcome::Ended, ..PolicyAck::nothing() };
    assert_eq!(world.standing(), ended);
    assert!(world.words.borrow().coordinators.is_empty());
    let again = world.policy(2);
    assert_eq!(world.refused(&mut signed, &again), PolicyRefusal::Rollback);
}

#[test]
fn a_clock_that_returns_to_before_the_end_puts_it_in_force_again() {
    let mut world = World::new();
    let (mut signed, _) = world.begin(false, world.now);
    world.offer(&world.policy(3));
    assert!(signed.poll(true, world.at, world.now).is_some());
    signed.say(true, world.now);
    let end = world.policy(3).expires_at;
    assert!(signed.poll(true, world.at, end).is_none() && !signed.is_good(end));
    signed.say(false, end);
    let standing = |world: &World| world.standing().outcome;
    assert_eq!(standing(&world), PolicyOutcome::Ended);
    assert!(signed.poll(true, world.at, end).is_none());
    assert!(signed.poll(true, world.at, world.now).is_some(), "at once");
    signed.say(true, world.now);
    assert_eq!(standing(&world), PolicyOutcome::InForce);

    // The same where it was ahead at the start.
    let (mut signed, none) = world.begin(false, end);
    assert!(none.is_none());
    signed.say(false, end);
    assert!(signed.poll(true, world.at, world.now).is_some());
}

#[test]
fn a_host_that_begins_in_1970_says_why_it_is_not_in_force_and_takes_it_up_once_its_clock_is_set() {
    let mut world = World::new();
    let (mut signed, _) = world.begin(false, world.now);
    world.offer(&world.policy(3));
    assert!(signed.poll(true, world.at, world.now).is_some());
    let early = Timestamp::from_ms(1_000);
    let (mut signed, none) = world.begin(false, early);
    assert!(none.is_none(), "its rules end more than a year from then");
    signed.say(false, early);
    let refused = |ack: PolicyAck| {
        let PolicyOutcome::Refused { reason, detail } = ack.outcome else { panic!("{ack:?}") };
        assert!((ack.version, reason) == (3, PolicyRefusal::Unusable), "{detail}");
    };
    refused(world.standing());
    let error = signed.status(early).unwrap().error.unwrap();
    assert!(error.contains("version 3 is stored and not in force: "), "{error}");
    // What the coordinator offers again is the same, and no older one.
    world.offer(&world.policy(3));
    assert!(signed.poll(true, world.at, early).is_none());
    refused(world.answer());
    assert!(signed.poll(true, world.at, world.now).is_none(), "it was just tried");
    let later = world.at + POLICY_RETRY_INTERVAL;
    assert!(signed.poll(true, later, world.now).is_some());
    signed.say(true, world.now);
    assert_eq!(world.standing(), in_force(3));
    assert_eq!(signed.status(world.now).unwrap().error, None);
}

#[test]
fn without_a_place_for_the_originals_the_stored_one_is_said_to_be_refused_for_that() {
    let mut world = World::new();
    let (mut signed, _) = world.begin(false, world.now);
    world.offer(&world.policy(3));
    assert!(signed.poll(true, world.at, world.now).is_some());
    signed.say(false, world.now);
    let later = world.at + POLICY_RETRY_INTERVAL;
    assert!(signed.poll(false, later, world.now).is_none());
    let refused = PolicyAck::refused(3, PolicyRefusal::NowhereToHold, "");
    assert_eq!(world.standing(), refused);
}

#[test]
fn an_agent_that_ends_soon_after_it_again_and_again_goes_on_without_it_and_says_so() {
    let mut world = World::new();
    let (mut signed, _) = world.begin(false, world.now);
    world.offer(&world.policy(3));
    assert!(signed.poll(true, world.at, world.now).is_some());
    signed.say(true, world.now);
    for _ in 1..POLICY_TRIALS_MAX {
        assert!(world.begin(false, world.now).1.is_some());
    }
    for _ in 0..2 {
        let (mut signed, none) = world.begin(false, world.now);
        assert!(none.is_none(), "everything is sent");
        signed.say(false, world.now);
        let refused = PolicyAck::refused(3, PolicyRefusal::Crashed, "");
        assert_eq!(world.standing(), refused);
        let later = world.at + POLICY_RETRY_INTERVAL;
        assert!(signed.poll(true, later, world.now).is_none(), "nor is it tried again");
        signed.end();
    }
    let (mut signed, _) = world.begin(false, world.now);
    world.offer(&world.policy(4));
    assert!(signed.poll(true, world.at, world.now).is_some(), "the next one is tried");
}

#[test]
fn an_agent_that_lasts_or_is_stopped_in_good_order_may_begin_as_often_as_it_likes() {
    let mut world = World::new();
    let (mut signed, _) = world.begin(false, world.now);
    world.offer(&world.policy(3));
    assert!(signed.poll(true, world.at, world.now).is_some());
    for start in 0..POLICY_TRIALS_MAX + 2 {
        let (mut signed, rules) = world.begin(false, world.now);
        assert!(rules.is_some(), "{start}");
        signed.say(true, world.now);
        signed.tend(world.at + POLICY_TRIED_AFTER / 2, world.now);
        assert!(world.dir.path().join("policy.trying").exists());
        if start % 2 == 0 {
            signed.tend(world.at + POLICY_TRIED_AFTER, world.now);
        } else {
            signed.end();
        }
        assert!(!world.dir.path().join("policy.trying").exists());
    }
}

#[test]
fn a_policy_of_the_hosts_own_goes_first_and_what_comes_signed_is_kept() {
    let mut world = World::new();
    let (mut signed, _) = world.begin(true, world.now);
    world.offer(&world.policy(3));
    assert!(signed.poll(true, world.at, world.now).is_none());
    let kept = PolicyAck { version: 3, outcome: PolicyOutcome::Overridden, ..PolicyAck::nothing() };
    assert_eq!(world.answer(), kept);
    assert_eq!(signed.cpu_percent(world.now), None);
    let (_, rules) = world.begin(false, world.now);
    assert!(rules.is_some(), "without the file it decides");
}

#[test]
fn what_is_stored_is_believed_by_its_signature_alone() {
    let mut world = World::new();
    let (mut signed, _) = world.begin(false, world.now);
    world.offer(&world.policy(3));
    assert!(signed.poll(true, world.at, world.now).is_some());
    let path = world.dir.path().join(FILE);
    let stored = fs::read(&path).unwrap();
    let mut forged = stored.clone();
    *forged.last_mut().unwrap() ^= 1;
    for (bytes, says) in [
        (&forged[..], "its signature is not the key's"),
        (&stored[..90], "no policy of a version"),
        (&stored[..9], "its beginning is damaged"),
        (&[9, 1], "version 9 is not known"),
        (&[], "it is empty"),
    ] {
        fs::write(&path, bytes).unwrap();
        let (signed, rules) = world.begin(false, world.now);
        let error = signed.status(world.now).unwrap().error.unwrap();
        assert!(rules.is_none() && error.contains(says), "{error}");
    }
    fs::write(&path, &stored).unwrap();
    let other = PolicyKey::generate().unwrap().public_key();
    fs::write(world.keys(), other.to_string()).unwrap();
    let (signed, rules) = world.begin(false, world.now);
    let error = signed.status(world.now).unwrap().error.unwrap();
    assert!(rules.is_none() && error.contains("is not trusted here"), "{error}");
}

#[test]
fn no_older_one_is_taken_although_the_one_that_is_stored_cannot_be_believed_any_more() {
    let mut world = World::new();
    let (mut signed, _) = world.begin(false, world.now);
    world.offer(&world.policy(5));
    assert!(signed.poll(true, world.at, world.now).is_some());
    // Its key is taken out of the file, and another is in its place.
    world.key = PolicyKey::generate().unwrap();
    fs::write(world.keys(), world.key.public_key().to_string()).unwrap();
    let (mut signed, none) = world.begin(false, world.now);
    assert!(none.is_none());
    signed.say(false, world.now);
    assert_eq!(world.standing(), PolicyAck::nothing());
    let (before, same) = (world.policy(4), world.policy(5));
    assert_eq!(world.refused(&mut signed, &before), PolicyRefusal::Rollback);
    assert_eq!(world.refused(&mut signed, &same), PolicyRefusal::Rollback);
    world.offer(&world.policy(6));
    assert!(signed.poll(true, world.at, world.now).is_some());

    // Its bytes are damaged.
    let path = world.dir.path().join(FILE);
    let mut stored = fs::read(&path).unwrap();
    *stored.last_mut().unwrap() ^= 1;
    fs::write(&path, &stored).unwrap();
    let (mut signed, _) = world.begin(false, world.now);
    let (before, newest) = (world.policy(5), world.policy(6));
    let other =
        envelope::Policy { limits: PolicyLimits { cpu_percent: Some(7) }, ..newest.clone() };
    assert_eq!(world.refused(&mut signed, &before), PolicyRefusal::Rollback);
    assert_eq!(world.refused(&mut signed, &other), PolicyRefusal::Rollback);
    world.offer(&newest);
    assert!(signed.poll(true, world.at, world.now).is_some(), "the same is taken once more");

    // It is of another tenant's agent.
    let (word, channel) = (watch::channel(PolicyWord::default()).0, world.offers.subscribe());
    let (keys, channel) = (world.keys(), Channel { offered: channel, word });
    let whose = ("globex".parse().unwrap(), keys.as_path());
    let at = (world.at, world.now);
    let (mut signed, _) = Signed::begin(whose, world.dir.path(), (false, true), channel, at);
    world.offer(&envelope::Policy { tenant: "globex".parse().unwrap(), ..world.policy(1) });
    assert!(signed.poll(true, world.at, world.now).is_some(), "that counts for acme alone");
}

#[test]
fn without_keys_nothing_is_taken_and_keys_that_cannot_be_read_are_shown() {
    let mut world = World::new();
    fs::remove_file(world.keys()).unwrap();
    let (mut signed, _) = world.begin(false, world.now);
    assert_eq!(signed.status(world.now), None, "there is nothing to show");
    let policy = world.policy(3);
    assert_eq!(world.refused(&mut signed, &policy), PolicyRefusal::UnknownKey);
    fs::write(world.keys(), "sbjoin1_x\n").unwrap();
    let (signed, _) = world.begin(false, world.now);
    let error = signed.status(world.now).unwrap().error.unwrap();
    assert!(error.contains("policy.keys: line 1 is no policy key"), "{error}");
}

#[test]
fn more_keys_than_may_be_are_shown_and_none_of_them_is_trusted() {
    let mut world = World::new();
    let line = format!("{}\n", world.key.public_key());
    fs::write(world.keys(), line.repeat(POLICY_KEYS_MAX)).unwrap();
    assert_eq!(load_keys(&world.keys()).unwrap().len(), POLICY_KEYS_MAX);
    fs::write(world.keys(), line.repeat(POLICY_KEYS_MAX + 1)).unwrap();
    let (mut signed, _) = world.begin(false, world.now);
    let error = signed.status(world.now).unwrap().error.unwrap();
    assert!(error.contains("it names 9 keys, at most 8 are trusted"), "{error}");
    let policy = world.policy(3);
    assert_eq!(world.refused(&mut signed, &policy), PolicyRefusal::UnknownKey);
}

#[test]
fn the_keys_before_and_the_next_may_be_trusted_together() {
    let mut world = World::new();
    let next = PolicyKey::generate().unwrap();
    let both = format!("# until May\n{}\n{}\n", world.key.public_key(), next.public_key());
    fs::write(world.keys(), both).unwrap();
    let (mut signed, _) = world.begin(false, world.now);
    world.offer(&world.policy(3));
    assert!(signed.poll(true, world.at, world.now).is_some());
    world.key = next;
    world.offer(&world.policy(4));
    assert!(signed.poll(true, world.at, world.now).is_some());
}
