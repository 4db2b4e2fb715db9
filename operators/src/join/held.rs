//! The rows of one side of a join, found by the number of their key; what is known of each lies beside it in vectors.
//!
//! A row that goes is only marked: the chain of its key steps over it once, and its memory is given back when as many
//! rows are gone as are there.

use super::chunks::Chunks;
use super::expiry::Expiry;
use crate::aggregate::keyed::Keys;
use crate::aggregate::table::Grouping;
use arrow::array::{Array, ArrayRef, DynComparator, make_comparator};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use hashbrown::HashTable;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::error::{Error, Result};

/// The end of a chain.
const NONE: u32 = u32::MAX;

/// How rows that are alike are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alike {
    /// Each by itself: nothing is ever taken back.
    Apart,
    /// Once, with how often it is there: a retraction finds it by its contents.
    Counted,
    /// Once: only whether it is there matters, and nothing is ever taken back.
    Once,
}

/// What is to be held of the rows beside their columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Notes {
    pub alike: Alike,
    /// For how long rows are held in event time, if that is bounded.
    pub held_ns: Option<i64>,
    /// Whether it matters how often a row is shown.
    pub judged: bool,
    /// Whether it matters how many partners each row has.
    pub matched: bool,
}

/// Rows to hold: their columns without the key, and what is known of them.
pub(super) struct Incoming<'a> {
    pub columns: &'a [ArrayRef],
    /// The number of each row's key.
    pub numbers: &'a [u32],
    /// The hash of each row with its key; only looked at where rows are [counted](Alike::Counted).
    pub hashes: &'a [u64],
    /// Event times, where rows are found or go by them.
    pub times: &'a [i64],
    /// How often each row comes or goes.
    pub copies: &'a [u32],
}

/// Rows as a checkpoint kept them.
pub(super) struct Restoring {
    pub columns: Vec<ArrayRef>,
    pub numbers: Vec<u32>,
    pub hashes: Vec<u64>,
    pub times: Vec<i64>,
    /// How often each is there, and how many partners it has.
    pub noted: Vec<(u32, u32)>,
}

/// What became of rows when memory was given back.
pub(super) struct Compacted {
    /// The keys of the rows that are forgotten, once for each row.
    pub dropped: Vec<u32>,
    /// Where each row was that is still held.
    pub remaining: Vec<u32>,
}

/// The rows of one side.
pub(super) struct Held {
    notes: Notes,
    pub columns: Chunks,
    pub numbers: Vec<u32>,
    /// How often each row is there; 0: it is gone.
    pub counts: Vec<u32>,
    /// The next row of the same key.
    next: Vec<u32>,
    pub times: Vec<i64>,
    /// How many partners each row has.
    pub matches: Vec<u32>,
    /// How often each row is shown for itself, with the mark that it is shown with.
    pub shown: Vec<Shown>,
    by_key: Vec<Chain>,
    by_contents: HashTable<u32>,
    hashes: Vec<u64>,
    expiry: Option<Expiry>,
    gone: usize,
}

/// The rows of one key.
#[derive(Clone, Copy, Debug)]
struct Chain {
    first: u32,
    /// How many they are, counted as often as they are there.
    total: u32,
}

/// How a row stands in the output for itself: without a partner, or as one that has some.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    pub copies: u32,
    pub mark: bool,
}

/// Numbers for the keys that are the first `width` columns of either side.
pub(super) fn keys_of(schema: &SchemaRef, width: usize) -> Result<Keys> {
    // The other side may have a NULL where this one has none.
    let fields = schema.fields()[..width].iter().map(|field| field.as_ref().clone().with_nullable(true));
    Keys::new(Grouping::by(Schema::new(fields.collect::<Vec<_>>()))?)
}

/// How many copies of each row of `batch` come or go.
pub(super) fn copies_of(batch: &Batch) -> Vec<u32> {
    match &batch.diffs {
        None => vec![1; batch.num_rows()],
        Some(diffs) => {
            diffs.values().iter().map(|diff| u32::try_from(diff.unsigned_abs()).unwrap_or(u32::MAX)).collect()
        }
    }
}

