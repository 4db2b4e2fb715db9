//! Which rows groups have that may be forgotten: a row may be taken back that went with its group, and a tally cannot tell.
//!
//! Of each row a hash is kept with how often it is there. What came and went within one epoch is not looked at: only what
//! the epoch comes to is.

use crate::aggregate::keyed::KeyReader;
use crate::blocks::{Block, Blocks};
use crate::evaluate::fault;
use crate::exchange::hash_rows;
use crate::state::unnamed;
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt64Array};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int64Type, UInt64Type};
use arrow::row::{RowConverter, SortField};
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::error::{Error, Result};

/// The section that they are in.
pub(super) const KNOWN: &str = "known";

/// The rows of each group, by its number: the hash of each, and how often it is there.
pub(super) struct KnownRows {
    groups: Blocks<BTreeMap<u64, i64>>,
}

impl KnownRows {
    pub fn new() -> KnownRows {
        KnownRows { groups: Blocks::new() }
    }

    /// Makes room for groups with numbers below `len`.
    pub fn resize(&mut self, len: usize) {
        self.groups.resize(len);
    }

    /// Takes in the rows of `batch`, which are of the groups `numbers`; gives how often each of them really comes or goes.
    pub fn admit(&mut self, numbers: &[u32], batch: &Batch) -> Result<Vec<i64>> {
        let hashes = hash_rows(batch.rows.columns(), batch.num_rows()).map_err(fault)?;
        let admitted = |(row, (number, hash)): (usize, (&u32, u64))| {
            let group = self.groups.get_mut(*number);
            let known = group.entry(hash).or_insert(0);
            let diff = batch.diff(row).max(-*known);
            *known += diff;
            if *known == 0 {
                group.remove(&hash);
            }
            diff
        };
        Ok(numbers.iter().zip(hashes).enumerate().map(admitted).collect())
    }

    /// Forgets the rows of groups.
    pub fn clear(&mut self, numbers: &[u32]) {
        numbers.iter().for_each(|number| self.groups.clear(*number));
    }

    /// Moves all groups to other numbers; those without one are gone.
    pub fn rename(&mut self, renamed: &[Option<u32>]) {
        self.groups.rename(renamed);
    }

    /// A block of its groups as it is now.
    pub fn block(&mut self, at: usize) -> KnownBlock {
        KnownBlock(self.groups.block(at))
    }

    /// Takes in such rows of the groups `numbers`, without the keys.
    pub fn restore(&mut self, numbers: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let damaged = || Error::bug("the rows that groups have are not as they were written");
        let [hashes, times] = columns else { return Err(damaged()) };
        let hashes = hashes.as_primitive_opt::<UInt64Type>().ok_or_else(damaged)?;
        let times = times.as_primitive_opt::<Int64Type>().ok_or_else(damaged)?;
        for ((number, hash), times) in numbers.iter().zip(hashes.values()).zip(times.values()) {
            self.groups.get_mut(*number).insert(*hash, *times);
        }
        Ok(())
    }

    pub fn size(&self) -> usize {
        self.groups.size(|group| 24 * group.len())
    }
}

/// A block of groups as it was at one moment.
pub(super) struct KnownBlock(pub Block<BTreeMap<u64, i64>>);

impl KnownBlock {
    /// The rows of its groups, for a section called [`KNOWN`]: the groups' keys, the hash, how often it is there.
    pub fn rows(&self, keys: &KeyReader) -> Result<RecordBatch> {
        let all = || self.0.groups().flat_map(|(number, group)| group.iter().map(move |row| (number, row)));
        let numbers: Vec<u32> = all().map(|(number, _)| number).collect();
        let mut columns = keys.get(&numbers)?;
        columns.push(Arc::new(UInt64Array::from_iter_values(all().map(|(_, (hash, _))| *hash))));
        columns.push(Arc::new(Int64Array::from_iter_values(all().map(|(_, (_, times))| *times))));
        unnamed(columns, numbers.len())
    }
}

/// The net changes of `batches`, which are of one schema.
pub(super) fn net_changes(batches: &[Batch]) -> Result<Option<Batch>> {
    let Some(first) = batches.first() else { return Ok(None) };
    let all = concat_batches(&first.schema(), batches.iter().map(|batch| &batch.rows))?;
    let diffs = batches.iter().flat_map(|batch| (0..batch.num_rows()).map(|row| batch.diff(row)));
    let rows = rows_of(&all)?;
    let mut net: BTreeMap<&[u8], (u64, i64)> = BTreeMap::new();
    for ((at, row), diff) in (0u64..).zip(&rows).zip(diffs) {
        net.entry(row).or_insert((at, 0)).1 += diff;
    }
    let mut net: Vec<(u64, i64)> = net.into_values().filter(|(_, diff)| *diff != 0).collect();
    net.sort_unstable_by_key(|(at, diff)| (*diff > 0, *at));
    let diffs = Int64Array::from_iter_values(net.iter().map(|(_, diff)| *diff));
    let batch = Batch::append(all).take(&UInt64Array::from_iter_values(net.iter().map(|(at, _)| *at)))?;
    Ok(Some(Batch::changes(batch.rows, diffs)))
}

/// Each row as bytes that only the same row has.
fn rows_of(rows: &RecordBatch) -> Result<Vec<Box<[u8]>>> {
    if rows.num_columns() == 0 {
        return Ok(vec![Box::default(); rows.num_rows()]);
    }
    let fields = rows.columns().iter().map(|column| SortField::new(column.data_type().clone()));
    let rows = RowConverter::new(fields.collect())?.convert_columns(rows.columns())?;
    Ok(rows.iter().map(|row| row.data().into()).collect())
}
