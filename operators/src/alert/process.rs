//! The operator: rows to samples in the order of their time, samples and time to the state machines, transitions to events.

use super::behind::{Behind, Groups, Shown};
use super::expected::Expected;
use super::held::{Held, count, weightiest, worst};
use super::pending::{Key, Pending};
use super::rule::Judgement;
use super::sample::{Counted, Row, Sample};
use super::turn::Turn;
use super::voice::{Told, Voice};
use super::{AlertSpec, AlertTime};
use crate::event_time::timed;
use crate::operator::{Operator, Output, StateSize, Times};
use crate::plan::Read;
use crate::rows::Rows;
use crate::state::{Restored, Section};
use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Column;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, Watermark};
use thalweg_schemas::error::Result;

/// The port of what becomes of each key's state: differences as [`crate::upsert::Upsert`] takes them.
pub(crate) const STATE: usize = 0;
/// The port of the events.
pub(crate) const EVENTS: usize = 1;

/// What is kept of a key, roughly.
const HELD_BYTES: usize = 330;

/// The state machines of an alert's keys.
pub struct Alert {
    pub(super) spec: AlertSpec,
    pub(super) voice: Arc<Voice>,
    tick_ns: i64,
    pub(super) emit_state: bool,
    pub(super) emit_events: bool,
    pub(super) held: BTreeMap<Key, Box<Held>>,
    timers: BTreeSet<(i64, Key)>,
    pub(super) pending: Pending,
    arrived: Vec<Batch>,
    pub(super) expected: Expected,
    pub(super) groups: Groups,
    /// What is behind a row that is the only one, as most are.
    pub(super) alone: Arc<Behind>,
    /// The ids of its sections; none after a change.
    pub(super) ids: Vec<u64>,
}

/// A row that came, with what is known of it.
struct Arrival {
    key: Key,
    row: Row,
    counted: Counted,
}

/// Up to where time has passed.
#[derive(Clone, Copy)]
struct Horizon {
    /// Rows up to this time were complete before.
    before: i64,
    /// Rows up to this time are complete now.
    samples: i64,
    /// Up to here time has passed by itself.
    timers: i64,
}

impl Alert {
    /// The operator that `spec` asks for, with the streams that somebody reads; an epoch is `tick_ns` long.
    pub fn new(spec: &AlertSpec, tick_ns: i64, emit_state: bool, emit_events: bool) -> Result<Alert> {
        Ok(Alert {
            voice: Arc::new(Voice::new(spec)?),
            spec: spec.clone(),
            tick_ns,
            emit_state,
            emit_events,
            held: BTreeMap::new(),
            timers: BTreeSet::new(),
            pending: Pending::default(),
            arrived: Vec::new(),
            expected: Expected::default(),
            groups: Groups::default(),
            alone: Arc::new(Behind::ALONE),
            ids: Vec::new(),
        })
    }

    /// Whether a key is kept though nothing is wrong with it.
    fn keeps_all(&self) -> bool {
        let corrected = matches!(self.spec.time, AlertTime::Event { .. }) && self.spec.read == Read::Changes;
        self.spec.rule.absent.is_some() || corrected
    }

    fn horizon(&self, epoch: Epoch, times: Times) -> Horizon {
        let AlertTime::Event { closed, .. } = self.spec.time else {
            let now = self.clock_ns(epoch);
            return Horizon { before: i64::MIN, samples: now, timers: now };
        };
        let complete = |watermark: Watermark| match watermark {
            Watermark::MIN | Watermark::MAX => watermark.0,
            Watermark(ns) if closed => ns,
            Watermark(ns) => ns.saturating_sub(1),
        };
        // The end of the input is not the passing of time.
        let timers = if times.now == Watermark::MAX { times.reached } else { times.now };
        Horizon { before: complete(times.before), samples: complete(times.now), timers: complete(timers) }
    }

    fn clock_ns(&self, epoch: Epoch) -> i64 {
        i64::try_from(epoch.0).unwrap_or(i64::MAX).saturating_mul(self.tick_ns)
    }

