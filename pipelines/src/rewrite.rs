//! `UPDATE table SET ..` and `DELETE FROM table`: what they name, and the query for the rows that they write.

use crate::parse::Words;
use crate::parse::syntax::{fold, syntax_error};
use crate::program::SqlText;
use datafusion::sql::sqlparser::ast::{
    AssignmentTarget, Delete, Expr, FromTable, ObjectName, ObjectNamePart, Statement, TableFactor, TableWithJoins,
    Update, Value,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::TokenWithSpan;
use thalweg_schemas::error::{Error, Result};

/// `UPDATE table [[AS] alias] SET column = value, .. [WHERE ..]` or `DELETE FROM table [[AS] alias] [WHERE ..]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// The table's name.
    pub table: String,
    /// The columns that get another value; `None`: the rows go.
    pub set: Option<Vec<Set>>,
    /// What stands behind `FROM` in a query for the rows that are meant.
    from: String,
}

/// `column = value`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// The column.
    pub column: String,
    /// Its new value, as SQL over the row; `None`: its default.
    pub value: Option<String>,
    /// Which of `$1`, `$2` .. the value is, if it is nothing else.
    pub placeholder: Option<usize>,
}

impl Rewrite {
    /// A query for the rows that are meant, with these values of each.
    pub fn query(&self, values: &[String]) -> String {
        format!("SELECT {} FROM {}", values.join(", "), self.from)
    }
}

/// Reads the statement that `tokens` are, the first of which is `UPDATE` or `DELETE`.
pub(crate) fn rewrite(text: &SqlText, tokens: &[TokenWithSpan]) -> Result<Rewrite> {
    let words = Words::of(text, tokens);
    let mut parser = Parser::new(&PostgreSqlDialect {}).with_tokens_with_locations(tokens.to_vec());
    match parser.parse_statement().map_err(|error| syntax_error(&error, &words))? {
        Statement::Update(update) => of_update(update),
        Statement::Delete(delete) => of_delete(delete),
        other => Err(Error::user(format!("{other} is not supported"))),
    }
}

fn of_update(update: Update) -> Result<Rewrite> {
    let Update { table, assignments, from, selection, returning, output, or, order_by, limit, .. } = update;
    refuse(&[
        ("UPDATE .. FROM", from.is_some(), "Take the values from a subquery: SET column = (SELECT ..)."),
        ("RETURNING", returning.is_some(), RETURNING),
        ("OUTPUT", output.is_some(), RETURNING),
        ("UPDATE OR ..", or.is_some(), "Leave it out."),
        ("ORDER BY", !order_by.is_empty(), CHOICE),
        ("LIMIT", limit.is_some(), CHOICE),
    ])?;
    let set = assignments.into_iter().map(|assignment| {
        let AssignmentTarget::ColumnName(name) = &assignment.target else {
            return Err(Error::user("several columns at once cannot be set").with_hint("Write a = .., b = .. instead."));
        };
        let placeholder = match &assignment.value {
            Expr::Value(value) => match &value.value {
                Value::Placeholder(name) => name.strip_prefix('$').and_then(|number| number.parse().ok()),
                _ => None,
            },
            _ => None,
        };
        let is_default = match &assignment.value {
            Expr::Identifier(word) => word.quote_style.is_none() && word.value.eq_ignore_ascii_case("default"),
            _ => false,
        };
        let value = (!is_default).then(|| assignment.value.to_string());
        // The first is $1.
        Ok(Set { column: last(name)?, value, placeholder: placeholder.and_then(|number: usize| number.checked_sub(1)) })
    });
    let set = set.collect::<Result<Vec<_>>>()?;
    let is_before = |at: usize| set[..at].iter().any(|before: &Set| before.column == set[at].column);
    if let Some(twice) = (0..set.len()).find(|at| is_before(*at)) {
        return Err(Error::user(format!("column \"{}\" is set twice", set[twice].column)));
    }
    of_rows(&table, selection.as_ref(), Some(set))
}

fn of_delete(delete: Delete) -> Result<Rewrite> {
    let Delete { tables, from, using, selection, returning, output, order_by, limit, .. } = delete;
    refuse(&[
        ("DELETE of several tables", !tables.is_empty(), "Write a statement for each."),
        ("USING", using.is_some(), "Ask for the rows in a subquery: WHERE id IN (SELECT ..)."),
        ("RETURNING", returning.is_some(), RETURNING),
        ("OUTPUT", output.is_some(), RETURNING),
        ("ORDER BY", !order_by.is_empty(), CHOICE),
        ("LIMIT", limit.is_some(), CHOICE),
    ])?;
    let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = from;
    match from.as_slice() {
        [table] => of_rows(table, selection.as_ref(), None),
        _ => Err(Error::user("DELETE takes one table").with_hint("Write a statement for each.")),
    }
}

const RETURNING: &str = "Ask for the rows with a SELECT before, or after it.";
const CHOICE: &str = "Say which rows are meant with WHERE.";

/// What PostgreSQL and others have there and is not supported.
fn refuse(clauses: &[(&str, bool, &str)]) -> Result<()> {
    match clauses.iter().find(|(_, is_there, _)| *is_there) {
        Some((clause, _, hint)) => Err(Error::user(format!("{clause} is not supported")).with_hint(*hint)),
        None => Ok(()),
    }
}

fn of_rows(table: &TableWithJoins, selection: Option<&Expr>, set: Option<Vec<Set>>) -> Result<Rewrite> {
    let TableFactor::Table { name, .. } = &table.relation else {
        return Err(Error::user("expected the name of a table"));
    };
    let condition = selection.map(|condition| format!(" WHERE {condition}")).unwrap_or_default();
    Ok(Rewrite { table: last(name)?, set, from: format!("{table}{condition}") })
}

/// The last part of a name.
fn last(name: &ObjectName) -> Result<String> {
    match name.0.last() {
        Some(ObjectNamePart::Identifier(ident)) => Ok(fold(ident)),
        _ => Err(Error::user(format!("{name} is no name"))),
    }
}
