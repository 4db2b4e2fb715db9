//! Alertmanager's two forms: the webhook payload, version 4, which its receivers understand, and the body of its API
//! (`POST /api/v2/alerts`), by which an Alertmanager takes over the routing.

use super::{common_annotations, common_labels, link};
use crate::alert::{Alert, Labels, SEVERITY, Status};
use crate::notification::Notification;
use crate::shared::Shared;
use crate::time;
use serde::Serialize;
use thalweg_schemas::error::{Error, Result};

/// What Go writes for a time that is not set.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The webhook payload; field for field and in the order of Alertmanager 0.25 (`template.Data` and `webhook.Message`).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Webhook<'a> {
    receiver: &'a str,
    status: &'static str,
    alerts: Vec<WebhookAlert<'a>>,
    group_labels: &'a Labels,
    common_labels: Labels,
    common_annotations: Labels,
    #[serde(rename = "externalURL")]
    external_url: &'a str,
    version: &'static str,
    group_key: &'a str,
    truncated_alerts: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WebhookAlert<'a> {
    status: &'static str,
    labels: &'a Labels,
    annotations: &'a Labels,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: String,
    fingerprint: String,
}

fn ends_at(alert: &Alert) -> Option<i64> {
    (!alert.is_firing()).then(|| alert.ends_at_ns.unwrap_or(alert.at_ns))
}

/// The annotations of a correction: Alertmanager's forms have no other place for them.
const REVISION: &str = "revision";
const VALUES: &str = "values";
const PREVIOUS_VALUES: &str = "previous_values";

/// The alert, with annotations that say what has been corrected, if anything has. What the statement says wins.
fn with_correction(alert: &Shared<Alert>) -> Shared<Alert> {
    let Some(before) = &alert.previous_values else { return alert.clone() };
    let revision = alert.revision.to_string();
    let added = [(REVISION, revision.as_str()), (VALUES, &alert.values), (PREVIOUS_VALUES, before)];
    let annotations = added.into_iter().chain(&alert.annotations).collect();
    let mut corrected = alert.clone();
    corrected.make_mut().annotations = annotations;
    corrected
}

/// The notification as those know it to whom an alert with other labels is another alert: where the severity has changed,
/// the alert with the one that the receiver was told is over.
fn by_labels(notification: &Notification) -> Notification {
    let over = |alert: &Alert| {
        let severity = alert.told_severity.clone()?;
        let labels = alert.labels.with(SEVERITY, &severity);
        let ends_at_ns = alert.ends_at_ns.or(Some(alert.at_ns));
        // A label of that name that the statement sets stays the same.
        let changed = alert.labels.get(SEVERITY) == Some(&*alert.severity);
        changed.then(|| Alert { severity, labels, status: Status::Resolved, ends_at_ns, ..alert.clone() })
    };
    let both = |alert: &Shared<Alert>| over(alert).map(Shared::from).into_iter().chain([with_correction(alert)]);
    Notification { alerts: notification.alerts.iter().flat_map(both).collect(), ..notification.clone() }
}

/// The webhook payload, version 4.
pub fn webhook(notification: &Notification, external_url: &str) -> Result<Vec<u8>> {
    let notification = &by_labels(notification);
    let alerts = notification.alerts.iter().map(|alert| WebhookAlert {
        status: alert.status.name(),
        labels: &alert.labels,
        annotations: &alert.annotations,
        starts_at: time::show(alert.fired_at_ns),
        ends_at: ends_at(alert).map_or_else(|| NEVER.to_string(), time::show),
        generator_url: link(external_url, alert),
        fingerprint: alert.fingerprint(),
    });
    let message = Webhook {
        receiver: &notification.notifier,
        status: notification.status().name(),
        alerts: alerts.collect(),
        group_labels: &notification.group_labels,
        common_labels: common_labels(notification),
        common_annotations: common_annotations(notification),
        external_url,
        version: "4",
        group_key: &notification.group_key,
        truncated_alerts: notification.truncated,
    };
    serde_json::to_vec(&message).map_err(|error| Error::bug(format!("an Alertmanager payload: {error}")))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PostedAlert<'a> {
    labels: &'a Labels,
    annotations: &'a Labels,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: String,
}

