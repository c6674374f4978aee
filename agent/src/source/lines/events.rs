//! Cuts what Windows' events as XML are written in into records: an event each, wherever its lines end.
//!
//! ```text
//! begins with <Event ...>   ends with </Event>, on whichever line that stands; where it is missing, before the line
//!                           on which the next event begins
//! begins with another <     ends with its line, or before an <Event ...> on it: an XML declaration, a root around the
//!                           events, the rest of a broken event
//! begins with anything else ends with its line, such as an event in JSON
//! ```
//! White space between records is none of them.

use memchr::{memchr, memmem};
use shared::limits::RECORD_BYTES_MAX;

use super::{Span, Split};
use crate::limits::READ_LINES_MAX;

const BEGIN: &[u8] = b"<Event";
const END: &[u8] = b"</Event>";

/// Splits `bytes` into records, whose spans it puts in `spans`; see [`super::split`].
pub(super) fn split(bytes: &[u8], skipping: bool, ended: bool, spans: &mut Vec<Span>) -> Split {
    spans.clear();
    let mut split = Split { skipping, ..Split::default() };
    if skipping {
        let rest = rest_of_cut(bytes);
        split.consumed = match rest {
            Some(end) => end,
            None if ended => bytes.len(),
            None => bytes.len() - begun(bytes),
        };
        split.skipping = rest.is_none() && !ended;
        split.skipped_bytes = split.consumed as u64;
    }
    if split.skipping {
        return split;
    }
    loop {
        let rest = &bytes[split.consumed..];
        let between = rest.iter().take_while(|it| it.is_ascii_whitespace() || **it == 0);
        let zeros = between.clone().filter(|byte| **byte == 0).count();
        split.hole_bytes += zeros as u64;
        split.consumed += between.count();
        let rest = &bytes[split.consumed..];
        if rest.is_empty() {
            return split;
        }
        if spans.len() == READ_LINES_MAX {
            split.full = true;
            return split;
        }
        let within = &rest[..rest.len().min(RECORD_BYTES_MAX)];
        match end(within) {
            Some((len, next)) => {
                let start = split.consumed;
                split.take(bytes, start + len, start + next, spans);
            }
            None if rest.len() > RECORD_BYTES_MAX => {
                cut(bytes, within, &mut split, spans);
                return split;
            }
            None if ended => split.take(bytes, bytes.len(), bytes.len(), spans),
            None => return split,
        }
    }
}

/// Takes the beginning of a record that is too long. What may be the beginning of its end is none of it.
fn cut(bytes: &[u8], within: &[u8], split: &mut Split, spans: &mut Vec<Span>) {
    let end = split.consumed + within.len() - begun(within);
    split.take(bytes, end, end, spans);
    if let Some(span) = spans.last_mut() {
        span.cut = true;
    }
    split.cut += 1;
    split.skipping = true;
    split.full = true;
}

/// Returns how long the record is with which `bytes` begin, and where what follows it does; nothing while its end is
/// not there.
fn end(bytes: &[u8]) -> Option<(usize, usize)> {
    let line = || memchr(b'\n', bytes).map(|newline| (newline, newline + 1));
    if bytes[0] != b'<' {
        return line();
    }
    if !is_begin(bytes) {
        let event = begins(bytes).next().map(|begin| (begin, begin));
        let line = line();
        return if line.is_some_and(|line| event.is_none_or(|event| line < event)) {
            line
        } else {
            event
        };
    }
    let whole = memmem::find(bytes, END).map(|end| (end + END.len(), end + END.len()));
    let until = whole.map_or(bytes.len(), |(end, _)| end);
    let next = begins(&bytes[1..until]).map(|begin| begin + 1);
    let mut at_lines = next.filter(|begin| begins_a_line(&bytes[..*begin]));
    at_lines.next().map(|begin| (begin, begin)).or(whole)
}

/// Returns whether there is nothing but white space between the last newline and what follows.
fn begins_a_line(before: &[u8]) -> bool {
    before[before.trim_ascii_end().len()..].contains(&b'\n')
}

/// Returns where events begin.
fn begins(bytes: &[u8]) -> impl Iterator<Item = usize> {
    memmem::find_iter(bytes, BEGIN).filter(|begin| is_begin(&bytes[*begin..]))
}

/// Returns whether the element is an event, and none whose name only begins like one's.
fn is_begin(bytes: &[u8]) -> bool {
    let after = bytes.strip_prefix(BEGIN).and_then(<[u8]>::first);
    after.is_some_and(|byte| *byte == b'>' || byte.is_ascii_whitespace())
}

/// Returns where the rest of a record ends that was cut: with its event, or its line.
fn rest_of_cut(bytes: &[u8]) -> Option<usize> {
    let event = memmem::find(bytes, END).map(|end| end + END.len());
    let line = memchr(b'\n', bytes).map(|newline| newline + 1);
    event.into_iter().chain(line).min()
}

/// Returns how many of the last bytes may be the beginning of an event's end.
fn begun(bytes: &[u8]) -> usize {
    (1..END.len()).rev().find(|len| bytes.ends_with(&END[..*len])).unwrap_or(0)
}
