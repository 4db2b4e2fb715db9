//! The operator against detectors that are shown each series by itself, in order.

use super::*;
use crate::anomaly::{Detector, Forecaster, Method};
use crate::operator::{Operator, Output, Times};
use crate::rows::Rows;
use crate::state::{Restored, owned};
use arrow::array::{Array, AsArray, Float64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{Field, Schema, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, Watermark, WorkerId};

const MS: i64 = 1_000_000;
const TTL_MS: i64 = 200;

/// Event time in ms, key, value, what tells rows apart.
type Row = (Option<i64>, u8, Option<i16>, u8);

fn input_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        Field::new("k", DataType::Utf8, true),
        Field::new("x", DataType::Float64, true),
        Field::new("other", DataType::Utf8, false),
    ]))
}

fn batch_of(rows: &[Row]) -> Batch {
    let key = |row: &Row| (row.1 > 0).then(|| format!("key {}", row.1));
    let columns: Vec<Arc<dyn Array>> = vec![
        Arc::new(TimestampMillisecondArray::from_iter(rows.iter().map(|row| row.0))),
        Arc::new(StringArray::from_iter(rows.iter().map(key))),
        Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.2.map(f64::from)))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| format!("{:03}", row.3)))),
    ];
    Batch::append(RecordBatch::try_new(input_schema(), columns).unwrap())
}

fn settings() -> DetectSettings {
    DetectSettings { warm_up: 3, ttl_ns: TTL_MS * MS, ..DetectSettings::default() }
}

fn spec(keyed: bool) -> SeriesSpec {
    let input = input_schema();
    let fields = input.fields().iter().cloned().chain(detect_columns().into_iter().map(Arc::new));
    SeriesSpec {
        schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
        input: Box::new(Plan::Source { name: "s".to_string(), schema: input }),
        time: 0,
        others: Vec::new(),
        value: 2,
        by: if keyed { vec![1] } else { vec![] },
        grouped_by: 0,
        deploy: None,
        series_max: None,
        zone: None,
        task: Task::Detect(settings()),
        origin: TimeOrigin::default(),
    }
}

fn texts(rows: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<_> = rows.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
    let line = |row| columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join("|");
    (0..rows.num_rows()).map(line).collect()
}

/// What is said of each row, by detectors of which each is shown one series in order.
fn model(keyed: bool, rows: &[Row]) -> Vec<String> {
    let mut by_key: BTreeMap<Option<u8>, Vec<Row>> = BTreeMap::new();
    rows.iter().for_each(|row| by_key.entry(keyed.then_some(row.1)).or_default().push(*row));
    let mut said = Vec::new();
    for mut rows in by_key.into_values() {
        // Rows of one time go by all of their columns, NULL first; keys of which one is NULL too.
        let key = |row: &Row| (row.0, (row.1 > 0).then_some(row.1), row.2, row.3);
        rows.sort_by_key(key);
        let mut detector = Detector::new(&settings());
        for row in rows {
            let at = row.0.unwrap() * MS;
            if detector.last_ns() > i64::MIN && at - detector.last_ns() > TTL_MS * MS {
                detector = Detector::new(&settings());
            }
            let verdict = detector.observe(&settings(), at, row.2.map(f64::from));
            let added = <Detector as Watched>::columns(&settings(), &[verdict], &DataType::Null).unwrap();
            let columns = [batch_of(&[row]).rows.columns().to_vec(), added].concat();
            said.extend(texts(&RecordBatch::try_new(spec(keyed).schema, columns).unwrap()));
        }
    }
    said.sort();
    said
}

fn restarted(keyed: bool, parts: &mut [Series<Detector>], peers: usize) -> Vec<Series<Detector>> {
    let sections: Vec<(String, usize, RecordBatch)> = parts
        .iter_mut()
        .flat_map(|part| part.snapshot().unwrap())
        .map(|section| (section.label, section.keys, (section.rows)().unwrap()))
        .collect();
    let again = |index| {
        let mut part = Series::new(&spec(keyed), &settings()).unwrap();
        let own = |(label, keys, rows): &(String, usize, RecordBatch)| {
            let keys: Vec<usize> = (0..*keys).collect();
            Restored { label: label.clone(), rows: owned(rows, &keys, WorkerId { index, peers }).unwrap() }
        };
        part.restore(sections.iter().map(own).collect(), Watermark::MIN).unwrap();
        part
    };
    (0..peers).map(again).collect()
}

