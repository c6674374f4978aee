//! Takes a syslog message apart: RFC 5424, and what is written in place of RFC 3164.
//!
//! ```text
//! <35>1 2026-11-02T09:12:33Z gw audit 77 - [m s="4"] text      RFC 5424
//! <35>1 2026-11-02T09:12:33Z gw text                           as LEEF's senders write it
//! <35>Nov  2 09:12:33 gw sshd[77]: text                        RFC 3164
//! <35>Nov 02 2026 09:12:33 UTC: text                           Cisco's
//! <35>45: gw: *Nov  2 09:12:33.123 CET: %SEC-6-ACL: text       Cisco's, counted, with the host before
//! <35>Nov  2 09:12:33 2026 gw sshd[77]: text                   Aruba's
//! 2026-11-02T09:12:33.123+01:00 gw sshd: text                  rsyslog's files
//! <35>text
//! ```
//! Each part is there or not, whatever follows it: a priority is not lost because the time behind it
//! is unusual. The cost grows with the message's length alone, whoever wrote it.

use crate::normalise::timestamp;

/// The parts of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head<'a> {
    /// Facility times 8 and severity, 0 to 191.
    pub(super) priority: Option<u8>,
    /// When, as it is written; empty where it does not say.
    pub(super) time: &'a str,
    /// Host; empty where there is none.
    pub(super) host: &'a str,
    /// Program; empty where there is none.
    pub(super) app: &'a str,
    /// The structured data, as it is written; empty where there is none.
    pub(super) data: &'a str,
    /// The text, from the program's name on.
    pub(super) body: &'a str,
    /// The text without the program's name.
    pub(super) text: &'a str,
    /// Whether a time was found, also one without a year.
    pub(super) has_time: bool,
}

/// Most digits of a message's number.
const NUMBER_BYTES_MAX: usize = 12;

/// Names of time zones before a colon; other letters may be a program's name.
const ZONES: [&str; 29] = [
    "UTC", "GMT", "Z", "WET", "WEST", "BST", "IST", "CET", "CEST", "EET", "EEST", "MSK", "EST",
    "EDT", "CST", "CDT", "MST", "MDT", "PST", "PDT", "JST", "KST", "HKT", "SGT", "AEST", "AEDT",
    "ACST", "NZST", "NZDT",
];

/// What programs and containers write behind a time when they name no host: how grave it is, or where it was written.
const NO_HOSTS: [&str; 14] = [
    "TRACE", "DEBUG", "INFO", "NOTICE", "WARN", "WARNING", "ERR", "ERROR", "CRIT", "CRITICAL",
    "FATAL", "ALERT", "stdout", "stderr",
];

/// Longest name of a program: what RFC 5424 allows.
const APP_BYTES_MAX: usize = 48;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Takes `message` apart.
pub(super) fn split(message: &str) -> Head<'_> {
    let (priority, rest) = priority(message.trim_ascii());
    let versioned = rest.strip_prefix("1 ").filter(|_| priority.is_some());
    if let Some(head) = versioned.and_then(structured) {
        return Head { priority, ..head };
    }
    let (name, rest) = counted(rest).unwrap_or(("", rest));
    let Some((written, rest)) = time(rest) else {
        let (app, text) = app(rest);
        return Head { priority, host: name, app, text, body: rest, ..Head::default() };
    };
    // Cisco's devices end the time with a colon, and name no host, or name it before.
    let (host, body) = match rest.strip_prefix(':') {
        Some(body) => (name, body.trim_ascii_start()),
        None => host(rest),
    };
    let (time, host, body) = relayed(written, host, body);
    let (app, text) = app(body);
    Head { priority, time, host, app, data: "", body, text, has_time: true }
}

