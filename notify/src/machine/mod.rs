//! The notification machine: alert events, silences, ticks of a clock and outcomes of tries go in, messages to be tried
//! come out.
//!
//! It is a value in virtual time: every input carries the time at which it came, and the same inputs give the same
//! state. The outbox logs the inputs and gets the state back after a crash by putting them in again.
//!
//! A group has at most one message on its way, so that its receiver hears things in order. A message that its receiver
//! cannot have (it refused the connection, or answered that it failed) is superseded when there is newer to tell; one that
//! it may have is tried with the same id and content until it is known to have arrived.

mod group;
mod retry;

use crate::alert::{Alert, show};
use crate::config::{Config, Policy};
use crate::inhibition::Sources;
use crate::notification::{Attempt, Notification, Outcome};
use crate::silence::{Phase, Silence};
use group::Group;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use thalweg_schemas::alert_event::AlertEvent;

/// How many tries `thalweg.deliveries` remembers.
const ATTEMPTS_MAX: usize = 10_000;
/// How many incidents that are over are remembered: a changed alert may tell of the past once more.
const OVER_MAX: usize = 100_000;
/// For how long silences are remembered when they are over.
const SILENCE_KEPT_NS: i64 = 5 * 24 * 3_600 * 1_000_000_000;
/// After so long without an event of the past, the present is reached: what still fires is told.
const BACKFILL_QUIET_NS: i64 = 10 * 1_000_000_000;

/// What goes in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Input {
    /// Alerts of an epoch; what came of epochs up to it is not taken again.
    Alerts(u64, Vec<Alert>),
    /// Time has passed.
    Tick,
    /// A silence is made, or changed.
    Silence(Silence),
    /// A silence ends now.
    Expire(String),
    /// A message is being tried.
    Started(String),
    /// A try has ended, after so many nanoseconds.
    Ended(String, Outcome, i64),
    /// The process that tried has died: whether what it tried arrived is not known.
    Crashed,
    /// Nothing will ever come: groups speak at once.
    Last,
    /// Epochs are counted anew.
    Fresh,
}

/// An incident, and the groups that it is in.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Incident {
    alert: Alert,
    groups: BTreeSet<(String, String)>,
}

/// A message that is not settled.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Delivery {
    /// What is told.
    pub notification: Notification,
    /// How often it was tried.
    pub attempts: u32,
    /// When it may be tried.
    pub next_try_ns: i64,
    /// How many were made before it.
    number: u64,
    in_attempt: bool,
    /// A try ended without the receiver having said that it failed.
    maybe_received: bool,
}

/// What the machine remembers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    /// The last epoch whose alerts were taken.
    pub epoch: u64,
    incidents: BTreeMap<String, Incident>,
    /// By notifier, then by key.
    groups: BTreeMap<String, BTreeMap<String, Group>>,
    /// The last events of incidents that are over, and their order.
    over: BTreeMap<String, i64>,
    over_order: VecDeque<String>,
    silences: BTreeMap<String, Silence>,
    deliveries: BTreeMap<String, Delivery>,
    attempts: VecDeque<Attempt>,
    /// How many messages were made.
    made: u64,
    backfill_until_ns: i64,
    last: bool,
}

/// The machine.
pub struct Machine {
    config: Config,
    state: State,
    sources: Sources,
    /// The groups by when they are to look at themselves.
    due: BTreeSet<(i64, String, String)>,
    /// By notifier the messages that are not being tried, by when they may be.
    ready: BTreeMap<String, BTreeSet<(i64, u64, String)>>,
}

impl Machine {
    /// A machine that goes on from `state`.
    pub fn new(config: Config, state: State) -> Machine {
        let (sources, due, ready) = (Sources::new(&config.inhibitions), BTreeSet::new(), BTreeMap::new());
        let mut machine = Machine { config, state, sources, due, ready };
        let firing = machine.state.incidents.values().map(|incident| &incident.alert).filter(|alert| alert.is_firing());
        firing.for_each(|alert| machine.sources.add(alert));
        for (notifier, groups) in &machine.state.groups {
            let due = groups.iter().filter_map(|(key, group)| Some((group.due_at_ns?, notifier.clone(), key.clone())));
            machine.due.extend(due);
        }
        for (id, delivery) in machine.state.deliveries.iter().filter(|(_, delivery)| !delivery.in_attempt) {
            let ready = machine.ready.entry(delivery.notification.notifier.clone()).or_default();
            ready.insert((delivery.next_try_ns, delivery.number, id.clone()));
        }
        machine
    }

