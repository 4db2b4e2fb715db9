//! Joins against a model that keeps all rows and compares each with each.

mod horizon;

use super::*;
use crate::exchange::{hash_rows, owner};
use crate::operator::{Operator, Output, Times};
use crate::plan::Read;
use crate::rows::Rows;
use crate::state::{Restored, owned};
use arrow::array::{Int64Array, RecordBatch, StringArray, TimestampNanosecondArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion_expr::Operator as Comparison;
use datafusion_physical_expr::expressions::{Column, binary};
use proptest::prelude::*;
use std::collections::BTreeMap;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, Watermark, WorkerId};

const KINDS: [JoinKind; 7] =
    [JoinKind::Inner, JoinKind::Left, JoinKind::Right, JoinKind::Full, JoinKind::Semi, JoinKind::Anti, JoinKind::Mark];
const SECOND: i64 = 1_000_000_000;

/// Key, seconds, value.
type Row = (Option<u8>, i64, Option<i64>);
/// The changes of both sides in one epoch, and the watermark at its end in seconds.
type Changes = ([Vec<(Row, i64)>; 2], i64);

/// Changes of rows, each drawn with whether a row goes instead, and which of those that are `there`.
pub(super) fn taking_back<R: Copy>(there: &mut Vec<R>, drawn: Vec<(R, prop::sample::Index, bool)>) -> Vec<(R, i64)> {
    let change = |(row, index, gone): (R, prop::sample::Index, bool)| match gone && !there.is_empty() {
        true => (there.swap_remove(index.index(there.len())), -1),
        false => {
            there.push(row);
            (row, 1)
        }
    };
    drawn.into_iter().map(change).collect()
}

/// What is tried.
#[derive(Clone, Debug)]
struct Case {
    kind: JoinKind,
    keys: usize,
    nulls: NullKeys,
    filter: bool,
    within: Option<(i64, i64)>,
    retracts: [bool; 2],
}

fn side_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Utf8, true),
        Field::new("t", DataType::Timestamp(TimeUnit::Nanosecond, None), false),
        Field::new("v", DataType::Int64, true),
    ]))
}

fn spec(case: &Case) -> JoinSpec {
    let side = side_schema();
    let input = || Box::new(Plan::Source { name: "s".to_string(), schema: side.clone() });
    let both: Vec<Field> =
        side.fields().iter().chain(side.fields()).map(|f| f.as_ref().clone().with_nullable(true)).collect();
    let mut fields = match case.kind {
        JoinKind::Semi | JoinKind::Anti | JoinKind::Mark => both[..3].to_vec(),
        _ => both.clone(),
    };
    if case.kind == JoinKind::Mark {
        fields.push(Field::new("mark", DataType::Boolean, false));
    }
    let (l, r) = (Arc::new(Column::new("v", 2)), Arc::new(Column::new("v", 5)));
    let filter = || binary(l, Comparison::Lt, r, &Schema::new(both)).unwrap();
    JoinSpec {
        state_ttl_ns: None,
        horizons: [None, None],
        left: input(),
        right: input(),
        left_retracts: case.retracts[0],
        right_retracts: case.retracts[1],
        kind: case.kind,
        keys: case.keys,
        nulls: case.nulls,
        filter: case.filter.then(filter),
        within: case.within.map(|(lower, upper)| Within {
            left: 1,
            right: 1,
            lower_ns: lower * SECOND,
            upper_ns: upper * SECOND,
            origin: TimeOrigin::default(),
        }),
        schema: Arc::new(Schema::new(fields)),
    }
}

fn batch_of(rows: &[(Row, i64)], retracts: bool) -> Batch {
    let keys = StringArray::from_iter(rows.iter().map(|((k, _, _), _)| k.map(|k| format!("key {k}"))));
    let times = TimestampNanosecondArray::from_iter_values(rows.iter().map(|((_, t, _), _)| t * SECOND));
    let values = Int64Array::from_iter(rows.iter().map(|((_, _, v), _)| *v));
    let batch = RecordBatch::try_new(side_schema(), vec![Arc::new(keys), Arc::new(times), Arc::new(values)]).unwrap();
    if retracts {
        Batch::changes(batch, Int64Array::from_iter_values(rows.iter().map(|(_, diff)| *diff)))
    } else {
        Batch::append(batch)
    }
}

