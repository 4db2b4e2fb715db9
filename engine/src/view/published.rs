//! How a view's workers hand it to readers: a version an epoch, kept until no reader can ask for it, and the changes.

use super::history::{History, Retention};
use super::store::Version;
use super::{Begin, Chunk, Event, Snapshot, Subscription};
use crate::ledger::lock;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::Epoch;
use thalweg_schemas::error::{Error, Result};

/// A view as its readers see it.
pub(crate) struct PublishedView {
    pub name: String,
    pub schema: SchemaRef,
    /// One a worker.
    shares: Vec<Mutex<Share>>,
    subscribers: Mutex<Vec<Arc<Feed>>>,
    complete: Arc<AtomicU64>,
}

/// What one worker has published.
struct Share {
    /// Versions with the epoch they are as of, oldest first; each holds until the next one's epoch.
    versions: VecDeque<(Epoch, Arc<Version>)>,
    history: History,
}

/// One subscriber's queue.
pub(crate) struct Feed {
    state: Mutex<FeedState>,
    moved: Condvar,
    rows_max: usize,
}

#[derive(Default)]
struct FeedState {
    /// Changes by epoch, of all workers.
    changes: BTreeMap<Epoch, Vec<Batch>>,
    rows: usize,
    /// The epoch it begins after.
    begin: Epoch,
    /// Whether changes up to there are part of the snapshot, and labelled with its epoch; otherwise they are not told.
    with_snapshot: bool,
    /// The last epoch whose progress was told.
    told: Option<Epoch>,
    /// What is ready to be heard.
    ready: VecDeque<Event>,
    lagged: bool,
    ended: bool,
}

impl PublishedView {
    pub fn new(
        name: String,
        schema: SchemaRef,
        workers: usize,
        complete: Arc<AtomicU64>,
        retention: Retention,
    ) -> PublishedView {
        let floor = Epoch(complete.load(Ordering::Acquire));
        let retention = Retention { bytes_max: retention.bytes_max / workers, ..retention };
        let share = || Share { versions: VecDeque::new(), history: History::new(retention, floor) };
        let shares = (0..workers).map(|_| Mutex::new(share())).collect();
        PublishedView { name, schema, shares, subscribers: Mutex::default(), complete }
    }

    fn complete(&self) -> Epoch {
        Epoch(self.complete.load(Ordering::Acquire))
    }

    /// Worker `worker` publishes what `epoch` made of its share, and the changes that led there.
    pub fn publish(&self, worker: usize, epoch: Epoch, version: Version, changes: &[Batch]) {
        let mut share = lock(&self.shares[worker]);
        share.versions.push_back((epoch, Arc::new(version)));
        let complete = self.complete();
        while share.versions.get(1).is_some_and(|(next, _)| *next <= complete) {
            share.versions.pop_front();
        }
        share.history.add(epoch, changes, complete);
        // Under the share's lock, so that a new subscriber hears of an epoch either in its snapshot or as changes.
        for feed in lock(&self.subscribers).iter() {
            feed.push(epoch, changes);
        }
    }

    /// Tells the subscribers how far the view is complete.
    pub fn progress(&self, ended: bool) {
        let complete = self.complete();
        lock(&self.subscribers).retain(|feed| {
            feed.progress(complete, ended);
            Arc::strong_count(feed) > 1
        });
    }

    /// Whether anybody listens.
    pub fn is_subscribed(&self) -> bool {
        !lock(&self.subscribers).is_empty()
    }

    /// The rows as of `epoch`, which is complete, as they lie.
    pub fn chunks(&self, epoch: Epoch) -> Vec<Chunk> {
        let versions = self.shares.iter().filter_map(|share| {
            lock(share).versions.iter().rev().find(|(e, _)| *e <= epoch).map(|(_, version)| version.clone())
        });
        versions.flat_map(|version| version.chunks.clone()).collect()
    }

    /// The rows as of `epoch`, which is complete.
    pub fn snapshot(&self, epoch: Epoch) -> Result<Snapshot> {
        let mut batches = self.chunks(epoch).iter().map(Chunk::live_rows).collect::<Result<Vec<_>>>()?;
        batches.retain(|batch| batch.num_rows() > 0);
        Ok(Snapshot { epoch, schema: self.schema.clone(), batches })
    }

    /// What each worker has published last.
    fn newest(&self) -> impl Iterator<Item = Arc<Version>> {
        self.shares.iter().filter_map(|share| lock(share).versions.back().map(|(_, version)| version.clone()))
    }

    /// Rows and bytes of the newest versions.
    pub fn size(&self) -> (u64, u64) {
        self.newest().fold((0, 0), |(rows, bytes), version| (rows + version.rows, bytes + version.bytes))
    }

    /// Bytes of the newest versions that no operator holds.
    pub fn own_bytes(&self) -> u64 {
        self.newest().filter(|version| !version.lent).map(|version| version.bytes).sum()
    }

