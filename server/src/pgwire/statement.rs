//! What a statement is: a query, or one of the few that only concern the connection.

use super::copy_in::{self, InputFormat};
use super::{prepared, settings};
use crate::insert::Target;
use crate::prepared::Prepared;
use crate::session::{Request, Session};
use crate::sql_error::{NOT_SUPPORTED, SYNTAX, SqlError, SqlResult};
use crate::subscription;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::scalar::ScalarValue;
use std::sync::Arc;
use std::time::Duration;
use thalweg_pipelines::{Change, Subscribe, parse_statement};
use thalweg_schemas::options::parse_duration;

/// A statement, planned as far as it can be before it runs.
#[derive(Clone, Debug)]
pub enum Statement {
    /// Rows.
    Query(Arc<Prepared>),
    /// Rows without end.
    Subscribe(Subscribe, SchemaRef),
    /// `DECLARE cursor CURSOR FOR ..`
    Declare(String, Box<Statement>),
    /// `FETCH n FROM cursor`; without a number: all that is there. With how long a subscription is waited for.
    Fetch(String, Option<usize>, Option<Duration>),
    /// `CLOSE cursor`; without a name: all of them.
    Close(Option<String>),
    /// `PREPARE name AS query`
    Prepare(String, Arc<Prepared>),
    /// `EXECUTE name (values)`
    Execute(Arc<Prepared>, Vec<ScalarValue>),
    /// `DEALLOCATE name`; without a name: all of them.
    Deallocate(Option<String>),
    /// `COPY (..) TO STDOUT`
    Copy(Box<Statement>, CopyFormat),
    /// `COPY table [(columns)] FROM STDIN`
    CopyIn(Target, InputFormat),
    /// `SET name = value`; without a value: the default.
    Set(String, Option<String>),
    /// `SHOW name`
    ShowSetting(String),
    /// `SHOW ALL`
    ShowAll,
    /// `BEGIN`
    Begin,
    /// `COMMIT` or `ROLLBACK`, by its tag.
    End(&'static str),
    /// `CREATE` or `DROP` of what runs, with its text.
    Change(Change, String),
    /// Accepted, and without effect here.
    Accepted(&'static str),
}

/// How `COPY` writes rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyFormat {
    /// Tabs between columns.
    Text,
    /// Commas between columns, with a line of names first if wanted.
    Csv {
        /// Whether the names come first.
        header: bool,
    },
    /// PostgreSQL's binary form.
    Binary,
}

impl Statement {
    /// Reads a statement, and plans the query in it.
    pub async fn read(session: &Session, text: &str) -> SqlResult<Statement> {
        let mut words = Words { rest: text };
        let first = words.next().unwrap_or_default().to_ascii_uppercase();
        match first.as_str() {
            "BEGIN" => Ok(Statement::Begin),
            "START" => Ok(Statement::Begin),
            "COMMIT" | "END" => Ok(Statement::End("COMMIT")),
            "ROLLBACK" | "ABORT" if words.rest.to_ascii_uppercase().contains(" TO ") => {
                Ok(Statement::Accepted("ROLLBACK"))
            }
            "ROLLBACK" | "ABORT" => Ok(Statement::End("ROLLBACK")),
            "SAVEPOINT" => Ok(Statement::Accepted("SAVEPOINT")),
            "RELEASE" => Ok(Statement::Accepted("RELEASE")),
            "DISCARD" => Ok(Statement::Accepted("DISCARD ALL")),
            "PREPARE" => prepared::prepare(session, words).await,
            "EXECUTE" => prepared::execute(session, words).await,
            "DEALLOCATE" => Ok(Statement::Deallocate(
                match words.name() {
                    Some(word) if word == "prepare" => words.name(),
                    name => name,
                }
                .filter(|name| name != "all"),
            )),
            "LISTEN" => Ok(Statement::Accepted("LISTEN")),
            "UNLISTEN" => Ok(Statement::Accepted("UNLISTEN")),
            "SET" => set(words),
            "RESET" => Ok(Statement::Set(words.rest.trim().to_ascii_lowercase(), None)),
            "DECLARE" => declare(session, words).await,
            "FETCH" => fetch(words),
            "CLOSE" => Ok(Statement::Close(match words.name() {
                Some(name) if name.eq_ignore_ascii_case("all") => None,
                Some(name) => Some(name),
                None => return Err(SqlError::user(SYNTAX, "CLOSE is given no cursor")),
            })),
            "COPY" => copy(session, text, words).await,
            "SHOW" if words.rest.trim().eq_ignore_ascii_case("all") => Ok(Statement::ShowAll),
            "SHOW" => match parse_statement(text)? {
                thalweg_pipelines::Statement::Query(_) => {
                    Ok(Statement::ShowSetting(words.rest.trim().to_ascii_lowercase()))
                }
                _ => query(session, text).await,
            },
            _ => query(session, text).await,
        }
    }

