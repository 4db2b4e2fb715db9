//! Filter: the rows for which a predicate is true. Keeps no state; a retraction passes as its insertion did.

use crate::plan::Plan;
use datafusion_physical_expr::PhysicalExpr;
use std::sync::Arc;

/// The rows of `input` for which `predicate` is true (not false, not NULL).
#[derive(Clone, Debug)]
pub struct FilterSpec {
    /// What is filtered.
    pub input: Box<Plan>,
    /// A boolean expression over the columns of `input`.
    pub predicate: Arc<dyn PhysicalExpr>,
}
