//! Aggregation over sessions: the rows of a partition that follow each other with no more than a gap between them.
//!
//! [`LocalSessions`] combines the rows of an epoch that are surely in one session, on the worker that read them.
//! [`MergeSessions`], on the worker that owns the partition, joins what came to the sessions that it reaches: one row can
//! make one session of two, and the results that were said of both are then taken back. State goes when a session closes.
//! Where rows say that a session begins or ends, [`CutSessions`] takes its place, and keeps the rows themselves.

mod cut;
mod groups;
mod local;
mod merge;
mod rows;

#[cfg(test)]
mod tests;

pub use cut::CutSessions;
pub use local::LocalSessions;
pub use merge::MergeSessions;

use crate::aggregate::Aggregate;
use crate::event_time::timestamps;
use crate::plan::{Plan, TimeOrigin};
use crate::window::Nanos;
use crate::window_aggregate::OnLate;
use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;
use std::fmt;
use std::sync::Arc;
use thalweg_schemas::error::Result;

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
    /// The column of `input` that says whether a row begins a session: then only such rows do, and those that are in none
    /// are put aside.
    pub start: Option<usize>,
    /// The column of `input` that says whether a row is the last of its session, which ends with it.
    pub end: Option<usize>,
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

/// The mark of a row that begins a session.
const STARTS: u8 = 1;
/// The mark of a row that ends one.
const ENDS: u8 = 2;

impl SessionAggregateSpec {
    /// Whether rows say where sessions begin or end.
    pub fn is_cut(&self) -> bool {
        self.start.is_some() || self.end.is_some()
    }

    /// Rows as the plan has them, of the keys, the start, the end, the results.
    fn shown(&self, columns: &[ArrayRef]) -> Result<RecordBatch> {
        let (keys, rest) = columns.split_at(self.keys.len());
        let starts = rest[0].as_primitive::<Int64Type>().values().to_vec();
        let mut shown = vec![timestamps(starts, self.schema.field(0).data_type())?, rest[1].clone()];
        shown.extend_from_slice(keys);
        shown.extend_from_slice(&rest[2..]);
        Ok(RecordBatch::try_new(self.schema.clone(), shown)?)
    }

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
        let input = self.input.schema();
        for (column, does) in [(self.start, "begun"), (self.end, "ended")] {
            if let Some(column) = column {
                write!(f, ", {does} by {}", input.field(column).name())?;
            }
        }
        if let OnLate::Revise { until_ns } = self.on_late {
            write!(f, ", revised for {}", Nanos(until_ns))?;
        }
        Ok(())
    }
}
