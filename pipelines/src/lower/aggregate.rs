//! GROUP BY and DISTINCT: over open windows a windowed aggregation, otherwise a changelog.

use super::checked::{checked, checked_arguments};
use super::{Bounds, Lowered, Lowering, Place, project};
use crate::bind::Mode;
use arrow::datatypes::{Field, FieldRef, Schema};
use datafusion::common::DFSchema;
use datafusion::logical_expr::expr::{AggregateFunction, Alias};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Aggregate as LogicalAggregate, Case, Expr, LogicalPlan};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::LoweredAggregateBuilder;
use datafusion::physical_expr::expressions::Column;
use std::sync::Arc;
use thalweg_operators::aggregate::Aggregate;
use thalweg_operators::filter::FilterSpec;
use thalweg_operators::plan::Plan;
use thalweg_operators::project::ProjectSpec;
use thalweg_operators::reduce::ReduceSpec;
use thalweg_operators::window_aggregate::{OnLate, WindowAggregateSpec};
use thalweg_schemas::error::{Error, Result};

impl Lowering<'_> {
    pub(super) fn aggregate(&self, aggregate: &LogicalAggregate) -> Result<Lowered> {
        let input = self.lower(&aggregate.input)?;
        let schema = aggregate.input.schema();
        self.group(input, schema, &aggregate.group_expr, &aggregate.aggr_expr, aggregate.schema.as_arrow())
    }

    pub(super) fn distinct(&self, input: &LogicalPlan) -> Result<Lowered> {
        let lowered = self.lower(input)?;
        let schema = input.schema();
        let columns: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
        self.group(lowered, schema, &columns, &[], schema.as_arrow())
    }

    fn group(
        &self,
        input: Lowered,
        logical: &DFSchema,
        keys: &[Expr],
        aggregates: &[Expr],
        output: &Schema,
    ) -> Result<Lowered> {
        keys.iter().chain(aggregates).try_for_each(|expr| self.supported(expr))?;
        let is_bound = |expr: &Expr| match project::bare(expr) {
            Expr::Column(column) => matches!(input.place_of(column, logical), Some(Place::Bound(_))),
            _ => false,
        };
        let reads_bounds = |expr: &Expr| input.bounds_in(expr, logical) != Bounds::None;
        let by_window = keys.iter().any(is_bound)
            && !keys.iter().any(|key| input.bounds_in(key, logical) == Bounds::Mixed)
            && !aggregates.iter().any(reads_bounds);
        if by_window {
            self.group_by_window(input, logical, keys, aggregates, output)
        } else {
            self.reduce(input.with_windows_assigned()?, logical, keys, aggregates, output)
        }
    }

    fn reduce(
        &self,
        input: Lowered,
        logical: &DFSchema,
        keys: &[Expr],
        aggregates: &[Expr],
        output: &Schema,
    ) -> Result<Lowered> {
        let schema = input.schema(logical)?;
        let key_exprs =
            keys.iter().map(|key| self.physical(project::bare(key), &schema)).collect::<Result<Vec<_>>>()?;
        let aggregates = self.aggregates(aggregates, &schema)?;
        let fields = output.fields().iter().map(plain).collect::<Vec<_>>();
        let spec = ReduceSpec {
            retracts: input.mode != Mode::Append,
            input: Box::new(input.plan),
            keys: key_exprs,
            aggregates,
            schema: Arc::new(Schema::new(fields)),
        };
        let times = vec![None; output.fields().len()];
        let key = (0..keys.len()).map(|column| vec![column]).collect();
        Ok(Lowered::straight(Plan::Reduce(Box::new(spec)), Mode::Changelog, times, Some(key)))
    }

    fn group_by_window(
        &self,
        mut input: Lowered,
        logical: &DFSchema,
        keys: &[Expr],
        aggregates: &[Expr],
        output: &Schema,
    ) -> Result<Lowered> {
        let bounds_schema = input.bounds_schema(logical)?;
        let schema = input.schema(logical)?;
        let Some(open) = input.window.take() else { return Err(Error::bug("a grouping by windows without windows")) };
        let Some(origin) = input.times[open.time].clone() else {
            return Err(Error::bug("a window over no event time"));
        };

        // Where each column of the output comes from: a bound or an expression over the bounds, a key, an aggregate.
        let (mut key_exprs, mut picked) = (Vec::new(), Vec::<Arc<dyn PhysicalExpr>>::new());
        for (key, field) in keys.iter().zip(output.fields()) {
            let expr = project::bare(key);
            if input_reads_bounds(&input, expr, logical) {
                picked.push(self.physical(expr, &bounds_schema)?);
            } else {
                picked.push(Arc::new(Column::new(field.name(), 2 + key_exprs.len())));
                key_exprs.push((self.physical(expr, &schema)?, plain(field)));
            }
        }
        let aggregates = self.aggregates(aggregates, &schema)?;
        let values = &output.fields()[keys.len()..];
        for (at, field) in values.iter().enumerate() {
            picked.push(Arc::new(Column::new(field.name(), 2 + key_exprs.len() + at)));
        }
        let bounds = open.bounds.iter().map(plain);
        let fields = bounds.chain(key_exprs.iter().map(|(_, f)| f.clone())).chain(values.iter().map(plain));
        let fields: Vec<FieldRef> = fields.collect();
        let size_ns = open.window.size_ns();
        let time_field = input.plan.schema().field(open.time).clone();
        let time_origin = origin.delayed(self.late.lateness_ns);
        let spec = WindowAggregateSpec {
            input: Box::new(input.plan),
            time: Arc::new(Column::new(time_field.name(), open.time)),
            window: open.window,
            time_origin: time_origin.clone(),
            keys: key_exprs.iter().map(|(expr, _)| expr.clone()).collect(),
            aggregates,
            on_late: self.late.on_late,
            schema: Arc::new(Schema::new(fields)),
        };
        // Results become final when their window closes, and later by as long as late rows may still revise them.
        let until_ns = match self.late.on_late {
            OnLate::Drop => 0,
            OnLate::Revise { until_ns } => until_ns,
        };
        let closed = time_origin.delayed(until_ns);
        let mut plan = Plan::WindowAggregate(Box::new(spec));
        for predicate in open.filters {
            plan = Plan::Filter(FilterSpec { input: Box::new(plan), predicate });
        }
        let width = plan.schema().fields().len();
        let mut times = vec![None; width];
        times[0] = Some(closed.delayed(size_ns));
        times[1] = Some(closed);
        self.in_output_order(plan, &picked, output, times, key_exprs.len())
    }

    /// The columns of a windowed aggregation as the logical aggregation has them.
    fn in_output_order(
        &self,
        plan: Plan,
        picked: &[Arc<dyn PhysicalExpr>],
        output: &Schema,
        times: Vec<Option<thalweg_operators::plan::TimeOrigin>>,
        keys: usize,
    ) -> Result<Lowered> {
        let positions: Vec<Option<usize>> = picked.iter().map(project::position).collect();
        let times = positions.iter().map(|at| times[(*at)?].clone()).collect();
        let at = |column: usize| positions.iter().position(|p| *p == Some(column));
        let window = [at(0), at(1)].into_iter().flatten().collect::<Vec<_>>();
        let keys = (2..2 + keys).map(|column| Some(vec![at(column)?])).collect::<Option<Vec<_>>>();
        let key = keys.filter(|_| !window.is_empty()).map(|keys| [window].into_iter().chain(keys).collect());
        let inner = plan.schema();
        let fields: Vec<FieldRef> = output
            .fields()
            .iter()
            .zip(&positions)
            .map(|(f, at)| match at {
                Some(at) => Arc::new(inner.field(*at).clone().with_name(f.name())),
                None => plain(f),
            })
            .collect();
        let schema = Arc::new(Schema::new(fields));
        let identity = positions.iter().enumerate().all(|(i, at)| *at == Some(i)) && schema == inner;
        let plan = if identity {
            plan
        } else {
            Plan::Project(ProjectSpec { input: Box::new(plan), exprs: picked.to_vec(), schema })
        };
        Ok(Lowered::straight(plan, Mode::Windows, times, key))
    }

    fn aggregates(&self, exprs: &[Expr], schema: &DFSchema) -> Result<Vec<Aggregate>> {
        let physical = schema.as_arrow();
        let context = PhysicalPlanningContext::default();
        let one = |expr: &Expr| {
            let lowered = LoweredAggregateBuilder::new(&where_filtered(expr), schema, physical, &self.props, &context)
                .with_name(expr.schema_name().to_string())
                .with_human_display(expr.human_display().to_string())
                .build()
                .map_err(|error| crate::bind::messages::translate(error, self.scope, self.words))?;
            let filter = lowered.filter.map(checked).transpose()?;
            Ok(Aggregate { function: checked_arguments(lowered.aggregate)?, filter })
        };
        exprs.iter().map(one).collect()
    }
}

