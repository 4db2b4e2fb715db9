//! Rows of statements, on their way into a source.

use crate::engine::Engine;
use crate::ledger::lock;
use arrow::array::RecordBatch;
use std::time::Duration;
use thalweg_schemas::epoch::Epoch;
use thalweg_schemas::error::{Error, Result};

/// How often a statement looks whether its rows can be seen.
const LOOK: Duration = Duration::from_millis(2);

impl Engine {
    /// Puts rows into `source`, all in one epoch, and waits until they are durable and readers see them; gives the epoch
    /// that readers see then. Columns are found by name; those that are left out are NULL.
    pub fn insert(&self, source: &str, rows: RecordBatch) -> Result<Epoch> {
        let position = self.job.dataflow.sources.iter().position(|plan| plan.name == source);
        let position = position.ok_or_else(|| Error::user(format!("source \"{source}\" does not exist")))?;
        let ended = || Error::outside("the run has ended").with_hint("Start it again to insert rows.");
        let source = lock(&self.sources).get(position).cloned().ok_or_else(ended)?;
        let is_over = || self.ended() || self.job.ledger.has_failed();
        if is_over() {
            return Err(ended());
        }
        source.insert(rows, &is_over)?;
        let taken_in_by = self.job.clock.now_ns() / self.job.settings.tick_ns();
        while (self.epoch().0 as i64) < taken_in_by && !is_over() {
            std::thread::park_timeout(LOOK);
        }
        Ok(self.epoch())
    }
}
