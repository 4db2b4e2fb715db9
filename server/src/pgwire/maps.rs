//! Maps, which PostgreSQL has no type for: columns that hold any are sent as JSON texts.

use super::errors;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use pgwire::error::PgWireResult;
use std::borrow::Cow;
use std::sync::Arc;
use thalweg_schemas::format::nested::json_texts;

/// Whether values of the type are maps, or made of any.
fn has_maps(data_type: &DataType) -> bool {
    match data_type {
        DataType::Map(..) => true,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            has_maps(item.data_type())
        }
        DataType::Struct(fields) => fields.iter().any(|field| has_maps(field.data_type())),
        _ => false,
    }
}

/// The columns as they are sent.
pub(super) fn schema(schema: &Schema) -> Cow<'_, Schema> {
    if !schema.fields().iter().any(|field| has_maps(field.data_type())) {
        return Cow::Borrowed(schema);
    }
    let sent = |field: &FieldRef| match has_maps(field.data_type()) {
        true => Arc::new(Field::new(field.name(), DataType::Utf8, field.is_nullable())),
        false => field.clone(),
    };
    Cow::Owned(Schema::new(schema.fields().iter().map(sent).collect::<Vec<_>>()))
}

/// The rows as they are sent.
pub(super) fn rows(batch: RecordBatch) -> PgWireResult<RecordBatch> {
    let own = batch.schema();
    let sent = match schema(&own) {
        Cow::Borrowed(_) => return Ok(batch),
        Cow::Owned(sent) => sent,
    };
    let columns = own.fields().iter().zip(batch.columns()).map(|(field, column)| match has_maps(field.data_type()) {
        true => json_texts(column, false).map(|texts| Arc::new(texts) as ArrayRef),
        false => Ok(column.clone()),
    });
    let columns = columns.collect::<Result<Vec<_>, _>>().map_err(errors::internal)?;
    RecordBatch::try_new(Arc::new(sent), columns).map_err(errors::internal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, Int32Builder, MapBuilder, StringBuilder};

    #[test]
    fn maps_are_sent_as_json_and_other_columns_as_they_are() {
        let mut maps = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
        maps.keys().append_value("a");
        maps.values().append_value(1);
        maps.append(true).unwrap();
        maps.append(false).unwrap();
        let maps: ArrayRef = Arc::new(maps.finish());
        let batch = RecordBatch::try_from_iter([("m", maps.clone()), ("n", maps)]).unwrap();
        let sent = rows(batch.clone()).unwrap();
        assert_eq!(*sent.schema(), *schema(&batch.schema()));
        let texts: Vec<_> = sent.column(0).as_string::<i32>().iter().collect();
        assert_eq!(texts, [Some(r#"{"a":1}"#), None]);
        let plain = batch.project(&[]).unwrap();
        assert_eq!(rows(plain.clone()).unwrap(), plain);
    }
}
