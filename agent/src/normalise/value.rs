//! JSON values read leniently: what matters is what they say, not the type that they were written
//! in.
//!
//! A value is taken as the raw JSON text of the record, so numbers become texts, and texts numbers,
//! without being copied. Only a text with escapes is written anew.

use std::borrow::Cow;

use memchr::memchr;
use serde_json::value::RawValue;
use shared::limits::TECHNIQUES_MAX;

/// Returns whether `raw` says something: null, the empty text and the customary `"-"` do not.
pub(super) fn says_something(raw: &str) -> bool {
    !matches!(raw, "null" | "\"\"" | "\"-\"" | "[]" | "{}")
}

/// Returns the text of a scalar, or a list's texts joined by `,`. Objects have none.
pub(super) fn text(raw: &str) -> Option<Cow<'_, str>> {
    match raw.as_bytes().first()? {
        b'"' => Some(unquoted(raw)),
        b'{' | b'n' => None,
        b'[' => joined(raw, usize::MAX, Some),
        _ => Some(Cow::Borrowed(raw)),
    }
}

/// Returns a whole number, also where it was written as a text or with a fraction.
pub(super) fn number(raw: &str) -> Option<i64> {
    let text = text(raw)?;
    let text = text.trim_ascii();
    let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
    whole.parse().ok()
}

/// Returns a port, also where it was written as a text.
pub(super) fn port(raw: &str) -> Option<u16> {
    number(raw).and_then(|number| u16::try_from(number).ok())
}

/// Returns the well-formed ATT&CK technique ids in `raw`, a text or a list, joined by `,`.
///
/// Emerging Threats writes `T1059_001` for `T1059.001`; both become the latter. At most
/// [`TECHNIQUES_MAX`] are returned.
pub(super) fn techniques(raw: &str) -> Option<Cow<'_, str>> {
    let text = match raw.as_bytes().first()? {
        b'[' => joined(raw, TECHNIQUES_MAX, technique),
        _ => {
            let text = text(raw)?;
            if technique(text.clone()).as_ref() == Some(&text) {
                return Some(text);
            }
            let ids = text.split([',', ' ', ';']).map(Cow::Borrowed).filter_map(technique);
            Some(Cow::Owned(ids.take(TECHNIQUES_MAX).collect::<Vec<_>>().join(",")))
        }
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

/// Returns a hash; of several such as `SHA1=..,SHA256=..` the strongest.
pub(super) fn hash(text: Cow<'_, str>) -> Cow<'_, str> {
    if !text.contains('=') {
        return text;
    }
    let of = |name: &str| {
        let mut pairs = text.split([',', ' ']).filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, hash)| hash.to_owned())
    };
    match of("SHA256").or_else(|| of("SHA1")).or_else(|| of("MD5")) {
        Some(hash) => Cow::Owned(hash),
        None => text,
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

/// Joins the first `max` texts that `keep` returns.
fn joined<'a>(
    raw: &'a str,
    max: usize,
    keep: impl Fn(Cow<'a, str>) -> Option<Cow<'a, str>>,
) -> Option<Cow<'a, str>> {
    let items: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
    let scalars = items.iter().map(|item| item.get()).filter(|raw| !raw.starts_with(['[', '{']));
    let mut texts = scalars.filter_map(text).filter_map(keep).take(max);
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
            assert_eq!(number(raw), Some(3), "{raw}");
        }
        assert_eq!(number("\"three\""), None);
        assert_eq!((port("\"443\""), port("65536"), port("-1")), (Some(443), None, None));
    }

    #[test]
    fn only_well_formed_techniques_are_kept() {
        for (raw, expected) in [
            (r#"["T1078","T1059_001"]"#, Some("T1078,T1059.001")),
            (r#""T1190""#, Some("T1190")),
            (r#""T1190, T1059.003""#, Some("T1190,T1059.003")),
            (r#"["Valid Accounts"]"#, None),
            (r#""Valid Accounts""#, None),
            ("7", None),
        ] {
            assert_eq!(techniques(raw).as_deref(), expected, "{raw}");
        }
        let many = format!("[{}\"T1000\"]", "\"T1001\",".repeat(100));
        assert_eq!(techniques(&many).unwrap().split(',').count(), TECHNIQUES_MAX);
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
    fn protocols_are_in_lower_case() {
        assert!(matches!(protocol(Cow::Borrowed("TCP")), Cow::Borrowed("tcp")));
        assert_eq!(protocol(Cow::Borrowed("IPv6-ICMP")), "ipv6-icmp");
        assert!(matches!(protocol(Cow::Borrowed("sctp")), Cow::Borrowed("sctp")));
    }
}
