#![expect(clippy::disallowed_methods, reason = "a test has no task set of its own")]

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use shared::{
    alert::{Alert, Field, Severity},
    block::BlockBuilder,
    ids::{AgentId, Epoch, Lane, Seq, StreamId, TenantId},
};

use super::*;
use crate::{
    command::{
        block::{self, Committed, Prepared},
        cases::Caller,
        journal::read_after,
        tenants,
    },
    limits::{IDEMPOTENCY_RETENTION, LEASE_DEFAULT, VIEW_SCAN_ROWS_MAX},
    store::{
        engine::{Direction, Engine, MemoryEngine, RocksEngine, Space, Staged},
        schema::{BlockKey, CaseKey, IdempotencyKey, range_of},
        tables::{Source, put, put_evidence},
        values::{Actor, Event, Remembered},
        writer::{Writer, start},
    },
    triage::{
        case::{CaseId, CaseState, Fence, Judgement, VerdictKind, tests::group},
        evidence::Evidence,
        queue::{QueueView, TenantScope},
        sla::Sla,
    },
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const HOUR_MS: u64 = 60 * 60 * 1_000;

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms)
}

/// A little chance that is the same in each run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

struct House {
    store: Store,
    _writer: Writer,
    next_seq: u64,
}

impl House {
    fn in_memory() -> Self {
        Self::over(Arc::new(MemoryEngine::new(1)))
    }

    fn on_disk(path: &Path) -> Self {
        Self::over(Arc::new(RocksEngine::open(path).unwrap()))
    }

    fn over(engine: Arc<dyn Engine>) -> Self {
        let (store, _writer) = start(engine).unwrap();
        Self { store, _writer, next_seq: 1 }
    }

    /// Commits a block of acme with one alert of `host`, received and raised at `now`; returns its
    /// case.
    async fn block(&mut self, host: &str, record: &[u8], now: Timestamp) -> CaseId {
        let bytes = one_alert(host, record, now);
        let prepared = Prepared::new(acme(), stream(), self.seq(), bytes).unwrap();
        self.next_seq += 1;
        let command = move |staged: &mut Staged<'_>| {
            tenants::ensure(staged, acme(), &Actor::Coordinator, now)?;
            block::commit(staged, &prepared, now)
        };
        let Committed::Stored(cases) = self.store.write(command).await.unwrap() else {
            panic!("stored")
        };
        cases[0]
    }

    async fn claim(&self, id: CaseId, now: Timestamp) -> Option<Fence> {
        let command =
            move |staged: &mut Staged<'_>| cases::claim(staged, &ann(), id, LEASE_DEFAULT, now);
        self.store.write(command).await.ok().map(|case| case.fence)
    }

    async fn decide(&self, id: CaseId, fence: Fence, now: Timestamp) -> bool {
        let kind = VerdictKind::BenignExpected;
        let judgement = Judgement { kind, reason: "known", revision_read: None };
        let command = move |staged: &mut Staged<'_>| {
            cases::decide(staged, &ann(), (id, fence), judgement, now)
        };
        self.store.write(command).await.is_ok()
    }

    async fn release(&self, id: CaseId, fence: Fence, now: Timestamp) -> bool {
        let command =
            move |staged: &mut Staged<'_>| cases::release(staged, &ann(), (id, fence), "x", now);
        self.store.write(command).await.is_ok()
    }

    fn seq(&self) -> Seq {
        Seq::new(self.next_seq).unwrap()
    }

    fn head(&self) -> u64 {
        *self.store.journal_head().borrow()
    }

    /// When the blocks that are kept were received.
    fn kept(&self) -> Vec<u64> {
        let (from, to) = range_of::<BlockKey>(acme().as_bytes());
        let scan = self.store.engine().scan(Space::Blocks, &from..&to, Direction::Forward, 10_000);
        let received = |key: &[u8]| {
            let key: BlockKey = crate::store::schema::Key::decode(key).unwrap();
            key.place.received_at.as_ms()
        };
        scan.unwrap().iter().map(|(key, _)| received(key)).collect()
    }

    fn events(&self) -> Vec<Event> {
        let entries = read_after(self.store.engine(), 0, 10_000).unwrap();
        entries.into_iter().map(|chained| chained.entry.event).collect()
    }
}

