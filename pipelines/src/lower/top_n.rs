//! The first rows of each partition: `ROW_NUMBER() OVER (..) <= n`, `DISTINCT ON`, `LIMIT` with or without `ORDER BY`.

use super::{Lowered, Lowering, Place};
use crate::bind::Mode;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::Column;
use datafusion::logical_expr::expr::{Sort as SortExpr, WindowFunctionParams};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    Between, BinaryExpr, DistinctOn, Expr, FetchType, Filter, Limit, LogicalPlan, Operator, Projection, SkipType,
    SubqueryAlias, Window, WindowFunctionDefinition,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::scalar::ScalarValue;
use std::sync::Arc;
use thalweg_operators::closing::Closes;
use thalweg_operators::filter::FilterSpec;
use thalweg_operators::ordered::OrderBy;
use thalweg_operators::plan::{Plan, TimeOrigin};
use thalweg_operators::top_n::{Rank, TopNSpec};
use thalweg_schemas::error::{Error, Result};

/// What is shown of the rows of each partition.
struct Top<'a> {
    partition: Vec<&'a Expr>,
    order: Vec<&'a SortExpr>,
    rank: Rank,
    places: Places,
    /// What the column of places is called, if it is there.
    numbered: Option<&'a str>,
}

/// Some places, from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Places {
    first: u64,
    last: u64,
}

