//! What the agent shows of itself: one board that its drivers write, and a file that `status`
//! reads.
//!
//! The file is JSON, rewritten as a whole every second: first beside its place, then renamed, so a
//! reader never sees half of one. It is not synced; after a power failure it is old, and its age
//! says so.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use shared::{
    ids::{AgentId, Epoch, Lane, Seq, TenantId},
    time::Timestamp,
    wire::AgentStats,
};
use thiserror::Error;

use crate::{attribution, clock};

mod health;
mod render;

pub use health::{
    EXPIRY_WARNING, Health, Matter, QUARANTINED_ADVICE, REVOKED_ADVICE, SUPERSEDED_ADVICE,
};

/// How often the file is rewritten.
pub const WRITE_INTERVAL: Duration = Duration::from_secs(1);
/// Age from which a file says nothing about now: a process that lives has missed ten chances to
/// write it.
pub const STALE_AFTER: Duration = Duration::from_secs(10);
/// Version of the file's form; a reader refuses others (L10).
pub const VERSION: u32 = 1;
/// Largest file that is read, in bytes: 64 sources and 1,024 rules with the longest titles take half of it.
const FILE_BYTES_MAX: u64 = 2 << 20;

/// State of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessState {
    /// It reads and sends.
    #[default]
    Running,
    /// It reads no more and waits for acks.
    Draining,
    /// It has ended in good order.
    Stopped,
}

/// State of the way to the coordinator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// Dialling.
    #[default]
    Connecting,
    /// A session runs.
    Connected,
    /// Waiting before it dials again.
    Waiting,
    /// The coordinator refuses the spool as an older copy: a person must act.
    SetBack,
    /// The coordinator has revoked this agent: a person must act.
    Revoked,
    /// Somebody has used a later certificate of this agent: a person must act.
    Superseded,
    /// Another host uses this agent's identity, and the coordinator takes nothing from this one: a person must act.
    Quarantined,
    /// Ended.
    Stopped,
}

/// State of the spool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpoolState {
    /// It takes blocks.
    #[default]
    Ok,
    /// It has reached its largest size; the sources wait.
    Full,
    /// The disk has no room; the sources wait.
    DiskFull,
    /// The disk fails; the sources wait.
    Failing,
}

/// The way to the coordinator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// Its state.
    pub state: LinkState,
    /// Since when it is in that state.
    pub since: Timestamp,
    /// Since when there is no session, if there is none.
    #[serde(default)]
    pub down_since: Option<Timestamp>,
    /// Address that was dialled last.
    pub address: Option<String>,
    /// Name in the coordinator's certificate, while connected.
    pub coordinator: Option<String>,
    /// Why the connection is over TCP and not over UDP, if it is.
    #[serde(default)]
    pub udp_error: Option<String>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When that was.
    pub last_error_at: Option<Timestamp>,
    /// When it dials again, while waiting.
    pub retry_at: Option<Timestamp>,
}

/// The spool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolStatus {
    /// Its state.
    pub state: SpoolState,
    /// What is wrong, unless it is well.
    pub error: Option<String>,
    /// Its folder.
    pub dir: PathBuf,
    /// Bytes on disk.
    pub bytes: u64,
    /// Most bytes on disk.
    pub bytes_max: u64,
    /// How often it made the sources wait.
    pub waits: u64,
    /// Places that were found damaged when it was opened.
    pub damage: u64,
    /// When the oldest alert was read that is not acked; as of the last heartbeat.
    pub oldest_unacked: Option<Timestamp>,
}

/// The held ring, or that of what was folded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldStatus {
    /// Why it takes nothing, if so: then what should be held is sent, and what is folded is only counted.
    pub error: Option<String>,
    /// Bytes on disk.
    pub bytes: u64,
    /// Most bytes on disk.
    pub bytes_max: u64,
    /// Records that it holds.
    pub records: u64,
    /// When the oldest of them was held.
    pub oldest: Option<Timestamp>,
    /// Records that it has evicted, as far as is remembered.
    pub evicted: u64,
    /// Records that are gone and have no tombstone.
    pub lost: u64,
    /// Blocks that it did not take since the process started.
    pub refused_blocks: u64,
}

/// One lane of the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneStatus {
    /// Which.
    pub lane: Lane,
    /// The newest durable block; absent before the first.
    pub last: Option<Seq>,
    /// The newest block that is acked with all before it.
    pub acked: Option<Seq>,
    /// Blocks that are durable here and not acked.
    pub waiting: u64,
}

