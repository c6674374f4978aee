//! The policy that is in force: of a file of the host's own, which is loaded at the start and again when it changes, or
//! of the coordinator's channel.
//!
//! A file that the configuration names stands before the channel: what comes signed is kept then, and does nothing.
//! A policy is taken whole or not at all. One that cannot be taken leaves the one before in force; where there is none,
//! everything is sent: a filter that cannot be read must not silence a host. A signed one that has ended does nothing
//! any more, so everything is sent, too. The status says so either way.

pub(super) mod signed;
mod trial;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Instant, SystemTime},
};

use shared::{
    ids::{Epoch, TenantId},
    time::Timestamp,
};
use thiserror::Error;

pub(super) use self::signed::Channel;
use self::signed::Signed;
use crate::{
    config::Config,
    limits::{POLICY_BYTES_MAX, POLICY_LOOK_INTERVAL},
    policy::{Policy, PolicyError},
    prefilter::Prefilter,
    status::{PolicySource, PolicyStatus, RuleState, RuleStatus},
};

/// Why a policy is not taken.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Its text is no policy.
    #[error("{}:{error}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Where and why.
        error: PolicyError,
    },
    /// It holds or folds, and there is nowhere to keep the originals (L8).
    #[error(
        "{}: has rules that hold or fold, and there is nowhere to keep the originals: \
         configure [held]", _0.display()
    )]
    NowhereToHold(PathBuf),
}

/// Loads a policy; `can_hold` says whether there is a place for what it holds or folds.
///
/// # Errors
/// Each [`LoadError`].
pub fn load(path: &Path, can_hold: bool, now: Timestamp) -> Result<Policy, LoadError> {
    use io::Read as _;
    let read = |error| LoadError::Read { path: path.to_owned(), error };
    let mut text = String::new();
    // One byte more than may be, so that the policy itself says that it is too long.
    let most = POLICY_BYTES_MAX as u64 + 1;
    fs::File::open(path)
        .and_then(|file| file.take(most).read_to_string(&mut text))
        .map_err(read)?;
    let policy = Policy::parse(&text, now)
        .map_err(|error| LoadError::Invalid { path: path.to_owned(), error })?;
    if policy.suppresses() && !can_hold {
        return Err(LoadError::NowhereToHold(path.to_owned()));
    }
    Ok(policy)
}

/// What of a file changes when its content does.
type Look = Option<(SystemTime, u64)>;

/// The policy's file of this host.
#[derive(Debug)]
struct File {
    path: PathBuf,
    look: Look,
    /// Why it is not taken as it is now.
    error: Option<String>,
}

/// What is to take the place of the policy in force.
#[derive(Debug)]
pub(super) struct Change {
    /// Nothing, where all is sent from then on.
    prefilter: Option<Prefilter>,
    version: u64,
    source: PolicySource,
}

/// The policy that is in force, and where others come from.
#[derive(Debug)]
pub(super) struct Enforcement {
    file: Option<File>,
    signed: Signed,
    can_hold: bool,
    key: Epoch,
    prefilter: Option<Prefilter>,
    source: PolicySource,
    version: u64,
    loaded_at: Option<Timestamp>,
    looked_at: Instant,
    /// How many rules were said to have ended.
    expired: usize,
}

impl Enforcement {
    /// Loads the policy that the configuration names, or else takes up the signed one; `key` is the spool's epoch.
    pub(super) fn begin(
        config: &Config,
        (tenant, key): (TenantId, Epoch),
        channel: Channel,
        now: Instant,
        wall: Timestamp,
    ) -> Self {
        let file = |path: &PathBuf| File { path: path.clone(), look: None, error: None };
        let file = config.policy.as_ref().map(file);
        let whose = (tenant, config.policy_keys.as_path());
        let how = (file.is_some(), config.held.is_some());
        let (signed, rules) = Signed::begin(whose, &config.spool.dir, how, channel, (now, wall));
        let mut enforcement = Self {
            file,
            signed,
            can_hold: config.held.is_some(),
            key,
            prefilter: None,
            source: PolicySource::default(),
            version: 0,
            loaded_at: None,
            looked_at: now,
            expired: 0,
        };
        let change = if enforcement.file.is_some() {
            enforcement.load(wall)
        } else {
            rules.map(|rules| enforcement.of_channel(Some(rules)))
        };
        match change {
            Some(change) => enforcement.put_in_force(change, wall),
            None => enforcement.signed.say(false, wall),
        }
        enforcement
    }

    /// Returns the policy at work, if one is.
    pub(super) fn prefilter(&mut self) -> Option<&mut Prefilter> {
        self.prefilter.as_mut()
    }

    /// Returns the number of the version that is in force; zero where none is.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Returns whether a change comes with another version, which no interval of the ledger shares with this one.
    pub(super) fn is_another_version(&self, change: &Change) -> bool {
        change.version != self.version
    }

    /// Returns the most of a processor that the policy in force lets the sources take.
    pub(super) fn cpu_percent(&self, wall: Timestamp) -> Option<u16> {
        self.signed.cpu_percent(wall)
    }

    /// Looks at what the coordinator offers, and at the file once an interval; returns what is to take the place of the
    /// policy in force.
    pub(super) fn poll(&mut self, now: Instant, wall: Timestamp) -> Option<Change> {
        if let Some(rules) = self.signed.poll(self.can_hold, now, wall) {
            return Some(self.of_channel(Some(rules)));
        }
        if self.signed.is_in_force() && !self.signed.is_good(wall) {
            return Some(self.of_channel(None));
        }
        if now.duration_since(self.looked_at) < POLICY_LOOK_INTERVAL {
            return None;
        }
        self.looked_at = now;
        self.signed.tend(now, wall);
        self.say_what_expired(wall);
        let file = self.file.as_ref()?;
        let has_changed = look(&file.path) != file.look;
        if has_changed { self.load(wall) } else { None }
    }

