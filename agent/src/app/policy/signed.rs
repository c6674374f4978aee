//! The policy that came signed over the channel: what of it is kept, and what the coordinator is told of it.
//!
//! ```text
//! uplink ─ offer ─▶ accept (signature, tenant, version, life) ─▶ parse ─▶ stored and synced ─▶ put in force
//!        ◀─ word ──────────── refused, with the reason ◀──┘          ◀──────┘           in force ◀─┘
//! ```
//! Where what is stored is to be in force and is not, because the clock was wrong or the host was set up otherwise, it
//! is read and tried again from time to time; the coordinator is told why it is not, and never that it is. It is stored
//! beside the spool, and a spool that is moved aside takes it along.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::Instant,
};

use shared::{
    ids::TenantId,
    limits::{POLICY_ENVELOPE_BYTES_MAX, POLICY_KEYS_MAX},
    policy::{
        self as envelope, PolicyAck, PolicyDigest, PolicyOffer, PolicyOutcome, PolicyPublicKey,
        PolicyRefusal,
    },
    time::Timestamp,
};
use tokio::sync::watch;

use super::trial::Trial;
use crate::{
    envelope::{Floor, Stored},
    limits::{POLICY_KEYS_BYTES_MAX, POLICY_RETRY_INTERVAL},
    policy::Policy,
    status::{RefusalStatus, SignedPolicyStatus},
    uplink::PolicyWord,
};

/// Name of the file in the spool's folder.
const FILE: &str = "policy.signed";

/// The two ends of the uplink's channel.
#[derive(Debug)]
pub(crate) struct Channel {
    /// What the coordinator offered last.
    pub(crate) offered: watch::Receiver<Option<PolicyOffer>>,
    /// Where it is said how it stands.
    pub(crate) word: watch::Sender<PolicyWord>,
}

/// Why a policy is not put in force, with the detail for a person.
type Fault = (PolicyRefusal, String);

/// A policy that was taken, without its text, which is stored.
#[derive(Debug)]
struct Kept {
    version: u64,
    digest: PolicyDigest,
    expires_at: Timestamp,
    cpu_percent: Option<u16>,
    coordinators: Vec<String>,
    /// Why its rules cannot be done as it was tried last.
    fault: Option<Fault>,
}

/// What came over the channel.
#[derive(Debug)]
pub(crate) struct Signed {
    tenant: TenantId,
    keys: Vec<PolicyPublicKey>,
    /// Where it is stored.
    path: PathBuf,
    /// Whether a policy of the host's own decides in its place.
    is_overridden: bool,
    channel: Channel,
    kept: Option<Kept>,
    /// Whether the rules of the kept one are what is in force.
    is_in_force: bool,
    trial: Trial,
    /// When the stored one was taken up, or tried to be, last.
    tried_at: Instant,
    /// What none that is taken may be below.
    floor: Floor,
    /// What is wrong with the keys, or with what is stored.
    error: Option<String>,
    refused: u64,
    last_refusal: Option<RefusalStatus>,
    /// An answer that is said once its policy is in force.
    owed: Option<u64>,
}

