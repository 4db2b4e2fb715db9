//! The operator against a model that sorts all rows of each partition anew.

use super::*;
use crate::plan::TimeOrigin;
use crate::state::{Restored, owned};
use arrow::array::{Array, AsArray, Float64Array, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use thalweg_schemas::epoch::WorkerId;

const MS: i64 = 1_000_000;

/// The end of a window in ms, a key, what rows are ordered by, what tells them apart.
type Row = (i64, u8, Option<i8>, u8);

#[derive(Clone, Debug)]
struct Case {
    rank: Rank,
    skip: u64,
    limit: u64,
    numbered: bool,
    descending: bool,
    nulls_first: bool,
    retracts: bool,
    closes: bool,
    keyed: bool,
    /// Whether partitions go that no row came for in two epochs.
    forgets: bool,
    /// Changes, by how much the watermark moves, whether the worker dies then.
    epochs: Vec<(Vec<(Row, i64)>, i64, bool)>,
}

fn input_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("window_end", DataType::Timestamp(TimeUnit::Millisecond, None), false),
        Field::new("k", DataType::Utf8, false),
        Field::new("by", DataType::Float64, true),
        Field::new("other", DataType::Utf8, false),
    ]))
}

fn batch_of(rows: &[(Row, i64)], retracts: bool) -> Batch {
    let columns: Vec<Arc<dyn Array>> = vec![
        Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(|(row, _)| row.0))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|(row, _)| format!("key {}", row.1)))),
        Arc::new(Float64Array::from_iter(rows.iter().map(|(row, _)| row.2.map(f64::from)))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|(row, _)| format!("{:03}", row.3)))),
    ];
    let batch = RecordBatch::try_new(input_schema(), columns).unwrap();
    match retracts {
        true => Batch::changes(batch, Int64Array::from_iter_values(rows.iter().map(|(_, diff)| *diff))),
        false => Batch::append(batch),
    }
}

fn spec(case: &Case) -> TopNSpec {
    let input = input_schema();
    let mut fields: Vec<_> = input.fields().iter().cloned().collect();
    if case.numbered {
        fields.push(Arc::new(Field::new("place", DataType::UInt64, false)));
    }
    let partition = match (case.closes, case.keyed) {
        (true, true) => vec![1, 0],
        (true, false) => vec![0],
        (false, true) => vec![1],
        (false, false) => vec![],
    };
    TopNSpec {
        state_ttl_ns: case.forgets.then_some(2),
        horizon: None,
        input: Box::new(Plan::Source { name: "s".to_string(), schema: input }),
        retracts: case.retracts,
        partition,
        order: vec![OrderBy { column: 2, descending: case.descending, nulls_first: case.nulls_first }],
        rank: case.rank,
        skip: case.skip,
        limit: case.limit,
        numbered: case.numbered,
        closes: case.closes.then(|| Closes { column: 0, origin: TimeOrigin::default() }),
        schema: Arc::new(Schema::new(fields)),
    }
}

fn texts(rows: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<_> = rows.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
    let line = |row| columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join("|");
    (0..rows.num_rows()).map(line).collect()
}

/// What is to be shown of `rows`, each as often as it is there.
fn model(case: &Case, rows: &[Row]) -> BTreeMap<String, i64> {
    let mut partitions: BTreeMap<(Option<i64>, Option<u8>), Vec<Row>> = BTreeMap::new();
    for row in rows {
        let key = (case.closes.then_some(row.0), case.keyed.then_some(row.1));
        partitions.entry(key).or_default().push(*row);
    }
    let mut shown = BTreeMap::new();
    for mut rows in partitions.into_values() {
        let order = |row: &Row| {
            let value = row.2.map(i32::from);
            let null = if case.nulls_first { i32::MIN } else { i32::MAX };
            value.map_or(null, |v| if case.descending { -v } else { v })
        };
        rows.sort_by_key(|row| (order(row), row.0, row.1, row.3));
        for (at, row) in rows.iter().enumerate() {
            let before = |other: &&Row| order(other) < order(row);
            let place = match case.rank {
                Rank::RowNumber => at as u64 + 1,
                Rank::Rank => rows.iter().filter(before).count() as u64 + 1,
                Rank::DenseRank => rows.iter().filter(before).map(order).collect::<BTreeSet<_>>().len() as u64 + 1,
            };
            if place > case.skip && place <= case.skip + case.limit {
                let mut text = texts(&batch_of(&[(*row, 1)], false).rows).remove(0);
                if case.numbered {
                    text = format!("{text}|{place}");
                }
                *shown.entry(text).or_insert(0) += 1;
            }
        }
    }
    shown
}

fn new(case: &Case) -> TopN {
    let spec = spec(case);
    let lifetimes = spec.state_ttl_ns.map(|ttl_ns| Lifetimes::new(ttl_ns, 1));
    TopN::new(&spec, true, case.closes, !case.retracts).unwrap().forgetting(lifetimes)
}

