//! Writing checkpoints, on a thread of their own: the sections that are new, then the manifest that names them all.

use super::barrier::Part;
use super::journal::{Journal, Mark};
use super::manifest::{Manifest, OperatorState, PartitionTime, SectionRef, SourceState, StoredSpan, VERSION};
use super::storage::Storage;
use crate::ledger::lock;
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow::record_batch::RecordBatch;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;
use thalweg_operators::deployed::Deployed;
use thalweg_operators::state::Section;
use thalweg_operators::watermark::WatermarkUpdate;
use thalweg_schemas::error::Result;
use thalweg_schemas::source::{Source, Span};

/// A file of sections is closed when it has this many bytes, so that little memory is needed to write it.
const FILE_BYTES: usize = 16 << 20;
/// A file of which less than this share is still needed is written anew with the next checkpoint.
const NEEDED_MIN: u64 = 4;

/// What the workers handed over.
pub(crate) struct Handover {
    pub epoch: u64,
    pub time_ns: i64,
    pub parts: BTreeMap<usize, Part>,
    pub counters: BTreeMap<String, u64>,
}

/// Writes checkpoints.
pub(crate) struct Checkpointer {
    storage: Arc<dyn Storage>,
    sources: Vec<(String, Arc<dyn Source>)>,
    /// What it is the state of.
    deployed: Deployed,
    /// How many checkpoints are kept.
    kept_max: usize,
    /// The checkpoints that are there, oldest first.
    checkpoints: Vec<u64>,
    /// Where sections lie that were written already, by their ids.
    written: BTreeMap<u64, SectionRef>,
    /// The length of each file of sections.
    files: BTreeMap<String, u64>,
}

/// What one checkpoint took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// Bytes written.
    pub bytes: u64,
    /// Bytes of the state it names, written now or earlier.
    pub state_bytes: u64,
}

impl Checkpointer {
    pub fn new(
        storage: Arc<dyn Storage>,
        sources: Vec<(String, Arc<dyn Source>)>,
        deployed: Deployed,
        kept_max: usize,
        checkpoints: Vec<u64>,
    ) -> Checkpointer {
        Checkpointer {
            storage,
            sources,
            deployed,
            kept_max: kept_max.max(1),
            checkpoints,
            written: BTreeMap::new(),
            files: BTreeMap::new(),
        }
    }

    /// Writes the state and waits for `ready`, which says how far the sources were when all that the state took in is durable
    /// and flushed; then publishes the checkpoint and removes what is not needed any more. `None`: it never will be.
    pub fn write(
        &mut self,
        handover: Handover,
        journal: &Journal,
        ready: impl FnOnce() -> Option<Mark>,
    ) -> Result<Option<Written>> {
        let epoch = handover.epoch;
        let mut shelf = Shelf { storage: self.storage.as_ref(), epoch, files: 0, open: Vec::new(), closed: Vec::new() };
        let mut manifest = Manifest {
            version: VERSION,
            epoch,
            time_ns: handover.time_ns,
            workers: handover.parts.len(),
            deployed: self.deployed.clone(),
            counters: handover.counters,
            ..Manifest::default()
        };
        let mut new: Vec<(u64, SectionRef)> = Vec::new();
        let mut times = Vec::new();
        for part in handover.parts.into_values() {
            for (id, watermark_ns, sections) in part.operators {
                let placed = self.place(sections, &mut shelf, &mut new)?;
                let states = manifest.operators.entry(id).or_default();
                states.push(OperatorState { watermark_ns, sections: placed });
            }
            for (view, sections) in part.views {
                let placed = self.place(sections, &mut shelf, &mut new)?;
                manifest.views.entry(view).or_default().push(placed);
            }
            times.push((part.said, part.partitions));
        }
        shelf.flush()?;
        let files = shelf.closed;
        self.files.extend(files.iter().cloned());
        let Some(mark) = ready() else { return Ok(None) };
        manifest.next_sequence = mark.next_sequence;
        manifest.sources = self.sources_as_of(mark, times);
        let manifest_bytes = manifest.to_bytes()?;
        self.storage.write(&Manifest::name(epoch), &manifest_bytes)?;
        self.written.extend(new);
        self.checkpoints.push(epoch);
        let written = files.iter().map(|(_, length)| length).sum::<u64>() + manifest_bytes.len() as u64;
        let state_bytes = manifest.sections().map(|section| section.length).sum();
        self.prune(&manifest, journal)?;
        for (name, source) in &self.sources {
            let done: Vec<Span> =
                manifest.sources.get(name).into_iter().flat_map(|s| s.done.clone()).map(Span::from).collect();
            source.checkpointed(&done);
        }
        Ok(Some(Written { bytes: written, state_bytes }))
    }

    /// Where the sections lie: written earlier, or put on the shelf and noted in `new`.
    fn place(
        &self,
        sections: Vec<Section>,
        shelf: &mut Shelf<'_>,
        new: &mut Vec<(u64, SectionRef)>,
    ) -> Result<Vec<SectionRef>> {
        let mut placed = Vec::with_capacity(sections.len());
        for section in sections {
            let (label, keys) = (section.label, section.keys);
            if let Some(known) = self.written.get(&section.id) {
                placed.push(SectionRef { label, ..known.clone() });
                continue;
            }
            let place = shelf.add(label, keys, &(section.rows)()?)?;
            new.push((section.id, place.clone()));
            placed.push(place);
        }
        Ok(placed)
    }

