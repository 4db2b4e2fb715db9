//! Arrow IPC: files by batch, streams from beginning to end.
//!
//! Lengths that a damaged file claims are checked against the file before memory is asked for.

use super::lines::read_full;
use super::piece::{Piece, fault, ready_rows};
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::{FileDecoder, StreamDecoder, read_footer_length};
use arrow::ipc::{Block, root_as_footer, root_as_message};
use arrow::record_batch::RecordBatch;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use thalweg_schemas::source::{Partition, Polled};

/// How a file begins; a stream begins otherwise.
const FILE_MAGIC: &[u8; 6] = b"ARROW1";
/// A file ends with the length of its footer and the magic.
const TRAILER_BYTES: u64 = 10;
/// What a message of a stream begins with, in all but the oldest ones, before its length.
const CONTINUATION: [u8; 4] = [0xff; 4];
/// A stream's schema is never larger; whoever begins with a greater length is no stream.
const SCHEMA_BYTES_MAX: u32 = 16 << 20;
/// How much of a stream is read at once.
const STREAM_BYTES: u64 = 256 << 10;

/// Whether `file` is an Arrow IPC file (rather than a stream).
pub(super) fn is_file(file: &File) -> std::io::Result<bool> {
    let mut magic = [0; FILE_MAGIC.len()];
    read_full(file, &mut magic, 0)?;
    Ok(magic == *FILE_MAGIC)
}

/// An Arrow IPC file, its footer and dictionaries read.
pub(super) struct ArrowFile {
    handle: File,
    len: u64,
    pub partition: Partition,
    batches: Vec<Block>,
    decoder: FileDecoder,
    done: Arc<AtomicU64>,
}

impl ArrowFile {
    pub(super) fn open(
        handle: File,
        partition: Partition,
        wanted: &[String],
        done: Arc<AtomicU64>,
    ) -> Result<ArrowFile, ArrowError> {
        let len = handle.metadata()?.len();
        let end = len.saturating_sub(TRAILER_BYTES);
        let trailer = bytes(&handle, len, end, TRAILER_BYTES)?;
        let trailer = trailer.as_slice().try_into().map_err(|_| broken("it has no trailer"))?;
        let footer_len = read_footer_length(trailer)? as u64;
        let footer = bytes(&handle, len, end.saturating_sub(footer_len), footer_len)?;
        let footer = root_as_footer(&footer).map_err(|error| broken(format!("its footer: {error}")))?;
        let schema = Arc::new(fb_to_schema(footer.schema().ok_or_else(|| broken("it has no schema"))?));
        let columns = projection(&schema, wanted);
        let mut decoder = FileDecoder::new(schema, footer.version()).with_projection(columns);
        for block in footer.dictionaries().iter().flatten() {
            decoder.read_dictionary(block, &block_bytes(&handle, len, block)?)?;
        }
        let batches = footer.recordBatches().iter().flatten().copied().collect();
        Ok(ArrowFile { handle, len, partition, batches, decoder, done })
    }

    pub(super) fn batches(&self) -> usize {
        self.batches.len()
    }

    /// How many rows batch `index` says it has; 0 if it cannot be read, which reading it will tell.
    pub(super) fn batch_rows(&self, index: usize) -> u64 {
        let block = &self.batches[index];
        let Ok(length) = u64::try_from(block.metaDataLength()) else { return 0 };
        let Ok(head) = bytes(&self.handle, self.len, block.offset() as u64, length) else { return 0 };
        let prefix = if head.starts_with(&CONTINUATION) { 8 } else { 4 };
        let message = head.get(prefix..).and_then(|message| root_as_message(message).ok());
        let batch = message.and_then(|message| message.header_as_record_batch());
        batch.map_or(0, |batch| batch.length().max(0) as u64)
    }

    fn batch(&self, index: usize) -> Result<Option<RecordBatch>, ArrowError> {
        let block = &self.batches[index];
        let bytes = block_bytes(&self.handle, self.len, block)?;
        self.done.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.decoder.read_record_batch(block, &bytes)
    }
}

fn block_bytes(file: &File, len: u64, block: &Block) -> Result<Buffer, ArrowError> {
    let length = (block.metaDataLength() as u64).saturating_add(block.bodyLength() as u64);
    Ok(bytes(file, len, block.offset() as u64, length)?.into())
}

