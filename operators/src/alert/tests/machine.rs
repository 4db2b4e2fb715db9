//! What holds of the state machine whatever comes: invariants over random rules, samples, silences and restarts.

use super::operator::rule;
use crate::alert::machine::{Instance, Said, Transition};
use crate::alert::rule::{Absent, AbsentPolicy, Flap, Judgement, Rule};
use proptest::prelude::*;
use std::collections::BTreeMap;
use thalweg_schemas::alert_event::{Kind, Muted, Reason, State};

/// What happens to a key.
#[derive(Clone, Copy, Debug)]
enum Input {
    /// A sample after so long, with these conditions.
    Sample(i64, Judgement),
    /// So long nothing.
    Silence(i64),
    /// A restart.
    Restore,
}

fn judgement(levels: usize) -> impl Strategy<Value = Judgement> {
    let bits = 0..(1u32 << levels);
    // What is raised is not clear at the same time, as conditions that make sense are.
    (bits.clone(), bits).prop_map(|(raised, held)| Judgement { raised, cleared: !(held | raised) })
}

fn input(levels: usize) -> impl Strategy<Value = Input> {
    prop_oneof![
        6 => (0i64..40, judgement(levels)).prop_map(|(after, judged)| Input::Sample(after, judged)),
        2 => (0i64..120).prop_map(Input::Silence),
        1 => Just(Input::Restore),
    ]
}

fn rules() -> impl Strategy<Value = Rule> {
    let policy =
        prop_oneof![Just(AbsentPolicy::Keep), Just(AbsentPolicy::Resolve), (1usize..=2).prop_map(AbsentPolicy::Fire)];
    let absent = prop::option::of((20i64..90, policy));
    let times = (prop::collection::vec(0i64..60, 2), 0i64..60, prop::option::of(100i64..300));
    let flap = prop::option::of((2usize..4, 50i64..200));
    (times, absent, flap, any::<bool>()).prop_map(|((for_ns, keep_ns, ttl_ns), absent, flap, standing)| Rule {
        for_ns,
        keep_ns,
        ttl_ns,
        absent: absent.map(|(after_ns, policy)| Absent { after_ns, policy }),
        flap: flap.map(|(times, within_ns)| Flap { times, within_ns }),
        standing,
        ..rule(2)
    })
}

/// Runs the inputs; time is looked at every `step`, or only at the inputs.
fn run(rule: &Rule, inputs: &[Input], step: Option<i64>, restarts: bool) -> (Instance, Vec<Transition>) {
    let mut instance = Instance::new(rule, 0);
    let mut said = Said { mute_before: i64::MIN, transitions: Vec::new() };
    let mut now = 0;
    for input in inputs {
        let until = match input {
            Input::Sample(after, _) => now + after,
            Input::Silence(after) => now + after,
            Input::Restore => now,
        };
        if let Some(step) = step {
            while now + step < until {
                now += step;
                instance.advance(rule, now, &mut said);
            }
        }
        now = until;
        match input {
            Input::Sample(_, judged) => instance.sample(rule, now, *judged, &mut said),
            Input::Silence(_) => instance.advance(rule, now, &mut said),
            Input::Restore if restarts => {
                instance = serde_json::from_str(&serde_json::to_string(&instance).unwrap()).unwrap();
            }
            Input::Restore => {}
        }
    }
    (instance, said.transitions)
}

