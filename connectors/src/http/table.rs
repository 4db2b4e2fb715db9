//! A table that a service gives: a GET whose answer is a JSON list of objects, or an object a line. Where single rows are
//! asked for, a GET a key, of an address in which `{column}` stands for its values; several at once.

use crate::asked::{CACHE_ROWS, CACHE_TTL};
use crate::header::header;
use crate::snapshots::{self, CACHE, CACHE_OF_KEYS, Fetch, REFRESH, SIZE_MAX, Take};
use arrow::datatypes::DataType;
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
        doc: "What is asked for, whole: https://host/path?query. The answer is a JSON list of objects, or an object a line. With \
              cache = 'lru' {column} stands for the value of each column of the key: https://host/services/{service}; the \
              answer is its object, or 404.",
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
    CACHE_OF_KEYS,
    CACHE_ROWS,
    CACHE_TTL,
    REFRESH,
    SIZE_MAX,
];

/// So many keys are asked for at once.
const AT_ONCE: usize = 8;
/// How much of an answer that is refused is shown.
const ANSWER_CHARS: usize = 200;

/// Opens it.
pub(super) fn open(request: SourceRequest) -> Result<Arc<dyn Source>> {
    let service = read(&request)?;
    snapshots::open(&request, Some("json"), service)
}

/// Whether it could be opened, as far as its options say.
pub(super) fn check(request: &SourceRequest) -> Result<()> {
    read(request).map(drop)
}

fn read(request: &SourceRequest) -> Result<Service> {
    let url = request.options.get("url").unwrap_or_default().to_string();
    if !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
        let error =
            Error::user(format!("option \"url\" of table \"{}\" is not the address of a service", request.name));
        return Err(error.with_hint("Write it as 'https://host/path?query'."));
    }
    let bare = |data_type: &DataType| data_type.is_numeric() || *data_type == DataType::Boolean;
    let fields = request.key.iter().map(|at| request.fields.field(*at));
    let key: Vec<(String, bool)> = fields.map(|field| (field.name().clone(), bare(field.data_type()))).collect();
    if request.options.get(CACHE.name) == Some("lru")
        && let Some((missing, _)) = key.iter().find(|(column, _)| !url.contains(&format!("{{{column}}}")))
    {
        let error =
            Error::user(format!("option \"url\" of table \"{}\" does not say where {missing} goes", request.name))
                .with_detail("With cache = 'lru' the service is asked for the row of one key at a time.");
        return Err(error.with_hint(format!("Write it as 'https://host/path/{{{missing}}}'.")));
    }
    let config = Agent::config_builder()
        .timeout_global(request.options.duration("timeout").or(Some(Duration::from_secs(30))))
        .http_status_as_error(false);
    Ok(Service {
        auth: header(request, "auth", "Authorization: Bearer ${TOKEN}")?,
        url,
        key,
        body_max: request.options.size(SIZE_MAX.name).unwrap_or(u64::MAX),
        agent: config.build().new_agent(),
    })
}

struct Service {
    url: String,
    /// The names of the key's columns, and whether JSON writes their values as they are, without quotes.
    key: Vec<(String, bool)>,
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

    fn fetch(&self, take: Take<'_>) -> Result<()> {
        let body = self.get(&self.url)?.ok_or_else(|| Error::retry("the service answered 404 Not Found"))?;
        take(None, Payload::Bytes(lines(&body)?))
    }

    fn find(&self, keys: &[Vec<String>], take: Take<'_>) -> Result<()> {
        let share = keys.len().div_ceil(AT_ONCE).max(1);
        let found = std::thread::scope(|scope| {
            let find = |keys| move || -> Result<Vec<u8>> { self.found(keys) };
            let threads: Vec<_> = keys.chunks(share).map(|keys| scope.spawn(find(keys))).collect();
            let ended = |_| Err(Error::bug("a thread that asks a service ended in a panic"));
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(ended)).collect::<Result<Vec<_>>>()
        });
        take(None, Payload::Bytes(found?.concat()))
    }
}

impl Service {
    /// The rows of some keys, a line each. What an answer does not say of the key, the question does.
    fn found(&self, keys: &[Vec<String>]) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        for key in keys {
            let url = self.key.iter().zip(key).fold(self.url.clone(), |url, ((column, _), value)| {
                url.replace(&format!("{{{column}}}"), &encoded(value))
            });
            let Some(body) = self.get(&url)? else { continue };
            let not_json = |error| Error::retry(format!("the answer is no JSON: {error}"));
            for line in lines(&body)?.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let mut row: serde_json::Value = serde_json::from_slice(line).map_err(not_json)?;
                let Some(object) = row.as_object_mut() else { continue };
                for ((column, bare), value) in self.key.iter().zip(key) {
                    let text = || value.clone().into();
                    let value = || if *bare { serde_json::from_str(value).unwrap_or_else(|_| text()) } else { text() };
                    object.entry(column.clone()).or_insert_with(value);
                }
                all.extend(row.to_string().into_bytes());
                all.push(b'\n');
            }
        }
        Ok(all)
    }

    /// The body of an answer; `None` where there is nothing at the address.
    fn get(&self, url: &str) -> Result<Option<String>> {
        let failed = |error: ureq::Error| Error::retry(error.to_string());
        let mut request = self.agent.get(url).header("Accept", "application/json, application/x-ndjson");
        if let Some((name, value)) = &self.auth {
            request = request.header(name, value);
        }
        let mut response = request.call().map_err(failed)?;
        let status = response.status();
        let body = response.body_mut().with_config().limit(self.body_max).read_to_string();
        if status == ureq::http::StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !status.is_success() {
            let body = body.unwrap_or_default();
            let answer: String = body.chars().filter(|c| !c.is_control()).take(ANSWER_CHARS).collect();
            return Err(Error::retry(format!("the service answered {status}: {answer}")));
        }
        body.map_err(failed).map(Some)
    }
}

fn lines(body: &str) -> Result<Vec<u8>> {
    let lines = json::to_lines(body.trim_start_matches('\u{feff}'));
    lines.map(|lines| lines.text).map_err(|reason| Error::retry(format!("the answer is {reason}")))
}

/// `value` as a part of an address: what is not a letter, a digit or one of `-._~` as `%XX` (RFC 3986, 2.1 and 2.3).
fn encoded(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    value.bytes().map(|byte| if plain(byte) { (byte as char).to_string() } else { format!("%{byte:02X}") }).collect()
}
