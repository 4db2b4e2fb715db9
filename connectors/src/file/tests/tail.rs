//! Following files: what is appended, renamed, truncated, deleted and new.

use super::bounded::{Read, request};
use crate::file::options::FileOptions;
use crate::file::tail::Tail;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use thalweg_schemas::epoch::WorkerId;
use thalweg_schemas::source::{Polled, Reader, Source, Span};

/// A source that looks for files at every poll, and its readers.
struct Fixture {
    readers: Vec<Box<dyn Reader>>,
    /// What was taken in.
    spans: Vec<Span>,
}

impl Fixture {
    fn new(path: &Path, format: &str, start: &str, peers: usize) -> Fixture {
        Fixture::going_on(path, format, start, peers, &[])
    }

    /// One that goes on where another stopped, which had taken in `done`.
    fn going_on(path: &Path, format: &str, start: &str, peers: usize, done: &[Span]) -> Fixture {
        let request = request(path.to_str().unwrap(), format, &[("mode", "tail"), ("start", start)], &[]);
        let source = Tail::listing_every(Duration::ZERO, FileOptions::read(&request).unwrap()).unwrap();
        assert!(!source.bounded() && source.replayable());
        if !done.is_empty() {
            source.resume(done).unwrap();
        }
        Fixture {
            spans: Vec::new(),
            readers: (0..peers).map(|index| source.reader(WorkerId { index, peers }).unwrap()).collect(),
        }
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
                        if let Polled::Ready(chunk) = &polled {
                            let (partition, start, end) = (chunk.partition.name.clone(), chunk.start, chunk.end);
                            self.spans.push(Span { partition, start, end });
                        }
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

    /// What was taken in before, once more.
    fn again(&mut self, spans: &[Span]) -> Read {
        let mut read = Read::default();
        for (number, span) in spans.iter().enumerate() {
            let readers = self.readers.len();
            read.take(self.readers[number % readers].replay(span, 1).unwrap());
        }
        read
    }

    fn lines(&mut self) -> Vec<String> {
        let read = self.read();
        assert!(read.faults.is_empty(), "{:?}", read.faults);
        read.lines.into_iter().map(|(.., line)| line).collect()
    }
}

#[test]
fn an_archive_beside_a_log_is_one_dead_letter_and_not_its_bytes() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("app.log"), "new\n").unwrap();
    std::fs::write(folder.path().join("app.log.1.gz"), "no line of this\nis read\n").unwrap();
    let mut fixture = Fixture::new(&folder.path().join("app.log*"), "json", "beginning", 1);
    let read = fixture.read();
    assert_eq!(read.lines.into_iter().map(|(.., line)| line).collect::<Vec<_>>(), ["new"]);
    let [fault] = read.faults.as_slice() else { panic!("{:?}", read.faults) };
    assert!(format!("{fault:?}").contains("an archive is not followed"), "{fault:?}");
    assert!(fixture.read().faults.is_empty(), "it is said once");
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

#[test]
fn a_restart_goes_on_with_what_was_appended_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let pattern = folder.path().join("*.csv");
    let logs: Vec<_> = (0..3).map(|n| folder.path().join(format!("{n}.csv"))).collect();
    logs.iter().for_each(|log| append(log, "n\n1\nhalf"));
    let mut tail = Fixture::new(&pattern, "csv", "beginning", 2);
    assert_eq!(tail.lines(), ["1", "1", "1"]);
    let spans = tail.spans;
    append(&logs[0], " and whole\n");
    append(&folder.path().join("3.csv"), "n\n2\n");
    let mut tail = Fixture::going_on(&pattern, "csv", "beginning", 3, &spans);
    let again = tail.again(&spans);
    assert_eq!((again.texts(), &again.headers), (vec!["1", "1", "1"], &vec!["n".to_string(); 3]));
    assert_eq!(tail.lines(), ["half and whole", "2"]);
}

#[test]
fn what_was_rotated_while_nothing_ran_is_read_to_its_end() {
    for pattern in ["app.log", "app.log*"] {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("app.log");
        append(&log, "1\n");
        let mut tail = Fixture::new(&folder.path().join(pattern), "json", "beginning", 1);
        assert_eq!(tail.lines(), ["1"]);
        append(&log, "2\n");
        std::fs::rename(&log, folder.path().join("app.log.1")).unwrap();
        append(&log, "3\n4\n");
        let spans = tail.spans;
        let mut tail = Fixture::going_on(&folder.path().join(pattern), "json", "beginning", 2, &spans);
        assert_eq!(tail.again(&spans).texts(), ["1"]);
        let read = tail.read();
        assert_eq!(
            read.lines,
            [(0, 0, "3".to_string()), (0, 2, "2".to_string()), (0, 2, "4".to_string())],
            "{pattern}"
        );
        assert_ne!(tail.spans[0].partition, tail.spans[1].partition);
        let spans = [spans, tail.spans].concat();
        append(&log, "5\n");
        assert_eq!(Fixture::going_on(&folder.path().join(pattern), "json", "beginning", 1, &spans).lines(), ["5"]);
    }
}

#[test]
fn a_file_truncated_while_it_was_read_or_not_begins_a_partition_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("app.log");
    append(&log, "first\nsecond\n");
    let mut tail = Fixture::new(&log, "json", "beginning", 1);
    tail.lines();
    std::fs::write(&log, "new\n").unwrap();
    assert_eq!(tail.read().texts(), ["new"]);
    let spans = tail.spans;
    assert!(spans[0].partition.ends_with(".1") && spans[1].partition.ends_with(".2"), "{spans:?}");
    append(&log, "more\n");
    assert_eq!(Fixture::going_on(&log, "json", "beginning", 1, &spans).lines(), ["more"]);
    std::fs::write(&log, "x\n").unwrap();
    let mut tail = Fixture::going_on(&log, "json", "beginning", 1, &spans);
    assert!(tail.again(&spans[1..]).faults[0].reason.starts_with("the file was truncated"));
    let read = tail.read();
    assert_eq!((read.texts(), read.faults.len()), (vec!["x"], 1));
    assert!(tail.spans[0].partition.ends_with(".3"));
}

#[test]
fn what_was_left_out_at_the_start_stays_so_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (log, quiet) = (folder.path().join("a.log"), folder.path().join("quiet.log"));
    append(&log, "old\n");
    append(&quiet, "old too\n");
    let pattern = folder.path().join("*.log");
    let mut tail = Fixture::new(&pattern, "json", "end", 1);
    assert!(tail.lines().is_empty());
    append(&log, "new\n");
    assert_eq!(tail.lines(), ["new"]);
    let spans = tail.spans;
    append(&quiet, "at last\n");
    append(&folder.path().join("b.log"), "in a new file\n");
    let mut tail = Fixture::going_on(&pattern, "json", "end", 1, &spans);
    assert_eq!(tail.again(&spans).texts(), ["new"]);
    assert_eq!(tail.lines(), ["in a new file", "at last"]);
}

#[test]
fn a_share_says_which_files_it_reads_once_it_has_looked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ndjson");
    std::fs::write(&path, "{}\n").unwrap();
    let mut fixture = Fixture::new(&path, "json", "beginning", 2);
    assert!(fixture.readers.iter().all(|reader| reader.partitions().is_none()));
    fixture.read();
    let of = |reader: &dyn Reader| reader.partitions().unwrap().len();
    let mut files: Vec<usize> = fixture.readers.iter().map(|reader| of(reader.as_ref())).collect();
    files.sort_unstable();
    // Nobody waits for the share that has none.
    assert_eq!(files, [0, 1]);
}
