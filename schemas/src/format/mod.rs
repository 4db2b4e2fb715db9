//! Formats: bytes to rows. A format knows nothing of where the bytes come from.

pub mod avro;
mod column;
mod convert;
pub mod csv;
mod encode;
mod fit;
pub mod json;
pub mod nested;
pub mod protobuf;
mod registry;
mod rows;
mod value;

pub use encode::{ENCODINGS, EncodeRequest, Encoder, Records, encoder};
pub use registry::{MAGIC, RegisteredSchema, SchemaRegistry, SchemaType, schema_id};

use crate::error::Result;
use crate::messages::Message;
use crate::options::OptionSpec;
use crate::wanted::Wanted;
use arrow::array::Int64Array;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use std::sync::Arc;

/// Turns records of one format into rows.
///
/// # Contract
///
/// ```text
///   decode(bytes)*      of partitions that are streams of bytes
///   (message* finish)*  of partitions that are messages
/// ```
///
/// Every record is looked at exactly once: it becomes a row of the answer (in order), or an entry of `bad`; in a
/// changelog format it may also become two rows, or none where it says nothing new. A decoder never panics and never
/// gives up in the middle. Rows come with exactly the schema it was made for, except that columns and fields of records
/// which nobody wants and which may be NULL are all NULL (their values were checked and not kept), and those of removed
/// rows.
/// An error of kind `Retry` (a registry is away) means that nothing was taken of the call, or of the messages since the
/// last `finish`: the caller hands them over again.
pub trait Decoder: Send {
    /// Decodes whole records; `origin` is the offset of `bytes` in its partition, from which the offsets of rows
    /// are counted.
    fn decode(&mut self, bytes: &[u8], origin: u64) -> Result<Decoded>;

    /// Takes one message. Its rows and bad records, which all have the message's offset, stay inside until
    /// [`finish`](Decoder::finish). A message that brings nothing is a bad record of its own: none
    /// disappears.
    fn message(&mut self, message: Message<'_>);

    /// What became of all messages since the last call.
    fn finish(&mut self) -> Result<Decoded>;

    /// Takes the line that names the columns of what comes next, for formats that have one. Called before `decode`
    /// with every chunk that has a header; the same header again costs nothing.
    fn header(&mut self, _line: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// What became of a piece of input.
#[derive(Debug)]
pub struct Decoded {
    /// The rows that are right.
    pub rows: RecordBatch,
    /// For each row what its record does, where the format is a [changelog](FormatSpec::changelog): `1` puts the row
    /// in the place of the one with its key, `-1` removes the one with its key (the other columns may then be NULL).
    pub diffs: Option<Int64Array>,
    /// For each row, the offset of its record; empty unless the decoder was asked for offsets.
    pub offsets: Vec<u64>,
    /// The records that are wrong.
    pub bad: Vec<BadRecord>,
}

/// A record that is not a row, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRecord {
    /// Where in its partition.
    pub offset: u64,
    /// The bytes as they came (at most [`RAW_BYTES_MAX`]).
    pub raw: Vec<u8>,
    /// What is wrong: names the column and quotes the value.
    pub reason: String,
}

/// How much of a bad record is kept: a whole message of nearly every system, so that it can be read again.
pub const RAW_BYTES_MAX: usize = 2 << 20;

/// What a decoder is made for.
#[derive(Clone)]
pub struct DecodeRequest {
    /// The fields to find, by name, with their declared types and whether they may be NULL.
    pub fields: SchemaRef,
    /// For each of them, how much of its values is wanted; the rest is checked only.
    pub wanted: Vec<Wanted>,
    /// Which of them are the primary key, in its order; empty where none is declared.
    pub key: Vec<usize>,
    /// Whether offsets of rows are asked for.
    pub offsets: bool,
    /// The format's own options.
    pub options: crate::options::Options,
    /// Where schemas are looked up by number, if the source has such a place.
    pub registry: Option<Arc<dyn SchemaRegistry>>,
}

impl DecodeRequest {
    /// All of `fields`, all of them wanted, and nothing special.
    pub fn new(fields: SchemaRef) -> DecodeRequest {
        let wanted = vec![Wanted::Whole; fields.fields().len()];
        DecodeRequest { fields, wanted, key: Vec::new(), offsets: false, options: Default::default(), registry: None }
    }
}

/// A format, described as data.
#[derive(Clone, Copy)]
pub struct FormatSpec {
    /// Its name in `format = '...'`.
    pub name: &'static str,
    /// One sentence for the manual.
    pub doc: &'static str,
    /// Its options in `WITH (...)`.
    pub options: &'static [OptionSpec],
    /// Whether a record says what becomes of the row with its key, rather than being a row: then the source needs a
    /// primary key, and its rows are a changelog.
    pub changelog: bool,
    /// How records lie in a file.
    pub framing: Framing,
    /// Makes a decoder; `None` where readers hand over rows by themselves (Parquet, Arrow).
    pub decoder: Option<fn(DecodeRequest) -> Result<Box<dyn Decoder>>>,
}

/// How the records of a format lie in a stream of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One record a line, so that a file can be cut at line ends.
    Lines,
    /// As [`Lines`](Framing::Lines), and the first line of each file names the columns.
    LinesAfterHeader,
    /// A file with a structure of its own.
    Container,
}

/// All formats.
pub const ALL: &[FormatSpec] =
    &[json::SPEC, csv::SPEC, json::UPSERT, json::DEBEZIUM, avro::SPEC, protobuf::SPEC, PARQUET, ARROW];

const PARQUET: FormatSpec = FormatSpec {
    name: "parquet",
    doc: "Apache Parquet files; columns are matched by name.",
    options: &[],
    changelog: false,
    framing: Framing::Container,
    decoder: None,
};

const ARROW: FormatSpec = FormatSpec {
    name: "arrow",
    doc: "Apache Arrow IPC, file or stream; columns are matched by name.",
    options: &[],
    changelog: false,
    framing: Framing::Container,
    decoder: None,
};

/// The format named `name`.
pub fn by_name(name: &str) -> Option<&'static FormatSpec> {
    ALL.iter().find(|f| f.name == name)
}

/// Why a message without a value is no row in a format that needs one.
pub(crate) const TOMBSTONE: &str = "the message has no value (a tombstone)";
/// Why an empty message is no row.
pub(crate) const EMPTY: &str = "the message is empty";
