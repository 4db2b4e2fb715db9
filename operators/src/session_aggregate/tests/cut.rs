//! Sessions that rows begin and end, against a model that keeps every row and cuts each partition anew.

use super::{Heard, MS, texts};
use crate::aggregate::Aggregate;
use crate::exchange::{hash_rows, owner};
use crate::operator::{Operator, Output, Times};
use crate::plan::{Plan, TimeOrigin};
use crate::rows::Rows;
use crate::session_aggregate::{CutSessions, LocalSessions, SessionAggregateSpec};
use crate::state::{Restored, owned};
use crate::window_aggregate::OnLate;
use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray, TimestampMillisecondArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion_functions_aggregate::count::count_udaf;
use datafusion_physical_expr::aggregate::AggregateExprBuilder;
use datafusion_physical_expr::expressions::{col, lit};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, Watermark, WorkerId};

/// Event time in ms, the partition, the group in it, whether it begins and whether it ends a session.
type Row = (i64, u8, u8, bool, bool);

#[derive(Clone, Debug)]
struct Case {
    gap: i64,
    until: i64,
    /// Whether rows that begin a session, and rows that end one, are looked for.
    marks: (bool, bool),
    /// Of each epoch the rows, by how much the watermark moves at its end, and whether the workers die then.
    epochs: Vec<(Vec<Row>, i64, bool)>,
    changes: bool,
    aggregates: bool,
}

fn input_schema() -> SchemaRef {
    let time = Field::new("ts", DataType::Timestamp(TimeUnit::Millisecond, None), true);
    let key = |name| Field::new(name, DataType::Utf8, false);
    let mark = |name| Field::new(name, DataType::Boolean, true);
    Arc::new(Schema::new(vec![time, key("k0"), key("k1"), mark("starts"), mark("ends")]))
}

fn batch_of(rows: &[Row]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(|r| r.0))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|r| format!("key {}", r.1)))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|r| format!("key {}", r.2)))),
        // NULL says no.
        Arc::new(rows.iter().map(|r| r.3.then_some(true)).collect::<BooleanArray>()),
        Arc::new(rows.iter().map(|r| Some(r.4)).collect::<BooleanArray>()),
    ];
    RecordBatch::try_new(input_schema(), columns).unwrap()
}

fn spec(case: &Case) -> SessionAggregateSpec {
    let schema = input_schema();
    let count = AggregateExprBuilder::new(count_udaf(), vec![lit(1i64)]).schema(schema.clone()).alias("n").build();
    let mut aggregates = vec![Aggregate { function: Arc::new(count.unwrap()), filter: None }];
    aggregates.truncate(usize::from(case.aggregates));
    let bound = |name| Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, None), false);
    let mut fields = vec![bound("window_start"), bound("window_end")];
    fields.extend(["k0", "k1"].map(|name| Field::new(name, DataType::Utf8, true)));
    fields.extend(aggregates.iter().map(|a| a.function.field().as_ref().clone()));
    SessionAggregateSpec {
        input: Box::new(Plan::Source { name: "s".to_string(), schema: schema.clone() }),
        time: col("ts", &schema).unwrap(),
        gap_ns: case.gap * MS,
        start: case.marks.0.then_some(3),
        end: case.marks.1.then_some(4),
        time_origin: TimeOrigin::default(),
        partition: 1,
        keys: ["k0", "k1"].map(|name| col(name, &schema).unwrap()).to_vec(),
        aggregates,
        on_late: if case.until == 0 { OnLate::Drop } else { OnLate::Revise { until_ns: case.until * MS } },
        schema: Arc::new(Schema::new(fields)),
    }
}

/// A session of the model.
#[derive(Clone, Debug, Default)]
struct Cut {
    /// Each row with the epoch in which it came.
    rows: Vec<(Row, usize)>,
    end: i64,
    /// Whether a row ended it.
    ended: bool,
    /// Whether it is one: where rows begin sessions, whether one of its first rows does.
    counts: bool,
}

/// Where a row ended the last session of each partition that is closed, in nanoseconds.
type Closed = BTreeMap<u8, i64>;

/// The rows of each partition cut from the earliest on.
fn cut(case: &Case, rows: &[(Row, usize)], closed: &Closed) -> Vec<Cut> {
    let mut partitions: BTreeMap<u8, BTreeMap<i64, Vec<(Row, usize)>>> = BTreeMap::new();
    for row in rows {
        partitions.entry(row.0.1).or_default().entry(row.0.0).or_default().push(*row);
    }
    let mut all: Vec<Cut> = Vec::new();
    for (partition, moments) in partitions {
        let mut before: Option<(i64, bool)> = None;
        for (time, rows) in moments {
            let between = |at: i64| closed.get(&partition).is_some_and(|end| at * MS <= *end && *end < time * MS);
            let starts = case.marks.0 && rows.iter().any(|row| row.0.3);
            let ends = case.marks.1 && rows.iter().any(|row| row.0.4);
            if starts || before.is_none_or(|(at, ended)| ended || between(at) || time - at > case.gap) {
                all.push(Cut { counts: starts || !case.marks.0, ..Cut::default() });
            }
            let session = all.last_mut().unwrap();
            session.rows.extend(rows);
            session.ended = ends;
            session.end = (if ends { time } else { time + case.gap }) * MS;
            before = Some((time, ends));
        }
    }
    all
}

