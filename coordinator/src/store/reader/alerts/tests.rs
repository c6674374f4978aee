use proptest::prelude::*;
use shared::{alert::Severity, block::BlockBuilder};

use super::*;
use crate::{
    command::block::{Committed, Prepared, commit},
    store::engine::{Engine, MemoryEngine, Staged},
};

const DAY: u64 = EntityKey::DAY_MS;

/// A block to be stored: of which stream, when, and the (host, source address) of its alerts.
type Sent = (u8, u64, Vec<(u8, u8)>);

fn acme() -> TenantId {
    "acme".parse().unwrap()
}

fn stream(agent: u8) -> StreamId {
    StreamId { agent: AgentId::from_bytes([agent; 16]), epoch: Epoch(1), lane: Lane::Normal }
}

fn ip(number: u8) -> String {
    format!("2001:DB8::{number}")
}

fn title(agent: u8, seq: u64, position: usize) -> String {
    format!("{agent} {seq} {position}")
}

/// The places of all alerts with their (host, source address), newest first.
type Stored = Vec<(AlertPlace, (u8, u8))>;

/// Stores blocks; returns their alerts and the cases.
fn store(sent: &[Sent]) -> (MemoryEngine, Stored, Vec<CaseId>) {
    let engine = MemoryEngine::new(1);
    let (mut all, mut cases, mut seqs) = (Vec::new(), Vec::new(), [0_u64; 256]);
    for (agent, ms, alerts) in sent {
        let mut builder = BlockBuilder::new();
        let seq = seqs[usize::from(*agent)] + 1;
        seqs[usize::from(*agent)] = seq;
        let (seq, received_at) = (Seq::new(seq).unwrap(), Timestamp::from_ms(*ms));
        for (position, (host, address)) in alerts.iter().enumerate() {
            let mut alert = Alert::default();
            alert.observed_at = received_at;
            alert.severity = Severity::Low;
            alert.set(Field::DeviceHostname, format!("Srv{host}"));
            alert.set(Field::SrcIp, ip(*address));
            alert.set(Field::Title, title(*agent, seq.as_u64(), position));
            let record = format!("record of {}", title(*agent, seq.as_u64(), position));
            builder.push(&alert, record.as_bytes()).unwrap();
            let block = BlockPlace { received_at, stream: stream(*agent), seq };
            let place = AlertPlace { block, position: u16::try_from(position).unwrap() };
            all.push((place, (*host, *address)));
        }
        let prepared = Prepared::new(acme(), stream(*agent), seq, builder.finish(1)).unwrap();
        let mut staged = Staged::new(&engine);
        match commit(&mut staged, &prepared, received_at).unwrap() {
            Committed::Stored(touched) => cases.extend(touched),
            Committed::Before => panic!("every block is new"),
        }
        engine.commit(staged.into_changes()).unwrap();
    }
    all.sort_unstable();
    all.reverse();
    cases.sort_unstable();
    cases.dedup();
    (engine, all, cases)
}

/// Reads a list page by page and returns the places; no page is longer than it may be.
fn read_all(
    window: Window,
    mut page_of: impl FnMut(Window) -> Result<AlertPage, LoadError>,
) -> Vec<AlertPlace> {
    let (mut before, mut places) = (None, Vec::new());
    loop {
        let page = page_of(Window { before, ..window }).unwrap();
        assert!(page.alerts.len() <= window.limit);
        places.extend(page.alerts.iter().map(|found| found.place));
        match page.next {
            Some(next) => {
                assert!(before.is_none_or(|before| next < before), "every page goes on");
                before = Some(next);
            }
            None => return places,
        }
    }
}

fn everything(entity: Option<EntityRef>) -> Search {
    Search { tenant: acme(), entity, from: Timestamp::ZERO, to: Timestamp::MAX }
}

fn sent() -> impl Strategy<Value = Vec<Sent>> {
    // Few instants, on both sides of midnights and far apart, so that places are equal in time and days are empty.
    let instant = (0_u64..4, prop::sample::select(vec![0, 1, DAY - 1, 400 * DAY]))
        .prop_map(|(day, offset)| day * DAY + offset);
    let alerts = prop::collection::vec((0_u8..2, 0_u8..3), 1..5);
    prop::collection::vec((0_u8..3, instant, alerts), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(64)
    })]

    #[test]
    fn pages_of_any_size_hold_every_alert_once_and_the_newest_first(
        sent in sent(),
        limit in 1_usize..6,
        blocks in 1_usize..4,
        from in 0..3 * DAY,
        span in 0..500 * DAY,
    ) {
        let (engine, all, cases) = store(&sent);
        let engine: &dyn Engine = &engine;
        let window = Window { before: None, limit, blocks, records: false };
        let (from, to) = (Timestamp::from_ms(from), Timestamp::from_ms(from + span));
        let is_between = |place: &AlertPlace| {
            (from..to).contains(&place.block.received_at)
        };
        let bounded = Search { from, to, ..everything(None) };
        let seen = read_all(window, |window| search(engine, &bounded, window));
        let places = all.iter().map(|(place, _)| *place);
        prop_assert_eq!(&seen, &places.filter(is_between).collect::<Vec<_>>());
        for address in 0..3 {
            let entity = Some(EntityRef::new(EntityKind::Ip, &ip(address).to_lowercase()));
            let naming = all.iter().filter(|(_, (_, named))| *named == address);
            let naming: Vec<_> = naming.map(|(place, _)| *place).collect();
            let seen = read_all(window, |window| search(engine, &everything(entity), window));
            prop_assert_eq!(&seen, &naming);
            let bounded = Search { entity, ..bounded };
            let seen = read_all(window, |window| search(engine, &bounded, window));
            let naming: Vec<_> = naming.into_iter().filter(is_between).collect();
            prop_assert_eq!(seen, naming);
        }
        let mut of_cases = Vec::new();
        for case in cases {
            let seen = read_all(window, |window| of_case(engine, acme(), case, window));
            prop_assert!(seen.is_sorted_by(|a, b| a > b));
            of_cases.extend(seen);
        }
        of_cases.sort_unstable();
        of_cases.reverse();
        let places: Vec<_> = all.iter().map(|(place, _)| *place).collect();
        prop_assert_eq!(of_cases, places, "every alert belongs to one case");
    }
}