    /// What the conditions say of a row.
    pub(super) fn judgements(&self, rows: &RecordBatch) -> Vec<Judgement> {
        let mut judged = vec![Judgement::CLEAR; rows.num_rows()];
        for (level, severity) in self.spec.severities.iter().enumerate() {
            let when = rows.column(severity.when).as_boolean();
            let clear = severity.clear.map(|at| rows.column(at).as_boolean());
            let says =
                |column: &BooleanArray, row: usize, value: bool| column.is_valid(row) && column.value(row) == value;
            for (row, judged) in judged.iter_mut().enumerate() {
                let cleared = clear.map_or_else(|| says(when, row, false), |clear| says(clear, row, true));
                judged.raised |= u32::from(says(when, row, true)) << level;
                judged.cleared &= !(u32::from(!cleared) << level);
            }
        }
        judged
    }

    fn arrivals(&self, batch: &Batch) -> Result<Vec<Arrival>> {
        let judged = self.judgements(&batch.rows);
        let arrival = |(at, ((key, row), judged)): (usize, ((Key, Row), Judgement))| {
            let counted = Counted { times: batch.diff(at), judged };
            Arrival { key, row, counted }
        };
        Ok(self.voice.encode(batch)?.into_iter().zip(judged).enumerate().map(arrival).collect())
    }

    /// Sorts what arrived: into what waits for its time, and what corrects the past.
    fn sort(
        &mut self,
        arrived: Vec<Batch>,
        horizon: Horizon,
        output: &mut Output,
    ) -> Result<BTreeMap<(i64, Key), Sample>> {
        let mut corrections: BTreeMap<(i64, Key), Sample> = BTreeMap::new();
        let AlertTime::Event { column, .. } = self.spec.time else { return Ok(corrections) };
        let schema = self.spec.input.schema();
        let time: Arc<dyn PhysicalExpr> = Arc::new(Column::new(schema.field(column).name(), column));
        for batch in arrived {
            let (batch, times) = timed(&time, batch, &mut output.dead)?;
            let mut late = vec![false; batch.num_rows()];
            for (at, arrival) in self.arrivals(&batch)?.into_iter().enumerate() {
                let t = times.ns(at);
                if t > horizon.before {
                    self.pending.add(t, arrival.key, arrival.row, arrival.counted);
                } else if self.spec.read == Read::Changes {
                    corrections.entry((t, arrival.key)).or_default().add(arrival.row, arrival.counted);
                } else {
                    late[at] = true;
                }
            }
            if late.contains(&true) {
                output.late.push(filter_record_batch(&batch.rows, &BooleanArray::from(late))?);
            }
        }
        Ok(corrections)
    }

    /// Some of the rows behind `row`, which decides of those that were `seen` of a key at `t`.
    fn behind(&self, t: i64, key: &Key, row: &Row, seen: &Sample) -> Result<Option<Arc<Behind>>> {
        match &self.spec.exemplars {
            Some(_) => Ok(self.groups.get(t, key, self.voice.group_of(row)?).map(Arc::new)),
            None if self.spec.sample_rows == 0 => Ok(None),
            None if count(seen) == 1 => Ok(Some(self.alone.clone())),
            None => {
                let others = weightiest(seen).into_iter().filter(|other| *other != row);
                let shown = Shown::Rows(others.take(self.spec.sample_rows - 1).cloned().collect());
                Ok(Some(Arc::new(Behind { of: count(seen), shown })))
            }
        }
    }

    /// Whether `a` and `b` are of one group: what is known of the rows behind one holds for the other.
    fn same_group(&self, a: &Row, b: Option<&Row>) -> Result<bool> {
        let Some(b) = b.filter(|_| self.spec.exemplars.is_some()) else { return Ok(false) };
        Ok(self.voice.group_of(a)? == self.voice.group_of(b)?)
    }

