//! Reads of cases: by id or its beginning, in bulk, and as pages of a list, newest first.

use std::{
    collections::{BinaryHeap, VecDeque},
    ops::ControlFlow,
};

use shared::{alert::Severity, ids::TenantId, time::Timestamp};

use crate::{
    limits::{CASE_MATCHES_MAX, CASES_LOOKED_MAX},
    store::{
        engine::Direction,
        schema::{CaseKey, FindingKey, Key, TenantCaseKey, TenantKey, range_of},
        tables::{LoadError, Source},
    },
    triage::{
        case::{Case, CaseId, CaseState},
        evidence::Finding,
        queue::TenantScope,
    },
};

/// Keys of one tenant that are read at once.
const KEYS_PER_SCAN: usize = 64;
/// Tenants of which a list over all of them is made; the same bound holds the merge's memory to about 50 MB.
const TENANTS_MAX: usize = 10_000;

/// Which state a case is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateIs {
    /// Waits in the queue.
    Open,
    /// Somebody has it.
    Claimed,
    /// Decided.
    Closed,
}

/// Which cases a list shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaseFilter {
    /// In this state.
    pub state: Option<StateIs>,
    /// At least this severe.
    pub severity: Option<Severity>,
    /// About this host; names do not differ by case.
    pub host: Option<String>,
    /// Opened then or later.
    pub since: Option<Timestamp>,
    /// Opened before.
    pub until: Option<Timestamp>,
}

impl CaseFilter {
    fn allows(&self, case: &Case) -> bool {
        let state = match case.state {
            CaseState::Open => StateIs::Open,
            CaseState::Claimed { .. } => StateIs::Claimed,
            CaseState::Closed(_) => StateIs::Closed,
        };
        self.state.is_none_or(|asked| asked == state)
            && self.severity.is_none_or(|least| case.severity >= least)
            && self.host.as_ref().is_none_or(|host| {
                case.host.eq_ignore_ascii_case(host)
                    || case.host.to_lowercase() == host.to_lowercase()
            })
    }
}

/// Place of a case in the list: the larger, the earlier it stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CasePlace {
    /// When it was opened.
    pub opened_at: Timestamp,
    /// Which.
    pub case: CaseId,
}

impl CasePlace {
    /// Width, in bytes.
    pub const LEN: usize = 16;

    /// Returns the place as bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let both = u128::from(self.opened_at.as_ms()) << 64 | u128::from(self.case.as_u64());
        both.to_be_bytes()
    }

    /// Reads a place.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let both = u128::from_be_bytes(bytes.try_into().ok()?);
        let opened_at = Timestamp::from_ms(u64::try_from(both >> 64).ok()?);
        let case = CaseId::from_u64(u64::try_from(both & u128::from(u64::MAX)).ok()?);
        Some(Self { opened_at, case })
    }
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CasePage {
    /// The cases, newest opened first.
    pub cases: Vec<Case>,
    /// Place of the last that was looked at, if there may be more behind it.
    pub next: Option<CasePlace>,
}

/// Reads the tenants that a scope holds, by name, at most 10,000.
///
/// # Errors
/// The store cannot be read.
pub fn tenants<S: Source + ?Sized>(
    source: &S,
    scope: &TenantScope,
) -> Result<Vec<TenantId>, LoadError> {
    match scope {
        TenantScope::Only(tenants) => Ok(tenants.iter().copied().take(TENANTS_MAX).collect()),
        TenantScope::All => {
            let (from, to) = range_of::<TenantKey>(&[]);
            let keys = source.load_keys(&from..&to, Direction::Forward, TENANTS_MAX)?;
            Ok(keys.into_iter().map(|TenantKey(tenant)| tenant).collect())
        }
    }
}

