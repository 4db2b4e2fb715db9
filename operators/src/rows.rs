//! `Rows`: a batch as timely carries it between operators and processes.

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use std::sync::Arc;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::Watermark;
use timely::Accountable;
use timely::dataflow::channels::ContainerBytes;

/// A batch in a dataflow, with a bound on the watermark that its rows are to be judged late by.
#[derive(Clone, Debug, Default)]
pub struct Rows(Option<Content>);

#[derive(Clone, Debug)]
struct Content {
    batch: Batch,
    late_bound: Watermark,
}

impl Rows {
    /// Rows with the promise that the watermark of the stream, as of the epoch before theirs, is at most `late_bound`.
    ///
    /// A source's worker knows its own watermark at once, the minimum over all workers only when the epoch is
    /// complete. Rows at or above their own worker's watermark cannot be late, so they need not wait for the minimum.
    pub fn new(batch: Batch, late_bound: Watermark) -> Rows {
        Rows(Some(Content { batch, late_bound }))
    }

    /// Rows of which nothing is known beforehand.
    pub fn unbounded(batch: Batch) -> Rows {
        Rows::new(batch, Watermark::MAX)
    }

    /// The batch; `None` in a container that timely made or that was emptied.
    pub fn batch(&self) -> Option<&Batch> {
        self.0.as_ref().map(|c| &c.batch)
    }

    /// The batch, taken out.
    pub fn into_batch(self) -> Option<Batch> {
        self.0.map(|c| c.batch)
    }

    /// No watermark by which these rows are judged late is above this.
    pub fn late_bound(&self) -> Watermark {
        self.0.as_ref().map_or(Watermark::MAX, |c| c.late_bound)
    }

    /// The bytes that it takes in memory.
    pub fn memory_size(&self) -> u64 {
        self.batch().map_or(0, Batch::memory_size) as u64
    }

    /// How many rows.
    pub fn num_rows(&self) -> usize {
        self.batch().map_or(0, Batch::num_rows)
    }
}

impl Accountable for Rows {
    fn record_count(&self) -> i64 {
        // Row counts fit: a batch of 2^63 rows does not exist.
        self.num_rows() as i64
    }
}

/// The name under which differences travel between processes.
const DIFF: &str = "\u{0}diff";
/// The key under which the bound travels between processes.
const BOUND: &str = "late_bound";

/// Between processes: 8 bytes length of what follows, an Arrow IPC stream of one batch (the differences as its last
/// column, the bound in the schema's metadata), zeros up to a multiple of 8 bytes. No rows: the length 0 alone.
impl ContainerBytes for Rows {
    fn from_bytes(bytes: timely::bytes::arc::Bytes) -> Self {
        let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes of length come first")) as usize;
        if length == 0 {
            return Rows(None);
        }
        decode(&bytes[8..8 + length]).expect("the bytes were written by `into_bytes` of the same version")
    }

    fn length_in_bytes(&self) -> usize {
        8 + self.encode().len().next_multiple_of(8)
    }

    fn into_bytes<W: std::io::Write>(&self, writer: &mut W) {
        let bytes = self.encode();
        let slop = bytes.len().next_multiple_of(8) - bytes.len();
        writer
            .write_all(&(bytes.len() as u64).to_le_bytes())
            .and_then(|()| writer.write_all(&bytes))
            .and_then(|()| writer.write_all(&[0u8; 8][..slop]))
            .expect("timely hands over a buffer of the length asked for");
    }
}

impl Rows {
    fn encode(&self) -> Vec<u8> {
        let Some(Content { batch, late_bound }) = &self.0 else { return Vec::new() };
        let schema = batch.schema();
        let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
        let mut columns = batch.rows.columns().to_vec();
        if let Some(diffs) = &batch.diffs {
            fields.push(Arc::new(Field::new(DIFF, DataType::Int64, false)));
            columns.push(Arc::new(diffs.clone()));
        }
        let mut metadata = schema.metadata().clone();
        metadata.insert(BOUND.to_string(), late_bound.0.to_string());
        let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let write = || -> Result<Vec<u8>, arrow::error::ArrowError> {
            let whole = RecordBatch::try_new_with_options(schema.clone(), columns, &options)?;
            let mut writer = arrow::ipc::writer::StreamWriter::try_new(Vec::new(), &schema)?;
            writer.write(&whole)?;
            writer.into_inner()
        };
        write().expect("a valid batch can be written to memory")
    }
}

fn decode(bytes: &[u8]) -> Result<Rows, arrow::error::ArrowError> {
    let mut reader = arrow::ipc::reader::StreamReader::try_new(bytes, None)?;
    let whole = reader.next().ok_or_else(|| arrow::error::ArrowError::IpcError("no batch in the stream".into()))??;
    let mut metadata = whole.schema().metadata().clone();
    let bound = metadata.remove(BOUND).and_then(|b| b.parse().ok()).unwrap_or(i64::MAX);
    let mut fields: Vec<_> = whole.schema().fields().iter().cloned().collect();
    let mut columns = whole.columns().to_vec();
    let diffs: Option<Int64Array> = match fields.last() {
        Some(last) if last.name() == DIFF => {
            fields.pop();
            columns.pop().map(|c| arrow::array::AsArray::as_primitive::<Int64Type>(&c).clone())
        }
        _ => None,
    };
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(whole.num_rows()));
    let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
    let rows = RecordBatch::try_new_with_options(schema, columns, &options)?;
    Ok(Rows::new(Batch { rows, diffs }, Watermark(bound)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::StringArray;

    #[test]
    fn rows_survive_the_way_between_processes() {
        let schema = Arc::new(Schema::new(vec![Field::new("name", DataType::Utf8, true)]));
        let rows = RecordBatch::try_new(schema, vec![Arc::new(StringArray::from(vec![Some("a"), None]))]).unwrap();
        for diffs in [None, Some(Int64Array::from(vec![1, -1]))] {
            let sent = Rows::new(Batch { rows: rows.clone(), diffs: diffs.clone() }, Watermark(42));
            let mut bytes = Vec::new();
            sent.into_bytes(&mut bytes);
            assert_eq!(bytes.len(), sent.length_in_bytes());
            let bytes = timely::bytes::arc::BytesMut::from(bytes).freeze();
            let received = Rows::from_bytes(bytes);
            assert_eq!(received.late_bound(), Watermark(42));
            let batch = received.into_batch().unwrap();
            assert_eq!((batch.rows, batch.diffs), (rows.clone(), diffs));
        }
        let mut bytes = Vec::new();
        Rows::default().into_bytes(&mut bytes);
        assert_eq!(bytes.len(), Rows::default().length_in_bytes());
        assert_eq!(Rows::from_bytes(timely::bytes::arc::BytesMut::from(bytes).freeze()).num_rows(), 0);
    }
}
