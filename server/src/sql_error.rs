//! What is wrong with a statement, in the words and codes that PostgreSQL's users know.

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;
use thalweg_schemas::error::{Error, ErrorKind, Position};
use thalweg_schemas::suggest::closest;

/// An error with its SQLSTATE.
#[derive(Clone, Debug)]
pub struct SqlError {
    /// The five characters that programs look at.
    pub code: &'static str,
    /// Everything for people.
    pub error: Error,
}

/// A result whose error is [`SqlError`].
pub type SqlResult<T> = Result<T, SqlError>;

/// `syntax_error`
pub const SYNTAX: &str = "42601";
/// `undefined_table`
pub const NO_TABLE: &str = "42P01";
/// `undefined_column`
pub const NO_COLUMN: &str = "42703";
/// `undefined_function`
pub const NO_FUNCTION: &str = "42883";
/// `feature_not_supported`
pub const NOT_SUPPORTED: &str = "0A000";
/// `query_canceled`
pub const CANCELED: &str = "57014";
/// `invalid_cursor_name`
pub const NO_CURSOR: &str = "34000";
/// `invalid_parameter_value`
pub const BAD_PARAMETER: &str = "22023";
/// `undefined_object`
pub const NO_OBJECT: &str = "42704";
/// `duplicate_object`
pub const DUPLICATE: &str = "42710";
/// `internal_error`
pub const INTERNAL: &str = "XX000";

impl SqlError {
    /// The user's mistake, with its code.
    pub fn user(code: &'static str, message: impl Into<String>) -> SqlError {
        SqlError { code, error: Error::user(message) }
    }

    /// The same with what to do.
    pub fn with_hint(mut self, hint: impl Into<String>) -> SqlError {
        self.error = self.error.with_hint(hint);
        self
    }
}

impl From<Error> for SqlError {
    fn from(error: Error) -> SqlError {
        let code = match error.kind {
            ErrorKind::User if error.message.starts_with("view \"") && error.message.contains("does not exist") => {
                NO_TABLE
            }
            ErrorKind::User if error.message.starts_with("epoch ") => BAD_PARAMETER,
            ErrorKind::User => SYNTAX,
            ErrorKind::Data => "22000",
            ErrorKind::Retry | ErrorKind::Outside => "58030",
            ErrorKind::Bug => INTERNAL,
        };
        SqlError { code, error }
    }
}

/// What an error of DataFusion means for whoever wrote `text`; `tables` are the names that there are.
pub fn explain(error: &DataFusionError, text: &str, tables: &[String]) -> SqlError {
    let span = error.diagnostic().and_then(|diagnostic| diagnostic.span);
    let at_span = span.map(|span| Position {
        file: "".into(),
        line: span.start.line,
        column: span.start.column,
        width: if span.start.line == span.end.line {
            span.end.column.saturating_sub(span.start.column).max(1)
        } else {
            1
        },
    });
    let mut found = match error.find_root() {
        DataFusionError::SQL(parser, _) => return syntax(parser),
        DataFusionError::SchemaError(schema, _) => schema_error(schema),
        DataFusionError::Plan(message) => planning(message, tables),
        DataFusionError::NotImplemented(message) => SqlError::user(NOT_SUPPORTED, first_line(message)),
        DataFusionError::ArrowError(arrow, _) => computing(&arrow.to_string()),
        DataFusionError::Execution(message) => computing(message),
        DataFusionError::ResourcesExhausted(message) => {
            SqlError { code: "53200", error: Error::outside(first_line(message)) }
        }
        DataFusionError::Configuration(message) => SqlError::user("42704", first_line(message)),
        DataFusionError::External(external) => match external.downcast_ref::<Error>() {
            Some(ours) => ours.clone().into(),
            None => SqlError { code: "58000", error: Error::outside(first_line(&external.to_string())) },
        },
        DataFusionError::IoError(_) | DataFusionError::ObjectStore(_) | DataFusionError::ParquetError(_) => {
            SqlError { code: "58030", error: Error::outside(first_line(&error.to_string())) }
        }
        _ => SqlError { code: INTERNAL, error: Error::bug(first_line(&error.strip_backtrace())) },
    };
    let named = quoted(&found.error.message).and_then(|name| find_word(text, name));
    if let Some(position) = at_span.filter(|position| position.line > 0).or(named) {
        found.error = found.error.at(position);
    }
    found
}

/// `Function 'sum' failed to match any signature, errors: .. but received String (DataType: Utf8)., ..`
fn no_such_form(message: &str) -> SqlError {
    let function = between(message, "Function '", "'").unwrap_or("the function");
    let taken = between(message, "(DataType: ", ")").map_or_else(String::new, |given| format!(" of type {given}"));
    SqlError::user(NO_FUNCTION, format!("\"{function}\" takes no argument{taken}"))
        .with_hint("CAST it to a type that the function takes.")
}

/// `sql parser error: Expected: x, found: y at Line: 1, Column: 8`
fn syntax(error: &ParserError) -> SqlError {
    let message = match error {
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => message.as_str(),
        ParserError::RecursionLimitExceeded => "the statement is nested too deeply",
    };
    let (message, place) = match message.rsplit_once(" at Line: ") {
        Some((message, place)) => (message, place.split_once(", Column: ")),
        None => (message, None),
    };
    let mut found = SqlError::user(SYNTAX, format!("syntax error: {}", lower_first(first_line(message))));
    if let Some((line, column)) = place
        && let (Ok(line), Ok(column)) = (line.parse(), column.parse())
    {
        found.error = found.error.at(Position { file: "".into(), line, column, width: 1 });
    }
    found
}

