//! One request to a server outside, and what its answer means to the one who has something to deliver: taken, not now, or
//! never. No redirect is followed: it would carry what is meant for one server to another.

use super::target::{Guard, Target};
use chrono::DateTime;
use std::path::{Path, PathBuf};
use std::time::Duration;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::options::{OptionKind, OptionSpec, Options};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Proxy};

/// How much of an answer is shown.
const ANSWER_CHARS: usize = 200;
/// How much of an answer is read.
const ANSWER_BYTES: u64 = 4_096;

const fn option(name: &'static str, kind: OptionKind, default: Option<&'static str>, doc: &'static str) -> OptionSpec {
    OptionSpec { name, kind, default, required: false, doc }
}

/// How long an answer is waited for.
pub const TIMEOUT: OptionSpec =
    option("timeout", OptionKind::Duration, Some("10s"), "How long an answer is waited for.");
/// Whose signature a server's certificate must bear.
pub const CA: OptionSpec =
    option("ca", OptionKind::Text, None, "A PEM file of certificates that the server's is to be signed by.");
/// The proxy of requests.
pub const PROXY: OptionSpec =
    option("proxy", OptionKind::Text, None, "The proxy that requests go through: http://host:port.");
/// The token of requests.
pub const AUTH: OptionSpec = option(
    "auth",
    OptionKind::Text,
    None,
    "A bearer token, or 'Basic ..'; better as '${NAME}' from the environment than written out.",
);
/// Further headers of requests.
pub const HEADERS: OptionSpec =
    option("headers", OptionKind::Text, None, "More headers, as 'X-Team: core; X-Stage: test'.");

/// How a server is called.
#[derive(Clone, Debug)]
pub struct CallOptions {
    /// How long an answer is waited for.
    pub timeout: Duration,
    /// Who calls, as the server sees it.
    pub user_agent: String,
    /// A file of certificates, in PEM, that a server's is to be signed by; `None`: those that browsers know.
    pub ca: Option<PathBuf>,
    /// The proxy that requests go through: `http://host:port`.
    pub proxy: Option<String>,
}

impl CallOptions {
    /// What the options `timeout`, `ca` and `proxy` say.
    pub fn of(options: &Options) -> CallOptions {
        CallOptions {
            timeout: options.duration("timeout").unwrap_or(Duration::from_secs(10)),
            user_agent: concat!("thalweg/", env!("CARGO_PKG_VERSION")).to_string(),
            ca: options.get("ca").map(PathBuf::from),
            proxy: options.get("proxy").map(str::to_string),
        }
    }
}

/// What calls one server, over connections that it keeps.
#[derive(Clone, Debug)]
pub struct Caller {
    agent: Agent,
    target: Target,
}

/// What a server made of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has taken it.
    Taken {
        /// Its status.
        status: u16,
        /// What it answered, cut off after a while.
        body: String,
    },
    /// It has not, and may later.
    Failed {
        /// Its status, if it answered.
        status: Option<u16>,
        /// What happened, for people.
        said: String,
        /// How long it asks to be left alone.
        pause: Option<Duration>,
        /// Whether it may have taken it all the same.
        ambiguous: bool,
    },
    /// It does not take such a request.
    Refused {
        /// Its status, if it answered.
        status: Option<u16>,
        /// What happened, for people.
        said: String,
    },
}

