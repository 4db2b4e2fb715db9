//! The books of a run: exact counters of what came in and what became of it, and the rejected rows that are kept.

use crate::status::{DeadLetter, LateRow, SinkStatus, SourceStatus, WatermarkStatus};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use thalweg_operators::observer::OperatorMeter;
use thalweg_schemas::epoch::Watermark;
use thalweg_schemas::error::Error;

/// The books of one run, shared by its threads.
pub(crate) struct Ledger {
    pub sources: Vec<SourceBook>,
    pub views: BTreeMap<String, ViewBook>,
    pub sinks: Vec<SinkBook>,
    pub operators: Mutex<Vec<(String, String, usize, std::sync::Arc<OperatorMeter>)>>,
    dead: Mutex<VecDeque<DeadLetter>>,
    late: Mutex<VecDeque<LateRow>>,
    kept_max: usize,
    failure: Mutex<Option<Error>>,
    failed: AtomicBool,
}

/// One source.
#[derive(Default)]
pub(crate) struct SourceBook {
    pub name: String,
    pub rows_in: AtomicU64,
    pub rows_out: AtomicU64,
    pub dead: AtomicU64,
    pub bytes: AtomicU64,
    pub shares_ended: AtomicU64,
    pub last_error: Mutex<Option<String>>,
    /// By worker and partition.
    pub watermarks: Mutex<BTreeMap<(usize, String), (Watermark, bool)>>,
}

/// One view.
#[derive(Default)]
pub(crate) struct ViewBook {
    pub late: AtomicU64,
    pub dead: AtomicU64,
}

/// One sink.
#[derive(Default)]
pub(crate) struct SinkBook {
    pub name: String,
    pub rows: AtomicU64,
    /// Rows of all epochs that were handed over to be written: what a checkpoint says, since at that moment the writer may
    /// still be behind.
    pub handed_over: AtomicU64,
    pub queued_bytes: AtomicU64,
    pub retries: AtomicU64,
    pub last_error: Mutex<Option<String>>,
}

impl Ledger {
    pub fn new(sources: Vec<String>, views: Vec<String>, sinks: Vec<String>, kept_max: usize) -> Ledger {
        Ledger {
            sources: sources.into_iter().map(|name| SourceBook { name, ..SourceBook::default() }).collect(),
            views: views.into_iter().map(|name| (name, ViewBook::default())).collect(),
            sinks: sinks.into_iter().map(|name| SinkBook { name, ..SinkBook::default() }).collect(),
            operators: Mutex::default(),
            dead: Mutex::default(),
            late: Mutex::default(),
            kept_max,
            failure: Mutex::default(),
            failed: AtomicBool::new(false),
        }
    }

    /// The counters of sources, views and sinks, for a checkpoint.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        self.each_counter().into_iter().map(|(name, counter)| (name, counter.load(Ordering::Acquire))).collect()
    }

    /// Goes on from the counters of an earlier run.
    pub fn restore(&self, counters: &BTreeMap<String, u64>) {
        for (name, counter) in self.each_counter() {
            counter.store(counters.get(&name).copied().unwrap_or_default(), Ordering::Release);
        }
        for book in &self.sinks {
            book.rows.store(book.handed_over.load(Ordering::Acquire), Ordering::Release);
        }
    }

    fn each_counter(&self) -> Vec<(String, &AtomicU64)> {
        let mut counters = Vec::new();
        for book in &self.sources {
            let of = |what: &str| format!("source/{}/{what}", book.name);
            counters.push((of("rows_in"), &book.rows_in));
            counters.push((of("rows_out"), &book.rows_out));
            counters.push((of("dead"), &book.dead));
            counters.push((of("bytes"), &book.bytes));
        }
        for (name, book) in &self.views {
            counters.push((format!("view/{name}/late"), &book.late));
            counters.push((format!("view/{name}/dead"), &book.dead));
        }
        counters.extend(self.sinks.iter().map(|book| (format!("sink/{}/rows", book.name), &book.handed_over)));
        counters
    }

    /// Keeps a dead letter; the oldest goes when there are too many.
    pub fn keep_dead(&self, letter: DeadLetter) {
        keep(&self.dead, letter, self.kept_max);
    }

    /// Keeps a late row; the oldest goes when there are too many.
    pub fn keep_late(&self, row: LateRow) {
        keep(&self.late, row, self.kept_max);
    }

    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        lock(&self.dead).iter().cloned().collect()
    }

    pub fn late_rows(&self) -> Vec<LateRow> {
        lock(&self.late).iter().cloned().collect()
    }

    /// Ends the run with `error`; the first one is the one that is told.
    pub fn fail(&self, error: Error) {
        lock(&self.failure).get_or_insert(error);
        self.failed.store(true, Ordering::Release);
    }

    /// Whether the run is to end because of an error.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    pub fn failure(&self) -> Option<Error> {
        lock(&self.failure).clone()
    }
}

impl SourceBook {
    pub fn status(&self, workers: usize) -> SourceStatus {
        let watermarks = lock(&self.watermarks);
        SourceStatus {
            name: self.name.clone(),
            rows_in: self.rows_in.load(Ordering::Acquire),
            rows_out: self.rows_out.load(Ordering::Acquire),
            dead: self.dead.load(Ordering::Acquire),
            bytes: self.bytes.load(Ordering::Acquire),
            ended: self.shares_ended.load(Ordering::Acquire) as usize == workers,
            progress: None,
            watermark: watermarks.values().filter(|(_, idle)| !idle).map(|(w, _)| *w).min(),
            last_error: lock(&self.last_error).clone(),
        }
    }

    pub fn watermarks(&self) -> Vec<WatermarkStatus> {
        let status =
            |((worker, partition), (watermark, idle)): (&(usize, String), &(Watermark, bool))| WatermarkStatus {
                source: self.name.clone(),
                partition: partition.clone(),
                worker: *worker,
                watermark: *watermark,
                idle: *idle,
            };
        lock(&self.watermarks).iter().map(status).collect()
    }
}

impl SinkBook {
    pub fn status(&self) -> SinkStatus {
        SinkStatus {
            name: self.name.clone(),
            rows: self.rows.load(Ordering::Acquire),
            queued_bytes: self.queued_bytes.load(Ordering::Acquire),
            retries: self.retries.load(Ordering::Acquire),
            last_error: lock(&self.last_error).clone(),
        }
    }
}

fn keep<T>(kept: &Mutex<VecDeque<T>>, item: T, max: usize) {
    let mut kept = lock(kept);
    if kept.len() >= max {
        kept.pop_front();
    }
    kept.push_back(item);
}

/// A panic elsewhere does not make these values wrong: they are replaced whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
