//! Both phases together against a model that keeps every row and cuts each partition anew.

mod cut;

use super::*;
use crate::exchange::hash_rows;
use crate::operator::{Operator, Output, Times};
use crate::rows::Rows;
use crate::state::{Restored, owned};
use arrow::array::{Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion_functions_aggregate::{count::count_udaf, min_max::max_udaf};
use datafusion_physical_expr::aggregate::AggregateExprBuilder;
use datafusion_physical_expr::expressions::{col, lit};
use proptest::prelude::*;
use std::collections::BTreeMap;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, Watermark, WorkerId};

const MS: i64 = 1_000_000;

/// Event time in ms (or none), the key's two parts, value.
type Row = (Option<i64>, u8, u8, Option<i64>);

#[derive(Clone, Debug)]
struct Case {
    gap: i64,
    until: i64,
    /// Columns that the rows are partitioned by, and grouped by.
    partition: usize,
    keys: usize,
    /// What each worker reads in an epoch, by how much the watermark moves at its end, and whether the workers die then.
    epochs: Vec<(Vec<Vec<Row>>, i64, bool)>,
    slack: Option<i64>,
    changes: bool,
    aggregates: bool,
}

fn input_schema() -> SchemaRef {
    let time = Field::new("ts", DataType::Timestamp(TimeUnit::Millisecond, None), true);
    let key = |name| Field::new(name, DataType::Utf8, false);
    Arc::new(Schema::new(vec![time, key("k0"), key("k1"), Field::new("v", DataType::Int64, true)]))
}

fn batch_of(rows: &[Row]) -> RecordBatch {
    let columns: Vec<Arc<dyn Array>> = vec![
        Arc::new(TimestampMillisecondArray::from_iter(rows.iter().map(|r| r.0))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|r| format!("key {}", r.1)))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|r| format!("key {}", r.2)))),
        Arc::new(Int64Array::from_iter(rows.iter().map(|r| r.3))),
    ];
    RecordBatch::try_new(input_schema(), columns).unwrap()
}

fn spec(case: &Case) -> SessionAggregateSpec {
    let schema = input_schema();
    let aggregate = |function, argument, name: &str| {
        let built = AggregateExprBuilder::new(function, vec![argument]).schema(schema.clone()).alias(name).build();
        Aggregate { function: Arc::new(built.unwrap()), filter: None }
    };
    let mut aggregates =
        vec![aggregate(count_udaf(), lit(1i64), "n"), aggregate(max_udaf(), col("v", &schema).unwrap(), "max")];
    aggregates.truncate(if case.aggregates { 2 } else { 0 });
    let bound = |name| Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, None), false);
    let mut fields = vec![bound("window_start"), bound("window_end")];
    fields.extend((0..case.keys).map(|i| Field::new(format!("k{i}"), DataType::Utf8, true)));
    fields.extend(aggregates.iter().map(|a| a.function.field().as_ref().clone()));
    SessionAggregateSpec {
        input: Box::new(Plan::Source { name: "s".to_string(), schema: schema.clone() }),
        time: col("ts", &schema).unwrap(),
        gap_ns: case.gap * MS,
        start: None,
        end: None,
        time_origin: TimeOrigin::default(),
        partition: case.partition,
        keys: (0..case.keys).map(|i| col(&format!("k{i}"), &schema).unwrap()).collect(),
        aggregates,
        on_late: if case.until == 0 { OnLate::Drop } else { OnLate::Revise { until_ns: case.until * MS } },
        schema: Arc::new(Schema::new(fields)),
    }
}

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
    late: Vec<String>,
    dead: usize,
}

impl Heard {
    fn hear(&mut self, output: Output) {
        for (port, rows) in output.sent {
            let batch = rows.into_batch().unwrap();
            for (row, text) in texts(&batch.rows).into_iter().enumerate() {
                let said = if port == 0 { &mut self.live } else { &mut self.finals };
                *said.entry(text).or_default() += batch.diff(row);
            }
        }
        self.live.retain(|_, times| *times != 0);
        self.late.extend(output.late.iter().flat_map(texts));
        self.dead += output.dead.len();
    }
}

/// The sessions of the rows that count.
type Sessions = Vec<Vec<Row>>;

fn sessions(case: &Case, rows: &[Row]) -> Sessions {
    let mut partitions: BTreeMap<Vec<u8>, Vec<Row>> = BTreeMap::new();
    for row in rows {
        let key = [row.1, row.2][..case.partition].to_vec();
        partitions.entry(key).or_default().push(*row);
    }
    let mut all = Vec::new();
    for mut rows in partitions.into_values() {
        rows.sort();
        all.extend(rows.chunk_by(|a, b| b.0.unwrap() - a.0.unwrap() <= case.gap).map(<[Row]>::to_vec));
    }
    all
}

