//! Rows that are kept until their session is over, found by their numbers.

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use std::collections::BTreeMap;
use thalweg_schemas::error::Result;

/// Rows by number, in chunks as they came.
#[derive(Default)]
pub(super) struct HeldRows {
    chunks: Vec<RecordBatch>,
    /// The number of each chunk's first row.
    firsts: Vec<u32>,
    next: u32,
    live: usize,
    bytes: usize,
}

/// So many rows that are gone are put up with.
const GONE_MIN: usize = if cfg!(test) { 8 } else { 8_192 };

impl HeldRows {
    /// Takes rows in; gives the number of the first.
    pub fn add(&mut self, rows: RecordBatch) -> u32 {
        let first = self.next;
        self.next += rows.num_rows() as u32;
        self.live += rows.num_rows();
        self.bytes += rows.get_array_memory_size();
        self.firsts.push(first);
        self.chunks.push(rows);
        first
    }

    /// Notes that `count` rows are not needed any more.
    pub fn let_go(&mut self, count: usize) {
        self.live -= count;
    }

    /// The rows `numbers`, of which there is at least one.
    pub fn gather(&self, numbers: &[u32]) -> Result<RecordBatch> {
        // Only the chunks that are looked into, numbered as they come.
        let (mut chunks, mut known) = (Vec::new(), BTreeMap::new());
        let place = |number: &u32| {
            let chunk = self.firsts.partition_point(|first| first <= number) - 1;
            let place = *known.entry(chunk).or_insert_with(|| {
                chunks.push(&self.chunks[chunk]);
                chunks.len() - 1
            });
            (place, (number - self.firsts[chunk]) as usize)
        };
        let places: Vec<(usize, usize)> = numbers.iter().map(place).collect();
        Ok(interleave_record_batch(&chunks, &places)?)
    }

    /// Lets the room of rows go that are not needed when those are the most: `needed` are the numbers of the others, which get
    /// new ones.
    pub fn compact<'a>(&mut self, needed: impl Iterator<Item = &'a mut u32>) -> Result<()> {
        let gone = self.next as usize - self.live;
        if gone < GONE_MIN || gone < self.live {
            return Ok(());
        }
        let needed: Vec<&mut u32> = needed.collect();
        if needed.is_empty() {
            *self = HeldRows::default();
            return Ok(());
        }
        let rows = self.gather(&needed.iter().map(|number| **number).collect::<Vec<_>>())?;
        *self = HeldRows::default();
        self.add(rows);
        (0u32..).zip(needed).for_each(|(new, number)| *number = new);
        Ok(())
    }

    /// How many are needed.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Bytes.
    pub fn size(&self) -> usize {
        self.bytes
    }
}
