//! Rows as Protobuf messages: by a schema that is made of the rows' and registered, or by one that the user gives, whose
//! fields are found by the names of the columns.

use super::schema;
use super::tree::TIMESTAMP;
use crate::error::{Error, Result};
use crate::format::{EncodeRequest, Encoder, MAGIC, Records, RegisteredSchema, SchemaRegistry, SchemaType};
use crate::suggest::closest;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::*;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use prost_reflect::prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use std::fmt::Write;
use std::sync::Arc;

pub(crate) struct ProtobufEncoder {
    columns: Vec<Column>,
    /// Where the schema is registered, and what is registered, under which name; `None`: messages name no schema.
    registered: Option<(Arc<dyn SchemaRegistry>, RegisteredSchema, String)>,
    /// What each message begins with, once the schema is registered.
    head: Option<Vec<u8>>,
}

/// How a column is written.
struct Column {
    number: u32,
    scalar: Scalar,
    /// Whether the field is written though its value is the default one.
    presence: bool,
    list: bool,
}

/// The forms of a value. Each is the Arrow type that the column is brought to, and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scalar {
    Bool,
    /// Whole numbers as they are, in two's complement.
    Int,
    Uint,
    /// Whole numbers whose sign comes last.
    Zigzag,
    Fixed32,
    Fixed64,
    Float,
    Double,
    Text,
    Bytes,
    Time,
}

impl ProtobufEncoder {
    pub(crate) fn new(request: EncodeRequest) -> Result<ProtobufEncoder> {
        let given = request.options.get("schema");
        let message = request.options.get("message");
        let (text, descriptor) = match given {
            Some(given) => (None, schema::given(given, message)?),
            None => {
                let text = schema_of(&request.schema, &request.subject)?;
                let descriptor = schema::given(&text, None)?;
                (Some(text), descriptor)
            }
        };
        let columns = request.schema.fields().iter().map(|field| column(field, &descriptor));
        let columns = columns.collect::<Result<_>>()?;
        let registered = match (request.registry, text) {
            (Some(registry), Some(text)) => {
                let schema = RegisteredSchema { schema_type: SchemaType::Protobuf, text, references: Vec::new() };
                Some((registry, schema, request.subject))
            }
            (None, Some(_)) => {
                return Err(Error::user("format 'protobuf' needs option \"schema_registry\" or \"schema\"")
                    .with_detail("Whoever reads the messages needs their schema."));
            }
            (None, None) => None,
            (Some(_), None) => {
                return Err(Error::user("format 'protobuf' takes option \"schema_registry\" or \"schema\", not both")
                    .with_hint("With a registry the schema is made of the columns and registered."));
            }
        };
        Ok(ProtobufEncoder { columns, registered, head: None })
    }

    fn head(&mut self) -> Result<Vec<u8>> {
        if let Some(head) = &self.head {
            return Ok(head.clone());
        }
        let head = match &self.registered {
            None => Vec::new(),
            Some((registry, schema, subject)) => {
                let number = registry.register(subject, schema)?;
                // The last zero: the first type of the schema.
                [&[MAGIC], &number.to_be_bytes()[..], &[0]].concat()
            }
        };
        Ok(self.head.insert(head).clone())
    }
}

impl Encoder for ProtobufEncoder {
    fn encode(&mut self, rows: &RecordBatch, out: &mut Records) -> Result<()> {
        let head = self.head()?;
        let mut values = Vec::with_capacity(self.columns.len());
        for (column, array) in self.columns.iter().zip(rows.columns()) {
            values.push(column.values(array)?);
        }
        let mut record = Vec::new();
        for row in 0..rows.num_rows() {
            record.clear();
            for (column, values) in self.columns.iter().zip(&values) {
                column.write(values, row, &mut record);
            }
            out.push(&[&head, &record]);
        }
        Ok(())
    }
}

/// A column's values in the form in which they are written; of a list, those of its items.
struct Values {
    outer: ArrayRef,
    inner: ArrayRef,
}

impl Column {
    fn values(&self, array: &ArrayRef) -> Result<Values> {
        let items = match (self.list, array.data_type()) {
            (true, DataType::List(_)) => array.as_list::<i32>().values().clone(),
            (true, other) => return Err(Error::bug(format!("{other} is no list"))),
            (false, _) => array.clone(),
        };
        Ok(Values { outer: array.clone(), inner: self.scalar.bring(&items)? })
    }

    fn write(&self, values: &Values, row: usize, out: &mut Vec<u8>) {
        if values.outer.is_null(row) {
            return;
        }
        if self.list {
            let offsets = values.outer.as_list::<i32>().value_offsets();
            for item in offsets[row] as usize..offsets[row + 1] as usize {
                self.scalar.write(self.number, &values.inner, item, true, out);
            }
        } else {
            self.scalar.write(self.number, &values.inner, row, self.presence, out);
        }
    }
}

