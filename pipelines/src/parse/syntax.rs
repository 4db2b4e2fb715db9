//! The grammar of our statements; expressions, types and queries are sqlparser's.

use super::ddl::{CreateNotification, CreateSink, CreateView, Ddl, GivenEnvelope, Name, SinkInput};
use super::{Words, byte_of, foreign, lower_first, partition, split};
use crate::program::SqlText;
use crate::query::PUBLIC;
use datafusion::sql::sqlparser::ast::{Ident, Query, SetExpr, TableFactor};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan};
use thalweg_operators::plan::Emit;
use thalweg_schemas::error::{Error, Position, Result};
use thalweg_schemas::notification::NotificationKind;
use thalweg_schemas::options::GivenOption;

const STATEMENTS: [&str; 11] = [
    "CREATE SOURCE",
    "CREATE TABLE",
    "CREATE VIEW",
    "CREATE MATERIALIZED VIEW",
    "CREATE SINK",
    "CREATE ALERT",
    "CREATE SLO",
    "CREATE FUNCTION",
    "CREATE NOTIFIER",
    "CREATE SILENCE",
    "CREATE INHIBITION",
];
/// What the language has and this version does not.
const LATER: [&str; 1] = ["INDEX"];

/// Parses one statement; `words` are its tokens as the user wrote them.
pub(crate) fn statement(tokens: Vec<TokenWithSpan>, words: &Words) -> Result<Ddl> {
    let (tokens, emit) = strip_emit(tokens, words);
    if let Some(error) = foreign::construct(&tokens, words) {
        return Err(error);
    }
    let dialect = GenericDialect {};
    let tokens = options_first(partition::as_arguments(without_table_keyword(without_table_function(tokens))));
    let parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    let mut grammar = Grammar { parser, words };
    let ddl = grammar.statement(emit)?;
    match grammar.parser.peek_token().token {
        Token::EOF => Ok(ddl),
        _ => Err(grammar.expected("the end of the statement")),
    }
}

/// The name that a statement declares, as far as can be seen without parsing it.
pub(crate) fn declared_name(tokens: &[TokenWithSpan]) -> Option<String> {
    const BEFORE: [&str; 14] = [
        "CREATE",
        "OR",
        "REPLACE",
        "MATERIALIZED",
        "SOURCE",
        "VIEW",
        "SINK",
        "ALERT",
        "SLO",
        "TABLE",
        "FUNCTION",
        "IF",
        "NOT",
        "EXISTS",
    ];
    let nouns = NotificationKind::ALL.map(NotificationKind::noun);
    let before = |t: &&TokenWithSpan| BEFORE.iter().chain(&nouns).any(|word| is_word(&t.token, word));
    let mut at = tokens.iter().position(|t| !before(&t))?;
    let is_public = is_word(&tokens[at].token, PUBLIC) && tokens.get(at + 1).is_some_and(|t| t.token == Token::Period);
    at += if is_public { 2 } else { 0 };
    match &tokens.get(at)?.token {
        Token::Word(word) => Some(fold(&word.to_ident(Span::empty()))),
        _ => None,
    }
}

/// Takes `OR REPLACE` out: what a pipeline declares takes the place of what it declared before in any case.
pub(crate) fn without_or_replace(mut tokens: Vec<TokenWithSpan>, words: &Words) -> Result<Vec<TokenWithSpan>> {
    let is = |at: usize, word: &str| tokens.get(at).is_some_and(|t| is_word(&t.token, word));
    if is(0, "CREATE") && is(1, "OR") && is(2, "REPLACE") {
        if is(3, "TABLE") {
            let error = Error::user("CREATE OR REPLACE TABLE is not supported")
                .with_hint("The rows that were inserted would be lost: DROP TABLE it first where that is meant.");
            return Err(words.at(tokens[1].span).into_iter().fold(error, Error::at));
        }
        tokens.drain(1..3);
    }
    Ok(tokens)
}

