//! UNION ALL; UNION is a DISTINCT over it.

use super::{Lowered, Lowering, project};
use datafusion::logical_expr::Union;
use thalweg_operators::plan::{Plan, TimeOrigin};
use thalweg_schemas::error::{Error, Result};

impl Lowering<'_> {
    pub(super) fn union(&self, union: &Union) -> Result<Lowered> {
        let target = union.schema.as_arrow();
        let mut inputs = Vec::new();
        for input in &union.inputs {
            let lowered = self.lower(input)?.with_windows_assigned()?;
            let positions = lowered.columns.iter().map(|place| place.base()).collect::<Result<Vec<_>>>()?;
            inputs.push(project::pick(lowered, &positions, target.fields().iter().cloned()));
        }
        // A column is nullable where it is in any of the inputs.
        let nullable = |at: usize| inputs.iter().any(|input| input.plan.schema().field(at).is_nullable());
        let fields: Vec<_> =
            (0..target.fields().len()).map(|at| target.field(at).clone().with_nullable(nullable(at))).collect();
        let schema = std::sync::Arc::new(arrow::datatypes::Schema::new(fields));
        let times = (0..schema.fields().len()).map(|at| common_time(&inputs, at)).collect();
        let is_bound = |at: &usize| inputs.iter().all(|input| input.bounds.contains(at));
        let bounds = (0..schema.fields().len()).filter(is_bound).collect();
        let Some(mode) = inputs.iter().map(|input| input.mode).reduce(|a, b| a.or(b)) else {
            return Err(Error::bug("a union of nothing"));
        };
        let plans = inputs.into_iter().map(|input| project::retyped(input.plan, &schema)).collect();
        Ok(Lowered { bounds, ..Lowered::straight(Plan::Union { inputs: plans }, mode, times, None) })
    }
}

/// A column is an event time of the union where it is one of every input.
fn common_time(inputs: &[Lowered], at: usize) -> Option<TimeOrigin> {
    let times = inputs.iter().map(|input| input.times[at].clone()).collect::<Option<Vec<_>>>()?;
    times.into_iter().reduce(|a, b| a.union(&b))
}
