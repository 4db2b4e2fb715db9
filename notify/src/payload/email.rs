//! A mail: a subject and plain text, the same bytes whenever it is made. The mails of a group are one thread.

use super::{cut, hex, link, title};
use crate::alert::{Alert, show};
use crate::notification::Notification;
use crate::time;
use lettre::Message;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Mailboxes};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};
use thalweg_schemas::error::{Error, Result};

/// How many alerts are spelled out; the others are counted.
const ALERTS_MAX: usize = 50;
/// Mail programs show less.
const SUBJECT_CHARS: usize = 200;

/// Who writes to whom.
pub struct Addresses {
    from: Mailbox,
    to: Mailboxes,
}

impl Addresses {
    /// The addresses in the options `from` and `to` of `owner`.
    pub fn read(owner: &str, from: &str, to: &str) -> Result<Addresses> {
        let wrong = |option: &str, example: &str| {
            Error::user(format!("option \"{option}\" of {owner} is not an address"))
                .with_hint(format!("Write it as '{example}'."))
        };
        let from = from.parse().map_err(|_| wrong("from", "Thalweg <alerts@example.org>"))?;
        let to: Option<Mailboxes> = to.parse().ok().filter(|to: &Mailboxes| to.iter().next().is_some());
        Ok(Addresses { from, to: to.ok_or_else(|| wrong("to", "ada@example.org, Ops <ops@example.org>"))? })
    }
}

/// The mail.
pub fn message(notification: &Notification, addresses: &Addresses, external_url: &str) -> Result<Message> {
    let domain = addresses.from.email.domain();
    let thread = Sha256::digest(format!("{} {}", notification.notifier, notification.group_key));
    let thread = format!("<group_{}@{domain}>", hex(&thread[..16]));
    let automatic = HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_string());
    let created = Duration::from_nanos(u64::try_from(notification.created_at_ns).unwrap_or_default());
    let mail = Message::builder()
        .from(addresses.from.clone())
        .mailbox(lettre::message::header::To::from(addresses.to.clone()))
        .subject(cut(&title(notification), SUBJECT_CHARS))
        .date(UNIX_EPOCH + created)
        .message_id(Some(format!("<{}@{domain}>", notification.id)))
        .in_reply_to(thread.clone())
        .references(thread)
        // Nobody is on holiday here (RFC 3834).
        .raw_header(automatic)
        .header(ContentType::TEXT_PLAIN);
    let failed = |error: lettre::error::Error| Error::bug(format!("a mail: {error}"));
    mail.body(text(notification, external_url)).map_err(failed)
}

fn text(notification: &Notification, external_url: &str) -> String {
    let mut text = format!("{}\n{}\n", title(notification), show(&notification.group_labels));
    for alert in notification.alerts.iter().take(ALERTS_MAX) {
        text.push_str(&paragraph(alert, external_url));
    }
    let more = notification.alerts.len().saturating_sub(ALERTS_MAX) + notification.truncated;
    if more > 0 {
        let _written = write!(text, "\nand {more} more\n");
    }
    text
}

fn paragraph(alert: &Alert, external_url: &str) -> String {
    let status = alert.status.name();
    let summary = alert.annotations.get("summary").cloned().unwrap_or_else(|| show(&alert.identity()));
    let mut text = format!("\n{status}: {summary}\n  labels: {}\n", show(&alert.labels));
    for (name, value) in alert.annotations.iter().filter(|(name, _)| *name != "summary") {
        let _written = writeln!(text, "  {name}: {value}");
    }
    if let Some(threshold) = &alert.threshold {
        let _written = writeln!(text, "  because: {threshold}, with {}", alert.values);
    }
    if let (Some(of), Some(row)) = (alert.input_rows, alert.sampled().first()) {
        let _written = writeln!(text, "  behind it: {of} rows, such as {row}");
    }
    let until = alert.ends_at_ns.map_or_else(String::new, |at| format!(" until {}", time::show(at)));
    let _written = writeln!(text, "  from {}{until}\n  {}", time::show(alert.fired_at_ns), link(external_url, alert));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::tests::notification;

    fn addresses() -> Addresses {
        Addresses::read("it", "Thalweg <alerts@example.org>", "ada@example.org, Ops <ops@example.net>").unwrap()
    }

    #[test]
    fn a_mail_line_by_line() {
        let notification = notification(true);
        let mail = message(&notification, &addresses(), "http://here").unwrap();
        let formatted = String::from_utf8(mail.formatted()).unwrap().replace("\r\n", "\n");
        let (headers, body) = formatted.split_once("\n\n").unwrap();
        let header = |name: &str| {
            let line = headers.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            line.unwrap_or_else(|| panic!("no {name} in {headers}"))
        };
        assert_eq!(header("Subject"), "[FIRING:1] slow (critical)");
        assert_eq!(header("Message-ID"), format!("<{}@example.org>", notification.id));
        assert_eq!(header("Date"), "Thu, 01 Jan 1970 00:00:10 +0000");
        assert_eq!((header("Auto-Submitted"), header("In-Reply-To")), ("auto-generated", header("References")));
        let expected = "[FIRING:1] slow (critical)\n{alertname=\"slow\"}\n\n\
            firing: api is slow\n  labels: {alertname=\"slow\", service=\"api\", severity=\"critical\"}\n\
            \x20 because: p99 > 500, with {\"p99\":812.0}\n  behind it: 240 rows, such as {\"ms\":812.0}\n  from 1970-01-01T00:00:07Z\n\
            \x20 http://here/?alert=slow&incident=i1\n\n\
            resolved: web is slow\n  labels: {alertname=\"slow\", service=\"web\", severity=\"critical\"}\n\
            \x20 because: p99 > 500, with {\"p99\":812.0}\n  behind it: 240 rows, such as {\"ms\":812.0}\n  from 1970-01-01T00:00:05Z until 1970-01-01T00:00:09Z\n\
            \x20 http://here/?alert=slow&incident=i2\n\nand 4 more\n";
        assert_eq!(body.trim_end(), expected.trim_end());
        let again = message(&notification, &addresses(), "http://here").unwrap();
        assert_eq!(again.formatted(), mail.formatted(), "one id, one content");
    }

    #[test]
    fn addresses_are_read() {
        let mail = message(&notification(false), &addresses(), "http://here").unwrap();
        let to: Vec<String> = mail.envelope().to().iter().map(ToString::to_string).collect();
        assert_eq!(to, ["ada@example.org", "ops@example.net"]);
        let refused = |from: &str, to: &str| Addresses::read("notifier \"ops\"", from, to).err().unwrap().message;
        assert_eq!(refused("nobody", "a@b.c"), "option \"from\" of notifier \"ops\" is not an address");
        assert_eq!(refused("a@b.c", ""), "option \"to\" of notifier \"ops\" is not an address");
    }
}