/// Reads at most `limit` cases of `tenants` behind `after`, and looks at no more than [`CASES_LOOKED_MAX`]: a page may
/// be short and still have a next one.
///
/// # Errors
/// The store cannot be read.
pub fn page<S: Source + ?Sized>(
    source: &S,
    tenants: &[TenantId],
    filter: &CaseFilter,
    after: Option<CasePlace>,
    limit: usize,
) -> Result<CasePage, LoadError> {
    let mut merge = Merge::new(source, tenants, filter, after)?;
    let mut page = CasePage { cases: Vec::new(), next: None };
    let mut looked = 0;
    while looked < CASES_LOOKED_MAX {
        let batch = merge.take(KEYS_PER_SCAN.min(CASES_LOOKED_MAX - looked))?;
        if batch.is_empty() {
            page.next = None;
            return Ok(page);
        }
        looked += batch.len();
        let keys: Vec<CaseKey> = batch.iter().map(|place| CaseKey(place.case)).collect();
        let rows = batch.iter().zip(source.load_many(&keys)?);
        let filled = rows.into_iter().try_for_each(|(place, case)| {
            if page.cases.len() == limit {
                return ControlFlow::Break(());
            }
            page.next = Some(*place);
            page.cases.extend(case.filter(|case| filter.allows(case)));
            ControlFlow::Continue(())
        });
        if filled.is_break() {
            return Ok(page);
        }
    }
    Ok(page)
}

/// Cases of several tenants in one order.
struct Merge<'a, S: ?Sized> {
    source: &'a S,
    runs: Vec<Run>,
    heads: BinaryHeap<(CasePlace, usize)>,
}

/// What is left of one tenant's cases.
struct Run {
    from: Vec<u8>,
    to: Vec<u8>,
    read: VecDeque<CasePlace>,
    is_over: bool,
}

impl<'a, S: Source + ?Sized> Merge<'a, S> {
    fn new(
        source: &'a S,
        tenants: &[TenantId],
        filter: &CaseFilter,
        after: Option<CasePlace>,
    ) -> Result<Self, LoadError> {
        let runs = tenants.iter().map(|tenant| Run::new(*tenant, filter, after)).collect();
        let mut merge = Self { source, runs, heads: BinaryHeap::new() };
        (0..tenants.len()).try_for_each(|run| merge.raise(run))?;
        Ok(merge)
    }

    /// Takes the next `count` places, fewer at the end.
    fn take(&mut self, count: usize) -> Result<Vec<CasePlace>, LoadError> {
        let mut places = Vec::with_capacity(count);
        while places.len() < count {
            let Some((place, run)) = self.heads.pop() else { break };
            places.push(place);
            self.raise(run)?;
        }
        Ok(places)
    }

    /// Puts the next place of a run among the heads.
    fn raise(&mut self, index: usize) -> Result<(), LoadError> {
        let run = &mut self.runs[index];
        if run.read.is_empty() && !run.is_over {
            run.refill(self.source)?;
        }
        self.heads.extend(run.read.pop_front().map(|place| (place, index)));
        Ok(())
    }
}

impl Run {
    fn new(tenant: TenantId, filter: &CaseFilter, after: Option<CasePlace>) -> Self {
        let (from, to) = range_of::<TenantCaseKey>(tenant.as_bytes());
        let at = |opened_at: Timestamp, case| TenantCaseKey { tenant, opened_at, case }.encode();
        let first = CaseId::from_u64(0);
        let from = filter.since.map_or(from, |since| at(since, first));
        let until = filter.until.map(|until| at(until, first));
        let after = after.map(|place| at(place.opened_at, place.case));
        let to = [Some(to), until, after].into_iter().flatten().min().unwrap_or_default();
        Self { from, to, read: VecDeque::new(), is_over: false }
    }

    fn refill<S: Source + ?Sized>(&mut self, source: &S) -> Result<(), LoadError> {
        let range = self.from.as_slice()..self.to.as_slice();
        let keys: Vec<TenantCaseKey> =
            source.load_keys(range, Direction::Backward, KEYS_PER_SCAN)?;
        self.is_over = keys.len() < KEYS_PER_SCAN;
        if let Some(last) = keys.last() {
            self.to = last.encode();
        }
        let places = keys.into_iter().map(|key| (key.opened_at, key.case));
        self.read.extend(places.map(|(opened_at, case)| CasePlace { opened_at, case }));
        Ok(())
    }
}