fn restarted(case: &Case, operator: &mut TopN) -> TopN {
    let sections = operator.snapshot().unwrap().into_iter().map(|section| {
        let keys: Vec<usize> = (0..section.keys).collect();
        let rows = owned(&(section.rows)().unwrap(), &keys, WorkerId { index: 0, peers: 1 }).unwrap();
        Restored { label: section.label, rows }
    });
    let sections = sections.collect();
    let mut again = new(case);
    again.restore(sections, Watermark::MIN).unwrap();
    again
}

fn check(case: Case) {
    let mut operator = new(&case);
    let mut touched: BTreeMap<u8, u64> = BTreeMap::new();
    let (mut rows, mut live, mut finals) = (Vec::<Row>::new(), BTreeMap::new(), BTreeMap::new());
    let (mut closed, mut late, mut late_heard) = (BTreeMap::new(), 0, 0);
    let mut before = Watermark::MIN;
    for (epoch, (changes, step, dies)) in case.epochs.iter().enumerate() {
        let base = if before == Watermark::MIN { 0 } else { before.0 };
        let now = if epoch + 1 == case.epochs.len() { Watermark::MAX } else { Watermark(base + step * MS) };
        let (epoch, times) = (Epoch(epoch as u64), Times { before, now, reached: now });
        let mut output = Output::default();
        for part in changes.chunks(4) {
            operator.process(epoch, Rows::unbounded(batch_of(part, case.retracts)), &mut output).unwrap();
        }
        operator.finish_epoch(epoch, times, &mut output).unwrap();
        for (port, sent) in output.sent {
            let batch = sent.into_batch().unwrap();
            for (row, text) in texts(&batch.rows).into_iter().enumerate() {
                let said = if port == 0 { &mut live } else { &mut finals };
                *said.entry(text).or_insert(0) += batch.diff(row);
            }
        }
        live.retain(|_, times| *times != 0);
        late_heard += output.late.iter().map(RecordBatch::num_rows).sum::<usize>();
        touched.extend(changes.iter().map(|(row, _)| (row.1, epoch.0)));
        let changes = if case.forgets { net(changes) } else { changes.clone() };
        for (row, diff) in &changes {
            if case.closes && before.closes(row.0 * MS) {
                late += 1;
            } else if *diff > 0 {
                rows.push(*row);
            } else if let Some(at) = rows.iter().position(|known| known == row) {
                rows.swap_remove(at);
            } else {
                assert!(case.forgets, "only what is there is taken back");
            }
        }
        rows.retain(|row| !case.forgets || epoch.0 - touched[&row.1] <= 2);
        let (over, open): (Vec<Row>, Vec<Row>) = rows.iter().partition(|row| case.closes && now.closes(row.0 * MS));
        for (text, times) in model(&case, &over) {
            *closed.entry(text).or_insert(0) += times;
        }
        let mut expected = model(&case, &open);
        closed.iter().for_each(|(text, times)| *expected.entry(text.clone()).or_insert(0) += times);
        assert_eq!(live, expected, "changes as of epoch {epoch}, {times:?}");
        assert_eq!(finals, closed, "finals as of epoch {epoch}");
        assert_eq!(late_heard, late);
        rows = open;
        if !case.retracts && case.rank == Rank::RowNumber {
            let most = (case.skip + case.limit) as usize;
            let kept = operator.rows.partitions().map(|partition| operator.rows.rows(partition).len());
            assert!(kept.max().unwrap_or(0) <= most, "only what is shown is kept");
        }
        before = now;
        if *dies {
            operator = restarted(&case, &mut operator);
        }
    }
    if case.closes {
        assert_eq!((operator.state().rows, operator.closing.is_empty()), (0, true));
    }
}

/// What changes come to, each row by itself.
fn net(changes: &[(Row, i64)]) -> Vec<(Row, i64)> {
    let mut net: BTreeMap<Row, i64> = BTreeMap::new();
    changes.iter().for_each(|(row, diff)| *net.entry(*row).or_insert(0) += diff);
    net.into_iter()
        .flat_map(|(row, diff)| std::iter::repeat_n((row, diff.signum()), diff.unsigned_abs() as usize))
        .collect()
}

/// Epochs of insertions, and of retractions of what was inserted before and is not over.
fn epochs(retracts: bool, closes: bool) -> impl Strategy<Value = Vec<(Vec<(Row, i64)>, i64, bool)>> {
    let row = ((1i64..8).prop_map(|end| end * 10), 0u8..3, prop::option::weighted(0.9, -5i8..5), 0u8..200);
    let change = (row, any::<prop::sample::Index>(), prop::bool::weighted(0.45));
    let epoch = (prop::collection::vec(change, 0..20), 0i64..20, prop::bool::weighted(0.3));
    prop::collection::vec(epoch, 1..8).prop_map(move |epochs| {
        let (mut there, mut watermark): (Vec<Row>, i64) = (Vec::new(), -1);
        let mut all = Vec::new();
        for (changes, step, dies) in epochs {
            let mut epoch = Vec::new();
            for (row, index, retract) in changes {
                there.retain(|row| !closes || row.0 > watermark);
                if retracts && retract && !there.is_empty() {
                    epoch.push((there.swap_remove(index.index(there.len())), -1));
                } else {
                    there.push(row);
                    epoch.push((row, 1));
                }
            }
            all.push((epoch, step, dies));
            watermark = watermark.max(0) + step;
        }
        all
    })
}