fn lines(case: &Case, session: &Cut) -> Vec<String> {
    let time = |ns: i64| {
        let array = arrow::array::TimestampMicrosecondArray::from(vec![ns / 1_000]);
        ArrayFormatter::try_new(&array, &FormatOptions::default()).unwrap().value(0).to_string()
    };
    let start = session.rows.iter().map(|row| row.0.0).min().unwrap() * MS;
    let mut groups: BTreeMap<(u8, u8), usize> = BTreeMap::new();
    session.rows.iter().filter(|_| session.counts).for_each(|(row, _)| *groups.entry((row.1, row.2)).or_default() += 1);
    let line = |((k0, k1), count): ((u8, u8), usize)| {
        let count = if case.aggregates { format!("|{count}") } else { String::new() };
        format!("{}|{}|key {k0}|key {k1}{count}", time(start), time(session.end))
    };
    groups.into_iter().map(line).collect()
}

/// Rows as they are put aside: without the marks that are looked at.
fn aside(case: &Case, rows: &[(Row, usize)]) -> Vec<String> {
    if rows.is_empty() {
        return Vec::new();
    }
    let rows: Vec<Row> = rows.iter().map(|(row, _)| *row).collect();
    let hidden = [(3, case.marks.0), (4, case.marks.1)];
    let shown: Vec<usize> = (0..5).filter(|at| !hidden.contains(&(*at, true))).collect();
    texts(&batch_of(&rows).project(&shown).unwrap())
}

fn counted(lines: impl Iterator<Item = String>) -> BTreeMap<String, i64> {
    let mut counted = BTreeMap::new();
    lines.for_each(|line| *counted.entry(line).or_insert(0) += 1);
    counted
}

/// Two owners of partitions.
struct Owners {
    spec: SessionAggregateSpec,
    changes: bool,
    owners: Vec<CutSessions>,
}

impl Owners {
    fn new(spec: SessionAggregateSpec, changes: bool) -> Owners {
        let owners = (0..2).map(|_| CutSessions::new(&spec, changes, true).unwrap()).collect();
        Owners { spec, changes, owners }
    }

    fn process(&mut self, epoch: Epoch, output: Output) {
        for (_, rows) in output.sent {
            let batch = rows.into_batch().unwrap();
            let hashes = hash_rows(&batch.rows.columns()[..1], batch.num_rows()).unwrap();
            for (i, own) in self.owners.iter_mut().enumerate() {
                let rows = (0..batch.num_rows()).filter(|row| owner(hashes[*row], 2) == i);
                let part = batch.take(&UInt64Array::from_iter_values(rows.map(|row| row as u64))).unwrap();
                own.process(epoch, Rows::unbounded(part), &mut Output::default()).unwrap();
            }
        }
    }

    fn restart(&mut self, now: Watermark) {
        let mut written = Vec::new();
        for owner in &mut self.owners {
            for section in owner.snapshot().unwrap() {
                assert_eq!(section.keys, 1);
                written.push((section.label.clone(), (section.rows)().unwrap()));
            }
        }
        for (index, owner) in self.owners.iter_mut().enumerate() {
            *owner = CutSessions::new(&self.spec, self.changes, true).unwrap();
            let sections = written.iter().map(|(label, rows)| {
                let rows = owned(rows, &[0], WorkerId { index, peers: 2 }).unwrap();
                Restored { label: label.clone(), rows }
            });
            owner.restore(sections.collect(), now).unwrap();
        }
    }
}

