//! One source within the pipeline: its input, what makes alerts of its lines, and what was counted.

use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use shared::{
    alert::{Alert, Handling},
    context::ContextVersion,
    ids::Lane,
    ledger::{DropReason, LossReason},
    time::Timestamp,
};

use super::{
    input::{self, Stored},
    rings::Rings,
    sleep::Watch,
};
use crate::{
    attribution::Attributor,
    blocks::{Blocks, Flow},
    config::SourceConfig,
    held::HeldFlow,
    ledger::{Fate, Ledger, Tally},
    limits::HEADER_BYTES_MAX,
    normalise::{LanePolicy, Normaliser, Outcome, lane_of},
    prefilter::{Prefilter, Read, Verdict},
    source::{
        Batch, CheckpointError, Counts, FileId, Intake, Opening, Pattern, ReadBuffer, Status, Tail,
        Wake,
    },
    status::SourceStatus,
};

/// What the pipeline does after a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// Take the next one.
    GoOn,
    /// Commit before the next one.
    CommitFirst,
}

impl From<HeldFlow> for Pushed {
    fn from(flow: HeldFlow) -> Self {
        match flow {
            HeldFlow::Continue => Self::GoOn,
            HeldFlow::Flush => Self::CommitFirst,
        }
    }
}

/// When a record was read, and under which context of the host.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) observed_at: Timestamp,
    pub(super) now: Instant,
    pub(super) context: ContextVersion,
    /// Whether it is no record, but what stands where one should.
    pub(super) is_stray: bool,
}

/// What alerts go through, and into.
pub(super) struct Sinks<'p> {
    pub(super) prefilter: Option<&'p mut Prefilter>,
    /// Where what a rule holds or folds is kept.
    pub(super) rings: Option<&'p mut Rings>,
    pub(super) lanes: &'p LanePolicy,
    pub(super) blocks: &'p mut Blocks,
    /// Counts what becomes of the record.
    pub(super) tally: Tally<'p>,
    /// Says which process an alert's connection belongs to.
    pub(super) attributor: &'p mut Attributor,
}

/// Returns whether the source at `index` leaves its file to another that has the same by another path, so that each
/// record is read once: whoever opened it first has it, until the agent starts anew.
pub(super) fn is_left(feeds: &mut [Feed], index: usize) -> bool {
    let own = feeds[index].file_id();
    let is_same = |other: &&Feed| !other.is_left && own.is_some() && other.file_id() == own;
    let others = feeds.iter().enumerate().filter(|(at, _)| *at != index);
    let other = others.map(|(_, feed)| feed).find(is_same).map(|feed| feed.name().to_owned());
    if let (false, Some(other)) = (feeds[index].is_left, other) {
        feeds[index].leave_to(&other);
    }
    feeds[index].is_left
}

/// One source.
#[derive(Debug)]
pub(super) struct Feed {
    name: String,
    input: Box<dyn Intake>,
    normaliser: Normaliser,
    /// The file whose header lines the normaliser has, and its generation.
    header_of: Option<(FileId, u64)>,
    skipped: u64,
    /// By the reason's title.
    malformed: BTreeMap<&'static str, u64>,
    untimed: u64,
    /// What of the input's losses the ledger has.
    counted: Counts,
    shown: Status,
    /// What was shown as lost, and when that rose last.
    lost: (u64, Option<Timestamp>),
    /// Since when there was always something left to read, as far as was looked.
    behind_since: Option<Timestamp>,
    /// Whether its file is read by another source.
    is_left: bool,
}

impl Feed {
    /// Opens a source; see [`input::open`].
    ///
    /// # Errors
    /// Fails on something stored by a later version. What cannot be read yet is no error.
    pub(super) fn open(
        config: &SourceConfig,
        stored: &Stored,
        others: &[Pattern],
        opening: Opening,
    ) -> Result<Self, CheckpointError> {
        let input = input::open(config, stored, others, opening)?;
        let shown = input.status().clone();
        let (source, place) = (&config.name, &config.input);
        tracing::info!(source, %place, status = %shown, "source");
        Ok(Self {
            name: config.name.clone(),
            input,
            normaliser: Normaliser::new(config.kind.clone(), config.name.clone())
                .with_utc_offset(config.utc_offset),
            header_of: None,
            skipped: 0,
            malformed: BTreeMap::new(),
            untimed: 0,
            counted: Counts::default(),
            shown,
            lost: (0, None),
            behind_since: None,
            is_left: false,
        })
    }

