//! What devices write in place of a sentence: pairs of key and value, as Fortinet's and SonicWall's
//! firewalls and Linux' packet filter do, and Cisco's mark before one.
//!
//! ```text
//! date=2026-11-02 time=09:12:33 devname="fw" level=warning srcip=10.0.0.5 msg="a b"
//! DROP IN=eth0 OUT= MAC=... SRC=192.0.2.9 DST=10.0.0.5 LEN=40 ... PROTO=TCP SPT=46388 DPT=22 ...
//! %ASA-4-106023: Deny tcp src outside:192.0.2.9/80 dst inside:10.0.0.5/22
//! ```

use std::net::Ipv4Addr;

/// Fewest pairs that a text begins with so that it is no sentence.
const PAIRS_MIN: usize = 3;
/// Longest part of a mark: Cisco's have some 30 characters.
const MARK_BYTES_MAX: usize = 64;

/// Returns whether the text is pairs.
pub(super) fn is_pairs(text: &str) -> bool {
    let mut rest = text;
    for _ in 0..PAIRS_MIN {
        let Some((_, _, behind)) = pair(rest) else { return false };
        rest = behind;
    }
    true
}

/// Calls `take` for each key and value; words that are no pair are passed over.
pub(super) fn each<'a>(text: &'a str, mut take: impl FnMut(&'a str, &'a str)) {
    let mut rest = text;
    while !rest.is_empty() {
        if let Some((key, value, behind)) = pair(rest) {
            take(key, value);
            rest = behind;
        } else {
            let behind = rest.trim_start_matches(is_between);
            let behind = if behind.len() < rest.len() {
                behind
            } else {
                rest.trim_start_matches(|char| !is_between(char))
            };
            rest = behind;
        }
    }
}

fn is_between(char: char) -> bool {
    matches!(char, ' ' | '\t' | ',')
}

/// Takes a pair off.
fn pair(text: &str) -> Option<(&str, &str, &str)> {
    let text = text.trim_start_matches(is_between);
    let is_key = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.-".contains(byte);
    let len = text.bytes().take_while(is_key).count();
    let value = text.get(len..)?.strip_prefix('=').filter(|_| len > 0)?;
    let key = &text[..len];
    if let Some(quoted) = value.strip_prefix('"') {
        let mut is_escaped = false;
        let end = quoted.bytes().position(|byte| {
            let is_end = byte == b'"' && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            is_end
        });
        let end = end.unwrap_or(quoted.len());
        return Some((key, &quoted[..end], quoted.get(end + 1..).unwrap_or_default()));
    }
    let (value, behind) = value.split_at(value.find(is_between).unwrap_or(value.len()));
    Some((key, value, behind))
}

/// What Linux' packet filter says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    /// Its pairs, without those of the packet that an error of ICMP quotes.
    pub(super) text: &'a str,
    /// Whether the host itself is one of its ends: it came in and went no further, or only out.
    pub(super) is_own: bool,
}

/// Returns the packet that the text is about, behind what whoever wrote the rule has put before it, with or without a
/// blank.
pub(super) fn packet(text: &str) -> Option<Packet<'_>> {
    text.match_indices("IN=").find_map(|(start, _)| {
        let text = text[start..].split(" [SRC=").next().unwrap_or_default();
        let (into, behind) = text.split_once(' ')?;
        let is_one = behind.starts_with("OUT=") || behind.starts_with("PHYSIN=");
        let is_own = into == "IN=" || text.contains(" OUT= ");
        is_one.then_some(Packet { text, is_own })
    })
}

/// The mark before a sentence of Cisco's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark<'a> {
    /// What of the device says it.
    pub(super) facility: &'a str,
    /// Syslog's severity, 0 to 7.
    pub(super) severity: u8,
    /// Which sentence it is.
    pub(super) name: &'a str,
    /// The sentence.
    pub(super) text: &'a str,
}

