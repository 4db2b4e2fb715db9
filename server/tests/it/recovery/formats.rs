//! State written by every version of the format is gone on from: `formats/v2` and so on hold what a killed process left.
//!
//! `THALWEG_WRITE_FORMAT=v3 cargo test -p thalweg --test it this_version_writes` leaves the files of this version in such
//! a folder: once for each version of the format, before it changes again. The files of old ones are never written anew:
//! those of version 1 were written by the last program that wrote it.

use super::outside::World;
use super::{Lives, lines};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Holds something of every operator that has state, so that a change of any of their formats is noticed.
const PIPELINE: &str = "
CREATE SOURCE events (ts TIMESTAMP NOT NULL, k TEXT, v BIGINT, WATERMARK FOR ts AS ts - INTERVAL '2 seconds') WITH ({world});
CREATE MATERIALIZED VIEW windows AS SELECT window_start, window_end, k, count(*) AS n, sum(v) AS s, count(DISTINCT v) AS d
    FROM HOP(events, ts, INTERVAL '5 seconds', INTERVAL '20 seconds') GROUP BY window_start, window_end, k;
CREATE MATERIALIZED VIEW totals AS SELECT k, count(*) AS n, max(v) AS most, min(v) AS least FROM events GROUP BY k;
CREATE MATERIALIZED VIEW of_totals AS SELECT count(*) AS groups, max(n) AS n FROM totals;
CREATE SINK raw FROM events WITH ({world});
";
const ROWS: i64 = 240;
const VIEWS: [&str; 3] = ["windows", "totals", "of_totals"];

/// The rows that all versions have read: never to be changed.
fn world(quiet: u64) -> World {
    let begin_ns = 1_767_225_600_000_000_000;
    let partition = |first: i64| {
        let numbers = || (first..ROWS).step_by(3);
        let times: ArrayRef = Arc::new(TimestampNanosecondArray::from_iter_values(
            numbers().map(|n| begin_ns + n * 500_000_000 + n * n % 7 * 1_000_000),
        ));
        let keys: ArrayRef =
            Arc::new(StringArray::from_iter(numbers().map(|n| (n % 11 != 0).then(|| format!("key {}", n % 13)))));
        let values: ArrayRef = Arc::new(Int64Array::from_iter(numbers().map(|n| (n % 17 != 0).then_some(n * n % 101))));
        RecordBatch::try_from_iter_with_nullable([("ts", times, false), ("k", keys, true), ("v", values, true)])
            .unwrap()
    };
    World::new((0..3).map(partition).collect(), 9, quiet)
}

fn folder(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/recovery/formats").join(version)
}

/// What the views come to without a crash.
fn expected() -> Vec<Vec<String>> {
    let engine = Lives::new("formats-straight", PIPELINE, world(0)).live(2, i64::MAX).unwrap();
    let snapshots = engine.snapshots(&VIEWS).unwrap();
    snapshots.into_iter().map(|snapshot| lines(&snapshot.batches)).collect()
}

#[test]
fn the_state_of_every_version_is_gone_on_from() {
    let expected = expected();
    let mut versions: Vec<_> = std::fs::read_dir(folder("")).unwrap().map(|entry| entry.unwrap().path()).collect();
    versions.sort();
    assert!(!versions.is_empty());
    for version in versions {
        // As many workers as wrote it, and others.
        for workers in [2, 3] {
            let name = format!("{}-{workers}", version.file_name().unwrap().to_string_lossy());
            let lives = Lives::new(&format!("formats-{name}"), PIPELINE, world(0));
            for file in std::fs::read_dir(&version).unwrap() {
                let file = file.unwrap();
                let bytes = std::fs::read(file.path()).unwrap();
                lives.world.put_file(&file.file_name().to_string_lossy(), bytes);
            }
            let engine = lives.live(workers, i64::MAX).unwrap();
            assert_eq!(engine.status().sources[0].rows_in, ROWS as u64, "{name}");
            let shown: usize = lives.world.shown("raw").iter().map(|batch| batch.num_rows()).sum();
            assert!(shown < ROWS as usize, "{name}: all rows were shown, as if there were no state");
            for (view, expected) in VIEWS.iter().zip(&expected) {
                let found = lines(&engine.snapshots(&[view]).unwrap().remove(0).batches);
                assert_eq!(&found, expected, "{name}, {view}");
            }
        }
    }
}

/// Whether the files hold a checkpoint, and more of the log than it took in.
fn is_worth_keeping(files: &[String]) -> bool {
    let last = |prefix: &str| files.iter().filter(|name| name.starts_with(prefix)).max();
    last("checkpoint-").is_some() && files.iter().filter(|name| name.starts_with("log-0")).count() > 1
}

#[test]
fn this_version_writes_a_format_that_is_kept() {
    let mut tries = (10..60).filter_map(|operations| {
        let lives = Lives::new(&format!("formats-{operations}"), PIPELINE, world(9));
        lives.live(2, operations).is_none().then_some(lives)
    });
    let lives = tries.find(|lives| is_worth_keeping(&lives.world.files()));
    let lives = lives.expect("a process that dies with a checkpoint and a log behind it");
    if let Ok(version) = std::env::var("THALWEG_WRITE_FORMAT") {
        std::fs::create_dir(folder(&version)).unwrap();
        for name in lives.world.files() {
            lives.world.change_file(&name, |bytes| std::fs::write(folder(&version).join(&name), bytes).unwrap());
        }
    }
}
