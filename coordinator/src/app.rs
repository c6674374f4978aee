//! Puts the coordinator together, and takes it apart in order.
//!
//! # Threads and tasks
//! ```text
//! thread "store-writer"  every change of the store, one sync a group
//! thread "ingest"        a runtime of its own: the QUIC endpoint, one task a connection and a lane
//! caller's runtime       API, metrics listener, view, leases, retention
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

use std::{
    future::Future,
    io::{self, Write as _},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tokio::{net::TcpListener, sync::oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    api::{self, Api},
    clock::Clock,
    command::{
        CommandError,
        tokens::{self, Grant},
    },
    config::Config,
    counters::Counters,
    ingest::{self, Ingest, QuicSettings},
    limits::{ADMIN_TOKEN_LIFE, SHUTDOWN_GRACE},
    store::{
        engine::RocksEngine,
        values::{Actor, Role},
        writer::{self, Store, Writer},
    },
    tls, upkeep,
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
    stop: CancellationToken,
    failed: Failed,
    tasks: TaskTracker,
    ingest: oneshot::Receiver<()>,
    writer: Writer,
}

/// Whether a part ended by itself, and which.
#[derive(Clone, Debug, Default)]
struct Failed {
    token: CancellationToken,
    is_set: Arc<AtomicBool>,
}

impl Failed {
    fn report(&self, part: &str, error: &dyn std::fmt::Display) {
        tracing::error!(part, %error, "a part of the coordinator ended by itself");
        self.is_set.store(true, Relaxed);
        self.token.cancel();
    }
}

/// Starts a coordinator. It serves when this returns.
///
/// # Errors
/// Says which part cannot start, and why.
pub async fn start(config: Config, clock: Clock) -> Result<Running> {
    let server = tls::ingest(&config).context("set up TLS for agents")?;
    let api_tls = Arc::new(tls::api(&config.api).context("set up HTTPS")?);
    let path = config.store.path.clone();
    let (store, writer) = tokio::task::spawn_blocking(move || open_store(&path)).await??;
    let endpoint = tls::endpoint_config(&config.store.path).context("set up QUIC")?;
    make_first_token(&store, &config.store.path, clock.now()).await?;
    let view = upkeep::view::rebuild(&store).await.context("build the queue from the store")?;

    let counters = Arc::new(Counters::default());
    let stop = CancellationToken::new();
    let failed = Failed::default();
    let tasks = TaskTracker::new();
    let api_listener = bind(config.api.listen, "[api] listen").await?;
    let metrics_listener = bind(config.metrics.listen, "[metrics] listen").await?;
    let api_addr = api_listener.local_addr()?;
    let metrics_addr = metrics_listener.local_addr()?;

    let shared = ingest::Shared {
        store: store.clone(),
        clock: clock.clone(),
        counters: Arc::clone(&counters),
        trust_domain: config.trust_domain.clone(),
        connection_age: config.ingest.connection_age,
        tasks: TaskTracker::new(),
        shutdown: stop.clone(),
    };
    let (ingest_addr, ingest) =
        start_ingest(QuicSettings { endpoint, server }, config.ingest.listen, shared).await?;

    let api =
        Api::new(store.clone(), view.clone(), clock.clone(), Arc::clone(&counters), stop.clone());
    let metrics = api::metrics_router(api.clone());
    let serve = api::serve(
        api_listener,
        api_tls,
        api::router(api),
        Arc::clone(&counters),
        stop.clone(),
        tasks.clone(),
    );
    watch_over(&tasks, &failed, &stop, "api", serve);
    let serve = api::serve_metrics(metrics_listener, metrics, stop.clone(), tasks.clone());
    watch_over(&tasks, &failed, &stop, "metrics listener", serve);
    start_upkeep(&config, &store, &view, &clock, (&tasks, &failed, &stop));
    tracing::info!(
        agents = %ingest_addr, api = %api_addr, metrics = %metrics_addr,
        store = %config.store.path.display(), "coordinator serves"
    );
    Ok(Running {
        ingest_addr,
        api_addr,
        metrics_addr,
        store,
        view,
        counters,
        stop,
        failed,
        tasks,
        ingest,
        writer,
    })
}

impl Running {
    /// Waits until a part has ended by itself. Never returns while all is well.
    pub async fn failed(&self) {
        self.failed.token.cancelled().await;
    }

    /// Ends in order.
    ///
    /// # Errors
    /// A part ended by itself before, or did not end within the grace.
    pub async fn shut_down(self) -> Result<()> {
        let Self { store, view, stop, failed, tasks, ingest, writer, .. } = self;
        stop.cancel();
        tasks.close();
        let ended = async {
            // The thread drops its end when it is done, or when it panicked: either way it has ended.
            let _ended = ingest.await.is_err();
            tasks.wait().await;
        };
        let in_time = tokio::time::timeout(SHUTDOWN_GRACE, ended).await.is_ok();
        drop((store, view));
        if !in_time {
            bail!("the coordinator did not stop within {} s", SHUTDOWN_GRACE.as_secs());
        }
        tokio::task::spawn_blocking(move || writer.join()).await?;
        if failed.is_set.load(Relaxed) {
            bail!("a part of the coordinator ended by itself; the log above says which and why");
        }
        Ok(())
    }
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
    let started = writer::start(Arc::new(engine));
    started.with_context(|| format!("start the store {}", path.display()))
}

/// Runs the endpoint on a thread and a runtime of its own; returns its address once it is bound.
async fn start_ingest(
    settings: QuicSettings,
    listen: SocketAddr,
    shared: ingest::Shared,
) -> Result<(SocketAddr, oneshot::Receiver<()>)> {
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
        drop(ended_out);
    };
    thread::Builder::new().name("ingest".to_owned()).spawn(serve).context("start a thread")?;
    let bound: io::Result<SocketAddr> = bound.await.context("the endpoint's thread")?;
    let address = bound.with_context(|| format!("[ingest] listen: bind UDP {listen}"))?;
    Ok((address, ended))
}

