//! Lines in a buffer that is used again and again; of Windows' events as XML, the events.
//!
//! # Invariants
//! - How a file is cut into reads does not change the lines that come out of it.
//! - A line handed out is at most [`RECORD_BYTES_MAX`] long; the rest of a longer one is skipped.

mod events;

use std::io::{self, Read};

use memchr::{memchr, memchr_iter};
use shared::limits::RECORD_BYTES_MAX;

use crate::limits::{READ_BYTES, READ_LINES_MAX};

/// Where a record ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecordEnd {
    /// With its line.
    #[default]
    Line,
    /// With its event, where it is one of Windows' as XML: it may have several lines, and a line several events. Else
    /// with its line.
    Event,
}

/// The buffer that lines are read into; one serves any number of files.
#[derive(Debug)]
pub struct ReadBuffer {
    pub(super) bytes: Vec<u8>,
    pub(super) spans: Vec<Span>,
    pub(super) record_end: RecordEnd,
}

impl Default for ReadBuffer {
    fn default() -> Self {
        Self { bytes: vec![0; READ_BYTES], spans: Vec::new(), record_end: RecordEnd::Line }
    }
}

impl ReadBuffer {
    /// Returns a buffer of [`READ_BYTES`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says where the records end that are read next.
    pub fn expect(&mut self, record_end: RecordEnd) {
        self.record_end = record_end;
    }

    /// Empties it, to be filled message by message.
    pub(super) fn clear(&mut self) {
        self.spans.clear();
    }

    /// Returns whether nothing was put into it.
    pub(super) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Returns how many bytes of it the messages in it take.
    pub(super) fn filled(&self) -> usize {
        self.spans.last().map_or(0, |span| span.next as usize)
    }

    /// Returns where the next message can be put, if there is room for `bytes`.
    pub(super) fn room(&mut self, bytes: usize) -> Option<&mut [u8]> {
        let filled = self.filled();
        let has_room = self.spans.len() < READ_LINES_MAX && self.bytes.len() - filled >= bytes;
        has_room.then(|| &mut self.bytes[filled..])
    }

    /// Takes the `len` bytes that were put into the room as a message; the newlines at its end are
    /// none of it, and nothing is left of an empty one.
    pub(super) fn took(&mut self, len: usize) {
        self.add(len, false, false);
    }

    /// Takes a message like [`Self::took`]; returns whether there was room for it.
    pub(super) fn push(&mut self, message: &[u8], cut: bool) -> bool {
        self.put(message, cut, false)
    }

    /// Takes what stands where a message should, like [`Self::push`].
    pub(super) fn push_stray(&mut self, bytes: &[u8]) -> bool {
        self.put(bytes, false, true)
    }

    fn put(&mut self, message: &[u8], cut: bool, is_stray: bool) -> bool {
        let Some(room) = self.room(message.len()) else { return false };
        room[..message.len()].copy_from_slice(message);
        self.add(message.len(), cut, is_stray);
        true
    }

    /// Cuts each line's beginning off, up to and with the first `mark`; `each` gets it, and where the line ends.
    pub(super) fn cut_off(&mut self, mark: u8, mut each: impl FnMut(&[u8], u64)) {
        for span in &mut self.spans {
            let line = &self.bytes[span.start as usize..(span.start + span.len) as usize];
            let Some(at) = memchr(mark, line) else { continue };
            each(&line[..at], u64::from(span.next));
            let cut = u32::try_from(at + 1).expect("the buffer is READ_BYTES long");
            span.start += cut;
            span.len -= cut;
        }
    }

    fn add(&mut self, len: usize, cut: bool, is_stray: bool) {
        let start = self.filled();
        let is_text = |byte: &u8| !matches!(byte, b'\n' | b'\r' | 0);
        let message = &self.bytes[start..start + len];
        let len = message.iter().rposition(is_text).map_or(0, |last| last + 1);
        if !message[..len].trim_ascii().is_empty() {
            let number = |at: usize| u32::try_from(at).expect("the buffer is READ_BYTES long");
            let next = number(start + len);
            let (start, len) = (number(start), number(len));
            self.spans.push(Span { start, len, next, cut, is_stray });
        }
    }
}

/// Where a line stands in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    len: u32,
    /// Bytes from the buffer's start to where the next line starts.
    next: u32,
    cut: bool,
    is_stray: bool,
}

/// Lines of one file, in order.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'b> {
    bytes: &'b [u8],
    spans: &'b [Span],
    /// Offset in the file of the buffer's first byte.
    at: u64,
}

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'b> {
    /// Its bytes, without the newline.
    pub bytes: &'b [u8],
    /// Offset in the file of what follows the line: what a checkpoint after it says.
    pub end: u64,
    /// Whether the line was longer than a record may be, and was cut.
    pub cut: bool,
    /// Whether it is no record, but what stands where one should.
    pub is_stray: bool,
}

