//! The state machine of one alert and key, as a plain value: samples and the passing of time in, transitions out.
//!
//! It knows no rows and no clock. Levels count from 1, the mildest; 0 is none. Time never goes back: before a sample is
//! looked at, everything that was due earlier happens, at the moment at which it was due and not at the one at which
//! somebody looked, so that the transitions do not depend on how the input was cut. A firing alert is resolved on evidence
//! alone: silence is none, unless the alert says what silence means.

use super::rule::{Absent, AbsentPolicy, Judgement, Rule};
use serde::{Deserialize, Serialize};
use std::fmt;
use thalweg_schemas::alert_event::{Kind, Muted, Reason, State};

/// Something that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// What happened.
    pub kind: Kind,
    /// The state after it.
    pub state: State,
    /// The level after it, or the last one it had.
    pub level: usize,
    /// The level at which it fired before; 0 if it did not.
    pub previous: usize,
    /// Why.
    pub reason: Reason,
    /// When, in nanoseconds.
    pub at: i64,
    /// The incident as it is after it.
    pub incident: Incident,
    /// When the incident was over.
    pub ends_at: Option<i64>,
    /// Why receivers are not told.
    pub muted: Option<Muted>,
}

/// From a first breach until it is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// When its condition first held.
    pub starts_at: i64,
    /// Since when it has fired.
    pub fired_at: Option<i64>,
    /// How many events it has had.
    pub seq: i64,
    /// How often it was corrected.
    #[serde(default, skip_serializing_if = "is_default")]
    pub revision: i64,
    /// Whether receivers were not told that it fires.
    #[serde(default, skip_serializing_if = "is_default")]
    hushed: bool,
}

/// A time, or none, in one word: there are several for each key.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Option<i64>", into = "Option<i64>")]
pub(super) struct Moment(i64);

impl Moment {
    /// No time.
    pub const NONE: Moment = Moment(i64::MIN);

    pub fn get(self) -> Option<i64> {
        Some(self.0).filter(|_| self != Moment::NONE)
    }

    pub fn is_some(self) -> bool {
        self != Moment::NONE
    }
}

impl Default for Moment {
    fn default() -> Moment {
        Moment::NONE
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.get(), f)
    }
}

impl From<Option<i64>> for Moment {
    fn from(time: Option<i64>) -> Moment {
        time.map_or(Moment::NONE, Moment)
    }
}

impl From<Moment> for Option<i64> {
    fn from(moment: Moment) -> Option<i64> {
        moment.get()
    }
}

/// One key's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    status: Status,
    /// For each level, since when its condition has held.
    active: Box<[Moment]>,
    last_seen: i64,
    /// Whether nothing has come for too long since.
    #[serde(default, skip_serializing_if = "is_default")]
    stale: bool,
    /// Since when a firing alert has been at a milder level than the one it fires at.
    #[serde(default, skip_serializing_if = "is_default")]
    milder_since: Moment,
    #[serde(default, skip_serializing_if = "is_default")]
    incident: Option<Incident>,
    /// When it fired of late, where that matters.
    #[serde(default, skip_serializing_if = "is_default")]
    fired: Option<Box<[i64]>>,
    #[serde(default, skip_serializing_if = "is_default")]
    flapping: bool,
    /// Of samples that hold until the next one: the last one, while it holds.
    #[serde(default, skip_serializing_if = "is_default")]
    holds: Option<Judgement>,
}

/// Whether there is nothing to write down.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Status {
    Normal,
    Pending(usize),
    Firing(usize),
    Recovering {
        level: usize,
        since: i64,
    },
    NoData(usize),
    Resolved {
        level: usize,
        at: i64,
    },
    /// Nothing is to be known of the key any more.
    Gone,
}

/// What is due by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// The sample that holds is looked at again.
    Again,
    Recovered,
    Silent,
    Evicted,
    ResolvedForgotten,
    FlapsForgotten,
}

/// Where transitions go, and what is muted.
#[derive(Debug, Default)]
pub struct Said {
    /// Receivers are not told of what happened before this, in nanoseconds.
    pub mute_before: i64,
    /// In order.
    pub transitions: Vec<Transition>,
}

impl Instance {
    /// A key of which nothing is wrong, known since `t`.
    pub fn new(rule: &Rule, t: i64) -> Instance {
        Instance {
            status: Status::Normal,
            active: vec![Moment::NONE; rule.for_ns.len()].into(),
            last_seen: t,
            stale: false,
            milder_since: Moment::NONE,
            incident: None,
            fired: None,
            flapping: false,
            holds: None,
        }
    }

