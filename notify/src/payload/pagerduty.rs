//! PagerDuty's Events API, version 2: one incident for each group, opened and closed under one key.

use super::{common_annotations, cut, hex, link, title};
use crate::alert::{SEVERITY, Status};
use crate::notification::Notification;
use crate::time;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use thalweg_schemas::error::{Error, Result};

/// Where events go.
pub const URL: &str = "https://events.pagerduty.com/v2/enqueue";
/// Longest summary, and largest event; with more the details are left out (as Alertmanager does).
const SUMMARY_CHARS: usize = 1_024;
const EVENT_BYTES: usize = 512_000;

/// The body.
pub fn body(notification: &Notification, routing_key: &str, external_url: &str) -> Result<Vec<u8>> {
    let bytes = |event: &Value| {
        serde_json::to_vec(event).map_err(|error| Error::bug(format!("an event for PagerDuty: {error}")))
    };
    let mut event = event(notification, routing_key, external_url);
    let body = bytes(&event)?;
    if body.len() <= EVENT_BYTES {
        return Ok(body);
    }
    event["payload"]["custom_details"] = json!({"error": "the details were too large, and are left out"});
    bytes(&event)
}

fn event(notification: &Notification, routing_key: &str, external_url: &str) -> Value {
    let action = match notification.status() {
        Status::Firing => "trigger",
        Status::Resolved => "resolve",
    };
    let mut event = json!({
        "routing_key": routing_key,
        "event_action": action,
        // As Alertmanager makes it: one incident for each group.
        "dedup_key": hex(&Sha256::digest(notification.group_key.as_bytes())),
        "client": "Thalweg",
        "client_url": external_url,
    });
    if notification.status() == Status::Resolved {
        return event;
    }
    let firing: Vec<_> = notification.alerts.iter().filter(|alert| alert.is_firing()).collect();
    let worst = firing.iter().map(|alert| severity(alert.labels.get(SEVERITY).unwrap_or_default())).min();
    let since = firing.iter().map(|alert| alert.fired_at_ns).min().unwrap_or(notification.created_at_ns);
    let summary =
        common_annotations(notification).get("summary").map(str::to_string).unwrap_or_else(|| title(notification));
    let alerts: Vec<Value> = notification
        .alerts
        .iter()
        .map(|alert| {
            json!({"status": alert.status.name(), "labels": alert.labels, "annotations": alert.annotations,
               "values": alert.values(), "previous_values": alert.previous_values(), "threshold": alert.threshold,
               "sample": alert.sampled(), "incident_id": alert.incident_id})
        })
        .collect();
    let links: Vec<Value> = firing
        .iter()
        .take(1)
        .map(|alert| json!({"href": link(external_url, alert), "text": "Incident in Thalweg"}))
        .collect();
    event["payload"] = json!({
        "summary": cut(&summary, SUMMARY_CHARS),
        "source": notification.group_labels.get("service").unwrap_or("thalweg"),
        "severity": worst.map_or("error", |(_, word)| word),
        "timestamp": time::show_ms(since),
        "class": firing.first().map(|alert| alert.alert.clone()),
        "custom_details": {
            "firing": firing.len(),
            "resolved": notification.alerts.len() - firing.len(),
            "truncated": notification.truncated,
            "alerts": alerts,
        },
    });
    event["links"] = Value::Array(links);
    event
}

/// PagerDuty's word for a severity, and its place, the gravest first.
fn severity(word: &str) -> (u8, &'static str) {
    match word {
        "critical" | "page" => (0, "critical"),
        "warning" => (2, "warning"),
        "info" => (3, "info"),
        _ => (1, "error"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::tests::{corrected, notification};

    fn value(notification: &Notification) -> Value {
        serde_json::from_slice(&body(notification, "R0UT1NG", "http://here").unwrap()).unwrap()
    }

    #[test]
    fn a_trigger_field_by_field() {
        let value = value(&notification(true));
        let key = hex(&Sha256::digest(b"{}:{alertname=\"slow\"}"));
        assert_eq!(value["dedup_key"], key);
        assert_eq!((&value["routing_key"], &value["event_action"]), (&json!("R0UT1NG"), &json!("trigger")));
        assert_eq!((&value["client"], &value["client_url"]), (&json!("Thalweg"), &json!("http://here")));
        let payload = &value["payload"];
        assert_eq!(payload["summary"], "[FIRING:1] slow (critical)");
        assert_eq!((&payload["severity"], &payload["source"]), (&json!("critical"), &json!("thalweg")));
        assert_eq!((&payload["timestamp"], &payload["class"]), (&json!("1970-01-01T00:00:07.000Z"), &json!("slow")));
        let details = &payload["custom_details"];
        assert_eq!(
            (&details["firing"], &details["resolved"], &details["truncated"]),
            (&json!(1), &json!(1), &json!(4))
        );
        assert_eq!(details["alerts"][1]["status"], "resolved");
        assert_eq!(details["alerts"][1]["previous_values"], Value::Null);
        let corrected = &self::value(&corrected())["payload"]["custom_details"]["alerts"][0];
        assert_eq!(
            (&corrected["previous_values"], &corrected["values"]),
            (&json!({"p99": 812.0}), &json!({"p99": 640.0}))
        );
        assert_eq!(
            value["links"],
            json!([{"href": "http://here/?alert=slow&incident=i1", "text": "Incident in Thalweg"}])
        );
    }

    #[test]
    fn a_resolve_closes_what_the_trigger_opened() {
        let mut over = notification(true);
        let opened = value(&over)["dedup_key"].clone();
        over.alerts.remove(0);
        let value = value(&over);
        assert_eq!((&value["event_action"], &value["dedup_key"]), (&json!("resolve"), &opened));
        assert!(value.get("payload").is_none());
    }

    #[test]
    fn what_is_too_large_loses_its_details() {
        let mut large = notification(false);
        let alert = large.alerts[0].make_mut();
        alert.values = json!("x".repeat(EVENT_BYTES)).to_string().into();
        alert.annotations = alert.annotations.with("summary", &"s".repeat(2_000));
        let value = value(&large);
        assert_eq!(
            value["payload"]["custom_details"],
            json!({"error": "the details were too large, and are left out"})
        );
        assert_eq!(value["payload"]["summary"].as_str().unwrap().chars().count(), SUMMARY_CHARS);
        assert_eq!([severity("page").1, severity("info").1, severity("").1], ["critical", "info", "error"]);
    }
}
