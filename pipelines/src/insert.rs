//! `INSERT INTO table [(columns)] query`: what it names, and the query whose rows it takes.

use crate::parse::syntax::{fold, is_word};
use crate::parse::{Words, byte_of};
use crate::program::SqlText;
use datafusion::sql::sqlparser::ast::{Expr, SetExpr, Value};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use thalweg_schemas::error::{Error, Position, Result};

/// `INSERT INTO table [(columns)] { VALUES .. | SELECT .. }`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Insert {
    /// The table's name.
    pub table: String,
    /// The columns that the query's go to; `None`: the table's, in their order.
    pub columns: Option<Vec<String>>,
    /// The query, at the place that it has in the statement, behind blanks: so that errors point where they should.
    pub query: String,
    /// For each `$1`, `$2` .. that stands alone in a `VALUES` list, its place in the row.
    pub placeholders: Vec<(usize, usize)>,
    /// The rows and places of a `VALUES` list that say `DEFAULT`: NULL stands there in the query.
    pub defaults: Vec<(usize, usize)>,
}

/// Reads the statement that `tokens` are, the first of which is `INSERT`.
pub(crate) fn insert(text: &SqlText, tokens: &[TokenWithSpan]) -> Result<Insert> {
    let words = Words::of(text, tokens);
    let place = |at: usize| -> Position {
        tokens.get(at).and_then(|token| words.at(token.span)).unwrap_or_else(|| words.end())
    };
    let expected = |at: usize, what: &str| {
        Error::user(format!("expected {what}"))
            .with_hint("Write INSERT INTO table [(columns)] VALUES (..), (..) or INSERT INTO table SELECT ..")
            .at(place(at))
    };
    let is = |at: usize, word: &str| tokens.get(at).is_some_and(|token| is_word(&token.token, word));
    let name = |at: usize| match tokens.get(at).map(|token| (&token.token, token.span)) {
        Some((Token::Word(word), span)) => Some(fold(&word.to_ident(span))),
        _ => None,
    };
    if !is(1, "INTO") {
        return Err(expected(1, "INTO"));
    }
    let mut at = 2;
    let mut table = name(at).ok_or_else(|| expected(at, "the name of a table"))?;
    while tokens.get(at + 1).is_some_and(|token| token.token == Token::Period) {
        at += 2;
        table = name(at).ok_or_else(|| expected(at, "the name of a table"))?;
    }
    at += 1;
    let mut columns = None;
    // A list of names, and not a query in brackets.
    if tokens.get(at).is_some_and(|token| token.token == Token::LParen) && !is(at + 1, "SELECT") && !is(at + 1, "WITH")
    {
        let mut names = Vec::new();
        loop {
            names.push(name(at + 1).ok_or_else(|| expected(at + 1, "the name of a column"))?);
            at += 2;
            match tokens.get(at).map(|token| &token.token) {
                Some(Token::Comma) => {}
                Some(Token::RParen) => break,
                _ => return Err(expected(at, "\",\" or \")\"")),
            }
        }
        at += 1;
        columns = Some(names);
    }
    refuse_clauses(tokens, at, &place)?;
    if is(at, "DEFAULT") && is(at + 1, "VALUES") && at + 2 == tokens.len() {
        let (query, defaults) = ("VALUES (NULL)".to_string(), vec![(0, 0)]);
        return Ok(Insert { table, columns, query, placeholders: Vec::new(), defaults });
    }
    let begins = ["VALUES", "SELECT", "WITH", "TABLE"].iter().any(|word| is(at, word));
    if !begins && tokens.get(at).is_none_or(|token| token.token != Token::LParen) {
        return Err(expected(at, "VALUES or SELECT"));
    }
    let start = byte_of(&text.text, tokens[at].span.start);
    let blank = |c: char| if c == '\n' { "\n".to_string() } else { " ".repeat(c.len_utf8()) };
    let query: String = text.text[..start].chars().map(blank).chain([text.text[start..].to_string()]).collect();
    let mut query = query.trim_end().trim_end_matches(';').to_string();
    let defaults = if is(at, "VALUES") { defaults(&tokens[at..]) } else { Vec::new() };
    for (_, token) in &defaults {
        let start = byte_of(&text.text, tokens[at + token].span.start);
        // As long as the word, so that all others keep their places.
        query.replace_range(start..start + "DEFAULT".len(), "NULL   ");
    }
    let defaults = defaults.into_iter().map(|(place, _)| place).collect();
    let placeholders = placeholders(&query);
    Ok(Insert { table, columns, query, placeholders, defaults })
}

