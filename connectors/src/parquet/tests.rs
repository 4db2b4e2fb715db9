//! The `parquet` sink against folders, read back; and against a disk that fails.

use super::bucket::Bucket;
use super::options::{OPTIONS, ParquetOptions};
use super::sink::ParquetSink;
use super::store::{Disk, Store, Stored};
use crate::objects::Objects;
use crate::tests::options;
use arrow::array::{Array, AsArray, Float64Array, Int64Array, StringArray, TimestampNanosecondArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Float64Type, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use object_store::memory::InMemory;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::reader::{FileReader, SerializedFileReader};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, WorkerId};
use thalweg_schemas::error::ErrorKind;
use thalweg_schemas::sink::{Sink, SinkRequest};

const ALONE: WorkerId = WorkerId { index: 0, peers: 1 };

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("window_start", DataType::Timestamp(TimeUnit::Nanosecond, None), false),
        Field::new("region", DataType::Utf8, true),
        Field::new("p99", DataType::Float64, true),
    ]))
}

/// Rows by hour of 2026-01-01, region and p99.
fn rows(rows: &[(i64, &str, f64)]) -> Batch {
    let starts = rows.iter().map(|(hour, ..)| 1_767_225_600_000_000_000 + hour * 3_600_000_000_000);
    let columns: Vec<arrow::array::ArrayRef> = vec![
        Arc::new(TimestampNanosecondArray::from_iter_values(starts)),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, region, _)| region))),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|(.., p99)| *p99))),
    ];
    Batch::append(RecordBatch::try_new(schema(), columns).unwrap())
}

fn request(folder: &Path, more: &[(&str, &str)]) -> SinkRequest {
    let mut given = vec![("path", folder.to_str().unwrap())];
    given.extend(more);
    SinkRequest {
        name: "latency".into(),
        options: options(OPTIONS, &given),
        schema: schema(),
        changelog: false,
        envelope: None,
        lineage: "test".into(),
    }
}

fn sink(folder: &Path, more: &[(&str, &str)]) -> Arc<dyn Sink> {
    super::open(request(folder, more)).unwrap()
}

/// The files below `folder`, by their path in it, but for records of commits; hidden ones too.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
        if entry.is_dir() {
            found.extend(files(&entry));
        } else if !entry.file_name().unwrap().to_string_lossy().starts_with(".commit-") {
            found.push(entry);
        }
    }
    found.sort();
    found
}

fn read_back(path: &Path) -> RecordBatch {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let schema = builder.schema().clone();
    let batches: Vec<_> = builder.build().unwrap().map(Result::unwrap).collect();
    concat_batches(&schema, &batches).unwrap()
}

fn p99s(path: &Path) -> Vec<f64> {
    read_back(path).column_by_name("p99").unwrap().as_primitive::<Float64Type>().values().to_vec()
}

#[test]
fn rows_come_back_as_they_went() {
    let folder = tempfile::tempdir().unwrap();
    let batch = rows(&[(0, "eu", 1.5), (1, "us", 2.5)]);
    let mut writer = sink(folder.path(), &[]).writer(ALONE).unwrap();
    writer.write(Epoch(1), &batch).unwrap();
    writer.commit(Epoch(1)).unwrap();
    assert!(files(folder.path()).is_empty(), "nothing is due yet");
    writer.finish().unwrap();
    let files = files(folder.path());
    assert_eq!(files.len(), 1);
    assert_eq!(read_back(&files[0]), batch.rows);
}

#[test]
fn files_are_compressed_sorted_and_have_statistics() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = sink(folder.path(), &[("sort_by", "region, P99 desc")]).writer(ALONE).unwrap();
    writer.write(Epoch(1), &rows(&[(0, "us", 1.0), (0, "eu", 2.0)])).unwrap();
    writer.write(Epoch(2), &rows(&[(0, "eu", 9.0), (0, "us", 5.0)])).unwrap();
    writer.finish().unwrap();
    let file = &files(folder.path())[0];
    assert_eq!(p99s(file), [9.0, 2.0, 5.0, 1.0]);
    let reader = SerializedFileReader::new(File::open(file).unwrap()).unwrap();
    let group = reader.metadata().row_group(0);
    let order: Vec<_> = group.sorting_columns().unwrap().iter().map(|s| (s.column_idx, s.descending)).collect();
    assert_eq!(order, [(1, false), (2, true)]);
    assert!(matches!(group.column(1).compression(), parquet::basic::Compression::ZSTD(_)));
    assert_eq!(group.column(1).statistics().unwrap().min_bytes_opt(), Some(&b"eu"[..]));
}

