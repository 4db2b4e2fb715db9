//! The rows of a relation by partition, each partition in an order of its own: what ranking and window functions look at.
//!
//! A row is kept as bytes that compare as the order says; rows that the order leaves equal are told apart by their other
//! columns, so that the order is the same whatever the workers and the epochs. A change costs by the logarithm of its
//! partition.

use crate::aggregate::keyed::Keys;
use crate::aggregate::table::Grouping;
use crate::state::{Section, fresh_id, unnamed};
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Int64Type, Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use thalweg_schemas::batch::Batch;
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

/// A row as bytes: the columns of the order, then the others.
pub(crate) type Encoded = Arc<[u8]>;

/// Rows by partition and in order, each as often as it is there.
pub(crate) struct Ordered {
    schema: SchemaRef,
    partition: Vec<usize>,
    /// The columns that are encoded, in this order.
    encoded: Vec<usize>,
    rows: RowConverter,
    /// The columns of the order alone, where it matters which rows it leaves equal.
    order: Option<(Vec<usize>, RowConverter)>,
    pub keys: Keys,
    pub partitions: BTreeMap<u32, Partition>,
    /// How many different rows there are, and the bytes that they take.
    held: (usize, usize),
    /// Rows that were taken back more often than they were there, where partitions are forgotten.
    overdrawn: Option<Vec<(u32, Encoded)>>,
    /// Another one after every change.
    id: u64,
}

/// The rows of one partition.
pub(crate) type Partition = BTreeMap<Encoded, Copies>;

/// How often a row is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Copies {
    pub times: i64,
    /// How many of its leading bytes are the order's, where that is asked for.
    pub order_len: u32,
}

