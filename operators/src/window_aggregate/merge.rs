//! The second phase: states by slice and key on the key's owner, and the windows made of them.

use super::slide::{Slices, WindowResults};
use super::{OnLate, WindowAggregateSpec};
use crate::aggregate::emitted::Emitted;
use crate::aggregate::keyed::{KeyedRows, Keys};
use crate::aggregate::table::Grouping;
use crate::aggregate::{Part, States, number_groups};
use crate::event_time::timestamps;
use crate::operator::{Operator, Output, StateSize, Times};
use crate::rows::Rows;
use crate::window::Window;
use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt64Array};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use std::collections::BTreeMap;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, Watermark};
use thalweg_schemas::error::Result;

/// The port of changes.
const CHANGES: usize = 0;
/// The port of finals.
const FINALS: usize = 1;

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
    /// The windows that have rows and are not final, by their start; with what was said of them.
    pub(super) windows: BTreeMap<i64, Emitted>,
    /// Partial states that came in the current epoch, by slice.
    arrived: BTreeMap<i64, Vec<RecordBatch>>,
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
            arrived: BTreeMap::new(),
        })
    }

    fn result_types(&self) -> Vec<DataType> {
        self.schema.fields()[2 + self.key_columns..].iter().map(|field| field.data_type().clone()).collect()
    }

    /// Whether a window that starts at `start` can change no more as of `watermark`.
    fn is_final(&self, start: i64, watermark: Watermark) -> bool {
        let end = start.saturating_add(self.window.size_ns());
        watermark.closes(end.saturating_add(self.on_late.kept_ns()))
    }

    /// Merges what arrived for one slice into its states; gives the keys that changed.
    fn merge_slice(&mut self, slice: i64, partials: &[RecordBatch]) -> Result<Vec<u32>> {
        let partials = concat_batches(&partials[0].schema(), partials)?;
        let (keys, states) = partials.columns()[1..].split_at(self.key_columns);
        let numbers = self.keys.number(keys, partials.num_rows())?;
        let types = self.states.types()?;
        let held = self.slices.entry(slice).or_insert_with(|| KeyedRows::new(types));
        let known = held.part_of(&number_groups(&numbers).0)?;
        let before = held.len();
        let merged = self.states.merge_states(vec![known, Part { numbers, states: states.to_vec() }])?;
        let changed = merged.numbers.clone();
        let new: Vec<u32> = changed.iter().copied().filter(|number| !held.contains(*number)).collect();
        held.put(merged)?;
        assert_eq!(before + new.len(), held.len(), "a key is held once");
        self.keys.hold(&new);
        Ok(changed)
    }

    fn slices(&self) -> Slices<'_> {
        Slices { window: self.window, states: &self.states, slices: &self.slices }
    }

    /// The columns before the results: the window's bounds and the keys.
    fn leading_columns(&self, start: i64, numbers: &[u32]) -> Result<Vec<ArrayRef>> {
        let end = start.saturating_add(self.window.size_ns());
        let mut columns = vec![
            timestamps(vec![start; numbers.len()], self.schema.field(0).data_type())?,
            timestamps(vec![end; numbers.len()], self.schema.field(1).data_type())?,
        ];
        columns.extend(self.keys.values(numbers)?);
        Ok(columns)
    }

    /// Says what changed, given the keys that changed in each window.
    fn revise(&mut self, changed: BTreeMap<i64, Vec<u32>>, output: &mut Output) -> Result<()> {
        let windows = if self.window.slice_ns() == self.window.size_ns() {
            let each = changed.iter().map(|(start, numbers)| self.slices().results(&[*start], |s| s.part_of(numbers)));
            each.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect()
        } else {
            let starts: Vec<i64> = changed.keys().copied().collect();
            let numbers = number_groups(&changed.into_values().flatten().collect::<Vec<_>>()).0;
            self.slices().results(&starts, |slice| slice.part_of(&numbers))?
        };
        for WindowResults { start, numbers, results } in windows {
            let Some(emitted) = self.windows.get_mut(&start) else { continue };
            let change = emitted.replace(numbers, results)?;
            if let Some(batch) = change.into_batch(&self.schema, |numbers| self.leading_columns(start, numbers))? {
                output.send(CHANGES, Rows::unbounded(batch));
            }
        }
        Ok(())
    }

    /// Says the final results of the windows that begin at `starts`, and forgets them.
    fn close(&mut self, starts: &[i64], output: &mut Output) -> Result<()> {
        let mut windows = Vec::new();
        if self.emit_finals && !self.emit_changes {
            windows = self.slices().results(starts, KeyedRows::all)?;
        }
        for &start in starts {
            let Some(emitted) = self.windows.remove(&start) else { continue };
            if self.emit_finals && self.emit_changes {
                let Part { numbers, states: results } = emitted.rows().all()?;
                windows.push(WindowResults { start, numbers, results });
            }
        }
        for WindowResults { start, numbers, results } in windows {
            let mut columns = self.leading_columns(start, &numbers)?;
            columns.extend(results);
            let rows = RecordBatch::try_new(self.schema.clone(), columns)?;
            output.send(FINALS, Rows::unbounded(Batch::append(rows)));
        }
        Ok(())
    }

    /// Forgets slices that no window needs, and keys that no slice needs.
    fn forget(&mut self, watermark: Watermark) -> Result<()> {
        while let Some((&slice, _)) = self.slices.first_key_value() {
            if !self.is_final(self.window.last_window_of(slice), watermark) {
                break;
            }
            if let Some(held) = self.slices.remove(&slice) {
                self.keys.release(&held.numbers().collect::<Vec<_>>());
            }
        }
        if let Some(renamed) = self.keys.compact()? {
            self.slices.values_mut().for_each(|held| held.rename(&renamed));
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
        let mut rest: Vec<u64> = (0..batch.num_rows() as u64).collect();
        while let Some(&first) = rest.first() {
            let slice = slices.value(first as usize);
            let (own, others): (Vec<u64>, Vec<u64>) =
                rest.iter().partition(|&&row| slices.value(row as usize) == slice);
            let part = if others.is_empty() && own.len() == batch.num_rows() {
                batch.rows.clone()
            } else {
                let own = UInt64Array::from(own);
                let columns = batch.rows.columns().iter().map(|c| take(c, &own, None)).collect::<Result<_, _>>()?;
                RecordBatch::try_new(batch.schema(), columns)?
            };
            self.arrived.entry(slice).or_default().push(part);
            rest = others;
        }
        Ok(())
    }

    fn finish_epoch(&mut self, _epoch: Epoch, times: Times, output: &mut Output) -> Result<()> {
        let mut changed: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
        for (slice, partials) in std::mem::take(&mut self.arrived) {
            let numbers = self.merge_slice(slice, &partials)?;
            for start in self.window.windows_of(slice).collect::<Vec<_>>() {
                // A window that closed earlier has been told; the slice may still count in later ones.
                if self.is_final(start, times.before) {
                    continue;
                }
                let types = self.result_types();
                self.windows.entry(start).or_insert_with(|| Emitted::new(types));
                if self.emit_changes {
                    changed.entry(start).or_default().extend_from_slice(&numbers);
                }
            }
        }
        self.revise(changed, output)?;
        let closing: Vec<i64> =
            self.windows.keys().copied().take_while(|start| self.is_final(*start, times.now)).collect();
        self.close(&closing, output)?;
        self.forget(times.now)
    }

    fn state(&self) -> StateSize {
        let slices = self.slices.values().map(KeyedRows::size).sum::<usize>();
        let windows = self.windows.values().map(|emitted| emitted.rows().size()).sum::<usize>();
        StateSize { rows: self.keys.len() as u64, bytes: (slices + windows + self.keys.size()) as u64 }
    }
}
