//! The contract of an alert event: what an alert says when something changes, as a row and as a value.
//!
//! An alert is a relation under its own name. Its stream of finals are its events, append-only, in the order of `seq` for
//! each incident; its changes keep the last event of each key, which is the alert's state. Both have this one schema, so
//! that a sink, a notifier and a query take any alert. The incident's identity never depends on the wall clock: it is a
//! hash of the alert, its key and the event time of the first breach, and `(incident_id, seq)` is the same after a restart.

use crate::error::{Error, Result};
use crate::labels::Labels;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit, TimestampNanosecondType};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::sync::{Arc, LazyLock};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A condition holds, and not yet for long enough.
    Pending,
    /// The alert fires: a new incident for its receivers.
    Firing,
    /// It fires at a graver severity.
    Escalated,
    /// It fires at a milder severity.
    Deescalated,
    /// Its condition is clear, and it is kept firing for a while.
    Recovering,
    /// Its condition holds again before it was resolved.
    Refired,
    /// It is over.
    Resolved,
    /// It was pending and its condition is clear: it never fired.
    Cleared,
    /// What it was judged by has been corrected since.
    Revised,
}

/// What the alert is afterwards, for this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Nothing is wrong.
    Normal,
    /// A condition holds, and not yet for long enough.
    Pending,
    /// It fires.
    Firing,
    /// It fires, though its condition is clear at the moment.
    Recovering,
    /// It fires because nothing comes.
    NoData,
    /// It fired and is over.
    Resolved,
}

/// Why it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// A condition holds.
    ConditionMet,
    /// The conditions are clear.
    ConditionCleared,
    /// Nothing has come for too long.
    NoData,
    /// Something came again.
    DataReturned,
    /// Nothing has come for so long that the key is forgotten.
    Evicted,
    /// It fires so often that it stays open until it has been quiet for a while.
    Flapping,
    /// What it was judged by was corrected.
    InputCorrected,
    /// The alert is no more, or is another: only receivers hear of it.
    RuleChanged,
}

/// Why receivers are not to be told, though they would be of such an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Muted {
    /// It is older than the alert's `mute_older_than`: a backfill or a replay of the past.
    Backfill,
    /// A correction, and the alert does not ask for notifications of them.
    Revision,
}

