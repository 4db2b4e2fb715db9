//! A table that is asked, against a model of it: it answers late, fails, and changes meanwhile; answers are forgotten; the
//! process crashes, goes on from a checkpoint and takes in once more what came since.

use super::super::tests::{Row, batch_of, lines, spec};
use super::super::{LookupJoin, LookupJoinSpec};
use super::{AskedSpec, HOLDS};
use crate::operator::{Operator, Output, Times};
use crate::plan::TimeOrigin;
use crate::rows::Rows;
use crate::state::Restored;
use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, Watermark};
use thalweg_schemas::questions::Questions;

const TICK_NS: i64 = 1_000;

fn spec_of(rows: u64, ttl: i64, outer: bool, left_retracts: bool) -> LookupJoinSpec {
    let asked = AskedSpec { rows, ttl_ns: ttl * TICK_NS, origin: TimeOrigin::default() };
    LookupJoinSpec { asked: Some(asked), left_retracts, ..spec(outer, false, false) }
}

fn questions() -> Arc<Questions> {
    Arc::new(Questions::new(Arc::new(Schema::new(vec![Field::new("k", DataType::Utf8, true)]))).unwrap())
}

fn join(spec: &LookupJoinSpec, questions: &Arc<Questions>) -> LookupJoin {
    LookupJoin::new(spec).unwrap().asking(spec.asked.as_ref().unwrap(), questions.clone(), 1, TICK_NS)
}

/// The answers for keys: of each that there is no row, and behind it the row, if there is one.
fn answers(keys: &[u8], table: &BTreeMap<u8, i64>) -> Batch {
    let none = keys.iter().map(|key| ((Some(*key), 0), -1));
    let there = keys.iter().filter_map(|key| Some(((Some(*key), *table.get(key)?), 1)));
    let (rows, diffs): (Vec<Row>, Vec<i64>) = none.chain(there).unzip();
    Batch::changes(batch_of(&rows), diffs.into())
}

/// What came in one epoch: left rows that come or go, and answers.
#[derive(Clone, Default)]
struct Came {
    left: Vec<(Row, i64)>,
    answers: Vec<Batch>,
}

/// What is said in an epoch: rows, and since when what waits holds the watermark, if that is news.
type Said = (Vec<(String, i64)>, Option<Option<i64>>);

/// Runs an epoch, before which the watermark is its number.
fn run(join: &mut LookupJoin, epoch: u64, came: &Came) -> Said {
    let mut output = Output::default();
    let rows: Vec<Row> = came.left.iter().map(|(row, _)| *row).collect();
    let diffs: Vec<i64> = came.left.iter().map(|(_, diff)| *diff).collect();
    let batch = match join.given.is_some() {
        true => Batch::changes(batch_of(&rows), diffs.into()),
        false => Batch::append(batch_of(&rows)),
    };
    join.process(Epoch(epoch), Rows::unbounded(batch), &mut output).unwrap();
    for answers in &came.answers {
        join.process_second(Epoch(epoch), Rows::unbounded(answers.clone()), &mut output).unwrap();
    }
    let (before, now) = (Watermark(epoch as i64), Watermark(epoch as i64 + 1));
    join.finish_epoch(Epoch(epoch), Times { before, now, reached: now }, &mut output).unwrap();
    let (mut said, mut holds) = (Vec::new(), None);
    for (port, rows) in output.sent {
        let batch = rows.into_batch().unwrap();
        if port == HOLDS {
            let since = batch.rows.column(0).as_primitive::<Int64Type>();
            holds = Some(since.is_valid(0).then(|| since.value(0)));
        } else {
            said.extend(lines(&batch.rows).into_iter().enumerate().map(|(row, line)| (line, batch.diff(row))));
        }
    }
    said.sort();
    (said, holds)
}

fn restarted(spec: &LookupJoinSpec, join_: &mut LookupJoin, questions: &Arc<Questions>) -> LookupJoin {
    let sections = join_.snapshot().unwrap();
    let kept = sections.into_iter().map(|s| Restored { label: s.label, rows: (s.rows)().unwrap() });
    let mut fresh = join(spec, questions);
    fresh.restore(kept.collect(), Watermark::MIN).unwrap();
    fresh
}

