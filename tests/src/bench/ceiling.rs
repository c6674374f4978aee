//! What the engine could do if storing blocks were all: their bytes through the engine trait, one sync a group.

use std::time::Instant;

use anyhow::Result;
use bytes::Bytes;
use coordinator::{
    limits::GROUP_BYTES_MAX,
    store::{
        engine::{Changes, Engine, RocksEngine, Space},
        schema::{BlockKey, BlockPlace, Key},
    },
};
use shared::{
    ids::{AgentId, Epoch, Lane, Seq, StreamId},
    limits::BLOCK_ALERTS_MAX,
};

use super::{
    Figures, blocks,
    measure::{median, per_second, scaled, scratch},
    records::{ALL_SEVERITIES, Records, now},
};

/// Different blocks, which are stored again and again under numbers of their own.
const DIFFERENT: usize = 128;
const BLOCKS: usize = 8_192;
const REPETITIONS: usize = 3;

pub(super) fn run(figures: &mut Figures) -> Result<()> {
    let different = blocks::full(&mut Records::new(2, now(), ALL_SEVERITIES), DIFFERENT)?;
    let count = scaled(BLOCKS, 256);
    let rates = (0..REPETITIONS).map(|_| pass(&different, count)).collect::<Result<Vec<_>>>()?;
    figures.set("engine_ceiling_per_s", median(rates));
    Ok(())
}

/// Stores `count` blocks in groups as large as the writer's; returns how many alerts a second.
fn pass(different: &[Bytes], count: usize) -> Result<f64> {
    let folder = scratch()?;
    let engine = RocksEngine::open(folder.path())?;
    let tenant = "acme".parse()?;
    let agent: AgentId = "00000000-0000-4000-8000-000000000001".parse()?;
    let stream = StreamId { agent, epoch: Epoch(1), lane: Lane::Normal };
    let start = Instant::now();
    let mut changes = Changes::new();
    let mut seq = Seq::FIRST;
    for block in different.iter().cycle().take(count) {
        let place = BlockPlace { received_at: now(), stream, seq };
        changes.put(Space::Blocks, BlockKey { tenant, place }.encode(), block.clone());
        if changes.bytes() >= GROUP_BYTES_MAX {
            engine.commit(std::mem::take(&mut changes))?;
        }
        seq = Seq::after(Some(seq));
    }
    engine.commit(changes)?;
    Ok(per_second(count * BLOCK_ALERTS_MAX, start.elapsed()))
}
