//! Groups over a changelog: the rows of each group are kept, and changed groups computed anew.

use super::ReduceSpec;
use crate::aggregate::emitted::Emitted;
use crate::aggregate::keyed::Keys;
use crate::aggregate::number_groups;
use crate::aggregate::table::{GroupTable, Grouping};
use crate::operator::{Operator, Output, StateSize, Times};
use crate::rows::Rows;
use crate::state::{Restored, Section, fresh_id, unnamed};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::row::{OwnedRow, RowConverter, SortField};
use std::collections::BTreeMap;
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

/// Keeps the rows of each group. Port 0: every change.
pub struct ReduceRows {
    schema: SchemaRef,
    grouping: Grouping,
    keys: Keys,
    arguments: RowConverter,
    /// The rows of each group as their encoded arguments, with how often each is there.
    groups: BTreeMap<u32, BTreeMap<OwnedRow, i64>>,
    /// Another one after every change of `groups`.
    rows_id: u64,
    emitted: Emitted,
    arrived: Vec<Batch>,
    owes_first: bool,
}

impl ReduceRows {
    /// The second phase of what `spec` asks for. Of a group without keys only the worker that `owns` it speaks.
    pub fn new(spec: &ReduceSpec, owns: bool) -> Result<ReduceRows> {
        let input = spec.input.schema();
        let grouping = Grouping::new(&spec.keys, &spec.aggregates, &input)?;
        let key_columns = grouping.keys();
        let types: Vec<DataType> = spec.schema.fields()[key_columns..].iter().map(|f| f.data_type().clone()).collect();
        let fields = grouping.exprs[key_columns..]
            .iter()
            .map(|expr| Ok(SortField::new(expr.data_type(&input).map_err(crate::evaluate::fault)?)));
        let mut fields = fields.collect::<Result<Vec<_>>>()?;
        if fields.is_empty() {
            fields.push(SortField::new(DataType::Boolean));
        }
        Ok(ReduceRows {
            schema: spec.schema.clone(),
            arguments: RowConverter::new(fields)?,
            emitted: Emitted::new(types),
            keys: Keys::new(grouping.clone())?,
            owes_first: key_columns == 0 && owns,
            grouping,
            groups: BTreeMap::new(),
            rows_id: fresh_id(),
            arrived: Vec::new(),
        })
    }

    /// Takes in the changes of one batch; gives the groups that they concern.
    fn take_in(&mut self, batch: &Batch) -> Result<Vec<u32>> {
        let (keys, arguments) = batch.rows.columns().split_at(self.grouping.keys());
        // Without aggregates (DISTINCT) all rows of a group are alike.
        let alike = [new_null_array(&DataType::Boolean, batch.num_rows())];
        let arguments = if arguments.is_empty() { alike.as_slice() } else { arguments };
        let one = || Int64Array::from(vec![1; batch.num_rows()]);
        self.count(keys, arguments, &batch.diffs.clone().unwrap_or_else(one), batch.num_rows())
    }

    /// Counts rows, each with its difference; gives the groups that they are of.
    fn count(
        &mut self,
        keys: &[ArrayRef],
        arguments: &[ArrayRef],
        diffs: &Int64Array,
        rows: usize,
    ) -> Result<Vec<u32>> {
        let numbers = self.keys.number(keys, rows)?;
        let rows = self.arguments.convert_columns(arguments)?;
        self.rows_id = fresh_id();
        for (row, number) in numbers.iter().enumerate() {
            let key = rows.row(row).owned();
            let group = self.groups.entry(*number).or_default();
            let times = group.entry(key.clone()).or_default();
            *times += diffs.value(row);
            if *times == 0 {
                group.remove(&key);
            }
        }
        Ok(numbers)
    }

