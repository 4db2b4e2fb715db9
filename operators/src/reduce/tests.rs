//! Both ways to keep groups up to date against a model that keeps every row.

use super::*;
use crate::exchange::hash_rows;
use crate::horizon::Horizon;
use crate::operator::{Operator as _, Output, Times};
use crate::rows::Rows;
use crate::state::{Restored, owned};
use arrow::array::{AsArray, Int64Array, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion_expr::Operator;
use datafusion_functions_aggregate::{
    average::avg_udaf, count::count_udaf, first_last::last_value_udaf, min_max::max_udaf, min_max::min_udaf,
    regr::regr_count_udaf, sum::sum_udaf,
};
use datafusion_physical_expr::aggregate::AggregateExprBuilder;
use datafusion_physical_expr::expressions::{binary, cast, col, lit};
use proptest::prelude::*;
use std::collections::BTreeMap;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, Watermark, WorkerId};

/// Key, value.
type Row = (Option<u8>, Option<i64>);

fn spec(retracts: bool, keyed: bool) -> ReduceSpec {
    let schema = Schema::new(vec![Field::new("k", DataType::Utf8, true), Field::new("v", DataType::Int64, true)]);
    let schema = Arc::new(schema);
    let v = || col("v", &schema).unwrap();
    let float = || cast(v(), &schema, DataType::Float64).unwrap();
    let aggregate = |function, arguments: Vec<Arc<dyn PhysicalExpr>>, name: &str| {
        let built = AggregateExprBuilder::new(function, arguments).schema(schema.clone()).alias(name).build();
        Aggregate { function: Arc::new(built.unwrap()), filter: None }
    };
    let built = |builder: AggregateExprBuilder| Aggregate {
        function: Arc::new(builder.schema(schema.clone()).alias("x").build().unwrap()),
        filter: None,
    };
    let by_v = datafusion_physical_expr::PhysicalSortExpr::new(v(), Default::default());
    let positive = binary(v(), Operator::Gt, lit(0i64), &schema).unwrap();
    // `there` has no grouped form and goes through the adapter; it and what has none either need the rows.
    let mut aggregates = vec![
        aggregate(count_udaf(), vec![lit(1i64)], "n"),
        aggregate(sum_udaf(), vec![v()], "sum"),
        aggregate(max_udaf(), vec![v()], "max"),
        aggregate(regr_count_udaf(), vec![float(), float()], "there"),
        aggregate(min_udaf(), vec![v()], "min"),
        aggregate(avg_udaf(), vec![float()], "avg"),
        built(AggregateExprBuilder::new(count_udaf(), vec![v()]).distinct()),
        built(AggregateExprBuilder::new(last_value_udaf(), vec![v()]).order_by(vec![by_v])),
        aggregate(sum_udaf(), vec![float()], "positive"),
    ];
    aggregates[8].filter = Some(positive);
    let mut fields = Vec::new();
    if keyed {
        fields.push(Field::new("k", DataType::Utf8, true));
    }
    fields.extend(aggregates.iter().map(|a| a.function.field().as_ref().clone()));
    ReduceSpec {
        state_ttl_ns: None,
        horizon: None,
        input: Box::new(Plan::Source { name: "s".to_string(), schema: schema.clone() }),
        retracts,
        keys: if keyed { vec![col("k", &schema).unwrap()] } else { vec![] },
        aggregates,
        schema: Arc::new(Schema::new(fields)),
    }
}

fn batch_of(spec: &ReduceSpec, rows: &[(Row, i64)]) -> Batch {
    let keys = StringArray::from_iter(rows.iter().map(|((k, _), _)| k.map(|k| format!("key {k}"))));
    let values = Int64Array::from_iter(rows.iter().map(|((_, v), _)| *v));
    let batch = RecordBatch::try_new(spec.input.schema(), vec![Arc::new(keys), Arc::new(values)]).unwrap();
    if spec.retracts {
        Batch::changes(batch, Int64Array::from_iter_values(rows.iter().map(|(_, diff)| *diff)))
    } else {
        Batch::append(batch)
    }
}

