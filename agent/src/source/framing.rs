//! Finds messages in what comes over a connection: counted ones and lines, as RFC 6587 names them.
//!
//! ```text
//! counted: length in digits, a space, so many bytes      35 <38>1 2026-11-02T09:12:33Z gw app ...
//! line:    bytes, a newline                              <38>Nov  2 09:12:33 gw app: ...
//! ```
//! Each message says by its beginning which it is: only a counted one begins with a number, a space
//! and a priority's `<`.

use memchr::memchr;
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
    },
    /// So many bytes that are none of a message's.
    Skip(usize),
    /// Not a whole message yet.
    More,
}

/// Where in a message the next bytes lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Framing {
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
        match *self {
            Self::CutCounted(rest) => {
                let skip = rest.min(bytes.len());
                *self = if skip == rest { Self::Start } else { Self::CutCounted(rest - skip) };
                Frame::Skip(skip)
            }
            Self::CutLine => match memchr(b'\n', bytes) {
                Some(newline) => {
                    *self = Self::Start;
                    Frame::Skip(newline + 1)
                }
                None => Frame::Skip(bytes.len()),
            },
            Self::Start => self.start(bytes, is_end),
        }
    }

    fn start(&mut self, bytes: &[u8], is_end: bool) -> Frame {
        let between = bytes.iter().take_while(|byte| matches!(byte, b'\n' | b'\r' | 0)).count();
        if between > 0 {
            return Frame::Skip(between);
        }
        match length(bytes) {
            Length::Line => self.line(bytes, is_end),
            Length::Unknown if is_end => self.line(bytes, is_end),
            Length::Unknown => Frame::More,
            Length::Counted { head, len } => {
                let taken = len.min(RECORD_BYTES_MAX);
                let there = bytes.len() - head;
                if there >= taken {
                    if len > taken {
                        *self = Self::CutCounted(len - taken);
                    }
                    Frame::Message { head, len: taken, consumed: head + taken, cut: len > taken }
                } else if is_end {
                    Frame::Message { head, len: there, consumed: bytes.len(), cut: false }
                } else {
                    Frame::More
                }
            }
        }
    }

    fn line(&mut self, bytes: &[u8], is_end: bool) -> Frame {
        let within = &bytes[..bytes.len().min(RECORD_BYTES_MAX + 1)];
        if let Some(len) = memchr(b'\n', within) {
            return Frame::Message { head: 0, len, consumed: len + 1, cut: false };
        }
        if bytes.len() > RECORD_BYTES_MAX {
            *self = Self::CutLine;
            let len = RECORD_BYTES_MAX;
            return Frame::Message { head: 0, len, consumed: len, cut: true };
        }
        if !is_end {
            return Frame::More;
        }
        Frame::Message { head: 0, len: bytes.len(), consumed: bytes.len(), cut: false }
    }
}

/// What a message's beginning says of its length.
enum Length {
    Counted { head: usize, len: usize },
    Line,
    Unknown,
}

fn length(bytes: &[u8]) -> Length {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || digits > LENGTH_DIGITS_MAX || bytes[0] == b'0' {
        return Length::Line;
    }
    match bytes[digits..] {
        [] | [b' '] => Length::Unknown,
        [b' ', b'<', ..] => {
            let add = |len: usize, byte: &u8| len * 10 + usize::from(byte - b'0');
            Length::Counted { head: digits + 1, len: bytes[..digits].iter().fold(0, add) }
        }
        _ => Length::Line,
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
                    Frame::Message { head, len, consumed, cut } => {
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

    #[test]
    fn counted_messages_and_lines_may_follow_one_another() {
        let bytes = b"5 <1>ab<2>line\n9 <3>a\nb\ncd\n<4>last";
        assert_eq!(texts(bytes), ["<1>ab", "<2>line", "<3>a\nb\ncd", "<4>last"]);
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
