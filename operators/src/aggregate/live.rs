//! Which rows of a chunk count still, for who reads the chunk as it lies.

use arrow::array::BooleanArray;
use arrow::buffer::{BooleanBuffer, Buffer};
use arrow::util::bit_util;
use std::sync::Arc;

/// The rows of one chunk that count. A change costs a bit, and a look the bits of the chunk if any changed.
#[derive(Debug)]
pub(super) struct Live {
    rows: usize,
    dead: usize,
    /// A bit a row, from the first on that does not count.
    bits: Vec<u8>,
    /// The bits as somebody saw them last.
    seen: Option<Arc<BooleanArray>>,
}

impl Live {
    /// All of so many rows.
    pub fn all(rows: usize) -> Live {
        Live { rows, dead: 0, bits: Vec::new(), seen: None }
    }

    /// A row that counted does not count any more.
    pub fn bury(&mut self, row: usize) {
        if self.bits.is_empty() {
            self.bits = vec![u8::MAX; self.rows.div_ceil(8)];
        }
        bit_util::unset_bit(&mut self.bits, row);
        self.dead += 1;
        self.seen = None;
    }

    /// Whether no row counts.
    pub fn is_empty(&self) -> bool {
        self.dead == self.rows
    }

    /// The rows that count; `None`: all.
    pub fn mask(&mut self) -> Option<Arc<BooleanArray>> {
        (self.dead > 0).then(|| {
            let (bits, rows) = (&self.bits, self.rows);
            let copy = || {
                Arc::new(BooleanArray::new(BooleanBuffer::new(Buffer::from_slice_ref(bits.as_slice()), 0, rows), None))
            };
            self.seen.get_or_insert_with(copy).clone()
        })
    }
}
