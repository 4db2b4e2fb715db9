//! From a body to records, by its content type: lines as decoders take them, or rows where it is Arrow.

use super::answer::Refused;
use super::inbox::Post;
use super::options::HttpOptions;
use arrow::array::RecordBatch;
use arrow::compute::{can_cast_types, concat_batches};
use arrow::error::ArrowError;
use arrow::ipc::reader::{FileReader, StreamReader};
use axum::http::StatusCode;
use std::io::Cursor;
use std::panic::catch_unwind;
use std::sync::Arc;
use thalweg_schemas::format::json;
use thalweg_schemas::source::Payload;

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Objects, one behind the other or in a list.
    Json,
    /// An object a line; a line that is none is a bad record.
    Lines,
    /// Either of these: the sender does not say.
    JsonOrLines,
    Csv,
    Arrow,
}

/// The records of a body.
pub(super) fn records(options: &HttpOptions, content_type: Option<&str>, body: Vec<u8>) -> Result<Post, Refused> {
    let kind = Kind::of(content_type, options)?;
    match kind {
        Kind::Json => json_values(options, &body),
        Kind::Lines => Ok(lines(options, body)),
        Kind::JsonOrLines => json_values(options, &body).or_else(|_| Ok(lines(options, body))),
        Kind::Csv => Ok(csv(options, body)),
        Kind::Arrow => arrow(options, body),
    }
}

impl Kind {
    fn of(content_type: Option<&str>, options: &HttpOptions) -> Result<Kind, Refused> {
        let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default();
        match essence.trim().to_ascii_lowercase().as_str() {
            "application/json" | "text/json" => Ok(Kind::Json),
            essence if essence.ends_with("+json") => Ok(Kind::Json),
            "application/x-ndjson"
            | "application/ndjson"
            | "application/jsonl"
            | "application/jsonlines"
            | "application/x-jsonlines" => Ok(Kind::Lines),
            "text/csv" | "application/csv" => Ok(Kind::Csv),
            "application/vnd.apache.arrow.stream" | "application/vnd.apache.arrow.file" => Ok(Kind::Arrow),
            // What clients say who were not told what they send.
            "" | "text/plain" | "application/octet-stream" | "application/x-www-form-urlencoded" => {
                Ok(match options.format.as_str() {
                    "csv" => Kind::Csv,
                    "arrow" => Kind::Arrow,
                    _ => Kind::JsonOrLines,
                })
            }
            other => {
                let error = format!("content type '{other}' is not supported");
                Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error).with_hint(
                    "Use application/json, application/x-ndjson, text/csv or application/vnd.apache.arrow.stream.",
                ))
            }
        }
    }
}

/// The payload of whole lines: in the source's own format, or in the one that the sender chose.
fn payload(options: &HttpOptions, format: &'static str, bytes: Vec<u8>) -> Payload {
    // Records that say what becomes of rows are JSON too.
    let own = options.format == format || format == "json" && !matches!(options.format.as_str(), "csv" | "arrow");
    if own { Payload::Bytes(bytes) } else { Payload::Formatted { format, bytes } }
}

fn json_values(options: &HttpOptions, body: &[u8]) -> Result<Post, Refused> {
    let not_json = |reason: String| {
        Refused::new(StatusCode::BAD_REQUEST, format!("the body is {reason}"))
            .with_hint("Send an object, a list of objects, or objects one behind the other.")
    };
    let text = std::str::from_utf8(without_mark(body))
        .map_err(|error| not_json(format!("not valid UTF-8 at byte {}", error.valid_up_to())))?;
    let json::Lines { text, records } = json::to_lines(text).map_err(not_json)?;
    Ok(Post { header: None, payload: payload(options, "json", text), rows: records })
}

fn lines(options: &HttpOptions, mut body: Vec<u8>) -> Post {
    if body.len() > without_mark(&body).len() {
        body.drain(..BYTE_ORDER_MARK.len());
    }
    end_last_line(&mut body);
    Post { header: None, rows: count(&body), payload: payload(options, "json", body) }
}

fn csv(options: &HttpOptions, mut body: Vec<u8>) -> Post {
    end_last_line(&mut body);
    let mut header = None;
    // Another format than the source's has default options, and so a header.
    if options.csv_header || options.format != "csv" {
        let text = without_mark(&body);
        let blank = text.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let first = &text[blank..];
        let end = memchr::memchr(b'\n', first).unwrap_or(first.len());
        header = Some(Arc::from(first[..end].trim_ascii_end()));
        body = first.get(end + 1..).unwrap_or_default().to_vec();
    }
    Post { header, rows: count(&body), payload: payload(options, "csv", body) }
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body)
}

fn end_last_line(body: &mut Vec<u8>) {
    if body.last().is_some_and(|last| *last != b'\n') {
        body.push(b'\n');
    }
}

/// How many lines are not blank.
fn count(body: &[u8]) -> usize {
    body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).count()
}

