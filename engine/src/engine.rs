//! A run, from the outside: started from a plan, looked at while it runs, stopped or waited for.

use crate::clock::Clock;
use crate::settings::Settings;
use crate::status::{DeadLetter, LateRow, Status};
use crate::view::{Snapshot, Subscription};
use std::sync::Arc;
use thalweg_operators::plan::Dataflow;
use thalweg_schemas::connector::ConnectorSpec;
use thalweg_schemas::epoch::Epoch;
use thalweg_schemas::error::{Error, Result};

/// A running dataflow. Cheap to share behind an `Arc`; all methods may be called from any thread.
pub struct Engine {}

impl Engine {
    /// Opens sources and sinks, builds the dataflow on every worker, and runs it.
    ///
    /// Returns as soon as the workers run. Errors are those of opening sources and sinks.
    pub fn start(
        _dataflow: Dataflow,
        _connectors: &[ConnectorSpec],
        _clock: Arc<dyn Clock>,
        _settings: Settings,
    ) -> Result<Engine> {
        Err(Error::bug("not yet"))
    }

    /// The last epoch that is complete on all workers.
    pub fn epoch(&self) -> Epoch {
        Epoch(0)
    }

    /// Views as of one common epoch, the last complete one. Names that are no view are an error.
    pub fn snapshots(&self, _views: &[&str]) -> Result<Vec<Snapshot>> {
        Err(Error::bug("not yet"))
    }

    /// The changes of a view from now on; with `snapshot`, first its rows as insertions at the epoch they are as of.
    pub fn subscribe(&self, _view: &str, _snapshot: bool) -> Result<Subscription> {
        Err(Error::bug("not yet"))
    }

    /// A look at the engine.
    pub fn status(&self) -> Status {
        Status::default()
    }

    /// The dead letters that are kept, oldest first.
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        Vec::new()
    }

    /// The late rows that are kept, oldest first.
    pub fn late_rows(&self) -> Vec<LateRow> {
        Vec::new()
    }

    /// Asks the run to end: sources stop, what was taken in is finished, sinks commit.
    pub fn stop(&self) {}

    /// Whether the run has ended (all sources ended, or after [`stop`](Self::stop), or by an error).
    pub fn ended(&self) -> bool {
        true
    }

    /// Waits until the run has ended and all sinks have finished; the error that ended it, if one did.
    /// Snapshots can be read afterwards.
    pub fn wait(&self) -> Result<()> {
        Ok(())
    }
}
