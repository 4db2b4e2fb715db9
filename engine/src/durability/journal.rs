//! The epoch log while it is being written: gathers what the workers did in an epoch, appends it, says that it is durable.
//!
//! A thread writes whatever is complete at the time in one go (group commit), so that the cost of making it durable is
//! shared by as many epochs as came in meanwhile. Epochs that brought nothing are durable without being written.

use super::record::{Entry, EpochRecord};
use super::spans::SpanSet;
use super::storage::{Log, Storage};
use crate::ledger::lock;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;
use thalweg_schemas::error::{ErrorKind, Result};
use thalweg_schemas::source::{Source, Span};

/// How long to wait before what could not be written is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// The epoch log of a run.
pub(crate) struct Journal {
    storage: Arc<dyn Storage>,
    sources: Mutex<Vec<Arc<dyn Source>>>,
    workers: usize,
    inbox: Mutex<Inbox>,
    arrived: Condvar,
    pen: Mutex<Pen>,
    /// All epochs up to this one are durable.
    durable: AtomicU64,
    /// Moved when epochs have become durable; holds the marks that were reached and not yet asked for. Nobody who holds
    /// it asks for another lock.
    moved: (Mutex<BTreeMap<u64, Mark>>, Condvar),
    /// Whether a thread writes, or whoever hands in.
    threaded: bool,
    news: AtomicBool,
}

/// What has been handed in.
struct Inbox {
    /// For each worker, the last epoch that it has ended.
    ended: Vec<u64>,
    entries: BTreeMap<u64, Vec<Entry>>,
    /// Epochs after which the log is to begin a new file and remember what had been read.
    marks: std::collections::VecDeque<u64>,
    closing: bool,
}

/// What writes.
struct Pen {
    log: Option<Box<dyn Log>>,
    /// The files of the log with the last epoch in each, the one being written last.
    files: Vec<(String, u64)>,
    /// Records that are to be written.
    unwritten: Vec<EpochRecord>,
    next_sequence: u64,
    done: Vec<SpanSet>,
    complained: bool,
}

/// How far things were after an epoch.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    /// For each source, what had been read.
    pub done: Vec<SpanSet>,
    /// The sequence number of the record that comes next.
    pub next_sequence: u64,
}

impl Journal {
    /// Goes on after `epoch`, when all that was read of the sources is `done`, behind the files `files`.
    pub fn new(
        storage: Arc<dyn Storage>,
        sources: Vec<Arc<dyn Source>>,
        workers: usize,
        (epoch, mark, files): (u64, Mark, Vec<(String, u64)>),
        threaded: bool,
    ) -> Journal {
        Journal {
            storage,
            sources: Mutex::new(sources),
            workers,
            inbox: Mutex::new(Inbox {
                ended: vec![epoch; workers],
                entries: BTreeMap::new(),
                marks: Default::default(),
                closing: false,
            }),
            arrived: Condvar::new(),
            pen: Mutex::new(Pen {
                log: None,
                files,
                unwritten: Vec::new(),
                next_sequence: mark.next_sequence,
                done: mark.done,
                complained: false,
            }),
            durable: AtomicU64::new(epoch),
            moved: Default::default(),
            threaded,
            news: AtomicBool::new(false),
        }
    }

    /// Worker `worker` has ended all epochs up to `until`; in `epoch`, the last one in which it did anything, it did `entry`.
    pub fn hand_in(&self, worker: usize, epoch: u64, entry: Entry, until: u64) -> Result<()> {
        {
            let mut inbox = lock(&self.inbox);
            if !entry.is_empty() {
                self.news.store(true, Ordering::Release);
                inbox.entries.entry(epoch).or_default().push(entry);
            }
            let ended = &mut inbox.ended[worker];
            *ended = until.max(*ended);
        }
        if self.threaded {
            self.arrived.notify_all();
            return Ok(());
        }
        self.write()
    }

    /// Asks for a [`Mark`] after `epoch`, which all workers have ended.
    pub fn mark(&self, epoch: u64) -> Result<()> {
        lock(&self.inbox).marks.push_back(epoch);
        self.news.store(false, Ordering::Release);
        if self.threaded {
            self.arrived.notify_all();
            return Ok(());
        }
        self.write()
    }

