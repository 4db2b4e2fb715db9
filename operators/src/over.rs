//! Window functions (`OVER`): for each row what a function says of its partition, kept up to date.
//!
//! The rows of each partition are kept in order. Where something came or went, the functions are computed over the
//! partition as it was and as it is, by DataFusion's own evaluators, and the rows whose answers differ are corrected: a
//! change costs by the length of its partition, once an epoch; other partitions are not looked at. Where the partition has
//! the bound of a window, its rows go when the window closes. Where a function needs only the row before in order of event
//! time, what is final comes out of `in_order`.

use crate::closing::{Closes, Closing};
use crate::counted::ValueBytes;
use crate::evaluate::row_to_json;
use crate::horizon::Horizon;
use crate::operator::{CHANGES, DeadRow, FINALS, Operator, Output, StateSize, Times};
use crate::ordered::{EpochChanges, OrderBy, Ordered, each_copy};
use crate::plan::{Plan, TimeOrigin};
use crate::rows::Rows;
use crate::state::{Restored, Section};
use crate::state_ttl::Lifetimes;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, UInt64Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};
use datafusion_physical_expr::window::WindowExpr;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, Watermark};
use thalweg_schemas::error::Result;

mod in_order;
#[cfg(test)]
mod tests;

pub use in_order::{InOrder, OverInOrder};

/// `SELECT *, f(..) OVER (PARTITION BY .. ORDER BY .. ROWS ..)`.
#[derive(Clone, Debug)]
pub struct OverSpec {
    /// Where the rows come from.
    pub input: Box<Plan>,
    /// Whether `input` is a changelog.
    pub retracts: bool,
    /// The columns of the partition; none means that all rows are of one.
    pub partition: Vec<usize>,
    /// By what its rows are ordered.
    pub order: Vec<OrderBy>,
    /// The functions, over the columns of `input`, all of this partition and order.
    pub functions: Vec<Arc<dyn WindowExpr>>,
    /// Where the partition has the bound of a window: when it closes.
    pub closes: Option<Closes>,
    /// Where the functions need only the row before in order of event time: how rows become final one by one.
    pub in_order: Option<InOrder>,
    /// After how long without a row of it a partition is forgotten, in nanoseconds; only where none closes.
    pub state_ttl_ns: Option<i64>,
    /// Where a column of the partition is a time: how long after it the partition is forgotten; only where none closes.
    pub horizon: Option<Horizon>,
    /// The columns of `input`, then one a function.
    pub schema: SchemaRef,
}

impl OverSpec {
    /// By which watermarks its rows become final, if they do.
    pub fn origin(&self) -> Option<&TimeOrigin> {
        let closes = self.closes.as_ref().map(|closes| &closes.origin);
        closes.or_else(|| self.in_order.as_ref().map(|in_order| &in_order.origin))
    }

    /// By which watermarks partitions go, if they do.
    pub fn goes_by(&self) -> Option<&TimeOrigin> {
        let closes = self.closes.as_ref().map(|closes| &closes.origin);
        closes.or_else(|| self.horizon.as_ref().map(|horizon| &horizon.origin))
    }

    /// By which watermarks its rows become final or partitions go, to be changed.
    pub fn origin_mut(&mut self) -> Option<&mut TimeOrigin> {
        let closes = self.closes.as_mut().map(|closes| &mut closes.origin);
        let in_order = self.in_order.as_mut().map(|in_order| &mut in_order.origin);
        closes.or(in_order).or_else(|| self.horizon.as_mut().map(|horizon| &mut horizon.origin))
    }
}

impl fmt::Display for OverSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = self.input.schema();
        let list = |items: Vec<String>| items.join(", ");
        write!(f, "Over {}", list(self.functions.iter().map(|function| function.name().to_string()).collect()))?;
        if !self.partition.is_empty() {
            let names = self.partition.iter().map(|at| schema.field(*at).name().clone());
            write!(f, " of each ({})", list(names.collect()))?;
        }
        if !self.order.is_empty() {
            write!(f, " by {}", list(self.order.iter().map(|by| by.shown(&schema).to_string()).collect()))?;
        }
        Ok(())
    }
}

