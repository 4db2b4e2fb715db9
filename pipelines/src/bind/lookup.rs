//! Lookup joins through DataFusion's planner, which does not know them: planned as the join that they are written like,
//! then made a node of its own, past which no condition on the looked up side is pushed: a row that does not meet it is
//! found all the same.

use super::asof::read_by_sides;
use crate::parse::lookup::{INNER, LEFT};
use arrow::datatypes::DataType;
use datafusion::common::{DFSchemaRef, JoinType, Result as DfResult, plan_err};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, Join, LogicalPlan, ScalarUDF, Signature, SimpleScalarUDF, UserDefinedLogicalNodeCore,
    Volatility, build_join_schema,
};
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// The functions that mark a condition as that of a lookup join, around its time.
pub(super) fn marker(name: &str) -> Option<Arc<ScalarUDF>> {
    fn never(_: &[ColumnarValue]) -> DfResult<ColumnarValue> {
        plan_err!("a lookup join was not put in place")
    }
    let udf = || {
        let signature = Signature::any(1, Volatility::Volatile);
        SimpleScalarUDF::new_with_signature(name, signature, DataType::Boolean, Arc::new(never))
    };
    [INNER, LEFT].contains(&name).then(|| Arc::new(ScalarUDF::from(udf())))
}

/// `left JOIN right FOR SYSTEM_TIME AS OF ..`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LookupNode {
    pub left: LogicalPlan,
    pub right: LogicalPlan,
    pub conditions: Vec<Expr>,
    /// As of which time, where it is not that of processing.
    pub as_of: Option<Expr>,
    pub outer: bool,
    schema: DFSchemaRef,
}

impl LookupNode {
    fn new(
        left: LogicalPlan,
        right: LogicalPlan,
        conditions: Vec<Expr>,
        as_of: Option<Expr>,
        outer: bool,
    ) -> DfResult<LookupNode> {
        let kind = if outer { JoinType::Left } else { JoinType::Inner };
        let schema = Arc::new(build_join_schema(left.schema(), right.schema(), &kind)?);
        Ok(LookupNode { left, right, conditions, as_of, outer, schema })
    }
}

impl PartialOrd for LookupNode {
    fn partial_cmp(&self, other: &LookupNode) -> Option<Ordering> {
        (&self.conditions, &self.as_of).partial_cmp(&(&other.conditions, &other.as_of))
    }
}

impl UserDefinedLogicalNodeCore for LookupNode {
    fn name(&self) -> &str {
        "LookupJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.conditions.iter().chain(&self.as_of).cloned().collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "LookupJoin: {:?}", self.conditions)
    }

    fn with_exprs_and_inputs(&self, mut exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> DfResult<LookupNode> {
        let as_of = if self.as_of.is_some() { exprs.pop() } else { None };
        match (inputs.pop(), inputs.pop()) {
            (Some(right), Some(left)) => LookupNode::new(left, right, exprs, as_of, self.outer),
            _ => plan_err!("a lookup join has two inputs"),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let width = self.left.schema().fields().len();
        Some(read_by_sides(&self.schema, width, &self.expressions(), output_columns))
    }
}

/// The lookup join that `join` is marked as, if it is.
pub(super) fn marked(join: &Join) -> DfResult<Option<LookupNode>> {
    let mut conditions: Vec<Expr> = join.on.iter().map(|(left, right)| left.clone().eq(right.clone())).collect();
    let (mut outer, mut as_of) = (None, None);
    for condition in join.filter.iter().flat_map(split_conjunction) {
        match condition {
            Expr::ScalarFunction(call) if [INNER, LEFT].contains(&call.name()) => {
                outer = Some(call.name() == LEFT);
                as_of = call.args.first().filter(|time| !matches!(time, Expr::Literal(..))).cloned();
            }
            other => conditions.push(other.clone()),
        }
    }
    let Some(outer) = outer else { return Ok(None) };
    LookupNode::new(join.left.as_ref().clone(), join.right.as_ref().clone(), conditions, as_of, outer).map(Some)
}