/// Takes `EMIT CHANGES` or `EMIT ON WINDOW CLOSE` off the end.
fn strip_emit(mut tokens: Vec<TokenWithSpan>, words: &Words) -> (Vec<TokenWithSpan>, Option<(Emit, Position)>) {
    for (phrase, emit) in
        [(&["EMIT", "CHANGES"][..], Emit::Changes), (&["EMIT", "ON", "WINDOW", "CLOSE"][..], Emit::OnWindowClose)]
    {
        let Some(at) = tokens.len().checked_sub(phrase.len()) else { continue };
        if tokens[at..].iter().zip(phrase).all(|(token, word)| is_word(&token.token, word)) {
            let span = Span::new(tokens[at].span.start, tokens[tokens.len() - 1].span.end);
            tokens.truncate(at);
            return (tokens, words.at(span).map(|position| (emit, position)));
        }
    }
    (tokens, None)
}

fn is_window(token: &Token) -> bool {
    ["TUMBLE", "HOP", "CUMULATE", "SESSION"].iter().any(|name| is_word(token, name))
}

/// `TUMBLE(TABLE t, ..)` says the same as `TUMBLE(t, ..)`.
fn without_table_keyword(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let superfluous = |at: usize| {
        at >= 2
            && is_word(&tokens[at].token, "TABLE")
            && (tokens[at - 1].token == Token::LParen && is_window(&tokens[at - 2].token)
                || tokens[at - 1].token == Token::RArrow && is_word(&tokens[at - 2].token, "DATA"))
            && matches!(tokens.get(at + 1).map(|t| &t.token), Some(Token::Word(_)))
    };
    let kept: Vec<bool> = (0..tokens.len()).map(|at| !superfluous(at)).collect();
    tokens.into_iter().zip(kept).filter_map(|(token, keep)| keep.then_some(token)).collect()
}

/// `TABLE(TUMBLE(..))`, Flink's spelling, says the same as `TUMBLE(..)`.
fn without_table_function(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let begins = |tokens: &[TokenWithSpan], at: usize| {
        is_word(&tokens[at].token, "TABLE") && tokens[at + 1].token == Token::LParen && is_window(&tokens[at + 2].token)
    };
    while let Some(at) = (0..tokens.len().saturating_sub(2)).find(|at| begins(&tokens, *at)) {
        let mut depth = 0;
        let close = tokens[at..].iter().position(|t| {
            depth += i32::from(t.token == Token::LParen) - i32::from(t.token == Token::RParen);
            depth == 0 && t.token == Token::RParen
        });
        close.into_iter().for_each(|close| drop(tokens.remove(at + close)));
        tokens.drain(at..at + 2);
    }
    tokens
}

/// A query without what [`without_table_keyword`] and [`without_table_function`] take out; everything else keeps its place.
pub(crate) fn without_table_words(text: &str) -> String {
    let whole = SqlText { file: "".into(), text: text.into() };
    let tokens: Vec<TokenWithSpan> = split(&whole, &mut Vec::new()).into_iter().flatten().collect();
    let left: Vec<Span> =
        without_table_keyword(without_table_function(tokens.clone())).iter().map(|token| token.span).collect();
    let mut out = text.to_string();
    for token in tokens.iter().filter(|token| !left.contains(&token.span)) {
        let range = byte_of(text, token.span.start)..byte_of(text, token.span.end);
        out.replace_range(range.clone(), &" ".repeat(range.len()));
    }
    out
}

/// `CREATE SINK s AS query WITH (..) ENVELOPE ..` with the clauses before `AS`: behind a table they would be read as its
/// alias and hints.
fn options_first(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let is_sink = tokens.len() > 2 && is_word(&tokens[1].token, "SINK");
    let Some(body) = tokens.iter().position(|t| is_word(&t.token, "AS")).filter(|_| is_sink) else { return tokens };
    let mut clauses = tokens.len();
    while let Some(clause) = last_clause(&tokens[..clauses]).filter(|clause| *clause > body) {
        clauses = clause;
    }
    let clauses = tokens.split_off(clauses);
    tokens.splice(body..body, clauses);
    tokens
}

/// Where the `WITH (..)` or `ENVELOPE kind [(..)]` begins that `tokens` end with.
fn last_clause(tokens: &[TokenWithSpan]) -> Option<usize> {
    let mut depth = 0;
    let open = tokens.iter().rposition(|t| {
        depth += i32::from(t.token == Token::RParen) - i32::from(t.token == Token::LParen);
        depth == 0
    });
    let is = |at: Option<usize>, word: &str| at.filter(|at| is_word(&tokens[*at].token, word));
    // Without parentheses at the end, `open` is the last token.
    let (open, bare) = (open?, tokens.last().is_some_and(|t| t.token != Token::RParen));
    match bare {
        true => is(open.checked_sub(1), "ENVELOPE"),
        false => is(open.checked_sub(1), "WITH").or(is(open.checked_sub(2), "ENVELOPE")),
    }
}

