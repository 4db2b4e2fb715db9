//! What all aggregating operators share: grouping rows, aggregate states as Arrow rows, merging and evaluating them.
//!
//! DataFusion's accumulators give up their state when it is looked at. So they are used as functions over the groups
//! that changed: old states in, partial states in, new states out. The states between epochs are plain Arrow rows, which
//! can be shared, snapshotted and written without asking an accumulator.

mod alone;
mod beside;
pub(crate) mod bypass;
pub(crate) mod emitted;
pub mod exemplars;
pub(crate) mod index;
pub(crate) mod keyed;
mod live;
mod percentile;
pub mod sketch;
mod sum;
pub(crate) mod table;
mod texts;

#[cfg(test)]
mod tests;

use crate::evaluate::fault;
use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::compute::{SortColumn, lexsort_to_indices, take};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, FieldRef};
use beside::{Beside, Kind};
use datafusion_expr::{AggregateUDF, EmitTo, GroupsAccumulator};
use datafusion_physical_expr::aggregate::AggregateFunctionExpr;
use datafusion_physical_expr::{GroupsAccumulatorAdapter, PhysicalExpr, PhysicalSortExpr};
use index::Index;
use std::fmt;
use std::sync::Arc;
use thalweg_schemas::error::{Error, Result};

/// Our aggregate functions, to be registered over DataFusion's of the same names.
pub fn functions() -> Vec<Arc<AggregateUDF>> {
    let mut functions = percentile::functions();
    functions.push(sum::function());
    functions
}

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
        exprs.extend(self.order_bys().iter().map(|order| order.expr.clone()));
        exprs.extend(self.filter.clone());
        exprs
    }

    /// The ordering, of the functions whose answer depends on it. Others (`median`) are not prepared to be handed one,
    /// or have it for its direction only (`percentile_cont`).
    fn order_bys(&self) -> &[PhysicalSortExpr] {
        const HEEDING: [&str; 5] = ["array_agg", "first_value", "last_value", "nth_value", "string_agg"];
        if HEEDING.contains(&self.function.fun().name()) { self.function.order_bys() } else { &[] }
    }

    pub(crate) fn state_fields(&self) -> Result<Vec<FieldRef>> {
        let mut fields = self.function.state_fields().map_err(fault)?;
        // Functions that do not mind the order (`max`) declare the columns of an ORDER BY, and keep none.
        if let Ok(kept) = self.function.create_accumulator().and_then(|mut accumulator| accumulator.state()) {
            fields.truncate(kept.len());
        }
        Ok(fields)
    }

    /// An accumulator for many groups; where the function has none, DataFusion's adapter around one for each.
    pub(crate) fn accumulator(&self) -> Result<Box<dyn GroupsAccumulator>> {
        if self.function.groups_accumulator_supported() {
            let accumulator = self.function.create_groups_accumulator().map_err(fault)?;
            if !self.is_special() || self.keeps_its_states()? {
                return Ok(accumulator);
            }
        }
        let function = self.function.clone();
        Ok(Box::new(GroupsAccumulatorAdapter::new(move || function.create_accumulator())))
    }

    /// Whether there are rows, of which all expressions can be computed, that the function fails on.
    pub(crate) fn may_fail(&self) -> bool {
        const SURE: [&str; 21] = [
            "approx_distinct",
            "approx_median",
            "approx_percentile_cont",
            "array_agg",
            "bit_and",
            "bit_or",
            "bit_xor",
            "bool_and",
            "bool_or",
            "corr",
            "count",
            exemplars::NAME,
            "first_value",
            "last_value",
            "max",
            "median",
            "min",
            "nth_value",
            "percentile_cont",
            "string_agg",
            "sum",
        ];
        let name = self.function.fun().name();
        match self.function.field().data_type() {
            // A mean has four digits more behind the point; with the most digits that there are it may not fit.
            DataType::Decimal128(DECIMAL128_MAX_PRECISION, _) | DataType::Decimal256(DECIMAL256_MAX_PRECISION, _) => {
                name == "avg" || !SURE.contains(&name)
            }
            DataType::Float64 if ["avg", "stddev", "var", "covar", "regr"].iter().any(|f| name.starts_with(f)) => false,
            _ => name != "avg" && !SURE.contains(&name),
        }
    }

    fn is_special(&self) -> bool {
        self.function.is_distinct() || !self.order_bys().is_empty()
    }

    /// Some functions offer a grouped form that leaves DISTINCT or ORDER BY unheeded (`bit_xor`, `string_agg`): its
    /// states are not those that the function declares.
    fn keeps_its_states(&self) -> Result<bool> {
        let mut accumulator = self.function.create_groups_accumulator().map_err(fault)?;
        // Those that cannot say the state of nothing (`first_value`) heed it.
        let Ok(kept) = accumulator.state(EmitTo::All) else { return Ok(true) };
        let declared = self.state_fields()?;
        Ok(kept.iter().map(|state| state.data_type()).eq(declared.iter().map(|field| field.data_type())))
    }

    /// The values of [`exprs`](Self::exprs) without the filter, and the filter.
    fn split_filter<'a>(&self, values: &'a [ArrayRef]) -> Result<(&'a [ArrayRef], Option<BooleanArray>)> {
        match (&self.filter, values.split_last()) {
            (Some(_), Some((filter, values))) => Ok((values, Some(as_filter(filter)?))),
            _ => Ok((values, None)),
        }
    }

    /// Takes rows into `accumulator`: `values` are those of [`exprs`](Self::exprs).
    pub(crate) fn update(
        &self,
        accumulator: &mut Box<dyn GroupsAccumulator>,
        values: &[ArrayRef],
        groups: &[usize],
        total: usize,
    ) -> Result<()> {
        let (values, filter) = self.split_filter(values)?;
        if self.order_bys().is_empty() || !self.function.order_sensitivity().hard_requires() {
            return accumulator.update_batch(values, groups, filter.as_ref(), total).map_err(fault);
        }
        if groups.is_empty() {
            return Ok(());
        }
        // Such a function trusts the order of its input. Each batch is sorted and accumulated for itself, since the
        // merging of states respects the order and appending to one does not.
        let arguments = self.function.expressions().len();
        let columns = values[arguments..].iter().zip(self.order_bys());
        let columns = columns.map(|(values, by)| SortColumn { values: values.clone(), options: Some(by.options) });
        let order = lexsort_to_indices(&columns.collect::<Vec<_>>(), None)?;
        let sorted: Vec<ArrayRef> = values.iter().map(|v| take(v, &order, None)).collect::<Result<_, _>>()?;
        let groups_sorted: Vec<u32> = order.values().iter().map(|&row| groups[row as usize] as u32).collect();
        let filter = match filter {
            Some(filter) => Some(as_filter(&take(&filter, &order, None)?)?),
            None => None,
        };
        let mut once = self.accumulator()?;
        let (present, own_groups) = number_groups(&groups_sorted);
        once.update_batch(&sorted, &own_groups, filter.as_ref(), present.len()).map_err(fault)?;
        let state = once.state(EmitTo::All).map_err(fault)?;
        let present: Vec<usize> = present.into_iter().map(|group| group as usize).collect();
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
    /// Those whose states lie beside each other while they are merged.
    beside: Vec<Option<Kind>>,
}