impl Scalar {
    /// Brings values to the type that [`write`](Self::write) takes.
    fn bring(self, array: &ArrayRef) -> Result<ArrayRef> {
        let to = match self {
            Scalar::Bool => DataType::Boolean,
            Scalar::Int | Scalar::Zigzag => DataType::Int64,
            Scalar::Uint | Scalar::Fixed64 => DataType::UInt64,
            Scalar::Fixed32 => DataType::UInt32,
            Scalar::Float => DataType::Float32,
            Scalar::Double => DataType::Float64,
            Scalar::Bytes => DataType::Binary,
            Scalar::Time => DataType::Timestamp(TimeUnit::Nanosecond, None),
            Scalar::Text if is_text(array.data_type()) => DataType::Utf8,
            Scalar::Text => return texts(array),
        };
        Ok(cast(array, &to)?)
    }

    fn write(self, number: u32, values: &ArrayRef, row: usize, presence: bool, out: &mut Vec<u8>) {
        if values.is_null(row) {
            return;
        }
        let mut varint = |value: u64| {
            if value != 0 || presence {
                encode_key(number, WireType::Varint, out);
                encode_varint(value, out);
            }
        };
        match self {
            Scalar::Bool => varint(values.as_boolean().value(row).into()),
            Scalar::Int => varint(values.as_primitive::<Int64Type>().value(row) as u64),
            Scalar::Uint => varint(values.as_primitive::<UInt64Type>().value(row)),
            Scalar::Zigzag => {
                let value = values.as_primitive::<Int64Type>().value(row);
                varint(((value << 1) ^ (value >> 63)) as u64);
            }
            Scalar::Fixed32 => {
                fixed(number, &values.as_primitive::<UInt32Type>().value(row).to_le_bytes(), presence, out)
            }
            Scalar::Fixed64 => {
                fixed(number, &values.as_primitive::<UInt64Type>().value(row).to_le_bytes(), presence, out)
            }
            Scalar::Float => {
                fixed(number, &values.as_primitive::<Float32Type>().value(row).to_bits().to_le_bytes(), presence, out);
            }
            Scalar::Double => {
                fixed(number, &values.as_primitive::<Float64Type>().value(row).to_bits().to_le_bytes(), presence, out);
            }
            Scalar::Text => delimited(number, values.as_string::<i32>().value(row).as_bytes(), presence, out),
            Scalar::Bytes => delimited(number, values.as_binary::<i32>().value(row), presence, out),
            Scalar::Time => {
                let nanos = values.as_primitive::<TimestampNanosecondType>().value(row);
                let mut time = Vec::with_capacity(16);
                for (part, value) in [(1, nanos.div_euclid(1_000_000_000)), (2, nanos.rem_euclid(1_000_000_000))] {
                    if value != 0 {
                        encode_key(part, WireType::Varint, &mut time);
                        encode_varint(value as u64, &mut time);
                    }
                }
                delimited(number, &time, true, out);
            }
        }
    }
}

fn fixed(number: u32, bytes: &[u8], presence: bool, out: &mut Vec<u8>) {
    if presence || bytes.iter().any(|byte| *byte != 0) {
        encode_key(number, if bytes.len() == 4 { WireType::ThirtyTwoBit } else { WireType::SixtyFourBit }, out);
        out.extend_from_slice(bytes);
    }
}

fn delimited(number: u32, bytes: &[u8], presence: bool, out: &mut Vec<u8>) {
    if presence || !bytes.is_empty() {
        encode_key(number, WireType::LengthDelimited, out);
        encode_varint(bytes.len() as u64, out);
        out.extend_from_slice(bytes);
    }
}

/// What has no type of its own is written as text.
fn texts(array: &ArrayRef) -> Result<ArrayRef> {
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(array, &options)?;
    let text = |row| array.is_valid(row).then(|| formatter.value(row).to_string());
    Ok(Arc::new((0..array.len()).map(text).collect::<arrow::array::StringArray>()))
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// The type that the items of a column have.
fn item(data_type: &DataType) -> (&DataType, bool) {
    match data_type {
        DataType::List(item) if !item.data_type().is_nested() => (item.data_type(), true),
        other => (other, false),
    }
}

/// A `.proto` file for rows of this schema: fields numbered in the order of the columns.
fn schema_of(schema: &SchemaRef, subject: &str) -> Result<String> {
    let name = identifier(subject.strip_suffix("-value").unwrap_or(subject));
    let mut text = String::from("syntax = \"proto3\";\n");
    if schema.fields().iter().any(|field| matches!(item(field.data_type()).0, DataType::Timestamp(..))) {
        text += "import \"google/protobuf/timestamp.proto\";\n";
    }
    let _ = writeln!(text, "message {name} {{");
    for (field, number) in schema.fields().iter().zip(1..) {
        let (data_type, list) = item(field.data_type());
        let label = match (list, field.is_nullable()) {
            (true, _) => "repeated ",
            (false, true) => "optional ",
            (false, false) => "",
        };
        let _ = writeln!(text, "  {label}{} {} = {number};", proto_type(data_type), identifier(field.name()));
    }
    text += "}\n";
    Ok(text)
}

fn proto_type(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Boolean => "bool",
        DataType::Int8 | DataType::Int16 | DataType::Int32 => "int32",
        DataType::Int64 => "int64",
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => "uint32",
        DataType::UInt64 => "uint64",
        DataType::Float16 | DataType::Float32 => "float",
        DataType::Float64 => "double",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "bytes",
        DataType::Timestamp(..) => TIMESTAMP,
        _ => "string",
    }
}

