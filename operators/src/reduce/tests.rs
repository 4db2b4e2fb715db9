//! Both ways to keep groups up to date against a model that keeps every row.

use super::*;
use crate::exchange::hash_rows;
use crate::operator::{Operator, Output, Times};
use crate::rows::Rows;
use arrow::array::{Int64Array, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion_functions_aggregate::{count::count_udaf, min_max::max_udaf, regr::regr_count_udaf, sum::sum_udaf};
use datafusion_physical_expr::aggregate::AggregateExprBuilder;
use datafusion_physical_expr::expressions::{cast, col, lit};
use proptest::prelude::*;
use std::collections::BTreeMap;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, Watermark};

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
    // The last has no grouped form and goes through the adapter.
    let aggregates = vec![
        aggregate(count_udaf(), vec![lit(1i64)], "n"),
        aggregate(sum_udaf(), vec![v()], "sum"),
        aggregate(max_udaf(), vec![v()], "max"),
        aggregate(regr_count_udaf(), vec![float(), float()], "there"),
    ];
    let mut fields = Vec::new();
    if keyed {
        fields.push(Field::new("k", DataType::Utf8, true));
    }
    fields.extend(aggregates.iter().map(|a| a.function.field().as_ref().clone()));
    ReduceSpec {
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
fn model(rows: &BTreeMap<Row, i64>, keyed: bool) -> BTreeMap<String, i64> {
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
        line.push(there.len().to_string());
        (line.join("|"), 1)
    };
    groups.into_iter().map(line).collect()
}

/// Runs two workers of both phases over `epochs`; after each, what they have said so far must be what the rows answer.
fn check<L: Operator, M: Operator>(
    spec: &ReduceSpec,
    epochs: &[Vec<(Row, i64)>],
    mut locals: [L; 2],
    mut owners: [M; 2],
) {
    let times = Times { before: Watermark::MIN, now: Watermark::MIN };
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
                let own = (0..batch.num_rows() as u64).filter(|row| hashes[*row as usize] as usize % 2 == i);
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
        for (row, diff) in changes {
            *rows.entry(*row).or_default() += diff;
        }
        rows.retain(|_, times| *times != 0);
        assert_eq!(heard, model(&rows, !spec.keys.is_empty()), "as of epoch {epoch}");
    }
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
    #[test]
    fn over_appends_every_epoch_equals_a_recomputation(epochs in epochs(false), keyed in any::<bool>()) {
        let spec = spec(false, keyed);
        let local = || LocalReduce::new(&spec).unwrap();
        let owner = |owns| MergeReduce::new(&spec, owns).unwrap();
        check(&spec, &epochs, [local(), local()], [owner(true), owner(false)]);
    }

    #[test]
    fn over_changes_every_epoch_equals_a_recomputation(epochs in epochs(true), keyed in any::<bool>()) {
        let spec = spec(true, keyed);
        let local = || KeyRows::new(&spec).unwrap();
        let owner = |owns| ReduceRows::new(&spec, owns).unwrap();
        check(&spec, &epochs, [local(), local()], [owner(true), owner(false)]);
    }
}

#[test]
fn what_is_inserted_and_retracted_leaves_nothing() {
    let spec = spec(true, true);
    let rows: Vec<Row> = (0..40).map(|i| (Some(i % 7), Some(i64::from(i)))).collect();
    let inserted: Vec<_> = rows.iter().map(|row| (*row, 1)).collect();
    let retracted: Vec<_> = rows.iter().rev().map(|row| (*row, -1)).collect();
    let owner = |owns| ReduceRows::new(&spec, owns).unwrap();
    let local = || KeyRows::new(&spec).unwrap();
    check(&spec, &[inserted, vec![], retracted, vec![]], [local(), local()], [owner(true), owner(false)]);
}
