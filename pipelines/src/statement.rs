//! What a reader may say over the wire: queries, and the few statements about views that are ours.

use crate::insert::{Insert, insert};
use crate::parse::ddl::Ddl;
use crate::parse::syntax::{declared_name, fold, is_word, statement, syntax_error};
use crate::parse::{Words, split};
use crate::program::SqlText;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::options::GivenOption;

/// A statement of a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// A query for DataFusion, or anything else that is not ours.
    Query(String),
    /// `SUBSCRIBE TO view ..`
    Subscribe(Subscribe),
    /// `SHOW SOURCES | VIEWS | SINKS | ALERTS`
    Show(Shown),
    /// `EXPLAIN [ANALYZE] name`, the dataflow of a view.
    ExplainView {
        /// The view's name.
        view: String,
        /// Whether what its operators have done so far is asked for too.
        analyze: bool,
    },
    /// `CREATE ..` and `DROP ..` of sources, views and sinks.
    Change(Change),
    /// `INSERT INTO table ..`
    Insert(Insert),
    /// `REPLAY DEAD LETTERS FROM source ..`
    Replay(Replay),
    /// `DESCRIBE name`, the columns of a relation: the schema, if one was written, and the name.
    Describe(Option<String>, String),
    /// `CREATE SILENCE name WITH (..)`
    CreateSilence(String, Vec<GivenOption>),
    /// `DROP SILENCE name`
    DropSilence(String),
    /// `ACKNOWLEDGE INCIDENT 'id' [BY 'author'] [COMMENT 'text']`
    Acknowledge(Acknowledge),
}

/// `ACKNOWLEDGE INCIDENT 'id' [BY 'author'] [COMMENT 'text']`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledge {
    /// The incident's id.
    pub incident: String,
    /// Who takes care of it.
    pub author: String,
    /// What is to be said about it.
    pub comment: String,
}

/// `SUBSCRIBE TO view [WHERE ..] [AS OF epoch] [WITH (snapshot = true, progress = true)]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// The view's name.
    pub view: String,
    /// The text of the condition over the view's columns.
    pub filter: Option<String>,
    /// The epoch after which changes are wanted.
    pub as_of: Option<u64>,
    /// Whether the rows as they are (or were, `as_of`) come first.
    pub snapshot: bool,
    /// Whether each epoch that is complete is told, with or without changes.
    pub progress: bool,
}

/// A change of what runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// `CREATE SOURCE | [MATERIALIZED] VIEW | SINK ..`
    Create {
        /// What it declares.
        name: String,
        /// `CREATE VIEW` and the like, for the answer.
        tag: &'static str,
        /// Whether nothing is to happen where the name is taken.
        if_not_exists: bool,
        /// The statement.
        text: String,
    },
    /// `DROP SOURCE | [MATERIALIZED] VIEW | SINK [IF EXISTS] name [, ..] [CASCADE | RESTRICT]`
    Drop {
        /// What is to go.
        names: Vec<String>,
        /// `DROP VIEW` and the like, for the answer.
        tag: &'static str,
        /// Whether nothing is to happen where there is no such name.
        if_exists: bool,
        /// Whether what reads it goes too.
        cascade: bool,
    },
    /// `ALTER SOURCE | TABLE | [MATERIALIZED] VIEW [IF EXISTS] name RENAME TO name`
    Rename {
        /// What is to have another name.
        name: String,
        /// That name.
        to: String,
        /// `ALTER VIEW` and the like, for the answer.
        tag: &'static str,
        /// Whether nothing is to happen where there is no such name.
        if_exists: bool,
    },
}

/// What can be created, dropped and altered: the words, and how each is answered.
const CHANGED: &[(&[&str], &str, &str, &str)] = &[
    (&["SOURCE"], "CREATE SOURCE", "DROP SOURCE", "ALTER SOURCE"),
    (&["TABLE"], "CREATE TABLE", "DROP TABLE", "ALTER TABLE"),
    (&["FUNCTION"], "CREATE FUNCTION", "DROP FUNCTION", "ALTER FUNCTION"),
    (&["MATERIALIZED", "VIEW"], "CREATE MATERIALIZED VIEW", "DROP MATERIALIZED VIEW", "ALTER MATERIALIZED VIEW"),
    (&["VIEW"], "CREATE VIEW", "DROP VIEW", "ALTER VIEW"),
    (&["SINK"], "CREATE SINK", "DROP SINK", "ALTER SINK"),
    (&["ALERT"], "CREATE ALERT", "DROP ALERT", "ALTER ALERT"),
    (&["SLO"], "CREATE SLO", "DROP SLO", "ALTER SLO"),
    (&["NOTIFIER"], "CREATE NOTIFIER", "DROP NOTIFIER", "ALTER NOTIFIER"),
    (&["INHIBITION"], "CREATE INHIBITION", "DROP INHIBITION", "ALTER INHIBITION"),
];