pub(crate) fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

pub(super) struct Grammar<'a> {
    pub(super) parser: Parser<'a>,
    pub(super) words: &'a Words,
}

impl<'a> Grammar<'a> {
    fn statement(&mut self, emit: Option<(Emit, Position)>) -> Result<Ddl> {
        if !self.accept("CREATE") {
            return Err(self.no_such_statement());
        }
        let is_view = self.peek("VIEW") || self.peek("MATERIALIZED");
        if let Some((_, position)) = emit.as_ref().filter(|_| !is_view) {
            return Err(Error::user("EMIT belongs to CREATE MATERIALIZED VIEW").at(position.clone()));
        }
        if self.accept("SOURCE") {
            Ok(Ddl::Source(Box::new(self.source()?)))
        } else if self.accept("TABLE") {
            self.table()
        } else if self.accept("FUNCTION") {
            Ok(Ddl::Function(Box::new(self.function()?)))
        } else if self.accept("SINK") {
            Ok(Ddl::Sink(self.sink()?))
        } else if let Some(kind) = NotificationKind::ALL.into_iter().find(|kind| self.accept(kind.noun())) {
            Ok(Ddl::Notification(self.notification(kind)?))
        } else if self.accept("ALERT") {
            Ok(Ddl::Alert(Box::new(self.alert()?)))
        } else if self.accept("VIEW") {
            if let Some((_, position)) = emit {
                return Err(Error::user("EMIT belongs to CREATE MATERIALIZED VIEW").at(position));
            }
            Ok(Ddl::View(self.view(false, None)?))
        } else if self.accept("MATERIALIZED") {
            self.expect("VIEW")?;
            Ok(Ddl::View(self.view(true, emit)?))
        } else if self.parser.peek_token().token == Token::EOF {
            Err(self.expected("SOURCE, TABLE, VIEW, MATERIALIZED VIEW, SINK, ALERT or FUNCTION"))
        } else if let Some(word) = LATER.iter().find(|word| self.peek(word)) {
            Err(self.here(Error::user(format!("CREATE {word} is not supported yet"))).with_hint(known_statements()))
        } else {
            let written = self.parser.peek_token().token.to_string().to_uppercase();
            let error = Error::user(format!("CREATE {written} is not a statement of a pipeline"));
            Err(self.here(error).with_hint(known_statements()))
        }
    }

    fn view(&mut self, materialized: bool, emit: Option<(Emit, Position)>) -> Result<CreateView> {
        let if_not_exists = self.if_not_exists()?;
        let name = self.name()?;
        let columns = self.listed_columns()?;
        let options = if self.peek("WITH") { self.options()? } else { Vec::new() };
        self.expect("AS")?;
        let mut query = self.query()?;
        if !columns.is_empty() {
            query = self.renamed(query, &name, &columns)?;
        }
        Ok(CreateView { name, if_not_exists, materialized, options, query, emit })
    }

    /// `(a, b)` behind the name of a view, or nothing.
    fn listed_columns(&mut self) -> Result<Vec<Name>> {
        let mut columns = Vec::new();
        if self.parser.consume_token(&Token::LParen) {
            columns.push(self.name()?);
            while self.parser.consume_token(&Token::Comma) {
                columns.push(self.name()?);
            }
            self.expect_token(Token::RParen, "\",\" or \")\"")?;
        }
        Ok(columns)
    }

    /// `SELECT * FROM (query) AS view (columns)`
    fn renamed(&mut self, query: Box<Query>, view: &Name, columns: &[Name]) -> Result<Box<Query>> {
        let quoted = |name: &Name| format!("\"{}\"", name.value.replace('"', "\"\""));
        let names = columns.iter().map(quoted).collect::<Vec<_>>().join(", ");
        let text = format!("SELECT * FROM (SELECT 1) AS {} ({names})", quoted(view));
        let written = Parser::new(&GenericDialect {}).try_with_sql(&text).and_then(|mut parser| parser.parse_query());
        let mut renamed = written.map_err(|error| syntax_error(&error, self.words))?;
        if let SetExpr::Select(select) = renamed.body.as_mut()
            && let Some(TableFactor::Derived { subquery, .. }) = select.from.first_mut().map(|from| &mut from.relation)
        {
            *subquery = query;
        }
        Ok(renamed)
    }

