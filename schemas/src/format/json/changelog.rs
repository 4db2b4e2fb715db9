//! JSON whose records say what becomes of the row with their key: `upsert`, and the envelope of Debezium.
//!
//! Both come as messages (the key in the message's key) or as lines. A row that is removed needs only its key; all other
//! columns of it are NULL.
//!
//! ```text
//!   upsert    message        key {"id": 1}    value {"id": 1, "name": "a"}, or none: the row goes
//!             line           {"id": 1, "name": "a"}   or   {"key": {"id": 1}, "value": {...} or null}
//!                            {"id": 1, "_deleted": true}: the row goes, as sinks of ours write it
//!   debezium  message, line  {"before": row, "after": row, "op": "c" | "u" | "r" | "d"}, in "payload" or not;
//!                            no value: nothing new, since a message that removes the row came before
//! ```

use super::super::rows::Rows;
use super::super::value::{Fault, Value};
use super::super::{DecodeRequest, Decoded, Decoder, EMPTY, FormatSpec, Framing};
use super::{line_at, syntax_error};
use crate::error::Result;
use crate::messages::Message;
use crate::sink::DELETED;
use arrow::array::Int64Array;
use sonic_rs::{JsonValueTrait, LazyValue};

/// The description of `upsert`.
pub const UPSERT: FormatSpec = FormatSpec {
    name: "upsert",
    doc: "JSON whose records replace the row with their key, or remove it; needs a PRIMARY KEY.",
    options: &[],
    changelog: true,
    framing: Framing::Lines,
    decoder: Some(|request| decoder(request, Envelope::Upsert)),
};