fn arrow(options: &HttpOptions, body: Vec<u8>) -> Result<Post, Refused> {
    let broken = |reason: String| Refused::new(StatusCode::BAD_REQUEST, format!("the body is no Arrow IPC: {reason}"));
    // The reader trusts what it reads, and panics where that does not fit together.
    let read = catch_unwind(move || read_arrow(body));
    let rows = read.map_err(|_| broken("it is damaged".to_string()))?.map_err(|error| broken(error.to_string()))?;
    for field in options.fields.fields() {
        let Some((_, sent)) = rows.schema_ref().column_with_name(field.name()) else { continue };
        if !can_cast_types(sent.data_type(), field.data_type()) {
            let error = format!(
                "column \"{}\" has type {}, which cannot become {}",
                field.name(),
                sent.data_type(),
                field.data_type()
            );
            return Err(Refused::new(StatusCode::BAD_REQUEST, error));
        }
    }
    Ok(Post { header: None, rows: rows.num_rows(), payload: Payload::Rows(rows) })
}

fn read_arrow(body: Vec<u8>) -> Result<RecordBatch, ArrowError> {
    if body.starts_with(b"ARROW1") {
        let reader = FileReader::try_new(Cursor::new(body), None)?;
        let schema = reader.schema();
        return concat_batches(&schema, &reader.collect::<Result<Vec<_>, _>>()?);
    }
    let reader = StreamReader::try_new(Cursor::new(body), None)?;
    let schema = reader.schema();
    concat_batches(&schema, &reader.collect::<Result<Vec<_>, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::super::tests::options;
    use super::*;
    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Schema};

    fn post(format: &str, content_type: &str, body: &str) -> Result<(Option<String>, String, usize), Refused> {
        let content_type = Some(content_type).filter(|text| !text.is_empty());
        records(&options(&[("format", format)]), content_type, body.as_bytes().to_vec()).map(|post| {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let payload = match post.payload {
                Payload::Bytes(bytes) => text(&bytes),
                Payload::Formatted { format, bytes } => format!("{format}: {}", text(&bytes)),
                other => format!("{other:?}"),
            };
            (post.header.map(|header| text(&header)), payload, post.rows)
        })
    }

    #[test]
    fn json_becomes_lines_whatever_its_form() {
        let both = Ok((None, "{\"a\":1}\n{\"a\":2}\n".to_string(), 2));
        assert_eq!(post("json", "application/json", "[{\"a\":1},{\"a\":2}]"), both);
        assert_eq!(post("json", "application/json; charset=utf-8", "\u{feff}{\"a\":1} {\"a\":2}"), both);
        assert_eq!(post("json", "application/x-ndjson", "{\"a\":1}\n{\"a\":2}"), both);
        assert_eq!(post("json", "", "{\"a\":1}\n{\"a\":2}\n"), both);
        let refused = post("json", "application/json", "{\"a\":1").unwrap_err();
        assert_eq!(
            (refused.status, refused.error.starts_with("the body is not valid JSON at byte")),
            (StatusCode::BAD_REQUEST, true)
        );
        assert_eq!(post("json", "application/json", " "), Ok((None, String::new(), 0)));
    }

    #[test]
    fn lines_that_are_no_json_are_for_the_decoder_to_judge() {
        assert_eq!(post("json", "application/x-ndjson", "{\"a\":1}\nx\n\n"), Ok((None, "{\"a\":1}\nx\n\n".into(), 2)));
        assert_eq!(post("json", "text/plain", "{\"a\":1}\nx"), Ok((None, "{\"a\":1}\nx\n".into(), 2)));
    }

    #[test]
    fn csv_gives_its_header_apart() {
        assert_eq!(post("csv", "text/csv", "a,b\r\n1,2\n"), Ok((Some("a,b".into()), "1,2\n".into(), 1)));
        assert_eq!(post("json", "text/csv", "\na\n1\n2"), Ok((Some("a".into()), "csv: 1\n2\n".into(), 2)));
        assert_eq!(post("csv", "", "a"), Ok((Some("a".into()), String::new(), 0)));
        assert_eq!(post("csv", "application/json", "{}"), Ok((None, "json: {}\n".into(), 1)));
    }

    #[test]
    fn other_content_types_are_refused_by_name() {
        let refused = post("json", "application/xml", "<a/>").unwrap_err();
        assert_eq!(refused.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_eq!(refused.error, "content type 'application/xml' is not supported");
    }

    #[test]
    fn arrow_comes_as_rows_if_their_types_fit() {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let rows = RecordBatch::try_new(schema.clone(), vec![Arc::new(Int64Array::from(vec![1, 2, 3]))]).unwrap();
        let mut writer = arrow::ipc::writer::StreamWriter::try_new(Vec::new(), &schema).unwrap();
        writer.write(&rows).unwrap();
        writer.write(&rows.slice(0, 1)).unwrap();
        let body = writer.into_inner().unwrap();
        let arrow = Some("application/vnd.apache.arrow.stream");
        let post = records(&options(&[]), arrow, body.clone()).unwrap();
        assert_eq!(post.rows, 4);
        let refused = |body: Vec<u8>| match records(&options(&[]), arrow, body) {
            Err(refused) => refused,
            Ok(_) => panic!("it was taken"),
        };
        for cut in [0, 3, 40, body.len() / 2] {
            assert_eq!(refused(body[..cut].to_vec()).status, StatusCode::BAD_REQUEST, "cut at {cut}");
        }
    }
}
