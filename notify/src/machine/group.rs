//! A group of alerts of one notifier: what is in it, what its receiver was told, and what it is to be told next.
//!
//! The rules are Alertmanager's: a group that is new waits `group_wait`, one that has spoken looks at itself in the rhythm
//! of `group_interval`, and it speaks if there is something that its receiver does not know.

use crate::alert::{Alert, Labels};
use crate::config::Policy;
use crate::notification::{Notification, Reason};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A group that is held back by silences or inhibition looks at itself this often at least.
const LOOK_NS: i64 = 1_000_000_000;

/// What a receiver was told of an incident that fires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Told {
    severity: String,
    revision: i64,
}

impl Told {
    fn of(alert: &Alert) -> Told {
        Told { severity: alert.severity.clone(), revision: alert.revision }
    }
}

/// A message on its way, and what its receiver knows when it has arrived.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pending {
    pub id: String,
    told: BTreeMap<String, Told>,
    /// The incidents of which it says that they are over.
    over: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Group {
    pub labels: Labels,
    /// The incidents in it; with the alert as it was last here if it has gone to another group, which few do.
    pub members: BTreeMap<String, Option<Box<Alert>>>,
    /// What the receiver believes to fire.
    told: BTreeMap<String, Told>,
    told_at_ns: Option<i64>,
    /// When it looked at itself for the first time, and the last.
    first_look_ns: Option<i64>,
    last_look_ns: i64,
    /// When it is to look at itself.
    pub due_at_ns: Option<i64>,
    number: u64,
    pub pending: Option<Pending>,
    /// Something changed since it last looked.
    pub news: bool,
    /// How many of its alerts were held back when it last looked.
    held: usize,
}

/// What a group finds when it looks at itself.
pub(crate) struct Look {
    /// What to say, if anything, and what follows from having said it.
    pub message: Option<(Notification, Pending)>,
    /// The incidents that nobody needs to be told the end of.
    pub dropped: Vec<String>,
    held: usize,
}

impl Group {
    pub fn new(labels: Labels) -> Group {
        Group { labels, ..Group::default() }
    }

    /// Something in it changed at `now_ns`.
    pub fn touch(&mut self, policy: &Policy, now_ns: i64) {
        self.news = true;
        let due_ns = match self.first_look_ns {
            None => now_ns.saturating_add(policy.group_wait_ns),
            Some(_) => self.tick(policy, now_ns),
        };
        self.due_at_ns = Some(self.due_at_ns.map_or(due_ns, |known| known.min(due_ns)));
    }

    /// The first tick of its rhythm at or after `at_ns` that it has not looked at.
    fn tick(&self, policy: &Policy, at_ns: i64) -> i64 {
        let Some(first) = self.first_look_ns else { return at_ns };
        let interval = policy.group_interval_ns;
        if interval <= 0 {
            return at_ns;
        }
        let at_ns = at_ns.max(self.last_look_ns.saturating_add(1));
        let ticks = (at_ns.saturating_sub(first).saturating_add(interval - 1) / interval).max(1);
        first.saturating_add(ticks.saturating_mul(interval))
    }