    /// Leaves the file to `other`. The source is shown as one that cannot read, and the others go on.
    fn leave_to(&mut self, other: &str) {
        let why =
            format!("its file is the one of source {other}, which reads it: remove one of them");
        tracing::error!(source = self.name, why, "source");
        self.shown = Status::Unreadable(why);
        self.is_left = true;
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns which file the source has for itself, if one is open.
    fn file_id(&self) -> Option<FileId> {
        self.input.sole_tail().and_then(Tail::file_id)
    }

    /// Returns whether there is something to read.
    pub(super) fn poll(&mut self, now: Instant) -> bool {
        if self.is_left {
            return false;
        }
        let is_ready = self.input.poll(now);
        if *self.input.status() != self.shown {
            self.shown = self.input.status().clone();
            let (source, status) = (&self.name, &self.shown);
            if matches!(status, Status::Unreadable(_)) {
                tracing::warn!(source, %status, "source");
            } else {
                tracing::info!(source, %status, "source");
            }
        }
        is_ready
    }

    /// Takes no more in; see [`Intake::end`].
    pub(super) fn end(&mut self) -> bool {
        !self.is_left && self.input.end()
    }

    /// Adds what wakes the pipeline when there is something to read.
    pub(super) fn watch<'f>(&'f self, watch: &mut Watch<'f>) {
        if self.is_left {
            return;
        }
        self.input.watch(&mut |wake| match wake {
            Wake::File(path) => watch.file(path),
            #[cfg(unix)]
            Wake::Readable(fd) => watch.readable(fd),
        });
    }