    /// The same with other rules. Groups and messages of notifiers that are no more go.
    pub fn with_config(self, config: Config) -> Machine {
        let mut state = self.state;
        state.groups.retain(|notifier, _| config.notifiers.contains_key(notifier));
        state.deliveries.retain(|_, delivery| config.notifiers.contains_key(&delivery.notification.notifier));
        for incident in state.incidents.values_mut() {
            incident.groups.retain(|(notifier, _)| config.notifiers.contains_key(notifier));
        }
        Machine::new(config, state)
    }

    /// The rules.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What it remembers.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// When it is to be given a tick, if nothing else comes before.
    pub fn due_at_ns(&self) -> Option<i64> {
        self.due.first().map(|(at, ..)| *at)
    }

    /// When the next message of a notifier may be tried.
    pub fn ready_at_ns(&self, notifier: &str) -> Option<i64> {
        Some(self.ready.get(notifier)?.first()?.0)
    }

    /// The message of a notifier that is to be tried first, if one may be at `now_ns`.
    pub fn ready(&self, notifier: &str, now_ns: i64) -> Option<&Delivery> {
        let (at, _, id) = self.ready.get(notifier)?.first()?;
        self.state.deliveries.get(id).filter(|_| *at <= now_ns)
    }

    /// Whether nothing waits to be said or tried.
    pub fn is_quiet(&self) -> bool {
        self.state.deliveries.is_empty() && self.due.is_empty()
    }

    /// How many messages of each notifier are not delivered.
    pub fn undelivered(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for delivery in self.state.deliveries.values() {
            *counts.entry(delivery.notification.notifier.clone()).or_insert(0) += 1;
        }
        counts
    }

    /// The silences that are remembered.
    pub fn silences(&self) -> impl Iterator<Item = &Silence> {
        self.state.silences.values()
    }

    /// What became of messages, oldest first, and then what has not been tried.
    pub fn attempts(&self) -> Vec<Attempt> {
        let waiting = self.state.deliveries.values().filter(|delivery| delivery.in_attempt || delivery.attempts == 0);
        let waiting = waiting.map(|delivery| {
            let outcome = if delivery.in_attempt { "trying" } else { "queued" };
            let number = delivery.attempts + u32::from(delivery.in_attempt);
            Attempt::of(&delivery.notification, delivery.notification.created_at_ns, number, outcome)
        });
        self.state.attempts.iter().cloned().chain(waiting).collect()
    }

    /// Puts in what came at `now_ns`.
    pub fn apply(&mut self, now_ns: i64, input: Input) {
        match input {
            Input::Alerts(epoch, alerts) => {
                if epoch > self.state.epoch {
                    self.state.epoch = epoch;
                    alerts.into_iter().for_each(|alert| self.take(now_ns, alert));
                }
            }
            Input::Tick => {}
            Input::Silence(silence) => drop(self.state.silences.insert(silence.id.clone(), silence)),
            Input::Expire(id) => {
                if let Some(silence) = self.state.silences.get_mut(&id) {
                    silence.ends_at_ns = silence.ends_at_ns.min(now_ns);
                    silence.starts_at_ns = silence.starts_at_ns.min(now_ns);
                }
            }
            Input::Started(id) => self.start(&id),
            Input::Ended(id, outcome, took_ns) => self.end(now_ns, &id, outcome, took_ns),
            Input::Crashed => self.recover(now_ns),
            Input::Last => self.hurry(now_ns),
            Input::Fresh => self.state.epoch = 0,
        }
        self.tick(now_ns);
    }

    /// The alerts among events, as [`Input::Alerts`] takes them.
    pub fn alerts_of(events: &[AlertEvent]) -> Vec<Alert> {
        events.iter().filter_map(Alert::of).collect()
    }

    fn take(&mut self, now_ns: i64, alert: Alert) {
        let known = self.state.incidents.get(&alert.incident_id);
        let seen = known.map(|known| known.alert.seq).or_else(|| self.state.over.get(&alert.incident_id).copied());
        if seen.is_some_and(|seen| alert.seq <= seen) {
            return;
        }
        if known.is_none() && !alert.is_firing() && alert.kind != "revised" {
            // Nobody was told that it fired.
            return;
        }
        if alert.backfill {
            self.state.backfill_until_ns = now_ns.saturating_add(BACKFILL_QUIET_NS);
        }
        let before = known.map(|known| known.alert.clone());
        if let Some(before) = before.as_ref().filter(|before| before.is_firing()) {
            self.sources.remove(before);
        }
        if alert.is_firing() {
            self.sources.add(&alert);
        }
        let mut groups = known.map(|known| known.groups.clone()).unwrap_or_default();
        if alert.is_firing() || groups.is_empty() {
            let now_in: BTreeSet<(String, String)> = self.groups_of(&alert).into_keys().collect();
            for gone in groups.difference(&now_in) {
                self.leave(now_ns, gone, before.as_ref(), &alert);
            }
            for (id, labels) in self.groups_of(&alert) {
                let group = self.state.groups.entry(id.0.clone()).or_default().entry(id.1.clone());
                let group = group.or_insert_with(|| Group::new(labels));
                group.members.insert(alert.incident_id.clone(), None);
            }
            // What it has left lets go of it when the receiver has been told.
            groups.extend(now_in);
        }
        let touched: Vec<_> = groups.iter().cloned().collect();
        if alert.is_firing() || !groups.is_empty() {
            self.state.incidents.insert(alert.incident_id.clone(), Incident { alert, groups });
        } else {
            self.state.incidents.remove(&alert.incident_id);
            self.remember(alert.incident_id, alert.seq);
        }
        touched.iter().for_each(|group| self.with_group(group, |group, policy| group.touch(policy, now_ns)));
    }

