//! Values read leniently: what matters is what they say, not the type that they were written in.
//!
//! A value is taken as the text that stands in the record, so numbers become texts, and texts
//! numbers, without being copied. Only a text with escapes is written anew.

use std::{borrow::Cow, net::Ipv6Addr};

use memchr::{memchr, memchr2};
use serde_json::value::RawValue;
use shared::limits::TECHNIQUES_MAX;

/// A value as its record writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Raw<'a> {
    written: &'a str,
    escapes: Escapes,
}

/// What stands for what cannot be written as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Escapes {
    /// It is a JSON value, quotes included.
    Json,
    /// `\x09`, as in Zeek's columns.
    Hex,
    /// A backslash before what would mean something else, as in CEF.
    Backslash,
    /// A backslash before a quote, a bracket or itself, as in syslog's structured data.
    Quoted,
    /// `&lt;`, as in XML.
    Xml,
    /// Nothing does.
    None,
}

impl<'a> Raw<'a> {
    /// A JSON value.
    pub(super) const fn json(written: &'a str) -> Self {
        Self { written, escapes: Escapes::Json }
    }

    /// A text that has bytes by their number in base 16 in it.
    pub(super) const fn hex(written: &'a str) -> Self {
        Self { written, escapes: Escapes::Hex }
    }

    /// A text in which a backslash stands before what would mean something else.
    pub(super) const fn backslash(written: &'a str) -> Self {
        Self { written, escapes: Escapes::Backslash }
    }

    /// A text within the quotes of syslog's structured data.
    pub(super) const fn quoted(written: &'a str) -> Self {
        Self { written, escapes: Escapes::Quoted }
    }

    /// A text of XML.
    pub(super) const fn xml(written: &'a str) -> Self {
        Self { written, escapes: Escapes::Xml }
    }

    /// A text that is as it is written.
    pub(super) const fn plain(written: &'a str) -> Self {
        Self { written, escapes: Escapes::None }
    }

    /// What is written with these escapes.
    pub(crate) const fn new(written: &'a str, escapes: Escapes) -> Self {
        Self { written, escapes }
    }

    /// Returns what stands in the record.
    pub(crate) const fn written(self) -> &'a str {
        self.written
    }

    /// Returns how it is written.
    pub(crate) const fn escapes(self) -> Escapes {
        self.escapes
    }

    /// Returns the text of a scalar, or a list's texts joined by `,`. Objects have none.
    pub(crate) fn text(self) -> Option<Cow<'a, str>> {
        text(self)
    }
}

/// Returns whether the JSON value says something: null, the empty text, the customary `"-"` and
/// Falco's `"<NA>"` do not.
pub(super) fn says_something(raw: &str) -> bool {
    !matches!(raw, "null" | "\"\"" | "\"-\"" | "\"<NA>\"" | "[]" | "{}")
}

/// Returns the text of a scalar, or a list's texts joined by `,`. Objects have none.
pub(super) fn text(raw: Raw<'_>) -> Option<Cow<'_, str>> {
    match raw.escapes {
        Escapes::Json => json_text(raw.written),
        Escapes::Hex => Some(unescaped_hex(raw.written)),
        Escapes::Backslash => Some(unescaped_backslash(raw.written)),
        Escapes::Quoted => Some(unescaped_quoted(raw.written)),
        Escapes::Xml => Some(unescaped_xml(raw.written)),
        Escapes::None => Some(Cow::Borrowed(raw.written)),
    }
}

fn json_text(raw: &str) -> Option<Cow<'_, str>> {
    match raw.as_bytes().first()? {
        b'"' => Some(unquoted(raw)),
        b'{' | b'n' => None,
        b'[' => joined(raw, usize::MAX, Some),
        _ => Some(Cow::Borrowed(raw)),
    }
}

/// Returns a whole number, also where it was written as a text or with a fraction.
pub(super) fn number(raw: Raw<'_>) -> Option<i64> {
    let text = text(raw)?;
    let text = text.trim_ascii();
    let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
    whole.parse().ok()
}

/// Returns a port, also where it was written as a text.
pub(super) fn port(raw: Raw<'_>) -> Option<u16> {
    number(raw).and_then(|number| u16::try_from(number).ok())
}

