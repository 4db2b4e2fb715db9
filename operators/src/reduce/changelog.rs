//! Groups over a changelog, of which rows are taken back: a tally for each aggregate where one can be kept.
//!
//! Counts, sums and means cost the same for each change, and least, greatest, first and distinct values the logarithm of
//! how many there are. Of the other aggregates the rows of each group are kept, and those of changed groups gone through.
//! A group without rows is forgotten, and with a limit to its lifetime one for which none came for so long: a row that is
//! taken back later is no row of it any more.

use super::ReduceSpec;
use super::known::{KNOWN, KnownRows, net_changes};
use super::tally::{Tally, TallyBlock};
use crate::aggregate::emitted::Emitted;
use crate::aggregate::keyed::{KeyReader, Keys};
use crate::aggregate::table::{GroupTable, Grouping};
use crate::aggregate::{Aggregate, number_groups};
use crate::blocks::Blocks;
use crate::closing::Closing;
use crate::counted::{Counted, CountedBlock};
use crate::operator::{Operator, Output, StateSize, Times};
use crate::rows::Rows;
use crate::state::{Restored, Section, unnamed};
use crate::state_ttl::{Lifetimes, TOUCHED};
use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::compute::filter;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use datafusion_physical_expr::PhysicalExpr;
use std::ops::Range;
use std::sync::Arc;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, Watermark};
use thalweg_schemas::error::{Error, Result};

/// Computes keys and arguments from each row, with its difference, so that rows can go to the key's owner.
pub struct KeyRows {
    grouping: Grouping,
    schema: SchemaRef,
}

impl KeyRows {
    /// The first phase of what `spec` asks for.
    pub fn new(spec: &ReduceSpec) -> Result<KeyRows> {
        let input = spec.input.schema();
        let grouping = Grouping::new(&spec.keys, &spec.aggregates, &input)?;
        let fields = grouping.exprs.iter().enumerate().map(|(i, expr)| {
            let data_type = expr.data_type(&input).map_err(crate::evaluate::fault)?;
            Ok(Field::new(format!("value{i}"), data_type, true))
        });
        let schema = Arc::new(Schema::new(fields.collect::<Result<Vec<_>>>()?));
        Ok(KeyRows { grouping, schema })
    }
}

impl Operator for KeyRows {
    const EAGER: bool = true;

    fn process(&mut self, _epoch: Epoch, rows: Rows, output: &mut Output) -> Result<()> {
        let bound = rows.late_bound();
        let Some(batch) = rows.into_batch() else { return Ok(()) };
        let (batch, values) = self.grouping.evaluate(batch, &mut output.dead)?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let keyed = RecordBatch::try_new_with_options(self.schema.clone(), values, &options)?;
        output.send(0, Rows::new(batch.with_rows(keyed), bound));
        Ok(())
    }

    fn finish_epoch(&mut self, _epoch: Epoch, _times: Times, _output: &mut Output) -> Result<()> {
        Ok(())
    }
}

/// Keeps a tally of each group for each aggregate, and of those that have none the rows. Port 0: every change.
pub struct ReduceRows {
    schema: SchemaRef,
    grouping: Grouping,
    keys: Keys,
    /// How many rows each group has, by its number.
    rows: Blocks<i64>,
    aggregates: Vec<Slot>,
    held: Option<HeldRows>,
    emitted: Emitted,
    arrived: Vec<Batch>,
    owes_first: bool,
    /// When groups go that no row comes for.
    lifetimes: Option<Lifetimes>,
    /// When groups fall behind the horizon.
    closing: Closing,
    /// The rows of each group, where groups go that no row comes for.
    known: Option<KnownRows>,
}

/// One aggregate, and which of the argument columns are its.
struct Slot {
    columns: Range<usize>,
    tally: Option<Tally>,
}

/// The rows of each group for the aggregates from which none can be taken back.
struct HeldRows {
    /// These aggregates, without keys.
    grouping: Grouping,
    /// Their columns among the arguments.
    columns: Vec<usize>,
    converter: Arc<RowConverter>,
    groups: Blocks<Counted>,
}

/// What a group's state is made of, where its rows can be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Counts and sums.
    Totals,
    /// Values in order, each with how often it is there.
    Values,
    /// Rows.
    Rows,
}

