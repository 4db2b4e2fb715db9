//! The tries of messages: which may be made, how they end, and what is remembered of them.

use super::group::GroupNo;
use super::{Delivery, Machine, retry};
use crate::notification::{Attempt, Notification, Outcome};
use crate::shared::Word;
use std::collections::BTreeMap;

/// How many tries `thalweg.deliveries` remembers.
const ATTEMPTS_MAX: usize = 10_000;

impl Machine {
    /// When the next message of a notifier may be tried.
    pub fn ready_at_ns(&self, notifier: &str) -> Option<i64> {
        Some(self.ready.get(notifier)?.first()?.0)
    }

    /// The message of a notifier that is to be tried first, if one may be at `now_ns`.
    pub fn ready(&self, notifier: &str, now_ns: i64) -> Option<&Delivery> {
        let (at, _, id) = self.ready.get(notifier)?.first()?;
        self.state.deliveries.get(id).filter(|_| *at <= now_ns)
    }

    /// How many messages of each notifier are not delivered.
    pub fn undelivered(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for delivery in self.state.deliveries.values() {
            *counts.entry(delivery.notification.notifier.clone()).or_insert(0) += 1;
        }
        counts
    }

    /// What became of messages, oldest first, and then what has not been tried. Messages that are dead and can be sent
    /// again are among them, however long ago they died.
    pub fn attempts(&self) -> Vec<Attempt> {
        let waiting = self.state.deliveries.values().filter(|delivery| delivery.in_attempt || delivery.attempts == 0);
        let waiting = waiting.map(|delivery| {
            let outcome = if delivery.in_attempt { "trying" } else { "queued" };
            let number = delivery.attempts + u32::from(delivery.in_attempt);
            Attempt::of(&delivery.notification, delivery.notification.created_at_ns, number, outcome)
        });
        let first_ns = self.state.attempts.front().map_or(i64::MAX, |attempt| attempt.at_ns);
        self.state.dead.before(first_ns).into_iter().chain(self.state.attempts.iter().cloned()).chain(waiting).collect()
    }

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
            since_ns: None,
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
                let since = delivery.since_ns.unwrap_or(notification.created_at_ns);
                let dead = next.saturating_sub(since) > give_up;
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
        self.note(attempt.clone());
        let Some(delivery) = self.state.deliveries.get(id) else { return };
        let group = self.number_of(&delivery.notification);
        if settled {
            let Some(Delivery { notification, .. }) = self.state.deliveries.remove(id) else { return };
            let pending = group.and_then(|group| self.state.groups.get(&group)?.pending.clone());
            match died {
                Some(error) => {
                    group.into_iter().for_each(|group| self.abandon(now_ns, group));
                    self.miss(now_ns, &notification, &error);
                    self.bury(notification, pending, attempt);
                }
                None => {
                    group.into_iter().for_each(|group| self.settle(now_ns, group));
                    self.reach(now_ns, &notification.notifier);
                    self.outlive(&notification);
                }
            }
        } else {
            group.into_iter().for_each(|group| self.with_group(group, |group, _| group.failed(now_ns)));
        }
    }

    /// The group that a message is of, if it is still there.
    pub(super) fn number_of(&self, notification: &Notification) -> Option<GroupNo> {
        let group = (Word::from(notification.notifier.as_str()), notification.group_labels.clone());
        self.numbers.get(&group).copied()
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
