//! `CREATE FUNCTION`, as PostgreSQL writes it, with a body in SQL.

use super::ddl::{CreateFunction, Name};
use super::syntax::{Grammar, is_word, syntax_error};
use crate::functions::without_places;
use datafusion::sql::sqlparser::ast::{DataType, Expr, GroupByExpr, Query, SelectItem, SetExpr};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;
use thalweg_schemas::error::{Error, Result};

const FORM: &str = "Write CREATE FUNCTION name(a DOUBLE, b DOUBLE) RETURNS DOUBLE AS 'SELECT a / b'.";

/// What may be said of a function and is so of every expression.
const SAID: [&str; 7] = ["IMMUTABLE", "STABLE", "VOLATILE", "LEAKPROOF", "SECURITY", "PARALLEL", "CALLED"];

impl Grammar<'_> {
    /// `CREATE FUNCTION [IF NOT EXISTS] name (a TYPE, ..) RETURNS TYPE [LANGUAGE SQL] { AS 'SELECT ..' | RETURN expression }`
    pub(super) fn function(&mut self) -> Result<CreateFunction> {
        let if_not_exists = self.if_not_exists()?;
        let name = self.name()?;
        let parameters = self.parameters()?;
        if !self.accept("RETURNS") {
            return Err(self.expected("RETURNS").with_hint(FORM));
        }
        if self.peek("TABLE") || self.peek("SETOF") {
            let error = Error::user("a function that returns rows is not supported");
            return Err(self.here(error).with_hint("CREATE VIEW gives a query a name."));
        }
        let returns_position = self.position();
        let returns = self.data_type()?;
        let mut body = None;
        loop {
            if self.accept("LANGUAGE") {
                if !self.accept("SQL") {
                    return Err(self.expected("SQL").with_hint("The body of a function is an expression of SQL."));
                }
            } else if self.accept("AS") {
                body = Some(self.quoted_body()?);
            } else if self.accept("RETURN") {
                body = Some(self.sql(Parser::parse_expr)?);
            } else if SAID.iter().any(|word| self.peek(word)) {
                self.parser.next_token();
                while ["INVOKER", "SAFE", "ON", "NULL", "INPUT"].iter().any(|word| self.peek(word)) {
                    self.parser.next_token();
                }
            } else {
                break;
            }
        }
        let body = body.ok_or_else(|| self.expected("AS or RETURN").with_hint(FORM))?;
        Ok(CreateFunction { name, if_not_exists, parameters, returns, returns_position, body })
    }

    fn parameters(&mut self) -> Result<Vec<(Name, DataType)>> {
        self.expect_token(Token::LParen, "\"(\"")?;
        let mut parameters: Vec<(Name, DataType)> = Vec::new();
        if self.parser.consume_token(&Token::RParen) {
            return Ok(parameters);
        }
        loop {
            if is_word(&self.parser.peek_token().token, "IN") {
                self.parser.next_token();
            }
            let name = self.name()?;
            if parameters.iter().any(|(known, _)| known.value == name.value) {
                let error = Error::user(format!("parameter \"{}\" is there twice", name.value));
                return Err(error.at(name.position));
            }
            let data_type = self.data_type()?;
            parameters.push((name, data_type));
            if self.parser.consume_token(&Token::RParen) {
                return Ok(parameters);
            }
            self.expect_token(Token::Comma, "\",\" or \")\"")?;
        }
    }

    /// The expression in `'SELECT expression'` or `$$SELECT expression$$`.
    fn quoted_body(&mut self) -> Result<Expr> {
        let position = self.position();
        let text = match self.parser.peek_token().token {
            Token::SingleQuotedString(text) => text,
            Token::DollarQuotedString(text) => text.value,
            _ => return Err(self.expected("the body in quotes").with_hint(FORM)),
        };
        self.parser.next_token();
        let text = text.trim().trim_end_matches(';');
        let parsed = Parser::new(&GenericDialect {}).try_with_sql(text);
        let query = parsed.and_then(|mut parser| {
            let query = parser.parse_query()?;
            parser.expect_token(&Token::EOF).map(|_| query)
        });
        let query = query.map_err(|error| {
            let mut error = syntax_error(&error, self.words);
            error.position = None;
            error.at(position.clone()).with_hint(FORM)
        })?;
        only_expression(*query).map(without_places).ok_or_else(|| {
            Error::user("the body of a function is one expression")
                .with_detail("It reads no relation: what it is about comes in by its parameters.")
                .with_hint(FORM)
                .at(position)
        })
    }
}

/// The expression of a query that is nothing but that.
fn only_expression(query: Query) -> Option<Expr> {
    let plain = query.with.is_none() && query.order_by.is_none() && query.limit_clause.is_none();
    let SetExpr::Select(mut select) = *query.body else { return None };
    let no_groups = matches!(&select.group_by, GroupByExpr::Expressions(list, _) if list.is_empty());
    let bare = select.from.is_empty() && select.selection.is_none() && select.having.is_none() && no_groups;
    match select.projection.pop() {
        Some(SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. })
            if plain && bare && select.distinct.is_none() && select.projection.is_empty() =>
        {
            Some(expr)
        }
        _ => None,
    }
}