/// `REPLAY DEAD LETTERS FROM source [WHERE ..]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// The source's name.
    pub source: String,
    /// The text of the condition over the columns of `thalweg.dead_letters`.
    pub filter: Option<String>,
}

/// What `SHOW` lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// `SHOW SOURCES`
    Sources,
    /// `SHOW VIEWS`
    Views,
    /// `SHOW SINKS`
    Sinks,
    /// `SHOW ALERTS`
    Alerts,
    /// `SHOW NOTIFIERS`
    Notifiers,
    /// `SHOW SILENCES`
    Silences,
    /// `SHOW INHIBITIONS`
    Inhibitions,
    /// `SHOW CALENDARS`
    Calendars,
}

/// Reads one statement. What is not ours is a query, whose mistakes DataFusion will find.
pub fn parse_statement(text: &str) -> Result<Statement> {
    let query = || Statement::Query(text.to_string());
    let whole = SqlText { file: "".into(), text: text.into() };
    let mut pieces = split(&whole, &mut Vec::new());
    if pieces.len() != 1 {
        return Ok(query());
    }
    let tokens = pieces.remove(0);
    let is = |at: usize, word: &str| tokens.get(at).is_some_and(|t| is_word(&t.token, word));
    if is(0, "SUBSCRIBE") {
        return subscribe(&whole, tokens).map(Statement::Subscribe);
    }
    if let Some(change) = change(&whole, &tokens)? {
        return Ok(Statement::Change(change));
    }
    if is(0, "INSERT") {
        return insert(&whole, &tokens).map(Statement::Insert);
    }
    if is(0, "REPLAY") {
        return replay(&whole, tokens).map(Statement::Replay);
    }
    if is(0, "SHOW") && is(1, "MATERIALIZED") && is(2, "VIEWS") && tokens.len() == 3 {
        return Ok(Statement::Show(Shown::Views));
    }
    if is(0, "SHOW") && tokens.len() == 2 {
        let shown = [
            ("SOURCES", Shown::Sources),
            ("VIEWS", Shown::Views),
            ("SINKS", Shown::Sinks),
            ("ALERTS", Shown::Alerts),
            ("NOTIFIERS", Shown::Notifiers),
            ("SILENCES", Shown::Silences),
            ("INHIBITIONS", Shown::Inhibitions),
            ("CALENDARS", Shown::Calendars),
        ];
        return Ok(shown.into_iter().find(|(word, _)| is(1, word)).map_or_else(query, |(_, s)| Statement::Show(s)));
    }
    if is(0, "CREATE") && is(1, "SILENCE") {
        let words = Words::of(&whole, &tokens);
        return match statement(tokens, &words)? {
            Ddl::Notification(silence) => Ok(Statement::CreateSilence(silence.name.value, silence.options)),
            _ => Ok(query()),
        };
    }
    if is(0, "DROP") && is(1, "SILENCE") && tokens.len() == 3 {
        return Ok(name(&tokens[2]).map_or_else(query, Statement::DropSilence));
    }
    if is(0, "ACKNOWLEDGE") {
        return acknowledge(Rest { text: &whole, tokens: &tokens, at: 1 }).map(Statement::Acknowledge);
    }
    // EXPLAIN of a name; EXPLAIN of a query is DataFusion's.
    let analyze = is(0, "EXPLAIN") && is(1, "ANALYZE");
    let words = &tokens[usize::from(analyze)..];
    let names: Vec<String> = words.iter().skip(1).step_by(2).filter_map(name).collect();
    let dotted = words.iter().skip(2).step_by(2).all(|t| t.token == Token::Period);
    let is_name = dotted && !names.is_empty() && 2 * names.len() == words.len();
    if is(0, "EXPLAIN") && is_name {
        let view = names.into_iter().last();
        return Ok(view.map_or_else(query, |view| Statement::ExplainView { view, analyze }));
    }
    if (is(0, "DESCRIBE") || is(0, "DESC")) && is_name {
        let mut names = names.into_iter().rev();
        let last = names.next();
        return Ok(last.map_or_else(query, |name| Statement::Describe(names.next(), name)));
    }
    Ok(query())
}