/// What the groups of `spec` keep: the most that one of its aggregates needs.
pub(super) fn kept(spec: &ReduceSpec) -> Result<Kept> {
    let one = |aggregate: &Aggregate| {
        Ok(match tally(aggregate, spec)? {
            Some(tally) if tally.is_total() => Kept::Totals,
            Some(_) => Kept::Values,
            None => Kept::Rows,
        })
    };
    let all = spec.aggregates.iter().map(one).collect::<Result<Vec<_>>>()?;
    let most = [Kept::Rows, Kept::Values].into_iter().find(|kept| all.contains(kept));
    Ok(most.unwrap_or(Kept::Totals))
}

fn tally(aggregate: &Aggregate, spec: &ReduceSpec) -> Result<Option<Tally>> {
    Tally::new(aggregate, &types(&aggregate.exprs(), &spec.input.schema())?, spec.retracts)
}

fn types(exprs: &[Arc<dyn PhysicalExpr>], input: &SchemaRef) -> Result<Vec<DataType>> {
    exprs.iter().map(|expr| expr.data_type(input).map_err(crate::evaluate::fault)).collect()
}

impl ReduceRows {
    /// The second phase of what `spec` asks for. Of a group without keys only the worker that `owns` it speaks.
    pub fn new(spec: &ReduceSpec, owns: bool) -> Result<ReduceRows> {
        let input = spec.input.schema();
        let grouping = Grouping::new(&spec.keys, &spec.aggregates, &input)?;
        let key_columns = grouping.keys();
        let results: Vec<DataType> =
            spec.schema.fields()[key_columns..].iter().map(|f| f.data_type().clone()).collect();
        let (mut aggregates, mut at) = (Vec::new(), 0);
        for aggregate in &spec.aggregates {
            let width = aggregate.exprs().len();
            aggregates.push(Slot { columns: at..at + width, tally: tally(aggregate, spec)? });
            at += width;
        }
        let untallied = spec.aggregates.iter().zip(&aggregates).filter(|(_, slot)| slot.tally.is_none());
        let untallied: Vec<Aggregate> = untallied.map(|(aggregate, _)| aggregate.clone()).collect();
        let columns = aggregates.iter().filter(|slot| slot.tally.is_none()).flat_map(|slot| slot.columns.clone());
        let held = match untallied.is_empty() {
            true => None,
            false => Some(HeldRows::new(&untallied, columns.collect(), &input)?),
        };
        Ok(ReduceRows {
            schema: spec.schema.clone(),
            emitted: Emitted::new(results),
            keys: Keys::new(grouping.clone())?,
            owes_first: key_columns == 0 && owns,
            lifetimes: None,
            closing: Closing::new(None, spec.horizon.as_ref()),
            known: None,
            rows: Blocks::new(),
            aggregates,
            held,
            grouping,
            arrived: Vec::new(),
        })
    }

    /// Forgets groups by `lifetimes`.
    pub fn forgetting(self, lifetimes: Option<Lifetimes>) -> ReduceRows {
        ReduceRows { known: lifetimes.is_some().then(KnownRows::new), lifetimes, ..self }
    }

    fn is_keyless(&self) -> bool {
        self.grouping.keys() == 0
    }

    /// The groups of rows with these keys, with room for each.
    fn number(&mut self, keys: &[ArrayRef], rows: usize) -> Result<Vec<u32>> {
        let numbers = self.keys.number(keys, rows)?;
        self.make_room(self.keys.len());
        Ok(numbers)
    }

    fn make_room(&mut self, len: usize) {
        self.rows.resize(len);
        self.aggregates.iter_mut().filter_map(|slot| slot.tally.as_mut()).for_each(|tally| tally.resize(len));
        self.held.iter_mut().for_each(|held| held.groups.resize(len));
        self.known.iter_mut().for_each(|known| known.resize(len));
    }

    /// Takes in the changes of one batch; gives the groups that they concern.
    fn take_in(&mut self, batch: &Batch) -> Result<Vec<u32>> {
        let (keys, arguments) = batch.rows.columns().split_at(self.grouping.keys());
        let one = || Int64Array::from(vec![1; batch.num_rows()]);
        let diffs = batch.diffs.clone().unwrap_or_else(one);
        let numbers = self.number(keys, batch.num_rows())?;
        let Some(known) = &mut self.known else { return self.take_in_rows(numbers, arguments, &diffs) };
        let diffs = Int64Array::from(known.admit(&numbers, batch)?);
        let real: BooleanArray = diffs.values().iter().map(|diff| Some(*diff != 0)).collect();
        let arguments = arguments.iter().map(|column| filter(column, &real)).collect::<Result<Vec<_>, _>>()?;
        let kept = numbers.iter().zip(diffs.values()).filter(|(_, diff)| **diff != 0).map(|(number, _)| *number);
        let (kept, diffs) = (kept.collect(), filter(&diffs, &real)?);
        self.take_in_rows(kept, &arguments, diffs.as_primitive())
    }

