//! Finds messages in what comes over a connection: counted ones or lines, as RFC 6587 names them.
//!
//! ```text
//! counted: length in digits, a space, so many bytes      35 <38>1 2026-11-02T09:12:33Z gw app ...
//! line:    bytes, a newline                              <38>Nov  2 09:12:33 gw app: ...
//! ```
//! A sender does one or the other for as long as a connection lasts, and its first message says which: only a counted
//! one begins with a number, a space and a priority's `<`. So a line that begins like a counted message is a line where
//! lines are sent. Where messages are counted and what follows one is not the beginning of the next, the count was
//! wrong: what stands up to the next newline or the next such beginning is handed out as a message of its own that is
//! known to be none.

use memchr::{memchr, memmem};
use shared::limits::RECORD_BYTES_MAX;

/// Most digits of a length; a message of more bytes is none.
const LENGTH_DIGITS_MAX: usize = 8;

/// What the bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A message of `len` bytes behind `head` bytes that are none of its; `consumed` bytes are done
    /// with it.
    Message {
        /// Bytes before it.
        head: usize,
        /// Its bytes.
        len: usize,
        /// Bytes to go on behind.
        consumed: usize,
        /// Whether the message was longer than a record may be.
        cut: bool,
        /// Whether it is what stands where a counted message should.
        stray: bool,
    },
    /// So many bytes that are none of a message's.
    Skip(usize),
    /// Not a whole message yet.
    More,
}

/// How the messages of one connection are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Framing {
    /// As the first message says.
    method: Option<Method>,
    place: Place,
}

/// How a sender says where its messages end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Counted,
    Lines,
}

/// Where in a message the next bytes lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// At its beginning.
    #[default]
    Start,
    /// In a counted one that was cut, so many bytes before its end.
    CutCounted(usize),
    /// In a line that was cut.
    CutLine,
}

impl Framing {
    /// Says what `bytes` begin with; `is_end` says that no more will come.
    pub(super) fn next(&mut self, bytes: &[u8], is_end: bool) -> Frame {
        if bytes.is_empty() {
            return Frame::More;
        }
        match self.place {
            Place::CutCounted(rest) => {
                let skip = rest.min(bytes.len());
                self.place =
                    if skip == rest { Place::Start } else { Place::CutCounted(rest - skip) };
                Frame::Skip(skip)
            }
            Place::CutLine => match memchr(b'\n', bytes) {
                Some(newline) => {
                    self.place = Place::Start;
                    Frame::Skip(newline + 1)
                }
                None => Frame::Skip(bytes.len()),
            },
            Place::Start => self.start(bytes, is_end),
        }
    }

    fn start(&mut self, bytes: &[u8], is_end: bool) -> Frame {
        let between = bytes.iter().take_while(|byte| matches!(byte, b'\n' | b'\r' | 0)).count();
        if between > 0 {
            return Frame::Skip(between);
        }
        if self.method == Some(Method::Lines) {
            return self.line(bytes, is_end);
        }
        match length(bytes) {
            Length::Unknown if !is_end => Frame::More,
            Length::None | Length::Unknown if self.method == Some(Method::Counted) => {
                stray(bytes, is_end)
            }
            Length::None | Length::Unknown => {
                self.method = Some(Method::Lines);
                self.line(bytes, is_end)
            }
            Length::Counted { head, len } => {
                self.method = Some(Method::Counted);
                self.counted(bytes, is_end, head, len)
            }
        }
    }

    fn counted(&mut self, bytes: &[u8], is_end: bool, head: usize, len: usize) -> Frame {
        let (taken, there) = (len.min(RECORD_BYTES_MAX), bytes.len() - head);
        if there < taken && !is_end {
            return Frame::More;
        }
        if there >= taken && len > taken {
            self.place = Place::CutCounted(len - taken);
        }
        let (cut, taken) = (there >= taken && len > taken, taken.min(there));
        Frame::Message { head, len: taken, consumed: head + taken, cut, stray: false }
    }

    fn line(&mut self, bytes: &[u8], is_end: bool) -> Frame {
        let within = &bytes[..bytes.len().min(RECORD_BYTES_MAX + 1)];
        let line =
            |len, consumed, cut| Frame::Message { head: 0, len, consumed, cut, stray: false };
        if let Some(len) = memchr(b'\n', within) {
            return line(len, len + 1, false);
        }
        if bytes.len() > RECORD_BYTES_MAX {
            self.place = Place::CutLine;
            return line(RECORD_BYTES_MAX, RECORD_BYTES_MAX, true);
        }
        if is_end { line(bytes.len(), bytes.len(), false) } else { Frame::More }
    }
}

/// Returns what stands where a counted message should. Of one that is longer than a record the rest is another.
fn stray(bytes: &[u8], is_end: bool) -> Frame {
    let within = &bytes[..bytes.len().min(RECORD_BYTES_MAX)];
    let newline = memchr(b'\n', within);
    let len = newline.into_iter().chain(next_counted(within)).min();
    match len {
        None if within.len() == bytes.len() && !is_end => Frame::More,
        len => {
            let len = len.unwrap_or(within.len());
            Frame::Message { head: 0, len, consumed: len, cut: false, stray: true }
        }
    }
}

/// Returns where behind the first byte a counted message may begin.
fn next_counted(bytes: &[u8]) -> Option<usize> {
    memmem::find_iter(bytes, b" <").find_map(|space| {
        let digits = bytes[..space].iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let begin = space - digits;
        let is_length = (1..=LENGTH_DIGITS_MAX).contains(&digits) && bytes[begin] != b'0';
        (begin > 0 && is_length).then_some(begin)
    })
}

/// What a message's beginning says of its length.
enum Length {
    Counted { head: usize, len: usize },
    None,
    Unknown,
}

