//! Nested values of a message, as columns take them.

use crate::format::value::{Fault, Tree, Value};
use base64::prelude::{BASE64_STANDARD, Engine};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, SerializeOptions, Value as Reflected};
use std::borrow::Cow;

type Pushed = Result<(), Box<Fault>>;

/// A list, a map or a message, and what it is by its schema.
#[derive(Debug)]
struct Node<'a> {
    value: &'a Reflected,
    field: &'a FieldDescriptor,
}

/// Has the value of a message's field taken: NULL where it has none and its absence can be told, else its default.
pub(super) fn take_field(
    message: &DynamicMessage,
    field: &FieldDescriptor,
    take: &mut dyn FnMut(Value) -> Pushed,
) -> Pushed {
    if field.supports_presence() && !message.has_field(field) {
        return take(Value::Null);
    }
    take_value(&message.get_field(field), field, take)
}

fn take_value(value: &Reflected, field: &FieldDescriptor, take: &mut dyn FnMut(Value) -> Pushed) -> Pushed {
    match value {
        Reflected::List(_) | Reflected::Map(_) => take(Value::Tree(&Node { value, field })),
        item => take_item(item, field, &field.kind(), take),
    }
}

/// Has a value taken that is no list and no map.
fn take_item(value: &Reflected, field: &FieldDescriptor, kind: &Kind, take: &mut dyn FnMut(Value) -> Pushed) -> Pushed {
    match value {
        Reflected::Bool(value) => take(Value::Bool(*value)),
        Reflected::I32(value) => take(Value::Integer((*value).into())),
        Reflected::I64(value) => take(Value::Integer((*value).into())),
        Reflected::U32(value) => take(Value::Integer((*value).into())),
        Reflected::U64(value) => take(Value::Integer((*value).into())),
        Reflected::F32(value) => take(Value::Float((*value).into())),
        Reflected::F64(value) => take(Value::Float(*value)),
        Reflected::String(text) => take(Value::Text(text)),
        Reflected::Bytes(bytes) => take(Value::Bytes(bytes)),
        Reflected::EnumNumber(number) => take(Value::Text(&enum_name(kind, *number))),
        Reflected::Message(message) => take_message(message, value, field, take),
        Reflected::List(_) | Reflected::Map(_) => Err(Fault::because("a list within a list")),
    }
}

/// Messages that everybody knows are what they mean; others are objects.
fn take_message(
    message: &DynamicMessage,
    value: &Reflected,
    field: &FieldDescriptor,
    take: &mut dyn FnMut(Value) -> Pushed,
) -> Pushed {
    let part = |number| message.get_field_by_number(number);
    let descriptor = prost_reflect::ReflectMessage::descriptor(message);
    match descriptor.full_name() {
        TIMESTAMP => {
            let seconds = part(1).and_then(|value| value.as_i64()).unwrap_or_default();
            let nanos = part(2).and_then(|value| value.as_i32()).unwrap_or_default();
            take(Value::Instant(seconds, nanos))
        }
        name if WRAPPERS.contains(&name) => match (descriptor.get_field(1), part(1)) {
            (Some(inner), Some(value)) => take_item(&value, &inner, &inner.kind(), take),
            _ => take(Value::Null),
        },
        name if TEXTS.contains(&name) => match json_of(message) {
            serde_json::Value::String(text) => take(Value::Text(&text)),
            serde_json::Value::Null => take(Value::Null),
            other => take(Value::Nested(&other.to_string())),
        },
        _ => take(Value::Tree(&Node { value, field })),
    }
}

/// A point in time.
pub(super) const TIMESTAMP: &str = "google.protobuf.Timestamp";
/// Scalars whose absence can be told.
const WRAPPERS: &[&str] = &[
    "google.protobuf.DoubleValue",
    "google.protobuf.FloatValue",
    "google.protobuf.Int64Value",
    "google.protobuf.UInt64Value",
    "google.protobuf.Int32Value",
    "google.protobuf.UInt32Value",
    "google.protobuf.BoolValue",
    "google.protobuf.StringValue",
    "google.protobuf.BytesValue",
];
/// What has a form of its own in JSON.
const TEXTS: &[&str] = &[
    "google.protobuf.Duration",
    "google.protobuf.FieldMask",
    "google.protobuf.Struct",
    "google.protobuf.Value",
    "google.protobuf.ListValue",
    "google.protobuf.Any",
];

/// The name of an enum's value; its number where the schema has no name for it.
fn enum_name(kind: &Kind, number: i32) -> Cow<'static, str> {
    let name = kind.as_enum().and_then(|kind| Some(kind.get_value(number)?.name().to_string()));
    Cow::Owned(name.unwrap_or_else(|| number.to_string()))
}