/// How many intervals of repetition a posted alert is believed for: as Prometheus does, four.
const BELIEVED_FOR: i64 = 4;

/// The body of `POST /api/v2/alerts`. What fires ends by itself some repetitions after it was posted last, so that an
/// Alertmanager whose engine has died does not believe in it for ever.
pub fn api(notification: &Notification, external_url: &str) -> Result<Vec<u8>> {
    let notification = &by_labels(notification);
    let believed = notification.repeat_interval_ns.saturating_mul(BELIEVED_FOR);
    let alerts = notification.alerts.iter().map(|alert| PostedAlert {
        labels: &alert.labels,
        annotations: &alert.annotations,
        starts_at: time::show_ms(alert.fired_at_ns),
        ends_at: time::show_ms(ends_at(alert).unwrap_or(notification.created_at_ns.saturating_add(believed))),
        generator_url: link(external_url, alert),
    });
    let alerts: Vec<PostedAlert> = alerts.collect();
    serde_json::to_vec(&alerts).map_err(|error| Error::bug(format!("alerts for an Alertmanager: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::tests::labels;
    use crate::payload::tests::{corrected, notification};
    use serde_json::{Value, json};

    #[test]
    fn an_alert_that_became_graver_is_over_at_the_severity_that_the_receiver_knows() {
        let mut graver = notification(true);
        graver.alerts.truncate(1);
        let alert = graver.alerts[0].make_mut();
        (alert.status, alert.told_severity) = (Status::Firing, Some("warning".into()));
        let body: Value = serde_json::from_slice(&webhook(&graver, "http://here").unwrap()).unwrap();
        let found: Vec<_> = body["alerts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|alert| (alert["status"].as_str().unwrap(), alert["labels"]["severity"].as_str().unwrap()))
            .collect();
        assert_eq!(found, [("resolved", "warning"), ("firing", "critical")]);
        assert_ne!(body["alerts"][0]["fingerprint"], body["alerts"][1]["fingerprint"]);
        assert!(body["commonLabels"].get("severity").is_none());
        let posted: Value = serde_json::from_slice(&api(&graver, "http://here").unwrap()).unwrap();
        assert_eq!(posted.as_array().unwrap().len(), 2);
    }

    #[test]
    fn a_correction_is_said_in_annotations() {
        let mut message = corrected();
        let body: Value = serde_json::from_slice(&webhook(&message, "http://here").unwrap()).unwrap();
        let expected = json!({"summary": "api is slow", "revision": "1", "values": "{\"p99\":640.0}",
                              "previous_values": "{\"p99\":812.0}"});
        assert_eq!((&body["alerts"][0]["annotations"], &body["commonAnnotations"]), (&expected, &expected));
        let fired: Value = serde_json::from_slice(&webhook(&notification(false), "http://here").unwrap()).unwrap();
        assert_eq!(body["alerts"][0]["fingerprint"], fired["alerts"][0]["fingerprint"], "it is the same alert");
        let posted: Value = serde_json::from_slice(&api(&message, "http://here").unwrap()).unwrap();
        assert_eq!(posted[0]["annotations"], expected);
        let alert = message.alerts[0].make_mut();
        alert.annotations = alert.annotations.with("values", "as the statement says");
        let body: Value = serde_json::from_slice(&webhook(&message, "http://here").unwrap()).unwrap();
        assert_eq!(body["alerts"][0]["annotations"]["values"], "as the statement says");
    }

    #[test]
    fn the_webhook_payload_field_by_field() {
        let body: Value = serde_json::from_slice(&webhook(&notification(true), "http://here").unwrap()).unwrap();
        let alert = |status: &str, service: &str, from: i64, until: &str, fingerprint: &Value, incident: &str| {
            json!({
                "status": status,
                "labels": {"alertname": "slow", "service": service, "severity": "critical"},
                "annotations": {"summary": format!("{service} is slow")},
                "startsAt": time::show(from * time::SECOND),
                "endsAt": until,
                "generatorURL": format!("http://here/?alert=slow&incident={incident}"),
                "fingerprint": fingerprint,
            })
        };
        let expected = json!({
            "receiver": "ops",
            "status": "firing",
            "alerts": [
                alert("firing", "api", 7, "0001-01-01T00:00:00Z", &body["alerts"][0]["fingerprint"], "i1"),
                alert("resolved", "web", 5, "1970-01-01T00:00:09Z", &body["alerts"][1]["fingerprint"], "i2"),
            ],
            "groupLabels": {"alertname": "slow"},
            "commonLabels": {"alertname": "slow", "severity": "critical"},
            "commonAnnotations": {},
            "externalURL": "http://here",
            "version": "4",
            "groupKey": "{}:{alertname=\"slow\"}",
            "truncatedAlerts": 4,
        });
        assert_eq!(body, expected);
        assert_eq!(body["alerts"][0]["fingerprint"].as_str().unwrap().len(), 16);
    }

    /// What Alertmanager 0.25 was seen to send for one alert, and what ours is for the same.
    #[test]
    fn the_webhook_payload_is_the_one_that_alertmanager_sent() {
        let seen = r#"{"receiver":"default","status":"firing","alerts":[{"status":"firing","labels":{"alertname":"A","inst":"i1","severity":"warning"},"annotations":{"summary":"x"},"startsAt":"2026-01-01T00:00:00Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://127.0.0.1/g","fingerprint":"c4144316ad7eefd8"}],"groupLabels":{"alertname":"A"},"commonLabels":{"alertname":"A","inst":"i1","severity":"warning"},"commonAnnotations":{"summary":"x"},"externalURL":"http://vm:19093","version":"4","groupKey":"{}:{alertname=\"A\"}","truncatedAlerts":0}"#;
        let mut ours = notification(false);
        ours.notifier = "default".into();
        let alert = ours.alerts[0].make_mut();
        alert.labels = labels(&[("alertname", "A"), ("inst", "i1"), ("severity", "warning")]);
        alert.annotations = labels(&[("summary", "x")]);
        alert.fired_at_ns = time::parse("2026-01-01T00:00:00Z").unwrap();
        ours.group_labels = labels(&[("alertname", "A")]);
        ours.group_key = "{}:{alertname=\"A\"}".into();
        ours.truncated = 0;
        let link = link("http://vm:19093", &ours.alerts[0]);
        let body = String::from_utf8(webhook(&ours, "http://vm:19093").unwrap()).unwrap();
        assert_eq!(
            body.replace(&link, "http://127.0.0.1/g"),
            seen,
            "to the byte, apart from where the alert came from"
        );
    }

    #[test]
    fn the_body_of_the_api() {
        let body: Value = serde_json::from_slice(&api(&notification(true), "http://here").unwrap()).unwrap();
        let alert = |service: &str, from: &str, until: &str, incident: &str| {
            json!({
                "labels": {"alertname": "slow", "service": service, "severity": "critical"},
                "annotations": {"summary": format!("{service} is slow")},
                "startsAt": from,
                "endsAt": until,
                "generatorURL": format!("http://here/?alert=slow&incident={incident}"),
            })
        };
        // Posted at 10.25 s, repeated every minute: believed for four minutes.
        let firing = alert("api", "1970-01-01T00:00:07.000Z", "1970-01-01T00:04:10.250Z", "i1");
        let over = alert("web", "1970-01-01T00:00:05.000Z", "1970-01-01T00:00:09.000Z", "i2");
        assert_eq!(body, json!([firing, over]));
    }
}