#[test]
fn partitions_are_folders_and_plain_columns_leave_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = sink(folder.path(), &[("partition_by", "day(window_start), region")]).writer(ALONE).unwrap();
    writer.write(Epoch(1), &rows(&[(0, "eu", 1.0), (23, "eu", 2.0), (24, "eu", 3.0), (24, "us", 4.0)])).unwrap();
    writer.finish().unwrap();
    let found: Vec<(String, Vec<f64>)> = files(folder.path())
        .iter()
        .map(|path| (path.parent().unwrap().strip_prefix(folder.path()).unwrap().display().to_string(), p99s(path)))
        .collect();
    assert_eq!(
        found,
        [
            ("window_start_day=2026-01-01/region=eu".to_string(), vec![1.0, 2.0]),
            ("window_start_day=2026-01-02/region=eu".to_string(), vec![3.0]),
            ("window_start_day=2026-01-02/region=us".to_string(), vec![4.0]),
        ]
    );
    let schema = read_back(&files(folder.path())[0]).schema();
    assert!(schema.index_of("region").is_err() && schema.index_of("window_start").is_ok());
}

#[test]
fn rows_are_visible_after_the_commit_interval() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = sink(folder.path(), &[("commit_interval", "0s")]).writer(ALONE).unwrap();
    for epoch in 1..=3 {
        writer.write(Epoch(epoch), &rows(&[(0, "eu", epoch as f64)])).unwrap();
        writer.commit(Epoch(epoch)).unwrap();
        assert_eq!(files(folder.path()).len() as u64, epoch);
    }
    writer.finish().unwrap();
    assert_eq!(files(folder.path()).len(), 3, "no file without rows");
}

#[test]
fn small_files_are_merged_into_larger_ones_and_the_rest_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let given = [("commit_interval", "0s"), ("compact", "true"), ("partition_by", "region"), ("sort_by", "p99 desc")];
    for run in 0..2 {
        let mut writer = sink(folder.path(), &given).writer(ALONE).unwrap();
        for epoch in 1..=19 {
            let value = (run * 100 + epoch) as f64;
            writer.write(Epoch(epoch), &rows(&[(0, "eu", value), (1, "eu", value + 0.5)])).unwrap();
            writer.commit(Epoch(epoch)).unwrap();
            assert!(files(folder.path()).len() < 10, "{:?}", files(folder.path()));
            assert_eq!(seen(folder.path()).len() as u64, (run * 19 + epoch) * 2);
        }
        writer.finish().unwrap();
        assert_eq!(files(folder.path()).len(), 1, "{:?}", files(folder.path()));
    }
    let values = p99s(&files(folder.path())[0]);
    assert!(values.is_sorted_by(|a, b| a >= b), "one row group is sorted as a whole: {values:?}");
    // A file of another form, or that somebody took away, is left alone.
    let other = folder.path().join("region=eu/part-latency-0-0-1-1-0.parquet");
    std::fs::write(&other, "not parquet").unwrap();
    let mut writer = sink(folder.path(), &given).writer(ALONE).unwrap();
    writer.write(Epoch(50), &rows(&[(0, "eu", 1.0)])).unwrap();
    writer.finish().unwrap();
    assert!(other.exists());
}

#[test]
fn files_whose_time_is_over_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let given = [("commit_interval", "0s"), ("retention", "1 hour")];
    let mut writer = sink(folder.path(), &given).writer(ALONE).unwrap();
    writer.write(Epoch(1), &rows(&[(0, "eu", 1.0)])).unwrap();
    writer.commit(Epoch(1)).unwrap();
    let old = files(folder.path()).remove(0);
    let file = File::options().write(true).open(&old).unwrap();
    let long_ago = file.metadata().unwrap().modified().unwrap() - std::time::Duration::from_secs(7_200);
    file.set_modified(long_ago).unwrap();
    let others = folder.path().join("notes.parquet");
    let file = File::create(&others).unwrap();
    file.set_modified(long_ago).unwrap();
    let mut writer = sink(folder.path(), &given).writer(ALONE).unwrap();
    writer.write(Epoch(2), &rows(&[(0, "eu", 2.0)])).unwrap();
    writer.commit(Epoch(2)).unwrap();
    writer.commit(Epoch(3)).unwrap();
    assert!(!old.exists() && others.exists());
    assert_eq!(files(folder.path()).len(), 2);
}

