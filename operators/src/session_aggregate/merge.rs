//! The second phase: the sessions of each partition on its owner, and the states of the groups in them.
//!
//! Where a session begins earlier than it did, its groups have other names: their states move, and what was said of the old
//! ones is taken back.

use super::SessionAggregateSpec;
use super::groups::{Groups, Name};
use crate::aggregate::{Part, number_groups};
use crate::operator::{Operator, Output, StateSize, Times};
use crate::rows::Rows;
use crate::state::{Restored, Section};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt64Array};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::Int64Type;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use thalweg_schemas::epoch::{Epoch, Watermark};
use thalweg_schemas::error::{Error, Result};

/// Keeps the sessions that are not final. Port 0: every change; port 1: results of closed sessions.
pub struct MergeSessions {
    /// Before the states of a group the time of its last row is held.
    groups: Groups,
    pub(super) sessions: BTreeMap<Name, Session>,
    /// The sessions in the order in which they end.
    ends: BTreeSet<(i64, Name)>,
    arrived: Vec<RecordBatch>,
}

#[derive(Default)]
pub(super) struct Session {
    last: i64,
    /// Its groups, as of the epoch before.
    groups: Vec<u32>,
    /// What it was made of in this epoch: starts and groups of sessions that were there, and rows that came.
    absorbed: Vec<(i64, Vec<u32>)>,
    rows: Vec<u64>,
}

/// The groups of the sessions that something came for, and what becomes of them.
#[derive(Default)]
struct Touched {
    sessions: Vec<Name>,
    /// Rows that came, and the start of the session of each.
    rows: Vec<u64>,
    row_starts: Vec<i64>,
    /// Groups whose session begins elsewhere now, and where.
    moved: Vec<u32>,
    moved_starts: Vec<i64>,
    /// For each of `rows`, then of `moved`, its session's position in `sessions`.
    owners: Vec<usize>,
}

impl MergeSessions {
    /// The second phase of what `spec` asks for, with the streams that somebody reads.
    pub fn new(spec: &SessionAggregateSpec, emit_changes: bool, emit_finals: bool) -> Result<MergeSessions> {
        let groups = Groups::new(spec, emit_changes, emit_finals)?;
        Ok(MergeSessions { groups, sessions: BTreeMap::new(), ends: BTreeSet::new(), arrived: Vec::new() })
    }

    fn key_columns(&self) -> usize {
        self.groups.spec.keys.len()
    }

    fn is_final(&self, last: i64, watermark: Watermark) -> bool {
        watermark.closes(self.groups.spec.kept_until(last))
    }

    /// Lets each row that came join the sessions that it reaches; gives the sessions that something came for.
    fn join(&mut self, arrived: &RecordBatch) -> Result<BTreeSet<Name>> {
        let keys = self.key_columns();
        let partitions =
            self.groups.partitions.number(&arrived.columns()[..self.groups.spec.partition], arrived.num_rows())?;
        let (first, last) = (arrived.column(keys), arrived.column(keys + 1));
        let (first, last) = (first.as_primitive::<Int64Type>(), last.as_primitive::<Int64Type>());
        let mut touched = BTreeSet::new();
        for (row, partition) in partitions.into_iter().enumerate() {
            let mut start = first.value(row);
            let mut session = Session { last: last.value(row), rows: vec![row as u64], ..Session::default() };
            // Sessions lie apart: those that are reached are neighbours, and the last of them is met first.
            while let Some(name) = self.reached(partition, start, session.last) {
                let Some(other) = self.sessions.remove(&name) else { break };
                self.ends.remove(&(other.last, name));
                self.groups.partitions.release(&[partition]);
                touched.remove(&name);
                start = start.min(name.1);
                session.absorb(name.1, other);
            }
            self.ends.insert((session.last, (partition, start)));
            self.groups.partitions.hold(&[partition]);
            self.sessions.insert((partition, start), session);
            touched.insert((partition, start));
        }
        Ok(touched)
    }

