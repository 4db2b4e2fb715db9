//! Avro object container files, block by block.
//!
//! ```text
//!   "Obj" 1, metadata (a map with the schema and the codec), marker        the header
//!   records, bytes, data, marker                                           a block
//! ```
//!
//! A block is cut out of the file here and decoded as if it were the only one: so a damaged block costs its own records
//! and no others, and a file that ends within a block says so, which the library would pass over in silence.

use super::piece::{Piece, fault, guarded, ready_rows};
use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow_avro::reader::{Reader, ReaderBuilder};
use arrow_avro::schema::AvroSchema;
use std::io::{self, Cursor, Read};
use std::sync::Arc;
use thalweg_schemas::source::{Partition, Polled};

const MAGIC: &[u8; 4] = b"Obj\x01";
const MARKER_BYTES: usize = 16;
/// What the library is built to decompress.
const CODECS: [&str; 4] = ["null", "deflate", "snappy", "zstandard"];
/// Records of a block that are decoded at once.
const BATCH_ROWS: usize = 8_192;

/// A container file, its header read.
pub(super) struct AvroFile {
    text: Box<dyn Read + Send>,
    partition: Partition,
    wanted: Arc<[String]>,
    /// What the records are read by, if that is another schema than they were written by.
    reader_schema: Option<AvroSchema>,
    header: Vec<u8>,
    /// The records of the block that is being read.
    block: Option<Reader<Cursor<Vec<u8>>>>,
    /// How many of them have not come yet.
    left: u64,
    position: u64,
    blocks: u64,
    over: bool,
}

impl AvroFile {
    /// Reads the header.
    pub(super) fn open(
        text: Box<dyn Read + Send>,
        partition: Partition,
        wanted: Arc<[String]>,
        reader_schema: Option<&str>,
    ) -> Result<AvroFile, String> {
        let mut recorder = Recorder { text, seen: Vec::new() };
        let codec = read_header(&mut recorder).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => "it ends within its header".to_string(),
            _ => error.to_string(),
        })?;
        if !CODECS.contains(&codec.as_str()) {
            return Err(format!("its blocks are compressed as '{codec}'; there are {}", CODECS.join(", ")));
        }
        let Recorder { text, seen: header } = recorder;
        let reader_schema = reader_schema.map(|schema| AvroSchema::new(schema.to_string()));
        let file = AvroFile {
            text,
            partition,
            wanted,
            reader_schema,
            header,
            block: None,
            left: 0,
            position: 0,
            blocks: 0,
            over: false,
        };
        file.reader(&[]).map_err(|error| error.to_string())?;
        Ok(file)
    }

    /// A reader of one block, as if the file had no other.
    fn reader(&self, block: &[u8]) -> Result<Reader<Cursor<Vec<u8>>>, ArrowError> {
        let builder = ReaderBuilder::new().with_batch_size(BATCH_ROWS);
        let builder = match &self.reader_schema {
            Some(schema) => builder.with_reader_schema(schema.clone()),
            None => builder,
        };
        builder.build(Cursor::new([self.header.as_slice(), block].concat()))
    }

    /// The next rows of the block that is being read; `None` at its end.
    fn rows(&mut self) -> Option<Result<RecordBatch, String>> {
        let block = self.block.as_mut()?;
        let next = guarded(|| block.next().transpose().map_err(|error| error.to_string()));
        match next.and_then(|next| next) {
            Ok(Some(rows)) if rows.num_rows() as u64 <= self.left => {
                self.left -= rows.num_rows() as u64;
                let columns = rows.schema_ref().fields().iter().enumerate();
                let wanted = columns.filter(|(_, field)| self.wanted.contains(field.name())).map(|(at, _)| at);
                Some(rows.project(&wanted.collect::<Vec<_>>()).map_err(|error| error.to_string()))
            }
            Ok(None) if self.left == 0 => None,
            Ok(_) => Some(Err("it does not hold as many records as it says".to_string())),
            Err(error) => Some(Err(error)),
        }
    }

    /// Cuts the next block out of the file; false at the end of the file.
    fn next_block(&mut self) -> Result<bool, String> {
        let mut recorder = Recorder { text: &mut self.text, seen: Vec::new() };
        let ends_early = "the file ends within it".to_string();
        let told = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ends_early.clone(),
            _ => error.to_string(),
        };
        let Some(records) = long_or_end(&mut recorder).map_err(told)? else { return Ok(false) };
        let bytes = long(&mut recorder).map_err(told)?;
        let (Ok(records), Ok(bytes)) = (u64::try_from(records), u64::try_from(bytes)) else {
            return Err("its lengths are below zero".to_string());
        };
        let length = bytes.saturating_add(MARKER_BYTES as u64);
        // Read as it comes: a damaged length may claim more than there is memory.
        if io::copy(&mut (&mut recorder).take(length), &mut io::sink()).map_err(told)? < length {
            return Err(ends_early);
        }
        let block = std::mem::take(&mut recorder.seen);
        if !block.ends_with(&self.header[self.header.len() - MARKER_BYTES..]) {
            return Err("it does not end with the file's marker".to_string());
        }
        self.left = records;
        self.block = Some(self.reader(&block).map_err(|error| error.to_string())?);
        Ok(true)
    }
}

