//! The machine against the rows of what Alertmanager was seen to do.

mod world;

use super::*;
use crate::alert::Status;
use crate::alert::tests::{escalated, firing, labels, resolved, revised};
use crate::config::GroupBy;
use crate::inhibition::Inhibition;
use crate::matchers::parse;
use crate::notification::Reason;
use crate::time::SECOND;

/// Wait 2 s, interval 4 s, repeat 12 s: the times of the rows that were seen.
fn policy() -> Policy {
    Policy {
        group_by: GroupBy::Labels(vec!["alertname".into()]),
        group_wait_ns: 2 * SECOND,
        group_interval_ns: 4 * SECOND,
        repeat_interval_ns: 12 * SECOND,
        ..Policy::default()
    }
}

fn config(policy: Policy) -> Config {
    let routes = ["slow", "down"].map(|alert| (alert.to_string(), vec!["ops".to_string()]));
    Config { notifiers: [("ops".to_string(), policy)].into(), routes: routes.into(), ..Config::default() }
}

/// A machine whose receiver takes everything at once; what it heard, with the second.
struct Desk {
    machine: Machine,
    epoch: u64,
    heard: Vec<String>,
    second: i64,
}

impl Desk {
    fn new(config: Config) -> Desk {
        Desk { machine: Machine::new(config, State::default()), epoch: 0, heard: Vec::new(), second: 0 }
    }

    /// Lets time pass up to `second`, tick by tick.
    fn until(&mut self, second: i64) {
        let until_ns = second * SECOND;
        loop {
            self.deliver();
            match self.machine.due_at_ns().filter(|at| *at <= until_ns) {
                Some(at) => {
                    self.second = at / SECOND;
                    self.machine.apply(at, Input::Tick);
                }
                None => break,
            }
        }
        self.second = second;
    }

    fn put(&mut self, second: i64, events: &[AlertEvent]) {
        self.until(second);
        self.epoch += 1;
        self.machine.apply(second * SECOND, Input::Alerts(self.epoch, Machine::alerts_of(events)));
        self.deliver();
    }

    fn deliver(&mut self) {
        let now_ns = self.second * SECOND;
        while let Some(delivery) = self.machine.ready("ops", now_ns) {
            let notification = delivery.notification.clone();
            self.machine.apply(now_ns, Input::Started(notification.id.clone()));
            self.machine
                .apply(now_ns, Input::Ended(notification.id.clone(), Outcome::Delivered { http_status: 200 }, 1));
            self.heard.push(format!("{} s: {}", self.second, told(&notification)));
        }
    }

    fn heard(&mut self) -> Vec<String> {
        std::mem::take(&mut self.heard)
    }
}

fn told(notification: &Notification) -> String {
    let alerts = notification.alerts.iter().map(|alert| format!("{} {}", alert.incident_id, alert.status.name()));
    let alerts: Vec<String> = alerts.collect();
    format!("{} ({}): {}", notification.status().name(), notification.reason.name(), alerts.join(", "))
}

/// What a message says of values: those before a correction, if there was one, and those now.
fn values(notification: &Notification) -> Vec<String> {
    let alerts = notification.alerts.iter();
    let said = alerts.map(|a| format!("{:?} {} {}", a.kind, a.previous_values.as_deref().unwrap_or("-"), a.values));
    said.collect()
}