    /// The last session of `partition` that rows from `first` to `last` reach.
    fn reached(&self, partition: u32, first: i64, last: i64) -> Option<Name> {
        let begun =
            self.sessions.range((partition, i64::MIN)..=(partition, last.saturating_add(self.groups.spec.gap_ns)));
        let (name, session) = begun.into_iter().next_back()?;
        (session.last.saturating_add(self.groups.spec.gap_ns) >= first).then_some(*name)
    }

    /// Takes out the sessions that were over before their rows came, and puts these rows aside.
    fn without_late(
        &mut self,
        touched: BTreeSet<Name>,
        before: Watermark,
        arrived: &RecordBatch,
        output: &mut Output,
    ) -> Result<Touched> {
        let (mut kept, mut late) = (Touched::default(), Vec::new());
        for name in touched {
            let Some(session) = self.sessions.get_mut(&name) else { continue };
            let (last, is_new) = (session.last, session.absorbed.is_empty());
            let rows = std::mem::take(&mut session.rows);
            if is_new && self.is_final(last, before) {
                late.extend(rows);
                self.remove(name);
                continue;
            }
            let owner = kept.sessions.len();
            kept.sessions.push(name);
            kept.owners.extend(std::iter::repeat_n(owner, rows.len()));
            kept.row_starts.extend(std::iter::repeat_n(name.1, rows.len()));
            kept.rows.extend(rows);
        }
        for (owner, name) in kept.sessions.iter().enumerate() {
            let Some(session) = self.sessions.get_mut(name) else { continue };
            for (start, groups) in std::mem::take(&mut session.absorbed) {
                if start == name.1 {
                    session.groups.extend(groups);
                } else {
                    kept.owners.extend(std::iter::repeat_n(owner, groups.len()));
                    kept.moved_starts.extend(std::iter::repeat_n(name.1, groups.len()));
                    kept.moved.extend(groups);
                }
            }
        }
        if !late.is_empty() {
            output.late.push(self.whole_rows(arrived, late)?);
        }
        Ok(kept)
    }

    /// The rows that travelled as they are.
    fn whole_rows(&self, arrived: &RecordBatch, late: Vec<u64>) -> Result<RecordBatch> {
        let rows = take(arrived.column(self.key_columns() + 2), &UInt64Array::from(late), None)?;
        if rows.null_count() > 0 {
            return Err(Error::bug("a row is late that its reader took for one in time"));
        }
        Ok(RecordBatch::try_new(self.groups.spec.input.schema(), rows.as_struct().columns().to_vec())?)
    }

    fn remove(&mut self, name: Name) {
        if let Some(session) = self.sessions.remove(&name) {
            self.ends.remove(&(session.last, name));
            self.groups.partitions.release(&[name.0]);
        }
    }

    /// Merges what came and what moved into the groups of the touched sessions.
    fn merge(&mut self, touched: &Touched, arrived: &RecordBatch) -> Result<()> {
        let rows = UInt64Array::from(touched.rows.clone());
        let pick = |column: &ArrayRef| take(column, &rows, None);
        let mut names = arrived.columns()[..self.key_columns()].iter().map(pick).collect::<Result<Vec<_>, _>>()?;
        names.push(Arc::new(Int64Array::from(touched.row_starts.clone())));
        let mut targets = self.groups.names.number(&names, touched.rows.len())?;
        let lasts = pick(arrived.column(self.key_columns() + 1))?;
        let states = arrived.columns()[self.key_columns() + 3..].iter().map(pick).collect::<Result<Vec<_>, _>>()?;
        let mut parts = vec![Part { numbers: targets.clone(), states: [vec![lasts], states].concat() }];

        if !touched.moved.is_empty() {
            let mut names = self.groups.names.values(&touched.moved)?;
            names.pop();
            names.push(Arc::new(Int64Array::from(touched.moved_starts.clone())));
            let numbers = self.groups.names.number(&names, touched.moved.len())?;
            targets.extend(&numbers);
            parts.push(Part { numbers, states: self.groups.held.part_of(&touched.moved)?.states });
            self.groups.let_go(&touched.moved);
        }
        let distinct = number_groups(&targets).0;
        let known = self.groups.held.part_of(&distinct)?;
        let new: Vec<u32> = distinct.iter().copied().filter(|number| !self.groups.held.contains(*number)).collect();
        self.groups.names.hold(&new);
        parts.push(known);
        let together = self.together(parts)?;
        self.groups.held.put(together)?;

        let is_new: BTreeSet<u32> = new.into_iter().collect();
        let mut placed = BTreeSet::new();
        for (target, owner) in targets.into_iter().zip(&touched.owners) {
            if is_new.contains(&target)
                && placed.insert(target)
                && let Some(session) = self.sessions.get_mut(&touched.sessions[*owner])
            {
                session.groups.push(target);
            }
        }
        Ok(())
    }

