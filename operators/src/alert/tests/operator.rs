//! The operator as a value: cuts into epochs, batches and restarts change nothing of what it says.

use crate::alert::rule::{Absent, AbsentPolicy, Rule};
use crate::alert::{Alert, AlertSpec, AlertTime, Exemplars, Part, Severity, Template};
use crate::operator::{Operator, Output, Times};
use crate::plan::{Plan, Read, TimeOrigin};
use crate::rows::Rows;
use crate::state::{Restored, owned};
use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_schemas::alert_event::{AlertEvent, Kind, Reason, State, from_rows};
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, Watermark, WorkerId};
use thalweg_schemas::labels::Labels;

/// A rule that asks for nothing, with so many levels.
pub(super) fn rule(levels: usize) -> Rule {
    Rule {
        for_ns: vec![0; levels],
        keep_ns: 0,
        absent: None,
        ttl_ns: None,
        flap: None,
        keep_resolved_ns: 3_600_000_000_000,
        standing: false,
    }
}

pub(super) fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Nanosecond, None);
    Arc::new(Schema::new(vec![
        Field::new("service", DataType::Utf8, true),
        Field::new("ts", time, false),
        Field::new("p99", DataType::Float64, true),
        Field::new("w", DataType::Boolean, true),
        Field::new("c", DataType::Boolean, true),
    ]))
}

/// Of each service: a warning above 10, cleared below 8, and critical above 20.
pub(super) fn spec(time: AlertTime, read: Read, rule: Rule) -> AlertSpec {
    let text = |text: &str| Part::Text(text.into());
    AlertSpec {
        name: "slow".into(),
        input: Box::new(Plan::View { name: "v".into(), schema: schema() }),
        read,
        width: 3,
        keys: vec![0],
        time,
        severities: vec![
            Severity {
                name: "warning".into(),
                when: 3,
                clear: None,
                condition: "p99 > 10".into(),
                clear_condition: None,
            },
            Severity {
                name: "critical".into(),
                when: 4,
                clear: None,
                condition: "p99 > 20".into(),
                clear_condition: None,
            },
        ],
        values: vec![2],
        rule,
        labels: vec![("team".into(), Template(vec![text("core")]))],
        annotations: vec![(
            "summary".into(),
            Template(vec![
                text("p99 of "),
                Part::Column(0, Vec::new()),
                text(" is "),
                Part::Column(2, Vec::new()),
                text(": "),
                Part::Severity,
            ]),
        )],
        mute_older_than_ns: None,
        notify_revisions: false,
        expected: None,
        sample_rows: 5,
        exemplars: None,
    }
}

pub(super) fn by_event_time() -> AlertTime {
    AlertTime::Event { column: 1, origin: TimeOrigin::default(), closed: true }
}

/// Exemplars by the end of a window and the service.
fn exemplars() -> Exemplars {
    let time = DataType::Timestamp(TimeUnit::Nanosecond, None);
    let schema = Schema::new(vec![
        Field::new("window_end", time, false),
        Field::new("service", DataType::Utf8, true),
        Field::new("sample", DataType::Utf8, true),
        Field::new("input_rows", DataType::Int64, false),
    ]);
    let plan = Plan::View { name: "beside".into(), schema: Arc::new(schema) };
    Exemplars { plan, weight: None, group: vec![(1, 0), (0, 1)], keys: vec![1], time: Some(0) }
}

/// Service, time, value, difference.
type Row = (u8, i64, Option<f64>, i64);

fn batch(rows: &[Row]) -> Batch {
    let above = |limit: f64| rows.iter().map(|(_, _, v, _)| v.map(|v| v > limit)).collect::<BooleanArray>();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|(service, ..)| format!("s{service}")))),
        Arc::new(TimestampNanosecondArray::from_iter_values(rows.iter().map(|(_, t, ..)| *t))),
        Arc::new(rows.iter().map(|(_, _, v, _)| *v).collect::<Float64Array>()),
        Arc::new(above(10.0)),
        Arc::new(above(20.0)),
    ];
    let rows_of = RecordBatch::try_new(schema(), columns).unwrap();
    Batch::changes(rows_of, Int64Array::from_iter_values(rows.iter().map(|(.., diff)| *diff)))
}

