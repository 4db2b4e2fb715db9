//! Aggregation without windows: one row a group, kept up to date; its output is a changelog.
//!
//! Over an append stream it works in two phases, as windows do: [`LocalReduce`] combines an epoch's rows, [`MergeReduce`]
//! keeps a state a group. Over a changelog a state cannot be taken back, so [`ReduceRows`] keeps the rows of each group,
//! as often as they are there, and computes the groups anew in which something changed.

mod append;
mod changelog;
#[cfg(test)]
mod tests;

pub use append::{LocalReduce, MergeReduce};
pub use changelog::{KeyRows, ReduceRows};

use crate::aggregate::Aggregate;
use crate::plan::Plan;
use arrow::datatypes::SchemaRef;
use datafusion_physical_expr::PhysicalExpr;
use std::fmt;
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

impl fmt::Display for ReduceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.retracts { "Reduce rows" } else { "Reduce" })?;
        let list = |items: Vec<String>| items.join(", ");
        if !self.keys.is_empty() {
            write!(f, " by {}", list(self.keys.iter().map(|key| key.to_string()).collect()))?;
        }
        if !self.aggregates.is_empty() {
            write!(f, ": {}", list(self.aggregates.iter().map(|a| a.to_string()).collect()))?;
        }
        Ok(())
    }
}
