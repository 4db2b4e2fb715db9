//! Errors over HTTP: a status, and `{"error": {message, detail, hint, position, code}}`.

use crate::sql_error::SqlError;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use thalweg_schemas::error::ErrorKind;

/// An error on its way to a client.
pub struct Problem(pub SqlError);

impl From<SqlError> for Problem {
    fn from(error: SqlError) -> Problem {
        Problem(error)
    }
}

impl Problem {
    /// A mistake in the request itself.
    pub fn request(message: impl Into<String>) -> Problem {
        Problem(SqlError::user(crate::sql_error::BAD_PARAMETER, message))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Problem(SqlError { code, error }) = self;
        let status = match error.kind {
            ErrorKind::User | ErrorKind::Data => StatusCode::BAD_REQUEST,
            ErrorKind::Retry => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Outside | ErrorKind::Bug => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let position = error.position.map(|position| json!({ "line": position.line, "column": position.column }));
        let body = json!({ "error": {
            "message": error.message,
            "detail": error.detail,
            "hint": error.hint,
            "position": position,
            "code": code,
        }});
        (status, Json(body)).into_response()
    }
}
