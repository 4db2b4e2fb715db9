//! The address that is asked. It can hold the time of the request: services want to be told from when on.
//!
//! `{now}`, `{now-24h}` and `{now+2d}` become an instant in UTC, to the minute, as `2026-01-01T00:00Z`.

use chrono::DateTime;
use thalweg_schemas::options::parse_duration;

/// An address in its parts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Address {
    written: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    /// So many nanoseconds after the request.
    Instant(i64),
}

impl Address {
    /// Reads an address; `Err` has what is in braces and no time.
    pub fn parse(written: &str) -> Result<Address, String> {
        let mut parts = Vec::new();
        let mut rest = written;
        while let Some(at) = rest.find('{') {
            let length = rest[at..].find('}').ok_or_else(|| rest[at..].to_string())?;
            let inside = &rest[at + 1..at + length];
            parts.push(Part::Text(rest[..at].to_string()));
            parts.push(Part::Instant(instant(inside).ok_or_else(|| format!("{{{inside}}}"))?));
            rest = &rest[at + length + 1..];
        }
        parts.push(Part::Text(rest.to_string()));
        Ok(Address { written: written.to_string(), parts })
    }

    /// What is asked at `now_ns` after 1970.
    pub fn at(&self, now_ns: i64) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Instant(ahead) => {
                let at = DateTime::from_timestamp_nanos(now_ns.saturating_add(*ahead));
                at.format("%Y-%m-%dT%H:%MZ").to_string()
            }
        };
        self.parts.iter().map(part).collect()
    }

    /// Host and path as they are written, without what may be secret.
    pub fn shown(&self) -> String {
        let rest = self.written.split_once("://").map_or(self.written.as_str(), |(_, rest)| rest);
        let path = rest.split(['?', '#']).next().unwrap_or_default();
        path.rsplit('@').next().unwrap_or_default().to_string()
    }
}

/// How far `now`, `now-24h` or `now+2d` is from now, in nanoseconds.
fn instant(text: &str) -> Option<i64> {
    let offset = text.trim().strip_prefix("now")?.trim_start();
    let length = |text: &str| i64::try_from(parse_duration(text)?.as_nanos()).ok();
    match (offset.strip_prefix('+'), offset.strip_prefix('-')) {
        (Some(ahead), _) => length(ahead),
        (_, Some(ago)) => length(ago).map(|ns| -ns),
        _ => offset.is_empty().then_some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn times_are_those_of_the_request() {
        const NOW: i64 = 1_767_225_659_000_000_000;
        for (written, asked) in [
            ("https://a/intensity/{now}/fw48h", "https://a/intensity/2026-01-01T00:00Z/fw48h"),
            ("https://a/h?start={now-24h}&end={now + 1d}", "https://a/h?start=2025-12-31T00:00Z&end=2026-01-02T00:00Z"),
            ("https://a/latest?zone=DE", "https://a/latest?zone=DE"),
        ] {
            assert_eq!(Address::parse(written).unwrap().at(NOW), asked);
        }
        for (written, wrong) in [
            ("https://a/{zone}", "{zone}"),
            ("https://a/{now-1}", "{now-1}"),
            ("https://a/{now 1h}", "{now 1h}"),
            ("https://a/{now", "{now"),
        ] {
            assert_eq!(Address::parse(written).unwrap_err(), wrong);
        }
    }

    #[test]
    fn what_may_be_secret_is_not_shown() {
        let address = Address::parse("https://ada:secret@a/intensity/{now}?token=secret").unwrap();
        assert_eq!(address.shown(), "a/intensity/{now}");
    }
}
