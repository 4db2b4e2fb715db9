//! Groups over an append stream, in two phases.

use super::ReduceSpec;
use crate::aggregate::bypass::Bypass;
use crate::aggregate::emitted::Emitted;
use crate::aggregate::keyed::{KeyedRows, Keys};
use crate::aggregate::table::{GroupTable, Grouping};
use crate::aggregate::{Merger, States};
use crate::closing::Closing;
use crate::operator::{Operator, Output, StateSize, Times};
use crate::rows::Rows;
use crate::state::{Restored, Section};
use crate::state_ttl::{Lifetimes, TOUCHED};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, Watermark};
use thalweg_schemas::error::{Error, Result};

/// Combines the rows of an epoch. Port 0: the keys, then the states of all aggregates.
pub struct LocalReduce {
    grouping: Grouping,
    bypass: Bypass,
    partial_schema: SchemaRef,
    open: BTreeMap<Epoch, GroupTable>,
}

impl LocalReduce {
    /// The first phase of what `spec` asks for.
    pub fn new(spec: &ReduceSpec) -> Result<LocalReduce> {
        let grouping = Grouping::new(&spec.keys, &spec.aggregates, &spec.input.schema())?;
        let mut fields: Vec<_> = grouping.key_schema.fields().iter().cloned().collect();
        for (i, data_type) in grouping.states.types()?.into_iter().enumerate() {
            fields.push(Arc::new(Field::new(format!("state{i}"), data_type, true)));
        }
        let bypass = Bypass::new(&grouping)?;
        Ok(LocalReduce { grouping, bypass, partial_schema: Arc::new(Schema::new(fields)), open: BTreeMap::new() })
    }

    fn send(&self, states: Vec<ArrayRef>, rows: usize, output: &mut Output) -> Result<()> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let partial = RecordBatch::try_new_with_options(self.partial_schema.clone(), states, &options)?;
        output.send(0, Rows::unbounded(Batch::append(partial)));
        Ok(())
    }
}

impl Operator for LocalReduce {
    const EAGER: bool = true;

    fn process(&mut self, epoch: Epoch, rows: Rows, output: &mut Output) -> Result<()> {
        let Some(batch) = rows.into_batch() else { return Ok(()) };
        if batch.diffs.is_some() {
            return Err(Error::bug("states cannot be combined over a changelog"));
        }
        let (batch, values) = self.grouping.evaluate(batch, &mut output.dead)?;
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(());
        }
        if let Some(states) = self.bypass.pass(&self.grouping, &values, rows)? {
            return self.send(states, rows, output);
        }
        let table = match self.open.entry(epoch) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => entry.insert(GroupTable::new(&self.grouping)?),
        };
        let before = table.groups();
        table.add(&self.grouping, &values, rows)?;
        self.bypass.combined(rows, table.groups() - before);
        Ok(())
    }

    fn finish_epoch(&mut self, epoch: Epoch, _times: Times, output: &mut Output) -> Result<()> {
        if let Some(table) = self.open.remove(&epoch) {
            let groups = table.groups();
            self.send(table.finish()?, groups, output)?;
        }
        Ok(())
    }
}

/// Keeps a state for each group. Port 0: every change.
pub struct MergeReduce {
    schema: SchemaRef,
    states: States,
    keys: Keys,
    key_columns: usize,
    held: KeyedRows,
    emitted: Emitted,
    /// What came in the current epoch.
    arrived: Option<Merger>,
    /// Whether the one group without keys, which is there before the first row, has still to be told.
    owes_first: bool,
    /// When groups go that no row comes for.
    lifetimes: Option<Lifetimes>,
    /// When groups fall behind the horizon.
    closing: Closing,
}

impl MergeReduce {
    /// The second phase of what `spec` asks for. Of a group without keys only the worker that `owns` it speaks.
    pub fn new(spec: &ReduceSpec, owns: bool) -> Result<MergeReduce> {
        let grouping = Grouping::new(&spec.keys, &spec.aggregates, &spec.input.schema())?;
        let key_columns = grouping.keys();
        let types: Vec<DataType> = spec.schema.fields()[key_columns..].iter().map(|f| f.data_type().clone()).collect();
        Ok(MergeReduce {
            schema: spec.schema.clone(),
            states: grouping.states.clone(),
            held: KeyedRows::new(grouping.states.types()?),
            emitted: Emitted::new(types),
            keys: Keys::new(grouping)?,
            key_columns,
            arrived: None,
            owes_first: key_columns == 0 && owns,
            lifetimes: None,
            closing: Closing::new(None, spec.horizon.as_ref()),
        })
    }

    /// Forgets groups by `lifetimes`.
    pub fn forgetting(self, lifetimes: Option<Lifetimes>) -> MergeReduce {
        MergeReduce { lifetimes, ..self }
    }

