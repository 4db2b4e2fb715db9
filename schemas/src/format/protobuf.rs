//! Protobuf: messages that each hold one record, of a type that the source was given or that a registry knows.
//!
//! ```text
//!   0, number of the schema (4 bytes), place of the type in its file, record      from a registry
//!   record                                                                        by the source's `schema`
//! ```
//!
//! Records go straight from their bytes into columns: see `reading`. What has rules of its own (nested messages, lists,
//! maps, oneofs) is left to `prost-reflect`, from the bytes of those fields alone.

mod reading;
mod schema;
mod tree;
mod writing;

pub(crate) use writing::ProtobufEncoder;

use super::rows::Rows;
use super::{
    DecodeRequest, Decoded, Decoder, FormatSpec, Framing, RegisteredSchema, SchemaRegistry, SchemaType, TOMBSTONE,
};
use crate::error::{Error, ErrorKind, Result};
use crate::messages::Message;
use crate::options::{OptionKind, OptionSpec};
use prost_reflect::{DescriptorPool, MessageDescriptor};
use reading::Layout;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

/// The format's description.
pub const SPEC: FormatSpec = FormatSpec {
    name: "protobuf",
    doc: "Protocol Buffers: messages with a schema registry, or of a type that is given.",
    options: &[
        OptionSpec {
            name: "schema",
            kind: OptionKind::Text,
            default: None,
            required: false,
            doc: "The schema of the messages: the text of a .proto file, or the path of one, or of a descriptor set (`protoc --descriptor_set_out`).",
        },
        OptionSpec {
            name: "message",
            kind: OptionKind::Text,
            default: None,
            required: false,
            doc: "The type of the messages, such as 'shop.Order'. Without it the only one, or the first, of the schema; with a registry, whatever each message says.",
        },
    ],
    changelog: false,
    framing: Framing::Container,
    decoder: Some(decoder),
};

fn decoder(request: DecodeRequest) -> Result<Box<dyn Decoder>> {
    let message = request.options.get("message").map(str::to_string);
    let given = match request.options.get("schema") {
        Some(text) => Some(schema::given(text, message.as_deref())?),
        None if request.registry.is_none() => {
            return Err(Error::user("format 'protobuf' needs option \"schema\", or a schema registry")
                .with_hint("Name a .proto file or a descriptor set: schema = 'order.proto', message = 'shop.Order'."));
        }
        None => None,
    };
    let rows = Rows::new(&request)?;
    let given = given.map(|descriptor| Layout::new(&descriptor, &request.fields));
    let registry = request.registry.clone();
    Ok(Box::new(ProtobufDecoder { request, message, given, registry, rows, known: BTreeMap::new(), away: None }))
}

struct ProtobufDecoder {
    request: DecodeRequest,
    /// The full name of the only type that is a record, if one is named.
    message: Option<String>,
    /// How messages of the type that the source was given are read.
    given: Option<Layout>,
    registry: Option<Arc<dyn SchemaRegistry>>,
    /// By the numbers of schemas, how what they wrote is read; or why it cannot be.
    known: BTreeMap<u32, Result<Written, String>>,
    rows: Rows,
    /// Why the messages since the last `finish` cannot be read at present.
    away: Option<Error>,
}

/// What a schema of the registry says.
struct Written {
    pool: DescriptorPool,
    /// By its place in the file, each type that has come.
    layouts: BTreeMap<Vec<usize>, Result<Layout, String>>,
}

impl Decoder for ProtobufDecoder {
    fn decode(&mut self, bytes: &[u8], origin: u64) -> Result<Decoded> {
        if !bytes.is_empty() {
            self.message(Message { offset: origin, key: None, value: Some(bytes) });
        }
        self.finish()
    }

    fn message(&mut self, message: Message<'_>) {
        let Some(value) = message.value else {
            return self.rows.take_back(message.offset, &[], TOMBSTONE.to_string());
        };
        if self.away.is_some() {
            return;
        }
        match self.record(message.offset, value) {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => self.rows.take_back(message.offset, value, reason),
            Err(error) => self.away = Some(error),
        }
    }

    fn finish(&mut self) -> Result<Decoded> {
        let decoded = self.rows.finish()?;
        match self.away.take() {
            Some(error) => Err(error),
            None => Ok(decoded),
        }
    }
}

impl ProtobufDecoder {
    /// Makes a message a row, or says why it is none; an error is one that may pass.
    fn record(&mut self, offset: u64, value: &[u8]) -> Result<Result<(), String>> {
        let Some(registry) = &self.registry else {
            let Some(layout) = &mut self.given else { return Err(Error::bug("Protobuf without a schema")) };
            return Ok(layout.read(value, offset, &mut self.rows));
        };
        let Some((number, rest)) = super::schema_id(value) else {
            return Ok(Err("the message does not begin with the number of a schema".to_string()));
        };
        let Some((place, record)) = place(rest) else {
            return Ok(Err("the message does not say which type of its schema it is".to_string()));
        };
        if let Some(layout) = &mut self.given {
            return Ok(layout.read(record, offset, &mut self.rows));
        }
        let known = match self.known.entry(number) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => match registry.schema(number) {
                Ok(schema) => unknown.insert(written(number, &schema)),
                Err(error) if error.kind == ErrorKind::Data => return Ok(Err(error.message)),
                Err(error) => return Err(error),
            },
        };
        let written = match known {
            Ok(written) => written,
            Err(reason) => return Ok(Err(reason.clone())),
        };
        let layout = written.layouts.entry(place).or_insert_with_key(|place| {
            schema::at(&written.pool, place)
                .ok_or_else(|| format!("schema {number} has no type at place {place:?}"))
                .and_then(|descriptor| only(descriptor, self.message.as_deref()))
                .map(|descriptor| Layout::new(&descriptor, &self.request.fields))
        });
        match layout {
            Ok(layout) => Ok(layout.read(record, offset, &mut self.rows)),
            Err(reason) => Ok(Err(reason.clone())),
        }
    }
}

fn written(number: u32, schema: &RegisteredSchema) -> Result<Written, String> {
    if schema.schema_type != SchemaType::Protobuf {
        return Err(format!("schema {number} is none of Protobuf"));
    }
    let pool = schema::registered(schema).map_err(|reason| format!("schema {number}: {reason}"))?;
    Ok(Written { pool, layouts: BTreeMap::new() })
}

fn only(descriptor: MessageDescriptor, wanted: Option<&str>) -> Result<MessageDescriptor, String> {
    match wanted {
        Some(wanted) if wanted != descriptor.full_name() => {
            Err(format!("the message is a {}, and the source takes only {wanted}", descriptor.full_name()))
        }
        _ => Ok(descriptor),
    }
}

/// The place of a message's type in its file, and what follows it: how many numbers, and for each level one (as zigzag
/// numbers); a single zero stands for the first type of the file.
fn place(bytes: &[u8]) -> Option<(Vec<usize>, &[u8])> {
    /// Types are not nested deeper.
    const LEVELS_MAX: i64 = 64;
    let mut rest = bytes;
    let mut number = || -> Option<i64> {
        let value = reading::varint(&mut rest).ok()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    };
    let levels = number().filter(|levels| (0..=LEVELS_MAX).contains(levels))?;
    if levels == 0 {
        return Some((vec![0], rest));
    }
    let place = (0..levels).map(|_| number().and_then(|at| usize::try_from(at).ok())).collect::<Option<_>>()?;
    Some((place, rest))
}

#[cfg(test)]
mod tests;
