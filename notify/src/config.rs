//! What the statements of a pipeline say about notification, apart from how each target is spoken to.

use crate::alert::{Alert, Labels};
use crate::calendar::Calendar;
use crate::inhibition::Inhibition;
use crate::machine::failure::{DELIVERY_FAILED, NOTIFIER};
use crate::matchers::{Matcher, all_match};
use crate::time::SECOND;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Who is told of what, and when.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The notifiers by name.
    pub notifiers: BTreeMap<String, Policy>,
    /// For each alert the notifiers that its `NOTIFY` names.
    pub routes: BTreeMap<String, Vec<String>>,
    /// For each alert what stands for all that decides when it fires: when that is another, so is the alert.
    #[serde(default)]
    pub rules: BTreeMap<String, String>,
    /// For each alert who else is told while it goes on, the earliest first.
    #[serde(default)]
    pub escalations: BTreeMap<String, Vec<Escalation>>,
    /// What mutes what.
    pub inhibitions: Vec<Inhibition>,
    /// The calendars by name.
    #[serde(default)]
    pub calendars: BTreeMap<String, Calendar>,
}

/// `ESCALATE AFTER .. TO ..`: who is told of an alert that still fires so long after it began to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Escalation {
    /// How long after the engine heard of it.
    pub after_ns: i64,
    /// The notifiers.
    pub notifiers: Vec<String>,
}

impl Config {
    /// The notifiers that are to be told of an alert that has been escalated so often.
    pub fn notifiers_of<'a>(
        &'a self,
        alert: &'a Alert,
        escalated: usize,
    ) -> impl Iterator<Item = (&'a str, &'a Policy)> {
        let further = self.escalations_of(alert).iter().take(escalated).flat_map(|step| &step.notifiers);
        // No statement can declare an alert of that name.
        let deaf = Some(alert).filter(|alert| &*alert.alert == DELIVERY_FAILED);
        let deaf = deaf.and_then(|alert| self.notifiers.get(alert.labels.get(NOTIFIER)?));
        let instead = deaf.into_iter().flat_map(|policy| &policy.fallback);
        let named = self.routes.get(&*alert.alert).into_iter().flatten().chain(further).chain(instead);
        let known = named.filter_map(|name| Some((name.as_str(), self.notifiers.get(name)?)));
        known.filter(|(_, policy)| all_match(&policy.only, &alert.labels))
    }

    /// The steps in which an alert is escalated.
    pub fn escalations_of(&self, alert: &Alert) -> &[Escalation] {
        self.escalations.get(&*alert.alert).map_or(&[], Vec::as_slice)
    }

    /// The first of these that is no calendar.
    pub fn unknown_calendar<'a>(&self, names: &'a [String]) -> Option<&'a String> {
        names.iter().find(|name| !self.calendars.contains_key(*name))
    }

    /// Whether it is a time of any of these calendars.
    pub fn is_time_of(&self, calendars: &[String], now_ns: i64) -> bool {
        calendars.iter().filter_map(|name| self.calendars.get(name)).any(|calendar| calendar.contains(now_ns))
    }

    /// Whether a notifier with this policy keeps quiet at `now_ns`.
    pub fn keeps_quiet(&self, policy: &Policy, now_ns: i64) -> bool {
        self.is_time_of(&policy.mute_calendars, now_ns)
            || !policy.active_calendars.is_empty() && !self.is_time_of(&policy.active_calendars, now_ns)
    }
}

/// When one notifier speaks, and of what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Of the alerts that name it, it is told only of those that match all of these.
    pub only: Vec<Matcher>,
    /// What goes into one message.
    pub group_by: GroupBy,
    /// How long a new group waits for more alerts before its first message.
    pub group_wait_ns: i64,
    /// The rhythm in which a group that has spoken tells of what is new.
    pub group_interval_ns: i64,
    /// After how long without news a group that still fires is told of again.
    pub repeat_interval_ns: i64,
    /// Whether it is told that an alert is over.
    pub send_resolved: bool,
    /// How many alerts a message has at most; 0: no limit.
    pub max_alerts: usize,
    /// For how long a message is tried.
    pub give_up_after_ns: i64,
    /// The notifiers that are told when a message to this one is dead.
    #[serde(default)]
    pub fallback: Vec<String>,
    /// At the times of these it is not told of what fires.
    #[serde(default)]
    pub mute_calendars: Vec<String>,
    /// Only at the times of these, if there are any, it is.
    #[serde(default)]
    pub active_calendars: Vec<String>,
    /// How often it is told that the engine is at work; 0: never.
    #[serde(default)]
    pub watchdog_ns: i64,
}

/// What alerts have in common that go into one message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupBy {
    /// The alert and its key: every alert is told of by itself.
    Key,
    /// All labels: Alertmanager's `...`.
    All,
    /// These labels; with none all alerts are in one group.
    Labels(Vec<String>),
}

impl GroupBy {
    /// The labels of the group that an alert belongs to.
    pub fn labels(&self, alert: &Alert) -> Labels {
        match self {
            GroupBy::Key => alert.identity(),
            GroupBy::All => alert.labels.clone(),
            GroupBy::Labels(names) => names.iter().filter_map(|name| Some((name, alert.labels.get(name)?))).collect(),
        }
    }
}

impl Default for Policy {
    /// Each alert by itself and at once.
    fn default() -> Policy {
        Policy {
            only: Vec::new(),
            group_by: GroupBy::Key,
            group_wait_ns: 0,
            group_interval_ns: 0,
            repeat_interval_ns: 4 * 3_600 * SECOND,
            send_resolved: true,
            max_alerts: 0,
            give_up_after_ns: 4 * 3_600 * SECOND,
            fallback: Vec::new(),
            mute_calendars: Vec::new(),
            active_calendars: Vec::new(),
            watchdog_ns: 0,
        }
    }
}