impl Lowering<'_> {
    /// A filter on the place of rows in their partition; `None` if the filter is about something else.
    pub(super) fn ranked(&self, filter: &Filter) -> Result<Option<Lowered>> {
        let LogicalPlan::Window(window) = filter.input.as_ref() else { return Ok(None) };
        let Some((rank, params)) = ranking(window) else { return Ok(None) };
        let place = Column::from(window.schema.qualified_field(window.schema.fields().len() - 1));
        let (mut places, mut others) = (Places { first: 1, last: u64::MAX }, Vec::new());
        for conjunct in split_conjunction(&filter.predicate) {
            match places.within(conjunct, &place) {
                Some(narrower) => places = narrower,
                None => others.push(conjunct),
            }
        }
        if places.last == u64::MAX {
            return Ok(None);
        }
        let top = Top {
            partition: params.partition_by.iter().collect(),
            order: params.order_by.iter().collect(),
            rank,
            places,
            numbered: Some(place.name.as_str()),
        };
        let mut lowered = self.top(&window.input, top)?;
        for predicate in others {
            let predicate = self.physical(predicate, &lowered.schema(&window.schema)?)?;
            lowered.plan = Plan::Filter(FilterSpec { input: Box::new(lowered.plan), predicate });
        }
        Ok(Some(lowered))
    }

    /// `DISTINCT ON (..)`: the first row of each.
    pub(super) fn distinct_on(&self, distinct: &DistinctOn) -> Result<Lowered> {
        let top = Top {
            partition: distinct.on_expr.iter().collect(),
            order: distinct.sort_expr.iter().flatten().collect(),
            rank: Rank::RowNumber,
            places: Places { first: 1, last: 1 },
            numbered: None,
        };
        let input = self.top(&distinct.input, top)?;
        self.project(input, distinct.input.schema(), &distinct.select_expr, &distinct.schema)
    }

    /// `LIMIT`, by the `ORDER BY` before it; without one by an order that is the same for all workers.
    pub(super) fn limit(&self, limit: &Limit) -> Result<Lowered> {
        let limited = |input: &Arc<LogicalPlan>| {
            Arc::new(LogicalPlan::Limit(Limit {
                input: input.clone(),
                skip: limit.skip.clone(),
                fetch: limit.fetch.clone(),
            }))
        };
        let fault = |error: datafusion::common::DataFusionError| Error::bug(error.strip_backtrace());
        match limit.input.as_ref() {
            // A projection keeps the number of rows and their order.
            LogicalPlan::Projection(inner) => {
                let inner =
                    Projection::try_new_with_schema(inner.expr.clone(), limited(&inner.input), inner.schema.clone());
                return self.lower(&LogicalPlan::Projection(inner.map_err(fault)?));
            }
            LogicalPlan::SubqueryAlias(inner) => {
                let inner = SubqueryAlias::try_new(limited(&inner.input), inner.alias.clone());
                return self.lower(&LogicalPlan::SubqueryAlias(inner.map_err(fault)?));
            }
            _ => {}
        }
        let number = |what: &str| {
            let error = Error::user(format!("the number of a {what} in a materialized view is a constant"));
            self.words.find(what).into_iter().fold(error, Error::at)
        };
        let skip = match limit.get_skip_type().map_err(fault)? {
            SkipType::Literal(rows) => rows as u64,
            SkipType::UnsupportedExpr => return Err(number("OFFSET")),
        };
        let last = match limit.get_fetch_type().map_err(fault)? {
            FetchType::Literal(rows) => rows.map_or(u64::MAX, |rows| skip.saturating_add(rows as u64)),
            FetchType::UnsupportedExpr => return Err(number("LIMIT")),
        };
        let (input, order) = match limit.input.as_ref() {
            LogicalPlan::Sort(sort) => (sort.input.as_ref(), sort.expr.iter().collect()),
            other => (other, Vec::new()),
        };
        let places = Places { first: skip + 1, last };
        self.top(input, Top { partition: Vec::new(), order, rank: Rank::RowNumber, places, numbered: None })
    }

    fn top(&self, input: &LogicalPlan, top: Top) -> Result<Lowered> {
        let logical = input.schema();
        let lowered = self.lower(input)?.with_windows_assigned()?;
        let exprs: Vec<&Expr> = top.partition.iter().copied().chain(top.order.iter().map(|by| &by.expr)).collect();
        let (input, columns) = self.with_columns(lowered, logical, &exprs)?;
        let (partition, sorted) = columns.split_at(top.partition.len());
        let parts = Partitioned::new(&input, partition.to_vec(), &top.order, sorted);

        let schema = input.plan.schema();
        let width = schema.fields().len();
        let place = top.numbered.map(|name| Arc::new(Field::new(name, DataType::UInt64, false)));
        let fields: Vec<_> = schema.fields().iter().cloned().chain(place).collect();
        let (mut times, bounds) = parts.times(&input);
        times.resize(fields.len(), None);
        let mut columns = input.columns.clone();
        columns.extend(top.numbered.map(|_| Place::Base(width)));
        let of_each: Vec<Vec<usize>> = partition.iter().map(|at| vec![*at]).collect();
        let key = match (top.rank, top.places.first == top.places.last, top.numbered.is_some()) {
            (Rank::RowNumber, true, _) => Some(of_each),
            (Rank::RowNumber, false, true) => input.key.or_else(|| Some([of_each, vec![vec![width]]].concat())),
            _ => input.key,
        };
        let mode = parts.mode();
        let spec = TopNSpec {
            state_ttl_ns: None,
            horizon: None,
            retracts: input.mode != Mode::Append,
            partition: parts.partition,
            order: parts.order,
            rank: top.rank,
            skip: top.places.first.saturating_sub(1),
            limit: top.places.count(),
            numbered: top.numbered.is_some(),
            closes: parts.closes,
            schema: Arc::new(Schema::new(fields)),
            input: Box::new(input.plan),
        };
        Ok(Lowered { columns, bounds, ..Lowered::straight(Plan::TopN(Box::new(spec)), mode, times, key) })
    }
}

/// Partitions in order over the columns of a plan, and when they are complete.
pub(super) struct Partitioned {
    pub partition: Vec<usize>,
    pub order: Vec<OrderBy>,
    pub closes: Option<Closes>,
    /// The bounds of windows among the columns of the partition.
    bounds: Vec<usize>,
}

impl Partitioned {
    /// By the columns `partition`, ordered as `order` says by the columns `sorted`.
    pub(super) fn new(input: &Lowered, partition: Vec<usize>, order: &[&SortExpr], sorted: &[usize]) -> Partitioned {
        let order = sorted.iter().zip(order).map(|(column, by)| OrderBy {
            column: *column,
            descending: !by.asc,
            nulls_first: by.nulls_first,
        });
        let order = order.collect();
        let schema = input.plan.schema();
        let is_bound =
            |at: &usize| input.bounds.contains(at) && input.times[*at].is_some() && !schema.field(*at).is_nullable();
        let mut bounds: Vec<usize> = partition.iter().copied().filter(is_bound).collect();
        if input.mode == Mode::Changelog {
            bounds.clear();
        }
        let origin = bounds.first().and_then(|at| Some((*at, input.times[*at].clone()?)));
        let closes = origin.map(|(column, origin)| Closes { column, origin });
        Partitioned { partition, order, closes, bounds }
    }

