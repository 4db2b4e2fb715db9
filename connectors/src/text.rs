//! Rows as lines of text: what the `file` and `stdout` sinks write. A changelog begins each row with `_diff`.

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::csv::WriterBuilder as CsvBuilder;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::json::writer::{LineDelimited, WriterBuilder as JsonBuilder};
use std::sync::Arc;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::sink::SinkRequest;

/// The formats that rows can be written as, the first being the default.
pub(crate) const FORMATS: &[&str] = &["json", "csv"];

/// How rows become lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextFormat {
    /// One JSON object a line, NULL written as `null`.
    Json,
    /// Comma-separated, NULL as nothing; names in a first line where the file is new.
    Csv,
}

impl TextFormat {
    /// The format that a statement named; `json` where it named none.
    pub(crate) fn from_name(name: Option<&str>) -> Result<TextFormat> {
        match name {
            None | Some("json") => Ok(TextFormat::Json),
            Some("csv") => Ok(TextFormat::Csv),
            Some(other) => Err(Error::user(format!("rows cannot be written as format '{other}'"))
                .with_hint(format!("Formats: {}.", FORMATS.join(", ")))),
        }
    }

    /// The format of a sink, if it can hold the sink's rows.
    pub(crate) fn of(request: &SinkRequest) -> Result<TextFormat> {
        let format = TextFormat::from_name(request.options.get("format"))?;
        let nested = request.schema.fields().iter().find(|field| field.data_type().is_nested());
        match nested.filter(|_| format == TextFormat::Csv) {
            None => Ok(format),
            Some(field) => {
                let (column, sink) = (field.name(), &request.name);
                let message = format!(
                    "column \"{column}\" of sink \"{sink}\" holds several values, which \"format\" = 'csv' cannot"
                );
                Err(Error::user(message).with_hint("Take format = 'json', or columns of single values."))
            }
        }
    }

    /// The line that names the columns, for formats that have one.
    pub(crate) fn header(self, schema: &SchemaRef, changelog: bool) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        if self == TextFormat::Csv {
            let schema = if changelog { with_diff(schema) } else { schema.clone() };
            let names: Vec<ArrayRef> = schema
                .fields()
                .iter()
                .map(|f| Arc::new(arrow::array::StringArray::from(vec![f.name().as_str()])) as ArrayRef)
                .collect();
            let fields: Vec<_> = schema.fields().iter().map(|f| Field::new(f.name(), DataType::Utf8, false)).collect();
            let line = RecordBatch::try_new(Arc::new(Schema::new(fields)), names)?;
            CsvBuilder::new().with_header(false).build(&mut out).write(&line)?;
        }
        Ok(out)
    }

    /// Appends the rows of `batch` as whole lines.
    pub(crate) fn append(self, batch: &Batch, out: &mut Vec<u8>) -> Result<()> {
        let rows = match &batch.diffs {
            None => batch.rows.clone(),
            Some(diffs) => prepend_diff(&batch.rows, diffs)?,
        };
        if rows.num_rows() == 0 {
            return Ok(());
        }
        match self {
            TextFormat::Json => {
                let mut writer = JsonBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(&mut *out);
                writer.write(&rows)?;
                writer.finish()?;
            }
            TextFormat::Csv => CsvBuilder::new().with_header(false).build(&mut *out).write(&rows)?,
        }
        Ok(())
    }
}

fn with_diff(schema: &SchemaRef) -> SchemaRef {
    let mut fields = vec![Arc::new(Field::new("_diff", DataType::Int64, false))];
    fields.extend(schema.fields().iter().cloned());
    Arc::new(Schema::new(fields))
}

fn prepend_diff(rows: &RecordBatch, diffs: &Int64Array) -> Result<RecordBatch> {
    let mut columns: Vec<ArrayRef> = vec![Arc::new(diffs.clone())];
    columns.extend(rows.columns().iter().cloned());
    Ok(RecordBatch::try_new(with_diff(&rows.schema()), columns)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, StringArray};

    fn rows() -> RecordBatch {
        let fields = vec![Field::new("host", DataType::Utf8, true), Field::new("p99", DataType::Float64, true)];
        let host = StringArray::from(vec![Some("a,\"b\"\nc"), None]);
        let p99 = Float64Array::from(vec![Some(1.5), None]);
        RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![Arc::new(host), Arc::new(p99)]).unwrap()
    }

    fn text(format: TextFormat, batch: &Batch) -> String {
        let mut out = format.header(&batch.schema(), batch.diffs.is_some()).unwrap();
        format.append(batch, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_has_one_object_a_line_and_keeps_nulls() {
        assert_eq!(
            text(TextFormat::Json, &Batch::append(rows())),
            "{\"host\":\"a,\\\"b\\\"\\nc\",\"p99\":1.5}\n{\"host\":null,\"p99\":null}\n"
        );
    }

    #[test]
    fn csv_has_a_header_and_quotes_what_needs_it() {
        assert_eq!(text(TextFormat::Csv, &Batch::append(rows())), "host,p99\n\"a,\"\"b\"\"\nc\",1.5\n,\n");
    }

    #[test]
    fn a_changelog_begins_with_the_difference() {
        let batch = Batch::changes(rows().slice(1, 1), Int64Array::from(vec![-1]));
        assert_eq!(text(TextFormat::Json, &batch), "{\"_diff\":-1,\"host\":null,\"p99\":null}\n");
        assert_eq!(text(TextFormat::Csv, &batch), "_diff,host,p99\n-1,,\n");
    }

    #[test]
    fn other_formats_are_refused_by_name() {
        let error = TextFormat::from_name(Some("yaml")).unwrap_err();
        assert_eq!(error.message, "rows cannot be written as format 'yaml'");
    }
}
