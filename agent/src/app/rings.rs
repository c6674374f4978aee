//! The two rings of what is not sent: what rules hold back, and the originals of what they fold.
//!
//! They are two, so that a flood of duplicates makes none of what is held back go; a recall looks into both. What the
//! ring of the held does not take is sent. What the ring of the folded does not take has a tombstone at once: an alert
//! that says how many were folded stands for it, and to send it, too, would give a flood its way.

use std::{io, path::Path, sync::Arc, time::Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use shared::{alert::Alert, time::Timestamp};

use crate::{
    config::Config,
    held::{
        FOLDED_MARK_NAME, Flushed, Held, HeldConfig, HeldFlow, HeldReader, HeldUsage, MARK_NAME,
        NotHeld,
    },
    spool::{Opened, RealDisk},
    status::HeldStatus,
};

/// One ring, and what the spool says of it.
#[derive(Debug)]
struct Ring {
    held: Held,
    /// The name of its mark in the spool.
    name: &'static str,
    /// The mark that the spool has.
    stored: Option<Vec<u8>>,
    /// The mark of the commit that is under way.
    coming: Option<Vec<u8>>,
}

/// The rings.
#[derive(Debug)]
pub(super) struct Rings {
    held: Ring,
    folded: Ring,
}

/// What a commit has to say of the rings, and to carry for them.
#[derive(Debug, Default)]
pub(super) struct RingFlush {
    /// Blocks of what was to be held, which are to be sent.
    pub(super) refused: Vec<Bytes>,
    /// What the spool is to store, by name.
    pub(super) marks: Vec<(String, Vec<u8>)>,
}

impl Rings {
    /// Opens the rings, if they are configured; the spool says how far each counts.
    ///
    /// # Errors
    /// Says which cannot be opened, and why.
    pub(super) fn open(config: &Config, opened: &Opened) -> Result<Option<Self>> {
        let Some(settings) = &config.held else { return Ok(None) };
        let (age_max, level) = (settings.age_max, config.blocks.level);
        let bounds = |bytes_max| HeldConfig { bytes_max, age_max, level };
        let folded_dir = settings.folded_dir();
        let folded =
            Ring::open(&folded_dir, bounds(settings.folded_bytes_max), opened, FOLDED_MARK_NAME)?;
        let held = Ring::open(&settings.dir, bounds(settings.bytes_max), opened, MARK_NAME)?;
        Ok(Some(Self { held, folded }))
    }

    /// Returns what recalls look into.
    pub(super) fn readers(&self) -> Vec<HeldReader> {
        vec![self.held.held.reader(), self.folded.held.reader()]
    }

    /// Holds an alert; see [`Held::push`].
    ///
    /// # Errors
    /// [`NotHeld`]: the caller sends it.
    pub(super) fn hold(
        &mut self,
        alert: &Alert<'_>,
        record: &[u8],
        now: Instant,
        at: Timestamp,
    ) -> Result<HeldFlow, NotHeld> {
        self.held.held.push(alert, record, now, at)
    }

    /// Keeps the original of an alert that was folded, as far as there is room.
    pub(super) fn keep_folded(
        &mut self,
        alert: &Alert<'_>,
        record: &[u8],
        now: Instant,
        at: Timestamp,
    ) -> HeldFlow {
        let ring = &mut self.folded.held;
        ring.push(alert, record, now, at).unwrap_or_else(|_| {
            ring.forgo(alert, at);
            HeldFlow::Continue
        })
    }

    /// Makes durable what waits in both rings. The spool's next commit carries what is returned, then
    /// [`Self::confirm`] is called, before the next flush.
    pub(super) fn flush(&mut self, now: Instant, at: Timestamp) -> RingFlush {
        let mut flush = RingFlush::default();
        if let Flushed::Refused { blocks, .. } = self.held.held.flush(now, at) {
            flush.refused = blocks;
        }
        if let Flushed::Refused { spans, .. } = self.folded.held.flush(now, at) {
            self.folded.held.forgo_refused(spans, at);
        }
        for ring in [&mut self.held, &mut self.folded] {
            ring.coming = Some(ring.held.mark()).filter(|mark| ring.stored.as_ref() != Some(mark));
            let mark = ring.coming.iter().map(|mark| (ring.name.to_owned(), mark.clone()));
            flush.marks.extend(mark);
        }
        flush
    }

    /// Takes in that the spool has what the last flush returned.
    pub(super) fn confirm(&mut self) {
        for ring in [&mut self.held, &mut self.folded] {
            if let Some(mark) = ring.coming.take() {
                ring.held.confirm();
                ring.stored = Some(mark);
            }
        }
    }

    /// Returns how many bytes of records wait for the next flush, before compression.
    pub(super) fn record_bytes(&self) -> usize {
        self.held.held.record_bytes() + self.folded.held.record_bytes()
    }

    /// Tells whether a flush is due.
    pub(super) fn needs_flush(&self, now: Instant) -> bool {
        self.held.held.needs_flush(now) || self.folded.held.needs_flush(now)
    }

    /// Evicts what is too old, and deletes the files of which all is evicted.
    ///
    /// # Errors
    /// Whatever the system reports; the next call tries again.
    pub(super) fn tidy(&mut self, at: Timestamp) -> io::Result<()> {
        for ring in [&mut self.held, &mut self.folded] {
            ring.held.expire(at);
            ring.held.collect()?;
        }
        Ok(())
    }

    /// Returns how full the ring of the held is, and that of the folded.
    pub(super) fn status(&self) -> (HeldStatus, HeldStatus) {
        (status(self.held.held.usage()), status(self.folded.held.usage()))
    }
}

impl Ring {
    fn open(dir: &Path, bounds: HeldConfig, opened: &Opened, name: &'static str) -> Result<Self> {
        let doing = || format!("open the ring {}", dir.display());
        let disk = RealDisk::open(dir).with_context(doing)?;
        let mark = opened.checkpoints.get(name).map(Vec::as_slice);
        let (held, found) =
            Held::open(Arc::new(disk), bounds, rand::random(), mark).with_context(doing)?;
        let dir = dir.display();
        if found.created {
            tracing::info!(%dir, "new ring for what is not sent");
        }
        if found.void_records > 0 {
            tracing::info!(%dir, records = found.void_records, "records are read and kept again");
        }
        for damage in &found.damage {
            tracing::error!(
                %dir, segment = %damage.segment, offset = damage.offset, bytes = damage.bytes,
                "ring is damaged: recalls say what is lost"
            );
        }
        if found.lost_records > 0 {
            tracing::error!(%dir, records = found.lost_records, "records are gone: recalls say so");
        }
        Ok(Self { held, name, stored: None, coming: None })
    }
}

/// Returns how full a ring is, as the status shows it.
fn status(usage: HeldUsage) -> HeldStatus {
    let HeldUsage { bytes, bytes_max, records, oldest, evicted, lost, refused_blocks, error } =
        usage;
    HeldStatus { error, bytes, bytes_max, records, oldest, evicted, lost, refused_blocks }
}