impl Piece for AvroFile {
    fn next(&mut self, _budget: usize) -> Option<Polled> {
        while !self.over {
            match self.rows() {
                Some(Ok(rows)) => return Some(ready_rows(&self.partition, &mut self.position, rows)),
                Some(Err(error)) => {
                    let reason = format!("{} records of block {} cannot be read: {error}", self.left, self.blocks);
                    let polled = fault(&self.partition, self.position, reason);
                    // Those behind it keep their numbers.
                    self.position += std::mem::take(&mut self.left);
                    self.block = None;
                    return Some(polled);
                }
                None => {}
            }
            self.block = None;
            match self.next_block() {
                Ok(true) => self.blocks += 1,
                Ok(false) => self.over = true,
                Err(error) => {
                    self.over = true;
                    let reason = format!("the file cannot be read from block {} on: {error}", self.blocks + 1);
                    return Some(fault(&self.partition, self.position, reason));
                }
            }
        }
        None
    }
}

/// Keeps what is read through it.
struct Recorder<R> {
    text: R,
    seen: Vec<u8>,
}

impl<R: Read> Read for Recorder<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.text.read(bytes)?;
        self.seen.extend_from_slice(&bytes[..read]);
        Ok(read)
    }
}

/// Reads a header to its end; the codec.
fn read_header<R: Read>(text: &mut Recorder<R>) -> io::Result<String> {
    let mut magic = [0; MAGIC.len()];
    text.read_exact(&mut magic)?;
    if magic != *MAGIC {
        return Err(io::Error::other("it does not begin as one"));
    }
    let mut codec = "null".to_string();
    loop {
        let mut entries = long(text)?;
        if entries == 0 {
            break;
        }
        if entries < 0 {
            // Then the length of the entries follows.
            long(text)?;
            entries = entries.saturating_neg();
        }
        for _ in 0..entries {
            let name = bytes(text)?;
            let value = bytes(text)?;
            if name == b"avro.codec" {
                codec = String::from_utf8_lossy(&value).into_owned();
            }
        }
    }
    text.read_exact(&mut [0; MARKER_BYTES])?;
    Ok(codec)
}

fn bytes(text: &mut impl Read) -> io::Result<Vec<u8>> {
    let length = u64::try_from(long(text)?).map_err(|_| io::Error::other("a length is below zero"))?;
    let mut bytes = Vec::new();
    if (text.take(length).read_to_end(&mut bytes)? as u64) < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

fn long(text: &mut impl Read) -> io::Result<i64> {
    long_or_end(text)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// A number of Avro: seven bits a byte, the lowest first, the sign in the lowest bit. `None` where the file has ended.
fn long_or_end(text: &mut impl Read) -> io::Result<Option<i64>> {
    let (mut value, mut shift) = (0u64, 0);
    loop {
        let mut byte = [0];
        if text.read(&mut byte)? == 0 {
            return if shift == 0 { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        value |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            return Ok(Some((value >> 1) as i64 ^ -((value & 1) as i64)));
        }
        shift += 7;
        if shift > 63 {
            return Err(io::Error::other("a number is too long"));
        }
    }
}
