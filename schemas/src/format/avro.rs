//! Avro: messages that each hold one record, written by a schema which the message names or the source was given.
//!
//! ```text
//!   0, number of the schema (4 bytes), record       from a registry
//!   c3 01, fingerprint (8 bytes), record            "single object", by the source's `schema`
//!   record                                          by the source's `schema`
//! ```
//!
//! Records are decoded into Arrow by the schema that they were written with, resolved to the source's `schema` where it
//! has one (defaults, aliases, wider types, by Avro's rules), and then brought to the declared columns by name.
//! A decoder that fails in the middle of a record leaves its columns of different lengths, so it is made anew, and what
//! was right before is decoded again: rare, and the price of knowing exactly which record was wrong.

use super::fit::{Fitted, fit};
use super::{
    BadRecord, DecodeRequest, Decoded, Decoder, EMPTY, FormatSpec, Framing, SchemaRegistry, SchemaType, TOMBSTONE,
};
use crate::error::{Error, ErrorKind, Result};
use crate::messages::Message;
use crate::options::{OptionKind, OptionSpec};
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow_avro::reader::{Decoder as RecordDecoder, ReaderBuilder};
use arrow_avro::schema::{AvroSchema, Fingerprint, FingerprintAlgorithm, SchemaStore};
use references::written_out;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// The format's description.
pub const SPEC: FormatSpec = FormatSpec {
    name: "avro",
    doc: "Apache Avro: container files, or messages with a schema registry or a given schema.",
    options: &[OptionSpec {
        name: "schema",
        kind: OptionKind::Text,
        default: None,
        required: false,
        doc: "The schema that records are read by: its JSON, or the path of an .avsc file. Messages that name no schema must have been written by it.",
    }],
    changelog: false,
    framing: Framing::Container,
    decoder: Some(decoder),
};

/// Rows decoded at once.
const BATCH_ROWS: usize = 8_192;

fn decoder(request: DecodeRequest) -> Result<Box<dyn Decoder>> {
    let reader = request.options.get("schema").map(given_schema).transpose()?;
    Ok(Box::new(AvroDecoder {
        fields: request.fields,
        registry: request.registry,
        reader,
        decoders: BTreeMap::new(),
        bytes: Vec::new(),
        pending: Vec::new(),
    }))
}

/// The text of the schema in option `schema`, which may be the path of a file.
pub fn schema_text(given: &str) -> Result<String> {
    match given.trim_ascii_start().starts_with(['{', '[', '"']) {
        true => Ok(given.to_string()),
        false => std::fs::read_to_string(given).map_err(|error| Error::io(given, &error)),
    }
}

/// The schema in option `schema`.
fn given_schema(given: &str) -> Result<ReaderSchema> {
    let text = schema_text(given)?;
    let schema = AvroSchema::new(text.clone());
    let wrong = |error: arrow::error::ArrowError| {
        Error::user(format!("option \"schema\" holds no Avro schema: {error}"))
            .with_hint("Write the JSON of a record, or the path of an .avsc file.")
    };
    let fingerprint = match schema.fingerprint(FingerprintAlgorithm::Rabin).map_err(wrong)? {
        Fingerprint::Rabin(fingerprint) => fingerprint.to_le_bytes(),
        _ => return Err(Error::bug("a fingerprint of another kind")),
    };
    let reader = ReaderSchema { text, fingerprint };
    make(&reader.text, None).map_err(|reason| Error::user(format!("option \"schema\" cannot be used: {reason}")))?;
    Ok(reader)
}

struct ReaderSchema {
    text: String,
    fingerprint: [u8; 8],
}

/// What a message was written by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum WrittenBy {
    /// The schema of this number in the registry.
    Number(u32),
    /// The schema that the source was given.
    Given,
}

/// A message that waits.
struct Pending {
    offset: u64,
    written_by: WrittenBy,
    /// Where the message and the record in it begin, and where they end.
    message: usize,
    record: usize,
    end: usize,
}

struct AvroDecoder {
    fields: SchemaRef,
    registry: Option<Arc<dyn SchemaRegistry>>,
    reader: Option<ReaderSchema>,
    decoders: BTreeMap<WrittenBy, RecordDecoder>,
    /// The messages that wait, one behind the other.
    bytes: Vec<u8>,
    pending: Vec<Result<Pending, BadRecord>>,
}

/// What came of the messages so far.
#[derive(Default)]
struct Outcome {
    parts: Vec<RecordBatch>,
    offsets: Vec<u64>,
    bad: Vec<BadRecord>,
}

impl Decoder for AvroDecoder {
    fn decode(&mut self, bytes: &[u8], origin: u64) -> Result<Decoded> {
        if !bytes.is_empty() {
            self.message(Message { offset: origin, key: None, value: Some(bytes) });
        }
        self.finish()
    }

