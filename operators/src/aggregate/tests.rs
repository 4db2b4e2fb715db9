//! Every aggregate function that DataFusion has, through partial states, merging and evaluation as the operators do it,
//! against DataFusion's accumulator over all rows in one go.

use super::bypass::Bypass;
use super::table::{GroupTable, Grouping};
use super::*;
use arrow::array::{AsArray, BooleanArray, Float64Array, Int64Array, ListArray, RecordBatch, StringArray};
use arrow::compute::concat;
use arrow::datatypes::{Field, Float64Type, Schema, SchemaRef};
use arrow::util::display::array_value_to_string;
use datafusion_common::ScalarValue;
use datafusion_expr::AggregateUDF;
use datafusion_functions_aggregate::all_default_aggregate_functions;
use datafusion_physical_expr::PhysicalSortExpr;
use datafusion_physical_expr::aggregate::AggregateExprBuilder;
use datafusion_physical_expr::expressions::{cast, col, lit};

const ROWS: i64 = 600;
const GROUPS: i64 = 7;

fn rows() -> RecordBatch {
    let schema = Schema::new(vec![
        Field::new("g", DataType::Int64, false),
        Field::new("i", DataType::Int64, true),
        Field::new("x", DataType::Float64, true),
        Field::new("y", DataType::Float64, true),
        Field::new("s", DataType::Utf8, true),
        Field::new("b", DataType::Boolean, true),
    ]);
    let some = |row: i64| row % 11 != 3;
    // The last group has only NULLs.
    let group = |row: i64| (row * 31 + row / 7) % GROUPS;
    let there = |row: i64| some(row) && group(row) != GROUPS - 1;
    let number = |row: i64| (row * 7919) % 101 - 50;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values((0..ROWS).map(group))),
        Arc::new(Int64Array::from_iter((0..ROWS).map(|r| there(r).then(|| number(r))))),
        Arc::new(Float64Array::from_iter((0..ROWS).map(|r| there(r).then(|| number(r) as f64 / 4.0)))),
        Arc::new(Float64Array::from_iter((0..ROWS).map(|r| there(r).then(|| number(r + 5) as f64 / 8.0)))),
        Arc::new(StringArray::from_iter((0..ROWS).map(|r| there(r).then(|| format!("s{}", number(r)))))),
        Arc::new(BooleanArray::from_iter((0..ROWS).map(|r| there(r).then(|| number(r) > -45)))),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

type Exprs = Vec<Arc<dyn PhysicalExpr>>;

/// Arguments that the function could take, the likeliest first.
fn arguments(name: &str, schema: &SchemaRef) -> Exprs {
    let column = |name| col(name, schema).unwrap();
    match name {
        "covar_samp" | "covar_pop" | "corr" => vec![column("x"), column("y")],
        name if name.starts_with("regr_") => vec![column("x"), column("y")],
        "approx_percentile_cont" | "percentile_cont" => vec![column("x"), lit(0.75f64)],
        "approx_percentile_cont_with_weight" => {
            vec![column("x"), cast(lit(1.0f64), schema, DataType::Float64).unwrap(), lit(0.75f64)]
        }
        "string_agg" => vec![column("s"), lit(",")],
        "nth_value" => vec![column("i"), lit(3i64)],
        "bool_and" | "bool_or" => vec![column("b")],
        "sum" | "bit_and" | "bit_or" | "bit_xor" | "count" | "array_agg" | "first_value" | "last_value" => {
            vec![column("i")]
        }
        "approx_distinct" | "min" | "max" | "any_value" => vec![column("s")],
        _ => vec![column("x")],
    }
}

fn aggregate(function: &Arc<AggregateUDF>, arguments: Exprs, schema: &SchemaRef, kind: Kind) -> Option<Aggregate> {
    let mut builder = AggregateExprBuilder::new(function.clone(), arguments).schema(schema.clone()).alias("a");
    builder = match kind {
        Kind::Plain => builder,
        Kind::Distinct => builder.distinct(),
        Kind::Ordered => {
            let by = |name| PhysicalSortExpr { expr: col(name, schema).unwrap(), options: Default::default() };
            builder.order_by(vec![by("i"), by("y")])
        }
    };
    let function = Arc::new(builder.build().ok()?);
    function.create_accumulator().ok()?;
    Some(Aggregate { function, filter: None })
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Plain,
    Distinct,
    Ordered,
}