impl States {
    pub fn new(aggregates: &[Aggregate]) -> Result<States> {
        let widths = aggregates.iter().map(|a| Ok(a.state_fields()?.len())).collect::<Result<_>>()?;
        let beside = aggregates.iter().map(Kind::of).collect::<Result<_>>()?;
        Ok(States { aggregates: aggregates.to_vec(), widths, beside })
    }

    /// The types of all state columns.
    pub fn types(&self) -> Result<Vec<DataType>> {
        let mut types = Vec::new();
        for aggregate in &self.aggregates {
            types.extend(aggregate.state_fields()?.iter().map(|field| field.data_type().clone()));
        }
        Ok(types)
    }

    /// A merger that about `groups` groups will come into.
    pub fn merger(&self, groups: usize) -> Result<Merger> {
        let own = |(aggregate, kind): (&Aggregate, &Option<Kind>)| match kind {
            Some(_) => Ok(None),
            None => aggregate.accumulator().map(Some),
        };
        let accumulators = self.aggregates.iter().zip(&self.beside).map(own).collect::<Result<_>>()?;
        let beside = Beside::new(self.beside.iter().copied().flatten().collect());
        Ok(Merger { numbering: Numbering::expecting(groups), accumulators, beside, widths: self.widths.clone() })
    }

    /// Merges states, group by group.
    pub fn merge(&self, parts: &[Part]) -> Result<Merger> {
        let mut merger = self.merger(parts.iter().map(|part| part.numbers.len()).sum())?;
        for part in parts.iter().filter(|part| !part.numbers.is_empty()) {
            merger.add(&part.numbers, &part.states)?;
        }
        Ok(merger)
    }

    /// As [`merge`](Self::merge), as states again; what needs no merging is taken as it is.
    pub fn merge_states(&self, mut parts: Vec<Part>) -> Result<Part> {
        parts.retain(|part| !part.numbers.is_empty());
        if let [part] = parts.as_slice()
            && number_groups(&part.numbers).0.len() == part.numbers.len()
        {
            return Ok(parts.swap_remove(0));
        }
        if parts.is_empty() {
            return Ok(Part::default());
        }
        self.merge(&parts)?.into_part()
    }

