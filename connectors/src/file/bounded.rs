//! Reading what is there, once. The files are cut into pieces in the order of their names, and the workers claim pieces
//! one after the other from one queue: so all of them are always at about the same place, and event time advances on all
//! of them together.

use super::again::Again;
use super::cut::{Cut, Next};
use super::far::{self, Fetching};
use super::listing;
use super::options::{FileOptions, Layout};
use super::piece::Piece;
use super::stream::Compression;
use crate::objects::is_url;
use crate::stretches::Stretches;
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use thalweg_schemas::epoch::WorkerId;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::source::{Fault, Outlook, Partition, Polled, Progress, Reader, Source, Span};

/// How much of an uncompressed file of lines a worker claims at once.
const PIECE_BYTES: u64 = 1 << 20;

/// The source.
pub(super) struct Bounded {
    queue: Arc<Queue>,
    one_reader: bool,
}

impl Bounded {
    pub(super) fn open(options: FileOptions) -> Result<Bounded> {
        Bounded::cut(options, PIECE_BYTES)
    }

    pub(super) fn cut(options: FileOptions, piece_bytes: u64) -> Result<Bounded> {
        let (far, near): (Vec<String>, Vec<String>) = options.paths.iter().cloned().partition(|path| is_url(path));
        let mut listed: BTreeMap<PathBuf, Option<u64>> = BTreeMap::new();
        for url in far {
            listed.extend(far::list(&url)?.into_iter().map(|(path, length)| (path, Some(length))));
        }
        listed.extend(listing::list(&near)?.into_iter().map(|path| (path, None)));
        if listed.is_empty() {
            return Err(listing::nothing(&options.paths));
        }
        let length = |(path, far): (&PathBuf, &Option<u64>)| far.or_else(|| Some(std::fs::metadata(path).ok()?.len()));
        let total = listed.iter().filter_map(length).sum();
        let (files, in_time_order) = (listed.len(), options.in_time_order);
        let waiting = Mutex::new(Waiting { files: listed.into_iter().collect(), ..Waiting::default() });
        let done = Arc::new(AtomicU64::new(0));
        let queue = Queue { waiting, files, in_time_order, layout: options.layout, piece_bytes, done, total };
        Ok(Bounded { queue: Arc::new(queue), one_reader: options.one_reader })
    }
}

impl Source for Bounded {
    fn reader(&self, worker: WorkerId) -> Result<Box<dyn Reader>> {
        let reader = PieceReader { queue: self.queue.clone(), piece: None, file: None, again: None };
        if self.one_reader && worker.index > 0 {
            return Ok(Box::new(Bystander(reader)));
        }
        Ok(Box::new(reader))
    }

    fn bounded(&self) -> bool {
        true
    }

    fn progress(&self) -> Option<Progress> {
        let total = self.queue.total;
        Some(Progress { done: self.queue.done.load(Ordering::Relaxed).min(total), total })
    }

    fn replayable(&self) -> bool {
        true
    }

    fn resume(&self, done: &[Span]) -> Result<()> {
        self.queue.resume(done)
    }
}

/// The share of the other workers where one reads: nothing new.
struct Bystander(PieceReader);

impl Reader for Bystander {
    fn poll(&mut self, _budget: usize) -> Result<Polled> {
        Ok(Polled::Ended)
    }

    fn replay(&mut self, span: &Span, budget: usize) -> Result<Polled> {
        self.0.replay(span, budget)
    }
}

struct PieceReader {
    queue: Arc<Queue>,
    piece: Option<Box<dyn Piece>>,
    /// Which file the piece is of.
    file: Option<usize>,
    /// The file that is being read again.
    again: Option<Again>,
}

impl Reader for PieceReader {
    fn poll(&mut self, budget: usize) -> Result<Polled> {
        self.again = None;
        loop {
            if let Some(polled) = self.piece.as_mut().and_then(|piece| piece.next(budget)) {
                return Ok(polled);
            }
            self.piece = match self.queue.claim() {
                Claim::Piece(piece, file) => {
                    self.file = Some(file);
                    Some(piece)
                }
                Claim::Fault(fault) => return Ok(Polled::Fault(fault)),
                Claim::Wait => return Ok(Polled::Pending),
                Claim::Failed(error) => return Err(error),
                Claim::Over => return Ok(Polled::Ended),
            };
        }
    }

    fn replay(&mut self, span: &Span, budget: usize) -> Result<Polled> {
        if self.again.as_ref().is_none_or(|again| !again.serves(span)) {
            self.again = match self.queue.again(span) {
                None => return Ok(Polled::Pending),
                Some(Ok(again)) => Some(again),
                Some(Err(reason)) => {
                    let (partition, offset) = (span.partition.clone(), span.start);
                    return Ok(Polled::Fault(Fault { partition, offset, reason }));
                }
            };
        }
        let again = self.again.as_mut().expect("it was opened above");
        Ok(again.next(span, budget))
    }

    /// Files may each hold the whole day of one host, or a day each: without being told, nobody knows before the last.
    fn outlook(&self) -> Outlook {
        match self.file {
            Some(file) if self.queue.in_time_order || file + 1 == self.queue.files => Outlook::LastOne,
            _ => Outlook::MoreToCome,
        }
    }
}

/// All that is still to be read.
struct Queue {
    waiting: Mutex<Waiting>,
    files: usize,
    in_time_order: bool,
    layout: Layout,
    piece_bytes: u64,
    done: Arc<AtomicU64>,
    total: u64,
}

/// Files are opened when their turn comes, so that thousands of them need no more than a few descriptors.
#[derive(Default)]
struct Waiting {
    /// Their paths, with their lengths where they are in an object store.
    files: Vec<(PathBuf, Option<u64>)>,
    next: usize,
    fetching: Fetching,
    open: Option<Cut>,
    /// What an earlier run has read of files that have not been opened yet.
    read: BTreeMap<Arc<str>, Stretches>,
    faults: VecDeque<Fault>,
}

