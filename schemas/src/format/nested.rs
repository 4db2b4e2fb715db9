//! Lists, records and maps as JSON: for those who take texts.

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::Field;
use arrow::error::ArrowError;
use arrow::json::EncoderOptions;
use arrow::json::writer::make_encoder;
use std::sync::Arc;

/// Each value as JSON, NULL where there is none; with `explicit_nulls` a record says its members that are NULL, otherwise it
/// leaves them out.
pub fn json_texts(column: &ArrayRef, explicit_nulls: bool) -> Result<StringArray, ArrowError> {
    let field = Arc::new(Field::new("value", column.data_type().clone(), true));
    let options = EncoderOptions::default().with_explicit_nulls(explicit_nulls);
    let mut encoder = make_encoder(&field, column.as_ref(), &options)?;
    let mut text = |row| {
        let mut bytes = Vec::new();
        encoder.encode(row, &mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Ok((0..column.len()).map(|row| column.is_valid(row).then(|| text(row))).collect())
}
