//! Parquet files, by row group.

use super::lines::read_full;
use super::piece::{Piece, fault, ready_rows};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use thalweg_schemas::source::{Partition, Polled};

/// Rows of a Parquet row group that are decoded at once.
const BATCH_ROWS: usize = 16_384;

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
        // A damaged footer can ask for more than there is memory.
        let most = (self.len() as usize).saturating_sub(start as usize);
        let mut bytes = vec![0; length.min(most)];
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
    pub partition: Partition,
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

    /// Counts a row group as handed over.
    pub(super) fn group_done(&self, group: usize) {
        let bytes = self.metadata.metadata().row_group(group).compressed_size();
        self.done.fetch_add(bytes.max(0) as u64, Ordering::Relaxed);
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
            Ok(Some(batch)) => Some(ready_rows(&self.file.partition, &mut self.position, batch)),
            Ok(None) => {
                self.over = true;
                self.file.group_done(self.group);
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