/// The description of `debezium`.
pub const DEBEZIUM: FormatSpec = FormatSpec {
    name: "debezium",
    doc: "Debezium's JSON envelope of changes in a database; needs a PRIMARY KEY.",
    options: &[],
    changelog: true,
    framing: Framing::Lines,
    decoder: Some(|request| decoder(request, Envelope::Debezium)),
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Envelope {
    Upsert,
    Debezium,
}

fn decoder(request: DecodeRequest, envelope: Envelope) -> Result<Box<dyn Decoder>> {
    // A line may be an envelope only if its members are not columns.
    let plain = ["key", "value"].iter().any(|name| request.fields.column_with_name(name).is_some());
    Ok(Box::new(Changelog { rows: Rows::new(&request)?, key: request.key, envelope, plain, diffs: Vec::new() }))
}

struct Changelog {
    rows: Rows,
    /// The fields of the primary key.
    key: Vec<usize>,
    envelope: Envelope,
    /// Whether a line of `upsert` is always the row itself.
    plain: bool,
    diffs: Vec<i64>,
}

/// Why a record is not what it should be.
enum Stop {
    /// It is no JSON, or no object.
    Syntax,
    /// It is an object, but not such a one.
    Because(String),
    /// A value does not fit its column.
    Fault(Box<Fault>),
}

impl From<Box<Fault>> for Stop {
    fn from(fault: Box<Fault>) -> Stop {
        Stop::Fault(fault)
    }
}

fn because(what: impl Into<String>) -> Stop {
    Stop::Because(what.into())
}

impl Decoder for Changelog {
    fn decode(&mut self, bytes: &[u8], origin: u64) -> Result<Decoded> {
        self.rows.reserve();
        let mut start = 0;
        while start < bytes.len() {
            let line = line_at(bytes, start);
            let offset = origin + start as u64;
            start += line.len() + 1;
            let line = line.trim_ascii();
            if !line.is_empty() {
                self.record(line, line, offset, |changelog, text| match changelog.envelope {
                    Envelope::Upsert => changelog.line(text, offset),
                    Envelope::Debezium => changelog.debezium(text, None, offset),
                });
            }
        }
        self.finish()
    }

    fn message(&mut self, message: Message<'_>) {
        let value = message.value.map(<[u8]>::trim_ascii);
        if value.is_some_and(<[u8]>::is_empty) {
            return self.rows.take_back(message.offset, &[], EMPTY.to_string());
        }
        let raw = value.or(message.key).unwrap_or_default();
        match (self.envelope, value) {
            (Envelope::Upsert, value) => self.record(value.unwrap_or(b"{}"), raw, message.offset, |changelog, text| {
                changelog.upsert(value.map(|_| text), message)
            }),
            (Envelope::Debezium, Some(value)) => self.record(value, raw, message.offset, |changelog, text| {
                changelog.debezium(text, message.key, message.offset)
            }),
            // It follows the removal of the row, for compaction.
            (Envelope::Debezium, None) => {}
        }
    }

    fn finish(&mut self) -> Result<Decoded> {
        let decoded = self.rows.finish()?;
        Ok(Decoded { diffs: Some(Int64Array::from(std::mem::take(&mut self.diffs))), ..decoded })
    }
}

impl Changelog {
    /// Has `take` make rows of a record; what it refuses is a bad one, whole.
    fn record(
        &mut self,
        bytes: &[u8],
        raw: &[u8],
        offset: u64,
        take: impl FnOnce(&mut Changelog, &str) -> Result<(), Stop>,
    ) {
        let reason = match std::str::from_utf8(bytes) {
            Err(error) => format!("not valid UTF-8 at byte {}", error.valid_up_to()),
            Ok(text) => match take(self, text) {
                Ok(()) => return,
                Err(Stop::Syntax) => syntax_error(text),
                Err(Stop::Because(reason)) => reason,
                Err(Stop::Fault(fault)) => fault.to_string(),
            },
        };
        self.rows.take_back(offset, raw, reason);
    }

    /// A message of `upsert`; without a value its row goes.
    fn upsert(&mut self, value: Option<&str>, message: Message<'_>) -> Result<(), Stop> {
        match value {
            Some(value) if value.trim_ascii() != "null" => {
                // Fields of the value come later, and so take the place of those of the key.
                if let Some(key) = message.key {
                    self.put_key(key).or_else(|stop| self.key_in_value(value).ok_or(stop))?;
                }
                self.put_object(value, Which::All)?;
                self.end(message.offset, 1)
            }
            _ => {
                let key = message.key.ok_or_else(|| because("the message has neither a value nor a key"))?;
                self.put_key(key)?;
                self.end(message.offset, -1)
            }
        }
    }

    /// Whether a value holds the key by itself, so that the message's key need not be understood.
    fn key_in_value(&self, value: &str) -> Option<()> {
        let fields = self.rows.schema().fields();
        let has = |at: &usize| sonic_rs::get(value, &[fields[*at].name().as_str()]).is_ok();
        self.key.iter().all(has).then_some(())
    }

    /// A line of `upsert`: the row itself, or key and value.
    fn line(&mut self, text: &str, offset: u64) -> Result<(), Stop> {
        let members = members(text)?;
        let undeclared = self.rows.schema().column_with_name(DELETED).is_none();
        if undeclared && members.iter().any(|(name, value)| name == DELETED && value.as_bool() == Some(true)) {
            self.put_object(text, Which::Key)?;
            return self.end(offset, -1);
        }
        let is_envelope = |(name, _): &(String, LazyValue)| name == "key" || name == "value";
        if self.plain || members.is_empty() || !members.iter().all(is_envelope) {
            self.put_object(text, Which::All)?;
            return self.end(offset, 1);
        }
        let member = |name: &str| members.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.as_raw_str());
        let key = member("key").filter(|key| *key != "null").map(str::as_bytes);
        let value = member("value").filter(|value| *value != "null").map(str::as_bytes);
        self.upsert(member("value"), Message { offset, key, value })
    }

    fn debezium(&mut self, text: &str, key: Option<&[u8]>, offset: u64) -> Result<(), Stop> {
        let members = members(text)?;
        if let Some((_, payload)) = members.iter().find(|(name, _)| name == "payload") {
            if payload.is_null() {
                return Err(because("the envelope has no payload"));
            }
            let payload = payload.as_raw_str().to_string();
            return self.change(&payload, key, offset);
        }
        self.change(text, key, offset)
    }

    /// What is in the envelope.
    fn change(&mut self, text: &str, key: Option<&[u8]>, offset: u64) -> Result<(), Stop> {
        let members = members(text)?;
        let member = |name: &str| members.iter().rev().find(|(n, value)| n == name && !value.is_null());
        let row = |name: &str| member(name).map(|(_, value)| value.as_raw_str());
        let op = member("op").and_then(|(_, op)| op.as_str());
        match (op, row("before"), row("after")) {
            (Some("c" | "u" | "r"), _, Some(after)) => {
                self.put_object(after, Which::All)?;
                self.end(offset, 1)
            }
            (Some("c" | "u" | "r"), _, None) => Err(because("the change has no \"after\"")),
            (Some("d"), before, _) => {
                match (before, key) {
                    (Some(before), _) => self.put_object(before, Which::Key)?,
                    (None, Some(key)) => self.put_key(key)?,
                    (None, None) => return Err(because("the change has no \"before\", and its message no key")),
                }
                self.end(offset, -1)
            }
            (Some(other), ..) => Err(because(format!("op \"{other}\" is none of c, u, r and d"))),
            (None, ..) => Err(because("the record has no \"op\", so it is no change of Debezium")),
        }
    }

    /// The fields of the key from a message's key: an object, in an envelope or not, or the one value itself.
    fn put_key(&mut self, key: &[u8]) -> Result<(), Stop> {
        let wrong = || because("the key is not valid UTF-8");
        let text = std::str::from_utf8(key).map_err(|_| wrong())?.trim_ascii();
        if text.starts_with('{') {
            let members = members(text)?;
            let payload = members.iter().find(|(name, payload)| name == "payload" && !payload.is_null());
            return match payload {
                Some((_, payload)) if payload.as_raw_str().starts_with('{') => {
                    self.put_object(payload.as_raw_str(), Which::Key)
                }
                Some((_, payload)) => self.put_single(payload),
                None => self.put_object(text, Which::Key),
            };
        }
        match sonic_rs::from_str::<LazyValue>(text) {
            Ok(value) => self.put_single(&value),
            // A key that is plain text.
            Err(_) => match self.key.as_slice() {
                [only] => Ok(self.rows.put(*only, Value::Text(text))?),
                _ => Err(self.no_single()),
            },
        }
    }

    fn put_single(&mut self, value: &LazyValue) -> Result<(), Stop> {
        match self.key.as_slice() {
            [only] => Ok(self.rows.put_json(*only, value)?),
            _ => Err(self.no_single()),
        }
    }

    fn no_single(&self) -> Stop {
        because(format!("the key is one value, and the primary key has {} columns", self.key.len()))
    }

    /// The fields of an object that are columns.
    fn put_object(&mut self, text: &str, which: Which) -> Result<(), Stop> {
        for (name, value) in members(text)? {
            let field = self.rows.schema().fields().iter().position(|field| *field.name() == name);
            match field {
                Some(field) if which == Which::All || self.key.contains(&field) => self.rows.put_json(field, &value)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Ends the record: a row that is there (`1`), or one that goes (`-1`).
    fn end(&mut self, offset: u64, diff: i64) -> Result<(), Stop> {
        if diff > 0 {
            self.rows.end_row(offset)?;
        } else {
            self.rows.end_key(offset, &self.key)?;
        }
        self.diffs.push(diff);
        Ok(())
    }
}

/// Which fields are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    All,
    Key,
}

/// The members of an object.
fn members(text: &str) -> Result<Vec<(String, LazyValue<'_>)>, Stop> {
    // The iterator looks no further than it must.
    let value: LazyValue = sonic_rs::from_str(text).map_err(|_| Stop::Syntax)?;
    if !value.is_object() {
        return Err(Stop::Syntax);
    }
    sonic_rs::to_object_iter(text)
        .map(|member| member.map(|(name, value)| (name.to_string(), value)).map_err(|_| Stop::Syntax))
        .collect()
}

#[cfg(test)]
mod tests;