fn texts(rows: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL").with_timestamp_format(Some("%s"));
    let columns: Vec<_> = rows.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
    let line = |row| columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join("|");
    (0..rows.num_rows()).map(line).collect()
}

fn text(row: Option<&Row>) -> String {
    let null = || "NULL".to_string();
    let Some((key, time, value)) = row else { return "NULL|NULL|NULL".to_string() };
    let key = key.map_or_else(null, |k| format!("key {k}"));
    format!("{key}|{time}|{}", value.map_or_else(null, |v| v.to_string()))
}

fn partners(case: &Case, left: &Row, right: &Row) -> bool {
    let keys = case.keys == 0
        || match (left.0, right.0) {
            (None, None) => case.nulls == NullKeys::MatchEachOther,
            (left, right) => left == right,
        };
    let filter = !case.filter || matches!((left.2, right.2), (Some(left), Some(right)) if left < right);
    let within = case.within.is_none_or(|(lower, upper)| (lower..=upper).contains(&(right.1 - left.1)));
    keys && filter && within
}

/// What the join of all rows answers.
fn model(case: &Case, sides: &[BTreeMap<Row, i64>; 2]) -> BTreeMap<String, i64> {
    let mut lines = BTreeMap::new();
    let mut add = |line: String, copies: i64| *lines.entry(line).or_default() += copies;
    let empty = sides[1].is_empty();
    let null = sides[1].keys().any(|row| row.0.is_none());
    for (left, copies) in &sides[0] {
        let met: Vec<_> = sides[1].iter().filter(|(right, _)| partners(case, left, right)).collect();
        let pairs = matches!(case.kind, JoinKind::Inner | JoinKind::Left | JoinKind::Right | JoinKind::Full);
        if pairs {
            met.iter().for_each(|(r, n)| add(format!("{}|{}", text(Some(left)), text(Some(r))), copies * **n));
        }
        let not_in = case.nulls != NullKeys::NotIn || empty || !null && left.0.is_some();
        match case.kind {
            JoinKind::Left | JoinKind::Full if met.is_empty() => {
                add(format!("{}|{}", text(Some(left)), text(None)), *copies);
            }
            JoinKind::Semi if !met.is_empty() => add(text(Some(left)), *copies),
            JoinKind::Anti if met.is_empty() && not_in => add(text(Some(left)), *copies),
            JoinKind::Mark => add(format!("{}|{}", text(Some(left)), !met.is_empty()), *copies),
            _ => {}
        }
    }
    if matches!(case.kind, JoinKind::Right | JoinKind::Full) {
        for (right, copies) in &sides[1] {
            if !sides[0].keys().any(|left| partners(case, left, right)) {
                add(format!("{}|{}", text(None), text(Some(right))), *copies);
            }
        }
    }
    lines
}

/// Workers of one join.
struct Workers {
    spec: JoinSpec,
    read: Read,
    joins: Vec<Join>,
    watermark: Watermark,
}

impl Workers {
    fn new(spec: JoinSpec, read: Read, peers: usize) -> Workers {
        let lifetimes = || spec.state_ttl_ns.map(|ttl_ns| crate::state_ttl::Lifetimes::new(ttl_ns, 1));
        let joins = (0..peers).map(|_| Join::new(&spec, read, true).unwrap().forgetting(lifetimes())).collect();
        Workers { spec, read, joins, watermark: Watermark::MIN }
    }

    /// Runs one epoch; adds what is said to `heard`.
    fn epoch(&mut self, epoch: u64, (changes, watermark): &Changes, heard: &mut BTreeMap<String, i64>) {
        let mut output = Output::default();
        let peers = self.joins.len();
        let retracts = [self.spec.left_retracts, self.spec.right_retracts];
        for side in [0, 1] {
            for part in changes[side].chunks(5) {
                let batch = batch_of(part, retracts[side]);
                let hashes = hash_rows(&batch.rows.columns()[..self.spec.exchanged_by().len()], batch.num_rows());
                let hashes = hashes.unwrap();
                for (worker, join) in self.joins.iter_mut().enumerate() {
                    let own = (0..batch.num_rows() as u64).filter(|row| owner(hashes[*row as usize], peers) == worker);
                    let own = Rows::unbounded(batch.take(&UInt64Array::from_iter_values(own)).unwrap());
                    match side {
                        0 => join.process(Epoch(epoch), own, &mut output).unwrap(),
                        _ => join.process_second(Epoch(epoch), own, &mut output).unwrap(),
                    }
                }
            }
        }
        let now = Watermark(watermark.saturating_mul(SECOND));
        let times = Times { before: self.watermark, now, reached: now };
        self.joins.iter_mut().for_each(|join| join.finish_epoch(Epoch(epoch), times, &mut output).unwrap());
        self.watermark = now;
        assert!(output.late.is_empty() && output.dead.is_empty(), "no row is late or bad");
        for (_, sent) in output.sent {
            let batch = sent.into_batch().unwrap();
            for (row, text) in texts(&batch.rows).into_iter().enumerate() {
                assert!(batch.diff(row) > 0 || self.read == Read::Changes, "finals take nothing back");
                *heard.entry(text).or_default() += batch.diff(row);
            }
            heard.retain(|_, times| *times != 0);
        }
    }