    /// It looks at itself at `now_ns`: `alert` gives the alerts of incidents, `is_muted` says what is held back.
    pub fn look<'a>(
        &'a self,
        (notifier, key): (&str, &str),
        policy: &Policy,
        now_ns: i64,
        alert: impl Fn(&str) -> Option<&'a Alert>,
        is_muted: impl Fn(&Alert) -> bool,
    ) -> Look {
        let (mut firing, mut over, mut dropped, mut held) = (Vec::new(), Vec::new(), Vec::new(), 0);
        let mut told = BTreeMap::new();
        for (incident, left) in &self.members {
            let Some(alert) = left.as_deref().or_else(|| alert(incident)) else { continue };
            let known = self.told.get(incident);
            if !alert.is_firing() {
                if policy.send_resolved && (known.is_some() || alert.kind == "revised") {
                    over.push(alert);
                } else {
                    dropped.push(incident.clone());
                }
            } else if is_muted(alert) {
                held += 1;
                told.extend(known.map(|known| (incident.clone(), known.clone())));
            } else {
                told.insert(incident.clone(), Told::of(alert));
                firing.push(alert);
            }
        }
        let news = firing.iter().any(|alert| self.told.get(&alert.incident_id) != Some(&Told::of(alert)));
        let repeat_due = self.told_at_ns.is_some_and(|at| now_ns.saturating_sub(at) >= policy.repeat_interval_ns);
        let reason = match () {
            () if news && self.told.is_empty() => Some(Reason::First),
            () if news => Some(Reason::NewAlerts),
            () if !over.is_empty() && told.is_empty() => Some(Reason::AllResolved),
            () if !over.is_empty() => Some(Reason::SomeResolved),
            () if !firing.is_empty() && repeat_due => Some(Reason::Repeat),
            () => None,
        };
        let message = reason.map(|reason| {
            let over_ids = over.iter().map(|alert| alert.incident_id.clone()).collect();
            let mut alerts: Vec<Alert> = over.into_iter().chain(firing).map(|alert| self.as_known(alert)).collect();
            alerts.sort_by_cached_key(|alert| (alert.identity(), alert.fired_at_ns, alert.incident_id.clone()));
            let truncated = if policy.max_alerts == 0 { 0 } else { alerts.len().saturating_sub(policy.max_alerts) };
            alerts.truncate(alerts.len() - truncated);
            let mut notification = Notification {
                id: String::new(),
                notifier: notifier.to_string(),
                group_key: key.to_string(),
                group_labels: self.labels.clone(),
                reason,
                number: self.number + 1,
                alerts,
                truncated,
                created_at_ns: now_ns,
                repeat_interval_ns: policy.repeat_interval_ns,
            };
            notification.id = notification.id_of();
            let pending = Pending { id: notification.id.clone(), told, over: over_ids };
            (notification, pending)
        });
        Look { message, dropped, held }
    }

    /// The alert, with what its receiver believes of it.
    fn as_known(&self, alert: &Alert) -> Alert {
        let told = self.told.get(&alert.incident_id).map(|told| told.severity.clone());
        Alert { told_severity: told.filter(|severity| *severity != alert.severity), ..alert.clone() }
    }

    /// It has looked, and what it had to say is on its way.
    pub fn looked(&mut self, policy: &Policy, look: &Look, now_ns: i64) {
        self.first_look_ns.get_or_insert(now_ns);
        self.last_look_ns = now_ns;
        self.held = look.held;
        for incident in &look.dropped {
            self.members.remove(incident);
            self.told.remove(incident);
        }
        if let Some((notification, pending)) = &look.message {
            self.number = notification.number;
            self.told_at_ns = Some(now_ns);
            self.pending = Some(pending.clone());
        }
        self.news = false;
        self.rest(policy, now_ns);
    }

    /// It cannot look before what is on its way has come to an end.
    pub fn wait_for_pending(&mut self) {
        self.news = true;
        self.due_at_ns = None;
    }

    /// What was on its way has arrived, or never will: either way the receiver is not told it again. The answer are the
    /// incidents that are over for it.
    pub fn settle(&mut self, policy: &Policy, now_ns: i64) -> Vec<String> {
        let Some(pending) = self.pending.take() else { return Vec::new() };
        self.told = pending.told;
        for incident in &pending.over {
            self.members.remove(incident);
        }
        if self.news {
            self.touch(policy, now_ns)
        } else {
            self.rest(policy, now_ns)
        }
        pending.over
    }

    /// What is on its way failed, and may be replaced by something newer.
    pub fn failed(&mut self, now_ns: i64) {
        if self.news {
            self.due_at_ns = Some(now_ns);
        }
    }

    /// When it has to look although nothing happens.
    fn rest(&mut self, policy: &Policy, now_ns: i64) {
        let repeat = self.told_at_ns.map(|at| at.saturating_add(policy.repeat_interval_ns));
        // What is overdue was not said because it is held back.
        let repeat = repeat.filter(|at| !self.told.is_empty() && *at > now_ns);
        let held = (self.held > 0).then(|| now_ns.saturating_add(LOOK_NS));
        let next = repeat.into_iter().chain(held).min().filter(|_| self.pending.is_none());
        self.due_at_ns = next.map(|at| self.tick(policy, at.max(now_ns)));
    }

    /// Whether nothing is left to be said.
    pub fn is_over(&self) -> bool {
        self.members.is_empty() && self.pending.is_none()
    }
}
