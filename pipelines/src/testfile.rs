//! `.test.sql` files: what comes in, how time passes, what is expected then. Described in `docs/testing.md`.
//!
//! Here they are only read and compared; whoever runs a pipeline carries the steps out.

use crate::bind::{Scope, query};
use crate::parse::syntax::{fold, is_word, syntax_error};
use crate::parse::{Words, split};
use crate::program::SqlText;
use crate::types::sql_names;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::sql::sqlparser::ast::{self, SetExpr};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use std::sync::Arc;
use std::time::Duration;
use thalweg_schemas::error::{Error, Position, Result};
use thalweg_schemas::suggest::closest;
use thalweg_schemas::table::Column;

/// A step of a test, and where it stands.
#[derive(Clone, Debug)]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// Where it is written.
    pub position: Position,
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum Action {
    /// `INSERT INTO source (..) VALUES (..), ..;`: rows come in, in one epoch.
    Insert(Insert),
    /// `ADVANCE INTERVAL '1 minute';`: the clock moves on.
    Advance(Duration),
    /// `FINISH;`: all sources end.
    Finish,
    /// `EXPECT SELECT ..;`: the answer must be this.
    Expect(Expect),
}

/// Rows that come in.
#[derive(Clone, Debug)]
pub struct Insert {
    /// The source.
    pub source: String,
    columns: Vec<(String, Option<Position>)>,
    values: Vec<Vec<ast::Expr>>,
    words: Words,
}

/// What a query must answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expect {
    /// The query.
    pub query: String,
    /// Its rows, each a line of values as they are shown, parted by `|`.
    pub rows: Vec<String>,
}

