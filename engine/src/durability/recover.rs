//! What an earlier run left behind: the newest checkpoint that is whole, and the log since then.

use super::journal::{Mark, first_of, is_log};
use super::manifest::{Manifest, SectionRef, VERSION};
use super::read_ahead::{ReadAhead, read_ahead};
use super::record::{EpochRecord, Readout, read_log};
use super::storage::Storage;
use std::collections::BTreeMap;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::source::{Receipt, Span};

/// Where a run goes on.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// The checkpoint; `None`: from the beginning.
    pub manifest: Option<Manifest>,
    /// The epochs after it that brought something.
    pub records: Vec<EpochRecord>,
    /// The files of the log with the last epoch in each.
    pub files: Vec<(String, u64)>,
    /// The checkpoints that are whole, oldest first.
    pub checkpoints: Vec<u64>,
}

/// Looks for what an earlier run left; `None` where there is nothing.
pub(crate) fn recover(storage: &dyn Storage) -> Result<Option<Recovered>> {
    let names = storage.list()?;
    let (records, files) = read_logs(storage, names.iter().filter(|name| is_log(name)))?;
    let mut checkpoints: Vec<u64> = names.iter().filter_map(|name| Manifest::epoch_of(name)).collect();
    checkpoints.sort_unstable();
    let mut damaged = None;
    while let Some(&epoch) = checkpoints.last() {
        let name = Manifest::name(epoch);
        if let Some(version) = storage.read(&name).ok().as_deref().and_then(Manifest::later_version) {
            let message = format!("checkpoint {} was written by a newer Thalweg", storage.describe(&name));
            return Err(refuse(&message)
                .with_detail(format!(
                    "It has version {version} of its format; this Thalweg reads versions up to {VERSION}."
                ))
                .with_hint("Run the newer Thalweg, or start anew with another --data folder."));
        }
        match read_manifest(storage, epoch) {
            Ok(manifest) => {
                if damaged.is_some() {
                    tracing::warn!("going on from the checkpoint before it, of epoch {epoch}");
                }
                let records = records_after(records, &manifest, storage, &files)?;
                return Ok(Some(Recovered { manifest: Some(manifest), records, files, checkpoints }));
            }
            Err(why) => {
                let name = storage.describe(&name);
                tracing::warn!("checkpoint {name} is damaged: {why}");
                damaged.get_or_insert(format!("{name}: {why}"));
                checkpoints.pop();
            }
        }
    }
    match (damaged, records.first()) {
        (None, None) => Ok(None),
        (_, Some(first)) if first.sequence == 0 => {
            Ok(Some(Recovered { manifest: None, records: contiguous(records, storage, &files)?, files, checkpoints }))
        }
        (damaged, _) => Err(refuse("no checkpoint is whole, and the log does not reach back to the beginning")
            .with_detail(damaged.unwrap_or_else(|| "there is no checkpoint".to_string()))),
    }
}

fn refuse(what: &str) -> Error {
    Error::outside(format!("the state cannot be recovered: {what}")).with_hint(
        "Bring the files back from a copy, or start anew with another --data folder (sources are then read from their \
         beginning and sinks may get results again).",
    )
}

type Files = Vec<(String, u64)>;

fn read_logs<'a>(storage: &dyn Storage, names: impl Iterator<Item = &'a String>) -> Result<(Vec<EpochRecord>, Files)> {
    let mut logs = Vec::new();
    for name in names {
        let bytes = storage.read(name)?;
        logs.push((name, bytes.len(), read_log(&bytes, first_of(name))));
    }
    // After a loss of power one may still have the name under which it was made ahead.
    let first = |log: &Readout| log.records.first().map(|record| record.sequence);
    logs.sort_by_key(|(name, _, log)| first_of(name).or_else(|| first(log)).unwrap_or(u64::MAX));
    // A log is given its own name when all that was appended to the one before it is durable.
    let begun = |(name, _, log): &(&String, usize, Readout)| first_of(name).is_some() || !log.records.is_empty();
    let last = logs.iter().rposition(begun).unwrap_or_default();
    let (mut records, mut files) = (Vec::new(), Vec::new());
    for (at, (name, length, mut log)) in logs.into_iter().enumerate() {
        if log.good < length {
            if log.is_damaged || at < last {
                return Err(refuse("the epoch log is damaged").with_detail(format!(
                    "{}, byte {}: no whole record begins here, but others follow",
                    storage.describe(name),
                    log.good
                )));
            }
            tracing::warn!(
                "{}: cut {} bytes at the end, of a record that was not whole when the process ended",
                storage.describe(name),
                length - log.good
            );
            storage.cut_log(name, log.good as u64)?;
        }
        match log.records.last() {
            Some(last) => files.push((name.clone(), last.epoch)),
            None => storage.remove(name)?,
        }
        records.append(&mut log.records);
    }
    Ok((records, files))
}

