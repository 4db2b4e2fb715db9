//! The notification machine: alert events, silences, ticks of a clock and outcomes of tries go in, messages to be tried
//! come out.
//!
//! It is a value in virtual time: every input carries the time at which it came, and the same inputs give the same
//! state. The outbox logs the inputs and gets the state back after a crash by putting them in again.
//!
//! A group has at most one message on its way, so that its receiver hears things in order. A message that its receiver
//! cannot have (it refused the connection, or answered that it failed) is superseded when there is newer to tell; one that
//! it may have is tried with the same id and content until it is known to have arrived.

pub mod acknowledgement;
mod escalation;
pub(crate) mod failure;
mod group;
mod members;
mod muting;
mod replay;
mod retry;
mod review;
mod tries;
mod watchdog;

use crate::alert::{Alert, Labels, Status};
use crate::config::{Config, Policy};
use crate::inhibition::Sources;
use crate::notification::{Attempt, Notification, Outcome};
use crate::shared::{Shared, Word, Words};
use crate::silence::{Phase, Silence};
use acknowledgement::Acknowledgement;
use group::{Group, GroupNo, Pending, Seen};
use members::Members;
use replay::DeadLetters;
use review::Review;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use thalweg_schemas::alert_event::{AlertEvent, Kind, Reason};

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
    Alerts(u64, Vec<Shared<Alert>>),
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
    /// The engine is at work: a notifier is to be told so.
    Beat(String),
    /// Somebody takes care of an incident.
    Acknowledge(Acknowledgement),
    /// Messages that are dead are to be sent again.
    Replay(Vec<String>),
}

/// An incident, and the groups that it is in.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Incident {
    alert: Shared<Alert>,
    groups: Box<[GroupNo]>,
    /// When it was first heard of.
    heard_at_ns: i64,
    /// In how many steps it has been escalated.
    escalated: u32,
    /// Who takes care of it.
    acknowledged: Option<Box<Acknowledgement>>,
    /// Whether its alert has changed and has not found it again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    doubtful: bool,
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
    /// Since when it is tried, where that is not when it was made: it was dead, and is sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since_ns: Option<i64>,
}

/// What the machine remembers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    /// The last epoch whose alerts were taken.
    pub epoch: u64,
    incidents: BTreeMap<Word, Incident>,
    groups: BTreeMap<GroupNo, Group>,
    /// How many groups were made.
    groups_made: GroupNo,
    members: Members,
    /// The last events of incidents that are over, and their order.
    over: BTreeMap<Word, i64>,
    over_order: VecDeque<Word>,
    silences: BTreeMap<String, Silence>,
    deliveries: BTreeMap<String, Delivery>,
    attempts: VecDeque<Attempt>,
    /// How many messages were made.
    made: u64,
    /// The notifiers whose last message is dead, with the alert that says so.
    missed: BTreeMap<String, Shared<Alert>>,
    backfill_until_ns: i64,
    last: bool,
    /// The alerts that have changed, while they look at the past.
    #[serde(default)]
    reviews: BTreeMap<String, Review>,
    /// The messages that are dead, and may be sent again.
    #[serde(default)]
    dead: DeadLetters,
}

/// The machine.
pub struct Machine {
    config: Config,
    state: State,
    sources: Sources,
    /// The groups by notifier and labels.
    numbers: BTreeMap<(Word, Labels), GroupNo>,
    /// The groups by when they are to look at themselves.
    due: BTreeSet<(i64, GroupNo)>,
    /// The incidents by when they are to be escalated.
    escalations: BTreeSet<(i64, Word)>,
    /// By notifier the messages that are not being tried, by when they may be.
    ready: BTreeMap<String, BTreeSet<(i64, u64, String)>>,
}

impl Incident {
    /// It is only in the groups that `kept` names from now on.
    fn let_go(&mut self, kept: impl Fn(GroupNo) -> bool) {
        self.groups = self.groups.iter().copied().filter(|group| kept(*group)).collect();
    }

    /// The number of the last event that counts; `None`: any is news, since its alert has changed.
    fn seen(&self) -> Option<&i64> {
        Some(&self.alert.seq).filter(|_| !self.doubtful && self.alert.reason != Reason::RuleChanged)
    }
}

