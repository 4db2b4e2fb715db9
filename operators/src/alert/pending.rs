//! Rows whose time has not come: kept by time and key until no earlier one is expected.
//!
//! Where the relation is corrected, a row that is taken back before its time has come was never there.

use super::sample::{Counted, Row, Sample};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A key's columns as bytes.
pub(super) type Key = Arc<[u8]>;

/// Rows by time and key.
#[derive(Debug, Default)]
pub(super) struct Pending {
    samples: BTreeMap<i64, BTreeMap<Key, Sample>>,
    rows: usize,
    bytes: usize,
}

/// What is kept for each row besides its bytes, roughly.
const ROW_OVERHEAD: usize = 64;

impl Pending {
    pub fn add(&mut self, t: i64, key: Key, row: Row, counted: Counted) {
        let sample = self.samples.entry(t).or_default().entry(key).or_default();
        let (size, before) = (row.len() + ROW_OVERHEAD, sample.len());
        if sample.add(row, counted) == 0 {
            sample.retain(|counted| counted.times != 0);
        }
        (self.rows, self.bytes) = match sample.len() {
            after if after > before => (self.rows + 1, self.bytes + size),
            after if after < before => (self.rows - 1, self.bytes - size),
            _ => (self.rows, self.bytes),
        };
    }

    /// Takes out what has a time up to and including `now`, the earliest time first.
    pub fn take(&mut self, now: i64) -> Option<(i64, BTreeMap<Key, Sample>)> {
        let entry = self.samples.first_entry().filter(|entry| *entry.key() <= now)?;
        let (t, samples) = entry.remove_entry();
        for row in samples.values().flat_map(|sample| sample.iter().map(|(row, _)| row)) {
            (self.rows, self.bytes) = (self.rows - 1, self.bytes - row.len() - ROW_OVERHEAD);
        }
        Some((t, samples))
    }

    /// All that is kept, in order.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &Key, &Row, Counted)> {
        let samples = self.samples.iter().flat_map(|(t, keys)| keys.iter().map(move |(key, sample)| (*t, key, sample)));
        samples.flat_map(|(t, key, sample)| sample.iter().map(move |(row, counted)| (t, key, row, *counted)))
    }

    /// Rows and bytes.
    pub fn size(&self) -> (usize, usize) {
        (self.rows, self.bytes)
    }
}
