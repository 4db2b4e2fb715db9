//! The engine's ear in the dataflow: enters what operators report in the books of the run.

use crate::archive::letter::{Form, Letter};
use crate::holdings::Holdings;
use crate::ledger::lock;
use crate::worker::Job;
use arrow::record_batch::RecordBatch;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use thalweg_operators::evaluate::row_to_json;
use thalweg_operators::observer::{Observer, OperatorMeter};
use thalweg_operators::operator::DeadRow;
use thalweg_operators::state::Checkpointed;
use thalweg_schemas::epoch::Epoch;
use thalweg_schemas::error::Error;

pub(crate) struct Watcher {
    job: Arc<Job>,
    worker: usize,
    started: Instant,
    holdings: Rc<RefCell<Holdings>>,
}

impl Watcher {
    #[allow(clippy::disallowed_methods, reason = "a stopwatch for meters; no result depends on it")]
    pub fn new(job: Arc<Job>, worker: usize, holdings: Rc<RefCell<Holdings>>) -> Watcher {
        Watcher { job, worker, started: Instant::now(), holdings }
    }

    fn time_of(&self, epoch: Epoch) -> i64 {
        (epoch.0 as i64).saturating_mul(self.job.settings.tick_ns())
    }
}

impl Observer for Watcher {
    fn operator(&self, view: &str, name: &str) -> Arc<OperatorMeter> {
        let meter = Arc::new(OperatorMeter::default());
        lock(&self.job.ledger.operators).push((view.to_string(), name.to_string(), self.worker, meter.clone()));
        meter
    }

    fn built(&self, view: &str, name: &str, operator: Rc<RefCell<dyn Checkpointed>>) {
        self.holdings.borrow_mut().add_operator(view, name, operator);
    }

    fn late(&self, view: &str, epoch: Epoch, rows: RecordBatch) {
        if let Some(book) = self.job.ledger.views.get(view) {
            book.late.fetch_add(rows.num_rows() as u64, Ordering::AcqRel);
        }
        // A flood of them is counted; writing all of it out would hold everything up.
        let first = rows.num_rows().saturating_sub(self.job.settings.late_rows_max);
        for row in first..rows.num_rows() {
            self.job.ledger.keep_late(Letter {
                time_ns: self.time_of(epoch),
                origin: view.to_string(),
                reason: "late".to_string(),
                attempts: 1,
                raw: row_to_json(&rows, row).into_bytes(),
                ..Letter::default()
            });
        }
    }

    fn dead(&self, view: &str, epoch: Epoch, row: DeadRow) {
        if let Some(book) = self.job.ledger.views.get(view)
            && book.dead.fetch_add(1, Ordering::AcqRel) == 0
        {
            tracing::warn!(
                view,
                "a row could not be computed: {} (further ones are counted in thalweg.views)",
                row.reason
            );
        }
        self.job.ledger.keep_dead(Letter {
            time_ns: self.time_of(epoch),
            origin: view.to_string(),
            reason: row.reason,
            attempts: 1,
            form: Form::Apart,
            raw: row.row.into_bytes(),
            ..Letter::default()
        });
    }

    fn fail(&self, error: Error) {
        self.job.ledger.fail(error);
    }

    fn nanos(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }
}
