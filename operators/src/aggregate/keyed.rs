//! Keys with numbers, and Arrow rows that are found by such a number.

use super::table::Grouping;
use crate::evaluate::fault;
use arrow::array::{ArrayRef, UInt64Array, new_empty_array};
use arrow::compute::{interleave, take};
use arrow::datatypes::DataType;
use datafusion_expr::EmitTo;
use datafusion_physical_plan::aggregates::group_values::GroupValues;
use hashbrown::HashMap;
use thalweg_schemas::error::Result;

/// How often the rows of a [`KeyedRows`] may lie in separate chunks before they are put together.
const CHUNKS_MAX: usize = 64;

/// The keys that are in use, each with a number.
///
/// Numbers are dense and stay what they are until [`compact`](Keys::compact) renames them.
pub(crate) struct Keys {
    grouping: Grouping,
    table: Option<Box<dyn GroupValues>>,
    /// The keys' values, by number.
    values: KeyedRows,
    /// How many holders each number has.
    holders: Vec<u32>,
    unheld: usize,
}

impl Keys {
    pub fn new(grouping: Grouping) -> Result<Keys> {
        let types = grouping.key_schema.fields().iter().map(|f| f.data_type().clone()).collect();
        let table = grouping.key_table()?;
        Ok(Keys { grouping, table, values: KeyedRows::new(types), holders: Vec::new(), unheld: 0 })
    }

    /// The numbers of the keys in `columns`, new ones where they are new. A new key has no holder yet.
    pub fn number(&mut self, columns: &[ArrayRef], rows: usize) -> Result<Vec<u32>> {
        let Some(table) = &mut self.table else {
            if self.holders.is_empty() {
                self.holders.push(0);
                self.unheld += 1;
            }
            return Ok(vec![0; rows]);
        };
        let mut groups = Vec::new();
        let known = table.len();
        table.intern(columns, &mut groups).map_err(fault)?;
        if table.len() > known {
            let mut first = vec![0; table.len() - known];
            for (row, &group) in groups.iter().enumerate().rev() {
                if group >= known {
                    first[group - known] = row as u64;
                }
            }
            let first = UInt64Array::from(first);
            let new = columns.iter().map(|c| take(c, &first, None)).collect::<Result<Vec<_>, _>>()?;
            self.values.put((known as u32..table.len() as u32).collect(), new)?;
            self.unheld += table.len() - known;
            self.holders.resize(table.len(), 0);
        }
        Ok(groups.into_iter().map(|group| group as u32).collect())
    }

    /// The keys' values.
    pub fn values(&self, numbers: &[u32]) -> Result<Vec<ArrayRef>> {
        if self.table.is_none() {
            return Ok(Vec::new());
        }
        self.values.get(numbers)
    }

    pub fn hold(&mut self, numbers: &[u32]) {
        for &number in numbers {
            let holders = &mut self.holders[number as usize];
            self.unheld -= usize::from(*holders == 0);
            *holders += 1;
        }
    }

    pub fn release(&mut self, numbers: &[u32]) {
        for &number in numbers {
            let holders = &mut self.holders[number as usize];
            *holders -= 1;
            self.unheld += usize::from(*holders == 0);
        }
    }

    pub fn len(&self) -> usize {
        self.holders.len()
    }

    /// Forgets keys without a holder when they are the most; gives the new number of each old one, if any changed.
    pub fn compact(&mut self) -> Result<Option<Vec<Option<u32>>>> {
        if self.table.is_none() || self.unheld < 1_024 || self.unheld * 2 < self.holders.len() {
            return Ok(None);
        }
        let kept: Vec<u32> = (0..self.holders.len() as u32).filter(|n| self.holders[*n as usize] > 0).collect();
        let columns = self.values.get(&kept)?;
        let mut renamed = vec![None; self.holders.len()];
        for (new, &old) in kept.iter().enumerate() {
            renamed[old as usize] = Some(new as u32);
        }
        let holders: Vec<u32> = kept.iter().map(|&old| self.holders[old as usize]).collect();
        self.table = self.grouping.key_table()?;
        self.values = KeyedRows::new(self.values.types.clone());
        (self.holders, self.unheld) = (Vec::new(), 0);
        self.number(&columns, kept.len())?;
        self.holders = holders;
        self.unheld = 0;
        Ok(Some(renamed))
    }

