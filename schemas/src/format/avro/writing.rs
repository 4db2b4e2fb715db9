//! Rows as Avro messages: a schema is made of the rows', registered, and each message begins with its number.

use crate::error::{Error, Result};
use crate::format::{EncodeRequest, Encoder, MAGIC, Records, RegisteredSchema, SchemaRegistry, SchemaType};
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow_avro::schema::{AVRO_NAME_METADATA_KEY, AvroSchema};
use arrow_avro::writer::format::AvroBinaryFormat;
use arrow_avro::writer::{Encoder as RecordEncoder, WriterBuilder};
use std::sync::Arc;

pub(crate) struct AvroEncoder {
    /// The rows' columns as types that Avro has.
    schema: SchemaRef,
    encoder: RecordEncoder,
    written: RegisteredSchema,
    registry: Arc<dyn SchemaRegistry>,
    subject: String,
    /// The number of the schema, once it is registered.
    number: Option<u32>,
}

impl AvroEncoder {
    pub(crate) fn new(request: EncodeRequest) -> Result<AvroEncoder> {
        let Some(registry) = request.registry else {
            return Err(Error::user("format 'avro' needs option \"schema_registry\"")
                .with_detail("Whoever reads the messages finds their schema there."));
        };
        let fields = request
            .schema
            .fields()
            .iter()
            .map(|field| Field::new(name(field.name()), written_as(field.data_type()), field.is_nullable()));
        let metadata = [(AVRO_NAME_METADATA_KEY.to_string(), name(&request.subject))];
        let schema = Schema::new_with_metadata(fields.collect::<Vec<_>>(), metadata.into());
        let wrong = |error: &dyn std::fmt::Display| Error::user(format!("the rows cannot be written as Avro: {error}"));
        let avro = AvroSchema::try_from(&schema).map_err(|error| wrong(&error))?;
        let encoder = WriterBuilder::new(schema.clone()).build_encoder::<AvroBinaryFormat>();
        Ok(AvroEncoder {
            encoder: encoder.map_err(|error| wrong(&error))?,
            schema: Arc::new(schema),
            written: RegisteredSchema { schema_type: SchemaType::Avro, text: avro.json_string, references: Vec::new() },
            registry,
            subject: request.subject,
            number: None,
        })
    }
}

impl Encoder for AvroEncoder {
    fn encode(&mut self, rows: &RecordBatch, out: &mut Records) -> Result<()> {
        let number = match self.number {
            Some(number) => number,
            None => *self.number.insert(self.registry.register(&self.subject, &self.written)?),
        };
        let columns = rows.columns().iter().zip(self.schema.fields());
        let columns = columns.map(|(column, field)| Ok(cast(column, field.data_type())?)).collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let rows = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        let failed = |error: arrow_avro::errors::AvroError| Error::bug(format!("rows became no Avro: {error}"));
        self.encoder.encode(&rows).map_err(failed)?;
        for record in self.encoder.flush().iter() {
            out.push(&[&[MAGIC], &number.to_be_bytes(), &record]);
        }
        Ok(())
    }
}

/// The type that a column is written as. Our timestamps without a zone are UTC; Avro has no unsigned numbers, and few
/// readers know its nanoseconds.
fn written_as(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(_, None) => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        DataType::Timestamp(TimeUnit::Nanosecond | TimeUnit::Second, zone) => {
            DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
        }
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        other => other.clone(),
    }
}

/// A name as Avro allows them: letters, digits and underscores, no digit in front.
fn name(text: &str) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = text.chars().map(clean).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) || name.is_empty() { format!("_{name}") } else { name }
}