fn case() -> impl Strategy<Value = Case> {
    let rank = prop_oneof![3 => Just(Rank::RowNumber), 1 => Just(Rank::Rank), 1 => Just(Rank::DenseRank)];
    let places = (prop_oneof![3 => Just(0u64), 1 => 1u64..3], 1u64..5);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (any::<bool>(), any::<bool>(), rank, places, flags)
        .prop_flat_map(|(retracts, closes, rank, places, flags)| {
            (Just((retracts, closes, rank, places, flags)), epochs(retracts, closes))
        })
        .prop_map(|((retracts, closes, rank, (skip, limit), flags), epochs)| {
            let (numbered, descending, nulls_first, keyed) = flags;
            let forgets = false;
            Case { rank, skip, limit, numbered, descending, nulls_first, retracts, closes, keyed, forgets, epochs }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_epoch_equals_a_sort_of_all_rows(case in case()) {
        check(case);
    }

    #[test]
    fn partitions_that_nothing_comes_for_are_forgotten(case in case()) {
        let quiet = (Vec::new(), 0, false);
        let spread = case.epochs.iter().enumerate();
        let spread = spread.flat_map(|(at, epoch)| std::iter::repeat_n(quiet.clone(), at % 3).chain([epoch.clone()]));
        let epochs = spread.collect();
        check(Case { forgets: true, keyed: true, closes: false, epochs, ..case });
    }
}

/// The first row of each key, of rows that come and go.
fn first_of_each() -> TopN {
    let case = Case {
        rank: Rank::RowNumber,
        skip: 0,
        limit: 1,
        numbered: false,
        descending: false,
        nulls_first: false,
        retracts: true,
        closes: false,
        keyed: true,
        forgets: false,
        epochs: vec![],
    };
    TopN::new(&spec(&case), true, false, false).unwrap()
}

/// A row of each of `keys`.
fn rows_of(keys: std::ops::Range<u32>) -> RecordBatch {
    let rows = batch_of(&vec![((10, 0, Some(1), 1), 1); keys.len()], false).rows;
    let mut columns = rows.columns().to_vec();
    columns[1] = Arc::new(StringArray::from_iter_values(keys.map(|key| key.to_string())));
    RecordBatch::try_new(input_schema(), columns).unwrap()
}

/// An epoch in which rows come, or go.
fn change(operator: &mut TopN, rows: &RecordBatch, diff: i64) {
    let times = Times { before: Watermark::MIN, now: Watermark::MIN, reached: Watermark::MIN };
    let batch = Batch::changes(rows.clone(), vec![diff; rows.num_rows()].into());
    operator.process(Epoch(1), Rows::unbounded(batch), &mut Output::default()).unwrap();
    operator.finish_epoch(Epoch(1), times, &mut Output::default()).unwrap();
}

#[test]
fn partitions_that_come_and_go_leave_nothing_behind() {
    let (mut operator, mut largest) = (first_of_each(), 0);
    for round in 0..10 {
        let rows = rows_of(round * 1_000..(round + 1) * 1_000);
        for diff in [1, -1] {
            change(&mut operator, &rows, diff);
            largest = largest.max(operator.rows.names());
        }
    }
    assert_eq!(operator.state().rows, 0);
    assert!(largest <= 4_000, "{largest} keys are kept");
}

#[test]
fn a_checkpoint_writes_the_partitions_that_lie_by_those_that_changed() {
    let mut operator = first_of_each();
    change(&mut operator, &rows_of(0..20_000), 1);
    let first = operator.snapshot().unwrap();
    let written: BTreeSet<u64> = first.iter().map(|section| section.id).collect();
    change(&mut operator, &rows_of(3..4), 1);
    let second = operator.snapshot().unwrap();
    let new = second.into_iter().filter(|section| !written.contains(&section.id));
    let rows: usize = new.map(|section| (section.rows)().unwrap().num_rows()).sum();
    assert!((1..=1_024).contains(&rows), "{rows} rows are written for one that changed");
    // What the first one holds is of its own moment, though it is made later.
    for section in first {
        let rows = (section.rows)().unwrap();
        let times = rows.columns().last().unwrap().as_primitive::<Int64Type>();
        assert!(times.values().iter().all(|times| *times == 1));
    }
}
