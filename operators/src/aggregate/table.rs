//! A table of groups under construction: rows in, one partial state a group out.

use super::texts::{TextKeys, Texts};
use super::{Aggregate, States};
use crate::evaluate::{dead_rows, evaluate, fault, others};
use crate::operator::DeadRow;
use arrow::array::ArrayRef;
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_expr::{EmitTo, GroupsAccumulator};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion_physical_plan::aggregates::order::GroupOrdering;
use std::ops::Range;
use std::sync::Arc;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::error::Result;

/// What rows are grouped by and what is computed from each group.
#[derive(Clone)]
pub(crate) struct Grouping {
    /// The types of the keys.
    pub key_schema: SchemaRef,
    pub aggregates: Vec<Aggregate>,
    /// All expressions to compute from a row: the keys, then those of each aggregate.
    pub exprs: Vec<Arc<dyn PhysicalExpr>>,
    pub states: States,
}

impl Grouping {
    /// Groups rows of `input` by `keys`.
    pub fn new(keys: &[Arc<dyn PhysicalExpr>], aggregates: &[Aggregate], input: &SchemaRef) -> Result<Grouping> {
        let fields = keys
            .iter()
            .enumerate()
            .map(|(i, key)| Ok(Field::new(format!("key{i}"), key.data_type(input).map_err(fault)?, true)));
        let key_schema = Arc::new(Schema::new(fields.collect::<Result<Vec<_>>>()?));
        let mut exprs = keys.to_vec();
        aggregates.iter().for_each(|aggregate| exprs.extend(aggregate.exprs()));
        Ok(Grouping { key_schema, aggregates: aggregates.to_vec(), exprs, states: States::new(aggregates)? })
    }

    /// Groups rows by columns that are there already, and computes nothing.
    pub fn by(key_schema: Schema) -> Result<Grouping> {
        let (aggregates, exprs, states) = (Vec::new(), Vec::new(), States::new(&[])?);
        Ok(Grouping { key_schema: Arc::new(key_schema), aggregates, exprs, states })
    }

    /// The values of all expressions, for those rows of `batch` for which they and the aggregates can be computed; the
    /// others go to `dead`.
    pub fn evaluate(&self, batch: Batch, dead: &mut Vec<DeadRow>) -> Result<(Batch, Vec<ArrayRef>)> {
        let (batch, values) = evaluate(&self.exprs, batch, dead)?;
        let mut own = self.keys();
        let mut failed = Vec::new();
        for aggregate in &self.aggregates {
            let width = aggregate.exprs().len();
            if aggregate.may_fail() {
                probe(aggregate, &values[own..own + width], 0..batch.num_rows(), &mut failed);
            }
            own += width;
        }
        if failed.is_empty() {
            return Ok((batch, values));
        }
        failed.sort_by_key(|(row, _): &(usize, String)| *row);
        failed.dedup_by_key(|(row, _)| *row);
        dead.extend(dead_rows(&batch.rows, &failed));
        let rest = others(batch.num_rows(), &failed);
        let values = values.iter().map(|column| take(column, &rest, None)).collect::<Result<_, _>>()?;
        Ok((batch.take(&rest)?, values))
    }

    pub fn keys(&self) -> usize {
        self.key_schema.fields().len()
    }

    /// A hash table of keys; `None` where there is one group only.
    pub fn key_table(&self) -> Result<Option<Box<dyn GroupValues>>> {
        self.table(Texts::Told)
    }

    /// The same for those who keep the keys themselves and only want their numbers.
    pub fn number_table(&self) -> Result<Option<Box<dyn GroupValues>>> {
        self.table(Texts::Elsewhere)
    }