    fn sink(&mut self) -> Result<CreateSink> {
        let if_not_exists = self.if_not_exists()?;
        let name = self.name()?;
        let (mut options, mut envelope) = (Vec::new(), None);
        self.sink_clauses(&mut options, &mut envelope)?;
        let input = if self.accept("FROM") {
            SinkInput::Relation(self.name()?)
        } else if self.accept("AS") {
            SinkInput::Query(self.query()?)
        } else {
            return Err(self.expected("FROM or AS"));
        };
        self.sink_clauses(&mut options, &mut envelope)?;
        Ok(CreateSink { name, if_not_exists, input, envelope, options })
    }

    /// `WITH (..)` and `ENVELOPE ..`, in any order, where they stand.
    fn sink_clauses(&mut self, options: &mut Vec<GivenOption>, envelope: &mut Option<GivenEnvelope>) -> Result<()> {
        loop {
            if self.peek("WITH") {
                options.extend(self.options()?);
            } else if let Some(given) = self.envelope()? {
                if envelope.is_some() {
                    return Err(Error::user("ENVELOPE is written twice").at(given.kind.position));
                }
                *envelope = Some(given);
            } else {
                return Ok(());
            }
        }
    }

    fn notification(&mut self, kind: NotificationKind) -> Result<CreateNotification> {
        let if_not_exists = self.if_not_exists()?;
        let name = self.name()?;
        if !self.peek("WITH") {
            return Err(self.expected("WITH and the options"));
        }
        Ok(CreateNotification { kind, name, if_not_exists, options: self.options()? })
    }

    /// `ENVELOPE kind [(columns)]`, or nothing.
    fn envelope(&mut self) -> Result<Option<GivenEnvelope>> {
        if !self.accept("ENVELOPE") {
            return Ok(None);
        }
        let kind = self.name()?;
        let mut key = Vec::new();
        if self.parser.consume_token(&Token::LParen) {
            while !self.parser.consume_token(&Token::RParen) {
                key.push(self.name()?);
                if !self.parser.consume_token(&Token::Comma) {
                    self.expect_token(Token::RParen, "\",\" or \")\"")?;
                    break;
                }
            }
        }
        Ok(Some(GivenEnvelope { kind, key }))
    }

    fn query(&mut self) -> Result<Box<Query>> {
        self.sql(Parser::parse_query)
    }

    /// `WITH (name = 'value', ...)`, or nothing.
    pub(super) fn options(&mut self) -> Result<Vec<GivenOption>> {
        let mut options = Vec::new();
        if !self.accept("WITH") {
            return Ok(options);
        }
        self.expect_token(Token::LParen, "\"(\"")?;
        while !self.parser.consume_token(&Token::RParen) {
            options.push(self.option()?);
            if !self.parser.consume_token(&Token::Comma) {
                self.expect_token(Token::RParen, "\",\" or \")\"")?;
                break;
            }
        }
        Ok(options)
    }

    fn option(&mut self) -> Result<GivenOption> {
        let position = self.position();
        let mut name = String::new();
        loop {
            let token = self.parser.next_token();
            match token.token {
                Token::Word(word) => name.push_str(&word.value),
                Token::SingleQuotedString(text) => name.push_str(&text),
                _ => {
                    self.parser.prev_token();
                    return Err(self.expected("the name of an option"));
                }
            }
            if !self.parser.consume_token(&Token::Period) {
                break;
            }
            name.push('.');
        }
        self.expect_token(Token::Eq, "\"=\"")?;
        let token = self.parser.next_token();
        let value = match token.token {
            Token::SingleQuotedString(text) => text,
            Token::Number(number, _) => number,
            Token::Word(word) => word.value,
            _ => {
                self.parser.prev_token();
                return Err(self.expected("a value in single quotes"));
            }
        };
        Ok(GivenOption { name: name.to_lowercase(), value, position: Some(position) })
    }

