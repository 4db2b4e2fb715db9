//! What a statement says about the requests to make.

use super::call::{AUTH, CA, CallOptions, HEADERS, PROXY, TIMEOUT, headers_of};
use super::target::Target;
use thalweg_schemas::error::Result;
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
        doc: "Where the requests go: https://host:port/path.",
    },
    option("method", OptionKind::OneOf(&["POST", "PUT"]), Some("POST"), "How."),
    option(
        "body",
        OptionKind::OneOf(&["array", "ndjson"]),
        Some("array"),
        "One JSON array of objects, or one object a line.",
    ),
    AUTH,
    HEADERS,
    option("batch_rows", OptionKind::Count, Some("1000"), "How many rows a request has at most."),
    TIMEOUT,
    CA,
    PROXY,
];

/// The options, read.
#[derive(Clone)]
pub(super) struct WebhookOptions {
    pub name: String,
    pub target: Target,
    pub put: bool,
    pub lines: bool,
    pub headers: Vec<(String, String)>,
    pub batch_rows: usize,
    pub call: CallOptions,
    /// What the keys of all requests begin with.
    pub key: String,
}

impl WebhookOptions {
    pub(super) fn read(request: &SinkRequest) -> Result<WebhookOptions> {
        let options = &request.options;
        let url = options.get("url").unwrap_or_default();
        // Who writes the pipeline says where its rows go.
        let owner = format!("sink \"{}\"", request.name);
        let target = Target::parse(&owner, "url", url, true)?;
        let lines = options.get("body") == Some("ndjson");
        let content = if lines { "application/x-ndjson" } else { "application/json" };
        let plain = |text: &str| text.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        Ok(WebhookOptions {
            name: request.name.clone(),
            put: options.get("method") == Some("PUT"),
            lines,
            headers: headers_of(&owner, options, content)?,
            batch_rows: options.count("batch_rows").unwrap_or(1_000).max(1) as usize,
            call: CallOptions::of(options),
            key: format!("{}-{}", plain(&request.lineage), plain(&request.name)),
            target,
        })
    }
}
