//! What is kept of a group for an aggregate whose rows can be taken back one by one: a count, a sum, or the values in order
//! with how often each is there. A change costs the same however many rows the group has, or the logarithm of that.

use super::exact::ExactSum;
use crate::aggregate::Aggregate;
use crate::state::{Section, unnamed};
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Decimal128Array, Decimal256Array, Float64Array, Int64Array,
    RecordBatch, UInt64Array, new_null_array,
};
use arrow::compute::{SortOptions, concat};
use arrow::datatypes::{
    DataType, Decimal128Type, Decimal256Type, DecimalType, Float64Type, Int64Type, UInt64Type, i256,
};
use arrow::row::{RowConverter, SortField};
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_schemas::error::{Error, Result};

/// One aggregate of all groups, by the group's number.
pub(super) struct Tally {
    kind: Kind,
    /// Whether the last of its columns says which rows count.
    filtered: bool,
    result: DataType,
    groups: Groups,
}

/// How the answer follows from what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Count,
    /// Of integers and decimals.
    Sum,
    FloatSum,
    FloatAverage,
    /// The least or the greatest value, whichever is first in the order.
    First,
    /// The first row's value, where rows are ordered by other columns.
    FirstOrdered,
    CountDistinct,
}

enum Groups {
    Counts(Vec<i64>),
    /// Totals, and how many values they are of.
    Totals(Vec<(i256, i64)>),
    Floats(Vec<(ExactSum, i64)>),
    Values(RowConverter, Vec<BTreeMap<Box<[u8]>, i64>>),
}

impl Tally {
    /// A tally for `aggregate`, whose columns have the types `arguments`; `None` where rows cannot be taken back from what
    /// would be kept of it.
    pub fn new(aggregate: &Aggregate, arguments: &[DataType]) -> Result<Option<Tally>> {
        let function = &aggregate.function;
        let filtered = aggregate.filter.is_some();
        let values = &arguments[..arguments.len() - usize::from(filtered)];
        let flat = |data_type: &DataType| !data_type.is_nested() && !matches!(data_type, DataType::Dictionary(..));
        let ordered = !function.order_bys().is_empty();
        let options = |descending| SortOptions { descending, nulls_first: false };
        let by = |descending| Ok::<_, Error>(RowConverter::new(vec![field(&values[0], options(descending))])?);
        let (kind, groups) = match (function.fun().name(), function.is_distinct(), values) {
            ("count", false, _) => (Kind::Count, Groups::Counts(Vec::new())),
            ("count", true, [one]) if flat(one) => (Kind::CountDistinct, Groups::Values(by(false)?, Vec::new())),
            ("sum", false, [one]) if is_exact(one) => (Kind::Sum, Groups::Totals(Vec::new())),
            ("sum", false, [DataType::Float64]) => (Kind::FloatSum, Groups::Floats(Vec::new())),
            ("avg", false, [DataType::Float64]) => (Kind::FloatAverage, Groups::Floats(Vec::new())),
            ("min" | "bool_and", _, [one]) if flat(one) => (Kind::First, Groups::Values(by(false)?, Vec::new())),
            ("max" | "bool_or", _, [one]) if flat(one) => (Kind::First, Groups::Values(by(true)?, Vec::new())),
            (name @ ("first_value" | "last_value"), false, [value, order @ ..])
                if ordered && !function.ignore_nulls() && values.iter().all(flat) =>
            {
                let reverse = |options: SortOptions| if name == "last_value" { !options } else { options };
                let sort = order.iter().zip(function.order_bys()).map(|(t, by)| field(t, reverse(by.options)));
                let converter = RowConverter::new(sort.chain([field(value, options(false))]).collect())?;
                (Kind::FirstOrdered, Groups::Values(converter, Vec::new()))
            }
            _ => return Ok(None),
        };
        Ok(Some(Tally { kind, filtered, result: function.field().data_type().clone(), groups }))
    }

    /// Makes room for groups with numbers below `len`.
    pub fn resize(&mut self, len: usize) {
        match &mut self.groups {
            Groups::Counts(groups) => groups.resize(len, 0),
            Groups::Totals(groups) => groups.resize(len, (i256::ZERO, 0)),
            Groups::Floats(groups) => groups.resize(len, (ExactSum::default(), 0)),
            Groups::Values(_, groups) => groups.resize(len, BTreeMap::new()),
        }
    }

