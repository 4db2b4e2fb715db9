//! From the bytes of one message to the fields of a row.
//!
//! Plain fields are taken from the bytes as they come, without a message in between. Fields with rules of their own
//! (messages, whose parts merge; lists and maps; oneofs, where the last one wins) are gathered as bytes, and the library
//! makes a message of those alone. What the schema does not name, and what no column wants, is passed over.

use super::tree::{TIMESTAMP, take_field};
use crate::format::rows::Rows;
use crate::format::value::{Fault, Value};
use arrow::datatypes::{DataType, SchemaRef};
use prost_reflect::prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};

/// How messages of one type become rows of the declared columns.
pub(super) struct Layout {
    descriptor: MessageDescriptor,
    /// Of the fields that are columns, by their numbers, sorted.
    fields: Vec<(u32, Use)>,
    /// The columns that are gathered, with their fields.
    gathered: Vec<(usize, FieldDescriptor)>,
    /// The columns that are points in time, and what came of each so far.
    times: Vec<(usize, Option<(i64, i32)>)>,
    /// The columns that have a value though the message does not name them.
    defaults: Vec<(usize, Default)>,
    /// The bytes of gathered fields.
    bytes: Vec<u8>,
}

/// What becomes of a field.
enum Use {
    /// A column's value.
    Plain { column: usize, name: String, kind: Plain },
    /// A point in time, whose parts merge if it comes twice: its place in `times`.
    Time(usize),
    /// It is left to the library.
    Gather,
}

/// A field that is read without the library.
enum Plain {
    Bool,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Float,
    Double,
    String,
    Bytes,
    /// An enum, with its values' names by their numbers, sorted; for columns of numbers without.
    Enum(Vec<(i32, String)>),
    EnumNumber,
}

/// What a field is that is not there.
enum Default {
    Bool,
    Integer,
    Float,
    Text(String),
    Bytes,
}

impl Layout {
    pub fn new(descriptor: &MessageDescriptor, columns: &SchemaRef) -> Layout {
        let mut layout = Layout {
            descriptor: descriptor.clone(),
            fields: Vec::new(),
            gathered: Vec::new(),
            times: Vec::new(),
            defaults: Vec::new(),
            bytes: Vec::new(),
        };
        for (column, declared) in columns.fields().iter().enumerate() {
            let name = declared.name();
            let Some(field) = descriptor.get_field_by_name(name).or_else(|| descriptor.get_field_by_json_name(name))
            else {
                continue;
            };
            match plain(&field, declared.data_type()) {
                Some(kind) => {
                    if !field.supports_presence() {
                        layout.defaults.push((column, kind.default()));
                    }
                    layout.fields.push((field.number(), Use::Plain { column, name: name.clone(), kind }));
                }
                None if is_time(&field) => {
                    layout.fields.push((field.number(), Use::Time(layout.times.len())));
                    layout.times.push((column, None));
                }
                None => {
                    layout.fields.push((field.number(), Use::Gather));
                    // The last of a oneof wins, so all of them are to be seen.
                    let others = field.containing_oneof().into_iter();
                    let others: Vec<u32> = others.flat_map(|oneof| numbers(oneof.fields())).collect();
                    layout.fields.extend(others.into_iter().map(|number| (number, Use::Gather)));
                    layout.gathered.push((column, field));
                }
            }
        }
        layout.fields.sort_by_key(|(number, _)| *number);
        layout.fields.dedup_by_key(|(number, _)| *number);
        layout
    }

    /// Makes a message a row, or says why it is none; then some of its fields may be in `rows` and are to be taken back.
    pub fn read(&mut self, bytes: &[u8], offset: u64, rows: &mut Rows) -> Result<(), String> {
        self.bytes.clear();
        self.times.iter_mut().for_each(|(_, time)| *time = None);
        let mut rest = bytes;
        // Fields come mostly in the order of their numbers.
        let mut next = 0;
        while !rest.is_empty() {
            let start = rest;
            let (number, wire) = decode_key(&mut rest).map_err(|error| broken(&error))?;
            let at = match self.fields.get(next) {
                Some((expected, _)) if *expected == number => Ok(next),
                _ => self.fields.binary_search_by_key(&number, |(number, _)| *number),
            };
            let Ok(at) = at else {
                skip_field(wire, number, &mut rest, DecodeContext::default()).map_err(|error| broken(&error))?;
                continue;
            };
            next = at + 1;
            match &self.fields[at].1 {
                Use::Plain { column, name, kind } => {
                    kind.read(wire, &mut rest, name, |value| rows.put(*column, value))?;
                }
                Use::Time(at) if wire == WireType::LengthDelimited => {
                    let time = self.times[*at].1.get_or_insert_default();
                    merge_time(time, length_delimited(&mut rest)?)?;
                }
                Use::Time(_) => return Err("a point in time is of another type than the schema's".to_string()),
                Use::Gather => {
                    skip_field(wire, number, &mut rest, DecodeContext::default()).map_err(|error| broken(&error))?;
                    self.bytes.extend_from_slice(&start[..start.len() - rest.len()]);
                }
            }
        }
        self.finish(offset, rows).map_err(|fault| fault.to_string())
    }