impl Machine {
    /// A machine that goes on from `state`.
    pub fn new(config: Config, mut state: State) -> Machine {
        let mut words = Words::default();
        state.incidents.values_mut().for_each(|incident| incident.alert.make_mut().share(&mut words));
        state.groups.values_mut().for_each(|group| words.share(&mut group.notifier));
        let groups = state.groups.iter();
        let mut machine = Machine {
            sources: Sources::new(&config.inhibitions),
            numbers: groups.clone().map(|(no, group)| ((group.notifier.clone(), group.labels.clone()), *no)).collect(),
            due: groups.filter_map(|(no, group)| Some((group.due_at_ns?, *no))).collect(),
            escalations: BTreeSet::new(),
            ready: BTreeMap::new(),
            config,
            state,
        };
        let steps =
            machine.state.incidents.iter().filter_map(|(id, known)| Some((machine.step_due(known)?, id.clone())));
        machine.escalations = steps.collect();
        let firing = machine.state.incidents.values().map(|incident| &incident.alert).filter(|alert| alert.is_firing());
        firing.for_each(|alert| machine.sources.add(alert));
        for (id, delivery) in machine.state.deliveries.iter().filter(|(_, delivery)| !delivery.in_attempt) {
            let ready = machine.ready.entry(delivery.notification.notifier.clone()).or_default();
            ready.insert((delivery.next_try_ns, delivery.number, id.clone()));
        }
        machine
    }

    /// The same with other rules from `now_ns` on. Groups and messages of notifiers that are no more go.
    pub fn with_config(self, config: Config, now_ns: i64) -> Machine {
        let mut state = self.state;
        state.groups.retain(|_, group| config.notifiers.contains_key(&*group.notifier));
        state.missed.retain(|notifier, _| config.notifiers.contains_key(notifier));
        state.members.retain(|group| state.groups.contains_key(&group));
        state.deliveries.retain(|_, delivery| config.notifiers.contains_key(&delivery.notification.notifier));
        state.dead.retain(|notifier| config.notifiers.contains_key(notifier));
        for incident in state.incidents.values_mut() {
            incident.let_go(|group| state.groups.contains_key(&group));
        }
        let mut machine = Machine::new(config, state);
        machine.review(now_ns, &self.config.rules);
        machine
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
        let step = self.escalations.first().map(|(at, _)| *at);
        self.due.first().map(|(at, ..)| *at).into_iter().chain(step).chain(self.review_due_ns()).min()
    }

    /// Whether nothing waits to be said or tried.
    pub fn is_quiet(&self) -> bool {
        self.state.deliveries.is_empty() && self.due.is_empty()
    }

