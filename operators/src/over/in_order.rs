//! `lag(..) OVER (PARTITION BY .. ORDER BY time)` in order of event time: each row once, when no earlier one can come any
//! more, with values of the row before it in its partition.
//!
//! Of each partition only the last row is kept, and beside them the rows that wait for the watermark. So a row costs the
//! same however much came before it, and what is said is final. A row behind the watermark is late: what follows it has
//! been said. Rows at one time in one partition are taken in the order of their columns.

use super::OverSpec;
use crate::aggregate::Part;
use crate::aggregate::keyed::{KeyedRows, Keys};
use crate::aggregate::table::Grouping;
use crate::event_time::EventTimes;
use crate::operator::{Operator, Output, StateSize, Times};
use crate::plan::TimeOrigin;
use crate::rows::Rows;
use crate::state::{Restored, Section, fresh_id};
use crate::state_ttl::{Lifetimes, TOUCHED};
use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array};
use arrow::compute::{concat_batches, interleave, not, sort_to_indices, take, take_record_batch};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::row::{RowConverter, SortField};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Column;
use std::sync::Arc;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, Watermark};
use thalweg_schemas::error::{Error, Result};

#[cfg(test)]
mod tests;

/// Functions that need of a partition only the row before, in order of event time.
#[derive(Clone, Debug)]
pub struct InOrder {
    /// The event time by which rows are ordered: a timestamp, not NULL.
    pub time: usize,
    /// From which watermarks it follows that no earlier row comes.
    pub origin: TimeOrigin,
    /// For each function, the column whose value in the row before it gives.
    pub before: Vec<usize>,
}

/// Carries out an [`OverSpec`] that is [`InOrder`]. Port 0: rows that are final.
pub struct OverInOrder {
    input: SchemaRef,
    schema: SchemaRef,
    partition: Vec<usize>,
    time: usize,
    before: Vec<usize>,
    keys: Keys,
    /// Of each partition, the columns `before` of its last row.
    last: KeyedRows,
    /// Rows that are not final, each batch in order of time.
    waiting: Vec<RecordBatch>,
    /// Tells rows apart that are at one time in one partition.
    ties: RowConverter,
    /// When partitions go that no row comes for.
    lifetimes: Option<Lifetimes>,
    arrived: Vec<Batch>,
}

/// Where the row before a row is.
#[derive(Clone, Copy)]
enum Before {
    /// Among the rows that were the last ones so far.
    Known(usize),
    /// Among the rows that become final together.
    Beside(usize),
    Nowhere,
}

impl OverInOrder {
    /// The operator that `spec` asks for.
    pub fn new(spec: &OverSpec, in_order: &InOrder) -> Result<OverInOrder> {
        let input = spec.input.schema();
        let key = |at: &usize| Arc::new(Column::new(input.field(*at).name(), *at)) as Arc<dyn PhysicalExpr>;
        let keys: Vec<_> = spec.partition.iter().map(key).collect();
        let types = in_order.before.iter().map(|at| input.field(*at).data_type().clone());
        let fields = input.fields().iter().map(|field| SortField::new(field.data_type().clone()));
        Ok(OverInOrder {
            keys: Keys::new(Grouping::new(&keys, &[], &input)?)?,
            last: KeyedRows::new(types.collect()),
            ties: RowConverter::new(fields.collect())?,
            partition: spec.partition.clone(),
            time: in_order.time,
            before: in_order.before.clone(),
            waiting: Vec::new(),
            lifetimes: None,
            arrived: Vec::new(),
            schema: spec.schema.clone(),
            input,
        })
    }

    /// Forgets partitions by `lifetimes`: the next row of one has none before it.
    pub fn forgetting(self, lifetimes: Option<Lifetimes>) -> OverInOrder {
        OverInOrder { lifetimes, ..self }
    }

    fn times(&self, rows: &RecordBatch) -> Result<EventTimes> {
        EventTimes::new(rows.column(self.time))
    }

