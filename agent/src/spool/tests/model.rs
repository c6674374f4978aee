//! Any run of operations, crashes and failures against what a spool should be.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Append { lane: usize, len: usize, source: u8, with_ledger: bool },
    Checkpoint { source: u8 },
    Forget { source: u8 },
    Sync,
    Ack { lane: usize, back: u64 },
    Collect,
    Crash,
    CrashOnFullDisk { room: u64 },
    CrashWhileOpening { what: u8, count: u32 },
    Reopen,
    FillDisk { room: u64 },
    FreeDisk,
    FailSyncs { count: u32 },
    FailDirSyncs { count: u32 },
    FailTruncates { count: u32 },
    FailDeletes { count: u32 },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (0..3_usize, 1..1500_usize, 0..4_u8, any::<bool>()).prop_map(
            |(lane, len, source, with_ledger)| Op::Append { lane, len, source, with_ledger }
        ),
        2 => (0..4_u8).prop_map(|source| Op::Checkpoint { source }),
        1 => (0..4_u8).prop_map(|source| Op::Forget { source }),
        10 => Just(Op::Sync),
        4 => (0..3_usize, 0..4_u64).prop_map(|(lane, back)| Op::Ack { lane, back }),
        2 => Just(Op::Collect),
        2 => Just(Op::Crash),
        1 => (0..400_u64).prop_map(|room| Op::CrashOnFullDisk { room }),
        2 => (0..4_u8, 1..4_u32).prop_map(|(what, count)| Op::CrashWhileOpening { what, count }),
        1 => Just(Op::Reopen),
        1 => (0..4000_u64).prop_map(|room| Op::FillDisk { room }),
        2 => Just(Op::FreeDisk),
        1 => (1..3_u32).prop_map(|count| Op::FailSyncs { count }),
        1 => (1..3_u32).prop_map(|count| Op::FailDirSyncs { count }),
        1 => (1..3_u32).prop_map(|count| Op::FailTruncates { count }),
        1 => (1..3_u32).prop_map(|count| Op::FailDeletes { count }),
    ]
}

/// All that a spool should say.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    /// By number; `None` was skipped.
    blocks: [Vec<Option<Bytes>>; 3],
    checkpoints: BTreeMap<String, Vec<u8>>,
    ledger: Vec<u8>,
}

struct Run {
    disk: SimDisk,
    spool: Spool,
    /// What was synced, and what is once the next sync is done.
    durable: Model,
    appended: Model,
    acked: [u64; 3],
    /// Makes every block and checkpoint another.
    stamp: u32,
}

impl Model {
    fn lens(&self) -> [u64; 3] {
        self.blocks.each_ref().map(|lane| lane.len() as u64)
    }

    fn skip(&mut self, skipped: &[(Lane, Seq, Seq)]) {
        for (lane, first, last) in skipped {
            let blocks = &mut self.blocks[lane.index()];
            assert_eq!(blocks.len() as u64 + 1, first.as_u64(), "it begins after what is kept");
            blocks.resize(usize::try_from(last.as_u64()).unwrap(), None);
        }
    }
}

impl Run {
    fn new(seed: u64) -> Self {
        let disk = SimDisk::new(seed);
        let (spool, _) = open(&disk);
        Self {
            disk,
            spool,
            durable: Model::default(),
            appended: Model::default(),
            acked: [0; 3],
            stamp: 0,
        }
    }

    fn apply(&mut self, op: &Op, tries: &mut Vec<Model>) {
        match op {
            Op::Append { lane, len, source, with_ledger } => {
                self.append(*lane, *len, *source, *with_ledger);
            }
            Op::Checkpoint { source } => {
                let value = self.fresh(6);
                let checkpoints = vec![(format!("s{source}"), value.to_vec())];
                let commit = Commit { checkpoints, ..Commit::default() };
                self.commit(&commit);
            }
            Op::Forget { source } => {
                let source = format!("s{source}");
                if self.spool.forget(&source).is_ok() {
                    self.appended.checkpoints.remove(&source);
                }
            }
            Op::Sync => {
                tries.push(self.appended.clone());
                if self.spool.sync().is_ok() {
                    self.durable = self.appended.clone();
                    tries.clear();
                } else {
                    self.may_have_noted_a_skip();
                }
            }
            Op::Ack { lane, back } => self.ack(*lane, *back),
            Op::Collect => _ = self.spool.collect(),
            Op::Crash => self.reopen(true, None, tries),
            Op::CrashOnFullDisk { room } => self.reopen(true, Some(*room), tries),
            Op::CrashWhileOpening { what, count } => {
                self.disk.crash();
                self.fail_opening(*what, *count);
                self.reopen(true, None, tries);
            }
            Op::Reopen => self.reopen(false, None, tries),
            Op::FillDisk { room } => {
                let used: u64 = self.disk.list().unwrap().iter().map(|(_, size)| size).sum();
                self.disk.set_capacity(Some(used + room));
            }
            Op::FreeDisk => self.disk.set_capacity(None),
            Op::FailSyncs { count } => self.disk.fail_syncs(*count),
            Op::FailDirSyncs { count } => self.disk.fail_dir_syncs(*count),
            Op::FailTruncates { count } => self.disk.fail_truncates(*count),
            Op::FailDeletes { count } => self.disk.fail_deletes(*count),
        }
    }

