//! `CREATE TABLE`: a source that `INSERT` feeds, and a materialized view of all its rows, which has the table's name.

use super::{Relation, Scope, messages, source, view};
use crate::parse::Words;
use crate::parse::ddl::{CreateSource, CreateView, Name};
use crate::types::sql_type;
use arrow::compute::can_cast_types;
use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr as Value, ExprSchemable};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::sql::sqlparser::ast::Expr;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_operators::plan::{SourcePlan, ViewPlan};
use thalweg_schemas::connector::ConnectorSpec;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::table::Origin;

/// What a table came to.
pub(crate) struct BoundTable {
    pub relation: Relation,
    pub source: SourcePlan,
    pub view: ViewPlan,
    /// What a row has in a column that it is inserted without, as SQL.
    pub defaults: BTreeMap<String, String>,
}

/// The name of the source behind table `name`: no name that is written without quotes.
pub(crate) fn rows_of(name: &str) -> String {
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
    let mut source = CreateSource { name: rows.clone(), ..table.clone() };
    source.columns.iter_mut().for_each(|column| column.default = None);
    let bound = source::bind(&source, connectors, scope, words).map_err(of_table)?;
    let defaults = defaults(table, &bound.plan, scope, words)?;
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
    Ok(BoundTable { relation: view.relation, source: bound.plan, view: view.plan.ok_or_else(missing)?, defaults })
}

fn defaults(
    table: &CreateSource,
    plan: &SourcePlan,
    scope: &Scope,
    words: &Words,
) -> Result<BTreeMap<String, String>, Vec<Error>> {
    let (mut defaults, mut errors) = (BTreeMap::new(), Vec::new());
    for declared in &table.columns {
        let Some((expr, position)) = &declared.default else { continue };
        let name = &declared.name.value;
        let found = plan.columns.iter().find(|column| column.name == *name);
        let Some(column) = found.filter(|column| column.origin == Origin::Field) else {
            errors.push(Error::user(format!("column \"{name}\" is never inserted, and has no use for a DEFAULT")));
            continue;
        };
        match default_of(expr, &column.data_type, scope, words) {
            Ok(()) => drop(defaults.insert(name.clone(), expr.to_string())),
            Err(error) => errors.push(error.at(position.clone())),
        }
    }
    if errors.is_empty() { Ok(defaults) } else { Err(errors) }
}

/// Whether `expr` can be the value of a column of type `wanted`, whatever else the row has.
fn default_of(expr: &Expr, wanted: &DataType, scope: &Scope, words: &Words) -> Result<()> {
    let schema = DFSchema::empty();
    let translate = |error| messages::translate(error, scope, words);
    let planned = super::query::expression(expr.clone(), &schema, scope, words)?;
    let simplifier = ExprSimplifier::new(SimplifyContext::default());
    let simple = simplifier.coerce(planned, &schema).and_then(|expr| simplifier.simplify(expr)).map_err(translate)?;
    let fits = match &simple {
        Value::Literal(value, _) => value.is_null() || value.cast_to(wanted).is_ok_and(|cast| !cast.is_null()),
        other => can_cast_types(&other.get_type(&schema).map_err(translate)?, wanted),
    };
    match fits {
        true => Ok(()),
        false => Err(Error::user(format!("DEFAULT {expr} is no {}", sql_type(wanted)))
            .with_hint("Write a value of the column's type, or a function of no column that gives one.")),
    }
}

/// All columns of the source, by name.
fn query(rows: &str, source: &SourcePlan) -> Result<Box<datafusion::sql::sqlparser::ast::Query>> {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let columns: Vec<String> = source.columns.iter().map(|column| quoted(&column.name)).collect();
    let text = format!("SELECT {} FROM {}", columns.join(", "), quoted(rows));
    let parsed = Parser::new(&GenericDialect {}).try_with_sql(&text).and_then(|mut parser| parser.parse_query());
    parsed.map_err(|error| Error::bug(format!("{text}: {error}")))
}
