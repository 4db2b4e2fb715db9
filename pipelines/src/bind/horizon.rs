//! `revise_until` of what no window bounds: for how long, in event time, a view can still be corrected.
//!
//! `revise_by` names the columns that say to which time a row belongs. Wherever the query first has such a column, rows that
//! come too late are held up; from there the column is followed through the plan, and each operator that holds rows or groups
//! by it forgets them when they are behind. What has no such time (a table of machines, say) stays.

use super::Scope;
use crate::lower::{length_ns, position};
use arrow::datatypes::{DataType, Schema};
use datafusion::physical_expr::expressions::{CastExpr, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_operators::horizon::{Horizon, WithinSpec};
use thalweg_operators::join::{AsofJoinSpec, JoinKind, JoinSpec, Nearest, NullKeys};
use thalweg_operators::plan::{Plan, TimeOrigin};

/// For how long a view is revised.
pub(super) struct Revised {
    /// What the columns are called that say to which time a row belongs.
    pub by: Vec<String>,
    /// So long after that time, in nanoseconds.
    pub until_ns: i64,
    /// By which watermarks event time is told.
    pub clock: TimeOrigin,
}

/// Columns that say to which time a row belongs, and how much later than they say rows of it may come, in nanoseconds.
type Times = BTreeMap<usize, i64>;

impl Revised {
    /// Lets the operators of `plan` forget what is behind; whether any column is called so.
    pub fn bound(&self, plan: &mut Plan) -> bool {
        let mut found = false;
        self.follow(plan, &mut found);
        found
    }

    fn follow(&self, plan: &mut Plan, found: &mut bool) -> Times {
        let mut times = self.within(plan, found);
        let begins = matches!(plan, Plan::Source { .. } | Plan::View { .. } | Plan::Project(_));
        let named = if begins { self.named(&plan.schema()) } else { Vec::new() };
        for column in named.into_iter().filter(|column| !times.contains_key(column)).collect::<Vec<_>>() {
            *found = true;
            self.hold_up(plan, column, 0);
            times.insert(column, 0);
        }
        times
    }

    /// The times among the columns of `plan` that follow from those of its inputs, which are followed first.
    fn within(&self, plan: &mut Plan, found: &mut bool) -> Times {
        let mut input = |input: &mut Plan| self.follow(input, found);
        match plan {
            Plan::Source { .. } | Plan::View { .. } => Times::new(),
            Plan::Filter(spec) => input(&mut spec.input),
            Plan::Within(spec) => input(&mut spec.input),
            Plan::Repeat(spec) => input(&mut spec.input),
            Plan::AssignWindows(spec) => input(&mut spec.input),
            Plan::Project(spec) => {
                let below = input(&mut spec.input);
                let columns = spec.exprs.iter().enumerate();
                columns.filter_map(|(at, expr)| Some((at, later(expr, &below)?))).collect()
            }
            Plan::Union { inputs } => {
                let all: Vec<Times> = inputs.iter_mut().map(input).collect();
                let of_all = |(column, later): (&usize, &i64)| {
                    let each = all.iter().map(|times| times.get(column).copied()).collect::<Option<Vec<i64>>>()?;
                    Some((*column, each.into_iter().fold(*later, i64::max)))
                };
                all.first().into_iter().flatten().filter_map(of_all).collect()
            }
            Plan::Unnest(spec) => {
                let mut times = input(&mut spec.input);
                times.remove(&spec.column);
                times
            }
            Plan::Reduce(spec) => {
                let below = input(&mut spec.input);
                let keys = spec.keys.iter().enumerate();
                let times: Times = keys.filter_map(|(at, key)| Some((at, later(key, &below)?))).collect();
                spec.horizon = self.first(&times);
                times
            }
            Plan::TopN(spec) => {
                let times = input(&mut spec.input);
                if spec.closes.is_none() {
                    spec.horizon = self.first(&of(&times, &spec.partition));
                }
                times
            }
            Plan::Over(spec) => {
                let times = input(&mut spec.input);
                if spec.closes.is_none() && spec.in_order.is_none() {
                    spec.horizon = self.first(&of(&times, &spec.partition));
                }
                times
            }
            Plan::Join(spec) => {
                let (left, right) = (input(&mut spec.left), input(&mut spec.right));
                self.join(spec, left, right)
            }
            Plan::AsofJoin(spec) => {
                let left = input(&mut spec.left);
                input(&mut spec.right);
                self.asof_join(spec, &left);
                left
            }
            Plan::LookupJoin(spec) => {
                input(&mut spec.right);
                input(&mut spec.left)
            }
            // They bound their own state, and their rows have times of their own.
            Plan::WindowAggregate(_)
            | Plan::SessionAggregate(_)
            | Plan::Series(_)
            | Plan::Expand(_)
            | Plan::Envelope(_)
            | Plan::Alert(_) => {
                plan.inputs_mut().into_iter().for_each(|below| drop(input(below)));
                Times::new()
            }
            // What it has found may be taken back for as long as it is there.
            Plan::Recursion(_) | Plan::Recursive { .. } => Times::new(),
        }
    }

    /// Where both sides must be of one time their rows go together; otherwise those of a side that does not decide how rows
    /// of the other stand.
    fn join(&self, spec: &mut JoinSpec, mut left: Times, mut right: Times) -> Times {
        let keys = (0..spec.keys).filter_map(|key| Some((*left.get(&key).max(right.get(&key))?, key)));
        let shared = keys.min().filter(|_| spec.nulls != NullKeys::NotIn);
        if let Some((later, key)) = shared {
            for (times, side) in [(&mut left, &mut spec.left), (&mut right, &mut spec.right)] {
                if times.insert(key, later).is_none() {
                    self.hold_up(side, key, later);
                }
            }
        }
        if spec.within.is_none() && spec.nulls != NullKeys::NotIn {
            let [left_judged, right_judged] = spec.judges();
            spec.horizons = match shared {
                Some((later, key)) => {
                    let horizon = Some(self.horizon(key, later));
                    [horizon.clone(), horizon]
                }
                None => [self.first(&left).filter(|_| !right_judged), self.first(&right).filter(|_| !left_judged)],
            };
        }
        let width = spec.left.schema().fields().len();
        let right = right.into_iter().map(|(column, later)| (column + width, later));
        match spec.kind {
            JoinKind::Inner => left.into_iter().chain(right).collect(),
            JoinKind::Left | JoinKind::Semi | JoinKind::Anti | JoinKind::Mark => left,
            JoinKind::Right => right.collect(),
            JoinKind::Full => Times::new(),
        }
    }

    fn asof_join(&self, spec: &mut AsofJoinSpec, left: &Times) {
        let later = left.get(&spec.left_at).filter(|_| matches!(spec.nearest, Nearest::Before | Nearest::AtOrBefore));
        spec.horizon = later.map(|later| self.horizon(spec.left_at, *later));
    }

    /// The timestamps among the columns that are called so.
    fn named(&self, schema: &Schema) -> Vec<usize> {
        let is_named = |column: &usize| {
            let field = schema.field(*column);
            self.by.contains(field.name()) && matches!(field.data_type(), DataType::Timestamp(..))
        };
        (0..schema.fields().len()).filter(is_named).collect()
    }

    fn horizon(&self, column: usize, later: i64) -> Horizon {
        Horizon { column, keep_ns: self.until_ns.saturating_add(later), origin: self.clock.clone() }
    }

    /// By the time of which rows come the least longer.
    fn first(&self, times: &Times) -> Option<Horizon> {
        let (column, later) = times.iter().min_by_key(|(column, later)| (**later, **column))?;
        Some(self.horizon(*column, *later))
    }

    /// Holds up the rows of `plan` that come too late.
    fn hold_up(&self, plan: &mut Plan, column: usize, later: i64) {
        let input = Box::new(std::mem::replace(plan, Plan::Union { inputs: Vec::new() }));
        *plan = Plan::Within(WithinSpec { input, horizon: self.horizon(column, later) });
    }
}

fn of(times: &Times, columns: &[usize]) -> Times {
    columns.iter().filter_map(|column| Some((*column, *times.get(column)?))).collect()
}

/// How much later than an expression says rows may come, where it is a time of `below`, or such a one put on a grid.
fn later(expr: &Arc<dyn PhysicalExpr>, below: &Times) -> Option<i64> {
    if let Some(column) = position(expr) {
        return below.get(&column).copied();
    }
    let expr: &dyn Any = expr.as_ref();
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        let is_time = matches!(cast.cast_type(), DataType::Timestamp(..));
        return later(cast.expr(), below).filter(|_| is_time);
    }
    let call = expr.downcast_ref::<ScalarFunctionExpr>()?;
    let [grid, time, ..] = call.args() else { return None };
    let grid: &dyn Any = grid.as_ref();
    let grid = grid.downcast_ref::<Literal>()?.value();
    let length = match call.name() {
        "date_bin" => length_ns(grid)?,
        "date_trunc" => longest_ns(grid.try_as_str()??)?,
        _ => return None,
    };
    later(time, below)?.checked_add(length)
}

/// The longest that a unit of the calendar lasts.
fn longest_ns(unit: &str) -> Option<i64> {
    const SECOND: i64 = 1_000_000_000;
    let seconds = match unit.to_lowercase().as_str() {
        "second" | "millisecond" | "microsecond" => 1,
        "minute" => 60,
        "hour" => 3_600,
        "day" => 86_400,
        "week" => 7 * 86_400,
        "month" => 31 * 86_400,
        "quarter" => 92 * 86_400,
        "year" => 366 * 86_400,
        _ => return None,
    };
    Some(seconds * SECOND)
}

/// The watermarks of all that a plan reads, as far as anything promises any.
pub(crate) fn clock_of(plan: &Plan, scope: &Scope) -> TimeOrigin {
    match plan {
        Plan::Source { name, .. } | Plan::View { name, .. } => {
            scope.relations.get(name).map(|relation| relation.clock.clone()).unwrap_or_default()
        }
        _ => plan.inputs().into_iter().fold(TimeOrigin::default(), |all, one| all.union(&clock_of(one, scope))),
    }
}