/// Spawns a part that must not end before it is told to.
fn watch_over(
    tasks: &TaskTracker,
    failed: &Failed,
    stop: &CancellationToken,
    name: &'static str,
    part: impl Future<Output = ()> + Send + 'static,
) {
    let (failed, stop) = (failed.clone(), stop.clone());
    tasks.spawn(async move {
        part.await;
        if !stop.is_cancelled() {
            failed.report(name, &"it returned");
        }
    });
}

fn start_upkeep(
    config: &Config,
    store: &Store,
    view: &View,
    clock: &Clock,
    (tasks, failed, stop): (&TaskTracker, &Failed, &CancellationToken),
) {
    let (s, v, c, cancel, f) =
        (store.clone(), view.clone(), clock.clone(), stop.clone(), failed.clone());
    watch_over(tasks, failed, stop, "queue view", async move {
        if let Err(error) = upkeep::view::follow(&s, &v, &cancel).await {
            f.report("queue view", &error);
        }
    });
    let (s, v, cancel) = (store.clone(), view.clone(), stop.clone());
    watch_over(tasks, failed, stop, "leases", async move {
        upkeep::expire_leases(&s, &v, &c, &cancel).await;
    });
    let policy = upkeep::retention::Policy {
        age: config.store.retention,
        bytes_max: config.store.bytes_max,
    };
    let (s, c, cancel) = (store.clone(), clock.clone(), stop.clone());
    watch_over(tasks, failed, stop, "retention", async move {
        upkeep::retention::retain(&s, policy, &c, &cancel).await;
    });
}

/// Makes an administrator's token where there is none at all, and leaves it where only the owner of the store finds it.
async fn make_first_token(store: &Store, dir: &Path, now: shared::time::Timestamp) -> Result<()> {
    let secret = format!("sb_{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
    let path = dir.join(ADMIN_TOKEN_FILE);
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    let mut file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("make {}", path.display())),
    };
    let grant = Grant {
        holder: "admin".to_owned(),
        role: Role::Admin,
        tenants: Vec::new(),
        life: ADMIN_TOKEN_LIFE,
    };
    let kept = secret.clone();
    let made = store.write(move |staged| {
        if !tokens::list(staged)?.is_empty() {
            return Ok::<_, CommandError>(false);
        }
        tokens::create(staged, &kept, grant, &Actor::Coordinator, now)?;
        Ok(true)
    });
    if made.await.context("make the first token")? {
        writeln!(file, "{secret}").and_then(|()| file.sync_all()).context("write the token")?;
        tracing::info!(file = %path.display(), days = days(ADMIN_TOKEN_LIFE), "first token made");
    } else {
        drop(file);
        std::fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
    }
    Ok(())
}

const fn days(life: Duration) -> u64 {
    life.as_secs() / (24 * 60 * 60)
}