impl Held {
    /// The rows of a side with these columns, of which the first `width` are the key and are not held here.
    pub fn beside_key(schema: &SchemaRef, width: usize, notes: Notes) -> Held {
        Held::new(schema.fields()[width..].iter().map(|field| field.data_type().clone()).collect(), notes)
    }

    pub fn new(types: Vec<DataType>, notes: Notes) -> Held {
        Held {
            notes,
            columns: Chunks::new(types),
            numbers: Vec::new(),
            counts: Vec::new(),
            next: Vec::new(),
            times: Vec::new(),
            matches: Vec::new(),
            shown: Vec::new(),
            by_key: Vec::new(),
            by_contents: HashTable::new(),
            hashes: Vec::new(),
            expiry: notes.held_ns.map(Expiry::new),
            gone: 0,
        }
    }

    /// How many rows of a key there are.
    pub fn total(&self, number: u32) -> u32 {
        self.by_key.get(number as usize).map_or(0, |chain| chain.total)
    }

    /// How many rows are held.
    pub fn len(&self) -> usize {
        self.counts.len() - self.gone
    }

    /// Calls `each` with the rows of a key.
    pub fn walk(&mut self, number: u32, mut each: impl FnMut(u32)) {
        let Some(chain) = self.by_key.get_mut(number as usize) else { return };
        let (mut row, mut before) = (chain.first, NONE);
        while row != NONE {
            let after = self.next[row as usize];
            if self.counts[row as usize] > 0 {
                each(row);
                before = row;
            } else if before == NONE {
                chain.first = after;
            } else {
                self.next[before as usize] = after;
            }
            row = after;
        }
    }

    /// Takes rows in; gives where each of them is now. Those that were not held before are behind all others, and hold their
    /// `keys`.
    pub fn insert(&mut self, incoming: &Incoming, keys: &mut Keys) -> Result<Vec<u32>> {
        let known = match self.notes.alike {
            Alike::Apart => Vec::new(),
            Alike::Counted | Alike::Once => self.known(incoming)?,
        };
        let own = match self.finds_by_contents() {
            true => comparators(incoming.columns, incoming.columns)?,
            false => Vec::new(),
        };
        let base = self.columns.len();
        if base as usize + incoming.numbers.len() >= NONE as usize {
            return Err(Error::user("a join would hold more than four billion rows on one worker")
                .with_hint("Bound it in event time, or run more workers."));
        }
        let (mut rows, mut new) = (Vec::with_capacity(incoming.numbers.len()), Vec::new());
        for (at, &number) in incoming.numbers.iter().enumerate() {
            // A row may be alike one before it in the same batch.
            let known = known.get(at).copied().flatten();
            let known = known.or_else(|| self.pending(incoming, at, base, &new, &own));
            let copies = incoming.copies[at];
            let row = match known {
                Some(row) if self.notes.alike == Alike::Once => {
                    rows.push(row);
                    continue;
                }
                Some(row) => row,
                None => {
                    let row = base + new.len() as u32;
                    new.push(at as u32);
                    self.link(row, number, incoming, at);
                    row
                }
            };
            let counted = if self.notes.alike == Alike::Once { 1 } else { copies };
            let count = &mut self.counts[row as usize];
            *count = count.checked_add(counted).ok_or_else(too_often)?;
            let total = &mut self.by_key[number as usize].total;
            *total = total.checked_add(counted).ok_or_else(too_often)?;
            rows.push(row);
        }
        self.store(incoming, &new)?;
        keys.hold(&self.numbers[base as usize..]);
        let noted = (base..).zip(&self.counts[base as usize..]).filter(|(_, count)| **count != 1).map(|(row, _)| row);
        self.columns.note_all(&noted.collect::<Vec<_>>());
        let older = rows.iter().copied().filter(|row| *row < base && self.notes.alike == Alike::Counted);
        self.columns.note_all(&older.collect::<Vec<_>>());
        Ok(rows)
    }

