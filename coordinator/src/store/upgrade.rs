//! Brings a store that an earlier version wrote to what this one reads.
//!
//! A store says its schema's version in a row of its own. One that says none is new, or of version 1, in which a case
//! was one row with all its findings. At the first start each such case is rewritten as the rows of version 2, some
//! cases a commit, and the version is written last. What version 3 changed is read in both forms: nothing is rewritten.
//!
//! # Invariants
//! - A case is of one version whole: its new rows take the old one's place in one commit (L1). So a start that was
//!   killed leaves cases of both, and the next one goes on with those that are left.
//! - Nothing else reads or writes the store meanwhile, and a store of a later version is not touched.
//!
//! # Cost
//! Every case of a store of version 1 is read once, at the first start alone; a commit with its sync for each
//! [`UPGRADE_CASES_MAX`] that are rewritten. A program of an earlier version cannot read what is left.

use thiserror::Error;

use crate::{
    limits::UPGRADE_CASES_MAX,
    store::{
        engine::{Changes, CommitError, Direction, Engine, Space, Staged},
        schema::{CaseKey, Key, MetaKey, SCHEMA_VERSION, range_of},
        tables::{LoadError, Source, put_evidence},
        values::{Value, case::decode_whole},
    },
};

/// The version of a store that says none.
const FIRST_VERSION: u32 = 1;
/// The first version in which a case is several rows.
const SPLIT_VERSION: u32 = 2;

/// How many rewritten cases a line of the log stands for, about: one every few seconds.
const CASES_PER_LINE: u64 = 10_000;

/// Why a store cannot be used by this program.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UpgradeError {
    /// A later program wrote it.
    #[error(
        "its schema has version {stored}, and this program reads none beyond {known}: start the \
         program that wrote it, or a copy of the store from before that"
    )]
    Later {
        /// What the store says.
        stored: u32,
        /// What this program writes.
        known: u32,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The store did not take a change; the next start goes on from there.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Returns the version of the store's schema, which this program reads or can rewrite. A store in which nothing was
/// written yet has the first.
///
/// # Errors
/// The store is of a later version, or cannot be read.
pub fn version(engine: &dyn Engine) -> Result<u32, UpgradeError> {
    let key = MetaKey::SCHEMA.encode();
    let row = engine.read(Space::Rows, &[&key]).map_err(LoadError::from)?.pop().flatten();
    let said = row.map(|row| u32::decode(&row)).transpose().map_err(LoadError::from)?;
    match said.unwrap_or(FIRST_VERSION) {
        stored if stored > SCHEMA_VERSION => {
            Err(UpgradeError::Later { stored, known: SCHEMA_VERSION })
        }
        stored => Ok(stored),
    }
}

/// Makes a store one of this version, before anything else reads or writes it.
///
/// # Errors
/// The store is of a later version, or cannot be read, or does not take a change. What was rewritten until then stays,
/// and another try goes on from there.
pub fn run(engine: &dyn Engine) -> Result<(), UpgradeError> {
    let stored = version(engine)?;
    if stored == SCHEMA_VERSION {
        return Ok(());
    }
    let cases = if stored < SPLIT_VERSION { split_cases(engine)? } else { 0 };
    if cases > 0 {
        tracing::info!(from = stored, to = SCHEMA_VERSION, cases, "the store was rewritten");
    }
    let mut changes = Changes::new();
    changes.put(Space::Rows, MetaKey::SCHEMA.encode(), SCHEMA_VERSION.encode());
    Ok(engine.commit(changes)?)
}

/// Rewrites each case that is one row; returns how many there were.
fn split_cases(engine: &dyn Engine) -> Result<u64, UpgradeError> {
    let (mut from, to) = range_of::<CaseKey>(&[]);
    let mut count = 0;
    let mut told = 0;
    loop {
        let rows = engine.scan_raw(Space::Rows, &from..&to, Direction::Forward, UPGRADE_CASES_MAX);
        let rows = rows.map_err(LoadError::from)?;
        let Some((last, _)) = rows.last() else { return Ok(count) };
        from = [&last[..], &[0]].concat();
        let mut staged = Staged::new(engine);
        for (_, row) in &rows {
            if let Some(evidence) = decode_whole(row).map_err(LoadError::from)? {
                put_evidence(&mut staged, evidence);
                count += 1;
            }
        }
        engine.commit(staged.into_changes())?;
        if count >= told + CASES_PER_LINE {
            told = count;
            tracing::info!(cases = count, "rewriting the store: its cases get rows of their own");
        }
    }
}

#[cfg(test)]
mod tests;