/// An operator that is driven by hand.
pub(super) struct Driven {
    pub(super) alert: Alert,
    watermark: Watermark,
    pub(super) events: Vec<AlertEvent>,
    pub(super) state: BTreeMap<String, AlertEvent>,
    late: usize,
}

impl Driven {
    pub(super) fn new(spec: &AlertSpec) -> Driven {
        let alert = Alert::new(spec, 1, true, true).unwrap();
        Driven { alert, watermark: Watermark::MIN, events: Vec::new(), state: BTreeMap::new(), late: 0 }
    }

    /// One epoch: what came, and the watermark after it.
    fn epoch(&mut self, epoch: u64, rows: &[Row], now: Watermark) {
        self.epoch_of(epoch, Some(batch(rows)).filter(|_| !rows.is_empty()), now);
    }

    pub(super) fn epoch_of(&mut self, epoch: u64, rows: Option<Batch>, now: Watermark) {
        let mut output = Output::default();
        if let Some(rows) = rows {
            self.alert.process(Epoch(epoch), Rows::unbounded(rows), &mut output).unwrap();
        }
        let reached = if now == Watermark::MAX { self.watermark } else { now };
        let times = Times { before: self.watermark, now, reached };
        self.alert.finish_epoch(Epoch(epoch), times, &mut output).unwrap();
        self.watermark = now;
        self.late += output.late.iter().map(RecordBatch::num_rows).sum::<usize>();
        for (port, rows) in output.sent {
            let batch = rows.into_batch().unwrap();
            let events = from_rows(&batch.rows).unwrap();
            if port == super::super::process::EVENTS {
                self.events.extend(events);
                continue;
            }
            for (at, event) in events.into_iter().enumerate() {
                if batch.diff(at) > 0 {
                    self.state.insert(event.key.clone(), event);
                } else {
                    self.state.remove(&event.key);
                }
            }
        }
    }

    /// What the inventory says: services, and how many rows more say each.
    fn expect(&mut self, services: &[(u8, i64)]) {
        let names = StringArray::from_iter_values(services.iter().map(|(service, _)| format!("s{service}")));
        let rows = RecordBatch::try_from_iter([("service", Arc::new(names) as ArrayRef)]).unwrap();
        let diffs = Int64Array::from_iter_values(services.iter().map(|(_, diff)| *diff));
        let rows = Rows::unbounded(Batch::changes(rows, diffs));
        self.alert.process_second(Epoch(1), rows, &mut Output::default()).unwrap();
    }

    /// What came of groups: service, time, exemplars, how many rows, difference.
    fn exemplars(&mut self, epoch: u64, groups: &[(u8, i64, &str, i64, i64)]) {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampNanosecondArray::from_iter_values(groups.iter().map(|(_, t, ..)| *t))),
            Arc::new(StringArray::from_iter_values(groups.iter().map(|(service, ..)| format!("s{service}")))),
            Arc::new(StringArray::from_iter_values(groups.iter().map(|(_, _, text, ..)| *text))),
            Arc::new(Int64Array::from_iter_values(groups.iter().map(|(.., of, _)| *of))),
        ];
        let rows = RecordBatch::try_new(exemplars().plan.schema(), columns).unwrap();
        let diffs = Int64Array::from_iter_values(groups.iter().map(|(.., diff)| *diff));
        let rows = Rows::unbounded(Batch::changes(rows, diffs));
        self.alert.process_second(Epoch(epoch), rows, &mut Output::default()).unwrap();
    }

    /// How often each kind of event came, with what it shows of the rows behind it.
    fn samples(&self) -> Vec<(Kind, Option<i64>, Option<&str>)> {
        self.events.iter().map(|event| (event.kind, event.input_rows, event.sample.as_deref())).collect()
    }

    /// The same with the state of a checkpoint, shared out among so many workers and put together again.
    pub(super) fn restored(self, spec: &AlertSpec, workers: usize) -> Driven {
        let mut before = self.alert;
        let mut alert = Alert::new(spec, 1, true, true).unwrap();
        let mut restored = Vec::new();
        for section in before.snapshot().unwrap() {
            let keys: Vec<usize> = (0..section.keys).collect();
            let rows = (section.rows)().unwrap();
            for index in 0..workers {
                let rows = owned(&rows, &keys, WorkerId { index, peers: workers }).unwrap();
                restored.push(Restored { label: section.label.clone(), rows });
            }
        }
        alert.restore(restored, self.watermark).unwrap();
        Driven { alert, ..self }
    }

    fn told(&self) -> Vec<(String, i64, Kind, Option<String>)> {
        self.events.iter().map(|e| (e.key.clone(), e.event_time_ns, e.kind, e.severity.clone())).collect()
    }
}

