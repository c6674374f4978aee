//! What a rule asks of a field's value.

use std::{cmp::Ordering, net::IpAddr};

use super::pattern::Pattern;
use crate::time::Timestamp;

/// A question about one field, or about every text of the event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ask<F> {
    /// The field; nothing for a keyword.
    pub(super) field: Option<F>,
    pub(super) test: Test<F>,
}

/// What is asked. All but [`Test::Null`] hold if any one of the field's values passes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Test<F> {
    /// The value's text matches; a pattern whose case is ignored is folded.
    Text { pattern: Pattern, cased: bool },
    /// The value's text has a match of this regular expression in it.
    Regex { pattern: Box<str>, flags: Flags },
    /// The value is a number, or a date with a part, that stands so to this one.
    Number { part: Option<DatePart>, operator: Operator, than: Number },
    /// The value is an address within this network.
    Network { address: IpAddr, prefix: u8 },
    /// The value stands so to a value of another field.
    Field { other: F, before: bool, behind: bool, cased: bool },
    /// The field is there, whatever it holds.
    Exists,
    /// The field is not there, or holds nothing but null.
    Null,
}

/// Submodifiers of `re`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Flags {
    pub(super) ignore_case: bool,
    pub(super) multi_line: bool,
    pub(super) dot_all: bool,
}

/// How a number must stand to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operator {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Operator {
    /// Returns whether a value that compares so to the rule's passes.
    pub(super) fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

/// A part of a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DatePart {
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

/// A number, as written; the bits of one with a point, so that equal questions are found to be equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Number {
    Int(i64),
    Float(u64),
}

impl Number {
    pub(super) fn float(value: f64) -> Self {
        Self::Float(value.to_bits())
    }

    /// Reads the whole of `text` as a decimal number.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        let plain = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
        if !digits.starts_with(|c: char| c.is_ascii_digit()) || !digits.chars().all(plain) {
            return None;
        }
        let float = || text.parse().ok().filter(|value: &f64| value.is_finite()).map(Self::float);
        text.parse().ok().map(Self::Int).or_else(float)
    }

    /// Compares by value: integers exactly, others as floating-point numbers.
    pub(super) fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(&b)),
            (a, b) => a.value().partial_cmp(&b.value()),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "beside a float, an integer is taken as one")]
    fn value(self) -> f64 {
        match self {
            Self::Int(value) => value as f64,
            Self::Float(bits) => f64::from_bits(bits),
        }
    }
}

impl DatePart {
    /// Returns the part of a date written as `YYYY-MM-DD`, with `HH:MM` behind a `T` or a space for the parts of a
    /// day; an integer is milliseconds since the Unix epoch, as OCSF's times are. Time zones are not looked at.
    pub(super) fn of(self, text: &str, number: Option<Number>) -> Option<i64> {
        if let Some(Number::Int(ms)) = number {
            let instant = Timestamp::from_ms(u64::try_from(ms).ok()?).to_string();
            return self.of(&instant, None);
        }
        let digits = |from: usize, to: usize| -> Option<i64> {
            let part = text.get(from..to)?;
            part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok()).flatten()
        };
        let mark =
            |at: usize, marks: &[u8]| text.as_bytes().get(at).is_some_and(|m| marks.contains(m));
        let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
        if !mark(4, b"-")
            || !mark(7, b"-")
            || !(1..=12).contains(&month)
            || !(1..=31).contains(&day)
        {
            return None;
        }
        let time = |from: usize| {
            (mark(10, b"Tt ") && mark(13, b":")).then(|| digits(from, from + 2)).flatten()
        };
        match self {
            Self::Minute => time(14),
            Self::Hour => time(11),
            Self::Day => Some(day),
            Self::Week => Some(iso_week(year, month, day)),
            Self::Month => Some(month),
            Self::Year => Some(year),
        }
    }
}

