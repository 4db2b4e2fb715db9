//! The first rows of each partition by an order: `ROW_NUMBER() OVER (PARTITION BY .. ORDER BY ..) <= n`, `LIMIT`, and
//! removal of duplicates, which is the first row of each.
//!
//! Over an append stream only the rows that are shown are kept: what follows them can never be among them. Over a
//! changelog all rows are kept, since any may move up. Where the partition has the bound of a window, its rows go when the
//! window closes. A change costs by the logarithm of its partition, and what is shown of it is compared once an epoch with
//! what was shown as of the epoch before.

use crate::closing::{Closes, Closing};
use crate::counted::{Counted, ValueBytes};
use crate::horizon::Horizon;
use crate::operator::{CHANGES, FINALS, Operator, Output, StateSize, Times};
use crate::ordered::{EpochChanges, OrderBy, Ordered, each_copy};
use crate::plan::{Plan, TimeOrigin};
use crate::rows::Rows;
use crate::state::{Restored, Section};
use crate::state_ttl::Lifetimes;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, UInt64Array};
use arrow::datatypes::SchemaRef;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, Watermark};
use thalweg_schemas::error::Result;

#[cfg(test)]
mod tests;

/// Some rows of each partition, by their place in it.
#[derive(Clone, Debug)]
pub struct TopNSpec {
    /// Where the rows come from.
    pub input: Box<Plan>,
    /// Whether `input` is a changelog.
    pub retracts: bool,
    /// The columns of the partition; none means that all rows are of one.
    pub partition: Vec<usize>,
    /// By what its rows are ordered.
    pub order: Vec<OrderBy>,
    /// How places are counted.
    pub rank: Rank,
    /// How many places are left out.
    pub skip: u64,
    /// How many places are shown.
    pub limit: u64,
    /// Whether the place is shown, as a last column.
    pub numbered: bool,
    /// Where the partition has the bound of a window: when it closes.
    pub closes: Option<Closes>,
    /// After how long without a row of it a partition is forgotten, in nanoseconds; only where none closes.
    pub state_ttl_ns: Option<i64>,
    /// Where a column of the partition is a time: how long after it the partition is forgotten; only where none closes.
    pub horizon: Option<Horizon>,
    /// The columns of `input`, then the place (BIGINT UNSIGNED, not NULL) if it is shown.
    pub schema: SchemaRef,
}

impl TopNSpec {
    /// By which watermarks partitions go, if they do.
    pub fn goes_by(&self) -> Option<&TimeOrigin> {
        let closes = self.closes.as_ref().map(|closes| &closes.origin);
        closes.or_else(|| self.horizon.as_ref().map(|horizon| &horizon.origin))
    }

    /// The same, to be changed.
    pub fn origin_mut(&mut self) -> Option<&mut TimeOrigin> {
        let closes = self.closes.as_mut().map(|closes| &mut closes.origin);
        closes.or_else(|| self.horizon.as_mut().map(|horizon| &mut horizon.origin))
    }
}

/// How places are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// Each row has a place of its own.
    RowNumber,
    /// Rows that the order leaves equal share a place, and as many are left free behind it.
    Rank,
    /// Rows that the order leaves equal share a place, and none is left free.
    DenseRank,
}

impl fmt::Display for TopNSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = self.input.schema();
        let list = |items: Vec<String>| items.join(", ");
        match (self.skip, self.rank) {
            (0, rank) => write!(f, "TopN {}{rank}", self.limit)?,
            (skip, rank) => write!(f, "TopN {} after {skip}{rank}", self.limit)?,
        }
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

impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rank::RowNumber => "",
            Rank::Rank => " ranks",
            Rank::DenseRank => " dense ranks",
        })
    }
}

/// Keeps the rows of each partition in order. Port 0: every change; port 1: what is shown of partitions that are complete.
pub struct TopN {
    spec: TopNSpec,
    emit_changes: bool,
    emit_finals: bool,
    /// Whether rows only come.
    append: bool,
    rows: Ordered,
    closing: Closing,
    arrived: Vec<Batch>,
}

/// A row that is shown, and its place where that is shown too.
type Shown = (ValueBytes, u64);

