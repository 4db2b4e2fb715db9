//! A changelog as rows that only ever come, for systems that cannot take one back: each row says what it does to the row
//! with its key.
//!
//! ```text
//!   upsert     the columns, _deleted           the row that is now there; or, deleted, its key and NULL for the rest
//!   debezium   before, after, op, ts_ms        c: NULL, new    u: old, new    d: old, NULL
//! ```
//!
//! Within an epoch the changes of a key are added up, so that a reader sees one row a key and epoch; what was corrected
//! and corrected back says nothing. Rows of one key are on one worker and so keep their order. Nothing is kept from one
//! epoch to the next: where several rows have one key at a time, the last of an epoch counts.

use crate::operator::{Operator, Output, StateSize, Times};
use crate::plan::Plan;
use crate::rows::Rows;
use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, StructArray, UInt64Array};
use arrow::buffer::NullBuffer;
use arrow::compute::{concat_batches, take};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::Epoch;
use thalweg_schemas::error::Result;
use thalweg_schemas::sink::{DELETED, Envelope, EnvelopeKind};

/// What a sink of a changelog writes.
#[derive(Clone, Debug)]
pub struct EnvelopeSpec {
    /// Where the changes come from.
    pub input: Box<Plan>,
    /// How they are written, with the columns of `input` by which a row is found.
    pub envelope: Envelope,
    /// What comes out.
    pub schema: SchemaRef,
}

impl EnvelopeSpec {
    /// Over the changes of `input`.
    pub fn new(input: Plan, envelope: Envelope) -> EnvelopeSpec {
        let schema = EnvelopeSpec::schema_of(&input.schema(), &envelope);
        EnvelopeSpec { input: Box::new(input), envelope, schema }
    }

    /// The columns of what is written of rows of `schema`.
    fn schema_of(schema: &SchemaRef, envelope: &Envelope) -> SchemaRef {
        let fields: Vec<Field> = match envelope.kind {
            EnvelopeKind::Upsert => {
                let columns = schema.fields().iter().enumerate().map(|(at, field)| {
                    let nullable = field.is_nullable() || !envelope.key.contains(&at);
                    field.as_ref().clone().with_nullable(nullable)
                });
                columns.chain([Field::new(DELETED, DataType::Boolean, false)]).collect()
            }
            EnvelopeKind::Debezium => {
                let row = DataType::Struct(schema.fields().clone());
                vec![
                    Field::new("before", row.clone(), true),
                    Field::new("after", row, true),
                    Field::new("op", DataType::Utf8, false),
                    Field::new("ts_ms", DataType::Int64, false),
                ]
            }
        };
        Arc::new(Schema::new(fields))
    }
}

impl fmt::Display for EnvelopeSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = self.input.schema();
        let key: Vec<&str> = self.envelope.key.iter().map(|at| schema.field(*at).name().as_str()).collect();
        match key.as_slice() {
            [] => write!(f, "Envelope {} of rows without a key", self.envelope.kind),
            key => write!(f, "Envelope {} by ({})", self.envelope.kind, key.join(", ")),
        }
    }
}

/// Carries out an [`EnvelopeSpec`].
pub struct Enveloping {
    envelope: Envelope,
    input: SchemaRef,
    schema: SchemaRef,
    keys: RowConverter,
    rows: RowConverter,
    arrived: Vec<Batch>,
    tick_ns: i64,
}

/// What the changes of a key come to: the row that went, and the one that came.
#[derive(Clone, Copy, Debug, Default)]
struct Net {
    before: Option<u64>,
    after: Option<u64>,
}

impl Enveloping {
    /// The operator that `spec` asks for, in a run whose epochs are `tick_ns` nanoseconds long.
    pub fn new(spec: &EnvelopeSpec, tick_ns: i64) -> Result<Enveloping> {
        let input = spec.input.schema();
        let sorted = |at: usize| SortField::new(input.field(at).data_type().clone());
        Ok(Enveloping {
            keys: RowConverter::new(spec.envelope.key.iter().map(|at| sorted(*at)).collect())?,
            rows: RowConverter::new((0..input.fields().len()).map(sorted).collect())?,
            envelope: spec.envelope.clone(),
            schema: spec.schema.clone(),
            arrived: Vec::new(),
            input,
            tick_ns,
        })
    }