/// Returns the week of ISO 8601: the one with the year's first Thursday is 1.
fn iso_week(year: i64, month: i64, day: i64) -> i64 {
    let ordinal = |year: i64, month: i64, day: i64| {
        // Days of a year that begins in March, so that the leap day is its last.
        let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1
    };
    let days = ordinal(year, month, day);
    // 1 March of the year 0 was a Wednesday; Monday is 0.
    let weekday = (days + 2).rem_euclid(7);
    let thursday = days - weekday + 3;
    let first = |year| ordinal(year, 1, 1);
    let of_year = if thursday < first(year) {
        year - 1
    } else if thursday >= first(year + 1) {
        year + 1
    } else {
        year
    };
    (thursday - first(of_year)) / 7 + 1
}

/// Returns whether an address is within a network; an IPv4 address is the same however it is written.
pub(super) fn in_network(value: IpAddr, network: IpAddr, prefix: u8) -> bool {
    match (value.to_canonical(), network) {
        (IpAddr::V4(value), IpAddr::V4(network)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            value.to_bits() & mask == network.to_bits() & mask
        }
        (IpAddr::V6(value), IpAddr::V6(network)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            value.to_bits() & mask == network.to_bits() & mask
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_by_value_and_texts_must_be_decimal_as_a_whole() {
        let number = |text| Number::parse(text).unwrap();
        let compare = |a, b| number(a).compare(number(b)).unwrap();
        assert!(compare("9", "10").is_lt() && compare("-1", "0.5").is_lt());
        assert!(compare("2.0", "2").is_eq());
        assert!(compare("9007199254740993", "9007199254740992").is_gt(), "exact as integers");
        assert!(compare("99999999999999999999", "9223372036854775807").is_gt());
        for text in ["", "x", "0x10", "inf", "NaN", "1 ", "1.2.3", "-", ".5"] {
            assert_eq!(Number::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn parts_are_taken_from_dates_without_a_look_at_their_zone() {
        let parts = [
            (DatePart::Minute, 59),
            (DatePart::Hour, 23),
            (DatePart::Day, 31),
            (DatePart::Week, 1),
            (DatePart::Month, 12),
            (DatePart::Year, 2024),
        ];
        for (part, value) in parts {
            assert_eq!(part.of("2024-12-31T23:59:59.999+05:30", None), Some(value), "{part:?}");
            assert_eq!(part.of("", Some(Number::Int(1_735_689_599_999))), Some(value), "{part:?}");
        }
        assert_eq!(DatePart::Hour.of("2024-12-31", None), None);
        assert_eq!(DatePart::Day.of("31.12.2024", None), None);
        assert_eq!(DatePart::Year.of("2024-13-01", None), None);
    }

    #[test]
    fn weeks_are_those_of_iso_8601() {
        let cases = [
            ((2021, 1, 3), 53),
            ((2021, 1, 4), 1),
            ((2020, 12, 31), 53),
            ((2018, 12, 31), 1),
            ((2016, 2, 29), 9),
            ((2023, 7, 9), 27),
            ((2022, 1, 1), 52),
        ];
        for ((year, month, day), week) in cases {
            assert_eq!(iso_week(year, month, day), week, "{year}-{month}-{day}");
        }
    }

    #[test]
    fn an_ipv4_address_within_ipv6_is_in_its_ipv4_network() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(in_network(ip("10.1.2.3"), ip("10.0.0.0"), 8));
        assert!(in_network(ip("::ffff:10.1.2.3"), ip("10.0.0.0"), 8));
        assert!(!in_network(ip("11.1.2.3"), ip("10.0.0.0"), 8));
        assert!(in_network(ip("11.1.2.3"), ip("0.0.0.0"), 0));
        assert!(in_network(ip("fe80::1"), ip("fe80::"), 10));
        assert!(in_network(ip("::1"), ip("::1"), 128) && !in_network(ip("::2"), ip("::1"), 128));
        assert!(!in_network(ip("::1"), ip("0.0.0.0"), 0));
    }
}
