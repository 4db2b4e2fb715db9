//! `CREATE NOTIFIER`: its types and options, and how one speaks to its receiver.

use crate::config::{GroupBy, Policy};
use crate::matchers;
use crate::notification::{Notification, Outcome};
use crate::payload::standard::Secrets;
use crate::payload::template::Template;
use crate::payload::{alertmanager, pagerduty, slack, standard};
use crate::time::SECOND;
use thalweg_connectors::webhook::call::{Answer, CallOptions, Caller, bearer, headers};
use thalweg_connectors::webhook::target::Target;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::options::{OptionKind, OptionSpec, Options};

/// The types.
pub const TYPES: &[&str] = &["webhook", "slack", "pagerduty", "alertmanager"];

const fn option(name: &'static str, kind: OptionKind, default: Option<&'static str>, doc: &'static str) -> OptionSpec {
    OptionSpec { name, kind, default, required: false, doc }
}

const fn required(name: &'static str, doc: &'static str) -> OptionSpec {
    OptionSpec { name, kind: OptionKind::Text, default: None, required: true, doc }
}

/// The options of every type.
const EVERY: &[OptionSpec] = &[
    OptionSpec { name: "type", kind: OptionKind::OneOf(TYPES), default: None, required: true, doc: "What is told." },
    option("matchers", OptionKind::Text, None, "Only alerts whose labels match are told: 'severity=\"critical\"'."),
    option("group_by", OptionKind::Text, None, "The labels that alerts of one message have in common; '...' for all."),
    option("group_wait", OptionKind::Duration, None, "How long a new group waits for more alerts."),
    option("group_interval", OptionKind::Duration, None, "The rhythm in which a group tells what is new."),
    option("repeat_interval", OptionKind::Duration, None, "After how long what still fires is told again."),
    option("send_resolved", OptionKind::Flag, Some("true"), "Whether it is told that an alert is over."),
    option("max_alerts", OptionKind::Count, Some("0"), "How many alerts a message has at most; 0: no limit."),
    option("timeout", OptionKind::Duration, Some("10s"), "How long an answer is waited for."),
    option("concurrency", OptionKind::Count, Some("4"), "How many messages are sent at the same time."),
    option(
        "rate_limit",
        OptionKind::Count,
        Some("0"),
        "How many messages are sent in a second at most; 0: any number.",
    ),
    option("ca", OptionKind::Text, None, "A PEM file of certificates that the server's is to be signed by."),
    option("proxy", OptionKind::Text, None, "The proxy that requests go through: http://host:port."),
    option("give_up_after", OptionKind::Duration, Some("4h"), "For how long a message is tried."),
    option("allow_local", OptionKind::Flag, Some("false"), "Whether the host may stand for this machine or its link."),
];

const URL: OptionSpec = required("url", "Where messages go: https://host:port/path.");

const WEBHOOK: &[OptionSpec] = &[
    URL,
    option(
        "format",
        OptionKind::OneOf(&["alertmanager", "standard", "template"]),
        Some("alertmanager"),
        "The body's form.",
    ),
    option("template", OptionKind::Text, None, "The body where format = 'template': '{\"text\": \"{{title}}\"}'."),
    option(
        "secret",
        OptionKind::Text,
        None,
        "What requests are signed with; several, the newest first, with spaces between.",
    ),
    option(
        "auth",
        OptionKind::Text,
        None,
        "A bearer token; better as '${NAME}' from the environment than written out.",
    ),
    option("headers", OptionKind::Text, None, "More headers, as 'X-Team: core; X-Stage: test'."),
];

const SLACK: &[OptionSpec] = &[URL];
const ALERTMANAGER: &[OptionSpec] = &[
    required("url", "Where an Alertmanager is: https://host:9093."),
    option("auth", OptionKind::Text, None, "A bearer token."),
];
const PAGERDUTY: &[OptionSpec] = &[
    required("routing_key", "The integration key of a service, for Events API v2."),
    option("url", OptionKind::Text, Some(pagerduty::URL), "Where events go."),
];

/// The options of a notifier of type `kind`; those that every type has where there is no such type.
pub fn options_of(kind: &str) -> Vec<OptionSpec> {
    let own: &[OptionSpec] = match kind {
        "webhook" => WEBHOOK,
        "slack" => SLACK,
        "pagerduty" => PAGERDUTY,
        "alertmanager" => ALERTMANAGER,
        _ => &[],
    };
    EVERY.iter().chain(own).copied().collect()
}

/// When and of what a notifier with these options speaks.
///
/// Without any option of grouping each alert is told by itself and at once. With one of them the others are as in
/// Alertmanager: no labels, 30 seconds, 5 minutes.
pub fn policy(name: &str, options: &Options) -> Result<Policy> {
    let about = |error: Error| Error { message: format!("{} in notifier \"{name}\"", error.message), ..error };
    let ns = |option: &str| options.duration(option).map(|length| i64::try_from(length.as_nanos()).unwrap_or(i64::MAX));
    let grouped = ["group_by", "group_wait", "group_interval"].iter().any(|option| options.get(option).is_some());
    let group_by = match options.get("group_by").map(str::trim) {
        None if grouped => GroupBy::Labels(Vec::new()),
        None => GroupBy::Key,
        Some("...") => GroupBy::All,
        Some(labels) => {
            let labels = labels.split(',').map(str::trim).filter(|label| !label.is_empty());
            GroupBy::Labels(labels.map(str::to_string).collect())
        }
    };
    // An Alertmanager forgets what is not told to it again.
    let repeat = if options.get("type") == Some("alertmanager") { 60 * SECOND } else { 4 * 3_600 * SECOND };
    let otherwise = |grouped_ns: i64| if grouped { grouped_ns } else { 0 };
    Ok(Policy {
        only: options.get("matchers").map_or(Ok(Vec::new()), matchers::parse).map_err(about)?,
        group_by,
        group_wait_ns: ns("group_wait").unwrap_or(otherwise(30 * SECOND)),
        group_interval_ns: ns("group_interval").unwrap_or(otherwise(300 * SECOND)),
        repeat_interval_ns: ns("repeat_interval").unwrap_or(repeat).max(SECOND),
        send_resolved: options.flag("send_resolved"),
        max_alerts: options.count("max_alerts").unwrap_or(0) as usize,
        give_up_after_ns: ns("give_up_after").unwrap_or(4 * 3_600 * SECOND),
    })
}