    /// A sync that fails may have noted a skip all the same, to make room.
    fn may_have_noted_a_skip(&mut self) {
        for (lane, head) in self.spool.reader().heads().iter().enumerate() {
            let last = usize::try_from(head.last.map_or(0, Seq::as_u64)).unwrap();
            let (durable, appended) = (&mut self.durable.blocks[lane], &self.appended.blocks[lane]);
            let noted = appended[durable.len()..].iter().take_while(|block| block.is_none());
            if last == durable.len() + noted.count() {
                durable.resize(last, None);
            }
        }
    }

    /// Returns bytes that were not there before.
    fn fresh(&mut self, len: usize) -> Bytes {
        self.stamp += 1;
        self.stamp.to_le_bytes().into_iter().cycle().take(len.max(4)).collect()
    }

    fn append(&mut self, lane: usize, len: usize, source: u8, with_ledger: bool) {
        let block = self.fresh(len);
        let checkpoints = vec![(format!("s{source}"), block[..4].to_vec())];
        let ledger = with_ledger.then(|| block[..4].to_vec());
        let blocks = vec![(Lane::ALL[lane], block)];
        self.commit(&Commit { blocks, checkpoints, ledger, ..Commit::default() });
    }

    fn commit(&mut self, commit: &Commit) {
        let Ok(appended) = self.spool.append(commit) else { return };
        assert_eq!(appended.seqs.len(), commit.blocks.len());
        for ((lane, block), (_, seq)) in commit.blocks.iter().zip(appended.seqs) {
            let lane = &mut self.appended.blocks[lane.index()];
            lane.push(Some(block.clone()));
            assert_eq!(seq.as_u64(), lane.len() as u64, "numbers neither skip nor repeat");
        }
        self.appended.checkpoints.extend(commit.checkpoints.iter().cloned());
        if let Some(ledger) = &commit.ledger {
            self.appended.ledger.clone_from(ledger);
        }
    }

    fn ack(&mut self, lane: usize, back: u64) {
        let durable = self.durable.blocks[lane].len() as u64;
        if let Some(up_to) = durable.checked_sub(back).and_then(Seq::new) {
            self.spool.reader().advance(Lane::ALL[lane], up_to).unwrap();
            self.acked[lane] = self.acked[lane].max(up_to.as_u64());
        }
        assert!(self.spool.reader().advance(Lane::ALL[lane], seq(durable + 1)).is_err());
    }

    /// Opens the spool while something fails, if it can be, and forgets it again.
    fn fail_opening(&mut self, what: u8, count: u32) {
        self.heal();
        match what {
            0 => self.disk.fail_syncs(count),
            1 => self.disk.fail_dir_syncs(count),
            2 => self.disk.fail_truncates(count),
            _ => self.disk.fail_deletes(count),
        }
        drop(Spool::open(Arc::new(self.disk.clone()), CONFIG, 0xe90c));
    }

    fn heal(&self) {
        self.disk.set_capacity(None);
        self.disk.fail_syncs(0);
        self.disk.fail_dir_syncs(0);
        self.disk.fail_truncates(0);
        self.disk.fail_deletes(0);
    }

