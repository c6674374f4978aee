//! An agent: a detector's file, the spool on a simulated disk, and the session's sending half.
//!
//! The drivers do what the agent's pipeline and uplink do, and no more: read behind the checkpoint, make blocks, store
//! both in one commit; carry frames and blocks between spool and session.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use agent::{
    ledger::{Change, Fate, Found, Ledger, LedgerPolicy, PAGE_PREFIX},
    spool::{
        AppendError, Commit, LostReason, Opened, ReadBlock, Spool, SpoolConfig, SpoolReader,
        disk::Disk, disk::SimDisk,
    },
};
use bytes::Bytes;
use shared::{
    alert::{Alert, Field, Severity},
    backoff::Backoff,
    block::{Block, BlockBuilder},
    context::HostContext,
    ids::{AgentId, BootId, Lane, Seq, StreamId, TenantId},
    ledger::Interval,
    limits::{BACKOFF_MAX, BACKOFF_MIN},
    session::{Sender, SenderConfig, SenderEvent, Transmit},
    time::Timestamp,
    wire::{AgentStats, Gap, GapReason, Hello, LaneHead, WIRE_VERSION},
};

use crate::{network::ConnectionId, policies::Taken, random::Random};

/// Name of the one source in the spool.
const SOURCE: &str = "detector";
/// How the ledger is kept: a spool of a few kilobytes has no room for a minute each.
const LEDGER: LedgerPolicy =
    LedgerPolicy { interval: Duration::from_secs(60), waiting_bytes_max: 2_000 };
/// The rules that the detector has.
const TITLES: [&str; 4] = ["port scan", "brute force", "beacon", "policy"];

/// A record of the detector's file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) lane: Lane,
    severity: Severity,
    title: &'static str,
    host: u64,
}

/// What a pump of the session gave.
#[derive(Debug, Default)]
pub(crate) struct Pumped {
    pub(crate) transmits: Vec<Transmit>,
    /// What the coordinator says is durable.
    pub(crate) acked: Vec<(Lane, Seq)>,
    /// Blocks that were sent.
    pub(crate) sent: Vec<(Lane, Seq, Bytes)>,
    /// Why the session is over.
    pub(crate) ended: Option<String>,
}

/// A commit that is not durable yet.
#[derive(Debug)]
struct Waiting {
    commit: Commit,
    checkpoint: usize,
    is_appended: bool,
    /// Whether other intervals of the ledger may be sent once it is durable.
    has_moved: bool,
}

/// A session over one connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) connection: ConnectionId,
    pub(crate) sender: Sender,
}

#[derive(Debug)]
pub(crate) struct AgentSide {
    pub(crate) index: usize,
    pub(crate) tenant: TenantId,
    pub(crate) id: AgentId,
    pub(crate) disk: SimDisk,
    /// None while the process is down.
    pub(crate) spool: Option<Spool>,
    pub(crate) session: Option<Session>,
    pub(crate) backoff: Backoff,
    /// How far the wall clock is ahead of the virtual one, in milliseconds.
    pub(crate) wall_ahead_ms: i64,
    /// When the session's timer is set to go off, in virtual milliseconds.
    pub(crate) timer_ms: Option<u64>,
    pub(crate) boot: u64,
    pub(crate) file: Vec<Record>,
    /// Records that were read, durably or not.
    read: usize,
    /// Records that were durably read, at least.
    pub(crate) checkpoint: usize,
    waiting: Option<Waiting>,
    /// None while the process is down.
    ledger: Option<Ledger>,
    /// What of the ledger is durable and may be sent.
    offered: Vec<Interval>,
    has_moved: bool,
    ledger_acked: u64,
    /// Whether records were counted since the last interval was closed.
    has_counts: bool,
    /// Whether the ledger is closed as soon as all is read, as by an agent that is told to stop.
    pub(crate) is_last: bool,
    pub(crate) config: SpoolConfig,
    context: HostContext,
    /// The policy that it took last, as it is on disk.
    pub(crate) policy: Taken,
    /// As the newest connection's welcome says.
    window_blocks: usize,
}

