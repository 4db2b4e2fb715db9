//! Reading once: every line exactly once, whatever the cutting; and what is said about files that are not right.

use crate::file::bounded::Bounded;
use crate::file::{SOURCE, open};
use crate::tests::options;
use arrow::datatypes::{DataType, Field, Schema};
use proptest::prelude::*;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use thalweg_schemas::epoch::WorkerId;
use thalweg_schemas::error::Error;
use thalweg_schemas::source::{Fault, Payload, Polled, Source, SourceRequest};

pub(super) fn request(path: &str, format: &str, more: &[(&str, &str)], fields: &[&str]) -> SourceRequest {
    let mut given = vec![("path", path)];
    given.extend(more);
    let fields: Vec<Field> = fields.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect();
    SourceRequest {
        name: "s".into(),
        options: options(SOURCE, &given),
        format: Some(format.into()),
        wanted: vec![true; fields.len()],
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
                        assert_eq!(chunk.end - chunk.start, bytes.len() as u64);
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
                    Payload::Messages(_) => panic!("files have no messages"),
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