    /// Goes on with another number of workers from what a checkpoint keeps.
    fn restarted(&mut self, peers: usize) -> Workers {
        let mut kept = Vec::new();
        for section in self.joins.iter_mut().flat_map(|join| join.snapshot().unwrap()) {
            kept.push((section.label, section.keys, (section.rows)().unwrap()));
        }
        let mut workers = Workers::new(self.spec.clone(), self.read, peers);
        workers.watermark = self.watermark;
        for (index, join) in workers.joins.iter_mut().enumerate() {
            let own = kept.iter().map(|(label, keys, rows)| {
                let worker = WorkerId { index, peers };
                let rows = owned(rows, &(0..*keys).collect::<Vec<_>>(), worker).unwrap();
                Restored { label: label.clone(), rows }
            });
            join.restore(own.collect(), self.watermark).unwrap();
        }
        workers
    }

    fn held(&self) -> u64 {
        self.joins.iter().map(|join| join.state().rows).sum()
    }
}

/// Epochs of insertions, and of retractions of what was inserted before and is not out of reach by its time.
fn epochs(keep_time: bool) -> impl Strategy<Value = (Vec<Changes>, [bool; 2])> {
    let row = (prop::option::weighted(0.9, 0u8..6), 0i64..12, prop::option::weighted(0.8, -5i64..5));
    let change = (any::<bool>(), row, any::<prop::sample::Index>(), prop::bool::weighted(0.4));
    let epoch = (prop::collection::vec(change, 0..30), 0i64..8);
    (prop::collection::vec(epoch, 1..8), any::<[bool; 2]>()).prop_map(move |(epochs, retracts)| {
        let mut there: [Vec<Row>; 2] = Default::default();
        let mut watermark = 0;
        let epochs = epochs.into_iter().map(|(changes, step)| {
            let mut epoch: [Vec<(Row, i64)>; 2] = Default::default();
            for (right, (key, time, value), index, retract) in changes {
                let side = usize::from(right);
                let mut reach: Vec<usize> = (0..there[side].len()).collect();
                reach.retain(|at| !keep_time || there[side][*at].1 >= watermark);
                if retracts[side] && retract && !reach.is_empty() {
                    let row = there[side].swap_remove(reach[index.index(reach.len())]);
                    epoch[side].push((row, -1));
                } else {
                    let row = (key, watermark + time, value);
                    there[side].push(row);
                    epoch[side].push((row, 1));
                }
            }
            watermark += step;
            (epoch, watermark)
        });
        (epochs.collect(), retracts)
    })
}

fn check(case: &Case, epochs: &[Changes], read: Read) {
    let mut workers = Workers::new(spec(case), read, 2);
    let mut sides: [BTreeMap<Row, i64>; 2] = Default::default();
    let mut heard = BTreeMap::new();
    for (epoch, changes) in epochs.iter().enumerate() {
        workers.epoch(epoch as u64, changes, &mut heard);
        for (side, changes) in changes.0.iter().enumerate() {
            changes.iter().for_each(|(row, diff)| *sides[side].entry(*row).or_default() += diff);
            sides[side].retain(|_, copies| *copies != 0);
        }
        let expected = model(case, &sides);
        match read {
            Read::Changes => assert_eq!(heard, expected, "as of epoch {epoch}"),
            Read::Finals => {
                let pairs =
                    |(line, copies): (&String, &i64)| (heard.get(line).copied().unwrap_or(0) - copies, line.clone());
                let few: Vec<_> = expected.iter().map(pairs).filter(|(more, _)| *more > 0).collect();
                assert_eq!(few, [], "said too much as of epoch {epoch}");
            }
        }
        if epoch % 3 == 1 {
            workers = workers.restarted(1 + epoch % 4);
        }
    }
    workers.epoch(1_000, &(Default::default(), i64::MAX), &mut heard);
    assert_eq!(heard, model(case, &sides), "at the end");
    if case.within.is_some() {
        assert_eq!(workers.held(), 0, "the end bounds all rows");
    }
}

