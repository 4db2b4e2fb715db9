//! Rows in Arrow chunks, each found by its position through all of them.

use crate::state::fresh_id;
use arrow::array::{Array, ArrayRef, BooleanArray, new_empty_array};
use arrow::compute::{concat, filter, interleave};
use arrow::datatypes::DataType;
use thalweg_schemas::error::Result;

/// So many chunks of about one length become one: a row is copied a few times, and there are few chunks.
const TOGETHER: usize = 8;

/// Immutable columns that grow at their end. Positions stay what they are until [`Chunks::retain`].
pub(super) struct Chunks {
    types: Vec<DataType>,
    chunks: Vec<Chunk>,
    len: u32,
}

pub(super) struct Chunk {
    /// The position of its first row.
    pub first: u32,
    pub rows: u32,
    pub columns: Vec<ArrayRef>,
    /// The same id means the same rows.
    pub id: u64,
    /// An id of what is known of its rows beside their columns; `None` where it is what is known of any new row.
    pub notes_id: Option<u64>,
    /// Whether that has changed since the id was given.
    pub notes_changed: bool,
}

impl Chunks {
    pub fn new(types: Vec<DataType>) -> Chunks {
        Chunks { types, chunks: Vec::new(), len: 0 }
    }

    pub fn len(&self) -> u32 {
        self.len
    }

    pub fn width(&self) -> usize {
        self.types.len()
    }

    pub fn all(&mut self) -> &mut [Chunk] {
        &mut self.chunks
    }

    pub fn columns_of(&self, chunk: usize) -> &[ArrayRef] {
        &self.chunks[chunk].columns
    }

    /// The chunk of a position, and the row in it.
    pub fn place(&self, row: u32) -> (usize, usize) {
        let chunk = self.chunks.partition_point(|chunk| chunk.first <= row) - 1;
        (chunk, (row - self.chunks[chunk].first) as usize)
    }

    /// What is known of a row beside its columns has changed.
    pub fn note(&mut self, row: u32) {
        self.note_all(&[row]);
    }

    /// The same of several rows, of which neighbours mostly lie in one chunk.
    pub fn note_all(&mut self, rows: &[u32]) {
        let mut noted = 0..0;
        for row in rows {
            if noted.contains(row) {
                continue;
            }
            let (chunk, _) = self.place(*row);
            let chunk = &mut self.chunks[chunk];
            chunk.notes_changed = true;
            noted = chunk.first..chunk.first + chunk.rows;
        }
    }

    pub fn push(&mut self, columns: Vec<ArrayRef>, rows: usize) -> Result<()> {
        if rows == 0 {
            return Ok(());
        }
        self.add(columns, rows as u32);
        loop {
            let mut from = self.chunks.len();
            let youngest = self.chunks[from - 1].rows;
            while from > 0 && self.chunks[from - 1].rows / TOGETHER as u32 <= youngest {
                from -= 1;
            }
            if self.chunks.len() - from < TOGETHER {
                return Ok(());
            }
            self.put_together(from)?;
        }
    }

    fn add(&mut self, columns: Vec<ArrayRef>, rows: u32) {
        let (first, id) = (self.len, fresh_id());
        self.chunks.push(Chunk { first, rows, columns, id, notes_id: None, notes_changed: false });
        self.len += rows;
    }

    fn put_together(&mut self, from: usize) -> Result<()> {
        let together = self.chunks.split_off(from);
        let columns = (0..self.types.len())
            .map(|column| concat(&together.iter().map(|chunk| chunk.columns[column].as_ref()).collect::<Vec<_>>()))
            .collect::<Result<_, _>>()?;
        self.len = together[0].first;
        self.add(columns, together.iter().map(|chunk| chunk.rows).sum());
        let noted = together.iter().any(|chunk| chunk.notes_changed || chunk.notes_id.is_some());
        self.chunks.last_mut().into_iter().for_each(|chunk| chunk.notes_changed = noted);
        Ok(())
    }

    /// The values of `column` in `rows`.
    pub fn gather(&self, column: usize, rows: &[u32]) -> Result<ArrayRef> {
        if rows.is_empty() {
            return Ok(new_empty_array(&self.types[column]));
        }
        let places: Vec<(usize, usize)> = rows.iter().map(|row| self.place(*row)).collect();
        let arrays: Vec<&dyn Array> = self.chunks.iter().map(|chunk| chunk.columns[column].as_ref()).collect();
        Ok(interleave(&arrays, &places)?)
    }

    /// Forgets the rows that are gone of each chunk in which they are the most; gives the positions that remain, in
    /// their order.
    pub fn retain(&mut self, there: impl Fn(u32) -> bool) -> Result<Vec<u32>> {
        let mut remaining = Vec::new();
        self.len = 0;
        for mut chunk in std::mem::take(&mut self.chunks) {
            let rows = chunk.first..chunk.first + chunk.rows;
            let kept = rows.clone().filter(|row| there(*row)).count();
            if kept * 2 < rows.len() {
                let mask: BooleanArray = rows.clone().map(|row| Some(there(row))).collect();
                let columns = chunk.columns.iter().map(|column| filter(column, &mask)).collect::<Result<_, _>>()?;
                remaining.extend(rows.filter(|row| there(*row)));
                if kept > 0 {
                    self.add(columns, kept as u32);
                    // What is known of its rows may be more than of new ones.
                    self.chunks.last_mut().into_iter().for_each(|chunk| chunk.notes_changed = true);
                }
            } else {
                remaining.extend(rows);
                chunk.first = self.len;
                self.len += chunk.rows;
                self.chunks.push(chunk);
            }
        }
        Ok(remaining)
    }

    pub fn size(&self) -> usize {
        self.chunks.iter().flat_map(|chunk| &chunk.columns).map(|column| column.get_array_memory_size()).sum()
    }
}
