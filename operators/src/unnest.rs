//! `unnest(list)`: each row once for every element of one of its lists. Keeps no state.

use crate::operator::{Operator, Output, Times};
use crate::plan::Plan;
use crate::rows::Rows;
use arrow::array::{Array, AsArray, RecordBatch, UInt32Array, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::SchemaRef;
use std::fmt;
use thalweg_schemas::epoch::Epoch;
use thalweg_schemas::error::Result;

/// `SELECT .., unnest(list) FROM ..`.
#[derive(Clone, Debug)]
pub struct UnnestSpec {
    /// Where the rows come from.
    pub input: Box<Plan>,
    /// The column of `input` with the lists. A row with an empty list, or with NULL, is gone.
    pub column: usize,
    /// The columns of `input`, with elements in place of the lists.
    pub schema: SchemaRef,
}

impl fmt::Display for UnnestSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unnest {}", self.input.schema().field(self.column).name())
    }
}

/// Carries out an [`UnnestSpec`].
pub struct Unnest {
    column: usize,
    schema: SchemaRef,
}

impl Unnest {
    /// The operator that `spec` asks for.
    pub fn new(spec: &UnnestSpec) -> Result<Unnest> {
        Ok(Unnest { column: spec.column, schema: spec.schema.clone() })
    }
}

impl Operator for Unnest {
    const EAGER: bool = true;

    fn process(&mut self, _epoch: Epoch, rows: Rows, output: &mut Output) -> Result<()> {
        let bound = rows.late_bound();
        let Some(batch) = rows.into_batch() else { return Ok(()) };
        let lists = batch.rows.column(self.column).as_list::<i32>().clone();
        let (mut rows, mut elements) = (Vec::new(), Vec::new());
        for row in (0..lists.len()).filter(|row| lists.is_valid(*row)) {
            let within = lists.value_offsets()[row]..lists.value_offsets()[row + 1];
            rows.extend(within.clone().map(|_| row as u64));
            elements.extend(within.map(|at| at as u32));
        }
        let batch = batch.take(&UInt64Array::from(rows))?;
        let mut columns = batch.rows.columns().to_vec();
        columns[self.column] = take(lists.values(), &UInt32Array::from(elements), None)?;
        let unnested = RecordBatch::try_new(self.schema.clone(), columns)?;
        output.send(0, Rows::new(batch.with_rows(unnested), bound));
        Ok(())
    }

    fn finish_epoch(&mut self, _epoch: Epoch, _times: Times, _output: &mut Output) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, ListArray};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use std::sync::Arc;
    use thalweg_schemas::batch::Batch;

    #[test]
    fn each_row_is_there_once_for_every_element() {
        let list = DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)));
        let fields = |item: DataType| vec![Field::new("l", item, true), Field::new("n", DataType::Int64, true)];
        let input = Arc::new(Schema::new(fields(list)));
        let spec = UnnestSpec {
            input: Box::new(Plan::Source { name: "s".into(), schema: input.clone() }),
            column: 0,
            schema: Arc::new(Schema::new(fields(DataType::Int64))),
        };
        assert_eq!(spec.to_string(), "Unnest l");
        let lists = [Some(vec![Some(1), None]), None, Some(vec![]), Some(vec![Some(4)])];
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists));
        let rows = RecordBatch::try_new(input, vec![lists, Arc::new(Int64Array::from(vec![10, 20, 30, 40]))]).unwrap();
        // A slice of lists still reaches into all elements.
        for (from, expected) in
            [(0, vec![(Some(1), 10, 1), (None, 10, 1), (Some(4), 40, -1)]), (2, vec![(Some(4), 40, -1)])]
        {
            let diffs = Int64Array::from(vec![1, 1, 1, -1]).slice(from, 4 - from);
            let changes = Batch::changes(rows.slice(from, 4 - from), diffs);
            let mut output = Output::default();
            Unnest::new(&spec).unwrap().process(Epoch(1), Rows::unbounded(changes), &mut output).unwrap();
            let batch = output.sent.remove(0).1.into_batch().unwrap();
            let column = |at: usize| batch.rows.column(at).as_primitive::<Int64Type>().iter();
            let said: Vec<_> =
                column(0).zip(column(1)).enumerate().map(|(row, (l, n))| (l, n.unwrap(), batch.diff(row))).collect();
            assert_eq!(said, expected);
        }
    }
}
