//! Rates, shares and instants as a policy writes them.

use std::{num::NonZeroU32, time::Duration};

use jiff::{civil::Date, tz::Offset};
use shared::time::Timestamp;

use crate::filter::{Audit, Rate};

/// Parses `200/h`: a whole number in a second, minute, hour or day.
///
/// # Errors
/// Says what was expected, as a text that follows the key's name.
pub(super) fn parse_rate(text: &str) -> Result<Rate, String> {
    let expected =
        || format!("{text:?} is no rate: write a whole number and /s, /m, /h or /d, such as 200/h");
    let (count, unit) = text.split_once('/').ok_or_else(expected)?;
    let seconds = match unit.trim() {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(expected()),
    };
    let count = count.trim();
    if !count.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(expected());
    }
    let count = count.parse::<u32>().map_err(|_| expected())?;
    Ok(Rate { count: u64::from(count), per: Duration::from_secs(seconds) })
}

/// Parses `1/200`: one in so many.
///
/// # Errors
/// Says what was expected, as a text that follows the key's name.
pub(super) fn parse_audit(text: &str) -> Result<Audit, String> {
    let expected = || format!("{text:?} is no share: write one in so many, such as 1/200");
    let (one, many) = text.split_once('/').ok_or_else(expected)?;
    let many = many.trim();
    if one.trim() != "1" || !many.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(expected());
    }
    many.parse::<NonZeroU32>().map(Audit).map_err(|_| expected())
}

/// Parses `2027-01-31`, which means that day's end in UTC, or an instant as RFC 3339 writes it.
///
/// # Errors
/// Says what was expected, as a text that follows the key's name.
pub(super) fn parse_expiry(text: &str) -> Result<Timestamp, String> {
    let expected = || {
        format!(
            "{text:?} is no day and no instant: write 2027-01-31, which means that day's end in \
             UTC, or 2027-01-31T12:00:00Z"
        )
    };
    let instant = match text.parse::<Date>() {
        // A date is a beginning of an instant, too, so its length tells.
        Ok(day) if text.len() == "2027-01-31".len() => {
            let next = day.tomorrow().map_err(|_| expected())?;
            Offset::UTC.to_timestamp(next.at(0, 0, 0, 0)).map_err(|_| expected())?
        }
        _ => text.parse::<jiff::Timestamp>().map_err(|_| expected())?,
    };
    let ms = u64::try_from(instant.as_millisecond()).map_err(|_| expected())?;
    Ok(Timestamp::from_ms(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_whole_number_in_a_unit_of_time() {
        for (text, count, seconds) in [("200/h", 200, 3_600), ("1/s", 1, 1), ("0 / d", 0, 86_400)] {
            let rate = parse_rate(text).unwrap();
            assert_eq!((rate.count, rate.per), (count, Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "200", "200/", "/h", "-1/h", "+1/h", "1.5/h", "5/hour", "99999999999/s"] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_share_is_one_in_so_many() {
        assert_eq!(parse_audit("1/200"), Ok(Audit::default()));
        assert_eq!(parse_audit("1/1").unwrap().0.get(), 1);
        for text in ["", "200", "0/200", "2/200", "1/0", "1/", "1/-5", "1/+5", "0.5"] {
            assert!(parse_audit(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_day_means_its_end_and_an_instant_itself() {
        for (text, shown) in [
            ("2027-01-31", "2027-02-01T00:00:00.000Z"),
            ("2028-02-29", "2028-03-01T00:00:00.000Z"),
            ("2027-01-31T12:00:00Z", "2027-01-31T12:00:00.000Z"),
            ("2027-01-31T12:00:00+02:00", "2027-01-31T10:00:00.000Z"),
        ] {
            assert_eq!(parse_expiry(text).unwrap().to_string(), shown, "{text}");
        }
        for text in ["", "soon", "2027-02-30", "31.01.2027", "2027-01-31T12:00:00", "1960-01-01"] {
            assert!(parse_expiry(text).is_err(), "{text}");
        }
    }
}
