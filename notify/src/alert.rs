//! What an alert says of itself: the events that come from the dataflow, and the identity that Alertmanager gives them.

use crate::shared::{Word, Words};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use thalweg_schemas::alert_event::{AlertEvent, Kind, Muted, Reason};
pub use thalweg_schemas::labels::Labels;

/// The label that holds the alert's name.
pub const ALERTNAME: &str = "alertname";

/// Whether an alert or a notification is of something that goes on or that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It goes on.
    Firing,
    /// It is over.
    Resolved,
}

impl Status {
    /// As payloads write it.
    pub fn name(self) -> &'static str {
        match self {
            Status::Firing => "firing",
            Status::Resolved => "resolved",
        }
    }
}

/// The label that holds the alert's severity.
pub const SEVERITY: &str = "severity";

/// An incident as its last event left it: what goes on from the firing of an alert's key until it is resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// The name of the alert.
    pub alert: Word,
    /// The key that it is about, by column, as text.
    pub key: Labels,
    /// The same for all events of an incident, and after a restart.
    pub incident_id: Word,
    /// The number of the last event in its incident, from 1.
    pub seq: i64,
    /// What the last event was.
    pub kind: Kind,
    /// Whether the incident goes on.
    pub status: Status,
    /// How bad it is, or was last: `warning`, `critical`.
    pub severity: Word,
    /// How bad it was before the last event, if it was.
    pub previous_severity: Option<Word>,
    /// How bad the receiver believes it to be, where that is something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_severity: Option<Word>,
    /// Why the last event came to be.
    pub reason: Reason,
    /// Event time since when the condition holds, in nanoseconds since 1970.
    pub active_since_ns: i64,
    /// Event time since when the alert fires.
    pub fired_at_ns: i64,
    /// Event time of the last event.
    pub at_ns: i64,
    /// Event time at which it was over.
    pub ends_at_ns: Option<i64>,
    /// Its labels, the alert's name and its severity among them.
    pub labels: Labels,
    /// Texts for people.
    pub annotations: Labels,
    /// What the conditions looked at, the text of a JSON object.
    #[serde(with = "json_text")]
    pub values: Box<str>,
    /// The same before a correction: that of the last event, or one before it that a receiver is still to be told of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_values: Option<Word>,
    /// The condition, as it was written.
    pub threshold: Option<Word>,
    /// How many rows are behind the last event, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_rows: Option<i64>,
    /// Some of them, as a JSON array.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Box<str>>,
    /// How often it has been corrected.
    pub revision: u32,
    /// Whether the event is of the past, and to be told only if the incident goes on when the present is reached.
    pub backfill: bool,
}

impl Alert {
    /// The incident as `event` leaves it; `None` for events that are not for receivers.
    pub fn of(event: &AlertEvent) -> Option<Alert> {
        let backfill = event.muted == Some(Muted::Backfill);
        if !event.kind.notifies() || event.muted.is_some() && !backfill {
            return None;
        }
        let key: BTreeMap<String, Value> = serde_json::from_str(&event.key).unwrap_or_default();
        let key = key.into_iter().map(|(name, value)| match value {
            Value::String(text) => (name, text),
            Value::Null => (name, String::new()),
            other => (name, other.to_string()),
        });
        let severity = event.severity.as_deref().unwrap_or_default();
        let mut labels = event.labels.with(ALERTNAME, &event.alert);
        if labels.get(SEVERITY).is_none() {
            labels = labels.with(SEVERITY, severity);
        }
        // Alertmanager: an empty label is one that is not there.
        let labels = labels.iter().filter(|(_, value)| !value.is_empty()).collect();
        let word = |text: &String| Word::from(text.as_str());
        Some(Alert {
            alert: word(&event.alert),
            key: key.collect(),
            incident_id: word(&event.incident_id),
            seq: event.seq,
            kind: event.kind,
            status: if event.state.is_open() { Status::Firing } else { Status::Resolved },
            severity: severity.into(),
            previous_severity: event.previous_severity.as_ref().map(word),
            told_severity: None,
            reason: event.reason,
            active_since_ns: event.starts_at_ns,
            fired_at_ns: event.fired_at_ns.unwrap_or(event.starts_at_ns),
            at_ns: event.event_time_ns,
            ends_at_ns: event.ends_at_ns,
            labels,
            annotations: event.annotations.clone(),
            values: event.values.as_str().into(),
            previous_values: event.previous_values.as_ref().map(word),
            threshold: event.threshold.as_ref().map(word),
            input_rows: event.input_rows,
            sample: event.sample.as_deref().map(Box::from),
            revision: u32::try_from(event.revision).unwrap_or(u32::MAX),
            backfill,
        })
    }

