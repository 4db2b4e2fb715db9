//! Aggregation over sessions: the rows of a partition that follow each other with no more than a gap between them.
//!
//! [`LocalSessions`] combines the rows of an epoch that are surely in one session, on the worker that read them.
//! [`MergeSessions`], on the worker that owns the partition, joins what came to the sessions that it reaches: one row can
//! make one session of two, and the results that were said of both are then taken back. State goes when a session closes.

mod local;
mod merge;

#[cfg(test)]
mod tests;

pub use local::LocalSessions;
pub use merge::MergeSessions;

use crate::aggregate::Aggregate;
use crate::plan::{Plan, TimeOrigin};
use crate::window::Nanos;
use crate::window_aggregate::OnLate;
use arrow::datatypes::SchemaRef;
use datafusion_physical_expr::PhysicalExpr;
use std::fmt;
use std::sync::Arc;

/// `GROUP BY window_start, window_end, keys..` over `SESSION(..)`.
#[derive(Clone, Debug)]
pub struct SessionAggregateSpec {
    /// Where the rows come from; its stream of finals is read, which must be an append stream.
    pub input: Box<Plan>,
    /// The event time, a timestamp expression over the columns of `input`. A row where it is NULL is dead.
    pub time: Arc<dyn PhysicalExpr>,
    /// Rows of a partition that are no further apart than this, in nanoseconds, are of one session. A session ends this
    /// long after its last row.
    pub gap_ns: i64,
    /// From which watermarks its sessions close.
    pub time_origin: TimeOrigin,
    /// How many of the leading `keys` make the partition, whose rows follow each other.
    pub partition: usize,
    /// The grouping expressions besides the session, over the columns of `input`.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// The aggregates.
    pub aggregates: Vec<Aggregate>,
    /// What late rows do: those that reach no session that is still open.
    pub on_late: OnLate,
    /// `window_start`, `window_end` (timestamps, not NULL), then one field a key, then one an aggregate.
    pub schema: SchemaRef,
}

impl SessionAggregateSpec {
    /// Until when, in event time, a session with a last row at `last_ns` is kept.
    fn kept_until(&self, last_ns: i64) -> i64 {
        last_ns.saturating_add(self.gap_ns).saturating_add(self.on_late.kept_ns())
    }
}

impl fmt::Display for SessionAggregateSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionAggregate SESSION(gap {}) over {}", Nanos(self.gap_ns), self.time)?;
        let list = |items: Vec<String>| items.join(", ");
        let (partition, others) = self.keys.split_at(self.partition);
        if !partition.is_empty() {
            write!(f, ", of {}", list(partition.iter().map(|key| key.to_string()).collect()))?;
        }
        if !others.is_empty() {
            write!(f, ", by {}", list(others.iter().map(|key| key.to_string()).collect()))?;
        }
        write!(f, ": {}", list(self.aggregates.iter().map(|a| a.to_string()).collect()))?;
        if let OnLate::Revise { until_ns } = self.on_late {
            write!(f, ", revised for {}", Nanos(until_ns))?;
        }
        Ok(())
    }
}
