//! Aggregation without windows: one row a group, kept up to date; its output is a changelog.

use crate::aggregate::Aggregate;
use crate::plan::Plan;
use arrow::datatypes::SchemaRef;
use datafusion_physical_expr::PhysicalExpr;
use std::sync::Arc;

/// `GROUP BY keys..` without a window.
#[derive(Clone, Debug)]
pub struct ReduceSpec {
    /// Where the rows come from.
    pub input: Box<Plan>,
    /// Whether `input` is a changelog: then whole groups are recomputed from their rows where something was retracted.
    pub retracts: bool,
    /// The grouping expressions over the columns of `input`; none means one group, there from the start.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// The aggregates.
    pub aggregates: Vec<Aggregate>,
    /// One field a key, then one an aggregate.
    pub schema: SchemaRef,
}
