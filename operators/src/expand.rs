//! Grouping sets before they are grouped: each row once for every set, with NULL in place of the keys that the set leaves
//! out and the number of the set. Keeps no state.

use crate::evaluate::evaluate;
use crate::operator::{Operator, Output, Times};
use crate::plan::Plan;
use crate::rows::Rows;
use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::datatypes::SchemaRef;
use datafusion_common::ScalarValue;
use datafusion_physical_expr::PhysicalExpr;
use std::fmt;
use std::sync::Arc;
use thalweg_schemas::epoch::Epoch;
use thalweg_schemas::error::Result;

/// `GROUPING SETS`, `ROLLUP`, `CUBE`.
#[derive(Clone, Debug)]
pub struct ExpandSpec {
    /// Where the rows come from.
    pub input: Box<Plan>,
    /// The grouping expressions over the columns of `input`.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// The sets: for each, which of the keys it has, and its number.
    pub sets: Vec<GroupingSet>,
    /// The columns of `input`, then the keys (each may be NULL), then the number of the set.
    pub schema: SchemaRef,
}

/// One way to group.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupingSet {
    /// For each key, whether it is grouped by.
    pub has: Vec<bool>,
    /// What tells it from the other sets, in the type of the last column.
    pub number: ScalarValue,
}

impl fmt::Display for ExpandSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = |set: &GroupingSet| {
            let keys = self.keys.iter().zip(&set.has).filter(|(_, has)| **has).map(|(key, _)| key.to_string());
            format!("({})", keys.collect::<Vec<_>>().join(", "))
        };
        write!(f, "Expand {}", self.sets.iter().map(set).collect::<Vec<_>>().join(", "))
    }
}

/// Carries out an [`ExpandSpec`].
pub struct Expand {
    keys: Vec<Arc<dyn PhysicalExpr>>,
    sets: Vec<GroupingSet>,
    schema: SchemaRef,
}

impl Expand {
    /// The operator that `spec` asks for.
    pub fn new(spec: &ExpandSpec) -> Result<Expand> {
        Ok(Expand { keys: spec.keys.clone(), sets: spec.sets.clone(), schema: spec.schema.clone() })
    }
}

impl Operator for Expand {
    const EAGER: bool = true;

    fn process(&mut self, _epoch: Epoch, rows: Rows, output: &mut Output) -> Result<()> {
        let bound = rows.late_bound();
        let Some(batch) = rows.into_batch() else { return Ok(()) };
        let (batch, keys) = evaluate(&self.keys, batch, &mut output.dead)?;
        for set in &self.sets {
            let mut columns = batch.rows.columns().to_vec();
            let key = |(key, has): (&ArrayRef, &bool)| {
                if *has { key.clone() } else { new_null_array(key.data_type(), key.len()) }
            };
            columns.extend(keys.iter().zip(&set.has).map(key));
            columns.push(set.number.to_array_of_size(batch.num_rows()).map_err(crate::evaluate::fault)?);
            let expanded = RecordBatch::try_new(self.schema.clone(), columns)?;
            output.send(0, Rows::new(batch.with_rows(expanded), bound));
        }
        Ok(())
    }

    fn finish_epoch(&mut self, _epoch: Epoch, _times: Times, _output: &mut Output) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Schema, UInt8Type};
    use datafusion_physical_expr::expressions::col;
    use thalweg_schemas::batch::Batch;

    #[test]
    fn each_row_is_there_once_for_every_set() {
        let name = Field::new("name", DataType::Utf8, true);
        let input = Arc::new(Schema::new(vec![name.clone()]));
        let schema = Arc::new(Schema::new(vec![name.clone(), name, Field::new("set", DataType::UInt8, false)]));
        let set = |has, number| GroupingSet { has: vec![has], number: ScalarValue::UInt8(Some(number)) };
        let spec = ExpandSpec {
            keys: vec![col("name", &input).unwrap()],
            input: Box::new(Plan::Source { name: "s".into(), schema: input.clone() }),
            sets: vec![set(true, 0), set(false, 1)],
            schema,
        };
        assert_eq!(spec.to_string(), "Expand (name@0), ()");
        let rows = RecordBatch::try_new(input, vec![Arc::new(StringArray::from(vec!["a", "b"]))]).unwrap();
        let changes = Batch::changes(rows, Int64Array::from(vec![1, -1]));
        let mut output = Output::default();
        Expand::new(&spec).unwrap().process(Epoch(1), Rows::unbounded(changes), &mut output).unwrap();
        let mut said = Vec::new();
        for (_, rows) in output.sent {
            let batch = rows.into_batch().unwrap();
            let (names, keys) = (batch.rows.column(0).as_string::<i32>(), batch.rows.column(1).as_string::<i32>());
            let sets = batch.rows.column(2).as_primitive::<UInt8Type>();
            for row in 0..batch.num_rows() {
                let key = keys.iter().nth(row).flatten().unwrap_or("-");
                said.push(format!("{} {key} {} {}", names.value(row), sets.value(row), batch.diff(row)));
            }
        }
        assert_eq!(said, ["a a 0 1", "b b 0 -1", "a - 1 1", "b - 1 -1"]);
    }
}
