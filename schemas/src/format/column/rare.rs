//! Values that a column takes off the hot path: types that are rarer in records, and values of another kind than the
//! column's.

use super::object::{nested, push_json};
use super::{Pushed, Values, to_offset};
use crate::format::convert::{finite_or, to_date, to_integer};
use crate::format::value::{Fault, Number, Value, truth};
use arrow::compute::kernels::cast_utils::{parse_decimal, string_to_time_nanoseconds};
use arrow::datatypes::{DataType, Decimal128Type, TimeUnit};

impl Values {
    /// Pushes what [`Column::push`](super::Column::push) does not push itself.
    pub(super) fn push_rare(&mut self, value: Value) -> Pushed {
        match self {
            Values::Bool(values) => values.push(match value {
                Value::Bool(value) => value,
                Value::Text(text) => truth(text).ok_or_else(|| Fault::expected("true or false", &value))?,
                _ => return Err(Fault::expected("true or false", &value)),
            }),
            Values::Int8(values) => values.push(to_integer(value)?),
            Values::Int16(values) => values.push(to_integer(value)?),
            Values::UInt8(values) => values.push(to_integer(value)?),
            Values::UInt16(values) => values.push(to_integer(value)?),
            Values::UInt32(values) => values.push(to_integer(value)?),
            Values::UInt64(values) => values.push(to_integer(value)?),
            Values::Float32(values) => {
                let text = match value {
                    Value::Number(number) => number.text,
                    Value::Text(text) => text.trim_ascii(),
                    Value::Float(float) => {
                        values.push(float as f32);
                        return Ok(());
                    }
                    Value::Integer(whole) => {
                        values.push(whole as f32);
                        return Ok(());
                    }
                    _ => return Err(Fault::expected("a number", &value)),
                };
                let parsed: f32 = text.parse().map_err(|_| Fault::expected("a number", &value))?;
                values.push(finite_or(parsed, parsed.is_finite(), value)?);
            }
            Values::Decimal128 { values, precision, scale } => {
                let written;
                let text = match value {
                    Value::Number(number) => number.text,
                    Value::Text(text) => text.trim_ascii(),
                    Value::Integer(_) | Value::Float(_) => {
                        written = value.to_string();
                        &written
                    }
                    _ => return Err(Fault::expected("a number", &value)),
                };
                if Number::whole(text).is_none() {
                    return Err(Fault::expected("a number", &value));
                }
                values.push(parse_decimal::<Decimal128Type>(text, *precision, *scale).map_err(|_| {
                    Fault::because(format!("{} is out of range for DECIMAL({precision}, {scale})", value))
                })?);
            }
            Values::Date32 { values, parser } => values.push(to_date(value, parser)?),
            Values::Time64 { values, unit } => {
                let Value::Text(text) = value else { return Err(Fault::expected("a time of day", &value)) };
                let nanos = string_to_time_nanoseconds(text.trim_ascii())
                    .map_err(|_| Fault::expected("a time of day such as 13:45:00", &value))?;
                values.push(if *unit == TimeUnit::Microsecond { nanos / 1_000 } else { nanos });
            }
            Values::Null => return Err(Fault::expected("null", &value)),
            Values::List { items, offsets, .. } => {
                let mut len = offsets.last().map_or(0, |end| *end as usize);
                if let Value::Tree(tree) = value {
                    let pushed = tree.items(&mut |item| {
                        len += 1;
                        items.push(item).map_err(|fault| fault.within("[]"))
                    });
                    pushed.ok_or_else(|| Fault::expected("a list", &value))??;
                    offsets.push(to_offset(len)?);
                    return Ok(());
                }
                let json = nested(value).ok_or_else(|| Fault::expected("a list", &value))?;
                for item in sonic_rs::to_array_iter(json) {
                    let item = item.map_err(|_| Fault::expected("a list", &value))?;
                    push_json(items, &item).map_err(|fault| fault.within("[]"))?;
                    len += 1;
                }
                offsets.push(to_offset(len)?);
            }
            Values::Map { keys, values, offsets, .. } => {
                let mut len = offsets.last().map_or(0, |end| *end as usize);
                if let Value::Tree(tree) = value {
                    let pushed = tree.entries(&mut |key, item| {
                        len += 1;
                        keys.push(key).map_err(|fault| fault.within("key"))?;
                        values.push(item).map_err(|fault| fault.within(&key.to_string()))
                    });
                    pushed.ok_or_else(|| Fault::expected("an object", &value))??;
                    offsets.push(to_offset(len)?);
                    return Ok(());
                }
                let json = nested(value).ok_or_else(|| Fault::expected("an object", &value))?;
                for entry in sonic_rs::to_object_iter(json) {
                    let (key, item) = entry.map_err(|_| Fault::expected("an object", &value))?;
                    keys.push(Value::Text(&key)).map_err(|fault| fault.within("key"))?;
                    push_json(values, &item).map_err(|fault| fault.within(&key))?;
                    len += 1;
                }
                offsets.push(to_offset(len)?);
            }
            Values::Int32(_)
            | Values::Int64(_)
            | Values::Float64(_)
            | Values::Timestamp { .. }
            | Values::Struct { .. }
            | Values::Bytes { .. } => {
                unreachable!("`Column::push` takes these itself")
            }
        }
        Ok(())
    }
}

/// Appends a value that is no text to a column of texts or bytes.
#[cold]
pub(super) fn push_as_text(bytes: &mut Vec<u8>, data_type: &DataType, value: Value) -> Pushed {
    let written;
    let text = match value {
        Value::Null => return Ok(()),
        Value::Number(number) => number.text,
        Value::Text(text) | Value::Nested(text) => text,
        Value::Bytes(raw) if matches!(data_type, DataType::Binary | DataType::LargeBinary) => {
            bytes.extend_from_slice(raw);
            return Ok(());
        }
        Value::Bytes(raw) => std::str::from_utf8(raw).map_err(|_| Fault::expected("text", &value))?,
        Value::Tree(tree) => {
            written = tree.to_json();
            &written
        }
        Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::Instant(..) => {
            written = value.to_string();
            &written
        }
    };
    bytes.extend_from_slice(text.as_bytes());
    Ok(())
}
