//! Messages written by the library and read here, and the other way round.

use super::super::{EncodeRequest, Records, by_name, encoder};
use super::*;
use crate::options::{GivenOption, Options};
use arrow::array::{
    ArrayRef, AsArray, BinaryArray, BooleanArray, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch,
    StringArray, TimestampMillisecondArray, UInt32Array, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Fields, Int32Type, Schema, SchemaRef, TimeUnit};
use arrow::util::pretty::pretty_format_batches;
use proptest::prelude::*;
use prost_reflect::prost::Message as _;
use prost_reflect::{DynamicMessage, Value as Reflected};
use std::sync::Mutex;

const ORDER: &str = r#"
syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
message Customer { string name = 1; repeated string tags = 2; optional int32 age = 3; }
enum State { UNKNOWN = 0; OPEN = 1; PAID = 2; }
message Order {
  int64 id = 1;
  google.protobuf.Timestamp placed = 2;
  State state = 3;
  double price = 4;
  optional uint32 count = 5;
  bytes code = 6;
  Customer customer = 7;
  map<string, int32> items = 8;
  repeated sint64 steps = 9;
  oneof paid_by { string card = 10; int32 voucher = 11; }
  bool gift = 12;
  google.protobuf.Int64Value bonus = 13;
  float weight = 14;
  fixed64 stamp = 15;
  sint32 shift = 16;
}
"#;

fn field(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

fn list(of: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", of, true)))
}

fn columns(fields: Vec<Field>) -> SchemaRef {
    Arc::new(Schema::new(fields))
}

/// Every kind of field that there is.
fn all_columns() -> SchemaRef {
    let customer = Fields::from(vec![
        field("name", DataType::Utf8),
        field("tags", list(DataType::Utf8)),
        field("age", DataType::Int32),
    ]);
    let entry = Fields::from(vec![Field::new("key", DataType::Utf8, false), field("value", DataType::Int64)]);
    columns(vec![
        field("id", DataType::Int64),
        field("placed", DataType::Timestamp(TimeUnit::Millisecond, None)),
        field("state", DataType::Utf8),
        field("price", DataType::Float64),
        field("count", DataType::Int32),
        field("code", DataType::Binary),
        field("customer", DataType::Struct(customer)),
        field("items", DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entry), false)), false)),
        field("steps", list(DataType::Int64)),
        field("card", DataType::Utf8),
        field("voucher", DataType::Int32),
        field("gift", DataType::Boolean),
        field("bonus", DataType::Int64),
        field("weight", DataType::Float64),
        field("stamp", DataType::UInt64),
        field("shift", DataType::Int32),
        field("not_in_the_schema", DataType::Utf8),
    ])
}

fn descriptor(schema: &str, message: &str) -> MessageDescriptor {
    schema::given(schema, Some(message)).unwrap()
}

/// A message from its JSON, as Protobuf has it.
fn message(descriptor: &MessageDescriptor, json: &str) -> Vec<u8> {
    let mut json = serde_json::Deserializer::from_str(json);
    DynamicMessage::deserialize(descriptor.clone(), &mut json).unwrap().encode_to_vec()
}

fn order(json: &str) -> Vec<u8> {
    message(&descriptor(ORDER, "shop.Order"), json)
}

fn options_of(given: &[(&str, &str)]) -> Options {
    let given = given.iter().map(|(name, value)| GivenOption {
        name: name.to_string(),
        value: value.to_string(),
        position: None,
    });
    Options::check(SPEC.options, &given.collect::<Vec<_>>(), "format protobuf").unwrap()
}

fn request(fields: SchemaRef, options: &[(&str, &str)]) -> DecodeRequest {
    let options = options_of(options);
    DecodeRequest { options, offsets: true, ..DecodeRequest::new(fields) }
}

fn decode_with(request: DecodeRequest, messages: &[Vec<u8>]) -> Decoded {
    let mut decoder = (SPEC.decoder.unwrap())(request).unwrap();
    for (offset, value) in messages.iter().enumerate() {
        decoder.message(Message { offset: offset as u64, key: None, value: Some(value) });
    }
    decoder.finish().unwrap()
}