    /// All rows: their keys, their arguments, and how often each is there.
    fn held_rows(&self) -> Result<RecordBatch> {
        let all = || self.groups.iter().flat_map(|(number, group)| group.iter().map(move |row| (*number, row)));
        let mut columns = self.keys.values(&all().map(|(number, _)| number).collect::<Vec<_>>())?;
        columns.extend(self.arguments.convert_rows(all().map(|(_, (row, _))| row.row()))?);
        columns.push(Arc::new(Int64Array::from_iter_values(all().map(|(_, (_, times))| *times))));
        let rows = columns[0].len();
        unnamed(columns, rows)
    }

    fn restore_rows(&mut self, rows: &RecordBatch) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let (times, columns) = rows.columns().split_last().ok_or_else(|| Error::bug("rows without a count"))?;
        let (keys, arguments) = columns.split_at(self.grouping.keys());
        self.count(keys, arguments, times.as_primitive::<Int64Type>(), rows.num_rows()).map(drop)
    }

    /// The results of `numbers` from their rows.
    fn results(&self, numbers: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut table = GroupTable::new(&self.grouping)?;
        let (mut rows, mut owners) = (Vec::new(), Vec::new());
        for (position, number) in numbers.iter().enumerate() {
            for (row, times) in self.groups.get(number).into_iter().flatten() {
                let times = usize::try_from(*times)
                    .map_err(|_| Error::bug("a group was told to retract a row that is not in it"))?;
                rows.extend(std::iter::repeat_n(row.row(), times));
                owners.extend(std::iter::repeat_n(position, times));
            }
        }
        if rows.is_empty() && self.grouping.keys() == 0 {
            return self.grouping.states.of_nothing();
        }
        let values = self.arguments.convert_rows(rows)?;
        table.add_to_groups(&self.grouping, &values, &owners, numbers.len())?;
        table.results()
    }
}

impl Operator for ReduceRows {
    fn process(&mut self, _epoch: Epoch, rows: Rows, _output: &mut Output) -> Result<()> {
        self.arrived.extend(rows.into_batch());
        Ok(())
    }

    fn finish_epoch(&mut self, _epoch: Epoch, _times: Times, output: &mut Output) -> Result<()> {
        let mut touched = Vec::new();
        for batch in std::mem::take(&mut self.arrived) {
            touched.extend(self.take_in(&batch)?);
        }
        if touched.is_empty() && self.owes_first {
            touched = self.keys.number(&[], 1)?;
        }
        self.owes_first = false;
        let touched = number_groups(&touched).0;
        for number in &touched {
            if self.groups.get(number).is_some_and(BTreeMap::is_empty) {
                self.groups.remove(number);
            }
        }
        let keyless = self.grouping.keys() == 0;
        let (there, gone): (Vec<u32>, Vec<u32>) =
            touched.into_iter().partition(|number| keyless || self.groups.contains_key(number));
        let mut changes = vec![self.emitted.withdraw(&gone)?];
        if !there.is_empty() {
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

    fn snapshot(&mut self) -> Result<Vec<Section>> {
        let keys = self.grouping.keys();
        let rows = self.held_rows()?;
        let mut sections = self.keys.sections("result", self.emitted.rows_mut())?;
        sections.push(Section { label: "rows".into(), id: self.rows_id, keys, rows: Box::new(move || Ok(rows)) });
        Ok(sections)
    }

    fn restore(&mut self, sections: Vec<Restored>, _watermark: Watermark) -> Result<()> {
        for section in sections {
            match section.label.as_str() {
                "rows" => self.restore_rows(&section.rows)?,
                "result" => {
                    self.owes_first &= section.rows.num_rows() == 0;
                    self.keys.restore(&section.rows, self.emitted.rows_mut())?;
                }
                _ => return Err(section.unknown()),
            }
        }
        Ok(())
    }

    fn state(&self) -> StateSize {
        let rows = self.groups.values().map(BTreeMap::len).sum::<usize>() as u64;
        let bytes = self.groups.values().flatten().map(|(row, _)| row.as_ref().len() + 64).sum::<usize>();
        StateSize { rows, bytes: (bytes + self.emitted.rows().size() + self.keys.size()) as u64 }
    }
}