enum Claim {
    /// A piece, and the number of its file.
    Piece(Box<dyn Piece>, usize),
    Fault(Fault),
    /// The file is on its way.
    Wait,
    /// What may pass.
    Failed(Error),
    Over,
}

impl Queue {
    fn claim(&self) -> Claim {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(fault) = waiting.faults.pop_front() {
                return Claim::Fault(fault);
            }
            if let Some(cut) = &mut waiting.open {
                match cut.next(self.piece_bytes) {
                    Next::Piece(piece) => return Claim::Piece(piece, waiting.next - 1),
                    Next::Nothing => {}
                    Next::Over => waiting.open = None,
                }
                continue;
            }
            let number = waiting.next;
            let Some((partition, path)) = waiting.partition(number) else { return Claim::Over };
            let file = match waiting.file(number) {
                None => return Claim::Wait,
                Some(Err(error)) if waiting.is_far(number) && may_pass(&error) => {
                    return Claim::Failed(Error::io(path.display(), &error));
                }
                Some(file) => file,
            };
            let read = waiting.read.remove(&partition.name).unwrap_or_default();
            let opened = Cut::of(file, &path, partition.clone(), &self.layout, read, &self.done);
            waiting.next += 1;
            match opened {
                Ok(cut) => waiting.open = cut,
                Err(reason) => return Claim::Fault(Fault { partition: partition.name, offset: 0, reason }),
            }
        }
    }

    /// Leaves out what an earlier run has read, having compared it with what is there.
    fn resume(&self, done: &[Span]) -> Result<()> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, read) in Stretches::by_partition(done) {
            let Some(number) = waiting.number(&name) else {
                tracing::warn!(file = %name, "is not there any more; an earlier run has read it as far as {}", read.end());
                continue;
            };
            let Some((partition, path)) = waiting.partition(number) else { continue };
            if let (path, Some(length)) = &waiting.files[number] {
                // Fetching it only to compare would cost as much as reading it. Lines can be compared by the length alone.
                if self.layout.is_lines() && Compression::of(path) == Compression::None {
                    if *length < read.end() {
                        return Err(shrunk(&name, *length, read.end()));
                    }
                    self.done.fetch_add(read.total(), Ordering::Relaxed);
                }
                waiting.read.insert(name, read);
                continue;
            }
            // One that cannot be opened says so when its turn comes.
            let opened = Cut::open(&path, partition.clone(), &self.layout, Stretches::default(), &Arc::default());
            if let Ok(cut) = opened {
                let end = cut.as_ref().map_or(Some(0), Cut::end);
                if let Some(end) = end.filter(|end| *end < read.end()) {
                    return Err(shrunk(&name, end, read.end()));
                }
                if let Some(file) = cut.as_ref().and_then(Cut::lines) {
                    if file.is_within_a_line(read.end()) {
                        waiting.faults.push_back(Fault {
                            partition: name.clone(),
                            offset: read.end(),
                            reason:
                                "the line that an earlier run read last has grown since; what was added is left out"
                                    .into(),
                        });
                    }
                    self.done.fetch_add(read.total(), Ordering::Relaxed);
                }
            }
            waiting.read.insert(name, read);
        }
        Ok(())
    }

    /// The file of `span`, to be read again; `None` while it is on its way.
    fn again(&self, span: &Span) -> Option<Result<Again, String>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((number, (partition, path))) =
            waiting.number(&span.partition).and_then(|number| Some((number, waiting.partition(number)?)))
        else {
            let gone = "the file is gone, and its records are needed to go on from where the earlier run stopped";
            return Some(Err(gone.to_string()));
        };
        let file = match waiting.file(number)? {
            Err(error) if waiting.is_far(number) && may_pass(&error) => return None,
            file => file,
        };
        let cut = Cut::of(file, &path, partition.clone(), &self.layout, Stretches::default(), &Arc::default());
        Some(cut.and_then(|cut| Ok(Again::new(cut.ok_or("the file is empty now")?, partition))))
    }
}

/// Whether an object store may yet hand over a file, after this.
fn may_pass(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput)
}

impl Waiting {
    /// The number of the file whose partition has this name.
    fn number(&self, partition: &str) -> Option<usize> {
        self.files.iter().position(|(path, _)| path.to_string_lossy() == partition)
    }

    fn is_far(&self, number: usize) -> bool {
        self.files.get(number).is_some_and(|(_, far)| far.is_some())
    }

    /// File `number`, opened; `None` while it is on its way. The one after it is fetched meanwhile.
    fn file(&mut self, number: usize) -> Option<io::Result<File>> {
        if !self.is_far(number) {
            return Some(File::open(&self.files[number].0));
        }
        let came = self.fetching.poll(number, &self.files[number].0);
        if self.is_far(number + 1) {
            // What goes wrong here goes wrong again when its turn comes.
            drop(self.fetching.begin(number + 1, &self.files[number + 1].0));
        }
        came
    }

    fn partition(&self, number: usize) -> Option<(Partition, PathBuf)> {
        let (path, _) = self.files.get(number)?;
        Some((Partition { index: number as u32, name: path.to_string_lossy().into() }, path.clone()))
    }
}

fn shrunk(name: &str, end: u64, read: u64) -> Error {
    Error::outside(format!("file '{name}' ends at {end}, but an earlier run has read it as far as {read}"))
        .with_detail("It was cut short or replaced since; which of its records are part of the results cannot be told.")
        .with_hint("Put the file back as it was, or begin anew with another --data folder.")
}
