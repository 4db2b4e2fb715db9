//! Parts of chunks: leaving out what an earlier run has read.

use super::piece::{Piece, fault};
use crate::stretches::Stretches;
use std::ops::Range;
use thalweg_schemas::source::{Chunk, Partition, Payload, Polled};

/// A piece that can only be read as a whole, without what has been read before.
pub(super) struct Unread {
    piece: Box<dyn Piece>,
    partition: Partition,
    read: Stretches,
    /// What is left of the last chunk.
    ahead: Option<Chunk>,
    /// Where the last chunk ended.
    position: u64,
    /// Whether something was wrong, so that an early end is no news.
    faulty: bool,
}

impl Unread {
    pub(super) fn new(piece: Box<dyn Piece>, partition: Partition, read: Stretches) -> Unread {
        Unread { piece, partition, read, ahead: None, position: 0, faulty: false }
    }
}

impl Piece for Unread {
    fn next(&mut self, budget: usize) -> Option<Polled> {
        loop {
            let chunk = match self.ahead.take() {
                Some(chunk) => chunk,
                None => match self.piece.next(budget) {
                    Some(Polled::Ready(chunk)) => chunk,
                    Some(other) => {
                        self.faulty = true;
                        return Some(other);
                    }
                    None => return self.over(),
                },
            };
            self.position = chunk.end;
            if let Some(gap) = self.read.first_gap(chunk.start..chunk.end) {
                let (part, rest) = part(chunk, gap);
                self.ahead = rest;
                return Some(Polled::Ready(part));
            }
        }
    }
}

impl Unread {
    fn over(&mut self) -> Option<Polled> {
        let (here, there) = (self.position, self.read.end());
        if here >= there || std::mem::replace(&mut self.faulty, true) {
            return None;
        }
        let reason = format!("the file ends at {here}, but an earlier run has read it as far as {there}");
        Some(fault(&self.partition, here, reason))
    }
}

/// The records of `chunk` in `range`, between records; and what comes after.
pub(super) fn part(chunk: Chunk, range: Range<u64>) -> (Chunk, Option<Chunk>) {
    if range == (chunk.start..chunk.end) {
        return (chunk, None);
    }
    let slice = |start: u64, end: u64| {
        let (from, to) = ((start - chunk.start) as usize, (end - chunk.start) as usize);
        let payload = match &chunk.payload {
            Payload::Rows(rows) => Payload::Rows(rows.slice(from, to - from)),
            Payload::Bytes(bytes) => Payload::Bytes(bytes[from..to].to_vec()),
            other => unreachable!("files hold lines or rows, not {other:?}"),
        };
        Chunk { partition: chunk.partition.clone(), start, end, header: chunk.header.clone(), payload }
    };
    let rest = (range.end < chunk.end).then(|| slice(range.end, chunk.end));
    (slice(range.start, range.end), rest)
}
