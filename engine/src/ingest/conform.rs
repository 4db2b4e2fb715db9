//! From rows as they were decoded to rows as they were declared: columns in order and of the declared types, metadata
//! and generated columns filled in, NULL where it is allowed and nowhere else.

use super::raw_of;
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
    TimestampNanosecondArray, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options, filter, filter_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use std::sync::Arc;
use thalweg_operators::evaluate::evaluate_rows;
use thalweg_operators::plan::SourcePlan;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::format::{BadRecord, Decoded};
use thalweg_schemas::messages::{Message, Messages};
use thalweg_schemas::table::{Metadata, Origin, schema_of};

/// What is known of a chunk besides its records.
#[derive(Clone, Copy)]
pub(super) struct Facts<'a> {
    pub source: &'a str,
    pub partition: &'a str,
    /// Offset of its first record.
    pub start: u64,
    /// Beginning of the epoch.
    pub now_ns: i64,
}

/// Brings rows into the declared form.
pub(super) struct Conform {
    plan: SourcePlan,
    /// The declared columns; in a changelog one more, with the differences, so that they stay with their rows.
    schema: SchemaRef,
}

/// What is known of each row besides its fields; empty lists where nothing is.
#[derive(Default)]
struct PerRow<'a> {
    offsets: &'a [u64],
    keys: Option<ArrayRef>,
    headers: Option<ArrayRef>,
    /// What becomes of it, in a changelog.
    diffs: Option<Int64Array>,
}

impl Conform {
    pub fn new(plan: &SourcePlan) -> Conform {
        let mut schema = schema_of(&plan.columns);
        if !plan.key.is_empty() {
            let diff = Arc::new(Field::new("\u{0}diff", DataType::Int64, false));
            schema = Arc::new(Schema::new(schema.fields().iter().cloned().chain([diff]).collect::<Vec<_>>()));
        }
        Conform { schema, plan: plan.clone() }
    }

    /// Rows in the declared form, as the dataflow takes them.
    pub fn batch(&self, mut rows: RecordBatch) -> Batch {
        if self.plan.key.is_empty() {
            return Batch::append(rows);
        }
        let diffs = rows.remove_column(self.plan.columns.len());
        Batch::changes(rows, diffs.as_primitive::<Int64Type>().clone())
    }

    /// Rows from a decoder: the fields in declared order, checked already. A row and its message have the same offset.
    pub fn decoded(
        &self,
        decoded: Decoded,
        messages: Option<&Messages>,
        facts: Facts<'_>,
        bad: &mut Vec<BadRecord>,
    ) -> Result<RecordBatch> {
        let Decoded { rows, diffs, offsets, .. } = decoded;
        let named = |metadata| self.plan.columns.iter().any(|c| c.origin == Origin::Metadata(metadata));
        let keys = messages.filter(|_| named(Metadata::Key)).map(|messages| -> ArrayRef {
            Arc::new(each_row(&offsets, messages).map(|(_, message)| message.key).collect::<BinaryArray>())
        });
        let headers = messages.filter(|_| named(Metadata::Headers)).map(|messages| -> ArrayRef {
            let texts = each_row(&offsets, messages).map(|(index, _)| headers_json(messages.headers(index)));
            Arc::new(texts.collect::<StringArray>())
        });
        self.complete(rows, PerRow { offsets: &offsets, keys, headers, diffs }, facts, bad)
    }