fn name(token: &TokenWithSpan) -> Option<String> {
    match &token.token {
        Token::Word(word) => Some(fold(&word.to_ident(token.span))),
        _ => None,
    }
}

/// `CREATE`, `DROP` and `ALTER` of what a pipeline declares.
fn change(text: &SqlText, tokens: &[TokenWithSpan]) -> Result<Option<Change>> {
    let is = |at: usize, word: &str| tokens.get(at).is_some_and(|t| is_word(&t.token, word));
    let kind = CHANGED.iter().find(|(words, ..)| words.iter().enumerate().all(|(at, word)| is(1 + at, word)));
    let Some((words, create, drop, alter)) = kind else { return Ok(None) };
    let at = 1 + words.len();
    if is(0, "CREATE") {
        let Some(name) = declared_name(tokens) else { return Ok(None) };
        let if_not_exists = is(at, "IF") && is(at + 1, "NOT") && is(at + 2, "EXISTS");
        return Ok(Some(Change::Create { name, tag: create, if_not_exists, text: text.text.trim().to_string() }));
    }
    let if_exists = is(at, "IF") && is(at + 1, "EXISTS");
    let rest = Rest { text, tokens, at: at + if if_exists { 2 } else { 0 } };
    if is(0, "DROP") {
        return drop_names(rest, drop, if_exists).map(Some);
    }
    if is(0, "ALTER") {
        return rename(rest, alter, if_exists).map(Some);
    }
    Ok(None)
}

/// What follows the first words of a statement.
struct Rest<'a> {
    text: &'a SqlText,
    tokens: &'a [TokenWithSpan],
    at: usize,
}

impl Rest<'_> {
    fn accept(&mut self, word: &str) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|t| is_word(&t.token, word));
        self.at += usize::from(found);
        found
    }

    fn accept_token(&mut self, token: &Token) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|t| t.token == *token);
        self.at += usize::from(found);
        found
    }

    /// A text in quotes.
    fn text(&mut self) -> Option<String> {
        match &self.tokens.get(self.at)?.token {
            Token::SingleQuotedString(text) => {
                self.at += 1;
                Some(text.clone())
            }
            _ => None,
        }
    }

    /// The last part of a name.
    fn name(&mut self) -> Option<String> {
        loop {
            let last = self.tokens.get(self.at).and_then(name)?;
            self.at += 1;
            if !self.accept_token(&Token::Period) {
                return Some(last);
            }
        }
    }

    fn expected(&self, what: &str, form: &str) -> Error {
        let words = Words::of(self.text, self.tokens);
        let place = self.tokens.get(self.at).and_then(|token| words.at(token.span)).unwrap_or_else(|| words.end());
        Error::user(format!("expected {what}")).with_hint(format!("Write {form}.")).at(place)
    }
}

fn acknowledge(mut rest: Rest) -> Result<Acknowledge> {
    const FORM: &str = "ACKNOWLEDGE INCIDENT 'id' [BY 'author'] [COMMENT 'text']";
    if !rest.accept("INCIDENT") {
        return Err(rest.expected("INCIDENT", FORM));
    }
    let incident = rest.text().ok_or_else(|| rest.expected("the incident_id in quotes", FORM))?;
    let mut said = |word: &str| -> Result<String> {
        if !rest.accept(word) {
            return Ok(String::new());
        }
        rest.text().ok_or_else(|| rest.expected("a text in quotes", FORM))
    };
    let (author, comment) = (said("BY")?, said("COMMENT")?);
    if rest.at < rest.tokens.len() {
        return Err(rest.expected("the end of the statement", FORM));
    }
    Ok(Acknowledge { incident, author, comment })
}

