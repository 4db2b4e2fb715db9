//! The SELECT list.

use super::{Bounds, Lowered, Lowering, Place, top_n};
use arrow::datatypes::{Field, FieldRef, Schema};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::logical_expr::{Expr, Operator, Projection};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::scalar::ScalarValue;
use std::sync::Arc;
use thalweg_operators::plan::{Plan, TimeOrigin};
use thalweg_operators::project::ProjectSpec;
use thalweg_schemas::error::{Error, Result};

impl Lowering<'_> {
    pub(super) fn projection(&self, projection: &Projection) -> Result<Lowered> {
        let input = self.lower(&projection.input)?;
        self.project(input, projection.input.schema(), &projection.expr, &projection.schema)
    }

    /// The columns `selected`, named as in `output`, over rows whose logical columns are those of `logical`.
    pub(super) fn project(
        &self,
        mut input: Lowered,
        logical: &DFSchema,
        selected: &[Expr],
        output: &DFSchema,
    ) -> Result<Lowered> {
        let passed = |input: &Lowered, expr: &Expr| match bare(expr) {
            Expr::Column(column) => input.place_of(column, logical),
            _ => None,
        };
        let computes_bounds =
            |expr: &Expr| passed(&input, expr).is_none() && input.bounds_in(expr, logical) != Bounds::None;
        if selected.iter().any(computes_bounds) {
            input = input.with_windows_assigned()?;
        }
        let schema = input.schema(logical)?;
        let (mut exprs, mut fields, mut columns) = (Vec::new(), Vec::new(), Vec::new());
        for (expr, field) in selected.iter().zip(output.fields()) {
            match passed(&input, expr) {
                Some(bound @ Place::Bound(_)) => columns.push(bound),
                _ => {
                    columns.push(Place::Base(exprs.len()));
                    exprs.push(self.physical(bare(expr), &schema)?);
                    fields.push(field.clone());
                }
            }
        }
        // Open windows still need their time, whether or not it is selected, and the columns that they are cut by.
        if let Some(open) = &mut input.window {
            for needed in open.needed() {
                if !exprs.iter().any(|e| position(e) == Some(needed)) {
                    let field = input.plan.schema().field(needed).clone();
                    exprs.push(Arc::new(Column::new(field.name(), needed)));
                    fields.push(Arc::new(field));
                }
            }
            open.moved(|at| {
                let place = exprs.iter().position(|e| position(e) == Some(at)).unwrap_or(at);
                (fields[place].name().clone(), place)
            })?;
        }
        let mut lowered = project(input, exprs, fields)?;
        lowered.columns = columns;
        Ok(lowered)
    }
}

/// An expression without the name that it was given.
pub(super) fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => bare(&alias.expr),
        other => other,
    }
}

/// Other columns over the plan of `input`; what is known of columns that are only passed on stays known.
/// The places of logical columns are left as if the new columns were just them.
pub(super) fn project(input: Lowered, exprs: Vec<Arc<dyn PhysicalExpr>>, fields: Vec<FieldRef>) -> Result<Lowered> {
    let source: Vec<Option<usize>> = exprs.iter().map(position).collect();
    let time = |(at, expr): (&Option<usize>, &Arc<dyn PhysicalExpr>)| match at {
        Some(at) => input.times[*at].clone(),
        None => earlier(expr).and_then(|(at, ns)| Some(input.times[at].as_ref()?.delayed(ns))),
    };
    let times: Vec<Option<TimeOrigin>> = source.iter().zip(&exprs).map(time).collect();
    let key = input.key.as_ref().and_then(|key| {
        let passed = |part: &Vec<usize>| {
            let columns = (0..source.len()).filter(|at| source[*at].is_some_and(|column| part.contains(&column)));
            Some(columns.collect::<Vec<_>>()).filter(|columns| !columns.is_empty())
        };
        key.iter().map(passed).collect::<Option<Vec<_>>>()
    });
    let bounds = (0..source.len()).filter(|at| source[*at].is_some_and(|column| input.bounds.contains(&column)));
    let bounds = bounds.collect();
    let columns = (0..exprs.len()).map(Place::Base).collect();
    let fields = fields.iter().map(|f| Arc::new(Field::new(f.name(), f.data_type().clone(), f.is_nullable())));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let plan = over(input.plan, exprs, schema)?;
    Ok(Lowered { plan, mode: input.mode, times, bounds, key, window: input.window, columns })
}

/// The columns at `positions` under other names.
pub(super) fn pick(input: Lowered, positions: &[usize], fields: impl Iterator<Item = FieldRef>) -> Lowered {
    let schema = input.plan.schema();
    let exprs = positions.iter().map(|at| Arc::new(Column::new(schema.field(*at).name(), *at)) as _).collect();
    let fields = fields
        .zip(positions)
        .map(|(f, at)| Arc::new(schema.field(*at).clone().with_name(f.name()).with_metadata(Default::default())));
    let fields = fields.collect();
    let fallback = input.clone();
    project(input, exprs, fields).unwrap_or(fallback)
}

