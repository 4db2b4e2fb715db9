//! The grammar of our statements; expressions, types and queries are sqlparser's.

use super::ddl::{
    CreateNotification, CreateSink, CreateSource, CreateView, Ddl, DeclaredColumn, DeclaredKey, DeclaredWatermark,
    Name, SinkInput,
};
use super::{Words, foreign, lower_first, partition};
use datafusion::sql::sqlparser::ast::{Ident, Query};
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
    const BEFORE: [&str; 12] = [
        "CREATE",
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
    match &tokens.iter().find(|t| !before(t))?.token {
        Token::Word(word) => Some(fold(&word.to_ident(Span::empty()))),
        _ => None,
    }
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
            && tokens[at - 1].token == Token::LParen
            && is_window(&tokens[at - 2].token)
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

/// `CREATE SINK s AS query WITH (..)` with the options before `AS`: behind a table they would be read as its hints.
fn options_first(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let is_sink = tokens.len() > 2 && is_word(&tokens[1].token, "SINK");
    if !is_sink || tokens.last().is_none_or(|t| t.token != Token::RParen) {
        return tokens;
    }
    let mut depth = 0;
    let open = tokens.iter().rposition(|t| {
        depth += i32::from(t.token == Token::RParen) - i32::from(t.token == Token::LParen);
        depth == 0
    });
    let with = open.and_then(|open| open.checked_sub(1)).filter(|at| is_word(&tokens[*at].token, "WITH"));
    let body = tokens.iter().position(|t| is_word(&t.token, "AS"));
    match (with, body) {
        (Some(with), Some(body)) if body < with => {
            let options = tokens.split_off(with);
            tokens.splice(body..body, options);
        }
        _ => {}
    }
    tokens
}

pub(crate) fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

fn keyed(source: &mut CreateSource, key: DeclaredKey) -> Result<()> {
    match &source.key {
        Some(_) => Err(Error::user(format!("source \"{}\" has two primary keys", source.name.value))
            .with_hint("Write one PRIMARY KEY (...) with all of its columns.")
            .at(key.position)),
        None => {
            source.key = Some(key);
            Ok(())
        }
    }
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
        if self.peek("OR") {
            return Err(self
                .here(Error::user("CREATE OR REPLACE is not supported"))
                .with_hint("Change the statement itself: a pipeline is deployed as a whole."));
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

    pub(super) fn source(&mut self) -> Result<CreateSource> {
        let if_not_exists = self.if_not_exists()?;
        let name = self.name()?;
        let mut source =
            CreateSource { name, if_not_exists, columns: Vec::new(), watermark: None, key: None, options: Vec::new() };
        if self.parser.consume_token(&Token::LParen) {
            loop {
                self.source_item(&mut source)?;
                if self.parser.consume_token(&Token::RParen) {
                    break;
                }
                if !self.parser.consume_token(&Token::Comma) {
                    return Err(self.expected("\",\" or \")\""));
                }
                if self.parser.consume_token(&Token::RParen) {
                    break;
                }
            }
        }
        source.options = self.options()?;
        Ok(source)
    }

    fn source_item(&mut self, source: &mut CreateSource) -> Result<()> {
        if self.peek("PRIMARY") {
            let position = self.primary_key()?;
            self.expect_token(Token::LParen, "\"(\"")?;
            let mut columns = vec![self.name()?];
            while self.parser.consume_token(&Token::Comma) {
                columns.push(self.name()?);
            }
            self.expect_token(Token::RParen, "\")\"")?;
            self.not_enforced()?;
            return keyed(source, DeclaredKey { columns, position });
        }
        if self.peek("UNIQUE") || self.peek("CONSTRAINT") || self.peek("FOREIGN") {
            let error = Error::user("constraints of a source are not supported");
            return Err(self.here(error).with_hint("A source may have a PRIMARY KEY (...); leave other clauses out."));
        }
        if self.peek("WATERMARK") && is_word(&self.parser.peek_nth_token(1).token, "FOR") {
            let at = self.position();
            self.expect("WATERMARK")?;
            self.expect("FOR")?;
            let column = self.name()?;
            self.expect("AS")?;
            let promise_position = self.position();
            let promise = self.sql(Parser::parse_expr)?;
            if source.watermark.is_some() {
                return Err(Error::user(format!("source \"{}\" has two watermarks", source.name.value)).at(at));
            }
            source.watermark = Some(DeclaredWatermark { column, promise, promise_position });
            return Ok(());
        }
        let name = self.name()?;
        if self.peek("AS") {
            let error = Error::user(format!("generated column \"{}\" has no type", name.value));
            return Err(self.here(error).with_hint("Write it before AS: dt DATE AS (ts::date)."));
        }
        let type_position = self.position();
        let data_type = self.sql(Parser::parse_data_type)?;
        let mut column = DeclaredColumn { name, data_type, type_position, not_null: false, generated: None };
        loop {
            if self.accept("NOT") {
                self.expect("NULL")?;
                column.not_null = true;
            } else if self.accept("NULL") {
                column.not_null = false;
            } else if self.peek("AS") || self.peek("GENERATED") {
                column.generated = Some(self.generated()?);
            } else if self.peek("PRIMARY") {
                let position = self.primary_key()?;
                self.not_enforced()?;
                keyed(source, DeclaredKey { columns: vec![column.name.clone()], position })?;
            } else if let Some((word, hint)) = self.constraint() {
                let error = Error::user(format!("{word} of a column is not supported"));
                return Err(self.here(error).with_hint(hint));
            } else {
                break;
            }
        }
        source.columns.push(column);
        Ok(())
    }

    /// `PRIMARY KEY`, and where it stands.
    fn primary_key(&mut self) -> Result<Position> {
        let position = self.position();
        self.expect("PRIMARY")?;
        self.expect("KEY")?;
        Ok(position)
    }

    /// `NOT ENFORCED`, which says nothing here: the records decide.
    fn not_enforced(&mut self) -> Result<()> {
        if self.peek("NOT") && is_word(&self.parser.peek_nth_token(1).token, "ENFORCED") {
            self.expect("NOT")?;
            self.expect("ENFORCED")?;
        }
        Ok(())
    }

    /// A constraint that columns of sources do not have, and what to do instead.
    fn constraint(&self) -> Option<(String, &'static str)> {
        let word = self.parser.peek_token().token.to_string().to_uppercase();
        let hint = foreign::constraint(&word)?;
        Some((word, hint))
    }

    /// `AS (expr)` or `GENERATED ALWAYS AS (expr) [STORED]`
    fn generated(&mut self) -> Result<datafusion::sql::sqlparser::ast::Expr> {
        if self.accept("GENERATED") {
            self.expect("ALWAYS")?;
        }
        self.expect("AS")?;
        self.expect_token(Token::LParen, "\"(\"")?;
        let expr = self.sql(Parser::parse_expr)?;
        self.expect_token(Token::RParen, "\")\"")?;
        self.accept("STORED");
        Ok(expr)
    }

    fn view(&mut self, materialized: bool, emit: Option<(Emit, Position)>) -> Result<CreateView> {
        let if_not_exists = self.if_not_exists()?;
        let name = self.name()?;
        if self.parser.peek_token().token == Token::LParen {
            return Err(self.here(foreign::listed_columns(&name)));
        }
        let options = if self.peek("WITH") { self.options()? } else { Vec::new() };
        self.expect("AS")?;
        let query = self.query()?;
        Ok(CreateView { name, if_not_exists, materialized, options, query, emit })
    }

    fn sink(&mut self) -> Result<CreateSink> {
        let if_not_exists = self.if_not_exists()?;
        let name = self.name()?;
        let mut options = if self.peek("WITH") { self.options()? } else { Vec::new() };
        let input = if self.accept("FROM") {
            SinkInput::Relation(self.name()?)
        } else if self.accept("AS") {
            SinkInput::Query(self.query()?)
        } else {
            return Err(self.expected("FROM or AS"));
        };
        self.no_envelope()?;
        if self.peek("WITH") {
            options.extend(self.options()?);
        }
        self.no_envelope()?;
        Ok(CreateSink { name, if_not_exists, input, options })
    }

    fn notification(&mut self, kind: NotificationKind) -> Result<CreateNotification> {
        let if_not_exists = self.if_not_exists()?;
        let name = self.name()?;
        if !self.peek("WITH") {
            return Err(self.expected("WITH and the options"));
        }
        Ok(CreateNotification { kind, name, if_not_exists, options: self.options()? })
    }

    fn no_envelope(&mut self) -> Result<()> {
        if !self.peek("ENVELOPE") {
            return Ok(());
        }
        let error = Error::user("ENVELOPE is not supported yet");
        Err(self.here(error).with_hint("Write final results: sink a windowed view, or one with EMIT ON WINDOW CLOSE."))
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
        let ident = self.sql(Parser::parse_identifier)?;
        if self.parser.peek_token().token == Token::Period {
            return Err(self.here(Error::user("a name with a schema cannot be declared")).with_hint("Leave it out."));
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
