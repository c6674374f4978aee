//! Blocks of an agent that will never come (L4).

use shared::ids::{AgentId, TenantId};

use crate::store::{
    engine::Direction,
    schema::{AgentKey, GapKey, Key, range_of},
    tables::{LoadError, Rows, Source},
};

/// Returns the range of an agent's gaps.
pub(super) fn range(tenant: TenantId, agent: AgentId) -> (Vec<u8>, Vec<u8>) {
    range_of::<GapKey>(&AgentKey { tenant, agent }.encode()[1..])
}

/// Reads at most `limit` gaps of an agent behind `after`, in order of epoch, lane and number.
///
/// # Errors
/// The store cannot be read, or a gap is damaged.
pub fn page<S: Source + ?Sized>(
    source: &S,
    tenant: TenantId,
    agent: AgentId,
    after: Option<&GapKey>,
    limit: usize,
) -> Result<Rows<GapKey>, LoadError> {
    let (mut from, to) = range(tenant, agent);
    if let Some(after) = after {
        from = after.encode();
        from.push(0); // the first key behind it
    }
    source.load_range(&from..&to, Direction::Forward, limit)
}

#[cfg(test)]
mod tests {
    use shared::{
        ids::{Epoch, Lane, Seq, StreamId},
        time::Timestamp,
        wire::GapReason,
    };

    use super::*;
    use crate::store::{
        engine::{Engine, MemoryEngine, Staged},
        tables::put,
        values::GapRecord,
    };

    #[test]
    fn an_agents_gaps_come_in_order_page_by_page_and_no_other_agents() {
        let engine = MemoryEngine::new(1);
        let mut staged = Staged::new(&engine);
        let record = GapRecord {
            last: Seq::new(9).unwrap(),
            reason: GapReason::Missing,
            noticed_at: Timestamp::ZERO,
        };
        for (tenant, agent) in [("acme", 1), ("acme", 2), ("globex", 1)] {
            for (lane, first) in [(Lane::Urgent, 1), (Lane::Urgent, 300), (Lane::Bulk, 2)] {
                let agent = AgentId::from_bytes([agent; 16]);
                let stream = StreamId { agent, epoch: Epoch(1), lane };
                let first = Seq::new(first).unwrap();
                let key = GapKey { tenant: tenant.parse().unwrap(), stream, first };
                put(&mut staged, &key, record);
            }
        }
        engine.commit(staged.into_changes()).unwrap();
        let engine: &dyn Engine = &engine;
        let (tenant, agent) = ("acme".parse().unwrap(), AgentId::from_bytes([1; 16]));
        let all = page(engine, tenant, agent, None, 10).unwrap();
        let firsts: Vec<_> =
            all.iter().map(|(key, _)| (key.stream.lane, key.first.as_u64())).collect();
        assert_eq!(firsts, [(Lane::Urgent, 1), (Lane::Urgent, 300), (Lane::Bulk, 2)]);
        let behind = page(engine, tenant, agent, Some(&all[0].0), 1).unwrap();
        assert_eq!(behind, all[1..2]);
    }
}
