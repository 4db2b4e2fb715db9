//! The first phase: one partial state for each slice and key that had rows in the epoch, on the worker that read them.
//!
//! Rows that cannot be late are combined at once. A row can be late only if its last window has ended by the bound that
//! comes with it; such rows wait until the watermark of the epoch before is known, and are judged by that. Where nearly
//! every row is a group of its own, rows pass as they are.

use super::{OnLate, WindowAggregateSpec};
use crate::aggregate::bypass::Bypass;
use crate::aggregate::table::{GroupTable, Grouping};
use crate::event_time::{EventTimes, timed};
use crate::operator::{Operator, Output, StateSize, Times};
use crate::rows::Rows;
use crate::window::Window;
use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, Watermark};
use thalweg_schemas::error::{Error, Result};

/// Combines the rows of an epoch. Port 0: `slice_start` (nanoseconds), the keys, the states of all aggregates.
pub struct LocalAggregate {
    time: Arc<dyn PhysicalExpr>,
    window: Window,
    on_late: OnLate,
    grouping: Grouping,
    bypass: Bypass,
    partial_schema: SchemaRef,
    open: BTreeMap<Epoch, OpenEpoch>,
}

#[derive(Default)]
struct OpenEpoch {
    slices: BTreeMap<i64, GroupTable>,
    maybe_late: Vec<Batch>,
}

impl LocalAggregate {
    /// The first phase of what `spec` asks for.
    pub fn new(spec: &WindowAggregateSpec) -> Result<LocalAggregate> {
        let grouping = Grouping::new(&spec.keys, &spec.aggregates, &spec.input.schema())?;
        let mut fields = vec![Arc::new(Field::new("slice_start", DataType::Int64, false))];
        fields.extend(grouping.key_schema.fields().iter().cloned());
        for (i, data_type) in grouping.states.types()?.into_iter().enumerate() {
            fields.push(Arc::new(Field::new(format!("state{i}"), data_type, true)));
        }
        Ok(LocalAggregate {
            time: spec.time.clone(),
            window: spec.window,
            on_late: spec.on_late,
            bypass: Bypass::new(&grouping)?,
            grouping,
            partial_schema: Arc::new(Schema::new(fields)),
            open: BTreeMap::new(),
        })
    }

    /// The end of the last window that a row of this time falls into.
    fn last_end(&self, time_ns: i64) -> i64 {
        self.window.last_end_of(self.window.slice_of(time_ns))
    }

    fn combine(&mut self, epoch: Epoch, batch: Batch, times: &EventTimes, output: &mut Output) -> Result<()> {
        let Some((min, max)) = times.bounds() else { return Ok(()) };
        let slice = self.window.slice_of(min);
        if slice == self.window.slice_of(max) {
            return self.combine_slice(epoch, slice, batch, output);
        }
        for (slice, part) in self.cut(&batch, times)? {
            self.combine_slice(epoch, slice, part, output)?;
        }
        Ok(())
    }

    /// The batch in parts of one slice each. Rows in order of time are cut without copying.
    fn cut(&self, batch: &Batch, times: &EventTimes) -> Result<Vec<(i64, Batch)>> {
        let slice_ns = self.window.slice_ns();
        if times.is_sorted() {
            let (mut parts, mut begin) = (Vec::new(), 0);
            while begin < batch.num_rows() {
                let slice = self.window.slice_of(times.ns(begin));
                let end = begin + times.partition_point(begin, slice.saturating_add(slice_ns));
                parts.push((slice, Batch::append(batch.rows.slice(begin, end - begin))));
                begin = end;
            }
            return Ok(parts);
        }
        let mut rows: BTreeMap<i64, Vec<u64>> = BTreeMap::new();
        // Neighbouring rows are mostly of one slice: the map is asked only where that changes.
        let (mut slice, mut list) = (self.window.slice_of(times.ns(0)), Vec::new());
        for (row, time) in times.iter().enumerate() {
            if time < slice || time.saturating_sub(slice) >= slice_ns {
                rows.insert(slice, list);
                slice = self.window.slice_of(time);
                list = rows.remove(&slice).unwrap_or_default();
            }
            list.push(row as u64);
        }
        rows.insert(slice, list);
        rows.into_iter().map(|(slice, list)| Ok((slice, batch.take(&UInt64Array::from(list))?))).collect()
    }

