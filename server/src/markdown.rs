//! Answers as Markdown: a file of queries becomes a document, the comments before each query its prose.

use arrow::ipc::reader::StreamReader;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use std::fmt::Write;
use std::io::Read;
use thalweg_schemas::error::Result;

/// What stands for a value that is not there: it is not to be taken for an empty text, nor for zero.
const MISSING: &str = "–";

/// The comments in front of a statement, without their dashes.
pub fn prose(statement: &str) -> String {
    let comments = statement.lines().map(str::trim).map_while(|line| line.strip_prefix("--"));
    let text = comments.fold(String::new(), |text, line| text + line.strip_prefix(' ').unwrap_or(line) + "\n");
    if text.is_empty() { text } else { text + "\n" }
}

/// The rows of an Arrow stream as a table, with an empty line behind it.
pub fn table(body: impl Read) -> Result<String> {
    let reader = StreamReader::try_new(body, None)?;
    let schema = reader.schema();
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = row(schema.fields().iter().map(|field| cell(field.name())).collect());
    let rule = |numeric: bool| if numeric { "---:" } else { "---" }.to_string();
    text += &row(schema.fields().iter().map(|field| rule(field.data_type().is_numeric())).collect());
    let options = FormatOptions::default().with_null(MISSING);
    for batch in reader {
        let batch = batch?;
        let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        for at in 0..batch.num_rows() {
            let cells = columns.iter().map(|column| cell(&column.value(at).to_string()));
            // Writing to a string does not fail.
            let _ = write!(text, "{}", row(cells.collect()));
        }
    }
    Ok(text)
}

/// A text that neither ends its cell nor its row.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray};
    use arrow::ipc::writer::StreamWriter;
    use std::sync::Arc;

    #[test]
    fn comments_become_prose() {
        assert_eq!(prose("-- # Title\n--\n-- A line.\nSELECT 1 -- not this"), "# Title\n\nA line.\n\n");
        assert_eq!(prose("SELECT 1"), "");
    }

    #[test]
    fn rows_become_a_table_in_which_nothing_missing_is_zero() {
        let names: ArrayRef = Arc::new(StringArray::from(vec!["a|b", "two\nlines"]));
        let grams: ArrayRef = Arc::new(Float64Array::from(vec![Some(0.0), None]));
        let batch = RecordBatch::try_from_iter([("name", names), ("grams", grams)]).unwrap();
        let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        let shown = table(writer.into_inner().unwrap().as_slice()).unwrap();
        assert_eq!(shown, "| name | grams |\n| --- | ---: |\n| a\\|b | 0.0 |\n| two lines | – |\n");
    }
}