/// Keys that nothing comes for go after two epochs, and with them all that was said of them, if anything is ever taken back.
fn check_forgetting(case: &Case, epochs: &[Changes]) {
    const TTL: u64 = 2;
    let spec = JoinSpec { state_ttl_ns: Some(TTL as i64), ..spec(case) };
    let appends = spec.appends();
    let mut workers = Workers::new(spec, Read::Changes, 2);
    let mut sides: [BTreeMap<Row, i64>; 2] = Default::default();
    let (mut heard, mut said) = (BTreeMap::new(), BTreeMap::<String, i64>::new());
    let mut touched: BTreeMap<Option<u8>, u64> = BTreeMap::new();
    let quiet = (Default::default(), 0);
    let spread =
        epochs.iter().enumerate().flat_map(|(at, changes)| std::iter::repeat_n(&quiet, at % 3).chain([changes]));
    for (epoch, changes) in (0u64..).zip(spread.chain([&quiet; 4])) {
        workers.epoch(epoch, &(changes.0.clone(), 0), &mut heard);
        let before = model(case, &sides);
        for coming in [true, false] {
            for (side, changes) in changes.0.iter().enumerate() {
                for (row, diff) in changes.iter().filter(|(_, diff)| (*diff > 0) == coming) {
                    let copies = sides[side].entry(*row).or_default();
                    // Only what is there can be taken back.
                    if *copies + diff >= 0 {
                        *copies += diff;
                        touched.insert(row.0, epoch);
                    }
                }
                sides[side].retain(|_, copies| *copies != 0);
            }
        }
        for (line, copies) in model(case, &sides) {
            let new = copies - before.get(&line).copied().unwrap_or(0);
            *said.entry(line).or_default() += new;
        }
        // A row whose key equals nothing is of no key.
        let stays = |key: &Option<u8>| key.is_none() && case.nulls == NullKeys::MatchNothing;
        let alive = |key: &Option<u8>| touched.get(key).is_some_and(|at| epoch - at <= TTL);
        sides.iter_mut().for_each(|side| side.retain(|(key, ..), _| stays(key) || alive(key)));
        match appends {
            true => assert_eq!(heard, said, "as of epoch {epoch}"),
            false => assert_eq!(heard, model(case, &sides), "as of epoch {epoch}"),
        }
        if epoch % 3 == 1 {
            workers = workers.restarted(1 + epoch as usize % 4);
        }
    }
    assert_eq!(workers.held(), 0);
}

