//! Aggregation over windows of event time, in two phases over shared slices.

use crate::aggregate::Aggregate;
use crate::plan::{Plan, TimeOrigin};
use crate::window::Window;
use arrow::datatypes::SchemaRef;
use datafusion_physical_expr::PhysicalExpr;
use std::sync::Arc;

/// `GROUP BY window_start, window_end, keys..`.
#[derive(Clone, Debug)]
pub struct WindowAggregateSpec {
    /// Where the rows come from; its stream of finals is read, which must be an append stream.
    pub input: Box<Plan>,
    /// The event time, a timestamp expression over the columns of `input`. A row where it is NULL is dead.
    pub time: Arc<dyn PhysicalExpr>,
    /// The windows.
    pub window: Window,
    /// From which watermarks its windows close.
    pub time_origin: TimeOrigin,
    /// The grouping expressions besides the window, over the columns of `input`.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// The aggregates.
    pub aggregates: Vec<Aggregate>,
    /// What late rows do.
    pub on_late: OnLate,
    /// `window_start`, `window_end` (timestamps, not NULL), then one field a key, then one an aggregate.
    pub schema: SchemaRef,
}

/// What a row does whose windows have all closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLate {
    /// It is counted and kept in `thalweg.late_rows`.
    Drop,
    /// It corrects the result for as long as the window has not been closed for more than this, in nanoseconds.
    Revise {
        /// How long a closed window can still be corrected, in event time.
        until_ns: i64,
    },
}