    /// What the changes of an epoch come to, in the order of the keys.
    fn net(&self, rows: &RecordBatch, diffs: &[i64]) -> Result<Vec<Net>> {
        let whole = self.rows.convert_columns(rows.columns())?;
        let keys: Vec<ArrayRef> = self.envelope.key.iter().map(|at| rows.column(*at).clone()).collect();
        // Without a key each row stands for itself.
        let keys = if keys.is_empty() { whole.clone() } else { self.keys.convert_columns(&keys)? };
        let mut sums: BTreeMap<_, BTreeMap<_, (i64, usize)>> = BTreeMap::new();
        for (row, diff) in diffs.iter().enumerate() {
            let (sum, last) = sums.entry(keys.row(row)).or_default().entry(whole.row(row)).or_insert((0, row));
            *sum += diff;
            *last = row;
        }
        let mut nets = Vec::new();
        for rows in sums.into_values() {
            let there = |wanted: i64| {
                let signed = rows.values().filter(move |(sum, _)| sum.signum() == wanted);
                signed.flat_map(|(sum, row)| std::iter::repeat_n(*row as u64, sum.unsigned_abs() as usize))
            };
            match (self.envelope.kind, self.envelope.key.is_empty()) {
                (EnvelopeKind::Debezium, true) => {
                    nets.extend(there(-1).map(|row| Net { before: Some(row), after: None }));
                    nets.extend(there(1).map(|row| Net { before: None, after: Some(row) }));
                }
                _ => nets.push(Net { before: there(-1).max(), after: there(1).max() }),
            }
        }
        nets.retain(|net| net.before.is_some() || net.after.is_some());
        // What goes comes first: where no key is known, a reader may know one.
        nets.sort_by_key(|net| net.after.is_some() && self.envelope.key.is_empty());
        Ok(nets)
    }

    fn upserts(&self, rows: &RecordBatch, nets: &[Net]) -> Result<RecordBatch> {
        let at: UInt64Array = nets.iter().map(|net| net.after.or(net.before)).collect();
        let kept: UInt64Array = nets.iter().map(|net| net.after).collect();
        let of_key = |column: usize| self.envelope.key.contains(&column);
        let columns = rows.columns().iter().enumerate();
        let mut columns = columns
            .map(|(place, column)| take(column, if of_key(place) { &at } else { &kept }, None))
            .collect::<Result<Vec<_>, _>>()?;
        columns.push(Arc::new(nets.iter().map(|net| Some(net.after.is_none())).collect::<BooleanArray>()));
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }

    fn changes(&self, rows: &RecordBatch, nets: &[Net], epoch: Epoch) -> Result<RecordBatch> {
        let op = |net: &Net| match net {
            Net { before: None, .. } => "c",
            Net { after: None, .. } => "d",
            Net { .. } => "u",
        };
        let millis = i64::try_from(epoch.0).unwrap_or(i64::MAX).saturating_mul(self.tick_ns / 1_000) / 1_000;
        let columns: Vec<ArrayRef> = vec![
            self.side(rows, nets, |net| net.before)?,
            self.side(rows, nets, |net| net.after)?,
            Arc::new(StringArray::from_iter_values(nets.iter().map(op))),
            Arc::new(Int64Array::from(vec![millis; nets.len()])),
        ];
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }

    /// The rows of one side, each as one value, NULL where there is none.
    fn side(&self, rows: &RecordBatch, nets: &[Net], of: impl Fn(&Net) -> Option<u64>) -> Result<ArrayRef> {
        let fields: Fields = self.input.fields().clone();
        let nulls: NullBuffer = nets.iter().map(|net| of(net).is_some()).collect();
        // Where there is no row any will do: it is hidden. So a column that is never NULL needs no NULL either.
        let some = nets.iter().find_map(&of).unwrap_or_default();
        let at = UInt64Array::from_iter_values(nets.iter().map(|net| of(net).unwrap_or(some)));
        let columns = rows.columns().iter().map(|column| take(column, &at, None)).collect::<Result<Vec<_>, _>>()?;
        Ok(Arc::new(StructArray::try_new(fields, columns, Some(nulls))?))
    }
}

