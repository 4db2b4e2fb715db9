//! Columns that are computed because an operator wants columns, where a query has expressions.

use super::{Lowered, Lowering, project};
use arrow::datatypes::{Field, Schema};
use datafusion::common::DFSchema;
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use std::sync::Arc;
use thalweg_operators::plan::Plan;
use thalweg_operators::project::ProjectSpec;
use thalweg_schemas::error::{Error, Result};

impl Lowering<'_> {
    /// `input` with a column for each of `exprs`, behind its own where it has none, and where these are.
    pub(super) fn with_columns(
        &self,
        mut input: Lowered,
        logical: &DFSchema,
        exprs: &[&Expr],
    ) -> Result<(Lowered, Vec<usize>)> {
        let (schema, own) = (input.schema(logical)?, input.plan.schema());
        let mut fields: Vec<_> = own.fields().iter().cloned().collect();
        let column =
            |(at, field): (usize, &Arc<Field>)| Arc::new(Column::new(field.name(), at)) as Arc<dyn PhysicalExpr>;
        let mut columns: Vec<Arc<dyn PhysicalExpr>> = fields.iter().enumerate().map(column).collect();
        let mut places = Vec::new();
        for expr in exprs {
            let physical = self.physical(project::bare(expr), &schema)?;
            if let Some(at) = project::position(&physical) {
                places.push(at);
                continue;
            }
            let fault = |error: datafusion::common::DataFusionError| Error::bug(error.strip_backtrace());
            let data_type = physical.data_type(&own).map_err(fault)?;
            let nullable = physical.nullable(&own).map_err(fault)?;
            places.push(columns.len());
            fields.push(Arc::new(Field::new(expr.schema_name().to_string(), data_type, nullable)));
            columns.push(physical);
            input.times.push(None);
        }
        if fields.len() > own.fields().len() {
            let schema = Arc::new(Schema::new(fields));
            input.plan = Plan::Project(ProjectSpec { input: Box::new(input.plan), exprs: columns, schema });
        }
        Ok((input, places))
    }
}
