//! Going on after a crash: what was read is not read again, and what is asked for again is the same.

use super::bounded::{Read, request};
use crate::file::bounded::Bounded;
use crate::file::options::FileOptions;
use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use proptest::prelude::*;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use thalweg_schemas::epoch::WorkerId;
use thalweg_schemas::source::{Polled, Reader, Source, Span};

fn open(path: &Path, format: &str, piece: u64) -> Bounded {
    let request = request(path.to_str().unwrap(), format, &[], &["n"]);
    Bounded::cut(FileOptions::read(&request).unwrap(), piece).unwrap()
}

fn readers(source: &dyn Source, peers: usize) -> Vec<Box<dyn Reader>> {
    (0..peers).map(|index| source.reader(WorkerId { index, peers }).unwrap()).collect()
}

/// What was handed over, and the spans of it.
#[derive(Default)]
struct Taken {
    read: Read,
    spans: Vec<Span>,
}

impl Taken {
    fn take(&mut self, polled: Polled) {
        if let Polled::Ready(chunk) = &polled {
            self.spans.push(Span { partition: chunk.partition.name.clone(), start: chunk.start, end: chunk.end });
        }
        self.read.take(polled);
    }

    fn records(mut self) -> Vec<(u32, u64, String)> {
        assert!(self.read.faults.is_empty(), "{:?}", self.read.faults);
        self.read.lines.append(&mut self.read.rows);
        self.read.lines.sort();
        self.read.lines
    }

    /// Spans as the engine names them: sorted, touching ones made one.
    fn done(&self) -> Vec<Span> {
        let mut spans = self.spans.clone();
        spans.sort();
        let mut done: Vec<Span> = Vec::new();
        for span in spans {
            match done.last_mut() {
                Some(last) if last.partition == span.partition && last.end == span.start => last.end = span.end,
                _ => done.push(span),
            }
        }
        done
    }
}

fn poll_in_turns(source: &dyn Source, peers: usize, turns: &[usize]) -> Taken {
    let mut readers = readers(source, peers);
    let mut taken = Taken::default();
    for turn in turns {
        match readers[turn % peers].poll(1).unwrap() {
            Polled::Ended => {}
            polled => taken.take(polled),
        }
    }
    taken
}

fn poll_to_the_end(source: &dyn Source, peers: usize) -> Taken {
    let mut taken = Taken::default();
    let mut readers = readers(source, peers);
    while let Some(mut reader) = readers.pop() {
        match reader.poll(1).unwrap() {
            Polled::Ended => {}
            polled => {
                taken.take(polled);
                readers.insert(0, reader);
            }
        }
    }
    taken
}

/// Reads each span again, by workers that take turns, in chunks.
fn replay(source: &dyn Source, spans: &[Span], peers: usize) -> Taken {
    let mut readers = readers(source, peers);
    let mut taken = Taken::default();
    for (number, span) in spans.iter().enumerate() {
        let mut left = span.clone();
        while left.start < left.end {
            let polled = readers[number % peers].replay(&left, 1).unwrap();
            let Polled::Ready(chunk) = &polled else { panic!("{polled:?}") };
            assert_eq!((&chunk.partition.name, chunk.start), (&span.partition, left.start));
            assert!(left.start < chunk.end && chunk.end <= left.end, "{left:?}");
            left.start = chunk.end;
            taken.take(polled);
        }
    }
    taken
}

fn numbers(from: i64, rows: usize) -> RecordBatch {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
    RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from_iter_values(from..from + rows as i64))]).unwrap()
}

