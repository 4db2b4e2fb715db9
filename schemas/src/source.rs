//! The contract of a source: how records enter the engine.

use crate::epoch::WorkerId;
use crate::error::{Error, Result};
use crate::format::SchemaRegistry;
use crate::messages::Messages;
use crate::questions::Questions;
use crate::table::Metadata;
use arrow::array::Int64Array;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use std::sync::Arc;

/// A source as one run uses it: an outside system, addressed and checked, shared by all workers.
pub trait Source: Send + Sync {
    /// The part of the source that this worker reads. Called once per worker, before anything is read.
    fn reader(&self, worker: WorkerId) -> Result<Box<dyn Reader>>;

    /// Whether it ends by itself. A run whose sources are all bounded ends when they have.
    fn bounded(&self) -> bool;

    /// How far reading has come, for the progress bar; `None` where there is no end to measure against.
    fn progress(&self) -> Option<Progress> {
        None
    }

    /// Whether the outside system keeps what it handed over and gives the same records for the same offsets again.
    /// Where it does not, the engine keeps the records itself until they are part of a checkpoint.
    fn replayable(&self) -> bool {
        false
    }

    /// Goes on where an earlier run stopped: `done` is all that was read, one [`Span`] for each stretch, sorted by
    /// partition and offset, no two touching. Called at most once, before any [`reader`](Source::reader), with spans of
    /// partitions that may be gone by now; never where the source is not [`replayable`](Source::replayable).
    /// An error (a file that is shorter than what was read of it) ends the start with its message.
    fn resume(&self, _done: &[Span]) -> Result<()> {
        Ok(())
    }

    /// How reading it again and again has gone; `None` where it is no table outside.
    fn refreshes(&self) -> Option<Refreshes> {
        None
    }

    /// Where it is asked for the rows of keys, if it is a table outside that is not read whole. Then its records are
    /// [`Payload::Changes`] without a `0`, and of a key that was asked for there is one at least: what becomes of its row.
    fn questions(&self) -> Option<Arc<Questions>> {
        None
    }

    /// Where the schemas of its messages are looked up, if they carry numbers instead.
    fn schema_registry(&self) -> Option<Arc<dyn SchemaRegistry>> {
        None
    }

    /// Takes rows from a statement, [`Payload::Rows`] or [`Payload::Changes`], and waits until they will survive a crash of the
    /// process, or `is_over` says that they will not be taken in any more. Columns are found by name; those that are left out
    /// are NULL.
    fn write(&self, _rows: Payload, _is_over: &dyn Fn() -> bool) -> Result<()> {
        Err(Error::user("rows are written into tables, and this is a source"))
    }

    /// These records will survive a crash of the process: a sender that waits for that may be told.
    fn durable(&self, _spans: &[Span]) {}

    /// The receipts for requests whose last records are in `span`: what must outlive the process, so that a request that
    /// is repeated after a crash is not taken twice.
    fn receipts(&self, _span: &Span) -> Vec<Receipt> {
        Vec::new()
    }

    /// Gives back receipts of earlier runs, before any [`reader`](Source::reader).
    fn remember(&self, _receipts: Vec<Receipt>) {}

    /// All of `done` (see [`resume`](Source::resume)) is part of a checkpoint and will not be asked for again: a good
    /// moment to tell the outside system, for the sake of its own tools.
    fn checkpointed(&self, _done: &[Span]) {}
}

/// A stretch of the offsets of one partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The partition's name: the same in every run.
    pub partition: Arc<str>,
    /// The offset of its first record.
    pub start: u64,
    /// The offset after its last record.
    pub end: u64,
}

/// What is known of a request that was taken and may be repeated by its sender.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Receipt {
    /// What the sender names it by.
    pub key: String,
    /// The offset after its last record.
    pub end: u64,
    /// How many records it brought.
    pub rows: usize,
    /// When it came, in nanoseconds since 1970.
    pub time_ns: i64,
}

/// How much of a bounded source has been handed over, in bytes of its own (compressed) form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes handed over.
    pub done: u64,
    /// Bytes there are.
    pub total: u64,
}

/// How reading a table outside again and again has gone, in this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refreshes {
    /// How often it was read.
    pub done: u64,
    /// How often that failed: then the rows are those of the time before.
    pub failed: u64,
    /// When it was read last, in nanoseconds since 1970; 0: never.
    pub last_ns: i64,
    /// How many rows it had then.
    pub rows: u64,
}

/// One worker's share of a source.
///
/// # Contract
///
/// ```text
///   poll -> Ready(chunk)*   chunks of a partition come in offset order, and no record is in two chunks
///        -> Pending         nothing now; poll again later (the engine waits in between, not the reader)
///        -> Ended           never again: the watermark of this share goes to infinity
/// ```
///
/// `poll` runs on a worker's thread between two steps of the dataflow: it must not wait for the outside world longer
/// than a few milliseconds, and hands over about `budget` bytes at most (one record may be larger).
/// An error of kind `Retry` is reported (rate-limited) and `poll` is called again after a pause; any other error ends
/// the run with its message. What a source can say about single records (a file that vanished) it reports as
/// [`Polled::Fault`]: it is counted, logged and kept with the dead letters, and reading goes on.
/// A reader never drops a record silently and never looks into its payload.
pub trait Reader: Send {
    /// Hands over what is there.
    fn poll(&mut self, budget: usize) -> Result<Polled>;

