//! Queries to logical plans: planned by DataFusion, coerced and simplified, over the relations in scope.

use super::recursion::{self, RecursiveSource};
use super::windows::TableCalls;
use super::{RelationSource, Scope, asof, lookup, messages, windows};
use crate::lower::is_set_operation;
use crate::parse::Words;
use crate::registry;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result as DfResult, ScalarValue, TableReference, plan_datafusion_err};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner};
use datafusion::logical_expr::{AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF};
use datafusion::optimizer::analyzer::resolve_grouping_function::ResolveGroupingFunction;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;
use datafusion::optimizer::decorrelate_lateral_join::DecorrelateLateralJoin;
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::eliminate_outer_join::EliminateOuterJoin;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::scalar_subquery_to_join::ScalarSubqueryToJoin;
use datafusion::optimizer::simplify_expressions::{ExprSimplifier, SimplifyExpressions};
use datafusion::optimizer::{Analyzer, AnalyzerRule, Optimizer, OptimizerContext, OptimizerRule};
use datafusion::sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use datafusion::sql::sqlparser::ast::{self, Ident, Query, SetExpr, Statement, TableAlias, TableFactor, With};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use std::sync::Arc;
use thalweg_schemas::error::{Error, Result};

/// Plans `query` over the relations of `scope`.
pub(crate) fn plan(mut query: Query, scope: &Scope, words: &Words) -> Result<LogicalPlan> {
    recursion::check(&query, words)?;
    let mut tables = TableCalls::new();
    for call in windows::extract(&mut query, &|_| false, words)? {
        let input = plan(call.input.clone(), scope, words)?;
        tables.insert(call.name.clone(), call.over(input, words)?.table());
    }
    asof::put_in_place(&mut query)?;
    let provider = Provider { scope, tables: &tables };
    let translate = |error| messages::translate(error, scope, words);
    let planned = planner(&provider).sql_statement_to_plan(Statement::Query(Box::new(query))).map_err(translate)?;
    let planned = asof::nodes(planned).map_err(translate)?;
    one_row_each(&planned)?;
    analyze(planned).map_err(translate)
}

