//! What all aggregating operators share: grouping rows, aggregate states as Arrow rows, merging and evaluating them.
//!
//! DataFusion's accumulators give up their state when it is looked at. So they are used as functions over the groups
//! that changed: old states in, partial states in, new states out. The states between epochs are plain Arrow rows, which
//! can be shared, snapshotted and written without asking an accumulator.

pub(crate) mod emitted;
pub(crate) mod keyed;
pub mod percentile;
pub mod sketch;
pub(crate) mod table;

use crate::aggregate::keyed::KeyedRows;
use crate::evaluate::fault;
use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::compute::{SortColumn, lexsort_to_indices, take};
use arrow::datatypes::{DataType, FieldRef};
use datafusion_expr::{EmitTo, GroupsAccumulator};
use datafusion_physical_expr::aggregate::AggregateFunctionExpr;
use datafusion_physical_expr::{GroupsAccumulatorAdapter, PhysicalExpr};
use std::fmt;
use std::sync::Arc;
use thalweg_schemas::error::{Error, Result};

/// One aggregate of a SELECT list.
#[derive(Clone, Debug)]
pub struct Aggregate {
    /// The function with its arguments over the input's columns; knows DISTINCT and ORDER BY.
    pub function: Arc<AggregateFunctionExpr>,
    /// `FILTER (WHERE ..)` over the input's columns.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
}

impl fmt::Display for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.function.name())
    }
}

impl Aggregate {
    /// What must be computed from a row: the arguments, the ordering, the filter.
    pub(crate) fn exprs(&self) -> Vec<Arc<dyn PhysicalExpr>> {
        let mut exprs = self.function.expressions();
        exprs.extend(self.function.order_bys().iter().map(|order| order.expr.clone()));
        exprs.extend(self.filter.clone());
        exprs
    }

    pub(crate) fn state_fields(&self) -> Result<Vec<FieldRef>> {
        self.function.state_fields().map_err(fault)
    }

    /// An accumulator for many groups; where the function has none, DataFusion's adapter around one for each.
    pub(crate) fn accumulator(&self) -> Result<Box<dyn GroupsAccumulator>> {
        if self.function.groups_accumulator_supported() {
            return self.function.create_groups_accumulator().map_err(fault);
        }
        let function = self.function.clone();
        Ok(Box::new(GroupsAccumulatorAdapter::new(move || function.create_accumulator())))
    }

    /// Takes rows into `accumulator`: `values` are those of [`exprs`](Self::exprs).
    pub(crate) fn update(
        &self,
        accumulator: &mut Box<dyn GroupsAccumulator>,
        values: &[ArrayRef],
        groups: &[usize],
        total: usize,
    ) -> Result<()> {
        let (values, filter) = match &self.filter {
            Some(_) => values.split_at(values.len() - 1),
            None => (values, [].as_slice()),
        };
        let filter = filter.first().map(as_filter).transpose()?;
        if !self.function.order_sensitivity().hard_requires() {
            return accumulator.update_batch(values, groups, filter.as_ref(), total).map_err(fault);
        }
        // Such a function trusts the order of its input. Each batch is sorted and accumulated for itself, since the
        // merging of states respects the order and appending to one does not.
        let arguments = self.function.expressions().len();
        let columns = values[arguments..].iter().zip(self.function.order_bys());
        let columns = columns.map(|(values, by)| SortColumn { values: values.clone(), options: Some(by.options) });
        let order = lexsort_to_indices(&columns.collect::<Vec<_>>(), None)?;
        let sorted: Vec<ArrayRef> = values.iter().map(|v| take(v, &order, None)).collect::<Result<_, _>>()?;
        let groups_sorted: Vec<usize> = order.values().iter().map(|&row| groups[row as usize]).collect();
        let filter = match filter {
            Some(filter) => Some(as_filter(&take(&filter, &order, None)?)?),
            None => None,
        };
        let mut once = self.accumulator()?;
        let (present, own_groups) = number_groups(&groups_sorted);
        once.update_batch(&sorted, &own_groups, filter.as_ref(), present.len()).map_err(fault)?;
        let state = once.state(EmitTo::All).map_err(fault)?;
        accumulator.merge_batch(&state, &present, total).map_err(fault)
    }
}

fn as_filter(values: &ArrayRef) -> Result<BooleanArray> {
    let filter = values.as_any().downcast_ref::<BooleanArray>();
    filter.cloned().ok_or_else(|| Error::bug("a FILTER is not a boolean"))
}

/// How the state columns of several aggregates lie beside each other.
#[derive(Clone, Debug)]
pub(crate) struct States {
    aggregates: Vec<Aggregate>,
    /// For each aggregate, how many state columns it has.
    widths: Vec<usize>,
}

