//! Puts the agent together, and takes it apart in order.
//!
//! # Threads and tasks
//! ```text
//! thread "pipeline"   owns the sources and the spool's writer; blocks on files and syncs
//! runtime, 1 thread   uplink (the connection and its streams); context (a look at the host a minute);
//!                     notify (signs of life for the service manager)
//! ```
//!
//! # Shutdown
//! 1. The pipeline reads no more, commits what it has read, and ends.
//! 2. The uplink sends what is left and waits for its acks, then says goodbye.
//! 3. After the grace it is told to end at once; the spool keeps what is not acked.
//!
//! A part that ends before it was told to ends the process: a half agent would look like a quiet
//! host.

pub mod check;
mod feed;
mod input;
pub mod join;
pub mod log;
pub mod notify;
mod pipeline;
mod places;
pub mod policy;
mod rings;
pub mod show;
#[cfg_attr(not(unix), path = "app/sleep/without_poll.rs")]
mod sleep;
mod throttle;
pub mod try_policy;

use std::{path::Path, sync::Arc, thread};

use anyhow::{Context as _, Result};
use shared::{
    context::HostContext,
    ids::{BootId, Seq},
};
use tokio::sync::{oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    feed::Feed,
    notify::Notifier,
    pipeline::{Parts, Pipeline, PipelineError},
    policy::{Channel, Enforcement, signed::load_keys},
    rings::Rings,
    sleep::{Sleeper, StopWriter},
    throttle::Throttle,
};
use crate::{
    blocks::Blocks,
    clock,
    config::{Config, Input, SourceConfig},
    context::{self, Looker, Watch},
    ledger::{Found, Ledger, PAGE_PREFIX},
    source::{Begin, Opening, Pattern},
    spool::{Opened, RealDisk, Spool, SpoolConfig},
    status::{Facts, ProcessState, Status},
    tls::{self, Credentials},
    uplink::{Ending, Inputs, PolicyWord, Stop, Uplink},
};

/// How a run ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything that was read is acked.
    Drained,
    /// The grace was over before that; the spool keeps the rest for the next start.
    GraceExceeded,
}

/// The pipeline's thread, and how it is told to stop.
struct PipelineThread {
    /// Closed when it is to stop.
    stop: StopWriter,
    ended: oneshot::Receiver<Result<(), PipelineError>>,
}

/// Runs an agent until `stop`, then drains it; `notifier` is told how it is.
///
/// # Errors
/// Fails if a part cannot start or ends by itself. The text says which and why.
pub async fn run(config: Config, notifier: Notifier, stop: CancellationToken) -> Result<Outcome> {
    config.veto.put_in_force().context("put the veto in force")?;
    let (spool, opened) = open_spool(&config)?;
    // Behind the spool's lock: nobody else is at its files.
    let credentials = load_identity(&config)?;
    let rings = Rings::open(&config, &opened)?;
    let feeds = open_feeds(&config, &opened)?;
    let status = Arc::new(Status::new(facts(&config, &credentials, &spool, &opened)));
    begin_trust(&config, &credentials);
    status.set_trust(credentials.trust.status());
    let (host, context_in) = first_look();
    let (synced_out, synced_in) = watch::channel(());
    let (offered_out, offered_in) = watch::channel(Arc::default());
    let (acked_out, acked_in) = watch::channel(0);
    let (offer_out, offer_in) = watch::channel(None);
    let (word_out, word_in) = watch::channel(PolicyWord::default());
    let ledger = restore_ledger(&config, &spool, &opened)?;
    let inputs = Inputs {
        spool: spool.reader(),
        held: rings.as_ref().map(Rings::readers).unwrap_or_default(),
        synced: synced_in,
        ledger: offered_in,
        ledger_acked: acked_out,
        context: context_in.clone(),
        policy_offer: offer_out,
        policy_word: word_in,
        status: Arc::clone(&status),
    };
    let whose = (credentials.tenant, spool.epoch());
    let last_look = spool.reader();
    let boot = BootId(rand::random());
    let identity = (config.identity.clone(), credentials);
    let uplink = Uplink::new(config.coordinator.clone(), identity, inputs, boot)?;
    let (stop_signal, pipeline_stop) = sleep::stop().context("make the pipeline's signal")?;
    let channel = Channel { offered: offer_in, word: word_out };
    let policy = Enforcement::begin(&config, whose, channel, clock::now(), clock::wall());
    let pipeline = Pipeline::new(Parts {
        spool,
        rings,
        feeds,
        blocks: Blocks::new(config.blocks),
        lanes: config.lanes,
        ledger,
        offered: offered_out,
        ledger_acked: acked_in,
        policy,
        attribution: config.attribution,
        synced: synced_out,
        context: context_in,
        status: Arc::clone(&status),
        status_path: config.status_path.clone(),
        throttle: Throttle::new(config.limits),
        sleeper: Sleeper::new(stop_signal),
    });
    let pipeline = PipelineThread { stop: pipeline_stop, ended: start(pipeline)? };
    let signs_of_life = notifier.run(Arc::clone(&status), stop.clone());
    let outcome = tokio::select! {
        outcome = supervise(&config, uplink, host, pipeline, &status, stop) => outcome,
        never = signs_of_life => match never {},
    };
    status.set_process(ProcessState::Stopped);
    // The last acks may have come after the pipeline's last look.
    status.update(|snapshot| snapshot.lanes = pipeline::lanes(last_look.heads()));
    if let Err(error) = status.snapshot().store(&config.status_path) {
        tracing::warn!(%error, "status file cannot be written");
    }
    outcome
}

