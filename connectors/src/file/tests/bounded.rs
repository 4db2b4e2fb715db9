//! Reading once: every line exactly once, whatever the cutting; and what is said about files that are not right.

use crate::file::bounded::Bounded;
use crate::file::lines::{LineFile, LineRange};
use crate::file::piece::Piece;
use crate::file::{SOURCE, open};
use crate::tests::options;
use arrow::datatypes::{DataType, Field, Schema};
use proptest::prelude::*;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use thalweg_schemas::epoch::WorkerId;
use thalweg_schemas::error::Error;
use thalweg_schemas::options::Options;
use thalweg_schemas::source::{Fault, Outlook, Partition, Payload, Polled, Source, SourceRequest};

pub(super) fn request(path: &str, format: &str, more: &[(&str, &str)], fields: &[&str]) -> SourceRequest {
    let mut given = vec![("path", path)];
    given.extend(more);
    let fields: Vec<Field> = fields.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect();
    SourceRequest {
        name: "s".into(),
        options: options(SOURCE, &given),
        format: Some(format.into()),
        format_options: Options::default(),
        wanted: vec![true; fields.len()],
        key: Vec::new(),
        metadata: Vec::new(),
        fields: Arc::new(Schema::new(fields)),
    }
}

/// What a bounded run handed over: lines with file and offset in the order of each file, rows as text, faults.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub lines: Vec<(u32, u64, String)>,
    pub headers: Vec<String>,
    pub rows: Vec<(u32, u64, String)>,
    pub faults: Vec<Fault>,
}

impl Read {
    pub(super) fn texts(&self) -> Vec<&str> {
        self.lines.iter().map(|(_, _, line)| line.as_str()).collect()
    }

    pub(super) fn take(&mut self, polled: Polled) {
        match polled {
            Polled::Ready(chunk) => {
                if let Some(header) = &chunk.header {
                    self.headers.push(String::from_utf8(header.to_vec()).unwrap());
                }
                match chunk.payload {
                    Payload::Bytes(bytes) => {
                        assert!(bytes.is_empty() || chunk.end - chunk.start == bytes.len() as u64);
                        let mut offset = chunk.start;
                        for line in bytes.split_inclusive(|b| *b == b'\n') {
                            let text = String::from_utf8(line.to_vec()).unwrap();
                            self.lines.push((chunk.partition.index, offset, text.trim_end_matches('\n').to_string()));
                            offset += line.len() as u64;
                        }
                    }
                    Payload::Rows(batch) => {
                        assert_eq!(chunk.end - chunk.start, batch.num_rows() as u64);
                        let mut out = Vec::new();
                        let batch = thalweg_schemas::batch::Batch::append(batch);
                        crate::text::TextFormat::Json.append(&batch, &mut out).unwrap();
                        let texts = String::from_utf8(out).unwrap();
                        let rows = (chunk.start..chunk.end).zip(texts.lines());
                        self.rows.extend(rows.map(|(row, text)| (chunk.partition.index, row, text.to_string())));
                    }
                    Payload::Messages(_) | Payload::Formatted { .. } | Payload::Changes { .. } => {
                        panic!("files have no messages")
                    }
                }
            }
            Polled::Fault(fault) => self.faults.push(fault),
            other => panic!("{other:?}"),
        }
    }
}

/// Reads to the end with `peers` readers that take turns.
pub(super) fn read(source: &dyn Source, peers: usize, budget: usize) -> Read {
    let mut readers: Vec<_> = (0..peers).map(|index| Some(source.reader(WorkerId { index, peers }).unwrap())).collect();
    let mut read = Read::default();
    while readers.iter().any(Option::is_some) {
        for slot in &mut readers {
            let Some(reader) = slot else { continue };
            match reader.poll(budget).unwrap() {
                Polled::Ended => *slot = None,
                polled => read.take(polled),
            }
        }
    }
    read.lines.sort();
    read.rows.sort();
    read
}

fn read_path(path: &Path, format: &str) -> Read {
    let source = open(request(path.to_str().unwrap(), format, &[], &["n"])).unwrap();
    assert!(source.bounded());
    let read = read(source.as_ref(), 2, 1 << 20);
    let progress = source.progress().unwrap();
    if read.faults.is_empty() && matches!(format, "json" | "csv") {
        assert_eq!(progress.done, progress.total, "all bytes of {path:?} count as read");
    }
    read
}