    fn of_channel(&self, rules: Option<Policy>) -> Change {
        let version = if rules.is_some() { self.signed.version() } else { 0 };
        let prefilter = rules.map(|rules| Prefilter::new(rules, self.key));
        Change { prefilter, version, source: PolicySource::Signed }
    }

    /// Has a policy take the place of the present one, which must have handed out all that it folded.
    pub(super) fn put_in_force(&mut self, change: Change, wall: Timestamp) {
        let Change { mut prefilter, version, source } = change;
        if let (Some(prefilter), Some(earlier)) = (&mut prefilter, &self.prefilter) {
            prefilter.remember(earlier);
        }
        match &prefilter {
            Some(prefilter) => {
                let policy = prefilter.policy();
                let (policy, rules) = (policy.name(), policy.rules().len());
                tracing::info!(policy, version, rules, "policy is in force");
            }
            None => tracing::warn!(
                version = self.version,
                "the policy has ended: everything is sent, until another is taken"
            ),
        }
        self.loaded_at = prefilter.is_some().then_some(wall);
        self.prefilter = prefilter;
        (self.version, self.source) = (version, source);
        self.expired = 0;
        self.say_what_expired(wall);
        let is_signed = self.prefilter.is_some() && source == PolicySource::Signed;
        self.signed.say(is_signed, wall);
    }

    /// Notes that the agent ends in good order, whatever is in force.
    pub(super) fn end(&mut self) {
        self.signed.end();
    }

    /// Returns what is shown of the policy; nothing where there is none, and nobody could send one.
    pub(super) fn status(&self, now: Instant, wall: Timestamp) -> Option<PolicyStatus> {
        let signed = self.signed.status(wall);
        if self.file.is_none() && signed.is_none() {
            return None;
        }
        let file = self.file.as_ref();
        let status = PolicyStatus {
            path: file.map(|file| file.path.clone()).unwrap_or_default(),
            error: file.and_then(|file| file.error.clone()),
            loaded_at: self.loaded_at,
            source: self.source,
            signed,
            ..PolicyStatus::default()
        };
        let Some(prefilter) = &self.prefilter else { return Some(status) };
        let policy = prefilter.policy();
        Some(PolicyStatus {
            name: policy.name().to_owned(),
            version: self.version,
            owner: policy.owner().to_owned(),
            rules: rules_of(prefilter, now, wall),
            folded_keys: prefilter.fold().keys() as u64,
            uncounted: prefilter.fold().uncounted(),
            no_room: prefilter.fold().no_room(),
            correlated_groups: prefilter.correlator().groups() as u64,
            correlated_late: prefilter.correlator().late(),
            correlated_forgotten: prefilter.correlator().forgotten(),
            ..status
        })
    }

    /// Loads the file as it is now; notes why not, if it cannot be.
    fn load(&mut self, wall: Timestamp) -> Option<Change> {
        let in_force = self.prefilter.as_ref().map(|_| self.version);
        let file = self.file.as_mut()?;
        // Before it is read: what is written meanwhile is a change that the next look sees.
        file.look = look(&file.path);
        match load(&file.path, self.can_hold, wall) {
            Ok(policy) => {
                file.error = None;
                let (version, source) = (policy.version(), PolicySource::File);
                let prefilter = Some(Prefilter::new(policy, self.key));
                Some(Change { prefilter, version, source })
            }
            Err(error) => {
                if matches!(error, LoadError::Read { .. }) {
                    file.look = None; // who may read it is no change of the file
                }
                let error = error.to_string();
                if file.error.as_ref() != Some(&error) {
                    tracing::error!(error, ?in_force, "policy is not taken");
                }
                file.error = Some(error);
                None
            }
        }
    }

    /// Says once which rules do nothing any more.
    fn say_what_expired(&mut self, wall: Timestamp) {
        let Some(prefilter) = &self.prefilter else { return };
        let rules = prefilter.policy().rules().iter();
        let expired: Vec<&str> =
            rules.filter(|rule| wall >= rule.expires_at).map(|rule| &*rule.id).collect();
        if expired.len() > self.expired {
            tracing::warn!(rules = ?expired, "rules of the policy have ended and do nothing");
        }
        self.expired = expired.len();
    }
}

fn rules_of(prefilter: &Prefilter, now: Instant, wall: Timestamp) -> Vec<RuleStatus> {
    let filter = prefilter.filter();
    let rules = filter.counts().enumerate().map(|(place, (rule, counts))| RuleStatus {
        id: rule.id.to_string(),
        title: rule.title.to_string(),
        owner: rule.owner.to_string(),
        action: rule.action.as_str().to_owned(),
        expires_at: rule.expires_at,
        state: if wall >= rule.expires_at {
            RuleState::Expired
        } else if filter.is_beyond_expected(place, now) {
            RuleState::BeyondExpected
        } else {
            RuleState::InForce
        },
        matched: counts.matched,
        sent: counts.sent,
        held: counts.held,
        audit_samples: counts.audit_samples,
        beyond_expected: counts.beyond_expected,
        folded: counts.folded,
        let_through: counts.let_through,
        spared: counts.spared,
    });
    rules.collect()
}

fn look(path: &Path) -> Look {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