/// Loads what proves who the agent is, with the certificate that had come before the last stop, if one had.
fn load_identity(config: &Config) -> Result<Credentials> {
    match tls::finish(&config.identity) {
        Ok(true) => tracing::info!("took up the certificate that had come before the last stop"),
        Ok(false) => {}
        // What is in place may do, and says why if not.
        Err(error) => tracing::warn!(%error, "the agent's next certificate is not taken up"),
    }
    Credentials::load(&config.identity).context("load the agent's identity")
}

/// Takes up whom the agent believes by the bundle that it took last. Where the keys cannot be read, which the policy
/// says, too, that goes on counting, and none is taken.
fn begin_trust(config: &Config, credentials: &Credentials) {
    let keys = load_keys(&config.policy_keys).unwrap_or_default();
    let folder = config.identity.certificate.parent().unwrap_or_else(|| Path::new(""));
    credentials.trust.begin(keys, folder);
}

fn facts(config: &Config, credentials: &Credentials, spool: &Spool, opened: &Opened) -> Facts {
    tracing::info!(
        tenant = %credentials.tenant, agent = %credentials.agent, epoch = %spool.epoch(),
        certificate_until = %credentials.not_after, "agent starts"
    );
    Facts {
        tenant: credentials.tenant,
        agent: credentials.agent,
        epoch: spool.epoch(),
        certificate_from: credentials.not_before,
        certificate_until: credentials.not_after,
        spool_dir: config.spool.dir.clone(),
        spool_bytes_max: config.spool.bytes_max,
        spool_damage: opened.damage.len() as u64,
    }
}

/// Spawns the tasks, waits for the stop or a part's early end, and shuts down.
async fn supervise(
    config: &Config,
    uplink: Uplink,
    (looker, context): (Looker, watch::Sender<Arc<HostContext>>),
    mut pipeline: PipelineThread,
    status: &Status,
    stop: CancellationToken,
) -> Result<Outcome> {
    let tasks = TaskTracker::new();
    let steps = Stop::default();
    let mut uplink = tasks.spawn(uplink.run(steps.clone()));
    let mut context = tasks.spawn(refresh_context(looker, context, steps.drain.clone()));
    tasks.close();

    let early: Option<anyhow::Error> = tokio::select! {
        () = stop.cancelled() => None,
        ended = &mut pipeline.ended => Some(pipeline_error(ended)),
        ended = &mut uplink => Some(anyhow::anyhow!("uplink ended by itself: {ended:?}")),
        ended = &mut context => Some(anyhow::anyhow!("context task ended by itself: {ended:?}")),
    };
    if let Some(error) = early {
        steps.abort.cancel();
        steps.drain.cancel();
        drop(pipeline.stop);
        tasks.wait().await;
        return Err(error);
    }

    tracing::info!(grace_ms = config.grace.as_millis(), "stopping: draining");
    status.set_process(ProcessState::Draining);
    let deadline = tokio::time::Instant::now() + config.grace;
    drop(pipeline.stop);
    // A commit that hangs in a failing disk is not waited for: what it holds is read again after
    // the next start.
    let has_stopped = match tokio::time::timeout_at(deadline, &mut pipeline.ended).await {
        Ok(Ok(Ok(()))) => true,
        Ok(ended) => return Err(pipeline_error(ended)),
        Err(_late) => false,
    };
    steps.drain.cancel();
    let ending = match tokio::time::timeout_at(deadline, &mut uplink).await {
        Ok(ending) => ending.context("uplink")?,
        Err(_late) => {
            steps.abort.cancel();
            uplink.await.context("uplink")?
        }
    };
    tasks.wait().await;
    Ok(match ending {
        Ending::Drained if has_stopped => Outcome::Drained,
        Ending::Drained | Ending::Aborted => Outcome::GraceExceeded,
    })
}

fn pipeline_error(
    ended: Result<Result<(), PipelineError>, oneshot::error::RecvError>,
) -> anyhow::Error {
    match ended {
        Ok(Ok(())) => anyhow::anyhow!("pipeline ended by itself"),
        Ok(Err(error)) => anyhow::Error::new(error).context("pipeline"),
        Err(_) => anyhow::anyhow!("pipeline panicked"),
    }
}

fn start(pipeline: Pipeline) -> Result<oneshot::Receiver<Result<(), PipelineError>>> {
    let (ended_out, ended) = oneshot::channel();
    thread::Builder::new()
        .name("pipeline".to_owned())
        .spawn(move || {
            // Nobody listens any more only when the process is ending.
            let _unheard = ended_out.send(pipeline.run()).is_err();
        })
        .context("start the pipeline's thread")?;
    Ok(ended)
}