fn check(case: Case) {
    let mut locals: Vec<_> = (0..2).map(|_| LocalSessions::new(&spec(&case)).unwrap()).collect();
    let mut owners = Owners::new(spec(&case), case.changes);
    let mut heard = Heard::default();
    let (mut open, mut finals, mut late): (Vec<(Row, usize)>, Vec<String>, Vec<String>) = Default::default();
    let mut closed = Closed::new();
    let mut before = Watermark::MIN;
    for (number, (rows, step, dies)) in case.epochs.iter().enumerate() {
        let base = if before == Watermark::MIN { 0 } else { before.0 };
        let last = number + 1 == case.epochs.len();
        let now = if last { Watermark::MAX } else { Watermark(base + step * MS) };
        let (times, epoch) = (Times { before, now, reached: now }, Epoch(number as u64));
        // The second worker reads its rows from behind.
        let (ours, theirs) = rows.split_at(rows.len() / 2);
        let theirs: Vec<Row> = theirs.iter().rev().copied().collect();
        for (local, rows) in locals.iter_mut().zip([ours, &theirs]) {
            for part in rows.chunks(3) {
                let mut output = Output::default();
                local.process(epoch, Rows::new(Batch::append(batch_of(part)), before), &mut output).unwrap();
                owners.process(epoch, output);
            }
            let mut output = Output::default();
            local.finish_epoch(epoch, times, &mut output).unwrap();
            owners.process(epoch, output);
        }
        for owner in &mut owners.owners {
            let mut output = Output::default();
            owner.finish_epoch(epoch, times, &mut output).unwrap();
            heard.hear(output);
        }

        let is_final = |end: i64, watermark: Watermark| watermark.closes(end + case.until * MS);
        let (refused, came): (Vec<_>, Vec<_>) = rows
            .iter()
            .map(|row| (*row, number))
            .partition(|(row, _)| closed.get(&row.1).is_some_and(|end| row.0 * MS <= *end));
        late.extend(aside(&case, &refused));
        open.extend(came);
        let (over, rest): (Vec<Cut>, Vec<Cut>) = cut(&case, &open, &closed)
            .into_iter()
            .partition(|cut| is_final(cut.end, before) && cut.rows.iter().all(|(_, came)| *came == number));
        over.iter().for_each(|cut| late.extend(aside(&case, &cut.rows)));
        // Late rows have no effect on those that stay.
        open = rest.into_iter().flat_map(|cut| cut.rows).collect();
        let (over, still): (Vec<Cut>, Vec<Cut>) =
            cut(&case, &open, &closed).into_iter().partition(|cut| is_final(cut.end, now));
        let live = still.iter().chain(&over).flat_map(|session| lines(&case, session)).chain(finals.iter().cloned());
        if case.changes {
            assert_eq!(heard.live, counted(live), "changes as of epoch {number}, {times:?}");
        }
        for session in &over {
            finals.extend(lines(&case, session));
            if !session.counts {
                late.extend(aside(&case, &session.rows));
            }
            if session.ended {
                let end = closed.entry(session.rows[0].0.1).or_insert(session.end);
                *end = session.end.max(*end);
            }
        }
        assert_eq!(heard.finals, counted(finals.iter().cloned()), "finals as of epoch {number}, {times:?}");
        late.sort();
        heard.late.sort();
        assert_eq!(heard.late, late, "put aside as of epoch {number}, {times:?}");
        closed.retain(|_, end| !is_final(*end + case.gap * MS, now));
        open = still.into_iter().flat_map(|cut| cut.rows).collect();
        before = now;
        if *dies {
            owners.restart(now);
        }
    }
    for owner in &owners.owners {
        assert_eq!((owner.sessions.len(), owner.state().rows), (0, 0), "at the end nothing is left");
    }
}

fn case() -> impl Strategy<Value = Case> {
    let row = (0i64..80, 0u8..2, 0u8..2, prop::bool::weighted(0.2), prop::bool::weighted(0.2));
    let epochs = prop::collection::vec((prop::collection::vec(row, 0..12), 0i64..25, any::<bool>()), 1..8);
    let until = prop_oneof![2 => Just(0i64), 1 => 1i64..30];
    let marks = prop_oneof![Just((true, true)), Just((true, false)), Just((false, true))];
    (1i64..15, until, marks, epochs, any::<bool>(), any::<bool>()).prop_map(
        |(gap, until, marks, epochs, changes, aggregates)| Case { gap, until, marks, epochs, changes, aggregates },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_epoch_equals_a_cut_of_all_rows(case in case()) {
        check(case);
    }
}

#[test]
fn what_a_closed_session_kept_apart_stays_apart() {
    // The one that begins and ends at 16 closes first; 18 and 22 are behind its end, 15 is of the one before.
    let row = |time, starts, ends| (time, 0, 0, starts, ends);
    let first = vec![row(15, true, false), row(16, true, true), row(22, false, false)];
    let epochs =
        vec![(first, 17, true), (vec![row(18, false, false), row(14, false, false)], 1, true), (vec![], 1, false)];
    check(Case { epochs, ..one(&[]) });
}

/// Rows of one partition and group: `+5` begins a session at 5, `-5` ends one, ` 5` does neither.
fn one(epochs: &[(&[&str], i64)]) -> Case {
    let row = |text: &&str| {
        let (mark, time) = text.split_at(1);
        (time.parse().unwrap(), 0, 0, mark == "+", mark == "-")
    };
    let epochs = epochs.iter().map(|(rows, step)| (rows.iter().map(row).collect(), *step, false)).collect();
    Case { gap: 10, until: 0, marks: (true, true), epochs, changes: true, aggregates: true }
}

#[test]
fn a_row_that_comes_late_cuts_a_session_in_two() {
    check(one(&[(&["+0", " 3", " 6", " 9"], 0), (&["+6"], 0), (&["-3"], 0), (&[], 1)]));
}

#[test]
fn rows_behind_an_end_are_in_none_until_one_begins() {
    check(one(&[(&["+0", "-2", " 3", " 4"], 2), (&["+4", " 5"], 1), (&[" 1"], 1), (&[], 1)]));
}

#[test]
fn what_came_too_late_cuts_nothing() {
    // A session that begins and ends at 5 was over at 7; the rows around it are of one that goes on.
    let row = |time, starts, ends| (time, 0, 0, starts, ends);
    let first = vec![row(2, true, false), row(8, false, false)];
    let epochs = vec![(first, 7, false), (vec![row(5, true, true)], 1, true), (vec![], 1, false)];
    check(Case { epochs, ..one(&[]) });
}