/// The ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerStatus {
    /// Number of the newest interval that is acked.
    pub acked: u64,
    /// Closed intervals that are not acked.
    pub waiting: u64,
}

/// One source. Counters are since the process started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// Its name.
    pub name: String,
    /// Its file, or the address that it listens at.
    pub path: PathBuf,
    /// Why it is not read, if it is not.
    pub error: Option<String>,
    /// Bytes of the present file that are read and safe in the spool.
    pub offset: u64,
    /// Bytes of the present file that are not read yet.
    #[serde(default)]
    pub behind_bytes: u64,
    /// Since when there are such bytes, if there are.
    #[serde(default)]
    pub behind_since: Option<Timestamp>,
    /// Records read.
    pub records: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Records that are no alerts.
    pub skipped: u64,
    /// Records that could not be parsed; sent as alerts that say so.
    pub malformed: u64,
    /// How many for each reason, under the title that the alert has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub malformed_by_reason: BTreeMap<String, u64>,
    /// Records that say no time, none that can be read, or one too far ahead to be believed; sent as of when they were
    /// read.
    #[serde(default)]
    pub untimed: u64,
    /// Records that were cut to the longest allowed.
    pub over_long: u64,
    /// How often the file was replaced by another.
    pub rotated: u64,
    /// How often the file was cut.
    pub truncated: u64,
    /// Files that were not found again, with what of them was not read.
    #[serde(default)]
    pub lost_files: u64,
    /// Of a source with a pattern: how many of the files that are open now an earlier source with a pattern has open,
    /// too, by links. Each of their records comes twice.
    #[serde(default)]
    pub shared: u64,
    /// One such source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_with: Option<String>,
    /// Of a source with a pattern: its files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<FilesStatus>,
    /// Datagrams that the system dropped because they came faster than they were read.
    #[serde(default)]
    pub dropped: u64,
    /// Connections that were refused because there were too many.
    #[serde(default)]
    pub refused: u64,
    /// Records that the source let go of before they were read.
    #[serde(default)]
    pub gone: u64,
    /// When the last of those that are gone, the lost files, dropped datagrams and refused connections was counted.
    #[serde(default)]
    pub lost_at: Option<Timestamp>,
}

/// The files of a source with a pattern.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesStatus {
    /// Whose places are known.
    pub known: u64,
    /// That are open.
    pub open: u64,
    /// That wait for their turn.
    pub waiting: u64,
    /// That are not read, because more match than places are remembered.
    pub beyond: u64,
    /// Paths that lead to a file which another path or an earlier source has, or are copies.
    pub same: u64,
    /// That are compressed, and so are not read.
    pub compressed: u64,
}

/// What may be bounded of what the agent takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Its share of the processor.
    Cpu,
    /// Its memory.
    Memory,
}

/// What the agent takes of its host, and may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsStatus {
    /// What it used of one processor over the last second, in percent.
    pub cpu_percent: u32,
    /// Most of one processor in percent, if that is bounded.
    pub cpu_percent_max: Option<u32>,
    /// Bytes in memory.
    pub memory_bytes: u64,
    /// Most bytes in memory.
    pub memory_bytes_max: u64,
    /// Most bytes on disk.
    pub disk_bytes_max: u64,
    /// How long bounds have made the sources wait since the start, in milliseconds.
    pub slowed_ms: u64,
    /// The bound that made them wait in the last second.
    pub at: Option<Bound>,
}

/// State of a policy's rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleState {
    /// It does what it says.
    #[default]
    InForce,
    /// More came than it expects, so it suppresses nothing until the rate falls.
    BeyondExpected,
    /// Its end has passed: it does nothing.
    Expired,
}

/// One rule of the policy. Counters are since the process started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleStatus {
    /// Its id.
    pub id: String,
    /// What it is about.
    pub title: String,
    /// Who answers for it.
    pub owner: String,
    /// What it has done with what it matches.
    pub action: String,
    /// From when on it does nothing.
    pub expires_at: Timestamp,
    /// Its state.
    pub state: RuleState,
    /// Alerts that it matched while it was in force.
    pub matched: u64,
    /// Alerts sent because it says so.
    pub sent: u64,
    /// Alerts held.
    pub held: u64,
    /// Alerts sent as samples of what it holds.
    pub audit_samples: u64,
    /// Alerts sent because there were more than it expects.
    pub beyond_expected: u64,
    /// Alerts folded, those that were let through at once included.
    pub folded: u64,
    /// Alerts let through to stand for those that were folded.
    pub let_through: u64,
    /// Alerts not suppressed because they were critical or fatal.
    pub spared: u64,
}