/// What looks at the host, and where it says what it saw.
type HostLook = (Looker, watch::Sender<Arc<HostContext>>);

/// Looks at the host, and returns what looks again with where it says so, and where that is heard.
fn first_look() -> (HostLook, watch::Receiver<Arc<HostContext>>) {
    let mut looker = Looker::new(clock::now);
    let (sender, receiver) = watch::channel(Arc::new(looker.look(clock::wall())));
    ((looker, sender), receiver)
}

async fn refresh_context(
    mut looker: Looker,
    context: watch::Sender<Arc<HostContext>>,
    stop: CancellationToken,
) {
    let mut watch = Watch::new((**context.borrow()).clone(), clock::now());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(context::REFRESH_INTERVAL) => {}
        }
        let Some(news) = watch.take(looker.look(clock::wall()), clock::now()) else { continue };
        let version = news.version();
        let before = context.send_replace(Arc::new(news));
        if before.version() != version {
            tracing::info!(version = version.0, "host's context has changed");
        }
    }
}

fn open_spool(config: &Config) -> Result<(Spool, Opened)> {
    let dir = &config.spool.dir;
    let disk = RealDisk::open(dir).with_context(|| format!("open the spool {}", dir.display()))?;
    let bounds = SpoolConfig {
        segment_bytes: config.spool.segment_bytes,
        total_bytes_max: config.spool.bytes_max,
    };
    let (mut spool, opened) = Spool::open(Arc::new(disk), bounds, rand::random())
        .with_context(|| format!("open the spool {}", dir.display()))?;
    if opened.created {
        tracing::info!(dir = %dir.display(), epoch = %spool.epoch(), "new spool");
    }
    if opened.torn_bytes > 0 {
        tracing::warn!(
            bytes = opened.torn_bytes, skipped = ?opened.skipped,
            "cut off what a crash left unfinished; the numbers it may have had are not used again"
        );
    }
    for damage in &opened.damage {
        tracing::error!(
            segment = %damage.segment, offset = damage.offset, bytes = damage.bytes,
            lost = ?damage.lost, "spool is damaged: what is lost is reported to the coordinator"
        );
    }
    let names = config.sources.iter().map(|source| source.name.as_str());
    places::forget_removed(&mut spool, &opened.checkpoints, names)?;
    if opened.is_stale {
        tracing::warn!("a checkpoint may be older than the blocks: some records may be sent twice");
    }
    Ok((spool, opened))
}

/// Takes the ledger up where the spool says.
fn restore_ledger(config: &Config, spool: &Spool, opened: &Opened) -> Result<Ledger> {
    let pages = opened.checkpoints.range(PAGE_PREFIX.to_owned()..);
    let pages = pages.map(|(name, page)| (name.as_str(), page.as_slice()));
    let pages = pages.take_while(|(name, _)| name.starts_with(PAGE_PREFIX)).collect();
    // What this start found to be skipped may not be noted yet, and then cannot be read.
    let mut newest = spool.newest();
    for (lane, first, _) in &opened.skipped {
        newest[lane.index()] = Seq::new(first.as_u64() - 1);
    }
    let reader = spool.reader();
    let is_skipped = |lane, first, last| reader.is_skipped(lane, first, last);
    let found = Found { state: &opened.ledger, pages, newest, is_skipped: &is_skipped };
    let names = config.sources.iter().map(|source| source.name.clone()).collect();
    Ledger::restore(config.ledger, names, &found, clock::wall()).context("take up the ledger")
}

fn open_feeds(config: &Config, opened: &Opened) -> Result<Vec<Feed>> {
    let mut feeds: Vec<Feed> = Vec::with_capacity(config.sources.len());
    let is_pattern = |source: &&SourceConfig| matches!(source.input, Input::Files { .. });
    let opening = Opening {
        begin: Begin::End, // unless a source says otherwise
        now: clock::now(),
        wall: clock::wall(),
        sources: config.sources.iter().filter(is_pattern).count(),
    };
    for (number, source) in config.sources.iter().enumerate() {
        let others = before(&config.sources, number);
        let feed = Feed::open(source, &opened.checkpoints, &others, opening)
            .with_context(|| format!("open source {}", source.name))?;
        feeds.push(feed);
        feed::is_left(&mut feeds, number);
    }
    Ok(feeds)
}

/// Returns the paths of the sources whose files are none of the source of this number: a plain path
/// is before all patterns, and of two patterns the first.
fn before(sources: &[SourceConfig], number: usize) -> Vec<Pattern> {
    let path = |(other, source): (usize, &SourceConfig)| match &source.input {
        Input::File { path, .. } => Some(Pattern::of_path(path)),
        Input::Files { pattern, .. } if other < number => Some(pattern.clone()),
        _ => None,
    };
    sources.iter().enumerate().filter_map(path).collect()
}

#[cfg(test)]
mod tests;
