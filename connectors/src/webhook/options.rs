//! What a statement says about the requests to make.

use std::time::Duration;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::options::{OptionKind, OptionSpec};
use thalweg_schemas::sink::SinkRequest;

const fn option(name: &'static str, kind: OptionKind, default: Option<&'static str>, doc: &'static str) -> OptionSpec {
    OptionSpec { name, kind, default, required: false, doc }
}

/// The options of the sink.
pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "url",
        kind: OptionKind::Text,
        default: None,
        required: true,
        doc: "Where the requests go: http://host:port/path.",
    },
    option("method", OptionKind::OneOf(&["POST", "PUT"]), Some("POST"), "How."),
    option(
        "body",
        OptionKind::OneOf(&["array", "ndjson"]),
        Some("array"),
        "One JSON array of objects, or one object a line.",
    ),
    option(
        "auth",
        OptionKind::Text,
        None,
        "A bearer token; better as '${NAME}' from the environment than written out.",
    ),
    option("headers", OptionKind::Text, None, "More headers, as 'X-Team: core; X-Stage: test'."),
    option("batch_rows", OptionKind::Count, Some("1000"), "How many rows a request has at most."),
    option("timeout", OptionKind::Duration, Some("10s"), "How long an answer is waited for."),
];

/// The options, read.
#[derive(Clone)]
pub(super) struct WebhookOptions {
    pub name: String,
    pub url: String,
    /// The address without what may be secret in it, for messages.
    pub host: String,
    pub put: bool,
    pub lines: bool,
    pub headers: Vec<(String, String)>,
    pub batch_rows: usize,
    pub timeout: Duration,
    /// What the keys of all requests begin with.
    pub key: String,
}

impl WebhookOptions {
    pub(super) fn read(request: &SinkRequest) -> Result<WebhookOptions> {
        let options = &request.options;
        let url = options.get("url").unwrap_or_default().to_string();
        if url.starts_with("https://") {
            return Err(Error::user(format!("sink \"{}\" cannot speak https yet", request.name))
                .with_hint("Name an http:// address: a proxy on this machine can encrypt."));
        }
        let Some(rest) = url.strip_prefix("http://").filter(|rest| !rest.is_empty()) else {
            return Err(Error::user(format!(
                "option \"url\" of sink \"{}\" is not the address of a server",
                request.name
            ))
            .with_hint("Write it as 'http://host:port/path'."));
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default().to_string();
        let mut headers = Vec::new();
        for header in options.get("headers").unwrap_or_default().split(';').map(str::trim).filter(|h| !h.is_empty()) {
            let known = header.split_once(':').map(|(name, value)| (name.trim(), value.trim()));
            let Some((name, value)) = known.filter(|(name, _)| is_token(name)) else {
                return Err(Error::user(format!(
                    "option \"headers\" of sink \"{}\" is not a list of headers",
                    request.name
                ))
                .with_hint("Write it as 'X-Team: core; X-Stage: test'."));
            };
            headers.push((name.to_string(), value.to_string()));
        }
        if let Some(token) = options.get("auth") {
            headers.push(("Authorization".into(), format!("Bearer {token}")));
        }
        if headers.iter().any(|(_, value)| value.chars().any(|c| c.is_control() || !c.is_ascii())) {
            return Err(Error::user(format!(
                "a header of sink \"{}\" has characters that headers cannot have",
                request.name
            )));
        }
        let lines = options.get("body") == Some("ndjson");
        let content = if lines { "application/x-ndjson" } else { "application/json" };
        headers.push(("Content-Type".into(), content.into()));
        let plain = |text: &str| text.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        Ok(WebhookOptions {
            name: request.name.clone(),
            host,
            put: options.get("method") == Some("PUT"),
            lines,
            headers,
            batch_rows: options.count("batch_rows").unwrap_or(1_000).max(1) as usize,
            timeout: options.duration("timeout").unwrap_or(Duration::from_secs(10)),
            key: format!("{}-{}", plain(&request.lineage), plain(&request.name)),
            url,
        })
    }
}

fn is_token(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
}
