//! The second phase where rows say that a session begins or ends: the rows themselves on the partition's owner, and
//! sessions cut out of them.
//!
//! A row that comes late can cut a session in two, and no partial state can be cut. So each row stays until its session is
//! over, with its state beside it. What only adds to a session is merged into the states of its groups; a session that is cut
//! or joined is made anew from its rows. Where a session begins follows from the moment before and the moment itself, so
//! a row changes nothing but where its own moment and the next one belong.

use super::groups::{Groups, Name};
use super::rows::HeldRows;
use super::{ENDS, STARTS, SessionAggregateSpec};
use crate::aggregate::{Part, number_groups};
use crate::operator::{Operator, Output, StateSize, Times};
use crate::rows::Rows;
use crate::state::{Restored, Section, fresh_id, unnamed};
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{Int64Type, UInt8Type};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use thalweg_schemas::epoch::{Epoch, Watermark};
use thalweg_schemas::error::Result;

/// Cuts sessions by the marks of their rows. Port 0: every change; port 1: results of closed sessions.
pub struct CutSessions {
    /// Before the states of a group stands a number that says nothing.
    groups: Groups,
    rows: HeldRows,
    moments: BTreeMap<(u32, i64), Moment>,
    pub(super) sessions: BTreeMap<Name, Session>,
    /// The sessions in the order in which they end.
    ends: BTreeSet<(i64, Name)>,
    /// Where the last session of a partition ended that a row ended, until nothing can come for it: by partition, and in
    /// order.
    closed: BTreeMap<u32, i64>,
    closed_in_order: BTreeSet<(i64, u32)>,
    arrived: Vec<RecordBatch>,
    /// The ids of its sections of rows and of ends; others after every change.
    ids: [u64; 2],
}

/// The rows of a partition at one time.
#[derive(Default)]
struct Moment {
    mark: u8,
    rows: Vec<u32>,
    /// Whether some of its rows came in an earlier epoch.
    known: bool,
}

impl Moment {
    fn starts(&self) -> bool {
        self.mark & STARTS != 0
    }

    fn ends(&self) -> bool {
        self.mark & ENDS != 0
    }
}

pub(super) struct Session {
    last: i64,
    /// Its place among the ends.
    end: Option<i64>,
    /// Whether its rows are a session: where a row must begin one, those without are in none.
    counts: bool,
    groups: Vec<u32>,
    /// The rows that came in this epoch.
    new: Vec<u32>,
    /// Whether it is to be made from all of its rows.
    anew: bool,
    /// Whether it was there in an earlier epoch.
    known: bool,
}

impl Session {
    fn new(last: i64) -> Session {
        Session { last, end: None, counts: false, groups: Vec::new(), new: Vec::new(), anew: false, known: false }
    }
}

/// What an epoch has changed.
#[derive(Default)]
struct Touched {
    sessions: BTreeSet<Name>,
    /// Where its rows were put.
    moments: BTreeSet<(u32, i64)>,
    /// Groups of sessions that are no more.
    gone: Vec<u32>,
}

impl CutSessions {
    /// The second phase of what `spec` asks for, with the streams that somebody reads.
    pub fn new(spec: &SessionAggregateSpec, emit_changes: bool, emit_finals: bool) -> Result<CutSessions> {
        Ok(CutSessions {
            groups: Groups::new(spec, emit_changes, emit_finals)?,
            rows: HeldRows::default(),
            moments: BTreeMap::new(),
            sessions: BTreeMap::new(),
            ends: BTreeSet::new(),
            closed: BTreeMap::new(),
            closed_in_order: BTreeSet::new(),
            arrived: Vec::new(),
            ids: [fresh_id(), fresh_id()],
        })
    }

    fn key_columns(&self) -> usize {
        self.groups.spec.keys.len()
    }

    /// Puts rows among those of their partitions. Gives those that came for a session that is closed, where `late` says to
    /// look for such.
    fn take_in(&mut self, arrived: RecordBatch, late: bool, touched: &mut Touched) -> Result<Vec<u32>> {
        let keys = self.key_columns();
        let count = arrived.num_rows();
        let partitions = self.groups.partitions.number(&arrived.columns()[..self.groups.spec.partition], count)?;
        let times = arrived.column(keys).as_primitive::<Int64Type>().clone();
        let marks = arrived.column(keys + 3).as_primitive::<UInt8Type>().clone();
        let first = self.rows.add(arrived);
        let mut refused = Vec::new();
        for (at, partition) in partitions.into_iter().enumerate() {
            let (time, number) = (times.value(at), first + at as u32);
            if late && self.closed.get(&partition).is_some_and(|end| time <= *end) {
                refused.push(number);
            } else {
                self.put(partition, time, marks.value(at), number, touched);
            }
        }
        Ok(refused)
    }

