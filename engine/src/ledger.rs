//! The books of a run: exact counters of what came in and what became of it, and the archives of what was rejected.

use crate::archive::Archive;
use crate::archive::letter::Letter;
use crate::archive::returns::Returns;
use crate::status::{RejectCount, SinkStatus, SourceStatus, WatermarkStatus};
use std::collections::BTreeMap;
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
    /// Dead letters, and rows that came after their window had closed.
    pub dead: Archive,
    pub late: Archive,
    /// How many dead letters there were, by origin and [kind of reason](kind_of).
    reasons: Mutex<BTreeMap<(String, String), u64>>,
    tick_ns: i64,
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
    /// Dead letters that were taken in again.
    pub replayed: AtomicU64,
    pub shares_ended: AtomicU64,
    pub last_error: Mutex<Option<String>>,
    /// By worker and partition.
    pub watermarks: Mutex<BTreeMap<(usize, String), (Watermark, bool)>>,
    /// Dead letters on their way back.
    pub returns: Returns,
    /// Held by whoever sends dead letters back: one at a time.
    pub replaying: Mutex<()>,
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
    /// Whether nobody waits any more for what it has not taken.
    pub given_up: AtomicBool,
}

impl Ledger {
    pub fn new(
        (sources, views, sinks): (Vec<String>, Vec<String>, Vec<String>),
        (dead, late): (Archive, Archive),
        tick_ns: i64,
    ) -> Ledger {
        Ledger {
            sources: sources.into_iter().map(|name| SourceBook { name, ..SourceBook::default() }).collect(),
            views: views.into_iter().map(|name| (name, ViewBook::default())).collect(),
            sinks: sinks.into_iter().map(|name| SinkBook { name, ..SinkBook::default() }).collect(),
            operators: Mutex::default(),
            dead,
            late,
            reasons: Mutex::default(),
            tick_ns,
            failure: Mutex::default(),
            failed: AtomicBool::new(false),
        }
    }

