//! From rows to records, for sinks whose systems take messages: one row, one record.

use super::avro::AvroEncoder;
use super::protobuf::ProtobufEncoder;
use super::{SchemaRegistry, by_name};
use crate::error::{Error, Result};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::json::writer::{LineDelimited, WriterBuilder};
use std::sync::Arc;

/// Turns rows into records.
///
/// # Contract
///
/// `encode` appends one record for each row, in order. An error of kind `Retry` (a registry is away) means that nothing
/// was appended; the caller tries again with the same rows.
pub trait Encoder: Send {
    /// Appends a record for each of `rows`.
    fn encode(&mut self, rows: &RecordBatch, out: &mut Records) -> Result<()>;
}

/// Records, one behind the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Records {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The records.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.ends.len()).map(|at| &self.bytes[at.checked_sub(1).map_or(0, |at| self.ends[at])..self.ends[at]])
    }

    /// Forgets all of them and keeps their room.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Adds a record, in pieces.
    pub fn push(&mut self, pieces: &[&[u8]]) {
        pieces.iter().for_each(|piece| self.bytes.extend_from_slice(piece));
        self.ends.push(self.bytes.len());
    }
}

/// What an encoder is made for.
#[derive(Clone)]
pub struct EncodeRequest {
    /// The rows' schema.
    pub schema: SchemaRef,
    /// Where schemas are registered, for formats that have them.
    pub registry: Option<Arc<dyn SchemaRegistry>>,
    /// Under which name: `TOPIC-value` by Confluent's custom.
    pub subject: String,
    /// The sink's options, among them those of the format.
    pub options: crate::options::Options,
}

/// The formats that rows can be encoded in, the first being the default.
pub const ENCODINGS: &[&str] = &["json", "avro", "protobuf"];

/// The encoder of `format`.
pub fn encoder(format: &str, request: EncodeRequest) -> Result<Box<dyn Encoder>> {
    match by_name(format).map(|format| format.name) {
        Some("json") => Ok(Box::new(JsonEncoder)),
        Some("avro") => Ok(Box::new(AvroEncoder::new(request)?)),
        Some("protobuf") => Ok(Box::new(ProtobufEncoder::new(request)?)),
        _ => Err(Error::user(format!("rows cannot be written as format '{format}'"))
            .with_hint(format!("Formats: {}.", ENCODINGS.join(", ")))),
    }
}

/// One object a record; NULL is written as `null`.
struct JsonEncoder;

impl Encoder for JsonEncoder {
    fn encode(&mut self, rows: &RecordBatch, out: &mut Records) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let mut lines = Vec::new();
        let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(&mut lines);
        writer.write(rows)?;
        writer.finish()?;
        // No string may hold a line's end, so each one ends a record.
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            out.push(&[line.strip_suffix(b"\n").unwrap_or(line)]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DecodeRequest, RegisteredSchema};
    use super::*;
    use crate::messages::Message;
    use arrow::array::{Float64Array, Int64Array, StringArray, TimestampNanosecondArray, UInt64Array};
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
    use std::sync::Mutex;

    /// Keeps one schema, under the number 7.
    #[derive(Default)]
    struct Registry(Mutex<Option<(String, RegisteredSchema)>>);

    impl SchemaRegistry for Registry {
        fn schema(&self, id: u32) -> Result<Arc<RegisteredSchema>> {
            assert_eq!(id, 7);
            Ok(Arc::new(self.0.lock().unwrap().clone().unwrap().1))
        }

        fn register(&self, subject: &str, schema: &RegisteredSchema) -> Result<u32> {
            *self.0.lock().unwrap() = Some((subject.to_string(), schema.clone()));
            Ok(7)
        }
    }

    fn rows() -> RecordBatch {
        let fields = vec![
            Field::new("at", DataType::Timestamp(TimeUnit::Nanosecond, None), false),
            Field::new("name", DataType::Utf8, true),
            Field::new("p99", DataType::Float64, true),
            Field::new("n", DataType::Int64, false),
            Field::new("many", DataType::UInt64, true),
        ];
        RecordBatch::try_new(
            Arc::new(Schema::new(fields)),
            vec![
                Arc::new(TimestampNanosecondArray::from(vec![1_500_000_000, 2_000])),
                Arc::new(StringArray::from(vec![Some("a\n\"b\""), None])),
                Arc::new(Float64Array::from(vec![None, Some(0.5)])),
                Arc::new(Int64Array::from(vec![-1, 2])),
                Arc::new(UInt64Array::from(vec![Some(u64::MAX), None])),
            ],
        )
        .unwrap()
    }

    fn encoded(format: &str, registry: Option<Arc<dyn SchemaRegistry>>) -> Records {
        let request = EncodeRequest {
            schema: rows().schema(),
            registry,
            subject: "results-value".into(),
            options: Default::default(),
        };
        let mut out = Records::default();
        encoder(format, request).unwrap().encode(&rows(), &mut out).unwrap();
        out
    }

    #[test]
    fn json_has_an_object_a_row() {
        let records = encoded("json", None);
        let texts: Vec<_> = records.iter().map(|record| std::str::from_utf8(record).unwrap()).collect();
        assert_eq!(texts.len(), 2);
        assert!(texts[0].starts_with("{\"at\":\"1970-01-01T00:00:01.500\",\"name\":\"a\\n\\\"b\\\"\",\"p99\":null,"));
    }

    #[test]
    fn avro_comes_back_as_it_was() {
        let registry = Arc::new(Registry::default());
        let records = encoded("avro", Some(registry.clone()));
        assert!(records.iter().all(|record| record.starts_with(&[0, 0, 0, 0, 7])));
        assert_eq!(registry.0.lock().unwrap().as_ref().unwrap().0, "results-value");
        let fields: Vec<_> = rows().schema().fields().iter().cloned().collect();
        let request = DecodeRequest { registry: Some(registry), ..DecodeRequest::new(Arc::new(Schema::new(fields))) };
        let mut decoder = (by_name("avro").unwrap().decoder.unwrap())(request).unwrap();
        for (record, offset) in records.iter().zip(0..) {
            decoder.message(Message { offset, key: None, value: Some(record) });
        }
        let decoded = decoder.finish().unwrap();
        assert_eq!(decoded.bad, []);
        assert_eq!(decoded.rows, rows());
    }

    #[test]
    fn formats_that_nothing_is_written_in_are_refused_by_name() {
        let request = EncodeRequest {
            schema: rows().schema(),
            registry: None,
            subject: String::new(),
            options: Default::default(),
        };
        let error = |format| encoder(format, request.clone()).err().unwrap().message;
        assert_eq!(error("parquet"), "rows cannot be written as format 'parquet'");
        assert!(error("avro").contains("schema_registry"), "{}", error("avro"));
    }
}
