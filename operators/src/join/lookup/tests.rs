//! Lookup joins against a model that knows the table as of each epoch, with restarts in between.

use super::super::tests::taking_back;
use super::*;
use crate::exchange::owner;
use crate::state::owned;
use arrow::array::{Int64Array, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion_expr::Operator as Op;
use datafusion_physical_expr::expressions::{BinaryExpr, Column};
use proptest::prelude::*;
use std::collections::BTreeMap;
use thalweg_schemas::epoch::WorkerId;

/// Key and value.
pub(super) type Row = (Option<u8>, i64);
/// Left rows, and what comes (1) or goes (-1) of the right side.
type Changes = (Vec<Row>, Vec<(Row, i64)>);

fn side() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("k", DataType::Utf8, true), Field::new("v", DataType::Int64, true)]))
}

pub(super) fn spec(outer: bool, filtered: bool, waits: bool) -> LookupJoinSpec {
    let side = side();
    let input = || Box::new(Plan::Source { name: "s".to_string(), schema: side.clone() });
    let column = |at| Arc::new(Column::new("v", at)) as Arc<dyn PhysicalExpr>;
    let table = || ("t".to_string(), 0);
    LookupJoinSpec {
        left: input(),
        right: input(),
        left_retracts: false,
        right_retracts: true,
        keys: 1,
        outer,
        filter: filtered.then(|| Arc::new(BinaryExpr::new(column(1), Op::LtEq, column(3))) as _),
        waits_for: TimeOrigin { sources: waits.then(table).into_iter().collect() },
        asked: None,
        schema: Arc::new(Schema::new(side.fields().iter().chain(side.fields()).cloned().collect::<Vec<_>>())),
    }
}

pub(super) fn batch_of(rows: &[Row]) -> RecordBatch {
    let keys = StringArray::from_iter(rows.iter().map(|(k, _)| k.map(|k| format!("key {k}"))));
    let values = Int64Array::from_iter_values(rows.iter().map(|(_, v)| *v));
    RecordBatch::try_new(side(), vec![Arc::new(keys), Arc::new(values)]).unwrap()
}

pub(super) fn lines(rows: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<_> = rows.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
    let line = |row| columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join("|");
    (0..rows.num_rows()).map(line).collect()
}

/// What is to be said of one left row, with the right side as it is.
pub(super) fn model(left: &Row, right: &BTreeMap<Row, i64>, spec: &LookupJoinSpec) -> Vec<String> {
    let text = |(key, value): &Row| format!("{}|{value}", key.map_or("NULL".to_string(), |k| format!("key {k}")));
    let matches = |row: &&Row| left.0.is_some() && row.0 == left.0 && (spec.filter.is_none() || left.1 <= row.1);
    let found = right.iter().filter(|(row, _)| matches(row));
    let found =
        found.flat_map(|(row, copies)| std::iter::repeat_n(format!("{}|{}", text(left), text(row)), *copies as usize));
    let found: Vec<String> = found.collect();
    if found.is_empty() && spec.outer { vec![format!("{}|NULL|NULL", text(left))] } else { found }
}

/// Hands rows of one side to the workers whose keys they have.
pub(super) fn hand_over(joins: &mut [LookupJoin], second: bool, batch: &Batch, output: &mut Output) {
    let (hashes, peers) = (hash_rows(&batch.rows.columns()[..1], batch.num_rows()).unwrap(), joins.len());
    for (worker, join) in joins.iter_mut().enumerate() {
        let own = (0..batch.num_rows() as u64).filter(|row| owner(hashes[*row as usize], peers) == worker);
        let own = Rows::unbounded(batch.take(&UInt64Array::from_iter_values(own)).unwrap());
        match second {
            false => join.process(Epoch(1), own, output).unwrap(),
            true => join.process_second(Epoch(1), own, output).unwrap(),
        }
    }
}

/// Runs one epoch on all workers; what is said.
fn epoch(joins: &mut [LookupJoin], (left, right): &Changes, loaded: bool) -> Vec<String> {
    let mut output = Output::default();
    // The left rows come first, and are looked up in what comes behind them all the same.
    left.chunks(3).for_each(|part| hand_over(joins, false, &Batch::append(batch_of(part)), &mut output));
    let rows: Vec<Row> = right.iter().map(|(row, _)| *row).collect();
    let diffs = right.iter().map(|(_, diff)| *diff).collect::<Vec<i64>>();
    hand_over(joins, true, &Batch::changes(batch_of(&rows), diffs.into()), &mut output);
    let now = if loaded { Watermark::MAX } else { Watermark::MIN };
    let times = Times { before: Watermark::MIN, now, reached: Watermark::MIN };
    joins.iter_mut().for_each(|join| join.finish_epoch(Epoch(1), times, &mut output).unwrap());
    assert!(output.dead.is_empty());
    let sent = output.sent.into_iter().map(|(_, rows)| rows.into_batch().unwrap());
    let mut said: Vec<String> = sent
        .flat_map(|batch| {
            assert!(batch.diffs.is_none(), "nothing is ever taken back");
            lines(&batch.rows)
        })
        .collect();
    said.sort();
    said
}

