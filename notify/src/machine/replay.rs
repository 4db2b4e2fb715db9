//! Messages that are dead: kept, so that they can be sent again when what was wrong with their receiver is mended.
//!
//! Of each group the last message is kept, if it is dead: what came before it is no longer true, and when a later one
//! arrives it is not either. So sending it again tells the receiver what it would know if it had never refused. It is the
//! message that it was, with its id.

use super::Machine;
use super::group::Pending;
use crate::notification::{Attempt, Notification};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How many alerts the messages that are kept may have, together.
const ALERTS_MAX: usize = 10_000;

/// A message that is dead.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct DeadLetter {
    notification: Notification,
    /// What its receiver knows when it has arrived.
    pending: Box<Pending>,
    /// The try that was the last.
    last: Attempt,
}

/// The messages that are dead, by their ids.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Vec<DeadLetter>", into = "Vec<DeadLetter>")]
pub(crate) struct DeadLetters {
    letters: BTreeMap<String, DeadLetter>,
    /// By notifier and group.
    last: BTreeMap<(String, String), String>,
    alerts: usize,
}

impl DeadLetters {
    fn put(&mut self, letter: DeadLetter) {
        self.forget_group(&letter.notification);
        self.alerts += letter.notification.alerts.len();
        self.last.insert(group_of(&letter.notification), letter.notification.id.clone());
        self.letters.insert(letter.notification.id.clone(), letter);
        while self.alerts > ALERTS_MAX && self.letters.len() > 1 {
            let oldest = self.letters.iter().min_by_key(|(_, letter)| letter.last.at_ns).map(|(id, _)| id.clone());
            oldest.into_iter().for_each(|id| drop(self.take(&id)));
        }
    }

    fn take(&mut self, id: &str) -> Option<DeadLetter> {
        let letter = self.letters.remove(id)?;
        self.alerts -= letter.notification.alerts.len();
        self.last.remove(&group_of(&letter.notification));
        Some(letter)
    }

    fn forget_group(&mut self, notification: &Notification) {
        let before = self.last.get(&group_of(notification)).cloned();
        before.into_iter().for_each(|id| drop(self.take(&id)));
    }

    /// The last tries of those that died before `at_ns`, oldest first.
    pub fn before(&self, at_ns: i64) -> Vec<Attempt> {
        let mut last: Vec<Attempt> = self.letters.values().map(|letter| letter.last.clone()).collect();
        last.retain(|attempt| attempt.at_ns < at_ns);
        last.sort_by_key(|attempt| attempt.at_ns);
        last
    }

    /// Only messages to notifiers that `known` names are kept.
    pub fn retain(&mut self, known: impl Fn(&str) -> bool) {
        let unknown = self.letters.values().map(|letter| &letter.notification).filter(|n| !known(&n.notifier));
        let unknown: Vec<String> = unknown.map(|notification| notification.id.clone()).collect();
        unknown.iter().for_each(|id| drop(self.take(id)));
    }
}

impl From<Vec<DeadLetter>> for DeadLetters {
    fn from(letters: Vec<DeadLetter>) -> DeadLetters {
        let mut all = DeadLetters::default();
        letters.into_iter().for_each(|letter| all.put(letter));
        all
    }
}

impl From<DeadLetters> for Vec<DeadLetter> {
    fn from(all: DeadLetters) -> Vec<DeadLetter> {
        all.letters.into_values().collect()
    }
}

/// What tells groups of all notifiers apart.
fn group_of(notification: &Notification) -> (String, String) {
    (notification.notifier.clone(), notification.group_key.clone())
}

impl Machine {
    /// A message of a group is dead; `pending` is what its receiver would have known, `last` the try that was the last. A
    /// beat has no worth afterwards.
    pub(super) fn bury(&mut self, notification: Notification, pending: Option<Box<Pending>>, last: Attempt) {
        if let Some(pending) = pending {
            self.state.dead.put(DeadLetter { notification, pending, last });
        }
    }

    /// A message has arrived: what its group was to be told before is not true any more.
    pub(super) fn outlive(&mut self, notification: &Notification) {
        self.state.dead.forget_group(notification);
    }

    /// A message that is dead is to be tried again, unless its group has something newer on its way. What comes in its
    /// group meanwhile waits for it, as for any other.
    pub(super) fn replay(&mut self, now_ns: i64, id: &str) {
        if !self.can_be_replayed(id) {
            return;
        }
        let Some(DeadLetter { notification, pending, .. }) = self.state.dead.take(id) else { return };
        let number = self.group_for(notification.notifier.as_str().into(), notification.group_labels.clone());
        self.with_group(number, |group, _| group.pending = Some(pending));
        self.queue(now_ns, notification);
        if let Some(delivery) = self.state.deliveries.get_mut(id) {
            delivery.since_ns = Some(now_ns);
        }
    }

    fn can_be_replayed(&self, id: &str) -> bool {
        let Some(letter) = self.state.dead.letters.get(id) else { return false };
        let group = self.number_of(&letter.notification).and_then(|number| self.state.groups.get(&number));
        group.is_none_or(|group| group.pending.is_none())
    }

