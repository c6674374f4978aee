//! Puts the coordinator together, and takes it apart in order.
//!
//! # Threads and tasks
//! ```text
//! thread "store-writer"  every change of the store, one sync a group
//! thread "ingest"        a runtime of its own: the QUIC endpoint, one task a connection and a lane
//! caller's runtime       API, metrics listener, view, leases, retention, roll-outs of policies
//! blocking pools         decoding of blocks; reads of the API
//! ```
//! The endpoint has a thread of its own so that packets never wait behind a page of JSON.
//!
//! # Shutdown
//! 1. Ingest takes no more; what it took is stored and acked, and agents are told goodbye.
//! 2. The API ends what was begun; waits and feeds end at once.
//! 3. The timers end; the writer ends once nobody holds the store.
//!
//! A part that ends before it was told to ends the process: half a coordinator would look like quiet customers.

pub mod check;
mod sign_in;
#[cfg(test)]
mod tests;

use std::{
    fs,
    future::Future,
    io::{self, Write as _},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    panic::AssertUnwindSafe,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::FutureExt as _;
use shared::{
    limits::POLICY_KEYS_MAX,
    policy::PolicyPublicKey,
    time::Timestamp,
    trust::{self, SpkiDigest},
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, oneshot},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    api::{self, Api, AuthorityTerms, BundleCheck, JoinTerms},
    bell::Bells,
    clock::Clock,
    command::tokens,
    config::Config,
    counters::Counters,
    ingest::{self, Ingest, QuicSettings, TunnelSettings},
    limits::{ADMIN_TOKEN_LIFE, POLICY_OFFERS_MAX, SHUTDOWN_GRACE, SIGNINGS_MAX},
    store::{
        engine::RocksEngine,
        schema::TrustKey,
        tables::Source as _,
        upgrade,
        writer::{self, Store, Writer},
    },
    tls::{self, Issuer},
    upkeep,
    uses::Uses,
    view::View,
};

/// Name of the file in the store's folder that holds the first administrator's token.
pub const ADMIN_TOKEN_FILE: &str = "admin.token";

/// A coordinator that serves.
#[derive(Debug)]
pub struct Running {
    /// Where agents connect.
    pub ingest_addr: SocketAddr,
    /// Where analysts connect.
    pub api_addr: SocketAddr,
    /// Where metrics and health are read.
    pub metrics_addr: SocketAddr,
    /// The store.
    pub store: Store,
    /// The queue.
    pub view: View,
    /// What is counted.
    pub counters: Arc<Counters>,
    /// Rung when sessions are to look into the store.
    pub bells: Bells,
    parts: Parts,
    writer: Writer,
}

/// How a coordinator ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All that was taken is stored and answered.
    Drained,
    /// The grace was over before that; what was acked is kept, and agents send the rest again.
    GraceExceeded,
}

/// Whether a part ended by itself, and which.
#[derive(Clone, Debug, Default)]
struct Failed {
    token: CancellationToken,
    is_set: Arc<AtomicBool>,
}

impl Failed {
    fn report(&self, part: &str, error: &anyhow::Error) {
        tracing::error!(part, error = format!("{error:#}"), "a part ended by itself");
        self.is_set.store(true, Relaxed);
        self.token.cancel();
    }
}

/// The parts that run, how they are told to end, and whether one ended before.
#[derive(Clone, Debug, Default)]
struct Parts {
    tasks: TaskTracker,
    stop: CancellationToken,
    failed: Failed,
}

impl Parts {
    /// Spawns a part that must not end, panic or fail before it is told to.
    fn spawn(&self, name: &'static str, part: impl Future<Output = Result<()>> + Send + 'static) {
        let Self { stop, failed, .. } = self.clone();
        self.tasks.spawn(async move {
            match AssertUnwindSafe(part).catch_unwind().await {
                Ok(Ok(())) if stop.is_cancelled() => {}
                Ok(Ok(())) => failed.report(name, &anyhow!("it returned")),
                Ok(Err(error)) => failed.report(name, &error),
                Err(_panic) => failed.report(name, &anyhow!("it panicked")),
            }
        });
    }
}

