//! State that is not as it was written: the process says what it has found, where, and what it goes on from or what can be done.

use crate::process::{Process, unserved, wait};
use std::fs;
use std::path::{Path, PathBuf};

const PIPELINE: &str = "
CREATE SOURCE g WITH (connector = 'generator', rate = '20000', seed = '7');
CREATE MATERIALIZED VIEW n AS SELECT count(*) AS n FROM g;
";

/// The files of the state whose names begin with `prefix`, in order.
fn files(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let states = entries(folder.join("thalweg-data/state")).filter(|path| path.is_dir());
    let whole = |path: &PathBuf| name(path).starts_with(prefix) && !name(path).ends_with(".unfinished");
    let mut found: Vec<PathBuf> = states.flat_map(entries).filter(whole).collect();
    found.sort();
    found
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_string()
}

/// Runs until there are checkpoints that were not there before and something in the log behind them, and is killed.
fn run_and_kill(folder: &Path) -> Process {
    let before = files(folder, "checkpoint-").pop();
    let mut process = Process::start(folder, unserved(folder, "300ms", 2));
    let news = || files(folder, "checkpoint-").iter().filter(|path| Some(*path) > before.as_ref()).count() > 1;
    assert!(!process.ends_before("no checkpoint is written", news), "{}", process.log());
    let checkpoint = files(folder, "checkpoint-").pop();
    let logged = || files(folder, "log-0").len() > 1 && files(folder, "checkpoint-").pop() > checkpoint;
    assert!(!process.ends_before("nothing is logged", logged), "{}", process.log());
    process.kill();
    process
}

/// Changes the last byte but `behind` that is no zero.
fn spoil(path: &Path, behind: usize) {
    let mut bytes = fs::read(path).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[last - behind] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_torn_log_and_a_damaged_checkpoint_are_told_and_a_damaged_log_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("pipeline.sql"), PIPELINE).unwrap();
    let torn = loop {
        drop(run_and_kill(folder.path()));
        let last = files(folder.path(), "log-0").pop().unwrap();
        // It may die when it has made a file for the log and written nothing into it.
        if fs::read(&last).unwrap().iter().any(|byte| *byte != 0) {
            break last;
        }
    };
    let newest = files(folder.path(), "checkpoint-").pop().unwrap();
    spoil(&torn, 4);
    spoil(&newest, 4);
    let told = run_and_kill(folder.path()).log();
    assert!(told.contains(&name(&torn)) && told.contains("of a record that was not whole"), "{told}");
    assert!(told.contains(&name(&newest)) && told.contains("is damaged: its checksum is wrong"), "{told}");
    assert!(told.contains("going on from the checkpoint before it"), "{told}");
    assert!(told.contains("going on from the checkpoint of epoch"), "{told}");

    let first = files(folder.path(), "log-0").remove(0);
    let mut bytes = fs::read(&first).unwrap();
    bytes[20] ^= 1;
    fs::write(&first, bytes).unwrap();
    let mut process = Process::start(folder.path(), unserved(folder.path(), "300ms", 2));
    wait("it does not end", || process.ended().is_some());
    let told = process.log();
    assert_eq!(process.ended().unwrap().code(), Some(2), "{told}");
    assert!(told.contains("the epoch log is damaged") && told.contains(&format!("{}, byte 0", name(&first))), "{told}");
    assert!(told.contains("Bring the files back from a copy, or start anew with another --data folder"), "{told}");
}

#[test]
fn what_a_run_has_written_stays_when_it_died_after_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = "
CREATE SOURCE g WITH (connector = 'generator', rows = '1000', seed = '7');
CREATE SINK hosts AS SELECT host FROM g WITH (connector = 'file', path = 'hosts.csv', format = 'csv');
";
    fs::write(folder.path().join("pipeline.sql"), pipeline).unwrap();
    Process::start(folder.path(), unserved(folder.path(), "300ms", 2)).finish();
    let whole = fs::read_to_string(folder.path().join("hosts.csv")).unwrap();
    assert_eq!(whole.lines().count(), 1_001);
    // As if it had died while it removed its state, which it no longer needs.
    let states: Vec<PathBuf> = fs::read_dir(folder.path().join("thalweg-data/state"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    assert!(!states.is_empty());
    states.iter().for_each(|state| fs::write(state.join("ended"), "").unwrap());
    Process::start(folder.path(), unserved(folder.path(), "300ms", 2)).finish();
    assert_eq!(fs::read_to_string(folder.path().join("hosts.csv")).unwrap(), whole);
    // The run after that begins anew.
    Process::start(folder.path(), unserved(folder.path(), "300ms", 2)).finish();
    assert_eq!(fs::read_to_string(folder.path().join("hosts.csv")).unwrap(), whole);
}
