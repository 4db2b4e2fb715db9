//! TUMBLE and HOP in ad-hoc queries: over a snapshot they are a function of each row, its list of windows unnested.
//!
//! The functions are taken out of the statement as they are for views, so that both read the same words in the same way.

use crate::bind::WindowSource;
use crate::bind::windows::{WINDOW_END, WINDOW_START, WINDOWS, extract};
use crate::parse::Words;
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

/// Plans the one statement that `text` is over the relations of `state`.
pub async fn plan(state: &SessionState, text: &str) -> Result<LogicalPlan> {
    let dialect = state.config_options().sql_parser.dialect;
    plan_statement(state, state.sql_to_statement(text, &dialect)?, text).await
}

/// Plans a statement that has been parsed from `text`, or from what was made of it.
pub async fn plan_statement(state: &SessionState, mut statement: Statement, text: &str) -> Result<LogicalPlan> {
    let words = Words::of_text(text);
    let knows = |name: &str| state.table_functions().contains_key(name);
    let external = |error: Error| DataFusionError::External(Box::new(error));
    let calls = match sql_of(&mut statement) {
        Some(sql) => extract(sql, &knows, &words).map_err(external)?,
        None => Vec::new(),
    };
    if calls.is_empty() {
        return state.statement_to_plan(statement).await;
    }
    let tables = MemorySchemaProvider::new();
    for call in calls {
        let input = Statement::Statement(Box::new(ast::Statement::Query(Box::new(call.input.clone()))));
        let input = Box::pin(plan_statement(state, input, text)).await?;
        let source = call.over(input, &words).map_err(external)?;
        tables.register_table(call.name.clone(), Arc::new(ViewTable::new(unnested(source)?, None)))?;
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
fn unnested(source: WindowSource) -> Result<LogicalPlan> {
    let columns = source.input.schema().columns();
    let kept = || source.kept.iter().map(|at| Expr::Column(columns[*at].clone()));
    let time = source.input.schema().field(source.time).data_type().clone();
    let windows = windows_function(source.window, &time).call(vec![Expr::Column(columns[source.time].clone())]);
    let window = || Expr::Column(Column::from_name(WINDOW));
    let bound = |name: &str| get_field(window(), name).alias(name);
    LogicalPlanBuilder::from(source.input.clone())
        .project(kept().chain([windows.alias(WINDOW)]))?
        .unnest_column_with_options(WINDOW, UnnestOptions::new().with_preserve_nulls(false))?
        .project(kept().chain([bound(WINDOW_START), bound(WINDOW_END)]))?
        .build()
}

fn windows_function(window: Window, time: &DataType) -> ScalarUDF {
    let function = move |arguments: &[ColumnarValue]| {
        let times = ColumnarValue::values_to_arrays(arguments)?;
        let windows = windows_of_each(&window, &times[0]).map_err(|e| DataFusionError::External(Box::new(e)))?;
        Ok(ColumnarValue::Array(Arc::new(windows)))
    };
    create_udf(&window.to_string(), vec![time.clone()], windows_type(time), Volatility::Immutable, Arc::new(function))
}
