//! A time zone, in which seasons are counted: nine in the morning is nine in the morning in winter and in summer.

use arrow::array::timezone::Tz;
use arrow::compute::kernels::cast_utils::string_to_datetime;
use arrow::datatypes::TimestampNanosecondType;
use arrow::temporal_conversions::as_datetime_with_timezone;
use std::fmt;
use thalweg_schemas::error::{Error, Result};

/// A time zone of the IANA database, or an offset such as `+02:00`.
#[derive(Clone, Debug)]
pub struct Zone {
    name: String,
    zone: Tz,
}

impl Zone {
    /// The zone of this name.
    pub fn new(name: &str) -> Result<Zone> {
        let unknown = |_| {
            Error::user(format!("time zone \"{name}\" is not known"))
                .with_hint("Write a name of the IANA database such as 'Europe/Zurich', or an offset such as '+02:00'.")
        };
        Ok(Zone { name: name.to_string(), zone: name.parse().map_err(unknown)? })
    }

    /// The time that is written as `text`, an ISO 8601 date or timestamp: in this zone unless it names one itself. In
    /// nanoseconds since 1970. Seconds may be left out.
    pub fn instant_ns(&self, text: &str) -> Option<i64> {
        let minutes = text.len() == "2026-12-24T18:00".len() && text.as_bytes()[13] == b':';
        let text = if minutes { &format!("{text}:00") } else { text };
        string_to_datetime(&self.zone, text).ok()?.timestamp_nanos_opt()
    }

    /// What the clocks show at `at`, both in nanoseconds since 1970.
    pub(super) fn local_ns(&self, at: i64) -> i64 {
        let shown = as_datetime_with_timezone::<TimestampNanosecondType>(at, self.zone);
        shown.and_then(|shown| shown.naive_local().and_utc().timestamp_nanos_opt()).unwrap_or(at)
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Zone) -> bool {
        self.name == other.name
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_change_twice_a_year() {
        const HOUR: i64 = 3_600_000_000_000;
        let zone = Zone::new("Europe/Zurich").unwrap();
        // 2026-03-29T00:59:59Z and a second later.
        let before = 1_774_745_999_000_000_000;
        assert_eq!(zone.local_ns(before) - before, HOUR);
        assert_eq!(zone.local_ns(before + 1_000_000_000) - before - 1_000_000_000, 2 * HOUR);
        assert_eq!(zone.instant_ns("2026-03-29T01:59:59"), Some(before));
        assert_eq!(zone.instant_ns("2026-03-29T00:59:59Z"), Some(before));
        assert_eq!(zone.instant_ns("2026-03-29"), Some(before + 1_000_000_000 - 2 * HOUR));
        assert_eq!(zone.instant_ns("2026-03-29T03:00"), Some(before + 1_000_000_000));
        assert_eq!(zone.instant_ns("soon"), None);
        assert_eq!(Zone::new("-03:30").unwrap().local_ns(0), -7 * HOUR / 2);
        let error = Zone::new("Europe/Zürich").unwrap_err();
        assert!(error.hint.is_some(), "{error}");
    }
}