macro_rules! words {
    ($name:ident, $what:literal: $($variant:ident = $word:literal),+) => {
        impl $name {
            /// The word for it in the column.
            pub const fn word(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }

            /// What the word stands for.
            pub fn of_word(word: &str) -> Result<$name> {
                match word {
                    $($word => Ok($name::$variant),)+
                    _ => Err(Error::data(format!("\"{word}\" is no {} of an alert event", $what))),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                serializer.serialize_str(self.word())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<$name, D::Error> {
                let word = String::deserialize(deserializer)?;
                $name::of_word(&word).map_err(serde::de::Error::custom)
            }
        }
    };
}

words!(Kind, "kind": Pending = "pending", Firing = "firing", Escalated = "escalated", Deescalated = "deescalated",
       Recovering = "recovering", Refired = "refired", Resolved = "resolved", Cleared = "cleared", Revised = "revised");
words!(State, "state": Normal = "normal", Pending = "pending", Firing = "firing", Recovering = "recovering",
       NoData = "no_data", Resolved = "resolved");
words!(Reason, "reason": ConditionMet = "condition_met", ConditionCleared = "condition_cleared", NoData = "no_data",
       DataReturned = "data_returned", Evicted = "evicted", Flapping = "flapping", InputCorrected = "input_corrected",
       RuleChanged = "rule_changed");
words!(Muted, "mute": Backfill = "backfill", Revision = "revision");

impl Kind {
    /// Whether receivers are told of it: what only concerns the alert's own state is not for them.
    pub const fn notifies(self) -> bool {
        match self {
            Kind::Firing | Kind::Escalated | Kind::Deescalated | Kind::Resolved | Kind::Revised => true,
            Kind::Pending | Kind::Recovering | Kind::Refired | Kind::Cleared => false,
        }
    }
}

impl State {
    /// Whether receivers hold an incident open.
    pub const fn is_open(self) -> bool {
        matches!(self, State::Firing | State::Recovering | State::NoData)
    }
}

/// One event of one alert and key. Times are nanoseconds since 1970, event time unless the alert has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertEvent {
    /// The alert's name.
    pub alert: String,
    /// The key's columns and values, a JSON object; `{}` where the alert has no key.
    pub key: String,
    /// Sixteen hexadecimal digits: the incident, from its first breach until it is over.
    pub incident_id: String,
    /// From 1, one more with every event of the incident.
    pub seq: i64,
    /// What happened.
    pub kind: Kind,
    /// What the alert is now.
    pub state: State,
    /// The severity now, or the last one it had: of a pending alert, the one that it would fire at.
    pub severity: Option<String>,
    /// The severity before, if it fired before.
    pub previous_severity: Option<String>,
    /// Why.
    pub reason: Reason,
    /// When it happened.
    pub event_time_ns: i64,
    /// When the incident's condition first held.
    pub starts_at_ns: i64,
    /// Since when it has fired; `None` while it never has.
    pub fired_at_ns: Option<i64>,
    /// When it was over; `None` while it is not.
    pub ends_at_ns: Option<i64>,
    /// The columns of the key as text, and what `LABELS` says (which wins). Neither the alert's name nor its severity.
    pub labels: Labels,
    /// What `ANNOTATIONS` says, templates filled in from the row.
    pub annotations: Labels,
    /// What the conditions looked at, a JSON object; `{}` where nothing came.
    pub values: String,
    /// Of a correction: what the conditions had looked at before, a JSON object.
    pub previous_values: Option<String>,
    /// The condition of the severity, as it was written.
    pub threshold: Option<String>,
    /// The view's row that decided, a JSON object; `None` where nothing came.
    pub row: Option<String>,
    /// How many rows of the view were looked at for this decision.
    pub rows: i64,
    /// How many rows are behind it: of a relation that groups rows those of the group whose row decided, of any other its
    /// own. `None` where that is not known, or nothing came.
    pub input_rows: Option<i64>,
    /// Some of those rows, those that weigh most first: a JSON array of objects.
    pub sample: Option<String>,
    /// How often the incident has been corrected.
    pub revision: i64,
    /// Why receivers are not told of it; `None`: they are, if such events are for them at all.
    pub muted: Option<Muted>,
}

impl AlertEvent {
    /// Whether receivers are to be told.
    pub fn is_to_be_told(&self) -> bool {
        self.kind.notifies() && self.muted.is_none()
    }
}

/// The names of the columns, in order.
pub const COLUMNS: [&str; 24] = [
    "alert",
    "key",
    "incident_id",
    "seq",
    "kind",
    "state",
    "severity",
    "previous_severity",
    "reason",
    "event_time",
    "starts_at",
    "fired_at",
    "ends_at",
    "labels",
    "annotations",
    "values",
    "previous_values",
    "threshold",
    "row",
    "rows",
    "input_rows",
    "sample",
    "revision",
    "muted",
];

/// The columns of an alert's relation.
pub fn schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let time = DataType::Timestamp(TimeUnit::Nanosecond, None);
        let field = |name: &str, data_type: DataType, nullable: bool| Field::new(name, data_type, nullable);
        Arc::new(Schema::new(vec![
            field("alert", DataType::Utf8, false),
            field("key", DataType::Utf8, false),
            field("incident_id", DataType::Utf8, false),
            field("seq", DataType::Int64, false),
            field("kind", DataType::Utf8, false),
            field("state", DataType::Utf8, false),
            field("severity", DataType::Utf8, true),
            field("previous_severity", DataType::Utf8, true),
            field("reason", DataType::Utf8, false),
            field("event_time", time.clone(), false),
            field("starts_at", time.clone(), false),
            field("fired_at", time.clone(), true),
            field("ends_at", time, true),
            field("labels", DataType::Utf8, false),
            field("annotations", DataType::Utf8, false),
            field("values", DataType::Utf8, false),
            field("previous_values", DataType::Utf8, true),
            field("threshold", DataType::Utf8, true),
            field("row", DataType::Utf8, true),
            field("rows", DataType::Int64, false),
            field("input_rows", DataType::Int64, true),
            field("sample", DataType::Utf8, true),
            field("revision", DataType::Int64, false),
            field("muted", DataType::Utf8, true),
        ]))
    });
    SCHEMA.clone()
}

/// The position of the column `key`: the state of an alert has one row for each.
pub const KEY: usize = 1;
/// The name of the column of rows behind an event.
pub const SAMPLE: &str = "sample";
/// The position of the column `event_time`.
pub const EVENT_TIME: usize = 9;

