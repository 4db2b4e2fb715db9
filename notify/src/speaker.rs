//! What speaks to the receiver of a notifier: over HTTP in the form that it knows, or by mail.

use crate::email::Mailer;
use crate::notification::{Notification, Outcome};
use crate::payload::standard::Secrets;
use crate::payload::template::Template;
use crate::payload::{alertmanager, pagerduty, slack, standard};
use crate::time::SECOND;
use thalweg_connectors::webhook::call::{Answer, CallOptions, Caller, headers_of};
use thalweg_connectors::webhook::target::Target;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::options::Options;

enum Form {
    Alertmanager,
    Standard,
    Template(Template),
    Slack,
    PagerDuty { routing_key: String },
    AlertmanagerApi,
}

/// What makes requests.
struct Poster {
    form: Form,
    caller: Caller,
    secrets: Secrets,
    headers: Vec<(String, String)>,
}

enum Way {
    Http(Box<Poster>),
    Email(Box<Mailer>),
}

/// What speaks to the receiver of a notifier.
pub struct Speaker {
    name: String,
    way: Way,
    external_url: String,
    /// How many messages at the same time, and in a second (0: any number).
    pub(crate) limits: (usize, u64),
}

impl Speaker {
    /// What speaks for notifier `name` with these options. `external_url` is where people find the engine.
    pub fn new(name: &str, options: &Options, external_url: &str) -> Result<Speaker> {
        let owner = format!("notifier \"{name}\"");
        let way = match options.get("type") {
            Some("email") => Way::Email(Box::new(Mailer::new(&owner, options)?)),
            _ => Way::Http(Box::new(Poster::new(&owner, options)?)),
        };
        Ok(Speaker {
            name: name.to_string(),
            way,
            external_url: external_url.to_string(),
            limits: (
                options.count("concurrency").unwrap_or(4).clamp(1, 64) as usize,
                options.count("rate_limit").unwrap_or(0),
            ),
        })
    }

    /// Tells the receiver, once, at `now_ns`.
    pub fn speak(&self, notification: &Notification, now_ns: i64) -> Outcome {
        let said = match &self.way {
            Way::Http(poster) => poster.post(notification, &self.external_url, now_ns),
            Way::Email(mailer) => mailer.send(notification, &self.external_url),
        };
        said.unwrap_or_else(|error| Outcome::Refused { http_status: None, error: error.message })
    }

    /// The notifier's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Poster {
    fn new(owner: &str, options: &Options) -> Result<Poster> {
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
        let target = Target::parse(owner, "url", &url, options.flag("allow_local"))?;
        Ok(Poster {
            form,
            caller: Caller::new(target, &CallOptions::of(options)).map_err(about)?,
            secrets: Secrets::parse(get("secret")).map_err(about)?,
            headers: headers_of(owner, options, "application/json")?,
        })
    }

    /// The body of a message.
    fn body(&self, notification: &Notification, external_url: &str) -> Result<Vec<u8>> {
        match &self.form {
            Form::Alertmanager => alertmanager::webhook(notification, external_url),
            Form::Standard => standard::body(notification, external_url),
            Form::Template(template) => template.fill(notification, external_url),
            Form::Slack => slack::body(notification, external_url),
            Form::PagerDuty { routing_key } => pagerduty::body(notification, routing_key, external_url),
            Form::AlertmanagerApi => alertmanager::api(notification, external_url),
        }
    }

    fn post(&self, notification: &Notification, external_url: &str, now_ns: i64) -> Result<Outcome> {
        let body = self.body(notification, external_url)?;
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
        Ok(match self.caller.call(false, &headers, &body) {
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
        })
    }
}