#[test]
fn a_search_gives_what_the_block_holds_and_the_record_if_asked_for() {
    let (engine, all, _) = store(&[(1, 5, vec![(0, 0), (1, 1)])]);
    let engine: &dyn Engine = &engine;
    let host = Some(EntityRef::new(EntityKind::Host, "SRV1"));
    let page = search(engine, &everything(host), Window::first(9)).unwrap();
    let [found] = page.alerts.as_slice() else { panic!("one: {page:?}") };
    assert_eq!(found.place, all[0].0);
    assert_eq!(found.alert.text(Field::Title), Some("1 1 1"));
    assert_eq!(found.alert.text(Field::DeviceHostname), Some("Srv1"));
    assert_eq!(found.record, None);
    let with_records = Window { records: true, ..Window::first(9) };
    let page = search(engine, &everything(host), with_records).unwrap();
    let record = Bytes::from_static(b"record of 1 1 1");
    assert_eq!(page.alerts[0].record, Some(Ok(record)));
}

#[test]
fn another_tenant_finds_nothing() {
    let (engine, _, _) = store(&[(1, 5, vec![(0, 0)])]);
    let engine: &dyn Engine = &engine;
    for entity in [None, Some(EntityRef::new(EntityKind::Host, "srv0"))] {
        let search_of = Search { tenant: "acme2".parse().unwrap(), ..everything(entity) };
        let page = search(engine, &search_of, Window::first(9)).unwrap();
        assert_eq!(page, AlertPage::default(), "L5");
    }
}

#[test]
fn a_case_whose_blocks_are_gone_says_so_and_shows_the_rest() {
    let (engine, all, cases) = store(&[(1, 5, vec![(0, 0)]), (1, 6, vec![(0, 0), (0, 1)])]);
    let mut staged = Staged::new(&engine);
    let gone = BlockKey { tenant: acme(), place: all[2].0.block }.encode();
    staged.delete(Space::Blocks, &gone);
    engine.commit(staged.into_changes()).unwrap();
    let engine: &dyn Engine = &engine;
    let [case] = cases.as_slice() else { panic!("one case") };
    let page = of_case(engine, acme(), *case, Window::first(9)).unwrap();
    assert!(page.blocks_gone);
    assert_eq!(page.alerts.iter().map(|f| f.place).collect::<Vec<_>>(), [all[0].0, all[1].0]);
    let first = of_case(engine, acme(), *case, Window::first(1)).unwrap();
    assert!(!first.blocks_gone, "this page stands before the gap");
}

#[test]
fn long_records_end_a_page_early_and_none_is_lost() {
    let engine = MemoryEngine::new(1);
    for n in 1..=6 {
        let mut builder = BlockBuilder::new();
        for _ in 0..4 {
            builder.push(&Alert::default(), &vec![b'x'; 250 << 10]).unwrap();
        }
        let seq = Seq::new(n).unwrap();
        let prepared = Prepared::new(acme(), stream(1), seq, builder.finish(1)).unwrap();
        let mut staged = Staged::new(&engine);
        commit(&mut staged, &prepared, Timestamp::from_ms(n)).unwrap();
        engine.commit(staged.into_changes()).unwrap();
    }
    let engine: &dyn Engine = &engine;
    let window = Window { records: true, ..Window::first(500) };
    let first = search(engine, &everything(None), window).unwrap();
    assert_eq!(first.alerts.len(), PAGE_RECORD_BYTES_MAX / (250 << 10));
    assert!(first.next.is_some());
    assert_eq!(read_all(window, |window| search(engine, &everything(None), window)).len(), 24);
}

#[test]
fn a_damaged_block_is_an_error_and_not_an_empty_page() {
    let (engine, all, _) = store(&[(1, 5, vec![(0, 0)])]);
    let mut staged = Staged::new(&engine);
    let key = BlockKey { tenant: acme(), place: all[0].0.block }.encode();
    staged.put(Space::Blocks, &key, Bytes::from_static(b"no block"));
    engine.commit(staged.into_changes()).unwrap();
    let engine: &dyn Engine = &engine;
    let error = search(engine, &everything(None), Window::first(1)).unwrap_err();
    assert!(matches!(error, LoadError::Value(ValueError { what: "block", .. })));
}

#[test]
fn a_search_over_many_days_stops_and_goes_on_behind_them() {
    let days = u64::try_from(SEARCH_DAYS_MAX).unwrap() + 4;
    let sent: Vec<Sent> =
        (0..days).map(|day| (1, day * DAY + 1, vec![(u8::from(day == 0), 0)])).collect();
    let (engine, all, _) = store(&sent);
    let engine: &dyn Engine = &engine;
    let oldest = all.last().unwrap().0;
    let rare = everything(Some(EntityRef::new(EntityKind::Host, "srv1")));
    let first = search(engine, &rare, Window::first(9)).unwrap();
    assert_eq!(first.alerts, []);
    assert!(first.next.is_some_and(|next| next > oldest), "{:?}", first.next);
    assert_eq!(read_all(Window::first(9), |window| search(engine, &rare, window)), [oldest]);
}
