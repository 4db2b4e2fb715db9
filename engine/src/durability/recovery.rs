//! The start of a durable run: what an earlier run left is looked at, told, and its sources are put back in place.

use super::Durability;
use super::checkpoint::Checkpointer;
use super::journal::Journal;
use super::recover::{Recovered, recover};
use super::storage::Storage;
use crate::ledger::Ledger;
use crate::settings::Settings;
use std::sync::Arc;
use thalweg_schemas::error::Result;
use thalweg_schemas::source::Source;

/// The name of the blob that says that the run came to its end and all its state may go.
const ENDED: &str = "ended";

/// What an earlier run left in `storage`.
pub(crate) fn look(storage: &dyn Storage, settings: &Settings) -> Result<Recovered> {
    let past = recover(storage)?.unwrap_or_default();
    let epochs = past.last_epoch().saturating_sub(past.checkpoint());
    match &past.manifest {
        Some(manifest) => tracing::info!(
            "going on from the checkpoint of epoch {} ({}), with {} epochs of the log after it that span {:?}",
            manifest.epoch,
            thalweg_schemas::epoch::Watermark(manifest.time_ns),
            past.records.len(),
            settings.tick.saturating_mul(u32::try_from(epochs).unwrap_or(u32::MAX))
        ),
        None if past.records.is_empty() => {}
        None => {
            tracing::info!("going on from the {} epochs of the log; there is no checkpoint yet", past.records.len())
        }
    }
    Ok(past)
}

/// Puts the sources and the books where `past` says, and starts the threads that write.
pub(crate) fn resume(
    storage: &Arc<dyn Storage>,
    past: &Recovered,
    sources: Vec<(String, Arc<dyn Source>)>,
    settings: &Settings,
    ledger: Arc<Ledger>,
) -> Result<Arc<Durability>> {
    let names: Vec<String> = sources.iter().map(|(name, _)| name.clone()).collect();
    let mark = past.mark(&names);
    for ((_, source), done) in sources.iter().zip(&mark.done) {
        let done = done.spans();
        if source.replayable() && !done.is_empty() {
            source.resume(&done)?;
        }
    }
    if let Some(manifest) = &past.manifest {
        ledger.restore(&manifest.counters);
    }
    let workers = settings.workers.max(1);
    let handles = sources.iter().map(|(_, source)| source.clone()).collect();
    let position = (past.last_epoch(), mark, past.files.clone());
    let journal = Journal::new(storage.clone(), handles, workers, position, true);
    let checkpointer = Checkpointer::new(storage.clone(), sources, settings.checkpoints_kept, past.checkpoints.clone());
    Durability::start(storage.clone(), journal, workers, settings.checkpoint_epochs(), checkpointer, ledger)
}

/// Whether an earlier run came to its own end and died before it could say so; what is left of it is removed.
pub(crate) fn has_ended(storage: &dyn Storage) -> Result<bool> {
    let ended = storage.list()?.iter().any(|name| name == ENDED);
    if ended {
        tracing::info!("the run before this one had come to its end; there is nothing left to do for it");
        clear(storage)?;
    }
    Ok(ended)
}

/// Removes all state. A crash in the middle leaves the mark that says so until the end.
pub(crate) fn clear(storage: &dyn Storage) -> Result<()> {
    storage.write(ENDED, b"")?;
    for name in storage.list()?.iter().filter(|name| *name != ENDED) {
        storage.remove(name)?;
    }
    storage.remove(ENDED)
}
