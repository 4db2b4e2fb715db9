//! Both phases together against a model that keeps every row of every window and knows nothing of slices or states.

use super::*;
use crate::exchange::hash_rows;
use crate::operator::{Operator, Output, Times};
use crate::rows::Rows;
use arrow::array::{Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion_functions_aggregate::{average::avg_udaf, count::count_udaf, min_max::max_udaf, sum::sum_udaf};
use datafusion_physical_expr::aggregate::AggregateExprBuilder;
use datafusion_physical_expr::expressions::{col, lit};
use proptest::prelude::*;
use std::collections::BTreeMap;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, Watermark};

const MS: i64 = 1_000_000;

/// Event time in ms (or none), key, value.
type Row = (Option<i64>, Option<u8>, Option<i64>);

#[derive(Clone, Debug)]
struct Case {
    window: Window,
    on_late: OnLate,
    key_columns: usize,
    /// What each worker reads in an epoch, and by how much the watermark moves at its end, in ms.
    epochs: Vec<(Vec<Vec<Row>>, i64)>,
    /// How much above the watermark the bounds are that rows come with, in ms; `None`: nothing is known.
    slack: Option<i64>,
    changes: bool,
}

fn input_schema() -> SchemaRef {
    let time = Field::new("ts", DataType::Timestamp(TimeUnit::Millisecond, None), true);
    let key = |name| Field::new(name, DataType::Utf8, true);
    Arc::new(Schema::new(vec![time, key("k0"), key("k1"), Field::new("v", DataType::Int64, true)]))
}

fn batch_of(rows: &[Row]) -> RecordBatch {
    let key = |part: u8| {
        StringArray::from_iter(rows.iter().map(move |r| r.1.map(|k| format!("key {}", (k >> (4 * part)) & 15))))
    };
    let columns: Vec<Arc<dyn Array>> = vec![
        Arc::new(TimestampMillisecondArray::from_iter(rows.iter().map(|r| r.0))),
        Arc::new(key(0)),
        Arc::new(key(1)),
        Arc::new(Int64Array::from_iter(rows.iter().map(|r| r.2))),
    ];
    RecordBatch::try_new(input_schema(), columns).unwrap()
}

fn spec(case: &Case) -> WindowAggregateSpec {
    let schema = input_schema();
    let aggregate = |function, argument, name: &str| {
        let built = AggregateExprBuilder::new(function, vec![argument]).schema(schema.clone()).alias(name).build();
        Aggregate { function: Arc::new(built.unwrap()), filter: None }
    };
    let v = || col("v", &schema).unwrap();
    let positive =
        datafusion_physical_expr::expressions::binary(v(), datafusion_expr::Operator::Gt, lit(0i64), &schema);
    let mut aggregates = vec![
        aggregate(count_udaf(), lit(1i64), "n"),
        aggregate(sum_udaf(), v(), "sum"),
        aggregate(max_udaf(), v(), "max"),
        aggregate(
            avg_udaf(),
            datafusion_physical_expr::expressions::cast(v(), &schema, DataType::Float64).unwrap(),
            "avg",
        ),
        aggregate(count_udaf(), v(), "positive"),
    ];
    aggregates[4].filter = Some(positive.unwrap());
    let bound = |name| Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, None), false);
    let mut fields = vec![bound("window_start"), bound("window_end")];
    let keys: Vec<_> = (0..case.key_columns).map(|i| col(&format!("k{i}"), &schema).unwrap()).collect();
    fields.extend((0..case.key_columns).map(|i| Field::new(format!("k{i}"), DataType::Utf8, true)));
    fields.extend(aggregates.iter().map(|a| a.function.field().as_ref().clone()));
    WindowAggregateSpec {
        input: Box::new(Plan::Source { name: "s".to_string(), schema: schema.clone() }),
        time: col("ts", &schema).unwrap(),
        window: case.window,
        time_origin: TimeOrigin::default(),
        keys,
        aggregates,
        on_late: case.on_late,
        schema: Arc::new(Schema::new(fields)),
    }
}

/// A row as text, by which results are compared.
fn texts(rows: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<_> = rows.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
    let line = |row| columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join("|");
    (0..rows.num_rows()).map(line).collect()
}

/// What has been said so far.
#[derive(Default)]
struct Heard {
    live: BTreeMap<String, i64>,
    finals: BTreeMap<String, i64>,
    late: usize,
    dead: usize,
}

impl Heard {
    fn hear(&mut self, output: Output) {
        for (port, rows) in output.sent {
            let batch = rows.into_batch().unwrap();
            for (row, text) in texts(&batch.rows).into_iter().enumerate() {
                let said = if port == 0 { &mut self.live } else { &mut self.finals };
                let times = said.entry(text.clone()).or_default();
                *times += batch.diff(row);
                if *times == 0 {
                    said.remove(&text);
                }
            }
        }
        self.late += output.late.iter().map(RecordBatch::num_rows).sum::<usize>();
        self.dead += output.dead.len();
    }
}

