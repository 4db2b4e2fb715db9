//! What the statements of a pipeline say about notification, apart from how each target is spoken to.

use crate::alert::{Alert, Labels};
use crate::inhibition::Inhibition;
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
    /// What mutes what.
    pub inhibitions: Vec<Inhibition>,
}

impl Config {
    /// The notifiers that are to be told of an alert.
    pub fn notifiers_of<'a>(&'a self, alert: &'a Alert) -> impl Iterator<Item = (&'a str, &'a Policy)> {
        let named = self.routes.get(&alert.alert).into_iter().flatten();
        let known = named.filter_map(|name| Some((name.as_str(), self.notifiers.get(name)?)));
        known.filter(|(_, policy)| all_match(&policy.only, &alert.labels))
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
            GroupBy::Labels(names) => {
                names.iter().filter_map(|name| Some((name.clone(), alert.labels.get(name)?.clone()))).collect()
            }
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
        }
    }
}