/// Where the policy in force comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicySource {
    /// A file of this host.
    #[default]
    File,
    /// The coordinator's channel, signed.
    Signed,
}

/// A policy, or a trust bundle, that was offered and not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalStatus {
    /// Number of its version; of a trust bundle, its sequence.
    pub version: u64,
    /// Why, by name.
    pub reason: String,
    /// Why, in words.
    pub text: String,
    /// When.
    pub at: Timestamp,
}

/// What came over the coordinator's channel of policies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedPolicyStatus {
    /// How many keys are trusted.
    pub keys: u64,
    /// Number of the version that was taken last; zero where none was.
    pub version: u64,
    /// From when on that is good no more.
    pub expires_at: Option<Timestamp>,
    /// Whether that has come: nothing is held or folded by it.
    pub has_ended: bool,
    /// Whether a file of this host decides in its place.
    pub is_overridden: bool,
    /// What is wrong with the keys, or with what was stored.
    pub error: Option<String>,
    /// How many were refused since the start.
    pub refused: u64,
    /// The last that was refused, unless one was taken since.
    pub last_refusal: Option<RefusalStatus>,
}

/// Whom the agent believes to be a coordinator, where that may be said over the signed channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustStatus {
    /// Sequence of the trust bundle that was taken last; zero where none was, and the configured root counts.
    pub sequence: u64,
    /// How many roots it has.
    pub roots: u64,
    /// Whether the configured root is none of them, and counts for nothing.
    #[serde(default)]
    pub is_root_replaced: bool,
    /// How many stolen intermediates it names.
    pub distrusted: u64,
    /// What is wrong with what was stored. Where the sequence is not zero, that counts all the same, and what is wrong
    /// is that its key is not trusted here.
    pub error: Option<String>,
    /// How many were refused since the start.
    pub refused: u64,
    /// The last that was refused, unless one was taken since.
    pub last_refusal: Option<RefusalStatus>,
}

/// The policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyStatus {
    /// Its file; empty where the configuration names none.
    pub path: PathBuf,
    /// Where the one in force comes from.
    #[serde(default)]
    pub source: PolicySource,
    /// What came over the coordinator's channel, where any may come.
    #[serde(default)]
    pub signed: Option<SignedPolicyStatus>,
    /// Why the file as it is now is not taken, if it is not; the policy before it is then in force.
    pub error: Option<String>,
    /// When the policy in force was loaded; absent where none is in force and everything is sent.
    pub loaded_at: Option<Timestamp>,
    /// Its name.
    pub name: String,
    /// Number of its version.
    pub version: u64,
    /// Who answers for it.
    pub owner: String,
    /// Its rules, in its order.
    pub rules: Vec<RuleStatus>,
    /// Keys that are being folded.
    pub folded_keys: u64,
    /// Alerts that were folded and that none stands for yet.
    pub uncounted: u64,
    /// Alerts let through because there was no room to fold them.
    pub no_room: u64,
    /// Groups of alerts that correlations remember.
    #[serde(default)]
    pub correlated_groups: u64,
    /// Alerts that came too late for a correlation: older than its timespan before the newest of their group.
    #[serde(default)]
    pub correlated_late: u64,
    /// Groups that correlations forgot before their time, because there was no room.
    #[serde(default)]
    pub correlated_forgotten: u64,
}