fn decode(fields: SchemaRef, messages: &[Vec<u8>]) -> Decoded {
    decode_with(request(fields, &[("schema", ORDER), ("message", "shop.Order")]), messages)
}

/// The values of the first row, by their columns.
fn shown(decoded: &Decoded) -> String {
    let rows = &decoded.rows;
    let value = |at: usize| arrow::util::display::array_value_to_string(rows.column(at), 0).unwrap();
    let valid = (0..rows.num_columns()).filter(|at| rows.column(*at).is_valid(0));
    valid.map(|at| format!("{}={}\n", rows.schema().field(at).name(), value(at))).collect()
}

#[test]
fn every_kind_of_field_becomes_a_column() {
    let full = order(
        r#"{"id": "-7", "placed": "2026-01-31T12:00:00.250Z", "state": "PAID", "price": 2.5, "count": 3, "code": "AP8=",
            "customer": {"name": "Ada", "tags": ["a", "b"]}, "items": {"tea": 2, "cake": 1}, "steps": ["-1", "2"],
            "voucher": 11, "gift": true, "bonus": "0", "weight": 0.5, "stamp": "18446744073709551615", "shift": -3}"#,
    );
    let decoded = decode(all_columns(), &[full]);
    assert_eq!(decoded.bad, []);
    let expected = "id=-7\nplaced=2026-01-31T12:00:00.250\nstate=PAID\nprice=2.5\ncount=3\ncode=00ff\n\
        customer={name: Ada, tags: [a, b], age: }\nitems={cake: 1, tea: 2}\nsteps=[-1, 2]\nvoucher=11\ngift=true\n\
        bonus=0\nweight=0.5\nstamp=18446744073709551615\nshift=-3\n";
    assert_eq!(shown(&decoded), expected);
}

#[test]
fn what_is_absent_is_null_only_where_that_can_be_told() {
    // An empty message is a message, of defaults.
    let decoded = decode(all_columns(), &[Vec::new()]);
    let expected =
        "id=0\nstate=UNKNOWN\nprice=0.0\ncode=\nitems={}\nsteps=[]\ngift=false\nweight=0.0\nstamp=0\nshift=0\n";
    assert_eq!((shown(&decoded).as_str(), decoded.bad.len()), (expected, 0));
}

#[test]
fn nested_values_are_json_in_columns_of_text() {
    let fields = ["customer", "items", "steps", "placed", "state"].map(|name| field(name, DataType::Utf8));
    let full = order(
        r#"{"placed": "2026-01-31T12:00:00Z", "customer": {"name": "Ada"}, "items": {"tea": 2}, "steps": ["1"], "state": 9}"#,
    );
    let decoded = decode(columns(fields.to_vec()), &[full]);
    let expected = "customer={\"name\":\"Ada\",\"tags\":[]}\nitems={\"tea\":2}\nsteps=[1]\n\
        placed=2026-01-31T12:00:00Z\nstate=9\n";
    assert_eq!(shown(&decoded), expected);
}

