//! `once`: one row, once. It is what `VALUES` and queries without `FROM` read in a view: the constants are computed from
//! the row, and what the epoch log and checkpoints know of sources holds for them too.

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use thalweg_schemas::connector::{ConnectorSpec, SourceSpec};
use thalweg_schemas::epoch::WorkerId;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::source::{Chunk, Partition, Payload, Polled, Reader, Source, SourceRequest, Span};

/// The connector's description.
pub(crate) const SPEC: ConnectorSpec = ConnectorSpec {
    name: "once",
    doc: "Gives one row, once: what VALUES and queries without FROM read.",
    source: Some(SourceSpec { options: &[], formats: &[], columns: None, bounded: |_| true, check: None, open }),
    table: None,
    sink: None,
};

fn open(request: SourceRequest) -> Result<Arc<dyn Source>> {
    Ok(Arc::new(Once { fields: request.fields, given: Arc::default() }))
}

struct Once {
    fields: SchemaRef,
    /// Whether the row has been handed over, by this run or by one before it.
    given: Arc<AtomicBool>,
}

impl Source for Once {
    fn reader(&self, worker: WorkerId) -> Result<Box<dyn Reader>> {
        let (mine, fields, given) = (worker.index == 0, self.fields.clone(), self.given.clone());
        Ok(Box::new(Row { mine, fields, given }))
    }

    fn bounded(&self) -> bool {
        true
    }

    fn replayable(&self) -> bool {
        true
    }

    fn resume(&self, done: &[Span]) -> Result<()> {
        self.given.store(!done.is_empty(), Ordering::Relaxed);
        Ok(())
    }
}

/// The share of the first worker is the row.
struct Row {
    mine: bool,
    fields: SchemaRef,
    given: Arc<AtomicBool>,
}

impl Row {
    fn chunk(&self) -> Result<Chunk> {
        let zero = || Arc::new(Int64Array::from(vec![0])) as ArrayRef;
        let cast = |wanted| arrow::compute::cast(&zero(), wanted);
        let columns = self.fields.fields().iter().map(|field| cast(field.data_type())).collect::<Result<_, _>>();
        let one = RecordBatchOptions::new().with_row_count(Some(1));
        let row = columns.and_then(|columns| RecordBatch::try_new_with_options(self.fields.clone(), columns, &one));
        let row = row.map_err(|error| Error::bug(format!("the row that is given once: {error}")))?;
        let partition = Partition { index: 0, name: "once".into() };
        Ok(Chunk { partition, start: 0, end: 1, header: None, payload: Payload::Rows(row) })
    }
}

impl Reader for Row {
    fn poll(&mut self, _budget: usize) -> Result<Polled> {
        match self.mine && !self.given.swap(true, Ordering::Relaxed) {
            true => Ok(Polled::Ready(self.chunk()?)),
            false => Ok(Polled::Ended),
        }
    }

    fn replay(&mut self, _span: &Span, _budget: usize) -> Result<Polled> {
        Ok(Polled::Ready(self.chunk()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{DataType, Field, Schema};
    use thalweg_schemas::options::Options;

    fn once() -> Arc<dyn Source> {
        let fields = Arc::new(Schema::new(vec![Field::new("row", DataType::Int64, false)]));
        let options = || Options::check(&[], &[], "connector 'once'").unwrap();
        let request = SourceRequest {
            name: "$once".into(),
            options: options(),
            format: None,
            format_options: options(),
            fields,
            wanted: vec![false],
            key: Vec::new(),
            metadata: Vec::new(),
        };
        open(request).unwrap()
    }

    fn rows(polled: Polled) -> usize {
        match polled {
            Polled::Ready(Chunk { payload: Payload::Rows(rows), .. }) => rows.num_rows(),
            Polled::Ended => 0,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_worker_gives_the_row_and_no_run_gives_it_again() {
        let source = once();
        let polled = |source: &Arc<dyn Source>, index| {
            let mut reader = source.reader(WorkerId { index, peers: 2 }).unwrap();
            (rows(reader.poll(1).unwrap()), rows(reader.poll(1).unwrap()))
        };
        assert_eq!((polled(&source, 1), polled(&source, 0)), ((0, 0), (1, 0)));
        let (again, span) = (once(), Span { partition: "once".into(), start: 0, end: 1 });
        again.resume(std::slice::from_ref(&span)).unwrap();
        assert_eq!(polled(&again, 0), (0, 0));
        assert_eq!(rows(again.reader(WorkerId { index: 1, peers: 2 }).unwrap().replay(&span, 1).unwrap()), 1);
    }
}