/// The answer for each group by DataFusion's own accumulator, given its rows at once and in order.
fn in_one_go(aggregate: &Aggregate, rows: &RecordBatch) -> Vec<Option<ScalarValue>> {
    let groups = rows.column(0).as_primitive::<arrow::datatypes::Int64Type>().values().clone();
    let order_bys = aggregate.order_bys();
    (0..GROUPS)
        .map(|group| {
            let own: Vec<u64> = (0..rows.num_rows()).filter(|r| groups[*r] == group).map(|r| r as u64).collect();
            let mut own = arrow::compute::take_record_batch(rows, &arrow::array::UInt64Array::from(own)).unwrap();
            if !order_bys.is_empty() {
                let values =
                    |by: &PhysicalSortExpr| by.expr.evaluate(&own).unwrap().into_array(own.num_rows()).unwrap();
                let columns: Vec<SortColumn> =
                    order_bys.iter().map(|by| SortColumn { values: values(by), options: Some(by.options) }).collect();
                own = arrow::compute::take_record_batch(&own, &lexsort_to_indices(&columns, None).unwrap()).unwrap();
            }
            let values: Vec<ArrayRef> = aggregate
                .exprs()
                .iter()
                .map(|e| e.evaluate(&own).unwrap().into_array(own.num_rows()).unwrap())
                .collect();
            let mut accumulator = aggregate.function.create_accumulator().unwrap();
            accumulator.update_batch(&values).ok()?;
            accumulator.evaluate().ok()
        })
        .collect()
}

/// The answers by the operators' way: partial tables of some rows each, merged one after the other.
fn in_parts(aggregate: &Aggregate, rows: &RecordBatch, part_rows: usize) -> Vec<ScalarValue> {
    let schema = rows.schema();
    let grouping = Grouping::new(&[col("g", &schema).unwrap()], std::slice::from_ref(aggregate), &schema).unwrap();
    let mut state = Part::default();
    for first in (0..rows.num_rows()).step_by(part_rows) {
        let mut table = GroupTable::new(&grouping).unwrap();
        let part = rows.slice(first, part_rows.min(rows.num_rows() - first));
        for batch in [part.slice(0, part.num_rows() / 2), part.slice(part.num_rows() / 2, part.num_rows().div_ceil(2))]
        {
            let values: Vec<ArrayRef> = grouping
                .exprs
                .iter()
                .map(|e| e.evaluate(&batch).unwrap().into_array(batch.num_rows()).unwrap())
                .collect();
            table.add(&grouping, &values, batch.num_rows()).unwrap();
        }
        let mut columns = table.finish().unwrap();
        let states = columns.split_off(1);
        let declared = grouping.states.types().unwrap();
        let types: Vec<DataType> = states.iter().map(|s| s.data_type().clone()).collect();
        assert_eq!(types, declared, "the states are of the types that were declared");
        let numbers = columns[0].as_primitive::<arrow::datatypes::Int64Type>().values().iter().map(|g| *g as u32);
        state = grouping.states.merge_states(vec![state, Part { numbers: numbers.collect(), states }]).unwrap();
    }
    evaluate(&grouping, &state)
}

fn evaluate(grouping: &Grouping, state: &Part) -> Vec<ScalarValue> {
    let results = grouping.states.evaluate(state).unwrap().remove(0);
    let of = |group: u32| state.numbers.iter().position(|n| *n == group).unwrap();
    (0..GROUPS as u32).map(|group| ScalarValue::try_from_array(&results, of(group)).unwrap()).collect()
}

/// The answers where no row is combined with another before the merging, if the aggregate is one that this is done to.
fn in_single_rows(aggregate: &Aggregate, rows: &RecordBatch) -> Option<Vec<ScalarValue>> {
    let schema = rows.schema();
    let grouping = Grouping::new(&[col("g", &schema).unwrap()], std::slice::from_ref(aggregate), &schema).unwrap();
    let mut bypass = Bypass::new(&grouping).unwrap();
    bypass.combined(1 << 20, 1 << 20);
    let evaluate_row = |e: &Arc<dyn PhysicalExpr>| e.evaluate(rows).unwrap().into_array(rows.num_rows()).unwrap();
    let values: Vec<ArrayRef> = grouping.exprs.iter().map(evaluate_row).collect();
    let mut columns = bypass.pass(&grouping, &values, rows.num_rows()).unwrap()?;
    let states = columns.split_off(1);
    let types: Vec<DataType> = states.iter().map(|s| s.data_type().clone()).collect();
    assert_eq!(types, grouping.states.types().unwrap(), "the states are of the types that were declared");
    let numbers = columns[0].as_primitive::<arrow::datatypes::Int64Type>().values().iter().map(|g| *g as u32);
    let state = grouping.states.merge_states(vec![Part { numbers: numbers.collect(), states }]).unwrap();
    Some(evaluate(&grouping, &state))
}

