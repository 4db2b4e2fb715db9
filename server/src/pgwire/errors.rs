//! Errors as the protocol carries them: severity, SQLSTATE, message, detail, hint, position.

use crate::sql_error::{CANCELED, SqlError, character_of};
use pgwire::error::{ErrorInfo, PgWireError};
use std::fmt::Display;

/// An error in statement `text`, which begins after `start` characters of what the client sent.
pub fn at(error: SqlError, text: &str, start: usize) -> PgWireError {
    let mut info = info("ERROR", &error);
    info.position = error.error.position.map(|position| (character_of(&position, text) + start).to_string());
    PgWireError::UserError(Box::new(info))
}

/// An error that is not about a place in a statement.
pub fn plain(error: SqlError) -> PgWireError {
    PgWireError::UserError(Box::new(info("ERROR", &error)))
}

/// An error that ends the connection.
pub fn fatal(error: SqlError) -> PgWireError {
    PgWireError::UserError(Box::new(info("FATAL", &error)))
}

/// What is worth a word though a statement was carried out.
pub fn notice(notice: thalweg_schemas::error::Error) -> ErrorInfo {
    info("NOTICE", &SqlError { code: "00000", error: notice })
}

/// A statement took longer than `statement_timeout` lets it.
pub fn timed_out() -> PgWireError {
    plain(SqlError::user(CANCELED, "canceling statement due to statement timeout"))
}

/// An error of ours.
pub fn internal(error: impl Display) -> PgWireError {
    plain(thalweg_schemas::error::Error::bug(error.to_string()).into())
}

fn info(severity: &str, error: &SqlError) -> ErrorInfo {
    let mut info = ErrorInfo::new(severity.to_string(), error.code.to_string(), error.error.message.clone());
    info.severity_nonlocalized = Some(severity.to_string());
    info.detail = error.error.detail.clone();
    info.hint = error.error.hint.clone();
    info
}
