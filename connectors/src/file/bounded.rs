//! Reading what is there, once. The files are cut into pieces in the order of their names, and the workers claim pieces
//! one after the other from one queue: so all of them are always at about the same place, and event time advances on all
//! of them together.

use super::again::Again;
use super::cut::{Cut, Next};
use super::listing;
use super::options::{FileOptions, Layout};
use super::piece::Piece;
use crate::stretches::Stretches;
use std::collections::{BTreeMap, VecDeque};
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
        let paths = listing::list(&options.paths)?;
        if paths.is_empty() {
            return Err(listing::nothing(&options.paths));
        }
        let total = paths.iter().filter_map(|path| std::fs::metadata(path).ok()).map(|meta| meta.len()).sum();
        let (files, in_time_order) = (paths.len(), options.in_time_order);
        let waiting =
            Mutex::new(Waiting { paths, next: 0, open: None, read: BTreeMap::new(), faults: VecDeque::new() });
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
                Claim::Over => return Ok(Polled::Ended),
            };
        }
    }

    fn replay(&mut self, span: &Span, budget: usize) -> Result<Polled> {
        if self.again.as_ref().is_none_or(|again| !again.serves(span)) {
            self.again = match self.queue.again(span) {
                Ok(again) => Some(again),
                Err(reason) => {
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
struct Waiting {
    paths: Vec<PathBuf>,
    next: usize,
    open: Option<Cut>,
    /// What an earlier run has read of files that have not been opened yet.
    read: BTreeMap<Arc<str>, Stretches>,
    faults: VecDeque<Fault>,
}

enum Claim {
    /// A piece, and the number of its file.
    Piece(Box<dyn Piece>, usize),
    Fault(Fault),
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
            let Some((partition, path)) = waiting.partition(waiting.next) else { return Claim::Over };
            let read = waiting.read.remove(&partition.name).unwrap_or_default();
            let opened = Cut::open(&path, partition.clone(), &self.layout, read, &self.done);
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
            let Some(number) = waiting.paths.iter().position(|path| path.to_string_lossy() == *name) else {
                tracing::warn!(file = %name, "is not there any more; an earlier run has read it as far as {}", read.end());
                continue;
            };
            let Some((partition, path)) = waiting.partition(number) else { continue };
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

    /// The file of `span`, to be read again.
    fn again(&self, span: &Span) -> Result<Again, String> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = || "the file is gone, and its records are needed to go on from where the earlier run stopped";
        let number =
            waiting.paths.iter().position(|path| path.to_string_lossy() == *span.partition).ok_or_else(gone)?;
        let (partition, path) = waiting.partition(number).ok_or_else(gone)?;
        let cut = Cut::open(&path, partition.clone(), &self.layout, Stretches::default(), &Arc::default())?;
        Ok(Again::new(cut.ok_or("the file is empty now")?, partition))
    }
}

impl Waiting {
    fn partition(&self, number: usize) -> Option<(Partition, PathBuf)> {
        let path = self.paths.get(number)?;
        Some((Partition { index: number as u32, name: path.to_string_lossy().into() }, path.clone()))
    }
}

fn shrunk(name: &str, end: u64, read: u64) -> Error {
    Error::outside(format!("file '{name}' ends at {end}, but an earlier run has read it as far as {read}"))
        .with_detail("It was cut short or replaced since; which of its records are part of the results cannot be told.")
        .with_hint("Put the file back as it was, or begin anew with another --data folder.")
}
