//! How the workers meet for a checkpoint: all stand between the same two epochs, hand over their parts, and go on.
//!
//! One worker announces an epoch; every worker ends that epoch, takes in nothing of a later one, waits until the dataflow
//! is through with it, hands over its part and waits for the others. A worker that is further already announces its own
//! epoch instead, which all others follow. Nobody waits for a disk: the parts share what the operators hold.

use super::manifest::PartitionTime;
use crate::ledger::lock;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use thalweg_operators::state::Section;
use thalweg_operators::watermark::WatermarkUpdate;

/// What one worker hands over.
#[derive(Debug, Default)]
pub(crate) struct Part {
    /// For each of its operators the id, the watermark in nanoseconds since 1970, and the state.
    pub operators: Vec<(String, i64, Vec<Section>)>,
    /// For each view its rows on this worker.
    pub views: Vec<(String, Vec<Section>)>,
    /// What it said of its watermarks last.
    pub said: Vec<WatermarkUpdate>,
    /// For each source, by position, the event time of the partitions it reads.
    pub partitions: Vec<(usize, Arc<str>, PartitionTime)>,
}

/// Where workers meet.
pub(crate) struct Barrier {
    workers: usize,
    parts: Mutex<BTreeMap<usize, Part>>,
    /// The epoch announced last; 0 before the first.
    announced: AtomicU64,
    /// The epoch at which all workers met last.
    met: AtomicU64,
    /// Set when a worker will not come any more.
    gone: std::sync::atomic::AtomicBool,
}

impl Barrier {
    pub fn new(workers: usize) -> Barrier {
        Barrier {
            workers,
            parts: Mutex::default(),
            announced: AtomicU64::new(0),
            met: AtomicU64::new(0),
            gone: Default::default(),
        }
    }

    /// All workers are to meet after `epoch`, or a later one if that was announced.
    pub fn announce(&self, epoch: u64) {
        let mut parts = lock(&self.parts);
        if self.announced.load(Ordering::Acquire) < epoch {
            self.announced.store(epoch, Ordering::Release);
            parts.clear();
        }
    }

    /// The epoch after which to meet, if the workers have not met there yet.
    pub fn next(&self) -> Option<u64> {
        let announced = self.announced.load(Ordering::Acquire);
        let open = announced > self.met.load(Ordering::Acquire) && !self.gone.load(Ordering::Acquire);
        open.then_some(announced)
    }

    /// Worker `worker` stands after `epoch`. The last one gets the parts of all, and calls [`part`](Self::part) when it
    /// is done with them.
    pub fn arrive(&self, worker: usize, epoch: u64, part: Part) -> Option<BTreeMap<usize, Part>> {
        let mut parts = lock(&self.parts);
        if self.announced.load(Ordering::Acquire) != epoch {
            return None;
        }
        parts.insert(worker, part);
        (parts.len() == self.workers).then(|| std::mem::take(&mut *parts))
    }

    /// Everyone may go on from `epoch`.
    pub fn part(&self, epoch: u64) {
        self.met.store(epoch, Ordering::Release);
    }

    /// The workers will not meet any more.
    pub fn abandon(&self) {
        self.gone.store(true, Ordering::Release);
    }
}