impl Signed {
    /// Takes up what is stored in the spool's folder; returns its rules besides, if it is good now and nothing of the
    /// host's own overrides it.
    pub(crate) fn begin(
        (tenant, keys): (TenantId, &Path),
        spool_dir: &Path,
        (is_overridden, can_hold): (bool, bool),
        channel: Channel,
        (now, wall): (Instant, Timestamp),
    ) -> (Self, Option<Policy>) {
        let (keys, error) = match load_keys(keys) {
            Ok(keys) => (keys, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let mut signed = Self {
            tenant,
            keys,
            path: spool_dir.join(FILE),
            is_overridden,
            channel,
            kept: None,
            is_in_force: false,
            trial: Trial::new(spool_dir),
            tried_at: now,
            floor: Floor::default(),
            error,
            refused: 0,
            last_refusal: None,
            owed: None,
        };
        let rules = signed.take_up(can_hold, now, wall);
        (signed, rules)
    }

    /// Reads what is stored, and returns its rules if it decides now. A file that cannot be believed is as none, and
    /// that is shown.
    fn take_up(&mut self, can_hold: bool, now: Instant, wall: Timestamp) -> Option<Policy> {
        let (policy, digest) = match self.stored() {
            Ok(None) => {
                if self.kept.is_some() {
                    self.note_fault((PolicyRefusal::NotStored, "its file is gone".to_owned()));
                }
                return None;
            }
            Ok(Some((policy, digest))) => {
                let fault = self.kept.take().and_then(|kept| kept.fault);
                self.keep(&policy, digest, fault);
                (policy, digest)
            }
            Err(error) => {
                let error = format!("{}: {error}", self.path.display());
                self.note_fault((PolicyRefusal::NotStored, error.clone()));
                self.error = Some(error);
                return None;
            }
        };
        if !self.decides(wall) {
            return None;
        }
        let rules = rules_of(&policy.text, can_hold, wall).and_then(|rules| {
            let may_be = self.trial.begin(digest, now);
            may_be.then_some(rules).ok_or((PolicyRefusal::Crashed, String::new()))
        });
        match rules {
            Ok(rules) => {
                self.kept.as_mut()?.fault = None;
                self.error = None;
                Some(rules)
            }
            Err(fault) => {
                self.note_fault(fault);
                None
            }
        }
    }

    /// Notes why what is stored is not in force; says it once.
    fn note_fault(&mut self, fault: Fault) {
        let version = self.version();
        let before = self.kept.as_mut().and_then(|kept| kept.fault.replace(fault.clone()));
        if before.as_ref() != Some(&fault) {
            let (reason, error) = (fault.0.as_str(), fault.1);
            tracing::error!(version, reason, error, "the stored policy is not in force");
        }
    }

    /// Takes up what is stored once more, if it is to be in force and is not: after a fault at an interval, and at once
    /// where there was none, which is when a clock has come back to before the policy's end.
    fn take_up_again(&mut self, can_hold: bool, now: Instant, wall: Timestamp) -> Option<Policy> {
        let has_fault = self.kept.as_ref()?.fault.is_some();
        let is_early = has_fault && now.duration_since(self.tried_at) < POLICY_RETRY_INTERVAL;
        if self.is_in_force || !self.decides(wall) || is_early {
            return None;
        }
        self.tried_at = now;
        let rules = self.take_up(can_hold, now, wall);
        if rules.is_none() {
            self.send(None, wall);
        }
        rules
    }

    /// Returns the stored policy, if there is one and it can be believed.
    fn stored(&mut self) -> Result<Option<(envelope::Policy, PolicyDigest)>, String> {
        let loaded = Stored::load(&self.path, self.tenant.as_bytes(), POLICY_ENVELOPE_BYTES_MAX);
        let Some(stored) = loaded.map_err(|error| error.to_string())? else { return Ok(None) };
        if stored.floor != Floor::default() {
            self.floor = stored.floor;
        }
        match envelope::open(&stored.envelope, &self.keys) {
            Ok(policy) if policy.tenant == self.tenant => {
                Ok(Some((policy, PolicyDigest::of(&stored.envelope))))
            }
            Ok(_) => Err(PolicyRefusal::ForeignTenant.to_string()),
            Err(refusal) => Err(refusal.to_string()),
        }
    }

    /// Looks at what was offered since the last time, and at what is stored. Returns rules that are to be put in force;
    /// then [`Self::say`] answers for them.
    pub(crate) fn poll(&mut self, can_hold: bool, now: Instant, wall: Timestamp) -> Option<Policy> {
        if self.channel.offered.has_changed().unwrap_or(false) {
            let offer = self.channel.offered.borrow_and_update().clone()?;
            return self.look_at(&offer, can_hold, now, wall);
        }
        self.take_up_again(can_hold, now, wall)
    }

    fn look_at(
        &mut self,
        offer: &PolicyOffer,
        can_hold: bool,
        now: Instant,
        wall: Timestamp,
    ) -> Option<Policy> {
        let version = offer.version;
        let digest = PolicyDigest::of(&offer.envelope);
        if self.kept.as_ref().is_some_and(|kept| kept.digest == digest) {
            // The answer to it was lost, or it could not be put in force when it was looked at last.
            self.owed = Some(version);
            let rules = self.take_up_again(can_hold, now, wall);
            if rules.is_none() {
                self.answer(wall);
            }
            return rules;
        }
        match self.accept(offer, can_hold, wall) {
            Ok(rules) => {
                tracing::info!(version, "signed policy is taken");
                (self.error, self.last_refusal) = (None, None);
                self.owed = Some(version);
                if self.is_overridden {
                    self.answer(wall);
                    return None;
                }
                self.trial.begin(digest, now);
                Some(rules)
            }
            Err((reason, detail)) => {
                tracing::warn!(version, reason = reason.as_str(), detail, "policy is refused");
                self.refused += 1;
                let text = if detail.is_empty() { reason.to_string() } else { detail.clone() };
                let reason_name = reason.as_str().to_owned();
                self.last_refusal =
                    Some(RefusalStatus { version, reason: reason_name, text, at: wall });
                let answer = Some(PolicyAck::refused(version, reason, &detail).about(digest));
                self.send(answer, wall);
                None
            }
        }
    }

    fn accept(
        &mut self,
        offer: &PolicyOffer,
        can_hold: bool,
        now: Timestamp,
    ) -> Result<Policy, Fault> {
        let bare = |reason| (reason, String::new());
        let highest = self.floor.below(&offer.envelope);
        let policy = envelope::accept(&offer.envelope, &self.keys, self.tenant, highest, now)
            .map_err(bare)?;
        if policy.version != offer.version {
            return Err(bare(PolicyRefusal::Malformed));
        }
        let rules = rules_of(&policy.text, can_hold, now)?;
        // What is not durable could be taken back by a crash, and an older one be taken after it.
        let floor = Floor::of(policy.version, &offer.envelope);
        Stored::place(&self.path, self.tenant.as_bytes(), floor, &offer.envelope)
            .map_err(|error| (PolicyRefusal::NotStored, error.to_string()))?;
        self.floor = floor;
        self.keep(&policy, PolicyDigest::of(&offer.envelope), None);
        Ok(rules)
    }

    fn keep(&mut self, policy: &envelope::Policy, digest: PolicyDigest, fault: Option<Fault>) {
        self.kept = Some(Kept {
            version: policy.version,
            digest,
            expires_at: policy.expires_at,
            cpu_percent: policy.limits.cpu_percent,
            coordinators: policy.coordinators.clone(),
            fault,
        });
    }

    /// Returns whether the rules of what is kept are in force.
    pub(crate) fn is_in_force(&self) -> bool {
        self.is_in_force
    }

    /// Returns whether what is kept is good at `now`.
    pub(crate) fn is_good(&self, now: Timestamp) -> bool {
        self.kept.as_ref().is_some_and(|kept| now < kept.expires_at)
    }

    /// Returns the version that is kept; zero where none is.
    pub(crate) fn version(&self) -> u64 {
        self.kept.as_ref().map_or(0, |kept| kept.version)
    }

    /// Returns the most of a processor that the policy lets the sources take, while it is in force.
    pub(crate) fn cpu_percent(&self, now: Timestamp) -> Option<u16> {
        self.in_force(now).and_then(|kept| kept.cpu_percent)
    }

    /// Returns what is kept, if it is in force and good.
    fn in_force(&self, now: Timestamp) -> Option<&Kept> {
        self.kept.as_ref().filter(|_| self.is_in_force && self.is_good(now))
    }

    /// Returns whether it is to be in force: it is good, and nothing of the host's own stands before it.
    fn decides(&self, now: Timestamp) -> bool {
        self.is_good(now) && !self.is_overridden
    }

    /// Says how it stands once the kept one's rules were put in force, or taken out of it, and answers for what was put
    /// in force since the last time.
    pub(crate) fn say(&mut self, is_in_force: bool, now: Timestamp) {
        self.is_in_force = is_in_force;
        if !is_in_force {
            self.trial.end();
        }
        self.answer(now);
    }

    /// Notes that the agent lasts, and says how it stands, if that is news.
    pub(crate) fn tend(&mut self, now: Instant, wall: Timestamp) {
        self.trial.tend(now);
        self.send(None, wall);
    }

    /// Notes that the agent ends in good order.
    pub(crate) fn end(&mut self) {
        self.trial.end();
    }

    fn answer(&mut self, now: Timestamp) {
        let standing = self.standing(now);
        let answer = self.owed.take().map(|version| PolicyAck { version, ..standing });
        self.send(answer, now);
    }

    fn send(&self, answer: Option<PolicyAck>, now: Timestamp) {
        let kept = self.in_force(now);
        let coordinators = kept.map(|kept| kept.coordinators.clone()).unwrap_or_default();
        let standing = self.standing(now);
        self.channel.word.send_if_modified(|said| {
            let is_answer = answer.is_some();
            // The last answer stays: it may not have been said yet.
            let answer = answer.or_else(|| said.answer.clone());
            let word = PolicyWord { standing, answer, coordinators };
            let is_news = is_answer || *said != word;
            *said = word;
            is_news
        });
    }

    /// Returns how it stands with what is kept: by what is in force, not by what should be.
    fn standing(&self, now: Timestamp) -> PolicyAck {
        let Some(kept) = &self.kept else { return PolicyAck::nothing() };
        let outcome = match &kept.fault {
            _ if self.is_in_force => PolicyOutcome::InForce,
            _ if self.is_good(now) && self.is_overridden => PolicyOutcome::Overridden,
            Some((reason, detail)) if self.is_good(now) => {
                return PolicyAck::refused(kept.version, *reason, detail).about(kept.digest);
            }
            // Nothing is suppressed by it, also until it is taken up again.
            Some(_) | None => PolicyOutcome::Ended,
        };
        PolicyAck { version: kept.version, digest: kept.digest, outcome }
    }

    /// Returns why what is kept is not in force, in words.
    fn fault(&self) -> Option<String> {
        let kept = self.kept.as_ref()?;
        let (reason, detail) = kept.fault.as_ref()?;
        let why = if detail.is_empty() { reason.to_string() } else { detail.clone() };
        Some(format!("version {} is stored and not in force: {why}", kept.version))
    }

    /// Returns what is shown; nothing where there is no key, nothing was taken and nothing refused.
    pub(crate) fn status(&self, now: Timestamp) -> Option<SignedPolicyStatus> {
        let is_used = !self.keys.is_empty() || self.kept.is_some() || self.refused > 0;
        (is_used || self.error.is_some()).then(|| SignedPolicyStatus {
            keys: self.keys.len() as u64,
            version: self.version(),
            expires_at: self.kept.as_ref().map(|kept| kept.expires_at),
            has_ended: self.kept.is_some() && !self.is_good(now),
            is_overridden: self.kept.is_some() && self.is_overridden,
            error: self.error.clone().or_else(|| self.fault()),
            refused: self.refused,
            last_refusal: self.last_refusal.clone(),
        })
    }
}

/// Reads the rules of a policy's text, if they can be done here.
fn rules_of(text: &str, can_hold: bool, now: Timestamp) -> Result<Policy, Fault> {
    let rules =
        Policy::parse(text, now).map_err(|error| (PolicyRefusal::Unusable, error.to_string()))?;
    if rules.suppresses() && !can_hold {
        return Err((PolicyRefusal::NowhereToHold, String::new()));
    }
    Ok(rules)
}

/// Loads the keys that are trusted, one a line; none where there is no file, or where it names too many.
///
/// # Errors
/// Says which file, and what is wrong with it.
pub(crate) fn load_keys(path: &Path) -> Result<Vec<PolicyPublicKey>, String> {
    let shown = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let mut text = String::new();
    let file = match fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file.map_err(|error| shown(&error))?,
    };
    file.take(POLICY_KEYS_BYTES_MAX).read_to_string(&mut text).map_err(|error| shown(&error))?;
    let keys = PolicyPublicKey::parse_list(&text).map_err(|error| shown(&error))?;
    match keys.len() {
        ..=POLICY_KEYS_MAX => Ok(keys),
        count => {
            Err(shown(&format!("it names {count} keys, at most {POLICY_KEYS_MAX} are trusted")))
        }
    }
}

#[cfg(test)]
mod tests;