    /// Of rows that are kept up to date: makes the changes of an epoch, and looks at the keys that they concern.
    fn changed(&mut self, arrived: Vec<Batch>, now: i64, turn: &mut Turn, output: &mut Output) -> Result<()> {
        let mut changes: BTreeMap<Key, Sample> = BTreeMap::new();
        for batch in arrived {
            for arrival in self.arrivals(&batch)? {
                changes.entry(arrival.key).or_default().add(arrival.row, arrival.counted);
            }
        }
        let (rule, keeps_all) = (self.spec.rule.clone(), self.keeps_all());
        for (key, changes) in changes {
            let matters = |counted: &Counted| counted.judged != Judgement::CLEAR;
            if !keeps_all && !self.held.contains_key(&key) && !changes.values().any(matters) {
                continue;
            }
            let mut held = self.held.remove(&key).unwrap_or_else(|| Held::new(&rule, now));
            let mut standing = held.standing.take().unwrap_or_default();
            let mut arrived = Sample::default();
            for (row, counted) in changes.iter() {
                standing.live += counted.times;
                if counted.times > 0 {
                    *arrived.entry(row.clone()) = *counted;
                }
                if matters(counted) {
                    standing.rows.add(row.clone(), *counted);
                }
            }
            standing.rows.retain(|counted| counted.times != 0);
            let judged = standing.rows.judged();
            let decides = worst(&standing.rows).or_else(|| worst(&arrived));
            let gone = decides.is_none();
            let seen = if standing.rows.is_empty() { &arrived } else { &standing.rows };
            let rows = count(seen);
            let matters = judged.raised != 0 || !held.instance.is_blank(&rule);
            if let Some(row) = decides.as_ref().filter(|_| matters) {
                let known = self.behind(now, &key, row, seen)?;
                // A row that changes by another side of a join has the same rows behind it.
                if known.is_some() || !self.same_group(row, held.row.as_ref())? {
                    held.behind = known;
                }
            }
            held.row = decides.or_else(|| held.row.take());
            held.sampled_at = now;
            let mut said = turn.begin();
            let live = standing.live;
            held.standing = Some(standing).filter(|standing| !standing.is_default());
            if keeps_all && live <= 0 {
                held.instance.withdraw(&rule, now, &mut said);
            } else {
                held.instance.sample(&rule, now, judged, &mut said);
            }
            turn.note(&key, &held, said, rows, gone);
            held.forget_behind(&rule);
            self.held.insert(key, held);
            self.speak_of_many(turn, output)?;
        }
        Ok(())
    }

    /// Looks at the samples whose time has come, the earliest first.
    fn ripe(&mut self, until: i64, turn: &mut Turn, output: &mut Output) -> Result<()> {
        let (rule, keeps_all) = (self.spec.rule.clone(), self.keeps_all());
        while let Some((t, samples)) = self.pending.take(until) {
            for (key, mut sample) in samples {
                sample.retain(|counted| counted.times > 0);
                let judged = sample.judged();
                let Some(row) = worst(&sample) else { continue };
                if judged.raised == 0 && !keeps_all && !self.held.contains_key(&key) {
                    continue;
                }
                let blank = self.held.get(&key).is_none_or(|held| held.instance.is_blank(&rule));
                let behind = match judged.raised == 0 && blank {
                    true => None,
                    false => self.behind(t, &key, &row, &sample)?,
                };
                let held = self.held.entry(key.clone()).or_insert_with(|| Held::new(&rule, t));
                let mut said = turn.begin();
                // What was due before speaks of the row before.
                held.instance.advance(&rule, t.saturating_sub(1), &mut said);
                turn.note(&key, held, said, 0, false);
                (held.row, held.behind, held.sampled_at) = (Some(row), behind, t);
                let mut said = turn.begin();
                held.instance.sample(&rule, t, judged, &mut said);
                turn.note(&key, held, said, count(&sample), false);
                held.forget_behind(&rule);
                self.speak_of_many(turn, output)?;
            }
        }
        Ok(())
    }