impl Caller {
    /// What calls `target`.
    pub fn new(target: Target, options: &CallOptions) -> Result<Caller> {
        let certificates = match &options.ca {
            Some(path) => RootCerts::new_with_certs(&certificates(path)?),
            None => RootCerts::WebPki,
        };
        let proxy = options.proxy.as_deref().map(|proxy| {
            Proxy::new(proxy).map_err(|_| {
                Error::user(format!("'{proxy}' is not the address of a proxy"))
                    .with_hint("Write it as 'http://host:port'.")
            })
        });
        let proxy = proxy.transpose()?;
        let guard = Guard::of(&target, proxy.is_some());
        let config = Agent::config_builder()
            .timeout_global(Some(options.timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(&options.user_agent)
            .tls_config(TlsConfig::builder().root_certs(certificates).build())
            // Only what the pipeline says: the environment's proxy is for other programs.
            .proxy(proxy)
            .build();
        let agent = Agent::with_parts(config, DefaultConnector::default(), guard);
        Ok(Caller { agent, target })
    }

    /// Makes a request: `put` instead of POST.
    pub fn call(&self, put: bool, headers: &[(String, String)], body: &[u8]) -> Answer {
        let url = self.target.url();
        let mut request = if put { self.agent.put(url) } else { self.agent.post(url) };
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let mut response = match request.send(body) {
            Ok(response) => response,
            Err(error) => return without_answer(&error),
        };
        let status = response.status();
        let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::trim);
        let pause = header("retry-after").and_then(|after| pause(after, header("date")));
        let answer = response.body_mut().with_config().limit(ANSWER_BYTES).read_to_string().unwrap_or_default();
        let answer: String = answer.chars().filter(|c| !c.is_control()).take(ANSWER_CHARS).collect();
        if status.is_success() {
            return Answer::Taken { status: status.as_u16(), body: answer };
        }
        let said = format!("the server answered {status}: {answer}");
        let said = said.trim_end_matches([':', ' ']).to_string();
        let status = status.as_u16();
        match status {
            408 | 425 | 429 | 500.. => {
                Answer::Failed { status: Some(status), said, pause, ambiguous: may_have_taken(status) }
            }
            _ => Answer::Refused { status: Some(status), said },
        }
    }
}

/// How long a server asks to be left alone: so many seconds, or until a date, which counts from the server's own (RFC 9110,
/// 10.2.3), since its clock need not be ours.
fn pause(after: &str, date: Option<&str>) -> Option<Duration> {
    if let Ok(seconds) = after.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let moment = |text: &str| DateTime::parse_from_rfc2822(text).ok();
    (moment(after)? - moment(date?)?).to_std().ok()
}

/// Whether a server that answered a request with `status` may have taken it all the same: it broke off on the way, or does
/// not know what the server behind it did. That it never began is what the others say of themselves (RFC 9110, 15.6).
fn may_have_taken(status: u16) -> bool {
    matches!(status, 408 | 500..) && !matches!(status, 501 | 503 | 505)
}

/// The certificates in a file.
fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>> {
    let pem = std::fs::read(path).map_err(|error| Error::io(path.display(), &error))?;
    let items: Result<Vec<PemItem>, ureq::Error> = parse_pem(&pem).collect();
    let certificates = items.into_iter().flatten().filter_map(|item| match item {
        PemItem::Certificate(certificate) => Some(certificate),
        _ => None,
    });
    let certificates: Vec<Certificate> = certificates.collect();
    if certificates.is_empty() {
        return Err(Error::user(format!("{} holds no certificate", path.display()))
            .with_hint("Name a file that begins with -----BEGIN CERTIFICATE-----."));
    }
    Ok(certificates)
}

/// What it means that no answer came.
fn without_answer(error: &ureq::Error) -> Answer {
    use std::io::ErrorKind;
    use ureq::{Error, Timeout};
    let said = match error {
        // The guard's own words.
        Error::Other(error) => error.to_string(),
        error => error.to_string(),
    };
    let ambiguous = match error {
        Error::HostNotFound | Error::ConnectionFailed | Error::Tls(_) | Error::Rustls(_) => false,
        Error::Timeout(Timeout::Resolve | Timeout::Connect) => false,
        Error::Io(error) => error.kind() != ErrorKind::ConnectionRefused,
        Error::BadUri(_) | Error::Http(_) => return Answer::Refused { status: None, said },
        Error::Other(_) => return Answer::Refused { status: None, said },
        _ => true,
    };
    Answer::Failed { status: None, said, pause: None, ambiguous }
}

/// The headers that the options `headers` and `auth` of `owner` say, and the type of what is sent.
pub fn headers_of(owner: &str, options: &Options, content_type: &str) -> Result<Vec<(String, String)>> {
    let mut headers = headers(owner, options.get(HEADERS.name).unwrap_or_default())?;
    if let Some(token) = options.get(AUTH.name) {
        sendable(owner, token)?;
        // A token has no spaces (RFC 6750, 2.1): what has one names its scheme, as in 'Basic YWxhZGRpbjpzZXNhbWU='.
        let value = if token.contains(' ') { token.to_string() } else { format!("Bearer {token}") };
        headers.push(("Authorization".to_string(), value));
    }
    headers.push(("Content-Type".to_string(), content_type.to_string()));
    Ok(headers)
}

/// The headers in a text: `X-Team: core; X-Stage: test`.
fn headers(owner: &str, text: &str) -> Result<Vec<(String, String)>> {
    let is_token = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    let headers = text.split(';').map(str::trim).filter(|header| !header.is_empty()).map(|header| {
        let known = header.split_once(':').map(|(name, value)| (name.trim(), value.trim()));
        let (name, value) = known.filter(|(name, _)| is_token(name)).ok_or_else(|| {
            Error::user(format!("option \"headers\" of {owner} is not a list of headers"))
                .with_hint("Write it as 'X-Team: core; X-Stage: test'.")
        })?;
        sendable(owner, value)?;
        Ok((name.to_string(), value.to_string()))
    });
    headers.collect()
}

fn sendable(owner: &str, value: &str) -> Result<()> {
    if value.chars().any(|c| c.is_control() || !c.is_ascii()) {
        return Err(Error::user(format!("a header of {owner} has characters that headers cannot have")));
    }
    Ok(())
}
