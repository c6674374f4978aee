//! What stands behind options: lengths of time, moments, entities, agreed times.

use std::{net::IpAddr, time::Duration};

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use coordinator::api::types::Time;
use shared::{alert::Severity, time::Timestamp};

use crate::limits::LIST_ITEMS_MAX;

/// Longest reason, in bytes: what the coordinator takes.
const REASON_BYTES_MAX: usize = 4096;

/// A point in time: named, or so long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Named.
    At(Time),
    /// So long before now.
    Ago(Duration),
}

impl Moment {
    /// Returns the instant that is meant at `now`.
    pub(crate) fn at(self, now: Timestamp) -> Time {
        match self {
            Self::At(at) => at,
            Self::Ago(length) => Time(now.saturating_sub(length)),
        }
    }
}

/// What alerts are searched by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entity {
    /// One of [`KINDS`].
    pub(crate) kind: &'static str,
    /// The value, as it was written.
    pub(crate) value: String,
}

/// An agreed time from receipt to verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlaTime {
    /// For which severity.
    pub(crate) severity: Severity,
    /// How long.
    pub(crate) minutes: u32,
}

/// What the coordinator indexes.
const KINDS: [&str; 6] = ["host", "ip", "user", "hash", "rule", "domain"];

/// Lengths of MD5, SHA-1 and SHA-256 in hex digits.
const HASH_LENGTHS: [usize; 3] = [32, 40, 64];

/// Parses a whole number with a unit: `90s`, `15m`, `4h`, `7d`.
pub(crate) fn length(text: &str) -> Result<Duration, String> {
    let problem = || "must be a whole number with a unit, such as 30s, 15m, 4h or 7d".to_owned();
    let unit = text.chars().last().ok_or_else(problem)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(problem()),
    };
    let number: u32 = text[..text.len() - 1].parse().map_err(|_| problem())?;
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

/// Parses a length of whole hours.
pub(crate) fn hours(text: &str) -> Result<u32, String> {
    let seconds = length(text)?.as_secs();
    let hours = u32::try_from(seconds / 3_600).ok().filter(|hours| *hours > 0);
    hours.filter(|_| seconds % 3_600 == 0).ok_or_else(|| "must be whole hours or days".to_owned())
}

/// Parses an instant (RFC 3339), a day (its beginning in UTC), or how long ago.
pub(crate) fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(length) = length(text) {
        return Ok(Moment::Ago(length));
    }
    let is_day = text.len() == 10 && text.matches('-').count() == 2;
    let instant = if is_day { format!("{text}T00:00:00Z") } else { text.to_owned() };
    instant.parse().map(Moment::At).map_err(|_| {
        "must be an instant such as 2026-01-02T03:04:05Z, a day such as 2026-01-02, or how long \
         ago, such as 24h"
            .to_owned()
    })
}

/// Parses `KIND:VALUE`, or guesses the kind.
pub(crate) fn entity(text: &str) -> Result<Entity, String> {
    let of = |kind, value: &str| Entity { kind, value: value.trim().to_owned() };
    let named = text.split_once(':').and_then(|(kind, value)| {
        let kind = KINDS.into_iter().find(|known| *known == kind)?;
        Some(of(kind, value))
    });
    let entity = named.unwrap_or_else(|| of(guess(text.trim()), text));
    if entity.value.is_empty() {
        return Err(format!(
            "must be VALUE or KIND:VALUE, where KIND is one of {}",
            KINDS.join(", ")
        ));
    }
    Ok(entity)
}

fn guess(value: &str) -> &'static str {
    let is_hash =
        HASH_LENGTHS.contains(&value.len()) && value.bytes().all(|b| b.is_ascii_hexdigit());
    if value.parse::<IpAddr>().is_ok() {
        "ip"
    } else if is_hash {
        "hash"
    } else {
        "host"
    }
}

/// Parses `SEVERITY=MINUTES` or `SEVERITY=4h`.
pub(crate) fn sla_time(text: &str) -> Result<SlaTime, String> {
    let problem = || "must be SEVERITY=TIME, such as high=60 (minutes) or low=3d".to_owned();
    let (name, time) = text.split_once('=').ok_or_else(problem)?;
    let severity = severity_of(name).ok_or_else(|| {
        format!("{name:?} is no severity: {}", Severity::ALL.map(Severity::as_str).join(", "))
    })?;
    let minutes = match time.parse::<u32>() {
        Ok(minutes) => minutes,
        Err(_) => {
            let seconds = length(time).map_err(|_| problem())?.as_secs();
            if !seconds.is_multiple_of(60) {
                return Err("is agreed in whole minutes".to_owned());
            }
            u32::try_from(seconds / 60).map_err(|_| problem())?
        }
    };
    Ok(SlaTime { severity, minutes })
}