    /// Takes in rows of the groups `numbers`, each as often as `diffs` says.
    pub fn change(&mut self, numbers: &[u32], columns: &[ArrayRef], diffs: &Int64Array) -> Result<()> {
        let (columns, filter) = match columns.split_last() {
            Some((filter, others)) if self.filtered => (others, Some(filter.as_boolean())),
            _ => (columns, None),
        };
        let counts =
            |row: &usize| filter.is_none_or(|filter: &BooleanArray| filter.is_valid(*row) && filter.value(*row));
        let there = |row: &usize| counts(row) && columns.iter().all(|column| column.is_valid(*row));
        let rows = 0..numbers.len();
        match &mut self.groups {
            Groups::Counts(groups) => {
                rows.filter(there).for_each(|row| groups[numbers[row] as usize] += diffs.value(row));
            }
            Groups::Totals(groups) => {
                let values = exact_values(&columns[0])?;
                for row in rows.filter(there) {
                    let (total, count) = &mut groups[numbers[row] as usize];
                    *total = total.wrapping_add(values[row].wrapping_mul(i256::from_i128(diffs.value(row).into())));
                    *count += diffs.value(row);
                }
            }
            Groups::Floats(groups) => {
                let values = columns[0].as_primitive::<Float64Type>();
                for row in rows.filter(there) {
                    let (total, count) = &mut groups[numbers[row] as usize];
                    total.add(values.value(row), diffs.value(row));
                    *count += diffs.value(row);
                }
            }
            Groups::Values(converter, groups) => {
                let keeps_null = self.kind == Kind::FirstOrdered;
                // The columns of the order come before the value.
                let ordered = [&columns[1..], &columns[..1]].concat();
                let encoded = converter.convert_columns(&ordered)?;
                for row in rows.filter(|row| if keeps_null { counts(row) } else { there(row) }) {
                    count_value(&mut groups[numbers[row] as usize], encoded.row(row).data(), diffs.value(row));
                }
            }
        }
        Ok(())
    }

    /// The answers of the groups `numbers`.
    pub fn results(&self, numbers: &[u32]) -> Result<ArrayRef> {
        let at = |number: &u32| *number as usize;
        Ok(match &self.groups {
            Groups::Counts(groups) => Arc::new(Int64Array::from_iter_values(numbers.iter().map(|n| groups[at(n)]))),
            Groups::Totals(groups) => {
                let total = |number| groups.get(at(number)).filter(|(_, count)| *count > 0).map(|(total, _)| *total);
                exact_array(numbers.iter().map(total).collect(), &self.result)?
            }
            Groups::Floats(groups) => {
                let average = self.kind == Kind::FloatAverage;
                let value = |(total, count): &(ExactSum, i64)| {
                    let divisor = if average { *count as f64 } else { 1.0 };
                    (*count > 0).then(|| total.value() / divisor)
                };
                Arc::new(Float64Array::from_iter(numbers.iter().map(|number| value(&groups[at(number)]))))
            }
            Groups::Values(_, groups) if self.kind == Kind::CountDistinct => {
                let counts = numbers.iter().map(|number| groups[at(number)].len() as i64);
                Arc::new(Int64Array::from_iter_values(counts))
            }
            Groups::Values(converter, groups) => self.firsts(converter, numbers.iter().map(|n| &groups[at(n)]))?,
        })
    }