fn texts(rows: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<_> = rows.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
    let line = |row| columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join("|");
    (0..rows.num_rows()).map(line).collect()
}

/// What the groups of `rows`, each as often as it is there, answer.
fn model(rows: &BTreeMap<Row, i64>, spec: &ReduceSpec) -> BTreeMap<String, i64> {
    let keyed = !spec.keys.is_empty();
    let mut groups: BTreeMap<Option<u8>, Vec<Option<i64>>> = BTreeMap::new();
    if !keyed {
        groups.insert(None, Vec::new());
    }
    for ((key, value), times) in rows {
        let group = groups.entry(key.filter(|_| keyed)).or_default();
        group.extend(std::iter::repeat_n(*value, *times as usize));
    }
    let line = |(key, values): (Option<u8>, Vec<Option<i64>>)| {
        let null = || "NULL".to_string();
        let there: Vec<i64> = values.iter().flatten().copied().collect();
        let mut line = Vec::new();
        if keyed {
            line.push(key.map_or_else(null, |k| format!("key {k}")));
        }
        line.push(values.len().to_string());
        line.push(if there.is_empty() { null() } else { there.iter().sum::<i64>().to_string() });
        line.push(there.iter().max().map_or_else(null, |max| max.to_string()));
        if spec.aggregates.iter().any(|aggregate| aggregate.function.name() == "there") {
            line.push(there.len().to_string());
        }
        let float = |value: f64| {
            let array = arrow::array::Float64Array::from(vec![value]);
            ArrayFormatter::try_new(&array, &FormatOptions::default()).unwrap().value(0).to_string()
        };
        line.push(there.iter().min().map_or_else(null, |min| min.to_string()));
        let mean = || float(there.iter().sum::<i64>() as f64 / there.len() as f64);
        line.push(if there.is_empty() { null() } else { mean() });
        line.push(there.iter().collect::<std::collections::BTreeSet<_>>().len().to_string());
        // NULL is before all values in this order.
        line.push(there.iter().max().map_or_else(null, |last| last.to_string()));
        let positive: Vec<i64> = there.iter().copied().filter(|v| *v > 0).collect();
        line.push(if positive.is_empty() { null() } else { float(positive.iter().sum::<i64>() as f64) });
        (line.join("|"), 1)
    };
    groups.into_iter().map(line).collect()
}

/// Runs two workers of both phases over `epochs`, the owners dying after every third; after each, what they have said so
/// far must be what the rows answer.
fn check<L: crate::operator::Operator, M: crate::operator::Operator>(
    spec: &ReduceSpec,
    epochs: &[Vec<(Row, i64)>],
    mut locals: [L; 2],
    owner: impl Fn(bool) -> M,
) -> [M; 2] {
    let mut touched: BTreeMap<Option<u8>, u64> = BTreeMap::new();
    let mut owners = [owner(true), owner(false)];
    let times = Times { before: Watermark::MIN, now: Watermark::MIN, reached: Watermark::MIN };
    let (mut rows, mut heard) = (BTreeMap::new(), BTreeMap::<String, i64>::new());
    for (epoch, changes) in epochs.iter().enumerate() {
        let epoch = Epoch(epoch as u64);
        let mut partials = Output::default();
        for (i, part) in changes.chunks(5).enumerate() {
            let local = &mut locals[i % 2];
            local.process(epoch, Rows::unbounded(batch_of(spec, part)), &mut partials).unwrap();
        }
        locals.iter_mut().for_each(|local| local.finish_epoch(epoch, times, &mut partials).unwrap());
        for (_, sent) in partials.sent {
            let batch = sent.into_batch().unwrap();
            let hashes = hash_rows(&batch.rows.columns()[..spec.keys.len()], batch.num_rows()).unwrap();
            for (i, owner) in owners.iter_mut().enumerate() {
                let owns = |hash| if spec.keys.is_empty() { i == 0 } else { crate::exchange::owner(hash, 2) == i };
                let own = (0..batch.num_rows() as u64).filter(|row| owns(hashes[*row as usize]));
                let own = batch.take(&UInt64Array::from_iter_values(own)).unwrap();
                if !own.is_empty() {
                    owner.process(epoch, Rows::unbounded(own), &mut Output::default()).unwrap();
                }
            }
        }
        let mut output = Output::default();
        owners.iter_mut().for_each(|owner| owner.finish_epoch(epoch, times, &mut output).unwrap());
        for (_, sent) in output.sent {
            let batch = sent.into_batch().unwrap();
            for (row, text) in texts(&batch.rows).into_iter().enumerate() {
                *heard.entry(text).or_default() += batch.diff(row);
            }
            heard.retain(|_, times| *times != 0);
        }
        for (row, diff) in net(changes, spec) {
            let times: &mut i64 = rows.entry(row).or_default();
            // Only what is there can be taken back.
            let diff = diff.max(-*times);
            *times += diff;
            if diff != 0 || !spec.retracts {
                touched.insert(row.0, epoch.0);
            }
        }
        if let Some(ttl) = spec.state_ttl_ns {
            let alive = |key: &Option<u8>| touched.get(key).is_some_and(|at| epoch.0 - at <= ttl as u64);
            rows.retain(|(key, _), _| alive(key));
        }
        rows.retain(|_, times| *times != 0);
        assert_eq!(heard, model(&rows, spec), "as of epoch {epoch}");
        if epoch.0 % 3 == 2 {
            owners = restarted(owners, &owner);
        }
    }
    owners
}