/// Reads the steps of a test; every mistake at once.
pub fn parse(text: &SqlText) -> Result<Vec<Step>, Vec<Error>> {
    let (mut steps, mut errors) = (Vec::new(), Vec::new());
    let mut lines = text.text.lines().enumerate().peekable();
    while let Some((first, line)) = lines.next() {
        if line.trim().is_empty() || line.trim_start().starts_with("--") {
            continue;
        }
        let mut statement = line.to_string();
        while !statement.trim_end().ends_with(';') {
            let Some((_, more)) = lines.next() else { break };
            statement.push('\n');
            statement.push_str(more);
        }
        let mut rows = Vec::new();
        if lines.next_if(|(_, line)| line.trim() == "----").is_some() {
            while let Some((_, row)) = lines.next_if(|(_, line)| !line.trim().is_empty()) {
                rows.push(normal(row));
            }
        }
        // As many empty lines before it as there are in the file, so that places are right.
        let located = SqlText { file: text.file.clone(), text: ("\n".repeat(first) + &statement).into() };
        match step(&located, rows) {
            Ok(step) => steps.push(step),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(steps) } else { Err(errors) }
}

fn step(text: &SqlText, rows: Vec<String>) -> Result<Step> {
    let mut errors = Vec::new();
    let pieces = split(text, &mut errors);
    if let Some(error) = errors.pop() {
        return Err(error);
    }
    let Some(tokens) = pieces.into_iter().next() else {
        return Err(Error::user(format!("\"{}\" is not a step", text.text.trim())));
    };
    let words = Words::of(text, &tokens);
    let position = words.start();
    let is = |word: &str| is_word(&tokens[0].token, word);
    let action = if is("INSERT") {
        Action::Insert(insert(tokens, words)?)
    } else if is("ADVANCE") {
        Action::Advance(advance(tokens, &words)?)
    } else if is("FINISH") {
        Action::Finish
    } else if is("EXPECT") {
        let query = text.text.trim().trim_end_matches(';')["EXPECT".len()..].trim().to_string();
        Action::Expect(Expect { query, rows: rows.clone() })
    } else {
        return Err(Error::user(format!("no step of a test begins with \"{}\"", tokens[0].token))
            .with_hint("There are INSERT INTO source, ADVANCE, FINISH and EXPECT.")
            .at(position));
    };
    if !rows.is_empty() && !matches!(action, Action::Expect(_)) {
        return Err(Error::user("only EXPECT has rows below it").at(position));
    }
    Ok(Step { action, position })
}

fn advance(tokens: Vec<TokenWithSpan>, words: &Words) -> Result<Duration> {
    let dialect = GenericDialect {};
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    parser.next_token();
    let expr = parser.parse_expr().map_err(|e| syntax_error(&e, words))?;
    let ns = query::interval_ns(&expr, &Scope::default(), words).map_err(|e| e.at(words.start()))?;
    u64::try_from(ns).map(Duration::from_nanos).map_err(|_| Error::user("time does not go back").at(words.start()))
}

fn insert(tokens: Vec<TokenWithSpan>, words: Words) -> Result<Insert> {
    let dialect = GenericDialect {};
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    let wrong = || {
        Error::user("this INSERT is not understood")
            .with_hint("Write INSERT INTO source (column, ...) VALUES (value, ...), ...;")
            .at(words.start())
    };
    let _insert = parser.next_token();
    if !is_word(&parser.next_token().token, "INTO") {
        return Err(wrong());
    }
    let source = parser.parse_identifier().map_err(|e| syntax_error(&e, &words))?;
    if !parser.consume_token(&Token::LParen) {
        return Err(wrong());
    }
    let columns = parser.parse_comma_separated(Parser::parse_identifier).map_err(|e| syntax_error(&e, &words))?;
    if !parser.consume_token(&Token::RParen) {
        return Err(wrong());
    }
    let query = parser.parse_query().map_err(|e| syntax_error(&e, &words))?;
    let SetExpr::Values(values) = *query.body else { return Err(wrong()) };
    let values: Vec<Vec<ast::Expr>> = values.rows.into_iter().map(|row| row.content).collect();
    if let Some(row) = values.iter().find(|row| row.len() != columns.len()) {
        let message = format!("a row has {} values, and {} columns are named", row.len(), columns.len());
        return Err(Error::user(message).at(words.start()));
    }
    let columns = columns.iter().map(|c| (fold(c), words.at(c.span))).collect();
    Ok(Insert { source: fold(&source), columns, values, words })
}

impl Insert {
    /// The rows with the types that the source declares; columns that are not named are left out.
    pub fn rows(&self, declared: &[Column]) -> Result<RecordBatch> {
        let (mut fields, mut arrays) = (Vec::new(), Vec::<ArrayRef>::new());
        for (at, (name, position)) in self.columns.iter().enumerate() {
            let located = |error: Error| position.clone().into_iter().fold(error, Error::at);
            let Some(column) = declared.iter().find(|c| c.name == *name) else {
                let error = Error::user(format!("column \"{name}\" does not exist in source \"{}\"", self.source));
                return Err(located(match closest(name, declared.iter().map(|c| c.name.as_str())) {
                    Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
                    None => error,
                }));
            };
            let values = self.values.iter().map(|row| self.value(&row[at], &column.data_type));
            let values = values.collect::<Result<Vec<_>>>().map_err(located)?;
            arrays.push(ScalarValue::iter_to_array(values).map_err(|e| located(Error::user(e.strip_backtrace())))?);
            fields.push(Field::new(name, column.data_type.clone(), true));
        }
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
    }

    /// A constant expression as a value of a type.
    fn value(&self, expr: &ast::Expr, data_type: &DataType) -> Result<ScalarValue> {
        let schema = DFSchema::empty();
        let planned = query::expression(expr.clone(), &schema, &Scope::default(), &self.words)?;
        let simplifier = ExprSimplifier::new(SimplifyContext::default());
        let simple = simplifier.coerce(planned, &schema).and_then(|e| simplifier.simplify(e));
        match simple {
            Ok(Expr::Literal(value, _)) => value
                .cast_to(data_type)
                .map_err(|_| Error::user(format!("{expr} cannot be read as {}", sql_names(&data_type.to_string())))),
            _ => Err(Error::user(format!("{expr} is not a constant"))),
        }
    }
}

impl Expect {
    /// Whether an answer is the expected one; otherwise both, line by line. Without ORDER BY the order is free.
    pub fn check(&self, answer: &[RecordBatch]) -> Result<()> {
        let mut found = shown(answer)?;
        let mut expected = self.rows.clone();
        if !self.query.to_uppercase().contains("ORDER BY") {
            found.sort();
            expected.sort();
        }
        if found == expected {
            return Ok(());
        }
        let lines = |rows: &[String]| rows.iter().map(|row| format!("\n    {row}")).collect::<String>();
        Err(Error::user(format!("the answer is another one: {} rows, expected {}", found.len(), expected.len()))
            .with_detail(format!("expected:{}\n  found:{}", lines(&expected), lines(&found))))
    }
}

/// The rows as lines: values as DataFusion shows them, `NULL`, `(empty)`.
fn shown(answer: &[RecordBatch]) -> Result<Vec<String>> {
    let options = FormatOptions::default().with_null("NULL");
    let mut lines = Vec::new();
    for batch in answer {
        let columns = batch.columns().iter().map(|c| ArrayFormatter::try_new(c.as_ref(), &options));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let values = columns.iter().map(|column| match column.value(row).to_string() {
                text if text.is_empty() => "(empty)".to_string(),
                text => text,
            });
            lines.push(values.collect::<Vec<_>>().join(" | "));
        }
    }
    Ok(lines)
}