    /// Opens the spool again, after a crash or without one, on a disk with `room` for so many bytes.
    /// What a sync tried, wholly, is allowed; nothing between. What was tried and is not there has
    /// numbers that are not used again, and so may be skipped by an opening before this one.
    fn reopen(&mut self, crash: bool, room: Option<u64>, tries: &mut Vec<Model>) {
        if crash {
            self.disk.crash();
        }
        let used: u64 = self.disk.list().unwrap().iter().map(|(_, size)| size).sum();
        self.heal();
        self.disk.set_capacity(room.map(|room| used + room));
        let (spool, opened) = open_again(&self.disk);
        self.spool = spool;
        // A segment whose beginning alone was not finished looks damaged, but without a loss.
        let is_loss = |damage: &Damage| !damage.lost.is_empty() || damage.offset > 0;
        assert!(!opened.damage.iter().any(is_loss), "a crash is no damage: {opened:?}");
        assert!(!opened.is_stale);
        let heads = self.spool.reader().heads();
        let mut lens = heads.map(|head| head.last.map_or(0, Seq::as_u64));
        let is_noted =
            opened.skipped.iter().all(|(lane, _, last)| lens[lane.index()] == last.as_u64());
        for (lane, first, _) in opened.skipped.iter().filter(|_| is_noted) {
            lens[lane.index()] = first.as_u64() - 1;
        }
        let is_it = |model: &&Model| {
            let skips = model.lens().iter().zip(lens).all(|(made, len)| *made < len);
            (skips || model.lens() == lens)
                && model.checkpoints == opened.checkpoints
                && model.ledger == opened.ledger
                && self.has_blocks_of(model)
        };
        let mut allowed = std::iter::once(&self.durable).chain(tries.iter());
        let found = allowed.rfind(is_it);
        self.durable = found.expect("what was synced, or also what was being synced").clone();
        for (blocks, len) in self.durable.blocks.iter_mut().zip(lens) {
            blocks.resize(usize::try_from(len).unwrap(), None);
        }
        self.appended = self.durable.clone();
        self.appended.skip(&opened.skipped);
        assert_eq!(opened.torn_bytes > 0, !opened.skipped.is_empty());
        tries.clear();
        if is_noted {
            self.durable = self.appended.clone();
        } else {
            assert!(room.is_some(), "only a full disk keeps a skip from being noted");
            tries.push(self.appended.clone());
        }
    }

    /// Tells whether the spool has all blocks of a model: two may differ in nothing else, since a checkpoint can be
    /// forgotten.
    fn has_blocks_of(&self, model: &Model) -> bool {
        let reader = self.spool.reader();
        Lane::ALL.into_iter().zip(reader.heads()).all(|(lane, head)| {
            let blocks = (1..).zip(&model.blocks[lane.index()]);
            let first = head.first.as_u64().max(self.acked[lane.index()] + 1);
            let mut kept = blocks.filter(|(number, _)| *number >= first);
            kept.all(|(number, block)| {
                let read = reader.read(lane, seq(number));
                let wanted = block.clone().map(ReadBlock::Block);
                wanted.is_none_or(|wanted| read.is_ok_and(|read| read == wanted))
            })
        })
    }

    fn check(&self) {
        let usage = self.spool.usage();
        assert!(usage.bytes <= usage.bytes_max, "{usage:?}");
        let on_disk: u64 = self.disk.list().unwrap().iter().map(|(_, size)| size).sum();
        assert_eq!(on_disk, usage.bytes);
        let reader = self.spool.reader();
        for (lane, head) in Lane::ALL.into_iter().zip(reader.heads()) {
            let blocks = &self.durable.blocks[lane.index()];
            assert_eq!(head.last.map_or(0, Seq::as_u64), blocks.len() as u64);
            assert!(head.first.as_u64() <= self.acked[lane.index()] + 1, "kept until acked");
            let first = head.first.as_u64().max(self.acked[lane.index()] + 1);
            for number in first..=blocks.len() as u64 {
                let read = reader.read(lane, seq(number)).unwrap();
                match &blocks[usize::try_from(number).unwrap() - 1] {
                    Some(block) => assert_eq!(read, ReadBlock::Block(block.clone()), "{lane}"),
                    None => assert!(is_skipped(&read, seq(number)), "{lane} {number}: {read:?}"),
                }
            }
        }
    }
}

fn is_skipped(read: &ReadBlock, asked: Seq) -> bool {
    matches!(read, ReadBlock::Lost { first, reason: LostReason::Skipped, .. } if *first == asked)
}

proptest! {
        #[test]
    fn a_spool_is_what_was_synced_whatever_happens(
        seed in any::<u64>(),
        ops in prop::collection::vec(op(), 1..120),
    ) {
        let mut run = Run::new(seed);
        let mut tries = Vec::new();
        for op in &ops {
            run.apply(op, &mut tries);
            run.check();
        }
        run.reopen(true, None, &mut tries);
        run.check();
        run.disk.crash();
        run.reopen(true, None, &mut tries);
        run.check();
    }
}
