//! One source within the pipeline: its tail, what makes alerts of its lines, and what was counted.

use std::time::Instant;

use shared::{alert::Alert, context::ContextVersion, time::Timestamp};

use crate::{
    blocks::{Blocks, Flow},
    config::{SourceConfig, StartFrom},
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
            Ok(batch) => Some(batch),
            Err(error) => {
                tracing::debug!(source = self.name, %error, "source");
                None
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