    /// The results that `part` stands for, one row a group.
    pub fn evaluate(&self, part: &Part) -> Result<Vec<ArrayRef>> {
        Ok(self.merge(std::slice::from_ref(part))?.results()?.states)
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

/// States of groups, by the numbers of their keys: one row each, or several that are to be merged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Part {
    pub numbers: Vec<u32>,
    pub states: Vec<ArrayRef>,
}

/// States that are merged as they come, until somebody looks at them.
pub(crate) struct Merger {
    numbering: Numbering,
    /// The accumulator of each aggregate; none of those whose states lie beside each other.
    accumulators: Vec<Option<Box<dyn GroupsAccumulator>>>,
    beside: Beside,
    widths: Vec<usize>,
}

impl Merger {
    /// Merges `states`, whose rows belong to the groups `numbers`; gives the groups that had none before.
    pub fn add(&mut self, numbers: &[u32], mut states: &[ArrayRef]) -> Result<&[u32]> {
        let before = self.numbering.distinct.len();
        let groups = self.numbering.positions(numbers);
        // Only groups that have come: accumulators take for granted that those below the total have had rows.
        let total = self.numbering.distinct.len();
        let mut beside = Vec::new();
        for (accumulator, width) in self.accumulators.iter_mut().zip(&self.widths) {
            let (own, rest) = states.split_at(*width);
            match accumulator {
                Some(accumulator) => accumulator.merge_batch(own, &groups, total).map_err(fault)?,
                None => beside.extend(own),
            }
            states = rest;
        }
        self.beside.merge(&beside, &groups, total);
        Ok(&self.numbering.distinct[before..])
    }

    /// The groups, in the order in which they came.
    pub fn numbers(&self) -> &[u32] {
        &self.numbering.distinct
    }

    /// The merged states, one row a group.
    pub fn into_part(mut self) -> Result<Part> {
        let (mut states, mut beside) = (Vec::new(), self.beside.states());
        for accumulator in &mut self.accumulators {
            match accumulator {
                Some(accumulator) => states.extend(accumulator.state(EmitTo::All).map_err(fault)?),
                None => states.extend(beside.next().into_iter().flatten()),
            }
        }
        drop(beside);
        Ok(Part { numbers: self.numbering.distinct, states })
    }

    /// The results in place of the states, one row a group.
    pub fn results(mut self) -> Result<Part> {
        let (mut results, mut beside) = (Vec::new(), self.beside.results());
        for accumulator in &mut self.accumulators {
            match accumulator {
                Some(accumulator) => results.push(accumulator.evaluate(EmitTo::All).map_err(fault)?),
                None => results.extend(beside.next()),
            }
        }
        drop(beside);
        Ok(Part { states: results, numbers: self.numbering.distinct })
    }

    /// Renames all groups.
    pub fn rename(&mut self, renamed: &[Option<u32>]) {
        let numbers = self.numbering.distinct.iter();
        let numbers: Vec<u32> = numbers.filter_map(|number| renamed[*number as usize]).collect();
        assert_eq!(numbers.len(), self.numbering.distinct.len(), "a key that has states is held");
        self.numbering = Numbering::expecting(numbers.len());
        self.numbering.positions(&numbers);
    }

    pub fn size(&self) -> usize {
        let accumulators = self.accumulators.iter().flatten().map(|accumulator| accumulator.size()).sum::<usize>();
        self.numbering.size() + self.beside.size() + accumulators
    }
}

/// The distinct numbers in the order in which they come, and for each of `numbers` its position among them.
pub(crate) fn number_groups(numbers: &[u32]) -> (Vec<u32>, Vec<usize>) {
    let mut numbering = Numbering::expecting(numbers.len());
    let positions = numbering.positions(numbers);
    (numbering.distinct, positions)
}

/// Gives positions to numbers in the order in which they come.
struct Numbering {
    distinct: Vec<u32>,
    /// `None` as long as each number has come in its own place, as the first groups of a run do: it is its position.
    positions: Option<Index>,
    /// How many numbers are to be expected.
    expected: usize,
}

impl Numbering {
    fn expecting(expected: usize) -> Numbering {
        Numbering { distinct: Vec::new(), positions: None, expected }
    }

    /// The positions of `numbers`, new ones where they are new.
    fn positions(&mut self, numbers: &[u32]) -> Vec<usize> {
        if self.positions.is_none() {
            let known = self.distinct.len();
            if self.are_in_place(numbers) {
                return numbers.iter().map(|number| *number as usize).collect();
            }
            self.distinct.truncate(known);
            let mut positions = Index::expecting(self.expected);
            for number in &self.distinct {
                positions.insert(*number, *number);
            }
            self.positions = Some(positions);
        }
        let distinct = &mut self.distinct;
        let positions = self.positions.get_or_insert_default();
        positions.get_or_insert_each(numbers, |number| {
            distinct.push(number);
            (distinct.len() - 1) as u32
        })
    }

    /// Takes up `numbers` while each new one follows the one before; whether all did.
    fn are_in_place(&mut self, numbers: &[u32]) -> bool {
        numbers.iter().all(|&number| {
            let next = self.distinct.len() as u32;
            if number == next {
                self.distinct.push(number);
            }
            number <= next
        })
    }

    fn size(&self) -> usize {
        self.distinct.capacity() * size_of::<u32>() + self.positions.as_ref().map_or(0, Index::size)
    }
}
