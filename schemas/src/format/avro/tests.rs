//! Messages against the bytes that the specification says they have, with a registry that lives here.

use super::*;
use crate::format::RegisteredSchema;
use crate::options::{GivenOption, Options};
use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, TimeUnit};
use proptest::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};

const FIRST: &str =
    r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"int"},{"name":"item","type":"string"}]}"#;
const SECOND: &str = r#"{"type":"record","name":"Order","fields":[{"name":"item","type":["null","string"]},
    {"name":"id","type":"long"},{"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},
    {"name":"kind","type":{"type":"enum","name":"Kind","symbols":["SMALL","LARGE"]}}]}"#;
const READER: &str = r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"long"},
    {"name":"item","type":["null","string"]},{"name":"price","type":"double","default":1.5}]}"#;

const CUSTOMER: &str = r#"{"type":"record","name":"Customer","namespace":"shop","fields":[{"name":"id","type":"long"},
    {"name":"homes","type":{"type":"array","items":["null","Address"]}}]}"#;
const ADDRESS: &str = r#"{"type":"record","name":"shop.Address","fields":[{"name":"city","type":"string"}]}"#;

/// A registry with three schemas, the last of which refers to another one; asked for number 3 it is away.
#[derive(Default)]
struct Registry(AtomicUsize);

impl SchemaRegistry for Registry {
    fn schema(&self, id: u32) -> Result<Arc<RegisteredSchema>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let text = match id {
            1 => FIRST.to_string(),
            2 => SECOND.to_string(),
            3 => return Err(Error::retry("the registry is away")),
            4 => CUSTOMER.to_string(),
            _ => return Err(Error::data(format!("schema {id} does not exist"))),
        };
        let address = ("shop.Address".to_string(), ADDRESS.to_string());
        let references = Vec::from_iter((id == 4).then_some(address));
        Ok(Arc::new(RegisteredSchema { schema_type: SchemaType::Avro, text, references }))
    }

    fn register(&self, _subject: &str, _schema: &RegisteredSchema) -> Result<u32> {
        Err(Error::bug("nothing is written here"))
    }
}

fn fields() -> Vec<Field> {
    vec![Field::new("id", DataType::Int64, false), Field::new("item", DataType::Utf8, true)]
}

fn make_decoder(fields: Vec<Field>, schema: Option<&str>, registry: bool) -> Result<Box<dyn Decoder>> {
    let given: Vec<GivenOption> =
        schema.iter().map(|s| GivenOption { name: "schema".into(), value: s.to_string(), position: None }).collect();
    let options = Options::check(SPEC.options, &given, "format avro").unwrap();
    let registry = registry.then(|| Arc::new(Registry::default()) as Arc<dyn SchemaRegistry>);
    decoder(DecodeRequest { options, registry, ..DecodeRequest::new(Arc::new(Schema::new(fields))) })
}

/// A number as Avro writes it.
fn zigzag(value: i64) -> Vec<u8> {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    let mut out = Vec::new();
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    out
}

fn text(text: &str) -> Vec<u8> {
    [zigzag(text.len() as i64), text.as_bytes().to_vec()].concat()
}

fn numbered(number: u32, record: &[u8]) -> Vec<u8> {
    [&[0], &number.to_be_bytes()[..], record].concat()
}

fn first(id: i64, item: &str) -> Vec<u8> {
    numbered(1, &[zigzag(id), text(item)].concat())
}

fn second(id: i64, item: Option<&str>, at: i64, kind: i64) -> Vec<u8> {
    let item = item.map_or(zigzag(0), |item| [zigzag(1), text(item)].concat());
    numbered(2, &[item, zigzag(id), zigzag(at), zigzag(kind)].concat())
}

fn decode(decoder: &mut dyn Decoder, messages: &[Vec<u8>]) -> Decoded {
    for (value, offset) in messages.iter().zip(100..) {
        decoder.message(Message { offset, key: None, value: Some(value) });
    }
    decoder.finish().unwrap()
}

fn orders(decoded: &Decoded) -> Vec<(u64, i64, Option<String>)> {
    let ids = decoded.rows.column(0).as_primitive::<Int64Type>();
    let items = decoded.rows.column(1).as_string::<i32>();
    let row = |r: usize| (decoded.offsets[r], ids.value(r), items.iter().nth(r).flatten().map(str::to_string));
    (0..decoded.rows.num_rows()).map(row).collect()
}

#[test]
fn each_message_is_read_by_the_schema_that_wrote_it() {
    let mut decoder = make_decoder(fields(), None, true).unwrap();
    let messages = [first(1, "tea"), second(2, None, 0, 0), second(3, Some("jam"), 0, 1), first(4, "")];
    let decoded = decode(decoder.as_mut(), &messages);
    assert_eq!(decoded.bad, []);
    let expected = [(100, 1, Some("tea")), (101, 2, None), (102, 3, Some("jam")), (103, 4, Some(""))];
    assert_eq!(orders(&decoded), expected.map(|(o, i, t)| (o, i, t.map(str::to_string))));
}