#[test]
fn large_amounts_become_several_files_of_about_the_target_size() {
    let folder = tempfile::tempdir().unwrap();
    let given = [("target_file_size", "1MB"), ("compression", "none"), ("partition_by", "region")];
    let mut writer = sink(folder.path(), &given).writer(ALONE).unwrap();
    let (batches, batch_rows) = (40, 50_000);
    for batch in 0..batches {
        let values: Vec<_> =
            (0..batch_rows).map(|i| (i, ["eu", "us"][(i % 2) as usize], (batch * batch_rows + i) as f64)).collect();
        writer.write(Epoch(batch as u64), &rows(&values)).unwrap();
    }
    writer.finish().unwrap();
    let files = files(folder.path());
    assert!(files.len() > 2, "{} files", files.len());
    let mut all: Vec<f64> = files.iter().flat_map(|file| p99s(file)).collect();
    all.sort_by(f64::total_cmp);
    assert!(all.into_iter().eq((0..batches * batch_rows).map(|n| n as f64)));
}

#[test]
fn runs_and_workers_never_write_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    for _run in 0..2 {
        let sink = sink(folder.path(), &[]);
        for index in 0..2 {
            let mut writer = sink.writer(WorkerId { index, peers: 2 }).unwrap();
            writer.write(Epoch(1), &rows(&[(0, "eu", 1.0)])).unwrap();
            writer.finish().unwrap();
        }
    }
    assert_eq!(files(folder.path()).len(), 4);
}

#[test]
fn what_a_dead_run_left_is_removed_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("region=eu");
    std::fs::create_dir_all(&deep).unwrap();
    let dead = deep.join(".tmp-part-latency-0000000000001-0-0");
    let others = [
        ".tmp-part-latency-ffffffffffffff-0-0",
        ".tmp-part-other-0000000000001-0-0",
        "part-latency-0000000000001-0-0.parquet",
        ".tmp-notes",
    ];
    std::fs::write(&dead, b"PAR1").unwrap();
    for name in others {
        std::fs::write(deep.join(name), b"PAR1").unwrap();
    }
    drop(sink(folder.path(), &[]));
    assert!(!dead.exists());
    assert_eq!(files(folder.path()).len(), others.len());
}

/// A store in which only so many more steps succeed.
struct Limited {
    inner: Arc<dyn Store>,
    steps: AtomicUsize,
    error: std::io::ErrorKind,
}

impl Limited {
    fn new(inner: Arc<dyn Store>, steps: usize, error: std::io::ErrorKind) -> Arc<Limited> {
        Arc::new(Limited { inner, steps: AtomicUsize::new(steps), error })
    }

    fn step(&self) -> std::io::Result<()> {
        let left = self.steps.load(Ordering::Relaxed).checked_sub(1).ok_or(self.error)?;
        self.steps.store(left, Ordering::Relaxed);
        Ok(())
    }
}

impl Store for Limited {
    fn stage(&self, folder: &str, hidden: &str, bytes: &Bytes) -> std::io::Result<()> {
        self.step()?;
        self.inner.stage(folder, hidden, bytes)
    }

    fn publish(&self, folder: &str, hidden: &str, name: &str) -> std::io::Result<()> {
        self.step()?;
        self.inner.publish(folder, hidden, name)
    }

    fn record(&self, name: &str, text: &str) -> std::io::Result<()> {
        self.step()?;
        self.inner.record(name, text)
    }

    fn records(&self, prefix: &str) -> std::io::Result<Vec<(String, String)>> {
        self.inner.records(prefix)
    }

    fn list(&self, prefix: &str) -> std::io::Result<Vec<Stored>> {
        self.inner.list(prefix)
    }

    fn read(&self, folder: &str, name: &str) -> std::io::Result<Bytes> {
        self.inner.read(folder, name)
    }

    fn remove(&self, folder: &str, name: &str) -> std::io::Result<()> {
        self.step()?;
        self.inner.remove(folder, name)
    }

    fn forget(&self, name: &str) -> std::io::Result<()> {
        self.inner.forget(name)
    }

    fn clean(&self, prefix: &str, own: &str) -> std::io::Result<()> {
        self.inner.clean(prefix, own)
    }
}

/// What outlives a crash.
enum Place {
    Folder(tempfile::TempDir),
    Bucket(Objects),
}

impl Place {
    fn store(&self) -> Arc<dyn Store> {
        match self {
            Place::Folder(folder) => Arc::new(Disk { root: folder.path().to_path_buf() }),
            Place::Bucket(files) => Arc::new(Bucket { files: files.clone() }),
        }
    }

