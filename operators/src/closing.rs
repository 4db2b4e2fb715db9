//! Partitions and groups that go with event time: because one of their columns is the bound of a window, which closes, or a
//! time that falls behind a horizon.

use crate::event_time::{EventTimes, times_or_never};
use crate::horizon::Horizon;
use crate::operator::{Output, Times};
use crate::ordered::Ordered;
use crate::plan::TimeOrigin;
use arrow::array::{ArrayRef, BooleanArray};
use arrow::compute::not;
use std::collections::{BTreeMap, BTreeSet};
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::Watermark;
use thalweg_schemas::error::Result;

/// The bound of a window among the columns of a partition.
#[derive(Clone, Debug)]
pub struct Closes {
    /// Its position in the input; a timestamp, not NULL.
    pub column: usize,
    /// From which watermarks the partition is complete: when they reach the bound.
    pub origin: TimeOrigin,
}

/// The partitions that have not gone, by their times; none where partitions never do.
pub(crate) struct Closing {
    by: By,
    open: BTreeMap<i64, BTreeSet<u32>>,
}

/// When partitions go.
enum By {
    /// Never.
    Nothing,
    /// When the watermark reaches this column, the bound of a window: they are complete then.
    Bound(usize),
    /// When they are behind a horizon.
    Horizon(Horizon),
}

impl Closing {
    pub fn new(closes: Option<&Closes>, horizon: Option<&Horizon>) -> Closing {
        let by = match (closes, horizon) {
            (Some(closes), _) => By::Bound(closes.column),
            (None, Some(horizon)) => By::Horizon(horizon.clone()),
            (None, None) => By::Nothing,
        };
        Closing { by, open: BTreeMap::new() }
    }

    /// Whether anything ever goes.
    pub fn lets_go(&self) -> bool {
        !matches!(self.by, By::Nothing)
    }

    fn column(&self) -> Option<usize> {
        match &self.by {
            By::Nothing => None,
            By::Bound(column) => Some(*column),
            By::Horizon(horizon) => Some(horizon.column),
        }
    }

    /// The rows of partitions that were not complete before these came; the others are late.
    pub fn in_time(&self, batch: Batch, before: Watermark, output: &mut Output) -> Result<Batch> {
        // What is behind a horizon has been held up before.
        let By::Bound(column) = self.by else { return Ok(batch) };
        let bounds = EventTimes::new(batch.rows.column(column))?;
        let late: BooleanArray = bounds.iter().map(|bound| Some(before.closes(bound))).collect();
        if late.true_count() == 0 {
            return Ok(batch);
        }
        output.late.push(batch.filter(&late)?.rows);
        Ok(batch.filter(&not(&late)?)?)
    }

    /// Takes note of the partitions of the rows of `batch`.
    pub fn note(&mut self, batch: &Batch, partitions: &[u32]) -> Result<()> {
        let Some(column) = self.column() else { return Ok(()) };
        for (partition, bound) in partitions.iter().zip(times_or_never(batch.rows.column(column))?) {
            self.open.entry(bound).or_default().insert(*partition);
        }
        Ok(())
    }

    /// Takes note of groups, whose keys `keys_of` tells.
    pub fn note_groups(&mut self, groups: &[u32], keys_of: impl Fn(&[u32]) -> Result<Vec<ArrayRef>>) -> Result<()> {
        let Some(column) = self.column().filter(|_| !groups.is_empty()) else { return Ok(()) };
        for (group, time) in groups.iter().zip(times_or_never(&keys_of(groups)?[column])?) {
            self.open.entry(time).or_default().insert(*group);
        }
        Ok(())
    }

    /// The partitions that go, in the order of their times; they are forgotten.
    pub fn complete(&mut self, times: Times) -> Vec<u32> {
        let goes = |time: i64| match &self.by {
            By::Nothing => false,
            By::Bound(_) => times.now.closes(time),
            By::Horizon(horizon) => time <= horizon.bound(times.reached),
        };
        let mut complete = Vec::new();
        while let Some(entry) = self.open.first_entry().filter(|entry| goes(*entry.key())) {
            complete.extend(entry.remove());
        }
        complete
    }

    /// Renames all partitions; those without a name are gone.
    pub fn rename(&mut self, renamed: &[Option<u32>]) {
        for partitions in self.open.values_mut() {
            *partitions = partitions.iter().filter_map(|number| renamed[*number as usize]).collect();
        }
        self.open.retain(|_, partitions| !partitions.is_empty());
    }

    /// Finds again what follows from the rows of a checkpoint.
    pub fn recall(&mut self, rows: &Ordered) -> Result<()> {
        let Some(column) = self.column() else { return Ok(()) };
        let numbers: Vec<u32> = rows.partitions().collect();
        let bounds = rows.partition_column(column, &numbers)?;
        for (number, bound) in numbers.into_iter().zip(times_or_never(&bounds)?) {
            self.open.entry(bound).or_default().insert(number);
        }
        Ok(())
    }

    pub fn size(&self) -> usize {
        self.open.values().map(|groups| 8 * groups.len() + 64).sum()
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}