    /// Merges what arrived; gives the keys that changed.
    fn merge(&mut self, epoch: Epoch) -> Result<Vec<u32>> {
        let Some(arrived) = self.arrived.take() else { return Ok(Vec::new()) };
        let known = self.held.part_of(arrived.numbers())?;
        let merged = self.states.merge_states(vec![known, arrived.into_part()?])?;
        let changed = merged.numbers.clone();
        if self.forgets() {
            let new = changed.iter().copied().filter(|number| !self.held.contains(*number));
            let new = new.collect::<Vec<_>>();
            self.keys.hold(&new);
            self.closing.note_groups(&new, |numbers| self.keys.values(numbers))?;
        }
        if let Some(lifetimes) = &mut self.lifetimes {
            lifetimes.touch(epoch, &changed)?;
        }
        self.held.put(merged)?;
        Ok(changed)
    }

    /// Says what has become of the groups `changed`.
    fn say(&mut self, changed: Vec<u32>, output: &mut Output) -> Result<()> {
        let there = self.held.part_of(&changed)?;
        let results = if there.numbers.is_empty() {
            // The group without keys before its first row: what the aggregates say of nothing.
            self.states.of_nothing()?
        } else {
            self.states.evaluate(&there)?
        };
        let change = self.emitted.replace(changed, results)?;
        if let Some(batch) = change.into_batch(&self.schema, |numbers| self.keys.values(numbers))? {
            output.send(0, Rows::unbounded(batch));
        }
        Ok(())
    }

    /// Whether any group is ever forgotten.
    fn forgets(&self) -> bool {
        self.lifetimes.is_some() || self.closing.lets_go()
    }

    /// Takes back the results of groups that no row came for, and forgets them, and the groups behind the horizon.
    fn let_go(&mut self, epoch: Epoch, times: Times, output: &mut Output) -> Result<()> {
        let behind = self.closing.complete(times);
        self.emitted.rows_mut().remove(&behind);
        self.forget(behind)?;
        let Some(lifetimes) = &mut self.lifetimes else { return Ok(()) };
        let gone = lifetimes.expired(epoch)?;
        if gone.is_empty() {
            return Ok(());
        }
        let change = self.emitted.withdraw(&gone)?;
        if let Some(batch) = change.into_batch(&self.schema, |numbers| self.keys.values(numbers))? {
            output.send(0, Rows::unbounded(batch));
        }
        self.forget(gone)
    }

    fn forget(&mut self, gone: Vec<u32>) -> Result<()> {
        if gone.is_empty() {
            return Ok(());
        }
        self.held.remove(&gone);
        self.keys.release(&gone);
        if let Some(renamed) = self.keys.compact()? {
            self.held.rename(&renamed);
            self.emitted.rename(&renamed);
            self.closing.rename(&renamed);
            self.lifetimes.iter_mut().for_each(|lifetimes| lifetimes.rename(&renamed));
        }
        Ok(())
    }
}

impl Operator for MergeReduce {
    fn process(&mut self, _epoch: Epoch, rows: Rows, _output: &mut Output) -> Result<()> {
        let Some(batch) = rows.into_batch() else { return Ok(()) };
        let (keys, states) = batch.rows.columns().split_at(self.key_columns);
        let numbers = self.keys.number(keys, batch.num_rows())?;
        let arrived = match &mut self.arrived {
            Some(arrived) => arrived,
            None => self.arrived.insert(self.states.merger(numbers.len())?),
        };
        arrived.add(&numbers, states)?;
        Ok(())
    }

    fn finish_epoch(&mut self, epoch: Epoch, times: Times, output: &mut Output) -> Result<()> {
        let mut changed = self.merge(epoch)?;
        if changed.is_empty() && self.owes_first {
            changed = self.keys.number(&[], 1)?;
        }
        self.owes_first = false;
        if !changed.is_empty() {
            self.say(changed, output)?;
        }
        self.let_go(epoch, times, output)
    }

    fn wake_at(&self) -> Option<Epoch> {
        self.lifetimes.as_ref()?.wake_at()
    }

    fn snapshot(&mut self) -> Result<Vec<Section>> {
        let mut sections = self.keys.sections("state", &mut self.held)?;
        sections.extend(self.keys.sections("result", self.emitted.rows_mut())?);
        if let Some(lifetimes) = &mut self.lifetimes {
            sections.extend(lifetimes.sections(&self.keys)?);
        }
        Ok(sections)
    }

    fn restore(&mut self, sections: Vec<Restored>, _watermark: Watermark) -> Result<()> {
        for section in sections {
            let forgets = self.forgets();
            match (section.label.as_str(), &mut self.lifetimes) {
                ("state", _) => {
                    let new = self.keys.restore(&section.rows, &mut self.held)?;
                    if forgets {
                        self.keys.hold(&new);
                        self.closing.note_groups(&new, |numbers| self.keys.values(numbers))?;
                    }
                }
                (TOUCHED, Some(lifetimes)) => lifetimes.restore(&mut self.keys, &section.rows)?,
                ("result", _) => {
                    self.owes_first &= section.rows.num_rows() == 0;
                    self.keys.restore(&section.rows, self.emitted.rows_mut())?;
                }
                _ => return Err(section.unknown()),
            }
        }
        Ok(())
    }

    fn state(&self) -> StateSize {
        let lifetimes = self.lifetimes.as_ref().map_or(0, Lifetimes::size);
        let lifetimes = lifetimes + self.closing.size();
        let bytes = self.held.size() + self.emitted.rows().size() + self.keys.size() + lifetimes;
        StateSize { rows: self.held.len() as u64, bytes: bytes as u64 }
    }
}
