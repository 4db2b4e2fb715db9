//! A changelog out of records that say what becomes of the row with their key: the last row of each key is kept, so that
//! it can be taken back when another comes in its place or when it is removed.
//!
//! Within an epoch the last record of a key counts. A record that says what is so already (a duplicate, the removal of a
//! row that is not there) changes nothing. State goes when the row does; a source whose keys keep coming is not bounded.
//! Of a table outside, which is read whole after each start, a record can also say that all rows before it are gone; such
//! rows are all on the first worker, so that one record reaches them.
//!
//! What it holds is what a view of its changes shows: it lends its rows to such a view ([`crate::arrangement`]).

use crate::aggregate::Part;
use crate::aggregate::emitted::Emitted;
use crate::aggregate::keyed::{KeyReader, Keys};
use crate::aggregate::table::Grouping;
use crate::arrangement::{Arrangement, Chunk};
use crate::operator::{Operator, Output, StateSize, Times};
use crate::rows::Rows;
use crate::state::{Restored, Section};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt64Array};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Column;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, Watermark};
use thalweg_schemas::error::Result;

/// Keeps the last row of each key. Its input is a batch whose differences say what each record does: `1` puts the row in
/// the place of the one with its key, `-1` removes the one with its key, `0` removes all rows (its columns mean nothing).
/// Port 0: every change, as a changelog.
pub struct Upsert {
    /// The columns of the key, then the others; each may be NULL, since nobody may want the values of a column.
    schema: SchemaRef,
    /// Where each column of `schema` is in the input.
    positions: Vec<usize>,
    /// Where each column of the input is in `schema`.
    places: Vec<usize>,
    key_columns: usize,
    keys: Keys,
    /// The rows, their keys among them, in the order of `schema`.
    rows: Emitted,
    arrived: Vec<Batch>,
    /// By how many columns rows are placed on workers.
    placed_by: usize,
    arrangement: Arrangement,
    /// What those who read the arrangement know the rows by.
    lent: SchemaRef,
}

impl Upsert {
    /// Over rows of `schema`, unique by the columns `key`.
    pub fn new(schema: &SchemaRef, key: &[usize]) -> Result<Upsert> {
        let others = (0..schema.fields().len()).filter(|at| !key.contains(at));
        let positions: Vec<usize> = key.iter().copied().chain(others).collect();
        let mut places = vec![0; positions.len()];
        positions.iter().enumerate().for_each(|(place, at)| places[*at] = place);
        let fields: Vec<_> = positions.iter().map(|at| schema.field(*at).clone().with_nullable(true)).collect();
        let columns =
            key.iter().map(|at| Arc::new(Column::new(schema.field(*at).name(), *at)) as Arc<dyn PhysicalExpr>);
        let grouping = Grouping::new(&columns.collect::<Vec<_>>(), &[], schema)?;
        let types: Vec<DataType> = fields.iter().map(|field: &Field| field.data_type().clone()).collect();
        Ok(Upsert {
            schema: Arc::new(Schema::new(fields)),
            positions,
            places,
            key_columns: key.len(),
            keys: Keys::new(grouping)?,
            rows: Emitted::new(types),
            arrived: Vec::new(),
            placed_by: key.len(),
            arrangement: Arrangement::default(),
            lent: schema.clone(),
        })
    }

    /// Where its rows are to be read.
    pub fn arrangement(&self) -> Arrangement {
        self.arrangement.clone()
    }

    /// The same for rows that are all on the first worker.
    pub fn on_one_worker(self) -> Upsert {
        Upsert { placed_by: 0, ..self }
    }

    /// What arrived, as one batch with the key in front, from behind the last record that removes all rows; and whether
    /// there was one.
    fn together(&mut self) -> Result<Option<(Batch, bool)>> {
        let arrived = std::mem::take(&mut self.arrived);
        if arrived.is_empty() {
            return Ok(None);
        }
        let (mut rows, mut diffs, mut all_removed) = (Vec::new(), Vec::new(), false);
        for batch in &arrived {
            let mut from = 0;
            if let Some(at) = (0..batch.num_rows()).rfind(|row| batch.diff(*row) == 0) {
                rows.clear();
                diffs.clear();
                (from, all_removed) = (at + 1, true);
            }
            let length = batch.num_rows() - from;
            let columns = self.positions.iter().map(|at| batch.rows.column(*at).slice(from, length)).collect();
            let options = RecordBatchOptions::new().with_row_count(Some(length));
            rows.push(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?);
            diffs.extend((from..batch.num_rows()).map(|row| batch.diff(row)));
        }
        Ok(Some((Batch::changes(concat_batches(&self.schema, &rows)?, diffs.into()), all_removed)))
    }

