//! The JSON decoder against Arrow's own reader, and against lines that are no rows.

use super::*;
use crate::wanted::Wanted;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Float64Type, Int32Type, Int64Type, Schema, TimeUnit};
use arrow::util::pretty::pretty_format_batches;
use proptest::prelude::*;
use std::sync::Arc;

fn field(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

fn telemetry() -> Vec<Field> {
    vec![
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), false),
        field("host", DataType::Utf8),
        field("latency_ms", DataType::Float64),
        field("status", DataType::Int32),
    ]
}

fn decode_wanted(fields: Vec<Field>, wanted: Vec<bool>, text: &[u8]) -> Decoded {
    let wanted = wanted.into_iter().map(Wanted::from).collect();
    let request = DecodeRequest { wanted, offsets: true, ..DecodeRequest::new(Arc::new(Schema::new(fields))) };
    decoder(request).unwrap().decode(text, 1_000).unwrap()
}

fn decode(fields: Vec<Field>, text: &str) -> Decoded {
    let wanted = vec![true; fields.len()];
    decode_wanted(fields, wanted, text.as_bytes())
}

/// The reason why `value` does not fit a column of this type.
fn reason(data_type: DataType, value: &str) -> String {
    let decoded = decode(vec![field("x", data_type)], &format!("{{\"x\":{value}}}\n"));
    assert_eq!(decoded.rows.num_rows(), 0, "{value} was taken");
    decoded.bad[0].reason.clone()
}

/// The only value of a column of this type, as Arrow prints it.
fn printed(data_type: DataType, value: &str) -> String {
    let decoded = decode(vec![field("x", data_type)], &format!("{{\"x\":{value}}}"));
    assert!(decoded.bad.is_empty(), "{:?}", decoded.bad);
    arrow::util::display::array_value_to_string(decoded.rows.column(0), 0).unwrap()
}

#[test]
fn reads_rows_in_any_order_and_spacing() {
    let text = concat!(
        r#"{"ts":"2026-01-01T00:00:00.0001Z","host":"a","latency_ms":1.5,"status":200}"#,
        "\n\n   \r\n",
        r#"{ "status" : 404 , "extra": [1, {"host": "no"}], "host" : "b\n\u00e9" , "ts" : "2026-01-01 00:00:01" }"#,
        "\r\n",
        r#"{"ts":1767225602,"host":null,"latency_ms":"2.5","status":3.0,"status":5e1}"#,
    );
    let decoded = decode(telemetry(), text);
    assert!(decoded.bad.is_empty(), "{:?}", decoded.bad);
    let expected = "\
+----------------------------+------+------------+--------+
| ts                         | host | latency_ms | status |
+----------------------------+------+------------+--------+
| 2026-01-01T00:00:00.000100 | a    | 1.5        | 200    |
| 2026-01-01T00:00:01        | b    |            | 404    |
|                            | é    |            |        |
| 2026-01-01T00:00:02        |      | 2.5        | 50     |
+----------------------------+------+------------+--------+";
    assert_eq!(pretty_format_batches(&[decoded.rows]).unwrap().to_string(), expected);
    assert_eq!(decoded.offsets[0], 1_000);
    assert_eq!(decoded.offsets[2], 1_000 + text.rfind("{\"ts\"").unwrap() as u64);
}

