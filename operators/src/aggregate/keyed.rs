//! Keys with numbers, and Arrow rows that are found by such a number.

use super::Part;
use super::index::Index;
use super::live::Live;
use super::table::Grouping;
use crate::evaluate::fault;
use crate::state::{Section, fresh_id, named, unnamed};
use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array, UInt64Array, new_empty_array};
use arrow::compute::{concat, interleave, take};
use arrow::datatypes::DataType;
use datafusion_expr::EmitTo;
use datafusion_physical_plan::aggregates::group_values::GroupValues;
use std::sync::Arc;
use thalweg_schemas::error::Result;

/// The keys that are in use, each with a number.
///
/// Numbers are dense and stay what they are until [`compact`](Keys::compact) renames them.
pub(crate) struct Keys {
    grouping: Grouping,
    table: Option<Box<dyn GroupValues>>,
    /// The keys' values, by number.
    values: KeyValues,
    /// How many holders each number has.
    holders: Vec<u32>,
    unheld: usize,
    /// The groups of the rows numbered last: room that is used again.
    groups: Vec<usize>,
}

impl Keys {
    pub fn new(grouping: Grouping) -> Result<Keys> {
        let table = grouping.number_table()?;
        Ok(Keys { grouping, table, values: KeyValues::default(), holders: Vec::new(), unheld: 0, groups: Vec::new() })
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
        let known = table.len();
        table.intern(columns, &mut self.groups).map_err(fault)?;
        if table.len() > known {
            let mut first = vec![0; table.len() - known];
            for (row, &group) in self.groups.iter().enumerate().rev() {
                if group >= known {
                    first[group - known] = row as u64;
                }
            }
            let first = UInt64Array::from(first);
            let new = columns.iter().map(|c| take(c, &first, None)).collect::<Result<Vec<_>, _>>()?;
            self.values.append(new)?;
            self.unheld += table.len() - known;
            self.holders.resize(table.len(), 0);
        }
        Ok(self.groups.iter().map(|group| *group as u32).collect())
    }

    /// The keys' values.
    pub fn values(&self, numbers: &[u32]) -> Result<Vec<ArrayRef>> {
        if self.table.is_none() {
            return Ok(Vec::new());
        }
        if numbers.is_empty() {
            return Ok(self.grouping.key_schema.fields().iter().map(|f| new_empty_array(f.data_type())).collect());
        }
        self.values.get(numbers)
    }

    /// The keys' values as they are now, for another thread.
    pub fn reader(&self) -> KeyReader {
        KeyReader(self.table.is_some().then(|| self.values.clone()))
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
        let columns = self.values(&kept)?;
        let mut renamed = vec![None; self.holders.len()];
        for (new, &old) in kept.iter().enumerate() {
            renamed[old as usize] = Some(new as u32);
        }
        let holders: Vec<u32> = kept.iter().map(|&old| self.holders[old as usize]).collect();
        self.table = self.grouping.number_table()?;
        self.values = KeyValues::default();
        (self.holders, self.unheld) = (Vec::new(), 0);
        self.number(&columns, kept.len())?;
        self.holders = holders;
        self.unheld = 0;
        Ok(Some(renamed))
    }

    /// The rows of `held` with their keys before them, as sections called `label`: one for each chunk.
    pub fn sections(&self, label: &str, held: &mut KeyedRows) -> Result<Vec<Section>> {
        held.sections(label, self.grouping.keys(), || self.reader())
    }

    /// Takes the rows of a section into `held`; gives the numbers that were not in it.
    pub fn restore(&mut self, rows: &RecordBatch, held: &mut KeyedRows) -> Result<Vec<u32>> {
        if rows.num_rows() == 0 {
            return Ok(Vec::new());
        }
        let (keys, states) = rows.columns().split_at(self.grouping.keys());
        let numbers = self.number(keys, rows.num_rows())?;
        let new = held.missing(&numbers);
        held.put(Part { numbers, states: states.to_vec() })?;
        Ok(new)
    }

    pub fn size(&self) -> usize {
        let table = self.table.as_ref().map_or(0, |table| table.size());
        table + self.values.size() + self.holders.capacity() * size_of::<u32>()
    }
}

