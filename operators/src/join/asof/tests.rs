//! As-of joins against a model that looks at all versions for each row.

use super::*;
use crate::exchange::owner;
use crate::operator::{Operator, Output, Times};
use crate::state::owned;
use arrow::array::{RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{Field, Schema, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_schemas::epoch::WorkerId;

/// Key, place, value. Versions of one key and place are alike in their values, so that it does not matter which is taken.
type Row = (Option<u8>, i64, i64);
type Changes = [Vec<(Row, i64)>; 2];

fn side_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Utf8, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Second, None), true),
        Field::new("v", DataType::Int64, true),
    ]))
}

fn spec(nearest: Nearest, outer: bool, retracts: [bool; 2]) -> AsofJoinSpec {
    let side = side_schema();
    let input = || Box::new(Plan::Source { name: "s".to_string(), schema: side.clone() });
    AsofJoinSpec {
        state_ttl_ns: None,
        horizon: None,
        left: input(),
        right: input(),
        left_retracts: retracts[0],
        right_retracts: retracts[1],
        keys: 1,
        left_at: 1,
        right_at: 1,
        nearest,
        outer,
        schema: Arc::new(Schema::new(side.fields().iter().chain(side.fields()).cloned().collect::<Vec<_>>())),
    }
}

fn batch_of(rows: &[(Row, i64)], retracts: bool) -> Batch {
    let keys = StringArray::from_iter(rows.iter().map(|((k, _, _), _)| k.map(|k| format!("key {k}"))));
    let at = arrow::array::TimestampSecondArray::from_iter_values(rows.iter().map(|((_, at, _), _)| *at));
    let values = Int64Array::from_iter_values(rows.iter().map(|((_, _, v), _)| *v));
    let batch = RecordBatch::try_new(side_schema(), vec![Arc::new(keys), Arc::new(at), Arc::new(values)]).unwrap();
    match retracts {
        true => Batch::changes(batch, Int64Array::from_iter_values(rows.iter().map(|(_, diff)| *diff))),
        false => Batch::append(batch),
    }
}

fn texts(rows: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL").with_timestamp_format(Some("%s"));
    let columns: Vec<_> = rows.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
    let line = |row| columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join("|");
    (0..rows.num_rows()).map(line).collect()
}

fn text(row: Option<&Row>) -> String {
    let key = |key: Option<u8>| key.map_or_else(|| "NULL".to_string(), |k| format!("key {k}"));
    row.map_or_else(|| "NULL|NULL|NULL".to_string(), |(k, at, v)| format!("{}|{at}|{v}", key(*k)))
}

fn model(nearest: Nearest, outer: bool, sides: &[BTreeMap<Row, i64>; 2]) -> BTreeMap<String, i64> {
    let mut lines = BTreeMap::new();
    for (left, copies) in &sides[0] {
        let of_key = sides[1].keys().filter(|right| left.0.is_some() && right.0 == left.0);
        let found = match nearest {
            Nearest::Before => of_key.filter(|right| right.1 < left.1).max_by_key(|right| right.1),
            Nearest::AtOrBefore => of_key.filter(|right| right.1 <= left.1).max_by_key(|right| right.1),
            Nearest::After => of_key.filter(|right| right.1 > left.1).min_by_key(|right| right.1),
            Nearest::AtOrAfter => of_key.filter(|right| right.1 >= left.1).min_by_key(|right| right.1),
        };
        if found.is_some() || outer {
            *lines.entry(format!("{}|{}", text(Some(left)), text(found))).or_default() += copies;
        }
    }
    lines
}

/// Runs one epoch on all workers; adds what is said to `heard`.
fn epoch(spec: &AsofJoinSpec, joins: &mut [AsofJoin], changes: &Changes, heard: &mut BTreeMap<String, i64>) {
    epoch_at(0, i64::MIN, spec, joins, changes, heard);
}

