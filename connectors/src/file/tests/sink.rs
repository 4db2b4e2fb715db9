//! The `file` sink: whole lines only, whatever fails.

use crate::file::sink::{LineWriter, Output, SINK, open};
use crate::tests::options;
use crate::text::TextFormat;
use arrow::array::Int64Array;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use std::path::Path;
use std::sync::{Arc, Mutex};
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, WorkerId};
use thalweg_schemas::error::ErrorKind;
use thalweg_schemas::options::{OptionKind, OptionSpec};
use thalweg_schemas::sink::{SinkRequest, Writer};

const ALONE: WorkerId = WorkerId { index: 0, peers: 1 };

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]))
}

fn batch(values: &[i64]) -> Batch {
    Batch::append(RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from(values.to_vec()))]).unwrap())
}

fn request(path: &Path, given: &[(&str, &str)], changelog: bool) -> SinkRequest {
    let format =
        OptionSpec { name: "format", kind: OptionKind::Text, default: Some("json"), required: false, doc: "Format." };
    let given = [&[("path", path.to_str().unwrap())], given].concat();
    SinkRequest {
        name: "out".into(),
        options: options(&[SINK, &[format]].concat(), &given),
        schema: schema(),
        changelog,
        envelope: None,
        lineage: "test".into(),
    }
}

fn run(path: &Path, given: &[(&str, &str)], values: &[i64]) -> String {
    let sink = open(request(path, given, false)).unwrap();
    assert!(sink.single_writer());
    let mut writer = sink.writer(ALONE).unwrap();
    for (epoch, value) in values.iter().enumerate() {
        writer.write(Epoch(epoch as u64), &batch(&[*value])).unwrap();
        writer.commit(Epoch(epoch as u64)).unwrap();
    }
    writer.finish().unwrap();
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn a_run_overwrites_or_appends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/folder/out.csv");
    let csv = ("format", "csv");
    assert_eq!(run(&path, &[csv], &[1, 2]), "n\n1\n2\n");
    assert_eq!(run(&path, &[csv], &[3]), "n\n3\n");
    assert_eq!(run(&path, &[csv, ("mode", "append")], &[4]), "n\n3\n4\n");
    std::fs::write(&path, "n\n3\nhalf a li").unwrap();
    assert_eq!(run(&path, &[csv, ("mode", "append")], &[5]), "n\n3\nhalf a li\n5\n");
    assert_eq!(run(&path, &[], &[6]), "{\"n\":6}\n");
}

#[test]
fn lines_are_there_when_their_epoch_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.ndjson");
    let mut writer = open(request(&path, &[], true)).unwrap().writer(ALONE).unwrap();
    let change = Batch::changes(batch(&[1]).rows, Int64Array::from(vec![-1]));
    writer.write(Epoch(1), &change).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
    writer.commit(Epoch(1)).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"_diff\":-1,\"n\":1}\n");
}

#[test]
fn paths_that_cannot_be_written_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |path: &Path| open(request(path, &[], false)).err().unwrap().message;
    let message = refused(folder.path());
    assert!(message.starts_with("file '") && message.contains("of sink \"out\""), "{message}");
    assert!(refused(&folder.path().join("x.gz")).starts_with("connector 'file' does not compress"));
    assert_eq!(refused(Path::new("s3://b/x")), "connector 'file' writes to a file of this machine, not to 's3://b/x'");
}

#[derive(Clone, Default)]
struct Full {
    full: Arc<Mutex<bool>>,
    text: Arc<Mutex<Vec<u8>>>,
}

impl Output for Full {
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if *self.full.lock().unwrap() {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.text.lock().unwrap().extend(bytes);
        Ok(())
    }

    fn sync(&mut self) -> std::io::Result<()> {
        Ok(())
    }

    fn len(&self) -> u64 {
        self.text.lock().unwrap().len() as u64
    }

    fn truncate(&mut self, len: u64) -> std::io::Result<()> {
        self.text.lock().unwrap().truncate(len as usize);
        Ok(())
    }

    fn ends_a_line(&self) -> std::io::Result<bool> {
        Ok(true)
    }
}

#[test]
fn a_full_disk_is_a_reason_to_try_again_and_loses_nothing() {
    let disk = Full::default();
    let output = Box::new(disk.clone());
    let (name, format, epoch) = ("file 'x'".into(), TextFormat::Json, Epoch(0));
    let mut writer = LineWriter { name, format, pending: vec![], output, begin: None, memory: None, epoch };
    writer.write(Epoch(1), &batch(&[1])).unwrap();
    *disk.full.lock().unwrap() = true;
    let error = writer.commit(Epoch(1)).unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Retry, "file 'x': no storage space"));
    *disk.full.lock().unwrap() = false;
    writer.commit(Epoch(1)).unwrap();
    writer.write(Epoch(2), &batch(&[2])).unwrap();
    writer.finish().unwrap();
    assert_eq!(disk.text.lock().unwrap().as_slice(), b"{\"n\":1}\n{\"n\":2}\n");
}

#[test]
fn a_real_full_disk_is_seen_as_one() {
    // Writing to it fails as on a full disk, and it is no regular file: what is written to such cannot be taken back.
    let mut writer = open(request(Path::new("/dev/full"), &[], false)).unwrap().writer(ALONE).unwrap();
    writer.write(Epoch(1), &batch(&[1])).unwrap();
    assert_eq!(writer.commit(Epoch(1)).unwrap_err().kind, ErrorKind::Outside);
}

#[test]
fn a_run_that_goes_on_writes_each_row_once() {
    for mode in ["overwrite", "append"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.csv");
        std::fs::write(&path, "n\n7\n").unwrap();
        let begin = if mode == "append" { "n\n7\n" } else { "n\n" };
        let open = || open(request(&path, &[("mode", mode), ("format", "csv")], false)).unwrap().writer(ALONE).unwrap();
        let mut writer = open();
        writer.write(Epoch(1), &batch(&[1])).unwrap();
        writer.commit(Epoch(1)).unwrap();
        writer.flush(Epoch(4)).unwrap();
        for epoch in [5, 6] {
            writer.write(Epoch(epoch), &batch(&[epoch as i64])).unwrap();
            writer.commit(Epoch(epoch)).unwrap();
        }
        // It dies here, and again after a flush that is not part of a checkpoint.
        drop(writer);
        let mut writer = open();
        assert_eq!(writer.resume(Epoch(4)), Ok(Epoch(4)));
        writer.write(Epoch(5), &batch(&[5])).unwrap();
        writer.flush(Epoch(5)).unwrap();
        writer.write(Epoch(6), &batch(&[6])).unwrap();
        writer.commit(Epoch(6)).unwrap();
        drop(writer);
        let mut writer = open();
        assert_eq!(writer.resume(Epoch(4)), Ok(Epoch(5)));
        writer.write(Epoch(6), &batch(&[6])).unwrap();
        writer.finish().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{begin}1\n5\n6\n"));
        // What ended in order is gone on from too.
        assert_eq!(open().resume(Epoch(6)), Ok(Epoch(6)));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{begin}1\n5\n6\n"));
        // A shorter file is not what was written.
        std::fs::write(&path, "n\n").unwrap();
        assert!(open().resume(Epoch(6)).unwrap_err().message.contains("has 2 bytes, and had"));
    }
}
