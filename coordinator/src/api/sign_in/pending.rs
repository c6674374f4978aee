//! Who signs in just now. Pure: secrets come in as digests, and time as an argument.
//!
//! # States
//! ```text
//! begun ─(came back from the provider)─▶ redeeming ─▶ asked ─(said yes)─▶ admitted ─(was told)─▶ gone
//!                                            └──────────┴─(no group, said no, failed)─▶ refused ─(was told)─▶ gone
//! ```
//! Whoever began it polls with a secret of their own. The person in the browser is asked whether it is their terminal
//! that waits, because whoever sends somebody else a link to sign in would otherwise be given their token.
//!
//! # Limits
//! [`SIGN_INS_MAX`] in all, [`SIGN_INS_OF_SITE_MAX`] of a site and [`SIGN_INS_OF_NETWORK_MAX`] of a network, for
//! [`SIGN_IN_LIFE`] each; in memory alone, so a restart has them begin again. Anybody can begin one: where all places
//! are taken, the oldest gives way that was only begun, of whoever has begun most. Whoever has shown the provider who
//! they are keeps their place. One more costs a look at all there are, some ten microseconds.

use std::{cmp::Reverse, collections::HashMap, net::IpAddr};

use sha2::{Digest, Sha256};
use shared::time::Timestamp;
use subtle::ConstantTimeEq as _;

use super::provider::Proof;
use crate::{
    command::access::Admission,
    limits::{SIGN_IN_LIFE, SIGN_INS_MAX, SIGN_INS_OF_NETWORK_MAX, SIGN_INS_OF_SITE_MAX},
    rate::network,
};

/// Public name of a sign-in.
pub(super) type SignInId = u128;

/// SHA-256 of a secret.
type Fingerprint = [u8; 32];

fn fingerprint(secret: &str) -> Fingerprint {
    Sha256::digest(secret.as_bytes()).into()
}

/// Compares in a time that says nothing of where they differ.
fn is_same(one: &Fingerprint, other: &Fingerprint) -> bool {
    one.as_slice().ct_eq(other.as_slice()).into()
}

/// Where and when a sign-in was begun, as the person in the browser is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Begun {
    /// From which site; nothing where it came over no socket.
    pub(super) site: Option<IpAddr>,
    /// From which address.
    pub(super) from: String,
    /// When.
    pub(super) at: Timestamp,
    /// What the terminal shows, and the browser, too.
    pub(super) code: String,
}

#[derive(Debug)]
struct SignIn {
    begun: Begun,
    /// Of what whoever began it polls with.
    poll: Fingerprint,
    /// Of what the way back from the provider carries.
    state: Fingerprint,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Begun(Proof),
    Redeeming,
    Asked { confirm: Fingerprint, admission: Box<Admission> },
    Admitted(Box<Admission>),
    Refused(String),
}

/// Why no more can sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// All places are taken by people who have shown who they are.
    All,
    /// The site has as many as a site may have, or its network.
    Site,
}

/// What whoever polls is told.
#[derive(Debug)]
pub(super) enum Polled {
    /// There is no such sign-in, or it was told before, or the secret is another's.
    Unknown,
    /// The person is not done.
    Waiting,
    /// They are not let in, and why.
    Refused(String),
    /// They are let in.
    Admitted(Box<Taken>),
}

/// A sign-in that is over, unless it is put back.
#[derive(Debug)]
pub(super) struct Taken {
    id: SignInId,
    sign_in: SignIn,
    /// What they get.
    pub(super) admission: Admission,
}

/// Everybody who signs in just now. What a request carries is looked up by its SHA-256, so the time of the look-up says
/// something of digests and nothing of secrets.
#[derive(Debug, Default)]
pub(super) struct Pending {
    all: HashMap<SignInId, SignIn>,
    /// By what the way back from the provider carries.
    by_state: HashMap<Fingerprint, SignInId>,
    /// By what the answers carry of those who are asked.
    by_confirm: HashMap<Fingerprint, SignInId>,
}

