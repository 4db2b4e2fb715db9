//! Reading what is there, once. The files are cut into pieces in the order of their names, and the workers claim pieces
//! one after the other from one queue: so all of them are always at about the same place, and event time advances on all
//! of them together.

use super::arrow_ipc::{self, ArrowBatch, ArrowFile, ArrowStream};
use super::lines::{LineFile, LineRange};
use super::listing;
use super::options::{FileOptions, Layout};
use super::parquet::{ParquetFile, RowGroup};
use super::piece::{Guarded, Piece, guarded};
use super::stream::{Compression, LineStream};
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use thalweg_schemas::epoch::WorkerId;
use thalweg_schemas::error::Result;
use thalweg_schemas::source::{Fault, Outlook, Partition, Polled, Progress, Reader, Source};

/// How much of an uncompressed file of lines a worker claims at once.
const PIECE_BYTES: u64 = 1 << 20;

/// The source.
pub(super) struct Bounded {
    queue: Arc<Queue>,
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
        let waiting = Mutex::new(Waiting { paths, next: 0, open: None });
        let done = Arc::new(AtomicU64::new(0));
        let queue = Queue { waiting, files, in_time_order, layout: options.layout, piece_bytes, done, total };
        Ok(Bounded { queue: Arc::new(queue) })
    }
}

impl Source for Bounded {
    fn reader(&self, _worker: WorkerId) -> Result<Box<dyn Reader>> {
        Ok(Box::new(PieceReader { queue: self.queue.clone(), piece: None, file: None }))
    }

    fn bounded(&self) -> bool {
        true
    }

    fn progress(&self) -> Option<Progress> {
        let total = self.queue.total;
        Some(Progress { done: self.queue.done.load(Ordering::Relaxed).min(total), total })
    }
}

struct PieceReader {
    queue: Arc<Queue>,
    piece: Option<Box<dyn Piece>>,
    /// Which file the piece is of.
    file: Option<usize>,
}

impl Reader for PieceReader {
    fn poll(&mut self, budget: usize) -> Result<Polled> {
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
}

/// The file being dealt out, and where its next piece begins.
enum Cut {
    Lines {
        file: Arc<LineFile>,
        position: u64,
    },
    Groups {
        file: Arc<ParquetFile>,
        group: usize,
        row: u64,
    },
    Batches {
        file: Arc<ArrowFile>,
        batch: usize,
        row: u64,
    },
    /// One piece is all there is.
    Whole(Box<dyn Piece>),
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
            if let Some(cut) = waiting.open.take() {
                let (piece, rest) = self.next_piece(cut);
                waiting.open = rest;
                if let Some(piece) = piece {
                    return Claim::Piece(piece, waiting.next - 1);
                }
                continue;
            }
            let index = waiting.next;
            let Some(path) = waiting.paths.get(index) else { return Claim::Over };
            let partition = Partition { index: index as u32, name: path.to_string_lossy().into() };
            let opened = guarded(|| self.open(path, partition.clone())).and_then(|opened| opened);
            waiting.next += 1;
            match opened {
                Ok(cut) => waiting.open = cut,
                Err(reason) => return Claim::Fault(Fault { partition: partition.name, offset: 0, reason }),
            }
        }
    }

    /// Opens a file; `None` if there is nothing in it.
    fn open(&self, path: &PathBuf, partition: Partition) -> Result<Option<Cut>, String> {
        let failed = |error: std::io::Error| format!("the file cannot be opened: {error}");
        let file = File::open(path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        if !meta.is_file() {
            return Err("this is not a regular file".to_string());
        }
        if meta.len() == 0 {
            return Ok(None);
        }
        let compression = Compression::of(path);
        let done = self.done.clone();
        match &self.layout {
            Layout::Lines | Layout::LinesAfterHeader => {
                let has_header = self.layout == Layout::LinesAfterHeader;
                if compression != Compression::None {
                    let text = compression.decompress(file, done).map_err(failed)?;
                    return Ok(Some(Cut::Whole(Box::new(LineStream::new(text, partition, has_header)))));
                }
                let file = Arc::new(LineFile::new(file, partition, has_header, done).map_err(failed)?);
                let position = file.first;
                Ok(Some(Cut::Lines { file, position }))
            }
            Layout::Parquet(wanted) => {
                let file = ParquetFile::open(file, partition, wanted, done)
                    .map_err(|error| format!("this is not a Parquet file that can be read: {error}"))?;
                Ok(Some(Cut::Groups { file: Arc::new(file), group: 0, row: 0 }))
            }
            Layout::Arrow(wanted) => {
                let broken = |error| format!("this is not an Arrow file that can be read: {error}");
                if compression == Compression::None && arrow_ipc::is_file(&file).map_err(failed)? {
                    let file = ArrowFile::open(file, partition, wanted, done).map_err(broken)?;
                    return Ok(Some(Cut::Batches { file: Arc::new(file), batch: 0, row: 0 }));
                }
                let bytes = compression.decompress(file, done).map_err(failed)?;
                let stream = ArrowStream::open(bytes, partition.clone(), wanted).map_err(broken)?;
                Ok(Some(Cut::Whole(Box::new(Guarded::new(Box::new(stream), partition, 0)))))
            }
        }
    }

    /// The next piece of an open file, and what is left of it then.
    fn next_piece(&self, cut: Cut) -> (Option<Box<dyn Piece>>, Option<Cut>) {
        match cut {
            Cut::Lines { file, position } if position < file.len => {
                let end = (position + self.piece_bytes).min(file.len);
                let piece = LineRange::new(file.clone(), position, end);
                (Some(Box::new(piece)), Some(Cut::Lines { file, position: end }))
            }
            Cut::Groups { file, group, row } if group < file.groups() => {
                let next = row + file.group_rows(group);
                let piece = Box::new(RowGroup::new(file.clone(), group, row));
                let piece = Guarded::new(piece, file.partition.clone(), row);
                (Some(Box::new(piece)), Some(Cut::Groups { file, group: group + 1, row: next }))
            }
            Cut::Batches { file, batch, row } if batch < file.batches() => {
                let next = row + file.batch_rows(batch);
                let piece = Box::new(ArrowBatch::new(file.clone(), batch, row));
                let piece = Guarded::new(piece, file.partition.clone(), row);
                (Some(Box::new(piece)), Some(Cut::Batches { file, batch: batch + 1, row: next }))
            }
            Cut::Whole(piece) => (Some(piece), None),
            Cut::Lines { .. } | Cut::Groups { .. } | Cut::Batches { .. } => (None, None),
        }
    }
}