fn records_after(
    mut records: Vec<EpochRecord>,
    manifest: &Manifest,
    storage: &dyn Storage,
    files: &Files,
) -> Result<Vec<EpochRecord>> {
    records.retain(|record| !manifest.holds(record));
    match records.first() {
        Some(first) if first.sequence != manifest.next_sequence => Err(refuse("a part of the epoch log is missing")
            .with_detail(format!(
                "after the checkpoint of epoch {} comes record {}, but {} is there",
                manifest.epoch, manifest.next_sequence, first.sequence
            ))),
        _ => contiguous(records, storage, files),
    }
}

fn contiguous(records: Vec<EpochRecord>, storage: &dyn Storage, files: &Files) -> Result<Vec<EpochRecord>> {
    match records.windows(2).find(|pair| pair[0].sequence + 1 != pair[1].sequence) {
        None => Ok(records),
        Some(pair) => Err(refuse("a part of the epoch log is missing").with_detail(format!(
            "record {} is followed by {} in {}",
            pair[0].sequence,
            pair[1].sequence,
            files.iter().map(|(name, _)| storage.describe(name)).collect::<Vec<_>>().join(", ")
        ))),
    }
}

/// The checkpoint of `epoch`, if it and all that it names is whole.
fn read_manifest(storage: &dyn Storage, epoch: u64) -> std::result::Result<Manifest, String> {
    let bytes = storage.read(&Manifest::name(epoch)).map_err(|e| e.to_string())?;
    let manifest = Manifest::from_bytes(&bytes)?;
    let mut by_file: BTreeMap<&str, Vec<&SectionRef>> = BTreeMap::new();
    for section in manifest.sections() {
        by_file.entry(&section.file).or_default().push(section);
    }
    let files = by_file.keys().map(ToString::to_string).collect();
    let check = |ahead: &mut ReadAhead| {
        while let Some(read) = ahead.next() {
            let (file, bytes) = read?;
            for section in by_file.get(file.as_str()).into_iter().flatten() {
                let part = bytes.get(section.at as usize..(section.at + section.length) as usize);
                if part.is_none_or(|part| crc32fast::hash(part) != section.crc) {
                    let place = storage.describe(&file);
                    return Err(Error::outside(format!("{place}, byte {}: the checksum is wrong", section.at)));
                }
            }
        }
        Ok(())
    };
    read_ahead(storage, files, 1, check).map_err(|e| e.to_string())?;
    Ok(manifest)
}

impl Recovered {
    /// The epoch of the checkpoint; 0 without one.
    pub fn checkpoint(&self) -> u64 {
        self.manifest.as_ref().map_or(0, |manifest| manifest.epoch)
    }

    /// The last epoch that is part of the checkpoint or the log.
    pub fn last_epoch(&self) -> u64 {
        self.records.last().map_or(0, |record| record.epoch).max(self.checkpoint())
    }

    /// How many workers the epochs of the log were taken in by; `None` if there are none.
    pub fn log_workers(&self) -> Option<usize> {
        self.records.first().map(|record| record.workers)
    }

    /// The receipts of the source called `name`, which is the `number`th.
    pub fn receipts(&self, name: &str, number: usize) -> Vec<Receipt> {
        let stored = self.manifest.as_ref().and_then(|manifest| manifest.sources.get(name)).map(|s| &s.receipts);
        let logged = self.records.iter().flat_map(|record| &record.entries).flat_map(|entry| &entry.receipts);
        let logged = logged.filter(|(source, _)| *source == number).map(|(_, receipt)| receipt);
        stored.into_iter().flatten().chain(logged).cloned().collect()
    }

    /// What was read of the sources called `names`, the log included.
    pub fn mark(&self, names: &[String]) -> Mark {
        let stored = |name: &String| self.manifest.as_ref().and_then(|m| m.sources.get(name)).map(|s| s.done.clone());
        let done = names.iter().map(|name| stored(name).unwrap_or_default().into_iter().map(Span::from).collect());
        let mut mark =
            Mark { done: done.collect(), next_sequence: self.manifest.as_ref().map_or(0, |m| m.next_sequence) };
        for record in &self.records {
            mark.next_sequence = record.sequence + 1;
            for taken in record.entries.iter().flat_map(|entry| &entry.taken).filter(|taken| !taken.is_returned()) {
                if let Some(done) = mark.done.get_mut(taken.source) {
                    done.add(&taken.partition.as_str().into(), taken.start, taken.end);
                }
            }
        }
        mark
    }
}