    /// The groups that an alert belongs to, with their labels.
    fn groups_of(&self, alert: &Alert) -> BTreeMap<(String, String), crate::alert::Labels> {
        let groups = self.config.notifiers_of(alert).map(|(notifier, policy)| {
            let labels = policy.group_by.labels(alert);
            ((notifier.to_string(), format!("{{}}:{}", show(&labels))), labels)
        });
        groups.collect()
    }

    /// An alert whose labels have changed is in another group: in this one it is over.
    fn leave(&mut self, now_ns: i64, id: &(String, String), before: Option<&Alert>, now: &Alert) {
        let Some(group) = self.state.groups.get_mut(&id.0).and_then(|groups| groups.get_mut(&id.1)) else { return };
        if let (Some(before), Some(member)) = (before, group.members.get_mut(&now.incident_id)) {
            let over = Alert { status: crate::alert::Status::Resolved, ends_at_ns: Some(now.at_ns), ..before.clone() };
            member.get_or_insert(over);
        }
        self.with_group(id, |group, policy| group.touch(policy, now_ns));
    }

    /// Changes a group, and remembers when it is due.
    fn with_group<T: Default>(&mut self, id: &(String, String), change: impl FnOnce(&mut Group, &Policy) -> T) -> T {
        let (notifier, key) = id;
        let policy = self.config.notifiers.get(notifier);
        let group = self.state.groups.get_mut(notifier).and_then(|groups| groups.get_mut(key));
        let (Some(policy), Some(group)) = (policy, group) else { return T::default() };
        if let Some(at) = group.due_at_ns {
            self.due.remove(&(at, notifier.clone(), key.clone()));
        }
        let answer = change(group, policy);
        if self.state.last {
            // At the end nobody waits, and nothing is repeated.
            group.due_at_ns = group.due_at_ns.filter(|_| group.news).map(|_| i64::MIN);
        }
        if let Some(at) = group.due_at_ns {
            self.due.insert((at, notifier.clone(), key.clone()));
        }
        answer
    }

    fn tick(&mut self, now_ns: i64) {
        while let Some((at, notifier, key)) = self.due.first().cloned() {
            if at > now_ns {
                break;
            }
            self.look(now_ns, &(notifier, key));
        }
        self.state.silences.retain(|_, silence| {
            silence.phase(now_ns) != Phase::Expired || now_ns.saturating_sub(silence.ends_at_ns) < SILENCE_KEPT_NS
        });
    }

    fn is_muted(&self, alert: &Alert, now_ns: i64) -> bool {
        alert.backfill && !self.state.last && now_ns < self.state.backfill_until_ns
            || self.state.silences.values().any(|silence| silence.mutes(&alert.labels, now_ns))
            || self.sources.muting(alert).is_some()
    }

