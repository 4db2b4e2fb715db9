//! Project: computes other columns from each row. Keeps no state; a retraction is computed as its insertion was.

use crate::evaluate::evaluate;
use crate::operator::{DeadRow, Operator, Output, Times};
use crate::plan::Plan;
use crate::rows::Rows;
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion_physical_expr::PhysicalExpr;
use std::fmt;
use std::sync::Arc;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::Epoch;
use thalweg_schemas::error::Result;

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

impl fmt::Display for ProjectSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Project")?;
        for (i, (expr, field)) in self.exprs.iter().zip(self.schema.fields()).enumerate() {
            write!(f, "{} {expr} AS {}", if i == 0 { "" } else { "," }, field.name())?;
        }
        Ok(())
    }
}

/// Carries out a [`ProjectSpec`].
pub struct Project {
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
}

impl Project {
    /// The operator that `spec` asks for.
    pub fn new(spec: &ProjectSpec) -> Result<Project> {
        Ok(Project { exprs: spec.exprs.clone(), schema: spec.schema.clone() })
    }

    /// The rows of `batch` with the columns computed; those that cannot be computed are `dead`.
    pub(crate) fn project(&self, batch: Batch, dead: &mut Vec<DeadRow>) -> Result<Batch> {
        let (batch, columns) = evaluate(&self.exprs, batch, dead)?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let projected = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        Ok(batch.with_rows(projected))
    }
}

impl Operator for Project {
    const EAGER: bool = true;

    fn process(&mut self, _epoch: Epoch, rows: Rows, output: &mut Output) -> Result<()> {
        let bound = rows.late_bound();
        let Some(batch) = rows.into_batch() else { return Ok(()) };
        let projected = self.project(batch, &mut output.dead)?;
        output.send(0, Rows::new(projected, bound));
        Ok(())
    }

    fn finish_epoch(&mut self, _epoch: Epoch, _times: Times, _output: &mut Output) -> Result<()> {
        Ok(())
    }
}
