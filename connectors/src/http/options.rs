//! The options of the connector: the manual, and what they come to.

use arrow::datatypes::SchemaRef;
use std::time::Duration;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::options::{OptionKind, OptionSpec};
use thalweg_schemas::source::SourceRequest;

/// The options of the source.
pub(super) const SOURCE: &[OptionSpec] = &[
    OptionSpec {
        name: "listen",
        kind: OptionKind::Text,
        default: None,
        required: true,
        doc: "The address to listen on, such as '127.0.0.1:8080'. Several sources may share one, each with a path of its own.",
    },
    OptionSpec {
        name: "path",
        kind: OptionKind::Text,
        default: None,
        required: false,
        doc: "The path that records are posted to; '/' and the source's name unless it is given.",
    },
    OptionSpec {
        name: "auth",
        kind: OptionKind::Text,
        default: None,
        required: false,
        doc: "The token that a request must bear ('Authorization: Bearer ...'); without it anybody may post.",
    },
    OptionSpec {
        name: "body_max",
        kind: OptionKind::Size,
        default: Some("16MB"),
        required: false,
        doc: "How large a body may be, both as it is sent and decompressed; a larger one is answered with 413.",
    },
    OptionSpec {
        name: "buffer",
        kind: OptionKind::Size,
        default: Some("64MB"),
        required: false,
        doc: "How much may wait for the pipeline; beyond it requests are answered with 429 until there is room.",
    },
    OptionSpec {
        name: "timeout",
        kind: OptionKind::Duration,
        default: Some("30s"),
        required: false,
        doc: "How long a body may take to arrive, and how long a request waits until its records are durable.",
    },
    OptionSpec {
        name: "idempotency_window",
        kind: OptionKind::Duration,
        default: Some("10 minutes"),
        required: false,
        doc: "How long an Idempotency-Key is remembered (the last 100,000 of them).",
    },
];

/// What a source is opened with.
#[derive(Clone)]
pub(super) struct HttpOptions {
    pub source: String,
    pub listen: String,
    pub path: String,
    pub token: Option<String>,
    pub body_max: usize,
    pub buffer: usize,
    pub timeout: Duration,
    pub idempotency_window: Duration,
    /// The format of what says nothing of itself.
    pub format: String,
    /// Whether the first line of a CSV body names its columns.
    pub csv_header: bool,
    pub fields: SchemaRef,
}

impl HttpOptions {
    pub(super) fn read(request: &SourceRequest) -> Result<HttpOptions> {
        let options = &request.options;
        let path = match options.get("path") {
            None => format!("/{}", request.name),
            Some(path) if is_path(path) => path.to_string(),
            Some(path) => {
                return Err(Error::user(format!("option \"path\" takes a path such as '/events', not '{path}'"))
                    .with_hint("It begins with '/' and has no blanks, '?' or '#'."));
            }
        };
        let token = options.get("auth").map(token);
        if token.is_some_and(str::is_empty) {
            return Err(Error::user("option \"auth\" is given and holds no token").with_hint(
                "Write auth = '${NAME}' with a variable that is set, or leave it out to let anybody post.",
            ));
        }
        let bytes = |name: &str| usize::try_from(options.size(name).unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        Ok(HttpOptions {
            source: request.name.clone(),
            listen: options.get("listen").unwrap_or_default().to_string(),
            path,
            token: token.map(str::to_string),
            body_max: bytes("body_max"),
            buffer: bytes("buffer"),
            timeout: options.duration("timeout").unwrap_or_default(),
            idempotency_window: options.duration("idempotency_window").unwrap_or_default(),
            format: request.format.clone().unwrap_or_else(|| "json".to_string()),
            csv_header: request.format_options.get("header") != Some("false"),
            fields: request.fields.clone(),
        })
    }
}

fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.chars().all(|c| c.is_ascii_graphic() && c != '?' && c != '#')
}

/// The token alone, also where it is written as a header has it: `Bearer ...`, or `bearer:...`.
fn token(auth: &str) -> &str {
    let auth = auth.trim_start();
    let scheme = auth.get(..6).filter(|scheme| scheme.eq_ignore_ascii_case("bearer"));
    let rest = scheme.and_then(|_| auth[6..].strip_prefix([' ', ':']));
    rest.unwrap_or(auth).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_may_be_written_as_the_header_has_it() {
        for auth in ["s3cret", "Bearer s3cret", "bearer:s3cret", " bearer  s3cret "] {
            assert_eq!(token(auth), "s3cret", "{auth}");
        }
        assert_eq!((token("bearer"), token("Bearer "), token("bearers")), ("bearer", "", "bearers"));
    }

    #[test]
    fn paths_are_what_a_request_line_can_hold() {
        assert!(is_path("/") && is_path("/v1/events"));
        assert!(!is_path("events") && !is_path("/a b") && !is_path("/a?b") && !is_path(""));
    }
}
