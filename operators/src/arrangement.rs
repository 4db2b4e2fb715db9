//! Rows that an operator holds by key, lent to a reader who would otherwise hold them once more.
//!
//! An operator that knows the last row of each key holds all that a view of them shows. It lends its rows as they lie, as
//! of each epoch that changed any; the reader shares the memory, and what is replaced later stays as it was for it.

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use thalweg_schemas::epoch::Epoch;
use thalweg_schemas::error::Result;

/// Rows as they lie: shared with who holds them, never copied and never changed.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// The rows.
    pub rows: RecordBatch,
    /// Which of them count; `None`: all.
    pub live: Option<Arc<BooleanArray>>,
}

impl Chunk {
    /// The rows that count.
    pub fn live_rows(&self) -> Result<RecordBatch> {
        Ok(match &self.live {
            None => self.rows.clone(),
            Some(live) => filter_record_batch(&self.rows, live)?,
        })
    }

    /// How many rows count.
    pub fn len(&self) -> usize {
        self.live.as_ref().map_or(self.rows.num_rows(), |live| live.true_count())
    }

    /// Whether no row counts.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The rows of one operator on one worker: it lends them, and one reader asks for them.
#[derive(Clone, Default)]
pub struct Arrangement {
    /// What epochs left that are still to be asked for; `None`: nobody asks.
    versions: Rc<RefCell<Option<VecDeque<(Epoch, Vec<Chunk>)>>>>,
}

impl Arrangement {
    /// Somebody asks for the rows, from the first one on.
    pub fn read(&self) {
        self.versions.borrow_mut().get_or_insert_default();
    }

    /// The rows as `epoch` left them. No earlier epoch is asked for afterwards.
    pub fn as_of(&self, epoch: Epoch) -> Vec<Chunk> {
        let mut versions = self.versions.borrow_mut();
        let Some(versions) = versions.as_mut() else { return Vec::new() };
        while versions.get(1).is_some_and(|(next, _)| *next <= epoch) {
            versions.pop_front();
        }
        versions.front().filter(|(first, _)| *first <= epoch).map(|(_, chunks)| chunks.clone()).unwrap_or_default()
    }

    /// Whether anybody asks for the rows.
    pub(crate) fn is_read(&self) -> bool {
        self.versions.borrow().is_some()
    }

    /// The rows as `epoch` left them.
    pub(crate) fn lend(&self, epoch: Epoch, chunks: Vec<Chunk>) {
        if let Some(versions) = self.versions.borrow_mut().as_mut() {
            versions.push_back((epoch, chunks));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, AsArray, Int64Array};
    use arrow::datatypes::Int64Type;

    fn chunk(number: i64) -> Chunk {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![number, -1]));
        let live = Some(Arc::new(BooleanArray::from(vec![true, false])));
        Chunk { rows: RecordBatch::try_from_iter([("n", numbers)]).unwrap(), live }
    }

    fn numbers(chunks: &[Chunk]) -> Vec<i64> {
        let of = |chunk: &Chunk| chunk.live_rows().unwrap().column(0).as_primitive::<Int64Type>().values().to_vec();
        chunks.iter().flat_map(of).collect()
    }

    #[test]
    fn rows_are_as_each_epoch_left_them() {
        let arrangement = Arrangement::default();
        arrangement.lend(Epoch(1), vec![chunk(1)]);
        assert!(!arrangement.is_read() && arrangement.as_of(Epoch(1)).is_empty());
        arrangement.read();
        assert!(arrangement.is_read());
        assert_eq!(numbers(&arrangement.as_of(Epoch(1))), [0; 0]);
        for epoch in [2, 5, 6] {
            arrangement.lend(Epoch(epoch), vec![chunk(epoch as i64)]);
        }
        assert_eq!(numbers(&arrangement.as_of(Epoch(1))), [0; 0]);
        assert_eq!(numbers(&arrangement.as_of(Epoch(4))), [2]);
        assert_eq!(numbers(&arrangement.as_of(Epoch(5))), [5]);
        assert_eq!(numbers(&arrangement.as_of(Epoch(9))), [6]);
        assert_eq!((chunk(1).len(), chunk(1).is_empty()), (1, false));
    }
}
