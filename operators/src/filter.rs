//! Filter: the rows for which a predicate is true. Keeps no state; a retraction passes as its insertion did.
//!
//! Where all that is read of the rows are columns and fields of records, only these are copied: of a wide record that is
//! most of the work.

use crate::evaluate::{evaluate, fault};
use crate::operator::{Operator, Output, Times};
use crate::plan::Plan;
use crate::project::{Project, ProjectSpec};
use crate::rows::Rows;
use arrow::array::{Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion_common::cast::as_boolean_array;
use datafusion_physical_expr::expressions::{Column, Literal};
use datafusion_physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use std::any::Any;
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

/// Carries out a [`FilterSpec`], and the projection of its rows where that only picks.
pub struct Filter {
    predicate: [Arc<dyn PhysicalExpr>; 1],
    /// What is picked, and the schema of that: a column that is NULL in no row that is kept may be in others.
    picked: Option<(Project, SchemaRef)>,
}

impl Filter {
    /// The operator that `spec` asks for.
    pub fn new(spec: &FilterSpec) -> Result<Filter> {
        Ok(Filter { predicate: [spec.predicate.clone()], picked: None })
    }

    /// The operator that `spec` asks for and, after it, what [picks] of its rows.
    pub fn picking(spec: &FilterSpec, picked: &ProjectSpec) -> Result<Filter> {
        let nullable = picked.schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
        let nullable = Arc::new(Schema::new(nullable.collect::<Vec<_>>()));
        let project = Project::new(&ProjectSpec { schema: nullable, ..picked.clone() })?;
        Ok(Filter { picked: Some((project, picked.schema.clone())), ..Filter::new(spec)? })
    }
}

/// Whether a projection gives nothing but columns and fields of records, which no row can fail to have.
pub fn picks(spec: &ProjectSpec) -> bool {
    spec.exprs.iter().all(is_pick)
}

fn is_pick(expr: &Arc<dyn PhysicalExpr>) -> bool {
    (expr.as_ref() as &dyn Any).is::<Column>() || field_of(expr).is_some_and(|(record, _)| is_pick(record))
}

/// Of an expression that is a field of a record: the record, and the way from it to the field.
pub fn field_of(expr: &Arc<dyn PhysicalExpr>) -> Option<(&Arc<dyn PhysicalExpr>, Vec<&str>)> {
    let function = (expr.as_ref() as &dyn Any).downcast_ref::<ScalarFunctionExpr>()?;
    let ("get_field", [record, names @ ..]) = (function.fun().name(), function.args()) else { return None };
    let literal =
        |name| (Arc::as_ref(name) as &dyn Any).downcast_ref().and_then(|l: &Literal| l.value().try_as_str()?);
    Some((record, names.iter().map(literal).collect::<Option<_>>()?))
}

impl Operator for Filter {
    const EAGER: bool = true;

    fn process(&mut self, _epoch: Epoch, rows: Rows, output: &mut Output) -> Result<()> {
        let bound = rows.late_bound();
        let Some(batch) = rows.into_batch() else { return Ok(()) };
        let (batch, columns) = evaluate(&self.predicate, batch, &mut output.dead)?;
        let keep = as_boolean_array(&columns[0]).map_err(fault)?;
        // What is picked of a row is the same before and after others are left out.
        let batch = match &self.picked {
            Some((picked, _)) => picked.project(batch, &mut output.dead)?,
            None => batch,
        };
        let kept =
            if keep.null_count() == 0 && keep.true_count() == keep.len() { batch } else { batch.filter(keep)? };
        let kept = match &self.picked {
            Some((_, schema)) => {
                let options = RecordBatchOptions::new().with_row_count(Some(kept.num_rows()));
                let columns = kept.rows.columns().to_vec();
                kept.with_rows(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
            }
            None => kept,
        };
        output.send(0, Rows::new(kept, bound));
        Ok(())
    }

    fn finish_epoch(&mut self, _epoch: Epoch, _times: Times, _output: &mut Output) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, AsArray, Int64Array};
    use arrow::datatypes::{DataType, Field, Int64Type};
    use datafusion_physical_expr::expressions::{col, is_not_null};
    use thalweg_schemas::batch::Batch;

    #[test]
    fn what_is_picked_of_rows_that_are_left_out_does_not_matter() {
        let field = |nullable| Field::new("a", DataType::Int64, nullable);
        let schema = Arc::new(Schema::new(vec![field(true), Field::new("b", DataType::Int64, true)]));
        let column = |values: [Option<i64>; 3]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
        let columns = vec![column([Some(1), None, Some(3)]), column([None, Some(5), None])];
        let rows = RecordBatch::try_new(schema.clone(), columns).unwrap();
        let a = col("a", &schema).unwrap();
        let source = Plan::Source { name: "s".into(), schema: schema.clone() };
        let spec = FilterSpec { input: Box::new(source), predicate: is_not_null(a.clone()).unwrap() };
        let input = Box::new(Plan::Filter(spec.clone()));
        let picked = ProjectSpec { input, exprs: vec![a], schema: Arc::new(Schema::new(vec![field(false)])) };
        assert!(picks(&picked));
        let (mut filter, mut output) = (Filter::picking(&spec, &picked).unwrap(), Output::default());
        filter.process(Epoch(1), Rows::unbounded(Batch::append(rows)), &mut output).unwrap();
        let sent = output.sent.remove(0).1.into_batch().unwrap().rows;
        assert_eq!(sent.schema(), picked.schema);
        assert_eq!(sent.column(0).as_primitive::<Int64Type>().values(), &[1, 3]);
    }
}