    /// Waits for the mark that was asked for after `epoch`; `None` if `give_up` said so first.
    pub fn wait_for_mark(&self, epoch: u64, give_up: impl Fn() -> bool) -> Option<Mark> {
        let mut marks = lock(&self.moved.0);
        loop {
            let mark = marks.remove(&epoch);
            if mark.is_some() || give_up() {
                return mark;
            }
            let waited = self.moved.1.wait_timeout(marks, Duration::from_millis(100));
            marks = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// For each partition of a source, by its position, the offset of the first record that was read of it.
    pub fn first_offsets(&self, source: usize) -> BTreeMap<Arc<str>, u64> {
        let mut firsts = BTreeMap::new();
        for span in lock(&self.pen).done.get(source).map(SpanSet::spans).unwrap_or_default() {
            firsts.entry(span.partition).or_insert(span.start);
        }
        firsts
    }

    /// Whether anything was handed in since the last mark.
    pub fn has_news(&self) -> bool {
        self.news.load(Ordering::Acquire)
    }

    /// Writes until closed or over; what cannot be written when it is abandoned is not waited for.
    pub fn serve(&self, is_over: impl Fn() -> bool, is_abandoned: impl Fn() -> bool) -> Result<()> {
        loop {
            if is_over() {
                return Ok(());
            }
            let written = self.write();
            match written {
                Ok(()) => lock(&self.pen).complained = false,
                Err(error) if error.kind == ErrorKind::Retry => {
                    if is_abandoned() {
                        tracing::warn!(
                            "the epoch log cannot be written: {error}; what it lacks is taken in by the next run"
                        );
                        return Ok(());
                    }
                    if !std::mem::replace(&mut lock(&self.pen).complained, true) {
                        tracing::warn!("the epoch log cannot be written: {error}; sources wait until it can");
                    }
                }
                Err(error) => return Err(error),
            }
            let inbox = lock(&self.inbox);
            if inbox.closing && self.durable() >= Journal::complete(&inbox) {
                return Ok(());
            }
            // What failed is tried again after a pause; otherwise whatever was handed in wakes this thread.
            let nothing_new = |inbox: &mut Inbox| {
                Journal::complete(inbox) <= self.durable() && inbox.marks.is_empty() && !inbox.closing
            };
            if Journal::complete(&inbox) > self.durable() {
                drop(self.arrived.wait_timeout(inbox, PAUSE).unwrap_or_else(PoisonError::into_inner));
            } else {
                drop(self.arrived.wait_while(inbox, nothing_new).unwrap_or_else(PoisonError::into_inner));
            }
        }
    }

    /// Lets [`serve`](Self::serve) return when all is written.
    pub fn close(&self) {
        lock(&self.inbox).closing = true;
        self.arrived.notify_all();
    }

    /// Lets go of the sources, when nothing is written any more.
    pub fn release(&self) {
        lock(&self.sources).clear();
    }

    /// The last epoch up to which all are durable.
    pub fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Waits until `epoch` is durable; false if `give_up` said so first.
    pub fn wait_for(&self, epoch: u64, give_up: impl Fn() -> bool) -> bool {
        let mut guard = lock(&self.moved.0);
        while self.durable() < epoch {
            if give_up() {
                return false;
            }
            let waited = self.moved.1.wait_timeout(guard, Duration::from_millis(100));
            guard = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Removes the files of the log that hold no epoch after `epoch`.
    pub fn forget(&self, epoch: u64) -> Result<()> {
        let mut pen = lock(&self.pen);
        let writing = pen.log.is_some().then(|| pen.files.len() - 1);
        let old: Vec<String> = pen
            .files
            .iter()
            .enumerate()
            .filter(|(i, (_, last))| Some(*i) != writing && *last <= epoch)
            .map(|(_, (name, _))| name.clone())
            .collect();
        for name in &old {
            self.storage.remove(name)?;
        }
        pen.files.retain(|(name, _)| !old.contains(name));
        Ok(())
    }

    /// The last epoch that all workers have ended.
    fn complete(inbox: &Inbox) -> u64 {
        inbox.ended.iter().copied().min().unwrap_or(u64::MAX)
    }

    /// Writes all that is complete.
    fn write(&self) -> Result<()> {
        let mut pen = lock(&self.pen);
        loop {
            let (until, mark) = {
                let mut inbox = lock(&self.inbox);
                let complete = Journal::complete(&inbox);
                let mark = inbox.marks.front().copied().filter(|mark| *mark <= complete);
                let until = mark.unwrap_or(complete);
                let later = match until.checked_add(1) {
                    Some(next) => inbox.entries.split_off(&next),
                    None => BTreeMap::new(),
                };
                for (epoch, entries) in std::mem::replace(&mut inbox.entries, later) {
                    let mut record =
                        EpochRecord { epoch, workers: self.workers, sequence: pen.next_sequence, ..Default::default() };
                    entries.into_iter().for_each(|entry| record.add(entry));
                    pen.next_sequence += 1;
                    pen.unwritten.push(record);
                }
                (until, mark)
            };
            pen.append(self.storage.as_ref())?;
            let durable = self.settle(&mut pen);
            self.durable.fetch_max(until, Ordering::AcqRel);
            for (source, spans) in lock(&self.sources).iter().zip(durable) {
                if !spans.is_empty() {
                    source.durable(&spans);
                }
            }
            if let Some(mark) = mark {
                lock(&self.inbox).marks.pop_front();
                pen.log = None;
                let so_far = Mark { done: pen.done.clone(), next_sequence: pen.next_sequence };
                lock(&self.moved.0).insert(mark, so_far);
            } else {
                drop(lock(&self.moved.0));
            }
            self.moved.1.notify_all();
            if mark.is_none() {
                return Ok(());
            }
        }
    }

    /// Counts what was written as read; gives it by source.
    fn settle(&self, pen: &mut Pen) -> Vec<Vec<Span>> {
        let mut durable = vec![Vec::new(); pen.done.len()];
        for record in std::mem::take(&mut pen.unwritten) {
            for taken in record.entries.into_iter().flat_map(|entry| entry.taken).filter(|taken| !taken.is_returned()) {
                let partition: Arc<str> = taken.partition.into();
                pen.done[taken.source].add(&partition, taken.start, taken.end);
                durable[taken.source].push(Span { partition, start: taken.start, end: taken.end });
            }
        }
        durable
    }
}

impl Pen {
    fn append(&mut self, storage: &dyn Storage) -> Result<()> {
        let (Some(first), Some(last)) = (self.unwritten.first(), self.unwritten.last()) else { return Ok(()) };
        let (first, first_epoch, last_epoch) = (first.sequence, first.epoch, last.epoch);
        let mut bytes = Vec::new();
        for record in &mut self.unwritten {
            record.together_from = (record.sequence > first).then_some(first);
            record.write(&mut bytes)?;
        }
        let log = match &mut self.log {
            Some(log) if !log.is_full() => log,
            _ => {
                let name = log_name(first);
                let log = storage.create_log(&name)?;
                self.files.push((name, first_epoch));
                self.log.insert(log)
            }
        };
        log.append(&bytes)?;
        if let Some((_, epoch)) = self.files.last_mut() {
            *epoch = last_epoch;
        }
        Ok(())
    }
}

/// The name of the log file whose first record has the number `sequence`.
pub(crate) fn log_name(sequence: u64) -> String {
    format!("log-{sequence:020}.twel")
}

/// The number of the first record of the log called `name`; `None` if its name does not say.
pub(crate) fn first_of(name: &str) -> Option<u64> {
    name.strip_prefix("log-")?.strip_suffix(".twel")?.parse().ok()
}

/// Whether `name` is that of a log.
pub(crate) fn is_log(name: &str) -> bool {
    name.starts_with("log-") && name.ends_with(".twel")
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg_schemas::error::Error;

    /// Takes everything and keeps nothing.
    struct Nowhere;

    impl Storage for Nowhere {
        fn list(&self) -> Result<Vec<String>> {
            Ok(Vec::new())
        }

        fn read(&self, name: &str) -> Result<Vec<u8>> {
            Err(Error::outside(format!("{name} is nowhere")))
        }

        fn write(&self, _name: &str, _bytes: &[u8]) -> Result<()> {
            Ok(())
        }

        fn remove(&self, _name: &str) -> Result<()> {
            Ok(())
        }

        fn create_log(&self, _name: &str) -> Result<Box<dyn Log>> {
            Ok(Box::new(Nowhere))
        }

        fn cut_log(&self, _name: &str, _length: u64) -> Result<()> {
            Ok(())
        }

        fn describe(&self, name: &str) -> String {
            name.to_string()
        }
    }

    impl Log for Nowhere {
        fn append(&mut self, _bytes: &[u8]) -> Result<()> {
            Ok(())
        }
    }

    /// Who waits for a mark and who writes it once held a lock each that the other wanted: about once in some thousand.
    #[test]
    fn a_mark_is_reached_while_the_log_goes_on() {
        let mark = Mark { done: Vec::new(), next_sequence: 0 };
        let journal = Arc::new(Journal::new(Arc::new(Nowhere), Vec::new(), 1, (0, mark, Vec::new()), true));
        let (marked, reached) = crossbeam_channel::unbounded();
        let writer = journal.clone();
        let waiter = journal.clone();
        let serve = std::thread::spawn(move || writer.serve(|| false, || false));
        let wait = std::thread::spawn(move || {
            for epoch in 1..=20_000 {
                waiter.hand_in(0, epoch, Entry::default(), epoch).unwrap();
                waiter.mark(epoch).unwrap();
                waiter.hand_in(0, epoch, Entry::default(), epoch).unwrap();
                assert!(waiter.wait_for_mark(epoch, || false).is_some());
            }
            marked.send(()).unwrap();
        });
        assert!(reached.recv_timeout(Duration::from_secs(60)).is_ok(), "nobody gets any further");
        wait.join().unwrap();
        journal.close();
        serve.join().unwrap().unwrap();
    }
}
