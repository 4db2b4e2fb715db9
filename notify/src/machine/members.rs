//! Who is in which group, and what the group's receiver was told of it.
//!
//! One tree for the members of all groups: where each alert is told by itself a group has one member, and a tree for each
//! would take many times what is in it.

use super::group::{GroupNo, Told};
use crate::alert::Alert;
use crate::shared::Word;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;

/// An incident in a group.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Member {
    /// What the receiver believes of it; `None`: that it does not fire.
    pub told: Option<Told>,
    /// The alert as it was last here, if it has gone to another group, which few do.
    pub left: Option<Box<Alert>>,
}

/// The members of all groups, by group and then by incident.
#[derive(Clone, Debug, Default)]
pub(crate) struct Members(BTreeMap<(GroupNo, Word), Member>);

impl Members {
    /// An incident is in a group from now on, or again.
    pub fn join(&mut self, group: GroupNo, incident: &Word) {
        self.0.entry((group, incident.clone())).or_default().left = None;
    }

    /// The member that an incident is of a group.
    pub fn get(&self, group: GroupNo, incident: &Word) -> Option<&Member> {
        self.0.get(&(group, incident.clone()))
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, group: GroupNo, incident: &Word) -> Option<&mut Member> {
        self.0.get_mut(&(group, incident.clone()))
    }

    /// The members of a group.
    pub fn of(&self, group: GroupNo) -> impl Iterator<Item = (&Word, &Member)> {
        let (from, until) = ((group, Word::default()), (group + 1, Word::default()));
        self.0.range(from..until).map(|((_, incident), member)| (incident, member))
    }

    /// Whether a group has members.
    pub fn any(&self, group: GroupNo) -> bool {
        self.of(group).next().is_some()
    }

    /// What the receiver of a group believes from now on: of all of its members.
    pub fn settle(&mut self, group: GroupNo, told: Vec<(Word, Told)>) {
        let (from, until) = ((group, Word::default()), (group + 1, Word::default()));
        self.0.range_mut(from..until).for_each(|(_, member)| member.told = None);
        for (incident, told) in told {
            if let Some(member) = self.0.get_mut(&(group, incident)) {
                member.told = Some(told);
            }
        }
    }

    /// An incident is no longer in a group.
    pub fn leave(&mut self, group: GroupNo, incident: &Word) {
        self.0.remove(&(group, incident.clone()));
    }

    /// Only groups that `kept` names have members from now on.
    pub fn retain(&mut self, kept: impl Fn(GroupNo) -> bool) {
        self.0.retain(|(group, _), _| kept(*group));
    }
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.0)
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members, D::Error> {
        Ok(Members(Vec::deserialize(deserializer)?.into_iter().collect()))
    }
}