/// A subquery that stands for a value gives one row, or none: which of several would be meant, no view can keep.
/// DataFusion sees to those that depend on the outer query.
fn one_row_each(plan: &LogicalPlan) -> Result<()> {
    let mut error = None;
    let _ = plan.apply_with_subqueries(|node| {
        let several = |e: &Expr| match e {
            Expr::ScalarSubquery(query) => query.outer_ref_columns.is_empty() && query.subquery.max_rows() != Some(1),
            _ => false,
        };
        for expr in node.expressions() {
            if expr.exists(|e| Ok(several(e))).unwrap_or(false) {
                error = Some(
                    Error::user("a subquery that stands for a value may give several rows")
                        .with_hint("Put the value into an aggregate such as max(), or write a join."),
                );
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    error.map_or(Ok(()), Err)
}

/// Settles types and simplifies. What only pays where plans are run by DataFusion itself is left out.
pub(crate) fn analyze(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let options = registry::options();
    let settled: Vec<Arc<dyn AnalyzerRule + Send + Sync>> =
        vec![Arc::new(ResolveGroupingFunction::new()), Arc::new(TypeCoercion::new())];
    let plan = Analyzer::with_rules(settled).execute_and_check(plan, options, |_, _| {})?;
    let mut options = options.clone();
    // A subquery that stands for a value is a join like all others.
    options.optimizer.enable_physical_uncorrelated_scalar_subquery = false;
    let optimizer = Optimizer::with_rules(if combines(&plan) { join_rules() } else { rules() });
    // Without a start time now() is not replaced by the moment in which the view was planned.
    let context = OptimizerContext::new_with_config_options(Arc::new(options)).without_query_execution_start_time();
    optimizer.optimize(plan, &context, |_, _| {})
}

type Rules = Vec<Arc<dyn OptimizerRule + Send + Sync>>;

fn rules() -> Rules {
    vec![Arc::new(SimplifyExpressions::new()), Arc::new(PushDownFilter::new())]
}

/// Subqueries become joins, equalities become keys, and no side brings columns that nobody reads.
fn join_rules() -> Rules {
    vec![
        Arc::new(SimplifyExpressions::new()),
        Arc::new(DecorrelatePredicateSubquery::new()),
        Arc::new(ScalarSubqueryToJoin::new()),
        Arc::new(DecorrelateLateralJoin::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(EliminateCrossJoin::new()),
        Arc::new(EliminateOuterJoin::new()),
        Arc::new(PushDownFilter::new()),
        Arc::new(OptimizeProjections::new()),
    ]
}

/// Whether the query reads several relations together.
fn combines(plan: &LogicalPlan) -> bool {
    let subquery = |e: &Expr| {
        matches!(e, Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_) | Expr::SetComparison(_))
    };
    let within = |e: &Expr| e.exists(|e| Ok(subquery(e))).unwrap_or(false);
    let joins = |node: &LogicalPlan| match node {
        LogicalPlan::Join(join) => !is_set_operation(join),
        LogicalPlan::Extension(_) => true,
        _ => false,
    };
    let node = |node: &LogicalPlan| joins(node) || node.expressions().iter().any(within);
    plan.exists(|n| Ok(node(n))).unwrap_or(false)
}

/// Plans `expr` over the columns of `schema`, without settling types yet.
pub(crate) fn expression(expr: ast::Expr, schema: &DFSchema, scope: &Scope, words: &Words) -> Result<Expr> {
    let provider = Provider { scope, tables: &TableCalls::new() };
    planner(&provider)
        .sql_to_expr(expr, schema, &mut PlannerContext::new())
        .map_err(|error| messages::translate(error, scope, words))
}

/// The length of a constant interval in nanoseconds.
pub(crate) fn interval_ns(expr: &ast::Expr, scope: &Scope, words: &Words) -> Result<i64> {
    let schema = DFSchema::empty();
    let wrong = || Error::user(format!("\"{expr}\" is not an interval")).with_hint("Write INTERVAL '10 seconds'.");
    let planned = match expr {
        // A bare text is taken for an interval, as in `TUMBLE(t, ts, '10 seconds')`.
        ast::Expr::Value(ast::ValueWithSpan { value: ast::Value::SingleQuotedString(text), .. }) => {
            let length = thalweg_schemas::options::parse_duration(text).ok_or_else(wrong)?;
            return i64::try_from(length.as_nanos()).map_err(|_| wrong());
        }
        other => expression(other.clone(), &schema, scope, words)?,
    };
    let context = datafusion::logical_expr::simplify::SimplifyContext::default();
    let simplifier = ExprSimplifier::new(context);
    let simple = simplifier.coerce(planned, &schema).and_then(|e| simplifier.simplify(e)).map_err(|_| wrong())?;
    let Expr::Literal(value, _) = simple else { return Err(wrong()) };
    const DAY_NS: i64 = 86_400_000_000_000;
    let overflow = || Error::user(format!("interval \"{expr}\" is too long"));
    match value {
        ScalarValue::IntervalMonthDayNano(Some(length)) if length.months != 0 => {
            Err(Error::user(format!("interval \"{expr}\" has no fixed length"))
                .with_hint("Months and years differ in length: write it in days, hours, minutes or seconds."))
        }
        ScalarValue::IntervalMonthDayNano(Some(length)) => i64::from(length.days)
            .checked_mul(DAY_NS)
            .and_then(|days| days.checked_add(length.nanoseconds))
            .ok_or_else(overflow),
        ScalarValue::IntervalDayTime(Some(length)) => i64::from(length.days)
            .checked_mul(DAY_NS)
            .and_then(|days| days.checked_add(i64::from(length.milliseconds) * 1_000_000))
            .ok_or_else(overflow),
        _ => Err(wrong()),
    }
}

/// `[WITH ..] SELECT * FROM name`
pub(crate) fn select_all(name: &str, with: Option<With>) -> Result<Query> {
    let text = format!("SELECT * FROM {}", Ident::with_quote('"', name));
    let parsed = Parser::new(&GenericDialect {}).try_with_sql(&text).and_then(|mut parser| parser.parse_query());
    let query = parsed.map_err(|error| Error::bug(format!("{text}: {error}")))?;
    Ok(Query { with, ..*query })
}

/// `SELECT * FROM (query)`
pub(crate) fn select_of(query: &Query) -> Result<Query> {
    let mut around = select_all("it", None)?;
    if let SetExpr::Select(select) = around.body.as_mut()
        && let Some(from) = select.from.first_mut()
    {
        let name = Ident::with_quote('"', "it");
        let alias = Some(TableAlias { explicit: true, name, columns: vec![], at: None });
        let subquery = Box::new(query.clone());
        from.relation = TableFactor::Derived { lateral: false, subquery, alias, sample: None };
    }
    Ok(around)
}

fn planner<'a>(provider: &'a Provider<'a>) -> SqlToRel<'a, Provider<'a>> {
    SqlToRel::new_with_options(provider, ParserOptions::from(&registry::options().sql_parser))
}

struct Provider<'a> {
    scope: &'a Scope,
    tables: &'a TableCalls,
}

impl ContextProvider for Provider<'_> {
    fn get_table_source(&self, name: TableReference) -> DfResult<Arc<dyn TableSource>> {
        if name.schema() == Some(windows::WINDOWS)
            && let Some(table) = self.tables.get(name.table())
        {
            return Ok(table.clone());
        }
        if name.schema().is_some_and(|schema| schema != crate::query::PUBLIC) {
            return Err(plan_datafusion_err!("{}{name}", messages::NO_RELATION));
        }
        match self.scope.relations.get(name.table()) {
            Some(relation) => Ok(Arc::new(RelationSource(relation.clone()))),
            None => Err(plan_datafusion_err!("{}{}", messages::NO_RELATION, name.table())),
        }
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> DfResult<Arc<dyn TableSource>> {
        Ok(Arc::new(RecursiveSource { name: name.to_string(), schema }))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        registry::base().expr_planners()
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        asof::marker(name)
            .or_else(|| lookup::marker(name))
            .or_else(|| registry::base().scalar_functions().get(name).cloned())
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        registry::base().higher_order_functions().get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        registry::base().aggregate_functions().get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        registry::base().window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _variable_names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        registry::options()
    }

    fn udf_names(&self) -> Vec<String> {
        registry::base().scalar_functions().keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        registry::base().higher_order_functions().keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        registry::base().aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        registry::base().window_functions().keys().cloned().collect()
    }
}
