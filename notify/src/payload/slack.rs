//! Slack's incoming webhooks: one attachment with a colour, a title and a line for each alert.

use super::{correction, cut, link, title};
use crate::alert::{Alert, Status};
use crate::notification::Notification;
use serde_json::json;
use thalweg_schemas::error::{Error, Result};

/// How many alerts are spelled out; the others are counted.
const LINES_MAX: usize = 20;
/// Slack cuts longer texts itself; titles are Alertmanager's length.
const TITLE_CHARS: usize = 1_024;

/// The body.
pub fn body(notification: &Notification, external_url: &str) -> Result<Vec<u8>> {
    let title = cut(&title(notification), TITLE_CHARS);
    let mut lines: Vec<String> = notification.alerts.iter().take(LINES_MAX).map(|alert| line(alert)).collect();
    let more = notification.alerts.len().saturating_sub(LINES_MAX) + notification.truncated;
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    let color = match notification.status() {
        Status::Firing if notification.alerts.iter().any(|a| a.is_firing() && &*a.severity == "critical") => "danger",
        Status::Firing => "warning",
        Status::Resolved => "good",
    };
    let href = notification.alerts.first().map(|alert| link(external_url, alert));
    let body = json!({
        "attachments": [{
            "color": color,
            "title": title,
            "title_link": href,
            "text": lines.join("\n"),
            "fallback": title,
            "mrkdwn_in": ["text"],
        }],
    });
    serde_json::to_vec(&body).map_err(|error| Error::bug(format!("a message to Slack: {error}")))
}

fn line(alert: &Alert) -> String {
    let said = alert.annotations.get("summary").or_else(|| alert.annotations.get("description"));
    let said = said.map_or_else(|| alert.identity().to_string(), str::to_string);
    let corrected = correction(alert).map_or_else(String::new, |correction| format!("; {correction}"));
    format!("*{}* {}", alert.status.name(), escaped(&format!("{said}{corrected}")))
}

/// Slack's three characters.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Whether Slack took a message that it answered with a success: anything but `ok` is a fault that stays.
pub fn is_taken(answer: &str) -> bool {
    answer.trim() == "ok"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Labels;
    use crate::payload::tests::{corrected, notification};
    use serde_json::Value;

    fn value(notification: &Notification) -> Value {
        serde_json::from_slice(&body(notification, "http://here").unwrap()).unwrap()
    }

    #[test]
    fn an_attachment_field_by_field() {
        let mut both = notification(true);
        both.alerts[0].make_mut().annotations = Labels::new().with("summary", "p99 > 500 & rising");
        let expected = json!({
            "attachments": [{
                "color": "danger",
                "title": "[FIRING:1] slow (critical)",
                "title_link": "http://here/?alert=slow&incident=i1",
                "text": "*firing* p99 &gt; 500 &amp; rising\n*resolved* web is slow\nand 4 more",
                "fallback": "[FIRING:1] slow (critical)",
                "mrkdwn_in": ["text"],
            }],
        });
        assert_eq!(value(&both), expected);
        let text = value(&corrected())["attachments"][0]["text"].clone();
        let said = r#"*firing* api is slow; it was judged by {"p99":812.0}, which was corrected to {"p99":640.0}"#;
        assert_eq!(text, format!("{said}\nand 4 more"));
        both.alerts.remove(0);
        both.alerts[0].make_mut().annotations = Labels::new();
        let attachment = &value(&both)["attachments"][0];
        assert_eq!(attachment["color"], "good");
        assert_eq!(attachment["text"], "*resolved* {alertname=\"slow\", service=\"web\"}\nand 4 more");
    }

    #[test]
    fn only_ok_is_ok() {
        assert!(is_taken("ok\n") && !is_taken("no_service"));
    }
}
