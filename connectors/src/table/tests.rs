//! Rows wait until they are durable, and are handed over once, whole.

use super::*;
use arrow::array::{Int64Array, RecordBatch};
use std::sync::atomic::{AtomicBool, Ordering};
use thalweg_schemas::options::Options;

fn table() -> Arc<dyn Source> {
    let options = || Options::check(&[], &[], "connector 'table'").unwrap();
    let fields = Arc::new(arrow::datatypes::Schema::empty());
    let request = SourceRequest {
        name: "t$rows".into(),
        options: options(),
        format: Some("json".into()),
        format_options: options(),
        fields,
        wanted: Vec::new(),
        key: Vec::new(),
        metadata: Vec::new(),
    };
    (SPEC.source.unwrap().open)(request).unwrap()
}

fn rows(numbers: &[i64]) -> RecordBatch {
    RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(numbers.to_vec())) as _)]).unwrap()
}

fn next(reader: &mut dyn Reader) -> Option<Chunk> {
    match reader.poll(1).unwrap() {
        Polled::Ready(chunk) => Some(chunk),
        Polled::Pending => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_statement_waits_until_its_rows_are_durable() {
    let table = table();
    let mut readers: Vec<_> = (0..2).map(|index| table.reader(WorkerId { index, peers: 2 }).unwrap()).collect();
    let at = readers.iter_mut().position(|reader| !matches!(reader.poll(1).unwrap(), Polled::Ended)).unwrap();
    std::thread::scope(|scope| {
        let statement = scope.spawn(|| table.write(Payload::Rows(rows(&[1, 2, 3])), &|| false));
        let chunk = std::iter::repeat_with(|| next(readers[at].as_mut())).flatten().next().unwrap();
        assert_eq!(chunk.end - chunk.start, 3);
        assert!(matches!(&chunk.payload, Payload::Rows(batch) if *batch == rows(&[1, 2, 3])));
        assert!(!statement.is_finished());
        let partition = chunk.partition.name.clone();
        table.durable(&[Span { partition, start: chunk.start, end: chunk.end }]);
        statement.join().unwrap().unwrap();
        assert!(next(readers[at].as_mut()).is_none());
    });
    table.write(Payload::Rows(rows(&[])), &|| false).unwrap();
}

#[test]
fn a_statement_is_told_when_the_run_ends_before_its_rows_are_durable() {
    let table = table();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let statement = scope.spawn(|| table.write(Payload::Rows(rows(&[1])), &|| over.load(Ordering::Acquire)));
        over.store(true, Ordering::Release);
        let error = statement.join().unwrap().unwrap_err();
        assert!(error.hint.is_some(), "{error}");
    });
}
