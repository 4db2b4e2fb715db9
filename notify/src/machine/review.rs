//! Incidents whose alert has changed, or is no more: who was told that they fire is told what became of them.
//!
//! What is dropped, or has another name now, is over at once. An alert that says something else begins anew and looks at
//! what it can still read: incidents that it finds again go on without anybody being told twice; those that it has not
//! found when it has been quiet for a while are over. What it finds of the past and was over before is told only if it
//! still fires then.

use super::failure::{DELIVERY_FAILED, NOTIFIER};
use super::{BACKFILL_QUIET_NS, Machine};
use crate::alert::{Alert, Status};
use crate::shared::{Shared, Word};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use thalweg_schemas::alert_event::{Kind, Reason};

/// So long after it has changed an alert has looked at the past, whatever still comes.
const LONGEST_NS: i64 = 300 * 1_000_000_000;

/// The time in which a changed alert looks at the past.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Review {
    until_ns: i64,
    at_most_ns: i64,
}

impl Machine {
    /// The rules have changed at `now_ns`; `before` are the definitions of alerts by then.
    pub(super) fn review(&mut self, now_ns: i64, before: &BTreeMap<String, String>) {
        let changed = |name: &str| {
            before.get(name).is_some_and(|before| self.config.rules.get(name).is_some_and(|now| now != before))
        };
        let firing = self.state.incidents.values().filter(|incident| incident.alert.is_firing());
        let (gone, stay): (Vec<_>, Vec<_>) = firing.partition(|incident| self.is_gone(&incident.alert));
        let doubtful = stay.into_iter().filter(|incident| changed(&incident.alert.alert));
        let doubtful: Vec<Word> = doubtful.map(|incident| incident.alert.incident_id.clone()).collect();
        let gone: Vec<Word> = gone.into_iter().map(|incident| incident.alert.incident_id.clone()).collect();
        let review = Review {
            until_ns: now_ns.saturating_add(BACKFILL_QUIET_NS),
            at_most_ns: now_ns.saturating_add(LONGEST_NS),
        };
        let names: Vec<String> = self.config.rules.keys().filter(|name| changed(name)).cloned().collect();
        self.state.reviews.retain(|name, _| self.config.rules.contains_key(name));
        self.state.reviews.extend(names.into_iter().map(|name| (name, review.clone())));
        for id in doubtful {
            if let Some(incident) = self.state.incidents.get_mut(&id) {
                incident.doubtful = true;
            }
        }
        gone.iter().for_each(|id| self.call_off(now_ns, id));
    }

    /// Whether nothing can raise an alert any more.
    fn is_gone(&self, alert: &Alert) -> bool {
        match &*alert.alert == DELIVERY_FAILED {
            true => alert.labels.get(NOTIFIER).is_none_or(|name| !self.config.notifiers.contains_key(name)),
            false => !self.config.routes.contains_key(&*alert.alert),
        }
    }

    /// An alert has something to say: what is looked at may not be all yet.
    pub(super) fn prolong_review(&mut self, now_ns: i64, alert: &str) {
        if let Some(review) = self.state.reviews.get_mut(alert) {
            review.until_ns = now_ns.saturating_add(BACKFILL_QUIET_NS).min(review.at_most_ns);
        }
    }

    /// When the next alert has looked at the past.
    pub(super) fn review_due_ns(&self) -> Option<i64> {
        self.state.reviews.values().map(|review| review.until_ns).min()
    }

    /// Ends the reviews whose time has come: what was not found again is over.
    pub(super) fn end_reviews(&mut self, now_ns: i64) {
        let due = |review: &Review| review.until_ns <= now_ns || self.state.last;
        let over: Vec<String> =
            self.state.reviews.iter().filter(|(_, review)| due(review)).map(|(name, _)| name.clone()).collect();
        if over.is_empty() {
            return;
        }
        let missing =
            self.state.incidents.values().filter(|incident| incident.doubtful).map(|incident| &incident.alert);
        let missing = missing.filter(|alert| over.iter().any(|name| **name == *alert.alert));
        let missing: Vec<Word> = missing.map(|alert| alert.incident_id.clone()).collect();
        self.state.reviews.retain(|name, _| !over.contains(name));
        missing.iter().for_each(|id| self.call_off(now_ns, id));
    }

    /// An incident is over, since what raised it is no more.
    fn call_off(&mut self, now_ns: i64, incident_id: &str) {
        let Some(incident) = self.state.incidents.get(incident_id) else { return };
        let mut alert: Shared<Alert> = incident.alert.clone();
        let over = alert.make_mut();
        (over.seq, over.kind, over.reason) = (over.seq + 1, Kind::Resolved, Reason::RuleChanged);
        over.at_ns = over.at_ns.max(now_ns);
        (over.status, over.ends_at_ns) = (Status::Resolved, Some(over.at_ns));
        over.previous_severity = Some(over.severity.clone());
        self.take(now_ns, alert);
    }
}

#[cfg(test)]
mod tests {
    use crate::alert::tests::{firing, resolved};
    use crate::config::{Config, Policy};
    use crate::machine::{Input, Machine, State};
    use crate::notification::Outcome;
    use crate::time::SECOND;
    use thalweg_schemas::alert_event::AlertEvent;

    fn config(rules: &[(&str, &str)]) -> Config {
        let routes = rules.iter().map(|(name, _)| (name.to_string(), vec!["ops".to_string()]));
        Config {
            notifiers: [("ops".to_string(), Policy::default())].into(),
            routes: routes.collect(),
            rules: rules.iter().map(|(name, rule)| (name.to_string(), rule.to_string())).collect(),
            ..Config::default()
        }
    }