/// The values of keys as of one moment.
pub(crate) struct KeyReader(Option<KeyValues>);

impl KeyReader {
    /// Of rows that have their keys in themselves.
    pub const NONE: KeyReader = KeyReader(None);

    /// The values of `numbers`, no columns where keys have none.
    pub fn get(&self, numbers: &[u32]) -> Result<Vec<ArrayRef>> {
        match &self.0 {
            Some(values) if values.len > 0 => values.get(numbers),
            _ => Ok(Vec::new()),
        }
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

/// So many chunks of keys of about one length become one: a key is copied a few times, and there are few chunks.
const CHUNKS_TOGETHER: usize = 8;

/// Rows by dense numbers, which only grow in number, in chunks that are at most as long as those before.
#[derive(Clone, Default)]
struct KeyValues {
    /// The first number of each chunk, and its columns.
    chunks: Vec<(u32, Vec<ArrayRef>)>,
    len: u32,
}

impl KeyValues {
    fn append(&mut self, columns: Vec<ArrayRef>) -> Result<()> {
        let rows = columns[0].len() as u32;
        self.chunks.push((self.len, columns));
        self.len += rows;
        loop {
            let mut from = self.chunks.len();
            let youngest = self.rows_of(from - 1);
            while from > 0 && self.rows_of(from - 1) / CHUNKS_TOGETHER as u32 <= youngest {
                from -= 1;
            }
            if self.chunks.len() - from < CHUNKS_TOGETHER {
                return Ok(());
            }
            let together = self.chunks.split_off(from);
            let columns = (0..together[0].1.len())
                .map(|column| concat(&together.iter().map(|(_, c)| c[column].as_ref()).collect::<Vec<_>>()))
                .collect::<Result<_, _>>()?;
            self.chunks.push((together[0].0, columns));
        }
    }

    fn rows_of(&self, chunk: usize) -> u32 {
        self.chunks.get(chunk + 1).map_or(self.len, |(next, _)| *next) - self.chunks[chunk].0
    }

    fn get(&self, numbers: &[u32]) -> Result<Vec<ArrayRef>> {
        if let [(_, columns)] = self.chunks.as_slice() {
            let rows = UInt32Array::from(numbers.to_vec());
            return Ok(columns.iter().map(|column| take(column, &rows, None)).collect::<Result<_, _>>()?);
        }
        let place = |number: &u32| {
            let chunk = self.chunks.partition_point(|(first, _)| first <= number) - 1;
            (chunk, (number - self.chunks[chunk].0) as usize)
        };
        let places: Vec<(usize, usize)> = numbers.iter().map(place).collect();
        let columns = self.chunks.first().map_or(0, |(_, columns)| columns.len());
        let gather = |column: usize| {
            let arrays: Vec<_> = self.chunks.iter().map(|(_, chunk)| chunk[column].as_ref()).collect();
            interleave(&arrays, &places)
        };
        Ok((0..columns).map(gather).collect::<Result<_, _>>()?)
    }

    fn size(&self) -> usize {
        self.chunks.iter().flat_map(|(_, columns)| columns).map(|column| column.get_array_memory_size()).sum()
    }
}

/// Arrow rows found by number. A row is replaced by adding a chunk; chunks are put together so that each is at least
/// twice as long as the next, and all of them when the replaced rows are the most. So a change costs by how much it
/// changes, not by how much there is.
pub(crate) struct KeyedRows {
    types: Vec<DataType>,
    /// The row where each number is, counted through all chunks; what lies elsewhere under its name was replaced.
    places: Index,
    chunks: Vec<Part>,
    /// For each chunk, an id that no other chunk has.
    ids: Vec<u64>,
    stored: usize,
    /// Whether rows were taken out that still lie in a chunk, with nothing in a later one to override them.
    taken_out: bool,
    /// For each chunk which of its rows count, once somebody reads them as they lie.
    live: Option<Vec<Live>>,
}

impl KeyedRows {
    pub fn new(types: Vec<DataType>) -> KeyedRows {
        let (places, chunks, ids) = Default::default();
        KeyedRows { types, places, chunks, ids, stored: 0, taken_out: false, live: None }
    }

    pub fn contains(&self, number: u32) -> bool {
        self.places.get(number).is_some()
    }

    /// Those of `numbers` that have no row.
    pub fn missing(&self, numbers: &[u32]) -> Vec<u32> {
        numbers.iter().copied().filter(|number| !self.contains(*number)).collect()
    }

    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Puts the rows of `part`, whose numbers are distinct, in place of what was there.
    pub fn put(&mut self, part: Part) -> Result<()> {
        self.push(part);
        let (mut from, mut rows) = (self.chunks.len(), 0);
        while from > 0 && self.chunks[from - 1].numbers.len() < 2 * rows.max(1) {
            from -= 1;
            rows += self.chunks[from].numbers.len();
        }
        if self.stored > 2 * self.places.len() + 1_024 {
            from = 0;
        } else if from + 1 >= self.chunks.len() {
            return Ok(());
        }
        self.put_together(from)
    }

    fn push(&mut self, part: Part) {
        let (first, mut replaced) = (self.stored as u32, Vec::new());
        for (place, &number) in (first..).zip(&part.numbers) {
            let before = self.places.insert(number, place);
            if self.live.is_some() {
                // What lay further behind is being put together, and lies in no chunk.
                replaced.extend(before.filter(|before| *before < first));
            }
        }
        self.bury(&replaced);
        if let Some(live) = &mut self.live {
            live.push(Live::all(part.numbers.len()));
        }
        self.stored += part.numbers.len();
        self.chunks.push(part);
        self.ids.push(fresh_id());
    }

    /// The rows at `places` do not count any more.
    fn bury(&mut self, places: &[u32]) {
        let firsts = if places.is_empty() { Vec::new() } else { self.firsts() };
        let Some(live) = &mut self.live else { return };
        for place in places {
            let chunk = firsts.partition_point(|first| first <= place) - 1;
            live[chunk].bury((place - firsts[chunk]) as usize);
        }
    }

    /// The chunks as they lie, with the rows of each that count; `None`: all of them do.
    pub fn lying(&mut self) -> impl Iterator<Item = (&[ArrayRef], Option<Arc<BooleanArray>>)> {
        if self.live.is_none() {
            let mut live: Vec<Live> = self.chunks.iter().map(|part| Live::all(part.numbers.len())).collect();
            for ((part, live), first) in self.chunks.iter().zip(&mut live).zip(self.firsts()) {
                let counts = |(row, number): &(usize, &u32)| self.places.get(**number) == Some(first + *row as u32);
                part.numbers.iter().enumerate().filter(|row| !counts(row)).for_each(|(row, _)| live.bury(row));
            }
            self.live = Some(live);
        }
        let live = self.live.iter_mut().flatten();
        let chunks = self.chunks.iter().zip(live).filter(|(_, live)| !live.is_empty());
        chunks.map(|(part, live)| (part.states.as_slice(), live.mask()))
    }

    /// The rows as sections called `label`, one for each chunk: before the columns of each those that `keys` reads, and
    /// placed by so many of them.
    pub fn sections(&mut self, label: &str, placed_by: usize, keys: impl Fn() -> KeyReader) -> Result<Vec<Section>> {
        self.settle()?;
        let section = |(part, id): (&Part, &u64)| {
            let (values, part) = (keys(), part.clone());
            let rows = move || {
                if part.numbers.iter().all(|number| *number != u32::MAX) {
                    let mut columns = values.get(&part.numbers)?;
                    columns.extend(part.states);
                    return unnamed(columns, part.numbers.len());
                }
                let kept = named(&part.numbers);
                let numbers: Vec<u32> = kept.values().iter().map(|&row| part.numbers[row as usize]).collect();
                let mut columns = values.get(&numbers)?;
                for state in &part.states {
                    columns.push(take(state, &kept, None)?);
                }
                unnamed(columns, numbers.len())
            };
            Section { label: label.to_string(), id: *id, keys: placed_by, rows: Box::new(rows) }
        };
        Ok(self.chunks.iter().zip(&self.ids).map(section).collect())
    }

    /// The rows of those of `numbers` that are there.
    pub fn part_of(&self, numbers: &[u32]) -> Result<Part> {
        let firsts = self.firsts();
        let mut there = Vec::with_capacity(numbers.len());
        let mut places = Vec::with_capacity(numbers.len());
        for &number in numbers {
            if let Some(place) = self.places.get(number) {
                let chunk = firsts.partition_point(|first| *first <= place) - 1;
                there.push(number);
                places.push((chunk, (place - firsts[chunk]) as usize));
            }
        }
        Ok(Part { numbers: there, states: self.gather(0, &places)? })
    }

    /// The place of the first row of each chunk.
    fn firsts(&self) -> Vec<u32> {
        let before = |stored: &mut u32, chunk: &Part| {
            let first = *stored;
            *stored += chunk.numbers.len() as u32;
            Some(first)
        };
        self.chunks.iter().scan(0, before).collect()
    }

    /// All rows, in the order in which they lie.
    pub fn all(&self) -> Result<Part> {
        match self.chunks.as_slice() {
            [chunk] if self.stored == self.places.len() => Ok(chunk.clone()),
            _ => self.live(0),
        }
    }

    /// All numbers, in the order in which their rows lie.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        let numbers = self.chunks.iter().flat_map(|part| part.numbers.iter().copied());
        (0..).zip(numbers).filter(|(place, number)| self.places.get(*number) == Some(*place)).map(|(_, number)| number)
    }

    /// Takes rows out.
    pub fn remove(&mut self, numbers: &[u32]) {
        let gone: Vec<u32> = numbers.iter().filter_map(|number| self.places.remove(*number)).collect();
        self.taken_out |= !gone.is_empty();
        self.bury(&gone);
    }

    /// Renames all numbers.
    pub fn rename(&mut self, renamed: &[Option<u32>]) {
        let places = std::mem::take(&mut self.places);
        for (place, number) in (0..).zip(self.chunks.iter_mut().flat_map(|part| &mut part.numbers)) {
            let live = places.get(*number) == Some(place);
            // A replaced row may have belonged to a key that is forgotten: its name is never asked for again.
            *number = renamed.get(*number as usize).copied().flatten().unwrap_or(u32::MAX);
            if live {
                self.places.insert(*number, place);
            }
        }
    }

    fn gather(&self, from: usize, places: &[(usize, usize)]) -> Result<Vec<ArrayRef>> {
        (0..self.types.len())
            .map(|column| {
                if places.is_empty() {
                    return Ok(new_empty_array(&self.types[column]));
                }
                let arrays: Vec<_> = self.chunks[from..].iter().map(|chunk| chunk.states[column].as_ref()).collect();
                Ok(interleave(&arrays, places)?)
            })
            .collect()
    }

    /// What was not replaced in the chunks from `from` on.
    fn live(&self, from: usize) -> Result<Part> {
        let (mut numbers, mut places) = (Vec::new(), Vec::new());
        let firsts = self.firsts();
        for (chunk, (part, first)) in self.chunks.iter().zip(firsts).enumerate().skip(from) {
            for (row, &number) in part.numbers.iter().enumerate() {
                if self.places.get(number) == Some(first + row as u32) {
                    numbers.push(number);
                    places.push((chunk - from, row));
                }
            }
        }
        Ok(Part { states: self.gather(from, &places)?, numbers })
    }

    /// Makes the chunks say all there is: later rows override earlier ones, and no row is there that was taken out.
    fn settle(&mut self) -> Result<()> {
        if self.taken_out { self.put_together(0) } else { Ok(()) }
    }

    fn put_together(&mut self, from: usize) -> Result<()> {
        let part = self.live(from)?;
        self.taken_out &= from > 0;
        self.chunks.truncate(from);
        self.ids.truncate(from);
        self.live.iter_mut().for_each(|live| live.truncate(from));
        self.stored = self.chunks.iter().map(|chunk| chunk.numbers.len()).sum();
        if !part.numbers.is_empty() {
            self.push(part);
        }
        Ok(())
    }

    pub fn size(&self) -> usize {
        let columns = self.chunks.iter().flat_map(|chunk| &chunk.states);
        let chunks = columns.map(|column| column.get_array_memory_size()).sum::<usize>();
        let numbers = self.chunks.iter().map(|chunk| chunk.numbers.capacity() * size_of::<u32>()).sum::<usize>();
        chunks + numbers + self.places.size()
    }
}
