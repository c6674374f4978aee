//! Times as detectors write them: RFC 3339 and its common variants, and seconds since the epoch in
//! four scales.
//!
//! ```text
//! 2026-11-02T09:12:33.123456+0000    2026-11-02 09:12:33,5 +01:00    2026-11-02T09:12:33Z
//! 1793610753    1793610753.123    1793610753123 (ms)    1793610753123456 (us)
//! 1793610753123456789 (ns)            Nov 02 2026 09:12:33.123 UTC (CEF)
//! Nov  2 09:12:33 2026 (Aruba)
//! ```
//! A time without offset is taken as UTC. Fractions are cut to milliseconds. A leap second counts
//! as the second after it. Times before 1970 have no [`Timestamp`].

use std::time::Duration;

use shared::time::Timestamp;

const MS_PER_DAY: i64 = 86_400_000;

/// Epoch numbers below this are seconds (the year 5138); a thousand times as much are milliseconds,
/// and so on.
const SECONDS_END: u64 = 100_000_000_000;

/// Returns the instant that `text` names, or `None` if it names none.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let bytes = text.trim_ascii().as_bytes();
    match bytes {
        [_, _, _, _, b'-', ..] if bytes.len() >= 19 => calendar(bytes),
        [b'A'..=b'Z' | b'a'..=b'z', ..] => month_first(bytes),
        _ => epoch(bytes),
    }
}

/// Reads `YYYY-MM-DD` `T` `hh:mm:ss`, then an optional fraction and an optional offset.
fn calendar(bytes: &[u8]) -> Option<Timestamp> {
    let separators = bytes[7] == b'-' && bytes[13] == b':' && bytes[16] == b':';
    if !separators || !matches!(bytes[10], b'T' | b't' | b' ') {
        return None;
    }
    let year = two_digits(bytes, 0)? * 100 + two_digits(bytes, 2)?;
    instant((year, two_digits(bytes, 5)?, two_digits(bytes, 8)?), &bytes[11..])
}

/// Reads `MMM dd YYYY hh:mm:ss`, or the year behind, then an optional fraction and an optional offset.
fn month_first(bytes: &[u8]) -> Option<Timestamp> {
    let (month, day, rest) = month_and_day(bytes)?;
    let (year, time) = match rest.split_last_chunk::<5>() {
        Some((time, [b' ', year @ ..])) if rest.get(2) == Some(&b':') => (&year[..], time),
        _ => {
            let (year, rest) = rest.split_at_checked(4)?;
            (year, rest.strip_prefix(b" ")?)
        }
    };
    let year = two_digits(year, 0)? * 100 + two_digits(year, 2)?;
    instant((year, month, day), time).filter(|_| is_clock(time))
}

/// Reads `MMM dd `, and returns what follows.
fn month_and_day(bytes: &[u8]) -> Option<(i64, i64, &[u8])> {
    const MONTHS: [&[u8]; 12] = [
        b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov",
        b"dec",
    ];
    let (name, rest) = bytes.split_at_checked(3)?;
    let month = MONTHS.iter().position(|known| known.eq_ignore_ascii_case(name))?;
    let rest = rest.strip_prefix(b" ")?;
    let (day, rest) = match rest {
        [b' ' | b'0', day, b' ', rest @ ..] | [day, b' ', rest @ ..] => {
            (two_digits(&[b'0', *day], 0)?, rest)
        }
        [_, _, b' ', rest @ ..] => (two_digits(bytes, 4)?, rest),
        _ => return None,
    };
    Some((i64::try_from(month).ok()? + 1, day, rest))
}

fn is_clock(time: &[u8]) -> bool {
    matches!(time, [_, _, b':', _, _, b':', _, _, ..])
}

/// Tells whether a text is a time without a year, as in RFC 3164: `Nov  2 09:12:33`.
pub(super) fn is_yearless(text: &str) -> bool {
    let parts = month_and_day(text.trim_ascii().as_bytes());
    parts.is_some_and(|(_, _, time)| is_clock(time)) && parse(text).is_none()
}