/// Returns the mark that the text begins with.
pub(super) fn mark(text: &str) -> Option<Mark<'_>> {
    let (mark, text) = text.strip_prefix('%')?.split_once(':')?;
    let (rest, name) = mark.rsplit_once('-')?;
    let (facility, severity) = rest.rsplit_once('-')?;
    let severity = match severity.as_bytes() {
        [digit @ b'0'..=b'7'] => digit - b'0',
        _ => return None,
    };
    let is_word = |word: &str| {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        (1..=MARK_BYTES_MAX).contains(&word.len()) && word.bytes().all(is_part)
    };
    let text = text.trim_ascii_start();
    (is_word(facility) && is_word(name)).then_some(Mark { facility, severity, name, text })
}

/// What a sentence of Cisco's says of a connection; what it does not say is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Connection<'a> {
    /// Address and port that it came from.
    pub(super) src: (&'a str, &'a str),
    /// Address and port that it went to.
    pub(super) dst: (&'a str, &'a str),
    pub(super) protocol: &'a str,
    /// What became of it, in a word.
    pub(super) action: &'a str,
}

/// Reads a sentence about a connection.
///
/// ```text
/// Deny tcp src outside:192.0.2.9/80 dst inside:10.0.0.5/22
/// Built outbound TCP connection 7 for outside:192.0.2.9/80 (192.0.2.9/80) to inside:10.0.0.5/1772
/// list 102 denied tcp 10.0.0.5(3067) -> 192.0.2.9(139), 1 packet
/// ```
/// An outbound connection is named by its far end first, so that is where it went to.
pub(super) fn connection(sentence: &str) -> Connection<'_> {
    let mut found = Connection::default();
    let (mut is_outbound, mut before) = (false, "");
    let mut words = sentence.split_ascii_whitespace().peekable();
    while let Some(word) = words.next() {
        let is = |known: &[&str]| known.iter().any(|known| word.eq_ignore_ascii_case(known));
        let next = words.peek().copied().unwrap_or_default();
        if is(&["src", "from", "for"]) && found.src.0.is_empty() {
            found.src = end(next);
        } else if is(&["dst", "to"]) && found.dst.0.is_empty() {
            found.dst = end(next);
        } else if word == "->" {
            (found.src, found.dst) = (end(before), end(next));
        } else if is(&["tcp", "udp", "icmp"]) && found.protocol.is_empty() {
            found.protocol = word;
        } else if is(&["deny", "denied", "permitted", "dropped"]) && found.action.is_empty() {
            found.action = word;
        }
        is_outbound |= is(&["outbound"]);
        before = word;
    }
    if is_outbound {
        (found.src, found.dst) = (found.dst, found.src);
    }
    found
}

