//! Recalls, what agents answered, and the records that came.
//!
//! Records come in the order of agent, block and position: within an agent the order in which it held them.
//!
//! # Limits
//! A page decodes at most [`RECALLED_BLOCKS_MAX`] blocks, and ends beyond [`PAGE_RECORD_BYTES_MAX`] of records; it may
//! be short and still say where to go on.

use bytes::Bytes;
use shared::{
    alert::Alert,
    block::{Block, BlockError},
    ids::{AgentId, TenantId},
    recall::RecallId,
};

use crate::{
    limits::{PAGE_RECORD_BYTES_MAX, RECALL_AGENTS_MAX, RECALLED_BLOCKS_MAX},
    store::{
        engine::{Direction, Space},
        reader::alerts::owned,
        schema::{Key, RecallAgentKey, RecallKey, RecalledKey, TenantRecallKey, range_of},
        tables::{LoadError, Rows, Source},
        values::{RecallRecord, ValueError},
    },
};

/// Blocks that are read at once: each may have 2 MiB.
const BLOCKS_PER_SCAN: usize = 4;

/// Where a recalled record is kept, within its recall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordPlace {
    /// From which agent.
    pub agent: AgentId,
    /// In which block of its answer, from 1.
    pub number: u32,
    /// At which position, from 0.
    pub position: u16,
}

/// A recalled record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recalled {
    /// Where it is kept.
    pub place: RecordPlace,
    /// What was read out of it.
    pub alert: Alert<'static>,
    /// The record, byte for byte.
    pub record: Bytes,
}

/// A part of a list of recalled records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordPage {
    /// The records.
    pub records: Vec<Recalled>,
    /// The last that was looked at, if there is more behind it.
    pub next: Option<RecordPlace>,
}

/// Reads at most `limit` of the tenant's recalls before `before`, newest first.
///
/// # Errors
/// The store cannot be read, or something in it is damaged.
pub fn page<S: Source + ?Sized>(
    source: &S,
    tenant: TenantId,
    before: Option<RecallId>,
    limit: usize,
) -> Result<Vec<(RecallId, RecallRecord)>, LoadError> {
    let (from, mut to) = range_of::<TenantRecallKey>(tenant.as_bytes());
    if let Some(recall) = before {
        to = TenantRecallKey { tenant, recall }.encode();
    }
    let keys: Vec<TenantRecallKey> = source.load_keys(&from..&to, Direction::Backward, limit)?;
    let keys: Vec<RecallKey> = keys.into_iter().map(|key| RecallKey(key.recall)).collect();
    let records = source.load_many(&keys)?;
    Ok(keys.iter().zip(records).filter_map(|(key, record)| Some((key.0, record?))).collect())
}

/// Reads what the agents answered that were asked, in the order of their ids.
///
/// # Errors
/// The store cannot be read, or an answer is damaged.
pub fn answers<S: Source + ?Sized>(
    source: &S,
    recall: RecallId,
) -> Result<Rows<RecallAgentKey>, LoadError> {
    let (from, to) = range_of::<RecallAgentKey>(recall.as_bytes());
    source.load_range(&from..&to, Direction::Forward, RECALL_AGENTS_MAX)
}