    /// The first value of each group; NULL where there is none.
    fn firsts<'a>(
        &self,
        converter: &RowConverter,
        groups: impl Iterator<Item = &'a BTreeMap<Box<[u8]>, i64>>,
    ) -> Result<ArrayRef> {
        let firsts: Vec<Option<&[u8]>> = groups.map(|group| Some(group.first_key_value()?.0.as_ref())).collect();
        let parser = converter.parser();
        let columns = converter.convert_rows(firsts.iter().flatten().map(|row| parser.parse(row)))?;
        let values = columns.last().ok_or_else(|| Error::bug("values without a column"))?;
        if firsts.iter().all(Option::is_some) {
            return Ok(values.clone());
        }
        // Behind the values stands a NULL for the groups without.
        let values = concat(&[values.as_ref(), new_null_array(values.data_type(), 1).as_ref()])?;
        let (mut next, none) = (0u64, values.len() as u64 - 1);
        let places = firsts.iter().map(|first| {
            let place = if first.is_some() { next } else { none };
            next += u64::from(first.is_some());
            place
        });
        Ok(arrow::compute::take(&values, &UInt64Array::from_iter_values(places.collect::<Vec<_>>()), None)?)
    }

    /// Moves all groups to other numbers; those without one are gone.
    pub fn rename(&mut self, renamed: &[Option<u32>]) {
        match &mut self.groups {
            Groups::Counts(groups) => renumber(groups, renamed),
            Groups::Totals(groups) => renumber(groups, renamed),
            Groups::Floats(groups) => renumber(groups, renamed),
            Groups::Values(_, groups) => renumber(groups, renamed),
        }
    }

    /// Forgets what is kept of groups without rows.
    pub fn clear(&mut self, numbers: &[u32]) {
        for number in numbers.iter().map(|number| *number as usize) {
            match &mut self.groups {
                Groups::Counts(groups) => groups[number] = 0,
                Groups::Totals(groups) => groups[number] = (i256::ZERO, 0),
                Groups::Floats(groups) => groups[number] = (ExactSum::default(), 0),
                Groups::Values(_, groups) => groups[number].clear(),
            }
        }
    }

    /// Whether what is kept of a group is of one size, whatever its rows.
    pub fn is_total(&self) -> bool {
        !matches!(self.groups, Groups::Values(..))
    }

    /// What is kept of the groups `numbers` as bytes, where it is small; the values have a section of their own.
    pub fn to_bytes(&self, numbers: &[u32]) -> Option<ArrayRef> {
        let bytes: Vec<Vec<u8>> = match &self.groups {
            Groups::Counts(groups) => numbers.iter().map(|n| groups[*n as usize].to_le_bytes().to_vec()).collect(),
            Groups::Totals(groups) => {
                let one = |(total, count): &(i256, i64)| [&total.to_le_bytes()[..], &count.to_le_bytes()].concat();
                numbers.iter().map(|n| one(&groups[*n as usize])).collect()
            }
            Groups::Floats(groups) => {
                let one = |(total, count): &(ExactSum, i64)| [&count.to_le_bytes()[..], &total.to_bytes()].concat();
                numbers.iter().map(|n| one(&groups[*n as usize])).collect()
            }
            Groups::Values(..) => return None,
        };
        Some(Arc::new(BinaryArray::from_iter_values(bytes)))
    }

    /// Takes on what was kept of the groups `numbers`.
    pub fn restore_bytes(&mut self, numbers: &[u32], bytes: &BinaryArray) -> Result<()> {
        let damaged = || Error::bug("a group's tally in the checkpoint is not as it was written");
        let number = |bytes: &[u8]| Some(i64::from_le_bytes(bytes.try_into().ok()?));
        for (group, bytes) in numbers.iter().map(|number| *number as usize).zip(bytes.iter()) {
            let bytes = bytes.ok_or_else(damaged)?;
            match &mut self.groups {
                Groups::Counts(groups) => groups[group] = number(bytes).ok_or_else(damaged)?,
                Groups::Totals(groups) => {
                    let (total, count) = bytes.split_at_checked(32).ok_or_else(damaged)?;
                    let total = total.try_into().map(i256::from_le_bytes).map_err(|_| damaged())?;
                    groups[group] = (total, number(count).ok_or_else(damaged)?);
                }
                Groups::Floats(groups) => {
                    let (count, total) = bytes.split_at_checked(8).ok_or_else(damaged)?;
                    let total = ExactSum::from_bytes(total).ok_or_else(damaged)?;
                    groups[group] = (total, number(count).ok_or_else(damaged)?);
                }
                Groups::Values(..) => return Err(damaged()),
            }
        }
        Ok(())
    }

    /// The values of all groups as a section: the groups' keys, the columns, how often each is there.
    pub fn section(
        &self,
        label: String,
        id: u64,
        key_columns: usize,
        keys: impl Fn(&[u32]) -> Result<Vec<ArrayRef>>,
    ) -> Result<Option<Section>> {
        let Groups::Values(converter, groups) = &self.groups else { return Ok(None) };
        let rows = counted_rows(converter, groups, keys)?;
        Ok(Some(Section { label, id, keys: key_columns, rows: Box::new(move || Ok(rows)) }))
    }

    /// Takes on the values of the groups `numbers`: the columns as they are in a section, without the keys.
    pub fn restore_values(&mut self, numbers: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let Groups::Values(converter, groups) = &mut self.groups else {
            return Err(Error::bug("a tally without values was handed some"));
        };
        let (times, columns) = columns.split_last().ok_or_else(|| Error::bug("values without a count"))?;
        let encoded = converter.convert_columns(columns)?;
        let times = times.as_primitive::<Int64Type>();
        for (row, number) in numbers.iter().enumerate() {
            count_value(&mut groups[*number as usize], encoded.row(row).data(), times.value(row));
        }
        Ok(())
    }

    /// Bytes: asked for each epoch, so that many groups, and the values of one, are estimated from some of them.
    pub fn size(&self) -> usize {
        match &self.groups {
            Groups::Counts(groups) => groups.capacity() * size_of::<i64>(),
            Groups::Totals(groups) => groups.capacity() * size_of::<(i256, i64)>(),
            Groups::Floats(groups) => estimated(groups, |(total, _)| total.size() + 8),
            Groups::Values(_, groups) => {
                let one = |group: &BTreeMap<Box<[u8]>, i64>| {
                    group.len() * group.first_key_value().map_or(0, |(value, _)| value.len() + 48)
                };
                estimated(groups, one) + groups.capacity() * size_of::<BTreeMap<Box<[u8]>, i64>>()
            }
        }
    }
}

