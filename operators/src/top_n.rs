//! The first rows of each partition by an order: `ROW_NUMBER() OVER (PARTITION BY .. ORDER BY ..) <= n`, `LIMIT`, and
//! removal of duplicates, which is the first row of each.
//!
//! Over an append stream only the rows that are shown are kept: what follows them can never be among them. Over a
//! changelog all rows are kept, since any may move up. Where the partition has the bound of a window, its rows go when the
//! window closes. A change costs by the logarithm of its partition, and what is shown of it is compared once an epoch.

use crate::closing::{Closes, Closing};
use crate::horizon::Horizon;
use crate::operator::{CHANGES, FINALS, Operator, Output, StateSize, Times};
use crate::ordered::{Change, Encoded, OrderBy, Ordered, Partition, each_copy};
use crate::plan::{Plan, TimeOrigin};
use crate::rows::Rows;
use crate::state::{Restored, Section};
use crate::state_ttl::{Lifetimes, TOUCHED};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, UInt64Array};
use arrow::datatypes::SchemaRef;
use std::collections::{BTreeMap, BTreeSet};
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
    pub(super) rows: Ordered,
    /// What was said of each partition, in order.
    shown: BTreeMap<u32, Vec<Shown>>,
    closing: Closing,
    /// When partitions go that no row comes for.
    lifetimes: Option<Lifetimes>,
    arrived: Vec<Batch>,
}

/// Partitions whose size is looked at.
const SOME: usize = 64;

/// A row that is shown, and its place where that is shown too.
type Shown = (Encoded, u64);

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
            shown: BTreeMap::new(),
            closing: Closing::new(spec.closes.as_ref(), spec.horizon.as_ref()),
            lifetimes: None,
            arrived: Vec::new(),
        })
    }

    /// Forgets partitions by `lifetimes`.
    pub fn forgetting(mut self, lifetimes: Option<Lifetimes>) -> TopN {
        if lifetimes.is_some() {
            self.rows.forgetting();
        }
        TopN { lifetimes, ..self }
    }

    /// The last place that is shown.
    fn last(&self) -> u64 {
        self.spec.skip.saturating_add(self.spec.limit)
    }

    /// Takes in rows; the partitions where that may change what is shown go to `touched`, and where any are forgotten all
    /// that a row came for to `alive`.
    fn take_in(&mut self, batch: &Batch, touched: &mut BTreeSet<u32>, alive: &mut Vec<u32>) -> Result<()> {
        let changes = self.rows.encode(batch)?;
        self.closing.note(batch, &changes)?;
        for change in changes {
            if self.lifetimes.is_some() {
                alive.push(change.partition);
            }
            if self.is_behind(&change) {
                if self.append {
                    continue;
                }
            } else {
                touched.insert(change.partition);
            }
            let partition = change.partition;
            self.rows.apply(change);
            if self.append && self.spec.rank == Rank::RowNumber {
                self.trim(partition);
            }
        }
        Ok(())
    }

    /// Whether a row is behind all that are shown and none is missing there, so that nothing changes by it.
    fn is_behind(&self, change: &Change) -> bool {
        if self.spec.rank != Rank::RowNumber {
            return false;
        }
        match (self.append, self.shown.get(&change.partition)) {
            // Kept rows are those that are shown.
            (true, _) => self.rows.partitions.get(&change.partition).is_some_and(|rows| {
                rows.len() as u64 >= self.last() && rows.last_key_value().is_some_and(|(last, _)| change.row > *last)
            }),
            (false, Some(shown)) => {
                shown.len() as u64 == self.spec.limit && shown.last().is_some_and(|(last, _)| change.row > *last)
            }
            (false, None) => false,
        }
    }

    /// Drops what is behind the last place, where rows only come.
    fn trim(&mut self, partition: u32) {
        let last = self.last();
        // Each kept row is there at least once.
        self.rows.trim(partition, |rows| rows.len() as u64 > last);
    }

    /// What is to be shown of a partition.
    fn first_of(&self, rows: &Partition) -> Result<Vec<Shown>> {
        let (skip, last) = (self.spec.skip, self.last());
        let (mut shown, mut before) = (Vec::new(), None::<&[u8]>);
        let (mut number, mut rank, mut dense) = (0, 0, 0);
        for copy in each_copy(rows) {
            let (row, order_len) = copy?;
            number += 1;
            let order = &row[..order_len as usize];
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
            self.rows.trim(partition, |rows| rows.last_key_value().is_some_and(|(row, _)| row > last));
        }
    }

    /// Says what changed in the partitions `touched`.
    fn revise(&mut self, touched: BTreeSet<u32>, output: &mut Output) -> Result<()> {
        let (mut gone, mut new) = (Vec::new(), Vec::new());
        for partition in touched {
            let now = match self.rows.partitions.get(&partition) {
                Some(rows) => self.first_of(rows)?,
                None => Vec::new(),
            };
            self.trim_behind(partition, &now);
            if self.emit_changes {
                let before = self.shown.remove(&partition).unwrap_or_default();
                let (left, came) = differences(&before, &now);
                gone.extend(left.into_iter().map(|row| (partition, row)));
                new.extend(came.into_iter().map(|row| (partition, row)));
                if !now.is_empty() {
                    self.shown.insert(partition, now);
                }
            }
            if self.rows.partitions.get(&partition).is_some_and(BTreeMap::is_empty) {
                self.rows.remove(partition);
            }
        }
        self.send_changes(&gone, &new, output)
    }

    fn send_changes(&self, gone: &[(u32, Shown)], new: &[(u32, Shown)], output: &mut Output) -> Result<()> {
        let rows: Vec<_> = gone.iter().chain(new).collect();
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
        let encoded: Vec<&[u8]> = rows.iter().map(|(_, (row, _))| row.as_ref()).collect();
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
            self.shown.remove(&partition);
            let Some(rows) = self.rows.remove(partition) else { continue };
            if self.emit_finals {
                finals.extend(self.first_of(&rows)?.into_iter().map(|row| (partition, row)));
            }
        }
        if !finals.is_empty() {
            let rows = self.batch(&finals.iter().collect::<Vec<_>>())?;
            output.send(FINALS, Rows::unbounded(Batch::append(rows)));
        }
        Ok(())
    }

    /// Takes back what is shown of partitions that no row came for in too long, and forgets them.
    fn let_go(&mut self, epoch: Epoch, mut alive: Vec<u32>, output: &mut Output) -> Result<()> {
        let Some(lifetimes) = &mut self.lifetimes else { return Ok(()) };
        let emptied = alive.extract_if(.., |number| !self.rows.partitions.contains_key(number));
        lifetimes.forget(&emptied.collect::<Vec<_>>());
        lifetimes.touch(epoch, &alive)?;
        let mut gone = Vec::new();
        for partition in lifetimes.expired(epoch)? {
            gone.extend(self.shown.remove(&partition).into_iter().flatten().map(|row| (partition, row)));
            self.rows.remove(partition);
        }
        self.send_changes(&gone, &[], output)
    }

    fn forget(&mut self) -> Result<()> {
        if let Some(renamed) = self.rows.compact()? {
            let new = |number: &u32| renamed[*number as usize];
            let shown = std::mem::take(&mut self.shown);
            self.shown = shown.into_iter().filter_map(|(number, rows)| Some((new(&number)?, rows))).collect();
            self.closing.rename(&renamed);
            self.lifetimes.iter_mut().for_each(|lifetimes| lifetimes.rename(&renamed));
        }
        Ok(())
    }

    /// Finds again what follows from the rows of a checkpoint.
    fn recall(&mut self) -> Result<()> {
        for (partition, rows) in &self.rows.partitions {
            let shown = self.first_of(rows)?;
            if self.emit_changes && !shown.is_empty() {
                self.shown.insert(*partition, shown);
            }
        }
        self.closing.recall(&self.rows)
    }
}