    /// Fills in what did not come, and what was gathered.
    fn finish(&mut self, offset: u64, rows: &mut Rows) -> Result<(), Box<Fault>> {
        for (column, default) in &self.defaults {
            if !rows.has(*column) {
                rows.put(*column, default.value())?;
            }
        }
        for (column, time) in &self.times {
            if let Some((seconds, nanos)) = *time {
                rows.put(*column, Value::Instant(seconds, nanos))?;
            }
        }
        if !self.gathered.is_empty() {
            let message = DynamicMessage::decode(self.descriptor.clone(), self.bytes.as_slice());
            let message = message.map_err(|error| Fault::because(broken(&error)))?;
            for (column, field) in &self.gathered {
                take_field(&message, field, &mut |value| rows.put(*column, value))?;
            }
        }
        rows.end_row(offset)
    }
}

/// Whether a field is one point in time, on its own.
fn is_time(field: &FieldDescriptor) -> bool {
    let alone = field.containing_oneof().is_none_or(|oneof| oneof.is_synthetic());
    alone && !field.is_list() && field.kind().as_message().is_some_and(|message| message.full_name() == TIMESTAMP)
}

/// Takes what the bytes of a point in time say: 1 are its seconds, 2 its nanoseconds.
fn merge_time(time: &mut (i64, i32), mut bytes: &[u8]) -> Result<(), String> {
    while !bytes.is_empty() {
        match decode_key(&mut bytes).map_err(|error| broken(&error))? {
            (1, WireType::Varint) => time.0 = varint(&mut bytes)? as i64,
            (2, WireType::Varint) => time.1 = varint(&mut bytes)? as i32,
            (number, wire) => {
                skip_field(wire, number, &mut bytes, DecodeContext::default()).map_err(|error| broken(&error))?;
            }
        }
    }
    Ok(())
}

fn numbers(fields: impl Iterator<Item = FieldDescriptor>) -> Vec<u32> {
    fields.map(|field| field.number()).collect()
}

fn broken(error: &dyn std::fmt::Display) -> String {
    format!("not valid Protobuf: {error}")
}

/// How a field is read without the library; `None` if it cannot be.
fn plain(field: &FieldDescriptor, column: &DataType) -> Option<Plain> {
    let alone = field.containing_oneof().is_none_or(|oneof| oneof.is_synthetic());
    if field.is_list() || field.is_map() || !alone {
        return None;
    }
    Some(match field.kind() {
        Kind::Bool => Plain::Bool,
        Kind::Int32 => Plain::Int32,
        Kind::Int64 => Plain::Int64,
        Kind::Uint32 => Plain::Uint32,
        Kind::Uint64 => Plain::Uint64,
        Kind::Sint32 => Plain::Sint32,
        Kind::Sint64 => Plain::Sint64,
        Kind::Fixed32 => Plain::Fixed32,
        Kind::Fixed64 => Plain::Fixed64,
        Kind::Sfixed32 => Plain::Sfixed32,
        Kind::Sfixed64 => Plain::Sfixed64,
        Kind::Float => Plain::Float,
        Kind::Double => Plain::Double,
        Kind::String => Plain::String,
        Kind::Bytes => Plain::Bytes,
        Kind::Enum(_) if column.is_numeric() => Plain::EnumNumber,
        Kind::Enum(kind) => {
            let mut names: Vec<_> = kind.values().map(|value| (value.number(), value.name().to_string())).collect();
            // Of several names of one number the first counts.
            names.sort_by_key(|(number, _)| *number);
            names.dedup_by_key(|(number, _)| *number);
            Plain::Enum(names)
        }
        Kind::Message(_) => return None,
    })
}

