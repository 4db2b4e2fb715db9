//! Window functions: `f(..) OVER (PARTITION BY .. ORDER BY ..)`.

use super::top_n::Partitioned;
use super::{Lowered, Lowering, Place, project};
use crate::bind::Mode;
use crate::bind::messages::translate;
use arrow::datatypes::{Field, Schema};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{NullTreatment, Sort as SortExpr, WindowFunction};
use datafusion::logical_expr::{Expr, Window, WindowFunctionDefinition};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::window::WindowExpr;
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::windows::create_window_expr;
use std::sync::Arc;
use thalweg_operators::over::{InOrder, OverSpec};
use thalweg_operators::plan::Plan;
use thalweg_schemas::error::{Error, Result};

impl Lowering<'_> {
    /// The functions of one partition and order: a query with several has a plan of this kind for each.
    pub(super) fn over(&self, window: &Window) -> Result<Lowered> {
        let calls: Vec<&WindowFunction> = window.window_expr.iter().map(call).collect::<Result<_>>()?;
        let Some(first) = calls.first() else { return Err(Error::bug("a window without a function")) };
        let order: Vec<&SortExpr> = first.params.order_by.iter().collect();
        let exprs = first.params.partition_by.iter().chain(order.iter().map(|by| &by.expr));
        // What functions are computed from becomes columns, so that a row that it fails for is put aside alone.
        let computed =
            calls.iter().flat_map(|call| &call.params.args).filter(|expr| !matches!(expr, Expr::Literal(..)));
        let filters = calls.iter().filter_map(|call| call.params.filter.as_deref());
        let exprs: Vec<&Expr> = exprs.chain(computed).chain(filters).collect();
        let lowered = self.lower(&window.input)?.with_windows_assigned()?;
        let (input, columns) = self.with_columns(lowered, window.input.schema(), &exprs)?;
        let partition = columns[..first.params.partition_by.len()].to_vec();
        let sorted = &columns[partition.len()..partition.len() + order.len()];
        let parts = Partitioned::new(&input, partition, &order, sorted);

        let schema = input.plan.schema();
        let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
        let (mut functions, mut places) = (Vec::new(), input.columns.clone());
        let mut arguments = columns[parts.partition.len() + order.len()..].iter().copied();
        let filters: Vec<usize> =
            columns[columns.len() - calls.iter().filter(|c| c.params.filter.is_some()).count()..].to_vec();
        let mut filters = filters.into_iter();
        for (call, expr) in calls.iter().zip(&window.window_expr) {
            let column = |at: usize| Arc::new(Column::new(schema.field(at).name(), at)) as Arc<dyn PhysicalExpr>;
            let argument = |expr: &Expr| match expr {
                Expr::Literal(..) => self.physical(expr, &input.schema(window.input.schema())?),
                _ => arguments.next().map(column).ok_or_else(|| Error::bug("a function without its argument")),
            };
            let args = call.params.args.iter().map(argument).collect::<Result<Vec<_>>>()?;
            let filter = call.params.filter.as_ref().and_then(|_| filters.next()).map(column);
            let function = self.function(call, expr, &parts, args, filter, &input)?;
            let field = function.field().map_err(|error| translate(error, self.scope, self.words))?;
            fields.push(Arc::new(Field::new(function.name(), field.data_type().clone(), field.is_nullable())));
            places.push(Place::Base(fields.len() - 1));
            functions.push(function);
        }
        let in_order = in_order(&input, &parts, &calls, &columns);
        let (mode, closes) = match in_order {
            Some(_) => (Mode::Windows, None),
            None => (parts.mode(), parts.closes.clone()),
        };
        let (mut times, bounds) = parts.times(&input);
        in_order.iter().for_each(|in_order| times[in_order.time] = Some(in_order.origin.clone()));
        times.resize(fields.len(), None);
        let key = input.key;
        let spec = OverSpec {
            state_ttl_ns: None,
            horizon: None,
            retracts: input.mode != Mode::Append,
            partition: parts.partition,
            order: parts.order,
            functions,
            closes,
            in_order,
            schema: Arc::new(Schema::new(fields)),
            input: Box::new(input.plan),
        };
        let lowered = Lowered::straight(Plan::Over(Box::new(spec)), mode, times, key);
        Ok(Lowered { columns: places, bounds, ..lowered })
    }

    fn function(
        &self,
        call: &WindowFunction,
        expr: &Expr,
        parts: &Partitioned,
        args: Vec<Arc<dyn PhysicalExpr>>,
        filter: Option<Arc<dyn PhysicalExpr>>,
        input: &Lowered,
    ) -> Result<Arc<dyn WindowExpr>> {
        let schema = input.plan.schema();
        let column = |at: usize| Arc::new(Column::new(schema.field(at).name(), at)) as Arc<dyn PhysicalExpr>;
        let partition: Vec<_> = parts.partition.iter().map(|at| column(*at)).collect();
        let order = parts.order.iter().map(|by| {
            let options = arrow::compute::SortOptions { descending: by.descending, nulls_first: by.nulls_first };
            PhysicalSortExpr::new(column(by.column), options)
        });
        let ignore_nulls = call.params.null_treatment == Some(NullTreatment::IgnoreNulls);
        create_window_expr(
            &call.fun,
            expr.schema_name().to_string(),
            &args,
            &partition,
            &order.collect::<Vec<_>>(),
            Arc::new(call.params.window_frame.clone()),
            schema,
            ignore_nulls,
            call.params.distinct,
            filter,
        )
        .map_err(|error| translate(error, self.scope, self.words))
    }
}

/// How the rows are final one by one, if the functions look at the row before in order of event time and at nothing else.
fn in_order(input: &Lowered, parts: &Partitioned, calls: &[&WindowFunction], columns: &[usize]) -> Option<InOrder> {
    let [by] = parts.order.as_slice() else { return None };
    let nullable = input.plan.schema().field(by.column).is_nullable();
    if parts.closes.is_some() || input.mode == Mode::Changelog || by.descending || nullable {
        return None;
    }
    let origin = input.times[by.column].clone()?;
    let looks_back_by_one = |call: &&WindowFunction| {
        let lag = matches!(&call.fun, WindowFunctionDefinition::WindowUDF(function) if function.name() == "lag");
        let one = match call.params.args.as_slice() {
            [Expr::Literal(..), ..] => false,
            [_] => true,
            [_, Expr::Literal(ScalarValue::Int64(Some(1)), _)] => true,
            _ => false,
        };
        lag && one && call.params.filter.is_none() && call.params.null_treatment != Some(NullTreatment::IgnoreNulls)
    };
    if !calls.iter().all(looks_back_by_one) {
        return None;
    }
    let before = columns[parts.partition.len() + 1..].to_vec();
    debug_assert_eq!(before.len(), calls.len(), "one column a function");
    Some(InOrder { time: by.column, origin, before })
}

fn call(expr: &Expr) -> Result<&WindowFunction> {
    match project::bare(expr) {
        Expr::WindowFunction(call) => Ok(call),
        _ => Err(Error::bug("a window of something that is no window function")),
    }
}