/// Reads cases by id; those that are gone are left out.
///
/// # Errors
/// The store cannot be read.
pub fn by_ids<S: Source + ?Sized>(source: &S, ids: &[CaseId]) -> Result<Vec<Case>, LoadError> {
    let keys: Vec<CaseKey> = ids.iter().copied().map(CaseKey).collect();
    Ok(source.load_many(&keys)?.into_iter().flatten().collect())
}

/// Reads the findings that a case names, in order of appearance. They are rows of their own: read behind the case they
/// may be newer than it and are never older, and where the case was deleted meanwhile they are left out.
///
/// # Errors
/// The store cannot be read.
pub fn findings<S: Source + ?Sized>(source: &S, case: &Case) -> Result<Vec<Finding>, LoadError> {
    let numbers = 0..case.headline.finding_count;
    let keys: Vec<FindingKey> =
        numbers.map(|number| FindingKey { case: case.id, number }).collect();
    Ok(source.load_many(&keys)?.into_iter().flatten().collect())
}

/// What the beginning of an id names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// One case.
    One(Box<Case>),
    /// Several; these are the first.
    Several(Vec<CaseId>),
    /// None that the scope holds.
    None,
}

/// Finds the case of `scope` whose id lies in `first..=last`. A case outside the scope is as if it were not there.
///
/// # Errors
/// The store cannot be read.
pub fn named<S: Source + ?Sized>(
    source: &S,
    scope: &TenantScope,
    (first, last): (CaseId, CaseId),
) -> Result<Named, LoadError> {
    let (from, mut to) = (CaseKey(first).encode(), CaseKey(last).encode());
    to.push(0);
    let rows: Vec<(CaseKey, Case)> =
        source.load_range(&from..&to, Direction::Forward, CASE_MATCHES_MAX)?;
    let is_cut = rows.len() == CASE_MATCHES_MAX;
    let mut cases = rows.into_iter().map(|(_, case)| case).filter(|case| scope.allows(case.tenant));
    match (cases.next(), cases.next()) {
        (Some(one), None) if !is_cut => Ok(Named::One(Box::new(one))),
        (None, _) if !is_cut => Ok(Named::None),
        (one, two) => {
            let ids = one.into_iter().chain(two).chain(cases).map(|case| case.id);
            Ok(Named::Several(ids.collect()))
        }
    }
}

