//! The epoch log's records: for each epoch what every worker took in and which watermarks it said.
//!
//! A record is a [frame](super::frame) marked `TWEL` whose body is the bytes of the records that only the log keeps.

use super::frame;
use crate::archive::letter::Returned;
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use thalweg_operators::watermark::WatermarkUpdate;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::source::{Chunk, Partition, Payload, Receipt};

const MAGIC: &[u8; 4] = b"TWEL";

/// One epoch that brought something.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct EpochRecord {
    /// The epoch.
    pub epoch: u64,
    /// Counts the records of the log.
    pub sequence: u64,
    /// The number of the first of those that were written in one go with it: none of them was durable before all were.
    /// `None`: this one, or the version that wrote it did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub together_from: Option<u64>,
    /// How many workers took it in.
    pub workers: usize,
    /// What each of them did, for those who did anything.
    pub entries: Vec<Entry>,
    /// Bytes that `entries` refer to.
    #[serde(skip)]
    pub kept: Vec<u8>,
}

/// What one worker did in an epoch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// The worker.
    pub worker: usize,
    /// What it took in, in order.
    pub taken: Vec<Taken>,
    /// What it said of its watermarks at the epoch's end.
    pub said: Vec<WatermarkUpdate>,
    /// The receipts for requests whose last records it took in, with the source's position.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub receipts: Vec<(usize, Receipt)>,
    /// Bytes that `taken` refers to.
    #[serde(skip)]
    pub kept: Vec<u8>,
}

/// A stretch of a partition that was taken in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Taken {
    /// The source's position in the plan.
    pub source: usize,
    /// The partition.
    pub partition: String,
    /// Its number.
    pub index: u32,
    /// The offset of the first record.
    pub start: u64,
    /// The offset after the last.
    pub end: u64,
    /// Where a source cannot be read again: the records themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
}

/// Records among the kept bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Where they begin.
    at: usize,
    /// How many bytes, the header's included.
    length: usize,
    /// How many of them are the header line.
    header: usize,
    form: Form,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Form {
    Bytes,
    Formatted(String),
    Rows,
    /// Rows, the last column being what becomes of each.
    Changes,
    /// Dead letters that are taken in again.
    Returned,
}

impl Taken {
    /// Whether it is dead letters that were taken in again: none of the source's own records, so nothing of its offsets.
    pub fn is_returned(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| matches!(kept.form, Form::Returned))
    }
}

impl Entry {
    /// Whether there is nothing worth writing.
    pub fn is_empty(&self) -> bool {
        self.taken.is_empty() && self.said.is_empty()
    }

    /// Notes what is about to be taken in; with `keep` the records too.
    pub fn take(&mut self, source: usize, chunk: &Chunk, keep: bool) -> Result<()> {
        let kept = if keep { Some(self.keep(chunk)?) } else { None };
        if let Some(last) = self.taken.last_mut()
            && !keep
            && (last.source, last.end, last.partition.as_str()) == (source, chunk.start, &*chunk.partition.name)
        {
            last.end = chunk.end;
            return Ok(());
        }
        self.taken.push(Taken {
            source,
            partition: chunk.partition.name.to_string(),
            index: chunk.partition.index,
            start: chunk.start,
            end: chunk.end,
            kept,
        });
        Ok(())
    }

    /// Notes the dead letters that are about to be taken in again.
    pub fn take_returned(&mut self, source: usize, letters: &[Returned]) -> Result<()> {
        let at = self.kept.len();
        Returned::write(letters, &mut self.kept)?;
        let kept = Kept { at, length: self.kept.len() - at, header: 0, form: Form::Returned };
        let partition = "(dead letters)".to_string();
        self.taken.push(Taken { source, partition, index: 0, start: 0, end: letters.len() as u64, kept: Some(kept) });
        Ok(())
    }