    pub(super) fn if_not_exists(&mut self) -> Result<bool> {
        if !(self.peek("IF") && is_word(&self.parser.peek_nth_token(1).token, "NOT")) {
            return Ok(false);
        }
        self.expect("IF")?;
        self.expect("NOT")?;
        self.expect("EXISTS")?;
        Ok(true)
    }

    pub(super) fn name(&mut self) -> Result<Name> {
        let position = self.position();
        if !matches!(self.parser.peek_token().token, Token::Word(_)) {
            return Err(self.expected("a name"));
        }
        let mut ident = self.sql(Parser::parse_identifier)?;
        if fold(&ident) == PUBLIC && self.parser.consume_token(&Token::Period) {
            ident = self.sql(Parser::parse_identifier)?;
        }
        if self.parser.peek_token().token == Token::Period {
            let error = self.here(Error::user("a name can only be declared in the schema public"));
            return Err(error.with_hint("Leave the schema out."));
        }
        Ok(Name { value: fold(&ident), position })
    }

    /// Runs one of sqlparser's own rules, and words its error in our way.
    pub(super) fn sql<T>(&mut self, rule: impl FnOnce(&mut Parser<'a>) -> Result<T, ParserError>) -> Result<T> {
        rule(&mut self.parser).map_err(|error| syntax_error(&error, self.words))
    }

    pub(super) fn peek(&self, word: &str) -> bool {
        is_word(&self.parser.peek_token().token, word)
    }

    pub(super) fn accept(&mut self, word: &str) -> bool {
        let found = self.peek(word);
        if found {
            self.parser.next_token();
        }
        found
    }

    pub(super) fn expect(&mut self, word: &str) -> Result<()> {
        if self.accept(word) { Ok(()) } else { Err(self.expected(word)) }
    }

    pub(super) fn expect_token(&mut self, token: Token, shown: &str) -> Result<()> {
        if self.parser.consume_token(&token) { Ok(()) } else { Err(self.expected(shown)) }
    }

    pub(super) fn position(&self) -> Position {
        self.words.at(self.parser.peek_token().span).unwrap_or_else(|| self.words.end())
    }

    pub(super) fn here(&self, error: Error) -> Error {
        error.at(self.position())
    }

    pub(super) fn expected(&self, what: &str) -> Error {
        let found = match self.parser.peek_token().token {
            Token::EOF => "the end of the statement".to_string(),
            token => format!("\"{token}\""),
        };
        self.here(Error::user(format!("expected {what}, found {found}")))
    }

    fn no_such_statement(&self) -> Error {
        let written = self.parser.peek_token().token;
        let word = written.to_string().to_uppercase();
        match foreign::instead_of(&word) {
            Some(instead) => {
                self.here(Error::user(format!("{word} is not a statement of a pipeline"))).with_hint(instead)
            }
            None => self
                .here(Error::user(format!("no statement of a pipeline begins here with \"{written}\"")))
                .with_hint(known_statements()),
        }
    }
}

fn known_statements() -> String {
    format!("A pipeline is made of {}.", STATEMENTS.join(", "))
}

/// An identifier as SQL compares it: in lower case unless it was quoted.
pub(crate) fn fold(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// sqlparser's `Expected: x, found: y at Line: 1, Column: 2` in our words, at its place.
pub(crate) fn syntax_error(error: &ParserError, words: &Words) -> Error {
    let message = match error {
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => message.as_str(),
        ParserError::RecursionLimitExceeded => return Error::user("the statement is nested too deeply"),
    };
    let (message, place) = match message.rsplit_once(" at Line: ") {
        Some((message, place)) => (message, place.split_once(", Column: ")),
        None => (message, None),
    };
    let message = match message.strip_prefix("Expected: ").and_then(|m| m.split_once(", found: ")) {
        Some((expected, "EOF")) => format!("expected {}, found the end of the statement", lower_first(expected)),
        Some((expected, found)) => format!("expected {}, found \"{found}\"", lower_first(expected)),
        None => lower_first(message),
    };
    let position = place
        .and_then(|(line, column)| Some(words.at_location(line.trim().parse().ok()?, column.trim().parse().ok()?)))
        .unwrap_or_else(|| words.end());
    Error::user(message).at(position)
}
