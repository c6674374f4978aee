//! Blocks as an agent makes them, prepared before anything is measured.

use agent::normalise::{Kind, Normaliser, Outcome};
use anyhow::{Result, bail};
use bytes::Bytes;
use shared::{block::BlockBuilder, limits::BLOCK_ALERTS_MAX};

use super::records::{Records, now};

/// Returns `count` full blocks of the alerts that `records` makes.
///
/// # Errors
/// An alert could not be read: the maker of alerts is broken.
pub(super) fn full(records: &mut Records, count: usize) -> Result<Vec<Bytes>> {
    let normaliser = Normaliser::new(Kind::SURICATA_EVE, "eve");
    let mut builder = BlockBuilder::new();
    let mut line = String::new();
    let mut blocks = Vec::with_capacity(count);
    for _ in 0..count {
        while builder.len() < BLOCK_ALERTS_MAX {
            line.clear();
            records.append(&mut line);
            let record = line.trim_end().as_bytes();
            let Outcome::Alert { alert, .. } = normaliser.normalise(record, now()) else {
                bail!("no alert: {line}");
            };
            builder.push(&alert, record)?;
        }
        blocks.push(builder.finish(1));
    }
    Ok(blocks)
}
