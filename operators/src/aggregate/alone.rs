//! A grouped accumulator with one group, as DataFusion wants it where nothing is grouped.

use arrow::array::ArrayRef;
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::{Accumulator, GroupsAccumulator};
use std::fmt;

/// A grouped accumulator that can be asked about its first group without giving it up: `OVER` asks after every row.
pub(super) trait Asked: GroupsAccumulator + Sync {
    /// What it is to a programmer.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;

    /// The answer of the first group.
    fn answer_of_first(&mut self) -> Result<ScalarValue>;

    /// The state of the first group.
    fn state_of_first(&mut self) -> Vec<u8>;
}

/// Its first group, alone.
pub(super) struct Alone<G>(pub G);

impl<G: Asked> fmt::Debug for Alone<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.show(f)
    }
}

impl<G: Asked> Accumulator for Alone<G> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let groups = vec![0; values[0].len()];
        self.0.update_batch(values, &groups, None, 1)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.0.answer_of_first()
    }

    fn size(&self) -> usize {
        size_of::<Self>() + GroupsAccumulator::size(&self.0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Binary(Some(self.0.state_of_first()))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let groups = vec![0; states[0].len()];
        self.0.merge_batch(states, &groups, 1)
    }
}
