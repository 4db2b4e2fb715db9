//! Following files as they grow, as `tail -F` does: through rotation and truncation, and with files that come later.
//!
//! The paths are listed again every [`RELIST`]. A file is known by its device, inode and birth, so that one that was
//! renamed is not read twice, and a new one under an old name (or in a freed inode) is seen. All files that were ever at
//! one path have one watermark, and are read one after the other: an old one to its end before the new one begins. The
//! contents of each are a partition of their own, so that an offset always means the same.
//!
//! A run that goes on finds the files again by what they are, under whatever name in the folder.

use super::again::lines_again;
use super::follow::{Followed, Identity, left_out};
use super::lines::LineFile;
use super::listing;
use super::options::{FileOptions, Layout};
use super::stream::Compression;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use thalweg_schemas::epoch::WorkerId;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::source::{Fault, Partition, Polled, Reader, Source, Span, Standing};

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
            places: BTreeMap::new(),
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
        Ok(Box::new(TailReader { registry, worker, followers: BTreeMap::new(), turn: 0, again: None, looked: false }))
    }

    fn replayable(&self) -> bool {
        true
    }

    fn resume(&self, done: &[Span]) -> Result<()> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner).resume(done)
    }

    fn bounded(&self) -> bool {
        false
    }
}

/// What all workers know of the files.
struct Registry {
    paths: Vec<String>,
    relist: Duration,
    has_header: bool,
    listed: Option<Instant>,
    /// The numbers of paths.
    partitions: BTreeMap<Arc<str>, u32>,
    /// Where files of an earlier run were found, with the generation of their contents.
    places: BTreeMap<Identity, (PathBuf, u64)>,
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
            if Compression::of(&path) != Compression::None {
                let why = "an archive is not followed; read it with mode = 'bounded', or leave it out of the path";
                self.refuse(path, why.into());
                continue;
            }
            match std::fs::metadata(&path) {
                Ok(meta) if !meta.is_file() => continue,
                Ok(meta) if self.known.contains_key(&Identity::of(&meta)) => {
                    there.insert(Identity::of(&meta));
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
        let identity = Identity::of(&handle.metadata()?);
        let name: Arc<str> = path.to_string_lossy().into();
        let index = self.number(&name);
        let holders = Arc::new(());
        let followed = Followed::new(handle, name, index, self.has_header, from_end, holders.clone())?;
        self.known.insert(identity, holders);
        self.found.push(Found { followed, at });
        Ok(identity)
    }

    fn number(&mut self, path: &Arc<str>) -> u32 {
        let next = self.partitions.len() as u32;
        *self.partitions.entry(path.clone()).or_insert(next)
    }

    /// Takes up the files of an earlier run where it stopped: those that have been listed, and those that lie in the
    /// same folders under other names, as after a rotation.
    fn resume(&mut self, done: &[Span]) -> Result<()> {
        // Where the earlier run left something out, it said so.
        for found in &mut self.found {
            let name = found.followed.partition().name.clone();
            found.followed.read_from_beginning().map_err(|error| Error::io(name, &error))?;
        }
        // The latest generation of each file, how far it was read, and the path it was known by.
        let mut read: BTreeMap<Identity, (u64, u64, Arc<str>)> = BTreeMap::new();
        for span in done {
            let Some((path, identity, generation)) = Identity::parse(&span.partition) else { continue };
            let last = read.entry(identity).or_insert_with(|| (generation, span.end, path.into()));
            // What generation 0 left out is a part of generation 1.
            if generation.max(1) > last.0.max(1) || (generation.max(1) == last.0.max(1) && span.end > last.1) {
                *last = (generation, span.end, path.into());
            }
        }
        let folders: BTreeSet<PathBuf> = read.values().map(|(.., path)| folder_of(path)).collect();
        for (identity, place) in folders.iter().flat_map(|folder| files_in(folder)) {
            let Some((generation, end, path)) = read.get(&identity).cloned() else { continue };
            if !self.known.contains_key(&identity) {
                #[expect(clippy::disallowed_methods, reason = "files are looked for in real time")]
                let now = Instant::now();
                if let Err(error) = self.take_up(place.clone(), false, now) {
                    self.refuse(place.clone(), format!("the file cannot be opened: {error}"));
                    continue;
                }
            }
            let index = self.number(&path);
            let Some(at) = self.found.iter().position(|found| found.followed.identity() == identity) else { continue };
            let mut found = self.found.remove(at);
            let failed = |error: std::io::Error| Error::io(format!("file '{}'", place.display()), &error);
            let anew = found.followed.go_on(path.clone(), index, generation, end).map_err(failed)?;
            if anew {
                self.faults.push_back(Fault {
                    partition: identity.name(&path, generation),
                    offset: end,
                    reason: format!(
                        "the file was truncated since it was read as far as {end}; reading it from its beginning"
                    ),
                });
            }
            self.places.insert(identity, (place, generation.max(1) + u64::from(anew)));
            // An old file comes before the one that has taken its name.
            self.found.insert(0, found);
        }
        Ok(())
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

fn folder_of(path: &str) -> PathBuf {
    match Path::new(path).parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// The files in a folder by what they are; none, if it cannot be read.
fn files_in(folder: &Path) -> Vec<(Identity, PathBuf)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.filter_map(|entry| Some((entry.metadata().ok().filter(|meta| meta.is_file())?, entry.path())));
    files.map(|(meta, path)| (Identity::of(&meta), path)).collect()
}

/// One worker's files.
struct TailReader {
    registry: Arc<Mutex<Registry>>,
    worker: WorkerId,
    followers: BTreeMap<u32, Follower>,
    /// The partition after the one that was read last, so that a busy file does not starve the others.
    turn: u32,
    /// The file that is being read again.
    again: Option<LineFile>,
    /// Whether it has looked for files yet.
    looked: bool,
}

impl TailReader {
    /// The file of a partition, if its contents are still those.
    fn open_again(&self, name: &Arc<str>) -> std::result::Result<LineFile, String> {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let parsed = Identity::parse(name).ok_or("this is not the name of a file's contents")?;
        let (path, identity, generation) = parsed;
        let index = registry.number(&path.into());
        let (place, now) = registry
            .places
            .get(&identity)
            .ok_or("the file is gone, and its records are needed to go on from where the earlier run stopped")?;
        if *now != generation.max(1) {
            return Err("the file was truncated, and its records are needed to go on".into());
        }
        let failed = |error: std::io::Error| format!("the file cannot be opened: {error}");
        let handle = File::open(place).map_err(failed)?;
        let partition = Partition { index, name: name.clone() };
        LineFile::new(handle, partition, registry.has_header, Arc::default()).map_err(failed)
    }
}

/// The files of one path, the first of them being read.
#[derive(Default)]
struct Follower {
    files: VecDeque<Found>,
}

impl Reader for TailReader {
    fn replay(&mut self, span: &Span, budget: usize) -> Result<Polled> {
        if self.again.as_ref().is_none_or(|file| file.partition.name != span.partition) {
            match self.open_again(&span.partition) {
                Ok(file) => self.again = Some(file),
                Err(reason) => {
                    let (partition, offset) = (span.partition.clone(), span.start);
                    return Ok(Polled::Fault(Fault { partition, offset, reason }));
                }
            }
        }
        let file = self.again.as_ref().expect("it was opened above");
        if Identity::parse(&span.partition).is_some_and(|(.., generation)| generation == 0) {
            return Ok(left_out(file.partition.clone(), file.header.clone(), span.start, span.end));
        }
        Ok(lines_again(&file.handle, &file.partition, file.header.clone(), span, budget))
    }

    fn poll(&mut self, budget: usize) -> Result<Polled> {
        (self.again, self.looked) = (None, true);
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

    /// The file at each path that is read now. A share without any holds nobody back, once it has looked.
    fn partitions(&self) -> Option<Vec<Standing>> {
        let current = self.followers.values().filter_map(|follower| follower.files.front());
        let standing = |found: &Found| Standing { partition: found.followed.partition().clone(), caught_up: true };
        self.looked.then(|| current.map(standing).collect())
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
