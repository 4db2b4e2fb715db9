//! The tries of messages: which may be made, how they end, and what is remembered of them.

use super::{Delivery, Machine, retry};
use crate::notification::{Attempt, Notification, Outcome};
use crate::shared::Word;

/// How many tries `thalweg.deliveries` remembers.
const ATTEMPTS_MAX: usize = 10_000;

impl Machine {
    /// A message is to be tried.
    pub(super) fn queue(&mut self, now_ns: i64, notification: Notification) {
        self.state.made += 1;
        let number = self.state.made;
        let ready = self.ready.entry(notification.notifier.clone()).or_default();
        ready.insert((now_ns, number, notification.id.clone()));
        let delivery = Delivery {
            notification,
            attempts: 0,
            next_try_ns: now_ns,
            number,
            in_attempt: false,
            maybe_received: false,
        };
        self.state.deliveries.insert(delivery.notification.id.clone(), delivery);
    }

    /// A message is not tried any more, since there is newer to tell.
    pub(super) fn supersede(&mut self, now_ns: i64, id: &str) {
        let Some(delivery) = self.state.deliveries.remove(id) else { return };
        let Delivery { notification, attempts, next_try_ns, number, .. } = delivery;
        if let Some(ready) = self.ready.get_mut(&notification.notifier) {
            ready.remove(&(next_try_ns, number, id.to_string()));
        }
        self.note(Attempt::of(&notification, now_ns, attempts, "superseded"));
    }

    /// A try begins.
    pub(super) fn start(&mut self, id: &str) {
        let Some(delivery) = self.state.deliveries.get_mut(id) else { return };
        delivery.in_attempt = true;
        if let Some(ready) = self.ready.get_mut(&delivery.notification.notifier) {
            ready.remove(&(delivery.next_try_ns, delivery.number, id.to_string()));
        }
    }

    /// A try has ended.
    pub(super) fn end(&mut self, now_ns: i64, id: &str, outcome: Outcome, took_ns: i64) {
        let Some(delivery) = self.state.deliveries.get_mut(id) else { return };
        delivery.in_attempt = false;
        delivery.attempts += 1;
        let notification = &delivery.notification;
        let group = (Word::from(notification.notifier.as_str()), notification.group_labels.clone());
        let mut attempt = Attempt::of(notification, now_ns, delivery.attempts, "delivered");
        attempt.took_ns = Some(took_ns);
        let mut died = None;
        let settled = match outcome {
            Outcome::Delivered { http_status } => {
                attempt.http_status = Some(http_status);
                true
            }
            Outcome::Refused { http_status, error } => {
                (attempt.http_status, attempt.error) = (http_status, Some(error));
                attempt.outcome = "dead".to_string();
                died = attempt.error.clone();
                true
            }
            Outcome::Failed { http_status, error, pause_ns, ambiguous } => {
                (attempt.http_status, attempt.error) = (http_status, Some(error));
                delivery.maybe_received |= ambiguous;
                let give_up =
                    self.config.notifiers.get(&notification.notifier).map_or(0, |policy| policy.give_up_after_ns);
                let next = now_ns.saturating_add(retry::pause_ns(id, delivery.attempts, pause_ns));
                let dead = next.saturating_sub(notification.created_at_ns) > give_up;
                attempt.outcome = if dead { "dead" } else { "failed" }.to_string();
                if dead {
                    died = attempt.error.clone();
                } else {
                    attempt.next_try_ns = Some(next);
                    delivery.next_try_ns = next;
                    let ready = self.ready.entry(notification.notifier.clone()).or_default();
                    ready.insert((next, delivery.number, id.to_string()));
                }
                dead
            }
        };
        self.note(attempt);
        let group = self.numbers.get(&group).copied();
        if settled {
            let delivery = self.state.deliveries.remove(id);
            group.into_iter().for_each(|group| self.settle(now_ns, group));
            match (delivery, died) {
                (Some(delivery), Some(error)) => self.miss(now_ns, &delivery.notification, &error),
                (Some(delivery), None) => self.reach(now_ns, &delivery.notification.notifier),
                (None, _) => {}
            }
        } else {
            group.into_iter().for_each(|group| self.with_group(group, |group, _| group.failed(now_ns)));
        }
    }

    /// The process that tried has died.
    pub(super) fn recover(&mut self, now_ns: i64) {
        let mut interrupted = Vec::new();
        for (id, delivery) in self.state.deliveries.iter_mut().filter(|(_, delivery)| delivery.in_attempt) {
            delivery.in_attempt = false;
            delivery.maybe_received = true;
            delivery.attempts += 1;
            delivery.next_try_ns = now_ns;
            let ready = self.ready.entry(delivery.notification.notifier.clone()).or_default();
            ready.insert((now_ns, delivery.number, id.clone()));
            let mut attempt = Attempt::of(&delivery.notification, now_ns, delivery.attempts, "failed");
            attempt.error = Some("the process ended before the receiver answered".to_string());
            attempt.next_try_ns = Some(now_ns);
            interrupted.push(attempt);
        }
        interrupted.into_iter().for_each(|attempt| self.note(attempt));
        self.state.last = false;
    }

    fn note(&mut self, attempt: Attempt) {
        if self.state.attempts.len() >= ATTEMPTS_MAX {
            self.state.attempts.pop_front();
        }
        self.state.attempts.push_back(attempt);
    }
}
