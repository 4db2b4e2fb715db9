//! EXCEPT and INTERSECT: both sides are counted by all of their columns, and rows shown by what both counts are.
//!
//! With ALL a row is there as often as SQL says, which DataFusion's own plan for it, a join, does not do.

use super::{Lowered, Lowering, project};
use crate::bind::Mode;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::{JoinType, NullEquality};
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::logical_expr::{Distinct, Expr, Join, LogicalPlan, Operator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal, case, cast};
use datafusion::scalar::ScalarValue;
use std::sync::Arc;
use thalweg_operators::aggregate::Aggregate;
use thalweg_operators::filter::FilterSpec;
use thalweg_operators::plan::Plan;
use thalweg_operators::project::ProjectSpec;
use thalweg_operators::reduce::ReduceSpec;
use thalweg_operators::repeat::RepeatSpec;
use thalweg_schemas::error::{Error, Result};

/// Whether a join is how DataFusion plans EXCEPT or INTERSECT: by all columns of both sides, NULL being equal to NULL.
pub(crate) fn is_one(join: &Join) -> bool {
    let is_column = |expr: &Expr| matches!(without_cast(expr), Expr::Column(_));
    matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.null_equality == NullEquality::NullEqualsNull
        && join.filter.is_none()
        && join.on.len() == join.left.schema().fields().len()
        && join.on.len() == join.right.schema().fields().len()
        && join.on.iter().all(|(left, right)| is_column(left) && is_column(right))
}

/// A column of which types were settled: the sides of a set operation are compared as one type.
fn without_cast(expr: &Expr) -> &Expr {
    match expr {
        Expr::Cast(cast) => without_cast(&cast.expr),
        other => other,
    }
}