impl AgentSide {
    pub(crate) fn new(index: usize, random: &mut Random) -> Self {
        let tenant = if index == 0 { "acme" } else { "globex" };
        let mut bytes = [7; AgentId::LEN];
        bytes[0] = u8::try_from(index).expect("there are few agents");
        let segments = random.between(4, 8);
        Self {
            index,
            tenant: tenant.parse().expect("it is a tenant's name"),
            id: AgentId::from_bytes(bytes),
            disk: SimDisk::new(random.next()),
            spool: None,
            session: None,
            backoff: Backoff::new(BACKOFF_MIN, BACKOFF_MAX),
            wall_ahead_ms: 0,
            timer_ms: None,
            boot: 0,
            file: Vec::new(),
            read: 0,
            checkpoint: 0,
            waiting: None,
            ledger: None,
            offered: Vec::new(),
            has_moved: false,
            ledger_acked: 0,
            has_counts: false,
            is_last: false,
            config: SpoolConfig { segment_bytes: 4 << 10, total_bytes_max: segments * (4 << 10) },
            context: HostContext { hostname: format!("sensor-{index}"), ..HostContext::default() },
            policy: Taken::default(),
            window_blocks: 0,
        }
    }

    /// The detector writes records.
    pub(crate) fn write_records(&mut self, count: u64, random: &mut Random) {
        for _ in 0..count {
            let lane = match random.below(6) {
                0 => Lane::Urgent,
                1..=3 => Lane::Normal,
                _ => Lane::Bulk,
            };
            let id = u8::try_from(random.below(7)).expect("below seven");
            let title = random.pick(&TITLES).copied().unwrap_or_default();
            let record =
                Record { lane, severity: Severity::from_id(id), title, host: random.below(3) };
            self.file.push(record);
        }
    }

    /// Starts the process; returns whether it came up. A disk that fails lets it try again later.
    pub(crate) fn start(&mut self, wall: Timestamp, random: &mut Random) -> bool {
        self.boot += 1;
        let opened = Spool::open(Arc::new(self.disk.clone()), self.config, random.next());
        let Ok((spool, opened)) = opened else { return false };
        assert!(!opened.created || self.checkpoint == 0, "L3: the spool is gone");
        // A segment whose beginning alone was not finished looks damaged, but without a loss.
        let is_loss = opened.damage.iter().any(|d| !d.lost.is_empty() || d.offset > 0);
        assert!(!is_loss && !opened.is_stale, "L3: a crash is no damage: {opened:?}");
        let checkpoint = opened.checkpoints.get(SOURCE).map_or(0, |value| {
            let value: [u8; 8] = value.as_slice().try_into().expect("L3: a checkpoint has 8 bytes");
            usize::try_from(u64::from_le_bytes(value)).expect("files are short")
        });
        assert!(checkpoint >= self.checkpoint, "L3: a durable checkpoint was lost");
        (self.read, self.checkpoint) = (checkpoint, checkpoint);
        self.ledger = Some(restore(&spool, &opened, wall));
        (self.offered, self.has_moved, self.ledger_acked) = (Vec::new(), false, 0);
        self.has_counts = false;
        self.spool = Some(spool);
        true
    }

    /// Ends the process at once; with `power`, the machine loses power, too.
    pub(crate) fn crash(&mut self, power: bool) -> Option<ConnectionId> {
        self.spool = None;
        self.ledger = None;
        self.waiting = None;
        self.timer_ms = None;
        let session = self.session.take();
        if power {
            self.disk.crash();
        }
        session.map(|session| session.connection)
    }

    /// Gives the disk back its room, and lets it fail no more.
    pub(crate) fn heal_disk(&self) {
        self.disk.set_capacity(None);
        self.disk.fail_syncs(0);
        self.disk.fail_dir_syncs(0);
        self.disk.fail_truncates(0);
        self.disk.fail_deletes(0);
        self.disk.fail_reads(0);
    }

    /// Reads some records behind the checkpoint, and stores them with the checkpoint in one commit. Returns whether
    /// blocks became durable.
    pub(crate) fn work(&mut self, wall: Timestamp, random: &mut Random) -> bool {
        if self.spool.is_none() {
            return false;
        }
        if self.waiting.is_none() {
            self.waiting = self.read_some(wall, random).or_else(|| self.keep_ledger(wall));
        }
        let stored = self.store();
        let spool = self.spool.as_mut().expect("it runs");
        if random.one_in(4) {
            // What could not be deleted is tried again later.
            drop(spool.collect());
        }
        let usage = spool.usage();
        // Opening adds one snapshot beside what it lets be cut off; while the disk fails, both stay.
        let most = usage.bytes_max + self.config.segment_bytes / 2;
        assert!(usage.bytes <= most, "L7: the spool is over its bound: {usage:?}");
        let files = self.disk.list().expect("listing does not fail");
        let on_disk: u64 = files.iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(on_disk, usage.bytes, "L7: the spool counts what is on disk");
        stored
    }