/// Keeps the rows of each partition in order. Port 0: every change; port 1: the rows of partitions that are complete.
pub struct Over {
    spec: OverSpec,
    emit_changes: bool,
    emit_finals: bool,
    rows: Ordered,
    results: RowConverter,
    closing: Closing,
    arrived: Vec<Batch>,
}

/// The rows of a partition with their answers, in order.
struct Answered {
    rows: RecordBatch,
    /// What tells two rows apart: their bytes and those of their answers.
    names: Vec<(ValueBytes, Box<[u8]>)>,
}

impl Over {
    /// The operator that `spec` asks for, with the streams that somebody reads.
    pub fn new(spec: &OverSpec, emit_changes: bool, emit_finals: bool) -> Result<Over> {
        let input = spec.input.schema();
        let results = &spec.schema.fields()[input.fields().len()..];
        let results = results.iter().map(|field| SortField::new(field.data_type().clone()));
        Ok(Over {
            rows: Ordered::new(&input, &spec.partition, &spec.order, false)?,
            results: RowConverter::new(results.collect())?,
            closing: Closing::new(spec.closes.as_ref(), spec.horizon.as_ref()),
            spec: spec.clone(),
            emit_changes,
            emit_finals,
            arrived: Vec::new(),
        })
    }

    /// Forgets partitions by `lifetimes`.
    pub fn forgetting(self, lifetimes: Option<Lifetimes>) -> Over {
        Over { rows: self.rows.forgetting(lifetimes), ..self }
    }

    /// The functions over the rows of a partition. Where one cannot be computed, nothing is shown of the partition, and
    /// its first row goes to `dead` with the reason.
    fn answer(&self, number: u32, dead: &mut Vec<DeadRow>) -> Result<Answered> {
        let encoded = each_copy(self.rows.rows(number)).map(|copy| copy.cloned()).collect::<Result<Vec<_>>>()?;
        let bytes: Vec<&[u8]> = encoded.iter().map(|row| &**row).collect();
        let rows = self.rows.decode(&vec![number; encoded.len()], &bytes)?;
        let nothing = || RecordBatch::new_empty(self.spec.schema.clone());
        if encoded.is_empty() {
            return Ok(Answered { rows: nothing(), names: Vec::new() });
        }
        let results: Result<Vec<ArrayRef>, _> = self.spec.functions.iter().map(|f| f.evaluate(&rows)).collect();
        let results = match results {
            Ok(results) => results,
            Err(error) => {
                dead.push(DeadRow { row: row_to_json(&rows, 0), reason: error.strip_backtrace() });
                return Ok(Answered { rows: nothing(), names: Vec::new() });
            }
        };
        let answers = self.results.convert_columns(&results)?;
        let names = encoded.into_iter().zip(answers.iter()).map(|(row, answer)| (row, answer.data().into())).collect();
        let columns = [rows.columns().to_vec(), results].concat();
        Ok(Answered { rows: RecordBatch::try_new(self.spec.schema.clone(), columns)?, names })
    }

    /// Makes the changes of one partition, and says what they change of its answers.
    fn revise<'a>(
        &mut self,
        number: u32,
        changes: impl Iterator<Item = (Cow<'a, [u8]>, i64)>,
        said: &mut Said,
        output: &mut Output,
    ) -> Result<()> {
        // What could not be computed before has been told.
        let before = match self.emit_changes {
            true => Some(self.answer(number, &mut Vec::new())?),
            false => None,
        };
        changes.for_each(|(row, diff)| self.rows.change(number, &row, diff));
        self.rows.settle();
        if let Some(before) = before {
            let now = self.answer(number, &mut output.dead)?;
            let (gone, new) = differences(&before.names, &now.names);
            said.gone.push(take_record_batch(&before.rows, &gone)?);
            said.new.push(take_record_batch(&now.rows, &new)?);
        }
        Ok(())
    }

