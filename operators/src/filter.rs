//! Filter: the rows for which a predicate is true. Keeps no state; a retraction passes as its insertion did.

use crate::evaluate::{evaluate, fault};
use crate::operator::{Operator, Output, Times};
use crate::plan::Plan;
use crate::rows::Rows;
use arrow::array::Array;
use datafusion_common::cast::as_boolean_array;
use datafusion_physical_expr::PhysicalExpr;
use std::fmt;
use std::sync::Arc;
use thalweg_schemas::epoch::Epoch;
use thalweg_schemas::error::Result;

/// The rows of `input` for which `predicate` is true (not false, not NULL).
#[derive(Clone, Debug)]
pub struct FilterSpec {
    /// What is filtered.
    pub input: Box<Plan>,
    /// A boolean expression over the columns of `input`.
    pub predicate: Arc<dyn PhysicalExpr>,
}

impl fmt::Display for FilterSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Filter {}", self.predicate)
    }
}

/// Carries out a [`FilterSpec`].
pub struct Filter {
    predicate: [Arc<dyn PhysicalExpr>; 1],
}

impl Filter {
    /// The operator that `spec` asks for.
    pub fn new(spec: &FilterSpec) -> Result<Filter> {
        Ok(Filter { predicate: [spec.predicate.clone()] })
    }
}

impl Operator for Filter {
    const EAGER: bool = true;

    fn process(&mut self, _epoch: Epoch, rows: Rows, output: &mut Output) -> Result<()> {
        let bound = rows.late_bound();
        let Some(batch) = rows.into_batch() else { return Ok(()) };
        let (batch, columns) = evaluate(&self.predicate, batch, &mut output.dead)?;
        let keep = as_boolean_array(&columns[0]).map_err(fault)?;
        let kept =
            if keep.null_count() == 0 && keep.true_count() == keep.len() { batch } else { batch.filter(keep)? };
        output.send(0, Rows::new(kept, bound));
        Ok(())
    }

    fn finish_epoch(&mut self, _epoch: Epoch, _times: Times, _output: &mut Output) -> Result<()> {
        Ok(())
    }
}
