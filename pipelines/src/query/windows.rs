//! Window functions in ad-hoc queries: over a snapshot windows are a function of each row, its list of windows unnested,
//! and sessions are found by looking back from each row of a partition to the one before it.
//!
//! The functions are taken out of the statement as they are for views, so that both read the same words in the same way.

use super::names;
use crate::bind::cut::Cut;
use crate::bind::windows::{Called, WINDOW_END, WINDOW_START, WINDOWS, extract};
use crate::bind::{WindowSource, recursion, series};
use crate::parse::syntax::without_table_words;
use crate::parse::{Words, partition};
use arrow::datatypes::DataType;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList};
use datafusion::catalog::{MemorySchemaProvider, SchemaProvider};
use datafusion::common::{Column, DataFusionError, Result, UnnestOptions};
use datafusion::datasource::ViewTable;
use datafusion::execution::SessionState;
use datafusion::functions::core::expr_fn::get_field;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, LogicalPlanBuilder, ScalarUDF, Volatility, create_udf,
};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast;
use std::sync::Arc;
use thalweg_operators::assign_windows::{windows_of_each, windows_type};
use thalweg_operators::window::Window;
use thalweg_schemas::error::Error;

/// The column of a row's windows, before and after they are unnested.
const WINDOW: &str = "__window";
/// The table that stands for what is cut into sessions.
const INPUT: &str = "__input";

/// Plans the one statement that `text` is over the relations of `state`.
pub async fn plan(state: &SessionState, text: &str) -> Result<LogicalPlan> {
    let dialect = state.config_options().sql_parser.dialect;
    let statement = state.sql_to_statement(&partition::rewritten(&without_table_words(text)), &dialect)?;
    plan_statement(state, statement, text).await
}

/// Plans a statement that has been parsed from `text`, or from what was made of it.
pub async fn plan_statement(state: &SessionState, mut statement: Statement, text: &str) -> Result<LogicalPlan> {
    let words = Words::of_text(text);
    let knows = |name: &str| state.table_functions().contains_key(name);
    let external = |error: Error| DataFusionError::External(Box::new(error));
    let calls = match sql_of(&mut statement) {
        Some(sql) => {
            names::put_apart(sql);
            recursion::check(sql, &words).map_err(external)?;
            extract(sql, &knows, &words).map_err(external)?
        }
        None => Vec::new(),
    };
    if calls.is_empty() {
        return state.statement_to_plan(statement).await;
    }
    let tables = MemorySchemaProvider::new();
    for call in calls {
        let input = Statement::Statement(Box::new(ast::Statement::Query(Box::new(call.input.clone()))));
        let input = Box::pin(plan_statement(state, input, text)).await?;
        let source = match call.over(input, &words).map_err(external)? {
            Called::Window(source) => source,
            Called::Series(_) => return Err(external(call.located(series::not_in_a_query()))),
        };
        let planned = match source.cut.clone() {
            Cut::Windows(window) => unnested(source, window)?,
            Cut::Sessions { gap_ns, by, start, end } => {
                let marks = Marks { start, end };
                in_sessions(state, source, gap_ns, &by, marks).await?
            }
        };
        tables.register_table(call.name.clone(), Arc::new(ViewTable::new(planned, None)))?;
    }
    with_schema(state, tables)?.statement_to_plan(statement).await
}

/// The statement of SQL inside `statement`.
fn sql_of(statement: &mut Statement) -> Option<&mut ast::Statement> {
    match statement {
        Statement::Statement(sql) => Some(sql),
        Statement::Explain(explain) => sql_of(&mut explain.statement),
        _ => None,
    }
}

/// `state` with the windowed relations of one statement beside its relations.
fn with_schema(state: &SessionState, tables: MemorySchemaProvider) -> Result<SessionState> {
    let catalogs = MemoryCatalogProviderList::new();
    for name in state.catalog_list().catalog_names() {
        if let Some(catalog) = state.catalog_list().catalog(&name) {
            catalogs.register_catalog(name, catalog);
        }
    }
    let windows = MemoryCatalogProvider::new();
    windows.register_schema(WINDOWS, Arc::new(tables))?;
    catalogs.register_catalog(WINDOWS.to_string(), Arc::new(windows));
    let mut state = state.clone();
    state.register_catalog_list(Arc::new(catalogs));
    Ok(state)
}