    /// An alert that the engine raises about itself at `now_ns`, known by an incident and the number of its event.
    pub(crate) fn own(
        (name, severity): (&str, &str),
        (incident_id, seq): (&str, i64),
        key: Labels,
        annotations: Labels,
        now_ns: i64,
    ) -> Alert {
        Alert {
            alert: name.into(),
            incident_id: incident_id.into(),
            seq,
            kind: Kind::Firing,
            status: Status::Firing,
            severity: severity.into(),
            previous_severity: None,
            told_severity: None,
            reason: Reason::ConditionMet,
            active_since_ns: now_ns,
            fired_at_ns: now_ns,
            at_ns: now_ns,
            ends_at_ns: None,
            labels: key.with(ALERTNAME, name).with(SEVERITY, severity),
            key,
            annotations,
            values: "{}".into(),
            previous_values: None,
            threshold: None,
            input_rows: None,
            sample: None,
            revision: 0,
            backfill: false,
        }
    }

    /// Shares the words that many alerts have in common.
    pub(crate) fn share(&mut self, words: &mut Words) {
        let maybe = [&mut self.previous_severity, &mut self.told_severity, &mut self.threshold];
        let always = [&mut self.alert, &mut self.severity];
        always.into_iter().chain(maybe.into_iter().flatten()).for_each(|word| words.share(word));
    }

    /// Whether the incident goes on.
    pub fn is_firing(&self) -> bool {
        self.status == Status::Firing
    }

    /// Alertmanager's fingerprint of the labels: FNV-1a over names and values in order of names, each followed by 0xff
    /// (`labelSetToFingerprint` of prometheus/common), as 16 hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        const OFFSET: u64 = 14_695_981_039_346_656_037;
        const PRIME: u64 = 1_099_511_628_211;
        let add = |hash: u64, text: &str| {
            text.bytes().chain([0xff]).fold(hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
        };
        let hash = self.labels.iter().fold(OFFSET, |hash, (name, value)| add(add(hash, name), value));
        format!("{hash:016x}")
    }

    /// What the conditions looked at.
    pub fn values(&self) -> Value {
        serde_json::from_str(&self.values).unwrap_or_default()
    }

    /// What they looked at before it was corrected.
    pub fn previous_values(&self) -> Option<Value> {
        self.previous_values.as_ref().map(|values| serde_json::from_str(values).unwrap_or_default())
    }

    /// Some of the rows behind the last event.
    pub fn sampled(&self) -> Vec<Value> {
        self.sample.as_ref().and_then(|sample| serde_json::from_str(sample).ok()).unwrap_or_default()
    }

    /// The labels that name the alert and its key: the same for all of its incidents, whatever their severity.
    pub fn identity(&self) -> Labels {
        self.key.with(ALERTNAME, &self.alert)
    }
}

/// A text that is JSON, as a part of the JSON around it.
mod json_text {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::Value;

    pub fn serialize<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::from_str::<Value>(text).unwrap_or_default().serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<str>, D::Error> {
        Ok(Value::deserialize(deserializer)?.to_string().into())
    }
}

