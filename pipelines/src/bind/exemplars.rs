//! The rows behind an alert's: which aggregation made those, and how its groups are found again in the alert's relation.
//!
//! Only a relation whose rows say which group they are of has such rows: the columns that name the group must come through
//! unchanged. Of any other an event shows the relation's own rows.

use crate::lower::position;
use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::{CaseExpr, Column, NegativeExpr, cast, lit};
use datafusion::physical_expr::utils::collect_columns;
use std::collections::BTreeSet;
use std::sync::Arc;
use thalweg_operators::aggregate::{Aggregate, exemplars};
use thalweg_operators::alert::{AlertSpec, AlertTime, Exemplars};
use thalweg_operators::plan::{Dataflow, Plan};
use thalweg_operators::reduce::ReduceSpec;
use thalweg_operators::session_aggregate::SessionAggregateSpec;
use thalweg_operators::window_aggregate::WindowAggregateSpec;
use thalweg_schemas::error::{Error, Result};

/// Rows behind those of the alert's relation, if it groups any. `falling` are the columns that are wrong when they are too
/// small: of these the smallest rows weigh most.
pub(super) fn of(spec: &AlertSpec, falling: &BTreeSet<String>, dataflow: &Dataflow) -> Result<Option<Box<Exemplars>>> {
    let Some(traced) = trace(&spec.input, dataflow) else { return Ok(None) };
    let Some(grouped) = Grouped::of(traced.aggregation) else { return Ok(None) };
    let Some((group, time)) = found_again(spec, &traced, &grouped) else { return Ok(None) };
    let in_plan = |at: &usize| group.iter().find(|(_, own)| own == at).map(|(column, _)| *column);
    let Some(keys) = spec.keys.iter().map(in_plan).collect::<Option<Vec<_>>>() else { return Ok(None) };

    // What a condition looks at first says which rows weigh most.
    let looked_at = spec.values.iter().find_map(|at| {
        let result = traced.columns[*at].from.iter().find(|column| **column >= grouped.leading())?;
        Some((*at, &grouped.aggregates[*result - grouped.leading()]))
    });
    let input = grouped.input.schema();
    let falls = |at: usize| falling.contains(spec.input.schema().field(at).name());
    let weight = match looked_at {
        Some((at, aggregate)) => weight(aggregate, &input, falls(at))?,
        None => None,
    };
    let plan = grouped.with(traced.aggregation, weight.clone().unwrap_or_else(|| lit(0.0f64)), spec.sample_rows)?;
    Ok(Some(Box::new(Exemplars { plan, weight, group, keys, time })))
}

/// A column of a relation, as seen from the aggregation below.
#[derive(Clone, Default)]
struct Origin {
    /// The column of the aggregation that it is, unchanged.
    same: Option<usize>,
    /// Those that it is computed from.
    from: BTreeSet<usize>,
}

/// The aggregation nearest below a relation, and where the relation's columns come from.
struct Traced<'a> {
    aggregation: &'a Plan,
    columns: Vec<Origin>,
}

/// Goes down as far as rows stay rows; rendering goes the same way.
fn trace<'a>(plan: &'a Plan, dataflow: &'a Dataflow) -> Option<Traced<'a>> {
    let width = plan.schema().fields().len();
    let inner = |input: &'a Plan| trace(input, dataflow);
    let mut traced = match plan {
        Plan::WindowAggregate(_) | Plan::SessionAggregate(_) | Plan::Reduce(_) => {
            let own = |at| Origin { same: Some(at), from: BTreeSet::from([at]) };
            Traced { aggregation: plan, columns: (0..width).map(own).collect() }
        }
        Plan::View { name, .. } => inner(&dataflow.views.iter().find(|view| view.name == *name)?.plan)?,
        Plan::Filter(spec) => inner(&spec.input)?,
        Plan::TopN(spec) => inner(&spec.input)?,
        Plan::Over(spec) => inner(&spec.input)?,
        Plan::Join(spec) => inner(&spec.left)?,
        Plan::Series(spec) => {
            let traced = inner(&spec.input)?;
            let judged = [&spec.value].into_iter().chain(&spec.others);
            let from = judged.flat_map(|value| traced.columns[*value].from.clone()).collect();
            let said = Origin { same: None, from };
            let said = std::iter::repeat_n(said, width - traced.columns.len());
            Traced { columns: traced.columns.iter().cloned().chain(said).collect(), ..traced }
        }
        Plan::Project(spec) => {
            let traced = inner(&spec.input)?;
            let origin = |expr: &Arc<dyn PhysicalExpr>| match position(expr) {
                Some(at) => traced.columns[at].clone(),
                None => {
                    let read = collect_columns(expr);
                    let from = read.iter().flat_map(|column| traced.columns[column.index()].from.clone());
                    Origin { same: None, from: from.collect() }
                }
            };
            Traced { columns: spec.exprs.iter().map(origin).collect(), ..traced }
        }
        _ => return None,
    };
    traced.columns.resize(width, Origin::default());
    Some(traced)
}

/// What aggregations have in common.
struct Grouped<'a> {
    input: &'a Plan,
    /// How many of the leading columns are bounds of the window.
    bounds: usize,
    keys: usize,
    aggregates: &'a [Aggregate],
    schema: SchemaRef,
}