/// What is only in the one and only in the other of two lists in order.
fn differences(before: &[Shown], now: &[Shown]) -> (Vec<Shown>, Vec<Shown>) {
    let (mut gone, mut new) = (Vec::new(), Vec::new());
    let (mut before, mut now) = (before.iter().peekable(), now.iter().peekable());
    loop {
        match (before.peek(), now.peek()) {
            (Some(old), Some(one)) if old == one => {
                before.next();
                now.next();
            }
            (Some(old), Some(one)) if old < one => gone.extend(before.next().cloned()),
            (_, Some(_)) => new.extend(now.next().cloned()),
            (Some(_), None) => gone.extend(before.next().cloned()),
            (None, None) => return (gone, new),
        }
    }
}

impl Operator for TopN {
    fn process(&mut self, _epoch: Epoch, rows: Rows, _output: &mut Output) -> Result<()> {
        self.arrived.extend(rows.into_batch());
        Ok(())
    }

    fn finish_epoch(&mut self, epoch: Epoch, times: Times, output: &mut Output) -> Result<()> {
        let (mut touched, mut alive) = (BTreeSet::new(), Vec::new());
        for batch in std::mem::take(&mut self.arrived) {
            let batch = self.closing.in_time(batch, times.before, output)?;
            self.take_in(&batch, &mut touched, &mut alive)?;
        }
        self.rows.settle();
        self.revise(touched, output)?;
        self.close(times, output)?;
        self.let_go(epoch, alive, output)?;
        self.forget()
    }

    fn wake_at(&self) -> Option<Epoch> {
        self.lifetimes.as_ref()?.wake_at()
    }

    fn snapshot(&mut self) -> Result<Vec<Section>> {
        let mut sections = vec![self.rows.section()?];
        if let Some(lifetimes) = &mut self.lifetimes {
            sections.extend(lifetimes.sections(&self.rows.keys)?);
        }
        Ok(sections)
    }

    fn restore(&mut self, sections: Vec<Restored>, _watermark: Watermark) -> Result<()> {
        for section in sections {
            match (section.label.as_str(), &mut self.lifetimes) {
                ("rows", _) => self.rows.restore(&section.rows)?,
                (TOUCHED, Some(lifetimes)) => lifetimes.restore(&mut self.rows.keys, &section.rows)?,
                _ => return Err(section.unknown()),
            }
        }
        self.recall()
    }

    fn state(&self) -> StateSize {
        let (rows, bytes) = self.rows.size();
        // Partitions are alike: of some the others follow.
        let some: Vec<usize> = self.shown.values().take(SOME).map(Vec::len).collect();
        let shown = self.shown.len() * size_of::<Shown>() * some.iter().sum::<usize>() / some.len().max(1);
        let lifetimes = self.lifetimes.as_ref().map_or(0, Lifetimes::size);
        StateSize { rows: rows as u64, bytes: (bytes + shown + lifetimes) as u64 }
    }
}
