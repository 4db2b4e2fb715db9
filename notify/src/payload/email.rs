//! A mail: a subject, and the same in text and in HTML; the same bytes whenever it is made. The mails of a group are one
//! thread.

pub(super) mod html;

use super::template::{Place, Template};
use super::{correction, cut, hex, link, title};
use crate::alert::Alert;
use crate::notification::Notification;
use crate::time;
use lettre::Message;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Mailboxes, MultiPart, MultiPartBuilder, MultiPartKind, SinglePart};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::options::Options;

/// How many alerts are spelled out; the others are counted.
const ALERTS_MAX: usize = 50;
/// Mail programs show less.
const SUBJECT_CHARS: usize = 200;

/// Who writes to whom, and how it is put.
pub struct Letter {
    from: Mailbox,
    to: Mailboxes,
    text: Option<Template>,
    html: Html,
}

/// The part in HTML.
enum Html {
    Usual,
    Template(Template),
    None,
}

impl Letter {
    /// What the options `from`, `to`, `text` and `html` of `owner` say.
    pub fn read(owner: &str, options: &Options) -> Result<Letter> {
        let get = |option: &str| options.get(option).unwrap_or_default();
        let wrong = |option: &str, example: &str| {
            Error::user(format!("option \"{option}\" of {owner} is not an address"))
                .with_hint(format!("Write it as '{example}'."))
        };
        let about = |error: Error| Error { message: format!("{} in {owner}", error.message), ..error };
        let from = get("from").parse().map_err(|_| wrong("from", "Thalweg <alerts@example.org>"))?;
        let to: Option<Mailboxes> = get("to").parse().ok().filter(|to: &Mailboxes| to.iter().next().is_some());
        let html = match options.get("html").map(str::trim) {
            None => Html::Usual,
            Some("") => Html::None,
            Some(html) => Html::Template(Template::parse(html).map_err(about)?),
        };
        let to = to.ok_or_else(|| wrong("to", "ada@example.org, Ops <ops@example.org>"))?;
        let text = options.get("text").map(|text| Template::parse(text).map_err(about)).transpose()?;
        Ok(Letter { from, to, text, html })
    }

    /// The mail.
    pub fn message(&self, notification: &Notification, external_url: &str) -> Result<Message> {
        let domain = self.from.email.domain();
        let thread = Sha256::digest(format!("{} {}", notification.notifier, notification.group_key));
        let thread = format!("<group_{}@{domain}>", hex(&thread[..16]));
        let automatic =
            HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_string());
        let created = Duration::from_nanos(u64::try_from(notification.created_at_ns).unwrap_or_default());
        let mail = Message::builder()
            .from(self.from.clone())
            .mailbox(lettre::message::header::To::from(self.to.clone()))
            .subject(cut(&title(notification), SUBJECT_CHARS))
            .date(UNIX_EPOCH + created)
            .message_id(Some(format!("<{}@{domain}>", notification.id)))
            .in_reply_to(thread.clone())
            .references(thread)
            // Nobody is on holiday here (RFC 3834).
            .raw_header(automatic);
        let text = match &self.text {
            Some(template) => template.put(|place| place.text(notification, external_url))?,
            None => text(notification, external_url),
        };
        let html = match &self.html {
            Html::None => None,
            Html::Usual => Some(html::document(notification, external_url)),
            Html::Template(template) => Some(template.put(|place| {
                Ok(match place {
                    Place::Alerts => html::alerts(notification, external_url),
                    place => html::escaped(&place.text(notification, external_url)?),
                })
            })?),
        };
        let failed = |error: lettre::error::Error| Error::bug(format!("a mail: {error}"));
        match html {
            None => mail.header(ContentType::TEXT_PLAIN).body(text).map_err(failed),
            // What comes last is what a mail program prefers (RFC 2046, 5.1.4).
            Some(html) => mail
                .multipart(
                    both(&notification.id).singlepart(SinglePart::plain(text)).singlepart(SinglePart::html(html)),
                )
                .map_err(failed),
        }
    }
}

/// Parts that say the same; what lies between them is the message's id, since chance would make another mail of it.
fn both(id: &str) -> MultiPartBuilder {
    MultiPart::builder().kind(MultiPartKind::Alternative).boundary(id)
}

fn text(notification: &Notification, external_url: &str) -> String {
    format!("{}\n{}\n\n{}", title(notification), notification.group_labels, alerts(notification, external_url))
}

/// The alerts of a message, one paragraph after the other.
pub(super) fn alerts(notification: &Notification, external_url: &str) -> String {
    let alerts = notification.alerts.iter().take(ALERTS_MAX);
    let mut paragraphs: Vec<String> = alerts.map(|alert| paragraph(alert, external_url)).collect();
    paragraphs.extend(more(notification).map(|count| format!("and {count} more\n")));
    paragraphs.join("\n")
}

/// How many alerts are not spelled out.
fn more(notification: &Notification) -> Option<usize> {
    Some(notification.alerts.len().saturating_sub(ALERTS_MAX) + notification.truncated).filter(|more| *more > 0)
}

fn summary(alert: &Alert) -> String {
    alert.annotations.get("summary").map_or_else(|| alert.identity().to_string(), str::to_string)
}