    fn send(&self, change: crate::aggregate::emitted::Change, output: &mut Output) -> Result<()> {
        let Some(batch) = change.into_batch(&self.schema, |_| Ok(Vec::new()))? else { return Ok(()) };
        let rows = batch.rows.project(&self.places)?;
        output.send(0, Rows::unbounded(Batch { rows, diffs: batch.diffs }));
        Ok(())
    }

    /// Lends the rows as `epoch` left them, if anybody reads them.
    fn lend(&mut self, epoch: Epoch) -> Result<()> {
        if !self.arrangement.is_read() {
            return Ok(());
        }
        let mut chunks = Vec::new();
        for (columns, live) in self.rows.rows_mut().lying() {
            let columns: Vec<ArrayRef> = self.places.iter().map(|place| columns[*place].clone()).collect();
            chunks.push(Chunk { rows: RecordBatch::try_new(self.lent.clone(), columns)?, live });
        }
        self.arrangement.lend(epoch, chunks);
        Ok(())
    }
}

impl Operator for Upsert {
    fn process(&mut self, _epoch: Epoch, rows: Rows, _output: &mut Output) -> Result<()> {
        self.arrived.extend(rows.into_batch());
        Ok(())
    }

    fn finish_epoch(&mut self, epoch: Epoch, _times: Times, output: &mut Output) -> Result<()> {
        let Some((batch, all_removed)) = self.together()? else { return Ok(()) };
        let values = batch.rows.columns();
        let numbers = self.keys.number(&values[..self.key_columns], batch.num_rows())?;
        // The last record of each key, in the order in which the keys came.
        let last: BTreeMap<u32, usize> = numbers.iter().enumerate().map(|(row, number)| (*number, row)).collect();
        let (mut there, mut at, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        for (number, row) in last {
            if batch.diff(row) > 0 {
                there.push(number);
                at.push(row as u64);
            } else {
                gone.push(number);
            }
        }
        if all_removed {
            let again: BTreeSet<u32> = there.iter().copied().collect();
            gone = (0..self.keys.len() as u32).filter(|number| !again.contains(number)).collect();
        }
        let new = self.rows.rows().missing(&there);
        let leaving: Vec<u32> = gone.into_iter().filter(|number| self.rows.rows().contains(*number)).collect();
        self.keys.hold(&new);
        let removed = self.rows.withdraw(&leaving)?;
        self.send(removed, output)?;
        if !there.is_empty() {
            // Rows of as many keys are as they came, and may be many.
            let values: Vec<ArrayRef> = match at.iter().copied().eq(0..batch.num_rows() as u64) {
                true => values.to_vec(),
                false => {
                    let at = UInt64Array::from(at);
                    values.iter().map(|c| take(c, &at, None)).collect::<Result<_, _>>()?
                }
            };
            let replaced = self.rows.replace(there, values)?;
            self.send(replaced, output)?;
        }
        self.keys.release(&leaving);
        if let Some(renamed) = self.keys.compact()? {
            self.rows.rename(&renamed);
        }
        if output.sent.is_empty() { Ok(()) } else { self.lend(epoch) }
    }

    fn snapshot(&mut self) -> Result<Vec<Section>> {
        self.rows.rows_mut().sections("rows", self.placed_by, || KeyReader::NONE)
    }

    fn restore(&mut self, sections: Vec<Restored>, _watermark: Watermark) -> Result<()> {
        for Restored { rows, .. } in sections.into_iter().filter(|section| section.rows.num_rows() > 0) {
            let numbers = self.keys.number(&rows.columns()[..self.key_columns], rows.num_rows())?;
            let new = self.rows.rows().missing(&numbers);
            self.rows.rows_mut().put(Part { numbers, states: rows.columns().to_vec() })?;
            self.keys.hold(&new);
        }
        // Before the first epoch of this run.
        self.lend(Epoch(0))
    }

    fn state(&self) -> StateSize {
        let bytes = self.rows.rows().size() + self.keys.size();
        StateSize { rows: self.rows.rows().len() as u64, bytes: bytes as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, Int64Array, StringArray};
    use arrow::datatypes::Int64Type;
    use proptest::prelude::*;

    /// Value, key, and whether it is removed.
    type Record = (i64, u8, bool);

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("value", DataType::Int64, false),
            Field::new("key", DataType::Utf8, false),
        ]))
    }

    fn batch(records: &[Record]) -> Batch {
        let values = Int64Array::from_iter(records.iter().map(|(value, _, removed)| (!removed).then_some(*value)));
        let keys = StringArray::from_iter_values(records.iter().map(|(_, key, _)| format!("key {key}")));
        let lax =
            Schema::new(schema().fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect::<Vec<_>>());
        let rows = RecordBatch::try_new(Arc::new(lax), vec![Arc::new(values), Arc::new(keys)]).unwrap();
        Batch::changes(
            rows,
            records.iter().map(|(_, _, removed)| if *removed { -1 } else { 1 }).collect::<Vec<i64>>().into(),
        )
    }

    /// Runs one epoch; what it says, row by row.
    fn epoch(operator: &mut Upsert, pieces: &[&[Record]]) -> Vec<(String, i64, i64)> {
        let mut output = Output::default();
        for piece in pieces {
            operator.process(Epoch(1), Rows::unbounded(batch(piece)), &mut output).unwrap();
        }
        let times = Times { before: Watermark::MIN, now: Watermark::MIN, reached: Watermark::MIN };
        operator.finish_epoch(Epoch(1), times, &mut output).unwrap();
        let mut said = Vec::new();
        for (_, rows) in output.sent {
            let batch = rows.into_batch().unwrap();
            assert_eq!(batch.schema().field(0).name(), "value");
            let values = batch.rows.column(0).as_primitive::<Int64Type>();
            let keys = batch.rows.column(1).as_string::<i32>();
            said.extend((0..batch.num_rows()).map(|r| (keys.value(r).to_string(), values.value(r), batch.diff(r))));
        }
        said
    }

    /// The rows as they are lent after the first epoch, by key.
    fn lent(operator: &Upsert) -> BTreeMap<String, i64> {
        let mut lent = BTreeMap::new();
        for chunk in operator.arrangement.as_of(Epoch(1)) {
            let rows = chunk.live_rows().unwrap();
            assert_eq!(rows.schema(), schema());
            let (values, keys) = (rows.column(0).as_primitive::<Int64Type>(), rows.column(1).as_string::<i32>());
            for row in 0..rows.num_rows() {
                assert_eq!(lent.insert(keys.value(row).to_string(), values.value(row)), None, "a key has one row");
            }
        }
        lent
    }

    fn said(key: u8, value: i64, diff: i64) -> (String, i64, i64) {
        (format!("key {key}"), value, diff)
    }

    #[test]
    fn a_row_takes_the_place_of_the_one_with_its_key() {
        let mut operator = Upsert::new(&schema(), &[1]).unwrap();
        assert_eq!(epoch(&mut operator, &[&[(1, 1, false), (2, 2, false)]]), [said(1, 1, 1), said(2, 2, 1)]);
        assert_eq!(epoch(&mut operator, &[&[(3, 1, false)]]), [said(1, 1, -1), said(1, 3, 1)]);
        assert_eq!(epoch(&mut operator, &[&[(0, 2, true)]]), [said(2, 2, -1)]);
        assert_eq!(operator.state().rows, 1);
    }

    #[test]
    fn what_is_so_already_changes_nothing() {
        let mut operator = Upsert::new(&schema(), &[1]).unwrap();
        assert_eq!(epoch(&mut operator, &[&[(0, 7, true)]]), []);
        assert_eq!(epoch(&mut operator, &[&[(1, 1, false)], &[(1, 1, false)]]), [said(1, 1, 1)]);
        assert_eq!(epoch(&mut operator, &[&[(1, 1, false)]]), []);
        assert_eq!(epoch(&mut operator, &[&[(2, 1, false), (0, 1, true), (1, 1, false)]]), []);
    }

    #[test]
    fn a_table_read_anew_replaces_all_rows_and_says_only_what_changed() {
        let read = |records: &[Record]| {
            let records: Vec<Record> = [(0, 0, false)].iter().chain(records).copied().collect();
            let Batch { rows, .. } = batch(&records);
            let diffs: Vec<i64> = (0..records.len()).map(|row| i64::from(row > 0)).collect();
            Batch::changes(rows, diffs.into())
        };
        let mut operator = Upsert::new(&schema(), &[1]).unwrap().on_one_worker();
        let mut heard = |batches: Vec<Batch>| {
            let mut output = Output::default();
            for batch in batches {
                operator.process(Epoch(1), Rows::unbounded(batch), &mut output).unwrap();
            }
            let times = Times { before: Watermark::MIN, now: Watermark::MIN, reached: Watermark::MIN };
            operator.finish_epoch(Epoch(1), times, &mut output).unwrap();
            let mut said = Vec::new();
            for (_, rows) in output.sent {
                let batch = rows.into_batch().unwrap();
                let (values, keys) = (batch.rows.column(0).as_primitive::<Int64Type>(), batch.rows.column(1));
                let keys = keys.as_string::<i32>();
                said.extend((0..batch.num_rows()).map(|r| (keys.value(r).to_string(), values.value(r), batch.diff(r))));
            }
            said
        };
        assert_eq!(heard(vec![read(&[(1, 1, false), (2, 2, false)])]), [said(1, 1, 1), said(2, 2, 1)]);
        assert_eq!(heard(vec![read(&[(1, 1, false), (3, 3, false)])]), [said(2, 2, -1), said(3, 3, 1)]);
        // What came before in the same epoch is gone as well; what comes behind counts.
        let (before, behind) = (batch(&[(9, 9, false)]), batch(&[(5, 1, false)]));
        assert_eq!(heard(vec![before, read(&[(3, 3, false)]), behind]), [said(1, 1, -1), said(1, 5, 1)]);
        assert_eq!(heard(vec![read(&[])]), [said(1, 5, -1), said(3, 3, -1)]);
        assert_eq!(heard(vec![read(&[(4, 4, false)])]), [said(4, 4, 1)]);
        assert_eq!(operator.snapshot().unwrap().first().map(|section| section.keys), Some(0));
    }

    #[test]
    fn keys_that_are_gone_leave_nothing() {
        let mut operator = Upsert::new(&schema(), &[0]).unwrap();
        let mut largest = 0;
        for round in 0..20 {
            let records: Vec<Record> = (0..1_000).map(|n| (round * 1_000 + n, 1, false)).collect();
            epoch(&mut operator, &[&records]);
            largest = largest.max(operator.keys.len());
            let keys = Int64Array::from_iter_values(records.iter().map(|(value, ..)| *value));
            let gone =
                RecordBatch::try_new(schema(), vec![Arc::new(keys), Arc::new(StringArray::from(vec![""; 1_000]))]);
            let gone = Batch::changes(gone.unwrap(), vec![-1; 1_000].into());
            let mut output = Output::default();
            operator.process(Epoch(1), Rows::unbounded(gone), &mut output).unwrap();
            operator
                .finish_epoch(
                    Epoch(1),
                    Times { before: Watermark::MIN, now: Watermark::MIN, reached: Watermark::MIN },
                    &mut output,
                )
                .unwrap();
        }
        assert_eq!(operator.state().rows, 0);
        assert!(largest <= 4_000, "{largest} keys are kept");
    }

    /// Long enough for chunks to be put together, and for numbers to be given anew.
    #[test]
    fn what_is_lent_is_what_is_held_and_stays_as_it_was() {
        let mut operator = Upsert::new(&schema(), &[1]).unwrap();
        operator.arrangement.read();
        let (mut model, mut random, mut before) = (BTreeMap::new(), 7u64, None);
        for round in 0..400 {
            let mut records = Vec::new();
            for _ in 0..40 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let (key, removed) = ((random >> 56) as u8, (random >> 40).is_multiple_of(3));
                records.push((round, key, removed));
                let key = format!("key {key}");
                if removed {
                    model.remove(&key)
                } else {
                    model.insert(key, round)
                };
            }
            epoch(&mut operator, &[&records]);
            assert_eq!(lent(&operator), model);
            let chunks = operator.arrangement.as_of(Epoch(1));
            let rows = |chunks: &[Chunk]| chunks.iter().map(|chunk| chunk.live_rows().unwrap()).collect::<Vec<_>>();
            if let Some((chunks, then)) = before.replace((chunks.clone(), rows(&chunks))) {
                assert_eq!(rows(&chunks), then);
            }
        }
        let sections = operator.snapshot().unwrap().into_iter();
        let sections: Vec<_> =
            sections.map(|section| Restored { label: section.label, rows: (section.rows)().unwrap() }).collect();
        let mut restored = Upsert::new(&schema(), &[1]).unwrap();
        restored.arrangement.read();
        restored.restore(sections, Watermark::MIN).unwrap();
        assert_eq!(lent(&restored), model);
    }

    proptest! {
        #[test]
        fn the_changes_add_up_to_the_last_row_of_each_key(
            epochs in prop::collection::vec(prop::collection::vec((0..4i64, 0..5u8, any::<bool>()), 0..12), 0..12),
        ) {
            let mut operator = Upsert::new(&schema(), &[1]).unwrap();
            operator.arrangement.read();
            let (mut sum, mut last) = (BTreeMap::new(), BTreeMap::new());
            for records in epochs {
                let (front, back) = records.split_at(records.len() / 2);
                for (key, value, diff) in epoch(&mut operator, &[front, back]) {
                    *sum.entry((key, value)).or_insert(0) += diff;
                }
                for (value, key, removed) in records {
                    if removed { last.remove(&key) } else { last.insert(key, value) };
                }
                sum.retain(|_, times| *times != 0);
                let expected: BTreeMap<_, _> = last.iter().map(|(k, v)| ((format!("key {k}"), *v), 1)).collect();
                prop_assert_eq!(&sum, &expected);
                let rows: BTreeMap<_, _> = expected.into_keys().collect();
                prop_assert_eq!(lent(&operator), rows);
            }
        }
    }
}
