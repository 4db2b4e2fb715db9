//! The bodies of requests: pure functions of a notification, one for each form that receivers know.

pub mod alertmanager;
pub mod email;
pub mod pagerduty;
pub mod slack;
pub mod standard;
pub mod template;

use crate::alert::{ALERTNAME, Alert, Labels, Status, shared};
use crate::notification::Notification;

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where the alert can be looked at.
pub(crate) fn link(external_url: &str, alert: &Alert) -> String {
    format!("{external_url}/?alert={}&incident={}", encoded(&alert.alert), encoded(&alert.incident_id))
}

/// A text as part of a URL's query.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// The labels that all alerts of a message have.
pub(crate) fn common_labels(notification: &Notification) -> Labels {
    shared(notification.alerts.iter().map(|alert| &alert.labels))
}

/// The annotations that all alerts of a message have.
pub(crate) fn common_annotations(notification: &Notification) -> Labels {
    shared(notification.alerts.iter().map(|alert| &alert.annotations))
}

/// What was corrected, in a few words; `None`: nothing.
pub(crate) fn correction(alert: &Alert) -> Option<String> {
    let before = alert.previous_values.as_ref()?;
    Some(format!("it was judged by {before}, which was corrected to {}", alert.values))
}

/// One line for people, in the words of Alertmanager's default template: `[FIRING:2] slow (api eu)`.
pub(crate) fn title(notification: &Notification) -> String {
    let status = notification.status();
    let firing = notification.alerts.iter().filter(|alert| alert.is_firing()).count();
    let count = if status == Status::Firing { format!(":{firing}") } else { String::new() };
    let common = common_labels(notification);
    let alert = common.get(ALERTNAME).unwrap_or("alerts");
    let others: Vec<&str> = common.iter().filter(|(name, _)| *name != ALERTNAME).map(|(_, value)| value).collect();
    let others = if others.is_empty() { String::new() } else { format!(" ({})", others.join(" ")) };
    format!("[{}{count}] {alert}{others}", status.name().to_uppercase())
}

/// The first `count` characters, the last of them a `…` where more were cut off.
pub(crate) fn cut(text: &str, count: usize) -> String {
    if text.chars().count() <= count {
        return text.to_string();
    }
    text.chars().take(count.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::alert::tests::{firing, labels, resolved, revised};
    use crate::notification::Reason;
    use crate::shared::Shared;

    /// A message of one firing and, with `both`, one resolved alert of the same name.
    pub(crate) fn notification(both: bool) -> Notification {
        let api = firing("slow", "api", "i1", "critical", 7);
        let web = resolved(&firing("slow", "web", "i2", "critical", 5), 9);
        let events = [Some(api), Some(web).filter(|_| both)];
        let mut notification = Notification {
            id: String::new(),
            notifier: "ops".to_string(),
            group_key: "{}:{alertname=\"slow\"}".to_string(),
            group_labels: labels(&[("alertname", "slow")]),
            reason: Reason::NewAlerts,
            number: 3,
            alerts: events.iter().flatten().filter_map(Alert::of).map(Shared::from).collect(),
            truncated: 4,
            created_at_ns: 10_250_000_000,
            repeat_interval_ns: 60_000_000_000,
        };
        notification.id = notification.id_of();
        notification
    }

    /// A message of an alert that fires and was judged by other values than it should have been.
    pub(crate) fn corrected() -> Notification {
        let mut corrected = notification(false);
        let event = revised(&firing("slow", "api", "i1", "critical", 7), r#"{"p99":640.0}"#);
        corrected.alerts = Alert::of(&event).map(Shared::from).into_iter().collect();
        corrected
    }

    #[test]
    fn a_title_counts_what_fires() {
        assert_eq!(title(&notification(false)), "[FIRING:1] slow (api critical)");
        assert_eq!(title(&notification(true)), "[FIRING:1] slow (critical)");
        let mut over = notification(true);
        over.alerts.remove(0);
        assert_eq!(title(&over), "[RESOLVED] slow (web critical)");
    }

    #[test]
    fn texts_are_cut_and_encoded() {
        assert_eq!((cut("übung", 5), cut("übung", 4)), ("übung".into(), "übu…".into()));
        assert_eq!(encoded("a b/ü"), "a%20b%2F%C3%BC");
    }
}
