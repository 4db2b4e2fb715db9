//! Bodies that a template gives: text with places such as `{{status}}` or `{{labels.service}}`.
//!
//! In a webhook's body a value is put in as the inside of a JSON string, so that a template that is JSON stays JSON whatever
//! is put in; in mail as the text or the HTML around it asks for.

use super::{alertmanager, common_annotations, common_labels, email, title};
use crate::alert::Alert;
use crate::notification::Notification;
use serde_json::Value;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::suggest::closest;

/// A template, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Place(Place),
}

/// What is put in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Status,
    Title,
    Receiver,
    Reason,
    GroupKey,
    Id,
    Firing,
    Resolved,
    /// The whole of Alertmanager's payload, not as the inside of a string.
    Payload,
    /// Rows behind the alerts: a JSON array, not as the inside of a string.
    Sample,
    /// What the conditions of each alert looked at, and the same before a correction: JSON arrays, likewise.
    Values,
    PreviousValues,
    /// What is said of each alert, as in mail.
    Alerts,
    Label(String),
    Annotation(String),
}

const NAMES: [(&str, Place); 13] = [
    ("status", Place::Status),
    ("title", Place::Title),
    ("receiver", Place::Receiver),
    ("reason", Place::Reason),
    ("group_key", Place::GroupKey),
    ("id", Place::Id),
    ("firing", Place::Firing),
    ("resolved", Place::Resolved),
    ("payload", Place::Payload),
    ("sample", Place::Sample),
    ("values", Place::Values),
    ("previous_values", Place::PreviousValues),
    ("alerts", Place::Alerts),
];

impl Template {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Template> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find("{{") {
            parts.push(Part::Text(rest[..open].to_string()));
            let inner = &rest[open + 2..];
            let close = inner.find("}}").ok_or_else(|| Error::user("a template has {{ without }}"))?;
            parts.push(Part::Place(place(inner[..close].trim())?));
            rest = &inner[close + 2..];
        }
        parts.push(Part::Text(rest.to_string()));
        Ok(Template(parts))
    }

    /// The body of a webhook.
    pub fn fill(&self, notification: &Notification, external_url: &str) -> Result<Vec<u8>> {
        let body = self.put(|place| {
            let text = place.text(notification, external_url)?;
            if matches!(place, Place::Payload | Place::Sample | Place::Values | Place::PreviousValues) {
                return Ok(text);
            }
            let quoted = Value::String(text).to_string();
            Ok(quoted[1..quoted.len() - 1].to_string())
        });
        body.map(String::into_bytes)
    }

    /// The text, with what `value` says of each place.
    pub(crate) fn put(&self, value: impl Fn(&Place) -> Result<String>) -> Result<String> {
        let part = |part: &Part| match part {
            Part::Text(text) => Ok(text.clone()),
            Part::Place(place) => value(place),
        };
        self.0.iter().map(part).collect()
    }
}

fn place(name: &str) -> Result<Place> {
    if let Some(label) = name.strip_prefix("labels.") {
        return Ok(Place::Label(label.to_string()));
    }
    if let Some(annotation) = name.strip_prefix("annotations.") {
        return Ok(Place::Annotation(annotation.to_string()));
    }
    if let Some((_, place)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Ok(place.clone());
    }
    let error = Error::user(format!("a template names {{{{{name}}}}}, which does not exist"));
    let names = || NAMES.iter().map(|(known, _)| *known);
    Err(match closest(name, names()) {
        Some(near) => error.with_hint(format!("Did you mean {{{{{near}}}}}?")),
        None => error.with_hint(format!(
            "There are {}, labels.NAME and annotations.NAME.",
            names().collect::<Vec<_>>().join(", ")
        )),
    })
}

impl Place {
    /// What is put in; nothing for a label that the alerts do not have in common.
    pub(crate) fn text(&self, notification: &Notification, external_url: &str) -> Result<String> {
        let of_each = |value: &dyn Fn(&Alert) -> Value| {
            Value::Array(notification.alerts.iter().map(|alert| value(alert)).collect()).to_string()
        };
        let firing = || notification.alerts.iter().filter(|alert| alert.is_firing()).count();
        Ok(match self {
            Place::Status => notification.status().name().to_string(),
            Place::Title => title(notification),
            Place::Receiver => notification.notifier.clone(),
            Place::Reason => notification.reason.name().to_string(),
            Place::GroupKey => notification.group_key.clone(),
            Place::Id => notification.id.clone(),
            Place::Firing => firing().to_string(),
            Place::Resolved => (notification.alerts.len() - firing()).to_string(),
            Place::Payload => String::from_utf8_lossy(&alertmanager::webhook(notification, external_url)?).into_owned(),
            Place::Sample => {
                let rows = notification.alerts.iter().flat_map(|alert| alert.sampled());
                Value::Array(rows.collect()).to_string()
            }
            Place::Values => of_each(&Alert::values),
            Place::PreviousValues => of_each(&|alert| alert.previous_values().unwrap_or_default()),
            Place::Alerts => email::alerts(notification, external_url),
            Place::Label(name) => common_labels(notification).get(name).unwrap_or_default().to_string(),
            Place::Annotation(name) => common_annotations(notification).get(name).unwrap_or_default().to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Labels;
    use crate::payload::tests::{corrected, notification};

    fn fill(template: &str, notification: &Notification) -> String {
        String::from_utf8(Template::parse(template).unwrap().fill(notification, "http://here").unwrap()).unwrap()
    }

    #[test]
    fn places_are_filled_and_json_stays_json() {
        let mut one = notification(false);
        one.alerts[0].make_mut().annotations = Labels::new().with("summary", "a \"slow\"\nservice");
        let text =
            r#"{"text": "{{ status }} {{labels.service}}: {{annotations.summary}}{{labels.none}}", "n": {{firing}}}"#;
        let filled: Value = serde_json::from_str(&fill(text, &one)).unwrap();
        assert_eq!(filled, serde_json::json!({"text": "firing api: a \"slow\"\nservice", "n": 1}));
        let all = "{{title}}|{{receiver}}|{{reason}}|{{group_key}}|{{resolved}}";
        assert_eq!(
            fill(all, &notification(true)),
            r#"[FIRING:1] slow (critical)|ops|new alerts added|{}:{alertname=\"slow\"}|1"#
        );
        let whole: Value = serde_json::from_str(&fill(r#"{"am": {{payload}}}"#, &one)).unwrap();
        assert_eq!(whole["am"]["version"], "4");
        assert_eq!(fill(r#"{"rows": {{sample}}}"#, &one), r#"{"rows": [{"ms":812.0}]}"#);
        assert_eq!(fill("{{id}}", &one), one.id);
        let both = r#"{"is": {{values}}, "was": {{previous_values}}}"#;
        assert_eq!(fill(both, &corrected()), r#"{"is": [{"p99":640.0}], "was": [{"p99":812.0}]}"#);
        assert_eq!(fill(both, &one), r#"{"is": [{"p99":812.0}], "was": [null]}"#);
    }

    #[test]
    fn mistakes_are_told() {
        let refused = |text: &str| Template::parse(text).unwrap_err();
        assert_eq!(refused("{{status").message, "a template has {{ without }}");
        let error = refused("{{statsu}}");
        assert_eq!(error.message, "a template names {{statsu}}, which does not exist");
        assert_eq!(error.hint.as_deref(), Some("Did you mean {{status}}?"));
    }
}