fn acme() -> TenantId {
    "acme".parse().unwrap()
}

fn stream() -> StreamId {
    StreamId { agent: AgentId::from_bytes([1; 16]), epoch: Epoch(1), lane: Lane::Normal }
}

fn ann() -> Caller {
    Caller { name: "ann".into(), scope: TenantScope::All, person: None }
}

fn one_alert(host: &str, record: &[u8], now: Timestamp) -> Bytes {
    let mut alert = Alert::default();
    alert.observed_at = now;
    alert.severity = Severity::High;
    alert.set(Field::Title, "scan".to_owned());
    alert.set(Field::DeviceHostname, host.to_owned());
    let mut builder = BlockBuilder::new();
    builder.push(&alert, record).unwrap();
    builder.finish(1)
}

/// All that can be seen of a queue.
fn seen(view: &View) -> impl PartialEq + std::fmt::Debug {
    let look = |queue: &QueueView| {
        let head = queue.head(&TenantScope::All, 1_000);
        let leases = queue.expired(at(u64::MAX), 1_000);
        (head, leases, queue.counts(&TenantScope::All), queue.totals(at(0)))
    };
    view.with(look)
}

fn waiting(view: &View) -> usize {
    view.with(|queue| queue.counts(&TenantScope::All).waiting)
}

/// Keeps `view` up until the returned guard is dropped.
fn following(store: &Store, view: &View) -> tokio_util::sync::DropGuard {
    let cancel = CancellationToken::new();
    let (store, view, cancelled) = (store.clone(), view.clone(), cancel.clone());
    tokio::spawn(async move { view::follow(&store, &view, &cancelled).await.unwrap() });
    cancel.drop_guard()
}

