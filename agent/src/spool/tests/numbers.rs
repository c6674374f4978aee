//! Numbers whatever is lost at the end: a block that was once seen keeps its number for itself (L2).

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Append {
        lane: usize,
        len: usize,
    },
    Sync,
    FailSync,
    Collect {
        acked: bool,
    },
    /// Opens the spool again after a crash, and after a bit of the newest commit was flipped.
    Crash {
        damage: Option<prop::sample::Index>,
    },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..3_usize, 1..700_usize).prop_map(|(lane, len)| Op::Append { lane, len }),
        6 => Just(Op::Sync),
        1 => Just(Op::FailSync),
        1 => any::<bool>().prop_map(|acked| Op::Collect { acked }),
        3 => prop::option::of(any::<prop::sample::Index>()).prop_map(|damage| Op::Crash { damage }),
    ]
}

/// A spool, and what a coordinator may have of it.
struct Run {
    disk: SimDisk,
    spool: Spool,
    appended: Vec<(Lane, Seq, Bytes)>,
    seen: BTreeMap<(usize, u64), Bytes>,
    stamp: u32,
}

impl Run {
    fn apply(&mut self, op: &Op) {
        match op {
            Op::Append { lane, len } => {
                self.stamp += 1;
                let block: Bytes =
                    self.stamp.to_le_bytes().into_iter().cycle().take((*len).max(4)).collect();
                let blocks = vec![(Lane::ALL[*lane], block.clone())];
                let commit = Commit { blocks, ..Commit::default() };
                let Ok(appended) = self.spool.append(&commit) else { return };
                self.appended.push((Lane::ALL[*lane], appended.seqs[0].1, block));
            }
            Op::Sync => {
                if self.spool.sync().is_ok() {
                    for (lane, seq, block) in self.appended.drain(..) {
                        let old = self.seen.insert((lane.index(), seq.as_u64()), block);
                        assert_eq!(old, None, "{lane} {seq} was used before");
                    }
                }
            }
            Op::FailSync => self.disk.fail_syncs(1),
            Op::Collect { acked } => {
                let reader = self.spool.reader();
                for (lane, head) in Lane::ALL.into_iter().zip(reader.heads()) {
                    if let Some(last) = head.last.filter(|_| *acked) {
                        reader.advance(lane, last).unwrap();
                    }
                }
                _ = self.spool.collect();
            }
            Op::Crash { damage } => self.crash(damage.as_ref()),
        }
    }

    fn crash(&mut self, damage: Option<&prop::sample::Index>) {
        self.disk.fail_syncs(0);
        self.disk.crash();
        if let Some(damage) = damage
            && let Some((id, begin, size)) = newest_commit(&self.disk)
        {
            let offset = begin + damage.index(usize::try_from(size - begin).unwrap()) as u64;
            self.disk.flip(id, offset, 1 << (offset % 8));
        }
        self.appended.clear();
        self.spool = open_again(&self.disk).0;
        for (lane, head) in Lane::ALL.into_iter().zip(self.spool.reader().heads()) {
            let seen = self.seen.range((lane.index(), 0)..(lane.index() + 1, 0));
            let newest = seen.last().map(|((_, seq), _)| *seq);
            assert!(head.last.map(Seq::as_u64) >= newest, "{lane}: the coordinator is not ahead");
        }
    }

    fn check(&self) {
        let reader = self.spool.reader();
        for ((lane, number), block) in &self.seen {
            match reader.read(Lane::ALL[*lane], seq(*number)) {
                Ok(ReadBlock::Block(read)) => assert_eq!(read, *block),
                Ok(ReadBlock::Lost { .. }) | Err(ReadError::Acked { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Returns where the newest record is, if it is a commit: segment, begin and end.
fn newest_commit(disk: &SimDisk) -> Option<(SegmentId, u64, u64)> {
    let (id, size) = disk.list().unwrap().into_iter().max()?;
    let mut scan = scan::Scan::new(disk, id, size, None);
    let (mut newest, mut next) = (None, 0);
    while let Some((head, _)) = scan.record_from(next).unwrap() {
        newest = Some(head.offset);
        next = head.end_offset();
    }
    newest.filter(|begin| *begin > 0).map(|begin| (id, begin, size))
}

proptest! {
    #[test]
    fn no_number_ever_stands_for_two_blocks(
        seed in any::<u64>(),
        ops in prop::collection::vec(op(), 1..80),
    ) {
        let disk = SimDisk::new(seed);
        let (spool, _) = open(&disk);
        let (appended, seen) = (Vec::new(), BTreeMap::new());
        let mut run = Run { disk, spool, appended, seen, stamp: 0 };
        for op in &ops {
            run.apply(op);
            run.check();
        }
    }
}