    fn table(&self, texts: Texts) -> Result<Option<Box<dyn GroupValues>>> {
        if self.keys() == 0 {
            return Ok(None);
        }
        let are_texts = self.key_schema.fields().iter().all(|key| *key.data_type() == DataType::Utf8);
        Ok(Some(match self.keys() {
            1 if are_texts => Box::new(TextKeys::<1>::new(texts)),
            2 if are_texts => Box::new(TextKeys::<2>::new(texts)),
            3 if are_texts => Box::new(TextKeys::<3>::new(texts)),
            4 if are_texts => Box::new(TextKeys::<4>::new(texts)),
            _ => new_group_values(self.key_schema.clone(), &GroupOrdering::None).map_err(fault)?,
        }))
    }
}

/// Finds the rows among `rows` that `aggregate` fails on even where they are alone in their group, with the reason.
fn probe(aggregate: &Aggregate, values: &[ArrayRef], rows: Range<usize>, failed: &mut Vec<(usize, String)>) {
    let own: Vec<ArrayRef> = values.iter().map(|column| column.slice(rows.start, rows.len())).collect();
    let groups: Vec<usize> = (0..rows.len()).collect();
    let outcome = aggregate.accumulator().and_then(|mut accumulator| {
        aggregate.update(&mut accumulator, &own, &groups, rows.len())?;
        accumulator.evaluate(EmitTo::All).map_err(fault)
    });
    match outcome {
        Err(error) if rows.len() <= 1 => failed.push((rows.start, error.message)),
        Err(_) => {
            let half = rows.start + rows.len() / 2;
            probe(aggregate, values, rows.start..half, failed);
            probe(aggregate, values, half..rows.end, failed);
        }
        Ok(_) => {}
    }
}

/// Groups under construction.
pub(crate) struct GroupTable {
    keys: Option<Box<dyn GroupValues>>,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    groups: Vec<usize>,
}

impl GroupTable {
    pub fn new(grouping: &Grouping) -> Result<GroupTable> {
        let accumulators = grouping.aggregates.iter().map(Aggregate::accumulator).collect::<Result<_>>()?;
        Ok(GroupTable { keys: grouping.key_table()?, accumulators, groups: Vec::new() })
    }

    /// Takes in rows, given as the values of the grouping's expressions.
    pub fn add(&mut self, grouping: &Grouping, values: &[ArrayRef], rows: usize) -> Result<()> {
        let (keys, values) = values.split_at(grouping.keys());
        let total = match &mut self.keys {
            Some(table) => {
                table.intern(keys, &mut self.groups).map_err(fault)?;
                table.len()
            }
            None => {
                self.groups.clear();
                self.groups.resize(rows, 0);
                1
            }
        };
        let groups = std::mem::take(&mut self.groups);
        self.add_to_groups(grouping, values, &groups, total)?;
        self.groups = groups;
        Ok(())
    }

    /// Takes in rows whose groups are known: `values` are those of the aggregates' expressions.
    pub fn add_to_groups(
        &mut self,
        grouping: &Grouping,
        mut values: &[ArrayRef],
        groups: &[usize],
        total: usize,
    ) -> Result<()> {
        for (aggregate, accumulator) in grouping.aggregates.iter().zip(&mut self.accumulators) {
            let width = aggregate.exprs().len();
            let (own, rest) = values.split_at(width);
            aggregate.update(accumulator, own, groups, total)?;
            values = rest;
        }
        Ok(())
    }

    /// How many groups there are.
    pub fn groups(&self) -> usize {
        self.keys.as_ref().map_or(1, |table| table.len())
    }

    /// The results, one row a group.
    pub fn results(mut self) -> Result<Vec<ArrayRef>> {
        self.accumulators.iter_mut().map(|a| a.evaluate(EmitTo::All).map_err(fault)).collect()
    }

    /// The keys and the partial states, one row a group.
    pub fn finish(mut self) -> Result<Vec<ArrayRef>> {
        let mut columns = match &mut self.keys {
            Some(table) => table.emit(EmitTo::All).map_err(fault)?,
            None => Vec::new(),
        };
        for accumulator in &mut self.accumulators {
            columns.extend(accumulator.state(EmitTo::All).map_err(fault)?);
        }
        Ok(columns)
    }
}
