//! Stores an agent's ledger: checks each interval against the one before and the blocks received, and says in the
//! journal when something is missing (L4).

use shared::{
    ids::{AgentId, Epoch, Lane, StreamId, TenantId},
    ledger::Interval,
    limits::FUTURE_MAX,
    time::Timestamp,
    wire::GapReason,
};

use crate::{
    command::{CommandError, journal},
    store::{
        engine::{Direction, Staged},
        schema::{
            AgentKey, CursorKey, GapKey, Key, LedgerGapKey, LedgerHeadKey, LedgerKey, range_of,
        },
        tables::{LoadError, Rows, Source, put},
        values::{Actor, Entry, Event, LedgerGapRecord},
    },
    triage::ledger::{Chain, GapKind, LedgerGap, Received, is_rewritten},
};

/// Most gaps of a lane that are looked at for one that lost blocks. Skipped numbers are rare: one a crash.
const LANE_GAPS_LOOKED: usize = 64;
/// Where the gap stands that says that an interval came again and was another: behind all that it can show itself.
const REWRITTEN_PLACE: u16 = u16::MAX;
/// Most spools of an agent that are looked at for when the one before ended.
const SPOOLS_LOOKED: usize = 64;

/// What became of the intervals of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The newest interval that is stored.
    pub up_to: u64,
    /// How many were new.
    pub stored: u64,
    /// How many gaps they showed that are explained by what they are.
    pub gaps_explained: u64,
    /// How many they showed that nobody can explain.
    pub gaps_unexplained: u64,
}

/// Stages intervals of an agent's ledger, in their order; those that are stored already change nothing (L2).
///
/// # Errors
/// The store cannot be read.
pub fn record(
    staged: &mut Staged<'_>,
    tenant: TenantId,
    agent: AgentId,
    epoch: Epoch,
    intervals: &[Interval],
    now: Timestamp,
) -> Result<Recorded, CommandError> {
    let head_key = LedgerHeadKey { tenant, agent, epoch };
    let known = staged.load(&head_key)?;
    let before = match known {
        Some(_) => None,
        None => ended_before(staged, tenant, agent)?,
    };
    let mut chain = known.clone().unwrap_or_default();
    let received = received(staged, tenant, agent, epoch)?;
    let mut recorded = Recorded::default();
    for interval in intervals {
        let number = interval.number;
        let key = LedgerKey { tenant, at: place_of(interval, now), agent, epoch, number };
        let (first_place, gaps) = if number > chain.number {
            let gaps = chain.take(interval, &received, before);
            put(staged, &key, interval.clone());
            recorded.stored += 1;
            (0, gaps)
        } else if is_rewritten(staged.load(&key)?.as_ref(), interval) {
            (REWRITTEN_PLACE, vec![rewritten(interval)])
        } else {
            (0, Vec::new())
        };
        for (place, gap) in (first_place..=REWRITTEN_PLACE).zip(gaps) {
            let is_unexplained = gap.kind.is_unexplained();
            recorded.gaps_unexplained += u64::from(is_unexplained);
            recorded.gaps_explained += u64::from(!is_unexplained);
            let LedgerKey { tenant, at, agent, epoch, number } = key;
            let key = LedgerGapKey { tenant, at, agent, epoch, number, place };
            put(staged, &key, LedgerGapRecord { gap, noticed_at: now });
        }
    }
    recorded.up_to = chain.number;
    if known.as_ref() != Some(&chain) {
        put(staged, &head_key, chain);
    }
    let Recorded { up_to, gaps_explained, gaps_unexplained, .. } = recorded;
    if gaps_explained + gaps_unexplained > 0 {
        let (explained, unexplained) = (gaps_explained, gaps_unexplained);
        let event = Event::LedgerGapsFound { agent, epoch, up_to, explained, unexplained };
        let actor = Actor::Agent(agent);
        journal::append(staged, &Entry { at: now, actor, tenant: Some(tenant), event })?;
    }
    Ok(recorded)
}

/// Returns up to which interval the ledger of an agent's spool is stored; zero where there is none.
///
/// # Errors
/// The store cannot be read.
pub fn newest<S: Source + ?Sized>(
    source: &S,
    tenant: TenantId,
    agent: AgentId,
    epoch: Epoch,
) -> Result<u64, LoadError> {
    let head = source.load(&LedgerHeadKey { tenant, agent, epoch })?;
    Ok(head.map_or(0, |chain| chain.number))
}

/// Returns where an interval is kept: at its end, unless the agent's clock cannot be believed.
fn place_of(interval: &Interval, now: Timestamp) -> Timestamp {
    interval.until.min(now.saturating_add(FUTURE_MAX))
}

fn rewritten(interval: &Interval) -> LedgerGap {
    let &Interval { from, until, .. } = interval;
    LedgerGap { kind: GapKind::Rewritten, source: None, lane: None, from, until, count: 1 }
}

/// Returns when the ledger of the agent's spools before this one ended.
fn ended_before(
    staged: &Staged<'_>,
    tenant: TenantId,
    agent: AgentId,
) -> Result<Option<Timestamp>, LoadError> {
    let (from, to) = range_of::<LedgerHeadKey>(&AgentKey { tenant, agent }.encode()[1..]);
    let heads: Rows<LedgerHeadKey> =
        staged.load_range(&from..&to, Direction::Forward, SPOOLS_LOOKED)?;
    Ok(heads.into_iter().map(|(_, chain): (_, Chain)| chain.until).max())
}

/// Returns what was received of the lanes of an agent's spool.
fn received(
    staged: &Staged<'_>,
    tenant: TenantId,
    agent: AgentId,
    epoch: Epoch,
) -> Result<[Received; Lane::COUNT], LoadError> {
    let streams = Lane::ALL.map(|lane| StreamId { agent, epoch, lane });
    let cursors = staged.load_many(&streams.map(|stream| CursorKey { tenant, stream }))?;
    let mut received = [Received::default(); Lane::COUNT];
    for ((received, stream), cursor) in received.iter_mut().zip(streams).zip(cursors) {
        let Some(cursor) = cursor else { continue };
        let (from, to) = range_of::<GapKey>(&CursorKey { tenant, stream }.encode()[1..]);
        let gaps: Rows<GapKey> =
            staged.load_range(&from..&to, Direction::Forward, LANE_GAPS_LOOKED)?;
        let has_lost = gaps.iter().any(|(_, gap)| gap.reason != GapReason::Skipped);
        *received = Received { committed: Some(cursor.committed), alerts: cursor.alerts, has_lost };
    }
    Ok(received)
}

#[cfg(test)]
mod tests;