/// What no sequence of transitions may break, judged by the transitions alone.
fn check(transitions: &[Transition]) -> Result<(), TestCaseError> {
    let (mut open, mut seq, mut last): (BTreeMap<i64, usize>, BTreeMap<i64, i64>, i64) = Default::default();
    for one in transitions {
        let id = one.incident.starts_at;
        prop_assert!(one.at >= last, "time goes back: {one:?}");
        last = one.at;
        let next = seq.entry(id).or_insert(0);
        prop_assert_eq!(one.incident.seq, *next + 1, "a gap in {:?}", one);
        *next += 1;
        let fires = open.get(&id).copied();
        match one.kind {
            Kind::Firing => {
                prop_assert!(open.is_empty(), "two incidents are open: {one:?}");
                open.insert(id, one.level);
            }
            Kind::Escalated => prop_assert!(fires.is_some_and(|level| level < one.level), "{one:?}"),
            Kind::Deescalated => prop_assert!(fires.is_some_and(|level| level > one.level && one.level > 0), "{one:?}"),
            Kind::Recovering | Kind::Refired => prop_assert_eq!(fires, Some(one.level)),
            Kind::Resolved => prop_assert!(open.remove(&id).is_some(), "resolved without firing: {one:?}"),
            Kind::Pending | Kind::Cleared => prop_assert!(fires.is_none(), "{one:?}"),
            Kind::Revised => prop_assert!(false, "nothing was corrected"),
        }
        if matches!(one.kind, Kind::Escalated | Kind::Deescalated) {
            open.insert(id, one.level);
        }
        prop_assert_eq!(one.state.is_open(), open.contains_key(&id), "{:?}", one);
    }
    Ok(())
}

/// Of samples alone, without silence: what the table says, written down once more and differently.
fn model(rule: &Rule, samples: &[(i64, Judgement)]) -> Vec<(i64, Kind, usize)> {
    let (mut heard, mut firing) = (Vec::new(), 0);
    let (mut milder, mut clear): (Option<i64>, Option<i64>) = (None, None);
    for (at, &(t, _)) in samples.iter().enumerate() {
        let holds_since = |level: usize| {
            let bit = 1 << (level - 1);
            let mut since = None;
            for (t, judged) in &samples[..=at] {
                let holds = judged.raised & bit != 0 || (since.is_some() && judged.cleared & bit == 0);
                since = if holds { since.or(Some(*t)) } else { None };
            }
            since
        };
        let level = (1..=2).rev().find(|level| holds_since(*level).is_some()).unwrap_or(0);
        let long = |level: &usize| holds_since(*level).is_some_and(|since| t - since >= rule.for_ns[level - 1]);
        let ready = (1..=2).rev().find(long).unwrap_or(0);
        // What was due before the sample has happened before it.
        if let Some(since) = clear.filter(|since| firing > 0 && since + rule.keep_ns < t) {
            heard.push((since + rule.keep_ns, Kind::Resolved, firing));
            (firing, clear) = (0, None);
        }
        if firing == 0 {
            if ready > 0 {
                (firing, milder, clear) = (ready, None, None);
                heard.push((t, Kind::Firing, ready));
            }
        } else if ready > firing {
            (firing, milder, clear) = (ready, None, None);
            heard.push((t, Kind::Escalated, ready));
        } else if level == 0 {
            milder = None;
            if t - *clear.get_or_insert(t) >= rule.keep_ns {
                heard.push((t, Kind::Resolved, firing));
                (firing, clear) = (0, None);
            }
        } else {
            clear = None;
            if level >= firing {
                milder = None;
            } else if t - *milder.get_or_insert(t) >= rule.keep_ns {
                heard.push((t, Kind::Deescalated, level));
                (firing, milder) = (level, None);
            }
        }
    }
    heard
}

proptest! {
    #[test]
    fn no_sequence_leads_where_nothing_may(rule in rules(), inputs in prop::collection::vec(input(2), 0..60)) {
        check(&run(&rule, &inputs, None, true).1)?;
    }

    #[test]
    fn it_does_not_matter_when_time_is_looked_at(
        rule in rules(), inputs in prop::collection::vec(input(2), 0..40), step in 1i64..30,
    ) {
        let (instance, transitions) = run(&rule, &inputs, None, false);
        prop_assert_eq!((instance, transitions), run(&rule, &inputs, Some(step), true));
    }

    #[test]
    fn samples_alone_do_what_the_table_says(
        for_ns in prop::collection::vec(0i64..60, 2), keep_ns in 0i64..60,
        samples in prop::collection::vec((1i64..40, judgement(2)), 0..40),
    ) {
        let rule = Rule { for_ns, keep_ns, ..rule(2) };
        let mut now = 0;
        let samples: Vec<_> = samples.into_iter().map(|(after, judged)| { now += after; (now, judged) }).collect();
        let mut instance = Instance::new(&rule, 0);
        let mut said = Said { mute_before: i64::MIN, transitions: Vec::new() };
        samples.iter().for_each(|(t, judged)| instance.sample(&rule, *t, *judged, &mut said));
        let heard = said.transitions.iter().filter(|t| t.kind.notifies()).map(|t| (t.at, t.kind, t.level));
        prop_assert_eq!(heard.collect::<Vec<_>>(), model(&rule, &samples));
    }
}