/// Groups whose size is looked at.
const LOOKED_AT: usize = 256;

/// The size of all groups, from that of some that lie evenly among them.
fn estimated<T>(groups: &[T], size: impl Fn(&T) -> usize) -> usize {
    let step = groups.len().div_ceil(LOOKED_AT).max(1);
    groups.iter().step_by(step).map(size).sum::<usize>() * step
}

fn field(data_type: &DataType, options: SortOptions) -> SortField {
    SortField::new_with_options(data_type.clone(), options)
}

/// Values or rows of groups: the keys, the columns, how often each is there.
pub(super) fn counted_rows(
    converter: &RowConverter,
    groups: &[BTreeMap<Box<[u8]>, i64>],
    keys: impl Fn(&[u32]) -> Result<Vec<ArrayRef>>,
) -> Result<RecordBatch> {
    let all = || (0u32..).zip(groups).flat_map(|(number, group)| group.iter().map(move |value| (number, value)));
    let numbers: Vec<u32> = all().map(|(number, _)| number).collect();
    let parser = converter.parser();
    let mut columns = keys(&numbers)?;
    columns.extend(converter.convert_rows(all().map(|(_, (value, _))| parser.parse(value)))?);
    columns.push(Arc::new(Int64Array::from_iter_values(all().map(|(_, (_, times))| *times))));
    unnamed(columns, numbers.len())
}

/// Moves what is kept by number to other numbers; what has none is gone.
pub(super) fn renumber<T: Default + Clone>(groups: &mut Vec<T>, renamed: &[Option<u32>]) {
    let mut moved = vec![T::default(); renamed.iter().flatten().count()];
    for (group, number) in std::mem::take(groups).into_iter().zip(renamed) {
        if let Some(number) = number {
            moved[*number as usize] = group;
        }
    }
    *groups = moved;
}

pub(super) fn count_value(values: &mut BTreeMap<Box<[u8]>, i64>, value: &[u8], diff: i64) {
    match values.get_mut(value) {
        Some(times) => {
            *times += diff;
            if *times == 0 {
                values.remove(value);
            }
        }
        None => drop(values.insert(value.into(), diff)),
    }
}

fn is_exact(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Int64 | DataType::UInt64 | DataType::Decimal128(..) | DataType::Decimal256(..))
}

/// Integers and decimals as the integers that they are.
fn exact_values(column: &ArrayRef) -> Result<Vec<i256>> {
    Ok(match column.data_type() {
        DataType::Int64 => {
            column.as_primitive::<Int64Type>().values().iter().map(|v| i256::from_i128((*v).into())).collect()
        }
        DataType::UInt64 => {
            column.as_primitive::<UInt64Type>().values().iter().map(|v| i256::from_i128((*v).into())).collect()
        }
        DataType::Decimal128(..) => {
            column.as_primitive::<Decimal128Type>().values().iter().map(|v| i256::from_i128(*v)).collect()
        }
        DataType::Decimal256(..) => column.as_primitive::<Decimal256Type>().values().to_vec(),
        other => return Err(Error::bug(format!("a total of {other}"))),
    })
}

/// Totals in the type of the result; NULL where they do not fit.
fn exact_array(totals: Vec<Option<i256>>, result: &DataType) -> Result<ArrayRef> {
    let narrow = |total: Option<i256>| total?.to_i128();
    Ok(match result {
        DataType::Int64 => {
            let values = totals.into_iter().map(|total| i64::try_from(narrow(total)?).ok());
            Arc::new(Int64Array::from_iter(values))
        }
        DataType::UInt64 => {
            let values = totals.into_iter().map(|total| u64::try_from(narrow(total)?).ok());
            Arc::new(UInt64Array::from_iter(values))
        }
        DataType::Decimal128(precision, scale) => {
            let fits = |v: &i128| Decimal128Type::is_valid_decimal_precision(*v, *precision);
            let values = totals.into_iter().map(|total| narrow(total).filter(fits));
            Arc::new(Decimal128Array::from_iter(values).with_precision_and_scale(*precision, *scale)?)
        }
        DataType::Decimal256(precision, scale) => {
            let fits = |v: &i256| Decimal256Type::is_valid_decimal_precision(*v, *precision);
            let values = totals.into_iter().map(|total| total.filter(fits));
            Arc::new(Decimal256Array::from_iter(values).with_precision_and_scale(*precision, *scale)?)
        }
        other => return Err(Error::bug(format!("a total as {other}"))),
    })
}