/// Rows that are shown no more, and rows that are shown now, each with its partition.
#[derive(Default)]
struct Said {
    gone: Vec<(u32, Shown)>,
    new: Vec<(u32, Shown)>,
}

impl TopN {
    /// The operator that `spec` asks for, with the streams that somebody reads; `append` says that the rows that it is
    /// given only come.
    pub fn new(spec: &TopNSpec, emit_changes: bool, emit_finals: bool, append: bool) -> Result<TopN> {
        let ties = spec.rank != Rank::RowNumber;
        Ok(TopN {
            rows: Ordered::new(&spec.input.schema(), &spec.partition, &spec.order, ties)?,
            spec: spec.clone(),
            emit_changes,
            emit_finals,
            append,
            closing: Closing::new(spec.closes.as_ref(), spec.horizon.as_ref()),
            arrived: Vec::new(),
        })
    }

    /// Forgets partitions by `lifetimes`.
    pub fn forgetting(self, lifetimes: Option<Lifetimes>) -> TopN {
        TopN { rows: self.rows.forgetting(lifetimes), ..self }
    }

    /// The last place that is shown.
    fn last(&self) -> u64 {
        self.spec.skip.saturating_add(self.spec.limit)
    }

    /// Makes the changes of one partition, and says what they change of what is shown.
    fn revise<'a>(
        &mut self,
        partition: u32,
        changes: impl Iterator<Item = (Cow<'a, [u8]>, i64)>,
        said: &mut Said,
    ) -> Result<()> {
        let (mut before, mut touched) = (None, false);
        for (row, diff) in changes {
            // What is behind the last place in an append stream can never come before it.
            if self.append && self.is_behind_kept(partition, &row) {
                continue;
            }
            let before = match &before {
                Some(before) => before,
                None => before.insert(self.shown(partition)?),
            };
            touched |= self.append || !self.is_behind(before, &row);
            self.rows.change(partition, &row, diff);
            if self.append && self.spec.rank == Rank::RowNumber {
                // Each kept row is there at least once.
                let last = self.last();
                self.rows.trim(partition, |rows| rows.len() as u64 > last);
            }
        }
        self.rows.settle();
        if let Some(before) = before.filter(|_| touched) {
            let now = self.first_of(self.rows.rows(partition))?;
            self.trim_behind(partition, &now);
            if self.emit_changes {
                said.differences(partition, before, now);
            }
        }
        Ok(())
    }

    /// Whether a row is behind all that are kept and none is missing there.
    fn is_behind_kept(&self, partition: u32, row: &[u8]) -> bool {
        let rows = self.rows.rows(partition);
        self.spec.rank == Rank::RowNumber
            && rows.len() as u64 >= self.last()
            && rows.last().is_some_and(|last| *row > **last)
    }

    /// Whether a row is behind all that were shown and none was missing there, so that nothing changes by it.
    fn is_behind(&self, shown: &[Shown], row: &[u8]) -> bool {
        self.spec.rank == Rank::RowNumber
            && shown.len() as u64 == self.spec.limit
            && shown.last().is_some_and(|(last, _)| *row > **last)
    }

    /// What was said of a partition: what is to be shown of its rows before they change.
    fn shown(&self, partition: u32) -> Result<Vec<Shown>> {
        if self.emit_changes { self.first_of(self.rows.rows(partition)) } else { Ok(Vec::new()) }
    }

    /// What is to be shown of a partition.
    fn first_of(&self, rows: &Counted) -> Result<Vec<Shown>> {
        let (skip, last) = (self.spec.skip, self.last());
        let (mut shown, mut before) = (Vec::new(), None::<&[u8]>);
        let (mut number, mut rank, mut dense) = (0, 0, 0);
        for copy in each_copy(rows) {
            let row = copy?;
            number += 1;
            let order = self.rows.order_of(row);
            if before != Some(order) {
                (rank, dense, before) = (number, dense + 1, Some(order));
            }
            let place = match self.spec.rank {
                Rank::RowNumber => number,
                Rank::Rank => rank,
                Rank::DenseRank => dense,
            };
            if place > last {
                break;
            }
            if place > skip {
                shown.push((row.clone(), if self.spec.numbered { place } else { 0 }));
            }
        }
        Ok(shown)
    }

