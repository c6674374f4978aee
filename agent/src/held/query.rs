//! Finding what a rule held or folded, step by step.
//!
//! A query looks into one ring after the other. It reads only the chunks that have anything of the rule and the
//! time that is asked for, one block a step, and gathers what it finds in new blocks: byte for byte the records
//! that were held, and nothing of another rule. At its end it says what is missing, and why.

use bytes::Bytes;
use shared::{
    alert::Field,
    block::{Block, BlockBuilder, BlockError, PushError},
    ids::Seq,
    recall::{Evicted, Recall, RecallEnd, RecallOutcome},
    time::Timestamp,
};
use thiserror::Error;

use super::{
    HeldReader, LANE,
    state::{Chunk, RuleNumber, Span, State},
};
use crate::spool::{ReadBlock, ReadError};

/// What a step gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing yet.
    Again,
    /// A block of records that were asked for.
    Block(Bytes),
    /// All was looked at.
    End(RecallEnd),
}

/// Why a query cannot go on.
#[derive(Debug, Error)]
pub enum QueryError {
    /// The ring cannot be read now.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A chunk to be looked into.
#[derive(Clone, Copy, Debug)]
struct Range {
    next: u64,
    last: u64,
    /// How many records of the rule it has that were not seen yet.
    unseen: u64,
    /// How many were.
    seen: u64,
}

/// A query under way.
#[derive(Debug)]
pub struct Query {
    ask: Recall,
    /// The rings that were not begun yet, the next one last.
    readers: Vec<HeldReader>,
    /// The ring that is looked into.
    search: Option<Search>,
    /// What was found in the rings before.
    answer: RecallEnd,
}

/// A query of one ring.
#[derive(Debug)]
struct Search {
    reader: HeldReader,
    ask: Recall,
    /// The oldest last.
    ranges: Vec<Range>,
    builder: BlockBuilder,
    /// A block that the step has finished.
    ready: Option<Bytes>,
    answer: RecallEnd,
    /// Records that were found and are counted by a tombstone since.
    told_twice: u64,
    level: i32,
}

impl HeldReader {
    /// Returns what was evicted of the rule, of spans of time that the asked one overlaps.
    fn evicted(&self, ask: &Recall) -> Option<Evicted> {
        let state = self.state();
        let number = number_of(&state, &ask.rule)?;
        let stones = state.rules[&number].tombstones.iter();
        let stones = stones.filter(|stone| stone.span.overlaps(ask.since, ask.until));
        let (mut span, mut evicted_at) = (None::<Span>, Timestamp::ZERO);
        for stone in stones {
            span.get_or_insert(Span { count: 0, ..stone.span }).add(stone.span);
            evicted_at = evicted_at.max(stone.evicted_at);
        }
        span.map(|Span { count, from, until }| Evicted { count, from, until, evicted_at })
    }

    /// Returns how many records of no known rule are gone without a tombstone.
    fn lost(&self) -> u64 {
        self.state().totals.lost
    }
}

impl Query {
    /// Begins to look for what is asked for, in each of the rings.
    #[must_use]
    pub fn new(rings: &[HeldReader], ask: Recall) -> Self {
        let answer = RecallEnd::empty(ask.id, RecallOutcome::Answered);
        Self { ask, readers: rings.iter().rev().cloned().collect(), search: None, answer }
    }

    /// Looks at the next block.
    ///
    /// # Errors
    /// The ring cannot be read now: the same step may succeed later.
    pub fn step(&mut self) -> Result<Step, QueryError> {
        let Some(search) = &mut self.search else {
            let Some(reader) = self.readers.pop() else { return Ok(Step::End(self.answer)) };
            let bytes_max = self.ask.bytes_max.saturating_sub(self.answer.bytes);
            self.search = Some(Search::new(reader, Recall { bytes_max, ..self.ask.clone() }));
            return Ok(Step::Again);
        };
        Ok(match search.step()? {
            Step::End(end) => {
                self.answer = together(self.answer, end);
                self.search = None;
                Step::Again
            }
            other => other,
        })
    }

