//! Text for terminals: making foreign text harmless, colours, and times as people read them.
//!
//! Colours are put in as marks of no width, so that tables can be laid out first; [`finish`] turns the marks into a
//! terminal's colours or takes them out. Foreign text never holds a mark: [`safe`] escapes them with all the rest.

use std::fmt::Write as _;

use coordinator::api::types::Time;
use serde::Serialize;
use shared::{alert::Severity, time::Timestamp};

/// A way to set a word apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    /// What the eye shall find first.
    Bold,
    /// What can be passed over.
    Dim,
    /// Bad, or late.
    Red,
    /// To be careful with.
    Yellow,
    /// In order.
    Green,
}

/// Marks of no width (invisible operators and joiners of U+2060), and the sequence that each stands for.
const MARKS: [(Paint, char, &str); 5] = [
    (Paint::Bold, '\u{2061}', "\u{1b}[1m"),
    (Paint::Dim, '\u{2062}', "\u{1b}[2m"),
    (Paint::Red, '\u{2063}', "\u{1b}[31m"),
    (Paint::Yellow, '\u{2064}', "\u{1b}[33m"),
    (Paint::Green, '\u{2060}', "\u{1b}[32m"),
];
const END_MARK: char = '\u{200b}';
const END_SEQUENCE: &str = "\u{1b}[0m";

/// Returns `text` with marks around it. Text of several words is painted word by word, so that a break of a line
/// between them paints no border.
pub(crate) fn paint(paint: Paint, text: &str) -> String {
    let mark = MARKS.iter().find(|(of, _, _)| *of == paint).map_or(END_MARK, |(_, mark, _)| *mark);
    text.split(' ')
        .map(|word| if word.is_empty() { String::new() } else { format!("{mark}{word}{END_MARK}") })
        .collect::<Vec<_>>()
        .join(" ")
}

/// Turns marks into colours, or takes them out.
pub(crate) fn finish(text: &str, is_coloured: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let sequence = match MARKS.iter().find(|(_, mark, _)| *mark == c) {
            Some((_, _, sequence)) => sequence,
            None if c == END_MARK => END_SEQUENCE,
            None => {
                out.push(c);
                continue;
            }
        };
        if is_coloured {
            out.push_str(sequence);
        }
    }
    out
}

/// Returns whether a character could do something to a terminal or to the order in which text is read: controls (C0
/// and C1), everything that formats without being seen (bidirectional overrides and isolates, joiners, tags, variation
/// selectors of the supplement), separators of lines, and what is not assigned a meaning in public.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(u32::from(c),
            0xad | 0x034f | 0x061c | 0x115f..=0x1160 | 0x17b4..=0x17b5 | 0x180b..=0x180f
            | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0x3164 | 0xe000..=0xf8ff
            | 0xfe00..=0xfe0e | 0xfeff | 0xffa0 | 0xfff0..=0xfffb | 0x1d173..=0x1d17a
            | 0xe0000..=0x10_ffff)
}

/// Returns foreign text on one line with every harmful character escaped, as Rust and Python write it. A backslash
/// stays as it is: it harms nobody, and paths of Windows are full of them.
pub(crate) fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_harmful(c) => {
                // Writing to a string cannot fail.
                let _written = write!(out, "\\u{{{:x}}}", u32::from(c)).is_ok();
            }
            c => out.push(c),
        }
    }
    out
}