    fn combine_slice(&mut self, epoch: Epoch, slice: i64, batch: Batch, output: &mut Output) -> Result<()> {
        let (batch, values) = self.grouping.evaluate(batch, &mut output.dead)?;
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(());
        }
        if let Some(states) = self.bypass.pass(&self.grouping, &values, rows)? {
            return self.send(slice, states, rows, output);
        }
        let slices = &mut self.open.entry(epoch).or_default().slices;
        let table = match slices.entry(slice) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => entry.insert(GroupTable::new(&self.grouping)?),
        };
        let before = table.groups();
        table.add(&self.grouping, &values, rows)?;
        self.bypass.combined(rows, table.groups() - before);
        Ok(())
    }

    fn send(&self, slice: i64, states: Vec<ArrayRef>, rows: usize, output: &mut Output) -> Result<()> {
        let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![slice; rows]))];
        columns.extend(states);
        let partial = RecordBatch::try_new(self.partial_schema.clone(), columns)?;
        output.send(0, Rows::unbounded(Batch::append(partial)));
        Ok(())
    }

    /// Splits off the rows whose last window has ended by `bound`, less what late rows are given.
    fn split(&self, batch: &Batch, times: &EventTimes, bound: Watermark, kept_ns: i64) -> Result<(Batch, Batch)> {
        let ended = |time: i64| bound.closes(self.last_end(time).saturating_add(kept_ns));
        let late: BooleanArray = times.iter().map(|time| Some(ended(time))).collect();
        Ok((batch.filter(&arrow::compute::not(&late)?)?, batch.filter(&late)?))
    }
}

impl Operator for LocalAggregate {
    const EAGER: bool = true;

    fn process(&mut self, epoch: Epoch, rows: Rows, output: &mut Output) -> Result<()> {
        let bound = rows.late_bound();
        let Some(batch) = rows.into_batch() else { return Ok(()) };
        if batch.diffs.is_some() {
            return Err(Error::bug("a window was given a changelog"));
        }
        let (batch, times) = timed(&self.time, batch, &mut output.dead)?;
        let Some((min, _)) = times.bounds() else { return Ok(()) };
        if !bound.closes(self.last_end(min)) {
            return self.combine(epoch, batch, &times, output);
        }
        let (in_time, maybe_late) = self.split(&batch, &times, bound, 0)?;
        if !maybe_late.is_empty() {
            self.open.entry(epoch).or_default().maybe_late.push(maybe_late);
        }
        let (in_time, times) = timed(&self.time, in_time, &mut output.dead)?;
        self.combine(epoch, in_time, &times, output)
    }

    fn finish_epoch(&mut self, epoch: Epoch, times: Times, output: &mut Output) -> Result<()> {
        let Some(open) = self.open.get_mut(&epoch) else { return Ok(()) };
        for batch in std::mem::take(&mut open.maybe_late) {
            let (batch, event_times) = timed(&self.time, batch, &mut output.dead)?;
            let (in_time, late) = self.split(&batch, &event_times, times.before, self.on_late.kept_ns())?;
            if !late.is_empty() {
                output.late.push(late.rows);
            }
            let (in_time, event_times) = timed(&self.time, in_time, &mut output.dead)?;
            self.combine(epoch, in_time, &event_times, output)?;
        }
        for (slice, table) in self.open.remove(&epoch).unwrap_or_default().slices {
            let groups = table.finish()?;
            let rows = groups.first().map_or(0, |column| column.len());
            self.send(slice, groups, rows, output)?;
        }
        Ok(())
    }

    fn state(&self) -> StateSize {
        let waiting = self.open.values().flat_map(|open| &open.maybe_late);
        waiting.fold(StateSize::default(), |size, batch| StateSize {
            rows: size.rows + batch.num_rows() as u64,
            bytes: size.bytes + batch.memory_size() as u64,
        })
    }
}
