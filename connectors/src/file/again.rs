//! Handing over once more what an earlier run has read.

use super::cut::{Cut, Next};
use super::lines::{CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, LineFile, read_full};
use super::piece::{Piece, fault, ready};
use super::unread::part;
use memchr::memrchr;
use std::fs::File;
use std::sync::Arc;
use thalweg_schemas::source::{Chunk, Partition, Polled, Span};

/// A file being read again, from front to back.
pub(super) enum Again {
    /// Lines can be read from anywhere.
    Lines(Arc<LineFile>),
    /// Everything else is read from the beginning.
    Pieces(Box<Pieces>),
}

/// A file being read piece by piece.
pub(super) struct Pieces {
    cut: Cut,
    partition: Partition,
    piece: Option<Box<dyn Piece>>,
    /// What is left of the last chunk.
    ahead: Option<Chunk>,
    /// What has been handed over.
    position: u64,
}

impl Again {
    pub(super) fn new(cut: Cut, partition: Partition) -> Again {
        match cut.lines() {
            Some(file) => Again::Lines(file.clone()),
            None => Again::Pieces(Box::new(Pieces { cut, partition, piece: None, ahead: None, position: 0 })),
        }
    }

    /// Whether this is the file of `span`, and not read beyond its beginning.
    pub(super) fn serves(&self, span: &Span) -> bool {
        match self {
            Again::Lines(file) => file.partition.name == span.partition,
            Again::Pieces(pieces) => pieces.partition.name == span.partition && pieces.position <= span.start,
        }
    }

    /// A chunk from the beginning of `span`.
    pub(super) fn next(&mut self, span: &Span, budget: usize) -> Polled {
        match self {
            Again::Lines(file) => lines_again(&file.handle, &file.partition, file.header.clone(), span, budget),
            Again::Pieces(pieces) => pieces.next(span, budget),
        }
    }
}

impl Pieces {
    fn next(&mut self, span: &Span, budget: usize) -> Polled {
        let partition = &self.partition;
        loop {
            if let Some(chunk) = self.ahead.take().filter(|chunk| chunk.end > span.start) {
                if chunk.start > span.start {
                    return fault(partition, span.start, format!("there is nothing before {} now", chunk.start));
                }
                let range = span.start..span.end.min(chunk.end);
                self.position = range.end;
                let (wanted, rest) = part(chunk, range);
                self.ahead = rest;
                return Polled::Ready(wanted);
            }
            match self.piece.as_mut().and_then(|piece| piece.next(budget)) {
                Some(Polled::Ready(chunk)) => self.ahead = Some(chunk),
                // What was wrong before these records was said when they were read first.
                Some(Polled::Fault(fault)) if fault.offset < span.start => {}
                Some(other) => return other,
                None => match self.cut.next(u64::MAX) {
                    Next::Piece(next) => self.piece = Some(next),
                    Next::Nothing => {}
                    Next::Over => {
                        let reason = format!("the file ends before {}, as far as it was read", span.end);
                        return fault(partition, span.start, reason);
                    }
                },
            }
        }
    }
}

/// The lines of `span`, or the first of them.
pub(super) fn lines_again(
    file: &File,
    partition: &Partition,
    header: Option<Arc<[u8]>>,
    span: &Span,
    budget: usize,
) -> Polled {
    let all = (span.end - span.start) as usize;
    let mut most = budget.clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX).min(all);
    loop {
        let mut bytes = vec![0; most];
        match read_full(file, &mut bytes, span.start) {
            Ok(filled) if filled < most => {
                let len = span.start + filled as u64;
                let reason = format!("the file ends at {len} now, and was read as far as {}", span.end);
                return fault(partition, span.start, reason);
            }
            Ok(_) => {}
            Err(error) => return fault(partition, span.start, format!("the file cannot be read again: {error}")),
        }
        // A span ends where a line ended, or the file at that time.
        let end = if most == all { Some(most) } else { memrchr(b'\n', &bytes).map(|end| end + 1) };
        if let Some(end) = end {
            bytes.truncate(end);
            return ready(partition, span.start, header, bytes);
        }
        most = (most * 2).min(all);
    }
}
