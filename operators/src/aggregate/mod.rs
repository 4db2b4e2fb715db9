//! What all aggregating operators share: groups, aggregate states as Arrow rows, and how they are merged.

pub mod percentile;
pub mod sketch;

use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::aggregate::AggregateFunctionExpr;
use std::sync::Arc;

/// One aggregate of a SELECT list.
#[derive(Clone, Debug)]
pub struct Aggregate {
    /// The function with its arguments over the input's columns; knows DISTINCT and ORDER BY.
    pub function: Arc<AggregateFunctionExpr>,
    /// `FILTER (WHERE ..)` over the input's columns.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
}
