//! The fences of this person's claims, so that a verdict need not name them.
//!
//! A file of at most [`CLAIMS_MAX`] claims, the newest last, by coordinator and case. It is a convenience: without it a
//! fence is given by hand, and whether a fence is good is for the coordinator to say (L6).
//!
//! # Format
//! ```text
//! {"version": 1, "claims": [
//!   {"coordinator": "https://...", "case": "...", "fence": 7, "lease_until": "...", "revision": 12}
//! ]}
//! ```

use std::{
    fs::OpenOptions,
    io,
    path::{Path, PathBuf},
};

use coordinator::api::types::Time;
use serde::{Deserialize, Serialize};

use crate::{failure::Failure, files, limits::CLAIMS_MAX};

/// Version of the file (L10).
const VERSION: u32 = 1;

/// A claim that this person made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    /// At which coordinator.
    pub(crate) coordinator: String,
    /// Of which case, with its whole id.
    pub(crate) case: String,
    /// Its number.
    pub(crate) fence: u64,
    /// Until when it holds.
    pub(crate) lease_until: Time,
    /// Revision of the case that was shown last; absent where an older program wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) revision: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    version: u32,
    claims: Vec<Remembered>,
}

/// The file.
#[derive(Clone, Debug)]
pub(crate) struct Claims {
    path: PathBuf,
}

impl Claims {
    /// Returns the claims in the file at `path`, which need not exist.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Remembers a claim, in the place of an older one of the same case. What was shown stays known where `claim` does
    /// not say it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn remember(&self, mut claim: Remembered) -> Result<(), Failure> {
        self.change(|claims| {
            let older = claims.iter().find(|old| is_of(old, &claim.coordinator, &claim.case));
            claim.revision = claim.revision.or_else(|| older.and_then(|old| old.revision));
            claims.retain(|old| !is_of(old, &claim.coordinator, &claim.case));
            claims.push(claim);
            let surplus = claims.len().saturating_sub(CLAIMS_MAX);
            claims.drain(..surplus);
        })
    }

    /// Remembers that a case was shown with this revision, if there is a claim of it.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub(crate) fn saw(&self, coordinator: &str, case: &str, revision: u64) -> Result<(), Failure> {
        let is_it = |claim: &Remembered| {
            is_of(claim, coordinator, case) && claim.revision != Some(revision)
        };
        if !self.load()?.iter().any(is_it) {
            return Ok(());
        }
        self.change(|claims| {
            claims
                .iter_mut()
                .filter(|claim| is_it(claim))
                .for_each(|claim| claim.revision = Some(revision));
        })
    }

    /// Forgets the claim of a case.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn forget(&self, coordinator: &str, case: &str) -> Result<(), Failure> {
        self.change(|claims| claims.retain(|old| !is_of(old, coordinator, case)))
    }

    /// Finds the claim of the case whose id begins so.
    ///
    /// # Errors
    /// There is none, or there are several; or the file cannot be read.
    pub(crate) fn find(&self, coordinator: &str, case: &str) -> Result<Remembered, Failure> {
        let mut found = self.load()?;
        found.retain(|claim| claim.coordinator == coordinator && claim.case.starts_with(case));
        match found.len() {
            1 => Ok(found.remove(0)),
            0 => Err(Failure::usage(
                format!("no claim of {case} is remembered here"),
                format!("signalbox show {case} names the number of its claim; give it as --fence"),
            )),
            _ => Err(Failure::usage(
                format!("{case} may mean several cases that you hold"),
                found.iter().map(|claim| claim.case.as_str()).collect::<Vec<_>>().join(", "),
            )),
        }
    }

    fn load(&self) -> Result<Vec<Remembered>, Failure> {
        match files::load(&self.path) {
            Ok(bytes) => match serde_json::from_slice::<Document>(&bytes) {
                Ok(document) if document.version == VERSION => Ok(document.claims),
                // Of another version, or damaged: worth no more than the fences that it held.
                Ok(_) | Err(_) => Ok(Vec::new()),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(files::failure("cannot read", &self.path, &error)),
        }
    }

    /// Changes the file while no other process does.
    fn change(&self, change: impl FnOnce(&mut Vec<Remembered>)) -> Result<(), Failure> {
        let failure = |error: io::Error| files::failure("cannot write", &self.path, &error);
        let _lock = lock(&self.path).map_err(failure)?;
        let mut claims = self.load()?;
        change(&mut claims);
        let document = Document { version: VERSION, claims };
        let bytes = serde_json::to_vec_pretty(&document).map_err(|error| failure(error.into()))?;
        files::replace_private(&self.path, &bytes).map_err(failure)
    }
}