impl<'a> Grouped<'a> {
    /// `None` where rows are taken back: those that an event showed could be gone, and to know the next ones all would
    /// have to be kept.
    fn of(plan: &'a Plan) -> Option<Grouped<'a>> {
        let schema = plan.schema();
        Some(match plan {
            Plan::WindowAggregate(spec) => {
                let WindowAggregateSpec { input, keys, aggregates, .. } = spec.as_ref();
                Grouped { input, bounds: 2, keys: keys.len(), aggregates, schema }
            }
            Plan::SessionAggregate(spec) => {
                let SessionAggregateSpec { input, keys, aggregates, .. } = spec.as_ref();
                Grouped { input, bounds: 2, keys: keys.len(), aggregates, schema }
            }
            Plan::Reduce(spec) if !spec.retracts => {
                let ReduceSpec { input, keys, aggregates, .. } = spec.as_ref();
                Grouped { input, bounds: 0, keys: keys.len(), aggregates, schema }
            }
            _ => return None,
        })
    }

    /// How many columns stand before the results.
    fn leading(&self) -> usize {
        self.bounds + self.keys
    }

    /// The same aggregation, of exemplars and of a count.
    fn with(&self, plan: &Plan, rank: Arc<dyn PhysicalExpr>, rows: usize) -> Result<Plan> {
        let input = self.input.schema();
        let mut arguments = vec![lit(i64::try_from(rows).unwrap_or(i64::MAX)), rank];
        // Columns of such names are ours, not the user's.
        let shown = input.fields().iter().enumerate().filter(|(_, field)| !field.name().starts_with("__"));
        arguments.extend(shown.map(|(at, field)| Arc::new(Column::new(field.name(), at)) as Arc<dyn PhysicalExpr>));
        let build = |function, arguments, name: &str| -> Result<Aggregate> {
            let function = AggregateExprBuilder::new(function, arguments).schema(input.clone()).alias(name).build();
            let function = function.map_err(|error| Error::bug(error.strip_backtrace().to_string()))?;
            Ok(Aggregate { function: Arc::new(function), filter: self.filter() })
        };
        let sample = build(exemplars::function(), arguments, "sample")?;
        let of = build(count_udaf(), vec![lit(1i64)], "input_rows")?;
        let mut fields = self.schema.fields()[..self.leading()].to_vec();
        fields.push(Arc::new(Field::new("sample", DataType::Utf8, true)));
        fields.push(Arc::new(Field::new("input_rows", DataType::Int64, false)));
        let (aggregates, schema) = (vec![sample, of], Arc::new(arrow::datatypes::Schema::new(fields)));
        Ok(match plan.clone() {
            Plan::WindowAggregate(spec) => {
                Plan::WindowAggregate(Box::new(WindowAggregateSpec { aggregates, schema, ..*spec }))
            }
            Plan::SessionAggregate(spec) => {
                Plan::SessionAggregate(Box::new(SessionAggregateSpec { aggregates, schema, ..*spec }))
            }
            Plan::Reduce(spec) => Plan::Reduce(Box::new(ReduceSpec { aggregates, schema, ..*spec })),
            _ => return Err(Error::bug("exemplars of a plan that aggregates nothing")),
        })
    }

    /// The filter of the aggregates, where all have the same: other rows are not behind the result.
    fn filter(&self) -> Option<Arc<dyn PhysicalExpr>> {
        let filter = self.aggregates.first()?.filter.clone()?;
        let text = filter.to_string();
        let same = |aggregate: &Aggregate| aggregate.filter.as_ref().is_some_and(|filter| filter.to_string() == text);
        self.aggregates.iter().all(same).then_some(filter)
    }
}

/// The columns that tell groups apart, in the aggregation and in the relation, and which of the former is the alert's
/// time; `None` where the relation does not have them.
fn found_again(
    spec: &AlertSpec,
    traced: &Traced<'_>,
    grouped: &Grouped<'_>,
) -> Option<(Vec<(usize, usize)>, Option<usize>)> {
    let own = &traced.columns[..spec.width];
    let place = |column: usize| Some((column, own.iter().position(|origin| origin.same == Some(column))?));
    // Those of the alert's key are taken as it has them, of several that are the same.
    let key = |column: usize| {
        let at = spec.keys.iter().find(|at| own.get(**at).is_some_and(|origin| origin.same == Some(column)))?;
        Some((column, *at))
    };
    let keys = (grouped.bounds..grouped.leading()).map(|column| key(column).or_else(|| place(column)));
    let mut group = keys.collect::<Option<Vec<_>>>()?;
    let time = match &spec.time {
        AlertTime::Event { column, .. } => {
            let bound = own.get(*column)?.same.filter(|bound| *bound < grouped.bounds)?;
            group.push((bound, *column));
            Some(bound)
        }
        AlertTime::Clock if grouped.bounds > 0 => {
            group.push(place(1).or_else(|| place(0))?);
            None
        }
        AlertTime::Clock => None,
    };
    Some((group, time))
}

/// How much a row weighs in the result of `aggregate`: its own value, or whether it is counted; `None`: as all others.
fn weight(aggregate: &Aggregate, input: &SchemaRef, falls: bool) -> Result<Option<Arc<dyn PhysicalExpr>>> {
    let fault = |error: datafusion::error::DataFusionError| Error::bug(error.strip_backtrace().to_string());
    let argument =
        aggregate.function.expressions().first().filter(|_| aggregate.function.fun().name() != "count").cloned();
    let mut value = None;
    if let Some(argument) = argument {
        let data_type = argument.data_type(input).map_err(fault)?;
        if data_type.is_numeric() || data_type == DataType::Boolean {
            value = Some(cast(argument, input, DataType::Float64).map_err(fault)?);
        }
    }
    let falling = |value: Arc<dyn PhysicalExpr>| match falls {
        true => Arc::new(NegativeExpr::new(value)) as Arc<dyn PhysicalExpr>,
        false => value,
    };
    let value = value.map(falling);
    let Some(filter) = &aggregate.filter else { return Ok(value) };
    let counted = vec![(filter.clone(), value.unwrap_or_else(|| lit(1.0f64)))];
    Ok(Some(Arc::new(CaseExpr::try_new(None, counted, None).map_err(fault)?)))
}