    /// The counters of sources, views and sinks, for a checkpoint.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        let counters = self.each_counter().into_iter().map(|(name, counter)| (name, counter.load(Ordering::Acquire)));
        let reasons = lock(&self.reasons);
        let reasons = reasons.iter().map(|((origin, kind), n)| (format!("{REASON}{origin}/{kind}"), *n));
        counters.chain(reasons).collect()
    }

    /// Goes on from the counters of an earlier run.
    pub fn restore(&self, counters: &BTreeMap<String, u64>) {
        for (name, counter) in self.each_counter() {
            counter.store(counters.get(&name).copied().unwrap_or_default(), Ordering::Release);
        }
        for book in &self.sinks {
            book.rows.store(book.handed_over.load(Ordering::Acquire), Ordering::Release);
        }
        let reasons = counters.iter().filter_map(|(name, n)| {
            let (origin, kind) = name.strip_prefix(REASON)?.rsplit_once('/')?;
            Some(((origin.to_string(), kind.to_string()), *n))
        });
        *lock(&self.reasons) = reasons.collect();
    }

    fn each_counter(&self) -> Vec<(String, &AtomicU64)> {
        let mut counters = Vec::new();
        for book in &self.sources {
            let of = |what: &str| format!("source/{}/{what}", book.name);
            counters.push((of("rows_in"), &book.rows_in));
            counters.push((of("rows_out"), &book.rows_out));
            counters.push((of("dead"), &book.dead));
            counters.push((of("bytes"), &book.bytes));
            counters.push((of("replayed"), &book.replayed));
        }
        for (name, book) in &self.views {
            counters.push((format!("view/{name}/late"), &book.late));
            counters.push((format!("view/{name}/dead"), &book.dead));
        }
        counters.extend(self.sinks.iter().map(|book| (format!("sink/{}/rows", book.name), &book.handed_over)));
        counters
    }

    /// Keeps a dead letter of a source or a view.
    pub fn keep_dead(&self, letter: Letter) {
        self.count(&letter);
        self.dead.keep(self.epoch_of(&letter), letter);
    }

    /// Keeps rows that a sink refused in an epoch, durably on return.
    pub fn keep_refused(&self, epoch: u64, letters: Vec<Letter>) {
        letters.iter().for_each(|letter| self.count(letter));
        self.dead.keep_of_sink(epoch, letters);
    }

    /// Keeps a row that came after its window had closed.
    pub fn keep_late(&self, row: Letter) {
        self.late.keep(self.epoch_of(&row), row);
    }

    fn epoch_of(&self, letter: &Letter) -> u64 {
        self.epoch_at(letter.time_ns)
    }

    /// The epoch that begins at `time_ns`.
    pub fn epoch_at(&self, time_ns: i64) -> u64 {
        time_ns.div_euclid(self.tick_ns).max(0) as u64
    }

    fn count(&self, letter: &Letter) {
        let mut reasons = lock(&self.reasons);
        let kinds = reasons.keys().filter(|(origin, _)| *origin == letter.origin).count();
        let mut kind = (letter.origin.clone(), kind_of(&letter.reason));
        if kinds >= KINDS_MAX && !reasons.contains_key(&kind) {
            kind.1 = "others".to_string();
        }
        *reasons.entry(kind).or_default() += 1;
    }

    /// How many dead letters there were, by origin and kind of reason.
    pub fn reject_counts(&self) -> Vec<RejectCount> {
        let count = |((origin, reason), count): (&(String, String), &u64)| RejectCount {
            origin: origin.clone(),
            reason: reason.clone(),
            count: *count,
        };
        lock(&self.reasons).iter().map(count).collect()
    }

    /// Waits until what `epoch` and those before it rejected is written; false if `give_up` said so first.
    pub fn wait_for_archives(&self, epoch: u64, give_up: impl Fn() -> bool + Copy) -> bool {
        self.dead.wait_for(epoch, give_up) && self.late.wait_for(epoch, give_up)
    }

    /// How many bytes of what was rejected wait to be written.
    pub fn waiting_bytes(&self) -> usize {
        self.dead.waiting_bytes() + self.late.waiting_bytes()
    }

    /// Whether so much that was rejected waits to be written that no more should come.
    pub fn is_full(&self) -> bool {
        self.dead.is_full() || self.late.is_full()
    }

    /// More epochs have left the engine: what they rejected can be written.
    pub fn progress(&self) {
        self.dead.progress();
        self.late.progress();
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
            replayed: self.replayed.load(Ordering::Acquire),
            ended: self.shares_ended.load(Ordering::Acquire) as usize == workers,
            progress: None,
            refreshes: None,
            cache: None,
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

/// The counters of reasons begin with this by name.
const REASON: &str = "reason/";
/// How many kinds of reasons are told apart for one origin.
const KINDS_MAX: usize = 64;

/// A reason without what is special to one record (quoted values, numbers), so that there are few to count by.
pub(crate) fn kind_of(reason: &str) -> String {
    let mut kind = String::with_capacity(reason.len());
    let mut quoted = false;
    for c in reason.chars() {
        match c {
            '\'' => {
                if !quoted {
                    kind.push('…');
                }
                quoted = !quoted;
            }
            _ if quoted => {}
            '0'..='9' => {
                if !kind.ends_with('#') {
                    kind.push('#');
                }
            }
            '/' => kind.push('|'),
            c => kind.push(c),
        }
    }
    kind
}

/// A panic elsewhere does not make these values wrong: they are replaced whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::kind_of;

    #[test]
    fn reasons_of_one_kind_are_counted_together() {
        assert_eq!(kind_of("column \"n\": 'x17' is not a number"), "column \"n\": … is not a number");
        assert_eq!(kind_of("line 12, byte 345: expected '}'"), "line #, byte #: expected …");
    }
}