    /// The silences that are remembered.
    pub fn silences(&self) -> impl Iterator<Item = &Silence> {
        self.state.silences.values()
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
            Input::Beat(notifier) => self.beat(now_ns, &notifier),
            Input::Acknowledge(acknowledgement) => self.acknowledge(acknowledgement),
            Input::Replay(ids) => ids.iter().for_each(|id| self.replay(now_ns, id)),
        }
        self.tick(now_ns);
    }

    /// The alerts among events, as [`Input::Alerts`] takes them.
    pub fn alerts_of(events: &[AlertEvent]) -> Vec<Shared<Alert>> {
        let mut words = Words::default();
        let mut alerts: Vec<Alert> = events.iter().filter_map(Alert::of).collect();
        alerts.iter_mut().for_each(|alert| alert.share(&mut words));
        alerts.into_iter().map(Shared::from).collect()
    }

    fn take(&mut self, now_ns: i64, mut alert: Shared<Alert>) {
        self.prolong_review(now_ns, &alert.alert);
        let known = self.state.incidents.get(&alert.incident_id);
        let over = self.state.over.get(&alert.incident_id).filter(|_| known.is_none());
        let seen = known.map_or(over, |known| known.seen());
        if seen.is_some_and(|seen| alert.seq <= *seen) {
            if over.is_none() || !alert.is_firing() || !self.state.reviews.contains_key(&*alert.alert) {
                return;
            }
            // By another rule it is not over.
            alert.make_mut().backfill = true;
        }
        if known.is_none() && !alert.is_firing() && alert.kind != Kind::Revised {
            // Nobody was told that it fired.
            return;
        }
        if alert.backfill {
            self.state.backfill_until_ns = now_ns.saturating_add(BACKFILL_QUIET_NS);
        }
        let before = known.map(|known| known.alert.clone());
        if alert.previous_values.is_none()
            && let Some(known) = known
            && let Some(values) = self.untold_correction(known)
        {
            alert.make_mut().previous_values = Some(values);
        }
        let (heard_at_ns, escalated) = known.map_or((now_ns, 0), |known| (known.heard_at_ns, known.escalated));
        let acknowledged = known.and_then(|known| known.acknowledged.clone());
        if let Some(before) = before.as_ref().filter(|before| before.is_firing()) {
            self.sources.remove(before);
        }
        if alert.is_firing() {
            self.sources.add(&alert);
        }
        let mut groups = known.map_or_else(Vec::new, |known| known.groups.to_vec());
        if alert.is_firing() || groups.is_empty() {
            let now_in = self.join(&alert, escalated);
            for gone in groups.iter().filter(|group| !now_in.contains(group)) {
                self.leave(now_ns, *gone, before.as_deref(), &alert);
            }
            // What it has left lets go of it when the receiver has been told.
            let new: Vec<GroupNo> = now_in.into_iter().filter(|group| !groups.contains(group)).collect();
            groups.extend(new);
        }
        let touched = groups.clone();
        self.forget_step(&alert.incident_id);
        if alert.is_firing() || !groups.is_empty() {
            let id = alert.incident_id.clone();
            let groups = groups.into();
            let incident = Incident { alert, groups, heard_at_ns, escalated, acknowledged, doubtful: false };
            self.escalations.extend(self.step_due(&incident).map(|at| (at, id.clone())));
            self.state.incidents.insert(id, incident);
        } else {
            self.state.incidents.remove(&alert.incident_id);
            self.remember(&alert);
        }
        touched.into_iter().for_each(|group| self.with_group(group, |group, policy| group.touch(policy, now_ns)));
    }

    /// The values before a correction that a receiver has not been told of yet: it is with what follows from it.
    fn untold_correction(&self, known: &Incident) -> Option<Word> {
        let values = known.alert.previous_values.as_ref()?;
        let id = &known.alert.incident_id;
        let mut told = known.groups.iter().filter_map(|group| self.state.members.get(*group, id)?.told.as_ref());
        told.any(|told| told.revision < known.alert.revision).then(|| values.clone())
    }

    /// An alert goes into the groups that it belongs to, which are the answer.
    fn join(&mut self, alert: &Alert, escalated: u32) -> Vec<GroupNo> {
        let mut groups = Vec::new();
        let places = self.config.notifiers_of(alert, escalated as usize);
        let places: Vec<_> =
            places.map(|(notifier, policy)| (Word::from(notifier), policy.group_by.labels(alert))).collect();
        for (notifier, labels) in places {
            let number = self.group_for(notifier, labels);
            self.state.members.join(number, &alert.incident_id);
            if !groups.contains(&number) {
                groups.push(number);
            }
        }
        groups
    }

    /// The group of a notifier and these labels, a new one if there is none.
    fn group_for(&mut self, notifier: Word, labels: Labels) -> GroupNo {
        let made = &mut self.state.groups_made;
        *self.numbers.entry((notifier, labels)).or_insert_with_key(|(notifier, labels)| {
            let number = *made;
            *made += 1;
            self.state.groups.insert(number, Group::new(notifier.clone(), labels.clone()));
            number
        })
    }

    /// An alert whose labels have changed is in another group: in this one it is over.
    fn leave(&mut self, now_ns: i64, group: GroupNo, before: Option<&Alert>, now: &Alert) {
        if let (Some(before), Some(member)) = (before, self.state.members.get_mut(group, &now.incident_id)) {
            let over = Alert { status: Status::Resolved, ends_at_ns: Some(now.at_ns), ..before.clone() };
            member.left.get_or_insert(Box::new(over));
        }
        self.with_group(group, |group, policy| group.touch(policy, now_ns));
    }

    /// Changes a group, and remembers when it is due.
    fn with_group<T: Default>(&mut self, number: GroupNo, change: impl FnOnce(&mut Group, &Policy) -> T) -> T {
        let Some(group) = self.state.groups.get_mut(&number) else { return T::default() };
        let Some(policy) = self.config.notifiers.get(&*group.notifier) else { return T::default() };
        if let Some(at) = group.due_at_ns {
            self.due.remove(&(at, number));
        }
        let answer = change(group, policy);
        if self.state.last {
            // At the end nobody waits, and nothing is repeated.
            group.due_at_ns = group.due_at_ns.filter(|_| group.news).map(|_| i64::MIN);
        }
        if let Some(at) = group.due_at_ns {
            self.due.insert((at, number));
        }
        answer
    }

    fn tick(&mut self, now_ns: i64) {
        self.end_reviews(now_ns);
        self.escalate(now_ns);
        while let Some((at, group)) = self.due.first().copied() {
            if at > now_ns {
                break;
            }
            self.look(now_ns, group);
        }
        self.state.silences.retain(|_, silence| {
            silence.phase(now_ns) != Phase::Expired || now_ns.saturating_sub(silence.ends_at_ns) < SILENCE_KEPT_NS
        });
    }

    fn look(&mut self, now_ns: i64, number: GroupNo) {
        let Some(group) = self.state.groups.get(&number) else { return };
        let Some(policy) = self.config.notifiers.get(&*group.notifier) else { return };
        let quiet = self.config.keeps_quiet(policy, now_ns);
        let members = self.state.members.of(number).filter_map(|(incident, member)| {
            let known = self.state.incidents.get(incident);
            let acknowledged = known.is_some_and(|known| known.acknowledged.is_some());
            let left = member.left.as_deref().cloned().map(Shared::from);
            let alert = left.or_else(|| known.map(|known| known.alert.clone()))?;
            Some(Seen { told: member.told.as_ref(), alert, acknowledged })
        });
        let is_muted = |alert: &Alert| quiet || self.muting(alert, now_ns).is_some();
        let mut look = group.look(policy, now_ns, members, is_muted);
        let pending = group.pending.as_ref().and_then(|pending| self.state.deliveries.get(&pending.id));
        if let Some(delivery) = pending {
            let same = look.message.as_ref().is_some_and(|(new, _)| new.alerts == delivery.notification.alerts);
            if same || delivery.in_attempt || delivery.maybe_received {
                return self.with_group(number, |group, _| group.wait_for_pending());
            }
            let superseded = delivery.notification.id.clone();
            self.supersede(now_ns, &superseded);
        }
        let dropped = std::mem::take(&mut look.dropped);
        let notification = self.with_group(number, |group, policy| group.looked(policy, look, now_ns));
        notification.into_iter().for_each(|notification| self.queue(now_ns, notification));
        self.let_go(number, &dropped);
    }

    /// What a group had on its way has arrived, or never will.
    fn settle(&mut self, now_ns: i64, number: GroupNo) {
        let Some(pending) = self.with_group(number, |group, _| group.pending.take()) else { return };
        self.with_group(number, |group, policy| group.settled(policy, now_ns, &pending));
        self.state.members.settle(number, pending.told);
        self.let_go(number, &pending.over);
    }

    /// What a group had on its way is dead. It is not said again before there is news, and that then says once more what is over,
    /// since its receiver may believe that it fires. Where nothing fires any more there will be none.
    fn abandon(&mut self, now_ns: i64, number: GroupNo) {
        let fires = |incident: &Word| self.state.incidents.get(incident).is_some_and(|known| known.alert.is_firing());
        if !self.state.members.of(number).any(|(incident, member)| member.left.is_none() && fires(incident)) {
            return self.settle(now_ns, number);
        }
        let Some(pending) = self.with_group(number, |group, _| group.pending.take()) else { return };
        self.with_group(number, |group, policy| group.settled(policy, now_ns, &pending));
        let Pending { mut told, over, .. } = *pending;
        let members = &mut self.state.members;
        told.extend(
            over.into_iter().filter_map(|id| members.get_mut(number, &id)?.told.clone().map(|told| (id, told))),
        );
        members.settle(number, told);
    }

    /// Remembers an incident that is over. Of one that is so since its alert has changed everything is news that comes again.
    fn remember(&mut self, alert: &Alert) {
        let incident = alert.incident_id.clone();
        let seq = if alert.reason == Reason::RuleChanged { 0 } else { alert.seq };
        if self.state.over.insert(incident.clone(), seq).is_none() {
            self.state.over_order.push_back(incident);
        }
        if self.state.over_order.len() > OVER_MAX
            && let Some(oldest) = self.state.over_order.pop_front()
        {
            self.state.over.remove(&oldest);
        }
    }

    /// Incidents are no longer in a group; a group without any goes.
    fn let_go(&mut self, number: GroupNo, incidents: &[Word]) {
        for incident_id in incidents {
            self.state.members.leave(number, incident_id);
            let Some(incident) = self.state.incidents.get_mut(incident_id) else { continue };
            incident.let_go(|group| group != number);
            if incident.groups.is_empty() && !incident.alert.is_firing() {
                let alert = incident.alert.clone();
                self.state.incidents.remove(incident_id);
                self.remember(&alert);
            }
        }
        let over = |group: &Group| group.pending.is_none() && !self.state.members.any(number);
        if self.state.groups.get(&number).is_some_and(over)
            && let Some(group) = self.state.groups.remove(&number)
        {
            if let Some(at) = group.due_at_ns {
                self.due.remove(&(at, number));
            }
            self.numbers.remove(&(group.notifier, group.labels));
        }
    }

    fn hurry(&mut self, now_ns: i64) {
        self.state.last = true;
        self.escalations.clear();
        let all: Vec<GroupNo> = self.state.groups.keys().copied().collect();
        all.into_iter().for_each(|group| self.with_group(group, |group, policy| group.touch(policy, now_ns)));
    }
}

#[cfg(test)]
mod tests;
