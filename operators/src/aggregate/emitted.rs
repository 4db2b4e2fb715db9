//! What was said of groups, so that it can be taken back exactly when it changes.

use super::Part;
use super::keyed::KeyedRows;
use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::kernels::cmp::not_distinct;
use arrow::compute::{concat, filter};
use arrow::datatypes::{DataType, SchemaRef};
use thalweg_schemas::batch::Batch;
use thalweg_schemas::error::Result;

/// The results last sent, by the number of the group's key.
pub(crate) struct Emitted {
    rows: KeyedRows,
}

/// Results that changed: what is taken back and what is said instead.
pub(crate) struct Change {
    retracted: Vec<u32>,
    old: Vec<ArrayRef>,
    inserted: Vec<u32>,
    new: Vec<ArrayRef>,
}

impl Emitted {
    pub fn new(types: Vec<DataType>) -> Emitted {
        Emitted { rows: KeyedRows::new(types) }
    }

    pub fn rows(&self) -> &KeyedRows {
        &self.rows
    }

    pub fn rows_mut(&mut self) -> &mut KeyedRows {
        &mut self.rows
    }

    pub fn rename(&mut self, renamed: &[Option<u32>]) {
        self.rows.rename(renamed);
    }

    /// The results of `numbers` are now `new`; what that changes.
    pub fn replace(&mut self, numbers: Vec<u32>, new: Vec<ArrayRef>) -> Result<Change> {
        let known: Vec<bool> = numbers.iter().map(|n| self.rows.contains(*n)).collect();
        let Part { numbers: retracted, states: old } = self.rows.part_of(&numbers)?;
        if retracted.is_empty() {
            self.rows.put(Part { numbers: numbers.clone(), states: new.clone() })?;
            return Ok(Change { retracted, old, inserted: numbers, new });
        }
        // A result that came out the same is not worth a retraction.
        let known_rows = BooleanArray::from(known.clone());
        let same = same_rows(&old, &select(&new, &known_rows)?, retracted.len())?;
        let mut same_of_known = same.iter();
        let changed = numbers.iter().zip(&known).map(|(_, known)| !(*known && same_of_known.next() == Some(true)));
        let changed = BooleanArray::new(changed.collect::<BooleanBuffer>(), None);
        let inserted = pick(&numbers, &changed);
        let new = select(&new, &changed)?;
        let differs = BooleanArray::new(!&same, None);
        let change = Change {
            old: select(&old, &differs)?,
            retracted: pick(&retracted, &differs),
            inserted: inserted.clone(),
            new: new.clone(),
        };
        if !inserted.is_empty() {
            self.rows.put(Part { numbers: inserted, states: new })?;
        }
        Ok(change)
    }

    /// The groups `numbers` have no result any more.
    pub fn withdraw(&mut self, numbers: &[u32]) -> Result<Change> {
        let Part { numbers: known, states: old } = self.rows.part_of(numbers)?;
        let new = self.rows.part_of(&[])?.states;
        self.rows.remove(&known);
        Ok(Change { retracted: known, old, inserted: Vec::new(), new })
    }
}

impl Change {
    /// The change as a changelog of `schema`; `columns_of` gives the columns before the results for some groups.
    pub fn into_batch(
        self,
        schema: &SchemaRef,
        columns_of: impl Fn(&[u32]) -> Result<Vec<ArrayRef>>,
    ) -> Result<Option<Batch>> {
        let rows = self.retracted.len() + self.inserted.len();
        if rows == 0 {
            return Ok(None);
        }
        let numbers: Vec<u32> = self.retracted.iter().chain(&self.inserted).copied().collect();
        let mut columns = columns_of(&numbers)?;
        for (old, new) in self.old.iter().zip(&self.new) {
            // What is only new is held here and seen by readers, and lies in memory once.
            columns.push(if old.is_empty() { new.clone() } else { concat(&[old.as_ref(), new.as_ref()])? });
        }
        let diffs = Int64Array::from_iter_values((0..rows).map(|row| if row < self.retracted.len() { -1 } else { 1 }));
        Ok(Some(Batch::changes(RecordBatch::try_new(schema.clone(), columns)?, diffs)))
    }
}

/// For each row, whether it is the same in all columns. Types that cannot be compared count as different.
fn same_rows(left: &[ArrayRef], right: &[ArrayRef], rows: usize) -> Result<BooleanBuffer> {
    let mut same = BooleanBuffer::new_set(rows);
    for (left, right) in left.iter().zip(right) {
        match not_distinct(left, right) {
            Ok(equal) => same = &same & equal.values(),
            Err(_) => return Ok(BooleanBuffer::new_unset(rows)),
        }
    }
    Ok(same)
}

fn select(columns: &[ArrayRef], rows: &BooleanArray) -> Result<Vec<ArrayRef>> {
    Ok(columns.iter().map(|column| filter(column, rows)).collect::<Result<_, _>>()?)
}

fn pick(numbers: &[u32], rows: &BooleanArray) -> Vec<u32> {
    numbers.iter().zip(rows.values()).filter(|(_, keep)| *keep).map(|(number, _)| *number).collect()
}