    /// Hands over once more what an earlier run read: a chunk that begins at `span.start` and ends at or before
    /// `span.end`, of about `budget` bytes. The engine calls again with what is left until the span is covered, and all
    /// that before the first `poll`. The records must be the same as before. [`Polled::Pending`] asks for patience;
    /// [`Polled::Fault`] and [`Polled::Ended`] mean that the records are gone, which ends the start with that message.
    /// Any worker may be asked for any span of a [`replayable`](Source::replayable) source.
    fn replay(&mut self, span: &Span, _budget: usize) -> Result<Polled> {
        Err(Error::bug(format!("partition {} cannot be read again", span.partition)))
    }

    /// The partitions of its share that are known to be there, whether or not they have records: the watermark waits for
    /// the first row of each, or until it is idle. `None` where they are only known as they are read.
    fn partitions(&self) -> Option<Vec<Standing>> {
        None
    }

    /// What is known of the partitions that are still to come; asked at the end of each epoch.
    fn outlook(&self) -> Outlook {
        Outlook::Open
    }
}

/// How far a partition has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which.
    pub partition: Partition,
    /// Whether all that is there has been handed over, as far as anybody can say: only then is it idle if it brings
    /// nothing. Not so while records wait to be read, or while brokers are away.
    pub caught_up: bool,
}

/// What a reader knows of the partitions of its share that are still to come, and so of their event times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// Partitions are read side by side; one that comes later is taken to bring later times. The watermark is the least
    /// of all partitions that are not idle.
    Open,
    /// Partitions are read one after the other, and others are to come whose times may be any: no watermark can be
    /// promised yet. Of a table outside: it has not been read yet, and who looks rows up in it must wait.
    MoreToCome,
    /// Partitions are read one after the other, and what is to come is not before the one being read: the watermark is
    /// that one's, and those before it are done.
    LastOne,
}

/// What a [`Reader::poll`] found.
#[derive(Debug)]
pub enum Polled {
    /// Records.
    Ready(Chunk),
    /// Something outside is wrong with one partition; reading of the others goes on.
    Fault(Fault),
    /// Nothing at present.
    Pending,
    /// The end.
    Ended,
}

/// Records of one partition, in order.
#[derive(Debug)]
pub struct Chunk {
    /// The partition: the unit that has an order, offsets and a watermark of its own.
    pub partition: Partition,
    /// Offset of the first record (for files: bytes from the start of the uncompressed text, or rows).
    pub start: u64,
    /// Offset after the last record.
    pub end: u64,
    /// The line that names the columns, where the format has one (CSV): it comes with every chunk of the file.
    pub header: Option<Arc<[u8]>>,
    /// The records.
    pub payload: Payload,
}

/// A partition of a source, as one worker reads it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Partition {
    /// Its number within the source, the same on every worker.
    pub index: u32,
    /// Its name for people: a path, `topic/3`.
    pub name: Arc<str>,
}

/// Records, decoded or not.
#[derive(Debug)]
pub enum Payload {
    /// Whole records in the source's format, as bytes (for line formats: whole lines).
    Bytes(Vec<u8>),
    /// Whole records in a format that the sender chose, which need not be the source's.
    Formatted {
        /// The format's name; its options are the defaults.
        format: &'static str,
        /// The records.
        bytes: Vec<u8>,
    },
    /// Messages, each a record or several in the source's format, with what the system says about them.
    Messages(Messages),
    /// Rows: the outside system is columnar or typed by itself (Parquet, Arrow, the generator).
    /// Columns are matched by name and cast to what was declared.
    Rows(RecordBatch),
    /// Rows of a table outside, likewise, each with what becomes of the row with its key: `1` puts it in its place, `-1`
    /// removes it (the other columns mean nothing), `0` removes all rows that came before (no column means anything).
    Changes {
        /// The rows.
        rows: RecordBatch,
        /// One for each.
        diffs: Int64Array,
    },
}

/// Something wrong with a partition that is worth a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The partition's name.
    pub partition: Arc<str>,
    /// Where in it.
    pub offset: u64,
    /// What and why, for a person.
    pub reason: String,
}

/// What a connector is told when it opens a source.
#[derive(Clone, Debug)]
pub struct SourceRequest {
    /// The source's name.
    pub name: String,
    /// Its options, checked against the connector's [`crate::options::OptionSpec`]s.
    pub options: crate::options::Options,
    /// The format's name; `None` where the connector has none. A file connector frames records by it.
    pub format: Option<String>,
    /// The format's options: whether files have a header, for one.
    pub format_options: crate::options::Options,
    /// The columns that come from fields of the record, with their declared types; a self-typed connector may hand
    /// over only those of `wanted`.
    pub fields: SchemaRef,
    /// For each of `fields`, whether any view, sink or check looks at its values.
    pub wanted: Vec<bool>,
    /// Which of `fields` are the primary key; empty where none is declared.
    pub key: Vec<usize>,
    /// The metadata columns that the statement names: what nobody names need not be kept (headers, for one).
    pub metadata: Vec<Metadata>,
}
