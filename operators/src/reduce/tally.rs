//! What is kept of a group for an aggregate whose rows can be taken back one by one: a count, a sum, or the values in order
//! with how often each is there. A change costs the same however many rows the group has, or the logarithm of that.

use super::exact::ExactSum;
use crate::aggregate::Aggregate;
use crate::blocks::{Block, Blocks};
use crate::counted::{Counted, CountedBlock, ValueBytes};
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, BooleanArray, Decimal128Array, Decimal256Array, Float64Array,
    Int64Array, UInt64Array, new_null_array,
};
use arrow::compute::{SortOptions, concat};
use arrow::datatypes::{
    DataType, Decimal128Type, Decimal256Type, DecimalType, Float64Type, Int64Type, UInt64Type, i256,
};
use arrow::row::{RowConverter, SortField};
use std::sync::Arc;
use thalweg_schemas::error::{Error, Result};

/// One aggregate of all groups, by the group's number.
pub(super) struct Tally {
    kind: Kind,
    /// Whether of several values only the first is kept.
    first_only: bool,
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
    Counts(Blocks<i64>),
    /// Totals, and how many values they are of.
    Totals(Blocks<(i256, i64)>),
    Floats(Blocks<(ExactSum, i64)>),
    Values(Arc<RowConverter>, Blocks<Counted>),
}

/// A block of groups of one aggregate as it was at one moment.
pub(super) enum TallyBlock {
    Counts(Block<i64>),
    Totals(Block<(i256, i64)>),
    Floats(Block<(ExactSum, i64)>),
    Values(CountedBlock),
}

impl Tally {
    /// A tally for `aggregate`, whose columns have the types `arguments`; `None` where rows cannot be taken back from what
    /// would be kept of it. Where none `retracts`, the first value is all that is kept of several.
    pub fn new(aggregate: &Aggregate, arguments: &[DataType], retracts: bool) -> Result<Option<Tally>> {
        let function = &aggregate.function;
        let filtered = aggregate.filter.is_some();
        let values = &arguments[..arguments.len() - usize::from(filtered)];
        let flat = |data_type: &DataType| !data_type.is_nested() && !matches!(data_type, DataType::Dictionary(..));
        let ordered = !function.order_bys().is_empty();
        let options = |descending| SortOptions { descending, nulls_first: false };
        let by =
            |descending| Ok::<_, Error>(Arc::new(RowConverter::new(vec![field(&values[0], options(descending))])?));
        let (kind, groups) = match (function.fun().name(), function.is_distinct(), values) {
            ("count", false, _) => (Kind::Count, Groups::Counts(Blocks::new())),
            ("count", true, [one]) if flat(one) => (Kind::CountDistinct, Groups::Values(by(false)?, Blocks::new())),
            ("sum", false, [one]) if is_exact(one) => (Kind::Sum, Groups::Totals(Blocks::new())),
            ("sum", false, [DataType::Float64]) => (Kind::FloatSum, Groups::Floats(Blocks::new())),
            ("avg", false, [DataType::Float64]) => (Kind::FloatAverage, Groups::Floats(Blocks::new())),
            ("min" | "bool_and", _, [one]) if flat(one) => (Kind::First, Groups::Values(by(false)?, Blocks::new())),
            ("max" | "bool_or", _, [one]) if flat(one) => (Kind::First, Groups::Values(by(true)?, Blocks::new())),
            (name @ ("first_value" | "last_value"), false, [value, order @ ..])
                if ordered && !function.ignore_nulls() && values.iter().all(flat) =>
            {
                let reverse = |options: SortOptions| if name == "last_value" { !options } else { options };
                let sort = order.iter().zip(function.order_bys()).map(|(t, by)| field(t, reverse(by.options)));
                let converter = RowConverter::new(sort.chain([field(value, options(false))]).collect())?;
                (Kind::FirstOrdered, Groups::Values(Arc::new(converter), Blocks::new()))
            }
            _ => return Ok(None),
        };
        let first_only = !retracts && matches!(kind, Kind::First | Kind::FirstOrdered);
        Ok(Some(Tally { kind, first_only, filtered, result: function.field().data_type().clone(), groups }))
    }