    fn take_in_rows(&mut self, numbers: Vec<u32>, arguments: &[ArrayRef], diffs: &Int64Array) -> Result<Vec<u32>> {
        for (row, number) in numbers.iter().enumerate() {
            *self.rows.get_mut(*number) += diffs.value(row);
        }
        for slot in &mut self.aggregates {
            if let Some(tally) = &mut slot.tally {
                tally.change(&numbers, &arguments[slot.columns.clone()], diffs)?;
            }
        }
        if let Some(held) = &mut self.held {
            let columns: Vec<ArrayRef> = held.columns.iter().map(|at| arguments[*at].clone()).collect();
            held.change(&numbers, &columns, diffs)?;
        }
        Ok(numbers)
    }

    /// The results of `numbers`, one column an aggregate.
    fn results(&self, numbers: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut from_rows = match &self.held {
            Some(held) => held.results(numbers)?.into_iter(),
            None => Vec::new().into_iter(),
        };
        let one = |slot: &Slot| match &slot.tally {
            Some(tally) => tally.results(numbers),
            None => from_rows.next().ok_or_else(|| Error::bug("an aggregate without a result")),
        };
        self.aggregates.iter().map(one).collect()
    }

    /// Notes the groups that something came for, and takes the rows of those out that nothing came for in too long.
    fn expired(&mut self, epoch: Epoch, touched: &[u32]) -> Result<Vec<u32>> {
        let Some(lifetimes) = &mut self.lifetimes else { return Ok(Vec::new()) };
        let (there, gone): (Vec<u32>, Vec<u32>) =
            touched.iter().copied().partition(|number| *self.rows.get(*number) > 0);
        lifetimes.forget(&gone);
        lifetimes.touch(epoch, &there)?;
        let expired = lifetimes.expired(epoch)?;
        self.empty(&expired);
        Ok(expired)
    }

    /// Takes the rows of groups out.
    fn empty(&mut self, numbers: &[u32]) {
        for &number in numbers {
            self.rows.clear(number);
            self.held.iter_mut().for_each(|held| held.groups.clear(number));
        }
        self.known.iter_mut().for_each(|known| known.clear(numbers));
    }

    /// Forgets the groups behind the horizon: what was said of them stays.
    fn leave_behind(&mut self, times: Times) -> Result<()> {
        let mut behind = self.closing.complete(times);
        // A group may have gone for want of rows.
        behind.retain(|number| self.emitted.rows().contains(*number));
        self.empty(&behind);
        self.vacate(&behind)?;
        self.emitted.rows_mut().remove(&behind);
        Ok(())
    }

    /// Takes in what arrived, and says what it changed.
    fn settle(&mut self, epoch: Epoch, output: &mut Output) -> Result<()> {
        let mut arrived = std::mem::take(&mut self.arrived);
        if self.lifetimes.is_some() {
            arrived = net_changes(&arrived)?.into_iter().collect();
        }
        let mut touched = Vec::new();
        for batch in arrived {
            touched.extend(self.take_in(&batch)?);
        }
        if touched.is_empty() && self.owes_first {
            touched = self.number(&[], 1)?;
        }
        self.owes_first = false;
        let expired = self.expired(epoch, &touched)?;
        if touched.is_empty() && expired.is_empty() {
            return Ok(());
        }
        let touched = number_groups(&touched).0;
        if touched.iter().any(|number| *self.rows.get(*number) < 0) {
            return Err(not_in_it());
        }
        let keyless = self.is_keyless();
        let (there, mut gone): (Vec<u32>, Vec<u32>) =
            touched.into_iter().partition(|number| keyless || *self.rows.get(*number) > 0);
        gone.extend(expired);
        self.vacate(&gone)?;
        let mut changes = vec![self.emitted.withdraw(&gone)?];
        if !there.is_empty() {
            let new: Vec<u32> = there.iter().copied().filter(|n| !self.emitted.rows().contains(*n)).collect();
            self.keys.hold(&new);
            self.closing.note_groups(&new, |numbers| self.keys.values(numbers))?;
            let results = self.results(&there)?;
            changes.push(self.emitted.replace(there, results)?);
        }
        for change in changes {
            if let Some(batch) = change.into_batch(&self.schema, |numbers| self.keys.values(numbers))? {
                output.send(0, Rows::unbounded(batch));
            }
        }
        Ok(())
    }