/// Takes off the number with which Cisco's devices count their messages, and the host that may follow it; what is
/// behind is a time or a mark, else it was none.
fn counted(rest: &str) -> Option<(&str, &str)> {
    let (number, behind) = rest.split_once(": ")?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number || number.len() > NUMBER_BYTES_MAX {
        return None;
    }
    let begins = |text: &str| text.starts_with('%') || time(text).is_some();
    if begins(behind) {
        return Some(("", behind));
    }
    let (host, behind) = behind.split_once(": ")?;
    (!host.is_empty() && !host.contains(' ') && begins(behind)).then_some((host, behind))
}

/// Takes off what a device wrote before a relay put its own time and host in front.
fn relayed<'a>(written: &'a str, host: &'a str, body: &'a str) -> (&'a str, &'a str, &'a str) {
    let Some((name, behind)) = counted(body) else { return (written, host, body) };
    let (own, behind) = time(behind).unwrap_or(("", behind));
    let behind = behind.strip_prefix(':').unwrap_or(behind).trim_ascii_start();
    let or = |own: &'a str, other| if own.is_empty() { other } else { own };
    // Of two times the one that says the year.
    let own = if timestamp::is_yearless(own) { "" } else { own };
    (or(own, written), or(name, host), behind)
}

/// Takes `<n>` off.
fn priority(message: &str) -> (Option<u8>, &str) {
    let parts = message.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    let Some((digits, rest)) = parts.filter(|(digits, _)| digits.len() <= 3) else {
        return (None, message);
    };
    match digits.parse() {
        Ok(priority @ 0..=191) => (Some(priority), rest.trim_ascii_start()),
        _ => (None, message),
    }
}

/// Reads what follows RFC 5424's version.
fn structured(rest: &str) -> Option<Head<'_>> {
    let (time, rest) = word(rest);
    if time != "-" && !is_date(time) {
        return None;
    }
    let (host, body) = word(rest);
    let known = |text| if text == "-" { "" } else { text };
    let head = Head { time: known(time), host: known(host), has_time: true, ..Head::default() };
    let (app, rest) = word(body);
    let (_, rest) = word(rest);
    let (_, rest) = word(rest);
    match behind_data(rest) {
        Some((data, text)) => Some(Head { app: known(app), data, body: text, text, ..head }),
        None => Some(Head { body, text: body, ..head }),
    }
}

/// Returns the structured data that `rest` begins with and what stands behind, if it begins with any.
fn behind_data(rest: &str) -> Option<(&str, &str)> {
    if let Some(rest) = rest.strip_prefix('-') {
        return (rest.is_empty() || rest.starts_with(' ')).then(|| ("", without_mark(rest)));
    }
    let bytes = rest.as_bytes();
    let (mut at, mut is_quoted, mut is_open) = (0, false, false);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' if is_quoted => at += 1,
            b'"' if is_open => is_quoted = !is_quoted,
            b']' if is_open && !is_quoted => is_open = false,
            b'[' if !is_open => is_open = true,
            _ if !is_open => break,
            _ => {}
        }
        at += 1;
    }
    let is_data = at > 0 && !is_open;
    let (data, text) = rest.split_at_checked(at).filter(|_| is_data)?;
    Some((data, without_mark(text)))
}

/// Calls `each` with the name of an element of structured data and the name and value, between its quotes, of each of
/// its parameters. What is not written so is passed over.
pub(super) fn each_parameter<'a>(data: &'a str, mut each: impl FnMut(&'a str, &'a str, &'a str)) {
    let mut rest = data;
    while let Some(element) = rest.strip_prefix('[') {
        let (id, mut behind) = element.split_at(element.find([' ', ']']).unwrap_or(element.len()));
        while let Some((name, value)) = behind.strip_prefix(' ').and_then(|it| it.split_once("=\""))
        {
            let mut is_escaped = false;
            let end = value.bytes().position(|byte| {
                let is_end = byte == b'"' && !is_escaped;
                is_escaped = byte == b'\\' && !is_escaped;
                is_end
            });
            let Some((value, after)) = end.and_then(|end| value.split_at_checked(end)) else {
                return;
            };
            each(id, name.trim_ascii_start(), value);
            behind = &after[1..];
        }
        let Some(next) = behind.trim_ascii_start().strip_prefix(']') else { return };
        rest = next;
    }
}