    /// The last times and the states of `parts`, group by group.
    fn together(&self, parts: Vec<Part>) -> Result<Part> {
        let mut lasts: BTreeMap<u32, i64> = BTreeMap::new();
        for part in &parts {
            for (number, last) in part.numbers.iter().zip(part.states[0].as_primitive::<Int64Type>().values()) {
                lasts.entry(*number).and_modify(|known| *known = (*known).max(*last)).or_insert(*last);
            }
        }
        let only_states = |part: Part| Part { numbers: part.numbers, states: part.states[1..].to_vec() };
        let merged = if self.groups.spec.aggregates.is_empty() {
            Part { numbers: lasts.keys().copied().collect(), states: Vec::new() }
        } else {
            self.groups.states.merge_states(parts.into_iter().map(only_states).collect())?
        };
        let lasts = Int64Array::from_iter_values(merged.numbers.iter().map(|number| lasts[number]));
        Ok(Part { numbers: merged.numbers, states: [vec![Arc::new(lasts) as ArrayRef], merged.states].concat() })
    }

    /// Says the final results of the sessions that are over, and forgets them.
    fn close(&mut self, now: Watermark, output: &mut Output) -> Result<()> {
        let over = self.ends.iter().take_while(|(last, _)| self.is_final(*last, now));
        let names: Vec<Name> = over.map(|(_, name)| *name).collect();
        if names.is_empty() {
            return Ok(());
        }
        self.groups.close(ended(&self.sessions, self.groups.spec.gap_ns, &names), output)?;
        names.into_iter().for_each(|name| self.remove(name));
        self.forget()
    }

    /// Forgets the names of what is gone.
    fn forget(&mut self) -> Result<()> {
        if let Some(renamed) = self.groups.compact()? {
            for group in self.sessions.values_mut().flat_map(|session| &mut session.groups) {
                *group = renamed[*group as usize].ok_or_else(|| Error::bug("a group of an open session is held"))?;
            }
        }
        if let Some(renamed) = self.groups.partitions.compact()? {
            let new = |(partition, start): Name| Some((renamed[partition as usize]?, start));
            let sessions = std::mem::take(&mut self.sessions);
            self.sessions = sessions.into_iter().filter_map(|(name, session)| Some((new(name)?, session))).collect();
            let ends = std::mem::take(&mut self.ends);
            self.ends = ends.into_iter().filter_map(|(last, name)| Some((last, new(name)?))).collect();
        }
        Ok(())
    }

