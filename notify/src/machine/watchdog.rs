//! The dead man's switch: a notifier is told again and again that the engine is at work, by an alert that always fires. When
//! it is no longer told, its receiver knows that nobody would tell it of anything else either.
//!
//! The alert is Prometheus's `Watchdog`. A beat that was not delivered when the next one is due has no worth, and gives way.

use super::Machine;
use crate::alert::{ALERTNAME, Alert, Labels};
use crate::notification::{Notification, Reason};

/// The alert's name.
pub const WATCHDOG: &str = "Watchdog";
/// Its severity, which is Prometheus's too.
const NONE: &str = "none";

impl Machine {
    /// A notifier is to be told that the engine is at work.
    pub(super) fn beat(&mut self, now_ns: i64, notifier: &str) {
        let Some(interval_ns) = self.config.notifiers.get(notifier).map(|policy| policy.watchdog_ns) else { return };
        let beat = notification(notifier, interval_ns, now_ns);
        let older = self.state.deliveries.values().filter(|delivery| {
            delivery.notification.notifier == notifier && delivery.notification.group_key == beat.group_key
        });
        let (trying, older): (Vec<_>, Vec<_>) = older.partition(|delivery| delivery.in_attempt);
        let older: Vec<String> = older.iter().map(|delivery| delivery.notification.id.clone()).collect();
        if !trying.is_empty() {
            return;
        }
        older.iter().for_each(|id| self.supersede(now_ns, id));
        self.queue(now_ns, beat);
    }
}

/// A beat: a function of the time at which it is made.
fn notification(notifier: &str, interval_ns: i64, now_ns: i64) -> Notification {
    let group_labels = Labels::new().with(ALERTNAME, WATCHDOG);
    let summary = "Thalweg is at work: this alert always fires, and something is wrong when it no longer comes.";
    let annotations = Labels::new().with("summary", summary);
    // Beats are told apart by their time, as the events of an incident are by their number.
    let alert = Alert::own((WATCHDOG, NONE), (&WATCHDOG.to_lowercase(), now_ns), Labels::new(), annotations, now_ns);
    let mut notification = Notification {
        id: String::new(),
        notifier: notifier.to_string(),
        group_key: format!("{{}}:{group_labels}"),
        group_labels,
        reason: Reason::Repeat,
        number: 1,
        alerts: vec![alert.into()],
        truncated: 0,
        created_at_ns: now_ns,
        repeat_interval_ns: interval_ns,
    };
    notification.id = notification.id_of();
    notification
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Policy};
    use crate::machine::{Input, Machine, State};
    use crate::notification::Outcome;
    use crate::time::SECOND;

    fn machine() -> Machine {
        let policy = Policy { watchdog_ns: 60 * SECOND, ..Policy::default() };
        let config = Config { notifiers: [("pulse".to_string(), policy)].into(), ..Config::default() };
        Machine::new(config, State::default())
    }

    #[test]
    fn a_beat_is_told_once_and_an_old_one_gives_way() {
        let mut machine = machine();
        machine.apply(0, Input::Beat("pulse".into()));
        let first = machine.ready("pulse", 0).unwrap().notification.clone();
        assert_eq!(first.alerts[0].labels.get("alertname"), Some("Watchdog"));
        machine.apply(60 * SECOND, Input::Beat("pulse".into()));
        let second = machine.ready("pulse", 60 * SECOND).unwrap().notification.clone();
        assert_ne!(first.id, second.id, "each beat has an id of its own");
        machine.apply(60 * SECOND, Input::Started(second.id.clone()));
        machine.apply(120 * SECOND, Input::Beat("pulse".into()));
        assert!(machine.ready("pulse", 120 * SECOND).is_none(), "one is being tried");
        machine.apply(121 * SECOND, Input::Ended(second.id, Outcome::Delivered { http_status: 200 }, 1));
        assert!(machine.is_quiet());
        let outcomes: Vec<String> = machine.attempts().into_iter().map(|attempt| attempt.outcome).collect();
        assert_eq!(outcomes, ["superseded", "delivered"]);
        machine.apply(180 * SECOND, Input::Beat("unknown".into()));
        assert!(machine.is_quiet(), "a notifier that is no more");
    }
}
