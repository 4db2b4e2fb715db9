//! The operator against a model that sorts all rows at once.

use super::*;
use crate::ordered::OrderBy;
use crate::plan::Plan;
use crate::state::owned;
use arrow::array::{AsArray, Int64Array, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{Field, Int64Type, Schema, TimeUnit, TimestampMillisecondType};
use proptest::prelude::*;
use thalweg_schemas::epoch::WorkerId;

const MS: i64 = 1_000_000;

/// Key, time in ms, value.
type Row = (u8, i64, i64);
/// A row and what was before it.
type Said = (Row, Option<i64>);

fn input() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("value", DataType::Int64, true),
        Field::new("key", DataType::Utf8, true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Millisecond, None), false),
    ]))
}

fn operator() -> OverInOrder {
    let mut fields: Vec<_> = input().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("before", DataType::Int64, true)));
    let in_order = InOrder { time: 2, origin: TimeOrigin::default(), before: vec![0] };
    let spec = OverSpec {
        state_ttl_ns: None,
        horizon: None,
        input: Box::new(Plan::Source { name: "s".to_string(), schema: input() }),
        retracts: false,
        partition: vec![1],
        order: vec![OrderBy { column: 2, descending: false, nulls_first: false }],
        functions: Vec::new(),
        closes: None,
        in_order: Some(in_order.clone()),
        schema: Arc::new(Schema::new(fields)),
    };
    OverInOrder::new(&spec, &in_order).unwrap()
}

fn batch(rows: &[Row]) -> Batch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2))),
        Arc::new(StringArray::from_iter(rows.iter().map(|row| (row.0 > 0).then(|| format!("key {}", row.0))))),
        Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(|row| row.1))),
    ];
    Batch::append(RecordBatch::try_new(input(), columns).unwrap())
}

fn read(rows: &RecordBatch) -> Vec<Said> {
    let (values, keys) = (rows.column(0).as_primitive::<Int64Type>(), rows.column(1).as_string::<i32>());
    let times = rows.column(2).as_primitive::<TimestampMillisecondType>();
    let before = |row: usize| {
        let column = rows.columns().get(3)?.as_primitive::<Int64Type>();
        column.is_valid(row).then(|| column.value(row))
    };
    let key = |row: usize| if keys.is_null(row) { 0 } else { keys.value(row)[4..].parse().unwrap() };
    (0..rows.num_rows()).map(|row| ((key(row), times.value(row), values.value(row)), before(row))).collect()
}

/// One epoch: what is said, and what is late.
fn epoch(operator: &mut OverInOrder, rows: &[Row], before: i64, now: i64) -> (Vec<Said>, Vec<Said>) {
    let mark = |ms: i64| match ms {
        i64::MAX => Watermark::MAX,
        i64::MIN => Watermark::MIN,
        ms => Watermark(ms * MS),
    };
    let mut output = Output::default();
    operator.process(Epoch(1), Rows::unbounded(batch(rows)), &mut output).unwrap();
    operator
        .finish_epoch(Epoch(1), Times { before: mark(before), now: mark(now), reached: mark(now) }, &mut output)
        .unwrap();
    let said = output.sent.iter().flat_map(|(_, rows)| read(&rows.batch().unwrap().rows)).collect();
    (said, output.late.iter().flat_map(read).collect())
}

#[test]
fn rows_come_out_in_order_when_the_watermark_has_passed_them() {
    let mut operator = operator();
    let (said, _) = epoch(&mut operator, &[(1, 20, 2), (1, 10, 1), (2, 15, 7)], i64::MIN, 15);
    assert_eq!(said, [((1, 10, 1), None)]);
    // A row at the watermark may have company yet.
    let (said, late) = epoch(&mut operator, &[(1, 17, 5), (2, 15, 6), (1, 14, 0)], 15, 21);
    assert_eq!(said, [((1, 17, 5), Some(1)), ((1, 20, 2), Some(5)), ((2, 15, 6), None), ((2, 15, 7), Some(6))]);
    assert_eq!(late, [((1, 14, 0), None)]);
    assert_eq!(
        epoch(&mut operator, &[(0, 30, 1), (0, 31, 2)], 21, i64::MAX).0,
        [((0, 30, 1), None), ((0, 31, 2), Some(1))]
    );
    assert_eq!(operator.state().rows, 3);
}