/// Returns address and port of an end, which its interface may stand before.
fn end(word: &str) -> (&str, &str) {
    let is_of = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    let bytes = word.as_bytes();
    for start in (0..bytes.len()).filter(|at| bytes[*at].is_ascii_digit()) {
        if start > 0 && is_of(&bytes[start - 1]) {
            continue;
        }
        let len = word[start..].bytes().take_while(|byte| is_of(byte)).count();
        let (address, behind) = word[start..].split_at(len);
        if address.parse::<Ipv4Addr>().is_err() {
            continue;
        }
        let digits = behind.get(1..).unwrap_or_default();
        let len = digits.bytes().take_while(u8::is_ascii_digit).count();
        let has_port = behind.starts_with(['/', '(', ':']);
        return (address, if has_port { &digits[..len] } else { "" });
    }
    ("", "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(text: &str) -> Vec<(&str, &str)> {
        let mut pairs = Vec::new();
        each(text, |key, value| pairs.push((key, value)));
        pairs
    }

    #[test]
    fn pairs_are_split_at_blanks_outside_of_quotes() {
        let text = r#"a=1 b="two words",c="with \"quotes\" and =" time=10: 13:03 d="" e="open"#;
        assert_eq!(
            pairs(text),
            [
                ("a", "1"),
                ("b", "two words"),
                ("c", r#"with \"quotes\" and ="#),
                ("time", "10:"),
                ("d", ""),
                ("e", "open"),
            ]
        );
        assert!(is_pairs(text));
        for text in ["", "a=1 b=2", "Failed password a=1 b=2 c=3", "a=1 and b=2 c=3", "=1 =2 =3"] {
            assert!(!is_pairs(text), "{text}");
        }
    }

    #[test]
    fn a_packet_ends_before_the_one_that_it_quotes_and_has_the_host_at_one_end_or_none() {
        let own = "IN=eth0 OUT= SRC=192.0.2.9 DST=10.0.0.5 PROTO=ICMP";
        for text in
            [own.to_owned(), format!("[7.0] DROP (x){own}"), format!("{own} [SRC=10.0.0.5 ]")]
        {
            assert_eq!(packet(&text), Some(Packet { text: own, is_own: true }), "{text}");
        }
        let is_own = |text| packet(text).map(|packet| packet.is_own);
        assert_eq!(is_own("IN= OUT=eth0 SRC=10.0.0.5"), Some(true));
        assert_eq!(is_own("IN=br0 PHYSIN=eth1 OUT=eth0 SRC=10.0.0.5"), Some(false));
        for text in ["", "IN=", "IN=eth0 and out", "plugged IN=1 device=usb"] {
            assert_eq!(packet(text), None, "{text}");
        }
    }

    #[test]
    fn a_mark_says_what_speaks_how_bad_it_is_and_which_sentence_follows() {
        let found = mark("%ASA-4-106023: Deny tcp src outside:192.0.2.9/80").unwrap();
        assert_eq!((found.facility, found.severity, found.name), ("ASA", 4, "106023"));
        assert_eq!(found.text, "Deny tcp src outside:192.0.2.9/80");
        let found = mark("%C4K_REDUNDANCY-SP-3-SIMPLEX_MODE: peer lost").unwrap();
        assert_eq!((found.facility, found.name), ("C4K_REDUNDANCY-SP", "SIMPLEX_MODE"));
        for text in
            ["", "%", "%ASA-8-1: x", "%ASA-1: x", "%-1-2: x", "100 %A-1-B: x", "%A B-1-C: x"]
        {
            assert_eq!(mark(text), None, "{text}");
        }
    }

    #[test]
    fn a_sentence_names_the_ends_of_its_connection() {
        let ends = |text| {
            let found = connection(text);
            (found.src, found.dst, found.protocol, found.action)
        };
        let (near, far) = (("10.0.0.5", "22"), ("192.0.2.9", "80"));
        for (text, expected) in [
            (
                "Deny tcp src outside:192.0.2.9/80 dst inside:10.0.0.5/22 by access-group \"in\"",
                (far, near, "tcp", "Deny"),
            ),
            (
                "Inbound TCP connection denied from 192.0.2.9/80 to 10.0.0.5/22 flags SYN",
                (far, near, "TCP", "denied"),
            ),
            (
                "Built outbound TCP connection 7 for outside:192.0.2.9/80 (192.0.2.9/80) to \
              inside:10.0.0.5/22 (10.0.0.5/22)",
                (near, far, "TCP", ""),
            ),
            (
                "access-list a permitted tcp inside/10.0.0.5(22) -> outside/192.0.2.9(80) hit 1",
                (near, far, "tcp", "permitted"),
            ),
            ("Window Size DoS [10.0.0.5:22 -> 192.0.2.9:80]", (near, far, "", "")),
            (
                "Deny icmp src outside:192.0.2.9 dst inside:10.0.0.5 (type 8)",
                (("192.0.2.9", ""), ("10.0.0.5", ""), "icmp", "Deny"),
            ),
            ("user eve from é to 1.2.3.4.5 for", (("", ""), ("", ""), "", "")),
        ] {
            assert_eq!(ends(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_walked_through(
            text in r#"[a-zé=", \\%:/(0-9.>-]{0,60}( (src|to|->) [0-9.é:/]{0,20})?"#,
        ) {
            is_pairs(&text);
            packet(&text);
            mark(&text);
            connection(&text);
            for (key, value) in pairs(&text) {
                prop_assert!(text.contains(key) && text.contains(value));
            }
        }
    }
}
