//! The last changes of a view's share, for readers of an earlier epoch and subscribers that go on from one.
//!
//! An earlier state of the view is the state now less the changes since, so the changes are all that is kept: they share
//! their memory with what subscribers hear, and nothing is copied before somebody asks.

use super::store::{Version, ViewStore};
use arrow::array::Int64Array;
use arrow::datatypes::{Int64Type, SchemaRef};
use arrow::record_batch::RecordBatch;
use std::collections::VecDeque;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::Epoch;
use thalweg_schemas::error::Result;

/// How much of the past is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention {
    /// Epochs behind the last complete one.
    pub epochs: u64,
    /// Bytes of changes; beyond them the oldest go first, however young.
    pub bytes_max: usize,
}

/// The last changes of one share, oldest first.
#[derive(Debug)]
pub(crate) struct History {
    retention: Retention,
    changes: VecDeque<(Epoch, Vec<Batch>)>,
    bytes: usize,
    /// Every change after this epoch is kept.
    floor: Epoch,
}

impl History {
    /// Nothing has changed since `floor`.
    pub fn new(retention: Retention, floor: Epoch) -> History {
        History { retention, changes: VecDeque::new(), bytes: 0, floor }
    }

    /// Every change after this epoch is kept.
    pub fn floor(&self) -> Epoch {
        self.floor
    }

    /// Notes what `epoch` changed, and forgets what is too old as of the last complete epoch.
    pub fn add(&mut self, epoch: Epoch, changes: &[Batch], complete: Epoch) {
        let changes: Vec<Batch> = changes.iter().filter(|batch| !batch.is_empty()).cloned().collect();
        self.bytes += bytes_of(&changes);
        self.changes.push_back((epoch, changes));
        let oldest = complete.0.saturating_sub(self.retention.epochs);
        while let Some((first, _)) = self.changes.front() {
            // What is not complete yet is nobody's past.
            if *first > complete || (first.0 > oldest && self.bytes <= self.retention.bytes_max) {
                break;
            }
            if let Some((epoch, changes)) = self.changes.pop_front() {
                self.bytes -= bytes_of(&changes);
                self.floor = epoch;
            }
        }
    }

    /// The changes after `epoch`, oldest first.
    pub fn after(&self, epoch: Epoch) -> impl DoubleEndedIterator<Item = (Epoch, &Batch)> {
        let later = self.changes.iter().filter(move |(e, _)| *e > epoch);
        later.flat_map(|(e, batches)| batches.iter().map(|batch| (*e, batch)))
    }

    /// The rows as of `epoch`, at or after the floor, when `now` are those with all changes that are kept.
    pub fn rows_as_of(&self, epoch: Epoch, now: &Version, schema: &SchemaRef) -> Result<Vec<RecordBatch>> {
        let undone: Vec<Batch> = self.after(epoch).map(|(_, batch)| inverse(batch)).collect();
        if undone.is_empty() {
            return now.batches();
        }
        let mut store = ViewStore::new(schema.clone());
        for rows in now.batches()? {
            store.restore(rows)?;
        }
        store.apply(&undone)?;
        store.version().batches()
    }
}

fn bytes_of(changes: &[Batch]) -> usize {
    changes.iter().map(Batch::memory_size).sum()
}

/// The changes that undo those of `batch`.
fn inverse(batch: &Batch) -> Batch {
    let diffs = match &batch.diffs {
        Some(diffs) => diffs.unary::<_, Int64Type>(|diff| -diff),
        None => Int64Array::from_value(-1, batch.num_rows()),
    };
    Batch::changes(batch.rows.clone(), diffs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::AsArray;
    use arrow::datatypes::{DataType, Field, Schema};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, false)]))
    }

    fn batch(changes: &[(i64, i64)]) -> Batch {
        let values = Int64Array::from_iter_values(changes.iter().map(|c| c.0));
        let rows = RecordBatch::try_new(schema(), vec![Arc::new(values)]).unwrap();
        Batch::changes(rows, Int64Array::from_iter_values(changes.iter().map(|c| c.1)))
    }

    fn sorted(batches: &[RecordBatch]) -> Vec<i64> {
        let mut values: Vec<i64> =
            batches.iter().flat_map(|b| b.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
        values.sort_unstable();
        values
    }

    proptest! {
        #[test]
        fn every_epoch_behind_the_floor_can_be_read_as_it_was(
            epochs in proptest::collection::vec(proptest::collection::vec((0i64..4, any::<bool>()), 0..8), 1..20),
            kept in 1u64..30,
        ) {
            let mut history = History::new(Retention { epochs: kept, bytes_max: usize::MAX }, Epoch(0));
            let (mut store, mut model) = (ViewStore::new(schema()), Vec::new());
            let mut then = vec![Vec::new()];
            for (epoch, changes) in (1u64..).zip(epochs) {
                let mut batches = Vec::new();
                for (value, insert) in changes {
                    if insert || model.is_empty() {
                        model.push(value);
                        batches.push((value, 1));
                    } else {
                        batches.insert(0, (model.swap_remove(value as usize % model.len()), -1));
                    }
                }
                let changes = [batch(&batches)];
                store.apply(&changes).unwrap();
                history.add(Epoch(epoch), &changes, Epoch(epoch - 1));
                let mut rows = model.clone();
                rows.sort_unstable();
                then.push(rows);
                prop_assert!(epoch - history.floor().0 <= kept + 1);
                for earlier in history.floor().0..=epoch {
                    let rows = history.rows_as_of(Epoch(earlier), &store.version(), &schema()).unwrap();
                    prop_assert_eq!(&sorted(&rows), &then[earlier as usize], "epoch {}", earlier);
                }
            }
        }
    }

    #[test]
    fn much_change_makes_the_memory_shorter() {
        let one = batch(&[(1, 1)]);
        let size = one.memory_size();
        let mut history = History::new(Retention { epochs: 1_000, bytes_max: 3 * size }, Epoch(0));
        for epoch in 1..=10 {
            history.add(Epoch(epoch), std::slice::from_ref(&one), Epoch(epoch));
        }
        assert_eq!(history.floor(), Epoch(7));
        assert_eq!(history.after(Epoch(0)).map(|(e, _)| e.0).collect::<Vec<_>>(), [8, 9, 10]);
    }
}