    fn options(&self) -> ParquetOptions {
        let given = [("partition_by", "region"), ("commit_interval", "0s"), ("compact", "true")];
        let folder = match self {
            Place::Folder(folder) => folder.path(),
            Place::Bucket(_) => Path::new("bucket"),
        };
        ParquetOptions::read(&request(folder, &given)).unwrap()
    }

    /// The names of all files but the records, and the p99s of all rows that readers see, sorted.
    fn shows(&self) -> (Vec<String>, Vec<f64>) {
        match self {
            Place::Folder(folder) => {
                let names = files(folder.path()).iter().map(|path| path.display().to_string()).collect();
                (names, seen(folder.path()))
            }
            Place::Bucket(objects) => {
                let mut names = objects.list().unwrap();
                names.retain(|name| !name.starts_with(".commit-"));
                let files = names.iter().filter(|name| name.ends_with(".parquet"));
                let values = |name| {
                    let reader = ParquetRecordBatchReaderBuilder::try_new(objects.read(name).unwrap()).unwrap();
                    let batches = reader.build().unwrap().map(Result::unwrap);
                    let p99s = |batch: RecordBatch| batch.column(1).as_primitive::<Float64Type>().values().to_vec();
                    batches.flat_map(p99s).collect::<Vec<_>>()
                };
                let mut all: Vec<f64> = files.flat_map(|name| values(name)).collect();
                all.sort_by(f64::total_cmp);
                (names, all)
            }
        }
    }
}

/// The p99s of all rows that readers see, sorted.
fn seen(folder: &Path) -> Vec<f64> {
    let visible = files(folder).into_iter().filter(|path| path.extension().is_some_and(|e| e == "parquet"));
    let mut all: Vec<f64> = visible.flat_map(|file| p99s(&file)).collect();
    all.sort_by(f64::total_cmp);
    all
}

#[test]
fn a_full_disk_is_a_reason_to_try_again_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let given = [("partition_by", "region"), ("commit_interval", "0s")];
    let options = ParquetOptions::read(&request(folder.path(), &given)).unwrap();
    let disk = Arc::new(Disk { root: folder.path().to_path_buf() });
    let store = Limited::new(disk, 1, std::io::ErrorKind::StorageFull);
    let mut writer = ParquetSink::with_store(options, store.clone()).unwrap().writer(ALONE).unwrap();
    writer.write(Epoch(1), &rows(&[(0, "eu", 1.0), (0, "us", 2.0), (0, "za", 3.0)])).unwrap();
    let error = writer.commit(Epoch(1)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Retry);
    assert!(error.message.contains("sink \"latency\"") && error.message.contains("region=us"), "{}", error.message);
    assert!(error.hint.unwrap().contains("Free some space"));
    // The same call again fails the same way, wherever it had come to.
    while let Err(error) = writer.commit(Epoch(1)) {
        assert_eq!(error.kind, ErrorKind::Retry);
        store.steps.store(1, Ordering::Relaxed);
    }
    assert_eq!(seen(folder.path()), [1.0, 2.0, 3.0]);
    store.steps.store(100, Ordering::Relaxed);
    writer.write(Epoch(2), &rows(&[(1, "us", 4.0)])).unwrap();
    writer.commit(Epoch(2)).unwrap();
    writer.finish().unwrap();
    assert_eq!(seen(folder.path()), [1.0, 2.0, 3.0, 4.0]);
}

/// Writes epochs after `after` with two workers, each into three folders, and commits every second one; until a step
/// fails, which is where the process dies. A checkpoint follows every fourth epoch: the last one is answered.
fn write_until_crash(place: &Place, steps: usize, checkpoint: u64) -> (Option<()>, u64) {
    let store = Limited::new(place.store(), steps, std::io::ErrorKind::PermissionDenied);
    let Ok(sink) = ParquetSink::with_store(place.options(), store) else { return (None, checkpoint) };
    let mut writers: Vec<_> = (0..2).map(|index| sink.writer(WorkerId { index, peers: 2 }).unwrap()).collect();
    let visible: Vec<u64> = writers.iter_mut().map(|w| w.resume(Epoch(checkpoint)).unwrap().0).collect();
    let mut checkpoint = checkpoint;
    for epoch in checkpoint + 1..=8 {
        for (index, writer) in writers.iter_mut().enumerate() {
            if epoch <= visible[index] {
                continue;
            }
            let value = (epoch * 10 + index as u64) as f64;
            writer.write(Epoch(epoch), &rows(&[(0, "eu", value), (0, "us", value), (0, "za", value)])).unwrap();
            if epoch % 2 == 0 && writer.commit(Epoch(epoch)).is_err() {
                return (None, checkpoint);
            }
        }
        if epoch % 4 == 0 {
            if writers.iter_mut().any(|writer| writer.flush(Epoch(epoch)).is_err()) {
                return (None, checkpoint);
            }
            checkpoint = epoch;
        }
    }
    (Some(()), checkpoint)
}