/// The labels that all events have with the same value.
pub fn shared<'a>(mut all: impl Iterator<Item = &'a Labels>) -> Labels {
    let mut shared = all.next().cloned().unwrap_or_default();
    for labels in all {
        if shared != *labels {
            shared = shared.iter().filter(|(name, value)| labels.get(name) == Some(*value)).collect();
        }
    }
    shared
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use thalweg_schemas::alert_event::{Kind, Reason, State};

    /// Labels from pairs.
    pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().copied().collect()
    }

    /// The firing of alert `alert` for key `service`, at second `second`.
    pub(crate) fn firing(alert: &str, service: &str, incident: &str, severity: &str, second: i64) -> AlertEvent {
        let at_ns = second * 1_000_000_000;
        AlertEvent {
            alert: alert.to_string(),
            key: format!(r#"{{"service":"{service}"}}"#),
            incident_id: incident.to_string(),
            seq: 1,
            kind: Kind::Firing,
            state: State::Firing,
            severity: Some(severity.to_string()),
            previous_severity: None,
            reason: Reason::ConditionMet,
            event_time_ns: at_ns,
            starts_at_ns: at_ns,
            fired_at_ns: Some(at_ns),
            ends_at_ns: None,
            labels: labels(&[("service", service)]),
            annotations: labels(&[("summary", &format!("{service} is slow"))]),
            values: r#"{"p99":812.0}"#.to_string(),
            previous_values: None,
            threshold: Some("p99 > 500".to_string()),
            row: None,
            rows: 1,
            input_rows: Some(240),
            sample: Some(r#"[{"ms":812.0}]"#.to_string()),
            revision: 0,
            muted: None,
        }
    }

    /// The next event of the incident of `event`: another severity.
    pub(crate) fn escalated(event: &AlertEvent, severity: &str, second: i64) -> AlertEvent {
        AlertEvent {
            seq: event.seq + 1,
            kind: Kind::Escalated,
            previous_severity: event.severity.clone(),
            previous_values: None,
            severity: Some(severity.to_string()),
            event_time_ns: second * 1_000_000_000,
            ..event.clone()
        }
    }

    /// What ends the incident of `event`.
    pub(crate) fn resolved(event: &AlertEvent, second: i64) -> AlertEvent {
        let at_ns = second * 1_000_000_000;
        AlertEvent {
            seq: event.seq + 1,
            kind: Kind::Resolved,
            state: State::Resolved,
            reason: Reason::ConditionCleared,
            previous_severity: event.severity.clone(),
            previous_values: None,
            event_time_ns: at_ns,
            ends_at_ns: Some(at_ns),
            ..event.clone()
        }
    }

    /// The next event of the incident of `event`: it was judged by other values than it should have been.
    pub(crate) fn revised(event: &AlertEvent, values: &str) -> AlertEvent {
        AlertEvent {
            seq: event.seq + 1,
            kind: Kind::Revised,
            reason: Reason::InputCorrected,
            previous_severity: event.severity.clone(),
            previous_values: Some(event.values.clone()),
            values: values.to_string(),
            revision: event.revision + 1,
            ..event.clone()
        }
    }

    #[test]
    fn an_event_becomes_an_alert_with_alertmanagers_labels() {
        let alert = Alert::of(&firing("slow", "api", "i", "critical", 7)).unwrap();
        assert_eq!(alert.labels, labels(&[("alertname", "slow"), ("service", "api"), ("severity", "critical")]));
        assert_eq!(alert.identity(), labels(&[("alertname", "slow"), ("service", "api")]));
        assert_eq!((alert.status, alert.fired_at_ns), (Status::Firing, 7_000_000_000));
        let key = r#"{"host":"a","n":7,"zone":null}"#.to_string();
        let alert = Alert::of(&AlertEvent { key, ..firing("slow", "api", "i", "critical", 7) }).unwrap();
        assert_eq!(alert.key, labels(&[("host", "a"), ("n", "7"), ("zone", "")]));
        assert!(Alert::of(&AlertEvent { kind: Kind::Pending, ..firing("slow", "api", "i", "critical", 7) }).is_none());
        let revision = Some(Muted::Revision);
        assert!(Alert::of(&AlertEvent { muted: revision, ..firing("slow", "api", "i", "critical", 7) }).is_none());
    }

    #[test]
    fn the_fingerprint_is_alertmanagers() {
        // Seen in a webhook of Alertmanager 0.25.
        let mut alert = Alert::of(&firing("A", "x", "i", "warning", 0)).unwrap();
        alert.labels = labels(&[(ALERTNAME, "A"), ("inst", "i1"), ("severity", "warning")]);
        assert_eq!(alert.fingerprint(), "c4144316ad7eefd8");
    }

    #[test]
    fn labels_are_shared() {
        let (a, b) = (labels(&[("a", "1"), ("b", "\"2\"")]), labels(&[("a", "1"), ("b", "3"), ("c", "4")]));
        assert_eq!(shared([&a, &b].into_iter()), labels(&[("a", "1")]));
        assert_eq!(shared([].into_iter()), Labels::new());
    }
}