fn epoch_at(
    at: u64,
    reached_ns: i64,
    spec: &AsofJoinSpec,
    joins: &mut [AsofJoin],
    changes: &Changes,
    heard: &mut BTreeMap<String, i64>,
) {
    let (mut output, peers) = (Output::default(), joins.len());
    for (side, retracts) in [(0, spec.left_retracts), (1, spec.right_retracts)] {
        for part in changes[side].chunks(4) {
            let batch = batch_of(part, retracts);
            let hashes = hash_rows(&batch.rows.columns()[..1], batch.num_rows()).unwrap();
            for (worker, join) in joins.iter_mut().enumerate() {
                let own = (0..batch.num_rows() as u64).filter(|row| owner(hashes[*row as usize], peers) == worker);
                let own = Rows::unbounded(batch.take(&UInt64Array::from_iter_values(own)).unwrap());
                match side {
                    0 => join.process(Epoch(at), own, &mut output).unwrap(),
                    _ => join.process_second(Epoch(at), own, &mut output).unwrap(),
                }
            }
        }
    }
    let times = Times { before: Watermark::MIN, now: Watermark::MIN, reached: Watermark(reached_ns) };
    joins.iter_mut().for_each(|join| join.finish_epoch(Epoch(at), times, &mut output).unwrap());
    for (_, sent) in output.sent {
        let batch = sent.into_batch().unwrap();
        for (row, text) in texts(&batch.rows).into_iter().enumerate() {
            *heard.entry(text).or_default() += batch.diff(row);
        }
        heard.retain(|_, times| *times != 0);
    }
}

fn operator(spec: &AsofJoinSpec) -> AsofJoin {
    let lifetimes = spec.state_ttl_ns.map(|ttl_ns| crate::state_ttl::Lifetimes::new(ttl_ns, 1));
    AsofJoin::new(spec).unwrap().forgetting(lifetimes)
}

/// Workers that go on with another number from what a checkpoint keeps.
fn restarted(spec: &AsofJoinSpec, joins: &mut [AsofJoin], peers: usize) -> Vec<AsofJoin> {
    let mut kept = Vec::new();
    for section in joins.iter_mut().flat_map(|join| join.snapshot().unwrap()) {
        kept.push((section.label, section.keys, (section.rows)().unwrap()));
    }
    let restored = |index: usize| {
        let mut join = operator(spec);
        let own = kept.iter().map(|(label, keys, rows)| {
            let rows = owned(rows, &(0..*keys).collect::<Vec<_>>(), WorkerId { index, peers }).unwrap();
            Restored { label: label.clone(), rows }
        });
        join.restore(own.collect(), Watermark::MIN).unwrap();
        join
    };
    (0..peers).map(restored).collect()
}