    /// Puts one row where it belongs, and cuts and joins the sessions around it.
    fn put(&mut self, partition: u32, time: i64, mark: u8, row: u32, touched: &mut Touched) {
        let gap = self.groups.spec.gap_ns;
        let before = self.moments.range((partition, i64::MIN)..(partition, time)).next_back();
        let before = before.map(|((_, at), moment)| (*at, moment.ends() || self.closed_between(partition, *at, time)));
        let after = time.checked_add(1).and_then(|next| {
            let mut later = self.moments.range((partition, next)..=(partition, i64::MAX));
            later.next().map(|((_, at), moment)| (*at, moment.starts()))
        });
        let moment = self.moments.entry((partition, time)).or_default();
        if moment.rows.is_empty() {
            self.groups.partitions.hold(&[partition]);
        }
        moment.mark |= mark;
        moment.rows.push(row);
        let (starts, ends) = (moment.starts(), moment.ends());
        let begins = starts || before.is_none_or(|(at, ended)| ended || time.saturating_sub(at) > gap);

        if begins && !self.sessions.contains_key(&(partition, time)) {
            match before.and_then(|(at, _)| Some((self.session_at(partition, at)?, at))) {
                // Its later rows are of the session that begins here.
                Some((name, at)) if self.sessions[&name].last >= time => self.cut(name, at, time, touched),
                _ => drop(self.sessions.insert((partition, time), Session::new(time))),
            }
        }
        let Some(own) = self.session_at(partition, time) else { return };
        if let Some(session) = self.sessions.get_mut(&own) {
            session.last = session.last.max(time);
            session.new.push(row);
        }
        touched.sessions.insert(own);
        touched.moments.insert((partition, time));

        let Some((next, next_starts)) = after else { return };
        let next_begins = next_starts || ends || next.saturating_sub(time) > gap;
        match (self.sessions.contains_key(&(partition, next)), next_begins) {
            (true, false) => self.join(own, (partition, next), touched),
            (false, true) => self.cut(own, time, next, touched),
            _ => {}
        }
    }

    /// The session that the moment at `time` is of.
    fn session_at(&self, partition: u32, time: i64) -> Option<Name> {
        self.sessions.range((partition, i64::MIN)..=(partition, time)).next_back().map(|(name, _)| *name)
    }

    /// Cuts a session: `last` is its last moment from now on, and another one begins at `begin`.
    fn cut(&mut self, name: Name, last: i64, begin: i64, touched: &mut Touched) {
        let Some(session) = self.sessions.get_mut(&name) else { return };
        let rest = Session { anew: true, ..Session::new(session.last) };
        (session.last, session.anew) = (last, true);
        self.sessions.insert((name.0, begin), rest);
        touched.sessions.extend([name, (name.0, begin)]);
    }

    /// Lets a session take in the one behind it.
    fn join(&mut self, name: Name, behind: Name, touched: &mut Touched) {
        let Some(other) = self.sessions.remove(&behind) else { return };
        if let Some(end) = other.end {
            self.ends.remove(&(end, behind));
        }
        touched.sessions.remove(&behind);
        touched.gone.extend(other.groups);
        if let Some(session) = self.sessions.get_mut(&name) {
            (session.last, session.anew) = (other.last, true);
        }
    }

    /// Looks at when the touched sessions end now, and which of them are sessions at all.
    fn look_at_ends(&mut self, touched: &Touched) {
        for name in &touched.sessions {
            let Some(session) = self.sessions.get_mut(name) else { continue };
            let moment = |at: i64| self.moments.get(&(name.0, at));
            let end = match moment(session.last) {
                Some(last) if last.ends() => session.last,
                _ => session.last.saturating_add(self.groups.spec.gap_ns),
            };
            if let Some(before) = session.end.replace(end) {
                self.ends.remove(&(before, *name));
            }
            self.ends.insert((end, *name));
            let counts = self.groups.spec.start.is_none() || moment(name.1).is_some_and(Moment::starts);
            session.anew |= counts && !session.counts && session.known;
            session.counts = counts;
        }
    }

    fn is_final(&self, end: i64, watermark: Watermark) -> bool {
        watermark.closes(end.saturating_add(self.groups.spec.on_late.kept_ns()))
    }