    fn read_some(&mut self, wall: Timestamp, random: &mut Random) -> Option<Waiting> {
        let unread = &self.file[self.read..];
        if unread.is_empty() {
            return None;
        }
        let count = usize::try_from(random.between(1, 12)).expect("it is small").min(unread.len());
        let block_max = usize::try_from(random.between(1, 6)).expect("it is small");
        let mut builders: [BlockBuilder; Lane::COUNT] =
            std::array::from_fn(|_| BlockBuilder::new());
        let mut blocks = Vec::new();
        for number in self.read..self.read + count {
            let record = self.file[number];
            let ledger = self.ledger.as_mut().expect("it runs");
            ledger.read(0).count(Fate::Sent(record.lane));
            self.has_counts = true;
            let builder = &mut builders[record.lane.index()];
            let host = format!("host-{}", record.host);
            let mut alert = Alert::default();
            (alert.observed_at, alert.time) = (wall, Some(wall));
            alert.severity = record.severity;
            alert.set(Field::Product, "detector");
            alert.set(Field::Title, record.title);
            alert.set(Field::DeviceHostname, &host);
            let text = self.text(record.lane, number);
            builder.push(&alert, text.as_bytes()).expect("small blocks are not full");
            if builder.len() == block_max {
                blocks.push((record.lane, builder.finish(1)));
            }
        }
        for (lane, mut builder) in Lane::ALL.into_iter().zip(builders) {
            if !builder.is_empty() {
                blocks.push((lane, builder.finish(1)));
            }
        }
        self.read += count;
        let checkpoint = self.read;
        let value = u64::try_from(checkpoint).expect("files are short").to_le_bytes().to_vec();
        let checkpoints = vec![(SOURCE.to_owned(), value)];
        let commit = Commit { blocks, checkpoints, ..Commit::default() };
        Some(self.account(commit, checkpoint, wall))
    }

    /// Stores what changed in the ledger although nothing was read: an interval that is over, or an ack.
    fn keep_ledger(&mut self, wall: Timestamp) -> Option<Waiting> {
        let ledger = self.ledger.as_ref()?;
        let is_due =
            ledger.is_due(wall) || ledger.is_changed() || (self.is_last && self.has_counts);
        let has_acks = self.ledger_acked > ledger.acked();
        (is_due || has_acks).then(|| self.account(Commit::default(), self.checkpoint, wall))
    }

    /// Adds to a commit what it stores of the ledger.
    fn account(&mut self, commit: Commit, checkpoint: usize, wall: Timestamp) -> Waiting {
        let ledger = self.ledger.as_mut().expect("it runs");
        ledger.handle_acked(self.ledger_acked);
        let mut newest = self.spool.as_ref().expect("it runs").newest();
        for (lane, _) in &commit.blocks {
            newest[lane.index()] = Some(Seq::after(newest[lane.index()]));
        }
        let is_read = self.read == self.file.len();
        if ledger.is_due(wall) || (self.is_last && is_read && self.has_counts) {
            ledger.close(wall, newest);
            self.has_counts = false;
        }
        let Change { state, pages, gone, has_moved } = ledger.take_change(wall, newest);
        let checkpoints = [commit.checkpoints, pages].concat();
        let commit = Commit { checkpoints, forgotten: gone, ledger: state, ..commit };
        Waiting { commit, checkpoint, is_appended: false, has_moved }
    }

    /// Appends and syncs what waits; what is refused waits on.
    fn store(&mut self) -> bool {
        let Some(waiting) = &mut self.waiting else { return false };
        let spool = self.spool.as_mut().expect("only a process that runs stores");
        if !waiting.is_appended {
            match spool.append(&waiting.commit) {
                Ok(_) => waiting.is_appended = true,
                Err(AppendError::TooLarge { .. }) => panic!("L7: small commits fit"),
                Err(AppendError::Full { .. }) => return false,
                Err(AppendError::DiskFull | AppendError::Unsynced { .. }) => {}
            }
        }
        if spool.sync().is_err() || !waiting.is_appended {
            return false;
        }
        self.checkpoint = waiting.checkpoint;
        if waiting.has_moved {
            self.offered = self.ledger.as_ref().expect("it runs").window();
            self.has_moved = true;
        }
        self.waiting = None;
        true
    }

