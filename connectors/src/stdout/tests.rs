//! The `stdout` sink against buffers and a pipe whose reader has gone.

use super::*;
use arrow::array::Int64Array;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;

fn batch(values: &[i64]) -> Batch {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
    Batch::append(RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(values.to_vec()))]).unwrap())
}

#[test]
fn rows_come_out_when_their_epoch_is_complete() {
    let mut terminal = Terminal { format: TextFormat::Json, pending: vec![], out: Vec::new(), closed: false };
    terminal.write(Epoch(1), &batch(&[1, 2])).unwrap();
    assert!(terminal.out.is_empty());
    terminal.commit(Epoch(1)).unwrap();
    assert_eq!(terminal.out, b"{\"n\":1}\n{\"n\":2}\n");
    terminal.write(Epoch(2), &batch(&[3])).unwrap();
    terminal.finish().unwrap();
    assert_eq!(terminal.out, b"{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");
}

struct Gone;

impl Write for Gone {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_leaves_does_not_stop_the_run() {
    let mut terminal = Terminal { format: TextFormat::Csv, pending: vec![], out: Gone, closed: false };
    for epoch in 1..3 {
        terminal.write(Epoch(epoch), &batch(&[1])).unwrap();
        terminal.commit(Epoch(epoch)).unwrap();
    }
    assert!(terminal.closed && terminal.pending.is_empty());
}