#[test]
fn a_crash_at_any_step_neither_loses_nor_repeats_a_row() {
    dies_at_every_step(|| Place::Folder(tempfile::tempdir().unwrap()));
}

#[test]
fn a_crash_at_any_step_of_writing_to_a_bucket_neither_loses_nor_repeats_a_row() {
    dies_at_every_step(|| Place::Bucket(Objects::of(Arc::new(InMemory::new()))));
}

fn dies_at_every_step(new: impl Fn() -> Place) {
    let expected: Vec<f64> = (1..=8).flat_map(|epoch| [0, 1].map(|index| (epoch * 10 + index) as f64)).collect();
    let expected: Vec<f64> = expected.into_iter().flat_map(|value| [value; 3]).collect();
    for first in 0.. {
        let place = new();
        let mut outcome = write_until_crash(&place, first, 0);
        if outcome.0.is_some() {
            assert!(first > 40, "there were more steps than {first}");
            break;
        }
        // It dies again and again, each time a little later.
        for steps in (first % 7..).step_by(9) {
            let rows = place.shows().1;
            assert!(rows.iter().all(|row| rows.iter().filter(|other| *other == row).count() <= 3), "{rows:?}");
            outcome = write_until_crash(&place, steps, outcome.1);
            if outcome.0.is_some() {
                break;
            }
        }
        assert_eq!(place.shows().1, expected, "after {first} steps");
        place.store().clean("part-latency-", "part-latency-z").unwrap();
        assert!(place.shows().0.iter().all(|name| name.ends_with(".parquet")));
    }
}

#[test]
fn a_crash_while_files_are_merged_neither_loses_nor_repeats_a_row() {
    let bucket = || Place::Bucket(Objects::of(Arc::new(InMemory::new())));
    let places: [fn() -> Place; 2] = [|| Place::Folder(tempfile::tempdir().unwrap()), bucket];
    for new in places {
        for steps in 0.. {
            let place = new();
            let write = |store: Arc<dyn Store>, epochs: std::ops::RangeInclusive<u64>| {
                let Ok(sink) = ParquetSink::with_store(place.options(), store) else { return };
                let mut writer = sink.writer(ALONE).unwrap();
                for epoch in epochs {
                    writer.write(Epoch(epoch), &rows(&[(0, "eu", epoch as f64)])).unwrap();
                    if writer.commit(Epoch(epoch)).is_err() {
                        return;
                    }
                }
            };
            write(place.store(), 1..=7);
            let limited = Limited::new(place.store(), steps, std::io::ErrorKind::PermissionDenied);
            write(limited.clone(), 8..=8);
            let sink = ParquetSink::with_store(place.options(), place.store()).unwrap();
            let visible = sink.writer(ALONE).unwrap().resume(Epoch(7)).unwrap().0;
            assert_eq!(place.shows().1, (1..=visible).map(|epoch| epoch as f64).collect::<Vec<_>>(), "{steps} steps");
            if limited.steps.load(Ordering::Relaxed) > 0 {
                assert_eq!(place.shows().0.iter().filter(|name| name.ends_with(".parquet")).count(), 1);
                assert!(steps > 10, "a merge has more steps than {steps}");
                break;
            }
        }
    }
}

#[test]
fn a_file_that_was_copied_before_a_crash_is_published_once() {
    let files = Objects::of(Arc::new(InMemory::new()));
    let bucket = Bucket { files: files.clone() };
    bucket.stage("region=eu", ".tmp-1", &Bytes::from_static(b"rows")).unwrap();
    files.copy("region=eu/.tmp-1", "region=eu/1.parquet").unwrap();
    for _again in 0..2 {
        bucket.publish("region=eu", ".tmp-1", "1.parquet").unwrap();
    }
    assert_eq!(files.list().unwrap(), ["region=eu/1.parquet"]);
    assert_eq!(files.read("region=eu/1.parquet").unwrap(), "rows");
}