    /// Reads records; nothing if there is no reading from the input.
    pub(super) fn read<'b>(
        &mut self,
        now: Instant,
        buffer: &'b mut ReadBuffer,
        bytes_max: usize,
    ) -> Option<Batch<'b>> {
        buffer.expect(input::record_end(self.normaliser.kind()));
        match self.input.read_batch(now, buffer, bytes_max) {
            Ok(batch) => {
                self.learn_header();
                Some(batch)
            }
            Err(error) => {
                tracing::debug!(source = self.name, %error, "source");
                None
            }
        }
    }

    /// Has the normaliser know the header of the file that is read, wherever reading began in it.
    fn learn_header(&mut self) {
        let Some(tail) = self.input.tail() else { return };
        let file = tail.file_id().map(|id| (id, tail.generation()));
        if !self.normaliser.has_header() || self.header_of == file {
            return;
        }
        match tail.head(HEADER_BYTES_MAX) {
            Ok(head) => {
                self.normaliser.begin_file(&head);
                self.header_of = file;
            }
            Err(error) => {
                tracing::debug!(source = self.name, %error, "source");
                self.normaliser.begin_file(&[]); // another file's header is none of this one's
            }
        }
    }

    /// Makes an alert of a line, asks the policy about it, and puts it into its lane's block.
    pub(super) fn push(&mut self, record: &[u8], reading: Reading, sinks: Sinks<'_>) -> Pushed {
        let Sinks { mut prefilter, rings, lanes, blocks, mut tally, attributor } = sinks;
        let Reading { observed_at: at, now, context, is_stray } = reading;
        if self.normaliser.take_header(record) {
            self.skipped += 1;
            tally.count(Fate::Skipped);
            return Pushed::GoOn;
        }
        let outcome = self.normaliser.normalise(record, at).out_of_step_if(is_stray);
        let is_malformed = matches!(outcome, Outcome::Malformed { .. });
        let mut alert: Alert<'_> = match outcome {
            Outcome::Alert { alert, .. } => {
                self.untimed += u64::from(alert.time.is_none());
                alert
            }
            Outcome::Malformed { alert, why } => {
                *self.malformed.entry(why.title()).or_default() += 1;
                alert
            }
            Outcome::Skip(_) => {
                self.skipped += 1;
                tally.count(Fate::Skipped);
                return Pushed::GoOn;
            }
        };
        alert.context = context;
        let verdict = match prefilter.as_deref_mut() {
            Some(prefilter) if !is_malformed => {
                let read = Read { alert: &alert, record, reader: &self.normaliser };
                prefilter.judge(read, now, at)
            }
            // Rules judge what a record says; one that was not understood is sent.
            Some(_) | None => Verdict::PASS,
        };
        let prefilter = prefilter.as_deref();
        let id = |rule: u32| prefilter.map_or("", |prefilter| prefilter.rule_id(rule));
        if let Some(prefilter) = prefilter {
            prefilter.mark(&verdict, &mut alert);
        }
        // What was sent here just now happened just now; a file may hold anything.
        let happened_at = alert.time.or(self.input.is_live().then_some(at));
        match verdict {
            Verdict::Send { handling, .. } => {
                let lane = lane_for(&alert, lanes);
                tally.count(fate(handling, is_malformed, lane));
                attributor.attribute(&mut alert, happened_at, now);
                put(&alert, record, now, lane, blocks)
            }
            Verdict::Fold { rule } => {
                tally.count(Fate::Folded(id(rule)));
                rings
                    .map_or(Pushed::GoOn, |rings| rings.keep_folded(&alert, record, now, at).into())
            }
            Verdict::Hold { rule } => {
                match rings.map(|rings| rings.hold(&alert, record, now, at)) {
                    Some(Ok(flow)) => {
                        tally.count(Fate::Held(id(rule)));
                        flow.into()
                    }
                    // What cannot be held is sent.
                    Some(Err(_)) | None => {
                        let lane = lane_for(&alert, lanes);
                        tally.count(Fate::Sent(lane));
                        attributor.attribute(&mut alert, happened_at, now);
                        put(&alert, record, now, lane, blocks)
                    }
                }
            }
        }
    }

    /// Tells the ledger, which knows the source by `index`, what was lost since it was told last; `is_slowed` says that
    /// the agent's bounds made its sources wait meanwhile.
    pub(super) fn count_losses(&mut self, index: usize, ledger: &mut Ledger, is_slowed: bool) {
        let now = self.input.counts();
        let before = std::mem::replace(&mut self.counted, now);
        let dropped = now.dropped.saturating_sub(before.dropped);
        let reason = if is_slowed { DropReason::Bound } else { DropReason::SocketBuffer };
        ledger.dropped(index, reason, dropped);
        let gone = now.gone.saturating_sub(before.gone);
        ledger.dropped(index, DropReason::SourceLost, gone);
        let lost_files = now.lost_files.saturating_sub(before.lost_files);
        ledger.lost(index, LossReason::LostFile, lost_files);
        let unread = now.unread.saturating_sub(before.unread);
        ledger.lost(index, LossReason::ReadError, unread);
    }

    /// Returns whether there is another place to be stored than the last.
    pub(super) fn has_changed(&self) -> bool {
        !self.is_left && self.input.has_changed()
    }

    /// Returns whether so much changed that it is to be stored before more is read.
    pub(super) fn needs_commit(&self) -> bool {
        self.input.is_full()
    }

    /// Returns whether a sender waits until what it sent is durable.
    pub(super) fn awaits_commit(&self) -> bool {
        self.input.awaits_commit()
    }

    /// Has senders know that nothing is taken now, where there is a way to.
    pub(super) fn refuse(&mut self, now: Instant) {
        self.input.refuse(now);
    }

    /// Returns what is to be stored: up to `end` within the last batch, or behind all that was read.
    pub(super) fn changed(&mut self, end: Option<u64>) -> Vec<(String, Vec<u8>)> {
        if self.is_left {
            return Vec::new();
        }
        input::changed(self.input.as_mut(), &self.name, end)
    }

    /// Notes that a commit is durable which has what was to be stored, and all that was pushed.
    pub(super) fn stored(&mut self) {
        self.input.stored();
    }

    /// Returns which of its files are open, if it may have several.
    pub(super) fn open_files(&self) -> Vec<FileId> {
        self.input.open_files()
    }

    /// Returns what is shown of the source at `now`.
    pub(super) fn status(&mut self, now: Timestamp) -> SourceStatus {
        let is_reading = self.shown == Status::Reading;
        let reasons = self.malformed.iter().map(|(why, count)| ((*why).to_owned(), *count));
        let status = SourceStatus {
            name: self.name.clone(),
            error: (!is_reading).then(|| self.shown.to_string()),
            skipped: self.skipped,
            malformed: self.malformed.values().sum(),
            malformed_by_reason: reasons.collect(),
            untimed: self.untimed,
            ..SourceStatus::default()
        };
        let mut status = input::show(self.input.as_ref(), status);
        if self.is_left {
            status.behind_bytes = 0;
        }
        self.behind_since = (status.behind_bytes > 0).then(|| self.behind_since.unwrap_or(now));
        let lost = status.dropped + status.refused + status.lost_files + status.gone;
        if lost > self.lost.0 {
            self.lost = (lost, Some(now));
        }
        SourceStatus { behind_since: self.behind_since, lost_at: self.lost.1, ..status }
    }
}