impl<'b> Batch<'b> {
    /// No lines.
    pub const EMPTY: Self = Self { bytes: &[], spans: &[], at: 0 };

    pub(super) fn new(buffer: &'b ReadBuffer, at: u64) -> Self {
        Self { bytes: &buffer.bytes, spans: &buffer.spans, at }
    }

    /// Returns how many lines there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Returns the lines.
    pub fn lines(&self) -> impl ExactSizeIterator<Item = Line<'b>> + use<'b> {
        let (bytes, at) = (self.bytes, self.at);
        self.spans.iter().map(move |span| {
            let start = span.start as usize;
            Line {
                bytes: &bytes[start..start + span.len as usize],
                end: at + u64::from(span.next),
                cut: span.cut,
                is_stray: span.is_stray,
            }
        })
    }
}

/// Reads lines of something that has an end, and waits for them, such as a text that is unpacked.
#[derive(Debug)]
pub struct LineReader<R> {
    from: R,
    /// The beginning of a line whose end was not read yet.
    pending: Vec<u8>,
    skipping: bool,
    is_over: bool,
    /// Bytes before those that are pending.
    at: u64,
}

impl<R: Read> LineReader<R> {
    /// Returns the reader of what comes from `from`.
    #[must_use]
    pub const fn new(from: R) -> Self {
        Self { from, pending: Vec::new(), skipping: false, is_over: false, at: 0 }
    }

    /// Reads lines into `buffer`, as much as fits; none at the end. The last line may be without a newline.
    ///
    /// # Errors
    /// Whatever `from` reports.
    pub fn read_batch<'b>(&mut self, buffer: &'b mut ReadBuffer) -> io::Result<Batch<'b>> {
        loop {
            let mut filled = self.pending.len();
            buffer.bytes[..filled].copy_from_slice(&self.pending);
            while filled < READ_BYTES && !self.is_over {
                match self.from.read(&mut buffer.bytes[filled..]) {
                    Ok(0) => self.is_over = true,
                    Ok(count) => filled += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            let bytes = &buffer.bytes[..filled];
            let (end, is_over) = (buffer.record_end, self.is_over);
            let split = split(bytes, end, self.skipping, is_over, &mut buffer.spans);
            let at = self.at;
            self.skipping = split.skipping;
            self.at += split.consumed as u64;
            self.pending.clear();
            self.pending.extend_from_slice(&bytes[split.consumed..]);
            if !buffer.spans.is_empty() || self.is_over && self.pending.is_empty() {
                return Ok(Batch::new(buffer, at));
            }
        }
    }
}

/// What splitting made of the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Split {
    /// Bytes that were taken: those of the lines, and those that were skipped.
    pub(super) consumed: usize,
    /// Whether the next bytes are the rest of a line that was cut.
    pub(super) skipping: bool,
    /// Lines that were cut.
    pub(super) cut: u64,
    /// Bytes of zeros before lines, such as a file's hole after its writer went on behind a
    /// truncation.
    pub(super) hole_bytes: u64,
    /// Bytes of the rest of lines that were cut.
    pub(super) skipped_bytes: u64,
    /// Whether it stopped because the batch has all lines that it may have.
    pub(super) full: bool,
}

/// Splits `bytes` into lines, or what ends as `record_end` says, whose spans it puts in `spans`.
///
/// `skipping` says that they start within a line that was cut, `ended` that nothing will follow
/// them. What is left at the end without a newline stays untaken, unless it is too long for a
/// record or nothing will follow.
pub(super) fn split(
    bytes: &[u8],
    record_end: RecordEnd,
    skipping: bool,
    ended: bool,
    spans: &mut Vec<Span>,
) -> Split {
    match record_end {
        RecordEnd::Line => split_lines(bytes, skipping, ended, spans),
        RecordEnd::Event => events::split(bytes, skipping, ended, spans),
    }
}

