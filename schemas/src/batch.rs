//! `Batch`: rows and, where the stream is a changelog, the change each of them makes.

use arrow::array::{Array, Int64Array, RecordBatch, UInt64Array};
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

/// Rows of one schema, and what each of them does to the collection they belong to.
///
/// In an *append* stream every row is an insertion and `diffs` is `None`. In a *changelog* each row carries a
/// difference: `+1` inserts a copy of the row, `-1` retracts one, as in differential dataflow. A retraction repeats
/// the whole row as it was inserted, bit for bit.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The rows.
    pub rows: RecordBatch,
    /// One difference a row, never null and never zero; `None` says that every row is an insertion.
    pub diffs: Option<Int64Array>,
}

impl Batch {
    /// A batch of insertions.
    pub fn append(rows: RecordBatch) -> Batch {
        Batch { rows, diffs: None }
    }

    /// A batch of changes; `diffs` has one entry a row.
    pub fn changes(rows: RecordBatch, diffs: Int64Array) -> Batch {
        assert_eq!(rows.num_rows(), diffs.len(), "a changelog carries one difference a row");
        Batch { rows, diffs: Some(diffs) }
    }

    /// How many rows (changes) the batch holds.
    pub fn num_rows(&self) -> usize {
        self.rows.num_rows()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.num_rows() == 0
    }

    /// The schema of its rows, without the difference.
    pub fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    /// The difference of row `row`.
    pub fn diff(&self, row: usize) -> i64 {
        self.diffs.as_ref().map_or(1, |diffs| diffs.value(row))
    }

    /// The same rows as changes: insertions where they are nothing else.
    pub fn into_changes(self) -> Batch {
        match self.diffs {
            Some(_) => self,
            None => Batch::changes(self.rows.clone(), Int64Array::from(vec![1; self.rows.num_rows()])),
        }
    }

    /// The same changes with other columns, as a projection leaves them.
    pub fn with_rows(&self, rows: RecordBatch) -> Batch {
        assert_eq!(rows.num_rows(), self.num_rows(), "a projection keeps the number of rows");
        Batch { rows, diffs: self.diffs.clone() }
    }

    /// The rows for which `keep` is true.
    pub fn filter(&self, keep: &arrow::array::BooleanArray) -> Result<Batch, ArrowError> {
        let rows = filter_record_batch(&self.rows, keep)?;
        let diffs = match &self.diffs {
            None => None,
            Some(diffs) => Some(as_diffs(arrow::compute::filter(diffs, keep)?.as_ref())),
        };
        Ok(Batch { rows, diffs })
    }

    /// The rows at `indices`, in that order.
    pub fn take(&self, indices: &UInt64Array) -> Result<Batch, ArrowError> {
        let rows = take_record_batch(&self.rows, indices)?;
        let diffs = match &self.diffs {
            None => None,
            Some(diffs) => Some(as_diffs(arrow::compute::take(diffs, indices, None)?.as_ref())),
        };
        Ok(Batch { rows, diffs })
    }

    /// The bytes that its rows take, without those of buffers that they share with rows of other batches: a source may cut
    /// small batches out of one large block.
    pub fn memory_size(&self) -> usize {
        let of = |array: &dyn Array| {
            array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size())
        };
        let rows: usize = self.rows.columns().iter().map(|column| of(column.as_ref())).sum();
        rows + self.diffs.as_ref().map_or(0, |diffs| of(diffs))
    }
}

fn as_diffs(array: &dyn Array) -> Int64Array {
    arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(array).clone()
}
