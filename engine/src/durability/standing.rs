//! A look at the state that lies in a storage, without touching it: another process may be writing there.

use super::journal::is_log;
use super::manifest::Manifest;
use super::record::{EpochRecord, read_log};
use super::storage::Storage;
use thalweg_operators::deployed::{Standing, StandingSource};
use thalweg_schemas::error::Result;

/// What lies in `storage`; `None` where nothing does that says what it is.
pub fn standing(storage: &dyn Storage) -> Result<Option<Standing>> {
    let Some(manifest) = newest(storage, &storage.list()?) else { return Ok(None) };
    let counter = |name: String| manifest.counters.get(&name).copied().unwrap_or_default();
    let source = |(name, state): (&String, &super::manifest::SourceState)| {
        let rows_in = counter(format!("source/{name}/rows_in"));
        let begun = rows_in > 0 || !state.done.is_empty();
        (name.clone(), StandingSource { begun, rows_in, replayable: state.replayable })
    };
    Ok(Some(Standing {
        epoch: manifest.epoch,
        time_ns: manifest.time_ns,
        sources: manifest.sources.iter().map(source).collect(),
        view_rows: manifest.views.keys().map(|view| (view.clone(), counter(format!("view/{view}/rows")))).collect(),
        deployed: manifest.deployed,
    }))
}

/// Whether the newest checkpoint in `storage` holds all that is in the epoch log.
pub fn log_is_empty(storage: &dyn Storage) -> Result<bool> {
    let names = storage.list()?;
    let manifest = newest(storage, &names);
    let logs = names.iter().filter(|name| is_log(name)).filter_map(|name| storage.read(name).ok());
    let holds = |record: &EpochRecord| manifest.as_ref().is_some_and(|manifest| manifest.holds(record));
    Ok(logs.into_iter().all(|bytes| read_log(&bytes, None).records.iter().all(holds)))
}

fn newest(storage: &dyn Storage, names: &[String]) -> Option<Manifest> {
    let mut epochs: Vec<u64> = names.iter().filter_map(|name| Manifest::epoch_of(name)).collect();
    epochs.sort_unstable();
    // One that is damaged, or was removed meanwhile, has one before or after it.
    let readable = |epoch: &u64| Manifest::from_bytes(&storage.read(&Manifest::name(*epoch)).ok()?).ok();
    epochs.iter().rev().find_map(readable)
}
