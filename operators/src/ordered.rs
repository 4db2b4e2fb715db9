//! The rows of a relation by partition, each partition in an order of its own: what ranking and window functions look at.
//!
//! A row is kept as bytes that compare as the order says; rows that the order leaves equal are told apart by their other
//! columns, so that the order is the same whatever the workers and the epochs. A change costs by the logarithm of its
//! partition. A checkpoint shares the partitions in blocks, of which those that changed are written, on another thread.

use crate::aggregate::keyed::Keys;
use crate::aggregate::table::Grouping;
use crate::blocks::Blocks;
use crate::counted::{Counted, CountedBlock, ValueBytes};
use crate::state::{Restored, Section};
use crate::state_ttl::{Lifetimes, TOUCHED};
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Int64Type, Schema, SchemaRef};
use arrow::row::{RowConverter, Rows, SortField};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::Epoch;
use thalweg_schemas::error::{Error, Result};

/// By which column rows are ordered, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderBy {
    /// Its position.
    pub column: usize,
    /// Whether the largest is first.
    pub descending: bool,
    /// Whether NULL is before all others.
    pub nulls_first: bool,
}

impl OrderBy {
    /// As it is written, over columns of `schema`.
    pub(crate) fn shown(&self, schema: &Schema) -> impl fmt::Display + use<> {
        let direction = if self.descending { " DESC" } else { "" };
        let nulls = match (self.nulls_first, self.descending) {
            (true, false) => " NULLS FIRST",
            (false, true) => " NULLS LAST",
            _ => "",
        };
        format!("{}{direction}{nulls}", schema.field(self.column).name())
    }
}

/// Rows by partition and in order, each as often as it is there.
pub(crate) struct Ordered {
    schema: SchemaRef,
    partition: Vec<usize>,
    /// The columns that are encoded, in this order: those of the order, then the others.
    encoded: Vec<usize>,
    rows: Arc<RowConverter>,
    /// The columns of the order alone, where it matters which rows it leaves equal: then each row has behind it how many of
    /// its bytes are theirs.
    order: Option<(Vec<usize>, RowConverter)>,
    keys: Keys,
    partitions: Blocks<Counted>,
    /// How many different rows there are, and the bytes that they take.
    held: (usize, usize),
    /// When partitions go that no row comes for.
    lifetimes: Option<Lifetimes>,
    /// Rows that were taken back more often than they were there, where partitions are forgotten.
    overdrawn: Vec<(u32, ValueBytes)>,
}

/// The bytes that say how many of a row's are those of the order.
const LENGTH_BYTES: usize = size_of::<u32>();

/// The changes of one batch: of each its partition, its row as bytes, and how often the row comes or goes.
pub(crate) struct Changes {
    pub partitions: Vec<u32>,
    rows: Rows,
    order: Option<Rows>,
    diffs: Option<Int64Array>,
}

impl Changes {
    pub fn row(&self, at: usize) -> Cow<'_, [u8]> {
        let row = self.rows.row(at).data();
        match &self.order {
            None => Cow::Borrowed(row),
            Some(order) => Cow::Owned([row, &(order.row_len(at) as u32).to_le_bytes()].concat()),
        }
    }

    pub fn diff(&self, at: usize) -> i64 {
        self.diffs.as_ref().map_or(1, |diffs| diffs.value(at))
    }
}

/// The changes of an epoch, those of each partition together and the partitions by their numbers.
pub(crate) struct EpochChanges {
    batches: Vec<Changes>,
    /// The partition, the batch and the row of each.
    places: Vec<(u32, u32, u32)>,
}

impl EpochChanges {
    pub fn new(batches: Vec<Changes>) -> EpochChanges {
        let mut places = Vec::with_capacity(batches.iter().map(|changes| changes.partitions.len()).sum());
        for (batch, changes) in (0..).zip(&batches) {
            places.extend((0..).zip(&changes.partitions).map(|(row, partition)| (*partition, batch, row)));
        }
        places.sort_unstable();
        EpochChanges { batches, places }
    }

