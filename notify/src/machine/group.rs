//! A group of alerts of one notifier: what is in it, what its receiver was told, and what it is to be told next.
//!
//! The rules are Alertmanager's: a group that is new waits `group_wait`, one that has spoken looks at itself in the rhythm
//! of `group_interval`, and it speaks if there is something that its receiver does not know.

use crate::alert::{Alert, Labels};
use crate::config::Policy;
use crate::notification::{Notification, Reason};
use crate::shared::{Shared, Word};
use serde::{Deserialize, Serialize};
use thalweg_schemas::alert_event::Kind;

/// A group that is held back by silences or inhibition looks at itself this often at least.
const LOOK_NS: i64 = 1_000_000_000;

/// How many groups were made before a group: what it is known by.
pub(crate) type GroupNo = u64;

/// What a receiver was told of an incident that fires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Told {
    severity: Word,
    /// How often it had been corrected.
    pub revision: u32,
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
    /// The incidents that it then believes to fire.
    pub told: Vec<(Word, Told)>,
    /// The incidents of which it says that they are over.
    pub over: Vec<Word>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Group {
    pub notifier: Word,
    pub labels: Labels,
    told_at_ns: Option<i64>,
    /// When it looked at itself for the first time, and the last.
    first_look_ns: Option<i64>,
    last_look_ns: i64,
    /// When it is to look at itself.
    pub due_at_ns: Option<i64>,
    number: u64,
    pub pending: Option<Box<Pending>>,
    /// Something changed since it last looked.
    pub news: bool,
    /// Whether its receiver believes that anything fires.
    believed: bool,
    /// How many of its alerts were held back when it last looked.
    held: usize,
}

/// A member as a group sees it when it looks at itself.
pub(crate) struct Seen<'a> {
    /// What the receiver believes of it.
    pub told: Option<&'a Told>,
    pub alert: Shared<Alert>,
    /// Whether somebody takes care of it.
    pub acknowledged: bool,
}

/// What a group finds when it looks at itself.
pub(crate) struct Look {
    /// What to say, if anything, and what follows from having said it.
    pub message: Option<(Notification, Box<Pending>)>,
    /// The incidents that nobody needs to be told the end of.
    pub dropped: Vec<Word>,
    held: usize,
    believed: bool,
}

impl Group {
    pub fn new(notifier: Word, labels: Labels) -> Group {
        Group {
            notifier,
            labels,
            told_at_ns: None,
            first_look_ns: None,
            last_look_ns: 0,
            due_at_ns: None,
            number: 0,
            pending: None,
            news: false,
            believed: false,
            held: 0,
        }
    }

    /// What receivers know it by.
    pub fn key(&self) -> String {
        format!("{{}}:{}", self.labels)
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

    /// It looks at itself at `now_ns`: `members` are those that are in it, `is_muted` says what is held back.
    pub fn look<'a>(
        &self,
        policy: &Policy,
        now_ns: i64,
        members: impl Iterator<Item = Seen<'a>>,
        is_muted: impl Fn(&Alert) -> bool,
    ) -> Look {
        let (mut firing, mut over, mut dropped, mut told, mut held) = (vec![], vec![], vec![], vec![], 0);
        let (mut news, mut first, mut believed, mut unattended) = (false, true, false, false);
        for Seen { told: known, alert, acknowledged } in members {
            first &= known.is_none();
            if !alert.is_firing() {
                if policy.send_resolved && (known.is_some() || alert.kind == Kind::Revised) {
                    believed |= known.is_some();
                    over.push(as_known(alert, known));
                } else {
                    dropped.push(alert.incident_id.clone());
                }
                continue;
            }
            believed |= known.is_some();
            if is_muted(&alert) {
                held += 1;
                told.extend(known.map(|known| (alert.incident_id.clone(), known.clone())));
            } else {
                let now = Told::of(&alert);
                news |= known != Some(&now);
                unattended |= !acknowledged;
                told.push((alert.incident_id.clone(), now));
                firing.push(as_known(alert, known));
            }
        }
        let repeat_due = self.told_at_ns.is_some_and(|at| now_ns.saturating_sub(at) >= policy.repeat_interval_ns);
        let reason = match () {
            () if news && first => Some(Reason::First),
            () if news => Some(Reason::NewAlerts),
            () if !over.is_empty() && told.is_empty() => Some(Reason::AllResolved),
            () if !over.is_empty() => Some(Reason::SomeResolved),
            () if unattended && repeat_due => Some(Reason::Repeat),
            () => None,
        };
        let message = reason.map(|reason| self.message(policy, now_ns, reason, (over, firing), told));
        Look { message, dropped, held, believed }
    }

    /// What it says of alerts that are over and that fire, of which its receiver then believes what is `told`.
    fn message(
        &self,
        policy: &Policy,
        now_ns: i64,
        reason: Reason,
        (over, firing): (Vec<Shared<Alert>>, Vec<Shared<Alert>>),
        told: Vec<(Word, Told)>,
    ) -> (Notification, Box<Pending>) {
        let over_ids = over.iter().map(|alert| alert.incident_id.clone()).collect();
        let mut alerts: Vec<Shared<Alert>> = over.into_iter().chain(firing).collect();
        alerts.sort_by_cached_key(|alert| (alert.identity(), alert.fired_at_ns, alert.incident_id.clone()));
        let truncated = if policy.max_alerts == 0 { 0 } else { alerts.len().saturating_sub(policy.max_alerts) };
        alerts.truncate(alerts.len() - truncated);
        let mut notification = Notification {
            id: String::new(),
            notifier: self.notifier.to_string(),
            group_key: self.key(),
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
        (notification, Box::new(pending))
    }

    /// It has looked; the answer is what it has to say, which is on its way.
    pub fn looked(&mut self, policy: &Policy, look: Look, now_ns: i64) -> Option<Notification> {
        self.first_look_ns.get_or_insert(now_ns);
        self.last_look_ns = now_ns;
        (self.held, self.believed, self.news) = (look.held, look.believed, false);
        let (notification, pending) = look.message.unzip();
        self.pending = pending;
        if let Some(notification) = &notification {
            self.number = notification.number;
            self.told_at_ns = Some(now_ns);
        }
        self.rest(policy, now_ns);
        notification
    }

    /// It cannot look before what is on its way has come to an end.
    pub fn wait_for_pending(&mut self) {
        self.news = true;
        self.due_at_ns = None;
    }

    /// What was on its way has arrived, or never will: either way the receiver is not told it again.
    pub fn settled(&mut self, policy: &Policy, now_ns: i64, pending: &Pending) {
        self.believed = !pending.told.is_empty();
        // What is repeated is so some time after it arrived, and not after it was decided.
        self.told_at_ns = Some(now_ns);
        if self.news { self.touch(policy, now_ns) } else { self.rest(policy, now_ns) }
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
        let repeat = repeat.filter(|at| self.believed && *at > now_ns);
        let held = (self.held > 0).then(|| now_ns.saturating_add(LOOK_NS));
        let next = repeat.into_iter().chain(held).min().filter(|_| self.pending.is_none());
        self.due_at_ns = next.map(|at| self.tick(policy, at.max(now_ns)));
    }
}

/// The alert, with what its receiver believes of it.
fn as_known(alert: Shared<Alert>, told: Option<&Told>) -> Shared<Alert> {
    match told {
        Some(told) if told.severity != alert.severity => {
            let mut known = alert;
            known.make_mut().told_severity = Some(told.severity.clone());
            known
        }
        _ => alert,
    }
}
