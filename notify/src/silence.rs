//! Silences: for a time, firing alerts that match are not notified of.

use crate::alert::Labels;
use crate::matchers::{Matcher, all_match};
use crate::time::{self, parse};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thalweg_schemas::error::{Error, Result};

/// A silence, written as Alertmanager's API writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Silence {
    /// What it is known by; given when it is made.
    #[serde(default)]
    pub id: String,
    /// What an alert must be like: all of them hold.
    pub matchers: Vec<Matcher>,
    /// From when, in nanoseconds since 1970; this moment belongs to it.
    #[serde(rename = "startsAt", with = "time::rfc3339")]
    pub starts_at_ns: i64,
    /// Until when; this moment does not.
    #[serde(rename = "endsAt", with = "time::rfc3339")]
    pub ends_at_ns: i64,
    /// Who made it.
    #[serde(default)]
    pub created_by: String,
    /// Why.
    #[serde(default)]
    pub comment: String,
    /// It silences only at the times of these calendars, where there are any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calendars: Vec<String>,
    /// Whether the pipeline declares it: when it no longer does, it ends.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub declared: bool,
}

/// Where a silence is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It has not begun.
    Pending,
    /// It silences.
    Active,
    /// It is over.
    Expired,
}

impl Phase {
    /// As Alertmanager's API writes it.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Pending => "pending",
            Phase::Active => "active",
            Phase::Expired => "expired",
        }
    }
}

impl Silence {
    /// Checks what a person wrote, and gives it an id where it has none: the same for the same silence, so that one
    /// that is declared in a pipeline is one silence in every run.
    pub fn checked(mut self) -> Result<Silence> {
        let empty = Labels::new();
        if self.matchers.is_empty() {
            return Err(Error::user("a silence has no matchers, so it would silence everything")
                .with_hint("Write at least one, such as 'alertname=\"slow_service\"'."));
        }
        if all_match(&self.matchers, &empty) {
            return Err(Error::user("the matchers of a silence hold for an alert without any labels")
                .with_hint("Write at least one that names a value: 'team=\"core\"'."));
        }
        if self.ends_at_ns <= self.starts_at_ns {
            return Err(Error::user("a silence ends before it starts").with_detail(format!(
                "It is written to last from {} until {}.",
                time::show(self.starts_at_ns),
                time::show(self.ends_at_ns)
            )));
        }
        if self.id.is_empty() {
            let text = serde_json::to_string(&self).map_err(|error| Error::bug(format!("a silence: {error}")))?;
            self.id = crate::payload::hex(&Sha256::digest(text.as_bytes())[..16]);
        }
        Ok(self)
    }

    /// Where it is in its life at `now_ns`.
    pub fn phase(&self, now_ns: i64) -> Phase {
        if now_ns < self.starts_at_ns {
            Phase::Pending
        } else if now_ns < self.ends_at_ns {
            Phase::Active
        } else {
            Phase::Expired
        }
    }

    /// Whether it silences an alert with these labels at `now_ns`.
    pub fn mutes(&self, labels: &Labels, now_ns: i64) -> bool {
        self.phase(now_ns) == Phase::Active && all_match(&self.matchers, labels)
    }
}

/// The options of `CREATE SILENCE`, read: `start` and `end` as times, or `duration` from the start.
pub fn span(start: Option<&str>, end: Option<&str>, duration_ns: Option<i64>, now_ns: i64) -> Result<(i64, i64)> {
    let start_ns = start.map_or(Ok(now_ns), parse)?;
    match (end, duration_ns) {
        (Some(end), None) => Ok((start_ns, parse(end)?)),
        (None, Some(duration_ns)) => Ok((start_ns, start_ns.saturating_add(duration_ns))),
        (None, None) => {
            Err(Error::user("a silence has no end").with_hint("Write end = '2026-12-01T08:00:00Z' or duration = '2h'."))
        }
        (Some(_), Some(_)) => {
            Err(Error::user("a silence has an end and a duration").with_hint("Leave one of them out."))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::tests::labels;
    use crate::matchers;

    const JSON: &str = r#"{"matchers":[{"name":"team","value":"core","isRegex":false}],
        "startsAt":"2026-11-26T08:00:00Z","endsAt":"2026-11-26T10:00:00.5Z","createdBy":"ada","comment":"maintenance"}"#;

    #[test]
    fn a_silence_of_alertmanagers_api() {
        let silence: Silence = serde_json::from_str(JSON).unwrap();
        let silence = silence.checked().unwrap();
        let core = labels(&[("team", "core")]);
        assert!(silence.mutes(&core, silence.starts_at_ns) && !silence.mutes(&core, silence.ends_at_ns));
        assert!(!silence.mutes(&core, silence.starts_at_ns - 1) && !silence.mutes(&labels(&[]), silence.starts_at_ns));
        assert_eq!(silence.phase(i64::MAX), Phase::Expired);
        assert_eq!(silence.ends_at_ns - silence.starts_at_ns, 7_200_500_000_000);
        let again: Silence = serde_json::from_str(&serde_json::to_string(&silence).unwrap()).unwrap();
        assert_eq!(again, silence, "it is written as it is read");
        let same: Silence = serde_json::from_str(JSON).unwrap();
        assert_eq!(same.checked().unwrap().id, silence.id, "the same silence has the same id");
    }

    #[test]
    fn what_would_silence_everything_is_refused() {
        let silence: Silence = serde_json::from_str(JSON).unwrap();
        for text in ["", "team=~\".*\"", "team!=core"] {
            let all = Silence { matchers: matchers::parse(text).unwrap(), ..silence.clone() };
            assert!(all.checked().is_err(), "{text}");
        }
        let backwards = Silence { ends_at_ns: 0, ..silence };
        assert_eq!(backwards.checked().unwrap_err().message, "a silence ends before it starts");
    }

    #[test]
    fn a_span_has_one_end() {
        assert_eq!(span(None, None, Some(5), 10).unwrap(), (10, 15));
        assert_eq!(
            span(Some("1970-01-01T00:00:01Z"), Some("1970-01-01T00:00:02Z"), None, 0).unwrap(),
            (1_000_000_000, 2_000_000_000)
        );
        assert!(span(None, None, None, 0).is_err() && span(None, Some("1970-01-02"), Some(1), 0).is_err());
    }
}