#[test]
fn types_become_the_declared_ones() {
    let fields = vec![
        Field::new("at", DataType::Timestamp(TimeUnit::Nanosecond, None), true),
        Field::new("kind", DataType::Utf8, true),
        Field::new("id", DataType::Float64, true),
        Field::new("unheard", DataType::Utf8, true),
    ];
    let decoded = decode(make_decoder(fields, None, true).unwrap().as_mut(), &[second(7, None, 1_500, 1)]);
    assert_eq!(decoded.bad, []);
    let shown = arrow::util::pretty::pretty_format_batches(&[decoded.rows]).unwrap().to_string();
    assert!(shown.contains("| 1970-01-01T00:00:01.500 | LARGE | 7.0 |         |"), "{shown}");
}

#[test]
fn types_of_other_schemas_are_known_and_what_is_nested_is_json_where_a_text_is_declared() {
    let homes = [zigzag(2), zigzag(1), text("Bern"), zigzag(0), zigzag(0)].concat();
    let fields = vec![Field::new("id", DataType::Int64, false), Field::new("homes", DataType::Utf8, true)];
    let messages = [numbered(4, &[zigzag(1), homes].concat()), numbered(4, &[zigzag(2), zigzag(0)].concat())];
    let decoded = decode(make_decoder(fields, None, true).unwrap().as_mut(), &messages);
    assert_eq!(decoded.bad, []);
    let homes: Vec<_> = decoded.rows.column(1).as_string::<i32>().iter().flatten().collect();
    assert_eq!(homes, [r#"[{"city":"Bern"},null]"#, "[]"]);
}

#[test]
fn what_cannot_be_read_is_a_bad_record_and_the_others_are_rows() {
    let mut decoder = make_decoder(fields(), None, true).unwrap();
    let mut cut = first(2, "a long item");
    cut.truncate(10);
    let longer = [first(3, "x"), vec![9, 9]].concat();
    let messages = [
        first(1, "a"),
        cut,
        longer,
        vec![1, 2, 3],
        numbered(9, &[2]),
        vec![],
        numbered(1, &[2, 0x7f, 1]),
        first(5, "e"),
    ];
    let decoded = decode(decoder.as_mut(), &messages);
    assert_eq!(orders(&decoded), [(100, 1, Some("a".to_string())), (107, 5, Some("e".to_string()))]);
    let bad: Vec<_> = decoded.bad.iter().map(|bad| (bad.offset, bad.reason.as_str())).collect();
    assert_eq!(bad.len(), 6, "{bad:?}");
    assert_eq!(bad[1], (102, "bytes are left over behind the record"));
    assert_eq!(bad[2], (103, "the message does not begin with the number of a schema"));
    assert_eq!(bad[3], (104, "schema 9 does not exist"));
    assert_eq!(bad[4], (105, "the message is empty"));
    assert_eq!(decoded.bad[0].raw, messages[1]);
}

#[test]
fn a_registry_that_is_away_leaves_nothing_behind() {
    let mut decoder = make_decoder(fields(), None, true).unwrap();
    for value in [first(1, "a"), numbered(3, &[2])] {
        decoder.message(Message { offset: 1, key: None, value: Some(&value) });
    }
    assert_eq!(decoder.finish().unwrap_err().kind, ErrorKind::Retry);
    let decoded = decode(decoder.as_mut(), &[first(1, "a")]);
    assert_eq!((decoded.rows.num_rows(), decoded.bad.len()), (1, 0));
}

#[test]
fn a_given_schema_brings_defaults_and_wider_types() {
    let price = vec![Field::new("id", DataType::Int64, false), Field::new("price", DataType::Float64, false)];
    let decoded = decode(make_decoder(price, Some(READER), true).unwrap().as_mut(), &[first(1, "tea")]);
    assert_eq!(decoded.bad, []);
    assert_eq!(decoded.rows.column(1).as_primitive::<Float64Type>().values(), &[1.5]);
}

#[test]
fn messages_without_a_number_are_read_by_the_given_schema() {
    let mut decoder = make_decoder(fields(), Some(FIRST), false).unwrap();
    let record = [zigzag(1), text("tea")].concat();
    let fingerprint = match AvroSchema::new(FIRST.into()).fingerprint(FingerprintAlgorithm::Rabin).unwrap() {
        Fingerprint::Rabin(fingerprint) => fingerprint.to_le_bytes(),
        other => panic!("{other:?}"),
    };
    let framed = [&[0xc3, 0x01], &fingerprint[..], &record].concat();
    let decoded = decode(decoder.as_mut(), &[record, framed]);
    assert_eq!((decoded.rows.num_rows(), decoded.bad), (2, vec![]));
    let unknown = decode(make_decoder(fields(), None, false).unwrap().as_mut(), &[vec![2, 2]]);
    assert!(unknown.bad[0].reason.contains("\"schema_registry\" or \"schema\""));
    let error = make_decoder(fields(), Some("{\"type\":\"nonsense\"}"), false).err().unwrap();
    assert_eq!(error.kind, ErrorKind::User);
}

proptest! {
    #[test]
    fn any_bytes_are_accounted_for(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 0..8)) {
        let messages: Vec<Vec<u8>> = messages.into_iter().map(|record| numbered(1 + (record.len() % 2) as u32, &record)).collect();
        let decoded = decode(make_decoder(fields(), None, true).unwrap().as_mut(), &messages);
        prop_assert_eq!(messages.len(), decoded.rows.num_rows() + decoded.bad.len());
        prop_assert_eq!(decoded.offsets.len(), decoded.rows.num_rows());
    }
}
