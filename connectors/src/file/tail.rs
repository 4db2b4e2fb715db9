//! Following files as they grow, as `tail -F` does: through rotation and truncation, and with files that come later.
//!
//! The paths are listed again every [`RELIST`]. A file is known by its device, inode and birth, so that one that was
//! renamed is not read twice, and a new one under an old name (or in a freed inode) is seen. All files that were ever at
//! one path are one partition, one after the other: an old one is read to its end before the new one begins at 0.

use super::follow::Followed;
use super::listing;
use super::options::{FileOptions, Layout};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use thalweg_schemas::epoch::WorkerId;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::source::{Fault, Partition, Polled, Reader, Source};

/// How often the paths are listed; and how long the end of a file must have been its end before the next begins.
const RELIST: Duration = Duration::from_secs(1);

/// The source.
pub(super) struct Tail {
    registry: Arc<Mutex<Registry>>,
}

impl Tail {
    pub(super) fn open(options: FileOptions) -> Result<Tail> {
        Tail::listing_every(RELIST, options)
    }

    pub(super) fn listing_every(relist: Duration, options: FileOptions) -> Result<Tail> {
        let mut registry = Registry {
            has_header: options.layout == Layout::LinesAfterHeader,
            paths: options.paths,
            relist,
            listed: None,
            partitions: BTreeMap::new(),
            known: BTreeMap::new(),
            refused: BTreeMap::new(),
            found: Vec::new(),
            faults: VecDeque::new(),
        };
        registry.list(options.from_end)?;
        Ok(Tail { registry: Arc::new(Mutex::new(registry)) })
    }
}

impl Source for Tail {
    fn reader(&self, worker: WorkerId) -> Result<Box<dyn Reader>> {
        let registry = self.registry.clone();
        Ok(Box::new(TailReader { registry, worker, followers: BTreeMap::new(), turn: 0 }))
    }

    fn bounded(&self) -> bool {
        false
    }
}

/// Which file it is, whatever its name.
type Identity = (u64, u64, Option<SystemTime>);

fn identity(meta: &Metadata) -> Identity {
    (meta.dev(), meta.ino(), meta.created().ok())
}

/// What all workers know of the files.
struct Registry {
    paths: Vec<String>,
    relist: Duration,
    has_header: bool,
    listed: Option<Instant>,
    partitions: BTreeMap<PathBuf, u32>,
    /// Files that have been found, and whether somebody holds them open still.
    known: BTreeMap<Identity, Arc<()>>,
    /// Files that could not be opened, and why: said once.
    refused: BTreeMap<PathBuf, String>,
    /// Files that their worker has not taken yet.
    found: Vec<Found>,
    faults: VecDeque<Fault>,
}

/// A file that was found at a path.
struct Found {
    followed: Followed,
    at: Instant,
}

impl Registry {
    fn list_if_due(&mut self) -> Result<()> {
        if self.listed.is_some_and(|listed| listed.elapsed() < self.relist) {
            return Ok(());
        }
        // What could be listed once may be so again.
        self.list(false).map_err(|error| Error { kind: thalweg_schemas::error::ErrorKind::Retry, ..error })
    }

    fn list(&mut self, from_end: bool) -> Result<()> {
        #[expect(clippy::disallowed_methods, reason = "files are looked for in real time")]
        let now = Instant::now();
        self.listed = Some(now);
        let mut there = BTreeSet::new();
        for path in listing::list(&self.paths)? {
            match std::fs::metadata(&path) {
                Ok(meta) if !meta.is_file() => continue,
                Ok(meta) if self.known.contains_key(&identity(&meta)) => {
                    there.insert(identity(&meta));
                    continue;
                }
                // It has gone since it was listed.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Ok(_) | Err(_) => {}
            }
            match self.take_up(path.clone(), from_end, now) {
                Ok(identity) => {
                    self.refused.remove(&path);
                    there.insert(identity);
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => self.refuse(path, format!("the file cannot be opened: {error}")),
            }
        }
        // A file that is neither there nor held open may leave its inode to another one.
        self.known.retain(|identity, holders| there.contains(identity) || Arc::strong_count(holders) > 1);
        Ok(())
    }

    fn take_up(&mut self, path: PathBuf, from_end: bool, at: Instant) -> std::io::Result<Identity> {
        let handle = File::open(&path)?;
        let identity = identity(&handle.metadata()?);
        let next = self.partitions.len() as u32;
        let index = *self.partitions.entry(path.clone()).or_insert(next);
        let partition = Partition { index, name: path.to_string_lossy().into() };
        let holders = Arc::new(());
        let followed = Followed::new(handle, partition, self.has_header, from_end, holders.clone())?;
        self.known.insert(identity, holders);
        self.found.push(Found { followed, at });
        Ok(identity)
    }

    fn refuse(&mut self, path: PathBuf, reason: String) {
        if self.refused.get(&path) != Some(&reason) {
            self.faults.push_back(Fault {
                partition: path.to_string_lossy().into(),
                offset: 0,
                reason: reason.clone(),
            });
            self.refused.insert(path, reason);
        }
    }
}

/// One worker's files.
struct TailReader {
    registry: Arc<Mutex<Registry>>,
    worker: WorkerId,
    followers: BTreeMap<u32, Follower>,
    /// The partition after the one that was read last, so that a busy file does not starve the others.
    turn: u32,
}

/// The files of one path, the first of them being read.
#[derive(Default)]
struct Follower {
    files: VecDeque<Found>,
}

impl Reader for TailReader {
    fn poll(&mut self, budget: usize) -> Result<Polled> {
        let relist = {
            let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
            registry.list_if_due()?;
            let (index, peers) = (self.worker.index, self.worker.peers);
            let mine = |found: &mut Found| found.followed.partition().index as usize % peers == index;
            for found in registry.found.extract_if(.., mine) {
                let follower = self.followers.entry(found.followed.partition().index).or_default();
                follower.files.push_back(found);
            }
            if let Some(fault) = registry.faults.pop_front() {
                return Ok(Polled::Fault(fault));
            }
            registry.relist
        };
        let turn = self.turn;
        let (before, after): (Vec<_>, Vec<_>) = self.followers.iter_mut().partition(|(index, _)| **index < turn);
        for (index, follower) in after.into_iter().chain(before) {
            if let Some(polled) = follower.poll(budget, relist) {
                self.turn = index + 1;
                return Ok(polled);
            }
        }
        self.followers.retain(|_, follower| !follower.files.is_empty());
        Ok(Polled::Pending)
    }
}

impl Follower {
    fn poll(&mut self, budget: usize, relist: Duration) -> Option<Polled> {
        loop {
            // Whoever writes may go on with the old file for a moment after it was renamed.
            let replaced = self.files.get(1).is_some_and(|next| next.at.elapsed() >= relist);
            let current = self.files.front_mut()?;
            if let Some(polled) = current.followed.poll(budget) {
                return Some(polled);
            }
            if !replaced && !current.followed.deleted() {
                return None;
            }
            let last = current.followed.finish();
            if last.is_some() {
                return last;
            }
            self.files.pop_front();
        }
    }
}
