//! Formats: bytes to rows. A format knows nothing of where the bytes come from.

mod column;
mod convert;
pub mod csv;
pub mod json;
mod rows;
mod value;

use crate::error::Result;
use crate::messages::Message;
use crate::options::OptionSpec;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

/// Turns records of one format into rows.
///
/// # Contract
///
/// ```text
///   decode(bytes)*      of partitions that are streams of bytes
///   (message* finish)*  of partitions that are messages
/// ```
///
/// Every record is looked at exactly once: it becomes one row of the answer (in order), or one entry of `bad`. A decoder never panics and never gives up in the middle. Rows come with exactly the schema it was made for,
/// except that columns which nobody wants and which may be NULL are all NULL: their values were checked and not kept.
pub trait Decoder: Send {
    /// Decodes whole records; `origin` is the offset of `bytes` in its partition, from which the offsets of rows
    /// are counted.
    fn decode(&mut self, bytes: &[u8], origin: u64) -> Result<Decoded>;

    /// Takes one message. Its rows and bad records, which all have the message's offset, stay inside until
    /// [`finish`](Decoder::finish). A message that brings neither is a bad record of its own: none disappears.
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

/// How much of a bad record is kept.
pub const RAW_BYTES_MAX: usize = 65_536;

/// What a decoder is made for.
#[derive(Clone, Debug)]
pub struct DecodeRequest {
    /// The fields to find, by name, with their declared types and whether they may be NULL.
    pub fields: SchemaRef,
    /// For each of them, whether its values are wanted; the others are checked only.
    pub wanted: Vec<bool>,
    /// Whether offsets of rows are asked for.
    pub offsets: bool,
    /// The format's own options.
    pub options: crate::options::Options,
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
pub const ALL: &[FormatSpec] = &[json::SPEC, csv::SPEC, PARQUET, ARROW];

const PARQUET: FormatSpec = FormatSpec {
    name: "parquet",
    doc: "Apache Parquet files; columns are matched by name.",
    options: &[],
    framing: Framing::Container,
    decoder: None,
};

const ARROW: FormatSpec = FormatSpec {
    name: "arrow",
    doc: "Apache Arrow IPC, file or stream; columns are matched by name.",
    options: &[],
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
