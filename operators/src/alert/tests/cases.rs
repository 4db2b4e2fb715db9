//! The cases of `cases.txt`, one after the other.

use crate::alert::machine::{Instance, Said};
use crate::alert::rule::{Absent, AbsentPolicy, Judgement, Rule};
use thalweg_schemas::alert_event::State;

const SECOND: i64 = 1_000_000_000;

/// Thresholds by level, to raise and to clear, and the rule around them.
struct Case {
    raise: Vec<f64>,
    clear: Vec<f64>,
    rule: Rule,
}

fn case(text: &str) -> Case {
    let mut case = Case { raise: Vec::new(), clear: Vec::new(), rule: super::operator::rule(0) };
    let (mut level_for, mut critical_for, mut policy, mut absent_level) = (0, None, "keep", 1);
    let mut absent = None;
    for pair in text.split_whitespace() {
        let (name, value) = pair.split_once('=').unwrap();
        let seconds = || value.parse::<i64>().unwrap() * SECOND;
        match name {
            "warn" | "crit" => {
                case.raise.push(value.parse().unwrap());
                case.clear.push(value.parse().unwrap());
            }
            "warn_ok" => case.clear[0] = value.parse().unwrap(),
            "for" => level_for = seconds(),
            "for_crit" => critical_for = Some(seconds()),
            "keep" => case.rule.keep_ns = seconds(),
            "absent" => absent = Some(seconds()),
            "policy" => policy = value,
            "absent_level" => absent_level = value.parse().unwrap(),
            "ttl" => case.rule.ttl_ns = Some(seconds()),
            other => panic!("{other} is no part of a rule"),
        }
    }
    case.rule.for_ns = vec![level_for; case.raise.len()];
    if let Some(critical) = critical_for {
        case.rule.for_ns[1] = critical;
    }
    let policy = match policy {
        "keep" => AbsentPolicy::Keep,
        "resolve" => AbsentPolicy::Resolve,
        "alert" => AbsentPolicy::Fire(absent_level),
        other => panic!("{other} is no policy"),
    };
    case.rule.absent = absent.map(|after_ns| Absent { after_ns, policy });
    case
}

impl Case {
    fn judge(&self, value: f64) -> Judgement {
        let bit = |level: usize, holds: bool| u32::from(holds) << level;
        let levels = 0..self.raise.len();
        let raised = levels.clone().map(|level| bit(level, value > self.raise[level])).sum();
        let held: u32 = levels.map(|level| bit(level, value > self.clear[level])).sum();
        Judgement { raised, cleared: !held }
    }
}

/// The state as the cases write it.
fn shown(instance: &Instance) -> String {
    match instance.state() {
        _ if instance.is_gone() => "evicted".into(),
        // Those who ask of the machine alone know no difference.
        State::Normal | State::Resolved => "normal".into(),
        State::Pending => "pending".into(),
        State::Firing => format!("firing{}", instance.level()),
        State::Recovering => format!("recovering{}", instance.level()),
        State::NoData => format!("nodata{}", instance.level()),
    }
}

/// What receivers hear. The cases say at which input it is heard; the event, when it was due.
fn heard(said: &Said, at: i64) -> String {
    let told = said.transitions.iter().filter(|transition| transition.kind.notifies());
    let told = told.map(|transition| {
        assert!(transition.at <= at, "{transition:?} is ahead of {at}");
        let reason = match transition.reason.word() {
            "condition_met" => String::new(),
            "condition_cleared" if transition.kind.word() == "deescalated" => String::new(),
            reason => format!(" {reason}"),
        };
        format!("; {} {}{reason}", transition.kind, transition.level)
    });
    told.collect()
}

#[test]
fn every_case_goes_as_it_is_written() {
    let text = include_str!("cases.txt");
    let mut count = 0;
    for block in text.split("\n\n").filter(|block| block.starts_with("case ")) {
        let mut lines = block.lines();
        let name = lines.next().unwrap();
        let case = case(lines.next().unwrap().strip_prefix("rule").unwrap());
        let mut instance = Instance::new(&case.rule, 0);
        for line in lines {
            let (input, expected) = line.split_once(" -> ").unwrap();
            let words: Vec<&str> = input.split(' ').collect();
            let time = words.get(1).map_or(0, |t| t.parse::<i64>().unwrap() * SECOND);
            let mut said = Said { mute_before: i64::MIN, transitions: Vec::new() };
            match words.as_slice() {
                ["sample", _, value] => {
                    instance.sample(&case.rule, time, case.judge(value.parse().unwrap()), &mut said);
                }
                ["time", _] => instance.advance(&case.rule, time, &mut said),
                ["restore"] => {
                    let saved = serde_json::to_string(&instance).unwrap();
                    instance = serde_json::from_str(&saved).unwrap();
                }
                other => panic!("{other:?} is no input"),
            }
            assert_eq!(format!("{}{}", shown(&instance), heard(&said, time)), expected, "{name}: {input}");
        }
        count += 1;
    }
    assert!(count >= 20, "{count} cases");
}
