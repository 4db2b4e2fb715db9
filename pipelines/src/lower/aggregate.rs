//! GROUP BY and DISTINCT: over open windows a windowed aggregation, otherwise a changelog.

use super::checked::{checked, checked_arguments};
use super::{Bounds, Lowered, Lowering, OpenWindow, Place, project};
use crate::bind::Mode;
use crate::bind::cut::Cut;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::logical_expr::expr::{AggregateFunction, Alias};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Aggregate as LogicalAggregate, Case, Expr, LogicalPlan, Operator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, LoweredAggregateBuilder};
use datafusion::physical_expr::expressions::{BinaryExpr, Column, lit};
use std::sync::Arc;
use thalweg_operators::aggregate::Aggregate;
use thalweg_operators::filter::FilterSpec;
use thalweg_operators::plan::{Plan, TimeOrigin};
use thalweg_operators::project::ProjectSpec;
use thalweg_operators::reduce::ReduceSpec;
use thalweg_operators::session_aggregate::SessionAggregateSpec;
use thalweg_operators::window_aggregate::WindowAggregateSpec;
use thalweg_schemas::error::{Error, Result};

impl Lowering<'_> {
    pub(super) fn aggregate(&self, aggregate: &LogicalAggregate) -> Result<Lowered> {
        let input = self.lower(&aggregate.input)?;
        let schema = aggregate.input.schema();
        if let [Expr::GroupingSet(sets)] = aggregate.group_expr.as_slice() {
            return self.group_by_sets(input, aggregate, sets);
        }
        self.group(input, schema, &aggregate.group_expr, &aggregate.aggr_expr, aggregate.schema.as_arrow())
    }

    pub(super) fn distinct(&self, input: &LogicalPlan) -> Result<Lowered> {
        let lowered = self.lower(input)?;
        let schema = input.schema();
        let columns: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
        self.group(lowered, schema, &columns, &[], schema.as_arrow())
    }

    pub(super) fn group(
        &self,
        input: Lowered,
        logical: &DFSchema,
        keys: &[Expr],
        aggregates: &[Expr],
        output: &Schema,
    ) -> Result<Lowered> {
        keys.iter().chain(aggregates).try_for_each(|expr| self.supported(expr))?;
        let place = |expr: &Expr| match project::bare(expr) {
            Expr::Column(column) => input.place_of(column, logical),
            _ => None,
        };
        let names_window = |open: &OpenWindow| {
            let named = |key| matches!(place(key), Some(Place::Bound(bound)) if open.names().contains(&bound));
            keys.iter().any(named)
        };
        // Sessions are of a partition: only rows of one partition can be grouped by them as they are made.
        let has_partition = |open: &OpenWindow| match &open.cut {
            Cut::Windows(_) => true,
            Cut::Sessions { by, .. } => by.iter().all(|at| keys.iter().any(|key| place(key) == Some(Place::Base(*at)))),
        };
        let reads_bounds = |expr: &Expr| input.bounds_in(expr, logical) != Bounds::None;
        let by_window = input.window.as_ref().is_some_and(|open| names_window(open) && has_partition(open))
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
            state_ttl_ns: None,
            horizon: None,
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

        // The keys besides the window; those that partition sessions come first.
        let reads_bounds = |key: &&Expr| input_reads_bounds(&input, project::bare(key), logical);
        let mut key_exprs = Vec::new();
        for (at, key) in keys.iter().enumerate().filter(|(_, key)| !reads_bounds(key)) {
            key_exprs.push((at, self.physical(project::bare(key), &schema)?));
        }
        if let Cut::Sessions { by, .. } = &open.cut {
            let rank = |expr: &Arc<dyn PhysicalExpr>| {
                let column = project::position(expr);
                by.iter().position(|partition| column == Some(*partition)).unwrap_or(by.len())
            };
            key_exprs.sort_by_key(|(_, expr)| rank(expr));
        }

        // Where each column of the output comes from: a bound or an expression over the bounds, a key, an aggregate.
        let mut picked = Vec::<Arc<dyn PhysicalExpr>>::new();
        for (at, (key, field)) in keys.iter().zip(output.fields()).enumerate() {
            match key_exprs.iter().position(|(key, _)| *key == at) {
                Some(place) => picked.push(Arc::new(Column::new(field.name(), 2 + place))),
                None => picked.push(self.physical(project::bare(key), &bounds_schema)?),
            }
        }
        let mut aggregates = self.aggregates(aggregates, &schema)?;
        let looked_at = self.only_filtered(&mut aggregates, &open, &input.plan.schema())?;
        let values = &output.fields()[keys.len()..];
        for (at, field) in values.iter().enumerate() {
            picked.push(Arc::new(Column::new(field.name(), 2 + key_exprs.len() + at)));
        }
        let bounds = open.bounds.iter().map(plain);
        let key_fields = key_exprs.iter().map(|(at, _)| plain(&output.fields()[*at]));
        let mut fields: Vec<FieldRef> = bounds.chain(key_fields).chain(values.iter().map(plain)).collect();
        if let Some(count) = &looked_at {
            fields.push(Arc::new(Field::new(count.function.name(), DataType::Int64, false)));
            aggregates.extend(looked_at.clone());
        }
        let key_exprs: Vec<_> = key_exprs.into_iter().map(|(_, expr)| expr).collect();
        let (names, keys) = (open.names(), key_exprs.len());
        let time_origin = origin.delayed(self.late.lateness_ns);
        // Results become final when their window closes, or can no longer be revised.
        let closed = self.late.final_at(&time_origin);
        let mut times = vec![None; fields.len()];
        times[1] = Some(closed.clone());
        if let Cut::Windows(window) = &open.cut {
            times[0] = Some(closed.delayed(window.size_ns()));
        }
        let mut plan =
            self.by_window(input.plan, &open, time_origin, key_exprs, aggregates, Arc::new(Schema::new(fields)));
        let some = looked_at.map(|count| {
            let last: Arc<dyn PhysicalExpr> = Arc::new(Column::new(count.function.name(), times.len() - 1));
            Arc::new(BinaryExpr::new(last, Operator::Gt, lit(0i64))) as Arc<dyn PhysicalExpr>
        });
        for predicate in open.filters.into_iter().chain(some) {
            plan = Plan::Filter(FilterSpec { input: Box::new(plan), predicate });
        }
        self.in_output_order(plan, &picked, output, times, keys, names)
    }

    /// Lets aggregates see only the rows that the predicates behind a session leave; gives a count of these, without
    /// which a group is not shown.
    fn only_filtered(
        &self,
        aggregates: &mut [Aggregate],
        open: &OpenWindow,
        input: &SchemaRef,
    ) -> Result<Option<Aggregate>> {
        let and = |left, right| Arc::new(BinaryExpr::new(left, Operator::And, right)) as Arc<dyn PhysicalExpr>;
        let Some(predicate) = open.row_filters.iter().cloned().reduce(and) else { return Ok(None) };
        for aggregate in aggregates {
            let own = aggregate.filter.take();
            aggregate.filter = Some(own.map_or(predicate.clone(), |own| and(own, predicate.clone())));
        }
        let count = AggregateExprBuilder::new(count_udaf(), vec![lit(1i64)]).schema(input.clone()).alias("rows");
        let function = Arc::new(count.build().map_err(|error| Error::bug(error.strip_backtrace()))?);
        Ok(Some(Aggregate { function, filter: Some(predicate) }))
    }

    /// One row for each window and group.
    fn by_window(
        &self,
        input: Plan,
        open: &OpenWindow,
        time_origin: TimeOrigin,
        keys: Vec<Arc<dyn PhysicalExpr>>,
        aggregates: Vec<Aggregate>,
        schema: SchemaRef,
    ) -> Plan {
        let time = Arc::new(Column::new(input.schema().field(open.time).name(), open.time));
        let (input, on_late) = (Box::new(input), self.late.on_late);
        match &open.cut {
            Cut::Windows(window) => Plan::WindowAggregate(Box::new(WindowAggregateSpec {
                input,
                time,
                window: *window,
                time_origin,
                keys,
                aggregates,
                on_late,
                schema,
            })),
            Cut::Sessions { gap_ns, by, start, end } => Plan::SessionAggregate(Box::new(SessionAggregateSpec {
                input,
                time,
                gap_ns: *gap_ns,
                start: *start,
                end: *end,
                time_origin,
                partition: by.len(),
                keys,
                aggregates,
                on_late,
                schema,
            })),
        }
    }

    /// The columns of a windowed aggregation as the logical aggregation has them. Each of the columns `names` names the
    /// window.
    fn in_output_order(
        &self,
        plan: Plan,
        picked: &[Arc<dyn PhysicalExpr>],
        output: &Schema,
        times: Vec<Option<TimeOrigin>>,
        keys: usize,
        names: &[usize],
    ) -> Result<Lowered> {
        let positions: Vec<Option<usize>> = picked.iter().map(project::position).collect();
        let times = positions.iter().map(|at| times[(*at)?].clone()).collect();
        let bounds = (0..positions.len()).filter(|at| matches!(positions[*at], Some(0 | 1))).collect();
        let at = |column: usize| positions.iter().position(|p| *p == Some(column));
        let window = names.iter().filter_map(|bound| at(*bound)).collect::<Vec<_>>();
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
        Ok(Lowered { bounds, ..Lowered::straight(plan, Mode::Windows, times, key) })
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