/// One change of a row.
pub(crate) struct Change {
    pub partition: u32,
    pub row: Encoded,
    pub order_len: u32,
    pub diff: i64,
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
            rows: RowConverter::new(fields)?,
            order,
            keys: Keys::new(Grouping::by(Schema::new(key_fields))?)?,
            partitions: BTreeMap::new(),
            held: (0, 0),
            overdrawn: None,
            id: fresh_id(),
        })
    }

    /// Lets rows be taken back that are not there: they went with their partition.
    pub fn forgetting(&mut self) {
        self.overdrawn = Some(Vec::new());
    }

    /// Leaves alone what was taken back in this epoch and is not there.
    pub fn settle(&mut self) {
        for (partition, row) in self.overdrawn.iter_mut().flat_map(std::mem::take) {
            let Some(rows) = self.partitions.get_mut(&partition) else { continue };
            if rows.get(&row).is_some_and(|copies| copies.times < 0) {
                rows.remove(&row);
                less(&mut self.held, &row);
            }
        }
    }

    /// The changes of `batch`, each with its partition; nothing is changed yet.
    pub fn encode(&mut self, batch: &Batch) -> Result<Vec<Change>> {
        let pick = |columns: &[usize]| columns.iter().map(|at| batch.rows.column(*at).clone()).collect::<Vec<_>>();
        let numbers = self.keys.number(&pick(&self.partition), batch.num_rows())?;
        let mut columns = pick(&self.encoded);
        if columns.is_empty() {
            columns.push(new_null_array(&DataType::Boolean, batch.num_rows()));
        }
        let rows = self.rows.convert_columns(&columns)?;
        let lengths = match &self.order {
            Some((columns, converter)) => Some(converter.convert_columns(&pick(columns))?),
            None => None,
        };
        let change = |(row, partition): (usize, u32)| Change {
            partition,
            row: rows.row(row).data().into(),
            order_len: lengths.as_ref().map_or(0, |order| order.row_len(row) as u32),
            diff: batch.diff(row),
        };
        Ok(numbers.into_iter().enumerate().map(change).collect())
    }

    /// Makes a change.
    pub fn apply(&mut self, change: Change) {
        self.id = fresh_id();
        let rows = match self.partitions.entry(change.partition) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                self.keys.hold(&[change.partition]);
                entry.insert(Partition::new())
            }
        };
        if let Some(overdrawn) = self.overdrawn.as_mut().filter(|_| change.diff < 0)
            && rows.get(&change.row).map_or(0, |copies| copies.times) + change.diff < 0
        {
            overdrawn.push((change.partition, change.row.clone()));
        }
        match rows.entry(change.row) {
            std::collections::btree_map::Entry::Occupied(mut entry) => {
                entry.get_mut().times += change.diff;
                if entry.get().times == 0 {
                    less(&mut self.held, entry.key());
                    entry.remove();
                }
            }
            std::collections::btree_map::Entry::Vacant(entry) => {
                self.held = (self.held.0 + 1, self.held.1 + size_of_row(entry.key()));
                entry.insert(Copies { times: change.diff, order_len: change.order_len });
            }
        }
    }

    /// Takes a partition out.
    pub fn remove(&mut self, partition: u32) -> Option<Partition> {
        self.id = fresh_id();
        let removed = self.partitions.remove(&partition)?;
        self.keys.release(&[partition]);
        removed.keys().for_each(|row| less(&mut self.held, row));
        Some(removed)
    }

    /// Takes the last rows of a partition out, one after the other, as long as `is_behind` says so.
    pub fn trim(&mut self, partition: u32, is_behind: impl Fn(&Partition) -> bool) {
        let Some(rows) = self.partitions.get_mut(&partition) else { return };
        while is_behind(rows)
            && let Some((row, _)) = rows.pop_last()
        {
            less(&mut self.held, &row);
        }
    }

    /// The values that a column of the partition has in some partitions.
    pub fn partition_column(&self, column: usize, partitions: &[u32]) -> Result<ArrayRef> {
        let place = self.partition.iter().position(|at| *at == column);
        let value = self.keys.values(partitions)?.into_iter().nth(place.unwrap_or(usize::MAX));
        value.ok_or_else(|| Error::bug("a bound is not among the columns of its partition"))
    }

    /// The columns of rows, each given with its partition.
    pub fn decode(&self, partitions: &[u32], rows: &[&[u8]]) -> Result<RecordBatch> {
        let parser = self.rows.parser();
        let decoded = self.rows.convert_rows(rows.iter().map(|row| parser.parse(row)))?;
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
        let partitions = std::mem::take(&mut self.partitions).into_iter();
        let moved = partitions.filter_map(|(number, rows)| Some((renamed[number as usize]?, rows)));
        self.partitions = moved.collect();
        Ok(Some(renamed))
    }

    /// All rows as a section called `rows`: the columns of the partition, the others, and how often each is there.
    pub fn section(&self) -> Result<Section> {
        let all = || self.partitions.iter().flat_map(|(number, rows)| rows.iter().map(move |row| (*number, row)));
        let numbers: Vec<u32> = all().map(|(number, _)| number).collect();
        let parser = self.rows.parser();
        let mut columns = self.keys.values(&numbers)?;
        columns.extend(self.rows.convert_rows(all().map(|(_, (row, _))| parser.parse(row)))?);
        columns.push(Arc::new(Int64Array::from_iter_values(all().map(|(_, (_, copies))| copies.times))));
        let rows = unnamed(columns, numbers.len())?;
        let keys = self.partition.len();
        Ok(Section { label: "rows".into(), id: self.id, keys, rows: Box::new(move || Ok(rows)) })
    }

    /// Takes in the rows of a section.
    pub fn restore(&mut self, rows: &RecordBatch) -> Result<()> {
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
        for change in self.encode(&Batch::changes(whole, times))? {
            self.apply(change);
        }
        Ok(())
    }

    /// How many different rows there are, and the bytes that they take: asked for all the time.
    pub fn size(&self) -> (usize, usize) {
        (self.held.0, self.held.1 + self.keys.size())
    }
}

/// The bytes of a row, with its place in its partition.
fn size_of_row(row: &Encoded) -> usize {
    row.len() + 64
}

/// What is held without `row`.
fn less(held: &mut (usize, usize), row: &Encoded) {
    *held = (held.0 - 1, held.1 - size_of_row(row));
}

/// A partition's rows in order, each as often as it is there; an error where one is there less often than never.
pub(crate) fn each_copy(partition: &Partition) -> impl Iterator<Item = Result<(&Encoded, u32)>> {
    partition.iter().flat_map(|(row, copies)| {
        let negative = copies.times < 0;
        let error = || Error::bug("a partition was told to retract a row that is not in it");
        let copy = move |_| if negative { Err(error()) } else { Ok((row, copies.order_len)) };
        (0..copies.times.max(i64::from(negative))).map(copy)
    })
}
