//! Rows as bodies: JSON, newline-delimited JSON, CSV, an Arrow stream. One batch becomes one piece of the body.

use arrow::csv::WriterBuilder as CsvBuilder;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::json::StructMode;
use arrow::json::writer::{JsonArray, LineDelimited, WriterBuilder};
use arrow::record_batch::RecordBatch;
use arrow_pg::datatypes::into_pg_type;
use serde_json::json;
use thalweg_schemas::epoch::Epoch;

/// How a body looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One object with columns, rows and epoch.
    Json,
    /// One object a row.
    Ndjson,
    /// With a header.
    Csv,
    /// An Arrow IPC stream.
    Arrow,
}

impl Format {
    /// The format by its name in `?format=`.
    pub fn by_name(name: &str) -> Option<Format> {
        Some(match name {
            "json" => Format::Json,
            "ndjson" | "jsonl" => Format::Ndjson,
            "csv" => Format::Csv,
            "arrow" => Format::Arrow,
            _ => return None,
        })
    }

    /// The format that an `Accept` header asks for; JSON where it asks for none of them.
    pub fn accepted(accept: &str) -> Format {
        let wanted = |media: &str| accept.contains(media);
        match () {
            () if wanted("application/x-ndjson") || wanted("application/jsonl") => Format::Ndjson,
            () if wanted("text/csv") => Format::Csv,
            () if wanted("application/vnd.apache.arrow.stream") => Format::Arrow,
            () => Format::Json,
        }
    }

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Ndjson => "application/x-ndjson",
            Format::Csv => "text/csv; charset=utf-8",
            Format::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
}

/// Writes batches of one schema, one after the other.
pub enum Body {
    /// See [`Format::Json`].
    Json {
        /// What comes before the first row, until it has been written.
        head: Option<Vec<u8>>,
        /// Whether a row has been written.
        begun: bool,
    },
    /// See [`Format::Ndjson`].
    Ndjson,
    /// See [`Format::Csv`]; whether the header is still to come.
    Csv(bool),
    /// See [`Format::Arrow`].
    Arrow(Box<StreamWriter<Vec<u8>>>),
}

impl Body {
    /// A body for rows of `schema` as of `epoch`.
    pub fn new(format: Format, schema: &Schema, epoch: Epoch) -> Result<Body, ArrowError> {
        Ok(match format {
            Format::Json => Body::Json { head: Some(json_head(schema, epoch)), begun: false },
            Format::Ndjson => Body::Ndjson,
            Format::Csv => Body::Csv(true),
            Format::Arrow => Body::Arrow(Box::new(StreamWriter::try_new(Vec::new(), schema)?)),
        })
    }

    /// The piece for a batch.
    pub fn piece(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        match self {
            Body::Json { head, begun } => {
                let mut out = head.take().unwrap_or_default();
                let builder = WriterBuilder::new().with_explicit_nulls(true).with_struct_mode(StructMode::ListOnly);
                let mut writer = builder.build::<_, JsonArray>(Vec::new());
                writer.write(batch)?;
                writer.finish()?;
                // Each batch comes as an array of its own, whose brackets go: the rows stand in one.
                let rows = writer.into_inner();
                let rows = rows.strip_prefix(b"[").and_then(|rows| rows.strip_suffix(b"]")).unwrap_or_default();
                if !rows.is_empty() {
                    if *begun {
                        out.push(b',');
                    }
                    *begun = true;
                    out.extend_from_slice(rows);
                }
                Ok(out)
            }
            Body::Ndjson => {
                let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(Vec::new());
                writer.write(batch)?;
                writer.finish()?;
                Ok(writer.into_inner())
            }
            Body::Csv(header) => {
                let mut out = Vec::new();
                CsvBuilder::new().with_header(std::mem::take(header)).build(&mut out).write(batch)?;
                Ok(out)
            }
            Body::Arrow(writer) => {
                writer.write(batch)?;
                Ok(std::mem::take(writer.get_mut()))
            }
        }
    }

    /// What comes after the last batch.
    pub fn end(&mut self, schema: &Schema) -> Result<Vec<u8>, ArrowError> {
        match self {
            Body::Json { head, .. } => {
                let mut out = head.take().unwrap_or_default();
                out.extend_from_slice(b"]}");
                Ok(out)
            }
            Body::Ndjson => Ok(Vec::new()),
            Body::Csv(true) => self.piece(&RecordBatch::new_empty(schema.clone().into())),
            Body::Csv(false) => Ok(Vec::new()),
            Body::Arrow(writer) => {
                writer.finish()?;
                Ok(std::mem::take(writer.get_mut()))
            }
        }
    }
}

/// `{"columns":[{"name":..,"type":..}],"epoch":7,"rows":[`
fn json_head(schema: &Schema, epoch: Epoch) -> Vec<u8> {
    let columns: Vec<_> = schema
        .fields()
        .iter()
        .map(|field| {
            let data_type = into_pg_type(field.data_type());
            let name = data_type.map_or_else(|_| field.data_type().to_string(), |known| known.name().to_string());
            json!({ "name": field.name(), "type": name })
        })
        .collect();
    let mut head = json!({ "columns": columns, "epoch": epoch.0 }).to_string();
    head.pop();
    head.push_str(",\"rows\":[");
    head.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringArray, TimestampNanosecondArray};
    use std::sync::Arc;

    fn batch() -> RecordBatch {
        RecordBatch::try_from_iter([
            ("n", Arc::new(Int64Array::from(vec![Some(1), None])) as arrow::array::ArrayRef),
            ("s", Arc::new(StringArray::from(vec!["a\"b", "c,d"]))),
            ("t", Arc::new(TimestampNanosecondArray::from(vec![0, 1_500_000_000]))),
        ])
        .unwrap()
    }

    fn whole(format: Format, batches: &[RecordBatch]) -> String {
        let schema = batch().schema();
        let mut body = Body::new(format, &schema, Epoch(7)).unwrap();
        let mut out = Vec::new();
        for batch in batches {
            out.extend(body.piece(batch).unwrap());
        }
        out.extend(body.end(&schema).unwrap());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_is_one_object_however_many_batches() {
        for n in 0..3 {
            let text = whole(Format::Json, &vec![batch(); n]);
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value["rows"].as_array().map(Vec::len), Some(2 * n), "{text}");
            assert_eq!(value["epoch"], 7);
            assert_eq!(value["columns"][2], json!({ "name": "t", "type": "timestamp" }));
        }
        let value: serde_json::Value = serde_json::from_str(&whole(Format::Json, &[batch()])).unwrap();
        assert_eq!(
            value["rows"],
            json!([[1, "a\"b", "1970-01-01T00:00:00"], [null, "c,d", "1970-01-01T00:00:01.500"]])
        );
    }

    #[test]
    fn csv_has_its_header_even_without_rows() {
        assert_eq!(whole(Format::Csv, &[]), "n,s,t\n");
        let two = whole(Format::Csv, &[batch(), batch()]);
        assert_eq!(two.lines().count(), 5);
        assert_eq!(two.lines().nth(2), Some(",\"c,d\",1970-01-01T00:00:01.500"));
    }

    #[test]
    fn lines_keep_nulls() {
        assert_eq!(
            whole(Format::Ndjson, &[batch()]).lines().nth(1),
            Some("{\"n\":null,\"s\":\"c,d\",\"t\":\"1970-01-01T00:00:01.500\"}")
        );
    }
}