impl Pending {
    /// Returns whether one more can begin.
    pub(super) fn room(&mut self, site: Option<IpAddr>, now: Timestamp) -> Result<(), Full> {
        let over = self.all.iter().filter(|(_, sign_in)| !is_live(sign_in, now));
        let over: Vec<SignInId> = over.map(|(id, _)| *id).collect();
        over.into_iter().for_each(|id| drop(self.remove(id)));
        if let Some(site) = site {
            let known = || self.all.values().filter_map(|sign_in| sign_in.begun.site);
            let of_site = known().filter(|known| *known == site).count();
            let of_network = known().filter(|known| network(*known) == network(site)).count();
            if of_site >= SIGN_INS_OF_SITE_MAX || of_network >= SIGN_INS_OF_NETWORK_MAX {
                return Err(Full::Site);
            }
        }
        if self.all.len() >= SIGN_INS_MAX && self.least().is_none() {
            return Err(Full::All);
        }
        Ok(())
    }

    /// Returns which gives way where all places are taken.
    fn least(&self) -> Option<SignInId> {
        let begun = || self.all.iter().filter(|(_, it)| matches!(it.stage, Stage::Begun(_)));
        let whose = |sign_in: &SignIn| sign_in.begun.site.map(network);
        let mut counts: HashMap<Option<IpAddr>, usize> = HashMap::new();
        for (_, sign_in) in begun() {
            *counts.entry(whose(sign_in)).or_default() += 1;
        }
        let rank = |sign_in: &SignIn| (counts.get(&whose(sign_in)), Reverse(sign_in.begun.at));
        begun().max_by_key(|(_, sign_in)| rank(sign_in)).map(|(id, _)| *id)
    }

    /// Begins one.
    pub(super) fn begin(
        &mut self,
        id: SignInId,
        (begun, proof): (Begun, Proof),
        (poll, state): (&str, &str),
    ) -> Result<(), Full> {
        self.room(begun.site, begun.at)?;
        if self.all.len() >= SIGN_INS_MAX
            && let Some(least) = self.least()
        {
            self.remove(least);
        }
        let (poll, state) = (fingerprint(poll), fingerprint(state));
        self.by_state.insert(state, id);
        self.all.insert(id, SignIn { begun, poll, state, stage: Stage::Begun(proof) });
        Ok(())
    }

    /// Returns how many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Takes what proves that an answer belongs to the question with this state; once.
    pub(super) fn redeem(
        &mut self,
        state: &str,
        now: Timestamp,
    ) -> Option<(SignInId, Proof, Begun)> {
        let id = *self.by_state.get(&fingerprint(state))?;
        let sign_in = self.all.get_mut(&id).filter(|sign_in| is_live(sign_in, now))?;
        match std::mem::replace(&mut sign_in.stage, Stage::Redeeming) {
            Stage::Begun(proof) => Some((id, proof, sign_in.begun.clone())),
            other => {
                sign_in.stage = other;
                None
            }
        }
    }

    /// Lets one be taken again whose answer could not be redeemed just now.
    pub(super) fn resume(&mut self, id: SignInId, proof: Proof) {
        if let Some(sign_in) = self.all.get_mut(&id) {
            sign_in.stage = Stage::Begun(proof);
        }
    }

    /// Has the person asked whether it is their terminal; `confirm` is what their answer will carry.
    pub(super) fn ask(&mut self, id: SignInId, confirm: &str, admission: Box<Admission>) {
        let confirm = fingerprint(confirm);
        if let Some(sign_in) = self.all.get_mut(&id) {
            sign_in.stage = Stage::Asked { confirm, admission };
            self.by_confirm.insert(confirm, id);
        }
    }

    /// Ends one whose person is not let in.
    pub(super) fn refuse(&mut self, id: SignInId, why: String) {
        if let Some(sign_in) = self.all.get_mut(&id) {
            sign_in.stage = Stage::Refused(why);
        }
    }

    /// Ends one whose person is asked on a page that their browser did not wait for: nobody can answer.
    pub(super) fn abandon(&mut self, id: SignInId) {
        let Some(sign_in) = self.all.get_mut(&id) else { return };
        let Stage::Asked { confirm, .. } = &sign_in.stage else { return };
        self.by_confirm.remove(confirm);
        sign_in.stage = Stage::Refused("the browser went away too early; begin again".to_owned());
    }