    /// Each partition with its changes in the order in which they came: rows, and how often each comes or goes.
    pub fn partitions(&self) -> impl Iterator<Item = (u32, impl Iterator<Item = (Cow<'_, [u8]>, i64)>)> {
        let of_one = self.places.chunk_by(|one, other| one.0 == other.0);
        of_one.map(|places| {
            let changes = places.iter().map(|(_, batch, row)| {
                let (changes, row) = (&self.batches[*batch as usize], *row as usize);
                (changes.row(row), changes.diff(row))
            });
            (places[0].0, changes)
        })
    }
}

impl Ordered {
    /// Rows of `schema` by the columns `partition`; with `ties` it is known which rows the order leaves equal.
    pub fn new(schema: &SchemaRef, partition: &[usize], order: &[OrderBy], ties: bool) -> Result<Ordered> {
        let key_fields: Vec<_> = partition.iter().map(|at| schema.fields()[*at].clone()).collect();
        let mut by: Vec<OrderBy> = Vec::new();
        for one in order {
            let decides = !partition.contains(&one.column) && by.iter().all(|before| before.column != one.column);
            by.extend(decides.then_some(*one));
        }
        let field = |by: &OrderBy| {
            let options = SortOptions { descending: by.descending, nulls_first: by.nulls_first };
            SortField::new_with_options(schema.field(by.column).data_type().clone(), options)
        };
        let order_fields: Vec<SortField> = by.iter().map(field).collect();
        let first: Vec<usize> = by.iter().map(|by| by.column).collect();
        let others = (0..schema.fields().len()).filter(|at| !partition.contains(at) && !first.contains(at));
        let others: Vec<usize> = others.collect();
        let mut fields = order_fields.clone();
        fields.extend(others.iter().map(|at| SortField::new(schema.field(*at).data_type().clone())));
        if fields.is_empty() {
            // All rows of a partition are alike.
            fields.push(SortField::new(DataType::Boolean));
        }
        let order = match ties && !order_fields.is_empty() {
            true => Some((first.clone(), RowConverter::new(order_fields)?)),
            false => None,
        };
        Ok(Ordered {
            schema: schema.clone(),
            partition: partition.to_vec(),
            encoded: [first, others].concat(),
            rows: Arc::new(RowConverter::new(fields)?),
            order,
            keys: Keys::new(Grouping::by(Schema::new(key_fields))?)?,
            partitions: Blocks::new(),
            held: (0, 0),
            lifetimes: None,
            overdrawn: Vec::new(),
        })
    }

    /// Lets partitions go by `lifetimes`. Rows may then be taken back that are not there: they went with their partition.
    pub fn forgetting(self, lifetimes: Option<Lifetimes>) -> Ordered {
        Ordered { lifetimes, ..self }
    }

    /// The changes of `batch`, each with its partition; nothing is changed yet.
    pub fn encode(&mut self, batch: &Batch) -> Result<Changes> {
        let pick = |columns: &[usize]| columns.iter().map(|at| batch.rows.column(*at).clone()).collect::<Vec<_>>();
        let partitions = self.keys.number(&pick(&self.partition), batch.num_rows())?;
        self.partitions.resize(self.keys.len());
        let mut columns = pick(&self.encoded);
        if columns.is_empty() {
            columns.push(new_null_array(&DataType::Boolean, batch.num_rows()));
        }
        let order = match &self.order {
            Some((columns, converter)) => Some(converter.convert_columns(&pick(columns))?),
            None => None,
        };
        Ok(Changes { partitions, rows: self.rows.convert_columns(&columns)?, order, diffs: batch.diffs.clone() })
    }

    /// The rows of a partition.
    pub fn rows(&self, partition: u32) -> &Counted {
        self.partitions.get(partition)
    }

    /// The partitions that have rows.
    pub fn partitions(&self) -> impl Iterator<Item = u32> {
        (0..self.keys.len() as u32).filter(|number| !self.rows(*number).is_empty())
    }