fn told(service: u8, t: i64, kind: Kind, severity: &str) -> (String, i64, Kind, Option<String>) {
    (format!(r#"{{"service":"s{service}"}}"#), t, kind, Some(severity.to_string()))
}

#[test]
fn an_event_says_what_happened_and_why() {
    let mut driven = Driven::new(&spec(by_event_time(), Read::Finals, rule(2)));
    driven.epoch(1, &[(1, 10, Some(12.5), 1), (2, 10, Some(1.0), 1)], Watermark(10));
    let event = driven.events[0].clone();
    assert_eq!(driven.told(), [told(1, 10, Kind::Firing, "warning")]);
    assert_eq!(event.annotations.get("summary").unwrap(), "p99 of s1 is 12.5: warning");
    assert_eq!(event.labels, Labels::new().with("service", "s1").with("team", "core"));
    assert_eq!((event.values.as_str(), event.threshold.as_deref()), (r#"{"p99":12.5}"#, Some("p99 > 10")));
    assert!(event.row.is_some_and(|row| row.contains(r#""service":"s1""#) && !row.contains(r#""w""#)));
    assert_eq!((event.rows, event.seq, event.starts_at_ns), (1, 1, 10));
    assert_eq!(driven.state.len(), 1);
    driven.epoch(2, &[(1, 20, Some(1.0), 1)], Watermark(20));
    assert_eq!(driven.state[&event.key].state, State::Resolved);
    assert_eq!(driven.events[1].incident_id, event.incident_id);
    // Where it was resolved long enough ago, nothing is left.
    driven.epoch(3, &[], Watermark(3_600_000_000_020));
    assert!(driven.state.is_empty());
    assert_eq!(driven.alert.state().rows, 0);
}

#[test]
fn rows_wait_until_no_earlier_one_is_expected() {
    let mut driven = Driven::new(&spec(by_event_time(), Read::Finals, rule(2)));
    driven.epoch(1, &[(1, 20, Some(1.0), 1), (1, 10, Some(12.0), 1)], Watermark(5));
    assert!(driven.events.is_empty());
    driven.epoch(2, &[], Watermark(20));
    assert_eq!(driven.told(), [told(1, 10, Kind::Firing, "warning"), told(1, 20, Kind::Resolved, "warning")]);
    driven.epoch(3, &[(1, 15, Some(30.0), 1)], Watermark(20));
    assert_eq!((driven.late, driven.events.len()), (1, 2));
}

#[test]
fn of_several_rows_the_worst_decides() {
    let mut driven = Driven::new(&spec(by_event_time(), Read::Finals, rule(2)));
    driven.epoch(1, &[(1, 10, Some(1.0), 1), (1, 10, Some(30.0), 1), (1, 10, Some(15.0), 1)], Watermark(10));
    assert_eq!(driven.told(), [told(1, 10, Kind::Firing, "critical")]);
    assert_eq!((driven.events[0].values.as_str(), driven.events[0].rows), (r#"{"p99":30.0}"#, 3));
}

#[test]
fn what_is_null_is_no_evidence() {
    let mut driven = Driven::new(&spec(by_event_time(), Read::Finals, rule(2)));
    driven.epoch(1, &[(1, 10, None, 1), (1, 20, Some(12.0), 1), (1, 30, None, 1)], Watermark(30));
    assert_eq!(driven.told(), [told(1, 20, Kind::Firing, "warning")]);
}

#[test]
fn a_silent_key_fires_when_silence_matters_and_the_end_of_the_input_is_no_silence() {
    let absent = Some(Absent { after_ns: 100, policy: AbsentPolicy::Fire(1) });
    let mut driven = Driven::new(&spec(by_event_time(), Read::Finals, Rule { absent, ..rule(2) }));
    driven.epoch(1, &[(1, 10, Some(1.0), 1), (2, 10, Some(1.0), 1), (2, 90, Some(1.0), 1)], Watermark(150));
    assert_eq!(driven.told(), [told(1, 111, Kind::Firing, "warning")]);
    assert_eq!((driven.events[0].state, driven.events[0].values.as_str()), (State::NoData, "{}"));
    driven.epoch(2, &[], Watermark::MAX);
    assert_eq!(driven.events.len(), 1);
}

#[test]
fn without_event_time_a_row_holds_until_it_is_taken_back() {
    let rule = Rule { for_ns: vec![100, 0], standing: true, ..rule(2) };
    let spec = spec(AlertTime::Clock, Read::Changes, rule);
    let mut driven = Driven::new(&spec);
    driven.epoch(1_000, &[(1, 0, Some(12.0), 1)], Watermark::MIN);
    assert_eq!(driven.told(), [told(1, 1_000, Kind::Pending, "warning")]);
    assert_eq!(driven.alert.wake_at(), Some(Epoch(1_100)));
    driven = driven.restored(&spec, 3);
    assert_eq!(driven.alert.wake_at(), Some(Epoch(1_100)));
    driven.epoch(1_100, &[], Watermark::MIN);
    assert_eq!(driven.told()[1..], [told(1, 1_100, Kind::Firing, "warning")]);
    driven.epoch(1_200, &[(1, 0, Some(12.0), -1), (1, 0, Some(25.0), 1)], Watermark::MIN);
    driven.epoch(1_300, &[(1, 0, Some(25.0), -1)], Watermark::MIN);
    assert_eq!(
        driven.told()[2..],
        [told(1, 1_200, Kind::Escalated, "critical"), told(1, 1_300, Kind::Resolved, "critical")]
    );
    assert_eq!(driven.events[3].values, "{}");
}

#[test]
fn a_corrected_window_is_told_and_judged_again() {
    let spec = spec(by_event_time(), Read::Changes, rule(2));
    let mut driven = Driven::new(&spec);
    driven.epoch(1, &[(1, 10, Some(12.0), 1)], Watermark(5));
    driven.epoch(2, &[(1, 10, Some(12.0), -1), (1, 10, Some(13.0), 1)], Watermark(10));
    assert_eq!(driven.told(), [told(1, 10, Kind::Firing, "warning")]);
    assert_eq!(driven.events[0].values, r#"{"p99":13.0}"#);
    driven = driven.restored(&spec, 2);
    driven.epoch(3, &[(1, 10, Some(13.0), -1), (1, 10, Some(9.0), 1)], Watermark(10));
    assert_eq!(driven.told()[1..], [told(1, 10, Kind::Revised, "warning"), told(1, 10, Kind::Resolved, "warning")]);
    let revised = &driven.events[1];
    assert_eq!(
        (revised.previous_values.as_deref(), revised.values.as_str()),
        (Some(r#"{"p99":13.0}"#), r#"{"p99":9.0}"#)
    );
    assert!(!revised.is_to_be_told() && revised.revision == 1);
}

proptest! {
    #[test]
    fn epochs_and_restarts_change_nothing(
        rows in prop::collection::vec((0u8..3, 0i64..200, prop::option::weighted(0.9, 0f64..30.0)), 1..60),
        cuts in prop::collection::vec((1usize..8, 0i64..40, any::<bool>()), 0..30),
        (for_ns, keep_ns, absent) in (0i64..40, 0i64..40, prop::option::of(20i64..80)),
    ) {
        let absent = absent.map(|after_ns| Absent { after_ns, policy: AbsentPolicy::Fire(1) });
        let rule = Rule { for_ns: vec![for_ns, 2 * for_ns], keep_ns, absent, ..rule(2) };
        let spec = spec(by_event_time(), Read::Finals, rule);
        let rows: Vec<Row> = rows.into_iter().map(|(service, t, value)| (service, t, value, 1)).collect();
        let mut whole = Driven::new(&spec);
        whole.epoch(1, &rows, Watermark(250));
        // The same rows in epochs; a watermark never passes a row that is still to come.
        let mut cut = Driven::new(&spec);
        let (mut rest, mut epoch) = (rows.as_slice(), 1);
        for (count, behind, restart) in cuts {
            let (now, later) = rest.split_at(count.min(rest.len()));
            rest = later;
            let least = rest.iter().map(|(_, t, ..)| *t).min().unwrap_or(250);
            let watermark = Watermark((least - 1 - behind).max(cut.watermark.0));
            cut.epoch(epoch, now, watermark);
            epoch += 1;
            if restart {
                cut = cut.restored(&spec, 2);
            }
        }
        cut.epoch(epoch, rest, Watermark(250));
        let by_key = |driven: &Driven| {
            let mut events = driven.events.clone();
            events.sort_by(|a, b| a.key.cmp(&b.key));
            events
        };
        prop_assert_eq!(by_key(&whole), by_key(&cut));
        prop_assert_eq!(&whole.state, &cut.state);
        // The state is what the last event of each key says, but for the rows behind it.
        for (key, event) in &whole.state {
            let last = whole.events.iter().rev().find(|e| e.key == *key);
            let last = last.map(|last| AlertEvent { sample: None, ..last.clone() });
            prop_assert_eq!(last.as_ref(), Some(event));
        }
    }
}

#[test]
fn keys_that_are_expected_are_missed_from_the_beginning_of_time_and_forgotten_when_they_go() {
    let absent = Some(Absent { after_ns: 100, policy: AbsentPolicy::Fire(1) });
    let spec = spec(by_event_time(), Read::Finals, Rule { absent, ..rule(2) });
    let mut driven = Driven::new(&spec);
    driven.expect(&[(1, 1), (2, 2), (3, 1), (4, 1)]);
    // What is gone before time begins was never expected.
    driven.expect(&[(4, -1), (2, -1)]);
    driven.epoch(1, &[], Watermark::MIN);
    for workers in [1, 3] {
        driven = driven.restored(&spec, workers);
    }
    driven.epoch(2, &[(1, 10, Some(1.0), 1)], Watermark(10));
    driven = driven.restored(&spec, 2);
    driven.epoch(3, &[(1, 90, Some(1.0), 1)], Watermark(110));
    assert!(driven.told().is_empty(), "{:?}", driven.told());
    driven.epoch(4, &[], Watermark(111));
    assert_eq!(driven.told(), [told(2, 111, Kind::Firing, "warning"), told(3, 111, Kind::Firing, "warning")]);
    assert_eq!((driven.events[0].rows, driven.events[0].row.as_deref()), (0, None));
    assert_eq!(driven.events[0].labels.get("service"), Some("s2"));

    driven.expect(&[(3, -1)]);
    driven.epoch(5, &[], Watermark(120));
    let event = driven.events.last().unwrap();
    assert_eq!(
        (event.key.as_str(), event.kind, event.reason),
        (r#"{"service":"s3"}"#, Kind::Resolved, Reason::Evicted)
    );
    driven.epoch(6, &[(2, 130, Some(1.0), 1)], Watermark(130));
    assert_eq!(driven.events.last().unwrap().reason, Reason::DataReturned);
    // Nothing is left of a key that is gone but what readers are shown, and that goes too.
    driven.expect(&[(1, -1), (2, -1)]);
    driven.epoch(7, &[], Watermark(140));
    assert_eq!(driven.alert.state().rows, 0, "{:?}", driven.state);
    assert!(driven.state.is_empty());
}

#[test]
fn an_event_shows_the_rows_that_were_looked_at_the_worst_first() {
    let mut driven = Driven::new(&spec(by_event_time(), Read::Finals, rule(2)));
    let values = [1.0, 30.0, 12.0, 2.0, 25.0, 3.0, 11.0];
    let rows: Vec<Row> = values.into_iter().map(|value| (1, 10, Some(value), 1)).collect();
    driven.epoch(1, &rows, Watermark(10));
    let event = &driven.events[0];
    let sample: Vec<serde_json::Value> = serde_json::from_str(event.sample.as_ref().unwrap()).unwrap();
    let shown: Vec<f64> = sample.iter().map(|row| row["p99"].as_f64().unwrap()).collect();
    assert_eq!((event.rows, event.input_rows), (7, Some(7)));
    // Critical ones, warnings, and one that is none.
    assert_eq!(shown, [30.0, 25.0, 12.0, 11.0, 3.0]);
    assert_eq!(sample[0].as_object().unwrap().len(), 3, "{sample:?}");
    assert_eq!(driven.state[&event.key].sample, None, "the state is kept for every key");
    let mut none = Driven::new(&AlertSpec { sample_rows: 0, ..spec(by_event_time(), Read::Finals, rule(2)) });
    none.epoch(1, &rows, Watermark(10));
    assert_eq!(none.samples(), [(Kind::Firing, None, None)]);
}

#[test]
fn exemplars_stay_with_the_row_that_was_judged() {
    let exemplars = Some(Box::new(exemplars()));
    let rule = Rule { keep_ns: 15, ..rule(2) };
    let spec = AlertSpec { exemplars, ..spec(by_event_time(), Read::Finals, rule) };
    let mut driven = Driven::new(&spec);
    driven.exemplars(1, &[(1, 10, "[1]", 3, 1), (2, 10, "[2]", 4, 1)]);
    driven.epoch(1, &[(1, 10, Some(12.0), 1), (2, 10, Some(1.0), 1)], Watermark(10));
    // Those of a group that comes later wait, are corrected, and survive a restart.
    driven.exemplars(2, &[(1, 20, "[3]", 5, 1), (3, 20, "[4]", 6, 1)]);
    driven.epoch(2, &[], Watermark(15));
    driven.exemplars(3, &[(1, 20, "[3]", 5, -1), (1, 20, "[5]", 7, 1)]);
    driven.epoch(3, &[], Watermark(16));
    let mut driven = driven.restored(&spec, 3);
    driven.epoch(4, &[(1, 20, Some(1.0), 1)], Watermark(20));
    // It is over because time has passed: what is shown is what it was judged by last.
    let mut driven = driven.restored(&spec, 2);
    driven.epoch(5, &[], Watermark(35));
    // Of a row without exemplars nothing is known.
    driven.epoch(6, &[(1, 40, Some(12.0), 1)], Watermark(40));
    let expected = [
        (Kind::Firing, Some(3), Some("[1]")),
        (Kind::Recovering, Some(7), Some("[5]")),
        (Kind::Resolved, Some(7), Some("[5]")),
        (Kind::Firing, None, None),
    ];
    assert_eq!(driven.samples(), expected);
    assert!(driven.alert.groups.iter().next().is_none(), "what has been judged is gone");
}