#[test]
fn another_lineage_begins_anew_beside_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let write = |lineage: &str, epoch: u64| {
        let request = SinkRequest { lineage: lineage.into(), ..request(folder.path(), &[]) };
        let mut writer = super::open(request).unwrap().writer(ALONE).unwrap();
        let visible = writer.resume(Epoch(3)).unwrap();
        writer.write(Epoch(epoch), &rows(&[(0, "eu", epoch as f64)])).unwrap();
        writer.finish().unwrap();
        visible.0
    };
    assert_eq!(write("one", 9), 3);
    assert_eq!(write("one", 10), 9);
    assert_eq!(write("two", 5), 3);
    assert_eq!(write("one", 11), 3, "what was known of it is gone");
    assert_eq!(seen(folder.path()), [5.0, 9.0, 10.0, 11.0]);
}

#[test]
fn a_record_that_is_damaged_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".commit-latency-0"), "thalweg parquet commit 1\nline").unwrap();
    let error = super::open(request(folder.path(), &[])).err().unwrap();
    assert!(
        error.message.contains(".commit-latency-0") && error.message.contains("not the record"),
        "{}",
        error.message
    );
}

#[test]
fn a_file_that_cannot_be_staged_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk { root: folder.path().to_path_buf() };
    std::fs::create_dir_all(folder.path().join("a/.tmp-taken")).unwrap();
    assert!(disk.stage("a", ".tmp-taken", &Bytes::from_static(b"bytes")).is_err());
    disk.stage("b/c", ".tmp-free", &Bytes::from_static(b"bytes")).unwrap();
    for _again in 0..2 {
        disk.publish("b/c", ".tmp-free", "free.parquet").unwrap();
    }
    assert_eq!(files(folder.path()), [folder.path().join("b/c/free.parquet")]);
}

#[test]
fn a_path_that_is_a_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("taken");
    std::fs::write(&path, b"").unwrap();
    let error = super::open(request(&path, &[])).err().unwrap();
    assert!(error.message.contains("taken") && error.message.contains("sink \"latency\""), "{}", error.message);
}

#[test]
fn mistakes_in_options_are_explained() {
    let refused = |given: &[(&str, &str)]| {
        let error = ParquetOptions::read(&request(Path::new("out"), given)).unwrap_err();
        format!("{} / {}", error.message, error.hint.or(error.detail).unwrap_or_default())
    };
    assert_eq!(
        refused(&[("partition_by", "regoin")]),
        "column \"regoin\" in option \"partition_by\" does not exist in the rows of sink \"latency\" / Did you mean \"region\"?"
    );
    assert_eq!(
        refused(&[("partition_by", "week(window_start)")]),
        "option \"partition_by\" of sink \"latency\" does not take 'week(window_start)' / Use a column, or year(c), \
         month(c), day(c), hour(c) of a time column."
    );
    assert_eq!(
        refused(&[("partition_by", "day(p99)")]),
        "day() of column \"p99\" needs a time / Partition by the column itself, or by day() of a timestamp or date."
    );
    assert_eq!(
        refused(&[("sort_by", "wat desc")]),
        "column \"wat\" in option \"sort_by\" does not exist in the rows of sink \"latency\" / Columns: window_start, \
         region, p99."
    );
    assert!(refused(&[("partition_by", "window_start,region,p99")]).starts_with("option \"partition_by\" of sink"));
}

#[test]
fn nested_and_null_values_can_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let list = arrow::array::ListArray::from_iter_primitive::<arrow::datatypes::Int64Type, _, _>(vec![
        Some(vec![Some(1), None]),
        None,
    ]);
    let fields = vec![Field::new("tags", list.data_type().clone(), true), Field::new("n", DataType::Int64, true)];
    let schema = Arc::new(Schema::new(fields));
    let batch =
        RecordBatch::try_new(schema.clone(), vec![Arc::new(list), Arc::new(Int64Array::from(vec![Some(2), None]))])
            .unwrap();
    let request = SinkRequest { schema, ..request(folder.path(), &[]) };
    let request = SinkRequest {
        options: options(OPTIONS, &[("path", folder.path().to_str().unwrap()), ("sort_by", "n")]),
        ..request
    };
    let mut writer = super::open(request).unwrap().writer(ALONE).unwrap();
    writer.write(Epoch(1), &Batch::append(batch.clone())).unwrap();
    writer.finish().unwrap();
    assert_eq!(read_back(&files(folder.path())[0]), batch);
}
