//! `CREATE TABLE`: a source that `INSERT` feeds, and a materialized view of all its rows, which has the table's name.

use super::{Relation, Scope, source, view};
use crate::parse::Words;
use crate::parse::ddl::{CreateSource, CreateView, Name};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use std::sync::Arc;
use thalweg_operators::plan::{SourcePlan, ViewPlan};
use thalweg_schemas::connector::ConnectorSpec;
use thalweg_schemas::error::{Error, Result};

/// What a table came to.
pub(crate) struct BoundTable {
    pub relation: Relation,
    pub source: SourcePlan,
    pub view: ViewPlan,
}

/// The name of the source behind table `name`: no name that is written without quotes.
fn rows_of(name: &str) -> String {
    format!("{name}$rows")
}

/// Whether a source takes the rows of a table in.
pub(crate) fn feeds_table(source: &str) -> bool {
    source.ends_with("$rows")
}

pub(crate) fn bind(
    table: &CreateSource,
    connectors: &[ConnectorSpec],
    scope: &Scope,
    words: &Words,
) -> Result<BoundTable, Vec<Error>> {
    let name = &table.name;
    let rows = Name { value: rows_of(&name.value), position: name.position.clone() };
    let of_table = |errors: Vec<Error>| -> Vec<Error> {
        let (inner, outer) = (format!("source \"{}\"", rows.value), format!("table \"{}\"", name.value));
        let said = |mut error: Error| {
            error.message = error.message.replace(&inner, &outer);
            error
        };
        errors.into_iter().map(said).collect()
    };
    let source = CreateSource { name: rows.clone(), ..table.clone() };
    let bound = source::bind(&source, connectors, scope, words).map_err(of_table)?;
    let query = query(&rows.value, &bound.plan).map_err(|error| vec![error.at(name.position.clone())])?;
    let mut relations = scope.relations.clone();
    relations.insert(rows.value.clone(), Arc::new(bound.relation));
    let view = CreateView {
        name: name.clone(),
        if_not_exists: table.if_not_exists,
        materialized: true,
        options: Vec::new(),
        query,
        emit: None,
    };
    let inner = Scope { relations, failed: scope.failed.clone() };
    let view = view::bind(&view, &inner, words).map_err(of_table)?;
    let missing = || vec![Error::bug(format!("table \"{}\" has no view", name.value))];
    Ok(BoundTable { relation: view.relation, source: bound.plan, view: view.plan.ok_or_else(missing)? })
}

/// All columns of the source, by name.
fn query(rows: &str, source: &SourcePlan) -> Result<Box<datafusion::sql::sqlparser::ast::Query>> {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let columns: Vec<String> = source.columns.iter().map(|column| quoted(&column.name)).collect();
    let text = format!("SELECT {} FROM {}", columns.join(", "), quoted(rows));
    let parsed = Parser::new(&GenericDialect {}).try_with_sql(&text).and_then(|mut parser| parser.parse_query());
    parsed.map_err(|error| Error::bug(format!("{text}: {error}")))
}
