//! Aggregation over windows of event time, in two phases over shared slices.
//!
//! [`LocalAggregate`] combines the rows of an epoch into one partial state a slice and key, on the worker that read them.
//! [`MergeAggregate`], on the worker that owns the key, keeps one state a slice and key, and makes windows of slices.
//! State goes with the last window that needs it. A change in a window retracts the result last sent and sends the new one.

mod local;
mod merge;
mod slide;

#[cfg(test)]
mod tests;

pub use local::LocalAggregate;
pub use merge::MergeAggregate;

use crate::aggregate::Aggregate;
use crate::plan::{Plan, TimeOrigin};
use crate::window::Window;
use arrow::datatypes::SchemaRef;
use datafusion_physical_expr::PhysicalExpr;
use std::fmt;
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

impl OnLate {
    /// How long after its end a window is kept, in nanoseconds.
    pub(crate) fn kept_ns(self) -> i64 {
        match self {
            OnLate::Drop => 0,
            OnLate::Revise { until_ns } => until_ns,
        }
    }
}

impl fmt::Display for WindowAggregateSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WindowAggregate {} over {}", self.window, self.time)?;
        let list = |items: Vec<String>| items.join(", ");
        if !self.keys.is_empty() {
            write!(f, ", by {}", list(self.keys.iter().map(|key| key.to_string()).collect()))?;
        }
        write!(f, ": {}", list(self.aggregates.iter().map(|a| a.to_string()).collect()))?;
        if let OnLate::Revise { until_ns } = self.on_late {
            write!(f, ", revised for {}", crate::window::Nanos(until_ns))?;
        }
        Ok(())
    }
}