/// Reads at most `limit` records of the tenant's recall behind `after`; only one agent's, if asked for.
///
/// # Errors
/// The store cannot be read, or a block is damaged.
pub fn records<S: Source + ?Sized>(
    source: &S,
    (tenant, recall): (TenantId, RecallId),
    only: Option<AgentId>,
    after: Option<RecordPlace>,
    limit: usize,
) -> Result<RecordPage, LoadError> {
    let prefix = TenantRecallKey { tenant, recall }.encode();
    let (mut from, to) = match only {
        Some(agent) => RecalledKey::range(tenant, recall, agent),
        None => range_of::<RecalledKey>(&prefix[1..]),
    };
    if let Some(RecordPlace { agent, number, .. }) = after {
        from = from.max(RecalledKey { tenant, recall, agent, number }.encode());
    }
    let (mut page, mut room) = (RecordPage::default(), PAGE_RECORD_BYTES_MAX);
    for _ in 0..RECALLED_BLOCKS_MAX.div_ceil(BLOCKS_PER_SCAN) {
        let rows =
            source.scan_raw(Space::Blocks, &from..&to, Direction::Forward, BLOCKS_PER_SCAN)?;
        let is_last = rows.len() < BLOCKS_PER_SCAN;
        for (key, bytes) in rows {
            let RecalledKey { agent, number, .. } = RecalledKey::decode(&key)?;
            from = [key.to_vec(), vec![0]].concat();
            for recalled in decode(agent, number, bytes)? {
                let place = recalled.place;
                if after.is_some_and(|after| place <= after) {
                    continue;
                }
                let fits = room.checked_sub(recalled.record.len());
                let (Some(left), true) = (fits, page.records.len() < limit) else {
                    return Ok(page);
                };
                room = left;
                page.next = Some(place);
                page.records.push(recalled);
            }
        }
        if is_last {
            page.next = None;
            return Ok(page);
        }
    }
    Ok(page)
}

fn decode(agent: AgentId, number: u32, bytes: Bytes) -> Result<Vec<Recalled>, LoadError> {
    let damaged =
        |error: BlockError| ValueError { what: "recalled block", detail: error.to_string() };
    let block = Block::parse(bytes).map_err(damaged)?;
    let raw = block.decompress_fields().map_err(damaged)?;
    let fields = raw.decode().map_err(damaged)?;
    let records = block.records().map_err(damaged)?;
    let recalled = (0_u16..).zip(records).map(|(position, record)| Recalled {
        place: RecordPlace { agent, number, position },
        alert: owned(&fields.alert(usize::from(position))),
        record: Bytes::copy_from_slice(&record),
    });
    Ok(recalled.collect())
}

#[cfg(test)]
mod tests {
    use shared::{block::BlockBuilder, time::Timestamp};

    use super::*;
    use crate::store::engine::{Engine, MemoryEngine, Staged};

    fn block(first: usize, count: usize) -> Bytes {
        let mut builder = BlockBuilder::new();
        for number in first..first + count {
            builder.push(&Alert::default(), format!("{number}").as_bytes()).unwrap();
        }
        builder.finish(1)
    }

    #[test]
    fn records_are_followed_to_their_end_in_order_whatever_the_page() {
        let engine = MemoryEngine::new(1);
        let mut staged = Staged::new(&engine);
        let [acme, globex]: [TenantId; 2] = ["acme", "globex"].map(|name| name.parse().unwrap());
        let recall = RecallId::first_at(Timestamp::from_ms(7));
        let agents = [1, 2].map(|number| AgentId::from_bytes([number; 16]));
        for (tenant, agent, number, first) in [
            (acme, agents[0], 1, 0),
            (acme, agents[0], 2, 3),
            (acme, agents[1], 1, 6),
            (acme, agents[1], 256, 9),
            (acme, agents[1], 257, 12),
            (globex, agents[0], 1, 100),
        ] {
            let key = RecalledKey { tenant, recall, agent, number };
            staged.put(Space::Blocks, &key.encode(), block(first, 3));
        }
        engine.commit(staged.into_changes()).unwrap();
        let engine: &dyn Engine = &engine;
        let all = |only, limit| {
            let (mut texts, mut after) = (Vec::new(), None);
            loop {
                let page = records(engine, (acme, recall), only, after, limit).unwrap();
                assert!(page.records.len() <= limit);
                let text = |found: &Recalled| String::from_utf8(found.record.to_vec()).unwrap();
                texts.extend(page.records.iter().map(text));
                after = page.next;
                if after.is_none() {
                    return texts;
                }
            }
        };
        let expected: Vec<String> = (0..15).map(|number| number.to_string()).collect();
        for limit in [1, 2, 3, 4, 7, 15, 100] {
            assert_eq!(all(None, limit), expected, "by {limit}");
            assert_eq!(all(Some(agents[1]), limit), expected[6..], "by {limit}");
        }
    }
}