    /// Makes room for groups with numbers below `len`.
    pub fn resize(&mut self, len: usize) {
        match &mut self.groups {
            Groups::Counts(groups) => groups.resize(len),
            Groups::Totals(groups) => groups.resize(len),
            Groups::Floats(groups) => groups.resize(len),
            Groups::Values(_, groups) => groups.resize(len),
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
                rows.filter(there).for_each(|row| *groups.get_mut(numbers[row]) += diffs.value(row));
            }
            Groups::Totals(groups) => {
                let values = exact_values(&columns[0])?;
                for row in rows.filter(there) {
                    let (total, count) = groups.get_mut(numbers[row]);
                    *total = total.wrapping_add(values[row].wrapping_mul(i256::from_i128(diffs.value(row).into())));
                    *count += diffs.value(row);
                }
            }
            Groups::Floats(groups) => {
                let values = columns[0].as_primitive::<Float64Type>();
                for row in rows.filter(there) {
                    let (total, count) = groups.get_mut(numbers[row]);
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
                    let (group, value) = (groups.get_mut(numbers[row]), encoded.row(row));
                    match group.first() {
                        Some(first) if self.first_only && **first <= *value.data() => {}
                        Some(_) if self.first_only => *group = Counted::one(value.data(), diffs.value(row)),
                        _ => drop(group.change(value.data(), diffs.value(row))),
                    }
                }
            }
        }
        Ok(())
    }

    /// The answers of the groups `numbers`.
    pub fn results(&self, numbers: &[u32]) -> Result<ArrayRef> {
        Ok(match &self.groups {
            Groups::Counts(groups) => Arc::new(Int64Array::from_iter_values(numbers.iter().map(|n| *groups.get(*n)))),
            Groups::Totals(groups) => {
                let total =
                    |number: &u32| Some(groups.get(*number)).filter(|(_, count)| *count > 0).map(|(total, _)| *total);
                exact_array(numbers.iter().map(total).collect(), &self.result)?
            }
            Groups::Floats(groups) => {
                let average = self.kind == Kind::FloatAverage;
                let value = |(total, count): &(ExactSum, i64)| {
                    let divisor = if average { *count as f64 } else { 1.0 };
                    (*count > 0).then(|| total.value() / divisor)
                };
                Arc::new(Float64Array::from_iter(numbers.iter().map(|number| value(groups.get(*number)))))
            }
            Groups::Values(_, groups) if self.kind == Kind::CountDistinct => {
                let counts = numbers.iter().map(|number| groups.get(*number).len() as i64);
                Arc::new(Int64Array::from_iter_values(counts))
            }
            Groups::Values(converter, groups) => self.firsts(converter, numbers.iter().map(|n| groups.get(*n)))?,
        })
    }

    /// The first value of each group; NULL where there is none.
    fn firsts<'a>(&self, converter: &RowConverter, groups: impl Iterator<Item = &'a Counted>) -> Result<ArrayRef> {
        let firsts: Vec<Option<&ValueBytes>> = groups.map(Counted::first).collect();
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
            Groups::Counts(groups) => groups.rename(renamed),
            Groups::Totals(groups) => groups.rename(renamed),
            Groups::Floats(groups) => groups.rename(renamed),
            Groups::Values(_, groups) => groups.rename(renamed),
        }
    }

    /// Forgets what is kept of groups without rows.
    pub fn clear(&mut self, numbers: &[u32]) {
        for &number in numbers {
            match &mut self.groups {
                Groups::Counts(groups) => groups.clear(number),
                Groups::Totals(groups) => groups.clear(number),
                Groups::Floats(groups) => groups.clear(number),
                Groups::Values(_, groups) => groups.clear(number),
            }
        }
    }

    /// Whether what is kept of a group is of one size, whatever its rows.
    pub fn is_total(&self) -> bool {
        !matches!(self.groups, Groups::Values(..))
    }

    /// A block of its groups as it is now.
    pub fn block(&mut self, at: usize) -> TallyBlock {
        match &mut self.groups {
            Groups::Counts(groups) => TallyBlock::Counts(groups.block(at)),
            Groups::Totals(groups) => TallyBlock::Totals(groups.block(at)),
            Groups::Floats(groups) => TallyBlock::Floats(groups.block(at)),
            Groups::Values(converter, groups) => {
                TallyBlock::Values(CountedBlock { converter: converter.clone(), groups: groups.block(at), behind: 0 })
            }
        }
    }

    /// Takes on what was kept of the groups `numbers`.
    pub fn restore_bytes(&mut self, numbers: &[u32], bytes: &BinaryArray) -> Result<()> {
        let damaged = || Error::bug("a group's tally in the checkpoint is not as it was written");
        let number = |bytes: &[u8]| Some(i64::from_le_bytes(bytes.try_into().ok()?));
        for (group, bytes) in numbers.iter().zip(bytes.iter()) {
            let bytes = bytes.ok_or_else(damaged)?;
            // What nothing was kept of takes no room.
            match &mut self.groups {
                Groups::Counts(groups) => match number(bytes).ok_or_else(damaged)? {
                    0 => groups.clear(*group),
                    count => *groups.get_mut(*group) = count,
                },
                Groups::Totals(groups) => {
                    let (total, count) = bytes.split_at_checked(32).ok_or_else(damaged)?;
                    let total = total.try_into().map(i256::from_le_bytes).map_err(|_| damaged())?;
                    match (total, number(count).ok_or_else(damaged)?) {
                        (i256::ZERO, 0) => groups.clear(*group),
                        totals => *groups.get_mut(*group) = totals,
                    }
                }
                Groups::Floats(groups) => {
                    let (count, total) = bytes.split_at_checked(8).ok_or_else(damaged)?;
                    let total = ExactSum::from_bytes(total).ok_or_else(damaged)?;
                    match (total, number(count).ok_or_else(damaged)?) {
                        (ExactSum::Nothing, 0) => groups.clear(*group),
                        totals => *groups.get_mut(*group) = totals,
                    }
                }
                Groups::Values(..) => return Err(damaged()),
            }
        }
        Ok(())
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
            groups.get_mut(*number).change(encoded.row(row).data(), times.value(row));
        }
        Ok(())
    }

    /// Bytes, estimated.
    pub fn size(&self) -> usize {
        match &self.groups {
            Groups::Counts(groups) => groups.size(|_| 0),
            Groups::Totals(groups) => groups.size(|_| 0),
            Groups::Floats(groups) => groups.size(|(total, _)| total.size()),
            Groups::Values(_, groups) => groups.size(Counted::size),
        }
    }
}

impl TallyBlock {
    /// What is kept of the groups `numbers` as bytes, where it is small; values have a section of their own.
    pub fn to_bytes(&self, numbers: &[u32]) -> Option<ArrayRef> {
        let mut bytes = BinaryBuilder::with_capacity(numbers.len(), numbers.len() * 8);
        for number in numbers {
            match self {
                TallyBlock::Counts(groups) => bytes.append_value(groups.get(*number).to_le_bytes()),
                TallyBlock::Totals(groups) => {
                    let (total, count) = groups.get(*number);
                    bytes.append_value([&total.to_le_bytes()[..], &count.to_le_bytes()].concat());
                }
                TallyBlock::Floats(groups) => {
                    let (total, count) = groups.get(*number);
                    bytes.append_value([&count.to_le_bytes()[..], &total.to_bytes()].concat());
                }
                TallyBlock::Values(_) => return None,
            }
        }
        Some(Arc::new(bytes.finish()))
    }
}

fn field(data_type: &DataType, options: SortOptions) -> SortField {
    SortField::new_with_options(data_type.clone(), options)
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