    /// Rows of partitions that are complete never change.
    pub(super) fn mode(&self) -> Mode {
        if self.closes.is_some() { Mode::Windows } else { Mode::Changelog }
    }

    /// The event times among the columns of the plan that remain such, and which of them are bounds of windows.
    pub(super) fn times(&self, input: &Lowered) -> (Vec<Option<TimeOrigin>>, Vec<usize>) {
        let kept = |at: usize| input.times[at].clone().filter(|_| self.bounds.contains(&at));
        ((0..input.times.len()).map(kept).collect(), self.bounds.clone())
    }
}

/// The ranking function that a window computes, if it computes just that.
fn ranking(window: &Window) -> Option<(Rank, &WindowFunctionParams)> {
    let [expr] = window.window_expr.as_slice() else { return None };
    let Expr::WindowFunction(call) = super::project::bare(expr) else { return None };
    let WindowFunctionDefinition::WindowUDF(function) = &call.fun else { return None };
    let rank = match function.name() {
        "row_number" => Rank::RowNumber,
        "rank" => Rank::Rank,
        "dense_rank" => Rank::DenseRank,
        _ => return None,
    };
    Some((rank, &call.params))
}

impl Places {
    fn count(self) -> u64 {
        if self.last == u64::MAX { u64::MAX } else { (self.last + 1).saturating_sub(self.first) }
    }

    /// Those of them for which `predicate` is true, if it compares `place` with a constant.
    fn within(self, predicate: &Expr, place: &Column) -> Option<Places> {
        match predicate {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                if is_place(left, place) {
                    self.compared(*op, number(right)?)
                } else if is_place(right, place) {
                    self.compared(op.swap()?, number(left)?)
                } else {
                    None
                }
            }
            Expr::Between(Between { expr, negated: false, low, high }) if is_place(expr, place) => {
                self.compared(Operator::GtEq, number(low)?)?.compared(Operator::LtEq, number(high)?)
            }
            _ => None,
        }
    }

    fn compared(self, op: Operator, number: i64) -> Option<Places> {
        let at_most = |last: i64| Places { last: self.last.min(last.max(0) as u64), ..self };
        let at_least = |first: i64| Places { first: self.first.max(first.max(1) as u64), ..self };
        Some(match op {
            Operator::LtEq => at_most(number),
            Operator::Lt => at_most(number.saturating_sub(1)),
            Operator::GtEq => at_least(number),
            Operator::Gt => at_least(number.saturating_add(1)),
            Operator::Eq => at_least(number).compared(Operator::LtEq, number)?,
            _ => return None,
        })
    }
}

fn is_place(expr: &Expr, place: &Column) -> bool {
    match expr {
        Expr::Column(column) => column == place,
        Expr::Cast(cast) => is_place(&cast.expr, place),
        _ => false,
    }
}

fn number(expr: &Expr) -> Option<i64> {
    let Expr::Literal(value, _) = expr else { return None };
    match value.cast_to(&DataType::Int64).ok()? {
        // A fraction is the place of no row.
        ScalarValue::Int64(Some(number)) if value.data_type().is_integer() => Some(number),
        _ => None,
    }
}

/// `input` without the places of a top-N that nobody reads: `exprs` are what is computed from it.
pub(super) fn without_unread_places(input: Plan, exprs: &[Arc<dyn PhysicalExpr>]) -> Plan {
    let reads = |expr: &Arc<dyn PhysicalExpr>, at: usize| collect_columns(expr).iter().any(|c| c.index() == at);
    match input {
        Plan::TopN(mut spec) => {
            let place = spec.schema.fields().len() - 1;
            if spec.numbered && !exprs.iter().any(|expr| reads(expr, place)) {
                spec.numbered = false;
                spec.schema = spec.input.schema();
            }
            Plan::TopN(spec)
        }
        Plan::Filter(spec) => {
            let exprs: Vec<_> = exprs.iter().cloned().chain([spec.predicate.clone()]).collect();
            let input = Box::new(without_unread_places(*spec.input, &exprs));
            Plan::Filter(FilterSpec { input, predicate: spec.predicate })
        }
        other => other,
    }
}