/// Returns what is shown of all sources at `now`.
pub(super) fn statuses(feeds: &mut [Feed], now: Timestamp) -> Vec<SourceStatus> {
    let mut statuses: Vec<SourceStatus> = feeds.iter_mut().map(|feed| feed.status(now)).collect();
    let mut first = HashMap::new();
    for (index, feed) in feeds.iter().enumerate() {
        for id in feed.open_files() {
            let other = *first.entry(id).or_insert(index);
            if other != index {
                let name = statuses[other].name.clone();
                statuses[index].shared += 1;
                statuses[index].shared_with = Some(name);
            }
        }
    }
    statuses
}

/// Returns the lane that an alert goes on.
pub(super) fn lane_for(alert: &Alert<'_>, lanes: &LanePolicy) -> Lane {
    match alert.handling {
        Handling::Urgent => Lane::Urgent,
        Handling::Sent | Handling::Folded | Handling::AuditSample | Handling::BeyondExpected => {
            lane_of(alert.severity, lanes)
        }
    }
}

/// Puts an alert into its lane's block.
pub(super) fn put(
    alert: &Alert<'_>,
    record: &[u8],
    now: Instant,
    lane: Lane,
    blocks: &mut Blocks,
) -> Pushed {
    let flow = blocks.push(lane, alert, record, now);
    match flow.expect("a source cuts records to the longest") {
        Flow::Continue => Pushed::GoOn,
        Flow::Commit => Pushed::CommitFirst,
    }
}