    /// The columns of what it answers; `None` where only running it tells.
    pub fn schema(&self) -> Option<SchemaRef> {
        match self {
            Statement::Query(prepared) | Statement::Execute(prepared, _) if prepared.writes().is_some() => {
                Some(Arc::new(Schema::empty()))
            }
            Statement::Query(prepared) | Statement::Execute(prepared, _) => Some(prepared.schema.clone()),
            Statement::Subscribe(_, schema) => Some(schema.clone()),
            Statement::ShowSetting(name) => {
                Some(Arc::new(Schema::new(vec![Field::new(name.replace(' ', "_"), DataType::Utf8, false)])))
            }
            Statement::ShowAll => Some(settings::schema_of_all()),
            Statement::Fetch(..) => None,
            _ => Some(Arc::new(Schema::empty())),
        }
    }

    /// The query inside it that has parameters, if there is one.
    pub fn query(&self) -> Option<&Arc<Prepared>> {
        match self {
            Statement::Query(prepared) => Some(prepared),
            Statement::Declare(_, body) | Statement::Copy(body, _) => body.query(),
            _ => None,
        }
    }
}

async fn query(session: &Session, text: &str) -> SqlResult<Statement> {
    match session.request(text).await? {
        Request::Query(prepared) => Ok(Statement::Query(prepared)),
        Request::Change(change) => Ok(Statement::Change(change, text.to_string())),
        Request::Subscribe(subscribe) => {
            let schema = subscription::schema_of(session, &subscribe)?;
            Ok(Statement::Subscribe(subscribe, schema))
        }
    }
}

/// `SET [SESSION | LOCAL] name { TO | = } value`, `SET TIME ZONE value`.
fn set(mut words: Words<'_>) -> SqlResult<Statement> {
    let rest = words.rest.trim();
    for scope in ["SESSION", "LOCAL"] {
        if rest.get(..scope.len()).is_some_and(|word| word.eq_ignore_ascii_case(scope))
            && rest[scope.len()..].starts_with(char::is_whitespace)
        {
            words = Words { rest: &rest[scope.len()..] };
        }
    }
    let rest = words.rest.trim();
    if rest.to_ascii_lowercase().starts_with("time zone ") {
        return Ok(Statement::Set("timezone".to_string(), Some(unquote(&rest[10..]))));
    }
    let end = rest.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(rest.len());
    let (name, value) = rest.split_at(end);
    let value = value.trim_start();
    let value = value.strip_prefix('=').or_else(|| strip_word(value, "to")).unwrap_or(value);
    Ok(Statement::Set(unquote(name).to_ascii_lowercase(), Some(unquote(value))))
}

/// `DECLARE name [BINARY] [INSENSITIVE] [[NO] SCROLL] CURSOR [WITH | WITHOUT HOLD] FOR body`.
async fn declare(session: &Session, mut words: Words<'_>) -> SqlResult<Statement> {
    let name = words.name().ok_or_else(|| SqlError::user(SYNTAX, "DECLARE is given no cursor"))?;
    while let Some(word) = words.next() {
        if word.eq_ignore_ascii_case("for") {
            let body = query(session, words.rest.trim()).await?;
            return Ok(Statement::Declare(name, Box::new(body)));
        }
    }
    Err(SqlError::user(SYNTAX, format!("cursor \"{name}\" is declared without a query"))
        .with_hint("Write DECLARE name CURSOR FOR query."))
}

/// `FETCH [NEXT | n | ALL | FORWARD [n | ALL]] [FROM | IN] name [WITH (timeout = '1s')]`.
fn fetch(mut words: Words<'_>) -> SqlResult<Statement> {
    let (mut rows, mut timeout) = (Some(1), None);
    let mut name = None;
    while let Some(word) = words.name() {
        match word.to_ascii_lowercase().as_str() {
            "with" if name.is_some() => {
                timeout = Some(fetch_timeout(words.rest)?);
                break;
            }
            "next" | "forward" | "from" | "in" => {}
            "all" => rows = None,
            "prior" | "backward" | "first" | "last" | "absolute" | "relative" => {
                return Err(SqlError::user("55000", "cursors only move forward"));
            }
            number if number.parse::<usize>().is_ok() => rows = number.parse().ok(),
            _ => name = Some(word),
        }
    }
    match name {
        Some(name) => Ok(Statement::Fetch(name, rows, timeout)),
        None => Err(SqlError::user(SYNTAX, "FETCH is given no cursor").with_hint("Write FETCH n FROM cursor.")),
    }
}

/// `(timeout = '1s')`, as Materialize writes it.
fn fetch_timeout(text: &str) -> SqlResult<Duration> {
    let inner = text.trim().trim_end_matches(';').trim_end();
    let option = inner.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')).and_then(|o| o.split_once('='));
    let value = option.filter(|(name, _)| name.trim().eq_ignore_ascii_case("timeout")).map(|(_, value)| value.trim());
    value.and_then(|value| parse_duration(&unquote(value))).ok_or_else(|| {
        SqlError::user(SYNTAX, format!("FETCH does not know WITH {}", text.trim()))
            .with_hint("Write FETCH ALL FROM cursor WITH (timeout = '1s').")
    })
}

/// `COPY (body) TO STDOUT [[WITH] (FORMAT csv, HEADER) | CSV HEADER]`, `COPY name TO STDOUT`, `COPY name FROM STDIN`.
async fn copy(session: &Session, text: &str, words: Words<'_>) -> SqlResult<Statement> {
    if let Some(copy) = copy_in::statement(text)? {
        let target = session.target(&copy.table, copy.columns.as_deref())?;
        return Ok(Statement::CopyIn(target, copy.format));
    }
    let refused = || {
        SqlError::user(NOT_SUPPORTED, "only COPY (query) TO STDOUT and COPY table FROM STDIN are supported")
            .with_hint("Files come in through sources, and rows leave for files through sinks.")
    };
    let target = text.to_ascii_uppercase().rfind("TO STDOUT").ok_or_else(refused)?;
    let body_start = text.len() - words.rest.len();
    let body = text.get(body_start..target).ok_or_else(refused)?.trim();
    let body = match body.strip_prefix('(').and_then(|body| body.strip_suffix(')')) {
        Some(query) => query.trim().to_string(),
        None => format!("SELECT * FROM {body}"),
    };
    let options = text[target + "TO STDOUT".len()..].to_ascii_lowercase();
    let format = match () {
        () if options.contains("csv") => {
            CopyFormat::Csv { header: options.contains("header") && !options.contains("header false") }
        }
        () if options.contains("binary") => CopyFormat::Binary,
        () => CopyFormat::Text,
    };
    Ok(Statement::Copy(Box::new(query(session, &body).await?), format))
}

/// The words of a statement, quoted names being one.
pub(super) struct Words<'a> {
    pub(super) rest: &'a str,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest.trim_start();
        let end = match rest.strip_prefix('"') {
            Some(quoted) => quoted.find('"').map_or(rest.len(), |at| at + 2),
            None => rest.find(|c: char| c.is_whitespace() || c == '(' || c == ';').unwrap_or(rest.len()),
        };
        let (word, after) = rest.split_at(end);
        self.rest = after;
        (!word.is_empty()).then_some(word)
    }

    /// The next word as a name: folded to lower case unless it is quoted.
    pub(super) fn name(&mut self) -> Option<String> {
        let word = self.next()?;
        Some(if word.starts_with('"') { unquote(word) } else { word.to_ascii_lowercase() })
    }
}