/// Returns the instant that a time without a year names: the latest that is not a day ahead of `near`, or nothing where
/// that is more than a year ago. `offset_minutes` is what the clock that wrote it is ahead of UTC, unless the text says
/// so; where nobody says, there is no instant.
pub(super) fn parse_near(
    text: &str,
    near: Timestamp,
    offset_minutes: Option<i64>,
) -> Option<Timestamp> {
    const AHEAD_MAX: Duration = Duration::from_secs(86_400);
    const BEHIND_MAX: Duration = Duration::from_secs(366 * 86_400);
    let (month, day, time) = month_and_day(text.trim_ascii().as_bytes())?;
    let (time, zone) = match time.iter().position(|byte| *byte == b' ') {
        Some(at) => (&time[..at], time[at..].trim_ascii()),
        None => (time, &b""[..]),
    };
    let zone = ZONES.iter().find(|(name, _)| name.as_bytes() == zone).map(|(_, minutes)| *minutes);
    let minutes = if zone.is_some() { zone } else { offset_minutes }?;
    if !is_clock(time) {
        return None;
    }
    let days = i64::try_from(near.as_ms()).ok()? / MS_PER_DAY;
    // A year has at least 365 days, so one too many at most.
    let this_year = 1970 + days / 365;
    (0..3).find_map(|ago| {
        let local = instant((this_year - ago, month, day), time)?;
        let ms = i64::try_from(local.as_ms()).ok()? - minutes * 60_000;
        let found = Timestamp::from_ms(u64::try_from(ms).ok()?);
        let fits = found <= near.saturating_add(AHEAD_MAX) && near.since(found) <= BEHIND_MAX;
        fits.then_some(found)
    })
}

/// Zones whose names say one offset from UTC, in minutes.
const ZONES: [(&str, i64); 24] = [
    ("UTC", 0),
    ("GMT", 0),
    ("Z", 0),
    ("WET", 0),
    ("WEST", 60),
    ("CET", 60),
    ("CEST", 120),
    ("EET", 120),
    ("EEST", 180),
    ("MSK", 180),
    ("EST", -300),
    ("EDT", -240),
    ("CDT", -300),
    ("MST", -420),
    ("MDT", -360),
    ("PST", -480),
    ("PDT", -420),
    ("JST", 540),
    ("KST", 540),
    ("HKT", 480),
    ("SGT", 480),
    ("AEST", 600),
    ("AEDT", 660),
    ("NZST", 720),
];

/// Reads `hh:mm:ss`, whose colons were looked at, and what may follow, on a date.
fn instant((year, month, day): (i64, i64, i64), time: &[u8]) -> Option<Timestamp> {
    let (hour, minute) = (two_digits(time, 0)?, two_digits(time, 3)?);
    let second = two_digits(time, 6)?;
    if !(1..=12).contains(&month) || day < 1 || day > days_of_month(year, month) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (milli, rest) = fraction(&time[8..])?;
    let time_of_day = ((hour * 60 + minute) * 60 + second) * 1_000 + milli;
    let ms = days_since_epoch(year, month, day) * MS_PER_DAY + time_of_day - offset_ms(rest)?;
    u64::try_from(ms).ok().map(Timestamp::from_ms)
}

/// Reads `.` or `,` and digits; returns milliseconds and what follows.
fn fraction(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let Some((b'.' | b',', rest)) = bytes.split_first() else { return Some((0, bytes)) };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return None;
    }
    let digit = |at: usize| if at < digits { i64::from(rest[at] - b'0') } else { 0 };
    Some((digit(0) * 100 + digit(1) * 10 + digit(2), &rest[digits..]))
}

/// Reads `Z`, `UTC` or another zone's name, `+hh`, `+hhmm`, `+hh:mm` or nothing; a space may stand before it.
fn offset_ms(bytes: &[u8]) -> Option<i64> {
    let bytes = bytes.trim_ascii_start();
    if let Some((_, minutes)) = ZONES.iter().find(|(name, _)| name.as_bytes() == bytes) {
        return Some(minutes * 60_000);
    }
    let (sign, digits) = match bytes {
        [] | [b'z'] => return Some(0),
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => return None,
    };
    let minute_at = match digits.len() {
        2 => None,
        4 => Some(2),
        5 if digits[2] == b':' => Some(3),
        _ => return None,
    };
    let hour = two_digits(digits, 0)?;
    let minute = minute_at.map_or(Some(0), |at| two_digits(digits, at))?;
    (hour <= 23 && minute <= 59).then_some(sign * (hour * 60 + minute) * 60_000)
}