fn open_error(path: &str) -> Error {
    open(request(path, "json", &[], &[])).err().expect("it cannot be opened")
}

proptest! {
    /// The law of cutting: any text, cut into pieces of any size for any number of workers, gives its lines, once.
    #[test]
    fn every_line_is_read_once(
        lines in prop::collection::vec("[a-z]{0,40}", 0..60),
        ends_with_newline: bool,
        piece in 1u64..200,
        peers in 1usize..5,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.ndjson");
        let mut text = lines.join("\n");
        if ends_with_newline && !text.is_empty() {
            text.push('\n');
        }
        std::fs::write(&path, &text).unwrap();
        let options = crate::file::options::FileOptions::read(&request(path.to_str().unwrap(), "json", &[], &[])).unwrap();
        let read = read(&Bounded::cut(options, piece).unwrap(), peers, 1);
        let mut expected = Vec::new();
        let mut offset = 0;
        for line in text.split_inclusive('\n') {
            expected.push((0, offset, line.trim_end_matches('\n').to_string()));
            offset += line.len() as u64;
        }
        prop_assert_eq!(read.lines, expected);
        prop_assert!(read.faults.is_empty());
    }
}

#[test]
fn files_are_found_by_name_folder_pattern_and_list() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::fs::create_dir_all(root.join("b/deep")).unwrap();
    for (name, text) in [
        ("a.ndjson", "1\n"),
        ("b/x.ndjson", "2\n"),
        ("b/deep/y.ndjson", "3\n"),
        ("c.txt", "4"),
        (".hidden", "5\n"),
        ("b/_SUCCESS", "6\n"),
    ] {
        std::fs::write(root.join(name), text).unwrap();
    }
    let at = |path: &str| root.join(path);
    let lines = |path: &Path| read_path(path, "json").texts().join(" ");
    assert_eq!(lines(&at("a.ndjson")), "1");
    assert_eq!(lines(root), "1 3 2 4");
    assert_eq!(lines(&at("*.ndjson")), "1");
    assert_eq!(lines(&at("**/*.ndjson")), "1 3 2");
    assert_eq!(lines(&at("[ac].*")), "1 4");
    assert_eq!(lines(&at("b/_*")), "6");
    let list = format!("{}, {}", at("c.txt").display(), at("?.ndjson").display());
    assert_eq!(lines(Path::new(&list)), "1 4");
}

#[test]
fn a_path_that_matches_nothing_is_a_mistake_with_a_hint() {
    let error = open_error("no/such/*.ndjson");
    assert_eq!(error.message, "no file matches path 'no/such/*.ndjson'");
    assert!(error.hint.unwrap().starts_with("Paths are relative to the current directory, /"));
    assert_eq!(open_error("no/such.json").message, "no file matches path 'no/such.json'");
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let refused = |path: &str, format: &str, more: &[(&str, &str)]| {
        open(request(path, format, more, &[])).err().expect("it is refused").message
    };
    assert_eq!(refused(" , ", "json", &[]), "option \"path\" of source \"s\" names no file");
    assert_eq!(
        refused("s3://b/x", "json", &[("mode", "tail")]),
        "what is in an object store cannot be followed as it grows: 's3://b/x'"
    );
    assert_eq!(refused("gs://b/x", "json", &[]), "'gs://b' is in no object store that is known here");
    assert_eq!(refused("[", "json", &[]).split(':').next(), Some("path '[' is not a pattern"));
    assert_eq!(refused(path, "json", &[("start", "end")]), "option \"start\" = 'end' needs \"mode\" = 'tail'");
    assert_eq!(
        refused(path, "parquet", &[("mode", "tail")]),
        "files of format 'parquet' cannot be followed as they grow"
    );
}

