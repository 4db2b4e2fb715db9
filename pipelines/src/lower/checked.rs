//! Arithmetic on integers that fails where it overflows, for the row in which it does. DataFusion's wraps around unless
//! it is told otherwise.

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::BinaryExpr;
use std::any::Any;
use std::sync::Arc;
use thalweg_schemas::error::{Error, Result};

/// `expr` with all of its arithmetic checked.
pub(crate) fn checked(expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
    let check = |e: Arc<dyn PhysicalExpr>| match (e.as_ref() as &dyn Any).downcast_ref::<BinaryExpr>() {
        Some(binary) if matches!(binary.op(), Operator::Plus | Operator::Minus | Operator::Multiply) => {
            let binary = BinaryExpr::new(binary.left().clone(), *binary.op(), binary.right().clone());
            Ok(Transformed::yes(Arc::new(binary.with_fail_on_overflow(true)) as Arc<dyn PhysicalExpr>))
        }
        _ => Ok(Transformed::no(e)),
    };
    expr.transform_up(check).data().map_err(|e| Error::bug(e.to_string()))
}

/// The aggregate with its arguments checked.
pub(super) fn checked_arguments(function: Arc<AggregateFunctionExpr>) -> Result<Arc<AggregateFunctionExpr>> {
    let all = function.all_expressions();
    let arguments = all.args.iter().cloned().map(checked).collect::<Result<Vec<_>>>()?;
    if arguments.iter().zip(&all.args).all(|(new, old)| Arc::ptr_eq(new, old)) {
        return Ok(function);
    }
    let order = function.order_bys().iter().map(|by| by.expr.clone()).collect();
    Ok(function.with_new_expressions(arguments, order).map_or(function, Arc::new))
}
