//! The spool under any order of operations, faults, crashes and changes to the bytes on its disk.

use std::{cell::Cell, collections::BTreeMap, sync::Arc};

use agent::spool::{
    Appended, Commit, Disk, OpenError, Opened, ReadBlock, ReadError, SegmentId, SimDisk, Spool,
    SpoolConfig,
};
use bytes::Bytes;
use shared::ids::{Lane, Seq};

use super::input::Input;

const CONFIG: SpoolConfig = SpoolConfig { segment_bytes: 4 << 10, total_bytes_max: 64 << 10 };

/// Most operations of one run.
const OPS_MAX: usize = 80;

/// Most numbers that are read of each lane: what is lost is one step.
const READS_MAX: usize = 400;

/// Bytes of a record's head, of which the last four are its checksum.
const HEAD_BYTES: usize = 92;

/// Runs the operations that `data` says. Opening never fails but for a fault or a later version; a block that is read
/// was once written under its number; what was synced is there until the disk is damaged; and once it is open, the
/// spool goes on and says the same again after a restart. Of records that were forged, with checksums that hold, it is
/// only asked that the spool opens and goes on.
///
/// # Panics
/// If not so.
pub fn spool_recovery(data: &[u8]) {
    let mut input = Input::new(data);
    let mut run = Run::new(input.byte());
    for _ in 0..OPS_MAX {
        if input.is_empty() || run.is_over {
            break;
        }
        run.apply(&mut input);
    }
    if !run.is_over {
        run.finish();
    }
}

struct Run {
    disk: SimDisk,
    /// Not while the disk is changed under it.
    spool: Option<Spool>,
    /// Appended and not synced.
    appended: Vec<(usize, u64, Bytes)>,
    /// What was ever written under a number.
    written: BTreeMap<(usize, u64), Vec<Bytes>>,
    /// What was synced and not acked since.
    synced: BTreeMap<(usize, u64), Bytes>,
    stamp: u32,
    /// The epoch of the last spool that was created, another each time as a random number is.
    epoch: Cell<u64>,
    /// Whether bytes on the disk changed.
    is_damaged: bool,
    /// Whether bytes on the disk were made that look like records.
    is_forged: bool,
    /// Whether the spool is refused, or its numbers are at their end, which only forging does.
    is_over: bool,
}

impl Run {
    fn new(seed: u8) -> Self {
        let mut run = Self {
            disk: SimDisk::new(seed.into()),
            spool: None,
            appended: Vec::new(),
            written: BTreeMap::new(),
            synced: BTreeMap::new(),
            stamp: 0,
            epoch: Cell::new(0),
            is_damaged: false,
            is_forged: false,
            is_over: false,
        };
        run.open();
        run
    }

    fn apply(&mut self, input: &mut Input<'_>) {
        match input.byte() % 18 {
            0..3 => self.append(input.choose(&Lane::ALL), 4 + 8 * usize::from(input.byte())),
            3 | 4 => self.sync(),
            5 => self.collect(input.choose(&Lane::ALL)),
            6 => self.crash(),
            7 => self.close(),
            8 => self.fault(input),
            9 => self.disk.set_capacity(None),
            10 | 11 => self.flip(input),
            12 => self.change(input, |bytes, input| {
                bytes.truncate(input.within(0..bytes.len()));
            }),
            13 => self.change(input, |bytes, input| {
                let from = input.within(0..bytes.len());
                let len = input.number();
                bytes.iter_mut().skip(from).take(len).for_each(|byte| *byte = 0);
            }),
            14 => self.remove(input),
            15 => self.put(input),
            16 => self.forge(input),
            _ => self.copy(input),
        }
    }

    fn append(&mut self, lane: Lane, len: usize) {
        self.stamp += 1;
        let block: Bytes = self.stamp.to_le_bytes().into_iter().cycle().take(len).collect();
        let checkpoints = vec![(format!("s{}", self.stamp % 4), block[..4].to_vec())];
        let ledger = self.stamp.is_multiple_of(3).then(|| block[..4].to_vec());
        let blocks = vec![(lane, block.clone())];
        let commit = Commit { blocks, checkpoints, ledger, ..Commit::default() };
        let Some(spool) = self.opened() else { return };
        let Ok(Appended { seqs }) = spool.append(&commit) else { return };
        let at = (lane.index(), seqs[0].1.as_u64());
        self.appended.push((at.0, at.1, block.clone()));
        self.written.entry(at).or_default().push(block);
    }

    fn sync(&mut self) {
        let Some(spool) = self.opened() else { return };
        if spool.sync().is_ok() {
            for (lane, number, block) in self.appended.drain(..) {
                let old = self.synced.insert((lane, number), block);
                assert!(old.is_none() || self.is_damaged, "L2: {lane} {number} was used before");
            }
        }
    }