    /// Takes rows in that an earlier run held.
    pub fn restore(&mut self, rows: Restoring) -> Result<()> {
        let base = self.columns.len();
        let copies: Vec<u32> = rows.noted.iter().map(|(count, _)| *count).collect();
        let incoming = Incoming {
            columns: &rows.columns,
            numbers: &rows.numbers,
            hashes: &rows.hashes,
            times: &rows.times,
            copies: &copies,
        };
        for (row, at) in (base..).zip(0..rows.numbers.len()) {
            self.link(row, rows.numbers[at], &incoming, at);
            self.counts[row as usize] = copies[at];
            self.by_key[rows.numbers[at] as usize].total += copies[at];
            if let Some(matches) = self.matches.get_mut(row as usize) {
                *matches = rows.noted[at].1;
            }
        }
        self.columns.push(rows.columns, rows.numbers.len())?;
        for (row, noted) in (base..).zip(&rows.noted) {
            if *noted != (1, 0) {
                self.columns.note(row);
            }
        }
        Ok(())
    }

    fn store(&mut self, incoming: &Incoming, new: &[u32]) -> Result<()> {
        let columns = if new.len() == incoming.numbers.len() {
            incoming.columns.to_vec()
        } else {
            let new = arrow::array::UInt32Array::from(new.to_vec());
            let take = |column: &ArrayRef| arrow::compute::take(column, &new, None);
            incoming.columns.iter().map(take).collect::<Result<_, _>>()?
        };
        self.columns.push(columns, new.len())
    }

    /// The row of this batch, among those that are new, that row `at` is alike.
    fn pending(&self, incoming: &Incoming, at: usize, base: u32, new: &[u32], own: &[DynComparator]) -> Option<u32> {
        match self.notes.alike {
            Alike::Apart => None,
            _ if self.columns.width() == 0 => {
                let first = self.by_key.get(incoming.numbers[at] as usize)?.first;
                (first != NONE && first >= base).then_some(first)
            }
            _ => {
                let alike = |row: &u32| {
                    let other = row.checked_sub(base).and_then(|row| new.get(row as usize));
                    other.is_some_and(|other| {
                        incoming.numbers[*other as usize] == incoming.numbers[at] && same(own, at, *other as usize)
                    })
                };
                self.by_contents.find(incoming.hashes[at], alike).copied()
            }
        }
    }

    fn link(&mut self, row: u32, number: u32, incoming: &Incoming, at: usize) {
        if self.by_key.len() <= number as usize {
            self.by_key.resize(number as usize + 1, Chain { first: NONE, total: 0 });
        }
        let chain = &mut self.by_key[number as usize];
        self.next.push(chain.first);
        chain.first = row;
        self.numbers.push(number);
        self.counts.push(0);
        if let Some(time) = incoming.times.get(at) {
            self.times.push(*time);
            self.expiry.iter_mut().for_each(|expiry| expiry.add(*time, row));
        }
        if self.notes.matched {
            self.matches.push(0);
        }
        if self.notes.judged {
            self.shown.push(Shown::default());
        }
        if self.finds_by_contents() {
            let hash = incoming.hashes[at];
            self.hashes.push(hash);
            let hashes = &self.hashes;
            self.by_contents.insert_unique(hash, row, |row| hashes[*row as usize]);
        }
    }

    /// Whether rows are found by their contents: then their hashes are asked for.
    pub fn finds_by_contents(&self) -> bool {
        self.notes.alike != Alike::Apart && self.columns.width() > 0
    }

