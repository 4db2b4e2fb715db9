//! A piece: the part of a file that one worker reads from beginning to end.

use arrow::record_batch::RecordBatch;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
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

/// Rows, handed over.
pub(super) fn ready_rows(partition: &Partition, position: &mut u64, batch: RecordBatch) -> Polled {
    let start = *position;
    *position += batch.num_rows() as u64;
    let (partition, end) = (partition.clone(), *position);
    Polled::Ready(Chunk { partition, start, end, header: None, payload: Payload::Rows(batch) })
}

/// Something wrong with a file.
pub(super) fn fault(partition: &Partition, offset: u64, reason: impl Into<String>) -> Polled {
    Polled::Fault(Fault { partition: partition.name.clone(), offset, reason: reason.into() })
}

/// A piece read by a library that may panic on a damaged file: a panic is a fault, and the end of the piece.
pub(super) struct Guarded {
    piece: Option<Box<dyn Piece>>,
    partition: Partition,
    position: u64,
}

impl Guarded {
    pub(super) fn new(piece: Box<dyn Piece>, partition: Partition, position: u64) -> Guarded {
        Guarded { piece: Some(piece), partition, position }
    }
}

impl Piece for Guarded {
    fn next(&mut self, budget: usize) -> Option<Polled> {
        let piece = self.piece.as_mut()?;
        let polled = guarded(|| piece.next(budget)).unwrap_or_else(|reason| {
            self.piece = None;
            Some(fault(&self.partition, self.position, reason))
        });
        if let Some(Polled::Ready(chunk)) = &polled {
            self.position = chunk.end;
        }
        polled
    }
}

/// What `read` returns, or why it panicked. What it was reading is not touched any more after a panic.
pub(super) fn guarded<T>(read: impl FnOnce() -> T) -> Result<T, String> {
    let describe = |panic: Box<dyn Any + Send>| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        format!("the file is damaged: {}", text.unwrap_or("its contents do not fit together"))
    };
    catch_unwind(AssertUnwindSafe(read)).map_err(describe)
}
