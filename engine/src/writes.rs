//! Rows of statements, on their way into a source.

use crate::engine::Engine;
use crate::ledger::lock;
use arrow::array::{Int64Array, RecordBatch};
use std::time::Duration;
use thalweg_schemas::epoch::Epoch;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::source::Payload;

/// How often a statement looks whether its rows can be seen.
const LOOK: Duration = Duration::from_millis(2);

impl Engine {
    /// Puts rows into `source`, or changes where `diffs` says so (of a row that goes, its key counts), all in one epoch, and
    /// waits until they are durable and readers see them; gives the epoch that readers see then. Columns are found by name;
    /// those that are left out are NULL.
    pub fn write(&self, source: &str, rows: RecordBatch, diffs: Option<Int64Array>) -> Result<Epoch> {
        let position = self.job.dataflow.sources.iter().position(|plan| plan.name == source);
        let position = position.ok_or_else(|| Error::user(format!("source \"{source}\" does not exist")))?;
        let ended = || Error::outside("the run has ended").with_hint("Start it again to write rows.");
        let source = lock(&self.sources).get(position).cloned().ok_or_else(ended)?;
        let is_over = || self.ended() || self.job.ledger.has_failed();
        if is_over() {
            return Err(ended());
        }
        let rows = match diffs {
            Some(diffs) => Payload::Changes { rows, diffs },
            None => Payload::Rows(rows),
        };
        source.write(rows, &is_over)?;
        let taken_in_by = self.job.clock.now_ns() / self.job.settings.tick_ns();
        while (self.epoch().0 as i64) < taken_in_by && !is_over() {
            std::thread::park_timeout(LOOK);
        }
        Ok(self.epoch())
    }
}