/// A name as Protobuf allows them: letters, digits and underscores, no digit in front.
fn identifier(text: &str) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = text.chars().map(clean).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) || name.is_empty() { format!("_{name}") } else { name }
}

/// How a column is written as a field of `message`.
fn column(declared: &Field, message: &MessageDescriptor) -> Result<Column> {
    let name = declared.name();
    let found = message.get_field_by_name(name).or_else(|| message.get_field_by_json_name(name));
    let Some(field) = found.or_else(|| message.get_field_by_name(&identifier(name))) else {
        let names: Vec<String> = message.fields().map(|field| field.name().to_string()).collect();
        let error = Error::user(format!("message \"{}\" has no field \"{name}\"", message.full_name()));
        return Err(match closest(name, names.iter().map(String::as_str)) {
            Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
            None => error.with_hint("Name the columns as the fields: SELECT .. AS .."),
        });
    };
    let (data_type, list) = item(declared.data_type());
    let misfit = || {
        Error::user(format!(
            "column \"{name}\" of type {} cannot be written as {}",
            declared.data_type(),
            shown(&field)
        ))
        .with_hint("Cast it in the query: each value must have a place in the field.")
    };
    if list != field.is_list() || field.is_map() {
        return Err(misfit());
    }
    let scalar = scalar(data_type, &field.kind()).ok_or_else(misfit)?;
    Ok(Column { number: field.number(), scalar, presence: field.supports_presence(), list })
}

fn shown(field: &FieldDescriptor) -> String {
    format!("{}{:?}", if field.is_list() { "repeated " } else { "" }, field.kind()).to_lowercase()
}

/// How values of a type are written as a field of `kind`; `None` where not all of them have a place in it.
fn scalar(data_type: &DataType, kind: &Kind) -> Option<Scalar> {
    let (bits, signed) = match data_type {
        DataType::Int8 => (8, true),
        DataType::Int16 => (16, true),
        DataType::Int32 => (32, true),
        DataType::Int64 => (64, true),
        DataType::UInt8 => (8, false),
        DataType::UInt16 => (16, false),
        DataType::UInt32 => (32, false),
        DataType::UInt64 => (64, false),
        _ => (0, false),
    };
    let whole = bits > 0;
    // A number without a sign needs one bit more where there is one.
    let fits = |room: u32| whole && if signed { bits <= room } else { bits < room };
    match kind {
        Kind::Bool => (*data_type == DataType::Boolean).then_some(Scalar::Bool),
        Kind::Int32 => fits(32).then_some(Scalar::Int),
        Kind::Int64 => fits(64).then_some(Scalar::Int),
        Kind::Sint32 => fits(32).then_some(Scalar::Zigzag),
        Kind::Sint64 => fits(64).then_some(Scalar::Zigzag),
        Kind::Uint32 => (whole && !signed && bits <= 32).then_some(Scalar::Uint),
        Kind::Uint64 => (whole && !signed).then_some(Scalar::Uint),
        Kind::Fixed32 => (whole && !signed && bits <= 32).then_some(Scalar::Fixed32),
        Kind::Fixed64 => (whole && !signed).then_some(Scalar::Fixed64),
        Kind::Float => matches!(data_type, DataType::Float16 | DataType::Float32).then_some(Scalar::Float),
        Kind::Double => data_type.is_floating().then_some(Scalar::Double),
        Kind::Bytes => matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
            .then_some(Scalar::Bytes),
        Kind::String => (!data_type.is_nested() || proto_type(data_type) == "string").then_some(Scalar::Text),
        Kind::Message(message) if message.full_name() == TIMESTAMP => {
            matches!(data_type, DataType::Timestamp(..)).then_some(Scalar::Time)
        }
        Kind::Sfixed32 | Kind::Sfixed64 | Kind::Enum(_) | Kind::Message(_) => None,
    }
}