    /// Puts the groups of a checkpoint into their sessions.
    fn restore_groups(&mut self, rows: &RecordBatch) -> Result<()> {
        let keys = self.key_columns();
        let new: BTreeSet<u32> = self.groups.names.restore(rows, &mut self.groups.held)?.into_iter().collect();
        self.groups.names.hold(&new.iter().copied().collect::<Vec<_>>());
        let numbers = self.groups.names.number(&rows.columns()[..=keys], rows.num_rows())?;
        let partitions =
            self.groups.partitions.number(&rows.columns()[..self.groups.spec.partition], rows.num_rows())?;
        let starts = rows.column(keys).as_primitive::<Int64Type>();
        let lasts = rows.column(keys + 1).as_primitive::<Int64Type>();
        let mut placed = BTreeSet::new();
        for (row, partition) in partitions.into_iter().enumerate() {
            let name = (partition, starts.value(row));
            if !self.sessions.contains_key(&name) {
                self.groups.partitions.hold(&[partition]);
            }
            let session = self.sessions.entry(name).or_insert(Session { last: i64::MIN, ..Session::default() });
            self.ends.remove(&(session.last, name));
            session.last = session.last.max(lasts.value(row));
            self.ends.insert((session.last, name));
            if new.contains(&numbers[row]) && placed.insert(numbers[row]) {
                session.groups.push(numbers[row]);
            }
        }
        Ok(())
    }
}

/// Sessions by their ends and groups.
fn ended<'a>(
    sessions: &'a BTreeMap<Name, Session>,
    gap_ns: i64,
    names: &'a [Name],
) -> impl Iterator<Item = (i64, &'a [u32])> + Clone {
    let sessions = names.iter().filter_map(|name| sessions.get(name));
    sessions.map(move |session| (session.last.saturating_add(gap_ns), session.groups.as_slice()))
}

impl Session {
    /// Takes in what `other`, which begins at `start`, was made of.
    fn absorb(&mut self, start: i64, mut other: Session) {
        self.last = self.last.max(other.last);
        if other.rows.len() > self.rows.len() {
            std::mem::swap(&mut self.rows, &mut other.rows);
        }
        self.rows.append(&mut other.rows);
        self.absorbed.append(&mut other.absorbed);
        if !other.groups.is_empty() {
            self.absorbed.push((start, other.groups));
        }
    }
}

impl Operator for MergeSessions {
    fn process(&mut self, _epoch: Epoch, rows: Rows, _output: &mut Output) -> Result<()> {
        self.arrived.extend(rows.into_batch().map(|batch| batch.rows));
        Ok(())
    }

    fn finish_epoch(&mut self, _epoch: Epoch, times: Times, output: &mut Output) -> Result<()> {
        let arrived = std::mem::take(&mut self.arrived);
        if let Some(first) = arrived.first() {
            let arrived = concat_batches(&first.schema(), &arrived)?;
            let touched = self.join(&arrived)?;
            let touched = self.without_late(touched, times.before, &arrived, output)?;
            if !touched.sessions.is_empty() {
                self.merge(&touched, &arrived)?;
                let sessions = ended(&self.sessions, self.groups.spec.gap_ns, &touched.sessions);
                self.groups.revise(sessions, &touched.moved, output)?;
            }
        }
        self.close(times.now, output)
    }

    fn snapshot(&mut self) -> Result<Vec<Section>> {
        let mut sections = self.groups.names.sections("state", &mut self.groups.held)?;
        sections.extend(self.groups.said()?);
        Ok(sections.into_iter().map(|section| Section { keys: self.groups.spec.partition, ..section }).collect())
    }

    fn restore(&mut self, sections: Vec<Restored>, _watermark: Watermark) -> Result<()> {
        for section in sections.iter().filter(|section| section.rows.num_rows() > 0) {
            match section.label.as_str() {
                "state" => self.restore_groups(&section.rows)?,
                "result" => self.groups.restore_said(&section.rows)?,
                _ => return Err(section.unknown()),
            }
        }
        Ok(())
    }

    fn state(&self) -> StateSize {
        let bytes = self.groups.size() + self.sessions.len() * 2 * size_of::<(Name, Session)>();
        StateSize { rows: self.groups.held.len() as u64, bytes: bytes as u64 }
    }
}