fn drop_names(mut rest: Rest, tag: &'static str, if_exists: bool) -> Result<Change> {
    let form = format!("{tag} [IF EXISTS] name [, ..] [CASCADE | RESTRICT]");
    let mut names = Vec::new();
    loop {
        names.push(rest.name().ok_or_else(|| rest.expected("a name", &form))?);
        if !rest.accept_token(&Token::Comma) {
            break;
        }
    }
    let cascade = rest.accept("CASCADE");
    if !cascade {
        rest.accept("RESTRICT");
    }
    if rest.at < rest.tokens.len() {
        return Err(rest.expected("the end of the statement", &form));
    }
    Ok(Change::Drop { names, tag, if_exists, cascade })
}

fn rename(mut rest: Rest, tag: &'static str, if_exists: bool) -> Result<Change> {
    let form = format!("{tag} [IF EXISTS] name RENAME TO name");
    let name = rest.name().ok_or_else(|| rest.expected("a name", &form))?;
    for word in ["RENAME", "TO"] {
        if !rest.accept(word) {
            return Err(rest.expected(word, &form));
        }
    }
    let to = rest.name().ok_or_else(|| rest.expected("a name", &form))?;
    if rest.at < rest.tokens.len() {
        return Err(rest.expected("the end of the statement", &form));
    }
    Ok(Change::Rename { name, to, tag, if_exists })
}

fn accept(parser: &mut Parser, word: &str) -> bool {
    let found = is_word(&parser.peek_token().token, word);
    if found {
        parser.next_token();
    }
    found
}

fn replay(text: &SqlText, tokens: Vec<TokenWithSpan>) -> Result<Replay> {
    let words = Words::of(text, &tokens);
    let dialect = GenericDialect {};
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    let expected = |parser: &Parser, what: &str| {
        let at = words.at(parser.peek_token().span).unwrap_or_else(|| words.end());
        Error::user(format!("expected {what}"))
            .with_hint("Write REPLAY DEAD LETTERS FROM source [WHERE condition over thalweg.dead_letters].")
            .at(at)
    };
    for word in ["REPLAY", "DEAD", "LETTERS", "FROM"] {
        if !accept(&mut parser, word) {
            return Err(expected(&parser, word));
        }
    }
    let object = parser.parse_object_name(false).map_err(|e| syntax_error(&e, &words))?;
    let Some(source) = object.0.last().and_then(|part| part.as_ident()).map(fold) else {
        return Err(expected(&parser, "the name of a source"));
    };
    let mut filter = None;
    if accept(&mut parser, "WHERE") {
        filter = Some(parser.parse_expr().map_err(|e| syntax_error(&e, &words))?.to_string());
    }
    if parser.peek_token().token != Token::EOF {
        return Err(expected(&parser, if filter.is_some() { "the end of the statement" } else { "WHERE" }));
    }
    Ok(Replay { source, filter })
}