    /// Takes rows back; gives where each of them is or was.
    pub fn retract(&mut self, incoming: &Incoming) -> Result<Vec<u32>> {
        let mut rows = Vec::with_capacity(incoming.numbers.len());
        for (at, known) in self.known(incoming)?.into_iter().enumerate() {
            let row = known.ok_or_else(|| Error::bug("a join was told to retract a row that it does not hold"))?;
            let count = &mut self.counts[row as usize];
            *count = count
                .checked_sub(incoming.copies[at])
                .ok_or_else(|| Error::bug("a join was told to retract a row more often than it holds it"))?;
            self.by_key[incoming.numbers[at] as usize].total -= incoming.copies[at];
            self.columns.note(row);
            if *count == 0 {
                self.forget(row);
            }
            rows.push(row);
        }
        Ok(rows)
    }

    /// A row that is not there any more is not found any more.
    fn forget(&mut self, row: u32) {
        self.gone += 1;
        if self.finds_by_contents()
            && let Ok(entry) = self.by_contents.find_entry(self.hashes[row as usize], |other| *other == row)
        {
            entry.remove();
        }
    }

    /// A row that is there is there so often from now on.
    pub fn recount(&mut self, row: u32, copies: u32) -> Result<()> {
        let count = &mut self.counts[row as usize];
        let total = &mut self.by_key[self.numbers[row as usize] as usize].total;
        *total = (*total - *count).checked_add(copies).ok_or_else(too_often)?;
        *count = copies;
        self.columns.note(row);
        Ok(())
    }

    /// Rows leave although nobody took them back: their time has passed.
    pub fn drop_rows(&mut self, rows: &[u32]) {
        for &row in rows {
            let count = std::mem::take(&mut self.counts[row as usize]);
            self.by_key[self.numbers[row as usize] as usize].total -= count;
            self.forget(row);
        }
        self.columns.note_all(rows);
    }

    /// Takes out of the order of time the rows earlier than `bound_ns`; gives those that are there.
    pub fn expired(&mut self, bound_ns: i64) -> Vec<u32> {
        let Some(expiry) = &mut self.expiry else { return Vec::new() };
        let times = &self.times;
        let mut rows = expiry.before(bound_ns, |row| times[row as usize]);
        rows.retain(|row| self.counts[*row as usize] > 0);
        rows
    }

    /// Of each incoming row, whether it is there as often as it is to go.
    pub fn holds(&mut self, incoming: &Incoming) -> Result<Vec<bool>> {
        let mut left: BTreeMap<u32, u32> = BTreeMap::new();
        let known = self.known(incoming)?.into_iter().zip(incoming.copies);
        let there = known.map(|(row, copies)| {
            let Some(row) = row else { return false };
            let left = left.entry(row).or_insert(self.counts[row as usize]);
            let there = *left >= *copies;
            *left -= if there { *copies } else { 0 };
            there
        });
        Ok(there.collect())
    }

    /// The held row that each incoming one is alike, if there is one.
    fn known(&mut self, incoming: &Incoming) -> Result<Vec<Option<u32>>> {
        if self.columns.width() == 0 {
            let mut first = Vec::with_capacity(incoming.numbers.len());
            for number in incoming.numbers {
                let mut found = None;
                self.walk(*number, |row| found = Some(row));
                first.push(found);
            }
            return Ok(first);
        }
        let mut by_chunk: BTreeMap<usize, Vec<DynComparator>> = BTreeMap::new();
        let mut found = Vec::with_capacity(incoming.numbers.len());
        for (at, number) in incoming.numbers.iter().enumerate() {
            let mut failed = None;
            let alike = |row: &u32| {
                if self.numbers[*row as usize] != *number {
                    return false;
                }
                let (chunk, offset) = self.columns.place(*row);
                let comparators = match by_chunk.entry(chunk) {
                    std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                    std::collections::btree_map::Entry::Vacant(entry) => {
                        match comparators(incoming.columns, self.columns.columns_of(chunk)) {
                            Ok(comparators) => entry.insert(comparators),
                            Err(error) => {
                                failed = Some(error);
                                return false;
                            }
                        }
                    }
                };
                same(comparators, at, offset)
            };
            found.push(self.by_contents.find(incoming.hashes[at], alike).copied());
            if let Some(error) = failed {
                return Err(error);
            }
        }
        Ok(found)
    }

