//! What the workers of a source and its scout share: the partitions there are, and where reading of each goes on.

use super::client::lock;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;
use thalweg_schemas::error::Error;
use thalweg_schemas::source::Partition;

/// A partition as the scout found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub topic: String,
    pub number: i32,
    /// Its number within the source, and its name, `topic/3`.
    pub partition: Partition,
    /// Where reading begins.
    pub start: u64,
    /// Where it ends, for a bounded source.
    pub end: Option<u64>,
    /// Records before `start` that are gone: the first of them.
    pub lost_from: Option<u64>,
    /// How often reading of it has begun in this run.
    pub round: u32,
}

/// What the scout is asked to do.
#[derive(Default)]
pub(super) struct Errand {
    /// Offsets to be told to Kafka, by partition.
    pub commit: BTreeMap<Arc<str>, u64>,
    /// Partitions whose records are gone at this offset, with whether any was read before.
    pub lost: Vec<(Arc<str>, u64, bool)>,
    /// Whether the brokers are to be looked after at once.
    pub look: bool,
    /// Whether the source is closed.
    pub close: bool,
}

/// What is known, for all workers.
#[derive(Default)]
pub(super) struct Partitions {
    state: Mutex<State>,
    /// Rises with every change of `state.found`; asked at every poll.
    version: AtomicU64,
    /// Rises with `state.news`.
    news: AtomicU64,
    errand: Mutex<Errand>,
    wake: Condvar,
    /// Whether brokers were away when somebody looked last.
    away: AtomicBool,
}

#[derive(Default)]
struct State {
    found: BTreeMap<u32, Found>,
    /// Numbers of partitions, by name: handed out once and never changed.
    numbers: BTreeMap<Arc<str>, u32>,
    /// Whether the partitions that were there at the beginning are all found.
    complete: bool,
    /// Trouble that no reader has told yet.
    news: Option<Error>,
    /// Why nothing can be read any more.
    fatal: Option<Error>,
}

impl Partitions {
    /// The partition of this name. `number` is its own in its topic; with `several` topics the source numbers them in
    /// the order in which they turn up.
    pub fn numbered(&self, topic: &str, number: i32, several: bool) -> Partition {
        let name: Arc<str> = format!("{topic}/{number}").into();
        let mut state = lock(&self.state);
        let next = state.numbers.len() as u32;
        let index = if several { *state.numbers.entry(name.clone()).or_insert(next) } else { number as u32 };
        Partition { index, name }
    }

    /// Whether it is known where reading of this partition begins.
    pub fn knows(&self, partition: &Partition) -> bool {
        lock(&self.state).found.contains_key(&partition.index)
    }

    /// Tells the workers of a partition, or that reading of it goes on elsewhere.
    pub fn put(&self, mut found: Found) {
        let mut state = lock(&self.state);
        found.round = state.found.get(&found.partition.index).map_or(0, |before| before.round + 1);
        state.found.insert(found.partition.index, found);
        drop(state);
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    /// All partitions of the beginning are found.
    pub fn set_complete(&self) {
        lock(&self.state).complete = true;
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    /// Notes whether brokers are away.
    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Release);
    }

    /// Whether brokers were away when somebody looked last.
    pub fn away(&self) -> bool {
        self.away.load(Ordering::Acquire)
    }

    /// What rises with every change.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The partitions of one worker, and whether those of the beginning are all among them.
    pub fn share(&self, worker: usize, peers: usize) -> (Vec<Found>, bool) {
        let state = lock(&self.state);
        let mine = state.found.values().filter(|found| found.partition.index as usize % peers.max(1) == worker);
        (mine.cloned().collect(), state.complete)
    }

    /// Has one reader tell of trouble: again and again if it ends the run, else once.
    pub fn tell(&self, error: Error) {
        let mut state = lock(&self.state);
        match error.kind {
            thalweg_schemas::error::ErrorKind::Retry => state.news = Some(error),
            _ => state.fatal = Some(error),
        }
        self.news.fetch_add(1, Ordering::AcqRel);
    }

    /// Trouble that is over needs no telling.
    pub fn untell(&self) {
        lock(&self.state).news = None;
    }

    /// The trouble to be told, if any has come since `heard`.
    pub fn trouble(&self, heard: &mut u64) -> Option<Error> {
        let now = self.news.load(Ordering::Acquire);
        if now == *heard {
            return None;
        }
        let mut state = lock(&self.state);
        if let Some(fatal) = &state.fatal {
            return Some(fatal.clone());
        }
        *heard = now;
        state.news.take()
    }

    /// Asks the scout for something.
    pub fn ask(&self, add: impl FnOnce(&mut Errand)) {
        add(&mut lock(&self.errand));
        self.wake.notify_all();
    }

    /// What the scout is asked for; waits for it at most so long.
    pub fn wait_for_errand(&self, at_most: Duration) -> Errand {
        let errand = lock(&self.errand);
        let idle =
            |errand: &mut Errand| errand.commit.is_empty() && errand.lost.is_empty() && !errand.look && !errand.close;
        let waited = self.wake.wait_timeout_while(errand, at_most, idle);
        let (mut errand, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let close = errand.close;
        // What is closed stays closed.
        std::mem::replace(&mut errand, Errand { close, ..Errand::default() })
    }
}

/// The topic and the number in a partition's name.
pub(super) fn parse_name(name: &str) -> Option<(&str, i32)> {
    let (topic, number) = name.rsplit_once('/')?;
    Some((topic, number.parse().ok()?))
}