    /// The bytes of a row by which it is ordered; none where ties do not matter.
    pub fn order_of<'a>(&self, row: &'a [u8]) -> &'a [u8] {
        let length = self.order.as_ref().and_then(|_| row.last_chunk::<LENGTH_BYTES>());
        &row[..length.map_or(0, |length| u32::from_le_bytes(*length) as usize)]
    }

    /// How many bytes of each row are not its columns'.
    fn behind(&self) -> usize {
        if self.order.is_some() { LENGTH_BYTES } else { 0 }
    }

    /// Lets a row of a partition be there `diff` times more.
    pub fn change(&mut self, partition: u32, row: &[u8], diff: i64) {
        let rows = self.partitions.get_mut(partition);
        let was_empty = rows.is_empty();
        let (before, now) = rows.change(row, diff);
        match (before, now) {
            (0, 0) => return,
            (0, _) => self.held = (self.held.0 + 1, self.held.1 + row.len()),
            (_, 0) => self.held = (self.held.0 - 1, self.held.1 - row.len()),
            _ => {}
        }
        match (was_empty, rows.is_empty()) {
            (true, false) => self.keys.hold(&[partition]),
            (false, true) => self.keys.release(&[partition]),
            _ => {}
        }
        if now < 0 && self.lifetimes.is_some() {
            self.overdrawn.push((partition, row.into()));
        }
    }

    /// Leaves alone what was taken back in this epoch and is not there.
    pub fn settle(&mut self) {
        for (partition, row) in std::mem::take(&mut self.overdrawn) {
            let times = self.rows(partition).times(&row);
            if times < 0 {
                self.change(partition, &row, -times);
            }
        }
    }

    /// Takes the rows of a partition out.
    pub fn remove(&mut self, partition: u32) {
        if !self.rows(partition).is_empty() {
            let rows = std::mem::take(self.partitions.get_mut(partition));
            self.keys.release(&[partition]);
            self.held.0 -= rows.len();
            self.held.1 -= rows.iter().map(|(row, _)| row.len()).sum::<usize>();
        }
    }

    /// Takes the last rows of a partition out, one after the other, as long as `is_behind` says so; it never does of all.
    pub fn trim(&mut self, partition: u32, is_behind: impl Fn(&Counted) -> bool) {
        while is_behind(self.rows(partition))
            && let Some((row, _)) = self.partitions.get_mut(partition).pop_last()
        {
            self.held = (self.held.0 - 1, self.held.1 - row.len());
        }
    }

    /// Takes note that something came for `partitions`; gives those, with rows, that nothing came for in too long.
    pub fn expired(&mut self, epoch: Epoch, partitions: impl Iterator<Item = u32>) -> Result<Vec<u32>> {
        let Some(lifetimes) = &mut self.lifetimes else { return Ok(Vec::new()) };
        let (emptied, alive): (Vec<u32>, Vec<u32>) =
            partitions.partition(|number| self.partitions.get(*number).is_empty());
        lifetimes.forget(&emptied);
        lifetimes.touch(epoch, &alive)?;
        lifetimes.expired(epoch)
    }

    /// The epoch in which partitions may go though nothing comes.
    pub fn wake_at(&self) -> Option<Epoch> {
        self.lifetimes.as_ref()?.wake_at()
    }

    /// The values that a column of the partition has in some partitions.
    pub fn partition_column(&self, column: usize, partitions: &[u32]) -> Result<ArrayRef> {
        let place = self.partition.iter().position(|at| *at == column);
        let value = self.keys.values(partitions)?.into_iter().nth(place.unwrap_or(usize::MAX));
        value.ok_or_else(|| Error::bug("a bound is not among the columns of its partition"))
    }

    /// The columns of rows, each given with its partition.
    pub fn decode<'a>(&self, partitions: &[u32], rows: &[&'a [u8]]) -> Result<RecordBatch> {
        let parser = self.rows.parser();
        let own = |row: &&'a [u8]| parser.parse(&row[..row.len() - self.behind()]);
        let decoded = self.rows.convert_rows(rows.iter().map(own))?;
        let keys = self.keys.values(partitions)?;
        let column = |at: usize| {
            let of = |columns: &[usize], values: &[ArrayRef]| {
                columns.iter().position(|column| *column == at).map(|place| values[place].clone())
            };
            of(&self.partition, &keys).or_else(|| of(&self.encoded, &decoded))
        };
        let columns = (0..self.schema.fields().len()).map(column).collect::<Option<Vec<_>>>();
        let columns = columns.ok_or_else(|| Error::bug("a column is neither of the partition nor encoded"))?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }

    /// Forgets the names of partitions that are gone; gives the new numbers if they changed.
    pub fn compact(&mut self) -> Result<Option<Vec<Option<u32>>>> {
        let Some(renamed) = self.keys.compact()? else { return Ok(None) };
        self.partitions.rename(&renamed);
        self.lifetimes.iter_mut().for_each(|lifetimes| lifetimes.rename(&renamed));
        Ok(Some(renamed))
    }

    /// A section called [`ROWS`] for each block of partitions: the columns of the partition, the others, and how often
    /// each row is there; and when something came for the partitions.
    pub fn sections(&mut self) -> Result<Vec<Section>> {
        let (keys, behind, reader) = (self.partition.len(), self.behind(), Arc::new(self.keys.reader()));
        let mut sections = Vec::new();
        for at in 0..self.partitions.blocks() {
            let block = CountedBlock { converter: self.rows.clone(), groups: self.partitions.block(at), behind };
            let (id, reader) = (block.groups.id, reader.clone());
            let rows = Box::new(move || block.rows(&reader));
            sections.push(Section { label: ROWS.into(), id, keys, rows });
        }
        if let Some(lifetimes) = &mut self.lifetimes {
            sections.extend(lifetimes.sections(&self.keys)?);
        }
        Ok(sections)
    }

    /// Takes in such sections.
    pub fn restore(&mut self, sections: &[Restored]) -> Result<()> {
        for section in sections {
            match (section.label.as_str(), &mut self.lifetimes) {
                (ROWS, _) => self.restore_rows(&section.rows)?,
                (TOUCHED, Some(lifetimes)) => lifetimes.restore(&mut self.keys, &section.rows)?,
                _ => return Err(section.unknown()),
            }
        }
        self.partitions.resize(self.keys.len());
        Ok(())
    }

    fn restore_rows(&mut self, rows: &RecordBatch) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let (times, columns) = rows.columns().split_last().ok_or_else(|| Error::bug("rows without a count"))?;
        let (keys, others) = columns.split_at(self.partition.len());
        let place = |at: usize| {
            let key = self.partition.iter().position(|column| *column == at).map(|place| keys[place].clone());
            key.or_else(|| Some(others[self.encoded.iter().position(|column| *column == at)?].clone()))
        };
        let columns = (0..self.schema.fields().len()).map(place).collect::<Option<Vec<_>>>();
        let columns = columns.ok_or_else(|| Error::bug("a column is neither of the partition nor encoded"))?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let whole = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        let times = times.as_primitive::<Int64Type>().clone();
        let changes = self.encode(&Batch::changes(whole, times))?;
        for (row, partition) in changes.partitions.iter().enumerate() {
            self.change(*partition, &changes.row(row), changes.diff(row));
        }
        Ok(())
    }

    /// How many different rows there are, and the bytes that they take: asked for all the time.
    pub fn size(&self) -> (usize, usize) {
        let (rows, bytes) = self.held;
        let lifetimes = self.lifetimes.as_ref().map_or(0, Lifetimes::size);
        (rows, bytes + rows * ROW_BYTES + self.partitions.size(|_| 0) + self.keys.size() + lifetimes)
    }

    /// How many partitions have names.
    #[cfg(test)]
    pub fn names(&self) -> usize {
        self.keys.len()
    }
}

/// What the rows are called in a checkpoint.
const ROWS: &str = "rows";
/// What a row takes beside its bytes: its place among the others, and what an allocation costs.
const ROW_BYTES: usize = 64;

/// A partition's rows in order, each copy of one; an error where one is there less often than never.
pub(crate) fn each_copy(partition: &Counted) -> impl Iterator<Item = Result<&ValueBytes>> {
    partition.iter().flat_map(|(row, times)| {
        let negative = times < 0;
        let error = || Error::bug("a partition was told to retract a row that is not in it");
        let copy = move |_| if negative { Err(error()) } else { Ok(row) };
        (0..times.max(i64::from(negative))).map(copy)
    })
}
