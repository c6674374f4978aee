//! How long the next case takes, by how many are open: the dispatcher's pick, the claim, and the claim with its sync.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use coordinator::{
    command::cases::{Caller, claim},
    limits::LEASE_DEFAULT,
    store::{
        engine::{Changes, Engine, RocksEngine, Space, Staged},
        schema::{CaseKey, Key as _},
        values::Value as _,
        writer::{self, Store},
    },
    triage::{
        case::{Case, CaseId},
        evidence::Evidence,
        fold::Group,
        queue::{self, TenantScope},
        sla::Sla,
    },
    view::View,
};
use shared::{alert::Severity, ids::TenantId, time::Timestamp};

use super::{
    Figures,
    measure::{Times, scaled, scratch},
    records::{Random, now},
};

/// Open cases, and the figures for so many.
const STEPS: [(usize, &str); 3] =
    [(10_000, "claim_p99_us_10k"), (100_000, "claim_p99_us_100k"), (1_000_000, "claim_p99_us_1m")];
const TENANTS: u64 = 50;
const CLAIMS: usize = 3_000;
const SYNCED_CLAIMS: usize = 1_000;
/// Cases that are stored with one commit.
const PAGE: usize = 5_000;

pub(super) fn run(figures: &mut Figures) -> Result<()> {
    let folder = scratch()?;
    let engine: Arc<dyn Engine> = Arc::new(RocksEngine::open(folder.path())?);
    let mut cases = Cases { random: Random::new(9), view: View::new(), count: 0 };
    let claims = scaled(CLAIMS, 100);
    for (count, name) in STEPS {
        cases.fill(&*engine, scaled(count, 1_000))?;
        let (picks, claimed) = cases.claim(&*engine, claims)?;
        println!(
            "  of {} open cases: pick alone p50 {:.1} us, p99 {:.1} us; with claim p50 {:.1} us",
            cases.count,
            us(picks.percentile(0.5)),
            us(picks.percentile(0.99)),
            us(claimed.percentile(0.5))
        );
        figures.set(name, us(claimed.percentile(0.99)));
    }
    let (store, writer) = writer::start(engine)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let synced = runtime.block_on(cases.claim_synced(&store, scaled(SYNCED_CLAIMS, 20)))?;
    drop(store);
    writer.join();
    println!("  synced p50 {:.1} us", us(synced.percentile(0.5)));
    figures.set("claim_synced_p99_us_1m", us(synced.percentile(0.99)));
    Ok(())
}

fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn ann() -> Caller {
    Caller { name: "ann".to_owned(), scope: TenantScope::All, person: None }
}

/// Cases in a store and in the view of it.
struct Cases {
    random: Random,
    view: View,
    count: usize,
}

impl Cases {
    /// Opens cases until there are `count`.
    fn fill(&mut self, engine: &dyn Engine, count: usize) -> Result<()> {
        while self.count < count {
            let page = PAGE.min(count - self.count);
            let mut changes = Changes::new();
            let mut opened = Vec::with_capacity(page);
            for _ in 0..page {
                let case = self.open()?;
                changes.put(Space::Rows, CaseKey(case.id).encode(), case.encode());
                opened.push((case.id, Some(case)));
            }
            engine.commit(changes)?;
            self.view.apply(&opened, 0);
            self.count += page;
        }
        Ok(())
    }

    fn open(&mut self) -> Result<Case> {
        let random = &mut self.random;
        let tenant: TenantId = format!("tenant-{}", random.below(TENANTS)).parse()?;
        let id = CaseId::from_u64(random.next() >> 4);
        let at = Timestamp::from_ms(now().as_ms() - random.below(86_400_000));
        let rule = random.below(600);
        let group = Group {
            fingerprint: [7; 16],
            host: format!("10.20.{}.{}", random.below(250), random.below(250)),
            product: "suricata".to_owned(),
            rule_uid: (2_020_000 + rule).to_string(),
            title: format!("ET HUNTING Suspicious POST to dotted quad M{rule}"),
            techniques: "T1071".to_owned(),
            severity: [Severity::Low, Severity::Medium, Severity::High]
                [usize::try_from(random.below(3))?],
            first_at: at,
            last_at: at,
            positions: vec![1, 2, 3],
            further: 0,
        };
        Ok(Evidence::open(id, tenant, &group, &Sla::default(), at).case)
    }

    fn pick(&self, now: Timestamp) -> Result<CaseId> {
        let picked = self.view.with(|view| queue::next(view, &TenantScope::All, now));
        picked.map(|(case, _)| case).context("nothing waits")
    }

    /// Claims cases one after the other; returns the times of the pick alone, and of pick and staged claim.
    fn claim(&self, engine: &dyn Engine, count: usize) -> Result<(Times, Times)> {
        let (mut picks, mut claims) = (Times::default(), Times::default());
        for _ in 0..count {
            let now = now();
            let start = Instant::now();
            let id = self.pick(now)?;
            picks.push(start.elapsed());
            let mut staged = Staged::new(engine);
            let case = claim(&mut staged, &ann(), id, LEASE_DEFAULT, now)?;
            claims.push(start.elapsed());
            engine.commit(staged.into_changes())?;
            self.view.apply(&[(id, Some(case))], 0);
        }
        Ok((picks, claims))
    }

    /// Claims cases one after the other through the writer; returns the times until each was durable.
    async fn claim_synced(&self, store: &Store, count: usize) -> Result<Times> {
        let mut claims = Times::default();
        for _ in 0..count {
            let now = now();
            let start = Instant::now();
            let id = self.pick(now)?;
            let command =
                move |staged: &mut Staged<'_>| claim(staged, &ann(), id, LEASE_DEFAULT, now);
            let case = store.write(command).await?;
            claims.push(start.elapsed());
            self.view.apply(&[(id, Some(case))], 0);
        }
        Ok(claims)
    }
}