    /// Ends the answer here, with what was sent.
    #[must_use]
    pub fn give_up(&self, outcome: RecallOutcome) -> RecallEnd {
        let sent = self.search.as_ref().map_or(self.answer, |it| together(self.answer, it.answer));
        RecallEnd { outcome, ..sent }
    }
}

/// Returns the end of an answer that two rings gave.
fn together(first: RecallEnd, second: RecallEnd) -> RecallEnd {
    let evicted = match (first.evicted, second.evicted) {
        (Some(one), Some(other)) => Some(Evicted {
            count: one.count + other.count,
            from: one.from.min(other.from),
            until: one.until.max(other.until),
            evicted_at: one.evicted_at.max(other.evicted_at),
        }),
        (one, other) => one.or(other),
    };
    RecallEnd {
        records: first.records + second.records,
        bytes: first.bytes + second.bytes,
        evicted,
        lost: first.lost + second.lost,
        truncated: first.truncated || second.truncated,
        ..first
    }
}

fn number_of(state: &State, id: &str) -> Option<RuleNumber> {
    state.rules.iter().find(|(_, rule)| rule.id == id).map(|(number, _)| *number)
}

fn range(chunk: &Chunk, number: RuleNumber, ask: &Recall) -> Option<Range> {
    let span = chunk.rules.get(&number).filter(|span| span.overlaps(ask.since, ask.until))?;
    Some(Range { next: chunk.first, last: chunk.last, unseen: span.count, seen: 0 })
}

impl Search {
    /// Begins to look for what is asked for, among what counts now.
    fn new(reader: HeldReader, ask: Recall) -> Self {
        let mut ranges = Vec::new();
        {
            let state = reader.state();
            if let Some(number) = number_of(&state, &ask.rule) {
                ranges.extend(
                    state.chunks.iter().rev().filter_map(|chunk| range(chunk, number, &ask)),
                );
            }
        }
        let answer = RecallEnd::empty(ask.id, RecallOutcome::Answered);
        let builder = BlockBuilder::new();
        Self { reader, ask, ranges, builder, ready: None, answer, told_twice: 0, level: 1 }
    }

    fn step(&mut self) -> Result<Step, QueryError> {
        let Some(range) = self.ranges.last_mut() else { return Ok(self.end()) };
        let Some(seq) = Seq::new(range.next).filter(|_| range.next <= range.last) else {
            self.answer.lost += range.unseen;
            self.ranges.pop();
            return Ok(Step::Again);
        };
        match self.reader.spool.read(LANE, seq) {
            Ok(ReadBlock::Block(bytes)) => {
                range.next += 1;
                // A block that cannot be read leaves its records unseen.
                if let Err(error) = self.look_into(bytes) {
                    tracing::warn!(%seq, %error, "held block cannot be read");
                }
            }
            Ok(ReadBlock::Lost { last, .. }) => range.next = last.as_u64() + 1,
            // Evicted meanwhile: its tombstone is there by now, and counts what was seen of it, too.
            Err(ReadError::Acked { .. }) => {
                self.told_twice += range.seen;
                self.ranges.pop();
            }
            Err(error) => return Err(error.into()),
        }
        Ok(self.ready.take().map_or(Step::Again, |block| self.emit(block)))
    }

    fn look_into(&mut self, bytes: Bytes) -> Result<(), BlockError> {
        let block = Block::parse(bytes)?;
        let raw = block.decompress_fields()?;
        let fields = raw.decode()?;
        let rule = self.ask.rule.as_str();
        let of_rule = |at: &usize| fields.text(*at, Field::PolicyRule) == Some(rule);
        let positions: Vec<usize> = (0..fields.len()).filter(of_rule).collect();
        if positions.is_empty() {
            return Ok(());
        }
        let records = block.records()?;
        if let Some(range) = self.ranges.last_mut() {
            range.unseen = range.unseen.saturating_sub(positions.len() as u64);
            range.seen += positions.len() as u64;
        }
        for at in positions {
            let alert = fields.alert(at);
            if !(self.ask.since..self.ask.until).contains(&alert.event_time()) {
                continue;
            }
            if self.builder.push(&alert, &records[at]) == Err(PushError::Full) {
                // At most one block is made of one, as both have the same bounds.
                self.ready = Some(self.builder.finish(self.level));
                let pushed = self.builder.push(&alert, &records[at]);
                debug_assert!(pushed.is_ok(), "it was in a block before");
            }
        }
        Ok(())
    }

    fn emit(&mut self, block: Bytes) -> Step {
        let alerts = Block::parse(block.clone()).map_or(0, |block| u64::from(block.alerts()));
        if self.answer.bytes + block.len() as u64 > self.ask.bytes_max {
            self.answer.truncated = true;
            self.ranges.clear();
            self.builder = BlockBuilder::new();
            return Step::Again;
        }
        self.answer.bytes += block.len() as u64;
        self.answer.records += alerts;
        Step::Block(block)
    }

    fn end(&mut self) -> Step {
        if !self.builder.is_empty() {
            let block = self.builder.finish(self.level);
            if let block @ Step::Block(_) = self.emit(block) {
                return block;
            }
        }
        let mut answer = self.answer;
        answer.evicted = self.reader.evicted(&self.ask).and_then(|evicted| {
            let count = evicted.count.saturating_sub(self.told_twice);
            (count > 0).then_some(Evicted { count, ..evicted })
        });
        answer.lost += self.reader.lost();
        Step::End(answer)
    }
}