    /// Gives memory back when as many rows are gone as are there: rows are elsewhere then.
    pub fn compact(&mut self) -> Result<Option<Compacted>> {
        if self.gone <= self.len() + 1_024 {
            return Ok(None);
        }
        let counts = std::mem::take(&mut self.counts);
        let rows = self.columns.retain(|row| counts[row as usize] > 0)?;
        let numbers = std::mem::take(&mut self.numbers);
        let mut kept = rows.iter().copied().peekable();
        let dropped = (0..numbers.len() as u32).filter(|row| kept.next_if_eq(row).is_none());
        let dropped = dropped.map(|row| numbers[row as usize]).collect();
        self.numbers = picked(&numbers, &rows);
        self.counts = picked(&counts, &rows);
        self.times = picked(&self.times, &rows);
        self.matches = picked(&self.matches, &rows);
        self.shown = picked(&self.shown, &rows);
        self.hashes = picked(&self.hashes, &rows);
        self.gone = self.counts.iter().filter(|count| **count == 0).count();
        self.index();
        Ok(Some(Compacted { dropped, remaining: rows }))
    }

    /// The keys have other numbers now.
    pub fn rename(&mut self, renamed: &[Option<u32>]) {
        for number in &mut self.numbers {
            *number = renamed.get(*number as usize).copied().flatten().unwrap_or(NONE);
        }
        self.index();
    }

    /// Builds anew what finds rows.
    fn index(&mut self) {
        let keys = self.numbers.iter().map(|number| *number as usize + 1).max().unwrap_or(0);
        self.by_key = vec![Chain { first: NONE, total: 0 }; keys];
        self.next = vec![NONE; self.numbers.len()];
        self.by_contents = HashTable::with_capacity(if self.finds_by_contents() { self.len() } else { 0 });
        self.expiry.iter_mut().for_each(Expiry::clear);
        for row in (0..self.numbers.len()).filter(|row| self.counts[*row] > 0) {
            let chain = &mut self.by_key[self.numbers[row] as usize];
            self.next[row] = std::mem::replace(&mut chain.first, row as u32);
            chain.total += self.counts[row];
            if let Some(expiry) = &mut self.expiry {
                expiry.add(self.times[row], row as u32);
            }
            if self.notes.alike != Alike::Apart && self.columns.width() > 0 {
                let hashes = &self.hashes;
                self.by_contents.insert_unique(hashes[row], row as u32, |row| hashes[*row as usize]);
            }
        }
    }

    pub fn size(&self) -> usize {
        let words = self.numbers.capacity() + self.counts.capacity() + self.next.capacity() + self.matches.capacity();
        let wide = self.times.capacity() + self.hashes.capacity() + self.by_key.capacity() + self.shown.capacity();
        self.columns.size()
            + 4 * words
            + 8 * wide
            + self.by_contents.allocation_size()
            + self.expiry.as_ref().map_or(0, Expiry::size)
    }
}

fn too_often() -> Error {
    Error::user("a join would hold the same row more than four billion times")
}

pub(super) fn picked<T: Copy>(values: &[T], rows: &[u32]) -> Vec<T> {
    if values.is_empty() { Vec::new() } else { rows.iter().map(|row| values[*row as usize]).collect() }
}

fn comparators(left: &[ArrayRef], right: &[ArrayRef]) -> Result<Vec<DynComparator>> {
    let pair = |(left, right): (&ArrayRef, &ArrayRef)| {
        make_comparator(left as &dyn Array, right as &dyn Array, SortOptions::default())
    };
    Ok(left.iter().zip(right).map(pair).collect::<Result<_, _>>()?)
}

fn same(comparators: &[DynComparator], left: usize, right: usize) -> bool {
    comparators.iter().all(|compare| compare(left, right) == Ordering::Equal)
}
