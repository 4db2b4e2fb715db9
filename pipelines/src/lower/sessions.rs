//! SESSION without a grouping by its bounds: each row with those of its session.
//!
//! Rows that are alike in all columns are counted as one group of the session, and repeated as often as they are there.

use super::{Lowered, OpenWindow, Place, project};
use crate::bind::Mode;
use crate::bind::cut::Cut;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::{Column, lit};
use std::sync::Arc;
use thalweg_operators::aggregate::Aggregate;
use thalweg_operators::filter::FilterSpec;
use thalweg_operators::plan::Plan;
use thalweg_operators::repeat::RepeatSpec;
use thalweg_operators::session_aggregate::SessionAggregateSpec;
use thalweg_schemas::error::{Error, Result};

impl Lowered {
    pub(super) fn with_sessions_assigned(mut self, open: OpenWindow) -> Result<Lowered> {
        let (Cut::Sessions { gap_ns, by, start, end }, Some(origin)) = (&open.cut, self.times[open.time].clone())
        else {
            return Err(Error::bug("sessions over no event time"));
        };
        let input = self.plan.schema();
        let width = input.fields().len();
        let order: Vec<usize> = by.iter().copied().chain((0..width).filter(|at| !by.contains(at))).collect();
        let column = |at: usize| Arc::new(Column::new(input.field(at).name(), at)) as Arc<dyn PhysicalExpr>;
        let count = AggregateExprBuilder::new(count_udaf(), vec![lit(1i64)]).schema(input.clone()).alias("copies");
        let count = count.build().map_err(|error| Error::bug(error.to_string()))?;
        let fields = open.bounds.iter().cloned().chain(order.iter().map(|at| Arc::new(input.field(*at).clone())));
        let fields: Vec<_> = fields.collect();
        let copies = Arc::new(Field::new("copies", DataType::Int64, count.is_nullable()));
        let spec = SessionAggregateSpec {
            time: column(open.time),
            gap_ns: *gap_ns,
            start: *start,
            end: *end,
            time_origin: origin.delayed(open.late.lateness_ns),
            partition: by.len(),
            keys: order.iter().map(|at| column(*at)).collect(),
            aggregates: vec![Aggregate { function: Arc::new(count), filter: None }],
            on_late: open.late.on_late,
            schema: Arc::new(Schema::new([fields.clone(), vec![copies]].concat())),
            input: Box::new(self.plan),
        };
        let closed = open.late.final_at(&spec.time_origin);
        let mut plan = Plan::SessionAggregate(Box::new(spec));
        for predicate in open.filters {
            plan = Plan::Filter(FilterSpec { input: Box::new(plan), predicate });
        }
        let plan = Plan::Repeat(RepeatSpec { input: Box::new(plan), schema: Arc::new(Schema::new(fields)) });

        let place = |at: usize| 2 + order.iter().position(|column| *column == at).unwrap_or_default();
        let mut plan = plan;
        for predicate in &open.row_filters {
            let predicate = project::relocated(predicate, &|at| (input.field(at).name().clone(), place(at)))?;
            plan = Plan::Filter(FilterSpec { input: Box::new(plan), predicate });
        }

        // The columns as they were, then the bounds.
        let positions: Vec<usize> = (0..width).map(place).chain([0, 1]).collect();
        let names = input.fields().iter().cloned().chain(open.bounds);
        let mut times = vec![None; width + 2];
        times[1] = Some(closed);
        let columns = std::mem::take(&mut self.columns);
        let lowered = Lowered { bounds: vec![1], ..Lowered::straight(plan, Mode::Windows, times, None) };
        let mut lowered = project::pick(lowered, &positions, names.collect::<Vec<_>>().into_iter());
        lowered.columns = columns
            .into_iter()
            .map(|at| match at {
                Place::Bound(bound) => Place::Base(width + bound),
                base => base,
            })
            .collect();
        Ok(lowered)
    }
}