    /// Takes the person's answer, once; returns whom it is about, and from which address it was begun.
    pub(super) fn answer(
        &mut self,
        confirm: &str,
        is_theirs: bool,
        now: Timestamp,
    ) -> Option<(Admission, Begun)> {
        let id = self.by_confirm.remove(&fingerprint(confirm))?;
        let sign_in = self.all.get_mut(&id).filter(|sign_in| is_live(sign_in, now))?;
        let Stage::Asked { admission, .. } = &sign_in.stage else { return None };
        let (admission, begun) = (admission.clone(), sign_in.begun.clone());
        sign_in.stage = match is_theirs {
            true => Stage::Admitted(admission.clone()),
            false => {
                let why = "the person at the browser says that they have not asked for it";
                Stage::Refused(why.to_owned())
            }
        };
        Some((*admission, begun))
    }

    /// Says where one stands to whoever began it. What is over is said once.
    pub(super) fn poll(&mut self, id: SignInId, secret: &str, now: Timestamp) -> Polled {
        let secret = fingerprint(secret);
        let is_theirs = |sign_in: &SignIn| is_live(sign_in, now) && is_same(&sign_in.poll, &secret);
        match self.all.get(&id) {
            Some(sign_in) if is_theirs(sign_in) => match &sign_in.stage {
                Stage::Begun(_) | Stage::Redeeming | Stage::Asked { .. } => return Polled::Waiting,
                Stage::Refused(_) | Stage::Admitted(_) => {}
            },
            Some(_) | None => return Polled::Unknown,
        }
        let Some(mut sign_in) = self.remove(id) else { return Polled::Unknown };
        match std::mem::replace(&mut sign_in.stage, Stage::Redeeming) {
            Stage::Refused(why) => Polled::Refused(why),
            Stage::Admitted(admission) => {
                Polled::Admitted(Box::new(Taken { id, sign_in, admission: *admission }))
            }
            Stage::Begun(_) | Stage::Redeeming | Stage::Asked { .. } => Polled::Waiting,
        }
    }

    /// Puts one back whose token could not be stored.
    pub(super) fn put_back(&mut self, taken: Taken) {
        let Taken { id, mut sign_in, admission } = taken;
        sign_in.stage = Stage::Admitted(Box::new(admission));
        self.by_state.insert(sign_in.state, id);
        self.all.insert(id, sign_in);
    }

    fn remove(&mut self, id: SignInId) -> Option<SignIn> {
        let sign_in = self.all.remove(&id)?;
        self.by_state.remove(&sign_in.state);
        if let Stage::Asked { confirm, .. } = &sign_in.stage {
            self.by_confirm.remove(confirm);
        }
        Some(sign_in)
    }
}

