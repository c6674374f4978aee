//! One source within the pipeline: its tail, what makes alerts of its lines, and what was counted.

use std::time::Instant;

use shared::{alert::Alert, context::ContextVersion, time::Timestamp};

use crate::{
    blocks::{Blocks, Flow},
    config::{self, SourceConfig, StartFrom},
    limits::HEADER_BYTES_MAX,
    normalise::{LanePolicy, Normaliser, Outcome, lane_of},
    source::{Batch, Begin, CheckpointError, FileId, Listener, ReadBuffer, Status, Tail},
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

/// What the records come from.
#[derive(Debug)]
enum Input {
    File(Tail),
    Listener(Listener),
}

/// One source.
#[derive(Debug)]
pub(super) struct Feed {
    name: String,
    input: Input,
    normaliser: Normaliser,
    /// The file whose header lines the normaliser has, and its generation.
    header_of: Option<(FileId, u64)>,
    committed: Option<Vec<u8>>,
    committed_offset: u64,
    skipped: u64,
    malformed: u64,
    shown: Status,
}

impl Feed {
    /// Opens a source where `checkpoint` says.
    ///
    /// # Errors
    /// Fails on a checkpoint of a later version. A file that cannot be read is no error.
    pub(super) fn open(
        config: &SourceConfig,
        checkpoint: Option<&Vec<u8>>,
    ) -> Result<Self, CheckpointError> {
        let input = match &config.input {
            config::Input::File { path, from } => {
                let begin = match from {
                    StartFrom::Start => Begin::Start,
                    StartFrom::End => Begin::End,
                };
                Input::File(Tail::open(path, checkpoint.map(Vec::as_slice), begin)?)
            }
            config::Input::Udp(address) => Input::Listener(Listener::udp(*address)),
            config::Input::Tcp(address) => Input::Listener(Listener::tcp(*address)),
        };
        let shown = input.status().clone();
        let (source, place) = (&config.name, &config.input);
        tracing::info!(source, %place, status = %shown, "source");
        Ok(Self {
            name: config.name.clone(),
            committed_offset: input.tail().map_or(0, Tail::offset),
            input,
            normaliser: Normaliser::new(config.kind.clone(), config.name.clone()),
            header_of: None,
            committed: checkpoint.cloned(),
            skipped: 0,
            malformed: 0,
            shown,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns which file is open, if one is.
    pub(super) fn file_id(&self) -> Option<FileId> {
        self.input.tail().and_then(Tail::file_id)
    }

    /// Returns whether there is something to read.
    pub(super) fn poll(&mut self, now: Instant) -> bool {
        let is_ready = match &mut self.input {
            Input::File(tail) => tail.poll(now),
            Input::Listener(listener) => listener.poll(now),
        };
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

    /// Reads records; nothing if there is no reading from the input.
    pub(super) fn read<'b>(
        &mut self,
        now: Instant,
        buffer: &'b mut ReadBuffer,
        bytes_max: usize,
    ) -> Option<Batch<'b>> {
        let read = match &mut self.input {
            Input::File(tail) => tail.read_batch(buffer, bytes_max).map_err(|e| e.to_string()),
            Input::Listener(listener) => {
                listener.read_batch(now, buffer).map_err(|e| e.to_string())
            }
        };
        match read {
            Ok(batch) => {
                self.learn_header();
                Some(batch)
            }
            Err(error) => {
                tracing::debug!(source = self.name, error, "source");
                None
            }
        }
    }

    /// Has the normaliser know the header of the file that is read, wherever reading began in it.
    fn learn_header(&mut self) {
        let Input::File(tail) = &self.input else { return };
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

    /// Makes an alert of a line and puts it into its lane's block.
    pub(super) fn push(
        &mut self,
        record: &[u8],
        observed_at: Timestamp,
        now: Instant,
        context: ContextVersion,
        lanes: &LanePolicy,
        blocks: &mut Blocks,
    ) -> Pushed {
        if self.normaliser.take_header(record) {
            self.skipped += 1;
            return Pushed::GoOn;
        }
        let mut alert: Alert<'_> = match self.normaliser.normalise(record, observed_at) {
            Outcome::Alert { alert, .. } => alert,
            Outcome::Malformed { alert, .. } => {
                self.malformed += 1;
                alert
            }
            Outcome::Skip(_) => {
                self.skipped += 1;
                return Pushed::GoOn;
            }
        };
        alert.context = context;
        let flow = blocks.push(lane_of(alert.severity, lanes), &alert, record, now);
        match flow.expect("a tail cuts lines to the longest record") {
            Flow::Continue => Pushed::GoOn,
            Flow::Commit => Pushed::CommitFirst,
        }
    }

    /// Returns the checkpoint to be committed, if it is another than the last: up to `end` within
    /// the last batch, or behind all that was read.
    pub(super) fn changed_checkpoint(&self, end: Option<u64>) -> Option<Vec<u8>> {
        let tail = self.input.tail()?; // nothing can be read twice from a socket
        let checkpoint = match end {
            Some(end) => tail.checkpoint_at(end),
            None => tail.checkpoint(),
        };
        checkpoint.filter(|checkpoint| self.committed.as_ref() != Some(checkpoint))
    }

    /// Notes that a checkpoint is stored.
    pub(super) fn committed(&mut self, checkpoint: Vec<u8>) {
        self.committed = Some(checkpoint);
        self.committed_offset = self.input.tail().map_or(0, Tail::offset);
    }

    /// Returns what is shown of the source.
    pub(super) fn status(&self) -> SourceStatus {
        let is_reading = self.shown == Status::Reading;
        let status = SourceStatus {
            name: self.name.clone(),
            path: match &self.input {
                Input::File(tail) => tail.path().to_owned(),
                Input::Listener(listener) => listener.to_string().into(),
            },
            error: (!is_reading).then(|| self.shown.to_string()),
            offset: self.committed_offset,
            skipped: self.skipped,
            malformed: self.malformed,
            ..SourceStatus::default()
        };
        match &self.input {
            Input::File(tail) => {
                let stats = tail.stats();
                SourceStatus {
                    records: stats.lines,
                    bytes: stats.bytes,
                    over_long: stats.over_long,
                    rotated: stats.rotated,
                    truncated: stats.truncated,
                    ..status
                }
            }
            Input::Listener(listener) => {
                let stats = listener.stats();
                SourceStatus {
                    records: stats.messages,
                    bytes: stats.bytes,
                    over_long: stats.over_long,
                    dropped: stats.dropped,
                    refused: stats.refused,
                    ..status
                }
            }
        }
    }
}

impl Input {
    fn tail(&self) -> Option<&Tail> {
        match self {
            Self::File(tail) => Some(tail),
            Self::Listener(_) => None,
        }
    }

    fn status(&self) -> &Status {
        match self {
            Self::File(tail) => tail.status(),
            Self::Listener(listener) => listener.status(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{blocks::BlockPolicy, clock, limits::READ_BYTES, normalise::Kind};

    const HEADER: &str = "#separator \\x09\n#path\tnotice\n#fields\tts\tnote\tmsg\n";
    const RECORD: &str = "1793610753.1\tA::B\tm\n";

    /// Reads all that is there, and returns the checkpoint behind it.
    fn read(feed: &mut Feed) -> Vec<u8> {
        let (mut buffer, mut blocks) = (ReadBuffer::new(), Blocks::new(BlockPolicy::default()));
        let now = clock::now();
        while feed.poll(now) {
            let batch = feed.read(now, &mut buffer, READ_BYTES).unwrap();
            for line in batch.lines() {
                let lanes = LanePolicy::default();
                let at = Timestamp::from_ms(1_793_610_800_000);
                feed.push(line.bytes, at, now, ContextVersion::default(), &lanes, &mut blocks);
            }
        }
        feed.changed_checkpoint(None).unwrap()
    }

    #[test]
    fn a_files_header_is_known_where_reading_begins_within_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notice.log");
        let kind = Kind::of_product("zeek_notice").unwrap();
        let name = "border".to_owned();
        let input = config::Input::File { path: path.clone(), from: StartFrom::Start };
        let config = SourceConfig { name, kind, input };
        fs::write(&path, [HEADER, RECORD].concat()).unwrap();
        let checkpoint = read(&mut Feed::open(&config, None).unwrap());

        fs::write(&path, [HEADER, RECORD, RECORD].concat()).unwrap();
        let mut after_restart = Feed::open(&config, Some(&checkpoint)).unwrap();
        read(&mut after_restart);
        let status = after_restart.status();
        assert_eq!((status.records, status.skipped, status.malformed), (1, 0, 0));

        // The next file has other columns.
        fs::rename(&path, folder.path().join("notice.1.log")).unwrap();
        fs::write(&path, "#separator \\x09\n#fields\tnote\tmsg\nA::B\tm\n").unwrap();
        read(&mut after_restart);
        let status = after_restart.status();
        assert_eq!((status.records, status.skipped, status.malformed), (4, 2, 0));
    }
}
