//! ASOF JOIN through DataFusion's planner, which does not know it: planned as the join that it is written like, then
//! made a node of its own, past which no condition on the looked up side is pushed: it chooses among the matches, not
//! among what is looked up.

use super::lookup;
use crate::parse::asof::{INNER, LEFT};
use crate::parse::lookup as written;
use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::common::{DFSchema, DFSchemaRef, JoinType, Result as DfResult, plan_err};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, Extension, Join, LogicalPlan, Operator, ScalarUDF, UserDefinedLogicalNode,
    UserDefinedLogicalNodeCore, Volatility, build_join_schema, create_udf,
};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr as AstExpr, JoinConstraint, JoinOperator, Query, SetExpr, TableFactor, TableWithJoins,
    VisitMut, VisitorMut,
};
use std::cmp::Ordering;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use thalweg_schemas::error::{Error, Result};

/// Puts the ASOF JOINs of `query` into a form that can be planned.
pub(super) fn put_in_place(query: &mut Query) -> Result<()> {
    match query.visit(&mut Joins) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Joins;

impl VisitorMut for Joins {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        selects(&mut query.body)
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        match factor {
            TableFactor::NestedJoin { table_with_joins, .. } => joins(table_with_joins),
            _ => ControlFlow::Continue(()),
        }
    }
}

fn selects(body: &mut SetExpr) -> ControlFlow<Error> {
    match body {
        SetExpr::Select(select) => select.from.iter_mut().try_for_each(joins),
        SetExpr::SetOperation { left, right, .. } => {
            selects(left)?;
            selects(right)
        }
        _ => ControlFlow::Continue(()),
    }
}

fn joins(tables: &mut TableWithJoins) -> ControlFlow<Error> {
    for join in &mut tables.joins {
        let JoinOperator::AsOf { match_condition, constraint } = &join.join_operator else { continue };
        let named =
            |name: &str| matches!(match_condition, AstExpr::Function(call) if call.name.to_string().contains(name));
        let left = named(LEFT) || named(written::LEFT);
        let on = match constraint {
            JoinConstraint::On(on) => AstExpr::BinaryOp {
                left: Box::new(AstExpr::Nested(Box::new(on.clone()))),
                op: BinaryOperator::And,
                right: Box::new(match_condition.clone()),
            },
            JoinConstraint::None => match_condition.clone(),
            JoinConstraint::Using(_) | JoinConstraint::Natural => {
                return ControlFlow::Break(
                    Error::user("an ASOF JOIN takes ON").with_hint("Write ON b.key = a.key AND b.time <= a.time."),
                );
            }
        };
        let on = JoinConstraint::On(on);
        join.join_operator = if left { JoinOperator::LeftOuter(on) } else { JoinOperator::Inner(on) };
    }
    ControlFlow::Continue(())
}

/// The functions that mark a condition as that of an ASOF JOIN, around what was compared in it.
pub(super) fn marker(name: &str) -> Option<Arc<ScalarUDF>> {
    fn never(_: &[ColumnarValue]) -> DfResult<ColumnarValue> {
        plan_err!("an ASOF JOIN was not put in place")
    }
    let udf = || create_udf(name, vec![DataType::Boolean], DataType::Boolean, Volatility::Volatile, Arc::new(never));
    [INNER, LEFT].contains(&name).then(|| Arc::new(udf()))
}

/// `left ASOF JOIN right`. Of its comparison the sides are told by whose columns they read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AsofNode {
    pub left: LogicalPlan,
    pub right: LogicalPlan,
    /// Equalities between the two sides.
    pub keys: Vec<Expr>,
    /// The comparison by which the nearest row is chosen.
    pub comparison: Expr,
    pub outer: bool,
    schema: DFSchemaRef,
}

impl AsofNode {
    fn new(
        left: LogicalPlan,
        right: LogicalPlan,
        keys: Vec<Expr>,
        comparison: Expr,
        outer: bool,
    ) -> DfResult<AsofNode> {
        let kind = if outer { JoinType::Left } else { JoinType::Inner };
        let schema = Arc::new(build_join_schema(left.schema(), right.schema(), &kind)?);
        Ok(AsofNode { left, right, keys, comparison, outer, schema })
    }
}