#[test]
fn a_line_longer_than_a_piece_comes_whole_and_a_far_too_long_one_is_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.ndjson");
    let long = "x".repeat(300_000);
    std::fs::write(&path, format!("a\n{long}\nb\n")).unwrap();
    let options = crate::file::options::FileOptions::read(&request(path.to_str().unwrap(), "json", &[], &[])).unwrap();
    let whole = read(&Bounded::cut(options, 1_000).unwrap(), 3, 1);
    assert_eq!(whole.texts(), ["a", &long, "b"]);

    for (text, faults) in [(format!("a\n{long}\nb"), 1), (format!("{long}{long}{long}\nb\n{long}"), 2)] {
        std::fs::write(&path, &text).unwrap();
        let partition = Partition { index: 0, name: "long".into() };
        let file = LineFile::new(File::open(&path).unwrap(), partition, false, Arc::default()).unwrap();
        let mut range = LineRange::new(Arc::new(file), 0, text.len() as u64).with_line_max(100_000);
        let mut read = Read::default();
        while let Some(polled) = range.next(1) {
            read.take(polled);
        }
        assert_eq!(read.texts().last(), Some(&"b"));
        assert!(read.lines.iter().all(|(.., line)| line.len() == 1));
        assert_eq!(read.faults.len(), faults);
        assert!(read.faults[0].reason.contains("is longer than 100000 bytes"), "{:?}", read.faults[0]);
    }
}

#[test]
fn an_empty_file_is_nothing_and_a_byte_order_mark_is_no_part_of_a_line() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.ndjson"), "").unwrap();
    std::fs::write(folder.path().join("b.ndjson"), "\u{feff}{}\n").unwrap();
    let read = read_path(folder.path(), "json");
    assert_eq!(read.lines, [(1, 3, "{}".to_string())]);
    assert!(read.faults.is_empty());
}

#[test]
fn csv_brings_its_header_with_every_chunk() {
    let folder = tempfile::tempdir().unwrap();
    let rows: String = (0..200_000).map(|n| format!("{n},x\n")).collect();
    std::fs::write(folder.path().join("a.csv"), format!("\u{feff}n,name\r\n{rows}")).unwrap();
    std::fs::write(folder.path().join("b.csv"), "n,other\n1,y").unwrap();
    std::fs::write(folder.path().join("c.csv"), "n,alone").unwrap();
    std::fs::write(folder.path().join("d.csv.gz"), gzip("n,zipped\n2,z\n")).unwrap();
    let read = read_path(folder.path(), "csv");
    assert_eq!(read.lines.len(), 200_002);
    assert!(read.headers.len() > 3);
    let headers: std::collections::BTreeSet<_> = read.headers.iter().map(String::as_str).collect();
    assert_eq!(headers.into_iter().collect::<Vec<_>>(), ["n,name", "n,other", "n,zipped"]);
}

pub(super) fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// Lines of which a few thousand are more than one chunk.
fn lines(from: usize, to: usize) -> String {
    (from..to).map(|n| format!("{{\"n\":{n},\"text\":\"{}\"}}\n", "y".repeat(n % 90))).collect()
}

#[test]
fn compressed_files_are_read_like_others() {
    let folder = tempfile::tempdir().unwrap();
    // Several members and frames in one file are what `cat a.gz b.gz` and log shippers make.
    let gz = [gzip(&lines(0, 20_000)), gzip(&lines(20_000, 30_000))].concat();
    let zst =
        [lines(0, 20_000), lines(20_000, 30_000)].map(|text| zstd::encode_all(text.as_bytes(), 1).unwrap()).concat();
    std::fs::write(folder.path().join("a.ndjson.gz"), gz).unwrap();
    std::fs::write(folder.path().join("b.ndjson.zst"), zst).unwrap();
    let read = read_path(folder.path(), "json");
    let text = lines(0, 30_000);
    let mut expected = Vec::new();
    for file in 0..2 {
        let mut offset = 0;
        for line in text.split_inclusive('\n') {
            expected.push((file, offset, line.trim_end().to_string()));
            offset += line.len() as u64;
        }
    }
    assert!(read.faults.is_empty(), "{:?}", read.faults);
    assert!(read.lines == expected, "{} lines", read.lines.len());
}

#[test]
fn a_truncated_compressed_file_gives_its_whole_lines_and_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let text = lines(0, 5_000);
    let compressed = [("a.gz", gzip(&text)), ("b.zst", zstd::encode_all(text.as_bytes(), 1).unwrap())];
    for (name, bytes) in &compressed {
        std::fs::write(folder.path().join(name), &bytes[..bytes.len() / 2]).unwrap();
    }
    std::fs::write(folder.path().join("c.gz"), b"this is no gzip").unwrap();
    std::fs::write(folder.path().join("d.ndjson"), "{}\n").unwrap();
    let read = read_path(folder.path(), "json");
    assert_eq!(read.faults.len(), 3, "{:?}", read.faults);
    for (index, fault) in read.faults.iter().enumerate() {
        assert!(fault.reason.starts_with("decompression stopped here: "), "{}", fault.reason);
        let of_file = read.lines.iter().filter(|(file, ..)| *file as usize == index);
        let bytes: u64 = of_file.clone().map(|(.., line)| line.len() as u64 + 1).sum();
        assert_eq!(fault.offset, bytes, "the fault is where the whole lines end");
        assert!(of_file.zip(text.lines()).all(|((.., line), expected)| line == expected));
    }
    assert!(read.lines.iter().any(|(file, ..)| *file == 1), "lines before the damage are there");
    assert_eq!(read.lines.last().unwrap(), &(3, 0, "{}".to_string()));
}