/// Workers that go on with another number from what a checkpoint keeps.
pub(super) fn restarted(spec: &LookupJoinSpec, joins: &mut [LookupJoin], peers: usize) -> Vec<LookupJoin> {
    let sections = joins.iter_mut().flat_map(|join| join.snapshot().unwrap());
    let kept: Vec<_> = sections.map(|s| (s.label, s.keys, (s.rows)().unwrap())).collect();
    let restored = |index: usize| {
        let mut join = LookupJoin::new(spec).unwrap();
        let own = kept.iter().map(|(label, keys, rows)| {
            let rows = owned(rows, &(0..*keys).collect::<Vec<_>>(), WorkerId { index, peers }).unwrap();
            Restored { label: label.clone(), rows }
        });
        join.restore(own.collect(), Watermark::MIN).unwrap();
        join
    };
    (0..peers).map(restored).collect()
}

/// Epochs of left rows and of a right side that changes; a retraction takes back what is there.
fn epochs() -> impl Strategy<Value = Vec<Changes>> {
    let row = || (prop::option::weighted(0.9, 0u8..5), 0i64..6);
    let change = (row(), any::<prop::sample::Index>(), prop::bool::weighted(0.4));
    let one = (prop::collection::vec(row(), 0..10), prop::collection::vec(change, 0..8));
    prop::collection::vec(one, 1..9).prop_map(|epochs| {
        let mut there: Vec<Row> = Vec::new();
        let epoch = |(left, changes): (Vec<Row>, Vec<(Row, prop::sample::Index, bool)>)| {
            (left, taking_back(&mut there, changes))
        };
        epochs.into_iter().map(epoch).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn every_row_is_given_once_with_the_table_as_of_its_epoch(
        epochs in epochs(), outer in any::<bool>(), filtered in any::<bool>(), unloaded in 0usize..4,
    ) {
        let spec = spec(outer, filtered, unloaded > 0);
        let mut joins = vec![LookupJoin::new(&spec).unwrap(), LookupJoin::new(&spec).unwrap()];
        let (mut right, mut waiting) = (BTreeMap::new(), Vec::new());
        for (number, changes) in epochs.iter().enumerate() {
            for (row, diff) in &changes.1 {
                *right.entry(*row).or_default() += diff;
            }
            right.retain(|_, copies| *copies != 0);
            let loaded = number >= unloaded;
            let said = epoch(&mut joins, changes, loaded);
            // A row without a key waits for nothing.
            let (keyed, keyless): (Vec<Row>, Vec<Row>) = changes.0.iter().partition(|row| row.0.is_some());
            waiting.extend(keyed);
            let due = if loaded { std::mem::take(&mut waiting) } else { Vec::new() };
            let mut expected: Vec<String> =
                due.iter().chain(&keyless).flat_map(|left| model(left, &right, &spec)).collect();
            expected.sort();
            prop_assert_eq!(said, expected, "in epoch {}", number);
            let held = right.keys().filter(|row| row.0.is_some()).count() + waiting.len();
            prop_assert_eq!(joins.iter().map(|join| join.state().rows).sum::<u64>(), held as u64);
            if number % 3 == 1 {
                joins = restarted(&spec, &mut joins, 1 + number % 4);
            }
        }
    }
}

#[test]
fn what_is_asked_for_and_not_there_takes_no_memory_for_long() {
    let spec = spec(true, false, false);
    let mut joins = vec![LookupJoin::new(&spec).unwrap()];
    epoch(&mut joins, &(Vec::new(), vec![((Some(1), 1), 1)]), true);
    let schema = side();
    for round in 0..50 {
        let keys = StringArray::from_iter_values((0..2_000).map(|n| format!("none {round} {n}")));
        let rows =
            RecordBatch::try_new(schema.clone(), vec![Arc::new(keys), Arc::new(Int64Array::from(vec![0; 2_000]))]);
        let mut output = Output::default();
        joins[0].process(Epoch(1), Rows::unbounded(Batch::append(rows.unwrap())), &mut output).unwrap();
        let times = Times { before: Watermark::MIN, now: Watermark::MIN, reached: Watermark::MIN };
        joins[0].finish_epoch(Epoch(1), times, &mut output).unwrap();
        assert_eq!(output.sent.iter().map(|(_, rows)| rows.num_rows()).sum::<usize>(), 2_000);
        assert!(joins[0].keys.len() <= 4_000, "{} keys are kept", joins[0].keys.len());
    }
    assert_eq!(joins[0].state().rows, 1);
}