/// Epochs: rows, by how much the watermark moves, how many workers go on from a checkpoint then (0: nothing happens).
type Epochs = Vec<(Vec<Row>, i64, usize)>;

fn check(keyed: bool, epochs: Epochs) {
    let mut parts = vec![Series::<Detector>::new(&spec(keyed), &settings()).unwrap()];
    let (mut in_time, mut said, mut late, mut dead) = (Vec::new(), Vec::new(), 0, 0);
    let (mut late_heard, mut dead_heard) = (0, 0);
    let mut before = Watermark::MIN;
    for (epoch, (rows, step, workers)) in epochs.iter().enumerate() {
        let base = if before == Watermark::MIN { 0 } else { before.0 };
        let now = if epoch + 1 == epochs.len() { Watermark::MAX } else { Watermark(base + step * MS) };
        for row in rows {
            match row.0 {
                None => dead += 1,
                Some(at) if before.closes(at * MS) => late += 1,
                Some(_) => in_time.push(*row),
            }
        }
        let peers = parts.len();
        for (index, part) in parts.iter_mut().enumerate() {
            let mut output = Output::default();
            for rows in rows.chunks(3) {
                let worker = WorkerId { index, peers };
                let own = owned(&batch_of(rows).rows, &spec(keyed).by, worker).unwrap();
                part.process(Epoch(epoch as u64), Rows::unbounded(Batch::append(own)), &mut output).unwrap();
            }
            part.finish_epoch(Epoch(epoch as u64), Times { before, now, reached: now }, &mut output).unwrap();
            late_heard += output.late.iter().map(RecordBatch::num_rows).sum::<usize>();
            dead_heard += output.dead.len();
            said.extend(output.sent.into_iter().flat_map(|(_, rows)| texts(&rows.into_batch().unwrap().rows)));
        }
        if *workers > 0 {
            parts = restarted(keyed, &mut parts, *workers);
        }
        before = now;
    }
    said.sort();
    assert_eq!(said, model(keyed, &in_time));
    assert_eq!((late_heard, dead_heard), (late, dead));
    assert!(parts.iter().all(|part| part.waiting() == 0));
}