/// The windows that hold `time`, as start and end: by trying all that could.
fn windows_of(window: &Window, time: i64) -> Vec<(i64, i64)> {
    let from = |first: i64, distance: i64, offset: i64| {
        let aligned = first - (first - offset).rem_euclid(distance);
        (0..).map(move |i| aligned + i * distance).take_while(move |start| *start <= time)
    };
    let holds = |(_, end): &(i64, i64)| time < *end;
    match *window {
        Window::Tumble { size_ns, offset_ns } => {
            from(time - size_ns, size_ns, offset_ns).map(|s| (s, s + size_ns)).filter(holds).collect()
        }
        Window::Hop { slide_ns, size_ns, offset_ns } => {
            from(time - size_ns, slide_ns, offset_ns).map(|s| (s, s + size_ns)).filter(holds).collect()
        }
        Window::Cumulate { step_ns, size_ns, offset_ns } => from(time - size_ns, size_ns, offset_ns)
            .flat_map(|s| (1..=size_ns / step_ns).map(move |k| (s, s + k * step_ns)))
            .filter(holds)
            .collect(),
    }
}

/// The rows of each window and key, kept as they are.
struct Model<'a> {
    case: &'a Case,
    windows: BTreeMap<(i64, i64), BTreeMap<Vec<Option<u8>>, Vec<Option<i64>>>>,
}

impl Model<'_> {
    fn is_final(&self, end: i64, watermark: Watermark) -> bool {
        watermark.closes(end + self.case.on_late.kept_ns())
    }

    /// Whether the row counts anywhere.
    fn add(&mut self, row: &Row, before: Watermark) -> bool {
        let (time, window) = (row.0.unwrap() * MS, self.case.window);
        let mut counts = false;
        for (start, end) in windows_of(&window, time) {
            if !self.is_final(end, before) {
                let parts = row.1.map(|k| [k & 15, k >> 4]);
                let key = (0..self.case.key_columns).map(|i| parts.map(|p| p[i])).collect();
                self.windows.entry((start, end)).or_default().entry(key).or_default().push(row.2);
                counts = true;
            }
        }
        counts
    }

    fn texts(&self, wanted: impl Fn(i64) -> bool) -> BTreeMap<String, i64> {
        let time = |ns: i64| {
            let array = arrow::array::TimestampMicrosecondArray::from(vec![ns / 1_000]);
            ArrayFormatter::try_new(&array, &FormatOptions::default()).unwrap().value(0).to_string()
        };
        let mut all = BTreeMap::new();
        for ((start, end), groups) in self.windows.iter().filter(|((_, end), _)| wanted(*end)) {
            for (key, rows) in groups {
                let values: Vec<i64> = rows.iter().flatten().copied().collect();
                let null = || "NULL".to_string();
                let mut line = vec![time(*start), time(*end)];
                line.extend(key.iter().map(|k| k.map_or_else(null, |k| format!("key {k}"))));
                line.push(rows.len().to_string());
                line.push(if values.is_empty() { null() } else { values.iter().sum::<i64>().to_string() });
                line.push(values.iter().max().map_or_else(null, |max| max.to_string()));
                line.push(if values.is_empty() {
                    null()
                } else {
                    let avg =
                        arrow::array::Float64Array::from(vec![values.iter().sum::<i64>() as f64 / values.len() as f64]);
                    ArrayFormatter::try_new(&avg, &FormatOptions::default()).unwrap().value(0).to_string()
                });
                line.push(values.iter().filter(|v| **v > 0).count().to_string());
                all.insert(line.join("|"), 1);
            }
        }
        all
    }
}

/// Sends the partial rows of `output` to their owners, as the exchange does; gives what else there is.
fn exchange(output: Output, owners: &mut [MergeAggregate], key_columns: usize, epoch: Epoch) -> Output {
    for (_, rows) in output.sent {
        let batch = rows.into_batch().unwrap();
        let hashes = hash_rows(&batch.rows.columns()[1..1 + key_columns], batch.num_rows()).unwrap();
        for (i, owner) in owners.iter_mut().enumerate() {
            let own =
                hashes.iter().enumerate().filter(|(_, h)| (*h >> 32) as usize % 2 == i || key_columns == 0 && i == 0);
            let own = UInt64Array::from_iter_values(own.map(|(row, _)| row as u64));
            if !(key_columns == 0 && i == 1) {
                let part = batch.take(&own).unwrap();
                owner.process(epoch, Rows::unbounded(part), &mut Output::default()).unwrap();
            }
        }
    }
    Output { sent: Vec::new(), late: output.late, dead: output.dead }
}

