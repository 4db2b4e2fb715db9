//! The start of a durable run: what an earlier run left is looked at, told, and its sources are put back in place.

use super::Durability;
use super::checkpoint::Checkpointer;
use super::journal::Journal;
use super::manifest::{Manifest, VERSION};
use super::recover::{Recovered, recover};
use super::storage::Storage;
use crate::deployment::Takeover;
use crate::ending::Ending;
use crate::ledger::Ledger;
use crate::settings::Settings;
use crate::status::RecoveryStatus;
use std::sync::Arc;
use std::time::Duration;
use thalweg_operators::deployed::Deployed;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::source::Source;

/// The name of the blob that says that the run came to its end and all its state may go.
const ENDED: &str = "ended";

/// What an earlier run left in `storage`.
pub(crate) fn look(storage: &dyn Storage) -> Result<Recovered> {
    Ok(recover(storage)?.unwrap_or_default())
}

/// What there is to say of `past` at `now_ns`; `None` if nothing is gone on from.
pub(crate) fn report(past: &Recovered, sources: &[String], settings: &Settings, now_ns: i64) -> Option<RecoveryStatus> {
    if past.manifest.is_none() && past.records.is_empty() {
        return None;
    }
    let tick_ns = settings.tick_ns();
    let first = past.records.first().map_or(past.last_epoch(), |record| record.epoch);
    let first = past.manifest.as_ref().map_or(first, |manifest| manifest.epoch);
    let length = |ns: i64| Duration::from_nanos(ns.max(0).unsigned_abs());
    let end_ns = (past.last_epoch() as i64 + 1).saturating_mul(tick_ns);
    let last_row = |name: &String| {
        let source = past.manifest.as_ref()?.sources.get(name)?;
        source.partitions.values().map(|partition| partition.last_row_ns).max()
    };
    Some(RecoveryStatus {
        checkpoint: past.manifest.as_ref().map(|manifest| (manifest.epoch, manifest.time_ns)),
        epochs: past.records.len(),
        span: length((past.last_epoch() - first) as i64 * tick_ns),
        behind: length(now_ns - end_ns),
        sources: sources.iter().map(|name| (name.clone(), last_row(name))).collect(),
    })
}

/// Makes the state that `past` is of the state of `deployed`: durably, before anything else is written.
pub(crate) fn take_over(
    storage: &dyn Storage,
    past: &mut Recovered,
    deployed: &Deployed,
    takeover: Option<Takeover>,
    workers: usize,
) -> Result<()> {
    let manifest = match (past.manifest.take(), takeover) {
        // So that whoever finds the log knows whose it is.
        (None, _) if past.records.is_empty() => {
            Manifest { version: VERSION, deployed: deployed.clone(), workers, ..Manifest::default() }
        }
        (Some(_), Some(_)) if !past.records.is_empty() => {
            return Err(Error::bug("the epoch log was not finished before another program took over"));
        }
        (Some(mut manifest), Some(Takeover { kept, seeds, seen, renaming })) => {
            if let Some(renaming) = &renaming {
                manifest = manifest.renamed(renaming);
            }
            let epoch = manifest.epoch.max(seen.0) + 1;
            manifest.handed_over(epoch, deployed.clone(), &kept, seeds)
        }
        (manifest, _) => {
            past.manifest = manifest;
            return Ok(());
        }
    };
    storage.write(&Manifest::name(manifest.epoch), &manifest.to_bytes()?)?;
    past.checkpoints.push(manifest.epoch);
    past.manifest = Some(manifest);
    Ok(())
}

/// Puts the sources and the books where `past` says, and starts the threads that write.
pub(crate) fn resume(
    storage: &Arc<dyn Storage>,
    past: &Recovered,
    sources: Vec<(String, Arc<dyn Source>)>,
    deployed: &Deployed,
    settings: &Settings,
    (ledger, ending): (Arc<Ledger>, Arc<Ending>),
) -> Result<Arc<Durability>> {
    let names: Vec<String> = sources.iter().map(|(name, _)| name.clone()).collect();
    let mark = past.mark(&names);
    for (number, ((name, source), done)) in sources.iter().zip(&mark.done).enumerate() {
        source.remember(past.receipts(name, number));
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
    let checkpointer = Checkpointer::new(
        storage.clone(),
        sources,
        deployed.clone(),
        settings.checkpoints_kept,
        past.checkpoints.clone(),
    );
    Durability::start(storage.clone(), journal, settings, checkpointer, (ledger, ending))
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