impl Lowering<'_> {
    pub(super) fn set_operation(&self, join: &Join) -> Result<Lowered> {
        let (left, all) = match join.left.as_ref() {
            LogicalPlan::Distinct(Distinct::All(inner)) => (inner.as_ref(), false),
            other => (other, true),
        };
        let left = self.side(left, None)?;
        let right = self.side(&join.right, Some(&left))?;
        let mode = left.mode.or(right.mode);
        let fields: Vec<FieldRef> =
            left.plan.schema().fields().iter().zip(right.plan.schema().fields()).map(either).collect();
        let width = fields.len() - 2;
        let counted = self.counted(left.plan, right.plan, &fields, mode)?;
        let fields = fields[..width].to_vec();
        let count = |at: usize| Arc::new(Column::new(counted.schema().field(at).name(), at)) as Arc<dyn PhysicalExpr>;
        let (lefts, rights) = (count(width), count(width + 1));
        let zero = || Arc::new(Literal::new(ScalarValue::Int64(Some(0)))) as Arc<dyn PhysicalExpr>;
        let binary = |left, op, right| Arc::new(BinaryExpr::new(left, op, right)) as Arc<dyn PhysicalExpr>;
        let schema = Arc::new(Schema::new(fields.clone()));
        let columns: Vec<_> = (0..width).map(count).collect();
        let except = join.join_type == JoinType::LeftAnti;
        let plan = if all {
            let copies = if except {
                binary(lefts, Operator::Minus, rights)
            } else {
                let fewer = binary(lefts.clone(), Operator::Lt, rights.clone());
                case(None, vec![(fewer, lefts)], Some(rights)).map_err(|e| Error::bug(e.strip_backtrace()))?
            };
            let field = Arc::new(Field::new("copies", DataType::Int64, true));
            let with_copies = Arc::new(Schema::new([fields, vec![field]].concat()));
            let exprs = [columns, vec![copies]].concat();
            let input = Plan::Project(ProjectSpec { input: Box::new(counted), exprs, schema: with_copies });
            Plan::Repeat(RepeatSpec { input: Box::new(input), schema })
        } else {
            let right = binary(rights, if except { Operator::Eq } else { Operator::Gt }, zero());
            let predicate = binary(binary(lefts, Operator::Gt, zero()), Operator::And, right);
            let input = Plan::Filter(FilterSpec { input: Box::new(counted), predicate });
            Plan::Project(ProjectSpec { input: Box::new(input), exprs: columns, schema })
        };
        let key = (!all).then(|| (0..width).map(|at| vec![at]).collect());
        Ok(Lowered::straight(plan, Mode::Changelog, vec![None; width], key))
    }

    /// One side: its columns, with the types of `like`, then a count for each side, which is NULL for the other.
    fn side(&self, plan: &LogicalPlan, like: Option<&Lowered>) -> Result<Lowered> {
        let input = self.lower(plan)?.with_windows_assigned()?;
        let own = input.plan.schema();
        let (mut exprs, mut fields) = (Vec::new(), Vec::new());
        for (at, field) in plan.schema().fields().iter().enumerate() {
            let place = input.columns[at].base()?;
            let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(own.field(place).name(), place));
            let wanted =
                like.map_or(own.field(place).data_type().clone(), |l| l.plan.schema().field(at).data_type().clone());
            let expr = cast(column, &own, wanted.clone()).map_err(|error| Error::bug(error.strip_backtrace()))?;
            fields.push(Arc::new(Field::new(field.name(), wanted, own.field(place).is_nullable())));
            exprs.push(expr);
        }
        for (name, counts) in [("left", like.is_none()), ("right", like.is_some())] {
            let one = ScalarValue::Int64(counts.then_some(1));
            exprs.push(Arc::new(Literal::new(one)));
            fields.push(Arc::new(Field::new(name, DataType::Int64, true)));
        }
        let schema = Arc::new(Schema::new(fields));
        let plan = Plan::Project(ProjectSpec { input: Box::new(input.plan), exprs, schema });
        Ok(Lowered::straight(plan, input.mode, Vec::new(), None))
    }

    /// How often each row is on each side.
    fn counted(&self, left: Plan, right: Plan, fields: &[FieldRef], mode: Mode) -> Result<Plan> {
        let counts = ["left", "right"].map(|name| Arc::new(Field::new(name, DataType::Int64, true)));
        let both = Arc::new(Schema::new([&fields[..fields.len() - 2], &counts].concat()));
        let inputs = [left, right].map(|side| project::retyped(side, &both)).to_vec();
        let width = both.fields().len() - 2;
        let column = |at: usize| Arc::new(Column::new(both.field(at).name(), at)) as Arc<dyn PhysicalExpr>;
        let count = |at: usize| -> Result<Aggregate> {
            let name = format!("count({})", both.field(at).name());
            let built = AggregateExprBuilder::new(count_udaf(), vec![column(at)]).schema(both.clone()).alias(name);
            let function = built.build().map_err(|error| Error::bug(error.strip_backtrace()))?;
            Ok(Aggregate { function: Arc::new(function), filter: None })
        };
        let aggregates = vec![count(width)?, count(width + 1)?];
        let results = aggregates.iter().map(|a| {
            let field = a.function.field();
            Arc::new(Field::new(a.function.name(), field.data_type().clone(), field.is_nullable()))
        });
        let schema = Arc::new(Schema::new(both.fields()[..width].iter().cloned().chain(results).collect::<Vec<_>>()));
        Ok(Plan::Reduce(Box::new(ReduceSpec {
            state_ttl_ns: None,
            horizon: None,
            input: Box::new(Plan::Union { inputs }),
            retracts: mode != Mode::Append,
            keys: (0..width).map(column).collect(),
            aggregates,
            schema,
        })))
    }
}

/// A column of both sides: NULL may be in it where it may in either.
fn either((left, right): (&FieldRef, &FieldRef)) -> FieldRef {
    Arc::new(left.as_ref().clone().with_nullable(left.is_nullable() || right.is_nullable()))
}
