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
        // Rows that follow each other are often of one time, which is then looked up once.
        let mut times = times.enumerate().peekable();
        while let Some((first, time)) = times.next() {
            let at = self.by_time.entry(time).or_default();
            at.push((self.next, first as u32));
            while let Some((row, _)) = times.next_if(|(_, next)| *next == time) {
                at.push((self.next, row as u32));
            }
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
        let due = match stretch(&places) {
            Some((batch, first)) => self.batches[&batch].rows.slice(first as usize, places.len()),
            None => gathered(&self.schema, &self.batches, &places)?,
        };
        for taken in places.chunk_by(|a, b| a.0 == b.0) {
            if let Some(waiting) = self.batches.get_mut(&taken[0].0) {
                waiting.left -= taken.len();
                if waiting.left == 0 {
                    self.batches.remove(&taken[0].0);
                }
            }
        }
        self.len -= places.len();
        self.id = fresh_id();
        Ok(Some((due, times)))
    }

    /// The rows that wait, with the columns `by` in front of all columns; the first `owned_by` say which worker owns them.
    pub fn section(&self, by: &[usize], owned_by: usize) -> Section {
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
        Section { label: ROWS.into(), id: self.id, keys: owned_by, rows: Box::new(rows) }
    }

    pub fn bytes(&self) -> usize {
        let rows: usize = self.batches.values().map(|waiting| waiting.rows.get_array_memory_size()).sum();
        rows + 16 * self.len
    }
}

/// The batch and the first row, where `places` are rows of one batch that follow each other.
fn stretch(places: &[(u64, u32)]) -> Option<(u64, u32)> {
    let first = *places.first()?;
    let follow = |(at, place): (usize, &(u64, u32))| *place == (first.0, first.1 + at as u32);
    places.iter().enumerate().all(follow).then_some(first)
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