/// A projection of a projection of mere columns is one projection; one that changes nothing is none.
fn over(input: Plan, exprs: Vec<Arc<dyn PhysicalExpr>>, schema: arrow::datatypes::SchemaRef) -> Result<Plan> {
    let identity = exprs.iter().enumerate().all(|(at, expr)| position(expr) == Some(at));
    if identity && schema == input.schema() {
        return Ok(input);
    }
    match input {
        Plan::Project(inner)
            if inner.exprs.iter().all(|e| position(e).is_some()) || exprs.iter().all(|e| position(e).is_some()) =>
        {
            let exprs = exprs.iter().map(|e| replaced(e, &inner.exprs)).collect::<Result<Vec<_>>>()?;
            over(*inner.input, exprs, schema)
        }
        other => {
            let input = Box::new(top_n::without_unread_places(other, &exprs));
            Ok(Plan::Project(ProjectSpec { input, exprs, schema }))
        }
    }
}

/// The position of the column that `expr` is, if it is just one.
pub(crate) fn position(expr: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    (expr.as_ref() as &dyn std::any::Any).downcast_ref::<Column>().map(Column::index)
}

/// The column that `expr` is, a fixed length of time earlier: where the one is a time, so is the other.
fn earlier(expr: &Arc<dyn PhysicalExpr>) -> Option<(usize, i64)> {
    const DAY_NS: i64 = 86_400_000_000_000;
    let minus = (expr.as_ref() as &dyn std::any::Any).downcast_ref::<BinaryExpr>()?;
    let length = (minus.right().as_ref() as &dyn std::any::Any).downcast_ref::<Literal>()?;
    let ScalarValue::IntervalMonthDayNano(Some(length)) = length.value() else { return None };
    let ns = i64::from(length.days).checked_mul(DAY_NS)?.checked_add(length.nanoseconds)?;
    (*minus.op() == Operator::Minus && length.months == 0 && ns >= 0).then_some((position(minus.left())?, ns))
}

/// `expr` with each column replaced by the expression that computes it.
fn replaced(expr: &Arc<dyn PhysicalExpr>, columns: &[Arc<dyn PhysicalExpr>]) -> Result<Arc<dyn PhysicalExpr>> {
    let replace = |e: Arc<dyn PhysicalExpr>| match position(&e) {
        Some(at) => {
            Ok(Transformed::new(columns[at].clone(), true, datafusion::common::tree_node::TreeNodeRecursion::Jump))
        }
        None => Ok(Transformed::no(e)),
    };
    expr.clone().transform_down(replace).data().map_err(|e| Error::bug(e.to_string()))
}

/// The positions of the columns that `expr` reads.
pub(super) fn columns_of(expr: &Arc<dyn PhysicalExpr>) -> Vec<usize> {
    let mut columns: Vec<usize> = collect_columns(expr).iter().map(Column::index).collect();
    columns.sort_unstable();
    columns
}

/// `expr` over columns that stand elsewhere and keep their names.
pub(super) fn moved(expr: &Arc<dyn PhysicalExpr>, to: impl Fn(usize) -> usize) -> Result<Arc<dyn PhysicalExpr>> {
    with_columns(expr, &|column| Column::new(column.name(), to(column.index())))
}

/// `expr` over columns that stand elsewhere: `moved` gives the name and the place of each.
pub(super) fn relocated(
    expr: &Arc<dyn PhysicalExpr>,
    moved: &impl Fn(usize) -> (String, usize),
) -> Result<Arc<dyn PhysicalExpr>> {
    with_columns(expr, &|column| {
        let (name, place) = moved(column.index());
        Column::new(&name, place)
    })
}

/// `expr` with other columns.
fn with_columns(expr: &Arc<dyn PhysicalExpr>, other: &impl Fn(&Column) -> Column) -> Result<Arc<dyn PhysicalExpr>> {
    let relocate = |e: Arc<dyn PhysicalExpr>| match (e.as_ref() as &dyn std::any::Any).downcast_ref::<Column>() {
        Some(column) => {
            let column: Arc<dyn PhysicalExpr> = Arc::new(other(column));
            Ok(Transformed::yes(column))
        }
        None => Ok(Transformed::no(e)),
    };
    expr.clone().transform_up(relocate).data().map_err(|e| Error::bug(e.to_string()))
}

/// The same columns under a schema that only differs in what may be NULL.
pub(super) fn retyped(plan: Plan, schema: &arrow::datatypes::SchemaRef) -> Plan {
    if plan.schema() == *schema {
        return plan;
    }
    match plan {
        Plan::Project(spec) => Plan::Project(ProjectSpec { schema: schema.clone(), ..spec }),
        other => {
            let names = other.schema();
            let columns = names.fields().iter().enumerate();
            let exprs = columns.map(|(at, f)| Arc::new(Column::new(f.name(), at)) as _).collect();
            Plan::Project(ProjectSpec { input: Box::new(other), exprs, schema: schema.clone() })
        }
    }
}
