//! Rows that are typed already, brought to the declared columns: found by name, cast, NULL only where it is allowed.

use super::nested::json_texts;
use crate::error::Result;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, StringArray, new_null_array,
};
use arrow::compute::{CastOptions, can_cast_types, cast_with_options, filter_record_batch};
use arrow::datatypes::{DataType, SchemaRef};
use std::sync::Arc;

/// The rows that fit.
pub(crate) struct Fitted {
    pub rows: RecordBatch,
    /// Which rows do not, and why.
    pub unfit: Vec<(usize, String)>,
}

/// Brings `given` to `fields`.
pub(crate) fn fit(given: &RecordBatch, fields: &SchemaRef) -> Result<Fitted> {
    let count = given.num_rows();
    let mut reasons: Vec<Option<String>> = vec![None; count];
    let mut columns = Vec::with_capacity(fields.fields().len());
    for field in fields.fields() {
        let name = field.name();
        let column = match given.column_by_name(name) {
            None => new_null_array(field.data_type(), count),
            Some(column) => match cast(column, field.data_type())? {
                Some(cast) => {
                    for row in (0..count).filter(|row| cast.is_null(*row) && !column.is_null(*row)) {
                        let value = arrow::util::display::array_value_to_string(column, row).unwrap_or_default();
                        let misfit = || format!("column \"{name}\": '{value}' does not fit type {}", field.data_type());
                        reasons[row].get_or_insert_with(misfit);
                    }
                    cast
                }
                None => {
                    let types = format!("{}, which cannot become {}", column.data_type(), field.data_type());
                    for reason in &mut reasons {
                        reason.get_or_insert_with(|| format!("column \"{name}\" has type {types}"));
                    }
                    new_null_array(field.data_type(), count)
                }
            },
        };
        if !field.is_nullable() && column.null_count() > 0 {
            for row in (0..count).filter(|row| column.is_null(*row)) {
                reasons[row].get_or_insert_with(|| format!("column \"{name}\" is NULL but declared NOT NULL"));
            }
        }
        columns.push(column);
    }
    let lax = fields.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    let lax = Arc::new(arrow::datatypes::Schema::new(lax.collect::<Vec<_>>()));
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    let rows = RecordBatch::try_new_with_options(lax, columns, &options)?;
    let keep = BooleanArray::from_iter(reasons.iter().map(|reason| Some(reason.is_none())));
    let rows = filter_record_batch(&rows, &keep)?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let rows = RecordBatch::try_new_with_options(fields.clone(), rows.columns().to_vec(), &options)?;
    let unfit = reasons.into_iter().enumerate().filter_map(|(row, reason)| Some((row, reason?))).collect();
    Ok(Fitted { rows, unfit })
}

/// The values as `to`, NULL where a value does not fit; `None` where no value of the type does.
fn cast(column: &ArrayRef, to: &DataType) -> Result<Option<ArrayRef>> {
    if column.data_type() == to {
        return Ok(Some(column.clone()));
    }
    if let (DataType::FixedSizeBinary(16), DataType::Utf8) = (column.data_type(), to) {
        let texts = column.as_fixed_size_binary().iter().map(|bytes| bytes.map(uuid));
        return Ok(Some(Arc::new(texts.collect::<StringArray>())));
    }
    if column.data_type().is_nested() && *to == DataType::Utf8 {
        return Ok(Some(Arc::new(json_texts(column, true)?)));
    }
    if !can_cast_types(column.data_type(), to) {
        return Ok(None);
    }
    Ok(Some(cast_with_options(column, to, &CastOptions { safe: true, ..CastOptions::default() })?))
}

/// Sixteen bytes as a UUID is written.
fn uuid(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