/// The values that are just `DEFAULT`, by row and place, each with its token.
fn defaults(values: &[TokenWithSpan]) -> Vec<((usize, usize), usize)> {
    let (mut depth, mut row, mut column, mut found) = (0_usize, 0, 0, Vec::new());
    for (at, token) in values.iter().enumerate() {
        let alone = |token: Option<&TokenWithSpan>, ends: [Token; 2]| token.is_some_and(|t| ends.contains(&t.token));
        match &token.token {
            Token::LParen => {
                depth += 1;
                column = if depth == 1 { 0 } else { column };
            }
            Token::RParen => {
                depth = depth.saturating_sub(1);
                row += usize::from(depth == 0);
            }
            Token::Comma if depth == 1 => column += 1,
            word if depth == 1
                && is_word(word, "DEFAULT")
                && alone(values.get(at.wrapping_sub(1)), [Token::LParen, Token::Comma])
                && alone(values.get(at + 1), [Token::RParen, Token::Comma]) =>
            {
                found.push(((row, column), at));
            }
            _ => {}
        }
    }
    found
}

/// What PostgreSQL has behind the query and is not supported.
fn refuse_clauses(tokens: &[TokenWithSpan], from: usize, place: &dyn Fn(usize) -> Position) -> Result<()> {
    let is = |at: usize, word: &str| tokens.get(at).is_some_and(|token| is_word(&token.token, word));
    for at in from..tokens.len() {
        let (clause, hint) = match () {
            () if is(at, "RETURNING") => {
                ("RETURNING", "Ask for the rows with a SELECT: they can be seen when INSERT is answered.")
            }
            () if is(at, "ON") && is(at + 1, "CONFLICT") => {
                ("ON CONFLICT", "A table with a PRIMARY KEY replaces the row that has the key; leave the clause out.")
            }
            () => continue,
        };
        return Err(Error::user(format!("{clause} is not supported")).with_hint(hint).at(place(at)));
    }
    Ok(())
}

/// The placeholders that are values by themselves: they have the types of their columns.
fn placeholders(query: &str) -> Vec<(usize, usize)> {
    let parsed = Parser::new(&GenericDialect {}).try_with_sql(query).and_then(|mut parser| parser.parse_query());
    let Ok(SetExpr::Values(values)) = parsed.map(|query| *query.body) else { return Vec::new() };
    let number = |expr: &Expr| match expr {
        Expr::Value(value) => match &value.value {
            Value::Placeholder(name) => name.strip_prefix('$')?.parse::<usize>().ok()?.checked_sub(1),
            _ => None,
        },
        _ => None,
    };
    let rows = values.rows.iter();
    rows.flat_map(|row| row.iter().enumerate().filter_map(|(at, expr)| Some((number(expr)?, at)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::split;

    fn read(text: &str) -> Result<Insert> {
        let whole = SqlText { file: "".into(), text: text.into() };
        insert(&whole, &split(&whole, &mut Vec::new()).remove(0))
    }

    #[test]
    fn the_query_keeps_its_place() {
        let insert = read("INSERT INTO public.T (a, \"B\")\n  VALUES (1, $2), ($1, 'x;');").unwrap();
        assert_eq!((insert.table.as_str(), insert.columns), ("t", Some(vec!["a".to_string(), "B".to_string()])));
        assert_eq!(insert.query.trim(), "VALUES (1, $2), ($1, 'x;')");
        assert_eq!(insert.query.lines().nth(1).unwrap().find("VALUES"), Some(2));
        assert_eq!(insert.placeholders, [(1, 1), (0, 0)]);
        let all = read("insert into t select a, $1 from u where b = $2").unwrap();
        assert_eq!((all.columns, all.placeholders), (None, Vec::new()));
        assert_eq!(read("INSERT INTO t (SELECT 1)").unwrap().columns, None);
        let defaults = read("INSERT INTO t (a, b) VALUES (f(1, 2), DEFAULT), (default, 'DEFAULT')").unwrap();
        assert_eq!(defaults.query.trim(), "VALUES (f(1, 2), NULL   ), (NULL   , 'DEFAULT')");
        assert_eq!(defaults.defaults, [(0, 1), (1, 0)]);
        let all = read("INSERT INTO t DEFAULT VALUES").unwrap();
        assert_eq!((all.query.as_str(), all.defaults), ("VALUES (NULL)", vec![(0, 0)]));
    }

    #[test]
    fn what_is_not_an_insert_is_told_with_its_place() {
        for wrong in [
            "INSERT t VALUES (1)",
            "INSERT INTO VALUES (1)",
            "INSERT INTO t (a b) VALUES (1)",
            "INSERT INTO t (a) x",
            "INSERT INTO t DEFAULT VALUES x",
            "INSERT INTO t VALUES (1) RETURNING a",
            "INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING",
        ] {
            let error = read(wrong).unwrap_err();
            assert!(error.position.is_some() && error.hint.is_some(), "{wrong}: {error}");
        }
    }
}