    fn keep(&mut self, chunk: &Chunk) -> Result<Kept> {
        let at = self.kept.len();
        let header = chunk.header.as_deref().unwrap_or_default();
        self.kept.extend_from_slice(header);
        let form = match &chunk.payload {
            Payload::Bytes(bytes) => {
                self.kept.extend_from_slice(bytes);
                Form::Bytes
            }
            Payload::Formatted { format, bytes } => {
                self.kept.extend_from_slice(bytes);
                Form::Formatted(format.to_string())
            }
            Payload::Messages(_) => {
                return Err(Error::bug("messages that cannot be read again are for a log of their system's"));
            }
            Payload::Rows(rows) => {
                write_rows(rows, &mut self.kept)?;
                Form::Rows
            }
            Payload::Changes { rows, diffs } => {
                write_rows(&with_diffs(rows, diffs)?, &mut self.kept)?;
                Form::Changes
            }
        };
        Ok(Kept { at, length: self.kept.len() - at, header: header.len(), form })
    }
}

fn write_rows(rows: &RecordBatch, to: &mut Vec<u8>) -> Result<()> {
    let mut writer = arrow::ipc::writer::StreamWriter::try_new(to, &rows.schema())?;
    writer.write(rows)?;
    Ok(writer.finish()?)
}

fn read_rows(bytes: &[u8]) -> Result<RecordBatch> {
    let mut reader = arrow::ipc::reader::StreamReader::try_new(bytes, None)?;
    Ok(reader.next().ok_or_else(unreadable)??)
}