    /// What the alert is for this key.
    pub fn state(&self) -> State {
        match self.status {
            Status::Normal | Status::Gone => State::Normal,
            Status::Pending(_) => State::Pending,
            Status::Firing(_) => State::Firing,
            Status::Recovering { .. } => State::Recovering,
            Status::NoData(_) => State::NoData,
            Status::Resolved { .. } => State::Resolved,
        }
    }

    /// The level that it has, or had last.
    pub fn level(&self) -> usize {
        match self.status {
            Status::Normal | Status::Gone => 0,
            Status::Pending(level) | Status::Firing(level) | Status::NoData(level) => level,
            Status::Recovering { level, .. } | Status::Resolved { level, .. } => level,
        }
    }

    /// When the last sample was.
    pub fn last_seen(&self) -> i64 {
        self.last_seen
    }

    /// Whether the key has been silent for so long that nothing is to be known of it any more.
    pub fn is_gone(&self) -> bool {
        self.status == Status::Gone
    }

    /// Whether nothing would be different if the key were forgotten.
    pub fn is_blank(&self, rule: &Rule) -> bool {
        match self.status {
            Status::Gone => true,
            Status::Normal => rule.absent.is_none() && self.fired.as_ref().is_none_or(|fired| fired.is_empty()),
            _ => false,
        }
    }

    /// Takes in a sample of time `t`, not before the last one.
    pub fn sample(&mut self, rule: &Rule, t: i64, judged: Judgement, said: &mut Said) {
        self.advance(rule, t.saturating_sub(1), said);
        if self.status == Status::Gone {
            *self = Instance::new(rule, t);
        }
        self.last_seen = t;
        self.stale = false;
        self.holds = rule.standing.then_some(judged);
        self.judge(rule, t, judged, said);
        self.unhush(t, said);
    }

    /// Of samples that hold until the next one: none holds any more, and nothing came in its place. That is evidence.
    pub fn withdraw(&mut self, rule: &Rule, t: i64, said: &mut Said) {
        self.sample(rule, t, Judgement::CLEAR, said);
        self.holds = None;
    }

    /// Forgets the key: nothing is expected of it any more.
    pub fn forget(&mut self, now: i64, said: &mut Said) {
        if self.status != Status::Gone {
            self.evict(now, said);
        }
    }

    /// Lets time pass up to and including `now`.
    pub fn advance(&mut self, rule: &Rule, now: i64, said: &mut Said) {
        while let Some((at, due)) = self.due(rule).filter(|(at, _)| *at <= now) {
            match due {
                Due::Again => {
                    if let Some(judged) = self.holds {
                        self.judge(rule, at, judged, said);
                    }
                }
                Due::Recovered => self.resolve(at, Reason::ConditionCleared, said),
                Due::Silent => self.silent(rule, at, said),
                Due::Evicted => self.evict(at, said),
                Due::ResolvedForgotten => self.status = Status::Normal,
                Due::FlapsForgotten => self.fired = None,
            }
        }
    }

    /// When something happens by itself, if no sample comes before; in nanoseconds.
    pub fn deadline(&self, rule: &Rule) -> Option<i64> {
        self.due(rule).map(|(at, _)| at)
    }

    /// A sample that had been taken in turned out to be another one: says so if the incident, or the last one, was judged
    /// by it. `t` is the sample's time, `now` the time as of which it is known.
    pub fn revise(&mut self, t: i64, now: i64, tell: bool, said: &mut Said) {
        let Some(incident) = &mut self.incident else { return };
        let over = match self.status {
            Status::Resolved { at, .. } => at,
            _ => i64::MAX,
        };
        if t < incident.starts_at || t > over || incident.fired_at.is_none() {
            return;
        }
        incident.revision += 1;
        let ends_at = (over < i64::MAX).then_some(over);
        self.tell(Kind::Revised, (self.level(), self.level()), Reason::InputCorrected, now, ends_at, said);
        if let Some(last) = said.transitions.last_mut().filter(|_| !tell) {
            last.muted = last.muted.or(Some(Muted::Revision));
        }
    }

    fn breached(&self) -> usize {
        self.active.iter().rposition(|since| since.is_some()).map_or(0, |at| at + 1)
    }

    fn ready(&self, rule: &Rule, t: i64) -> usize {
        let ready = |(since, for_ns): (&Moment, &i64)| since.get().is_some_and(|since| t - since >= *for_ns);
        self.active.iter().zip(&rule.for_ns).rposition(ready).map_or(0, |at| at + 1)
    }

    fn keep_ns(&self, rule: &Rule) -> i64 {
        match rule.flap.filter(|_| self.flapping) {
            Some(flap) => rule.keep_ns.max(flap.within_ns),
            None => rule.keep_ns,
        }
    }

