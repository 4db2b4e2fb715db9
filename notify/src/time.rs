//! Moments as people and payloads write them. Inside they are nanoseconds since 1970-01-01T00:00:00Z.

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat, Utc};
use thalweg_schemas::error::{Error, Result};

/// A second in nanoseconds.
pub const SECOND: i64 = 1_000_000_000;

/// RFC 3339 in UTC, with as many digits behind the second as there are: 0, 3, 6 or 9.
pub fn show(ns: i64) -> String {
    DateTime::from_timestamp_nanos(ns).to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// RFC 3339 in UTC with milliseconds.
pub fn show_ms(ns: i64) -> String {
    DateTime::from_timestamp_nanos(ns).to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Reads RFC 3339, or SQL's `2026-11-26 08:00:00` and `2026-11-26`, which are UTC.
pub fn parse(text: &str) -> Result<i64> {
    let text = text.trim();
    let naive = || {
        let time = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M"]
            .into_iter()
            .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
        time.or_else(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0))
            .map(|time| time.and_utc())
    };
    let time = DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc()).or_else(naive);
    // People write 9999 for "never"; nanoseconds end in 2262.
    let limit = |time: DateTime<Utc>| if time.timestamp() > 0 { i64::MAX } else { i64::MIN };
    time.map(|time| time.timestamp_nanos_opt().unwrap_or_else(|| limit(time)))
        .ok_or_else(|| Error::user(format!("'{text}' is not a time")).with_hint("Write it as '2026-11-26T08:00:00Z'."))
}

/// For serde: a moment as RFC 3339.
pub mod rfc3339 {
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes it.
    pub fn serialize<S: Serializer>(ns: &i64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::show(*ns))
    }

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_and_written() {
        assert_eq!(show(1_500_000_000), "1970-01-01T00:00:01.500Z");
        assert_eq!((show(0), show_ms(0)), ("1970-01-01T00:00:00Z".into(), "1970-01-01T00:00:00.000Z".into()));
        for text in ["1970-01-01T01:00:01+01:00", "1970-01-01 00:00:01", "1970-01-01T00:00:01.0"] {
            assert_eq!(parse(text).unwrap(), SECOND, "{text}");
        }
        assert_eq!(parse("1970-01-02").unwrap(), 86_400 * SECOND);
        assert_eq!(parse("9999-12-31T00:00:00Z").unwrap(), i64::MAX, "never");
        assert!(parse("tomorrow").is_err());
    }
}