fn subscribe(text: &SqlText, tokens: Vec<TokenWithSpan>) -> Result<Subscribe> {
    let words = Words::of(text, &tokens);
    let dialect = GenericDialect {};
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    let expected = |parser: &Parser, what: &str| {
        let at = words.at(parser.peek_token().span).unwrap_or_else(|| words.end());
        Error::user(format!("expected {what}"))
            .with_hint("Write SUBSCRIBE TO view [WHERE ..] [AS OF epoch] [WITH (snapshot = true, progress = true)].")
            .at(at)
    };
    parser.next_token();
    if !accept(&mut parser, "TO") {
        return Err(expected(&parser, "TO"));
    }
    let object = parser.parse_object_name(false).map_err(|e| syntax_error(&e, &words))?;
    let Some(view) = object.0.last().and_then(|part| part.as_ident()).map(fold) else {
        return Err(expected(&parser, "the name of a view"));
    };
    let mut out = Subscribe { view, filter: None, as_of: None, snapshot: false, progress: false };
    if accept(&mut parser, "WHERE") {
        out.filter = Some(parser.parse_expr().map_err(|e| syntax_error(&e, &words))?.to_string());
    }
    if accept(&mut parser, "AS") {
        let epoch = accept(&mut parser, "OF").then(|| parser.next_token().token);
        let Some(Token::Number(epoch, _)) = epoch else { return Err(expected(&parser, "OF and an epoch")) };
        out.as_of = Some(epoch.parse().map_err(|_| expected(&parser, "an epoch, a whole number"))?);
    }
    if accept(&mut parser, "WITH") {
        let mut separator = parser.next_token().token == Token::LParen;
        while separator {
            let (option, equals, value) =
                (parser.next_token().token, parser.next_token().token, parser.next_token().token);
            let value = match value.to_string().trim_matches('\'').to_lowercase().as_str() {
                "true" if equals == Token::Eq => true,
                "false" if equals == Token::Eq => false,
                _ => return Err(expected(&parser, "an option = true or false")),
            };
            match &option {
                option if is_word(option, "SNAPSHOT") => out.snapshot = value,
                option if is_word(option, "PROGRESS") => out.progress = value,
                _ => return Err(expected(&parser, "snapshot or progress")),
            }
            separator = parser.peek_token().token == Token::Comma;
            if separator {
                parser.next_token();
            }
        }
        if parser.next_token().token != Token::RParen {
            return Err(expected(&parser, "(snapshot = true)"));
        }
    }
    if parser.peek_token().token != Token::EOF {
        return Err(expected(&parser, "the end of the statement"));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_are_told_from_queries() {
        let parse = |text: &str| parse_statement(text).unwrap();
        assert_eq!(parse("show sources;"), Statement::Show(Shown::Sources));
        assert_eq!(parse("SHOW TABLES"), Statement::Query("SHOW TABLES".into()));
        let explain = |view: &str, analyze| Statement::ExplainView { view: view.into(), analyze };
        assert_eq!(parse("EXPLAIN latency"), explain("latency", false));
        assert_eq!(parse("explain public.\"Latency\""), explain("Latency", false));
        assert_eq!(parse("EXPLAIN ANALYZE public.latency;"), explain("latency", true));
        assert!(matches!(parse("EXPLAIN ANALYZE SELECT 1"), Statement::Query(_)));
        assert_eq!(parse("DESCRIBE latency"), Statement::Describe(None, "latency".into()));
        assert_eq!(parse("desc thalweg.views;"), Statement::Describe(Some("thalweg".into()), "views".into()));
        assert_eq!(parse("SHOW MATERIALIZED VIEWS"), Statement::Show(Shown::Views));
        assert_eq!(parse("SHOW NOTIFIERS"), Statement::Show(Shown::Notifiers));
        assert_eq!(parse("DROP SILENCE Quiet;"), Statement::DropSilence("quiet".into()));
        assert!(matches!(parse("DROP SILENCE"), Statement::Query(_)));
        let silence = parse("CREATE SILENCE quiet WITH (matchers = 'team=core', duration = '1h')");
        assert!(
            matches!(&silence, Statement::CreateSilence(name, given) if name == "quiet" && given.len() == 2),
            "{silence:?}"
        );
        assert!(parse_statement("CREATE SILENCE quiet").is_err());
        let acknowledged = |author: &str, comment: &str| {
            let [incident, author, comment] = ["9f", author, comment].map(str::to_string);
            Statement::Acknowledge(Acknowledge { incident, author, comment })
        };
        assert_eq!(parse("acknowledge incident '9f'"), acknowledged("", ""));
        assert_eq!(parse("ACKNOWLEDGE INCIDENT '9f' BY 'ada' COMMENT 'on it';"), acknowledged("ada", "on it"));
        let error = parse_statement("ACKNOWLEDGE INCIDENT 9f").unwrap_err();
        assert_eq!(error.message, "expected the incident_id in quotes");
        assert!(parse_statement("ACKNOWLEDGE INCIDENT '9f' NOW").is_err());
        assert!(matches!(parse("EXPLAIN SELECT 1"), Statement::Query(_)));
        assert!(matches!(parse("SELECT 1; SELECT 2"), Statement::Query(_)));
        assert!(matches!(parse("SELECT 'open"), Statement::Query(_)));
        assert!(matches!(parse(""), Statement::Query(_)));
    }

    #[test]
    fn what_runs_can_be_changed() {
        let change = |text: &str| match parse_statement(text).unwrap() {
            Statement::Change(change) => change,
            other => panic!("{text}: {other:?}"),
        };
        let drop = |names: &[&str], tag, if_exists, cascade| Change::Drop {
            names: names.iter().map(|name| name.to_string()).collect(),
            tag,
            if_exists,
            cascade,
        };
        assert_eq!(change("DROP VIEW v"), drop(&["v"], "DROP VIEW", false, false));
        assert_eq!(change("DROP TABLE t"), drop(&["t"], "DROP TABLE", false, false));
        assert_eq!(
            change("drop materialized view if exists public.A, \"B\" cascade;"),
            drop(&["a", "B"], "DROP MATERIALIZED VIEW", true, true)
        );
        let text = "CREATE MATERIALIZED VIEW IF NOT EXISTS v AS SELECT 1 FROM t";
        let create = |if_not_exists, text: &str| Change::Create {
            name: "v".into(),
            tag: "CREATE MATERIALIZED VIEW",
            if_not_exists,
            text: text.into(),
        };
        assert_eq!(change(text), create(true, text));
        let text = "CREATE MATERIALIZED VIEW v AS SELECT 1 FROM t";
        assert_eq!(change(text), create(false, text));
        for wrong in ["DROP VIEW", "DROP SINK a b", "DROP SOURCE a,", "DROP VIEW a CASCADE x"] {
            let error = parse_statement(wrong).unwrap_err();
            assert!(error.position.is_some() && error.hint.is_some(), "{wrong}: {error}");
        }
        assert!(matches!(parse_statement("CREATE INDEX i ON t (a)").unwrap(), Statement::Query(_)));
        let rename =
            |name: &str, to: &str, tag, if_exists| Change::Rename { name: name.into(), to: to.into(), tag, if_exists };
        assert_eq!(change("ALTER VIEW v RENAME TO w;"), rename("v", "w", "ALTER VIEW", false));
        assert_eq!(
            change("alter materialized view if exists public.v rename to \"W\""),
            rename("v", "W", "ALTER MATERIALIZED VIEW", true)
        );
        for wrong in
            ["ALTER VIEW", "ALTER TABLE t ADD COLUMN a INT", "ALTER SOURCE s RENAME w", "ALTER VIEW v RENAME TO w x"]
        {
            let error = parse_statement(wrong).unwrap_err();
            assert!(error.position.is_some() && error.hint.is_some(), "{wrong}: {error}");
        }
    }

    #[test]
    fn dead_letters_are_replayed_from_a_source() {
        let replay = |source: &str, filter: Option<&str>| {
            Statement::Replay(Replay { source: source.into(), filter: filter.map(str::to_string) })
        };
        let parse = |text: &str| parse_statement(text).unwrap();
        assert_eq!(parse("replay dead letters from Orders;"), replay("orders", None));
        let some = "REPLAY DEAD LETTERS FROM public.\"Orders\" WHERE reason LIKE '%price%' AND attempts < 3";
        assert_eq!(parse(some), replay("Orders", Some("reason LIKE '%price%' AND attempts < 3")));
        for wrong in [
            "REPLAY orders",
            "REPLAY DEAD LETTERS FROM",
            "REPLAY DEAD LETTERS FROM o IF",
            "REPLAY DEAD LETTERS FROM o WHERE",
        ] {
            let error = parse_statement(wrong).unwrap_err();
            assert!(error.position.is_some(), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_subscription_has_four_parts() {
        let all = "SUBSCRIBE TO public.latency WHERE region = 'eu' AND p99 > 5 AS OF 42 WITH (snapshot = true);";
        assert_eq!(
            parse_statement(all).unwrap(),
            Statement::Subscribe(Subscribe {
                view: "latency".into(),
                filter: Some("region = 'eu' AND p99 > 5".into()),
                as_of: Some(42),
                snapshot: true,
                progress: false,
            })
        );
        let plain = Subscribe { view: "v".into(), filter: None, as_of: None, snapshot: false, progress: false };
        assert_eq!(parse_statement("subscribe to V").unwrap(), Statement::Subscribe(plain.clone()));
        let both = "subscribe to v with (progress = 'true', snapshot = true)";
        let told = Subscribe { snapshot: true, progress: true, ..plain };
        assert_eq!(parse_statement(both).unwrap(), Statement::Subscribe(told));
        for wrong in [
            "SUBSCRIBE v",
            "SUBSCRIBE TO v AS OF then",
            "SUBSCRIBE TO v WITH (x = 1)",
            "SUBSCRIBE TO v WITH (progress = true snapshot = true)",
            "SUBSCRIBE TO v WITH (snapshot = true",
            "SUBSCRIBE TO v WITH ()",
            "SUBSCRIBE TO v v",
        ] {
            let error = parse_statement(wrong).unwrap_err();
            assert!(error.position.is_some() && error.hint.is_some(), "{wrong}: {error}");
        }
    }
}