    /// Gives back the memory of groups that have no rows any more.
    fn vacate(&mut self, gone: &[u32]) -> Result<()> {
        self.aggregates.iter_mut().filter_map(|slot| slot.tally.as_mut()).for_each(|tally| tally.clear(gone));
        if self.is_keyless() {
            return Ok(());
        }
        let known: Vec<u32> = gone.iter().copied().filter(|number| self.emitted.rows().contains(*number)).collect();
        self.keys.release(&known);
        Ok(())
    }

    fn forget(&mut self) -> Result<()> {
        let Some(renamed) = self.keys.compact()? else { return Ok(()) };
        self.emitted.rename(&renamed);
        self.closing.rename(&renamed);
        self.rows.rename(&renamed);
        self.aggregates.iter_mut().filter_map(|slot| slot.tally.as_mut()).for_each(|tally| tally.rename(&renamed));
        self.lifetimes.iter_mut().for_each(|lifetimes| lifetimes.rename(&renamed));
        self.known.iter_mut().for_each(|known| known.rename(&renamed));
        self.held.iter_mut().for_each(|held| held.groups.rename(&renamed));
        Ok(())
    }

    /// The sections of a block of groups. That of the groups themselves holds their totals, which change only with them.
    fn block(&mut self, at: usize, keys: &Arc<KeyReader>) -> Vec<Section> {
        let key_columns = self.grouping.keys();
        let section = |label: String, id: u64, rows: Box<dyn FnOnce() -> Result<RecordBatch> + Send>| Section {
            label,
            id,
            keys: key_columns,
            rows,
        };
        let counted = |label: String, block: CountedBlock| {
            let (id, reader) = (block.groups.id, keys.clone());
            section(label, id, Box::new(move || block.rows(&reader)))
        };
        let mut others = Vec::new();
        if let Some(known) = &mut self.known {
            let (block, reader) = (known.block(at), keys.clone());
            others.push(section(KNOWN.into(), block.0.id, Box::new(move || block.rows(&reader))));
        }
        if let Some(held) = &mut self.held {
            let (converter, groups) = (held.converter.clone(), held.groups.block(at));
            others.push(counted("held".into(), CountedBlock { converter, groups, behind: 0 }));
        }
        let mut totals = Vec::new();
        for (position, slot) in self.aggregates.iter_mut().enumerate() {
            match slot.tally.as_mut().map(|tally| tally.block(at)) {
                Some(TallyBlock::Values(block)) => others.push(counted(format!("values:{position}"), block)),
                block => totals.extend(block),
            }
        }
        let (rows, reader) = (self.rows.block(at), keys.clone());
        let id = rows.id;
        let groups = move || {
            let there = rows.groups().filter(|(_, rows)| **rows != 0);
            let (numbers, rows): (Vec<u32>, Vec<i64>) = there.map(|(number, rows)| (number, *rows)).unzip();
            let mut columns = reader.get(&numbers)?;
            columns.push(Arc::new(Int64Array::from(rows)));
            columns.extend(totals.iter().filter_map(|tally| tally.to_bytes(&numbers)));
            unnamed(columns, numbers.len())
        };
        let mut sections = vec![section("groups".into(), id, Box::new(groups))];
        sections.append(&mut others);
        sections
    }

    fn restore_groups(&mut self, rows: &RecordBatch) -> Result<()> {
        let (keys, others) = rows.columns().split_at(self.grouping.keys());
        let numbers = self.number(keys, rows.num_rows())?;
        let (counts, tallies) = others.split_first().ok_or_else(|| Error::bug("groups without a count"))?;
        for (number, rows) in numbers.iter().zip(counts.as_primitive::<Int64Type>().values()) {
            *self.rows.get_mut(*number) = *rows;
        }
        let small = self.aggregates.iter_mut().filter_map(|slot| slot.tally.as_mut()).filter(|tally| tally.is_total());
        for (tally, bytes) in small.zip(tallies) {
            tally.restore_bytes(&numbers, bytes.as_binary())?;
        }
        Ok(())
    }
}

impl HeldRows {
    fn new(aggregates: &[Aggregate], columns: Vec<usize>, input: &SchemaRef) -> Result<HeldRows> {
        let grouping = Grouping::new(&[], aggregates, input)?;
        let fields = types(&grouping.exprs, input)?.into_iter().map(SortField::new).collect();
        Ok(HeldRows { grouping, columns, converter: Arc::new(RowConverter::new(fields)?), groups: Blocks::new() })
    }

    fn change(&mut self, numbers: &[u32], columns: &[ArrayRef], diffs: &Int64Array) -> Result<()> {
        let encoded = self.converter.convert_columns(columns)?;
        for (row, number) in numbers.iter().enumerate() {
            self.groups.get_mut(*number).change(encoded.row(row).data(), diffs.value(row));
        }
        Ok(())
    }