    /// Rows that were typed outside: columns by name, cast to the declared types. `diffs` say what becomes of each, where
    /// that is known.
    pub fn typed(
        &self,
        rows: &RecordBatch,
        diffs: Option<&Int64Array>,
        facts: Facts<'_>,
        bad: &mut Vec<BadRecord>,
    ) -> Result<RecordBatch> {
        let mut good = vec![true; rows.num_rows()];
        // Of a row that is removed only the key counts, and that was judged when it came.
        let removed = |row: usize| diffs.is_some_and(|diffs| diffs.value(row) <= 0);
        let mut columns = Vec::new();
        let mut fields = Vec::new();
        let lenient = CastOptions { safe: true, ..CastOptions::default() };
        for (column, wanted) in self.plan.columns.iter().zip(&self.plan.wanted) {
            if column.origin != Origin::Field {
                continue;
            }
            fields.push(arrow::datatypes::Field::new(&column.name, column.data_type.clone(), true));
            let given = rows.column_by_name(&column.name);
            let array = match given {
                Some(given) if given.data_type() == &column.data_type => given.clone(),
                Some(given) => cast_with_options(given, &column.data_type, &lenient).map_err(|_| {
                    Error::data(format!(
                        "column \"{}\" has type {} in {}, which cannot become {}",
                        column.name,
                        given.data_type(),
                        facts.partition,
                        column.data_type,
                    ))
                    .with_hint(format!("Declare the column of source \"{}\" with that type.", facts.source))
                })?,
                None => new_null_array(&column.data_type, rows.num_rows()),
            };
            // A connector may leave out what nobody wants; then nothing is known of its NULLs.
            let known = wanted.any() || given.is_some();
            let none_lost = given.is_none_or(|given| given.null_count() == array.null_count());
            if none_lost && (array.null_count() == 0 || column.nullable || !known) {
                columns.push(array);
                continue;
            }
            for (row, good) in good.iter_mut().enumerate().filter(|(row, _)| !removed(*row)) {
                let reason = match given {
                    Some(given) if array.is_null(row) && !given.is_null(row) => {
                        let value = arrow::util::display::array_value_to_string(given, row).unwrap_or_default();
                        format!("column \"{}\": '{value}' does not fit type {}", column.name, column.data_type)
                    }
                    _ if known && !column.nullable && array.is_null(row) => not_null(&column.name),
                    _ => continue,
                };
                if std::mem::replace(good, false) {
                    let offset = facts.start + row as u64;
                    bad.push(BadRecord { offset, raw: raw_of(rows, row), reason });
                }
            }
            columns.push(array);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let schema = Arc::new(arrow::datatypes::Schema::new(fields));
        let typed = RecordBatch::try_new_with_options(schema, columns, &options)?;
        let offsets: Vec<u64> =
            (0..typed.num_rows() as u64).filter(|&r| good[r as usize]).map(|r| facts.start + r).collect();
        let (mut typed, mut diffs) = (typed, diffs.cloned());
        if good.contains(&false) {
            let good = BooleanArray::from(good);
            typed = filter_record_batch(&typed, &good)?;
            let filtered = diffs.map(|diffs| filter(&diffs, &good)).transpose()?;
            diffs = filtered.map(|diffs| diffs.as_primitive::<Int64Type>().clone());
        }
        self.complete(typed, PerRow { offsets: &offsets, diffs, ..PerRow::default() }, facts, bad)
    }

    /// Puts metadata and generated columns beside the fields, which come in declared order.
    fn complete(
        &self,
        fields: RecordBatch,
        per_row: PerRow<'_>,
        facts: Facts<'_>,
        bad: &mut Vec<BadRecord>,
    ) -> Result<RecordBatch> {
        let rows = fields.num_rows();
        let mut given = fields.columns().iter();
        let columns = self.plan.columns.iter().map(|column| {
            Ok(match column.origin {
                Origin::Field => given.next().cloned().ok_or_else(|| Error::bug("a decoder left out a field"))?,
                Origin::Metadata(metadata) => {
                    let array = metadata_column(metadata, rows, &per_row, facts);
                    if (metadata, &column.data_type) == (Metadata::Key, &DataType::Utf8) {
                        return Ok(as_text(array.as_binary()));
                    }
                    cast_with_options(&array, &column.data_type, &CastOptions::default())?
                }
                Origin::Generated => new_null_array(&column.data_type, rows),
            })
        });
        let mut columns: Vec<ArrayRef> = columns.collect::<Result<_>>()?;
        if !self.plan.key.is_empty() {
            // Rows that say nothing of it are there from now on.
            let diffs = per_row.diffs.clone().unwrap_or_else(|| Int64Array::from(vec![1; rows]));
            columns.push(Arc::new(diffs));
        }
        if self.plan.generated.is_empty() {
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            return Ok(lax_batch(&self.schema, columns, &options)?);
        }
        self.generate(columns, rows, &per_row, facts, bad)
    }

    /// Computes the generated columns; rows for which that fails, or that are NULL where they must not be, are bad.
    fn generate(
        &self,
        columns: Vec<ArrayRef>,
        rows: usize,
        per_row: &PerRow<'_>,
        facts: Facts<'_>,
        bad: &mut Vec<BadRecord>,
    ) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let nullable = Arc::new(all_nullable(&self.schema));
        let mut batch = RecordBatch::try_new_with_options(nullable.clone(), columns, &options)?;
        let mut offsets = per_row.offsets.to_vec();
        offsets.resize(rows, facts.start);
        for (position, expr) in &self.plan.generated {
            let (values, failed) = evaluate_rows(expr, &batch)?;
            let column = &self.plan.columns[*position];
            let mut columns = batch.columns().to_vec();
            columns[*position] = cast_with_options(&values, &column.data_type, &CastOptions::default())?;
            let computed = RecordBatch::try_new(nullable.clone(), columns)?;
            let mut reasons: Vec<Option<String>> = vec![None; computed.num_rows()];
            // Of a row that is removed only the key counts.
            let removed = |row: usize| match computed.columns().get(self.plan.columns.len()) {
                Some(diffs) => diffs.as_primitive::<Int64Type>().value(row) <= 0,
                None => false,
            };
            for (row, reason) in failed.into_iter().filter(|(row, _)| !removed(*row)) {
                reasons[row] = Some(format!("column \"{}\": {reason}", column.name));
            }
            for (row, reason) in reasons.iter_mut().enumerate() {
                if reason.is_none() && !column.nullable && computed.column(*position).is_null(row) && !removed(row) {
                    *reason = Some(not_null(&column.name));
                }
            }
            for (row, reason) in reasons.iter().enumerate() {
                if let Some(reason) = reason {
                    bad.push(BadRecord { offset: offsets[row], raw: raw_of(&batch, row), reason: reason.clone() });
                }
            }
            let keep = BooleanArray::from_iter(reasons.iter().map(|r| Some(r.is_none())));
            let mut kept = reasons.iter().map(Option::is_none);
            offsets.retain(|_| kept.next().unwrap_or(true));
            batch = filter_record_batch(&computed, &keep)?;
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(lax_batch(&self.schema, batch.columns().to_vec(), &options)?)
    }
}

/// A batch of the declared schema. Columns that nobody wants may be all NULL even where NULL is not allowed: their
/// values were checked and not kept, so the schema says nullable for exactly those.
fn lax_batch(
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
    options: &RecordBatchOptions,
) -> Result<RecordBatch, arrow::error::ArrowError> {
    let lax = schema.fields().iter().zip(&columns).any(|(f, c)| !f.is_nullable() && c.null_count() > 0);
    let schema = if lax { Arc::new(all_nullable(schema)) } else { schema.clone() };
    RecordBatch::try_new_with_options(schema, columns, options)
}

fn all_nullable(schema: &SchemaRef) -> arrow::datatypes::Schema {
    let fields = schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true));
    arrow::datatypes::Schema::new(fields.collect::<Vec<_>>())
}

