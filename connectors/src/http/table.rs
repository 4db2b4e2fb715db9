//! A table that a service gives: a GET whose answer is a JSON list of objects, or an object a line.

use crate::header::header;
use crate::snapshots::{self, CACHE, Fetch, REFRESH, SIZE_MAX};
use std::sync::Arc;
use std::time::Duration;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::format::json;
use thalweg_schemas::options::{OptionKind, OptionSpec};
use thalweg_schemas::source::{Payload, Source, SourceRequest};
use ureq::Agent;

/// The options of the table.
pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "url",
        kind: OptionKind::Text,
        default: None,
        required: true,
        doc: "What is asked for, whole: https://host/path?query. The answer is a JSON list of objects, or an object a line.",
    },
    OptionSpec {
        name: "auth",
        kind: OptionKind::Text,
        default: None,
        required: false,
        doc: "A header that goes along, as 'Authorization: Bearer ${TOKEN}'.",
    },
    OptionSpec {
        name: "timeout",
        kind: OptionKind::Duration,
        default: Some("30s"),
        required: false,
        doc: "How long an answer may take.",
    },
    CACHE,
    REFRESH,
    SIZE_MAX,
];

/// How much of an answer that is refused is shown.
const ANSWER_CHARS: usize = 200;

/// Opens it.
pub(super) fn open(request: SourceRequest) -> Result<Arc<dyn Source>> {
    let url = request.options.get("url").unwrap_or_default().to_string();
    if !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
        let error =
            Error::user(format!("option \"url\" of table \"{}\" is not the address of a service", request.name));
        return Err(error.with_hint("Write it as 'https://host/path?query'."));
    }
    let config = Agent::config_builder()
        .timeout_global(request.options.duration("timeout").or(Some(Duration::from_secs(30))))
        .http_status_as_error(false);
    let service = Service {
        auth: header(&request, "auth", "Authorization: Bearer ${TOKEN}")?,
        url,
        body_max: request.options.size(SIZE_MAX.name).unwrap_or(u64::MAX),
        agent: config.build().new_agent(),
    };
    snapshots::open(&request, Some("json"), service)
}

struct Service {
    url: String,
    auth: Option<(String, String)>,
    body_max: u64,
    agent: Agent,
}

impl Fetch for Service {
    fn place(&self) -> String {
        let rest = self.url.split_once("://").map_or(self.url.as_str(), |(_, rest)| rest);
        let path = rest.split(['?', '#']).next().unwrap_or_default();
        path.rsplit('@').next().unwrap_or_default().to_string()
    }

    fn fetch(&self, take: &mut dyn FnMut(Option<&[u8]>, Payload) -> Result<()>) -> Result<()> {
        let failed = |error: ureq::Error| Error::retry(error.to_string());
        let mut request = self.agent.get(&self.url).header("Accept", "application/json, application/x-ndjson");
        if let Some((name, value)) = &self.auth {
            request = request.header(name, value);
        }
        let mut response = request.call().map_err(failed)?;
        let status = response.status();
        let body = response.body_mut().with_config().limit(self.body_max).read_to_string();
        if !status.is_success() {
            let body = body.unwrap_or_default();
            let answer: String = body.chars().filter(|c| !c.is_control()).take(ANSWER_CHARS).collect();
            return Err(Error::retry(format!("the service answered {status}: {answer}")));
        }
        let body = body.map_err(failed)?;
        let lines = json::to_lines(body.trim_start_matches('\u{feff}'));
        let lines = lines.map_err(|reason| Error::retry(format!("the answer is {reason}")))?;
        take(None, Payload::Bytes(lines.text))
    }
}