    /// The messages among `ids` that can be sent again.
    pub fn replayable(&self, ids: &[String]) -> Vec<String> {
        ids.iter().filter(|id| self.can_be_replayed(id)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::alert::tests::{escalated, firing, resolved};
    use crate::config::{Config, Policy};
    use crate::machine::{Input, Machine, State};
    use crate::notification::{Notification, Outcome};
    use crate::time::SECOND;
    use thalweg_schemas::alert_event::AlertEvent;

    fn config() -> Config {
        let policy = Policy { repeat_interval_ns: 100 * 86_400 * SECOND, ..Policy::default() };
        Config {
            notifiers: [("ops".to_string(), policy)].into(),
            routes: [("slow".to_string(), vec!["ops".to_string()])].into(),
            ..Config::default()
        }
    }

    fn say(machine: &mut Machine, second: i64, event: &AlertEvent) {
        let epoch = machine.state().epoch + 1;
        machine.apply(second * SECOND, Input::Alerts(epoch, Machine::alerts_of(std::slice::from_ref(event))));
    }

    fn answer(machine: &mut Machine, second: i64, taken: bool) -> Notification {
        let now_ns = second * SECOND;
        let message = machine.ready("ops", now_ns).unwrap().notification.clone();
        machine.apply(now_ns, Input::Started(message.id.clone()));
        let outcome = match taken {
            true => Outcome::Delivered { http_status: 200 },
            false => Outcome::Refused { http_status: Some(401), error: "no such key".into() },
        };
        machine.apply(now_ns, Input::Ended(message.id.clone(), outcome, 1));
        message
    }

    fn replay(machine: &mut Machine, second: i64, messages: &[&Notification]) -> usize {
        let ids: Vec<String> = messages.iter().map(|message| message.id.clone()).collect();
        let found = machine.replayable(&ids);
        machine.apply(second * SECOND, Input::Replay(found.clone()));
        found.len()
    }

    #[test]
    fn a_dead_message_is_sent_again_as_it_was_and_the_next_one_waits_for_it() {
        let mut machine = Machine::new(config(), State::default());
        let (api, web) = (firing("slow", "api", "i1", "warning", 0), firing("slow", "web", "i2", "warning", 0));
        say(&mut machine, 0, &api);
        let dead = answer(&mut machine, 0, false);
        say(&mut machine, 1, &web);
        let taken = answer(&mut machine, 1, true);
        // Days later, after a restart: it is not given up at once for being old.
        let state = serde_json::from_str(&serde_json::to_string(machine.state()).unwrap()).unwrap();
        let mut machine = Machine::new(config(), state);
        let later = 3 * 86_400;
        assert_eq!(replay(&mut machine, later, &[&dead, &taken]), 1, "what arrived is not sent again");
        let again = machine.ready("ops", later * SECOND).unwrap().notification.clone();
        assert_eq!(again, dead);
        machine.apply(later * SECOND, Input::Started(dead.id.clone()));
        say(&mut machine, later, &resolved(&api, later));
        assert!(machine.ready("ops", later * SECOND).is_none());
        let busy = Outcome::Failed { http_status: Some(503), error: "busy".into(), pause_ns: None, ambiguous: true };
        machine.apply(later * SECOND, Input::Ended(dead.id.clone(), busy, 1));
        assert_eq!(answer(&mut machine, later + 5, true).id, dead.id);
        assert_eq!(answer(&mut machine, later + 5, true).status().name(), "resolved");
        assert_eq!(replay(&mut machine, later + 6, &[&dead]), 0);
    }

    #[test]
    fn what_is_no_longer_true_is_not_sent_again() {
        let mut machine = Machine::new(config(), State::default());
        let api = firing("slow", "api", "i1", "warning", 0);
        say(&mut machine, 0, &api);
        let first = answer(&mut machine, 0, false);
        say(&mut machine, 1, &escalated(&api, "critical", 1));
        assert_eq!(replay(&mut machine, 1, &[&first]), 0, "something newer is on its way");
        let second = answer(&mut machine, 1, false);
        say(&mut machine, 2, &resolved(&escalated(&api, "critical", 1), 2));
        let third = answer(&mut machine, 2, false);
        assert_eq!(replay(&mut machine, 3, &[&first, &second, &third]), 1);
        assert_eq!(answer(&mut machine, 3, true), third, "the group is no more, and the message is still true");
        assert!(machine.is_quiet() && machine.ready("ops", 9 * SECOND).is_none());
    }

    #[test]
    fn so_many_are_kept() {
        let mut machine = Machine::new(config(), State::default());
        let mut dead = Vec::new();
        for n in 0..super::ALERTS_MAX + 5 {
            say(&mut machine, 0, &firing("slow", &format!("s{n}"), &format!("i{n}"), "warning", 0));
            dead.push(answer(&mut machine, n as i64, false));
        }
        let ids: Vec<String> = dead.iter().map(|message| message.id.clone()).collect();
        assert_eq!(machine.replayable(&ids), ids[5..]);
    }
}
