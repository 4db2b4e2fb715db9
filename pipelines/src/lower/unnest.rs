//! `unnest(list)` in the SELECT list.

use super::{Lowered, Lowering};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::logical_expr::{LogicalPlan, Unnest};
use std::sync::Arc;
use thalweg_operators::plan::Plan;
use thalweg_operators::unnest::UnnestSpec;
use thalweg_schemas::error::{Error, Result};

impl Lowering<'_> {
    /// One list, one level deep. Elements are no event times, whatever they are.
    pub(super) fn unnest(&self, unnest: &Unnest) -> Result<Lowered> {
        let [(list, how)] = unnest.list_type_columns.as_slice() else { return Err(self.several(unnest)) };
        if how.depth != 1 || !unnest.struct_type_columns.is_empty() || unnest.options.preserve_nulls() {
            return Err(self.several(unnest));
        }
        let input = self.lower(&unnest.input)?.with_windows_assigned()?;
        let column = input.columns[*list].base()?;
        let schema = input.plan.schema();
        let DataType::List(item) = schema.field(column).data_type() else { return Err(self.several(unnest)) };
        let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
        fields[column] = Arc::new(Field::new(fields[column].name(), item.data_type().clone(), item.is_nullable()));
        let mut times = input.times.clone();
        times[column] = None;
        let bounds = input.bounds.iter().copied().filter(|at| *at != column).collect();
        let columns = unnest.dependency_indices.iter().map(|at| input.columns[*at]).collect();
        let spec = UnnestSpec { column, schema: Arc::new(Schema::new(fields)), input: Box::new(input.plan) };
        let lowered = Lowered::straight(Plan::Unnest(spec), input.mode, times, None);
        Ok(Lowered { columns, bounds, ..lowered })
    }

    fn several(&self, unnest: &Unnest) -> Error {
        let plan = LogicalPlan::Unnest(unnest.clone());
        self.unsupported(&plan)
            .with_hint("Write one unnest(..) of one list; unnest what is in it in a query around it.")
    }
}
