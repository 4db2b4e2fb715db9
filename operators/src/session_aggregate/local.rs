//! The first phase: pieces of sessions, each with one partial state, on the worker that read the rows.
//!
//! A row that may be late travels as it is beside its state: only the owner of the partition knows whether it reaches a
//! session that is still open, and if not, it is the row that is kept. Where rows say that a session begins or ends all of
//! them travel so, each with its mark.

use super::{ENDS, STARTS, SessionAggregateSpec};
use crate::aggregate::table::{GroupTable, Grouping};
use crate::evaluate::fault;
use crate::event_time::{EventTimes, timed};
use crate::operator::{DeadRow, Operator, Output, StateSize, Times};
use crate::rows::Rows;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StructArray, UInt8Array, UInt64Array,
    new_null_array,
};
use arrow::compute::{not, take};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use datafusion_expr::EmitTo;
use datafusion_physical_plan::aggregates::group_values::GroupValues;
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, Watermark};
use thalweg_schemas::error::{Error, Result};

/// Combines the rows of an epoch. Port 0: the keys, the times of the first and the last row (nanoseconds), the row itself
/// if it may be late, the states of all aggregates.
pub struct LocalSessions {
    spec: SessionAggregateSpec,
    grouping: Grouping,
    /// The same aggregates without keys, for pieces that have numbers.
    states: Grouping,
    partial_schema: SchemaRef,
    open: BTreeMap<Epoch, OpenEpoch>,
}

#[derive(Default)]
struct OpenEpoch {
    pieces: Option<Pieces>,
    maybe_late: Vec<Batch>,
}

/// Pieces under construction, of one epoch.
struct Pieces {
    keys: Option<Box<dyn GroupValues>>,
    /// For each group of keys the piece that was added to last.
    latest: Vec<usize>,
    pieces: Vec<Piece>,
    states: GroupTable,
    /// The groups of the rows numbered last: room that is used again.
    groups: Vec<usize>,
}

#[derive(Clone, Copy)]
struct Piece {
    group: usize,
    first: i64,
    last: i64,
}

/// The type of a row that travels as it is.
pub(super) fn row_type(input: &SchemaRef) -> DataType {
    let fields = input.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    DataType::Struct(fields.collect::<Fields>())
}

impl LocalSessions {
    /// The first phase of what `spec` asks for.
    pub fn new(spec: &SessionAggregateSpec) -> Result<LocalSessions> {
        let input = spec.input.schema();
        let grouping = Grouping::new(&spec.keys, &spec.aggregates, &input)?;
        let mut fields: Vec<_> = grouping.key_schema.fields().iter().cloned().collect();
        for name in ["first", "last"] {
            fields.push(Arc::new(Field::new(name, DataType::Int64, false)));
        }
        fields.push(Arc::new(Field::new("row", row_type(&input), true)));
        fields.extend(spec.is_cut().then(|| Arc::new(Field::new("mark", DataType::UInt8, false))));
        for (i, data_type) in grouping.states.types()?.into_iter().enumerate() {
            fields.push(Arc::new(Field::new(format!("state{i}"), data_type, true)));
        }
        Ok(LocalSessions {
            states: Grouping::new(&[], &spec.aggregates, &input)?,
            spec: spec.clone(),
            grouping,
            partial_schema: Arc::new(Schema::new(fields)),
            open: BTreeMap::new(),
        })
    }

    fn combine(&mut self, epoch: Epoch, batch: Batch, dead: &mut Vec<DeadRow>) -> Result<()> {
        let (batch, values) = self.grouping.evaluate(batch, dead)?;
        let (batch, times) = timed(&self.spec.time, batch, dead)?;
        if batch.is_empty() {
            return Ok(());
        }
        let open = self.open.entry(epoch).or_default();
        let pieces = match &mut open.pieces {
            Some(pieces) => pieces,
            none => none.insert(Pieces::new(&self.grouping, &self.states)?),
        };
        pieces.add(&self.grouping, &self.states, &values, &times, self.spec.gap_ns)
    }

    /// Sends rows that only the owner can judge, each with its state.
    fn send_rows(&self, batch: Batch, output: &mut Output) -> Result<()> {
        let (batch, values) = self.grouping.evaluate(batch, &mut output.dead)?;
        let (batch, times) = timed(&self.spec.time, batch, &mut output.dead)?;
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(());
        }
        let (keys, values) = values.split_at(self.grouping.keys());
        let mut states = GroupTable::new(&self.states)?;
        states.add_to_groups(&self.states, values, &(0..rows).collect::<Vec<_>>(), rows)?;
        let DataType::Struct(fields) = row_type(&self.spec.input.schema()) else {
            return Err(Error::bug("a row is a struct"));
        };
        let whole = StructArray::try_new_with_length(fields, batch.rows.columns().to_vec(), None, rows)?;
        let times: ArrayRef = Arc::new(Int64Array::from_iter_values(times.iter()));
        let marks = self.spec.is_cut().then(|| self.marks(&batch.rows));
        let states = marks.into_iter().chain(states.finish()?).collect();
        self.send(keys.to_vec(), times.clone(), times, Arc::new(whole), states, output)
    }

    /// What each row says of where its session begins and ends.
    fn marks(&self, rows: &RecordBatch) -> ArrayRef {
        let says = |column: Option<usize>, row: usize| {
            let column = column.map(|at| rows.column(at).as_boolean());
            column.is_some_and(|column| column.is_valid(row) && column.value(row))
        };
        let mark = |row| u8::from(says(self.spec.start, row)) * STARTS + u8::from(says(self.spec.end, row)) * ENDS;
        Arc::new(UInt8Array::from_iter_values((0..rows.num_rows()).map(mark)))
    }

    fn send(
        &self,
        mut columns: Vec<ArrayRef>,
        first: ArrayRef,
        last: ArrayRef,
        rows: ArrayRef,
        states: Vec<ArrayRef>,
        output: &mut Output,
    ) -> Result<()> {
        columns.extend([first, last, rows]);
        columns.extend(states);
        let partial = RecordBatch::try_new(self.partial_schema.clone(), columns)?;
        output.send(0, Rows::unbounded(Batch::append(partial)));
        Ok(())
    }

    /// Splits off the rows that would be late if they reached no other.
    fn split(&self, batch: &Batch, times: &EventTimes, bound: Watermark) -> Result<(Batch, Batch)> {
        let late: BooleanArray = times.iter().map(|time| Some(bound.closes(self.spec.kept_until(time)))).collect();
        Ok((batch.filter(&not(&late)?)?, batch.filter(&late)?))
    }
}