    /// The results of `numbers` from their rows.
    fn results(&self, numbers: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut table = GroupTable::new(&self.grouping)?;
        let (mut rows, mut owners) = (Vec::new(), Vec::new());
        let parser = self.converter.parser();
        for (position, number) in numbers.iter().enumerate() {
            for (row, times) in self.groups.get(*number).iter() {
                let times = usize::try_from(times).map_err(|_| not_in_it())?;
                rows.extend(std::iter::repeat_n(parser.parse(row), times));
                owners.extend(std::iter::repeat_n(position, times));
            }
        }
        if rows.is_empty() {
            return self.grouping.states.of_nothing();
        }
        let values = self.converter.convert_rows(rows)?;
        table.add_to_groups(&self.grouping, &values, &owners, numbers.len())?;
        table.results()
    }
}

fn not_in_it() -> Error {
    Error::bug("a group was told to retract a row that is not in it")
}

impl Operator for ReduceRows {
    fn process(&mut self, _epoch: Epoch, rows: Rows, _output: &mut Output) -> Result<()> {
        self.arrived.extend(rows.into_batch());
        Ok(())
    }

    fn finish_epoch(&mut self, epoch: Epoch, times: Times, output: &mut Output) -> Result<()> {
        self.settle(epoch, output)?;
        self.leave_behind(times)?;
        self.forget()
    }

    fn wake_at(&self) -> Option<Epoch> {
        self.lifetimes.as_ref()?.wake_at()
    }

    fn snapshot(&mut self) -> Result<Vec<Section>> {
        let mut sections = self.keys.sections("result", self.emitted.rows_mut())?;
        if let Some(lifetimes) = &mut self.lifetimes {
            sections.extend(lifetimes.sections(&self.keys)?);
        }
        let reader = Arc::new(self.keys.reader());
        for at in 0..self.rows.blocks() {
            sections.extend(self.block(at, &reader));
        }
        Ok(sections)
    }

    fn restore(&mut self, sections: Vec<Restored>, _watermark: Watermark) -> Result<()> {
        for section in sections.iter().filter(|section| section.rows.num_rows() > 0) {
            let rows = &section.rows;
            let (keys, others) = rows.columns().split_at(self.grouping.keys());
            match section.label.as_str() {
                "groups" => self.restore_groups(rows)?,
                TOUCHED => {
                    let lifetimes = self.lifetimes.as_mut().ok_or_else(|| section.unknown())?;
                    lifetimes.restore(&mut self.keys, rows)?;
                    let len = self.keys.len();
                    self.make_room(len);
                }
                "result" => {
                    self.owes_first = false;
                    let new = self.keys.restore(rows, self.emitted.rows_mut())?;
                    self.keys.hold(&new);
                    self.closing.note_groups(&new, |numbers| self.keys.values(numbers))?;
                }
                KNOWN => {
                    let numbers = self.number(keys, rows.num_rows())?;
                    self.known.as_mut().ok_or_else(|| section.unknown())?.restore(&numbers, others)?;
                }
                "held" => {
                    let numbers = self.number(keys, rows.num_rows())?;
                    let (times, columns) = others.split_last().ok_or_else(|| Error::bug("rows without a count"))?;
                    let held = self.held.as_mut().ok_or_else(|| section.unknown())?;
                    held.change(&numbers, columns, times.as_primitive::<Int64Type>())?;
                }
                _ => {
                    let at = section.number_after("values")? as usize;
                    let numbers = self.number(keys, rows.num_rows())?;
                    let tally = self.aggregates.get_mut(at).and_then(|slot| slot.tally.as_mut());
                    tally.ok_or_else(|| section.unknown())?.restore_values(&numbers, others)?;
                }
            }
        }
        Ok(())
    }

    fn state(&self) -> StateSize {
        let tallies = self.aggregates.iter().filter_map(|slot| slot.tally.as_ref()).map(Tally::size).sum::<usize>();
        let held = self.held.as_ref().map_or(0, |held| held.groups.size(Counted::size));
        let bytes = tallies + held + self.rows.size(|_| 0);
        let lifetimes = self.lifetimes.as_ref().map_or(0, Lifetimes::size);
        let lifetimes = lifetimes + self.closing.size() + self.known.as_ref().map_or(0, KnownRows::size);
        let bytes = bytes + self.emitted.rows().size() + self.keys.size() + lifetimes;
        StateSize { rows: self.emitted.rows().len() as u64, bytes: bytes as u64 }
    }
}