/// What an epoch's changes come to, where it does not matter what came and went within it.
fn net(changes: &[(Row, i64)], spec: &ReduceSpec) -> Vec<(Row, i64)> {
    if !spec.retracts {
        return changes.to_vec();
    }
    let mut net: BTreeMap<Row, i64> = BTreeMap::new();
    changes.iter().for_each(|(row, diff)| *net.entry(*row).or_default() += diff);
    net.into_iter().collect()
}

/// The same owners as they come back after a crash.
fn restarted<M: crate::operator::Operator>(mut owners: [M; 2], owner: &impl Fn(bool) -> M) -> [M; 2] {
    let sections = owners.iter_mut().flat_map(|owner| owner.snapshot().unwrap());
    let written: Vec<_> = sections.map(|s| (s.label.clone(), s.keys, (s.rows)().unwrap())).collect();
    [0, 1].map(|index| {
        let sections = written.iter().map(|(label, keys, rows)| {
            let rows = owned(rows, &(0..*keys).collect::<Vec<_>>(), WorkerId { index, peers: 2 }).unwrap();
            Restored { label: label.clone(), rows }
        });
        let sections = sections.collect();
        let mut owner = owner(index == 0);
        owner.restore(sections, Watermark::MIN).unwrap();
        owner
    })
}

