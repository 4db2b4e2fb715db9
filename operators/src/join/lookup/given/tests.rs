//! Left rows that are taken back, against a model that knows the answer of each, with restarts in between.

use super::super::super::tests::taking_back;
use super::super::tests::{Row, batch_of, hand_over, lines, model, restarted, spec};
use super::super::{LookupJoin, LookupJoinSpec};
use crate::operator::{Operator, Output, Times};
use proptest::prelude::*;
use std::collections::BTreeMap;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, Watermark};

/// What comes (1) or goes (-1) of both sides.
type Changes = (Vec<(Row, i64)>, Vec<(Row, i64)>);

/// Runs one epoch on all workers; how often each line is there more than before.
fn epoch(joins: &mut [LookupJoin], (left, right): &Changes) -> BTreeMap<String, i64> {
    let mut output = Output::default();
    let mut hand = |second: bool, changes: &[(Row, i64)]| {
        let rows: Vec<Row> = changes.iter().map(|(row, _)| *row).collect();
        let diffs = changes.iter().map(|(_, diff)| *diff).collect::<Vec<i64>>();
        hand_over(joins, second, &Batch::changes(batch_of(&rows), diffs.into()), &mut output);
    };
    left.chunks(3).for_each(|part| hand(false, part));
    hand(true, right);
    let times = Times { before: Watermark::MIN, now: Watermark::MIN, reached: Watermark::MIN };
    joins.iter_mut().for_each(|join| join.finish_epoch(Epoch(1), times, &mut output).unwrap());
    let mut said: BTreeMap<String, i64> = BTreeMap::new();
    for batch in output.sent.into_iter().map(|(_, rows)| rows.into_batch().unwrap()) {
        for (row, line) in lines(&batch.rows).into_iter().enumerate() {
            *said.entry(line).or_default() += batch.diff(row);
        }
    }
    said
}

/// Changes of a side, of which a retraction takes back what is there.
fn changes() -> impl Strategy<Value = Vec<(Row, prop::sample::Index, bool)>> {
    let row = (prop::option::weighted(0.9, 0u8..4), 0i64..4);
    prop::collection::vec((row, any::<prop::sample::Index>(), prop::bool::weighted(0.45)), 0..9)
}

/// The answer of each left row that is there, and how often it is.
type Known = BTreeMap<Row, (i64, Vec<String>)>;

/// Takes in the left changes of an epoch: what comes before what goes.
fn expected(known: &mut Known, left: &[(Row, i64)], right: &BTreeMap<Row, i64>, spec: &LookupJoinSpec) {
    for (row, _) in left.iter().filter(|(_, diff)| *diff > 0) {
        known.entry(*row).or_insert_with(|| (0, model(row, right, spec))).0 += 1;
    }
    for (row, _) in left.iter().filter(|(_, diff)| *diff < 0) {
        known.entry(*row).and_modify(|(copies, _)| *copies -= 1);
    }
    known.retain(|_, (copies, _)| *copies > 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn what_was_given_for_a_row_goes_with_it_whatever_is_there_now(
        epochs in prop::collection::vec((changes(), changes()), 1..9), outer in any::<bool>(), filtered in any::<bool>(),
    ) {
        let spec = LookupJoinSpec { left_retracts: true, ..spec(outer, filtered, false) };
        let mut joins = vec![LookupJoin::new(&spec).unwrap(), LookupJoin::new(&spec).unwrap()];
        let (mut lefts, mut rights, mut right) = (Vec::new(), Vec::new(), BTreeMap::new());
        let (mut known, mut shown): (Known, BTreeMap<String, i64>) = Default::default();
        for (number, (left, table)) in epochs.into_iter().enumerate() {
            let changes = (taking_back(&mut lefts, left), taking_back(&mut rights, table));
            for (row, diff) in &changes.1 {
                *right.entry(*row).or_default() += diff;
            }
            right.retain(|_, copies| *copies != 0);
            expected(&mut known, &changes.0, &right, &spec);
            for (line, diff) in epoch(&mut joins, &changes) {
                *shown.entry(line).or_default() += diff;
            }
            shown.retain(|_, copies| *copies != 0);
            let mut wanted: BTreeMap<String, i64> = BTreeMap::new();
            for (copies, answer) in known.values() {
                answer.iter().for_each(|line| *wanted.entry(line.clone()).or_default() += copies);
            }
            prop_assert_eq!(&shown, &wanted, "in epoch {}", number);
            if number % 3 == 1 {
                joins = restarted(&spec, &mut joins, 1 + number % 4);
            }
        }
    }
}

#[test]
fn rows_that_were_taken_back_give_their_memory_back() {
    let spec = LookupJoinSpec { left_retracts: true, ..spec(true, false, false) };
    let mut joins = vec![LookupJoin::new(&spec).unwrap()];
    let mut most = 0;
    for round in 0..15i64 {
        let rows: Vec<Row> = (0..2_000).map(|n| (Some((n % 200) as u8), round * 2_000 + n)).collect();
        let of = |diff| rows.iter().map(|row| (*row, diff)).collect::<Vec<_>>();
        epoch(&mut joins, &(of(1), Vec::new()));
        if round == 3 {
            most = joins[0].state().bytes;
        }
        epoch(&mut joins, &(of(-1), Vec::new()));
    }
    assert_eq!(joins[0].state().rows, 0);
    assert!(joins[0].state().bytes <= 2 * most, "{} bytes are held for nothing, {most} once", joins[0].state().bytes);
}
