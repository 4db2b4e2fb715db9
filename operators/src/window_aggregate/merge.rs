//! The second phase: states by slice and key on the key's owner, and the windows made of them.

use super::slide::{Slices, WindowResults};
use super::{OnLate, WindowAggregateSpec};
use crate::aggregate::emitted::Emitted;
use crate::aggregate::keyed::{KeyedRows, Keys};
use crate::aggregate::table::Grouping;
use crate::aggregate::{Merger, Part, States, number_groups};
use crate::event_time::timestamps;
use crate::operator::{CHANGES, FINALS, Operator, Output, StateSize, Times};
use crate::rows::Rows;
use crate::state::{Restored, Section, fresh_id, unnamed};
use crate::window::Window;
use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, Watermark};
use thalweg_schemas::error::Result;

/// Merges partial states and makes windows of them. Port 0: every change; port 1: results of closed windows.
///
/// With [`OnLate::Revise`] a window is final when it can no longer be revised.
pub struct MergeAggregate {
    window: Window,
    on_late: OnLate,
    schema: SchemaRef,
    states: States,
    emit_changes: bool,
    emit_finals: bool,
    keys: Keys,
    key_columns: usize,
    pub(super) slices: BTreeMap<i64, KeyedRows>,
    /// The windows that have rows and are not final, by their end; with what was said of them.
    pub(super) windows: BTreeMap<i64, Emitted>,
    /// Partial states that came and are not in `slices` yet, by slice: those of the current epoch; those of earlier
    /// ones too where nobody asks for the states of a window before it closes.
    pub(super) pending: BTreeMap<i64, Merger>,
    /// The slices that something came for in the current epoch.
    arrived: BTreeSet<i64>,
}

impl MergeAggregate {
    /// The second phase of what `spec` asks for, with the streams that somebody reads.
    pub fn new(spec: &WindowAggregateSpec, emit_changes: bool, emit_finals: bool) -> Result<MergeAggregate> {
        let grouping = Grouping::new(&spec.keys, &spec.aggregates, &spec.input.schema())?;
        Ok(MergeAggregate {
            window: spec.window,
            on_late: spec.on_late,
            schema: spec.schema.clone(),
            states: grouping.states.clone(),
            emit_changes,
            emit_finals,
            key_columns: grouping.keys(),
            keys: Keys::new(grouping)?,
            slices: BTreeMap::new(),
            windows: BTreeMap::new(),
            pending: BTreeMap::new(),
            arrived: BTreeSet::new(),
        })
    }

    fn result_types(&self) -> Vec<DataType> {
        self.schema.fields()[2 + self.key_columns..].iter().map(|field| field.data_type().clone()).collect()
    }

    /// Whether a window that ends at `end` can change no more as of `watermark`.
    fn is_final(&self, end: i64, watermark: Watermark) -> bool {
        watermark.closes(end.saturating_add(self.on_late.kept_ns()))
    }

