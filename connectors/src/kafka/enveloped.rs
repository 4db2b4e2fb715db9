//! What a message holds of a row that says what becomes of another: an upsert is the row under its key, or nothing under
//! it (a tombstone); a Debezium change is whole, under the key of the row that it tells of.

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::is_null;
use arrow::compute::kernels::zip::zip;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::sink::{Envelope, EnvelopeKind};

/// The parts of messages.
pub(super) struct Parts {
    /// What is encoded as the value.
    pub values: RecordBatch,
    /// The rows with the columns of the key, and where those are.
    pub keyed: RecordBatch,
    pub key: Vec<usize>,
    /// Where the message has no value.
    pub deleted: Option<BooleanArray>,
}

/// The columns of the values, of rows of `schema`.
pub(super) fn values_of(schema: &SchemaRef, envelope: Option<&Envelope>) -> SchemaRef {
    match envelope.map(|envelope| envelope.kind) {
        Some(EnvelopeKind::Upsert) => {
            let columns = schema.fields().len().saturating_sub(1);
            Arc::new(Schema::new(schema.fields()[..columns].to_vec()))
        }
        Some(EnvelopeKind::Debezium) | None => schema.clone(),
    }
}

/// What the columns are called by which rows are found.
pub(super) fn key_names(schema: &SchemaRef, envelope: &Envelope) -> Vec<String> {
    let fields = match (envelope.kind, schema.field(0).data_type()) {
        (EnvelopeKind::Debezium, DataType::Struct(fields)) => fields,
        _ => schema.fields(),
    };
    envelope.key.iter().map(|at| fields[*at].name().clone()).collect()
}

/// The parts of the messages of `rows`, whose key without an envelope is `key`.
pub(super) fn parts(rows: &RecordBatch, key: &[usize], envelope: Option<&Envelope>) -> Result<Parts> {
    let plain = |values: RecordBatch, deleted| Parts { values, keyed: rows.clone(), key: key.to_vec(), deleted };
    match envelope {
        None => Ok(plain(rows.clone(), None)),
        Some(Envelope { kind: EnvelopeKind::Upsert, .. }) => {
            let last = rows.num_columns().checked_sub(1).ok_or_else(|| Error::bug("an upsert without columns"))?;
            let values = rows.project(&(0..last).collect::<Vec<_>>())?;
            Ok(plain(values, Some(rows.column(last).as_boolean().clone())))
        }
        Some(Envelope { kind: EnvelopeKind::Debezium, key }) => {
            let (before, after) = (rows.column(0).as_struct(), rows.column(1).as_struct());
            let gone = is_null(after)?;
            let (mut fields, mut columns): (Vec<Field>, Vec<ArrayRef>) = (Vec::new(), Vec::new());
            for at in key {
                fields.push(before.fields()[*at].as_ref().clone().with_nullable(true));
                columns.push(zip(&gone, before.column(*at), after.column(*at))?);
            }
            let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
            let keyed = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?;
            Ok(Parts { values: rows.clone(), keyed, key: (0..key.len()).collect(), deleted: None })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringArray, StructArray};
    use arrow::buffer::NullBuffer;
    use arrow::datatypes::Fields;

    fn hosts(names: [Option<&str>; 2]) -> ArrayRef {
        Arc::new(StringArray::from(names.to_vec()))
    }

    #[test]
    fn an_upsert_has_no_value_where_the_row_goes() {
        let fields = vec![
            Field::new("host", DataType::Utf8, false),
            Field::new("n", DataType::Int64, true),
            Field::new("_deleted", DataType::Boolean, false),
        ];
        let schema = Arc::new(Schema::new(fields));
        let n = Int64Array::from(vec![Some(1), None]);
        let deleted = BooleanArray::from(vec![false, true]);
        let columns: Vec<ArrayRef> = vec![hosts([Some("a"), Some("b")]), Arc::new(n), Arc::new(deleted.clone())];
        let rows = RecordBatch::try_new(schema.clone(), columns).unwrap();
        let envelope = Envelope { kind: EnvelopeKind::Upsert, key: vec![0] };
        let parts = parts(&rows, &[0], Some(&envelope)).unwrap();
        assert_eq!((parts.key, parts.deleted), (vec![0], Some(deleted)));
        assert_eq!(parts.values.schema(), values_of(&schema, Some(&envelope)));
    }

    #[test]
    fn a_change_has_the_key_of_the_row_that_is_there_or_was() {
        let fields = Fields::from(vec![Field::new("host", DataType::Utf8, false)]);
        let side = |names: [&str; 2], there: [bool; 2]| {
            let nulls = Some(NullBuffer::from(there.to_vec()));
            Arc::new(StructArray::new(fields.clone(), vec![hosts(names.map(Some))], nulls)) as ArrayRef
        };
        let row = DataType::Struct(fields.clone());
        let schema = Schema::new(vec![Field::new("before", row.clone(), true), Field::new("after", row, true)]);
        let (before, after) = (side(["-", "old"], [false, true]), side(["new", "-"], [true, false]));
        let rows = RecordBatch::try_new(Arc::new(schema), vec![before, after]).unwrap();
        let envelope = Envelope { kind: EnvelopeKind::Debezium, key: vec![0] };
        let parts = parts(&rows, &[], Some(&envelope)).unwrap();
        assert_eq!(parts.key, [0]);
        assert_eq!(parts.keyed.column(0), &hosts([Some("new"), Some("old")]));
    }
}