/// The keys that the table is asked for now.
fn asked(questions: &Questions) -> Vec<u8> {
    let Some(taken) = questions.take(100, Duration::ZERO).unwrap() else { return Vec::new() };
    let keys = taken.keys.column(0).as_string::<i32>();
    keys.iter().map(|key| key.unwrap().strip_prefix("key ").unwrap().parse().unwrap()).collect()
}

/// In each epoch: left keys that come, whether the table answers what it was asked, and a row of it that changes.
fn epochs() -> impl Strategy<Value = Vec<(Vec<u8>, bool, (u8, Option<i64>))>> {
    let change = (0u8..6, prop::option::weighted(0.8, 10i64..99));
    prop::collection::vec((prop::collection::vec(0u8..6, 0..6), prop::bool::weighted(0.6), change), 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn each_row_is_given_once_by_an_answer_that_is_new_enough_and_replay_gives_the_same(
        epochs in epochs(), rows in 1u64..5, ttl in 1i64..6, outer in any::<bool>(), crash in 0usize..25,
    ) {
        let (spec, questions) = (spec_of(rows, ttl, outer, false), questions());
        let mut running = join(&spec, &questions);
        let (mut table, mut open): (BTreeMap<u8, i64>, Vec<u8>) = Default::default();
        // What the table said of each key in which epoch.
        let mut told: BTreeMap<u8, Vec<(u64, Option<i64>)>> = BTreeMap::new();
        let (mut log, mut said): (Vec<(u64, Came)>, Vec<Said>) = Default::default();
        let (mut waiting, mut number, mut checkpoint): (Vec<(u64, Row)>, i64, Option<(usize, Vec<Restored>)>) = Default::default();
        let last = epochs.len() as u64;
        let rest = (last..last + 2).map(|_| (Vec::new(), true, (0, None)));
        for (epoch, (keys, answered, (key, value))) in (1..).zip(epochs.into_iter().chain(rest)) {
            match value {
                Some(value) => drop(table.insert(key, value)),
                None => drop(table.remove(&key)),
            }
            open.extend(asked(&questions));
            let mut came = Came::default();
            if answered && !open.is_empty() {
                came.answers.push(answers(&open, &table));
                for key in open.drain(..) {
                    told.entry(key).or_default().push((epoch, table.get(&key).copied()));
                }
            }
            for key in keys {
                number += 1;
                came.left.push(((Some(key), number), 1));
                waiting.push((epoch, (Some(key), number)));
            }
            let (lines, holds) = run(&mut running, epoch, &came);
            // Each line is of a row that waited, and says what the table said not too long ago, or just now.
            for (line, _) in &lines {
                let place = waiting.iter().position(|(_, (key, number))| line.starts_with(&format!("key {}|{number}|", key.unwrap())));
                let (since, (key, number)) = waiting.remove(place.expect("no line comes twice"));
                let key = key.unwrap();
                let value = |value: Option<i64>| match value {
                    Some(value) => format!("key {key}|{number}|key {key}|{value}"),
                    None => format!("key {key}|{number}|NULL|NULL"),
                };
                let told = told.get(&key).and_then(|told| told.last()).copied();
                let (at, what) = told.expect("it was answered");
                prop_assert_eq!(line, &value(what));
                prop_assert!(at == epoch || since == epoch && epoch - at < ttl as u64, "an answer of {} in {}", at, epoch);
            }
            if let (Some(holds), true) = (holds, outer) {
                prop_assert_eq!(holds, waiting.iter().map(|(since, _)| *since as i64).min());
            }
            log.push((epoch, came));
            said.push((lines, holds));
            if log.len() == crash {
                let kept = running.snapshot().unwrap().into_iter();
                let kept = kept.map(|s| Restored { label: s.label, rows: (s.rows)().unwrap() });
                checkpoint = Some((crash, kept.collect()));
            }
        }
        prop_assert!(!outer || waiting.is_empty(), "{:?} wait for ever", waiting);
        prop_assert!(running.held[1].len() as u64 <= rows);
        if let Some((from, kept)) = checkpoint {
            let mut again = join(&spec, &self::questions());
            again.restore(kept, Watermark::MIN).unwrap();
            for ((epoch, came), (lines, _)) in log[from..].iter().zip(&said[from..]) {
                prop_assert_eq!(&run(&mut again, *epoch, came).0, lines, "in epoch {}", epoch);
            }
        }
    }
}

#[test]
fn a_row_that_waits_holds_the_watermark_and_is_asked_for_again_after_a_restart() {
    let (spec, first) = (spec_of(10, 100, true, false), questions());
    let mut running = join(&spec, &first);
    assert!(running.wake_at().is_some(), "whoever listens waits to hear that nothing waits");
    assert_eq!(run(&mut running, 1, &Came::default()), (Vec::new(), Some(None)));
    assert!(running.wake_at().is_none());
    let left = |key, number| Came { left: vec![((Some(key), number), 1)], ..Came::default() };
    assert_eq!(run(&mut running, 2, &left(1, 1)), (Vec::new(), Some(Some(2))));
    assert_eq!(run(&mut running, 3, &left(2, 2)), (Vec::new(), None));
    assert_eq!(asked(&first), [1, 2]);
    let second = questions();
    let mut running = restarted(&spec, &mut running, &second);
    assert_eq!(run(&mut running, 4, &left(1, 3)), (Vec::new(), Some(Some(2))));
    assert_eq!(asked(&second), [1, 2], "a key is asked for once");
    assert!(!second.is_empty());
    let answered = |keys: &[u8]| Came { answers: vec![answers(keys, &BTreeMap::from([(1, 7)]))], ..Came::default() };
    let (said, holds) = run(&mut running, 5, &answered(&[1]));
    assert_eq!(said, [("key 1|1|key 1|7".to_string(), 1), ("key 1|3|key 1|7".to_string(), 1)]);
    assert_eq!(holds, Some(Some(3)));
    assert_eq!(run(&mut running, 6, &answered(&[2])), (vec![("key 2|2|NULL|NULL".to_string(), 1)], Some(None)));
    assert!(second.is_empty());
    assert_eq!((second.counts().hits, second.counts().misses), (0, 1));
    assert_eq!(run(&mut running, 7, &left(2, 4)).0, [("key 2|4|NULL|NULL".to_string(), 1)]);
    assert_eq!(second.counts().hits, 1);
}

#[test]
fn what_is_taken_back_while_it_waits_is_never_given_and_what_was_given_goes() {
    let (spec, questions) = (spec_of(10, 2, false, true), questions());
    let mut running = join(&spec, &questions);
    let left = |changes: &[(Row, i64)]| Came { left: changes.to_vec(), ..Came::default() };
    let (one, two) = ((Some(1), 1), (Some(1), 2));
    run(&mut running, 1, &left(&[(one, 1), (two, 1), (two, 1)]));
    let mut running = restarted(&spec, &mut running, &questions);
    assert!(run(&mut running, 2, &left(&[(one, -1), (two, -1)])).0.is_empty());
    let answered = |value| Came { answers: vec![answers(&[1], &BTreeMap::from([(1, value)]))], ..Came::default() };
    assert_eq!(run(&mut running, 3, &answered(7)).0, [("key 1|2|key 1|7".to_string(), 1)]);
    // An answer stands for its time, whatever else is heard. A newer one corrects nothing, and does not count for rows that
    // are alike one that has its answer.
    assert!(run(&mut running, 4, &answered(9)).0.is_empty());
    let three = (Some(1), 3);
    assert_eq!(run(&mut running, 4, &left(&[(three, 1)])).0, [("key 1|3|key 1|7".to_string(), 1)]);
    assert_eq!(run(&mut running, 5, &left(&[(three, -1)])).0, [("key 1|3|key 1|7".to_string(), -1)]);
    assert!(run(&mut running, 5, &answered(8)).0.is_empty());
    assert_eq!(
        run(&mut running, 6, &left(&[(one, 1), (two, 1)])).0,
        [("key 1|1|key 1|8".to_string(), 1), ("key 1|2|key 1|7".to_string(), 1)]
    );
    let mut running = restarted(&spec, &mut running, &questions);
    assert_eq!(run(&mut running, 7, &left(&[(two, -1), (two, -1)])).0, [("key 1|2|key 1|7".to_string(), -2)]);
    assert_eq!(run(&mut running, 8, &left(&[(one, -1)])).0, [("key 1|1|key 1|8".to_string(), -1)]);
    assert_eq!(running.state().rows, 1, "the answer");
}
