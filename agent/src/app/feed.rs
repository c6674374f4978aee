//! One source within the pipeline: its tail, what makes alerts of its lines, and what was counted.

use std::time::Instant;

use shared::{alert::Alert, context::ContextVersion, time::Timestamp};

use crate::{
    blocks::{Blocks, Flow},
    config::{SourceConfig, StartFrom},
    limits::HEADER_BYTES_MAX,
    normalise::{LanePolicy, Normaliser, Outcome, lane_of},
    source::{Batch, Begin, CheckpointError, FileId, ReadBuffer, Status, Tail},
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

/// One source.
#[derive(Debug)]
pub(super) struct Feed {
    name: String,
    tail: Tail,
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
        let begin = match config.from {
            StartFrom::Start => Begin::Start,
            StartFrom::End => Begin::End,
        };
        let tail = Tail::open(&config.path, checkpoint.map(Vec::as_slice), begin)?;
        let shown = tail.status().clone();
        let (source, path) = (&config.name, config.path.display());
        tracing::info!(source, %path, status = %shown, "source");
        Ok(Self {
            name: config.name.clone(),
            committed_offset: tail.offset(),
            tail,
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
        self.tail.file_id()
    }

    /// Returns whether there is something to read.
    pub(super) fn poll(&mut self, now: Instant) -> bool {
        let is_ready = self.tail.poll(now);
        if *self.tail.status() != self.shown {
            self.shown = self.tail.status().clone();
            let (source, status) = (&self.name, &self.shown);
            if matches!(status, Status::Unreadable(_)) {
                tracing::warn!(source, %status, "source");
            } else {
                tracing::info!(source, %status, "source");
            }
        }
        is_ready
    }

    /// Reads lines; nothing if the file cannot be read, which the next poll shows.
    pub(super) fn read<'b>(
        &mut self,
        buffer: &'b mut ReadBuffer,
        bytes_max: usize,
    ) -> Option<Batch<'b>> {
        match self.tail.read_batch(buffer, bytes_max) {
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
        let file = self.tail.file_id().map(|id| (id, self.tail.generation()));
        if !self.normaliser.has_header() || self.header_of == file {
            return;
        }
        match self.tail.head(HEADER_BYTES_MAX) {
            Ok(head) => {
                self.normaliser.begin_file(&head);
                self.header_of = file;
            }
            Err(error) => tracing::debug!(source = self.name, %error, "source"),
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
        let checkpoint = match end {
            Some(end) => self.tail.checkpoint_at(end),
            None => self.tail.checkpoint(),
        };
        checkpoint.filter(|checkpoint| self.committed.as_ref() != Some(checkpoint))
    }

    /// Notes that a checkpoint is stored.
    pub(super) fn committed(&mut self, checkpoint: Vec<u8>) {
        self.committed = Some(checkpoint);
        self.committed_offset = self.tail.offset();
    }

    /// Returns what is shown of the source.
    pub(super) fn status(&self) -> SourceStatus {
        let stats = self.tail.stats();
        let is_reading = self.shown == Status::Reading;
        SourceStatus {
            name: self.name.clone(),
            path: self.tail.path().to_owned(),
            error: (!is_reading).then(|| self.shown.to_string()),
            offset: self.committed_offset,
            records: stats.lines,
            bytes: stats.bytes,
            skipped: self.skipped,
            malformed: self.malformed,
            over_long: stats.over_long,
            rotated: stats.rotated,
            truncated: stats.truncated,
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
            let batch = feed.read(&mut buffer, READ_BYTES).unwrap();
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
        let config = SourceConfig { name, kind, path: path.clone(), from: StartFrom::Start };
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