    fn due(&self, rule: &Rule) -> Option<(i64, Due)> {
        let silent_since = self.last_seen;
        let mut dues: Vec<(i64, Due)> = Vec::new();
        match self.status {
            Status::Gone => return None,
            Status::Normal => {
                let forgotten = rule.flap.zip(self.fired.as_ref().and_then(|fired| fired.last()));
                dues.extend(
                    forgotten.map(|(flap, last)| (last.saturating_add(flap.within_ns) + 1, Due::FlapsForgotten)),
                );
            }
            Status::Resolved { at, .. } => {
                dues.push((at.saturating_add(rule.keep_resolved_ns), Due::ResolvedForgotten));
            }
            Status::Recovering { since, .. } if !self.stale => {
                dues.push((since.saturating_add(self.keep_ns(rule)), Due::Recovered));
            }
            _ => {}
        }
        dues.extend(self.again(rule).map(|at| (at, Due::Again)));
        // What holds is not silent.
        if self.holds.is_none() {
            let absent = rule.absent.filter(|_| !self.stale);
            dues.extend(absent.map(|absent| (silent_since.saturating_add(absent.after_ns) + 1, Due::Silent)));
            dues.extend(rule.ttl_ns.map(|ttl| (silent_since.saturating_add(ttl) + 1, Due::Evicted)));
        }
        dues.into_iter().min()
    }

    /// When a sample that holds says more than it has said.
    fn again(&self, rule: &Rule) -> Option<i64> {
        self.holds?;
        let fires = |above: usize| {
            let levels = self.active.iter().zip(&rule.for_ns).enumerate().skip(above);
            levels.filter_map(|(_, (since, for_ns))| Some(since.get()?.saturating_add(*for_ns))).min()
        };
        match self.status {
            Status::Pending(_) => fires(0),
            Status::Firing(level) => {
                let milder = self.milder_since.get().map(|since| since.saturating_add(self.keep_ns(rule)));
                fires(level).into_iter().chain(milder).min()
            }
            _ => None,
        }
    }

    fn judge(&mut self, rule: &Rule, t: i64, judged: Judgement, said: &mut Said) {
        if let Status::NoData(level) = self.status {
            self.status = Status::Resolved { level, at: t };
            self.tell(Kind::Resolved, (level, level), Reason::DataReturned, t, Some(t), said);
        }
        for (at, since) in self.active.iter_mut().enumerate() {
            let breaches = judged.breaches(at + 1, since.is_some());
            *since = breaches.then(|| since.get().unwrap_or(t)).into();
        }
        let (level, ready) = (self.breached(), self.ready(rule, t));
        match self.status {
            Status::Normal | Status::Pending(_) | Status::Resolved { .. } if ready > 0 => {
                self.fire(rule, ready, t, said)
            }
            Status::Normal | Status::Resolved { .. } if level > 0 => {
                self.begin(t);
                self.status = Status::Pending(level);
                self.tell(Kind::Pending, (level, 0), Reason::ConditionMet, t, None, said);
            }
            Status::Pending(_) if level == 0 => self.clear(t, Reason::ConditionCleared, said),
            Status::Pending(_) => self.status = Status::Pending(level),
            Status::Recovering { level: before, .. } if level > 0 => {
                self.status = Status::Firing(before);
                self.milder_since = Moment::NONE;
                self.tell(Kind::Refired, (before, before), Reason::ConditionMet, t, None, said);
                self.judge_firing(rule, before, (level, ready), t, said);
            }
            Status::Recovering { since, .. } if t - since >= self.keep_ns(rule) => {
                self.resolve(t, Reason::ConditionCleared, said);
            }
            Status::Firing(before) => self.judge_firing(rule, before, (level, ready), t, said),
            _ => {}
        }
    }

    /// A firing alert whose conditions hold at `level`, and have for long enough at `ready`.
    fn judge_firing(&mut self, rule: &Rule, before: usize, (level, ready): (usize, usize), t: i64, said: &mut Said) {
        if ready > before {
            (self.status, self.milder_since) = (Status::Firing(ready), Moment::NONE);
            self.tell(Kind::Escalated, (ready, before), Reason::ConditionMet, t, None, said);
        } else if level >= before {
            self.milder_since = Moment::NONE;
        } else if level > 0 {
            let since = self.milder_since.get().unwrap_or(t);
            self.milder_since = Some(since).into();
            if t - since >= self.keep_ns(rule) {
                (self.status, self.milder_since) = (Status::Firing(level), Moment::NONE);
                self.tell(Kind::Deescalated, (level, before), Reason::ConditionCleared, t, None, said);
            }
        } else if self.keep_ns(rule) > 0 {
            (self.status, self.milder_since) = (Status::Recovering { level: before, since: t }, Moment::NONE);
            self.tell(Kind::Recovering, (before, before), Reason::ConditionCleared, t, None, said);
        } else {
            self.resolve(t, Reason::ConditionCleared, said);
        }
    }

