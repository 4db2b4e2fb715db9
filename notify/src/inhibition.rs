//! Inhibition: while an alert fires, others that depend on it are not notified of.

use crate::alert::{Alert, Labels};
use crate::matchers::{Matcher, all_match};
use crate::shared::Word;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A rule: firing alerts that match `source` mute those that match `target`, where the labels `equal` are the same. A
/// label that is on neither counts as the same. An alert that matches both sides is not muted by another such.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inhibition {
    /// Its name.
    pub name: String,
    /// What mutes.
    pub source: Vec<Matcher>,
    /// What is muted.
    pub target: Vec<Matcher>,
    /// The labels that must be the same.
    pub equal: Vec<String>,
}

impl Inhibition {
    fn equal_of(&self, labels: &Labels) -> Vec<String> {
        self.equal.iter().map(|name| labels.get(name).unwrap_or_default().to_string()).collect()
    }
}

/// The firing alerts that are sources of the rules, by what must be equal: so that a target is looked up, whatever the
/// number of alerts.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    rules: Vec<Inhibition>,
    /// For each rule: the incidents by the values of `equal`, and whether each is a target too.
    firing: Vec<BTreeMap<Vec<String>, BTreeMap<Word, bool>>>,
}

impl Sources {
    pub fn new(rules: &[Inhibition]) -> Sources {
        Sources { rules: rules.to_vec(), firing: vec![BTreeMap::new(); rules.len()] }
    }

    /// An incident begins to fire.
    pub fn add(&mut self, alert: &Alert) {
        for (rule, firing) in self.rules.iter().zip(&mut self.firing) {
            if all_match(&rule.source, &alert.labels) {
                let both = all_match(&rule.target, &alert.labels);
                let equal = firing.entry(rule.equal_of(&alert.labels)).or_default();
                equal.insert(alert.incident_id.clone(), both);
            }
        }
    }

    /// The incident no longer fires with the labels that it was added with.
    pub fn remove(&mut self, alert: &Alert) {
        for (rule, firing) in self.rules.iter().zip(&mut self.firing) {
            let equal = rule.equal_of(&alert.labels);
            if let Some(incidents) = firing.get_mut(&equal) {
                incidents.remove(&alert.incident_id);
                if incidents.is_empty() {
                    firing.remove(&equal);
                }
            }
        }
    }

    /// The rule and the incident that mute an alert, if one does.
    pub fn muting(&self, alert: &Alert) -> Option<(&str, &str)> {
        self.rules.iter().zip(&self.firing).find_map(|(rule, firing)| {
            if !all_match(&rule.target, &alert.labels) {
                return None;
            }
            let is_source = all_match(&rule.source, &alert.labels);
            let mut incidents = firing.get(&rule.equal_of(&alert.labels))?.iter();
            let (incident, _) = incidents.find(|(id, both)| **id != alert.incident_id && !(is_source && **both))?;
            Some((rule.name.as_str(), &**incident))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::tests::firing;
    use crate::matchers::parse;

    fn alert(name: &str, service: &str, severity: &str) -> Alert {
        Alert::of(&firing(name, service, &format!("{name}-{service}-{severity}"), severity, 0)).unwrap()
    }

    fn sources(source: &str, target: &str, equal: &[&str]) -> Sources {
        let equal = equal.iter().map(|name| name.to_string()).collect();
        let (source, target) = (parse(source).unwrap(), parse(target).unwrap());
        Sources::new(&[Inhibition { name: "graver".into(), source, target, equal }])
    }

    #[test]
    fn a_source_mutes_targets_with_equal_labels() {
        let mut sources = sources("severity=critical", "severity=warning", &["service", "region"]);
        let (critical, warning) = (alert("down", "api", "critical"), alert("slow", "api", "warning"));
        assert_eq!(sources.muting(&warning), None);
        sources.add(&critical);
        assert_eq!(sources.muting(&warning), Some(("graver", "down-api-critical")), "a label on neither is equal");
        assert_eq!(sources.muting(&alert("slow", "web", "warning")), None);
        assert_eq!(sources.muting(&alert("slow", "api", "critical")), None, "it is no target");
        sources.remove(&critical);
        assert_eq!(sources.muting(&warning), None);
        assert!(sources.firing[0].is_empty());
    }

    #[test]
    fn an_alert_on_both_sides_is_not_muted_by_another_such() {
        let mut sources = sources("alertname=~\"down|off\"", "alertname=~\"down|slow\"", &[]);
        let down = [alert("down", "api", "critical"), alert("down", "web", "critical")];
        down.iter().for_each(|alert| sources.add(alert));
        assert_eq!(sources.muting(&down[0]), None, "both match both sides");
        assert!(sources.muting(&alert("slow", "api", "warning")).is_some());
        sources.add(&alert("off", "x", "critical"));
        assert_eq!(sources.muting(&down[0]), Some(("graver", "off-x-critical")), "a mere source mutes it");
    }
}
