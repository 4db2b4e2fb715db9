//! How a run survives the death of its process: the epoch log, checkpoints, and going on from them.
//!
//! Each epoch's intake is appended to a log (`journal`); nothing leaves the engine before that is durable. Every few
//! seconds the workers meet between two epochs (`barrier`) and hand over what they hold; a thread writes what is new of
//! it and publishes a manifest (`checkpoint`). A restart takes the newest whole manifest, hands the state out again and
//! takes in the logged epochs once more, exactly as they were (`recover`, `replay`).

pub(crate) mod barrier;
pub(crate) mod checkpoint;
pub(crate) mod frame;
pub(crate) mod journal;
mod log_file;
pub(crate) mod manifest;
pub(crate) mod read_ahead;
pub(crate) mod record;
pub(crate) mod recover;
pub(crate) mod recovery;
pub(crate) mod replay;
pub(crate) mod said;
pub(crate) mod spans;
pub mod standing;
pub mod storage;

use crate::ending::Ending;
use crate::ledger::{Ledger, lock};
use crate::settings::Settings;
use crate::status::CheckpointStatus;
use barrier::{Barrier, Part};
use checkpoint::{Checkpointer, Flushes, Handover};
use crossbeam_channel::{Receiver, Sender};
use journal::Journal;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use storage::Storage;
use thalweg_schemas::error::{Error, ErrorKind, Result};

/// What the threads of a durable run share.
pub(crate) struct Durability {
    storage: Arc<dyn Storage>,
    pub journal: Journal,
    pub barrier: Barrier,
    pub flushes: Flushes,
    /// How many epochs lie between two checkpoints.
    interval: u64,
    /// The epoch of the last checkpoint that was begun.
    begun: AtomicU64,
    /// Whether one is being written.
    writing: AtomicBool,
    handovers: Mutex<Option<Sender<Handover>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Set when the run is over or failed: nobody waits for anything any more.
    over: AtomicBool,
    ledger: Arc<Ledger>,
    ending: Arc<Ending>,
    status: Mutex<CheckpointStatus>,
    /// See [`Settings::at_rest`].
    pub at_rest: fn(),
    /// How many checkpoints were written, or could not be.
    over_with: AtomicU64,
}