    /// Puts rows beside those that wait, in order of time.
    fn wait(&mut self, rows: RecordBatch) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let rows = match self.times(&rows)?.is_sorted() {
            true => rows,
            false => take_record_batch(&rows, &sort_to_indices(rows.column(self.time), None, None)?)?,
        };
        self.waiting.push(rows);
        Ok(())
    }

    /// The rows of `batch` that are not behind the watermark; the others are late.
    fn in_time(&self, batch: Batch, before: Watermark, output: &mut Output) -> Result<RecordBatch> {
        let late = |time: i64| before.closes(time.saturating_add(1));
        let late: BooleanArray = self.times(&batch.rows)?.iter().map(|time| Some(late(time))).collect();
        if late.true_count() == 0 {
            return Ok(batch.rows);
        }
        output.late.push(batch.filter(&late)?.rows);
        Ok(batch.filter(&not(&late)?)?.rows)
    }

    /// Takes out the rows that became final.
    fn released(&mut self, now: Watermark) -> Result<RecordBatch> {
        let mut released = Vec::new();
        for rows in std::mem::take(&mut self.waiting) {
            let final_rows = match now {
                Watermark::MAX => rows.num_rows(),
                Watermark(now) => self.times(&rows)?.partition_point(0, now),
            };
            if final_rows > 0 {
                released.push(rows.slice(0, final_rows));
            }
            if final_rows < rows.num_rows() {
                self.waiting.push(rows.slice(final_rows, rows.num_rows() - final_rows));
            }
        }
        Ok(concat_batches(&self.input, &released)?)
    }

    /// The positions of `rows` by partition, in order within each.
    fn order(&self, rows: &RecordBatch, numbers: &[u32]) -> Result<Vec<u32>> {
        let times: Vec<i64> = self.times(rows)?.iter().collect();
        let place = |row: u32| (numbers[row as usize], times[row as usize]);
        let mut order: Vec<u32> = (0..rows.num_rows() as u32).collect();
        order.sort_unstable_by_key(|row| place(*row));
        for tied in order.chunk_by_mut(|a, b| place(*a) == place(*b)).filter(|tied| tied.len() > 1) {
            let picked = take_record_batch(rows, &UInt32Array::from(tied.to_vec()))?;
            let encoded = self.ties.convert_columns(picked.columns())?;
            let mut by_row: Vec<(usize, u32)> = tied.iter().copied().enumerate().collect();
            by_row.sort_by(|a, b| encoded.row(a.0).cmp(&encoded.row(b.0)));
            by_row.iter().zip(tied).for_each(|((_, row), place)| *place = *row);
        }
        Ok(order)
    }

    /// Says the rows that became final, each with what was before it.
    fn say(&mut self, epoch: Epoch, rows: &RecordBatch, output: &mut Output) -> Result<()> {
        let columns: Vec<ArrayRef> = self.partition.iter().map(|at| rows.column(*at).clone()).collect();
        let numbers = self.keys.number(&columns, rows.num_rows())?;
        let order = self.order(rows, &numbers)?;
        let of = |row: u32| numbers[row as usize];
        let runs: Vec<&[u32]> = order.chunk_by(|a, b| of(*a) == of(*b)).collect();
        let partitions: Vec<u32> = runs.iter().map(|run| of(run[0])).collect();
        let known = self.last.part_of(&partitions)?;
        let mut places = Vec::with_capacity(order.len());
        let mut next_known = known.numbers.iter().copied().enumerate().peekable();
        for run in &runs {
            let first = next_known.next_if(|(_, number)| *number == of(run[0]));
            places.push(first.map_or(Before::Nowhere, |(at, _)| Before::Known(at)));
            places.extend(run[..run.len() - 1].iter().map(|row| Before::Beside(*row as usize)));
        }
        let picked = take_record_batch(rows, &UInt32Array::from(order.clone()))?;
        let mut said = picked.columns().to_vec();
        for (function, at) in self.before.iter().enumerate() {
            said.push(before(known.states.get(function), rows.column(*at), &places)?);
        }
        output.send(0, Rows::unbounded(Batch::append(RecordBatch::try_new(self.schema.clone(), said)?)));

        let new: Vec<u32> = partitions.iter().copied().filter(|number| !self.last.contains(*number)).collect();
        self.keys.hold(&new);
        self.lifetimes.iter_mut().try_for_each(|lifetimes| lifetimes.touch(epoch, &partitions))?;
        let ends: UInt32Array = runs.iter().map(|run| run[run.len() - 1]).collect();
        let states = self.before.iter().map(|at| take(rows.column(*at), &ends, None)).collect::<Result<_, _>>()?;
        self.last.put(Part { numbers: partitions, states })
    }

    /// Forgets the last rows of partitions that none followed for too long.
    fn let_go(&mut self, epoch: Epoch) -> Result<()> {
        let Some(lifetimes) = &mut self.lifetimes else { return Ok(()) };
        let gone = lifetimes.expired(epoch)?;
        self.last.remove(&gone);
        self.keys.release(&gone);
        if let Some(renamed) = self.keys.compact()? {
            self.last.rename(&renamed);
            lifetimes.rename(&renamed);
        }
        Ok(())
    }

    /// The columns of the partition first, as a section wants them.
    fn positions(&self) -> Vec<usize> {
        let others = (0..self.input.fields().len()).filter(|at| !self.partition.contains(at));
        self.partition.iter().copied().chain(others).collect()
    }

    /// The rows of a section, with their columns where the input has them.
    fn recalled(&self, section: &Restored) -> Result<RecordBatch> {
        let positions = self.positions();
        if section.rows.num_columns() != positions.len() {
            return Err(section.unknown());
        }
        let column = |at: usize| positions.iter().position(|position| *position == at);
        let columns: Option<Vec<ArrayRef>> =
            (0..positions.len()).map(|at| Some(section.rows.column(column(at)?).clone())).collect();
        let columns = columns.ok_or_else(|| Error::bug("a column of the input is in no place of its section"))?;
        let options = RecordBatchOptions::new().with_row_count(Some(section.rows.num_rows()));
        Ok(RecordBatch::try_new_with_options(self.input.clone(), columns, &options)?)
    }
}

