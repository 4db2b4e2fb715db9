//! `CREATE NOTIFIER`: its types and options, and when it speaks.

use crate::calendar::list;
use crate::config::{GroupBy, Policy};
use crate::matchers;
use crate::payload::pagerduty;
use crate::time::SECOND;
use thalweg_connectors::webhook::call::{AUTH, CA, HEADERS, PROXY, TIMEOUT};
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::options::{OptionKind, OptionSpec, Options};

/// The types.
pub const TYPES: &[&str] = &["webhook", "slack", "pagerduty", "alertmanager", "email"];

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
    TIMEOUT,
    option("concurrency", OptionKind::Count, Some("4"), "How many messages are sent at the same time."),
    option(
        "rate_limit",
        OptionKind::Count,
        Some("0"),
        "How many messages are sent in a second at most; 0: any number.",
    ),
    CA,
    option("give_up_after", OptionKind::Duration, Some("4h"), "For how long a message is tried."),
    option("fallback", OptionKind::Text, None, "Who is told when a message to this notifier is dead: 'mail, boss'."),
    option("allow_local", OptionKind::Flag, Some("false"), "Whether the host may stand for this machine or its link."),
    option("mute_calendars", OptionKind::Text, None, "At the times of these calendars it is not told of what fires."),
    option(
        "active_calendars",
        OptionKind::Text,
        None,
        "Only at the times of these calendars it is told of what fires.",
    ),
];

/// Not of PagerDuty, which would take it for an incident.
const WATCHDOG: OptionSpec =
    option("watchdog", OptionKind::Duration, None, "How often it is told that the engine is at work: '1m'.");

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
    AUTH,
    HEADERS,
    PROXY,
    WATCHDOG,
];

const SLACK: &[OptionSpec] = &[URL, PROXY, WATCHDOG];
const ALERTMANAGER: &[OptionSpec] =
    &[required("url", "Where an Alertmanager is: https://host:9093."), AUTH, PROXY, WATCHDOG];
const PAGERDUTY: &[OptionSpec] = &[
    required("routing_key", "The integration key of a service, for Events API v2."),
    option("url", OptionKind::Text, Some(pagerduty::URL), "Where events go."),
    PROXY,
];
const EMAIL: &[OptionSpec] = &[
    required("smarthost", "The server that takes mail: 'smtp.example.org:587'."),
    required("from", "Who writes: 'Thalweg <alerts@example.org>'."),
    required("to", "Who is written to: 'ada@example.org, Ops <ops@example.org>'."),
    option(
        "tls",
        OptionKind::OneOf(&["starttls", "tls", "none"]),
        Some("starttls"),
        "How the connection is kept secret.",
    ),
    option("auth_username", OptionKind::Text, None, "Who signs in."),
    option("auth_password", OptionKind::Text, None, "With what; better as '${NAME}' than written out."),
    option("text", OptionKind::Text, None, "The mail in other words: '{{title}} {{alerts}}'."),
    option(
        "html",
        OptionKind::Text,
        None,
        "The part in HTML in other words: '<p>{{title}}</p> {{alerts}}'; '' for none.",
    ),
    option("hello", OptionKind::Text, Some("localhost"), "What the engine calls itself to the server."),
    WATCHDOG,
];

/// The options of a notifier of type `kind`; those that every type has where there is no such type.
pub fn options_of(kind: &str) -> Vec<OptionSpec> {
    let own: &[OptionSpec] = match kind {
        "webhook" => WEBHOOK,
        "slack" => SLACK,
        "pagerduty" => PAGERDUTY,
        "alertmanager" => ALERTMANAGER,
        "email" => EMAIL,
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
    let names = |option: &str| list(options.get(option).unwrap_or_default()).map(str::to_string).collect::<Vec<_>>();
    let grouped = ["group_by", "group_wait", "group_interval"].iter().any(|option| options.get(option).is_some());
    let group_by = match options.get("group_by").map(str::trim) {
        None if grouped => GroupBy::Labels(Vec::new()),
        None => GroupBy::Key,
        Some("...") => GroupBy::All,
        Some(_) => GroupBy::Labels(names("group_by")),
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
        fallback: names("fallback"),
        mute_calendars: names("mute_calendars"),
        active_calendars: names("active_calendars"),
        watchdog_ns: ns("watchdog").map_or(0, |interval| interval.max(SECOND)),
    })
}
