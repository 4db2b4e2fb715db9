//! What a sender is told: how many rows were taken, or why none were, as `{"error": ..., "hint": ...}`.

use axum::http::header::{ALLOW, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use std::fmt::Write;

/// Told to whoever repeats a request that was taken already.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The records were taken, and are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub rows: usize,
    /// Whether an earlier request with the same key brought them.
    pub repeated: bool,
}

impl IntoResponse for Taken {
    fn into_response(self) -> Response {
        let body = format!("{{\"rows\":{}}}\n", self.rows);
        let mut response = (StatusCode::OK, [(CONTENT_TYPE, "application/json")], body).into_response();
        if self.repeated {
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}

/// Nothing was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub status: StatusCode,
    pub error: String,
    pub hint: Option<&'static str>,
}

impl Refused {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Refused {
        Refused { status, error: error.into(), hint: None }
    }

    pub(super) fn with_hint(mut self, hint: &'static str) -> Refused {
        self.hint = Some(hint);
        self
    }

    /// There is no room.
    pub(super) fn busy() -> Refused {
        Refused::new(StatusCode::TOO_MANY_REQUESTS, "the pipeline has not taken in yet what is waiting for it")
            .with_hint("Send the request again after the time in Retry-After; nothing of it was taken.")
    }

    /// The pipeline has taken the records in, and has not written them down in time.
    pub(super) fn unknown() -> Refused {
        let error = "the records were taken, and it is not known yet whether they would survive a crash";
        Refused::new(StatusCode::SERVICE_UNAVAILABLE, error)
            .with_hint("Send the request again with the same Idempotency-Key to hear what became of it.")
    }

    /// The source closed before the records were known to be durable.
    pub(super) fn closing() -> Refused {
        Refused::new(StatusCode::SERVICE_UNAVAILABLE, "the pipeline stops, and the records may not be taken in")
            .with_hint("Send the request again; with an Idempotency-Key it is not taken twice.")
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut body = String::from("{\"error\":");
        push_json(&mut body, &self.error);
        if let Some(hint) = self.hint {
            body.push_str(",\"hint\":");
            push_json(&mut body, hint);
        }
        body.push_str("}\n");
        let mut response = (self.status, [(CONTENT_TYPE, "application/json")], body).into_response();
        let header = match self.status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Some((RETRY_AFTER, "1")),
            StatusCode::UNAUTHORIZED => Some((WWW_AUTHENTICATE, "Bearer")),
            StatusCode::METHOD_NOT_ALLOWED => Some((ALLOW, "POST")),
            _ => None,
        };
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// Appends `text` as a JSON string.
fn push_json(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            // Writing to a string does not fail.
            c if c.is_control() => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_written_as_json() {
        let mut out = String::new();
        push_json(&mut out, "a \"b\"\\\n\u{1}ü");
        assert_eq!(out, "\"a \\\"b\\\"\\\\\\u000a\\u0001ü\"");
    }

    #[test]
    fn whoever_is_refused_for_a_time_is_told_when_to_come_again() {
        let response = Refused::busy().into_response();
        assert_eq!((response.status().as_u16(), &response.headers()[RETRY_AFTER]), (429, &"1".parse().unwrap()));
        assert_eq!(Refused::new(StatusCode::UNAUTHORIZED, "").into_response().headers()[WWW_AUTHENTICATE], "Bearer");
    }
}
