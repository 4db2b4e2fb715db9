//! Rows that go to their key's owner as they are, because combining them first would not make them fewer.

use super::Aggregate;
use super::table::Grouping;
use crate::evaluate::fault;
use arrow::array::ArrayRef;
use datafusion_expr::GroupsAccumulator;
use thalweg_schemas::error::Result;

/// So many rows are combined before it is judged whether that is worth it. Few in tests, so that they see both ways.
const SAMPLE_ROWS: usize = if cfg!(test) { 8 } else { 1 << 16 };
/// So many rows pass before it is tried again.
const PASSING_ROWS: usize = if cfg!(test) { 16 } else { 1 << 20 };

/// Decides whether rows are combined, by how few groups came of those that were.
pub(crate) struct Bypass {
    /// One accumulator an aggregate, to make the state of a single row. Empty where a row's states are no smaller than
    /// numbers (sketches, lists): then every row is combined.
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    rows: usize,
    groups: usize,
    passing: usize,
}

impl Bypass {
    pub fn new(grouping: &Grouping) -> Result<Bypass> {
        let small = grouping.keys() > 0
            && grouping.aggregates.iter().all(|aggregate| !aggregate.is_special())
            && grouping.states.types()?.iter().all(|data_type| data_type.is_primitive());
        let combined = if small { grouping.aggregates.as_slice() } else { &[] };
        let accumulators = combined.iter().map(Aggregate::accumulator).collect::<Result<_>>()?;
        Ok(Bypass { accumulators, rows: 0, groups: 0, passing: 0 })
    }

    /// Takes note that `groups` groups came new of `rows` rows that were combined.
    pub fn combined(&mut self, rows: usize, groups: usize) {
        self.rows += rows;
        self.groups += groups;
        if self.rows >= SAMPLE_ROWS {
            let worth_it = self.groups < self.rows / 4 * 3 || self.accumulators.is_empty();
            self.passing = if worth_it { 0 } else { PASSING_ROWS };
            (self.rows, self.groups) = (0, 0);
        }
    }

    /// The keys and the states of each row of `values`, if these rows are to pass.
    pub fn pass(&mut self, grouping: &Grouping, values: &[ArrayRef], rows: usize) -> Result<Option<Vec<ArrayRef>>> {
        if self.passing == 0 {
            return Ok(None);
        }
        self.passing = self.passing.saturating_sub(rows);
        let (keys, mut values) = values.split_at(grouping.keys());
        let mut columns = keys.to_vec();
        for (aggregate, accumulator) in grouping.aggregates.iter().zip(&self.accumulators) {
            let (own, rest) = values.split_at(aggregate.exprs().len());
            let (own, filter) = aggregate.split_filter(own)?;
            columns.extend(accumulator.convert_to_state(own, filter.as_ref()).map_err(fault)?);
            values = rest;
        }
        Ok(Some(columns))
    }
}