fn two_digits(bytes: &[u8], at: usize) -> Option<i64> {
    let (tens, ones) = (bytes.get(at)?.wrapping_sub(b'0'), bytes.get(at + 1)?.wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then(|| i64::from(tens) * 10 + i64::from(ones))
}

fn days_of_month(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar (days-from-civil).
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Reads a number since the epoch; its size says whether it counts seconds, milliseconds, micro- or
/// nanoseconds.
fn epoch(bytes: &[u8]) -> Option<Timestamp> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || digits > 19 {
        return None;
    }
    let number =
        bytes[..digits].iter().fold(0_u64, |number, byte| number * 10 + u64::from(byte - b'0'));
    let rest = &bytes[digits..];
    if matches!(rest.first(), Some(b'e' | b'E')) || rest.iter().any(|b| matches!(b, b'e' | b'E')) {
        return scientific(bytes);
    }
    let (milli, rest) = fraction(rest)?;
    if !rest.is_empty() {
        return None;
    }
    let ms = match number {
        seconds if seconds < SECONDS_END => seconds * 1_000 + u64::try_from(milli).ok()?,
        ms if ms < SECONDS_END * 1_000 => ms,
        us if us < SECONDS_END * 1_000_000 => us / 1_000,
        ns => ns / 1_000_000,
    };
    Some(Timestamp::from_ms(ms))
}

/// Reads a number such as `1.7936107531E9`, as some JSON writers print large floats.
fn scientific(bytes: &[u8]) -> Option<Timestamp> {
    let number: f64 = std::str::from_utf8(bytes).ok()?.parse().ok()?;
    if !(0.0..1e19).contains(&number) {
        return None;
    }
    epoch(format!("{number:.3}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_a_year_is_the_latest_that_is_not_a_day_ahead() {
        let near = |near: &str, text: &str, offset| {
            let found = parse_near(text, parse(near).unwrap(), offset)?;
            Some((found.as_ms(), found))
        };
        let at = |text: &str| parse(text).map(|found| (found.as_ms(), found));
        let new_year = "2027-01-01T00:00:05Z";
        for (now, text, offset, expected) in [
            ("2026-11-02T09:12:40Z", "Nov  2 09:12:33", Some(0), "2026-11-02T09:12:33Z"),
            ("2026-11-02T08:12:40Z", "Nov  2 09:12:33.5", Some(60), "2026-11-02T08:12:33.5Z"),
            ("2026-11-02T08:12:40Z", "Nov  2 09:12:33 CET", None, "2026-11-02T08:12:33Z"),
            ("2026-11-02T08:12:40Z", "Nov  2 09:12:33 CET", Some(0), "2026-11-02T08:12:33Z"),
            (new_year, "Dec 31 23:59:58", Some(0), "2026-12-31T23:59:58Z"),
            (new_year, "Jan  1 00:00:02", Some(0), "2027-01-01T00:00:02Z"),
            ("2026-12-31T23:59:58Z", "Jan  1 00:00:03", Some(0), "2027-01-01T00:00:03Z"),
            (new_year, "Jan  3 00:00:00", Some(0), "2026-01-03T00:00:00Z"),
            ("2028-03-01T00:00:00Z", "Feb 29 10:00:00", Some(0), "2028-02-29T10:00:00Z"),
        ] {
            assert_eq!(near(now, text, offset), at(expected), "{text} at {now}");
            assert!(is_yearless(text), "{text}");
        }
        for (text, offset) in [
            ("Nov  2 09:12:33", None),
            ("Nov  2 09:12:33 XYZ", None),
            ("Feb 29 10:00:00", Some(0)),
            ("Nov 31 10:00:00", Some(0)),
            ("Nov  2 09:12", Some(0)),
            ("", Some(0)),
        ] {
            assert_eq!(near("2026-11-02T10:00:00Z", text, offset), None, "{text}");
        }
        assert!(!is_yearless("Nov 02 2026 09:12:33") && !is_yearless("2026-11-02T09:12:33Z"));
    }

    #[test]
    fn the_variants_of_rfc_3339_name_one_instant() {
        for text in [
            "2026-11-02T09:12:33.123456+0000",
            "2026-11-02T09:12:33.123456+00:00",
            "2026-11-02T09:12:33.123Z",
            "2026-11-02t09:12:33.1239z",
            "2026-11-02 09:12:33,123",
            "2026-11-02T09:12:33.123 UTC",
            " 2026-11-02T10:12:33.123+01 ",
            "2026-11-02T14:42:33.123456+0530",
            "2026-11-02T14:42:33.123456 +05:30",
            "2026-11-01T23:12:33.123456-10:00",
        ] {
            assert_eq!(ms(text), Some(1_793_610_753_123), "{text}");
        }
    }

    #[test]
    fn a_time_may_begin_with_the_months_name() {
        for (text, expected) in [
            ("Nov 02 2026 09:12:33.123 UTC", "2026-11-02T09:12:33.123Z"),
            ("Nov 02 2026 09:12:33 CEST", "2026-11-02T07:12:33.000Z"),
            ("Nov  2 09:12:33 2026", "2026-11-02T09:12:33.000Z"),
            ("Nov 12 09:12:33.5 2026", "2026-11-12T09:12:33.500Z"),
            ("NOV  2 2026 09:12:33", "2026-11-02T09:12:33Z"),
            ("nov 2 2026 09:12:33 +01:00", "2026-11-02T08:12:33Z"),
            ("Dec 31 1999 23:59:59Z", "1999-12-31T23:59:59Z"),
        ] {
            assert_eq!(ms(text), ms(expected), "{text}");
            assert!(ms(text).is_some(), "{text}");
        }
        for text in [
            "Nov",
            "Nov 02",
            "Nov 02 09:12:33",
            "Nov 31 2026 09:12:33",
            "Nov 0 2026 09:12:33",
            "Nox 02 2026 09:12:33",
            "Nov 02 2026 09:12",
            "Nov 02 2026 09:12:3",
            "Nov 02 2026 09.12.33",
            "Nov 02 2026 09:12:33 XYZ",
            "Növ 02 2026 09:12:33",
        ] {
            assert_eq!(ms(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_parsed_is_written_back_alike() {
        for day in (0..400 * 366).step_by(7) {
            let time = Timestamp::from_ms(day * 86_400_000 + 45_296_789);
            assert_eq!(parse(&time.to_string()), Some(time), "{time}");
        }
    }

    #[test]
    fn leap_days_exist_in_leap_years_only() {
        assert_eq!(ms("2000-02-29T00:00:00Z"), Some(951_782_400_000));
        assert_eq!(ms("2024-02-29T23:59:59.999Z"), Some(1_709_251_199_999));
        for text in ["2023-02-29T00:00:00Z", "2100-02-29T00:00:00Z", "2026-04-31T00:00:00Z"] {
            assert_eq!(ms(text), None, "{text}");
        }
    }

    #[test]
    fn a_leap_second_counts_as_the_second_after_it() {
        assert_eq!(ms("2016-12-31T23:59:60Z"), ms("2017-01-01T00:00:00Z"));
    }

    #[test]
    fn numbers_are_read_in_the_scale_that_their_size_says() {
        for text in [
            "1793610753.123",
            "1793610753.1234567",
            "1793610753123",
            "1793610753123456",
            "1793610753123456789",
            "1.793610753123E9",
        ] {
            assert_eq!(ms(text), Some(1_793_610_753_123), "{text}");
        }
        assert_eq!(ms("1793610753"), Some(1_793_610_753_000));
    }

    #[test]
    fn what_names_no_instant_is_refused() {
        for text in [
            "",
            "-",
            "yesterday",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:61Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00+1",
            "2026-01-01T00:00:00+24:00",
            "2026-01-01T00:00:00 XYZ",
            "2026-01-01X00:00:00Z",
            "2026-01-0aT00:00:00Z",
            "1969-12-31T23:59:59Z",
            "-1793610753",
            "1793610753s",
            "99999999999999999999",
            "1e400",
        ] {
            assert_eq!(ms(text), None, "{text}");
        }
    }

    fn ms(text: &str) -> Option<u64> {
        parse(text).map(Timestamp::as_ms)
    }
}