    fn collect(&mut self, lane: Lane) {
        let Some(spool) = self.opened() else { return };
        let reader = spool.reader();
        if let Some(last) = reader.heads()[lane.index()].last {
            reader.advance(lane, last).expect("it is durable");
        }
        // Faults may keep it from deleting; it tries again.
        let _collected = spool.collect();
        let lane = lane.index();
        self.synced.retain(|(of, _), _| *of != lane);
    }

    fn crash(&mut self) {
        self.spool = None;
        self.disk.crash();
        self.open();
    }

    fn close(&mut self) {
        self.spool = None;
        self.open();
    }

    fn fault(&mut self, input: &mut Input<'_>) {
        let count = u32::from(input.byte() % 3);
        match input.byte() % 6 {
            0 => self.disk.fail_syncs(count),
            1 => self.disk.fail_dir_syncs(count),
            2 => self.disk.fail_truncates(count),
            3 => self.disk.fail_deletes(count),
            4 => self.disk.fail_reads(count),
            _ => {
                let files = self.disk.list().expect("the simulated disk lists");
                let used: u64 = files.iter().map(|(_, size)| size).sum();
                self.disk.set_capacity(Some(used + input.number() as u64 % 1024));
            }
        }
    }

    /// Returns a segment, while the spool is closed.
    fn segment(&mut self, input: &mut Input<'_>) -> Option<(SegmentId, Vec<u8>)> {
        self.spool = None;
        self.is_damaged = true;
        let files = self.disk.list().expect("the simulated disk lists");
        let id = files.get(usize::from(input.byte()) % files.len().max(1))?.0;
        Some((id, self.disk.contents(id)?))
    }