    fn message(&mut self, message: Message<'_>) {
        let pending = match message.value {
            None => Err(BadRecord { offset: message.offset, raw: Vec::new(), reason: TOMBSTONE.to_string() }),
            Some([]) => Err(BadRecord { offset: message.offset, raw: Vec::new(), reason: EMPTY.to_string() }),
            Some(value) => self
                .frame(value)
                .map(|(written_by, skipped)| {
                    let start = self.bytes.len();
                    self.bytes.extend_from_slice(value);
                    let end = self.bytes.len();
                    Pending { offset: message.offset, written_by, message: start, record: start + skipped, end }
                })
                .map_err(|reason| bad(message.offset, value, reason)),
        };
        self.pending.push(pending);
    }

    fn finish(&mut self) -> Result<Decoded> {
        let pending = std::mem::take(&mut self.pending);
        let bytes = std::mem::take(&mut self.bytes);
        let mut outcome = Outcome::default();
        let mut rest = pending.as_slice();
        while let Some(first) = rest.first() {
            let written_by = first.as_ref().map(|pending| pending.written_by);
            let same = |pending: &&Result<Pending, BadRecord>| match (pending, &written_by) {
                (Ok(pending), Ok(by)) => pending.written_by == *by,
                _ => false,
            };
            let (run, after) = rest.split_at(rest.iter().take_while(same).count().max(1));
            rest = after;
            match &run[0] {
                Err(bad) => outcome.bad.push(bad.clone()),
                Ok(_) => {
                    let run: Vec<&Pending> = run.iter().flatten().collect();
                    self.decode_run(&run, &bytes, &mut outcome)?;
                }
            }
        }
        let rows = concat_batches(&self.fields, &outcome.parts)?;
        Ok(Decoded { rows, diffs: None, offsets: outcome.offsets, bad: outcome.bad })
    }
}

impl AvroDecoder {
    /// What a message was written by, and where its record begins.
    fn frame(&self, value: &[u8]) -> Result<(WrittenBy, usize), String> {
        if self.registry.is_some() {
            return match super::schema_id(value) {
                Some((number, record)) => Ok((WrittenBy::Number(number), value.len() - record.len())),
                None => Err("the message does not begin with the number of a schema".to_string()),
            };
        }
        let Some(reader) = &self.reader else {
            return Err("its schema is not known: option \"schema_registry\" or \"schema\" is missing".to_string());
        };
        let single_object = value.strip_prefix(&[0xc3, 0x01]).and_then(|rest| rest.strip_prefix(&reader.fingerprint));
        Ok((WrittenBy::Given, single_object.map_or(0, |record| value.len() - record.len())))
    }

    /// Decodes messages that were written by one schema.
    fn decode_run(&mut self, run: &[&Pending], bytes: &[u8], outcome: &mut Outcome) -> Result<()> {
        let written_by = run[0].written_by;
        let mut rest = run;
        while !rest.is_empty() {
            let mut decoder = match self.decoder(written_by)? {
                Ok(decoder) => decoder,
                Err(reason) => {
                    let refused = rest.iter().map(|p| bad(p.offset, &bytes[p.message..p.end], reason.clone()));
                    outcome.bad.extend(refused);
                    return Ok(());
                }
            };
            let number = number(written_by);
            let most = rest.len().min(BATCH_ROWS);
            let wrong = rest[..most].iter().enumerate().find_map(|(at, pending)| {
                decode_one(&mut decoder, number, &bytes[pending.record..pending.end]).err().map(|reason| (at, reason))
            });
            let Some((at, reason)) = wrong else {
                self.keep(decoder.flush(), &rest[..most], bytes, outcome)?;
                self.decoders.insert(written_by, decoder);
                rest = &rest[most..];
                continue;
            };
            if at > 0
                && let Ok(mut decoder) = self.decoder(written_by)?
            {
                for pending in &rest[..at] {
                    decode_one(&mut decoder, number, &bytes[pending.record..pending.end]).map_err(Error::bug)?;
                }
                self.keep(decoder.flush(), &rest[..at], bytes, outcome)?;
                self.decoders.insert(written_by, decoder);
            }
            outcome.bad.push(bad(rest[at].offset, &bytes[rest[at].message..rest[at].end], reason));
            rest = &rest[at + 1..];
        }
        Ok(())
    }