pub(super) fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(word.len())?;
    (start.eq_ignore_ascii_case(word) && rest.starts_with(char::is_whitespace)).then_some(rest)
}

fn unquote(text: &str) -> String {
    let text = text.trim();
    for quote in ['\'', '"'] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote)) {
            return inner.to_string();
        }
    }
    text.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_postgres_reads_them() {
        let read = |text: &str| match set(Words { rest: text }).unwrap() {
            Statement::Set(name, value) => (name, value.unwrap()),
            other => panic!("{other:?}"),
        };
        assert_eq!(read(" DateStyle = 'ISO, MDY'"), ("datestyle".into(), "ISO, MDY".into()));
        assert_eq!(read(" session application_name to psql"), ("application_name".into(), "psql".into()));
        assert_eq!(read(" TIME ZONE 'UTC'"), ("timezone".into(), "UTC".into()));
        assert_eq!(read(" LOCAL statement_timeout=50"), ("statement_timeout".into(), "50".into()));
    }

    #[test]
    fn fetch_counts_rows() {
        let read = |text: &str| match fetch(Words { rest: text }).unwrap() {
            Statement::Fetch(name, rows, timeout) => (name, rows, timeout),
            other => panic!("{other:?}"),
        };
        assert_eq!(read(" c"), ("c".into(), Some(1), None));
        assert_eq!(read(" 5 C"), ("c".into(), Some(5), None));
        assert_eq!(read(" FORWARD 3 FROM \"My c\""), ("My c".into(), Some(3), None));
        assert_eq!(read(" all in c"), ("c".into(), None, None));
        let second = Some(Duration::from_secs(1));
        assert_eq!(read(" all c with (timeout = '1s');"), ("c".into(), None, second));
        assert!(fetch(Words { rest: " ALL c WITH (patience = '1s')" }).is_err());
    }
}