/// Returns the first and last id that begin with `letters`, or `None` where no id does.
#[must_use]
pub fn ids_beginning_with(letters: &str) -> Option<(CaseId, CaseId)> {
    let whole = |fill: char| -> Option<CaseId> {
        let missing = CaseId::LETTERS.checked_sub(letters.chars().count())?;
        let text: String = letters.chars().chain(std::iter::repeat_n(fill, missing)).collect();
        text.parse().ok()
    };
    Some((whole('0')?, whole('z')?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        store::{
            engine::{Engine, MemoryEngine, Staged},
            tables::{put, put_key},
        },
        triage::{case::tests::group, evidence::Evidence, sla::Sla},
    };

    fn case(n: u64, tenant: &str, severity: Severity, opened: u64) -> Case {
        let opened = Timestamp::from_ms(opened);
        let group = group("scan", severity, 0);
        let tenant = tenant.parse().unwrap();
        Evidence::open(CaseId::from_u64(n), tenant, &group, &Sla::default(), opened).case
    }

    fn store(cases: &[Case]) -> MemoryEngine {
        let engine = MemoryEngine::new(1);
        let mut staged = Staged::new(&engine);
        for case in cases {
            let (tenant, opened_at) = (case.tenant, case.opened_at);
            put(&mut staged, &CaseKey(case.id), case.clone());
            put_key(&mut staged, &TenantCaseKey { tenant, opened_at, case: case.id });
        }
        engine.commit(staged.into_changes()).unwrap();
        engine
    }

    fn all(engine: &MemoryEngine, filter: &CaseFilter, limit: usize) -> (Vec<u64>, usize) {
        let engine: &dyn Engine = engine;
        let tenants = ["acme".parse().unwrap(), "globex".parse().unwrap()];
        let (mut ids, mut after, mut pages) = (Vec::new(), None, 0);
        loop {
            let page = page(engine, &tenants, filter, after, limit).unwrap();
            pages += 1;
            assert!(page.cases.len() <= limit);
            ids.extend(page.cases.iter().map(|case| case.id.as_u64()));
            after = page.next;
            if after.is_none() {
                return (ids, pages);
            }
        }
    }

    #[test]
    fn pages_of_several_tenants_show_every_case_once_newest_first() {
        let tenant = |n: u64| if n.is_multiple_of(3) { "acme" } else { "globex" };
        let cases: Vec<Case> =
            (1..=200).map(|n| case(n, tenant(n), Severity::Low, n / 2)).collect();
        let engine = store(&cases);
        for limit in [1, 7, 64, 65, 500] {
            let (ids, _) = all(&engine, &CaseFilter::default(), limit);
            assert_eq!(ids, (1..=200).rev().collect::<Vec<_>>(), "limit {limit}");
        }
    }

    #[test]
    fn a_filter_leaves_out_what_it_does_not_name() {
        let engine = store(&[
            case(1, "acme", Severity::Low, 10),
            case(2, "globex", Severity::High, 20),
            case(3, "acme", Severity::High, 30),
        ]);
        let with = |filter: CaseFilter| all(&engine, &filter, 10).0;
        let at = |ms| Some(Timestamp::from_ms(ms));
        assert_eq!(
            with(CaseFilter { severity: Some(Severity::High), ..Default::default() }),
            [3, 2]
        );
        assert_eq!(with(CaseFilter { since: at(20), ..Default::default() }), [3, 2]);
        assert_eq!(with(CaseFilter { until: at(30), ..Default::default() }), [2, 1]);
        assert_eq!(with(CaseFilter { host: Some("SRV1".into()), ..Default::default() }).len(), 3);
        assert!(with(CaseFilter { host: Some("srv2".into()), ..Default::default() }).is_empty());
        let closed = CaseFilter { state: Some(StateIs::Closed), ..Default::default() };
        assert!(with(closed).is_empty());
    }

    #[test]
    fn a_page_looks_at_a_bounded_number_of_cases_and_goes_on_behind_them() {
        let count = CASES_LOOKED_MAX as u64 + 10;
        let mut cases: Vec<Case> = (2..=count).map(|n| case(n, "acme", Severity::Low, n)).collect();
        cases.push(case(1, "acme", Severity::High, 1));
        let engine = store(&cases);
        let filter = CaseFilter { severity: Some(Severity::High), ..Default::default() };
        let (ids, pages) = all(&engine, &filter, 10);
        assert_eq!((ids, pages), (vec![1], 2));
    }

    #[test]
    fn a_beginning_names_one_case_of_the_scope_and_never_one_outside_it() {
        let id = |text: &str| text.parse::<CaseId>().unwrap().as_u64();
        let engine = store(&[
            case(id("abcd00000000"), "acme", Severity::Low, 1),
            case(id("abcdzzzzzzzz"), "globex", Severity::Low, 2),
            case(id("abce00000000"), "acme", Severity::Low, 3),
        ]);
        let engine: &dyn Engine = &engine;
        let acme = TenantScope::Only(["acme".parse().unwrap()].into());
        let find = |scope: &TenantScope, text: &str| {
            named(engine, scope, ids_beginning_with(text).unwrap()).unwrap()
        };
        assert!(matches!(find(&acme, "abcd"), Named::One(case) if case.tenant.as_str() == "acme"));
        assert!(matches!(find(&TenantScope::All, "abcd"), Named::Several(ids) if ids.len() == 2));
        assert!(matches!(find(&TenantScope::All, "abcdzzzzzzzz"), Named::One(_)));
        assert_eq!(find(&acme, "abcdz"), Named::None);
        assert_eq!(find(&acme, "zzzz"), Named::None);
        assert_eq!(ids_beginning_with("abcl"), None);
        assert_eq!(ids_beginning_with("abcdefghjkmnp"), None);
    }

    #[test]
    fn a_place_is_read_back_as_it_was_written() {
        let place =
            CasePlace { opened_at: Timestamp::from_ms(7), case: CaseId::from_u64(u64::MAX >> 4) };
        assert_eq!(CasePlace::from_bytes(&place.to_bytes()), Some(place));
        assert_eq!(CasePlace::from_bytes(&[1; 15]), None);
    }
}
