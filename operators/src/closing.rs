//! Partitions that are complete when a window closes: because one of their columns is its bound.

use crate::event_time::EventTimes;
use crate::operator::Output;
use crate::ordered::{Change, Ordered};
use crate::plan::TimeOrigin;
use arrow::array::BooleanArray;
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

/// The partitions that are not complete, by their bounds; none where partitions never are.
pub(crate) struct Closing {
    column: Option<usize>,
    open: BTreeMap<i64, BTreeSet<u32>>,
}

impl Closing {
    pub fn new(closes: Option<&Closes>) -> Closing {
        Closing { column: closes.map(|closes| closes.column), open: BTreeMap::new() }
    }

    /// The rows of partitions that were not complete before these came; the others are late.
    pub fn in_time(&self, batch: Batch, before: Watermark, output: &mut Output) -> Result<Batch> {
        let Some(column) = self.column else { return Ok(batch) };
        let bounds = EventTimes::new(batch.rows.column(column))?;
        let late: BooleanArray = bounds.iter().map(|bound| Some(before.closes(bound))).collect();
        if late.true_count() == 0 {
            return Ok(batch);
        }
        output.late.push(batch.filter(&late)?.rows);
        Ok(batch.filter(&not(&late)?)?)
    }

    /// Takes note of the partitions of `changes`, which are the rows of `batch`.
    pub fn note(&mut self, batch: &Batch, changes: &[Change]) -> Result<()> {
        let Some(column) = self.column else { return Ok(()) };
        for (change, bound) in changes.iter().zip(EventTimes::new(batch.rows.column(column))?.iter()) {
            self.open.entry(bound).or_default().insert(change.partition);
        }
        Ok(())
    }

    /// The partitions that are complete as of `now`, in the order of their bounds; they are forgotten.
    pub fn complete(&mut self, now: Watermark) -> Vec<u32> {
        let mut complete = Vec::new();
        while let Some(entry) = self.open.first_entry().filter(|entry| now.closes(*entry.key())) {
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
        let Some(column) = self.column else { return Ok(()) };
        let numbers: Vec<u32> = rows.partitions.keys().copied().collect();
        let bounds = rows.partition_column(column, &numbers)?;
        for (number, bound) in numbers.into_iter().zip(EventTimes::new(&bounds)?.iter()) {
            self.open.entry(bound).or_default().insert(number);
        }
        Ok(())
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}