fn check(case: Case) {
    let spec = spec(&case);
    let workers = case.epochs.iter().map(|(w, _)| w.len()).max().unwrap_or(1);
    let mut locals: Vec<_> = (0..workers).map(|_| LocalAggregate::new(&spec).unwrap()).collect();
    let mut owners: Vec<_> = (0..2).map(|_| MergeAggregate::new(&spec, case.changes, true).unwrap()).collect();
    let (mut model, mut heard) = (Model { case: &case, windows: BTreeMap::new() }, Heard::default());
    let (mut finals, mut late, mut dead) = (BTreeMap::new(), 0, 0);
    let mut before = Watermark::MIN;
    for (epoch, (batches, step)) in case.epochs.iter().enumerate() {
        let base = if before == Watermark::MIN { 0 } else { before.0 };
        let last = epoch + 1 == case.epochs.len();
        let now = if last { Watermark::MAX } else { Watermark(base + step * MS) };
        let (times, epoch) = (Times { before, now, reached: now }, Epoch(epoch as u64));
        for (local, rows) in locals.iter_mut().zip(batches) {
            let bound = case.slack.map_or(Watermark::MAX, |slack| Watermark(before.0.saturating_add(slack * MS)));
            for part in rows.chunks(7) {
                let mut output = Output::default();
                local.process(epoch, Rows::new(Batch::append(batch_of(part)), bound), &mut output).unwrap();
                heard.hear(exchange(output, &mut owners, case.key_columns, epoch));
            }
        }
        for row in batches.iter().flatten() {
            match row.0 {
                None => dead += 1,
                Some(_) => late += usize::from(!model.add(row, before)),
            }
        }
        for local in &mut locals {
            let mut output = Output::default();
            local.finish_epoch(epoch, times, &mut output).unwrap();
            heard.hear(exchange(output, &mut owners, case.key_columns, epoch));
        }
        for owner in &mut owners {
            let mut output = Output::default();
            owner.finish_epoch(epoch, times, &mut output).unwrap();
            heard.hear(output);
        }
        if case.changes {
            assert_eq!(heard.live, model.texts(|_| true), "changes as of epoch {epoch}, {times:?}");
        } else {
            assert_eq!(heard.live, BTreeMap::new());
        }
        finals.extend(model.texts(|end| model.is_final(end, now) && !model.is_final(end, before)));
        assert_eq!(heard.finals, finals, "finals as of epoch {epoch}, {times:?}");
        assert_eq!((heard.late, heard.dead), (late, dead), "as of epoch {epoch}, {times:?}");
        before = now;
    }
    for owner in &owners {
        assert_eq!(
            (owner.slices.len(), owner.pending.len(), owner.windows.len()),
            (0, 0, 0),
            "at the end nothing is left"
        );
    }
}

fn window() -> impl Strategy<Value = Window> {
    prop_oneof![
        (1i64..40, 0i64..20).prop_map(|(size, offset)| Window::Tumble { size_ns: size * MS, offset_ns: offset * MS }),
        (1i64..15, 1i64..6, 0i64..15, 0i64..20).prop_map(|(slide, factor, extra, offset)| Window::Hop {
            slide_ns: slide * MS,
            size_ns: (slide * factor + extra % slide) * MS,
            offset_ns: offset * MS,
        }),
        (1i64..15, 1i64..6, 0i64..20).prop_map(|(step, steps, offset)| Window::Cumulate {
            step_ns: step * MS,
            size_ns: step * steps * MS,
            offset_ns: offset * MS,
        }),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    let time = prop_oneof![9 => (0i64..120).prop_map(Some), 1 => Just(None)];
    let key = prop_oneof![9 => (0u8..40).prop_map(Some), 1 => Just(None)];
    let value = prop_oneof![5 => (-50i64..50).prop_map(Some), 1 => Just(None)];
    let rows = prop::collection::vec((time, key, value), 0..25);
    let epochs = prop::collection::vec((prop::collection::vec(rows, 1..4), 0i64..40), 1..8);
    let on_late = prop_oneof![Just(OnLate::Drop), (1i64..60).prop_map(|until| OnLate::Revise { until_ns: until * MS })];
    let slack = prop::option::of(0i64..20);
    (window(), on_late, 0usize..3, epochs, slack, any::<bool>()).prop_map(
        |(window, on_late, key_columns, epochs, slack, changes)| Case {
            window,
            on_late,
            key_columns,
            epochs,
            slack,
            changes,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_epoch_equals_a_recomputation_from_all_rows(case in case()) {
        check(case);
    }
}

fn tumble_of(epochs: Vec<(Vec<Vec<Row>>, i64)>) -> Case {
    let window = Window::Tumble { size_ns: 10 * MS, offset_ns: 0 };
    Case { window, on_late: OnLate::Drop, key_columns: 1, epochs, slack: Some(0), changes: true }
}

#[test]
fn nothing_in_nothing_out() {
    check(tumble_of(vec![(vec![vec![]], 100), (vec![vec![]], 100)]));
}

#[test]
fn a_window_that_opens_and_closes_within_an_epoch_is_told_once() {
    check(tumble_of(vec![(vec![vec![(Some(3), Some(1), Some(5)), (Some(4), Some(1), None)]], 100), (vec![], 1)]));
}

#[test]
fn keys_that_come_and_go_leave_nothing_behind() {
    let epoch = |e: i64| {
        let rows = (0..200u8).map(|k| (Some(e * 10), Some(k), Some(1))).collect();
        (vec![rows], 10)
    };
    check(Case { key_columns: 2, ..tumble_of((0..12).map(epoch).collect()) });
}