/// Two files of a kind, with lines or groups of the given lengths.
fn write_files(folder: &Path, kind: &str, lengths: &[usize]) -> &'static str {
    for name in ["a", "b"] {
        let path = folder.join(format!("{name}.{kind}"));
        let lines: Vec<String> = lengths.iter().map(|len| "x".repeat(len * 1_700)).collect();
        match kind {
            "ndjson" => std::fs::write(path, lines.join("\n")).unwrap(),
            "csv" => std::fs::write(path, format!("\u{feff}n\n{}\n", lines.join("\n"))).unwrap(),
            "csv.gz" => {
                let file = std::fs::File::create(path).unwrap();
                let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
                gzip.write_all(format!("n\n{}\n", lines.join("\n")).as_bytes()).unwrap();
                gzip.finish().unwrap();
            }
            "ndjson.zst" => {
                let text = zstd::encode_all(lines.join("\n").as_bytes(), 1).unwrap();
                std::fs::write(path, text).unwrap();
            }
            "parquet" => {
                let file = std::fs::File::create(path).unwrap();
                let mut writer = parquet::arrow::ArrowWriter::try_new(file, numbers(0, 0).schema(), None).unwrap();
                for (group, rows) in lengths.iter().enumerate() {
                    // The first may be more than is decoded at once.
                    let rows = if group == 0 { rows * 500 } else { rows * 5 };
                    writer.write(&numbers(rows as i64, rows)).unwrap();
                    writer.flush().unwrap();
                }
                writer.close().unwrap();
            }
            "arrow" | "arrows" => {
                let file = std::fs::File::create(path).unwrap();
                let batches = lengths.iter().map(|rows| numbers(*rows as i64, rows * 3));
                if kind == "arrow" {
                    let mut writer = arrow::ipc::writer::FileWriter::try_new(file, &numbers(0, 0).schema()).unwrap();
                    batches.for_each(|batch| writer.write(&batch).unwrap());
                    writer.finish().unwrap();
                } else {
                    let mut writer = arrow::ipc::writer::StreamWriter::try_new(file, &numbers(0, 0).schema()).unwrap();
                    batches.for_each(|batch| writer.write(&batch).unwrap());
                    writer.finish().unwrap();
                }
            }
            "avro" => {
                let file = std::fs::File::create(path).unwrap();
                let builder = arrow_avro::writer::WriterBuilder::new(numbers(0, 0).schema().as_ref().clone());
                let mut writer = builder.build::<_, arrow_avro::writer::format::AvroOcfFormat>(file).unwrap();
                lengths.iter().for_each(|rows| writer.write(&numbers(*rows as i64, rows * 3)).unwrap());
                writer.finish().unwrap();
            }
            other => panic!("{other}"),
        }
    }
    match kind.split('.').next().unwrap() {
        "ndjson" => "json",
        "csv" => "csv",
        "parquet" => "parquet",
        "avro" => "avro",
        _ => "arrow",
    }
}

const KINDS: [&str; 8] = ["ndjson", "csv", "csv.gz", "ndjson.zst", "parquet", "arrow", "arrows", "avro"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Any kind of file, however far each worker came, in two runs; with another number of workers and other pieces
    /// after each: together every record once; and what is read again is what was read.
    #[test]
    fn every_record_is_read_once_across_runs(
        kind in prop::sample::select(&KINDS[..]),
        lengths in prop::collection::vec(0usize..40, 1..30),
        runs in prop::collection::vec((prop::collection::vec(0usize..4, 0..12), 1usize..4, 1u64..400_000), 1..3),
        peers_last in 1usize..4,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let format = write_files(folder.path(), kind, &lengths);
        let expected = poll_to_the_end(&open(folder.path(), format, 1 << 20), 1).records();
        let mut all = Taken::default();
        for (turns, peers, piece) in &runs {
            let source = open(folder.path(), format, *piece);
            source.resume(&all.done()).unwrap();
            let taken = poll_in_turns(&source, *peers, turns);
            all.spans.extend(taken.spans);
            all.read.lines.extend(taken.read.lines);
            all.read.rows.extend(taken.read.rows);
        }
        let source = open(folder.path(), format, 50_000);
        prop_assert!(source.replayable());
        source.resume(&all.done()).unwrap();
        let again = replay(&source, &all.spans, 2).records();
        let merged = replay(&source, &all.done(), 1).records();
        let rest = poll_to_the_end(&source, peers_last);
        prop_assert!(rest.read.faults.is_empty(), "{:?}", rest.read.faults);
        all.read.lines.extend(rest.read.lines);
        all.read.rows.extend(rest.read.rows);
        let mut before = Vec::new();
        for records in [&again, &merged] {
            let mut sorted = records.clone();
            sorted.sort();
            before.push(sorted);
        }
        prop_assert_eq!(&before[0], &before[1]);
        let records = all.records();
        prop_assert!(before[0].iter().all(|record| records.binary_search(record).is_ok()));
        prop_assert_eq!(records, expected);
    }
}