    fn begin(&mut self, t: i64) {
        // Two incidents of one moment have one identity: the second goes on counting.
        let seq = self.incident.as_ref().filter(|before| before.starts_at == t).map_or(0, |before| before.seq);
        self.incident = Some(Incident { starts_at: t, fired_at: None, seq, revision: 0, hushed: false });
    }

    fn fire(&mut self, rule: &Rule, level: usize, t: i64, said: &mut Said) {
        if self.state() != State::Pending {
            self.begin(t);
        }
        let mut reason = Reason::ConditionMet;
        if let Some(flap) = rule.flap {
            let mut fired = self.fired.take().map_or_else(Vec::new, |fired| fired.into_vec());
            fired.retain(|before| *before >= t.saturating_sub(flap.within_ns));
            fired.push(t);
            self.flapping = fired.len() >= flap.times;
            self.fired = Some(fired.into());
            if self.flapping {
                reason = Reason::Flapping;
            }
        }
        self.status = Status::Firing(level);
        self.milder_since = Moment::NONE;
        self.open(level, reason, t, said);
    }

    /// Says that the incident fires.
    fn open(&mut self, level: usize, reason: Reason, t: i64, said: &mut Said) {
        if let Some(incident) = &mut self.incident {
            incident.fired_at = Some(t);
            incident.hushed = t < said.mute_before;
        }
        self.tell(Kind::Firing, (level, 0), reason, t, None, said);
    }

    fn resolve(&mut self, t: i64, reason: Reason, said: &mut Said) {
        let level = self.level();
        self.status = Status::Resolved { level, at: t };
        self.milder_since = Moment::NONE;
        if self.flapping {
            self.flapping = false;
            self.fired = None;
        }
        self.tell(Kind::Resolved, (level, level), reason, t, Some(t), said);
    }

    fn clear(&mut self, t: i64, reason: Reason, said: &mut Said) {
        let level = self.level();
        self.status = Status::Normal;
        self.active.fill(Moment::NONE);
        self.tell(Kind::Cleared, (level, 0), reason, t, Some(t), said);
    }

    fn silent(&mut self, rule: &Rule, t: i64, said: &mut Said) {
        self.stale = true;
        let Some(Absent { policy, .. }) = rule.absent else { return };
        if self.state() == State::Pending {
            self.clear(t, Reason::NoData, said);
        }
        match (self.status, policy) {
            (Status::Normal | Status::Resolved { .. }, AbsentPolicy::Fire(level)) => {
                self.begin(t);
                self.active.fill(Moment::NONE);
                self.status = Status::NoData(level);
                self.open(level, Reason::NoData, t, said);
            }
            (Status::Firing(_) | Status::Recovering { .. }, AbsentPolicy::Resolve) => {
                self.active.fill(Moment::NONE);
                self.resolve(t, Reason::NoData, said);
            }
            (Status::Recovering { level, .. }, AbsentPolicy::Fire(_)) => {
                self.status = Status::Firing(level);
                self.tell(Kind::Refired, (level, level), Reason::NoData, t, None, said);
            }
            _ => {}
        }
    }

    fn evict(&mut self, t: i64, said: &mut Said) {
        if self.state() == State::Pending {
            self.clear(t, Reason::Evicted, said);
        } else if self.state().is_open() {
            self.resolve(t, Reason::Evicted, said);
        }
        self.status = Status::Gone;
    }

    /// An alert that still fires when the past is over is told of once.
    fn unhush(&mut self, t: i64, said: &mut Said) {
        let hushed = self.incident.as_ref().is_some_and(|incident| incident.hushed);
        if hushed && self.state().is_open() && t >= said.mute_before {
            if let Some(incident) = &mut self.incident {
                incident.hushed = false;
            }
            let level = self.level();
            self.tell(Kind::Firing, (level, 0), Reason::ConditionMet, t, None, said);
        }
    }

    fn tell(
        &mut self,
        kind: Kind,
        (level, previous): (usize, usize),
        reason: Reason,
        at: i64,
        ends_at: Option<i64>,
        said: &mut Said,
    ) {
        let state = self.state();
        let Some(incident) = &mut self.incident else { return };
        incident.seq += 1;
        let muted = (kind.notifies() && (at < said.mute_before || incident.hushed)).then_some(Muted::Backfill);
        said.transitions.push(Transition {
            kind,
            state,
            level,
            previous,
            reason,
            at,
            incident: incident.clone(),
            ends_at,
            muted,
        });
    }
}
