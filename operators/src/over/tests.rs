//! The operator against a model that computes all partitions anew.

use super::*;
use crate::plan::TimeOrigin;
use crate::state::{Restored, owned};
use arrow::array::{Array, Float64Array, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion_common::ScalarValue;
use datafusion_expr::{WindowFrame, WindowFrameBound, WindowFrameUnits};
use datafusion_functions_aggregate::sum::sum_udaf;
use datafusion_physical_expr::PhysicalSortExpr;
use datafusion_physical_expr::aggregate::AggregateExprBuilder;
use datafusion_physical_expr::expressions::col;
use datafusion_physical_expr::window::{PlainAggregateWindowExpr, SlidingAggregateWindowExpr};
use proptest::prelude::*;
use std::collections::BTreeMap;
use thalweg_schemas::epoch::WorkerId;

const MS: i64 = 1_000_000;

/// The end of a window in ms, a key, what rows are ordered by, what tells them apart.
type Row = (i64, u8, i8, u8);

#[derive(Clone, Debug)]
struct Case {
    closes: bool,
    keyed: bool,
    epochs: Vec<(Vec<(Row, i64)>, i64, bool)>,
}

fn input_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("window_end", DataType::Timestamp(TimeUnit::Millisecond, None), false),
        Field::new("k", DataType::Utf8, false),
        Field::new("by", DataType::Float64, false),
        Field::new("other", DataType::Utf8, false),
    ]))
}

fn batch_of(rows: &[(Row, i64)]) -> Batch {
    let columns: Vec<Arc<dyn Array>> = vec![
        Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(|(row, _)| row.0))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|(row, _)| format!("key {}", row.1)))),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|(row, _)| f64::from(row.2)))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|(row, _)| format!("{:03}", row.3)))),
    ];
    let batch = RecordBatch::try_new(input_schema(), columns).unwrap();
    Batch::changes(batch, Int64Array::from_iter_values(rows.iter().map(|(_, diff)| *diff)))
}

/// The sum so far, and that of a row and its neighbours.
fn spec(case: &Case) -> OverSpec {
    let input = input_schema();
    let sum = |name: &str| {
        let built = AggregateExprBuilder::new(sum_udaf(), vec![col("by", &input).unwrap()]);
        Arc::new(built.schema(input.clone()).alias(name).build().unwrap())
    };
    let order = [PhysicalSortExpr::new_default(col("by", &input).unwrap())];
    let one = || ScalarValue::UInt64(Some(1));
    let frame = |start, end| Arc::new(WindowFrame::new_bounds(WindowFrameUnits::Rows, start, end));
    let so_far = frame(WindowFrameBound::Preceding(ScalarValue::UInt64(None)), WindowFrameBound::CurrentRow);
    let near = frame(WindowFrameBound::Preceding(one()), WindowFrameBound::Following(one()));
    let functions: Vec<Arc<dyn WindowExpr>> = vec![
        Arc::new(PlainAggregateWindowExpr::new(sum("so_far"), &[], &order, so_far, None)),
        Arc::new(SlidingAggregateWindowExpr::new(sum("near"), &[], &order, near, None)),
    ];
    let mut fields: Vec<_> = input.fields().iter().cloned().collect();
    fields.extend(["so_far", "near"].map(|name| Arc::new(Field::new(name, DataType::Float64, true))));
    let partition = match (case.closes, case.keyed) {
        (true, true) => vec![1, 0],
        (true, false) => vec![0],
        (false, true) => vec![1],
        (false, false) => vec![],
    };
    OverSpec {
        state_ttl_ns: None,
        horizon: None,
        input: Box::new(Plan::Source { name: "s".to_string(), schema: input }),
        retracts: true,
        partition,
        order: vec![OrderBy { column: 2, descending: false, nulls_first: false }],
        functions,
        closes: case.closes.then(|| Closes { column: 0, origin: TimeOrigin::default() }),
        in_order: None,
        schema: Arc::new(Schema::new(fields)),
    }
}

fn texts(rows: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<_> = rows.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
    let line = |row| columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join("|");
    (0..rows.num_rows()).map(line).collect()
}

fn model(case: &Case, rows: &[Row]) -> BTreeMap<String, i64> {
    let mut partitions: BTreeMap<(Option<i64>, Option<u8>), Vec<Row>> = BTreeMap::new();
    for row in rows {
        let key = (case.closes.then_some(row.0), case.keyed.then_some(row.1));
        partitions.entry(key).or_default().push(*row);
    }
    let mut shown = BTreeMap::new();
    for mut rows in partitions.into_values() {
        rows.sort_by_key(|row| (row.2, row.0, row.1, row.3));
        for (at, row) in rows.iter().enumerate() {
            let sum = |rows: &[Row]| rows.iter().map(|row| f64::from(row.2)).sum::<f64>();
            let (so_far, near) = (sum(&rows[..=at]), sum(&rows[at.saturating_sub(1)..(at + 2).min(rows.len())]));
            let text = texts(&batch_of(&[(*row, 1)]).rows).remove(0);
            *shown.entry(format!("{text}|{so_far:.1}|{near:.1}")).or_insert(0) += 1;
        }
    }
    shown
}