/// Events as rows of [`schema`].
pub fn to_rows(events: &[AlertEvent]) -> Result<RecordBatch> {
    fn text<'a>(events: &'a [AlertEvent], of: impl Fn(&'a AlertEvent) -> &'a str) -> ArrayRef {
        Arc::new(StringArray::from_iter_values(events.iter().map(of)))
    }
    fn maybe<'a>(events: &'a [AlertEvent], of: impl Fn(&'a AlertEvent) -> Option<&'a str>) -> ArrayRef {
        Arc::new(events.iter().map(of).collect::<StringArray>())
    }
    fn number(events: &[AlertEvent], of: impl Fn(&AlertEvent) -> i64) -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(events.iter().map(of)))
    }
    fn time(events: &[AlertEvent], of: impl Fn(&AlertEvent) -> Option<i64>) -> ArrayRef {
        Arc::new(events.iter().map(of).collect::<TimestampNanosecondArray>())
    }
    fn object(events: &[AlertEvent], of: impl Fn(&AlertEvent) -> &Labels) -> ArrayRef {
        Arc::new(StringArray::from_iter_values(events.iter().map(|event| to_json(of(event)))))
    }
    let columns = vec![
        text(events, |e| &e.alert),
        text(events, |e| &e.key),
        text(events, |e| &e.incident_id),
        number(events, |e| e.seq),
        text(events, |e| e.kind.word()),
        text(events, |e| e.state.word()),
        maybe(events, |e| e.severity.as_deref()),
        maybe(events, |e| e.previous_severity.as_deref()),
        text(events, |e| e.reason.word()),
        time(events, |e| Some(e.event_time_ns)),
        time(events, |e| Some(e.starts_at_ns)),
        time(events, |e| e.fired_at_ns),
        time(events, |e| e.ends_at_ns),
        object(events, |e| &e.labels),
        object(events, |e| &e.annotations),
        text(events, |e| &e.values),
        maybe(events, |e| e.previous_values.as_deref()),
        maybe(events, |e| e.threshold.as_deref()),
        maybe(events, |e| e.row.as_deref()),
        number(events, |e| e.rows),
        Arc::new(events.iter().map(|e| e.input_rows).collect::<Int64Array>()),
        maybe(events, |e| e.sample.as_deref()),
        number(events, |e| e.revision),
        maybe(events, |e| e.muted.map(Muted::word)),
    ];
    Ok(RecordBatch::try_new(schema(), columns)?)
}

/// The events that rows of [`schema`] say; an error names what is none.
pub fn from_rows(rows: &RecordBatch) -> Result<Vec<AlertEvent>> {
    let column = |name: &str| {
        let column = rows.column_by_name(name);
        column.ok_or_else(|| Error::bug(format!("rows without column \"{name}\" are no alert events")))
    };
    let text = |name: &str| -> Result<&StringArray> {
        let column = column(name)?.as_string_opt::<i32>();
        column.ok_or_else(|| Error::bug(format!("column \"{name}\" of an alert event is text")))
    };
    let number = |name: &str| -> Result<&Int64Array> {
        let column = column(name)?.as_primitive_opt::<Int64Type>();
        column.ok_or_else(|| Error::bug(format!("column \"{name}\" of an alert event is a number")))
    };
    let time = |name: &str| -> Result<&TimestampNanosecondArray> {
        let column = column(name)?.as_primitive_opt::<TimestampNanosecondType>();
        column.ok_or_else(|| Error::bug(format!("column \"{name}\" of an alert event is a time")))
    };
    let (alert, key, incident_id) = (text("alert")?, text("key")?, text("incident_id")?);
    let (kind, state, reason, muted) = (text("kind")?, text("state")?, text("reason")?, text("muted")?);
    let (severity, previous_severity) = (text("severity")?, text("previous_severity")?);
    let (event_time, starts_at) = (time("event_time")?, time("starts_at")?);
    let (fired_at, ends_at) = (time("fired_at")?, time("ends_at")?);
    let (labels, annotations) = (text("labels")?, text("annotations")?);
    let (values, previous_values) = (text("values")?, text("previous_values")?);
    let (threshold, row) = (text("threshold")?, text("row")?);
    let (input_rows, sample) = (number("input_rows")?, text("sample")?);
    let (seq, rows_seen, revision) = (number("seq")?, number("rows")?, number("revision")?);
    let maybe = |column: &StringArray, at: usize| column.is_valid(at).then(|| column.value(at).to_string());
    let said = |column: &StringArray, at: usize| maybe(column, at).unwrap_or_default();
    let moment = |column: &TimestampNanosecondArray, at: usize| column.is_valid(at).then(|| column.value(at));
    let event = |at: usize| -> Result<AlertEvent> {
        Ok(AlertEvent {
            alert: said(alert, at),
            key: said(key, at),
            incident_id: said(incident_id, at),
            seq: seq.value(at),
            kind: Kind::of_word(kind.value(at))?,
            state: State::of_word(state.value(at))?,
            severity: maybe(severity, at),
            previous_severity: maybe(previous_severity, at),
            reason: Reason::of_word(reason.value(at))?,
            event_time_ns: moment(event_time, at).unwrap_or_default(),
            starts_at_ns: moment(starts_at, at).unwrap_or_default(),
            fired_at_ns: moment(fired_at, at),
            ends_at_ns: moment(ends_at, at),
            labels: from_json(labels.value(at))?,
            annotations: from_json(annotations.value(at))?,
            values: said(values, at),
            previous_values: maybe(previous_values, at),
            threshold: maybe(threshold, at),
            row: maybe(row, at),
            rows: rows_seen.value(at),
            input_rows: input_rows.is_valid(at).then(|| input_rows.value(at)),
            sample: maybe(sample, at),
            revision: revision.value(at),
            muted: maybe(muted, at).as_deref().map(Muted::of_word).transpose()?,
        })
    };
    (0..rows.num_rows()).map(event).collect()
}