/// Epochs of insertions, and of retractions of what was inserted before.
fn epochs(retracts: bool) -> impl Strategy<Value = Vec<Vec<(Row, i64)>>> {
    let row = (prop::option::weighted(0.9, 0u8..12), prop::option::weighted(0.8, -20i64..20));
    let change = (row, any::<prop::sample::Index>(), prop::bool::weighted(0.45));
    prop::collection::vec(prop::collection::vec(change, 0..30), 1..8).prop_map(move |epochs| {
        let mut there: Vec<Row> = Vec::new();
        let change = |(row, index, retract): (Row, prop::sample::Index, bool)| {
            if retracts && retract && !there.is_empty() {
                return (there.swap_remove(index.index(there.len())), -1);
            }
            there.push(row);
            (row, 1)
        };
        let changes: Vec<(Row, i64)> = epochs.iter().flatten().cloned().map(change).collect();
        let mut changes = changes.into_iter();
        epochs.iter().map(|epoch| changes.by_ref().take(epoch.len()).collect()).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn over_appends_every_epoch_equals_a_recomputation(epochs in epochs(false), keyed in any::<bool>()) {
        let spec = spec(false, keyed);
        prop_assert!(!spec.by_rows());
        let local = || LocalReduce::new(&spec).unwrap();
        let owner = |owns| MergeReduce::new(&spec, owns).unwrap();
        check(&spec, &epochs, [local(), local()], owner);
    }

    /// Where values are counted, rows are tallied: of the least and the greatest no more than one is kept.
    #[test]
    fn over_appends_that_are_tallied_every_epoch_equals_a_recomputation(epochs in epochs(false), keyed in any::<bool>()) {
        let spec = without(spec(false, keyed), 3);
        prop_assert!(spec.by_rows());
        let local = || KeyRows::new(&spec).unwrap();
        check(&spec, &epochs, [local(), local()], |owns| ReduceRows::new(&spec, owns).unwrap());
    }

    /// Rows of forgotten groups are taken back too.
    #[test]
    fn groups_that_nothing_comes_for_are_forgotten(
        epochs in (any::<bool>()).prop_flat_map(|retracts| (Just(retracts), epochs(retracts))),
        quiet in 0..6usize,
    ) {
        let (retracts, mut epochs) = epochs;
        epochs.insert(epochs.len() / 2, Vec::new());
        epochs.splice(epochs.len() / 2..epochs.len() / 2, vec![Vec::new(); quiet]);
        let spec = ReduceSpec { state_ttl_ns: Some(2), ..spec(retracts, true) };
        let lifetimes = || Some(crate::state_ttl::Lifetimes::new(2, 1));
        if retracts {
            let local = || KeyRows::new(&spec).unwrap();
            check(&spec, &epochs, [local(), local()], |owns| ReduceRows::new(&spec, owns).unwrap().forgetting(lifetimes()));
        } else {
            let local = || LocalReduce::new(&spec).unwrap();
            check(&spec, &epochs, [local(), local()], |owns| MergeReduce::new(&spec, owns).unwrap().forgetting(lifetimes()));
        }
    }

    #[test]
    fn over_changes_every_epoch_equals_a_recomputation(epochs in epochs(true), keyed in any::<bool>(), rows in any::<bool>()) {
        let mut spec = spec(true, keyed);
        prop_assert_eq!(spec.kept().unwrap(), Kept::Rows);
        if !rows {
            spec = without(spec, 3);
            prop_assert_eq!(spec.kept().unwrap(), Kept::Values);
        }
        let local = || KeyRows::new(&spec).unwrap();
        let owner = |owns| ReduceRows::new(&spec, owns).unwrap();
        check(&spec, &epochs, [local(), local()], owner);
    }
}

/// Groups by a time go when it is behind, and nothing is taken back; the memory of their keys is given back.
#[test]
fn groups_behind_a_horizon_are_forgotten_and_what_was_said_stays() {
    const HOUR: i64 = 3_600_000_000_000;
    let time = DataType::Timestamp(arrow::datatypes::TimeUnit::Nanosecond, None);
    let schema =
        Arc::new(Schema::new(vec![Field::new("t", time.clone(), true), Field::new("v", DataType::Int64, true)]));
    for retracts in [false, true] {
        let plain = without(spec(retracts, true), 3);
        let fields = plain.schema.fields().iter().skip(1).map(|field| field.as_ref().clone());
        let spec = ReduceSpec {
            horizon: Some(Horizon { column: 0, keep_ns: 2 * HOUR, origin: Default::default() }),
            keys: vec![col("t", &schema).unwrap()],
            input: Box::new(Plan::Source { name: "s".to_string(), schema: schema.clone() }),
            schema: Arc::new(Schema::new(
                [Field::new("t", time.clone(), true)].into_iter().chain(fields).collect::<Vec<_>>(),
            )),
            ..plain
        };
        let said = match retracts {
            true => said_by_the_hour(&spec, KeyRows::new(&spec).unwrap(), ReduceRows::new(&spec, true).unwrap()),
            false => said_by_the_hour(&spec, LocalReduce::new(&spec).unwrap(), MergeReduce::new(&spec, true).unwrap()),
        };
        // Every hour, and no hour, is said, and stays.
        assert_eq!(said, 5_001);
    }
}

/// Feeds both phases ten hours an epoch, of each a row, one of the hour before, and one of no hour at all; gives how many rows are said
/// in the end.
fn said_by_the_hour(
    spec: &ReduceSpec,
    mut first: impl crate::operator::Operator,
    mut second: impl crate::operator::Operator,
) -> i64 {
    const HOUR: i64 = 3_600_000_000_000;
    let (mut said, mut early) = (0, 0);
    for epoch in 0..500i64 {
        let hours = epoch * 10..(epoch + 1) * 10;
        let reached = Watermark((hours.end - 1) * HOUR);
        let times = Times { before: reached, now: reached, reached };
        let at = hours.flat_map(|hour| [Some(hour * HOUR), Some((hour - 1).max(0) * HOUR), None]);
        let at = Arc::new(arrow::array::TimestampNanosecondArray::from_iter(at));
        let values = Arc::new(Int64Array::from_iter_values(0..30));
        let rows = RecordBatch::try_new(spec.input.schema(), vec![at, values]).unwrap();
        let batch = match spec.retracts {
            true => Batch::changes(rows, Int64Array::from(vec![1; 30])),
            false => Batch::append(rows),
        };
        let (mut between, mut output) = (Output::default(), Output::default());
        first.process(Epoch(epoch as u64), Rows::unbounded(batch), &mut between).unwrap();
        first.finish_epoch(Epoch(epoch as u64), times, &mut between).unwrap();
        for (_, rows) in between.sent {
            second.process(Epoch(epoch as u64), rows, &mut output).unwrap();
        }
        second.finish_epoch(Epoch(epoch as u64), times, &mut output).unwrap();
        for batch in output.sent.into_iter().filter_map(|(_, rows)| rows.into_batch()) {
            said += (0..batch.num_rows()).map(|row| batch.diff(row)).sum::<i64>();
        }
        let state = second.state();
        assert!(state.rows <= 4, "{} groups are held in epoch {epoch}", state.rows);
        early = if epoch == 150 { state.bytes } else { early };
        assert!(epoch < 300 || state.bytes < 3 * early, "{} bytes for {} groups", state.bytes, state.rows);
    }
    said
}

/// The same without one of its aggregates.
fn without(mut spec: ReduceSpec, aggregate: usize) -> ReduceSpec {
    spec.aggregates.remove(aggregate);
    let at = spec.keys.len() + aggregate;
    let fields = spec.schema.fields().iter().enumerate().filter(|(column, _)| *column != at);
    spec.schema = Arc::new(Schema::new(fields.map(|(_, field)| field.clone()).collect::<Vec<_>>()));
    spec
}

#[test]
fn what_is_inserted_and_retracted_leaves_nothing() {
    let spec = spec(true, true);
    let rows: Vec<Row> = (0..40).map(|i| (Some(i % 7), Some(i64::from(i)))).collect();
    let inserted: Vec<_> = rows.iter().map(|row| (*row, 1)).collect();
    let retracted: Vec<_> = rows.iter().rev().map(|row| (*row, -1)).collect();
    let owner = |owns| ReduceRows::new(&spec, owns).unwrap();
    let local = || KeyRows::new(&spec).unwrap();
    let owners = check(&spec, &[inserted, vec![], retracted, vec![]], [local(), local()], owner);
    assert!(owners.iter().all(|owner| owner.state().rows == 0));
}

#[test]
fn groups_that_are_forgotten_give_their_memory_back() {
    let spec = ReduceSpec { state_ttl_ns: Some(2), ..spec(false, true) };
    let mut operator = MergeReduce::new(&spec, true).unwrap().forgetting(Some(crate::state_ttl::Lifetimes::new(2, 1)));
    let times = Times { before: Watermark::MIN, now: Watermark::MIN, reached: Watermark::MIN };
    let mut sizes = Vec::new();
    for epoch in 0..60u64 {
        let keys = StringArray::from_iter_values((0..1_000).map(|key| format!("{}", epoch * 1_000 + key)));
        let values = Int64Array::from_iter_values(0..1_000);
        let rows = RecordBatch::try_new(spec.input.schema(), vec![Arc::new(keys), Arc::new(values)]).unwrap();
        let (mut local, mut partials) = (LocalReduce::new(&spec).unwrap(), Output::default());
        local.process(Epoch(epoch), Rows::unbounded(Batch::append(rows)), &mut partials).unwrap();
        local.finish_epoch(Epoch(epoch), times, &mut partials).unwrap();
        for (_, rows) in partials.sent {
            operator.process(Epoch(epoch), rows, &mut Output::default()).unwrap();
        }
        operator.finish_epoch(Epoch(epoch), times, &mut Output::default()).unwrap();
        assert!(operator.state().rows <= 3_000);
        sizes.push(operator.state().bytes);
    }
    assert!(sizes[59] < 2 * sizes[10], "{sizes:?}");
    for epoch in 60..64 {
        operator.finish_epoch(Epoch(epoch), times, &mut Output::default()).unwrap();
    }
    assert_eq!((operator.state().rows, operator.wake_at()), (0, None));
}

#[test]
fn groups_that_come_and_go_give_their_memory_back() {
    let spec = spec(true, true);
    let mut operator = ReduceRows::new(&spec, true).unwrap();
    let times = Times { before: Watermark::MIN, now: Watermark::MIN, reached: Watermark::MIN };
    let mut largest = 0;
    for round in 0..30u32 {
        let keys = StringArray::from_iter_values((0..1_000).map(|key| format!("{}", round * 1_000 + key)));
        let values = Int64Array::from_iter_values(0..1_000);
        let rows = RecordBatch::try_new(spec.input.schema(), vec![Arc::new(keys), Arc::new(values)]).unwrap();
        for diff in [1, -1] {
            let batch = Batch::changes(rows.clone(), vec![diff; 1_000].into());
            let mut keyed = Output::default();
            KeyRows::new(&spec).unwrap().process(Epoch(1), Rows::unbounded(batch), &mut keyed).unwrap();
            let keyed = keyed.sent.remove(0).1;
            operator.process(Epoch(1), keyed, &mut Output::default()).unwrap();
            operator.finish_epoch(Epoch(1), times, &mut Output::default()).unwrap();
            largest = largest.max(operator.state().bytes);
        }
        if round == 4 {
            largest = 0;
        }
    }
    assert_eq!(operator.state().rows, 0);
    assert!(largest < 3_000_000, "{largest} bytes are kept");
}

#[test]
fn a_checkpoint_writes_the_groups_that_lie_by_those_that_changed() {
    let spec = spec(true, true);
    let mut operator = ReduceRows::new(&spec, true).unwrap();
    let times = Times { before: Watermark::MIN, now: Watermark::MIN, reached: Watermark::MIN };
    let change = |operator: &mut ReduceRows, keys: std::ops::Range<usize>| {
        let rows = keys.len();
        let keyed = StringArray::from_iter_values(keys.map(|key| key.to_string()));
        let columns: Vec<arrow::array::ArrayRef> = vec![Arc::new(keyed), Arc::new(Int64Array::from(vec![7; rows]))];
        let rows = RecordBatch::try_new(spec.input.schema(), columns).unwrap();
        let batch = Batch::changes(rows.clone(), vec![1; rows.num_rows()].into());
        let mut keyed = Output::default();
        KeyRows::new(&spec).unwrap().process(Epoch(1), Rows::unbounded(batch), &mut keyed).unwrap();
        operator.process(Epoch(1), keyed.sent.remove(0).1, &mut Output::default()).unwrap();
        operator.finish_epoch(Epoch(1), times, &mut Output::default()).unwrap();
    };
    change(&mut operator, 0..50_000);
    let first = operator.snapshot().unwrap();
    let written: BTreeMap<u64, String> = first.iter().map(|section| (section.id, section.label.clone())).collect();
    change(&mut operator, 3..4);
    let second = operator.snapshot().unwrap();
    let new: Vec<_> = second.into_iter().filter(|section| !written.contains_key(&section.id)).collect();
    let rows: usize = new.into_iter().map(|section| (section.rows)().unwrap().num_rows()).sum();
    // A block of each kind of section; the result of one group.
    assert!(rows <= 8 * 1_024, "{rows} rows are written for one that changed");
    // What the first one holds is of its own moment, though it is made later.
    let values = first.into_iter().find(|section| section.label == "groups").unwrap();
    let rows = (values.rows)().unwrap();
    assert!(rows.column(1).as_primitive::<arrow::datatypes::Int64Type>().values().iter().all(|rows| *rows == 1));
}
