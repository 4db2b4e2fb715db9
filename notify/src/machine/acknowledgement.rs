//! Acknowledgements: somebody takes care of an incident, so nobody else needs to be called and nothing is said again. What
//! is new of it, a graver severity or its end, is told as before.

use super::Machine;
use serde::{Deserialize, Serialize};

/// Who takes care of an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// The incident.
    pub incident_id: String,
    /// Who.
    pub author: String,
    /// What is to be said about it.
    pub comment: String,
}

impl Machine {
    /// Whether an incident that goes on is known by this id.
    pub fn is_open(&self, incident_id: &str) -> bool {
        self.state.incidents.get(incident_id).is_some_and(|incident| incident.alert.is_firing())
    }

    /// Who takes care of an incident, if anybody does.
    pub fn acknowledgement(&self, incident_id: &str) -> Option<&Acknowledgement> {
        self.state.incidents.get(incident_id)?.acknowledged.as_deref()
    }

    /// Somebody takes care of an incident.
    pub(super) fn acknowledge(&mut self, acknowledgement: Acknowledgement) {
        self.forget_step(&acknowledgement.incident_id);
        if let Some(incident) = self.state.incidents.get_mut(acknowledgement.incident_id.as_str()) {
            incident.acknowledged = Some(Box::new(acknowledgement));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Acknowledgement;
    use crate::alert::tests::{escalated, firing, resolved};
    use crate::config::{Config, Escalation, Policy};
    use crate::machine::{Input, Machine, State};
    use crate::notification::Outcome;
    use crate::time::SECOND;
    use thalweg_schemas::alert_event::AlertEvent;

    const MINUTE: i64 = 60 * SECOND;

    fn config() -> Config {
        let policy = Policy { repeat_interval_ns: 60 * MINUTE, ..Policy::default() };
        Config {
            notifiers: ["ops", "boss"].map(|name| (name.to_string(), policy.clone())).into(),
            routes: [("slow".to_string(), vec!["ops".to_string()])].into(),
            escalations: [(
                "slow".to_string(),
                vec![Escalation { after_ns: 15 * MINUTE, notifiers: vec!["boss".into()] }],
            )]
            .into(),
            ..Config::default()
        }
    }

    /// What is heard from one minute to another.
    fn heard(machine: &mut Machine, from: i64, minute: i64) -> Vec<String> {
        let mut heard = Vec::new();
        let mut now_ns = from * MINUTE;
        loop {
            for notifier in ["ops", "boss"] {
                while let Some(delivery) = machine.ready(notifier, now_ns) {
                    let told = delivery.notification.clone();
                    heard.push(format!("{} {notifier}: {}", now_ns / MINUTE, told.reason.name()));
                    machine.apply(now_ns, Input::Started(told.id.clone()));
                    machine.apply(now_ns, Input::Ended(told.id, Outcome::Delivered { http_status: 200 }, 1));
                }
            }
            let Some(at) = machine.due_at_ns().filter(|at| *at <= minute * MINUTE) else { return heard };
            now_ns = at;
            machine.apply(now_ns, Input::Tick);
        }
    }

    fn say(machine: &mut Machine, minute: i64, event: &AlertEvent) {
        let epoch = machine.state().epoch + 1;
        machine.apply(minute * MINUTE, Input::Alerts(epoch, Machine::alerts_of(std::slice::from_ref(event))));
    }

    fn acknowledge(machine: &mut Machine, minute: i64) {
        let (incident_id, author) = ("i1".to_string(), "ada".to_string());
        let acknowledgement = Acknowledgement { incident_id, author, comment: "on it".into() };
        machine.apply(minute * MINUTE, Input::Acknowledge(acknowledgement));
    }

    #[test]
    fn an_incident_that_somebody_takes_care_of_is_neither_repeated_nor_escalated_and_its_end_is_told() {
        let mut machine = Machine::new(config(), State::default());
        let api = firing("slow", "api", "i1", "warning", 0);
        say(&mut machine, 0, &api);
        assert_eq!(heard(&mut machine, 0, 5), ["0 ops: first notification"]);
        acknowledge(&mut machine, 5);
        // A restart knows it.
        let state = serde_json::from_str(&serde_json::to_string(machine.state()).unwrap()).unwrap();
        let mut machine = Machine::new(config(), state);
        assert_eq!(machine.acknowledgement("i1").unwrap().author, "ada");
        assert_eq!(heard(&mut machine, 5, 199), [""; 0]);
        let critical = escalated(&api, "critical", 200);
        say(&mut machine, 200, &critical);
        assert_eq!(heard(&mut machine, 200, 399), ["200 ops: new alerts added"], "that is news");
        say(&mut machine, 400, &resolved(&critical, 400));
        assert_eq!(heard(&mut machine, 400, 400), ["400 ops: all alerts resolved"]);
        assert!(!machine.is_open("i1") && machine.acknowledgement("i1").is_none());
    }

    #[test]
    fn others_of_its_group_are_repeated() {
        let mut config = config();
        let policy = config.notifiers.get_mut("ops").unwrap();
        policy.group_by = crate::config::GroupBy::Labels(Vec::new());
        config.escalations.clear();
        let mut machine = Machine::new(config, State::default());
        say(&mut machine, 0, &firing("slow", "api", "i1", "warning", 0));
        say(&mut machine, 0, &firing("slow", "web", "i2", "warning", 0));
        assert_eq!(heard(&mut machine, 0, 1), ["0 ops: first notification"]);
        acknowledge(&mut machine, 1);
        assert_eq!(heard(&mut machine, 1, 61), ["60 ops: repeat interval elapsed"]);
    }
}
