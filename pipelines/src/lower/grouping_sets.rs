//! `GROUPING SETS`, `ROLLUP` and `CUBE`: rows are expanded, each once for every set, and grouped once.
//!
//! What all sets group by is grouped by as it is; so a set can be within windows.

use super::{Lowered, Lowering, Place, project};
use arrow::datatypes::{Field, Schema};
use datafusion::common::{Column, DFSchema, TableReference};
use datafusion::logical_expr::{Aggregate, Expr, GroupingSet as LogicalSets};
use datafusion::scalar::ScalarValue;
use std::sync::Arc;
use thalweg_operators::expand::{ExpandSpec, GroupingSet};
use thalweg_operators::plan::Plan;
use thalweg_schemas::error::{Error, Result};

impl Lowering<'_> {
    pub(super) fn group_by_sets(&self, input: Lowered, aggregate: &Aggregate, sets: &LogicalSets) -> Result<Lowered> {
        let logical = aggregate.input.schema();
        let output = aggregate.schema.as_arrow();
        let exprs: Vec<&Expr> = sets.distinct_expr();
        let sets = sets_of(sets);
        let in_all = |expr: &Expr| sets.iter().all(|set| set.contains(&expr));
        let expanded: Vec<&Expr> = exprs.iter().copied().filter(|expr| !in_all(expr)).collect();
        let of_window = |expr: &&Expr| input.bounds_in(expr, logical) != super::Bounds::None;
        let input = if expanded.iter().any(of_window) { input.with_windows_assigned()? } else { input };

        let width = input.plan.schema().fields().len();
        let id_type = output.field(exprs.len()).data_type().clone();
        let mut numbers = Vec::new();
        for set in &sets {
            let left_out = exprs.iter().fold(0u64, |number, expr| number << 1 | u64::from(!set.contains(expr)));
            let again = numbers.iter().filter(|(known, _)| *known == left_out).count() as u64;
            numbers.push((left_out, left_out | again << exprs.len()));
        }
        let set = |(set, (_, number)): (&Vec<&Expr>, &(u64, u64))| {
            let number = ScalarValue::UInt64(Some(*number)).cast_to(&id_type);
            let number = number.map_err(|error| Error::bug(error.strip_backtrace()))?;
            Ok(GroupingSet { has: expanded.iter().map(|expr| set.contains(expr)).collect(), number })
        };
        let sets = sets.iter().zip(&numbers).map(set).collect::<Result<Vec<_>>>()?;
        let input = self.expand(input, logical, &expanded, sets, output.field(exprs.len()))?;

        // The keys by the names that `Lowered::schema` gives to columns without one.
        let hidden = |at: usize| {
            let name = input.plan.schema().field(at).name().clone();
            Expr::Column(Column::new(Some(TableReference::bare(format!("\u{0}{at}"))), name))
        };
        let key = |expr: &&Expr| match expanded.iter().position(|one| one == expr) {
            Some(place) => hidden(width + place),
            None => (*expr).clone(),
        };
        let mut keys: Vec<Expr> = exprs.iter().map(key).collect();
        keys.push(hidden(width + expanded.len()));
        self.group(input, logical, &keys, &aggregate.aggr_expr, output)
    }

    fn expand(
        &self,
        mut input: Lowered,
        logical: &DFSchema,
        exprs: &[&Expr],
        sets: Vec<GroupingSet>,
        number: &Field,
    ) -> Result<Lowered> {
        let (schema, own) = (input.schema(logical)?, input.plan.schema());
        let physical = exprs.iter().map(|expr| self.physical(project::bare(expr), &schema));
        let keys = physical.collect::<Result<Vec<_>>>()?;
        let mut fields: Vec<_> = own.fields().iter().cloned().collect();
        for (expr, key) in exprs.iter().zip(&keys) {
            let data_type = key.data_type(&own).map_err(|error| Error::bug(error.strip_backtrace()))?;
            fields.push(Arc::new(Field::new(expr.schema_name().to_string(), data_type, true)));
        }
        fields.push(Arc::new(Field::new(number.name(), number.data_type().clone(), false)));
        input.times.resize(fields.len(), None);
        let schema = Arc::new(Schema::new(fields));
        let plan = Plan::Expand(ExpandSpec { input: Box::new(input.plan), keys, sets, schema });
        debug_assert!(input.columns.iter().all(|place| !matches!(place, Place::Base(at) if *at >= own.fields().len())));
        Ok(Lowered { plan, key: None, ..input })
    }
}

/// The sets, each with its expressions.
fn sets_of(sets: &LogicalSets) -> Vec<Vec<&Expr>> {
    match sets {
        LogicalSets::Rollup(exprs) => (0..=exprs.len()).rev().map(|count| exprs[..count].iter().collect()).collect(),
        LogicalSets::Cube(exprs) => (0..1u64 << exprs.len())
            .rev()
            .map(|set| exprs.iter().enumerate().filter(|(at, _)| set >> at & 1 == 1).map(|(_, expr)| expr).collect())
            .collect(),
        LogicalSets::GroupingSets(sets) => sets.iter().map(|set| set.iter().collect()).collect(),
    }
}