    /// Takes in that samples of the past were others. The last one of a key is judged again.
    fn correct(&mut self, corrections: BTreeMap<(i64, Key), Sample>, horizon: Horizon, turn: &mut Turn) -> Result<()> {
        let rule = self.spec.rule.clone();
        for ((t, key), changes) in corrections {
            if !self.held.contains_key(&key) {
                continue;
            }
            let of = |sign: i64| -> Sample {
                let changes = changes.iter().filter(|(_, counted)| counted.times.signum() == sign);
                changes.map(|(row, counted)| (row.clone(), *counted)).collect()
            };
            let (gone, new) = (of(-1), of(1));
            let (before, after) = (worst(&gone), worst(&new));
            if before.as_ref().zip(after.as_ref()).is_some_and(|(a, b)| self.voice.same_values(a, b).unwrap_or(false)) {
                continue;
            }
            let behind = match &after {
                Some(row) => self.behind(t, &key, row, &new)?,
                None => None,
            };
            let Some(held) = self.held.get_mut(&key) else { continue };
            let mut said = turn.begin();
            held.instance.revise(t, t, self.spec.notify_revisions, &mut said);
            let last = t == held.sampled_at;
            if last && after.is_some() {
                held.row.clone_from(&after);
                held.behind.clone_from(&behind);
            }
            turn.touched.insert(key.clone());
            for transition in said.transitions {
                let (row, gone) = (after.clone().or(before.clone()), after.is_none());
                let (rows, behind) = (new.len() as i64, behind.clone());
                turn.told.push(Told { key: key.clone(), transition, row, before: before.clone(), rows, behind, gone });
            }
            if last && !new.is_empty() {
                let judged = new.judged();
                let mut said = turn.begin();
                held.instance.sample(&rule, t.max(horizon.before), judged, &mut said);
                turn.note(&key, held, said, new.len() as i64, false);
            }
            held.forget_behind(&rule);
        }
        Ok(())
    }

    /// Takes on the keys that are expected from `now` on, and forgets those that no longer are.
    fn expect(&mut self, now: i64, turn: &mut Turn) {
        let rule = self.spec.rule.clone();
        for key in self.expected.begun() {
            self.held.entry(key.clone()).or_insert_with(|| Held::new(&rule, now));
            turn.touched.insert(key);
        }
        for key in self.expected.ended() {
            let Some(held) = self.held.get_mut(&key) else { continue };
            let mut said = turn.begin();
            held.instance.advance(&rule, now, &mut said);
            held.instance.forget(now, &mut said);
            if let Some(standing) = &mut held.standing {
                standing.rows = Sample::default();
            }
            turn.note(&key, held, said, 0, true);
        }
    }

    /// Lets time pass for the keys to which something is due.
    fn pass(&mut self, until: i64, turn: &mut Turn, output: &mut Output) -> Result<()> {
        let rule = self.spec.rule.clone();
        while let Some((_, key)) = self.timers.first().filter(|(at, _)| *at <= until).cloned() {
            if let Some(held) = self.held.get_mut(&key) {
                let mut said = turn.begin();
                held.instance.advance(&rule, until, &mut said);
                turn.note(&key, held, said, 0, false);
            }
            self.settle(&key);
            self.speak_of_many(turn, output)?;
        }
        Ok(())
    }

    /// Notes when a key is to be looked at again, or forgets it.
    pub(super) fn settle(&mut self, key: &Key) {
        let keeps_all = self.keeps_all();
        let Some(held) = self.held.get_mut(key) else { return };
        let before = std::mem::take(&mut held.deadline).get();
        let stands = held.standing.as_ref().is_some_and(|standing| !standing.rows.is_empty());
        let blank = held.instance.is_blank(&self.spec.rule) && !stands;
        let forgotten = blank && (!keeps_all || held.instance.is_gone());
        let after = held.instance.deadline(&self.spec.rule).filter(|_| !forgotten);
        held.deadline = after.into();
        if before != after {
            before.into_iter().for_each(|at| {
                self.timers.remove(&(at, key.clone()));
            });
            self.timers.extend(after.map(|at| (at, key.clone())));
        }
        if forgotten && !held.shown {
            self.held.remove(key);
        }
    }

    /// Takes a key on as a checkpoint has it.
    pub(super) fn hold(&mut self, key: Key, held: Box<Held>) {
        self.held.insert(key.clone(), held);
        self.settle(&key);
    }
}