    /// Drops the rows behind those that are shown, where rows only come and several may share the last place.
    fn trim_behind(&mut self, partition: u32, shown: &[Shown]) {
        if !self.append || self.spec.rank == Rank::RowNumber || self.spec.skip > 0 {
            return;
        }
        if let Some((last, _)) = shown.last() {
            self.rows.trim(partition, |rows| rows.last().is_some_and(|row| row > last));
        }
    }

    fn send_changes(&self, Said { gone, new }: Said, output: &mut Output) -> Result<()> {
        let rows: Vec<_> = gone.iter().chain(&new).collect();
        if !rows.is_empty() {
            let diffs = (0..rows.len()).map(|row| if row < gone.len() { -1 } else { 1 });
            let diffs = Int64Array::from_iter_values(diffs);
            output.send(CHANGES, Rows::unbounded(Batch::changes(self.batch(&rows)?, diffs)));
        }
        Ok(())
    }

    /// Rows as the plan has them.
    fn batch(&self, rows: &[&(u32, Shown)]) -> Result<RecordBatch> {
        let partitions: Vec<u32> = rows.iter().map(|(partition, _)| *partition).collect();
        let encoded: Vec<&[u8]> = rows.iter().map(|(_, (row, _))| &**row).collect();
        let mut columns = self.rows.decode(&partitions, &encoded)?.columns().to_vec();
        if self.spec.numbered {
            let places = rows.iter().map(|(_, (_, place))| *place);
            columns.push(Arc::new(UInt64Array::from_iter_values(places)) as ArrayRef);
        }
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(RecordBatch::try_new_with_options(self.spec.schema.clone(), columns, &options)?)
    }

    /// Says what is shown of the partitions that are complete, and forgets them.
    fn close(&mut self, times: Times, output: &mut Output) -> Result<()> {
        let mut finals = Vec::new();
        for partition in self.closing.complete(times) {
            if self.emit_finals {
                let shown = self.first_of(self.rows.rows(partition))?;
                finals.extend(shown.into_iter().map(|row| (partition, row)));
            }
            self.rows.remove(partition);
        }
        if !finals.is_empty() {
            let rows = self.batch(&finals.iter().collect::<Vec<_>>())?;
            output.send(FINALS, Rows::unbounded(Batch::append(rows)));
        }
        Ok(())
    }

    /// Takes back what is shown of partitions that no row came for in too long, and forgets them.
    fn let_go(&mut self, epoch: Epoch, alive: impl Iterator<Item = u32>, said: &mut Said) -> Result<()> {
        for partition in self.rows.expired(epoch, alive)? {
            said.differences(partition, self.shown(partition)?, Vec::new());
            self.rows.remove(partition);
        }
        Ok(())
    }
}

impl Said {
    /// Takes note of what is only in the one and only in the other of two lists in order.
    fn differences(&mut self, partition: u32, before: Vec<Shown>, now: Vec<Shown>) {
        let (mut before, mut now) = (before.into_iter().peekable(), now.into_iter().peekable());
        loop {
            match (before.peek(), now.peek()) {
                (Some(old), Some(one)) if old == one => {
                    before.next();
                    now.next();
                }
                (Some(old), Some(one)) if old < one => self.gone.extend(before.next().map(|row| (partition, row))),
                (_, Some(_)) => self.new.extend(now.next().map(|row| (partition, row))),
                (Some(_), None) => self.gone.extend(before.next().map(|row| (partition, row))),
                (None, None) => return,
            }
        }
    }
}

impl Operator for TopN {
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
        for (partition, changes) in changes.partitions() {
            self.revise(partition, changes, &mut said)?;
        }
        self.let_go(epoch, changes.partitions().map(|(partition, _)| partition), &mut said)?;
        self.send_changes(said, output)?;
        self.close(times, output)?;
        if let Some(renamed) = self.rows.compact()? {
            self.closing.rename(&renamed);
        }
        Ok(())
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
