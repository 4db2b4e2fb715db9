//! What a dataflow reports to the engine beside its results: meters, late rows, dead rows, faults.

use crate::hot_keys::HotKeys;
use crate::operator::{DeadRow, StateSize};
use crate::rows::Rows;
use crate::state::Checkpointed;
use arrow::record_batch::RecordBatch;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use thalweg_schemas::epoch::Epoch;
use thalweg_schemas::error::Error;

/// The engine's ear in a dataflow, one a worker.
pub trait Observer {
    /// A meter for the operator `name` of `view`, asked for once.
    fn operator(&self, view: &str, name: &str) -> Arc<OperatorMeter>;

    /// The operator `name` of `view` was built: what a checkpoint asks for its state. Operators are built in the same
    /// order on every worker and in every run of the same plan.
    fn built(&self, view: &str, name: &str, operator: Rc<RefCell<dyn Checkpointed>>);

    /// Rows came after all of their windows had closed.
    fn late(&self, view: &str, epoch: Epoch, rows: RecordBatch);

    /// A row could not be computed.
    fn dead(&self, view: &str, epoch: Epoch, row: DeadRow);

    /// The run cannot go on.
    fn fail(&self, error: Error);

    /// A stopwatch in nanoseconds: for meters only, never for results.
    fn nanos(&self) -> u64;
}

/// An observer that does not hear of late and dead rows.
pub(crate) struct Unheard(pub Rc<dyn Observer>);

impl Observer for Unheard {
    fn operator(&self, view: &str, name: &str) -> Arc<OperatorMeter> {
        self.0.operator(view, name)
    }

    fn built(&self, view: &str, name: &str, operator: Rc<RefCell<dyn Checkpointed>>) {
        self.0.built(view, name, operator);
    }

    fn late(&self, _view: &str, _epoch: Epoch, _rows: RecordBatch) {}

    fn dead(&self, _view: &str, _epoch: Epoch, _row: DeadRow) {}

    fn fail(&self, error: Error) {
        self.0.fail(error);
    }

    fn nanos(&self) -> u64 {
        self.0.nanos()
    }
}

/// What one operator on one worker did. Written by its worker, read by anyone.
#[derive(Debug, Default)]
pub struct OperatorMeter {
    /// Rows it was handed.
    pub rows_in: AtomicU64,
    /// Rows it sent.
    pub rows_out: AtomicU64,
    /// Rows or groups it holds.
    pub state_rows: AtomicU64,
    /// Bytes it holds.
    pub state_bytes: AtomicU64,
    /// Rows or groups it has forgotten, because they were silent or too many.
    pub evicted: AtomicU64,
    /// Time spent in it, in nanoseconds.
    pub busy_ns: AtomicU64,
    hot_keys: Mutex<HotKeys>,
}

impl OperatorMeter {
    /// The keys that most of its rows are of, as [`HotKeys::hottest`] tells them; `None` too where it has no keys.
    pub fn hottest_keys(&self) -> Option<String> {
        self.hot_keys.lock().unwrap_or_else(PoisonError::into_inner).hottest()
    }

    /// Rows came, to the owners of the columns `key`.
    pub(crate) fn took_in(&self, rows: &Rows, key: &[usize]) {
        self.rows_in.fetch_add(rows.num_rows() as u64, Ordering::Relaxed);
        let Some(batch) = rows.batch().filter(|_| !key.is_empty()) else { return };
        let columns: Vec<_> = key.iter().map(|at| batch.rows.column(*at).clone()).collect();
        self.hot_keys.lock().unwrap_or_else(PoisonError::into_inner).notice(&columns, batch.num_rows());
    }

    pub(crate) fn sent(&self, rows: usize) {
        self.rows_out.fetch_add(rows as u64, Ordering::Relaxed);
    }

    pub(crate) fn holds(&self, state: StateSize) {
        self.state_rows.store(state.rows, Ordering::Relaxed);
        self.state_bytes.store(state.bytes, Ordering::Relaxed);
    }

    pub(crate) fn has_evicted(&self, evicted: u64) {
        self.evicted.store(evicted, Ordering::Relaxed);
    }

    pub(crate) fn worked(&self, nanos: u64) {
        self.busy_ns.fetch_add(nanos, Ordering::Relaxed);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Keeps what a worker reports, for those who look into it. Nothing is late, and nothing fails.
    #[derive(Default)]
    pub(crate) struct Ear {
        /// The operators, in the order in which they were built.
        pub built: RefCell<Vec<Rc<RefCell<dyn Checkpointed>>>>,
        /// Their names and meters.
        pub meters: RefCell<Vec<(String, Arc<OperatorMeter>)>>,
        /// The dead rows of all workers.
        pub dead: Arc<Mutex<Vec<DeadRow>>>,
    }

    impl Observer for Ear {
        fn operator(&self, _view: &str, name: &str) -> Arc<OperatorMeter> {
            let meter = Arc::<OperatorMeter>::default();
            self.meters.borrow_mut().push((name.to_string(), meter.clone()));
            meter
        }

        fn built(&self, _view: &str, _name: &str, operator: Rc<RefCell<dyn Checkpointed>>) {
            self.built.borrow_mut().push(operator);
        }

        fn late(&self, _view: &str, _epoch: Epoch, _rows: RecordBatch) {
            panic!("no row is late");
        }

        fn dead(&self, _view: &str, _epoch: Epoch, row: DeadRow) {
            self.dead.lock().unwrap().push(row);
        }

        fn fail(&self, error: Error) {
            panic!("{error}");
        }

        fn nanos(&self) -> u64 {
            0
        }
    }
}