fn not_null(column: &str) -> String {
    format!("column \"{column}\" is NULL but declared NOT NULL")
}

/// Bytes as text, wrong ones replaced.
fn as_text(bytes: &BinaryArray) -> ArrayRef {
    Arc::new(bytes.iter().map(|bytes| bytes.map(String::from_utf8_lossy)).collect::<StringArray>())
}

fn metadata_column(metadata: Metadata, rows: usize, per_row: &PerRow<'_>, facts: Facts<'_>) -> ArrayRef {
    let text = |value: &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(std::iter::repeat_n(value, rows))) };
    match metadata {
        Metadata::Source => text(facts.source),
        Metadata::Partition => text(facts.partition),
        Metadata::Offset => {
            let known = per_row.offsets.iter().map(|&o| o as i64).chain(std::iter::repeat(facts.start as i64));
            Arc::new(Int64Array::from_iter_values(known.take(rows)))
        }
        Metadata::IngestTime => Arc::new(TimestampNanosecondArray::from(vec![facts.now_ns; rows])),
        Metadata::Key => {
            per_row.keys.clone().unwrap_or_else(|| new_null_array(&arrow::datatypes::DataType::Binary, rows))
        }
        Metadata::Headers => {
            per_row.headers.clone().unwrap_or_else(|| new_null_array(&arrow::datatypes::DataType::Utf8, rows))
        }
    }
}

/// For each row, by its offset, the message that it came from and that message's number. Both rise.
fn each_row<'a>(offsets: &'a [u64], messages: &'a Messages) -> impl Iterator<Item = (usize, Message<'a>)> {
    let mut rest = messages.iter().enumerate().peekable();
    offsets.iter().filter_map(move |offset| {
        while rest.next_if(|(_, message)| message.offset < *offset).is_some() {}
        rest.peek().copied()
    })
}

/// A message's headers as a JSON object, the last of several with one name; a value that is not UTF-8 has its wrong
/// bytes replaced. `None` without headers.
fn headers_json<'a>(headers: impl Iterator<Item = (&'a str, &'a [u8])>) -> Option<String> {
    let object: serde_json::Map<String, serde_json::Value> =
        headers.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value).into())).collect();
    (!object.is_empty()).then(|| serde_json::Value::Object(object).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_finds_its_message_by_its_offset() {
        let mut messages = Messages::default();
        for (offset, key) in [(3, "a"), (7, "b"), (8, "c")] {
            messages.push(Message { offset, key: Some(key.as_bytes()), value: None });
        }
        messages.push_header("trace", b"1");
        // The first message was bad, the second had two records.
        let found: Vec<_> = each_row(&[7, 7, 8], &messages).map(|(index, message)| (index, message.offset)).collect();
        assert_eq!(found, [(1, 7), (1, 7), (2, 8)]);
        assert_eq!(headers_json(messages.headers(1)), None);
        assert_eq!(headers_json(messages.headers(2)), Some("{\"trace\":\"1\"}".to_string()));
    }
}