    /// Takes in partial states of one slice.
    fn add(&mut self, slice: i64, partials: &[ArrayRef], rows: usize) -> Result<()> {
        let (keys, states) = partials.split_at(self.key_columns);
        let numbers = self.keys.number(keys, rows)?;
        let pending = match self.pending.entry(slice) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(self.states.merger(rows)?),
        };
        self.keys.hold(pending.add(&numbers, states)?);
        self.arrived.insert(slice);
        Ok(())
    }

    /// Merges what is pending for one slice into its states; gives the keys that changed.
    fn settle(&mut self, slice: i64) -> Result<Vec<u32>> {
        let Some(pending) = self.pending.remove(&slice) else { return Ok(Vec::new()) };
        let types = self.states.types()?;
        let held = self.slices.entry(slice).or_insert_with(|| KeyedRows::new(types));
        let known = held.part_of(pending.numbers())?;
        // They are held for what was pending and for what was there.
        self.keys.release(&known.numbers);
        let merged = self.states.merge_states(vec![known, pending.into_part()?])?;
        let changed = merged.numbers.clone();
        held.put(merged)?;
        Ok(changed)
    }

    fn slices(&self) -> Slices<'_> {
        Slices { window: self.window, states: &self.states, slices: &self.slices }
    }

    /// The columns before the results: the window's bounds and the keys.
    fn leading_columns(&self, end: i64, numbers: &[u32]) -> Result<Vec<ArrayRef>> {
        let start = self.window.start_of(end);
        let mut columns = vec![
            timestamps(vec![start; numbers.len()], self.schema.field(0).data_type())?,
            timestamps(vec![end; numbers.len()], self.schema.field(1).data_type())?,
        ];
        columns.extend(self.keys.values(numbers)?);
        Ok(columns)
    }

    /// Says what changed, given the keys that changed in each window.
    fn revise(&mut self, changed: BTreeMap<i64, Vec<u32>>, output: &mut Output) -> Result<()> {
        let windows = if self.window.is_one_slice() {
            let each = changed.iter().map(|(end, numbers)| self.slices().results(&[*end], |s| s.part_of(numbers)));
            each.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect()
        } else {
            let ends: Vec<i64> = changed.keys().copied().collect();
            let numbers = number_groups(&changed.into_values().flatten().collect::<Vec<_>>()).0;
            self.slices().results(&ends, |slice| slice.part_of(&numbers))?
        };
        for WindowResults { end, numbers, results } in windows {
            let Some(emitted) = self.windows.get_mut(&end) else { continue };
            let change = emitted.replace(numbers, results)?;
            if let Some(batch) = change.into_batch(&self.schema, |numbers| self.leading_columns(end, numbers))? {
                output.send(CHANGES, Rows::unbounded(batch));
            }
        }
        Ok(())
    }

    /// Says the final results of the windows that end at `ends`, and forgets them.
    fn close(&mut self, ends: &[i64], output: &mut Output) -> Result<()> {
        let mut windows = Vec::new();
        if self.emit_finals && !self.emit_changes {
            windows = self.final_results(ends)?;
        }
        for &end in ends {
            let Some(emitted) = self.windows.remove(&end) else { continue };
            if self.emit_finals && self.emit_changes {
                let Part { numbers, states: results } = emitted.rows().all()?;
                windows.push(WindowResults { end, numbers, results });
            }
        }
        for WindowResults { end, numbers, results } in windows {
            let mut columns = self.leading_columns(end, &numbers)?;
            columns.extend(results);
            let rows = RecordBatch::try_new(self.schema.clone(), columns)?;
            output.send(FINALS, Rows::unbounded(Batch::append(rows)));
        }
        if !self.window.start_names_window() {
            ends.iter().try_for_each(|end| self.fold(*end))?;
        }
        Ok(())
    }

    /// Puts the slices of a closed window together, where all later windows that hold one of them hold them all: so
    /// the next window is made of two slices, however many there were before.
    fn fold(&mut self, end: i64) -> Result<()> {
        let start = self.window.start_of(end);
        let slices: Vec<i64> = self.slices.range(start..end).map(|(slice, _)| *slice).collect();
        if slices.len() < 2 {
            return Ok(());
        }
        let folded: Vec<KeyedRows> = slices.iter().filter_map(|slice| self.slices.remove(slice)).collect();
        let parts = folded.iter().map(KeyedRows::all).collect::<Result<Vec<_>>>()?;
        let merged = self.states.merge_states(parts)?;
        self.keys.hold(&merged.numbers);
        folded.iter().for_each(|held| self.keys.release(&held.numbers().collect::<Vec<_>>()));
        let mut together = KeyedRows::new(self.states.types()?);
        together.put(merged)?;
        self.slices.insert(start, together);
        Ok(())
    }

    /// The results of windows whose results nobody has asked for before.
    fn final_results(&mut self, ends: &[i64]) -> Result<Vec<WindowResults>> {
        let mut windows = Vec::new();
        for &end in ends {
            // A window of one slice that nobody has looked at is evaluated as it was merged.
            let start = self.window.start_of(end);
            if self.window.is_one_slice() && !self.slices.contains_key(&start) {
                let Some(pending) = self.pending.remove(&start) else { continue };
                let Part { numbers, states: results } = pending.results()?;
                self.keys.release(&numbers);
                windows.push(WindowResults { end, numbers, results });
                continue;
            }
            let slices = self.pending.range(start..end);
            for slice in slices.map(|(slice, _)| *slice).collect::<Vec<_>>() {
                self.settle(slice)?;
            }
        }
        windows.extend(self.slices().results(ends, KeyedRows::all)?);
        Ok(windows)
    }

    /// Forgets slices that no window needs, and keys that no slice needs.
    fn forget(&mut self, watermark: Watermark) -> Result<()> {
        let first = |merge: &MergeAggregate| {
            let firsts = [merge.slices.keys().next(), merge.pending.keys().next()];
            firsts.into_iter().flatten().min().copied()
        };
        while let Some(slice) = first(self) {
            if !self.is_final(self.window.last_end_of(slice), watermark) {
                break;
            }
            if let Some(held) = self.slices.remove(&slice) {
                self.keys.release(&held.numbers().collect::<Vec<_>>());
            }
            if let Some(pending) = self.pending.remove(&slice) {
                self.keys.release(pending.numbers());
            }
        }
        if let Some(renamed) = self.keys.compact()? {
            self.slices.values_mut().for_each(|held| held.rename(&renamed));
            self.pending.values_mut().for_each(|pending| pending.rename(&renamed));
            self.windows.values_mut().for_each(|emitted| emitted.rename(&renamed));
        }
        Ok(())
    }
}

