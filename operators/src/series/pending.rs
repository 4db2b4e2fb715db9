//! Rows that wait until the watermark says that no earlier one is expected.

use crate::state::{Section, fresh_id, unnamed};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::interleave;
use arrow::datatypes::SchemaRef;
use std::collections::{BTreeMap, BTreeSet};
use thalweg_schemas::epoch::Watermark;
use thalweg_schemas::error::Result;

/// The label of their section.
pub(super) const ROWS: &str = "rows";

/// A batch, and how many of its rows still wait.
struct Waiting {
    rows: RecordBatch,
    left: usize,
}

/// Rows by event time.
pub(super) struct Pending {
    schema: SchemaRef,
    batches: BTreeMap<u64, Waiting>,
    by_time: BTreeMap<i64, Vec<(u64, u32)>>,
    next: u64,
    /// Another one after every change.
    id: u64,
    len: usize,
}

impl Pending {
    pub fn new(schema: SchemaRef) -> Pending {
        let (batches, by_time) = (BTreeMap::new(), BTreeMap::new());
        Pending { schema, batches, by_time, next: 0, id: fresh_id(), len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Takes in rows and their times.
    pub fn insert(&mut self, rows: RecordBatch, times: impl Iterator<Item = i64>) {
        if rows.num_rows() == 0 {
            return;
        }
        for (row, time) in times.enumerate() {
            self.by_time.entry(time).or_default().push((self.next, row as u32));
        }
        self.len += rows.num_rows();
        self.batches.insert(self.next, Waiting { left: rows.num_rows(), rows });
        self.next += 1;
        self.id = fresh_id();
    }

    /// Takes out the rows that are due as of `now`, in order of time, with their times.
    pub fn due(&mut self, now: Watermark) -> Result<Option<(RecordBatch, Vec<i64>)>> {
        let (mut places, mut times) = (Vec::new(), Vec::new());
        while let Some(entry) = self.by_time.first_entry().filter(|entry| now.closes(*entry.key())) {
            let time = *entry.key();
            let rows = entry.remove();
            times.resize(times.len() + rows.len(), time);
            places.extend(rows);
        }
        if places.is_empty() {
            return Ok(None);
        }
        let due = gathered(&self.schema, &self.batches, &places)?;
        for (batch, _) in &places {
            if let Some(waiting) = self.batches.get_mut(batch) {
                waiting.left -= 1;
                if waiting.left == 0 {
                    self.batches.remove(batch);
                }
            }
        }
        self.len -= places.len();
        self.id = fresh_id();
        Ok(Some((due, times)))
    }

    /// The rows that wait, with the columns `by` in front of all columns.
    pub fn section(&self, by: &[usize]) -> Section {
        let places: Vec<(u64, u32)> = self.by_time.values().flatten().copied().collect();
        let batches =
            self.batches.iter().map(|(name, waiting)| (*name, Waiting { rows: waiting.rows.clone(), left: 0 }));
        let (batches, schema, by_columns) = (batches.collect(), self.schema.clone(), by.to_vec());
        let rows = move || {
            let rows = gathered(&schema, &batches, &places)?;
            let keys = by_columns.iter().map(|at| rows.column(*at).clone());
            let columns: Vec<ArrayRef> = keys.chain(rows.columns().iter().cloned()).collect();
            unnamed(columns, rows.num_rows())
        };
        Section { label: ROWS.into(), id: self.id, keys: by.len(), rows: Box::new(rows) }
    }

    pub fn bytes(&self) -> usize {
        let rows: usize = self.batches.values().map(|waiting| waiting.rows.get_array_memory_size()).sum();
        rows + 16 * self.len
    }
}

/// The rows at `places` as one batch.
fn gathered(schema: &SchemaRef, batches: &BTreeMap<u64, Waiting>, places: &[(u64, u32)]) -> Result<RecordBatch> {
    let named: BTreeSet<u64> = places.iter().map(|(batch, _)| *batch).collect();
    let position: BTreeMap<u64, usize> = named.iter().enumerate().map(|(at, batch)| (*batch, at)).collect();
    let parts: Vec<&RecordBatch> =
        named.iter().filter_map(|batch| batches.get(batch)).map(|waiting| &waiting.rows).collect();
    if parts.is_empty() {
        return Ok(RecordBatch::new_empty(schema.clone()));
    }
    let indices: Vec<(usize, usize)> = places.iter().map(|(batch, row)| (position[batch], *row as usize)).collect();
    let column = |at: usize| {
        let arrays: Vec<_> = parts.iter().map(|part| part.column(at).as_ref()).collect();
        interleave(&arrays, &indices)
    };
    let columns = (0..schema.fields().len()).map(column).collect::<Result<_, _>>()?;
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}