/// Returns what the ledger counts an alert as that is sent on `lane`.
fn fate(handling: Handling, is_malformed: bool, lane: Lane) -> Fate<'static> {
    match handling {
        _ if is_malformed => Fate::Malformed(lane),
        Handling::AuditSample => Fate::Audited(lane),
        Handling::Sent | Handling::Urgent | Handling::Folded | Handling::BeyondExpected => {
            Fate::Sent(lane)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        attribution::AttributionPolicy,
        blocks::BlockPolicy,
        clock,
        config::{self, StartFrom},
        ledger::{Found, LedgerPolicy},
        limits::READ_BYTES,
        normalise::Kind,
        proc::Proc,
        source::Begin,
    };

    const HEADER: &str = "#separator \\x09\n#path\tnotice\n#fields\tts\tnote\tmsg\n";
    const RECORD: &str = "1793610753.1\tA::B\tm\n";

    fn open(config: &SourceConfig, stored: &Stored) -> Feed {
        let (begin, now, wall) = (Begin::End, clock::now(), clock::wall());
        Feed::open(config, stored, &[], Opening { begin, now, wall, sources: 1 }).unwrap()
    }

    /// Reads all that is there, and returns what is to be stored behind it.
    fn read(feed: &mut Feed) -> Stored {
        let (mut buffer, mut blocks) = (ReadBuffer::new(), Blocks::new(BlockPolicy::default()));
        let policy = AttributionPolicy::default();
        let mut attributor = Attributor::new(policy, Proc::default(), clock::now);
        let (now, wall) = (clock::now(), clock::wall());
        let names = vec![feed.name().to_owned()];
        let (policy, found) = (LedgerPolicy::default(), Found::nothing());
        let mut ledger = Ledger::restore(policy, names, &found, wall).unwrap();
        while feed.poll(now) {
            let batch = feed.read(now, &mut buffer, READ_BYTES).unwrap();
            for line in batch.lines() {
                let observed_at = Timestamp::from_ms(1_793_610_800_000);
                let context = ContextVersion::default();
                let reading = Reading { observed_at, now, context, is_stray: false };
                let (lanes, tally) = (&LanePolicy::default(), ledger.read(0));
                let (blocks, attributor) = (&mut blocks, &mut attributor);
                let (prefilter, rings) = (None, None);
                let sinks = Sinks { prefilter, rings, lanes, blocks, tally, attributor };
                feed.push(line.bytes, reading, sinks);
            }
        }
        ledger.close(wall, Default::default());
        assert_eq!(ledger.window()[0].imbalances(), [], "L4");
        feed.changed(None).into_iter().collect()
    }

    #[test]
    fn a_files_header_is_known_where_reading_begins_within_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notice.log");
        let kind = Kind::of_product("zeek_notice").unwrap();
        let name = "border".to_owned();
        let input = config::Input::File { path: path.clone(), from: StartFrom::Start };
        let config = SourceConfig { name, kind, input, utc_offset: None };
        fs::write(&path, [HEADER, RECORD].concat()).unwrap();
        let stored = read(&mut open(&config, &Stored::new()));

        fs::write(&path, [HEADER, RECORD, RECORD].concat()).unwrap();
        let mut after_restart = open(&config, &stored);
        read(&mut after_restart);
        let status = after_restart.status(Timestamp::ZERO);
        assert_eq!((status.records, status.skipped, status.malformed), (1, 0, 0));

        // The next file has other columns.
        fs::rename(&path, folder.path().join("notice.1.log")).unwrap();
        fs::write(&path, "#separator \\x09\n#fields\tnote\tmsg\nA::B\tm\n").unwrap();
        read(&mut after_restart);
        let status = after_restart.status(Timestamp::ZERO);
        assert_eq!((status.records, status.skipped, status.malformed), (4, 2, 0));
    }

    /// Reads a file of Suricata's with this in it to its end.
    fn read_eve(bytes: &[u8]) -> SourceStatus {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("eve.json");
        fs::write(&path, bytes).unwrap();
        let kind = Kind::of_product("suricata_eve").unwrap();
        let input = config::Input::File { path, from: StartFrom::Start };
        let config = SourceConfig { name: "eve".to_owned(), kind, input, utc_offset: None };
        let mut feed = open(&config, &Stored::new());
        read(&mut feed);
        feed.status(Timestamp::ZERO)
    }

    #[test]
    fn records_whose_time_is_absent_unreadable_or_far_ahead_are_counted_and_sent() {
        let record = |time: &str| {
            format!("{{{time}\"event_type\":\"alert\",\"alert\":{{\"signature_id\":7}}}}\n")
        };
        let times = ["", "soon", "2999-01-01T00:00:00.0+0000", "1970-01-01T00:00:00.0+0000"];
        let times = times.map(|time| match time {
            "" => String::new(),
            time => format!("\"timestamp\":\"{time}\","),
        });
        let status = read_eve(times.map(|time| record(&time)).concat().as_bytes());
        assert_eq!((status.records, status.malformed, status.untimed), (4, 0, 3));
    }

    #[test]
    fn records_that_cannot_be_parsed_are_counted_by_their_reason() {
        let status = read_eve(b"no object\n{\"event_type\":\n{\"event_type\":\n\xff\n");
        let reasons: Vec<_> = status.malformed_by_reason.values().copied().collect();
        assert_eq!((status.malformed, reasons), (4, vec![1, 2, 1]), "{status:?}");
        let reason = "record could not be parsed: it ends early";
        assert_eq!(status.malformed_by_reason[reason], 2);
    }

    #[test]
    fn a_source_is_behind_while_something_in_its_file_was_not_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notice.log");
        fs::write(&path, RECORD).unwrap();
        let kind = Kind::of_product("zeek_notice").unwrap();
        let input = config::Input::File { path: path.clone(), from: StartFrom::Start };
        let config = SourceConfig { name: "border".to_owned(), kind, input, utc_offset: None };
        let mut feed = open(&config, &Stored::new());
        let (first, second) = (Timestamp::from_ms(1_000), Timestamp::from_ms(2_000));
        let behind = |feed: &mut Feed, at| {
            let status = feed.status(at);
            (status.behind_bytes, status.behind_since)
        };
        assert_eq!(behind(&mut feed, first), (RECORD.len() as u64, Some(first)));
        assert_eq!(behind(&mut feed, second), (RECORD.len() as u64, Some(first)));
        read(&mut feed);
        assert_eq!(behind(&mut feed, second), (0, None));
        // A line that its detector has not ended is no backlog.
        fs::write(&path, [RECORD, "half a line"].concat()).unwrap();
        read(&mut feed);
        assert_eq!(behind(&mut feed, second), (0, None));
    }
}