enum Form {
    Alertmanager,
    Standard,
    Template(Template),
    Slack,
    PagerDuty { routing_key: String },
    AlertmanagerApi,
}

/// What speaks to the receiver of a notifier.
pub struct Speaker {
    name: String,
    form: Form,
    caller: Caller,
    secrets: Secrets,
    headers: Vec<(String, String)>,
    external_url: String,
    /// How many messages at the same time, and in a second (0: any number).
    pub(crate) limits: (usize, u64),
}

impl Speaker {
    /// What speaks for notifier `name` with these options. `external_url` is where people find the engine.
    pub fn new(name: &str, options: &Options, external_url: &str) -> Result<Speaker> {
        let owner = format!("notifier \"{name}\"");
        let about = |error: Error| Error { message: format!("{} in {owner}", error.message), ..error };
        let get = |option: &str| options.get(option).unwrap_or_default();
        let url = match get("type") {
            "alertmanager" => format!("{}/api/v2/alerts", get("url").trim_end_matches('/')),
            _ => get("url").to_string(),
        };
        let form = match (get("type"), get("format")) {
            ("slack", _) => Form::Slack,
            ("pagerduty", _) => Form::PagerDuty { routing_key: get("routing_key").to_string() },
            ("alertmanager", _) => Form::AlertmanagerApi,
            (_, "standard") => Form::Standard,
            (_, "template") => {
                let text = options.get("template").ok_or_else(|| {
                    Error::user(format!("{owner} has format = 'template' and no template"))
                        .with_hint("Write template = '{\"text\": \"{{title}}\"}'.")
                })?;
                Form::Template(Template::parse(text).map_err(about)?)
            }
            _ => Form::Alertmanager,
        };
        let mut headers = headers(&owner, get("headers"))?;
        if let Some(token) = options.get("auth") {
            headers.push(("Authorization".to_string(), bearer(&owner, token)?));
        }
        headers.push(("Content-Type".to_string(), "application/json".to_string()));
        let target = Target::parse(&owner, "url", &url, options.flag("allow_local"))?;
        Ok(Speaker {
            name: name.to_string(),
            form,
            caller: Caller::new(target, &CallOptions::of(options)).map_err(about)?,
            secrets: Secrets::parse(get("secret")).map_err(about)?,
            headers,
            external_url: external_url.to_string(),
            limits: (
                options.count("concurrency").unwrap_or(4).clamp(1, 64) as usize,
                options.count("rate_limit").unwrap_or(0),
            ),
        })
    }

    /// The body of a message.
    pub fn body(&self, notification: &Notification) -> Result<Vec<u8>> {
        let external_url = &self.external_url;
        match &self.form {
            Form::Alertmanager => alertmanager::webhook(notification, external_url),
            Form::Standard => standard::body(notification, external_url),
            Form::Template(template) => template.fill(notification, external_url),
            Form::Slack => slack::body(notification, external_url),
            Form::PagerDuty { routing_key } => pagerduty::body(notification, routing_key, external_url),
            Form::AlertmanagerApi => alertmanager::api(notification, external_url),
        }
    }

    /// Tells the receiver, once, at `now_ns`.
    pub fn speak(&self, notification: &Notification, now_ns: i64) -> Outcome {
        let body = match self.body(notification) {
            Ok(body) => body,
            Err(error) => return Outcome::Refused { http_status: None, error: error.message },
        };
        let timestamp_s = now_ns.div_euclid(SECOND);
        let mut headers = self.headers.clone();
        headers.push(("webhook-id".to_string(), notification.id.clone()));
        headers.push(("webhook-timestamp".to_string(), timestamp_s.to_string()));
        headers.push(("Idempotency-Key".to_string(), notification.id.clone()));
        headers.extend(
            self.secrets
                .sign(&notification.id, timestamp_s, &body)
                .map(|signed| ("webhook-signature".to_string(), signed)),
        );
        match self.caller.call(false, &headers, &body) {
            Answer::Taken { status, body } if matches!(self.form, Form::Slack) && !slack::is_taken(&body) => {
                Outcome::Refused { http_status: Some(status), error: format!("Slack answered {body:?} instead of ok") }
            }
            Answer::Taken { status, .. } => Outcome::Delivered { http_status: status },
            Answer::Failed { status, said, pause, ambiguous } => Outcome::Failed {
                http_status: status,
                error: said,
                pause_ns: pause.map(|pause| i64::try_from(pause.as_nanos()).unwrap_or(i64::MAX)),
                ambiguous,
            },
            Answer::Refused { status, said } => Outcome::Refused { http_status: status, error: said },
        }
    }

    /// The notifier's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}