/// Returns a JSON document with every harmful character of its texts escaped as JSON escapes, which programs read as
/// the same document. Line breaks between its parts stay.
pub(crate) fn safe_json(document: &str) -> String {
    let mut out = String::with_capacity(document.len());
    for c in document.chars() {
        if is_harmful(c) && !matches!(c, '\n' | '\r' | '\t') {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _written = write!(out, "\\u{unit:04x}").is_ok();
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// Returns at most `columns_max` characters, with an ellipsis for what is left out.
pub(crate) fn shorten(text: &str, columns_max: usize) -> String {
    if text.chars().count() <= columns_max {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(columns_max.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Returns an instant as `2026-01-02 03:04:05Z`.
pub(crate) fn instant(at: Time) -> String {
    let text = at.to_string();
    match (text.get(..10), text.get(11..19)) {
        (Some(date), Some(time)) => format!("{date} {time}Z"),
        _ => text,
    }
}

/// Returns a length of time in its two largest units: `45s`, `12m 05s`, `3h 07m`, `5d 02h`.
pub(crate) fn length(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// Returns how long ago `at` was, or how long it is until then.
pub(crate) fn ago(now: Timestamp, at: Time) -> String {
    if at.0 > now {
        format!("in {}", length(at.0.since(now).as_secs()))
    } else {
        format!("{} ago", length(now.since(at.0).as_secs()))
    }
}

/// Returns the time left until a deadline, or by how much it was missed.
pub(crate) fn time_left(seconds: Option<i64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(left @ 0..) => length(left.unsigned_abs()),
        Some(late) => format!("late {}", length(late.unsigned_abs())),
    }
}

/// Less than this is marked as urgent: the time that one careful look takes.
const SOON_SECONDS: i64 = 15 * 60;

/// Returns [`time_left`] in the colour of its urgency.
pub(crate) fn painted_time_left(seconds: Option<i64>) -> String {
    let text = time_left(seconds);
    match seconds {
        Some(..0) => paint(Paint::Red, &text),
        Some(0..SOON_SECONDS) => paint(Paint::Yellow, &text),
        Some(_) | None => text,
    }
}

/// Returns a severity in its colour.
pub(crate) fn severity(of: Severity) -> String {
    match of {
        Severity::Fatal | Severity::Critical | Severity::High => paint(Paint::Red, of.as_str()),
        Severity::Medium => paint(Paint::Yellow, of.as_str()),
        Severity::Low | Severity::Informational | Severity::Unknown => of.as_str().to_owned(),
    }
}

/// Returns the name of a value that the API writes as a plain text, such as a role or a verdict.
pub(crate) fn name_of<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => safe(&name),
        Ok(other) => safe(&other.to_string()),
        Err(_) => "?".to_owned(),
    }
}

/// Returns bytes in the largest binary unit of which there is one.
pub(crate) fn bytes(count: u64) -> String {
    match count {
        0..0x400 => format!("{count} B"),
        0x400..0x10_0000 => format!("{} KiB", count >> 10),
        0x10_0000..0x4000_0000 => format!("{} MiB", count >> 20),
        _ => format!("{} GiB", count >> 30),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_of_an_attacker_do_not_reach_the_terminal() {
        assert_eq!(safe("\u{1b}]0;owned\u{7}\u{1b}[2J"), "\\u{1b}]0;owned\\u{7}\\u{1b}[2J");
        assert_eq!(safe("one\r\ntwo\tthree"), "one\\r\\ntwo\\tthree");
        // A control of the C1 set is an escape sequence in one character.
        assert_eq!(safe("\u{9b}31m"), "\\u{9b}31m");
    }

    #[test]
    fn text_cannot_be_turned_around() {
        for c in ['\u{202e}', '\u{202a}', '\u{2066}', '\u{2069}', '\u{200f}', '\u{61c}', '\u{feff}']
        {
            assert_eq!(safe(&format!("a{c}b")), format!("a\\u{{{:x}}}b", u32::from(c)));
        }
        assert_eq!(safe("hidden\u{e0041}"), "hidden\\u{e0041}");
    }

    #[test]
    fn foreign_text_cannot_hold_our_marks() {
        for (_, mark, _) in MARKS {
            assert!(!safe(&mark.to_string()).contains(mark));
        }
        assert!(!safe(&END_MARK.to_string()).contains(END_MARK));
    }

    #[test]
    fn text_in_other_scripts_stays_readable() {
        let text = "Ungültige Anmeldung – 不正なログイン – вход C:\\Users\\Zoë 👍";
        assert_eq!(safe(text), text);
    }

    #[test]
    fn escaped_json_is_the_same_document() {
        let document = "{\n  \"a\": \"x\u{202e}y\u{7f}\u{e0041}ü\"\n}";
        let escaped = safe_json(document);
        assert!(!escaped.chars().any(|c| is_harmful(c) && c != '\n'), "{escaped}");
        let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(parse(&escaped), parse(document));
    }

    #[test]
    fn marks_become_colours_only_where_colours_are_wanted() {
        let marked = format!("{} and {}", paint(Paint::Red, "late 5m"), severity(Severity::Low));
        assert_eq!(finish(&marked, false), "late 5m and low");
        let coloured = finish(&marked, true);
        assert_eq!(coloured, "\u{1b}[31mlate\u{1b}[0m \u{1b}[31m5m\u{1b}[0m and low");
    }

    #[test]
    fn times_are_told_in_two_units() {
        let told = [0, 59, 60, 725, 3_600, 11_220, 86_400, 439_200].map(length);
        let wanted = ["0s", "59s", "1m 00s", "12m 05s", "1h 00m", "3h 07m", "1d 00h", "5d 02h"];
        assert_eq!(told, wanted);
        assert_eq!(time_left(Some(-300)), "late 5m 00s");
        assert_eq!(time_left(Some(i64::MIN)), format!("late {}", length(1 << 63)));
        assert_eq!(time_left(None), "-");
        let now = Timestamp::from_ms(1_767_323_045_678);
        assert_eq!(instant(Time(now)), "2026-01-02 03:04:05Z");
        assert_eq!(ago(now, Time(Timestamp::from_ms(1_767_322_745_678))), "5m 00s ago");
        assert_eq!(ago(now, Time(Timestamp::from_ms(1_767_323_345_678))), "in 5m 00s");
    }

    #[test]
    fn what_is_left_out_is_shown_as_left_out() {
        assert_eq!(shorten("abcdef", 6), "abcdef");
        assert_eq!(shorten("abcdefg", 6), "abcde…");
    }
}