fn case() -> impl Strategy<Value = Case> {
    let nulls = prop_oneof![Just(NullKeys::MatchNothing), Just(NullKeys::MatchEachOther), Just(NullKeys::NotIn)];
    (prop::sample::select(&KINDS[..]), 0usize..2, nulls, any::<bool>()).prop_map(|(kind, keys, nulls, filter)| {
        match nulls {
            NullKeys::NotIn => {
                Case { kind: JoinKind::Anti, keys: 1, nulls, filter: false, within: None, retracts: [true; 2] }
            }
            _ => Case { kind, keys, nulls, filter, within: None, retracts: [true; 2] },
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn every_epoch_equals_a_recomputation(case in case(), (epochs, retracts) in epochs(false)) {
        check(&Case { retracts, ..case }, &epochs, Read::Changes);
    }

    #[test]
    fn keys_that_nothing_comes_for_are_forgotten(case in case(), (epochs, retracts) in epochs(false)) {
        let nulls = if case.nulls == NullKeys::NotIn { NullKeys::MatchNothing } else { case.nulls };
        check_forgetting(&Case { retracts, nulls, keys: 1, ..case }, &epochs);
    }

    #[test]
    fn bounds_in_time_change_no_answer(case in case(), (epochs, retracts) in epochs(true), lower in -6i64..3, more in 0i64..9) {
        let nulls = if case.nulls == NullKeys::NotIn { NullKeys::MatchNothing } else { case.nulls };
        check(&Case { retracts, nulls, within: Some((lower, lower + more)), ..case }, &epochs, Read::Changes);
    }

    #[test]
    fn finals_come_once_and_are_the_answer(case in case(), (epochs, _) in epochs(true), lower in -6i64..3, more in 0i64..9) {
        let nulls = if case.nulls == NullKeys::NotIn { NullKeys::MatchNothing } else { case.nulls };
        let without = |(changes, watermark): &Changes| {
            let kept = |side: &Vec<(Row, i64)>| side.iter().filter(|(_, diff)| *diff > 0).cloned().collect();
            (changes.each_ref().map(kept), *watermark)
        };
        let epochs: Vec<_> = epochs.iter().map(without).collect();
        let case = Case { retracts: [false; 2], nulls, within: Some((lower, lower + more)), ..case };
        prop_assume!(case.kind != JoinKind::Mark);
        check(&case, &epochs, Read::Finals);
    }
}

fn case_of(kind: JoinKind) -> Case {
    Case { kind, keys: 1, nulls: NullKeys::MatchNothing, filter: false, within: None, retracts: [true; 2] }
}

#[test]
fn what_is_taken_back_gives_its_memory_back() {
    for kind in KINDS {
        let mut workers = Workers::new(spec(&case_of(kind)), Read::Changes, 1);
        let rows: Vec<Row> = (0..20_000).map(|i| (Some((i % 200) as u8), i, Some(i))).collect();
        let side = |diff: i64| rows.iter().map(|row| (*row, diff)).collect::<Vec<_>>();
        let mut heard = BTreeMap::new();
        workers.epoch(0, &([side(1), Vec::new()], 0), &mut heard);
        let full = workers.joins[0].state();
        // The row itself is a time and a number, its key shared by a hundred.
        assert_eq!(full.rows, 20_000);
        assert!(full.bytes / full.rows < 200, "{kind:?}: {} bytes a row", full.bytes / full.rows);
        workers.epoch(1, &([side(-1), Vec::new()], 0), &mut heard);
        let empty = workers.joins[0].state();
        assert_eq!((empty.rows, heard.len()), (0, 0), "{kind:?}");
        assert!(empty.bytes < full.bytes / 10, "{kind:?}: {} bytes of {}", empty.bytes, full.bytes);
    }
}

#[test]
fn what_did_not_change_is_not_written_again() {
    let mut workers = Workers::new(spec(&case_of(JoinKind::Left)), Read::Changes, 1);
    let mut heard = BTreeMap::new();
    let rows: Vec<(Row, i64)> = (0..2_000).map(|i| ((Some((i % 200) as u8), i, Some(i)), 1)).collect();
    workers.epoch(0, &([rows.clone(), rows.clone()], 0), &mut heard);
    let ids = |workers: &mut Workers| {
        workers.joins[0].snapshot().unwrap().into_iter().map(|s| (s.label, s.id)).collect::<BTreeMap<_, _>>()
    };
    let before = ids(&mut workers);
    assert_eq!(before, ids(&mut workers));
    workers.epoch(1, &([vec![(rows[7].0, -1)], Vec::new()], 0), &mut heard);
    let after = ids(&mut workers);
    let new: Vec<_> = after.iter().filter(|(label, id)| before.get(*label) != Some(id)).map(|(l, _)| l).collect();
    assert_eq!(new.len(), 1, "{new:?}");
    assert!(new[0].starts_with("left notes:"), "{new:?}");
}

#[test]
fn a_row_that_comes_too_late_is_put_aside() {
    let case = Case { within: Some((-5, 5)), retracts: [false; 2], ..case_of(JoinKind::Left) };
    let mut join = Join::new(&spec(&case), Read::Finals, true).unwrap();
    let mut output = Output::default();
    let times =
        |now: i64| Times { before: Watermark::MIN, now: Watermark(now * SECOND), reached: Watermark(now * SECOND) };
    join.finish_epoch(Epoch(0), times(100), &mut output).unwrap();
    let rows = batch_of(&[((Some(1), 99, None), 1), ((Some(1), 100, None), 1)], false);
    join.process(Epoch(1), Rows::unbounded(rows), &mut output).unwrap();
    join.finish_epoch(Epoch(1), times(100), &mut output).unwrap();
    assert_eq!(output.late.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
    assert!(output.sent.is_empty());
    join.finish_epoch(Epoch(2), times(106), &mut output).unwrap();
    assert_eq!(texts(&output.sent[0].1.batch().unwrap().rows), ["key 1|100|NULL|NULL|NULL|NULL"]);
}
