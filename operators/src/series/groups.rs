//! The groups that series belong to, by the first of the columns that tell series apart.
//!
//! A group is small and there are few; none is ever forgotten. All series of a group are on the worker that owns it, and
//! their rows come in one order, so that what a group knows does not depend on the number of workers.

use crate::aggregate::keyed::Keys;
use crate::aggregate::table::Grouping;
use crate::anomaly::Group;
use crate::state::{Section, fresh_id, unnamed};
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch};
use arrow::datatypes::FieldRef;
use thalweg_schemas::error::{Error, Result};

/// The label of their section.
pub(super) const GROUPS: &str = "groups";

/// All groups of a worker.
pub(super) struct Groups {
    keys: Keys,
    columns: usize,
    /// By number.
    known: Vec<Group>,
    id: u64,
}

impl Groups {
    /// Groups that these columns tell apart.
    pub fn new(by: Vec<FieldRef>) -> Result<Groups> {
        let columns = by.len();
        let keys = Keys::new(Grouping::by(arrow::datatypes::Schema::new(by))?)?;
        Ok(Groups { keys, columns, known: Vec::new(), id: fresh_id() })
    }

    /// The group of each row, by number.
    pub fn number(&mut self, by: &[ArrayRef], rows: usize) -> Result<Vec<u32>> {
        let numbers = self.keys.number(&by[..self.columns], rows)?;
        self.known.resize(self.keys.len(), Group::default());
        self.id = fresh_id();
        Ok(numbers)
    }

    pub fn get(&mut self, number: u32) -> &mut Group {
        &mut self.known[number as usize]
    }

    /// All groups with their keys; nothing where there are none.
    pub fn section(&self) -> Option<Section> {
        if self.known.is_empty() {
            return None;
        }
        let (reader, groups) = (self.keys.reader(), self.known.clone());
        let rows = move || {
            let numbers: Vec<u32> = (0..groups.len() as u32).collect();
            let mut columns = reader.get(&numbers)?;
            columns.push(std::sync::Arc::new(BinaryArray::from_iter_values(groups.iter().map(Group::encode))));
            unnamed(columns, numbers.len())
        };
        Some(Section { label: GROUPS.into(), id: self.id, keys: self.columns, rows: Box::new(rows) })
    }

    /// `false` where a group is not of this version.
    pub fn restore(&mut self, rows: &RecordBatch) -> Result<bool> {
        let (states, by) = rows.columns().split_last().ok_or_else(|| Error::bug("groups without a state"))?;
        let numbers = self.number(by, rows.num_rows())?;
        let states = states.as_binary::<i32>();
        for (row, number) in numbers.into_iter().enumerate() {
            let state = if states.is_valid(row) { states.value(row) } else { &[] };
            let Some(group) = Group::decode(state) else { return Ok(false) };
            *self.get(number) = group;
        }
        Ok(true)
    }

    pub fn bytes(&self) -> usize {
        self.keys.size() + self.known.capacity() * size_of::<Group>()
    }
}