fn paragraph(alert: &Alert, external_url: &str) -> String {
    let mut text = format!("{}: {}\n", alert.status.name(), summary(alert));
    for (name, fact) in facts(alert) {
        let _written = writeln!(text, "  {name}: {fact}");
    }
    let _written = writeln!(text, "  from {}\n  {}", span(alert), link(external_url, alert));
    text
}

/// What is said of an alert besides its summary, by name.
fn facts(alert: &Alert) -> Vec<(String, String)> {
    let mut facts = vec![("labels".to_string(), alert.labels.to_string())];
    let texts = alert.annotations.iter().filter(|(name, _)| *name != "summary");
    facts.extend(texts.map(|(name, value)| (name.to_string(), value.to_string())));
    if let Some(threshold) = &alert.threshold {
        facts.push(("because".to_string(), format!("{threshold}, with {}", alert.values())));
    }
    facts.extend(correction(alert).map(|correction| ("corrected".to_string(), correction)));
    if let (Some(of), Some(row)) = (alert.input_rows, alert.sampled().first()) {
        facts.push(("behind it".to_string(), format!("{of} rows, such as {row}")));
    }
    facts
}

/// Since when it fires, and until when it did.
fn span(alert: &Alert) -> String {
    let until = alert.ends_at_ns.map_or_else(String::new, |at| format!(" until {}", time::show(at)));
    format!("{}{until}", time::show(alert.fired_at_ns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::tests::{corrected, notification};
    use thalweg_schemas::options::GivenOption;

    fn letter(given: &[(&str, &str)]) -> Result<Letter> {
        let own = [("from", "Thalweg <alerts@example.org>"), ("to", "ada@example.org, Ops <ops@example.net>")];
        let own = [("type", "email"), ("smarthost", "localhost:25")].iter().chain(&own);
        let own = own.filter(|(name, _)| given.iter().all(|(other, _)| name != other));
        let given: Vec<GivenOption> = own
            .chain(given)
            .map(|(name, value)| GivenOption { name: name.to_string(), value: value.to_string(), position: None })
            .collect();
        let specs = crate::notifier::options_of("email");
        Letter::read("notifier \"ops\"", &Options::check(&specs, &given, "it").unwrap())
    }

    fn lines(mail: &Message) -> String {
        String::from_utf8(mail.formatted()).unwrap().replace("\r\n", "\n")
    }

    #[test]
    fn a_mail_line_by_line() {
        let notification = notification(true);
        let letter = letter(&[("html", "")]).unwrap();
        let mail = letter.message(&notification, "http://here").unwrap();
        let formatted = lines(&mail);
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
        let again = letter.message(&notification, "http://here").unwrap();
        assert_eq!(again.formatted(), mail.formatted(), "one id, one content");
    }

    #[test]
    fn a_mail_says_what_was_corrected() {
        let said = "\n  corrected: it was judged by {\"p99\":812.0}, which was corrected to {\"p99\":640.0}\n";
        let text = text(&corrected(), "http://here");
        assert!(text.contains(said), "{text}");
    }

    #[test]
    fn the_same_is_there_in_text_and_in_html() {
        let (message, letter) = (notification(true), letter(&[]).unwrap());
        let mail = letter.message(&message, "http://here").unwrap();
        let formatted = lines(&mail);
        let boundary = format!("multipart/alternative;\n boundary=\"{}\"", message.id);
        assert!(formatted.contains(&boundary), "{formatted}");
        let at = |text: &str| formatted.find(text).unwrap_or_else(|| panic!("no {text} in {formatted}"));
        assert!(at("Content-Type: text/plain") < at("firing: api is slow"));
        assert!(at("firing: api is slow") < at("Content-Type: text/html"));
        assert!(at("Content-Type: text/html") < at("<!DOCTYPE html>"));
        let again = letter.message(&message, "http://here").unwrap();
        assert_eq!(again.formatted(), mail.formatted(), "one id, one content");
    }

    #[test]
    fn templates_put_both_in_other_words() {
        let mut message = notification(false);
        message.alerts[0].make_mut().annotations = crate::alert::Labels::new().with("summary", "a < b");
        let given =
            [("text", "{{title}}: {{annotations.summary}}"), ("html", "<b>{{annotations.summary}}</b>{{alerts}}")];
        let formatted = lines(&letter(&given).unwrap().message(&message, "http://here").unwrap());
        assert!(formatted.contains("\n[FIRING:1] slow (api critical): a < b\n"), "{formatted}");
        assert!(formatted.contains("<b>a &lt; b</b><div"), "{formatted}");
        let error = letter(&[("html", "{{titel}}")]).err().unwrap();
        assert_eq!(error.message, "a template names {{titel}}, which does not exist in notifier \"ops\"");
    }

    #[test]
    fn addresses_are_read() {
        let mail = letter(&[]).unwrap().message(&notification(false), "http://here").unwrap();
        let to: Vec<String> = mail.envelope().to().iter().map(ToString::to_string).collect();
        assert_eq!(to, ["ada@example.org", "ops@example.net"]);
        let refused = |from: &str, to: &str| letter(&[("from", from), ("to", to)]).err().unwrap().message;
        assert_eq!(refused("nobody", "a@b.c"), "option \"from\" of notifier \"ops\" is not an address");
        assert_eq!(refused("a@b.c", ""), "option \"to\" of notifier \"ops\" is not an address");
    }
}