    /// Begins a session over a fresh connection.
    pub(crate) fn connected(&mut self, connection: ConnectionId, now: Instant) {
        let spool = self.spool.as_ref().expect("only a process that runs dials");
        let hello = Hello {
            version: WIRE_VERSION,
            epoch: spool.epoch(),
            boot: BootId(self.boot),
            heads: heads(&spool.reader()),
            agent_version: "simulated".to_owned(),
            context: self.context.version(),
        };
        let mut sender = Sender::new(SenderConfig::default(), hello, now);
        sender.handle_context(self.context.clone());
        sender.handle_ledger(self.offered.clone(), now);
        self.session = Some(Session { connection, sender });
    }

    /// Changes what the host is.
    pub(crate) fn change_context(&mut self, random: &mut Random) {
        self.context.kernel = format!("6.{}", random.below(3));
        if let Some(session) = &mut self.session {
            session.sender.handle_context(self.context.clone());
        }
    }

    /// Carries out everything that the session says, until it says nothing more.
    pub(crate) fn pump(&mut self, now: Instant, wall: Timestamp) -> Pumped {
        let mut pumped = Pumped::default();
        let (Some(session), Some(spool)) = (&mut self.session, &self.spool) else { return pumped };
        let (sender, reader) = (&mut session.sender, spool.reader());
        sender.handle_heads(heads(&reader));
        if std::mem::take(&mut self.has_moved) {
            sender.handle_ledger(self.offered.clone(), now);
        }
        loop {
            while let Some(event) = sender.poll_event() {
                match event {
                    SenderEvent::Welcomed { welcome, checks } => {
                        compare(&reader, &welcome.committed, &checks);
                        self.window_blocks = welcome.window_blocks as usize;
                        self.backoff.reset();
                        sender.handle_policy_ack(self.policy.standing());
                    }
                    SenderEvent::Policy(offer) => {
                        let ack = self.policy.take(&offer, self.tenant, wall);
                        sender.handle_policy_ack(ack);
                    }
                    SenderEvent::Trust(offer) => panic!("nobody pushed a bundle: {offer:?}"),
                    SenderEvent::Acked { lane, up_to } => {
                        reader
                            .advance(lane, up_to)
                            .expect("L1: an ack is of a block that was made");
                        pumped.acked.push((lane, up_to));
                    }
                    SenderEvent::LedgerAcked { up_to } => self.ledger_acked = up_to,
                    SenderEvent::Recall(_)
                    | SenderEvent::Renewed(_)
                    | SenderEvent::RenewNow
                    | SenderEvent::Quarantined(_) => unreachable!("nobody asks"),
                    SenderEvent::HeartbeatDue => {
                        sender.handle_heartbeat(wall, AgentStats::default());
                    }
                    SenderEvent::Goodbye(reason) => pumped.ended = Some(format!("{reason:?}")),
                }
            }
            while let Some(transmit) = sender.poll_transmit() {
                pumped.transmits.push(transmit);
            }
            let wanted =
                Lane::ALL.into_iter().find_map(|lane| Some((lane, sender.poll_want(lane)?)));
            let Some((lane, seq)) = wanted else { break };
            match reader.read(lane, seq) {
                Ok(ReadBlock::Block(block)) => {
                    pumped.sent.push((lane, seq, block.clone()));
                    sender.handle_block(lane, seq, block, now);
                }
                Ok(ReadBlock::Lost { last, reason: LostReason::Skipped, .. }) => {
                    let reason = GapReason::Skipped;
                    sender.handle_gap(lane, Gap { first: seq, last, reason }, now);
                }
                Ok(lost) => panic!("L1: a durable block of the {lane} lane is lost: {lost:?}"),
                Err(error) => {
                    pumped.ended = Some(error.to_string());
                    break;
                }
            }
        }
        for lane in Lane::ALL {
            let in_flight = sender.in_flight(lane);
            assert!(in_flight <= self.window_blocks, "L7: {in_flight} blocks in flight");
        }
        pumped
    }