/// Everything that the agent shows of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Version of this form.
    pub version: u32,
    /// When it was written.
    pub written_at: Timestamp,
    /// When the process started.
    pub started_at: Timestamp,
    /// Number of the process.
    pub pid: u32,
    /// Version of the program.
    pub agent_version: String,
    /// Whose data it sends.
    pub tenant: String,
    /// Which agent it is.
    pub agent: String,
    /// Of its spool, in hex.
    pub epoch: String,
    /// First instant at which its certificate is valid.
    #[serde(default)]
    pub certificate_from: Timestamp,
    /// Last instant at which it is.
    pub certificate_until: Timestamp,
    /// Why the next certificate did not come, if it was asked for.
    #[serde(default)]
    pub renewal_error: Option<String>,
    /// Whom it believes, where it may be told.
    #[serde(default)]
    pub trust: Option<TrustStatus>,
    /// State of the process.
    pub process: ProcessState,
    /// The way to the coordinator.
    pub link: LinkStatus,
    /// The spool.
    pub spool: SpoolStatus,
    /// The held ring, if there is one.
    #[serde(default)]
    pub held: Option<HeldStatus>,
    /// The ring with the originals of what was folded, if there is one.
    #[serde(default)]
    pub folded: Option<HeldStatus>,
    /// Its lanes, the most urgent first.
    pub lanes: Vec<LaneStatus>,
    /// What it takes of its host.
    #[serde(default)]
    pub limits: LimitsStatus,
    /// The ledger.
    #[serde(default)]
    pub ledger: LedgerStatus,
    /// The sources, in the configuration's order.
    pub sources: Vec<SourceStatus>,
    /// The policy, where the configuration names one or the coordinator may send one.
    #[serde(default)]
    pub policy: Option<PolicyStatus>,
    /// What came of looking for the processes behind alerts' connections.
    #[serde(default)]
    pub attribution: attribution::Counts,
}

/// Why there is no snapshot to show.
#[derive(Debug, Error)]
pub enum LoadError {
    /// There is no file.
    #[error("{} is not there: the agent has never run with this configuration", _0.display())]
    Missing(PathBuf),
    /// The file cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file holds something else.
    #[error("{} is no status of this version: {reason}", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// What stays the same while a process runs.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Whose data it sends.
    pub tenant: TenantId,
    /// Which agent it is.
    pub agent: AgentId,
    /// Of its spool.
    pub epoch: Epoch,
    /// First instant at which its certificate is valid.
    pub certificate_from: Timestamp,
    /// Last instant at which it is.
    pub certificate_until: Timestamp,
    /// The spool's folder.
    pub spool_dir: PathBuf,
    /// Most bytes of the spool.
    pub spool_bytes_max: u64,
    /// Places that were found damaged when the spool was opened.
    pub spool_damage: u64,
}

/// The board that the drivers write. Every lock is held for a few assignments only.
#[derive(Debug)]
pub struct Status {
    spool_dir: PathBuf,
    snapshot: Mutex<Snapshot>,
    /// When the pipeline noted its counters last.
    updated_at: Mutex<Instant>,
}

impl Status {
    /// Returns the board of a process that has just started.
    #[must_use]
    pub fn new(facts: Facts) -> Self {
        let now = clock::wall();
        let snapshot = Snapshot {
            version: VERSION,
            written_at: now,
            started_at: now,
            pid: std::process::id(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            tenant: facts.tenant.to_string(),
            agent: facts.agent.to_string(),
            epoch: facts.epoch.to_string(),
            certificate_from: facts.certificate_from,
            certificate_until: facts.certificate_until,
            renewal_error: None,
            trust: None,
            process: ProcessState::default(),
            link: LinkStatus { since: now, down_since: Some(now), ..LinkStatus::default() },
            spool: SpoolStatus {
                dir: facts.spool_dir.clone(),
                bytes_max: facts.spool_bytes_max,
                damage: facts.spool_damage,
                ..SpoolStatus::default()
            },
            held: None,
            folded: None,
            lanes: Vec::new(),
            limits: LimitsStatus::default(),
            ledger: LedgerStatus::default(),
            sources: Vec::new(),
            policy: None,
            attribution: attribution::Counts::default(),
        };
        Self {
            spool_dir: facts.spool_dir,
            snapshot: Mutex::new(snapshot),
            updated_at: Mutex::new(clock::now()),
        }
    }

    /// Returns the spool's folder.
    #[must_use]
    pub fn spool_dir(&self) -> &Path {
        &self.spool_dir
    }

    /// Returns all of it as it is now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.lock();
        snapshot.written_at = clock::wall();
        snapshot.clone()
    }

    /// Notes the process's state.
    pub fn set_process(&self, state: ProcessState) {
        self.lock().process = state;
        if state == ProcessState::Stopped {
            self.set_link(LinkState::Stopped, None);
        }
    }

    /// Notes the next certificate, which has come.
    pub fn set_certificate(&self, from: Timestamp, until: Timestamp) {
        let mut snapshot = self.lock();
        (snapshot.certificate_from, snapshot.certificate_until) = (from, until);
        snapshot.renewal_error = None;
    }

    /// Notes why the next certificate did not come.
    pub fn set_renewal_error(&self, error: String) {
        self.lock().renewal_error = Some(error);
    }