    /// Takes back the rows of partitions that no row came for in too long, and forgets them.
    fn let_go(&mut self, epoch: Epoch, alive: impl Iterator<Item = u32>, said: &mut Said) -> Result<()> {
        for number in self.rows.expired(epoch, alive)? {
            if self.emit_changes {
                said.gone.push(self.answer(number, &mut Vec::new())?.rows);
            }
            self.rows.remove(number);
        }
        Ok(())
    }

    /// Says the rows of the partitions that are complete, and forgets them.
    fn close(&mut self, times: Times, output: &mut Output) -> Result<()> {
        let mut finals = Vec::new();
        for number in self.closing.complete(times) {
            if self.emit_finals {
                // Where somebody reads the changes, they have been told of what cannot be computed.
                let mut dead = Vec::new();
                finals.push(self.answer(number, &mut dead)?.rows);
                output.dead.extend(dead.into_iter().filter(|_| !self.emit_changes));
            }
            self.rows.remove(number);
        }
        if !finals.is_empty() {
            output.send(FINALS, Rows::unbounded(Batch::append(concat_batches(&self.spec.schema, &finals)?)));
        }
        if let Some(renamed) = self.rows.compact()? {
            self.closing.rename(&renamed);
        }
        Ok(())
    }
}

/// Rows that are taken back, and rows that are said instead.
#[derive(Default)]
struct Said {
    gone: Vec<RecordBatch>,
    new: Vec<RecordBatch>,
}

/// The positions of what is only in the one and only in the other of two lists in order.
fn differences<T: Ord>(before: &[T], now: &[T]) -> (UInt64Array, UInt64Array) {
    let (mut gone, mut new) = (Vec::new(), Vec::new());
    let (mut old, mut one) = (0, 0);
    while old < before.len() || one < now.len() {
        match (before.get(old), now.get(one)) {
            (Some(left), Some(right)) if left == right => (old, one) = (old + 1, one + 1),
            (Some(left), right) if right.is_none_or(|right| left < right) => {
                gone.push(old as u64);
                old += 1;
            }
            _ => {
                new.push(one as u64);
                one += 1;
            }
        }
    }
    (gone.into(), new.into())
}

impl Operator for Over {
    fn process(&mut self, _epoch: Epoch, rows: Rows, _output: &mut Output) -> Result<()> {
        self.arrived.extend(rows.into_batch());
        Ok(())
    }

    fn finish_epoch(&mut self, epoch: Epoch, times: Times, output: &mut Output) -> Result<()> {
        let mut batches = Vec::new();
        for batch in std::mem::take(&mut self.arrived) {
            let batch = self.closing.in_time(batch, times.before, output)?;
            let changes = self.rows.encode(&batch)?;
            self.closing.note(&batch, &changes.partitions)?;
            batches.push(changes);
        }
        let (changes, mut said) = (EpochChanges::new(batches), Said::default());
        for (number, changes) in changes.partitions() {
            self.revise(number, changes, &mut said, output)?;
        }
        self.let_go(epoch, changes.partitions().map(|(number, _)| number), &mut said)?;
        let gone: usize = said.gone.iter().map(RecordBatch::num_rows).sum();
        let rows = concat_batches(&self.spec.schema, said.gone.iter().chain(&said.new))?;
        let diffs = Int64Array::from_iter_values((0..rows.num_rows()).map(|row| if row < gone { -1 } else { 1 }));
        output.send(CHANGES, Rows::unbounded(Batch::changes(rows, diffs)));
        self.close(times, output)
    }

    fn wake_at(&self) -> Option<Epoch> {
        self.rows.wake_at()
    }

    fn snapshot(&mut self) -> Result<Vec<Section>> {
        self.rows.sections()
    }

    fn restore(&mut self, sections: Vec<Restored>, _watermark: Watermark) -> Result<()> {
        self.rows.restore(&sections)?;
        self.closing.recall(&self.rows)
    }

    fn state(&self) -> StateSize {
        let (rows, bytes) = self.rows.size();
        StateSize { rows: rows as u64, bytes: bytes as u64 }
    }
}
