//! WHERE and HAVING.

use super::{Bounds, Lowered, Lowering};
use datafusion::logical_expr::Filter;
use datafusion::logical_expr::utils::split_conjunction;
use thalweg_operators::filter::FilterSpec;
use thalweg_operators::plan::Plan;
use thalweg_schemas::error::Result;

impl Lowering<'_> {
    pub(super) fn filter(&self, filter: &Filter) -> Result<Lowered> {
        if let Some(ranked) = self.ranked(filter)? {
            return Ok(ranked);
        }
        let logical = filter.input.schema();
        let mut lowered = self.lower(&filter.input)?;
        let conjuncts = split_conjunction(&filter.predicate);
        if conjuncts.iter().any(|c| lowered.bounds_in(c, logical) == Bounds::Mixed) {
            lowered = lowered.with_windows_assigned()?;
        }
        let (bounds, rows): (Vec<_>, Vec<_>) =
            conjuncts.into_iter().partition(|c| lowered.bounds_in(c, logical) == Bounds::Only);
        let bounds_schema = lowered.bounds_schema(logical)?;
        for predicate in bounds {
            let predicate = self.physical(predicate, &bounds_schema)?;
            lowered.window.iter_mut().for_each(|open| open.filters.push(predicate.clone()));
        }
        if let Some(predicate) = datafusion::logical_expr::utils::conjunction(rows.into_iter().cloned()) {
            let predicate = self.physical(&predicate, &lowered.schema(logical)?)?;
            match &mut lowered.window {
                Some(open) if !open.commutes(&predicate) => open.row_filters.push(predicate),
                _ => lowered.plan = Plan::Filter(FilterSpec { input: Box::new(lowered.plan), predicate }),
            }
        }
        Ok(lowered)
    }
}
