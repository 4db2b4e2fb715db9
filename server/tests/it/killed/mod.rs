//! The real process, killed with SIGKILL again and again while it works: what it wrote in the end is there once.

mod kafka;
mod load;

use super::process::{Process, unserved};
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use std::path::Path;

/// Rows of a generator and windows over them, each into a folder at `place`.
pub fn pipeline(place: &str, rate: usize, rows: usize) -> String {
    format!(
        "CREATE SOURCE g (WATERMARK FOR ts AS ts - INTERVAL '1 second')
             WITH (connector = 'generator', kind = 'telemetry', rate = '{rate}', rows = '{rows}', seed = '7');
         CREATE MATERIALIZED VIEW w AS
             SELECT window_start, window_end, service, count(*) AS n
             FROM TUMBLE(g, ts, INTERVAL '1 second') GROUP BY window_start, window_end, service;
         CREATE SINK raw FROM g WITH (connector = 'parquet', path = '{place}raw');
         CREATE SINK windows FROM w WITH (connector = 'parquet', path = '{place}windows');"
    )
}

/// How many files `folder` shows to readers.
fn shown(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "parquet")).count()
}

/// Runs what `start` starts with a number of workers, killed whenever `raw` shows another file and at most `kills_max`
/// times, with other numbers of workers each time; to its end. The answer is the number of kills.
pub fn kill_again_and_again(start: impl Fn(usize) -> Process, raw: &Path, kills_max: usize) -> usize {
    for kills in 0..kills_max {
        let files = shown(raw);
        let mut process = start(1 + kills % 3);
        if process.ends_before("no new file", || shown(raw) > files) {
            process.finish();
            return kills;
        }
    }
    start(2).finish();
    kills_max
}

/// The rows in `raw` below `folder`, those of them that differ in `key`, and the rows that are counted in `windows`.
pub fn counts(folder: &Path, key: &str) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let found = runtime.block_on(async {
        let context = SessionContext::new();
        for table in ["raw", "windows"] {
            let path = folder.join(table).display().to_string();
            context.register_parquet(table, &path, ParquetReadOptions::default()).await.unwrap();
        }
        let distinct = format!("SELECT count(DISTINCT {key}) FROM raw");
        let query = format!("SELECT (SELECT count(*) FROM raw), ({distinct}), (SELECT sum(n) FROM windows)");
        context.sql(&query).await.unwrap().collect().await.unwrap()
    });
    super::equivalence::lines(&found)
}

#[test]
fn a_process_killed_up_to_ten_times_leaves_every_row_once() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pipeline.sql"), pipeline("", 20_000, 200_000)).unwrap();
    let start = |workers: usize| Process::start(folder.path(), unserved(folder.path(), "400ms", workers));
    let kills = kill_again_and_again(start, &folder.path().join("raw"), 10);
    assert!(kills > 1, "only {kills} kills came before the end");
    assert_eq!(counts(folder.path(), "ts"), ["200000 | 200000 | 200000"], "after {kills} kills");
}

/// The column `id` of all files that `folder` shows.
fn ids_in_parquet(folder: &Path) -> Vec<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let batches = runtime.block_on(async {
        let options = ParquetReadOptions::default();
        let read = SessionContext::new().read_parquet(folder.to_str().unwrap(), options).await.unwrap();
        read.select_columns(&["id"]).unwrap().collect().await.unwrap()
    });
    let ids = batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().iter());
    ids.map(|id| *id as u64).collect()
}