/// A clock that was set back ends it, too.
fn is_live(sign_in: &SignIn, now: Timestamp) -> bool {
    sign_in.begun.at <= now && now.since(sign_in.begun.at) < SIGN_IN_LIFE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::sign_in::provider::tests::proof,
        store::values::{Person, Role},
    };

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_ms(1_790_000_000_000 + seconds * 1_000)
    }

    fn begun(site: u32, now: Timestamp) -> Begun {
        let site = IpAddr::V4(site.into());
        Begun { site: Some(site), from: site.to_string(), at: now, code: "BCDF-GHJK".into() }
    }

    fn begin(pending: &mut Pending, id: SignInId, site: u32, now: Timestamp) -> Result<(), Full> {
        let secrets = (format!("poll{id}"), format!("state{id}"));
        pending.begin(id, (begun(site, now), proof()), (&secrets.0, &secrets.1))
    }

    fn admission() -> Box<Admission> {
        let person = Person {
            issuer: "https://id.example".into(),
            subject: "17".into(),
            name: None,
            email: None,
        };
        Box::new(Admission {
            person,
            name: "ana".into(),
            role: Role::Analyst,
            tenants: Vec::new(),
            life: std::time::Duration::from_secs(60),
            group: "soc".into(),
            from: "203.0.113.9".into(),
            browser: "203.0.113.9".into(),
        })
    }

    #[test]
    fn somebody_signs_in_and_whoever_began_it_is_told_once() {
        let mut pending = Pending::default();
        begin(&mut pending, 1, 9, at(0)).unwrap();
        assert!(matches!(pending.poll(1, "poll1", at(1)), Polled::Waiting));
        let (id, _, begun) = pending.redeem("state1", at(2)).unwrap();
        assert_eq!((id, begun.code.as_str()), (1, "BCDF-GHJK"));
        assert!(pending.redeem("state1", at(2)).is_none(), "a way back is good once");
        assert!(matches!(pending.poll(1, "poll1", at(2)), Polled::Waiting));
        pending.ask(1, "confirm", admission());
        assert!(matches!(pending.poll(1, "poll1", at(3)), Polled::Waiting), "not said yes yet");
        assert!(pending.answer("wrong", true, at(3)).is_none());
        assert!(pending.answer("confirm", true, at(3)).is_some());
        assert!(pending.answer("confirm", false, at(3)).is_none(), "they have said so");
        let Polled::Admitted(taken) = pending.poll(1, "poll1", at(4)) else { panic!("admitted") };
        assert!(matches!(pending.poll(1, "poll1", at(4)), Polled::Unknown));
        pending.put_back(*taken);
        assert!(matches!(pending.poll(1, "poll1", at(4)), Polled::Admitted(_)));
        assert_eq!(pending.len(), 0);
    }

    #[test]
    fn whoever_has_not_asked_for_it_says_so_and_nobody_is_let_in() {
        let mut pending = Pending::default();
        begin(&mut pending, 1, 9, at(0)).unwrap();
        pending.redeem("state1", at(0)).unwrap();
        pending.ask(1, "confirm", admission());
        let (whom, begun) = pending.answer("confirm", false, at(1)).unwrap();
        assert_eq!((whom.person.subject.as_str(), begun.from.as_str()), ("17", "0.0.0.9"));
        let polled = pending.poll(1, "poll1", at(1));
        assert!(matches!(&polled, Polled::Refused(why) if why.contains("have not asked for it")));
        assert!(matches!(pending.poll(1, "poll1", at(1)), Polled::Unknown));
    }

    #[test]
    fn a_sign_in_is_over_after_a_while_and_unknown_with_another_secret() {
        let mut pending = Pending::default();
        begin(&mut pending, 1, 9, at(0)).unwrap();
        for wrong in ["", "poll2", "state1"] {
            assert!(matches!(pending.poll(1, wrong, at(0)), Polled::Unknown), "{wrong}");
        }
        assert!(matches!(pending.poll(2, "poll1", at(0)), Polled::Unknown));
        assert!(pending.redeem("poll1", at(0)).is_none());
        let over = at(0).saturating_add(SIGN_IN_LIFE);
        assert!(matches!(pending.poll(1, "poll1", over), Polled::Unknown));
        assert!(pending.redeem("state1", over).is_none());
        pending.room(None, over).unwrap();
        assert_eq!(pending.len(), 0);
    }

    #[test]
    fn who_comes_back_while_all_places_are_taken_comes_back_once_more() {
        let mut pending = Pending::default();
        begin(&mut pending, 1, 9, at(0)).unwrap();
        let (id, proof, _) = pending.redeem("state1", at(1)).unwrap();
        pending.resume(id, proof);
        assert!(pending.redeem("state1", at(2)).is_some());
    }

    #[test]
    fn a_page_that_no_browser_waited_for_ends_a_sign_in() {
        let mut pending = Pending::default();
        begin(&mut pending, 1, 9, at(0)).unwrap();
        pending.abandon(1);
        assert!(matches!(pending.poll(1, "poll1", at(0)), Polled::Waiting), "nobody was asked");
        pending.redeem("state1", at(0)).unwrap();
        pending.ask(1, "confirm", admission());
        pending.abandon(1);
        assert!(pending.answer("confirm", true, at(0)).is_none());
        assert!(matches!(pending.poll(1, "poll1", at(0)), Polled::Refused(_)));
    }

    #[test]
    fn neither_a_site_nor_a_network_takes_more_than_its_share() {
        let mut pending = Pending::default();
        let of_site = SIGN_INS_OF_SITE_MAX as u128;
        (0..of_site).for_each(|id| begin(&mut pending, id, 9, at(0)).unwrap());
        assert_eq!(begin(&mut pending, 999, 9, at(0)), Err(Full::Site));
        begin(&mut pending, 999, 8, at(0)).unwrap();

        let mut pending = Pending::default();
        let mut begin_at = |id: u128, address: String| {
            let site = crate::rate::site(address.parse().unwrap());
            let secrets = (format!("poll{id}"), format!("state{id}"));
            let begun = Begun { site: Some(site), ..begun(0, at(0)) };
            pending.begin(id, (begun, proof()), (&secrets.0, &secrets.1))
        };
        for id in 0..SIGN_INS_OF_NETWORK_MAX as u128 {
            begin_at(id, format!("2001:db8:7:{id:x}::1")).unwrap();
        }
        assert_eq!(begin_at(999, "2001:db8:7:ffff::1".into()), Err(Full::Site));
        begin_at(999, "2001:db8:8::1".into()).unwrap();
    }

    /// Takes all places, each from another site from `first` on, one a millisecond.
    fn filled(first: u32) -> Pending {
        let mut pending = Pending::default();
        for id in 0..SIGN_INS_MAX as u64 {
            let site = first + u32::try_from(id).unwrap();
            let now = Timestamp::from_ms(at(0).as_ms() + id);
            begin(&mut pending, id.into(), site, now).unwrap();
        }
        pending
    }

    #[test]
    fn where_all_places_are_taken_the_oldest_gives_way_of_whoever_has_begun_most() {
        let mut pending = filled(1_000);
        let soon = at(10);
        // The oldest of all has come back from the provider, and the second is the oldest that has not.
        pending.redeem("state0", soon).unwrap();
        pending.ask(0, "confirm", admission());
        begin(&mut pending, 10_000, 7, soon).unwrap();
        assert!(matches!(pending.poll(1, "poll1", soon), Polled::Unknown));
        assert!(matches!(pending.poll(0, "poll0", soon), Polled::Waiting));
        // Whoever has begun two goes before all who have begun one.
        begin(&mut pending, 10_001, 7, soon).unwrap();
        begin(&mut pending, 10_002, 8, at(11)).unwrap();
        assert!(matches!(pending.poll(2, "poll2", at(11)), Polled::Unknown));
        let of_two = [10_000, 10_001].map(|id| pending.poll(id, &format!("poll{id}"), at(11)));
        let gone = of_two.iter().filter(|it| matches!(it, Polled::Unknown)).count();
        assert_eq!((gone, pending.len()), (1, SIGN_INS_MAX), "L7");
        assert!(pending.answer("confirm", true, at(11)).is_some());
        assert_eq!(pending.by_state.len(), SIGN_INS_MAX);
        assert_eq!(pending.by_confirm.len(), 0);
    }

    #[test]
    fn whoever_has_shown_who_they_are_keeps_their_place_and_there_is_an_end_of_places() {
        let mut pending = filled(1_000);
        for id in 0..SIGN_INS_MAX {
            pending.redeem(&format!("state{id}"), at(10)).unwrap();
            pending.ask(id as u128, &format!("confirm{id}"), admission());
        }
        assert_eq!(begin(&mut pending, 10_000, 7, at(10)), Err(Full::All), "L7");
        pending.answer("confirm5", true, at(10)).unwrap();
        assert_eq!(begin(&mut pending, 10_000, 7, at(10)), Err(Full::All));
        assert!(matches!(pending.poll(5, "poll5", at(10)), Polled::Admitted(_)));
        begin(&mut pending, 10_000, 7, at(10)).unwrap();
        begin(&mut pending, 10_001, 7, at(20).saturating_add(SIGN_IN_LIFE)).unwrap();
        let indexed = (pending.by_state.len(), pending.by_confirm.len());
        assert_eq!((pending.len(), indexed), (1, (1, 0)));
    }
}
