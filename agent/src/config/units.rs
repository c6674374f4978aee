//! Sizes and durations as people write them: `1GiB`, `50ms`.

use std::time::Duration;

/// Parses a size in bytes: a whole number and one of `B`, `KiB`, `MiB`, `GiB`, `TiB` (powers of
/// 1024).
///
/// # Errors
/// Says what was expected, as a text that follows the key's name.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let expected =
        || format!("{text:?} is no size: write a whole number and B, KiB, MiB, GiB or TiB");
    let (number, unit) = split(text).ok_or_else(expected)?;
    let shift = match unit {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return Err(expected()),
    };
    number.checked_mul(1 << shift).ok_or_else(|| format!("{text:?} is more than can be counted"))
}

/// Parses a duration: a whole number and one of `ms`, `s`, `m`, `h`.
///
/// # Errors
/// Says what was expected, as a text that follows the key's name.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let expected = || format!("{text:?} is no duration: write a whole number and ms, s, m or h");
    let (number, unit) = split(text).ok_or_else(expected)?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(expected()),
    };
    let ms = number.checked_mul(unit_ms);
    ms.map(Duration::from_millis).ok_or_else(|| format!("{text:?} is more than can be counted"))
}

/// Parses a share in percent: a whole number and `%`.
///
/// # Errors
/// Says what was expected, as a text that follows the key's name.
pub(super) fn parse_percent(text: &str) -> Result<u32, String> {
    let expected = || format!("{text:?} is no share: write a whole number and %, such as 50%");
    let (number, unit) = split(text).ok_or_else(expected)?;
    if unit != "%" {
        return Err(expected());
    }
    u32::try_from(number).map_err(|_| expected())
}

/// Writes a size with one decimal in the largest unit of which there is at least one: `1.5 MiB`.
#[must_use]
pub fn show_bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut tenths = u128::from(bytes) * 10;
    let mut unit = "B";
    for larger in UNITS {
        if tenths < 10_240 {
            break;
        }
        tenths /= 1024;
        unit = larger;
    }
    if unit == "B" {
        format!("{bytes} B")
    } else {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    }
}

/// Splits `50ms` or `50 ms` into its number and unit.
fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    Some((text[..end].parse().ok()?, text[end..].trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_numbers_with_a_binary_unit() {
        let good = [("0B", 0), ("64KiB", 65_536), ("1 GiB", 1 << 30), ("2TiB", 2 << 40)];
        for (text, bytes) in good {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "1", "1GB", "1.5GiB", "-1B", "GiB", "99999999999TiB", "1gib"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_whole_numbers_with_a_unit() {
        let good = [("50ms", 50), ("5 s", 5_000), ("2m", 120_000), ("1h", 3_600_000)];
        for (text, ms) in good {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "5", "5sec", "0.5s", "-1s", "18446744073709551615h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shares_are_whole_numbers_with_a_percent_sign() {
        assert_eq!((parse_percent("50%"), parse_percent("100 %")), (Ok(50), Ok(100)));
        for text in ["", "50", "0.5", "5.0%", "-1%", "%", "99999999999%"] {
            assert!(parse_percent(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_in_the_largest_unit_that_fits() {
        let shown = [(0, "0 B"), (1_023, "1023 B"), (1_024, "1.0 KiB"), (1_600_000, "1.5 MiB")];
        for (bytes, text) in shown {
            assert_eq!(show_bytes(bytes), text);
        }
        assert_eq!(show_bytes(3 << 40), "3.0 TiB");
    }
}