    pub fn size(&self) -> usize {
        let table = self.table.as_ref().map_or(0, |table| table.size());
        table + self.values.size() + self.holders.capacity() * size_of::<u32>()
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // DataFusion's tables want to be emptied, or they count their memory as lost.
        if let Some(table) = &mut self.table {
            drop(table.emit(EmitTo::All));
        }
    }
}

/// Arrow rows found by number; rows are replaced by adding a chunk, and put together now and then.
pub(crate) struct KeyedRows {
    types: Vec<DataType>,
    places: HashMap<u32, (u32, u32)>,
    /// The numbers in the order in which they came.
    numbers: Vec<u32>,
    chunks: Vec<Vec<ArrayRef>>,
    stored: usize,
}

impl KeyedRows {
    pub fn new(types: Vec<DataType>) -> KeyedRows {
        KeyedRows { types, places: HashMap::new(), numbers: Vec::new(), chunks: Vec::new(), stored: 0 }
    }

    pub fn contains(&self, number: u32) -> bool {
        self.places.contains_key(&number)
    }

    /// All numbers, in the order in which they came.
    pub fn numbers(&self) -> &[u32] {
        &self.numbers
    }

    /// Puts one row for each of `numbers`, which are distinct, in place of what was there.
    pub fn put(&mut self, numbers: Vec<u32>, columns: Vec<ArrayRef>) -> Result<()> {
        let chunk = self.chunks.len() as u32;
        for (row, &number) in numbers.iter().enumerate() {
            if self.places.insert(number, (chunk, row as u32)).is_none() {
                self.numbers.push(number);
            }
        }
        self.stored += numbers.len();
        self.chunks.push(columns);
        if self.chunks.len() > CHUNKS_MAX || self.stored > 2 * self.numbers.len() + 1_024 {
            self.put_together()?;
        }
        Ok(())
    }

    /// The rows of `numbers`, which must all be there.
    pub fn get(&self, numbers: &[u32]) -> Result<Vec<ArrayRef>> {
        let places: Vec<(usize, usize)> = numbers
            .iter()
            .map(|number| {
                let (chunk, row) = self.places[number];
                (chunk as usize, row as usize)
            })
            .collect();
        (0..self.types.len())
            .map(|column| {
                if places.is_empty() {
                    return Ok(new_empty_array(&self.types[column]));
                }
                let arrays: Vec<_> = self.chunks.iter().map(|chunk| chunk[column].as_ref()).collect();
                Ok(interleave(&arrays, &places)?)
            })
            .collect()
    }

    /// Takes rows out.
    pub fn remove(&mut self, numbers: &[u32]) {
        if numbers.is_empty() {
            return;
        }
        for number in numbers {
            self.places.remove(number);
        }
        let places = &self.places;
        self.numbers.retain(|number| places.contains_key(number));
    }

    /// Renames all numbers.
    pub fn rename(&mut self, renamed: &[Option<u32>]) {
        let mut places = HashMap::with_capacity(self.places.len());
        for number in &mut self.numbers {
            let new = renamed[*number as usize].expect("what is held is not forgotten");
            places.insert(new, self.places[number]);
            *number = new;
        }
        self.places = places;
    }

    fn put_together(&mut self) -> Result<()> {
        let columns = self.get(&self.numbers)?;
        self.chunks = vec![columns];
        self.stored = self.numbers.len();
        for (row, number) in self.numbers.iter().enumerate() {
            self.places.insert(*number, (0, row as u32));
        }
        Ok(())
    }

    pub fn size(&self) -> usize {
        let chunks = self.chunks.iter().flatten().map(|column| column.get_array_memory_size()).sum::<usize>();
        chunks + self.places.capacity() * 13 + self.numbers.capacity() * size_of::<u32>()
    }
}
