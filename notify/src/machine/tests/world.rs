//! The machine against a receiver that loses, repeats and refuses at random, while the process dies and alerts change.

use super::*;
use proptest::prelude::*;

/// What a random world does.
#[derive(Clone, Debug)]
enum Step {
    /// The alert of this key changes: fires, escalates or is resolved.
    Change(u8, u8),
    Pass(u8),
    Silence(u8, u8),
    /// The receiver answers the next message: takes it, refuses the connection, or fails after having taken it or not.
    Answer(u8),
    /// The process dies, perhaps in the middle of a try which arrived or not.
    Crash(Option<bool>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..4u8, 0..3u8).prop_map(|(key, what)| Step::Change(key, what)),
        3 => (1..8u8).prop_map(Step::Pass),
        1 => (0..4u8, 1..20u8).prop_map(|(key, seconds)| Step::Silence(key, seconds)),
        4 => (0..4u8).prop_map(Step::Answer),
        1 => any::<Option<bool>>().prop_map(Step::Crash),
    ];
    prop::collection::vec(step, 0..60)
}

/// A receiver: what it believes to fire, and what it heard under each id.
#[derive(Default)]
struct Receiver {
    believes: BTreeMap<String, String>,
    heard: BTreeMap<String, Notification>,
    of_group: BTreeMap<String, u64>,
}

impl Receiver {
    fn hear(&mut self, notification: &Notification) -> Result<(), TestCaseError> {
        if let Some(before) = self.heard.insert(notification.id.clone(), notification.clone()) {
            prop_assert_eq!(&before, notification, "one id, one content");
            return Ok(());
        }
        for alert in &notification.alerts {
            if alert.is_firing() {
                self.believes.insert(alert.incident_id.to_string(), alert.severity.to_string());
            } else {
                self.believes.remove(&*alert.incident_id);
            }
        }
        let number = self.of_group.entry(notification.group_key.clone()).or_default();
        prop_assert!(
            notification.number > *number || notification.reason == Reason::First,
            "messages of a group come in order"
        );
        *number = notification.number;
        Ok(())
    }
}

struct World {
    machine: Machine,
    receiver: Receiver,
    now_ns: i64,
    epoch: u64,
    /// For each key the last event, and the number of its incident.
    events: BTreeMap<u8, (AlertEvent, u32)>,
}

impl World {
    fn new(policy: Policy) -> World {
        let machine = Machine::new(config(policy), State::default());
        World { machine, receiver: Receiver::default(), now_ns: 0, epoch: 0, events: BTreeMap::new() }
    }

    fn change(&mut self, key: u8, what: u8) {
        let second = self.now_ns / SECOND;
        let known = self.events.get(&key).filter(|(event, _)| event.ends_at_ns.is_none()).cloned();
        let number = self.events.get(&key).map_or(0, |(_, number)| *number);
        let (event, number) = match (known, what) {
            (None, _) => {
                (firing("slow", &format!("s{key}"), &format!("i{key}-{number}"), "warning", second), number + 1)
            }
            (Some((event, number)), 0) => (resolved(&event, second), number),
            (Some((event, number)), 1) => (escalated(&event, "critical", second), number),
            (Some((event, number)), _) => (escalated(&event, "warning", second), number),
        };
        self.events.insert(key, (event.clone(), number));
        self.epoch += 1;
        let input = Input::Alerts(self.epoch, Machine::alerts_of(&[event]));
        self.machine.apply(self.now_ns, input);
    }

    fn answer(&mut self, how: u8) -> Result<bool, TestCaseError> {
        let Some(delivery) = self.machine.ready("ops", self.now_ns) else { return Ok(false) };
        let notification = delivery.notification.clone();
        self.machine.apply(self.now_ns, Input::Started(notification.id.clone()));
        if how == 0 || how == 2 {
            self.receiver.hear(&notification)?;
        }
        let outcome = match how {
            0 => Outcome::Delivered { http_status: 200 },
            1 => failed(false),
            _ => failed(true),
        };
        self.machine.apply(self.now_ns, Input::Ended(notification.id, outcome, 1));
        Ok(true)
    }

    fn crash(&mut self, trying: Option<bool>) -> Result<(), TestCaseError> {
        if let (Some(arrived), Some(delivery)) = (trying, self.machine.ready("ops", self.now_ns)) {
            let notification = delivery.notification.clone();
            self.machine.apply(self.now_ns, Input::Started(notification.id.clone()));
            if arrived {
                self.receiver.hear(&notification)?;
            }
        }
        let text = serde_json::to_string(self.machine.state()).unwrap();
        let state: State = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(serde_json::to_string(&state).unwrap(), text);
        self.machine = Machine::new(self.machine.config.clone(), state);
        self.machine.apply(self.now_ns, Input::Crashed);
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Change(key, what) => self.change(*key, *what),
            Step::Pass(seconds) => {
                self.now_ns += i64::from(*seconds) * SECOND;
                self.machine.apply(self.now_ns, Input::Tick);
            }
            Step::Silence(key, seconds) => {
                let silence = Silence {
                    id: format!("s{key}"),
                    matchers: parse(&format!("service=s{key}")).unwrap(),
                    starts_at_ns: self.now_ns,
                    ends_at_ns: self.now_ns + i64::from(*seconds) * SECOND,
                    created_by: String::new(),
                    comment: String::new(),
                    calendars: Vec::new(),
                    declared: false,
                };
                self.machine.apply(self.now_ns, Input::Silence(silence));
            }
            Step::Answer(how) => drop(self.answer(*how)?),
            Step::Crash(trying) => self.crash(*trying)?,
        }
        Ok(())
    }

    /// Lets everything come to rest, with a receiver that takes what it is sent.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..1_000 {
            while self.answer(0)? {}
            let next = self.machine.due_at_ns().into_iter().chain(self.machine.ready_at_ns("ops")).min();
            // What is left is repeats.
            let Some(at) = next.filter(|at| *at < self.now_ns + 600 * SECOND) else { return Ok(()) };
            self.now_ns = self.now_ns.max(at);
            self.machine.apply(self.now_ns, Input::Tick);
        }
        prop_assert!(false, "it does not come to rest");
        Ok(())
    }
}

proptest! {
    #[test]
    fn in_the_end_the_receiver_believes_what_is_true(
        steps in steps(),
        grouped in any::<bool>(),
        by_severity in any::<bool>(),
    ) {
        let by = if by_severity { "severity" } else { "alertname" };
        let timed = Policy { group_by: GroupBy::Labels(vec![by.into()]), repeat_interval_ns: 7_200 * SECOND, ..policy() };
        let at_once = Policy { repeat_interval_ns: 7_200 * SECOND, ..Policy::default() };
        let mut world = World::new(if grouped { timed } else { at_once });
        for step in &steps {
            world.step(step)?;
        }
        world.settle()?;
        let open = world.events.values().filter(|(event, _)| event.ends_at_ns.is_none());
        let truth: BTreeMap<String, String> =
            open.map(|(event, _)| (event.incident_id.clone(), event.severity.clone().unwrap())).collect();
        if !(grouped && by_severity) {
            prop_assert_eq!(&world.receiver.believes, &truth);
        }
        prop_assert!(world.machine.state.deliveries.is_empty());
        prop_assert_eq!(world.machine.state.incidents.len(), truth.len(), "nothing that is over is kept");
        let groups = world.machine.state.groups.len();
        prop_assert!(groups <= truth.len(), "no empty group is kept");
    }
}