    /// Takes out the sessions that were over before their rows came, as if these had not come; gives them.
    fn without_late(&mut self, before: Watermark, touched: &mut Touched) -> Vec<u32> {
        let is_late = |name: &&Name| {
            let Some(Session { last, end: Some(end), .. }) = self.sessions.get(*name) else { return false };
            let mut moments = self.moments.range(**name..=(name.0, *last));
            self.is_final(*end, before) && moments.all(|(_, moment)| !moment.known)
        };
        let over: Vec<Name> = touched.sessions.iter().filter(is_late).copied().collect();
        let mut late = Vec::new();
        for name in &over {
            touched.sessions.remove(name);
            late.extend(self.remove(*name).1);
        }
        for (partition, start) in over {
            // What began because of them may go on from what was before them.
            let next = self.sessions.range((partition, start)..=(partition, i64::MAX)).next().map(|(name, _)| *name);
            let Some((name, begins)) = next.map(|name| (name, self.begins(name))) else { continue };
            if let Some(own) = (!begins).then(|| self.session_before(name)).flatten() {
                self.join(own, name, touched);
                touched.sessions.insert(own);
            }
        }
        late
    }

    /// Whether a moment begins a session.
    fn begins(&self, (partition, time): (u32, i64)) -> bool {
        let before = self.moments.range((partition, i64::MIN)..(partition, time)).next_back();
        let starts = self.moments.get(&(partition, time)).is_some_and(Moment::starts);
        let apart =
            |at: i64| time.saturating_sub(at) > self.groups.spec.gap_ns || self.closed_between(partition, at, time);
        starts || before.is_none_or(|((_, at), moment)| moment.ends() || apart(*at))
    }

    /// Whether a row ended a session between two moments that is closed by now.
    fn closed_between(&self, partition: u32, before: i64, time: i64) -> bool {
        self.closed.get(&partition).is_some_and(|end| before <= *end && *end < time)
    }

    fn session_before(&self, (partition, start): Name) -> Option<Name> {
        self.sessions.range((partition, i64::MIN)..(partition, start)).next_back().map(|(name, _)| *name)
    }

    /// Takes a session out with its moments; gives it, and its rows.
    fn remove(&mut self, name: Name) -> (Option<Session>, Vec<u32>) {
        let Some(session) = self.sessions.remove(&name) else { return (None, Vec::new()) };
        if let Some(end) = session.end {
            self.ends.remove(&(end, name));
        }
        let times: Vec<i64> = self.moments.range(name..=(name.0, session.last)).map(|((_, time), _)| *time).collect();
        let moments = times.iter().filter_map(|time| self.moments.remove(&(name.0, *time)));
        let rows: Vec<u32> = moments.flat_map(|moment| moment.rows).collect();
        self.groups.partitions.release(&vec![name.0; times.len()]);
        self.rows.let_go(rows.len());
        (Some(session), rows)
    }

    /// Merges what came into the states of the touched sessions, and makes those anew that were cut or joined. Gives the
    /// groups that are no more.
    fn merge(&mut self, touched: &mut Touched) -> Result<Vec<u32>> {
        let mut gone = std::mem::take(&mut touched.gone);
        let (mut rows, mut starts, mut owners) = (Vec::new(), Vec::new(), Vec::new());
        for name in &touched.sessions {
            let Some(session) = self.sessions.get_mut(name) else { continue };
            let mut new = std::mem::take(&mut session.new);
            if session.anew || !session.counts {
                gone.append(&mut session.groups);
                new.clear();
            }
            if session.anew && session.counts {
                let moments = self.moments.range(*name..=(name.0, session.last));
                new.extend(moments.flat_map(|(_, moment)| moment.rows.iter().copied()));
            }
            (session.anew, session.known) = (false, true);
            owners.extend(std::iter::repeat_n(*name, new.len()));
            starts.extend(std::iter::repeat_n(name.1, new.len()));
            rows.extend(new);
        }
        for at in std::mem::take(&mut touched.moments) {
            self.moments.get_mut(&at).into_iter().for_each(|moment| moment.known = true);
        }
        self.groups.let_go(&gone);
        if rows.is_empty() {
            return Ok(gone);
        }
        let batch = self.rows.gather(&rows)?;
        let keys = self.key_columns();
        let mut names = batch.columns()[..keys].to_vec();
        names.push(Arc::new(Int64Array::from(starts)));
        let targets = self.groups.names.number(&names, rows.len())?;
        let distinct = number_groups(&targets).0;
        let new: BTreeSet<u32> =
            distinct.iter().copied().filter(|number| !self.groups.held.contains(*number)).collect();
        self.groups.names.hold(&new.iter().copied().collect::<Vec<_>>());
        let mut known = self.groups.held.part_of(&distinct)?;
        known.states.remove(0);
        let merged = match self.groups.spec.aggregates.is_empty() {
            true => Part { numbers: distinct, states: Vec::new() },
            false => {
                let came = Part { numbers: targets.clone(), states: batch.columns()[keys + 4..].to_vec() };
                self.groups.states.merge_states(vec![known, came])?
            }
        };
        let nothing: ArrayRef = Arc::new(Int64Array::from(vec![0; merged.numbers.len()]));
        self.groups.held.put(Part { numbers: merged.numbers, states: [vec![nothing], merged.states].concat() })?;
        let mut placed = BTreeSet::new();
        for (target, owner) in targets.into_iter().zip(owners) {
            if new.contains(&target)
                && placed.insert(target)
                && let Some(session) = self.sessions.get_mut(&owner)
            {
                session.groups.push(target);
            }
        }
        gone.retain(|group| !placed.contains(group));
        Ok(gone)
    }