#[test]
fn a_file_that_vanishes_is_a_fault_and_the_others_are_read() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        std::fs::write(folder.path().join(name), format!("{name}\n")).unwrap();
    }
    let source = open(request(folder.path().to_str().unwrap(), "json", &[], &[])).unwrap();
    std::fs::remove_file(folder.path().join("b")).unwrap();
    let read = read(source.as_ref(), 2, 1);
    assert_eq!(read.texts(), ["a", "c"]);
    assert_eq!(read.faults.len(), 1);
    assert_eq!(read.faults[0].partition.as_ref(), folder.path().join("b").to_str().unwrap());
    assert_eq!(read.faults[0].reason, "the file cannot be opened: No such file or directory (os error 2)");
}

#[test]
fn a_file_that_shrinks_is_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    std::fs::write(&path, lines(0, 50_000)).unwrap();
    let source = open(request(path.to_str().unwrap(), "json", &[], &[])).unwrap();
    let mut reader = source.reader(WorkerId { index: 0, peers: 1 }).unwrap();
    assert!(matches!(reader.poll(1).unwrap(), Polled::Ready(_)));
    File::options().write(true).open(&path).unwrap().set_len(10).unwrap();
    let Polled::Fault(fault) = reader.poll(1).unwrap() else { panic!("a fault was expected") };
    assert!(fault.reason.starts_with("the file has shrunk from"), "{}", fault.reason);
}

#[test]
fn what_may_not_be_read_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (locked, file) = (folder.path().join("locked"), folder.path().join("secret"));
    std::fs::create_dir(&locked).unwrap();
    std::fs::write(&file, "{}\n").unwrap();
    for path in [&locked, &file] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o000)).unwrap();
    }
    if File::open(&file).is_ok() {
        // Root reads everything: there is nothing to see.
        return;
    }
    let error = open_error(locked.to_str().unwrap());
    assert!(error.message.contains("locked") && error.message.contains("ermission"), "{}", error.message);
    let read = read_path(&file, "json");
    assert!(read.faults[0].reason.contains("ermission denied"), "{:?}", read.faults);
}

#[test]
fn what_is_not_a_file_is_a_fault() {
    let source = open(request("/dev/null", "json", &[], &[])).unwrap();
    let read = read(source.as_ref(), 1, 1);
    assert_eq!(read.faults[0].reason, "this is not a regular file");
}

#[test]
fn csv_without_a_header_loses_no_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    std::fs::write(&path, "1,x\n2,y\n").unwrap();
    let csv = thalweg_schemas::format::by_name("csv").unwrap();
    let request = SourceRequest {
        format_options: options(csv.options, &[("header", "false")]),
        ..request(path.to_str().unwrap(), "csv", &[], &[])
    };
    let read = read(open(request).unwrap().as_ref(), 1, 1);
    assert_eq!(read.texts(), ["1,x", "2,y"]);
    assert!(read.headers.is_empty());
}

#[test]
fn nothing_is_promised_of_event_time_before_the_last_file_unless_files_are_in_its_order() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        std::fs::write(folder.path().join(name), "{}\n").unwrap();
    }
    for (given, expected) in [
        (&[][..], [Outlook::MoreToCome, Outlook::MoreToCome, Outlook::LastOne]),
        (&[("in_time_order", "true")][..], [Outlook::LastOne; 3]),
    ] {
        let source = open(request(folder.path().to_str().unwrap(), "json", given, &[])).unwrap();
        let mut reader = source.reader(WorkerId { index: 0, peers: 1 }).unwrap();
        assert_eq!(reader.outlook(), Outlook::MoreToCome, "nothing has been read");
        for expected in expected {
            assert!(matches!(reader.poll(1).unwrap(), Polled::Ready(_)));
            assert_eq!(reader.outlook(), expected);
        }
    }
}
