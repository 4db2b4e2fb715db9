//! The CSV decoder: columns by name, one record a line, the typing rules shared with JSON.

use super::*;
use crate::options::GivenOption;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::pretty::pretty_format_batches;
use proptest::prelude::*;
use std::sync::Arc;

fn make(options: &[(&str, &str)]) -> Box<dyn Decoder> {
    let given: Vec<GivenOption> = options
        .iter()
        .map(|(name, value)| GivenOption { name: name.to_string(), value: value.to_string(), position: None })
        .collect();
    let fields = Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("price", DataType::Float64, true),
    ]);
    let options = Options::check(SPEC.options, &given, "format 'csv'").unwrap();
    decoder(DecodeRequest { offsets: true, options, ..DecodeRequest::new(Arc::new(fields)) }).unwrap()
}

#[test]
fn columns_go_by_name() {
    let mut decoder = make(&[]);
    decoder.header(b"price, ID,other,name").unwrap();
    let decoded = decoder.decode(b"1.5,1,x,\"a, \"\"b\"\"\"\r\n\n,2,,\n", 10).unwrap();
    assert!(decoded.bad.is_empty(), "{:?}", decoded.bad);
    let expected = "\
+----+--------+-------+
| id | name   | price |
+----+--------+-------+
| 1  | a, \"b\" | 1.5   |
| 2  |        |       |
+----+--------+-------+";
    assert_eq!(pretty_format_batches(&[decoded.rows]).unwrap().to_string(), expected);
    assert_eq!(decoded.offsets, [10, 31]);
}

#[test]
fn says_what_is_wrong_with_a_record() {
    let mut decoder = make(&[("header", "false"), ("delimiter", ";"), ("null_string", "NA")]);
    let text = b"1;a;2\n1;a\nx;a;1\nNA;a;1\n1;\"a;1\n1;NA;NA\n1;\xff;1\n";
    let decoded = decoder.decode(text, 0).unwrap();
    assert_eq!(decoded.rows.num_rows(), 2);
    let reasons: Vec<&str> = decoded.bad.iter().map(|bad| bad.reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "expected 3 fields, got 2",
            "column \"id\": expected a number, got \"x\"",
            "column \"id\" is NULL but declared NOT NULL",
            "a quote is not closed on its line; line breaks inside a field are not supported",
            "not valid UTF-8 at byte 1",
        ]
    );
}

proptest! {
    #[test]
    fn every_record_becomes_a_row_or_a_bad_record(text in "[0-9,\"a\n\r é.]{0,80}") {
        let mut decoder = make(&[("header", "false")]);
        let decoded = decoder.decode(text.as_bytes(), 0).unwrap();
        let records = text.split('\n').filter(|line| !line.as_bytes().trim_ascii().is_empty()).count();
        prop_assert_eq!(records, decoded.rows.num_rows() + decoded.bad.len());
    }
}

#[test]
fn every_message_is_a_row_or_a_bad_record() {
    let mut decoder = make(&[]);
    for (value, offset) in [Some("1,a,1.5"), None, Some("\n"), Some("x"), Some("2,b,\n3,c,\n")].into_iter().zip(5..) {
        decoder.message(Message { offset, key: None, value: value.map(str::as_bytes) });
    }
    let decoded = decoder.finish().unwrap();
    assert_eq!(decoded.offsets, [5, 9, 9]);
    let bad: Vec<_> = decoded.bad.iter().map(|bad| (bad.offset, bad.reason.as_str())).collect();
    let reasons = ["the message has no value (a tombstone)", "the message is empty", "expected 3 fields, got 1"];
    assert_eq!(bad, [(6, reasons[0]), (7, reasons[1]), (8, reasons[2])]);
}

#[test]
fn records_under_a_broken_header_are_bad_and_the_next_header_counts() {
    let mut decoder = make(&[]);
    decoder.header(b"id,\"name,price").unwrap();
    let decoded = decoder.decode(b"1,a,2\n3,b,4\n", 0).unwrap();
    assert_eq!((decoded.rows.num_rows(), decoded.bad.len()), (0, 2));
    assert!(decoded.bad[1].reason.starts_with("the header that names the columns: a quote is not closed"));
    decoder.header(b"id,name,price").unwrap();
    assert_eq!(decoder.decode(b"1,a,2\n", 0).unwrap().rows.num_rows(), 1);
}