impl Operator for MergeAggregate {
    fn process(&mut self, _epoch: Epoch, rows: Rows, _output: &mut Output) -> Result<()> {
        let Some(batch) = rows.into_batch() else { return Ok(()) };
        let slices = batch.rows.column(0).as_primitive::<Int64Type>().clone();
        // A worker's batch is of one slice; only batches that were put together on the way are of several.
        if let Some((&slice, others)) = slices.values().split_first()
            && others.iter().all(|other| *other == slice)
        {
            return self.add(slice, &batch.rows.columns()[1..], batch.num_rows());
        }
        let mut rest: Vec<u64> = (0..batch.num_rows() as u64).collect();
        while let Some(&first) = rest.first() {
            let slice = slices.value(first as usize);
            let (own, others): (Vec<u64>, Vec<u64>) =
                rest.iter().partition(|&&row| slices.value(row as usize) == slice);
            let own = UInt64Array::from(own);
            let part = batch.rows.columns()[1..].iter().map(|c| take(c, &own, None)).collect::<Result<Vec<_>, _>>()?;
            self.add(slice, &part, own.len())?;
            rest = others;
        }
        Ok(())
    }

    fn finish_epoch(&mut self, _epoch: Epoch, times: Times, output: &mut Output) -> Result<()> {
        let mut changed: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
        for slice in std::mem::take(&mut self.arrived) {
            let numbers = if self.emit_changes { self.settle(slice)? } else { Vec::new() };
            for end in self.window.windows_of(slice).collect::<Vec<_>>() {
                // A window that closed earlier has been told; the slice may still count in later ones.
                if self.is_final(end, times.before) {
                    continue;
                }
                let types = self.result_types();
                self.windows.entry(end).or_insert_with(|| Emitted::new(types));
                if self.emit_changes {
                    changed.entry(end).or_default().extend_from_slice(&numbers);
                }
            }
        }
        self.revise(changed, output)?;
        let closing: Vec<i64> = self.windows.keys().copied().take_while(|end| self.is_final(*end, times.now)).collect();
        self.close(&closing, output)?;
        self.forget(times.now)
    }

    fn snapshot(&mut self) -> Result<Vec<Section>> {
        for slice in self.pending.keys().copied().collect::<Vec<_>>() {
            self.settle(slice)?;
        }
        let mut sections = Vec::new();
        for (slice, held) in &mut self.slices {
            sections.extend(self.keys.sections(&format!("slice:{slice}"), held)?);
        }
        for (end, emitted) in &mut self.windows {
            let label = format!("until:{end}");
            // A window is there before anything was said of it.
            let none = Box::new(|| unnamed(Vec::new(), 0));
            sections.push(Section { label: label.clone(), id: fresh_id(), keys: 0, rows: none });
            sections.extend(self.keys.sections(&label, emitted.rows_mut())?);
        }
        Ok(sections)
    }

    fn restore(&mut self, sections: Vec<Restored>, _watermark: Watermark) -> Result<()> {
        for section in sections {
            if section.label.starts_with("slice:") {
                let types = self.states.types()?;
                let held = self.slices.entry(section.number_after("slice")?).or_insert_with(|| KeyedRows::new(types));
                let new = self.keys.restore(&section.rows, held)?;
                self.keys.hold(&new);
            } else {
                let types = self.result_types();
                let end = section.number_after("until")?;
                let emitted = self.windows.entry(end).or_insert_with(|| Emitted::new(types));
                self.keys.restore(&section.rows, emitted.rows_mut())?;
            }
        }
        Ok(())
    }

    fn state(&self) -> StateSize {
        let slices = self.slices.values().map(KeyedRows::size).sum::<usize>();
        let pending = self.pending.values().map(Merger::size).sum::<usize>();
        let windows = self.windows.values().map(|emitted| emitted.rows().size()).sum::<usize>();
        StateSize { rows: self.keys.len() as u64, bytes: (slices + pending + windows + self.keys.size()) as u64 }
    }
}
