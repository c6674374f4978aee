//! Events in the Common Event Format (CEF 0 and 1) and the Log Event Extended Format (LEEF 1.0 and
//! 2.0).
//!
//! ```text
//! CEF:0|vendor|product|version|signature|name|severity|key=value key=value
//! LEEF:1.0|vendor|product|version|event id|key=value<TAB>key=value
//! LEEF:2.0|vendor|product|version|event id|delimiter|key=value<delimiter>key=value
//! ```
//! In CEF a backslash stands before a bar in the header, before an equals sign in a value, and
//! before another backslash. A value goes as far as the next word that an equals sign follows.

use shared::alert::Severity;

use super::{Malformed, paths::Take, value::Raw};

// Names of a header's parts, which no event has as keys.
pub(super) const EVENT_PRODUCT: &str = "event:product";
pub(super) const EVENT_ID: &str = "event:id";
pub(super) const EVENT_NAME: &str = "event:name";
pub(super) const EVENT_SEVERITY: &str = "event:severity";

const CEF: &str = "CEF:";
const LEEF: &str = "LEEF:";
/// The parts of a header, with what follows it.
const CEF_PARTS: usize = 8;
const LEEF_PARTS: usize = 6;

/// Returns whether the text is an event: the format's name, its version and a bar.
pub(super) fn is_event(text: &str) -> bool {
    let version = text.strip_prefix(CEF).or_else(|| text.strip_prefix(LEEF));
    version.is_some_and(|version| {
        let version = version.trim_ascii_start();
        let is_number = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
        let digits = version.bytes().take_while(is_number).count();
        digits > 0 && version[digits..].starts_with('|')
    })
}

/// Finds the values of the event that `text` begins with.
///
/// # Errors
/// Fails if the header ends early; what it has is found.
pub(super) fn read<'a>(text: &'a str, each: &mut Take<'_, 'a>) -> Result<(), Malformed> {
    let mut take = |name: &str, raw: Raw<'a>| each(&[name], raw);
    if text.starts_with(CEF) {
        let parts = parts(text, CEF_PARTS, true);
        let names = [(2, EVENT_PRODUCT), (4, EVENT_ID), (5, EVENT_NAME), (6, EVENT_SEVERITY)];
        for (at, name) in names {
            take(name, Raw::backslash(parts.get(at).copied().unwrap_or_default().trim_ascii()));
        }
        let extension = parts.get(CEF_PARTS - 1).copied().unwrap_or_default();
        pairs(extension, |key, value| take(key, Raw::backslash(value)));
        return if parts.len() < CEF_PARTS - 1 { Err(Malformed::EventHeader) } else { Ok(()) };
    }
    let parts = parts(text, LEEF_PARTS, false);
    for (at, name) in [(2, EVENT_PRODUCT), (4, EVENT_ID)] {
        take(name, Raw::plain(parts.get(at).copied().unwrap_or_default().trim_ascii()));
    }
    let Some(attributes) = parts.get(LEEF_PARTS - 1) else { return Err(Malformed::EventHeader) };
    let (delimiter, attributes) = delimiter(parts[0], attributes);
    // Some senders' tabs become blanks on the way.
    if delimiter == '\t' && !attributes.contains(delimiter) {
        pairs(attributes, |key, value| take(key, Raw::plain(value)));
        return Ok(());
    }
    for (key, value) in attributes.split(delimiter).filter_map(|pair| pair.split_once('=')) {
        take(key.trim_ascii(), Raw::plain(value.trim_ascii()));
    }
    Ok(())
}

/// Splits at bars into at most `max` parts.
fn parts(text: &str, max: usize, has_escapes: bool) -> Vec<&str> {
    let mut parts = Vec::with_capacity(max);
    let (mut start, mut is_escaped) = (0, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = has_escapes,
            b'|' if parts.len() + 1 < max => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Returns what stands between a LEEF event's attributes, and the attributes.
fn delimiter<'a>(version: &str, rest: &'a str) -> (char, &'a str) {
    let named = rest.split_once('|').filter(|_| version.ends_with("2.0"));
    let Some((delimiter, attributes)) = named else { return ('\t', rest) };
    let mut chars = delimiter.chars();
    match (chars.next(), chars.next()) {
        (None, _) => ('\t', attributes),
        (Some(only), None) => (only, attributes),
        _ => {
            let digits = delimiter.trim_start_matches('0').strip_prefix(['x', 'X']);
            let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
            match number.and_then(char::from_u32) {
                Some(named) => (named, attributes),
                None => ('\t', rest), // no delimiter at all, but a bar in a value
            }
        }
    }
}

/// Calls `take` for each key and value of `key=value key=value`.
fn pairs<'a>(text: &'a str, mut take: impl FnMut(&'a str, &'a str)) {
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('=') {
        let key = before.rsplit([' ', '\t']).next().unwrap_or_default();
        let end = next_key(after);
        take(key, after[..end].trim_ascii());
        rest = &after[end..];
    }
}

/// Returns where the value that `text` begins with ends: before the blank before the next key.
fn next_key(text: &str) -> usize {
    let bytes = text.as_bytes();
    let is_key = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.-[]".contains(byte);
    for (equals, _) in text.match_indices('=') {
        let key = bytes[..equals].iter().rev().take_while(|byte| is_key(byte)).count();
        let start = equals - key;
        if key > 0 && start > 0 && matches!(bytes[start - 1], b' ' | b'\t') {
            return start - 1;
        }
    }
    text.len()
}

/// Reads a severity from 0 to 10, or one of CEF's words.
pub(super) fn severity(text: &str) -> Option<Severity> {
    let known = [
        ("unknown", Severity::Unknown),
        ("low", Severity::Low),
        ("medium", Severity::Medium),
        ("high", Severity::High),
        ("very-high", Severity::Critical),
    ];
    if let Some((_, severity)) = known.into_iter().find(|(name, _)| text.eq_ignore_ascii_case(name))
    {
        return Some(severity);
    }
    match text.parse::<u8>().ok()? {
        0..=3 => Some(Severity::Low),
        4..=6 => Some(Severity::Medium),
        7..=8 => Some(Severity::High),
        9..=10 => Some(Severity::Critical),
        _ => None,
    }
}