/// Returns the well-formed ATT&CK technique ids in `raw`, a text or a list, joined by `,`.
///
/// Emerging Threats writes `T1059_001` for `T1059.001`; both become the latter. At most
/// [`TECHNIQUES_MAX`] are returned.
pub(super) fn techniques(raw: Raw<'_>) -> Option<Cow<'_, str>> {
    let is_list = raw.escapes == Escapes::Json && raw.written.starts_with('[');
    let text = if is_list {
        joined(raw.written, TECHNIQUES_MAX, technique)
    } else {
        let text = text(raw)?;
        if technique(text.clone()).as_ref() == Some(&text) {
            return Some(text);
        }
        // Some products write a list as a text, brackets and all.
        let ids = text.split([',', ' ', ';', '"', '[', ']', '=']);
        let ids = ids.map(Cow::Borrowed).filter_map(technique);
        Some(Cow::Owned(ids.take(TECHNIQUES_MAX).collect::<Vec<_>>().join(",")))
    };
    text.filter(|text| !text.is_empty())
}

fn technique(text: Cow<'_, str>) -> Option<Cow<'_, str>> {
    let digits = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_digit);
    match text.as_bytes() {
        [b'T', id @ ..] if id.len() == 4 && digits(id) => Some(text),
        [b'T', id @ ..] if id.len() == 8 && digits(&id[..4]) && digits(&id[5..]) => match id[4] {
            b'.' => Some(text),
            b'_' => Some(Cow::Owned(text.replace('_', "."))),
            _ => None,
        },
        _ => None,
    }
}

/// Returns an address in its one spelling: IPv6 as RFC 5952 writes it, without a zone or brackets,
/// and IPv4 that is written within IPv6 as IPv4. Of several the first; other texts are what they
/// are.
pub(super) fn address(text: Cow<'_, str>) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    if memchr2(b':', b',', bytes).is_none() {
        return text;
    }
    let first = text.split(',').next().unwrap_or_default().trim_ascii();
    let bare = first.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(first);
    let bare = bare.split_once('%').map_or(bare, |(address, _)| address);
    let spelt = bare.parse::<Ipv6Addr>().map(|address| address.to_canonical().to_string());
    let spelt = spelt.as_deref().unwrap_or(first);
    if spelt == text { text } else { Cow::Owned(spelt.to_owned()) }
}

/// Returns a hash; of several such as `SHA1=..,SHA256=..` the strongest.
pub(super) fn hash(text: Cow<'_, str>) -> Cow<'_, str> {
    if !text.contains('=') {
        return text;
    }
    let strongest = hashes(&text).next().map(str::to_owned);
    strongest.map_or(text, Cow::Owned)
}

/// Returns the hashes of a file in a text such as `SHA1=..,SHA256=..`, the strongest first; others such as `IMPHASH`
/// are not of the whole file.
pub(super) fn hashes(text: &str) -> impl Iterator<Item = &str> {
    let of = |name| {
        let mut pairs = text.split([',', ' ']).filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, hash)| hash)
    };
    ["SHA256", "SHA1", "MD5"].into_iter().filter_map(of)
}

/// ATT&CK's tactics for enterprises, version 17, by name.
const TACTICS: [(&str, &str); 14] = [
    ("reconnaissance", "TA0043"),
    ("resource development", "TA0042"),
    ("initial access", "TA0001"),
    ("execution", "TA0002"),
    ("persistence", "TA0003"),
    ("privilege escalation", "TA0004"),
    ("defense evasion", "TA0005"),
    ("credential access", "TA0006"),
    ("discovery", "TA0007"),
    ("lateral movement", "TA0008"),
    ("collection", "TA0009"),
    ("command and control", "TA0011"),
    ("exfiltration", "TA0010"),
    ("impact", "TA0040"),
];