fn split_lines(bytes: &[u8], skipping: bool, ended: bool, spans: &mut Vec<Span>) -> Split {
    spans.clear();
    let mut split = Split { skipping, ..Split::default() };
    if skipping {
        let end = memchr(b'\n', bytes);
        split.consumed = end.map_or(bytes.len(), |end| end + 1);
        split.skipping = end.is_none();
        split.skipped_bytes = split.consumed as u64;
    }
    if split.skipping {
        return split;
    }
    let first = split.consumed;
    for newline in memchr_iter(b'\n', &bytes[first..]) {
        if spans.len() == READ_LINES_MAX {
            split.full = true;
            return split;
        }
        let end = first + newline;
        split.take(bytes, end, end + 1, spans);
    }
    let rest = bytes.len() - split.consumed;
    if rest == 0 || spans.len() == READ_LINES_MAX {
        split.full = rest > 0;
        return split;
    }
    let zeros = bytes[split.consumed..].iter().take_while(|byte| **byte == 0).count();
    split.consumed += zeros;
    split.hole_bytes += zeros as u64;
    let rest = rest - zeros;
    if rest > RECORD_BYTES_MAX {
        split.take(bytes, bytes.len(), bytes.len(), spans);
        split.skipping = true;
    } else if ended && rest > 0 {
        split.take(bytes, bytes.len(), bytes.len(), spans);
    }
    split
}

impl Split {
    /// Takes the line from what was consumed to `end`; the next one starts at `next`.
    fn take(&mut self, bytes: &[u8], end: usize, next: usize, spans: &mut Vec<Span>) {
        let mut start = self.consumed;
        self.consumed = next;
        while start < end && bytes[start] == 0 {
            start += 1;
            self.hole_bytes += 1;
        }
        let line = &bytes[start..end];
        if line.is_empty() || (line[0].is_ascii_whitespace() && line.trim_ascii().is_empty()) {
            return;
        }
        let cut = line.len() > RECORD_BYTES_MAX;
        let len = line.len().min(RECORD_BYTES_MAX);
        self.cut += u64::from(cut);
        self.skipped_bytes += (line.len() - len) as u64;
        let number = |at: usize| u32::try_from(at).expect("the buffer is READ_BYTES long");
        let (start, len, next) = (number(start), number(len), number(next));
        spans.push(Span { start, len, next, cut, is_stray: false });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn how_a_file_is_cut_into_reads_does_not_change_its_lines(
            pieces in proptest::collection::vec(piece(), 0..12),
            reads in proptest::collection::vec(1_usize..READ_BYTES, 1..8),
            ended: bool,
        ) {
            let bytes = pieces.concat();
            let read = chunked(&bytes, RecordEnd::Line, &reads, ended);
            prop_assert_eq!(read, reference(&bytes, ended));
        }

        #[test]
        fn how_a_file_is_cut_into_reads_does_not_change_its_events(
            pieces in proptest::collection::vec(piece_of_events(), 0..12),
            reads in proptest::collection::vec(1_usize..READ_BYTES, 1..8),
            short in proptest::collection::vec(1_usize..20, 1..4),
            ended: bool,
        ) {
            let bytes = pieces.concat();
            let whole = chunked(&bytes, RecordEnd::Event, &[READ_BYTES], ended);
            prop_assert_eq!(&chunked(&bytes, RecordEnd::Event, &reads, ended), &whole);
            if bytes.len() < 2_000 {
                prop_assert_eq!(&chunked(&bytes, RecordEnd::Event, &short, ended), &whole);
            }
        }
    }

    #[test]
    fn a_line_of_exactly_the_longest_record_is_not_cut() {
        for (len, cut) in [(RECORD_BYTES_MAX, false), (RECORD_BYTES_MAX + 1, true)] {
            let mut bytes = vec![b'x'; len];
            bytes.push(b'\n');
            let mut spans = Vec::new();
            let split = split(&bytes, RecordEnd::Line, false, false, &mut spans);
            assert_eq!((split.consumed, split.skipping), (bytes.len(), false));
            assert_eq!((spans[0].len as usize, spans[0].cut), (RECORD_BYTES_MAX, cut));
        }
    }

    #[test]
    fn a_batch_has_no_more_lines_than_it_may() {
        let bytes = b"a\n".repeat(READ_LINES_MAX + 5);
        let mut spans = Vec::new();
        let first = split(&bytes, RecordEnd::Line, false, false, &mut spans);
        assert_eq!((spans.len(), first.full), (READ_LINES_MAX, true));
        let second = split(&bytes[first.consumed..], RecordEnd::Line, false, false, &mut spans);
        assert_eq!((spans.len(), second.full), (5, false));
    }

    #[test]
    fn zeros_before_a_line_are_a_hole_and_counted() {
        let mut spans = Vec::new();
        let bytes = [&[0; 300][..], b"{}\n\0\0"].concat();
        let split = split(&bytes, RecordEnd::Line, false, false, &mut spans);
        assert_eq!((split.hole_bytes, split.consumed), (302, bytes.len()));
        assert_eq!((spans[0].start, spans[0].len), (300, 2));
    }

