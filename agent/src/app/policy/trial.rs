//! Whether the agent lasts under the signed policy that it puts in force.
//!
//! Before a policy is put in force that is noted durably, with how often it was so far; once the agent has run under it
//! for a while, or was stopped in good order, the note is removed. Who ends soon after it again and again, whatever the
//! reason, goes on without it, and everything is sent.
//!
//! # Format
//! ```text
//! policy.trying: 1 u8 | digest of the program's version and the envelope's digest [32] | times u8
//! ```
//! A program of another version begins to count anew: it may be the one that can.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Instant,
};

use sha2::{Digest as _, Sha256};
use shared::policy::PolicyDigest;

use crate::{
    limits::{POLICY_TRIALS_MAX, POLICY_TRIED_AFTER},
    platform::place,
};

/// Name of the file in the spool's folder.
const FILE: &str = "policy.trying";
/// Version of the file's bytes.
const VERSION: u8 = 1;

/// The note of the policy that is tried.
#[derive(Debug)]
pub(super) struct Trial {
    path: PathBuf,
    /// Since when a policy is tried.
    since: Option<Instant>,
}

impl Trial {
    pub(super) fn new(spool_dir: &Path) -> Self {
        Self { path: spool_dir.join(FILE), since: None }
    }

    /// Notes that the policy of this envelope is put in force now; returns whether it may be.
    pub(super) fn begin(&mut self, envelope: PolicyDigest, now: Instant) -> bool {
        let id: [u8; 32] = Sha256::new()
            .chain_update(env!("CARGO_PKG_VERSION"))
            .chain_update(envelope.to_string())
            .finalize()
            .into();
        let times = match fs::read(&self.path).as_deref() {
            Ok([VERSION, before @ .., times]) if before == id => *times,
            Ok(_) | Err(_) => 0,
        };
        if times >= POLICY_TRIALS_MAX {
            return false;
        }
        let bytes = [&[VERSION][..], &id, &[times + 1]].concat();
        if let Err(error) = place(&self.path, &bytes) {
            // Without the note it is tried as often as the agent starts.
            tracing::warn!(%error, "that a policy is tried cannot be noted");
        }
        self.since = Some(now);
        true
    }

    /// Removes the note once the agent has run for a while.
    pub(super) fn tend(&mut self, now: Instant) {
        if self.since.is_some_and(|since| now.duration_since(since) >= POLICY_TRIED_AFTER) {
            self.end();
        }
    }

    /// Removes the note of the policy that is tried: the agent is stopped in good order, or it is in force no more.
    pub(super) fn end(&mut self) {
        if self.since.take().is_some() {
            match fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%error, "that a policy was tried is still noted");
                }
                Ok(()) | Err(_) => {}
            }
        }
    }
}