/// Starts a coordinator. It serves when this returns.
///
/// # Errors
/// Says which part cannot start, and why.
pub async fn start(config: Config, clock: Clock) -> Result<Running> {
    let server = tls::ingest(&config).context("set up TLS for agents")?;
    let tunnels = tls::tunnelling(&config, &server).context("set up TLS for agents over TCP")?;
    let tunnels = tunnels.map(|(listen, tls, server)| TunnelSettings { listen, tls, server });
    let (issuer, terms) = authority(&config).context("set up [authority]")?.unzip();
    let policy_keys: Arc<[PolicyPublicKey]> = policy_keys(&config)?.into();
    let own = tls::Own::load(&config, issuer.as_ref()).context("set up TLS for agents")?;
    let api_tls = Arc::new(tls::api(&config.api).context("set up HTTPS")?);
    let sign_ins = sign_in::sign_ins(&config.api).context("set up [api.oidc]")?;
    let path = config.store.path.clone();
    let (store, writer) = tokio::task::spawn_blocking(move || open_store(&path)).await??;
    let endpoint = tls::endpoint_config(&config.store.path).context("set up QUIC")?;
    make_first_token(&store, &config.store.path, clock.now()).await?;
    warn_of_lock_out(&store, &own, clock.now())?;
    let view = upkeep::view::rebuild(&store).await.context("build the queue from the store")?;

    let (counters, bells) = (Arc::new(Counters::default()), Bells::default());
    let (uses, parts) = (Uses::default(), Parts::default());
    let Parts { stop, tasks, .. } = parts.clone();
    let api_listener = bind(config.api.listen, "[api] listen").await?;
    let metrics_listener = bind(config.metrics.listen, "[metrics] listen").await?;
    let (api_addr, metrics_addr) = (api_listener.local_addr()?, metrics_listener.local_addr()?);

    let shared = ingest::Shared {
        store: store.clone(),
        clock: clock.clone(),
        counters: Arc::clone(&counters),
        bells: bells.clone(),
        trust_domain: config.trust_domain.clone(),
        issuer,
        sites: ingest::Sites::default(),
        renewals: ingest::Renewals::default(),
        signings: Arc::new(Semaphore::new(SIGNINGS_MAX)),
        policy_offers: Arc::new(Semaphore::new(POLICY_OFFERS_MAX)),
        authorities: ingest::Authorities::new(distrusted(&config)),
        policy_keys: Arc::clone(&policy_keys),
        connection_age: config.ingest.connection_age,
        room: ingest::Room::new(Arc::clone(&counters)),
        doors: Arc::new(ingest::Doors::new(config.ingest.address_handshakes)),
        tunnel_doors: Arc::new(ingest::Doors::new(config.ingest.address_handshakes)),
        quotas: Arc::new(ingest::Quotas::new(config.quota, Arc::clone(&counters))),
        tasks: TaskTracker::new(),
        shutdown: stop.clone(),
    };
    let has_tunnels = tunnels.is_some();
    let settings = QuicSettings { endpoint, server, tunnels };
    let ingest_addr = start_ingest(settings, config.ingest.listen, shared, &parts).await?;

    let counted = Arc::clone(&counters);
    let api =
        Api::new(store.clone(), view.clone(), clock.clone(), counted, bells.clone(), stop.clone())
            .with_joining(terms)
            .with_sign_in(sign_ins)
            .with_tasks(tasks.clone())
            .with_uses(uses.clone())
            .with_policy_keys(policy_keys)
            .with_authority(authority_terms(&config, own));
    let (metrics, router) = (api::metrics_router(api.clone()), api::router(api));
    let (counted, cancel) = (Arc::clone(&counters), stop.clone());
    let serve = api::serve(api_listener, api_tls, router, counted, cancel, tasks.clone());
    parts.spawn("api", serve.map(Ok));
    let serve = api::serve_metrics(metrics_listener, metrics, stop, tasks);
    parts.spawn("metrics listener", serve.map(Ok));
    start_upkeep(&config, (&store, &view, uses), (&clock, &counters), &parts);
    tracing::info!(
        agents = %ingest_addr, tunnels = has_tunnels, api = %api_addr, metrics = %metrics_addr,
        store = %config.store.path.display(), "coordinator serves"
    );
    Ok(Running { ingest_addr, api_addr, metrics_addr, store, view, counters, bells, parts, writer })
}

impl Running {
    /// Waits until a part has ended by itself. Never returns while all is well.
    pub async fn failed(&self) {
        self.parts.failed.token.cancelled().await;
    }