    /// Rows as they came, without the marks.
    fn put_aside(&self, rows: &[u32], output: &mut Output) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let whole = self.rows.gather(rows)?.column(self.key_columns() + 2).clone();
        let whole = RecordBatch::try_new(self.groups.spec.input.schema(), whole.as_struct().columns().to_vec())?;
        let marks = [self.groups.spec.start, self.groups.spec.end];
        let shown: Vec<usize> = (0..whole.num_columns()).filter(|at| !marks.contains(&Some(*at))).collect();
        output.late.push(whole.project(&shown)?);
        Ok(())
    }

    /// Says the final results of the sessions that are over, puts aside what was in none, and forgets both.
    fn close(&mut self, now: Watermark, output: &mut Output) -> Result<()> {
        let over = self.ends.iter().take_while(|(end, _)| self.is_final(*end, now));
        let names: Vec<Name> = over.map(|(_, name)| *name).collect();
        self.groups.close(ended(&self.sessions, names.iter()), output)?;
        let mut outside = Vec::new();
        for name in &names {
            let ended = self.sessions.get(name).and_then(|session| {
                let last = self.moments.get(&(name.0, session.last))?;
                last.ends().then_some(session.last)
            });
            ended.into_iter().for_each(|end| self.note_closed(name.0, end));
            let (session, rows) = self.remove(*name);
            if session.is_some_and(|session| !session.counts) {
                outside.extend(rows);
            }
        }
        self.put_aside(&outside, output)?;
        // Behind the end of a session that a row ended nothing can be taken for a part of it once it is late by itself.
        while let Some((end, partition)) = self.closed_in_order.first().copied() {
            if !self.is_final(end.saturating_add(self.groups.spec.gap_ns), now) {
                break;
            }
            self.closed_in_order.remove(&(end, partition));
            self.closed.remove(&partition);
            self.groups.partitions.release(&[partition]);
            self.ids[1] = fresh_id();
        }
        if !names.is_empty() {
            self.ids[0] = fresh_id();
        }
        self.forget()
    }

    fn note_closed(&mut self, partition: u32, end: i64) {
        let before = self.closed.get(&partition).copied();
        match before {
            Some(before) => {
                self.closed_in_order.remove(&(before, partition));
            }
            None => self.groups.partitions.hold(&[partition]),
        }
        let end = before.map_or(end, |before| before.max(end));
        self.closed.insert(partition, end);
        self.closed_in_order.insert((end, partition));
        self.ids[1] = fresh_id();
    }

    /// Forgets the names of what is gone.
    fn forget(&mut self) -> Result<()> {
        if let Some(renamed) = self.groups.compact()? {
            for group in self.sessions.values_mut().flat_map(|session| &mut session.groups) {
                *group = renamed[*group as usize].unwrap_or(*group);
            }
        }
        if let Some(renamed) = self.groups.partitions.compact()? {
            let new = |(partition, at): (u32, i64)| Some((renamed[partition as usize]?, at));
            let sessions = std::mem::take(&mut self.sessions);
            self.sessions = sessions.into_iter().filter_map(|(name, session)| Some((new(name)?, session))).collect();
            let moments = std::mem::take(&mut self.moments);
            self.moments = moments.into_iter().filter_map(|(at, moment)| Some((new(at)?, moment))).collect();
            let ends = std::mem::take(&mut self.ends);
            self.ends = ends.into_iter().filter_map(|(end, name)| Some((end, new(name)?))).collect();
            let closed = std::mem::take(&mut self.closed);
            self.closed = closed.into_iter().filter_map(|(p, end)| Some((renamed[p as usize]?, end))).collect();
            self.closed_in_order = self.closed.iter().map(|(partition, end)| (*end, *partition)).collect();
        }
        self.rows.compact(self.moments.values_mut().flat_map(|moment| &mut moment.rows))
    }

    fn closed_rows(&self) -> Result<RecordBatch> {
        let partitions: Vec<u32> = self.closed.keys().copied().collect();
        let mut columns = self.groups.partitions.values(&partitions)?;
        columns.push(Arc::new(Int64Array::from_iter_values(self.closed.values().copied())));
        unnamed(columns, partitions.len())
    }
}