#[test]
fn what_is_kept_does_not_grow_with_what_came() {
    let mut operator = operator();
    for now in 1..200 {
        let rows: Vec<Row> = (1..10).map(|key| (key, now * 10, now)).collect();
        epoch(&mut operator, &rows, (now - 1) * 10, now * 10);
        assert!(operator.state().rows <= 18, "{} rows are kept", operator.state().rows);
    }
}

/// The state of `operator` as another number of workers takes it on.
fn handed_over(operator: &mut OverInOrder, peers: usize) -> Vec<OverInOrder> {
    let sections: Vec<(String, usize, RecordBatch)> =
        operator.snapshot().unwrap().into_iter().map(|s| (s.label, s.keys, (s.rows)().unwrap())).collect();
    let restored = |index: usize| {
        let mut new = self::operator();
        let of_worker = |(label, keys, rows): &(String, usize, RecordBatch)| {
            let keys: Vec<usize> = (0..*keys).collect();
            Restored { label: label.clone(), rows: owned(rows, &keys, WorkerId { index, peers }).unwrap() }
        };
        new.restore(sections.iter().map(of_worker).collect(), Watermark::MIN).unwrap();
        new
    };
    (0..peers).map(restored).collect()
}

proptest! {
    #[test]
    fn it_says_what_sorting_everything_says(
        epochs in prop::collection::vec((prop::collection::vec((0..4u8, 0..40i64, 0..5i64), 0..8), 0..6i64, any::<bool>()), 1..15),
    ) {
        let mut workers = vec![operator()];
        let (mut said, mut timely) = (Vec::new(), Vec::new());
        let (mut before, mut now) = (i64::MIN, 0);
        for (rows, step, restart) in &epochs {
            let owner = |row: &Row, peers: usize| {
                let hashes = crate::exchange::hash_rows(&[batch(&[*row]).rows.column(1).clone()], 1).unwrap();
                crate::exchange::owner(hashes[0], peers)
            };
            now += step;
            let peers = workers.len();
            for (index, worker) in workers.iter_mut().enumerate() {
                let own: Vec<Row> = rows.iter().copied().filter(|row| owner(row, peers) == index).collect();
                let (new, late) = epoch(worker, &own, before, now);
                prop_assert!(late.iter().all(|(row, _)| row.1 < before));
                said.extend(new);
            }
            timely.extend(rows.iter().copied().filter(|row| row.1 >= before));
            before = now;
            if *restart && workers.len() == 1 {
                workers = handed_over(&mut workers[0], 3);
            }
        }
        for worker in &mut workers {
            said.extend(epoch(worker, &[], before, i64::MAX).0);
        }
        timely.sort_unstable();
        let model = timely.iter().enumerate().map(|(at, row)| {
            let previous = at.checked_sub(1).map(|at| timely[at]).filter(|previous| previous.0 == row.0);
            (*row, previous.map(|previous| previous.2))
        });
        said.sort_unstable();
        let mut expected: Vec<Said> = model.collect();
        expected.sort_unstable();
        prop_assert_eq!(said, expected);
    }
}

#[test]
fn the_row_before_is_forgotten_when_none_follows_for_too_long() {
    let mut operator = operator().forgetting(Some(Lifetimes::new(2, 1)));
    let mut run = |at: u64, rows: &[Row]| {
        let (mut output, mark) = (Output::default(), Watermark(at as i64 * 10 * MS));
        operator.process(Epoch(at), Rows::unbounded(batch(rows)), &mut output).unwrap();
        operator
            .finish_epoch(Epoch(at), Times { before: Watermark::MIN, now: mark, reached: mark }, &mut output)
            .unwrap();
        let said: Vec<Said> = output.sent.iter().flat_map(|(_, rows)| read(&rows.batch().unwrap().rows)).collect();
        (said, operator.state().rows)
    };
    assert_eq!(run(1, &[(1, 5, 1), (2, 6, 2)]), (vec![((1, 5, 1), None), ((2, 6, 2), None)], 2));
    assert_eq!(run(3, &[(1, 15, 3)]), (vec![((1, 15, 3), Some(1))], 2));
    assert_eq!(run(4, &[]), (vec![], 1));
    assert_eq!(run(5, &[(1, 45, 4), (2, 46, 5)]), (vec![((1, 45, 4), Some(3)), ((2, 46, 5), None)], 2));
}