/// The rows of the input, each once for every window that it falls into. Without a time a row is in none.
fn unnested(source: WindowSource, window: Window) -> Result<LogicalPlan> {
    let columns = source.input.schema().columns();
    let kept = || source.kept.iter().map(|at| Expr::Column(columns[*at].clone()));
    let time = source.input.schema().field(source.time).data_type().clone();
    let windows = windows_function(window, &time).call(vec![Expr::Column(columns[source.time].clone())]);
    let bound = |name: &str| get_field(Expr::Column(Column::from_name(WINDOW)), name).alias(name);
    LogicalPlanBuilder::from(source.input.clone())
        .project(kept().chain([windows.alias(WINDOW)]))?
        .unnest_column_with_options(WINDOW, UnnestOptions::new().with_preserve_nulls(false))?
        .project(kept().chain([bound(WINDOW_START), bound(WINDOW_END)]))?
        .build()
}

/// The rows of the input, each with the bounds of its session. Without a time a row is in none.
async fn in_sessions(
    state: &SessionState,
    source: WindowSource,
    gap_ns: i64,
    by: &[usize],
    marks: Marks,
) -> Result<LogicalPlan> {
    let tables = MemorySchemaProvider::new();
    let query = query_of_sessions(&source, gap_ns, by, marks);
    tables.register_table(INPUT.to_string(), Arc::new(ViewTable::new(source.input, None)))?;
    let dialect = state.config_options().sql_parser.dialect;
    let statement = state.sql_to_statement(&query, &dialect)?;
    with_schema(state, tables)?.statement_to_plan(statement).await
}

/// The columns that say which rows begin and which end a session.
#[derive(Clone, Copy)]
struct Marks {
    start: Option<usize>,
    end: Option<usize>,
}

/// A row begins a session where the row before it is further away than the gap or has ended one, or where it says so. What
/// one row of a moment says holds for all of them.
fn query_of_sessions(source: &WindowSource, gap_ns: i64, by: &[usize], marks: Marks) -> String {
    let fields = source.input.schema().fields();
    let name = |at: &usize| ast::Ident::with_quote('"', fields[*at].name().as_str()).to_string();
    let shown: Vec<String> = source.kept.iter().map(name).collect();
    let (shown, time) = (shown.join(", "), name(&source.time));
    let gap = format!("INTERVAL '{gap_ns} nanoseconds'");
    let partition = |more: &[&str]| {
        let columns: Vec<String> = by.iter().map(name).chain(more.iter().map(ToString::to_string)).collect();
        if columns.is_empty() { String::new() } else { format!("PARTITION BY {}", columns.join(", ")) }
    };
    let (of_partition, of_session, of_moment) =
        (partition(&[]), partition(&["__session"]), partition(&[time.as_str()]));
    let says = |mark: Option<usize>| match mark {
        Some(mark) => format!("coalesce(bool_or({}) OVER ({of_moment}), false)", name(&mark)),
        None => "false".to_string(),
    };
    let whole = if marks.start.is_some() { "WHERE __counts" } else { "" };
    format!(
        "SELECT {shown}, {WINDOW_START}, {WINDOW_END} FROM (\
         SELECT *, min({time}) OVER ({of_session}) AS {WINDOW_START}, bool_or(__starts) OVER ({of_session}) AS __counts, \
         max({time}) OVER ({of_session}) \
         + CASE WHEN bool_or(__ends) OVER ({of_session}) THEN INTERVAL '0 seconds' ELSE {gap} END AS {WINDOW_END} FROM (\
         SELECT *, sum(CASE WHEN __before = {time} THEN 0 WHEN __before >= {time} - {gap} AND NOT __starts AND NOT __ended \
         THEN 0 ELSE 1 END) OVER ({of_partition} ORDER BY {time} ROWS UNBOUNDED PRECEDING) AS __session FROM (\
         SELECT *, lag({time}) OVER ({of_partition} ORDER BY {time}) AS __before, \
         lag(__ends) OVER ({of_partition} ORDER BY {time}) AS __ended FROM (\
         SELECT *, {} AS __starts, {} AS __ends FROM {WINDOWS}.{WINDOWS}.{INPUT} WHERE {time} IS NOT NULL)))) {whole}",
        says(marks.start),
        says(marks.end),
    )
}

fn windows_function(window: Window, time: &DataType) -> ScalarUDF {
    let function = move |arguments: &[ColumnarValue]| {
        let times = ColumnarValue::values_to_arrays(arguments)?;
        let windows = windows_of_each(&window, &times[0]).map_err(|e| DataFusionError::External(Box::new(e)))?;
        Ok(ColumnarValue::Array(Arc::new(windows)))
    };
    create_udf(&window.to_string(), vec![time.clone()], windows_type(time), Volatility::Immutable, Arc::new(function))
}
