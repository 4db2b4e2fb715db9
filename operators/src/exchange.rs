//! Which worker a row belongs to: by a hash of its key columns, computed with Arrow kernels for a batch at once.

use crate::rows::Rows;
use arrow::array::{ArrayRef, UInt64Array};
use datafusion_common::hash_utils::{RandomState, create_hashes};
use std::rc::Rc;
use thalweg_schemas::batch::Batch;
use timely::communication::Push;
use timely::dataflow::channels::Message;
use timely::dataflow::channels::pact::{DistributorPact, ParallelizationContract, Pipeline};
use timely::dataflow::channels::pushers::exchange::Distributor;
use timely::logging::TimelyLogger;
use timely::progress::Timestamp;
use timely::worker::Worker;

/// Hashes of rows over `columns`, one a row: equal rows have equal hashes, on every machine and in every run.
pub fn hash_rows(columns: &[ArrayRef], rows: usize) -> Result<Vec<u64>, datafusion_common::DataFusionError> {
    let mut hashes = vec![0; rows];
    if !columns.is_empty() {
        create_hashes(columns, &RandomState::default(), &mut hashes)?;
    }
    Ok(hashes)
}

/// Which of `peers` workers owns rows with this hash. The high half decides: the low bits place the row in the owner's
/// hash tables.
pub fn owner(hash: u64, peers: usize) -> usize {
    ((hash >> 32) % peers as u64) as usize
}

/// Sends each row to the worker that owns its key; rows without key columns all to the first worker.
pub struct KeyDistributor {
    key: Vec<usize>,
}

/// The exchange of a stream by columns.
pub struct ByKey(Vec<usize>);

/// The exchange of a stream by the columns `key`.
pub fn by_key(key: Vec<usize>) -> ByKey {
    ByKey(key)
}

/// How rows come to workers, and by which columns.
pub trait Routed<T = u64>: ParallelizationContract<T, Rows> + 'static {
    /// The columns; none where rows stay where they are, or all go to one worker.
    fn key(&self) -> &[usize];
}

impl<T: Timestamp> Routed<T> for Pipeline {
    fn key(&self) -> &[usize] {
        &[]
    }
}

impl<T: Timestamp> Routed<T> for ByKey {
    fn key(&self) -> &[usize] {
        &self.0
    }
}

type Distribution = DistributorPact<Box<dyn FnOnce(usize) -> KeyDistributor>>;

impl<T: Timestamp> ParallelizationContract<T, Rows> for ByKey {
    type Pusher = <Distribution as ParallelizationContract<T, Rows>>::Pusher;
    type Puller = <Distribution as ParallelizationContract<T, Rows>>::Puller;

    fn connect(
        self,
        worker: &Worker,
        identifier: usize,
        address: Rc<[usize]>,
        logging: Option<TimelyLogger>,
    ) -> (Self::Pusher, Self::Puller) {
        let distribution: Distribution = DistributorPact(Box::new(move |_peers| KeyDistributor { key: self.0 }));
        distribution.connect(worker, identifier, address, logging)
    }
}

impl KeyDistributor {
    fn targets(&self, batch: &Batch, peers: usize) -> Vec<Vec<u64>> {
        let mut targets = vec![Vec::new(); peers];
        let columns: Vec<ArrayRef> = self.key.iter().map(|&i| batch.rows.column(i).clone()).collect();
        let hashes =
            hash_rows(&columns, batch.num_rows()).expect("the planner refuses keys of a type that cannot be hashed");
        for (row, hash) in hashes.iter().enumerate() {
            targets[owner(*hash, peers)].push(row as u64);
        }
        targets
    }
}

