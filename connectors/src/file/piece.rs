//! A piece: the part of a file that one worker reads from beginning to end.

use std::sync::Arc;
use thalweg_schemas::source::{Chunk, Fault, Partition, Payload, Polled};

/// A part of a file, being read.
pub(super) trait Piece: Send {
    /// The next records or fault; `None` at the end. What goes wrong outside is a fault, and then the end.
    fn next(&mut self, budget: usize) -> Option<Polled>;
}

/// Whole lines, handed over.
pub(super) fn ready(partition: &Partition, start: u64, header: Option<Arc<[u8]>>, bytes: Vec<u8>) -> Polled {
    let end = start + bytes.len() as u64;
    Polled::Ready(Chunk { partition: partition.clone(), start, end, header, payload: Payload::Bytes(bytes) })
}

/// Something wrong with a file.
pub(super) fn fault(partition: &Partition, offset: u64, reason: impl Into<String>) -> Polled {
    Polled::Fault(Fault { partition: partition.name.clone(), offset, reason: reason.into() })
}