fn length(bytes: &[u8]) -> Length {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || digits > LENGTH_DIGITS_MAX || bytes[0] == b'0' {
        return Length::None;
    }
    match bytes[digits..] {
        [] | [b' '] => Length::Unknown,
        [b' ', b'<', ..] => {
            let add = |len: usize, byte: &u8| len * 10 + usize::from(byte - b'0');
            Length::Counted { head: digits + 1, len: bytes[..digits].iter().fold(0, add) }
        }
        _ => Length::None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Frames bytes that come in pieces of these sizes.
    fn messages(bytes: &[u8], sizes: &[usize]) -> Vec<(Vec<u8>, bool)> {
        let (mut framing, mut pending, mut found) = (Framing::default(), Vec::new(), Vec::new());
        let mut rest = bytes;
        for size in sizes.iter().cycle() {
            let (piece, after) = rest.split_at((*size).min(rest.len()));
            pending.extend_from_slice(piece);
            rest = after;
            loop {
                match framing.next(&pending, rest.is_empty()) {
                    Frame::Message { head, len, consumed, cut, .. } => {
                        found.push((pending[head..head + len].to_vec(), cut));
                        pending.drain(..consumed);
                    }
                    Frame::Skip(count) => drop(pending.drain(..count)),
                    Frame::More => break,
                }
            }
            if rest.is_empty() {
                break;
            }
        }
        assert!(pending.is_empty(), "all bytes are accounted for");
        found
    }

    fn texts(bytes: &[u8]) -> Vec<String> {
        let found = messages(bytes, &[1]);
        found.into_iter().map(|(text, _)| String::from_utf8(text).unwrap()).collect()
    }

    /// Returns what stands where counted messages should.
    fn strays(bytes: &[u8]) -> Vec<String> {
        let (mut framing, mut rest, mut found) = (Framing::default(), bytes, Vec::new());
        loop {
            match framing.next(rest, true) {
                Frame::Message { head, len, consumed, stray, .. } => {
                    let text = String::from_utf8(rest[head..head + len].to_vec()).unwrap();
                    found.extend(stray.then_some(text));
                    rest = &rest[consumed..];
                }
                Frame::Skip(count) => rest = &rest[count..],
                Frame::More => return found,
            }
        }
    }

    #[test]
    fn a_line_that_begins_like_a_counted_message_is_a_line_where_lines_are_sent() {
        let bytes = b"<2>line\n9 <3>a\n3 <4>bcd\n<5>last";
        assert_eq!(texts(bytes), ["<2>line", "9 <3>a", "3 <4>bcd", "<5>last"]);
        assert_eq!(strays(bytes), [""; 0]);
    }

    #[test]
    fn counted_messages_have_newlines_in_them_and_between_them() {
        let bytes = b"\n5 <1>ab9 <3>a\nb\ncd\n\r\n\x004 <4>e";
        assert_eq!(texts(bytes), ["<1>ab", "<3>a\nb\ncd", "<4>e"]);
        assert_eq!(strays(bytes), [""; 0]);
    }

    #[test]
    fn what_stands_where_a_counted_message_should_is_handed_out_and_known() {
        let bytes = b"4 <1>abc5 <2>de6 <3>fgh<4>line\n12 x\n007 <5>i5 <6>jk";
        assert_eq!(strays(bytes), ["bc", "<4>line", "12 x", "007 <5>i"]);
        let all = ["<1>a", "bc", "<2>de", "<3>fgh", "<4>line", "12 x", "007 <5>i", "<6>jk"];
        assert_eq!(texts(bytes), all);
    }

    #[test]
    fn of_what_is_out_of_step_no_byte_is_lost_however_long_it_is() {
        let long = "x".repeat(2 * RECORD_BYTES_MAX + 7);
        let found = messages(format!("4 <1>a{long}4 <2>b").as_bytes(), &[4096]);
        let lens: Vec<usize> = found.iter().map(|(text, _)| text.len()).collect();
        assert_eq!(lens, [4, RECORD_BYTES_MAX, RECORD_BYTES_MAX, 7, 4]);
    }

    #[test]
    fn a_line_that_begins_with_a_number_is_a_line() {
        let bytes = b"2026-11-02 a\n12 monkeys\n007 <x\n123456789 <y\n5";
        assert_eq!(texts(bytes), ["2026-11-02 a", "12 monkeys", "007 <x", "123456789 <y", "5"]);
    }

    #[test]
    fn a_counted_message_that_the_end_cuts_off_is_kept() {
        assert_eq!(texts(b"100 <1>half"), ["<1>half"]);
    }

    #[test]
    fn what_is_too_long_is_cut_and_the_next_message_is_whole() {
        let long = "x".repeat(3 * RECORD_BYTES_MAX);
        let counted = format!("{} <1>{long}7 <1>next", long.len() + 3);
        let line = format!("<1>{long}\n<1>next\n");
        for text in [counted, line] {
            let found = messages(text.as_bytes(), &[4096]);
            assert_eq!(found.len(), 2);
            assert_eq!((found[0].0.len(), found[0].1), (RECORD_BYTES_MAX, true));
            assert_eq!(found[1], (b"<1>next".to_vec(), false));
        }
    }

    proptest! {
        #[test]
        fn how_the_bytes_are_cut_into_reads_changes_nothing(
            bytes in proptest::collection::vec(prop_oneof![
                Just(b'\n'), Just(b'<'), Just(b' '), b'0'..=b'9', any::<u8>()
            ], 0..200),
            sizes in proptest::collection::vec(1_usize..20, 1..8),
        ) {
            prop_assert_eq!(messages(&bytes, &sizes), messages(&bytes, &[1_000]));
        }
    }
}
