//! Rows that stand for several: each is sent as often as one of its columns says. Keeps no state.

use crate::operator::{Operator, Output, Times};
use crate::plan::Plan;
use crate::rows::Rows;
use arrow::array::{Array, AsArray, RecordBatch, UInt64Array};
use arrow::datatypes::{Int64Type, SchemaRef};
use std::fmt;
use thalweg_schemas::epoch::Epoch;
use thalweg_schemas::error::Result;

/// Copies of rows: what counted rows that are alike stand for.
#[derive(Clone, Debug)]
pub struct RepeatSpec {
    /// Where the rows come from. Its last column, a BIGINT, says how often each is there; where it is NULL or not above
    /// zero, not at all.
    pub input: Box<Plan>,
    /// The columns of `input` without the last.
    pub schema: SchemaRef,
}

impl fmt::Display for RepeatSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Repeat by {}", self.input.schema().field(self.schema.fields().len()).name())
    }
}

/// Carries out a [`RepeatSpec`].
pub struct Repeat {
    schema: SchemaRef,
}

impl Repeat {
    /// The operator that `spec` asks for.
    pub fn new(spec: &RepeatSpec) -> Result<Repeat> {
        Ok(Repeat { schema: spec.schema.clone() })
    }
}

impl Operator for Repeat {
    const EAGER: bool = true;

    fn process(&mut self, _epoch: Epoch, rows: Rows, output: &mut Output) -> Result<()> {
        let bound = rows.late_bound();
        let Some(batch) = rows.into_batch() else { return Ok(()) };
        let width = self.schema.fields().len();
        let times = batch.rows.column(width).as_primitive::<Int64Type>();
        let copies = |row: usize| if times.is_null(row) { 0 } else { times.value(row).max(0) as usize };
        let rows = (0..batch.num_rows()).flat_map(|row| std::iter::repeat_n(row as u64, copies(row)));
        let batch = batch.take(&UInt64Array::from_iter_values(rows))?;
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let columns = batch.rows.columns()[..width].to_vec();
        let rows = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        output.send(0, Rows::new(batch.with_rows(rows), bound));
        Ok(())
    }

    fn finish_epoch(&mut self, _epoch: Epoch, _times: Times, _output: &mut Output) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use std::sync::Arc;
    use thalweg_schemas::batch::Batch;

    #[test]
    fn each_row_is_there_as_often_as_it_says() {
        let name = Field::new("name", DataType::Utf8, false);
        let input = Arc::new(Schema::new(vec![name.clone(), Field::new("times", DataType::Int64, true)]));
        let schema = Arc::new(Schema::new(vec![name]));
        let names = StringArray::from(vec!["a", "b", "c", "d"]);
        let times = Int64Array::from(vec![Some(2), Some(0), None, Some(1)]);
        let rows = RecordBatch::try_new(input.clone(), vec![Arc::new(names), Arc::new(times)]).unwrap();
        let source = Plan::Source { name: "s".into(), schema: input };
        let mut repeat = Repeat::new(&RepeatSpec { input: Box::new(source), schema }).unwrap();
        let mut output = Output::default();
        let changes = Batch::changes(rows, Int64Array::from(vec![-1, 1, 1, 1]));
        repeat.process(Epoch(1), Rows::unbounded(changes), &mut output).unwrap();
        let batch = output.sent.remove(0).1.into_batch().unwrap();
        let said: Vec<_> = batch.rows.column(0).as_string::<i32>().iter().map(Option::unwrap).collect();
        assert_eq!(said, ["a", "a", "d"]);
        assert_eq!(batch.diffs, Some(Int64Array::from(vec![-1, -1, 1])));
    }
}