/// Does something that people, agents or the clock do to cases, by chance.
async fn happen(house: &mut House, known: &mut Vec<(CaseId, Fence)>, chance: &mut Chance, n: u64) {
    let now = at(1_000_000 + n * 60_000);
    let pick = chance.below(known.len().max(1));
    match (chance.below(8), known.get(pick).copied()) {
        (0..=2, _) | (_, None) => {
            let host = format!("srv{}", chance.below(12));
            known.push((house.block(&host, b"record", now).await, Fence(0)));
        }
        (3 | 4, Some((id, _))) => {
            if let Some(fence) = house.claim(id, now).await {
                known[pick].1 = fence;
            }
        }
        (5, Some((id, fence))) => drop(house.decide(id, fence, now).await),
        (6, Some((id, fence))) => drop(house.release(id, fence, now).await),
        (_, Some((id, _))) => {
            let command = move |staged: &mut Staged<'_>| cases::expire(staged, &[id], now);
            house.store.write(command).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_view_that_was_kept_up_equals_one_that_is_built_anew() {
    for seed in 1..=8 {
        let mut house = House::in_memory();
        let (mut known, mut chance) = (Vec::new(), Chance(seed));
        let from_start = view::rebuild(&house.store).await.unwrap();
        let _following = following(&house.store, &from_start);
        for n in 0..60 {
            happen(&mut house, &mut known, &mut chance, n).await;
        }
        let from_middle = view::rebuild(&house.store).await.unwrap();
        for n in 60..120 {
            happen(&mut house, &mut known, &mut chance, n).await;
        }
        let _following = following(&house.store, &from_middle);
        let anew = view::rebuild(&house.store).await.unwrap();
        assert_eq!(*anew.applied().borrow(), house.head());
        for view in [&from_start, &from_middle] {
            view.reached(house.head()).await;
            assert_eq!(seen(view), seen(&anew), "seed {seed}");
        }
    }
}

#[tokio::test]
async fn a_view_is_built_of_more_open_cases_than_a_page_holds() {
    let house = House::in_memory();
    let count = u64::try_from(VIEW_SCAN_ROWS_MAX).unwrap() * 2 + 1;
    let command = move |staged: &mut Staged<'_>| {
        for n in 0..count {
            let (id, group) = (CaseId::from_u64(n), group("scan", Severity::Low, n));
            let rows = Evidence::open(id, acme(), &group, &Sla::default(), at(n));
            put_evidence(staged, rows);
        }
        Ok::<(), CommandError>(())
    };
    house.store.write(command).await.unwrap();
    let view = view::rebuild(&house.store).await.unwrap();
    assert_eq!(waiting(&view), 2 * VIEW_SCAN_ROWS_MAX + 1);
}

#[tokio::test]
async fn a_case_that_is_gone_from_the_store_leaves_the_view() {
    let mut house = House::in_memory();
    let view = view::rebuild(&house.store).await.unwrap();
    let _following = following(&house.store, &view);
    let id = house.block("srv1", b"record", at(1_000)).await;
    view.reached(house.head()).await;
    assert_eq!(waiting(&view), 1);
    // The case goes with the entry that names it, as if the tail came late.
    let command = move |staged: &mut Staged<'_>| {
        let claimed = cases::claim(staged, &ann(), id, LEASE_DEFAULT, at(2_000));
        crate::store::tables::delete(staged, &CaseKey(id));
        claimed
    };
    house.store.write(command).await.unwrap();
    view.reached(house.head()).await;
    assert_eq!((waiting(&view), view.with(|q| q.counts(&TenantScope::All).claimed)), (0, 0));
}

#[tokio::test]
async fn following_ends_when_it_is_cancelled() {
    let house = House::in_memory();
    let view = view::rebuild(&house.store).await.unwrap();
    let cancel = CancellationToken::new();
    let following = view::follow(&house.store, &view, &cancel);
    let (ended, ()) = tokio::join!(following, async { cancel.cancel() });
    ended.unwrap();
}

#[tokio::test]
async fn a_lease_that_runs_out_brings_its_case_back_and_is_journalled_once() {
    let mut house = House::in_memory();
    let view = view::rebuild(&house.store).await.unwrap();
    let _following = following(&house.store, &view);
    let id = house.block("srv1", b"record", at(1_000)).await;
    house.claim(id, at(2_000)).await.unwrap();
    view.reached(house.head()).await;
    let end = at(2_000).saturating_add(LEASE_DEFAULT);
    let early = at(end.as_ms() - 1);
    assert_eq!(expire_due(&house.store, &view, early).await, Ok(0));
    assert_eq!(waiting(&view), 0);
    let (first, second) =
        tokio::join!(expire_due(&house.store, &view, end), expire_due(&house.store, &view, end));
    assert_eq!(first.unwrap() + second.unwrap(), 1);
    view.reached(house.head()).await;
    assert_eq!(waiting(&view), 1);
    let expired = |event: &Event| *event == Event::LeaseExpired { case: id };
    assert_eq!(house.events().iter().filter(|event| expired(event)).count(), 1);
}

#[tokio::test]
async fn leases_are_looked_at_until_cancelled() {
    let mut house = House::in_memory();
    let view = view::rebuild(&house.store).await.unwrap();
    let _following = following(&house.store, &view);
    let id = house.block("srv1", b"record", at(1_000)).await;
    house.claim(id, at(2_000)).await.unwrap();
    view.reached(house.head()).await;
    let clock = Clock::new(|| at(u64::MAX));
    let cancel = CancellationToken::new();
    let target = house.head() + 1;
    tokio::join!(expire_leases(&house.store, &view, &clock, &cancel), async {
        view.reached(target).await;
        cancel.cancel();
    });
    assert_eq!(waiting(&view), 1);
}

#[tokio::test]
async fn what_is_older_than_agreed_goes_by_whole_hours_and_open_cases_stay() {
    let mut house = House::in_memory();
    let mut ids = Vec::new();
    for hour in 0..6 {
        ids.push(house.block(&format!("srv{hour}"), b"record", at(hour * HOUR_MS)).await);
    }
    let decided_at = at(HOUR_MS / 2);
    let fence = house.claim(ids[0], decided_at).await.unwrap();
    assert!(house.decide(ids[0], fence, decided_at).await);
    let late = at(3 * HOUR_MS);
    let fence = house.claim(ids[1], late).await.unwrap();
    assert!(house.decide(ids[1], fence, late).await);

    let policy = retention::Policy { age: DAY, bytes_max: None };
    let now = at(2 * HOUR_MS + HOUR_MS / 2).saturating_add(DAY);
    assert!(retention::run_once(&house.store, policy, now).await.unwrap());
    assert_eq!(house.kept(), [2, 3, 4, 5].map(|hour| hour * HOUR_MS));
    let left = |id: &CaseId| house.store.engine().load(&CaseKey(*id)).unwrap();
    assert!(left(&ids[0]).is_none(), "opened and decided before the cut");
    assert!(matches!(left(&ids[1]).unwrap().state, CaseState::Closed(_)), "decided after it");
    assert!(ids[2..].iter().all(|id| left(id).unwrap().state == CaseState::Open));
    let ran = Event::RetentionRan { before: at(2 * HOUR_MS), cases: 1 };
    assert_eq!(house.events().last(), Some(&ran));

    let head = house.head();
    assert!(!retention::run_once(&house.store, policy, now).await.unwrap());
    assert_eq!(house.head(), head, "a run that deletes nothing is not journalled");
}

/// Commits `count` blocks a minute apart, each with `bytes` bytes of chance.
async fn fill(house: &mut House, count: u64, bytes: usize) -> Timestamp {
    let mut chance = Chance(7);
    for n in 0..count {
        let record: Vec<u8> = (0..bytes).map(|_| chance.below(256).to_le_bytes()[0]).collect();
        house.block("srv1", &record, at(n * 60_000)).await;
    }
    at(count * 60_000)
}

#[tokio::test]
async fn what_is_too_much_goes_oldest_first_and_no_more_than_needed() {
    let mut house = House::in_memory();
    let now = fill(&mut house, 64, 4_096).await;
    let all = house.store.engine().approximate_bytes(Space::Blocks);
    let policy = retention::Policy { age: DAY, bytes_max: Some(all / 2) };
    assert!(retention::run_once(&house.store, policy, now).await.unwrap());
    let left = house.store.engine().approximate_bytes(Space::Blocks);
    assert!(left <= all / 2 && left >= all / 2 - all / 32, "{left} of {all}");
    let kept = house.kept();
    assert_eq!(kept.last(), Some(&(63 * 60_000)), "the newest stays");
    assert!(kept.windows(2).all(|pair| pair[1] - pair[0] == 60_000), "no hole: {kept:?}");
    assert!(!retention::run_once(&house.store, policy, now).await.unwrap());
}

#[tokio::test]
async fn on_disk_too_much_and_too_old_go_and_their_room_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut house = House::on_disk(dir.path());
    let now = fill(&mut house, 48, 200_000).await;
    let max = 5_000_000;
    assert!(house.store.engine().approximate_bytes(Space::Blocks) > max);
    let policy = retention::Policy { age: DAY, bytes_max: Some(max) };
    assert!(retention::run_once(&house.store, policy, now).await.unwrap());
    assert!(house.store.engine().approximate_bytes(Space::Blocks) <= max);
    let kept = house.kept();
    assert!(kept.len() >= 16 && kept.last() == Some(&(47 * 60_000)), "{kept:?}");
    let later = now.saturating_add(DAY).saturating_add(DAY);
    assert!(retention::run_once(&house.store, policy, later).await.unwrap());
    assert_eq!(house.kept(), [] as [u64; 0]);
}

#[tokio::test]
async fn answers_are_remembered_for_a_day_and_then_forgotten() {
    let house = House::in_memory();
    let answered_at = |n: u16| at(u64::from(n) * HOUR_MS);
    let key = |n: u16| {
        let mut digest = [0; 32];
        digest[..2].copy_from_slice(&n.to_be_bytes());
        IdempotencyKey(digest)
    };
    let command = move |staged: &mut Staged<'_>| {
        for n in 0..1_200 {
            let answer =
                Remembered { request: [0; 32], status: 200, body: vec![], at: answered_at(n) };
            put(staged, &key(n), answer);
        }
        Ok::<(), CommandError>(())
    };
    house.store.write(command).await.unwrap();
    let now = answered_at(1_000).saturating_add(IDEMPOTENCY_RETENTION);
    assert_eq!(retention::forget_answers(&house.store, now).await.unwrap(), 1_000);
    let engine = house.store.engine();
    assert!(
        engine.load(&key(999)).unwrap().is_none() && engine.load(&key(1_000)).unwrap().is_some()
    );
    assert_eq!(retention::forget_answers(&house.store, now).await.unwrap(), 0);
}
