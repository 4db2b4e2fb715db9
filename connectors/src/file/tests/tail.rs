//! Following files: what is appended, renamed, truncated, deleted and new.

use super::bounded::{Read, request};
use crate::file::options::FileOptions;
use crate::file::tail::Tail;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use thalweg_schemas::epoch::WorkerId;
use thalweg_schemas::source::{Polled, Reader, Source};

/// A source that looks for files at every poll, and its readers.
struct Fixture {
    readers: Vec<Box<dyn Reader>>,
}

impl Fixture {
    fn new(path: &Path, format: &str, start: &str, peers: usize) -> Fixture {
        let request = request(path.to_str().unwrap(), format, &[("mode", "tail"), ("start", start)], &[]);
        let source = Tail::listing_every(Duration::ZERO, FileOptions::read(&request).unwrap()).unwrap();
        assert!(!source.bounded());
        Fixture { readers: (0..peers).map(|index| source.reader(WorkerId { index, peers }).unwrap()).collect() }
    }

    /// All there is for now.
    fn read(&mut self) -> Read {
        let mut read = Read::default();
        loop {
            let mut pending = true;
            for reader in &mut self.readers {
                match reader.poll(1 << 20).unwrap() {
                    Polled::Pending => {}
                    polled => {
                        pending = false;
                        read.take(polled);
                    }
                }
            }
            if pending {
                read.lines.sort();
                return read;
            }
        }
    }

    fn lines(&mut self) -> Vec<String> {
        let read = self.read();
        assert!(read.faults.is_empty(), "{:?}", read.faults);
        read.lines.into_iter().map(|(.., line)| line).collect()
    }
}

fn append(path: &Path, text: &str) {
    OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

#[test]
fn lines_come_when_they_are_whole() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("app.log");
    append(&log, "1\n2");
    let mut tail = Fixture::new(&log, "json", "beginning", 1);
    assert_eq!(tail.lines(), ["1"]);
    assert!(tail.lines().is_empty());
    append(&log, "2");
    assert!(tail.lines().is_empty());
    append(&log, "2\n3\n4");
    assert_eq!(tail.lines(), ["222", "3"]);
}

#[test]
fn new_files_are_found_and_shared_among_workers() {
    let folder = tempfile::tempdir().unwrap();
    let pattern = folder.path().join("*.log");
    let mut tail = Fixture::new(&pattern, "json", "beginning", 3);
    assert!(tail.lines().is_empty(), "a tail waits for files");
    for n in 0..5 {
        append(&folder.path().join(format!("{n}.log")), &format!("{n}\n"));
    }
    append(&folder.path().join("other.txt"), "x\n");
    let read = tail.read();
    assert_eq!(read.texts(), ["0", "1", "2", "3", "4"]);
    let files: Vec<_> = read.lines.iter().map(|(file, ..)| *file).collect();
    assert_eq!(files, [0, 1, 2, 3, 4]);
    append(&folder.path().join("3.log"), "again\n");
    assert_eq!(tail.read().lines, [(3, 2, "again".to_string())]);
}

#[test]
fn rotation_finishes_the_old_file_and_begins_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("app.log");
    append(&log, "1\n2\n");
    // The pattern matches the rotated name too: what was read under the old name is not read again.
    let mut tail = Fixture::new(&folder.path().join("app.log*"), "json", "beginning", 2);
    assert_eq!(tail.lines(), ["1", "2"]);
    append(&log, "3\nlast, without an end");
    std::fs::rename(&log, folder.path().join("app.log.1")).unwrap();
    assert_eq!(tail.lines(), ["3"]);
    append(&log, "4\n");
    let read = tail.read();
    assert_eq!(read.lines, [(0, 0, "4".to_string()), (0, 6, "last, without an end".to_string())]);
    append(&log, "5\n");
    assert_eq!(tail.lines(), ["5"]);
}

#[test]
fn truncation_is_told_and_reading_begins_again() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("app.log");
    append(&log, "first\nsecond\n");
    let mut tail = Fixture::new(&log, "json", "beginning", 1);
    assert_eq!(tail.lines(), ["first", "second"]);
    std::fs::write(&log, "new\n").unwrap();
    let read = tail.read();
    assert_eq!(read.texts(), ["new"]);
    assert_eq!(
        read.faults[0].reason,
        "the file was truncated from at least 13 to 4 bytes; reading it from its beginning"
    );
}

#[test]
fn a_deleted_file_may_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("app.log");
    for round in 0..5 {
        append(&log, &format!("{round}\nrest"));
        let mut tail = Fixture::new(&log, "json", "beginning", 1);
        assert_eq!(tail.lines(), [round.to_string()]);
        std::fs::remove_file(&log).unwrap();
        assert_eq!(tail.lines(), ["rest"]);
        append(&log, "back\n");
        assert_eq!(tail.lines(), ["back"]);
        std::fs::remove_file(&log).unwrap();
    }
}

#[test]
fn starting_at_the_end_leaves_out_what_is_there_but_not_half_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("app.log");
    append(&log, &format!("old\n{}\nhalf", "x".repeat(100_000)));
    let mut tail = Fixture::new(&folder.path().join("*.log"), "json", "end", 1);
    assert!(tail.lines().is_empty());
    append(&log, " and whole\n");
    append(&folder.path().join("later.log"), "from its beginning\n");
    assert_eq!(tail.lines(), ["half and whole", "from its beginning"]);
}

#[test]
fn a_header_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("app.csv");
    append(&log, "a,");
    let mut tail = Fixture::new(&log, "csv", "beginning", 1);
    assert!(tail.lines().is_empty());
    append(&log, "b\n1,2\n");
    let read = tail.read();
    assert_eq!(read.texts(), ["1,2"]);
    assert_eq!(read.headers, ["a,b"]);
}

#[test]
fn long_lines_are_followed_too() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("app.log");
    let long = "z".repeat(3 << 20);
    append(&log, &long);
    let mut tail = Fixture::new(&log, "json", "beginning", 1);
    assert!(tail.lines().is_empty());
    append(&log, "\nshort\n");
    assert_eq!(tail.lines(), [long, "short".to_string()]);
}