/// A line of values with one space around each `|`.
fn normal(line: &str) -> String {
    line.split('|').map(str::trim).collect::<Vec<_>>().join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, StringArray};
    use thalweg_schemas::table::Origin;

    fn text(text: &str) -> SqlText {
        SqlText { file: "a.test.sql".into(), text: text.into() }
    }

    const TEST: &str = "-- two rows\nINSERT INTO t (at, name, x) VALUES\n  ('2026-01-01 00:00:01', 'a;b', 1 + 1), ('2026-01-01', NULL, -0.5);\n\
                        ADVANCE INTERVAL '1 minute';\nFINISH;\n\nEXPECT SELECT name, x FROM v;\n----\nNULL |-0.5\na;b| 2.0\n\nEXPECT SELECT 1 WHERE false;\n";

    #[test]
    fn steps_are_read_in_order() {
        let steps = parse(&text(TEST)).unwrap();
        let lines: Vec<u64> = steps.iter().map(|s| s.position.line).collect();
        assert_eq!(lines, [2, 4, 5, 7, 12]);
        assert!(matches!(steps[1].action, Action::Advance(d) if d == Duration::from_secs(60)));
        assert!(matches!(steps[2].action, Action::Finish));
        let Action::Expect(expect) = &steps[3].action else { panic!() };
        assert_eq!(
            *expect,
            Expect { query: "SELECT name, x FROM v".into(), rows: vec!["NULL | -0.5".into(), "a;b | 2.0".into()] }
        );
    }

    #[test]
    fn rows_get_the_declared_types() {
        let Action::Insert(insert) = &parse(&text(TEST)).unwrap()[0].action else { panic!() };
        let timestamp = DataType::Timestamp(arrow::datatypes::TimeUnit::Nanosecond, None);
        let column =
            |name: &str, data_type| Column { name: name.into(), data_type, nullable: true, origin: Origin::Field };
        let declared = [
            column("x", DataType::Float64),
            column("name", DataType::Utf8),
            column("at", timestamp),
            column("y", DataType::Int8),
        ];
        let rows = insert.rows(&declared).unwrap();
        assert_eq!(shown(&[rows]).unwrap(), ["2026-01-01T00:00:01 | a;b | 2.0", "2026-01-01T00:00:00 | NULL | -0.5"]);
        let error = insert.rows(&[column("x", DataType::Float64)]).unwrap_err();
        assert_eq!(error.message, "column \"at\" does not exist in source \"t\"");
    }

    #[test]
    fn answers_are_compared_as_lines() {
        let Action::Expect(expect) = &parse(&text(TEST)).unwrap()[3].action else { panic!() };
        let answer = |names: Vec<Option<&str>>, values: Vec<f64>| {
            let names: ArrayRef = Arc::new(StringArray::from(names));
            RecordBatch::try_from_iter([("name", names), ("x", Arc::new(Float64Array::from(values)) as ArrayRef)])
                .unwrap()
        };
        expect.check(&[answer(vec![Some("a;b")], vec![2.0]), answer(vec![None], vec![-0.5])]).unwrap();
        let error = expect.check(&[answer(vec![Some("")], vec![2.0])]).unwrap_err();
        assert_eq!(error.message, "the answer is another one: 1 rows, expected 2");
        assert!(error.detail.unwrap().ends_with("found:\n    (empty) | 2.0"));
    }

    #[test]
    fn every_mistake_is_reported_with_its_line() {
        let errors =
            parse(&text("INSRT INTO t VALUES (1);\nADVANCE 5;\nINSERT INTO t (a) VALUES (1, 2);\nFINISH;\n----\nx\n"))
                .unwrap_err();
        let places: Vec<_> = errors.iter().map(|e| e.position.clone().unwrap().line).collect();
        assert_eq!(places, [1, 2, 3, 4], "{errors:?}");
    }
}