    /// Returns the stream of `lane` in the spool that is open.
    pub(crate) fn stream(&self, lane: Lane) -> Option<StreamId> {
        let epoch = self.spool.as_ref()?.epoch();
        Some(StreamId { agent: self.id, epoch, lane })
    }

    /// Returns the agent's wall clock.
    pub(crate) fn wall(&self, wall_ms: u64) -> Timestamp {
        Timestamp::from_ms(wall_ms.saturating_add_signed(self.wall_ahead_ms))
    }

    /// Returns the texts of the records of `lane` that the checkpoint covers, in the file's order.
    pub(crate) fn expected(&self, lane: Lane) -> Vec<String> {
        let covered = self.file[..self.checkpoint].iter().enumerate();
        covered.filter(|(_, r)| r.lane == lane).map(|(number, _)| self.text(lane, number)).collect()
    }

    /// Returns whether everything that the detector wrote is read, stored, and acked.
    pub(crate) fn is_done(&self) -> bool {
        let is_acked = |head: &LaneHead| head.last.is_none_or(|last| head.first > last);
        let is_kept = |ledger: &Ledger| ledger.waiting() == 0 && !ledger.is_changed();
        self.checkpoint == self.file.len()
            && !self.has_counts
            && self.waiting.is_none()
            && self.ledger.as_ref().is_some_and(is_kept)
            && self.spool.as_ref().is_some_and(|spool| heads(&spool.reader()).iter().all(is_acked))
    }

    /// Says how far the agent is, for a failure's message.
    pub(crate) fn progress(&self) -> String {
        let heads = self.spool.as_ref().map(|spool| heads(&spool.reader()));
        let connection = self.session.as_ref().map(|session| session.connection);
        let (index, checkpoint, written) = (self.index, self.checkpoint, self.file.len());
        format!(
            "agent {index}: durable {checkpoint} of {written} records, {connection:?}, {heads:?}"
        )
    }

    fn text(&self, lane: Lane, number: usize) -> String {
        format!("agent={} lane={lane} number={number}", self.index)
    }
}

/// Returns the texts of the records in a block.
pub(crate) fn texts(block: &Bytes) -> Vec<String> {
    let block = Block::parse(block.clone()).expect("L2: a stored block is whole");
    let records = block.records().expect("L2: a stored block's records are whole");
    let text = |record: Bytes| String::from_utf8(record.to_vec()).expect("records are text");
    records.into_iter().map(text).collect()
}

/// Takes the ledger up where the spool says.
fn restore(spool: &Spool, opened: &Opened, wall: Timestamp) -> Ledger {
    let pages = opened.checkpoints.iter().filter(|(name, _)| name.starts_with(PAGE_PREFIX));
    let pages = pages.map(|(name, page)| (name.as_str(), page.as_slice())).collect();
    let mut newest = spool.newest();
    for (lane, first, _) in &opened.skipped {
        newest[lane.index()] = Seq::new(first.as_u64() - 1);
    }
    let reader = spool.reader();
    let is_skipped = |lane, first, last| reader.is_skipped(lane, first, last);
    let found = Found { state: &opened.ledger, pages, newest, is_skipped: &is_skipped };
    let restored = Ledger::restore(LEDGER, vec![SOURCE.to_owned()], &found, wall);
    restored.expect("L10: it was written by this version")
}

pub(crate) fn heads(reader: &SpoolReader) -> [LaneHead; Lane::COUNT] {
    reader.heads().map(|head| LaneHead { first: head.first, last: head.last })
}

/// Checks that what the coordinator has under a number was made here.
fn compare(
    reader: &SpoolReader,
    committed: &[Option<Seq>; Lane::COUNT],
    checks: &[Option<u32>; Lane::COUNT],
) {
    for (lane, (committed, check)) in Lane::ALL.into_iter().zip(committed.iter().zip(checks)) {
        let (Some(committed), Some(check)) = (*committed, *check) else { continue };
        if let Ok(ReadBlock::Block(block)) = reader.read(lane, committed) {
            let own = Block::parse(block).expect("a spool's block is whole");
            assert_eq!(own.checksum(), check, "what is durable there was made here");
        }
    }
}