fn epochs() -> impl Strategy<Value = Epochs> {
    let at = prop::option::weighted(0.97, 0i64..600);
    let value = prop::option::weighted(0.95, prop_oneof![9 => 0i16..10, 1 => -500i16..500]);
    let epoch = (prop::collection::vec((at, 0u8..4, value, 0u8..3), 0..25), 0i64..250, 0usize..4);
    prop::collection::vec(epoch, 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn every_row_is_judged_once_in_order_of_time_whatever_comes_between(keyed: bool, epochs in epochs()) {
        check(keyed, epochs);
    }
}

#[test]
fn a_series_that_is_silent_is_forgotten_and_costs_nothing() {
    let mut operator = Series::<Detector>::new(&spec(true), &settings()).unwrap();
    let mut step = |row: Row, now: i64| {
        let mut output = Output::default();
        let times = Times {
            before: Watermark(row.0.unwrap() * MS - 1),
            now: Watermark(now * MS),
            reached: Watermark(now * MS),
        };
        operator.process(Epoch(now as u64), Rows::unbounded(batch_of(&[row])), &mut output).unwrap();
        operator.finish_epoch(Epoch(now as u64), times, &mut output).unwrap();
        operator.state().rows
    };
    assert_eq!(step((Some(10), 1, Some(1), 0), 10), 1);
    assert_eq!(step((Some(20), 2, Some(1), 0), 20), 2);
    assert_eq!(step((Some(215), 2, Some(1), 0), 215), 1);
}

/// What is said of rows of a few groups by so many workers, of which as many as `then` go on after `stops` epochs.
fn said_of_groups(workers: usize, then: usize, stops: usize) -> Vec<String> {
    let spec = SeriesSpec { by: vec![1, 3], grouped_by: 1, deploy: Some(3), ..spec(true) };
    let new = || Series::<Detector>::new(&spec, &settings()).unwrap();
    let mut parts: Vec<_> = (0..workers).map(|_| new()).collect();
    let mut said = Vec::new();
    for epoch in 0..12i64 {
        if epoch as usize == stops {
            let sections: Vec<_> = parts.iter_mut().flat_map(|part| part.snapshot().unwrap()).collect();
            let sections: Vec<(String, usize, RecordBatch)> =
                sections.into_iter().map(|section| (section.label, section.keys, (section.rows)().unwrap())).collect();
            let again = |index| {
                let own = |(label, keys, rows): &(String, usize, RecordBatch)| {
                    let worker = WorkerId { index, peers: then };
                    let rows = owned(rows, &(0..*keys).collect::<Vec<_>>(), worker).unwrap();
                    Restored { label: label.clone(), rows }
                };
                let mut part = new();
                part.restore(sections.iter().map(own).collect(), Watermark::MIN).unwrap();
                part
            };
            parts = (0..then).map(again).collect();
        }
        // Later series are new ones of known groups, and some of their rows are far off.
        let row = |n: i64| {
            (
                Some(epoch * 20 + n / 6),
                (n % 3) as u8,
                Some((n * 7 % 5) as i16 + 400 * i16::from(n == 3 && [4, 8].contains(&epoch))),
                (epoch / 4) as u8,
            )
        };
        let rows: Vec<Row> = (0..120).map(row).collect();
        let time = |epoch: i64| Watermark(epoch * 20 * MS - 1);
        let times = Times { before: time(epoch), now: time(epoch + 1), reached: time(epoch + 1) };
        let peers = parts.len();
        for (index, part) in parts.iter_mut().enumerate() {
            let mut output = Output::default();
            let own = owned(&batch_of(&rows).rows, spec.exchanged_by(), WorkerId { index, peers }).unwrap();
            part.process(Epoch(epoch as u64), Rows::unbounded(Batch::append(own)), &mut output).unwrap();
            part.finish_epoch(Epoch(epoch as u64), times, &mut output).unwrap();
            let sent = output.sent.into_iter().filter_map(|(_, rows)| rows.into_batch());
            sent.for_each(|batch| said.extend(texts(&batch.rows)));
        }
    }
    said.sort();
    said
}

#[test]
fn what_a_group_knows_does_not_depend_on_workers_and_restarts() {
    let straight = said_of_groups(1, 1, usize::MAX);
    assert_eq!(straight.len(), 12 * 120);
    let far_off: Vec<&String> = straight.iter().filter(|line| line.contains("|40")).collect();
    assert!(far_off.iter().any(|line| line.ends_with("|true|NEW_EXTREME|true")), "{far_off:#?}");
    for (workers, then, stops) in [(3, 3, usize::MAX), (2, 3, 5), (3, 1, 9), (2, 2, 0)] {
        assert_eq!(said_of_groups(workers, then, stops), straight, "{workers} workers, {then} after epoch {stops}");
    }
}

#[test]
fn of_too_many_series_those_go_that_were_silent_for_longest() {
    let spec = SeriesSpec { series_max: Some(16), ..spec(true) };
    let mut operator = Series::<Detector>::new(&spec, &DetectSettings { ttl_ns: i64::MAX, ..settings() }).unwrap();
    for at in 0..40 {
        let (mut output, time) = (Output::default(), |at: i64| Watermark(at * MS - 1));
        let times = Times { before: time(at), now: time(at + 1), reached: time(at + 1) };
        // One series goes on, and each time another one comes.
        let rows = batch_of(&[(Some(at), 200, Some(1), 0), (Some(at), at as u8 + 1, Some(1), 0)]);
        operator.process(Epoch(at as u64), Rows::unbounded(rows), &mut output).unwrap();
        operator.finish_epoch(Epoch(at as u64), times, &mut output).unwrap();
        assert!(operator.state().rows <= 16);
    }
    // Three at a time, so that there is room again: 41 series, of which up to 16 are left.
    assert_eq!(operator.evicted() + operator.state().rows, 41);
    assert!(operator.evicted() >= 25, "{}", operator.evicted());
}

#[test]
fn a_forecast_says_when_in_the_type_of_the_event_time() {
    let settings = ForecastSettings {
        horizon_ns: 100 * MS,
        season_ns: 0,
        threshold: Some(1_040.0),
        lower_bound: f64::NEG_INFINITY,
        upper_bound: f64::INFINITY,
        ttl_ns: i64::MAX,
    };
    let mut spec = SeriesSpec { task: Task::Forecast(settings.clone()), ..spec(true) };
    let input = input_schema();
    let added = forecast_columns(&settings, input.field(0).data_type()).into_iter().map(Arc::new);
    spec.schema = Arc::new(Schema::new(input.fields().iter().cloned().chain(added).collect::<Vec<_>>()));
    let mut operator = Series::<Forecaster>::new(&spec, &settings).unwrap();
    let rows: Vec<Row> = (0..1_000).map(|at| (Some(at), 1, Some(at as i16), 0)).collect();
    let mut output = Output::default();
    operator.process(Epoch(1), Rows::unbounded(batch_of(&rows)), &mut output).unwrap();
    let times = Times { before: Watermark::MIN, now: Watermark::MAX, reached: Watermark::MAX };
    operator.finish_epoch(Epoch(1), times, &mut output).unwrap();
    let said = texts(&output.sent.remove(0).1.into_batch().unwrap().rows);
    assert!(said[0].ends_with("|NULL|NULL|NULL|NULL|NULL"), "{}", said[0]);
    let last: Vec<&str> = said[999].split('|').collect();
    assert!((last[4].parse::<f64>().unwrap() - 1_099.0).abs() < 10.0, "{last:?}");
    assert!(last[7].starts_with("1970-01-01T00:00:01.0"), "{last:?}");
}

#[test]
fn several_values_are_judged_together_and_none_of_them_may_be_missing() {
    let names = vec!["x".to_string(), "y".to_string()];
    let settings = DetectSettings { method: Method::RandomCutForest, values: names, ..settings() };
    let number = |name: &str| Field::new(name, DataType::Float64, true);
    let time = Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, None), false);
    let input = Arc::new(Schema::new(vec![time, number("x"), number("y")]));
    let fields = input.fields().iter().cloned().chain(detect_columns().into_iter().map(Arc::new));
    let spec = SeriesSpec {
        schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
        input: Box::new(Plan::Source { name: "s".to_string(), schema: input.clone() }),
        value: 1,
        others: vec![2],
        task: Task::Detect(settings.clone()),
        ..spec(false)
    };
    // What y is follows from x, but for the last row; before it come one without y and one whose y is no number.
    let x = |row: i64| (row * 37 % 101) as f64;
    let y = |row: i64| match row {
        297 => None,
        298 => Some(f64::NAN),
        299 => Some(5_000.0),
        _ => Some(10.0 * x(row)),
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMillisecondArray::from_iter_values(0..300)),
        Arc::new(Float64Array::from_iter_values((0..300).map(x))),
        Arc::new((0..300).map(y).collect::<Float64Array>()),
    ];
    let rows = Rows::unbounded(Batch::append(RecordBatch::try_new(input, columns).unwrap()));
    let (mut operator, mut output) = (Series::<Detector>::new(&spec, &settings).unwrap(), Output::default());
    let all = Times { before: Watermark::MIN, now: Watermark::MAX, reached: Watermark::MAX };
    operator.process(Epoch(0), rows, &mut output).unwrap();
    operator.finish_epoch(Epoch(0), all, &mut output).unwrap();
    let said: Vec<_> = output.sent.into_iter().filter_map(|(_, rows)| rows.into_batch()).collect();
    let reasons = said[0].rows.column_by_name("reason").unwrap().as_string::<i32>().clone();
    assert_eq!((reasons.value(297), reasons.value(298)), ("MISSING", "NOT_FINITE"));
    assert!(reasons.value(299).starts_with("ISOLATED by y "), "{}", reasons.value(299));
}