    /// The rows as of `epoch`, which may be past as far as the changes since are kept.
    pub fn snapshot_as_of(&self, epoch: Epoch) -> Result<Snapshot> {
        if epoch > self.complete() {
            return Err(Error::user(format!("epoch {epoch} is not complete yet"))
                .with_detail(format!("The last one that is complete is {}.", self.complete())));
        }
        let shares: Vec<MutexGuard<'_, Share>> = self.shares.iter().map(lock).collect();
        Ok(Snapshot { epoch, schema: self.schema.clone(), batches: self.rows_as_of(&shares, epoch)? })
    }

    fn rows_as_of(&self, shares: &[MutexGuard<'_, Share>], epoch: Epoch) -> Result<Vec<RecordBatch>> {
        self.check_kept(shares, epoch)?;
        let mut batches = Vec::new();
        for share in shares {
            if let Some((_, version)) = share.versions.back() {
                batches.extend(share.history.rows_as_of(epoch, version, &self.schema)?);
            }
        }
        batches.retain(|batch| batch.num_rows() > 0);
        Ok(batches)
    }

    fn check_kept(&self, shares: &[MutexGuard<'_, Share>], epoch: Epoch) -> Result<()> {
        let floor = shares.iter().map(|share| share.history.floor()).max().unwrap_or_default();
        if epoch >= floor {
            return Ok(());
        }
        Err(Error::user(format!("epoch {epoch} of view \"{}\" is no longer kept", self.name))
            .with_detail(format!("Its changes are kept since epoch {floor}."))
            .with_hint("Read the view as it is now (WITH (snapshot = true) for a subscription), or keep more with --retention."))
    }

    /// A new subscriber.
    pub fn subscribe(&self, begin: Begin, rows_max: usize) -> Result<Subscription> {
        let feed = Arc::new(Feed { state: Mutex::default(), moved: Condvar::new(), rows_max });
        // All shares are held, so that every worker's changes begin where its part of the snapshot ends.
        let shares: Vec<MutexGuard<'_, Share>> = self.shares.iter().map(lock).collect();
        let newest = shares.iter().filter_map(|s| s.versions.back().map(|(e, _)| *e)).max().unwrap_or_default();
        let newest = newest.max(self.complete());
        let as_of = begin.after.unwrap_or(newest);
        let mut state = lock(&feed.state);
        (state.begin, state.with_snapshot) = (as_of, begin.snapshot);
        if begin.snapshot {
            let rows = self.rows_as_of(&shares, as_of)?;
            state.changes.entry(as_of).or_default().extend(rows.into_iter().map(Batch::append));
        }
        if as_of < newest {
            self.check_kept(&shares, as_of)?;
            for (epoch, batch) in shares.iter().flat_map(|share| share.history.after(as_of)) {
                state.changes.entry(epoch).or_default().push(batch.clone());
            }
        }
        drop(state);
        lock(&self.subscribers).push(feed.clone());
        drop(shares);
        feed.progress(self.complete(), false);
        Ok(Subscription { schema: self.schema.clone(), feed })
    }
}

impl Feed {
    fn push(&self, epoch: Epoch, changes: &[Batch]) {
        let mut state = lock(&self.state);
        if epoch <= state.begin && !state.with_snapshot {
            return;
        }
        state.rows += changes.iter().map(Batch::num_rows).sum::<usize>();
        if state.rows > self.rows_max {
            // A reader that does not read must not hold memory: it is told and let go.
            state.lagged = true;
            state.changes.clear();
            state.ready.clear();
            self.moved.notify_all();
            return;
        }
        let epoch = epoch.max(state.begin);
        state.changes.entry(epoch).or_default().extend(changes.iter().filter(|b| !b.is_empty()).cloned());
    }

    fn progress(&self, complete: Epoch, ended: bool) {
        let mut state = lock(&self.state);
        while let Some(entry) = state.changes.first_entry() {
            if *entry.key() > complete {
                break;
            }
            let (epoch, batches) = entry.remove_entry();
            state.ready.extend(batches.into_iter().map(|batch| Event::Changes(epoch, batch)));
        }
        if complete >= state.begin && state.told.is_none_or(|told| told < complete) {
            // Only the newest progress is worth hearing.
            if matches!(state.ready.back(), Some(Event::Progress(_))) {
                state.ready.pop_back();
            }
            state.told = Some(complete);
            state.ready.push_back(Event::Progress(complete));
        }
        state.ended |= ended;
        self.moved.notify_all();
    }

    /// The next event, waiting for at most `timeout`.
    pub fn next(&self, timeout: std::time::Duration) -> Option<Result<Event>> {
        let state = lock(&self.state);
        let quiet = |s: &mut FeedState| s.ready.is_empty() && !s.lagged && !s.ended;
        let waited = self.moved.wait_timeout_while(state, timeout, quiet);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.lagged {
            let error = Error::outside("the subscription fell too far behind and was ended");
            return Some(
                Err(error.with_hint("Read faster, narrow it with WHERE, or subscribe again with a snapshot.")),
            );
        }
        match state.ready.pop_front() {
            Some(event) => {
                if let Event::Changes(_, batch) = &event {
                    state.rows = state.rows.saturating_sub(batch.num_rows());
                }
                Some(Ok(event))
            }
            None if state.ended => Some(Ok(Event::Ended)),
            None => None,
        }
    }
}