impl PartialOrd for AsofNode {
    fn partial_cmp(&self, other: &AsofNode) -> Option<Ordering> {
        (&self.keys, &self.comparison).partial_cmp(&(&other.keys, &other.comparison))
    }
}

impl UserDefinedLogicalNodeCore for AsofNode {
    fn name(&self) -> &str {
        "AsofJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.keys.iter().chain([&self.comparison]).cloned().collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "AsofJoin: {}", self.comparison)
    }

    fn with_exprs_and_inputs(&self, mut exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> DfResult<AsofNode> {
        match (exprs.pop(), inputs.pop(), inputs.pop()) {
            (Some(comparison), Some(right), Some(left)) => AsofNode::new(left, right, exprs, comparison, self.outer),
            _ => plan_err!("an ASOF JOIN has two inputs and a comparison"),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let width = self.left.schema().fields().len();
        Some(read_by_sides(&self.schema, width, &UserDefinedLogicalNodeCore::expressions(self), output_columns))
    }
}

/// The columns of each side of a join that are read for `output_columns` and by `exprs`; the left side has `width`.
pub(super) fn read_by_sides(
    schema: &DFSchema,
    width: usize,
    exprs: &[Expr],
    output_columns: &[usize],
) -> Vec<Vec<usize>> {
    let mut read: Vec<usize> = output_columns.to_vec();
    let columns = exprs.iter().flat_map(Expr::column_refs);
    read.extend(columns.filter_map(|column| schema.maybe_index_of_column(column)));
    read.sort_unstable();
    read.dedup();
    let (left, right): (Vec<usize>, Vec<usize>) = read.into_iter().partition(|at| *at < width);
    vec![left, right.into_iter().map(|at| at - width).collect()]
}

/// The joins of `plan` that are marked as ASOF, or as lookups, as nodes of their own.
pub(super) fn nodes(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Join(join) = node else { return Ok(Transformed::no(node)) };
        let node: Arc<dyn UserDefinedLogicalNode> = match (lookup::marked(&join)?, marked(&join)?) {
            (Some(lookup), _) => Arc::new(lookup),
            (None, Some(asof)) => Arc::new(asof),
            (None, None) => return Ok(Transformed::no(LogicalPlan::Join(join))),
        };
        Ok(Transformed::yes(LogicalPlan::Extension(Extension { node })))
    })
    .data()
}

fn marked(join: &Join) -> DfResult<Option<AsofNode>> {
    let (mut keys, mut compared, mut outer) = (Vec::new(), Vec::new(), None);
    for (left, right) in &join.on {
        keys.push(left.clone().eq(right.clone()));
    }
    for condition in join.filter.iter().flat_map(split_conjunction) {
        match condition {
            Expr::ScalarFunction(call) if [INNER, LEFT].contains(&call.name()) => {
                outer = Some(call.name() == LEFT);
                compared.extend(call.args.iter().filter(|arg| !matches!(arg, Expr::Literal(..))).cloned());
            }
            Expr::BinaryExpr(BinaryExpr { op: Operator::Eq, .. }) => keys.push(condition.clone()),
            other => compared.push(other.clone()),
        }
    }
    let Some(outer) = outer else { return Ok(None) };
    let [Expr::BinaryExpr(BinaryExpr { op, .. })] = compared.as_slice() else {
        return plan_err!(
            "an ASOF JOIN takes equalities and one comparison, such as ON b.key = a.key AND b.time <= a.time"
        );
    };
    if !matches!(op, Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq) {
        return plan_err!("an ASOF JOIN compares by <, <=, > or >=, not by {op}");
    }
    AsofNode::new(join.left.as_ref().clone(), join.right.as_ref().clone(), keys, compared.remove(0), outer).map(Some)
}
