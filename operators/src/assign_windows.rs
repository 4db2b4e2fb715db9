//! Windows without aggregation: each row once for every window that it falls into. Keeps no state.

use crate::evaluate::row_to_json;
use crate::event_time::{EventTimes, timestamps};
use crate::operator::{DeadRow, Operator, Output, Times};
use crate::plan::Plan;
use crate::rows::Rows;
use crate::window::Window;
use arrow::array::{Array, ArrayRef, ListArray, RecordBatch, StructArray, UInt64Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{filter, is_not_null};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, SchemaRef};
use std::fmt;
use std::sync::Arc;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::Epoch;
use thalweg_schemas::error::Result;

/// `SELECT .. FROM TUMBLE(..)` without a grouping by window.
#[derive(Clone, Debug)]
pub struct AssignWindowsSpec {
    /// Where the rows come from.
    pub input: Box<Plan>,
    /// The event time column of `input`, a timestamp. A row where it is NULL falls into no window: it is dead.
    pub time: usize,
    /// The windows.
    pub window: Window,
    /// The columns of `input`, then `window_start` and `window_end` with the type of the time column, not NULL.
    pub schema: SchemaRef,
}

impl fmt::Display for AssignWindowsSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AssignWindows {} over {}", self.window, self.input.schema().field(self.time).name())
    }
}

/// The type of [`windows_of_each`] for times of type `time`: lists of `window_start` and `window_end`.
pub fn windows_type(time: &DataType) -> DataType {
    DataType::List(window_field(time))
}

fn bounds(time: &DataType) -> Fields {
    Fields::from(["window_start", "window_end"].map(|name| Field::new(name, time.clone(), false)).to_vec())
}

fn window_field(time: &DataType) -> FieldRef {
    Arc::new(Field::new("window", DataType::Struct(bounds(time)), false))
}

/// The windows that each of `times`, a column of timestamps, falls into: for queries over a snapshot, where nothing is
/// ever late. None where it is NULL.
pub fn windows_of_each(window: &Window, times: &ArrayRef) -> Result<ListArray> {
    let known = EventTimes::new(&filter(times, &is_not_null(times)?)?)?;
    let mut known = known.iter();
    let (mut ends, mut lengths) = (Vec::new(), Vec::with_capacity(times.len()));
    for row in 0..times.len() {
        let before = ends.len();
        if let Some(time) = times.is_valid(row).then(|| known.next()).flatten() {
            ends.extend(window.windows_of(window.slice_of(time)));
        }
        lengths.push(ends.len() - before);
    }
    let starts = ends.iter().map(|end| window.start_of(*end)).collect();
    let time = times.data_type();
    let windows = StructArray::try_new(bounds(time), vec![timestamps(starts, time)?, timestamps(ends, time)?], None)?;
    Ok(ListArray::try_new(window_field(time), OffsetBuffer::from_lengths(lengths), Arc::new(windows), None)?)
}

/// Carries out an [`AssignWindowsSpec`].
pub struct AssignWindows {
    time: usize,
    window: Window,
    schema: SchemaRef,
}

impl AssignWindows {
    /// The operator that `spec` asks for.
    pub fn new(spec: &AssignWindowsSpec) -> Result<AssignWindows> {
        Ok(AssignWindows { time: spec.time, window: spec.window, schema: spec.schema.clone() })
    }
}

/// The rows of `batch` that have an event time in column `time`; the others are dead.
pub(crate) fn with_event_time(batch: Batch, time: &dyn Array, dead: &mut Vec<DeadRow>) -> Result<Batch> {
    for row in (0..time.len()).filter(|&row| time.is_null(row)) {
        dead.push(DeadRow { row: row_to_json(&batch.rows, row), reason: "the event time is NULL".to_string() });
    }
    Ok(batch.filter(&is_not_null(time)?)?)
}

impl Operator for AssignWindows {
    const EAGER: bool = true;

    fn process(&mut self, _epoch: Epoch, rows: Rows, output: &mut Output) -> Result<()> {
        let bound = rows.late_bound();
        let Some(mut batch) = rows.into_batch() else { return Ok(()) };
        let time = batch.rows.column(self.time).clone();
        if time.null_count() > 0 {
            batch = with_event_time(batch, &time, &mut output.dead)?;
        }
        let times = EventTimes::new(batch.rows.column(self.time))?;
        let (mut indices, mut starts, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        for (row, time) in times.iter().enumerate() {
            for end in self.window.windows_of(self.window.slice_of(time)) {
                indices.push(row as u64);
                starts.push(self.window.start_of(end));
                ends.push(end);
            }
        }
        let batch = batch.take(&UInt64Array::from(indices))?;
        let mut columns = batch.rows.columns().to_vec();
        let bounds = self.schema.fields().len() - 2;
        columns.push(timestamps(starts, self.schema.field(bounds).data_type())?);
        columns.push(timestamps(ends, self.schema.field(bounds + 1).data_type())?);
        let assigned = RecordBatch::try_new(self.schema.clone(), columns)?;
        output.send(0, Rows::new(batch.with_rows(assigned), bound));
        Ok(())
    }

    fn finish_epoch(&mut self, _epoch: Epoch, _times: Times, _output: &mut Output) -> Result<()> {
        Ok(())
    }
}