impl Operator for Enveloping {
    fn process(&mut self, _epoch: Epoch, rows: Rows, _output: &mut Output) -> Result<()> {
        self.arrived.extend(rows.into_batch());
        Ok(())
    }

    fn finish_epoch(&mut self, epoch: Epoch, _times: Times, output: &mut Output) -> Result<()> {
        let arrived = std::mem::take(&mut self.arrived);
        let diffs: Vec<i64> = arrived.iter().flat_map(|batch| (0..batch.num_rows()).map(|r| batch.diff(r))).collect();
        if diffs.is_empty() {
            return Ok(());
        }
        let rows = concat_batches(&self.input, arrived.iter().map(|batch| &batch.rows))?;
        let nets = self.net(&rows, &diffs)?;
        let rows = match self.envelope.kind {
            EnvelopeKind::Upsert => self.upserts(&rows, &nets)?,
            EnvelopeKind::Debezium => self.changes(&rows, &nets, epoch)?,
        };
        output.send(0, Rows::unbounded(Batch::append(rows)));
        Ok(())
    }

    fn state(&self) -> StateSize {
        let (rows, bytes) = self.arrived.iter().fold((0, 0), |(r, b), x| (r + x.num_rows(), b + x.memory_size()));
        StateSize { rows: rows as u64, bytes: bytes as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    use arrow::json::LineDelimitedWriter;
    use proptest::prelude::*;
    use thalweg_schemas::epoch::Watermark;

    /// Host, number of requests, and whether it comes or goes.
    type Change = (&'static str, i64, i64);

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("host", DataType::Utf8, true), Field::new("n", DataType::Int64, false)]))
    }

    fn operator(kind: EnvelopeKind, key: &[usize]) -> Enveloping {
        let input = Plan::Source { name: "s".into(), schema: schema() };
        let spec = EnvelopeSpec::new(input, Envelope { kind, key: key.to_vec() });
        Enveloping::new(&spec, 50_000_000).unwrap()
    }

    fn batch(changes: &[Change]) -> Batch {
        let hosts: StringArray = changes.iter().map(|(host, ..)| Some(*host)).collect();
        let numbers: Int64Array = changes.iter().map(|(_, n, _)| Some(*n)).collect();
        let rows = RecordBatch::try_new(schema(), vec![Arc::new(hosts), Arc::new(numbers)]).unwrap();
        Batch::changes(rows, changes.iter().map(|(.., diff)| *diff).collect::<Vec<i64>>().into())
    }

    /// Runs one epoch, and hands over what it says.
    fn epoch(operator: &mut Enveloping, batches: &[Batch]) -> Option<RecordBatch> {
        let mut output = Output::default();
        for batch in batches {
            operator.process(Epoch(20), Rows::unbounded(batch.clone()), &mut output).unwrap();
        }
        let times = Times { before: Watermark::MIN, now: Watermark::MIN, reached: Watermark::MIN };
        operator.finish_epoch(Epoch(20), times, &mut output).unwrap();
        let said = output.sent.pop().map(|(_, rows)| rows.into_batch().unwrap());
        said.map(|batch| {
            assert!(batch.diffs.is_none(), "what is written only ever comes");
            batch.rows
        })
    }

    fn json(rows: Option<RecordBatch>) -> Vec<String> {
        let Some(rows) = rows else { return Vec::new() };
        let mut writer = LineDelimitedWriter::new(Vec::new());
        writer.write(&rows).unwrap();
        String::from_utf8(writer.into_inner()).unwrap().lines().map(str::to_string).collect()
    }

    #[test]
    fn an_upsert_is_the_row_that_is_there_or_the_key_of_the_one_that_went() {
        let mut upserts = operator(EnvelopeKind::Upsert, &[0]);
        let said = epoch(&mut upserts, &[batch(&[("b", 1, -1), ("b", 2, 1)]), batch(&[("a", 1, 1), ("c", 9, -1)])]);
        let expected = [
            r#"{"host":"a","n":1,"_deleted":false}"#,
            r#"{"host":"b","n":2,"_deleted":false}"#,
            r#"{"host":"c","_deleted":true}"#,
        ];
        assert_eq!(json(said), expected);
    }

    #[test]
    fn what_was_corrected_back_says_nothing() {
        let mut upserts = operator(EnvelopeKind::Upsert, &[0]);
        let said = epoch(&mut upserts, &[batch(&[("a", 1, -1), ("a", 2, 1), ("a", 2, -1), ("a", 1, 1)])]);
        assert_eq!(json(said), Vec::<String>::new());
        assert_eq!(json(epoch(&mut upserts, &[])), Vec::<String>::new());
        // The input appends: the last row of a key counts.
        let appended = Batch::append(batch(&[("a", 7, 1), ("a", 3, 1)]).rows);
        assert_eq!(json(epoch(&mut upserts, &[appended])), [r#"{"host":"a","n":3,"_deleted":false}"#]);
    }

    #[test]
    fn debezium_tells_what_was_and_what_is() {
        let mut changes = operator(EnvelopeKind::Debezium, &[0]);
        let said = epoch(&mut changes, &[batch(&[("b", 1, -1), ("b", 2, 1), ("a", 1, 1), ("c", 9, -1)])]);
        let expected = [
            r#"{"after":{"host":"a","n":1},"op":"c","ts_ms":1000}"#,
            r#"{"before":{"host":"b","n":1},"after":{"host":"b","n":2},"op":"u","ts_ms":1000}"#,
            r#"{"before":{"host":"c","n":9},"op":"d","ts_ms":1000}"#,
        ];
        assert_eq!(json(said), expected);
    }

    #[test]
    fn without_a_key_rows_go_and_come() {
        let mut changes = operator(EnvelopeKind::Debezium, &[]);
        let said = epoch(&mut changes, &[batch(&[("b", 1, -1), ("b", 2, 1), ("a", 1, 2)])]);
        let expected = [
            r#"{"before":{"host":"b","n":1},"op":"d","ts_ms":1000}"#,
            r#"{"after":{"host":"a","n":1},"op":"c","ts_ms":1000}"#,
            r#"{"after":{"host":"a","n":1},"op":"c","ts_ms":1000}"#,
            r#"{"after":{"host":"b","n":2},"op":"c","ts_ms":1000}"#,
        ];
        assert_eq!(json(said), expected);
    }

    proptest! {
        /// Whoever applies what is written, row by row, holds what the changelog adds up to.
        #[test]
        fn the_rows_add_up(epochs in prop::collection::vec(prop::collection::vec((0..4usize, 0..3i64), 0..9), 0..9)) {
            const HOSTS: [&str; 4] = ["a", "b", "c", "d"];
            let (mut upserts, mut there, mut held) = (operator(EnvelopeKind::Upsert, &[0]), [0i64; 4], BTreeMap::new());
            for values in epochs {
                let mut changes: Vec<Change> = Vec::new();
                for (host, n) in values {
                    // Zero stands for no row.
                    if there[host] != 0 { changes.push((HOSTS[host], there[host], -1)); }
                    if n != 0 { changes.push((HOSTS[host], n, 1)); }
                    there[host] = n;
                }
                let (front, back) = changes.split_at(changes.len() / 2);
                let Some(rows) = epoch(&mut upserts, &[batch(front), batch(back)]) else { continue };
                let (hosts, n) = (rows.column(0).as_string::<i32>(), rows.column(1).as_primitive::<Int64Type>());
                for row in 0..rows.num_rows() {
                    match rows.column(2).as_boolean().value(row) {
                        true => held.remove(hosts.value(row)),
                        false => held.insert(hosts.value(row).to_string(), n.value(row)),
                    };
                }
                let expected = HOSTS.iter().zip(there).filter(|(_, n)| *n != 0);
                prop_assert_eq!(&held, &expected.map(|(host, n)| (host.to_string(), n)).collect::<BTreeMap<_, _>>());
            }
        }
    }
}