impl States {
    pub fn new(aggregates: &[Aggregate]) -> Result<States> {
        let widths = aggregates.iter().map(|a| Ok(a.state_fields()?.len())).collect::<Result<_>>()?;
        Ok(States { aggregates: aggregates.to_vec(), widths })
    }

    /// The types of all state columns.
    pub fn types(&self) -> Result<Vec<DataType>> {
        let mut types = Vec::new();
        for aggregate in &self.aggregates {
            types.extend(aggregate.state_fields()?.iter().map(|field| field.data_type().clone()));
        }
        Ok(types)
    }

    /// Begins to merge states.
    pub fn merger(&self) -> Result<Merger> {
        let accumulators = self.aggregates.iter().map(Aggregate::accumulator).collect::<Result<_>>()?;
        Ok(Merger { accumulators, widths: self.widths.clone() })
    }

    /// The results that `states`, one row a group, stand for.
    pub fn evaluate(&self, states: &[ArrayRef], groups: usize) -> Result<Vec<ArrayRef>> {
        let mut merger = self.merger()?;
        merger.add(states, &(0..groups).collect::<Vec<_>>(), groups)?;
        merger.results()
    }
}

impl States {
    /// The results of one group without rows.
    pub fn of_nothing(&self) -> Result<Vec<ArrayRef>> {
        let results = self.aggregates.iter().map(|aggregate| {
            let value = aggregate.function.create_accumulator().and_then(|mut a| a.evaluate()).map_err(fault)?;
            value.to_array().map_err(fault)
        });
        results.collect()
    }
}

/// Merges states of groups that are numbered from 0.
///
/// DataFusion's accumulators take it that a group exists because it had a row: a group must be part of the first
/// call whose `total` is above its number.
pub(crate) struct Merger {
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    widths: Vec<usize>,
}

impl Merger {
    /// Merges `states`, whose rows belong to `groups`, all of them below `total`.
    pub fn add(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        let mut states = states;
        for (accumulator, width) in self.accumulators.iter_mut().zip(&self.widths) {
            let (own, rest) = states.split_at(*width);
            accumulator.merge_batch(own, groups, total).map_err(fault)?;
            states = rest;
        }
        Ok(())
    }

    /// The merged states, one row a group.
    pub fn states(mut self) -> Result<Vec<ArrayRef>> {
        let mut states = Vec::new();
        for accumulator in &mut self.accumulators {
            states.extend(accumulator.state(EmitTo::All).map_err(fault)?);
        }
        Ok(states)
    }

    /// The results, one row a group.
    pub fn results(mut self) -> Result<Vec<ArrayRef>> {
        self.accumulators.iter_mut().map(|a| a.evaluate(EmitTo::All).map_err(fault)).collect()
    }
}

/// The distinct numbers in the order in which they come, and for each of `numbers` its position among them.
pub(crate) fn number_groups<N: Copy + Eq + std::hash::Hash>(numbers: &[N]) -> (Vec<N>, Vec<usize>) {
    let mut positions = hashbrown::HashMap::with_capacity(numbers.len());
    let mut distinct = Vec::new();
    let position = |number: &N| {
        *positions.entry(*number).or_insert_with(|| {
            distinct.push(*number);
            distinct.len() - 1
        })
    };
    let groups = numbers.iter().map(position).collect();
    (distinct, groups)
}

/// Merges `partials`, whose rows belong to the keys `numbers`, into the states that are held; `on_new` hears of the keys
/// that had none. Gives the distinct keys.
pub(crate) fn merge_states(
    held: &mut KeyedRows,
    states: &States,
    numbers: &[u32],
    partials: &[ArrayRef],
    on_new: impl FnOnce(&[u32]),
) -> Result<Vec<u32>> {
    let distinct = number_groups(numbers).0;
    let (known, new): (Vec<u32>, Vec<u32>) = distinct.iter().partition(|number| held.contains(**number));
    on_new(&new);
    if known.is_empty() && distinct.len() == numbers.len() {
        // Nothing to merge: the partial states are the states.
        held.put(distinct.clone(), partials.to_vec())?;
        return Ok(distinct);
    }
    let mut merger = states.merger()?;
    // The known ones first, so that the second call brings only groups that have a row in it.
    let ordered = [known.as_slice(), &new].concat();
    let positions = number_groups(&[ordered.as_slice(), numbers].concat()).1;
    if !known.is_empty() {
        merger.add(&held.get(&known)?, &positions[..known.len()], known.len())?;
    }
    merger.add(partials, &positions[ordered.len()..], ordered.len())?;
    held.put(ordered, merger.states()?)?;
    Ok(distinct)
}