impl Distributor<Rows> for KeyDistributor {
    fn partition<T: Clone, P: Push<Message<T, Rows>>>(&mut self, container: &mut Rows, time: &T, pushers: &mut [P]) {
        let rows = std::mem::take(container);
        let bound = rows.late_bound();
        let Some(batch) = rows.into_batch() else { return };
        if self.key.is_empty() || pushers.len() == 1 {
            Message::push_at(&mut Rows::new(batch, bound), time.clone(), &mut pushers[0]);
            return;
        }
        for (target, indices) in self.targets(&batch, pushers.len()).into_iter().enumerate() {
            if indices.is_empty() {
                continue;
            }
            let part = if indices.len() == batch.num_rows() {
                batch.clone()
            } else {
                batch.take(&UInt64Array::from(indices)).expect("the indices are rows of the batch")
            };
            Message::push_at(&mut Rows::new(part, bound), time.clone(), &mut pushers[target]);
        }
    }

    fn flush<T: Clone, P: Push<Message<T, Rows>>>(&mut self, _time: &T, _pushers: &mut [P]) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, Int64Array, RecordBatch, StringArray};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use std::collections::BTreeSet;
    use std::sync::{Arc, Mutex};
    use thalweg_schemas::epoch::Watermark;
    use timely::container::NoopBuilder;
    use timely::dataflow::InputHandle;
    use timely::dataflow::operators::Input;
    use timely::dataflow::operators::generic::Operator;

    #[test]
    fn rows_that_travel_as_bytes_come_to_their_owners() {
        let heard = Arc::new(Mutex::new(vec![BTreeSet::<i64>::new(); 3]));
        let told = heard.clone();
        // As between processes: what one worker sends another is written as bytes and read again.
        let config = timely::Config {
            communication: timely::CommunicationConfig::ProcessBinary(3),
            worker: timely::WorkerConfig::default(),
        };
        let guards = timely::execute(config, move |worker| {
            let (index, peers, heard) = (worker.index(), worker.peers(), told.clone());
            let mut input: InputHandle<u64, NoopBuilder<Rows>> = InputHandle::new_with_builder();
            worker.dataflow::<u64, _, _>(|scope| {
                scope.input_from(&mut input).sink(by_key(vec![0]), "hear", move |(input, _)| {
                    input.for_each(|_, rows| {
                        assert_eq!(rows.late_bound(), Watermark(7));
                        let column = rows.batch().unwrap().rows.column(0).as_primitive::<Int64Type>();
                        heard.lock().unwrap()[index].extend(column.values());
                    });
                });
            });
            let schema = Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, false)]));
            let own = Int64Array::from_iter_values((0..900).filter(|n| *n as usize % peers == index));
            let rows = RecordBatch::try_new(schema, vec![Arc::new(own)]).unwrap();
            input.send_batch(&mut Rows::new(Batch::append(rows), Watermark(7)));
        });
        guards.unwrap().join().into_iter().for_each(|worker| worker.unwrap());
        let heard = heard.lock().unwrap();
        assert_eq!(heard.iter().map(BTreeSet::len).sum::<usize>(), 900);
        let all: ArrayRef = Arc::new(Int64Array::from_iter_values(0..900));
        for (number, hash) in (0..900).zip(hash_rows(&[all], 900).unwrap()) {
            assert!(heard[owner(hash, 3)].contains(&number));
        }
    }

    #[test]
    fn every_row_has_one_owner_and_equal_keys_share_it() {
        let schema = Schema::new(vec![Field::new("k", DataType::Utf8, true), Field::new("v", DataType::Int64, false)]);
        let keys = StringArray::from_iter((0..1000).map(|i| (i % 7 != 0).then(|| format!("key-{}", i % 50))));
        let values = Int64Array::from_iter_values(0..1000);
        let rows = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(keys.clone()), Arc::new(values)]).unwrap();
        for peers in [2, 3, 8] {
            let targets = KeyDistributor { key: vec![0] }.targets(&Batch::append(rows.clone()), peers);
            assert_eq!(targets.iter().map(Vec::len).sum::<usize>(), 1000);
            let mut owner = std::collections::BTreeMap::new();
            for (target, indices) in targets.iter().enumerate() {
                assert!(!indices.is_empty(), "50 keys spread over {peers} workers leave none without");
                for &row in indices {
                    let key = keys.iter().nth(row as usize).unwrap();
                    assert_eq!(*owner.entry(key).or_insert(target), target);
                }
            }
        }
    }
}