/// Epochs of insertions, and of retractions of what was inserted before.
fn epochs() -> impl Strategy<Value = (Vec<Changes>, [bool; 2])> {
    let row = (prop::option::weighted(0.9, 0u8..4), 0i64..15, 0i64..3);
    let change = (any::<bool>(), row, any::<prop::sample::Index>(), prop::bool::weighted(0.4));
    let all = prop::collection::vec(prop::collection::vec(change, 0..25), 1..8);
    (all, any::<[bool; 2]>()).prop_map(|(epochs, retracts)| {
        let mut there: [Vec<Row>; 2] = Default::default();
        let epochs = epochs.into_iter().map(|changes| {
            let mut epoch: Changes = Default::default();
            for (right, (key, at, value), index, retract) in changes {
                let side = usize::from(right);
                if retracts[side] && retract && !there[side].is_empty() {
                    let at = index.index(there[side].len());
                    epoch[side].push((there[side].swap_remove(at), -1));
                } else {
                    let row = (key, at, if right { at * 10 } else { value });
                    there[side].push(row);
                    epoch[side].push((row, 1));
                }
            }
            epoch
        });
        (epochs.collect(), retracts)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn every_epoch_equals_a_recomputation(
        (epochs, retracts) in epochs(),
        nearest in prop::sample::select(&[Nearest::Before, Nearest::AtOrBefore, Nearest::After, Nearest::AtOrAfter][..]),
        outer in any::<bool>(),
    ) {
        let spec = spec(nearest, outer, retracts);
        let mut joins = vec![AsofJoin::new(&spec).unwrap(), AsofJoin::new(&spec).unwrap()];
        let mut sides: [BTreeMap<Row, i64>; 2] = Default::default();
        let mut heard = BTreeMap::new();
        for (number, changes) in epochs.iter().enumerate() {
            epoch(&spec, &mut joins, changes, &mut heard);
            for (side, changes) in changes.iter().enumerate() {
                changes.iter().for_each(|(row, diff)| *sides[side].entry(*row).or_default() += diff);
                sides[side].retain(|_, copies| *copies != 0);
            }
            prop_assert_eq!(&heard, &model(nearest, outer, &sides), "as of epoch {}", number);
            if number % 3 == 1 {
                joins = restarted(&spec, &mut joins, 1 + number % 4);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn keys_that_nothing_comes_for_are_forgotten(
        (epochs, retracts) in epochs(),
        nearest in prop::sample::select(&[Nearest::Before, Nearest::AtOrBefore, Nearest::After, Nearest::AtOrAfter][..]),
        outer in any::<bool>(),
    ) {
        let spec = AsofJoinSpec { state_ttl_ns: Some(2), ..spec(nearest, outer, retracts) };
        let mut joins = vec![operator(&spec), operator(&spec)];
        let mut sides: [BTreeMap<Row, i64>; 2] = Default::default();
        let (mut heard, mut touched) = (BTreeMap::new(), BTreeMap::<Option<u8>, u64>::new());
        let quiet = Changes::default();
        let spread = epochs.iter().enumerate().flat_map(|(at, changes)| std::iter::repeat_n(&quiet, at % 3).chain([changes]));
        for (number, changes) in (0u64..).zip(spread.chain([&quiet; 4])) {
            epoch_at(number, i64::MIN, &spec, &mut joins, changes, &mut heard);
            for coming in [true, false] {
                for (side, changes) in changes.iter().enumerate() {
                    for (row, diff) in changes.iter().filter(|(_, diff)| (*diff > 0) == coming) {
                        let copies = sides[side].entry(*row).or_default();
                        // Only what is there can be taken back.
                        if *copies + diff >= 0 {
                            *copies += diff;
                            touched.insert(row.0, number);
                        }
                    }
                    sides[side].retain(|_, copies| *copies != 0);
                }
            }
            let alive = |key: &Option<u8>| touched.get(key).is_some_and(|at| number - at <= 2);
            sides.iter_mut().for_each(|side| side.retain(|(key, ..), _| key.is_none() || alive(key)));
            prop_assert_eq!(&heard, &model(nearest, outer, &sides), "as of epoch {}", number);
            if number % 3 == 1 {
                joins = restarted(&spec, &mut joins, 1 + number as usize % 4);
            }
        }
        prop_assert!(joins.iter().all(|join| join.state().rows == 0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Beside the same join without a horizon, of rows for which nothing comes that is behind: within the horizon they say the
    /// same, what is behind stays, and of each key one version does.
    #[test]
    fn what_is_behind_a_horizon_is_forgotten(
        steps in prop::collection::vec(
            (prop::collection::vec((any::<bool>(), 0u8..4, 1i64..12, 0i64..3, any::<prop::sample::Index>(), prop::bool::weighted(0.3)), 0..20),
             0i64..5), 1..10),
        nearest in prop::sample::select(&[Nearest::Before, Nearest::AtOrBefore][..]),
        outer in any::<bool>(),
    ) {
        const KEEP: i64 = 4;
        const SECOND: i64 = 1_000_000_000;
        let whole = spec(nearest, outer, [true, true]);
        let horizon = Horizon { column: 1, keep_ns: KEEP * SECOND, origin: Default::default() };
        let bounded = AsofJoinSpec { horizon: Some(horizon), ..whole.clone() };
        let (mut joins, mut others) = (vec![operator(&bounded), operator(&bounded)], vec![operator(&whole)]);
        let (mut heard, mut expected) = (BTreeMap::new(), BTreeMap::new());
        let (mut there, mut reached, mut behind) = ([Vec::new(), Vec::new()], 0, BTreeMap::new());
        let parted = |heard: &BTreeMap<String, i64>, bound: i64| -> [BTreeMap<String, i64>; 2] {
            let is_behind = |line: &String| line.split('|').nth(1).unwrap().parse::<i64>().unwrap() <= bound;
            let (behind, within) = heard.clone().into_iter().partition(|(line, _)| is_behind(line));
            [behind, within]
        };
        for (number, (changes, step)) in (0u64..).zip(steps) {
            let bound = reached - KEEP;
            let mut epoch = Changes::default();
            for (right, key, time, value, index, retract) in changes {
                let side = usize::from(right);
                let reach: Vec<usize> = (0..there[side].len()).filter(|at| { let row: &Row = &there[side][*at]; row.1 > bound }).collect();
                if retract && !reach.is_empty() {
                    let row = there[side].swap_remove(reach[index.index(reach.len())]);
                    epoch[side].push((row, -1));
                } else {
                    let row = (Some(key), bound + time, if right { (bound + time) * 10 } else { value });
                    there[side].push(row);
                    epoch[side].push((row, 1));
                }
            }
            reached += step;
            epoch_at(number, reached * SECOND, &bounded, &mut joins, &epoch, &mut heard);
            epoch_at(number, reached * SECOND, &whole, &mut others, &epoch, &mut expected);
            let [left, within] = parted(&heard, bound);
            prop_assert_eq!(&left, &behind, "what is behind changes in epoch {}", number);
            prop_assert_eq!(&within, &parted(&expected, bound)[1], "within the horizon in epoch {}", number);
            [behind, _] = parted(&heard, reached - KEEP);
            if number % 3 == 1 {
                joins = restarted(&bounded, &mut joins, 1 + number as usize % 4);
            }
        }
        epoch_at(1_000, 1_000_000 * SECOND, &bounded, &mut joins, &Changes::default(), &mut heard);
        prop_assert!(joins.iter().map(|join| join.state().rows).sum::<u64>() <= 4);
    }
}

#[test]
fn what_is_taken_back_gives_its_memory_back() {
    let spec = spec(Nearest::AtOrBefore, true, [true, true]);
    let mut joins = vec![AsofJoin::new(&spec).unwrap()];
    let rows: Vec<Row> = (0..10_000).map(|i| (Some((i % 200) as u8), i, i)).collect();
    let side = |diff: i64| rows.iter().map(|row| (*row, diff)).collect::<Vec<_>>();
    let mut heard = BTreeMap::new();
    epoch(&spec, &mut joins, &[side(1), side(1)], &mut heard);
    let full = joins[0].state();
    assert_eq!((full.rows, heard.len()), (20_000, 10_000));
    assert!(full.bytes / full.rows < 200, "{} bytes a row", full.bytes / full.rows);
    epoch(&spec, &mut joins, &[side(-1), side(-1)], &mut heard);
    let empty = joins[0].state();
    assert_eq!((empty.rows, heard.len()), (0, 0));
    assert!(empty.bytes < full.bytes / 10, "{} bytes of {}", empty.bytes, full.bytes);
}

#[test]
fn two_versions_at_one_place_are_chosen_from_whatever_came_first() {
    let spec = spec(Nearest::AtOrBefore, false, [false, true]);
    let versions: [Row; 2] = [(Some(1), 5, 50), (Some(1), 5, 51)];
    let answer = |order: [usize; 2]| {
        let mut joins = vec![AsofJoin::new(&spec).unwrap()];
        let mut heard = BTreeMap::new();
        epoch(&spec, &mut joins, &[vec![((Some(1), 7, 0), 1)], Vec::new()], &mut heard);
        for at in order {
            epoch(&spec, &mut joins, &[Vec::new(), vec![(versions[at], 1)]], &mut heard);
        }
        heard
    };
    assert_eq!(answer([0, 1]), answer([1, 0]));
    assert_eq!(answer([0, 1]).len(), 1);
}
