//! A file being dealt out piece by piece: what has been read of it before is left out.

use super::arrow_ipc::{self, ArrowBatch, ArrowFile, ArrowStream};
use super::avro::AvroFile;
use super::lines::{LineFile, LineRange};
use super::options::Layout;
use super::parquet::{ParquetFile, RowGroup};
use super::piece::{Guarded, Piece, guarded};
use super::stream::{Compression, LineStream};
use super::unread::Unread;
use crate::stretches::Stretches;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use thalweg_schemas::source::Partition;

/// An opened file, and what is left of it.
pub(super) struct Cut {
    contents: Contents,
    partition: Partition,
    /// What an earlier run read.
    read: Stretches,
}

/// The contents, and where the next piece begins.
enum Contents {
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
    Whole(Option<Box<dyn Piece>>),
}

/// The next step of dealing out a file.
pub(super) enum Next {
    Piece(Box<dyn Piece>),
    /// A part that was read before.
    Nothing,
    Over,
}

impl Cut {
    /// Opens a file, of which `read` is not to be read again; `None` if there is nothing in it. What is handed over is
    /// added to `done`, in bytes of the file.
    pub(super) fn open(
        path: &Path,
        partition: Partition,
        layout: &Layout,
        read: Stretches,
        done: &Arc<AtomicU64>,
    ) -> Result<Option<Cut>, String> {
        Cut::of(File::open(path), path, partition, layout, read, done)
    }

    /// The same of a file that somebody else has opened, or tried to.
    pub(super) fn of(
        file: io::Result<File>,
        path: &Path,
        partition: Partition,
        layout: &Layout,
        read: Stretches,
        done: &Arc<AtomicU64>,
    ) -> Result<Option<Cut>, String> {
        let opened = guarded(|| open(file, path, partition.clone(), layout, done)).and_then(|opened| opened)?;
        Ok(opened.map(|contents| Cut { contents, partition, read }))
    }

    /// The next piece.
    pub(super) fn next(&mut self, piece_bytes: u64) -> Next {
        match &mut self.contents {
            Contents::Lines { file, position } => match self.read.first_gap(*position..file.len) {
                Some(gap) => {
                    *position = (gap.start + piece_bytes).min(gap.end);
                    Next::Piece(Box::new(LineRange::new(file.clone(), gap.start, *position)))
                }
                None => Next::Over,
            },
            Contents::Groups { file, group, .. } if *group >= file.groups() => Next::Over,
            Contents::Groups { file, group, row } => {
                let first = *row;
                let piece = RowGroup::new(file.clone(), *group, first);
                *row += file.group_rows(*group);
                let rows = first..*row;
                if !rows.is_empty() && self.read.first_gap(rows.clone()).is_none() {
                    file.group_done(*group);
                }
                *group += 1;
                self.unread(Box::new(piece), rows)
            }
            Contents::Batches { file, batch, .. } if *batch >= file.batches() => Next::Over,
            Contents::Batches { file, batch, row } => {
                let first = *row;
                let piece = ArrowBatch::new(file.clone(), *batch, first);
                *row += file.batch_rows(*batch);
                *batch += 1;
                let rows = first..*row;
                self.unread(Box::new(piece), rows)
            }
            Contents::Whole(piece) => match piece.take() {
                Some(piece) if self.read.end() > 0 => {
                    Next::Piece(Box::new(Unread::new(piece, self.partition.clone(), self.read.clone())))
                }
                Some(piece) => Next::Piece(piece),
                None => Next::Over,
            },
        }
    }

    /// The part of `piece` that has not been read; `rows` are those it has.
    fn unread(&self, piece: Box<dyn Piece>, rows: Range<u64>) -> Next {
        let guarded = |piece| Box::new(Guarded::new(piece, self.partition.clone(), rows.start));
        match self.read.first_gap(rows.clone()) {
            // A piece that seems to be empty may be damaged, and says so when it is read.
            Some(gap) if gap == rows => Next::Piece(guarded(piece)),
            None if rows.is_empty() && self.read.end() <= rows.start => Next::Piece(guarded(piece)),
            None => Next::Nothing,
            Some(_) => {
                let inside = self.read.within(rows.clone());
                Next::Piece(Box::new(Unread::new(guarded(piece), self.partition.clone(), inside)))
            }
        }
    }

    /// Where its offsets end; `None` where only reading it all would tell.
    pub(super) fn end(&self) -> Option<u64> {
        match &self.contents {
            Contents::Lines { file, .. } => Some(file.len),
            Contents::Groups { file, .. } => Some((0..file.groups()).map(|group| file.group_rows(group)).sum()),
            Contents::Batches { file, .. } => Some((0..file.batches()).map(|batch| file.batch_rows(batch)).sum()),
            Contents::Whole(_) => None,
        }
    }

    /// The lines, if it is a file whose lines can be read from anywhere.
    pub(super) fn lines(&self) -> Option<&Arc<LineFile>> {
        match &self.contents {
            Contents::Lines { file, .. } => Some(file),
            _ => None,
        }
    }
}

fn open(
    file: io::Result<File>,
    path: &Path,
    partition: Partition,
    layout: &Layout,
    done: &Arc<AtomicU64>,
) -> Result<Option<Contents>, String> {
    let failed = |error: io::Error| format!("the file cannot be opened: {error}");
    let file = file.map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err("this is not a regular file".to_string());
    }
    if meta.len() == 0 {
        return Ok(None);
    }
    let compression = Compression::of(path);
    let done = done.clone();
    Ok(Some(match layout {
        Layout::Lines | Layout::LinesAfterHeader => {
            let has_header = *layout == Layout::LinesAfterHeader;
            if compression != Compression::None {
                let text = compression.decompress(file, done).map_err(failed)?;
                return Ok(Some(Contents::Whole(Some(Box::new(LineStream::new(text, partition, has_header))))));
            }
            let file = Arc::new(LineFile::new(file, partition, has_header, done).map_err(failed)?);
            let position = file.first;
            Contents::Lines { file, position }
        }
        Layout::Parquet(wanted) => {
            let file = ParquetFile::open(file, partition, wanted, done)
                .map_err(|error| format!("this is not a Parquet file that can be read: {error}"))?;
            Contents::Groups { file: Arc::new(file), group: 0, row: 0 }
        }
        Layout::Avro(wanted, schema) => {
            let bytes = compression.decompress(file, done).map_err(failed)?;
            let file = AvroFile::open(bytes, partition, wanted.clone(), schema.as_deref())
                .map_err(|error| format!("this is not an Avro file that can be read: {error}"))?;
            Contents::Whole(Some(Box::new(file)))
        }
        Layout::Arrow(wanted) => {
            let broken = |error| format!("this is not an Arrow file that can be read: {error}");
            if compression == Compression::None && arrow_ipc::is_file(&file).map_err(failed)? {
                let file = ArrowFile::open(file, partition, wanted, done).map_err(broken)?;
                Contents::Batches { file: Arc::new(file), batch: 0, row: 0 }
            } else {
                let bytes = compression.decompress(file, done).map_err(failed)?;
                let stream = ArrowStream::open(bytes, partition.clone(), wanted).map_err(broken)?;
                Contents::Whole(Some(Box::new(Guarded::new(Box::new(stream), partition, 0))))
            }
        }
    }))
}