impl Durability {
    /// Starts the threads that write.
    pub fn start(
        storage: Arc<dyn Storage>,
        journal: Journal,
        settings: &Settings,
        checkpointer: Checkpointer,
        (ledger, ending): (Arc<Ledger>, Arc<Ending>),
    ) -> Result<Arc<Durability>> {
        let (handovers, received) = crossbeam_channel::unbounded();
        let begun = AtomicU64::new(journal.durable());
        let durability = Arc::new(Durability {
            storage,
            journal,
            barrier: Barrier::new(settings.workers.max(1)),
            flushes: Flushes::default(),
            interval: settings.checkpoint_epochs(),
            begun,
            writing: AtomicBool::new(false),
            handovers: Mutex::new(Some(handovers)),
            threads: Mutex::default(),
            over: AtomicBool::new(false),
            ledger,
            ending,
            status: Mutex::default(),
            at_rest: settings.at_rest,
            over_with: AtomicU64::new(0),
        });
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            let thread = std::thread::Builder::new().name(name.to_string()).spawn(run);
            thread.map_err(|e| Error::io("starting a thread for checkpoints", &e))
        };
        let log = durability.clone();
        let serve = move || {
            if let Err(error) = log.journal.serve(|| log.is_over(), || log.ending.is_abandoned()) {
                log.ledger.fail(error.with_detail("in the epoch log"));
            }
        };
        let log = spawn("epoch log", Box::new(serve))?;
        let writer = durability.clone();
        let serve = move || writer.write_checkpoints(checkpointer, received);
        let checkpoints = spawn("checkpoints", Box::new(serve))?;
        lock(&durability.threads).extend([log, checkpoints]);
        Ok(durability)
    }

    /// Whether the workers should meet in `epoch`, by the time that has passed: since the last time, since what was recovered, or
    /// since the first epoch of a run that begins anew.
    pub fn is_due(&self, epoch: u64) -> bool {
        // Whoever of the workers asks first.
        let first = self.begun.compare_exchange(0, epoch, Ordering::AcqRel, Ordering::Acquire).is_ok();
        !first
            && self.journal.has_news()
            && epoch >= self.begun.load(Ordering::Acquire).saturating_add(self.interval)
            && !self.writing.load(Ordering::Acquire)
    }

    /// Takes what all workers handed over after `epoch`.
    pub fn hand_over(
        &self,
        epoch: u64,
        time_ns: i64,
        parts: BTreeMap<usize, Part>,
        counters: BTreeMap<String, u64>,
    ) -> Result<()> {
        self.begun.store(epoch, Ordering::Release);
        self.writing.store(true, Ordering::Release);
        self.journal.mark(epoch)?;
        if let Some(handovers) = lock(&self.handovers).as_ref() {
            // The thread ends before its orders do only when the run has failed, which has been told.
            drop(handovers.send(Handover { epoch, time_ns, parts, counters }));
        }
        Ok(())
    }

    fn write_checkpoints(&self, mut checkpointer: Checkpointer, received: Receiver<Handover>) {
        for handover in received {
            let epoch = handover.epoch;
            let over = || self.is_over() || self.ledger.has_failed() || self.ending.is_abandoned();
            let ready = || {
                let flushed = self.flushes.wait_for(epoch, over) && self.journal.wait_for(epoch, over);
                let archived = |flushed| flushed && self.ledger.wait_for_archives(epoch, over);
                if archived(flushed) { self.journal.wait_for_mark(epoch, over) } else { None }
            };
            match checkpointer.write(handover, &self.journal, ready) {
                Ok(None) => {}
                Ok(Some(written)) => {
                    let mut status = lock(&self.status);
                    status.written += 1;
                    status.epoch = epoch;
                    (status.bytes, status.state_bytes) = (written.bytes, written.state_bytes);
                }
                Err(error) if matches!(error.kind, ErrorKind::Retry | ErrorKind::Outside) => {
                    lock(&self.status).failed += 1;
                    tracing::warn!(
                        "the checkpoint of epoch {epoch} could not be written: {error}; the epoch log goes on"
                    );
                }
                Err(error) => self.ledger.fail(error.with_detail(format!("in the checkpoint of epoch {epoch}"))),
            }
            self.writing.store(false, Ordering::Release);
            (self.at_rest)();
            self.over_with.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// How many checkpoints the threads of this process are over with.
    pub fn checkpoints_over(&self) -> u64 {
        self.over_with.load(Ordering::Acquire)
    }

    /// Lets the threads write what they have, and waits for them.
    pub fn finish(&self) {
        lock(&self.handovers).take();
        self.journal.close();
        for thread in lock(&self.threads).drain(..) {
            // A panic has been told by the panic hook; the state on disk is what it was.
            drop(thread.join());
        }
    }

    /// Whether sinks may show epochs that nothing here knows of.
    pub fn has_lost_its_log(&self) -> bool {
        self.storage.has_lost_its_log()
    }

    /// Removes the state of a run that has come to its own end.
    pub fn forget(&self) -> Result<()> {
        recovery::clear(self.storage.as_ref())
    }

    /// Waits until `epoch` is durable; false if the run is over first.
    pub fn wait_for(&self, epoch: u64) -> bool {
        let over = || self.is_over() || self.ledger.has_failed() || self.ending.is_abandoned();
        self.journal.wait_for(epoch, over)
    }

    /// Ends the run as the death of its process would: nothing more is written, nothing is finished.
    pub fn crash(&self) {
        self.over.store(true, Ordering::Release);
    }

    /// Nobody need wait any more.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    pub fn status(&self) -> CheckpointStatus {
        *lock(&self.status)
    }
}