    /// Ends in order, within the grace.
    ///
    /// # Errors
    /// A part ended by itself before.
    pub async fn shut_down(self) -> Result<Outcome> {
        let Self { store, view, parts: Parts { tasks, stop, failed }, writer, .. } = self;
        stop.cancel();
        tasks.close();
        let deadline = tokio::time::Instant::now() + SHUTDOWN_GRACE;
        let ended = tokio::time::timeout_at(deadline, tasks.wait()).await;
        let has_failed = failed.is_set.load(Relaxed);
        if ended.is_err() {
            tracing::warn!(tasks = tasks.len(), "some of what was begun has not ended");
        }
        let joined = if ended.is_ok() {
            drop((store, view));
            let join = tokio::task::spawn_blocking(move || writer.join());
            let joined = tokio::time::timeout_at(deadline, join).await;
            joined.inspect_err(|_late| tracing::warn!("the store has not been closed")).ok()
        } else {
            None
        };
        if has_failed {
            bail!("a part of the coordinator ended by itself; the log above says which and why");
        }
        match joined {
            Some(joined) => joined.map(|()| Outcome::Drained).context("wait for the writer"),
            None => Ok(Outcome::GraceExceeded),
        }
    }
}

/// Returns what issues certificates, and what tokens for it say; `None` where hosts cannot join.
fn authority(config: &Config) -> Result<Option<(Issuer, JoinTerms)>> {
    let Some(authority) = &config.authority else { return Ok(None) };
    let issuer = Issuer::load(authority, config)?;
    let terms = JoinTerms {
        addresses: authority.addresses.clone(),
        server_name: tls::server_name(&config.ingest)?,
        root_sha256: issuer.root_sha256(),
    };
    Ok(Some((issuer, terms)))
}

/// Returns the issuers that are distrusted.
fn distrusted(config: &Config) -> Vec<SpkiDigest> {
    config.authority.as_ref().map(|authority| authority.distrusted.clone()).unwrap_or_default()
}

/// Returns what the API has to know of the authorities to show them, and to let nobody be locked out.
fn authority_terms(config: &Config, own: tls::Own) -> AuthorityTerms {
    AuthorityTerms {
        trust_domain: config.trust_domain.clone(),
        issuer: own.issuer(),
        distrusted: distrusted(config),
        check: BundleCheck::new(move |bundle, now| own.check(bundle, now)),
    }
}

/// Says in the log, where the newest trust bundle would have agents believe this coordinator no more: its certificates
/// were replaced before agents were told, or after they were told otherwise.
fn warn_of_lock_out(store: &Store, own: &tls::Own, now: Timestamp) -> Result<()> {
    let Some(record) = store.engine().load(&TrustKey).context("read the trust bundle")? else {
        return Ok(());
    };
    let sequence = record.sequence;
    let bundle = trust::peek(&record.envelope).map(|(_, bundle)| bundle);
    let refused = bundle.map(|bundle| own.check(&bundle, now));
    if let Some(Err(problem)) = refused {
        tracing::error!(sequence, problem, "agents that have this trust bundle stay away");
    }
    Ok(())
}

/// Loads the keys that policies may be signed by; none where the configuration names no file.
///
/// # Errors
/// The file cannot be read, a line is no key, or there are too many.
pub(crate) fn policy_keys(config: &Config) -> Result<Vec<PolicyPublicKey>> {
    let Some(path) = &config.policy_keys else { return Ok(Vec::new()) };
    let at = || format!("[policy] keys: {}", path.display());
    let text = fs::read_to_string(path).with_context(at)?;
    let keys = PolicyPublicKey::parse_list(&text).with_context(at)?;
    if keys.len() > POLICY_KEYS_MAX {
        bail!("{}: names {} keys, at most {POLICY_KEYS_MAX} are told to agents", at(), keys.len());
    }
    Ok(keys)
}

async fn bind(listen: SocketAddr, key: &str) -> Result<TcpListener> {
    TcpListener::bind(listen).await.with_context(|| format!("{key}: bind TCP {listen}"))
}

fn open_store(path: &Path) -> Result<(Store, Writer)> {
    let engine =
        RocksEngine::open(path).with_context(|| format!("open the store {}", path.display()))?;
    if let Some(cut) = engine.cut_at_open() {
        tracing::info!(?cut, "the store dropped what a crash left unfinished");
    }
    upgrade::run(&engine).with_context(|| format!("use the store {}", path.display()))?;
    let started = writer::start(Arc::new(engine));
    started.with_context(|| format!("start the store {}", path.display()))
}