/// A number of the wire's shape.
pub(super) fn varint(bytes: &mut &[u8]) -> Result<u64, String> {
    decode_varint(bytes).map_err(|error| broken(&error))
}

/// Bytes that follow their length.
fn length_delimited<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], String> {
    let length = usize::try_from(varint(rest)?).unwrap_or(usize::MAX);
    let (bytes, after) = rest.split_at_checked(length).ok_or_else(cut_off)?;
    *rest = after;
    Ok(bytes)
}

impl Plain {
    fn read(
        &self,
        wire: WireType,
        rest: &mut &[u8],
        name: &str,
        put: impl FnOnce(Value) -> Result<(), Box<Fault>>,
    ) -> Result<(), String> {
        let zigzag = |value: u64| (value >> 1) as i64 ^ -((value & 1) as i64);
        let misfit = || format!("field \"{name}\": its bytes are of another type than the schema's");
        if wire != self.wire() {
            return Err(misfit());
        }
        let value = match self.wire() {
            WireType::Varint => {
                let value = varint(rest)?;
                match self {
                    Plain::Bool => Value::Bool(value != 0),
                    Plain::Int32 | Plain::EnumNumber => Value::Integer((value as i32).into()),
                    Plain::Int64 => Value::Integer((value as i64).into()),
                    Plain::Uint32 => Value::Integer((value as u32).into()),
                    Plain::Sint32 => Value::Integer((zigzag(u64::from(value as u32)) as i32).into()),
                    Plain::Sint64 => Value::Integer(zigzag(value).into()),
                    Plain::Enum(names) => {
                        let number = value as i32;
                        return match names.binary_search_by_key(&number, |(number, _)| *number) {
                            Ok(at) => put(Value::Text(&names[at].1)),
                            Err(_) => put(Value::Text(&number.to_string())),
                        }
                        .map_err(|fault| fault.to_string());
                    }
                    _ => Value::Integer(value.into()),
                }
            }
            WireType::SixtyFourBit => {
                let (eight, after) = rest.split_first_chunk::<8>().ok_or_else(cut_off)?;
                *rest = after;
                match self {
                    Plain::Double => Value::Float(f64::from_le_bytes(*eight)),
                    Plain::Sfixed64 => Value::Integer(i64::from_le_bytes(*eight).into()),
                    _ => Value::Integer(u64::from_le_bytes(*eight).into()),
                }
            }
            WireType::ThirtyTwoBit => {
                let (four, after) = rest.split_first_chunk::<4>().ok_or_else(cut_off)?;
                *rest = after;
                match self {
                    Plain::Float => Value::Float(f32::from_le_bytes(*four).into()),
                    Plain::Sfixed32 => Value::Integer(i32::from_le_bytes(*four).into()),
                    _ => Value::Integer(u32::from_le_bytes(*four).into()),
                }
            }
            _ => {
                let bytes = length_delimited(rest)?;
                match self {
                    Plain::Bytes => Value::Bytes(bytes),
                    _ => Value::Text(std::str::from_utf8(bytes).map_err(|_| format!("field \"{name}\" is not UTF-8"))?),
                }
            }
        };
        put(value).map_err(|fault| fault.to_string())
    }

    fn wire(&self) -> WireType {
        match self {
            Plain::Double | Plain::Fixed64 | Plain::Sfixed64 => WireType::SixtyFourBit,
            Plain::Float | Plain::Fixed32 | Plain::Sfixed32 => WireType::ThirtyTwoBit,
            Plain::String | Plain::Bytes => WireType::LengthDelimited,
            _ => WireType::Varint,
        }
    }

    fn default(&self) -> Default {
        match self {
            Plain::Bool => Default::Bool,
            Plain::Float | Plain::Double => Default::Float,
            Plain::String => Default::Text(String::new()),
            Plain::Bytes => Default::Bytes,
            Plain::Enum(names) => {
                let zero = names.iter().find(|(number, _)| *number == 0);
                Default::Text(zero.map_or_else(|| "0".to_string(), |(_, name)| name.clone()))
            }
            _ => Default::Integer,
        }
    }
}

fn cut_off() -> String {
    "not valid Protobuf: the message is cut off".to_string()
}

impl Default {
    fn value(&self) -> Value<'_> {
        match self {
            Default::Bool => Value::Bool(false),
            Default::Integer => Value::Integer(0),
            Default::Float => Value::Float(0.0),
            Default::Text(text) => Value::Text(text),
            Default::Bytes => Value::Bytes(&[]),
        }
    }
}