    fn piece() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            4 => proptest::collection::vec(any::<u8>(), 0..200),
            4 => "[a-z]{0,40}\n".prop_map(String::into_bytes),
            2 => Just(b"\n \r\n\0\0".to_vec()),
            1 => (RECORD_BYTES_MAX - 2..RECORD_BYTES_MAX + 6000).prop_map(|len| vec![b'x'; len]),
        ]
    }

    fn piece_of_events() -> impl Strategy<Value = Vec<u8>> {
        let filler = RECORD_BYTES_MAX - 40..RECORD_BYTES_MAX + 10;
        prop_oneof![
            4 => "<Event x='1'>[a-z\\n<>]{0,20}</Event>",
            2 => "[ \\n\\r\\x00]{0,3}",
            2 => Just("<Events>\n".to_owned()),
            2 => Just("<Event>\n<EventData>".to_owned()),
            2 => Just("</Event>".to_owned()),
            2 => "\\{[a-z]{0,20}\\}\n",
            1 => filler.prop_map(|len| format!("<Event>{}", "x".repeat(len))),
        ]
        .prop_map(String::into_bytes)
    }

    fn events(text: &str) -> Vec<String> {
        let read = chunked(text.as_bytes(), RecordEnd::Event, &[READ_BYTES], true);
        read.into_iter().map(|record| String::from_utf8(record).unwrap()).collect()
    }

    #[test]
    fn each_event_is_a_record_on_however_many_lines_it_stands() {
        let pretty = "<Event xmlns=\"x\">\n  <System/>\n  <EventData>\n  </EventData>\n</Event>";
        let text = format!(
            "<?xml version=\"1.0\"?>\r\n<Events><Event>1</Event><Event>2</Event>\n{pretty}\n\
             {{\"Event\":3}}\n<Event>4</Event>\n</Events>"
        );
        let expected = [
            "<?xml version=\"1.0\"?>\r",
            "<Events>",
            "<Event>1</Event>",
            "<Event>2</Event>",
            pretty,
            "{\"Event\":3}",
            "<Event>4</Event>",
            "</Events>",
        ];
        assert_eq!(events(&text), expected);
    }

    #[test]
    fn an_event_without_its_end_does_not_take_the_next_one() {
        let text = "<Event><System>\n  <Event>2</Event>\n<Data>3</Data>\n<Event>4</Event>";
        let expected =
            ["<Event><System>\n  ", "<Event>2</Event>", "<Data>3</Data>", "<Event>4</Event>"];
        assert_eq!(events(text), expected);
    }

    #[test]
    fn an_event_that_is_too_long_is_cut_and_the_next_one_on_its_line_is_whole() {
        for more in 0..20 {
            let long = "x".repeat(RECORD_BYTES_MAX - 17 + more);
            let read = events(&format!("<Event>{long}</Event><Event>2</Event>\n"));
            assert_eq!(read.len(), 2, "{more}");
            assert!(read[0].len() <= RECORD_BYTES_MAX && read[0].starts_with("<Event>xx"));
            assert_eq!(read[0].ends_with("</Event>"), more < 3, "{more}");
            assert_eq!(read[1], "<Event>2</Event>", "{more}");
        }
    }

    /// Reads with a buffer of changing size, and grows it as the reader of files does.
    fn chunked(bytes: &[u8], end: RecordEnd, reads: &[usize], ended: bool) -> Vec<Vec<u8>> {
        let (mut lines, mut spans) = (Vec::new(), Vec::new());
        let (mut at, mut skipping) = (0, false);
        let mut sizes = reads.iter().copied().cycle();
        let mut size = sizes.next().unwrap();
        loop {
            let to = bytes.len().min(at + size);
            let is_last = ended && to == bytes.len();
            let split = split(&bytes[at..to], end, skipping, is_last, &mut spans);
            for span in &spans {
                let start = at + span.start as usize;
                lines.push(bytes[start..start + span.len as usize].to_vec());
            }
            at += split.consumed;
            skipping = split.skipping;
            if split.consumed > 0 {
                size = sizes.next().unwrap();
            } else if to == bytes.len() {
                return lines;
            } else {
                size = READ_BYTES;
            }
        }
    }

    fn reference(bytes: &[u8], ended: bool) -> Vec<Vec<u8>> {
        let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
        let last = lines.pop().unwrap_or_default();
        let last_start = last.iter().position(|byte| *byte != 0).unwrap_or(last.len());
        if ended || last.len() - last_start > RECORD_BYTES_MAX {
            lines.push(last);
        }
        let mut texts = Vec::new();
        for line in lines {
            let start = line.iter().position(|byte| *byte != 0).unwrap_or(line.len());
            let line = &line[start..];
            if !line.trim_ascii().is_empty() {
                texts.push(line[..line.len().min(RECORD_BYTES_MAX)].to_vec());
            }
        }
        texts
    }
}