fn end(case: &Case, session: &[Row]) -> i64 {
    (session.iter().filter_map(|row| row.0).max().unwrap() + case.gap) * MS
}

/// The results of a session, one line a group.
fn lines(case: &Case, session: &[Row]) -> Vec<String> {
    let time = |ns: i64| {
        let array = arrow::array::TimestampMicrosecondArray::from(vec![ns / 1_000]);
        ArrayFormatter::try_new(&array, &FormatOptions::default()).unwrap().value(0).to_string()
    };
    let start = session.iter().filter_map(|row| row.0).min().unwrap() * MS;
    let mut groups: BTreeMap<Vec<u8>, Vec<Row>> = BTreeMap::new();
    for row in session {
        groups.entry([row.1, row.2][..case.keys].to_vec()).or_default().push(*row);
    }
    let line = |(key, rows): (Vec<u8>, Vec<Row>)| {
        let mut line = vec![time(start), time(end(case, session))];
        line.extend(key.iter().map(|k| format!("key {k}")));
        if case.aggregates {
            let max = rows.iter().filter_map(|row| row.3).max();
            line.extend([rows.len().to_string(), max.map_or_else(|| "NULL".to_string(), |max| max.to_string())]);
        }
        line.join("|")
    };
    groups.into_iter().map(line).collect()
}

/// Sends the partial rows of `output` to their owners, as the exchange does; gives what else there is.
fn exchange(case: &Case, output: Output, owners: &mut [MergeSessions], epoch: Epoch) -> Output {
    for (_, rows) in output.sent {
        let batch = rows.into_batch().unwrap();
        let hashes = hash_rows(&batch.rows.columns()[..case.partition], batch.num_rows()).unwrap();
        for (i, owner) in owners.iter_mut().enumerate() {
            let own = (0..batch.num_rows())
                .filter(|row| if case.partition == 0 { i == 0 } else { crate::exchange::owner(hashes[*row], 2) == i });
            let part = batch.take(&UInt64Array::from_iter_values(own.map(|row| row as u64))).unwrap();
            if !part.is_empty() {
                owner.process(epoch, Rows::unbounded(part), &mut Output::default()).unwrap();
            }
        }
    }
    Output { sent: Vec::new(), late: output.late, dead: output.dead }
}

/// The same owners as they come back after a crash.
fn restarted(
    case: &Case,
    spec: &SessionAggregateSpec,
    owners: &mut [MergeSessions],
    now: Watermark,
) -> Vec<MergeSessions> {
    let mut written = Vec::new();
    for owner in owners.iter_mut() {
        for section in owner.snapshot().unwrap() {
            assert_eq!(section.keys, case.partition);
            written.push((section.label.clone(), section.keys, (section.rows)().unwrap()));
        }
    }
    let restored = |index| {
        let mut owner = MergeSessions::new(spec, case.changes, true).unwrap();
        let worker = WorkerId { index, peers: 2 };
        let sections = written.iter().map(|(label, keys, rows)| {
            let rows = owned(rows, &(0..*keys).collect::<Vec<_>>(), worker).unwrap();
            Restored { label: label.clone(), rows }
        });
        owner.restore(sections.collect(), now).unwrap();
        owner
    };
    (0..2).map(restored).collect()
}