/// The values before rows: from those that were last, or from `column`.
fn before(known: Option<&ArrayRef>, column: &ArrayRef, places: &[Before]) -> Result<ArrayRef> {
    let data_type: &DataType = column.data_type();
    let nothing = new_null_array(data_type, 1);
    let known = known.unwrap_or(&nothing);
    let indices: Vec<(usize, usize)> = places
        .iter()
        .map(|place| match place {
            Before::Known(at) => (0, *at),
            Before::Beside(at) => (1, *at),
            Before::Nowhere => (2, 0),
        })
        .collect();
    Ok(interleave(&[known.as_ref(), column.as_ref(), nothing.as_ref()], &indices)?)
}

impl Operator for OverInOrder {
    fn process(&mut self, _epoch: Epoch, rows: Rows, _output: &mut Output) -> Result<()> {
        self.arrived.extend(rows.into_batch());
        Ok(())
    }

    fn finish_epoch(&mut self, epoch: Epoch, times: Times, output: &mut Output) -> Result<()> {
        for batch in std::mem::take(&mut self.arrived) {
            let rows = self.in_time(batch, times.before, output)?;
            self.wait(rows)?;
        }
        let released = self.released(times.now)?;
        if released.num_rows() > 0 {
            self.say(epoch, &released, output)?;
        }
        self.let_go(epoch)
    }

    fn wake_at(&self) -> Option<Epoch> {
        self.lifetimes.as_ref()?.wake_at()
    }

    fn snapshot(&mut self) -> Result<Vec<Section>> {
        let mut sections = self.keys.sections("last", &mut self.last)?;
        if let Some(lifetimes) = &mut self.lifetimes {
            sections.extend(lifetimes.sections(&self.keys)?);
        }
        if !self.waiting.is_empty() {
            let (input, positions, waiting) = (self.input.clone(), self.positions(), self.waiting.clone());
            let rows = move || Ok(concat_batches(&input, &waiting)?.project(&positions)?);
            let keys = self.partition.len();
            sections.push(Section { label: "waiting".to_string(), id: fresh_id(), keys, rows: Box::new(rows) });
        }
        Ok(sections)
    }

    fn restore(&mut self, sections: Vec<Restored>, _watermark: Watermark) -> Result<()> {
        for section in sections {
            match (section.label.as_str(), &mut self.lifetimes) {
                ("last", _) => {
                    let new = self.keys.restore(&section.rows, &mut self.last)?;
                    self.keys.hold(&new);
                }
                (TOUCHED, Some(lifetimes)) => lifetimes.restore(&mut self.keys, &section.rows)?,
                ("waiting", _) => self.wait(self.recalled(&section)?)?,
                _ => return Err(section.unknown()),
            }
        }
        Ok(())
    }

    fn state(&self) -> StateSize {
        let waiting: usize = self.waiting.iter().map(RecordBatch::num_rows).sum();
        let bytes: usize = self.waiting.iter().map(RecordBatch::get_array_memory_size).sum();
        StateSize {
            rows: (self.last.len() + waiting) as u64,
            bytes: (self.keys.size() + self.last.size() + self.lifetimes.as_ref().map_or(0, Lifetimes::size) + bytes)
                as u64,
        }
    }
}
