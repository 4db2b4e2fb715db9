//! What an operator hands over of its state at a checkpoint, and gets back at a restart.
//!
//! State is a list of [`Section`]s: immutable rows with a label. A section that did not change since the last checkpoint
//! has the same id and is not written again. Sections of one label are restored in the order in which they were handed
//! over, a later row taking the place of an earlier one of the same key, so that a change costs by what it changes.

use crate::exchange::{hash_rows, owner};
use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, Schema};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use thalweg_schemas::epoch::{Watermark, WorkerId};
use thalweg_schemas::error::{Error, Result};

/// Immutable rows of an operator's state.
pub struct Section {
    /// What they are to the operator.
    pub label: String,
    /// The same id means the same rows, for as long as the process lives.
    pub id: u64,
    /// How many of the leading columns decide which worker owns a row; with none the first worker owns them all.
    pub keys: usize,
    /// Makes the rows: called on another thread, and only if they have not been written before.
    pub rows: Box<dyn FnOnce() -> Result<RecordBatch> + Send>,
}

impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Section {} #{}", self.label, self.id)
    }
}

/// A section as it comes back: only the rows that this worker owns.
#[derive(Clone, Debug)]
pub struct Restored {
    /// As in [`Section::label`].
    pub label: String,
    /// The rows.
    pub rows: RecordBatch,
}

impl Restored {
    /// The number after `kind:` in the label; an error names a label that this version does not know.
    pub fn number_after(&self, kind: &str) -> Result<i64> {
        let number = self.label.strip_prefix(kind).and_then(|rest| rest.strip_prefix(':')?.parse().ok());
        number.ok_or_else(|| self.unknown())
    }

    /// What to say of a label that nobody knows.
    pub fn unknown(&self) -> Error {
        Error::user(format!("the checkpoint holds state \"{}\" that this version does not know", self.label)).with_hint(
            "It was written by another version of Thalweg: run that one, or start anew with another --data folder.",
        )
    }
}

/// A hosted operator, as a checkpoint sees it.
pub trait Checkpointed {
    /// The watermark of its input.
    fn watermark(&mut self) -> Watermark;

    /// Its state between two epochs, see [`crate::operator::Operator::snapshot`]; `None` if it was handed anything of an
    /// epoch that is not finished.
    fn snapshot(&mut self) -> Result<Option<Vec<Section>>>;

    /// Takes on the state of an earlier run, before anything else is asked of it.
    fn restore(&mut self, watermark: Watermark, sections: Vec<Restored>) -> Result<()>;
}

/// An id that no other section of this process has.
pub fn fresh_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The rows of `rows` that belong to `worker`, by the columns `keys` (see [`crate::exchange::by_key`]).
pub fn owned(rows: &RecordBatch, keys: &[usize], worker: WorkerId) -> Result<RecordBatch> {
    if worker.peers == 1 {
        return Ok(rows.clone());
    }
    if keys.is_empty() {
        return Ok(rows.slice(0, if worker.index == 0 { rows.num_rows() } else { 0 }));
    }
    let columns: Vec<ArrayRef> = keys.iter().map(|&key| rows.column(key).clone()).collect();
    let hashes = hash_rows(&columns, rows.num_rows()).map_err(crate::evaluate::fault)?;
    let own: BooleanArray = hashes.iter().map(|hash| Some(owner(*hash, worker.peers) == worker.index)).collect();
    Ok(filter_record_batch(rows, &own)?)
}

/// Columns without names of their own as rows: fields are called by their positions.
pub(crate) fn unnamed(columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let fields = columns.iter().enumerate().map(|(i, c)| Field::new(format!("{i}"), c.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
}

/// The positions of the numbers that still have a name.
pub(crate) fn named(numbers: &[u32]) -> UInt32Array {
    let kept = numbers.iter().enumerate().filter(|(_, number)| **number != u32::MAX);
    UInt32Array::from_iter_values(kept.map(|(row, _)| row as u32))
}
