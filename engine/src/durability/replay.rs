//! Taking in once more what the epoch log says, epoch by epoch.

use super::record::EpochRecord;
use std::collections::VecDeque;
use std::sync::Arc;
use thalweg_operators::watermark::WatermarkUpdate;

/// One worker's way through the log.
pub(crate) struct Replay {
    records: VecDeque<Arc<EpochRecord>>,
    /// What was said before the first of them.
    primes: Vec<WatermarkUpdate>,
    /// What is promised after the last.
    promises: Vec<WatermarkUpdate>,
    /// The next piece of this worker's entry in the first record, and the offset from which it is still to be read.
    position: (usize, Option<u64>),
    /// The epoch after the last record.
    pub next_epoch: u64,
}

/// What is to be done next.
pub(crate) enum Step {
    /// Read the piece `taken` of this worker's entry from this offset on.
    Read { record: Arc<EpochRecord>, taken: usize, from: u64 },
    /// Say these watermarks; then the epoch is over.
    EndEpoch { epoch: u64, said: Vec<WatermarkUpdate> },
    /// Nothing is left; the run goes on by itself with these promises.
    Done { promises: Vec<WatermarkUpdate> },
}

impl Replay {
    pub fn new(
        records: Vec<Arc<EpochRecord>>,
        primes: Vec<WatermarkUpdate>,
        promises: Vec<WatermarkUpdate>,
        next_epoch: u64,
    ) -> Replay {
        Replay { records: records.into(), primes, promises, position: (0, None), next_epoch }
    }

    /// Whether no record of the log is left.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// What `worker` is to do next.
    pub fn step(&self, worker: usize) -> Step {
        let Some(record) = self.records.front() else { return Step::Done { promises: self.promises.clone() } };
        let entry = record.entries.iter().find(|entry| entry.worker == worker);
        let (taken, from) = self.position;
        match entry.and_then(|entry| entry.taken.get(taken)) {
            Some(piece) => Step::Read { record: record.clone(), taken, from: from.unwrap_or(piece.start) },
            None => {
                let mut said = self.primes.clone();
                said.extend(entry.iter().flat_map(|entry| entry.said.iter().copied()));
                Step::EndEpoch { epoch: record.epoch, said }
            }
        }
    }

    /// The piece was read up to `end`; it goes up to `piece_end`, or is whole whatever the offsets if it was `kept`.
    pub fn read(&mut self, end: u64, piece_end: u64, kept: bool) {
        self.position =
            if kept || end >= piece_end { (self.position.0 + 1, None) } else { (self.position.0, Some(end)) };
    }

    /// The epoch is over.
    pub fn end_epoch(&mut self) {
        self.primes.clear();
        self.records.pop_front();
        self.position = (0, None);
    }
}
