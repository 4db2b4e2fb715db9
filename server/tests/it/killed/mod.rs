//! The real process, killed with SIGKILL again and again while it works: what it wrote in the end is there once.

mod kafka;
mod load;

use super::process::{Process, unserved};
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use std::path::Path;

const PIPELINE: &str = "
CREATE SOURCE g (WATERMARK FOR ts AS ts - INTERVAL '1 second')
    WITH (connector = 'generator', kind = 'telemetry', rate = '20000', rows = '200000', seed = '7');
CREATE MATERIALIZED VIEW w AS
    SELECT window_start, window_end, service, count(*) AS n
    FROM TUMBLE(g, ts, INTERVAL '1 second') GROUP BY window_start, window_end, service;
CREATE SINK raw FROM g WITH (connector = 'parquet', path = 'raw');
CREATE SINK windows FROM w WITH (connector = 'parquet', path = 'windows');
";

/// How many files `folder` shows to readers.
fn shown(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "parquet")).count()
}

#[test]
fn a_process_killed_up_to_ten_times_leaves_every_row_once() {
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("raw");
    std::fs::write(folder.path().join("pipeline.sql"), PIPELINE).unwrap();
    let start = |workers: usize| Process::start(folder.path(), unserved(folder.path(), "400ms", workers));
    let mut kills = 0;
    while kills < 10 {
        let files = shown(&raw);
        let mut process = start(1 + kills % 3);
        if process.ends_before("no new file", || shown(&raw) > files) {
            break;
        }
        drop(process);
        kills += 1;
    }
    assert!(kills > 1, "only {kills} kills came before the end");
    if kills == 10 {
        start(2).finish();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let found = runtime.block_on(async {
        let context = SessionContext::new();
        for table in ["raw", "windows"] {
            let path = folder.path().join(table).display().to_string();
            context.register_parquet(table, &path, ParquetReadOptions::default()).await.unwrap();
        }
        let query =
            "SELECT (SELECT count(*) FROM raw), (SELECT count(DISTINCT ts) FROM raw), (SELECT sum(n) FROM windows)";
        context.sql(query).await.unwrap().collect().await.unwrap()
    });
    let found = super::equivalence::lines(&found);
    assert_eq!(found, ["200000 | 200000 | 200000"], "rows, distinct rows, rows counted in windows after {kills} kills");
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
