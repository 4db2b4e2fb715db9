//! An object's value, field by field, into the columns of a struct; and JSON that lies inside other JSON.

use super::{Column, Nulls, Pushed};
use crate::format::value::{Fault, Number, Value};
use arrow::datatypes::Fields;
use sonic_rs::{JsonValueTrait, LazyValue};

/// The next value of a struct, under construction.
pub(crate) struct Object<'a> {
    pub(super) columns: &'a mut [Column],
    pub(super) fields: &'a Fields,
    pub(super) nulls: &'a mut Nulls,
}

impl Object<'_> {
    /// The field of this name.
    pub(crate) fn field(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name() == name)
    }

    /// The name of field `index`.
    pub(crate) fn name(&self, index: usize) -> &str {
        self.fields[index].name()
    }

    /// The column of field `index`, ready to get its value: the last of several counts.
    #[inline]
    pub(crate) fn column(&mut self, index: usize) -> &mut Column {
        let column = &mut self.columns[index];
        if column.nulls.len > self.nulls.len {
            column.truncate(self.nulls.len);
        }
        column.catch_up(self.nulls.len);
        column
    }

    /// Gives field `index` its value.
    #[inline(always)]
    pub(crate) fn put(&mut self, index: usize, value: Value) -> Pushed {
        self.column(index).push(value).map_err(|fault| fault.within(self.name(index)))
    }

    /// Ends the object; fields without a value are NULL.
    #[inline]
    pub(crate) fn end(mut self) -> Pushed {
        for index in 0..self.columns.len() {
            if self.columns[index].nulls.len <= self.nulls.len {
                self.put(index, Value::Null)?;
            }
        }
        self.nulls.push_valid();
        Ok(())
    }

    /// Takes a whole value.
    pub(super) fn take(mut self, value: Value) -> Pushed {
        if let Value::Tree(tree) = value {
            for index in 0..self.fields.len() {
                let name = self.fields[index].name();
                let pushed = tree.field(name, &mut |item| self.put(index, item));
                pushed.ok_or_else(|| Fault::expected("an object", &value))??;
            }
            return self.end();
        }
        let json = nested(value).ok_or_else(|| Fault::expected("an object", &value))?;
        for entry in sonic_rs::to_object_iter(json) {
            let (key, item) = entry.map_err(|_| Fault::expected("an object", &value))?;
            if let Some(index) = self.field(&key) {
                with_json(&item, |item| self.put(index, item))?;
            }
        }
        self.end()
    }
}

/// Appends a JSON value that stands inside another.
pub(super) fn push_json(column: &mut Column, value: &LazyValue) -> Pushed {
    with_json(value, |value| column.push(value))
}

/// Has a JSON value taken.
pub(crate) fn with_json(value: &LazyValue, take: impl FnOnce(Value) -> Pushed) -> Pushed {
    let raw = value.as_raw_str();
    match raw.as_bytes().first() {
        Some(b'"') => match value.as_str() {
            Some(text) => take(Value::Text(text)),
            None => Err(Fault::because(format!("expected text, got {raw}"))),
        },
        Some(b'{' | b'[') => take(Value::Nested(raw)),
        Some(b'n') => take(Value::Null),
        Some(b't') => take(Value::Bool(true)),
        Some(b'f') => take(Value::Bool(false)),
        _ => match Number::whole(raw) {
            Some(number) => take(Value::Number(number)),
            None => Err(Fault::because(format!("expected a value, got {raw}"))),
        },
    }
}

/// The JSON in a value that is a list or an object, also where it comes as text.
pub(super) fn nested<'a>(value: Value<'a>) -> Option<&'a str> {
    match value {
        Value::Nested(json) => Some(json),
        Value::Text(text) if text.trim_ascii_start().starts_with(['{', '[']) => {
            sonic_rs::from_str::<LazyValue>(text).is_ok().then_some(text)
        }
        _ => None,
    }
}