/// Returns the ids of the ATT&CK tactics in `raw`, a text or a list, joined by `,`: they may be written as ids or by
/// name. At most [`TECHNIQUES_MAX`] are returned.
pub(super) fn tactics(raw: Raw<'_>) -> Option<Cow<'_, str>> {
    if raw.escapes == Escapes::Json && raw.written.starts_with('[') {
        return joined(raw.written, TECHNIQUES_MAX, |text| tactic(&text).map(Cow::Borrowed));
    }
    let text = text(raw)?;
    let ids: Vec<&str> = text.split([',', ';']).filter_map(tactic).take(TECHNIQUES_MAX).collect();
    (!ids.is_empty()).then(|| Cow::Owned(ids.join(",")))
}

/// Returns the ids of the ATT&CK tactics among tags, of which some are called so (`mitre_lateral_movement`).
pub(super) fn tagged_tactics(raw: Raw<'_>) -> Option<Cow<'_, str>> {
    joined(raw.written, TECHNIQUES_MAX, |tag| {
        tag.strip_prefix("mitre_").and_then(tactic).map(Cow::Borrowed)
    })
}

fn tactic(text: &str) -> Option<&'static str> {
    let text = text.trim_ascii();
    // However the words are set apart: `Lateral Movement`, `lateral_movement`, `LateralMovement`.
    fn letters(name: &str) -> impl Iterator<Item = u8> {
        let letters = name.bytes().filter(u8::is_ascii_alphabetic);
        letters.map(|byte| byte.to_ascii_lowercase())
    }
    let is_alike = |known: &str| letters(text).eq(letters(known));
    let found = TACTICS.iter().find(|(known, id)| *id == text || is_alike(known));
    found.map(|(_, id)| *id)
}

/// Returns the number of a process in decimal; it may be written in base 16, as `0x1a2c`.
pub(super) fn pid(raw: Raw<'_>) -> Option<Cow<'_, str>> {
    let text = text(raw)?;
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok().map(|pid| Cow::Owned(pid.to_string())),
        None => text.parse::<u32>().is_ok().then_some(text),
    }
}

/// Returns the text in lower case; the common protocols are not copied.
pub(super) fn protocol(text: Cow<'_, str>) -> Cow<'_, str> {
    for known in ["tcp", "udp", "icmp"] {
        if text.eq_ignore_ascii_case(known) {
            return Cow::Borrowed(known);
        }
    }
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Cow::Owned(text.to_ascii_lowercase());
    }
    text
}

fn unquoted(raw: &str) -> Cow<'_, str> {
    let inner = &raw[1..raw.len() - 1];
    if memchr(b'\\', inner.as_bytes()).is_none() {
        return Cow::Borrowed(inner);
    }
    // Half a surrogate pair has no text; what was written stands in for it.
    serde_json::from_str(raw).map_or(Cow::Borrowed(inner), Cow::Owned)
}

/// Returns the text with its bytes in place of their numbers; as it is where they make no UTF-8.
pub(super) fn unescaped_hex(written: &str) -> Cow<'_, str> {
    if !written.contains("\\x") {
        return Cow::Borrowed(written);
    }
    let mut bytes = Vec::with_capacity(written.len());
    let mut rest = written.as_bytes();
    while let [first, after @ ..] = rest {
        let number = rest.get(2..4).filter(|_| rest.starts_with(b"\\x"));
        let number = number.and_then(|digits| str::from_utf8(digits).ok());
        let is_digits = |digits: &&str| digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        match number.filter(is_digits).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &rest[4..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(written), Cow::Owned)
}

/// Returns the text as CEF means it: a backslash before itself, a bar or an equals sign goes, one
/// before `n` or `r` is a line's end. Others are what they are.
fn unescaped_backslash(written: &str) -> Cow<'_, str> {
    if memchr(b'\\', written.as_bytes()).is_none() {
        return Cow::Borrowed(written);
    }
    let mut text = String::with_capacity(written.len());
    let mut chars = written.chars().peekable();
    while let Some(char) = chars.next() {
        let meant = match (char, chars.peek()) {
            ('\\', Some(escaped @ ('\\' | '|' | '='))) => Some(*escaped),
            ('\\', Some('n')) => Some('\n'),
            ('\\', Some('r')) => Some('\r'),
            _ => None,
        };
        text.push(meant.unwrap_or(char));
        if meant.is_some() {
            chars.next();
        }
    }
    Cow::Owned(text)
}

/// Returns the text as syslog's structured data means it (RFC 5424, section 6.3.3): a backslash before a quote, a
/// closing bracket or itself goes, any other is what it is.
fn unescaped_quoted(written: &str) -> Cow<'_, str> {
    if memchr(b'\\', written.as_bytes()).is_none() {
        return Cow::Borrowed(written);
    }
    let mut text = String::with_capacity(written.len());
    let mut chars = written.chars().peekable();
    while let Some(char) = chars.next() {
        let escaped = chars.next_if(|next| char == '\\' && matches!(next, '"' | ']' | '\\'));
        text.push(escaped.unwrap_or(char));
    }
    Cow::Owned(text)
}