    /// Notes whom the agent believes.
    pub fn set_trust(&self, trust: Option<TrustStatus>) {
        self.lock().trust = trust;
    }

    /// Returns the link's state.
    #[must_use]
    pub fn link_state(&self) -> LinkState {
        self.lock().link.state
    }

    /// Notes the link's state and the address that it is about.
    pub fn set_link(&self, state: LinkState, address: Option<&str>) {
        let link = &mut self.lock().link;
        if link.state != state {
            link.state = state;
            link.since = clock::wall();
        }
        if state == LinkState::Connected {
            link.down_since = None;
        } else {
            link.down_since.get_or_insert_with(clock::wall);
        }
        if let Some(address) = address {
            link.address = Some(address.to_owned());
        }
        link.coordinator = None;
        link.udp_error = None;
        link.retry_at = None;
    }

    /// Notes that the link is up; over TCP, if UDP failed.
    pub fn set_connected(&self, address: &str, coordinator: &str, udp_error: Option<&str>) {
        self.set_link(LinkState::Connected, Some(address));
        let link = &mut self.lock().link;
        link.coordinator = Some(coordinator.to_owned());
        link.udp_error = udp_error.map(str::to_owned);
    }

    /// Notes what went wrong with the link.
    pub fn set_link_error(&self, error: &str) {
        let link = &mut self.lock().link;
        link.last_error = Some(error.to_owned());
        link.last_error_at = Some(clock::wall());
    }

    /// Notes when the link is dialled again.
    pub fn set_retry_at(&self, at: Timestamp) {
        self.lock().link.retry_at = Some(at);
    }

    /// Notes the age of what is not acked.
    pub fn set_oldest_unacked(&self, at: Option<Timestamp>) {
        self.lock().spool.oldest_unacked = at;
    }

    /// Lets the pipeline note what it counted.
    pub fn update(&self, update: impl FnOnce(&mut Snapshot)) {
        update(&mut self.lock());
        *self.updated_at.lock().unwrap_or_else(PoisonError::into_inner) = clock::now();
    }

    /// Returns when the pipeline noted its counters last: a while ago, it hangs.
    #[must_use]
    pub fn updated_at(&self) -> Instant {
        *self.updated_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns in one line what the agent does now, for the service manager.
    #[must_use]
    pub fn line(&self) -> String {
        self.snapshot().line()
    }

    /// Returns the counters that a heartbeat carries, without the age of what is not acked.
    #[must_use]
    pub fn stats(&self) -> AgentStats {
        let snapshot = self.lock();
        let sum = |of: fn(&SourceStatus) -> u64| snapshot.sources.iter().map(of).sum();
        AgentStats {
            records_read: sum(|source| source.records),
            bytes_read: sum(|source| source.bytes),
            malformed: sum(|source| source.malformed),
            over_long: sum(|source| source.over_long),
            spool_full: snapshot.spool.waits,
            spool_bytes: snapshot.spool.bytes,
            oldest_unacked: None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Snapshot> {
        // Every change is a few plain assignments: a panic between them leaves nothing broken.
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Snapshot {
    /// Writes the file at `path`, as a whole.
    ///
    /// # Errors
    /// Whatever the system reports; the file is then as it was.
    pub fn store(&self, path: &Path) -> io::Result<()> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let bytes = serde_json::to_vec(self).map_err(io::Error::other)?;
        fs::write(&beside, bytes)?;
        fs::rename(&beside, path)
    }

    /// Loads the file at `path`.
    ///
    /// # Errors
    /// Each [`LoadError`].
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        use io::Read;
        let mut bytes = Vec::new();
        let read =
            fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(LoadError::Missing(path.to_owned()));
            }
            Err(error) => return Err(LoadError::Read { path: path.to_owned(), error }),
        }
        let other = |reason| LoadError::Other { path: path.to_owned(), reason };
        let snapshot: Self =
            serde_json::from_slice(&bytes).map_err(|error| other(error.to_string()))?;
        if snapshot.version == VERSION {
            Ok(snapshot)
        } else {
            Err(other(format!("it has version {}, known is {VERSION}", snapshot.version)))
        }
    }

    /// Returns whether a process that lives would have written a newer one by `now`.
    #[must_use]
    pub fn is_stale(&self, now: Timestamp) -> bool {
        now.since(self.written_at) >= STALE_AFTER
    }
}

#[cfg(test)]
mod tests;