    fn look(&mut self, now_ns: i64, id: &(String, String)) {
        let (notifier, key) = id;
        let group = self.state.groups.get(notifier).and_then(|groups| groups.get(key));
        let (Some(policy), Some(group)) = (self.config.notifiers.get(notifier), group) else { return };
        let alert = |incident: &str| self.state.incidents.get(incident).map(|incident| &incident.alert);
        let look = group.look((notifier, key), policy, now_ns, alert, |alert| self.is_muted(alert, now_ns));
        let pending = group.pending.as_ref().and_then(|pending| self.state.deliveries.get(&pending.id));
        if let Some(delivery) = pending {
            let same = look.message.as_ref().is_some_and(|(new, _)| new.alerts == delivery.notification.alerts);
            if same || delivery.in_attempt || delivery.maybe_received {
                return self.with_group(id, |group, _| group.wait_for_pending());
            }
            let superseded = delivery.notification.id.clone();
            self.supersede(now_ns, &superseded);
        }
        self.with_group(id, |group, policy| {
            group.pending = None;
            group.looked(policy, &look, now_ns);
        });
        if let Some((notification, _)) = look.message {
            let ready = self.ready.entry(notifier.clone()).or_default();
            self.state.made += 1;
            let number = self.state.made;
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
        self.let_go(id, &look.dropped);
    }

    /// Remembers an incident that is over.
    fn remember(&mut self, incident: String, seq: i64) {
        if self.state.over.insert(incident.clone(), seq).is_none() {
            self.state.over_order.push_back(incident);
        }
        if self.state.over_order.len() > OVER_MAX
            && let Some(oldest) = self.state.over_order.pop_front()
        {
            self.state.over.remove(&oldest);
        }
    }

    fn supersede(&mut self, now_ns: i64, id: &str) {
        let Some(delivery) = self.state.deliveries.remove(id) else { return };
        let Delivery { notification, attempts, next_try_ns, number, .. } = delivery;
        if let Some(ready) = self.ready.get_mut(&notification.notifier) {
            ready.remove(&(next_try_ns, number, id.to_string()));
        }
        self.note(Attempt::of(&notification, now_ns, attempts, "superseded"));
    }

    /// Incidents are no longer in a group; a group without any goes.
    fn let_go(&mut self, id: &(String, String), incidents: &[String]) {
        for incident_id in incidents {
            let Some(incident) = self.state.incidents.get_mut(incident_id) else { continue };
            incident.groups.remove(id);
            if incident.groups.is_empty() && !incident.alert.is_firing() {
                let seq = incident.alert.seq;
                self.state.incidents.remove(incident_id);
                self.remember(incident_id.clone(), seq);
            }
        }
        let Some(groups) = self.state.groups.get_mut(&id.0) else { return };
        if let Some(group) = groups.get(&id.1).filter(|group| group.is_over()) {
            if let Some(at) = group.due_at_ns {
                self.due.remove(&(at, id.0.clone(), id.1.clone()));
            }
            groups.remove(&id.1);
        }
    }

    fn start(&mut self, id: &str) {
        let Some(delivery) = self.state.deliveries.get_mut(id) else { return };
        delivery.in_attempt = true;
        if let Some(ready) = self.ready.get_mut(&delivery.notification.notifier) {
            ready.remove(&(delivery.next_try_ns, delivery.number, id.to_string()));
        }
    }

    fn end(&mut self, now_ns: i64, id: &str, outcome: Outcome, took_ns: i64) {
        let Some(delivery) = self.state.deliveries.get_mut(id) else { return };
        delivery.in_attempt = false;
        delivery.attempts += 1;
        let notification = &delivery.notification;
        let group = (notification.notifier.clone(), notification.group_key.clone());
        let mut attempt = Attempt::of(notification, now_ns, delivery.attempts, "delivered");
        attempt.took_ns = Some(took_ns);
        let settled = match outcome {
            Outcome::Delivered { http_status } => {
                attempt.http_status = Some(http_status);
                true
            }
            Outcome::Refused { http_status, error } => {
                (attempt.http_status, attempt.error) = (http_status, Some(error));
                attempt.outcome = "dead".to_string();
                true
            }
            Outcome::Failed { http_status, error, pause_ns, ambiguous } => {
                (attempt.http_status, attempt.error) = (http_status, Some(error));
                delivery.maybe_received |= ambiguous;
                let give_up = self.config.notifiers.get(&group.0).map_or(0, |policy| policy.give_up_after_ns);
                let next = now_ns.saturating_add(retry::pause_ns(id, delivery.attempts, pause_ns));
                let dead = next.saturating_sub(notification.created_at_ns) > give_up;
                attempt.outcome = if dead { "dead" } else { "failed" }.to_string();
                if !dead {
                    attempt.next_try_ns = Some(next);
                    delivery.next_try_ns = next;
                    let ready = self.ready.entry(group.0.clone()).or_default();
                    ready.insert((next, delivery.number, id.to_string()));
                }
                dead
            }
        };
        self.note(attempt);
        if settled {
            self.state.deliveries.remove(id);
            let over = self.with_group(&group, |group, policy| group.settle(policy, now_ns));
            self.let_go(&group, &over);
        } else {
            self.with_group(&group, |group, _| group.failed(now_ns));
        }
    }

    fn recover(&mut self, now_ns: i64) {
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

    fn hurry(&mut self, now_ns: i64) {
        self.state.last = true;
        let all: Vec<(String, String)> = self
            .state
            .groups
            .iter()
            .flat_map(|(notifier, groups)| groups.keys().map(move |key| (notifier.clone(), key.clone())))
            .collect();
        for id in all {
            self.with_group(&id, |group, policy| group.touch(policy, now_ns));
        }
    }

    fn note(&mut self, attempt: Attempt) {
        if self.state.attempts.len() >= ATTEMPTS_MAX {
            self.state.attempts.pop_front();
        }
        self.state.attempts.push_back(attempt);
    }
}

#[cfg(test)]
mod tests;
