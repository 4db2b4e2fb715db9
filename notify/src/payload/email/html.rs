//! The HTML of a mail: what its text says, with a colour for each alert and links to follow. It loads nothing from anywhere
//! and knows no style sheet, since many mail programs allow neither.

use super::{ALERTS_MAX, facts, more, span, summary};
use crate::alert::Alert;
use crate::notification::Notification;
use crate::payload::{link, title};
use std::fmt::Write;

/// The colours of what is over, and of what fires at a severity.
fn color(alert: &Alert) -> &'static str {
    match &*alert.severity {
        _ if !alert.is_firing() => "#2e7d32",
        "critical" | "page" => "#c62828",
        "warning" => "#ef6c00",
        _ => "#1565c0",
    }
}

/// Text as a part of HTML.
pub(in crate::payload) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A whole document.
pub(super) fn document(notification: &Notification, external_url: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"></head>\n\
         <body style=\"font-family:sans-serif;font-size:14px;color:#222\">\n\
         <h2 style=\"font-size:18px\">{}</h2>\n<p style=\"color:#666\">{}</p>\n{}</body></html>\n",
        escaped(&title(notification)),
        escaped(&notification.group_labels.to_string()),
        alerts(notification, external_url),
    )
}

/// The alerts of a message, one block after the other.
pub(in crate::payload) fn alerts(notification: &Notification, external_url: &str) -> String {
    let mut html = String::new();
    for alert in notification.alerts.iter().take(ALERTS_MAX) {
        block(&mut html, alert, external_url);
    }
    if let Some(count) = more(notification) {
        let _written = writeln!(html, "<p>and {count} more</p>");
    }
    html
}

fn block(html: &mut String, alert: &Alert, external_url: &str) {
    let color = color(alert);
    let _written = writeln!(
        html,
        "<div style=\"margin:0 0 16px;padding:0 0 0 12px;border-left:4px solid {color}\">\n\
         <p style=\"margin:0\"><b style=\"color:{color}\">{}</b> {}</p>\n<table cellpadding=\"2\">",
        alert.status.name(),
        escaped(&summary(alert)),
    );
    for (name, fact) in facts(alert).into_iter().chain([("from".to_string(), span(alert))]) {
        let (name, fact) = (escaped(&name), escaped(&fact));
        let _written = writeln!(html, "<tr><td style=\"color:#666\">{name}</td><td>{fact}</td></tr>");
    }
    let href = escaped(&link(external_url, alert));
    let _written = writeln!(html, "</table>\n<p style=\"margin:0\"><a href=\"{href}\">incident</a></p></div>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Labels;
    use crate::payload::tests::notification;

    #[test]
    fn what_comes_from_rows_is_no_markup() {
        let mut message = notification(true);
        message.alerts[0].make_mut().annotations =
            Labels::new().with("summary", "<script>alert('x')</script>").with("runbook", "a & \"b\"");
        let html = document(&message, "http://here");
        assert!(!html.contains("<script"), "{html}");
        assert!(html.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"), "{html}");
        assert!(html.contains("<td style=\"color:#666\">runbook</td><td>a &amp; &quot;b&quot;</td>"), "{html}");
        assert!(html.contains("<a href=\"http://here/?alert=slow&amp;incident=i1\">"), "{html}");
        assert!(html.contains("#c62828\">firing</b>") && html.contains("#2e7d32\">resolved</b> web is slow"), "{html}");
        assert!(html.contains("<p>and 4 more</p>"));
    }
}