fn breach() -> Judgement {
    Judgement { raised: 1, cleared: !1 }
}

#[test]
fn an_alert_that_flaps_stays_open_until_it_is_quiet() {
    let rule = Rule { flap: Some(Flap { times: 3, within_ns: 100 }), ..rule(1) };
    let mut instance = Instance::new(&rule, 0);
    let mut said = Said { mute_before: i64::MIN, transitions: Vec::new() };
    for t in (0..100).step_by(10) {
        let judged = if t % 20 == 0 { breach() } else { Judgement::CLEAR };
        instance.sample(&rule, t, judged, &mut said);
    }
    instance.advance(&rule, 1_000, &mut said);
    let heard = said.transitions.iter().filter(|t| t.kind.notifies()).map(|t| (t.at, t.kind, t.reason));
    assert_eq!(
        heard.collect::<Vec<_>>(),
        [
            (0, Kind::Firing, Reason::ConditionMet),
            (10, Kind::Resolved, Reason::ConditionCleared),
            (20, Kind::Firing, Reason::ConditionMet),
            (30, Kind::Resolved, Reason::ConditionCleared),
            (40, Kind::Firing, Reason::Flapping),
            (190, Kind::Resolved, Reason::ConditionCleared),
        ]
    );
}

#[test]
fn what_is_over_is_not_told_and_what_still_fires_is_told_once() {
    let rule = rule(1);
    let mut instance = Instance::new(&rule, 0);
    let mut said = Said { mute_before: 100, transitions: Vec::new() };
    for (t, judged) in [(0, breach()), (10, Judgement::CLEAR), (50, breach()), (120, breach()), (130, Judgement::CLEAR)]
    {
        instance.sample(&rule, t, judged, &mut said);
    }
    let told = said.transitions.iter().map(|t| (t.at, t.kind, t.muted));
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            (0, Kind::Firing, Some(Muted::Backfill)),
            (10, Kind::Resolved, Some(Muted::Backfill)),
            (50, Kind::Firing, Some(Muted::Backfill)),
            (120, Kind::Firing, None),
            (130, Kind::Resolved, None),
        ]
    );
    assert_eq!(said.transitions[3].incident.starts_at, 50);
}

#[test]
fn a_correction_is_told_of_the_incident_that_it_concerns() {
    let rule = rule(1);
    let mut instance = Instance::new(&rule, 0);
    let mut said = Said { mute_before: i64::MIN, transitions: Vec::new() };
    instance.sample(&rule, 10, breach(), &mut said);
    instance.revise(5, 5, true, &mut said);
    assert_eq!(said.transitions.len(), 1, "what was before the incident is none of its business");
    instance.revise(10, 10, true, &mut said);
    instance.sample(&rule, 20, Judgement::CLEAR, &mut said);
    instance.revise(10, 10, false, &mut said);
    instance.revise(30, 30, true, &mut said);
    let told = said.transitions[1..].iter().map(|t| (t.kind, t.incident.revision, t.muted, t.state));
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            (Kind::Revised, 1, None, State::Firing),
            (Kind::Resolved, 1, None, State::Resolved),
            (Kind::Revised, 2, Some(Muted::Revision), State::Resolved),
        ]
    );
}