impl Operator for CutSessions {
    fn process(&mut self, _epoch: Epoch, rows: Rows, _output: &mut Output) -> Result<()> {
        self.arrived.extend(rows.into_batch().map(|batch| batch.rows));
        Ok(())
    }

    fn finish_epoch(&mut self, _epoch: Epoch, times: Times, output: &mut Output) -> Result<()> {
        let (mut touched, mut late) = (Touched::default(), Vec::new());
        for arrived in std::mem::take(&mut self.arrived) {
            self.ids[0] = fresh_id();
            let refused = self.take_in(arrived, true, &mut touched)?;
            self.rows.let_go(refused.len());
            late.extend(refused);
        }
        self.look_at_ends(&touched);
        late.extend(self.without_late(times.before, &mut touched));
        self.look_at_ends(&touched);
        self.put_aside(&late, output)?;
        if !touched.sessions.is_empty() || !touched.gone.is_empty() {
            let gone = self.merge(&mut touched)?;
            self.groups.revise(ended(&self.sessions, touched.sessions.iter()), &gone, output)?;
        }
        self.close(times.now, output)
    }

    fn snapshot(&mut self) -> Result<Vec<Section>> {
        let all: Vec<u32> = self.moments.values().flat_map(|moment| moment.rows.iter().copied()).collect();
        let rows = match all.is_empty() {
            true => None,
            false => Some(self.rows.gather(&all)?),
        };
        let mut sections = self.groups.said()?;
        let closed = self.closed_rows()?;
        let section = |label: &str, id, rows: RecordBatch| Section {
            label: label.to_string(),
            id,
            keys: 0,
            rows: Box::new(move || Ok(rows)),
        };
        sections.extend(rows.map(|rows| section("rows", self.ids[0], rows)));
        sections.push(section("closed", self.ids[1], closed));
        Ok(sections.into_iter().map(|section| Section { keys: self.groups.spec.partition, ..section }).collect())
    }

    fn restore(&mut self, sections: Vec<Restored>, _watermark: Watermark) -> Result<()> {
        let mut touched = Touched::default();
        let mut sections: Vec<Restored> = sections.into_iter().filter(|section| section.rows.num_rows() > 0).collect();
        // What is closed keeps rows apart.
        sections.sort_by_key(|section| section.label != "closed");
        for Restored { label, rows } in sections {
            match label.as_str() {
                "rows" => drop(self.take_in(rows, false, &mut touched)?),
                "result" => self.groups.restore_said(&rows)?,
                "closed" => {
                    let (columns, ends) = rows.columns().split_at(self.groups.spec.partition);
                    let partitions = self.groups.partitions.number(columns, rows.num_rows())?;
                    let ends = ends[0].as_primitive::<Int64Type>();
                    partitions.into_iter().zip(ends.values()).for_each(|(p, end)| self.note_closed(p, *end));
                }
                _ => return Err(Restored { label, rows }.unknown()),
            }
        }
        self.look_at_ends(&touched);
        self.merge(&mut touched).map(drop)
    }

    fn state(&self) -> StateSize {
        let moments = self.moments.len() * size_of::<((u32, i64), Moment)>();
        let sessions = self.sessions.len() * 2 * size_of::<(Name, Session)>();
        let bytes = self.rows.size() + self.groups.size() + moments + sessions;
        StateSize { rows: self.rows.len() as u64, bytes: bytes as u64 }
    }
}

/// Sessions by their ends and groups.
fn ended<'a>(
    sessions: &'a BTreeMap<Name, Session>,
    names: impl Iterator<Item = &'a Name> + Clone,
) -> impl Iterator<Item = (i64, &'a [u32])> + Clone {
    let sessions = names.filter_map(|name| sessions.get(name));
    sessions.map(|session| (session.end.unwrap_or(session.last), session.groups.as_slice()))
}