/// Runs the endpoint on a thread and a runtime of its own; returns its address once it is bound.
async fn start_ingest(
    settings: QuicSettings,
    listen: SocketAddr,
    shared: ingest::Shared,
    parts: &Parts,
) -> Result<SocketAddr> {
    let (bound_out, bound) = oneshot::channel();
    let (ended_out, ended) = oneshot::channel();
    let cores = thread::available_parallelism().map_or(2, usize::from);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(cores)
        .build()
        .context("start the endpoint's runtime")?;
    let serve = move || {
        runtime.block_on(async {
            let ingest = match Ingest::bind(settings, listen, Arc::new(shared)) {
                Ok(ingest) => ingest,
                Err(error) => return drop(bound_out.send(Err(error))),
            };
            if bound_out.send(ingest.local_addr()).is_ok() {
                ingest.run().await;
            }
        });
        // Whoever waited may have gone: the process ends.
        let _unheard = ended_out.send(()).is_err();
    };
    thread::Builder::new().name("ingest".to_owned()).spawn(serve).context("start a thread")?;
    let bound: io::Result<SocketAddr> = bound.await.context("the endpoint's thread")?;
    let address = bound.with_context(|| format!("[ingest] listen: bind {listen}"))?;
    parts.spawn("ingest", ended.map(|ended| ended.context("its thread panicked")));
    Ok(address)
}

fn start_upkeep(
    config: &Config,
    (store, view, uses): (&Store, &View, Uses),
    (clock, counters): (&Clock, &Arc<Counters>),
    parts: &Parts,
) {
    let (s, cancel) = (store.clone(), parts.stop.clone());
    parts.spawn("uses of tokens", async move {
        upkeep::uses::write_down(&s, &uses, &cancel).await;
        Ok(())
    });
    let (s, v, cancel) = (store.clone(), view.clone(), parts.stop.clone());
    parts.spawn("queue view", async move { Ok(upkeep::view::follow(&s, &v, &cancel).await?) });
    let (s, v, c, cancel) = (store.clone(), view.clone(), clock.clone(), parts.stop.clone());
    parts.spawn("leases", async move {
        upkeep::expire_leases(&s, &v, &c, &cancel).await;
        Ok(())
    });
    let (s, c, cancel) = (store.clone(), clock.clone(), parts.stop.clone());
    let counted = Arc::clone(counters);
    parts.spawn("roll-outs", async move {
        upkeep::rollouts::watch(&s, &c, &counted, &cancel).await;
        Ok(())
    });
    let policy = upkeep::retention::Policy {
        age: config.store.retention,
        bytes_max: config.store.bytes_max,
    };
    let (s, c, cancel) = (store.clone(), clock.clone(), parts.stop.clone());
    parts.spawn("retention", async move {
        upkeep::retention::retain(&s, policy, &c, &cancel).await;
        Ok(())
    });
}

/// Makes an administrator's token where none is good, and leaves it where only the owner of the store finds it. The
/// file comes first: a crash in between leaves a token that is not good yet, and the next start makes another.
async fn make_first_token(store: &Store, dir: &Path, now: Timestamp) -> Result<()> {
    if tokens::has_administrator(store.engine(), now).context("read the tokens")? {
        return Ok(());
    }
    let secret = format!("sb_{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
    let path = dir.join(ADMIN_TOKEN_FILE);
    write_secret(&path, &secret).with_context(|| format!("write {}", path.display()))?;
    let made = store.write(move |staged| {
        tokens::create_first(staged, &secret, ADMIN_TOKEN_LIFE, now).map(drop)
    });
    made.await.context("make the first token")?;
    let days = days(ADMIN_TOKEN_LIFE);
    tracing::info!(file = %path.display(), days, "administrator's token made");
    Ok(())
}

/// Writes a file anew that only its owner may read.
fn write_secret(path: &Path, secret: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{secret}")?;
    file.sync_all()?;
    path.parent().map_or(Ok(()), |dir| fs::File::open(dir)?.sync_all())
}

const fn days(life: Duration) -> u64 {
    life.as_secs() / (24 * 60 * 60)
}