    /// A machine whose receiver takes everything; what it heard.
    struct Scene(Machine);

    impl Scene {
        fn heard(&mut self, second: i64) -> Vec<String> {
            let (now_ns, mut heard) = (second * SECOND, Vec::new());
            loop {
                while let Some(delivery) = self.0.ready("ops", now_ns) {
                    let told = delivery.notification.clone();
                    let alerts = told.alerts.iter();
                    let alerts = alerts.map(|alert| format!("{} {}", alert.incident_id, alert.reason.word()));
                    heard.push(format!("{}: {}", told.status().name(), alerts.collect::<Vec<_>>().join(", ")));
                    self.0.apply(now_ns, Input::Started(told.id.clone()));
                    self.0.apply(now_ns, Input::Ended(told.id, Outcome::Delivered { http_status: 200 }, 1));
                }
                match self.0.due_at_ns().filter(|at| *at <= now_ns) {
                    Some(at) => self.0.apply(at, Input::Tick),
                    None => return heard,
                }
            }
        }

        fn say(&mut self, second: i64, event: &AlertEvent) -> Vec<String> {
            let epoch = self.0.state().epoch + 1;
            let mut heard = self.heard(second);
            self.0.apply(second * SECOND, Input::Alerts(epoch, Machine::alerts_of(std::slice::from_ref(event))));
            heard.extend(self.heard(second));
            heard
        }

        /// A restart with other rules, through a state on disk.
        fn changed(self, second: i64, rules: &[(&str, &str)]) -> Scene {
            let text = serde_json::to_string(self.0.state()).unwrap();
            let state: State = serde_json::from_str(&text).unwrap();
            let machine = Machine::new(self.0.config().clone(), state);
            Scene(machine.with_config(config(rules), second * SECOND))
        }
    }

    #[test]
    fn what_is_dropped_or_renamed_is_over_for_who_was_told() {
        let mut scene = Scene(Machine::new(config(&[("slow", "a"), ("down", "a")]), State::default()));
        let (slow, down) = (firing("slow", "api", "i1", "warning", 0), firing("down", "api", "i2", "warning", 0));
        assert_eq!(scene.say(0, &slow), ["firing: i1 condition_met"]);
        assert_eq!(scene.say(0, &down), ["firing: i2 condition_met"]);
        let mut scene = scene.changed(5, &[("slower", "a"), ("down", "a")]);
        assert_eq!(scene.heard(5), ["resolved: i1 rule_changed"]);
        assert_eq!(scene.say(6, &firing("slower", "api", "i3", "warning", 0)), ["firing: i3 condition_met"]);
        // It comes back under its old name: the same incident is told anew.
        let mut scene = scene.changed(9, &[("slow", "a"), ("down", "a")]);
        assert_eq!(scene.heard(9), ["resolved: i3 rule_changed"]);
        assert_eq!(scene.say(10, &slow), ["firing: i1 condition_met"]);
        assert_eq!(scene.say(11, &resolved(&down, 11)), ["resolved: i2 condition_cleared"]);
        assert_eq!(scene.heard(1_000), [""; 0]);
    }

    #[test]
    fn a_changed_alert_goes_on_with_what_it_finds_again_and_calls_off_the_rest() {
        let mut scene = Scene(Machine::new(config(&[("slow", "a")]), State::default()));
        let [api, web, db] = ["api", "web", "db"].map(|key| firing("slow", key, &format!("i-{key}"), "warning", 0));
        for event in [&api, &web, &db] {
            assert_eq!(scene.say(0, event).len(), 1);
        }
        assert_eq!(scene.say(1, &resolved(&db, 1)), ["resolved: i-db condition_cleared"]);
        let mut scene = scene.changed(20, &[("slow", "b")]);
        assert_eq!(scene.heard(21), [""; 0], "nobody knows yet");
        assert_eq!(scene.say(22, &api), [""; 0], "it goes on, and was told");
        // What was over still fires by the new rule: told when the past is over, and once.
        assert_eq!(scene.say(22, &db), [""; 0]);
        let mut scene = scene.changed(23, &[("slow", "b")]);
        assert_eq!(scene.heard(31), [""; 0]);
        let mut heard = scene.heard(33);
        heard.sort();
        assert_eq!(heard, ["firing: i-db condition_met", "resolved: i-web rule_changed"]);
        assert_eq!(scene.say(40, &web), ["firing: i-web condition_met"], "found late");
        assert_eq!(scene.say(41, &resolved(&api, 41)), ["resolved: i-api condition_cleared"]);
        // At the end of a pipeline nobody waits for what is not found.
        let mut scene = scene.changed(50, &[("slow", "c")]);
        assert_eq!(scene.say(51, &web), [""; 0]);
        scene.0.apply(52 * SECOND, Input::Last);
        assert_eq!(scene.heard(52), ["resolved: i-db rule_changed"]);
    }

    #[test]
    fn a_graver_severity_by_the_new_rule_is_told() {
        let mut scene = Scene(Machine::new(config(&[("slow", "a")]), State::default()));
        scene.say(0, &firing("slow", "api", "i1", "warning", 0));
        let mut scene = scene.changed(5, &[("slow", "b")]);
        assert_eq!(scene.say(6, &firing("slow", "api", "i1", "critical", 0)), ["firing: i1 condition_met"]);
    }
}