fn span(path: &Path, start: u64, end: u64) -> Span {
    Span { partition: path.to_string_lossy().into(), start, end }
}

#[test]
fn a_file_that_shrank_ends_the_start_with_a_message() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ndjson");
    std::fs::write(&path, "1\n2\n3\n").unwrap();
    let error = open(&path, "json", 1 << 20).resume(&[span(&path, 0, 8)]).unwrap_err();
    let message = format!("file '{}' ends at 6, but an earlier run has read it as far as 8", path.display());
    assert_eq!(error.message, message);
    assert!(error.hint.unwrap().contains("--data"));
    write_files(folder.path(), "parquet", &[1]);
    let path = folder.path().join("a.parquet");
    let error = open(&path, "parquet", 1 << 20).resume(&[span(&path, 0, 501)]).unwrap_err();
    assert!(error.message.contains("ends at 500"), "{}", error.message);
}

#[test]
fn a_stream_that_shrank_is_a_fault_when_that_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path(), "csv.gz", &[1]);
    let path = folder.path().join("a.csv.gz");
    let source = open(&path, "csv", 1 << 20);
    source.resume(&[span(&path, 2, 2_000)]).unwrap();
    let faults = poll_to_the_end(&source, 1).read.faults;
    assert_eq!(faults[0].reason, "the file ends at 1703, but an earlier run has read it as far as 2000");
}

#[test]
fn records_that_are_gone_are_said_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let (gone, here) = (folder.path().join("gone.ndjson"), folder.path().join("here.ndjson"));
    std::fs::write(&here, "1\n2\n").unwrap();
    let source = open(folder.path(), "json", 1 << 20);
    source.resume(&[span(&gone, 0, 8), span(&here, 0, 2)]).unwrap();
    let mut reader = readers(&source, 1).remove(0);
    let reason = |polled| match polled {
        Polled::Fault(fault) => fault.reason,
        other => panic!("{other:?}"),
    };
    assert!(reason(reader.replay(&span(&gone, 0, 8), 1).unwrap()).starts_with("the file is gone"));
    std::fs::write(&here, "1\n").unwrap();
    let said = reason(reader.replay(&span(&here, 0, 4), 1).unwrap());
    assert_eq!(said, "the file ends at 2 now, and was read as far as 4");
}

#[test]
fn what_was_added_to_a_line_that_was_read_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ndjson");
    std::fs::write(&path, "1\n23\n4\n").unwrap();
    let source = open(&path, "json", 1 << 20);
    source.resume(&[span(&path, 0, 3)]).unwrap();
    let read = poll_to_the_end(&source, 1).read;
    assert_eq!(read.texts(), ["4"]);
    assert_eq!((read.faults.len(), read.faults[0].offset), (1, 3));
}

#[test]
fn files_that_are_new_are_read_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.ndjson");
    std::fs::write(&path, "1\n").unwrap();
    std::fs::write(folder.path().join("a.ndjson"), "2\n").unwrap();
    let source = open(folder.path(), "json", 1 << 20);
    source.resume(&[span(&path, 0, 2)]).unwrap();
    let read = poll_to_the_end(&source, 2).read;
    assert_eq!(read.texts(), ["2"]);
    let progress = source.progress().unwrap();
    assert_eq!(progress.done, progress.total);
}