fn check(case: Case) {
    let spec = spec(&case);
    let workers = case.epochs.iter().map(|(w, ..)| w.len()).max().unwrap_or(1);
    let mut locals: Vec<_> = (0..workers).map(|_| LocalSessions::new(&spec).unwrap()).collect();
    let mut owners: Vec<_> = (0..2).map(|_| MergeSessions::new(&spec, case.changes, true).unwrap()).collect();
    let mut heard = Heard::default();
    // Rows of sessions that are not final, and what was said of those that are.
    let (mut open, mut finals): (Vec<Row>, Vec<String>) = (Vec::new(), Vec::new());
    let (mut late, mut dead, mut before) = (Vec::new(), 0, Watermark::MIN);
    for (epoch, (batches, step, dies)) in case.epochs.iter().enumerate() {
        let base = if before == Watermark::MIN { 0 } else { before.0 };
        let last = epoch + 1 == case.epochs.len();
        let now = if last { Watermark::MAX } else { Watermark(base + step * MS) };
        let (times, epoch) = (Times { before, now, reached: now }, Epoch(epoch as u64));
        for (local, rows) in locals.iter_mut().zip(batches) {
            let bound = case.slack.map_or(Watermark::MAX, |slack| Watermark(before.0.saturating_add(slack * MS)));
            for part in rows.chunks(7) {
                let mut output = Output::default();
                local.process(epoch, Rows::new(Batch::append(batch_of(part)), bound), &mut output).unwrap();
                heard.hear(exchange(&case, output, &mut owners, epoch));
            }
        }
        for local in &mut locals {
            let mut output = Output::default();
            local.finish_epoch(epoch, times, &mut output).unwrap();
            heard.hear(exchange(&case, output, &mut owners, epoch));
        }
        for owner in &mut owners {
            let mut output = Output::default();
            owner.finish_epoch(epoch, times, &mut output).unwrap();
            heard.hear(output);
        }

        let is_final = |session: &[Row], watermark: Watermark| watermark.closes(end(&case, session) + case.until * MS);
        dead += batches.iter().flatten().filter(|row| row.0.is_none()).count();
        open.extend(batches.iter().flatten().filter(|row| row.0.is_some()));
        let (over, counted): (Sessions, Sessions) =
            sessions(&case, &open).into_iter().partition(|session| is_final(session, before));
        late.extend(over.iter().flat_map(|session| texts(&batch_of(session))));
        late.sort();
        heard.late.sort();
        assert_eq!(heard.late, late, "late as of epoch {epoch}, {times:?}");
        assert_eq!(heard.dead, dead);
        let (closed, still): (Sessions, Sessions) = counted.into_iter().partition(|session| is_final(session, now));
        let live = still.iter().chain(&closed).flat_map(|session| lines(&case, session)).chain(finals.iter().cloned());
        let mut expected = BTreeMap::new();
        live.for_each(|line| *expected.entry(line).or_insert(0) += 1);
        if case.changes {
            assert_eq!(heard.live, expected, "changes as of epoch {epoch}, {times:?}");
        }
        finals.extend(closed.iter().flat_map(|session| lines(&case, session)));
        let mut expected = BTreeMap::new();
        finals.iter().for_each(|line| *expected.entry(line.clone()).or_insert(0) += 1);
        assert_eq!(heard.finals, expected, "finals as of epoch {epoch}, {times:?}");
        open = still.into_iter().flatten().collect();
        before = now;
        if *dies {
            owners = restarted(&case, &spec, &mut owners, now);
        }
    }
    for owner in &owners {
        assert_eq!((owner.sessions.len(), owner.state().rows), (0, 0), "at the end nothing is left");
    }
}

fn case() -> impl Strategy<Value = Case> {
    let time = prop_oneof![12 => (0i64..150).prop_map(Some), 1 => Just(None)];
    let value = prop::option::weighted(0.8, -50i64..50);
    let rows = prop::collection::vec((time, 0u8..4, 0u8..3, value), 0..14);
    let epochs = prop::collection::vec((prop::collection::vec(rows, 1..4), 0i64..30, any::<bool>()), 1..8);
    let keys = (0usize..3).prop_flat_map(|keys| (0..=keys, Just(keys)));
    let slack = prop::option::of(0i64..20);
    let until = prop_oneof![Just(0i64), 1i64..40];
    (1i64..12, until, keys, epochs, slack, any::<bool>(), any::<bool>()).prop_map(
        |(gap, until, (partition, keys), epochs, slack, changes, aggregates)| Case {
            gap,
            until,
            partition,
            keys,
            epochs,
            slack,
            changes,
            aggregates,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn every_epoch_equals_a_recomputation_from_all_rows(case in case()) {
        check(case);
    }
}

fn one_key(epochs: Vec<(Vec<i64>, i64)>) -> Case {
    let rows = |times: Vec<i64>| times.into_iter().map(|time| (Some(time), 0, 0, Some(time))).collect();
    let epochs = epochs.into_iter().map(|(times, step)| (vec![rows(times)], step, false)).collect();
    Case { gap: 10, until: 0, partition: 1, keys: 1, epochs, slack: Some(0), changes: true, aggregates: true }
}

#[test]
fn a_row_between_two_sessions_makes_them_one() {
    check(one_key(vec![(vec![0, 20], 5), (vec![], 0), (vec![10], 1), (vec![], 1)]));
}

#[test]
fn a_row_that_is_late_by_itself_counts_where_it_reaches_an_open_session() {
    // At 30 the session that ends at 35 is open: 16 reaches it, 14 reaches nothing.
    check(one_key(vec![(vec![25], 30), (vec![16], 0), (vec![4], 0), (vec![], 10)]));
}

#[test]
fn partitions_that_come_and_go_leave_nothing_behind() {
    let epoch = |e: i64| {
        let rows = (0..250u8).map(|k| (Some(e * 30), k, k, Some(1))).collect();
        (vec![rows], 30, e % 3 == 0)
    };
    check(Case { partition: 2, keys: 2, epochs: (0..12).map(epoch).collect(), ..one_key(vec![]) });
}