fn restarted(case: &Case, operator: &mut Over) -> Over {
    let sections = operator.snapshot().unwrap().into_iter().map(|section| {
        let keys: Vec<usize> = (0..section.keys).collect();
        let rows = owned(&(section.rows)().unwrap(), &keys, WorkerId { index: 0, peers: 1 }).unwrap();
        Restored { label: section.label, rows }
    });
    let sections = sections.collect();
    let mut again = Over::new(&spec(case), true, case.closes).unwrap();
    again.restore(sections, Watermark::MIN).unwrap();
    again
}

fn check(case: Case) {
    let mut operator = Over::new(&spec(&case), true, case.closes).unwrap();
    let (mut rows, mut live, mut finals) = (Vec::<Row>::new(), BTreeMap::new(), BTreeMap::new());
    let (mut closed, mut late, mut late_heard) = (BTreeMap::new(), 0, 0);
    let mut before = Watermark::MIN;
    for (epoch, (changes, step, dies)) in case.epochs.iter().enumerate() {
        let base = if before == Watermark::MIN { 0 } else { before.0 };
        let now = if epoch + 1 == case.epochs.len() { Watermark::MAX } else { Watermark(base + step * MS) };
        let (epoch, times) = (Epoch(epoch as u64), Times { before, now, reached: now });
        let mut output = Output::default();
        for part in changes.chunks(4) {
            operator.process(epoch, Rows::unbounded(batch_of(part)), &mut output).unwrap();
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
        for (row, diff) in changes {
            if case.closes && before.closes(row.0 * MS) {
                late += 1;
            } else if *diff > 0 {
                rows.push(*row);
            } else {
                rows.swap_remove(rows.iter().position(|known| known == row).unwrap());
            }
        }
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
        before = now;
        if *dies {
            operator = restarted(&case, &mut operator);
        }
    }
    if case.closes {
        assert_eq!((operator.state().rows, operator.closing.is_empty()), (0, true));
    }
}

/// Epochs of insertions, and of retractions of what was inserted before and is not over.
fn epochs(closes: bool) -> impl Strategy<Value = Vec<(Vec<(Row, i64)>, i64, bool)>> {
    let row = ((1i64..8).prop_map(|end| end * 10), 0u8..3, -5i8..5, 0u8..200);
    let change = (row, any::<prop::sample::Index>(), prop::bool::weighted(0.4));
    let epoch = (prop::collection::vec(change, 0..12), 0i64..20, prop::bool::weighted(0.3));
    prop::collection::vec(epoch, 1..6).prop_map(move |epochs| {
        let (mut there, mut watermark): (Vec<Row>, i64) = (Vec::new(), -1);
        let mut all = Vec::new();
        for (changes, step, dies) in epochs {
            let mut epoch = Vec::new();
            for (row, index, retract) in changes {
                there.retain(|row| !closes || row.0 > watermark);
                if retract && !there.is_empty() {
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn every_epoch_equals_a_recomputation(
        case in (any::<bool>(), any::<bool>())
            .prop_flat_map(|(closes, keyed)| epochs(closes).prop_map(move |epochs| Case { closes, keyed, epochs })),
    ) {
        check(case);
    }
}

#[test]
fn partitions_that_nothing_comes_for_are_forgotten_with_what_was_said_of_them() {
    let case = Case { closes: false, keyed: true, epochs: Vec::new() };
    let mut operator = Over::new(&spec(&case), true, false).unwrap().forgetting(Some(Lifetimes::new(2, 1)));
    let times = Times { before: Watermark::MIN, now: Watermark::MIN, reached: Watermark::MIN };
    let mut heard: BTreeMap<String, i64> = BTreeMap::new();
    let mut epoch = |operator: &mut Over, at: u64, changes: &[(Row, i64)]| {
        let mut output = Output::default();
        operator.process(Epoch(at), Rows::unbounded(batch_of(changes)), &mut output).unwrap();
        operator.finish_epoch(Epoch(at), times, &mut output).unwrap();
        assert!(output.dead.is_empty());
        for (_, sent) in output.sent {
            let batch = sent.into_batch().unwrap();
            for (row, text) in texts(&batch.rows).into_iter().enumerate() {
                *heard.entry(text).or_default() += batch.diff(row);
            }
        }
        heard.retain(|_, times| *times != 0);
        heard.clone()
    };
    let (early, late): (Row, Row) = ((0, 1, 3, 0), (0, 2, 4, 0));
    epoch(&mut operator, 0, &[(early, 1)]);
    assert_eq!(epoch(&mut operator, 2, &[(late, 1)]), model(&case, &[early, late]));
    assert_eq!(operator.wake_at(), Some(Epoch(3)));
    let mut again = Over::new(&spec(&case), true, false).unwrap().forgetting(Some(Lifetimes::new(2, 1)));
    let sections = operator.snapshot().unwrap().into_iter();
    let sections = sections.map(|section| Restored { label: section.label, rows: (section.rows)().unwrap() });
    again.restore(sections.collect(), Watermark::MIN).unwrap();
    assert_eq!(epoch(&mut again, 3, &[]), model(&case, &[late]));
    // A row that went with its partition is taken back, and is said anew.
    let corrected = (0, 1, 5, 0);
    assert_eq!(epoch(&mut again, 4, &[(early, -1), (corrected, 1)]), model(&case, &[late, corrected]));
    assert_eq!(epoch(&mut again, 5, &[]), model(&case, &[corrected]));
    assert_eq!(epoch(&mut again, 7, &[]), BTreeMap::new());
    assert_eq!(again.state().rows, 0);
}