impl Operator for Alert {
    fn process(&mut self, _epoch: Epoch, rows: Rows, _output: &mut Output) -> Result<()> {
        self.arrived.extend(rows.into_batch());
        Ok(())
    }

    fn process_second(&mut self, epoch: Epoch, rows: Rows, output: &mut Output) -> Result<()> {
        if self.spec.expected.is_none() && self.spec.exemplars.is_some() {
            return self.process_third(epoch, rows, output);
        }
        let Some(batch) = rows.into_batch() else { return Ok(()) };
        let keys = self.voice.encode_keys(batch.rows.columns(), batch.num_rows())?;
        for (at, key) in keys.into_iter().enumerate() {
            self.expected.change(key, batch.diff(at));
        }
        Ok(())
    }

    fn process_third(&mut self, epoch: Epoch, rows: Rows, _output: &mut Output) -> Result<()> {
        let (Some(batch), Some(exemplars)) = (rows.into_batch(), &self.spec.exemplars) else { return Ok(()) };
        let now = self.clock_ns(epoch);
        self.groups.take_in(exemplars, &self.spec.time, &self.voice, now, &batch)?;
        self.ids.clear();
        Ok(())
    }

    fn finish_epoch(&mut self, epoch: Epoch, times: Times, output: &mut Output) -> Result<()> {
        let horizon = self.horizon(epoch, times);
        let mute = self.spec.mute_older_than_ns.map(|older| self.clock_ns(epoch).saturating_sub(older));
        let mut turn = Turn::new(mute.unwrap_or(i64::MIN));
        let arrived = std::mem::take(&mut self.arrived);
        let idle = arrived.is_empty() && !self.expected.has_changed();
        match (&self.spec.time, self.spec.rule.standing) {
            (AlertTime::Clock, true) => {
                self.pass(horizon.timers.saturating_sub(1), &mut turn, output)?;
                self.changed(arrived, horizon.samples, &mut turn, output)?;
            }
            (AlertTime::Clock, false) => {
                for batch in arrived {
                    for arrival in self.arrivals(&batch)? {
                        self.pending.add(horizon.samples, arrival.key, arrival.row, arrival.counted);
                    }
                }
                self.ripe(horizon.samples, &mut turn, output)?;
            }
            (AlertTime::Event { .. }, _) => {
                let corrections = self.sort(arrived, horizon, output)?;
                self.correct(corrections, horizon, &mut turn)?;
                self.ripe(horizon.samples, &mut turn, output)?;
            }
        }
        // What is expected before event time has begun waits for it.
        if horizon.timers > i64::MIN {
            self.expect(horizon.timers, &mut turn);
        }
        for key in turn.touched.clone() {
            self.settle(&key);
        }
        self.pass(horizon.timers, &mut turn, output)?;
        let shown = self.groups.pass(horizon.samples);
        if !idle || shown || !turn.touched.is_empty() {
            self.ids.clear();
        }
        self.speak(turn, output)
    }

    fn wake_at(&self) -> Option<Epoch> {
        let AlertTime::Clock = self.spec.time else { return None };
        let (at, _) = self.timers.first()?;
        let tick = self.tick_ns.max(1);
        Some(Epoch(u64::try_from((at.saturating_add(tick - 1)).div_euclid(tick)).unwrap_or(0)))
    }

    fn snapshot(&mut self) -> Result<Vec<Section>> {
        self.sections()
    }

    fn restore(&mut self, sections: Vec<Restored>, _watermark: Watermark) -> Result<()> {
        sections.into_iter().try_for_each(|section| self.take_on(&section))
    }

    fn state(&self) -> StateSize {
        let (waiting, bytes) = self.pending.size();
        let held = self.held.len();
        let expected = self.expected.len();
        let (groups, exemplars) = self.groups.size();
        let rows = held + waiting + groups;
        StateSize { rows: rows as u64, bytes: (held * HELD_BYTES + expected * 64 + bytes + exemplars) as u64 }
    }
}