    fn change(&mut self, input: &mut Input<'_>, change: impl FnOnce(&mut Vec<u8>, &mut Input<'_>)) {
        let Some((id, mut bytes)) = self.segment(input) else { return };
        change(&mut bytes, input);
        self.disk.put(id, bytes);
    }

    fn flip(&mut self, input: &mut Input<'_>) {
        let Some((id, bytes)) = self.segment(input) else { return };
        let offset = input.within(0..bytes.len()) as u64;
        self.disk.flip(id, offset, input.byte().max(1));
        if input.byte() == 0 {
            self.disk.make_unreadable(id, offset..offset + 1);
        }
    }

    fn remove(&mut self, input: &mut Input<'_>) {
        if let Some((id, _)) = self.segment(input) {
            self.disk.fail_deletes(0);
            self.disk.delete(id).expect("it is there");
        }
    }

    fn put(&mut self, input: &mut Input<'_>) {
        self.spool = None;
        (self.is_damaged, self.is_forged) = (true, true);
        let id = SegmentId(u64::from(input.byte() % 8));
        let len = input.number();
        self.disk.put(id, input.bytes(len).to_vec());
    }

    /// Changes a field of a record's head, and makes its checksum good.
    fn forge(&mut self, input: &mut Input<'_>) {
        self.is_forged = true;
        self.change(input, |bytes, input| {
            let heads: Vec<usize> = bytes
                .windows(HEAD_BYTES)
                .enumerate()
                .filter(|(_, window)| window.starts_with(b"SBSL"))
                .map(|(at, _)| at)
                .collect();
            if heads.is_empty() {
                return;
            }
            let head = input.choose(&heads);
            let field = input.within(4..HEAD_BYTES - 4);
            for (at, byte) in input.bytes(8).iter().enumerate() {
                if field + at < HEAD_BYTES - 4 {
                    bytes[head + field + at] = *byte;
                }
            }
            let crc = crc32c(&bytes[head..head + HEAD_BYTES - 4]).to_le_bytes();
            bytes[head + HEAD_BYTES - 4..head + HEAD_BYTES].copy_from_slice(&crc);
        });
    }

    fn copy(&mut self, input: &mut Input<'_>) {
        if let Some((_, bytes)) = self.segment(input) {
            self.disk.put(SegmentId(u64::from(input.byte() % 8)), bytes);
        }
    }

    fn opened(&mut self) -> Option<&mut Spool> {
        if self.spool.is_none() {
            self.open();
        }
        self.spool.as_mut()
    }

    /// Opens the spool, at the second try if a fault is planned, and checks what it says.
    fn open(&mut self) -> Option<Opened> {
        self.appended.clear();
        let opened = self.try_open().or_else(|error| {
            if !matches!(error, OpenError::Version { .. }) {
                self.heal();
            }
            self.try_open()
        });
        let (spool, opened) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                assert!(matches!(error, OpenError::Version { .. }) && self.is_forged, "{error}");
                self.is_over = true;
                return None;
            }
        };
        let heads = spool.reader().heads();
        self.is_over =
            heads.iter().any(|head| head.last.is_some_and(|last| last.as_u64() > u64::MAX >> 2));
        self.spool = Some(spool);
        self.check(&opened);
        Some(opened)
    }

    fn try_open(&self) -> Result<(Spool, Opened), OpenError> {
        self.epoch.set(self.epoch.get() + 1);
        Spool::open(Arc::new(self.disk.clone()), CONFIG, self.epoch.get())
    }

    fn heal(&self) {
        self.disk.set_capacity(None);
        self.disk.fail_syncs(0);
        self.disk.fail_dir_syncs(0);
        self.disk.fail_truncates(0);
        self.disk.fail_deletes(0);
        self.disk.fail_reads(0);
    }

    fn check(&mut self, opened: &Opened) {
        self.disk.fail_reads(0);
        let read = self.read_all();
        if !self.is_damaged {
            assert!(
                !opened.is_stale && !opened.damage.iter().any(|damage| !damage.lost.is_empty())
            );
            for (at, block) in &self.synced {
                assert_eq!(read.get(at), Some(&Some(block.clone())), "L1: {at:?} was synced");
            }
        }
        if !self.is_forged {
            for (at, block) in read {
                let Some(block) = block else { continue };
                let written = self.written.get(&at);
                assert!(written.is_some_and(|written| written.contains(&block)), "{at:?}");
                // What a sync that failed wrote may count after a restart.
                self.synced.insert(at, block);
            }
        }
        if self.is_damaged {
            self.synced.clear();
        }
    }

    /// Reads all blocks from the oldest on; `None` is a lost one.
    fn read_all(&self) -> BTreeMap<(usize, u64), Option<Bytes>> {
        let mut all = BTreeMap::new();
        let reader = self.spool.as_ref().expect("it is open").reader();
        for (lane, head) in Lane::ALL.into_iter().zip(reader.heads()) {
            let mut next = head.first;
            for _ in 0..READS_MAX {
                let at = (lane.index(), next.as_u64());
                let last = match reader.read(lane, next) {
                    Ok(ReadBlock::Block(block)) => {
                        all.insert(at, Some(block));
                        next
                    }
                    Ok(ReadBlock::Lost { first, last, .. }) => {
                        assert!(first == next && last >= first && Some(last) <= head.last);
                        all.insert(at, None);
                        last
                    }
                    Err(ReadError::NotDurable { .. }) => {
                        assert_eq!(next, Seq::after(head.last), "all before it is durable");
                        break;
                    }
                    Err(error) => panic!("{error}"),
                };
                next = last.next().expect("numbers are not at their end");
            }
        }
        all
    }

    /// Once it is open and nothing fails, the spool goes on and forgets nothing.
    fn finish(&mut self) {
        self.heal();
        if self.opened().is_none() || self.is_over {
            return;
        }
        self.disk.fail_reads(0);
        let before = self.read_all();
        for lane in Lane::ALL {
            self.append(lane, 40);
        }
        let spool = self.spool.as_mut().expect("it is open");
        spool.sync().expect("nothing fails");
        let after = self.read_all();
        for (at, block) in &before {
            assert_eq!(after.get(at), Some(block), "{at:?} changed");
        }
        for (lane, number, block) in &self.appended {
            assert_eq!(after.get(&(*lane, *number)).unwrap_or(&None), &Some(block.clone()));
        }
        // All of it was synced.
        self.spool = None;
        let Some(opened) = self.open() else { return };
        if self.is_forged {
            // Forged records may contradict what was appended after them, and come first once older ones are gone.
            return;
        }
        assert_eq!((opened.torn_bytes, opened.created), (0, false), "its end is whole");
        let again = self.read_all();
        let reader = self.spool.as_ref().expect("it is open").reader();
        for (at, block) in after {
            if block.is_some() {
                assert_eq!(again.get(&at), Some(&block), "{at:?} changed");
                continue;
            }
            // What is lost stays so. With the beginning of the spool lost, it is before the first block
            // after a restart: the coordinator is told so when it sees that.
            let number = Seq::new(at.1).expect("it was read");
            let is_told = match reader.read(Lane::ALL[at.0], number) {
                Ok(read) => matches!(read, ReadBlock::Lost { .. }),
                Err(ReadError::Acked { .. }) => self.is_damaged,
                Err(_) => false,
            };
            assert!(is_told, "{at:?} was lost and is not any more");
        }
    }
}

/// Returns the CRC-32C of `bytes`, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & 0_u32.wrapping_sub(crc & 1))
        })
    })
}