fn schema_error(error: &SchemaError) -> SqlError {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let found = match &field.relation {
                Some(relation) => format!("column \"{}\" does not exist in \"{}\"", field.name, relation.table()),
                None => format!("column \"{}\" does not exist", field.name),
            };
            let names: Vec<&str> = valid_fields.iter().map(|column| column.name.as_str()).collect();
            SqlError::user(NO_COLUMN, found).with_hint(match closest(&field.name, names.iter().copied()) {
                Some(name) => format!("Did you mean \"{name}\"?"),
                None if names.is_empty() => "No table is read here.".to_string(),
                None => format!("There are: {}.", names.join(", ")),
            })
        }
        SchemaError::AmbiguousReference { field } => {
            SqlError::user("42702", format!("column reference \"{}\" is ambiguous", field.name))
                .with_hint("Say of which table it is, as in table.column.")
        }
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            SqlError::user("42701", format!("column \"{name}\" is named more than once"))
                .with_hint("Give one of them another name with AS.")
        }
    }
}

fn planning(message: &str, tables: &[String]) -> SqlError {
    if let Some(name) = between(message, "table '", "' not found") {
        let name = name.strip_prefix("thalweg.").unwrap_or(name);
        let name = name.strip_prefix("public.").unwrap_or(name);
        let found = SqlError::user(NO_TABLE, format!("relation \"{name}\" does not exist"));
        return found.with_hint(match closest(name, tables.iter().map(String::as_str)) {
            Some(table) => format!("Did you mean \"{table}\"?"),
            None => "SHOW VIEWS lists what can be queried.".to_string(),
        });
    }
    if message.contains("failed to match any signature") {
        return no_such_form(message);
    }
    if message.starts_with("Substring without") {
        return SqlError::user(SYNTAX, "substr is not told where to begin")
            .with_hint("Write substr(text, from [, length]).");
    }
    if let Some(name) = between(message, "Invalid function '", "'") {
        let found = SqlError::user(NO_FUNCTION, format!("function \"{name}\" does not exist"));
        return match between(message, "Did you mean '", "'") {
            Some(other) => found.with_hint(format!("Did you mean \"{other}\"?")),
            None => found,
        };
    }
    SqlError::user("42000", lower_first(first_line(message)))
}

/// An error while rows are being computed: the rows are at fault.
fn computing(message: &str) -> SqlError {
    let code = match message {
        m if m.contains("ivide by zero") => "22012",
        m if m.contains("Cast error") || m.contains("Parser error") => "22P02",
        m if m.contains("verflow") => "22003",
        _ => "22000",
    };
    SqlError { code, error: Error::data(lower_first(first_line(message))) }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or(text)
}

fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) if !text.starts_with(|c: char| c.is_uppercase() && text[1..].starts_with(char::is_uppercase)) => {
            first.to_lowercase().chain(characters).collect()
        }
        _ => text.to_string(),
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let rest = &text[text.find(before)? + before.len()..];
    Some(&rest[..rest.find(after)?])
}

/// The first `"name"` in a message.
fn quoted(message: &str) -> Option<&str> {
    between(message, "\"", "\"").filter(|name| !name.is_empty())
}

/// Where `name` stands in `text` as a word.
fn find_word(text: &str, name: &str) -> Option<Position> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let lower = text.to_ascii_lowercase();
    let name = name.rsplit('.').next().unwrap_or(name).to_ascii_lowercase();
    let (at, _) = lower
        .match_indices(&name)
        .find(|(at, _)| !lower[..*at].ends_with(is_word) && !lower[at + name.len()..].starts_with(is_word))?;
    let line_start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    Some(Position {
        file: "".into(),
        line: text[..at].matches('\n').count() as u64 + 1,
        column: text[line_start..at].chars().count() as u64 + 1,
        width: name.chars().count() as u64,
    })
}

/// A position as PostgreSQL counts it: characters from the start of the text, from 1.
pub fn character_of(position: &Position, text: &str) -> usize {
    let before = text.split_inclusive('\n').take(position.line.saturating_sub(1) as usize);
    before.map(|line| line.chars().count()).sum::<usize>() + position.column as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_that_are_not_there_are_suggested_and_placed() {
        let error = DataFusionError::Plan("table 'thalweg.public.ordrs' not found".into());
        let found = explain(&error, "SELECT *\nFROM ordrs", &["orders".into()]);
        assert_eq!((found.code, found.error.message.as_str()), (NO_TABLE, "relation \"ordrs\" does not exist"));
        assert_eq!(found.error.hint.as_deref(), Some("Did you mean \"orders\"?"));
        let position = found.error.position.unwrap();
        assert_eq!((position.line, position.column), (2, 6));
        assert_eq!(character_of(&position, "SELECT *\nFROM ordrs"), 15);
    }

    #[test]
    fn syntax_errors_have_a_place() {
        let parser = ParserError::ParserError("Expected: an expression, found: FROM at Line: 1, Column: 8".into());
        let found = explain(&DataFusionError::SQL(Box::new(parser), None), "SELECT FROM t", &[]);
        assert_eq!(found.error.message, "syntax error: expected: an expression, found: FROM");
        assert_eq!(found.error.position.map(|p| (p.line, p.column)), Some((1, 8)));
    }
}
