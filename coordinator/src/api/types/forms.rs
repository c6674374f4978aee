//! Instants and names: how they are written, and what stands about them in the OpenAPI document.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use shared::{alert::Severity, ids::Lane, time::Timestamp, wire::GapReason};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr, Schema,
        schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type},
    },
};

use crate::triage::ledger::GapKind;

/// Last instant that every offset from UTC can name within the year 9999, in milliseconds since the Unix epoch.
const LAST_MS: u64 = 253_402_207_200_999;

/// An instant, written as RFC 3339 in UTC with milliseconds. What lies beyond
/// 9999-12-30T22:00:00.999Z is written as that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub Timestamp);

impl From<Timestamp> for Time {
    fn from(at: Timestamp) -> Self {
        Self(at)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Timestamp::from_ms(self.0.as_ms().min(LAST_MS)).fmt(f)
    }
}

/// A text that is no instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an instant such as 2026-01-02T03:04:05.678Z, from 1970 on")]
pub struct TimeError;

impl FromStr for Time {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let at: jiff::Timestamp = text.parse().map_err(|_| TimeError)?;
        let ms = u64::try_from(at.as_millisecond()).map_err(|_| TimeError)?;
        Ok(Self(Timestamp::from_ms(ms)))
    }
}

impl Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl PartialSchema for Time {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("RFC 3339 in UTC with milliseconds"))
            .into()
    }
}

impl ToSchema for Time {}

/// Declares what stands in the OpenAPI document for a type of another module that is written as one of some names.
macro_rules! names {
    ($($(#[$doc:meta])* $type:ident, $values:expr;)*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $type;

        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new().schema_type(Type::String).enum_values(Some($values)).into()
            }
        }

        impl ToSchema for $type {}
    )* };
}

/// Names of what a case can be found to be.
const VERDICTS: [&str; 5] =
    ["malicious", "suspicious", "benign_expected", "benign_false_positive", "out_of_time"];

names! {
    /// How bad a product says that it is: `Severity` in the document.
    SeverityName, Severity::ALL.map(Severity::as_str);
    /// A lane of an agent: `Lane` in the document.
    LaneName, Lane::ALL.map(Lane::as_str);
    /// Why blocks will never come: `GapReason` in the document.
    GapReasonName, GapReason::ALL.map(GapReason::as_str);
    /// What is wrong with a ledger: `GapKind` in the document.
    LedgerGapKindName, GapKind::ALL.map(GapKind::as_str);
    /// What a token allows: `Role` in the document.
    RoleName, ["customer", "auditor", "analyst", "lead", "admin"];
    /// What a case was found to be: `VerdictKind` in the document.
    VerdictName, VERDICTS;
}

/// Declares what stands in the OpenAPI document for a text of some form.
macro_rules! patterns {
    ($($(#[$doc:meta])* $type:ident, $pattern:literal, $description:literal;)*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $type;

        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .pattern(Some($pattern))
                    .description(Some($description))
                    .into()
            }
        }

        impl ToSchema for $type {}
    )* };
}

patterns! {
    /// A tenant's id: `TenantId` in the document.
    TenantName, "^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$", "A tenant's id";
    /// A case's id, or the first letters of one, in a path.
    CaseName, "^[0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{4,12}$",
        "A case's id, or the first 4 or more letters of it";
    /// An agent's id: a UUID.
    AgentName, "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
        "An agent's id";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_read_back_as_it_was_written_and_none_lies_beyond_the_year_9999() {
        for (ms, text) in [(0, "1970-01-01T00:00:00.000Z"), (LAST_MS, "9999-12-30T22:00:00.999Z")] {
            let time = Time(Timestamp::from_ms(ms));
            assert_eq!(time.to_string(), text);
            assert_eq!(text.parse(), Ok(time));
        }
        assert_eq!(Time(Timestamp::MAX).to_string(), "9999-12-30T22:00:00.999Z");
        let offset: Time = "2026-01-01T02:00:00+02:00".parse().unwrap();
        assert_eq!(offset.to_string(), "2026-01-01T00:00:00.000Z");
        for bad in ["", "yesterday", "1969-12-31T23:59:59Z", "2026-13-01T00:00:00Z", "2026-01-01"] {
            assert_eq!(bad.parse::<Time>(), Err(TimeError), "{bad}");
        }
    }

    #[test]
    fn the_document_names_the_verdicts_and_reasons_that_are_written() {
        use crate::triage::case::VerdictKind as V;
        let kinds =
            [V::Malicious, V::Suspicious, V::BenignExpected, V::BenignFalsePositive, V::OutOfTime];
        let written = kinds.map(|kind| serde_json::to_value(kind).unwrap());
        assert_eq!(written, VERDICTS.map(serde_json::Value::from));
        let written = GapKind::ALL.map(|kind| serde_json::to_value(kind).unwrap());
        assert_eq!(written, GapKind::ALL.map(|kind| serde_json::Value::from(kind.as_str())));
    }
}