/// The aggregate with arguments that are computed only where its FILTER is true: a row that it leaves out cannot fail.
fn where_filtered(expr: &Expr) -> Expr {
    let one = |mut call: AggregateFunction| {
        if let Some(filter) = &call.params.filter {
            for argument in &mut call.params.args {
                if !matches!(argument, Expr::Column(_) | Expr::Literal(..)) {
                    let when = vec![(filter.clone(), Box::new(argument.clone()))];
                    *argument = Expr::Case(Case { expr: None, when_then_expr: when, else_expr: None });
                }
            }
        }
        call
    };
    match expr {
        Expr::AggregateFunction(call) => Expr::AggregateFunction(one(call.clone())),
        Expr::Alias(alias) => Expr::Alias(Alias { expr: Box::new(where_filtered(&alias.expr)), ..alias.clone() }),
        other => other.clone(),
    }
}

fn input_reads_bounds(input: &Lowered, expr: &Expr, logical: &DFSchema) -> bool {
    let bound = |c: &datafusion::common::Column| matches!(input.place_of(c, logical), Some(Place::Bound(_)));
    expr.column_refs().into_iter().any(bound)
}

fn plain(field: &FieldRef) -> FieldRef {
    Arc::new(Field::new(field.name(), field.data_type().clone(), field.is_nullable()))
}
