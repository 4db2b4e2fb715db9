//! Messages that are dead raise an alert of their own, which the `fallback` of their notifier is told of.
//!
//! It goes the way of every alert: it may be silenced, is repeated, and is over when its notifier has taken a message again.

use super::Machine;
use crate::alert::{Alert, Labels, Status};
use crate::notification::Notification;
use crate::payload::{hex, title};
use crate::shared::Shared;
use sha2::{Digest, Sha256};
use thalweg_schemas::alert_event::{Kind, Reason};

/// The alert's name. It is none that a statement could declare.
pub(crate) const DELIVERY_FAILED: &str = "thalweg.delivery_failed";
/// The label that holds the notifier whose message is dead.
pub(crate) const NOTIFIER: &str = "notifier";
const SEVERITY: &str = "critical";

impl Machine {
    /// A message to its notifier is dead.
    pub(super) fn miss(&mut self, now_ns: i64, message: &Notification, error: &str) {
        let notifier = &message.notifier;
        let has_fallback = self.config.notifiers.get(notifier).is_some_and(|policy| !policy.fallback.is_empty());
        if has_fallback && !self.state.missed.contains_key(notifier) {
            let alert = Shared::from(missed(now_ns, message, error));
            self.state.missed.insert(notifier.clone(), alert.clone());
            self.take(now_ns, alert);
        }
    }

    /// A notifier has taken a message.
    pub(super) fn reach(&mut self, now_ns: i64, notifier: &str) {
        let Some(mut alert) = self.state.missed.remove(notifier) else { return };
        let over = alert.make_mut();
        (over.seq, over.kind, over.reason) = (over.seq + 1, Kind::Resolved, Reason::ConditionCleared);
        (over.status, over.at_ns, over.ends_at_ns) = (Status::Resolved, now_ns, Some(now_ns));
        self.take(now_ns, alert);
    }
}

/// The alert that `message` is dead: an incident of its own.
fn missed(now_ns: i64, message: &Notification, error: &str) -> Alert {
    let incident = hex(&Sha256::digest(format!("{DELIVERY_FAILED} {} {now_ns}", message.id))[..8]);
    let key = Labels::new().with(NOTIFIER, &message.notifier);
    let summary = format!("{} was not told: {}", message.notifier, title(message));
    let annotations = Labels::new().with("summary", &summary).with("error", error).with("message", &message.id);
    Alert::own((DELIVERY_FAILED, SEVERITY), (&incident, 1), key, annotations, now_ns)
}

#[cfg(test)]
mod tests {
    use crate::alert::tests::firing;
    use crate::config::{Config, Policy};
    use crate::machine::{Input, Machine, State};
    use crate::notification::{Notification, Outcome};
    use crate::time::SECOND;

    fn answer(machine: &mut Machine, second: i64, notifier: &str, outcome: Outcome) -> Notification {
        let now_ns = second * SECOND;
        let message = machine.ready(notifier, now_ns).unwrap().notification.clone();
        machine.apply(now_ns, Input::Started(message.id.clone()));
        machine.apply(now_ns, Input::Ended(message.id.clone(), outcome, 1));
        message
    }

    fn fire(machine: &mut Machine, second: i64, service: &str) {
        let epoch = machine.state().epoch + 1;
        let event = firing("slow", service, &format!("i-{service}"), "warning", second);
        machine.apply(second * SECOND, Input::Alerts(epoch, Machine::alerts_of(&[event])));
    }

    #[test]
    fn who_is_named_hears_that_a_message_is_dead_once_and_that_the_next_arrived() {
        let told = Policy { fallback: vec!["mail".into()], ..Policy::default() };
        let circle = Policy { fallback: vec!["ops".into()], ..Policy::default() };
        let config = Config {
            notifiers: [("ops".to_string(), told), ("mail".to_string(), circle)].into(),
            routes: [("slow".to_string(), vec!["ops".to_string()])].into(),
            ..Config::default()
        };
        let mut machine = Machine::new(config, State::default());
        let refused = || Outcome::Refused { http_status: Some(400), error: "no such channel".into() };
        fire(&mut machine, 0, "api");
        let dead = answer(&mut machine, 0, "ops", refused());
        let said = machine.ready("mail", 0).unwrap().notification.clone();
        let alert = &said.alerts[0];
        assert_eq!(alert.annotations.get("summary"), Some("ops was not told: [FIRING:1] slow (api warning)"));
        assert_eq!(alert.annotations.get("error"), Some("no such channel"));
        assert_eq!(alert.annotations.get("message"), Some(dead.id.as_str()));
        fire(&mut machine, 1, "web");
        answer(&mut machine, 1, "ops", refused());
        answer(&mut machine, 1, "mail", Outcome::Delivered { http_status: 250 });
        assert!(machine.ready("mail", 1).is_none(), "it is known");
        fire(&mut machine, 2, "db");
        answer(&mut machine, 2, "ops", Outcome::Delivered { http_status: 200 });
        let over = answer(&mut machine, 2, "mail", refused());
        assert_eq!(over.status().name(), "resolved");
        let circle = answer(&mut machine, 2, "ops", refused());
        assert_eq!(circle.alerts[0].labels.get("notifier"), Some("mail"));
        let again = answer(&mut machine, 2, "mail", refused());
        assert_eq!(again.alerts[0].labels.get("notifier"), Some("ops"));
        assert!(machine.is_quiet() || machine.ready("ops", 2).is_none(), "those who tell of each other come to an end");
    }
}