/// The rows with what becomes of each as their last column.
fn with_diffs(rows: &RecordBatch, diffs: &Int64Array) -> Result<RecordBatch> {
    let diff = Arc::new(Field::new("\u{0}diff", DataType::Int64, false));
    let fields: Vec<_> = rows.schema().fields().iter().cloned().chain([diff]).collect();
    let columns = rows.columns().iter().cloned().chain([Arc::new(diffs.clone()) as ArrayRef]).collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

fn unreadable() -> Error {
    Error::outside("a record of the epoch log is not of this version")
}

impl EpochRecord {
    /// Adds what one worker did.
    pub fn add(&mut self, mut entry: Entry) {
        for taken in &mut entry.taken {
            if let Some(kept) = &mut taken.kept {
                kept.at += self.kept.len();
            }
        }
        self.kept.append(&mut entry.kept);
        self.entries.push(entry);
    }

    /// The dead letters that were taken in again.
    pub fn returned(&self, taken: &Taken) -> Result<Vec<Returned>> {
        let kept = taken.kept.as_ref().and_then(|kept| self.kept.get(kept.at..kept.at + kept.length));
        kept.and_then(Returned::read).ok_or_else(unreadable)
    }

    /// The chunk that only the log keeps, as it was taken in.
    pub fn kept_chunk(&self, taken: &Taken, kept: &Kept) -> Result<Chunk> {
        let bytes = self.kept.get(kept.at..kept.at + kept.length).ok_or_else(unreadable)?;
        let (header, body) = bytes.split_at_checked(kept.header).ok_or_else(unreadable)?;
        let payload = match &kept.form {
            Form::Bytes => Payload::Bytes(body.to_vec()),
            Form::Formatted(format) => {
                let format = thalweg_schemas::format::by_name(format).ok_or_else(unreadable)?.name;
                Payload::Formatted { format, bytes: body.to_vec() }
            }
            Form::Rows => Payload::Rows(read_rows(body)?),
            Form::Changes => {
                let mut rows = read_rows(body)?;
                let last = rows.num_columns().checked_sub(1).ok_or_else(unreadable)?;
                let diffs = rows.remove_column(last);
                let diffs = diffs.as_primitive_opt::<Int64Type>().ok_or_else(unreadable)?.clone();
                Payload::Changes { rows, diffs }
            }
            Form::Returned => return Err(Error::bug("dead letters are no chunk of their source")),
        };
        Ok(Chunk {
            partition: Partition { index: taken.index, name: taken.partition.as_str().into() },
            start: taken.start,
            end: taken.end,
            header: (!header.is_empty()).then(|| header.into()),
            payload,
        })
    }

    /// Appends the record to `bytes`.
    pub fn write(&self, bytes: &mut Vec<u8>) -> Result<()> {
        frame::write(MAGIC, self, &[&self.kept], bytes)
    }
}

/// What the bytes of a log hold.
#[derive(Debug)]
pub(crate) struct Readout {
    /// The whole records from the beginning.
    pub records: Vec<EpochRecord>,
    /// How many bytes they take, with the zeros behind them if there is nothing else.
    pub good: usize,
    /// Whether something follows behind the first bad byte that was written when what is bad was durable: then it is damage,
    /// not a torn end.
    pub is_damaged: bool,
}

/// Reads the records of a log up to the first that is not whole; the first of all has the number `first`, if that is known.
pub(crate) fn read_log(bytes: &[u8], first: Option<u64>) -> Readout {
    let (mut records, mut good) = (Vec::new(), 0);
    while let Some((record, length)) = read_record(&bytes[good..]) {
        records.push(record);
        good += length;
    }
    if bytes[good..].iter().all(|byte| *byte == 0) {
        return Readout { records, good: bytes.len(), is_damaged: false };
    }
    let missing = records.last().map(|record: &EpochRecord| record.sequence + 1).or(first);
    // Of what was written in one go the end may be there and the beginning not: blocks reach a disk in any order.
    let is_later = |record: &EpochRecord| match record.together_from {
        Some(from) => missing.is_some_and(|missing| from > missing),
        None => true,
    };
    let behind = bytes.get(good + 1..).unwrap_or_default();
    let is_damaged = memchr::memmem::find_iter(behind, MAGIC)
        .any(|at| read_record(&behind[at..]).is_some_and(|(record, _)| is_later(&record)));
    Readout { records, good, is_damaged }
}

fn read_record(bytes: &[u8]) -> Option<(EpochRecord, usize)> {
    let (mut record, body, length) = frame::read::<EpochRecord>(MAGIC, bytes)?;
    record.kept = body.to_vec();
    Some((record, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of three records, and where each begins; the third was written with the second if `together`.
    fn log(together: bool) -> (Vec<u8>, Vec<usize>) {
        let (mut log, mut begins) = (Vec::new(), Vec::new());
        for sequence in 1..=3 {
            begins.push(log.len());
            let together_from = (together && sequence == 3).then_some(2);
            EpochRecord { epoch: sequence, sequence, together_from, ..EpochRecord::default() }.write(&mut log).unwrap();
        }
        (log, begins)
    }

    fn found(bytes: &[u8]) -> (usize, usize, bool) {
        let Readout { records, good, is_damaged } = read_log(bytes, Some(1));
        (records.len(), good, is_damaged)
    }

    #[test]
    fn zeros_behind_the_last_record_are_nothing() {
        let log = log(false).0;
        assert_eq!(found(&log), (3, log.len(), false));
        let padded = [&log[..], &[0; 5_000]].concat();
        assert_eq!(found(&padded), (3, padded.len(), false));
        assert_eq!(found(&[0; 100]), (0, 100, false));
        assert_eq!(found(&[]), (0, 0, false));
    }

    #[test]
    fn a_record_that_is_cut_off_by_zeros_is_a_torn_end() {
        let (log, begins) = log(false);
        for cut in begins[2] + 1..log.len() {
            let mut torn = log.clone();
            // The last byte is a bracket, and no zero.
            torn[cut..].fill(0);
            torn.extend([0; 500]);
            assert_eq!(found(&torn), (2, begins[2], false), "{cut}");
        }
    }

    #[test]
    fn a_hole_is_damage_unless_what_follows_was_written_with_what_is_missing() {
        for together in [false, true] {
            let (mut log, begins) = log(together);
            log[begins[1]..begins[2]].fill(0);
            assert_eq!(found(&log), (1, begins[1], !together));
            log[..begins[1]].fill(0);
            assert_eq!(found(&log), (0, 0, true));
            // A file that begins with the second.
            assert_eq!(read_log(&log[begins[1]..], Some(2)).is_damaged, !together);
        }
    }
}