fn severity_of(name: &str) -> Option<Severity> {
    Severity::ALL.into_iter().find(|severity| severity.as_str() == name)
}

/// Returns the parser of a severity's name.
pub(crate) fn severity() -> impl clap::builder::TypedValueParser<Value = Severity> {
    PossibleValuesParser::new(Severity::ALL.map(Severity::as_str))
        .map(|name| severity_of(&name).unwrap_or_default())
}

/// Parses the beginning of a case's id; capital letters are taken for small ones.
pub(crate) fn case(text: &str) -> Result<String, String> {
    let text = text.to_ascii_lowercase();
    let is_plain = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if (4..=12).contains(&text.len()) && is_plain {
        Ok(text)
    } else {
        Err("must be a case's id of 12 letters and digits, or its beginning of at least 4"
            .to_owned())
    }
}

/// Parses a reason: not empty, and not longer than the coordinator takes.
pub(crate) fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text.len() {
        0 => Err("must say something: somebody will want to know why".to_owned()),
        1..=REASON_BYTES_MAX => Ok(text.to_owned()),
        bytes => Err(format!("has {bytes} bytes, at most {REASON_BYTES_MAX} are kept")),
    }
}

/// Parses how many items to print.
pub(crate) fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=LIST_ITEMS_MAX) => Ok(count),
        Ok(_) | Err(_) => Err(format!("must be from 1 to {LIST_ITEMS_MAX}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_an_entity_is_guessed_from_its_form() {
        let sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let expected = [
            ("10.20.0.17", "ip"),
            ("2001:db8::1", "ip"),
            ("::1", "ip"),
            ("10.20.0.256", "host"),
            ("d41d8cd98f00b204e9800998ecf8427e", "hash"),
            ("DA39A3EE5E6B4B0D3255BFEF95601890AFD80709", "hash"),
            (sha256, "hash"),
            ("d41d8cd98f00b204e9800998ecf8427", "host"),
            ("web-3.example.net", "host"),
            ("other:thing", "host"),
        ];
        for (text, kind) in expected {
            let wanted = Entity { kind, value: text.to_owned() };
            assert_eq!(entity(text).unwrap(), wanted);
        }
    }

    #[test]
    fn a_named_kind_wins_over_a_guess() {
        assert_eq!(
            entity("user:10.0.0.1").unwrap(),
            Entity { kind: "user", value: "10.0.0.1".into() }
        );
        assert_eq!(entity("ip:::1").unwrap(), Entity { kind: "ip", value: "::1".into() });
        assert!(entity("user:").is_err() && entity("").is_err() && entity(" ").is_err());
    }

    #[test]
    fn a_length_of_time_needs_its_unit() {
        assert_eq!(length("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(length("15m"), Ok(Duration::from_secs(900)));
        assert_eq!(length("7d"), Ok(Duration::from_secs(604_800)));
        for text in ["", "15", "m", "-1m", "1.5h", "1w", "5µ", "99999999999d"] {
            assert!(length(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_moment_is_named_or_counted_back() {
        let now = Timestamp::from_ms(1_767_323_045_000);
        let at = |text: &str| moment(text).unwrap().at(now).to_string();
        assert_eq!(at("2026-01-02T03:00:00+02:00"), "2026-01-02T01:00:00.000Z");
        assert_eq!(at("2026-01-02"), "2026-01-02T00:00:00.000Z");
        assert_eq!(at("1h"), "2026-01-02T02:04:05.000Z");
        assert!(moment("yesterday").is_err() && moment("2026-13-02").is_err());
    }

    #[test]
    fn agreed_times_are_minutes_unless_they_say_otherwise() {
        let time = |severity, minutes| Ok(SlaTime { severity, minutes });
        assert_eq!(sla_time("high=60"), time(Severity::High, 60));
        assert_eq!(sla_time("low=3d"), time(Severity::Low, 4_320));
        for text in ["high", "high=", "huge=5", "high=90s", "high=-5", "=5"] {
            assert!(sla_time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_a_case_is_refused_before_anybody_is_asked() {
        assert_eq!(case("7K3M").unwrap(), "7k3m");
        for text in ["7k3", "7k3m2a9c0d1e0", "../tokens", "7k3m/x", "a b c"] {
            assert!(case(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_reason_says_something() {
        assert!(reason("  ").is_err() && reason(&"x".repeat(REASON_BYTES_MAX + 1)).is_err());
        assert_eq!(reason(" backup job ").unwrap(), "backup job");
    }
}
