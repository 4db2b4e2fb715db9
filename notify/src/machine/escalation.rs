//! Escalation: who else is told of an alert that goes on for long.
//!
//! A step makes the incident a member of further groups. So what holds a message back holds these back too: a silenced alert
//! is one that somebody takes care of, and who it is escalated to hears of it when the silence is over and it still fires.

use super::group::GroupNo;
use super::{Incident, Machine};
use crate::shared::Word;

impl Machine {
    /// When the next step of an incident is due.
    pub(super) fn step_due(&self, incident: &Incident) -> Option<i64> {
        let step = self.config.escalations_of(&incident.alert).get(incident.escalated as usize);
        let step =
            step.filter(|_| incident.alert.is_firing() && incident.acknowledged.is_none() && !self.state.last)?;
        Some(incident.heard_at_ns.saturating_add(step.after_ns))
    }

    /// No step of an incident is waited for any more.
    pub(super) fn forget_step(&mut self, incident_id: &str) {
        let at = self.state.incidents.get(incident_id).and_then(|incident| self.step_due(incident));
        if let Some(at) = at {
            self.escalations.remove(&(at, Word::from(incident_id)));
        }
    }

    /// Takes the steps that are due.
    pub(super) fn escalate(&mut self, now_ns: i64) {
        while let Some((at, incident_id)) = self.escalations.first().cloned() {
            if at > now_ns {
                return;
            }
            self.escalations.pop_first();
            let Some(incident) = self.state.incidents.get_mut(&incident_id) else { continue };
            incident.escalated += 1;
            let (alert, escalated) = (incident.alert.clone(), incident.escalated);
            let known = incident.groups.clone();
            let groups = self.join(&alert, escalated).into_iter().filter(|group| !known.contains(group));
            let groups: Vec<GroupNo> = groups.collect();
            if let Some(incident) = self.state.incidents.get_mut(&incident_id) {
                incident.groups = known.iter().chain(&groups).copied().collect();
            }
            for group in groups {
                self.with_group(group, |group, policy| group.touch(policy, now_ns));
            }
            let next = self.state.incidents.get(&incident_id).and_then(|incident| self.step_due(incident));
            self.escalations.extend(next.map(|at| (at, incident_id)));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::alert::tests::{escalated, firing, resolved};
    use crate::config::{Config, Escalation, Policy};
    use crate::machine::{Input, Machine, State};
    use crate::matchers::parse;
    use crate::notification::Outcome;
    use crate::silence::Silence;
    use crate::time::SECOND;
    use thalweg_schemas::alert_event::AlertEvent;

    const MINUTE: i64 = 60 * SECOND;

    fn config() -> Config {
        let step =
            |minutes: i64, notifier: &str| Escalation { after_ns: minutes * MINUTE, notifiers: vec![notifier.into()] };
        let notifiers = ["ops", "oncall", "boss"].map(|name| (name.to_string(), Policy::default()));
        Config {
            notifiers: notifiers.into(),
            routes: [("slow".to_string(), vec!["ops".to_string()])].into(),
            escalations: [("slow".to_string(), vec![step(15, "oncall"), step(60, "boss")])].into(),
            ..Config::default()
        }
    }

    /// A machine whose receivers take everything; what they heard: when, who, and what.
    struct Scene {
        machine: Machine,
        heard: Vec<String>,
    }

    impl Scene {
        fn new() -> Scene {
            Scene { machine: Machine::new(config(), State::default()), heard: Vec::new() }
        }

        fn put(&mut self, minute: i64, input: Input) {
            self.until(minute);
            self.machine.apply(minute * MINUTE, input);
            self.deliver(minute * MINUTE);
        }

        fn say(&mut self, minute: i64, event: &AlertEvent) {
            let epoch = self.machine.state().epoch + 1;
            self.put(minute, Input::Alerts(epoch, Machine::alerts_of(std::slice::from_ref(event))));
        }

        fn deliver(&mut self, now_ns: i64) {
            for notifier in ["ops", "oncall", "boss"] {
                while let Some(delivery) = self.machine.ready(notifier, now_ns) {
                    let told = delivery.notification.clone();
                    let (status, reason) = (told.status().name(), told.reason.name());
                    self.heard.push(format!("{} {notifier} {status} ({reason})", now_ns / MINUTE));
                    self.machine.apply(now_ns, Input::Started(told.id.clone()));
                    self.machine.apply(now_ns, Input::Ended(told.id, Outcome::Delivered { http_status: 200 }, 1));
                }
            }
        }

        fn until(&mut self, minute: i64) {
            while let Some(at) = self.machine.due_at_ns().filter(|at| *at <= minute * MINUTE) {
                self.machine.apply(at, Input::Tick);
                self.deliver(at);
            }
        }

        fn heard(&mut self, minute: i64) -> Vec<String> {
            self.until(minute);
            std::mem::take(&mut self.heard)
        }
    }

    #[test]
    fn further_notifiers_hear_of_what_goes_on_once_for_each_step_and_of_its_end() {
        let mut scene = Scene::new();
        let api = firing("slow", "api", "i1", "warning", 0);
        scene.say(0, &api);
        scene.say(5, &firing("slow", "web", "i2", "warning", 0));
        assert_eq!(scene.heard(14), ["0 ops firing (first notification)", "5 ops firing (first notification)"]);
        assert_eq!(scene.heard(16), ["15 oncall firing (first notification)"]);
        scene.say(17, &escalated(&api, "critical", 17));
        let graver = ["17 ops firing (new alerts added)", "17 oncall firing (new alerts added)"];
        assert_eq!(scene.heard(19), graver, "who was told goes on hearing");
        // A restart in between takes up the steps where they were.
        let state = serde_json::from_str(&serde_json::to_string(scene.machine.state()).unwrap()).unwrap();
        scene.machine = Machine::new(config(), state);
        assert_eq!(scene.heard(61), ["20 oncall firing (first notification)", "60 boss firing (first notification)"]);
        scene.say(62, &resolved(&escalated(&api, "critical", 17), 62));
        let over = ["ops", "oncall", "boss"].map(|notifier| format!("62 {notifier} resolved (all alerts resolved)"));
        assert_eq!(scene.heard(62), over);
        assert_eq!(scene.heard(70), ["65 boss firing (first notification)"]);
    }

    #[test]
    fn what_is_over_or_silenced_is_not_escalated() {
        let mut scene = Scene::new();
        let (api, web) = (firing("slow", "api", "i1", "warning", 0), firing("slow", "web", "i2", "warning", 0));
        scene.say(0, &api);
        scene.say(0, &web);
        scene.say(10, &resolved(&api, 10));
        assert_eq!(scene.heard(10).len(), 3);
        let silence = Silence {
            id: "s".into(),
            matchers: parse("service=web").unwrap(),
            starts_at_ns: 0,
            ends_at_ns: 30 * MINUTE,
            created_by: String::new(),
            comment: String::new(),
            calendars: Vec::new(),
            declared: false,
        };
        scene.put(11, Input::Silence(silence));
        assert_eq!(scene.heard(29), [""; 0]);
        assert_eq!(scene.heard(31), ["30 oncall firing (first notification)"], "nobody has taken care of it");
    }

    #[test]
    fn at_the_end_nobody_is_waited_for() {
        let mut scene = Scene::new();
        scene.say(0, &firing("slow", "api", "i1", "warning", 0));
        scene.put(1, Input::Last);
        assert_eq!(scene.heard(90), ["0 ops firing (first notification)"]);
        assert!(scene.machine.is_quiet());
    }
}