#[test]
fn says_what_is_wrong_with_a_line() {
    let bad = |line: &str| {
        let good = r#"{"ts":"2026-01-01T00:00:00Z"}"#;
        let decoded = decode(telemetry(), &format!("{good}\n{line}\n{good}\n"));
        assert_eq!(decoded.rows.num_rows(), 2);
        assert_eq!(decoded.bad.len(), 1, "{line}");
        assert_eq!(decoded.bad[0].raw, line.as_bytes());
        assert_eq!(decoded.bad[0].offset, 1_000 + good.len() as u64 + 1);
        decoded.bad[0].reason.clone()
    };
    assert_eq!(
        bad(r#"{"ts":"2026-01-01T00:00:00Z","latency_ms":"fast"}"#),
        "column \"latency_ms\": expected a number, got \"fast\""
    );
    assert_eq!(bad(r#"{"host":"a"}"#), "column \"ts\" is NULL but declared NOT NULL");
    assert_eq!(bad(r#"{"ts":null}"#), "column \"ts\" is NULL but declared NOT NULL");
    assert_eq!(bad("[1,2]"), "expected a JSON object, got [1,2]");
    for line in [r#"{"ts":"2026-01-01T00:00:00Z","#, "nonsense", r#"{"ts":1} x"#, r#"{"ts":01}"#, "{'ts':1}"] {
        assert!(bad(line).starts_with("not valid JSON at byte "), "{}", bad(line));
    }
    let deep = format!("{{\"host\":{}{}}}", "[".repeat(1_000), "]".repeat(1_000));
    assert!(bad(&deep).contains("100 deep"));
}

#[test]
fn bytes_that_are_no_text_spoil_only_their_line() {
    let text = b"{\"ts\":1767225600,\"host\":\"a\"}\n{\"ts\":1767225600,\"host\":\"\xff\"}\n{\"ts\":1767225600}";
    let decoded = decode_wanted(telemetry(), vec![true; 4], text);
    assert_eq!((decoded.rows.num_rows(), decoded.bad.len()), (2, 1));
    assert_eq!(decoded.bad[0].reason, "not valid UTF-8 at byte 25");
    assert_eq!(decoded.offsets, [1_000, 1_058]);
}

#[test]
fn numbers_must_fit_their_column() {
    assert_eq!(reason(DataType::Int32, "3.5"), "column \"x\": expected a whole number, got 3.5");
    assert_eq!(reason(DataType::Int8, "300"), "column \"x\": 300 is out of range (-128 to 127)");
    assert_eq!(reason(DataType::UInt8, "-1"), "column \"x\": -1 is out of range (0 to 255)");
    assert_eq!(
        reason(DataType::Int64, "1e30"),
        "column \"x\": 1e30 is out of range (-9223372036854775808 to 9223372036854775807)"
    );
    assert_eq!(reason(DataType::Float64, "true"), "column \"x\": expected a number, got true");
    assert_eq!(reason(DataType::Float64, "1e999"), "column \"x\": 1e999 is out of range for a floating-point number");
    assert_eq!(reason(DataType::Boolean, "7"), "column \"x\": expected true or false, got 7");
    assert_eq!(printed(DataType::Int64, "\"-17\""), "-17");
    assert_eq!(printed(DataType::UInt64, "18446744073709551615"), "18446744073709551615");
    assert_eq!(printed(DataType::Decimal128(10, 2), "12.34"), "12.34");
    assert_eq!(printed(DataType::Boolean, "true"), "true");
}

#[test]
fn reads_every_declared_type() {
    assert_eq!(printed(DataType::Date32, "\"2026-01-31\""), "2026-01-31");
    assert_eq!(printed(DataType::Time64(TimeUnit::Microsecond), "\"13:45:00.5\""), "13:45:00.500");
    assert_eq!(printed(DataType::Utf8View, "\"view\""), "view");
    assert_eq!(printed(DataType::LargeUtf8, "\"large\""), "large");
    assert_eq!(printed(DataType::Binary, "\"ab\""), "6162");
    assert_eq!(printed(DataType::Utf8, r#"{"a": [1, "x"]}"#), r#"{"a": [1, "x"]}"#);
    let list = DataType::List(Arc::new(field("item", DataType::Int32)));
    assert_eq!(printed(list.clone(), "[1, null, 3]"), "[1, , 3]");
    assert_eq!(reason(list, "[1, \"x\"]"), "column \"x.[]\": expected a number, got \"x\"");
    let point = DataType::Struct(vec![field("a", DataType::Int32), field("b", DataType::Utf8)].into());
    assert_eq!(printed(point.clone(), r#"{"b":"y","c":0,"a":1}"#), "{a: 1, b: y}");
    assert_eq!(reason(point, r#"{"a":{}}"#), "column \"x.a\": expected a number, got {}");
    let pair = vec![Field::new("keys", DataType::Utf8, false), field("values", DataType::Float64)];
    let map = DataType::Map(Arc::new(Field::new("entries", DataType::Struct(pair.into()), false)), false);
    assert_eq!(printed(map, r#"{"a":1,"b":null}"#), "{a: 1.0, b: }");
}

#[test]
fn what_nobody_wants_is_checked_but_not_kept() {
    let text = b"{\"ts\":1767225600,\"host\":\"a\",\"latency_ms\":1,\"status\":200}\n{\"ts\":1,\"status\":\"ok\"}\n";
    let decoded = decode_wanted(telemetry(), vec![true, false, true, false], text);
    assert_eq!((decoded.rows.num_rows(), decoded.bad.len()), (1, 1));
    assert_eq!(decoded.bad[0].reason, "column \"status\": expected a number, got \"ok\"");
    assert_eq!(decoded.rows.column(1).null_count(), 1);
    assert_eq!(decoded.rows.column(3).null_count(), 1);
}

/// The column `bid` of some lines of which so much is wanted.
fn bids(wanted: Wanted, lines: &str) -> Decoded {
    let place = DataType::Struct(vec![field("lat", DataType::Float64), field("town", DataType::Utf8)].into());
    let fields = vec![
        field("price", DataType::Int64),
        field("url", DataType::Utf8),
        field("place", place),
        Field::new("id", DataType::Int64, false),
        field("tags", DataType::List(Arc::new(field("item", DataType::Utf8)))),
    ];
    let schema = Arc::new(Schema::new(vec![field("bid", DataType::Struct(fields.into()))]));
    let request = DecodeRequest { wanted: vec![wanted], ..DecodeRequest::new(schema) };
    decoder(request).unwrap().decode(lines.as_bytes(), 0).unwrap()
}

#[test]
fn of_a_record_only_the_fields_that_are_wanted_are_kept_and_all_are_checked() {
    let lines = [
        r#"{"bid":{"price":7,"url":"a","place":{"lat":1.5,"town":"Kiel"},"id":1,"tags":["x"]}}"#,
        r#"{"bid":null}"#,
        r#"{"bid":{"id":2,"tags":["y","z"],"place":{"town":"Ulm","town":"Bonn"}}}"#,
        r#"{"bid":{"id":3,"price":"dear"}}"#,
        r#"{"bid":{"id":4,"place":{"lat":"north"}}}"#,
        r#"{"bid":{"id":5,"tags":7}}"#,
        r#"{"bid":{"price":8}}"#,
        r#"{"bid":{"id":6,"url":8,"price":9,"place":{}}}"#,
    ];
    let town = Wanted::at(["place", "town"].into_iter(), Wanted::Whole);
    let decoded = bids(town, &lines.join("\n"));
    let printed = arrow::util::pretty::pretty_format_batches(&[decoded.rows]).unwrap().to_string();
    let rows = printed.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| bid"));
    assert_eq!(
        rows.map(str::trim_end).collect::<Vec<_>>(),
        [
            "| {price: , url: , place: {lat: , town: Kiel}, id: 1, tags: } |",
            "|                                                             |",
            "| {price: , url: , place: {lat: , town: Bonn}, id: 2, tags: } |",
            "| {price: , url: , place: {lat: , town: }, id: 6, tags: }     |",
        ]
    );
    let reasons: Vec<_> = decoded.bad.iter().map(|bad| bad.reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "column \"bid.price\": expected a number, got \"dear\"",
            "column \"bid.place.lat\": expected a number, got \"north\"",
            "column \"bid.tags\": expected a list, got 7",
            "column \"bid.id\" is NULL but declared NOT NULL",
        ]
    );
}

#[test]
fn whether_a_record_is_there_is_known_without_any_of_its_fields() {
    let decoded = bids(Wanted::Fields(Default::default()), "{\"bid\":{\"id\":1,\"price\":3}}\n{}\n");
    assert_eq!(decoded.rows.column(0).null_count(), 1);
    assert_eq!(decoded.rows.column(0).as_struct().column(0).null_count(), 2);
    let decoded = bids(Wanted::Nothing, "{\"bid\":{\"id\":1}}\n{\"bid\":{}}\n{}\n");
    assert_eq!((decoded.rows.num_rows(), decoded.rows.column(0).null_count(), decoded.bad.len()), (2, 2, 1));
}

proptest! {
    /// Whatever is wanted: the same rows and bad records, and of the rows the same in what is wanted.
    #[test]
    fn what_is_wanted_changes_neither_rows_nor_faults(
        bids in prop::collection::vec((any::<Option<i64>>(), "[a-z]{0,9}", any::<Option<i8>>(), 0..9u8), 1..40)
    ) {
        let mut lines = String::new();
        for (price, town, id, kind) in bids {
            lines += &match kind {
                0 => serde_json::json!({}),
                1 => serde_json::json!({"bid": {"price": town, "id": id}}),
                2 => serde_json::json!({"bid": {"price": price, "id": id}}),
                3 => serde_json::json!({"bid": {"place": null, "id": id, "tags": [town, town]}}),
                _ => serde_json::json!({"bid": {"price": price, "url": town, "id": id, "place": {"town": town, "lat": id}}}),
            }
            .to_string();
            lines += "\n";
        }
        let whole = self::bids(Wanted::Whole, &lines);
        let mut some = Wanted::at(["place", "town"].into_iter(), Wanted::Whole);
        some.add(Wanted::at(["price"].into_iter(), Wanted::Whole));
        let part = self::bids(some, &lines);
        prop_assert_eq!(&whole.bad, &part.bad);
        let (whole, part) = (whole.rows.column(0).as_struct(), part.rows.column(0).as_struct());
        prop_assert_eq!(whole.nulls(), part.nulls());
        prop_assert_eq!(whole.column(0), part.column(0));
        prop_assert_eq!(whole.column(2).as_struct().column(1), part.column(2).as_struct().column(1));
        prop_assert_eq!(whole.column(2).as_struct().nulls(), part.column(2).as_struct().nulls());
    }
}

#[test]
fn the_last_of_two_values_counts() {
    let decoded = decode(telemetry(), r#"{"ts":1,"host":"long enough","status":1,"host":"b","status":null}"#);
    assert_eq!(decoded.rows.column(1).as_string::<i32>().value(0), "b");
    assert!(decoded.rows.column(3).as_primitive::<Int32Type>().is_null(0));
}

#[test]
fn a_view_without_columns_still_counts_rows() {
    assert_eq!(decode(Vec::new(), "{\"a\":1}\n{}\n").rows.num_rows(), 2);
}

/// A line of JSON, good or not.
fn line() -> impl Strategy<Value = String> {
    let good = (any::<u32>(), "[ -~é\\\\\"]{0,20}", any::<Option<f64>>(), any::<i32>()).prop_map(
        |(ts, host, latency, status)| {
            let latency = latency.filter(|l| l.is_finite());
            serde_json::json!({"ts": ts, "host": host, "latency_ms": latency, "status": status}).to_string()
        },
    );
    let garbage = "[\\{\\}\\[\\]\":,a-z0-9 \\\\.\\-é]{1,30}";
    (good, garbage, 0usize..60, 0u8..4).prop_map(|(good, garbage, cut, kind)| match kind {
        0 | 1 => good,
        2 => good.chars().take(cut).collect(),
        _ => garbage,
    })
}

proptest! {
    #[test]
    fn every_record_becomes_a_row_or_a_bad_record(lines in prop::collection::vec(line(), 0..20)) {
        let text = lines.join("\n");
        let decoded = decode(telemetry(), &text);
        let records: Vec<&String> = lines.iter().filter(|l| !l.trim_matches([' ', '\t', '\r']).is_empty()).collect();
        prop_assert_eq!(records.len(), decoded.rows.num_rows() + decoded.bad.len());
        // A row is an object to serde_json too, and what serde_json cannot read is no row.
        let objects = records.iter().filter(|l| serde_json::from_str::<serde_json::Map<_, _>>(l).is_ok()).count();
        prop_assert!(decoded.rows.num_rows() <= objects);
        for bad in &decoded.bad {
            if bad.reason.starts_with("not valid JSON") {
                let line = String::from_utf8(bad.raw.clone()).unwrap();
                prop_assert!(serde_json::from_str::<serde_json::Value>(&line).is_err(), "{}", line);
            }
        }
    }

    #[test]
    fn any_bytes_are_accounted_for(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let decoded = decode_wanted(telemetry(), vec![true; 4], &bytes);
        let records = bytes.split(|b| *b == b'\n').filter(|l| !l.iter().all(|b| b" \t\r".contains(b))).count();
        prop_assert_eq!(records, decoded.rows.num_rows() + decoded.bad.len());
    }

    #[test]
    fn valid_rows_read_as_arrow_reads_them(
        rows in prop::collection::vec((any::<i64>(), "\\PC{0,30}", -1e15f64..1e15, any::<Option<i64>>(), any::<bool>()), 1..20)
    ) {
        let fields = vec![
            field("t", DataType::Timestamp(TimeUnit::Nanosecond, None)),
            field("s", DataType::Utf8),
            field("f", DataType::Float64),
            field("i", DataType::Int64),
            field("b", DataType::Boolean),
        ];
        let mut text = String::new();
        for (t, s, f, i, b) in rows {
            let at = arrow::temporal_conversions::timestamp_ns_to_datetime(t / 4).unwrap();
            let t = at.format("%Y-%m-%dT%H:%M:%S%.f").to_string();
            text += &serde_json::json!({"t": t, "s": s, "f": f, "i": i, "b": b}).to_string();
            text.push('\n');
        }
        let schema = Arc::new(Schema::new(fields.clone()));
        let reader = arrow::json::ReaderBuilder::new(schema).build(text.as_bytes()).unwrap();
        let expected: Vec<RecordBatch> = reader.collect::<std::result::Result<_, _>>().unwrap();
        let decoded = decode(fields, &text);
        prop_assert!(decoded.bad.is_empty(), "{:?}", decoded.bad);
        prop_assert_eq!(&decoded.rows, &expected[0]);
        prop_assert_eq!(decoded.rows.column(2).as_primitive::<Float64Type>().null_count(), 0);
        let _ = decoded.rows.column(3).as_primitive::<Int64Type>();
    }
}

/// What becomes of messages with these values at offsets 10, 20, ...
fn messages(fields: Vec<Field>, values: &[Option<&str>]) -> Decoded {
    let wanted = vec![true; fields.len()];
    let wanted = wanted.into_iter().map(Wanted::from).collect();
    let request = DecodeRequest { wanted, offsets: true, ..DecodeRequest::new(Arc::new(Schema::new(fields))) };
    let mut decoder = decoder(request).unwrap();
    for (value, offset) in values.iter().zip((10..).step_by(10)) {
        decoder.message(Message { offset, key: None, value: value.map(str::as_bytes) });
    }
    decoder.finish().unwrap()
}

#[test]
fn a_message_holds_an_object_on_one_line_or_several_or_several_objects() {
    let decoded = messages(
        vec![field("x", DataType::Int64)],
        &[
            Some("{\"x\":1}"),
            Some("{\n  \"y\": {\"x\": [\n]},\n  \"x\": 2\n}\n"),
            Some("{\"x\":3}\n{\"x\":4}\n"),
            Some("{\"x\":5}\n"),
        ],
    );
    assert_eq!(decoded.bad, []);
    assert_eq!(decoded.rows.column(0).as_primitive::<Int64Type>().values(), &[1, 2, 3, 4, 5]);
    assert_eq!(decoded.offsets, [10, 20, 30, 30, 40]);
}

#[test]
fn every_message_is_a_row_or_a_bad_record() {
    let decoded = messages(
        vec![field("x", DataType::Int64)],
        &[None, Some(""), Some(" \n"), Some("{\"x\":\"a\"}"), Some("{\"x\""), Some("{\"x\":2}")],
    );
    assert_eq!(decoded.offsets, [60]);
    let bad: Vec<_> = decoded.bad.iter().map(|bad| (bad.offset, bad.reason.as_str())).collect();
    assert_eq!(
        bad,
        [
            (10, "the message has no value (a tombstone)"),
            (20, "the message is empty"),
            (30, "the message is empty"),
            (40, "column \"x\": expected a number, got \"a\""),
            (50, "not valid JSON at byte 4: expected this character to be a ':' while parsing"),
        ]
    );
}

#[test]
fn records_of_one_stream_may_be_spaced_differently() {
    let decoded = decode(vec![field("n", DataType::Int64)], "{\"n\":1}\n{\"n\": 2}\n{ \"n\" :\t3 }\n{\"n\":  4}\n");
    assert_eq!((decoded.rows.num_rows(), decoded.bad), (4, vec![]));
}

/// A record about something: some of its fields, in some order, where fields may be objects themselves.
fn about() -> impl Strategy<Value = String> {
    let inner = (any::<Option<i32>>(), "[a-z\"\\\\]{0,6}", any::<u8>()).prop_map(|(n, text, kind)| match kind % 4 {
        0 => "null".to_string(),
        1 => serde_json::json!({"n": n, "text": text}).to_string(),
        2 => serde_json::json!({"text": text, "other": [{"n": 1}], "n": n}).to_string(),
        _ => "{ }".to_string(),
    });
    let outer = (inner, any::<i32>(), any::<u8>()).prop_map(|(inner, id, kind)| match kind % 4 {
        0 => "null".to_string(),
        1 => format!("{{\"id\":{id},\"inner\":{inner}}}"),
        2 => format!("{{\"inner\": {inner}, \"id\": {id}}}"),
        _ => format!("{{\"inner\":{inner}}}"),
    });
    (outer.clone(), outer, any::<i32>(), any::<u8>()).prop_map(|(a, b, n, kind)| match kind % 4 {
        0 => format!("{{\"n\":{n},\"a\":{a},\"b\":{b}}}"),
        1 => format!("{{\"a\":{a}}}"),
        2 => format!("{{\"b\":{b},\"unknown\":{a},\"n\":{n}}}"),
        _ => format!("{{\"n\":{n},\"a\":null,\"b\":{b}}}"),
    })
}

fn about_fields() -> Vec<Field> {
    let inner = DataType::Struct(vec![field("n", DataType::Int32), field("text", DataType::Utf8)].into());
    let outer = DataType::Struct(vec![field("id", DataType::Int64), field("inner", inner)].into());
    vec![field("n", DataType::Int32), field("a", outer.clone()), field("b", outer)]
}

proptest! {
    #[test]
    fn objects_in_objects_read_as_arrow_reads_them(
        lines in prop::collection::vec((about(), 0u8..8), 1..30), wanted in any::<[bool; 2]>(),
    ) {
        // Some records are wrong deep inside: nothing of them may be left in the columns.
        let wrong = r#"{"n":1,"a":{"id":1,"inner":{"text":"left over","n":"x"}},"b":{"id":2}}"#;
        let text: String =
            lines.iter().map(|(line, kind)| format!("{}\n", if *kind == 0 { wrong } else { line })).collect();
        let good: String = lines.iter().filter(|(_, kind)| *kind > 0).map(|(line, _)| format!("{line}\n")).collect();
        let reader = arrow::json::ReaderBuilder::new(Arc::new(Schema::new(about_fields()))).build(good.as_bytes());
        let expected: Vec<RecordBatch> = reader.unwrap().collect::<std::result::Result<_, _>>().unwrap();
        let decoded = decode_wanted(about_fields(), vec![true, wanted[0], wanted[1]], text.as_bytes());
        prop_assert_eq!(decoded.bad.len(), lines.iter().filter(|(_, kind)| *kind == 0).count());
        for bad in &decoded.bad {
            prop_assert_eq!(&bad.reason, "column \"a.inner.n\": expected a number, got \"x\"");
        }
        let Some(expected) = expected.first() else { return Ok(()) };
        for (column, wanted) in [true, wanted[0], wanted[1]].into_iter().enumerate() {
            if wanted {
                prop_assert_eq!(decoded.rows.column(column), expected.column(column));
            }
        }
    }
}

#[test]
fn the_last_of_two_values_counts_in_an_object_too() {
    let text = r#"{"a":{"id":1,"inner":{"n":7,"n":8},"id":2,"inner":{"text":"b"}}}"#;
    let decoded = decode(about_fields(), text);
    let printed = arrow::util::display::array_value_to_string(decoded.rows.column(1), 0).unwrap();
    assert_eq!(printed, "{id: 2, inner: {n: , text: b}}");
}

#[test]
fn what_may_not_be_null_may_not_be_missing_in_an_object() {
    let point = DataType::Struct(vec![Field::new("x", DataType::Int32, false), field("y", DataType::Int32)].into());
    assert_eq!(reason(point.clone(), "{\"y\":1}"), "column \"x.x\" is NULL but declared NOT NULL");
    assert_eq!(printed(point.clone(), "{\"x\":1}"), "{x: 1, y: }");
    let decoded = decode(vec![field("x", point)], "{\"x\":null}\n{\"x\":{\"x\":1}}\n{}\n");
    assert_eq!((decoded.rows.num_rows(), decoded.rows.column(0).null_count()), (3, 2));
}

#[test]
fn what_is_no_json_in_an_object_is_told_as_such() {
    let decoded =
        decode(about_fields(), "{\"a\":{\"id\":1,\"inner\":{\"n\":1}}\n{\"a\":{\"id\":tru}}\n{\"a\":{\"id\":1}}\n");
    assert_eq!((decoded.rows.num_rows(), decoded.bad.len()), (1, 2));
    assert!(decoded.bad.iter().all(|bad| bad.reason.starts_with("not valid JSON at byte")), "{:?}", decoded.bad);
}
