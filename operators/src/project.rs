//! Project: computes other columns from each row. Keeps no state; a retraction is computed as its insertion was.

use crate::plan::Plan;
use arrow::datatypes::SchemaRef;
use datafusion_physical_expr::PhysicalExpr;
use std::sync::Arc;

/// One expression a column.
#[derive(Clone, Debug)]
pub struct ProjectSpec {
    /// Where the rows come from.
    pub input: Box<Plan>,
    /// One expression over the columns of `input` for each field of `schema`.
    pub exprs: Vec<Arc<dyn PhysicalExpr>>,
    /// The new schema.
    pub schema: SchemaRef,
}
