//! What becomes of rows, record by record.

use super::*;
use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use proptest::prelude::*;
use std::sync::Arc;

fn make(envelope: Envelope) -> Box<dyn Decoder> {
    let fields = vec![Field::new("id", DataType::Int64, false), Field::new("name", DataType::Utf8, false)];
    let request = DecodeRequest { key: vec![0], offsets: true, ..DecodeRequest::new(Arc::new(Schema::new(fields))) };
    decoder(request, envelope).unwrap()
}

/// Each row as `difference id name`, then each bad record as `offset reason`.
fn told(decoded: Decoded) -> Vec<String> {
    let (ids, names) = (decoded.rows.column(0), decoded.rows.column(1).as_string::<i32>().clone());
    let diffs = decoded.diffs.unwrap();
    assert_eq!(diffs.len(), decoded.rows.num_rows());
    let row = |row: usize| {
        let name = names.iter().nth(row).flatten().unwrap_or("-").to_string();
        format!("{:+} {} {name}", diffs.value(row), ids.as_primitive::<Int64Type>().value(row))
    };
    let bad = decoded.bad.iter().map(|bad| format!("{} {}", bad.offset, bad.reason));
    (0..decoded.rows.num_rows()).map(row).chain(bad).collect()
}

fn messages(envelope: Envelope, messages: &[(Option<&str>, Option<&str>)]) -> Vec<String> {
    let mut decoder = make(envelope);
    for ((key, value), offset) in messages.iter().zip(1..) {
        decoder.message(Message { offset, key: key.map(str::as_bytes), value: value.map(str::as_bytes) });
    }
    told(decoder.finish().unwrap())
}

fn lines(envelope: Envelope, text: &str) -> Vec<String> {
    told(make(envelope).decode(text.as_bytes(), 0).unwrap())
}

#[test]
fn a_message_replaces_the_row_with_its_key_and_a_tombstone_removes_it() {
    let found = messages(
        Envelope::Upsert,
        &[
            (Some("{\"id\":1}"), Some("{\"id\":1,\"name\":\"a\"}")),
            (Some("{\"id\":2}"), Some("{\"name\":\"b\"}")),
            (Some("3"), Some("{\n \"name\": \"c\"\n}")),
            (None, Some("{\"id\":4,\"name\":\"d\"}")),
            (Some("not json"), Some("{\"id\":5,\"name\":\"e\"}")),
            (Some("{\"schema\":{},\"payload\":{\"id\":1}}"), None),
            (Some("2"), None),
            (Some("3"), Some("null")),
        ],
    );
    assert_eq!(found, ["+1 1 a", "+1 2 b", "+1 3 c", "+1 4 d", "+1 5 e", "-1 1 -", "-1 2 -", "-1 3 -"]);
}

#[test]
fn a_line_of_our_own_sinks_says_whether_the_row_goes() {
    let text = "{\"id\":1,\"name\":\"a\",\"_deleted\":false}\n{\"id\":1,\"name\":null,\"_deleted\":true}\n";
    assert_eq!(lines(Envelope::Upsert, text), ["+1 1 a", "-1 1 -"]);
}

#[test]
fn a_message_that_says_nothing_is_a_bad_record() {
    let found = messages(
        Envelope::Upsert,
        &[
            (None, None),
            (Some("x"), None),
            (Some("1"), Some("")),
            (Some("1"), Some("[1]")),
            (Some("1"), Some("{\"id\":1}")),
            (None, Some("{\"name\":\"a\"}")),
            (Some("1"), Some("{\"id\":1,\"name\":\"a\"")),
        ],
    );
    assert_eq!(found.len(), 7, "{found:?}");
    assert_eq!(found[0], "1 the message has neither a value nor a key");
    assert_eq!(found[1], "2 column \"id\": expected a number, got \"x\"");
    assert_eq!(found[2], "3 the message is empty");
    assert_eq!(found[3], "4 expected a JSON object, got [1]");
    assert_eq!(found[4], "5 column \"name\" is NULL but declared NOT NULL");
    assert_eq!(found[5], "6 column \"id\" is NULL but declared NOT NULL");
    assert!(found[6].starts_with("7 not valid JSON"), "{}", found[6]);
}

#[test]
fn lines_are_rows_or_keys_with_values() {
    let text = "{\"id\":1,\"name\":\"a\"}\n{\"key\":{\"id\":2},\"value\":{\"name\":\"b\"}}\n\n\
                {\"key\":{\"id\":1},\"value\":null}\n{\"key\":2}\n{\"value\":{\"id\":3,\"name\":\"c\"}}\n{}\n";
    let found = lines(Envelope::Upsert, text);
    assert_eq!(found[..5], ["+1 1 a", "+1 2 b", "-1 1 -", "-1 2 -", "+1 3 c"]);
    assert_eq!(found.len(), 6);
}

#[test]
fn changes_of_debezium_put_and_remove_rows() {
    let key = Some("{\"payload\":{\"id\":1}}");
    let found = messages(
        Envelope::Debezium,
        &[
            (key, Some("{\"before\":null,\"after\":{\"id\":1,\"name\":\"a\"},\"op\":\"c\",\"source\":{\"lsn\":1}}")),
            (
                key,
                Some(
                    "{\"schema\":{\"x\":[]},\"payload\":{\"before\":{\"id\":1,\"name\":\"a\"},\
                     \"after\":{\"id\":1,\"name\":\"b\"},\"op\":\"u\"}}",
                ),
            ),
            (None, Some("{\"after\":{\"id\":2,\"name\":\"c\"},\"op\":\"r\"}")),
            (None, Some("{\"before\":{\"id\":2,\"name\":\"c\"},\"after\":null,\"op\":\"d\"}")),
            (key, Some("{\"before\":null,\"after\":null,\"op\":\"d\"}")),
            (key, None),
        ],
    );
    assert_eq!(found, ["+1 1 a", "+1 1 b", "+1 2 c", "-1 2 -", "-1 1 -"]);
    let line = "{\"payload\":{\"before\":{\"id\":7},\"op\":\"d\"}}\n";
    assert_eq!(lines(Envelope::Debezium, line), ["-1 7 -"]);
}

#[test]
fn what_is_no_change_of_debezium_is_a_bad_record() {
    let found = messages(
        Envelope::Debezium,
        &[
            (None, Some("{\"id\":1,\"name\":\"a\"}")),
            (None, Some("{\"op\":\"c\",\"after\":null}")),
            (None, Some("{\"op\":\"d\",\"before\":null}")),
            (None, Some("{\"op\":\"t\"}")),
            (None, Some("{\"payload\":null}")),
        ],
    );
    let expected = [
        "1 the record has no \"op\", so it is no change of Debezium",
        "2 the change has no \"after\"",
        "3 the change has no \"before\", and its message no key",
        "4 op \"t\" is none of c, u, r and d",
        "5 the envelope has no payload",
    ];
    assert_eq!(found, expected);
}

proptest! {
    #[test]
    fn any_bytes_are_accounted_for(lines in prop::collection::vec("[ -~]{0,40}", 0..6), debezium in any::<bool>()) {
        let text = lines.join("\n");
        let mut decoder = make(if debezium { Envelope::Debezium } else { Envelope::Upsert });
        let decoded = decoder.decode(text.as_bytes(), 0).unwrap();
        let records = lines.iter().filter(|line| !line.trim().is_empty()).count();
        prop_assert_eq!(records, decoded.rows.num_rows() + decoded.bad.len());
    }
}