impl Pieces {
    fn new(grouping: &Grouping, states: &Grouping) -> Result<Pieces> {
        Ok(Pieces {
            keys: grouping.key_table()?,
            latest: Vec::new(),
            pieces: Vec::new(),
            states: GroupTable::new(states)?,
            groups: Vec::new(),
        })
    }

    fn add(
        &mut self,
        grouping: &Grouping,
        states: &Grouping,
        values: &[ArrayRef],
        times: &EventTimes,
        gap_ns: i64,
    ) -> Result<()> {
        let (keys, values) = values.split_at(grouping.keys());
        match &mut self.keys {
            Some(table) => table.intern(keys, &mut self.groups).map_err(fault)?,
            None => {
                self.groups.clear();
                self.groups.resize(times.iter().count(), 0);
            }
        }
        let mut owners = std::mem::take(&mut self.groups);
        for (owner, time) in owners.iter_mut().zip(times.iter()) {
            *owner = self.piece_of(*owner, time, gap_ns);
        }
        self.states.add_to_groups(states, values, &owners, self.pieces.len())?;
        self.groups = owners;
        Ok(())
    }

    /// The piece that a row of `group` belongs to: the one that the row before it went to, if it reaches it. Pieces that
    /// are not put together here are put together by the owner.
    fn piece_of(&mut self, group: usize, time: i64, gap_ns: i64) -> usize {
        if group >= self.latest.len() {
            self.latest.resize(group + 1, usize::MAX);
        }
        if let Some(piece) = self.pieces.get_mut(self.latest[group])
            && time >= piece.first.saturating_sub(gap_ns)
            && time <= piece.last.saturating_add(gap_ns)
        {
            piece.first = piece.first.min(time);
            piece.last = piece.last.max(time);
            return self.latest[group];
        }
        self.pieces.push(Piece { group, first: time, last: time });
        self.latest[group] = self.pieces.len() - 1;
        self.pieces.len() - 1
    }

    /// The keys, the first and the last times, the states: one row a piece.
    fn finish(mut self) -> Result<(Vec<ArrayRef>, ArrayRef, ArrayRef, Vec<ArrayRef>)> {
        let groups = UInt64Array::from_iter_values(self.pieces.iter().map(|piece| piece.group as u64));
        let keys = match &mut self.keys {
            Some(table) => table.emit(EmitTo::All).map_err(fault)?,
            None => Vec::new(),
        };
        let keys = keys.iter().map(|column| take(column, &groups, None)).collect::<Result<_, _>>()?;
        let first = Arc::new(Int64Array::from_iter_values(self.pieces.iter().map(|piece| piece.first)));
        let last = Arc::new(Int64Array::from_iter_values(self.pieces.iter().map(|piece| piece.last)));
        Ok((keys, first, last, self.states.finish()?))
    }
}

impl Operator for LocalSessions {
    const EAGER: bool = true;

    fn process(&mut self, epoch: Epoch, rows: Rows, output: &mut Output) -> Result<()> {
        let bound = rows.late_bound();
        let Some(batch) = rows.into_batch() else { return Ok(()) };
        if batch.diffs.is_some() {
            return Err(Error::bug("sessions were given a changelog"));
        }
        let (batch, times) = timed(&self.spec.time, batch, &mut output.dead)?;
        let Some((min, _)) = times.bounds() else { return Ok(()) };
        if self.spec.is_cut() {
            return self.send_rows(batch, output);
        }
        if !bound.closes(self.spec.kept_until(min)) {
            return self.combine(epoch, batch, &mut output.dead);
        }
        let (in_time, maybe_late) = self.split(&batch, &times, bound)?;
        if !maybe_late.is_empty() {
            self.open.entry(epoch).or_default().maybe_late.push(maybe_late);
        }
        self.combine(epoch, in_time, &mut output.dead)
    }

    fn finish_epoch(&mut self, epoch: Epoch, times: Times, output: &mut Output) -> Result<()> {
        let Some(open) = self.open.get_mut(&epoch) else { return Ok(()) };
        for batch in std::mem::take(&mut open.maybe_late) {
            let (batch, event_times) = timed(&self.spec.time, batch, &mut output.dead)?;
            let (in_time, late) = self.split(&batch, &event_times, times.before)?;
            self.send_rows(late, output)?;
            self.combine(epoch, in_time, &mut output.dead)?;
        }
        if let Some(pieces) = self.open.remove(&epoch).unwrap_or_default().pieces {
            let (keys, first, last, states) = pieces.finish()?;
            let none = new_null_array(&row_type(&self.spec.input.schema()), first.len());
            self.send(keys, first, last, none, states, output)?;
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
