//! The policy's file: loaded at the start, and again when it changes.
//!
//! A policy is taken whole or not at all. One that cannot be taken leaves the one before in force; where there is none,
//! everything is sent: a filter that cannot be read must not silence a host. The status says so either way.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Instant, SystemTime},
};

use shared::{ids::Epoch, time::Timestamp};
use thiserror::Error;

use crate::{
    limits::{POLICY_BYTES_MAX, POLICY_LOOK_INTERVAL},
    policy::{Policy, PolicyError},
    prefilter::Prefilter,
    status::{PolicyStatus, RuleState, RuleStatus},
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

/// A policy's file, and the policy that is in force.
#[derive(Debug)]
pub(super) struct Enforcement {
    path: PathBuf,
    can_hold: bool,
    key: Epoch,
    prefilter: Option<Prefilter>,
    loaded_at: Option<Timestamp>,
    look: Look,
    looked_at: Instant,
    error: Option<String>,
    /// How many rules were said to have ended.
    expired: usize,
}

impl Enforcement {
    /// Loads the policy at `path`; `key` is the spool's epoch.
    pub(super) fn begin(
        path: &Path,
        can_hold: bool,
        key: Epoch,
        now: Instant,
        wall: Timestamp,
    ) -> Self {
        let mut enforcement = Self {
            path: path.to_owned(),
            can_hold,
            key,
            prefilter: None,
            loaded_at: None,
            look: None,
            looked_at: now,
            error: None,
            expired: 0,
        };
        if let Some(prefilter) = enforcement.load(wall) {
            enforcement.put_in_force(prefilter, wall);
        }
        enforcement
    }

    /// Returns the policy at work, if one is.
    pub(super) fn prefilter(&mut self) -> Option<&mut Prefilter> {
        self.prefilter.as_mut()
    }

    /// Returns the number of the version that is in force; zero where none is.
    pub(super) fn version(&self) -> u64 {
        self.prefilter.as_ref().map_or(0, |prefilter| prefilter.policy().version())
    }

    /// Looks at the file once an interval; returns a policy that is to take the place of the present one.
    pub(super) fn poll(&mut self, now: Instant, wall: Timestamp) -> Option<Prefilter> {
        if now.duration_since(self.looked_at) < POLICY_LOOK_INTERVAL {
            return None;
        }
        self.looked_at = now;
        self.say_what_expired(wall);
        let has_changed = look(&self.path) != self.look;
        if has_changed { self.load(wall) } else { None }
    }

    /// Has a policy take the place of the present one, which must have handed out all that it folded.
    pub(super) fn put_in_force(&mut self, mut prefilter: Prefilter, wall: Timestamp) {
        if let Some(earlier) = &self.prefilter {
            prefilter.remember(earlier);
        }
        let policy = prefilter.policy();
        tracing::info!(
            policy = policy.name(),
            version = policy.version(),
            rules = policy.rules().len(),
            "policy is in force"
        );
        self.prefilter = Some(prefilter);
        self.loaded_at = Some(wall);
        self.expired = 0;
        self.say_what_expired(wall);
    }

    /// Returns what is shown of the policy.
    pub(super) fn status(&self, now: Instant, wall: Timestamp) -> PolicyStatus {
        let status = PolicyStatus {
            path: self.path.clone(),
            error: self.error.clone(),
            loaded_at: self.loaded_at,
            ..PolicyStatus::default()
        };
        let Some(prefilter) = &self.prefilter else { return status };
        let (policy, filter) = (prefilter.policy(), prefilter.filter());
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
        PolicyStatus {
            name: policy.name().to_owned(),
            version: policy.version(),
            owner: policy.owner().to_owned(),
            rules: rules.collect(),
            folded_keys: prefilter.fold().keys() as u64,
            uncounted: prefilter.fold().uncounted(),
            no_room: prefilter.fold().no_room(),
            correlated_groups: prefilter.correlator().groups() as u64,
            correlated_late: prefilter.correlator().late(),
            correlated_forgotten: prefilter.correlator().forgotten(),
            ..status
        }
    }

    /// Loads the file as it is now; notes why not, if it cannot be.
    fn load(&mut self, wall: Timestamp) -> Option<Prefilter> {
        // Before it is read: what is written meanwhile is a change that the next look sees.
        self.look = look(&self.path);
        match load(&self.path, self.can_hold, wall) {
            Ok(policy) => {
                self.error = None;
                Some(Prefilter::new(policy, self.key))
            }
            Err(error) => {
                if matches!(error, LoadError::Read { .. }) {
                    self.look = None; // who may read it is no change of the file
                }
                let error = error.to_string();
                let in_force =
                    self.prefilter.as_ref().map(|prefilter| prefilter.policy().version());
                if self.error.as_ref() != Some(&error) {
                    tracing::error!(error, ?in_force, "policy is not taken");
                }
                self.error = Some(error);
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

fn look(path: &Path) -> Look {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