    fn sources_as_of(
        &self,
        mark: Mark,
        times: Vec<(Vec<WatermarkUpdate>, Vec<(usize, Arc<str>, PartitionTime)>)>,
    ) -> BTreeMap<String, SourceState> {
        let mut states: Vec<SourceState> = mark
            .done
            .iter()
            .zip(&self.sources)
            .map(|(done, (_, source))| {
                let done = done.spans();
                SourceState {
                    replayable: source.replayable(),
                    receipts: done.iter().flat_map(|span| source.receipts(span)).collect(),
                    done: done.into_iter().map(StoredSpan::from).collect(),
                    ..SourceState::default()
                }
            })
            .collect();
        for (said, partitions) in times {
            for update in said {
                states[update.source as usize].said.push(update);
            }
            for (source, name, time) in partitions {
                states[source].partitions.insert(name.to_string(), time);
            }
        }
        self.sources.iter().map(|(name, _)| name.clone()).zip(states).collect()
    }

    /// Removes checkpoints beyond those that are kept, the files that no checkpoint needs, and the log before them.
    fn prune(&mut self, newest: &Manifest, journal: &Journal) -> Result<()> {
        while self.checkpoints.len() > self.kept_max {
            self.storage.remove(&Manifest::name(self.checkpoints.remove(0)))?;
        }
        let mut needed: BTreeSet<String> = BTreeSet::new();
        for &epoch in &self.checkpoints {
            if epoch == newest.epoch {
                needed.extend(newest.sections().map(|section| section.file.clone()));
            } else if let Ok(manifest) = Manifest::from_bytes(&self.storage.read(&Manifest::name(epoch))?) {
                needed.extend(manifest.sections().map(|section| section.file.clone()));
            }
        }
        for name in self.storage.list()?.into_iter().filter(|name| is_state_file(name) && !needed.contains(name)) {
            self.storage.remove(&name)?;
            self.files.remove(&name);
        }
        if let Some(&oldest) = self.checkpoints.first() {
            journal.forget(oldest)?;
        }
        // What the next checkpoint may point to: sections that are in use, in files that are worth keeping.
        let mut in_use: BTreeMap<&str, u64> = BTreeMap::new();
        for section in newest.sections() {
            *in_use.entry(&section.file).or_default() += section.length;
        }
        let worth = |file: &str| {
            let length = self.files.get(file).copied().unwrap_or_default();
            in_use.get(file).is_some_and(|used| used * NEEDED_MIN >= length)
        };
        let places: BTreeSet<(&str, u64)> = newest.sections().map(|s| (s.file.as_str(), s.at)).collect();
        self.written.retain(|_, section| places.contains(&(section.file.as_str(), section.at)) && worth(&section.file));
        Ok(())
    }
}

fn is_state_file(name: &str) -> bool {
    name.starts_with("state-") && name.ends_with(".arrows")
}

/// Puts sections into files, several Arrow IPC streams one after the other.
struct Shelf<'a> {
    storage: &'a dyn Storage,
    epoch: u64,
    files: usize,
    open: Vec<u8>,
    /// The files that are closed, with their lengths.
    closed: Vec<(String, u64)>,
}

impl Shelf<'_> {
    fn add(&mut self, label: String, keys: usize, rows: &RecordBatch) -> Result<SectionRef> {
        let at = self.open.len();
        let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
        let mut writer = StreamWriter::try_new_with_options(&mut self.open, &rows.schema(), options)?;
        writer.write(rows)?;
        writer.finish()?;
        drop(writer);
        let part = &self.open[at..];
        let (length, crc) = (part.len() as u64, crc32fast::hash(part));
        let place = SectionRef { label, keys, file: self.name(), at: at as u64, length, crc };
        if self.open.len() >= FILE_BYTES {
            self.flush()?;
        }
        Ok(place)
    }

    fn name(&self) -> String {
        format!("state-{:020}-{}.arrows", self.epoch, self.files)
    }

    fn flush(&mut self) -> Result<()> {
        if self.open.is_empty() {
            return Ok(());
        }
        let name = self.name();
        self.storage.write(&name, &self.open)?;
        self.closed.push((name, self.open.len() as u64));
        self.open.clear();
        self.files += 1;
        Ok(())
    }
}

/// What the sinks' writers have flushed, and who waits for that.
#[derive(Default)]
pub(crate) struct Flushes {
    /// By sink and worker, the epoch; one entry for each writer there is.
    done: Mutex<BTreeMap<(usize, usize), u64>>,
    moved: Condvar,
}

impl Flushes {
    /// There is a writer of `sink` on `worker`.
    pub fn expect(&self, sink: usize, worker: usize) {
        lock(&self.done).insert((sink, worker), 0);
    }

    /// It has flushed everything up to `epoch`.
    pub fn flushed(&self, sink: usize, worker: usize, epoch: u64) {
        lock(&self.done).insert((sink, worker), epoch);
        self.moved.notify_all();
    }

    /// Waits until all have flushed everything up to `epoch`; false if `give_up` said so first.
    pub fn wait_for(&self, epoch: u64, give_up: impl Fn() -> bool) -> bool {
        let mut done = lock(&self.done);
        while done.values().any(|flushed| *flushed < epoch) {
            if give_up() {
                return false;
            }
            let waited = self.moved.wait_timeout(done, Duration::from_millis(100));
            done = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}