#[test]
fn enums_are_numbers_in_columns_of_numbers() {
    let decoded = decode(columns(vec![field("state", DataType::Int32)]), &[order(r#"{"state": "PAID"}"#), order("{}")]);
    assert_eq!(decoded.rows.column(0).as_primitive::<Int32Type>().values(), &[2, 0]);
}

#[test]
fn parts_of_one_message_merge_and_the_last_of_a_oneof_wins() {
    let halves = [
        order(r#"{"placed": "1970-01-01T00:00:07Z", "card": "old", "customer": {"name": "Ada"}}"#),
        order(r#"{"placed": "1970-01-01T00:00:00.500Z", "voucher": 4, "customer": {"tags": ["x"]}}"#),
    ];
    let decoded = decode(all_columns(), &[halves.concat()]);
    let shown = shown(&decoded);
    assert!(shown.contains("placed=1970-01-01T00:00:07.500\n"), "{shown}");
    assert!(shown.contains("customer={name: Ada, tags: [x], age: }\n"), "{shown}");
    assert!(shown.contains("voucher=4\n") && !shown.contains("card="), "{shown}");
}

#[test]
fn what_is_no_message_is_a_dead_letter_and_the_others_stay() {
    let fields = columns(vec![
        Field::new("id", DataType::Int64, false),
        field("count", DataType::Int8),
        Field::new("card", DataType::Utf8, true),
        field("price", DataType::Float64),
    ]);
    let good = order(r#"{"id": "1", "count": 5, "card": "c"}"#);
    let mut cut_off = good.clone();
    cut_off.pop();
    let messages = [
        good.clone(),
        cut_off,
        vec![0xff; 12],
        // Field 4 is a double, and here is a varint.
        vec![0x20, 1],
        order(r#"{"id": "2", "count": 1000}"#),
        // Field 10 holds no UTF-8.
        vec![0x52, 1, 0xff],
        good,
    ];
    let decoded = decode(fields, &messages);
    assert_eq!(decoded.offsets, [0, 6]);
    let reasons: Vec<_> = decoded.bad.iter().map(|bad| (bad.offset, bad.reason.as_str())).collect();
    assert_eq!(reasons.len(), 5);
    assert!(reasons[0].1.starts_with("not valid Protobuf"), "{reasons:?}");
    assert!(reasons[1].1.starts_with("not valid Protobuf"), "{reasons:?}");
    assert_eq!(reasons[2], (3, "field \"price\": its bytes are of another type than the schema's"));
    assert_eq!(reasons[3], (4, "column \"count\": 1000 is out of range (-128 to 127)"));
    assert_eq!(reasons[4].0, 5);
    assert_eq!(decoded.bad[1].raw, vec![0xff; 12]);
}

#[test]
fn schemas_evolve_by_the_numbers_of_fields() {
    let newer = r#"syntax = "proto3"; package shop;
        message Order { int64 id = 1; string note = 20; repeated Note more = 21; message Note { string text = 1; } }"#;
    let written = message(&descriptor(newer, "shop.Order"), r#"{"id": "3", "note": "new", "more": [{"text": "n"}]}"#);
    let decoded = decode(all_columns(), &[written]);
    assert!(decoded.bad.is_empty() && shown(&decoded).starts_with("id=3\nstate=UNKNOWN\n"));
    // A column that the writer does not know is NULL, and a dead letter where it may not be.
    let strict = columns(vec![Field::new("note", DataType::Utf8, false)]);
    let decoded = decode(strict, &[order(r#"{"id": "3"}"#)]);
    assert_eq!(decoded.bad[0].reason, "column \"note\" is NULL but declared NOT NULL");
}

#[test]
fn a_schema_is_a_text_or_a_file_or_a_set_of_descriptors() {
    let folder = std::env::temp_dir().join(format!("thalweg-protobuf-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = |name: &str| folder.join(name).display().to_string();
    std::fs::write(path("order.proto"), ORDER).unwrap();
    std::fs::write(path("mail.proto"), "import \"order.proto\"; message Mail { optional shop.Order order = 1; }")
        .unwrap();
    std::fs::write(path("set.desc"), descriptor(ORDER, "shop.Order").parent_pool().encode_to_vec()).unwrap();
    let name = |schema: &str, message| schema::given(schema, message).map(|found| found.full_name().to_string());
    assert_eq!(name(&path("order.proto"), None).unwrap(), "shop.Customer");
    assert_eq!(name(&path("mail.proto"), None).unwrap(), "Mail");
    assert_eq!(name(&path("mail.proto"), Some("shop.Order")).unwrap(), "shop.Order");
    assert_eq!(name(&path("set.desc"), Some("shop.Order")).unwrap(), "shop.Order");
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(name(ORDER, Some("shop.Ordr")).unwrap_err().hint.unwrap(), "Did you mean \"shop.Order\"?");
    let wrong = name("message Order { int64 id = ; }", None).unwrap_err();
    assert_eq!(wrong.message, "option \"schema\" holds no Protobuf schema");
    assert!(wrong.detail.is_some());
    assert!(name("/there/is/no.proto", None).is_err());
}

/// Keeps schemas by their numbers; number 9 is away.
#[derive(Default)]
struct Registry(Mutex<Vec<RegisteredSchema>>);

impl SchemaRegistry for Registry {
    fn schema(&self, id: u32) -> Result<Arc<RegisteredSchema>> {
        if id == 9 {
            return Err(Error::retry("the registry is away"));
        }
        let found = self.0.lock().unwrap().get(id as usize).cloned();
        found.map(Arc::new).ok_or_else(|| Error::data(format!("there is no schema {id}")))
    }

    fn register(&self, subject: &str, schema: &RegisteredSchema) -> Result<u32> {
        assert_eq!(subject, "slow-orders-value");
        let mut schemas = self.0.lock().unwrap();
        schemas.push(schema.clone());
        Ok(schemas.len() as u32 - 1)
    }
}

fn registered(text: &str, references: &[(&str, &str)]) -> RegisteredSchema {
    let references = references.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect();
    RegisteredSchema { schema_type: SchemaType::Protobuf, text: text.to_string(), references }
}

/// A message of a registry.
fn framed(number: u8, place: &[u8], record: &[u8]) -> Vec<u8> {
    [&[0, 0, 0, 0, number], place, record].concat()
}

#[test]
fn messages_of_a_registry_say_which_type_they_are() {
    let nested = r#"syntax = "proto3"; import "shared.proto"; import "confluent/meta.proto";
        message First { int64 id = 1 [(confluent.field_meta).doc = "an id"]; }
        message Outer { message A { string x = 1; } message Inner { int64 id = 1; shared.Part part = 2; } }"#;
    let shared = r#"syntax = "proto3"; package shared; message Part { string name = 1; }"#;
    let registry = Registry::default();
    registry.0.lock().unwrap().push(registered(ORDER, &[]));
    registry.0.lock().unwrap().push(registered(nested, &[("shared.proto", shared)]));
    registry.0.lock().unwrap().push(registered("this is no schema", &[]));
    registry.0.lock().unwrap().push(RegisteredSchema { schema_type: SchemaType::Avro, ..registered("\"int\"", &[]) });
    let registry: Arc<dyn SchemaRegistry> = Arc::new(registry);
    let fields = columns(vec![field("id", DataType::Int64), field("part", DataType::Utf8)]);
    let messages = [
        // The second type of the file, its short form for the first, and one within another.
        framed(0, &[2, 2], &order(r#"{"id": "5"}"#)),
        framed(1, &[0], &[8, 6]),
        framed(1, &[4, 2, 2], &[8, 7, 18, 3, 10, 1, b'p']),
        framed(1, &[2, 8], &[8, 1]),
        framed(1, &[4, 2], &[]),
        framed(2, &[0], &[8, 1]),
        framed(3, &[0], &[8, 1]),
        framed(7, &[0], &[8, 1]),
        vec![8, 1],
    ];
    let with = |options: &[(&str, &str)]| DecodeRequest {
        registry: Some(registry.clone()),
        ..request(fields.clone(), options)
    };
    let decoded = decode_with(with(&[]), &messages);
    let shown = pretty_format_batches(&[decoded.rows]).unwrap().to_string();
    let rows: Vec<&str> = shown.lines().skip(3).take(3).collect();
    assert_eq!(rows, ["| 5  |              |", "| 6  |              |", "| 7  | {\"name\":\"p\"} |"]);
    let reasons: Vec<_> = decoded.bad.iter().map(|bad| bad.reason.as_str()).collect();
    assert_eq!(reasons[0], "schema 1 has no type at place [4]");
    assert_eq!(reasons[1], "the message does not say which type of its schema it is");
    assert!(reasons[2].starts_with("schema 2: "), "{reasons:?}");
    let others = [
        "schema 3 is none of Protobuf",
        "there is no schema 7",
        "the message does not begin with the number of a schema",
    ];
    assert_eq!(reasons[3..], others);

    let decoded = decode_with(with(&[("message", "shop.Order")]), &messages[..2]);
    assert_eq!(decoded.bad[0].reason, "the message is a First, and the source takes only shop.Order");

    // While the registry is away nothing is taken.
    let mut decoder = (SPEC.decoder.unwrap())(with(&[])).unwrap();
    let away = framed(9, &[0], &[8, 1]);
    for value in [&messages[1], &away, &messages[1]] {
        decoder.message(Message { offset: 0, key: None, value: Some(value) });
    }
    assert_eq!(decoder.finish().unwrap_err().kind, ErrorKind::Retry);
    decoder.message(Message { offset: 0, key: None, value: Some(&messages[1]) });
    assert_eq!(decoder.finish().unwrap().rows.num_rows(), 1);
}

fn rows() -> RecordBatch {
    let placed = TimestampMillisecondArray::from(vec![Some(-1), None]);
    let steps = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), Some(-2)]), Some(vec![])]);
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("id", Arc::new(Int64Array::from(vec![i64::MIN, 0])), false),
        ("placed", Arc::new(placed), true),
        ("city", Arc::new(StringArray::from(vec![Some("Köln"), None])), true),
        ("empty", Arc::new(StringArray::from(vec![Some(""), Some("")])), true),
        ("price", Arc::new(Float64Array::from(vec![Some(-0.5), None])), true),
        ("n", Arc::new(UInt32Array::from(vec![u32::MAX, 0])), false),
        ("many", Arc::new(UInt64Array::from(vec![Some(u64::MAX), None])), true),
        ("small", Arc::new(Int32Array::from(vec![Some(-1), None])), true),
        ("ok", Arc::new(BooleanArray::from(vec![Some(false), None])), true),
        ("raw", Arc::new(BinaryArray::from_opt_vec(vec![Some(&[0, 255]), None])), true),
        ("steps", Arc::new(steps), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn encode(request: EncodeRequest, rows: &RecordBatch) -> Records {
    let mut out = Records::default();
    encoder("protobuf", request).unwrap().encode(rows, &mut out).unwrap();
    out
}

fn encode_request(schema: SchemaRef, options: &[(&str, &str)]) -> EncodeRequest {
    let options = options_of(options);
    EncodeRequest { schema, registry: None, subject: "slow-orders-value".into(), options }
}

#[test]
fn rows_come_back_as_they_were_written() {
    let registry: Arc<dyn SchemaRegistry> = Arc::new(Registry::default());
    let request = EncodeRequest { registry: Some(registry.clone()), ..encode_request(rows().schema(), &[]) };
    let records = encode(request, &rows());
    let schema = registry.schema(0).unwrap();
    assert!(schema.text.contains("message slow_orders {\n  int64 id = 1;\n"), "{}", schema.text);
    assert!(schema.text.contains("  optional google.protobuf.Timestamp placed = 2;\n"), "{}", schema.text);
    let messages: Vec<Vec<u8>> = records.iter().map(<[u8]>::to_vec).collect();
    let request = DecodeRequest { registry: Some(registry), ..request_of(&rows()) };
    let decoded = decode_with(request, &messages);
    assert_eq!(decoded.bad, []);
    assert_eq!(decoded.rows, rows());
}

fn request_of(rows: &RecordBatch) -> DecodeRequest {
    request(rows.schema(), &[])
}

#[test]
fn rows_are_written_by_a_schema_of_the_users() {
    let given =
        r#"syntax = "proto3"; message Row { sint64 id = 7; string city = 2; double price = 4; int32 unused = 5; }"#;
    let narrow = rows().project(&[0, 2, 4]).unwrap();
    let records = encode(encode_request(narrow.schema(), &[("schema", given)]), &narrow);
    let messages: Vec<Vec<u8>> = records.iter().map(<[u8]>::to_vec).collect();
    let decoded = decode_with(request(narrow.schema(), &[("schema", given)]), &messages);
    let ids = decoded.rows.column(0).as_primitive::<arrow::datatypes::Int64Type>().values().to_vec();
    assert_eq!((ids, decoded.rows.column(1).as_string::<i32>().value(0)), (vec![i64::MIN, 0], "Köln"));

    let refused =
        |schema: &str| encoder("protobuf", encode_request(narrow.schema(), &[("schema", schema)])).err().unwrap();
    let error = refused("message Row { required int32 id = 1; optional string city = 2; optional double price = 3; }");
    assert_eq!(error.message, "column \"id\" of type Int64 cannot be written as int32");
    let error = refused("syntax = \"proto3\"; message Row { int64 id = 1; string town = 2; double pric = 3; }");
    assert_eq!(error.message, "message \"Row\" has no field \"city\"");
    let error = encoder("protobuf", encode_request(narrow.schema(), &[])).err().unwrap();
    assert_eq!(error.message, "format 'protobuf' needs option \"schema_registry\" or \"schema\"");
}

#[test]
fn a_source_without_any_schema_is_refused() {
    let error = (by_name("protobuf").unwrap().decoder.unwrap())(request(all_columns(), &[])).err().unwrap();
    assert_eq!(error.message, "format 'protobuf' needs option \"schema\", or a schema registry");
}

proptest! {
    /// Whatever the library writes reads as the library reads it.
    #[test]
    fn plain_fields_read_as_the_library_reads_them(
        id: i64, price: f64, count in proptest::option::of(any::<u32>()), gift: bool, weight: f32, stamp: u64, shift: i32,
        card in ".{0,9}",
    ) {
        // The library takes a negative zero for the default, and leaves it out.
        let (price, weight) = (price + 0.0, weight + 0.0);
        let mut written = DynamicMessage::new(descriptor(ORDER, "shop.Order"));
        written.set_field_by_name("id", Reflected::I64(id));
        written.set_field_by_name("price", Reflected::F64(price));
        if let Some(count) = count {
            written.set_field_by_name("count", Reflected::U32(count));
        }
        written.set_field_by_name("gift", Reflected::Bool(gift));
        written.set_field_by_name("weight", Reflected::F32(weight));
        written.set_field_by_name("stamp", Reflected::U64(stamp));
        written.set_field_by_name("shift", Reflected::I32(shift));
        written.set_field_by_name("card", Reflected::String(card.clone()));
        let fields = columns(vec![
            field("id", DataType::Int64), field("price", DataType::Float64), field("count", DataType::Int64),
            field("gift", DataType::Boolean), field("weight", DataType::Float32), field("stamp", DataType::UInt64),
            field("shift", DataType::Int32), field("card", DataType::Utf8),
        ]);
        let decoded = decode(fields, &[written.encode_to_vec()]);
        prop_assert_eq!(&decoded.bad, &[]);
        let row = &decoded.rows;
        prop_assert_eq!(row.column(0).as_primitive::<arrow::datatypes::Int64Type>().value(0), id);
        prop_assert_eq!(row.column(1).as_primitive::<arrow::datatypes::Float64Type>().value(0).to_bits(), price.to_bits());
        let found = row.column(2).is_valid(0).then(|| row.column(2).as_primitive::<arrow::datatypes::Int64Type>().value(0));
        prop_assert_eq!(found, count.map(i64::from));
        prop_assert_eq!(row.column(3).as_boolean().value(0), gift);
        prop_assert_eq!(row.column(4).as_primitive::<arrow::datatypes::Float32Type>().value(0).to_bits(), weight.to_bits());
        prop_assert_eq!(row.column(5).as_primitive::<arrow::datatypes::UInt64Type>().value(0), stamp);
        prop_assert_eq!(row.column(6).as_primitive::<Int32Type>().value(0), shift);
        prop_assert_eq!(row.column(7).as_string::<i32>().value(0), card);
    }

    #[test]
    fn no_bytes_make_it_panic(messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..8)) {
        let decoded = decode(all_columns(), &messages);
        prop_assert_eq!(decoded.rows.num_rows() + decoded.bad.len(), messages.len());
    }

    #[test]
    fn a_message_with_a_wrong_byte_is_a_row_or_a_dead_letter(at: prop::sample::Index, byte: u8) {
        let mut bytes = order(r#"{"id": "9", "placed": "2026-01-31T12:00:00Z", "customer": {"name": "Ada"}, "items": {"a": 1}}"#);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let decoded = decode(all_columns(), &[bytes]);
        prop_assert_eq!(decoded.rows.num_rows() + decoded.bad.len(), 1);
    }
}