/// Holds the lock beside the file until it is dropped. The file itself cannot be locked: it is replaced.
fn lock(path: &Path) -> io::Result<std::fs::File> {
    files::make_folder(path)?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path.with_extension("lock"))?;
    file.lock()?;
    Ok(file)
}

fn is_of(claim: &Remembered, coordinator: &str, case: &str) -> bool {
    claim.coordinator == coordinator && claim.case == case
}

#[cfg(test)]
mod tests {
    use shared::time::Timestamp;

    use super::*;

    const BOX: &str = "https://box";

    fn claim(coordinator: &str, case: &str, fence: u64) -> Remembered {
        let lease_until = Time(Timestamp::from_ms(1_767_323_045_678));
        let (coordinator, case) = (coordinator.into(), case.into());
        Remembered { coordinator, case, fence, lease_until, revision: Some(3) }
    }

    fn claims() -> (tempfile::TempDir, Claims) {
        let folder = tempfile::tempdir().unwrap();
        let claims = Claims::new(folder.path().join("signalbox").join("claims.json"));
        (folder, claims)
    }

    #[test]
    fn what_was_shown_last_stays_known_when_a_lease_is_renewed() {
        let (_folder, claims) = claims();
        let revision = || claims.find(BOX, "7k3m").unwrap().revision;
        claims.saw(BOX, "7k3m2a9c0d1e", 8).unwrap(); // nobody has claimed it: nothing to remember
        assert!(claims.find(BOX, "7k3m").is_err());
        claims.remember(claim(BOX, "7k3m2a9c0d1e", 7)).unwrap();
        assert_eq!(revision(), Some(3));
        claims.saw(BOX, "7k3m2a9c0d1e", 8).unwrap();
        let renewed = Remembered { revision: None, ..claim(BOX, "7k3m2a9c0d1e", 7) };
        claims.remember(renewed).unwrap();
        assert_eq!(revision(), Some(8));
    }

    #[test]
    fn a_claim_is_found_by_a_beginning_of_its_case_at_its_coordinator() {
        let (_folder, claims) = claims();
        claims.remember(claim(BOX, "7k3m2a9c0d1e", 7)).unwrap();
        claims.remember(claim("https://other", "7k3m2a9c0d1e", 3)).unwrap();
        assert_eq!(claims.find(BOX, "7k3m").unwrap().fence, 7);
        assert!(claims.find("https://third", "7k3m").is_err());
        assert!(claims.find(BOX, "7k3n").is_err());
    }

    #[test]
    fn a_beginning_of_two_held_cases_names_neither() {
        let (_folder, claims) = claims();
        claims.remember(claim(BOX, "7k3m11111111", 1)).unwrap();
        claims.remember(claim(BOX, "7k3m22222222", 2)).unwrap();
        let Err(Failure::Usage { hint, .. }) = claims.find(BOX, "7k3m") else { panic!() };
        assert_eq!(hint, "7k3m11111111, 7k3m22222222");
        assert_eq!(claims.find(BOX, "7k3m2").unwrap().fence, 2);
    }

    #[test]
    fn a_newer_claim_of_a_case_takes_the_place_of_the_older_one() {
        let (_folder, claims) = claims();
        claims.remember(claim(BOX, "7k3m2a9c0d1e", 7)).unwrap();
        claims.remember(claim(BOX, "7k3m2a9c0d1e", 9)).unwrap();
        assert_eq!(claims.find(BOX, "7k3m").unwrap().fence, 9);
        claims.forget(BOX, "7k3m2a9c0d1e").unwrap();
        assert!(claims.find(BOX, "7k3m").is_err());
    }

    #[test]
    fn the_oldest_claims_are_forgotten_at_the_bound() {
        let (_folder, claims) = claims();
        for number in 0..=CLAIMS_MAX {
            claims.remember(claim(BOX, &format!("{number:012}"), 1)).unwrap();
        }
        assert_eq!(claims.load().unwrap().len(), CLAIMS_MAX);
        assert!(claims.find(BOX, "000000000000").is_err());
        assert!(claims.find(BOX, "000000000001").is_ok());
    }

    #[test]
    fn a_damaged_file_costs_the_fences_and_nothing_else() {
        let (_folder, claims) = claims();
        claims.remember(claim(BOX, "7k3m2a9c0d1e", 7)).unwrap();
        std::fs::write(&claims.path, b"{").unwrap();
        assert!(claims.find(BOX, "7k3m").is_err());
        claims.remember(claim(BOX, "7k3m2a9c0d1e", 8)).unwrap();
        assert_eq!(claims.find(BOX, "7k3m").unwrap().fence, 8);
    }
}