    /// Brings decoded rows to the declared columns.
    fn keep(
        &self,
        flushed: Result<Option<RecordBatch>, arrow_avro::errors::AvroError>,
        run: &[&Pending],
        bytes: &[u8],
        outcome: &mut Outcome,
    ) -> Result<()> {
        let refuse = |outcome: &mut Outcome, reason: String| {
            outcome.bad.extend(run.iter().map(|p| bad(p.offset, &bytes[p.message..p.end], reason.clone())));
        };
        match flushed {
            Ok(Some(rows)) if rows.num_rows() == run.len() => {
                let Fitted { rows, unfit } = fit(&rows, &self.fields)?;
                let mut wrong = unfit.iter().map(|(row, _)| *row).peekable();
                let fits = run.iter().enumerate().filter(|(row, _)| wrong.next_if_eq(row).is_none());
                outcome.offsets.extend(fits.map(|(_, pending)| pending.offset));
                outcome.parts.push(rows);
                for (row, reason) in unfit {
                    let pending = run[row];
                    outcome.bad.push(bad(pending.offset, &bytes[pending.message..pending.end], reason));
                }
            }
            Ok(_) => refuse(outcome, "the messages hold another number of records".to_string()),
            Err(error) => refuse(outcome, format!("not valid Avro: {error}")),
        }
        Ok(())
    }

    /// The decoder of what a schema wrote, or why there is none.
    fn decoder(&mut self, written_by: WrittenBy) -> Result<Result<RecordDecoder, String>> {
        if let Some(decoder) = self.decoders.remove(&written_by) {
            return Ok(Ok(decoder));
        }
        let reader = self.reader.as_ref().map(|reader| reader.text.as_str());
        let WrittenBy::Number(number) = written_by else {
            return Ok(reader.ok_or_else(|| "no schema is given".to_string()).and_then(|text| make(text, None)));
        };
        let registry = self.registry.as_ref().ok_or_else(|| Error::bug("a number of a schema without a registry"))?;
        let schema = match registry.schema(number) {
            Ok(schema) => schema,
            Err(error) if error.kind == ErrorKind::Data => return Ok(Err(error.message)),
            Err(error) => return Err(error),
        };
        if schema.schema_type != SchemaType::Avro {
            return Ok(Err(format!("schema {number} is none of Avro")));
        }
        let made = written_out(&schema).and_then(|text| make_numbered(number, &text, reader));
        Ok(made.map_err(|reason| format!("schema {number}: {reason}")))
    }
}

fn bad(offset: u64, raw: &[u8], reason: String) -> BadRecord {
    BadRecord { offset, raw: raw[..raw.len().min(super::RAW_BYTES_MAX)].to_vec(), reason }
}

fn number(written_by: WrittenBy) -> u32 {
    match written_by {
        WrittenBy::Number(number) => number,
        WrittenBy::Given => 0,
    }
}

fn make(writer: &str, reader: Option<&str>) -> Result<RecordDecoder, String> {
    make_numbered(0, writer, reader)
}

fn make_numbered(number: u32, writer: &str, reader: Option<&str>) -> Result<RecordDecoder, String> {
    let build = || -> Result<RecordDecoder, arrow::error::ArrowError> {
        let mut store = SchemaStore::new_with_type(FingerprintAlgorithm::Id);
        let fingerprint = store.set(Fingerprint::Id(number), AvroSchema::new(writer.to_string()))?;
        let builder = ReaderBuilder::new().with_writer_schema_store(store).with_active_fingerprint(fingerprint);
        let builder = builder.with_batch_size(BATCH_ROWS);
        match reader {
            Some(reader) => builder.with_reader_schema(AvroSchema::new(reader.to_string())).build_decoder(),
            None => builder.build_decoder(),
        }
    };
    guarded(|| build().map_err(|error| error.to_string()))
}

/// Decodes one record; after an error the decoder cannot be used any more.
fn decode_one(decoder: &mut RecordDecoder, number: u32, record: &[u8]) -> Result<(), String> {
    let mut head = [super::MAGIC; 5];
    head[1..].copy_from_slice(&number.to_be_bytes());
    guarded(|| {
        let wrong = |error| format!("not valid Avro: {error}");
        decoder.decode(&head).map_err(wrong)?;
        let room = decoder.capacity();
        let used = decoder.decode(record);
        // What is behind the record was taken for another one.
        if decoder.capacity() < room && !matches!(used, Ok(used) if used == record.len())
            || decoder.capacity() + 1 < room
        {
            return Err("bytes are left over behind the record".to_string());
        }
        match used.map_err(wrong)? {
            used if used == record.len() && used > 0 => Ok(()),
            _ => Err("not valid Avro: the record is cut off".to_string()),
        }
    })
}

/// The library may panic on bytes that do not fit together.
fn guarded<T>(decode: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(decode))
        .unwrap_or_else(|_| Err("not valid Avro: its parts do not fit together".into()))
}

mod references;
mod writing;

pub(crate) use writing::AvroEncoder;

#[cfg(test)]
mod tests;
