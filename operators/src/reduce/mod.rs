//! Aggregation without windows: one row a group, kept up to date; its output is a changelog.
//!
//! Over an append stream it works in two phases, as windows do: [`LocalReduce`] combines an epoch's rows, [`MergeReduce`]
//! keeps a state a group. Over a changelog such a state cannot be taken back, so [`ReduceRows`] keeps tallies from which
//! rows can be taken, and the rows of each group only for aggregates that have none; so it does over appends for
//! `COUNT(DISTINCT ..)`.

mod append;
mod changelog;
mod exact;
mod known;
mod tally;
#[cfg(test)]
mod tests;

pub use append::{LocalReduce, MergeReduce};
pub use changelog::{Kept, KeyRows, ReduceRows};

use crate::aggregate::Aggregate;
use crate::horizon::Horizon;
use crate::plan::Plan;
use arrow::datatypes::SchemaRef;
use datafusion_physical_expr::PhysicalExpr;
use std::fmt;
use std::sync::Arc;
use thalweg_schemas::error::Result;

/// `GROUP BY keys..` without a window.
#[derive(Clone, Debug)]
pub struct ReduceSpec {
    /// Where the rows come from.
    pub input: Box<Plan>,
    /// Whether `input` is a changelog.
    pub retracts: bool,
    /// The grouping expressions over the columns of `input`; none means one group, there from the start.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// The aggregates.
    pub aggregates: Vec<Aggregate>,
    /// After how long without a row of it a group is forgotten, in nanoseconds.
    pub state_ttl_ns: Option<i64>,
    /// Where a key is a time: how long after it a group is forgotten, with nothing taken back.
    pub horizon: Option<Horizon>,
    /// One field a key, then one an aggregate.
    pub schema: SchemaRef,
}

impl ReduceSpec {
    /// Whether the second phase gets rows and keeps tallies of them ([`ReduceRows`]). Over appends it does where values are
    /// counted once each: a state would be all of them, and merging would go through it in every epoch.
    pub fn by_rows(&self) -> bool {
        let counts_values =
            |aggregate: &Aggregate| aggregate.function.is_distinct() && aggregate.function.fun().name() == "count";
        self.retracts
            || self.state_ttl_ns.is_none()
                && self.aggregates.iter().any(counts_values)
                && self.kept().is_ok_and(|kept| kept == Kept::Values)
    }

    /// What a group's state is made of where its rows can be taken back; an error where an aggregate is not as it was
    /// planned.
    pub fn kept(&self) -> Result<Kept> {
        changelog::kept(self)
    }
}

impl fmt::Display for ReduceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.by_rows() { "Reduce rows" } else { "Reduce" })?;
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