#[test]
fn a_correction_is_told_once_with_the_values_before_and_with_what_follows_from_it() {
    let mut desk = Desk::new(config(Policy::default()));
    let api = firing("slow", "api", "i1", "warning", 0);
    let mut told = |events: &[AlertEvent]| {
        desk.epoch += 1;
        desk.machine.apply(desk.second * SECOND, Input::Alerts(desk.epoch, Machine::alerts_of(events)));
        let mut said = Vec::new();
        while desk.machine.ready("ops", desk.second * SECOND).is_some() {
            said.extend(values(&outcome(&mut desk.machine, desk.second, Outcome::Delivered { http_status: 200 })));
        }
        said
    };
    assert_eq!(told(std::slice::from_ref(&api)), [r#"Firing - {"p99":812.0}"#]);
    let first = revised(&api, r#"{"p99":640.0}"#);
    assert_eq!(told(std::slice::from_ref(&first)), [r#"Revised {"p99":812.0} {"p99":640.0}"#]);
    // What comes later does not say it again.
    let graver = escalated(&first, "critical", 1);
    assert_eq!(told(std::slice::from_ref(&graver)), [r#"Escalated - {"p99":640.0}"#]);
    // By what it is corrected to it is over: one message says both.
    let second = revised(&graver, r#"{"p99":7.0}"#);
    let over = resolved(&second, 2);
    assert_eq!(told(&[second, over.clone()]), [r#"Resolved {"p99":640.0} {"p99":7.0}"#]);
    // What is over is corrected too.
    let third = revised(&over, r#"{"p99":8.0}"#);
    assert_eq!(told(std::slice::from_ref(&third)), [r#"Revised {"p99":7.0} {"p99":8.0}"#]);
    assert_eq!(told(std::slice::from_ref(&third)), [""; 0]);
}

fn outcome(machine: &mut Machine, second: i64, outcome: Outcome) -> Notification {
    let now_ns = second * SECOND;
    let notification = machine.ready("ops", now_ns).unwrap().notification.clone();
    machine.apply(now_ns, Input::Started(notification.id.clone()));
    machine.apply(now_ns, Input::Ended(notification.id.clone(), outcome, 1));
    notification
}

fn failed(ambiguous: bool) -> Outcome {
    Outcome::Failed { http_status: None, error: "connection refused".into(), pause_ns: None, ambiguous }
}

#[test]
fn a_group_waits_then_speaks_in_its_rhythm_and_repeats() {
    let mut desk = Desk::new(config(policy()));
    let (api, web) = (firing("slow", "api", "i1", "warning", 0), firing("slow", "web", "i2", "warning", 3));
    desk.put(0, std::slice::from_ref(&api));
    desk.until(1);
    assert_eq!(desk.heard(), [""; 0], "the group waits for more");
    desk.put(3, std::slice::from_ref(&web));
    desk.until(20);
    assert_eq!(
        desk.heard(),
        [
            "2 s: firing (first notification): i1 firing",
            "6 s: firing (new alerts added): i1 firing, i2 firing",
            "18 s: firing (repeat interval elapsed): i1 firing, i2 firing",
        ]
    );
    desk.put(20, &[resolved(&api, 20)]);
    desk.put(23, &[resolved(&web, 23)]);
    desk.until(60);
    assert_eq!(
        desk.heard(),
        [
            "22 s: firing (some alerts resolved): i1 resolved, i2 firing",
            "26 s: resolved (all alerts resolved): i2 resolved",
        ]
    );
    assert!(desk.machine.is_quiet() && desk.machine.state.incidents.is_empty() && desk.machine.state.groups.is_empty());
}

#[test]
fn what_is_over_before_it_was_told_is_never_told() {
    let mut desk = Desk::new(config(policy()));
    let api = firing("slow", "api", "i1", "warning", 0);
    desk.put(0, std::slice::from_ref(&api));
    desk.put(1, &[resolved(&api, 1)]);
    desk.put(1, &[resolved(&firing("slow", "web", "unheard", "warning", 0), 1)]);
    desk.until(60);
    assert_eq!(desk.heard(), [""; 0]);
    assert!(desk.machine.state.incidents.is_empty());
}

#[test]
fn without_grouping_each_change_of_a_key_is_told_at_once() {
    let mut desk = Desk::new(config(Policy::default()));
    let api = firing("slow", "api", "i1", "warning", 0);
    let critical = escalated(&api, "critical", 2);
    desk.put(0, &[api.clone(), firing("slow", "web", "i2", "warning", 0)]);
    desk.put(2, std::slice::from_ref(&critical));
    desk.put(3, std::slice::from_ref(&critical));
    desk.put(5, &[resolved(&critical, 5)]);
    let next = AlertEvent { incident_id: "i3".into(), ..firing("slow", "api", "i3", "warning", 6) };
    desk.put(6, &[next]);
    assert_eq!(
        desk.heard(),
        [
            "0 s: firing (first notification): i1 firing",
            "0 s: firing (first notification): i2 firing",
            "2 s: firing (new alerts added): i1 firing",
            "5 s: resolved (all alerts resolved): i1 resolved",
            "6 s: firing (first notification): i3 firing",
        ]
    );
    desk.until(4 * 3_600);
    assert_eq!(desk.heard(), ["14400 s: firing (repeat interval elapsed): i2 firing"]);
}

#[test]
fn an_alert_that_changes_its_group_is_over_in_the_old_one() {
    let by_severity = Policy { group_by: GroupBy::Labels(vec!["severity".into()]), ..Policy::default() };
    let mut desk = Desk::new(config(by_severity));
    let api = firing("slow", "api", "i1", "warning", 0);
    desk.put(0, std::slice::from_ref(&api));
    let critical = escalated(&api, "critical", 2);
    desk.put(2, std::slice::from_ref(&critical));
    desk.put(4, &[resolved(&critical, 4)]);
    let mut heard = desk.heard();
    heard.sort();
    assert_eq!(
        heard,
        [
            "0 s: firing (first notification): i1 firing",
            "2 s: firing (first notification): i1 firing",
            "2 s: resolved (all alerts resolved): i1 resolved",
            "4 s: resolved (all alerts resolved): i1 resolved",
        ]
    );
    assert!(desk.machine.state.incidents.is_empty());
}

#[test]
fn a_silence_holds_back_what_fires_and_not_what_is_over() {
    let silence = |from: i64, until: i64| Silence {
        id: String::new(),
        matchers: parse("service=api").unwrap(),
        starts_at_ns: from * SECOND,
        ends_at_ns: until * SECOND,
        created_by: "ada".into(),
        comment: "maintenance".into(),
        calendars: Vec::new(),
        declared: false,
    };
    let mut desk = Desk::new(config(policy()));
    desk.machine.apply(0, Input::Silence(silence(0, 8).checked().unwrap()));
    let api = firing("slow", "api", "i1", "warning", 0);
    desk.put(0, std::slice::from_ref(&api));
    desk.until(20);
    assert_eq!(
        desk.heard(),
        ["10 s: firing (first notification): i1 firing"],
        "told in the group's rhythm after its end"
    );
    desk.machine.apply(20 * SECOND, Input::Silence(silence(20, 45).checked().unwrap()));
    desk.put(30, &[resolved(&api, 30)]);
    desk.until(40);
    assert_eq!(desk.heard(), ["34 s: resolved (all alerts resolved): i1 resolved"], "who was told is told the end");
    let later = silence(50, 1_000).checked().unwrap();
    desk.machine.apply(40 * SECOND, Input::Silence(later.clone()));
    desk.put(60, &[firing("slow", "api", "i2", "warning", 60)]);
    desk.until(70);
    desk.machine.apply(70 * SECOND, Input::Expire(later.id));
    desk.until(80);
    assert_eq!(desk.heard(), ["74 s: firing (first notification): i2 firing"], "a silence can be ended");
}

#[test]
fn an_inhibited_alert_is_told_when_its_source_is_over() {
    let rule = Inhibition {
        name: "host".into(),
        source: parse("alertname=down").unwrap(),
        target: parse("alertname=slow").unwrap(),
        equal: vec!["service".into()],
    };
    let mut desk = Desk::new(Config { inhibitions: vec![rule], ..config(policy()) });
    let (down, slow) = (firing("down", "api", "i1", "critical", 0), firing("slow", "api", "i2", "warning", 1));
    desk.put(0, std::slice::from_ref(&down));
    desk.put(1, &[slow, firing("slow", "web", "i3", "warning", 1)]);
    desk.put(8, &[resolved(&down, 8)]);
    desk.until(12);
    assert_eq!(
        desk.heard(),
        [
            "2 s: firing (first notification): i1 firing",
            "3 s: firing (first notification): i3 firing",
            "10 s: resolved (all alerts resolved): i1 resolved",
            "11 s: firing (new alerts added): i2 firing, i3 firing",
        ]
    );
}

#[test]
fn the_past_is_told_if_it_still_goes_on_when_the_present_is_reached() {
    use thalweg_schemas::alert_event::Muted;
    let mut desk = Desk::new(config(Policy::default()));
    let old = |incident: &str, service: &str| AlertEvent {
        muted: Some(Muted::Backfill),
        ..firing("slow", service, incident, "warning", 0)
    };
    let over = AlertEvent { muted: Some(Muted::Backfill), ..resolved(&old("i1", "api"), 5) };
    desk.put(0, &[old("i1", "api"), old("i2", "web")]);
    desk.put(1, &[over]);
    desk.until(30);
    assert_eq!(desk.heard(), ["11 s: firing (first notification): i2 firing"]);
}

#[test]
fn a_message_names_at_most_so_many_alerts_and_only_those_that_are_asked_for() {
    let only = Policy { max_alerts: 2, only: parse("service!=web").unwrap(), send_resolved: false, ..policy() };
    let mut machine = Machine::new(config(only), State::default());
    let events: Vec<AlertEvent> = ["a", "b", "c", "d", "web"]
        .iter()
        .map(|service| firing("slow", service, &format!("i-{service}"), "warning", 0))
        .collect();
    machine.apply(0, Input::Alerts(1, Machine::alerts_of(&events)));
    machine.apply(2 * SECOND, Input::Tick);
    let notification = outcome(&mut machine, 2, Outcome::Delivered { http_status: 204 });
    assert_eq!((notification.alerts.len(), notification.truncated), (2, 2));
    let ends: Vec<AlertEvent> = events.iter().map(|event| resolved(event, 3)).collect();
    machine.apply(3 * SECOND, Input::Alerts(2, Machine::alerts_of(&ends)));
    machine.apply(6 * SECOND, Input::Tick);
    assert!(machine.is_quiet(), "the end is not told where it is not wanted");
    assert!(machine.state.incidents.is_empty());
}

#[test]
fn a_message_that_cannot_have_arrived_gives_way_to_what_is_newer() {
    let mut machine = Machine::new(config(Policy::default()), State::default());
    let api = firing("slow", "api", "i1", "warning", 0);
    machine.apply(0, Input::Alerts(1, Machine::alerts_of(std::slice::from_ref(&api))));
    let first = outcome(&mut machine, 0, failed(false));
    assert!(machine.ready("ops", 0).is_none() && machine.ready("ops", SECOND).is_some());
    let critical = escalated(&api, "critical", 1);
    machine.apply(SECOND, Input::Alerts(2, Machine::alerts_of(std::slice::from_ref(&critical))));
    let second = outcome(&mut machine, 1, failed(false));
    assert_ne!(first.id, second.id, "other content, other id");
    machine.apply(2 * SECOND, Input::Alerts(3, Machine::alerts_of(&[resolved(&critical, 2)])));
    assert!(machine.is_quiet() && machine.state.groups.is_empty(), "nobody heard of it, nobody needs to");
    let told: Vec<(String, u32)> = machine.attempts().into_iter().map(|a| (a.outcome, a.attempt)).collect();
    let told: Vec<(&str, u32)> = told.iter().map(|(outcome, number)| (outcome.as_str(), *number)).collect();
    assert_eq!(told, [("failed", 1), ("superseded", 1), ("failed", 1), ("superseded", 1)]);
}

#[test]
fn a_message_that_may_have_arrived_is_tried_as_it_is_and_then_the_end_is_told() {
    let mut machine = Machine::new(config(Policy::default()), State::default());
    let api = firing("slow", "api", "i1", "warning", 0);
    machine.apply(0, Input::Alerts(1, Machine::alerts_of(std::slice::from_ref(&api))));
    let first = outcome(&mut machine, 0, failed(true));
    machine.apply(SECOND, Input::Alerts(2, Machine::alerts_of(&[resolved(&api, 1)])));
    let again = outcome(&mut machine, 1, Outcome::Delivered { http_status: 200 });
    assert_eq!(again, first);
    let end = outcome(&mut machine, 1, Outcome::Delivered { http_status: 200 });
    assert_eq!(told(&end), "resolved (all alerts resolved): i1 resolved");
    assert!(machine.is_quiet());
}

#[test]
fn a_receiver_is_given_up_after_a_while_and_told_again_when_there_is_news() {
    let mut machine =
        Machine::new(config(Policy { give_up_after_ns: 10 * SECOND, ..Policy::default() }), State::default());
    let api = firing("slow", "api", "i1", "warning", 0);
    machine.apply(0, Input::Alerts(1, Machine::alerts_of(std::slice::from_ref(&api))));
    while let Some(at) = machine.ready_at_ns("ops") {
        let notification = machine.ready("ops", at).unwrap().notification.clone();
        machine.apply(at, Input::Started(notification.id.clone()));
        machine.apply(at, Input::Ended(notification.id, failed(false), 1));
    }
    let last = machine.attempts().pop().unwrap();
    assert_eq!(last.outcome, "dead");
    assert!(last.at_ns <= 10 * SECOND && last.attempt > 3, "{last:?}");
    let refused = Outcome::Refused { http_status: Some(400), error: "no such channel".into() };
    machine.apply(20 * SECOND, Input::Alerts(2, Machine::alerts_of(&[resolved(&api, 20)])));
    let end = outcome(&mut machine, 20, refused);
    assert_eq!(end.status(), Status::Resolved);
    let last = machine.attempts().pop().unwrap();
    assert_eq!(
        (last.outcome.as_str(), last.http_status, last.error.as_deref()),
        ("dead", Some(400), Some("no such channel"))
    );
    assert!(machine.is_quiet());
}

#[test]
fn what_is_over_is_said_once_more_when_the_message_that_said_it_is_dead() {
    let at_once = Policy { group_wait_ns: 0, group_interval_ns: 0, ..policy() };
    let mut machine = Machine::new(config(at_once), State::default());
    let (api, web) = (firing("slow", "api", "i1", "warning", 0), firing("slow", "web", "i2", "warning", 0));
    let say = |machine: &mut Machine, second: i64, events: &[AlertEvent]| {
        let epoch = machine.state.epoch + 1;
        machine.apply(second * SECOND, Input::Alerts(epoch, Machine::alerts_of(events)));
    };
    let delivered = || Outcome::Delivered { http_status: 200 };
    say(&mut machine, 0, &[api.clone(), web.clone()]);
    outcome(&mut machine, 0, delivered());
    say(&mut machine, 1, &[resolved(&api, 1)]);
    outcome(&mut machine, 1, Outcome::Refused { http_status: Some(401), error: "no such key".into() });
    assert!(machine.ready("ops", 2 * SECOND).is_none(), "not before there is news");
    say(&mut machine, 3, &[escalated(&web, "critical", 3)]);
    assert_eq!(told(&outcome(&mut machine, 3, delivered())), "firing (new alerts added): i1 resolved, i2 firing");
    say(&mut machine, 4, &[resolved(&escalated(&web, "critical", 3), 4)]);
    assert_eq!(told(&outcome(&mut machine, 4, delivered())), "resolved (all alerts resolved): i2 resolved");
    assert!(machine.state.incidents.is_empty() && machine.state.groups.is_empty());
}

#[test]
fn at_the_end_nobody_waits() {
    let mut desk = Desk::new(config(policy()));
    let api = firing("slow", "api", "i1", "warning", 0);
    desk.put(0, &[api.clone(), firing("down", "api", "i2", "warning", 0)]);
    desk.machine.apply(0, Input::Last);
    desk.deliver();
    let heard: std::collections::BTreeSet<String> = desk.heard().into_iter().collect();
    let told = ["i1", "i2"].map(|incident| format!("0 s: firing (first notification): {incident} firing"));
    assert_eq!(heard, told.into());
    assert!(desk.machine.is_quiet(), "nothing is repeated");
}

#[test]
fn ids_do_not_depend_on_the_clock() {
    let id = |second: i64| {
        let mut machine = Machine::new(config(Policy::default()), State::default());
        let api = firing("slow", "api", "i1", "warning", 0);
        machine.apply(second * SECOND, Input::Alerts(1, Machine::alerts_of(&[api])));
        outcome(&mut machine, second, Outcome::Delivered { http_status: 200 }).id
    };
    assert_eq!(id(5), id(500));
    assert_eq!(id(5).len(), 36);
}

#[test]
fn what_is_over_is_not_told_again_when_the_past_comes_once_more() {
    let mut desk = Desk::new(config(Policy::default()));
    let api = firing("slow", "api", "i1", "warning", 0);
    let end = resolved(&api, 2);
    desk.put(0, std::slice::from_ref(&api));
    desk.put(2, std::slice::from_ref(&end));
    assert_eq!(desk.heard().len(), 2);
    desk.put(10, &[api, end, firing("slow", "api", "i2", "warning", 9)]);
    assert_eq!(desk.heard(), ["10 s: firing (first notification): i2 firing"]);
}

#[test]
fn routes_and_rules_may_change_between_runs() {
    let mut machine = Machine::new(config(policy()), State::default());
    machine.apply(0, Input::Alerts(1, Machine::alerts_of(&[firing("slow", "api", "i1", "warning", 0)])));
    let other = Config { notifiers: [("dev".to_string(), policy())].into(), ..Config::default() };
    let mut machine = machine.with_config(other, 0);
    machine.apply(100 * SECOND, Input::Tick);
    assert!(machine.is_quiet(), "the notifier is gone, and what it was to be told");
    assert!(Machine::new(Config::default(), State::default()).is_quiet());
    assert_eq!(labels(&[]).len(), 0);
}