/// Texts by name as a JSON object.
pub fn to_json(labels: &Labels) -> String {
    // Names and values are texts, which JSON can always say.
    serde_json::to_string(labels).unwrap_or_default()
}

fn from_json(text: &str) -> Result<Labels> {
    serde_json::from_str(text).map_err(|_| Error::data(format!("\"{text}\" is no JSON object of texts")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> AlertEvent {
        AlertEvent {
            alert: "slow".into(),
            key: r#"{"service":"api"}"#.into(),
            incident_id: "00112233445566aa".into(),
            seq: 3,
            kind: Kind::Escalated,
            state: State::Firing,
            severity: Some("critical".into()),
            previous_severity: Some("warning".into()),
            reason: Reason::ConditionMet,
            event_time_ns: 7,
            starts_at_ns: 5,
            fired_at_ns: Some(6),
            ends_at_ns: None,
            labels: Labels::new().with("service", "a \"quoted\" api"),
            annotations: Labels::new().with("summary", "p99 is 812.5"),
            values: r#"{"p99":812.5}"#.into(),
            previous_values: None,
            threshold: Some("p99 > 500".into()),
            row: Some(r#"{"service":"api","p99":812.5}"#.into()),
            rows: 1,
            input_rows: Some(2),
            sample: Some(r#"[{"service":"api","ms":900.0},{"service":"api","ms":3.0}]"#.into()),
            revision: 0,
            muted: Some(Muted::Backfill),
        }
    }

    #[test]
    fn events_come_back_as_they_were() {
        let plain = AlertEvent { labels: Labels::new(), muted: None, fired_at_ns: None, row: None, ..event() };
        let plain = AlertEvent { input_rows: None, sample: None, ..plain };
        let events = [event(), plain];
        let rows = to_rows(&events).unwrap();
        assert_eq!(rows.schema(), schema());
        assert_eq!(rows.schema().fields().iter().map(|field| field.name()).collect::<Vec<_>>(), COLUMNS);
        assert_eq!(from_rows(&rows).unwrap(), events);
        assert_eq!(
            (schema().field(KEY).name().as_str(), schema().field(EVENT_TIME).name().as_str()),
            ("key", "event_time")
        );
    }

    #[test]
    fn what_is_no_event_is_told() {
        let rows = to_rows(&[event()]).unwrap();
        let error = from_rows(&rows.project(&[0, 1]).unwrap()).unwrap_err();
        assert!(error.message.contains("\"incident_id\""), "{error}");
        assert!(State::of_word("firing").is_ok_and(State::is_open));
        assert_eq!(Kind::of_word("gone").unwrap_err().message, "\"gone\" is no kind of an alert event");
    }

    #[test]
    fn receivers_hear_of_incidents_and_not_of_what_leads_there() {
        assert!(!event().is_to_be_told());
        assert!(AlertEvent { muted: None, ..event() }.is_to_be_told());
        assert!(!AlertEvent { muted: None, kind: Kind::Pending, ..event() }.is_to_be_told());
    }
}