/// Takes off the mark that RFC 5424 lets stand before UTF-8.
fn without_mark(text: &str) -> &str {
    let text = text.trim_ascii_start();
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Takes a time off, with its zone if it says one.
fn time(rest: &str) -> Option<(&str, &str)> {
    let (first, behind) = word(rest);
    if is_date(first) {
        return Some((first, behind));
    }
    let (second, behind_clock) = word(behind);
    if is_day(first) && is_clock(second) {
        let written = rest[..rest.len() - behind_clock.len()].trim_ascii_end();
        return Some((written, behind_clock));
    }
    // Cisco's devices mark a clock that is not set or not sure.
    let dated = rest.trim_start_matches(['*', '.']);
    let (month, behind) = word(dated);
    let (day, behind) = word(behind);
    let is_day = matches!(day.len(), 1 | 2) && day.bytes().all(|byte| byte.is_ascii_digit());
    if !MONTHS.iter().any(|known| known.eq_ignore_ascii_case(month)) || !is_day {
        return None;
    }
    let (third, after_third) = word(behind);
    let is_year = third.len() == 4 && third.bytes().all(|byte| byte.is_ascii_digit());
    let (clock, after) = if is_year { word(after_third) } else { (third, after_third) };
    let whole = clock.trim_end_matches(':');
    if !is_clock(whole) {
        return None;
    }
    let (zone, behind_zone) = word(after);
    let (name, is_marked) = (zone.trim_end_matches(':'), zone.ends_with(':'));
    let may_follow = clock.len() == whole.len();
    // Aruba's devices write the year behind.
    if may_follow && !is_year && is_year_of_now(zone) {
        let written = dated[..dated.len() - behind_zone.len()].trim_ascii_end();
        return Some((written, behind_zone));
    }
    let is_zone = may_follow && (ZONES[..3].contains(&name) || is_marked && ZONES.contains(&name));
    let (last, after) = if is_zone { (zone, behind_zone) } else { (clock, after) };
    let colon = last.len() - last.trim_end_matches(':').len();
    let end = dated.len() - after.len();
    let written = dated[..end].trim_ascii_end();
    let written = &written[..written.len() - colon];
    // The colon stands for the host that is not there.
    let after = if colon > 0 { &dated[written.len()..] } else { after };
    Some((written, after))
}

/// Takes a host off: a word that is no program's name, and none that programs write in its place who name no host.
fn host(rest: &str) -> (&str, &str) {
    let (first, behind) = word(rest);
    let is_name = !first.is_empty()
        && !first.contains(['[', '|', '=', '"', '(', ',', ';', '<'])
        && !first.ends_with([':', '%'])
        && !NO_HOSTS.contains(&first);
    if is_name { (if first == "-" { "" } else { first }, behind) } else { ("", rest) }
}

/// Takes a program's name off: `name:` or `name[number]:`.
fn app(body: &str) -> (&str, &str) {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-/()@%".contains(byte);
    let len = body.bytes().take(APP_BYTES_MAX + 1).take_while(is_name).count();
    let (name, rest) = body.split_at(len);
    // A number alone counts messages.
    let is_number = !name.bytes().any(|byte| !byte.is_ascii_digit());
    if is_number || len > APP_BYTES_MAX {
        return ("", body);
    }
    let number = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let number = number.filter(|(number, _)| number.len() <= APP_BYTES_MAX);
    let rest = match number {
        Some((_, behind)) => behind.strip_prefix(':').unwrap_or(behind),
        None => match rest.strip_prefix(':') {
            Some(behind) => behind,
            None => return ("", body),
        },
    };
    (name, rest.trim_ascii_start())
}

/// Returns the first word, and what follows it.
fn word(text: &str) -> (&str, &str) {
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    (first, rest.trim_ascii_start())
}

/// Tells whether a word is a date without a clock.
fn is_day(word: &str) -> bool {
    matches!(word.as_bytes(), [_, _, _, _, b'-', _, _, b'-', _, _]) && word.is_ascii()
}

fn is_clock(word: &str) -> bool {
    matches!(word.as_bytes(), [_, _, b':', _, _, b':', _, _, ..])
}

/// Tells whether a word is a year in which devices write messages, and not a host's number.
fn is_year_of_now(word: &str) -> bool {
    word.len() == 4 && word.starts_with("20") && word.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_date(word: &str) -> bool {
    matches!(
        word.as_bytes(),
        [_, _, _, _, b'-', _, _, b'-', _, _, b'T', _, _, b':', _, _, b':', _, _, ..]
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(message: &str) -> (Option<u8>, &str, &str, &str, &str) {
        let Head { priority, time, host, app, text, .. } = split(message);
        (priority, time, host, app, text)
    }

    #[test]
    fn the_dialects_are_taken_apart() {
        let (iso, bsd) = ("2026-11-02T09:12:33.1+01:00", "Nov  2 09:12:33");
        for (message, expected) in [
            ("<35>1 - gw audit 77 - - text", (Some(35), "", "gw", "audit", "text")),
            ("<35>1 - - - - - [a b=\"]\\\"\"][c] \u{feff}text", (Some(35), "", "", "", "text")),
            ("<35>1 - gw LEEF:1.0|a", (Some(35), "", "gw", "", "LEEF:1.0|a")),
            ("<35>Nov  2 09:12:33 gw sshd[7]: t x", (Some(35), bsd, "gw", "sshd", "t x")),
            ("Nov  2 09:12:33 gw postfix/smtp[7]: t", (None, bsd, "gw", "postfix/smtp", "t")),
            ("Nov  2 09:12:33 gw said so", (None, bsd, "gw", "", "said so")),
            ("Nov  2 09:12:33 sshd[7]: t", (None, bsd, "", "sshd", "t")),
            (
                "<35>Nov 02 2026 09:12:33 UTC: %ASA-2-1: t",
                (Some(35), "Nov 02 2026 09:12:33 UTC", "", "%ASA-2-1", "t"),
            ),
            (
                "<35>*Nov 02 2026 09:12:33.123: t",
                (Some(35), "Nov 02 2026 09:12:33.123", "", "", "t"),
            ),
            (
                "Nov 02 2026 09:12:33 GMT gw app: t",
                (None, "Nov 02 2026 09:12:33 GMT", "gw", "app", "t"),
            ),
            (
                "<189>45: *Mar  1 18:46:11.123: %SYS-5-CONFIG_I: t",
                (Some(189), "Mar  1 18:46:11.123", "", "%SYS-5-CONFIG_I", "t"),
            ),
            (
                "<189>29: sw1: Nov  2 09:12:33.1 CET: %SEC-6-ACL: t",
                (Some(189), "Nov  2 09:12:33.1 CET", "sw1", "%SEC-6-ACL", "t"),
            ),
            ("<189>7: %SYS-5-CONFIG_I: t", (Some(189), "", "", "%SYS-5-CONFIG_I", "t")),
            (
                "Nov  2 09:12:33 CET: %SEC-6-ACL: t",
                (None, "Nov  2 09:12:33 CET", "", "%SEC-6-ACL", "t"),
            ),
            (
                "Nov  2 09:12:33 gw 1234: Nov  2 09:12:30.5: %SEC-6-ACL: t",
                (None, bsd, "gw", "%SEC-6-ACL", "t"),
            ),
            (
                "Nov  2 09:12:33 relay 1234: sw2: Nov 02 2026 09:12:30: %SEC-6-ACL: t",
                (None, "Nov 02 2026 09:12:30", "sw2", "%SEC-6-ACL", "t"),
            ),
            (
                "Nov  2 09:12:33 2026 aruba1 stm[1]: t",
                (None, "Nov  2 09:12:33 2026", "aruba1", "stm", "t"),
            ),
            ("2026-11-02 09:12:33 fw1 app: t", (None, "2026-11-02 09:12:33", "fw1", "app", "t")),
            ("2026-11-02 09:12:33,5 a b: t", (None, "2026-11-02 09:12:33,5", "a", "b", "t")),
            ("2026-11-02 09:12:33 WARN it: t", (None, "2026-11-02 09:12:33", "", "", "WARN it: t")),
            ("2026-11-02 09:12:33 96.80% of", (None, "2026-11-02 09:12:33", "", "", "96.80% of")),
            ("2026-11-02 09:12:33 stdout F t", (None, "2026-11-02 09:12:33", "", "", "stdout F t")),
            ("12: one and two", (None, "", "", "", "12: one and two")),
            ("Nov  2 09:12:33 gw 12: one", (None, bsd, "gw", "", "12: one")),
            ("Nov  2 09:12:33 gw CRON: t", (None, bsd, "gw", "CRON", "t")),
            ("<162>%ASA-2-106001: denied", (Some(162), "", "", "%ASA-2-106001", "denied")),
            ("<130>date=2026-11-02 time=1", (Some(130), "", "", "", "date=2026-11-02 time=1")),
            ("<192>text", (None, "", "", "", "<192>text")),
            ("<>text", (None, "", "", "", "<>text")),
            ("", (None, "", "", "", "")),
            ("Nov", (None, "", "", "", "Nov")),
            ("Nov 2 9", (None, "", "", "", "Nov 2 9")),
        ] {
            assert_eq!(parts(message), expected, "{message}");
        }
        let message = format!("{iso} gw app: t");
        assert_eq!(parts(&message), (None, iso, "gw", "app", "t"));
        let message = format!("<35>1 {iso} gw app 7 id [m s=\"4\"] t");
        assert_eq!(parts(&message), (Some(35), iso, "gw", "app", "t"));
    }

    #[test]
    fn the_parameters_of_structured_data_are_found_by_element_and_name() {
        let parameters = |message: &str| {
            let mut found = Vec::new();
            each_parameter(split(message).data, |id, name, value| {
                found.push(format!("{id} {name} {value}"));
            });
            found
        };
        let data = r#"[ex@1 iut="3" eventID="10\"11 \] ]"][origin  ip="192.0.2.1"][empty]"#;
        let message = format!("<1>1 - h a p m {data} t");
        let expected = ["ex@1 iut 3", r#"ex@1 eventID 10\"11 \] ]"#, "origin ip 192.0.2.1"];
        assert_eq!(parameters(&message), expected);
        assert_eq!(parameters("<1>1 - h a p m - [a b=\"c\"] t"), [""; 0]);
        assert_eq!(parameters("<1>1 - h a p m [] t"), [""; 0]);
        assert_eq!(parameters("<1>1 - h a p m [a b] t"), [""; 0]);
        assert_eq!(parameters(r#"<1>1 - h a p m [a b="1"c="2"] t"#), ["a b 1"]);
    }

    #[test]
    fn structured_data_that_does_not_end_is_text() {
        let broken = format!("<1>1 - h a p m [a b=\"{}x", "][a\" b=\"".repeat(30_000));
        let head = split(&broken);
        assert_eq!((head.host, head.app), ("h", ""));
        assert!(head.text.starts_with("a p m [a b="));
    }

    proptest! {
        #[test]
        fn any_message_is_taken_apart_and_keeps_its_end(
            head in r"(<[0-9é]{0,4}>)?(1 )?(-|Nov|[*.]Nov|é)? ?[0-9]{0,2} ?",
            clock in r"([0-9]{4} )?(..:..:..)?:? ?",
            rest in r"[ -~é\[\]\x22\\:]{0,60}",
        ) {
            let message = format!("{head}{clock}{rest}");
            let split = split(&message);
            prop_assert!(message.trim_ascii().ends_with(split.text), "{split:?}");
            prop_assert!(split.body.ends_with(split.text));
            each_parameter(&rest, |_, _, _| {});
        }
    }
}