/// Equal, up to the last bits of sums and, where the function approximates, up to its error.
fn alike(name: &str, kind: Kind, one: &ScalarValue, other: &ScalarValue) -> bool {
    if one == other {
        return true;
    }
    let number = |value: &ScalarValue| {
        let value = value.cast_to(&DataType::Float64).ok()?.to_array().ok()?;
        let values = value.as_primitive_opt::<Float64Type>()?;
        values.is_valid(0).then(|| values.value(0))
    };
    if let (Some(a), Some(b)) = (number(one), number(other)) {
        let allowed = if name.starts_with("approx") { 1.0 } else { 1e-9 };
        return (a - b).abs() <= allowed * a.abs().max(b.abs()).max(1.0);
    }
    // Distinct values come in no particular order.
    if let (Kind::Distinct, ScalarValue::List(a), ScalarValue::List(b)) = (kind, one, other) {
        let sorted = |list: &ListArray| {
            let values = concat(&[list.value(0).as_ref()]).unwrap();
            let mut texts: Vec<_> = (0..values.len()).map(|i| array_value_to_string(&values, i).unwrap()).collect();
            texts.sort();
            texts
        };
        return sorted(a) == sorted(b);
    }
    if let (
        Kind::Distinct,
        ScalarValue::Utf8(Some(a)) | ScalarValue::LargeUtf8(Some(a)),
        ScalarValue::Utf8(Some(b)) | ScalarValue::LargeUtf8(Some(b)),
    ) = (kind, one, other)
    {
        let sorted = |text: &str| {
            let mut parts: Vec<String> = text.split(',').map(str::to_string).collect();
            parts.sort();
            parts
        };
        return sorted(a) == sorted(b);
    }
    false
}

fn check_all(kind: Kind) -> Vec<String> {
    let (rows, mut checked) = (rows(), Vec::new());
    let schema = rows.schema();
    let ours = functions();
    for function in all_default_aggregate_functions().iter().chain(&ours) {
        let name = function.name().to_string();
        // GROUPING is taken away by the planner: it never computes anything.
        if name == "grouping" {
            continue;
        }
        let Some(aggregate) = aggregate(function, arguments(&name, &schema), &schema, kind) else { continue };
        let expected = in_one_go(&aggregate, &rows);
        for part_rows in [600, 97, 13] {
            let found = in_parts(&aggregate, &rows, part_rows);
            for (group, (expected, found)) in expected.iter().zip(&found).enumerate() {
                let Some(expected) = expected else { continue };
                assert!(
                    alike(&name, kind, expected, found),
                    "{name} {kind:?}, group {group}, parts of {part_rows}: {found:?}, in one go {expected:?}"
                );
            }
        }
        checked.push(name);
    }
    checked
}

#[test]
fn numbers_are_the_same_when_rows_pass_as_they_are() {
    let (rows, mut passed) = (rows(), Vec::new());
    let schema = rows.schema();
    for function in all_default_aggregate_functions() {
        let name = function.name().to_string();
        let Some(plain) = aggregate(&function, arguments(&name, &schema), &schema, Kind::Plain) else { continue };
        let filtered = Aggregate { filter: Some(col("b", &schema).unwrap()), ..plain.clone() };
        for aggregate in [plain, filtered] {
            let Some(found) = in_single_rows(&aggregate, &rows) else { continue };
            let expected = in_parts(&aggregate, &rows, ROWS as usize);
            for (expected, found) in expected.iter().zip(&found) {
                assert!(alike(&name, Kind::Plain, expected, found), "{name}: {found:?}, combined {expected:?}");
            }
            passed.push(name.clone());
        }
    }
    for name in ["count", "sum", "avg", "stddev"] {
        assert!(passed.contains(&name.to_string()), "{name} did not pass: {passed:?}");
    }
}

#[test]
fn every_aggregate_of_datafusion_is_the_same_in_parts() {
    let checked = check_all(Kind::Plain);
    assert_eq!(checked.len(), all_default_aggregate_functions().len() - 1 + 3, "{checked:?}");
}

#[test]
fn distinct_aggregates_are_the_same_in_parts() {
    let checked = check_all(Kind::Distinct);
    for name in ["count", "sum", "avg", "array_agg", "median", "string_agg"] {
        assert!(checked.contains(&name.to_string()), "{name} DISTINCT was not checked: {checked:?}");
    }
}

#[test]
fn ordered_aggregates_are_the_same_in_parts() {
    let checked = check_all(Kind::Ordered);
    for name in ["array_agg", "first_value", "last_value", "nth_value", "string_agg"] {
        assert!(checked.contains(&name.to_string()), "{name} ORDER BY was not checked: {checked:?}");
    }
}
