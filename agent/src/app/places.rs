//! What is stored of sources that the configuration no longer has.
//!
//! It stays, so that a source which is taken out and put back goes on where it was, but not without bound: the places
//! of a pattern's files take megabytes, and those under an old name and a new one together more than a spool may
//! hold.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use super::input::Stored;
use crate::{limits::STALE_PLACES_BYTES_MAX, spool::Spool};

/// What the agent itself stores stands under names that begin so; no source is named so.
const OWN_PREFIX: char = '/';

/// Has the spool forget what is stored of removed sources, the largest first, until the rest is within its bound.
///
/// # Errors
/// The spool takes nothing.
pub(super) fn forget_removed<'n>(
    spool: &mut Spool,
    stored: &Stored,
    sources: impl Iterator<Item = &'n str>,
) -> Result<()> {
    for (source, names) in removed(stored, sources.collect(), STALE_PLACES_BYTES_MAX) {
        let places = names.len();
        let text =
            "source was removed, and where it was read to is forgotten: back, it begins anew";
        tracing::warn!(source, places, "{text}");
        for name in names {
            spool.forget(name).context("forget a removed source")?;
        }
        spool.sync().context("forget a removed source")?;
    }
    Ok(())
}

/// Returns the removed sources that are too much, each with the names under which something is stored of it.
fn removed<'s>(
    stored: &'s Stored,
    sources: Vec<&str>,
    bytes_max: usize,
) -> Vec<(&'s str, Vec<&'s str>)> {
    let mut removed: BTreeMap<&str, (usize, Vec<&str>)> = BTreeMap::new();
    for (name, value) in stored.iter().filter(|(name, _)| !name.starts_with(OWN_PREFIX)) {
        let source = name.split('/').next().unwrap_or_default();
        if !sources.contains(&source) {
            let (bytes, names) = removed.entry(source).or_default();
            *bytes += name.len() + value.len();
            names.push(name);
        }
    }
    let mut total: usize = removed.values().map(|(bytes, _)| bytes).sum();
    let mut largest: Vec<_> = removed.into_iter().collect();
    largest.sort_by_key(|(_, (bytes, _))| std::cmp::Reverse(*bytes));
    let mut out = Vec::new();
    for (source, (bytes, names)) in largest {
        if total <= bytes_max {
            break;
        }
        total -= bytes;
        out.push((source, names));
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::spool::{Commit, RealDisk, SpoolConfig};

    fn stored(names: &[(&str, usize)]) -> Stored {
        names.iter().map(|(name, len)| ((*name).to_owned(), vec![0; *len])).collect()
    }

    #[test]
    fn of_removed_sources_the_largest_go_until_the_rest_fits() {
        let stored = stored(&[
            ("/ledger/1", 900),
            ("eve", 10),
            ("old", 20),
            ("days/1", 300),
            ("days/2", 300),
            ("kept/1", 5_000),
        ]);
        let removed = |max| removed(&stored, vec!["eve", "kept"], max);
        assert_eq!(removed(1_000), [], "it comes back where it was");
        assert_eq!(removed(100), [("days", vec!["days/1", "days/2"])]);
        assert_eq!(removed(10).iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["days", "old"]);
    }

    #[test]
    fn what_is_forgotten_leaves_room_for_the_places_of_a_renamed_source() {
        let folder = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(folder.path()).unwrap();
        let config = SpoolConfig { segment_bytes: 32 << 20, total_bytes_max: 256 << 20 };
        let mut spool = Spool::open(Arc::new(disk), config, 7).unwrap().0;
        let places = |source: &str| -> Vec<(String, Vec<u8>)> {
            (0..60_000).map(|file| (format!("{source}/{file:016x}"), vec![1; 60])).collect()
        };
        let put = |spool: &mut Spool, source: &str| {
            for checkpoints in places(source).chunks(10_000) {
                let checkpoints = checkpoints.to_vec();
                spool.append(&Commit { checkpoints, ..Commit::default() })?;
                spool.sync().unwrap();
            }
            Ok::<(), crate::spool::AppendError>(())
        };
        put(&mut spool, "days").unwrap();
        assert!(put(&mut spool, "nights").is_err(), "there is not room for both");
        let stored: Stored = places("days").into_iter().collect();
        forget_removed(&mut spool, &stored, ["nights"].into_iter()).unwrap();
        put(&mut spool, "nights").unwrap();
    }
}
