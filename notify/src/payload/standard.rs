//! Standard Webhooks (standardwebhooks.com, specification 1.0.0): the envelope, and the headers that prove where a request
//! comes from.
//!
//! What is signed is `id.timestamp.body` with HMAC-SHA256; `webhook-id` is the same for all tries of a message, the
//! timestamp is that of the try. With several secrets there are several signatures, so that a receiver can change to a
//! new secret at any time.

use super::link;
use crate::alert::Alert;
use crate::notification::Notification;
use crate::time;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use std::fmt;
use thalweg_schemas::error::{Error, Result};

/// The secrets that requests are signed with. Never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(Vec<Vec<u8>>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

impl Secrets {
    /// Reads secrets with white space between, the newest first: `whsec_` and base64, or any other text as it is.
    pub fn parse(text: &str) -> Result<Secrets> {
        let secrets = text.split_whitespace().map(|secret| match secret.strip_prefix("whsec_") {
            None => Ok(secret.as_bytes().to_vec()),
            Some(encoded) => STANDARD.decode(encoded).map_err(|error| {
                Error::user("what follows whsec_ in a secret is not base64")
                    .with_detail(error.to_string())
                    .with_hint("Make one with: echo whsec_$(head -c 32 /dev/urandom | base64)")
            }),
        });
        Ok(Secrets(secrets.collect::<Result<_>>()?))
    }

    /// The value of `webhook-signature`, if there are secrets: `v1,` and base64 for each, with spaces between.
    pub fn sign(&self, id: &str, timestamp_s: i64, body: &[u8]) -> Option<String> {
        let signatures = self.0.iter().filter_map(|secret| {
            // HMAC takes keys of any length.
            let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
            mac.update(format!("{id}.{timestamp_s}.").as_bytes());
            mac.update(body);
            Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
        });
        Some(signatures.collect::<Vec<_>>().join(" ")).filter(|signatures| !signatures.is_empty())
    }
}

/// The body: an envelope of `type`, `timestamp` and `data`, which names the group and lists its alerts.
pub fn body(notification: &Notification, external_url: &str) -> Result<Vec<u8>> {
    let alerts: Vec<Value> = notification.alerts.iter().map(|alert| describe(alert, external_url)).collect();
    let body = json!({
        "type": format!("alert.{}", notification.status().name()),
        "timestamp": time::show_ms(notification.created_at_ns),
        "data": {
            "receiver": notification.notifier,
            "reason": notification.reason.name(),
            "group": {
                "key": notification.group_key,
                "labels": notification.group_labels,
                "size": notification.alerts.len() + notification.truncated,
                "truncated": notification.truncated,
                "message": notification.number,
            },
            "alerts": alerts,
        },
    });
    serde_json::to_vec(&body).map_err(|error| Error::bug(format!("a webhook's body: {error}")))
}

fn describe(alert: &Alert, external_url: &str) -> Value {
    json!({
        "incident_id": alert.incident_id,
        "seq": alert.seq,
        "rule": alert.alert,
        "key": alert.key,
        "state": alert.status.name(),
        "severity": alert.severity,
        "previous_severity": alert.previous_severity,
        "kind": alert.kind,
        "reason": alert.reason,
        "revision": alert.revision,
        "active_since": time::show_ms(alert.active_since_ns),
        "fired_at": time::show_ms(alert.fired_at_ns),
        "evaluated_at": time::show_ms(alert.at_ns),
        "resolved_at": (!alert.is_firing()).then(|| time::show_ms(alert.ends_at_ns.unwrap_or(alert.at_ns))),
        "values": alert.values(),
        "previous_values": alert.previous_values(),
        "threshold": alert.threshold,
        "input_rows": alert.input_rows,
        "sample": alert.sample.is_some().then(|| alert.sampled()),
        "labels": alert.labels,
        "annotations": alert.annotations,
        "links": [{"href": link(external_url, alert), "text": "incident"}],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::tests::{corrected, notification};

    #[test]
    fn the_signature_of_the_specifications_example() {
        let secrets = Secrets::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = secrets.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed.as_deref(), Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
    }

    #[test]
    fn two_secrets_sign_twice_and_none_is_shown() {
        let both = Secrets::parse(" new-one\nold-one ").unwrap();
        let sign = |secrets: &str| Secrets::parse(secrets).unwrap().sign("msg_1", 7, b"{}");
        let each = [sign("new-one").unwrap(), sign("old-one").unwrap()];
        assert_eq!(both.sign("msg_1", 7, b"{}").unwrap(), each.join(" "));
        assert_ne!(each[0], each[1]);
        assert_eq!(sign(""), None);
        assert_eq!(format!("{both:?}"), "2 secrets");
        assert!(Secrets::parse("whsec_!").is_err());
    }

    #[test]
    fn the_envelope() {
        let body: Value = serde_json::from_slice(&body(&notification(true), "http://here").unwrap()).unwrap();
        assert_eq!(body["type"], "alert.firing");
        assert_eq!(body["timestamp"], "1970-01-01T00:00:10.250Z");
        let data = &body["data"];
        assert_eq!((&data["receiver"], &data["reason"]), (&json!("ops"), &json!("new alerts added")));
        let group = json!({"key": "{}:{alertname=\"slow\"}", "labels": {"alertname": "slow"}, "size": 6, "truncated": 4, "message": 3});
        assert_eq!(data["group"], group);
        let expected = json!({
            "incident_id": "i2", "seq": 2, "rule": "slow", "key": {"service": "web"}, "state": "resolved",
            "severity": "critical", "previous_severity": "critical", "kind": "resolved", "reason": "condition_cleared",
            "revision": 0, "active_since": "1970-01-01T00:00:05.000Z", "fired_at": "1970-01-01T00:00:05.000Z",
            "evaluated_at": "1970-01-01T00:00:09.000Z", "resolved_at": "1970-01-01T00:00:09.000Z",
            "values": {"p99": 812.0}, "previous_values": null, "threshold": "p99 > 500",
            "input_rows": 240, "sample": [{"ms": 812.0}],
            "labels": {"alertname": "slow", "service": "web", "severity": "critical"},
            "annotations": {"summary": "web is slow"},
            "links": [{"href": "http://here/?alert=slow&incident=i2", "text": "incident"}],
        });
        assert_eq!(data["alerts"][1], expected);
        assert_eq!(data["alerts"][0]["resolved_at"], Value::Null);
    }

    #[test]
    fn a_correction_has_the_values_before_and_after() {
        let body: Value = serde_json::from_slice(&body(&corrected(), "http://here").unwrap()).unwrap();
        let alert = &body["data"]["alerts"][0];
        assert_eq!((&alert["kind"], &alert["reason"]), (&json!("revised"), &json!("input_corrected")));
        assert_eq!((&alert["previous_values"], &alert["values"]), (&json!({"p99": 812.0}), &json!({"p99": 640.0})));
        assert_eq!(alert["revision"], 1);
    }
}