impl Node<'_> {
    /// The message that it is, if it is one.
    fn message(&self) -> Option<&DynamicMessage> {
        self.value.as_message()
    }
}

impl Tree for Node<'_> {
    fn items(&self, take: &mut dyn FnMut(Value) -> Pushed) -> Option<Pushed> {
        let kind = self.field.kind();
        Some(self.value.as_list()?.iter().try_for_each(|item| take_item(item, self.field, &kind, take)))
    }

    fn entries(&self, take: &mut dyn FnMut(Value, Value) -> Pushed) -> Option<Pushed> {
        if let Some(message) = self.message() {
            let descriptor = prost_reflect::ReflectMessage::descriptor(message);
            let pushed = descriptor
                .fields()
                .try_for_each(|field| take_field(message, &field, &mut |value| take(Value::Text(field.name()), value)));
            return Some(pushed);
        }
        let map = self.value.as_map()?;
        let kind = self.field.kind();
        let of_value = kind.as_message()?.map_entry_value_field();
        Some(sorted(map).into_iter().try_for_each(|(key, value)| {
            take_item(value, &of_value, &of_value.kind(), &mut |value| take(key_of(key), value))
        }))
    }

    fn field(&self, name: &str, take: &mut dyn FnMut(Value) -> Pushed) -> Option<Pushed> {
        let message = self.message()?;
        let descriptor = prost_reflect::ReflectMessage::descriptor(message);
        Some(match descriptor.get_field_by_name(name).or_else(|| descriptor.get_field_by_json_name(name)) {
            Some(field) => take_field(message, &field, take),
            None => take(Value::Null),
        })
    }

    fn to_json(&self) -> String {
        json(self.value, &self.field.kind()).to_string()
    }
}

fn key_of(key: &MapKey) -> Value<'_> {
    match key {
        MapKey::Bool(key) => Value::Bool(*key),
        MapKey::I32(key) => Value::Integer((*key).into()),
        MapKey::I64(key) => Value::Integer((*key).into()),
        MapKey::U32(key) => Value::Integer((*key).into()),
        MapKey::U64(key) => Value::Integer((*key).into()),
        MapKey::String(key) => Value::Text(key),
    }
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::String(key) => key.clone(),
        other => key_of(other).to_string(),
    }
}

/// The entries of a map by their keys: its own order differs from run to run.
#[expect(clippy::disallowed_types, reason = "what the library has, and sorted at once")]
fn sorted(map: &std::collections::HashMap<MapKey, Reflected>) -> Vec<(&MapKey, &Reflected)> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by(|a, b| a.0.cmp(b.0));
    entries
}

/// A value as JSON: as Protobuf's own, but for numbers of 64 bits, which are numbers, and names of fields, which are as in
/// the schema.
fn json(value: &Reflected, kind: &Kind) -> serde_json::Value {
    use serde_json::Value as Json;
    match value {
        Reflected::List(items) => Json::Array(items.iter().map(|item| json(item, kind)).collect()),
        Reflected::Map(map) => {
            let of_value = kind.as_message().map(|entry| entry.map_entry_value_field().kind());
            let of_value = of_value.unwrap_or(Kind::String);
            Json::Object(sorted(map).into_iter().map(|(key, value)| (key_text(key), json(value, &of_value))).collect())
        }
        Reflected::Message(message) => json_of(message),
        Reflected::EnumNumber(number) => Json::from(enum_name(kind, *number)),
        Reflected::Bool(value) => Json::from(*value),
        Reflected::I32(value) => Json::from(*value),
        Reflected::I64(value) => Json::from(*value),
        Reflected::U32(value) => Json::from(*value),
        Reflected::U64(value) => Json::from(*value),
        Reflected::F32(value) => Json::from(*value),
        Reflected::F64(value) => Json::from(*value),
        Reflected::String(value) => Json::from(value.as_str()),
        Reflected::Bytes(bytes) => Json::from(BASE64_STANDARD.encode(bytes)),
    }
}

fn json_of(message: &DynamicMessage) -> serde_json::Value {
    let options =
        SerializeOptions::new().stringify_64_bit_integers(false).use_proto_field_name(true).skip_default_fields(false);
    // What has no JSON (a time beyond its range) is told as text, so that it is not lost.
    let written = message.serialize_with_options(serde_json::value::Serializer, &options);
    written.unwrap_or_else(|_| serde_json::Value::String(format!("{message:?}")))
}
