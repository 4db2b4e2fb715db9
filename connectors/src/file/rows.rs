//! Files that hold columns: Parquet by row group, Arrow IPC files by batch, Arrow streams whole.

use super::lines::read_full;
use super::piece::{Piece, fault};
use super::stream::Compression;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::{FileReader, StreamReader};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use thalweg_schemas::source::{Chunk, Partition, Payload, Polled};

/// Rows of a Parquet row group that are decoded at once.
const BATCH_ROWS: usize = 16_384;
/// How an Arrow IPC file begins; a stream begins otherwise.
const ARROW_FILE_MAGIC: &[u8; 6] = b"ARROW1";

/// A file read by position: several workers read one file at once, and a clone of [`File`] would share its cursor.
#[derive(Clone)]
struct Positioned {
    file: Arc<File>,
    position: u64,
}

impl Read for Positioned {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = std::os::unix::fs::FileExt::read_at(self.file.as_ref(), bytes, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Length for Positioned {
    fn len(&self) -> u64 {
        self.file.metadata().map_or(0, |meta| meta.len())
    }
}

impl ChunkReader for Positioned {
    type T = BufReader<Positioned>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(BufReader::new(Positioned { file: self.file.clone(), position: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let mut bytes = vec![0; length];
        let filled = read_full(&self.file, &mut bytes, start)?;
        if filled < length {
            return Err(ParquetError::EOF(format!("the file ends {} bytes early", length - filled)));
        }
        Ok(bytes.into())
    }
}

/// A Parquet file, its footer read.
pub(super) struct ParquetFile {
    input: Positioned,
    partition: Partition,
    metadata: ArrowReaderMetadata,
    columns: ProjectionMask,
    done: Arc<AtomicU64>,
}

impl ParquetFile {
    pub(super) fn open(
        file: File,
        partition: Partition,
        wanted: &[String],
        done: Arc<AtomicU64>,
    ) -> Result<ParquetFile, ParquetError> {
        let input = Positioned { file: Arc::new(file), position: 0 };
        let metadata = ArrowReaderMetadata::load(&input, ArrowReaderOptions::new())?;
        let fields = metadata.schema().fields().iter().enumerate();
        let roots = fields.filter(|(_, field)| wanted.contains(field.name())).map(|(index, _)| index);
        let columns = ProjectionMask::roots(metadata.parquet_schema(), roots);
        Ok(ParquetFile { input, partition, metadata, columns, done })
    }

    pub(super) fn groups(&self) -> usize {
        self.metadata.metadata().num_row_groups()
    }

    pub(super) fn group_rows(&self, group: usize) -> u64 {
        self.metadata.metadata().row_group(group).num_rows().max(0) as u64
    }
}

/// A row group, being read.
pub(super) struct RowGroup {
    file: Arc<ParquetFile>,
    group: usize,
    position: u64,
    rows: Option<ParquetRecordBatchReader>,
    over: bool,
}

impl RowGroup {
    pub(super) fn new(file: Arc<ParquetFile>, group: usize, first_row: u64) -> RowGroup {
        RowGroup { file, group, position: first_row, rows: None, over: false }
    }

    fn open(&self) -> Result<ParquetRecordBatchReader, ParquetError> {
        let file = &self.file;
        ParquetRecordBatchReaderBuilder::new_with_metadata(file.input.clone(), file.metadata.clone())
            .with_row_groups(vec![self.group])
            .with_projection(file.columns.clone())
            .with_batch_size(BATCH_ROWS)
            .build()
    }

    fn step(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        let rows = match &mut self.rows {
            Some(rows) => rows,
            None => self.rows.insert(self.open()?),
        };
        rows.next().transpose()
    }
}

impl Piece for RowGroup {
    fn next(&mut self, _budget: usize) -> Option<Polled> {
        if self.over {
            return None;
        }
        match self.step() {
            Ok(Some(batch)) => Some(ready(&self.file.partition, &mut self.position, batch)),
            Ok(None) => {
                self.over = true;
                let bytes = self.file.metadata.metadata().row_group(self.group).compressed_size();
                self.file.done.fetch_add(bytes.max(0) as u64, Ordering::Relaxed);
                None
            }
            Err(error) => {
                self.over = true;
                let reason = format!("row group {} cannot be read from here on: {error}", self.group);
                Some(fault(&self.file.partition, self.position, reason))
            }
        }
    }
}

/// An Arrow IPC file or stream, read from beginning to end.
pub(super) struct ArrowBatches<I> {
    batches: I,
    partition: Partition,
    position: u64,
    over: bool,
}

/// The batches of an Arrow IPC file.
pub(super) fn arrow_file(
    file: impl Read + Seek + Send + 'static,
    partition: Partition,
    wanted: &[String],
) -> Result<Box<dyn Piece>, ArrowError> {
    let mut file = BufReader::new(file);
    let columns = projection(&FileReader::try_new(&mut file, None)?.schema(), wanted);
    file.rewind()?;
    let batches = FileReader::try_new(file, Some(columns))?;
    Ok(Box::new(ArrowBatches { batches, partition, position: 0, over: false }))
}

/// The batches of an Arrow IPC stream.
pub(super) fn arrow_stream(
    text: Box<dyn Read + Send>,
    partition: Partition,
    wanted: &[String],
) -> Result<Box<dyn Piece>, ArrowError> {
    let batches = StreamReader::try_new(text, None)?;
    let columns = projection(&batches.schema(), wanted);
    let batches = batches.map(move |batch| batch?.project(&columns));
    Ok(Box::new(ArrowBatches { batches, partition, position: 0, over: false }))
}

fn projection(schema: &SchemaRef, wanted: &[String]) -> Vec<usize> {
    let fields = schema.fields().iter().enumerate();
    fields.filter(|(_, field)| wanted.contains(field.name())).map(|(index, _)| index).collect()
}

impl<I: Iterator<Item = Result<RecordBatch, ArrowError>> + Send> Piece for ArrowBatches<I> {
    fn next(&mut self, _budget: usize) -> Option<Polled> {
        if self.over {
            return None;
        }
        match self.batches.next() {
            Some(Ok(batch)) => Some(ready(&self.partition, &mut self.position, batch)),
            Some(Err(error)) => {
                self.over = true;
                Some(fault(&self.partition, self.position, format!("the file cannot be read from here on: {error}")))
            }
            None => None,
        }
    }
}

fn ready(partition: &Partition, position: &mut u64, batch: RecordBatch) -> Polled {
    let start = *position;
    *position += batch.num_rows() as u64;
    let (partition, end) = (partition.clone(), *position);
    Polled::Ready(Chunk { partition, start, end, header: None, payload: Payload::Rows(batch) })
}

/// An Arrow IPC file, or a stream, which may be compressed as a whole.
pub(super) fn arrow(
    file: File,
    compression: Compression,
    partition: Partition,
    wanted: &[String],
    done: Arc<AtomicU64>,
) -> Result<Box<dyn Piece>, ArrowError> {
    let mut magic = [0; ARROW_FILE_MAGIC.len()];
    read_full(&file, &mut magic, 0)?;
    if compression == Compression::None && magic == *ARROW_FILE_MAGIC {
        done.fetch_add(file.metadata()?.len(), Ordering::Relaxed);
        return arrow_file(file, partition, wanted);
    }
    arrow_stream(compression.decompress(file, done)?, partition, wanted)
}