fn bytes(file: &File, len: u64, start: u64, length: u64) -> Result<Vec<u8>, ArrowError> {
    if start.checked_add(length).is_none_or(|end| end > len) {
        return Err(broken(format!("{length} bytes from {start} are more than it has")));
    }
    let mut bytes = vec![0; length as usize];
    let filled = read_full(file, &mut bytes, start)?;
    bytes.truncate(filled);
    Ok(bytes)
}

fn broken(what: impl Into<String>) -> ArrowError {
    ArrowError::IpcError(what.into())
}

fn projection(schema: &SchemaRef, wanted: &[String]) -> Vec<usize> {
    let fields = schema.fields().iter().enumerate();
    fields.filter(|(_, field)| wanted.contains(field.name())).map(|(index, _)| index).collect()
}

/// A batch of a file.
pub(super) struct ArrowBatch {
    file: Arc<ArrowFile>,
    index: usize,
    row: u64,
    read: bool,
}

impl ArrowBatch {
    pub(super) fn new(file: Arc<ArrowFile>, index: usize, row: u64) -> ArrowBatch {
        ArrowBatch { file, index, row, read: false }
    }
}

impl Piece for ArrowBatch {
    fn next(&mut self, _budget: usize) -> Option<Polled> {
        if std::mem::replace(&mut self.read, true) {
            return None;
        }
        match self.file.batch(self.index).transpose()? {
            Ok(batch) => Some(ready_rows(&self.file.partition, &mut self.row, batch)),
            Err(error) => {
                let reason = format!("batch {} cannot be read: {error}", self.index);
                Some(fault(&self.file.partition, self.row, reason))
            }
        }
    }
}

/// A stream, being read.
pub(super) struct ArrowStream {
    text: Box<dyn Read + Send>,
    partition: Partition,
    decoder: StreamDecoder,
    /// What has been read and not decoded.
    rest: Buffer,
    columns: Vec<usize>,
    position: u64,
    over: bool,
}

impl ArrowStream {
    /// Reads as far as the schema.
    pub(super) fn open(
        text: Box<dyn Read + Send>,
        partition: Partition,
        wanted: &[String],
    ) -> Result<ArrowStream, ArrowError> {
        let (decoder, rest, columns) = (StreamDecoder::new(), Buffer::from(Vec::<u8>::new()), Vec::new());
        let mut stream = ArrowStream { text, partition, decoder, rest, columns, position: 0, over: false };
        stream.fill()?;
        let begins = stream.rest.get(..4).and_then(|start| <[u8; 4]>::try_from(start).ok());
        if begins.is_none_or(|start| start != CONTINUATION && u32::from_le_bytes(start) > SCHEMA_BYTES_MAX) {
            return Err(broken("it does not begin as one"));
        }
        let schema = loop {
            if let Some(schema) = stream.decoder.schema() {
                break schema;
            }
            if stream.rest.is_empty() && !stream.fill()? {
                return Err(broken("it has no schema"));
            }
            // Only the first bytes go in, so that no batch comes out before the schema is known to us.
            let mut first = stream.rest.slice_with_length(0, 1);
            stream.decoder.decode(&mut first)?;
            stream.rest.advance(1);
        };
        stream.columns = projection(&schema, wanted);
        Ok(stream)
    }

    /// Reads more; false at the end.
    fn fill(&mut self) -> std::io::Result<bool> {
        let mut bytes = Vec::with_capacity(STREAM_BYTES as usize);
        (&mut self.text).take(STREAM_BYTES).read_to_end(&mut bytes)?;
        self.rest = bytes.into();
        Ok(!self.rest.is_empty())
    }

    fn step(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        loop {
            if let Some(batch) = self.decoder.decode(&mut self.rest)? {
                return Ok(Some(batch.project(&self.columns)?));
            }
            if !self.fill()? {
                self.decoder.finish()?;
                return Ok(None);
            }
        }
    }
}

impl Piece for ArrowStream {
    fn next(&mut self, _budget: usize) -> Option<Polled> {
        if self.over {
            return None;
        }
        match self.step().transpose()? {
            Ok(batch) => Some(ready_rows(&self.partition, &mut self.position, batch)),
            Err(error) => {
                self.over = true;
                Some(fault(&self.partition, self.position, format!("the stream cannot be read from here on: {error}")))
            }
        }
    }
}