/// Joins the first `max` texts that `keep` returns.
/// Puts back what XML's five entities and its numbers stand for; what is none stays as it is.
fn unescaped_xml(written: &str) -> Cow<'_, str> {
    if memchr(b'&', written.as_bytes()).is_none() {
        return Cow::Borrowed(written);
    }
    let (mut text, mut rest) = (String::with_capacity(written.len()), written);
    while let Some((before, after)) = rest.split_once('&') {
        text.push_str(before);
        let end = after.bytes().take(ENTITY_BYTES_MAX).position(|byte| byte == b';');
        let entity = end.and_then(|end| Some((entity(&after[..end])?, &after[end + 1..])));
        let (character, after) = entity.unwrap_or(('&', after));
        text.push(character);
        rest = after;
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// Bytes of the longest entity, `#x` with its number and some zeros, and of the sign behind it: a text of nothing but
/// `&` is looked through once, and not once for each.
const ENTITY_BYTES_MAX: usize = 16;

fn entity(name: &str) -> Option<char> {
    let number = match name {
        "lt" => return Some('<'),
        "gt" => return Some('>'),
        "amp" => return Some('&'),
        "quot" => return Some('"'),
        "apos" => return Some('\''),
        name => name.strip_prefix('#')?,
    };
    let number = match number.strip_prefix(['x', 'X']) {
        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
        None => number.parse().ok()?,
    };
    char::from_u32(number)
}

fn joined<'a>(
    raw: &'a str,
    max: usize,
    keep: impl Fn(Cow<'a, str>) -> Option<Cow<'a, str>>,
) -> Option<Cow<'a, str>> {
    let items: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
    let scalars = items.iter().map(|item| item.get()).filter(|raw| !raw.starts_with(['[', '{']));
    let mut texts = scalars.filter_map(json_text).filter_map(keep).take(max);
    let first = texts.next()?;
    let Some(second) = texts.next() else { return Some(first) };
    let mut all = first.into_owned();
    for text in std::iter::once(second).chain(texts) {
        all.push(',');
        all.push_str(&text);
    }
    Some(Cow::Owned(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(raw: &str) -> Option<Cow<'_, str>> {
        super::text(Raw::json(raw))
    }

    #[test]
    fn bytes_that_are_written_by_their_number_are_themselves_again() {
        for (written, expected) in [
            ("plain", "plain"),
            (r"a\x09b\x5cx", "a\tb\\x"),
            (r"\xc3\xa4", "ä"),
            (r"\xc3", r"\xc3"),
            (r"\x+1\x4", r"\x+1\x4"),
            ("-5", "-5"),
        ] {
            assert_eq!(super::text(Raw::hex(written)).unwrap(), expected, "{written}");
        }
    }

    #[test]
    fn a_scalar_is_a_text_whatever_its_type() {
        for (raw, expected) in [
            ("\"plain\"", Some("plain")),
            ("2010937", Some("2010937")),
            ("true", Some("true")),
            ("null", None),
            ("{\"a\":1}", None),
            (r#""a\"b\u00e4""#, Some("a\"bä")),
            ("[\"ids\", \"suricata\", 3, null, {}]", Some("ids,suricata,3")),
            ("[]", None),
        ] {
            assert_eq!(text(raw).as_deref(), expected, "{raw}");
        }
    }

    #[test]
    fn a_text_without_escapes_is_not_copied() {
        assert!(matches!(text("\"plain\""), Some(Cow::Borrowed(_))));
        assert!(matches!(text("[\"one\"]"), Some(Cow::Borrowed("one"))));
        assert!(matches!(text("17"), Some(Cow::Borrowed(_))));
    }

    #[test]
    fn half_a_surrogate_pair_is_kept_as_written() {
        assert_eq!(text(r#""a\ud800b""#).as_deref(), Some(r"a\ud800b"));
    }

    #[test]
    fn a_number_may_be_written_as_a_text() {
        for raw in ["3", "\"3\"", "3.0", "\"3.000000\"", "\" 3\""] {
            assert_eq!(number(Raw::json(raw)), Some(3), "{raw}");
        }
        assert_eq!(number(Raw::json("\"three\"")), None);
        assert_eq!(
            (port(Raw::json("\"443\"")), port(Raw::json("65536")), port(Raw::json("-1"))),
            (Some(443), None, None)
        );
    }

    #[test]
    fn only_well_formed_techniques_are_kept() {
        for (raw, expected) in [
            (r#"["T1078","T1059_001"]"#, Some("T1078,T1059.001")),
            (r#""T1190""#, Some("T1190")),
            (r#""T1190, T1059.003""#, Some("T1190,T1059.003")),
            (r#""[\"T1010\",\"T1059.001\"]""#, Some("T1010,T1059.001")),
            (r#"["Valid Accounts"]"#, None),
            (r#""Valid Accounts""#, None),
            ("7", None),
        ] {
            assert_eq!(techniques(Raw::json(raw)).as_deref(), expected, "{raw}");
        }
        let many = format!("[{}\"T1000\"]", "\"T1001\",".repeat(100));
        assert_eq!(techniques(Raw::json(&many)).unwrap().split(',').count(), TECHNIQUES_MAX);
    }

    #[test]
    fn an_address_has_one_spelling() {
        let spelt = |text: &'static str| address(Cow::Borrowed(text)).into_owned();
        for text in [
            "2001:db8::1:0:0:1",
            "2001:DB8::1:0:0:1",
            "2001:0db8:0000:0000:0001:0000:0000:0001",
            "[2001:db8::1:0:0:1]",
            "2001:db8::1:0:0:1%eth0",
            "2001:db8::1:0:0:1,fe80::1",
        ] {
            assert_eq!(spelt(text), "2001:db8::1:0:0:1", "{text}");
        }
        assert_eq!(spelt("::ffff:10.0.0.5"), "10.0.0.5");
        assert_eq!(spelt("10.0.0.5, 10.0.0.6"), "10.0.0.5");
        for text in ["10.0.0.5", "10.0.0.5:80", "client.lan", "::1", "not:an:address", ""] {
            assert_eq!(spelt(text), text);
        }
        assert!(matches!(address(Cow::Borrowed("fe80::1")), Cow::Borrowed(_)));
    }

    #[test]
    fn of_several_hashes_the_strongest_is_taken() {
        let pick = |text: &'static str| hash(Cow::Borrowed(text)).into_owned();
        assert_eq!(pick("SHA1=aa,MD5=bb,SHA256=cc,IMPHASH=dd"), "cc");
        assert_eq!(pick("MD5=bb"), "bb");
        assert_eq!(pick("cafe"), "cafe");
        assert_eq!(pick("IMPHASH=dd"), "IMPHASH=dd");
    }

    #[test]
    fn all_hashes_of_a_file_are_known_the_strongest_first() {
        let all = |text| hashes(text).collect::<Vec<_>>();
        assert_eq!(all("MD5=bb,IMPHASH=dd,SHA256=cc"), ["cc", "bb"]);
        assert!(all("cafe").is_empty());
    }

    #[test]
    fn tactics_are_known_by_id_and_by_name() {
        for (raw, expected) in [
            (r#"["TA0006","Lateral_Movement","x"]"#, Some("TA0006,TA0008")),
            (r#""Defense Evasion, PrivilegeEscalation""#, Some("TA0005,TA0004")),
            (r#""TA9999""#, None),
            ("7", None),
        ] {
            assert_eq!(tactics(Raw::json(raw)).as_deref(), expected, "{raw}");
        }
    }

    #[test]
    fn tags_are_tactics_only_where_they_say_so() {
        let tags = Raw::json(r#"["network","execution","mitre_credential_access","mitre_x"]"#);
        assert_eq!(tagged_tactics(tags).as_deref(), Some("TA0006"));
        assert_eq!(tagged_tactics(Raw::json("\"mitre_execution\"")), None);
    }

    #[test]
    fn a_process_has_a_decimal_number_however_it_is_written() {
        for (raw, expected) in [
            ("4711", Some("4711")),
            ("\"0x1a2c\"", Some("6700")),
            ("\"0xzz\"", None),
            ("-1", None),
            ("\"init\"", None),
        ] {
            assert_eq!(pid(Raw::json(raw)).as_deref(), expected, "{raw}");
        }
    }

    #[test]
    fn protocols_are_in_lower_case() {
        assert!(matches!(protocol(Cow::Borrowed("TCP")), Cow::Borrowed("tcp")));
        assert_eq!(protocol(Cow::Borrowed("IPv6-ICMP")), "ipv6-icmp");
        assert!(matches!(protocol(Cow::Borrowed("sctp")), Cow::Borrowed("sctp")));
    }
}
